//! Where ibgibs rest: the [`Space`] trait and the promises every space keeps.
#![forbid(unsafe_code)]

mod space;

pub use space::{
    Advance, Changes, Commit, CommitError, Follow, Kind, Scanned, Space, SpaceError, Tip, TipMove,
};
