//! `ibgib-bench scale`: what opening a space and syncing it cost by how many timelines there are in it, what many syncs
//! leave in the stores, and how long it takes to see that nothing changed in a folder.

use crate::engine::{Engine, Server, document_of, revised};
use crate::measure::{self, Memory};
use crate::peer::Cost;
use crate::proxy::Proxy;
use crate::table::median;
use crate::workload::{self, Revision};
use crate::{Res, page, plots};
use ibgib::{IbGib, Verified};
use ibgib_spaces::durable;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How many timelines.
const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Timelines that change in between.
const CHANGED: usize = 10;
/// Timelines of the stores that are synced again and again.
const AGAIN: usize = 1_000;
/// Files of the folder that is looked through, and about how many bytes each has.
const FILES: (usize, usize) = (5_000, 2_000);

const ABOUT: &str = "Two spaces that have the same timelines of one revision each, one of a device and one of a server, and what a sync between \
them costs over loopback; CPU and memory are those of client and server. *Opening* is the library's, in a process that \
does nothing else. *Never met* is the first sync of two that have the same already. A turn is the client's, after the \
server has said something. The timelines were put into both stores through the library.";

/// What was asked for.
pub(crate) struct Options {
    most: usize,
    rounds: usize,
    syncs: usize,
    files: usize,
    ibgib: Option<PathBuf>,
    write: Option<PathBuf>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut out = Self { most: SIZES[3], rounds: 5, syncs: 1_000, files: FILES.0, ibgib: None, write: None };
        while let Some(argument) = arguments.next() {
            if argument == "--quick" {
                out = Self { most: out.most.min(SIZES[2]), rounds: 3, ..out };
                continue;
            }
            let value = arguments.next()?;
            let number = || value.parse::<usize>().ok();
            match argument.as_str() {
                "--up-to" => out.most = number()?,
                "--rounds" => out.rounds = number().filter(|n| *n > 0)?,
                "--syncs" => out.syncs = number()?,
                "--files" => out.files = number()?,
                "--ibgib" => out.ibgib = Some(value.into()),
                "--write" => out.write = Some(value.into()),
                _ => return None,
            }
        }
        Some(out)
    }
}

/// One line of the table.
struct Row {
    timelines: usize,
    what: &'static str,
    costs: Vec<Cost>,
    turns: f64,
}

/// Measures it, and prints what came of it.
pub(crate) fn run(options: &Options) -> Res<()> {
    let command = crate::command(options.ibgib.as_deref())?;
    let engine = Engine::new(&command)?;
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    for timelines in SIZES.into_iter().filter(|size| *size <= options.most) {
        let of_size = sizes(&engine, &command, timelines, options.rounds)?;
        of_size.iter().for_each(|row| println!("{}", row.line()));
        rows.extend(of_size);
    }
    if options.syncs > 0 {
        told.push(again(&engine, &command, options.syncs)?);
        println!("{}", told[told.len() - 1]);
    }
    if options.files > 0 {
        told.push(status(&engine, options.files, options.rounds)?);
        println!("{}", told[told.len() - 1]);
    }
    if let Some(file) = &options.write {
        let told: String = told.iter().map(|line| format!("\n- {line}")).collect();
        let measured = page::measured(options.rounds)?;
        let text = format!("{ABOUT}\n\n{measured}\n\n{}\n\n{}{told}", plots::of_scale(file), table(&rows));
        page::write(file, page::MANY_TIMELINES, &text)?;
        plots::draw(file)?;
    }
    Ok(())
}

/// A device and a server with the same timelines.
struct Pair {
    device: PathBuf,
    space: PathBuf,
    server: Server,
    proxy: Proxy,
    tips: Vec<Verified<IbGib>>,
}

impl Pair {
    fn make(engine: &Engine, command: &Path, dir: &Path, timelines: usize) -> Res<Self> {
        let (device, space) = (dir.join("device"), dir.join("server"));
        engine.init(&device)?;
        durable::create(&space)?;
        // Only those that will change are kept: a million of them take gigabytes.
        let step = (timelines / CHANGED).max(1);
        let mut tips = Vec::new();
        engine.put(&device, (0..timelines).map(|document| document_of(document, 1)))?;
        let made = (0..timelines).map(|document| {
            let nodes = document_of(document, 1)?;
            if document % step == 0 {
                tips.extend(nodes.last().cloned());
            }
            Ok(nodes)
        });
        engine.put_into(&space, made)?;
        let server = Server::start(command, &space)?;
        Ok(Self { proxy: Proxy::to(server.1)?, device, space, server, tips })
    }

    /// One more revision of some of the timelines, at the device.
    fn change(&mut self, engine: &Engine, timelines: usize, revision: usize) -> Res<()> {
        let step = (timelines / CHANGED).max(1);
        let made = self.tips.iter().enumerate();
        let made: Vec<Vec<Verified<IbGib>>> =
            made.map(|(nth, tip)| revised(tip, nth * step, Revision::of(nth * step, revision))).collect::<Res<_>>()?;
        self.tips = made.iter().filter_map(|nodes| nodes.last().cloned()).collect();
        engine.put(&self.device, made.into_iter().map(Ok))
    }

    fn sync(&self, engine: &Engine) -> Res<(Cost, u64)> {
        let turns = self.proxy.turns();
        let cost = engine.sync(&self.device, &self.server, &self.proxy, &self.space, &["--all"])?;
        Ok((cost, self.proxy.turns() - turns))
    }

    /// Bytes in the files of both stores.
    fn bytes(&self) -> Res<[u64; 2]> {
        Ok([measure::bytes(&self.device.join(".ibgib/space"))?, measure::bytes(&self.space)?])
    }
}

fn sizes(engine: &Engine, command: &Path, timelines: usize, rounds: usize) -> Res<Vec<Row>> {
    let dir = tempfile::tempdir()?;
    let began = Instant::now();
    let mut pair = Pair::make(engine, command, dir.path(), timelines)?;
    eprintln!("{timelines} timelines were made twice in {:.1} s", began.elapsed().as_secs_f64());
    let store = pair.device.join(".ibgib/space");
    let mut opening = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let space = durable::open(&store)?;
        opening.push(Cost { wall: started.elapsed().as_secs_f64(), ..Cost::default() });
        drop(space);
    }
    let mut rows = vec![Row { timelines, what: "opening", costs: opening, turns: 0.0 }];
    let mut row = |what, synced: Vec<(Cost, u64)>| {
        let (costs, mut turns): (Vec<Cost>, Vec<u64>) = synced.into_iter().unzip();
        turns.sort_unstable();
        rows.push(Row { timelines, what, costs, turns: turns[turns.len() / 2] as f64 });
    };
    row("never met", vec![pair.sync(engine)?]);
    row("nothing to do", (0..rounds).map(|_| pair.sync(engine)).collect::<Res<_>>()?);
    let changed = (0..rounds).map(|round| {
        pair.change(engine, timelines, 1 + round)?;
        pair.sync(engine)
    });
    row("10 changed", changed.collect::<Res<_>>()?);
    Ok(rows)
}

/// By how much the stores of both sides grow with syncs that have nothing to do.
fn again(engine: &Engine, command: &Path, syncs: usize) -> Res<String> {
    let dir = tempfile::tempdir()?;
    let pair = Pair::make(engine, command, dir.path(), AGAIN)?;
    pair.sync(engine)?;
    let before = pair.bytes()?;
    let began = Instant::now();
    for nth in 0..syncs {
        if nth % 100 == 0 {
            eprint!("\r{nth} syncs");
        }
        pair.sync(engine)?;
    }
    eprintln!();
    let each = began.elapsed().as_secs_f64() / syncs as f64;
    let after = pair.bytes()?;
    let grew = [0, 1].map(|side| (after[side] as f64 - before[side] as f64) / 1e6);
    Ok(format!(
        "{syncs} syncs of {AGAIN} timelines with nothing to do: the device's store grew by {:.2} MB, the server's by {:.2} MB, \
         {:.0} ms each.",
        grew[0],
        grew[1],
        each * 1e3
    ))
}

/// How long it takes to see that nothing changed in a folder.
fn status(engine: &Engine, files: usize, rounds: usize) -> Res<String> {
    let dir = tempfile::tempdir()?;
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    workload::write_files(&ours, files, FILES.1)?;
    workload::write_files(&theirs, files, FILES.1)?;
    engine.init(&ours)?;
    succeed(&mut engine.device(&ours, &["snapshot"]))?;
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(&theirs).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(arguments).stdout(Stdio::null());
        git
    };
    for arguments in [&["init", "--quiet"][..], &["add", "-A"], &["commit", "--quiet", "-m", "r"]] {
        succeed(&mut git(arguments))?;
    }
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    // The first one of each is not counted: it may note what it found.
    for round in 0..=rounds {
        let both = [ran(&mut engine.device(&ours, &["status"]))?, ran(&mut git(&["status"]))?];
        if round > 0 {
            of_ours.push(both[0]);
            of_theirs.push(both[1]);
        }
    }
    let say = |costs: &[Cost]| {
        format!(
            "{:.0} ms, {:.0} ms of CPU, {:.0} MB of memory",
            median(costs, |cost| cost.wall) * 1e3,
            median(costs, |cost| cost.cpu[0]) * 1e3,
            median(costs, |cost| cost.memory[0] as f64) / 1e6
        )
    };
    Ok(format!(
        "`status` of {files} files of which none changed: {}. `git status`: {}.",
        say(&of_ours),
        say(&of_theirs)
    ))
}

/// Runs a command, and answers what it took.
fn ran(command: &mut Command) -> Res<Cost> {
    let (spent, started) = (measure::children_cpu()?, Instant::now());
    let mut child = command.spawn()?;
    let memory = Memory::watch(child.id());
    let ended = child.wait()?;
    let wall = started.elapsed().as_secs_f64();
    if !ended.success() {
        return Err(format!("{} failed", command.get_program().display()).into());
    }
    let cpu = [measure::children_cpu()? - spent, 0.0];
    Ok(Cost { wall, cpu, memory: [memory.most(), 0], ..Cost::default() })
}

fn succeed(command: &mut Command) -> Res<()> {
    ran(command).map(|_| ())
}

impl Row {
    /// Its figures, after its timelines and what was done: seconds, CPU, memory, bytes and turns.
    fn cells(&self) -> [String; 5] {
        let wall = format!("{:.3}", median(&self.costs, |cost| cost.wall));
        let both = |figure: &dyn Fn(&Cost, usize) -> f64, digits: usize| {
            let side = |i: usize| format!("{:.digits$}", median(&self.costs, |cost| figure(cost, i)));
            format!("{} + {}", side(0), side(1))
        };
        // Nothing was sent.
        if self.turns == 0.0 {
            return [wall, String::new(), String::new(), String::new(), String::new()];
        }
        [
            wall,
            both(&|cost, i| cost.cpu[i], 2),
            both(&|cost, i| cost.memory[i] as f64 / 1e6, 0),
            both(&|cost, i| cost.wire[i] as f64 / 1e3, 1),
            format!("{:.0}", self.turns),
        ]
    }

    fn line(&self) -> String {
        let [wall, cpu, memory, wire, turns] = self.cells();
        format!("{:<9}{:<15}{wall:>9}{cpu:>16}{memory:>15}{wire:>20}{turns:>6}", self.timelines, self.what)
    }
}

fn table(rows: &[Row]) -> String {
    let mut out =
        "| timelines | | wall s | CPU s | memory MB | sent, received kB | turns |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let _ = writeln!(out, "| {} | {} | {} |", thousands(row.timelines), row.what, row.cells().join(" | "));
    }
    out
}

/// A number as people read it: 10,000.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn numbers_are_read_in_groups_of_three() {
        assert_eq!([1, 999, 1_000, 100_000, 1_000_000].map(thousands), ["1", "999", "1,000", "100,000", "1,000,000"]);
    }
}
