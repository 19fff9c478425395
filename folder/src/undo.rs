//! Going back: old contents become new frames; history is never rewritten.

use crate::checkout::{CheckoutOpts, CheckoutReport};
use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{EntryEdit, NewContent, Node, edit_file, shard_of};
use crate::path::EntryPath;
use crate::scan::{Change, ChangeKind, Scan, with_renames};
use crate::writer::Writer;
use ibgib::{Addr, Mode, Value, object, strings};
use ibgib_spaces::Space;
use std::collections::{BTreeMap, HashSet};

/// Records of what was done here and can be taken back, under numbers that count up.
const UNDO: &str = "folder/undo/";
/// Records of what was taken back and can be done again.
const REDO: &str = "folder/redo/";
/// Deeds that can be undone, one after the other.
const UNDO_MAX: usize = 32;

/// What can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UndoKind {
    /// A snapshot.
    Snapshot,
    /// A restore of a file's earlier content.
    Restore,
    /// A conflict, or several of them, that was settled.
    Resolve,
    /// Files that were taken out of the folder and stayed here.
    Untrack,
}

impl UndoKind {
    const ALL: [Self; 4] = [Self::Snapshot, Self::Restore, Self::Resolve, Self::Untrack];

    /// `snapshot`, `restore`, `resolve` or `untrack`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
            Self::Resolve => "resolve",
            Self::Untrack => "untrack",
        }
    }
}

/// What the next undo, or the next redo, is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoPlan {
    /// What was done.
    pub kind: UndoKind,
    /// When it was done, in milliseconds since 1970.
    pub when_ms: i64,
    /// It is the snapshot that the folder began with: undoing it takes away all that was there then.
    pub first: bool,
    /// What would happen to which files, sorted by path.
    pub files: Vec<Change>,
}

/// What an undo, a redo or a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoReport {
    /// Files that got a new frame or another executable bit, sorted.
    pub changed: Vec<EntryPath>,
    /// What that did to the files on disk.
    pub checkout: CheckoutReport,
    /// Conflicts recorded, where others had edited the same places since.
    pub conflicts: usize,
}

/// Something that was done, as it is remembered.
#[derive(Debug, PartialEq)]
pub(crate) struct Deed {
    pub(crate) kind: UndoKind,
    pub(crate) when_ms: i64,
    pub(crate) first: bool,
    pub(crate) files: Vec<Noted>,
}

/// One file's part in it.
#[derive(Debug, PartialEq)]
pub(crate) struct Noted {
    pub(crate) path: EntryPath,
    /// The frames before and after; equal where only the executable bit changed.
    pub(crate) before: Addr,
    pub(crate) after: Addr,
    /// The executable bit before, if that counts.
    pub(crate) exec: Option<bool>,
}

/// Remembers what a snapshot changed. `first`: the folder had no file before.
pub(crate) async fn note_snapshot(
    writer: &mut Writer<'_>,
    space: &dyn Space,
    scan: &Scan,
    first: bool,
    when_ms: i64,
) -> Result<(), FolderError> {
    let noted = |(path, taken): (&EntryPath, &crate::scan::Taken)| Noted {
        path: path.clone(),
        before: taken.before.addr.clone(),
        after: taken.after.clone(),
        exec: taken.before.stat.map(|stat| stat.exec),
    };
    let files = scan.taken.iter().map(noted).collect();
    note(writer, space, &Deed { kind: UndoKind::Snapshot, when_ms, first, files }).await
}

/// Remembers what was done, with the edits that did it. What had been undone before cannot be done again after it.
pub(crate) async fn note(writer: &mut Writer<'_>, space: &dyn Space, deed: &Deed) -> Result<(), FolderError> {
    if deed.files.is_empty() {
        return Ok(());
    }
    for (key, _) in space.records(REDO).await? {
        writer.record(key, None);
    }
    push(writer, space, UNDO, deed).await
}

/// The frames that were made here, as far as it is remembered what was done.
pub(crate) async fn made_here(space: &dyn Space) -> Result<HashSet<Addr>, FolderError> {
    let mut made = HashSet::new();
    for list in [UNDO, REDO] {
        let deeds = space.records(list).await?;
        let files = deeds.into_iter().filter_map(|(_, bytes)| Deed::from_bytes(&bytes)).flat_map(|deed| deed.files);
        made.extend(files.map(|file| file.after));
    }
    Ok(made)
}

async fn push(writer: &mut Writer<'_>, space: &dyn Space, list: &str, deed: &Deed) -> Result<(), FolderError> {
    let old = space.records(list).await?;
    let last = old.last().and_then(|(key, _)| u64::from_str_radix(key.strip_prefix(list)?, 16).ok());
    for (key, _) in old.iter().take((old.len() + 1).saturating_sub(UNDO_MAX)) {
        writer.record(key.clone(), None);
    }
    let key = format!("{list}{:016x}", last.map_or(0, |n| n + 1));
    writer.record(key, Some(deed.to_value().to_json().into_bytes()));
    Ok(())
}

impl Deed {
    fn to_value(&self) -> Value {
        let row = |file: &Noted| {
            let exec = file.exec.map_or("", |exec| if exec { "x" } else { "-" });
            strings([file.path.key(), file.before.to_string(), file.after.to_string(), exec.to_owned()])
        };
        object([
            ("what", self.kind.as_str().into()),
            ("when", self.when_ms.to_string().into()),
            ("first", self.first.into()),
            ("files", Value::Array(self.files.iter().map(row).collect())),
        ])
    }

    /// `None` when the bytes are no record of a deed.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value = Value::parse(std::str::from_utf8(bytes).ok()?, Mode::Strict).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let row = |row: &Value| {
            let items: Vec<&str> = row.as_array()?.iter().filter_map(Value::as_str).collect();
            let [key, before, after, exec] = items[..] else { return None };
            Some(Noted {
                path: EntryPath::from_key(key).ok()?,
                before: before.parse().ok()?,
                after: after.parse().ok()?,
                exec: if exec.is_empty() { None } else { Some(exec == "x") },
            })
        };
        Some(Self {
            kind: UndoKind::ALL.into_iter().find(|kind| text("what") == Some(kind.as_str()))?,
            when_ms: text("when")?.parse().ok()?,
            first: value.get("first").and_then(Value::as_bool)?,
            files: value.get("files")?.as_array()?.iter().map(row).collect::<Option<_>>()?,
        })
    }
}

/// What taking back does to one file.
struct Back {
    /// The frame that it takes back, and that it is built on if the file is at it still.
    after: Node,
    /// The content before and after.
    before: Content,
    now: Content,
}

impl Back {
    async fn of(space: &dyn Space, file: &Noted) -> Result<Self, FolderError> {
        let (before, after) = (node_at(space, &file.before).await?, node_at(space, &file.after).await?);
        let (before, now) = (Content::of(space, &before).await?, Content::of(space, &after).await?);
        Ok(Self { after, before, now })
    }

    fn edits(&self) -> bool {
        self.before != self.now
    }

    fn change(&self) -> ChangeKind {
        match (self.now.is_absent(), self.before.is_absent()) {
            (true, false) => ChangeKind::Added,
            (false, true) => ChangeKind::Deleted,
            _ => ChangeKind::Modified,
        }
    }
}

impl Folder {
    /// What [`Folder::undo`] would take back now.
    ///
    /// # Errors
    /// [`FolderError::NothingToUndo`]; a failing space.
    pub async fn undo_plan(&self) -> Result<UndoPlan, FolderError> {
        self.plan_back(UNDO).await
    }

    /// What [`Folder::redo`] would do again now.
    ///
    /// # Errors
    /// [`FolderError::NothingToRedo`]; a failing space.
    pub async fn redo_plan(&self) -> Result<UndoPlan, FolderError> {
        self.plan_back(REDO).await
    }

    async fn plan_back(&self, list: &str) -> Result<UndoPlan, FolderError> {
        let (_, deed) = self.newest(list).await?;
        let mut files = Vec::new();
        let listing = self.listing().await?;
        for file in &deed.files {
            let back = Back::of(&*self.space, file).await?;
            let entry = listing.entries.get(&file.path);
            if back.edits() || file.exec.is_some_and(|exec| entry.is_some_and(|e| e.exec != exec)) {
                // What comes back, or else what goes.
                let content = if back.before.is_absent() { &back.now } else { &back.before };
                files.push((&file.path, back.change(), content.digest()));
            }
        }
        files.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let files =
            with_renames(files.iter().map(|(path, change, digest)| (*path, change, digest.as_deref())).collect());
        Ok(UndoPlan { kind: deed.kind, when_ms: deed.when_ms, first: deed.first, files })
    }

    /// The newest deed of a list. One that cannot be read ends the list: what lies before it was done before it.
    async fn newest(&self, list: &str) -> Result<(String, Deed), FolderError> {
        let newest = self.space.records(list).await?.pop();
        let read = newest.and_then(|(key, bytes)| Some((key, Deed::from_bytes(&bytes)?)));
        read.ok_or(if list == UNDO { FolderError::NothingToUndo } else { FolderError::NothingToRedo })
    }

    /// Takes back what was done here last and was not undone yet, be it a snapshot, a restore, an untracking or
    /// the settling of conflicts: each of its files gets a new frame, built on the one that is taken back, with the content of before;
    /// what happened to the file since is merged, not undone. Conflicts that were settled stay so: only merges record
    /// them. Then those files are checked out. Undoing again goes further back.
    ///
    /// # Errors
    /// [`FolderError::NothingToUndo`]; [`FolderError::Unsaved`] unless `force`; a failing space or directory.
    pub async fn undo(&self, force: bool, moments: &mut Moments<'_>) -> Result<UndoReport, FolderError> {
        self.take_back(UNDO, REDO, force, moments).await
    }

    /// Does again what the newest undo took back, in the same way. After anything else was done nothing can be done
    /// again.
    ///
    /// # Errors
    /// [`FolderError::NothingToRedo`]; [`FolderError::Unsaved`] unless `force`; a failing space or directory.
    pub async fn redo(&self, force: bool, moments: &mut Moments<'_>) -> Result<UndoReport, FolderError> {
        self.take_back(REDO, UNDO, force, moments).await
    }

    /// Takes back the newest deed of one list and puts what that does onto the other.
    async fn take_back(
        &self,
        from: &str,
        to: &str,
        force: bool,
        moments: &mut Moments<'_>,
    ) -> Result<UndoReport, FolderError> {
        let (key, deed) = self.newest(from).await?;
        if !force {
            self.ensure_saved(&deed.files.iter().map(|n| n.path.clone()).collect()).await?;
        }
        let mut writer = Writer::new(&*self.space);
        let listing = self.listing().await?;
        let mut entries: BTreeMap<u8, BTreeMap<EntryPath, EntryEdit>> = BTreeMap::new();
        let (mut changed, mut inverse) = (Vec::new(), Vec::new());
        for file in deed.files {
            let back = Back::of(&*self.space, &file).await?;
            let mut made = file.before.clone();
            if back.edits() {
                let (on, nodes) = self.edit_back(&file.path, &back, moments).await?;
                made = nodes.last().map_or(made, |node| node.addr().clone());
                writer.edit(self.file_tjp(&file.path)?, Some(&on), nodes);
                writer.flush_if_full().await?;
            }
            let entry = listing.entries.get(&file.path);
            let flipped = file.exec.filter(|exec| entry.is_some_and(|e| e.exec != *exec));
            if flipped.is_some() {
                let edit = EntryEdit { exec: flipped, ..EntryEdit::default() };
                entries.entry(shard_of(&file.path)).or_default().insert(file.path.clone(), edit);
            }
            let exec = entry.map(|entry| entry.exec);
            inverse.push(Noted { path: file.path.clone(), before: file.after, after: made, exec });
            if back.edits() || flipped.is_some() {
                changed.push(file.path);
            }
        }
        self.write_entries(entries, &listing, &mut writer, moments).await?;
        let mut shown = changed.clone();
        if deed.kind == UndoKind::Untrack {
            let files: Vec<(&EntryPath, &Addr)> = inverse.iter().map(|file| (&file.path, &file.after)).collect();
            let here = self.track_again(&files, from == UNDO, &mut writer).await?;
            // What stands here stays as it is, whichever way.
            shown.retain(|path| !here.contains(path));
        }
        writer.record(key, None);
        push(&mut writer, &*self.space, to, &Deed { files: inverse, ..deed }).await?;
        writer.flush().await?;
        let shown = self.show(shown, force).await?;
        Ok(UndoReport { changed, conflicts: writer.conflicts, ..shown })
    }

    /// The frames that take back one file's part, and what they are built on.
    async fn edit_back(
        &self,
        path: &EntryPath,
        back: &Back,
        moments: &mut Moments<'_>,
    ) -> Result<(Node, Vec<Node>), FolderError> {
        let mut on = back.after.clone();
        // Later edits that came to nothing (they were undone, say) are no edits to merge with.
        let tip = node_at(&*self.space, &self.tip(path).await?).await?;
        match Content::of(&*self.space, &tip).await {
            Ok(now) if now == back.now => on = tip,
            Err(error) if error.bad_frame().is_none() => return Err(error),
            _ => {}
        }
        let nodes = self.attributed(edit_file(&on, renew(back.before.clone()), None, &moments())?)?;
        Ok((on, nodes))
    }

    /// Gives the file at `path` the content that it had at frame `addr`, as a new frame on its tip, and checks it out.
    ///
    /// # Errors
    /// [`FolderError::OtherTimeline`] when `addr` is no frame of this file; [`FolderError::NoEntry`];
    /// [`FolderError::Unsaved`] unless `force`; a failing space or directory.
    pub async fn restore(
        &self,
        path: &EntryPath,
        addr: &Addr,
        force: bool,
        moments: &mut Moments<'_>,
    ) -> Result<UndoReport, FolderError> {
        let tip = node_at(&*self.space, &self.tip(path).await?).await?;
        let old = node_at(&*self.space, addr).await?;
        if old.tjp() != tip.tjp() {
            return Err(FolderError::OtherTimeline { path: path.to_string(), addr: addr.clone() });
        }
        if !force {
            self.ensure_saved(&[path.clone()].into()).await?;
        }
        let content = Content::of(&*self.space, &old).await?;
        let mut writer = Writer::new(&*self.space);
        let mut changed = Vec::new();
        if content != Content::of(&*self.space, &tip).await? {
            let moment = moments();
            let edit = self.attributed(edit_file(&tip, renew(content), None, &moment)?)?;
            let after = edit.last().unwrap_or(&tip).addr().clone();
            writer.edit(self.file_tjp(path)?, Some(&tip), edit);
            let noted = Noted { path: path.clone(), before: tip.addr().clone(), after, exec: None };
            let (kind, when_ms) = (UndoKind::Restore, moment.now_ms);
            note(&mut writer, &*self.space, &Deed { kind, when_ms, first: false, files: vec![noted] }).await?;
            writer.flush().await?;
            changed.push(path.clone());
        }
        Ok(UndoReport { conflicts: writer.conflicts, ..self.show(changed, force).await? })
    }

    /// Checks out what changed.
    async fn show(&self, changed: Vec<EntryPath>, force: bool) -> Result<UndoReport, FolderError> {
        let mut report = UndoReport { changed, ..UndoReport::default() };
        if !report.changed.is_empty() {
            let opts = CheckoutOpts { paths: report.changed.clone(), force, ..CheckoutOpts::default() };
            report.checkout = self.checkout(&opts).await?;
        }
        Ok(report)
    }
}

/// A content as an edit writes it.
pub(crate) fn renew(content: Content) -> NewContent {
    match content {
        Content::Absent => NewContent::Absent,
        Content::Text(text) => NewContent::Text(text),
        Content::Link(target) => NewContent::Link(target),
        Content::Blob(blob) => NewContent::Blob(blob.addr),
    }
}
