//! `serve --door tower` and `tower` as operators and users meet them, over a Bitcoin node that is made up here.

mod common;
#[path = "../../doors/tower/tests/common/node.rs"]
mod node;
#[path = "../../doors/tower/tests/common/user.rs"]
mod user;

use common::{Random, Server, World, http, number, text, times};
use ibgib_tower::sealed::Dialect;
use node::{Node, channel};
use serde_json::json;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Runtime;
use user::User;

/// Slots, blocks and appointments of a tower that never runs out of them.
const SLOTS: u32 = 4_000_000_000;

const OPEN: [&str; 7] = ["serve", "--space", "server", "--policy", "open", "--listen", "127.0.0.1:0"];

fn serve(world: &World, node: &Node, more: &[&str]) -> (Server, String) {
    let url = node.url();
    let door = ["--door", "tower@127.0.0.1:0", "--tower-bitcoind", &url, "--tower-poll", "1"];
    let (server, mut printed) = Server::start_and_read(world, &[&OPEN[..], &door, more].concat());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let door = line.trim().strip_prefix("door tower ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (server, door)
}

/// Waits until something is so; a minute at most.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it never came to be: {what}");
}

#[test]
fn a_served_tower_answers_a_breach_and_tells_its_owner() {
    let (world, runtime) = (World::new(), Runtime::new().unwrap());
    let node = runtime.block_on(Node::start(20));
    world.run(&["--space", "server", "tower", "info", "--json"]).fails(5, "no_store");
    let (server, door) = serve(&world, &node, &["--tower-slots", "7"]);
    let user = User::new(&door, 1, Dialect::Rust);
    let (one, two) = (channel(1), channel(2));
    runtime.block_on(async {
        assert_eq!(user.register().await.1["available_slots"], json!(7));
        assert_eq!(user.add(&one).await.0, 200);
        assert_eq!(user.add(&two).await.0, 200);
    });
    node.chain().mine(vec![one.0.clone()]);
    until("the breach is answered", || node.chain().is_waiting(&one.1.txid()));
    let info = world.run(&["--space", "server", "tower", "info", "--json"]).ok().json();
    let counts = ["users", "appointments", "trackers", "height"].map(|name| number(&info, &[name]));
    assert_eq!((counts, text(&info, "dialect")), ([1, 1, 1, 21], "rust"));
    assert_eq!(info.get("reachable"), Some(&ibgib::Value::Bool(true)));
    let users = world.run(&["--space", "server", "tower", "users", "--json"]).ok().lines();
    assert_eq!((users.len(), number(&users[0], &["slots"])), (1, 5));
    let all = world.run(&["--space", "server", "tower", "appointments", "--json"]).ok().lines();
    assert_eq!(all.len(), 2);
    let locator = text(&all[0], "locator");
    let some = world.run(&["--space", "server", "tower", "appointments", "--locator", locator, "--json"]).ok().lines();
    assert_eq!(some, all[..1]);
    let metrics = http(&door, "GET", "/metrics", &[]).1;
    for line in ["ibgib_tower_trackers 1", "ibgib_tower_reachable 1", "ibgib_tower_block_seconds_count 1"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let key = world.path("server/tower.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.stop(), Some(0));
    // The same, read from the space; and the same tower when it is served again.
    let closed = world.run(&["--space", "server", "tower", "info", "--json"]).ok().json();
    assert_eq!((text(&closed, "towerId"), number(&closed, &["trackers"])), (text(&info, "towerId"), 1));
    assert_eq!(closed.get("reachable"), Some(&ibgib::Value::Null), "nobody was asked");
    let (server, door) = serve(&world, &node, &[]);
    let user = User::new(&door, 1, Dialect::Rust);
    assert_eq!(runtime.block_on(user.status(&two.0.txid())), "being_watched");
    server.kill();
    // The socket of one that was killed is in nobody's way.
    let told = world.run(&["--space", "server", "tower", "info"]).ok().stdout;
    assert!(told.contains(&format!("towerId {}\n", text(&info, "towerId"))), "{told}");
    std::fs::write(&key, "short").unwrap();
    let url = node.url();
    world.run(&[&OPEN[..], &["--door", "tower", "--tower-bitcoind", &url, "--json"]].concat()).fails(4, "damaged");
}

#[test]
fn options_that_do_not_fit_are_told() {
    let (world, runtime) = (World::new(), Runtime::new().unwrap());
    let node = runtime.block_on(Node::start(2));
    let wrong = node.url().replace("secret", "wrong");
    for (args, exit) in [
        (&["--door", "tower"][..], 2),
        (&["--door", "tower", "--tower-bitcoind", "127.0.0.1:8332"], 2),
        (&["--door", "tower", "--tower-bitcoind", "http://bob@127.0.0.1:8332"], 2),
        (&["--door", "tower", "--tower-bitcoind", "http://127.0.0.1:8332", "--tower-poll", "0"], 2),
        (&["--tower-slots", "7"], 2),
        (&["--door", "tower", "--tower-bitcoind", &wrong], 1),
    ] {
        let done = world.run(&[&OPEN[..], args].concat()).expect(exit);
        assert!(!done.stderr.contains("wrong@"), "no password is told: {}", done.stderr);
    }
    world.run(&["tower", "info", "--json"]).fails(2, "usage");
    world.run(&["--space", "server", "tower", "info", "--json"]).fails(5, "not_found");
    world.run(&["--space", "server", "tower", "appointments", "--locator", "ab", "--json"]).fails(2, "usage");
}

/// Whatever was acknowledged is answered, and answered once; a slot is held by each appointment and by nothing else.
#[test]
fn a_tower_killed_at_random_moments_loses_no_appointment() {
    let (world, runtime, mut random) = (World::new(), Runtime::new().unwrap(), Random::new());
    let node = runtime.block_on(Node::start(20));
    // However many appointments a machine makes in however many rounds: one registration is enough for all of them.
    let much = SLOTS.to_string();
    let terms = ["--tower-slots", &much, "--tower-duration", &much, "--tower-max-appointments", &much];
    let (mut server, mut door) = serve(&world, &node, &terms);
    let register = |door: &str| runtime.block_on(User::new(door, 1, Dialect::Rust).register()).0;
    assert_eq!(register(&door), 200);
    server.kill();
    let (mut next, mut acknowledged) = (1_u32, Vec::new());
    // So many of the first that were acknowledged have had their breach.
    let mut breached = 0;
    for round in 0..times("IBGIB_KILLS", 10) {
        // Breaches of what was acknowledged before: the tower looks at them when it starts, or with its next look.
        let some: Vec<_> = acknowledged[breached..].iter().take(5).map(|n| channel(*n).0).collect();
        breached += some.len();
        let is_later = random.below(3) == 0;
        if !is_later {
            node.chain().mine(some.clone());
        }
        if !is_later && random.below(3) == 0 {
            // Killed while it starts, whatever it does by then.
            let url = node.url();
            let args = [&OPEN[..], &["--door", "tower@127.0.0.1:0", "--tower-bitcoind", &url], &terms].concat();
            let mut starting = world.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random.below(400) as u64));
            starting.kill().unwrap();
            starting.wait().unwrap();
        } else {
            (server, door) = serve(&world, &node, &terms);
            let user = User::new(&door, 1, Dialect::Rust);
            let (told, heard) = mpsc::channel();
            // Requests until the server is gone.
            let asking = std::thread::spawn({
                let handle = runtime.handle().clone();
                move || {
                    let mut done = Vec::new();
                    let mut n = next;
                    loop {
                        let (dispute, penalty) = channel(n);
                        let body = user.appointment(&dispute.txid(), penalty.raw());
                        match handle.block_on(user.try_post("/add_appointment", &body)) {
                            Some((200, answer)) => {
                                done.push(n);
                                // Nobody listens any more once it is to be killed.
                                let _ = told.send(answer["start_block"].as_u64().unwrap());
                            }
                            Some((503, _)) | None => return (done, n + 1),
                            Some(other) => panic!("{other:?}"),
                        }
                        n += 1;
                    }
                }
            });
            // Killed after some answers, or once it has looked at the block; with what is under way by then.
            for _ in 0..random.below(8) {
                heard.recv().unwrap();
            }
            if is_later {
                let height = {
                    let mut chain = node.chain();
                    chain.mine(some.clone());
                    chain.height() as u64
                };
                while heard.recv().unwrap() < height {}
            }
            drop(heard);
            std::thread::sleep(Duration::from_millis(random.below(20) as u64));
            server.kill();
            let (done, after) = asking.join().unwrap();
            acknowledged.extend(done);
            next = after;
        }
        if round % 3 == 2 {
            node.chain().unwind(1, true);
            node.chain().mine_empty(2);
            breached -= some.len();
        }
    }
    (server, door) = serve(&world, &node, &terms);
    // In the end every breach happens and is mined: so many in a block as a tower answers within the time of a wait.
    let user = User::new(&door, 1, Dialect::Rust);
    for (n, some) in acknowledged.chunks(500).enumerate() {
        let some: Vec<_> = some.iter().map(|n| channel(*n)).collect();
        let open = some.iter().skip(breached.saturating_sub(500 * n)).map(|(dispute, _)| dispute.clone()).collect();
        node.chain().mine(open);
        until("every penalty waits or is in the chain", || {
            let chain = node.chain();
            some.iter().all(|(_, penalty)| chain.is_waiting(&penalty.txid()) || chain.is_confirmed(&penalty.txid()))
        });
        for (dispute, _) in &some {
            assert_eq!(runtime.block_on(user.status(&dispute.txid())), "dispute_responded");
        }
    }
    let info = world.run(&["--space", "server", "tower", "info", "--json"]).ok().json();
    let held = number(&info, &["appointments"]) + number(&info, &["trackers"]);
    assert_eq!(runtime.block_on(user.slots()) + held, u64::from(SLOTS), "{info}");
    assert!(held >= acknowledged.len() as u64, "{info}");
    assert_eq!(server.stop(), Some(0));
    world.fsck(&["--space", "server"]);
}
