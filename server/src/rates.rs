//! How much each address, or whoever else is told apart, may ask for in a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Keys that are remembered at most; those that have used the least are forgotten first.
const KEYS_MAX: usize = 4_096;

/// For each key (an address, an account) an allowance that fills up again.
///
/// ```
/// use ibgib_server::Rate;
///
/// let rate = Rate::new(2, 0.01);
/// assert!(rate.take("mallory", 1) && rate.take("mallory", 1) && !rate.take("mallory", 1));
/// rate.give_back("mallory", 1);
/// assert!(rate.take("mallory", 1));
/// ```
#[derive(Debug)]
pub struct Rate<K> {
    burst: f64,
    each_second: f64,
    /// What was used of it, at which moment.
    used: Mutex<HashMap<K, (f64, Instant)>>,
    refused: AtomicU64,
}

impl<K: Clone + Eq + Hash> Rate<K> {
    /// So much at once, and so much each second on the average.
    pub fn new(burst: u64, each_second: f64) -> Self {
        Self { burst: burst as f64, each_second, used: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// How often somebody may not.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether a key may use so much now; what it may not costs it nothing.
    pub fn take(&self, key: K, cost: usize) -> bool {
        self.take_at(key, cost, Instant::now())
    }

    /// What was taken was not used after all.
    pub fn give_back(&self, key: K, cost: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((used, _)) = used.get_mut(&key) {
            *used = (*used - cost as f64).max(0.0);
        }
    }

    fn take_at(&self, key: K, cost: usize, now: Instant) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let left_over = |(used, then): (f64, Instant)| {
            (used - now.saturating_duration_since(then).as_secs_f64() * self.each_second).max(0.0)
        };
        let before = used.get(&key).copied().map_or(0.0, left_over);
        let after = before + cost as f64;
        if after > self.burst {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if used.len() >= KEYS_MAX && !used.contains_key(&key) {
            used.retain(|_, entry| left_over(*entry) > 0.0);
            let least = used.iter().min_by(|a, b| left_over(*a.1).total_cmp(&left_over(*b.1))).map(|(k, _)| k.clone());
            if let Some(least) = least.filter(|_| used.len() >= KEYS_MAX) {
                used.remove(&least);
            }
        }
        used.insert(key, (after, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::Duration;

    #[test]
    fn an_allowance_is_used_up_and_fills_again_for_each_address() {
        let rate = Rate::new(10, 2.0);
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
        let rate = Rate::new(10, 1.0);
        let start = Instant::now();
        for n in 0..2 * KEYS_MAX as u32 {
            assert!(rate.take_at(IpAddr::from(n.to_be_bytes()), 1, start));
        }
        assert_eq!(rate.used.lock().unwrap().len(), KEYS_MAX);
    }
}
