//! Where scenarios are played: in one process, over a link that is slow and scrambled in virtual time, and over a
//! real WebSocket to a real server with stores on disk.

use crate::play::{Played, Stage};
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_peer::{Host, HostOptions, Innerspace, Link, Remote, WebSocketRemote};
use ibgib_saga::{Limits, Packet, SagaError};
use ibgib_server::{ServeOptions, Server};
use ibgib_spaces::{DurableSpace, MemorySpace, Space};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A stage and what has to live as long.
#[derive(Debug)]
pub struct Rig {
    /// Where to play.
    pub stage: Stage,
    server: Option<Server>,
    _dir: Option<TempDir>,
}

impl Rig {
    /// Two memory spaces in this process.
    pub fn innerspace(seed: &str, with_identity: bool) -> Self {
        let (stage, _) = in_process(seed, with_identity);
        Self { stage, server: None, _dir: None }
    }

    /// As [`Rig::innerspace`], over a link that delays every message by a time that the seed chooses. Meant for a
    /// runtime with one thread and a paused clock: then nothing but the seed decides what happens when.
    pub fn simulation(seed: &str, with_identity: bool, faults: Faults) -> Self {
        let (mut stage, host) = in_process(seed, with_identity);
        stage.remote = Arc::new(Simulated { inner: Innerspace::new(host), faults, links: AtomicU64::new(0) });
        Self { stage, server: None, _dir: None }
    }

    /// A server on a free loopback port, with stores on disk on both sides.
    ///
    /// # Errors
    /// When the disk or the port is not to be had.
    pub async fn websocket(seed: &str) -> Played<Self> {
        let dir = tempfile::tempdir()?;
        let source: Arc<dyn Space> = Arc::new(DurableSpace::create(&dir.path().join("source"))?);
        let dest: Arc<dyn Space> = Arc::new(DurableSpace::create(&dir.path().join("dest"))?);
        let host = Host::new(Arc::clone(&dest), HostOptions::default());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(host, ServeOptions { listen, ..ServeOptions::default() }).await?;
        let remote = WebSocketRemote::new(&server.url(), Limits::default().message_bytes_max)?;
        let stage = Stage {
            source,
            dest,
            remote: Arc::new(remote),
            with_identity: true,
            seed: seed.to_owned(),
            limits: Limits::default(),
        };
        Ok(Self { stage, server: Some(server), _dir: Some(dir) })
    }

    /// The server's base URL, where there is one.
    pub fn url(&self) -> Option<String> {
        self.server.as_ref().map(Server::url)
    }

    /// Ends what the rig started.
    pub async fn close(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

fn in_process(seed: &str, with_identity: bool) -> (Stage, Arc<Host>) {
    let source: Arc<dyn Space> = Arc::new(MemorySpace::new("source"));
    let dest: Arc<dyn Space> = Arc::new(MemorySpace::new("dest"));
    let options = HostOptions { allow_anonymous: !with_identity, ..HostOptions::default() };
    let host = Host::new(Arc::clone(&dest), options);
    let remote = Arc::new(Innerspace::new(Arc::clone(&host)));
    (Stage { source, dest, remote, with_identity, seed: seed.to_owned(), limits: Limits::default() }, host)
}

/// What a simulated link does to messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Chooses all of it.
    pub seed: u64,
    /// Milliseconds that a message takes at most.
    pub delay_ms_max: u64,
    /// One message in so many is lost, and the line with it (0: none).
    pub cut_one_in: u64,
    /// One message in so many is lost and the line stays (0: none), as behind a broken proxy.
    pub drop_one_in: u64,
    /// One message in so many arrives with a bit flipped (0: none).
    pub corrupt_one_in: u64,
    /// One message in so many arrives twice (0: none).
    pub repeat_one_in: u64,
}

/// Numbers that a seed repeats (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.next().is_multiple_of(n)
    }
}

/// A remote behind a link with faults.
#[derive(Debug)]
pub struct Simulated<R> {
    inner: R,
    faults: Faults,
    links: AtomicU64,
}

impl<R: Remote> Simulated<R> {
    /// Puts faults on the links of `inner`.
    pub fn new(inner: R, faults: Faults) -> Self {
        Self { inner, faults, links: AtomicU64::new(0) }
    }
}

#[async_trait]
impl<R: Remote> Remote for Simulated<R> {
    async fn audience(&self) -> Result<String, SagaError> {
        self.inner.audience().await
    }

    async fn identity_tip(&self, tjp: &Addr) -> Result<Option<Addr>, SagaError> {
        self.inner.identity_tip(tjp).await
    }

    async fn keystone_frames(&self, tip: &Addr) -> Result<Vec<Verified<IbGib>>, SagaError> {
        self.inner.keystone_frames(tip).await
    }

    async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<(), SagaError> {
        self.inner.post_genesis_keystone(genesis).await
    }

    async fn post_evolution(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<(), SagaError> {
        self.inner.post_evolution(tjp, frames, session).await
    }

    async fn open(&self) -> Result<Link, SagaError> {
        let Link { tx, rx } = self.inner.open().await?;
        let (ours, theirs) = Link::pair();
        let link = self.links.fetch_add(1, Ordering::Relaxed);
        let seed = |way: u64| (self.faults.seed ^ (2 * link + way + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1;
        tokio::spawn(carry(theirs.rx, tx, Random(seed(0)), self.faults));
        tokio::spawn(carry(rx, theirs.tx, Random(seed(1)), self.faults));
        Ok(ours)
    }
}

/// Carries messages one way until either end, or the line, is gone.
async fn carry(mut from: mpsc::Receiver<Packet>, to: mpsc::Sender<Packet>, mut random: Random, faults: Faults) {
    while let Some(mut packet) = from.recv().await {
        if faults.delay_ms_max > 0 {
            tokio::time::sleep(Duration::from_millis(random.next() % (faults.delay_ms_max + 1))).await;
        }
        if random.one_in(faults.cut_one_in) {
            return;
        }
        if random.one_in(faults.drop_one_in) {
            continue;
        }
        if random.one_in(faults.corrupt_one_in) {
            packet = corrupted(packet, random.next());
        }
        if random.one_in(faults.repeat_one_in) && to.send(packet.clone()).await.is_err() {
            return;
        }
        if to.send(packet).await.is_err() {
            return;
        }
    }
}

fn corrupted(packet: Packet, at: u64) -> Packet {
    let flip = |mut bytes: Vec<u8>| {
        if let Some(at) = usize::try_from(at).ok().and_then(|at| at.checked_rem(bytes.len())) {
            bytes[at] ^= 1;
        }
        bytes
    };
    match packet {
        Packet::Binary(bytes) => Packet::Binary(flip(bytes)),
        Packet::Text(text) => Packet::Text(String::from_utf8_lossy(&flip(text.into_bytes())).into_owned()),
    }
}
