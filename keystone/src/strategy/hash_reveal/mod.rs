//! `hash-reveal-v1`, the original's strategy: a pool holds many hashes, and a signature reveals the preimages of a few,
//! which the claim's target, the order in the pool, chance and the verifier's demand select.
//!
//! A revealed preimage binds neither claim nor frame; see [`crate::attacks`].

mod challenges;
mod config;
mod derive;

pub(crate) use challenges::{bind, unbind};
pub use config::{Algo, Behavior, HashRevealConfig, Replenish};
pub use derive::{Challenge, PoolSecret, holds};

use super::{Context, Keys, Request, Spending, Spent, Strategy};
use crate::claim::Solution;
use crate::error::{KeystoneError, Rule, ValidateError};
use crate::secret::{Entropy, Secret, choose};
use crate::strategy::{Pool, PoolConfig};
use challenges::{Challenges, Unselectable};
use hmac::{Hmac, KeyInit, Mac};
use ibgib::Value;
use sha2::Sha256;

/// The strategy's name.
pub const NAME: &str = "hash-reveal-v1";

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct HashReveal;

type Checked = Result<(), ValidateError>;

fn broken(rule: Rule, expected: impl Into<String>, got: impl Into<String>) -> ValidateError {
    ValidateError::new(rule, expected, got)
}

impl Strategy for HashReveal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn binds(&self) -> bool {
        false
    }

    fn check_config(&self, config: &PoolConfig) -> Result<(), String> {
        HashRevealConfig::read(config).map(drop)
    }

    fn fill(&self, config: &PoolConfig, keys: &Keys<'_>, entropy: &mut dyn Entropy) -> Result<Pool, KeystoneError> {
        let read = HashRevealConfig::read(config).map_err(KeystoneError::Config)?;
        let pool_secret = pool_secret(&read, keys.secret);
        let digits: Vec<char> = (0..read.behavior.size).map(digit).collect();
        let mut filled = Challenges::default();
        for id in fresh_ids(&pool_secret, &read.salt, 0, &digits, &|_| false, entropy) {
            filled.add(&id, pool_secret.challenge(&id).to_value());
        }
        Ok(filled.into_new_pool(config))
    }

    fn check_full(&self, pool: &Pool) -> Checked {
        let bad = |expected: &str, got: &str| Err(broken(Rule::Pools, expected, got));
        let config = read(pool)?;
        let all = Challenges::of(pool).map_err(|missing| broken(Rule::Pools, missing, "none"))?;
        if all.len() != config.behavior.size {
            return bad(&format!("{} challenges", config.behavior.size), &all.len().to_string());
        }
        let mut bound = Challenges::default();
        for (id, challenge) in all.iter() {
            if !is_challenge_id(id) {
                return bad("ids of 16 hex digits", id);
            }
            if Challenge::parse(challenge).is_none() {
                return bad("challenges with type and hash", &challenge.to_json());
            }
            bound.add(id, challenge.clone());
        }
        if all == bound { Ok(()) } else { bad("the binding map of its ids", "another") }
    }

    fn left(&self, pool: &Pool) -> usize {
        Challenges::of(pool).map_or(0, |all| all.len())
    }

    fn used(&self, _: &Pool, remembered: usize) -> usize {
        remembered
    }

    fn demandable(&self, pool: &Pool) -> Vec<String> {
        Challenges::of(pool).map(|all| all.ids().map(str::to_owned).collect()).unwrap_or_default()
    }

    fn spend(
        &self,
        request: &Request<'_>,
        keys: &Keys<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Spending, KeystoneError> {
        let exhausted = || KeystoneError::Exhausted(request.verb.to_owned());
        let unreadable = |why: ValidateError| KeystoneError::Config(why.got);
        let config = read(request.pool).map_err(unreadable)?;
        let all = held(request.pool).map_err(unreadable)?;
        let selected = all.select(&config.behavior, request.demanded, request.target);
        let (mut ids, mut rest) = selected.map_err(|why| match why {
            Unselectable::Demand(id) => KeystoneError::UnknownDemand(id),
            Unselectable::Binding(_) | Unselectable::Target => KeystoneError::BindingExhausted,
            Unselectable::Sequential => exhausted(),
        })?;
        let random = config.behavior.select_randomly;
        let chosen = choose(&mut rest, random, entropy);
        if chosen.len() < random {
            return Err(exhausted());
        }
        ids.extend(chosen);
        if ids.is_empty() {
            return Err(exhausted());
        }

        let mut next = all.clone();
        let count = next.take(&config.behavior, &ids);
        // A topped-up id keeps the first digit of the one that it replaces, so that the buckets stay even.
        let first = |id: &String| id.chars().next().unwrap_or('0');
        let digits: Vec<char> = match config.behavior.replenish.clears() {
            true => (0..count).map(digit).collect(),
            false => ids.iter().take(count).map(first).collect(),
        };
        let taken = |id: &str| all.contains(id) || (request.is_spent)(id);
        let pool_secret = pool_secret(&config, keys.secret);
        for id in fresh_ids(&pool_secret, &config.salt, request.n, &digits, &taken, entropy) {
            next.add(&id, pool_secret.challenge(&id).to_value());
        }
        Ok(Spending { ids, next: next.into_pool(request.pool) })
    }

    fn solve(
        &self,
        pool: &Pool,
        ids: &[String],
        keys: &Keys<'_>,
        _: Context<'_>,
    ) -> Result<Vec<Solution>, KeystoneError> {
        let config = read(pool).map_err(|why| KeystoneError::Config(why.got))?;
        let pool_secret = pool_secret(&config, keys.secret);
        let solved = ids.iter().map(|id| Solution {
            kind: NAME.to_owned(),
            pool_id: pool.id().to_owned(),
            challenge_id: id.clone(),
            value: pool_secret.solution(id),
        });
        Ok(solved.collect())
    }

    fn verify(&self, spent: &Spent<'_>) -> Checked {
        let config = read(spent.pool)?;
        let all = held(spent.pool)?;
        check_selection(spent, &config, &all)?;
        for solution in &spent.proof.solutions {
            let id = &solution.challenge_id;
            let hash = all.get(id).map(|challenge| challenge.hash).unwrap_or_default();
            if !holds(config.algo, config.rounds, id, &solution.value, &hash) {
                return Err(broken(Rule::SolutionWrong, format!("a solution of {id}"), "another value"));
            }
        }
        spent.next.map_or(Ok(()), |next| check_next(spent, next, &config, all))
    }
}

/// The selection layers, in order: demanded, bound to the target, first in line, then as many others as the pool asks
/// for.
fn check_selection(spent: &Spent<'_>, config: &HashRevealConfig, all: &Challenges) -> Checked {
    let Spent { proof, .. } = spent;
    let selected = all.select(&config.behavior, &proof.demanded, &proof.claim.target);
    let (mandatory, rest) = selected.map_err(|why| match why {
        Unselectable::Demand(unknown) => broken(Rule::Demand, "challenges of the pool", unknown),
        other => broken(Rule::Selection, "what the pool asks for", other.text()),
    })?;
    let (ids, random) = (proof.ids(), config.behavior.select_randomly);
    let fits = ids.len() == mandatory.len() + random
        && ids[..mandatory.len()] == mandatory
        && ids[mandatory.len()..].iter().all(|id| rest.contains(id));
    if !fits {
        let expected = format!("{} and {random} others", mandatory.join(", "));
        return Err(broken(Rule::Selection, expected, ids.join(", ")));
    }
    match ids.iter().find(|id| (spent.is_spent)(id)) {
        Some(id) => Err(broken(Rule::Spent, "a fresh challenge", id)),
        None => Ok(()),
    }
}

/// The next pool: what the replenish rule leaves, and then as many challenges that were never there as it puts in.
fn check_next(spent: &Spent<'_>, next: &Value, config: &HashRevealConfig, all: Challenges) -> Checked {
    let mut expected = all.clone();
    let count = expected.take(&config.behavior, &spent.proof.ids());
    let kept = expected.len();
    let Some(now) = next.get("challenges").and_then(Value::as_object) else {
        return Err(broken(Rule::NextPool, "challenges", "none"));
    };
    if now.len() != kept + count {
        return Err(broken(Rule::NextPool, format!("{} challenges", kept + count), now.len().to_string()));
    }
    for (id, challenge) in now.iter().skip(kept) {
        if all.contains(id) || (spent.is_spent)(id) {
            return Err(broken(Rule::Spent, "a challenge that was never there", id));
        }
        if !is_challenge_id(id) {
            return Err(broken(Rule::NextPool, "ids of 16 hex digits", id));
        }
        if Challenge::parse(challenge).is_none() {
            return Err(broken(Rule::NextPool, "challenges with type and hash", challenge.to_json()));
        }
        expected.add(id, challenge.clone());
    }
    if expected.into_pool(spent.pool).to_value() == *next {
        Ok(())
    } else {
        Err(broken(Rule::NextPool, "what the replenish rule gives", "something else"))
    }
}

fn read(pool: &Pool) -> Result<HashRevealConfig, ValidateError> {
    HashRevealConfig::read(pool.config()).map_err(|why| broken(Rule::Pools, "a readable configuration", why))
}

fn held(pool: &Pool) -> Result<Challenges, ValidateError> {
    Challenges::of(pool).map_err(|missing| broken(Rule::Pools, missing, "none"))
}

fn is_challenge_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn pool_secret(config: &HashRevealConfig, secret: &Secret) -> PoolSecret {
    PoolSecret::derive(config.algo, config.rounds, &config.salt, secret.as_bytes())
}

/// The digit of the `i`-th of challenges that fill 16 buckets evenly.
fn digit(i: usize) -> char {
    char::from(b"0123456789abcdef"[i % 16])
}

/// New ids with these first digits: HMAC-SHA256(pool secret, salt ‖ n ‖ index ‖ entropy), 16 hex digits.
fn fresh_ids(
    secret: &PoolSecret,
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
            <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
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
