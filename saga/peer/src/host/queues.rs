//! Turns that move the same timelines are committed one after the other, and whoever was too late keeps its turn while it is
//! judged anew. Each commit on a timeline makes every other turn that was judged by its old tip be judged again: of `n`
//! peers that edit one document at once, `n²/2` turns would be.
//!
//! It only saves work. That tips have not moved since a turn was judged is for the commit to find out: other servers of the
//! space know nothing of these queues. So nobody waits for long, and only who may move a timeline comes to wait for it.

use ibgib::Addr;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A turn of more timelines than this waits for nobody: it would stand in the way of all.
const FEW: usize = 64;
/// So long a turn waits. Then it goes on as if there were no queue.
const WAIT: Duration = Duration::from_secs(5);

/// The queues of timelines that are being moved.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues(Arc<std::sync::Mutex<HashMap<Addr, Arc<Mutex<()>>>>>);

/// Its turn has come on some timelines; it is over when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    queues: Queues,
    /// Without a guard it still waits.
    places: Vec<(Addr, Option<OwnedMutexGuard<()>>)>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.queues.all();
        for (tjp, place) in self.places.drain(..) {
            drop(place);
            // Nobody else is in it or waits for it.
            if all.get(&tjp).is_some_and(|queue| Arc::strong_count(queue) == 1) {
                all.remove(&tjp);
            }
        }
    }
}

impl Queues {
    fn all(&self) -> MutexGuard<'_, HashMap<Addr, Arc<Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until those who came before on any of these timelines are done, and no longer than [`WAIT`].
    pub(super) async fn enter(&self, timelines: impl IntoIterator<Item = &Addr>) -> Held {
        let timelines: BTreeSet<&Addr> = timelines.into_iter().collect();
        if timelines.len() > FEW {
            return Held::default();
        }
        tokio::time::timeout(WAIT, self.enter_all(timelines)).await.unwrap_or_default()
    }

    /// Whoever enters several does so in the same order, and before any of them is entered again: nobody waits for one who
    /// waits for him.
    async fn enter_all(&self, timelines: BTreeSet<&Addr>) -> Held {
        let mut held = Held { queues: self.clone(), places: Vec::with_capacity(timelines.len()) };
        for tjp in timelines {
            let queue = Arc::clone(self.all().entry(tjp.clone()).or_default());
            held.places.push((tjp.clone(), None));
            let place = queue.lock_owned().await;
            if let Some((_, last)) = held.places.last_mut() {
                *last = Some(place);
            }
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
        let first = queues.enter(&addrs[..1]).await;
        assert!(queues.enter(&addrs).now_or_never().is_none());
        assert!(queues.enter(&addrs[1..]).now_or_never().is_some(), "whoever no longer waits holds nothing");
        drop(first);
        assert!(queues.enter(&addrs).now_or_never().is_some_and(|held| held.places.len() == 2));
        assert!(queues.all().is_empty(), "what nobody wants is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long() {
        let (queues, addrs) = (Queues::default(), addrs(2));
        let first = queues.enter(&addrs[1..]).await;
        let began = tokio::time::Instant::now();
        assert!(queues.enter(&addrs).await.is_empty());
        assert_eq!(began.elapsed(), WAIT);
        assert!(queues.enter(&addrs[..1]).now_or_never().is_some_and(|held| !held.is_empty()));
        drop(first);
        assert!(queues.all().is_empty());
    }

    #[tokio::test]
    async fn a_turn_of_many_timelines_stands_in_nobodys_way() {
        let (queues, addrs) = (Queues::default(), addrs(FEW + 1));
        let held = queues.enter(&addrs).now_or_never().unwrap();
        assert!(held.is_empty() && queues.enter(&addrs[1..]).now_or_never().is_some_and(|held| !held.is_empty()));
    }

    /// Whatever timelines they want and in whatever order they name them, all come to an end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_waits_for_who_waits_for_him() {
        let (queues, inside) = (Queues::default(), Arc::new([const { AtomicUsize::new(0) }; 20]));
        let turns = (0..200usize).map(|n| {
            let (queues, inside) = (queues.clone(), Arc::clone(&inside));
            tokio::spawn(async move {
                let mut named: Vec<(usize, Addr)> = addrs(20).into_iter().enumerate().collect();
                named.rotate_left(n % 20);
                if n % 2 == 0 {
                    named.reverse();
                }
                named.truncate(1 + n % 7);
                let _held = queues.enter_all(named.iter().map(|(_, addr)| addr).collect()).await;
                for (i, _) in &named {
                    assert_eq!(inside[*i].fetch_add(1, Ordering::SeqCst), 0, "two at once on {i}");
                }
                tokio::task::yield_now().await;
                for (i, _) in &named {
                    inside[*i].fetch_sub(1, Ordering::SeqCst);
                }
            })
        });
        for turn in turns.collect::<Vec<_>>() {
            turn.await.unwrap();
        }
        assert!(queues.all().is_empty());
    }
}
