//! The log: files of at most [`SEGMENT_BYTES`], to which records are only ever added.
//!
//! | bytes of a segment | what |
//! |---|---|
//! | 0 – 63 | `ibgib segment 1\n`, the store's id, the segment's number, CRC-32 of these |
//! | 64 – | records, then zeros |
//!
//! A record is a head of 24 bytes (magic, length, CRC-32, kind, how far the log was on the disk when it was written) and
//! its payload; the CRC covers where it stands, too. A record that is not whole ends the log: what was being written when
//! the power went. Behind one that was told to be durable stands no such record, unless the disk lost something: whoever
//! wrote a later record noted there how far the log was safe, so that the two are told apart.
//!
//! Files grow ahead of what is written: to overwrite zeros that are on the disk takes a fraction of the time that it
//! takes to make a file longer.

use crate::error::SpaceError;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes after which the next segment begins.
pub(super) const SEGMENT_BYTES: u32 = 64 * 1024 * 1024;
/// Bytes that a payload may have: a block of one node, however badly that is compressed.
const PAYLOAD_BYTES_MAX: usize = 40 * 1024 * 1024;
/// The kind of a record of nodes. What other kinds there are does not matter to the log.
pub(super) const BLOCK: u8 = 1;
const HEAD: usize = 24;
const FIRST: u32 = 64;
const MAGIC: [u8; 4] = *b"ibRc";
const SEGMENT_MAGIC: &[u8; 16] = b"ibgib segment 1\n";
/// Bytes by which a segment grows ahead: an eighth of it, between these.
const AHEAD: (u32, u32) = (64 * 1024, 1024 * 1024);
/// Bytes read at once where the length of a record is not known: most are shorter.
const READ_BYTES: usize = 8 * 1024;

/// Where a record begins: the segment's number and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pos {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl Pos {
    /// Where the first record of a log stands.
    pub(super) const START: Self = Self { segment: 0, offset: FIRST };

    pub(super) fn number(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    pub(super) fn of(number: u64) -> Self {
        Self { segment: (number >> 32) as u32, offset: number as u32 }
    }
}

/// A record as it was read.
pub(super) struct Record {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
    /// Where the next one begins.
    pub(super) end: Pos,
    synced: Pos,
}

/// The log's end; whoever has it writes.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) end: Pos,
    /// Bytes that the last segment has.
    allocated: u32,
    /// Everything before this is on the disk.
    synced: Pos,
}

/// The files of a log.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    id: [u8; 32],
    files: RwLock<Vec<Arc<File>>>,
}

impl Log {
    /// Makes an empty log in `dir`, which is there and empty.
    pub(super) fn create(dir: &Path, id: [u8; 32]) -> Result<Self, SpaceError> {
        let log = Self { dir: dir.to_owned(), id, files: RwLock::default() };
        log.add_segment(0)?;
        Ok(log)
    }

    /// Opens the log in `dir`. For one that writes its first segment stays locked. Those who read need no lock: what a record
    /// says is never changed.
    pub(super) fn open(dir: &Path, to_write: bool) -> Result<Self, SpaceError> {
        loop {
            // A log that was written anew may take this one's place between two of its files.
            let first = File::open(dir.join(name(0))).map_err(|e| io_error(&dir.join(name(0)), &e))?;
            let log = Self::open_files(dir, &first, to_write);
            if is_at(&first, &dir.join(name(0)))? {
                return log;
            }
        }
    }

    fn open_files(dir: &Path, first: &File, to_write: bool) -> Result<Self, SpaceError> {
        let mut files = Vec::new();
        let mut id = None;
        loop {
            let number = files.len() as u32;
            let path = dir.join(name(number));
            let file = match File::options().read(true).write(to_write).open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound && number > 0 => break,
                Err(e) => return Err(io_error(&path, &e)),
            };
            if number == 0 && to_write {
                match file.try_lock() {
                    Ok(()) => {}
                    Err(fs::TryLockError::WouldBlock) => return Err(SpaceError::Locked(path.display().to_string())),
                    Err(fs::TryLockError::Error(e)) => return Err(io_error(&path, &e)),
                }
            }
            let mut head = [0; FIRST as usize];
            let whole = file.read_exact_at(&mut head, 0).is_ok();
            let damaged = || SpaceError::Damaged(format!("{} is no segment of this store's log", path.display()));
            // A segment that was being made when the power went has no record yet.
            let torn = !whole || head == [0; FIRST as usize];
            let is_last = !dir.join(name(number + 1)).exists();
            match (id, torn) {
                // Nobody else has it open who could be making it, unless another log is here by now.
                (Some(_), true) if is_last && to_write && is_at(first, &dir.join(name(0)))? => {
                    drop(file);
                    fs::remove_file(&path).map_err(|e| io_error(&path, &e))?;
                    break;
                }
                (Some(_), true) if is_last => break,
                (_, true) => return Err(damaged()),
                (None, false) => id = head[16..48].try_into().ok(),
                (Some(_), false) => {}
            }
            if id.is_none_or(|id| head != segment_head(&id, number)) {
                return Err(damaged());
            }
            files.push(Arc::new(file));
        }
        let id = id.ok_or_else(|| SpaceError::NotFound(dir.display().to_string()))?;
        Ok(Self { dir: dir.to_owned(), id, files: RwLock::new(files) })
    }

    /// Whether it still is what is under its name: a log that was written anew may have taken its place.
    pub(super) fn is_in_place(&self) -> Result<bool, SpaceError> {
        self.file(0).map_or(Ok(false), |first| is_at(&first, &self.path(0)))
    }

    /// The folder has another name from now on.
    pub(super) fn moved_to(&mut self, dir: PathBuf) {
        self.dir = dir;
    }

    pub(super) fn id(&self) -> &[u8; 32] {
        &self.id
    }

    fn file(&self, segment: u32) -> Option<Arc<File>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(segment as usize).cloned()
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(name(segment))
    }

    fn add_segment(&self, number: u32) -> Result<(), SpaceError> {
        let path = self.path(number);
        let failed = |e: io::Error| io_error(&path, &e);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        if number == 0 {
            file.try_lock().map_err(|_| SpaceError::Locked(path.display().to_string()))?;
        }
        file.write_all_at(&segment_head(&self.id, number), 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        self.files.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(file));
        Ok(())
    }

    /// The record at a position; `None` where there is none, or one that is not whole.
    pub(super) fn read(&self, at: Pos) -> Result<Option<Record>, SpaceError> {
        let Some(file) = self.file(at.segment) else { return Ok(None) };
        let failed = |e: io::Error| io_error(&self.path(at.segment), &e);
        let mut buffer = vec![0; READ_BYTES];
        let there = read_at(&file, &mut buffer, at.offset).map_err(failed)?;
        let Some(head) = buffer[..there].first_chunk::<HEAD>().copied() else { return Ok(None) };
        let (magic, len) = (&head[..4], number(&head[4..8]) as usize);
        if magic != MAGIC || len > PAYLOAD_BYTES_MAX {
            return Ok(None);
        }
        let (whole, had) = (HEAD + len, there);
        buffer.resize(whole.max(had), 0);
        if whole > had {
            let more = read_at(&file, &mut buffer[had..], at.offset + had as u32).map_err(failed)?;
            if more < whole - had {
                return Ok(None);
            }
        }
        buffer.truncate(whole);
        let payload = buffer.split_off(HEAD);
        let (kind, synced) = (head[12], Pos::of(u64::from_le_bytes([16, 17, 18, 19, 20, 21, 22, 23].map(|i| head[i]))));
        if record_head(at, kind, synced, &payload) != head {
            return Ok(None);
        }
        Ok(Some(Record { kind, payload, end: Pos { offset: at.offset + whole as u32, ..at }, synced }))
    }

    /// The files of the log up to a position, and how many bytes of each.
    pub(super) fn up_to(&self, end: Pos) -> Result<Vec<(PathBuf, u64)>, SpaceError> {
        let all = (0..=end.segment).map(|segment| {
            let path = self.path(segment);
            let len = match segment == end.segment {
                true => u64::from(end.offset),
                false => fs::metadata(&path).map_err(|e| io_error(&path, &e))?.len(),
            };
            Ok((path, len))
        });
        all.collect()
    }

    /// Whether the log is as long as a position where it ended once.
    pub(super) fn reaches(&self, end: Pos) -> Result<bool, SpaceError> {
        let Some(file) = self.file(end.segment) else { return Ok(false) };
        let len = file.metadata().map_err(|e| io_error(&self.path(end.segment), &e))?.len();
        Ok(len >= u64::from(end.offset))
    }

    /// Gives every whole record between two positions to `take`: what is damaged there is passed over.
    pub(super) fn look_back(
        &self,
        from: Pos,
        to: Pos,
        mut take: impl FnMut(Pos, &Record) -> Result<(), SpaceError>,
    ) -> Result<(), SpaceError> {
        let mut at = from;
        while at < to {
            if let Some(record) = self.read(at)? {
                take(at, &record)?;
                at = record.end;
                continue;
            }
            let next = self.next_whole(at)?;
            if next.is_none() && !self.is_empty_from(at)? || next.is_some_and(|next| next < to) {
                tracing::warn!(segment = at.segment, offset = at.offset, "a part of the log is damaged");
            }
            at = next.unwrap_or(Pos { segment: at.segment + 1, offset: FIRST });
        }
        Ok(())
    }

    /// The next whole record behind a position, in the same segment.
    fn next_whole(&self, at: Pos) -> Result<Option<Pos>, SpaceError> {
        let rest = self.rest(at)?;
        for (i, window) in rest.windows(MAGIC.len()).enumerate().skip(1) {
            let behind = Pos { offset: at.offset + i as u32, ..at };
            if window == MAGIC && self.read(behind)?.is_some() {
                return Ok(Some(behind));
            }
        }
        Ok(None)
    }

    /// Gives every record from `from` on to `take`, and answers where the log ends: with the last record that is whole. It
    /// may grow meanwhile.
    pub(super) fn replay(
        &self,
        from: Pos,
        mut take: impl FnMut(Pos, &Record) -> Result<(), SpaceError>,
    ) -> Result<Pos, SpaceError> {
        let mut at = from;
        loop {
            if let Some(record) = self.read(at)? {
                take(at, &record)?;
                at = record.end;
                continue;
            }
            let next = Pos { segment: at.segment + 1, offset: FIRST };
            let is_last = self.file(next.segment).is_none();
            let lost = || match self.damaged_nodes(at)? {
                // What it held is missing, which whoever relates to it tells; everything else is as it was.
                Some(end) => {
                    tracing::error!(segment = at.segment, offset = at.offset, "nodes in the log are damaged");
                    Ok(end)
                }
                None => Err(self.lost(at)),
            };
            if is_last {
                // Only what nobody was told of may be torn. What was being written when it was looked at is whole by the
                // time that a later record tells so.
                match self.safe_behind(at)?.is_some_and(|safe| safe > at) {
                    false => break,
                    true if self.read(at)?.is_some() => {}
                    true => at = lost()?,
                }
                continue;
            }
            // The next segment begins once this one is on the disk, so that nothing of it can be torn.
            at = if self.is_empty_from(at)? { next } else { lost()? };
        }
        Ok(at)
    }

    /// Where a record of nodes ends whose payload is damaged; `None` for every other damage. A record that says what was
    /// committed cannot be passed over: nobody could tell what is not here any more.
    fn damaged_nodes(&self, at: Pos) -> Result<Option<Pos>, SpaceError> {
        let Some(file) = self.file(at.segment) else { return Ok(None) };
        let mut head = [0; HEAD];
        let there = read_at(&file, &mut head, at.offset).map_err(|e| io_error(&self.path(at.segment), &e))?;
        let len = number(&head[4..8]) as usize;
        if there < HEAD || head[..4] != MAGIC || head[12] != BLOCK || len > PAYLOAD_BYTES_MAX {
            return Ok(None);
        }
        let end = Pos { offset: at.offset + (HEAD + len) as u32, ..at };
        let goes_on = self.read(end)?.is_some() || self.reaches(end)? && self.is_empty_from(end)?;
        Ok(goes_on.then_some(end))
    }

    fn lost(&self, at: Pos) -> SpaceError {
        let path = self.path(at.segment);
        SpaceError::Damaged(format!("{}: what was written at byte {} is lost", path.display(), at.offset))
    }

    fn is_empty_from(&self, at: Pos) -> Result<bool, SpaceError> {
        Ok(self.rest(at)?.iter().all(|b| *b == 0))
    }

    fn rest(&self, at: Pos) -> Result<Vec<u8>, SpaceError> {
        let Some(file) = self.file(at.segment) else { return Ok(Vec::new()) };
        let failed = |e: io::Error| io_error(&self.path(at.segment), &e);
        let len = file.metadata().map_err(failed)?.len().saturating_sub(u64::from(at.offset));
        let mut rest = vec![0; len as usize];
        let there = read_at(&file, &mut rest, at.offset).map_err(failed)?;
        rest.truncate(there);
        Ok(rest)
    }

    /// How far the log was on the disk, as the last whole record behind a position tells.
    fn safe_behind(&self, at: Pos) -> Result<Option<Pos>, SpaceError> {
        let rest = self.rest(at)?;
        let mut safe = None;
        for (i, window) in rest.windows(MAGIC.len()).enumerate().skip(1) {
            if window == MAGIC
                && let Some(record) = self.read(Pos { offset: at.offset + i as u32, ..at })?
            {
                safe = safe.max(Some(record.synced));
            }
        }
        Ok(safe)
    }

    /// The end of the log at `at`, for writing: what stands behind is cut off.
    pub(super) fn tail(&self, at: Pos) -> Result<Tail, SpaceError> {
        let mut tail = Tail { end: at, allocated: 0, synced: at };
        self.trim(&mut tail)?;
        Ok(tail)
    }

    /// Adds a record; answers where it stands. Durable with the next [`Log::sync`].
    pub(super) fn append(&self, tail: &mut Tail, kind: u8, payload: &[u8]) -> Result<Pos, SpaceError> {
        let too_large = || SpaceError::Io(format!("a record of {} bytes is too large", payload.len()));
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(too_large());
        }
        let len = (HEAD + payload.len()) as u32;
        if tail.end.offset > FIRST && tail.end.offset + len > SEGMENT_BYTES {
            self.sync(tail)?;
            self.trim(tail)?;
            let segment = tail.end.segment + 1;
            self.add_segment(segment)?;
            let end = Pos { segment, offset: FIRST };
            *tail = Tail { end, allocated: FIRST, synced: end };
        }
        let at = tail.end;
        let file = self.file(at.segment).ok_or(SpaceError::Closed)?;
        let failed = |e: io::Error| io_error(&self.path(at.segment), &e);
        let end = at.offset + len;
        let mut bytes = Vec::with_capacity(HEAD + payload.len());
        bytes.extend_from_slice(&record_head(at, kind, tail.synced, payload));
        bytes.extend_from_slice(payload);
        if end > tail.allocated {
            let ahead = (end / 8).clamp(AHEAD.0, AHEAD.1);
            bytes.resize(bytes.len() + ahead as usize, 0);
            tail.allocated = end + ahead;
        }
        file.write_all_at(&bytes, u64::from(at.offset)).map_err(failed)?;
        tail.end = Pos { offset: end, ..at };
        Ok(at)
    }

    /// Brings everything that was added onto the disk.
    pub(super) fn sync(&self, tail: &mut Tail) -> Result<(), SpaceError> {
        if tail.synced == tail.end {
            return Ok(());
        }
        let file = self.file(tail.end.segment).ok_or(SpaceError::Closed)?;
        file.sync_data().map_err(|e| io_error(&self.path(tail.end.segment), &e))?;
        tail.synced = tail.end;
        Ok(())
    }

    /// Gives back what the last segment grew ahead.
    pub(super) fn trim(&self, tail: &mut Tail) -> Result<(), SpaceError> {
        let file = self.file(tail.end.segment).ok_or(SpaceError::Closed)?;
        let end = u64::from(tail.end.offset);
        // A file that has its length already keeps its time: by that others see that nothing was written.
        let cut = |len| if len == end { Ok(()) } else { file.set_len(end) };
        file.metadata().and_then(|file| cut(file.len())).map_err(|e| io_error(&self.path(tail.end.segment), &e))?;
        tail.allocated = tail.end.offset;
        Ok(())
    }
}

impl Drop for Log {
    /// A child process that is being started has the files, too, until it runs its own program: the lock goes with this one.
    fn drop(&mut self) {
        if let Some(first) = self.file(0) {
            // Closing it does the rest.
            let _ = first.unlock();
        }
    }
}

/// Whether an open file is the one under this name. While it is open nobody else gets its number.
fn is_at(file: &File, path: &Path) -> Result<bool, SpaceError> {
    let number = |about: fs::Metadata| (about.dev(), about.ino());
    let of = |about: io::Result<fs::Metadata>| about.map(number).map_err(|e| io_error(path, &e));
    Ok(of(file.metadata())? == of(fs::metadata(path))?)
}

fn name(segment: u32) -> String {
    format!("{segment:08x}.log")
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn segment_head(id: &[u8; 32], number: u32) -> [u8; FIRST as usize] {
    let mut head = [0; FIRST as usize];
    head[..16].copy_from_slice(SEGMENT_MAGIC);
    head[16..48].copy_from_slice(id);
    head[48..52].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&head[..52]);
    head[52..56].copy_from_slice(&crc.to_le_bytes());
    head
}

fn record_head(at: Pos, kind: u8, synced: Pos, payload: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[12] = kind;
    head[16..24].copy_from_slice(&synced.number().to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&at.number().to_le_bytes());
    crc.update(&head);
    crc.update(payload);
    head[8..12].copy_from_slice(&crc.finalize().to_le_bytes());
    head
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u32) -> io::Result<usize> {
    let mut there = 0;
    while there < buffer.len() {
        match file.read_at(&mut buffer[there..], u64::from(offset) + there as u64) {
            Ok(0) => break,
            Ok(read) => there += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(there)
}

pub(crate) fn io_error(path: &Path, error: &io::Error) -> SpaceError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => SpaceError::NotFound(path.display().to_string()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => SpaceError::Permission(text),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            SpaceError::Full(text)
        }
        _ => SpaceError::Io(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_log_is_free_though_somebody_still_has_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(dir.path(), [1; 32]).unwrap();
        let inherited = log.file(0).unwrap().try_clone().unwrap();
        assert!(matches!(Log::open(dir.path(), true), Err(SpaceError::Locked(_))));
        drop(log);
        assert!(Log::open(dir.path(), true).is_ok());
        drop(inherited);
    }
}
