//! What becomes of sessions that are over: forgotten, while everything that is kept stays whole.

use ibgib_peer::prelude::*;
use ibgib_peer::{
    Collected, Retention, SyncConnection, collect, collect_when_due, entropy::random_hex, receipts, verify_receipt,
};
use ibgib_saga::{SagaError, SyncRequest};
use ibgib_spaces::{Kind, fsck};

const DAY_MS: i64 = 24 * 3_600_000;

struct World {
    device: Arc<dyn Space>,
    identity: SenderIdentity,
    server: Arc<dyn Space>,
    host: Arc<Host>,
    document: Document,
    edits: u32,
}

impl World {
    async fn new() -> Self {
        let device: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
        let server: Arc<dyn Space> = Arc::new(MemorySpace::new("server"));
        let secret = Secret::new(random::<32>().to_vec());
        let tjp = create_identity(&*device, &secret).await.unwrap().tjp().clone();
        let identity = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };
        let host = Host::new(Arc::clone(&server), HostOptions::default());
        let document = Document::create(&device, "note", Map::new()).await.unwrap();
        Self { device, identity, server, host, document, edits: 0 }
    }

    fn connection(&self) -> SyncConnection {
        SyncConnection::new(Arc::new(Innerspace::new(Arc::clone(&self.host))), Limits::default())
    }

    /// An edit, and a saga that brings it to the server.
    async fn edit(&mut self, connection: &mut SyncConnection) -> Result<(), SagaError> {
        self.edits += 1;
        self.document.set("/edits", self.edits).await.unwrap();
        let request = SyncRequest {
            saga_id: random_hex(),
            scope: Scope::All,
            direction: Direction::Both,
            skip_when_equal: true,
            dry_run: false,
            moves_max: None,
        };
        connection.sync(&self.device, Some(self.identity.clone()), request).await.map(drop)
    }

    /// As many sessions, each with a saga.
    async fn sessions(&mut self, count: usize) {
        for _ in 0..count {
            let mut connection = self.connection();
            self.edit(&mut connection).await.unwrap();
            connection.close().await;
        }
    }

    fn spaces(&self) -> [Arc<dyn Space>; 2] {
        [Arc::clone(&self.device), Arc::clone(&self.server)]
    }

    /// Everything that is kept is whole, the same on both sides, and what was confirmed can be proven.
    async fn check(&self) {
        for space in self.spaces() {
            let found = fsck(&*space).await.unwrap();
            assert!(found.is_clean(), "{found:?}");
        }
        let living =
            [self.device.tips(Some(Kind::Living)).await.unwrap(), self.server.tips(Some(Kind::Living)).await.unwrap()];
        assert_eq!(living[0], living[1]);
        for kept in receipts(&*self.device).await.unwrap() {
            assert!(verify_receipt(&*self.device, &kept.space, &kept.receipt.unwrap()).await.unwrap());
        }
    }
}

async fn sagas(space: &dyn Space) -> usize {
    space.tips(Some(Kind::Saga)).await.unwrap().len()
}

fn keep(sessions_max: usize, session_ms_max: u64) -> Retention {
    Retention { sessions_max, session_ms_max }
}

#[tokio::test]
async fn the_newest_sessions_stay_and_the_others_go_with_their_transcripts() {
    let mut world = World::new().await;
    world.sessions(6).await;
    for space in world.spaces() {
        let (count, kept) = (space.count().await.unwrap(), keep(2, u64::MAX));
        assert_eq!(sagas(&*space).await, 6);
        let before = fsck(&*space).await.unwrap().unreachable;
        let mut told = Vec::new();
        let foreseen = collect(&*space, kept, now_ms(), true, |_, _| ()).await.unwrap();
        assert_eq!(space.count().await.unwrap(), count, "a dry run changed something");
        let collected = collect(&*space, kept, now_ms(), false, |done, of| told.push((done, of))).await.unwrap();
        assert_eq!((collected, collected.sessions), (foreseen, 4));
        assert_eq!(told.last(), Some(&(8, 8)));
        assert_eq!(space.count().await.unwrap(), count - collected.nodes);
        // A session has a genesis and a frame for its proof and each of its turns; a turn has three nodes.
        assert!(collected.nodes >= 4 * 8 && collected.bytes > 100 * collected.nodes, "{collected:?}");
        assert_eq!(sagas(&*space).await, 2);
        // The last context of each transcript, to which nothing leads, went along.
        assert_eq!(fsck(&*space).await.unwrap().unreachable, before - 4);
        assert_eq!(collect(&*space, kept, now_ms(), false, |_, _| ()).await.unwrap(), Collected::default());
    }
    world.check().await;
    world.sessions(2).await;
    world.check().await;
    // The newest one stays whatever is kept.
    for space in world.spaces() {
        assert_eq!(collect(&*space, keep(0, 0), now_ms(), false, |_, _| ()).await.unwrap().sessions, 3);
        assert_eq!(sagas(&*space).await, 1);
    }
    world.sessions(1).await;
    world.check().await;
}

#[tokio::test]
async fn old_sessions_go_and_an_open_one_stays() {
    let mut world = World::new().await;
    world.sessions(3).await;
    let mut connection = world.connection();
    world.edit(&mut connection).await.unwrap();
    for space in world.spaces() {
        let after = async |days: i64| {
            collect(&*space, Retention::default(), now_ms() + days * DAY_MS, false, |_, _| ()).await.unwrap().sessions
        };
        assert_eq!(after(6).await, 0);
        assert_eq!(after(8).await, 3);
    }
    // The connection goes on with its session.
    for _ in 0..3 {
        world.edit(&mut connection).await.unwrap();
    }
    connection.close().await;
    world.check().await;
}

/// A session that was forgotten does not come back: the identity has gone on since.
#[tokio::test]
async fn a_forgotten_session_is_not_introduced_again() {
    let mut world = World::new().await;
    world.sessions(1).await;
    let session = world.server.tips(Some(Kind::Keystone)).await.unwrap();
    let session = session.into_iter().map(|tip| tip.tjp).filter(|tjp| *tjp != world.identity.tjp);
    let records = world.server.records("session/").await.unwrap();
    let session = session.into_iter().find(|tjp| records.iter().any(|(key, _)| key.ends_with(tjp.as_str()))).unwrap();
    let genesis = world.device.node(&session).await.unwrap().unwrap();
    let named = world.device.tip(&world.identity.tjp).await.unwrap().unwrap().addr;
    let named = world.device.node(&named).await.unwrap().unwrap();
    world.sessions(1).await;
    assert_eq!(collect(&*world.server, keep(0, 0), now_ms(), false, |_, _| ()).await.unwrap().sessions, 1);
    assert_eq!(world.server.tip(&session).await.unwrap(), None);
    assert_eq!(world.server.records("session/").await.unwrap().len(), 1);
    let again = world.host.post_evolution(&world.identity.tjp, &[named], Some(&genesis)).await;
    assert_eq!(again.unwrap_err().code(), "session_not_named");
    world.check().await;
}

#[tokio::test]
async fn it_is_done_once_a_day_and_when_there_are_many_more() {
    let mut world = World::new().await;
    world.sessions(25).await;
    let (space, now) = (Arc::clone(&world.server), now_ms());
    let due = async |at: i64| collect_when_due(&*space, Retention::default(), at).await.unwrap();
    assert_eq!(due(now - DAY_MS).await, None);
    assert_eq!(due(now - 1).await, None);
    assert_eq!(due(now).await.map(|collected| collected.sessions), Some(5));
    assert_eq!(due(now + 1).await, None);
    assert_eq!(due(now + DAY_MS - 1).await, None);
    assert_eq!(due(now + DAY_MS).await, Some(Collected::default()));
    // A clock that was put back does not keep it from coming.
    assert_eq!(due(now).await, Some(Collected::default()));
    // Nor do many sessions on one day have to wait for the next one.
    world.sessions(127).await;
    assert_eq!(due(now + 1).await, None);
    world.sessions(1).await;
    assert_eq!(due(now + 1).await.map(|collected| collected.sessions), Some(128));
    assert_eq!(due(now + 1).await, None);
    world.check().await;
}
