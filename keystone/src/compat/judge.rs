//! Judging frames as the original does.

use super::select::requirements_of;
use super::{
    Throws, address, behavior, data_of, includes, items, parameters, pools_of, position, strategy_type, throw, verbs,
};
use crate::strategy::hash_reveal::{NAME, holds};
use ibgib::json::js;
use ibgib::{IbGib, Value};
use std::borrow::Cow;

/// `validateSolution`: recomputes the challenge; an error on the way is `false`.
///
/// # Errors
/// An unknown strategy throws.
pub fn validate_solution(config: &Value, solution: &Value, challenge: &Value) -> Result<bool, Throws> {
    strategy_type(config)?;
    if [solution, challenge].iter().any(|v| v.get("type").and_then(Value::as_str) != Some(NAME)) {
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
