//! The one who holds the tower: jobs come to him, what they change is written in one commit, and only then they are
//! answered. Jobs that wait together are written together.

use crate::ledger::{Kept, Ledger};
use ibgib_server::rows::{Row, RowError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Jobs that are written together at most.
const BATCH_MAX: usize = 256;
/// Jobs that wait at most; whoever asks then waits for room.
const WAITING_MAX: usize = 1_024;

/// Why a job was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no tower before its first block.
    NotBegun,
    /// The store fails; it is unknown whether anything was written.
    Store,
    /// The server stops.
    Stopped,
}

trait Job: Send {
    /// May be done again, on the tower as it was written by somebody else meanwhile.
    fn apply(&mut self, kept: &mut Option<Kept>);
    fn answer(self: Box<Self>, failure: Option<Failure>);
}

struct Question<F, T> {
    ask: F,
    found: Option<T>,
    to: oneshot::Sender<Result<T, Failure>>,
}

impl<T: Send, F: FnMut(&mut Option<Kept>) -> T + Send> Job for Question<F, T> {
    fn apply(&mut self, kept: &mut Option<Kept>) {
        self.found = Some((self.ask)(kept));
    }

    fn answer(self: Box<Self>, failure: Option<Failure>) {
        let answer = match (failure, self.found) {
            (None, Some(found)) => Ok(found),
            (failure, _) => Err(failure.unwrap_or(Failure::Stopped)),
        };
        // Whoever asked may have gone.
        let _ = self.to.send(answer);
    }
}

/// How much there is, for whoever cannot ask and wait.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) users: AtomicU64,
    pub(crate) appointments: AtomicU64,
    pub(crate) trackers: AtomicU64,
    pub(crate) height: AtomicU64,
}

impl Counts {
    fn set(&self, kept: &Kept) {
        let set = |count: &AtomicU64, n: usize| count.store(n as u64, Ordering::Relaxed);
        set(&self.users, kept.tower.watcher().subscriptions().len());
        set(&self.appointments, kept.tower.watcher().appointments().len());
        set(&self.trackers, kept.tower.responder().trackers().len());
        self.height.store(kept.tower.last_block().height.into(), Ordering::Relaxed);
    }
}

/// Gives jobs to the one who holds the tower.
#[derive(Clone)]
pub(crate) struct Engine {
    jobs: mpsc::Sender<Box<dyn Job>>,
    counts: Arc<Counts>,
}

impl Engine {
    /// Begins to hold the tower of this ledger.
    pub(crate) fn start(ledger: Ledger) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        let holder = Holder { ledger, kept: None, turn: None, counts: Arc::clone(&counts) };
        tokio::spawn(holder.work(waiting));
        Self { jobs, counts }
    }

    /// How much there is.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Does something with the tower, also when there is none yet; what it changed is written when this returns.
    pub(crate) async fn ask_any<T, F>(&self, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnMut(&mut Option<Kept>) -> T + Send + 'static,
    {
        let (to, answer) = oneshot::channel();
        let job = Box::new(Question { ask, found: None, to });
        self.jobs.send(job).await.map_err(|_| Failure::Stopped)?;
        answer.await.unwrap_or(Err(Failure::Stopped))
    }

    /// Does something with the tower; what it changed is written when this returns.
    pub(crate) async fn ask<T, F>(&self, mut ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnMut(&mut Kept) -> T + Send + 'static,
    {
        self.ask_any(move |kept| kept.as_mut().map(&mut ask).ok_or(Failure::NotBegun)).await?
    }
}

struct Holder {
    ledger: Ledger,
    kept: Option<Kept>,
    /// The turn that `kept` is as of; `None` when it has to be read.
    turn: Option<Option<u64>>,
    counts: Arc<Counts>,
}

impl Holder {
    async fn work(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = waiting.recv().await {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(job) = waiting.try_recv()
            {
                batch.push(job);
            }
            let failure = loop {
                match self.attempt(&mut batch).await {
                    Ok(true) => break None,
                    // Somebody else was faster, and has come through.
                    Ok(false) => self.turn = None,
                    Err(error) => {
                        tracing::error!(%error, "what the tower keeps cannot be read or written");
                        self.turn = None;
                        break Some(Failure::Store);
                    }
                }
            };
            batch.into_iter().for_each(|job| job.answer(failure));
        }
    }

    /// Does a batch; `false`: it has to be done again.
    async fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> Result<bool, RowError> {
        let turn = self.ledger.turn().await?;
        if self.turn != Some(turn.value) {
            let mut loaded = self.ledger.load().await?;
            if let Some(loaded) = &mut loaded
                && let Some(before) = self.kept.take()
            {
                loaded.follow(before);
            }
            self.kept = loaded;
            self.turn = Some(turn.value);
            if self.ledger.turn().await?.value != turn.value {
                return Ok(false);
            }
        }
        let unsent_since = self.kept.as_ref().and_then(|kept| kept.unsent_since);
        batch.iter_mut().for_each(|job| job.apply(&mut self.kept));
        let written = self.write(&turn).await;
        if let (false, Some(kept)) = (matches!(written, Ok(true)), &mut self.kept) {
            // Whoever asked what has to be sent is not answered.
            kept.unsent_since = unsent_since;
        }
        written
    }

    async fn write(&mut self, turn: &Row<u64>) -> Result<bool, RowError> {
        let Some(kept) = &mut self.kept else { return Ok(true) };
        self.counts.set(kept);
        let changes = kept.tower.take_changes();
        if changes.is_empty() {
            return Ok(true);
        }
        let written = self.ledger.write(kept, &changes, turn).await?;
        self.turn = written.map(Some);
        Ok(written.is_some())
    }
}
