//! `ibgib-bench vault`: a vault under load ([`vault`]). `ibgib-bench tower`: a tower's rules ([`tower`]). `ibgib-bench postgres`: a space in a database ([`postgres`]). `ibgib-bench scale`: many timelines ([`scale`]). `ibgib-bench crowd`: many clients at once ([`crowd`]). `ibgib-bench plots`: the plots of a page, drawn anew from its tables ([`plots`]). `ibgib-bench compare`: what a sync costs, beside git and others, on the same documents and the same machine.
//!
//! Each peer gets the documents of [`workload`] in a store of its own and syncs them to an empty server over loopback,
//! through a [`proxy::Proxy`] that counts bytes. [`measure`] reads what the processes took. A peer is one [`peer::Peer`].

mod automerge;
mod crowd;
mod daemon;
mod databases;
mod engine;
mod git;
mod keep;
mod measure;
mod node;
mod page;
mod peer;
mod plots;
mod postgres;
mod pouchdb;
mod proxy;
mod rsync;
mod scale;
mod table;
mod tower;
mod vault;
mod workload;

use automerge::AutomergeRepo;
use engine::Engine;
use git::{Git, Refs};
use peer::Peer;
use pouchdb::PouchDb;
use rsync::Rsync;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use table::Measured;
use workload::{Shape, shapes};

const USAGE: &str =
    "usage: ibgib-bench compare [--quick] [--rounds N] [--only W]... [--peer P]... [--install] [--ibgib FILE] [--json]
                           [--write FILE]
  --quick       small workloads and one round, to see that all of it works
  --rounds N    how often each is measured, the peers in turn (default 5); medians are told
  --only W      only this workload: W1, W4, W6, W6-100k, W7, W8-1k, W8-10k, W8-50k or W10; W2, W3, W5, W2-open
                and W3-open come after W1, W7-20 after W7, W9-1k after W8-1k
  --peer P      only this peer: ibgib, git, git-refs, pouchdb, automerge-repo or rsync
  --install     first installs pouchdb and automerge-repo from the registry of Node.js
  --ibgib FILE  the command to measure (default: this source, built for release)
  --json        one JSON object for each line of the table
  --write FILE  also the table's section of a page, as docs/performance.md, and its plots in a folder beside it
usage: ibgib-bench vault [--sockets N] [--writes N] [--seconds N] [--accounts N] [--ibgib FILE | --url URL --pid PID]
  --sockets N    sockets that wait for a vault's notices (default 5000)
  --writes N     writes each second (default 500)
  --seconds N    how long (default 20)
  --accounts N   accounts that they belong to (default 250)
  --url URL      a server that runs already and takes everybody in, with its process id
usage: ibgib-bench postgres [--quick] [--rounds N] [--watchers N] [--seconds N] [--url URL] [--ibgib FILE]
                            [--write FILE]
  --rounds N     how often W1 is measured over a directory and over a database (default 5)
  --watchers N   devices that only wait (default 1000), for --seconds N (default 165)
  --url URL      a PostgreSQL server in which databases may be made (default: tools/postgres starts one)
  --write FILE   also a section of a page with what came of it, as docs/performance.md
usage: ibgib-bench scale [--quick] [--up-to N] [--rounds N] [--large GB] [--syncs N] [--files N] [--ibgib FILE]
                         [--write FILE]
  --quick        not with 1,000,000 timelines, nor with one of 100,000 frames, nor a large space; and three rounds
  --up-to N      with no more timelines than this (default: 1,000, 10,000, 100,000 and 1,000,000), and none of more
                 frames (1,000, 10,000 and 100,000)
  --large GB     also a space with so much text in its nodes (default 1, which is 210,000 nodes; 0: none)
  --rounds N     how often each is measured (default 5)
  --syncs N      syncs with nothing to do, after which it is seen how much the stores grew (default 1000)
  --files N      files of a folder that is in step, for status (default 5000)
  --write FILE   also a section of a page with what came of it, as docs/performance.md, and its plot
usage: ibgib-bench crowd [--clients N] [--ibgib FILE] [--write FILE]
  --clients N    clients that push at once (default 1000)
  --write FILE   also a section of a page with what came of it, as docs/performance.md
usage: ibgib-bench plots FILE
  draws the plots of a page anew from its tables, in a folder beside it: docs/performance.md
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
    install: bool,
    ibgib: Option<PathBuf>,
    json: bool,
    write: Option<PathBuf>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (only, peers) = (Vec::new(), Vec::new());
        let mut out =
            Self { quick: false, rounds: 0, only, peers, install: false, ibgib: None, json: false, write: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => out.quick = true,
                "--json" => out.json = true,
                "--install" => out.install = true,
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

const PEERS: [&str; 6] = ["ibgib", "git", "git-refs", "pouchdb", "automerge-repo", "rsync"];

pub(crate) const HEADING: &str = "A sync, beside others";
const ABOUT: &str = "What a sync of everything that is new costs, over loopback; CPU, memory and disk are those of client and server. Times on a \
machine that does other things too are worth little: compare CPU and bytes. Client and server of ibgib are processes of \
their own, each turn is signed on both sides, and what was taken is on the disk before it is told as taken. The others \
sign nothing, and do not sync all of it to the disk. `git` keeps all documents on one branch; `git-refs` keeps each on a \
branch of its own, which is what comes nearest to timelines. `pouchdb` sends the newest revision of a document and no \
history, and its client runs already when it is asked to sync; its memory includes what making the documents took. \
Beside its W2 and W3 stand W2-open and W3-open of ibgib, whose client there is a program around the library that runs \
already and keeps its connection; in W2 and W3 it is a command that starts, connects and proves who it is. The memory \
of `automerge-repo` includes the documents, too. It keeps all of the history, \
over its adapters for WebSockets and for files, and is done when both sides have the same heads of every document: \
what it writes to its files after that is in its CPU. It is not measured with more than 1,000 documents, nor with more \
than 5,000 revisions of one: with 10,000 documents, on a machine that did other things too, its server gave up after a \
minute's wait for its own files. \
`rsync` compresses, compares times and sizes, and keeps no history. Below the table stands which bytes between client and server \
are the *identity*: the frames that were delivered to introduce a session, those that signed on the connection, and the \
server's signatures; the rest is everything else, the heads of HTTP, too. There stands, too, how often W2 of ibgib waits for the \
other side: how much longer it takes over a line on which everything arrives 100 ms later, in 200 ms; to open connections is not in that. Of W10 the packs of git are \
told as well, without what else lies in a repository.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match arguments.next().as_deref() {
        Some("compare") => Options::read(arguments).map(|options| compare(&options)),
        Some("postgres") => postgres::Options::read(arguments).map(|options| postgres::run(&options)),
        Some("crowd") => crowd::Options::read(arguments).map(|options| crowd::run(&options)),
        Some("keep") => keep::Options::read(arguments).map(|options| keep::run(&options)),
        Some("plots") => {
            arguments.next().filter(|_| arguments.next().is_none()).map(|page| plots::draw(Path::new(&page)))
        }
        Some("scale") => scale::Options::read(arguments).map(|options| scale::run(&options)),
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
    if options.install {
        node::install()?;
    }
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    let (git, rsync) = (runs("git"), runs("rsync"));
    let (pouchdb, automerge) = (node::is_installed(node::POUCHDB), node::is_installed(node::AUTOMERGE));
    let others: [(Box<dyn Peer>, bool, &str); 5] = [
        (Box::new(Git::new("git", Refs::One)), git, "there is no git here"),
        (Box::new(Git::new("git-refs", Refs::Each)), git, "there is no git here"),
        (Box::new(PouchDb), pouchdb, "it is not installed; --install brings it"),
        (Box::new(AutomergeRepo), automerge, "it is not installed; --install brings it"),
        (Box::new(Rsync), rsync, "there is no rsync here"),
    ];
    for (peer, is_there, why) in others {
        match options.wants(&options.peers, peer.name()) {
            true if is_there => peers.push(peer),
            true => eprintln!("{} is left out: {why}", peer.name()),
            false => {}
        }
    }
    let mut measured = Measured::new();
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
        let told = format!("{ABOUT}\n\n{}\n\n{}", page::measured(options.rounds)?, plots::of_compare(file));
        page::write(file, HEADING, &table::section(&measured, &names, &told))?;
        plots::draw(file)?;
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
