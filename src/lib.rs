//! What an ibgib is, how its address follows from its content, how nodes change, and how histories merge.
//!
//! This crate is pure: it reads no clock, file, socket, environment or entropy; callers pass time and randomness
//! in. Reading order: [`value`], [`canonical`], [`addr`], [`ibgib`], [`transform`], [`timeline`], [`merge`].
//!
//! Two modes: **strict** is the default and what every space, peer and transform uses; **compat** reproduces the
//! original implementation bit for bit and is there to check and bring over existing data. Whatever strict accepts,
//! compat accepts with the same hash.
//!
//! ```
//! use ibgib::{IbGib, Value, object};
//! let node = IbGib { ib: "note".into(), data: Some(object([("text", "hello".into())])), ..Default::default() };
//! let node = node.seal().unwrap();
//! assert_eq!(node.addr().ib(), "note");
//! assert_eq!(node.addr().gib().len(), 64);
//! ```
#![forbid(unsafe_code)]

pub mod addr;
pub mod canonical;
pub mod compat;
pub mod ibgib;
pub mod merge;
pub mod timeline;
pub mod transform;
pub mod value;

pub use addr::{Addr, AddrError};
pub use ibgib::{IbGib, Verified, VerifyError};
pub use value::{Map, Mode, Value, object, strings};
