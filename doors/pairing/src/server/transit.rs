//! The transit relay as a door: it joins two connections that name the same token, and carries what they send.
//!
//! It speaks plain TCP, so it has a listener of its own. What travels is sealed by the two ends; the relay learns how
//! much it is, and between which addresses.

use super::hub::{Seat, Seats};
use crate::transit::{RelayAnswer, RelayRequest};
use axum::Router;
use futures_util::future::BoxFuture;
use ibgib_server::{Door, DoorTable, ServeError};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a relay works.
#[derive(Clone, Debug)]
pub struct TransitOptions {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address that is not this machine's.
    pub connections_per_address_max: usize,
    /// Seconds that a connection may take to name its token.
    pub request_s: u64,
    /// Seconds that a connection waits for the other end.
    pub wait_s: u64,
    /// Seconds without a single byte either way after which two joined connections end, at twice as many at the latest.
    pub idle_s: u64,
}

impl Default for TransitOptions {
    fn default() -> Self {
        Self { connections_max: 4_000, connections_per_address_max: 64, request_s: 60, wait_s: 3_600, idle_s: 3_600 }
    }
}

/// A transit relay.
#[derive(Debug)]
pub struct TransitDoor {
    listener: TcpListener,
    at: SocketAddr,
    relay: Arc<Relay>,
}

/// A connection, and the seat that it holds as long as it lasts.
type End = (TcpStream, Seat);

#[derive(Debug)]
struct Relay {
    options: TransitOptions,
    seats: Seats,
    /// Who waits for the other end; whoever comes hands his connection over.
    waiting: Mutex<Vec<(RelayRequest, oneshot::Sender<End>)>>,
    joined: AtomicU64,
    bytes: AtomicU64,
}

impl TransitDoor {
    /// Listens.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(at: SocketAddr, options: TransitOptions) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(at).await.map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => ServeError::PortInUse(at),
            ErrorKind::PermissionDenied => ServeError::Permission(at),
            _ => ServeError::Listen(at, error),
        })?;
        let at = listener.local_addr().map_err(|error| ServeError::Listen(at, error))?;
        let seats = Seats::new(options.connections_max, options.connections_per_address_max);
        let relay =
            Relay { options, seats, waiting: Mutex::default(), joined: AtomicU64::new(0), bytes: AtomicU64::new(0) };
        Ok(Self { listener, at, relay: Arc::new(relay) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}

impl Door for TransitDoor {
    fn name(&self) -> &'static str {
        "transit"
    }

    fn url(&self, _scheme: &str, _at: SocketAddr) -> String {
        format!("tcp:{}", self.at)
    }

    fn routes(&self) -> Router {
        Router::new()
    }

    fn background(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let tasks = TaskTracker::new();
            loop {
                let accepted = tokio::select! {
                    accepted = self.listener.accept() => accepted,
                    () = stop.cancelled() => break,
                };
                match accepted {
                    Ok((stream, peer)) => {
                        let Some(seat) = self.relay.seats.take(peer.ip()) else { continue };
                        let (relay, stop) = (Arc::clone(&self.relay), stop.clone());
                        tasks.spawn(async move {
                            tokio::select! {
                                () = relay.serve((stream, seat)) => {}
                                () = stop.cancelled() => {}
                            }
                        });
                    }
                    Err(error) => {
                        // Out of descriptors: give connections time to end instead of spinning.
                        tracing::warn!(%error, "cannot accept a transit connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            tasks.close();
            tasks.wait().await;
        })
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<DoorTable>, String>> {
        Box::pin(async {
            let relay = &self.relay;
            let (joined, bytes) = (relay.joined.load(Ordering::Relaxed), relay.bytes.load(Ordering::Relaxed));
            let row = [relay.seats.count().to_string(), joined.to_string(), bytes.to_string()];
            let columns = &["connections now", "transfers joined", "bytes passed on"];
            Ok(vec![DoorTable::new("Relay", columns, [row])])
        })
    }

    fn metrics(&self) {
        let relay = &self.relay;
        metrics::gauge!("ibgib_transit_connections").set(relay.seats.count() as f64);
        metrics::counter!("ibgib_transit_joined_total").absolute(relay.joined.load(Ordering::Relaxed));
        metrics::counter!("ibgib_transit_bytes_total").absolute(relay.bytes.load(Ordering::Relaxed));
    }
}

impl Relay {
    async fn serve(&self, (mut stream, seat): End) {
        let asked = timeout(Duration::from_secs(self.options.request_s), ask(&mut stream)).await;
        let request = match asked {
            Ok(Some(RelayAnswer::Request(request))) => request,
            Ok(Some(answer)) => {
                let words: &[u8] = if answer == RelayAnswer::Impatient { b"impatient\n" } else { b"bad handshake\n" };
                // It hangs up anyway.
                let _ = stream.write_all(words).await;
                return;
            }
            Ok(None) | Err(_) => return,
        };
        let mut end = (stream, seat);
        let mut waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(at) = waiting.iter().position(|(other, _)| request.joins(other)) {
                match waiting.swap_remove(at).1.send(end) {
                    Ok(()) => return,
                    // It went away meanwhile.
                    Err(back) => end = back,
                }
            }
            let (give, take) = oneshot::channel();
            waiting.push((request, give));
            take
        };
        let (mut stream, _seat) = end;
        let mut byte = [0; 1];
        let other = tokio::select! {
            other = &mut waiting => other.ok(),
            // Whoever waits says nothing: something is impatience, or the end.
            read = stream.read(&mut byte) => {
                if matches!(read, Ok(1..)) {
                    // It hangs up anyway.
                    let _ = stream.write_all(b"impatient\n").await;
                }
                None
            }
            () = tokio::time::sleep(Duration::from_secs(self.options.wait_s)) => None,
        };
        let Some((mut other, _seat_of_other)) = other else {
            waiting.close();
            // Whoever was joined with this connection in that very moment loses his, and tries again.
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, give)| !give.is_closed());
            return;
        };
        self.joined.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(b"ok\n").await.is_err() || other.write_all(b"ok\n").await.is_err() {
            return;
        }
        let moved = AtomicU64::new(0);
        let count = |bytes: &[u8]| {
            moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        };
        let (mut stream, mut other) = (InspectReader::new(stream, count), InspectReader::new(other, count));
        let idle = Duration::from_secs(self.options.idle_s.max(1));
        tokio::select! {
            // Either end may go at any moment: that is how a transfer ends.
            _ = copy_bidirectional(&mut stream, &mut other) => {}
            () = silence(&moved, || tokio::time::sleep(idle)) => {}
        }
    }
}

/// Waits until nothing has moved for a whole turn.
async fn silence<T: Future<Output = ()>>(moved: &AtomicU64, mut turn: impl FnMut() -> T) {
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        turn().await;
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// Reads what a connection asks for; `None` when it ends first.
async fn ask(stream: &mut TcpStream) -> Option<RelayAnswer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; RelayRequest::LINE_BYTES_MAX];
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        match RelayRequest::read(&bytes) {
            RelayAnswer::More => {}
            answer => return Some(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_byte_in_a_turn_is_no_silence() {
        let (moved, mut turns) = (AtomicU64::new(7), 0);
        silence(&moved, || {
            turns += 1;
            moved.fetch_add(u64::from(turns < 5), Ordering::Relaxed);
            std::future::ready(())
        })
        .await;
        assert_eq!(turns, 5);
    }
}
