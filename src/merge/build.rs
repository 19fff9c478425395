//! The merge frame and its stones, from what was merged.

use super::content::{Conflict, Content, DATA, OWN_REL8NS};
use super::{IB_CONFLICT, IB_GRAFT, Made, RULE, Unmergeable, number};
use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified, VerifyError};
use crate::json::js::compare_utf16;
use crate::json::{Map, Value};
use crate::moment::Moment;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// Bytes of JSON text that a value in a conflict stone may have; a longer one is left out. Base and orphan hold it.
const STONE_VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The two tips of a merge, and what they and their ancestor say.
pub(super) struct Sides<'f> {
    pub(super) base: &'f Verified<IbGib>,
    pub(super) orphan: &'f Verified<IbGib>,
    pub(super) contents: &'f [Content<'f>; 3],
}

/// The frame of what was merged. Where that is more than a frame may hold, base's data is taken whole, then base's
/// relations, too, with one conflict for all of it; at the very end a frame that holds neither.
pub(super) fn build(sides: &Sides<'_>, merged: Content<'_>, conflicts: Vec<Conflict>) -> Result<Made, Unmergeable> {
    let mut error = match frame(sides, &merged, conflicts) {
        Ok(made) => return Ok(made),
        Err(error) => error,
    };
    let base = &sides.contents[1];
    let without = Content { ib: base.ib.clone(), ..Content::default() };
    for content in [Content { rel8ns: merged.rel8ns, ..base.clone() }, base.clone(), without] {
        let values = sides.contents.each_ref().map(|content| Some(content.data_value()));
        match frame(sides, &content, vec![Conflict::new(DATA.to_owned(), values)]) {
            Ok(made) => return Ok(made),
            Err(other) => error = other,
        }
    }
    Err(Unmergeable(format!("what its merge gives is not allowed: {error}")))
}

fn frame(sides: &Sides<'_>, content: &Content<'_>, conflicts: Vec<Conflict>) -> Result<Made, VerifyError> {
    let (base, orphan) = (sides.base, sides.orphan);
    let mut data: Map = content.data.iter().map(|(name, value)| (&**name, sort_deep(Value::clone(value)))).collect();
    data.insert("n", Value::integer(number(base).max(number(orphan)) + 1));
    let later = if Moment::of(orphan) > Moment::of(base) { orphan } else { base };
    for (name, from) in [("timestamp", later), ("timestampMs", later), ("uuid", base)] {
        if let Some(value) = from.datum(name) {
            data.insert(name, sort_deep(value.clone()));
        }
    }
    let data = sorted(data);

    let graft = [("base", Value::from(base.addr())), ("orphan", orphan.addr().into()), ("rule", RULE.into())];
    let graft = stone(IB_GRAFT, sorted(graft.map(|(k, v)| (k.to_owned(), v)))).seal()?;
    let stones = stones(conflicts)?;

    let mut rel8ns: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, list) in &content.rel8ns {
        rel8ns.insert(name, list.iter().map(|addr| Value::from(&**addr)).collect());
    }
    // What base and orphan already relate to is not added again.
    let related: HashSet<&str> =
        content.rel8ns.get(&Cow::Borrowed("conflict")).into_iter().flatten().map(|a| &**a).collect();
    let fresh = stones.iter().map(|stone| stone.addr()).filter(|addr| !related.contains(addr.as_str()));
    let fresh: Vec<Value> = fresh.map(Value::from).collect();
    if !fresh.is_empty() {
        rel8ns.entry("conflict").or_default().extend(fresh);
    }
    let own: [(&str, &Addr); 4] =
        [("past", base.addr()), ("graftbase", base.addr()), ("graftorphan", orphan.addr()), ("dna", graft.addr())];
    let tjp = base.tjp();
    for (name, addr) in own.into_iter().chain(tjp.as_ref().map(|tjp| ("tjp", tjp))) {
        rel8ns.insert(name, vec![addr.into()]);
    }
    debug_assert!(OWN_REL8NS.iter().all(|name| !content.rel8ns.contains_key(*name)));
    let rel8ns = sorted(rel8ns.into_iter().map(|(k, v)| (k.to_owned(), Value::Array(v))));
    let ib = content.ib.clone().into_owned();
    let frame = IbGib { ib, gib: None, data: Some(data.into()), rel8ns: Some(rel8ns.into()) }.seal()?;
    let (tip, conflicts) = (frame.addr().clone(), stones.len());
    let nodes = [graft].into_iter().chain(stones).chain([frame]).collect();
    Ok(Made { tip, nodes, conflicts })
}

/// The stones of conflicts, each once, in the order of their addresses.
pub(super) fn stones(conflicts: Vec<Conflict>) -> Result<Vec<Verified<IbGib>>, VerifyError> {
    let mut stones = conflicts.into_iter().map(conflict_stone).collect::<Result<Vec<_>, _>>()?;
    stones.sort_by(|a, b| a.addr().cmp(b.addr()));
    stones.dedup();
    Ok(stones)
}

fn conflict_stone(Conflict { path, values, again }: Conflict) -> Result<Verified<IbGib>, VerifyError> {
    let path = ("path".to_owned(), Value::from(path));
    let again = again.map(|stone| ("again".to_owned(), Value::from(stone)));
    let small = |v: &Value| v.to_json().len() <= STONE_VALUE_BYTES_MAX;
    let values = ["ancestor", "base", "orphan"].into_iter().zip(values);
    let members = values.filter_map(|(name, v)| v.filter(small).map(|v| (name.to_owned(), sort_deep(v))));
    let node = stone(IB_CONFLICT, sorted(members.chain(again.clone()).chain([path.clone()])));
    // A value as deep as values may be is too deep inside a stone.
    node.seal().or_else(|_| stone(IB_CONFLICT, sorted([path].into_iter().chain(again))).seal())
}

fn stone(ib: &str, data: Map) -> IbGib {
    IbGib { ib: ib.into(), gib: None, data: Some(Value::Object(data)), rel8ns: None }
}

/// Sorted as the hash sorts, so that equal merges are equal text.
fn sorted(members: impl IntoIterator<Item = (String, Value)>) -> Map {
    let mut members: Vec<(String, Value)> = members.into_iter().collect();
    members.sort_by(|a, b| compare_utf16(&a.0, &b.0));
    members.into_iter().collect()
}

/// Sorts members down to arrays, which keep the order they were written in.
fn sort_deep(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(sorted(map.into_iter().map(|(k, v)| (k, sort_deep(v))))),
        other => other,
    }
}
