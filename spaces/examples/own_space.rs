//! A space of one's own: one that counts what is asked of it, around any other. It keeps every promise, which the
//! contract suite checks.
//!
//! `cargo run -p ibgib-spaces --example own_space`

use ibgib::{Addr, IbGib, Verified};
use ibgib_spaces::{
    Changes, Commit, CommitError, Follow, Kind, MemorySpace, Scanned, Space, SpaceError, Tip, contract,
};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Result<T> = std::result::Result<T, SpaceError>;

/// How much was read and written.
#[derive(Debug)]
struct Metered {
    inner: Arc<dyn Space>,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Metered {
    fn new(inner: Arc<dyn Space>) -> Self {
        Self { inner, reads: AtomicU64::new(0), writes: AtomicU64::new(0) }
    }

    fn reading(&self) -> &dyn Space {
        self.reads.fetch_add(1, Relaxed);
        &*self.inner
    }

    fn writing(&self) -> &dyn Space {
        self.writes.fetch_add(1, Relaxed);
        &*self.inner
    }
}

#[async_trait::async_trait]
impl Space for Metered {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn get(&self, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>> {
        self.reading().get(addrs).await
    }
    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>> {
        self.reading().has(addrs).await
    }
    async fn count(&self) -> Result<u64> {
        self.reading().count().await
    }
    async fn tip(&self, tjp: &Addr) -> Result<Option<Tip>> {
        self.reading().tip(tjp).await
    }
    async fn tips(&self, kind: Option<Kind>) -> Result<Vec<Tip>> {
        self.reading().tips(kind).await
    }
    async fn commit(&self, commit: Commit) -> std::result::Result<u64, CommitError> {
        self.writing().commit(commit).await
    }
    async fn revision(&self) -> Result<u64> {
        self.reading().revision().await
    }
    async fn changes(&self, since: u64) -> Result<Changes> {
        self.reading().changes(since).await
    }
    async fn changed(&self, since: u64) -> Result<u64> {
        self.reading().changed(since).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<()> {
        self.writing().stage(owner, nodes).await
    }
    async fn staged(&self, owner: &str, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>> {
        self.reading().staged(owner, addrs).await
    }
    async fn staged_addrs(&self, owner: &str) -> Result<Vec<Addr>> {
        self.reading().staged_addrs(owner).await
    }
    async fn unstage(&self, owner: &str) -> Result<()> {
        self.writing().unstage(owner).await
    }
    async fn record(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.reading().record(key).await
    }
    async fn records(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.reading().records(prefix).await
    }
    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>> {
        self.reading().scan(after, limit).await
    }
    async fn reach(&self, starts: &[Addr], follow: Follow, stop: &HashSet<Addr>, limit: usize) -> Result<Vec<Addr>> {
        self.reading().reach(starts, follow, stop, limit).await
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), contract::ContractError> {
    let metered = Arc::new(Metered::new(Arc::new(MemorySpace::new("inside"))));
    contract::racing_writers_lose_nothing(metered.clone()).await?;
    println!("{} reads and {} writes", metered.reads.load(Relaxed), metered.writes.load(Relaxed));
    contract::all(async || Arc::new(Metered::new(Arc::new(MemorySpace::new("inside")))) as _).await?;
    println!("all {} promises hold", contract::PROMISES.len());
    Ok(())
}

#[test]
fn it_keeps_the_contract() {
    main().unwrap();
}
