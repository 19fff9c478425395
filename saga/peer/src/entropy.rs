//! Randomness and time from the operating system, where the pure crates ask for them as arguments.

use ibgib_keystone::Entropy;
use std::time::{SystemTime, UNIX_EPOCH};

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives random numbers; nothing safe can be done without");
    }
}

/// `N` random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    OsEntropy.fill(&mut out);
    out
}

/// 64 random hex digits.
pub fn random_hex() -> String {
    hex::encode(random::<32>())
}

/// Milliseconds since 1970; 0 when the clock stands before.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
