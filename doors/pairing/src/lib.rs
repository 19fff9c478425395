//! Two devices that never met, one short code: a wormhole.
//!
//! A person reads `7-crossover-clockwork` from one device and types it at another; both then share a strong key, and
//! whoever carried their messages learns nothing. It speaks the protocols of `magic-wormhole`, so that the original programs
//! work with it. Cores without sockets, clock or store, to which times and entropy are passed in:
//!
//! * [`client::Wormhole`]: one side, from the code to messages in order;
//! * [`mailbox`]: the server in between, as rows and what a request does to them;
//! * [`hashcash`], what a server may demand of whoever connects;
//! * [`code`], [`key`], [`wire`], [`transit`], [`transfer`]: codes and words, the key schedule, the frames, bulk data, and
//!   what two commands say about a file.
//!
//! [`first_form`] is the same in the form of 2015, over HTTP.
//!
//! And the shells around them: [`transcribe`] is what an application uses, [`connect::Session`] keeps a wormhole connected, [`carry`] finds a way for bulk data,
//! [`server`] has the mailbox server and the transit relay as doors of a space server.
//!
//! ```
//! use ibgib_pairing::code::Code;
//! use ibgib_pairing::key::Pake;
//!
//! let code = Code::parse("7-crossover-clockwork")?;
//! // In programs, 64 random bytes each.
//! let (here, there) = (Pake::start(&code, "example.com/app", &[1; 64]), Pake::start(&code, "example.com/app", &[2; 64]));
//! let (to_there, to_here) = (here.message().to_vec(), there.message().to_vec());
//! let (here, there) = (here.finish(&to_here)?, there.finish(&to_there)?);
//! assert_eq!(here.verifier(), there.verifier());
//! # Ok::<(), ibgib_pairing::error::PairingError>(())
//! ```
#![forbid(unsafe_code)]

pub mod carry;
pub mod client;
pub mod code;
pub mod connect;
pub mod error;
pub mod first_form;
pub mod hashcash;
pub mod key;
pub mod mailbox;
pub mod server;
pub mod transcribe;
pub mod transfer;
pub mod transit;
pub mod wire;
mod words;

pub use error::PairingError;
