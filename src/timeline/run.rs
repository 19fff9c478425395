//! Computing with what is in memory, and finding out or asking for the rest.

use super::{History, HistoryError};
use crate::addr::Addr;
use std::collections::{HashSet, VecDeque};

/// What a computation gives, or why it cannot go on.
pub(super) type Known<T> = Result<T, Blocked>;

/// Why a computation on a history cannot go on.
#[derive(Debug)]
pub(super) enum Blocked {
    /// These frames are needed, whole.
    Need(Vec<Addr>),
    /// Whether this frame is a merge has to be found out first.
    Classify(Addr),
    /// This frame breaks a rule of timelines; says which and how.
    Broken(Addr, String),
}

impl History {
    /// Runs a computation, finding out first whatever it stops for.
    pub(super) fn run<T>(&mut self, mut work: impl FnMut(&Self) -> Known<T>) -> Result<T, HistoryError> {
        // Frames of which has to be found out whether they are merges, the next one last. A stack instead of recursion,
        // since histories nest deeply. Each time `work` runs into such a frame it is given up and begun again, so
        // candidates further down are looked at early (`true`), twice as many each time; if one of those needs frames
        // that are not in memory, it is dropped, for `work` may never need it.
        let mut pending: Vec<(Addr, bool)> = Vec::new();
        // Candidates dropped so, and those that build on them. They are not looked at early again: one that builds on
        // another would put it back on the stack, where it is dropped, for ever. When `work` itself runs into one, what it
        // lacks is asked for.
        let mut lacking: HashSet<Addr> = HashSet::new();
        let mut ahead = 1;
        let mut left = self.pause_after;
        loop {
            let top = pending.last().cloned();
            let stop = match &top {
                None => match work(self) {
                    Ok(done) => return Ok(done),
                    Err(stop) => stop,
                },
                Some((addr, _)) if self.known_merge(addr).is_some() => {
                    pending.pop();
                    continue;
                }
                Some(_) if left == Some(0) => return Err(HistoryError::Paused),
                Some((addr, _)) => match self.recompute(addr) {
                    Ok(is_merge) => {
                        left = left.map(|left| left - 1);
                        self.found(addr.clone(), is_merge);
                        continue;
                    }
                    Err(stop) => stop,
                },
            };
            match (stop, top) {
                (Blocked::Need(_), Some((addr, true))) => {
                    pending.pop();
                    lacking.insert(addr);
                }
                (Blocked::Classify(below), Some((addr, true))) if lacking.contains(&below) => {
                    pending.pop();
                    lacking.insert(addr);
                }
                (Blocked::Need(addrs), _) => return Err(HistoryError::Need(addrs)),
                // What recomputing a frame finds broken says that the frame is no merge of ours.
                (Blocked::Broken(_, _), Some((addr, _))) => self.found(addr, false),
                (Blocked::Broken(addr, why), None) => return Err(HistoryError::Broken { addr, why }),
                (Blocked::Classify(addr), Some((_, early))) => pending.push((addr, early)),
                (Blocked::Classify(addr), None) => {
                    pending.push((addr.clone(), false));
                    pending.extend(self.candidates_below(&addr, ahead).into_iter().map(|addr| (addr, true)));
                    ahead *= 2;
                }
            }
        }
    }

    /// What may be a merge frame among the next `visits` frames in memory before this one, highest n first.
    fn candidates_below(&self, addr: &Addr, visits: usize) -> Vec<Addr> {
        let mut seen = HashSet::from([addr.clone()]);
        let mut next = VecDeque::from([addr.clone()]);
        let mut out = Vec::new();
        for _ in 0..visits {
            let Some(here) = next.pop_front() else { break };
            let Some(place) = self.places.get(&here) else { break };
            let before = place.past.iter().chain(place.merge_of.as_ref().map(|(_, orphan)| orphan));
            next.extend(before.filter(|a| self.places.contains_key(a) && seen.insert((*a).clone())).cloned());
            if place.merge_of.is_some() && here != *addr && self.known_merge(&here).is_none() {
                out.push((place.number(), here));
            }
        }
        out.sort_by(|a, b| b.cmp(a));
        out.into_iter().map(|(_, addr)| addr).collect()
    }
}
