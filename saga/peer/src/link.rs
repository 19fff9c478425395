//! A connection as two queues of encoded messages; every transport is turned into one.

use ibgib_saga::{Limits, Packet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

/// Messages that may wait in a link before the side that sends has to wait.
pub(crate) const QUEUE_MAX: usize = 16;

/// One side of a connection. Dropping it ends the connection: what was sent before is flushed, then the socket (if
/// there is one) is closed and its task ends.
#[derive(Debug)]
pub struct Link {
    /// Messages to the peer; an error means that the peer is gone.
    pub tx: mpsc::Sender<Packet>,
    /// Messages from the peer; `None` means that the peer is gone.
    pub rx: mpsc::Receiver<Packet>,
    /// Signs that one is at work, beside the messages.
    pub signs: Signs,
}

impl Link {
    /// Two sides of an in-process connection.
    pub fn pair() -> (Self, Self) {
        let (a, b) = (mpsc::channel(QUEUE_MAX), mpsc::channel(QUEUE_MAX));
        let (ours, theirs) = Signs::pair();
        (Self { tx: a.0, rx: b.1, signs: ours }, Self { tx: b.0, rx: a.1, signs: theirs })
    }
}

/// Signs that a side is at work, and so says nothing else for a while. They say nothing more than that; however many come,
/// no more than one is kept.
#[derive(Clone, Debug)]
pub struct Signs {
    to: Arc<Notify>,
    from: Arc<Notify>,
}

impl Signs {
    /// Those of two sides.
    pub fn pair() -> (Self, Self) {
        let (to, from) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        (Self { to: Arc::clone(&to), from: Arc::clone(&from) }, Self { to: from, from: to })
    }

    /// Gives the other side one.
    pub fn give(&self) {
        self.to.notify_one();
    }

    /// Waits for one of the other side. Whoever stops waiting misses none.
    pub async fn come(&self) {
        self.from.notified().await;
    }
}

/// A side that works on questions of its own machine, and gives a sign each quarter of the time for which a peer waits.
#[derive(Debug)]
pub(crate) struct AtWork {
    signs: Option<Signs>,
    every: Duration,
    due: Instant,
}

impl AtWork {
    /// Without `signs` none are given.
    pub(crate) fn new(signs: Option<Signs>, limits: &Limits) -> Self {
        let every = Duration::from_millis((limits.idle_ms_max / 4).max(1));
        Self { signs, every, due: Instant::now() + every }
    }

    /// The peer begins to wait now: it has said something, or was told something.
    pub(crate) fn begin(&mut self) {
        self.due = Instant::now() + self.every;
    }

    /// Does the work.
    pub(crate) async fn on<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep_until(self.due) => {
                    self.signs.iter().for_each(Signs::give);
                    self.begin();
                }
            }
        }
    }
}
