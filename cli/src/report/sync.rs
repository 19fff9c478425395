//! What one sync did.

use super::folder::{checked_out, left_out, partly, refused, skipped, told_conflicts, twins, unportable};
use super::{Report, addr, list, number, paths, text};
use crate::error::Exit;
use crate::escape::shown;
use ibgib::{Value, object};
use ibgib_folder::{CheckoutReport, Conflict, ConflictOrigin, SnapshotReport};
use ibgib_peer::Synced;
use ibgib_saga::Action;
use std::time::Duration;

/// The snapshot, the saga and the checkout of one sync.
pub(crate) struct SyncReport {
    pub(crate) synced: Synced,
    pub(crate) taken: SnapshotReport,
    pub(crate) files: CheckoutReport,
    /// Conflicts that are new on this device, whoever merged.
    pub(crate) conflicts: Vec<(Conflict, ConflictOrigin)>,
    pub(crate) took: Duration,
    /// Nothing was done, it only tells what would be.
    pub(crate) dry_run: bool,
}

impl SyncReport {
    /// Whether anything is different now.
    pub(crate) fn did_something(&self) -> bool {
        self.synced.summary.saga.is_some()
            || !self.taken.is_clean()
            || !self.files.written.is_empty()
            || !self.files.removed.is_empty()
            || !self.conflicts.is_empty()
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
            ("dryRun", self.dry_run.into()),
            ("written", paths(&self.files.written)),
            ("removed", paths(&self.files.removed)),
            ("refused", refused(&self.files.refused)),
            ("skipped", skipped(&self.taken.skipped)),
            ("unportable", paths(&self.taken.unportable)),
            ("twins", twins(&self.files.twins)),
        ])
    }

    fn to_text(&self) -> String {
        let s = &self.synced.summary;
        let mut text = match &s.saga {
            _ if self.dry_run => format!("{} timeline(s) differ\n", s.timelines.len()),
            None => "already equal\n".to_owned(),
            Some(_) => format!(
                "{} turns, {} nodes sent, {} received, {} timeline(s), {} merge(s), {} ms\n",
                s.turns,
                s.nodes_sent,
                s.nodes_received,
                s.timelines.len(),
                s.merges,
                self.took.as_millis()
            ),
        };
        for t in s.timelines.iter().filter(|t| self.dry_run || t.action == Action::Refused) {
            let why = t.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
            text.push_str(&format!("{:8} {}{}\n", t.action.as_str(), shown(&t.tjp), shown(why)));
        }
        text + &left_out(&self.taken.skipped)
            + &unportable(&self.taken.unportable)
            + &checked_out(&self.files)
            + &told_conflicts(&self.conflicts)
    }
}
