//! Keystones: identities that are timelines of one-time, hash-based challenge pools. No PKI.
//!
//! A *genesis* frame publishes pools of challenges, hashes of secrets that only the owner can derive. To *sign* a claim
//! is to reveal the solutions that the pool's policy selects, in a new frame that replenishes the pool. An identity is
//! *validated* by replaying its frames; a frame that was validated is a [`Step`], the only thing that moves an identity's
//! tip. How challenges are made, solved and checked is a [`strategy`], which the pool names; what the present one cannot
//! prevent in principle stands in [`attacks`].
//!
//! What to begin with: [`genesis`] and [`sign`] make frames, [`Chain`] is an identity's validated state, and [`Step`]
//! the proof that a commit asks for. What takes a frame on trust stands in [`danger`].
//!
//! The crate is pure: the caller passes time, randomness and secrets, and stores what is made. It asks no space, keeps
//! no secret, and never guesses which of two frames on one past is the right one.
//!
//! ```
//! use ibgib_keystone::{Chain, Claim, Entropy, Expect, Secret, SignOpts, config, genesis, sign};
//!
//! struct Counter(u8);
//! impl Entropy for Counter {
//!     fn fill(&mut self, out: &mut [u8]) {
//!         out.iter_mut().for_each(|b| { self.0 = self.0.wrapping_add(1); *b = self.0; });
//!     }
//! }
//! let secret = Secret::new(b"thirty-two random bytes, say....".to_vec());
//! let pools = config::identity_pools(&config::random_salts(&mut Counter(0)));
//! let born = genesis(&secret, &pools, None, 1_767_225_600_000, &mut Counter(7)).unwrap();
//!
//! let claim = Claim { verb: "sync".into(), target: "note^gib".into(), ..Claim::default() };
//! let signed = sign(&born.chain, &secret, &claim, SignOpts::default(), 1_767_225_601_000, &mut Counter(9)).unwrap();
//!
//! // Somebody else, who has seen the genesis only:
//! let (mut chain, _) = Chain::from_genesis(born.frame).unwrap();
//! let step = chain.advance(&signed.frame, &Expect::default()).unwrap();
//! assert_eq!(step.to(), signed.frame.addr());
//! ```
#![forbid(unsafe_code)]

pub mod attacks;
mod chain;
mod claim;
pub mod compat;
pub mod config;
pub mod danger;
mod dropping;
mod error;
mod guard;
mod recovery;
mod rules;
mod secret;
mod sign;
pub mod strategy;
mod succession;
mod warrant;

pub use chain::{Chain, PoolState, Recoveries, Step, demand, equivocation, is_bound, proves_fork};
pub use claim::{Claim, Proof, Solution, is_waiting};
pub use dropping::{Dropping, list_dropped};
pub use error::{KeystoneError, Rule, ValidateError};
pub use recovery::{Recovery, Standing, is_recovery, recovery_pool};
pub use rules::Expect;
pub use secret::{Entropy, Secret, session_secret};
pub use sign::{
    SignOpts, Signed, genesis, genesis_with_trees, need, open_guard, recover, revoke, rotate, sign, waiting_revocation,
};
pub use strategy::{Pool, PoolConfig};
pub use succession::{KEYS_BEFORE_MAX, Succession, succeed};
pub use warrant::{Warrant, space_of, warrant, word_message};

/// Verb of a claim that lets a session or a saga's turn act.
pub const VERB_SYNC: &str = "sync";
/// Verb of a claim that opens a connection.
pub const VERB_CONNECT: &str = "connect";
/// Verb of a claim that changes an identity's own affairs.
pub const VERB_MANAGE: &str = "manage";
/// Verb of a claim that ends an identity.
pub const VERB_REVOKE: &str = "revoke";
/// Verb of a claim that ends an identity once two frames follow one of its states.
pub const VERB_GUARD: &str = "guard";
/// Verb of a claim that takes an identity back.
pub const VERB_RECOVER: &str = "recover";
/// Verb of what a space's keystone signs for the space: for a tree that signs for it, and for a key of its servers.
pub const VERB_WARRANT: &str = "warrant";
/// ib of every keystone frame.
pub const IB: &str = "keystone";
