//! What can go wrong with a folder.

use ibgib::timeline::HistoryError;
use ibgib::transform::TransformError;
use ibgib::{Addr, VerifyError};
use ibgib_spaces::{CommitError, SpaceError};
use std::io;
use std::path::{Path, PathBuf};

/// Why an operation on a folder did not happen. Paths are spelled as entries spell them, without the leading slash.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The space failed.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A commit was refused for a reason that trying again does not change.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Others kept moving the same tips; trying again later is safe.
    #[error("the timelines kept moving; gave up after {tries} tries")]
    Busy {
        /// How often the commit was tried.
        tries: u32,
    },
    /// A history could not be read or merged.
    #[error("history: {0}")]
    History(#[from] HistoryError),
    /// A frame could not be made.
    #[error("cannot make a frame: {0}")]
    Transform(#[from] TransformError),
    /// A constant could not be made.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Reading or writing the folder failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The path as given to the system.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What [`crate::Folder::read`] handed bytes to did not take them.
    #[error("the bytes read could not be handed on: {0}")]
    Sink(io::Error),
    /// The space does not know which folder timeline this is.
    #[error("the space is bound to no folder timeline")]
    Unbound,
    /// The space already belongs to a folder timeline.
    #[error("the space is already bound to the folder {0}")]
    Bound(Addr),
    /// The address is not that of a folder's first frame.
    #[error("{0} is not the first frame of a folder timeline")]
    NotAFolder(Addr),
    /// Work that no snapshot holds would be overwritten. Nothing was done.
    #[error("{} file(s) hold work that is in no snapshot: {}", .0.len(), .0.join(", "))]
    Unsaved(Vec<String>),
    /// No entry has this path, or lies below it.
    #[error("{0}: no such entry")]
    NoEntry(String),
    /// The address is no frame of this file's timeline.
    #[error("{addr} is no frame of the timeline of {path}")]
    OtherTimeline {
        /// The file.
        path: String,
        /// The address given.
        addr: Addr,
    },
    /// A node is not in the space.
    #[error("{0} is not in the space")]
    NotFound(Addr),
    /// A node that should hold content, entries or a conflict does not.
    #[error("{addr}: {why}")]
    BadContent {
        /// The node.
        addr: Addr,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing that was done here is left to undo.
    #[error("there is nothing to undo")]
    NothingToUndo,
    /// Nothing was undone since anything was done.
    #[error("there is nothing to do again")]
    NothingToRedo,
    /// The frame has no such conflict.
    #[error("{0} is not an open conflict")]
    NoConflict(Addr),
}

impl FolderError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// What is wrong with a frame's content, if that is what failed: any peer may have made the frame, so this is no
    /// failure of the space, and other files can still be worked on.
    pub(crate) fn bad_frame(&self) -> Option<String> {
        match self {
            Self::BadContent { why, .. } => Some(why.clone()),
            Self::NotFound(addr) => Some(format!("its content {addr} is not here")),
            _ => None,
        }
    }

    pub(crate) fn bad_content(addr: &Addr, why: &str) -> Self {
        Self::BadContent { addr: addr.clone(), why: why.to_owned() }
    }
}
