//! The store's file: making it, opening it, and opening it again after a failure.

use super::tables::{self, LOOSE, META, MOVED_AT, MOVES, NODES, RECORDS, STAGED, TIPS, fail};
use crate::error::SpaceError;
use redb::{Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

/// The store's file inside its folder.
pub const FILE: &str = "space.redb";

/// Bytes of pages kept in memory.
const CACHE_BYTES: usize = 48 * 1024 * 1024;

/// A database that is open for writing, or only for reading.
enum Base {
    Whole(Database),
    ReadOnly(ReadOnlyDatabase),
}

/// An open database.
pub(super) struct Engine {
    database: Option<Base>,
    /// Outlives the closing of the database, so that the last of its owners tells that the file is free again.
    in_use: Arc<()>,
}

impl Engine {
    fn new(database: Base) -> Self {
        Self { database: Some(database), in_use: Arc::new(()) }
    }

    /// The database to write to, which is there as long as the engine is.
    pub(super) fn database(&self) -> Result<&Database, SpaceError> {
        match &self.database {
            Some(Base::Whole(database)) => Ok(database),
            Some(Base::ReadOnly(_)) => Err(SpaceError::Permission("the store was opened for reading only".into())),
            None => Err(SpaceError::Closed),
        }
    }

    /// What is committed now.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, SpaceError> {
        match &self.database {
            Some(Base::Whole(database)) => database.begin_read(),
            Some(Base::ReadOnly(database)) => database.begin_read(),
            None => return Err(SpaceError::Closed),
        }
        .map_err(fail)
    }
}

impl Drop for Engine {
    /// Closing writes, and on a damaged file the engine may panic there: that must not take the process with it.
    fn drop(&mut self) {
        let database = self.database.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!("the storage engine could not close its file; it is damaged");
        }
    }
}

/// The file, open or to be opened again: after a write failed (a full disk) the engine takes no more until then.
pub(super) struct Opened {
    path: PathBuf,
    /// The engine; once it failed only whether it is still in use.
    engine: RwLock<Result<Arc<Engine>, Weak<()>>>,
    /// Held by whoever opens the file again.
    opening: Mutex<()>,
}

impl Opened {
    /// Opens the store in `dir`; answers its id and its revision, too.
    pub(super) fn open(dir: &Path) -> Result<(Self, String, u64), SpaceError> {
        Self::open_with(dir, |path| builder().open(path).map(Base::Whole))
    }

    /// As [`Opened::open`], only to read.
    pub(super) fn open_read_only(dir: &Path) -> Result<(Self, String, u64), SpaceError> {
        Self::open_with(dir, |path| builder().open_read_only(path).map(Base::ReadOnly))
    }

    fn open_with(
        dir: &Path,
        open: impl FnOnce(&Path) -> Result<Base, redb::DatabaseError>,
    ) -> Result<(Self, String, u64), SpaceError> {
        let path = dir.join(FILE);
        let file = fs::metadata(&path).map_err(|e| io_error(&path, &e))?;
        if file.len() == 0 {
            return Err(SpaceError::Damaged(format!("{} is empty", path.display())));
        }
        let (engine, id, revision) = guarded(&path, || {
            let engine = Engine::new(open(&path).map_err(|e| open_error(&path, e))?);
            let txn = engine.begin_read()?;
            let meta = txn.open_table(META).map_err(|e| match e {
                redb::TableError::TableDoesNotExist(_) => {
                    SpaceError::Damaged(format!("{} is no ibgib store", path.display()))
                }
                e => fail(e),
            })?;
            let id = meta.get("id").map_err(fail)?.map(|v| String::from_utf8_lossy(v.value()).into_owned());
            let id = id.ok_or_else(|| SpaceError::Damaged(format!("{} has no id", path.display())))?;
            let revision = tables::number(&meta, "revision")?;
            Ok((engine, id, revision))
        })?;
        Ok((Self { path, engine: RwLock::new(Ok(Arc::new(engine))), opening: Mutex::new(()) }, id, revision))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The engine, unless it has to be opened again.
    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).as_ref().ok().cloned()
    }

    /// The engine, opened again if it has to be. Blocks.
    pub(super) fn engine_again(&self) -> Result<Arc<Engine>, SpaceError> {
        let _alone = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match &*self.engine.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(engine) => return Ok(Arc::clone(engine)),
            Err(failed) => Weak::clone(failed),
        };
        // The file is locked until everybody who was using it has got his own error.
        if failed.strong_count() > 0 {
            return Err(SpaceError::Io("an earlier write failed; try again".into()));
        }
        let open = || builder().open(&self.path).map(Base::Whole).map_err(|e| open_error(&self.path, e));
        let engine = Arc::new(Engine::new(guarded(&self.path, open)?));
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::clone(&engine));
        tracing::info!(path = %self.path.display(), "the store was opened again after a failure");
        Ok(engine)
    }

    /// Does work on an engine; a panic of the engine is an error of this work, and after a failure that leaves the
    /// engine useless the file is opened again for whoever comes next.
    pub(super) fn work<T>(
        &self,
        engine: &Arc<Engine>,
        work: impl FnOnce() -> Result<T, SpaceError>,
    ) -> Result<T, SpaceError> {
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            Err(SpaceError::Damaged(format!("{}: the storage engine could not go on", self.path.display())))
        });
        if matches!(done, Err(SpaceError::Full(_) | SpaceError::Io(_))) {
            let mut now = self.engine.write().unwrap_or_else(PoisonError::into_inner);
            if now.as_ref().is_ok_and(|now| Arc::ptr_eq(now, engine)) {
                *now = Err(Arc::downgrade(&engine.in_use));
            }
        }
        done
    }
}

/// Lays an empty store out in `dir`, unless there is one. Answers whether it is ours: of those who come at once,
/// one makes it.
pub(super) fn lay_out(dir: &Path) -> Result<bool, SpaceError> {
    static NTH: AtomicU64 = AtomicU64::new(0);
    private_dir(dir).map_err(|e| io_error(dir, &e))?;
    let path = dir.join(FILE);
    if path.exists() {
        return Ok(false);
    }
    // A power cut while the file is being laid out must not leave half a store under its name.
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let fresh = dir.join(format!(".{FILE}.{}.{nth}", std::process::id()));
    let made = guarded(&path, || {
        // Process ids come again: a process that died while laying out a file may have left one under this name.
        let _ = fs::remove_file(&fresh);
        private_file(&fresh).map_err(|e| io_error(&path, &e))?;
        let db = builder().create(&fresh).map_err(|e| open_error(&path, e))?;
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(|e| SpaceError::Io(e.to_string()))?;
        let txn = db.begin_write().map_err(fail)?;
        {
            txn.open_table(NODES).map_err(fail)?;
            txn.open_table(LOOSE).map_err(fail)?;
            txn.open_table(STAGED).map_err(fail)?;
            txn.open_table(TIPS).map_err(fail)?;
            txn.open_table(MOVES).map_err(fail)?;
            txn.open_table(MOVED_AT).map_err(fail)?;
            txn.open_table(RECORDS).map_err(fail)?;
            let mut meta = txn.open_table(META).map_err(fail)?;
            meta.insert("id", hex::encode(id).as_bytes()).map_err(fail)?;
            meta.insert("revision", &0u64.to_le_bytes()[..]).map_err(fail)?;
            meta.insert("nodes", &0u64.to_le_bytes()[..]).map_err(fail)?;
        }
        txn.commit().map_err(fail)
    });
    let published = made.and_then(|()| publish(dir, &fresh, &path).map_err(|e| io_error(&path, &e)));
    // Published, the file has a second name, under which it stays. Not published, it is of no use to anybody.
    let _ = fs::remove_file(&fresh);
    published
}

/// Makes a directory, if there is none, that only its owner looks into.
fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

/// Makes an empty file that only its owner reads and writes: a store holds what its owner keeps private elsewhere.
fn private_file(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path).map(drop)
}

/// Gives a laid-out store its name, never taking the name from a store that has it: whoever opened that one would go on
/// writing into a file without a name. Answers whether the name was free.
fn publish(dir: &Path, fresh: &Path, path: &Path) -> io::Result<bool> {
    let folder = File::open(dir)?;
    match fs::hard_link(fresh, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        // No second names on this file system: one at a time looks whether the name is free, and takes it.
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            folder.lock()?;
            if path.exists() {
                return Ok(false);
            }
            fs::rename(fresh, path)?;
        }
        Err(error) => return Err(error),
    }
    folder.sync_all()?;
    Ok(true)
}

/// Runs engine code; a panic is a damaged store, not the end of the process.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, SpaceError>) -> Result<T, SpaceError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(SpaceError::Damaged(format!(
            "{}: the storage engine could not go on; restore a backup, or move the file away and sync again",
            path.display()
        )))
    })
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn open_error(path: &Path, error: redb::DatabaseError) -> SpaceError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => SpaceError::Locked(path.display().to_string()),
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() == io::ErrorKind::InvalidData => {
            SpaceError::Damaged(format!("{}: {e}", path.display()))
        }
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) => io_error(path, &e),
        error => SpaceError::Damaged(format!("{}: {error}", path.display())),
    }
}

fn io_error(path: &Path, error: &io::Error) -> SpaceError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => SpaceError::NotFound(path.display().to_string()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => SpaceError::Permission(text),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpaceError::Full(text),
        // The file is shorter than its own header says.
        io::ErrorKind::UnexpectedEof => SpaceError::Damaged(text),
        _ => SpaceError::Io(text),
    }
}
