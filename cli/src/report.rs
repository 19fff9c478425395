//! Results of the command. Each is a value that is made once, and printed for scripts or for people.

mod folder;
mod store;
mod sync;

pub(crate) use folder::{ConflictReport, DiffReport, FileDiff, FolderStatus, Resolved, TrackedStatus, partly};
pub(crate) use store::{
    Addressed, BadLine, Checked, Exported, IdentityReport, Imported, Listening, Made, RuleError, Settings,
};
pub(crate) use sync::SyncReport;

use ibgib::{Addr, Value, strings};
use ibgib_folder::EntryPath;

/// A result. Scripts rely on the JSON: members may be added, none renamed (`docs/command.md`).
pub(crate) trait Report {
    fn to_json(&self) -> Value;

    /// Lines for people; empty when there is nothing to say. A newline at the end is not needed.
    fn to_text(&self) -> String;
}

fn paths(all: &[EntryPath]) -> Value {
    strings(all.iter().map(EntryPath::as_str))
}

fn count(n: usize) -> Value {
    number(n as u64)
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
