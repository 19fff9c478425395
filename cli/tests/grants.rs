//! Invites, and what whoever comes with one may do.

mod common;

use common::{Server, World, text};
use ibgib::Value;
use std::io::BufRead;

/// A server that alice owns, with a folder of hers.
fn owned(world: &World) -> Server {
    let args = ["serve", "--space", "server", "--listen", "127.0.0.1:0"];
    let (server, mut printed) = Server::start_and_read(world, &args);
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    let token = line.trim().strip_prefix("owner token ").unwrap().to_owned();
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree\n");
    world.run(&["init", "alice", "--remote", &server.url, "--token", &token]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    server
}

fn invite(world: &World, more: &[&str]) -> String {
    let done = world.run(&[&["-C", "alice", "invite", "--json"], more].concat()).ok().json();
    text(&done, "invite").to_owned()
}

fn identity(world: &World, device: &str) -> String {
    text(&world.run(&["-C", device, "identity", "show", "--json"]).ok().json(), "identity").to_owned()
}

#[test]
fn an_invite_is_all_that_a_second_person_types() {
    let world = World::new();
    let _server = owned(&world);
    let invite = invite(&world, &[]);
    world.feed(&["clone", "-", "bob", "--device-name", "bobs"], format!("{invite}\n").as_bytes()).ok();
    assert_eq!(world.read("bob/notes.txt"), "one\n\ntwo\n\nthree\n");
    // It was for one.
    world.run(&["clone", &invite, "carol"]).fails(7, "not_granted");
    world.run(&["-C", "carol", "sync"]).fails(7, "not_granted");

    world.write("bob/notes.txt", "one, says bob\n\ntwo\n\nthree\n");
    world.write("bob/sub/new.txt", "new\n");
    world.run(&["-C", "bob", "sync"]).ok();
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree, says alice\n");
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(world.read("alice/notes.txt"), "one, says bob\n\ntwo\n\nthree, says alice\n");
    assert_eq!(world.read("alice/sub/new.txt"), "new\n");
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(world.tips("alice"), world.tips("bob"));

    let lines = world.run(&["-C", "alice", "grants", "--json"]).ok().lines();
    let bob = identity(&world, "bob");
    let of_bob = lines.iter().find(|line| line.get("identity").and_then(Value::as_str) == Some(&bob)).unwrap();
    assert_eq!((text(of_bob, "name"), text(of_bob, "by")), ("bobs", &*identity(&world, "alice")));
    world.run(&["-C", "bob", "grants"]).fails(7, "not_granted");
    world.run(&["-C", "bob", "invite"]).fails(7, "not_granted");
    let seen = world.run(&["-C", "alice", "devices", "--json"]).ok().lines();
    assert!(seen.iter().any(|line| text(line, "identity") == bob && !text(line, "last").is_empty()));

    world.run(&["-C", "alice", "grants", "revoke", "bobs"]).ok();
    world.run(&["-C", "bob", "sync"]).fails(7, "not_granted");
    world.run(&["-C", "alice", "sync"]).ok();
}

#[test]
fn one_folder_is_not_another() {
    let world = World::new();
    let server = owned(&world);
    world.write("secret/plan.txt", "alice's own\n");
    let large = "a line of a text that is large enough to stand in chunks\n".repeat(25_000);
    world.write("secret/big.txt", &large);
    // The owner's second device, which may do everything.
    let everything = invite(&world, &["--folder", "*"]);
    world.run(&["init", "secret", "--remote", &server.url, "--token", &token_of(&everything)]).ok();
    world.run(&["-C", "secret", "sync"]).ok();
    let notes = invite(&world, &[]);
    world.run(&["clone", &notes, "bob"]).ok();
    let shown = world.run(&["-C", "alice", "invite", "--qr"]).ok().stdout;
    assert!(shown.starts_with("ibgib-invite-1.") && shown.contains('█'), "{shown}");
    let secret = world.run(&["-C", "secret", "status", "--json"]).ok().json();
    // Neither asked for by name nor with everything the other folder comes.
    world.run(&["-C", "bob", "sync", "--all"]).ok();
    assert!(!world.tips("bob").contains(text(&secret, "folder")));
    world.run(&["-C", "bob", "sync", "--only", text(&secret, "folder")]).ok();
    assert!(!world.tips("bob").contains(text(&secret, "folder")));
    // The server has the same content already, where he may not read it: that he has it, too, is nobody's fault.
    world.write("bob/big.txt", &large);
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(world.read("alice/big.txt"), large);
    // Nor does he bring a folder of his own, whatever the invite was used for.
    world.write("own/x.txt", "x\n");
    world.run(&["init", "own", "--remote", &server.url, "--token", &token_of(&invite(&world, &[]))]).ok();
    let refused = world.run(&["-C", "own", "sync", "--json"]).expect(3);
    assert!(refused.stdout.contains("was not granted"), "{}", refused.stdout);
    // Alice's own device still brings what it likes.
    world.write("secret/more.txt", "more\n");
    let done = world.run(&["-C", "secret", "sync", "--json"]).ok().json();
    assert_eq!(text(&done.get("files").unwrap().get("sent").and_then(Value::as_array).unwrap()[0], "path"), "more.txt");
}

#[test]
fn whoever_may_read_does_not_write() {
    let world = World::new();
    let _server = owned(&world);
    let invite = invite(&world, &["--read", "--uses", "2", "--expires", "1h"]);
    world.run(&["clone", &invite, "bob"]).ok();
    world.run(&["clone", &invite, "carol"]).ok();
    world.run(&["clone", &invite, "dave"]).fails(7, "not_granted");
    world.write("bob/notes.txt", "bob's\n");
    // He takes without being asked to only take, and what he insists on sending is refused.
    world.run(&["-C", "bob", "sync"]).ok();
    let refused = world.run(&["-C", "bob", "sync", "--push", "--json"]).expect(3);
    assert!(refused.stdout.contains("was not granted"), "{}", refused.stdout);
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(world.read("alice/notes.txt"), "one\n\ntwo\n\nthree\n");
    world.write("alice/notes.txt", "alice's\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "carol", "sync"]).ok();
    assert_eq!(world.read("carol/notes.txt"), "alice's\n");
}

fn token_of(invite: &str) -> String {
    invite.parse::<ibgib_peer::Invite>().unwrap().token
}

/// README's first five minutes, as far as they are no choice, with the port that the server gets here.
#[test]
fn what_the_readme_tells_to_type_works() {
    let world = World::new();
    let readme = include_str!("../../README.md");
    let block = readme.split_once("## Five minutes\n\n```sh\n").unwrap().1.split_once("```").unwrap().0;
    let home = world.dir.path().to_str().unwrap();
    let (serve, typed) = block.split_once("\n\ncd ").unwrap();
    let serve = serve.split_once("\nibgib ").unwrap().1.split_once('&').unwrap().0.replace('~', home);
    let serve: Vec<&str> = serve.split_whitespace().chain(["--listen", "127.0.0.1:0"]).collect();
    let server = Server::start(&world, &serve);
    let (typed, _) =
        format!("cd {typed}").split_once("ibgib sync --watch").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    world.write("notes/todo.md", "a line\n");
    let script = typed.replace("http://127.0.0.1:7070", &server.url);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ibgib")).parent().unwrap();
    let script = format!("PATH='{}':\"$PATH\"\n{script}", program.display());
    let mut shell = std::process::Command::new("bash");
    shell.args(["-e", "-o", "pipefail", "-c", &script]).current_dir(home).env("HOME", home);
    common::Done::from(shell.env("XDG_CONFIG_HOME", world.path("xdg")).output().unwrap()).ok();
    assert_eq!(world.read("notes/todo.md"), "a line\none more line\n");
    let told = world.run(&["-C", "notes", "grants", "--json"]).ok().lines();
    assert!(told.iter().any(|line| line.get("name").and_then(Value::as_str) == Some("laptop")));
}
