//! What of the folder stays on this device.

use super::{Report, list, paths};
use crate::escape::{lines, shown};
use ibgib::{Value, object};
use ibgib_folder::{EntryPath, Widened};
use similar::TextDiff;

/// Rules of ignoring that came from elsewhere and would let more leave this device.
pub(crate) struct Ignored {
    pub(crate) widened: Widened,
    /// They were agreed to just now.
    pub(crate) accepted: bool,
}

impl Report for Ignored {
    fn to_json(&self) -> Value {
        let text = |text: &Option<Vec<u8>>| match text {
            Some(text) => String::from_utf8_lossy(text).into_owned().into(),
            None => Value::Null,
        };
        let rules = list(&self.widened.rules, |rule| {
            object([("path", rule.path.as_str().into()), ("accepted", text(&rule.accepted)), ("now", text(&rule.now))])
        });
        object([("rules", rules), ("files", paths(&self.widened.files)), ("accepted", self.accepted.into())])
    }

    fn to_text(&self) -> String {
        if self.widened.rules.is_empty() {
            return "no rules wait for an answer".to_owned();
        }
        let mut out = String::new();
        for rule in &self.widened.rules {
            let [before, now] = [&rule.accepted, &rule.now]
                .map(|text| text.as_deref().map(String::from_utf8_lossy).unwrap_or_default());
            let gone = if rule.now.is_none() { " (deleted)" } else { "" };
            out.push_str(&format!("{}{gone}\n", shown(&rule.path)));
            let diff = TextDiff::from_lines(before.as_ref(), now.as_ref());
            for change in diff.iter_all_changes() {
                let line = format!("  {}{}", change.tag(), change.value().trim_end_matches(['\r', '\n']));
                out.push_str(&lines(&line));
                out.push('\n');
            }
        }
        for path in &self.widened.files {
            out.push_str(&format!("kept back {}\n", shown(path)));
        }
        out + if self.accepted {
            "agreed to; the next snapshot takes what was kept back"
        } else {
            "lines with - are those that this device goes by until 'ibgib ignore accept'"
        }
    }
}

/// Files that were taken out of the folder.
pub(crate) struct Untracked(pub(crate) Vec<EntryPath>);

impl Report for Untracked {
    fn to_json(&self) -> Value {
        object([("untracked", paths(&self.0))])
    }

    fn to_text(&self) -> String {
        let line = |path: &EntryPath| {
            format!("untracked {}: it stays here, and is removed on the other devices\n", shown(path))
        };
        self.0.iter().map(line).collect()
    }
}
