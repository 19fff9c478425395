//! Why a saga ended early, told by whose fault it is.

use crate::codes::{Blame, Code, Refusal};
use ibgib::Addr;
use ibgib_blocks::BlockError;
use ibgib_keystone::{KeystoneError, Rule, ValidateError};

/// Why a saga or a connection ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SagaError {
    /// The peer sent something that the protocol forbids.
    #[error("the peer broke the protocol ({}): {detail}", .breach.code())]
    PeerMisbehaved {
        /// Which rule it broke.
        breach: Breach,
        /// What was wrong.
        detail: String,
    },
    /// The peer's identity, or its proof of it, is refused.
    #[error("identity refused ({}): {}", .0.code(), .0)]
    PeerIdentity(IdentityRefusal),
    /// The peer refused and said why.
    #[error("the peer refused ({why}): {message}")]
    PeerRefused {
        /// What it calls it.
        why: Refusal,
        /// The peer's words.
        message: String,
        /// Refused before or while proving identity.
        auth: bool,
    },
    /// The peer speaks another version, or demands what we lack.
    #[error("the peer is incompatible: {0}")]
    PeerIncompatible(String),
    /// Nobody answers at this URL.
    #[error("{url} is not reachable: {why}")]
    PeerUnreachable {
        /// Where the server should be.
        url: String,
        /// What happened.
        why: String,
    },
    /// Something answers at this URL, but no space server.
    #[error("{0} is not what a space server answers")]
    PeerNoServer(String),
    /// The server at this URL is not the one that is known there.
    #[error("the server at {url} is not the one that is known there: its {what} was {known} and is {shown}")]
    PeerChanged {
        /// Where the server should be.
        url: String,
        /// What tells them apart: `key`, `space` or `keystone`.
        what: &'static str,
        /// What is known of it.
        known: String,
        /// What it shows now.
        shown: String,
    },
    /// The server shows less than it has signed to this device before.
    #[error("the server does not show what it has confirmed: {0}")]
    PeerRolledBack(String),
    /// Nobody who is trusted vouches for the certificate of the server at this URL.
    #[error("the certificate of {url} is not trusted: {why}")]
    PeerUntrusted {
        /// Where the server should be.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS was wanted of what answers at this URL, and did not come to be.
    #[error("what answers at {url} does not speak TLS 1.3: {why}")]
    PeerNoTls {
        /// Where the server should be.
        url: String,
        /// What TLS says.
        why: String,
    },
    /// Our identity cannot sign or may no longer.
    #[error(transparent)]
    OwnIdentity(#[from] OwnIdentity),
    /// Our space failed.
    #[error("{message}")]
    OwnSpace {
        /// In what way.
        failure: SpaceFailure,
        /// What happened.
        message: String,
    },
    /// A defect of this program: a state that cannot be.
    #[error("{0}")]
    OwnDefect(String),
    /// The caller asked for what cannot be.
    #[error(transparent)]
    User(#[from] Misuse),
    /// A limit was crossed.
    #[error("limit {name} crossed: {limit}")]
    Limit {
        /// The limit's name in [`crate::Limits`].
        name: &'static str,
        /// Its value.
        limit: u64,
    },
    /// Tips kept moving under the commit.
    #[error("busy: tips moved under the commit {0} times; try again")]
    Busy(u32),
    /// The connection ended; what was committed stays, the rest is settled by the next sync.
    #[error("the connection ended before the saga did")]
    Cut,
    /// A turn or the whole saga took too long.
    #[error("timed out")]
    TimedOut,
    /// A newer connection of the same identity took over.
    #[error("a newer connection of the same identity took over")]
    Superseded,
    /// This side is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The caller stopped it.
    #[error("cancelled")]
    Cancelled,
}

impl SagaError {
    /// The peer broke a rule of the protocol.
    pub fn misbehaved(breach: Breach, detail: impl Into<String>) -> Self {
        Self::PeerMisbehaved { breach, detail: detail.into() }
    }

    /// A state that cannot be.
    pub fn defect(what: impl Into<String>) -> Self {
        Self::OwnDefect(what.into())
    }

    /// The row of the table ([`crate::codes`]) that tells this error; `None` for what a newer peer calls its refusal.
    pub fn row(&self) -> Option<Code> {
        Some(match self {
            Self::PeerMisbehaved { breach, .. } => breach.code(),
            Self::PeerIdentity(refusal) => refusal.row(),
            Self::PeerRefused { why: Refusal::Known(code), .. } => *code,
            Self::PeerRefused { why: Refusal::Other(_), .. } => return None,
            Self::PeerIncompatible(_) => Code::Incompatible,
            Self::PeerUnreachable { .. } => Code::Unreachable,
            Self::PeerNoServer(_) => Code::NoServer,
            Self::PeerChanged { .. } => Code::ServerChanged,
            Self::PeerRolledBack(_) => Code::RolledBack,
            Self::PeerUntrusted { .. } => Code::ServerUntrusted,
            Self::PeerNoTls { .. } => Code::NoTls,
            Self::OwnIdentity(why) => why.code(),
            Self::OwnSpace { failure, .. } => failure.code(),
            Self::OwnDefect(_) => Code::Internal,
            Self::User(misuse) => misuse.code(),
            Self::Limit { .. } => Code::Limit,
            Self::Busy(_) => Code::Busy,
            Self::Cut => Code::Cut,
            Self::TimedOut => Code::Timeout,
            Self::Superseded => Code::Superseded,
            Self::ShuttingDown => Code::Shutdown,
            Self::Cancelled => Code::Cancelled,
        })
    }

    /// The code that is printed at the edges: on the wire, over HTTP, in the command's error object.
    pub fn code(&self) -> &str {
        match self {
            Self::PeerIdentity(refusal) => refusal.code(),
            Self::PeerRefused { why, .. } => why.as_str(),
            error => error.row().unwrap_or(Code::Internal).as_str(),
        }
    }

    /// The HTTP status that tells this error.
    pub fn status(&self) -> u16 {
        match self {
            // Told by the same code as a frame of the peer's that does not hold, but it is ours.
            Self::OwnIdentity(why) if why.code() == Code::IdentityInvalid => Code::Internal.status(),
            error => error.row().unwrap_or(Code::Internal).status(),
        }
    }

    /// Whether proving identity failed, the peer's or ours; a receiver may refuse an identity after connecting, too.
    pub fn is_identity(&self) -> bool {
        match self {
            Self::PeerIdentity(_) | Self::PeerChanged { .. } | Self::PeerRolledBack(_) | Self::PeerUntrusted { .. } => {
                true
            }
            Self::PeerRefused { why: Refusal::Known(code), auth, .. } => match code.blame() {
                // Nothing is wrong with an identity that came at a bad time.
                Blame::Moment => false,
                blame => *auth || blame == Blame::Identity,
            },
            Self::PeerRefused { auth, .. } => *auth,
            Self::OwnIdentity(why) => why.code().blame() == Blame::Identity,
            _ => false,
        }
    }
}

impl From<IdentityRefusal> for SagaError {
    fn from(refusal: IdentityRefusal) -> Self {
        Self::PeerIdentity(refusal)
    }
}

impl From<KeystoneError> for SagaError {
    fn from(error: KeystoneError) -> Self {
        Self::OwnIdentity(OwnIdentity::Key(error))
    }
}

/// A rule of the protocol that a peer broke; [`Breach::code`] says what each one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the row of the same name in the table of codes")]
pub enum Breach {
    BadMessage,
    BadTurn,
    BadList,
    BadChunk,
    BadBlock(BlockError),
    BadDigest,
    BadNode,
    BadPeek,
    BadAnswer,
    OutOfTurn,
    OtherSession,
    PayloadKind,
    PayloadOutside,
    Unanswered,
    Unasked,
    NotCommitted,
    IdentityFrames,
    BadSignature,
}

impl Breach {
    /// Its row in the table.
    pub fn code(self) -> Code {
        match self {
            Self::BadMessage => Code::BadMessage,
            Self::BadTurn => Code::BadTurn,
            Self::BadList => Code::BadList,
            Self::BadChunk => Code::BadChunk,
            Self::BadBlock(_) => Code::BadBlock,
            Self::BadDigest => Code::BadDigest,
            Self::BadNode => Code::BadNode,
            Self::BadPeek => Code::BadPeek,
            Self::BadAnswer => Code::BadAnswer,
            Self::OutOfTurn => Code::OutOfTurn,
            Self::OtherSession => Code::OtherSession,
            Self::PayloadKind => Code::PayloadKind,
            Self::PayloadOutside => Code::PayloadOutside,
            Self::Unanswered => Code::Unanswered,
            Self::Unasked => Code::Unasked,
            Self::NotCommitted => Code::NotCommitted,
            Self::IdentityFrames => Code::IdentityFrames,
            Self::BadSignature => Code::BadSignature,
        }
    }
}

/// Why a receiver refuses an identity, a session or a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityRefusal {
    /// It came without identity.
    #[error("this receiver syncs with identities only")]
    Required,
    /// The policy does not allow it.
    #[error("identity {0} is not on this server's allow-list")]
    NotAllowed(Addr),
    /// Nobody granted it anything here.
    #[error("identity {0} was granted nothing on this server")]
    NotGranted(Addr),
    /// Its strategy binds nothing, and the policy asks for one that does.
    #[error(
        "identity {identity} signs with {strategy}, whose signatures bind nothing and can be put on something else by \
         whoever sees them"
    )]
    Strategy {
        /// The identity's timeline.
        identity: Addr,
        /// The strategy's name.
        strategy: String,
    },
    /// It was never registered here.
    #[error("no identity {0} here")]
    Unknown(Addr),
    /// It was revoked.
    #[error("identity {0} is revoked")]
    Revoked(Addr),
    /// It was seen signing two frames on one past.
    #[error("identity {identity} has signed two frames on one past, {past}: {}", join(.frames))]
    Forked {
        /// The identity's timeline.
        identity: Addr,
        /// The frame that both follow; empty when the evidence cannot be read.
        past: String,
        /// The frames that follow it.
        frames: Vec<Addr>,
    },
    /// A frame continues an older one than the newest here.
    #[error("the identity's newest frame here is {tip}")]
    Stale {
        /// The newest frame here.
        tip: Addr,
    },
    /// The owner of the space has dropped the frame.
    #[error("the owner of the space has dropped {0}")]
    Dropped(Addr),
    /// A frame does not hold.
    #[error("{detail}")]
    Invalid {
        /// The strict rule that it breaks first, when one can be named.
        rule: Option<Rule>,
        /// All that is wrong.
        detail: String,
    },
    /// A signature is missing or is no ibgib.
    #[error("{0}")]
    BadFrame(String),
    /// No such session identity was introduced here.
    #[error("no session identity {0} here")]
    SessionUnknown(Addr),
    /// A session identity connects once, on one connection.
    #[error("this session identity was used before, or on another connection")]
    SessionUsed,
    /// A session's genesis lacks what names it.
    #[error("the session's genesis does not say whom it belongs to")]
    SessionDetails,
    /// The session is for another space.
    #[error("the session was made for another server")]
    SessionAudience,
    /// The session could be taken over where its identity could not.
    #[error("the session's strategy is weaker than its identity's")]
    SessionStrategy,
    /// The session is another identity's.
    #[error("the session belongs to another identity")]
    SessionOther,
    /// The identity has not signed for this session.
    #[error("the identity's newest frame does not name this session")]
    SessionNotNamed,
}

fn join(frames: &[Addr]) -> String {
    frames.iter().map(Addr::as_str).collect::<Vec<_>>().join(" and ")
}

impl IdentityRefusal {
    /// A frame that breaks these rules.
    pub fn invalid(errors: &[ValidateError]) -> Self {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self::Invalid { rule: errors.first().map(|e| e.rule), detail: all.join("; ") }
    }

    /// Its row in the table.
    pub fn row(&self) -> Code {
        match self {
            Self::Required => Code::IdentityRequired,
            Self::NotAllowed(_) => Code::IdentityNotAllowed,
            Self::NotGranted(_) => Code::NotGranted,
            Self::Strategy { .. } => Code::IdentityStrategy,
            Self::Unknown(_) => Code::IdentityUnknown,
            Self::Revoked(_) => Code::IdentityRevoked,
            Self::Forked { .. } => Code::IdentityForked,
            Self::Stale { .. } => Code::IdentityStale,
            Self::Dropped(_) => Code::IdentityDropped,
            Self::Invalid { .. } => Code::IdentityInvalid,
            Self::BadFrame(_) => Code::BadFrame,
            Self::SessionUnknown(_) => Code::SessionUnknown,
            Self::SessionUsed => Code::SessionUsed,
            Self::SessionDetails => Code::SessionDetails,
            Self::SessionAudience => Code::SessionAudience,
            Self::SessionStrategy => Code::SessionStrategy,
            Self::SessionOther => Code::SessionOther,
            Self::SessionNotNamed => Code::SessionNotNamed,
        }
    }

    /// The code that is printed: the strict rule's name, where one is broken.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { rule: Some(rule), .. } => rule.as_str(),
            refusal => refusal.row().as_str(),
        }
    }
}

/// Why our own identity cannot sign, or may no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnIdentity {
    /// It is not in this space.
    #[error("no identity {0} in this space")]
    Unknown(Addr),
    /// It was revoked.
    #[error("identity {0} is revoked")]
    Revoked(Addr),
    /// It signed different frames in two places.
    #[error(
        "identity {0} has signed different frames in two places and can no longer be trusted; make a new one with \
         'ibgib identity new'"
    )]
    Forked(Addr),
    /// Another process or device moved it meanwhile.
    #[error("the identity was used by somebody else at the same time; try again")]
    Busy,
    /// No session identity was established on this connection.
    #[error("there is no session identity")]
    NoSession,
    /// A stored frame does not hold: a damaged or foreign store.
    #[error("the stored identity {identity} does not hold: {why}")]
    Damaged {
        /// The identity's timeline.
        identity: Addr,
        /// What is wrong.
        why: String,
    },
    /// The secret cannot be had.
    #[error("{0}")]
    Secret(String),
    /// It cannot be made, or cannot sign this.
    #[error(transparent)]
    Key(KeystoneError),
}

impl OwnIdentity {
    /// Its row in the table.
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown(_) => Code::IdentityUnknown,
            Self::Revoked(_) => Code::IdentityRevoked,
            Self::Forked(_) => Code::IdentityForked,
            Self::Busy => Code::IdentityBusy,
            Self::NoSession => Code::IdentityMissing,
            Self::Damaged { .. } => Code::IdentityInvalid,
            Self::Secret(_) => Code::IdentitySecret,
            Self::Key(error) => match error {
                KeystoneError::Revoked => Code::IdentityRevoked,
                KeystoneError::WrongSecret => Code::IdentityWrongSecret,
                KeystoneError::NoPool(_) => Code::IdentityNoPool,
                KeystoneError::Exhausted(_) => Code::IdentityExhausted,
                KeystoneError::UnknownDemand(_) => Code::IdentityUnknownDemand,
                KeystoneError::BindingExhausted => Code::BindingExhausted,
                KeystoneError::LeafNotReserved(_) => Code::IdentityLeafNotReserved,
                KeystoneError::Config(_) => Code::IdentityConfig,
                _ => Code::IdentityInvalid,
            },
        }
    }
}

/// How our own space failed. The kinds are those of `ibgib_spaces::SpaceError`, which this crate does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpaceFailure {
    /// A stored node does not have its address.
    Corrupt,
    /// A node that a graph needs is not there.
    Missing,
    /// A graph has more nodes than the limit.
    TooMany,
    /// The store's file is damaged.
    Damaged,
    /// No room on the disk.
    Full,
    /// Another process has the store open.
    Locked,
    /// The file system refuses.
    Permission,
    /// The path does not hold a store.
    NoStore,
    /// It cannot be reached now.
    Unavailable,
    /// Reading or writing failed.
    Io,
    /// The space was closed.
    Closed,
    /// It does not take a commit.
    Commit,
    /// A node staged for this saga is gone.
    Staging,
}

impl SpaceFailure {
    /// Its row in the table.
    pub fn code(self) -> Code {
        match self {
            Self::Corrupt => Code::Corrupt,
            Self::Missing => Code::Missing,
            Self::TooMany => Code::TooMany,
            Self::Damaged => Code::Damaged,
            Self::Full => Code::DiskFull,
            Self::Locked => Code::Locked,
            Self::Permission => Code::Permission,
            Self::NoStore => Code::NoStore,
            Self::Unavailable => Code::Busy,
            Self::Io => Code::Io,
            Self::Closed => Code::Closed,
            Self::Commit => Code::Commit,
            Self::Staging => Code::Staging,
        }
    }
}

/// What a caller asked for that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The text is no URL of a server.
    #[error("{0:?} is not a URL like https://HOST:PORT or http://HOST:PORT")]
    Url(String),
    /// Keystones and transcripts cannot be synced by name.
    #[error("{addr} belongs to a {kind} timeline, which moves by its own rules")]
    NotLiving {
        /// What was asked for.
        addr: Addr,
        /// The kind of its timeline.
        kind: String,
    },
    /// A connection is opened once.
    #[error("this connection was opened before")]
    AlreadyConnected,
    /// Only an open and idle connection takes a saga or a glance.
    #[error("a saga or a glance needs an open and idle connection")]
    NotIdle,
}

impl Misuse {
    /// Its row in the table.
    pub fn code(&self) -> Code {
        match self {
            Self::Url(_) => Code::Url,
            Self::NotLiving { .. } => Code::NotLiving,
            Self::AlreadyConnected => Code::AlreadyConnected,
            Self::NotIdle => Code::NotIdle,
        }
    }
}
