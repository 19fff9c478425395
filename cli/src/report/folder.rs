//! What was done with a folder's files.

use super::{Report, Style, addr, count, list, number, paths, plural, text};
use crate::brief::{Known, nameless};
use crate::contact::Contact;
use crate::error::Exit;
use crate::escape::{lines, shown};
use ibgib::{Addr, Value, object, strings};
use ibgib_folder::{
    Change, ChangeKind, CheckoutReport, Conflict, ConflictOrigin, Diff, EditOrigin, EntryPath, FileContent, Refused,
    Resolution, Skipped, SnapshotReport, StatusReport, Twin, UndoReport,
};
use similar::TextDiff;

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
    /// It is a clone that was not finished.
    pub(crate) incomplete: bool,
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
        let changes = list(&folder.status.changes, changed);
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
            ("incomplete", folder.incomplete.into()),
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
            text.push_str(&format!("{:8} {}\n", c.change.as_str(), path_told(c)));
        }
        for s in &folder.status.skipped {
            text.push_str(&format!("skipped  {}: {}\n", shown(&s.path), shown(&s.reason)));
        }
        text.push_str(kept_back(&folder.status.skipped));
        match (folder.status.changes.is_empty(), folder.status.skipped.is_empty()) {
            _ if folder.incomplete => text.push_str("the clone is not complete: 'ibgib sync' goes on\n"),
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
    /// Those that were not: what they are about was edited or removed since.
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
            text.push_str(&format!(
                "left    {stone}: what it is about was edited or removed since; it can only be kept (--keep)\n"
            ));
        }
        text
    }
}

/// One open conflict.
pub(crate) struct ConflictReport {
    pub(crate) conflict: Conflict,
    pub(crate) origin: ConflictOrigin,
}

impl Report for ConflictReport {
    fn to_json(&self) -> Value {
        let c = &self.conflict;
        let part = |v: &Option<Value>| v.clone().unwrap_or(Value::Null);
        let told = self.origin.told();
        let whole = c.whole.as_ref().map_or(Value::Null, |whole| {
            object([
                ("ancestor", text(whole.ancestor.as_ref().map(FileContent::kind))),
                ("base", whole.base.kind().into()),
                ("orphan", whole.orphan.kind().into()),
                ("now", whole.now.kind().into()),
            ])
        });
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
            ("whole", whole),
        ])
    }

    /// What either side made of what both had, what of it stands now, and what to do.
    fn to_text(&self) -> String {
        let c = &self.conflict;
        let place = c.file.as_ref().map_or_else(|| c.timeline.to_string(), ToString::to_string);
        let id: String = c.stone.gib().chars().take(DIGITS).collect();
        let mut text = format!("{}: {}  (conflict {id})\n", shown(place), shown(what(c)));
        let sides = self.sides();
        for side in &sides {
            text.push_str(&format!("  {}{}\n", side.name, side.state));
            text.push_str(&lines(&side.shown));
        }
        if c.whole.as_ref().is_some_and(|whole| whole.edited) {
            text.push_str(
                "  it was edited since, or removed, or has another name now: log and restore bring back the rest\n",
            );
        }
        text.push_str(&format!("  leave it as it stands:  ibgib resolve {id} --keep"));
        let all_stand = sides.iter().all(|side| side.stands);
        for Side { option, stands, can, .. } in &sides {
            match (can, stands) {
                (false, _) => {}
                (true, false) => text.push_str(&format!("\n  bring back what lost:   ibgib resolve {id} --{option}")),
                (true, true) if all_stand => {
                    text.push_str(&format!("\n  only {:19}ibgib resolve {id} --{option}", format!("{option}:")));
                }
                _ => {}
            }
        }
        text
    }
}

/// One side of a conflict, as people are shown it.
struct Side {
    name: String,
    /// What `resolve` calls it.
    option: &'static str,
    /// What became of it.
    state: String,
    /// What it has.
    shown: String,
    stands: bool,
    /// It can be chosen.
    can: bool,
}

/// The part of the file that a conflict is about.
fn what(c: &Conflict) -> String {
    if let Some(whole) = &c.whole {
        let is_text = |side: &FileContent| matches!(side, FileContent::Text(_) | FileContent::Nothing);
        let all = [&whole.base, &whole.orphan].into_iter().chain(&whole.ancestor);
        return if all.into_iter().all(is_text) { "the whole text" } else { "the whole content" }.to_owned();
    }
    let whole = |v: &Option<Value>| v.is_none() || *v == c.now;
    match c.path.as_str() {
        "/data/text" if whole(&c.base) || whole(&c.orphan) => "the whole text".to_owned(),
        "/data/text" => "the same lines".to_owned(),
        "/data/blob" => "the whole content".to_owned(),
        "/data/link" => "the link".to_owned(),
        "/data/text#" => "the document".to_owned(),
        path if c.file.is_some() && path.starts_with("/data/entries/") => match path.rsplit('/').next() {
            Some("mode") => "permissions".to_owned(),
            Some("exec") => "whether it may be executed".to_owned(),
            Some("kind") => "whether it is text, binary or a link".to_owned(),
            _ => path.to_owned(),
        },
        path if c.file.is_some() => path.strip_prefix("/data/text#").unwrap_or(path).to_owned(),
        path => path.to_owned(),
    }
}

impl ConflictReport {
    /// Both sides.
    fn sides(&self) -> [Side; 2] {
        let c = &self.conflict;
        let yours = self.origin.yours();
        let side = |resolution: Resolution| {
            let (word, origin, value, other) = match resolution {
                Resolution::Orphan => ("orphan", &self.origin.orphan, &c.orphan, &c.base),
                _ => ("base", &self.origin.base, &c.base, &c.orphan),
            };
            let (option, name) = match yours {
                None => (word, side_name(origin)),
                Some(yours) if yours == resolution => ("yours", "yours".to_owned()),
                Some(_) => ("theirs", format!("theirs: {}", side_name(origin))),
            };
            let (gone, stands, can, shown, untold, as_before) = match &c.whole {
                Some(whole) => {
                    let content = if resolution == Resolution::Orphan { &whole.orphan } else { &whole.base };
                    let gone = *content == FileContent::Nothing;
                    let shown = if gone { String::new() } else { show_content(whole.ancestor.as_ref(), content) };
                    let untold = matches!(content, FileContent::Text(text) if text.len() > SHOWN_BYTES_MAX);
                    let as_before = whole.ancestor.as_ref() == Some(content);
                    (gone, *content == whole.now, whole.chosen(resolution).is_some(), shown, untold, as_before)
                }
                // Both sides of lines are recorded, unless they are too large.
                None if c.path == "/data/text" && (value.is_none() || other.is_none()) => {
                    let shown = value.as_ref().map_or_else(String::new, |_| self.show(value));
                    (false, false, false, shown, value.is_none(), *value == c.ancestor)
                }
                None => {
                    let as_before = *value == c.ancestor;
                    (value.is_none(), self.stands(value), true, self.show(value), false, as_before)
                }
            };
            let same = shown.is_empty() && !gone;
            let what = match (gone, same, as_before) {
                (true, ..) => ", removed it",
                (false, true, true) => ", as it was before",
                (false, true, false) => ", which differs in the ends of its last lines",
                _ => "",
            };
            let state = match (untold && same, stands) {
                (true, _) => ", too large to be told here".to_owned(),
                (false, true) => format!("{what}, as it stands now"),
                (false, false) => format!("{what}, NOT in the file now"),
            };
            Side { name, option, state, shown: if gone { String::new() } else { shown }, stands, can }
        };
        [side(Resolution::Base), side(Resolution::Orphan)]
    }

    /// What one side made of what both had.
    fn show(&self, value: &Option<Value>) -> String {
        let told = |value: &Option<Value>| match value {
            None => String::new(),
            Some(Value::String(text)) => format!("{}\n", text.trim_end_matches('\n')),
            Some(value) => format!("{}\n", value.to_json()),
        };
        indented_diff(&told(&self.conflict.ancestor), &told(value))
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

/// Bytes of the largest text that people are shown line by line.
const SHOWN_BYTES_MAX: usize = 1024 * 1024;

/// What one side made of a whole file.
fn show_content(before: Option<&FileContent>, content: &FileContent) -> String {
    let told = |content: &FileContent| match content {
        FileContent::Nothing => String::new(),
        FileContent::Text(text) if text.len() > SHOWN_BYTES_MAX => format!("{} bytes of text\n", text.len()),
        FileContent::Text(text) if text.is_empty() => "an empty text\n".to_owned(),
        FileContent::Text(text) => format!("{}\n", text.trim_end_matches('\n')),
        FileContent::Binary { blob, bytes } => format!("{bytes} bytes: ibgib show {:?} --raw\n", blob.as_str()),
        FileContent::Link(target) => format!("symbolic link to {target}\n"),
    };
    indented_diff(&before.map(told).unwrap_or_default(), &told(content))
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

/// What happens to a file: `{"path","change"}`, and where from for one that is renamed.
pub(super) fn changed(change: &Change) -> Value {
    let mut row = object([("path", change.path.as_str().into()), ("change", change.change.as_str().into())]);
    if let (ChangeKind::Renamed { from }, Some(members)) = (&change.change, row.as_object_mut()) {
        members.insert("from", from.as_str());
    }
    row
}

/// A file that changes, for people; one that is renamed with where from.
pub(super) fn path_told(change: &Change) -> String {
    match &change.change {
        ChangeKind::Renamed { from } => format!("{} -> {}", shown(from), shown(&change.path)),
        _ => shown(&change.path).to_string(),
    }
}
