//! What all connections of a mailbox server share.

use super::hub::{Hub, Seats};
use super::store::Store;
use crate::mailbox::{Limits, Usage};
use ibgib_peer::entropy::now_ms;
use ibgib_server::Rate;
use ibgib_server::rows::Rows;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a mailbox server works.
#[derive(Clone, Debug)]
pub struct MailboxOptions {
    /// How much it takes.
    pub limits: Limits,
    /// A notice for the people at the clients.
    pub motd: Option<String>,
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

/// What stands for a client where allowances are counted: whoever has one IPv6 address has 2⁶⁴ of them.
pub(super) fn of_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// Which addresses came to which mailboxes, and how many of those are left to end well.
#[derive(Debug)]
pub(super) struct Guesses {
    rate: Rate<IpAddr>,
    /// Until the mailbox ends.
    open: Mutex<HashMap<String, Vec<IpAddr>>>,
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
        address.is_loopback() || self.rate.take(of_client(address), 1)
    }

    /// It came to this mailbox.
    pub(super) fn came(&self, address: IpAddr, mailbox: &str) {
        if address.is_loopback() {
            return;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() < OPEN_MAX || open.contains_key(mailbox) {
            open.entry(mailbox.to_owned()).or_default().push(of_client(address));
        }
    }

    /// The mailbox is gone. When both sides were happy, nobody had guessed.
    pub(super) fn ended(&self, mailbox: &str, happy: bool) {
        let came = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(mailbox);
        for address in came.into_iter().flatten().filter(|_| happy) {
            self.rate.give_back(address, 1);
        }
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
            guesses.came(far, "m");
            guesses.ended("m", true);
        }
        assert!(guesses.take(far) && guesses.take(far) && !guesses.take(far));
        guesses.came(far, "n");
        guesses.ended("n", false);
        assert!(!guesses.take(far));
        assert_eq!(guesses.refused(), 2);
        assert!(guesses.take([192, 0, 2, 2].into()));
        // A proxy on this machine asks for everybody.
        assert!((0..5).all(|_| guesses.take([127, 0, 0, 1].into())));
    }

    #[test]
    fn a_network_of_addresses_is_one_client() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(of_client(ip("2001:db8::1")), of_client(ip("2001:db8::ffff:1")));
        assert_ne!(of_client(ip("2001:db8::1")), of_client(ip("2001:db8:0:1::1")));
        assert_eq!(of_client(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
