//! Who works for longer than anybody may be silent says so, and is waited for; who is silent is not.

use async_trait::async_trait;
use ibgib_peer::prelude::*;
use ibgib_peer::{Link, Remote};
use ibgib_saga::{ConnectOk, Encoding, Message, Packet, SagaError};
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
use std::time::Duration;
use tokio::time::Instant;

fn limits() -> Limits {
    Limits { idle_ms_max: 2_000, saga_ms_max: 600_000, ..Limits::default() }
}

/// Longer than anybody may be silent.
const LONG: Duration = Duration::from_secs(7);

/// A space whose operation takes long the first `n` times.
fn slow(name: &str, op: Op, n: u64) -> Arc<dyn Space> {
    Arc::new(FaultSpace::new(Arc::new(MemorySpace::new(name)), FaultPlan::default().slow(op, n, LONG)))
}

/// Syncs two spaces of which each has a timeline that the other one lacks.
async fn synced(device: Arc<dyn Space>, server: Arc<dyn Space>) {
    let options = HostOptions { limits: limits(), allow_anonymous: true, ..HostOptions::default() };
    let host = Host::new(Arc::clone(&server), options);
    let ours = Document::create(&device, "todo", Map::new()).await.unwrap();
    let theirs = Document::create(&server, "todo", Map::new()).await.unwrap();
    let options = SyncOptions { limits: limits(), ..SyncOptions::default() };
    let began = Instant::now();
    let sync = SyncSagaCoordinator::new(Arc::clone(&device)).sync(Arc::new(Innerspace::new(host)), options);
    sync.done().await.unwrap();
    assert!(began.elapsed() >= LONG, "nothing took long");
    for space in [&device, &server] {
        assert_eq!(space.has(&[ours.address().clone(), theirs.address().clone()]).await.unwrap(), [true, true]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_works_for_long_is_waited_for() {
    synced(slow("device", Op::Read, u64::MAX), Arc::new(MemorySpace::new("server"))).await;
    synced(slow("device", Op::Commit, u64::MAX), Arc::new(MemorySpace::new("server"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_works_for_long_is_waited_for() {
    synced(Arc::new(MemorySpace::new("device")), slow("server", Op::Commit, u64::MAX)).await;
}

/// A receiver that lets anybody in, and then says nothing; at most that it is at work.
#[derive(Debug)]
struct Silent {
    inner: Innerspace,
    at_work: bool,
}

#[async_trait]
impl Remote for Silent {
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
    async fn keystone_frames(&self, tip: &Addr) -> Result<Vec<Verified<IbGib>>, SagaError> {
        self.inner.keystone_frames(tip).await
    }
    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        self.inner.node(addr).await
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
        let (ours, mut theirs) = Link::pair();
        let at_work = self.at_work;
        tokio::spawn(async move {
            let Some(Packet::Text(_)) = theirs.rx.recv().await else { panic!("no hello") };
            let ok = ConnectOk { encoding: Encoding::Blocks, reads_packed: true, signature: None };
            theirs.tx.send(Message::ConnectOk(ok).packet()).await.unwrap();
            while !theirs.tx.is_closed() {
                if at_work {
                    theirs.signs.give();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Ok(ours)
    }
}

/// After how many milliseconds a sync with a silent receiver has failed.
async fn given_up(at_work: bool) -> u128 {
    let host = Host::new(Arc::new(MemorySpace::new("server")), HostOptions::default());
    let remote = Silent { inner: Innerspace::new(host), at_work };
    let options = SyncOptions { limits: limits(), ..SyncOptions::default() };
    let began = Instant::now();
    let sync = SyncSagaCoordinator::new(Arc::new(MemorySpace::new("device"))).sync(Arc::new(remote), options);
    assert_eq!(sync.done().await.unwrap_err(), SagaError::TimedOut);
    began.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn a_silent_receiver_is_given_up_soon_and_one_at_work_when_a_saga_has_to_end() {
    let limits = limits();
    let (idle, saga) = (u128::from(limits.idle_ms_max), u128::from(limits.saga_ms_max));
    let silent = given_up(false).await;
    assert!((idle..2 * idle).contains(&silent), "{silent} ms of virtual time");
    let at_work = given_up(true).await;
    assert!((saga..saga + idle).contains(&at_work), "{at_work} ms of virtual time");
}
