//! A hostile sender against a real server: whatever it sends ends in a typed refusal, and nothing of it is applied.

mod bundles;
mod forged;
mod streams;

use async_trait::async_trait;
use ibgib::transform::{self, ForkOpts, Moment, Rel8Opts, linked};
use ibgib::{Addr, IbGib, Mode, Value, Verified};
use ibgib_keystone::strategy::lms::Reserved;
use ibgib_keystone::{Claim, Secret, SignOpts, config, need};
use ibgib_peer::entropy::{OsEntropy, now_ms, random};
use ibgib_peer::{
    Host, HostEvent, HostOptions, Innerspace, Link, Remote, SecretSource, SenderIdentity, SyncOptions,
    SyncSagaCoordinator, identity,
};
use ibgib_respec::rigs::Rig;
use ibgib_saga::wire::message::TurnRequest;
use ibgib_saga::{
    Action, Asked, Encoding, Envelope, Failure, Fingerprint, Limits, Measure, Message, MsgType, Packet, Peek,
    SagaError, Stage, Turn, TurnLink,
};
use ibgib_scenarios::faults::{Faults, Simulated};
use ibgib_scenarios::play::{self, Play, Side, data};
use ibgib_server::{ServeOptions, Server};
use ibgib_spaces::settle::admit;
use ibgib_spaces::store::{Batch, Head, Nodes, Records, Scanned, Store, Tips, View, Written};
use ibgib_spaces::{Commit, Kind, MemorySpace, Space, SpaceError, Tip, fsck};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Packets = Arc<Mutex<Vec<Packet>>>;

/// Keeps what the sender sends.
fn wiretap(inner: Arc<dyn Remote>, sent: Packets) -> Simulated {
    let hands = move |Link { tx, rx, signs }: Link| {
        let (ours, mut theirs) = tokio::sync::mpsc::channel::<Packet>(16);
        let sent = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Some(packet) = theirs.recv().await {
                sent.lock().unwrap().push(packet.clone());
                if tx.send(packet).await.is_err() {
                    return;
                }
            }
        });
        Link { tx: ours, rx, signs }
    };
    Simulated::between(inner, hands)
}

/// The refusal that ends a link.
async fn refusal(mut link: Link) -> (MsgType, String) {
    while let Some(packet) = link.rx.recv().await {
        if let Packet::Text(text) = packet {
            let message = Envelope::parse(&text).unwrap().open().unwrap();
            if let Message::AuthFail(Failure { code, .. }) | Message::SyncError(Failure { code, .. }) = &message {
                assert_eq!(link.rx.recv().await, None, "a refusal is the last word");
                return (message.kind(), code.clone());
            }
        }
    }
    (MsgType::Bye, "closed".into())
}

async fn played() -> (Rig, Play) {
    let rig = Rig::websocket("hostile").await.unwrap();
    let mut play = Play::new(rig.scene.clone());
    play.make_identity("a secret of the hostile tests", None).await.unwrap();
    play.make(Side::Source, "alpha", data([("title", "first".into())])).await.unwrap();
    (rig, play)
}

async fn still_serves(play: &mut Play) {
    play.edit(Side::Source, "alpha", data([("title", "after all that".into())])).await.unwrap();
    play.sync().await.unwrap();
    play.check_end().await.unwrap();
    for check in &play.checks {
        assert!(check.passed, "{}: {}", check.sentence, check.evidence);
    }
    assert!(fsck(&*play.scene.dest).await.unwrap().is_clean());
}

fn options(play: &Play) -> SyncOptions {
    SyncOptions { identity: play.identity.clone(), ..SyncOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_oversized_messages_end_the_connection_only() {
    let (rig, mut play) = played().await;
    let before = play.scene.dest.count().await.unwrap();
    let hello = Envelope::new(MsgType::Hello, [("versions", ibgib::strings(["another.protocol"]))]).packet();
    let big = |n: usize| Packet::Text("x".repeat(n));
    for (packet, expected) in [
        (Packet::Text("garbage".into()), "bad_message"),
        (Packet::Text("{\"type\":\"nonsense\"}".into()), "bad_message"),
        (Packet::Text(format!("{}{}", "[".repeat(50_000), "]".repeat(10))), "bad_message"),
        (Packet::Binary(vec![1, 2, 3]), "out_of_turn"),
        (Envelope::new(MsgType::Peek, []).packet(), "out_of_turn"),
        (Envelope::new(MsgType::SyncFrameRequest, []).packet(), "out_of_turn"),
        (hello, "incompatible"),
        (big(65 * 1024), "limit"),
    ] {
        let link = play.scene.remote.open().await.unwrap();
        link.tx.send(packet).await.unwrap();
        assert_eq!(refusal(link).await, (MsgType::AuthFail, expected.to_owned()));
    }
    // Above the socket's own limit nobody reads on to answer.
    let link = play.scene.remote.open().await.unwrap();
    let _ = link.tx.send(big(100 * 1024 * 1024)).await;
    assert_eq!(refusal(link).await.1, "closed");
    assert_eq!(play.scene.dest.count().await.unwrap(), before);
    still_serves(&mut play).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_connect_proof_and_a_replayed_saga_are_refused() {
    let (rig, mut play) = played().await;
    let sent: Packets = Arc::default();
    let tapped = Arc::new(wiretap(Arc::clone(&play.scene.remote), Arc::clone(&sent)));
    let coordinator = SyncSagaCoordinator::new(Arc::clone(&play.scene.source));
    coordinator.sync(tapped, options(&play)).done().await.unwrap();
    let sent = std::mem::take(&mut *sent.lock().unwrap());
    assert!(sent.len() > 3);

    let count = play.scene.dest.count().await.unwrap();
    let link = play.scene.remote.open().await.unwrap();
    for packet in sent {
        // Refused on the way, so not all of it may leave.
        let _ = link.tx.send(packet).await;
    }
    let (kind, code) = refusal(link).await;
    assert_eq!(kind, MsgType::AuthFail, "{code}");
    assert_eq!(play.scene.dest.count().await.unwrap(), count);
    still_serves(&mut play).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sender_says_comes_back_and_proves_nothing() {
    let (rig, mut play) = played().await;
    // Whatever the sender says is said to it: from its first word on, and once it was challenged.
    for from in [0, 1] {
        let hands = move |Link { tx, mut rx, .. }: Link| {
            let (ours, mut theirs) = Link::pair();
            tokio::spawn(async move {
                for _ in 0..from {
                    let (Some(said), answer) = (theirs.rx.recv().await, &mut rx) else { return };
                    let _ = tx.send(said).await;
                    let Some(answer) = answer.recv().await else { return };
                    let _ = theirs.tx.send(answer).await;
                }
                while let Some(said) = theirs.rx.recv().await {
                    if theirs.tx.send(said).await.is_err() {
                        return;
                    }
                }
            });
            ours
        };
        let mirror = Arc::new(Simulated::between(Arc::clone(&play.scene.remote), hands));
        let before = play.scene.source.tips(Some(Kind::Living)).await.unwrap();
        let coordinator = SyncSagaCoordinator::new(Arc::clone(&play.scene.source));
        let error = coordinator.sync(mirror, options(&play)).done().await.unwrap_err();
        assert_eq!(error.code(), "out_of_turn", "{error}");
        assert_eq!(play.scene.source.tips(Some(Kind::Living)).await.unwrap(), before);
    }
    still_serves(&mut play).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identitys_session_cannot_be_used() {
    let (rig, mut play) = played().await;
    let mut theirs = play.new_peer();
    theirs.establish_session_identity().await.unwrap();
    let s = theirs.session().unwrap().chain().clone();

    // Mallory has an identity of his own and names the other's session, which he has seen go by.
    let link = play.scene.remote.open().await.unwrap();
    let hello = |session: Value| {
        let versions = ibgib::strings([ibgib_saga::SUBPROTOCOL]);
        Envelope::new(MsgType::Hello, [("session", session), ("versions", versions)]).packet()
    };
    link.tx.send(hello(s.tip().addr().into())).await.unwrap();
    let mut link = link;
    let Some(Packet::Text(challenge)) = link.rx.recv().await else { panic!("no challenge") };
    let Message::ConnectChallenge(challenge) = Envelope::parse(&challenge).unwrap().open().unwrap() else {
        panic!("{challenge}")
    };
    let claim = Claim { verb: "connect".into(), target: challenge.challenge_uuid, ..Claim::default() };
    let mallory = Secret::new(b"another secret".to_vec());
    let pools = config::session_pools(&config::random_salts(&mut OsEntropy));
    let own = ibgib_keystone::genesis(&mallory, &pools, None, now_ms(), &mut OsEntropy).unwrap();
    let signed = ibgib_keystone::sign(&own.chain, &mallory, &claim, SignOpts::default(), now_ms(), &mut OsEntropy);
    let proof = match signed {
        Ok(signed) => signed.frame,
        // The connect pool solves only what is demanded: his genesis is all he can offer.
        Err(_) => own.frame,
    };
    link.tx.send(Message::ConnectProof(proof).packet()).await.unwrap();
    let (kind, _) = refusal(link).await;
    assert_eq!(kind, MsgType::AuthFail);

    // A session that nobody introduced is unknown.
    let link = play.scene.remote.open().await.unwrap();
    link.tx.send(hello(own.chain.tip().addr().into())).await.unwrap();
    assert_eq!(refusal(link).await.0, MsgType::AuthFail);
    // Nor does a server talk to nobody.
    let link = play.scene.remote.open().await.unwrap();
    link.tx.send(hello(Value::Null)).await.unwrap();
    assert_eq!(refusal(link).await.0, MsgType::AuthFail);
    still_serves(&mut play).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_cut_lines_and_repeated_messages_never_apply_half_a_saga() {
    let (rig, mut play) = played().await;
    let mut refused = 0;
    for seed in 1..=40 {
        play.edit(Side::Source, "alpha", data([("title", u32::try_from(seed).unwrap().into())])).await.unwrap();
        play.make(Side::Source, "beta", data([("seed", "x".repeat(3_000).into())])).await.unwrap();
        let kind = seed % 3;
        let one_in = |k: u64| if kind == k { 4 } else { 0 };
        let faults = Faults {
            seed,
            delay_ms_max: 0,
            cut_one_in: one_in(0),
            drop_one_in: 0,
            corrupt_one_in: one_in(1),
            repeat_one_in: one_in(2),
        };
        let remote = Arc::new(Simulated::new(Arc::clone(&play.scene.remote), faults));
        let coordinator = SyncSagaCoordinator::new(Arc::clone(&play.scene.source));
        if coordinator.sync(remote, options(&play)).done().await.is_err() {
            refused += 1;
        }
        for space in [&play.scene.source, &play.scene.dest] {
            assert!(fsck(&**space).await.unwrap().is_clean(), "seed {seed}");
        }
    }
    assert!(refused > 5, "the faults did something");
    let done = SyncSagaCoordinator::new(Arc::clone(&play.scene.source));
    done.sync(Arc::clone(&play.scene.remote), options(&play)).done().await.unwrap();
    let living = Some(Kind::Living);
    assert_eq!(play.scene.source.tips(living).await.unwrap(), play.scene.dest.tips(living).await.unwrap());
    still_serves(&mut play).await;
    rig.close().await;
}

/// A space that passes an identity off as data.
#[derive(Debug)]
struct Disguised {
    inner: Arc<dyn Space>,
    keystone: Tip,
}

#[async_trait]
impl Store for Disguised {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        Ok(Box::new(DisguisedView { inner: self.inner.view().await?, keystone: &self.keystone }))
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.inner.write(batch).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.inner.stage(owner, nodes).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.inner.unstage(owner).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.inner.lease(name, holder, time).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.inner.give_up(name, holder).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.inner.changed(since).await
    }
}

struct DisguisedView<'a> {
    inner: Box<dyn View + 'a>,
    keystone: &'a Tip,
}

#[async_trait]
impl View for DisguisedView<'_> {
    async fn head(&self) -> Result<Head, SpaceError> {
        self.inner.head().await
    }
    async fn nodes(&self, which: Nodes<'_>) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        self.inner.nodes(which).await
    }
    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        self.inner.has(addrs).await
    }
    async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        self.inner.staged(owner).await
    }
    async fn tips(&self, which: Tips<'_>) -> Result<Vec<Tip>, SpaceError> {
        let mut tips = self.inner.tips(which).await?;
        if matches!(which, Tips::Kind(Some(Kind::Living))) {
            tips.push(self.keystone.clone());
        }
        Ok(tips)
    }
    async fn records(&self, which: Records<'_>) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        self.inner.records(which).await
    }
    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        self.inner.scan(after, limit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keystone_frames_in_the_payload_are_refused() {
    let (rig, mut play) = played().await;
    let other = identity::create(&*play.scene.source, &Secret::new(b"somebody else's".to_vec())).await.unwrap();
    let keystone = play.scene.source.tip(other.tjp()).await.unwrap().unwrap();
    let evil: Arc<dyn Space> = Arc::new(Disguised { inner: Arc::clone(&play.scene.source), keystone });
    let done = SyncSagaCoordinator::new(evil).sync(Arc::clone(&play.scene.remote), options(&play)).done().await;
    let there = play.scene.dest.has(std::slice::from_ref(other.tjp())).await.unwrap();
    assert_eq!(there, [false], "{done:?}");
    assert!(fsck(&*play.scene.dest).await.unwrap().is_clean());
    still_serves(&mut play).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_and_forked_identities_are_told_apart() {
    let (rig, mut play) = played().await;
    play.sync().await.unwrap();
    let sender = play.identity.clone().unwrap();
    let chain = identity::load_chain(&*play.scene.source, &sender.tjp).await.unwrap().unwrap();
    let frames = identity::frames(&*play.scene.source, &sender.tjp).await.unwrap().unwrap();
    // The same body twice changes nothing.
    play.scene.remote.post_evolution(&sender.tjp, &frames[1..], None).await.unwrap();

    // A copy of the device as it was before signs on the same frame.
    let (mut old, _) = ibgib_keystone::Chain::replay(frames[..1].to_vec()).unwrap();
    let secret = sender.secret.read().unwrap();
    let claim = Claim { verb: "sync".into(), target: "something^else".into(), ..Claim::default() };
    // What anybody could have made who saw the real frame is refused, and proves nothing against the identity.
    let mut reaimed = (*frames[1]).clone();
    let stamped = reaimed.data.as_mut().and_then(Value::as_object_mut).unwrap();
    stamped.insert("timestamp", "Thu, 01 Jan 2026 00:00:00 GMT");
    let reaimed = reaimed.seal().unwrap();
    let error = play.scene.remote.post_evolution(&sender.tjp, &[reaimed], None).await.unwrap_err();
    assert_eq!(error.code(), "identity_invalid");
    assert_eq!(identity::evidence(&*play.scene.dest, &sender.tjp).await.unwrap(), []);

    let mut other: Vec<Verified<IbGib>> = Vec::new();
    while other.len() < 2 {
        let need = need(&old, "sync", &[]).unwrap().unwrap();
        let mut reserved = Reserved::open(need.tree, 0);
        reserved.stored(need.from + 1);
        let opts = SignOpts { leaf: Some(reserved.take(need.from).unwrap()), ..SignOpts::default() };
        let signed = ibgib_keystone::sign(&old, &secret, &claim, opts, now_ms(), &mut OsEntropy).unwrap();
        other.push(signed.frame.clone());
        old = signed.chain;
    }
    // Its second frame alone leads nowhere that the server knows: stale, with the tip to go on from.
    let error = play.scene.remote.post_evolution(&sender.tjp, &other[1..], None).await.unwrap_err();
    assert_eq!(error.code(), "identity_stale");
    assert!(error.to_string().contains(chain.tip().addr().as_str()), "{error}");
    // Its first one shows two frames on one past.
    let error = play.scene.remote.post_evolution(&sender.tjp, &other[..1], None).await.unwrap_err();
    assert_eq!(error.code(), "identity_forked");
    let evidence = identity::evidence(&*play.scene.dest, &sender.tjp).await.unwrap();
    let shown: HashSet<&Addr> = evidence.iter().map(|e| &e.frame).collect();
    assert_eq!(shown, HashSet::from([other[0].addr(), frames[1].addr()]));
    assert_eq!(play.scene.dest.tip(&sender.tjp).await.unwrap().unwrap().addr, *chain.tip().addr());
    let error = play.sync().await.unwrap_err();
    assert!(error.to_string().contains("two"), "{error}");
    rig.close().await;
}

/// The frames of `hash-reveal-v1` bind nothing: a second one may be anybody's who saw the first, and so may the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_binds_nothing_marks_nobody_as_forked() {
    let rig = Rig::websocket("hash-reveal").await.unwrap();
    let mut play = Play::new(rig.scene.clone());
    let pools = config::identity_pools(&config::random_salts(&mut OsEntropy));
    play.make_identity("a secret of the hostile tests", Some(&pools)).await.unwrap();
    play.make(Side::Source, "alpha", data([("title", "first".into())])).await.unwrap();
    play.sync().await.unwrap();
    let sender = play.identity.clone().unwrap();
    let frames = identity::frames(&*play.scene.source, &sender.tjp).await.unwrap().unwrap();
    let old = ibgib_keystone::Chain::replay(frames[..1].to_vec()).unwrap().0;
    let claim = Claim { verb: "sync".into(), target: "something^else".into(), ..Claim::default() };
    let secret = sender.secret.read().unwrap();
    let other = ibgib_keystone::sign(&old, &secret, &claim, SignOpts::default(), now_ms(), &mut OsEntropy).unwrap();
    let error = play.scene.remote.post_evolution(&sender.tjp, &[other.frame], None).await.unwrap_err();
    assert_eq!(error.code(), "identity_stale");
    assert_eq!(identity::evidence(&*play.scene.dest, &sender.tjp).await.unwrap(), []);
    still_serves(&mut play).await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_noticed_before_anything_is_sent() {
    let (rig, play) = played().await;
    let tjp = play.identity.as_ref().unwrap().tjp.clone();
    let secret = SecretSource::new(|| Ok(Secret::new(b"not the secret".to_vec())));
    let identity = Some(SenderIdentity { tjp: tjp.clone(), secret });
    let coordinator = SyncSagaCoordinator::new(Arc::clone(&play.scene.source));
    let done = coordinator.sync(Arc::clone(&play.scene.remote), SyncOptions { identity, ..options(&play) });
    assert_eq!(done.done().await.unwrap_err().code(), "identity_wrong_secret");
    assert_eq!(play.scene.source.tip(&tjp).await.unwrap().unwrap().n, Some(0));
    let unknown: Arc<dyn Space> = Arc::new(MemorySpace::new("empty"));
    let done = SyncSagaCoordinator::new(unknown).sync(Arc::clone(&play.scene.remote), options(&play)).done().await;
    assert_eq!(done.unwrap_err().code(), "identity_unknown");
    rig.close().await;
}

fn assert_is_error(text: &str) {
    let error = Value::parse(text, Mode::Strict).unwrap_or_else(|e| panic!("{e}: {text}"));
    let error = error.get("error").unwrap_or_else(|| panic!("{text}"));
    let has = |name: &str| error.get(name).and_then(Value::as_str).is_some_and(|t| !t.is_empty());
    assert!(has("code") && has("message"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_api_answers_bad_requests_with_fitting_statuses() {
    let rig = Rig::websocket("http").await.unwrap();
    let url = rig.url().unwrap();
    // A connection for each: the server ends one whose body it refused, which the next request on it could not know yet.
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let wrong = format!("{{\"ib\":\"keystone\",\"gib\":\"{}\",\"data\":{{\"n\":0}}}}", "A".repeat(64));
    let big = "x".repeat(2 * 1024 * 1024);
    let nobody = format!("{url}/api/v1/keystones/keystone%5E{}/frames", "A".repeat(64));
    let posts: [(&str, &str, u16); 7] = [
        ("/api/v1/keystones", "garbage", 400),
        ("/api/v1/keystones", "{\"ib\":\"x\",\"ib\":\"y\"}", 400),
        ("/api/v1/keystones", &wrong, 422),
        ("/api/v1/keystones", "{\"ib\":\"keystone\",\"gib\":\"gib\"}", 422),
        ("/api/v1/keystones", &big, 413),
        ("/api/v1/keystones/nonsense/frames", "{\"frames\":[]}", 400),
        ("/api/v1/health", "", 405),
    ];
    for (path, body, status) in posts {
        let answer = client.post(format!("{url}{path}")).body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {}", &body[..body.len().min(40)]);
        let text = answer.text().await.unwrap();
        assert_is_error(&text);
    }
    let answer = client.post(nobody).body("{\"frames\":[]}").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 404);
    for (path, status) in [
        ("/nothing", 404),
        ("/api/v1/ibgibs/nonsense", 400),
        (&format!("/api/v1/ibgibs/x%5E{}", "A".repeat(64)), 404),
        (&format!("/api/v1/ibgibs/x%5E{}?getGraph=true", "A".repeat(64)), 404),
        ("/api/v1/tips", 400),
        ("/api/v1/ibgibs/%ff", 400),
        ("/api/v1/sync", 400),
        ("/api/v1/health", 200),
        ("/metrics", 200),
    ] {
        let answer = client.get(format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        if status != 200 {
            assert_is_error(&answer.text().await.unwrap());
        }
    }
    let upgrade = |origin: &'static str| {
        client
            .get(format!("{url}/api/v1/sync"))
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("origin", origin)
            .send()
    };
    assert_eq!(upgrade("http://evil.example").await.unwrap().status().as_u16(), 403);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_answers_the_newest_frame_or_what_is_wrong_with_the_genesis() {
    let (rig, mut play) = played().await;
    play.sync().await.unwrap();
    let tjp = play.identity.as_ref().unwrap().tjp.clone();
    let genesis = play.scene.source.node(&tjp).await.unwrap().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |body: String| {
        let answer = client.post(format!("{}/api/v1/keystones", rig.url().unwrap())).body(body).send().await.unwrap();
        (answer.status().as_u16(), Value::parse(&answer.text().await.unwrap(), Mode::Strict).unwrap())
    };
    let (status, answer) = post(genesis.to_json()).await;
    let tip = play.scene.dest.tip(&tjp).await.unwrap().unwrap().addr;
    assert_ne!(tip, tjp);
    assert_eq!((status, answer.get("tip").and_then(Value::as_str)), (201, Some(tip.as_str())), "{answer}");

    let mut dangling = (*genesis).clone();
    dangling.gib = None;
    let Some(Value::Object(data)) = &mut dangling.data else { panic!("{dangling:?}") };
    data.insert("uuid", "another");
    let nowhere = format!("note^{}", "A".repeat(64));
    let rel8ns = dangling.rel8ns.get_or_insert_with(|| Value::Object(ibgib::Map::new()));
    let Value::Object(rel8ns) = rel8ns else { panic!("{rel8ns}") };
    rel8ns.insert("seen", ibgib::strings([nowhere.as_str()]));
    let (status, answer) = post(dangling.seal().unwrap().to_json()).await;
    assert_eq!(status, 422, "{answer}");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_saga_staged_expires() {
    let dest: Arc<dyn Space> = Arc::new(MemorySpace::new("dest"));
    let host = Host::new(Arc::clone(&dest), HostOptions::default());
    let remote: Arc<dyn Remote> = Arc::new(Innerspace::new(Arc::clone(&host)));
    let mut play = Play::new(play::Scene {
        source: Arc::new(MemorySpace::new("source")),
        dest: Arc::clone(&dest),
        remote: Arc::clone(&remote),
        with_identity: true,
        seed: "staging".into(),
        limits: Limits::default(),
    });
    play.make_identity("a secret of the staging test", None).await.unwrap();
    let owner = format!("push/{}", play.identity.as_ref().unwrap().tjp);
    play.make(Side::Source, "note", data([("text", "".into())])).await.unwrap();
    let mut seed = 0;
    // Lines that are cut at random: one of them after nodes were staged.
    while dest.staged_addrs(&owner).await.unwrap().is_empty() {
        seed += 1;
        let text = format!("{seed}{}", "x".repeat(400_000));
        play.edit(Side::Source, "note", data([("text", text.into())])).await.unwrap();
        let faults = Faults { seed, cut_one_in: 5, ..Faults::default() };
        let cut = Arc::new(Simulated::new(Arc::clone(&remote), faults));
        let _ = SyncSagaCoordinator::new(Arc::clone(&play.scene.source)).sync(cut, options(&play)).done().await;
        assert!(seed < 200, "no line was cut where it matters");
    }
    let day = 24 * 3_600_000;
    assert_eq!(host.expire_staging(now_ms(), day).await.unwrap(), 0, "it is not a day old");
    assert!(!dest.staged_addrs(&owner).await.unwrap().is_empty());
    assert_eq!(host.expire_staging(now_ms() + day, day).await.unwrap(), 1);
    assert!(dest.staged_addrs(&owner).await.unwrap().is_empty());
    assert_eq!(host.expire_staging(now_ms() + 2 * day, day).await.unwrap(), 0);
    // What a finished saga leaves staged (here nothing) expires the same way.
    play.sync().await.unwrap();
    let swept = async {
        // The connection may take a moment to end.
        while !dest.records("staging/").await.unwrap().is_empty() {
            assert_eq!(host.expire_staging(now_ms() + day, day).await.unwrap(), 0);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), swept).await.unwrap();
}

/// Nothing may depend on an identity, which never travels as data. By the relation `identity` nothing depends on it, and it
/// need not be there.
#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_depends_on_an_identity_fails_alone() {
    let (rig, mut play) = played().await;
    let other = identity::create(&*play.scene.source, &Secret::new(b"somebody else's".to_vec())).await.unwrap();
    let related = |ib: &str, relation: &str, keystone: &Addr| {
        let start = ForkOpts::timeline(ib);
        let moment = Moment { now_ms: now_ms(), random: random() };
        let first = transform::fork(&IbGib::primitive("note").unwrap(), &start, &moment).unwrap();
        let add = vec![(relation.to_owned(), vec![keystone.clone()])];
        let opts = Rel8Opts { add, dna: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
        let next = transform::rel8(&first.frame, &opts, &moment).unwrap();
        (first.frame.addr().clone(), [first.nodes(), next.nodes()].concat())
    };
    let (refused, nodes) = related("refused", "signer", other.tjp());
    admit(&*play.scene.source, &nodes).await.unwrap();
    let (fine, nodes) = related("fine", "identity", other.tjp());
    admit(&*play.scene.source, &nodes).await.unwrap();

    let coordinator = SyncSagaCoordinator::new(Arc::clone(&play.scene.source));
    let synced = coordinator.sync(Arc::clone(&play.scene.remote), options(&play)).done().await.unwrap();
    let of = |tjp: &Addr| synced.summary.timelines.iter().find(|t| t.tjp == *tjp).unwrap();
    assert_eq!((of(&refused).action, of(&fine).action), (Action::Refused, Action::Pushed));
    let why = of(&refused).why.clone().unwrap();
    assert!(why.contains(other.tjp().as_str()) && why.contains("does not travel"), "{why}");
    // Of a refused timeline nothing is there.
    assert_eq!(play.scene.dest.has(&[refused, fine.clone()]).await.unwrap(), [false, true]);

    // Another space, which does not know that identity either, gets what names it as its maker.
    let empty: Arc<dyn Space> = Arc::new(MemorySpace::new("empty"));
    let me = identity::create(&*empty, &Secret::new(b"a third one".to_vec())).await.unwrap();
    let secret = SecretSource::new(|| Ok(Secret::new(b"a third one".to_vec())));
    let identity = Some(SenderIdentity { tjp: me.tjp().clone(), secret });
    let coordinator = SyncSagaCoordinator::new(Arc::clone(&empty));
    let pulled = coordinator.sync(Arc::clone(&play.scene.remote), SyncOptions { identity, ..options(&play) });
    let pulled = pulled.done().await.unwrap().summary;
    let action = |tjp: &Addr| pulled.timelines.iter().find(|t| t.tjp == *tjp).unwrap().action;
    assert_eq!(action(&fine), Action::Pulled);
    still_serves(&mut play).await;
    rig.close().await;
}

/// A turn of nobody in particular.
fn request(turn: Turn) -> Message {
    Message::SyncFrameRequest(Box::new(TurnRequest { turn, signed: None }))
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_never_ends_its_saga_is_cut() {
    let limits = Limits { saga_ms_max: 5_000, ..Limits::default() };
    let options = HostOptions { limits: limits.clone(), allow_anonymous: true, ..HostOptions::default() };
    let remote = Innerspace::new(Host::new(Arc::new(MemorySpace::new("slow")), options));
    let mut link = remote.open().await.unwrap();
    let versions = ibgib::strings([ibgib_saga::SUBPROTOCOL]);
    link.tx.send(Envelope::new(MsgType::Hello, [("versions", versions)]).packet()).await.unwrap();
    link.rx.recv().await.unwrap();
    // An empty list of lines and a payload that never comes.
    let announced = |count| Measure { count, digest: "00".repeat(32) };
    let stage = Stage::Init(Asked { commit: true, adopt: false });
    let start = TurnLink { saga_id: "slow", session: None, before: None };
    let turn = Turn::build(start, stage, announced(0), announced(1), 0);
    link.tx.send(request(turn).packet()).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(refusal(link).await, (MsgType::SyncError, "timeout".to_owned()));
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    assert!((limits.saga_ms_max..limits.idle_ms_max).contains(&took), "{took} ms of virtual time");
}

/// Where a peer that only says that it is at work has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Come {
    /// It has not said who it is.
    Nowhere,
    /// It was told that all is equal: there is nothing to do.
    Between,
    /// It was told that not all is equal, and has to find out what is not.
    Planning,
    /// It has begun a saga.
    Saga,
}

/// After how many milliseconds a host lets a peer go that has come so far and then says no more, or that it is at work,
/// far more often than it has to.
async fn let_go(come: Come, at_work: bool) -> u64 {
    let limits = Limits { idle_ms_max: 2_000, saga_ms_max: 50_000, ..Limits::default() };
    let options = HostOptions { limits, allow_anonymous: true, ..HostOptions::default() };
    let host = Host::new(Arc::new(MemorySpace::new("at work")), options);
    let mut events = host.events();
    let mut link = Innerspace::new(host).open().await.unwrap();
    let nothing = Fingerprint::of([]).whole;
    let peek = |print: String| Message::Peek(Peek::Equal(print, None, 0));
    let announced = |count| Measure { count, digest: "00".repeat(32) };
    let start = TurnLink { saga_id: "slow", session: None, before: None };
    let stage = Stage::Init(Asked { commit: true, adopt: false });
    let turn = Turn::build(start, stage, announced(0), announced(1), 0);
    let said = match come {
        Come::Nowhere => vec![],
        Come::Between => vec![hello_of_nobody().packet(), peek(nothing).packet()],
        Come::Planning => vec![hello_of_nobody().packet(), peek("00".repeat(16)).packet()],
        Come::Saga => vec![hello_of_nobody().packet(), request(turn).packet()],
    };
    for packet in said {
        let is_answered = !matches!(&packet, Packet::Text(text) if text.contains("sync_frame"));
        link.tx.send(packet).await.unwrap();
        if is_answered {
            link.rx.recv().await.unwrap();
        }
    }
    let began = tokio::time::Instant::now();
    while at_work && !link.tx.is_closed() {
        link.signs.give();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(closed(&mut events).await, Some(SagaError::TimedOut));
    u64::try_from(began.elapsed().as_millis()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn that_a_peer_is_at_work_counts_only_while_there_is_something_to_do_and_never_for_ever() {
    let patience = Limits::default().handshake_ms_max;
    for come in [Come::Nowhere, Come::Between, Come::Planning, Come::Saga] {
        let silent = if come == Come::Nowhere { patience } else { 2_000 };
        let at_work = if matches!(come, Come::Planning | Come::Saga) { 50_000 } else { silent };
        for (says, expected) in [(false, silent), (true, at_work)] {
            let took = let_go(come, says).await;
            assert!((expected - 100..expected + 100).contains(&took), "{come:?}, {says}: {took} ms of virtual time");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_hold_no_place_between_sagas() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let limits = Limits { idle_ms_max: 500, ..Limits::default() };
    let (server, mut events) = open_server(Arc::new(MemorySpace::new("pings")), limits, ServeOptions::default()).await;
    let mut stream = raw_socket(&server.url()).await;
    let Packet::Text(peek) = Message::Peek(Peek::Equal(Fingerprint::of([]).whole, None, 0)).packet() else {
        panic!("no text")
    };
    stream.write_all(&text_frame(hello_of_nobody())).await.unwrap();
    stream.write_all(&text_frame(Envelope::parse(&peek).unwrap())).await.unwrap();
    let (mut incoming, mut outgoing) = stream.into_split();
    let pings = async {
        // Nobody counts them, and nobody keeps them.
        while outgoing.write_all(&[0x89, 0x80, 0, 0, 0, 0].repeat(100)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody takes them");
    };
    let reads = async {
        let mut sink = [0; 1024];
        while incoming.read(&mut sink).await.is_ok_and(|n| n > 0) {}
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(Duration::from_secs(60), closed(&mut events)) => ended,
        () = pings => unreachable!(),
        () = reads => unreachable!(),
    };
    assert_eq!(ended.expect("it was never ended"), Some(SagaError::TimedOut));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_saga_are_told_by_name() {
    let (rig, play) = played().await;
    let limits = Limits { message_bytes_max: 512, ..Limits::default() };
    let done = SyncSagaCoordinator::new(Arc::clone(&play.scene.source))
        .sync(Arc::clone(&play.scene.remote), SyncOptions { limits, ..options(&play) })
        .done()
        .await;
    assert_eq!(done.unwrap_err().code(), "limit");
    rig.close().await;
}

/// A WebSocket written by hand, so that nothing reads unless the test does.
async fn raw_socket(url: &str) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let authority = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
    let head = format!(
        "GET /api/v1/sync HTTP/1.1\r\nhost: {authority}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: {}\r\n\r\n",
        ibgib_saga::SUBPROTOCOL
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// A text frame whose mask changes nothing (RFC 6455 §5.2).
fn text_frame(message: Envelope) -> Vec<u8> {
    let Packet::Text(text) = message.packet() else { panic!("no text") };
    let length = u16::try_from(text.len()).unwrap();
    let mut frame = vec![0x81];
    match u8::try_from(length) {
        Ok(short @ ..126) => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.bytes());
    frame
}

/// A server without identities, and what happens at it.
async fn open_server(
    space: Arc<dyn Space>,
    limits: Limits,
    options: ServeOptions,
) -> (Server, tokio::sync::broadcast::Receiver<HostEvent>) {
    let host = Host::new(space, HostOptions { limits, allow_anonymous: true, ..HostOptions::default() });
    let events = host.events();
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    (Server::start(host, ServeOptions { listen, ..options }).await.unwrap(), events)
}

fn hello_of_nobody() -> Envelope {
    Envelope::new(MsgType::Hello, [("versions", ibgib::strings([Encoding::Lines.subprotocol()]))])
}

async fn closed(events: &mut tokio::sync::broadcast::Receiver<HostEvent>) -> Option<SagaError> {
    loop {
        match events.recv().await {
            Ok(HostEvent::Closed(_, error)) => return error,
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_asks_much_and_never_reads_holds_nothing_for_long() {
    use tokio::io::AsyncWriteExt as _;
    let guard = Duration::from_secs(30);
    let leaves: Vec<Verified<IbGib>> = (0..3_000)
        .map(|i| {
            let data = Some(ibgib::object([("i", Value::Number(f64::from(i)))]));
            IbGib { ib: "leaf".into(), data, ..IbGib::default() }.seal().unwrap()
        })
        .collect();
    let all = Value::Array(leaves.iter().map(|l| l.addr().into()).collect());
    let rel8ns = Some(ibgib::object([("leaf", all)]));
    let root = IbGib { ib: "root".into(), rel8ns, ..IbGib::default() }.seal().unwrap();
    let peek = || {
        let item = Value::Array(vec![root.addr().into(), Value::Null]);
        text_frame(Envelope::new(MsgType::Peek, [("list", Value::Array(vec![item]))]))
    };
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("much"));
    let nodes = leaves.iter().chain([&root]).cloned().collect();
    space.commit(Commit { nodes, ..Commit::default() }).await.unwrap();

    for closes in [true, false] {
        // The answer to one of these is more than a hundred messages.
        let limits = Limits { message_bytes_max: 4 * 1024, ..Limits::default() };
        let options = ServeOptions { shutdown_ms_max: 600_000, ..ServeOptions::default() };
        let (server, mut events) = open_server(Arc::clone(&space), limits, options).await;
        let mut stream = raw_socket(&server.url()).await;
        stream.write_all(&text_frame(hello_of_nobody())).await.unwrap();
        let questions = peek().repeat(64);
        // Until nothing moves any more.
        let still = Duration::from_millis(500);
        while let Ok(written) = tokio::time::timeout(still, stream.write_all(&questions)).await {
            written.unwrap();
        }
        let stream = if closes {
            drop(stream);
            assert_eq!(tokio::time::timeout(guard, closed(&mut events)).await.unwrap(), Some(SagaError::Cut));
            None
        } else {
            Some(stream)
        };
        tokio::time::timeout(guard, server.shutdown()).await.expect("the shutdown waits for the peer");
        if stream.is_some() {
            let error = tokio::time::timeout(guard, closed(&mut events)).await.unwrap().unwrap();
            assert_eq!(error.code(), "shutdown");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_takes_no_answers_is_given_up() {
    let limits = Limits { message_bytes_max: 1_024, ..Limits::default() };
    let options = HostOptions { limits: limits.clone(), allow_anonymous: true, ..HostOptions::default() };
    let host = Host::new(Arc::new(MemorySpace::new("stuck")), options);
    let mut events = host.events();
    let link = Innerspace::new(host).open().await.unwrap();
    link.tx.send(hello_of_nobody().packet()).await.unwrap();
    // Every one is answered with one message; nobody takes them.
    while link.tx.send(Envelope::new(MsgType::Peek, [("has", Value::Array(vec![]))]).packet()).await.is_ok() {}
    assert_eq!(closed(&mut events).await, Some(SagaError::TimedOut));
}

async fn get_text(url: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_cannot_name_series_of_the_metrics() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let space = Arc::new(MemorySpace::new("metrics"));
    let (server, mut events) = open_server(space, Limits::default(), ServeOptions::default()).await;
    let metrics = format!("{}/metrics", server.url());
    assert!(get_text(&metrics).await.contains("ibgib_connections 0\n"));
    let mut stream = raw_socket(&server.url()).await;
    assert!(get_text(&metrics).await.contains("ibgib_connections 1\n"));
    let refusal = [("code", "a-code-of-my-own".into()), ("message", "no".into())];
    stream.write_all(&text_frame(Envelope::new(MsgType::SyncError, refusal))).await.unwrap();
    let error = closed(&mut events).await.unwrap();
    assert_eq!(error.code(), "a-code-of-my-own");
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    // The server counts it once it has heard of it.
    let counted = async {
        loop {
            let text = get_text(&metrics).await;
            if text.contains("ibgib_failures_total{") && text.contains("ibgib_connections 0\n") {
                break text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(120), counted).await.expect("the failure is counted");
    assert!(text.contains("ibgib_failures_total{code=\"peer_refused\"} 1\n"), "{text}");
    assert!(!text.contains("a-code-of-my-own"), "{text}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_and_too_many_connections_are_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let guard = Duration::from_secs(30);
    let options = ServeOptions { http_connections_max: 1, body_ms_max: 300, ..ServeOptions::default() };
    let space = Arc::new(MemorySpace::new("slow bodies"));
    let (server, _) = open_server(space, Limits::default(), options).await;
    let authority = server.url().strip_prefix("http://").unwrap().to_owned();
    let connect = || tokio::net::TcpStream::connect(&authority);
    let mut slow = connect().await.unwrap();
    let head = format!("POST /api/v1/keystones HTTP/1.1\r\nhost: {authority}\r\ncontent-length: 9\r\n\r\n{{\"ib");
    slow.write_all(head.as_bytes()).await.unwrap();
    // The second one is closed without a word.
    let mut second = connect().await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(guard, second.read_to_string(&mut answer)).await.expect("it is not closed");
    assert_eq!((read.unwrap_or(0), answer.as_str()), (0, ""));
    tokio::time::timeout(guard, slow.read_to_string(&mut answer)).await.expect("no limit").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_is_error(body.trim_end());
    drop(slow);
    // The place is free again, a moment later.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let health = format!("{}/api/v1/health", server.url());
    let again = async { while client.get(&health).send().await.is_err() {} };
    tokio::time::timeout(guard, again).await.expect("the place is still taken");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_under_a_foreign_name_for_this_machine_may_not_sync() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let space = Arc::new(MemorySpace::new("names"));
    let (server, _) = open_server(space, Limits::default(), ServeOptions::default()).await;
    let port = server.address().port();
    for (name, status) in [
        ("localhost", "101"),
        ("LOCALHOST", "101"),
        ("127.0.0.1", "101"),
        ("127.1.2.3", "101"),
        ("[::1]", "101"),
        ("evil.example", "403"),
        ("localhost.evil.example", "403"),
        ("127.0.0.1.evil.example", "403"),
        ("192.168.0.1", "403"),
        ("[2001:db8::1]", "403"),
        ("[::1", "403"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "GET /api/v1/sync HTTP/1.1\r\nhost: {name}:{port}\r\norigin: http://{name}:{port}\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{name}");
    }
    server.shutdown().await;
}
