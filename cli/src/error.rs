//! Failures, as scripts and people see them.

use ibgib_folder::FolderError;
use ibgib_saga::{Code, Misuse, Refusal, SagaError, SpaceFailure};
use ibgib_server::ServeError;
use ibgib_spaces::settle::AdmitError;
use ibgib_spaces::{BundleError, CommitError, SpaceError};
use std::io;
use std::path::Path;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    /// Done, with new conflicts or refused paths.
    Partly = 3,
    Integrity = 4,
    NotFound = 5,
    Locked = 6,
    Identity = 7,
    Peer = 8,
    Interrupted = 130,
}

/// A failure: what scripts read, and what helps people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) message: String,
    /// The thing that it is about.
    pub(crate) subject: Option<String>,
    /// The way out.
    pub(crate) hint: Option<String>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), subject: None, hint: None }
    }

    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, code, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    pub(crate) fn integrity(code: &str, message: impl Into<String>) -> Self {
        Self::new(Exit::Integrity, code, message)
    }

    pub(crate) fn not_found(what: &str, subject: impl Into<String>) -> Self {
        let subject = subject.into();
        Self::new(Exit::NotFound, "not_found", format!("{what} {subject} is not here")).about(subject)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted", "interrupted; everything stored so far is safe")
    }

    pub(crate) fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure of the system at `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let (exit, code) = match error.kind() {
            io::ErrorKind::NotFound => (Exit::NotFound, "not_found"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (Exit::Failed, "permission"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (Exit::Failed, "disk_full"),
            _ => (Exit::Failed, "io"),
        };
        Self::new(exit, code, format!("{}: {error}", path.display())).about(path.display().to_string())
    }
}

impl From<SpaceError> for CliError {
    fn from(error: SpaceError) -> Self {
        let exit = match &error {
            SpaceError::Corrupt { .. } | SpaceError::Missing { .. } | SpaceError::Damaged(_) => Exit::Integrity,
            SpaceError::NotFound(_) => Exit::NotFound,
            SpaceError::Locked(_) => Exit::Locked,
            _ => Exit::Failed,
        };
        let out = Self::new(exit, error.code(), error.to_string());
        match error {
            SpaceError::Corrupt { addr, .. } => {
                out.about(addr).hint("restore the store from a backup, or clone again from the server")
            }
            SpaceError::Missing { mut path } => out.about(path.pop().unwrap_or_default()),
            SpaceError::Locked(path) => out.about(path).hint("wait until the other process is done, or stop it"),
            SpaceError::Full(path) => out.about(path).hint("make room and run the command again; nothing was lost"),
            SpaceError::Damaged(path) => {
                out.about(path).hint("restore the store from a backup, or move it away and clone again")
            }
            SpaceError::NotFound(path) | SpaceError::Permission(path) | SpaceError::Io(path) => out.about(path),
            _ => out,
        }
    }
}

impl From<CommitError> for CliError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Space(error) => error.into(),
            CommitError::Missing { ref addr, .. } => {
                let subject = addr.to_string();
                Self::integrity("missing", error.to_string()).about(subject)
            }
            error => Self::failed("commit", error.to_string()),
        }
    }
}

impl From<AdmitError> for CliError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Commit(error) => error.into(),
            AdmitError::History(error) => Self::integrity("history", error.to_string()),
            error => Self::failed("busy", error.to_string()),
        }
    }
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Damaged { .. } => Self::integrity("damaged_bundle", error.to_string())
                .hint("nothing was imported; export or copy the bundle again"),
            BundleError::Incomplete { ref addr, .. } => {
                let subject = addr.to_string();
                Self::integrity("missing", error.to_string()).about(subject)
            }
            BundleError::Space(error) => error.into(),
            BundleError::Commit(error) => error.into(),
            BundleError::Io(error) => Self::io(Path::new("bundle"), &error),
            error => Self::failed("busy", error.to_string()),
        }
    }
}

impl From<FolderError> for CliError {
    fn from(error: FolderError) -> Self {
        let text = error.to_string();
        match error {
            FolderError::Space(error) => error.into(),
            FolderError::Commit(error) => error.into(),
            FolderError::Io { path, source } => Self::io(&path, &source),
            FolderError::Busy { .. } => Self::failed("busy", text).hint("run the command again"),
            FolderError::Unbound => Self::new(Exit::NotFound, "no_folder", "this device tracks no folder yet")
                .hint("run 'ibgib sync' to fetch the folder, or 'ibgib init' elsewhere to start one"),
            FolderError::Bound(folder) => Self::failed("bound", text).about(folder.as_str()),
            FolderError::NotAFolder(addr) => Self::usage(text).about(addr.as_str()),
            FolderError::Unsaved(paths) => Self::failed("unsaved", text)
                .about(paths.join(", "))
                .hint("run 'ibgib snapshot' first, or use --force to overwrite"),
            FolderError::NoEntry(path) => {
                Self::new(Exit::NotFound, "no_entry", text).about(path).hint("'ibgib status' lists what is tracked")
            }
            FolderError::OtherTimeline { addr, .. } => Self::usage(text).about(addr.as_str()),
            FolderError::NotFound(addr) => Self::not_found("node", addr.as_str()),
            FolderError::BadContent { addr, .. } => Self::integrity("bad_content", text).about(addr.as_str()),
            FolderError::NothingToUndo => Self::failed("nothing_to_undo", text),
            FolderError::NoConflict(addr) => Self::new(Exit::NotFound, "no_conflict", text)
                .about(addr.as_str())
                .hint("'ibgib conflicts' lists the open ones; lines that were edited since can only be kept (--keep)"),
            _ => Self::failed("folder", text),
        }
    }
}

impl From<SagaError> for CliError {
    fn from(error: SagaError) -> Self {
        let exit = match &error {
            SagaError::Cancelled => Exit::Interrupted,
            SagaError::PeerUnreachable { .. } | SagaError::Superseded => Exit::Peer,
            // Also before the connection is open: nothing is wrong with the identity then.
            SagaError::PeerRefused {
                why: Refusal::Known(Code::Superseded | Code::Shutdown | Code::TooManyConnections),
                ..
            } => Exit::Peer,
            _ if error.is_identity() => Exit::Identity,
            SagaError::Cut | SagaError::TimedOut => Exit::Peer,
            SagaError::User(Misuse::Url(_)) => Exit::Usage,
            SagaError::PeerMisbehaved { .. } => Exit::Integrity,
            SagaError::OwnSpace { failure, .. } => match failure {
                SpaceFailure::Corrupt | SpaceFailure::Missing | SpaceFailure::Damaged => Exit::Integrity,
                SpaceFailure::Locked => Exit::Locked,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        };
        let hint = match error.row() {
            Some(Code::Unreachable) => {
                Some("is the server running, and is the URL right? Nothing was lost; sync again later")
            }
            Some(Code::NoServer) => Some("is the URL right, and does a proxy in front pass on /api/v1?"),
            Some(Code::Cut | Code::Timeout | Code::Shutdown) => {
                Some("what was committed stays; run 'ibgib sync' again to go on")
            }
            Some(Code::Superseded) => Some("the same identity synced from elsewhere at the same time; sync again"),
            Some(Code::IdentityNotAllowed) => {
                Some("ask whoever runs the server to add this identity to its allow-list")
            }
            Some(Code::IdentityWrongSecret) => Some("the secret is not the one that this identity was made with"),
            Some(Code::IdentityRevoked | Code::IdentityForked) => Some("make a new identity with 'ibgib identity new'"),
            Some(Code::Busy) => Some("others were syncing the same timelines; run the command again"),
            Some(Code::DiskFull) => Some("make room and run the command again; nothing was lost"),
            _ => None,
        };
        let out = Self::new(exit, error.code(), error.to_string());
        match hint {
            Some(hint) => out.hint(hint),
            None => out,
        }
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        let exit = if matches!(error, ServeError::PlainText(_)) { Exit::Usage } else { Exit::Failed };
        let subject = match &error {
            ServeError::PortInUse(a) | ServeError::Permission(a) | ServeError::PlainText(a) => a.to_string(),
            ServeError::Listen(a, _) => a.to_string(),
            _ => String::new(),
        };
        let hint = match &error {
            ServeError::PortInUse(_) => "stop what listens there, or choose another port (0 takes a free one)",
            ServeError::Permission(_) => "ports below 1024 need special rights",
            ServeError::PlainText(_) => "use --allow-plain-text inside a tunnel or in a network that you trust",
            _ => "choose another address with --listen",
        };
        Self::new(exit, error.code(), error.to_string()).about(subject).hint(hint)
    }
}
