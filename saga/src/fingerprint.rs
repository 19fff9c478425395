//! Fingerprints of a set of tips: equal sets are found equal at once, differing ones by bucket, and within a bucket by cell.

use ibgib::Addr;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How many buckets timelines fall into: by the first byte of the timeline's hash.
pub const BUCKETS: usize = 256;
/// A bucket falls into as many cells as so many more bits tell apart, at most.
pub const CELL_BITS_MAX: u32 = 10;
/// Bytes of a short fingerprint.
pub const SHORT_BYTES: usize = 8;

/// A fingerprint of a cell, or of one timeline in it, for one comparison. Eight bytes are enough, since they are
/// [salted](Cells::salt).
pub type Short = [u8; SHORT_BYTES];

/// The short fingerprint of a cell that is empty.
pub const EMPTY: Short = [0; SHORT_BYTES];

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
            add(hashers[bucket(tjp)].get_or_insert_default(), tjp, tip);
        }
        let buckets = hashers.into_iter().map(|hasher| hasher.map(hex_of).unwrap_or_default()).collect();
        Self::of_buckets(buckets)
    }

    /// Of fingerprints of all buckets.
    pub fn of_buckets(buckets: Vec<String>) -> Self {
        Self { whole: whole(&buckets), buckets }
    }

    /// Takes another fingerprint of one bucket; then [`Fingerprint::whole`] has to be [renewed](Fingerprint::renew).
    pub(crate) fn set<'a>(&mut self, bucket: usize, tips: impl IntoIterator<Item = (&'a Addr, &'a Addr)>) {
        let mut hasher = None;
        for (tjp, tip) in tips {
            add(hasher.get_or_insert_default(), tjp, tip);
        }
        self.buckets[bucket] = hasher.map(hex_of).unwrap_or_default();
    }

    /// The fingerprint of everything follows those of the buckets.
    pub(crate) fn renew(&mut self) {
        self.whole = whole(&self.buckets);
    }
}

/// The fingerprint of everything that these of all buckets come to.
pub(crate) fn whole(buckets: &[String]) -> String {
    let mut whole = Sha256::new();
    for bucket in buckets {
        whole.update(bucket.as_bytes());
        whole.update(b"\n");
    }
    hex_of(whole)
}

fn add(hasher: &mut Sha256, tjp: &Addr, tip: &Addr) {
    hasher.update(tjp.as_str().as_bytes());
    hasher.update(b"\n");
    hasher.update(tip.as_str().as_bytes());
    hasher.update(b"\n");
}

fn hex_of(hasher: Sha256) -> String {
    hex::encode(&hasher.finalize()[..16])
}

/// How buckets fall into cells, for one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Each bucket falls into 2 to the power of this many cells.
    pub bits: u32,
    /// What short fingerprints begin with: the asking side's fingerprint of everything. Who makes frames that look alike
    /// has to make them for the very tips that are compared, and each that he makes is one of them.
    pub salt: String,
}

impl Cells {
    /// For buckets that have so many timelines on the average: what all cells of a bucket take, and what names the timelines
    /// of one cell, is about the same.
    pub fn for_buckets_of(timelines: usize, salt: String) -> Self {
        let bits = (1..CELL_BITS_MAX).find(|bits| timelines <= 1 << (2 * bits)).unwrap_or(CELL_BITS_MAX);
        Self { bits, salt }
    }

    /// How many cells a bucket falls into.
    pub fn per_bucket(&self) -> usize {
        1 << self.bits
    }

    /// The cell of a timeline: the first bits of its hash, those of its bucket included.
    pub fn cell(&self, tjp: &Addr) -> usize {
        let bits = tjp.key().map_or(0, |k| usize::from(k[0]) << 16 | usize::from(k[1]) << 8 | usize::from(k[2]));
        bits >> (16 - self.bits)
    }

    /// The short fingerprint of these tips, sorted by timeline.
    pub fn short<'a>(&self, tips: impl IntoIterator<Item = (&'a Addr, &'a Addr)>) -> Short {
        let mut hasher = Sha256::new_with_prefix(self.salt.as_bytes());
        hasher.update(b"\n");
        for (tjp, tip) in tips {
            add(&mut hasher, tjp, tip);
        }
        let mut short = EMPTY;
        short.copy_from_slice(&hasher.finalize()[..SHORT_BYTES]);
        short
    }

    /// Tips by their cells.
    pub(crate) fn sort<'a>(
        &self,
        tips: impl IntoIterator<Item = (&'a Addr, &'a Addr)>,
    ) -> BTreeMap<usize, Vec<(&'a Addr, &'a Addr)>> {
        let mut cells = BTreeMap::<usize, Vec<_>>::new();
        for (tjp, tip) in tips {
            cells.entry(self.cell(tjp)).or_default().push((tjp, tip));
        }
        cells
    }
}
