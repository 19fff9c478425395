//! The embedded durable space: one redb file.
//!
//! | table | key → value |
//! |---|---|
//! | `nodes` | 32-byte hash → JSON text, committed and staged ones |
//! | `loose` | hash of a node that is only staged → for how many owners |
//! | `staged` | (owner, hash) → address |
//! | `tips` | timeline → (tip, n or −1, kind) |
//! | `moves`, `moved_at` | (revision, timeline) and timeline → revision of its last move |
//! | `records` | key → bytes |
//! | `meta` | `id`, `revision`, `nodes` |
//!
//! A node's text is re-hashed whenever it is read. Calls run on threads of their own, and a panic of the engine
//! becomes an error of that call. After a write failed (a full disk) the engine takes no more until its file is opened
//! again: the next call does that.

mod commit;
mod tables;

use crate::rules;
use crate::space::{Changes, Commit, CommitError, Follow, Kind, Scanned, Space, SpaceError, Tip};
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use redb::{Database, Durability, ReadableDatabase, ReadableTable};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tables::{LOOSE, META, MOVED_AT, MOVES, NODES, RECORDS, STAGED, TIPS, View, fail, read_node, write_error};
use tokio::sync::watch;

/// The store's file inside its folder.
pub const FILE: &str = "space.redb";

/// Bytes of pages kept in memory.
const CACHE_BYTES: usize = 48 * 1024 * 1024;

/// A space in one file, durable when a commit returns.
pub struct DurableSpace {
    id: String,
    path: PathBuf,
    db: Arc<RwLock<Store>>,
    revision: watch::Sender<u64>,
}

impl std::fmt::Debug for DurableSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableSpace").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The open database; `None` once it has to be opened again.
struct Store(Option<Database>);

impl Store {
    /// Closing writes, and on a damaged file the engine may panic there: that must not take the process with it.
    fn close(&mut self) {
        let db = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!("the storage engine could not close its file; it is damaged");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Does work on the database, opening it first if a failure closed it, and closing it if this one asks for that.
fn work_on<T, E: From<SpaceError> + Failed>(
    db: &RwLock<Store>,
    path: &Path,
    work: impl FnOnce(&Database) -> Result<T, E>,
) -> Result<T, E> {
    let mut store = db.read().unwrap_or_else(PoisonError::into_inner);
    if store.0.is_none() {
        drop(store);
        let mut closed = db.write().unwrap_or_else(PoisonError::into_inner);
        if closed.0.is_none() {
            closed.0 = Some(guarded(path, || builder().open(path).map_err(|e| open_error(path, e)))?);
            tracing::info!(path = %path.display(), "the store was opened again after a failure");
        }
        drop(closed);
        store = db.read().unwrap_or_else(PoisonError::into_inner);
    }
    let Some(database) = &store.0 else { return Err(SpaceError::Closed.into()) };
    let done = catch_unwind(AssertUnwindSafe(|| work(database))).unwrap_or_else(|_| {
        Err(SpaceError::Damaged(format!("{}: the storage engine could not go on", path.display())).into())
    });
    drop(store);
    if done.as_ref().is_err_and(Failed::needs_opening) {
        db.write().unwrap_or_else(PoisonError::into_inner).close();
    }
    done
}

/// An error that may leave the engine useless.
trait Failed {
    /// Whether the file has to be opened again.
    fn needs_opening(&self) -> bool;
}

impl Failed for SpaceError {
    fn needs_opening(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_))
    }
}

impl Failed for CommitError {
    fn needs_opening(&self) -> bool {
        matches!(self, Self::Space(error) if error.needs_opening())
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

impl DurableSpace {
    /// Makes a store in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`SpaceError::Io`] when there is one already; or the file system refuses.
    pub fn create(dir: &Path) -> Result<Self, SpaceError> {
        match Self::lay_out(dir)? {
            true => Self::open(dir),
            false => Err(SpaceError::Io(format!("{} is there already", dir.join(FILE).display()))),
        }
    }

    /// Lays an empty store out in `dir`, unless there is one. Answers whether it is ours: of those who come at once,
    /// one makes it.
    fn lay_out(dir: &Path) -> Result<bool, SpaceError> {
        static NTH: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(dir).map_err(|e| io_error(dir, &e))?;
        let path = dir.join(FILE);
        if path.exists() {
            return Ok(false);
        }
        // A power cut while the file is being laid out must not leave half a store under its name.
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let fresh = dir.join(format!(".{FILE}.{}.{nth}", std::process::id()));
        let made = guarded(&path, || {
            // Of a process that had our number before us.
            let _ = fs::remove_file(&fresh);
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
        // Its other name is enough, and if it has none, it is of no use.
        let _ = fs::remove_file(&fresh);
        published
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`SpaceError::NotFound`], [`SpaceError::Locked`] while another process has it open, [`SpaceError::Damaged`],
    /// [`SpaceError::Permission`].
    pub fn open(dir: &Path) -> Result<Self, SpaceError> {
        let path = dir.join(FILE);
        let file = fs::metadata(&path).map_err(|e| io_error(&path, &e))?;
        if file.len() == 0 {
            return Err(SpaceError::Damaged(format!("{} is empty", path.display())));
        }
        let (db, id, revision) = guarded(&path, || {
            let db = builder().open(&path).map_err(|e| open_error(&path, e))?;
            let txn = db.begin_read().map_err(fail)?;
            let meta = txn.open_table(META).map_err(|e| match e {
                redb::TableError::TableDoesNotExist(_) => {
                    SpaceError::Damaged(format!("{} is no ibgib store", path.display()))
                }
                e => fail(e),
            })?;
            let id = meta.get("id").map_err(fail)?.map(|v| String::from_utf8_lossy(v.value()).into_owned());
            let id = id.ok_or_else(|| SpaceError::Damaged(format!("{} has no id", path.display())))?;
            let revision = tables::number(&meta, "revision")?;
            Ok((db, id, revision))
        })?;
        let db = Arc::new(RwLock::new(Store(Some(db))));
        Ok(Self { id, path, db, revision: watch::Sender::new(revision) })
    }

    /// Opens the store in `dir`, making it if there is none.
    ///
    /// # Errors
    /// As [`DurableSpace::open`] and [`DurableSpace::create`].
    pub fn open_or_create(dir: &Path) -> Result<Self, SpaceError> {
        match Self::open(dir) {
            Err(SpaceError::NotFound(_)) => {
                Self::lay_out(dir)?;
                Self::open(dir)
            }
            other => other,
        }
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn blocking<T, E>(&self, work: impl FnOnce(&Database) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<SpaceError> + Failed + Send + 'static,
    {
        let (db, path) = (Arc::clone(&self.db), self.path.clone());
        let done = tokio::task::spawn_blocking(move || work_on(&db, &path, work));
        done.await.unwrap_or_else(|_| Err(SpaceError::Closed.into()))
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&View) -> Result<T, SpaceError> + Send + 'static,
    ) -> Result<T, SpaceError> {
        self.blocking(move |db| work(&View::read(db)?)).await
    }
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

#[async_trait]
impl Space for DurableSpace {
    fn id(&self) -> &str {
        &self.id
    }

    async fn get(&self, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let addrs = addrs.to_vec();
        self.read(move |view| addrs.iter().map(|a| rules::Moment::node(view, a)).collect()).await
    }

    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        if addrs.is_empty() {
            return Ok(Vec::new());
        }
        let addrs = addrs.to_vec();
        self.read(move |view| addrs.iter().map(|a| rules::Moment::has(view, a)).collect()).await
    }

    async fn count(&self) -> Result<u64, SpaceError> {
        self.read(|view| tables::number(&view.meta, "nodes")).await
    }

    async fn tip(&self, tjp: &Addr) -> Result<Option<Tip>, SpaceError> {
        let tjp = tjp.clone();
        self.read(move |view| rules::Moment::tip(view, &tjp)).await
    }

    async fn tips(&self, kind: Option<Kind>) -> Result<Vec<Tip>, SpaceError> {
        self.read(move |view| {
            let mut out = Vec::new();
            for entry in view.tips.iter().map_err(fail)? {
                let (tjp, value) = entry.map_err(fail)?;
                let tip = tables::tip_of(tjp.value(), value.value())?;
                if kind.is_none_or(|k| k == tip.kind) {
                    out.push(tip);
                }
            }
            Ok(out)
        })
        .await
    }

    async fn commit(&self, commit: Commit) -> Result<u64, CommitError> {
        let revision = self.blocking(move |db| commit::commit(db, commit)).await?;
        self.revision.send_if_modified(|r| {
            let newer = revision > *r;
            *r = (*r).max(revision);
            newer
        });
        Ok(revision)
    }

    async fn revision(&self) -> Result<u64, SpaceError> {
        self.read(|view| tables::number(&view.meta, "revision")).await
    }

    async fn changes(&self, since: u64) -> Result<Changes, SpaceError> {
        self.read(move |view| {
            let revision = tables::number(&view.meta, "revision")?;
            let mut tips = Vec::new();
            for entry in view.moves.range((since.saturating_add(1), "")..).map_err(fail)? {
                let (key, _) = entry.map_err(fail)?;
                let (_, tjp) = key.value();
                if let Some(value) = view.tips.get(tjp).map_err(fail)? {
                    tips.push(tables::tip_of(tjp, value.value())?);
                }
            }
            tips.sort_by(|a, b| a.tjp.cmp(&b.tjp));
            Ok(Changes { revision, tips, lagged: since > revision })
        })
        .await
    }

    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        let mut revision = self.revision.subscribe();
        let now = revision.wait_for(|r| *r > since).await.map_err(|_| SpaceError::Closed)?;
        Ok(*now)
    }

    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        let (owner, staging) = (owner.to_owned(), nodes.to_vec());
        self.blocking(move |db| {
            let mut txn = db.begin_write().map_err(fail)?;
            // Losing what is only staged costs sending it again; the next commit makes it durable along with itself.
            txn.set_durability(Durability::None).map_err(fail)?;
            {
                let mut nodes = txn.open_table(NODES).map_err(fail)?;
                let mut loose = txn.open_table(LOOSE).map_err(fail)?;
                let mut staged = txn.open_table(STAGED).map_err(fail)?;
                for node in &staging {
                    let Some(key) = node.addr().key() else { continue };
                    let owners = loose.get(key).map_err(fail)?.map(|v| v.value());
                    let there = nodes.get(key).map_err(fail)?.is_some();
                    if there && owners.is_none() {
                        // Committed already.
                        continue;
                    }
                    let before = staged.insert((owner.as_str(), key), node.addr().as_str()).map_err(fail)?;
                    if before.is_none() {
                        loose.insert(key, owners.unwrap_or(0) + 1).map_err(fail)?;
                    }
                    if !there {
                        nodes.insert(key, tables::pack(node).as_slice()).map_err(fail)?;
                    }
                }
            }
            txn.commit().map_err(write_error)
        })
        .await
    }

    async fn staged(&self, owner: &str, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        if addrs.is_empty() {
            return Ok(Vec::new());
        }
        let (owner, addrs) = (owner.to_owned(), addrs.to_vec());
        self.read(move |view| addrs.iter().map(|a| rules::Moment::staged(view, &owner, a)).collect()).await
    }

    async fn staged_addrs(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        let owner = owner.to_owned();
        self.read(move |view| {
            let mut out = Vec::new();
            let range = view.staged.range((owner.as_str(), [0; 32])..=(owner.as_str(), [255; 32])).map_err(fail)?;
            for entry in range {
                let (key, addr) = entry.map_err(fail)?;
                // What was committed otherwise in the meantime is no longer staged.
                if view.loose.get(key.value().1).map_err(fail)?.is_some() {
                    out.push(tables::addr_of(addr.value())?);
                }
            }
            Ok(out)
        })
        .await
    }

    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        let owner = owner.to_owned();
        self.blocking(move |db| {
            let mut txn = db.begin_write().map_err(fail)?;
            txn.set_durability(Durability::None).map_err(fail)?;
            {
                let mut nodes = txn.open_table(NODES).map_err(fail)?;
                let mut loose = txn.open_table(LOOSE).map_err(fail)?;
                let mut staged = txn.open_table(STAGED).map_err(fail)?;
                let mut keys = Vec::new();
                for entry in staged.range((owner.as_str(), [0; 32])..=(owner.as_str(), [255; 32])).map_err(fail)? {
                    keys.push(entry.map_err(fail)?.0.value().1);
                }
                for key in keys {
                    staged.remove((owner.as_str(), key)).map_err(fail)?;
                    let owners = loose.get(key).map_err(fail)?.map(|v| v.value());
                    match owners {
                        None => {}
                        Some(2..) => drop(loose.insert(key, owners.unwrap_or(2) - 1).map_err(fail)?),
                        Some(_) => {
                            loose.remove(key).map_err(fail)?;
                            nodes.remove(key).map_err(fail)?;
                        }
                    }
                }
            }
            txn.commit().map_err(write_error)
        })
        .await
    }

    async fn record(&self, key: &str) -> Result<Option<Vec<u8>>, SpaceError> {
        let key = key.to_owned();
        self.read(move |view| Ok(view.records.get(key.as_str()).map_err(fail)?.map(|v| v.value().to_vec()))).await
    }

    async fn records(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        let prefix = prefix.to_owned();
        self.read(move |view| {
            let mut out = Vec::new();
            for entry in view.records.range(prefix.as_str()..).map_err(fail)? {
                let (key, value) = entry.map_err(fail)?;
                if !key.value().starts_with(&prefix) {
                    break;
                }
                out.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(out)
        })
        .await
    }

    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        self.read(move |view| {
            let mut out = Vec::new();
            let from = after.unwrap_or([0; 32]);
            for entry in view.nodes.range(from..).map_err(fail)? {
                let (key, text) = entry.map_err(fail)?;
                let key = key.value();
                if after == Some(key) || view.loose.get(key).map_err(fail)?.is_some() {
                    continue;
                }
                if out.len() >= limit {
                    break;
                }
                out.push(Scanned { key, node: read_node(&key, text.value()) });
            }
            Ok(out)
        })
        .await
    }

    async fn reach(
        &self,
        starts: &[Addr],
        follow: Follow,
        stop: &HashSet<Addr>,
        limit: usize,
    ) -> Result<Vec<Addr>, SpaceError> {
        let (starts, stop) = (starts.to_vec(), stop.clone());
        self.read(move |view| rules::reach(view, &starts, follow, &stop, limit)).await
    }
}
