//! The deterministic merge of two branches (rule `m1`): same two tips, same merged frame, on any machine.
//!
//! Base is the tip with the larger (n, gib), orphan the other. Each path of data, the ib and each relation's entries
//! take the value of the causally newest edit that wrote them; among concurrent ones an edit beats a delete, then the
//! larger (n, gib) wins. Texts merge by lines ([`text`]). What concurrent edits disagreed on is recorded in conflict
//! stones; the orphan's history stays reachable by `graftorphan`. No clock and no uuid go in.

mod lcs;
pub mod text;

use crate::addr::Addr;
use crate::canonical::compare_utf16;
use crate::ibgib::{IbGib, Verified};
use crate::timeline::{History, Joined, Stop, key, number};
use crate::transform::Moment;
use crate::value::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The rule's name, as the graft stone holds it.
pub const RULE: &str = "m1";

/// ib of the stone that is a merge frame's dna.
pub const IB_GRAFT: &str = "graft";

/// ib of a conflict stone.
pub const IB_CONFLICT: &str = "conflict";

/// Bytes of JSON text that a value in a conflict stone may have; a longer one is left out. Base and orphan hold it.
const STONE_VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The frames that may have written what two tips disagree on.
#[derive(Default)]
pub(crate) struct Region {
    /// The edits.
    pub(crate) writers: Vec<Writer>,
    /// Every frame of the region with its parents, each with its n.
    pub(crate) parents: HashMap<Addr, Vec<(i64, Addr)>>,
}

/// An edit.
pub(crate) struct Writer {
    pub(crate) frame: Verified<IbGib>,
    pub(crate) past: Option<Verified<IbGib>>,
    pub(crate) seen: Seen,
}

/// Which of the two tips have an edit in their history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Base,
    Orphan,
    Both,
}

/// One place in a frame that edits write. Data goes down through objects; an array is one value; each entry of a
/// relation is a place of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Path {
    Ib,
    Data(Vec<String>),
    Rel8n(String, String),
}

/// Members of data that merging sets by rules of their own.
const OWN_DATA: [&str; 5] = ["n", "timestamp", "timestampMs", "uuid", "isTjp"];
/// Relations that merging sets by rules of their own.
const OWN_REL8NS: [&str; 5] = ["past", "dna", "tjp", "graftbase", "graftorphan"];

/// Whether this place is one that merges as text however short the ancestor is.
fn is_text(path: &Path) -> bool {
    matches!(path, Path::Data(p) if p.len() == 1 && p[0] == "text")
}

impl Path {
    /// As a JSON pointer (RFC 6901) into the ibgib.
    fn pointer(&self) -> String {
        let escape = |s: &str| s.replace('~', "~0").replace('/', "~1");
        match self {
            Self::Ib => "/ib".into(),
            Self::Data(parts) => parts.iter().fold("/data".to_owned(), |out, part| format!("{out}/{}", escape(part))),
            Self::Rel8n(name, addr) => format!("/rel8ns/{}/{}", escape(name), escape(addr)),
        }
    }
}

type Leaves = BTreeMap<Path, Value>;

/// Everything in a frame that edits write.
fn leaves(frame: &IbGib) -> Leaves {
    let mut out = BTreeMap::new();
    out.insert(Path::Ib, Value::from(frame.ib.as_str()));
    if let Some(data) = &frame.data {
        let mut path = Vec::new();
        data_leaves(data, &mut path, &mut out);
    }
    for (name, list) in frame.rel8ns.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::iter) {
        if OWN_REL8NS.contains(&name) {
            continue;
        }
        for addr in list.as_array().unwrap_or(&[]).iter().filter_map(Value::as_str) {
            out.insert(Path::Rel8n(name.to_owned(), addr.to_owned()), Value::Bool(true));
        }
    }
    out
}

fn data_leaves(value: &Value, path: &mut Vec<String>, out: &mut Leaves) {
    match value {
        Value::Object(map) if !map.is_empty() || path.is_empty() => {
            for (key, value) in map.iter() {
                if path.is_empty() && OWN_DATA.contains(&key) {
                    continue;
                }
                path.push(key.to_owned());
                data_leaves(value, path, out);
                path.pop();
            }
        }
        _ => {
            out.insert(Path::Data(path.clone()), value.clone());
        }
    }
}

/// What a frame holds at a path; of data also an object with members.
fn whole(frame: &IbGib, path: &Path) -> Option<Value> {
    match path {
        Path::Ib => Some(Value::from(frame.ib.as_str())),
        Path::Rel8n(name, addr) => frame.rel8n(name).any(|a| a == addr).then_some(Value::Bool(true)),
        Path::Data(parts) => {
            let mut value = frame.data.as_ref()?;
            for part in parts {
                value = value.get(part)?;
            }
            Some(value.clone())
        }
    }
}

fn leaf(frame: &IbGib, path: &Path) -> Option<Value> {
    whole(frame, path).filter(|value| !matches!(value, Value::Object(m) if !m.is_empty()))
}

/// Who wrote which path in the region.
struct Writers<'a> {
    region: &'a Region,
    by_path: BTreeMap<Path, Vec<&'a Writer>>,
}

/// What a writer wrote: `None` if it deleted.
type Written<'a> = (&'a Writer, Option<Value>);

impl<'a> Writers<'a> {
    fn new(region: &'a Region) -> Self {
        let mut by_path: BTreeMap<Path, Vec<&Writer>> = BTreeMap::new();
        // From the highest n down, so that a frame's leaves are still at hand when they are those of the next one's past.
        let mut at_hand: Option<(&Addr, Leaves)> = None;
        for writer in &region.writers {
            let after = match at_hand.take() {
                Some((addr, leaves)) if addr == writer.frame.addr() => leaves,
                _ => leaves(&writer.frame),
            };
            let before = writer.past.as_ref().map(|p| leaves(p)).unwrap_or_default();
            let gone = before.keys().filter(|path| !after.contains_key(path));
            let put = after.iter().filter(|(path, value)| before.get(path) != Some(value)).map(|(path, _)| path);
            for path in gone.chain(put) {
                by_path.entry(path.clone()).or_default().push(writer);
            }
            at_hand = writer.past.as_ref().map(|past| (past.addr(), before));
        }
        for writers in by_path.values_mut() {
            writers.sort_by(|a, b| key(&b.frame).cmp(&key(&a.frame)));
        }
        Self { region, by_path }
    }

    /// The writers that no other writer of the path, or of a path that it cannot stand beside, descends from, best
    /// first: an edit beats a delete, then the larger (n, gib) wins.
    fn newest(&self, path: &Path) -> Vec<Written<'a>> {
        let Some(writers) = self.by_path.get(path) else { return Vec::new() };
        let mut later: Vec<&Writer> = writers.iter().copied().chain(self.instead_of(path)).collect();
        later.sort_by(|a, b| key(&b.frame).cmp(&key(&a.frame)));
        let mut older: HashSet<&Addr> = HashSet::new();
        let lowest = writers.last().map_or(-1, |w| number(&w.frame));
        // The highest n comes first, so what is older is mostly known before its turn.
        for writer in &later {
            if later.len() == 1 || older.contains(writer.frame.addr()) {
                continue;
            }
            let mut stack: Vec<&Addr> = vec![writer.frame.addr()];
            while let Some(addr) = stack.pop() {
                for (n, parent) in self.region.parents.get(addr).into_iter().flatten() {
                    if *n >= lowest && older.insert(parent) {
                        stack.push(parent);
                    }
                }
            }
        }
        let newest = writers.iter().filter(|w| !older.contains(w.frame.addr()));
        let mut out: Vec<Written<'_>> = newest.map(|w| (*w, leaf(&w.frame, path))).collect();
        out.sort_by(|(a, v), (b, w)| (w.is_some(), key(&b.frame)).cmp(&(v.is_some(), key(&a.frame))));
        out
    }

    /// Writers of data that lies around or below this path: of a value and its members only one can stand.
    fn instead_of(&self, path: &Path) -> Vec<&'a Writer> {
        let Path::Data(parts) = path else { return Vec::new() };
        let around = (1..parts.len()).filter_map(|n| self.by_path.get(&Path::Data(parts[..n].to_vec())));
        let below = self.by_path.range(path..).skip(1);
        let below = below.take_while(|(p, _)| matches!(p, Path::Data(q) if q.starts_with(parts)));
        around.chain(below.map(|(_, writers)| writers)).flatten().copied().collect()
    }
}

/// Whether two edits come together only now: each was seen by one tip alone. Where they disagree, that is a conflict.
/// What a tip saw both of was recorded by the merge that it saw them in, and may have been resolved since.
fn met((a, _): &Written<'_>, (b, _): &Written<'_>) -> bool {
    matches!((a.seen, b.seen), (Seen::Base, Seen::Orphan) | (Seen::Orphan, Seen::Base))
}

/// What was found to be in conflict at one path.
struct Conflict {
    path: Path,
    ancestor: Option<Value>,
    base: Option<Value>,
    orphan: Option<Value>,
}

pub(crate) fn merge(
    history: &History,
    base: &Verified<IbGib>,
    orphan: &Verified<IbGib>,
    nearest: &[Addr],
    region: &Region,
) -> Result<Joined, Stop> {
    let (b, o) = (leaves(base), leaves(orphan));
    let writers = Writers::new(region);
    let mut ancestors = Ancestors { history, nearest, below: HashMap::new() };
    let mut conflicts = Vec::new();
    let mut merged: Leaves = BTreeMap::new();
    let mut paths: BTreeSet<&Path> = b.keys().chain(o.keys()).collect();
    paths.extend(writers.by_path.keys());
    for path in paths {
        let (vb, vo) = (b.get(path), o.get(path));
        let value = if vb.is_some() && vb == vo {
            vb.cloned()
        } else if vb == vo {
            // Not there, but perhaps only because of a type that [`settle_types`] chose before and may not choose now.
            writers.newest(path).into_iter().next().and_then(|(_, value)| value)
        } else {
            one_path(path, (vb, vo), (base, orphan), &writers, &mut ancestors, &mut conflicts)?
        };
        if let Some(value) = value {
            merged.insert(path.clone(), value);
        }
    }
    settle_types(&mut merged, &writers, &mut ancestors, (base, orphan), &mut conflicts)?;
    keep_objects(&mut merged, base, orphan);
    build(base, orphan, merged, conflicts)
}

/// The value at a path that the sides do not agree on.
fn one_path(
    path: &Path,
    (vb, vo): (Option<&Value>, Option<&Value>),
    (base, orphan): (&IbGib, &IbGib),
    writers: &Writers<'_>,
    ancestors: &mut Ancestors<'_>,
    conflicts: &mut Vec<Conflict>,
) -> Result<Option<Value>, Stop> {
    let ancestor = if matches!(path, Path::Rel8n(..)) { None } else { ancestors.value(path)? };
    let text = is_text(path) || matches!(&ancestor, Some(Value::String(a)) if a.contains('\n'));
    if let (true, Some(Value::String(vb)), Some(Value::String(vo))) = (text, vb, vo)
        && vb.len().max(vo.len()) <= text::TEXT_BYTES_MAX
    {
        let from = ancestor.as_ref().and_then(Value::as_str).unwrap_or("");
        let done = text::merge(from, vb, vo, ancestors.nearest.len() > 1);
        conflicts.extend(done.conflicts.into_iter().map(|c| {
            let [ancestor, base, orphan] = [c.ancestor, c.base, c.orphan].map(|text| Some(text.into()));
            Conflict { path: path.clone(), ancestor, base, orphan }
        }));
        return Ok(Some(done.text.into()));
    }
    let newest = writers.newest(path);
    let disagree = |x: &Written<'_>, y: &Written<'_>| met(x, y) && x.1 != y.1;
    if !matches!(path, Path::Rel8n(..)) && newest.iter().any(|x| newest.iter().any(|y| disagree(x, y))) {
        let [base, orphan] = [base, orphan].map(|side| whole(side, path));
        conflicts.push(Conflict { path: path.clone(), ancestor, base, orphan });
    }
    Ok(match newest.into_iter().next() {
        // A text that one side deleted while others edited it: all of their edits stand, not only the newest one's
        // copy. Every edit that the delete does not cover is in what is left.
        Some((_, Some(Value::String(_)))) if text && vb.is_none() != vo.is_none() => vb.or(vo).cloned(),
        Some((_, value)) => value,
        None if writers.by_path.contains_key(path) => None,
        // Merges put it there, not edits: a conflict, or an object without members. It stays.
        None => vb.or(vo).cloned(),
    })
}

/// What the nearest common ancestors hold, several of them folded into one by the same merge, recursively.
struct Ancestors<'a> {
    history: &'a History,
    nearest: &'a [Addr],
    /// For frames folded so far and one more: their nearest common ancestors.
    below: HashMap<Vec<Addr>, Vec<Addr>>,
}

impl Ancestors<'_> {
    fn value(&mut self, path: &Path) -> Result<Option<Value>, Stop> {
        // A stack of our own, since criss-cross histories nest deeply; what is on it waits for what is above it.
        let mut known: HashMap<Vec<Addr>, Option<Value>> = HashMap::new();
        let mut stack = vec![self.nearest.to_vec()];
        while let Some(frames) = stack.last() {
            match self.fold(frames, path, &known)? {
                Ok(value) => drop(known.insert(stack.pop().unwrap_or_default(), value)),
                Err(below) => stack.push(below),
            }
        }
        Ok(known.remove(self.nearest).flatten())
    }

    /// Folds what these frames hold; `Err` inside: the frames whose fold has to be known first.
    fn fold(
        &mut self,
        frames: &[Addr],
        path: &Path,
        known: &HashMap<Vec<Addr>, Option<Value>>,
    ) -> Result<Result<Option<Value>, Vec<Addr>>, Stop> {
        let Some((first, rest)) = frames.split_first() else { return Ok(Ok(None)) };
        let mut value = whole(self.history.frame(first)?, path);
        for (i, next) in rest.iter().enumerate() {
            let other = whole(self.history.frame(next)?, path);
            if let (Some(Value::String(a)), Some(Value::String(b))) = (&value, &other)
                && a != b
            {
                let below = match self.below.get(&frames[..i + 2]) {
                    Some(below) => below,
                    None => {
                        let below = self.history.nearest(&frames[..=i], next)?;
                        self.below.entry(frames[..i + 2].to_vec()).or_insert(below)
                    }
                };
                let Some(from) = known.get(below) else { return Ok(Err(below.clone())) };
                let from = from.as_ref().and_then(Value::as_str).unwrap_or("");
                // Folding makes no text of what is none: else the fold's own line breaks would.
                if (is_text(path) || from.contains('\n')) && a.len().max(b.len()) <= text::TEXT_BYTES_MAX {
                    value = Some(text::merge(from, a, b, true).text.into());
                }
            } else if value.is_none() {
                value = other;
            }
        }
        Ok(Ok(value))
    }
}

/// One side made a value where the other has members: of the two the newer writer's stands. An object without
/// members is no such value.
fn settle_types(
    merged: &mut Leaves,
    writers: &Writers<'_>,
    ancestors: &mut Ancestors<'_>,
    (base, orphan): (&IbGib, &IbGib),
    conflicts: &mut Vec<Conflict>,
) -> Result<(), Stop> {
    let owners: Vec<Path> = merged.keys().filter(|p| matches!(p, Path::Data(_))).cloned().collect();
    for path in owners {
        let (Path::Data(parts), Some(value)) = (&path, merged.get(&path)) else { continue };
        let is_below = |p: &Path| matches!(p, Path::Data(q) if q.starts_with(parts));
        let all = merged.range(&path..).skip(1).map(|(p, _)| p);
        let below: Vec<Path> = all.take_while(|p| is_below(p)).cloned().collect();
        if below.is_empty() {
            continue;
        }
        if matches!(value, Value::Object(_)) {
            merged.remove(&path);
            continue;
        }
        let put = |path: &Path| writers.newest(path).into_iter().filter(|(_, v)| v.is_some()).collect::<Vec<_>>();
        let (of_value, of_members) = (put(&path), below.iter().flat_map(put).collect::<Vec<_>>());
        let value_wins =
            of_value.iter().map(|(w, _)| key(&w.frame)).max() > of_members.iter().map(|(w, _)| key(&w.frame)).max();
        if of_value.iter().any(|x| of_members.iter().any(|y| met(x, y))) {
            conflicts.retain(|c| !is_below(&c.path));
            let ancestor = ancestors.value(&path)?;
            conflicts.push(Conflict {
                ancestor,
                base: whole(base, &path),
                orphan: whole(orphan, &path),
                path: path.clone(),
            });
        }
        if value_wins {
            merged.retain(|p, _| *p == path || !is_below(p));
        } else {
            merged.remove(&path);
        }
    }
    Ok(())
}

/// An object that both sides have stays, also when each of its members was deleted by one of them.
fn keep_objects(merged: &mut Leaves, base: &IbGib, orphan: &IbGib) {
    let mut stack: Vec<(Vec<String>, &Value, &Value)> = Vec::new();
    let mut shared = Vec::new();
    stack.extend(base.data.as_ref().zip(orphan.data.as_ref()).map(|(b, o)| (Vec::new(), b, o)));
    while let Some((path, b, o)) = stack.pop() {
        let (Value::Object(b), Value::Object(o)) = (b, o) else { continue };
        for (key, b, o) in b.iter().filter_map(|(key, b)| Some((key, b, o.get(key)?))) {
            stack.push((path.iter().map(String::as_str).chain([key]).map(str::to_owned).collect(), b, o));
        }
        shared.push(path);
    }
    // The deepest come last.
    for path in shared.into_iter().rev().filter(|path| !path.is_empty()) {
        let here = Path::Data(path.clone());
        let first = merged.range(&here..).next();
        if !matches!(first, Some((Path::Data(p), _)) if p.starts_with(&path)) {
            merged.insert(here, Value::Object(Map::new()));
        }
    }
}

/// What is made of checked frames keeps every strict rule but those on size: depth, and n below 2^53.
fn seal(node: IbGib, base: &Addr) -> Result<Verified<IbGib>, Stop> {
    node.seal().map_err(|e| Stop::Broken(base.clone(), format!("what its merge gives is not allowed: {e}")))
}

/// Sorted as the hash sorts, so that equal merges are equal text.
fn sorted(members: impl IntoIterator<Item = (String, Value)>) -> Map {
    let mut members: Vec<(String, Value)> = members.into_iter().collect();
    members.sort_by(|a, b| compare_utf16(&a.0, &b.0));
    members.into_iter().collect()
}

fn stone(ib: &str, data: Map) -> IbGib {
    IbGib { ib: ib.into(), gib: None, data: Some(Value::Object(data)), rel8ns: None }
}

fn conflict_stone(conflict: Conflict, base: &Addr) -> Result<Verified<IbGib>, Stop> {
    let path = ("path".to_owned(), conflict.path.pointer().into());
    let values = [("ancestor", conflict.ancestor), ("base", conflict.base), ("orphan", conflict.orphan)];
    let small = |v: &Value| v.to_json().len() <= STONE_VALUE_BYTES_MAX;
    let members = values.into_iter().filter_map(|(name, v)| v.filter(small).map(|v| (name.to_owned(), v)));
    let node = stone(IB_CONFLICT, sorted(members.chain([path.clone()])));
    // A value as deep as values may be is too deep inside a stone.
    node.seal().or_else(|_| seal(stone(IB_CONFLICT, sorted([path])), base))
}

fn build(
    base: &Verified<IbGib>,
    orphan: &Verified<IbGib>,
    merged: Leaves,
    conflicts: Vec<Conflict>,
) -> Result<Joined, Stop> {
    let mut ib = base.ib.clone();
    let mut data = Value::Object(Map::new());
    let mut related: HashSet<(String, String)> = HashSet::new();
    for (path, value) in merged {
        match path {
            Path::Ib => ib = value.as_str().unwrap_or(&ib).to_owned(),
            Path::Rel8n(name, addr) => {
                related.insert((name, addr));
            }
            Path::Data(parts) if parts.is_empty() => data = value,
            Path::Data(parts) => set(&mut data, &parts, value),
        }
    }
    let Value::Object(map) = &mut data else {
        return Err(Stop::Broken(base.addr().clone(), "its data has no members, so its merge can have no n".into()));
    };
    map.insert("n", Value::Number((number(base).max(number(orphan)) + 1) as f64));
    let later = if stamp(orphan) > stamp(base) { orphan } else { base };
    for (name, from) in [("timestamp", later), ("timestampMs", later), ("uuid", base)] {
        if let Some(value) = from.datum(name) {
            map.insert(name, value.clone());
        }
    }
    let data = sort_deep(data);

    let mut nodes = Vec::new();
    let graft = [("base", Value::from(base.addr())), ("orphan", orphan.addr().into()), ("rule", RULE.into())];
    nodes.push(seal(stone(IB_GRAFT, sorted(graft.map(|(k, v)| (k.to_owned(), v)))), base.addr())?);
    let stones = conflicts.into_iter().map(|conflict| conflict_stone(conflict, base.addr()));
    let mut stones = stones.collect::<Result<Vec<_>, _>>()?;
    stones.sort_by(|a, b| a.addr().cmp(b.addr()));
    stones.dedup();

    let mut rel8ns: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut placed: HashSet<(String, String)> = HashSet::new();
    for (side, is_base) in [(base, true), (orphan, false)] {
        for (name, list) in side.rel8ns.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::iter) {
            if OWN_REL8NS.contains(&name) {
                continue;
            }
            for addr in list.as_array().unwrap_or(&[]).iter().filter_map(Value::as_str) {
                let entry = (name.to_owned(), addr.to_owned());
                // Base's repeats are base's order; the orphan only adds what base does not have.
                if related.contains(&entry) && (is_base || !placed.contains(&entry)) {
                    rel8ns.entry(entry.0.clone()).or_default().push(addr.into());
                    placed.insert(entry);
                }
            }
        }
    }
    for stone in &stones {
        let list = rel8ns.entry("conflict".into()).or_default();
        let addr = Value::from(stone.addr());
        if !list.contains(&addr) {
            list.push(addr);
        }
    }
    let conflicts = stones.len();
    for (name, addr) in
        [("past", base.addr()), ("graftbase", base.addr()), ("graftorphan", orphan.addr()), ("dna", nodes[0].addr())]
    {
        rel8ns.insert(name.into(), vec![addr.into()]);
    }
    if let Some(tjp) = base.tjp() {
        rel8ns.insert("tjp".into(), vec![tjp.into()]);
    }
    let rel8ns = sorted(rel8ns.into_iter().map(|(k, v)| (k, Value::Array(v))));
    nodes.extend(stones);
    let frame = seal(IbGib { ib, gib: None, data: Some(data), rel8ns: Some(Value::Object(rel8ns)) }, base.addr())?;
    let tip = frame.addr().clone();
    nodes.push(frame);
    Ok(Joined { tip, nodes, conflicts })
}

fn set(data: &mut Value, parts: &[String], value: Value) {
    let Some((first, rest)) = parts.split_first() else {
        *data = value;
        return;
    };
    if !matches!(data, Value::Object(_)) {
        *data = Value::Object(Map::new());
    }
    if let Value::Object(map) = data {
        if !map.contains_key(first) {
            map.insert(first.as_str(), Value::Object(Map::new()));
        }
        if let Some(inner) = map.get_mut(first) {
            set(inner, rest, value);
        }
    }
}

/// Sorts members down to arrays, which keep the order they were written in.
fn sort_deep(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(sorted(map.into_iter().map(|(k, v)| (k, sort_deep(v))))),
        other => other,
    }
}

/// When a frame says it was made, in milliseconds since 1970; `None` when it does not say or cannot be read.
fn stamp(frame: &IbGib) -> Option<i64> {
    let text = frame.datum("timestamp")?.as_str()?;
    let ms = frame.datum("timestampMs").and_then(Value::as_u53).filter(|ms| *ms < 1000).unwrap_or(0);
    Moment::parse_timestamp(text).map(|s| s + ms as i64)
}

/// The conflict stones' addresses that a frame carries.
pub fn conflicts(frame: &IbGib) -> impl Iterator<Item = &str> {
    frame.rel8n("conflict")
}
