//! Revocations that wait: what they end, and that nobody can do anything else with them.

mod common;

use common::{NOW, Seeded, claim, salts, secret, some_target, thief, with, without};
use ibgib::{IbGib, Value, Verified};
use ibgib_keystone::strategy::lms::Reserved;
use ibgib_keystone::{
    Chain, Expect, KeystoneError, SignOpts, Signed, VERB_GUARD, VERB_MANAGE, VERB_REVOKE, VERB_SYNC, ValidateError,
    config, genesis_with_trees, is_waiting, need, open_guard, proves_fork, recovery_pool, revoke, sign,
    waiting_revocation,
};

fn opts(chain: &Chain, verb: &str) -> SignOpts {
    skipping(chain, verb, 0)
}

fn skipping(chain: &Chain, verb: &str, leaves: u32) -> SignOpts {
    let need = need(chain, verb, &[]).unwrap().unwrap();
    let mut reserved = Reserved::open(need.tree, need.from + leaves);
    reserved.stored(reserved.store(need.from, 1));
    SignOpts { leaf: Some(reserved.take(need.from).unwrap()), ..SignOpts::default() }
}

/// An identity with the pools that the engine makes, a way back included.
fn born() -> Chain {
    let pools = config::binding_identity_pools(&salts());
    let way_back = recovery_pool(&thief(), &format!("recovery-{}", "a".repeat(32)), &mut Seeded(9)).unwrap();
    genesis_with_trees(&secret(), &pools, &[], Some(&way_back), None, NOW, &mut Seeded(2)).unwrap().chain
}

fn opened(chain: &Chain, nth: u64) -> Signed {
    let pool = config::guard_pool(&mut Seeded(nth));
    open_guard(chain, &secret(), &pool, opts(chain, VERB_MANAGE), NOW, &mut Seeded(3)).unwrap()
}

fn waiting(chain: &Chain, leaves: u32) -> Verified<IbGib> {
    let opts = skipping(chain, VERB_GUARD, leaves);
    waiting_revocation(chain, &secret(), "copied", opts, NOW, &mut Seeded(4)).unwrap()
}

fn next(chain: &Chain, target: u32, leaves: u32) -> Signed {
    let mut claim = claim(VERB_SYNC, &some_target(target));
    (claim.audience, claim.nonce) = (Some("a".repeat(64)), Some("b".repeat(36)));
    sign(chain, &secret(), &claim, skipping(chain, VERB_SYNC, leaves), NOW, &mut Seeded(5)).unwrap()
}

fn rule(errors: Result<impl std::fmt::Debug, Vec<ValidateError>>) -> String {
    errors.unwrap_err()[0].rule().to_owned()
}

#[test]
fn a_revocation_that_waited_ends_an_identity_that_two_frames_follow() {
    let state = opened(&born(), 1).chain;
    assert!(state.is_guarded() && !born().is_guarded());
    let revocation = waiting(&state, 0);
    assert!(is_waiting(&revocation));
    let (owner, copy) = (next(&state, 1, 0), next(&state, 2, 0));
    assert_eq!(state.ended_by(&revocation, [&owner.frame, &copy.frame]), Ok(()));
    assert_eq!(state.ended_by(&revocation, [&copy.frame, &owner.frame]), Ok(()));
    // Another leaf makes no difference, nor does the pool that signs.
    let elsewhere = next(&state, 3, 16);
    let managed = opened(&state, 2);
    for second in [&elsewhere.frame, &managed.frame] {
        assert_eq!(state.ended_by(&revocation, [&owner.frame, second]), Ok(()));
    }
}

#[test]
fn whoever_keeps_it_can_do_nothing_with_it_before_its_time() {
    let state = opened(&born(), 1).chain;
    let (revocation, second) = (waiting(&state, 0), waiting(&state, 1));
    // It is no next frame, and no evidence: neither beside the owner's frame nor beside another that waits.
    assert_eq!(rule(state.clone().advance(&revocation, &Expect::default())), "guard");
    let owner = next(&state, 1, 0);
    assert!(!proves_fork(&owner.frame, &revocation) && !proves_fork(&revocation, &owner.frame));
    assert!(!proves_fork(&revocation, &second));
    for beside in [[&owner.frame, &second], [&second, &owner.frame], [&revocation, &second]] {
        assert_eq!(rule(state.ended_by(&revocation, beside)), "guard");
    }
    assert_eq!(rule(state.ended_by(&revocation, [&owner.frame, &owner.frame])), "guard");
    // What a stranger makes of a frame that he sees does not hold.
    let junk = with(&owner.frame, "data/timestamp", "Thu, 01 Jan 2026 00:00:01 GMT");
    assert_eq!(rule(state.ended_by(&revocation, [&owner.frame, &junk])), "solution_wrong");
    assert_eq!(rule(state.ended_by(&revocation, [&junk, &owner.frame])), "solution_wrong");
}

#[test]
fn it_is_good_for_its_own_state_only_and_for_nothing_else() {
    let state = opened(&born(), 1).chain;
    let revocation = waiting(&state, 0);
    let (owner, copy) = (next(&state, 1, 0), next(&state, 2, 0));
    let both = [&owner.frame, &copy.frame];
    // The owner has gone on, and two frames follow a later state.
    let (later, more) = (next(&owner.chain, 3, 0), next(&owner.chain, 4, 0));
    assert_eq!(rule(owner.chain.ended_by(&revocation, [&later.frame, &more.frame])), "n");
    let moved = with(&revocation, "rel8ns/past/0", owner.frame.addr().as_str());
    assert_eq!(rule(state.ended_by(&moved, both)), "past");
    // Nothing of it can be changed, and what is signed for something else is none.
    let proof = revocation.datum("proofs").and_then(Value::as_array).unwrap()[0].clone();
    for (changed, broken) in [
        (with(&revocation, "data/revocationInfo/reason", "another"), "solution_wrong"),
        (with(&revocation, "data/proofs/0/claim/verb", VERB_SYNC), "claim_unexpected"),
        (with(&revocation, "data/proofs/0/claim/verb", VERB_REVOKE), "claim_unexpected"),
        (with(&revocation, "data/proofs/0/claim/target", owner.frame.addr().as_str()), "revocation"),
        (with(&revocation, "data/revocationInfo/proof", proof), "revocation"),
        (without(&revocation, "data/revocationInfo"), "revocation"),
        (owner.frame.clone(), "claim_unexpected"),
    ] {
        assert_eq!(rule(state.ended_by(&changed, both)), broken);
    }
    // A pool that may sign anything signs no such thing.
    let managing = with(&revocation, "data/proofs/0/solutions/0/poolId", salts()[1].as_str());
    assert_eq!(rule(state.ended_by(&managing, both)), "verb");
}

#[test]
fn the_owner_alone_opens_the_pool_and_makes_revocations() {
    let chain = born();
    let none = waiting_revocation(&chain, &secret(), "copied", SignOpts::default(), NOW, &mut Seeded(4));
    assert_eq!(none.unwrap_err(), KeystoneError::NoPool(VERB_GUARD.into()));
    let pool = config::guard_pool(&mut Seeded(1));
    let somebody = open_guard(&chain, &thief(), &pool, opts(&chain, VERB_MANAGE), NOW, &mut Seeded(3));
    assert_eq!(somebody.unwrap_err(), KeystoneError::WrongSecret);
    let state = opened(&chain, 1).chain;
    let forged = waiting_revocation(&state, &thief(), "forged", opts(&state, VERB_GUARD), NOW, &mut Seeded(4));
    assert_eq!(forged.unwrap_err(), KeystoneError::WrongSecret);
    // Only a pool for that alone comes in by that way, and only with a claim under manage.
    let frame = opened(&chain, 1).frame;
    for (changed, broken) in [
        (with(&frame, "data/challengePools/3/config/allowedVerbs", vec![Value::from(VERB_REVOKE)]), "other_pool"),
        (with(&frame, "data/proofs/0/claim/target", "note^gib"), "other_pool"),
        (with(&frame, "data/challengePools/3/next", 3u32), "pools"),
        (with(&frame, "data/challengePools/3/id", "another"), "pools"),
    ] {
        assert_eq!(rule(chain.clone().advance(&changed, &Expect::default())), broken);
    }
    let by_sync = next(&chain, 1, 0).frame;
    let mut pools = by_sync.datum("challengePools").and_then(Value::as_array).unwrap().to_vec();
    pools.push(frame.datum("challengePools").and_then(Value::as_array).unwrap()[3].clone());
    let slipped_in = with(&by_sync, "data/challengePools", pools);
    assert_eq!(rule(chain.clone().advance(&slipped_in, &Expect::default())), "other_pool");
}

#[test]
fn a_pool_that_is_used_up_is_followed_by_another_and_what_it_signed_still_holds() {
    let first = opened(&born(), 1).chain;
    let revocation = waiting(&first, 31);
    let (owner, copy) = (next(&first, 1, 0), next(&first, 2, 0));
    let second = opened(&owner.chain, 2).chain;
    let count = |chain: &Chain| chain.pools().iter().filter(|pool| pool.verbs == [VERB_REVOKE, VERB_GUARD]).count();
    assert_eq!((count(&first), count(&second), second.pools().len()), (1, 1, 4));
    assert_eq!(first.ended_by(&revocation, [&owner.frame, &copy.frame]), Ok(()));
    let later = waiting(&second, 0);
    let (one, two) = (next(&second, 3, 0), next(&second, 4, 0));
    assert_eq!(second.ended_by(&later, [&one.frame, &two.frame]), Ok(()));
    // The owner may end the identity at once, too.
    let ended = revoke(&second, &secret(), "gone", opts(&second, VERB_REVOKE), NOW, &mut Seeded(6)).unwrap();
    assert!(ended.chain.is_revoked());
    // The whole of it is replayed as any other identity is.
    let frames = [born().tip(), first.tip(), owner.chain.tip(), second.tip(), one.chain.tip()].map(Clone::clone);
    assert_eq!(Chain::replay(frames).unwrap().0.tip(), one.chain.tip());
}

#[test]
fn frames_of_a_guarded_identity_stay_small() {
    let opened = opened(&born(), 1);
    let chain = &opened.chain;
    let frames = [opened.frame.clone(), next(chain, 1, 0).frame, waiting(chain, 0)];
    let sizes: Vec<usize> = frames.iter().map(|frame| frame.to_json().len()).collect();
    assert!(sizes.iter().all(|size| *size <= 4_096), "{sizes:?}");
}
