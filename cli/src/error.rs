//! Failures, as scripts and people see them.

use crate::codes::Code;
pub(crate) use crate::codes::{Exit, Passes};
use ibgib_folder::FolderError;
use ibgib_saga::{Code as Protocol, Misuse, Refusal, SagaError, SpaceFailure};
use ibgib_server::ServeError;
use ibgib_spaces::settle::AdmitError;
use ibgib_spaces::{BundleError, CommitError, SpaceError};
use std::io;
use std::path::Path;

/// A failure: what scripts read, and what helps people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    /// For scripts: a row of the command's table or of the protocol's, or the name of a rule that an ibgib breaks.
    /// Nothing here decides by it.
    pub(crate) code: String,
    pub(crate) message: String,
    /// The thing that it is about.
    pub(crate) subject: Option<String>,
    /// The way out.
    pub(crate) hint: Option<String>,
    /// What ends it.
    pub(crate) passes: Passes,
}

impl CliError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            exit: code.exit(),
            code: code.as_str().to_owned(),
            message: message.into(),
            subject: None,
            hint: None,
            passes: code.passes(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// An ibgib breaks a rule, whose name is told instead of a code.
    pub(crate) fn rule(rule: &str, message: impl Into<String>) -> Self {
        Self { code: rule.to_owned(), ..Self::new(Code::BadContent, message) }
    }

    pub(crate) fn not_found(what: &str, subject: impl Into<String>) -> Self {
        let subject = subject.into();
        Self::new(Code::NotFound, format!("{what} {subject} is not here")).about(subject)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted; everything stored so far is safe")
    }

    pub(crate) fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// As [`CliError::about`], where nothing more exact is known.
    pub(crate) fn about_if_none(self, subject: &str) -> Self {
        if self.subject.is_some() { self } else { self.about(subject) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What would be written over.
    pub(crate) fn file_exists(path: &Path) -> Self {
        Self::new(Code::FileExists, format!("{} is there already", path.display())).about(path.display().to_string())
    }

    /// A failure of the system at `path`.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::Permission,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
            _ => Code::Io,
        };
        Self::new(code, format!("{}: {error}", path.display())).about(path.display().to_string())
    }
}

impl From<SpaceError> for CliError {
    fn from(error: SpaceError) -> Self {
        let code = match &error {
            SpaceError::Corrupt { .. } => Code::Corrupt,
            SpaceError::Missing { .. } => Code::Missing,
            SpaceError::TooMany(_) => Code::TooMany,
            SpaceError::Damaged(_) => Code::Damaged,
            SpaceError::Full(_) => Code::DiskFull,
            SpaceError::Locked(_) => Code::Locked,
            SpaceError::Permission(_) => Code::Permission,
            SpaceError::NotFound(_) => Code::NoStore,
            SpaceError::Closed => Code::Closed,
            SpaceError::Address { .. } => Code::Usage,
            SpaceError::Newer { .. } => Code::NewerStore,
            SpaceError::Unavailable(_) => Code::Unavailable,
            _ => Code::Io,
        };
        let out = Self::new(code, error.to_string());
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
            SpaceError::Address { url, .. } => out.about(url).hint("write postgres://USER@HOST/DATABASE"),
            SpaceError::Newer { .. } => {
                out.hint("take a version of ibgib that is at least as new; nothing was changed")
            }
            SpaceError::Unavailable(_) => out.hint("start the database, or wait for it, and run the command again"),
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
                Self::new(Code::Missing, error.to_string()).about(subject)
            }
            error => Self::new(Code::Commit, error.to_string()),
        }
    }
}

impl From<AdmitError> for CliError {
    fn from(error: AdmitError) -> Self {
        match error {
            AdmitError::Commit(error) => error.into(),
            AdmitError::History(error) => Self::new(Code::History, error.to_string()),
            error => Self::new(Code::Busy, error.to_string()),
        }
    }
}

impl From<BundleError> for CliError {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Damaged { .. } => Self::new(Code::DamagedBundle, error.to_string())
                .hint("nothing was imported; export or copy the bundle again"),
            BundleError::Incomplete { ref addr, .. } => {
                let subject = addr.to_string();
                Self::new(Code::Missing, error.to_string()).about(subject)
            }
            BundleError::Space(error) => error.into(),
            BundleError::Commit(error) => error.into(),
            BundleError::Io(error) => Self::io(Path::new("bundle"), &error),
            error => Self::new(Code::Busy, error.to_string()),
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
            FolderError::Busy { .. } => Self::new(Code::Busy, text).hint("run the command again"),
            FolderError::Unbound => Self::new(Code::NoFolder, "this device tracks no folder yet")
                .hint("run 'ibgib sync' to fetch the folder, or 'ibgib init' elsewhere to start one"),
            FolderError::Bound(folder) => Self::new(Code::Bound, text).about(folder.as_str()),
            FolderError::NotAFolder(addr) | FolderError::OtherTimeline { addr, .. } => {
                Self::usage(text).about(addr.as_str())
            }
            FolderError::Unsaved(paths) => Self::new(Code::Unsaved, text)
                .about(paths.join(", "))
                .hint("run 'ibgib snapshot' first, or use --force to overwrite"),
            FolderError::NoEntry(path) => {
                Self::new(Code::NoEntry, text).about(path).hint("'ibgib status' lists what is tracked")
            }
            FolderError::NotFound(addr) => Self::not_found("node", addr.as_str()),
            FolderError::BadContent { addr, .. } => Self::new(Code::BadContent, text).about(addr.as_str()),
            FolderError::NothingToUndo => Self::new(Code::NothingToUndo, text),
            FolderError::NothingToRedo => Self::new(Code::NothingToRedo, text),
            FolderError::NoConflict(addr) => Self::new(Code::NoConflict, text)
                .about(addr.as_str())
                .hint("'ibgib conflicts' lists the open ones; lines that were edited since can only be kept (--keep)"),
            _ => Self::new(Code::Folder, text),
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
                why:
                    Refusal::Known(
                        Protocol::Superseded
                        | Protocol::Shutdown
                        | Protocol::TooManyRequests
                        | Protocol::TooManyConnections,
                    ),
                ..
            } => Exit::Peer,
            // The server's store is damaged, which is no reason to trust what comes from it.
            SagaError::PeerRefused {
                why: Refusal::Known(Protocol::Corrupt | Protocol::Missing | Protocol::Damaged),
                ..
            } => Exit::Integrity,
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
            Some(Protocol::Unreachable) => {
                Some("is the server running, and is the URL right? Nothing was lost; sync again later")
            }
            Some(Protocol::TlsRequired) => Some("write https:// instead of http:// (wss:// instead of ws://)"),
            Some(Protocol::NoTls) => Some(
                "is the URL right? A server that is meant to speak plain text, on this machine or in a network that you \
                 trust, is called http://",
            ),
            Some(Protocol::NoServer) => Some("is the URL right, and does a proxy in front pass on /api/v1?"),
            Some(Protocol::Cut | Protocol::Timeout | Protocol::Shutdown) => {
                Some("what was committed stays; run 'ibgib sync' again to go on")
            }
            Some(Protocol::Superseded) => Some("the same identity synced from elsewhere at the same time; sync again"),
            Some(Protocol::IdentityNotAllowed) => {
                Some("ask whoever runs the server to add this identity to its allow-list")
            }
            Some(Protocol::NotGranted) => Some(
                "ask whoever owns the server's space for an invite ('ibgib invite'), and clone that; the owner comes with \
                 the token that the server prints ('ibgib init --remote URL --token T'), or is named by whoever runs it \
                 ('ibgib serve --owner IDENTITY')",
            ),
            Some(Protocol::IdentityStrategy) => Some(
                "make another with 'ibgib identity new', or ask whoever runs the server to start it with \
                 --allow-strategy hash-reveal-v1",
            ),
            Some(Protocol::IdentityWrongSecret) => Some("the secret is not the one that this identity was made with"),
            Some(Protocol::IdentityRevoked | Protocol::IdentityForked) => Some(
                "take it back with 'ibgib identity recover', which needs its recovery secret, or make a new one with \
                 'ibgib identity new'",
            ),
            Some(Protocol::IdentityDropped) => Some(
                "the owner can let it in again ('ibgib space allow FRAME'); else take the identity back with 'ibgib identity \
                 recover', which needs its recovery secret, or make a new one with 'ibgib identity new'",
            ),
            Some(Protocol::ServerChanged)
                if matches!(error, SagaError::PeerChanged { what: "keystone" | "owner", .. }) =>
            {
                Some(
                    "somebody may stand between you and the server; if its owner says that it was replaced, make this device \
                 forget it with 'ibgib receipts --forget URL'",
                )
            }
            Some(Protocol::RolledBack) => Some(
                "nothing was lost here; ask whoever runs the server. If a backup was put in its place, or this device may \
                 not read any more what it could, 'ibgib receipts --forget URL' and a sync bring back what this device has",
            ),
            Some(Protocol::ServerChanged) => Some(
                "somebody may stand between you and the server; if its owner says that it was replaced, or has another key that \
                 this device could not be led to, remove its table under [servers] in .ibgib/config.toml",
            ),
            Some(Protocol::ServerUntrusted) => {
                Some("if its authority is one that this machine does not know, name its certificate with --ca FILE")
            }
            Some(Protocol::Busy) => Some(
                "others were syncing the same timelines, or the server waits for its database: run the command again in a moment",
            ),
            Some(Protocol::Limit) if matches!(error, SagaError::PeerRefused { .. }) => {
                Some("whoever runs the server can raise it (serve --limit NAME=N); nothing was lost")
            }
            Some(Protocol::DiskFull) if matches!(error, SagaError::PeerRefused { .. }) => {
                Some("it is the server's disk that is full: whoever runs it has to make room; nothing was lost")
            }
            Some(Protocol::DiskFull) => Some("make room and run the command again; nothing was lost"),
            Some(Protocol::Corrupt | Protocol::Missing | Protocol::Damaged)
                if matches!(error, SagaError::PeerRefused { .. }) =>
            {
                Some("it is the server's store that is damaged: whoever runs it should run 'ibgib fsck' on it")
            }
            _ => None,
        };
        let may_pass = matches!(
            error.row(),
            Some(Protocol::Busy | Protocol::Locked | Protocol::Io | Protocol::Permission | Protocol::DiskFull)
        );
        Self {
            exit,
            code: error.code().to_owned(),
            message: error.to_string(),
            subject: None,
            hint: hint.map(str::to_owned),
            passes: if may_pass { Passes::InTime } else { Passes::Never },
        }
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        if let ServeError::Key(error) = error {
            return error.into();
        }
        // What is wrong with a door's address is wrong as it is with the server's own.
        let cause = match &error {
            ServeError::Door { why, .. } => &**why,
            cause => cause,
        };
        let code = match cause {
            ServeError::PortInUse(_) => Code::PortInUse,
            ServeError::Permission(_) => Code::Permission,
            ServeError::PlainText(_) => Code::PlainText,
            ServeError::Tls { .. } => Code::Certificate,
            _ => Code::Listen,
        };
        let subject = match cause {
            ServeError::PortInUse(a) | ServeError::Permission(a) | ServeError::PlainText(a) => a.to_string(),
            ServeError::Listen(a, _) => a.to_string(),
            ServeError::Tls { path, .. } => path.display().to_string(),
            _ => String::new(),
        };
        let hint = match cause {
            ServeError::PortInUse(_) => "stop what listens there, or choose another port (0 takes a free one)",
            ServeError::Permission(_) => "ports below 1024 need special rights",
            ServeError::PlainText(_) => {
                "use --tls self, or --allow-plain-text inside a tunnel or in a network that you trust"
            }
            ServeError::Tls { .. } => "give the certificate and its key in PEM, or use --tls self",
            _ => "choose another address with --listen",
        };
        Self::new(code, error.to_string()).about(subject).hint(hint)
    }
}
