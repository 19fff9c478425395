//! A space whose commits fail after the first few, as if the process had died there.

use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_spaces::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Node = Verified<IbGib>;

#[derive(Debug)]
pub(crate) struct Cut {
    inner: Arc<dyn Space>,
    left: AtomicUsize,
}

impl Cut {
    pub(crate) fn after(commits: usize, inner: &Arc<dyn Space>) -> Arc<dyn Space> {
        Arc::new(Self { inner: Arc::clone(inner), left: AtomicUsize::new(commits) })
    }
}

#[async_trait]
impl Space for Cut {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn commit(&self, commit: Commit) -> Result<u64, CommitError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left.is_err() {
            return Err(SpaceError::Closed.into());
        }
        self.inner.commit(commit).await
    }
    async fn get(&self, addrs: &[Addr]) -> Result<Vec<Option<Node>>, SpaceError> {
        self.inner.get(addrs).await
    }
    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        self.inner.has(addrs).await
    }
    async fn count(&self) -> Result<u64, SpaceError> {
        self.inner.count().await
    }
    async fn tip(&self, tjp: &Addr) -> Result<Option<Tip>, SpaceError> {
        self.inner.tip(tjp).await
    }
    async fn tips(&self, kind: Option<Kind>) -> Result<Vec<Tip>, SpaceError> {
        self.inner.tips(kind).await
    }
    async fn revision(&self) -> Result<u64, SpaceError> {
        self.inner.revision().await
    }
    async fn changes(&self, since: u64) -> Result<Changes, SpaceError> {
        self.inner.changes(since).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.inner.changed(since).await
    }
    async fn stage(&self, owner: &str, nodes: &[Node]) -> Result<(), SpaceError> {
        self.inner.stage(owner, nodes).await
    }
    async fn staged(&self, owner: &str, addrs: &[Addr]) -> Result<Vec<Option<Node>>, SpaceError> {
        self.inner.staged(owner, addrs).await
    }
    async fn staged_addrs(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        self.inner.staged_addrs(owner).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.inner.unstage(owner).await
    }
    async fn record(&self, key: &str) -> Result<Option<Vec<u8>>, SpaceError> {
        self.inner.record(key).await
    }
    async fn records(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        self.inner.records(prefix).await
    }
    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        self.inner.scan(after, limit).await
    }
    async fn reach(
        &self,
        starts: &[Addr],
        follow: Follow,
        stop: &HashSet<Addr>,
        limit: usize,
    ) -> Result<Vec<Addr>, SpaceError> {
        self.inner.reach(starts, follow, stop, limit).await
    }
}
