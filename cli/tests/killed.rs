//! Processes killed at random moments: nothing acknowledged is lost, nothing is half done, no identity is forked.

mod common;

use common::{Random, Server, World, files, number, times};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

fn rounds() -> usize {
    times("IBGIB_KILLS", 50)
}

/// Edits of one round: enough that a sync has something to do for a while.
fn edit(world: &World, device: &str, round: usize) {
    for i in 0..6 {
        world.write(&format!("{device}/dir/{device}-{round}-{i}.txt"), &format!("round {round}\n").repeat(200 * i + 1));
    }
    let log = world.path(&format!("{device}/log.txt"));
    let old = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::write(log, format!("{old}round {round} by {device}\n")).unwrap();
}

fn settle(world: &World) {
    for device in ["alice", "bob", "alice", "bob"] {
        let done = world.run(&["-C", device, "sync"]);
        assert!(matches!(done.code, Some(0 | 3)), "{device}: {}", done.stderr);
    }
    let tips = world.tips("alice");
    assert_eq!(world.tips("bob"), tips);
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
}

fn check(world: &World, server: Server, rounds: usize) {
    let log = world.read("alice/log.txt");
    for round in 0..rounds {
        let line = format!("round {round} by alice");
        assert_eq!(log.lines().filter(|l| **l == line).count(), 1, "{line}\n{log}");
    }
    let tips = world.tips("alice");
    for device in ["alice", "bob"] {
        assert_eq!(number(&world.run(&["-C", device, "sync", "--json"]).ok().json(), &["turns"]), 0);
        let identity = world.run(&["-C", device, "identity", "show", "--json"]).ok().json();
        assert_eq!(identity.get("evidence"), None, "{identity}");
        world.fsck(&["-C", device]);
    }
    assert_eq!(server.stop(), Some(0));
    assert_eq!(world.run(&["--space", "server", "tips", "--json"]).ok().stdout, tips);
    world.fsck(&["--space", "server"]);
}

#[test]
fn a_client_killed_at_random_moments_loses_nothing() {
    let mut random = Random::new();
    let world = World::new();
    let server = world.with_alice();
    world.run(&["clone", &server.url, "bob"]).ok();
    for round in 0..rounds() {
        edit(&world, "alice", round);
        let mut child =
            world.command(&["-C", "alice", "sync"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(random.below(260) as u64));
        // It may be done already.
        let _ = child.kill();
        child.wait().unwrap();
        if round % 5 == 4 {
            settle(&world);
        }
    }
    settle(&world);
    check(&world, server, rounds());
}

#[test]
fn a_server_killed_at_random_moments_loses_nothing() {
    let mut random = Random::new();
    let world = World::new();
    let mut server = world.with_alice();
    let listen = format!("127.0.0.1:{}", server.port());
    world.run(&["clone", &server.url, "bob"]).ok();
    for round in 0..rounds() {
        edit(&world, "alice", round);
        let child =
            world.command(&["-C", "alice", "sync"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        sleep(Duration::from_millis(random.below(260) as u64));
        server.kill();
        let done = child.wait_with_output().unwrap();
        assert!(matches!(done.status.code(), Some(0 | 3 | 8)), "{}", String::from_utf8_lossy(&done.stderr));
        server = Server::start(&world, &["serve", "--space", "server", "--policy", "open", "--listen", &listen]);
        if done.status.code() == Some(0) {
            // What was acknowledged is there: nothing is left to send.
            let again = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
            assert_eq!(number(&again, &["nodes", "sent"]), 0, "{again}");
        }
        if round % 5 == 4 {
            settle(&world);
        }
    }
    settle(&world);
    check(&world, server, rounds());
}
