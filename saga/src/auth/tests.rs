use super::*;
use ibgib_keystone::{Claim, Entropy, Secret, SignOpts, config};

struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(37);
            *byte = self.0;
        }
    }
}

fn secret(name: &str) -> Secret {
    Secret::new(name.as_bytes().to_vec())
}

fn session(name: &str) -> Chain {
    let pools = config::session_pools(&config::random_salts(&mut Counter(1)));
    ibgib_keystone::genesis(&secret(name), &pools, None, 1_767_225_600_000, &mut Counter(7)).unwrap().chain
}

fn sign(chain: &Chain, name: &str, verb: &str, target: &str, demanded: Vec<String>) -> (Chain, Verified<IbGib>) {
    let claim = Claim { verb: verb.into(), target: target.into(), ..Claim::default() };
    let opts = SignOpts { demanded, ..SignOpts::default() };
    let now = 1_767_225_601_000;
    let signed = ibgib_keystone::sign(chain, &secret(name), &claim, opts, now, &mut Counter(9)).unwrap();
    (signed.chain, signed.frame)
}

fn context(n: u32) -> Addr {
    let data = Some(ibgib::object([("n", n.into())]));
    IbGib { ib: "saga_context".into(), data, ..IbGib::default() }.seal().unwrap().addr().clone()
}

fn demand(chain: &Chain) -> Vec<String> {
    ibgib_keystone::demand(chain, VERB_CONNECT, 2, &mut Counter(3))
}

fn challenge(chain: &Chain, target: &str) -> (Box<Challenge>, ConnectChallenge) {
    let (check, message) =
        Check::challenge(Box::new(chain.clone()), target.to_owned(), demand(chain), Audience::default(), 1_000);
    assert_eq!(check.expects(), Some(MsgType::ConnectProof));
    match (check, message) {
        (Check::AwaitProof(challenge), Message::ConnectChallenge(message)) => (challenge, message),
        other => panic!("{other:?}"),
    }
}

/// One side proves itself to the other, by messages alone. Answers the prover's session as the checker knows it.
fn prove(name: &str, target: &str) -> Proven {
    let own = session(name);
    let (prove, hello) = Prove::begin(Some(own.tip().addr().clone()));
    assert_eq!((prove, prove.expects()), (Prove::AwaitChallenge, Some(MsgType::ConnectChallenge)));
    let Message::Hello(hello) = hello else { panic!("{hello:?}") };
    assert_eq!(Check::greeted(&hello, false).unwrap().0, Greeted::Session(own.tip().addr().clone()));
    let (open, asked) = challenge(&own, target);
    let (_, frame) = sign(&own, name, VERB_CONNECT, &asked.challenge_uuid, asked.demanded);
    let (prove, proof) = Prove::signed(frame);
    assert_eq!(prove.expects(), Some(MsgType::ConnectOk));
    let Message::ConnectProof(proof) = proof else { panic!("{proof:?}") };
    let (proven, step) = open.check(&proof).unwrap();
    assert_eq!((proven.tjp(), step.to()), (own.tjp(), proof.addr()));
    proven
}

#[test]
fn both_sides_can_prove_themselves_to_each_other() {
    let (here, there) = (prove("a secret of this side", "to there"), prove("a secret of that side", "to here"));
    assert_ne!(here.tjp(), there.tjp());
}

#[test]
fn who_comes_without_identity_is_let_in_only_where_that_is_allowed() {
    let (prove, hello) = Prove::begin(None);
    assert_eq!(prove.expects(), Some(MsgType::ConnectOk));
    let Message::Hello(hello) = hello else { panic!("{hello:?}") };
    assert_eq!(Check::greeted(&hello, true).unwrap(), (Greeted::Nobody, Encoding::Blocks));
    assert_eq!(Check::greeted(&hello, false).unwrap_err(), IdentityRefusal::Required.into());
    let speaking = |versions: &[&str]| {
        let versions = versions.iter().map(|name| (*name).to_owned()).collect();
        Check::greeted(&Hello { session: None, versions, reads_packed: false }, true)
    };
    let older = speaking(&["another.protocol", "ibgib.saga.v1"]).unwrap();
    assert_eq!(older, (Greeted::Nobody, Encoding::Lines));
    match speaking(&["another.protocol"]) {
        Err(SagaError::PeerIncompatible(hint)) => assert!(hint.contains("ibgib.saga.v3"), "{hint}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_proof_of_something_else_is_refused() {
    let own = session("a secret");
    let other = session("another secret");
    let (asked, a_turn) = (demand(&own), context(1));
    let signed = |verb, target, demanded| sign(&own, "a secret", verb, target, demanded).1;
    let proofs = [
        ("another target", signed(VERB_CONNECT, "elsewhere", asked.clone())),
        ("fewer challenges", signed(VERB_CONNECT, "here", asked[..1].to_vec())),
        ("another verb", signed(VERB_SYNC, a_turn.as_str(), Vec::new())),
        ("another identity", sign(&other, "another secret", VERB_CONNECT, "here", demand(&other)).1),
        ("no step", own.tip().clone()),
    ];
    for (what, proof) in proofs {
        let error = challenge(&own, "here").0.check(&proof).expect_err(what);
        assert!(error.is_identity(), "{what}: {error}");
    }
    assert!(challenge(&own, "here").0.check(&signed(VERB_CONNECT, "here", asked)).is_ok());
}

#[test]
fn each_turn_is_the_next_step_and_names_its_context() {
    let own = session("a secret");
    let (after, proof) = sign(&own, "a secret", VERB_CONNECT, "here", demand(&own));
    let (mut proven, _) = challenge(&own, "here").0.check(&proof).unwrap();
    let (_, frame) = sign(&after, "a secret", VERB_SYNC, context(1).as_str(), Vec::new());
    assert!(proven.turn(&frame, &context(2)).unwrap_err().is_identity());
    // A frame that is refused changes nothing: the right one still follows, once.
    assert_eq!(proven.turn(&frame, &context(1)).unwrap().to(), frame.addr());
    assert!(proven.turn(&frame, &context(1)).is_err());
}
