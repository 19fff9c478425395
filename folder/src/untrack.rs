//! Taking files out of the folder that stay on this device's disk.

use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{NewContent, edit_file};
use crate::path::EntryPath;
use crate::record::Record;
use crate::writer::Writer;
use ibgib::{Mode, Value, strings};
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

    /// Takes files out of the folder, `paths` being files and directories: they are deleted on other devices, and stay
    /// here, where snapshots leave them out for as long as they stand there. Answers which.
    ///
    /// # Errors
    /// [`FolderError::NoEntry`] when the folder has no file at one of the paths or below; a failing space.
    pub async fn untrack(&self, paths: &[EntryPath], moments: &mut Moments<'_>) -> Result<Vec<EntryPath>, FolderError> {
        let records = self.file_records().await?;
        let is_here = |record: &Record| record.base.stat.is_some();
        let inside = |path: &EntryPath, record: &Record, dir: &EntryPath| {
            path.is_within(dir) || record.on_disk(path).is_within(dir)
        };
        for dir in paths {
            if !records.iter().any(|(path, record)| is_here(record) && inside(path, record, dir)) {
                return Err(FolderError::NoEntry(dir.to_string()));
            }
        }
        let mut untracked = self.untracked().await?;
        let mut writer = Writer::new(&*self.space);
        let mut out = Vec::new();
        for (path, record) in &records {
            if !is_here(record) || !paths.iter().any(|dir| inside(path, record, dir)) {
                continue;
            }
            let on = node_at(&*self.space, &record.base.addr).await?;
            let edit = self.attributed(edit_file(&on, NewContent::Absent, None, &moments())?)?;
            writer.edit(self.file_tjp(path)?, Some(&on), edit);
            // A file without a record is nobody's but the user's: no checkout removes it.
            writer.record(Record::key(path), None);
            untracked.insert(record.on_disk(path).clone());
            out.push(path.clone());
        }
        remember(&mut writer, &untracked);
        writer.flush().await?;
        Ok(out)
    }
}
