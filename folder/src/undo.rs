//! Going back: old contents become new frames; history is never rewritten.

use crate::checkout::{CheckoutOpts, CheckoutReport};
use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{EntryEdit, NewContent, edit_file, shard_of};
use crate::path::EntryPath;
use crate::scan::Scan;
use crate::writer::Writer;
use ibgib::{Addr, Mode, Value, strings};
use ibgib_spaces::Space;
use std::collections::BTreeMap;

/// Records of what each snapshot changed, under a number that counts up.
const PREFIX: &str = "folder/undo/";
/// Snapshots that can be undone, one after the other.
const SNAPSHOTS_MAX: usize = 32;

/// What an undo or a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoReport {
    /// Files that got a new frame or another executable bit, sorted.
    pub changed: Vec<EntryPath>,
    /// What that did to the files on disk.
    pub checkout: CheckoutReport,
    /// Conflicts recorded, where others had edited the same places since.
    pub conflicts: usize,
}

/// One file's part in a snapshot.
#[derive(Debug, PartialEq)]
struct Noted {
    path: EntryPath,
    before: Addr,
    after: Addr,
    exec: Option<bool>,
}

/// Remembers what a snapshot changed.
pub(crate) async fn note(writer: &mut Writer<'_>, space: &dyn Space, scan: &Scan) -> Result<(), FolderError> {
    if scan.taken.is_empty() {
        return Ok(());
    }
    let old = space.records(PREFIX).await?;
    let last = old.last().and_then(|(key, _)| u64::from_str_radix(key.strip_prefix(PREFIX)?, 16).ok());
    for (key, _) in old.iter().take((old.len() + 1).saturating_sub(SNAPSHOTS_MAX)) {
        writer.record(key.clone(), None);
    }
    let lines = scan.taken.iter().map(|(path, taken)| {
        let exec = match taken.before.stat {
            Some(stat) if stat.exec => "x",
            Some(_) => "-",
            None => "",
        };
        strings([path.key(), taken.before.addr.to_string(), taken.after.to_string(), exec.to_owned()])
    });
    let text = Value::Array(lines.collect()).to_json();
    writer.record(format!("{PREFIX}{:016x}", last.map_or(0, |n| n + 1)), Some(text.into_bytes()));
    Ok(())
}

fn read_notes(bytes: &[u8]) -> Option<Vec<Noted>> {
    let value = Value::parse(std::str::from_utf8(bytes).ok()?, Mode::Strict).ok()?;
    let line = |line: &Value| {
        let items: Vec<&str> = line.as_array()?.iter().filter_map(Value::as_str).collect();
        let [key, before, after, exec] = items[..] else { return None };
        let exec = if exec.is_empty() { None } else { Some(exec == "x") };
        Some(Noted {
            path: EntryPath::from_key(key).ok()?,
            before: before.parse().ok()?,
            after: after.parse().ok()?,
            exec,
        })
    };
    value.as_array()?.iter().map(line).collect()
}

impl Folder {
    /// Takes back what the newest snapshot that was not undone yet changed: each of its files gets a new frame, built
    /// on the snapshot's own, with the content of before; what happened to the file since is merged, not undone.
    /// Then those files are checked out. Undoing again goes further back.
    ///
    /// # Errors
    /// [`FolderError::NothingToUndo`]; [`FolderError::Unsaved`] unless `force`; a failing space or directory.
    pub async fn undo(&self, force: bool, moments: &mut Moments<'_>) -> Result<UndoReport, FolderError> {
        let mut records = self.space.records(PREFIX).await?;
        let (key, bytes) = records.pop().ok_or(FolderError::NothingToUndo)?;
        let notes = read_notes(&bytes).unwrap_or_default();
        if !force {
            self.ensure_saved(&notes.iter().map(|n| n.path.clone()).collect()).await?;
        }
        let mut writer = Writer::new(&*self.space);
        let listing = self.listing().await?;
        let mut entries: BTreeMap<u8, BTreeMap<EntryPath, EntryEdit>> = BTreeMap::new();
        let mut changed = Vec::new();
        for note in notes {
            let before = Content::of(&*self.space, &node_at(&*self.space, &note.before).await?).await?;
            let mut on = node_at(&*self.space, &note.after).await?;
            let after = Content::of(&*self.space, &on).await?;
            let edited = before != after;
            if edited {
                // Later edits that came to nothing (they were undone, say) are no edits to merge with.
                let tip = node_at(&*self.space, &self.tip(&note.path).await?).await?;
                match Content::of(&*self.space, &tip).await {
                    Ok(now) if now == after => on = tip,
                    Err(error) if error.bad_frame().is_none() => return Err(error),
                    _ => {}
                }
                let edit = edit_file(&on, renew(before), &moments())?;
                writer.edit(self.file_tjp(&note.path)?, Some(&on), edit);
                writer.flush_if_full().await?;
            }
            let entry = listing.entries.get(&note.path);
            let exec = note.exec.filter(|exec| entry.is_some_and(|e| e.exec != *exec));
            if exec.is_some() {
                let edit = EntryEdit { file: None, kind: None, exec };
                entries.entry(shard_of(&note.path)).or_default().insert(note.path.clone(), edit);
            }
            if edited || exec.is_some() {
                changed.push(note.path);
            }
        }
        self.write_entries(entries, &listing, &mut writer, moments).await?;
        writer.record(key, None);
        writer.flush().await?;
        self.show(changed, force, writer.conflicts).await
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
            let edit = edit_file(&tip, renew(content), &moments())?;
            writer.edit(self.file_tjp(path)?, Some(&tip), edit);
            writer.flush().await?;
            changed.push(path.clone());
        }
        self.show(changed, force, writer.conflicts).await
    }

    async fn show(&self, changed: Vec<EntryPath>, force: bool, conflicts: usize) -> Result<UndoReport, FolderError> {
        let mut report = UndoReport { changed, conflicts, ..UndoReport::default() };
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
        Content::Blob(blob) => NewContent::Blob(blob.addr),
    }
}
