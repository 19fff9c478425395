//! Where ibgibs rest.
//!
//! A [`Space`] keeps nodes, the tips of timelines, nodes that are staged for somebody, and local records, and publishes
//! them in commits that happen whole or not at all. It refuses what would leave it with gaps or lies: a node whose graph
//! is not there, a tip that moves without a proof, a move from where the tip no longer is.
//!
//! * [`Space`] is what its users call. [`MemorySpace`] keeps it in memory, [`SegmentSpace`] in an append-only log with an
//!   index, and [`DurableSpace`] in one embedded file, as earlier versions did. [`durable`] opens whichever of these a
//!   directory holds (feature `redb`, on by default, for all of them).
//! * A [`Store`] is what keeps the bytes: whoever writes one, small as it is, has a space. The [`rules`] are the same
//!   over all of them, and the [`contract`] checks the promises on any.
//! * [`history`] relates, merges and advances timelines; [`settle`] is how everybody commits who races with others for
//!   tips; [`forget`] ends timelines, and [`dropped`] takes frames out of them; [`bundle`] carries a space in a file; [`fsck()`](fsck::fsck) re-hashes and walks everything, [`repair`]
//!   replaces what is damaged; [`fault`] fails on purpose.
//!
//! It does not sync, does not sign, and knows no time but that of a lease, which runs out by the store's own clock.
//!
//! ```
//! use ibgib::{IbGib, object};
//! use ibgib_spaces::{Commit, MemorySpace, Space};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let space = MemorySpace::new("doc");
//! let note = IbGib { ib: "note".into(), data: Some(object([("text", "hello".into())])), ..Default::default() };
//! let note = note.seal().unwrap();
//! space.commit(Commit { nodes: vec![note.clone()], ..Commit::default() }).await.unwrap();
//! assert_eq!(space.node(note.addr()).await.unwrap(), Some(note));
//! # });
//! ```
#![forbid(unsafe_code)]

mod begin;
pub mod bundle;
pub mod contract;
pub mod dropped;
#[cfg(feature = "redb")]
pub mod durable;
mod error;
pub mod fault;
pub mod forget;
pub mod fsck;
pub mod history;
pub mod leads;
mod leases;
mod marks;
mod memory;
#[cfg(feature = "redb")]
mod redb;
pub mod repair;
pub mod rules;
#[cfg(feature = "redb")]
mod segments;
pub mod settle;
mod space;
pub mod store;
mod tip;
mod walk;

#[cfg(feature = "redb")]
pub use self::redb::{DurableSpace, FILE};
pub use begin::begin;
pub use bundle::{BundleError, Bundled};
pub use error::{CommitError, SpaceError};
pub use forget::Forget;
pub use fsck::{Fsck, fsck};
pub use memory::MemorySpace;
pub use rules::Commit;
#[cfg(feature = "redb")]
pub use segments::SegmentSpace;
pub use space::{Changes, Space};
pub use store::{Store, View};
pub use tip::{Advance, Dropped, Kind, Tip};
pub use walk::{Follow, Walked};
