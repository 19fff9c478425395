//! Keystones exactly as the original makes and judges them: for checking and bringing over existing data.
//!
//! What it accepts proves little; see [`crate::attacks`]. Nothing that enters a space goes through here. Where the
//! original reads a member that is not there, or of another type than it expects, so do these pages: that decides
//! whether it throws, reports, or goes on.

mod judge;
mod make;
mod select;

pub use judge::{validate, validate_solution};
pub use make::{Stub, binding_map, challenge_id, genesis, revoke, sign};
pub use select::{SignInput, requirements_of};

use crate::strategy::hash_reveal::{Algo, NAME, PoolSecret};
use ibgib::json::js;
use ibgib::{IbGib, Value};
use std::borrow::Cow;

/// The original raises an exception; the message is ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Throws(pub String);

impl From<ibgib::compat::Throws> for Throws {
    fn from(error: ibgib::compat::Throws) -> Self {
        Self(error.0)
    }
}

fn throw<T>(why: impl Into<String>) -> Result<T, Throws> {
    Err(Throws(why.into()))
}

/// More rounds or challenges than this are refused; the original would compute for days.
const TIMES_MAX: f64 = 1e5;

/// How often `for (i = 0; i < n; i++)` runs.
fn times(n: Option<&Value>) -> Result<usize, Throws> {
    let n = js::number(n);
    if n > TIMES_MAX { throw(format!("{n} times are more than {TIMES_MAX}")) } else { Ok(n.max(0.0).ceil() as usize) }
}

fn strategy_type(config: &Value) -> Result<(), Throws> {
    match js::get(Some(config), "type")?.as_deref() {
        Some(Value::String(kind)) if kind == NAME => Ok(()),
        other => throw(format!("unknown strategy {}", js::text(other))),
    }
}

/// Hash and rounds. A missing algorithm is SHA-256, an unknown one matters once something is hashed.
fn parameters(config: &Value) -> Result<(Algo, usize), Throws> {
    strategy_type(config)?;
    let rounds = times(config.get("rounds"))?;
    let algo = match config.get("algo") {
        None => Some(Algo::Sha256),
        Some(algo) => algo.as_str().and_then(Algo::parse),
    };
    match algo {
        Some(algo) => Ok((algo, rounds)),
        None if rounds == 0 => Ok((Algo::Sha256, 0)),
        None => throw(format!("unknown algo {}", js::text(config.get("algo")))),
    }
}

/// The secret of a pool of this configuration.
///
/// # Errors
/// Unknown strategies and algorithms throw.
pub fn pool_secret(config: &Value, master_secret: &str) -> Result<PoolSecret, Throws> {
    let (algo, rounds) = parameters(config)?;
    Ok(PoolSecret::derive(algo, rounds, &js::text(config.get("salt")), master_secret.as_bytes()))
}

fn behavior<'a>(pool: &'a Value, name: &str) -> Result<Option<Cow<'a, Value>>, Throws> {
    // Absent parts on the way throw, as `pool.config.behavior.name` does.
    let config = pool.get("config");
    js::get(config, "behavior")?;
    Ok(js::get(config.and_then(|c| c.get("behavior")), name)?)
}

/// What a list is iterated over: its items, or the characters of a text.
fn items(list: &Value) -> Result<Vec<Value>, Throws> {
    match list {
        Value::Array(items) => Ok(items.clone()),
        Value::String(text) => Ok(text.chars().map(|c| c.to_string().into()).collect()),
        other => throw(format!("{other} is no list")),
    }
}

fn data_of(keystone: &IbGib) -> Result<&Value, Throws> {
    match &keystone.data {
        None | Some(Value::Null) => throw("the keystone has no data"),
        Some(data) => Ok(data),
    }
}

fn pools_of(keystone: &IbGib) -> Result<&[Value], Throws> {
    match data_of(keystone)?.get("challengePools").and_then(Value::as_array) {
        Some(pools) => Ok(pools),
        None => throw("challengePools is no list"),
    }
}

/// Where the first pool with this id is.
fn position(pools: &[Value], id: Option<&Value>) -> Result<Option<usize>, Throws> {
    for (i, pool) in pools.iter().enumerate() {
        if js::get(Some(pool), "id")?.as_deref() == id {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// The verbs a pool is restricted to, when it is.
fn verbs(pool: &Value) -> Result<Option<Cow<'_, Value>>, Throws> {
    let verbs = js::get(js::get(Some(pool), "config")?.and(pool.get("config")), "allowedVerbs")?;
    Ok(verbs.filter(|v| v.is_truthy()))
}

/// `list.includes(item)`: an item of an array, a part of a text.
fn includes(list: &Value, item: &Value) -> Result<bool, Throws> {
    match list {
        Value::Array(items) => Ok(items.contains(item)),
        Value::String(text) => Ok(text.contains(&js::text(Some(item)))),
        other => throw(format!("{other} is no list")),
    }
}

fn address(node: &IbGib) -> String {
    format!("{}^{}", node.ib, node.gib.as_deref().unwrap_or(""))
}
