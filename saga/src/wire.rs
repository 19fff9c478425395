//! What travels over a connection, each kind a type of its own, read once where it comes in.
//!
//! * [`packet`]: what a transport carries, text or bytes.
//! * [`message`]: the control messages, a struct per kind.
//! * [`peek`]: the questions before a saga, and their answers.
//! * [`turn`]: a turn of a saga, three ibgibs.
//! * [`word`]: what a receiver signs, and its signature.
//! * `blocks`: how lines and nodes are written so that they take few bytes.
//! * `lines`: how they are written otherwise.
//! * `packed`: peeks and their answers as blocks.
//! * [`stream`]: the lines of a turn's list, and what a turn announces of its stream.
//!
//! Reading is strict: every member that a kind has must be there, and be what it should be, or the message is
//! refused by an error that names the member. Members that a kind does not have are ignored, so that later versions
//! may add some.

pub(crate) mod blocks;
pub(crate) mod lines;
pub(crate) mod members;
pub mod message;
pub(crate) mod named;
pub(crate) mod packed;
pub mod packet;
pub mod peek;
pub mod stream;
pub mod turn;
pub mod word;

pub use members::{DecodeError, Problem};
