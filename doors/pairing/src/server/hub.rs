//! Who listens to which mailbox, and who is connected from where: in memory only, since it ends with the process.

use ibgib_server::address::{is_here, of_client};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Mailboxes that somebody listens to, by the key of their row.
#[derive(Clone, Debug, Default)]
pub(super) struct Hub {
    topics: Arc<Mutex<HashMap<String, Topic>>>,
}

#[derive(Debug)]
struct Topic {
    listeners: usize,
    /// How many messages the mailbox had when somebody looked last; wakes whoever listens.
    count: watch::Sender<usize>,
}

/// One listener; dropping it ends the listening.
#[derive(Debug)]
pub(super) struct Listener {
    hub: Hub,
    key: String,
    count: watch::Receiver<usize>,
}

impl Listener {
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Waits until something may have come. Listeners wake each other only through [`Hub::tell`].
    pub(super) async fn changed(&mut self) {
        // The sender lives as long as this listener is counted.
        let _ = self.count.changed().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut topics = self.hub.topics();
        if let Some(topic) = topics.get_mut(&self.key) {
            topic.listeners -= 1;
            if topic.listeners == 0 {
                topics.remove(&self.key);
            }
        }
    }
}

impl Hub {
    fn topics(&self) -> MutexGuard<'_, HashMap<String, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, key: String) -> Listener {
        let mut topics = self.topics();
        let topic = topics.entry(key.clone()).or_insert_with(|| Topic { listeners: 0, count: watch::Sender::new(0) });
        topic.listeners += 1;
        Listener { hub: self.clone(), key, count: topic.count.subscribe() }
    }

    /// A mailbox has so many messages now: whoever listens looks, if that is news.
    pub(super) fn tell(&self, key: &str, count: usize) {
        if let Some(topic) = self.topics().get(key) {
            topic.count.send_if_modified(|known| std::mem::replace(known, count) != count);
        }
    }

    /// The mailboxes that somebody listens to.
    pub(super) fn keys(&self) -> Vec<String> {
        self.topics().keys().cloned().collect()
    }
}

/// Connections, in all and of each client.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    all_max: usize,
    each_max: usize,
}

/// One connection; dropping it frees its seat.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    client: IpAddr,
}

impl Seats {
    pub(super) fn new(all_max: usize, each_max: usize) -> Self {
        Self { taken: Arc::default(), all_max, each_max }
    }

    pub(super) fn count(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    pub(super) fn take(&self, address: IpAddr) -> Option<Seat> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.all_max {
            return None;
        }
        let client = of_client(address);
        let theirs = taken.get(&client).copied().unwrap_or_default();
        if theirs >= self.each_max && !is_here(address) {
            return None;
        }
        taken.insert(client, theirs + 1);
        Some(Seat { seats: self.clone(), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(theirs) = taken.get_mut(&self.client) {
            *theirs -= 1;
            if *theirs == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_are_woken_by_news_and_forgotten_when_they_go() {
        let hub = Hub::default();
        let (mut one, other) = (hub.listen("a".into()), hub.listen("a".into()));
        hub.tell("a", 0);
        hub.tell("b", 1);
        assert!(!one.count.has_changed().unwrap());
        hub.tell("a", 1);
        one.changed().await;
        drop(other);
        assert_eq!((hub.keys(), one.key()), (vec!["a".to_owned()], "a"));
        drop(one);
        assert_eq!(hub.keys(), Vec::<String>::new());
    }

    #[test]
    fn seats_are_counted_for_each_address_but_this_machines_own() {
        let seats = Seats::new(4, 1);
        let (far, here) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([127, 0, 0, 1]));
        let first = seats.take(far);
        assert!(first.is_some() && seats.take(far).is_none());
        let all: Vec<_> = (0..3).map(|_| seats.take(here).unwrap()).collect();
        assert!(seats.take(here).is_none());
        drop((first, all));
        assert_eq!(seats.count(), 0);
    }

    #[test]
    fn whoever_has_many_addresses_has_the_seats_of_one() {
        let seats = Seats::new(8, 1);
        let take = |text: &str| seats.take(text.parse().unwrap());
        let first = take("2001:db8::1");
        assert!(first.is_some() && take("2001:db8::2").is_none());
        let second = take("192.0.2.1");
        assert!(second.is_some() && take("::ffff:192.0.2.1").is_none());
        let here = (take("::ffff:127.0.0.1"), take("::ffff:127.0.0.1"), take("::1"), take("::1"));
        assert!(here.0.is_some() && here.1.is_some() && here.2.is_some() && here.3.is_some());
        drop((first, second, here));
        assert_eq!(seats.count(), 0);
    }
}
