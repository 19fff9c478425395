//! Work that only one of the servers over a space does at a time, and that another one takes over when that one dies.

use ibgib_peer::entropy::random_hex;
use ibgib_spaces::{Space, SpaceError};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// A lease that is not renewed runs out after so long.
const TIME: Duration = Duration::from_secs(6);
/// It is renewed so often.
const RENEW: Duration = Duration::from_secs(2);
/// Who has it not asks for it so often: with [`TIME`], a server that dies is followed within ten seconds.
const ASK: Duration = Duration::from_secs(1);
/// So long a store may take to answer whoever does not have the lease.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A lease of one server on some work.
///
/// What is done under a lease still has to stand being done twice: a process that is stopped for a while goes on, for a
/// moment, as if nothing had happened. So whatever it writes is written on the condition that it is as it was read
/// ([`Rows`](crate::rows::Rows)); the lease spares the others the work and their writers the race.
///
/// ```
/// use ibgib_server::Lease;
/// use ibgib_spaces::MemorySpace;
/// use std::sync::Arc;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let space = Arc::new(MemorySpace::new("doc"));
/// let (one, other) = (Lease::new(space.clone(), "sweep"), Lease::new(space, "sweep"));
/// assert!(one.take().await.unwrap() && !other.take().await.unwrap());
/// one.give_up().await;
/// assert!(other.take().await.unwrap());
/// # });
/// ```
pub struct Lease {
    space: Arc<dyn Space>,
    name: &'static str,
    holder: String,
    held: Mutex<Held>,
}

/// As far as this server knows.
#[derive(Debug, Default)]
struct Held {
    /// How often it was taken after it had not been held.
    term: u64,
    /// `None`: it is not held. Counted from before the store was asked, so that it ends here before it ends there.
    until: Option<Instant>,
}

impl Held {
    fn term(&self) -> Option<u64> {
        self.until.filter(|until| Instant::now() < *until).map(|_| self.term)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.name).field("term", &self.term()).finish_non_exhaustive()
    }
}

impl Lease {
    /// The lease of this name in a space, which nobody has taken yet.
    pub fn new(space: Arc<dyn Space>, name: &'static str) -> Self {
        Self { space, name, holder: random_hex(), held: Mutex::default() }
    }

    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// While it is held, a number that is another one each time it was not held in between; else `None`. What was found
    /// out in an earlier term has to be found out again.
    pub fn term(&self) -> Option<u64> {
        self.held(|held| held.term())
    }

    /// Takes or renews it; whether it is held now.
    ///
    /// # Errors
    /// The space fails. What was held is held until it runs out.
    pub async fn take(&self) -> Result<bool, SpaceError> {
        let asked = Instant::now();
        let taken = self.space.lease(self.name, &self.holder, TIME).await?;
        self.held(|held| {
            if taken && held.term().is_none() {
                held.term += 1;
            }
            held.until = taken.then(|| asked + TIME);
        });
        Ok(taken)
    }

    /// Gives it up. Where the space cannot be told, it runs out.
    pub async fn give_up(&self) {
        if self.held(|held| held.until.take()).is_none() {
            return;
        }
        let told = timeout(RENEW, self.space.give_up(self.name, &self.holder)).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(lease = self.name, "a lease could not be given up, and runs out");
        }
    }

    /// Until the stop: whenever nobody else has the lease, takes it, and works for as long as it is held; the work is
    /// dropped wherever it is when the lease is lost. At the stop the lease is given up.
    pub async fn work<F: Future<Output = ()>>(&self, stop: &CancellationToken, mut work: impl FnMut() -> F) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.taken() => {}
                () = stop.cancelled() => break,
            }
            tracing::debug!(lease = self.name, "taken");
            tokio::select! {
                () = work() => break,
                () = self.lost() => tracing::warn!(lease = self.name, "the lease was lost, and the work is left to others"),
                () = stop.cancelled() => {}
            }
        }
        self.give_up().await;
    }

    /// Asks for it until it is held.
    async fn taken(&self) {
        loop {
            match timeout(ANSWER_MAX, self.take()).await {
                Ok(Ok(true)) => return,
                Ok(Err(error)) => tracing::debug!(lease = self.name, %error, "the lease cannot be asked for"),
                Ok(Ok(false)) | Err(_) => {}
            }
            sleep(ASK).await;
        }
    }

    /// Renews it until that is no longer possible.
    async fn lost(&self) {
        while let Some(until) = self.held(|held| held.until) {
            sleep_until(until.min(Instant::now() + RENEW)).await;
            // Where the store does not answer, others get it at this moment at the earliest.
            if let Ok(Err(error)) = timeout_at(until, self.take()).await {
                tracing::debug!(lease = self.name, %error, "the lease cannot be renewed");
            }
            if self.term().is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibgib_spaces::MemorySpace;
    use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::task::JoinHandle;

    /// Who works, and who does so beside somebody else.
    #[derive(Default)]
    struct Shop {
        working: AtomicUsize,
        crowded: AtomicUsize,
    }

    struct At<'a>(&'a Shop);

    impl Drop for At<'_> {
        fn drop(&mut self) {
            self.0.working.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn server(space: Arc<dyn Space>, shop: &Arc<Shop>) -> (Arc<Lease>, CancellationToken, JoinHandle<()>) {
        let (lease, stop, shop) = (Arc::new(Lease::new(space, "work")), CancellationToken::new(), Arc::clone(shop));
        let (of, until) = (Arc::clone(&lease), stop.clone());
        let task = tokio::spawn(async move {
            let work = || async {
                if shop.working.fetch_add(1, Ordering::SeqCst) > 0 {
                    shop.crowded.fetch_add(1, Ordering::SeqCst);
                }
                let _at = At(&shop);
                std::future::pending().await
            };
            of.work(&until, work).await;
        });
        (lease, stop, task)
    }

    async fn held(lease: &Lease) {
        while lease.term().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_works_and_when_it_stops_another_takes_over_at_once() {
        let (space, shop): (Arc<dyn Space>, _) = (Arc::new(MemorySpace::new("space")), Arc::default());
        let (first, stop, task) = server(Arc::clone(&space), &shop);
        held(&first).await;
        let (second, stop_second, second_task) = server(space, &shop);
        sleep(TIME * 10).await;
        assert_eq!((first.term(), second.term()), (Some(1), None));
        stop.cancel();
        task.await.unwrap();
        let since = Instant::now();
        held(&second).await;
        assert!(since.elapsed() <= ASK + ASK);
        stop_second.cancel();
        second_task.await.unwrap();
        assert_eq!((shop.working.load(Ordering::SeqCst), shop.crowded.load(Ordering::SeqCst)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_dies_or_cannot_renew_is_followed_within_ten_seconds_and_not_before_it_ends() {
        let (inner, shop): (Arc<dyn Space>, _) = (Arc::new(MemorySpace::new("space")), Arc::default());
        for dies in [true, false] {
            // It gets the lease, and after that the space answers it no more.
            let failing = FaultSpace::new(Arc::clone(&inner), FaultPlan::default().after(Op::Lease, 1));
            let (first, stop, task) = server(Arc::new(failing), &shop);
            held(&first).await;
            let (second, stop_second, second_task) = server(Arc::clone(&inner), &shop);
            if dies {
                task.abort();
            }
            let since = Instant::now();
            held(&second).await;
            assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
            assert_eq!((first.term(), shop.crowded.load(Ordering::SeqCst)), (None, 0));
            stop.cancel();
            assert_eq!(task.await.is_err(), dies);
            stop_second.cancel();
            second_task.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_lost_in_between_is_of_another_term() {
        let lease = Lease::new(Arc::new(MemorySpace::new("space")), "work");
        assert!(lease.take().await.unwrap() && lease.take().await.unwrap());
        assert_eq!(lease.term(), Some(1));
        sleep(TIME).await;
        assert_eq!(lease.term(), None);
        assert!(lease.take().await.unwrap());
        assert_eq!(lease.term(), Some(2));
    }
}
