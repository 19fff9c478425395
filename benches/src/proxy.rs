//! A TCP proxy that counts the bytes of both directions, and how often the client says something after the server has. It may
//! stand for a long line, on which everything takes its time.

use crate::Res;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Chunks that may be on their way at once, of up to 256 KiB: what a long line holds.
const ON_THE_WAY: usize = 64;

/// Listens on a port of its own for as long as the process lives, which ends with the measurement.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Bytes to the server, and back.
    counts: Arc<[AtomicU64; 2]>,
    turns: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) fn to(server: u16) -> Res<Self> {
        Self::far(server, Duration::ZERO)
    }

    /// One behind which everything arrives so much later, in each direction; a connection is there at once.
    pub(crate) fn far(server: u16, away: Duration) -> Res<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let turns = Arc::new(AtomicU64::new(0));
        let (counting, turning) = (Arc::clone(&counts), Arc::clone(&turns));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server))) else { continue };
                // Small messages are not held back: nothing of the proxy's own is measured.
                let (Ok(()), Ok(())) = (client.set_nodelay(true), server.set_nodelay(true)) else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let (up, down) = (Arc::clone(&counting), Arc::clone(&counting));
                // Whose turn it is on this connection: the client begins.
                let (ours, theirs) = (Arc::new(AtomicBool::new(true)), Arc::clone(&turning));
                let answered = Arc::clone(&ours);
                let asks = move |count: u64| {
                    up[0].fetch_add(count, Ordering::Relaxed);
                    theirs.fetch_add(u64::from(ours.swap(false, Ordering::Relaxed)), Ordering::Relaxed);
                };
                let answers = move |count: u64| {
                    down[1].fetch_add(count, Ordering::Relaxed);
                    answered.store(true, Ordering::Relaxed);
                };
                std::thread::spawn(move || carry(from, to, away, asks));
                std::thread::spawn(move || carry(server, client, away, answers));
            }
        });
        Ok(Self { port, counts, turns })
    }

    /// What went through until now.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [0, 1].map(|i: usize| self.counts[i].load(Ordering::Relaxed))
    }

    /// How often a client said something, first or after its server had, until now.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, away: Duration, count: impl Fn(u64)) {
    let mut buffer = vec![0; 256 * 1024];
    if away.is_zero() {
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            count(read as u64);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
        return;
    }
    let (sent, arriving) = sync_channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    std::thread::spawn(move || {
        for (arrives, bytes) in arriving {
            std::thread::sleep(arrives.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        count(read as u64);
        if sent.send((Instant::now() + away, buffer[..read].to_vec())).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_counted() {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        counts(&Proxy::to(server.local_addr().unwrap().port()).unwrap(), &server);
    }

    #[test]
    fn over_a_long_line_the_same_comes_later() {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy::far(server.local_addr().unwrap().port(), Duration::from_millis(20)).unwrap();
        let began = Instant::now();
        counts(&proxy, &server);
        assert!(began.elapsed() >= Duration::from_millis(40), "there and back");
    }

    fn counts(proxy: &Proxy, server: &TcpListener) {
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
        client.write_all(b"ask").unwrap();
        let (mut served, _) = server.accept().unwrap();
        let mut buffer = [0; 3];
        served.read_exact(&mut buffer).unwrap();
        served.write_all(b"answer").unwrap();
        drop(served);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!((&buffer, answer.as_slice(), proxy.counts()), (b"ask", &b"answer"[..], [3, 6]));
        assert_eq!(proxy.turns(), 1);
    }
}
