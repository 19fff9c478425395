//! An identity whose secret was stolen is taken back with the secret that is kept elsewhere.

mod common;

use common::{World, text};
use std::fs;
use std::path::Path;
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Alice, who keeps the recovery secret elsewhere, and a thief who has a copy of her device.
fn stolen(world: &World) -> common::Server {
    let server = world.with_alice();
    fs::rename(world.path("alice/.ibgib/recovery"), world.path("paper")).unwrap();
    copy(&world.path("alice"), &world.path("thief"));
    server
}

fn recover(world: &World, device: &str) -> common::Done {
    world.run(&["-C", device, "identity", "recover", "--recovery-secret-file", "paper", "--json"])
}

#[test]
fn a_thief_who_signed_and_revoked_is_shut_out() {
    let world = World::new();
    let server = stolen(&world);
    world.write("thief/notes.txt", "the thief's\n");
    world.run(&["-C", "thief", "sync"]).ok();
    world.run(&["-C", "thief", "identity", "revoke", "--yes"]).ok();
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_revoked");

    let before = world.read("alice/.ibgib/secret");
    let shown = recover(&world, "alice").ok().json();
    assert_eq!((shown.get("revoked"), shown.get("recovery")), (Some(&false.into()), Some(&true.into())));
    assert_ne!(world.read("alice/.ibgib/secret"), before);
    assert!(!world.path("alice/.ibgib/secret.new").exists());
    world.write("alice/more.txt", "on we go\n");
    world.run(&["-C", "alice", "sync"]).ok();
    for _ in 0..2 {
        world.run(&["-C", "thief", "sync"]).fails(7, "identity_wrong_secret");
    }
    // The same secret takes it back again, now from the device's newest frame.
    recover(&world, "alice").ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    assert_eq!(world.read("bob/more.txt"), "on we go\n");
    // What the thief wrote was accepted before: it stays, as an edit like any other.
    assert_eq!(world.read("bob/notes.txt"), "the thief's\n");
    assert_eq!(world.fsck(&["-C", "alice"]).get("corrupt").unwrap().as_array().unwrap().len(), 0);
}

#[test]
fn a_fork_is_lifted_at_every_server() {
    let world = World::new();
    let server = stolen(&world);
    let other = world.serve("other");
    world.write("alice/notes.txt", "alice\n");
    world.write("thief/notes.txt", "thief\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "thief", "sync", &other.url]).ok();
    world.run(&["-C", "thief", "sync", &server.url]).fails(7, "identity_forked");
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_forked");

    let shown = recover(&world, "alice").ok().json();
    assert_eq!(shown.get("evidence"), None);
    world.run(&["-C", "alice", "sync"]).ok();
    // There the thief's branch was the newest.
    world.run(&["-C", "alice", "sync", &other.url]).expect(3);
    world.run(&["-C", "alice", "sync", &server.url]).ok();
    for url in [&other.url, &server.url] {
        // The thief's own store holds the fork against the identity.
        world.run(&["-C", "thief", "sync", url]).fails(7, "identity_forked");
    }
    world.run(&["-C", "alice", "sync", &server.url]).ok();
}

#[test]
fn a_secret_that_does_not_fit_changes_nothing() {
    let world = World::new();
    let server = stolen(&world);
    let before = world.read("alice/.ibgib/secret");
    let args = ["-C", "alice", "identity", "recover"];
    let missing = world.run(&args).fails(7, "identity_secret");
    assert!(missing.stderr.contains("--recovery-secret-file"), "{}", missing.stderr);
    for (file, wrong, code) in
        [("short", "abc", "identity_secret"), ("other", &"7".repeat(64), "identity_wrong_secret")]
    {
        world.write(file, wrong);
        world.run(&[&args[..], &["--recovery-secret-file", file]].concat()).fails(7, code);
    }
    world.run(&[&args[..], &["--secret-file", "paper", "--recovery-secret-file", "paper"]].concat()).expect(2);
    assert_eq!(world.read("alice/.ibgib/secret"), before);
    assert!(!world.path("alice/.ibgib/secret.new").exists());
    world.run(&["-C", "alice", "sync"]).ok();
    assert!(world.run(&["-C", "alice", "identity", "show"]).ok().stdout.contains("ibgib identity recover"));
    // Nor does one that fits while the server cannot be asked.
    server.kill();
    recover(&world, "alice").fails(8, "unreachable");
    assert_eq!(world.read("alice/.ibgib/secret"), before);
}

#[test]
fn an_identity_taken_back_by_two_ends_for_ever() {
    let world = World::new();
    let server = stolen(&world);
    let other = world.serve("other");
    world.run(&["-C", "alice", "sync", &other.url]).ok();
    world.run(&["-C", "alice", "sync", &server.url]).ok();
    copy(&world.path("alice"), &world.path("second"));
    // Each at a server that the other does not ask.
    world.write("second/.ibgib/config.toml", &format!("remote = {:?}\n", other.url));
    recover(&world, "alice").ok();
    let there = recover(&world, "second");
    assert_eq!(there.code, Some(0), "{}", there.stderr);
    world.run(&["-C", "second", "sync", &server.url]).fails(7, "identity_revoked");
    for device in ["second", "alice"] {
        world.run(&["-C", device, "sync", &server.url]).fails(7, "identity_revoked");
    }
    let tip =
        |device: &str| text(&world.run(&["-C", device, "identity", "show", "--json"]).ok().json(), "tip").to_owned();
    assert_ne!(tip("alice"), tip("second"));
}
