//! Turns that move the same timelines come one after the other. Each commit on a timeline makes every other turn that was
//! judged by its old tip be judged anew: of `n` peers that edit one document at once, `n²/2` turns would be judged.
//!
//! It only saves work. That tips have not moved since a turn was judged is for the commit to find out: other servers of the
//! space know nothing of these queues.

use ibgib::Addr;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Timelines share so many queues.
const QUEUES: usize = 256;
/// A turn of more timelines than this waits for nobody, unless tips were moved under it: it would stand in the way of all.
const FEW: usize = 64;

/// The queues of all timelines.
#[derive(Debug)]
pub(super) struct Queues {
    queues: Vec<Arc<Mutex<()>>>,
    state: RandomState,
}

/// Its turn has come on some timelines; it is over when this is dropped.
pub(super) type Held = Vec<OwnedMutexGuard<()>>;

impl Default for Queues {
    fn default() -> Self {
        Self { queues: std::iter::repeat_with(Arc::default).take(QUEUES).collect(), state: RandomState::new() }
    }
}

impl Queues {
    /// Waits until those who came before on any of these timelines are done. `moved`: tips were moved under the turn.
    pub(super) async fn enter(&self, timelines: &[&Addr], moved: bool) -> Held {
        if timelines.len() > FEW && !moved {
            return Held::new();
        }
        let place = |tjp: &&Addr| usize::try_from(self.state.hash_one(tjp) % QUEUES as u64).unwrap_or(0);
        // Whoever enters several does so in the same order, and before any of them is entered again: nobody waits for one
        // who waits for him.
        let places: BTreeSet<usize> = timelines.iter().map(place).collect();
        let mut held = Held::with_capacity(places.len());
        for place in places {
            held.push(Arc::clone(&self.queues[place]).lock_owned().await);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn addrs(count: usize) -> Vec<Addr> {
        (0..count).map(|n| format!("note^{n:064X}").parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn turns_on_one_timeline_come_one_after_the_other() {
        let (queues, addrs) = (Queues::default(), addrs(2));
        let first = queues.enter(&[&addrs[0]], false).await;
        assert!(queues.enter(&[&addrs[0]], false).now_or_never().is_none());
        // Whoever no longer waits is no longer in the queue.
        drop(first);
        assert!(queues.enter(&[&addrs[0]], false).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_turn_of_many_timelines_waits_only_after_it_lost() {
        let (queues, addrs) = (Queues::default(), addrs(FEW + 1));
        let all: Vec<&Addr> = addrs.iter().collect();
        let one = queues.enter(&all[..1], false).await;
        assert!(queues.enter(&all, false).now_or_never().is_some_and(|held| held.is_empty()));
        assert!(queues.enter(&all, true).now_or_never().is_none());
        drop(one);
        let held = queues.enter(&all, true).now_or_never().unwrap();
        assert!(queues.enter(&all[..1], false).now_or_never().is_none());
        drop(held);
    }

    /// Whatever timelines they want and in whatever order they name them, all come to an end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_waits_for_who_waits_for_him() {
        let (queues, done) = (Arc::new(Queues::default()), Arc::new(AtomicUsize::new(0)));
        let turns = (0..200usize).map(|n| {
            let (queues, done) = (Arc::clone(&queues), Arc::clone(&done));
            tokio::spawn(async move {
                let mut addrs = addrs(20);
                addrs.rotate_left(n % 20);
                if n % 2 == 0 {
                    addrs.reverse();
                }
                addrs.truncate(1 + n % 7);
                let held = queues.enter(&addrs.iter().collect::<Vec<_>>(), false).await;
                tokio::task::yield_now().await;
                drop(held);
                done.fetch_add(1, Ordering::Relaxed);
            })
        });
        for turn in turns.collect::<Vec<_>>() {
            turn.await.unwrap();
        }
        assert_eq!(done.load(Ordering::Relaxed), 200);
    }
}
