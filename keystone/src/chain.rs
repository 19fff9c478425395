//! The validated state of an identity, and the proof that its tip may move.

use crate::claim::{self, is_waiting};
use crate::error::{Rule, ValidateError};
use crate::rules::{self, Expect, check_genesis, check_place, check_proof, id_of, one};
use crate::secret::{Entropy, choose};
use crate::strategy::lms::leaf_used_twice;
use crate::strategy::{Pool, Strategy};
use ibgib::{Addr, IbGib, Value, Verified};
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

    /// This step after those that were joined already, if there were any; `None` when they do not follow each other.
    pub fn after(self, before: Option<Self>) -> Option<Self> {
        match before {
            None => Some(self),
            Some(before) => before.then(self),
        }
    }
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
    /// Challenges spent or skipped so far.
    pub used: usize,
}

/// How often an identity was taken back, and the number of the frame that did it last. The greater one stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recoveries {
    /// How often.
    pub count: u32,
    /// The last such frame's number; 0 when there is none.
    pub n: u64,
}

/// The validated state of one identity: its newest frame and every challenge it ever spent, as far as
/// its pools do not tell that by themselves.
#[derive(Clone, Debug)]
pub struct Chain {
    tjp: Addr,
    tip: Verified<IbGib>,
    /// `pool id / challenge id`
    spent: HashSet<String>,
    recoveries: Recoveries,
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
        check_genesis(&frame)?;
        let tjp = frame.addr().clone();
        let step = Step { tjp: tjp.clone(), from: None, to: tjp.clone() };
        let chain = Self { tjp, tip: frame, spent: HashSet::new(), recoveries: Recoveries::default() };
        Ok((chain, step))
    }

    /// Validates all frames of an identity, genesis first.
    ///
    /// # Errors
    /// Every rule that the first bad frame breaks.
    pub fn replay(frames: impl IntoIterator<Item = Verified<IbGib>>) -> Result<(Self, Step), Vec<ValidateError>> {
        let mut frames = frames.into_iter();
        let genesis = frames.next().ok_or_else(|| one(Rule::Pools, "a genesis frame", "no frame"))?;
        let (mut chain, mut step) = Self::from_genesis(genesis)?;
        for frame in frames {
            let next = chain.advance(&frame, &Expect::default())?;
            step = step.then(next).ok_or_else(|| one(Rule::Past, "frames in order", frame.addr().to_string()))?;
        }
        Ok((chain, step))
    }

    /// A state that nobody has checked here; see [`crate::danger`].
    pub(crate) fn unchecked(tip: Verified<IbGib>, spent: HashSet<String>, recoveries: Recoveries) -> Option<Self> {
        Some(Self { tjp: tip.tjp()?, tip, spent, recoveries })
    }

    /// What [`crate::danger::resume`] needs beside the newest frame and [`Chain::recoveries`]: every challenge spent so far,
    /// in order. It grows
    /// with the chain, so a store that keeps it does so now and then rather than at every step.
    pub fn checkpoint(&self) -> Vec<&str> {
        let mut spent: Vec<&str> = self.spent.iter().map(String::as_str).collect();
        spent.sort_unstable();
        spent
    }

    /// Validates the next frame; on success it is the new tip, else nothing changes.
    ///
    /// # Errors
    /// Every rule that does not hold, as far as they can be told apart.
    pub fn advance(&mut self, next: &Verified<IbGib>, expect: &Expect) -> Result<Step, Vec<ValidateError>> {
        check_place(&self.tjp, &self.tip, next)?;
        if is_waiting(next) {
            return Err(one(Rule::Guard, "two other frames that follow the one before", next.addr().to_string()));
        }
        let (pool, used) = check_proof(&self.tip, next, expect, &|pool_id, id| self.is_spent(pool_id, id))?;
        let from = self.tip.addr().clone();
        if rules::is_recovery_pool(&pool) {
            self.recoveries = Recoveries { count: self.recoveries.count + 1, n: next.n().unwrap_or(0) };
        }
        if !pool.strategy().binds() {
            self.spent.extend(used.iter().map(|id| spent_key(pool.id(), id)));
        }
        self.tip = next.clone();
        Ok(Step { tjp: self.tjp.clone(), from: Some(from), to: next.addr().clone() })
    }

    /// Validates frames that follow each other; the verifier expects something of the last one only. `None` when there
    /// are none.
    ///
    /// # Errors
    /// Every rule that the first bad frame breaks; the chain then stands at the frame before it.
    pub fn advance_all<'a>(
        &mut self,
        frames: impl IntoIterator<Item = &'a Verified<IbGib>>,
        of_the_last: &Expect,
    ) -> Result<Option<Step>, Vec<ValidateError>> {
        let (mut frames, nothing) = (frames.into_iter().peekable(), Expect::default());
        let mut joined = None;
        while let Some(frame) = frames.next() {
            let expect = if frames.peek().is_some() { &nothing } else { of_the_last };
            joined = self.advance(frame, expect)?.after(joined);
        }
        Ok(joined)
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

    /// How often it was taken back, and when last.
    pub fn recoveries(&self) -> Recoveries {
        self.recoveries
    }

    /// Whether the newest frame revokes the identity.
    pub fn is_revoked(&self) -> bool {
        self.tip.datum("revocationInfo").is_some()
    }

    /// Whether a challenge was spent.
    pub fn is_spent(&self, pool_id: &str, id: &str) -> bool {
        self.spent.contains(&spent_key(pool_id, id))
    }

    /// The strategy of its pools, which is one for all of them; `None` when no pool can be read.
    pub fn strategy(&self) -> Option<&'static dyn Strategy> {
        rules::strategy_of(&self.tip)
    }

    /// Whether a frame that continues this chain answers for its claim and for all that stands in it
    /// ([`Strategy::binds`]). Where it does not, claims say nothing that a verifier could rely on.
    pub fn binds(&self) -> bool {
        self.strategy().is_some_and(Strategy::binds)
    }

    /// What is left of each pool.
    pub fn pools(&self) -> Vec<PoolState> {
        let state = |pool: &Value| {
            let read = Pool::parse(pool).ok();
            // Ids hold no slash, pool ids may.
            let of_pool = |key: &&String| key.rsplit_once('/').is_some_and(|(pool_id, _)| pool_id == id_of(pool));
            let remembered = self.spent.iter().filter(of_pool).count();
            PoolState {
                id: id_of(pool).to_owned(),
                verbs: read.as_ref().map(|p| p.config().allowed_verbs().to_vec()).unwrap_or_default(),
                left: read.as_ref().map_or(0, |pool| pool.strategy().left(pool)),
                used: read.map_or(remembered, |pool| pool.strategy().used(&pool, remembered)),
            }
        };
        rules::pools(&self.tip).iter().map(state).collect()
    }

    /// The pool that signs a verb: the first that lists it, else the first that allows any.
    pub(crate) fn pool_for(&self, verb: &str) -> Option<Pool> {
        let all: Vec<Pool> = rules::pools(&self.tip).iter().filter_map(|pool| Pool::parse(pool).ok()).collect();
        let lists = |pool: &&Pool| pool.config().allowed_verbs().iter().any(|v| v == verb);
        all.iter().find(lists).or_else(|| all.iter().find(|p| p.config().allowed_verbs().is_empty())).cloned()
    }
}

/// Ids that a receiver may demand of the pool for `verb`: chosen at random, none twice; fewer when the pool is nearly
/// used up.
pub fn demand(chain: &Chain, verb: &str, count: usize, entropy: &mut dyn Entropy) -> Vec<String> {
    let Some(pool) = chain.pool_for(verb) else { return Vec::new() };
    choose(&mut pool.strategy().demandable(&pool), count, entropy)
}

/// Whether two frames show that an identity was used in two places: both have the same past and differ. (That both are
/// valid is for the caller to check.)
pub fn equivocation(a: &Verified<IbGib>, b: &Verified<IbGib>) -> bool {
    a.addr() != b.addr() && a.past().is_some() && a.past() == b.past() && a.tjp() == b.tjp()
}

/// Whether a frame is proven by a strategy that binds what it signs ([`Strategy::binds`]): if it is valid, only who has the
/// secret can have made it.
pub fn is_bound(frame: &IbGib) -> bool {
    matches!(claim::proofs(frame), [proof] if rules::is_bound(proof))
}

/// Whether two frames, each valid where it stands, prove that an identity signs in two places: they follow one frame, or
/// use one leaf, and only who has the secret can have made either. A revocation that waits is made beside whatever follows,
/// so that it proves nothing. A frame of a strategy that binds nothing never proves
/// it: whoever saw another frame of the identity may have made it (see [`crate::attacks`]).
pub fn proves_fork(a: &Verified<IbGib>, b: &Verified<IbGib>) -> bool {
    let counts = |frame: &IbGib| is_bound(frame) && !is_waiting(frame);
    counts(a) && counts(b) && (equivocation(a, b) || leaf_used_twice(a, b))
}
