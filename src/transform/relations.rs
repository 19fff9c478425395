//! A node's relations while a transform works on them.

use super::data::Data;
use super::{TransformError, fail};
use crate::json::{Map, Value, js, strings};

/// Whether a relation keeps only its newest entry.
pub(super) fn linked(opts: &Map, name: &str) -> Result<bool, TransformError> {
    match opts.get("linkedRel8ns") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Array(names)) => Ok(names.iter().any(|v| v.as_str() == Some(name))),
        Some(Value::String(text)) => Ok(text.contains(name)),
        Some(other) => fail(format!("linkedRel8ns is {other}, not an array")),
    }
}

pub(super) fn rel8ns_of(part: Option<Value>) -> Result<Map, TransformError> {
    match part {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => fail("rel8ns of the source is not an object"),
    }
}

/// Appends to a relation, or replaces it when it is linked. A text grows as texts do.
pub(super) fn append(rel8ns: &mut Map, name: &str, addr: &str, linked: bool) -> Result<(), TransformError> {
    let longer = match rel8ns.get(name) {
        Some(Value::Array(items)) if !linked => [items.as_slice(), &[addr.into()]].concat().into(),
        Some(Value::String(text)) if !linked && !text.is_empty() => format!("{text}{addr}").into(),
        Some(other) if !linked && other.is_truthy() => return fail(format!("relation {name:?} is {other}")),
        _ => strings([addr]),
    };
    rel8ns.insert(name, longer);
    Ok(())
}

/// The source becomes the tjp of the product when the product's data says isTjp.
pub(super) fn note_tjp(rel8ns: &mut Map, data: &mut Data, src_addr: &str) -> Result<(), TransformError> {
    if !data.unmark() {
        return Ok(());
    }
    match rel8ns.get("tjp") {
        None | Some(Value::Null | Value::Array(_)) => append(rel8ns, "tjp", src_addr, false),
        Some(other) => fail(format!("relation \"tjp\" is {other}")),
    }
}

const FORBIDDEN: [&str; 4] = ["past", "ancestor", "dna", "tjp"];

pub(super) fn check_addresses(map: Option<&Value>) -> Result<Vec<(String, Vec<Value>)>, TransformError> {
    let Some(map) = map.filter(|m| m.is_truthy()) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for (name, addrs) in js::entries(Some(map))? {
        if FORBIDDEN.contains(&name.as_str()) {
            return fail(format!("relation {name:?} cannot be set by rel8"));
        }
        let Value::Array(addrs) = addrs else { return fail(format!("relation {name:?} needs an array")) };
        for addr in &addrs {
            if !addr.as_str().is_some_and(|a| a.contains('^') && !a.starts_with('^')) {
                return fail(format!("{addr} in relation {name:?} is no address"));
            }
        }
        out.push((name, addrs));
    }
    Ok(out)
}

/// The list of a relation, to be changed by rel8; `Err` when it is something else that is there.
pub(super) fn listed(rel8ns: &Map, name: &str) -> Result<Vec<Value>, TransformError> {
    match rel8ns.get(name) {
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(other) if other.is_truthy() => fail(format!("relation {name:?} is {other}")),
        None if js::INHERITED.contains(&name) => fail(format!("relation {name:?} is inherited")),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn add_to(rel8ns: &mut Map, name: String, addrs: Vec<Value>) -> Result<(), TransformError> {
    if let Some(Value::String(text)) = rel8ns.get(&name).filter(|v| v.is_truthy()) {
        let fresh: Vec<Value> = addrs.into_iter().filter(|a| a.as_str().is_none_or(|a| !text.contains(a))).collect();
        // Adding a list to a text gives, in ECMAScript, the text followed by the items joined by commas. The original
        // does that to a relation that is a text, and the address of what it makes depends on it.
        let longer = format!("{text}{}", js::joined(&fresh));
        rel8ns.insert(name, longer);
        return Ok(());
    }
    let mut list = listed(rel8ns, &name)?;
    let fresh: Vec<Value> = addrs.into_iter().filter(|a| !list.contains(a)).collect();
    list.extend(fresh);
    rel8ns.insert(name, list);
    Ok(())
}

/// Leaves only the newest entry of the relations named.
pub(super) fn shorten(rel8ns: &mut Map, names: Option<&Value>) -> Result<(), TransformError> {
    let names = match names.filter(|n| n.is_truthy()) {
        None => return Ok(()),
        Some(Value::Array(names)) => names,
        Some(other) => return fail(format!("linkedRel8ns is {other}, not an array")),
    };
    for name in names.iter().filter_map(Value::as_str) {
        match rel8ns.get_mut(name) {
            Some(Value::Array(items)) if items.len() > 1 => drop(items.drain(..items.len() - 1)),
            Some(Value::String(text)) if text.encode_utf16().count() > 1 => {
                let units = js::entries(Some(&text.as_str().into()))?;
                let last = units.into_iter().next_back().map(|(_, unit)| unit);
                rel8ns.insert(name, last.into_iter().collect::<Vec<_>>());
            }
            _ => {}
        }
    }
    Ok(())
}
