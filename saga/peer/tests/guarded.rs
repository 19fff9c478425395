//! An identity that its owner left a revocation for is ended where it was used in two places, and nowhere else.

use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_keystone::strategy::lms::Reserved;
use ibgib_keystone::{
    Chain, Claim, Secret, SignOpts, Signed, VERB_GUARD, VERB_SYNC, is_waiting, need, sign, waiting_revocation,
};
use ibgib_peer::entropy::{OsEntropy, now_ms};
use ibgib_peer::{Host, HostOptions, identity, recover};
use ibgib_saga::SagaError;
use ibgib_spaces::{Commit, MemorySpace};
use std::sync::Arc;

struct World {
    /// The owner's device.
    device: MemorySpace,
    host: Arc<Host>,
    secret: Secret,
    paper: Secret,
}

fn secret(text: &str) -> Secret {
    Secret::new(text.repeat(32).into_bytes())
}

impl World {
    /// An identity with a guard pool, that the host knows.
    async fn new() -> (Self, Chain) {
        let host = Host::new(Arc::new(MemorySpace::new("server")), HostOptions::default());
        let it = Self { device: MemorySpace::new("device"), host, secret: secret("a"), paper: secret("b") };
        let born = identity::create_with_recovery(&it.device, &it.secret, &it.paper).await.unwrap();
        it.host.post_genesis_keystone(born.tip()).await.unwrap();
        let chain = identity::open_guard(&it.device, born.tjp(), &it.secret).await.unwrap();
        it.post(chain.tip()).await.unwrap();
        // An open pool with leaves left is not opened again.
        let again = identity::open_guard(&it.device, born.tjp(), &it.secret).await.unwrap();
        assert_eq!(again.tip(), chain.tip());
        (it, chain)
    }

    async fn post(&self, frame: &Verified<IbGib>) -> Result<Addr, SagaError> {
        self.host.post_evolution(&frame.tjp().unwrap(), std::slice::from_ref(frame), None).await
    }

    async fn waiting(&self, chain: &Chain) -> Verified<IbGib> {
        identity::waiting_revocation(&self.device, chain, &self.secret, "used in two places").await.unwrap()
    }

    /// A frame as a device with the secret makes it, whatever any other has made.
    fn signed(&self, chain: &Chain, target: &str) -> Signed {
        let claim = Claim { verb: VERB_SYNC.into(), target: target.into(), ..Claim::default() };
        sign(chain, &self.secret, &claim, leaf(chain, VERB_SYNC), now_ms(), &mut OsEntropy).unwrap()
    }
}

fn leaf(chain: &Chain, verb: &str) -> SignOpts {
    let need = need(chain, verb, &[]).unwrap().unwrap();
    let mut reserved = Reserved::open(need.tree, 0);
    reserved.stored(reserved.store(need.from, 1));
    SignOpts { leaf: Some(reserved.take(need.from).unwrap()), ..SignOpts::default() }
}

fn code<T: std::fmt::Debug>(done: Result<T, SagaError>) -> String {
    done.unwrap_err().code().to_owned()
}

#[tokio::test]
async fn a_copy_that_signs_on_a_state_that_was_left_ends_the_identity_until_it_is_taken_back() {
    let (world, state) = World::new().await;
    let revocation = world.waiting(&state).await;
    let owner = world.signed(&state, "the owner's");
    world.post(&owner.frame).await.unwrap();
    // Before there are two frames it ends nothing, whoever brings it and by whatever way.
    assert_eq!(code(world.host.end_guarded(&revocation).await), "identity_invalid");
    assert_eq!(code(world.post(&revocation).await), "identity_invalid");
    assert_eq!(world.host.forks().await.unwrap(), []);

    let copy = world.signed(&state, "the copy's");
    assert_eq!(code(world.post(&copy.frame).await), "identity_forked");
    assert_eq!(world.host.forks().await.unwrap(), [(state.tjp().clone(), state.tip().addr().clone())]);
    // Used in three places at once, it leaves three frames.
    let third = world.signed(&state, "the second copy's").frame;
    let key = format!("evidence/{}/{}", state.tip().addr(), third.addr());
    let records = vec![(key, Some(third.to_json().into_bytes()))];
    world.host.space().commit(Commit { records, ..Commit::default() }).await.unwrap();
    for _ in 0..2 {
        world.host.end_guarded(&revocation).await.unwrap();
    }
    let more = [world.signed(&copy.chain, "more"), world.signed(&owner.chain, "more")];
    for frame in [&copy.frame, &more[0].frame, &more[1].frame] {
        assert_eq!(code(world.post(frame).await), "identity_revoked");
    }
    // The tip is the one that it was: a revocation that waited is no frame of the timeline.
    let tip = world.host.space().tip(state.tjp()).await.unwrap().unwrap();
    assert_eq!(&tip.addr, owner.frame.addr());

    // Its owner takes it back with the secret that the copy does not have.
    let taken_back = recover(&world.device, state.tjp(), &world.paper, &secret("c")).await.unwrap();
    world.post(taken_back.tip()).await.unwrap();
    assert_eq!(world.host.forks().await.unwrap(), []);
    assert_eq!(code(world.host.end_guarded(&revocation).await), "identity_invalid");
    // What is of before the recovery is stale, and evidence of nothing.
    assert_eq!(code(world.post(&copy.frame).await), "identity_stale");
}

#[tokio::test]
async fn what_was_used_in_two_places_is_told_in_the_order_in_which_it_was_seen() {
    let (world, first) = World::new().await;
    let mut identities = vec![first];
    let born = identity::create_with_recovery(&world.device, &world.secret, &world.paper).await.unwrap();
    world.host.post_genesis_keystone(born.tip()).await.unwrap();
    identities.push(born);
    // Against the order of their addresses.
    identities.sort_by_key(|chain| std::cmp::Reverse(chain.tjp().to_string()));
    let mut seen = Vec::new();
    for chain in &identities {
        let last = now_ms();
        while now_ms() == last {
            tokio::task::yield_now().await;
        }
        let [one, two] = ["one", "two"].map(|target| world.signed(chain, target));
        world.post(&one.frame).await.unwrap();
        assert_eq!(code(world.post(&two.frame).await), "identity_forked");
        seen.push((chain.tjp().clone(), chain.tip().addr().clone()));
        assert_eq!(world.host.forks().await.unwrap(), seen);
    }
    // What is used once more is not moved to the end.
    let third = world.signed(&identities[0], "three");
    assert_eq!(code(world.post(&third.frame).await), "identity_forked");
    assert_eq!(world.host.forks().await.unwrap(), seen);
    let taken_back = recover(&world.device, identities[0].tjp(), &world.paper, &secret("c")).await.unwrap();
    world.post(taken_back.tip()).await.unwrap();
    assert_eq!(world.host.forks().await.unwrap(), seen[1..]);
    assert_eq!(world.host.space().records("forked-ms/").await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_stranger_or_the_keeper_makes_of_it_triggers_and_ends_nothing() {
    let (world, state) = World::new().await;
    let (revocation, other) = (world.waiting(&state).await, world.waiting(&state).await);
    assert!(is_waiting(&revocation) && revocation.addr() != other.addr());
    let owner = world.signed(&state, "the owner's");
    world.post(&owner.frame).await.unwrap();
    // Junk on the same state, made of a frame that anybody can see; and what the keeper holds, as a second frame.
    let mut junk = (*owner.frame).clone();
    let data = junk.data.as_mut().and_then(Value::as_object_mut).unwrap();
    data.insert("frameDetails", Map::from_iter([("who", "a stranger")]));
    let junk = IbGib { gib: None, ..junk }.seal().unwrap();
    for frame in [&junk, &revocation, &other] {
        assert_eq!(code(world.post(frame).await), "identity_invalid");
    }
    assert_eq!(world.host.forks().await.unwrap(), []);
    // Nor does one that only goes on from the newest frame.
    let next = world.signed(&owner.chain, "by a copy that adopted it");
    world.post(&next.frame).await.unwrap();

    // A fork of another state is not what the revocation waited for, and what is none ends nothing.
    let [one, two] = ["one", "two"].map(|target| world.signed(&next.chain, target));
    world.post(&one.frame).await.unwrap();
    assert_eq!(code(world.post(&two.frame).await), "identity_forked");
    for frame in [&revocation, &one.frame] {
        assert_eq!(code(world.host.end_guarded(frame).await), "identity_invalid");
    }
    let forged = waiting_revocation(
        &next.chain,
        &world.secret,
        "with the leaf of another state",
        leaf(&next.chain, VERB_GUARD),
        now_ms(),
        &mut OsEntropy,
    )
    .unwrap();
    let mut changed = (*forged).clone();
    changed.rel8ns.clone_from(&revocation.rel8ns);
    let changed = IbGib { gib: None, ..changed }.seal().unwrap();
    assert_eq!(code(world.host.end_guarded(&changed).await), "identity_invalid");
    world.host.end_guarded(&forged).await.unwrap();
}
