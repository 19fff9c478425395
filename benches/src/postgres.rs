//! `ibgib-bench postgres`: what a space in a database costs beside one in a directory, what more servers in front of it
//! bring, and what a server takes for devices that only wait.

use crate::databases::{Own, database};
use crate::engine::{Engine, Server, document_of};
use crate::peer::Peer;
use crate::table::Measured;
use crate::workload::{FIRST, Shape, shapes};
use crate::{Res, measure, page, table};
use ibgib_peer::prelude::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Devices that sync at once, whatever the number of servers.
const DEVICES: usize = 8;
/// Revisions of each of their documents.
const REVISIONS: usize = 10;
/// Watchers that connect at once: each has to prove who it is.
const CONNECTING: usize = 16;

const HEADING: &str = "A space in a database";
const ABOUT: &str = "The same documents synced to a server whose space is a directory (`ibgib`), and to one whose space is in PostgreSQL \
(`ibgib-pg`), with fsync on both sides; disk is the database's. The memory and the CPU of PostgreSQL itself are not in it. \
Servers, devices and the database share the cores of one machine, so more servers cannot bring more here than the cores do.";

/// What was asked for.
pub(crate) struct Options {
    quick: bool,
    rounds: usize,
    watchers: usize,
    seconds: u64,
    url: Option<String>,
    ibgib: Option<PathBuf>,
    write: Option<PathBuf>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut out =
            Self { quick: false, rounds: 5, watchers: 1_000, seconds: 165, url: None, ibgib: None, write: None };
        while let Some(argument) = arguments.next() {
            if argument == "--quick" {
                out = Self { quick: true, rounds: 1, watchers: 20, seconds: 3, ..out };
                continue;
            }
            let value = arguments.next()?;
            let number = || value.parse::<usize>().ok().filter(|n| *n > 0);
            match argument.as_str() {
                "--rounds" => out.rounds = number()?,
                "--watchers" => out.watchers = number()?,
                "--seconds" => out.seconds = number()? as u64,
                "--url" => out.url = Some(value),
                "--ibgib" => out.ibgib = Some(value.into()),
                "--write" => out.write = Some(value.into()),
                _ => return None,
            }
        }
        Some(out)
    }
}

/// Measures it, and prints what came of it.
pub(crate) fn run(options: &Options) -> Res<()> {
    let command = crate::command(options.ibgib.as_deref())?;
    let (own, url) = match &options.url {
        Some(url) => (None, url.clone()),
        None => Own::start().map(|(own, url)| (Some(own), url))?,
    };
    let (measured, names, times) = beside(options, &command, &url)?;
    print!("{}", table::text(&measured, &names));
    let mut told = vec![format!("{FIRST} over the database takes {times:.2} times as long.")];
    println!("{}", told[0]);
    let documents = if options.quick { 10 } else { 125 };
    for servers in if options.quick { &[1, 2][..] } else { &[1, 2, 4] } {
        let took = many(&command, &url, *servers, documents)?;
        let nodes = (DEVICES * documents * (REVISIONS + 1) * 2) as f64;
        told.push(format!(
            "{DEVICES} devices sync {documents} documents each at once, servers: {servers}: {took:.2} s, {:.0} nodes a second.",
            nodes / took
        ));
        println!("{}", told[told.len() - 1]);
    }
    let share = Runtime::new()?.block_on(idle(options, &command, &url))?;
    told.push(format!(
        "{} devices that only wait take {:.2} % of a core of their server.",
        options.watchers,
        share * 100.0
    ));
    println!("{}", told[told.len() - 1]);
    if let Some(file) = &options.write {
        let told: String = told.iter().map(|line| format!("\n- {line}")).collect();
        let table = table::section(&measured, &names, &page::measured(options.rounds)?);
        page::write(
            file,
            HEADING,
            &format!("{ABOUT}\n\n{table}\nMore servers and waiting devices were measured once each:\n{told}"),
        )?;
    }
    drop(own);
    Ok(())
}

/// The same workload over a directory and over a database, in turn.
fn beside(options: &Options, command: &Path, url: &str) -> Res<(Measured, [&'static str; 2], f64)> {
    let shape: Shape = shapes(options.quick).into_iter().find(|shape| shape.name == FIRST).ok_or("no workload")?;
    let peers = [Engine::new(command)?, Engine::over(command, url)?];
    let mut measured = Measured::new();
    for round in 1..=options.rounds {
        for peer in &peers {
            eprintln!("{} round {round}: {}", shape.name, peer.name());
            let dir = tempfile::tempdir()?;
            for (workload, cost) in peer.run(&shape, dir.path())? {
                measured.entry((workload.to_owned(), peer.name().to_owned())).or_default().push(cost);
            }
        }
    }
    let names = peers.each_ref().map(|peer| peer.name());
    let [embedded, database] = names.map(|name| {
        let costs = measured.get(&(FIRST.to_owned(), name.to_owned()));
        costs.map_or(0.0, |costs| table::median(costs, |cost| cost.wall))
    });
    Ok((measured, names, database / embedded))
}

/// So many servers before one database, and devices that sync what they have all at once; the seconds until all are done.
fn many(command: &Path, url: &str, servers: usize, documents: usize) -> Res<f64> {
    eprintln!("{servers} servers");
    let (engine, space, dir) = (Engine::new(command)?, database(url)?, tempfile::tempdir()?);
    let running = (0..servers).map(|_| Server::start(command, Path::new(&space))).collect::<Res<Vec<_>>>()?;
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        let device = dir.path().join(format!("device{n}"));
        engine.init(&device)?;
        engine.put(&device, (0..documents).map(|document| document_of(n * documents + document, REVISIONS)))?;
        devices.push(device);
    }
    let began = Instant::now();
    let mut syncing = Vec::new();
    for (n, device) in devices.iter().enumerate() {
        let to = format!("http://127.0.0.1:{}", running[n % servers].1);
        syncing.push(engine.device(device, &["sync", "--all", "--push", &to]).spawn()?);
    }
    for mut sync in syncing {
        if !sync.wait()?.success() {
            return Err("a sync failed".into());
        }
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Devices that are in step and wait for news; which part of a core their server takes.
async fn idle(options: &Options, command: &Path, url: &str) -> Res<f64> {
    let space = database(url)?;
    let limits = ["--limit", "registered_bytes_max=10000000000", "--limit", "registered_bytes_per_second=1000000000"];
    let server = Server::start_with(command, Path::new(&space), &limits)?;
    let (to, pid) = (format!("http://127.0.0.1:{}", server.1), server.0.id());
    let mut watching = Vec::new();
    while watching.len() < options.watchers {
        let count = CONNECTING.min(options.watchers - watching.len());
        let coming: Vec<_> = (0..count).map(|_| tokio::spawn(watch(to.clone()))).collect();
        for watcher in coming {
            watching.push(watcher.await??);
        }
        eprint!("\r{} watchers", watching.len());
    }
    eprintln!();
    // What they came with is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (cpu, began) = (measure::cpu(pid)?, Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let share = (measure::cpu(pid)? - cpu) / began.elapsed().as_secs_f64();
    drop(watching);
    Ok(share)
}

/// A device that stays in step with a server.
async fn watch(to: String) -> Res<ibgib_peer::Following> {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("watcher"));
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&*space, &secret).await?.tjp().clone();
    let me = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };
    let remote = Arc::new(WebSocketRemote::new(&to, Limits::default().message_bytes_max)?);
    let mut following = follow(&space, remote, &me);
    following.next().await.ok_or("a watcher ended")??;
    Ok(following)
}
