//! What an undo or a redo does.

use super::folder::{changed, checked_out, new_conflicts, path_told, refused};
use super::{Report, count, list, paths};
use ibgib::transform::Moment;
use ibgib::{Value, object};
use ibgib_folder::{ChangeKind, UndoKind, UndoPlan, UndoReport};

/// What `undo` and `redo` tell.
pub(crate) struct Undone {
    pub(crate) plan: UndoPlan,
    /// Where it was done.
    pub(crate) device: String,
    /// It is a redo.
    pub(crate) again: bool,
    /// None as long as nothing is done.
    pub(crate) done: Option<UndoReport>,
}

impl Undone {
    fn when(&self) -> String {
        Moment { now_ms: self.plan.when_ms, random: [0; 16] }.timestamp()
    }

    /// What is undone: `the snapshot of … on …`.
    fn object(&self) -> String {
        let what = match self.plan.kind {
            UndoKind::Restore => "the restore",
            UndoKind::Resolve => "the settling of conflicts",
            UndoKind::Untrack => "the untracking",
            _ if self.plan.first => "the first snapshot of the folder, that",
            _ => "the snapshot",
        };
        format!("{what} of {} on {}", self.when(), self.device)
    }

    /// How many files it removes.
    pub(crate) fn removed(&self) -> usize {
        self.plan.files.iter().filter(|file| file.change == ChangeKind::Deleted).count()
    }

    /// It as a question.
    pub(crate) fn question(&self) -> String {
        let verb = if self.again { "Do again" } else { "Undo" };
        format!("{verb} {}, and remove {} file(s) (--dry-run lists them)?", self.object(), self.removed())
    }

    /// What it would do, said of it.
    pub(crate) fn would(&self) -> String {
        let verb = if self.again { "would do again" } else { "would undo" };
        format!("{verb} {}, and remove {} file(s)", self.object(), self.removed())
    }
}

impl Report for Undone {
    fn to_json(&self) -> Value {
        let none = UndoReport::default();
        let done = self.done.as_ref().unwrap_or(&none);
        let undone = object([
            ("what", self.plan.kind.as_str().into()),
            ("when", self.when().into()),
            ("device", self.device.as_str().into()),
        ]);
        let files = list(&self.plan.files, changed);
        object([
            ("undone", undone),
            ("files", files),
            ("changed", paths(&done.changed)),
            ("written", paths(&done.checkout.written)),
            ("removed", paths(&done.checkout.removed)),
            ("refused", refused(&done.checkout.refused)),
            ("conflicts", count(done.conflicts)),
        ])
    }

    fn to_text(&self) -> String {
        let verb = match (&self.done, self.again) {
            (None, false) => "would undo",
            (None, true) => "would do again",
            (Some(_), false) => "undid",
            (Some(_), true) => "did again",
        };
        let mut text = format!("{verb} {}\n", self.object());
        match &self.done {
            None => {
                for file in &self.plan.files {
                    let verb = match file.change {
                        ChangeKind::Added => "would bring back",
                        ChangeKind::Deleted => "would remove",
                        ChangeKind::Renamed { .. } => "would rename",
                        _ => "would change",
                    };
                    text.push_str(&format!("{verb:16} {}\n", path_told(file)));
                }
            }
            Some(done) => text.push_str(&(checked_out(&done.checkout) + &new_conflicts(done.conflicts as u64))),
        }
        text
    }
}
