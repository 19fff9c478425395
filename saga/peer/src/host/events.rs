//! What happens at a host, for logs, metrics and displays.

use super::Host;
use ibgib::Addr;
use ibgib_saga::{ReceiverDone, SagaError};
use tokio::sync::broadcast;

/// Something that happened at a host, for logs, metrics and displays.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// An identity was registered.
    Registered(Addr),
    /// An identity's frames were taken.
    Evolved(Addr),
    /// A connection opened.
    Opened(u64),
    /// A connection proved its identity (`None`: without identity).
    Connected(u64, Option<Addr>),
    /// A connection entered a phase.
    Phase(u64, &'static str),
    /// A message came in or went out.
    Message(MessageEvent),
    /// A saga ended with a commit.
    Done(u64, ReceiverDone),
    /// A connection ended.
    Closed(u64, Option<SagaError>),
    /// An identity was seen signing two different frames on one past.
    Forked(Addr),
    /// An identity that signed two different frames on one past was ended by a revocation that waited for that.
    Ended(Addr),
    /// An identity's genesis or frames were not taken.
    Refused(Addr, SagaError),
}

/// A message at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEvent {
    /// Its connection.
    pub connection: u64,
    /// Whether it came in.
    pub incoming: bool,
    /// Its type, or `chunk`.
    pub kind: &'static str,
    /// Its bytes.
    pub bytes: usize,
    /// The session identity's frame that it says signs it.
    pub signer: Option<String>,
}

impl Host {
    /// What happens from now on. A slow listener misses events rather than slowing the host.
    pub fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.events.subscribe()
    }

    pub(super) fn tell(&self, event: HostEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}
