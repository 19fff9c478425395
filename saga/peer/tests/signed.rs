//! A server's word: whose it is, what is kept of it, and what a device does when it does not fit.

use ibgib_peer::prelude::*;
use ibgib_peer::{Kept, SyncConnection, entropy::random_hex, forget_server, known_keystone, receipts, verify_receipt};
use ibgib_saga::{SagaError, SyncRequest};
use ibgib_spaces::{Commit, Kind};

fn everything() -> SyncRequest {
    SyncRequest {
        saga_id: random_hex(),
        scope: Scope::All,
        direction: Direction::Both,
        skip_when_equal: true,
        dry_run: false,
        moves_max: None,
    }
}

struct Device {
    space: Arc<dyn Space>,
    identity: SenderIdentity,
}

impl Device {
    async fn new(name: &str) -> Self {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new(name));
        let secret = Secret::new(random::<32>().to_vec());
        let tjp = create_identity(&*space, &secret).await.unwrap().tjp().clone();
        Self { space, identity: SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) } }
    }

    async fn sync(&self, host: &Arc<Host>) -> Result<u64, SagaError> {
        let mut connection = SyncConnection::new(Arc::new(Innerspace::new(Arc::clone(host))), Limits::default());
        let synced = connection.sync(&self.space, Some(self.identity.clone()), everything()).await;
        connection.close().await;
        synced.map(|synced| synced.identity_bytes)
    }

    /// The receipts that are kept, each of which proves what it says: revision and timelines.
    async fn receipts(&self) -> Vec<(u64, usize)> {
        let mut out = Vec::new();
        for Kept { space, receipt } in receipts(&*self.space).await.unwrap() {
            let receipt = receipt.unwrap();
            assert!(verify_receipt(&*self.space, &space, &receipt).await.unwrap());
            out.push((receipt.revision, receipt.tips().count()));
        }
        out
    }
}

fn server(id: &str) -> (Arc<dyn Space>, Arc<Host>) {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new(id));
    let host = Host::new(Arc::clone(&space), HostOptions::default());
    (space, host)
}

#[tokio::test]
async fn the_newest_receipt_of_each_timeline_is_kept_and_proves_what_it_says() {
    let device = Device::new("device").await;
    let (_, host) = server("server");
    let [one, other] = [
        Document::create(&device.space, "one", Map::new()).await.unwrap(),
        Document::create(&device.space, "other", Map::new()).await.unwrap(),
    ];
    let bytes = device.sync(&host).await.unwrap();
    assert!((5_000..=20_480).contains(&bytes), "{bytes}");
    assert_eq!(known_keystone(&*device.space, "server").await.unwrap(), Some(host.keystone().await.unwrap()));
    let [(first, 2)] = device.receipts().await[..] else { panic!("{:?}", device.receipts().await) };
    one.set("/a", 1).await.unwrap();
    device.sync(&host).await.unwrap();
    let [(again, 2), (second, 1)] = device.receipts().await[..] else { panic!("{:?}", device.receipts().await) };
    assert_eq!(again, first);
    assert!(second > first);
    // The first one is of nothing any more.
    other.set("/a", 1).await.unwrap();
    device.sync(&host).await.unwrap();
    let [(again, 1), (_, 1)] = device.receipts().await[..] else { panic!("{:?}", device.receipts().await) };
    assert_eq!(again, second);
    // Somebody else's do not prove anything for another space, and nothing after it was forgotten.
    let Kept { receipt, .. } = receipts(&*device.space).await.unwrap().remove(0);
    let receipt = receipt.unwrap();
    assert!(!verify_receipt(&*device.space, "elsewhere", &receipt).await.unwrap());
    assert_eq!(forget_server(&*device.space, "server").await.unwrap(), 2);
    assert!(!verify_receipt(&*device.space, "server", &receipt).await.unwrap());
    assert_eq!(device.receipts().await, []);
}

#[tokio::test]
async fn a_server_that_says_it_is_the_same_space_without_its_keystone_gets_nothing() {
    let device = Device::new("device").await;
    let (_, host) = server("server");
    let document = Document::create(&device.space, "todo", Map::new()).await.unwrap();
    device.sync(&host).await.unwrap();
    let (theirs, impostor) = server("server");
    document.set("/secret", 1).await.unwrap();
    let error = device.sync(&impostor).await.unwrap_err();
    assert_eq!(error.code(), "server_changed");
    assert!(error.is_identity());
    assert_eq!(theirs.tips(Some(Kind::Living)).await.unwrap(), []);
    // Whoever has asked its owner may say that it is the right one.
    forget_server(&*device.space, "server").await.unwrap();
    device.sync(&impostor).await.unwrap();
    assert_eq!(theirs.tips(Some(Kind::Living)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_at_less_than_it_has_signed_is_told_apart() {
    let device = Device::new("device").await;
    let (space, host) = server("server");
    let document = Document::create(&device.space, "todo", Map::new()).await.unwrap();
    device.sync(&host).await.unwrap();
    // As if it had been at more: the receipt is of a later revision.
    let key = "receipts/server".to_owned();
    let mut index = device.space.record(&key).await.unwrap().unwrap();
    index[16..24].copy_from_slice(&1_000u64.to_be_bytes());
    device.space.commit(Commit { records: vec![(key, Some(index))], ..Commit::default() }).await.unwrap();
    document.set("/a", 1).await.unwrap();
    let before = space.tips(Some(Kind::Living)).await.unwrap();
    let error = device.sync(&host).await.unwrap_err();
    assert_eq!(error.code(), "rolled_back");
    assert!(error.to_string().contains("1000"), "{error}");
    assert_eq!(space.tips(Some(Kind::Living)).await.unwrap(), before, "nothing was sent");
}
