//! The open files, and what is done with them: opening, reading a node, writing.

mod damage;
mod read;
mod replay;
pub(super) mod rewrite;
mod write;

use super::log::{Log, Pos, Tail, io_error};
use super::staged::Staged;
use super::{SegmentSpace, index};
use crate::error::SpaceError;
use crate::redb::fail;
use ibgib_blocks::Packer;
use read::Blocks;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// Bytes of pages of the index kept in memory.
const INDEX_BYTES: usize = 24 * 1024 * 1024;

/// Whoever has it writes.
struct Writer {
    tail: Tail,
    packer: Packer,
    /// The last record.
    last: Pos,
    /// The last block, if one was written.
    latest: Option<Pos>,
    /// How far the index on the disk is, and how many writes it is behind.
    noted: Pos,
    writes: u32,
}

/// An open store.
pub(super) struct Core {
    /// Of a store that is only read, one in memory.
    index: Option<Database>,
    log: Log,
    staged: RwLock<Staged>,
    /// None where the store is only read.
    writer: Option<Mutex<Writer>>,
    blocks: Mutex<Blocks>,
    failed: AtomicBool,
    /// Outlives the closing of the files, so that the last of their owners tells that they are free again.
    in_use: Arc<()>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a directory, if there is none, that only its owner looks into.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

impl Core {
    /// Opens the store in `dir`; answers its revision, too.
    pub(super) fn open(dir: &Path, to_write: bool) -> Result<(Self, u64), SpaceError> {
        let log = Log::open(&dir.join(SegmentSpace::LOG), to_write)?;
        let core = match to_write {
            false => Self::open_in_memory(log, false)?,
            true => match Self::open_on_disk(dir, log) {
                // What is there can be read all the same, and room be made.
                Err(SpaceError::Full(_)) => {
                    Self::open_in_memory(Log::open(&dir.join(SegmentSpace::LOG), to_write)?, true)?
                }
                opened => opened?,
            },
        };
        let revision = index::head(&core.begin_read()?.open_table(index::META).map_err(fail)?)?.revision;
        Ok((core, revision))
    }

    fn open_on_disk(dir: &Path, log: Log) -> Result<Self, SpaceError> {
        let path = dir.join(SegmentSpace::INDEX);
        // What is wrong with an index is no harm: all of it follows from the log.
        let opened = match catch_unwind(|| open_index(&path)) {
            Ok(Ok(opened)) => opened,
            Ok(Err(error @ (SpaceError::Locked(_) | SpaceError::Permission(_) | SpaceError::Full(_)))) => {
                return Err(error);
            }
            Ok(Err(SpaceError::Io(error))) => return Err(SpaceError::Io(error)),
            other => {
                if !matches!(other, Ok(Err(SpaceError::NotFound(_)))) {
                    tracing::warn!(path = %path.display(), "the index is damaged; it is made anew from the log");
                }
                make_index(&path)?
            }
        };
        let (index, known) = opened;
        let core = Self::new(index, log);
        if known.last != Pos::START && core.log.read(known.last)?.is_none_or(|record| record.end != known.applied) {
            if !core.log.reaches(known.applied)? {
                return Err(SpaceError::Damaged(format!(
                    "{}: the log ends before what the index knows of it; take {} away to go on with what is there",
                    dir.display(),
                    SegmentSpace::INDEX
                )));
            }
            tracing::warn!(path = %dir.display(), "the log's last record is damaged; the index knows what it said");
        }
        core.caught_up(known, true)
    }

    /// Reads all of the log into an index in memory. The one on the disk belongs to whoever writes, who may be at work, and
    /// may be missing where somebody was killed; and it may have to grow where there is no room. What others add to the log
    /// later is not seen.
    fn open_in_memory(log: Log, to_write: bool) -> Result<Self, SpaceError> {
        let index = builder().create_with_backend(InMemoryBackend::new()).map_err(|e| SpaceError::Io(e.to_string()))?;
        let known = lay_out(&index)?;
        Self::new(index, log).caught_up(known, to_write)
    }

    /// With an index that is where the log is.
    fn caught_up(mut self, known: index::Known, to_write: bool) -> Result<Self, SpaceError> {
        let (end, last) = self.replay(known)?;
        if to_write {
            let tail = self.log.tail(end)?;
            self.writer =
                Some(Mutex::new(Writer { tail, packer: Packer::default(), last, latest: None, noted: end, writes: 0 }));
        }
        Ok(self)
    }

    fn new(index: Database, log: Log) -> Self {
        Self {
            index: Some(index),
            log,
            staged: RwLock::default(),
            writer: None,
            blocks: Mutex::default(),
            failed: AtomicBool::new(false),
            in_use: Arc::new(()),
        }
    }

    /// How many bytes the log has.
    pub(super) fn log_bytes(&self) -> Result<u64, SpaceError> {
        Ok(self.log.up_to(self.to_write()?.1.tail.end)?.into_iter().map(|(_, len)| len).sum())
    }

    pub(super) fn id(&self) -> &[u8; 32] {
        self.log.id()
    }

    pub(super) fn in_use(&self) -> Weak<()> {
        Arc::downgrade(&self.in_use)
    }

    /// Whether a write failed, so that only the log on the disk tells what happened.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// What is staged now.
    pub(super) fn staged(&self) -> Staged {
        self.staged.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is committed now.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, SpaceError> {
        self.index.as_ref().ok_or(SpaceError::Closed)?.begin_read().map_err(fail)
    }

    fn to_write(&self) -> Result<(&Database, MutexGuard<'_, Writer>), SpaceError> {
        let index = self.index.as_ref().ok_or(SpaceError::Closed)?;
        let Some(writer) = &self.writer else {
            return Err(SpaceError::Permission("the store was opened for reading only".into()));
        };
        let writer = lock(writer);
        match self.has_failed() {
            true => Err(SpaceError::Io("an earlier write failed; try again".into())),
            false => Ok((index, writer)),
        }
    }
}

impl Drop for Core {
    /// On a damaged index the engine may panic here: that must not take the process with it.
    fn drop(&mut self) {
        let closed = catch_unwind(AssertUnwindSafe(|| {
            let closed = if self.writer.is_none() || self.has_failed() { Ok(()) } else { self.close() };
            // What could not be added takes no room.
            let trim = |writer: &Mutex<Writer>| self.log.trim(&mut lock(writer).tail);
            let closed = closed.and(self.writer.as_ref().map_or(Ok(()), trim));
            drop(self.index.take());
            closed
        }));
        if !matches!(closed, Ok(Ok(()))) {
            tracing::error!("the store's index could not be closed; it is read from the log again");
        }
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(INDEX_BYTES);
    builder
}

fn open_index(path: &Path) -> Result<(Database, index::Known), SpaceError> {
    let index = builder().open(path).map_err(|e| open_error(path, e))?;
    let txn = index.begin_read().map_err(fail)?;
    let known = index::known(&txn.open_table(index::META).map_err(fail)?)?;
    drop(txn);
    Ok((index, known))
}

/// An index that knows nothing, in the place of whatever is there.
fn make_index(path: &Path) -> Result<(Database, index::Known), SpaceError> {
    let failed = |e: io::Error| io_error(path, &e);
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let mut options = fs::File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.write(true).create_new(true).open(path).map_err(failed)?);
    let index = builder().create(path).map_err(|e| open_error(path, e))?;
    let known = lay_out(&index)?;
    Ok((index, known))
}

/// Makes the tables of an index that knows nothing yet.
fn lay_out(index: &Database) -> Result<index::Known, SpaceError> {
    let txn = index.begin_write().map_err(fail)?;
    index::lay_out(&txn)?;
    txn.commit().map_err(fail)?;
    Ok(index::Known { revision: 0, applied: Pos::START, last: Pos::START, staged: Pos::START })
}

fn open_error(path: &Path, error: redb::DatabaseError) -> SpaceError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => SpaceError::Locked(path.display().to_string()),
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) => match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                SpaceError::Damaged(format!("{}: {e}", path.display()))
            }
            _ => io_error(path, &e),
        },
        error => SpaceError::Damaged(format!("{}: {error}", path.display())),
    }
}
