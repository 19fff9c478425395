//! The sync conversation as two state machines: [`Sender`] and [`Receiver`].
//!
//! The crate decides what is said, in which order, and what a peer may say; it refuses to do anything itself. It has no
//! clock, no socket, no file and no entropy: the machines take inputs and give outputs, and a shell (`ibgib-peer`, or a
//! simulation) carries packets between them and does on a space what they ask for. **After every `handle`, drain
//! `poll` to `None` before the next `handle`.**
//!
//! A connection: `hello` → `connect_challenge` → `connect_proof` → `connect_ok`, then any number of sagas. Before a
//! saga, unsigned peeks tell the sender what the receiver has ([`Planner`]), so that only missing nodes travel. In a
//! saga, sender and receiver take turns ([`Turn`]): `init`, answer, `delta`, answer; each sender turn is signed by the
//! session identity, whose claim targets the turn's context address. The receiver commits everything at once and then
//! answers; the sender commits and is done. See `docs/protocol.md`.
//!
//! # The run loop
//!
//! Two machines in a toy world: the sender has one note, which is no timeline, and the receiver has nothing.
//!
//! ```
//! use ibgib::timeline::Ancestry;
//! use ibgib::{Addr, IbGib, Verified, object};
//! use ibgib_saga::*;
//! use std::collections::{HashMap, VecDeque};
//!
//! let note = IbGib { ib: "note".into(), data: Some(object([("text", "hi".into())])), ..IbGib::default() };
//! let note = note.seal().unwrap();
//! let mut here: HashMap<Addr, Verified<IbGib>> = HashMap::from([(note.addr().clone(), note.clone())]);
//! let mut there: HashMap<Addr, Verified<IbGib>> = HashMap::new();
//!
//! // What a shell does on the sender's space.
//! let ask_sender = |query| match query {
//!     SenderQuery::Tips(Scope::Only(addrs)) => {
//!         let constants = addrs.into_iter().map(|a| (a.clone(), here.contains_key(&a))).collect();
//!         SenderAnswer::Tips(OwnTips { constants, ..OwnTips::default() })
//!     }
//!     SenderQuery::Compare(pairs) => SenderAnswer::Compare(pairs.iter().map(|_| Some(Ancestry::Same)).collect()),
//!     SenderQuery::Candidates { starts, .. } => SenderAnswer::Candidates(starts),
//!     SenderQuery::Load(load) => SenderAnswer::Load(load.addrs.iter().map(|a| here[a].clone()).collect()),
//!     SenderQuery::Finish(_) => SenderAnswer::Finish(Finished::default()),
//!     other => panic!("a note needs no {other:?}"),
//! };
//! // And on the receiver's.
//! let mut ask_receiver = |query| match query {
//!     ReceiverQuery::Peek(Peek::Has(addrs)) => {
//!         let has = addrs.iter().map(|a| there.contains_key(a)).collect();
//!         ReceiverAnswer::Peek(Peeked { has, ..Peeked::default() })
//!     }
//!     ReceiverQuery::Peek(_) => ReceiverAnswer::Peek(Peeked { empty: true, ..Peeked::default() }),
//!     ReceiverQuery::Stage(nodes) => {
//!         there.extend(nodes.into_iter().map(|n| (n.addr().clone(), n)));
//!         ReceiverAnswer::Stage
//!     }
//!     ReceiverQuery::Evaluate(turn) => {
//!         let status = |line: &SenderLine| match line {
//!             SenderLine::Constant(a) => {
//!                 Some(ReceiverLine { tjp: a.clone(), status: Status::Unknown, tip: Some(a.clone()) })
//!             }
//!             _ => None,
//!         };
//!         let statuses = turn.lines.iter().filter_map(status).collect();
//!         ReceiverAnswer::Evaluate(Evaluated { statuses, commit: turn.commit, ..Evaluated::default() })
//!     }
//!     ReceiverQuery::Commit { .. } => ReceiverAnswer::Commit(Committed::Durable),
//!     other => panic!("a note needs no {other:?}"),
//! };
//!
//! let (mut sender, mut receiver) = (Sender::new(Limits::default()), Receiver::new(Limits::default(), true));
//! let mut to_sender = VecDeque::from([SenderInput::Connect(None)]);
//! let mut to_receiver = VecDeque::new();
//! let mut summary = None;
//! while summary.is_none() {
//!     if let Some(input) = to_sender.pop_front() {
//!         sender.handle(input);
//!         while let Some(output) = sender.poll() {
//!             match output {
//!                 SenderOutput::Send(packet) => to_receiver.push_back(ReceiverInput::Packet(packet)),
//!                 SenderOutput::Ask(query) => to_sender.push_front(SenderInput::Answer(ask_sender(query))),
//!                 SenderOutput::Connected => to_sender.push_back(SenderInput::Sync(Box::new(SyncRequest {
//!                     saga_id: "32 random hex digits".into(),
//!                     scope: Scope::Only(vec![note.addr().clone()]),
//!                     direction: Direction::Push,
//!                     skip_when_equal: true,
//!                     dry_run: false,
//!                     moves_max: None,
//!                 }))),
//!                 SenderOutput::Done(done) => summary = Some(done),
//!                 SenderOutput::Glanced(_) => {}
//!                 SenderOutput::Failed(error) => panic!("{error}"),
//!             }
//!         }
//!     } else if let Some(input) = to_receiver.pop_front() {
//!         receiver.handle(input);
//!         while let Some(output) = receiver.poll() {
//!             match output {
//!                 ReceiverOutput::Send(packet) => to_sender.push_back(SenderInput::Packet(packet)),
//!                 ReceiverOutput::Ask(query) => {
//!                     to_receiver.push_front(ReceiverInput::Answer(Box::new(ask_receiver(query))));
//!                 }
//!                 ReceiverOutput::Connected | ReceiverOutput::Done(_) => {}
//!                 ReceiverOutput::Closed(error) => panic!("{error:?}"),
//!             }
//!         }
//!     }
//! }
//! assert_eq!(summary.unwrap().nodes_sent, 1);
//! assert!(there.contains_key(note.addr()));
//! ```
//!
//! Reading order: [`wire`], [`buckets`], [`request`], [`ask`], `auth`, `flow`, [`plan`], [`sender`], [`receiver`].
#![forbid(unsafe_code)]

pub mod ask;
mod auth;
pub mod buckets;
pub mod codes;
pub mod error;
pub mod fingerprint;
mod flow;
pub mod limits;
pub mod plan;
pub mod receiver;
pub mod request;
pub mod sender;
pub mod summary;
mod transcript;
pub mod wire;

pub use ask::{
    Audience, Committed, Evaluate, Evaluated, Finish, Finished, Load, OwnBuckets, OwnTips, ReceiverAnswer,
    ReceiverQuery, SenderAnswer, SenderQuery, TipPair,
};
pub use buckets::Buckets;
pub use codes::{Blame, Code, Refusal};
pub use error::{Breach, IdentityRefusal, Misuse, OwnIdentity, SagaError, SpaceFailure};
pub use fingerprint::{BUCKETS, Fingerprint, bucket};
pub use flow::is_payload;
pub use limits::Limits;
pub use plan::{Need, Plan, Planner};
pub use receiver::{Receiver, ReceiverDone, ReceiverInput, ReceiverOutput};
pub use request::{Direction, Scope, SyncRequest};
pub use sender::{SagaStatus, Sender, SenderInput, SenderOutput};
pub use summary::{Action, Summary, TimelineSummary};
pub use wire::message::{ConnectOk, Envelope, Failure, Message, MsgType, TurnAnswer};
pub use wire::packed::PACKED;
pub use wire::packet::{Encoding, Packet, SUBPROTOCOL};
pub use wire::peek::{AskedCell, Peek, Peeked};
pub use wire::stream::{Measure, ReceiverLine, SenderLine, Status};
pub use wire::turn::{
    Asked, Stage, Told, Turn, TurnLink, contexts_of, validate_context_and_saga_frame, validate_return_context,
};
pub use wire::word::{Receipt, Said, Signature, Word};
