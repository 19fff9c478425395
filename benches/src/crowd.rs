//! `ibgib-bench crowd`: what a server takes when many clients push at once, and how long each of them waits.

use crate::engine::{Server, document_of, revised};
use crate::keep;
use crate::measure::{self, Memory};
use crate::workload::Revision;
use crate::{Res, page};
use ibgib::{IbGib, Verified};
use ibgib_peer::SyncConnection;
use ibgib_peer::prelude::*;
use ibgib_peer::saga::{Action, SyncRequest};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// Revisions of each document before it changes.
const REVISIONS: usize = 10;
/// Clients that meet the server for the first time at once: devices do not come all in one moment.
const MEETING: usize = 16;
/// Files that this program, or the server, has open for each client: a WebSocket, and a connection for HTTP.
const FILES: usize = 2;
/// Failures of a round that are told one by one.
const TOLD: usize = 5;

const HEADING: &str = "A crowd";
const ABOUT: &str = "Clients with an identity and a document of their own push to one server, whose space is a directory. First each meets the \
server, 16 at once: it registers its identity, connects, and brings its document. Then all of them change their document and \
push it in one moment: over a connection that each makes for that, as a device that was away, and once more over that \
connection. A push's time counts from that moment until the client knows that the server has it on its disk. The clients \
are one process on the same cores, and sign and check, too: their share of the time is not the server's. CPU is that of the \
server alone, its memory the most that it had until then.";

/// What was asked for.
pub(crate) struct Options {
    clients: usize,
    ibgib: Option<PathBuf>,
    write: Option<PathBuf>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut out = Self { clients: 1_000, ibgib: None, write: None };
        while let Some(argument) = arguments.next() {
            let value = arguments.next()?;
            match argument.as_str() {
                "--clients" => out.clients = value.parse().ok().filter(|n| *n > 0)?,
                "--ibgib" => out.ibgib = Some(value.into()),
                "--write" => out.write = Some(value.into()),
                _ => return None,
            }
        }
        Some(out)
    }
}

/// A device with a document of its own.
struct Client {
    number: usize,
    space: Arc<dyn Space>,
    me: SenderIdentity,
    tip: Verified<IbGib>,
    revisions: usize,
    connection: SyncConnection,
}

impl Client {
    async fn make(number: usize, url: String) -> Res<Self> {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("client"));
        let me = keep::identity(&*space).await?;
        let nodes = document_of(number, REVISIONS)?;
        admit(&*space, &nodes).await?;
        let tip = nodes.last().cloned().ok_or("a document without a frame")?;
        let remote = Arc::new(WebSocketRemote::new(&url, Limits::default().message_bytes_max)?);
        let connection = SyncConnection::new(remote, Limits::default());
        Ok(Self { number, space, me, tip, revisions: REVISIONS, connection })
    }

    async fn change(&mut self) -> Res<()> {
        let nodes = revised(&self.tip, self.number, Revision::of(self.number, self.revisions))?;
        admit(&*self.space, &nodes).await?;
        self.tip = nodes.last().cloned().ok_or("a revision without a frame")?;
        self.revisions += 1;
        Ok(())
    }

    /// Brings its document to the server, which did not have what is new in it.
    async fn push(&mut self) -> Res<()> {
        let document = self.tip.tjp().ok_or("a document without a timeline")?;
        let request =
            SyncRequest { scope: Scope::Only(vec![document]), direction: Direction::Push, ..keep::everything() };
        let synced = self.connection.sync(&self.space, Some(self.me.clone()), request).await?;
        match synced.summary.timelines.as_slice() {
            [one] if one.action == Action::Pushed => Ok(()),
            other => Err(format!("not pushed: {other:?}").into()),
        }
    }
}

/// What one round came to.
struct Row {
    what: &'static str,
    failed: usize,
    /// Milliseconds of each that did not fail, sorted.
    times: Vec<f64>,
    /// Seconds until all were done.
    took: f64,
    /// Seconds of CPU of the server.
    cpu: f64,
    memory: u64,
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let at = |part: f64| {
            let nth = (self.times.len().saturating_sub(1) as f64 * part) as usize;
            self.times.get(nth).map_or(String::new(), |ms| format!("{ms:.0}"))
        };
        let all = self.times.len() + self.failed;
        [
            self.failed.to_string(),
            at(0.5),
            at(0.99),
            at(1.0),
            format!("{:.0}", self.times.len() as f64 / self.took),
            format!("{:.2}", self.cpu * 1e3 / all as f64),
            format!("{:.0}", self.memory as f64 / 1e6),
        ]
    }
}

/// Measures it, and prints what came of it.
pub(crate) fn run(options: &Options) -> Res<()> {
    let command = crate::command(options.ibgib.as_deref())?;
    enough_files(options.clients * FILES)?;
    let dir = tempfile::tempdir()?;
    let rows = Runtime::new()?.block_on(rounds(options.clients, &command, &dir.path().join("server")))?;
    println!(
        "{:<18}{:>7}{:>11}{:>8}{:>8}{:>10}{:>15}{:>11}",
        "", "failed", "median ms", "p99 ms", "most ms", "a second", "CPU ms a client", "memory MB"
    );
    for row in &rows {
        let [failed, median, p99, most, second, cpu, memory] = row.cells();
        println!("{:<18}{failed:>7}{median:>11}{p99:>8}{most:>8}{second:>10}{cpu:>15}{memory:>11}", row.what);
    }
    if let Some(file) = &options.write {
        let mut table = "| | failed | median ms | p99 ms | longest ms | a second | CPU ms a client | memory MB |\n\
                         |---|---|---|---|---|---|---|---|\n"
            .to_owned();
        for row in &rows {
            let _ = writeln!(table, "| {} | {} |", row.what, row.cells().join(" | "));
        }
        let text =
            format!("{ABOUT}\n\n{}\n\n{table}", page::measured_as(&format!("{} clients, once each", options.clients))?);
        page::write(file, HEADING, &text)?;
    }
    Ok(())
}

/// Whether this program may open so many files, and with them the server that it starts.
fn enough_files(files: usize) -> Res<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    // What is open beside the connections.
    let needed = files + 200;
    match most {
        Some(most) if most < needed => Err(format!("{most} open files are too few: 'ulimit -n {needed}' first").into()),
        _ => Ok(()),
    }
}

async fn rounds(clients: usize, command: &Path, space: &Path) -> Res<Vec<Row>> {
    // All come from one address, and in one moment.
    let connections = (clients * FILES * 2).to_string();
    let raised = [
        ("connections_max", connections.as_str()),
        ("connections_per_address_max", &connections),
        ("http_connections_max", &connections),
        ("http_connections_per_address_max", &connections),
        ("registered_bytes_max", "10000000000"),
        ("registered_bytes_per_second", "1000000000"),
    ]
    .map(|(name, to)| format!("{name}={to}"));
    let limits: Vec<&str> = raised.iter().flat_map(|limit| ["--limit", limit]).collect();
    let server = Server::start_with(command, space, &limits)?;
    let (url, pid) = (format!("http://127.0.0.1:{}", server.1), server.0.id());
    let making: Vec<_> = (0..clients).map(|number| tokio::spawn(Client::make(number, url.clone()))).collect();
    let mut all = Vec::new();
    for client in making {
        all.push(client.await??);
    }
    eprintln!("{clients} clients were made");
    let (mut all, met) = round("the first meeting", all, pid, Some(MEETING)).await?;
    let mut rows = vec![met];
    for client in &mut all {
        client.connection.close().await;
    }
    for what in ["a new connection", "an open one"] {
        for client in &mut all {
            client.change().await?;
        }
        let (after, row) = round(what, all, pid, None).await?;
        rows.push(row);
        all = after;
    }
    Ok(rows)
}

/// Each of the clients pushes, so many at once, or all in one moment.
async fn round(what: &'static str, clients: Vec<Client>, pid: u32, at_once: Option<usize>) -> Res<(Vec<Client>, Row)> {
    let (cpu, memory) = (measure::cpu(pid)?, Memory::watch(pid));
    let turns = at_once.map(|count| Arc::new(Semaphore::new(count)));
    // By then all of them wait for it.
    let began = Instant::now() + Duration::from_millis(100);
    let mut pushing = Vec::new();
    for mut client in clients {
        let turns = turns.clone();
        pushing.push(tokio::spawn(async move {
            tokio::time::sleep_until(began.into()).await;
            let turn = match &turns {
                Some(turns) => Some(turns.acquire().await),
                None => None,
            };
            // Who has to wait for its turn has not begun.
            let began = if turn.is_some() { Instant::now() } else { began };
            let pushed = client.push().await;
            (client, pushed, began.elapsed())
        }));
    }
    let (mut after, mut times, mut failed) = (Vec::new(), Vec::new(), 0);
    for push in pushing {
        let (client, pushed, took) = push.await?;
        match pushed {
            Ok(()) => times.push(took.as_secs_f64() * 1e3),
            Err(error) => {
                failed += 1;
                if failed <= TOLD {
                    eprintln!("{what}, client {}: {error}", client.number);
                }
            }
        }
        after.push(client);
    }
    let took = began.elapsed().as_secs_f64();
    // What the server does after it has answered belongs to it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    times.sort_unstable_by(f64::total_cmp);
    let row = Row { what, failed, times, took, cpu: measure::cpu(pid)? - cpu, memory: memory.most() };
    Ok((after, row))
}
