//! Making frames as the original does.

use super::select::{SignInput, choose_pool, requirements_of, split};
use super::{Throws, address, behavior, data_of, pool_secret, pools_of, position, throw, times, validate};
use crate::strategy::hash_reveal::{NAME, PoolSecret, Replenish, bind, unbind};
use ibgib::compat::transform;
use ibgib::json::js;
use ibgib::transform::Moment;
use ibgib::{IbGib, Map, Value, object, strings};
use sha2::{Digest, Sha256};

/// Clock, random bytes, and whether the original's random sort reverses (its comparator was negative).
#[derive(Clone, Copy, Debug)]
pub struct Stub {
    /// Clock and random bytes.
    pub moment: Moment,
    /// The random layer takes from the end.
    pub reversed: bool,
}

/// `generateChallengeId`: the first 16 hex digits of SHA-256(salt ‖ milliseconds ‖ index).
pub fn challenge_id(salt: &str, timestamp: &str, index: &str) -> String {
    let text = format!("{salt}{timestamp}{index}");
    if text.is_empty() { text } else { hex::encode(Sha256::digest(text.as_bytes()))[..16].to_owned() }
}

/// The binding map after adding and removing ids.
pub fn binding_map(add: &[String], remove: &[String]) -> Map {
    let mut map = Map::new();
    add.iter().for_each(|id| bind(&mut map, id));
    unbind(&mut map, remove);
    map
}

/// Puts `count` new challenges into a pool.
fn fill(pool: &mut Map, secret: &PoolSecret, salt: &str, now_ms: i64, count: usize) -> Result<(), Throws> {
    for index in 0..count {
        let id = challenge_id(salt, &now_ms.to_string(), &index.to_string());
        let Some(Value::Object(challenges)) = pool.get_mut("challenges") else {
            return throw("challenges cannot be added to");
        };
        challenges.insert(id.as_str(), secret.challenge(&id).to_value());
        if !js::truthy(pool.get("bindingMap")) {
            pool.insert("bindingMap", Map::new());
        }
        let Some(Value::Object(binding)) = pool.get_mut("bindingMap") else {
            return throw("bindingMap cannot be added to");
        };
        if let Some(other) = binding.get(&id[..1]).filter(|b| b.is_truthy() && b.as_array().is_none()) {
            return throw(format!("a bucket of bindingMap is {other}"));
        }
        bind(binding, &id);
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
        let secret = pool_secret(config, master_secret)?;
        let size = times(js::get(config.get("behavior"), "size")?.as_deref())?;
        let mut pool = Map::new();
        if let Some(id) = config.get("salt") {
            pool.insert("id", id.clone());
        }
        pool.insert("config", config.clone());
        pool.insert("challenges", Map::new());
        pool.insert("bindingMap", Map::new());
        fill(&mut pool, &secret, &js::text(config.get("salt")), stub.moment.now_ms, size)?;
        pools.push(Value::Object(pool));
    }
    let mut data: Map = [
        ("n", Value::from(0u32)),
        ("timestamp", stub.moment.timestamp().into()),
        ("timestampMs", Value::integer(stub.moment.now_ms.rem_euclid(1000))),
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
    let secret = pool_secret(&config, master_secret)?;
    let solutions: Vec<Value> = used.iter().map(|id| solution(&secret, pool.get("id"), id)).collect();
    let next_pools = replenish(pools_of(latest)?, pool, &config, &secret, &used, stub.moment.now_ms)?;

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
fn solution(secret: &PoolSecret, pool_id: Option<&Value>, id: &str) -> Value {
    let mut members: Map = [("type", Value::from(NAME))].into_iter().collect();
    if let Some(pool_id) = pool_id {
        members.insert("poolId", pool_id.clone());
    }
    members.insert("challengeId", id);
    members.insert("value", secret.solution(id));
    Value::Object(members)
}

/// All pools, that which signed (or the first of the same id) as its replenish rule leaves it.
fn replenish(
    pools: &[Value],
    signing: &Value,
    config: &Value,
    secret: &PoolSecret,
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
                unbind(binding, used);
            }
            Some(other) => return throw(format!("bindingMap is {other}")),
        }
    }
    let rule = js::get(config.get("behavior"), "replenish")?;
    let Some(rule) = rule.as_deref().and_then(Value::as_str).and_then(Replenish::parse) else {
        return throw(format!("unknown replenish strategy {}", js::text(rule.as_deref())));
    };
    if rule.clears() {
        next.insert("challenges", Map::new());
        next.insert("bindingMap", Map::new());
    } else if !used.is_empty() {
        let Some(Value::Object(challenges)) = next.get_mut("challenges") else {
            return throw("challenges is no object");
        };
        used.iter().for_each(|id| drop(challenges.remove(id)));
    }
    let new = match (rule.refills(), rule.clears()) {
        (true, true) => times(js::get(config.get("behavior"), "size")?.as_deref())?,
        (true, false) => used.len(),
        (false, _) => 0,
    };
    fill(next, secret, &js::text(config.get("salt")), now_ms, new)?;
    Ok(Value::Array(pools))
}
