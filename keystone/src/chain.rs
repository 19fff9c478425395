//! The validated state of an identity, and the strict rules of every step.

use crate::config::{HASH_REVEAL, PoolConfig, Replenish};
use crate::error::ValidateError;
use crate::pool::{self, Unselectable, challenges, strict_requirements};
use crate::secret::Entropy;
use crate::strategy::holds;
use crate::{IB, VERB_REVOKE};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use std::collections::HashSet;

/// Proof that an identity's tip may move: made by validating frames, in no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    tjp: Addr,
    from: Option<Addr>,
    to: Addr,
}

impl Step {
    /// The identity.
    pub fn tjp(&self) -> &Addr {
        &self.tjp
    }

    /// The frame before; `None` for a genesis.
    pub fn from(&self) -> Option<&Addr> {
        self.from.as_ref()
    }

    /// The frame that was validated.
    pub fn to(&self) -> &Addr {
        &self.to
    }

    /// Joins two steps that follow each other; `None` when they do not.
    pub fn then(self, next: Self) -> Option<Self> {
        (self.tjp == next.tjp && next.from.as_ref() == Some(&self.to)).then_some(Self { to: next.to, ..self })
    }
}

/// What a verifier expects of a step. Nothing by default: then demands are those that the proof itself records, as
/// on replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// The claim's verb.
    pub verb: Option<String>,
    /// The claim's target.
    pub target: Option<String>,
    /// Challenges that the verifier demanded.
    pub demanded: Option<Vec<String>>,
}

/// What is left of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Its id.
    pub id: String,
    /// Verbs it may sign; empty for any.
    pub verbs: Vec<String>,
    /// Challenges left.
    pub left: usize,
    /// Challenges spent so far.
    pub used: usize,
}

/// The validated state of one identity: its newest frame and every challenge it ever spent.
#[derive(Clone, Debug)]
pub struct Chain {
    tjp: Addr,
    tip: Verified<IbGib>,
    /// `pool id / challenge id`
    spent: HashSet<String>,
}

type Errors = Vec<ValidateError>;

fn one(rule: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Errors {
    vec![ValidateError::new(rule, expected, got)]
}

fn pools(frame: &IbGib) -> &[Value] {
    frame.datum("challengePools").and_then(Value::as_array).unwrap_or(&[])
}

fn id_of(pool: &Value) -> &str {
    pool.get("id").and_then(Value::as_str).unwrap_or("")
}

fn is_challenge_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_challenge(value: &Value) -> bool {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    text("type") == Some(HASH_REVEAL) && text("hash").is_some()
}

fn spent_key(pool_id: &str, id: &str) -> String {
    format!("{pool_id}/{id}")
}

impl Chain {
    /// Validates a genesis frame.
    ///
    /// # Errors
    /// Every rule that does not hold.
    pub fn from_genesis(frame: Verified<IbGib>) -> Result<(Self, Step), Vec<ValidateError>> {
        let mut errors = Vec::new();
        let mut check = |ok: bool, rule, expected: &str, got: String| {
            if !ok {
                errors.push(ValidateError::new(rule, expected, got));
            }
        };
        check(frame.ib == IB, "ib", IB, frame.ib.clone());
        check(frame.n() == Some(0), "n", "0", format!("{:?}", frame.datum("n").map(Value::to_json)));
        check(frame.datum("isTjp") == Some(&Value::Bool(true)), "tjp", "isTjp", "no isTjp".into());
        check(frame.rel8n("past").next().is_none(), "past", "no past", "a past".into());
        let proofs = frame.datum("proofs").and_then(Value::as_array).unwrap_or(&[]);
        check(proofs.is_empty(), "proofs", "none", proofs.len().to_string());
        check(frame.datum("revocationInfo").is_none(), "revocation", "none", "a revocation".into());
        check(!pools(&frame).is_empty(), "pools", "at least one pool", "none".into());
        let mut ids = HashSet::new();
        for pool in pools(&frame) {
            check(ids.insert(id_of(pool).to_owned()), "pool_repeated", "ids once each", id_of(pool).to_owned());
            if let Err((expected, got)) = check_new_pool(pool) {
                check(false, "pools", &expected, got);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let tjp = frame.addr().clone();
        let step = Step { tjp: tjp.clone(), from: None, to: tjp.clone() };
        Ok((Self { tjp, tip: frame, spent: HashSet::new() }, step))
    }

    /// Validates all frames of an identity, genesis first.
    ///
    /// # Errors
    /// Every rule that the first bad frame breaks.
    pub fn replay(frames: impl IntoIterator<Item = Verified<IbGib>>) -> Result<(Self, Step), Vec<ValidateError>> {
        let mut frames = frames.into_iter();
        let genesis = frames.next().ok_or_else(|| one("pools", "a genesis frame", "no frame"))?;
        let (mut chain, mut step) = Self::from_genesis(genesis)?;
        for frame in frames {
            let next = chain.advance(&frame, &Expect::default())?;
            step = step.then(next).ok_or_else(|| one("past", "frames in order", frame.addr().to_string()))?;
        }
        Ok((chain, step))
    }

    /// What [`Chain::resume`] needs beside the newest frame: every challenge spent so far, in order. It grows with the
    /// chain, so a store that keeps it does so now and then rather than at every step.
    pub fn checkpoint(&self) -> Vec<&str> {
        let mut spent: Vec<&str> = self.spent.iter().map(String::as_str).collect();
        spent.sort_unstable();
        spent
    }

    /// Goes on from a frame that was validated before (protocol §4: replay may start at the newest frame that the
    /// space has validated and stored). Whoever calls it vouches for frame and checkpoint: they must come from the
    /// same store, which took both from a [`Chain`]. Nothing is checked here.
    pub fn resume(tip: Verified<IbGib>, spent: impl IntoIterator<Item = String>) -> Option<Self> {
        Some(Self { tjp: tip.tjp()?, tip, spent: spent.into_iter().collect() })
    }

    /// Validates the next frame; on success it is the new tip, else nothing changes.
    ///
    /// # Errors
    /// Every rule that does not hold, as far as they can be told apart.
    pub fn advance(&mut self, next: &Verified<IbGib>, expect: &Expect) -> Result<Step, Vec<ValidateError>> {
        self.check_frame(next)?;
        let used = self.check_proof(next, expect)?;
        let from = self.tip.addr().clone();
        self.spent.extend(used);
        self.tip = next.clone();
        Ok(Step { tjp: self.tjp.clone(), from: Some(from), to: next.addr().clone() })
    }

    /// The newest frame.
    pub fn tip(&self) -> &Verified<IbGib> {
        &self.tip
    }

    /// The identity: the address of its genesis.
    pub fn tjp(&self) -> &Addr {
        &self.tjp
    }

    /// The newest frame's number.
    pub fn n(&self) -> u64 {
        self.tip.n().unwrap_or(0)
    }

    /// Whether the newest frame revokes the identity.
    pub fn is_revoked(&self) -> bool {
        self.tip.datum("revocationInfo").is_some()
    }

    /// Whether a challenge was spent.
    pub fn is_spent(&self, pool_id: &str, id: &str) -> bool {
        self.spent.contains(&spent_key(pool_id, id))
    }

    /// Whether a frame solves a challenge that this chain has not spent: only who has the secret can have made it.
    /// A second frame on one past that solves nothing new may be anybody's who saw the first (see
    /// [`crate::attacks`]), so it proves nothing against the identity.
    pub fn reveals_new(&self, frame: &Verified<IbGib>) -> bool {
        let proofs = frame.datum("proofs").and_then(Value::as_array).unwrap_or(&[]);
        let solutions = proofs.iter().flat_map(|p| p.get("solutions").and_then(Value::as_array).unwrap_or(&[]));
        let text = |s: &Value, name: &str| s.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        solutions.into_iter().any(|s| !self.is_spent(&text(s, "poolId"), &text(s, "challengeId")))
    }

    /// What is left of each pool.
    pub fn pools(&self) -> Vec<PoolState> {
        pools(&self.tip)
            .iter()
            .map(|pool| {
                // Ids hold no slash, pool ids may.
                let of_pool = |key: &&String| key.rsplit_once('/').is_some_and(|(pool_id, _)| pool_id == id_of(pool));
                PoolState {
                    id: id_of(pool).to_owned(),
                    verbs: verbs(pool).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                    left: challenges(pool).map_or(0, Map::len),
                    used: self.spent.iter().filter(of_pool).count(),
                }
            })
            .collect()
    }

    /// The pool that signs a verb: the first that lists it, else the first that allows any.
    pub(crate) fn pool_for(&self, verb: &str) -> Option<&Value> {
        let all = pools(&self.tip);
        let lists = |p: &&Value| verbs(p).iter().any(|v| v.as_str() == Some(verb));
        all.iter().find(lists).or_else(|| all.iter().find(|p| verbs(p).is_empty()))
    }

    fn check_frame(&self, next: &Verified<IbGib>) -> Result<(), Errors> {
        if self.is_revoked() {
            return Err(one("revoked", "no frame after a revocation", next.addr().to_string()));
        }
        let mut errors = Vec::new();
        let mut check = |ok: bool, rule, expected: String, got: String| {
            if !ok {
                errors.push(ValidateError::new(rule, expected, got));
            }
        };
        check(next.ib == IB, "ib", IB.into(), next.ib.clone());
        let n = self.n() + 1;
        check(next.n() == Some(n), "n", n.to_string(), format!("{:?}", next.n()));
        check(
            next.tjp().as_ref() == Some(&self.tjp) && !next.is_tjp(),
            "tjp",
            self.tjp.to_string(),
            format!("{:?}", next.tjp()),
        );
        let mut whole = self.tip.rel8n_addrs("past");
        whole.push(self.tip.addr().clone());
        let past = next.rel8n_addrs("past");
        let right = past.as_slice() == &whole[whole.len() - 1..] || past == whole;
        check(right, "past", self.tip.addr().to_string(), format!("{past:?}"));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Checks proof and pools; answers what was spent.
    fn check_proof(&self, next: &Verified<IbGib>, expect: &Expect) -> Result<Vec<String>, Errors> {
        let proofs = next.datum("proofs").and_then(Value::as_array).unwrap_or(&[]);
        let [proof] = proofs else { return Err(one("proofs", "exactly one", proofs.len().to_string())) };
        let claim = proof.get("claim");
        let text = |name: &str| claim.and_then(|c| c.get(name)).and_then(Value::as_str).filter(|t| !t.is_empty());
        let (Some(verb), Some(target)) = (text("verb"), text("target")) else {
            return Err(one("claim_incomplete", "verb and target", claim.map_or("none".into(), Value::to_json)));
        };
        for (got, wanted) in [(verb, &expect.verb), (target, &expect.target)] {
            if let Some(wanted) = wanted.as_ref().filter(|w| *w != got) {
                return Err(one("claim_unexpected", wanted, got));
            }
        }
        self.check_revocation(next, proof, verb, target)?;

        let solutions = proof.get("solutions").and_then(Value::as_array).unwrap_or(&[]);
        let part = |s: &Value, name: &str| s.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let Some(first) = solutions.first() else { return Err(one("no_solutions", "at least one", "none")) };
        let pool_id = part(first, "poolId");
        if let Some(other) = solutions.iter().map(|s| part(s, "poolId")).find(|id| *id != pool_id) {
            return Err(one("pools_mixed", pool_id, other));
        }
        let Some(pool) = pools(&self.tip).iter().find(|p| id_of(p) == pool_id) else {
            return Err(one("pool_unknown", "a pool of the frame before", pool_id));
        };
        let config = pool.get("config").map_or_else(|| Err("no config".to_owned()), PoolConfig::read);
        let config = config.map_err(|why| one("pools", "a readable configuration", why))?;
        if !config.allowed_verbs.is_empty() && !config.allowed_verbs.iter().any(|v| v == verb) {
            return Err(one("verb", config.allowed_verbs.join(", "), verb));
        }
        let ids: Vec<String> = solutions.iter().map(|s| part(s, "challengeId")).collect();
        let mut seen = HashSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(id.as_str())) {
            return Err(one("solution_repeated", "each challenge once", twice));
        }
        self.check_selection(pool, proof, &ids, target, expect)?;
        for (solution, id) in solutions.iter().zip(&ids) {
            if part(solution, "type") != HASH_REVEAL {
                return Err(one("solution_type", HASH_REVEAL, part(solution, "type")));
            }
            let challenge = challenges(pool).and_then(|c| c.get(id));
            let hash = challenge.map(|c| part(c, "hash")).unwrap_or_default();
            if !holds(config.algo, config.rounds, id, &part(solution, "value"), &hash) {
                return Err(one("solution_wrong", format!("a solution of {id}"), "another value"));
            }
        }
        self.check_pools(next, pool, &config, &ids)?;
        Ok(ids.iter().map(|id| spent_key(&pool_id, id)).collect())
    }

    fn check_revocation(&self, next: &Verified<IbGib>, proof: &Value, verb: &str, target: &str) -> Result<(), Errors> {
        match next.datum("revocationInfo") {
            None if verb == VERB_REVOKE => Err(one("revocation", "revocationInfo beside a revoke claim", "none")),
            None => Ok(()),
            Some(info) => {
                if verb != VERB_REVOKE {
                    return Err(one("revocation", VERB_REVOKE, verb));
                }
                if target != self.tip.addr().as_str() {
                    return Err(one("revocation", self.tip.addr().to_string(), target));
                }
                if info.get("proof") != Some(proof) {
                    return Err(one("revocation", "the frame's own proof", "another"));
                }
                Ok(())
            }
        }
    }

    /// The selection layers, in order: demanded, bound to the target, first in line, then as many others as the pool
    /// asks for.
    fn check_selection(
        &self,
        pool: &Value,
        proof: &Value,
        ids: &[String],
        target: &str,
        expect: &Expect,
    ) -> Result<(), Errors> {
        let recorded: Option<Vec<String>> = match proof.get("requiredChallengeIds") {
            None => Some(Vec::new()),
            Some(list) => list.as_array().and_then(|ids| ids.iter().map(|id| id.as_str().map(str::to_owned)).collect()),
        };
        let Some(recorded) = recorded else { return Err(one("demand", "a list of ids", "something else")) };
        if let Some(demanded) = expect.demanded.as_ref().filter(|d| **d != recorded) {
            return Err(one("demand", demanded.join(", "), recorded.join(", ")));
        }
        let (mandatory, rest) = strict_requirements(pool, &recorded, target).map_err(|e| match e {
            Unselectable::Demand(unknown) => one("demand", "challenges of the pool", unknown),
            other => one("selection", "what the pool asks for", other.text()),
        })?;
        let random = pool::selected_randomly(pool);
        let fits = ids.len() == mandatory.len() + random
            && ids[..mandatory.len()] == mandatory
            && ids[mandatory.len()..].iter().all(|id| rest.contains(id));
        if !fits {
            let expected = format!("{} and {random} others", mandatory.join(", "));
            return Err(one("selection", expected, ids.join(", ")));
        }
        if let Some(id) = ids.iter().find(|id| self.is_spent(id_of(pool), id)) {
            return Err(one("spent", "a fresh challenge", id));
        }
        Ok(())
    }

    /// The next frame's pools: the one that signed as its rule says, all others as they were.
    fn check_pools(
        &self,
        next: &Verified<IbGib>,
        signed: &Value,
        config: &PoolConfig,
        used: &[String],
    ) -> Result<(), Errors> {
        let (before, after) = (pools(&self.tip), pools(next));
        if before.len() != after.len() {
            return Err(one("other_pool", format!("{} pools", before.len()), after.len().to_string()));
        }
        for (old, new) in before.iter().zip(after) {
            if id_of(old) != id_of(signed) {
                if old != new {
                    return Err(one("other_pool", format!("pool {} unchanged", id_of(old)), "a change"));
                }
                continue;
            }
            let mut expected = old.clone();
            let fresh_count = match config.behavior.replenish {
                Replenish::TopUp => {
                    pool::remove(&mut expected, used);
                    used.len()
                }
                Replenish::Consume => {
                    pool::remove(&mut expected, used);
                    0
                }
                Replenish::ReplaceAll => {
                    pool::clear(&mut expected);
                    config.behavior.size
                }
                Replenish::ScorchedEarth => {
                    pool::clear(&mut expected);
                    0
                }
            };
            let kept = challenges(&expected).map_or(0, Map::len);
            let Some(now) = challenges(new) else { return Err(one("next_pool", "challenges", "none")) };
            if now.len() != kept + fresh_count {
                return Err(one("next_pool", format!("{} challenges", kept + fresh_count), now.len().to_string()));
            }
            let fresh: Vec<(&str, &Value)> = now.iter().skip(kept).collect();
            for (id, challenge) in fresh {
                let known = challenges(old).is_some_and(|c| c.contains_key(id));
                if known || self.is_spent(id_of(signed), id) {
                    return Err(one("spent", "a challenge that was never there", id));
                }
                if !is_challenge_id(id) {
                    return Err(one("next_pool", "ids of 16 hex digits", id));
                }
                if !is_challenge(challenge) {
                    return Err(one("next_pool", "challenges with type and hash", challenge.to_json()));
                }
                pool::add(&mut expected, id, challenge.clone());
            }
            if expected != *new {
                return Err(one("next_pool", "what the replenish rule gives", "something else"));
            }
        }
        Ok(())
    }
}

fn verbs(pool: &Value) -> &[Value] {
    pool.get("config").and_then(|c| c.get("allowedVerbs")).and_then(Value::as_array).unwrap_or(&[])
}

/// A pool of a genesis: whole, full, bound as its ids say. `Err` tells what was expected and what is there.
fn check_new_pool(pool: &Value) -> Result<(), (String, String)> {
    let bad = |expected: &str, got: String| Err((expected.to_owned(), got));
    let config = pool.get("config").map_or_else(|| Err("no config".to_owned()), PoolConfig::read);
    let config = match config {
        Ok(config) => config,
        Err(why) => return bad("a readable configuration", why),
    };
    if id_of(pool) != config.salt {
        return bad("the salt as id", id_of(pool).to_owned());
    }
    let Some(all) = challenges(pool) else { return bad("challenges", "none".into()) };
    if all.len() != config.behavior.size {
        return bad(&format!("{} challenges", config.behavior.size), all.len().to_string());
    }
    let mut binding = Map::new();
    for (id, challenge) in all.iter() {
        if !is_challenge_id(id) {
            return bad("ids of 16 hex digits", id.to_owned());
        }
        if !is_challenge(challenge) {
            return bad("challenges with type and hash", challenge.to_json());
        }
        pool::bind(&mut binding, id);
    }
    if pool.get("bindingMap") != Some(&Value::Object(binding)) {
        return bad("the binding map of its ids", "another".into());
    }
    Ok(())
}

/// Ids that a receiver may demand of the pool for `verb`: chosen at random, none twice; fewer when the pool is nearly
/// used up.
pub fn demand(chain: &Chain, verb: &str, count: usize, entropy: &mut dyn Entropy) -> Vec<String> {
    let Some(pool) = chain.pool_for(verb) else { return Vec::new() };
    let mut ids: Vec<String> = challenges(pool).into_iter().flat_map(Map::keys).map(str::to_owned).collect();
    choose(&mut ids, count, entropy)
}

/// `count` of `ids` at random; the rest stays.
pub(crate) fn choose(ids: &mut Vec<String>, count: usize, entropy: &mut dyn Entropy) -> Vec<String> {
    let mut out = Vec::new();
    while out.len() < count && !ids.is_empty() {
        // Values above the largest multiple would make some ids likelier than others.
        let n = ids.len() as u64;
        let limit = u64::MAX - u64::MAX % n;
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let value = u64::from_le_bytes(bytes);
        if value < limit {
            out.push(ids.remove((value % n) as usize));
        }
    }
    out
}

/// Whether two frames show that an identity was used in two places: both have the same past and differ. (That both are
/// valid is for the caller to check.)
pub fn equivocation(a: &Verified<IbGib>, b: &Verified<IbGib>) -> bool {
    a.addr() != b.addr() && a.past().is_some() && a.past() == b.past() && a.tjp() == b.tjp()
}

/// Validates one step without the frames before it: what was spent earlier is not known here, so a challenge that
/// comes back is only noticed where the pools show it. [`Chain::replay`] knows all.
///
/// # Errors
/// Every rule that does not hold.
pub fn validate(prev: &Verified<IbGib>, next: &Verified<IbGib>, expect: &Expect) -> Result<Step, Vec<ValidateError>> {
    let mut chain = match prev.tjp() {
        // A frame of an identity that is not its first; its own rules were checked when it was taken.
        Some(tjp) if !prev.is_tjp() && prev.ib == IB => Chain { tjp, tip: prev.clone(), spent: HashSet::new() },
        _ => Chain::from_genesis(prev.clone())?.0,
    };
    chain.advance(next, expect)
}
