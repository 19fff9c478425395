//! A working folder as ibgib timelines: snapshot in, check out, diff, log, restore, undo.
#![forbid(unsafe_code)]

mod checkout;
mod chunk;
mod conflict;
mod content;
mod error;
mod folder;
mod frames;
mod history;
mod json;
mod path;
mod record;
mod scan;
mod snapshot;
mod tree;
mod undo;
mod walk;
mod writer;

pub use checkout::{CheckoutOpts, CheckoutReport};
pub use conflict::{Conflict, Resolution, conflicts};
pub use content::TEXT_BYTES_MAX;
pub use error::FolderError;
pub use folder::{Entry, Folder, Moments, Progress, Refused, Skipped};
pub use history::{Diff, LogEntry, log};
pub use path::{COMPONENT_BYTES_MAX, EntryPath, PATH_BYTES_MAX, PathProblem};
pub use scan::{Change, ChangeKind, Status};
pub use snapshot::SnapshotReport;
pub use undo::UndoReport;
pub use walk::Glance;
