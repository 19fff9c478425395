//! Pools as JSON: challenges, binding map, selection. Selection is the strict one; compat has its own.

use ibgib::{Map, Value};

/// Why ids cannot be selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unselectable {
    /// A demanded id is not in the pool.
    Demand(String),
    /// No challenge is left in the bucket of a character of the target.
    Binding(char),
    /// The target has fewer characters than bind.
    Target,
    /// Too few are left to take from the front.
    Sequential,
}

impl Unselectable {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Demand(id) => format!("challenge {id:?} is demanded but not in the pool"),
            Self::Binding(c) => format!("no challenge is left that binds to {c:?}"),
            Self::Target => "the target is too short to bind".into(),
            Self::Sequential => "too few challenges are left".into(),
        }
    }
}

pub(crate) fn challenges(pool: &Value) -> Option<&Map> {
    pool.get("challenges").and_then(Value::as_object)
}

fn behavior(pool: &Value, name: &str) -> usize {
    let value = pool.get("config").and_then(|c| c.get("behavior")).and_then(|b| b.get(name));
    value.and_then(Value::as_u53).unwrap_or(0) as usize
}

pub(crate) fn selected_randomly(pool: &Value) -> usize {
    behavior(pool, "selectRandomly")
}

/// Ids that must be solved, in order, and those left over: demanded, bound to the target, first in line.
pub(crate) fn strict_requirements(
    pool: &Value,
    demanded: &[String],
    target: &str,
) -> Result<(Vec<String>, Vec<String>), Unselectable> {
    let all = challenges(pool).cloned().unwrap_or_default();
    let mut mandatory: Vec<String> = Vec::new();
    for id in demanded {
        if !all.contains_key(id) {
            return Err(Unselectable::Demand(id.clone()));
        }
        if !mandatory.contains(id) {
            mandatory.push(id.clone());
        }
    }
    let (gib, bound) = (gib_of(target), behavior(pool, "targetBindingChars"));
    if gib.chars().count() < bound {
        return Err(Unselectable::Target);
    }
    for c in gib.chars().take(bound) {
        let c = c.to_ascii_lowercase();
        let bucket = pool.get("bindingMap").and_then(|m| m.get(&c.to_string())).and_then(Value::as_array);
        let free = bucket
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find(|id| all.contains_key(id) && !mandatory.iter().any(|m| m == id));
        let Some(id) = free else { return Err(Unselectable::Binding(c)) };
        mandatory.push(id.to_owned());
    }
    let first = behavior(pool, "selectSequentially");
    let in_line: Vec<String> = all.keys().filter(|id| !mandatory.iter().any(|m| m == id)).map(str::to_owned).collect();
    if in_line.len() < first {
        return Err(Unselectable::Sequential);
    }
    mandatory.extend(in_line[..first].iter().cloned());
    Ok((mandatory, in_line[first..].to_vec()))
}

/// What of a target binds: its gib, or all of a text that is no address.
fn gib_of(target: &str) -> &str {
    target.rsplit_once('^').map_or(target, |p| p.1)
}

/// Adds an id to the bucket of its first character, if that is a hex digit.
pub(crate) fn bind(map: &mut Map, id: &str) {
    let Some(c) = id.chars().next().filter(char::is_ascii_hexdigit) else { return };
    let bucket = c.to_ascii_lowercase().to_string();
    match map.get_mut(&bucket) {
        Some(Value::Array(ids)) => ids.push(id.into()),
        _ => drop(map.insert(bucket, vec![Value::from(id)])),
    }
}

/// Takes ids out of all buckets; empty ones stay.
pub(crate) fn unbind(map: &mut Map, ids: &[String]) {
    let names: Vec<String> = map.keys().map(str::to_owned).collect();
    for name in names {
        if let Some(Value::Array(list)) = map.get_mut(&name) {
            list.retain(|v| v.as_str().is_none_or(|v| !ids.iter().any(|id| id == v)));
        }
    }
}

/// A part of a pool, for changing it.
fn part<'a>(pool: &'a mut Value, name: &str) -> Option<&'a mut Map> {
    pool.as_object_mut()?.get_mut(name)?.as_object_mut()
}

pub(crate) fn remove(pool: &mut Value, ids: &[String]) {
    if let Some(challenges) = part(pool, "challenges") {
        for id in ids {
            challenges.remove(id);
        }
    }
    if let Some(map) = part(pool, "bindingMap") {
        unbind(map, ids);
    }
}

pub(crate) fn add(pool: &mut Value, id: &str, challenge: Value) {
    if let Some(challenges) = part(pool, "challenges") {
        challenges.insert(id, challenge);
    }
    if let Some(map) = part(pool, "bindingMap") {
        bind(map, id);
    }
}

pub(crate) fn clear(pool: &mut Value) {
    for name in ["challenges", "bindingMap"] {
        if let Some(map) = part(pool, name) {
            *map = Map::new();
        }
    }
}
