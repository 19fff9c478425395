//! What both sides of a saga have named already, so that it need not be named again: a hash of 32 bytes is nearly all of a
//! line, and nothing compresses it.
//!
//! A saga begins with the hashes that its questions and their answers have named, and each turn's stream goes on with those
//! of the stream before. Besides, each line of the receiver's list answers a line of the sender's, in order, and is about the
//! same timeline; and so is each line of the sender's next list. Lists may be much longer than what is remembered, so before
//! the nth line of a list the hashes of the nth line of the sender's last one are learned again.

use super::blocks::Learned;
use super::packed::Packing;
use super::stream::Line;
use ibgib_blocks::Key;

/// What was named, between two streams of a saga.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) learned: Learned,
    pub(crate) lines: NamedLines,
}

impl Named {
    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.learned.bytes() + self.lines.bytes()
    }

    /// What was named before a saga.
    pub(crate) fn before(packing: &Packing) -> Self {
        let mut out = Self::default();
        packing.learned().in_order().for_each(|hash| out.learned.push(hash));
        out
    }
}

/// The hashes that the lines of a list name.
#[derive(Debug, Default)]
pub(crate) struct NamedLines {
    hashes: Vec<Key>,
    /// Where those of each line end.
    ends: Vec<usize>,
}

impl NamedLines {
    /// Of the nth line; none where there is no such line.
    pub(crate) fn of(&self, nth: usize) -> &[Key] {
        let Some(end) = self.ends.get(nth) else { return &[] };
        let start = nth.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.hashes[start..*end]
    }

    pub(crate) fn add(&mut self, line: &impl Line) {
        self.hashes.extend(line.names().into_iter().flatten().filter_map(|addr| addr.key()));
        self.ends.push(self.hashes.len());
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        (self.hashes.len() * 32 + self.ends.len() * 8) as u64
    }
}
