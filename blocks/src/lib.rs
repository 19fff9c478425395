//! What a store's log and a saga's stream have in common: texts of ibgibs that stand together are compressed together,
//! best each after the one that it follows from.
//!
//! Most of a node's text is addresses, and hashes cannot be compressed. So [`squeeze`] takes them out of a text and leaves
//! marks in their place, and [`expand`] puts them back; which hash a mark means is for who writes blocks to say. What is
//! left repeats the texts before it, and is [packed](pack) with the block before as dictionary.
//!
//! Nothing here trusts what it reads: sizes are bounded before anything is made of them, and [`BlockError`] names each way
//! in which a block can be bad.
#![forbid(unsafe_code)]

mod bytes;
mod error;
mod hashes;
mod packing;

pub use bytes::{In, Out};
pub use error::BlockError;
pub use hashes::{Key, expand, squeeze};
pub use packing::{COMMON, Packer, pack, pack_alike, unpack};
