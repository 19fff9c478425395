//! Deriving passwords: slow and large on purpose, so that it has a bounded pool of its own and never takes the threads or
//! the memory of what else the server does.

use crate::account::Refusal;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Derivations that may wait for their turn; one more is refused.
const WAITING_MAX: usize = 256;

/// A pool for derivations: half of the machine's cores, one at least, each with
/// [`SERVER_DERIVATION_BYTES`](crate::derive::SERVER_DERIVATION_BYTES) of memory.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Work {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { places: Arc::new(Semaphore::new((cores / 2).max(1))), waiting: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    /// Works in the pool. Who goes away while he waits gives his turn to the next.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let waiting = self.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Refusal::Busy)?;
        drop(waiting);
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            // The place is free when the memory is, also when nobody waits for the answer any more.
            drop(place);
            done
        });
        work.await.map_err(|_| Refusal::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_may_wait_is_refused_and_not_kept() {
        let work = Work { places: Arc::new(Semaphore::new(0)), waiting: Arc::new(Semaphore::new(2)) };
        let wait = |n: u32| {
            let work = work.clone();
            tokio::spawn(async move { work.run(move || n).await })
        };
        let waiting = [wait(1), wait(2)];
        while work.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(work.run(|| 3).await, Err(Refusal::Busy));
        work.places.add_permits(1);
        for (n, done) in waiting.into_iter().enumerate() {
            assert_eq!(done.await.unwrap(), Ok(n as u32 + 1));
        }
    }
}
