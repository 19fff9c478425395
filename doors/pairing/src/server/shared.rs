//! What all connections of a mailbox server share.

use super::hub::{Hub, Seats};
use super::store::Store;
use crate::mailbox::{Limits, Usage};
use ibgib_peer::entropy::now_ms;
use ibgib_server::Rate;
use ibgib_server::address::{is_here, of_client};
use ibgib_server::rows::Rows;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a mailbox server works.
#[derive(Clone, Debug)]
pub struct MailboxOptions {
    /// How much it takes.
    pub limits: Limits,
    /// A notice for the people at the clients.
    pub motd: Option<String>,
    /// Zero bits of the proof of work that is demanded of each connection, at most [`crate::hashcash::BITS_MAX`]; 0 for
    /// none, since the original client knows none. With it there is no relay of 2015, which could not demand it.
    pub hashcash_bits: u32,
    /// Seconds between two looks for what is idle.
    pub prune_s: u64,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address. This machine's own address is that of a proxy, behind which everybody
    /// stands: here as in what follows it has no limit.
    pub connections_per_address_max: usize,
    /// Numbers that one address may come to before one of them ends well. Whoever guesses codes spends one with each.
    pub guesses_max: u64,
    /// How many more each hour.
    pub guesses_per_hour: u64,
    /// Bytes of messages that one address may leave here at once, in hex digits.
    pub added_bytes_max: u64,
    /// Bytes of messages that one address may leave here each second on the average.
    pub added_bytes_per_second: u64,
}

impl Default for MailboxOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            motd: None,
            hashcash_bits: 0,
            prune_s: 5 * 60,
            connections_max: 8_000,
            connections_per_address_max: 256,
            guesses_max: 100,
            guesses_per_hour: 60,
            added_bytes_max: 256 * 1024 * 1024,
            added_bytes_per_second: 1024 * 1024,
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: MailboxOptions,
    pub(super) store: Store,
    pub(super) hub: Hub,
    pub(super) seats: Seats,
    pub(super) guesses: Guesses,
    pub(super) added: Rate<IpAddr>,
    pub(super) messages: AtomicU64,
    /// How numbers and mailboxes ended.
    pub(super) ended: Mutex<BTreeMap<(&'static str, String), u64>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn new(rows: Rows, options: MailboxOptions) -> Self {
        let hub = Hub::default();
        Self {
            store: Store::new(rows, hub.clone(), options.limits.clone()),
            hub,
            seats: Seats::new(options.connections_max, options.connections_per_address_max),
            guesses: Guesses::new(options.guesses_max, options.guesses_per_hour),
            added: Rate::new(options.added_bytes_max, options.added_bytes_per_second as f64),
            messages: AtomicU64::new(0),
            ended: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            options,
        }
    }

    /// Whether an address may leave so many bytes of messages more.
    pub(super) fn may_add(&self, address: IpAddr, bytes: usize) -> bool {
        is_here(address) || self.added.take(of_client(address), bytes)
    }

    /// Counts how numbers and mailboxes ended. Application ids stay out of it: they are the users' own.
    pub(super) fn note(&self, usage: &[Usage]) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for usage in usage {
            *ended.entry((usage.of.as_str(), usage.result.clone())).or_default() += 1;
        }
    }
}

/// Seconds since 1970, as they stand in frames.
pub(super) fn now() -> f64 {
    now_ms() as f64 / 1_000.0
}

/// Which addresses came to which mailboxes, and how many of those are left to end well.
#[derive(Debug)]
pub(super) struct Guesses {
    rate: Rate<IpAddr>,
    /// Until the mailbox ends.
    open: Mutex<HashMap<String, Came>>,
}

/// Who came to a mailbox.
#[derive(Debug)]
struct Came {
    /// When the first of them did.
    since: f64,
    clients: Vec<IpAddr>,
}

/// Mailboxes of which it is remembered who came; of those beyond nobody gets a guess back before its time.
const OPEN_MAX: usize = 100_000;

impl Guesses {
    fn new(burst: u64, per_hour: u64) -> Self {
        Self { rate: Rate::new(burst, per_hour as f64 / 3_600.0), open: Mutex::default() }
    }

    pub(super) fn refused(&self) -> u64 {
        self.rate.refused()
    }

    /// Whether an address may come to one more number.
    pub(super) fn take(&self, address: IpAddr) -> bool {
        is_here(address) || self.rate.take(of_client(address), 1)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Came>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It came to this mailbox.
    pub(super) fn came(&self, address: IpAddr, mailbox: &str, now: f64) {
        if is_here(address) {
            return;
        }
        let mut open = self.open();
        if open.len() < OPEN_MAX || open.contains_key(mailbox) {
            let came = open.entry(mailbox.to_owned()).or_insert(Came { since: now, clients: Vec::new() });
            came.clients.push(of_client(address));
        }
    }

    /// The mailbox is gone. When both sides were happy, nobody had guessed.
    pub(super) fn ended(&self, mailbox: &str, happy: bool) {
        let came = self.open().remove(mailbox);
        for client in came.into_iter().flat_map(|came| came.clients).filter(|_| happy) {
            self.rate.give_back(client, 1);
        }
    }

    /// The mailboxes of which it is remembered who came.
    pub(super) fn mailboxes(&self) -> Vec<String> {
        self.open().keys().cloned().collect()
    }

    /// Forgets who came to mailboxes that are gone, as when another server over the same space ended them, and to those
    /// since whose first comer it is longer than any is kept.
    pub(super) fn forget(&self, gone: &[String], before: f64) {
        let mut open = self.open();
        gone.iter().for_each(|mailbox| drop(open.remove(mailbox)));
        open.retain(|_, came| came.since >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_spent_unless_they_end_well() {
        let guesses = Guesses::new(2, 0);
        let far = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..5 {
            assert!(guesses.take(far));
            guesses.came(far, "m", 0.0);
            guesses.ended("m", true);
        }
        assert!(guesses.take(far) && guesses.take(far) && !guesses.take(far));
        guesses.came(far, "n", 0.0);
        guesses.ended("n", false);
        assert!(!guesses.take(far));
        assert_eq!(guesses.refused(), 2);
        assert!(guesses.take([192, 0, 2, 2].into()));
        // A proxy on this machine asks for everybody.
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!((0..5).all(|_| guesses.take(here.parse().unwrap())), "{here}");
        }
    }

    #[test]
    fn who_came_is_forgotten_in_time() {
        let guesses = Guesses::new(2, 0);
        let far = IpAddr::from([192, 0, 2, 1]);
        for (mailbox, now) in [("gone", 5.0), ("old", 1.0), ("new", 5.0)] {
            guesses.came(far, mailbox, now);
        }
        guesses.forget(&["gone".into(), "never".into()], 2.0);
        assert_eq!(guesses.mailboxes(), ["new"]);
    }
}
