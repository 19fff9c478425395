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
//! A node's text is re-hashed whenever it is read. Small reads happen in place, since a page is nearly always in memory
//! and waking another thread costs more than reading it; large ones and every write run on threads for blocking work.
//! A panic of the engine becomes an error of that call.

mod file;
mod tables;
mod view;
mod write;

pub use file::FILE;
pub(crate) use tables::fail;
pub(crate) use view::Table as LazyTable;

use crate::error::SpaceError;
use crate::leases::LocalLeases;
use crate::store::{Batch, Store, View, Written};
use async_trait::async_trait;
use file::{Engine, Opened, lay_out};
use ibgib::{Addr, IbGib, Verified};
use redb::{Database, ReadTransaction, ReadableTable};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A space in one file, durable when a commit returns.
pub struct DurableSpace {
    id: String,
    opened: Arc<Opened>,
    revision: watch::Sender<u64>,
    leases: LocalLeases,
}

impl fmt::Debug for DurableSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableSpace").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl DurableSpace {
    /// Makes a store in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`SpaceError::Io`] when there is one already; or the file system refuses.
    pub fn create(dir: &Path) -> Result<Self, SpaceError> {
        match lay_out(dir)? {
            true => Self::open(dir),
            false => Err(SpaceError::Io(format!("{} is there already", dir.join(FILE).display()))),
        }
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`SpaceError::NotFound`], [`SpaceError::Locked`] while another process has it open, [`SpaceError::Damaged`],
    /// [`SpaceError::Permission`].
    pub fn open(dir: &Path) -> Result<Self, SpaceError> {
        let (opened, id, revision) = Opened::open(dir)?;
        Ok(Self {
            id,
            opened: Arc::new(opened),
            revision: watch::Sender::new(revision),
            leases: LocalLeases::default(),
        })
    }

    /// Opens the store in `dir` only to read, where it cannot be written to. Others may read it meanwhile, too.
    ///
    /// # Errors
    /// As [`DurableSpace::open`]; [`SpaceError::Damaged`] when a process that was killed left it and nobody has opened
    /// it for writing since.
    pub fn open_read_only(dir: &Path) -> Result<Self, SpaceError> {
        let (opened, id, revision) = Opened::open_read_only(dir)?;
        Ok(Self {
            id,
            opened: Arc::new(opened),
            revision: watch::Sender::new(revision),
            leases: LocalLeases::default(),
        })
    }

    /// Opens the store in `dir`, making it if there is none.
    ///
    /// # Errors
    /// As [`DurableSpace::open`] and [`DurableSpace::create`].
    pub fn open_or_create(dir: &Path) -> Result<Self, SpaceError> {
        match Self::open(dir) {
            Err(SpaceError::NotFound(_)) => {
                lay_out(dir)?;
                Self::open(dir)
            }
            other => other,
        }
    }

    /// When each timeline moved last, which no view tells.
    pub(crate) fn moves(&self) -> Result<Vec<(u64, Addr)>, SpaceError> {
        self.reading(|txn| {
            let mut moves = Vec::new();
            for entry in txn.open_table(tables::MOVES).map_err(fail)?.iter().map_err(fail)? {
                let (key, _) = entry.map_err(fail)?;
                let (revision, tjp) = key.value();
                moves.push((revision, tables::addr_of(tjp)?));
            }
            Ok(moves)
        })
    }

    /// Who has something staged, which no view tells.
    pub(crate) fn owners(&self) -> Result<Vec<String>, SpaceError> {
        self.reading(|txn| {
            let mut owners = Vec::new();
            for entry in txn.open_table(tables::STAGED).map_err(fail)?.iter().map_err(fail)? {
                owners.push(entry.map_err(fail)?.0.value().0.to_owned());
            }
            owners.dedup();
            Ok(owners)
        })
    }

    fn reading<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, SpaceError>) -> Result<T, SpaceError> {
        let engine = self.opened.engine().ok_or(SpaceError::Closed)?;
        self.opened.work(&engine, || work(&engine.begin_read()?))
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        self.opened.path()
    }

    async fn engine(&self) -> Result<Arc<Engine>, SpaceError> {
        match self.opened.engine() {
            Some(engine) => Ok(engine),
            None => {
                let opened = Arc::clone(&self.opened);
                blocking(move || opened.engine_again()).await
            }
        }
    }

    /// Writing, on a thread for blocking work: it waits for other writers and for the disk.
    async fn writing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, SpaceError> + Send + 'static,
    ) -> Result<T, SpaceError> {
        let (opened, engine) = (Arc::clone(&self.opened), self.engine().await?);
        blocking(move || opened.work(&engine, || work(engine.database()?))).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpaceError> + Send + 'static,
) -> Result<T, SpaceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SpaceError::Closed))
}

#[async_trait]
impl Store for DurableSpace {
    fn id(&self) -> &str {
        &self.id
    }

    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        let engine = self.engine().await?;
        Ok(Box::new(view::DurableView::new(Arc::clone(&self.opened), engine)?))
    }

    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        let written = self.writing(move |db| write::write(db, &batch)).await?;
        if let Written::Done(revision) = written {
            // Whoever committed later may have told it earlier.
            self.revision.send_if_modified(|r| {
                let newer = revision > *r;
                *r = (*r).max(revision);
                newer
            });
        }
        Ok(written)
    }

    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        let (owner, nodes) = (owner.to_owned(), nodes.to_vec());
        self.writing(move |db| write::stage(db, &owner, &nodes)).await
    }

    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        let owner = owner.to_owned();
        self.writing(move |db| write::unstage(db, &owner)).await
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        Ok(self.leases.take(name, holder, time))
    }

    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.leases.give_up(name, holder);
        Ok(())
    }

    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        let mut revision = self.revision.subscribe();
        let now = revision.wait_for(|r| *r > since).await.map_err(|_| SpaceError::Closed)?;
        Ok(*now)
    }
}
