//! What histories found out about merge frames, shared by those that come after.

use crate::addr::Addr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many are remembered for certain; at most twice as many are.
const REMEMBERED: usize = 8_192;

/// Which frames were found to be merge frames and which were not. That follows from a frame and what is before it, so it
/// holds for whoever asks and wherever the frames are kept. Of the most recent ones it is remembered: to find it out
/// again takes the frames before, and the merge anew.
///
/// Clones share what they remember.
#[derive(Clone, Debug, Default)]
pub struct Merges(Arc<Mutex<Recent>>);

#[derive(Debug, Default)]
struct Recent {
    young: HashMap<Addr, bool>,
    /// What was young before; what of it is asked for becomes young again.
    old: HashMap<Addr, bool>,
}

impl Merges {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, addr: &Addr) -> Option<bool> {
        let mut recent = self.recent();
        if let Some(known) = recent.young.get(addr) {
            return Some(*known);
        }
        let known = recent.old.remove(addr)?;
        recent.insert(addr.clone(), known);
        Some(known)
    }

    pub(super) fn insert(&self, addr: Addr, is_merge: bool) {
        self.recent().insert(addr, is_merge);
    }
}

impl Recent {
    fn insert(&mut self, addr: Addr, is_merge: bool) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(addr, is_merge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: usize) -> Addr {
        format!("note^{n:064X}").parse().unwrap()
    }

    #[test]
    fn what_is_asked_for_is_remembered_and_what_is_not_is_forgotten() {
        let merges = Merges::default();
        for n in 0..REMEMBERED * 10 {
            merges.insert(addr(n), n % 2 == 0);
            assert_eq!(merges.get(&addr(1)), (n > 0).then_some(false), "after {n}");
        }
        assert_eq!(merges.get(&addr(2)), None);
        assert_eq!(merges.get(&addr(REMEMBERED * 10 - 2)), Some(true));
        let recent = merges.recent();
        assert!(recent.young.len() + recent.old.len() <= 2 * REMEMBERED);
    }
}
