//! Keystones exactly as the original makes and judges them: for checking and bringing over existing data.
//!
//! What it accepts proves little; see [`crate::attacks`]. Nothing that enters a space goes through here. Where the
//! original reads a member that is not there, or of another type than it expects, so does this page: that decides
//! whether it throws, reports, or goes on.

use crate::config::{Algo, HASH_REVEAL};
use crate::pool;
use crate::strategy::{Context, HashReveal, Strategy, holds};
use ibgib::compat::js;
use ibgib::transform::{Moment, compat as transform};
use ibgib::{IbGib, Map, Value, object, strings};
use sha2::{Digest, Sha256};
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

/// Clock, random bytes, and whether the original's random sort reverses (its comparator was negative).
#[derive(Clone, Copy, Debug)]
pub struct Stub {
    /// Clock and random bytes.
    pub moment: Moment,
    /// The random layer takes from the end.
    pub reversed: bool,
}

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

/// More rounds or challenges than this are refused; the original would compute for days.
const TIMES_MAX: f64 = 1e5;

/// How often `for (i = 0; i < n; i++)` runs.
fn times(n: Option<&Value>) -> Result<usize, Throws> {
    let n = js::number(n);
    if n > TIMES_MAX { throw(format!("{n} times are more than {TIMES_MAX}")) } else { Ok(n.max(0.0).ceil() as usize) }
}

fn strategy_type(config: &Value) -> Result<(), Throws> {
    match js::get(Some(config), "type")?.as_deref() {
        Some(Value::String(kind)) if kind == HASH_REVEAL => Ok(()),
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

/// A strategy for a pool's configuration.
///
/// # Errors
/// Unknown strategies and algorithms throw.
pub fn strategy(config: &Value, pool_id: &str, master_secret: &str) -> Result<HashReveal, Throws> {
    let (algo, rounds) = parameters(config)?;
    Ok(HashReveal::new(algo, rounds, &js::text(config.get("salt")), pool_id, master_secret.as_bytes()))
}

/// `validateSolution`: recomputes the challenge; an error on the way is `false`.
///
/// # Errors
/// An unknown strategy throws.
pub fn validate_solution(config: &Value, solution: &Value, challenge: &Value) -> Result<bool, Throws> {
    strategy_type(config)?;
    if [solution, challenge].iter().any(|v| v.get("type").and_then(Value::as_str) != Some(HASH_REVEAL)) {
        return Ok(false);
    }
    let Ok((algo, rounds)) = parameters(config) else { return Ok(false) };
    let (value, hash) = (solution.get("value"), challenge.get("hash"));
    if rounds == 0 {
        return Ok(value == hash);
    }
    let id = js::text(solution.get("challengeId"));
    Ok(hash.and_then(Value::as_str).is_some_and(|hash| holds(algo, rounds, &id, &js::text(value), hash)))
}

/// `generateChallengeId`: the first 16 hex digits of SHA-256(salt ‖ milliseconds ‖ index).
pub fn challenge_id(salt: &str, timestamp: &str, index: &str) -> String {
    let text = format!("{salt}{timestamp}{index}");
    if text.is_empty() { text } else { hex::encode(Sha256::digest(text.as_bytes()))[..16].to_owned() }
}

/// The binding map after adding and removing ids.
pub fn binding_map(add: &[String], remove: &[String]) -> Map {
    let mut map = Map::new();
    add.iter().for_each(|id| pool::bind(&mut map, id));
    pool::unbind(&mut map, remove);
    map
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

/// `items.slice(0, n)` and `items.slice(n)`, for n greater than 0.
fn split(mut items: Vec<String>, n: f64) -> (Vec<String>, Vec<String>) {
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

/// Puts `count` new challenges into a pool.
fn fill(pool: &mut Map, strategy: &HashReveal, salt: &str, now_ms: i64, count: usize) -> Result<(), Throws> {
    for index in 0..count {
        let id = challenge_id(salt, &now_ms.to_string(), &index.to_string());
        let Some(Value::Object(challenges)) = pool.get_mut("challenges") else {
            return throw("challenges cannot be added to");
        };
        challenges.insert(id.as_str(), strategy.challenge(&id));
        if !js::truthy(pool.get("bindingMap")) {
            pool.insert("bindingMap", Map::new());
        }
        let Some(Value::Object(binding)) = pool.get_mut("bindingMap") else {
            return throw("bindingMap cannot be added to");
        };
        if let Some(other) = binding.get(&id[..1]).filter(|b| b.is_truthy() && b.as_array().is_none()) {
            return throw(format!("a bucket of bindingMap is {other}"));
        }
        pool::bind(binding, &id);
    }
    Ok(())
}

/// The genesis frame.
///
/// # Errors
/// Unknown strategies throw.
pub fn genesis(master_secret: &str, configs: &[Value], details: Option<&Value>, stub: &Stub) -> Result<IbGib, Throws> {
    let mut pools = Vec::new();
    for config in configs {
        let strategy = strategy(config, "", master_secret)?;
        let size = times(js::get(config.get("behavior"), "size")?.as_deref())?;
        let mut pool = Map::new();
        if let Some(id) = config.get("salt") {
            pool.insert("id", id.clone());
        }
        pool.insert("config", config.clone());
        pool.insert("challenges", Map::new());
        pool.insert("bindingMap", Map::new());
        fill(&mut pool, &strategy, &js::text(config.get("salt")), stub.moment.now_ms, size)?;
        pools.push(Value::Object(pool));
    }
    let mut data: Map = [
        ("n", Value::from(0u32)),
        ("timestamp", stub.moment.timestamp().into()),
        ("timestampMs", Value::Number(stub.moment.now_ms.rem_euclid(1000) as f64)),
        ("uuid", stub.moment.uuid().into()),
        ("challengePools", Value::Array(pools)),
        ("proofs", Value::Array(Vec::new())),
    ]
    .into_iter()
    .collect();
    if let Some(details) = details {
        data.insert("frameDetails", details.clone());
    }
    data.insert("isTjp", true);
    let mut frame = IbGib {
        ib: crate::IB.into(),
        gib: None,
        data: Some(Value::Object(data)),
        rel8ns: Some(object([("ancestor", strings(["keystone^gib"]))])),
    };
    frame.gib = Some(ibgib::compat::get_gib(&frame).map_err(|e| Throws(e.0))?);
    Ok(frame)
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

fn choose_pool<'a>(pools: &'a [Value], input: &SignInput) -> Result<&'a Value, Throws> {
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

/// Signs a claim: the next frame, and the ids it used, in order.
///
/// # Errors
/// Throws for revoked keystones, unsuitable pools, wrong secrets.
pub fn sign(
    latest: &IbGib,
    master_secret: &str,
    input: &SignInput,
    stub: &Stub,
) -> Result<(IbGib, Vec<String>), Throws> {
    data_of(latest)?;
    let pool = choose_pool(pools_of(latest)?, input)?;
    evolve(latest, master_secret, pool, input, None, stub)
}

/// Revokes: signs {verb `revoke`, target the keystone's address} with the pool `revoke`. A missing reason is the
/// original's.
///
/// # Errors
/// As [`sign`].
pub fn revoke(
    latest: &IbGib,
    master_secret: &str,
    reason: Option<&Value>,
    details: Option<Value>,
    stub: &Stub,
) -> Result<IbGib, Throws> {
    let pools = pools_of(latest)?;
    let Some(at) = position(pools, Some(&crate::VERB_REVOKE.into()))? else {
        return throw("there is no pool to revoke");
    };
    let claim = object([("verb", crate::VERB_REVOKE.into()), ("target", address(latest).into())]);
    let input = SignInput { claim: Some(claim), frame_details: details, ..SignInput::default() };
    let default = Value::from("User initiated revocation");
    let reason = reason.unwrap_or(&default);
    evolve(latest, master_secret, &pools[at], &input, Some(reason), stub).map(|(frame, _)| frame)
}

fn address(node: &IbGib) -> String {
    format!("{}^{}", node.ib, node.gib.as_deref().unwrap_or(""))
}

fn evolve(
    latest: &IbGib,
    master_secret: &str,
    pool: &Value,
    input: &SignInput,
    revoking: Option<&Value>,
    stub: &Stub,
) -> Result<(IbGib, Vec<String>), Throws> {
    if js::truthy(latest.datum("revocationInfo")) {
        return throw("the keystone is revoked");
    }
    let claim = input.claim.as_ref();
    let target = js::get(claim, "target")?;
    let (mut used, mut rest) = requirements_of(pool, input.required.as_ref(), target.as_deref())?;
    let random = js::number(behavior(pool, "selectRandomly")?.as_deref());
    if random > 0.0 {
        if (rest.len() as f64) < random {
            return throw("too few challenges are left to choose at random");
        }
        if stub.reversed {
            rest.reverse();
        }
        used.extend(split(rest, random).0);
    }
    if revoking.is_some() && used.is_empty() {
        return throw("the revoke pool selects nothing");
    }
    let config = pool.get("config").cloned().unwrap_or(Value::Null);
    let strategy = strategy(&config, "", master_secret)?;
    let solutions: Vec<Value> = used.iter().map(|id| solution(&strategy, pool.get("id"), id)).collect();
    let next_pools = replenish(pools_of(latest)?, pool, &config, &strategy, &used, stub.moment.now_ms)?;

    let mut proof = Map::new();
    if let Some(claim) = claim {
        proof.insert("claim", claim.clone());
    }
    proof.insert("solutions", solutions);
    match &input.required {
        Some(Value::Null) => return throw("requiredChallengeIds is null"),
        Some(required) if js::length(required) > 0.0 => drop(proof.insert("requiredChallengeIds", required.clone())),
        _ => {}
    }
    let proof = Value::Object(proof);
    let mut patch: Map =
        [("challengePools", next_pools), ("proofs", Value::Array(vec![proof.clone()]))].into_iter().collect();
    if let Some(reason) = revoking {
        patch.insert("revocationInfo", object([("reason", reason.clone()), ("proof", proof)]));
    }
    let mut src = latest.clone();
    match &input.frame_details {
        Some(details) => drop(patch.insert("frameDetails", details.clone())),
        // The original sets it to undefined, which drops the old one.
        None => {
            if let Some(data) = src.data.as_mut().and_then(Value::as_object_mut) {
                data.remove("frameDetails");
            }
        }
    }
    let opts = object([("src", src.to_value()), ("dataToAddOrPatch", patch.into()), ("nCounter", true.into())]);
    let made = transform::mut8(&opts, &stub.moment).map_err(|e| Throws(e.to_string()))?;
    let errors = validate(latest, &made.new_ibgib)?;
    if !errors.is_empty() {
        return throw(format!("the new frame does not validate: {}", errors.join("; ")));
    }
    Ok((made.new_ibgib, used))
}

/// A solution, with the pool's id as it stands there.
fn solution(strategy: &HashReveal, pool_id: Option<&Value>, id: &str) -> Value {
    let nothing = Map::new();
    let solved = strategy.solve(id, Context { claim: &Value::Null, next: &nothing });
    let Value::Object(mut members) = solved else { return solved };
    match pool_id {
        Some(pool_id) => drop(members.insert("poolId", pool_id.clone())),
        None => drop(members.remove("poolId")),
    }
    Value::Object(members)
}

/// All pools, that which signed (or the first of the same id) as its replenish rule leaves it.
fn replenish(
    pools: &[Value],
    signing: &Value,
    config: &Value,
    strategy: &HashReveal,
    used: &[String],
    now_ms: i64,
) -> Result<Value, Throws> {
    let mut pools: Vec<Value> = pools.iter().map(js::clone).collect();
    let Some(Value::Object(next)) = position(&pools, signing.get("id"))?.map(|i| &mut pools[i]) else {
        return throw("the pool is no object");
    };
    if !used.is_empty() {
        match next.get_mut("bindingMap").filter(|b| b.is_truthy()) {
            None => {}
            Some(Value::Object(binding)) if binding.values().all(|bucket| bucket.as_array().is_some()) => {
                pool::unbind(binding, used);
            }
            Some(other) => return throw(format!("bindingMap is {other}")),
        }
    }
    let rule = js::get(config.get("behavior"), "replenish")?;
    let rule = rule.as_deref().and_then(Value::as_str);
    match rule {
        Some("top-up" | "consume") => {
            if !used.is_empty() {
                let Some(Value::Object(challenges)) = next.get_mut("challenges") else {
                    return throw("challenges is no object");
                };
                used.iter().for_each(|id| drop(challenges.remove(id)));
            }
        }
        Some("replace-all" | "scorched-earth") => {
            next.insert("challenges", Map::new());
            next.insert("bindingMap", Map::new());
        }
        other => return throw(format!("unknown replenish strategy {other:?}")),
    }
    let new = match rule {
        Some("top-up") => used.len(),
        Some("replace-all") => times(js::get(config.get("behavior"), "size")?.as_deref())?,
        _ => 0,
    };
    fill(next, strategy, &js::text(config.get("salt")), now_ms, new)?;
    Ok(Value::Array(pools))
}

/// `validate`: what is wrong with a step, one text each.
///
/// # Errors
/// Throws for malformed frames and unknown demands, as the original does.
pub fn validate(prev: &IbGib, current: &IbGib) -> Result<Vec<String>, Throws> {
    let data = data_of(current)?;
    let mut errors = Vec::new();
    let proofs = js::get(Some(data), "proofs")?;
    for proof in items(proofs.as_deref().unwrap_or(&Value::Null))? {
        validate_proof(prev, &proof, &mut errors)?;
    }
    if let Some(info) = data.get("revocationInfo").filter(|i| i.is_truthy()) {
        let proof = js::get(Some(info), "proof")?;
        let claim = js::get(proof.as_deref(), "claim")?;
        let target = js::get(claim.as_deref(), "target")?;
        if target.as_deref().and_then(Value::as_str) != Some(&address(prev)) {
            errors.push("the revocation's target is not the keystone before".into());
        }
    }
    Ok(errors)
}

fn validate_proof(prev: &IbGib, proof: &Value, errors: &mut Vec<String>) -> Result<(), Throws> {
    let solutions = js::get(Some(proof), "solutions")?;
    let solutions = solutions.as_deref();
    if js::get(solutions, "length")?.as_deref() == Some(&Value::Number(0.0)) {
        errors.push("a proof has no solutions".into());
        return Ok(());
    }
    let first = js::get(solutions, "0")?;
    let pool_id = js::get(first.as_deref(), "poolId")?;
    let pools = pools_of(prev)?;
    let name = js::text(pool_id.as_deref());
    let Some(pool) = position(pools, pool_id.as_deref())?.map(|i| &pools[i]) else {
        errors.push(format!("no pool {name:?}"));
        return Ok(());
    };
    let claim = proof.get("claim");
    if let Some(verbs) = verbs(pool)?.filter(|v| js::length(v) > 0.0) {
        let allowed = match js::get(claim, "verb")?.filter(|v| v.is_truthy()) {
            Some(verb) => includes(&verbs, &verb)?,
            None => false,
        };
        if !allowed {
            errors.push(format!("pool {name:?} does not allow the verb"));
        }
    }
    let target = js::get(claim, "target")?;
    let (mandatory, available) = requirements_of(pool, proof.get("requiredChallengeIds"), target.as_deref())?;
    let Some(Value::Array(solutions)) = solutions else { return throw("solutions is no list") };
    let mut ids: Vec<Option<Value>> = Vec::new();
    for solution in solutions {
        let id = js::get(Some(solution), "challengeId")?.map(Cow::into_owned);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let is = |id: &Option<Value>, text: &String| id.as_ref().and_then(Value::as_str) == Some(text);
    for id in mandatory.iter().filter(|m| !ids.iter().any(|id| is(id, m))) {
        errors.push(format!("mandatory challenge {id:?} is not solved"));
    }
    let others: Vec<&Option<Value>> = ids.iter().filter(|id| !mandatory.iter().any(|m| is(id, m))).collect();
    if (others.len() as f64) < js::number(behavior(pool, "selectRandomly")?.as_deref()) {
        errors.push("too few challenges chosen at random".into());
    }
    for id in others.iter().filter(|id| !available.iter().any(|a| is(id, a))) {
        errors.push(format!("challenge {} was not available", js::text(id.as_ref())));
    }
    let config = pool.get("config").cloned().unwrap_or(Value::Null);
    strategy_type(&config)?;
    for solution in solutions {
        let id = js::text(solution.get("challengeId"));
        let challenge = js::get(pool.get("challenges"), &id)?.filter(|c| c.is_truthy());
        let ok = match challenge {
            Some(challenge) => validate_solution(&config, solution, &challenge)?,
            None => false,
        };
        if !ok {
            errors.push(format!("the solution of {id:?} does not hold"));
        }
    }
    Ok(())
}
