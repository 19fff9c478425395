//! Jobs for peers that cost much: few at once, on threads for blocking work and never on the reactor, each with a time
//! limit, and given up when nobody waits for it any more.

use ibgib_saga::SagaError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Places for such jobs.
#[derive(Debug)]
pub(crate) struct Jobs {
    places: Arc<Semaphore>,
    ms_max: u64,
    done: AtomicU64,
}

impl Jobs {
    pub(super) fn new(max: usize, ms_max: u64) -> Self {
        Self { places: Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS))), ms_max, done: AtomicU64::new(0) }
    }

    /// How many were begun.
    pub(super) fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Does a job once there is a place for it. When the caller goes away, or the time is over, it ends where it next
    /// gives way (`yield_now`, or a read that waits): a job that computes long has to do so now and then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl Future<Output = Result<T, SagaError>> + Send + 'static,
    ) -> Result<T, SagaError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        self.done.fetch_add(1, Ordering::Relaxed);
        let (gone, ms_max, runtime) = (CancellationToken::new(), self.ms_max, Handle::current());
        // Dropped with this future.
        let _caller = gone.clone().drop_guard();
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            runtime.block_on(async move {
                tokio::select! {
                    biased;
                    () = gone.cancelled() => Err(SagaError::Cancelled),
                    () = tokio::time::sleep(Duration::from_millis(ms_max)) => {
                        Err(SagaError::Limit { name: "job_ms_max", limit: ms_max })
                    }
                    done = job => done,
                }
            })
        });
        done.await.unwrap_or_else(|error| Err(SagaError::defect(error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs until it is given up, telling that it runs, and that it is over.
    async fn endless(told: Arc<AtomicU64>) -> Result<(), SagaError> {
        struct Over(Arc<AtomicU64>);
        impl Drop for Over {
            fn drop(&mut self) {
                self.0.store(2, Ordering::SeqCst);
            }
        }
        let _over = Over(Arc::clone(&told));
        told.store(1, Ordering::SeqCst);
        loop {
            tokio::task::yield_now().await;
        }
    }

    async fn reaches(told: &AtomicU64, value: u64) {
        while told.load(Ordering::SeqCst) != value {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_job_ends_with_its_caller_and_frees_its_place() {
        let jobs = Arc::new(Jobs::new(1, 600_000));
        let told = Arc::new(AtomicU64::new(0));
        let caller = tokio::spawn({
            let (jobs, told) = (Arc::clone(&jobs), Arc::clone(&told));
            async move { jobs.run(endless(told)).await }
        });
        reaches(&told, 1).await;
        caller.abort();
        reaches(&told, 2).await;
        assert_eq!(jobs.run(async { Ok(7) }).await, Ok(7));
        assert_eq!(jobs.count(), 2);
    }

    #[tokio::test]
    async fn a_job_that_takes_too_long_is_given_up() {
        let jobs = Jobs::new(1, 1);
        let error = jobs.run(endless(Arc::default())).await.unwrap_err();
        assert_eq!(error, SagaError::Limit { name: "job_ms_max", limit: 1 });
    }
}
