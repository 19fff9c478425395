//! Several servers over one database: who does what only one should, and a database that is lost under them.

mod common;

use common::postgres::{Own, database, sql};
use common::{Random, Server, World, files, times};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// Waits until something is so; three minutes at most.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_600 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("it never came to be: {what}");
}

/// Of two servers one does the work of each kind. When it is killed the other takes all of it over; when that one is
/// stopped it gives it up.
#[test]
fn work_that_one_server_does_goes_over_to_another() {
    let (world, space) = (World::new(), database("leases"));
    let start = || {
        let args = ["serve", "--space", &space, "--policy", "open", "--listen", "127.0.0.1:0", "--door", "vault"];
        let doors = ["--door", "mailbox", "--door", "tower", "--tower-feed", "timelines", "--tower-poll", "1"];
        Server::start(&world, &[&args[..], &doors].concat())
    };
    let holders = || sql(&space, "SELECT name, holder FROM ibgib.leases WHERE until > now() ORDER BY name");
    let names = |holders: &str| {
        let name = |line: &str| line.split('|').next().unwrap().to_owned();
        holders.lines().map(name).collect::<Vec<_>>()
    };
    let all = ["mailbox", "retention", "staging", "tower", "vault"].map(|name| format!("\\x{}", hex(name)));
    let first = start();
    until("the first has every lease", || names(&holders()) == all);
    let before = holders();
    let tower = world.run(&["tower", "info", "--space", &space, "--json"]).ok().json();
    let second = start();
    // Both are one tower, and one mailbox and vault.
    let now = world.run(&["tower", "info", "--space", &space, "--json"]).ok().json();
    assert_eq!(now.get("towerId"), tower.get("towerId"));
    assert_eq!(holders(), before);
    first.kill();
    until("the second has every lease", || {
        let now = holders();
        names(&now) == all && now.lines().zip(before.lines()).all(|(now, before)| now != before)
    });
    assert_eq!(second.stop(), Some(0));
    assert_eq!(holders(), "");
    world.fsck(&["--space", &space]);
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A primary is killed in the middle of a sync and its standby promoted: the same servers go on, and what they had
/// acknowledged is there.
#[test]
fn a_promoted_standby_has_whatever_was_acknowledged() {
    let mut random = Random::new();
    for _ in 0..times("IBGIB_KILLS", 1) {
        let (world, own) = (World::new(), Own::with_standby());
        let servers = [world.serve(&own.url), world.serve(&own.url)];
        world.write("alice/first.txt", "first\n");
        world.run(&["init", "alice", "--remote", &servers[0].url]).ok();
        world.run(&["-C", "alice", "sync"]).ok();
        world.run(&["clone", &servers[1].url, "bob"]).ok();
        let lines = |who: &str, random: &mut Random| -> String {
            (0..random.below(3_000)).map(|line| format!("{who} {line} {}\n", random.below(1_000_000))).collect()
        };
        let mut acknowledged = Vec::new();
        for i in 0..2 {
            let (name, text) = (format!("before {i}.txt"), lines("before", &mut random));
            world.write(&format!("alice/{name}"), &text);
            world.run(&["-C", "alice", "sync"]).ok();
            acknowledged.push((name, text));
        }
        let pending = [("alice", lines("alice", &mut random)), ("bob", lines("bob", &mut random))];
        let mut syncing = pending.each_ref().map(|(device, text)| {
            world.write(&format!("{device}/{device}.txt"), text);
            let mut sync = world.command(&["-C", device, "sync"]);
            sync.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        sleep(Duration::from_millis(random.below(400) as u64));
        own.kill();
        own.promote();
        for (sync, (device, text)) in syncing.iter_mut().zip(&pending) {
            if sync.wait().unwrap().success() {
                acknowledged.push((format!("{device}.txt"), text.clone()));
            }
        }
        own.is_back();
        // A device that knows nothing yet finds all that was acknowledged, at either server.
        for (i, server) in servers.iter().enumerate() {
            let carol = format!("carol{i}");
            until("the server goes on", || world.run(&["clone", &server.url, &carol]).code == Some(0));
            for (name, text) in &acknowledged {
                assert!(world.read(&format!("{carol}/{name}")) == *text, "{name} was acknowledged and is lost");
            }
        }
        for device in ["alice", "bob", "alice"] {
            world.run(&["-C", device, "sync"]).ok();
        }
        assert!(files(&world.path("alice")) == files(&world.path("bob")));
        world.fsck(&["--space", &own.url]);
        assert_eq!(servers.map(|server| server.stop()), [Some(0), Some(0)]);
    }
}
