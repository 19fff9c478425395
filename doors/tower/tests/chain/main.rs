//! A tower beside a chain that is made up here: breaches, reorganisations, forgetful networks, crashes.

mod faults;
mod world;

use ibgib_tower::feed::Verdict;
use ibgib_tower::gatekeeper::Terms;
use ibgib_tower::responder::Penalty;
use ibgib_tower::sealed::{Dialect, Locator};
use ibgib_tower::tower::{Added, AppointmentState, Tower};
use ibgib_tower::transaction::Txid;
use ibgib_tower::watcher::{Refusal, Request};
use proptest::prelude::*;
use std::collections::BTreeSet;
use world::{Node, User, channel, step, unwind, world};

#[test]
fn a_breach_is_answered_within_its_block_and_followed_to_the_end() {
    for dialect in [Dialect::Rust, Dialect::Python] {
        let (mut node, mut tower, user) = world(dialect);
        let (dispute, penalty) = channel(1);
        let before = user.slots(&tower);
        let accepted = node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
        assert_eq!((accepted.slots, accepted.start_block), (before - 1, 7));
        assert!(matches!(user.get(&tower, dispute.txid()), Ok(AppointmentState::Watched(_))));
        step(&mut node, &mut tower, vec![dispute.txid()]);
        assert!(node.waiting.contains_key(&penalty.txid()));
        assert!(matches!(user.get(&tower, dispute.txid()), Ok(AppointmentState::Responded(_))));
        let again = node.add(&mut tower, user.seal(dispute.txid(), penalty.raw()));
        assert_eq!(again, Err(Refusal::AlreadyTriggered));
        step(&mut node, &mut tower, vec![penalty.txid()]);
        for _ in 0..98 {
            step(&mut node, &mut tower, Vec::new());
            assert!(tower.responder().tracker(&user.id(dispute.txid())).is_some());
        }
        step(&mut node, &mut tower, Vec::new());
        assert_eq!(user.get(&tower, dispute.txid()), Err(Refusal::NotFound));
        assert_eq!(user.slots(&tower), before, "slots come back at the end");
    }
}

#[test]
fn an_appointment_that_comes_after_its_trigger_is_answered_at_once() {
    let (mut node, mut tower, user) = world(Dialect::Rust);
    let (dispute, penalty) = channel(1);
    step(&mut node, &mut tower, vec![dispute.txid()]);
    (0..4).for_each(|_| step(&mut node, &mut tower, Vec::new()));
    let before = user.slots(&tower);
    // Sealed wrongly: no receipt, no slot.
    let other = user.seal(dispute.txid(), b"no transaction");
    assert!(matches!(node.add(&mut tower, other), Err(Refusal::BadAnswer(_))));
    let request = user.seal(dispute.txid(), penalty.raw());
    let Ok(Added::Triggered(triggered)) = tower.add_appointment(request.clone()) else { panic!("it is triggered") };
    assert_eq!(tower.decide(*triggered, Verdict::Bad), Err(Refusal::AnswerRefused));
    assert_eq!(user.slots(&tower), before);
    // The network is not asked a second time before the next block, in which it may think better of it.
    assert_eq!(tower.add_appointment(request.clone()), Err(Refusal::AnswerRefused));
    step(&mut node, &mut tower, Vec::new());
    node.add(&mut tower, request).unwrap();
    assert!(node.waiting.contains_key(&penalty.txid()));
    assert_eq!(user.slots(&tower), before - 1);
    // One block later the trigger is too old to be known.
    let (old, answer) = channel(2);
    step(&mut node, &mut tower, vec![old.txid()]);
    (0..6).for_each(|_| step(&mut node, &mut tower, Vec::new()));
    node.add(&mut tower, user.seal(old.txid(), answer.raw())).unwrap();
    assert!(!node.waiting.contains_key(&answer.txid()));
}

#[test]
fn slots_are_paid_and_given_back() {
    let (mut node, mut tower, user) = world(Dialect::Python);
    let (dispute, _) = channel(1);
    let before = user.slots(&tower);
    let large = vec![1; 5_000];
    node.add(&mut tower, user.seal(dispute.txid(), &large)).unwrap();
    assert_eq!(user.slots(&tower), before - 3);
    node.add(&mut tower, user.seal(dispute.txid(), &[1; 100])).unwrap();
    assert_eq!(user.slots(&tower), before - 1, "what takes another's place pays the difference");
    let huge = vec![1; 2_048 * 200];
    let refused = node.add(&mut tower, user.seal(channel(2).0.txid(), &huge));
    assert!(matches!(refused, Err(Refusal::NotEnoughSlots { left: 99, .. })));
    // It does not open to a transaction when its trigger comes: the user paid for nothing.
    step(&mut node, &mut tower, vec![dispute.txid()]);
    assert_eq!(user.slots(&tower), before);
    assert_eq!(user.get(&tower, dispute.txid()), Err(Refusal::NotFound));
}

#[test]
fn only_users_are_served_and_only_while_they_pay() {
    let (mut node, mut tower, user) = world(Dialect::Rust);
    let stranger = User::new(9, Dialect::Rust);
    let (dispute, penalty) = channel(1);
    let add =
        |node: &mut Node, tower: &mut Tower, user: &User| node.add(tower, user.seal(dispute.txid(), penalty.raw()));
    assert_eq!(add(&mut node, &mut tower, &stranger), Err(Refusal::NotAUser));
    let short = Request { signature: "abc".into(), ..user.seal(dispute.txid(), penalty.raw()) };
    assert_eq!(node.add(&mut tower, short), Err(Refusal::NotAUser));
    add(&mut node, &mut tower, &user).unwrap();
    let mut terms = Terms::of(Dialect::Rust);
    terms.duration = 10;
    let mut brief = Tower::new(node.tip(), terms, terms);
    brief.register(user.0.id(), Dialect::Rust).unwrap();
    add(&mut node, &mut brief, &user).unwrap();
    for _ in 0..10 {
        step(&mut node, &mut brief, Vec::new());
    }
    assert_eq!(user.get(&brief, dispute.txid()), Err(Refusal::Expired(17)));
    assert!(brief.watcher().appointment(&user.id(dispute.txid())).is_some(), "data is kept for some blocks");
    (0..6).for_each(|_| step(&mut node, &mut brief, Vec::new()));
    assert!(brief.watcher().appointments().next().is_none() && brief.watcher().subscriptions().next().is_none());
}

#[test]
fn a_penalty_in_the_chain_is_followed_though_its_owner_is_gone() {
    let (mut node, _, user) = world(Dialect::Rust);
    let terms = Terms { duration: 3, ..Terms::of(Dialect::Rust) };
    let mut tower = Tower::new(node.tip(), terms, terms);
    tower.register(user.0.id(), Dialect::Rust).unwrap();
    let (one, two) = (channel(1), channel(2));
    for (dispute, penalty) in [&one, &two] {
        node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    }
    step(&mut node, &mut tower, vec![one.0.txid(), two.0.txid()]);
    step(&mut node, &mut tower, vec![one.1.txid()]);
    (0..8).for_each(|_| step(&mut node, &mut tower, Vec::new()));
    let left: Vec<_> = tower.responder().trackers().map(|(id, t)| (id.locator, t.owner)).collect();
    assert_eq!(left, [(Locator::of(&one.0.txid(), Dialect::Rust), None)]);
}

#[test]
fn what_is_forgotten_is_sent_again_at_the_sixth_block() {
    let (mut node, mut tower, user) = world(Dialect::Rust);
    let (dispute, penalty) = channel(1);
    node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    step(&mut node, &mut tower, vec![dispute.txid()]);
    for _ in 0..3 {
        node.waiting.clear();
        for _ in 0..5 {
            step(&mut node, &mut tower, Vec::new());
            assert!(node.waiting.is_empty());
        }
        step(&mut node, &mut tower, Vec::new());
        assert!(node.waiting.contains_key(&penalty.txid()));
    }
}

#[test]
fn reorganisations_are_followed() {
    for depth in [1, 2, 10] {
        let (mut node, mut tower, user) = world(Dialect::Rust);
        let (dispute, penalty) = channel(1);
        node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
        node.seen.insert(dispute.txid(), dispute.clone());
        step(&mut node, &mut tower, vec![dispute.txid()]);
        step(&mut node, &mut tower, vec![penalty.txid()]);
        (2..depth).for_each(|_| step(&mut node, &mut tower, Vec::new()));
        unwind(&mut node, &mut tower, depth);
        let tracker = tower.responder().tracker(&user.id(dispute.txid())).unwrap();
        assert!(matches!(tracker.state, Penalty::Waiting { .. }), "{depth}");
        assert_eq!(tracker.dispute_height.is_none(), depth > 1, "the breach is out of the chain");
        // The network has both again, and they are mined again, however long that takes.
        (0..7).for_each(|_| step(&mut node, &mut tower, Vec::new()));
        if depth > 1 {
            assert!(node.waiting.contains_key(&dispute.txid()));
            step(&mut node, &mut tower, vec![dispute.txid()]);
        }
        assert!(node.waiting.contains_key(&penalty.txid()), "{depth}");
        step(&mut node, &mut tower, vec![penalty.txid()]);
        let tracker = tower.responder().tracker(&user.id(dispute.txid())).unwrap();
        assert!(matches!(tracker.state, Penalty::Confirmed { .. }) && tracker.dispute_height.is_some());
    }
}

#[test]
fn equal_answers_of_several_users_are_all_kept() {
    let (mut node, mut tower, one) = world(Dialect::Rust);
    let two = User::new(8, Dialect::Python);
    tower.register(two.0.id(), Dialect::Python).unwrap();
    let (dispute, penalty) = channel(1);
    for user in [&one, &two] {
        node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    }
    step(&mut node, &mut tower, vec![dispute.txid()]);
    assert_eq!(tower.responder().trackers().count(), 2);
    assert_eq!(node.sent, [penalty.txid()], "sent once");
}

/// Whatever the chain does: what was acknowledged is answered once its trigger stays in the chain.
#[derive(Clone, Debug)]
enum Act {
    Add(u8),
    Mine { disputes: Vec<u8>, takes_waiting: bool },
    Unwind(usize),
    Forget,
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..6_u8).prop_map(Act::Add),
        4 => (prop::collection::vec(0..6_u8, 0..3), any::<bool>())
            .prop_map(|(disputes, takes_waiting)| Act::Mine { disputes, takes_waiting }),
        1 => (1..4_usize).prop_map(Act::Unwind),
        1 => Just(Act::Forget),
        1 => Just(Act::Restart),
    ]
}

/// The tower as it was written, at the newest block.
fn restarted(node: &mut Node, tower: &Tower) -> Tower {
    let (watcher, responder) = (tower.watcher(), tower.responder());
    let mut out = Tower::restore(
        tower.last_block(),
        [Terms::of(Dialect::Rust), Terms::of(Dialect::Python)],
        watcher.subscriptions().map(|(k, v)| (*k, *v)),
        watcher.appointments().map(|(k, v)| (*k, v.clone())),
        responder.trackers().map(|(k, v)| (*k, v.clone())),
    );
    let height = tower.last_block().height as usize;
    out.fix(&(height.saturating_sub(5)..=height).map(|at| node.block(at)).collect::<Vec<_>>());
    node.sent.clear();
    let sends = out.resume(0);
    node.take(&mut out, sends);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_answered(acts in prop::collection::vec(act(), 1..60)) {
        let (mut node, mut tower, user) = world(Dialect::Rust);
        let all = user.slots(&tower);
        let mut acknowledged = BTreeSet::new();
        for n in 0..6 {
            node.seen.insert(channel(n).0.txid(), channel(n).0);
        }
        for act in acts {
            match act {
                Act::Add(n) => {
                    let (dispute, penalty) = channel(n);
                    node.sent.retain(|txid| *txid != penalty.txid());
                    if node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).is_ok() {
                        acknowledged.insert(n);
                    }
                }
                Act::Mine { disputes, takes_waiting } => {
                    let mut txids: Vec<Txid> = Vec::new();
                    for n in disputes {
                        let txid = channel(n).0.txid();
                        if !node.confirmed(&txid) && !txids.contains(&txid) {
                            txids.push(txid);
                        }
                    }
                    if takes_waiting {
                        let waiting: Vec<Txid> = node.waiting.keys().filter(|t| !txids.contains(t)).copied().collect();
                        // A penalty is mined only after what it spends.
                        txids.extend(waiting.iter().filter(|t| (0..6).all(|n| channel(n).1.txid() != **t)));
                        for n in 0..6 {
                            let (dispute, penalty) = channel(n);
                            let there = node.confirmed(&dispute.txid()) || txids.contains(&dispute.txid());
                            if waiting.contains(&penalty.txid()) && there {
                                txids.push(penalty.txid());
                            }
                        }
                    }
                    step(&mut node, &mut tower, txids);
                }
                Act::Unwind(depth) => {
                    let depth = depth.min(node.chain.len() - 8);
                    unwind(&mut node, &mut tower, depth);
                }
                Act::Forget => node.waiting.clear(),
                Act::Restart => tower = restarted(&mut node, &tower),
            }
            let held = tower.watcher().appointments().count() + tower.responder().trackers().count();
            prop_assert_eq!(user.slots(&tower) + held as u32, all, "each appointment holds its slot");
        }
        // In the end the chain goes on and takes what waits.
        for _ in 0..8 {
            for n in 0..6 {
                let (dispute, penalty) = channel(n);
                if node.confirmed(&dispute.txid()) && node.waiting.contains_key(&penalty.txid()) {
                    step(&mut node, &mut tower, vec![penalty.txid()]);
                }
            }
            step(&mut node, &mut tower, Vec::new());
        }
        for n in acknowledged {
            let (dispute, penalty) = channel(n);
            let known = tower.responder().tracker(&user.id(dispute.txid())).is_some();
            if known && node.confirmed(&dispute.txid()) {
                prop_assert!(node.confirmed(&penalty.txid()), "the penalty of {n} is in the chain");
            }
            prop_assert!(known || tower.watcher().appointment(&user.id(dispute.txid())).is_some(), "{n} is not lost");
        }
    }
}
