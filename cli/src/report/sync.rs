//! What one sync did.

use super::folder::{checked_out, left_out, partly, refused, skipped, told_conflicts, twins, unportable};
use super::{Report, addr, list, number, paths, plural, text};
use crate::brief::short;
use crate::error::{CliError, Exit};
use crate::escape::shown;
use ibgib::{Addr, Value, object};
use ibgib_folder::{CheckoutReport, Conflict, ConflictOrigin, Skipped, SnapshotReport};
use ibgib_peer::{Followed, Synced};
use ibgib_saga::Action;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// A file that a sync sent or received.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MovedFile {
    pub(crate) path: String,
    /// `added`, `modified` or `deleted`.
    pub(crate) change: &'static str,
}

/// Files that people are told one by one.
const TOLD_MAX: usize = 100;

/// The files of one sync. Lists are sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved {
    pub(crate) sent: Vec<MovedFile>,
    pub(crate) received: Vec<MovedFile>,
    /// Left out of snapshots.
    pub(crate) skipped: Vec<Skipped>,
    /// Paths of files whose timelines were refused.
    pub(crate) refused: HashMap<Addr, String>,
    /// Names of timelines that went back here, since frames of theirs were dropped.
    pub(crate) left: Vec<String>,
}

impl Moved {
    fn to_json(&self) -> Value {
        let files = |all: &[MovedFile]| {
            list(all, |file| object([("path", file.path.as_str().into()), ("change", file.change.into())]))
        };
        object([("sent", files(&self.sent)), ("received", files(&self.received)), ("skipped", skipped(&self.skipped))])
    }

    fn to_text(&self, future: bool) -> String {
        let (sent, received) = if future { ("would send", "would receive") } else { ("sent", "received") };
        let lists = [(sent, &self.sent), (received, &self.received)];
        let mut text: String = self
            .left
            .iter()
            .map(|name| format!("{}: the owner of the server's space dropped frames of it\n", shown(name)))
            .collect();
        for (what, all) in lists {
            for MovedFile { path, change } in all.iter().take(TOLD_MAX) {
                text.push_str(&format!("{what} {} ({change})\n", shown(path)));
            }
            if let Some(more @ 1..) = all.len().checked_sub(TOLD_MAX) {
                text.push_str(&format!("{what} {more} more: --json lists them\n"));
            }
        }
        text
    }
}

/// The snapshot, the saga and the checkout of one sync.
pub(crate) struct SyncReport {
    pub(crate) synced: Synced,
    pub(crate) taken: SnapshotReport,
    pub(crate) files: CheckoutReport,
    /// Conflicts that are new on this device, whoever merged.
    pub(crate) conflicts: Vec<(Conflict, ConflictOrigin)>,
    pub(crate) moved: Moved,
    pub(crate) took: Duration,
    /// Nothing was done, it only tells what would be.
    pub(crate) dry_run: bool,
    /// Why it would do nothing at all.
    pub(crate) stop: Option<CliError>,
    /// To which key the server was followed.
    pub(crate) key: Option<Followed>,
}

fn server_key(followed: &Followed) -> Value {
    object([("before", followed.before.to_string().into()), ("key", followed.key.to_string().into())])
}

impl SyncReport {
    /// Whether anything is different now.
    pub(crate) fn did_something(&self) -> bool {
        self.synced.summary.saga.is_some()
            || !self.taken.is_clean()
            || !self.files.written.is_empty()
            || !self.files.removed.is_empty()
            || !self.conflicts.is_empty()
            || !self.synced.left.is_empty()
            || self.key.is_some()
    }

    pub(crate) fn exit(&self) -> Exit {
        let unsettled = self.synced.summary.timelines.iter().any(|t| t.action == Action::Refused);
        partly(!self.conflicts.is_empty() || unsettled || !self.files.refused.is_empty())
    }
}

impl Report for SyncReport {
    fn to_json(&self) -> Value {
        let s = &self.synced.summary;
        let timelines = list(&s.timelines, |t| {
            let mut row = object([
                ("tjp", (&t.tjp).into()),
                ("before", addr(t.before.as_ref())),
                ("after", addr(t.after.as_ref())),
                ("action", t.action.as_str().into()),
            ]);
            if let (Some(why), Some(members)) = (&t.why, row.as_object_mut()) {
                members.insert("why", why.as_str());
            }
            row
        });
        object([
            ("saga", text(s.saga.as_deref())),
            ("turns", number(u64::from(s.turns))),
            ("nodes", object([("sent", number(s.nodes_sent)), ("received", number(s.nodes_received))])),
            (
                "bytes",
                object([
                    ("sent", number(s.bytes_sent)),
                    ("received", number(s.bytes_received)),
                    ("identity", number(self.synced.identity_bytes)),
                ]),
            ),
            ("merges", number(s.merges + self.taken.merges as u64)),
            ("conflicts", number(self.conflicts.len() as u64)),
            ("timelines", timelines),
            ("ms", number(u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX))),
            ("files", self.moved.to_json()),
            ("dryRun", self.dry_run.into()),
            ("wouldStop", text(self.stop.as_ref().map(|stop| &*stop.code))),
            ("serverKey", self.key.as_ref().map_or(Value::Null, server_key)),
            ("written", paths(&self.files.written)),
            ("removed", paths(&self.files.removed)),
            ("refused", refused(&self.files.refused)),
            ("dropped", list(&self.moved.left, |name| name.as_str().into())),
            ("skipped", skipped(&self.moved.skipped)),
            ("unportable", paths(&self.taken.unportable)),
            ("twins", twins(&self.files.twins)),
        ])
    }

    fn to_text(&self) -> String {
        let s = &self.synced.summary;
        let mut text = match &s.saga {
            _ if self.dry_run && self.moved.sent.is_empty() && self.moved.received.is_empty() => {
                "nothing would be sent or received\n".to_owned()
            }
            _ if self.dry_run => String::new(),
            None => "already equal\n".to_owned(),
            Some(_) => format!(
                "{} sent, {} received{} in {} ms\n",
                plural(self.moved.sent.len() as u64, "file"),
                plural(self.moved.received.len() as u64, "file"),
                if s.merges > 0 { format!(", {}", plural(s.merges, "merge")) } else { String::new() },
                self.took.as_millis()
            ),
        };
        text.push_str(&self.moved.to_text(self.dry_run));
        // Several timelines may be called the same.
        let mut refused = BTreeSet::new();
        for t in s.timelines.iter().filter(|t| t.action == Action::Refused) {
            let path = self.moved.refused.get(&t.tjp).cloned().unwrap_or_else(|| short(&t.tjp));
            let why = t.why.as_ref().map_or(String::new(), |why| format!(": {}", why.replace(t.tjp.as_str(), "it")));
            refused.insert(format!("refused {}{}\n", shown(path), shown(why)));
        }
        text.extend(refused);
        if let Some(stop) = &self.stop {
            let hint = stop.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
            text.push_str(&format!("it would stop ({}): {}{hint}\n", &*stop.code, stop.message));
        }
        // What came from the server is told already; files may differ from the store for other reasons.
        let told: HashSet<&str> = self.moved.received.iter().map(|file| file.path.as_str()).collect();
        let mut rest = self.files.clone();
        rest.written.retain(|path| !told.contains(path.as_str()));
        rest.removed.retain(|path| !told.contains(path.as_str()));
        text + &left_out(&self.moved.skipped)
            + &unportable(&self.taken.unportable)
            + &checked_out(&rest)
            + &told_conflicts(&self.conflicts)
    }
}
