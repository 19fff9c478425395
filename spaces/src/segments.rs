//! The durable space over an append-only log: what is written is added to a file and is durable once that is on the disk,
//! and an index beside it tells where each node stands.
//!
//! * `log/` is the store ([`log`], [`block`], [`record`]): nodes in the order in which they came, compressed beside the
//!   frames before them, and for each write what it committed.
//! * `index.redb` follows from it ([`index`]). It is brought to the disk now and then only: what it lacks is read from the
//!   log when the store is opened, and all of it, when it is lost or damaged.
//! * What is staged is in the log, and in memory where it stands ([`staged`]).
//!
//! Writers that come at the same time are written together: one thread and one wait for the disk serve all of them
//! ([`queue`]). The room of what was forgotten is given back by writing the log anew ([`core::rewrite`]).

mod backup;
mod block;
mod core;
mod index;
mod log;
mod queue;
mod record;
mod staged;
mod view;

pub(crate) use log::io_error;
pub(crate) use record::Change;

use self::core::Core;
use self::core::rewrite::{FRESH, Rewrite, remove};
use self::queue::{Job, Queue, Readers};
use crate::error::SpaceError;
use crate::leases::LocalLeases;
use crate::store::{Batch, Store, View, Written};
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use std::fmt;
use std::fs;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// A space in an append-only log, durable when a commit returns.
pub struct SegmentSpace {
    id: String,
    opened: Arc<Opened>,
    queue: Arc<Queue>,
    leases: LocalLeases,
}

impl fmt::Debug for SegmentSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentSpace").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl SegmentSpace {
    /// The log's folder inside the store's, and the index's file.
    pub(crate) const LOG: &str = "log";
    pub(crate) const INDEX: &str = "index.redb";

    /// Makes a store in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`SpaceError::Io`] when there is one already; or the file system refuses.
    pub fn create(dir: &Path) -> Result<Self, SpaceError> {
        match lay_out(dir, fresh_id()?)? {
            true => Self::open(dir),
            false => Err(SpaceError::Io(format!("{} is there already", dir.join(Self::LOG).display()))),
        }
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`SpaceError::NotFound`], [`SpaceError::Locked`] while another process has it open, [`SpaceError::Damaged`],
    /// [`SpaceError::Permission`].
    pub fn open(dir: &Path) -> Result<Self, SpaceError> {
        Self::open_with(dir, true)
    }

    /// Opens the store in `dir` only to read it as it is now: where it cannot be written to, and beside whoever writes it,
    /// of whom nothing more is seen. Takes a moment for each megabyte of the log, all of which is read.
    ///
    /// # Errors
    /// [`SpaceError::NotFound`], [`SpaceError::Damaged`], [`SpaceError::Permission`].
    pub fn open_read_only(dir: &Path) -> Result<Self, SpaceError> {
        Self::open_with(dir, false)
    }

    /// Opens the store in `dir`, making it if there is none.
    ///
    /// # Errors
    /// As [`SegmentSpace::open`] and [`SegmentSpace::create`].
    pub fn open_or_create(dir: &Path) -> Result<Self, SpaceError> {
        match Self::open(dir) {
            Err(SpaceError::NotFound(_)) => {
                lay_out(dir, fresh_id()?)?;
                Self::open(dir)
            }
            other => other,
        }
    }

    fn open_with(dir: &Path, to_write: bool) -> Result<Self, SpaceError> {
        let (core, revision) = guarded(dir, || Core::open(dir, to_write))?;
        let id = hex::encode(core.id());
        let core = RwLock::new(Ok(Arc::new(core)));
        if to_write {
            // Of somebody who died while he wrote the log anew.
            let _ = remove(&dir.join(FRESH));
        }
        let opened = Opened {
            dir: dir.to_owned(),
            to_write,
            core,
            opening: Mutex::default(),
            writing: RwLock::default(),
            rewriting: Mutex::default(),
            readers: Arc::new(Readers::new(readers_max())),
            revision: watch::Sender::new(revision),
        };
        Ok(Self { id, opened: Arc::new(opened), queue: Arc::default(), leases: LocalLeases::default() })
    }

    /// As [`SegmentSpace::create`], with the id of a store whose place it takes.
    pub(crate) fn create_as(dir: &Path, id: &str) -> Result<Self, SpaceError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(id, &mut bytes).map_err(|_| SpaceError::Damaged(format!("{id:?} is no id of a store")))?;
        lay_out(dir, bytes)?;
        Self::open(dir)
    }

    /// As [`durable::back_up`](crate::durable::back_up).
    pub(crate) fn back_up(from: &Path, to: &Path, told: &mut dyn FnMut(u64, u64)) -> Result<u64, SpaceError> {
        backup::back_up(from, to, told)
    }

    /// Whether there is one in `dir`.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join(Self::LOG).exists()
    }

    /// The file that is written to.
    pub(crate) fn newest_file(dir: &Path) -> Option<PathBuf> {
        let all = fs::read_dir(dir.join(Self::LOG)).ok()?;
        all.flatten().map(|entry| entry.path()).max()
    }

    /// Takes nodes and what else changes over from another store as they are. Nobody has this one yet: what it lacks is
    /// not checked, and nothing is durable before [`SegmentSpace::finish`].
    pub(crate) fn take(&self, nodes: &[Verified<IbGib>], change: Change) -> Result<(), SpaceError> {
        self.opened.core().ok_or(SpaceError::Closed)?.take(nodes, change)
    }

    /// Damages what is kept of a node: from now on that is what `change` makes of its text, or nothing.
    pub(crate) fn damage(&self, addr: &Addr, change: impl FnOnce(String) -> Option<String>) -> Result<(), SpaceError> {
        self.opened.core().ok_or(SpaceError::Closed)?.damage(addr, change)
    }

    /// Brings everything to the disk.
    pub(crate) fn finish(self) -> Result<(), SpaceError> {
        self.opened.core().ok_or(SpaceError::Closed)?.close()
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.opened.dir
    }

    async fn core(&self) -> Result<Arc<Core>, SpaceError> {
        match self.opened.core() {
            Some(core) => Ok(core),
            None => {
                let opened = Arc::clone(&self.opened);
                self.opened.readers.read(move || opened.core_again()).await
            }
        }
    }
}

#[async_trait]
impl Store for SegmentSpace {
    fn id(&self) -> &str {
        &self.id
    }

    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        let core = self.core().await?;
        Ok(Box::new(view::SegmentView::new(Arc::clone(&self.opened), core)?))
    }

    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.queue.ask(&self.opened, |asker| Job::Write(batch, asker)).await
    }

    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        let (owner, nodes) = (owner.to_owned(), nodes.to_vec());
        self.queue.ask(&self.opened, |asker| Job::Stage(owner, nodes, asker)).await
    }

    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        let owner = owner.to_owned();
        self.queue.ask(&self.opened, |asker| Job::Unstage(owner, asker)).await
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        Ok(self.leases.take(name, holder, time))
    }

    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.leases.give_up(name, holder);
        Ok(())
    }

    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        let mut revision = self.opened.revision.subscribe();
        let now = revision.wait_for(|r| *r > since).await.map_err(|_| SpaceError::Closed)?;
        Ok(*now)
    }

    async fn give_back(&self, all: bool) -> Result<u64, SpaceError> {
        let opened = Arc::clone(&self.opened);
        blocking(move || opened.give_back(all)).await
    }
}

/// So many bytes more than by half a log has to grow before a few forgotten nodes are a reason to write it anew.
const SMALL_BYTES: u64 = 256 * 1024;

/// Threads that read from one store at most: one who asks has up to [`view::THREADS_MAX`].
fn readers_max() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).max(2 * view::THREADS_MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpaceError> + Send + 'static,
) -> Result<T, SpaceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SpaceError::Closed))
}

/// The files, open or to be opened again: after a write failed (a full disk) nothing more is written until then, since
/// only the log on the disk tells what happened.
struct Opened {
    dir: PathBuf,
    to_write: bool,
    /// Once it failed only whether it is still in use.
    core: RwLock<Result<Arc<Core>, Weak<()>>>,
    /// Held by whoever opens the files again.
    opening: Mutex<()>,
    /// Shared by those who write, and alone his who lets a log that was written anew take the old one's place.
    writing: RwLock<()>,
    /// Held by whoever writes the log anew.
    rewriting: Mutex<()>,
    /// The threads that read what takes a while.
    readers: Arc<Readers>,
    /// The newest revision, for those who wait for it.
    revision: watch::Sender<u64>,
}

impl Opened {
    fn core(&self) -> Option<Arc<Core>> {
        self.core.read().unwrap_or_else(PoisonError::into_inner).as_ref().ok().cloned()
    }

    /// The open files, opened again if they have to be. Blocks.
    fn core_again(&self) -> Result<Arc<Core>, SpaceError> {
        let _alone = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match &*self.core.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(core) => return Ok(Arc::clone(core)),
            Err(failed) => Weak::clone(failed),
        };
        // The files are locked until everybody who was using them has got his own error.
        if failed.strong_count() > 0 {
            return Err(SpaceError::Io("an earlier write failed; try again".into()));
        }
        let (core, _) = guarded(&self.dir, || Core::open(&self.dir, self.to_write))?;
        let core = Arc::new(core);
        *self.core.write().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::clone(&core));
        tracing::info!(path = %self.dir.display(), "the store was opened again after a failure");
        Ok(core)
    }

    /// Writing, beside nobody who lets another log take this one's place. Blocks.
    fn writing<T>(&self, work: impl FnOnce(&Core) -> Result<T, SpaceError>) -> Result<T, SpaceError> {
        let _writing = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let core = self.core().map_or_else(|| self.core_again(), Ok)?;
        self.work(&core, || work(&core))
    }

    /// Tells those who wait for a change what was written.
    fn tell(&self, written: &[Written]) {
        let done = written.iter().filter_map(|written| match written {
            Written::Done(revision) => Some(*revision),
            Written::Unmet => None,
        });
        if let Some(revision) = done.max() {
            self.revision.send_replace(revision);
        }
    }

    /// As [`Store::give_back`]. Blocks.
    fn give_back(&self, all: bool) -> Result<u64, SpaceError> {
        let _alone = self.rewriting.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.core().map_or_else(|| self.core_again(), Ok)?;
        let (gone, kept, rewritten) = self.work(&old, || old.forgotten())?;
        let before = old.log_bytes()?;
        // The whole log is written for it: not for less than a fourth of its nodes, unless somebody asks. Those that are
        // forgotten are signed, which is what takes room: a few that make much of what came since the log was last written
        // anew are worth it, too.
        let is_much = gone >= kept / 3 || gone >= kept / 16 && before > rewritten + rewritten / 2 + SMALL_BYTES;
        if gone == 0 || !all && !is_much {
            return Ok(0);
        }
        let written = guarded(&self.dir, || {
            let is_open = || self.core().is_some_and(|now| Arc::ptr_eq(&now, &old));
            let rewrite = Rewrite::begin(&old, &is_open, &self.dir)?;
            let _writing = self.writing.write().unwrap_or_else(PoisonError::into_inner);
            let new = Arc::new(rewrite.finish(&self.dir)?);
            *self.core.write().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::clone(&new));
            Ok(new)
        });
        match written {
            Ok(new) => Ok(new.log_bytes().map_or(0, |after| before.saturating_sub(after))),
            Err(error) => {
                // Best effort; it is told why it failed.
                let _ = remove(&self.dir.join(FRESH));
                Err(error)
            }
        }
    }

    /// Does work; a panic of the index's engine is an error of this work. After a failure the files are opened again for
    /// whoever comes next.
    fn work<T>(&self, core: &Arc<Core>, work: impl FnOnce() -> Result<T, SpaceError>) -> Result<T, SpaceError> {
        let done = guarded(&self.dir, work);
        if core.has_failed() || matches!(done, Err(SpaceError::Full(_) | SpaceError::Io(_))) {
            let mut now = self.core.write().unwrap_or_else(PoisonError::into_inner);
            if now.as_ref().is_ok_and(|now| Arc::ptr_eq(now, core)) {
                *now = Err(core.in_use());
            }
        }
        done
    }
}

/// Runs code of the index's engine; a panic is a damaged store, not the end of the process.
fn guarded<T>(dir: &Path, work: impl FnOnce() -> Result<T, SpaceError>) -> Result<T, SpaceError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(SpaceError::Damaged(format!("{}: the index could not go on", dir.display()))))
}

fn fresh_id() -> Result<[u8; 32], SpaceError> {
    let mut id = [0; 32];
    getrandom::fill(&mut id).map_err(|e| SpaceError::Io(e.to_string()))?;
    Ok(id)
}

/// Lays an empty store out in `dir`, unless there is one. Answers whether it is ours: of those who come at once, one makes
/// it.
fn lay_out(dir: &Path, id: [u8; 32]) -> Result<bool, SpaceError> {
    static NTH: AtomicU64 = AtomicU64::new(0);
    let failed = |e: std::io::Error| io_error(dir, &e);
    core::private_dir(dir).map_err(failed)?;
    let place = dir.join(SegmentSpace::LOG);
    if place.exists() {
        return Ok(false);
    }
    // A power cut meanwhile must not leave half a store under its name.
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let fresh = dir.join(format!(".{}.{}.{nth}", SegmentSpace::LOG, std::process::id()));
    let _ = fs::remove_dir_all(&fresh);
    core::private_dir(&fresh).map_err(failed)?;
    let made = log::Log::create(&fresh, id).map(drop);
    // A folder never takes the place of one that has something in it.
    let named = made.map(|()| fs::rename(&fresh, &place).is_ok());
    let _ = fs::remove_dir_all(&fresh);
    let ours = named?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    if ours || place.exists() { Ok(ours) } else { Err(SpaceError::Io(format!("{} cannot be made", place.display()))) }
}
