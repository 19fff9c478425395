//! A space that fails on purpose, or is slow, to see whether its caller goes on rightly.
//!
//! ```
//! use ibgib_spaces::fault::{FaultSpace, Op, FaultPlan, When};
//! use ibgib_spaces::{Commit, MemorySpace, Space};
//! use std::sync::Arc;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let plan = FaultPlan::default().nth(Op::Commit, 1, When::After);
//! let space = FaultSpace::new(Arc::new(MemorySpace::new("m")), plan);
//! assert!(space.commit(Commit::default()).await.is_err());
//! assert_eq!(space.revision().await.unwrap(), 1); // it was told as failed, and happened
//! # });
//! ```

use crate::error::SpaceError;
#[cfg(feature = "redb")]
use crate::segments::SegmentSpace;
use crate::space::Space;
use crate::store::{Batch, Store, View, Written};
use async_trait::async_trait;
#[cfg(feature = "redb")]
use ibgib::Addr;
use ibgib::{IbGib, Verified};
#[cfg(feature = "redb")]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Damages a [`SegmentSpace`] that nobody has open: what it keeps of a committed node is from now on what `change` makes
/// of the node's text, or nothing.
///
/// # Errors
/// When the store cannot be opened; [`SpaceError::Missing`] when it does not have the node.
#[cfg(feature = "redb")]
pub fn damage(dir: &Path, addr: &Addr, change: impl FnOnce(String) -> Option<String>) -> Result<(), SpaceError> {
    let space = SegmentSpace::open(dir)?;
    space.damage(addr, change)?;
    space.finish()
}

/// What kind of call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// A question: opening a view, and waiting for a change. A commit asks one, too, before it writes.
    Read,
    /// `stage` and `unstage`.
    Stage,
    /// The write of a commit.
    Commit,
    /// `lease` and `give_up`.
    Lease,
}

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// Before anything happened.
    Before,
    /// After it happened: the caller cannot know. For a read it is the same.
    After,
}

/// Which calls fail, and which take long. The same plan fails the same calls, whatever runs side by side: what happens to the n-th call of
/// an operation follows from seed, operation and n.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    nth: Vec<(Op, u64, When)>,
    one_in: Vec<(Op, u64)>,
    after: Vec<(Op, u64)>,
    slow: Vec<(Op, u64, Duration)>,
    seed: u64,
}

impl FaultPlan {
    /// Fails nothing yet; `seed` decides for [`FaultPlan::one_in`].
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Fails the n-th call of an operation, counted from 1.
    #[must_use]
    pub fn nth(mut self, op: Op, n: u64, when: When) -> Self {
        self.nth.push((op, n, when));
        self
    }

    /// Fails every call of an operation after the n-th, before it happens, as if the process had died there.
    #[must_use]
    pub fn after(mut self, op: Op, n: u64) -> Self {
        self.after.push((op, n));
        self
    }

    /// Fails about one call in `many`, half of them before they happened and half after.
    #[must_use]
    pub fn one_in(mut self, op: Op, many: u64) -> Self {
        self.one_in.push((op, many.max(1)));
        self
    }

    /// Makes every call of an operation up to the n-th take so much longer.
    #[must_use]
    pub fn slow(mut self, op: Op, n: u64, time: Duration) -> Self {
        self.slow.push((op, n, time));
        self
    }

    fn fault(&self, op: Op, n: u64) -> Option<When> {
        if let Some((.., when)) = self.nth.iter().find(|(o, at, _)| *o == op && *at == n) {
            return Some(*when);
        }
        if self.after.iter().any(|(o, last)| *o == op && n > *last) {
            return Some(When::Before);
        }
        let (_, many) = self.one_in.iter().find(|(o, _)| *o == op)?;
        let random = mix(self.seed ^ mix(n.wrapping_mul(3) + op as u64));
        let when = if random >> 63 == 0 { When::Before } else { When::After };
        random.is_multiple_of(*many).then_some(when)
    }
}

/// SplitMix64: a seed means the same for ever.
fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A store around another that fails as planned, with [`SpaceError::Io`].
#[derive(Debug)]
pub struct FaultSpace {
    inner: Arc<dyn Space>,
    plan: FaultPlan,
    calls: [AtomicU64; 4],
    faults: AtomicU64,
}

impl FaultSpace {
    /// Fails calls to `inner` as planned.
    pub fn new(inner: Arc<dyn Space>, plan: FaultPlan) -> Self {
        Self { inner, plan, calls: Default::default(), faults: AtomicU64::new(0) }
    }

    /// The space that does not fail.
    pub fn inner(&self) -> &Arc<dyn Space> {
        &self.inner
    }

    /// Calls that failed so far.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Calls of one kind so far, those that failed included.
    pub fn calls(&self, op: Op) -> u64 {
        self.calls[op as usize].load(Ordering::Relaxed)
    }

    async fn call<T>(&self, op: Op, work: impl Future<Output = Result<T, SpaceError>> + Send) -> Result<T, SpaceError> {
        let n = self.calls[op as usize].fetch_add(1, Ordering::Relaxed) + 1;
        for (_, _, time) in self.plan.slow.iter().filter(|(slow, last, _)| *slow == op && n <= *last) {
            tokio::time::sleep(*time).await;
        }
        let Some(when) = self.plan.fault(op, n) else { return work.await };
        self.faults.fetch_add(1, Ordering::Relaxed);
        if when == When::After {
            work.await?;
        }
        Err(SpaceError::Io(format!("injected: {op:?} {n} failed")))
    }
}

#[async_trait]
impl Store for FaultSpace {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        self.call(Op::Read, self.inner.view()).await
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.call(Op::Commit, self.inner.write(batch)).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.call(Op::Stage, self.inner.stage(owner, nodes)).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.call(Op::Stage, self.inner.unstage(owner)).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.call(Op::Lease, self.inner.lease(name, holder, time)).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.call(Op::Lease, self.inner.give_up(name, holder)).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.call(Op::Read, self.inner.changed(since)).await
    }
    async fn give_back(&self, all: bool) -> Result<u64, SpaceError> {
        self.inner.give_back(all).await
    }
}
