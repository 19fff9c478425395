//! Making keystone frames.

use crate::chain::{Chain, Step};
use crate::claim::{Claim, Proof};
use crate::error::{KeystoneError, Rule, ValidateError};
use crate::rules::{self, Expect};
use crate::secret::{Entropy, Secret};
use crate::strategy::PoolConfig;
use crate::strategy::lms::{Leaf, Need, Tree};
use crate::strategy::{Context, Keys, Pool, Request};
use crate::{IB, VERB_GUARD, VERB_MANAGE, VERB_RECOVER, VERB_REVOKE};
use ibgib::transform::Moment;
use ibgib::{IbGib, Map, Value, Verified, object, strings};
use std::sync::Arc;

/// Options of [`sign`] and [`revoke`]. Signing consumes them, since a leaf signs once.
#[derive(Debug, Default)]
pub struct SignOpts {
    /// Challenges that the verifier demands.
    pub demanded: Vec<String>,
    /// Details of this frame, free JSON.
    pub details: Option<Value>,
    /// The leaf that was set aside, for a pool whose strategy needs one: see [`need`].
    pub leaf: Option<Leaf>,
    /// Trees that are built: the one that signs, and the next one if it is to follow.
    pub trees: Vec<Arc<Tree>>,
}

/// A new frame, the state it leads to, and the step that proves it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The identity's state with this frame as tip.
    pub chain: Chain,
    /// The frame.
    pub frame: Verified<IbGib>,
    /// The validated step.
    pub step: Step,
}

/// Makes an identity. Trees of one-time keys that its pools need are built on the spot.
///
/// # Errors
/// [`KeystoneError::Config`].
pub fn genesis(
    secret: &Secret,
    configs: &[PoolConfig],
    details: Option<Value>,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    genesis_with_trees(secret, configs, &[], None, details, now_ms, entropy)
}

/// As [`genesis`], with trees that were built before (see [`crate::strategy::lms::first_tree`]), and with a pool by which
/// the identity can be taken back (see [`crate::recovery_pool`]).
///
/// # Errors
/// [`KeystoneError::Config`].
pub fn genesis_with_trees(
    secret: &Secret,
    configs: &[PoolConfig],
    trees: &[Arc<Tree>],
    recovery: Option<&Pool>,
    details: Option<Value>,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    let mut pools = fill(secret, configs, trees, entropy)?;
    pools.extend(recovery.map(Pool::to_value));
    let mut random = [0; 16];
    entropy.fill(&mut random);
    let moment = Moment { now_ms, random };
    let mut data = stamped(0, &moment);
    data.insert("uuid", moment.uuid());
    data.insert("challengePools", pools);
    data.insert("proofs", Vec::new());
    if let Some(details) = details {
        data.insert("frameDetails", details);
    }
    data.insert("isTjp", true);
    let frame = IbGib {
        ib: IB.into(),
        gib: None,
        data: Some(Value::Object(data)),
        rel8ns: Some(object([("ancestor", strings(["keystone^gib"]))])),
    };
    let frame = frame.seal().map_err(|e| KeystoneError::Config(e.to_string()))?;
    let (chain, step) = Chain::from_genesis(frame.clone()).map_err(|e| KeystoneError::Config(texts(&e)))?;
    Ok(Signed { chain, frame, step })
}

/// What the next signature of a verb wants of the secret's owner; `None` when its strategy wants nothing.
///
/// # Errors
/// [`KeystoneError::NoPool`], [`KeystoneError::Exhausted`], [`KeystoneError::UnknownDemand`].
pub fn need(chain: &Chain, verb: &str, demanded: &[String]) -> Result<Option<Need>, KeystoneError> {
    let pool = chain.pool_for(verb).ok_or_else(|| KeystoneError::NoPool(verb.to_owned()))?;
    Need::of(&pool, verb, demanded)
}

/// Signs a claim with the pool for its verb.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then.
pub fn sign(
    chain: &Chain,
    secret: &Secret,
    claim: &Claim,
    opts: SignOpts,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    evolve(chain, secret, claim, opts, Change::None, now_ms, entropy)
}

/// Replaces all pools of an identity by those of a stronger strategy, signed by the pool for `manage`. From then on only
/// the new pools sign; with `recovery` the identity can be taken back from then on.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then. [`KeystoneError::Invalid`] when the strategy would not become stronger.
pub fn rotate(
    chain: &Chain,
    secret: &Secret,
    configs: &[PoolConfig],
    recovery: Option<&Pool>,
    opts: SignOpts,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    let claim = Claim { verb: VERB_MANAGE.into(), target: chain.tip().addr().to_string(), ..Claim::default() };
    let mut pools = fill(secret, configs, &opts.trees, entropy)?;
    pools.extend(recovery.map(Pool::to_value));
    evolve(chain, secret, &claim, opts, Change::Pools(pools), now_ms, entropy)
}

/// Takes an identity back: all pools are replaced by these, made from a new secret, and by `recovery`, the pool that can do
/// it the next time. `chain` may stand at any frame of the identity, an earlier one than its tip, too; the frame made
/// goes before whatever else follows that one.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then. [`KeystoneError::NoPool`] when the identity has no recovery pool,
/// [`KeystoneError::WrongSecret`] when `recovery_secret` is not the one that it was made from.
pub fn recover(
    chain: &Chain,
    recovery_secret: &Secret,
    (secret, configs): (&Secret, &[PoolConfig]),
    recovery: &Pool,
    opts: SignOpts,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    if !chain.has_recovery() {
        return Err(KeystoneError::NoPool(VERB_RECOVER.to_owned()));
    }
    let claim = Claim { verb: VERB_RECOVER.into(), target: chain.tip().addr().to_string(), ..Claim::default() };
    let mut pools = fill(secret, configs, &opts.trees, entropy)?;
    pools.push(recovery.to_value());
    evolve(chain, recovery_secret, &claim, opts, Change::Pools(pools), now_ms, entropy)
}

/// Ends an identity: the last frame, after which none is valid.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then.
pub fn revoke(
    chain: &Chain,
    secret: &Secret,
    reason: &str,
    opts: SignOpts,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    let claim = Claim { verb: VERB_REVOKE.into(), target: chain.tip().addr().to_string(), ..Claim::default() };
    evolve(chain, secret, &claim, opts, Change::Revoked(reason), now_ms, entropy)
}

/// Opens a guard pool in the place of the pool for `revoke`, or of a guard pool: a frame that the pool for `manage` signs. From then on
/// [`waiting_revocation`] can be made.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then.
pub fn open_guard(
    chain: &Chain,
    secret: &Secret,
    config: &PoolConfig,
    opts: SignOpts,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    let claim = Claim { verb: VERB_MANAGE.into(), target: chain.tip().addr().to_string(), ..Claim::default() };
    let opened = fill(secret, std::slice::from_ref(config), &opts.trees, entropy)?;
    evolve(chain, secret, &claim, opts, Change::Guard(opened), now_ms, entropy)
}

/// Makes a revocation of the identity's present state that waits until two other frames follow it ([`Chain::ended_by`]).
/// The identity stays as it is.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then. [`KeystoneError::NoPool`] when no guard pool is open.
pub fn waiting_revocation(
    chain: &Chain,
    secret: &Secret,
    reason: &str,
    opts: SignOpts,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Verified<IbGib>, KeystoneError> {
    if !chain.is_guarded() {
        return Err(KeystoneError::NoPool(VERB_GUARD.to_owned()));
    }
    let claim = Claim { verb: VERB_GUARD.into(), target: chain.tip().addr().to_string(), ..Claim::default() };
    next_frame(chain, secret, &claim, opts, Change::Revoked(reason), now_ms, entropy)
}

/// What a frame changes besides the pool that signs it.
enum Change<'a> {
    None,
    /// The identity ends, for this reason.
    Revoked(&'a str),
    /// This guard pool takes the place of the one that ended the identity.
    Guard(Vec<Value>),
    /// These are the pools from now on.
    Pools(Vec<Value>),
}

fn fill(
    secret: &Secret,
    configs: &[PoolConfig],
    trees: &[Arc<Tree>],
    entropy: &mut dyn Entropy,
) -> Result<Vec<Value>, KeystoneError> {
    let keys = Keys { secret, trees, leaf: None };
    configs.iter().map(|config| Ok(config.strategy().fill(config, &keys, entropy)?.to_value())).collect()
}

/// Makes the next frame, and validates it.
fn evolve(
    chain: &Chain,
    secret: &Secret,
    claim: &Claim,
    opts: SignOpts,
    change: Change<'_>,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    let frame = next_frame(chain, secret, claim, opts, change, now_ms, entropy)?;
    let mut chain = chain.clone();
    // A wrong secret shows only here: its solutions do not answer the challenges.
    let step = chain.advance(&frame, &Expect::default()).map_err(|errors| {
        if errors.iter().any(|e| e.rule == Rule::SolutionWrong) {
            KeystoneError::WrongSecret
        } else {
            KeystoneError::Invalid(texts(&errors))
        }
    })?;
    Ok(Signed { chain, frame, step })
}

fn next_frame(
    chain: &Chain,
    secret: &Secret,
    claim: &Claim,
    opts: SignOpts,
    change: Change<'_>,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Verified<IbGib>, KeystoneError> {
    if chain.is_revoked() {
        return Err(KeystoneError::Revoked);
    }
    let keys = Keys { secret, trees: &opts.trees, leaf: opts.leaf.as_ref() };
    let pool = chain.pool_for(&claim.verb).ok_or_else(|| KeystoneError::NoPool(claim.verb.clone()))?;
    let request = Request {
        pool: &pool,
        n: chain.n() + 1,
        verb: &claim.verb,
        target: &claim.target,
        demanded: &opts.demanded,
        is_spent: &|id| chain.is_spent(pool.id(), id),
    };
    let spending = pool.strategy().spend(&request, &keys, entropy)?;

    let tip = chain.tip();
    let after = |old: &Value| if rules::id_of(old) == pool.id() { spending.next.to_value() } else { old.clone() };
    let (revoking, pools, opened) = match change {
        Change::None => (None, None, None),
        Change::Revoked(reason) => (Some(reason), None, None),
        Change::Guard(opened) => (None, None, Some(opened)),
        Change::Pools(pools) => (None, Some(pools), None),
    };
    let stays = |old: &&Value| opened.is_none() || !rules::ends_identity(old);
    let mut pools = pools.unwrap_or_else(|| rules::pools(tip).iter().filter(stays).map(after).collect());
    pools.extend(opened.into_iter().flatten());
    let mut data = stamped(request.n, &Moment { now_ms, random: [0; 16] });
    if let Some(uuid) = tip.datum("uuid") {
        data.insert("uuid", uuid.clone());
    }
    data.insert("challengePools", pools);
    if let Some(details) = &opts.details {
        data.insert("frameDetails", details.clone());
    }
    if let Some(reason) = revoking {
        data.insert("revocationInfo", object([("reason", reason.into())]));
    }
    let rel8ns = object([
        ("ancestor", strings(["keystone^gib"])),
        ("past", Value::Array(vec![tip.addr().into()])),
        ("tjp", Value::Array(vec![chain.tjp().into()])),
    ]);
    let unproven = IbGib { ib: IB.into(), gib: None, data: Some(Value::Object(data)), rel8ns: Some(rel8ns) };
    let context = Context { claim: &claim.to_value(), demanded: &opts.demanded, next: &unproven };
    let solutions = pool.strategy().solve(&pool, &spending.ids, &keys, context)?;
    let proof = Proof { claim: claim.clone(), solutions, demanded: opts.demanded.clone() };
    proven(unproven, &proof).seal().map_err(|e| KeystoneError::Invalid(e.to_string()))
}

/// The members with which the data of every frame begins.
fn stamped(n: u64, moment: &Moment) -> Map {
    [
        ("n", Value::integer(n)),
        ("timestamp", moment.timestamp().into()),
        ("timestampMs", Value::integer(moment.now_ms.rem_euclid(1000))),
    ]
    .into_iter()
    .collect()
}

/// The frame with its proof, which a revocation repeats unless it waits.
fn proven(mut frame: IbGib, proof: &Proof) -> IbGib {
    if let Some(data) = frame.data.as_mut().and_then(Value::as_object_mut) {
        let repeats = proof.claim.verb == VERB_REVOKE;
        if let Some(info) = data.get_mut("revocationInfo").and_then(Value::as_object_mut).filter(|_| repeats) {
            info.insert("proof", proof.to_value());
        }
        data.insert("proofs", vec![proof.to_value()]);
    }
    frame
}

fn texts(errors: &[ValidateError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
