//! Invites, and what whoever comes with one may do.

mod common;

use common::events::Events;
use common::{Server, World, http, text};
use ibgib::Value;

/// A server that alice owns, with a folder of hers.
fn owned(world: &World) -> Server {
    let (server, token) = world.serve_for_owner();
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

#[test]
fn a_program_with_a_secret_hears_of_its_folder_and_reads_it_until_that_is_revoked() {
    let world = World::new();
    let server = owned(&world);
    world.write("secret/plan.txt", "alice's own\n");
    let everything = token_of(&invite(&world, &["--folder", "*"]));
    world.run(&["init", "secret", "--remote", &server.url, "--token", &everything]).ok();
    world.run(&["-C", "secret", "sync"]).ok();
    let given = world.run(&["-C", "alice", "invite", "--program", "--json"]).ok().json();
    let (secret, id) = (text(&given, "secret"), text(&given, "invite"));
    let ask = |path: &str, secret: &str| {
        let bearer = format!("Bearer {secret}");
        let shown: &[_] = if secret.is_empty() { &[] } else { &[("Authorization", &*bearer)] };
        let (status, answer) = http(&server.url, "GET", &path.replace('^', "%5E"), shown);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    };
    let refused = |path: &str, secret: &str, code: &str| {
        let (status, body) = ask(path, secret);
        assert!(status == 403 && body.contains(&format!("{code:?}")), "{path}: {status} {body}");
    };

    // Nobody without it, also not with what lets identities in; nor does anybody come in with it.
    let to_clone = token_of(&invite(&world, &["--read"]));
    let folders = "/api/v1/tips?ib=folder";
    for path in ["/api/v1/events", folders] {
        refused(path, "", "reading_needs_identity");
        for bad in [&to_clone, &everything, "nonsense", &"0".repeat(64)] {
            refused(path, bad, "not_granted");
        }
    }
    refused(&format!("/api/v1/events?secret={secret}"), "", "reading_needs_identity");
    world.run(&["init", "thief", "--remote", &server.url, "--token", secret]).fails(7, "not_granted");
    world.run(&["-C", "alice", "invite", "--program", "--uses", "2"]).fails(2, "usage");

    let bearer = format!("Authorization: Bearer {secret}\r\n");
    let mut events = Events::of(&server.url, &bearer);
    assert_eq!(events.next().0, "ready");
    // What is new in the other folder it does not hear, and what is new in its own it does.
    world.write("secret/plan.txt", "alice's own, and more\n");
    world.run(&["-C", "secret", "sync"]).ok();
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree\n\nfour\n");
    world.run(&["-C", "alice", "sync"]).ok();
    let (word, told) = events.next();
    assert!(word == "tips" && !told.is_empty());
    let (hers, others) = (world.tips("alice"), world.tips("secret"));
    for tip in &told {
        let (timeline, tip) = (text(tip, "tjp"), text(tip, "tip"));
        assert!(hers.contains(tip) && !others.contains(tip), "{tip}");
        for path in [format!("tips/{timeline}"), format!("ibgibs/{tip}"), format!("ibgibs/{tip}?getGraph=true")] {
            let path = format!("/api/v1/{path}");
            let (status, body) = ask(&path, secret);
            assert!(status == 200 && body.contains(tip.split_once('^').unwrap().1), "{path}: {status} {body}");
            refused(&path, "", "reading_needs_identity");
        }
    }
    let folder = |device: &str| {
        let status = world.run(&["-C", device, "status", "--json"]).ok().json();
        text(&status, "folder").to_owned()
    };
    let (status, listed) = ask(folders, secret);
    assert!(status == 200 && listed.contains(&folder("alice")) && !listed.contains(&folder("secret")), "{listed}");
    for path in ["tips", "ibgibs"] {
        let hidden = ask(&format!("/api/v1/{path}/{}", folder("secret")), secret);
        assert_eq!((hidden.0, hidden.1.contains("not_found")), (404, true), "{hidden:?}");
    }
    // It comes back where it was.
    let mut again = Events::of(&server.url, &format!("{bearer}Last-Event-ID: 0\r\n"));
    assert_eq!(again.next().0, "ready");
    let (word, all) = again.next();
    assert!(word == "lagged" || all.iter().all(|tip| hers.contains(text(tip, "tip"))), "{all:?}");

    let grants = world.run(&["-C", "alice", "grants", "--json"]).ok().lines();
    let shown = grants.iter().find(|line| line.get("invite").and_then(Value::as_str) == Some(id)).unwrap();
    assert_eq!((shown.get("uses"), text(shown, "folder")), (Some(&0.into()), &*folder("alice")));
    world.run(&["-C", "alice", "grants", "revoke", &id[..8]]).ok();
    while let Some((_, late)) = events.next_or_end() {
        assert!(late.iter().all(|tip| hers.contains(text(tip, "tip"))), "{late:?}");
    }
    while again.next_or_end().is_some() {}
    refused("/api/v1/events", secret, "not_granted");

    // Time ends it, too, whether it comes in time to be let in or not.
    let brief = world.run(&["-C", "alice", "invite", "--program", "--expires", "2s", "--json"]).ok().json();
    let mut events = Events::of(&server.url, &format!("Authorization: bearer {}\r\n", text(&brief, "secret")));
    while events.next_or_end().is_some() {}
    refused("/api/v1/events", text(&brief, "secret"), "not_granted");
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
