//! `ibgib-bench scale`: what opening a space and syncing it cost by how many timelines there are in it; what a sync costs of
//! a long timeline, and of gigabytes; what many syncs leave in the stores, and how long it takes to see that nothing changed
//! in a folder.

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
/// Frames of one timeline; with `--quick` not the last of them.
const FRAMES: [usize; 3] = [1_000, 10_000, 100_000];
/// Gigabytes of the large space; what each of its documents has: revisions, and about how many bytes of text, which is in
/// two nodes each: the frame, and what made it.
const LARGE: f64 = 1.0;
const LARGE_DOCUMENTS: (usize, usize) = (20, 5_000);
/// Timelines that change in between.
const CHANGED: usize = 10;
/// Timelines of the stores that are synced again and again.
const AGAIN: usize = 1_000;
/// Files of the folder that is looked through, and about how many bytes each has.
const FILES: (usize, usize) = (5_000, 2_000);

const ABOUT: &str = "Two spaces that have the same timelines of one revision each, one of a device and one of a server, and what a sync between \
them costs over loopback; CPU and memory are those of client and server. *Opening* is the library's, in a process that \
does nothing else. *Never met* is the first sync of two that have the same already. A turn is the client's, after the \
server has said something. The timelines were put into both stores through the library. The second table \
has what the first sync to an empty server costs, and the next one after one more frame: of one document with so many \
frames, and of a space of so many nodes with so much text in them, whose documents have 20 revisions of 5 kB, each with \
one more line changed. The large space was synced once.";

/// What was asked for.
pub(crate) struct Options {
    most: usize,
    rounds: usize,
    syncs: usize,
    files: usize,
    quick: bool,
    large: Option<f64>,
    ibgib: Option<PathBuf>,
    write: Option<PathBuf>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (quick, large, ibgib, write) = (false, None, None, None);
        let mut out = Self { most: SIZES[3], rounds: 5, syncs: 1_000, files: FILES.0, quick, large, ibgib, write };
        while let Some(argument) = arguments.next() {
            if argument == "--quick" {
                out = Self { most: out.most.min(SIZES[2]), rounds: 3, quick: true, ..out };
                continue;
            }
            let value = arguments.next()?;
            let number = || value.parse::<usize>().ok();
            match argument.as_str() {
                "--up-to" => out.most = number()?,
                "--rounds" => out.rounds = number().filter(|n| *n > 0)?,
                "--syncs" => out.syncs = number()?,
                "--files" => out.files = number()?,
                "--large" => out.large = Some(value.parse().ok().filter(|gigabytes| (0.0..1e3).contains(gigabytes))?),
                "--ibgib" => out.ibgib = Some(value.into()),
                "--write" => out.write = Some(value.into()),
                _ => return None,
            }
        }
        Some(out)
    }

    /// How long the timelines are, of those that are one alone.
    fn frames(&self) -> impl Iterator<Item = usize> {
        let most = if self.quick { FRAMES[1] } else { FRAMES[2] };
        FRAMES.into_iter().filter(move |frames| *frames <= self.most.min(most))
    }

    /// Gigabytes of the large space, if there is to be one.
    fn large(&self) -> f64 {
        self.large.unwrap_or(if self.quick { 0.0 } else { LARGE })
    }
}

/// One line of the table.
struct Row {
    timelines: usize,
    what: &'static str,
    costs: Vec<Cost>,
    turns: f64,
}

/// One line of the table below it: what was synced, and which time.
struct More {
    what: String,
    costs: Vec<Cost>,
}

/// Measures it, and prints what came of it.
pub(crate) fn run(options: &Options) -> Res<()> {
    let command = crate::command(options.ibgib.as_deref())?;
    let engine = Engine::new(&command)?;
    let (mut rows, mut more, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for timelines in SIZES.into_iter().filter(|size| *size <= options.most) {
        let of_size = sizes(&engine, &command, timelines, options.rounds)?;
        of_size.iter().for_each(|row| println!("{}", row.line()));
        rows.extend(of_size);
    }
    for frames in options.frames() {
        let of_length = long(&engine, &command, frames, options.rounds)?;
        of_length.iter().for_each(|row| println!("{}", row.line()));
        more.extend(of_length);
    }
    if options.large() > 0.0 {
        let of_large = large(&engine, &command, options.large())?;
        of_large.iter().for_each(|row| println!("{}", row.line()));
        more.extend(of_large);
    }
    if options.syncs > 0 {
        told.push(again(&engine, &command, options.syncs)?);
        println!("{}", told[told.len() - 1]);
    }
    if options.files > 0 {
        told.push(status(&engine, &command, options.files, options.rounds)?);
        println!("{}", told[told.len() - 1]);
    }
    if let Some(file) = &options.write {
        let told: String = told.iter().map(|line| format!("\n- {line}")).collect();
        let measured = page::measured(options.rounds)?;
        let (plot, tables) = (plots::of_scale(file), format!("{}{}", table(&rows), table_of_more(&more)));
        let text = format!("{ABOUT}\n\n{measured}\n\n{plot}\n\n{tables}{told}");
        page::write(file, page::MANY_TIMELINES, &text)?;
        plots::draw(file)?;
    }
    Ok(())
}

/// A device and a server, and the tips of those timelines that will change.
struct Pair {
    device: PathBuf,
    space: PathBuf,
    server: Server,
    proxy: Proxy,
    tips: Vec<Verified<IbGib>>,
}

impl Pair {
    /// With the same timelines at both.
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
        Self::serve(command, device, space, tips)
    }

    /// With these at the device, and nothing at the server. Of each document the frame is last.
    fn alone(
        engine: &Engine,
        command: &Path,
        dir: &Path,
        nodes: impl Iterator<Item = Res<Vec<Verified<IbGib>>>>,
    ) -> Res<Self> {
        let (device, space) = (dir.join("device"), dir.join("server"));
        engine.init(&device)?;
        let mut tip = None;
        let seen = nodes.inspect(|nodes| tip = nodes.as_ref().ok().and_then(|nodes| nodes.last().cloned()));
        engine.put(&device, seen)?;
        Self::serve(command, device, space, tip.into_iter().collect())
    }

    fn serve(command: &Path, device: PathBuf, space: PathBuf, tips: Vec<Verified<IbGib>>) -> Res<Self> {
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

    /// This revision of the last document that was put there alone.
    fn goes_on(&self, engine: &Engine, document: usize, revision: Revision) -> Res<()> {
        let tip = self.tips.last().ok_or("no document to go on with")?;
        engine.put(&self.device, [revised(tip, document, revision)].into_iter())
    }

    fn sync(&self, engine: &Engine) -> Res<(Cost, u64)> {
        let turns = self.proxy.turns();
        let cost = engine.sync(&self.device, &self.server, &self.proxy, &self.space, &["--all"])?;
        Ok((cost, self.proxy.turns() - turns))
    }

    /// Bytes that both stores take on disk.
    fn bytes(&self) -> Res<[u64; 2]> {
        Ok([measure::disk(&self.device.join(".ibgib/space"))?, measure::disk(&self.space)?])
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

/// A document's nodes, revision by revision, each with its frame last.
fn history(
    document: usize,
    revisions: usize,
    of: impl Fn(usize) -> Revision,
) -> impl Iterator<Item = Res<Vec<Verified<IbGib>>>> {
    let mut tip: Option<Verified<IbGib>> = None;
    (0..=revisions).map(move |nth| {
        let nodes = match &tip {
            None => document_of(document, 0)?,
            Some(tip) => revised(tip, document, of(nth - 1))?,
        };
        tip = nodes.last().cloned();
        Ok(nodes)
    })
}

/// The first sync of one document with many frames, and the next of one more.
fn long(engine: &Engine, command: &Path, frames: usize, rounds: usize) -> Res<[More; 2]> {
    let (mut first, mut next) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let dir = tempfile::tempdir()?;
        let made = history(0, frames - 1, |revision| Revision::of(0, revision));
        let pair = Pair::alone(engine, command, dir.path(), made)?;
        first.push(pair.sync(engine)?.0);
        pair.goes_on(engine, 0, Revision::of(0, frames - 1))?;
        next.push(pair.sync(engine)?.0);
    }
    let what = format!("{} frames", thousands(frames));
    Ok(both_syncs(&what, first, next))
}

/// The same of a space with so many gigabytes of text in its nodes.
fn large(engine: &Engine, command: &Path, gigabytes: f64) -> Res<[More; 2]> {
    let (revisions, bytes) = LARGE_DOCUMENTS;
    let documents = (gigabytes * 1e9) as usize / (2 * revisions * bytes);
    let dir = tempfile::tempdir()?;
    let began = Instant::now();
    let (mut nodes, mut text) = (0, 0);
    let all = (0..documents)
        .flat_map(|document| history(document, revisions, move |revision| Revision::long(document, revision, bytes)));
    let counted = all.inspect(|made| {
        let made = made.as_deref().unwrap_or_default();
        nodes += made.len();
        text += made.iter().map(|node| node.to_json().len()).sum::<usize>();
    });
    let pair = Pair::alone(engine, command, dir.path(), counted)?;
    eprintln!("{nodes} nodes were made in {:.1} s", began.elapsed().as_secs_f64());
    let first = pair.sync(engine)?.0;
    let last = documents.saturating_sub(1);
    pair.goes_on(engine, last, Revision::long(last, revisions, bytes))?;
    let what = format!("{} nodes, {:.1} GB", thousands(nodes), text as f64 / 1e9);
    Ok(both_syncs(&what, vec![first], vec![pair.sync(engine)?.0]))
}

fn both_syncs(what: &str, first: Vec<Cost>, next: Vec<Cost>) -> [More; 2] {
    [("the first sync", first), ("one more", next)]
        .map(|(which, costs)| More { what: format!("{what}: {which}"), costs })
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

/// How long it takes to see that nothing changed in a folder that is in step with a server.
fn status(engine: &Engine, command: &Path, files: usize, rounds: usize) -> Res<String> {
    let dir = tempfile::tempdir()?;
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    workload::write_files(&ours, files, FILES.1)?;
    workload::write_files(&theirs, files, FILES.1)?;
    engine.init(&ours)?;
    let space = dir.path().join("server");
    let server = Server::start(command, &space)?;
    engine.sync(&ours, &server, &Proxy::to(server.1)?, &space, &[])?;
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
        "`status` of {files} files that are in step with a server, of which none changed: {}. `git status`, of them committed: {}.",
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

/// What syncs cost: seconds, CPU, memory and bytes.
fn figures(costs: &[Cost]) -> [String; 4] {
    let both = |figure: &dyn Fn(&Cost, usize) -> f64, digits: usize| {
        let side = |i: usize| format!("{:.digits$}", median(costs, |cost| figure(cost, i)));
        format!("{} + {}", side(0), side(1))
    };
    [
        format!("{:.3}", median(costs, |cost| cost.wall)),
        both(&|cost, i| cost.cpu[i], 2),
        both(&|cost, i| cost.memory[i] as f64 / 1e6, 0),
        both(&|cost, i| cost.wire[i] as f64 / 1e3, 1),
    ]
}

impl Row {
    /// Its figures, after its timelines and what was done, turns last.
    fn cells(&self) -> [String; 5] {
        let [wall, cpu, memory, wire] = figures(&self.costs);
        // Nothing was sent.
        if self.turns == 0.0 {
            return [wall, String::new(), String::new(), String::new(), String::new()];
        }
        [wall, cpu, memory, wire, format!("{:.0}", self.turns)]
    }

    fn line(&self) -> String {
        let [wall, cpu, memory, wire, turns] = self.cells();
        format!("{:<9}{:<15}{wall:>9}{cpu:>16}{memory:>15}{wire:>20}{turns:>6}", self.timelines, self.what)
    }
}

impl More {
    /// Its figures, after what was synced, disk last.
    fn cells(&self) -> [String; 5] {
        let [wall, cpu, memory, wire] = figures(&self.costs);
        let disk = [0, 1].map(|i: usize| format!("{:.1}", median(&self.costs, |cost| cost.disk[i] as f64 / 1e6)));
        [wall, cpu, memory, wire, disk.join(" + ")]
    }

    fn line(&self) -> String {
        let [wall, cpu, memory, wire, disk] = self.cells();
        format!("{:<40}{wall:>9}{cpu:>16}{memory:>15}{wire:>20}{disk:>18}", self.what)
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

/// It is narrower than the first, which is the one that is drawn.
fn table_of_more(more: &[More]) -> String {
    if more.is_empty() {
        return String::new();
    }
    let mut out =
        "\n| | wall s | CPU s | memory MB | sent, received kB | disk MB |\n|---|---|---|---|---|---|\n".to_owned();
    for row in more {
        let _ = writeln!(out, "| {} | {} |", row.what, row.cells().join(" | "));
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
