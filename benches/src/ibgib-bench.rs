//! `ibgib-bench vault`: a vault under load ([`vault`]). `ibgib-bench tower`: a tower's rules ([`tower`]). `ibgib-bench postgres`: a space in a database ([`postgres`]). `ibgib-bench compare`: what a sync costs, beside git, on the same documents and the same machine.
//!
//! Each peer gets the documents of [`workload`] in a store of its own and syncs them to an empty server over loopback,
//! through a [`proxy::Proxy`] that counts bytes. [`measure`] reads what the processes took. A peer is one [`peer::Peer`].

mod databases;
mod engine;
mod git;
mod measure;
mod peer;
mod postgres;
mod proxy;
mod table;
mod tower;
mod vault;
mod workload;

use engine::Engine;
use git::{Git, Refs};
use peer::{Cost, Peer};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use workload::{Shape, shapes};

const USAGE: &str =
    "usage: ibgib-bench compare [--quick] [--rounds N] [--only W]... [--peer P]... [--ibgib FILE] [--json] [--write FILE]
  --quick       small workloads and one round, to see that all of it works
  --rounds N    how often each is measured, the peers in turn (default 5); medians are told
  --only W      only this workload: W1, W4, W6, W6-100k or W7; W2, W3 and W5 come after W1, W7-20 after W7
  --peer P      only this peer: ibgib, git or git-refs
  --ibgib FILE  the command to measure (default: this source, built for release)
  --json        one JSON object for each line of the table
  --write FILE  also a page with the table, as docs/performance.md
usage: ibgib-bench vault [--sockets N] [--writes N] [--seconds N] [--accounts N] [--ibgib FILE | --url URL --pid PID]
  --sockets N    sockets that wait for a vault's notices (default 5000)
  --writes N     writes each second (default 500)
  --seconds N    how long (default 20)
  --accounts N   accounts that they belong to (default 250)
  --url URL      a server that runs already and takes everybody in, with its process id
usage: ibgib-bench postgres [--quick] [--rounds N] [--watchers N] [--seconds N] [--url URL] [--ibgib FILE]
  --rounds N     how often W1 is measured over a directory and over a database (default 5)
  --watchers N   devices that only wait (default 1000), for --seconds N (default 30)
  --url URL      a PostgreSQL server in which databases may be made (default: tools/postgres starts one)
usage: ibgib-bench tower [--appointments N] [--transactions N] [--breaches N] [--users N]
  --appointments N   that wait (default 100000)
  --transactions N   of a block (default 4000), of which --breaches N (default 10) are triggers";

pub(crate) type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What was asked for.
struct Options {
    quick: bool,
    rounds: usize,
    only: Vec<String>,
    peers: Vec<String>,
    ibgib: Option<PathBuf>,
    json: bool,
    write: Option<PathBuf>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (only, peers) = (Vec::new(), Vec::new());
        let mut out = Self { quick: false, rounds: 0, only, peers, ibgib: None, json: false, write: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => out.quick = true,
                "--json" => out.json = true,
                "--rounds" => out.rounds = arguments.next()?.parse().ok().filter(|n| *n > 0)?,
                "--only" => out.only.push(arguments.next().filter(|name| shapes(true).iter().any(|s| s.name == name))?),
                "--peer" => out.peers.push(arguments.next().filter(|name| PEERS.contains(&name.as_str()))?),
                "--ibgib" => out.ibgib = Some(arguments.next()?.into()),
                "--write" => out.write = Some(arguments.next()?.into()),
                _ => return None,
            }
        }
        if out.rounds == 0 {
            out.rounds = if out.quick { 1 } else { 5 };
        }
        Some(out)
    }

    fn wants(&self, list: &[String], name: &str) -> bool {
        list.is_empty() || list.iter().any(|wanted| wanted == name)
    }
}

const PEERS: [&str; 3] = ["ibgib", "git", "git-refs"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("compare") => Options::read(arguments).map(|options| compare(&options)),
        Some("postgres") => postgres::Options::read(arguments).map(|options| postgres::run(&options)),
        Some("tower") => tower::Options::read(arguments).map(|options| tower::run(&options)),
        Some("vault") => vault::Options::read(arguments).map(|options| vault::run(&options)),
        _ => None,
    };
    let Some(done) = done else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ibgib-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Res<()> {
    let mut peers: Vec<Box<dyn Peer>> = Vec::new();
    if options.wants(&options.peers, "ibgib") {
        peers.push(Box::new(Engine::new(&command(options.ibgib.as_deref())?)?));
    }
    let has_git = Command::new("git").arg("--version").output().is_ok_and(|out| out.status.success());
    for (name, refs) in [("git", Refs::One), ("git-refs", Refs::Each)] {
        match options.wants(&options.peers, name) {
            true if has_git => peers.push(Box::new(Git::new(name, refs))),
            true => eprintln!("{name} is left out: there is no git here"),
            false => {}
        }
    }
    let mut measured: BTreeMap<(String, String), Vec<Cost>> = BTreeMap::new();
    let wanted: Vec<Shape> =
        shapes(options.quick).into_iter().filter(|s| options.wants(&options.only, s.name)).collect();
    for shape in &wanted {
        for round in 1..=options.rounds {
            // In turn, so that what disturbs the machine for a while disturbs all of them.
            for peer in &peers {
                eprintln!("{} round {round}: {}", shape.name, peer.name());
                let dir = tempfile::tempdir()?;
                for (workload, cost) in peer.run(shape, dir.path())? {
                    measured.entry((workload.to_owned(), peer.name().to_owned())).or_default().push(cost);
                }
            }
        }
    }
    let names: Vec<&str> = peers.iter().map(|peer| peer.name()).collect();
    if let Some(file) = &options.write {
        let cores = std::thread::available_parallelism()?;
        let again: Vec<String> = std::env::args().skip(1).collect();
        let told = format!(
            "Written by `cargo run --release -p ibgib-bench -- {}`, {} rounds, on Linux with {cores} cores.",
            again.join(" "),
            options.rounds
        );
        std::fs::write(file, table::page(&measured, &names, &told))?;
    }
    print!("{}", if options.json { table::json(&measured, &names) } else { table::text(&measured, &names) });
    Ok(())
}

/// The command that is measured.
fn command(given: Option<&Path>) -> Res<PathBuf> {
    if let Some(file) = given {
        return Ok(std::path::absolute(file)?);
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "-p", "ibgib-cli"])
        .current_dir(root)
        .status()?;
    if !built.success() {
        return Err("the command could not be built; name one with --ibgib".into());
    }
    // Beside this program, which cargo has put into the same folder when it was built for release, too.
    let beside = std::env::current_exe()?.with_file_name("ibgib");
    if beside.exists() { Ok(beside) } else { Err("the command was built elsewhere; name it with --ibgib".into()) }
}
