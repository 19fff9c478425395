//! The codes under which errors cross the wire and HTTP, in one table: the code, its HTTP status, whose fault it is,
//! what it means.
//!
//! Nothing decides by a code's text. Errors are enums ([`crate::SagaError`]); their codes are printed where something
//! leaves the program (the wire's error message, HTTP, the command's JSON), and a peer's code is read once, by
//! [`Refusal::read`]. `docs/protocol.md` and the OpenAPI document of the server hold the same table; a test compares
//! them.
//!
//! An ibgib or a keystone frame that breaks a strict rule is told by the rule's name instead
//! (`ibgib::VerifyError::rule`, `ibgib_keystone::attacks`), with the status of [`Code::IdentityInvalid`].

use std::fmt;

/// Whose fault it is, seen from whoever tells the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The other side sent or asked for what it may not.
    Peer,
    /// An identity or a session does not hold, or may not.
    Identity,
    /// The side that tells it: its store, its disk, a defect.
    Own,
    /// A limit was crossed.
    Limit,
    /// The line, or the moment: nobody did anything wrong, and trying again can help.
    Moment,
    /// Whoever asked for it on this machine.
    User,
}

impl Blame {
    /// A word for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Identity => "identity",
            Self::Own => "own",
            Self::Limit => "limit",
            Self::Moment => "moment",
            Self::User => "user",
        }
    }
}

macro_rules! codes {
    ($($name:ident = $text:literal, $status:literal, $blame:ident, $meaning:literal;)*) => {
        /// A code, one row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is printed.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whose fault it is.
            pub fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)* }
            }

            /// What it means, in a line.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    BadMessage = "bad_message", 400, Peer, "a control message that cannot be read or lacks a member";
    BadTurn = "bad_turn", 400, Peer, "a turn that does not follow the turn before";
    BadList = "bad_list", 400, Peer, "a line of a turn's list that may not stand there";
    BadChunk = "bad_chunk", 400, Peer, "a chunk that cannot be read, or more or less than announced";
    BadBlock = "bad_block", 400, Peer, "a block of a turn's stream that cannot be read";
    BadDigest = "bad_digest", 400, Peer, "a turn's stream is not what its message announced";
    BadNode = "bad_node", 400, Peer, "a node that does not hold";
    BadPeek = "bad_peek", 400, Peer, "a peek or its answer that cannot be read";
    BadAnswer = "bad_answer", 400, Peer, "an HTTP answer that cannot be read";
    OutOfTurn = "out_of_turn", 400, Peer, "a message that may not come now";
    OtherSession = "other_session", 400, Peer, "a turn that names another session identity";
    PayloadKind = "payload_kind", 400, Peer, "a keystone, a transcript or a row of a door among the nodes";
    PayloadOutside = "payload_outside", 400, Peer, "a node that belongs to nothing named";
    Unanswered = "unanswered", 400, Peer, "a timeline without an answer";
    Unasked = "unasked", 400, Peer, "an answer for a timeline that was not asked, or a second one";
    NotCommitted = "not_committed", 400, Peer, "a last turn answered without a commit";
    IdentityFrames = "identity_frames", 400, Peer, "the receiver's frames of our identity do not hold";
    BadSignature = "bad_signature", 400, Peer, "the receiver's signature of what it says does not hold";
    TlsRequired = "tls_required", 400, Peer, "the server speaks TLS, and plain text came";
    Incompatible = "incompatible", 500, Peer, "another version of the protocol";

    ServerChanged = "server_changed", 500, Identity, "the server is not the one that is known at its URL";
    RolledBack = "rolled_back", 500, Identity, "the server does not show what it has confirmed to this device";
    ServerUntrusted = "server_untrusted", 500, Identity, "nobody trusted vouches for the server's certificate";
    IdentityRequired = "identity_required", 422, Identity, "the receiver syncs with identities only";
    IdentityNotAllowed = "identity_not_allowed", 403, Identity, "the identity is not on the allow-list";
    NotGranted = "not_granted", 403, Identity, "the identity, or who shows a secret, was not granted it";
    IdentityUnknown = "identity_unknown", 404, Identity, "the identity is not here";
    IdentityRevoked = "identity_revoked", 403, Identity, "the identity is revoked";
    IdentityForked = "identity_forked", 403, Identity, "the identity has signed different frames on one past";
    IdentityStale = "identity_stale", 409, Identity, "the identity has newer frames here; `tip` is the newest";
    IdentityDropped = "identity_dropped", 403, Identity, "the owner of the space has dropped a frame of the identity";
    IdentityStrategy = "identity_strategy", 403, Identity, "the identity's signatures do not bind what they sign, which the server asks for";
    IdentityInvalid = "identity_invalid", 422, Identity, "a frame of the identity does not hold";
    IdentityBusy = "identity_busy", 409, Identity, "the identity was used by somebody else at the same time";
    IdentityMissing = "identity_missing", 500, Identity, "no session identity was established";
    IdentitySecret = "identity_secret", 500, Identity, "the identity's secret cannot be had";
    IdentityWrongSecret = "identity_wrong_secret", 500, Identity, "the secret does not belong to the identity";
    IdentityNoPool = "identity_no_pool", 500, Identity, "no pool of the identity may sign this";
    IdentityExhausted = "identity_exhausted", 500, Identity, "the identity's pool is used up";
    IdentityUnknownDemand = "identity_unknown_demand", 500, Identity, "a demanded challenge is not in the pool";
    IdentityLeafNotReserved = "identity_leaf_not_reserved", 500, Identity, "no leaf was set aside for the signature";
    IdentityConfig = "identity_config", 500, Identity, "pools that cannot make an identity";
    BadFrame = "bad_frame", 422, Identity, "a signature that is no ibgib, or missing";
    SessionUnknown = "session_unknown", 422, Identity, "no such session identity here";
    SessionUsed = "session_used", 422, Identity, "the session identity was used before";
    SessionDetails = "session_details", 422, Identity, "the session does not say whom it belongs to";
    SessionAudience = "session_audience", 422, Identity, "the session was made for another server";
    SessionStrategy = "session_strategy", 422, Identity, "the session's strategy is weaker than its identity's";
    SessionOther = "session_other", 422, Identity, "the session belongs to another identity";
    SessionNotNamed = "session_not_named", 422, Identity, "the identity's newest frame does not name the session";

    BadRequest = "bad_request", 400, Peer, "a request that cannot be read";
    BadJson = "bad_json", 400, Peer, "a body that is no JSON";
    BadBody = "bad_body", 400, Peer, "a body that lacks a member";
    BadQuery = "bad_query", 400, Peer, "a query that lacks something or cannot be read";
    BadAddress = "bad_address", 400, Peer, "no address of an ibgib";
    BadFaults = "bad_faults", 400, Peer, "faults that cannot be set";
    NotReady = "not_ready", 409, Peer, "a row's steps are pressed in order";
    UnderWay = "under_way", 409, Peer, "a step of the row is under way";
    ConflictSettled = "conflict_settled", 409, Peer, "the conflict is settled already";
    ConflictMoved = "conflict_moved", 409, Peer, "what the merge left was edited since; only keeping it is possible";
    Token = "token", 401, Peer, "without the token of the developer tools";
    Host = "host", 403, Peer, "the server was called by another name than its own";
    Origin = "origin", 403, Peer, "a page of another origin called the developer tools";
    ForeignOrigin = "foreign_origin", 403, Peer, "a page of another origin may not use the server";
    ReadingNeedsIdentity = "reading_needs_identity", 403, Peer, "data is served to identities, and to programs that were given a secret";
    NotFound = "not_found", 404, Peer, "not here";
    MethodNotAllowed = "method_not_allowed", 405, Peer, "the path takes another method";
    BodyTooSlow = "body_too_slow", 408, Limit, "the body took too long";
    BodyTooLarge = "body_too_large", 413, Limit, "the body is larger than its limit";
    UpgradeRequired = "upgrade_required", 426, Peer, "the path takes WebSocket handshakes only";
    TooManyRequests = "too_many_requests", 429, Moment, "as much as one address may ask for in a time";
    TooManyConnections = "too_many_connections", 503, Moment, "as many connections as allowed are open";

    Starting = "starting", 503, Moment, "the server does not listen yet";

    Limit = "limit", 413, Limit, "a limit was crossed; the message names it";
    Busy = "busy", 503, Moment, "tips kept moving under the commit, or the database of the space is away";
    Cut = "cut", 500, Moment, "the connection ended";
    Timeout = "timeout", 500, Moment, "a wait took too long";
    Superseded = "superseded", 500, Moment, "a newer connection of the same identity took over";
    Shutdown = "shutdown", 500, Moment, "the server is shutting down";
    Cancelled = "cancelled", 500, Moment, "the caller stopped it";
    Unreachable = "unreachable", 500, Moment, "the server is not reachable";
    NoServer = "no_server", 500, Peer, "something else than a space server answers";
    NoTls = "no_tls", 500, Peer, "what answers speaks no TLS";

    DiskFull = "disk_full", 507, Own, "no room on the disk";
    Corrupt = "corrupt", 500, Own, "a stored node does not have its address";
    Missing = "missing", 500, Own, "a node that a graph needs is not there";
    TooMany = "too_many", 500, Own, "a graph has more nodes than the limit";
    Damaged = "damaged", 500, Own, "the store's file is damaged";
    Locked = "locked", 500, Own, "another process has the store open";
    Permission = "permission", 500, Own, "the file system refuses";
    NoStore = "no_store", 500, Own, "the path does not hold a store";
    Io = "io", 500, Own, "reading or writing failed";
    Closed = "closed", 500, Own, "the space was closed";
    Commit = "commit", 500, Own, "the space does not take a commit";
    Staging = "staging", 500, Own, "a staged node is gone";
    BindingExhausted = "binding_exhausted", 500, Own, "no challenge is left that binds any target";
    Internal = "internal", 500, Own, "a defect of the program";

    Url = "url", 500, User, "no URL of a server";
    NotLiving = "not_living", 500, User, "keystones and transcripts cannot be synced by name";
    AlreadyConnected = "already_connected", 500, User, "the connection was opened before";
    NotIdle = "not_idle", 500, User, "the connection is not open and idle";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a peer calls its refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A code of the table.
    Known(Code),
    /// Anything else: the name of a strict rule, or a code of a newer version.
    Other(String),
}

impl Refusal {
    /// Reads a peer's code: the one place where a code's text is looked at.
    pub fn read(code: &str) -> Self {
        let known = Code::ALL.iter().find(|known| known.as_str() == code);
        known.map_or_else(|| Self::Other(code.to_owned()), |known| Self::Known(*known))
    }

    /// The code as it was told.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(code) => code.as_str(),
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
