//! A watcher that answers for somebody who is away: The Eye of Satoshi's tower, as a door of the server.
//!
//! A user hands the tower an answer that is sealed under the id of the very event it answers; the tower can open it only
//! when that event appears. It publishes the answer then, follows it until it is deep in the chain, sends it again when it
//! is forgotten, and takes it up again when the chain is reorganised.
//!
//! * [`TowerDoor`]: the server of both generations of the protocol, over a Bitcoin node or over this server's own timelines, for
//!   `serve --door tower`; what its [`owner`] may know of it; what [`guard`]s an identity;
//! * [`tower::Tower`]: its rules, without sockets, clock or store, driven by the blocks of a [`feed`]; made of
//!   [`gatekeeper`] (users and slots), [`locator_cache`] (the newest blocks), [`watcher`] (appointments) and [`responder`]
//!   (answers that were published);
//! * [`transaction`], [`sealed`], [`signature`]: the protocol's bytes, of both its generations.
//!
//! Everything that the rules change is written in one commit, and only then sent or answered: the process may be killed at
//! any moment.
//!
//! ```
//! use ibgib_tower::sealed::{Dialect, Locator, open, seal};
//! use ibgib_tower::transaction::Txid;
//!
//! let breach: Txid = "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16".parse()?;
//! let sealed = seal(b"the answer, as a transaction", &breach, Dialect::Rust);
//! assert_eq!(Locator::of(&breach, Dialect::Rust).to_string(), "169e1e83e930853391bc6f35f605c675");
//! assert!(open(&sealed, &breach, Dialect::Python).is_err());
//! # Ok::<(), ibgib_tower::transaction::NoTxid>(())
//! ```
#![forbid(unsafe_code)]

mod api;
mod block_processor;
mod chain_monitor;
mod door;
mod engine;
pub mod feed;
pub mod gatekeeper;
pub mod guard;
mod ledger;
pub mod locator_cache;
pub mod owner;
pub mod responder;
pub mod rpc;
pub mod sealed;
pub mod signature;
mod source;
mod timelines;
pub mod tower;
pub mod transaction;
pub mod watcher;

pub use door::{TowerDoor, TowerFeed, TowerOptions, body_bytes_max};
