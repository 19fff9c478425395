//! Making keystone frames.

use crate::chain::{Chain, Expect, Step, choose};
use crate::config::{PoolConfig, Replenish, empty_pool};
use crate::error::KeystoneError;
use crate::pool::{self, Unselectable, challenges, strict_requirements};
use crate::secret::{Entropy, Secret};
use crate::strategy::{Context, HashReveal, Strategy};
use crate::{IB, VERB_REVOKE};
use hmac::{Hmac, KeyInit, Mac};
use ibgib::transform::Moment;
use ibgib::{IbGib, Map, Value, Verified, object, strings};
use sha2::Sha256;

/// What is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it is for.
    pub verb: String,
    /// What it is about: an address, or any text.
    pub target: String,
    /// What it is limited to.
    pub scope: Option<String>,
}

impl Claim {
    fn to_value(&self) -> Value {
        let mut map: Map = [("verb", self.verb.as_str()), ("target", self.target.as_str())].into_iter().collect();
        if let Some(scope) = &self.scope {
            map.insert("scope", scope.as_str());
        }
        Value::Object(map)
    }
}

/// Options of [`sign`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignOpts {
    /// Challenges that the verifier demands.
    pub demanded: Vec<String>,
    /// Details of this frame, free JSON.
    pub details: Option<Value>,
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

/// Makes an identity.
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
    let mut pools = Vec::new();
    for config in configs {
        let strategy = strategy(config, secret);
        let mut pool = Value::Object(empty_pool(&config.to_value(), &config.salt));
        let digits: Vec<char> = (0..config.behavior.size).map(digit).collect();
        let taken = |_: &str| false;
        for id in fresh_ids(&strategy, &config.salt, 0, &digits, &taken, entropy) {
            pool::add(&mut pool, &id, strategy.challenge(&id));
        }
        pools.push(pool);
    }
    let mut random = [0; 16];
    entropy.fill(&mut random);
    let moment = Moment { now_ms, random };
    let mut data: Map = [
        ("n", Value::from(0u32)),
        ("timestamp", moment.timestamp().into()),
        ("timestampMs", Value::Number(now_ms.rem_euclid(1000) as f64)),
        ("uuid", moment.uuid().into()),
        ("challengePools", Value::Array(pools)),
        ("proofs", Value::Array(Vec::new())),
    ]
    .into_iter()
    .collect();
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
    let (chain, step) = Chain::from_genesis(frame.clone())
        .map_err(|e| KeystoneError::Config(e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    Ok(Signed { chain, frame, step })
}

/// Signs a claim with the pool for its verb.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then.
pub fn sign(
    chain: &Chain,
    secret: &Secret,
    claim: &Claim,
    opts: &SignOpts,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    evolve(chain, secret, claim, opts, None, now_ms, entropy)
}

/// Ends an identity: the last frame, after which none is valid.
///
/// # Errors
/// [`KeystoneError`]; nothing is made then.
pub fn revoke(
    chain: &Chain,
    secret: &Secret,
    reason: &str,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    let claim = Claim { verb: VERB_REVOKE.into(), target: chain.tip().addr().to_string(), scope: None };
    evolve(chain, secret, &claim, &SignOpts::default(), Some(reason), now_ms, entropy)
}

fn strategy(config: &PoolConfig, secret: &Secret) -> HashReveal {
    HashReveal::new(config.algo, config.rounds, &config.salt, &config.salt, secret.as_bytes())
}

/// The digit of the `i`-th of challenges that fill 16 buckets evenly.
fn digit(i: usize) -> char {
    char::from(b"0123456789abcdef"[i % 16])
}

/// New ids with these first digits: HMAC-SHA256(pool secret, salt ‖ n ‖ index ‖ entropy), 16 hex digits.
fn fresh_ids(
    strategy: &HashReveal,
    salt: &str,
    n: u64,
    digits: &[char],
    taken: &dyn Fn(&str) -> bool,
    entropy: &mut dyn Entropy,
) -> Vec<String> {
    let mut random = [0; 32];
    entropy.fill(&mut random);
    let mut out: Vec<String> = Vec::with_capacity(digits.len());
    let mut index = 0u64;
    while out.len() < digits.len() {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(strategy.pool_secret()).expect("HMAC takes keys of any length");
        mac.update(salt.as_bytes());
        mac.update(&n.to_be_bytes());
        mac.update(&index.to_be_bytes());
        mac.update(&random);
        let text = hex::encode(mac.finalize().into_bytes());
        let id = format!("{}{}", digits[out.len()], &text[1..16]);
        if !taken(&id) && !out.contains(&id) {
            out.push(id);
        }
        index += 1;
    }
    out
}

fn evolve(
    chain: &Chain,
    secret: &Secret,
    claim: &Claim,
    opts: &SignOpts,
    revoking: Option<&str>,
    now_ms: i64,
    entropy: &mut dyn Entropy,
) -> Result<Signed, KeystoneError> {
    if chain.is_revoked() {
        return Err(KeystoneError::Revoked);
    }
    let pool = chain.pool_for(&claim.verb).ok_or_else(|| KeystoneError::NoPool(claim.verb.clone()))?;
    let config = pool.get("config").map_or_else(|| Err("no config".into()), PoolConfig::read);
    let config = config.map_err(KeystoneError::Config)?;
    let strategy = strategy(&config, secret);
    let (mut used, mut rest) = strict_requirements(pool, &opts.demanded, &claim.target).map_err(|e| match e {
        Unselectable::Demand(id) => KeystoneError::UnknownDemand(id),
        Unselectable::Binding(_) | Unselectable::Target => KeystoneError::BindingExhausted,
        Unselectable::Sequential => KeystoneError::Exhausted(claim.verb.clone()),
    })?;
    let random = config.behavior.select_randomly;
    let chosen = choose(&mut rest, random, entropy);
    if chosen.len() < random {
        return Err(KeystoneError::Exhausted(claim.verb.clone()));
    }
    used.extend(chosen);
    if used.is_empty() {
        return Err(KeystoneError::Exhausted(claim.verb.clone()));
    }

    let n = chain.n() + 1;
    let mut next = pool.clone();
    let first = |id: &String| id.chars().next().unwrap_or('0');
    let digits: Vec<char> = match config.behavior.replenish {
        Replenish::TopUp => used.iter().map(first).collect(),
        Replenish::ReplaceAll => (0..config.behavior.size).map(digit).collect(),
        Replenish::Consume | Replenish::ScorchedEarth => Vec::new(),
    };
    match config.behavior.replenish {
        Replenish::TopUp | Replenish::Consume => pool::remove(&mut next, &used),
        Replenish::ReplaceAll | Replenish::ScorchedEarth => pool::clear(&mut next),
    }
    let old = challenges(pool).cloned().unwrap_or_default();
    let taken = |id: &str| old.contains_key(id) || chain.is_spent(&config.salt, id);
    for id in fresh_ids(&strategy, &config.salt, n, &digits, &taken, entropy) {
        pool::add(&mut next, &id, strategy.challenge(&id));
    }

    let tip = chain.tip();
    let all = tip.datum("challengePools").and_then(Value::as_array).unwrap_or(&[]);
    let id_of = |p: &Value| p.get("id").and_then(Value::as_str).map(str::to_owned);
    let pools: Vec<Value> =
        all.iter().map(|p| if id_of(p) == id_of(pool) { next.clone() } else { p.clone() }).collect();
    let moment = Moment { now_ms, random: [0; 16] };
    let mut data: Map = [
        ("n", Value::Number(n as f64)),
        ("timestamp", moment.timestamp().into()),
        ("timestampMs", Value::Number(now_ms.rem_euclid(1000) as f64)),
    ]
    .into_iter()
    .collect();
    if let Some(uuid) = tip.datum("uuid") {
        data.insert("uuid", uuid.clone());
    }
    data.insert("challengePools", pools);
    if let Some(details) = &opts.details {
        data.insert("frameDetails", details.clone());
    }
    let claim = claim.to_value();
    let context = Context { claim: &claim, next: &data };
    let solutions: Vec<Value> = used.iter().map(|id| strategy.solve(id, context)).collect();
    let mut proof: Map = [("claim", claim), ("solutions", Value::Array(solutions))].into_iter().collect();
    if !opts.demanded.is_empty() {
        proof.insert("requiredChallengeIds", strings(opts.demanded.iter().map(String::as_str)));
    }
    let proof = Value::Object(proof);
    if let Some(reason) = revoking {
        data.insert("revocationInfo", object([("reason", reason.into()), ("proof", proof.clone())]));
    }
    data.insert("proofs", vec![proof]);
    let rel8ns = object([
        ("ancestor", strings(["keystone^gib"])),
        ("past", Value::Array(vec![tip.addr().into()])),
        ("tjp", Value::Array(vec![chain.tjp().into()])),
    ]);
    let frame = IbGib { ib: IB.into(), gib: None, data: Some(Value::Object(data)), rel8ns: Some(rel8ns) };
    let frame = frame.seal().map_err(|e| KeystoneError::Invalid(e.to_string()))?;
    let mut chain = chain.clone();
    // A wrong secret shows only here: its solutions do not hash to the challenges.
    let step = chain.advance(&frame, &Expect::default()).map_err(|errors| {
        if errors.iter().any(|e| e.rule() == "solution_wrong") {
            KeystoneError::WrongSecret
        } else {
            KeystoneError::Invalid(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
    })?;
    Ok(Signed { chain, frame, step })
}
