//! Fingerprints of a set of tips: equal sets are found equal at once, differing ones by bucket.

use ibgib::Addr;
use sha2::{Digest, Sha256};

/// How many buckets timelines fall into: by the first byte of the timeline's hash.
pub const BUCKETS: usize = 256;

/// The bucket of a timeline.
pub fn bucket(tjp: &Addr) -> usize {
    tjp.key().map_or(0, |k| usize::from(k[0]))
}

/// Fingerprints of one side's tips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of everything, 32 hex digits.
    pub whole: String,
    /// Of each bucket, 32 hex digits; empty for an empty bucket.
    pub buckets: Vec<String>,
}

impl Fingerprint {
    /// Of tips sorted by timeline.
    pub fn of<'a>(tips: impl IntoIterator<Item = (&'a Addr, &'a Addr)>) -> Self {
        let mut hashers: Vec<Option<Sha256>> = vec![None; BUCKETS];
        for (tjp, tip) in tips {
            let hasher = hashers[bucket(tjp)].get_or_insert_with(Sha256::new);
            hasher.update(tjp.as_str().as_bytes());
            hasher.update(b"\n");
            hasher.update(tip.as_str().as_bytes());
            hasher.update(b"\n");
        }
        let short = |h: Sha256| hex::encode(&h.finalize()[..16]);
        let buckets: Vec<String> = hashers.into_iter().map(|h| h.map(short).unwrap_or_default()).collect();
        let mut whole = Sha256::new();
        for b in &buckets {
            whole.update(b.as_bytes());
            whole.update(b"\n");
        }
        Self { whole: short(whole), buckets }
    }
}
