//! Files that are on this device's disk and were taken out of the folder.

use crate::error::FolderError;
use crate::folder::Folder;
use crate::path::EntryPath;
use crate::record::{Base, Record};
use crate::tree::{OnDisk, Stat};
use crate::writer::Writer;
use ibgib::{Addr, Mode, Value, strings};
use std::collections::BTreeSet;

/// The record of the paths on disk that are no files of the folder any more.
const RECORD: &str = "folder/untracked";

/// The reason of a path that was taken out of the folder and is still here.
pub(crate) const UNTRACKED: &str = "untracked";

/// Puts the paths into the writer.
pub(crate) fn remember(writer: &mut Writer<'_>, paths: &BTreeSet<EntryPath>) {
    let keys = strings(paths.iter().map(EntryPath::key));
    writer.record(RECORD.to_owned(), (!paths.is_empty()).then(|| keys.to_json().into_bytes()));
}

impl Folder {
    /// Paths on disk that were taken out of the folder.
    pub(crate) async fn untracked(&self) -> Result<BTreeSet<EntryPath>, FolderError> {
        let keys = |bytes: Vec<u8>| Value::parse(std::str::from_utf8(&bytes).ok()?, Mode::Strict).ok();
        let value = self.space.record(RECORD).await?.and_then(keys);
        let keys = value.as_ref().and_then(Value::as_array).unwrap_or_default();
        Ok(keys.iter().filter_map(|key| EntryPath::from_key(key.as_str()?).ok()).collect())
    }

    /// What goes along on this device when an untracking is taken back (`tracked`) or done again: `files` with the frames
    /// that do it. Answers those that stand here.
    pub(crate) async fn track_again(
        &self,
        files: &[(&EntryPath, &Addr)],
        tracked: bool,
        writer: &mut Writer<'_>,
    ) -> Result<BTreeSet<EntryPath>, FolderError> {
        let mut untracked = self.untracked().await?;
        let records = self.file_records().await?;
        let mut here = BTreeSet::new();
        for (path, frame) in files {
            let at = records.get(*path).map_or(*path, |record| record.on_disk(path));
            let OnDisk::File(stat) = self.tree.look(at).unwrap_or(OnDisk::Nothing) else { continue };
            here.insert((*path).clone());
            let mut record = None;
            if tracked {
                untracked.remove(at);
                // Seen as changed, so that the next snapshot compares it with the frame.
                let base = Base { addr: (*frame).clone(), stat: Some(Stat { mtime: -1, ..stat }) };
                record = Some(Record::from(base).standing(path, at).to_bytes());
            } else {
                untracked.insert(at.clone());
            }
            writer.record(Record::key(path), record);
        }
        remember(writer, &untracked);
        Ok(here)
    }
}
