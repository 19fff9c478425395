//! Many devices at three servers of one space, which are stopped and killed in turn while the devices edit: no sync fails
//! but for the moment, and in the end all are equal. A few devices for a moment, unless `IBGIB_DEVICES` and
//! `IBGIB_MINUTES` say otherwise (docs/testing.md).

mod common;

use common::postgres::database;
use common::{Server, World, times};
use ibgib_peer::prelude::*;
use ibgib_peer::saga::{Blame, SagaError};
use ibgib_spaces::{Kind, Tip};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Documents, each edited by several devices at once.
const DEVICES_A_DOCUMENT: usize = 15;

struct Device {
    n: usize,
    space: Arc<dyn Space>,
    me: SenderIdentity,
    servers: Vec<String>,
    documents: Vec<Addr>,
}

/// What went on while they edited.
#[derive(Default)]
struct Counts {
    edits: AtomicUsize,
    syncs: AtomicUsize,
    again: AtomicUsize,
    over: AtomicBool,
}

impl Device {
    async fn new(n: usize, servers: &[String]) -> Self {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new(format!("device {n}")));
        let secret = Secret::new(random::<32>().to_vec());
        let tjp = create_identity(&*space, &secret).await.unwrap().tjp().clone();
        let me = SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) };
        Self { n, space, me, servers: servers.to_vec(), documents: Vec::new() }
    }

    /// Syncs with one server, and where that one is away, with the next.
    async fn sync(&self, mut at: usize, counts: &Counts) {
        let since = Instant::now();
        loop {
            let server = &self.servers[at % self.servers.len()];
            let remote = Arc::new(WebSocketRemote::new(server, Limits::default().message_bytes_max).unwrap());
            match sync(&self.space, remote, &self.me).await {
                Ok(_) => {
                    counts.syncs.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => self.is_of_the_moment(&error, since),
            }
            counts.again.fetch_add(1, Ordering::Relaxed);
            let [jitter] = random::<1>();
            tokio::time::sleep(Duration::from_millis(100 + u64::from(jitter))).await;
            at += 1;
        }
    }

    fn is_of_the_moment(&self, error: &SagaError, since: Instant) {
        let blame = error.row().map(|code| code.blame());
        let is = blame == Some(Blame::Moment) && since.elapsed() < Duration::from_secs(180);
        assert!(is, "device {}: {error} ({error:?})", self.n);
    }

    /// Edits and syncs until the end.
    async fn live(self, counts: Arc<Counts>) -> Self {
        let mut edits = 0;
        while !counts.over.load(Ordering::Relaxed) {
            let [which, at, pause] = random::<3>();
            let document = &self.documents[usize::from(which) % self.documents.len()];
            let document = Document::open(&self.space, document).await.unwrap();
            edits += 1;
            document.set(&format!("/devices/{}", self.n), edits as u32).await.unwrap();
            counts.edits.fetch_add(1, Ordering::Relaxed);
            self.sync(usize::from(at), &counts).await;
            tokio::time::sleep(Duration::from_millis(u64::from(pause) * 4)).await;
        }
        self
    }

    async fn tips(&self) -> Vec<Tip> {
        self.space.tips(Some(Kind::Living)).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_stay_equal_while_their_servers_are_restarted_in_turn() {
    let devices = times("IBGIB_DEVICES", 6);
    let minutes = times("IBGIB_MINUTES", 0);
    let (world, space) = (World::new(), database("devices"));
    let start =
        |listen: &str| Server::start(&world, &["serve", "--space", &space, "--policy", "open", "--listen", listen]);
    let mut servers = [(); 3].map(|()| Some(start("127.0.0.1:0")));
    let urls: Vec<String> = servers.iter().flatten().map(|server| server.url.clone()).collect();
    let counts = Arc::new(Counts::default());

    let first = Device::new(0, &urls).await;
    let mut documents = Vec::new();
    for i in 0..devices.div_ceil(DEVICES_A_DOCUMENT) {
        let document = Document::create(&first.space, "shared", Map::from_iter([("of", i as u32)])).await.unwrap();
        documents.push(document.address().clone());
    }
    first.sync(0, &counts).await;
    let mut all = vec![Device { documents: documents.clone(), ..first }];
    for n in 1..devices {
        let device = Device::new(n, &urls).await;
        device.sync(n, &counts).await;
        all.push(Device { documents: documents.clone(), ..device });
    }

    let mut living: JoinSet<Device> = all.into_iter().map(|device| device.live(Arc::clone(&counts))).collect();
    let (began, mut restarts) = (Instant::now(), 0);
    // Each of them is restarted once at least, asked to end or killed.
    while restarts < 3 || began.elapsed() < Duration::from_secs(60 * minutes as u64) {
        let done = counts.syncs.load(Ordering::Relaxed);
        // With fewer devices there is less to wait for.
        while counts.syncs.load(Ordering::Relaxed) < done + devices && living.try_join_next().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let at = restarts % servers.len();
        let server = servers[at].take().unwrap();
        let listen = format!("127.0.0.1:{}", server.port());
        if restarts % 2 == 0 {
            server.kill()
        } else {
            assert_eq!(server.stop(), Some(0))
        }
        servers[at] = Some(start(&listen));
        restarts += 1;
    }
    counts.over.store(true, Ordering::Relaxed);
    let all = living.join_all().await;
    assert_eq!(all.len(), devices, "a device ended early");
    // What the last one to sync brought, the others have after one more sync.
    for round in 0..2 {
        for device in &all {
            device.sync(round, &counts).await;
        }
    }
    let tips = all[0].tips().await;
    for device in &all {
        assert_eq!(device.tips().await, tips, "device {}", device.n);
    }
    let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{devices} devices, {:.0?}: {} edits, {} syncs, {} begun again, {restarts} restarts",
        began.elapsed(),
        load(&counts.edits),
        load(&counts.syncs),
        load(&counts.again)
    );
    for server in servers.into_iter().flatten() {
        assert_eq!(server.stop(), Some(0));
    }
    world.fsck(&["--space", &space]);
}
