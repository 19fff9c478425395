//! A space of one's own is a [`Store`]: this one counts how often another is read and written. It keeps every promise
//! of a space, which the contract suite checks.
//!
//! `cargo run -p ibgib-spaces --example own_space`

use ibgib::{IbGib, Verified};
use ibgib_spaces::store::{Batch, Written};
use ibgib_spaces::{MemorySpace, SpaceError, Store, View, contract};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts its views and its writes.
#[derive(Debug)]
struct Metered {
    inner: MemorySpace,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Metered {
    fn new() -> Self {
        Self { inner: MemorySpace::new("inside"), reads: AtomicU64::new(0), writes: AtomicU64::new(0) }
    }
}

#[async_trait::async_trait]
impl Store for Metered {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        self.reads.fetch_add(1, Relaxed);
        self.inner.view().await
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.writes.fetch_add(1, Relaxed);
        self.inner.write(batch).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.inner.stage(owner, nodes).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.inner.unstage(owner).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.inner.lease(name, holder, time).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.inner.give_up(name, holder).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.inner.changed(since).await
    }
}

#[tokio::main]
async fn main() -> Result<(), contract::ContractError> {
    let metered = Arc::new(Metered::new());
    contract::racing_writers_lose_nothing(metered.clone()).await?;
    println!("{} reads and {} writes", metered.reads.load(Relaxed), metered.writes.load(Relaxed));
    contract::all(async || Arc::new(Metered::new()) as _).await?;
    println!("all {} promises hold", contract::PROMISES.len());
    Ok(())
}

#[test]
fn it_keeps_the_contract() {
    main().unwrap();
}
