//! Each rule of strict validation, broken alone: a valid frame is changed, sealed again, and refused by the rule's name.

mod common;

use common::*;
use ibgib::{IbGib, Mode, Value, Verified, VerifyError, object, strings};
use ibgib_keystone::danger::validate_alone;
use ibgib_keystone::strategy::hash_reveal::{HashRevealConfig, Replenish};
use ibgib_keystone::{Chain, Expect, KeystoneError, SignOpts, Signed, ValidateError, compat, config, genesis, revoke};

type Frame = Verified<IbGib>;

const SYNC: usize = 0;
const MANAGE: usize = 1;

fn rule(errors: &[ValidateError]) -> &'static str {
    errors.first().unwrap().rule()
}

/// The rule that refuses the next frame. A refused frame changes nothing.
#[track_caller]
fn refused_expecting(chain: &Chain, frame: &Frame, expect: &Expect) -> &'static str {
    let mut after = chain.clone();
    let errors = after.advance(frame, expect).unwrap_err();
    assert_eq!((after.tip(), after.pools()), (chain.tip(), chain.pools()));
    rule(&errors)
}

#[track_caller]
fn refused(chain: &Chain, frame: &Frame) -> &'static str {
    refused_expecting(chain, frame, &Expect::default())
}

#[track_caller]
fn refused_genesis(frame: Frame) -> &'static str {
    rule(&Chain::from_genesis(frame).unwrap_err())
}

/// An identity and the frame with which it signs {sync, note^gib}.
fn step() -> (Chain, Frame) {
    let chain = identity().chain;
    let frame = signed(&chain, "sync", "note^gib").frame;
    (chain, frame)
}

/// A session and the frame that answers the demand of one challenge.
fn connecting() -> (Chain, Frame, String) {
    let chain = session().chain;
    let demanded = ids(chain.tip(), 0)[5].clone();
    let frame =
        try_sign(&chain, &secret(), "connect", "challenge-uuid", std::slice::from_ref(&demanded)).unwrap().frame;
    (chain, frame, demanded)
}

fn revoked() -> (Chain, Signed) {
    let chain = identity().chain;
    let last = revoke(&chain, &secret(), "lost", SignOpts::default(), NOW, &mut Seeded(3)).unwrap();
    (chain, last)
}

fn solution(frame: &IbGib, i: usize) -> Value {
    part(&frame.to_value(), &format!("data/proofs/0/solutions/{i}")).clone()
}

mod genesis_frames {
    use super::*;

    /// The genesis with a change in its first pool.
    fn with_pool(path: &str, new: impl Into<Value>) -> Frame {
        with(&identity().frame, &format!("data/challengePools/0/{path}"), new)
    }

    #[test]
    fn an_untampered_one_passes() {
        let frame = identity().frame;
        let (chain, step) = Chain::from_genesis(tampered(&frame, |_| ())).unwrap();
        assert_eq!((chain.tip(), step.from(), step.to(), chain.n()), (&frame, None, frame.addr(), 0));
        assert_eq!((step.tjp(), chain.tjp()), (frame.addr(), frame.addr()));
    }

    #[test]
    fn ib_is_keystone() {
        assert_eq!(refused_genesis(tampered(&identity().frame, |v| *part_mut(v, "ib") = "keystone 2".into())), "ib");
    }

    #[test]
    fn n_is_0() {
        assert_eq!(refused_genesis(with(&identity().frame, "data/n", 1u32)), "n");
        assert_eq!(refused_genesis(without(&identity().frame, "data/n")), "n");
    }

    #[test]
    fn it_says_that_it_is_the_first() {
        assert_eq!(refused_genesis(without(&identity().frame, "data/isTjp")), "tjp");
        assert_eq!(refused_genesis(with(&identity().frame, "data/isTjp", "yes")), "tjp");
    }

    #[test]
    fn it_has_no_past() {
        let past = strings([identity().frame.addr().to_string()]);
        assert_eq!(refused_genesis(with(&identity().frame, "rel8ns/past", past)), "past");
    }

    #[test]
    fn it_has_no_proofs() {
        assert_eq!(refused_genesis(with(&identity().frame, "data/proofs", vec![object([])])), "proofs");
    }

    #[test]
    fn it_is_no_revocation() {
        assert_eq!(refused_genesis(with(&identity().frame, "data/revocationInfo", object([]))), "revocation");
    }

    #[test]
    fn it_has_pools() {
        assert_eq!(refused_genesis(with(&identity().frame, "data/challengePools", Vec::new())), "pools");
        assert_eq!(refused_genesis(without(&identity().frame, "data/challengePools")), "pools");
    }

    #[test]
    fn no_two_pools_have_one_id() {
        let twice = tampered(&identity().frame, |v| {
            let pools = array_mut(v, "data/challengePools");
            pools.push(pools[0].clone());
        });
        assert_eq!(refused_genesis(twice), "pool_repeated");
    }

    #[test]
    fn configurations_are_within_bounds() {
        for (path, bad) in [
            ("type", "hash-reveal-v2".into()),
            ("salt", "".into()),
            ("allowedVerbs", "sync".into()),
            ("allowedVerbs", vec![Value::Null].into()),
            ("algo", "MD5".into()),
            ("rounds", 0u32.into()),
            ("rounds", 1001u32.into()),
            ("behavior/size", 0u32.into()),
            ("behavior/size", 1025u32.into()),
            ("behavior/replenish", "never".into()),
            ("behavior/selectSequentially", Value::Number(0.5)),
            ("behavior/selectRandomly", Value::Number(-1.0)),
            ("behavior/targetBindingChars", 65u32.into()),
            ("behavior", Value::Null),
        ] {
            let said = format!("{path}: {bad}");
            assert_eq!(refused_genesis(with_pool(&format!("config/{path}"), bad)), "pools", "{said}");
        }
        assert_eq!(refused_genesis(without(&identity().frame, "data/challengePools/0/config")), "pools");
    }

    #[test]
    fn a_pool_is_named_by_its_salt() {
        assert_eq!(refused_genesis(with_pool("id", "another")), "pools");
    }

    #[test]
    fn a_pool_is_full() {
        let first = &ids(&identity().frame, 0)[0];
        let short = without(&identity().frame, &format!("data/challengePools/0/challenges/{first}"));
        assert_eq!(refused_genesis(short), "pools");
        assert_eq!(refused_genesis(without(&identity().frame, "data/challengePools/0/challenges")), "pools");
    }

    #[test]
    fn challenges_have_an_id_a_type_and_a_hash() {
        let frame = identity().frame;
        let first = &ids(&frame, 0)[0];
        let renamed = tampered(&frame, |v| {
            let challenges = object_mut(v, "data/challengePools/0/challenges");
            let challenge = challenges.remove(first).unwrap();
            challenges.insert("not sixteen hex digits", challenge);
        });
        assert_eq!(refused_genesis(renamed), "pools");
        assert_eq!(refused_genesis(with_pool(&format!("challenges/{first}/type"), "other")), "pools");
        assert_eq!(
            refused_genesis(without(&frame, &format!("data/challengePools/0/challenges/{first}/hash"))),
            "pools"
        );
    }

    #[test]
    fn the_binding_map_is_that_of_the_ids() {
        assert_eq!(refused_genesis(with_pool("bindingMap/0", Vec::new())), "pools");
        assert_eq!(refused_genesis(without(&identity().frame, "data/challengePools/0/bindingMap")), "pools");
    }

    #[test]
    fn every_broken_rule_is_told() {
        let frame = tampered(&identity().frame, |v| {
            object_mut(v, "data").insert("n", 7u32);
            object_mut(v, "data").insert("proofs", vec![Value::Null]);
        });
        let rules: Vec<_> = Chain::from_genesis(frame).unwrap_err().iter().map(ValidateError::rule).collect();
        assert_eq!(rules, ["n", "proofs"]);
    }

    #[test]
    fn what_validation_refuses_is_not_made() {
        for change in [
            |c: &mut HashRevealConfig| c.behavior.size = 0,
            |c: &mut HashRevealConfig| c.behavior.size = 1025,
            |c: &mut HashRevealConfig| c.rounds = 0,
            |c: &mut HashRevealConfig| c.rounds = 1001,
            |c: &mut HashRevealConfig| c.salt.clear(),
            |c: &mut HashRevealConfig| c.salt = salts()[1].clone(),
        ] {
            let mut pools = config::identity_pools(&salts());
            let mut first = HashRevealConfig::read(&pools[0]).unwrap();
            change(&mut first);
            pools[0] = first.into();
            let error = genesis(&secret(), &pools, None, NOW, &mut Seeded(2)).unwrap_err();
            assert!(matches!(error, KeystoneError::Config(_)), "{:?}", pools[0]);
        }
    }
}

mod place_in_the_timeline {
    use super::*;

    #[test]
    fn an_untampered_frame_passes() {
        let (mut chain, frame) = step();
        let from = chain.tip().addr().clone();
        let step = chain.advance(&tampered(&frame, |_| ()), &Expect::default()).unwrap();
        assert_eq!((step.from(), step.to(), step.tjp()), (Some(&from), frame.addr(), &from));
        assert_eq!((chain.tip(), chain.n()), (&frame, 1));
    }

    #[test]
    fn the_gib_is_that_of_the_content() {
        let (_, frame) = step();
        let mut value = frame.to_value();
        object_mut(&mut value, "data/proofs/0/claim").insert("target", "other^gib");
        let error = IbGib::from_value(value, Mode::Strict).unwrap().verify().unwrap_err();
        assert!(matches!(error, VerifyError::WrongGib { .. }));
        assert_eq!(error.rule(), "wrong_gib");
    }

    #[test]
    fn ib_is_keystone() {
        let (chain, frame) = step();
        assert_eq!(refused(&chain, &tampered(&frame, |v| *part_mut(v, "ib") = "note".into())), "ib");
    }

    #[test]
    fn n_counts_by_one() {
        let (chain, frame) = step();
        for n in [0u32, 2] {
            assert_eq!(refused(&chain, &with(&frame, "data/n", n)), "n");
        }
        assert_eq!(refused(&chain, &without(&frame, "data/n")), "n");
    }

    #[test]
    fn it_stays_in_its_timeline() {
        let (chain, frame) = step();
        let other = general(4, Replenish::TopUp, 1, 0, 0).frame;
        assert_eq!(refused(&chain, &with(&frame, "rel8ns/tjp/0", other.addr())), "tjp");
        assert_eq!(refused(&chain, &without(&frame, "rel8ns/tjp")), "tjp");
        let first = tampered(&frame, |v| {
            object_mut(v, "rel8ns").remove("tjp");
            object_mut(v, "data").insert("isTjp", true);
        });
        assert_eq!(refused(&chain, &first), "tjp");
    }

    #[test]
    fn its_past_is_the_frame_before() {
        let (chain, frame) = step();
        let before = chain.tip().addr();
        assert_eq!(refused(&chain, &without(&frame, "rel8ns/past")), "past");
        assert_eq!(refused(&chain, &with(&frame, "rel8ns/past", strings(["other^gib"]))), "past");
        assert_eq!(refused(&chain, &with(&frame, "rel8ns/past", vec![before.into(), before.into()])), "past");
        assert_eq!(refused(&chain, &with(&frame, "rel8ns/past", vec![frame.addr().into(), before.into()])), "past");
    }

    #[test]
    fn its_past_may_be_the_whole_list() {
        let (mut chain, first) = step();
        chain.advance(&first, &Expect::default()).unwrap();
        let second = signed(&chain, "sync", "next^gib").frame;
        let whole = vec![chain.tjp().into(), first.addr().into()];
        chain.advance(&with(&second, "rel8ns/past", whole), &Expect::default()).unwrap();
    }

    #[test]
    fn nothing_follows_a_revocation() {
        let (chain, last) = revoked();
        let other = signed(&chain, "sync", "note^gib").frame;
        // Right in all else: it stands on the revocation, and the revoke pool is as that left it.
        let next = tampered(&other, |v| {
            object_mut(v, "data").insert("n", 2u32);
            object_mut(v, "rel8ns").insert("past", vec![last.frame.addr().into()]);
            let scorched = part(&last.frame.to_value(), "data/challengePools/2").clone();
            array_mut(v, "data/challengePools")[2] = scorched;
        });
        assert_eq!(compat::validate(&last.frame, &next).unwrap(), Vec::<String>::new());
        assert_eq!(refused(&last.chain, &next), "revoked");
    }
}

mod claims_and_proofs {
    use super::*;

    #[test]
    fn there_is_exactly_one_proof() {
        let (chain, frame) = step();
        assert_eq!(refused(&chain, &with(&frame, "data/proofs", Vec::new())), "proofs");
        assert_eq!(refused(&chain, &without(&frame, "data/proofs")), "proofs");
        let twice = tampered(&frame, |v| {
            let proofs = array_mut(v, "data/proofs");
            proofs.push(proofs[0].clone());
        });
        assert_eq!(refused(&chain, &twice), "proofs");
    }

    #[test]
    fn a_claim_has_verb_and_target() {
        let (chain, frame) = step();
        for name in ["verb", "target"] {
            let path = format!("data/proofs/0/claim/{name}");
            assert_eq!(refused(&chain, &without(&frame, &path)), "claim_incomplete");
            assert_eq!(refused(&chain, &with(&frame, &path, "")), "claim_incomplete");
            assert_eq!(refused(&chain, &with(&frame, &path, 7u32)), "claim_incomplete");
        }
        assert_eq!(refused(&chain, &without(&frame, "data/proofs/0/claim")), "claim_incomplete");
    }

    #[test]
    fn a_claim_is_what_the_verifier_expects() {
        let (mut chain, frame) = step();
        let verb = Expect { verb: Some("manage".into()), ..Expect::default() };
        assert_eq!(refused_expecting(&chain, &frame, &verb), "claim_unexpected");
        let target = Expect { target: Some("other^gib".into()), ..Expect::default() };
        assert_eq!(refused_expecting(&chain, &frame, &target), "claim_unexpected");
        let right = Expect {
            verb: Some("sync".into()),
            target: Some("note^gib".into()),
            demanded: Some(Vec::new()),
            ..Expect::default()
        };
        chain.advance(&frame, &right).unwrap();
    }

    #[test]
    fn a_proof_has_solutions() {
        let (chain, frame) = step();
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/solutions", Vec::new())), "no_solutions");
        assert_eq!(refused(&chain, &without(&frame, "data/proofs/0/solutions")), "no_solutions");
    }

    #[test]
    fn solutions_are_of_one_pool() {
        let (chain, frame) = step();
        let other = salts()[MANAGE].clone();
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/solutions/1/poolId", other)), "pools_mixed");
    }

    #[test]
    fn solutions_are_of_a_pool_of_the_frame_before() {
        let (chain, frame) = step();
        let elsewhere = tampered(&frame, |v| {
            for solution in array_mut(v, "data/proofs/0/solutions") {
                *part_mut(solution, "poolId") = "elsewhere".into();
            }
        });
        assert_eq!(refused(&chain, &elsewhere), "pool_unknown");
    }

    #[test]
    fn a_pool_signs_only_its_verbs() {
        let (chain, frame) = step();
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/claim/verb", "manage")), "verb");
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/claim/verb", "SYNC")), "verb");
    }

    #[test]
    fn a_pool_without_a_readable_configuration_signs_nothing() {
        let first = signed(&identity().chain, "sync", "note^gib");
        let second = signed(&first.chain, "sync", "note^gib");
        let before = with(&first.frame, "data/challengePools/0/config/algo", "MD5");
        let next = with(&second.frame, "rel8ns/past/0", before.addr());
        assert_eq!(rule(&validate_alone(&before, &next, &Expect::default()).unwrap_err()), "pools");
    }

    #[test]
    fn a_revocation_stands_beside_a_revoke_claim() {
        let (chain, last) = revoked();
        chain.clone().advance(&last.frame, &Expect::default()).unwrap();
        assert_eq!(refused(&chain, &without(&last.frame, "data/revocationInfo")), "revocation");

        let (chain, frame) = step();
        let info = object([("reason", "forged".into()), ("proof", part(&frame.to_value(), "data/proofs/0").clone())]);
        assert_eq!(refused(&chain, &with(&frame, "data/revocationInfo", info)), "revocation");
        assert_eq!(refused(&chain, &with(&frame, "data/revocationInfo", Value::Null)), "revocation");
    }

    #[test]
    fn a_revocation_is_of_the_frame_before() {
        let (chain, last) = revoked();
        let other = tampered(&last.frame, |v| {
            for proof in ["data/proofs/0", "data/revocationInfo/proof"] {
                object_mut(v, &format!("{proof}/claim")).insert("target", "keystone^gib");
            }
        });
        assert_eq!(refused(&chain, &other), "revocation");
    }

    #[test]
    fn a_revocation_repeats_its_proof() {
        let (chain, last) = revoked();
        assert_eq!(refused(&chain, &without(&last.frame, "data/revocationInfo/proof")), "revocation");
        let other = with(&last.frame, "data/revocationInfo/proof/solutions", Vec::new());
        assert_eq!(refused(&chain, &other), "revocation");
    }
}

mod solutions {
    use super::*;

    #[test]
    fn none_is_given_twice() {
        let (chain, frame) = step();
        let twice = tampered(&frame, |v| array_mut(v, "data/proofs/0/solutions").push(solution(&frame, 0)));
        assert_eq!(refused(&chain, &twice), "solution_repeated");
    }

    #[test]
    fn there_are_as_many_as_the_pool_selects() {
        let (chain, frame) = step();
        let fewer = tampered(&frame, |v| drop(array_mut(v, "data/proofs/0/solutions").pop()));
        assert_eq!(refused(&chain, &fewer), "selection");

        // The same secret, other entropy: more true solutions of the same pool.
        let other = sign_with_other_entropy(&chain);
        let extra = (0..4).map(|i| solution(&other, i)).find(|s| !used(&frame).contains(&id(s))).unwrap();
        let more = tampered(&frame, |v| array_mut(v, "data/proofs/0/solutions").push(extra));
        assert_eq!(refused(&chain, &more), "selection");
    }

    fn id(solution: &Value) -> String {
        part(solution, "challengeId").as_str().unwrap().to_owned()
    }

    fn sign_with_other_entropy(chain: &Chain) -> Frame {
        let claim = claim("sync", "note^gib");
        ibgib_keystone::sign(chain, &secret(), &claim, Default::default(), NOW, &mut Seeded(77)).unwrap().frame
    }

    #[test]
    fn they_come_in_the_order_of_the_layers() {
        let (chain, frame) = step();
        for (a, b) in [(0, 1), (1, 2)] {
            let swapped = tampered(&frame, |v| array_mut(v, "data/proofs/0/solutions").swap(a, b));
            assert_eq!(refused(&chain, &swapped), "selection");
        }
        // Within the random layer no order is better than another.
        let swapped = tampered(&frame, |v| array_mut(v, "data/proofs/0/solutions").swap(2, 3));
        chain.clone().advance(&swapped, &Expect::default()).unwrap();
    }

    #[test]
    fn the_first_in_line_are_among_them() {
        let (chain, frame) = step();
        let other = sign_with_other_entropy(&chain);
        let unasked = (2..4).map(|i| solution(&other, i)).find(|s| !used(&frame).contains(&id(s))).unwrap();
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/solutions/0", unasked)), "selection");
    }

    #[test]
    fn they_are_of_challenges_that_are_there() {
        let (chain, frame) = step();
        let path = "data/proofs/0/solutions/3/challengeId";
        assert_eq!(refused(&chain, &with(&frame, path, "0000000000000000")), "selection");
        assert_eq!(refused(&chain, &without(&frame, path)), "selection");
    }

    #[test]
    fn they_are_those_that_the_target_selects() {
        let chain = session().chain;
        let frame = signed(&chain, "sync", &some_target(1)).frame;
        chain.clone().advance(&frame, &Expect::default()).unwrap();
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/claim/target", some_target(2))), "selection");
        // No challenge binds to a character that is no hex digit.
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/claim/target", "evil^gib")), "selection");
    }

    /// The original binds to as many characters as there are: to none, if the target ends in `^`. Then what a bound
    /// proof reveals is more than enough for another target.
    #[test]
    fn they_are_bound_to_as_many_characters_as_the_pool_asks_for() {
        let chain = general(48, Replenish::TopUp, 2, 0, 4).chain;
        // The first two in line, whose digits are 0 and 1, stay the first in line.
        let gib = |target: &str| target.split_once('^').unwrap().1[..4].to_owned();
        let target = (0..).map(some_target).find(|target| !gib(target).contains(['0', '1'])).unwrap();
        let bound = signed(&chain, "sync", &target).frame;
        for length in 0..4 {
            let short = format!("evil^{}", &gib(&target)[..length]);
            let unbound = tampered(&bound, |v| {
                object_mut(v, "data/proofs/0/claim").insert("target", short.as_str());
                array_mut(v, "data/proofs/0/solutions").drain(length..4);
            });
            let before = part(&chain.tip().to_value(), "data/challengePools/0").clone();
            let pool = topped_up(before, &used(&unbound), &bound.to_value());
            let unbound = with(&unbound, "data/challengePools/0", pool);
            assert_eq!(compat::validate(chain.tip(), &unbound).unwrap(), Vec::<String>::new());
            assert_eq!(refused(&chain, &unbound), "selection", "{short}");
        }
    }

    /// The pool after these were spent, topped up with challenges that another next frame added.
    fn topped_up(mut pool: Value, spent: &[String], other: &Value) -> Value {
        let fresh = part(other, "data/challengePools/0/challenges").as_object().unwrap();
        let fresh = fresh.iter().rev().take(spent.len());
        for id in spent {
            object_mut(&mut pool, "challenges").remove(id);
            array_mut(&mut pool, &format!("bindingMap/{}", &id[..1])).retain(|v| v.as_str() != Some(id));
        }
        for (id, challenge) in fresh {
            object_mut(&mut pool, "challenges").insert(id, challenge.clone());
            array_mut(&mut pool, &format!("bindingMap/{}", &id[..1])).push(id.into());
        }
        pool
    }

    #[test]
    fn they_are_of_the_pools_type() {
        let (chain, frame) = step();
        let path = "data/proofs/0/solutions/2/type";
        assert_eq!(refused(&chain, &with(&frame, path, "hash-reveal-v2")), "solution_type");
        assert_eq!(refused(&chain, &without(&frame, path)), "solution_type");
    }

    #[test]
    fn each_hashes_to_its_challenge() {
        let (chain, frame) = step();
        for i in 0..4 {
            let path = format!("data/proofs/0/solutions/{i}/value");
            assert_eq!(refused(&chain, &with(&frame, &path, "0".repeat(64))), "solution_wrong");
            assert_eq!(refused(&chain, &without(&frame, &path)), "solution_wrong");
        }
    }

    #[test]
    fn they_answer_what_the_verifier_demands() {
        let (mut chain, frame, demanded) = connecting();
        let other = ids(chain.tip(), 0)[6].clone();
        for wanted in [vec![], vec![other.clone()], vec![demanded.clone(), other]] {
            let expect = Expect { demanded: Some(wanted), ..Expect::default() };
            assert_eq!(refused_expecting(&chain, &frame, &expect), "demand");
        }
        let expect = Expect { demanded: Some(vec![demanded.clone()]), ..Expect::default() };
        assert_eq!(
            refused_expecting(&chain, &without(&frame, "data/proofs/0/requiredChallengeIds"), &expect),
            "demand"
        );
        chain.advance(&frame, &expect).unwrap();
    }

    #[test]
    fn recorded_demands_are_challenges_of_the_pool() {
        let (chain, frame, demanded) = connecting();
        let path = "data/proofs/0/requiredChallengeIds";
        for unknown in ["0000000000000000", "constructor", ""] {
            assert_eq!(refused(&chain, &with(&frame, path, strings([demanded.as_str(), unknown]))), "demand");
        }
    }

    #[test]
    fn recorded_demands_are_a_list_of_ids() {
        let (chain, frame, demanded) = connecting();
        let path = "data/proofs/0/requiredChallengeIds";
        let expect = Expect { demanded: Some(vec![demanded.clone()]), ..Expect::default() };
        let among_others = with(&frame, path, vec![Value::from(demanded.as_str()), Value::from(7u32)]);
        assert_eq!(refused_expecting(&chain, &among_others, &expect), "demand");
        assert_eq!(refused(&chain, &with(&frame, path, demanded)), "demand");
    }

    #[test]
    fn a_recorded_demand_is_solved() {
        let (chain, frame, demanded) = connecting();
        let other = ids(chain.tip(), 0)[6].clone();
        let both = strings([demanded, other]);
        assert_eq!(refused(&chain, &with(&frame, "data/proofs/0/requiredChallengeIds", both)), "selection");
    }
}

mod next_pools {
    use super::*;

    fn challenges(pool: usize) -> String {
        format!("data/challengePools/{pool}/challenges")
    }

    /// Another pool of the same timeline, put into the frame.
    fn with_pool(frame: &IbGib, pool: usize, new: Value) -> Frame {
        with(frame, &format!("data/challengePools/{pool}"), new)
    }

    fn pool_of(frame: &IbGib, pool: usize) -> Value {
        part(&frame.to_value(), &format!("data/challengePools/{pool}")).clone()
    }

    #[test]
    fn spent_challenges_are_gone() {
        let (chain, frame) = step();
        assert_eq!(refused(&chain, &with_pool(&frame, SYNC, pool_of(chain.tip(), SYNC))), "spent");
    }

    #[test]
    fn spent_challenges_never_come_back() {
        let (mut chain, first) = step();
        let old = used(&first)[0].clone();
        let challenge = part(&chain.tip().to_value(), &format!("{}/{old}", challenges(SYNC))).clone();
        chain.advance(&first, &Expect::default()).unwrap();
        let second = signed(&chain, "sync", "note^gib").frame;
        let back = tampered(&second, |v| {
            let pool = part_mut(v, "data/challengePools/0");
            let newest = part(pool, "challenges").as_object().unwrap().keys().next_back().unwrap().to_owned();
            object_mut(pool, "challenges").remove(&newest);
            object_mut(pool, "challenges").insert(old.as_str(), challenge);
            array_mut(pool, &format!("bindingMap/{}", &newest[..1])).pop();
            array_mut(pool, &format!("bindingMap/{}", &old[..1])).push(old.as_str().into());
        });
        assert_eq!(compat::validate(chain.tip(), &back).unwrap(), Vec::<String>::new());
        assert_eq!(refused(&chain, &back), "spent");
        assert!(chain.is_spent(&salts()[SYNC], &old));
    }

    #[test]
    fn a_replaced_pool_brings_nothing_back() {
        let chain = general(4, Replenish::ReplaceAll, 1, 0, 0).chain;
        let frame = signed(&chain, "sync", "note^gib").frame;
        chain.clone().advance(&frame, &Expect::default()).unwrap();
        assert_eq!(refused(&chain, &with_pool(&frame, 0, pool_of(chain.tip(), 0))), "spent");
    }

    #[test]
    fn what_is_consumed_or_scorched_is_not_refilled() {
        for replenish in [Replenish::Consume, Replenish::ScorchedEarth] {
            let chain = general(4, replenish, 1, 0, 0).chain;
            let frame = signed(&chain, "sync", "note^gib").frame;
            chain.clone().advance(&frame, &Expect::default()).unwrap();
            assert_eq!(refused(&chain, &with_pool(&frame, 0, pool_of(chain.tip(), 0))), "next_pool", "{replenish:?}");
        }
    }

    #[test]
    fn the_signed_pool_keeps_its_size() {
        let (chain, frame) = step();
        let newest = ids(&frame, SYNC).pop().unwrap();
        assert_eq!(refused(&chain, &without(&frame, &format!("{}/{newest}", challenges(SYNC)))), "next_pool");
        assert_eq!(refused(&chain, &with(&frame, &challenges(SYNC), object([]))), "next_pool");
        assert_eq!(refused(&chain, &without(&frame, &challenges(SYNC))), "next_pool");
        let one_more = tampered(&frame, |v| {
            let challenge = part(v, &format!("{}/{newest}", challenges(SYNC))).clone();
            object_mut(v, &challenges(SYNC)).insert("00000000000000aa", challenge);
        });
        assert_eq!(refused(&chain, &one_more), "next_pool");
    }

    #[test]
    fn the_signed_pools_other_challenges_stay() {
        let (chain, frame) = step();
        let kept = &ids(&frame, SYNC)[0];
        let path = format!("{}/{kept}/hash", challenges(SYNC));
        assert_eq!(refused(&chain, &with(&frame, &path, "0".repeat(64))), "next_pool");
    }

    #[test]
    fn the_signed_pools_configuration_stays() {
        let (chain, frame) = step();
        for (path, new) in [
            ("id", Value::from("another")),
            ("config/allowedVerbs", Value::Array(Vec::new())),
            ("config/behavior/selectRandomly", 0u32.into()),
            ("config/extra", true.into()),
            ("extra", true.into()),
        ] {
            assert_eq!(refused(&chain, &with(&frame, &format!("data/challengePools/0/{path}"), new)), "next_pool");
        }
    }

    #[test]
    fn the_signed_pools_binding_map_follows() {
        let (chain, frame) = step();
        assert_eq!(refused(&chain, &with(&frame, "data/challengePools/0/bindingMap/0", Vec::new())), "next_pool");
        let reordered = tampered(&frame, |v| array_mut(v, "data/challengePools/0/bindingMap/0").reverse());
        assert_eq!(refused(&chain, &reordered), "next_pool");
    }

    #[test]
    fn new_ids_are_sixteen_hex_digits() {
        let (chain, frame) = step();
        let newest = ids(&frame, SYNC).pop().unwrap();
        for id in ["constructor", "AAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaa", "é000000000000000"] {
            let renamed = tampered(&frame, |v| {
                let challenges = object_mut(v, "data/challengePools/0/challenges");
                let challenge = challenges.remove(&newest).unwrap();
                challenges.insert(id, challenge);
            });
            assert_eq!(refused(&chain, &renamed), "next_pool", "{id}");
        }
    }

    /// Solved by its owner, such a challenge would be accepted here and refused by the original.
    #[test]
    fn new_challenges_have_a_type_and_a_hash() {
        let (chain, frame) = step();
        let newest = ids(&frame, SYNC).pop().unwrap();
        let path = format!("{}/{newest}", challenges(SYNC));
        assert_eq!(refused(&chain, &with(&frame, &format!("{path}/type"), "hash-reveal-v2")), "next_pool");
        assert_eq!(refused(&chain, &without(&frame, &format!("{path}/type"))), "next_pool");
        assert_eq!(refused(&chain, &without(&frame, &format!("{path}/hash"))), "next_pool");
        assert_eq!(refused(&chain, &with(&frame, &path, Value::Null)), "next_pool");
    }

    #[test]
    fn other_pools_do_not_change() {
        let (chain, frame) = step();
        let first = &ids(&frame, MANAGE)[0];
        let path = format!("{}/{first}/hash", challenges(MANAGE));
        assert_eq!(refused(&chain, &with(&frame, &path, "0".repeat(64))), "other_pool");
        assert_eq!(
            refused(&chain, &with(&frame, "data/challengePools/1/config/allowedVerbs", Vec::new())),
            "other_pool"
        );
        assert_eq!(refused(&chain, &with(&frame, &challenges(MANAGE), object([]))), "other_pool");
    }

    #[test]
    fn no_pool_goes_comes_or_moves() {
        let (chain, frame) = step();
        assert_eq!(refused(&chain, &with(&frame, "data/challengePools", Vec::new())), "other_pool");
        assert_eq!(refused(&chain, &without(&frame, "data/challengePools")), "other_pool");
        let change = |change: fn(&mut Vec<Value>)| tampered(&frame, |v| change(array_mut(v, "data/challengePools")));
        assert_eq!(refused(&chain, &change(|pools| drop(pools.pop()))), "other_pool");
        assert_eq!(refused(&chain, &change(|pools| pools.push(pools[1].clone()))), "other_pool");
        assert_eq!(refused(&chain, &change(|pools| pools.swap(1, 2))), "other_pool");
    }
}
