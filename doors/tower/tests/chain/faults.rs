//! Faults of the original programs, which this tower does not have: those that show in the rules. The others, which show
//! only where there are sockets and a store, are in `tests/door.rs`; `docs/tower.md` counts all of them.

use crate::world::{Node, User, channel, step, unwind, world};
use ibgib_tower::feed::{Block, BlockId, Verdict};
use ibgib_tower::gatekeeper::Terms;
use ibgib_tower::locator_cache::LocatorCache;
use ibgib_tower::responder::Penalty;
use ibgib_tower::sealed::{Dialect, Locator};
use ibgib_tower::tower::{Added, AppointmentState, Tower};
use ibgib_tower::watcher::Refusal;

fn brief(duration: u32) -> [Terms; 2] {
    [Dialect::Rust, Dialect::Python].map(|dialect| Terms { duration, ..Terms::of(dialect) })
}

/// `handle_reorgs` gave locator and uuid to `handle_breach` in each other's places.
#[test]
fn fault_1_a_reorganisation_leaves_a_tracker_under_its_own_key() {
    let (mut node, mut tower, user) = world(Dialect::Python);
    let (dispute, penalty) = channel(1);
    node.seen.insert(dispute.txid(), dispute.clone());
    node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    step(&mut node, &mut tower, vec![dispute.txid()]);
    step(&mut node, &mut tower, vec![penalty.txid()]);
    unwind(&mut node, &mut tower, 2);
    let keys: Vec<_> = tower.responder().trackers().map(|(id, _)| *id).collect();
    assert_eq!(keys, [user.id(dispute.txid())]);
    assert!(matches!(user.get(&tower, dispute.txid()), Ok(AppointmentState::Responded(_))));
}

/// The penalty was put on the list of unconfirmed ones again with each reorganisation, and counted that often.
#[test]
fn fault_2_after_many_reorganisations_a_penalty_is_still_sent_once() {
    let (mut node, mut tower, user) = world(Dialect::Python);
    let (dispute, penalty) = channel(1);
    node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    step(&mut node, &mut tower, vec![dispute.txid()]);
    for _ in 0..4 {
        // The node itself fails on a transaction that is sent twice.
        step(&mut node, &mut tower, vec![penalty.txid()]);
        unwind(&mut node, &mut tower, 1);
    }
    node.waiting.clear();
    let sent = (0..5).map(|_| {
        step(&mut node, &mut tower, Vec::new());
        node.sent.len()
    });
    assert_eq!(sent.collect::<Vec<_>>(), [0; 5], "five blocks are not six");
    step(&mut node, &mut tower, Vec::new());
    assert_eq!(node.sent, [penalty.txid()]);
}

/// Expired trackers were looked up among appointments that wait, where they are no more.
#[test]
fn fault_3_what_an_expired_user_had_goes_whether_it_waits_or_was_triggered() {
    let (mut node, _, user) = world(Dialect::Python);
    let [rust, python] = brief(3);
    let mut tower = Tower::new(node.tip(), rust, python);
    tower.register(user.0.id(), Dialect::Python).unwrap();
    let channels = [channel(1), channel(2), channel(3)];
    for (dispute, penalty) in &channels {
        node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    }
    step(&mut node, &mut tower, vec![channels[0].0.txid(), channels[1].0.txid()]);
    step(&mut node, &mut tower, vec![channels[1].1.txid()]);
    (0..10).for_each(|_| step(&mut node, &mut tower, Vec::new()));
    assert_eq!(tower.watcher().appointments().len() + tower.watcher().subscriptions().len(), 0);
    let left: Vec<_> = tower.responder().trackers().map(|(_, t)| (t.penalty.txid(), t.owner)).collect();
    assert_eq!(left, [(channels[1].1.txid(), None)], "what is confirmed is followed to its end");
}

/// The count of missed confirmations outlived its tracker, and the next sending looked for a transaction that was gone.
#[test]
fn fault_4_what_is_gone_is_not_sent_again() {
    let (mut node, _, user) = world(Dialect::Python);
    let [rust, python] = brief(3);
    let mut tower = Tower::new(node.tip(), rust, python);
    tower.register(user.0.id(), Dialect::Python).unwrap();
    let (dispute, penalty) = channel(1);
    node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    step(&mut node, &mut tower, vec![dispute.txid()]);
    (0..8).for_each(|_| step(&mut node, &mut tower, Vec::new()));
    assert_eq!(tower.responder().trackers().len(), 0);
    node.waiting.clear();
    (0..20).for_each(|_| {
        step(&mut node, &mut tower, Vec::new());
        assert!(node.sent.is_empty());
    });
}

/// The removal of an old block took a locator that a newer one holds, too, and failed the second time.
#[test]
fn fault_5_a_locator_stays_while_any_block_holds_it() {
    let txid = channel(1).0.txid();
    let mut cache = LocatorCache::new(2);
    for height in 1..=4_u8 {
        let id = BlockId { hash: [height; 32], height: height.into() };
        cache.update(&Block { id, parent: [height - 1; 32], txids: vec![txid] });
        assert_eq!(cache.get_txid(&Locator::of(&txid, Dialect::Python)), Some(txid));
    }
}

/// A late appointment with a bad answer cost a slot, and its user had a receipt for what was not kept.
#[test]
fn fault_7_a_bad_answer_that_comes_late_gets_no_receipt_and_costs_nothing() {
    for dialect in [Dialect::Rust, Dialect::Python] {
        let (mut node, mut tower, user) = world(dialect);
        let (dispute, penalty) = channel(1);
        step(&mut node, &mut tower, vec![dispute.txid()]);
        let before = user.slots(&tower);
        let noise = user.seal(dispute.txid(), b"no transaction");
        assert!(matches!(tower.add_appointment(noise), Err(Refusal::BadAnswer(_))));
        let mut other = user.seal(channel(2).0.txid(), penalty.raw());
        other.locator = Locator::of(&dispute.txid(), dialect);
        let message = ibgib_tower::signature::appointment_message(&other.locator, &other.sealed, other.to_self_delay);
        other.signature = user.0.sign(&message);
        assert!(matches!(tower.add_appointment(other), Err(Refusal::BadAnswer(_))), "sealed under another id");
        let request = user.seal(dispute.txid(), penalty.raw());
        let Ok(Added::Triggered(triggered)) = tower.add_appointment(request) else { panic!("it is triggered") };
        assert_eq!(tower.decide(*triggered, Verdict::Bad), Err(Refusal::AnswerRefused));
        assert_eq!((user.slots(&tower), tower.watcher().appointments().len()), (before, 0));
    }
}

/// A penalty that waits was not sent again when its breach came back after a reorganisation, and sending one that was
/// confirmed meanwhile ended the program.
#[test]
fn fault_9_a_penalty_whose_breach_was_reorganised_is_sent_again_and_no_other() {
    let (mut node, mut tower, user) = world(Dialect::Rust);
    let (dispute, penalty) = channel(1);
    node.seen.insert(dispute.txid(), dispute.clone());
    node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    step(&mut node, &mut tower, vec![dispute.txid()]);
    unwind(&mut node, &mut tower, 1);
    assert!(node.waiting.contains_key(&dispute.txid()) && node.waiting.contains_key(&penalty.txid()));
    // The network forgets both; with the sixth block both are sent again.
    node.waiting.clear();
    (0..6).for_each(|_| step(&mut node, &mut tower, Vec::new()));
    assert!(node.waiting.contains_key(&dispute.txid()) && node.waiting.contains_key(&penalty.txid()));
    // Only the breach comes back: its penalty is sent with that block, not six blocks later.
    node.waiting.clear();
    step(&mut node, &mut tower, vec![dispute.txid()]);
    assert_eq!(node.sent, [penalty.txid()]);
    unwind(&mut node, &mut tower, 1);
    // Both in one block: the tracker knows at which height, and nothing is sent any more.
    step(&mut node, &mut tower, vec![dispute.txid(), penalty.txid()]);
    let height = tower.last_block().height;
    let tracker = tower.responder().tracker(&user.id(dispute.txid())).unwrap();
    assert_eq!((tracker.state, tracker.dispute_height), (Penalty::Confirmed { height }, Some(height)));
    (0..12).for_each(|_| {
        step(&mut node, &mut tower, Vec::new());
        assert!(node.sent.is_empty());
    });
}

/// The network's "already in the chain" left an appointment watched for ever whose breach and penalty are in one block.
#[test]
fn fault_10_breach_and_penalty_in_one_block_are_a_tracker() {
    let (mut node, mut tower, user): (Node, Tower, User) = world(Dialect::Rust);
    let (dispute, penalty) = channel(1);
    node.add(&mut tower, user.seal(dispute.txid(), penalty.raw())).unwrap();
    step(&mut node, &mut tower, vec![dispute.txid(), penalty.txid()]);
    let tracker = tower.responder().tracker(&user.id(dispute.txid())).unwrap();
    assert_eq!(tracker.state, Penalty::Confirmed { height: 8 });
    assert!(node.sent.is_empty(), "nothing has to be sent");
}
