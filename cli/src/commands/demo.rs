//! `demo`: what a user would do, done with this very program, and the proof that it worked.

mod files;

use crate::args::{self, Args};
use crate::codes::Code;
use crate::error::{CliError, Exit};
use crate::output::Output;
use files::{contents, copy, documents, shared_text, write};
use ibgib::{Mode, Value, object};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The JSON document that both devices edit.
const SETTINGS: &str = "ibgib-demo.json";
/// How long an interrupted demo waits for its own processes.
const END_MAX: Duration = Duration::from_secs(10);

/// The demo under way.
struct DemoRun {
    program: PathBuf,
    root: PathBuf,
    started: Instant,
    out: Output,
    server: Option<Child>,
    running: Running,
}

/// The processes under way, to be ended when the demo is.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<HashSet<u32>>>);

impl Running {
    fn all(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        for pid in self.all().iter() {
            // It may be ending by itself.
            let _ = terminate(*pid);
        }
    }
}

impl Drop for DemoRun {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
            self.running.all().remove(&server.id());
        }
    }
}

/// Asks a process of ours to end.
fn terminate(pid: u32) -> std::io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::NotFound)?;
    Ok(kill_process(pid, Signal::TERM)?)
}

/// A command in words.
fn step(args: &[&str]) -> String {
    // Invites and tokens are long, and nobody's to see.
    let words: Vec<&str> = args.iter().map(|word| if word.len() > 60 { "…" } else { word }).collect();
    format!("ibgib {}", words.join(" "))
}

fn failed(step: &str, why: impl std::fmt::Display) -> CliError {
    CliError::new(Code::Demo, format!("{step}: {why}"))
}

impl DemoRun {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.root).stdin(Stdio::null());
        // The demo must not meet, or touch, what its user has set up.
        for name in ["IBGIB_DIR", "IBGIB_REMOTE", "IBGIB_SECRET_FILE", "IBGIB_SECRET_COMMAND", "IBGIB_LOG"] {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", self.root.join("config"));
        command
    }

    /// Runs one command of this program.
    fn ended(&self, args: &[&str], step: &str) -> Result<std::process::Output, CliError> {
        let whole = [args, &["--json"]].concat();
        let mut command = self.command(&whole);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| failed(step, e))?;
        let id = child.id();
        self.running.all().insert(id);
        let output = child.wait_with_output();
        self.running.all().remove(&id);
        output.map_err(|e| failed(step, e))
    }

    /// Runs one command of this program and answers its JSON lines.
    fn ibgib(&self, args: &[&str]) -> Result<Vec<Value>, CliError> {
        let step = step(args);
        let output = self.ended(args, &step)?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(failed(&step, format!("{}: {}", output.status, stderr.trim())));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| Value::parse(line, Mode::Strict).map_err(|e| failed(&step, e))).collect()
    }

    fn one(&self, args: &[&str]) -> Result<Value, CliError> {
        self.ibgib(args)?.pop().ok_or_else(|| failed(&args.join(" "), "no answer"))
    }

    /// Runs one command that must be refused for who asks.
    fn refused(&self, args: &[&str]) -> Result<(), CliError> {
        let step = step(args);
        let output = self.ended(args, &step)?;
        match output.status.code() {
            Some(code) if code == Exit::Identity as i32 => Ok(()),
            _ => Err(failed(&step, format!("{}, but it should have been refused", output.status))),
        }
    }

    fn tell(&self, what: &str) {
        self.out.say(&format!("{:>6.1} s  {what}", self.started.elapsed().as_secs_f64()));
    }

    fn sync(&self, device: &str) -> Result<(), CliError> {
        let did = self.one(&["-C", device, "sync"])?;
        self.tell(&format!("{device} syncs: {}", story(&did)));
        Ok(())
    }

    /// Starts the server; answers its URL, and the token of its owner.
    fn serve(&mut self) -> Result<(String, String), CliError> {
        let mut command = self.command(&["--json", "-q", "serve", "--space", "server"]);
        let mut server = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed("ibgib serve", e))?;
        self.running.all().insert(server.id());
        let mut line = String::new();
        let read = server.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        self.server = Some(server);
        read.transpose().map_err(|e| failed("ibgib serve", e))?;
        let told = Value::parse(line.trim(), Mode::Strict).map_err(|_| failed("ibgib serve", "it did not start"))?;
        let member = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
        let whole = member("listening").zip(member("ownerToken"));
        whole.ok_or_else(|| failed("ibgib serve", "it did not tell where it listens, and the owner's token"))
    }

    /// Ends the server, so that its store can be checked.
    fn stop(&mut self) -> Result<(), CliError> {
        let Some(server) = &mut self.server else { return Ok(()) };
        terminate(server.id()).map_err(|e| failed("stopping the server", e))?;
        let ended = server.wait().map_err(|e| failed("stopping the server", e))?;
        self.running.all().remove(&server.id());
        self.server = None;
        if ended.success() { Ok(()) } else { Err(failed("stopping the server", ended)) }
    }
}

fn number(value: &Value, path: &[&str]) -> f64 {
    path.iter().try_fold(value, |v, key| v.get(key)).and_then(Value::as_f64).unwrap_or(0.0)
}

/// A sync in words.
fn story(did: &Value) -> String {
    let n = |path: &[&str]| number(did, path);
    if n(&["turns"]) == 0.0 {
        return format!("already equal ({} ms)", n(&["ms"]));
    }
    format!(
        "{} turns, {} nodes sent, {} received, {:.1} KiB out, {:.1} KiB in, {} merges ({} ms)",
        n(&["turns"]),
        n(&["nodes", "sent"]),
        n(&["nodes", "received"]),
        n(&["bytes", "sent"]) / 1024.0,
        n(&["bytes", "received"]) / 1024.0,
        n(&["merges"]),
        n(&["ms"])
    )
}

pub(crate) async fn demo(args: &Args, out: &Output, demo: &args::Demo) -> Result<Exit, CliError> {
    let program = std::env::current_exe().map_err(|e| failed("finding this program", e))?;
    if let Some(folder) = &demo.folder
        && !folder.is_dir()
    {
        return Err(CliError::not_found("folder", folder.display().to_string()));
    }
    let mut temporary =
        tempfile::Builder::new().prefix("ibgib-demo-").tempdir().map_err(|e| failed("a place to work", e))?;
    temporary.disable_cleanup(demo.keep);
    let root = temporary.path().to_owned();
    let running = Running::default();
    let run = DemoRun {
        program,
        root: root.clone(),
        started: Instant::now(),
        out: out.clone(),
        server: None,
        running: running.clone(),
    };
    let folder = demo.folder.clone();
    let mut term = signal(SignalKind::terminate()).map_err(|e| failed("signals", e))?;
    let mut work = tokio::task::spawn_blocking(move || play(run, folder.as_deref()));
    let result = tokio::select! {
        result = &mut work => result.map_err(|e| failed("the demo", e))?,
        _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
        _ = term.recv() => Err(CliError::interrupted()),
    };
    if result.as_ref().is_err_and(|e| e.exit == Exit::Interrupted) {
        // A step that lost its process is the last; only then may the ground go.
        let started = Instant::now();
        while started.elapsed() < END_MAX && !work.is_finished() {
            running.end();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    if demo.keep {
        out.say(&format!("kept: {}", root.display()));
    }
    let story = result?;
    drop(temporary);
    let equal = story.get("equal").and_then(Value::as_bool).unwrap_or(false);
    if args.json {
        out.line(&story.to_json())?;
    } else {
        out.line(&format!("equal: {}", if equal { "yes" } else { "no" }))?;
    }
    Ok(if equal { Exit::Done } else { Exit::Failed })
}

fn play(mut run: DemoRun, folder: Option<&Path>) -> Result<Value, CliError> {
    let (alice, bob) = (run.root.join("alice"), run.root.join("bob"));
    fs::create_dir(&alice).map_err(|e| CliError::io(&alice, &e))?;
    let files = match folder {
        Some(folder) => copy(folder, &alice)?,
        None => documents(&alice)?,
    };
    write(&alice.join(SETTINGS), "{\n  \"title\": \"demo\",\n  \"colour\": \"green\",\n  \"size\": 1\n}\n")?;
    let edited = shared_text(&alice)?;
    run.tell(&format!("a folder with {} files, two devices (alice, bob), one server", files + 1));

    let (url, token) = run.serve()?;
    run.tell(&format!("server: {url}, store on disk"));
    run.ibgib(&["init", "alice", "--remote", &url, "--token", &token])?;
    run.tell("alice brings the server's token and owns its space");
    run.sync("alice")?;
    run.refused(&["clone", &url, "stranger"])?;
    run.tell("a stranger is refused");
    let invited = run.one(&["-C", "alice", "invite"])?;
    let invite = invited.get("invite").and_then(Value::as_str).ok_or_else(|| failed("ibgib invite", "no invite"))?;
    let cloned = run.one(&["clone", invite, "bob", "--device-name", "bob"])?;
    run.tell(&format!("bob clones alice's invite: {}", story(&cloned)));
    run.refused(&["clone", invite, "late"])?;
    run.tell("the invite was for one: the next who brings it is refused");

    let name = edited.display().to_string();
    let text = fs::read_to_string(alice.join(&edited)).map_err(|e| CliError::io(&edited, &e))?;
    write(&alice.join(&edited), &format!("Alice wrote this paragraph at the top.\n\n{text}"))?;
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write(&bob.join(&edited), &format!("{text}{end}\nBob wrote this paragraph at the end.\n"))?;
    write(&alice.join(SETTINGS), "{\n  \"title\": \"demo\",\n  \"colour\": \"blue\",\n  \"size\": 1\n}\n")?;
    write(&bob.join(SETTINGS), "{\n  \"title\": \"demo\",\n  \"colour\": \"green\",\n  \"size\": 2\n}\n")?;
    write(&bob.join("from-bob.txt"), "a new file\n")?;
    run.tell(&format!("both edit {name} (top, end) and {SETTINGS} (colour, size); bob adds a file"));
    for device in ["alice", "bob", "alice", "bob"] {
        run.sync(device)?;
    }

    run.ibgib(&["-C", "alice", "grants", "revoke", "bob"])?;
    run.refused(&["-C", "bob", "sync"])?;
    run.tell("alice revokes what bob was granted: he is refused from then on");

    let tips = [run.ibgib(&["-C", "alice", "tips"])?, run.ibgib(&["-C", "bob", "tips"])?];
    run.stop()?;
    let server_tips = run.ibgib(&["--space", "server", "tips"])?;
    let same_tips = tips.iter().all(|t| *t == server_tips) && !server_tips.is_empty();
    run.tell(&format!("tips of alice, bob and the server ({} timelines) equal: {}", server_tips.len(), yes(same_tips)));
    let mut clean = true;
    for store in [["-C", "alice"], ["-C", "bob"], ["--space", "server"]] {
        let found = run.one(&[&store[..], &["fsck"]].concat())?;
        let whole = number(&found, &["nodes"]) > 0.0;
        clean &= whole;
        run.tell(&format!("fsck {}: {} nodes, clean", store[1], number(&found, &["nodes"])));
    }
    let merged = fs::read_to_string(alice.join(&edited)).map_err(|e| CliError::io(&edited, &e))?;
    let settings = fs::read_to_string(alice.join(SETTINGS)).map_err(|e| CliError::io(Path::new(SETTINGS), &e))?;
    let both = merged.contains("Alice wrote") && merged.contains("Bob wrote") && merged.contains(text.trim());
    let fields = settings.contains("\"blue\"") && settings.contains("\"size\": 2");
    run.tell(&format!("{name} has both paragraphs: {}; {SETTINGS} has both fields: {}", yes(both), yes(fields)));
    let same_files = contents(&alice)? == contents(&bob)?;
    run.tell(&format!("the two folders equal, byte for byte: {}", yes(same_files)));
    let equal = same_tips && clean && both && fields && same_files;
    Ok(object([
        ("equal", equal.into()),
        ("files", Value::integer(files + 1)),
        ("timelines", Value::integer(server_tips.len())),
        ("sameTips", same_tips.into()),
        ("sameFiles", same_files.into()),
        ("merged", (both && fields).into()),
        ("ms", Value::integer(run.started.elapsed().as_millis())),
    ]))
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "NO" }
}
