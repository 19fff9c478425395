//! The engine: the command `ibgib` as client and as server, durable on both sides, each signed.

use crate::Res;
use crate::databases::{database, size};
use crate::keep;
use crate::measure::{self, Memory};
use crate::node::Program;
use crate::peer::{Cost, Peer};
use crate::proxy::Proxy;
use crate::workload::{self, FIRST, Revision, Shape, What};
use ibgib::transform::{self, ForkOpts, Moment, TjpOpts, linked};
use ibgib::{IbGib, Map, Mode, Value, Verified};
use ibgib_spaces::{durable, settle::admit};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub(crate) struct Engine {
    command: PathBuf,
    runtime: Runtime,
    /// A server of databases, if the server's space is to be in one.
    databases: Option<String>,
}

/// Nodes put into the client's store at once.
const BATCH: usize = 2_000;

impl Engine {
    pub(crate) fn new(command: &Path) -> Res<Self> {
        Ok(Self { command: command.to_owned(), runtime: Runtime::new()?, databases: None })
    }

    /// With the server's space in a database of its own for each run, made at this URL.
    pub(crate) fn over(command: &Path, databases: &str) -> Res<Self> {
        Ok(Self { databases: Some(databases.to_owned()), ..Self::new(command)? })
    }

    pub(crate) fn device(&self, dir: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.arg("-C").arg(dir).arg("--quiet").args(arguments).stdout(Stdio::null());
        command
    }

    /// Puts nodes into a device's store, as an embedding program would.
    pub(crate) fn put(&self, device: &Path, nodes: impl Iterator<Item = Res<Vec<Verified<IbGib>>>>) -> Res<()> {
        self.put_into(&device.join(".ibgib/space"), nodes)
    }

    /// Puts nodes into a store.
    pub(crate) fn put_into(&self, store: &Path, nodes: impl Iterator<Item = Res<Vec<Verified<IbGib>>>>) -> Res<()> {
        let space = durable::open(store)?;
        let mut batch = Vec::new();
        for document in nodes {
            batch.extend(document?);
            if batch.len() >= BATCH {
                self.runtime.block_on(admit(&*space, &batch))?;
                batch.clear();
            }
        }
        self.runtime.block_on(admit(&*space, &batch))?;
        Ok(())
    }

    /// A new device.
    pub(crate) fn init(&self, device: &Path) -> Res<()> {
        std::fs::create_dir_all(device)?;
        match self.device(device, &["init"]).status()?.success() {
            true => Ok(()),
            false => Err("ibgib init failed".into()),
        }
    }

    fn disk(&self, space: &Path) -> Res<u64> {
        match (&self.databases, space.to_str()) {
            (Some(_), Some(url)) => size(url),
            _ => measure::disk(space),
        }
    }

    pub(crate) fn sync(
        &self,
        device: &Path,
        server: &Server,
        proxy: &Proxy,
        space: &Path,
        scope: &[&str],
    ) -> Res<Cost> {
        let (wire, served, spent) = (proxy.counts(), measure::cpu(server.0.id())?, measure::children_cpu()?);
        let memory = Memory::watch(server.0.id());
        let url = format!("http://127.0.0.1:{}", proxy.port);
        let started = Instant::now();
        let mut client = self.device(device, &["sync"]).args(scope).arg(&url).stdout(Stdio::piped()).spawn()?;
        let client_memory = Memory::watch(client.id());
        let mut told = String::new();
        client.stdout.take().ok_or("the client says nothing")?.read_to_string(&mut told)?;
        let ended = client.wait()?;
        let wall = started.elapsed().as_secs_f64();
        if !ended.success() {
            return Err("ibgib sync failed".into());
        }
        let now = proxy.counts();
        Ok(Cost {
            wall,
            cpu: [measure::children_cpu()? - spent, measure::cpu(server.0.id())? - served],
            memory: [client_memory.most(), memory.most()],
            wire: [now[0] - wire[0], now[1] - wire[1]],
            disk: [measure::disk(&device.join(".ibgib/space"))?, self.disk(space)?],
            identity: identity(&told),
            ..Cost::default()
        })
    }
}

/// How much later everything arrives where round trips are measured: far more than what a sync takes that has nothing to do.
const FAR: Duration = Duration::from_millis(100);

impl Engine {
    /// What W2 and W3 cost over a connection that stays open, at a server of its own that has the documents already.
    fn open(&self, dir: &Path, documents: usize, revisions: usize) -> Res<[(&'static str, Cost); 2]> {
        let (store, space) = (dir.join("client"), dir.join("server"));
        durable::create(&store)?;
        self.put_into(&store, (0..documents).map(|document| document_of(document, revisions)))?;
        let server = Server::start(&self.command, &space)?;
        let proxy = Proxy::to(server.1)?;
        let url = format!("http://127.0.0.1:{}", proxy.port);
        let mut client = Program::of(keep::command(&store, &url, documents, revisions)?)?;
        client.line()?;
        let pids = [client.id(), server.0.id()];
        let sync = |client: &mut Program| {
            let (wire, spent) = (proxy.counts(), [measure::cpu(pids[0])?, measure::cpu(pids[1])?]);
            let memory = pids.map(Memory::watch);
            let started = Instant::now();
            client.run("sync")?;
            let wall = started.elapsed().as_secs_f64();
            let now = proxy.counts();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Cost {
                wall,
                cpu: [measure::cpu(pids[0])? - spent[0], measure::cpu(pids[1])? - spent[1]],
                memory: memory.map(Memory::most),
                wire: [now[0] - wire[0], now[1] - wire[1]],
                disk: [measure::disk(&store)?, measure::disk(&space)?],
                identity: client.line()?.parse()?,
                ..Cost::default()
            })
        };
        let again = sync(&mut client)?;
        client.run("change")?;
        Ok([("W2-open", again), ("W3-open", sync(&mut client)?)])
    }
}

impl Peer for Engine {
    fn name(&self) -> &'static str {
        if self.databases.is_some() { "ibgib-pg" } else { "ibgib" }
    }

    fn run(&self, shape: &Shape, dir: &Path) -> Res<Vec<(&'static str, Cost)>> {
        let device = dir.join("device");
        let space = match &self.databases {
            Some(at) => database(at)?.into(),
            None => dir.join("server"),
        };
        let server = Server::start(&self.command, &space)?;
        let proxy = Proxy::to(server.1)?;
        let all = |device: &Path| self.sync(device, &server, &proxy, &space, &["--all"]);
        // Tells which bytes are the identity's, and of each timeline what became of it: of few.
        let told = |device: &Path| self.sync(device, &server, &proxy, &space, &["--all", "--json"]);
        let (documents, revisions) = match shape.what {
            What::Documents(documents, revisions) => (documents, revisions),
            What::Text(bytes, revisions) => {
                self.init(&device)?;
                self.put(&device, [revisions_of(0, workload::long(bytes, revisions))].into_iter())?;
                return Ok(vec![(shape.name, all(&device)?)]);
            }
            What::Goes(revisions) => {
                let nodes = document_of(0, revisions)?;
                let tip = nodes.last().cloned().ok_or("a document without a frame")?;
                let other = dir.join("other");
                for device in [&device, &other] {
                    self.init(device)?;
                }
                self.put(&device, [Ok(nodes)].into_iter())?;
                all(&device)?;
                let more = revised(&tip, 0, Revision::of(0, revisions))?;
                let tip = more.last().cloned().ok_or("a revision without a frame")?;
                self.put(&device, [Ok(more)].into_iter())?;
                let one = all(&device)?;
                all(&other)?;
                let next = Revision::of(0, revisions);
                self.put(&other, [revised(&tip, 0, next.clone().there())].into_iter())?;
                all(&other)?;
                self.put(&device, [revised(&tip, 0, next.here())].into_iter())?;
                return Ok(vec![(shape.name, one), (workload::merged(shape.name), all(&device)?)]);
            }
            What::Files(files, bytes) => {
                workload::write_files(&device, files, bytes)?;
                self.init(&device)?;
                let first = self.sync(&device, &server, &proxy, &space, &[])?;
                workload::change_files(&device, files)?;
                return Ok(vec![(shape.name, first), ("W7-20", self.sync(&device, &server, &proxy, &space, &[])?)]);
            }
        };
        self.init(&device)?;
        let mut tips = Vec::new();
        let made = (0..documents).map(|document| {
            let nodes = document_of(document, revisions)?;
            tips.extend(nodes.last().cloned());
            Ok(nodes)
        });
        self.put(&device, made)?;
        let mut out = vec![(shape.name, all(&device)?)];
        if shape.name == FIRST {
            out.push(("W2", told(&device)?));
            let change = |document: usize| revised(&tips[document], document, Revision::of(document, revisions));
            self.put(&device, workload::changed(documents).map(change))?;
            out.push(("W3", told(&device)?));
            // Another device, whose edits are at the server first.
            let other = dir.join("other");
            self.init(&other)?;
            all(&other)?;
            let last = |document: usize| Revision::of(document, revisions - 1);
            let there = |document: usize| revised(&tips[document], document, last(document).there());
            self.put(&other, workload::diverged(documents).map(there))?;
            all(&other)?;
            let here = |document: usize| revised(&tips[document], document, last(document).here());
            self.put(&device, workload::diverged(documents).map(here))?;
            out.push(("W5", all(&device)?));
            // Whatever waits for the other side takes so much longer where that is far away.
            let near = told(&device)?;
            let far = self.sync(&device, &server, &Proxy::far(server.1, FAR)?, &space, &["--all", "--json"])?;
            if let Some((_, again)) = out.iter_mut().find(|(name, _)| *name == "W2") {
                again.trips = (far.wall - near.wall).max(0.0) / (2.0 * FAR.as_secs_f64());
            }
            if self.databases.is_none() {
                out.extend(self.open(&dir.join("open"), documents, revisions)?);
            }
        }
        Ok(out)
    }
}

/// The bytes of a sync that tell who is who, if it has told anything of them: with `--json` it has.
fn identity(told: &str) -> u64 {
    let told = Value::parse(told.trim(), Mode::Compat).ok();
    told.and_then(|told| told.get("bytes")?.get("identity")?.as_u53()).unwrap_or(0)
}

/// A server; it ends with this.
pub(crate) struct Server(pub(crate) Child, pub(crate) u16);

impl Server {
    pub(crate) fn start(command: &Path, space: &Path) -> Res<Self> {
        Self::start_with(command, space, &[])
    }

    pub(crate) fn start_with(command: &Path, space: &Path, more: &[&str]) -> Res<Self> {
        let mut serve = Command::new(command);
        serve.arg("--space").arg(space).args([
            "--json",
            "--quiet",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--policy",
            "open",
        ]);
        let mut child = serve.args(more).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("the server says nothing")?).read_line(&mut line)?;
        let told = Value::parse(line.trim(), Mode::Compat)?;
        let url = told.get("listening").and_then(Value::as_str).ok_or("the server does not say where it listens")?;
        let port = url.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok());
        Ok(Self(child, port.ok_or("the server listens on no port")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn moment(document: usize, nth: usize) -> Moment {
    // Three decimal digits each: a uuid is the hash of the bytes' decimals, one after the other, so that bytes of one digit
    // and of two could give the same.
    let mut random = [100; 16];
    for (byte, digit) in random.iter_mut().zip(format!("{document:016}").bytes()) {
        *byte = 100 + (digit - b'0');
    }
    Moment { now_ms: 1_767_225_600_000 + nth as i64 * 1_000, random }
}

fn content(revision: Revision) -> Map {
    let Revision { id, title, revision, text, by } = revision;
    [
        ("id", Value::from(id)),
        ("title", title.into()),
        ("revision", Value::integer(revision as u64)),
        ("text", text.into()),
        ("by", by.into()),
    ]
    .into_iter()
    .collect()
}

/// The nodes of a document's next revision, its frame last.
pub(crate) fn revised(tip: &Verified<IbGib>, document: usize, revision: Revision) -> Res<Vec<Verified<IbGib>>> {
    let moment = moment(document, revision.revision + 1);
    let next = transform::revise(tip, &content(revision), &moment)?;
    Ok(next.ok_or("a revision that changes nothing")?.nodes())
}

/// All nodes of a document, its tip last.
pub(crate) fn document_of(document: usize, revisions: usize) -> Res<Vec<Verified<IbGib>>> {
    revisions_of(document, (0..revisions).map(|revision| Revision::of(document, revision)))
}

/// All nodes of a document with these revisions, its tip last.
fn revisions_of(document: usize, revisions: impl Iterator<Item = Revision>) -> Res<Vec<Verified<IbGib>>> {
    let opts = ForkOpts {
        dest_ib: Some("document".into()),
        tjp: Some(TjpOpts { uuid: true, timestamp: true }),
        dna: true,
        n_counter: true,
        linked_rel8ns: linked(),
        ..ForkOpts::default()
    };
    let first = transform::fork(&IbGib::primitive("document")?, &opts, &moment(document, 0))?;
    let (mut tip, mut nodes) = (first.frame.clone(), first.nodes());
    for revision in revisions {
        nodes.extend(revised(&tip, document, revision)?);
        tip = nodes.last().cloned().ok_or("a revision without a frame")?;
    }
    nodes.retain(|node| node.addr() != tip.addr());
    nodes.push(tip);
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn each_document_is_a_timeline_of_its_own() {
        let uuids: std::collections::HashSet<String> = (0..100_000).map(|n| moment(n, 0).uuid()).collect();
        assert_eq!(uuids.len(), 100_000);
    }
}
