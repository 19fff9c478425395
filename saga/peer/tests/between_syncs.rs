//! What a connection holds between two syncs.

use async_trait::async_trait;
use ibgib::{IbGib, Verified};
use ibgib_peer::prelude::*;
use ibgib_peer::{Guard, Moved, SyncConnection, entropy::random_hex};
use ibgib_saga::{SyncRequest, TimelineSummary};

/// A guard that looks into the space.
#[derive(Debug)]
struct Looks(Arc<dyn Space>);

#[async_trait]
impl Guard for Looks {
    async fn goes_on(&self, _: &[TimelineSummary]) -> bool {
        self.0.count().await.is_ok()
    }

    fn holds(&self, _: &Verified<IbGib>) -> Option<String> {
        None
    }

    fn allows(&self, _: &[Moved]) -> bool {
        true
    }
}

/// Its owner closes the store then, so that others may open it.
#[tokio::test]
async fn nobody_holds_the_space_whatever_its_guard_held() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&*space, &secret).await.unwrap().tjp().clone();
    let me = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };
    let host = Host::new(Arc::new(MemorySpace::new("server")), HostOptions::default());
    let document = Document::create(&space, "todo", Map::new()).await.unwrap();
    let mut connection = SyncConnection::new(Arc::new(Innerspace::new(host)), Limits::default());
    let held = Arc::strong_count(&space);
    for n in 0..3 {
        document.set("/count", n).await.unwrap();
        connection.set_guard(Some(Arc::new(Looks(Arc::clone(&space)))));
        let request = SyncRequest {
            saga_id: random_hex(),
            scope: Scope::All,
            direction: Direction::Both,
            skip_when_equal: true,
            dry_run: false,
            moves_max: Some(0),
        };
        let synced = connection.sync(&space, Some(me.clone()), request).await.unwrap();
        assert!(synced.summary.saga.is_some());
        connection.set_guard(None);
        assert_eq!(Arc::strong_count(&space), held, "after {n}");
    }
}
