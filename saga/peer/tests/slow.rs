//! A line on which delivering an identity takes longer than a receiver waits for who has connected.

use async_trait::async_trait;
use ibgib_peer::prelude::*;
use ibgib_peer::{Link, Remote};
use ibgib_saga::{Failure, IdentityRefusal, Message, SagaError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A receiver where each post takes so long, and connections are counted.
#[derive(Debug)]
struct Slow {
    inner: Innerspace,
    post: Duration,
    opened: AtomicU64,
    /// What is said at once on each connection, if anything.
    refusal: Option<SagaError>,
}

#[async_trait]
impl Remote for Slow {
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
        tokio::time::sleep(self.post).await;
        self.inner.post_genesis_keystone(genesis).await
    }
    async fn post_evolution(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<(), SagaError> {
        tokio::time::sleep(self.post).await;
        self.inner.post_evolution(tjp, frames, session).await
    }
    async fn open(&self) -> Result<Link, SagaError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let Some(refusal) = &self.refusal else { return self.inner.open().await };
        let (ours, theirs) = Link::pair();
        theirs.tx.send(Message::AuthFail(Failure::of(refusal)).packet()).await.unwrap();
        Ok(ours)
    }
}

/// What a sync of somebody new came to, and how many connections it took.
async fn synced(post_ms: u64, refusal: Option<SagaError>) -> (Result<(), SagaError>, u64) {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("slow"));
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&*space, &secret).await.unwrap().tjp().clone();
    let me = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };
    let host = Host::new(Arc::new(MemorySpace::new("server")), HostOptions::default());
    let post = Duration::from_millis(post_ms);
    let remote = Arc::new(Slow { inner: Innerspace::new(host), post, opened: AtomicU64::new(0), refusal });
    let options = SyncOptions { identity: Some(me), ..SyncOptions::default() };
    let done = SyncSagaCoordinator::new(space).sync(Arc::clone(&remote) as _, options).done().await;
    (done.map(drop), remote.opened.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn whoever_delivers_slowly_comes_in_all_the_same() {
    let patience = Limits::default().handshake_ms_max;
    assert_eq!(synced(0, None).await, (Ok(()), 1));
    assert_eq!(synced(patience / 2, None).await, (Ok(()), 1));
    // At the same moment either may be first.
    assert_eq!(synced(patience, None).await.0, Ok(()));
    assert_eq!(synced(patience + 2_000, None).await, (Ok(()), 2));
    assert_eq!(synced(10 * patience, None).await, (Ok(()), 2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_asked_for_twice() {
    let (done, opened) = synced(0, Some(IdentityRefusal::Required.into())).await;
    assert_eq!((done.unwrap_err().code(), opened), ("identity_required", 1));
    // Nor is anybody waited for more than twice.
    let (done, opened) = synced(0, Some(SagaError::TimedOut)).await;
    assert_eq!((done.unwrap_err().code(), opened), ("timeout", 2));
}
