//! Places for connections, in all and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open connections, in all and per address.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    all_max: usize,
    each_max: usize,
}

/// One connection's place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    pub(crate) fn new(all_max: usize, each_max: usize) -> Self {
        Self { open: Arc::default(), all_max, each_max }
    }

    /// Connections open now.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// A place; or why there is none.
    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, &'static str> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= self.all_max {
            return Err("the server has as many connections as it takes");
        }
        let here = open.entry(address).or_default();
        if *here >= self.each_max {
            return Err("your address has as many connections as the server takes from one");
        }
        *here += 1;
        Ok(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = open.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.remove(&self.address);
            }
        }
    }
}
