//! Carrying out a checkout: files are written aside, their records committed, and then they are renamed in.

use super::{CheckoutReport, FileChange};
use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::folder::{Folder, Progress, Refused};
use crate::keeping::Keeping;
use crate::path::{EntryPath, decode};
use crate::record::{Base, Record};
use crate::times::time_of;
use crate::tree::{OnDisk, Stat, stat_of, sync_one};
use crate::writer::Writer;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek, Write};

/// Files that are written before their records are committed and they are renamed in.
const BATCH_FILES_MAX: usize = 512;
/// Bytes, likewise.
const BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The smallest hole.
const BLOCK_BYTES: usize = 4096;

/// A change whose temporary file is ready.
struct Ready {
    change: FileChange,
    /// The temporary file's name, and what it looked like when it was written; none for a removal.
    tmp: Option<(String, Stat)>,
}

impl Ready {
    /// What to remember before the change is made: the frame that is on disk and the one to come.
    fn record(&self) -> Option<Record> {
        // Without a record the file is as good as never seen: if it stays after a kill, it is taken for what it is.
        if self.change.moves {
            return None;
        }
        let next = Base { addr: self.change.frame.clone(), stat: self.tmp.as_ref().map(|(_, stat)| *stat) };
        let record = Record { next: Some(next), ..Record::from(self.change.before.clone()) };
        Some(record.standing(&self.change.entry.path, &self.change.at))
    }

    /// Bytes of the temporary file.
    fn size(&self) -> u64 {
        self.tmp.as_ref().map_or(0, |(_, stat)| stat.size)
    }
}

/// Why a change was not prepared.
enum NotReady {
    /// The frame holds nothing that can be written. Other changes go on.
    Frame(String),
    /// Nothing can be written.
    Folder(FolderError),
}

impl From<FolderError> for NotReady {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// A file being written, with holes where blocks of nothing but zeros come: a disk image does not grow to its full size.
struct Sparse {
    file: File,
    /// Bytes that came so far.
    end: u64,
}

impl Sparse {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let is_hole = |block: &[u8]| block.len() == BLOCK_BYTES && block.iter().all(|b| *b == 0);
        while !bytes.is_empty() {
            // To the next end of a block of the file.
            let left = BLOCK_BYTES - (self.end % BLOCK_BYTES as u64) as usize;
            let (block, rest) = bytes.split_at(left.min(bytes.len()));
            let mut some = block.len();
            if is_hole(block) {
                self.file.seek_relative(BLOCK_BYTES as i64)?;
            } else {
                // As many blocks at once as hold something.
                some += rest.chunks(BLOCK_BYTES).take_while(|block| !is_hole(block)).map(<[u8]>::len).sum::<usize>();
                self.file.write_all(&bytes[..some])?;
            }
            self.end += some as u64;
            bytes = &bytes[some..];
        }
        Ok(())
    }

    fn finish(self) -> io::Result<File> {
        self.file.set_len(self.end)?;
        Ok(self.file)
    }
}

impl Folder {
    /// Makes the changes, removals first, and adds to `report` what became of each.
    pub(super) async fn carry_out(
        &self,
        mut changes: Vec<FileChange>,
        report: &mut CheckoutReport,
        writer: &mut Writer<'_>,
    ) -> Result<(), FolderError> {
        // A file may stand where a directory comes and the other way round: removals go first.
        changes.sort_by(|a, b| (!a.remove, &a.at).cmp(&(!b.remove, &b.at)));
        let of = changes.len();
        let keeping = self.keeping().await?;
        let (mut done, mut name, mut total) = (0, 0, 0);
        // Files that could not leave the name that they had do not come under another.
        let mut stuck: BTreeSet<EntryPath> = BTreeSet::new();
        let mut changes = changes.into_iter().peekable();
        while let Some(first) = changes.peek() {
            let remove = first.remove;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_FILES_MAX
                && bytes < BATCH_BYTES_MAX
                && let Some(change) = changes.next_if(|s| s.remove == remove)
            {
                name += 1;
                if stuck.contains(&change.entry.path) {
                    continue;
                }
                let wrote = |bytes| self.tell(Progress::Written { done, of, bytes: total + bytes });
                let prepared = self.prepare(&change, name, keeping, &wrote).await;
                match prepared {
                    Ok(tmp) => {
                        let ready = Ready { change, tmp };
                        bytes += ready.size();
                        total += ready.size();
                        let record = ready.record().map(|record| record.to_bytes());
                        writer.record(Record::key(&ready.change.entry.path), record);
                        batch.push(ready);
                    }
                    Err(NotReady::Frame(reason)) => {
                        report.refused.push(Refused { path: change.entry.path.to_string(), reason });
                    }
                    Err(NotReady::Folder(error)) => return Err(error),
                }
                done += 1;
                self.tell(Progress::Written { done, of, bytes: total });
            }
            // Before the first rename: whatever happens then, the record tells which frame each file is at. The
            // final records of the batch before go along, so its renames must have come to disk, and the contents
            // now, or after a power cut lost files would look like the user's edits.
            self.tree.sync()?;
            writer.flush().await?;
            // A change of a file after its rename shows in its time.
            if let Some(newest) = batch.iter().filter_map(|ready| Some(ready.tmp.as_ref()?.1.mtime)).max() {
                self.tree.now_after(newest)?;
            }
            let mut arrived = Vec::new();
            for ready in batch {
                match self.finish(&ready) {
                    Ok(stat) => arrived.push((ready.change, stat)),
                    Err(reason) => {
                        let FileChange { entry, at, before, moves, .. } = ready.change;
                        let path = entry.path;
                        let record = Record::from(before).standing(&path, &at);
                        writer.record(Record::key(&path), Some(record.to_bytes()));
                        if moves {
                            stuck.insert(path.clone());
                        }
                        report.refused.push(Refused { path: path.to_string(), reason });
                    }
                }
            }
            let newest = arrived.iter().filter_map(|(_, stat)| stat.map(|s| s.ctime.max(s.mtime))).max();
            let now = self.tree.now_after(newest.unwrap_or(0))?;
            for (change, stat) in arrived {
                if change.moves {
                    continue;
                }
                let base = Base { addr: change.frame, stat: stat.map(|s| s.settled(now)) };
                writer.record(
                    Record::key(&change.entry.path),
                    Some(Record::from(base).standing(&change.entry.path, &change.at).to_bytes()),
                );
                if remove { &mut report.removed } else { &mut report.written }.push(change.entry.path);
            }
        }
        if of > 0 {
            self.tree.sync()?;
        }
        writer.flush().await
    }

    /// Writes a change's temporary file: its name, and what it looked like then; none for a removal. `wrote` is told how
    /// many bytes of it are written.
    async fn prepare(
        &self,
        change: &FileChange,
        name: u64,
        keeping: Keeping,
        wrote: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Option<(String, Stat)>, NotReady> {
        if change.remove {
            return Ok(None);
        }
        let tmp = format!("{}-{name}", std::process::id());
        let frame = node_at(&*self.space, &change.frame).await?;
        let content = Content::of(&*self.space, &frame).await?;
        if let Content::Link(target) = &content {
            let target = decode(target).unwrap_or_default();
            // Now that what goes is gone: a directory may come where a link was.
            if let Some(problem) = self.tree.link_problem(&change.at, &target) {
                return Err(NotReady::Frame(problem.to_owned()));
            }
            let made = self.tree.tmp_link(&tmp, &target);
            return Ok(Some((tmp, made.map_err(FolderError::io(self.tree.path()))?)));
        }
        let like = matches!(change.found, OnDisk::File(_)).then(|| self.tree.mode(&change.at)).flatten();
        let made = self.tree.tmp_file(&tmp, keeping.mode(&change.entry).map(u32::from).or(like), change.entry.exec);
        let mut file = Sparse { file: made.map_err(FolderError::io(self.tree.path()))?, end: 0 };
        let mut write = |bytes: &[u8]| -> io::Result<()> {
            file.write(bytes)?;
            wrote(file.end);
            Ok(())
        };
        let meta = match content.read(&*self.space, &mut write).await {
            Ok(()) => file.finish().and_then(|file| {
                if let Some(time) = time_of(&frame).filter(|_| keeping.times) {
                    file.set_modified(time)?;
                }
                sync_one(&file)?;
                file.metadata()
            }),
            Err(FolderError::Sink(error)) => Err(error),
            Err(error) if error.bad_frame().is_some() => {
                self.tree.drop_tmp(&tmp);
                return Err(NotReady::Frame(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        // A full disk fails every file alike.
        let stat = stat_of(&meta.map_err(FolderError::io(self.tree.path()))?);
        Ok(Some((tmp, stat)))
    }

    fn finish(&self, ready: &Ready) -> Result<Option<Stat>, String> {
        let (path, found) = (&ready.change.at, ready.change.found);
        match &ready.tmp {
            None => self.tree.remove(path, found).map(|()| None),
            Some((tmp, written)) => {
                let renamed = self.tree.rename_in(tmp, *written, path, found);
                if renamed.is_err() {
                    self.tree.drop_tmp(tmp);
                }
                renamed.map(Some)
            }
        }
    }
}
