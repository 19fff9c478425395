//! The deterministic merge of two branches (rule `m1`): same two tips, same merged frame, on any machine.
//!
//! Base is the tip with the larger (n, gib), orphan the other. Each path of data, the ib and each relation's entries
//! take the value of the causally newest edit that wrote them; among concurrent ones an edit beats a delete, then the
//! larger (n, gib) wins. Texts merge by lines ([`text`]). What concurrent edits disagreed on is recorded in conflict
//! stones; the orphan's history stays reachable by `graftorphan`. No clock and no uuid go in.

mod lcs;
pub mod text;

use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified};
use crate::json::js::compare_utf16;
use crate::json::{Map, Value, pointer};
use crate::moment::Moment;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The rule's name, as the graft stone holds it.
pub const RULE: &str = "m1";

/// ib of the stone that is a merge frame's dna.
pub const IB_GRAFT: &str = "graft";

/// ib of a conflict stone.
pub const IB_CONFLICT: &str = "conflict";

/// Bytes of JSON text that a value in a conflict stone may have; a longer one is left out. Base and orphan hold it.
const STONE_VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The tip that two tips lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The common tip.
    pub tip: Addr,
    /// Nodes made for it, dependencies first: stones, then the merge frame. Empty when one tip covers the other.
    pub nodes: Vec<Verified<IbGib>>,
    /// Conflicts that this merge found.
    pub conflicts: usize,
}

/// Why a computation on a history cannot go on.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// These frames are needed, whole.
    Need(Vec<Addr>),
    /// Whether this frame is a merge has to be found out first.
    Classify(Addr),
    /// This frame breaks a rule of timelines; says which and how.
    Broken(Addr, String),
}

/// What merging asks of the history that it merges in.
pub(crate) trait Ancestry {
    /// A frame.
    fn frame(&self, addr: &Addr) -> Result<&Verified<IbGib>, Blocked>;

    /// The nearest common ancestors of `c` and any of `seen`, largest (n, gib) first.
    fn nearest(&self, seen: &[Addr], c: &Addr) -> Result<Vec<Addr>, Blocked>;
}

/// A frame's number; a missing one counts −1.
pub(crate) fn number(frame: &IbGib) -> i64 {
    frame.n().map_or(-1, |n| n as i64)
}

/// Orders frames: n, then the text of the gib.
pub(crate) fn key(frame: &Verified<IbGib>) -> (i64, &str) {
    (number(frame), frame.addr().gib())
}

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

/// What writing and telling apart the places of one merge may take: the sum of [`Place::weight`] over those that tips or
/// edits disagree on. Deep and wide at once is what no document needs and what an attack would send.
const WORK_MAX: usize = 1 << 23;

/// One place in a frame that edits write. Data goes down through objects; an array is one value; each entry of a
/// relation is a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Path<'a> {
    Ib,
    /// A number of [`Places`].
    Data(usize),
    Rel8n(&'a str, &'a str),
}

/// Members of data that merging sets by rules of their own.
const OWN_DATA: [&str; 5] = ["n", "timestamp", "timestampMs", "uuid", "isTjp"];
/// Relations that merging sets by rules of their own.
const OWN_REL8NS: [&str; 5] = ["past", "dna", "tjp", "graftbase", "graftorphan"];

/// The number of data itself.
const ROOT: usize = 0;

/// One place in data; it knows its parent, so that no path is ever copied.
struct Place<'a> {
    parent: usize,
    key: &'a str,
    /// How many steps lead here, long keys counted as several.
    weight: usize,
    children: BTreeMap<&'a str, usize>,
}

/// The places in data that hold members or that frames differ at.
struct Places<'a> {
    all: Vec<Place<'a>>,
    /// Their numbers, each before its members; the position of each number therein; and where its members end.
    order: Vec<usize>,
    at: Vec<usize>,
    end: Vec<usize>,
}

/// Whether a value is an object with members, which is no value of its own.
fn is_open(value: &Value) -> bool {
    matches!(value, Value::Object(map) if !map.is_empty())
}

impl<'a> Places<'a> {
    fn new() -> Self {
        let root = Place { parent: ROOT, key: "", weight: 1, children: BTreeMap::new() };
        Self { all: vec![root], order: Vec::new(), at: Vec::new(), end: Vec::new() }
    }

    fn child(&mut self, parent: usize, key: &'a str) -> usize {
        if let Some(id) = self.all[parent].children.get(key) {
            return *id;
        }
        let (id, weight) = (self.all.len(), self.all[parent].weight + 1 + key.len() / 16);
        self.all.push(Place { parent, key, weight, children: BTreeMap::new() });
        self.all[parent].children.insert(key, id);
        id
    }

    /// The places whose values differ.
    fn differ(&mut self, before: Option<&'a Value>, after: Option<&'a Value>) -> Vec<usize> {
        let mut out = Vec::new();
        let mut stack = vec![(ROOT, before, after)];
        while let Some((id, before, after)) = stack.pop() {
            let members = |v: Option<&'a Value>| v.and_then(Value::as_object).filter(|m| id == ROOT || !m.is_empty());
            let (from, to) = (members(before), members(after));
            if before.filter(|_| from.is_none()) != after.filter(|_| to.is_none()) {
                out.push(id);
            }
            let kept = from.into_iter().flat_map(Map::iter).map(|(key, v)| (key, Some(v), to.and_then(|m| m.get(key))));
            let put = to.into_iter().flat_map(Map::iter).map(|(key, v)| (key, None, Some(v)));
            let put = put.filter(|(key, ..)| !from.is_some_and(|m| m.contains_key(key)));
            for (key, before, after) in kept.chain(put) {
                let own = id == ROOT && OWN_DATA.contains(&key);
                let open = before.is_some_and(is_open) || after.is_some_and(is_open);
                if !own && (open || before != after) {
                    stack.push((self.child(id, key), before, after));
                }
            }
        }
        out
    }

    /// Sets `order`, `at` and `end`, once all places are known.
    fn finish(&mut self) {
        (self.at, self.end) = (vec![0; self.all.len()], vec![0; self.all.len()]);
        let mut stack = vec![ROOT];
        while let Some(id) = stack.pop() {
            self.at[id] = self.order.len();
            self.order.push(id);
            stack.extend(self.all[id].children.values().rev());
        }
        for id in self.order.iter().rev().copied() {
            self.end[id] = self.end[id].max(self.at[id] + 1);
            let parent = self.all[id].parent;
            self.end[parent] = self.end[parent].max(self.end[id]);
        }
    }

    /// The places below one.
    fn below(&self, id: usize) -> &[usize] {
        &self.order[self.at[id] + 1..self.end[id]]
    }

    fn is_at_or_below(&self, path: Path<'_>, id: usize) -> bool {
        matches!(path, Path::Data(p) if (self.at[id]..self.end[id]).contains(&self.at[p]))
    }

    /// The places on the way up, data itself left out.
    fn around(&self, id: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(self.all[id].parent), |id| Some(self.all[*id].parent)).take_while(|id| *id != ROOT)
    }

    fn parts(&self, id: usize) -> Vec<&'a str> {
        if id == ROOT {
            return Vec::new();
        }
        let mut parts: Vec<&str> = [id].into_iter().chain(self.around(id)).map(|id| self.all[id].key).collect();
        parts.reverse();
        parts
    }

    /// Whether this place is one that merges as text however short the ancestor is.
    fn is_text(&self, path: Path<'_>) -> bool {
        matches!(path, Path::Data(id) if id != ROOT && self.all[id].parent == ROOT && self.all[id].key == "text")
    }

    /// As a JSON pointer (RFC 6901) into the ibgib.
    fn pointer(&self, path: Path<'_>) -> String {
        match path {
            Path::Ib => "/ib".into(),
            Path::Data(id) => self.parts(id).into_iter().fold("/data".to_owned(), |mut out, part| {
                pointer::push(&mut out, part);
                out
            }),
            Path::Rel8n(name, addr) => pointer::join(&pointer::join("/rel8ns", name), addr),
        }
    }

    /// What a frame holds at a path; of data also an object with members.
    fn whole(&self, frame: &IbGib, path: Path<'_>) -> Option<Value> {
        match path {
            Path::Ib => Some(Value::from(frame.ib.as_str())),
            Path::Rel8n(name, addr) => frame.rel8n(name).any(|a| a == addr).then_some(Value::Bool(true)),
            Path::Data(id) => {
                let value = self.parts(id).into_iter().try_fold(frame.data.as_ref()?, |value, part| value.get(part))?;
                Some(value.clone())
            }
        }
    }
}

/// The entries of a frame's relations that edits write.
fn related(frame: &IbGib) -> BTreeSet<(&str, &str)> {
    let lists = frame.rel8ns.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::iter);
    let lists = lists.filter(|(name, _)| !OWN_REL8NS.contains(name));
    let addrs = lists.map(|(name, list)| (name, list.as_array().unwrap_or(&[]).iter().filter_map(Value::as_str)));
    addrs.flat_map(|(name, addrs)| addrs.map(move |addr| (name, addr))).collect()
}

/// Who wrote which path in the region.
struct Writers<'a> {
    region: &'a Region,
    places: Places<'a>,
    by_path: HashMap<Path<'a>, Vec<&'a Writer>>,
}

/// What a writer wrote: `None` if it deleted.
type Written<'a> = (&'a Writer, Option<Value>);

impl<'a> Writers<'a> {
    fn new(region: &'a Region, mut places: Places<'a>) -> Self {
        let mut by_path: HashMap<Path<'_>, Vec<&Writer>> = HashMap::new();
        for writer in &region.writers {
            let (frame, past): (&IbGib, Option<&IbGib>) = (&writer.frame, writer.past.as_deref());
            let data = places.differ(past.and_then(|p| p.data.as_ref()), frame.data.as_ref());
            let (before, after) = (past.map(related).unwrap_or_default(), related(frame));
            let rel8ns = before.symmetric_difference(&after).map(|(name, addr)| Path::Rel8n(name, addr));
            let ib = past.is_none_or(|past| past.ib != frame.ib).then_some(Path::Ib);
            for path in data.into_iter().map(Path::Data).chain(rel8ns).chain(ib) {
                by_path.entry(path).or_default().push(writer);
            }
        }
        places.finish();
        for writers in by_path.values_mut() {
            writers.sort_by(|a, b| key(&b.frame).cmp(&key(&a.frame)));
        }
        Self { region, places, by_path }
    }

    /// The writers that no other writer of the path, or of a path that it cannot stand beside, descends from, best
    /// first: an edit beats a delete, then the larger (n, gib) wins.
    fn newest(&self, path: Path<'a>) -> Vec<Written<'a>> {
        let Some(writers) = self.by_path.get(&path) else { return Vec::new() };
        let mut later: Vec<&Writer> = writers.iter().copied().chain(self.instead_of(path)).collect();
        later.sort_by(|a, b| key(&b.frame).cmp(&key(&a.frame)));
        later.dedup_by(|a, b| a.frame.addr() == b.frame.addr());
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
        let leaf = |w: &Writer| self.places.whole(&w.frame, path).filter(|value| !is_open(value));
        let mut out: Vec<Written<'_>> = newest.map(|w| (*w, leaf(w))).collect();
        out.sort_by(|(a, v), (b, w)| (w.is_some(), key(&b.frame)).cmp(&(v.is_some(), key(&a.frame))));
        out
    }

    /// Writers of data that lies around or below this path: of a value and its members only one can stand.
    fn instead_of(&self, path: Path<'_>) -> Vec<&'a Writer> {
        let Path::Data(id) = path else { return Vec::new() };
        let places = self.places.around(id).chain(self.places.below(id).iter().copied());
        places.filter_map(|id| self.by_path.get(&Path::Data(id))).flatten().copied().collect()
    }

    /// Takes what a path costs from what the merge may still take.
    fn spend(&self, path: Path<'_>, left: &mut usize, base: &Addr) -> Result<(), Blocked> {
        let Path::Data(id) = path else { return Ok(()) };
        let rest = left.checked_sub(self.places.all[id].weight);
        *left =
            rest.ok_or_else(|| Blocked::Broken(base.clone(), "too much that is deep differs in it to merge".into()))?;
        Ok(())
    }
}

/// Whether two edits come together only now: each was seen by one tip alone. Where they disagree, that is a conflict.
/// What a tip saw both of was recorded by the merge that it saw them in, and may have been resolved since.
fn met((a, _): &Written<'_>, (b, _): &Written<'_>) -> bool {
    matches!((a.seen, b.seen), (Seen::Base, Seen::Orphan) | (Seen::Orphan, Seen::Base))
}

/// What was found to be in conflict at one path.
struct Conflict<'a> {
    path: Path<'a>,
    ancestor: Option<Value>,
    base: Option<Value>,
    orphan: Option<Value>,
}

/// What base and orphan hold at a path, whole.
type Sides<'v> = (Option<&'v Value>, Option<&'v Value>);

pub(crate) fn merge(
    history: &dyn Ancestry,
    base: &Verified<IbGib>,
    orphan: &Verified<IbGib>,
    nearest: &[Addr],
    region: &Region,
) -> Result<Joined, Blocked> {
    let mut places = Places::new();
    places.differ(base.data.as_ref(), orphan.data.as_ref());
    let writers = Writers::new(region, places);
    let places = &writers.places;
    let mut ancestors = Ancestors { history, nearest, places, below: HashMap::new() };
    let mut conflicts = Vec::new();
    let mut merged: HashMap<Path<'_>, Value> = HashMap::new();

    let mut sides: Vec<Sides<'_>> = vec![(base.data.as_ref(), orphan.data.as_ref()); places.all.len()];
    for id in places.order.iter().copied().skip(1) {
        let Place { parent, key, .. } = places.all[id];
        let (b, o) = sides[parent];
        sides[id] = (b.and_then(|b| b.get(key)), o.and_then(|o| o.get(key)));
    }
    let (ibs, here) = ((Value::from(base.ib.as_str()), Value::from(orphan.ib.as_str())), Value::Bool(true));
    let (rel_b, rel_o) = (related(base), related(orphan));
    let mut rel8ns: BTreeSet<Path<'_>> = rel_b.union(&rel_o).map(|(name, addr)| Path::Rel8n(name, addr)).collect();
    rel8ns.extend(writers.by_path.keys().filter(|path| matches!(path, Path::Rel8n(..))));

    let mut left = WORK_MAX;
    let data = places.order.iter().map(|id| Path::Data(*id));
    for path in [Path::Ib].into_iter().chain(data).chain(rel8ns) {
        let whole = match path {
            Path::Ib => (Some(&ibs.0), Some(&ibs.1)),
            Path::Data(id) => sides[id],
            Path::Rel8n(name, addr) => {
                let holds = |entries: &BTreeSet<_>| entries.contains(&(name, addr)).then_some(&here);
                (holds(&rel_b), holds(&rel_o))
            }
        };
        let is_leaf = |v: &&Value| !(is_open(v) || path == Path::Data(ROOT) && v.as_object().is_some());
        let (vb, vo) = (whole.0.filter(is_leaf), whole.1.filter(is_leaf));
        let value = if vb.is_some() && vb == vo {
            vb.cloned()
        } else if vb == vo {
            if writers.by_path.contains_key(&path) {
                writers.spend(path, &mut left, base.addr())?;
            }
            // Not there, but perhaps only because of a type that [`settle_types`] chose before and may not choose now.
            writers.newest(path).into_iter().next().and_then(|(_, value)| value)
        } else {
            writers.spend(path, &mut left, base.addr())?;
            one_path(path, (vb, vo), whole, &writers, &mut ancestors, &mut conflicts)?
        };
        if let Some(value) = value {
            merged.insert(path, value);
        }
    }
    let cut = settle_types(&mut merged, &writers, &mut ancestors, &sides, &mut conflicts, (left, base.addr()))?;
    let data = merged_data(places, &sides, &mut merged, &cut);
    build(base, orphan, data, &merged, places, conflicts)
}

/// The value at a path that the sides do not agree on.
fn one_path<'a>(
    path: Path<'a>,
    (vb, vo): Sides<'_>,
    (base, orphan): Sides<'_>,
    writers: &Writers<'a>,
    ancestors: &mut Ancestors<'_>,
    conflicts: &mut Vec<Conflict<'a>>,
) -> Result<Option<Value>, Blocked> {
    let ancestor = if matches!(path, Path::Rel8n(..)) { None } else { ancestors.value(path)? };
    let text = writers.places.is_text(path) || matches!(&ancestor, Some(Value::String(a)) if a.contains('\n'));
    if let (true, Some(Value::String(vb)), Some(Value::String(vo))) = (text, vb, vo)
        && vb.len().max(vo.len()) <= text::TEXT_BYTES_MAX
    {
        let from = ancestor.as_ref().and_then(Value::as_str).unwrap_or("");
        let done = text::merge(from, vb, vo, ancestors.nearest.len() > 1);
        conflicts.extend(done.conflicts.into_iter().map(|c| {
            let [ancestor, base, orphan] = [c.ancestor, c.base, c.orphan].map(|text| Some(text.into()));
            Conflict { path, ancestor, base, orphan }
        }));
        return Ok(Some(done.text.into()));
    }
    let newest = writers.newest(path);
    let disagree = |x: &Written<'_>, y: &Written<'_>| met(x, y) && x.1 != y.1;
    if !matches!(path, Path::Rel8n(..)) && newest.iter().any(|x| newest.iter().any(|y| disagree(x, y))) {
        conflicts.push(Conflict { path, ancestor, base: base.cloned(), orphan: orphan.cloned() });
    }
    Ok(match newest.into_iter().next() {
        // A text that one side deleted while others edited it: all of their edits stand, not only the newest one's
        // copy. Every edit that the delete does not cover is in what is left.
        Some((_, Some(Value::String(_)))) if text && vb.is_none() != vo.is_none() => vb.or(vo).cloned(),
        Some((_, value)) => value,
        None if writers.by_path.contains_key(&path) => None,
        // Merges put it there, not edits: a conflict, or an object without members. It stays.
        None => vb.or(vo).cloned(),
    })
}

/// What the nearest common ancestors hold, several of them folded into one by the same merge, recursively.
struct Ancestors<'a> {
    history: &'a dyn Ancestry,
    nearest: &'a [Addr],
    places: &'a Places<'a>,
    /// For frames folded so far and one more: their nearest common ancestors.
    below: HashMap<Vec<Addr>, Vec<Addr>>,
}

impl Ancestors<'_> {
    fn value(&mut self, path: Path<'_>) -> Result<Option<Value>, Blocked> {
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
        path: Path<'_>,
        known: &HashMap<Vec<Addr>, Option<Value>>,
    ) -> Result<Result<Option<Value>, Vec<Addr>>, Blocked> {
        let Some((first, rest)) = frames.split_first() else { return Ok(Ok(None)) };
        let mut value = self.places.whole(self.history.frame(first)?, path);
        for (i, next) in rest.iter().enumerate() {
            let other = self.places.whole(self.history.frame(next)?, path);
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
                if (self.places.is_text(path) || from.contains('\n')) && a.len().max(b.len()) <= text::TEXT_BYTES_MAX {
                    value = Some(text::merge(from, a, b, true).text.into());
                }
            } else if value.is_none() {
                value = other;
            }
        }
        Ok(Ok(value))
    }
}

/// Whether both sides hold the same value under a key that is no place of its own.
fn is_plain(places: &Places<'_>, id: usize, key: &str, value: &Value, orphan: Option<&Value>) -> bool {
    let own = id == ROOT && OWN_DATA.contains(&key);
    !own && orphan == Some(value) && !places.all[id].children.contains_key(key)
}

/// One side made a value where the other has members: of the two the newer writer's stands. An object without
/// members is no such value. Returns below which places nothing stands.
fn settle_types<'a>(
    merged: &mut HashMap<Path<'a>, Value>,
    writers: &Writers<'a>,
    ancestors: &mut Ancestors<'_>,
    sides: &[Sides<'_>],
    conflicts: &mut Vec<Conflict<'a>>,
    (mut left, addr): (usize, &Addr),
) -> Result<Vec<bool>, Blocked> {
    let places = &writers.places;
    let mut cut = vec![false; places.all.len()];
    let has_plain = |id: &usize| match sides[*id] {
        (Some(Value::Object(b)), Some(Value::Object(o))) => {
            b.iter().any(|(k, v)| is_plain(places, *id, k, v, o.get(k)))
        }
        _ => false,
    };
    for id in places.order.iter().copied() {
        let path = Path::Data(id);
        let Some(value) = merged.get(&path) else { continue };
        let below: Vec<Path<'_>> =
            places.below(id).iter().map(|p| Path::Data(*p)).filter(|p| merged.contains_key(p)).collect();
        if below.is_empty() && !has_plain(&id) && !places.below(id).iter().any(has_plain) {
            continue;
        }
        if matches!(value, Value::Object(_)) {
            merged.remove(&path);
            continue;
        }
        for path in [path].iter().chain(&below).filter(|path| writers.by_path.contains_key(path)) {
            writers.spend(*path, &mut left, addr)?;
        }
        let put = |path: Path<'a>| writers.newest(path).into_iter().filter(|(_, v)| v.is_some()).collect::<Vec<_>>();
        let (of_value, of_members) = (put(path), below.iter().copied().flat_map(put).collect::<Vec<_>>());
        let value_wins =
            of_value.iter().map(|(w, _)| key(&w.frame)).max() > of_members.iter().map(|(w, _)| key(&w.frame)).max();
        if of_value.iter().any(|x| of_members.iter().any(|y| met(x, y))) {
            conflicts.retain(|c| !places.is_at_or_below(c.path, id));
            let ancestor = ancestors.value(path)?;
            let (base, orphan) = sides[id];
            conflicts.push(Conflict { path, ancestor, base: base.cloned(), orphan: orphan.cloned() });
        }
        if value_wins {
            below.iter().for_each(|path| drop(merged.remove(path)));
            [id].iter().chain(places.below(id)).for_each(|id| cut[*id] = true);
        } else {
            merged.remove(&path);
        }
    }
    Ok(cut)
}

/// The objects that both sides have, and nothing else.
fn objects(b: Option<&Value>, o: Option<&Value>) -> Option<Value> {
    let (Some(Value::Object(b)), Some(Value::Object(o))) = (b, o) else { return None };
    let members = b.iter().filter_map(|(key, b)| Some((key.to_owned(), objects(Some(b), o.get(key))?)));
    Some(Value::Object(members.collect()))
}

/// Data, from what stands at its places and what both sides have besides. An object that both sides have stays, also
/// when each of its members was deleted by one of them.
fn merged_data(
    places: &Places<'_>,
    sides: &[Sides<'_>],
    merged: &mut HashMap<Path<'_>, Value>,
    cut: &[bool],
) -> Option<Value> {
    let mut built: Vec<Vec<(String, Value)>> = (0..places.all.len()).map(|_| Vec::new()).collect();
    // The deepest come first.
    for id in places.order.iter().rev().copied() {
        let mut members = std::mem::take(&mut built[id]);
        let mut shared = false;
        if let (Some(Value::Object(b)), Some(Value::Object(o))) = sides[id] {
            shared = true;
            members.extend(b.iter().filter_map(|(key, value)| {
                let orphan = o.get(key);
                let value = if !cut[id] && is_plain(places, id, key, value, orphan) {
                    Some(value.clone())
                } else if !places.all[id].children.contains_key(key) {
                    objects(Some(value), orphan)
                } else {
                    None
                };
                Some((key.to_owned(), value?))
            }));
        }
        let here = merged.remove(&Path::Data(id));
        let value = if members.is_empty() {
            here.or_else(|| shared.then(|| Value::Object(Map::new())))
        } else {
            Some(Value::Object(members.into_iter().collect()))
        };
        if id == ROOT {
            return value;
        }
        let Place { parent, key, .. } = places.all[id];
        built[parent].extend(value.map(|value| (key.to_owned(), value)));
    }
    None
}

/// What is made of checked frames keeps every strict rule but those on size: depth, and n below 2^53.
fn seal(node: IbGib, base: &Addr) -> Result<Verified<IbGib>, Blocked> {
    node.seal().map_err(|e| Blocked::Broken(base.clone(), format!("what its merge gives is not allowed: {e}")))
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

fn conflict_stone(conflict: Conflict<'_>, places: &Places<'_>, base: &Addr) -> Result<Verified<IbGib>, Blocked> {
    let path = ("path".to_owned(), places.pointer(conflict.path).into());
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
    data: Option<Value>,
    merged: &HashMap<Path<'_>, Value>,
    places: &Places<'_>,
    conflicts: Vec<Conflict<'_>>,
) -> Result<Joined, Blocked> {
    let ib = merged.get(&Path::Ib).and_then(Value::as_str).unwrap_or(&base.ib).to_owned();
    let mut data = data.unwrap_or_else(|| Value::Object(Map::new()));
    let Value::Object(map) = &mut data else {
        return Err(Blocked::Broken(base.addr().clone(), "its data has no members, so its merge can have no n".into()));
    };
    map.insert("n", Value::integer(number(base).max(number(orphan)) + 1));
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
    let stones = conflicts.into_iter().map(|conflict| conflict_stone(conflict, places, base.addr()));
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
                if merged.contains_key(&Path::Rel8n(name, addr)) && (is_base || !placed.contains(&entry)) {
                    rel8ns.entry(entry.0.clone()).or_default().push(addr.into());
                    placed.insert(entry);
                }
            }
        }
    }
    // The stones are without repeats; what base and orphan already relate to is not added again.
    let fresh = stones.iter().filter(|s| !placed.contains(&("conflict".to_owned(), s.addr().to_string())));
    let fresh: Vec<Value> = fresh.map(|stone| stone.addr().into()).collect();
    if !fresh.is_empty() {
        rel8ns.entry("conflict".into()).or_default().extend(fresh);
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
