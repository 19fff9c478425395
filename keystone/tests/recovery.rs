//! Taking an identity back: from a thief of the device's secret, after a fork, after a revocation that was not the owner's.

mod common;

use common::{NOW, Seeded, salts, secret, thief, with, without};
use ibgib::Value;
use ibgib_keystone::strategy::lms::{Height, LmsConfig, NextTree, Reserved, Width};
use ibgib_keystone::{
    Chain, Claim, Expect, KeystoneError, Pool, PoolConfig, Recoveries, Secret, SignOpts, Signed, Standing, config,
    genesis_with_trees, is_recovery, need, recover, recovery_pool, revoke, sign,
};

fn paper() -> Secret {
    Secret::new(b"thirty-two bytes on some paper .".to_vec())
}

fn new_device() -> Secret {
    Secret::new(b"thirty-two bytes, another device".to_vec())
}

fn pools(name: &str) -> Vec<PoolConfig> {
    let pool = |verb: &str| {
        let (salt, allowed_verbs) = (format!("{name}-{verb}"), vec![verb.to_owned()]);
        LmsConfig { salt, allowed_verbs, width: Width::W4, height: Height::H5, replenish: NextTree::Follows }.into()
    };
    vec![pool("sync"), pool("revoke")]
}

fn way_back(nth: u32) -> Pool {
    recovery_pool(&paper(), &format!("way-back-{nth}"), &mut Seeded(9)).unwrap()
}

fn owned() -> Chain {
    genesis_with_trees(&secret(), &pools("one"), &[], Some(&way_back(0)), None, NOW, &mut Seeded(2)).unwrap().chain
}

fn opts(chain: &Chain, verb: &str) -> SignOpts {
    let Some(need) = need(chain, verb, &[]).unwrap() else { return SignOpts::default() };
    let mut reserved = Reserved::open(need.tree, 0);
    reserved.stored(reserved.store(need.from, 1));
    SignOpts { leaf: Some(reserved.take(need.from).unwrap()), ..SignOpts::default() }
}

fn signed(chain: &Chain, secret: &Secret, target: &str) -> Signed {
    let claim = Claim { verb: "sync".into(), target: target.into(), ..Claim::default() };
    sign(chain, secret, &claim, opts(chain, "sync"), NOW, &mut Seeded(5)).unwrap()
}

fn taken_back(chain: &Chain, nth: u32) -> Result<Signed, KeystoneError> {
    let configs = pools(&format!("new-{nth}"));
    let opts = opts(chain, "recover");
    recover(chain, &paper(), (&new_device(), &configs), &way_back(nth), opts, NOW, &mut Seeded(nth.into()))
}

/// The verdict of a branch on another, both ways round; it must be the same.
#[track_caller]
fn judged(now: &Signed, first: &Signed, other: &Signed, other_first: &Signed) -> Standing {
    let one = now.chain.judge(&first.frame, &other.chain, &other_first.frame).unwrap();
    let back = other.chain.judge(&other_first.frame, &now.chain, &first.frame).unwrap();
    match &one {
        Standing::This => assert!(matches!(&back, Standing::Other(r) if r.to() == now.frame.addr())),
        Standing::Other(_) => assert_eq!(back, Standing::This),
        same => assert_eq!(same, &back),
    }
    one
}

#[test]
fn whoever_has_the_recovery_secret_takes_the_identity_back() {
    let chain = owned();
    assert!(chain.has_recovery());
    let stolen = signed(&chain, &secret(), "the thief's");
    let back = taken_back(&stolen.chain, 1).unwrap();
    assert!(is_recovery(&back.frame) && !is_recovery(&stolen.frame));
    assert_eq!(back.chain.recoveries(), Recoveries { count: 1, n: 2 });
    // The old secret signs nothing any more, the new one does, and it can be taken back again.
    let claim = Claim { verb: "sync".into(), target: "x".into(), ..Claim::default() };
    let late = sign(&back.chain, &secret(), &claim, opts(&back.chain, "sync"), NOW, &mut Seeded(5));
    assert_eq!(late.unwrap_err(), KeystoneError::WrongSecret);
    let more = signed(&back.chain, &new_device(), "the owner's");
    let again = taken_back(&more.chain, 2).unwrap();
    assert_eq!(again.chain.recoveries(), Recoveries { count: 2, n: 4 });
    let frames = [chain.tip(), &stolen.frame, &back.frame, &more.frame, &again.frame];
    let (replayed, _) = Chain::replay(frames.map(Clone::clone)).unwrap();
    assert_eq!(replayed.recoveries(), again.chain.recoveries());
}

#[test]
fn the_size_of_frames_stays_small() {
    let pools = config::binding_identity_pools(&salts());
    let born = genesis_with_trees(&secret(), &pools, &[], Some(&way_back(0)), None, NOW, &mut Seeded(2)).unwrap();
    assert!(born.frame.to_json().len() <= 1536, "{}", born.frame.to_json().len());
    let back = recover(
        &born.chain,
        &paper(),
        (&new_device(), &config::binding_identity_pools(&config::random_salts(&mut Seeded(77)))),
        &way_back(1),
        opts(&born.chain, "recover"),
        NOW,
        &mut Seeded(4),
    );
    let frame = back.unwrap().frame;
    assert!(frame.to_json().len() <= 4096, "{}", frame.to_json().len());
    // The one that holds its signature twice is somewhat longer.
    let salts = config::random_salts(&mut Seeded(78));
    let recovery = recovery_pool(&paper(), &format!("recovery-{}", "a".repeat(32)), &mut Seeded(9)).unwrap();
    let pools = config::binding_identity_pools(&salts);
    let born = genesis_with_trees(&secret(), &pools, &[], Some(&recovery), None, NOW, &mut Seeded(2)).unwrap();
    let revoked = revoke(&born.chain, &secret(), "lost", opts(&born.chain, "revoke"), NOW, &mut Seeded(4)).unwrap();
    assert!(revoked.frame.to_json().len() <= 4_400, "{}", revoked.frame.to_json().len());
    // Its signature makes one frame only: without the copy it is none.
    let bare = without(&revoked.frame, "data/revocationInfo/proof");
    assert_eq!(born.chain.clone().advance(&bare, &Expect::default()).unwrap_err()[0].rule(), "revocation");
}

#[test]
fn a_recovery_goes_before_every_other_frame_on_the_same_one() {
    let chain = owned();
    let thief = signed(&chain, &secret(), "the thief's");
    let more = signed(&thief.chain, &secret(), "more of the thief's");
    let ended = revoke(&more.chain, &secret(), "gone", opts(&more.chain, "revoke"), NOW, &mut Seeded(6)).unwrap();
    let back = taken_back(&chain, 1).unwrap();
    let further = signed(&back.chain, &new_device(), "the owner's");
    for now in [&thief, &more, &ended] {
        for other in [&back, &further] {
            let Standing::Other(proof) = judged(now, &thief, other, &back) else { panic!("the recovery stands") };
            assert_eq!((proof.from(), proof.to()), (now.frame.addr(), other.frame.addr()));
            assert_eq!(proof.tjp(), chain.tjp());
        }
    }
    // Two frames that nobody took back: nobody can tell.
    let fork = signed(&chain, &secret(), "the owner's");
    assert_eq!(judged(&more, &thief, &fork, &fork), Standing::Unknown);
    // Taken back on one side later on.
    let healed = taken_back(&fork.chain, 1).unwrap();
    assert!(matches!(judged(&more, &thief, &healed, &fork), Standing::Other(_)));
}

#[test]
fn of_several_recoveries_the_deepest_stands_and_two_on_one_frame_end_the_identity() {
    let chain = owned();
    let thief = signed(&chain, &secret(), "the thief's");
    let early = taken_back(&chain, 1).unwrap();
    let late = taken_back(&thief.chain, 2).unwrap();
    assert_eq!(judged(&late, &thief, &early, &early), Standing::This);
    // Taken back once more, the other is the deeper one.
    let owner = signed(&early.chain, &new_device(), "the owner's");
    let twice = taken_back(&owner.chain, 3).unwrap();
    assert!(matches!(judged(&late, &thief, &twice, &early), Standing::Other(_)));
    // Somebody else has the recovery secret, too.
    let second = taken_back(&chain, 4).unwrap();
    assert_eq!(judged(&early, &early, &second, &second), Standing::Neither);
    let deeper = taken_back(&second.chain, 5).unwrap();
    assert_eq!(judged(&early, &early, &deeper, &second), Standing::Neither);
    let beside = signed(&chain, &secret(), "beside");
    let as_late = taken_back(&beside.chain, 6).unwrap();
    assert_eq!(judged(&late, &thief, &as_late, &beside), Standing::Neither);
}

#[test]
fn branches_that_do_not_part_where_is_said_are_not_judged() {
    let chain = owned();
    let stolen = signed(&chain, &secret(), "the thief's");
    let back = taken_back(&chain, 1).unwrap();
    let later = signed(&back.chain, &new_device(), "the owner's");
    assert_eq!(stolen.chain.judge(&stolen.frame, &later.chain, &later.frame), None);
    assert_eq!(stolen.chain.judge(&stolen.frame, &stolen.chain, &stolen.frame), None);
    let stranger = genesis_with_trees(&thief(), &pools("s"), &[], Some(&way_back(7)), None, NOW, &mut Seeded(8));
    let stranger = taken_back(&stranger.unwrap().chain, 8).unwrap();
    assert_eq!(stolen.chain.judge(&stolen.frame, &stranger.chain, &stranger.frame), None);
}

#[test]
fn nobody_else_takes_it_back() {
    let chain = owned();
    let by = |who: &Secret, configs: &[PoolConfig], next: &Pool| {
        recover(&chain, who, (&new_device(), configs), next, opts(&chain, "recover"), NOW, &mut Seeded(3))
    };
    assert_eq!(by(&secret(), &pools("new"), &way_back(1)).unwrap_err(), KeystoneError::WrongSecret);
    assert_eq!(by(&thief(), &pools("new"), &way_back(1)).unwrap_err(), KeystoneError::WrongSecret);
    // Pools that were there, none beside the way back, or no way back.
    for (configs, next) in [(pools("one"), way_back(1)), (pools("new"), way_back(0)), (vec![], way_back(1))] {
        assert!(
            matches!(by(&paper(), &configs, &next), Err(KeystoneError::Invalid(why)) if why.starts_with("recovery"))
        );
    }
    let sync_only = genesis_with_trees(&secret(), &pools("n"), &[], None, None, NOW, &mut Seeded(2)).unwrap();
    let none = recover(
        &sync_only.chain,
        &paper(),
        (&new_device(), &pools("new")),
        &way_back(1),
        SignOpts::default(),
        NOW,
        &mut Seeded(3),
    );
    assert_eq!(none.unwrap_err(), KeystoneError::NoPool("recover".into()));
}

#[test]
fn no_member_of_a_recovery_can_be_changed_and_the_pool_signs_nothing_else() {
    let chain = owned();
    let back = taken_back(&chain, 1).unwrap();
    for (path, value) in [
        ("data/challengePools/0/publicKey", Value::from("AAAA")),
        ("data/challengePools/2/config/salt", Value::from("mine")),
        ("data/proofs/0/claim/target", Value::from("elsewhere")),
        ("data/proofs/0/claim/verb", Value::from("sync")),
    ] {
        let frame = with(&back.frame, path, value);
        assert!(chain.clone().advance(&frame, &Expect::default()).is_err(), "{path}");
    }
    // The pool that takes it back signs no claim of another verb, and a frame that takes nothing back is none.
    let claim = Claim { verb: "recover".into(), target: chain.tip().addr().to_string(), ..Claim::default() };
    let plain = sign(&chain, &paper(), &claim, opts(&chain, "recover"), NOW, &mut Seeded(5));
    assert!(matches!(plain, Err(KeystoneError::Invalid(why)) if why.starts_with("recovery")));
}
