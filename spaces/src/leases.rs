//! The leases of a store that one process alone has open: they need to be known to nobody else, and end with it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Who has which lease, and until when by this process's clock. What has run out is forgotten.
#[derive(Debug, Default)]
pub(crate) struct LocalLeases(Mutex<HashMap<String, (String, Instant)>>);

impl LocalLeases {
    pub(crate) fn take(&self, name: &str, holder: &str, time: Duration) -> bool {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        leases.retain(|_, (_, until)| *until > now);
        if leases.get(name).is_some_and(|(has, _)| has != holder) {
            return false;
        }
        leases.insert(name.to_owned(), (holder.to_owned(), now + time));
        true
    }

    pub(crate) fn give_up(&self, name: &str, holder: &str) {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.get(name).is_some_and(|(has, _)| has == holder) {
            leases.remove(name);
        }
    }
}
