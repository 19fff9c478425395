//! `compare-merges`: the text merge of this project beside `git merge-file` and the crate `diffy`, on three-way cases from
//! a git history and on seeded paragraph edits of real documents. What each tool calls clean is checked by edits, not by
//! another merge. Exit 1: a wrong result of ours, or more conflicts than git; 2: it could not run.

use ibgib::{Value, merge::text};
use similar::{Algorithm, DiffTag, capture_diff_slices};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str = "usage: compare-merges [--repo DIR] [--folder DIR] [--cases N] [--seed N] [--case N] [--json]
  --repo DIR    git repository whose history gives cases (default: the current folder's)
  --folder DIR  folder whose *.md and *.rs files are edited (default: .)
  --cases N     how many cases in all (default 2000)
  --seed N      seed of the generated edits (default 1)
  --case N      replays one case, with the same other options, and prints it
  --json        prints one JSON object";

const TOOLS: [&str; 3] = ["ibgib", "git merge-file", "diffy"];
const COMMITS_MAX: &str = "--max-count=1000";
const BYTES_MAX: usize = 128 * 1024;

type Res<T> = Result<T, Box<dyn Error>>;

struct Options {
    repo: PathBuf,
    folder: PathBuf,
    cases: usize,
    seed: u64,
    case: Option<usize>,
    json: bool,
}

/// A case: two texts made from one.
struct Case {
    name: String,
    base: String,
    left: String,
    right: String,
    /// What the merge must give, where that is known.
    known: Option<String>,
}

/// Where a case comes from; texts are made when its turn comes.
enum Source {
    /// Three versions of one file: base, left, right.
    Versions(usize, [usize; 3]),
    /// The changes of one commit, divided between two sides.
    Divided(usize, usize),
    Generated,
}

impl Source {
    fn group(&self) -> usize {
        match self {
            Self::Versions(..) => 0,
            Self::Divided(..) => 1,
            Self::Generated => 2,
        }
    }
}

const GROUPS: [&str; 4] = ["history: picks, reverts, merges", "history: a change divided", "generated edits", "all"];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn options() -> Res<Option<Options>> {
    let mut o = Options { repo: ".".into(), folder: ".".into(), cases: 2_000, seed: 1, case: None, json: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--repo" => o.repo = value()?.into(),
            "--folder" => o.folder = value()?.into(),
            "--cases" => o.cases = value()?.parse()?,
            "--seed" => o.seed = value()?.parse()?,
            "--case" => o.case = Some(value()?.parse()?),
            "--json" => o.json = true,
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown option {arg}\n{USAGE}").into()),
        }
    }
    Ok(Some(o))
}

/// Git with its own defaults, whatever this machine is set to.
fn git(repo: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repo).args(["-c", "core.quotepath=off"]);
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").stdin(Stdio::null());
    command
}

fn git_output(command: &mut Command) -> Res<Vec<u8>> {
    let out = command.output().map_err(|e| format!("git cannot be run (is it installed?): {e}"))?;
    if out.status.success() { Ok(out.stdout) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned().into()) }
}

/// Files with the texts of their versions, oldest first, and triples that are real merges.
#[derive(Default)]
struct History {
    files: Vec<(String, Vec<String>)>,
    merges: Vec<(usize, [usize; 3])>,
}

fn history(repo: &Path) -> Res<History> {
    let log =
        ["log", "--first-parent", "-m", "--reverse", "--raw", "--no-abbrev", "--no-renames", "--format=", COMMITS_MAX];
    let log = String::from_utf8_lossy(&git_output(git(repo).args(log))?).into_owned();
    let mut blobs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut merges: Vec<(String, [String; 3])> = Vec::new();
    for line in log.lines() {
        if let Some((_, blob, path)) = raw_line(line) {
            blobs.entry(path).or_default().push(blob);
        }
    }
    let parents = git_output(git(repo).args(["rev-list", "--merges", "--parents", COMMITS_MAX, "HEAD"]))?;
    for line in String::from_utf8_lossy(&parents).lines() {
        let [_, left, right] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let Ok(base) = git_output(git(repo).args(["merge-base", left, right])) else { continue };
        let base = String::from_utf8_lossy(&base).trim().to_owned();
        let changed = |side: &str| -> Res<BTreeMap<String, (String, String)>> {
            let out = git_output(git(repo).args(["diff", "--raw", "--no-abbrev", "--no-renames", &base, side]))?;
            Ok(String::from_utf8_lossy(&out).lines().filter_map(raw_line).map(|(a, b, path)| (path, (a, b))).collect())
        };
        let (l, mut r) = (changed(left)?, changed(right)?);
        for (path, (old, new)) in l {
            if let Some((_, other)) = r.remove(&path) {
                merges.push((path, [old, new, other]));
            }
        }
    }
    let ids: BTreeSet<&String> = blobs.values().flatten().chain(merges.iter().flat_map(|m| &m.1)).collect();
    let texts = blob_texts(repo, &ids)?;
    let known = |ids: &[String]| -> Vec<String> { ids.iter().filter_map(|id| texts.get(id).cloned()).collect() };
    let mut out = History::default();
    for (path, ids) in &blobs {
        let mut versions = known(ids);
        versions.dedup();
        out.files.push((path.clone(), versions));
    }
    for (path, ids) in &merges {
        let versions = known(ids);
        if versions.len() == 3 {
            out.merges.push((out.files.len(), [0, 1, 2]));
            out.files.push((path.clone(), versions));
        }
    }
    Ok(out)
}

/// Old blob, new blob and path of a regular file in `--raw` output.
fn raw_line(line: &str) -> Option<(String, String, String)> {
    let (meta, path) = line.strip_prefix(':')?.split_once('\t')?;
    let [_, mode, old, new, _] = meta.split(' ').collect::<Vec<_>>()[..] else { return None };
    mode.starts_with("100").then(|| (old.to_owned(), new.to_owned(), path.to_owned()))
}

/// The blobs that are text and not too long.
fn blob_texts(repo: &Path, ids: &BTreeSet<&String>) -> Res<HashMap<String, String>> {
    let list = tempfile::NamedTempFile::new()?;
    std::fs::write(list.path(), ids.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    let all = git_output(git(repo).args(["cat-file", "--batch"]).stdin(list.reopen()?))?;
    let (mut out, mut rest) = (HashMap::new(), &all[..]);
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 1..];
        let [id, "blob", size] = head.split(' ').collect::<Vec<_>>()[..] else { continue };
        let size: usize = size.parse()?;
        if let Ok(text) = std::str::from_utf8(&rest[..size])
            && size <= BYTES_MAX
            && !text.contains('\0')
        {
            out.insert(id.to_owned(), text.to_owned());
        }
        rest = &rest[size + 1..];
    }
    Ok(out)
}

/// Every case a history gives: real merges, picks of a change onto an older version, reverts under newer ones, and
/// changes divided between two sides.
fn history_cases(history: &History) -> Vec<Source> {
    let mut out: Vec<Source> = history.merges.iter().map(|(file, v)| Source::Versions(*file, *v)).collect();
    let of_merges: HashSet<usize> = history.merges.iter().map(|m| m.0).collect();
    for (file, (_, v)) in history.files.iter().enumerate().filter(|(file, _)| !of_merges.contains(file)) {
        let mut seen = HashSet::new();
        for j in 0..v.len().saturating_sub(1) {
            let picks = (0..j).map(|i| [j, i, j + 1]);
            let reverts = (j + 2..v.len()).map(|k| [j + 1, j, k]);
            for t in picks.chain(reverts) {
                if v[t[0]] != v[t[1]] && v[t[1]] != v[t[2]] && v[t[0]] != v[t[2]] && seen.insert(t) {
                    out.push(Source::Versions(file, t));
                }
            }
            if hunks(&v[j], &v[j + 1]).len() > 1 {
                out.extend((0..4).map(|_| Source::Divided(file, j)));
            }
        }
    }
    out
}

/// Lines without their ends; a missing last end is not told apart.
fn lines(text: &str) -> Vec<&str> {
    text.strip_suffix('\n').map_or_else(|| text.split('\n').collect(), |t| t.split('\n').collect())
}

/// Runs of lines taken out of `a` and put in from `b`, as another crate's diff sees them.
fn hunks<'a>(a: &str, b: &'a str) -> Vec<(Range<usize>, Vec<&'a str>)> {
    let patch = diffy::DiffOptions::new().set_context_len(0).create_patch(a, b);
    let all: Vec<&str> = b.split_inclusive('\n').collect();
    // An empty range names the line before it.
    let range = |r: diffy::HunkRange| if r.is_empty() { r.start()..r.start() } else { r.start() - 1..r.end() - 1 };
    patch.hunks().iter().map(|h| (range(h.old_range()), all[range(h.new_range())].to_vec())).collect()
}

/// Divides the change from `base` to `new`: each run of lines goes to one side, now and then to both.
fn divided(name: &str, base: &str, new: &str, rng: &mut Rng) -> Option<Case> {
    let hunks = hunks(base, new);
    let to: Vec<usize> = hunks.iter().map(|_| [1, 2, 1, 2, 1, 2, 3][rng.below(7)]).collect();
    let all: Vec<&str> = base.split_inclusive('\n').collect();
    let side = |bit: usize| {
        let (mut text, mut at) = (String::new(), 0);
        for ((old, put), _) in hunks.iter().zip(&to).filter(|(_, to)| **to & bit != 0) {
            text.extend(all[at..old.start].iter().chain(put).copied());
            at = old.end;
        }
        text.extend(all[at..].iter().copied());
        text
    };
    // With both sides' bits set every run is taken: this must give the new text, else the runs were read wrongly.
    if side(3) != new {
        return None;
    }
    let (left, right) = (side(1), side(2));
    Some(Case { name: name.to_owned(), base: base.to_owned(), left, right, known: Some(new.to_owned()) })
}

/// What a side took out and put in, as four algorithms read it: of a line that stands several times nobody can say which
/// one is meant. A result that one of them explains is right.
fn readings<'a>(a: &[&'a str], side: &[&'a str]) -> Vec<(Counts, Counts)> {
    let texts = [a, side].map(|lines| lines.iter().map(|l| format!("{l}\n")).collect::<String>());
    let hunks = hunks(&texts[0], &texts[1]);
    let gone = hunks.iter().flat_map(|h| &a[h.0.clone()]).copied();
    let mut out = vec![(count(gone), count(hunks.iter().flat_map(|h| &h.1).copied()))];
    for algorithm in [Algorithm::Myers, Algorithm::Patience, Algorithm::Lcs] {
        let ops = capture_diff_slices(algorithm, a, side);
        let changes = ops.iter().filter(|op| op.tag() != DiffTag::Equal);
        let gone = changes.clone().flat_map(|op| &a[op.old_range()]).copied();
        out.push((count(gone), count(changes.flat_map(|op| &side[op.new_range()]).copied())));
    }
    out
}

fn documents(folder: &Path, out: &mut Vec<(String, String)>) -> Res<()> {
    let mut entries = std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = std::fs::symlink_metadata(&path)?;
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            documents(&path, out)?;
        } else if kind.is_file() && [".md", ".rs"].iter().any(|end| name.ends_with(end)) {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            if text.len() <= BYTES_MAX && text.split("\n\n").count() >= 4 {
                out.push((path.display().to_string(), text));
            }
        }
    }
    Ok(())
}

/// Paragraph edits of a document on both sides, often near each other, now and then the same edit on both.
fn generated(docs: &[(String, String)], rng: &mut Rng) -> Case {
    let (name, base) = &docs[rng.below(docs.len())];
    let start: Vec<String> = base.split("\n\n").map(str::to_owned).collect();
    let mut both = start.clone();
    if rng.below(8) == 0 {
        let at = rng.below(both.len());
        edit(&mut both, at, docs, rng);
    }
    let near = (rng.below(3) == 0).then(|| rng.below(start.len()));
    let mut side = || {
        let mut paragraphs = both.clone();
        for _ in 0..1 + rng.below(4) {
            let at = (near.unwrap_or(0) + rng.below(near.map_or(paragraphs.len(), |_| 3))).min(paragraphs.len() - 1);
            edit(&mut paragraphs, at, docs, rng);
        }
        paragraphs.join("\n\n")
    };
    let (left, right) = (side(), side());
    Case { name: name.clone(), base: base.clone(), left, right, known: None }
}

fn edit(p: &mut Vec<String>, at: usize, docs: &[(String, String)], rng: &mut Rng) {
    // Text from elsewhere, so that new lines are as real, and as repetitive, as old ones.
    let other: Vec<&str> = docs[rng.below(docs.len())].1.trim_end().split("\n\n").collect();
    let other = other[rng.below(other.len())];
    let words: Vec<&str> = other.split_whitespace().collect();
    let word = if words.is_empty() { "new" } else { words[rng.below(words.len())] };
    match rng.below(7) {
        0 => p.insert(at, other.to_owned()),
        1 if p.len() > 2 => drop(p.remove(at)),
        2 if p.len() > 2 => {
            let moved = p.remove(at);
            p.insert(rng.below(p.len()), moved);
        }
        3 => {
            let last = p.len() - 1;
            p[last] = p[last].trim_end_matches('\n').to_owned();
            p.push(format!("{other}\n"));
        }
        what => {
            let mut of: Vec<String> = p[at].split('\n').map(str::to_owned).collect();
            let i = rng.below(of.len());
            let words: Vec<&str> = of[i].split_whitespace().collect();
            of[i] = match what {
                4 => format!("{} {word}", of[i]),
                5 if !words.is_empty() => of[i].replacen(words[rng.below(words.len())], word, 1),
                _ => other.lines().next().unwrap_or("new").to_owned(),
            };
            p[at] = of.join("\n");
        }
    }
}

/// What a tool made of a case.
struct Made {
    text: String,
    /// Places in conflict.
    places: usize,
    /// Lines kept beside the text.
    record: HashSet<String>,
}

fn ours(base: &str, left: &str, right: &str) -> Made {
    let made = text::merge(Some(base), left, right, false);
    let record = made.conflicts.iter().flat_map(|c| [&c.base, &c.orphan]).flat_map(|t| lines(t)).map(str::to_owned);
    Made { record: record.collect(), places: made.conflicts.len(), text: made.text }
}

fn git_merge_file(case: &Case, dir: &Path) -> Res<Made> {
    for (name, text) in [("base", &case.base), ("left", &case.left), ("right", &case.right)] {
        std::fs::write(dir.join(name), text)?;
    }
    let out = git(dir).args(["merge-file", "-p", "-q", "left", "base", "right"]).output()?;
    match out.status.code() {
        Some(places @ 0..=127) => {
            Ok(Made { text: String::from_utf8(out.stdout)?, places: places as usize, record: HashSet::new() })
        }
        _ => Err(format!("git merge-file: {}", String::from_utf8_lossy(&out.stderr)).into()),
    }
}

fn diffy_merge(case: &Case) -> Made {
    let (text, clean) = match diffy::merge(&case.base, &case.left, &case.right) {
        Ok(text) => (text, true),
        Err(text) => (text, false),
    };
    let places = if clean { 0 } else { text.lines().filter(|l| *l == "<<<<<<< ours").count().max(1) };
    Made { text, places, record: HashSet::new() }
}

type Counts = HashMap<String, i64>;

fn count<'a>(lines: impl IntoIterator<Item = &'a str>) -> Counts {
    let mut out = HashMap::new();
    lines.into_iter().for_each(|l| *out.entry(l.trim_end_matches('\n').to_owned()).or_default() += 1);
    out
}

/// What is told of one result.
#[derive(Default)]
struct Told {
    /// Edits lost, lines doubled, deleted lines back, lines that are nobody's.
    wrong: Vec<String>,
    /// Lines that stand in another order than their side has them.
    order: Vec<String>,
    /// Lines that both sides put in and that stand twice.
    twice: usize,
}

/// Checks a result by the edits of each side, which another crate's diff reads. Lines without a letter or digit are not
/// checked: of several blank lines nobody can say which one an edit meant.
fn check(base: &str, left: &str, right: &str, made: &Made) -> Told {
    let texts =
        [base, left, right, &made.text].map(|t| if t.ends_with('\n') { t.to_owned() } else { format!("{t}\n") });
    let [a, l, r, m] = [0, 1, 2, 3].map(|i| lines(&texts[i]));
    let [in_a, in_l, in_r, mut in_m] = [&a, &l, &r, &m].map(|v| count(v.iter().copied()));
    let n = |c: &Counts, l: &str| c.get(l).copied().unwrap_or(0);
    let [of_l, of_r] = [&l, &r].map(|side| readings(&a, side));
    let (l_put, r_put) = (&of_l[0].1, &of_r[0].1);
    let mut told = Told::default();
    // A line that is nobody's must hold one lost line of each side, in order, and nothing more.
    let all: BTreeSet<&str> = a.iter().chain(&l).chain(&r).copied().collect();
    for new in m.iter().filter(|x| !all.contains(**x)) {
        let lost = |put: &Counts| {
            let holds = |x: &str| {
                let mut rest = new.chars();
                x.chars().all(|c| rest.any(|d| d == c))
            };
            let lost = put.keys().filter(|x| n(&in_m, x) < n(&in_l, x).max(n(&in_r, x)));
            lost.filter(|x| holds(x)).max_by_key(|x| (x.len(), (*x).clone())).cloned()
        };
        match (lost(l_put), lost(r_put)) {
            (Some(x), Some(y)) if new.len() <= x.len() + y.len() => {
                [x, y].into_iter().for_each(|x| *in_m.entry(x).or_default() += 1);
            }
            _ => told.wrong.push(format!("nobody's: {new}")),
        }
    }
    for line in all.into_iter().filter(|l| l.contains(char::is_alphanumeric)) {
        let (was, is) = (n(&in_a, line), n(&in_m, line));
        let one_each = n(&in_l, line) == 1 && n(&in_r, line) == 1;
        // What stands once everywhere stands once, wherever it was moved to.
        let (mut least, mut most, mut put) = (1, 1, 0);
        if was != 1 || !one_each {
            (least, most) = (i64::MAX, i64::MIN);
            for (l, r) in of_l.iter().flat_map(|l| of_r.iter().map(move |r| (l, r))) {
                let [(lg, lp), (rg, rp)] = [l, r].map(|side| (n(&side.0, line), n(&side.1, line)));
                (least, most) = (least.min(was - lg - rg + lp.max(rp)), most.max(was - lg.max(rg) + lp + rp));
                put += lp + rp;
            }
        }
        if is < least && !made.record.contains(line) {
            told.wrong.push(format!("lost: {line}"));
        } else if is > most {
            told.wrong.push(format!("{}: {line}", if put == 0 { "deleted, but back" } else { "doubled" }));
        }
        told.twice += usize::from(was == 0 && one_each && is == 2);
    }
    // In each side's order: the lines that it alone put in, and those that neither side moved.
    let still: HashSet<&str> = still(&a, &l).intersection(&still(&a, &r)).copied().collect();
    let at: HashMap<&str, usize> = m.iter().enumerate().map(|(i, x)| (*x, i)).collect();
    for (side, other) in [(&l, &in_r), (&r, &in_l)] {
        let own = |x: &str| still.contains(x) || n(&in_a, x) + n(other, x) == 0;
        let once = |x: &str| n(&in_m, x) == 1 && at.contains_key(x);
        let seq: Vec<&str> = side.iter().copied().filter(|x| own(x) && once(x)).collect();
        let bad = seq.windows(2).find(|w| at[w[0]] > at[w[1]]);
        told.order.extend(bad.map(|w| format!("order: {} / {}", w[0].trim(), w[1].trim())));
    }
    told
}

/// Lines unique in both texts that every longest way of keeping such lines in order keeps.
fn still<'a>(a: &[&'a str], side: &[&str]) -> HashSet<&'a str> {
    let (in_a, in_s) = (count(a.iter().copied()), count(side.iter().copied()));
    let at: HashMap<&str, i64> = side.iter().enumerate().map(|(i, x)| (*x, i as i64)).collect();
    let unique: Vec<&str> = a.iter().copied().filter(|x| in_a[*x] == 1 && in_s.get(*x) == Some(&1)).collect();
    let longest = |seq: &mut dyn Iterator<Item = i64>| -> Vec<usize> {
        let mut ends: Vec<i64> = Vec::new();
        seq.map(|x| {
            let k = ends.partition_point(|e| *e < x);
            if k == ends.len() {
                ends.push(x)
            } else {
                ends[k] = x
            }
            k + 1
        })
        .collect()
    };
    let to = longest(&mut unique.iter().map(|x| at[x]));
    let mut from = longest(&mut unique.iter().rev().map(|x| -at[x]));
    from.reverse();
    let all = to.iter().copied().max().unwrap_or(0);
    let kept = |i: usize| to[i] + from[i] == all + 1;
    let mut at_length: HashMap<usize, usize> = HashMap::new();
    (0..unique.len()).filter(|i| kept(*i)).for_each(|i| *at_length.entry(to[i]).or_default() += 1);
    (0..unique.len()).filter(|i| kept(*i) && at_length[&to[*i]] == 1).map(|i| unique[i]).collect()
}

/// What is counted for one tool and one group of cases, in the order of `COLUMNS`.
type Tally = [u32; COLUMNS.len()];

const COLUMNS: [&str; 7] = ["clean", "conflicts", "places", "wrong", "order", "twice", "not_known"];

/// Runs one case with every tool: what it made, and what is told of it.
fn play(case: &Case, dir: &Path) -> Res<[(Made, Told); 3]> {
    let Case { base, left, right, .. } = case;
    let (mut own, swapped) = (ours(base, left, right), ours(base, right, left));
    // Nothing may be lost or doubled in our conflicts either.
    let mut told = check(base, left, right, &own);
    told.wrong.extend(check(base, right, left, &swapped).wrong);
    // Which side is the base is a matter of addresses: the worse of both ways counts.
    own.places = own.places.max(swapped.places);
    let beside = |made: Made| {
        let told = if made.places == 0 { check(base, left, right, &made) } else { Told::default() };
        (made, told)
    };
    Ok([(own, told), beside(git_merge_file(case, dir)?), beside(diffy_merge(case))])
}

fn tally(case: &Case, made: &Made, told: &Told) -> Tally {
    let clean = made.places == 0;
    let known = case.known.as_ref().is_some_and(|k| *k != made.text);
    let of = [
        clean,
        !clean,
        false,
        !told.wrong.is_empty(),
        clean && !told.order.is_empty(),
        clean && told.twice > 0,
        clean && known,
    ];
    let mut out = of.map(u32::from);
    out[2] = made.places as u32;
    out
}

fn run(o: &Options) -> Res<bool> {
    let history = history(&o.repo)?;
    let mut docs = Vec::new();
    documents(&o.folder, &mut docs)?;
    if docs.is_empty() {
        return Err(format!("no *.md or *.rs file with four paragraphs below {}", o.folder.display()).into());
    }
    let found = history_cases(&history);
    let take = found.len().min(o.cases / 2);
    let mut sources: Vec<&Source> = (0..take).map(|i| &found[i * found.len() / take]).collect();
    sources.resize(o.cases, &Source::Generated);
    let make = |i: usize| {
        let mut rng = Rng(o.seed.wrapping_mul(0x1_0000_0001).wrapping_add(i as u64));
        rng.0 = rng.next();
        let version = |file: usize, v: usize| history.files[file].1[v].clone();
        match *sources[i] {
            Source::Versions(f, [b, l, r]) => Some(Case {
                name: history.files[f].0.clone(),
                base: version(f, b),
                left: version(f, l),
                right: version(f, r),
                known: None,
            }),
            Source::Divided(f, v) => divided(&history.files[f].0, &version(f, v), &version(f, v + 1), &mut rng),
            Source::Generated => Some(generated(&docs, &mut rng)),
        }
    };
    let dir = tempfile::tempdir()?;
    if let Some(i) = o.case {
        let case = sources.get(i).and_then(|_| make(i)).ok_or("there is no such case")?;
        let changes = |to: &str| diffy::create_patch(&case.base, to).to_string();
        println!("case {i}: {}\n\nleft:\n{}\nright:\n{}", case.name, changes(&case.left), changes(&case.right));
        let played = play(&case, dir.path())?;
        for (tool, (made, told)) in TOOLS.iter().zip(&played) {
            let counts: Vec<String> =
                COLUMNS.iter().zip(tally(&case, made, told)).map(|(name, n)| format!("{name} {n}")).collect();
            println!("{tool}: {}; {:?} {:?}\n{}", counts.join(", "), told.wrong, told.order, changes(&made.text));
        }
        return Ok(played[0].1.wrong.is_empty());
    }
    let mut tallies = [[Tally::default(); 3]; 4];
    let mut notes = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        let case = make(i).ok_or_else(|| format!("case {i} cannot be divided"))?;
        for (tool, (made, told)) in play(&case, dir.path())?.iter().enumerate() {
            let counts = tally(&case, made, told);
            for group in [source.group(), 3] {
                tallies[group][tool].iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
            }
            // Wrong results of all, and what else is odd in ours.
            let odd = [(counts[3], told.wrong.first()), (counts[4], told.order.first()), (counts[6], None)];
            let odd = odd.iter().take(if tool == 0 { 3 } else { 1 }).find(|(n, _)| *n > 0);
            let what = odd.map(|(_, what)| what.map_or("not the text it came from", |w| w.trim()).to_owned());
            notes.extend(what.map(|what| (i, tool, case.name.clone(), what)));
        }
    }
    report(o, &tallies, &notes);
    let [ours, git, _] = tallies[3];
    Ok(ours[3] == 0 && ours[1] <= git[1])
}

fn map(members: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<ibgib::Map>().into()
}

fn report(o: &Options, tallies: &[[Tally; 3]; 4], notes: &[(usize, usize, String, String)]) {
    if o.json {
        let tally = |t: &Tally| map(COLUMNS.into_iter().zip(t.map(Value::from)));
        let group = |g: &[Tally; 3]| map(TOOLS.into_iter().zip([0, 1, 2].map(|i| tally(&g[i]))));
        let notes = notes.iter().map(|(i, tool, file, what)| {
            let case = [("case", Value::from(*i as u32)), ("tool", TOOLS[*tool].into())];
            map(case.into_iter().chain([("file", file.as_str().into()), ("what", what.as_str().into())]))
        });
        let groups = map(GROUPS.into_iter().zip([0, 1, 2, 3].map(|i| group(&tallies[i]))));
        let run = [("seed", o.seed.to_string().into()), ("cases", Value::from(o.cases as u32))];
        println!("{}", map(run.into_iter().chain([("groups", groups), ("notes", notes.collect::<Vec<_>>().into())])));
        return;
    }
    let row = |cells: [String; 7]| cells.map(|c| format!("{c:>11}")).concat();
    for (name, group) in GROUPS.iter().zip(tallies) {
        println!("{:43}{}", format!("{name}: {}", group[0][0] + group[0][1]), row(COLUMNS.map(str::to_owned)));
        for (tool, t) in TOOLS.iter().zip(group) {
            println!("  {tool:41}{}", row(t.map(|n| n.to_string())));
        }
    }
    for (i, tool, file, what) in notes {
        println!("--seed {} --cases {} --case {i}: {}, {file}: {what}", o.seed, o.cases, TOOLS[*tool]);
    }
}

fn main() -> ExitCode {
    match options().and_then(|o| o.as_ref().map(run).transpose()) {
        Ok(Some(true)) => {}
        Ok(Some(false)) => return ExitCode::from(1),
        Ok(None) => println!("{USAGE}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
