//! Taking a snapshot: what changed on disk becomes frames.

use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Folder, Listing, Moments, Skipped, tips_of};
use crate::frames::{EntryEdit, SHARDS, edit_folder, edit_shard, mutate, shard_of};
use crate::keeping::Keeping;
use crate::path::EntryPath;
use crate::record::Record;
use crate::scan::{ChangeKind, Scan, Taking};
use crate::undo;
use crate::writer::Writer;
use std::collections::BTreeMap;

/// What a snapshot took. Lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotReport {
    /// New files.
    pub added: Vec<EntryPath>,
    /// Files with another content or executable bit.
    pub modified: Vec<EntryPath>,
    /// Files that are gone.
    pub deleted: Vec<EntryPath>,
    /// Files that are new and have the content of one that is gone: old path, new path. They are in no other list.
    pub renamed: Vec<(EntryPath, EntryPath)>,
    /// Of the new files, those whose names another kind of system cannot hold or reads as something else. They are
    /// taken like the others.
    pub unportable: Vec<EntryPath>,
    /// Paths that were left out.
    pub skipped: Vec<Skipped>,
    /// Merge frames made, where tips had moved since the files were checked out.
    pub merges: usize,
    /// Conflicts that those recorded.
    pub conflicts: usize,
}

impl SnapshotReport {
    /// Whether nothing had changed.
    pub fn is_clean(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.deleted.is_empty() && self.renamed.is_empty()
    }
}

impl Folder {
    /// Takes all changes on disk into the space. Each file's new frame is built on the frame that the file was last
    /// checked out at and joined with the file's tip if that moved since: what others did meanwhile is merged, never
    /// undone. The files themselves stay as they are until [`Folder::checkout`].
    ///
    /// Long work is committed in pieces, files before the entries that name them; a snapshot that is killed goes on
    /// where it was when it is taken again.
    ///
    /// # Errors
    /// A failing space or directory; [`FolderError::Busy`].
    pub async fn snapshot(&self, moments: &mut Moments<'_>) -> Result<SnapshotReport, FolderError> {
        let mut writer = Writer::new(&*self.space);
        let scan = self.scan(Some(Taking { writer: &mut writer, moments: &mut *moments })).await?;
        // Files first: a shard relates to them.
        writer.flush().await?;
        let listing = self.listing().await?;
        let edits = self.entry_edits(&scan, &listing, self.keeping().await?)?;
        self.write_entries(edits, &listing, &mut writer, moments).await?;
        for path in &scan.waiting {
            writer.record(Record::key(path), scan.records.get(path).map(Record::to_bytes));
        }
        let first = listing.entries.is_empty();
        undo::note_snapshot(&mut writer, &*self.space, &scan, first, moments().now_ms).await?;
        writer.flush().await?;
        self.edit_own(!scan.taken.is_empty(), &mut writer, moments).await?;

        let mut report = SnapshotReport { merges: writer.merges, conflicts: writer.conflicts, ..Default::default() };
        for change in scan.changes() {
            match change.change {
                ChangeKind::Added => report.added.push(change.path),
                ChangeKind::Modified => report.modified.push(change.path),
                ChangeKind::Deleted => report.deleted.push(change.path),
                ChangeKind::Renamed { from } => report.renamed.push((from, change.path)),
            }
        }
        let new = report.added.iter().chain(report.renamed.iter().map(|(_, to)| to));
        report.unportable = new.filter(|p| p.check().is_err_and(|e| e.is_unportable())).cloned().collect();
        report.unportable.sort_unstable();
        report.skipped = scan.skipped;
        Ok(report)
    }

    /// What entries must say after the scan: every file here has one (also if an earlier snapshot was killed before
    /// it wrote them), and the executable bit, and where the folder keeps
    /// them the permissions, follow the disk where the disk changed them.
    fn entry_edits(
        &self,
        scan: &Scan,
        listing: &Listing,
        keeping: Keeping,
    ) -> Result<BTreeMap<u8, BTreeMap<EntryPath, EntryEdit>>, FolderError> {
        let mut out: BTreeMap<u8, BTreeMap<EntryPath, EntryEdit>> = BTreeMap::new();
        for (path, record) in &scan.records {
            let Some(stat) = record.base.stat else { continue };
            let kind = scan.kinds.get(path).copied();
            let edit = match listing.entries.get(path) {
                None => {
                    let file = Some(self.file_tjp(path)?);
                    let mode = (keeping.modes && !stat.link).then_some(stat.mode);
                    EntryEdit { file, kind: Some(kind.unwrap_or("text")), exec: Some(stat.exec), mode }
                }
                Some(entry) => {
                    let taken = scan.taken.get(path);
                    // A file that is back may be executable or not, whatever it was when it was deleted.
                    let changed = taken.is_some_and(|t| t.before.stat.is_none_or(|then| keeping.differ(&then, &stat)));
                    EntryEdit {
                        file: None,
                        kind: kind.filter(|k| *k != entry.kind),
                        exec: (changed && entry.exec != stat.exec).then_some(stat.exec),
                        mode: (changed && keeping.modes && !stat.link && entry.mode != Some(stat.mode))
                            .then_some(stat.mode),
                    }
                }
            };
            if !edit.is_empty() {
                out.entry(shard_of(path)).or_default().insert(path.clone(), edit);
            }
        }
        Ok(out)
    }

    pub(crate) async fn write_entries(
        &self,
        edits: BTreeMap<u8, BTreeMap<EntryPath, EntryEdit>>,
        listing: &Listing,
        writer: &mut Writer<'_>,
        moments: &mut Moments<'_>,
    ) -> Result<(), FolderError> {
        for (number, edits) in edits {
            let first = self.first_frames.shard(number)?;
            let tjp = first.frame.addr().clone();
            match listing.shards.get(&number) {
                Some(tip) => {
                    let edit = self.attributed(edit_shard(tip, &edits, &moments())?)?;
                    writer.edit(tjp, Some(tip), edit);
                }
                None => {
                    let edit = self.attributed(edit_shard(&first.frame, &edits, &moments())?)?;
                    writer.edit(tjp, None, first.nodes().into_iter().chain(edit).collect());
                }
            }
            writer.flush_if_full().await?;
        }
        Ok(())
    }

    /// Relates the folder to the shards that it does not know yet, and after an edit writes this device's name in. A
    /// folder that was joined and never synced has no frame to build on; the snapshot after the first sync catches up.
    async fn edit_own(
        &self,
        edited: bool,
        writer: &mut Writer<'_>,
        moments: &mut Moments<'_>,
    ) -> Result<(), FolderError> {
        let Some(tip) = self.space.tip(self.tjp()).await? else { return Ok(()) };
        let tip = node_at(&*self.space, &tip.addr).await?;
        let known = tip.rel8n_addrs("shard");
        let mut missing = Vec::new();
        for number in 0..SHARDS {
            missing.push(self.first_frames.shard_addr(number as u8)?);
        }
        missing.retain(|shard| !known.contains(shard));
        let here = tips_of(&*self.space, &missing).await?;
        missing.retain(|shard| here.contains_key(shard));
        let mut nodes = Vec::new();
        if !missing.is_empty() {
            nodes.extend(edit_folder(&tip, missing, &moments())?);
        }
        let on = nodes.last().unwrap_or(&tip).clone();
        if let Some(patch) = self.introduction(&on).filter(|_| edited) {
            mutate(&on, None, patch, &moments(), &mut nodes)?;
        }
        if !nodes.is_empty() {
            writer.edit(self.tjp().clone(), Some(&tip), self.attributed(nodes)?);
        }
        writer.flush().await
    }
}
