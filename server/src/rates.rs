//! How much each address may ask for in a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Addresses that are remembered at most; those that have used the least are forgotten first.
const ADDRESSES_MAX: usize = 4_096;

/// For each address an allowance that fills up again.
#[derive(Debug)]
pub(crate) struct Rate {
    burst: f64,
    each_second: f64,
    /// What was used of it, at which moment.
    used: Mutex<HashMap<IpAddr, (f64, Instant)>>,
    refused: AtomicU64,
}

impl Rate {
    pub(crate) fn new(burst: u64, each_second: u64) -> Self {
        Self {
            burst: burst as f64,
            each_second: each_second as f64,
            used: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// How often an address may not.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether an address may use so much now; what it may not costs it nothing.
    pub(crate) fn take(&self, address: IpAddr, cost: usize) -> bool {
        self.take_at(address, cost, Instant::now())
    }

    fn take_at(&self, address: IpAddr, cost: usize, now: Instant) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let left_over = |(used, then): (f64, Instant)| {
            (used - now.saturating_duration_since(then).as_secs_f64() * self.each_second).max(0.0)
        };
        let before = used.get(&address).copied().map_or(0.0, left_over);
        let after = before + cost as f64;
        if after > self.burst {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if used.len() >= ADDRESSES_MAX && !used.contains_key(&address) {
            used.retain(|_, entry| left_over(*entry) > 0.0);
            let least = used.iter().min_by(|a, b| left_over(*a.1).total_cmp(&left_over(*b.1))).map(|(a, _)| *a);
            if let Some(least) = least.filter(|_| used.len() >= ADDRESSES_MAX) {
                used.remove(&least);
            }
        }
        used.insert(address, (after, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_allowance_is_used_up_and_fills_again_for_each_address() {
        let rate = Rate::new(10, 2);
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        assert!(rate.take_at(here, 10, start));
        assert!(!rate.take_at(here, 1, start));
        assert!(rate.take_at(there, 1, start));
        let later = start + Duration::from_secs(2);
        assert!(!rate.take_at(here, 5, later));
        assert!(rate.take_at(here, 4, later));
    }

    #[test]
    fn addresses_are_forgotten_rather_than_kept_for_ever() {
        let rate = Rate::new(10, 1);
        let start = Instant::now();
        for n in 0..2 * ADDRESSES_MAX as u32 {
            assert!(rate.take_at(IpAddr::from(n.to_be_bytes()), 1, start));
        }
        assert_eq!(rate.used.lock().unwrap().len(), ADDRESSES_MAX);
    }
}
