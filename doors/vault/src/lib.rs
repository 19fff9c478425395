//! One encrypted document in step on all of a person's devices: the server as a door, and the rules of both sides.
//!
//! A person keeps a wallet, a password file or settings on a server that never sees inside. Two devices never overwrite
//! each other: a write names the sequence that it follows, and the one that comes too late gets what is there and merges.
//! A changed password locks every other device out in one step. The protocol is that of `wallet-sync-server`; its
//! programs work with these rules unchanged.
//!
//! * [`mod@derive`]: what a root password turns into, on either side;
//! * [`blob`]: the encrypted document;
//! * [`account`]: the server's rules, as rows and functions over them;
//! * [`device`]: what a device keeps, and merging by key;
//! * [`client`]: a device's questions to a server;
//! * [`Vault`]: the server, a [`Door`](ibgib_server::Door) that keeps those rows in a host's space.
//!
//! The rules open no connection, read no clock and draw no randomness: whoever calls them does.
//!
//! ```
//! use ibgib_vault::account::{WalletRow, put, request::{Put, read}};
//!
//! let body = br#"{"token":"t","encryptedWallet":"czo4","sequence":1,"hmac":"00"}"#;
//! let first: Put = read(body)?;
//! let kept: WalletRow = put(&first, None)?;
//! // A second device that did not see it comes too late, and is told what is there.
//! assert!(put(&first, Some(&kept)).is_err());
//! # Ok::<(), ibgib_vault::account::Refusal>(())
//! ```
#![forbid(unsafe_code)]

pub mod account;
mod attempts;
pub mod blob;
pub mod client;
pub mod derive;
pub mod device;
mod door;
mod ledger;
mod mail;
mod sockets;
mod work;

pub use door::{Vault, VaultOptions};
