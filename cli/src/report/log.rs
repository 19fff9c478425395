//! Histories.

use super::{Report, Style, addr, number, text};
use crate::brief::{digits, nameless};
use crate::escape::{lines, shown};
use ibgib::{Value, object};
use ibgib_folder::{EntryPath, LogEntry};

/// One frame of a history.
pub(crate) struct LogLine {
    pub(crate) entry: LogEntry,
    /// The file's, at that time; none of a timeline that is no file of the folder.
    pub(crate) path: Option<EntryPath>,
    /// What the device that it names calls itself.
    pub(crate) device: Option<String>,
    /// What it changed, where that was asked for.
    pub(crate) diff: Option<String>,
}

impl LogLine {
    pub(crate) fn of(entry: LogEntry) -> Self {
        Self { entry, path: None, device: None, diff: None }
    }

    /// Who made it: what the frame says, which nothing has checked.
    fn who(&self) -> String {
        match (&self.device, &self.entry.identity) {
            (Some(device), _) => shown(device).to_string(),
            (None, Some(identity)) => nameless(identity),
            (None, None) if self.entry.merge => "merge".to_owned(),
            (None, None) => "-".to_owned(),
        }
    }
}

impl Report for LogLine {
    fn to_json(&self) -> Value {
        let e = &self.entry;
        let mut line = object([
            ("addr", (&e.addr).into()),
            ("n", e.n.map_or(Value::Null, number)),
            ("timestamp", text(e.timestamp.as_deref())),
            ("past", addr(e.past.as_ref())),
            ("graftbase", addr(e.graftbase.as_ref())),
            ("graftorphan", addr(e.graftorphan.as_ref())),
            ("path", text(self.path.as_ref().map(EntryPath::as_str))),
            ("device", text(self.device.as_deref())),
            ("identity", addr(e.identity.as_ref())),
            ("attested", false.into()),
        ]);
        if let (Some(diff), Some(members)) = (&self.diff, line.as_object_mut()) {
            members.insert("diff", diff.as_str());
        }
        line
    }

    fn to_text(&self) -> String {
        let e = &self.entry;
        let n = e.n.map_or("-".to_owned(), |n| n.to_string());
        let path = self.path.as_ref().map_or(String::new(), |path| format!("  {}", shown(path)));
        let merge = e.graftorphan.as_ref().filter(|_| e.merge).map_or(String::new(), |o| format!("  of {}", digits(o)));
        let made = match &e.timestamp {
            // The same on every device, so that nobody made it and it has no time.
            None if e.past.is_none() => "begins here".to_owned(),
            when => format!("{}  {}", shown(when.as_deref().unwrap_or("-")), self.who()),
        };
        let line = format!("n {n:>4}  {made}{path}  {}{merge}", digits(&e.addr));
        match &self.diff {
            Some(diff) => format!("{line}\n{}", lines(diff)),
            None => line,
        }
    }

    fn style(&self, line: &str) -> Style {
        if line.starts_with("n ") { Style::Changed } else { Style::of_diff(line) }
    }
}
