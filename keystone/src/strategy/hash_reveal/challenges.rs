//! What a pool holds: challenges by id, and their ids by first digit, which is how a target selects some.

use super::{Behavior, Challenge};
use crate::strategy::{Pool, PoolConfig};
use ibgib::{Map, Value};

/// Why ids cannot be selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unselectable {
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
    pub(super) fn text(&self) -> String {
        match self {
            Self::Demand(id) => format!("challenge {id:?} is demanded but not in the pool"),
            Self::Binding(c) => format!("no challenge is left that binds to {c:?}"),
            Self::Target => "the target is too short to bind".into(),
            Self::Sequential => "too few challenges are left".into(),
        }
    }
}

/// The challenges of one pool. Each is kept as it was read, so that it prints again member for member.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Challenges {
    by_id: Map,
    by_digit: Map,
}

impl Challenges {
    /// Those of a pool; `Err` names the member that is missing.
    pub(super) fn of(pool: &Pool) -> Result<Self, &'static str> {
        let part = |name: &'static str| pool.member(name).and_then(Value::as_object).cloned().ok_or(name);
        Ok(Self { by_id: part("challenges")?, by_digit: part("bindingMap")? })
    }

    /// A pool that holds them.
    pub(super) fn into_new_pool(self, config: &PoolConfig) -> Pool {
        Pool::new(config, [("challenges", self.by_id.into()), ("bindingMap", self.by_digit.into())])
    }

    /// The same pool with these instead of its own.
    pub(super) fn into_pool(self, pool: &Pool) -> Pool {
        pool.clone().with("challenges", self.by_id).with("bindingMap", self.by_digit)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys()
    }

    /// Challenges with their ids, in order, as they stand.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.by_id.iter()
    }

    /// The challenge of this id, if it is one of this strategy.
    pub(super) fn get(&self, id: &str) -> Option<Challenge> {
        self.by_id.get(id).and_then(Challenge::parse)
    }

    /// Adds a challenge at the end, as it stands.
    pub(super) fn add(&mut self, id: &str, challenge: Value) {
        self.by_id.insert(id, challenge);
        bind(&mut self.by_digit, id);
    }

    /// The replenish rule: takes out what it takes out, and answers how many new challenges it puts in.
    pub(super) fn take(&mut self, behavior: &Behavior, used: &[String]) -> usize {
        let rule = behavior.replenish;
        if rule.clears() {
            *self = Self::default();
        } else {
            used.iter().for_each(|id| drop(self.by_id.remove(id)));
            unbind(&mut self.by_digit, used);
        }
        match (rule.refills(), rule.clears()) {
            (true, true) => behavior.size,
            (true, false) => used.len(),
            (false, _) => 0,
        }
    }

    /// Ids that must be solved, in order, and those left over: demanded, bound to the target, first in line.
    pub(super) fn select(
        &self,
        behavior: &Behavior,
        demanded: &[String],
        target: &str,
    ) -> Result<(Vec<String>, Vec<String>), Unselectable> {
        let mut mandatory: Vec<String> = Vec::new();
        for id in demanded {
            if !self.contains(id) {
                return Err(Unselectable::Demand(id.clone()));
            }
            if !mandatory.contains(id) {
                mandatory.push(id.clone());
            }
        }
        let (gib, bound) = (gib_of(target), behavior.target_binding_chars);
        if gib.chars().count() < bound {
            return Err(Unselectable::Target);
        }
        for c in gib.chars().take(bound) {
            let c = c.to_ascii_lowercase();
            let bucket = self.by_digit.get(&c.to_string()).and_then(Value::as_array);
            let mut ids = bucket.into_iter().flatten().filter_map(Value::as_str);
            let free = ids.find(|id| self.contains(id) && !mandatory.iter().any(|m| m == id));
            let Some(id) = free else { return Err(Unselectable::Binding(c)) };
            mandatory.push(id.to_owned());
        }
        let first = behavior.select_sequentially;
        let in_line = self.ids().filter(|id| !mandatory.iter().any(|m| m == id)).map(str::to_owned);
        let mut in_line: Vec<String> = in_line.collect();
        if in_line.len() < first {
            return Err(Unselectable::Sequential);
        }
        let rest = in_line.split_off(first);
        mandatory.extend(in_line);
        Ok((mandatory, rest))
    }
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
