//! What the machines ask their shells, and what they are told. Question and answer have the same name: a
//! [`SenderQuery::Compare`] is answered by a [`SenderAnswer::Compare`], and each holds what only that answer can hold.
//! Any question may be answered by `Failed`. An answer to another question than the open one ends the connection
//! loudly, with an error that names both; a machine never has two questions open.

pub use crate::flow::Load;

use crate::error::SagaError;
use crate::request::{Direction, Scope};
use crate::summary::TimelineSummary;
use crate::wire::peek::{Peek, Peeked};
use crate::wire::stream::{ReceiverLine, SenderLine};
use crate::wire::turn::Turn;
use crate::wire::word::{Receipt, Signature, Word};
use ibgib::timeline::Ancestry;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, Step, Warrant};
use std::sync::Arc;

/// What the sender needs from its own side.
#[derive(Clone, Debug)]
pub enum SenderQuery {
    /// Evolve the session identity, solving the demanded challenges; store it durably, then answer.
    SignConnect {
        /// The claim's target.
        challenge_uuid: String,
        /// Challenges to solve.
        demanded: Vec<String>,
    },
    /// Evolve the session identity with claim {sync, target}; store it durably, then answer.
    SignTurn(Addr),
    /// See whether a warrant is one of the space that is to be reached, as far as this side knows it: nothing is said to
    /// whoever else signs.
    Warrant(Box<Warrant>),
    /// The whole fingerprint of all living tips, or of those under this timeline ([`crate::Fingerprint`]).
    Fingerprint(Option<Addr>),
    /// What [`Peek::Buckets`] tells of the living tips, or of those under this timeline.
    Buckets(Option<Addr>),
    /// The living tips in some [buckets](crate::bucket), all of them or those under this timeline, sorted by timeline.
    InBuckets(Option<Addr>, Vec<usize>),
    /// Tips and constants in scope, which is none of those that both sides know by themselves.
    Tips(Scope),
    /// How each pair of tips relates, as far as this side can tell.
    Compare(Vec<TipPair>),
    /// For each of these frames one of its timeline that is so many frames before it, or the first one if there are fewer;
    /// none for the first one.
    Before(Vec<(Addr, u64)>),
    /// Addresses under these tips, down to the stops, dependencies first.
    Candidates {
        /// Where to start.
        starts: Vec<Addr>,
        /// Where to stop.
        stops: Vec<Addr>,
    },
    /// Which of these are neither committed nor staged here.
    Lacking(Vec<Addr>),
    /// Whether to go on with a saga that would do this: more timelines differ than [`SyncRequest::moves_max`].
    ///
    /// [`SyncRequest::moves_max`]: crate::SyncRequest::moves_max
    GoOn(Vec<TimelineSummary>),
    /// Nodes.
    Load(Load),
    /// Keep received nodes apart; there may be none.
    Stage(Vec<Verified<IbGib>>),
    /// Commit: adopt the receiver's tips (merging if ours moved), publish staged nodes, store the transcript.
    Finish(Box<Finish>),
}

/// Answers to [`SenderQuery`].
#[derive(Clone, Debug)]
pub enum SenderAnswer {
    /// The session identity's new frame.
    SignConnect(Verified<IbGib>),
    /// The session identity's new frame, or `None`: the target cannot be bound by what is left in the pool, make
    /// another target.
    SignTurn(Option<Verified<IbGib>>),
    /// It is.
    Warrant,
    /// 32 hex digits.
    Fingerprint(String),
    /// As of one moment, which may be later than that of the fingerprint.
    Buckets(OwnBuckets),
    /// (timeline, tip), as of a moment that may be later still.
    InBuckets(Vec<(Addr, Addr)>),
    /// What is in scope.
    Tips(OwnTips),
    /// In the order asked: how the first of the two stands to the second; `None` when only the receiver can tell.
    Compare(Vec<Option<Ancestry>>),
    /// In the order asked.
    Before(Vec<Option<Addr>>),
    /// Addresses, dependencies first.
    Candidates(Vec<Addr>),
    /// A part of the addresses asked about.
    Lacking(Vec<Addr>),
    /// If not, the saga is over before it has begun: its summary tells what it would have done.
    GoOn(bool),
    /// As [`Load`] wants them.
    Load(Vec<Verified<IbGib>>),
    /// They are kept.
    Stage,
    /// The commit is durable.
    Finish(Finished),
    /// It could not be done.
    Failed(SagaError),
}

impl SenderAnswer {
    /// The name of the question that it answers.
    pub fn question(&self) -> &'static str {
        match self {
            Self::SignConnect(_) => "SignConnect",
            Self::SignTurn(_) => "SignTurn",
            Self::Warrant => "Warrant",
            Self::Fingerprint(_) => "Fingerprint",
            Self::Buckets(_) => "Buckets",
            Self::InBuckets(_) => "InBuckets",
            Self::Tips(_) => "Tips",
            Self::Compare(_) => "Compare",
            Self::Before(_) => "Before",
            Self::Candidates(_) => "Candidates",
            Self::Lacking(_) => "Lacking",
            Self::GoOn(_) => "GoOn",
            Self::Load(_) => "Load",
            Self::Stage => "Stage",
            Self::Finish(_) => "Finish",
            Self::Failed(_) => "any",
        }
    }
}

/// The tips that both sides have of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TipPair {
    /// The timeline.
    pub tjp: Addr,
    /// Our tip.
    pub mine: Option<Addr>,
    /// The receiver's tip.
    pub theirs: Option<Addr>,
}

/// How a sender's tips look by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnBuckets {
    /// The fingerprint of each bucket, as [`Fingerprint::buckets`](crate::Fingerprint::buckets).
    pub fingerprints: Vec<String>,
    /// How many timelines there are.
    pub timelines: usize,
    /// Nothing living and nothing staged is here, whatever is under the timeline that was asked about.
    pub empty: bool,
}

/// What a sender has in scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnTips {
    /// (timeline, our tip).
    pub tips: Vec<(Addr, Option<Addr>)>,
    /// (constant, whether we have it).
    pub constants: Vec<(Addr, bool)>,
}

/// How a sender ends a saga.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The receiver's answer per timeline and constant: one for each that is in `offered`.
    pub statuses: Vec<ReceiverLine>,
    /// What was in the saga: each timeline with our tip of before, each constant with itself.
    pub offered: Vec<(Addr, Option<Addr>)>,
    /// Whether to adopt the receiver's tips, and whether it was to adopt ours.
    pub direction: Direction,
    /// Turns of both sides, in order.
    pub transcript: Vec<Turn>,
    /// What the receiver has signed about its commit, where it signs; its lines are the statuses, and left out here.
    pub receipt: Option<Box<Receipt>>,
}

/// What a sender's commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Per timeline.
    pub timelines: Vec<TimelineSummary>,
    /// Merge frames made.
    pub merges: u64,
    /// New conflicts.
    pub conflicts: u64,
}

/// What the receiver needs from its own side.
#[derive(Clone, Debug)]
pub enum ReceiverQuery {
    /// The session that this frame belongs to, and a fresh challenge for it.
    Session(Addr),
    /// Store the connect proof durably and register the connection.
    Connected {
        /// The session's evolved frame.
        frame: Verified<IbGib>,
        /// Its validated step.
        step: Step,
    },
    /// Answer a peek.
    Peek(Peek),
    /// Keep received nodes apart; there may be none.
    Stage(Vec<Verified<IbGib>>),
    /// Relate what the sender named to our tips, and plan the commit. Nothing moves yet.
    Evaluate(Evaluate),
    /// Carry out the plan of the last `Evaluate`, with these nodes and the session's step, all in one commit.
    Commit {
        /// Turns of both sides, in order, the answer included.
        transcript: Vec<Turn>,
        /// Session frames of this saga.
        session_frames: Vec<Verified<IbGib>>,
        /// Their joined step.
        step: Option<Step>,
    },
    /// Sign a word for the space.
    Sign(Word),
    /// Nodes.
    Load(Load),
}

/// Whom the claims of a session are for, so that none is good for another receiver or another session. Nothing is
/// expected where a member is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// The receiver: its space's id.
    pub space: Option<String>,
    /// The session's own id.
    pub nonce: Option<String>,
}

/// Answers to [`ReceiverQuery`].
#[derive(Clone, Debug)]
pub enum ReceiverAnswer {
    /// The session is known, its identity in good standing.
    Session {
        /// The session identity's validated state.
        chain: Box<Chain>,
        /// A fresh challenge.
        challenge_uuid: String,
        /// Ids that must be solved.
        demanded: Vec<String>,
        /// What every claim of the session has to name, where its strategy binds claims: the receiver, and the session.
        audience: Audience,
    },
    /// It is stored.
    Connected,
    /// The answer, whole; the machine cuts it into pages.
    Peek(Peeked),
    /// They are kept.
    Stage,
    /// What the turn leads to.
    Evaluate(Evaluated),
    /// Whether it is committed.
    Commit(Committed),
    /// The signature, with its warrant, which the machine leaves out where it was told before.
    Sign(Box<Signature>),
    /// As [`Load`] wants them.
    Load(Vec<Verified<IbGib>>),
    /// It could not be done. Taken at any time, whether or not a question is open: so the shell ends a connection.
    Failed(SagaError),
}

impl ReceiverAnswer {
    /// The name of the question that it answers.
    pub fn question(&self) -> &'static str {
        match self {
            Self::Session { .. } => "Session",
            Self::Connected => "Connected",
            Self::Peek(_) => "Peek",
            Self::Stage => "Stage",
            Self::Evaluate(_) => "Evaluate",
            Self::Commit(_) => "Commit",
            Self::Sign(_) => "Sign",
            Self::Load(_) => "Load",
            Self::Failed(_) => "any",
        }
    }
}

/// A turn to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluate {
    /// The turn's list.
    pub lines: Vec<SenderLine>,
    /// Nodes that arrived with this saga.
    pub payload: Arc<Vec<Addr>>,
    /// The sender asks for the commit.
    pub commit: bool,
    /// The sender's first turn: it commits only what is same or behind here.
    pub is_init: bool,
    /// The sender adopts our tips, so send what it lacks.
    pub adopt: bool,
}

/// What a turn leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// One per timeline and constant.
    pub statuses: Vec<ReceiverLine>,
    /// Nodes to send with the answer.
    pub send: Vec<Addr>,
    /// The plan is complete and shall be committed.
    pub commit: bool,
    /// Merge frames the plan makes.
    pub merges: u64,
    /// New conflicts it records.
    pub conflicts: u64,
}

/// How a receiver's commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is durable.
    Durable,
    /// Tips moved under it, and nothing is committed: evaluate again.
    Moved,
}
