//! Memory for lists of turns, which all connections share.

use super::Host;
use ibgib_saga::SagaError;
use std::sync::atomic::Ordering;

/// What one connection holds of it; dropping it gives it back.
pub(super) struct Held<'a> {
    host: &'a Host,
    bytes: u64,
}

impl Host {
    /// Bytes of lists that connections hold now.
    pub fn lists_bytes(&self) -> u64 {
        self.lists.load(Ordering::Relaxed)
    }

    pub(super) fn hold_lists(&self) -> Held<'_> {
        Held { host: self, bytes: 0 }
    }
}

impl Held<'_> {
    /// Holds so many bytes from now on, more or fewer than before.
    pub(super) fn set(&mut self, bytes: u64) -> Result<(), SagaError> {
        let limit = self.host.host_limits.lists_bytes_max;
        let more = bytes.saturating_sub(self.bytes);
        let all = self.host.lists.fetch_add(more, Ordering::Relaxed) + more;
        if more > 0 && all > limit {
            self.host.lists.fetch_sub(more, Ordering::Relaxed);
            return Err(SagaError::Limit { name: "lists_bytes_max", limit });
        }
        self.host.lists.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.host.lists.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
