//! git: `git push` to `git daemon`, bare on both sides. What git writes before it says that a push is done, it does not
//! all sync to the disk.

use crate::Res;
use crate::daemon::Daemon;
use crate::measure::{self, Memory};
use crate::peer::{Cost, Peer};
use crate::proxy::Proxy;
use crate::workload::{self, FIRST, Revision, Shape, What};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
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
    fn stream(
        &self,
        documents: &[usize],
        revisions: std::ops::Range<usize>,
        goes_on: bool,
        change: impl Fn(Revision) -> Revision,
    ) -> String {
        let json = |document, revision| json(change(Revision::of(document, revision)));
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

    /// What a push costs, and what comes before it.
    fn push(
        client: &Path,
        daemon: &Daemon,
        proxy: &Proxy,
        server: &Path,
        before: impl FnOnce(&str) -> Res<()>,
    ) -> Res<Cost> {
        let (wire, served, spent) = (proxy.counts(), measure::cpu(daemon.0.id())?, measure::children_cpu()?);
        let memory = Memory::watch(daemon.0.id());
        let url = format!("git://127.0.0.1:{}/server.git", proxy.port);
        let started = Instant::now();
        before(&url)?;
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
            ..Cost::default()
        })
    }
}

impl Peer for Git {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, shape: &Shape, dir: &Path) -> Res<Vec<(&'static str, Cost)>> {
        let (client, server) = (dir.join("client.git"), dir.join("server.git"));
        let (documents, revisions) = match shape.what {
            What::Documents(documents, revisions) => (documents, revisions),
            What::Text(_, revisions) => (1, revisions),
            What::Goes(_) => return Ok(Vec::new()),
            // A folder is one history.
            What::Files(..) if self.refs == Refs::Each => return Ok(Vec::new()),
            What::Files(files, bytes) => return folder(shape.name, dir, &server, files, bytes),
        };
        init(&client)?;
        init(&server)?;
        let daemon = daemon(dir)?;
        let proxy = Proxy::to(daemon.1)?;
        let push = |before: &dyn Fn(&str) -> Res<()>| Self::push(&client, &daemon, &proxy, &server, before);
        let nothing = |_: &str| Ok(());
        let all: Vec<usize> = (0..documents).collect();
        let made = match shape.what {
            What::Text(bytes, revisions) => {
                let texts: Vec<Revision> = workload::long(bytes, revisions).collect();
                self.stream(&all, 0..revisions, false, |r| texts[r.revision].clone())
            }
            _ => self.stream(&all, 0..revisions, false, |r| r),
        };
        import(&client, &made)?;
        let mut first = push(&nothing)?;
        if let What::Text(..) = shape.what {
            first.packs = measure::bytes(&server.join("objects/pack"))?;
        }
        let mut out = vec![(shape.name, first)];
        if shape.name == FIRST {
            out.push(("W2", push(&nothing)?));
            let changed: Vec<usize> = workload::changed(documents).collect();
            import(&client, &self.stream(&changed, revisions..revisions + 1, true, |r| r))?;
            out.push(("W3", push(&nothing)?));
            let diverged: Vec<usize> = workload::diverged(documents).collect();
            let last = revisions - 1..revisions;
            import(&client, &self.stream(&diverged, last.clone(), true, Revision::here))?;
            import(&server, &self.stream(&diverged, last, true, Revision::there))?;
            out.push(("W5", push(&|url| merge(&client, url))?));
        }
        Ok(out)
    }
}

/// Fetches what is at the server, and merges each branch that has gone on on both sides.
fn merge(client: &Path, url: &str) -> Res<()> {
    succeed(git(client).args(["fetch", "--quiet", url, "+refs/heads/*:refs/remotes/o/*"]))?;
    let refs = |prefix: &str| -> Res<HashMap<String, String>> {
        let told = git(client).args(["for-each-ref", "--format=%(objectname) %(refname)", prefix]).output()?;
        let text = String::from_utf8(told.stdout)?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(commit, name)| (name[prefix.len()..].to_owned(), commit.to_owned())).collect())
    };
    let (here, there) = (refs("refs/heads/")?, refs("refs/remotes/o/")?);
    let both: Vec<(&String, &String, &String)> = here
        .iter()
        .filter_map(|(name, ours)| Some((name, ours, there.get(name).filter(|theirs| *theirs != ours)?)))
        .collect();
    let asked: String = both.iter().map(|(_, ours, theirs)| format!("{ours} {theirs}\n")).collect();
    let mut trees = git(client);
    trees.args(["merge-tree", "--write-tree", "--stdin", "-z", "--no-messages"]);
    let mut trees = trees.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = trees.stdin.take().ok_or("no way to tell git anything")?;
    let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
    let told = trees.wait_with_output()?;
    writer.join().map_err(|_| "git merge-tree was not told all")??;
    let told = String::from_utf8(told.stdout)?;
    let trees: Vec<&str> = told.split('\0').filter(|part| part.len() == 40).collect();
    if trees.len() != both.len() {
        return Err(format!("git merged {} of {}", trees.len(), both.len()).into());
    }
    let commit = |((name, ours, theirs), tree): (&(&String, &String, &String), &&str)| {
        format!(
            "commit refs/heads/{name}\ncommitter a <a@example.org> 1767300000 +0000\ndata 1\nm\nfrom {ours}\nmerge {theirs}\nM 040000 {tree} \n\n"
        )
    };
    import(client, &both.iter().zip(&trees).map(commit).collect::<String>())
}

/// A folder with a working tree: what is measured begins with looking for what changed, as a sync does.
fn folder(name: &'static str, dir: &Path, server: &Path, files: usize, bytes: usize) -> Res<Vec<(&'static str, Cost)>> {
    let client = dir.join("client");
    workload::write_files(&client, files, bytes)?;
    succeed(git(&client).args(["init", "--quiet", "-b", "main"]))?;
    init(server)?;
    let daemon = daemon(dir)?;
    let proxy = Proxy::to(daemon.1)?;
    let commit = |_: &str| {
        succeed(git(&client).args(["add", "-A"]))?;
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        succeed(git(&client).args(who).args(["commit", "--quiet", "-m", "r"]))
    };
    let push = || {
        let mut cost = Git::push(&client, &daemon, &proxy, server, commit)?;
        cost.disk[0] = measure::disk(&client.join(".git"))?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(cost)
    };
    let first = push()?;
    workload::change_files(&client, files)?;
    Ok(vec![(name, first), ("W7-20", push()?)])
}

/// A bare repository that nobody tidies.
fn init(repository: &Path) -> Res<()> {
    let dir = repository.parent().unwrap_or(Path::new("."));
    succeed(git(dir).args(["init", "--quiet", "--bare", "-b", "main"]).arg(repository))?;
    succeed(git(repository).args(["config", "gc.auto", "0"]))?;
    succeed(git(repository).args(["config", "receive.autogc", "false"]))
}

/// A document as people keep it in git: a member a line.
fn json(revision: Revision) -> String {
    let Revision { id, title, revision, text, by } = revision;
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

/// `git daemon` for the repositories in `dir`.
fn daemon(dir: &Path) -> Res<Daemon> {
    // Not `git daemon`, which would have the daemon as a child: its times count once it has ended.
    let programs = git(dir).arg("--exec-path").output()?;
    let mut daemon = Command::new(Path::new(String::from_utf8(programs.stdout)?.trim()).join("git-daemon"));
    daemon.args(["--reuseaddr", "--listen=127.0.0.1", "--export-all", "--enable=receive-pack"]);
    daemon.arg(format!("--base-path={}", dir.display()));
    Daemon::start(daemon, |daemon, port| daemon.arg(format!("--port={port}")).arg(dir))
}
