//! What an ibgib is, how its address follows from its content, how nodes change, and how histories merge.
//!
//! An **ibgib** is an immutable JSON node with up to four members: `ib` (a label), `gib` (the hash of the rest), `data`
//! and `rel8ns` (relations: name → addresses). Its **address** is `ib^gib`; who has the address can check the node. Nodes
//! change by **transforms**, which make new nodes; nodes linked by `past` are the frames of a **timeline**; two branches
//! of one timeline **merge**, the same on every machine.
//!
//! The types that matter: [`IbGib`] is a node as it was read, [`Verified`] one whose every rule and address were checked
//! (nothing else can be stored, sent or changed), [`timeline::History`] tells how two tips of a timeline stand to each
//! other, joins them, and gives the proof ([`timeline::Advance`]) without which no space moves a tip.
//!
//! This crate refuses to do anything but compute: it reads no clock, file, socket, environment or entropy; callers pass
//! time and randomness in as a [`transform::Moment`]. It runs in a browser.
//!
//! Two modes: **strict** is the default and what every space, peer and transform uses; **compat** reproduces the
//! original implementation bit for bit and is there to check and bring over existing data. Whatever strict accepts,
//! compat accepts with the same hash.
//!
//! Reading order, in which nothing refers forward: [`json`], [`addr`], [`canonical`], [`ibgib`], [`moment`],
//! [`transform`], [`merge`], [`timeline`], [`conflict`], [`compat`].
//!
//! ```
//! use ibgib::timeline::{History, Ancestry};
//! use ibgib::transform::{ForkOpts, Moment, Mut8Opts, fork, mut8};
//! use ibgib::{IbGib, Verified};
//!
//! // A constant: its address follows from what it says.
//! let note = IbGib { ib: "note".into(), data: Some(ibgib::object([("text", "hello".into())])), ..IbGib::default() };
//! let note = note.seal()?;
//! assert_eq!(note, Verified::parse(&note.to_json())?);
//!
//! // A timeline: a first frame, and an edit of it.
//! let moment = Moment { now_ms: 1_767_225_600_000, random: [7; 16] };
//! let first = fork(&IbGib::primitive("note")?, &ForkOpts::timeline("note"), &moment)?.frame;
//! let patch = Some([("text", "hello")].into_iter().collect());
//! let next = mut8(&first, &Mut8Opts { patch, dna: true, ..Mut8Opts::default() }, &moment)?.frame;
//!
//! // The edit covers the first frame, so a tip may move there.
//! let mut history = History::new();
//! history.insert(first.clone());
//! history.insert(next.clone());
//! assert_eq!(history.ancestry(first.addr(), next.addr())?, Ancestry::Behind);
//! assert_eq!(history.advance(Some(first.addr()), next.addr())?.to(), next.addr());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod addr;
pub mod canonical;
pub mod compat;
pub mod conflict;
pub mod ibgib;
pub mod json;
pub mod merge;
pub mod moment;
pub mod timeline;
pub mod transform;

pub use addr::{Addr, AddrError};
pub use ibgib::{IbGib, Verified, VerifyError};
pub use json::{Map, Mode, Value, object, strings};
