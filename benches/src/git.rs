//! git: `git push` to `git daemon`, bare on both sides. What git writes before it says that a push is done, it does not
//! all sync to the disk.

use crate::Res;
use crate::measure::{self, Memory};
use crate::peer::{Cost, Peer};
use crate::proxy::Proxy;
use crate::workload::{Revision, Shape};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where histories are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refs {
    /// One branch with a commit for each revision of all documents.
    One,
    /// Each document a branch of its own: what comes nearest to timelines.
    Each,
}

pub(crate) struct Git {
    name: &'static str,
    refs: Refs,
}

impl Git {
    pub(crate) fn new(name: &'static str, refs: Refs) -> Self {
        Self { name, refs }
    }

    /// What `git fast-import` takes: these documents at these revisions, on top of what is there.
    fn stream(&self, documents: &[usize], revisions: std::ops::Range<usize>, goes_on: bool) -> String {
        let mut out = String::new();
        let mut commit = |branch: &str, revision: usize, files: &mut dyn Iterator<Item = (String, String)>| {
            let time = 1_767_225_600 + revision;
            let _ = writeln!(out, "commit {branch}\ncommitter a <a@example.org> {time} +0000\ndata 1\nr");
            if goes_on && revision == revisions.start {
                let _ = writeln!(out, "from {branch}^0");
            }
            for (path, text) in files {
                let _ = writeln!(out, "M 644 inline {path}\ndata {}\n{text}", text.len());
            }
        };
        match self.refs {
            Refs::One => {
                for revision in revisions.clone() {
                    let file = |document: &usize| {
                        (format!("docs/{:02x}/{document:06}.json", document % 256), json(*document, revision))
                    };
                    commit("refs/heads/main", revision, &mut documents.iter().map(file));
                }
            }
            Refs::Each => {
                for document in documents {
                    for revision in revisions.clone() {
                        let file = ("document.json".to_owned(), json(*document, revision));
                        commit(&format!("refs/heads/d/{document:06}"), revision, &mut std::iter::once(file));
                    }
                }
            }
        }
        out
    }

    fn push(client: &Path, daemon: &Daemon, proxy: &Proxy, server: &Path) -> Res<Cost> {
        let (wire, served, spent) = (proxy.counts(), measure::cpu(daemon.0.id())?, measure::children_cpu()?);
        let memory = Memory::watch(daemon.0.id());
        let url = format!("git://127.0.0.1:{}/server.git", proxy.port);
        let started = Instant::now();
        let mut push = git(client).args(["push", "--quiet", &url, "refs/heads/*:refs/heads/*"]).spawn()?;
        let client_memory = Memory::watch(push.id());
        let ended = push.wait()?;
        let wall = started.elapsed().as_secs_f64();
        if !ended.success() {
            return Err("git push failed".into());
        }
        // The daemon counts a child's time once it has waited for it, which it does a moment later.
        std::thread::sleep(Duration::from_millis(200));
        let now = proxy.counts();
        Ok(Cost {
            wall,
            cpu: [measure::children_cpu()? - spent, measure::cpu(daemon.0.id())? - served],
            memory: [client_memory.most(), memory.most()],
            wire: [now[0] - wire[0], now[1] - wire[1]],
            disk: [measure::disk(client)?, measure::disk(server)?],
        })
    }
}

impl Peer for Git {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, shape: &Shape, dir: &Path) -> Res<Vec<(&'static str, Cost)>> {
        let (client, server) = (dir.join("client.git"), dir.join("server.git"));
        for repository in [&client, &server] {
            let mut init = git(dir);
            succeed(init.args(["init", "--quiet", "--bare", "-b", "main"]).arg(repository))?;
            succeed(git(repository).args(["config", "gc.auto", "0"]))?;
            succeed(git(repository).args(["config", "receive.autogc", "false"]))?;
        }
        let daemon = Daemon::start(dir)?;
        let proxy = Proxy::to(daemon.1)?;
        let all: Vec<usize> = (0..shape.documents).collect();
        import(&client, &self.stream(&all, 0..shape.revisions, false))?;
        let mut out = vec![(shape.name, Self::push(&client, &daemon, &proxy, &server)?)];
        if shape.name == "W1" {
            out.push(("W2", Self::push(&client, &daemon, &proxy, &server)?));
            let changed: Vec<usize> = all.iter().copied().step_by((all.len() / 10).max(1)).collect();
            import(&client, &self.stream(&changed, shape.revisions..shape.revisions + 1, true))?;
            out.push(("W3", Self::push(&client, &daemon, &proxy, &server)?));
        }
        Ok(out)
    }
}

/// A document as people keep it in git: a member a line.
fn json(document: usize, revision: usize) -> String {
    let Revision { id, title, revision, text, by } = Revision::of(document, revision);
    let lines: Vec<String> = text.split('\n').map(|line| format!("\"{line}\"")).collect();
    let text = lines.join(",\n");
    format!(
        "{{\n\"id\": \"{id}\",\n\"title\": \"{title}\",\n\"revision\": {revision},\n\"text\": [\n{text}\n],\n\"by\": \"{by}\"\n}}\n"
    )
}

/// git in a folder, whatever is set up for the user.
fn git(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    git
}

fn succeed(command: &mut Command) -> Res<()> {
    let out = command.output()?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into()) }
}

fn import(repository: &Path, stream: &str) -> Res<()> {
    let mut child = git(repository).args(["fast-import", "--quiet", "--force"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no way to tell git anything")?.write_all(stream.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err("git fast-import failed".into()) }
}

/// `git daemon`; it ends with this.
struct Daemon(Child, u16);

impl Daemon {
    fn start(dir: &Path) -> Res<Self> {
        // A free port, as far as one can know: the daemon cannot choose one itself.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        // Not `git daemon`, which would have the daemon as a child: its times count once it has ended.
        let programs = git(dir).arg("--exec-path").output()?;
        let mut daemon = Command::new(Path::new(String::from_utf8(programs.stdout)?.trim()).join("git-daemon"));
        daemon.args(["--reuseaddr", "--listen=127.0.0.1", "--export-all", "--enable=receive-pack"]);
        daemon.arg(format!("--port={port}")).arg(format!("--base-path={}", dir.display())).arg(dir);
        let mut child = Self(daemon.stderr(Stdio::null()).spawn()?, port);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if child.0.try_wait()?.is_some() {
                return Err("git daemon ended".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
