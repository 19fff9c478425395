//! A tower as it is served, over a node on a real socket: what its users are answered, and what becomes of breaches.

mod common;

use common::node::{Node, channel, spend};
use common::user::ask;
use common::{POLL, Served, options, until, without_looking};
use ibgib_server::ServeError;
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op, When};
use ibgib_spaces::{MemorySpace, Space};
use ibgib_tower::gatekeeper::Terms;
use ibgib_tower::owner::{self, OwnerQuestion};
use ibgib_tower::rpc::NodeAddress;
use ibgib_tower::sealed::Dialect;
use ibgib_tower::signature::{registration_receipt, signer};
use ibgib_tower::transaction::Transaction;
use serde_json::{Value, json};
use std::sync::Arc;

fn space() -> Arc<dyn Space> {
    Arc::new(MemorySpace::new("tower"))
}

async fn served(height: usize) -> (Node, Served) {
    let node = Node::start(height).await;
    let served = Served::start(&space(), options(&node, Dialect::Rust)).await.unwrap();
    (node, served)
}

#[tokio::test]
async fn users_of_both_dialects_are_served_beside_each_other() {
    let (_node, served) = served(20).await;
    for (n, dialect, slots) in [(1, Dialect::Rust, 10_000_u32), (2, Dialect::Python, 100)] {
        let user = served.user(n, dialect);
        let (status, answer) = user.register().await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["available_slots"], &answer["subscription_expiry"]), (&json!(slots), &json!(4_340)));
        assert_eq!(answer.get("subscription_start").is_some(), dialect == Dialect::Rust);
        assert_eq!(answer.get("public_key").is_some(), dialect == Dialect::Python);
        let receipt = registration_receipt(&user.key.id(), slots, 20, 4_340, dialect);
        let signed = signer(&receipt, answer["subscription_signature"].as_str().unwrap());
        assert_eq!(signed.map(|id| id.to_string()), Some(served.id.clone()));

        let (dispute, penalty) = channel(1);
        let request = user.appointment(&dispute.txid(), penalty.raw());
        let (status, answer) = user.post("/add_appointment", request.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["start_block"], &answer["available_slots"]), (&json!(20), &json!(slots - 1)));
        assert_eq!(user.receipt_signer(&request, &answer), Some(served.id.clone()));
        let (status, seen) = user.get(&dispute.txid()).await;
        assert_eq!((status, &seen["status"]), (200, &json!("being_watched")));
        assert_eq!(seen["appointment"], request["appointment"]);
        assert_eq!(seen.get("locator").is_some(), dialect == Dialect::Python);
        let (status, info) = user.info().await;
        let member = if dialect == Dialect::Rust { "locators" } else { "appointments" };
        assert_eq!((status, &info[member]), (200, &json!([request["appointment"]["locator"]])));
    }
    let at = served.url();
    let at = at.strip_prefix("http://").unwrap();
    assert_eq!(ask(at, "GET", "/ping", "").await.unwrap(), (200, String::new()));
    served.stop().await;
}

/// What is wrong, and what the answer to it is in the Rust dialect.
#[tokio::test]
async fn what_is_wrong_is_answered_by_the_numbers_of_the_rust_dialect() {
    let (node, served) = served(20).await;
    let user = served.user(1, Dialect::Rust);
    let (dispute, penalty) = channel(1);
    let unknown = user.add(&(dispute.clone(), penalty.clone())).await;
    assert_eq!((unknown.0, &unknown.1["error_code"]), (401, &json!(7)));
    user.register().await;
    let good = user.appointment(&dispute.txid(), penalty.raw());
    let with = |path: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let id = user.key.id().to_string();
    let cases = [
        ("/register", json!({}), 1),
        ("/register", json!({"user_id": ""}), 2),
        ("/register", json!({"user_id": 7}), 3),
        ("/register", json!({"user_id": &id[2..]}), 4),
        ("/register", json!({"user_id": &id[1..]}), 5),
        ("/register", json!({"user_id": format!("05{}", &id[2..])}), 5),
        ("/register", json!("no object"), 3),
        ("/add_appointment", json!({"signature": "x"}), 1),
        ("/add_appointment", json!({"appointment": good["appointment"]}), 1),
        ("/add_appointment", with("/signature", json!("")), 2),
        ("/add_appointment", with("/appointment/locator", json!("")), 2),
        ("/add_appointment", with("/appointment/to_self_delay", json!("42")), 3),
        ("/add_appointment", with("/appointment/locator", json!("abcd")), 4),
        ("/add_appointment", with("/appointment/encrypted_blob", json!("abc")), 5),
        ("/add_appointment", with("/appointment/encrypted_blob", json!("xx")), 5),
        ("/add_appointment", with("/appointment/to_self_delay", json!(1_u64 << 32)), 6),
        ("/get_appointment", json!({"locator": good["appointment"]["locator"]}), 1),
        ("/get_appointment", json!({"locator": good["appointment"]["locator"], "signature": ""}), 2),
        ("/get_subscription_info", json!({"signature": ""}), 2),
    ];
    for (path, body, code) in cases {
        let (status, answer) = user.post(path, body.clone()).await;
        assert_eq!((status, &answer["error_code"]), (400, &json!(code)), "{path} {body}: {answer}");
    }
    let (status, answer) = user.post("/register", json!({})).await;
    assert_eq!((status, &answer["error"]), (400, &json!("missing field `user_id`")));
    let (status, answer) = user.get(&dispute.txid()).await;
    assert_eq!((status, &answer["error_code"]), (404, &json!(36)));
    let stranger = served.user(3, Dialect::Rust);
    for (status, answer) in [stranger.get(&dispute.txid()).await, stranger.info().await] {
        assert_eq!((status, &answer["error_code"]), (401, &json!(7)));
    }
    // The bodies of the original are as long as they can be.
    let long = "x".repeat(300);
    for path in ["/register", "/get_appointment", "/get_subscription_info"] {
        assert_eq!(user.post(path, json!({"signature": long})).await.0, 413, "{path}");
    }
    assert_eq!(user.post("/add_appointment", json!({"signature": "x".repeat(2_048)})).await.0, 413);
    // Triggered once, it cannot be changed.
    assert_eq!(user.post("/add_appointment", good.clone()).await.0, 200);
    node.chain().mine(vec![dispute.clone()]);
    until("it is answered", async || user.status(&dispute.txid()).await == "dispute_responded").await;
    let (status, answer) = user.post("/add_appointment", good).await;
    assert_eq!((status, &answer["error_code"]), (400, &json!(35)));
    served.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_answered_by_the_numbers_of_the_python_dialect() {
    let node = Node::start(20).await;
    let served = Served::start(&space(), options(&node, Dialect::Python)).await.unwrap();
    let user = served.user(1, Dialect::Python);
    let (dispute, penalty) = channel(1);
    let (status, answer) = user.add(&(dispute.clone(), penalty.clone())).await;
    assert_eq!((status, &answer["error_code"]), (400, &json!(-8)));
    assert_eq!(answer["error"], "appointment rejected. Invalid signature or user does not have enough slots available");
    user.register().await;
    let good = user.appointment(&dispute.txid(), penalty.raw());
    let with = |path: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let cases = [
        ("/register", json!({}), -33),
        ("/register", json!({"public_key": "02"}), -34),
        ("/register", json!({"public_key": 7}), -34),
        ("/register", json!([1]), -65),
        ("/add_appointment", json!({}), -1),
        ("/add_appointment", json!({"appointment": 7}), -7),
        ("/add_appointment", with("/appointment/locator", Value::Null), -1),
        ("/add_appointment", with("/appointment/locator", json!(7)), -2),
        ("/add_appointment", with("/appointment/locator", json!("abcd")), -3),
        ("/add_appointment", with("/appointment/locator", json!("x".repeat(32))), -4),
        ("/add_appointment", with("/appointment/to_self_delay", json!(19)), -5),
        ("/add_appointment", with("/appointment/to_self_delay", json!(-19)), -5),
        ("/add_appointment", with("/appointment/to_self_delay", json!(1_u64 << 32)), -6),
        ("/add_appointment", with("/appointment/to_self_delay", json!("42")), -2),
        ("/add_appointment", with("/appointment/encrypted_blob", json!("")), -4),
        ("/add_appointment", with("/appointment/encrypted_blob", json!(7)), -2),
    ];
    for (path, body, code) in cases {
        let (status, answer) = user.post(path, body.clone()).await;
        assert_eq!((status, &answer["error_code"]), (400, &json!(code)), "{path} {body}: {answer}");
    }
    let (status, answer) = user.post("/get_appointment", json!({"locator": "abcd", "signature": "x"})).await;
    assert_eq!((status, answer), (404, json!({"locator": "abcd", "status": "not_found"})));
    let (status, answer) = user.get(&dispute.txid()).await;
    assert_eq!((status, &answer["status"]), (404, &json!("not_found")));
    // More than one slot, which the other original cannot take over HTTP.
    let (status, answer) = user.post("/add_appointment", user.appointment(&dispute.txid(), &[1; 5_000])).await;
    assert_eq!((status, &answer["available_slots"]), (200, &json!(97)), "{answer}");
    assert_eq!(user.post("/add_appointment", good.clone()).await.1["available_slots"], json!(99));
    node.chain().mine(vec![dispute.clone()]);
    until("it is answered", async || user.status(&dispute.txid()).await == "dispute_responded").await;
    let (status, answer) = user.post("/add_appointment", good).await;
    assert_eq!((status, &answer["error_code"]), (400, &json!(-9)));
    let (_, seen) = user.get(&dispute.txid()).await;
    assert_eq!(seen["appointment"]["penalty_rawtx"], json!(hex::encode(penalty.raw())));
    assert_eq!(seen["appointment"]["dispute_txid"], json!(dispute.txid().to_string()));
    served.stop().await;
}

#[tokio::test]
async fn a_breach_is_answered_and_its_slot_comes_back_after_a_hundred_confirmations() {
    let (node, served) = served(20).await;
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    let channel = channel(1);
    let (dispute, penalty) = (channel.0.txid(), channel.1.txid());
    assert_eq!(user.add(&channel).await.0, 200);
    assert_eq!(user.slots().await, 9_999);
    node.chain().mine(vec![channel.0.clone()]);
    until("the penalty waits for a block", async || node.chain().is_waiting(&penalty)).await;
    node.chain().mine_pool();
    node.chain().mine_empty(98);
    until("all is seen", async || user.status(&dispute).await == "dispute_responded").await;
    node.chain().mine_empty(1);
    until("it is at its end", async || user.status(&dispute).await == "404").await;
    assert_eq!((user.slots().await, node.chain().times_sent(&penalty)), (10_000, 1));
    served.stop().await;
}

#[tokio::test]
async fn an_appointment_after_its_breach_is_answered_at_once_and_a_bad_one_refused() {
    let (node, served) = served(20).await;
    let (user, other) = (served.user(1, Dialect::Rust), served.user(2, Dialect::Python));
    user.register().await;
    other.register().await;
    let first = channel(1);
    node.chain().mine(vec![first.0.clone()]);
    node.chain().mine_empty(5);
    // The appointment is told the height from which it is watched: that of the newest block.
    let probe = channel(9);
    until("the blocks are seen", async || user.add(&probe).await.1["start_block"] == json!(26)).await;
    let bad = user.appointment(&first.0.txid(), b"no transaction");
    let (status, answer) = user.post("/add_appointment", bad).await;
    assert_eq!((status, &answer["error_code"]), (400, &json!(5)), "{answer}");
    assert_eq!(user.slots().await, 9_999, "what is refused costs nothing");
    let refused = spend(first.0.txid(), 7);
    node.chain().refuse(refused.txid());
    let (status, answer) = other.add(&(first.0.clone(), refused.clone())).await;
    assert_eq!((status, &answer["error_code"]), (400, &json!(-4)), "{answer}");
    assert_eq!(other.slots().await, 100);
    let (status, answer) = user.add(&first).await;
    assert_eq!((status, &answer["available_slots"]), (200, &json!(9_998)), "{answer}");
    assert!(node.chain().is_waiting(&first.1.txid()), "it is sent before the answer");
    assert_eq!(user.status(&first.0.txid()).await, "dispute_responded");
    // Another user's equal answer is not sent a second time for the same block.
    assert_eq!(other.add(&first).await.0, 200);
    assert_eq!(node.chain().times_sent(&first.1.txid()), 1);
    assert_eq!(other.status(&first.0.txid()).await, "dispute_responded");
    served.stop().await;
}

#[tokio::test]
async fn what_six_blocks_did_not_take_is_sent_again() {
    let (node, served) = served(20).await;
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    let channel = channel(1);
    let penalty = channel.1.txid();
    user.add(&channel).await;
    node.chain().mine(vec![channel.0.clone()]);
    for times in 1..4 {
        until("it is sent", async || node.chain().times_sent(&penalty) == times).await;
        node.chain().forget_pool();
        node.chain().mine_empty(5);
        tokio::time::sleep(5 * POLL).await;
        assert_eq!(node.chain().times_sent(&penalty), times);
        node.chain().mine_empty(1);
    }
    served.stop().await;
}

/// The node takes its time for one answer: whoever has another one waits neither for its verdict nor for the next block.
#[tokio::test]
async fn while_an_answer_is_judged_others_are_given() {
    let (node, served) = served(20).await;
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    let [slow, other, next] = [1, 2, 3].map(channel);
    user.add(&next).await;
    node.chain().mine(vec![slow.0.clone(), other.0.clone()]);
    let at = async |height: usize| {
        let probe = user.add(&channel(4)).await.1;
        probe["start_block"] == json!(height)
    };
    until("the breaches are seen", async || at(21).await).await;
    let held = slow.1.txid();
    node.chain().hold(held);
    let late = served.user(1, Dialect::Rust);
    let (late, ()) = tokio::join!(late.add(&slow), async {
        until("its answer is sent", async || node.chain().held(&held) == 1).await;
        assert_eq!(user.add(&other).await.0, 200);
        assert_eq!(user.status(&other.0.txid()).await, "dispute_responded");
        node.chain().mine(vec![next.0.clone()]);
        until("the next block is answered", async || node.chain().is_waiting(&next.1.txid())).await;
        assert!(!node.chain().is_waiting(&held));
        node.chain().let_go();
    });
    assert_eq!(late.0, 200, "{}", late.1);
    assert_eq!(user.status(&slow.0.txid()).await, "dispute_responded");
    // Two who bring one answer at once have it sent once.
    let (dispute, penalty) = channel(5);
    node.chain().mine(vec![dispute.clone()]);
    until("the breach is seen", async || at(23).await).await;
    let second = served.user(2, Dialect::Rust);
    second.register().await;
    node.chain().hold(penalty.txid());
    let both = (dispute, penalty);
    let (one, two, ()) = tokio::join!(user.add(&both), second.add(&both), async {
        until("one of them is sent", async || node.chain().held(&both.1.txid()) > 0).await;
        node.chain().let_go();
    });
    assert_eq!((one.0, two.0, node.chain().times_sent(&both.1.txid())), (200, 200, 1));
    assert_eq!(node.chain().times_sent_at_once(), 1);
    served.stop().await;
}

/// A fuller pool asks for higher fees than the penalty was made with: that passes, and the user has a receipt.
#[tokio::test]
async fn what_was_taken_once_is_kept_when_it_is_refused_later() {
    for dialect in [Dialect::Rust, Dialect::Python] {
        let (node, space) = (Node::start(20).await, space());
        let served = Served::start(&space, options(&node, dialect)).await.unwrap();
        let user = served.user(1, dialect);
        user.register().await;
        let channel = channel(1);
        let (dispute, penalty) = (channel.0.txid(), channel.1.txid());
        user.add(&channel).await;
        let slots = user.slots().await;
        node.chain().mine(vec![channel.0.clone()]);
        until("it is taken", async || node.chain().is_waiting(&penalty)).await;
        let refuse = || {
            let mut chain = node.chain();
            chain.forget_pool();
            chain.refuse(penalty);
            chain.mine_empty(6);
            chain.height()
        };
        let height = refuse();
        until("it is refused", async || node.chain().times_sent(&penalty) == 2).await;
        let looked = async |served: &Served, height: usize| {
            let probe = served.user(1, dialect).add(&common::node::channel(2)).await.1;
            probe["start_block"] == json!(height)
        };
        until("the verdict is heard", async || looked(&served, height).await).await;
        assert_eq!(user.status(&dispute).await, "dispute_responded");
        served.stop().await;
        // One that starts anew sends what waits, and knows, too, that it was taken once.
        let served = Served::start(&space, options(&node, dialect)).await.unwrap();
        let user = served.user(1, dialect);
        assert_eq!(node.chain().times_sent(&penalty), 3);
        assert_eq!((user.status(&dispute).await.as_str(), user.slots().await), ("dispute_responded", slots - 1));
        node.chain().refuse_nothing();
        node.chain().mine_empty(6);
        until("it is taken again", async || node.chain().is_waiting(&penalty)).await;
        served.stop().await;
    }
}

#[tokio::test]
async fn reorganisations_of_any_depth_are_followed() {
    for depth in [1_usize, 2, 10] {
        for forgets in [false, true] {
            let (node, served) = served(20).await;
            let user = served.user(1, Dialect::Rust);
            user.register().await;
            let channel = channel(1);
            let (dispute, penalty) = (channel.0.txid(), channel.1.txid());
            user.add(&channel).await;
            node.chain().mine(vec![channel.0.clone()]);
            until("the penalty waits", async || node.chain().is_waiting(&penalty)).await;
            node.chain().mine_pool();
            node.chain().mine_empty(depth.saturating_sub(2));
            until("all is seen", async || {
                let height = node.chain().height();
                let info = user.add(&common::node::channel(2)).await.1;
                info["start_block"] == json!(height)
            })
            .await;
            {
                let mut chain = node.chain();
                chain.unwind(depth, forgets);
                chain.mine_empty(depth + 1);
            }
            until("what was lost waits again", async || {
                let chain = node.chain();
                chain.is_waiting(&penalty) && (depth == 1 || chain.is_waiting(&dispute))
            })
            .await;
            node.chain().mine_pool();
            assert!(node.chain().is_confirmed(&penalty));
            node.chain().mine_empty(99);
            until("it is at its end", async || user.status(&dispute).await == "404").await;
            assert_eq!(node.chain().times_sent_at_once(), 1, "nothing is sent twice for a block");
            served.stop().await;
        }
    }
}

/// In the second generation an outage in which the breach falls left a tower that waits for itself.
#[tokio::test]
async fn fault_11_a_breach_in_an_outage_is_answered_when_the_node_is_back() {
    let (mut node, served) = served(20).await;
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    let channel = channel(1);
    user.add(&channel).await;
    node.go_down();
    until("the tower says so", async || user.info().await.0 == 503).await;
    for (status, answer) in
        [user.register().await, user.add(&common::node::channel(2)).await, user.get(&channel.0.txid()).await]
    {
        assert_eq!((status, &answer["error_code"]), (503, &json!(32)));
    }
    node.chain().mine(vec![channel.0.clone()]);
    node.come_back().await;
    until("the breach is answered", async || node.chain().is_waiting(&channel.1.txid())).await;
    until("the tower serves", async || user.status(&channel.0.txid()).await == "dispute_responded").await;
    served.stop().await;
}

#[tokio::test]
async fn a_tower_that_begins_while_its_node_is_away_serves_once_it_comes() {
    let mut node = Node::start(3).await;
    node.go_down();
    let served = Served::start(&space(), options(&node, Dialect::Python)).await.unwrap();
    let user = served.user(1, Dialect::Python);
    assert_eq!(user.register().await, (503, json!({"error": "Service unavailable"})));
    node.come_back().await;
    until("it serves", async || user.register().await.0 == 200).await;
    served.stop().await;
}

#[tokio::test]
async fn a_node_that_will_never_do_stops_the_start() {
    let node = Node::start(3).await;
    for url in [node.url().replace("secret", "wrong"), node.url() + "/elsewhere"] {
        let node = NodeAddress::new(&url, None).unwrap();
        let options = ibgib_tower::TowerOptions {
            feed: ibgib_tower::TowerFeed::Bitcoind(node),
            ..options(&Node::start(1).await, Dialect::Rust)
        };
        let Err(ServeError::Door { name: "tower", why }) = Served::start(&space(), options).await else {
            panic!("{url} does")
        };
        assert!(matches!(*why, ServeError::Start(ref text) if !text.contains("secret")), "{why}");
    }
}

/// A restart finds all that was acknowledged, and goes on from the last block that was looked at.
#[tokio::test]
async fn a_tower_that_was_stopped_goes_on() {
    let (node, space) = (Node::start(20).await, space());
    let channels: Vec<(Transaction, Transaction)> = (1..4).map(channel).collect();
    let tower = Served::start(&space, options(&node, Dialect::Rust)).await.unwrap();
    let user = tower.user(1, Dialect::Rust);
    user.register().await;
    for channel in &channels {
        assert_eq!(user.add(channel).await.0, 200);
    }
    node.chain().mine(vec![channels[0].0.clone()]);
    until("it is answered", async || node.chain().is_waiting(&channels[0].1.txid())).await;
    tower.stop().await;
    // Meanwhile: a breach, a reorganisation, and a network that forgets.
    node.chain().forget_pool();
    node.chain().mine(vec![channels[1].0.clone()]);
    node.chain().unwind(1, true);
    node.chain().mine_empty(1);
    node.chain().mine(vec![channels[1].0.clone()]);
    let tower = Served::start(&space, options(&node, Dialect::Rust)).await.unwrap();
    let user = tower.user(1, Dialect::Rust);
    for (channel, status) in channels.iter().zip(["dispute_responded", "dispute_responded", "being_watched"]) {
        assert_eq!(user.status(&channel.0.txid()).await, status);
    }
    for channel in &channels[..2] {
        until("it waits", async || node.chain().is_waiting(&channel.1.txid())).await;
    }
    assert_eq!(user.slots().await, 9_997);
    tower.stop().await;
}

/// In the second generation a tower that is killed before its first new block forgot where it had begun.
#[tokio::test]
async fn fault_12_the_first_block_is_written_before_anything_is_answered() {
    let (node, space) = (Node::start(20).await, space());
    let tower = Served::start(&space, options(&node, Dialect::Rust)).await.unwrap();
    let channel = channel(1);
    let user = tower.user(1, Dialect::Rust);
    user.register().await;
    user.add(&channel).await;
    tower.stop().await;
    node.chain().mine(vec![channel.0.clone()]);
    node.chain().mine_empty(10);
    let tower = Served::start(&space, options(&node, Dialect::Rust)).await.unwrap();
    assert!(node.chain().is_waiting(&channel.1.txid()));
    tower.stop().await;
}

/// In the first generation the fields of a block were read before it was seen that there is none.
#[tokio::test]
async fn fault_6_a_block_that_the_node_does_not_give_is_asked_for_again() {
    let (node, served) = served(20).await;
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    let channel = channel(1);
    user.add(&channel).await;
    for answer in [json!(null), json!({}), json!({"height": -1}), json!({"height": 21, "tx": [7]}), json!("00")] {
        {
            let mut chain = node.chain();
            chain.give_for_blocks(Some(answer.clone()));
            chain.mine(Vec::new());
        }
        until("the tower says that it cannot follow", async || user.info().await.0 == 503).await;
        node.chain().give_for_blocks(None);
        until("it goes on", async || user.info().await.0 == 200).await;
    }
    node.chain().mine(vec![channel.0.clone()]);
    until("the breach is answered", async || node.chain().is_waiting(&channel.1.txid())).await;
    served.stop().await;
}

/// Slots were written before the appointment that they pay for: a crash between lost them.
#[tokio::test]
async fn fault_8_slots_and_appointment_are_written_together_or_not_at_all() {
    let node = Node::start(20).await;
    // The fourth write is that of the appointment, after those of the first block, who the tower is, and the user.
    let plan = FaultPlan::default;
    let plans =
        [plan().nth(Op::Commit, 4, When::Before), plan().nth(Op::Commit, 4, When::After), plan().after(Op::Commit, 3)];
    for (i, plan) in plans.into_iter().enumerate() {
        let kept = space();
        let faulty: Arc<dyn Space> = Arc::new(FaultSpace::new(Arc::clone(&kept), plan));
        let served = Served::start(&faulty, options(&node, Dialect::Rust)).await.unwrap();
        let user = served.user(1, Dialect::Rust);
        assert_eq!(user.register().await.0, 200);
        let (status, answer) = user.add(&channel(1)).await;
        assert_eq!((status, &answer["error_code"]), (503, &json!(32)), "{i}: nothing was acknowledged");
        served.stop().await;
        let served = Served::start(&kept, options(&node, Dialect::Rust)).await.unwrap();
        let user = served.user(1, Dialect::Rust);
        let written = u64::from(user.status(&channel(1).0.txid()).await == "being_watched");
        assert_eq!((written, user.slots().await), (u64::from(i == 1), 10_000 - written), "{i}");
        assert_eq!(
            user.add(&channel(1)).await.1["available_slots"],
            json!(9_999),
            "{i}: asked again, it is there once"
        );
        served.stop().await;
    }
}

/// After a commit that failed the records are read again, and what is in no record is learnt again: what the newest
/// blocks hold before an appointment is taken, and what was sent already.
#[tokio::test]
async fn a_breach_before_an_appointment_is_known_also_after_the_store_failed() {
    for when in [When::Before, When::After] {
        let node = Node::start(20).await;
        let (early, late) = (channel(1), channel(2));
        node.chain().mine(vec![early.0.clone(), late.0.clone()]);
        node.chain().mine_empty(1);
        // The fifth write is that of an appointment, after the first block, who the tower is, the user, and what answered
        // the early one.
        let plan = FaultPlan::default().nth(Op::Commit, 5, when);
        let faulty: Arc<dyn Space> = Arc::new(FaultSpace::new(space(), plan));
        let served = Served::start(&faulty, without_looking(&node, Dialect::Rust)).await.unwrap();
        let user = served.user(1, Dialect::Rust);
        user.register().await;
        assert_eq!(user.add(&early).await.0, 200);
        assert_eq!(user.add(&channel(3)).await.0, 503, "the store fails");
        let (status, answer) = user.add(&late).await;
        assert_eq!(status, 200, "{answer}");
        assert!(node.chain().is_waiting(&late.1.txid()), "it is sent before the answer");
        assert_eq!(user.status(&late.0.txid()).await, "dispute_responded");
        let (dispute, other) = (early.0.txid(), served.user(2, Dialect::Rust));
        other.register().await;
        assert_eq!(other.add(&early).await.0, 200);
        assert_eq!(other.status(&dispute).await, "dispute_responded");
        assert_eq!(node.chain().times_sent_at_once(), 1);
        served.stop().await;
    }
}

/// The same while it looks at the chain: what waits is not sent again because the records were read again.
#[tokio::test]
async fn what_waits_is_sent_once_for_a_block_also_when_the_store_fails() {
    let node = Node::start(20).await;
    let early = channel(1);
    node.chain().mine(vec![early.0.clone()]);
    let plan = FaultPlan::default().nth(Op::Commit, 5, When::Before);
    let faulty: Arc<dyn Space> = Arc::new(FaultSpace::new(space(), plan));
    let served = Served::start(&faulty, options(&node, Dialect::Rust)).await.unwrap();
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    assert_eq!(user.add(&early).await.0, 200);
    assert_eq!(user.add(&channel(3)).await.0, 503, "the store fails");
    // It has looked again when the next block is seen.
    for height in 22..=23 {
        node.chain().mine_empty(1);
        until("it is seen", async || user.add(&channel(3)).await.1["start_block"] == json!(height)).await;
    }
    assert_eq!(node.chain().times_sent(&early.1.txid()), 1);
    served.stop().await;
}

#[tokio::test]
async fn two_towers_over_one_space_are_one() {
    let (node, space) = (Node::start(20).await, space());
    // The first to come follows the chain, for both.
    let there = Served::start(&space, options(&node, Dialect::Rust)).await.unwrap();
    let here = Served::start(&space, without_looking(&node, Dialect::Rust)).await.unwrap();
    let (one, other) = (here.user(1, Dialect::Rust), there.user(1, Dialect::Rust));
    one.register().await;
    let channels: Vec<(Transaction, Transaction)> = (1..9).map(channel).collect();
    for pair in channels[..6].chunks(2) {
        assert_eq!((one.add(&pair[0]).await.0, other.add(&pair[1]).await.0), (200, 200));
    }
    let breaches = |of: &[(Transaction, Transaction)]| of.iter().map(|(dispute, _)| dispute.clone()).collect();
    node.chain().mine(breaches(&channels[..3]));
    node.chain().mine(breaches(&channels[6..]));
    until("breaches are answered", async || {
        channels[..3].iter().all(|(_, penalty)| node.chain().is_waiting(&penalty.txid()))
    })
    .await;
    until("the other looked", async || other.add(&channels[3]).await.1["start_block"] == json!(22)).await;
    // The one has not looked since: what the other wrote tells it that there are blocks which it does not know.
    for (late, user) in channels[6..].iter().zip([&one, &other]) {
        let (status, answer) = user.add(late).await;
        assert_eq!(status, 200, "{answer}");
        assert!(node.chain().is_waiting(&late.1.txid()), "it is sent before the answer");
    }
    for (n, (dispute, _)) in channels.iter().enumerate() {
        let status = if (3..6).contains(&n) { "being_watched" } else { "dispute_responded" };
        assert_eq!(
            (one.status(&dispute.txid()).await.as_str(), &*other.status(&dispute.txid()).await),
            (status, status)
        );
    }
    assert_eq!((one.slots().await, other.slots().await), (9_992, 9_992));
    assert!(node.chain().times_sent_at_once() <= 2, "each of both sends a transaction once for a block");
    node.chain().mine_pool();
    node.chain().mine_empty(99);
    until("all is at its end", async || other.slots().await == 9_997).await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_subscription_ends_and_its_data_goes_after_the_grace() {
    let (node, space) = (Node::start(20).await, space());
    let terms = [Dialect::Rust, Dialect::Python].map(|dialect| Terms { duration: 10, ..Terms::of(dialect) });
    let served =
        Served::start(&space, ibgib_tower::TowerOptions { terms, ..options(&node, Dialect::Rust) }).await.unwrap();
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    let channel = channel(1);
    user.add(&channel).await;
    node.chain().mine_empty(10);
    until("it is over", async || user.info().await.0 == 401).await;
    let (status, answer) = user.get(&channel.0.txid()).await;
    assert_eq!((status, &answer["error"]), (401, &json!("Your subscription expired at 30")));
    node.chain().mine_empty(6);
    until("he is forgotten", async || user.info().await.1["error"] == "User not found. Have you registered?").await;
    served.stop().await;
}

#[tokio::test]
async fn a_full_tower_says_so() {
    let (node, space) = (Node::start(20).await, space());
    let terms = [Dialect::Rust, Dialect::Python].map(|dialect| Terms { appointments_max: 1, ..Terms::of(dialect) });
    let served =
        Served::start(&space, ibgib_tower::TowerOptions { terms, ..options(&node, Dialect::Rust) }).await.unwrap();
    for (n, dialect) in [(1, Dialect::Rust), (2, Dialect::Python)] {
        let user = served.user(n, dialect);
        user.register().await;
        let statuses = (user.add(&channel(1)).await.0, user.add(&channel(2)).await.0);
        assert_eq!(statuses, if n == 1 { (200, 503) } else { (503, 503) });
    }
    served.stop().await;
}

#[tokio::test]
async fn a_tower_takes_as_many_users_as_it_says() {
    let (node, space) = (Node::start(20).await, space());
    let terms = [Dialect::Rust, Dialect::Python].map(|dialect| Terms { users_max: 1, ..Terms::of(dialect) });
    let served =
        Served::start(&space, ibgib_tower::TowerOptions { terms, ..options(&node, Dialect::Rust) }).await.unwrap();
    let user = served.user(1, Dialect::Rust);
    assert_eq!(user.register().await.0, 200);
    for dialect in [Dialect::Rust, Dialect::Python] {
        let (status, answer) = served.user(2, dialect).register().await;
        let why = "the tower takes no more users than the 1 that it has";
        assert_eq!((status, &answer["error"]), (503, &json!(why)), "{dialect:?}");
    }
    // Who is one already goes on being one.
    assert_eq!(user.register().await.1["available_slots"], 20_000);
    served.stop().await;
}

#[tokio::test]
async fn the_owner_is_told_how_it_stands() {
    let (node, space) = (Node::start(20).await, space());
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("tower.sock");
    let options = ibgib_tower::TowerOptions { owner_socket: Some(socket.clone()), ..options(&node, Dialect::Rust) };
    let served = Served::start(&space, options).await.unwrap();
    let user = served.user(1, Dialect::Rust);
    user.register().await;
    let channels = [channel(1), channel(2)];
    for channel in &channels {
        user.add(channel).await;
    }
    node.chain().mine(vec![channels[0].0.clone()]);
    until("it is answered", async || user.status(&channels[0].0.txid()).await == "dispute_responded").await;
    let info = owner::ask(&socket, OwnerQuestion::Info).await.unwrap();
    let expected = json!({
        "towerId": served.id, "dialect": "rust", "users": 1, "appointments": 1, "trackers": 1,
        "lastBlock": info["lastBlock"], "height": 21, "reachable": true,
    });
    assert_eq!(info, expected);
    let all = owner::ask(&socket, OwnerQuestion::Appointments(None)).await.unwrap();
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    let locator = all[0]["locator"].as_str().unwrap().parse().unwrap();
    let some = owner::ask(&socket, OwnerQuestion::Appointments(Some(locator))).await.unwrap();
    assert_eq!(some, json!([all[0]]));
    served.stop().await;
    assert!(owner::ask(&socket, OwnerQuestion::Info).await.is_err());
    // The same without it running.
    let read = async |question| owner::read(Arc::clone(&space), question).await.unwrap().unwrap();
    assert_eq!(read(OwnerQuestion::Appointments(None)).await, all);
    let users = read(OwnerQuestion::Users).await;
    assert_eq!((&users[0]["slots"], &users[0]["trackers"]), (&json!(9_998), &json!(1)));
    let info = read(OwnerQuestion::Info).await;
    assert_eq!((&info["reachable"], &info["towerId"]), (&json!(null), &expected["towerId"]));
    let elsewhere: Arc<dyn Space> = Arc::new(MemorySpace::new("elsewhere"));
    assert_eq!(owner::read(elsewhere, OwnerQuestion::Info).await.unwrap(), None);
}

/// Where a tower tells its owner how it stands, another one does not: neither while both run nor when it ends.
#[tokio::test]
async fn an_owners_socket_belongs_to_whoever_answers_there() {
    let node = Node::start(20).await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("tower.sock");
    let options = || ibgib_tower::TowerOptions { owner_socket: Some(socket.clone()), ..options(&node, Dialect::Rust) };
    // What a killed one left is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let first = Served::start(&space(), options()).await.unwrap();
    first.user(1, Dialect::Rust).register().await;
    let users = async || Some(owner::ask(&socket, OwnerQuestion::Info).await.ok()?["users"].clone());
    until("the first answers", async || users().await == Some(json!(1))).await;
    let second = Served::start(&space(), options()).await.unwrap();
    for n in 1..3 {
        second.user(n, Dialect::Rust).register().await;
    }
    // It has begun to follow the chain, and so to tell, when it has seen a block more.
    let user = second.user(1, Dialect::Rust);
    node.chain().mine_empty(1);
    until("it has looked", async || user.add(&channel(1)).await.1["start_block"] == json!(21)).await;
    assert_eq!(users().await, Some(json!(1)));
    second.stop().await;
    assert_eq!(users().await, Some(json!(1)));
    first.stop().await;
    assert!(!socket.exists());
}
