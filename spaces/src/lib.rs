//! Where ibgibs rest: the [`Space`] trait, the promises every space keeps, and two spaces.
//!
//! * [`MemorySpace`] for tests and peers that keep nothing; [`DurableSpace`] in one embedded file.
//! * [`contract`] checks the promises on any implementation: run it on a space of your own.
//! * [`fsck()`](fsck::fsck) re-hashes and walks everything; [`history`] relates, merges and advances timelines.
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
//! assert_eq!(space.get(&[note.addr().clone()]).await.unwrap(), [Some(note)]);
//! # });
//! ```
#![forbid(unsafe_code)]

pub mod bundle;
pub mod contract;
mod durable;
pub mod fault;
pub mod fsck;
pub mod history;
mod memory;
mod rules;
mod space;

pub use bundle::{BundleError, Bundled};
pub use durable::{DurableSpace, FILE};
pub use fsck::{Fsck, fsck};
pub use memory::MemorySpace;
pub use space::{Advance, Changes, Commit, CommitError, Follow, Kind, Scanned, Space, SpaceError, Tip, TipMove};
