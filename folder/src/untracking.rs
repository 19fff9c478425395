//! Taking files out of the folder that stay on this device's disk.

use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{NewContent, edit_file};
use crate::path::EntryPath;
use crate::record::Record;
use crate::undo::{Deed, Noted, UndoKind, note};
use crate::untrack;
use crate::writer::Writer;

impl Folder {
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
        let (mut untracked, when_ms) = (self.untracked().await?, moments().now_ms);
        let mut noted = Vec::new();
        let mut writer = Writer::new(&*self.space);
        let mut out = Vec::new();
        for (path, record) in &records {
            if !is_here(record) || !paths.iter().any(|dir| inside(path, record, dir)) {
                continue;
            }
            let on = node_at(&*self.space, &record.base.addr).await?;
            let edit = self.attributed(edit_file(&on, NewContent::Absent, None, &moments())?)?;
            let after = edit.last().unwrap_or(&on).addr().clone();
            noted.push(Noted { path: path.clone(), before: on.addr().clone(), after, exec: None });
            writer.edit(self.file_tjp(path)?, Some(&on), edit);
            // A file without a record is nobody's but the user's: no checkout removes it.
            writer.record(Record::key(path), None);
            untracked.insert(record.on_disk(path).clone());
            out.push(path.clone());
        }
        untrack::remember(&mut writer, &untracked);
        note(&mut writer, &*self.space, &Deed { kind: UndoKind::Untrack, when_ms, first: false, files: noted }).await?;
        writer.flush().await?;
        Ok(out)
    }
}
