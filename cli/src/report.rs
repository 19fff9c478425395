//! Results of the command. Each is a value that is made once, and printed for scripts or for people.

mod folder;
mod grants;
mod guard;
mod health;
mod help;
mod ignore;
mod log;
mod pairing;
mod receipts;
mod store;
mod sync;
mod tower;
mod undo;

pub(crate) use folder::{
    ConflictReport, DiffReport, FileDiff, FolderStatus, Resolved, TrackedStatus, partly, side_name,
};
pub(crate) use grants::{DroppedFrame, Granted, Invited, InvitedProgram, Seen};
pub(crate) use guard::{Checking, GuardReport, TowerStanding};
pub(crate) use health::Health;
pub(crate) use help::{Helped, ManPages};
pub(crate) use ignore::{Ignored, Untracked};
pub(crate) use log::LogLine;
pub(crate) use pairing::{Paired, Shown, Transferred};
pub(crate) use receipts::{ForgottenServer, ReceiptReport};
pub(crate) use store::{
    Addressed, BackedUp, BadLine, Checked, Exported, Freed, IdentityReport, Imported, Listening, Made, NewKey,
    RuleError, Settings, Told,
};
pub(crate) use sync::{Moved, MovedFile, SyncReport};
pub(crate) use tower::TowerReport;
pub(crate) use undo::Undone;

use ibgib::{Addr, Value, strings};
use ibgib_folder::EntryPath;

/// A result. Scripts rely on the JSON: members may be added, none renamed (`docs/command.md`).
pub(crate) trait Report {
    fn to_json(&self) -> Value;

    /// Lines for people; empty when there is nothing to say. A newline at the end is not needed.
    fn to_text(&self) -> String;

    /// How a line of the text is coloured, where there are colours.
    fn style(&self, _line: &str) -> Style {
        Style::Plain
    }
}

/// What a line is for whoever reads it, from which its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// A name above what follows.
    Head,
    /// Where in a file something is.
    Location,
    Added,
    Removed,
    /// Neither, but worth a look.
    Changed,
}

impl Style {
    /// Its number in the escape sequence that begins it.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Head => "1",
            Self::Location => "36",
            Self::Added => "32",
            Self::Removed => "31",
            Self::Changed => "33",
        }
    }

    /// Of a line of a unified diff.
    fn of_diff(line: &str) -> Self {
        match line.as_bytes() {
            [b'+', b'+', b'+', b' ', ..] | [b'-', b'-', b'-', b' ', ..] => Self::Head,
            [b'@', b'@', ..] => Self::Location,
            [b'+', ..] => Self::Added,
            [b'-', ..] => Self::Removed,
            _ => Self::Plain,
        }
    }
}

fn paths(all: &[EntryPath]) -> Value {
    strings(all.iter().map(EntryPath::as_str))
}

fn count(n: usize) -> Value {
    number(n as u64)
}

/// So many of them, for people.
pub(crate) fn plural(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn number(n: u64) -> Value {
    Value::integer(n)
}

fn addr(addr: Option<&Addr>) -> Value {
    addr.map_or(Value::Null, Value::from)
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::from)
}

fn list<T>(all: &[T], row: impl FnMut(&T) -> Value) -> Value {
    Value::Array(all.iter().map(row).collect())
}
