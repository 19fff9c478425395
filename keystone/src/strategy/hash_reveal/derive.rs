//! From the master secret to a pool's challenges.
//!
//! With `h` lowercase hex of the pool's hash, each line repeated `rounds` times: pool secret = h(salt ‖ secret ‖ salt);
//! solution = h(id ‖ pool secret ‖ id); challenge = h(id ‖ solution ‖ id).

use super::{Algo, NAME};
use ibgib::{Value, object};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// `h`; the hash of nothing is nothing.
fn hash(algo: Algo, parts: [&[u8]; 3]) -> Zeroizing<String> {
    fn of<D: Digest>(parts: [&[u8]; 3]) -> String {
        let mut digest = D::new();
        parts.iter().for_each(|part| digest.update(part));
        hex::encode(digest.finalize())
    }
    if parts.iter().all(|part| part.is_empty()) {
        return Zeroizing::new(String::new());
    }
    Zeroizing::new(match algo {
        Algo::Sha256 => of::<Sha256>(parts),
        Algo::Sha512 => of::<Sha512>(parts),
    })
}

fn repeated(algo: Algo, rounds: usize, around: &str, start: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut now = Zeroizing::new(start.to_vec());
    for _ in 0..rounds {
        let next = hash(algo, [around.as_bytes(), &now, around.as_bytes()]);
        now = Zeroizing::new(next.as_bytes().to_vec());
    }
    now
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A challenge: a hash whose preimage only the secret's owner can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The hash.
    pub hash: String,
}

impl Challenge {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        object([("type", NAME.into()), ("hash", self.hash.as_str().into())])
    }

    /// Reads a challenge of this strategy.
    pub fn parse(value: &Value) -> Option<Self> {
        let part = |name: &str| value.get(name).and_then(Value::as_str);
        (part("type") == Some(NAME)).then_some(())?;
        Some(Self { hash: part("hash")?.to_owned() })
    }
}

/// The secret of one pool. Wiped when dropped, never shown.
pub struct PoolSecret {
    algo: Algo,
    rounds: usize,
    bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PoolSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PoolSecret(…)")
    }
}

impl PoolSecret {
    /// Derives it from the master secret.
    pub fn derive(algo: Algo, rounds: usize, salt: &str, master_secret: &[u8]) -> Self {
        Self { algo, rounds, bytes: repeated(algo, rounds, salt, master_secret) }
    }

    /// The bytes, for deriving from them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What solves a challenge.
    pub fn solution(&self, challenge_id: &str) -> String {
        text(&repeated(self.algo, self.rounds, challenge_id, &self.bytes))
    }

    /// The challenge that the solution answers.
    pub fn challenge(&self, challenge_id: &str) -> Challenge {
        let solution = Zeroizing::new(self.solution(challenge_id));
        Challenge { hash: text(&repeated(self.algo, self.rounds, challenge_id, solution.as_bytes())) }
    }
}

/// Whether a solution's value hashes to the challenge.
pub fn holds(algo: Algo, rounds: usize, challenge_id: &str, value: &str, challenge_hash: &str) -> bool {
    let got = repeated(algo, rounds, challenge_id, value.as_bytes());
    got.as_slice().ct_eq(challenge_hash.as_bytes()).into()
}
