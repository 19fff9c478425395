//! What was done with a folder's files.

use super::{Report, Style, addr, count, list, number, paths, plural, text};
use crate::brief::{Known, nameless};
use crate::contact::Contact;
use crate::error::Exit;
use crate::escape::{lines, shown};
use ibgib::{Addr, Value, object, strings};
use ibgib_folder::{
    CheckoutReport, Conflict, ConflictOrigin, Diff, EditOrigin, EntryPath, Refused, Resolution, Skipped,
    SnapshotReport, StatusReport, Twin, UndoReport,
};
use similar::TextDiff;
use std::collections::HashMap;

/// Lines around a difference.
const CONTEXT: usize = 2;
/// Digits of a gib that name a conflict.
const DIGITS: usize = 10;

/// How a command ends that did what it could: `unsettled` when that was not all, or conflicts are new.
pub(crate) fn partly(unsettled: bool) -> Exit {
    if unsettled { Exit::Partly } else { Exit::Done }
}

pub(super) fn skipped(all: &[Skipped]) -> Value {
    list(all, |s| object([("path", s.path.as_str().into()), ("reason", s.reason.as_str().into())]))
}

pub(super) fn refused(all: &[Refused]) -> Value {
    list(all, |r| object([("path", r.path.as_str().into()), ("reason", r.reason.as_str().into())]))
}

/// Who made a side of a conflict, and when.
pub(crate) fn side_name(side: &EditOrigin) -> String {
    if side.here {
        return "yours".to_owned();
    }
    let who = match (&side.device, &side.identity) {
        (Some(name), _) => shown(name).to_string(),
        (None, Some(identity)) => nameless(identity),
        (None, None) => "another device".to_owned(),
    };
    side.timestamp.as_ref().map_or(who.clone(), |when| format!("{who}, {}", shown(when)))
}

/// Conflicts that are told one by one.
const TOLD_MAX: usize = 20;

/// What a device is told of conflicts that are new on it.
pub(super) fn told_conflicts(all: &[(Conflict, ConflictOrigin)]) -> String {
    let mut text = String::new();
    for (conflict, origin) in all.iter().take(TOLD_MAX) {
        let place = conflict.file.as_ref().map_or_else(|| conflict.timeline.to_string(), ToString::to_string);
        text.push_str(&format!(
            "conflict {}: {} ({})\n",
            shown(place),
            shown(what(conflict)),
            side_name(origin.told())
        ));
    }
    text + &new_conflicts(all.len() as u64)
}

pub(super) fn new_conflicts(n: u64) -> String {
    if n > 0 { format!("{n} new conflict(s): 'ibgib conflicts' shows them\n") } else { String::new() }
}

/// What a snapshot did not take.
pub(super) fn left_out(all: &[Skipped]) -> String {
    let mut text: String = all.iter().map(|s| format!("skipped {}: {}\n", shown(&s.path), shown(&s.reason))).collect();
    text.push_str(kept_back(all));
    text
}

/// What to do about files that rules from elsewhere would let go.
fn kept_back(all: &[Skipped]) -> &'static str {
    if all.iter().any(|s| s.reason == "ignore_widened") {
        "rules of ignoring that came from elsewhere would let these leave this device: 'ibgib ignore list'\n"
    } else {
        ""
    }
}

/// New names that another kind of system cannot hold.
pub(super) fn unportable(all: &[EntryPath]) -> String {
    let line = |path: &EntryPath| {
        format!("warning {}: some systems cannot hold this name; rename it if one of them is to have it\n", shown(path))
    };
    all.iter().map(line).collect()
}

/// Files that stand under another name than their own.
pub(super) fn twins(all: &[Twin]) -> Value {
    list(all, |t| {
        object([("path", t.path.as_str().into()), ("at", t.at.as_str().into()), ("of", t.of.as_str().into())])
    })
}

/// What a checkout did to the disk; empty when it did nothing.
pub(super) fn checked_out(report: &CheckoutReport) -> String {
    let mut text = String::new();
    for path in &report.written {
        text.push_str(&format!("wrote   {}\n", shown(path)));
    }
    for path in &report.removed {
        text.push_str(&format!("removed {}\n", shown(path)));
    }
    for t in &report.twins {
        let (path, at, of) = (shown(&t.path), shown(&t.at), shown(&t.of));
        text.push_str(&format!(
            "twin    {path} stands as {at}: some systems take its name for that of {of}; rename one of the two\n"
        ));
    }
    for r in &report.refused {
        text.push_str(&format!("refused {}: {}\n", shown(&r.path), shown(&r.reason)));
    }
    text
}

impl Report for SnapshotReport {
    fn to_json(&self) -> Value {
        object([
            ("added", paths(&self.added)),
            ("modified", paths(&self.modified)),
            ("deleted", paths(&self.deleted)),
            ("renamed", list(&self.renamed, |(from, to)| strings([from.as_str(), to.as_str()]))),
            ("skipped", skipped(&self.skipped)),
            ("merges", count(self.merges)),
            ("conflicts", count(self.conflicts)),
            ("unportable", paths(&self.unportable)),
        ])
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (sign, paths) in [("+", &self.added), ("~", &self.modified), ("-", &self.deleted)] {
            for path in paths {
                text.push_str(&format!("{sign} {}\n", shown(path)));
            }
        }
        for (from, to) in &self.renamed {
            text.push_str(&format!("> {} -> {}\n", shown(from), shown(to)));
        }
        text.push_str(&left_out(&self.skipped));
        text.push_str(&unportable(&self.unportable));
        if self.is_clean() {
            text.push_str("nothing has changed\n");
        }
        text + &new_conflicts(self.conflicts as u64)
    }
}

impl Report for CheckoutReport {
    fn to_json(&self) -> Value {
        object([
            ("written", paths(&self.written)),
            ("removed", paths(&self.removed)),
            ("refused", refused(&self.refused)),
            ("twins", twins(&self.twins)),
        ])
    }

    fn to_text(&self) -> String {
        let text = checked_out(self);
        if text.is_empty() { "everything is as the store has it".to_owned() } else { text }
    }
}

impl Report for UndoReport {
    fn to_json(&self) -> Value {
        object([
            ("changed", paths(&self.changed)),
            ("written", paths(&self.checkout.written)),
            ("removed", paths(&self.checkout.removed)),
            ("refused", refused(&self.checkout.refused)),
            ("conflicts", count(self.conflicts)),
        ])
    }

    fn to_text(&self) -> String {
        if self.changed.is_empty() { "nothing differs".to_owned() } else { checked_out(&self.checkout) }
    }
}

/// One file's part of a diff.
pub(crate) struct FileDiff {
    pub(crate) path: EntryPath,
    pub(crate) diff: Diff,
}

/// What `diff` shows.
pub(crate) struct DiffReport(pub(crate) Vec<FileDiff>);

impl Report for DiffReport {
    fn to_json(&self) -> Value {
        let row = |file: &FileDiff| {
            let (kind, body) = match &file.diff {
                Diff::Same => ("same", None),
                Diff::Text(body) => ("text", Some(body.as_str())),
                _ => ("binary", None),
            };
            object([("path", file.path.as_str().into()), ("kind", kind.into()), ("diff", text(body))])
        };
        object([("files", list(&self.0, row))])
    }

    fn to_text(&self) -> String {
        let file = |file: &FileDiff| match &file.diff {
            Diff::Same => String::new(),
            Diff::Text(body) => lines(body).into_owned(),
            _ => format!("{}: binary files differ\n", shown(&file.path)),
        };
        self.0.iter().map(file).collect()
    }

    fn style(&self, line: &str) -> Style {
        Style::of_diff(line)
    }
}

/// What `status` tells of a device.
pub(crate) struct FolderStatus {
    pub(crate) remote: Option<String>,
    /// None on a device that was cloned before the server let it in.
    pub(crate) folder: Option<TrackedStatus>,
}

/// Of a device with a folder.
pub(crate) struct TrackedStatus {
    pub(crate) known: Known,
    pub(crate) tip: Option<Addr>,
    pub(crate) status: StatusReport,
    pub(crate) conflicts: usize,
    /// Files that the server has no newest frame of.
    pub(crate) unsent: Vec<EntryPath>,
    pub(crate) contact: Contact,
}

impl Report for FolderStatus {
    fn to_json(&self) -> Value {
        let remote = text(self.remote.as_deref());
        let Some(folder) = &self.folder else {
            return object([
                ("clean", true.into()),
                ("changes", Value::Array(Vec::new())),
                ("conflicts", count(0)),
                ("folder", Value::Null),
                ("tip", Value::Null),
                ("remote", remote),
                ("unsent", count(0)),
                ("waiting", Value::Null),
                ("asOf", Value::Null),
            ]);
        };
        let changes = list(&folder.status.changes, |c| {
            object([("path", c.path.as_str().into()), ("change", c.change.as_str().into())])
        });
        object([
            ("clean", folder.status.changes.is_empty().into()),
            ("changes", changes),
            ("conflicts", count(folder.conflicts)),
            ("folder", (&folder.known.tjp).into()),
            ("tip", addr(folder.tip.as_ref())),
            ("remote", remote),
            ("unsent", count(folder.unsent.len())),
            ("waiting", folder.contact.as_of.as_ref().map_or(Value::Null, |_| number(folder.contact.waiting))),
            ("asOf", text(folder.contact.as_of.as_deref())),
            ("unsentFiles", paths(&folder.unsent)),
            ("name", text(folder.known.name.as_deref())),
            ("skipped", skipped(&folder.status.skipped)),
        ])
    }

    fn to_text(&self) -> String {
        let Some(folder) = &self.folder else { return "no folder yet: 'ibgib sync' fetches it".to_owned() };
        let mut text = format!("folder {}\nremote {}\n", folder.known, self.remote.as_deref().unwrap_or("none"));
        match (&folder.contact.as_of, folder.contact.waiting) {
            (None, _) if self.remote.is_none() => {}
            (None, _) => text.push_str("server was not asked yet\n"),
            (Some(when), waiting) => {
                let new = if waiting == 0 { "nothing new".to_owned() } else { plural(waiting, "new file") };
                text.push_str(&format!("server had {new} on {}\n", shown(when)));
                for path in &folder.unsent {
                    text.push_str(&format!("unsent   {}\n", shown(path)));
                }
            }
        }
        for c in &folder.status.changes {
            text.push_str(&format!("{:8} {}\n", c.change.as_str(), shown(&c.path)));
        }
        for s in &folder.status.skipped {
            text.push_str(&format!("skipped  {}: {}\n", shown(&s.path), shown(&s.reason)));
        }
        text.push_str(kept_back(&folder.status.skipped));
        match (folder.status.changes.is_empty(), folder.status.skipped.is_empty()) {
            (true, true) => text.push_str("clean\n"),
            // Of what cannot be read, nobody knows.
            (true, false) => text.push_str("clean, but for what is skipped\n"),
            _ => {}
        }
        if folder.conflicts > 0 {
            text.push_str(&format!("{} open conflict(s): 'ibgib conflicts' shows them\n", folder.conflicts));
        }
        text
    }

    fn style(&self, line: &str) -> Style {
        match line.split(' ').next() {
            Some("added") => Style::Added,
            Some("deleted") => Style::Removed,
            Some("modified" | "renamed" | "skipped" | "unsent") => Style::Changed,
            _ => Style::Plain,
        }
    }
}

/// What `resolve` did.
#[derive(Default)]
pub(crate) struct Resolved {
    /// Conflicts that were settled, by their stones.
    pub(crate) settled: Vec<Addr>,
    /// Those that were not: their lines were edited since.
    pub(crate) left: Vec<Addr>,
    pub(crate) checkout: CheckoutReport,
}

impl Report for Resolved {
    fn to_json(&self) -> Value {
        object([
            ("settled", strings(self.settled.iter().map(Addr::as_str))),
            ("left", strings(self.left.iter().map(Addr::as_str))),
            ("written", paths(&self.checkout.written)),
            ("refused", refused(&self.checkout.refused)),
        ])
    }

    fn to_text(&self) -> String {
        let mut text = format!("settled {} conflict(s)\n{}", self.settled.len(), checked_out(&self.checkout));
        for stone in &self.left {
            text.push_str(&format!("left    {stone}: its lines were edited since; it can only be kept (--keep)\n"));
        }
        text
    }
}

/// One open conflict.
pub(crate) struct ConflictReport {
    pub(crate) conflict: Conflict,
    pub(crate) origin: ConflictOrigin,
    /// Bytes of the binary contents that it is about, by their constants' addresses.
    pub(crate) sizes: HashMap<String, u64>,
}

impl Report for ConflictReport {
    fn to_json(&self) -> Value {
        let c = &self.conflict;
        let part = |v: &Option<Value>| v.clone().unwrap_or(Value::Null);
        let told = self.origin.told();
        object([
            ("timeline", (&c.timeline).into()),
            ("frame", (&c.frame).into()),
            ("path", c.path.as_str().into()),
            ("ancestor", part(&c.ancestor)),
            ("base", part(&c.base)),
            ("orphan", part(&c.orphan)),
            ("stone", (&c.stone).into()),
            ("file", text(c.file.as_ref().map(EntryPath::as_str))),
            ("yours", text(self.origin.yours().map(|side| if side == Resolution::Base { "base" } else { "orphan" }))),
            ("device", text(told.device.as_deref())),
            ("identity", addr(told.identity.as_ref())),
            ("timestamp", text(told.timestamp.as_deref())),
        ])
    }

    /// What either side made of what both had, what of it stands now, and what to do.
    fn to_text(&self) -> String {
        let c = &self.conflict;
        let place = c.file.as_ref().map_or_else(|| c.timeline.to_string(), ToString::to_string);
        let id: String = c.stone.gib().chars().take(DIGITS).collect();
        let mut text = format!("{}: {}  (conflict {id})\n", shown(place), shown(what(c)));
        let before = self.show(&c.ancestor);
        let whose = self.origin.yours();
        let names = ["base", "orphan"].map(|merge| match whose {
            None => merge,
            Some(Resolution::Base) if merge == "base" => "yours",
            Some(Resolution::Orphan) if merge == "orphan" => "yours",
            Some(_) => "theirs",
        });
        let sides =
            [(names[0], &c.base, &c.orphan, &self.origin.base), (names[1], &c.orphan, &c.base, &self.origin.orphan)];
        for (name, side, _, origin) in sides {
            let name = match name {
                "yours" => name.to_owned(),
                name => format!("{name}: {}", side_name(origin)),
            };
            let gone = if side.is_none() { ", removed it" } else { "" };
            let here = if self.stands(side) { ", as it stands now" } else { ", NOT in the file now" };
            text.push_str(&format!("  {name}{gone}{here}\n"));
            if side.is_some() {
                text.push_str(&lines(&indented_diff(&before, &self.show(side))));
            }
        }
        text.push_str(&format!("  leave it as it stands:  ibgib resolve {id} --keep"));
        for (name, side, other, _) in sides {
            match (self.stands(side), self.stands(other)) {
                (false, _) => text.push_str(&format!("\n  bring back what lost:   ibgib resolve {id} --{name}")),
                (true, true) => {
                    text.push_str(&format!("\n  only {:19}ibgib resolve {id} --{name}", format!("{name}:")));
                }
                _ => {}
            }
        }
        text
    }
}

/// The part of the file that a conflict is about.
fn what(c: &Conflict) -> String {
    let whole = |v: &Option<Value>| v.is_none() || *v == c.now;
    match c.path.as_str() {
        "/data/text" if whole(&c.base) || whole(&c.orphan) => "the whole text".to_owned(),
        "/data/text" => "the same lines".to_owned(),
        "/data/blob" => "the whole content".to_owned(),
        "/data/text#" => "the document".to_owned(),
        path if c.file.is_some() => path.strip_prefix("/data/text#").unwrap_or(path).to_owned(),
        path => path.to_owned(),
    }
}

impl ConflictReport {
    /// One side's value.
    fn show(&self, value: &Option<Value>) -> String {
        match value {
            None => String::new(),
            Some(Value::String(blob)) if self.conflict.path == "/data/blob" => match self.sizes.get(blob) {
                Some(n) => format!("{n} bytes: ibgib show {blob:?} --raw\n"),
                None => format!("{blob}\n"),
            },
            Some(Value::String(text)) => format!("{}\n", text.trim_end_matches('\n')),
            Some(value) => format!("{}\n", value.to_json()),
        }
    }

    /// Whether a side's value, or its lines, stand in the file now.
    fn stands(&self, side: &Option<Value>) -> bool {
        match (side, &self.conflict.now) {
            (Some(Value::String(lines)), Some(Value::String(now))) if self.conflict.path == "/data/text" => {
                format!("\n{now}\n").contains(&format!("\n{lines}\n")) || now == lines
            }
            (side, now) => side == now,
        }
    }
}

fn indented_diff(before: &str, after: &str) -> String {
    let mut text = String::new();
    let diff = TextDiff::from_lines(before, after);
    for (i, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if i > 0 {
            text.push_str("    ...\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            text.push_str(&format!("    {}{change}", change.tag()));
        }
    }
    text
}
