//! What can go wrong in a space, told by what the caller can do about it.

use ibgib::Addr;

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
    /// What should say where a store is does not.
    #[error("{url} does not name a database: {why}")]
    Address {
        /// It, without what is secret in it.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The store was written by a newer program, in a way that this one does not know.
    #[error("the store has version {found} of its schema, this program knows versions up to {known}")]
    Newer {
        /// The store's version.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// The store cannot be reached now. Trying again later helps.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// Reading or writing failed.
    #[error("store I/O failed: {0}")]
    Io(String),
    /// The space was closed.
    #[error("the space is closed")]
    Closed,
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
    /// Local records are not as [`Commit::expect`](crate::Commit::expect) says; each with the value it has now.
    #[error("{} record(s) changed meanwhile", .0.len())]
    RecordsChanged(Vec<(String, Option<Vec<u8>>)>),
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
