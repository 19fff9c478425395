//! Why a saga ended early, told by whose fault it is.

/// Why a saga or a connection ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SagaError {
    /// The peer sent something that the protocol forbids.
    #[error("the peer broke the protocol ({rule}): {detail}")]
    PeerMisbehaved {
        /// The rule's stable name.
        rule: &'static str,
        /// What was wrong.
        detail: String,
    },
    /// The peer's proof of identity does not hold.
    #[error("identity refused ({rule}): {detail}")]
    Identity {
        /// The rule's stable name.
        rule: &'static str,
        /// What was wrong.
        detail: String,
    },
    /// The peer refused and said why.
    #[error("the peer refused ({code}): {message}")]
    PeerRefused {
        /// The peer's error code.
        code: String,
        /// The peer's words.
        message: String,
        /// Refused as `auth_fail`, before or while proving identity.
        auth: bool,
    },
    /// The peer speaks another version, or demands what we lack.
    #[error("the peer is incompatible: {0}")]
    PeerIncompatible(String),
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
    /// Our own side could not go on: space, identity or planning.
    #[error("{message}")]
    Local {
        /// Stable code.
        code: &'static str,
        /// What happened.
        message: String,
    },
    /// The caller stopped it.
    #[error("cancelled")]
    Cancelled,
}

impl SagaError {
    pub(crate) fn misbehaved(rule: &'static str, detail: impl Into<String>) -> Self {
        Self::PeerMisbehaved { rule, detail: detail.into() }
    }

    /// A local failure under a stable code.
    pub fn local(code: &'static str, message: impl Into<String>) -> Self {
        Self::Local { code, message: message.into() }
    }

    /// The code that goes over the wire and into the CLI's error object.
    pub fn code(&self) -> &str {
        match self {
            Self::PeerMisbehaved { rule, .. } | Self::Identity { rule, .. } => rule,
            Self::PeerRefused { code, .. } => code,
            Self::PeerIncompatible(_) => "incompatible",
            Self::Limit { .. } => "limit",
            Self::Busy(_) => "busy",
            Self::Cut => "cut",
            Self::TimedOut => "timeout",
            Self::Local { code, .. } => code,
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether proving identity failed.
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Identity { .. } | Self::PeerRefused { auth: true, .. })
            || matches!(self, Self::Local { code, .. } if code.starts_with("identity"))
    }
}
