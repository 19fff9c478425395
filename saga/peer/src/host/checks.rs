//! Checks for peers that take a moment: signatures, and messages that are read. As many at once as there are processors, on
//! threads for blocking work and never on the reactor, each in its turn; whoever goes away while he waits gives his turn up.

use super::Host;
use crate::signing::aside;
use ibgib::{IbGib, Verified};
use ibgib_keystone::{Chain, Expect, Step};
use ibgib_saga::{IdentityRefusal, SagaError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for such checks.
#[derive(Debug)]
pub(super) struct Checks {
    places: Arc<Semaphore>,
    ms_max: u64,
    begun: AtomicU64,
}

/// A place for one of them.
#[derive(Debug)]
pub(super) struct Place(Option<OwnedSemaphorePermit>);

impl Checks {
    pub(super) fn new(max: usize, ms_max: u64) -> Self {
        let places = Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS)));
        Self { places, ms_max, begun: AtomicU64::new(0) }
    }

    /// How many were begun.
    pub(super) fn count(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits for a place. They are given in the order in which they were asked for.
    pub(super) async fn enter(&self) -> Place {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        self.begun.fetch_add(1, Ordering::Relaxed);
        Place(place)
    }

    /// Checks something once there is a place for it, which takes no longer than a job may.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SagaError> {
        match tokio::time::timeout(Duration::from_millis(self.ms_max), self.enter()).await {
            Ok(place) => place.run(check).await,
            Err(_) => Err(SagaError::Limit { name: "job_ms_max", limit: self.ms_max }),
        }
    }
}

impl Place {
    /// Checks something in this place, which is free again once that is done.
    pub(super) async fn run<T: Send + 'static>(
        self,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SagaError> {
        aside(move || {
            let done = check();
            drop(self.0);
            done
        })
        .await
    }
}

impl Host {
    /// Checks something that came without a connection, in its turn among the checks of all peers.
    ///
    /// # Errors
    /// It had to wait for too long.
    pub async fn check<T: Send + 'static>(&self, check: impl FnOnce() -> T + Send + 'static) -> Result<T, SagaError> {
        self.checks.run(check).await
    }

    /// As [`Chain::advance_all`], one frame after the other: others have their turn in between.
    pub(super) async fn advanced(
        &self,
        mut chain: Chain,
        frames: &[Verified<IbGib>],
        of_the_last: &Expect,
    ) -> Result<(Chain, Option<Step>), SagaError> {
        let mut joined = None;
        for (left, frame) in (0..frames.len()).rev().zip(frames) {
            let expect = if left == 0 { of_the_last.clone() } else { Expect::default() };
            let frame = frame.clone();
            let step = self.checks.run(move || chain.advance(&frame, &expect).map(|step| (chain, step))).await?;
            let (next, step) = step.map_err(|e| IdentityRefusal::invalid(&e))?;
            (chain, joined) = (next, step.after(joined));
        }
        Ok((chain, joined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test]
    async fn as_many_are_checked_at_once_as_there_are_places_and_no_more() {
        const PLACES: usize = 3;
        let checks = Arc::new(Checks::new(PLACES, 600_000));
        // None ends before so many are there.
        let barrier = Arc::new(Barrier::new(PLACES));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = Vec::new();
        for _ in 0..10 * PLACES {
            let (checks, barrier, now, most) =
                (Arc::clone(&checks), Arc::clone(&barrier), Arc::clone(&now), Arc::clone(&most));
            all.push(tokio::spawn(async move {
                let check = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    barrier.wait();
                    now.fetch_sub(1, Ordering::SeqCst);
                };
                checks.run(check).await
            }));
        }
        for one in all {
            one.await.unwrap().unwrap();
        }
        assert_eq!((most.load(Ordering::SeqCst), checks.count()), (PLACES, 10 * PLACES as u64));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_in_turn_gives_his_turn_up_and_waits_for_so_long_at_most() {
        let checks = Checks::new(1, 1_000);
        let held = checks.enter().await;
        assert_eq!(checks.run(|| ()).await, Err(SagaError::Limit { name: "job_ms_max", limit: 1_000 }));
        let (mut gone, mut first, mut second) =
            (Box::pin(checks.enter()), Box::pin(checks.enter()), Box::pin(checks.enter()));
        for waiting in [&mut gone, &mut first, &mut second] {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        drop((gone, held));
        assert!(futures_util::poll!(&mut second).is_pending(), "the first one has it");
        let Place(place) = first.await;
        drop(place);
        second.await;
        assert_eq!(checks.count(), 3, "whoever had gone was not checked");
    }

    /// A check that breaks is told, and its place is free again.
    #[tokio::test]
    async fn a_check_that_breaks_keeps_no_place() {
        let checks = Checks::new(1, 600_000);
        assert!(checks.run(|| panic!("as it is meant")).await.is_err());
        assert_eq!(checks.run(|| 7).await, Ok(7));
    }
}
