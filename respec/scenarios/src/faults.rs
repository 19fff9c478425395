//! A receiver behind a bad line: messages come late, twice, damaged or not at all, as a seed chooses.

use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::Dropping;
use ibgib_peer::{Link, Remote};
use ibgib_saga::{Packet, SagaError};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

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

/// A remote whose links go through somebody's hands.
pub struct Simulated {
    inner: Arc<dyn Remote>,
    hands: Box<dyn Fn(Link) -> Link + Send + Sync>,
    registers: Box<dyn Fn(&Addr) + Send + Sync>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Simulated {
    /// Puts faults on the links of `inner`; without any, its links are as they are.
    pub fn new(inner: Arc<dyn Remote>, faults: Faults) -> Self {
        if (Faults { seed: faults.seed, ..Faults::default() }) == faults {
            return Self::between(inner, |link| link);
        }
        let links = AtomicU64::new(0);
        Self::between(inner, move |Link { tx, rx, signs }| {
            let (ours, theirs) = Link::pair();
            let link = links.fetch_add(1, Ordering::Relaxed);
            let seed = |way: u64| (faults.seed ^ (2 * link + way + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1;
            tokio::spawn(carry(theirs.rx, tx, Random(seed(0)), faults));
            tokio::spawn(carry(rx, theirs.tx, Random(seed(1)), faults));
            Link { signs, ..ours }
        })
    }

    /// Hands each link of `inner` to `hands`, which give the sender theirs instead.
    pub fn between(inner: Arc<dyn Remote>, hands: impl Fn(Link) -> Link + Send + Sync + 'static) -> Self {
        Self { inner, hands: Box::new(hands), registers: Box::new(|_| {}) }
    }

    /// Tells `hook` of each identity just before it registers, so that a receiver that does not take everybody can be
    /// told to let it in.
    #[must_use]
    pub fn before_registering(mut self, hook: impl Fn(&Addr) + Send + Sync + 'static) -> Self {
        self.registers = Box::new(hook);
        self
    }
}

#[async_trait]
impl Remote for Simulated {
    fn check_keystone(&self, shown: &Addr) -> Result<(), SagaError> {
        self.inner.check_keystone(shown)
    }

    fn shown(&self) -> &str {
        self.inner.shown()
    }

    async fn audience(&self) -> Result<String, SagaError> {
        self.inner.audience().await
    }

    async fn identity_tip(&self, tjp: &Addr) -> Result<Option<Addr>, SagaError> {
        self.inner.identity_tip(tjp).await
    }

    async fn dropped(&self, seen: u64) -> Result<Option<Dropping>, SagaError> {
        self.inner.dropped(seen).await
    }

    async fn keystone_frames(&self, tip: &Addr) -> Result<Vec<Verified<IbGib>>, SagaError> {
        self.inner.keystone_frames(tip).await
    }

    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        self.inner.node(addr).await
    }

    async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<(), SagaError> {
        (self.registers)(genesis.addr());
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
        Ok((self.hands)(self.inner.open().await?))
    }
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
