//! Several servers over one space: what is staged at one, who is connected at which, and who hears of what.

use async_trait::async_trait;
use ibgib_peer::prelude::*;
use ibgib_peer::{HostEvent, SyncConnection, entropy::random_hex};
use ibgib_saga::{SagaError, SyncRequest};
use ibgib_spaces::store::{Batch, Written};
use ibgib_spaces::{Commit, SpaceError, Store, View};
use std::sync::Mutex;
use std::time::Duration;

const DAY: i64 = 24 * 3_600_000;

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

#[tokio::test]
async fn another_server_over_the_same_space_leaves_alone_what_a_long_connection_stages() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&*space, &secret).await.unwrap().tjp().clone();
    let me = SenderIdentity { tjp: tjp.clone(), secret: SecretSource::new(move || Ok(secret.clone())) };
    let shared: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
    let [one, other] = [(), ()].map(|()| Host::new(Arc::clone(&shared), HostOptions::default()));
    let mut connection = SyncConnection::new(Arc::new(Innerspace::new(one)), Limits::default());
    let (owner, key) = (format!("push/{tjp}"), format!("staging/push/{tjp}"));
    let note = IbGib { ib: "note".into(), data: Some(object([("text", "x".into())])), ..IbGib::default() };
    let note = [note.seal().unwrap()];

    let todo = Document::create(&space, "todo", Map::new()).await.unwrap();
    connection.sync(&space, Some(me.clone()), everything()).await.unwrap();
    // It is two days later, or somebody has dropped the record.
    for old in [Some((now_ms() - 2 * DAY).to_string().into_bytes()), None] {
        let records = vec![(key.clone(), old.clone())];
        shared.commit(Commit { records, ..Commit::default() }).await.unwrap();
        todo.set("/day", format!("{old:?}")).await.unwrap();
        connection.sync(&space, Some(me.clone()), everything()).await.unwrap();
        shared.stage(&owner, &note).await.unwrap();
        assert_eq!(other.expire_staging(now_ms(), DAY).await.unwrap(), 0, "{old:?}");
        assert_eq!(shared.staged_addrs(&owner).await.unwrap().len(), 1);
        assert!(shared.record(&key).await.unwrap().is_some());
    }
    // One that does not stage does not renew it.
    let old = Some((now_ms() - 2 * DAY).to_string().into_bytes());
    shared.commit(Commit { records: vec![(key.clone(), old.clone())], ..Commit::default() }).await.unwrap();
    connection.sync(&space, Some(me), everything()).await.unwrap();
    assert_eq!(shared.record(&key).await.unwrap(), old);
    assert_eq!(other.expire_staging(now_ms(), DAY).await.unwrap(), 1);
}

/// A space as one server sees it, which another one changes just before this one forgets something.
#[derive(Debug)]
struct Overtaken {
    shared: Arc<MemorySpace>,
    owner: String,
    by: Mutex<Option<Verified<IbGib>>>,
}

impl Overtaken {
    async fn overtake(&self) {
        let Some(node) = self.by.lock().unwrap().take() else { return };
        let records = vec![(format!("staging/{}", self.owner), Some(now_ms().to_string().into_bytes()))];
        self.shared.commit(Commit { records, ..Commit::default() }).await.unwrap();
        Store::stage(&*self.shared, &self.owner, &[node]).await.unwrap();
    }
}

#[async_trait]
impl Store for Overtaken {
    fn id(&self) -> &str {
        Store::id(&*self.shared)
    }
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        Store::view(&*self.shared).await
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.overtake().await;
        self.shared.write(batch).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        Store::stage(&*self.shared, owner, nodes).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.overtake().await;
        Store::unstage(&*self.shared, owner).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        Store::lease(&*self.shared, name, holder, time).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        Store::give_up(&*self.shared, name, holder).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        Store::changed(&*self.shared, since).await
    }
}

/// A device comes back at one server in the moment in which another one forgets what it had staged.
#[tokio::test]
async fn what_is_staged_while_old_staging_is_forgotten_stays() {
    let shared = Arc::new(MemorySpace::new("shared"));
    let (owner, key) = ("push/device".to_owned(), "staging/push/device".to_owned());
    let old = Some((now_ms() - 2 * DAY).to_string().into_bytes());
    shared.commit(Commit { records: vec![(key.clone(), old)], ..Commit::default() }).await.unwrap();
    let nodes = ["old", "new"].map(|text| {
        let data = Some(object([("text", text.into())]));
        IbGib { ib: "note".into(), data, ..IbGib::default() }.seal().unwrap()
    });
    let [before, new] = nodes;
    Store::stage(&*shared, &owner, &[before]).await.unwrap();
    let space = Overtaken { shared: Arc::clone(&shared), owner: owner.clone(), by: Mutex::new(Some(new)) };
    let host = Host::new(Arc::new(space), HostOptions::default());
    assert_eq!(host.expire_staging(now_ms(), DAY).await.unwrap(), 0);
    assert_eq!(shared.staged_addrs(&owner).await.unwrap().len(), 2);
    assert!(shared.record(&key).await.unwrap().is_some());
    // Nobody comes back.
    assert_eq!(host.expire_staging(now_ms() + DAY, DAY).await.unwrap(), 1);
    assert_eq!(shared.staged_addrs(&owner).await.unwrap(), []);
    assert_eq!(shared.record(&key).await.unwrap(), None);
}

#[tokio::test]
async fn a_connection_at_another_server_over_the_same_space_ends_the_older_one() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&*space, &secret).await.unwrap().tjp().clone();
    let me = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };
    let shared: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
    let hosts = [(), ()].map(|()| Host::new(Arc::clone(&shared), HostOptions::default()));
    let hearing = hosts.clone().map(|host| tokio::spawn(async move { host.hear().await }));
    let mut connections =
        hosts.clone().map(|host| SyncConnection::new(Arc::new(Innerspace::new(host)), Limits::default()));
    let mut events = hosts.clone().map(|host| host.events());
    Document::create(&space, "todo", Map::new()).await.unwrap();
    connections[0].sync(&space, Some(me.clone()), everything()).await.unwrap();
    // There and back: each time the one at the other server ends, and the new one goes on.
    for newer in [1, 0, 1] {
        for _ in 0..2 {
            connections[newer].sync(&space, Some(me.clone()), everything()).await.unwrap();
        }
        let ended = async {
            loop {
                if let HostEvent::Closed(_, why) = events[1 - newer].recv().await.unwrap() {
                    return why;
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert_eq!(ended.expect("it was never ended"), Some(SagaError::Superseded));
    }
    for one in &hearing {
        assert!(!one.is_finished());
        one.abort();
    }
}

/// A device's space, and its identity.
async fn device(name: &str) -> (Arc<dyn Space>, SenderIdentity) {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new(name));
    let secret = Secret::new(random::<32>().to_vec());
    let tjp = create_identity(&*space, &secret).await.unwrap().tjp().clone();
    (space, SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) })
}

#[tokio::test]
async fn who_waits_hears_of_what_another_server_took_and_may_go_on_instead_of_waiting() {
    let shared: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
    let [here, there] = [(), ()].map(|()| Host::new(Arc::clone(&shared), HostOptions::default()));
    let ((alice, her), (bob, his)) = (device("alice").await, device("bob").await);
    let connect =
        |host: &Arc<Host>| SyncConnection::new(Arc::new(Innerspace::new(Arc::clone(host))), Limits::default());
    let (mut at_here, mut at_there) = (connect(&here), connect(&there));
    let mut events = here.events();
    let todo = Document::create(&alice, "todo", Map::new()).await.unwrap();
    at_there.sync(&alice, Some(her.clone()), everything()).await.unwrap();
    for day in 0..3 {
        at_here.sync(&bob, Some(his.clone()), everything()).await.unwrap();
        let ours = at_here.fingerprint(&*bob, None).await.unwrap();
        // He stops waiting, asks again, and stops again.
        for _ in 0..2 {
            let waiting = at_here.is_equal(&ours, None, FOR_EVER);
            assert!(tokio::time::timeout(Duration::from_millis(5), waiting).await.is_err());
        }
        at_here.sync(&bob, Some(his.clone()), everything()).await.unwrap();
        // Without waiting he is told, too.
        assert!(at_here.is_equal(&ours, None, Duration::ZERO).await.unwrap());
        let editing = async {
            // Her identity and her transcript are no news for him.
            todo.set("/day", day.to_string()).await.unwrap();
            at_there.sync(&alice, Some(her.clone()), everything()).await.unwrap();
        };
        let (equal, ()) = tokio::join!(at_here.is_equal(&ours, None, FOR_EVER), editing);
        assert!(!equal.unwrap(), "it did not wait, or did not hear");
    }
    at_here.close().await;
    let mut opened = 0;
    while let Ok(event) = events.try_recv() {
        opened += u32::from(matches!(event, HostEvent::Opened(_)));
    }
    assert_eq!(opened, 1, "the connection was not kept");
}

/// More than a host waits.
const FOR_EVER: Duration = Duration::from_secs(100_000);
