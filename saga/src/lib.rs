//! The sync conversation as two state machines: [`Sender`] and [`Receiver`].
//!
//! This crate is pure: no clock, no socket, no file, no entropy. The machines take inputs and give outputs; a shell
//! (`ibgib-peer`, or a simulation) carries packets between them and does on a space what they ask for. **After every
//! `handle`, drain `poll` to `None` before the next `handle`.**
//!
//! A connection: `hello` → `connect_challenge` → `connect_proof` → `connect_ok`, then any number of sagas. Before a
//! saga, unsigned peeks tell the sender what the receiver has, so that only missing nodes travel. In a saga, sender
//! and receiver take turns ([`Turn`]): `init`, answer, `delta`, answer; each sender turn is signed by the session
//! identity, whose claim targets the turn's context address. The receiver commits everything at once and then
//! answers; the sender commits and is done. See `docs/protocol.md`.
//!
//! Reading order: [`turn`], [`packet`], [`stream`], [`peek`], [`sender`], [`receiver`].
#![forbid(unsafe_code)]

pub mod codes;
pub mod error;
pub mod fingerprint;
pub mod limits;
pub mod packet;
pub mod peek;
pub mod receiver;
pub mod sender;
pub mod stream;
pub mod summary;
pub mod turn;

pub use codes::{Blame, Code, Refusal};
pub use error::{Breach, IdentityRefusal, Misuse, OwnIdentity, SagaError, SpaceFailure};
pub use fingerprint::Fingerprint;
pub use limits::Limits;
pub use packet::{Message, MsgType, Packet, SUBPROTOCOL};
pub use peek::{Peek, Peeked};
pub use receiver::{Evaluate, Receiver, ReceiverAnswer, ReceiverDone, ReceiverInput, ReceiverOutput, ReceiverQuery};
pub use sender::{
    Compared, Direction, Scope, Sender, SenderAnswer, SenderInput, SenderOutput, SenderQuery, SyncRequest,
};
pub use stream::{Line, Status};
pub use summary::{Action, Summary, TimelineSummary};
pub use turn::{Stage, Turn, validate_context_and_saga_frame, validate_return_context};
