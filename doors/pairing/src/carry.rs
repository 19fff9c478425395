//! Transit connections: how two devices reach each other for the bytes of a file, and the records that travel then.
//!
//! Each side listens, tells where, and tries the other's addresses; after a moment both also go to the relays. On each
//! connection both prove that they have the key. The sender takes the first one that works.

use crate::error::PairingError;
use crate::transfer::{Hint, Place};
use crate::transit::{Handshake, Progress, Records, Role, TransitKey};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ibgib_peer::entropy::random;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How long the relays are not needed, if the other side can perhaps be reached directly.
const HEAD_START: Duration = Duration::from_secs(2);
/// How long one connection may take to come to be and to prove the key.
const HANDSHAKE_MAX: Duration = Duration::from_secs(60);
/// How long there may be no connection at all.
const CONNECT_MAX: Duration = Duration::from_secs(90);
/// How long a connection that carries data may stand still.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long it waits after the system gave no connection, as when there are too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Connections that came by themselves and have not proven the key: anybody can open them.
const STRANGERS_MAX: usize = 64;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// This side's end, before the other's addresses are known.
#[derive(Debug)]
pub struct Endpoint {
    listener: Option<TcpListener>,
    relays: Vec<Place>,
}

impl Endpoint {
    /// With `listen`, the other device may come directly.
    ///
    /// # Errors
    /// The system gives no port.
    pub async fn open(listen: bool, relays: Vec<Place>) -> io::Result<Self> {
        let listener = if listen { Some(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?) } else { None };
        Ok(Self { listener, relays })
    }

    /// What the other device is told.
    pub fn hints(&self) -> Vec<Hint> {
        let mut hints = Vec::new();
        if let Some(port) = self.listener.as_ref().and_then(|l| l.local_addr().ok()).map(|at| at.port()) {
            hints.push(Hint::Direct(Place { host: own_address().to_string(), port }));
        }
        if !self.relays.is_empty() {
            hints.push(Hint::Relay(self.relays.clone()));
        }
        hints
    }

    /// Finds a connection to the other device.
    ///
    /// # Errors
    /// None was to be had in time: [`PairingError::TimedOut`].
    pub async fn meet(self, key: &TransitKey, role: Role, theirs: &[Hint]) -> Result<Connection, PairingError> {
        let side = hex::encode(random::<8>());
        let mut direct = Vec::new();
        let mut relays = self.relays;
        for hint in theirs {
            match hint {
                Hint::Direct(place) => direct.push(place.clone()),
                Hint::Relay(places) => {
                    relays.extend(places.iter().filter(|p| !relays.contains(p)).cloned().collect::<Vec<_>>())
                }
            }
        }
        let pause = if direct.is_empty() && self.listener.is_none() { Duration::ZERO } else { HEAD_START };
        let mut dialled: FuturesUnordered<BoxFuture<'_, Option<Connection>>> = FuturesUnordered::new();
        let mut strangers = FuturesUnordered::new();
        for place in direct {
            dialled.push(Box::pin(dial(place, key, role, None, Duration::ZERO)));
        }
        for place in relays {
            dialled.push(Box::pin(dial(place, key, role, Some(side.clone()), pause)));
        }
        let meeting = async {
            loop {
                // One branch is always open: accepting is barred only while there are strangers to wait for.
                let met = tokio::select! {
                    Some(met) = dialled.next() => met,
                    Some(met) = strangers.next() => met,
                    stream = accept(self.listener.as_ref()), if strangers.len() < STRANGERS_MAX => {
                        strangers.push(shake(stream, key, role, None));
                        continue;
                    }
                };
                if let Some(mut connection) = met
                    && (role == Role::Receiver || connection.stream.write_all(Handshake::GO).await.is_ok())
                {
                    return connection;
                }
            }
        };
        timeout(CONNECT_MAX, meeting).await.map_err(|_| PairingError::TimedOut)
    }
}

/// The next connection that comes by itself. A failure of the system passes; nobody comes where nothing listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => tracing::debug!(%error, "no connection was to be had"),
        }
        sleep(ACCEPT_AGAIN).await;
    }
}

/// The address by which this device reaches others; its own name for itself where it reaches nobody.
fn own_address() -> IpAddr {
    // Nothing is sent: connecting such a socket only asks the system which way it would go.
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(SocketAddr::from(([192, 0, 2, 1], 9)))?;
        socket.local_addr()
    });
    asked.map_or(Ipv4Addr::LOCALHOST.into(), |at| at.ip())
}

async fn dial(
    place: Place,
    key: &TransitKey,
    role: Role,
    relay_side: Option<String>,
    pause: Duration,
) -> Option<Connection> {
    sleep(pause).await;
    let connecting = timeout(HANDSHAKE_MAX, TcpStream::connect((place.host.as_str(), place.port))).await;
    match connecting {
        Ok(Ok(stream)) => shake(stream, key, role, relay_side).await,
        Ok(Err(error)) => {
            tracing::debug!(host = place.host, port = place.port, %error, "not reached");
            None
        }
        Err(_) => None,
    }
}

/// Proves the key and has it proven. Whoever is not the other device is left without a word.
async fn shake(mut stream: TcpStream, key: &TransitKey, role: Role, relay_side: Option<String>) -> Option<Connection> {
    let shaking = async {
        // Records are written whole: there is nothing to wait for.
        stream.set_nodelay(true).ok()?;
        let relayed = relay_side.is_some();
        let (mut handshake, first) = Handshake::start(key.clone(), role, relay_side.as_deref());
        if relayed {
            // A relay takes nothing else before it has said ok.
            let end = first.iter().position(|b| *b == b'\n')? + 1;
            stream.write_all(&first[..end]).await.ok()?;
            let mut ok = [0; 3];
            stream.read_exact(&mut ok).await.ok()?;
            let Ok(Progress::More(after)) = handshake.receive(&ok) else { return None };
            handshake = after;
            stream.write_all(&first[end..]).await.ok()?;
        } else {
            stream.write_all(&first).await.ok()?;
        }
        let mut buffer = [0; 1024];
        loop {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            match handshake.receive(&buffer[..read]).ok()? {
                Progress::More(after) => handshake = after,
                Progress::Pick(records) | Progress::Picked(records) => return Some(records),
                Progress::NotPicked => return None,
            }
        }
    };
    let records = timeout(HANDSHAKE_MAX, shaking).await.ok()??;
    Some(Connection { stream, records, idle_max: IDLE_MAX })
}

/// A transit connection that carries records.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    records: Records,
    idle_max: Duration,
}

impl Connection {
    /// How long it may stand still while something is due, before the other device counts as gone: a minute, unless
    /// another time is given here.
    pub fn set_idle_max(&mut self, time: Duration) {
        self.idle_max = time;
    }

    /// Sends a record.
    ///
    /// # Errors
    /// [`PairingError::Lonely`] when the connection is gone or stands still.
    pub async fn send(&mut self, contents: &[u8]) -> Result<(), PairingError> {
        let record = self.records.seal(contents);
        let mut rest = &record[..];
        while !rest.is_empty() {
            match timeout(self.idle_max, self.stream.write(rest)).await {
                Ok(Ok(written)) if written > 0 => rest = &rest[written..],
                _ => return Err(PairingError::Lonely),
            }
        }
        Ok(())
    }

    /// The next record.
    ///
    /// # Errors
    /// [`PairingError::Lonely`] when the connection is gone or stands still; [`PairingError::BadPeer`] for what is not in order.
    pub async fn receive(&mut self) -> Result<Vec<u8>, PairingError> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if let Some(record) = self.records.next_record()? {
                return Ok(record);
            }
            match timeout(self.idle_max, self.stream.read(&mut buffer)).await {
                Ok(Ok(read)) if read > 0 => self.records.receive(&buffer[..read]),
                _ => return Err(PairingError::Lonely),
            }
        }
    }

    /// Ends the connection after all that was sent.
    pub async fn close(mut self) {
        // The other side may be gone already.
        let _ = self.stream.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    #[tokio::test]
    async fn whoever_is_silent_counts_as_gone() {
        let key = TransitKey::new(Zeroizing::new(vec![7; 32]));
        let sender = Endpoint::open(false, Vec::new()).await.unwrap();
        let receiver = Endpoint::open(true, Vec::new()).await.unwrap();
        let port = receiver.listener.as_ref().unwrap().local_addr().unwrap().port();
        let hints = [Hint::Direct(Place { host: "127.0.0.1".into(), port })];
        let met = tokio::join!(sender.meet(&key, Role::Sender, &hints), receiver.meet(&key, Role::Receiver, &[]));
        let (mut sender, mut receiver) = (met.0.unwrap(), met.1.unwrap());
        sender.send(b"one").await.unwrap();
        assert_eq!(receiver.receive().await.unwrap(), b"one");
        receiver.set_idle_max(Duration::from_millis(20));
        assert_eq!(receiver.receive().await, Err(PairingError::Lonely));
        drop(sender);
    }
}
