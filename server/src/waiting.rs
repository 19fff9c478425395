//! HTTP connections, in all and per address. Where there is no room, the connection that has been open longest without
//! a request under way makes it: whoever only holds connections open keeps nobody out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The open HTTP connections.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    open: Arc<Mutex<Open>>,
    all_max: usize,
    each_max: usize,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    count: usize,
    cut: u64,
    /// By number, which is their age.
    of: HashMap<IpAddr, BTreeMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    cut: CancellationToken,
    busy: bool,
}

/// One connection's entry; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Entered {
    waiting: Waiting,
    address: IpAddr,
    number: u64,
    /// Asks the connection to end.
    pub(crate) cut: CancellationToken,
}

impl Waiting {
    pub(crate) fn new(all_max: usize, each_max: usize) -> Self {
        Self { open: Arc::default(), all_max, each_max }
    }

    /// Connections open now, and how many had to make room.
    pub(crate) fn count(&self) -> (usize, u64) {
        let open = self.open();
        (open.count, open.cut)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection; `None` when there is no room and none that could make it.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Entered> {
        let mut open = self.open();
        let here = open.of.get(&address).map_or(0, BTreeMap::len);
        if here >= self.each_max {
            open.cut_oldest(address)?;
        } else if open.count >= self.all_max {
            // Whoever has one only keeps it.
            let most = open.of.iter().max_by_key(|(_, of)| of.len()).filter(|(_, of)| of.len() > 1)?;
            let most = *most.0;
            open.cut_oldest(most)?;
        }
        let (number, cut) = (open.next, CancellationToken::new());
        open.next += 1;
        open.count += 1;
        open.of.entry(address).or_default().insert(number, Entry { cut: cut.clone(), busy: false });
        Some(Entered { waiting: self.clone(), address, number, cut })
    }
}

impl Open {
    fn remove(&mut self, address: IpAddr, number: u64) -> Option<Entry> {
        let of = self.of.get_mut(&address)?;
        let entry = of.remove(&number)?;
        if of.is_empty() {
            self.of.remove(&address);
        }
        self.count -= 1;
        Some(entry)
    }

    fn cut_oldest(&mut self, address: IpAddr) -> Option<()> {
        let number = self.of.get(&address)?.iter().find(|(_, entry)| !entry.busy).map(|(number, _)| *number)?;
        self.remove(address, number)?.cut.cancel();
        self.cut += 1;
        Some(())
    }
}

impl Entered {
    /// Tells whether a request of this connection is under way.
    pub(crate) fn set_busy(&self, busy: bool) {
        let mut open = self.waiting.open();
        if let Some(entry) = open.of.get_mut(&self.address).and_then(|of| of.get_mut(&self.number)) {
            entry.busy = busy;
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.waiting.open().remove(self.address, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_makes_room_and_one_at_work_does_not() {
        let [a, b] = [1, 2].map(|n| IpAddr::from([127, 0, 0, n]));
        let waiting = Waiting::new(3, 2);
        let first = waiting.enter(a).unwrap();
        let second = waiting.enter(a).unwrap();
        first.set_busy(true);
        let third = waiting.enter(a).unwrap();
        assert_eq!((first.cut.is_cancelled(), second.cut.is_cancelled()), (false, true));
        third.set_busy(true);
        assert!(waiting.enter(a).is_none(), "all of its address are at work");
        let other = waiting.enter(b).unwrap();
        assert!(waiting.enter(b).is_none(), "in all there is no room, and the address with most is at work");
        first.set_busy(false);
        let last = waiting.enter(b).unwrap();
        assert!(first.cut.is_cancelled());
        assert_eq!(waiting.count(), (3, 2));
        drop((first, second, third, other, last));
        assert_eq!(waiting.count(), (0, 2));
    }
}
