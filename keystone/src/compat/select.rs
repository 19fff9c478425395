//! Selecting pools and challenges as the original does.

use super::{Throws, behavior, includes, items, position, throw, verbs};
use ibgib::Value;
use ibgib::json::js;

/// What to sign, each part as given.
#[derive(Clone, Debug, Default)]
pub struct SignInput {
    /// The claim.
    pub claim: Option<Value>,
    /// The pool; else one that allows the verb.
    pub pool_id: Option<Value>,
    /// Challenges that must be solved.
    pub required: Option<Value>,
    /// Details of the frame.
    pub frame_details: Option<Value>,
}

/// `items.slice(0, n)` and `items.slice(n)`, for n greater than 0.
pub(super) fn split(mut items: Vec<String>, n: f64) -> (Vec<String>, Vec<String>) {
    let rest = items.split_off(items.len().min(n as usize));
    (items, rest)
}

/// The challenge `id`; that which every object inherits is there, too.
fn has_challenge(challenges: Option<&Value>, id: &str) -> Result<bool, Throws> {
    let own = js::get(challenges, id)?;
    Ok(match own.as_deref() {
        None => js::INHERITED.contains(&id),
        own => js::truthy(own),
    })
}

/// Ids that must be solved, and those left over.
///
/// # Errors
/// Throws when the pool cannot give them.
pub fn requirements_of(
    pool: &Value,
    required: Option<&Value>,
    target: Option<&Value>,
) -> Result<(Vec<String>, Vec<String>), Throws> {
    js::get(Some(pool), "config")?;
    let challenges = pool.get("challenges");
    let mut available: Vec<String> = js::entries(challenges)?.into_iter().map(|(id, _)| id).collect();
    let mut mandatory: Vec<String> = Vec::new();
    if let Some(required) = required.filter(|r| r.is_truthy() && js::length(r) > 0.0) {
        for id in items(required)? {
            let text = js::text(Some(&id));
            if !has_challenge(challenges, &text)? {
                return throw(format!("challenge {text:?} is demanded but not in the pool"));
            }
            if id.as_str().is_some() && available.contains(&text) && !mandatory.contains(&text) {
                mandatory.push(text);
            }
        }
        available.retain(|id| !mandatory.contains(id));
    }
    let bound = js::number(behavior(pool, "targetBindingChars")?.as_deref());
    if let Some(target) = target.filter(|t| bound > 0.0 && t.is_truthy()) {
        let Some(target) = target.as_str() else { return throw(format!("target {target} is no text")) };
        let (_, gib) = ibgib::compat::get_ib_and_gib(target, "^")?;
        for c in first_units(&gib, bound as usize).to_lowercase().chars() {
            let found = match js::get(pool.get("bindingMap"), &c.to_string())?.as_deref() {
                Some(Value::Array(ids)) => {
                    ids.iter().filter_map(Value::as_str).find(|id| available.iter().any(|a| a == id)).map(str::to_owned)
                }
                Some(other) if other.is_truthy() => return throw(format!("bucket {c:?} is {other}")),
                _ => None,
            };
            let Some(id) = found.filter(|id| !id.is_empty()) else {
                return throw(format!("no challenge is left that binds to {c:?}"));
            };
            available.retain(|a| *a != id);
            mandatory.push(id);
        }
    }
    let first = js::number(behavior(pool, "selectSequentially")?.as_deref());
    if first > 0.0 {
        if (available.len() as f64) < first {
            return throw("too few challenges are left");
        }
        let (in_line, rest) = split(available, first);
        mandatory.extend(in_line);
        available = rest;
    }
    Ok((mandatory, available))
}

/// The first `n` UTF-16 units; half of a pair becomes a character that nothing binds to.
fn first_units(text: &str, n: usize) -> String {
    let units: Vec<u16> = text.encode_utf16().take(n).collect();
    String::from_utf16_lossy(&units)
}

pub(super) fn choose_pool<'a>(pools: &'a [Value], input: &SignInput) -> Result<&'a Value, Throws> {
    let verb = || js::get(input.claim.as_ref(), "verb").map(|v| v.filter(|v| v.is_truthy()));
    if let Some(id) = input.pool_id.as_ref().filter(|id| id.is_truthy()) {
        let Some(pool) = position(pools, Some(id))?.map(|i| &pools[i]) else { return throw(format!("no pool {id}")) };
        if let Some(verbs) = verbs(pool)?.filter(|v| js::length(v) > 0.0)
            && let Some(verb) = verb()?
            && !includes(&verbs, &verb)?
        {
            return throw(format!("pool {id} does not allow {verb}"));
        }
        return Ok(pool);
    }
    let Some(verb) = verb()? else { return throw("a verb is needed to find the pool") };
    for pool in pools {
        if let Some(verbs) = verbs(pool)?
            && includes(&verbs, &verb)?
        {
            return Ok(pool);
        }
    }
    for pool in pools {
        let general = match verbs(pool)? {
            None => true,
            Some(verbs) => js::get(Some(&verbs), "length")?.as_deref() == Some(&Value::Number(0.0)),
        };
        if general {
            return Ok(pool);
        }
    }
    throw(format!("no pool allows {verb}"))
}
