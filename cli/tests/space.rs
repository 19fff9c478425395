//! What the owner of a space takes out of it again.

mod common;

use common::{Server, World, text};
use ibgib::Value;
use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A server that alice owns, with a folder of hers that bob has come to.
fn shared(world: &World) -> Server {
    let (server, token) = world.serve_for_owner();
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree\n");
    world.run(&["init", "alice", "--remote", &server.url, "--token", &token]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    let done = world.run(&["-C", "alice", "invite", "--json"]).ok().json();
    world.run(&["clone", text(&done, "invite"), "bob", "--device-name", "bobs"]).ok();
    server
}

#[test]
fn the_owner_takes_out_what_somebody_did_and_everybody_goes_on() {
    let world = World::new();
    let _server = shared(&world);
    world.write("bob/notes.txt", "one\n\nSPAM\n\ntwo\n\nthree\n");
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.write("alice/notes.txt", "one\n\nSPAM\n\ntwo\n\nthree\n\nfour\n");
    world.run(&["-C", "alice", "sync"]).ok();
    // Bob has edited once more, on top of both.
    world.run(&["-C", "bob", "sync"]).ok();
    world.write("bob/notes.txt", "one\n\nSPAM\n\ntwo\n\nthree\n\nfour\n\nfive\n");
    let at = world.run(&["-C", "bob", "log", "notes.txt", "--json"]).ok().lines();
    let spam = at.iter().find(|line| line.get("device").and_then(Value::as_str) == Some("bobs")).unwrap();
    let spam = text(spam, "addr").to_owned();

    world.run(&["-C", "bob", "space", "drop", &spam, "--yes"]).fails(7, "not_granted");
    world.run(&["-C", "alice", "space", "drop", "--by", "nobody", "notes.txt", "--yes"]).fails(5, "not_found");
    world.run(&["-C", "alice", "space", "drop", "--by", "bobs", "notes.txt", "--json"]).fails(1, "confirmation_needed");
    let dropped = world.run(&["-C", "alice", "space", "drop", "--by", "bobs", "notes.txt", "--yes", "--json"]).ok();
    assert_eq!(text(&dropped.lines()[0], "frame"), spam);
    let told = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    let names: Vec<&str> = told.get("dropped").unwrap().as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(names, ["notes.txt"]);
    assert_eq!(world.read("alice/notes.txt"), "one\n\ntwo\n\nthree\n\nfour\n");
    let told = world.run(&["-C", "bob", "sync"]).ok();
    assert!(told.stdout.contains("notes.txt: the owner of the server's space dropped frames of it"), "{}", told.stdout);
    world.run(&["-C", "alice", "sync"]).ok();
    for device in ["alice", "bob"] {
        assert_eq!(world.read(&format!("{device}/notes.txt")), "one\n\ntwo\n\nthree\n\nfour\n\nfive\n");
        assert!(!world.run(&["-C", device, "log", "notes.txt", "--json"]).ok().stdout.contains(&spam));
        world.run(&["-C", device, "fsck"]).ok();
    }
    assert_eq!(world.tips("alice"), world.tips("bob"));
    let lines = world.run(&["-C", "alice", "space", "dropped", "--json"]).ok().lines();
    assert_eq!(lines.len(), 1);
    world.run(&["-C", "alice", "space", "allow", &spam]).ok();
    assert!(world.run(&["-C", "alice", "space", "dropped", "--json"]).ok().stdout.is_empty());
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(world.tips("alice"), world.tips("bob"));
}

#[test]
fn a_bundle_does_not_bring_it_back() {
    let world = World::new();
    let server = shared(&world);
    world.write("bob/notes.txt", "SPAM\n");
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "alice", "export", "before.bundle"]).ok();
    world.run(&["-C", "alice", "space", "drop", "--by", "bobs", "notes.txt", "--yes"]).ok();
    server.stop();
    let refused = world.run(&["import", "--space", "server", "before.bundle", "--json"]).expect(3);
    assert!(refused.stdout.contains("has dropped"), "{}", refused.stdout);
    world.run(&["fsck", "--space", "server"]).ok();
}

#[test]
fn a_watcher_follows() {
    let world = World::new();
    let _server = shared(&world);
    world.write("bob/notes.txt", "SPAM\n");
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    let log = fs::File::create(world.path("watch.log")).unwrap();
    let mut watch = world.command(&["-C", "bob", "sync", "--watch"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    world.run(&["-C", "alice", "space", "drop", "--by", "bobs", "notes.txt", "--yes"]).ok();
    let since = Instant::now();
    while world.read("bob/notes.txt") != "one\n\ntwo\n\nthree\n" {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", world.read("watch.log"));
        sleep(Duration::from_millis(20));
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
}
