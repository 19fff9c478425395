//! Bundles: nodes and tips of a space in one file, to carry where no network reaches and to keep as a backup.
//!
//! JSON Lines: a header `{"bundle":"ibgib.v1"}`; one line per node, as hashed; per tip `{"tip":{"tjp","addr"}}`; at
//! the end `{"end":{"nodes","timelines","sha256"}}` with the SHA-256 of every byte before that line. Nodes come in any
//! order. A reader takes nothing of a bundle whose end does not hold.

mod export;
mod import;
mod lines;

pub use export::export;
pub use import::{import, mend};

use crate::error::{CommitError, SpaceError};
use crate::settle::TRIES;
use ibgib::Addr;
use std::io;

const NAME: &str = "ibgib.v1";

/// What a bundle holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundled {
    /// Nodes.
    pub nodes: u64,
    /// Timelines with their tips.
    pub timelines: u64,
    /// On import: merge frames made where timelines had diverged.
    pub merges: u64,
    /// On import: conflicts that they recorded.
    pub conflicts: u64,
    /// On import: timelines that were left as they are here, and why.
    pub refused: Vec<(Addr, String)>,
}

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The bundle is damaged, cut, or none.
    #[error("line {line} of the bundle: {why}")]
    Damaged {
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// A node relates to one that is neither in the bundle nor here.
    #[error("the bundle is incomplete: {from} relates to {addr}, which is neither in it nor here")]
    Incomplete {
        /// What is not there.
        addr: Addr,
        /// Who needs it.
        from: Addr,
    },
    /// Others kept moving the same tips.
    #[error("the tips kept moving; gave up after {TRIES} tries")]
    Busy,
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The space failed.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The space refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
}
