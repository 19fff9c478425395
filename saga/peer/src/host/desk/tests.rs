//! What those try who were granted something, to get at more; and those who were granted nothing.

mod costs;
mod dropped;
mod readers;

use super::*;
use crate::granting::stated;
use crate::host::roots::root_records;
use crate::prelude::Document;
use crate::{HostOptions, Innerspace, Policy, Rights, SecretSource, SenderIdentity, Statement, SyncConnection, Synced};
use futures_util::future::join_all;
use ibgib::transform::{self, ForkOpts, Moment, Mut8Opts, Rel8Opts, TjpOpts, linked};
use ibgib::{Map, Value, object};
use ibgib_keystone::Secret;
use ibgib_saga::{Limits, Scope, SyncRequest};
use ibgib_spaces::{MemorySpace, Space};
use sha2::{Digest, Sha256};

struct Device {
    space: Arc<dyn Space>,
    who: SenderIdentity,
}

impl Device {
    async fn new(name: &str) -> Self {
        Self::over(Arc::new(MemorySpace::new(name)), name).await
    }

    async fn over(space: Arc<dyn Space>, name: &str) -> Self {
        let secret = Secret::new(name.repeat(8).into_bytes());
        let tjp = identity::create(&*space, &secret).await.unwrap().tjp().clone();
        Self { space, who: SenderIdentity { tjp, secret: SecretSource::new(move || Ok(secret.clone())) } }
    }

    async fn sync(&self, connection: &mut SyncConnection) -> Result<Synced, SagaError> {
        self.sync_in(Scope::All, connection).await
    }

    async fn sync_in(&self, scope: Scope, connection: &mut SyncConnection) -> Result<Synced, SagaError> {
        let request = SyncRequest {
            saga_id: random_hex(),
            scope,
            direction: ibgib_saga::Direction::Both,
            skip_when_equal: true,
            dry_run: false,
            moves_max: None,
        };
        connection.sync(&self.space, Some(self.who.clone()), request).await
    }

    async fn meet(&self, host: &Arc<Host>) -> Result<Synced, SagaError> {
        self.sync(&mut line(host)).await
    }

    /// Brings a statement, as the command does.
    async fn state(&self, host: &Arc<Host>, statement: &Statement) -> Result<Vec<Value>, SagaError> {
        let remote = Innerspace::new(Arc::clone(host));
        let frames = stated(&self.space, &remote, &self.who, statement).await?;
        host.post_grants(&self.who.tjp, &frames).await
    }

    async fn tip(&self, of: &Addr) -> Verified<IbGib> {
        let tip = self.space.tip(of).await.unwrap().unwrap();
        self.space.node(&tip.addr).await.unwrap().unwrap()
    }
}

fn line(host: &Arc<Host>) -> SyncConnection {
    SyncConnection::new(Arc::new(Innerspace::new(Arc::clone(host))), Limits::default())
}

fn token(of: u8) -> String {
    hex::encode([of; 32])
}

fn invite(of: u8, folder: Option<&Addr>, rights: Rights, uses: u32, lasts: i64) -> Statement {
    Statement::Invite {
        id: hex::encode(Sha256::digest(token(of))),
        folder: folder.cloned(),
        rights,
        uses,
        expires_ms: crate::entropy::now_ms() + lasts,
    }
}

const HOUR: i64 = 3_600_000;

/// A space that alice owns, with a folder that bob may change, one that he may not see, and his device.
struct Scene {
    host: Arc<Host>,
    alice: Device,
    bob: Device,
    shared: Addr,
    private: Addr,
}

fn owned() -> Arc<Host> {
    owned_over(Arc::new(MemorySpace::new("5".repeat(64))))
}

fn owned_over(space: Arc<dyn Space>) -> Arc<Host> {
    Host::new(space, HostOptions { policy: Policy::Owner, ..HostOptions::default() })
}

async fn scene(rights: Rights) -> Scene {
    scene_over(owned(), rights, 0).await
}

/// The same with so many other timelines that bob may not see.
async fn scene_over(host: Arc<Host>, rights: Rights, others: usize) -> Scene {
    let (alice, bob) = (Device::new("alice").await, Device::new("bob").await);
    host.set_owner(&alice.who.tjp).await.unwrap();
    let shared = Document::create(&alice.space, "folder", Map::new()).await.unwrap().address().clone();
    let private = Document::create(&alice.space, "folder", Map::new()).await.unwrap();
    private.set("/plan", "nobody else's").await.unwrap();
    let private = private.address().clone();
    for _ in 0..others {
        Document::create(&alice.space, "note", Map::new()).await.unwrap();
    }
    alice.meet(&host).await.unwrap();
    alice.state(&host, &invite(1, Some(&shared), rights, 1, HOUR)).await.unwrap();
    host.accept(&bob.who.tjp, &token(1)).await.unwrap();
    bob.meet(&host).await.unwrap();
    Scene { host, alice, bob, shared, private }
}

impl Scene {
    fn desk(&self) -> ReceiverDesk {
        let mut desk = ReceiverDesk::new(Arc::clone(&self.host), 0, CancellationToken::new());
        (desk.owner, desk.identity) = (push_owner(&self.bob.who.tjp), Some(self.bob.who.tjp.clone()));
        desk
    }

    async fn peek(&self, peek: Peek) -> Peeked {
        match self.desk().answer(ReceiverQuery::Peek(peek)).await {
            ReceiverAnswer::Peek(peeked) => peeked,
            other => panic!("{other:?}"),
        }
    }

    /// What the last turn of a saga of bob's comes to that sends these nodes and moves timelines to these tips.
    async fn push(&self, nodes: &[Verified<IbGib>], lines: Vec<SenderLine>) -> (Vec<Status>, Vec<Addr>) {
        self.push_as(&self.bob.who.tjp, nodes, lines).await
    }

    async fn push_as(&self, who: &Addr, nodes: &[Verified<IbGib>], lines: Vec<SenderLine>) -> (Vec<Status>, Vec<Addr>) {
        let mut desk = self.desk();
        (desk.owner, desk.identity) = (push_owner(who), Some(who.clone()));
        self.host.space().unstage(&desk.owner).await.unwrap();
        desk.answer(ReceiverQuery::Stage(nodes.to_vec())).await;
        let payload = Arc::new(nodes.iter().map(|node| node.addr().clone()).collect());
        let evaluate = Evaluate { lines, payload, commit: true, is_init: false, adopt: true };
        match desk.answer(ReceiverQuery::Evaluate(evaluate)).await {
            ReceiverAnswer::Evaluate(done) => (done.statuses.into_iter().map(|line| line.status).collect(), done.send),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn is_refused(status: &Status, why: &str) {
        assert!(matches!(status, Status::Refused(told) if told.contains(why)), "{why}: {status:?}");
    }
}

fn moves(tjp: &Addr, tip: &Verified<IbGib>) -> SenderLine {
    SenderLine::Timeline { tjp: tjp.clone(), tip: Some(tip.addr().clone()), theirs: None }
}

fn moment(random: [u8; 16]) -> Moment {
    Moment { now_ms: 1_767_225_600_123, random }
}

fn relate(to: &Verified<IbGib>, target: &Addr) -> Vec<Verified<IbGib>> {
    let add = vec![("file".to_owned(), vec![target.clone()])];
    let opts = Rel8Opts { add, dna: true, n_counter: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
    transform::rel8(to, &opts, &moment([7; 16])).unwrap().nodes()
}

/// The first frame of the file at `path` of a folder, which anybody can make who knows both, and the folder at `tip` with
/// this file.
fn entered(tip: &Verified<IbGib>, folder: &Addr, path: &str) -> (Addr, Vec<Verified<IbGib>>) {
    let hash = Sha256::digest(format!("{folder}{path}"));
    let mut random = [0; 16];
    random.copy_from_slice(&hash[..16]);
    let opts = ForkOpts {
        dest_ib: Some("file".into()),
        dna: true,
        no_timestamp: true,
        n_counter: true,
        tjp: Some(TjpOpts { uuid: true, timestamp: false }),
        linked_rel8ns: linked(),
        ..ForkOpts::default()
    };
    let file = transform::fork(&IbGib::primitive("file").unwrap(), &opts, &moment(random)).unwrap();
    let name = file.frame.addr().clone();
    let mut nodes = file.nodes();
    nodes.extend(relate(tip, &name));
    let entry = object([("entries", object([(path, object([("file", (&name).into())]))]))]);
    let opts = Mut8Opts {
        patch: entry.as_object().cloned(),
        dna: true,
        n_counter: true,
        linked_rel8ns: linked(),
        ..Mut8Opts::default()
    };
    let last = nodes.last().unwrap().clone();
    nodes.extend(transform::mut8(&last, &opts, &moment([8; 16])).unwrap().nodes());
    (name, nodes)
}

#[tokio::test]
async fn a_relation_gives_no_right() {
    let scene = scene(Rights::Write).await;
    let Scene { host, alice, bob, shared, private } = &scene;
    assert!(bob.space.tip(shared).await.unwrap().is_some() && bob.space.tip(private).await.unwrap().is_none());
    let secret = alice.tip(private).await;
    let dna = secret.rel8n_addrs("dna").pop().unwrap();
    let mine = bob.tip(shared).await;
    // He knows addresses, and nothing of what stands there.
    for target in [private, secret.addr(), &dna] {
        let nodes = relate(&mine, target);
        let (told, _) = scene.push(&nodes, vec![moves(shared, nodes.last().unwrap())]).await;
        Scene::is_refused(&told[0], "may not be read");
        // Nor does it help to name it beside.
        let lines = vec![moves(shared, nodes.last().unwrap()), SenderLine::Want(target.clone())];
        let (_, sent) = scene.push(&nodes, lines).await;
        assert!(!sent.contains(target));
    }
    // What he has read elsewhere, he may say himself; and what is under it, as well.
    let frames: Vec<Addr> = [private.clone(), dna, secret.addr().clone()].to_vec();
    let whole = alice.space.reach(&frames[2..], Follow::All, &HashSet::new(), 100).await.unwrap();
    let mut nodes: Vec<_> = alice.space.get(&whole).await.unwrap().into_iter().flatten().collect();
    nodes.extend(relate(&mine, secret.addr()));
    let (told, _) = scene.push(&nodes, vec![moves(shared, nodes.last().unwrap())]).await;
    assert!(matches!(told[0], Status::Known(Ancestry::Behind)), "{told:?}");
    let part: Vec<_> = nodes.iter().filter(|node| node.addr() != &frames[1]).cloned().collect();
    let (told, _) = scene.push(&part, vec![moves(shared, part.last().unwrap())]).await;
    Scene::is_refused(&told[0], "may not be read");

    // Questions tell nothing, either.
    let has = scene.peek(Peek::Has(vec![secret.addr().clone(), mine.addr().clone()])).await.has;
    assert_eq!(has, [false, true]);
    assert_eq!(scene.peek(Peek::Tips(vec![private.clone()])).await.tips, [(private.clone(), None)]);
    let list = Peek::List { items: vec![(secret.addr().clone(), None)], live: true };
    assert!(scene.peek(list).await.nodes.is_empty());
    let all = scene.peek(Peek::Buckets(vec![String::new(); ibgib_saga::fingerprint::BUCKETS], None, false)).await.tips;
    assert_eq!(all.iter().map(|(tjp, _)| tjp).collect::<Vec<_>>(), [shared]);
    assert!(host.space().tip(shared).await.unwrap().is_some_and(|tip| tip.addr == *mine.addr()));
}

#[tokio::test]
async fn nobody_brings_what_belongs_to_anothers_folder() {
    let scene = scene(Rights::Write).await;
    let Scene { alice, bob, shared, private, .. } = &scene;
    let mine = bob.tip(shared).await;
    // The private folder itself.
    let nodes = relate(&alice.tip(private).await, shared);
    let (told, _) = scene.push(&nodes, vec![moves(private, nodes.last().unwrap())]).await;
    Scene::is_refused(&told[0], "was not granted");
    // A folder of his own.
    let own = Document::create(&bob.space, "folder", Map::new()).await.unwrap();
    let own = bob.tip(own.address()).await;
    let nodes: Vec<_> = bob.space.get(&[own.addr().clone()]).await.unwrap().into_iter().flatten().collect();
    let (told, _) = scene.push(&nodes, vec![moves(own.addr(), &own)]).await;
    assert!(matches!(&told[0], Status::Refused(_)), "{told:?}");
    // A file that the private folder does not have yet, but may have one day, as one of the shared folder's.
    for (folder, path, taken) in [(private, "/plan.txt", false), (shared, "/plan.txt", true)] {
        let (file, nodes) = entered(&mine, folder, path);
        let first = nodes.iter().find(|node| *node.addr() == file).unwrap().clone();
        let (told, _) = scene.push(&nodes, vec![moves(shared, nodes.last().unwrap()), moves(&file, &first)]).await;
        match taken {
            true => assert!(told.iter().all(|status| !matches!(status, Status::Refused(_))), "{told:?}"),
            false => Scene::is_refused(&told[1], "was not granted"),
        }
    }
}

/// What stands in a folder may be made by whoever may write there, as a folder with any name.
#[tokio::test]
async fn only_folders_are_told_by_name_and_only_names() {
    let Scene { host, alice, bob, shared, private } = scene(Rights::Write).await;
    let named = async |name: Value| {
        let made = Document::create(&alice.space, "folder", Map::from_iter([("name", name)])).await.unwrap();
        made.address().clone()
    };
    let (odd, long) = (named(Value::integer(5_u64)).await, named("x".repeat(1_025).into()).await);
    let (work, inner) = (named("work".into()).await, named("Taxes".into()).await);
    alice.meet(&host).await.unwrap();
    let records = root_records([(&inner, &shared, &bob.who.tjp)]);
    host.space().commit(Commit { records, ..Commit::default() }).await.unwrap();
    let told = alice.state(&host, &Statement::Folders).await.unwrap();
    let mut told: Vec<(String, Value)> = told
        .iter()
        .map(|line| (line.get("folder").unwrap().as_str().unwrap().to_owned(), line.get("name").unwrap().clone()))
        .collect();
    let mut all: Vec<(String, Value)> =
        [&shared, &private, &odd, &long].map(|folder| (folder.to_string(), Value::Null)).to_vec();
    all.push((work.to_string(), "work".into()));
    told.sort_by(|a, b| a.0.cmp(&b.0));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(told, all);
}

#[tokio::test]
async fn whoever_may_read_changes_nothing() {
    let scene = scene(Rights::Read).await;
    let nodes = relate(&scene.bob.tip(&scene.shared).await, &scene.shared);
    let (told, _) = scene.push(&nodes, vec![moves(&scene.shared, nodes.last().unwrap())]).await;
    Scene::is_refused(&told[0], "was not granted");
}

#[tokio::test]
async fn an_invite_is_good_for_as_many_as_it_says_and_no_longer() {
    let (host, alice) = (owned(), Device::new("alice").await);
    // The owner's token, brought by many at once.
    host.set_owner_token(Some(token(9)));
    let many: Vec<Addr> = (0..8u8).map(|i| Addr::new("keystone", &hex::encode_upper([i; 32])).unwrap()).collect();
    let came = join_all(many.iter().map(async |who| host.accept(who, &token(9)).await)).await;
    assert_eq!(came.iter().filter(|came| came.is_ok()).count(), 1);
    host.set_owner(&alice.who.tjp).await.unwrap();

    alice.state(&host, &invite(1, None, Rights::Write, 2, HOUR)).await.unwrap();
    let came = join_all(many.iter().map(async |who| host.accept(who, &token(1)).await)).await;
    let let_in: Vec<&Addr> = many.iter().zip(&came).filter(|(_, came)| came.is_ok()).map(|(who, _)| who).collect();
    assert_eq!(let_in.len(), 2);
    for who in &many {
        let refused = Err(IdentityRefusal::NotGranted(who.clone()).into());
        let told = if let_in.contains(&who) { Ok(()) } else { refused };
        assert_eq!(host.accept(who, &token(1)).await, told, "the same again changes nothing");
        assert_eq!(host.check_allowed(who).await, told);
    }
    let revoked = alice.state(&host, &Statement::Revoke { who: let_in[0].to_string() }).await.unwrap();
    assert_eq!(revoked.len(), 2, "alice and one of the two: {revoked:?}");
    assert!(host.accept(let_in[0], &token(1)).await.is_err() && host.check_allowed(let_in[0]).await.is_err());

    let refused = Err(IdentityRefusal::NotGranted(many[0].clone()).into());
    alice.state(&host, &invite(2, None, Rights::Read, 1, -1)).await.unwrap();
    assert_eq!(host.accept(&many[0], &token(2)).await, refused, "its time has passed");
    alice.state(&host, &invite(3, None, Rights::Read, 1, HOUR)).await.unwrap();
    let id = hex::encode(Sha256::digest(token(3)));
    alice.state(&host, &Statement::Revoke { who: id }).await.unwrap();
    assert_eq!(host.accept(&many[0], &token(3)).await, refused, "it was revoked");
    assert_eq!(host.accept(&many[0], &token(4)).await, refused, "there never was one");
}

#[tokio::test]
async fn statements_are_their_granters_for_one_space_and_once() {
    let scene = scene(Rights::Write).await;
    let Scene { host, alice, bob, shared, .. } = &scene;
    let everything = invite(2, None, Rights::Write, 9, HOUR);
    let not_granted = |who: &Device| SagaError::from(IdentityRefusal::NotGranted(who.who.tjp.clone()));
    // Somebody who may not.
    for statement in [
        everything.clone(),
        invite(2, Some(shared), Rights::Read, 1, HOUR),
        Statement::List,
        Statement::Revoke { who: alice.who.tjp.to_string() },
    ] {
        assert_eq!(bob.state(host, &statement).await.unwrap_err(), not_granted(bob));
    }
    // Brought as frames that anybody may deliver of himself, they say nothing.
    bob.meet(host).await.unwrap();
    assert!(host.accept(&Addr::new("keystone", &"C".repeat(64)).unwrap(), &token(2)).await.is_err());
    // The owner's, by another: a frame of one identity is none of another's.
    let remote = Innerspace::new(Arc::clone(host));
    let frames = stated(&alice.space, &remote, &alice.who, &everything).await.unwrap();
    assert_eq!(host.post_grants(&bob.who.tjp, &frames).await.unwrap_err(), not_granted(bob));
    // Changed on the way: to another secret, say, or to more.
    let mut forged = (**frames.last().unwrap()).clone();
    let grant = forged.data.as_mut().unwrap().as_object_mut().unwrap().get_mut("frameDetails").unwrap();
    let grant = grant.as_object_mut().unwrap().get_mut("grant").unwrap().as_object_mut().unwrap();
    grant.insert("invite", hex::encode(Sha256::digest(token(3))));
    let forged = [forged.seal().unwrap()];
    let refused = host.post_grants(&alice.who.tjp, &forged).await.unwrap_err();
    assert_eq!(refused.code(), "solution_wrong", "{refused}");
    // Stated for another space.
    let elsewhere = Host::new(
        Arc::new(MemorySpace::new("6".repeat(64))),
        HostOptions { policy: Policy::Owner, ..HostOptions::default() },
    );
    elsewhere.set_owner(&alice.who.tjp).await.unwrap();
    host.post_grants(&alice.who.tjp, &frames).await.unwrap();
    deliver(alice, &elsewhere).await;
    assert!(elsewhere.accept(&bob.who.tjp, &token(2)).await.is_err());
    // A second time, to be told again what it told.
    assert_eq!(host.post_grants(&alice.who.tjp, &frames).await.unwrap_err().code(), "bad_frame");
    host.accept(&bob.who.tjp, &token(2)).await.unwrap();
}

async fn deliver(device: &Device, host: &Arc<Host>) {
    crate::deliver_identity(&device.space, &Innerspace::new(Arc::clone(host)), &device.who.tjp).await.unwrap();
}

#[tokio::test]
async fn whoever_is_revoked_is_out_also_with_a_connection_that_is_open() {
    let scene = scene(Rights::Write).await;
    let Scene { host, alice, bob, shared, .. } = &scene;
    let mut open = line(host);
    bob.sync(&mut open).await.unwrap();
    alice.state(host, &Statement::Revoke { who: bob.who.tjp.to_string() }).await.unwrap();
    let before = host.space().tip(shared).await.unwrap();
    Document::open(&bob.space, shared).await.unwrap().set("/late", true).await.unwrap();
    assert!(bob.sync(&mut open).await.is_err());
    assert_eq!(bob.meet(host).await.unwrap_err().code(), "not_granted");
    assert_eq!(host.space().tip(shared).await.unwrap(), before);
}

#[tokio::test]
async fn what_may_not_be_read_is_not_given_to_whoever_knows_its_address() {
    for rights in [Rights::Read, Rights::Write] {
        let scene = scene(rights).await;
        let private = &scene.private;
        let secret = scene.alice.tip(private).await;
        let ask = |tip: Option<&Addr>| SenderLine::Timeline { tjp: private.clone(), tip: tip.cloned(), theirs: None };
        let (told, sent) = scene.push(&[], vec![ask(None), SenderLine::Constant(secret.addr().clone())]).await;
        assert!(matches!(told[0], Status::Unknown), "{told:?}");
        assert!(sent.is_empty(), "{sent:?}");
        // Nor is it told whether a tip that he names is the newest.
        for tip in [secret.addr(), private] {
            let (told, sent) = scene.push(&[], vec![ask(Some(tip))]).await;
            assert!(!matches!(told[0], Status::Known(_)) && sent.is_empty(), "{told:?} {sent:?}");
        }
    }
}

#[tokio::test]
async fn what_an_open_space_had_belongs_to_the_folder_that_derives_it_once_somebody_is_invited() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("5".repeat(64)));
    let host = |policy| Host::new(Arc::clone(&space), HostOptions { policy, ..HostOptions::default() });
    let (alice, bob) = (Device::new("alice").await, Device::new("bob").await);
    let folder = async || Document::create(&alice.space, "folder", Map::new()).await.unwrap().address().clone();
    let (shared, private) = (folder().await, folder().await);
    let add = async |folder: &Addr, path: &str| {
        let (file, nodes) = entered(&alice.tip(folder).await, folder, path);
        ibgib_spaces::settle::admit(&*alice.space, &nodes).await.unwrap();
        file
    };
    let (old, plan) = (add(&shared, "/old.txt").await, add(&private, "/plan.txt").await);
    // Whoever knew the path has related to it.
    let planted = relate(&alice.tip(&shared).await, &plan);
    ibgib_spaces::settle::admit(&*alice.space, &planted).await.unwrap();
    alice.meet(&host(Policy::Open)).await.unwrap();

    let owned = host(Policy::Owner);
    owned.set_owner(&alice.who.tjp).await.unwrap();
    let new = add(&shared, "/new.txt").await;
    alice.meet(&owned).await.unwrap();
    alice.state(&owned, &invite(1, Some(&shared), Rights::Write, 5, HOUR)).await.unwrap();
    let mut roots = crate::host::roots::Roots::default();
    roots.look_up(&*owned.moment().await.unwrap(), [&shared, &old, &new, &private, &plan]).await.unwrap();
    for (timeline, of) in [(&shared, true), (&old, true), (&new, true), (&private, false), (&plan, false)] {
        assert_eq!(roots.folder(timeline), of.then_some(&shared), "{timeline}");
    }
    owned.accept(&bob.who.tjp, &token(1)).await.unwrap();
    bob.meet(&owned).await.unwrap();
    assert!(bob.space.tip(&new).await.unwrap().is_some() && bob.space.tip(&private).await.unwrap().is_none());
    // Whoever is put out does not come in again as somebody else.
    alice.state(&owned, &Statement::Revoke { who: bob.who.tjp.to_string() }).await.unwrap();
    let again = Device::new("again").await;
    assert_eq!(owned.accept(&again.who.tjp, &token(1)).await.unwrap_err().code(), "not_granted");
}
