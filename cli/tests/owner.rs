//! A server without `--policy` lets in its owner alone.

mod common;

use common::{Server, World, get, http, text};
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;

const OWNED: [&str; 5] = ["serve", "--space", "server", "--listen", "127.0.0.1:0"];

/// A server without an owner, and its token.
fn unowned(world: &World) -> (Server, String) {
    let (server, mut printed) = Server::start_and_read(world, &OWNED);
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let token = line.trim().strip_prefix("owner token ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
    (server, token)
}

#[test]
fn whoever_brings_the_token_first_owns_the_space_and_nobody_else_comes_in() {
    let world = World::new();
    let (server, token) = unowned(&world);
    let kept = fs::metadata(world.path("server/owner.token")).unwrap();
    assert_eq!((kept.permissions().mode() & 0o777, world.read("server/owner.token")), (0o600, token.clone()));
    // The same until it is brought.
    assert_eq!(server.stop(), Some(0));
    let (server, again) = unowned(&world);
    assert_eq!(again, token);

    world.write("alice/notes.txt", "one\n");
    world.write("bob/other.txt", "two\n");
    let wrong = "0".repeat(64);
    let init = |who: &str, token: &str| world.run(&["init", who, "--remote", &server.url, "--token", token, "--json"]);
    init("bob", &wrong).fails(7, "not_granted");
    world.run(&["-C", "bob", "sync"]).fails(7, "not_granted");
    init("alice", &token).ok();
    assert!(!world.path("alice/.ibgib/token").exists());
    world.run(&["-C", "alice", "sync"]).ok();

    world.write("carol/notes.txt", "three\n");
    let late = init("carol", &token).fails(7, "not_granted");
    assert!(text(&late.error(), "hint").contains("--owner"), "{}", late.stderr);
    world.run(&["-C", "carol", "sync"]).fails(7, "not_granted");
    world.run(&["clone", &server.url, "dave"]).fails(7, "not_granted");
    // Data is told to nobody who only asks.
    let (status, answer) = http(&server.url, "GET", "/api/v1/tips?ib=folder", &[]);
    assert!(status == 403 && answer.contains("reading_needs_identity"), "{answer}");
    assert!(get(&server.url, "/api/v1/health").contains("\"policy\":\"owner\""));
    world.write("alice/notes.txt", "four\n");
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(server.stop(), Some(0));

    // Without an answer the token waits for the next sync.
    let dead = "http://127.0.0.1:9";
    world.write("erin/x.txt", "x\n");
    world.run(&["init", "erin", "--remote", dead, "--token", &token]).fails(8, "unreachable");
    assert_eq!(world.read("erin/.ibgib/token"), format!("{token} {dead}"));
    // Edits are taken meanwhile.
    world.run(&["-C", "erin", "sync"]).fails(8, "unreachable");
    assert!(world.run(&["-C", "erin", "log", "x.txt"]).ok().stdout.contains("x.txt"));
    // Another server is not brought what is not for it.
    let elsewhere = World::new();
    let (other, _) = unowned(&elsewhere);
    world.run(&["-C", "erin", "sync", &other.url]).fails(7, "not_granted");
    assert_eq!(world.read("erin/.ibgib/token"), format!("{token} {dead}"));
}

#[test]
fn the_owner_is_named_by_whoever_has_the_space() {
    let world = World::new();
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice"]).ok();
    let alice = world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json();
    let server = Server::start(&world, &[&OWNED[..], &["--owner", text(&alice, "identity")]].concat());
    world.run(&["-C", "alice", "sync", &server.url]).ok();
    world.run(&["clone", &server.url, "bob"]).fails(7, "not_granted");
    assert!(!world.path("server/owner.token").exists());
    assert_eq!(server.stop(), Some(0));
    // It stays so without the option; the first object tells no token.
    let mut child = world.command(&[&OWNED[..], &["--json"]].concat());
    let mut child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("listening") && !line.contains("ownerToken"), "{line}");
}
