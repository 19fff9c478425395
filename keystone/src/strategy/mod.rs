//! Strategies: how the pools of one type are made, spent and checked.
//!
//! A pool's configuration names its strategy in `type`, and [`by_name`] finds it. To add one is to write a file with a
//! [`Strategy`] and to add it to the list below; nobody who signs or validates changes.
//!
//! A strategy is given the whole claim and the whole next frame, so that its solutions can bind both.
//! [`hash_reveal`] binds neither; [`crate::attacks`] says what follows from that. [`lms`] binds both.

use crate::claim::{Proof, Solution};
use crate::error::{KeystoneError, ValidateError};
use crate::secret::{Entropy, Secret};
use ibgib::{IbGib, Value};
use std::fmt;
use std::sync::Arc;

pub mod hash_reveal;
pub mod lms;
mod pool;

pub use pool::{Pool, PoolConfig};

/// Every strategy there is.
const ALL: [&dyn Strategy; 2] = [&hash_reveal::HashReveal, &lms::Lms];

/// The strategy of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Strategy> {
    ALL.into_iter().find(|strategy| strategy.name() == name)
}

/// What a solution is made over and checked over.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The claim, whole, as it stands in the proof.
    pub claim: &'a Value,
    /// What the verifier demanded, as it stands in the proof.
    pub demanded: &'a [String],
    /// The next frame. Who signs has no proof in it yet, who verifies has: a strategy that binds the frame leaves the
    /// proof out.
    pub next: &'a IbGib,
}

/// What the secret's owner has at hand.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The master secret.
    pub secret: &'a Secret,
    /// Trees of one-time keys that were built before; one that is missing is built on the spot.
    pub trees: &'a [Arc<lms::Tree>],
    /// The leaf that was set aside for this signature.
    pub leaf: Option<&'a lms::Leaf>,
}

/// What a signature asks of a pool.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The pool as the frame before has it.
    pub pool: &'a Pool,
    /// Number of the next frame.
    pub n: u64,
    /// The claim's verb.
    pub verb: &'a str,
    /// The claim's target.
    pub target: &'a str,
    /// Challenges that the verifier demands.
    pub demanded: &'a [String],
    /// Whether the identity has solved a challenge of this pool before.
    pub is_spent: &'a dyn Fn(&str) -> bool,
}

/// What a signature takes of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Spending {
    /// The challenges to solve, in order; at least one.
    pub ids: Vec<String>,
    /// The pool as the next frame has it.
    pub next: Pool,
}

/// A proof by one pool, to be checked. What every strategy has in common was checked before: the solutions are all of
/// this pool and type, none is there twice, the pool may sign the verb, and the demands are those of the verifier.
#[derive(Clone, Copy)]
pub struct Spent<'a> {
    /// The pool as the frame before has it.
    pub pool: &'a Pool,
    /// The proof.
    pub proof: &'a Proof,
    /// The proof as it stands in the frame.
    pub written: &'a Value,
    /// The pool as the next frame has it, not yet read; `None` when the step takes all pools away for those of a stronger
    /// strategy.
    pub next: Option<&'a Value>,
    /// Claim and frame.
    pub context: Context<'a>,
    /// Whether the identity has solved a challenge of this pool before.
    pub is_spent: &'a dyn Fn(&str) -> bool,
}

/// One way to make, spend and check pools.
pub trait Strategy: fmt::Debug + Sync {
    /// Its name, `type` in configurations and solutions.
    fn name(&self) -> &'static str;

    /// Whether a solution answers for the claim and the frame that show it. Then nobody but the secret's owner can make
    /// a second valid frame on one past, and the pool itself tells what was spent.
    fn binds(&self) -> bool;

    /// Whether it can work with a configuration; `Err` says what is wrong.
    ///
    /// # Errors
    /// What is wrong, for a reader.
    fn check_config(&self, config: &PoolConfig) -> Result<(), String>;

    /// A full pool.
    ///
    /// # Errors
    /// [`KeystoneError::Config`].
    fn fill(&self, config: &PoolConfig, keys: &Keys<'_>, entropy: &mut dyn Entropy) -> Result<Pool, KeystoneError>;

    /// Whether a pool may stand in a genesis: whole and full.
    ///
    /// # Errors
    /// The rule `pools`.
    fn check_full(&self, pool: &Pool) -> Result<(), ValidateError>;

    /// How many challenges are left.
    fn left(&self, pool: &Pool) -> usize;

    /// How many were spent or skipped so far, of which the chain remembers `remembered`.
    fn used(&self, pool: &Pool, remembered: usize) -> usize;

    /// Challenges that a verifier may demand.
    fn demandable(&self, pool: &Pool) -> Vec<String>;

    /// Selects the challenges to solve and makes the next pool. The frame that the solutions may bind does not exist
    /// yet: it holds this next pool.
    ///
    /// # Errors
    /// [`KeystoneError`], when the pool cannot serve the request.
    fn spend(
        &self,
        request: &Request<'_>,
        keys: &Keys<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Spending, KeystoneError>;

    /// Solves selected challenges over claim and frame.
    ///
    /// # Errors
    /// [`KeystoneError`], when the secret's owner cannot solve them now.
    fn solve(
        &self,
        pool: &Pool,
        ids: &[String],
        keys: &Keys<'_>,
        context: Context<'_>,
    ) -> Result<Vec<Solution>, KeystoneError>;

    /// Whether a proof and the next pool are what the pool asks for.
    ///
    /// # Errors
    /// The first rule that does not hold.
    fn verify(&self, spent: &Spent<'_>) -> Result<(), ValidateError>;
}
