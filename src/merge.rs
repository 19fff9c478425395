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
use crate::timeline::{History, Joined, Stop};
use crate::transform::Moment;
use crate::value::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The rule's name, as the graft stone holds it.
pub const RULE: &str = "m1";

/// ib of the stone that is a merge frame's dna.
pub const IB_GRAFT: &str = "graft";

/// ib of a conflict stone.
pub const IB_CONFLICT: &str = "conflict";

/// The frames that may have written what two tips disagree on.
pub(crate) struct Region {
    /// Edits, each with its past.
    pub(crate) writers: Vec<(Verified<IbGib>, Option<Verified<IbGib>>)>,
    /// Every frame of the region with its parents.
    pub(crate) parents: HashMap<Addr, Vec<Addr>>,
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

fn leaf<'a>(frame: &'a IbGib, path: &Path) -> Option<Value> {
    match path {
        Path::Ib => Some(Value::from(frame.ib.as_str())),
        Path::Rel8n(name, addr) => frame.rel8n(name).any(|a| a == addr).then_some(Value::Bool(true)),
        Path::Data(parts) => {
            let mut value: &'a Value = frame.data.as_ref()?;
            for part in parts {
                value = value.get(part)?;
            }
            match value {
                Value::Object(m) if !m.is_empty() => None,
                leaf => Some(leaf.clone()),
            }
        }
    }
}

/// Who wrote which path in the region.
struct Writers<'a> {
    region: &'a Region,
    by_path: HashMap<Path, Vec<usize>>,
}

impl<'a> Writers<'a> {
    fn new(region: &'a Region) -> Self {
        let mut by_path: HashMap<Path, Vec<usize>> = HashMap::new();
        for (i, (frame, past)) in region.writers.iter().enumerate() {
            let after = leaves(frame);
            let before = past.as_ref().map(|p| leaves(p)).unwrap_or_default();
            let paths: BTreeSet<&Path> = after.keys().chain(before.keys()).collect();
            for path in paths {
                if after.get(path) != before.get(path) {
                    by_path.entry(path.clone()).or_default().push(i);
                }
            }
        }
        Self { region, by_path }
    }

    /// The writers that no other writer of the path descends from: (frame, value written), best first.
    fn newest(&self, path: &Path) -> Vec<(&'a Verified<IbGib>, Option<Value>)> {
        let Some(writers) = self.by_path.get(path) else { return Vec::new() };
        let mut older: HashSet<&Addr> = HashSet::new();
        let mut out: Vec<(&Verified<IbGib>, Option<Value>)> = Vec::new();
        let mut by_key: Vec<&Verified<IbGib>> = writers.iter().map(|i| &self.region.writers[*i].0).collect();
        by_key.sort_by_key(|f| std::cmp::Reverse(key(f)));
        // From the highest n down: nothing visited later descends from what was visited before.
        for frame in by_key {
            if older.contains(frame.addr()) {
                continue;
            }
            let mut stack: Vec<&Addr> = vec![frame.addr()];
            while let Some(addr) = stack.pop() {
                for parent in self.region.parents.get(addr).into_iter().flatten() {
                    if older.insert(parent) {
                        stack.push(parent);
                    }
                }
            }
            out.push((frame, leaf(frame, path)));
        }
        out.sort_by_key(|(frame, value)| std::cmp::Reverse((value.is_some(), key(frame))));
        out
    }
}

fn key(frame: &Verified<IbGib>) -> (i64, String) {
    (frame.n().map_or(-1, |n| n as i64), frame.addr().gib().to_owned())
}

/// What was found to be in conflict at one path.
struct Conflict {
    pointer: String,
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
    let mut conflicts = Vec::new();
    let mut merged: Leaves = BTreeMap::new();
    let mut paths: BTreeSet<&Path> = b.keys().chain(o.keys()).collect();
    paths.extend(writers.by_path.keys());
    for path in paths {
        let (vb, vo) = (b.get(path), o.get(path));
        let value = if vb == vo {
            vb.cloned()
        } else {
            let ancestor = || ancestor_leaf(history, nearest, path);
            match merge_text(path, vb, vo, nearest.len() > 1, ancestor)? {
                Some(done) => {
                    conflicts.extend(done.conflicts.into_iter().map(|c| Conflict {
                        pointer: path.pointer(),
                        ancestor: Some(c.ancestor.into()),
                        base: Some(c.base.into()),
                        orphan: Some(c.orphan.into()),
                    }));
                    Some(done.text.into())
                }
                None => {
                    let newest = writers.newest(path);
                    let disagree = newest.iter().any(|(_, v)| *v != newest[0].1);
                    if disagree && !matches!(path, Path::Rel8n(..)) {
                        conflicts.push(Conflict {
                            pointer: path.pointer(),
                            ancestor: ancestor()?,
                            base: vb.cloned(),
                            orphan: vo.cloned(),
                        });
                    }
                    match newest.first() {
                        // A text that one side deleted while others edited it: all of their edits stand, not only
                        // the newest one's copy. Every edit that the delete does not cover is in what is left.
                        Some((_, Some(Value::String(_))))
                            if vb.is_none() != vo.is_none() && merges_as_text(path, &ancestor)? =>
                        {
                            vb.or(vo).cloned()
                        }
                        Some((_, value)) => value.clone(),
                        // Nobody wrote it here: base's stands.
                        None => vb.cloned(),
                    }
                }
            }
        };
        if let Some(value) = value {
            merged.insert(path.clone(), value);
        }
    }
    settle_types(&mut merged, &writers, &b, &o, &mut conflicts);
    Ok(build(base, orphan, merged, conflicts))
}

/// Merges as text where that applies: both sides hold texts, and it is `data.text` or the ancestor has a line break.
fn merge_text(
    path: &Path,
    vb: Option<&Value>,
    vo: Option<&Value>,
    several: bool,
    ancestor: impl Fn() -> Result<Option<Value>, Stop>,
) -> Result<Option<text::TextMerge>, Stop> {
    let (Path::Data(_), Some(Value::String(vb)), Some(Value::String(vo))) = (path, vb, vo) else { return Ok(None) };
    if vb.len().max(vo.len()) > text::TEXT_BYTES_MAX {
        return Ok(None);
    }
    if !merges_as_text(path, &ancestor)? {
        return Ok(None);
    }
    let ancestor = ancestor()?;
    let from = ancestor.as_ref().and_then(Value::as_str);
    Ok(Some(text::merge(from.unwrap_or(""), vb, vo, several)))
}

/// Whether strings at this path merge as text: it is `data.text`, or the ancestor has a line break.
fn merges_as_text(path: &Path, ancestor: &impl Fn() -> Result<Option<Value>, Stop>) -> Result<bool, Stop> {
    Ok(is_text(path) || ancestor()?.as_ref().and_then(Value::as_str).is_some_and(|a| a.contains('\n')))
}

/// The value at the nearest common ancestors, several of them folded into one, recursively.
fn ancestor_leaf(history: &History, nearest: &[Addr], path: &Path) -> Result<Option<Value>, Stop> {
    let Some((first, rest)) = nearest.split_first() else { return Ok(None) };
    let mut value = leaf(history.frame(first)?, path);
    let mut seen = vec![first.clone()];
    for next in rest {
        let other = leaf(history.frame(next)?, path);
        if let (Some(Value::String(a)), Some(Value::String(b))) = (&value, &other)
            && a != b
        {
            let below = history.nearest(&seen, next)?;
            let from = ancestor_leaf(history, &below, path)?;
            let from = from.as_ref().and_then(Value::as_str).unwrap_or("");
            // Folding makes no text of what is none: else the fold's own line breaks would.
            if is_text(path) || from.contains('\n') {
                value = Some(text::merge(from, a, b, true).text.into());
            }
        } else if value.is_none() {
            value = other;
        }
        seen.push(next.clone());
    }
    Ok(value)
}

/// One side made a value where the other has members: of the two the newer writer's stands.
fn settle_types(merged: &mut Leaves, writers: &Writers<'_>, b: &Leaves, o: &Leaves, conflicts: &mut Vec<Conflict>) {
    let owners: Vec<Vec<String>> = merged
        .keys()
        .filter_map(|p| match p {
            Path::Data(parts) => Some(parts.clone()),
            _ => None,
        })
        .collect();
    for parts in owners {
        let path = Path::Data(parts.clone());
        if !merged.contains_key(&path) {
            continue;
        }
        let below: Vec<Path> = merged
            .range(path.clone()..)
            .skip(1)
            .map(|(p, _)| p)
            .take_while(|p| matches!(p, Path::Data(q) if q.starts_with(&parts)))
            .cloned()
            .collect();
        if below.is_empty() {
            continue;
        }
        let newest = |p: &Path| writers.newest(p).iter().filter(|(_, v)| v.is_some()).map(|(f, _)| key(f)).max();
        let value_wins = newest(&path) > below.iter().filter_map(newest).max();
        let side = |leaves: &Leaves| leaves.get(&path).cloned();
        conflicts.push(Conflict { pointer: path.pointer(), ancestor: None, base: side(b), orphan: side(o) });
        if value_wins {
            for path in below {
                merged.remove(&path);
            }
        } else {
            merged.remove(&path);
        }
    }
}

fn seal(node: IbGib) -> Verified<IbGib> {
    node.seal().expect("merges are made of parts of checked frames, which every strict rule allows")
}

/// Sorted as the hash sorts, so that equal merges are equal text.
fn sorted(members: impl IntoIterator<Item = (String, Value)>) -> Map {
    let mut members: Vec<(String, Value)> = members.into_iter().collect();
    members.sort_by(|a, b| compare_utf16(&a.0, &b.0));
    members.into_iter().collect()
}

fn stone(ib: &str, data: Map) -> Verified<IbGib> {
    seal(IbGib { ib: ib.into(), gib: None, data: Some(Value::Object(data)), rel8ns: None })
}

fn conflict_stone(conflict: Conflict) -> Verified<IbGib> {
    let values = [("ancestor", conflict.ancestor), ("base", conflict.base), ("orphan", conflict.orphan)];
    let members = values.into_iter().filter_map(|(name, v)| v.map(|v| (name.to_owned(), v)));
    stone(IB_CONFLICT, sorted(members.chain([("path".to_owned(), conflict.pointer.into())])))
}

fn build(base: &Verified<IbGib>, orphan: &Verified<IbGib>, merged: Leaves, conflicts: Vec<Conflict>) -> Joined {
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
    if let Value::Object(map) = &mut data {
        let n = [base, orphan].iter().map(|f| f.n().map_or(-1, |n| n as i64)).max().unwrap_or(-1) + 1;
        map.insert("n", Value::Number(n as f64));
        let later = if stamp(orphan) > stamp(base) { orphan } else { base };
        for (name, from) in [("timestamp", later), ("timestampMs", later), ("uuid", base)] {
            if let Some(value) = from.datum(name) {
                map.insert(name, value.clone());
            }
        }
    }
    let data = sort_deep(data);

    let mut nodes = Vec::new();
    let graft = [("base", Value::from(base.addr())), ("orphan", orphan.addr().into()), ("rule", RULE.into())];
    nodes.push(stone(IB_GRAFT, sorted(graft.map(|(k, v)| (k.to_owned(), v)))));
    let mut stones: Vec<Verified<IbGib>> = conflicts.into_iter().map(conflict_stone).collect();
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
    let with_data = !matches!(&data, Value::Object(m) if m.is_empty());
    let frame = seal(IbGib { ib, gib: None, data: with_data.then_some(data), rel8ns: Some(Value::Object(rel8ns)) });
    let tip = frame.addr().clone();
    nodes.push(frame);
    Joined { tip, nodes, conflicts }
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
