//! Keystones exactly as the original makes and judges them: for checking and bringing over existing data.
//!
//! What it accepts proves little; see [`crate::attacks`]. Nothing that enters a space goes through here.

use crate::config::{Algo, HASH_REVEAL, empty_pool};
use crate::pool::{self, challenges, requirements};
use crate::strategy::{Context, HashReveal, Strategy, holds};
use ibgib::transform::{Moment, compat as transform};
use ibgib::{IbGib, Map, Value, object, strings};
use sha2::{Digest, Sha256};

/// The original raises an exception; the message is ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Throws(pub String);

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

/// What to sign.
#[derive(Clone, Debug, Default)]
pub struct SignInput {
    /// The claim, as given.
    pub claim: ClaimValue,
    /// The pool, or one that allows the verb.
    pub pool_id: Option<String>,
    /// Challenges that must be solved.
    pub required: Vec<String>,
    /// Details of the frame.
    pub frame_details: Option<Value>,
}

/// A claim as JSON.
#[derive(Clone, Debug)]
pub struct ClaimValue(pub Value);

impl Default for ClaimValue {
    fn default() -> Self {
        Self(Value::Object(Map::new()))
    }
}

/// A strategy for a pool's configuration.
///
/// # Errors
/// Unknown strategies and algorithms throw.
pub fn strategy(config: &Value, pool_id: &str, master_secret: &str) -> Result<HashReveal, Throws> {
    let (algo, rounds) = parameters(config)?;
    let salt = config.get("salt").and_then(Value::as_str).unwrap_or("");
    Ok(HashReveal::new(algo, rounds, salt, pool_id, master_secret.as_bytes()))
}

fn parameters(config: &Value) -> Result<(Algo, usize), Throws> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or("");
    if text("type") != HASH_REVEAL {
        return throw(format!("unknown strategy {:?}", text("type")));
    }
    let Some(algo) = Algo::parse(text("algo")) else { return throw(format!("unknown algo {:?}", text("algo"))) };
    let rounds = config.get("rounds").and_then(Value::as_f64).unwrap_or(0.0).clamp(0.0, 1e6) as usize;
    Ok((algo, rounds))
}

/// `validateSolution`: recomputes the challenge; any error is `false`.
pub fn validate_solution(config: &Value, solution: &Value, challenge: &Value) -> bool {
    let text = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).map(str::to_owned);
    let Ok((algo, rounds)) = parameters(config) else { return false };
    let typed = [solution, challenge].iter().all(|v| text(v, "type").as_deref() == Some(HASH_REVEAL));
    match (text(solution, "challengeId"), text(solution, "value"), text(challenge, "hash")) {
        (Some(id), Some(value), Some(hash)) if typed => holds(algo, rounds, &id, &value, &hash),
        _ => false,
    }
}

/// `generateChallengeId`: the first 16 hex digits of SHA-256(salt ‖ milliseconds ‖ index).
pub fn challenge_id(salt: &str, timestamp: &str, index: u64) -> String {
    let text = format!("{salt}{timestamp}{index}");
    hex::encode(Sha256::digest(text.as_bytes()))[..16].to_owned()
}

/// The binding map after adding and removing ids.
pub fn binding_map(add: &[String], remove: &[String]) -> Map {
    let mut map = Map::new();
    add.iter().for_each(|id| pool::bind(&mut map, id));
    pool::unbind(&mut map, remove);
    map
}

/// Ids that must be solved, and those left over.
///
/// # Errors
/// Throws when the pool cannot give them.
pub fn requirements_of(
    pool: &Value,
    required: &[String],
    target: Option<&str>,
) -> Result<(Vec<String>, Vec<String>), Throws> {
    requirements(pool, required, target).map_err(|e| Throws(e.text()))
}

fn fill(pool: &mut Value, strategy: &HashReveal, salt: &str, now_ms: i64, count: usize) {
    for index in 0..count {
        let id = challenge_id(salt, &now_ms.to_string(), index as u64);
        pool::add(pool, &id, strategy.challenge(&id));
    }
}

/// The genesis frame.
///
/// # Errors
/// Unknown strategies throw.
pub fn genesis(master_secret: &str, configs: &[Value], details: Option<&Value>, stub: &Stub) -> Result<IbGib, Throws> {
    let mut pools = Vec::new();
    for config in configs {
        let salt = config.get("salt").and_then(Value::as_str).unwrap_or("");
        let strategy = strategy(config, salt, master_secret)?;
        let mut pool = Value::Object(empty_pool(config, salt));
        let size = config.get("behavior").and_then(|b| b.get("size")).and_then(Value::as_u53).unwrap_or(0);
        fill(&mut pool, &strategy, salt, stub.moment.now_ms, size as usize);
        pools.push(pool);
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

fn pools_of(keystone: &IbGib) -> Result<&[Value], Throws> {
    match keystone.datum("challengePools").and_then(Value::as_array) {
        Some(pools) => Ok(pools),
        None => throw("challengePools is missing"),
    }
}

fn pool_by_id<'a>(pools: &'a [Value], id: &str) -> Option<&'a Value> {
    pools.iter().find(|p| p.get("id").and_then(Value::as_str) == Some(id))
}

fn verbs(pool: &Value) -> &[Value] {
    pool.get("config").and_then(|c| c.get("allowedVerbs")).and_then(Value::as_array).unwrap_or(&[])
}

fn choose_pool<'a>(pools: &'a [Value], input: &SignInput) -> Result<&'a Value, Throws> {
    let verb = input.claim.0.get("verb").and_then(Value::as_str).filter(|v| !v.is_empty());
    let lists = |pool: &Value, verb: &str| verbs(pool).iter().any(|v| v.as_str() == Some(verb));
    if let Some(id) = &input.pool_id {
        let Some(pool) = pool_by_id(pools, id) else { return throw(format!("no pool {id:?}")) };
        return match verb {
            Some(verb) if !verbs(pool).is_empty() && !lists(pool, verb) => {
                throw(format!("pool {id:?} does not allow {verb:?}"))
            }
            _ => Ok(pool),
        };
    }
    let Some(verb) = verb else { return throw("a verb is needed to find the pool") };
    match pools.iter().find(|p| lists(p, verb)).or_else(|| pools.iter().find(|p| verbs(p).is_empty())) {
        Some(pool) => Ok(pool),
        None => throw(format!("no pool allows {verb:?}")),
    }
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
    evolve(latest, master_secret, input, None, stub)
}

/// Revokes: signs {verb `revoke`, target the keystone's address} with the pool `revoke`.
///
/// # Errors
/// As [`sign`].
pub fn revoke(
    latest: &IbGib,
    master_secret: &str,
    reason: Option<&str>,
    details: Option<Value>,
    stub: &Stub,
) -> Result<IbGib, Throws> {
    let addr = format!("{}^{}", latest.ib, latest.gib.as_deref().unwrap_or(""));
    let claim = object([("verb", crate::VERB_REVOKE.into()), ("target", addr.into())]);
    let input = SignInput {
        claim: ClaimValue(claim),
        pool_id: Some("revoke".into()),
        required: Vec::new(),
        frame_details: details,
    };
    let reason = reason.unwrap_or("User initiated revocation");
    evolve(latest, master_secret, &input, Some(reason), stub).map(|(frame, _)| frame)
}

fn evolve(
    latest: &IbGib,
    master_secret: &str,
    input: &SignInput,
    revoking: Option<&str>,
    stub: &Stub,
) -> Result<(IbGib, Vec<String>), Throws> {
    if latest.datum("revocationInfo").is_some_and(Value::is_truthy) {
        return throw("the keystone is revoked");
    }
    let pools = pools_of(latest)?;
    let pool = choose_pool(pools, input)?;
    let id = pool.get("id").and_then(Value::as_str).unwrap_or("").to_owned();
    let config = pool.get("config").cloned().unwrap_or(Value::Null);
    let strategy = strategy(&config, &id, master_secret)?;
    let target = input.claim.0.get("target").and_then(Value::as_str);
    let (mut used, mut rest) = requirements_of(pool, &input.required, target)?;
    let random = pool::selected_randomly(pool);
    if rest.len() < random {
        return throw("too few challenges are left to choose at random");
    }
    if stub.reversed {
        rest.reverse();
    }
    used.extend(rest.into_iter().take(random));
    if revoking.is_some() && used.is_empty() {
        return throw("the revoke pool selects nothing");
    }
    let nothing = Map::new();
    let context = Context { claim: &input.claim.0, next: &nothing };
    let solutions: Vec<Value> = used.iter().map(|id| strategy.solve(id, context)).collect();

    let mut next = pool.clone();
    let behavior = |name: &str| config.get("behavior").and_then(|b| b.get(name));
    let salt = config.get("salt").and_then(Value::as_str).unwrap_or("");
    match behavior("replenish").and_then(Value::as_str) {
        Some("top-up") => {
            pool::remove(&mut next, &used);
            fill(&mut next, &strategy, salt, stub.moment.now_ms, used.len());
        }
        Some("replace-all") => {
            pool::clear(&mut next);
            let size = behavior("size").and_then(Value::as_u53).unwrap_or(0) as usize;
            fill(&mut next, &strategy, salt, stub.moment.now_ms, size);
        }
        Some("consume") => pool::remove(&mut next, &used),
        Some("scorched-earth") => pool::clear(&mut next),
        other => return throw(format!("unknown replenish strategy {other:?}")),
    }
    let next_pools: Vec<Value> = pools
        .iter()
        .map(|p| if p.get("id").and_then(Value::as_str) == Some(&id) { next.clone() } else { p.clone() })
        .collect();
    let mut proof: Map =
        [("claim", input.claim.0.clone()), ("solutions", Value::Array(solutions))].into_iter().collect();
    if !input.required.is_empty() {
        proof.insert("requiredChallengeIds", strings(input.required.iter().map(String::as_str)));
    }
    let proof = Value::Object(proof);
    let mut patch: Map = [("challengePools", Value::Array(next_pools)), ("proofs", Value::Array(vec![proof.clone()]))]
        .into_iter()
        .collect();
    if let Some(reason) = revoking {
        patch.insert("revocationInfo", object([("reason", reason.into()), ("proof", proof)]));
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

/// `validate`: what is wrong with a step, one text each.
///
/// # Errors
/// Throws for malformed frames and unknown demands, as the original does.
pub fn validate(prev: &IbGib, current: &IbGib) -> Result<Vec<String>, Throws> {
    let pools = pools_of(prev)?;
    let Some(proofs) = current.datum("proofs").and_then(Value::as_array) else { return throw("proofs is missing") };
    let mut errors = Vec::new();
    for proof in proofs {
        validate_proof(pools, proof, &mut errors)?;
    }
    if let Some(info) = current.datum("revocationInfo").filter(|i| i.is_truthy()) {
        let addr = format!("{}^{}", prev.ib, prev.gib.as_deref().unwrap_or(""));
        let target = info.get("proof").and_then(|p| p.get("claim")).and_then(|c| c.get("target"));
        if target.and_then(Value::as_str) != Some(&addr) {
            errors.push("the revocation's target is not the keystone before".into());
        }
    }
    Ok(errors)
}

fn validate_proof(pools: &[Value], proof: &Value, errors: &mut Vec<String>) -> Result<(), Throws> {
    let solutions = proof.get("solutions").and_then(Value::as_array).unwrap_or(&[]);
    let Some(first) = solutions.first() else {
        errors.push("a proof has no solutions".into());
        return Ok(());
    };
    let pool_id = first.get("poolId").and_then(Value::as_str).unwrap_or("");
    let Some(pool) = pool_by_id(pools, pool_id) else {
        errors.push(format!("no pool {pool_id:?}"));
        return Ok(());
    };
    let claim = proof.get("claim");
    let verb = claim.and_then(|c| c.get("verb"));
    if !verbs(pool).is_empty() && !verb.is_some_and(|v| verbs(pool).contains(v)) {
        errors.push(format!("pool {pool_id:?} does not allow the verb"));
    }
    let required = proof.get("requiredChallengeIds").and_then(Value::as_array).unwrap_or(&[]);
    let required: Vec<String> = required.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let target = claim.and_then(|c| c.get("target")).and_then(Value::as_str);
    let (mandatory, available) = requirements_of(pool, &required, target)?;
    let ids: Vec<&str> = solutions.iter().filter_map(|s| s.get("challengeId")).filter_map(Value::as_str).collect();
    for id in mandatory.iter().filter(|id| !ids.contains(&id.as_str())) {
        errors.push(format!("mandatory challenge {id:?} is not solved"));
    }
    let others: Vec<&str> = ids.into_iter().filter(|id| !mandatory.iter().any(|m| m == id)).collect();
    if others.len() < pool::selected_randomly(pool) {
        errors.push("too few challenges chosen at random".into());
    }
    for id in others.iter().filter(|id| !available.iter().any(|a| a == *id)) {
        errors.push(format!("challenge {id:?} was not available"));
    }
    let config = pool.get("config").cloned().unwrap_or(Value::Null);
    for solution in solutions {
        let id = solution.get("challengeId").and_then(Value::as_str).unwrap_or("");
        let ok = match challenges(pool).and_then(|c| c.get(id)) {
            Some(challenge) => validate_solution(&config, solution, challenge),
            None => false,
        };
        if !ok {
            errors.push(format!("the solution of {id:?} does not hold"));
        }
    }
    Ok(())
}
