//! The trait, its types and its promises.

use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use std::collections::HashSet;
use std::fmt;

/// What a timeline is, told by its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A timeline of people's or programs' data; merged when it diverges (if its frames have dna).
    Living,
    /// An identity: only validated steps move it, and it never merges.
    Keystone,
    /// The transcript of a saga.
    Saga,
}

impl Kind {
    /// The kind of the timeline that `tjp` starts: the first word of its ib is `keystone`, `saga`, or anything else.
    pub fn of(tjp: &Addr) -> Self {
        match tjp.ib().split(' ').next() {
            Some("keystone") => Self::Keystone,
            Some("saga") => Self::Saga,
            _ => Self::Living,
        }
    }

    /// `living`, `keystone` or `saga`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Living => "living",
            Self::Keystone => "keystone",
            Self::Saga => "saga",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The newest frame of a timeline in one space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The timeline: the address of its first frame.
    pub tjp: Addr,
    /// The newest frame.
    pub addr: Addr,
    /// The newest frame's number, when it has one.
    pub n: Option<u64>,
    /// What kind of timeline.
    pub kind: Kind,
}

/// Proof that a tip may move; made only by the ancestry check or by a validated keystone step.
#[derive(Clone, Debug)]
pub enum Advance {
    /// From the ancestry check: living timelines and transcripts.
    Timeline(ibgib::timeline::Advance),
    /// From validated keystone steps.
    Keystone(ibgib_keystone::Step),
}

impl Advance {
    /// The timeline.
    pub fn tjp(&self) -> &Addr {
        match self {
            Self::Timeline(a) => a.tjp(),
            Self::Keystone(s) => s.tjp(),
        }
    }

    /// The tip that the proof starts from; `None` for a timeline new to the space.
    pub fn from(&self) -> Option<&Addr> {
        match self {
            Self::Timeline(a) => a.from(),
            Self::Keystone(s) => s.from(),
        }
    }

    /// The tip that the proof leads to.
    pub fn to(&self) -> &Addr {
        match self {
            Self::Timeline(a) => a.to(),
            Self::Keystone(s) => s.to(),
        }
    }
}

/// One tip's move: compare-and-swap from `advance.from()` to `advance.to()`.
#[derive(Clone, Debug)]
pub struct TipMove {
    /// The proof, which names timeline, expected and new tip.
    pub advance: Advance,
}

impl From<Advance> for TipMove {
    fn from(advance: Advance) -> Self {
        Self { advance }
    }
}

/// What one commit publishes, all or none.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Nodes to add; those already there are no error.
    pub nodes: Vec<Verified<IbGib>>,
    /// Nodes to publish that were staged before: the owner they were staged for, and which.
    pub publish: Option<(String, Vec<Addr>)>,
    /// Tips to move.
    pub tips: Vec<TipMove>,
    /// Local records to set (`Some`) or drop (`None`), in the same atomic write. Never synced.
    pub records: Vec<(String, Option<Vec<u8>>)>,
}

/// Why a space could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// What is stored under this address does not have it.
    #[error("the stored node {addr} is corrupt: {why}")]
    Corrupt {
        /// The address asked for.
        addr: String,
        /// What is wrong.
        why: String,
    },
    /// A node that a graph needs is not there; the path of addresses that leads to it, ending with it.
    #[error("a node is missing: {}", .path.join(" -> "))]
    Missing {
        /// From the start to the missing address.
        path: Vec<String>,
    },
    /// A graph has more nodes than the limit given.
    #[error("the graph has more than {0} nodes")]
    TooMany(usize),
    /// The store's file itself is damaged.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// No room on the disk.
    #[error("no room left on the disk: {0}")]
    Full(String),
    /// Another process has the store open.
    #[error("the store is in use by another process: {0}")]
    Locked(String),
    /// The file system refuses.
    #[error("no permission: {0}")]
    Permission(String),
    /// The path does not hold a store.
    #[error("no store at {0}")]
    NotFound(String),
    /// Reading or writing failed.
    #[error("store I/O failed: {0}")]
    Io(String),
    /// The space was closed.
    #[error("the space is closed")]
    Closed,
}

impl SpaceError {
    /// The code for scripts and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "corrupt",
            Self::Missing { .. } => "missing",
            Self::TooMany(_) => "too_many",
            Self::Damaged(_) => "damaged",
            Self::Full(_) => "disk_full",
            Self::Locked(_) => "locked",
            Self::Permission(_) => "permission",
            Self::NotFound(_) => "no_store",
            Self::Io(_) => "io",
            Self::Closed => "closed",
        }
    }
}

/// Why a commit did not happen; nothing of it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A relation of a new node leads to a node that is neither in the batch nor committed.
    #[error("{from} relates to {addr}, which is neither here nor in the batch")]
    Missing {
        /// The node that is not there.
        addr: Addr,
        /// The node that relates to it.
        from: Addr,
    },
    /// Tips are not where the proofs start; each timeline with the tip it has now.
    #[error("{} tip(s) moved meanwhile", .0.len())]
    TipsMoved(Vec<(Addr, Option<Addr>)>),
    /// The proof does not fit the timeline: a keystone moved without a validated step, two moves of one timeline,
    /// or a tip whose node is not there.
    #[error("tip of {tjp} may not move: {why}")]
    Refused {
        /// The timeline.
        tjp: Addr,
        /// Why not.
        why: &'static str,
    },
    /// The space failed.
    #[error(transparent)]
    Space(#[from] SpaceError),
}

/// What changed since a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The newest revision this answer covers.
    pub revision: u64,
    /// Tips that moved, each at its present value.
    pub tips: Vec<Tip>,
    /// The space no longer knows what changed since then: list the tips again.
    pub lagged: bool,
}

/// Which relations [`Space::reach`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// All of them: the dependency graph.
    All,
    /// All of them, and from every living timeline met on to its tip: the live graph. Keystone and saga timelines
    /// are not followed.
    Live,
    /// Only `past` and `graftorphan`: a timeline's history.
    History,
}

/// One entry of [`Space::scan`].
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Where to continue.
    pub key: [u8; 32],
    /// The node, or what is wrong with what is stored there.
    pub node: Result<Verified<IbGib>, SpaceError>,
}

/// Where ibgibs rest. Absence is `None`, never an error; an error is a failure. Primitives are never stored and
/// always absent.
///
/// Promises, each checked by the contract suite:
/// 1. **Atomic and durable**: a commit happens whole or not at all, and is durable when it returns.
/// 2. **Closed**: having a committed node means having its whole graph; a tip's graph is there whenever the tip is
///    seen. Staged nodes do not count and are not seen by `get`, `has`, `reach` or `scan`.
/// 3. **Compare-and-swap**: a tip moves only from the value the proof starts at; of racing writers one wins, the
///    others learn the present value.
/// 4. **Checked**: what is read is re-hashed; damage is an error that names the address.
/// 5. **Idempotent**: adding a node again changes nothing.
#[async_trait]
pub trait Space: fmt::Debug + Send + Sync + 'static {
    /// The space's own id: 32 random bytes in lowercase hex, made with the store.
    fn id(&self) -> &str;

    /// The committed nodes at `addrs`, in order.
    async fn get(&self, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError>;

    /// Whether each of `addrs` is committed.
    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError>;

    /// How many nodes are committed.
    async fn count(&self) -> Result<u64, SpaceError>;

    /// The tip of a timeline.
    async fn tip(&self, tjp: &Addr) -> Result<Option<Tip>, SpaceError>;

    /// Tips of one kind, or all, sorted by the text of their tjp address.
    async fn tips(&self, kind: Option<Kind>) -> Result<Vec<Tip>, SpaceError>;

    /// Publishes a commit and answers its revision.
    async fn commit(&self, commit: Commit) -> Result<u64, CommitError>;

    /// The newest revision.
    async fn revision(&self) -> Result<u64, SpaceError>;

    /// Tips that moved after revision `since`.
    async fn changes(&self, since: u64) -> Result<Changes, SpaceError>;

    /// Waits until the revision is greater than `since`; answers it.
    async fn changed(&self, since: u64) -> Result<u64, SpaceError>;

    /// Keeps nodes apart for `owner` until a commit publishes them. Durable at the latest with the next commit.
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError>;

    /// Nodes staged for `owner` at `addrs`, in order.
    async fn staged(&self, owner: &str, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError>;

    /// Addresses staged for `owner`.
    async fn staged_addrs(&self, owner: &str) -> Result<Vec<Addr>, SpaceError>;

    /// Forgets what is staged for `owner`.
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError>;

    /// A local record.
    async fn record(&self, key: &str) -> Result<Option<Vec<u8>>, SpaceError>;

    /// Local records whose key starts with `prefix`, sorted by key.
    async fn records(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, SpaceError>;

    /// Up to `limit` committed nodes after `after`, in key order, re-hashed.
    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError>;

    /// Addresses reachable from `starts`, dependencies before dependents; primitives and everything at or below
    /// `stop` are left out. With [`Follow::History`] the nearest `limit` frames are answered, newest first; with the
    /// others more than `limit` nodes is an error.
    ///
    /// # Errors
    /// [`SpaceError::Missing`] naming the path to a node that is not there; [`SpaceError::TooMany`].
    async fn reach(
        &self,
        starts: &[Addr],
        follow: Follow,
        stop: &HashSet<Addr>,
        limit: usize,
    ) -> Result<Vec<Addr>, SpaceError>;
}
