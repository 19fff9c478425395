//! What the owner drops: it goes from the server and from every device, and nobody brings it in again.

use super::*;
use crate::Remote;
use ibgib::transform::content;
use ibgib_keystone::Dropping;

const TEXT: &str = "one\n\ntwo\n\nthree\n";

/// Bob has edited the shared document, and alice after him; both sides have all of it.
struct Edited {
    scene: Scene,
    /// Bob's edit.
    spam: Verified<IbGib>,
}

impl Edited {
    async fn new() -> Self {
        let scene = scene(Rights::Write).await;
        let Scene { host, alice, bob, shared, .. } = &scene;
        edit(alice, shared, "text", TEXT).await;
        alice.meet(host).await.unwrap();
        bob.meet(host).await.unwrap();
        edit(bob, shared, "text", "one\n\nSPAM\n\ntwo\n\nthree\n").await;
        let spam = bob.tip(shared).await;
        bob.meet(host).await.unwrap();
        alice.meet(host).await.unwrap();
        edit(alice, shared, "text", "one\n\nSPAM\n\ntwo\n\nthree\n\nfour\n").await;
        alice.meet(host).await.unwrap();
        bob.meet(host).await.unwrap();
        Self { scene, spam }
    }

    async fn drop_it(&self) -> Vec<Value> {
        let statement = Statement::Drop { frames: vec![self.spam.addr().clone()] };
        self.scene.alice.state(&self.scene.host, &statement).await.unwrap()
    }

    async fn text_at(&self, device: &Device) -> String {
        content(&*device.tip(&self.scene.shared).await).get("text").unwrap().as_str().unwrap().to_owned()
    }

    async fn is_under(&self, space: &dyn Space) -> bool {
        let tip = space.tip(&self.scene.shared).await.unwrap().unwrap();
        let reached = space.reach(&[tip.addr], Follow::All, &HashSet::new(), 1_000).await.unwrap();
        reached.contains(self.spam.addr())
    }
}

async fn edit(device: &Device, document: &Addr, name: &str, value: &str) {
    let document = Document::open(&device.space, document).await.unwrap();
    document.set(&format!("/{name}"), value).await.unwrap();
}

#[tokio::test]
async fn what_is_dropped_goes_everywhere_and_what_others_edited_later_stays() {
    let edited = Edited::new().await;
    let Scene { host, alice, bob, shared, .. } = &edited.scene;
    // What nobody has brought yet when it happens.
    edit(bob, shared, "title", "bob's title").await;
    let told = edited.drop_it().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].get("frame").and_then(Value::as_str), Some(edited.spam.addr().as_str()));
    assert_eq!(told[0].get("by").and_then(Value::as_str), Some(alice.who.tjp.as_str()));
    assert!(!edited.is_under(&**host.space()).await);
    // Each has a receipt for more than the server shows now, and is told why.
    let left = alice.meet(host).await.unwrap().left;
    assert_eq!(left, std::slice::from_ref(shared));
    assert_eq!(bob.meet(host).await.unwrap().left, std::slice::from_ref(shared));
    assert_eq!(alice.meet(host).await.unwrap().left, []);
    for device in [alice, bob] {
        assert_eq!(edited.text_at(device).await, "one\n\ntwo\n\nthree\n\nfour\n");
        assert!(!edited.is_under(&*device.space).await);
    }
    assert_eq!(alice.tip(shared).await, bob.tip(shared).await);
    let told = content(&*alice.tip(shared).await);
    assert_eq!(told.get("title").and_then(Value::as_str), Some("bob's title"));
    // Whoever comes later finds nothing of it, and goes on as ever.
    edit(bob, shared, "title", "again").await;
    bob.meet(host).await.unwrap();
    alice.meet(host).await.unwrap();
    assert_eq!(alice.tip(shared).await, bob.tip(shared).await);
}

#[tokio::test]
async fn nobody_brings_it_in_again_until_it_is_allowed() {
    let edited = Edited::new().await;
    let Scene { host, alice, bob, shared, .. } = &edited.scene;
    let old = bob.tip(shared).await;
    let frames = bob.space.reach(&[old.addr().clone()], Follow::All, &HashSet::new(), 1_000).await.unwrap();
    let nodes: Vec<_> = bob.space.get(&frames).await.unwrap().into_iter().flatten().collect();
    edited.drop_it().await;
    // All of it sent once more, only what is new, and something else that relates to it.
    let (told, _) = edited.scene.push(&nodes, vec![moves(shared, &old)]).await;
    Scene::is_refused(&told[0], "has dropped");
    let (told, _) = edited.scene.push(&[], vec![moves(shared, &old)]).await;
    Scene::is_refused(&told[0], "has dropped");
    let tip = host.space().tip(shared).await.unwrap().unwrap();
    let tip = host.space().node(&tip.addr).await.unwrap().unwrap();
    let related = relate(&tip, edited.spam.addr());
    let (told, _) = edited.scene.push(&related, vec![moves(shared, related.last().unwrap())]).await;
    Scene::is_refused(&told[0], "has dropped");
    let (told, _) = edited.scene.push_as(&alice.who.tjp, &nodes, vec![moves(shared, &old)]).await;
    Scene::is_refused(&told[0], "has dropped");
    // A later edit on it, in a dialogue of its own.
    let later =
        transform::revise(&old, &Map::from_iter([("text", "later")]), &moment([9; 16])).unwrap().unwrap().nodes();
    let (told, _) = edited.scene.push(&later, vec![moves(shared, later.last().unwrap())]).await;
    Scene::is_refused(&told[0], "has dropped");

    let allow = Statement::Allow { frames: vec![edited.spam.addr().clone()] };
    assert_eq!(alice.state(host, &allow).await.unwrap(), []);
    let (told, _) = edited.scene.push(&nodes, vec![moves(shared, &old)]).await;
    assert!(matches!(told[0], Status::Known(Ancestry::Diverged)), "{told:?}");
    // The devices hear of that, too.
    alice.meet(host).await.unwrap();
    bob.meet(host).await.unwrap();
    alice.meet(host).await.unwrap();
    assert_eq!(alice.tip(shared).await, bob.tip(shared).await);
}

#[tokio::test]
async fn a_device_does_not_take_it_from_elsewhere() {
    let edited = Edited::new().await;
    let Scene { host, alice, bob, shared, .. } = &edited.scene;
    // Another server has it, whose owner did not drop it.
    let other = Host::new(Arc::new(MemorySpace::new("7".repeat(64))), HostOptions::default());
    bob.meet(&other).await.unwrap();
    edited.drop_it().await;
    alice.meet(host).await.unwrap();
    let synced = alice.meet(&other).await.unwrap();
    assert!(synced.summary.timelines.iter().any(|line| line.action == ibgib_saga::Action::Refused));
    assert!(!edited.is_under(&*alice.space).await);
    // It still syncs where it was dropped.
    edit(alice, shared, "title", "alice's").await;
    alice.meet(host).await.unwrap();
    bob.meet(host).await.unwrap();
    alice.meet(host).await.unwrap();
    assert_eq!(alice.tip(shared).await, bob.tip(shared).await);
}

#[tokio::test]
async fn only_the_owner_drops_and_only_what_can_go() {
    let edited = Edited::new().await;
    let Scene { host, alice, bob, shared, .. } = &edited.scene;
    let spam = edited.spam.addr().clone();
    for statement in [Statement::Drop { frames: vec![spam.clone()] }, Statement::Allow { frames: vec![spam] }] {
        let error = bob.state(host, &statement).await.unwrap_err();
        assert_eq!(error.code(), "not_granted");
        // Brought as an ordinary frame it says nothing, either.
        bob.meet(host).await.unwrap();
        assert!(host.dropping().await.unwrap().is_none() && edited.is_under(&**host.space()).await);
    }
    let stone = edited.spam.rel8n_addrs("dna").pop().unwrap();
    let own = alice.tip(&alice.who.tjp).await.addr().clone();
    for (frame, why) in [(shared, "is the first"), (&stone, "or of none"), (&own, "by which it could be allowed again")]
    {
        let error = alice.state(host, &Statement::Drop { frames: vec![frame.clone()] }).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        // The frame that stated it comes all the same with the next meeting, and comes to nothing anywhere.
        alice.meet(host).await.unwrap();
        assert!(host.dropping().await.unwrap().is_none());
    }
    edit(bob, shared, "title", "bob's").await;
    edit(alice, shared, "more", "alice's").await;
    for device in [alice, bob, alice] {
        device.meet(host).await.unwrap();
    }
    let merge = alice.tip(shared).await.addr().clone();
    let error = alice.state(host, &Statement::Drop { frames: vec![merge] }).await.unwrap_err();
    assert!(error.to_string().contains("is a merge"), "{error}");
    // Asking drops nothing.
    assert_eq!(alice.state(host, &Statement::Drop { frames: Vec::new() }).await.unwrap(), []);
    assert!(host.dropping().await.unwrap().is_none());
    // And what could not be dropped is in nobody's way afterwards.
    edited.drop_it().await;
    for device in [alice, bob, alice] {
        device.meet(host).await.unwrap();
    }
    assert_eq!(alice.tip(shared).await, bob.tip(shared).await);
}

#[tokio::test]
async fn another_owner_goes_on_where_the_first_one_stopped() {
    let edited = Edited::new().await;
    let Scene { host, alice, bob, shared, private } = &edited.scene;
    edited.drop_it().await;
    bob.meet(host).await.unwrap();
    let mallory = Device::new("mallory").await;
    host.set_owner(&mallory.who.tjp).await.unwrap();
    mallory.meet(host).await.unwrap();
    let more = alice.tip(private).await.addr().clone();
    let told = mallory.state(host, &Statement::Drop { frames: vec![more] }).await.unwrap();
    assert_eq!(told.len(), 2);
    bob.meet(host).await.unwrap();
    assert!(!edited.is_under(&*bob.space).await);
    assert_eq!(host.space().tip(shared).await.unwrap(), bob.space.tip(shared).await.unwrap());
}

/// What a wire says is dropped that changes what is told.
#[derive(Debug)]
struct Liar {
    inner: Innerspace,
    told: Dropping,
}

#[async_trait::async_trait]
impl Remote for Liar {
    async fn audience(&self) -> Result<String, SagaError> {
        self.inner.audience().await
    }

    fn check_keystone(&self, shown: &Addr) -> Result<(), SagaError> {
        self.inner.check_keystone(shown)
    }

    fn shown(&self) -> &str {
        "liar"
    }

    async fn identity_tip(&self, tjp: &Addr) -> Result<Option<Addr>, SagaError> {
        self.inner.identity_tip(tjp).await
    }

    async fn dropped(&self, _: u64) -> Result<Option<Dropping>, SagaError> {
        Ok(Some(self.told.clone()))
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

    async fn open(&self) -> Result<crate::Link, SagaError> {
        self.inner.open().await
    }
}

#[tokio::test]
async fn only_what_the_space_has_signed_is_followed() {
    let edited = Edited::new().await;
    let Scene { host, alice, bob, shared, .. } = &edited.scene;
    edited.drop_it().await;
    let first = host.dropping().await.unwrap().unwrap();
    let more = alice.tip(&edited.scene.private).await.addr().clone();
    alice.state(host, &Statement::Drop { frames: vec![more] }).await.unwrap();
    let mut forged = first.to_value();
    let other = Value::from(vec![Value::from(bob.tip(shared).await.addr())]);
    forged.as_object_mut().unwrap().insert("dropped", other);
    let forged = Dropping::parse(&forged).unwrap();
    let through = async |told: &Dropping| {
        let liar = Liar { inner: Innerspace::new(Arc::clone(host)), told: told.clone() };
        bob.sync(&mut SyncConnection::new(Arc::new(liar), Limits::default())).await
    };
    let before = bob.tip(shared).await;
    assert_eq!(through(&forged).await.unwrap_err().code(), "bad_signature");
    assert_eq!(bob.tip(shared).await, before);
    bob.meet(host).await.unwrap();
    let now = bob.tip(shared).await;
    assert_ne!(now, before);
    // An older one says nothing any more.
    assert_eq!(through(&first).await.unwrap().left, []);
    assert_eq!(bob.tip(shared).await, now);
}

/// A device that was away missed that what an edit became was dropped, too.
#[tokio::test]
async fn who_was_away_over_several_drops_comes_to_what_the_others_have() {
    let edited = Edited::new().await;
    let Scene { host, alice, bob, shared, .. } = &edited.scene;
    edited.drop_it().await;
    alice.meet(host).await.unwrap();
    // Alice's own edit on it was made again, and she takes that out as well.
    let again = alice.tip(shared).await.addr().clone();
    alice.state(host, &Statement::Drop { frames: vec![again] }).await.unwrap();
    for device in [alice, bob, alice] {
        device.meet(host).await.unwrap();
    }
    assert_eq!(edited.text_at(bob).await, TEXT);
    assert_eq!(alice.tip(shared).await, bob.tip(shared).await);
}

/// A frame that says it is a merge and is none is an edit like any other.
#[tokio::test]
async fn what_only_says_it_is_a_merge_is_dropped_and_in_nobodys_way() {
    for drops_it in [true, false] {
        let edited = Edited::new().await;
        let Scene { host, alice, bob, shared, private } = &edited.scene;
        let past = bob.tip(shared).await;
        let mut fake =
            transform::revise(&past, &Map::from_iter([("text", "fake")]), &moment([3; 16])).unwrap().unwrap();
        let mut frame = (*fake.frame).clone();
        let rel8ns = frame.rel8ns.as_mut().unwrap().as_object_mut().unwrap();
        rel8ns.insert("graftbase", ibgib::strings([past.addr().as_str()]));
        rel8ns.insert("graftorphan", ibgib::strings([shared.as_str()]));
        fake.frame = frame.seal().unwrap();
        let nodes = fake.nodes();
        ibgib_spaces::settle::admit(&*bob.space, &nodes).await.unwrap();
        bob.meet(host).await.unwrap();
        let _ = private;
        let dropped = if drops_it { fake.frame.addr().clone() } else { edited.spam.addr().clone() };
        alice.state(host, &Statement::Drop { frames: vec![dropped] }).await.unwrap();
        for device in [alice, bob, alice] {
            device.meet(host).await.unwrap();
        }
        let expected = if drops_it { "one\n\nSPAM\n\ntwo\n\nthree\n\nfour\n" } else { "fake" };
        assert_eq!(edited.text_at(bob).await, expected);
        assert_eq!(alice.tip(shared).await, bob.tip(shared).await);
    }
}

/// The owner says which of two frames was the forgery.
#[tokio::test]
async fn an_identity_that_was_wrongly_held_to_be_forked_goes_on() {
    let scene = scene(Rights::Write).await;
    let Scene { host, alice, bob, shared, .. } = &scene;
    // Somebody with bob's secret signs first, and the server sees both.
    let copy = Device::over(Arc::new(MemorySpace::new("copy")), "bob").await;
    assert_ne!(copy.who.tjp, bob.who.tjp, "an identity of its own, since it is made anew");
    let frames = identity::frames(&*bob.space, &bob.who.tjp).await.unwrap().unwrap();
    let copied: Arc<dyn Space> = Arc::new(MemorySpace::new("copied"));
    let (_, step) = ibgib_keystone::Chain::replay(frames.clone()).unwrap();
    let commit = Commit { nodes: frames, tips: vec![Advance::Keystone(step)], ..Commit::default() };
    copied.commit(commit).await.unwrap();
    let secret = Secret::new("bob".repeat(8).into_bytes());
    crate::signing::take_over(&*copied, &identity::load_chain(&*copied, &bob.who.tjp).await.unwrap().unwrap(), &secret)
        .await
        .unwrap();
    let thief = Device { space: copied, who: bob.who.clone() };
    thief.meet(host).await.unwrap();
    let stolen = thief.space.tip(&bob.who.tjp).await.unwrap().unwrap().addr;
    // Bob signs without having asked.
    let chain = identity::load_chain(&*bob.space, &bob.who.tjp).await.unwrap().unwrap();
    let claim = Statement::claim(host.space().id());
    let act = crate::signing::Act::State(claim, Statement::List.to_details());
    let signed = crate::signing::Signing::lasting().sign(&*bob.space, &chain, &secret, act, Vec::new()).await.unwrap();
    identity::store(&*bob.space, signed).await.unwrap();
    assert_eq!(bob.meet(host).await.unwrap_err().code(), "identity_forked");
    assert_eq!(bob.meet(host).await.unwrap_err().code(), "identity_forked");
    assert_eq!(host.forks().await.unwrap().len(), 1);

    alice.state(host, &Statement::Drop { frames: vec![stolen] }).await.unwrap();
    assert_eq!(host.forks().await.unwrap(), []);
    edit(bob, shared, "title", "bob's").await;
    bob.meet(host).await.unwrap();
    assert_eq!(host.space().tip(shared).await.unwrap().unwrap().addr, *bob.tip(shared).await.addr());
    // The other one does not come in again.
    let stolen = identity::frames(&*thief.space, &bob.who.tjp).await.unwrap().unwrap();
    let stolen = stolen.last().unwrap().clone();
    let error = host.post_evolution(&bob.who.tjp, &[stolen], None).await.unwrap_err();
    assert_eq!(error.code(), "identity_dropped");
    assert!(thief.meet(host).await.unwrap_err().is_identity());
    assert_eq!(host.forks().await.unwrap(), []);
    bob.meet(host).await.unwrap();
}
