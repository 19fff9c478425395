//! Identities whose signatures bind what they sign, between several servers: what is signed for one is good for no other,
//! no leaf signs twice whatever is restored, and weaker strategies come in only where they are allowed.

use ibgib::{IbGib, Value, Verified};
use ibgib_keystone::strategy::hash_reveal;
use ibgib_keystone::strategy::lms::Reserved;
use ibgib_keystone::{Chain, Claim, PoolConfig, Secret, SignOpts, Signed, config, genesis, need, sign};
use ibgib_peer::entropy::{OsEntropy, now_ms};
use ibgib_peer::{
    Host, HostOptions, Innerspace, Remote, SecretSource, SenderIdentity, SessionSigner, deliver_identity,
    establish_session_identity, identity, recover, refresh_identity, sync,
};
use ibgib_saga::SagaError;
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op, When};
use ibgib_spaces::{DurableSpace, MemorySpace, Space};
use std::path::Path;
use std::sync::Arc;

fn secret() -> Secret {
    Secret::new(b"thirty-two bytes that nobody has".to_vec())
}

fn recovery() -> Secret {
    Secret::new(b"a secret that is kept elsewhere".to_vec())
}

fn memory(name: &str) -> Arc<dyn Space> {
    Arc::new(MemorySpace::new(name))
}

fn server(name: &str, allow_strategies: &[&str]) -> Innerspace {
    let allow_strategies = allow_strategies.iter().map(|name| (*name).to_owned()).collect();
    Innerspace::new(Host::new(memory(name), HostOptions { allow_strategies, ..HostOptions::default() }))
}

fn original() -> Vec<PoolConfig> {
    config::identity_pools(&config::random_salts(&mut OsEntropy))
}

fn sender(chain: &Chain) -> SenderIdentity {
    SenderIdentity { tjp: chain.tjp().clone(), secret: SecretSource::new(|| Ok(secret())) }
}

async fn establish(space: &Arc<dyn Space>, at: &Innerspace, who: &SenderIdentity) -> Result<SessionSigner, SagaError> {
    establish_session_identity(space, at, who).await
}

async fn newest(space: &Arc<dyn Space>, who: &SenderIdentity) -> Chain {
    identity::load_chain(&**space, &who.tjp).await.unwrap().unwrap()
}

/// Leaves that the identity's pool for `sync` has behind it.
async fn used(space: &Arc<dyn Space>, who: &SenderIdentity) -> usize {
    newest(space, who).await.pools()[0].used
}

#[tokio::test]
async fn what_is_signed_for_one_server_is_good_for_no_other() {
    let (here, a, b) = (memory("here"), server("server-a", &[]), server("server-b", &[]));
    let me = sender(&identity::create(&*here, &secret()).await.unwrap());
    let signer = establish(&here, &a, &me).await.unwrap();
    let frames = identity::frames(&*here, &me.tjp).await.unwrap().unwrap();
    b.post_genesis_keystone(&frames[0]).await.unwrap();
    let error = b.post_evolution(&me.tjp, &frames[1..], Some(signer.chain().tip())).await.unwrap_err();
    assert_eq!(error.code(), "session_audience");

    // The same signature on a session that somebody else made for b.
    let mut session = (**signer.chain().tip()).clone();
    let data = session.data.as_mut().and_then(Value::as_object_mut).unwrap();
    let details = data.get_mut("frameDetails").and_then(Value::as_object_mut).unwrap();
    details.insert("audience", b.audience().await.unwrap());
    let session = session.seal().unwrap();
    let error = b.post_evolution(&me.tjp, &frames[1..], Some(&session)).await.unwrap_err();
    assert_eq!(error.code(), "claim_unexpected");
    let reaimed = frames[1].to_json().replace(signer.chain().tip().addr().as_str(), session.addr().as_str());
    let reaimed = reaimed.replace(&a.audience().await.unwrap(), &b.audience().await.unwrap());
    let reaimed: Verified<IbGib> = IbGib { gib: None, ..parsed(&reaimed) }.seal().unwrap();
    let error = b.post_evolution(&me.tjp, &[reaimed], Some(&session)).await.unwrap_err();
    assert_eq!(error.code(), "solution_wrong");

    // The owner's own step on to b takes the frames for a along.
    sync(&here, Arc::new(b), &me).await.unwrap();
}

fn parsed(text: &str) -> IbGib {
    IbGib::from_value(Value::parse(text, ibgib::Mode::Strict).unwrap(), ibgib::Mode::Strict).unwrap()
}

#[tokio::test]
async fn servers_take_what_binds_nothing_only_where_it_is_allowed() {
    let (here, strict, open) = (memory("here"), server("strict", &[]), server("open", &[hash_reveal::NAME]));
    let old = sender(&identity::create_with_pools(&*here, &secret(), &original()).await.unwrap());
    let error = establish(&here, &strict, &old).await.unwrap_err();
    assert_eq!(error.code(), "identity_strategy");
    establish(&here, &open, &old).await.unwrap();

    // What is there already goes on, comes over, and goes on.
    identity::rotate(&*here, &old.tjp, &secret(), &recovery()).await.unwrap();
    let signer = establish(&here, &open, &old).await.unwrap();
    assert!(newest(&here, &old).await.binds() && signer.chain().binds());
    assert_eq!(
        identity::rotate(&*here, &old.tjp, &secret(), &recovery()).await.unwrap_err().code(),
        "identity_invalid"
    );
}

#[tokio::test]
async fn a_session_is_as_strong_as_its_identity() {
    let (here, a) = (memory("here"), server("a", &[]));
    let me = sender(&identity::create(&*here, &secret()).await.unwrap());
    let signer = establish(&here, &a, &me).await.unwrap();
    let frames = identity::frames(&*here, &me.tjp).await.unwrap().unwrap();
    let details = signer.chain().tip().datum("frameDetails").cloned();
    let pools = config::session_pools(&config::random_salts(&mut OsEntropy));
    let weak = genesis(&secret(), &pools, details, now_ms(), &mut OsEntropy).unwrap().frame;
    let error = a.post_evolution(&me.tjp, &frames[1..], Some(&weak)).await.unwrap_err();
    assert_eq!(error.code(), "session_strategy");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_restored_store_asks_and_skips_before_it_signs() {
    let (dir, a) = (tempfile::tempdir().unwrap(), server("a", &[]));
    let (place, backup) = (dir.path().join("store"), dir.path().join("backup"));
    let made = DurableSpace::create(&place).unwrap();
    let me = sender(&identity::create(&made, &secret()).await.unwrap());
    drop(made);
    copy(&place, &backup);
    let space: Arc<dyn Space> = Arc::new(DurableSpace::open(&place).unwrap());
    for n in 1..=2 {
        // A session that has signed is not used again.
        establish(&space, &a, &me).await.unwrap().sign_context_connect(&*space, "challenge", Vec::new()).await.unwrap();
        assert_eq!(used(&space, &me).await, n);
    }
    let restored: Arc<dyn Space> = Arc::new(DurableSpace::open(&backup).unwrap());
    establish(&restored, &a, &me).await.unwrap();
    assert_eq!(used(&restored, &me).await, 2 + 16 + 1);
    // The other one takes that over, and skips in its turn.
    assert_eq!(refresh_identity(&space, &a, &me.tjp).await.unwrap().n(), 3);
}

#[tokio::test]
async fn a_leaf_that_was_taken_for_a_frame_that_came_to_nothing_is_not_taken_again() {
    let inner = memory("here");
    let me = sender(&identity::create(&*inner, &secret()).await.unwrap());
    // The leaf is set aside, then the frame that it signed cannot be stored.
    let plan = FaultPlan::default().nth(Op::Commit, 2, When::Before);
    let failing: Arc<dyn Space> = Arc::new(FaultSpace::new(Arc::clone(&inner), plan));
    let a = server("a", &[]);
    establish(&failing, &a, &me).await.unwrap_err();
    assert_eq!(used(&inner, &me).await, 0);
    establish(&inner, &a, &me).await.unwrap();
    assert_eq!(used(&inner, &me).await, 2);
}

/// A frame on the chain's newest one, with this leaf.
fn signed(chain: &Chain, target: &str, leaf: u32) -> Signed {
    let need = need(chain, "sync", &[]).unwrap().unwrap();
    let mut reserved = Reserved::open(need.tree, 0);
    reserved.stored(leaf + 1);
    let opts = SignOpts { leaf: Some(reserved.take(leaf).unwrap()), ..SignOpts::default() };
    let claim = Claim { verb: "sync".into(), target: target.into(), ..Claim::default() };
    sign(chain, &secret(), &claim, opts, now_ms(), &mut OsEntropy).unwrap()
}

#[tokio::test]
async fn a_recovery_of_the_past_lifts_no_later_fork() {
    let (here, a) = (memory("here"), server("a", &[]));
    let me = sender(&identity::create_with_recovery(&*here, &secret(), &recovery()).await.unwrap());
    establish(&here, &a, &me).await.unwrap();
    let back = recover(&*here, &me.tjp, &recovery(), &secret()).await.unwrap();
    deliver_identity(&here, &a, &me.tjp).await.unwrap();

    // The new secret is stolen, too.
    let (owner, thief) = (signed(&back, "the owner's", 0), signed(&back, "the thief's", 1));
    let more = signed(&owner.chain, "more", 2);
    let post = async |frames: &[Verified<IbGib>]| {
        a.post_evolution(&me.tjp, frames, None).await.map_err(|e| e.code().to_owned())
    };
    post(std::slice::from_ref(&owner.frame)).await.unwrap();
    assert_eq!(post(std::slice::from_ref(&thief.frame)).await.unwrap_err(), "identity_forked");
    let again = [back.tip().clone(), owner.frame.clone(), more.frame.clone()];
    assert_eq!(post(&again).await.unwrap_err(), "identity_forked");
    // A new one does.
    recover(&*here, &me.tjp, &recovery(), &secret()).await.unwrap();
    deliver_identity(&here, &a, &me.tjp).await.unwrap();
    establish(&here, &a, &me).await.unwrap();
}
