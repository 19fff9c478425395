//! The strict rules of frames, as far as every strategy has them in common.

use crate::claim::{Claim, Proof, Solution, proofs};
use crate::error::{Rule, ValidateError};
use crate::strategy::{Context, Pool, Spent, Strategy, by_name};
use crate::{IB, VERB_GUARD, VERB_MANAGE, VERB_RECOVER, VERB_REVOKE};
use ibgib::{Addr, IbGib, Value, Verified};
use std::collections::{BTreeSet, HashSet};

type Errors = Vec<ValidateError>;

/// What a verifier expects of a step. Nothing by default: then demands are those that the proof itself records, as
/// on replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The claim's verb.
    pub verb: Option<String>,
    /// The claim's target.
    pub target: Option<String>,
    /// The claim's audience.
    pub audience: Option<String>,
    /// The claim's nonce.
    pub nonce: Option<String>,
    /// Challenges that the verifier demanded.
    pub demanded: Option<Vec<String>>,
}

/// One rule that does not hold.
pub(crate) fn one(rule: Rule, expected: impl Into<String>, got: impl Into<String>) -> Errors {
    vec![ValidateError::new(rule, expected, got)]
}

/// The pools of a frame, as they stand.
pub(crate) fn pools(frame: &IbGib) -> &[Value] {
    frame.datum("challengePools").and_then(Value::as_array).unwrap_or_default()
}

/// The id of a pool that may be unreadable otherwise; empty when it has none.
pub(crate) fn id_of(pool: &Value) -> &str {
    pool.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// Rules that are told together.
#[derive(Default)]
struct Checks(Errors);

impl Checks {
    fn check(&mut self, holds: bool, rule: Rule, expected: impl Into<String>, got: impl Into<String>) {
        if !holds {
            self.0.push(ValidateError::new(rule, expected, got));
        }
    }

    fn done(self) -> Result<(), Errors> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

/// The rules of a genesis frame.
pub(crate) fn check_genesis(frame: &Verified<IbGib>) -> Result<(), Errors> {
    let mut all = Checks::default();
    all.check(frame.ib == IB, Rule::Ib, IB, &frame.ib);
    all.check(frame.n() == Some(0), Rule::N, "0", format!("{:?}", frame.datum("n").map(Value::to_json)));
    all.check(frame.datum("isTjp") == Some(&Value::Bool(true)), Rule::Tjp, "isTjp", "no isTjp");
    all.check(frame.rel8n("past").next().is_none(), Rule::Past, "no past", "a past");
    all.check(proofs(frame).is_empty(), Rule::Proofs, "none", proofs(frame).len().to_string());
    all.check(frame.datum("revocationInfo").is_none(), Rule::Revocation, "none", "a revocation");
    all.check(!pools(frame).is_empty(), Rule::Pools, "at least one pool", "none");
    check_new_pools(&mut all, pools(frame));
    all.done()
}

/// The rules of pools that are all new: full, told apart by their ids, of one strategy.
fn check_new_pools(all: &mut Checks, pools: &[Value]) {
    let mut ids = HashSet::new();
    let mut kinds = BTreeSet::new();
    for pool in pools {
        all.check(ids.insert(id_of(pool)), Rule::PoolRepeated, "ids once each", id_of(pool));
        all.0.extend(check_new_pool(pool).err());
        kinds.extend(Pool::parse(pool).ok().map(|pool| pool.strategy().name()));
    }
    let kinds: Vec<&str> = kinds.into_iter().collect();
    all.check(kinds.len() < 2, Rule::Pools, "one strategy", kinds.join(", "));
}

/// The rules of pools that take the place of all that there were.
pub(crate) fn check_all_new(pools: &[Value]) -> Result<(), Errors> {
    let mut all = Checks::default();
    check_new_pools(&mut all, pools);
    all.done()
}

/// The strategy of a frame's pools, told by the first that can be read.
pub(crate) fn strategy_of(frame: &IbGib) -> Option<&'static dyn Strategy> {
    pools(frame).iter().find_map(|pool| Pool::parse(pool).ok()).map(|pool| pool.strategy())
}

/// Whether the solutions of a proof are of a strategy that binds claim and frame.
pub(crate) fn is_bound(proof: &Value) -> bool {
    let solutions = proof.get("solutions").and_then(Value::as_array).unwrap_or_default();
    let binds = |kind: &str| by_name(kind).is_some_and(Strategy::binds);
    !solutions.is_empty() && solutions.iter().all(|solution| binds(&Solution::parse(solution).kind))
}

/// Whether a step replaces all pools by those of a strategy that binds where the present one does not: the owner's
/// `manage` claim about the frame before. That is the only way to another strategy.
fn rotates(tip: &Verified<IbGib>, next: &IbGib, claim: &Claim) -> bool {
    let stays = |pool: &Value| pools(next).iter().any(|new| id_of(new) == id_of(pool));
    claim.verb == VERB_MANAGE
        && claim.target == tip.addr().as_str()
        && !pools(tip).iter().any(stays)
        && strategy_of(tip).is_some_and(|strategy| !strategy.binds())
        && strategy_of(next).is_some_and(Strategy::binds)
}

fn check_new_pool(pool: &Value) -> Result<(), ValidateError> {
    let pool = Pool::parse(pool).map_err(|why| ValidateError::new(Rule::Pools, "a readable configuration", why))?;
    if pool.id() != pool.config().salt() {
        return Err(ValidateError::new(Rule::Pools, "the salt as id", pool.id()));
    }
    pool.strategy().check_full(&pool)
}

/// The rules of a frame's place in its timeline.
pub(crate) fn check_place(tjp: &Addr, tip: &Verified<IbGib>, next: &Verified<IbGib>) -> Result<(), Errors> {
    if tip.datum("revocationInfo").is_some() {
        return Err(one(Rule::Revoked, "no frame after a revocation", next.addr().to_string()));
    }
    let mut all = Checks::default();
    all.check(next.ib == IB, Rule::Ib, IB, &next.ib);
    let n = tip.n().unwrap_or(0) + 1;
    all.check(next.n() == Some(n), Rule::N, n.to_string(), format!("{:?}", next.n()));
    let of_it = next.tjp().as_ref() == Some(tjp) && !next.is_tjp();
    all.check(of_it, Rule::Tjp, tjp.to_string(), format!("{:?}", next.tjp()));
    // Frames of the original list all that went before, ours the last one only.
    let mut whole = tip.rel8n_addrs("past");
    whole.push(tip.addr().clone());
    let past = next.rel8n_addrs("past");
    let right = past.as_slice() == &whole[whole.len() - 1..] || past == whole;
    all.check(right, Rule::Past, tip.addr().to_string(), format!("{past:?}"));
    all.done()
}

/// The rules of a frame's proof and pools; answers the pool that signed and what of it was spent.
pub(crate) fn check_proof(
    tip: &Verified<IbGib>,
    next: &Verified<IbGib>,
    expect: &Expect,
    is_spent: &dyn Fn(&str, &str) -> bool,
) -> Result<(Pool, Vec<String>), Errors> {
    let [written] = proofs(next) else { return Err(one(Rule::Proofs, "exactly one", proofs(next).len().to_string())) };
    let proof = Proof::parse(written).map_err(|error| vec![error])?;
    let claim = &proof.claim;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    for (got, wanted) in [
        (claim.verb.clone(), &expect.verb),
        (claim.target.clone(), &expect.target),
        (text(&claim.audience), &expect.audience),
        (text(&claim.nonce), &expect.nonce),
    ] {
        if let Some(wanted) = wanted.as_ref().filter(|w| **w != got) {
            return Err(one(Rule::ClaimUnexpected, wanted, got));
        }
    }
    check_revocation(tip, next, written, &proof)?;
    let pool = signing_pool(tip, &proof)?;
    if let Some(demanded) = expect.demanded.as_ref().filter(|d| **d != proof.demanded) {
        return Err(one(Rule::Demand, demanded.join(", "), proof.demanded.join(", ")));
    }
    if claim.verb == VERB_GUARD && !is_for_guard(&pool) {
        return Err(one(Rule::Verb, "a guard pool", pool.config().allowed_verbs().join(", ")));
    }
    let left = if claim.verb == VERB_RECOVER {
        check_recovery(tip, next, &proof, &pool)?;
        None
    } else if rotates(tip, next, claim) {
        check_all_new(pools(next))?;
        None
    } else {
        Some(pool_left(tip, next, &pool, claim)?)
    };
    let spent = Spent {
        pool: &pool,
        proof: &proof,
        written,
        next: left,
        context: Context { claim: written.get("claim").unwrap_or(&Value::Null), demanded: &proof.demanded, next },
        is_spent: &|id| is_spent(pool.id(), id),
    };
    pool.strategy().verify(&spent).map_err(|error| vec![error])?;
    Ok((pool, proof.ids()))
}

/// The pool as the next frame has it, all others being unchanged, unless a guard pool takes the place of the one that ended
/// the identity before.
fn pool_left<'a>(tip: &Verified<IbGib>, next: &'a IbGib, pool: &Pool, claim: &Claim) -> Result<&'a Value, Errors> {
    let (mut before, mut after): (Vec<&Value>, _) = (pools(tip).iter().collect(), pools(next));
    if let Some((opened, others)) = after.split_last().filter(|(opened, _)| opens_guard(tip, opened, claim)) {
        check_new_pool(opened).map_err(|error| vec![error])?;
        before.retain(|pool| !ends_identity(pool));
        after = others;
    }
    if before.len() != after.len() {
        return Err(one(Rule::OtherPool, format!("{} pools", before.len()), after.len().to_string()));
    }
    let mut left = &Value::Null;
    for (old, new) in before.into_iter().zip(after) {
        if id_of(old) == pool.id() {
            left = new;
        } else if old != new {
            return Err(one(Rule::OtherPool, format!("pool {} unchanged", id_of(old)), "a change"));
        }
    }
    Ok(left)
}

/// Whether a pool is for revocations, those that wait included, and for nothing else.
fn is_for_guard(pool: &Pool) -> bool {
    pool.config().allowed_verbs() == [VERB_REVOKE, VERB_GUARD] && pool.strategy().binds()
}

/// Whether a pool is for revocations and for nothing else: a guard pool takes its place.
pub(crate) fn ends_identity(pool: &Value) -> bool {
    let ends = |verb: &String| verb == VERB_REVOKE || verb == VERB_GUARD;
    Pool::parse(pool).is_ok_and(|pool| {
        let verbs = pool.config().allowed_verbs();
        !verbs.is_empty() && verbs.iter().all(ends)
    })
}

/// As it stands in a frame.
pub(crate) fn is_guard_pool(pool: &Value) -> bool {
    Pool::parse(pool).is_ok_and(|pool| is_for_guard(&pool))
}

/// Whether a step opens a guard pool: the owner's `manage` claim about the frame before, and a pool that was not there.
fn opens_guard(tip: &Verified<IbGib>, opened: &Value, claim: &Claim) -> bool {
    claim.verb == VERB_MANAGE
        && claim.target == tip.addr().as_str()
        && is_guard_pool(opened)
        && strategy_of(tip).is_some_and(Strategy::binds)
        && !pools(tip).iter().any(|pool| id_of(pool) == id_of(opened))
}

/// The pool of which all solutions are, when it may sign the claim.
fn signing_pool(tip: &Verified<IbGib>, proof: &Proof) -> Result<Pool, Errors> {
    let pool_id = proof.solutions.first().map(|solution| solution.pool_id.as_str()).unwrap_or_default();
    if let Some(other) = proof.solutions.iter().find(|solution| solution.pool_id != pool_id) {
        return Err(one(Rule::PoolsMixed, pool_id, &other.pool_id));
    }
    let Some(pool) = pools(tip).iter().find(|pool| id_of(pool) == pool_id) else {
        return Err(one(Rule::PoolUnknown, "a pool of the frame before", pool_id));
    };
    let pool = Pool::parse(pool).map_err(|why| one(Rule::Pools, "a readable configuration", why))?;
    let (verbs, verb) = (pool.config().allowed_verbs(), &proof.claim.verb);
    if !verbs.is_empty() && !verbs.contains(verb) {
        return Err(one(Rule::Verb, verbs.join(", "), verb));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = proof.solutions.iter().find(|solution| !seen.insert(&solution.challenge_id)) {
        return Err(one(Rule::SolutionRepeated, "each challenge once", &twice.challenge_id));
    }
    let kind = pool.strategy().name();
    match proof.solutions.iter().find(|solution| solution.kind != kind) {
        Some(other) => Err(one(Rule::SolutionType, kind, &other.kind)),
        None => Ok(pool),
    }
}

/// A revoke claim and `revocationInfo` come together, about the frame before, with the frame's own proof. So does a claim of
/// a revocation that waits, without that copy, which nobody needs.
fn check_revocation(
    tip: &Verified<IbGib>,
    next: &Verified<IbGib>,
    written: &Value,
    proof: &Proof,
) -> Result<(), Errors> {
    let Proof { claim, .. } = proof;
    match next.datum("revocationInfo") {
        None if claim.verb == VERB_REVOKE || claim.verb == VERB_GUARD => {
            Err(one(Rule::Revocation, "revocationInfo beside the claim", "none"))
        }
        None => Ok(()),
        Some(_) if claim.verb != VERB_REVOKE && claim.verb != VERB_GUARD => {
            Err(one(Rule::Revocation, VERB_REVOKE, &claim.verb))
        }
        Some(_) if claim.target != tip.addr().as_str() => {
            Err(one(Rule::Revocation, tip.addr().to_string(), &claim.target))
        }
        Some(info) if claim.verb == VERB_GUARD => match info.get("proof") {
            None => Ok(()),
            Some(_) => Err(one(Rule::Revocation, "no copy of the proof", "one")),
        },
        Some(info) if info.get("proof") != Some(written) => {
            Err(one(Rule::Revocation, "the frame's own proof", "another"))
        }
        Some(_) => Ok(()),
    }
}

/// Whether a pool is for taking the identity back, and for nothing else.
pub(crate) fn is_recovery_pool(pool: &Pool) -> bool {
    pool.config().allowed_verbs() == [VERB_RECOVER] && pool.strategy().binds()
}

/// The rules of a recovery frame beside those of its proof: about the frame before, by a pool for that alone, with new
/// pools, of which one is the next recovery pool.
fn check_recovery(tip: &Verified<IbGib>, next: &Verified<IbGib>, proof: &Proof, pool: &Pool) -> Result<(), Errors> {
    if !is_recovery_pool(pool) {
        return Err(one(Rule::Verb, "a pool for recover alone", pool.config().allowed_verbs().join(", ")));
    }
    if proof.claim.target != tip.addr().as_str() {
        return Err(one(Rule::Recovery, tip.addr().to_string(), &proof.claim.target));
    }
    let (before, after) = (pools(tip), pools(next));
    if let Some(kept) = after.iter().find(|new| before.iter().any(|old| id_of(old) == id_of(new))) {
        return Err(one(Rule::Recovery, "new pools only", id_of(kept)));
    }
    check_all_new(after)?;
    let read: Vec<Pool> = after.iter().filter_map(|pool| Pool::parse(pool).ok()).collect();
    let next_ones = read.iter().filter(|pool| is_recovery_pool(pool)).count();
    if next_ones != 1 || read.len() < 2 {
        let got = format!("{next_ones} of {}", read.len());
        return Err(one(Rule::Recovery, "one recovery pool and others", got));
    }
    match read.iter().all(|pool| pool.strategy().binds()) {
        true => Ok(()),
        false => Err(one(Rule::Recovery, "pools that bind what they sign", "others")),
    }
}
