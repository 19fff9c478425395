//! How a challenge is made, solved and checked.
//!
//! `hash-reveal-v1`, with `h` lowercase hex of the pool's hash, each line repeated `rounds` times:
//! pool secret = h(salt ‖ secret ‖ salt); solution = h(id ‖ pool secret ‖ id); challenge = h(id ‖ solution ‖ id).

use crate::config::{Algo, HASH_REVEAL};
use ibgib::{Map, Value, object};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a strategy sees: the whole claim and the next frame's data without its proof, so that it can bind both.
/// `hash-reveal-v1` binds neither; a strategy that does fits here without changing a caller.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The claim.
    pub claim: &'a Value,
    /// Data of the next frame without `proofs`.
    pub next: &'a Map,
}

/// Makes and checks challenges of one pool.
pub trait Strategy {
    /// The solution of a challenge.
    fn solve(&self, challenge_id: &str, context: Context<'_>) -> Value;
    /// The challenge that a solution answers.
    fn challenge(&self, challenge_id: &str) -> Value;
}

/// `h` of the pool; `None` for an algorithm that is not known. The hash of nothing is nothing.
fn hash(algo: Algo, parts: [&[u8]; 3]) -> Zeroizing<String> {
    if parts.iter().all(|p| p.is_empty()) {
        return Zeroizing::new(String::new());
    }
    Zeroizing::new(match algo {
        Algo::Sha256 => {
            let mut h = Sha256::new();
            parts.iter().for_each(|p| h.update(p));
            hex::encode(h.finalize())
        }
        Algo::Sha512 => {
            let mut h = Sha512::new();
            parts.iter().for_each(|p| h.update(p));
            hex::encode(h.finalize())
        }
    })
}

fn rounds(algo: Algo, rounds: usize, around: &str, start: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut now = Zeroizing::new(start.to_vec());
    for _ in 0..rounds {
        let next = hash(algo, [around.as_bytes(), &now, around.as_bytes()]);
        now = Zeroizing::new(next.as_bytes().to_vec());
    }
    now
}

/// `hash-reveal-v1` for one pool and its owner's secret.
pub struct HashReveal {
    algo: Algo,
    rounds: usize,
    pool_id: String,
    pool_secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for HashReveal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashReveal").field("pool_id", &self.pool_id).finish_non_exhaustive()
    }
}

impl HashReveal {
    /// Derives the pool's secret.
    pub fn new(algo: Algo, rounds_of: usize, salt: &str, pool_id: &str, master_secret: &[u8]) -> Self {
        let pool_secret = rounds(algo, rounds_of, salt, master_secret);
        Self { algo, rounds: rounds_of, pool_id: pool_id.to_owned(), pool_secret }
    }

    /// The pool's secret, from which ids are made.
    pub(crate) fn pool_secret(&self) -> &[u8] {
        &self.pool_secret
    }

    /// The pool's secret as text, for checking against the original.
    pub fn pool_secret_text(&self) -> String {
        String::from_utf8_lossy(&self.pool_secret).into_owned()
    }

    fn value(&self, challenge_id: &str) -> Zeroizing<Vec<u8>> {
        rounds(self.algo, self.rounds, challenge_id, &self.pool_secret)
    }
}

fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

impl Strategy for HashReveal {
    fn solve(&self, challenge_id: &str, _: Context<'_>) -> Value {
        object([
            ("type", HASH_REVEAL.into()),
            ("poolId", self.pool_id.as_str().into()),
            ("challengeId", challenge_id.into()),
            ("value", text(&self.value(challenge_id))),
        ])
    }

    fn challenge(&self, challenge_id: &str) -> Value {
        let hash = rounds(self.algo, self.rounds, challenge_id, &self.value(challenge_id));
        object([("type", HASH_REVEAL.into()), ("hash", text(&hash))])
    }
}

/// Whether a solution's value hashes to the challenge.
pub fn holds(algo: Algo, rounds_of: usize, challenge_id: &str, value: &str, challenge_hash: &str) -> bool {
    let got = rounds(algo, rounds_of, challenge_id, value.as_bytes());
    got.as_slice().ct_eq(challenge_hash.as_bytes()).into()
}
