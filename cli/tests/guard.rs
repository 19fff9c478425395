//! A device is copied, and a tower that its owner left a revocation with ends the identity when the copy is used.

mod common;

use common::{Server, World, http_body, number, text};
use ibgib::{IbGib, Map, Value, Verified};
use std::fs;
use std::io::BufRead;
use std::process::Command;

const ANY: &str = "127.0.0.1:0";

/// A server whose identities a tower guards, and the tower's URL.
fn serve(world: &World, listen: &str, tower: &str) -> (Server, String) {
    let door = format!("tower@{tower}");
    let args = ["serve", "--space", "server", "--policy", "open", "--listen", listen, "--door", &door];
    let args = [&args[..], &["--tower-feed", "timelines", "--tower-poll", "1"]].concat();
    let (server, mut printed) = Server::start_and_read(world, &args);
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let door = line.trim().strip_prefix("door tower ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (server, door)
}

/// Alice's device at that server, guarded by the tower after each sync.
fn guarded(world: &World, server: &Server, tower: &str) {
    fs::create_dir(world.path("alice")).unwrap();
    world.write("alice/notes.txt", "one\n");
    world.run(&["-C", "alice", "init", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    let receipt = world.run(&["-C", "alice", "tower", "guard", "--tower", tower, "--auto", "--json"]).ok().json();
    assert_eq!((text(&receipt, "locator").len(), text(&receipt, "receipt").len()), (32, 104));
    assert!(number(&receipt, &["expires"]) > number(&receipt, &["startBlock"]));
    // Once more changes nothing: the state is guarded.
    let again = world.run(&["-C", "alice", "tower", "guard", "--tower", tower, "--json"]).ok().json();
    assert_eq!(again, receipt);
}

fn copy(world: &World, from: &str, to: &str) {
    assert!(Command::new("cp").arg("-a").args([world.path(from), world.path(to)]).status().unwrap().success());
}

/// Waits until something is so; a minute at most.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("it never came to be: {what}");
}

fn trackers(world: &World) -> u64 {
    number(&world.run(&["--space", "server", "tower", "info", "--json"]).ok().json(), &["trackers"])
}

fn tower_check(world: &World) -> Value {
    let told = world.run(&["-C", "alice", "tower", "check", "--json"]).ok().json();
    told.get("towers").and_then(Value::as_array).unwrap()[0].clone()
}

fn tip(world: &World, device: &str) -> Verified<IbGib> {
    let shown = world.run(&["-C", device, "identity", "show", "--json"]).ok().json();
    let frame = world.run(&["-C", device, "show", text(&shown, "tip"), "--json"]).ok().stdout;
    Verified::parse(frame.trim()).unwrap()
}

/// One revocation that the tower refuses for good is told as that: the tower is not away, and guards the states to come.
#[test]
fn what_a_tower_refuses_keeps_it_from_nothing_else() {
    let world = World::new();
    let (server, tower) = serve(&world, ANY, ANY);
    fs::create_dir(world.path("alice")).unwrap();
    world.write("alice/notes.txt", "one\n");
    world.run(&["-C", "alice", "init", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "alice", "tower", "guard", "--tower", &tower]).ok();
    // The same tower by another name has a revocation of this state already, and exchanges none.
    let again = tower.replace("127.0.0.1", "localhost");
    for _ in 0..2 {
        let guard = ["-C", "alice", "tower", "guard", "--tower", &again, "--auto"];
        let refused = world.run(&guard).fails(1, "tower_refused").error();
        assert!(text(&refused, "message").contains("waits already"), "{refused}");
    }
    let guarded = tip(&world, "alice").addr().to_string();
    world.write("alice/notes.txt", "two\n");
    world.run(&["-C", "alice", "sync"]).ok();
    let told = world.run(&["-C", "alice", "tower", "check", "--json"]).ok().json();
    let [first, second] = told.get("towers").and_then(Value::as_array).unwrap() else { panic!("{told}") };
    for (it, refused) in [(first, 0), (second, 1)] {
        let all = it.get("refused").and_then(Value::as_array).unwrap();
        assert_eq!((text(it, "state"), number(it, &["appointments"]), all.len()), ("reachable", 1, refused), "{told}");
    }
    let refused = &second.get("refused").and_then(Value::as_array).unwrap()[0];
    assert_eq!(text(refused, "state"), guarded);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_copy_that_signs_on_an_old_state_is_answered_and_nothing_else_is() {
    let world = World::new();
    let (server, tower) = serve(&world, ANY, ANY);
    let other = world.serve("other");
    guarded(&world, &server, &tower);
    copy(&world, "alice", "copy");
    copy(&world, "alice", "follower");

    // The owner goes on, and each state is guarded.
    for n in 0..2 {
        world.write("alice/notes.txt", &format!("alice {n}\n"));
        world.run(&["-C", "alice", "sync"]).ok();
    }
    let checked = tower_check(&world);
    assert_eq!((text(&checked, "state"), number(&checked, &["appointments"])), ("reachable", 3));
    assert_eq!(checked.get("neglect"), Some(&Value::Array(Vec::new())));

    // A stranger's junk frame on the old state: made of the owner's, which anybody may have seen.
    let first = world.run(&["-C", "alice", "show", tip(&world, "alice").past().unwrap().as_str(), "--json"]).ok();
    let first: Verified<IbGib> = Verified::parse(first.stdout.trim()).unwrap();
    let (tjp, mut junk) = (first.tjp().unwrap(), IbGib::clone(&first));
    let data = junk.data.as_mut().and_then(Value::as_object_mut).unwrap();
    data.insert("frameDetails", Map::from_iter([("who", "a stranger")]));
    let junk = IbGib { gib: None, ..junk }.seal().unwrap();
    let body = format!("{{\"frames\":[{}]}}", junk.to_json());
    let refused = http_body(&server.url, "POST", &format!("/api/v1/keystones/{tjp}/frames"), &[], &body);
    assert!(refused.0 == 422 && refused.1.contains("identity_invalid"), "{refused:?}");

    // A copy that only takes over the newer state, and signs on that, is no second use of an old one.
    world.run(&["-C", "follower", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    assert_eq!(trackers(&world), 0, "nothing was triggered");

    // The copy signs on the old state, for a server that the owner has not told, and comes back.
    world.write("copy/notes.txt", "copy\n");
    world.run(&["-C", "copy", "sync", &other.url]).ok();
    world.run(&["-C", "copy", "sync", &server.url]).fails(7, "identity_forked");
    until("the revocation is published", || trackers(&world) == 1);
    // The server refuses the copy, and the owner whose identity it was.
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_revoked");
    let log = world.read("server.log");
    assert!(log.contains("was ended by a revocation that waited"), "{log}");
    assert_eq!(text(&tower_check(&world), "state"), "reachable");
    // What it ended it for lasts through a restart.
    let listen = format!("127.0.0.1:{}", server.port());
    assert_eq!(server.stop(), Some(0));
    let (server, _) = serve(&world, &listen, ANY);
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_revoked");

    // The recovery secret stands above it.
    world.run(&["-C", "alice", "identity", "recover"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(server.stop(), Some(0));
    world.fsck(&["--space", "server"]);
}

#[test]
fn a_tower_that_is_away_forgets_or_changes_is_told() {
    let world = World::new();
    let (home, (server, tower)) = (world.serve("home"), serve(&world, ANY, ANY));
    guarded(&world, &home, &tower);
    let (listen, at) = (format!("127.0.0.1:{}", server.port()), tower.strip_prefix("http://").unwrap().to_owned());
    let again = || serve(&world, &listen, &at).0;
    let stands = || {
        let told = tower_check(&world);
        let neglect = told.get("neglect").and_then(Value::as_array).unwrap().len();
        (text(&told, "state").to_owned(), number(&told, &["appointments"]), neglect)
    };
    let expires = |receipt: &Value| number(receipt, &["expires"]);
    let guard = ["-C", "alice", "tower", "guard", "--tower", &tower, "--json"];
    // Longer, if that is asked for: registrations add up.
    let receipt = world.run(&guard).ok().json();
    let until = (expires(&receipt) + 1).to_string();
    let longer = world.run(&[&guard[..], &["--until", &until]].concat()).ok().json();
    assert!(expires(&longer) > expires(&receipt) && text(&longer, "receipt") == text(&receipt, "receipt"));

    // Away: a sync is done all the same, and what it did not get it has later.
    assert_eq!(server.stop(), Some(0));
    world.write("alice/notes.txt", "two\n");
    let synced = world.run(&["-C", "alice", "sync"]).ok();
    assert!(synced.stderr.contains("is not guarded"), "{}", synced.stderr);
    assert_eq!(stands(), ("temporary_unreachable".into(), 1, 0));
    world.run(&guard).fails(8, "unreachable");
    let server = again();
    assert_eq!(stands(), ("reachable".into(), 2, 0));

    // It lost what it was given: first it does not know the device, then not what it gave receipts for.
    assert_eq!(server.stop(), Some(0));
    fs::rename(world.path("server"), world.path("lost")).unwrap();
    fs::create_dir(world.path("server")).unwrap();
    fs::copy(world.path("lost/tower.key"), world.path("server/tower.key")).unwrap();
    let server = again();
    assert_eq!(stands(), ("subscription_error".into(), 2, 0));
    world.run(&guard).ok();
    assert_eq!(stands(), ("reachable".into(), 2, 2));

    // Another tower answers in its place.
    assert_eq!(server.stop(), Some(0));
    fs::remove_dir_all(world.path("server")).unwrap();
    let server = again();
    assert_eq!(stands(), ("subscription_error".into(), 2, 0));
    world.run(&guard).fails(4, "tower_misbehaves");
    assert_eq!(server.stop(), Some(0));
    let nothing = world.run(&["-C", "alice", "tower", "guard", "--tower", &home.url, "--json"]).fails(5, "no_tower");
    assert!(nothing.stderr.contains("no tower"), "{}", nothing.stderr);
}

#[test]
fn what_cannot_be_guarded_is_told() {
    let world = World::new();
    let (server, tower) = serve(&world, ANY, ANY);
    guarded(&world, &server, &tower);
    let node = ["--tower-feed", "timelines", "--tower-bitcoind", "http://a:b@127.0.0.1:1"];
    world.run(&[&["serve", "--space", "second", "--door", "tower"], &node[..]].concat()).fails(2, "usage");
    world.run(&["serve", "--space", "second", "--tower-feed", "timelines"]).fails(2, "usage");
    world.run(&["--space", "server", "tower", "check"]).fails(2, "usage");
    let guard = ["-C", "alice", "tower", "guard", "--tower"];
    world.run(&[&guard[..], &["nowhere"]].concat()).fails(2, "url");
    world.run(&["-C", "alice", "identity", "revoke", "--yes"]).ok();
    let refused = world.run(&[&guard[..], &[&tower]].concat()).fails(7, "not_guarded");
    assert!(refused.stderr.contains("identity new"), "{}", refused.stderr);
    assert_eq!(server.stop(), Some(0));
}
