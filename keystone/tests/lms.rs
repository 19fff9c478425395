//! Signatures that bind what they sign: an identity's whole life, and everything that somebody who has seen its frames
//! could try.

mod common;

use common::*;
use ibgib::{IbGib, Mode, Value, Verified};
use ibgib_keystone::danger::{resume, validate_alone};
use ibgib_keystone::strategy::lms::{
    Height, LmsConfig, NextTree, ReserveFirst, Reserved, Tree, TreeName, Width, first_tree, leaf_used_twice,
};
use ibgib_keystone::{
    Chain, Claim, Expect, KeystoneError, PoolConfig, Recoveries, Secret, SignOpts, Signed, ValidateError, config,
    demand, equivocation, genesis, genesis_with_trees, need, proves_fork, revoke, rotate, sign,
};
use proptest::prelude::*;
use std::sync::Arc;

type Frame = Verified<IbGib>;

fn pool(name: &str, replenish: NextTree) -> PoolConfig {
    let (salt, allowed_verbs) = (format!("{name}-salt"), vec![name.to_owned()]);
    LmsConfig { salt, allowed_verbs, width: Width::W4, height: Height::H5, replenish }.into()
}

/// An identity with small trees: `sync`, whose trees follow each other, and `revoke`, whose does not.
fn small() -> Signed {
    born(&[pool("sync", NextTree::Follows), pool("revoke", NextTree::Never)])
}

/// Options that let the next leaf sign, as a caller gets them that had nothing set aside before.
fn opts(chain: &Chain, verb: &str, demanded: &[String]) -> Result<SignOpts, KeystoneError> {
    let Some(need) = need(chain, verb, demanded)? else { return Ok(SignOpts::default()) };
    let from = need.demanded.unwrap_or(need.from);
    let mut reserved = Reserved::open(need.tree, 0);
    reserved.stored(reserved.store(from, 1));
    let leaf = Some(reserved.take(from).unwrap());
    Ok(SignOpts { leaf, demanded: demanded.to_vec(), ..SignOpts::default() })
}

fn signs(chain: &Chain, claim: &Claim, opts: SignOpts) -> Result<Signed, KeystoneError> {
    sign(chain, &secret(), claim, opts, NOW, &mut Seeded(5))
}

fn signed_with(chain: &Chain, target: &str, opts: SignOpts) -> Signed {
    signs(chain, &claim("sync", target), opts).unwrap()
}

fn next(chain: &Chain, target: &str) -> Signed {
    signed_with(chain, target, opts(chain, "sync", &[]).unwrap())
}

fn revoked(chain: &Chain) -> Signed {
    revoke(chain, &secret(), "lost", opts(chain, "revoke", &[]).unwrap(), NOW, &mut Seeded(6)).unwrap()
}

fn counts(chain: &Chain) -> Vec<(usize, usize)> {
    chain.pools().iter().map(|pool| (pool.left, pool.used)).collect()
}

#[track_caller]
fn refused(chain: &Chain, frame: &Frame) -> &'static str {
    refused_expecting(chain, frame, &Expect::default())
}

#[track_caller]
fn refused_expecting(chain: &Chain, frame: &Frame, expect: &Expect) -> &'static str {
    let mut after = chain.clone();
    let errors = after.advance(frame, expect).unwrap_err();
    assert_eq!((after.tip(), after.pools()), (chain.tip(), chain.pools()));
    errors.first().map(ValidateError::rule).unwrap()
}

#[test]
fn a_tree_signs_until_the_next_one_follows() {
    let mut chain = small().chain;
    let mut frames = vec![chain.tip().clone()];
    for leaf in 0..70 {
        assert_eq!(counts(&chain)[0], (32 - leaf % 32, leaf));
        let made = next(&chain, &some_target(leaf as u32));
        assert_eq!(used(&made.frame), [format!("{}.{}", leaf / 32, leaf % 32)]);
        frames.push(made.frame);
        chain = made.chain;
    }
    let last = revoked(&chain);
    frames.push(last.frame.clone());
    let (replayed, step) = Chain::replay(frames.clone()).unwrap();
    assert_eq!((replayed.n(), step.to(), replayed.is_revoked()), (71, last.frame.addr(), true));
    assert_eq!(counts(&replayed), [(26, 70), (31, 1)]);
    assert_eq!(replayed.checkpoint(), Vec::<&str>::new(), "the pools tell what was spent");
    let resumed = resume(frames[40].clone(), [], Recoveries::default()).unwrap();
    assert_eq!(refused(&resumed, &frames[40]), "n");
    resumed.clone().advance(&frames[41], &Expect::default()).unwrap();
}

#[test]
fn a_tree_that_is_ready_follows_early() {
    let mut chain = small().chain;
    let mut seen = Vec::new();
    for i in 0..30 {
        let wanted = need(&chain, "sync", &[]).unwrap().unwrap();
        let mut opts = opts(&chain, "sync", &[]).unwrap();
        if let Some(name) = &wanted.next_tree {
            seen.push(wanted.from);
            opts.trees.push(Arc::new(wanted.builder(&secret(), name).finish()));
        }
        chain = signed_with(&chain, &some_target(i), opts).chain;
    }
    // The last eighth of 32 begins at 28, and the tree changes with the first leaf that may change it.
    assert_eq!(seen, [28]);
    assert_eq!(counts(&chain)[0], (31, 33));
}

#[test]
fn a_tree_that_nothing_follows_runs_dry() {
    let mut chain = born(&[pool("sync", NextTree::Never)]).chain;
    for i in 0..32 {
        chain = next(&chain, &some_target(i)).chain;
    }
    assert_eq!(counts(&chain), [(0, 32)]);
    assert_eq!(need(&chain, "sync", &[]).unwrap_err(), KeystoneError::Exhausted("sync".into()));
    let none = signs(&chain, &claim("sync", "note^gib"), SignOpts::default());
    assert_eq!(none.unwrap_err(), KeystoneError::Exhausted("sync".into()));
}

#[test]
fn frames_are_small() {
    let born = born(&config::binding_identity_pools(&salts()));
    assert!(born.frame.to_json().len() <= 1_500, "{}", born.frame.to_json().len());
    let claim = Claim { audience: Some("a".repeat(64)), nonce: Some("b".repeat(36)), ..claim("sync", &some_target(0)) };
    let made = signs(&born.chain, &claim, opts(&born.chain, "sync", &[]).unwrap()).unwrap();
    assert!(made.frame.to_json().len() <= 4_096, "{}", made.frame.to_json().len());
    let revoked = revoked(&born.chain);
    assert!(revoked.frame.to_json().len() <= 4_096, "{}", revoked.frame.to_json().len());

    let session = self::born(&config::binding_session_pools(&salts()));
    assert!(session.frame.to_json().len() <= 1_500);
    let made = signs(&session.chain, &claim, opts(&session.chain, "sync", &[]).unwrap()).unwrap();
    assert!(made.frame.to_json().len() <= 4_096, "{}", made.frame.to_json().len());
}

mod leaves {
    use super::*;

    fn name() -> TreeName {
        TreeName { salt: "sync-salt".into(), number: 0 }
    }

    #[test]
    fn nothing_signs_with_a_leaf_that_is_not_set_aside() {
        let chain = small().chain;
        let claim = claim("sync", "note^gib");
        let error = signs(&chain, &claim, SignOpts::default()).unwrap_err();
        assert_eq!(error, KeystoneError::LeafNotReserved(0));

        let mut other = Reserved::open(TreeName { number: 1, ..name() }, 0);
        other.stored(4);
        let leaf = Some(other.take(0).unwrap());
        let error = signs(&chain, &claim, SignOpts { leaf, ..SignOpts::default() }).unwrap_err();
        assert_eq!(error, KeystoneError::LeafNotReserved(0));

        let chain = next(&chain, "note^gib").chain;
        let mut spent = Reserved::open(name(), 0);
        spent.stored(4);
        let leaf = Some(spent.take(0).unwrap());
        let error = signs(&chain, &claim, SignOpts { leaf, ..SignOpts::default() }).unwrap_err();
        assert_eq!(error, KeystoneError::LeafNotReserved(1));
    }

    #[test]
    fn each_is_given_once() {
        let mut reserved = Reserved::open(name(), 0);
        assert_eq!(reserved.take(0).unwrap_err(), ReserveFirst { from: 0 });
        let end = reserved.store(0, 4);
        assert_eq!(end, 4);
        assert_eq!(reserved.take(0).unwrap_err(), ReserveFirst { from: 0 }, "not durable yet");
        reserved.stored(end);
        let taken: Vec<u32> = std::iter::from_fn(|| Some(reserved.take(0).ok()?.index())).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
        assert_eq!(reserved.take(0).unwrap_err(), ReserveFirst { from: 4 });
        assert_eq!(reserved.take_this(2), None);
        assert_eq!(reserved.take_this(6), Some(Err(ReserveFirst { from: 6 })));
        assert_eq!(reserved.store(6, 2), 8);
    }

    #[test]
    fn a_restart_skips_what_may_have_been_used() {
        let chain = small().chain;
        let mut reserved = Reserved::open(name(), 0);
        let stored = reserved.store(0, 8);
        reserved.stored(stored);
        drop(reserved.take(0).unwrap());
        let mut again = Reserved::open(name(), stored);
        assert_eq!(again.take(0).unwrap_err(), ReserveFirst { from: 8 });
        again.stored(again.store(0, 8));
        let leaf = Some(again.take(0).unwrap());
        let made = signed_with(&chain, "note^gib", SignOpts { leaf, ..SignOpts::default() });
        assert_eq!(used(&made.frame), ["0.8"]);
        assert_eq!(counts(&made.chain)[0], (23, 9));
    }

    #[test]
    fn the_verifier_demands_one_of_the_next() {
        let mut chain = small().chain;
        for _ in 0..3 {
            let demanded = demand(&chain, "sync", 1, &mut Seeded(chain.n()));
            let made = signed_with(&chain, "note^gib", opts(&chain, "sync", &demanded).unwrap());
            assert_eq!(used(&made.frame), demanded);
            let expect = Expect { demanded: Some(demanded), ..Expect::default() };
            chain.advance(&made.frame, &expect).unwrap();
        }
        let mut all = demand(&chain, "sync", 100, &mut Seeded(9));
        all.sort_by_key(|id| id[2..].parse::<u32>().unwrap());
        assert_eq!(all.len(), 8);
        assert_eq!(all[0], format!("0.{}", need(&chain, "sync", &[]).unwrap().unwrap().from));
    }

    #[test]
    fn what_was_demanded_is_used_or_nothing() {
        let chain = next(&small().chain, "note^gib").chain;
        for unknown in ["0.0", "0.9", "0.31", "0.32", "1.5", "0.05", "0.+5", "5", ""] {
            let error = need(&chain, "sync", &[unknown.into()]).unwrap_err();
            assert!(matches!(error, KeystoneError::UnknownDemand(_)), "{unknown}");
        }
        let two = ["0.3".to_owned(), "0.4".to_owned()];
        assert!(matches!(need(&chain, "sync", &two).unwrap_err(), KeystoneError::UnknownDemand(_)));

        // Signed without the demand, with another leaf, or claimed afterwards.
        let expect = Expect { demanded: Some(vec!["0.3".into()]), ..Expect::default() };
        let free = next(&chain, "note^gib").frame;
        assert_eq!(refused_expecting(&chain, &free, &expect), "demand");
        let other = signed_with(&chain, "note^gib", opts(&chain, "sync", &["0.4".into()]).unwrap()).frame;
        assert_eq!(refused_expecting(&chain, &other, &expect), "demand");
        let renamed = tampered(&other, |v| {
            part_mut(v, "data/proofs/0").as_object_mut().unwrap().insert("requiredChallengeIds", vec!["0.3".into()]);
        });
        assert_eq!(refused_expecting(&chain, &renamed, &expect), "demand");
        let mut opts = opts(&chain, "sync", &[]).unwrap();
        opts.demanded = vec!["0.3".into()];
        let error = signs(&chain, &claim("sync", "note^gib"), opts).unwrap_err();
        assert_eq!(error, KeystoneError::LeafNotReserved(3));
    }
}

mod trees {
    use super::*;

    #[test]
    fn building_goes_on_where_it_stopped() {
        let config = pool("sync", NextTree::Follows);
        let whole = first_tree(&config, &secret()).unwrap().finish();
        let mut begun = first_tree(&config, &secret()).unwrap();
        begun.step(13);
        assert_eq!(begun.left(), 19);
        let kept = begun.to_bytes();
        drop(begun);
        let resumed = first_tree(&config, &secret()).unwrap().resume(&kept);
        assert_eq!(resumed.left(), 19);
        assert_eq!(resumed.finish(), whole);
        let again = first_tree(&config, &secret()).unwrap().resume(&whole.to_bytes());
        assert_eq!((again.left(), again.finish()), (0, whole));
    }

    #[test]
    fn a_tree_that_was_kept_signs_as_one_that_is_built() {
        let configs = [pool("sync", NextTree::Follows), pool("revoke", NextTree::Never)];
        let trees: Vec<Arc<Tree>> =
            configs.iter().map(|config| Arc::new(first_tree(config, &secret()).unwrap().finish())).collect();
        let born = genesis_with_trees(&secret(), &configs, &trees, None, None, NOW, &mut Seeded(2)).unwrap();
        assert_eq!(born.frame, small().frame);
        let kept = SignOpts { trees, ..opts(&born.chain, "sync", &[]).unwrap() };
        assert_eq!(signed_with(&born.chain, "note^gib", kept).frame, next(&born.chain, "note^gib").frame);
    }

    #[test]
    fn a_tree_that_was_tampered_with_is_built_anew() {
        let chain = small().chain;
        let config = pool("sync", NextTree::Follows);
        let mut bytes = first_tree(&config, &secret()).unwrap().finish().to_bytes();
        bytes[100] ^= 1;
        let bad = Arc::new(first_tree(&config, &secret()).unwrap().resume(&bytes).finish());
        let opts = SignOpts { trees: vec![bad], ..opts(&chain, "sync", &[]).unwrap() };
        assert_eq!(signed_with(&chain, "note^gib", opts).frame, next(&chain, "note^gib").frame);
    }

    #[test]
    fn another_secret_signs_nothing() {
        let chain = small().chain;
        let config = pool("sync", NextTree::Follows);
        let right = Arc::new(first_tree(&config, &secret()).unwrap().finish());
        for trees in [vec![], vec![right]] {
            let opts = SignOpts { trees, ..opts(&chain, "sync", &[]).unwrap() };
            let error = sign(&chain, &thief(), &claim("sync", "note^gib"), opts, NOW, &mut Seeded(5)).unwrap_err();
            assert_eq!(error, KeystoneError::WrongSecret);
        }
    }

    #[test]
    fn pools_and_secrets_have_trees_of_their_own() {
        let key = |secret: &Secret, name: &str| {
            let frame = genesis(secret, &[pool(name, NextTree::Never)], None, NOW, &mut Seeded(2)).unwrap().frame;
            part(&frame.to_value(), "data/challengePools/0/publicKey").as_str().unwrap().to_owned()
        };
        let keys = [key(&secret(), "sync"), key(&secret(), "manage"), key(&thief(), "sync")];
        // The numbers of the parameter set are the same, nothing else.
        assert!(keys[0][..8] == keys[1][..8] && keys[0][11..] != keys[1][11..] && keys[0][11..] != keys[2][11..]);
    }
}

mod attacks {
    use super::*;

    /// The proof of one frame on everything else of another.
    fn spliced(proof_of: &Frame, frame: &Frame) -> Frame {
        let proofs = part(&proof_of.to_value(), "data/proofs").clone();
        with(frame, "data/proofs", proofs)
    }

    #[test]
    fn a_seen_proof_fits_no_other_claim() {
        let chain = small().chain;
        let frame = next(&chain, "note^gib").frame;
        for (member, other) in [("target", "evil^gib"), ("scope", "all"), ("audience", "another"), ("nonce", "another")]
        {
            let reaimed = tampered(&frame, |v| {
                object_mut(v, "data/proofs/0/claim").insert(member, other);
            });
            assert_eq!(refused(&chain, &reaimed), "solution_wrong", "{member}");
        }
    }

    #[test]
    fn a_seen_proof_fits_no_other_frame() {
        let chain = small().chain;
        let seen = next(&chain, "note^gib").frame;
        let details = SignOpts { details: Some("mine".into()), ..opts(&chain, "sync", &[]).unwrap() };
        let other = signed_with(&chain, "note^gib", details).frame;
        assert_eq!(refused(&chain, &spliced(&seen, &other)), "solution_wrong");
        assert_eq!(refused(&chain, &spliced(&other, &seen)), "solution_wrong");
        // On the frame after: the leaf is spent.
        let chain = next(&chain, "note^gib").chain;
        let after = next(&chain, "note^gib").frame;
        assert_eq!(refused(&chain, &spliced(&seen, &after)), "spent");
        assert_eq!(refused(&chain, &seen), "n");
    }

    #[test]
    fn a_seen_proof_fits_no_other_identity() {
        let chain = small().chain;
        let twin = genesis(
            &secret(),
            &[pool("sync", NextTree::Follows), pool("revoke", NextTree::Never)],
            Some("twin".into()),
            NOW,
            &mut Seeded(77),
        );
        let twin = twin.unwrap().chain;
        let seen = next(&chain, "note^gib").frame;
        assert_eq!(refused(&twin, &seen), "tjp");
        assert_eq!(refused(&twin, &spliced(&seen, &next(&twin, "note^gib").frame)), "solution_wrong");
    }

    #[test]
    fn a_pool_is_not_taken_over() {
        let mut chain = small().chain;
        let thiefs = |number: u32| {
            let config = pool("sync", NextTree::Follows);
            let born = genesis(&thief(), &[config], None, NOW, &mut Seeded(2)).unwrap();
            let mut taken = part(&born.frame.to_value(), "data/challengePools/0").clone();
            taken.as_object_mut().unwrap().insert("tree", number);
            taken
        };
        let early = next(&chain, "note^gib").frame;
        assert_eq!(refused(&chain, &with(&early, "data/challengePools/0", thiefs(0))), "next_pool");
        assert_eq!(refused(&chain, &with(&early, "data/challengePools/0", thiefs(1))), "next_pool");
        for _ in 0..28 {
            chain = next(&chain, "note^gib").chain;
        }
        // Where a next tree may come, only the signature is in the way.
        let late = next(&chain, "note^gib").frame;
        assert_eq!(refused(&chain, &with(&late, "data/challengePools/0", thiefs(1))), "solution_wrong");
        assert_eq!(refused(&chain, &with(&late, "data/challengePools/0", thiefs(2))), "next_pool");
        assert_eq!(refused(&chain, &with(&late, "data/challengePools/1", thiefs(1))), "other_pool");
    }

    #[test]
    fn a_signature_with_the_next_tree_is_the_owners_choice() {
        let mut chain = small().chain;
        for _ in 0..28 {
            chain = next(&chain, "note^gib").chain;
        }
        let wanted = need(&chain, "sync", &[]).unwrap().unwrap();
        let tree = Arc::new(wanted.builder(&secret(), &wanted.next_tree.clone().unwrap()).finish());
        let opts = SignOpts { trees: vec![tree], ..opts(&chain, "sync", &[]).unwrap() };
        let made = signed_with(&chain, "note^gib", opts).frame;
        // The same tree again, with its leaves fresh.
        let old = part(&chain.tip().to_value(), "data/challengePools/0/publicKey").clone();
        assert_eq!(refused(&chain, &with(&made, "data/challengePools/0/publicKey", old)), "next_pool");
        assert_eq!(refused(&chain, &with(&made, "data/challengePools/0/next", 1u32)), "next_pool");
        assert_eq!(refused(&chain, &with(&made, "data/challengePools/0/publicKey", "AAAA")), "next_pool");
        chain.clone().advance(&made, &Expect::default()).unwrap();
    }

    #[test]
    fn only_the_peer_meant_takes_it() {
        let chain = small().chain;
        let claim = Claim { audience: Some("a".into()), nonce: Some("1".into()), ..claim("sync", "note^gib") };
        let frame = signs(&chain, &claim, opts(&chain, "sync", &[]).unwrap()).unwrap().frame;
        let expect = |audience: &str, nonce: &str| Expect {
            audience: Some(audience.into()),
            nonce: Some(nonce.into()),
            ..Expect::default()
        };
        chain.clone().advance(&frame, &expect("a", "1")).unwrap();
        assert_eq!(refused_expecting(&chain, &frame, &expect("b", "1")), "claim_unexpected");
        assert_eq!(refused_expecting(&chain, &frame, &expect("a", "2")), "claim_unexpected");
        let unsaid = next(&chain, "note^gib").frame;
        assert_eq!(refused_expecting(&chain, &unsaid, &expect("a", "1")), "claim_unexpected");
    }

    #[test]
    fn a_revocation_is_neither_stripped_nor_made_from_anything_else() {
        let chain = small().chain;
        let last = revoked(&chain).frame;
        assert_eq!(refused(&chain, &without(&last, "data/revocationInfo")), "revocation");
        assert_eq!(refused(&chain, &with(&last, "data/revocationInfo/reason", "another")), "solution_wrong");
        let frame = next(&chain, "note^gib").frame;
        let proof = part(&frame.to_value(), "data/proofs/0").clone();
        let info = ibgib::object([("reason", "hm".into()), ("proof", proof)]);
        assert_eq!(refused(&chain, &with(&frame, "data/revocationInfo", info)), "revocation");
    }

    #[test]
    fn a_proof_is_written_in_one_way_only() {
        let chain = small().chain;
        let frame = next(&chain, "note^gib").frame;
        for path in ["data/proofs/0", "data/proofs/0/claim", "data/proofs/0/solutions/0"] {
            let more = tampered(&frame, |v| {
                object_mut(v, path).insert("more", true);
            });
            assert_eq!(refused(&chain, &more), "proof_form", "{path}");
            let turned = tampered(&frame, |v| {
                let map = object_mut(v, path);
                *map = map.iter().rev().map(|(name, value)| (name.to_owned(), value.clone())).collect();
            });
            assert_eq!(refused(&chain, &turned), "proof_form", "{path}");
        }
        let value = part(&frame.to_value(), "data/proofs/0/solutions/0/value").as_str().unwrap().to_owned();
        for other in [format!("{value}="), format!("{value}\n"), value.replace('=', ""), value[4..].to_owned()] {
            if other != value {
                let frame = with(&frame, "data/proofs/0/solutions/0/value", other);
                assert_eq!(refused(&chain, &frame), "solution_wrong");
            }
        }
    }

    /// Else whoever sees a frame could make another one on the same past, as if the identity had signed twice.
    #[test]
    fn what_was_demanded_is_signed() {
        let chain = small().chain;
        let answer = signed_with(&chain, "note^gib", opts(&chain, "sync", &["0.3".into()]).unwrap()).frame;
        assert_eq!(refused(&chain, &without(&answer, "data/proofs/0/requiredChallengeIds")), "solution_wrong");
        let free = next(&chain, "note^gib").frame;
        let demanded = with(&free, "data/proofs/0/requiredChallengeIds", ibgib::strings(["0.0"]));
        assert_eq!(refused(&chain, &demanded), "solution_wrong");
    }

    #[test]
    fn a_leaf_that_signs_twice_gives_the_identity_away() {
        let chain = small().chain;
        let (ours, theirs) = (next(&chain, "note^gib"), next(&chain, "other^gib"));
        for frame in [&ours.frame, &theirs.frame] {
            chain.clone().advance(frame, &Expect::default()).unwrap();
        }
        assert!(leaf_used_twice(&ours.frame, &theirs.frame) && equivocation(&ours.frame, &theirs.frame));
        // Nobody else can have made either.
        assert!(proves_fork(&ours.frame, &theirs.frame) && !proves_fork(&ours.frame, &ours.frame));
        assert!(!leaf_used_twice(&ours.frame, &ours.frame));
        let later = next(&ours.chain, "note^gib");
        assert!(!leaf_used_twice(&ours.frame, &later.frame));
        // A fork whose leaves differ is one all the same.
        let mut reserved = Reserved::open(TreeName { salt: "sync-salt".into(), number: 0 }, 9);
        reserved.stored(10);
        let leaf = Some(reserved.take(0).unwrap());
        let skipped = signed_with(&chain, "other^gib", SignOpts { leaf, ..SignOpts::default() });
        assert!(!leaf_used_twice(&ours.frame, &skipped.frame) && equivocation(&ours.frame, &skipped.frame));
        // The same leaf, further on: proof although the pasts differ.
        let branch = next(&skipped.chain, "note^gib");
        let mut ahead = ours.chain.clone();
        for _ in 0..9 {
            ahead = next(&ahead, "note^gib").chain;
        }
        let same = next(&ahead, "note^gib");
        assert_eq!(used(&branch.frame), used(&same.frame));
        assert!(leaf_used_twice(&branch.frame, &same.frame) && !equivocation(&branch.frame, &same.frame));
    }

    #[test]
    fn an_identity_comes_over_to_signatures_that_bind_and_not_back() {
        let (old, verbs) = (identity(), ["sync", "manage", "revoke"]);
        let rotated = |chain: &Chain, pools: &[PoolConfig]| {
            rotate(chain, &secret(), pools, None, opts(chain, "manage", &[]).unwrap(), NOW, &mut Seeded(5))
        };
        let pools = verbs.map(|verb| pool(verb, NextTree::Follows));
        let over = rotated(&old.chain, &pools).unwrap();
        assert_eq!((old.chain.binds(), over.chain.strategy().unwrap().name()), (false, "lms-v1"));
        let (mut replayed, _) = Chain::replay([old.frame.clone(), over.frame.clone()]).unwrap();
        assert_eq!(replayed.pools(), over.chain.pools());
        replayed.advance(&next(&over.chain, "note^gib").frame, &Expect::default()).unwrap();

        // Only the owner's own word about the frame before, of the pool for it.
        for (place, value) in [("claim/verb", "sync"), ("claim/target", "keystone^gib")] {
            let other = with(&over.frame, &format!("data/proofs/0/{place}"), value);
            assert!(["verb", "other_pool"].contains(&refused(&old.chain, &other)), "{place}");
        }
        // Pools as a genesis has them: fresh, told apart, of one strategy.
        assert_eq!(refused(&old.chain, &with(&over.frame, "data/challengePools/0/next", 1u32)), "pools");
        let doubled = part(&over.frame.to_value(), "data/challengePools/0").clone();
        assert_eq!(refused(&old.chain, &with(&over.frame, "data/challengePools/1", doubled)), "pool_repeated");
        let mixed = part(
            &born(&config::session_pools(&config::random_salts(&mut Seeded(9)))).frame.to_value(),
            "data/challengePools/0",
        )
        .clone();
        assert_eq!(refused(&old.chain, &with(&over.frame, "data/challengePools/1", mixed)), "pools");
        // Not sideways and not back.
        let others =
            [verbs.map(|verb| pool(&format!("{verb}2"), NextTree::Follows)).to_vec(), config::identity_pools(&salts())];
        for pools in others {
            assert!(
                matches!(rotated(&over.chain, &pools), Err(KeystoneError::Invalid(why)) if why.contains("other_pool"))
            );
        }
    }

    #[test]
    fn a_frame_that_anybody_could_have_made_condemns_nobody() {
        let old = identity().chain;
        let made = |target: &str| try_sign(&old, &secret(), "sync", target, &[]).unwrap().frame;
        let (first, second) = (made("note^gib"), made("other^gib"));
        assert!(equivocation(&first, &second) && !proves_fork(&first, &second));
    }

    #[test]
    fn a_genesis_has_fresh_pools_only() {
        let frame = small().frame;
        for (path, other) in [
            ("next", Value::from(1u32)),
            ("tree", 1u32.into()),
            ("publicKey", "AAAA".into()),
            ("publicKey", Value::Null),
            ("more", true.into()),
            ("config/w", 5u32.into()),
            ("config/w", 8u32.into()),
            ("config/height", 10u32.into()),
            ("config/height", 25u32.into()),
            ("config/replenish", "top-up".into()),
        ] {
            let said = format!("{path}: {other}");
            let frame = tampered(&frame, |v| {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                let at = format!("data/challengePools/0/{parent}");
                object_mut(v, at.trim_end_matches('/')).insert(name, other);
            });
            let errors = Chain::from_genesis(frame).unwrap_err();
            assert_eq!(errors.first().map(ValidateError::rule), Some("pools"), "{said}");
        }
    }
}

/// Places in a value where something can be changed.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut below = |name: String, value: &Value| {
        let path = if at.is_empty() { name } else { format!("{at}/{name}") };
        out.push(path.clone());
        places(value, &path, out);
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| below(i.to_string(), item)),
        Value::Object(map) => map.iter().for_each(|(name, value)| below(name.to_owned(), value)),
        _ => {}
    }
}

/// Changes one place; `None` where this way of changing does nothing.
fn mutated(frame: &Frame, place: usize, how: usize, byte: usize) -> Option<Frame> {
    let mut value = frame.to_value();
    let mut all = Vec::new();
    places(&value, "", &mut all);
    let path = &all[place % all.len()];
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let holder = if parent.is_empty() { &mut value } else { part_mut(&mut value, parent) };
    match (holder, how) {
        (Value::Object(map), 0) => drop(map.remove(name)),
        (Value::Object(map), 1) => drop(map.insert(format!("{name}2"), map.get(name).cloned()?)),
        (Value::Object(map), 2) => {
            *map = map.iter().rev().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        }
        (Value::Array(items), 0) => drop(items.remove(name.parse().unwrap())),
        (Value::Array(items), 1) => items.push(items[name.parse::<usize>().unwrap()].clone()),
        (Value::Array(items), 2) => items.reverse(),
        (Value::Object(map), _) => change(map.get_mut(name)?, how, byte),
        (Value::Array(items), _) => change(&mut items[name.parse::<usize>().unwrap()], how, byte),
        _ => return None,
    }
    // The gib does not count: whoever tampers hashes, too.
    let sealed = IbGib::from_value(value, Mode::Strict).ok()?.seal().ok()?;
    (sealed.addr() != frame.addr()).then_some(sealed)
}

fn change(value: &mut Value, how: usize, byte: usize) {
    *value = match value {
        Value::String(text) if how == 3 && !text.is_empty() => {
            let mut chars: Vec<char> = text.chars().collect();
            let at = byte % chars.len();
            chars[at] = if chars[at] == 'A' { 'B' } else { 'A' };
            chars.into_iter().collect::<String>().into()
        }
        Value::String(text) if how == 4 => format!("{text}A").into(),
        Value::Number(n) if how == 3 => Value::Number(*n + 1.0),
        Value::Bool(b) => (!*b).into(),
        Value::Number(n) => n.to_string().into(),
        Value::Null => true.into(),
        _ if how == 3 => Value::Null,
        _ => "A".into(),
    };
}

struct Targets {
    chain: Chain,
    frames: Vec<Frame>,
}

/// Frames with everything in them that a frame can have.
fn targets() -> Targets {
    let chain = small().chain;
    let claim = Claim {
        scope: Some("notes".into()),
        audience: Some("a".into()),
        nonce: Some("1".into()),
        ..claim("sync", &some_target(1))
    };
    let details = Some(ibgib::object([("a", vec![Value::from(1u32), "b".into()].into()), ("c", Value::Null)]));
    let full = SignOpts { details, ..opts(&chain, "sync", &["0.3".into()]).unwrap() };
    let full = signs(&chain, &claim, full).unwrap().frame;
    let frames = vec![full, next(&chain, "note^gib").frame, revoked(&chain).frame];
    Targets { chain, frames }
}

/// As many as are told, in long runs.
#[allow(clippy::disallowed_methods, reason = "how long a test runs is told from outside")]
fn mutations() -> u32 {
    std::env::var("IBGIB_MUTATIONS").map_or(2_000, |text| text.parse().expect("IBGIB_MUTATIONS is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(mutations()))]

    #[test]
    fn no_member_of_a_signed_frame_can_be_changed(
        frame in 0usize..3,
        place in any::<usize>(),
        how in 0usize..5,
        byte in any::<usize>(),
    ) {
        thread_local!(static TARGETS: Targets = targets());
        TARGETS.with(|Targets { chain, frames }| {
            if let Some(other) = mutated(&frames[frame], place, how, byte) {
                prop_assert!(validate_alone(chain.tip(), &other, &Expect::default()).is_err(), "{}", other.to_json());
                prop_assert!(chain.clone().advance(&other, &Expect::default()).is_err());
            }
            Ok(())
        })?;
    }
}
