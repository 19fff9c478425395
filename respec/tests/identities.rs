//! What using an identity for years costs: the same at every use. Shown with `hash-reveal-v1`, whose states grow with
//! what was spent.

use ibgib::{Addr, Verified};
use ibgib_keystone::{Chain, Claim, Secret, SignOpts, Signed, config};
use ibgib_peer::entropy::{OsEntropy, now_ms};
use ibgib_peer::identity::{create_with_pools, load_chain};
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
use ibgib_spaces::{Advance, Commit, MemorySpace, Space};
use std::sync::Arc;

async fn create(space: &dyn Space, secret: &Secret) -> Chain {
    let pools = config::identity_pools(&config::random_salts(&mut OsEntropy));
    create_with_pools(space, secret, &pools).await.unwrap()
}

async fn use_it(space: &dyn Space, chain: &Chain, secret: &Secret, target: &str) -> Chain {
    let claim = Claim { verb: "sync".into(), target: target.into(), ..Claim::default() };
    let Signed { frame, step, chain } =
        ibgib_keystone::sign(chain, secret, &claim, SignOpts::default(), now_ms(), &mut OsEntropy).unwrap();
    let tips = vec![Advance::Keystone(step)];
    space.commit(Commit { nodes: vec![frame], tips, ..Commit::default() }).await.unwrap();
    chain
}

#[tokio::test]
async fn an_identity_used_often_is_not_replayed_from_its_beginning() {
    let space = FaultSpace::new(Arc::new(MemorySpace::new("m")), FaultPlan::default());
    let secret = Secret::new(b"a secret that is used a lot".to_vec());
    let mut chain = create(&space, &secret).await;
    let tjp: Addr = chain.tjp().clone();
    let (mut most, mut frames) = (0, vec![chain.tip().clone()]);
    for i in 0..300 {
        chain = use_it(&space, &chain, &secret, &format!("target {i}")).await;
        frames.push(chain.tip().clone());
        let before = space.calls(Op::Read);
        let loaded = load_chain(&space, &tjp).await.unwrap().unwrap();
        most = most.max(space.calls(Op::Read) - before);
        assert_eq!((loaded.tip(), loaded.pools()), (chain.tip(), chain.pools()));
    }
    assert!(most < 150, "{most} reads for the newest of {} frames", frames.len());
    let replayed = Chain::replay(frames.iter().cloned()).unwrap().0;
    assert_eq!(load_chain(&space, &tjp).await.unwrap().unwrap().pools(), replayed.pools());

    // Whatever stands in the record, the frames are what counts.
    let key = format!("chain/{tjp}");
    let stranger = create(&space, &secret).await;
    for kept in ["", "no JSON", "[]", "[\"x\"]", &format!("[{:?}]", stranger.tjp().as_str())] {
        let records = vec![(key.clone(), Some(kept.as_bytes().to_vec()))];
        space.commit(Commit { records, ..Commit::default() }).await.unwrap();
        let loaded = load_chain(&space, &tjp).await.unwrap().unwrap();
        assert_eq!((loaded.tip(), loaded.pools()), (replayed.tip(), replayed.pools()), "{kept}");
    }
}

#[tokio::test]
async fn a_frame_of_another_branch_is_not_gone_on_from() {
    let space = MemorySpace::new("m");
    let secret = Secret::new(b"a secret that is used a lot".to_vec());
    let first = create(&space, &secret).await;
    let mut chain = first.clone();
    let mut frames: Vec<Verified<_>> = vec![first.tip().clone()];
    for i in 0..3 {
        chain = use_it(&space, &chain, &secret, &format!("target {i}")).await;
        frames.push(chain.tip().clone());
    }
    // A state that was kept at a frame which the tip does not descend from.
    let claim = Claim { verb: "sync".into(), target: "elsewhere".into(), ..Claim::default() };
    let other = ibgib_keystone::sign(&first, &secret, &claim, SignOpts::default(), now_ms(), &mut OsEntropy).unwrap();
    let spent = other.chain.checkpoint();
    let kept = ibgib::strings(std::iter::once(other.frame.addr().as_str()).chain(spent)).to_json();
    let records = vec![(format!("chain/{}", first.tjp()), Some(kept.into_bytes()))];
    space.commit(Commit { nodes: vec![other.frame.clone()], records, ..Commit::default() }).await.unwrap();
    let loaded = load_chain(&space, first.tjp()).await.unwrap().unwrap();
    assert_eq!((loaded.tip(), loaded.pools()), (chain.tip(), Chain::replay(frames).unwrap().0.pools()));
}
