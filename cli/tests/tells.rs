//! What commands tell of files and devices is so: nothing is said to be sent, to wait or to be clean that is not.

mod common;

use common::{Server, World, number, text};
use ibgib::Value;
use std::fs;
use std::io::BufRead;

/// Paths and changes of `files.sent` or `files.received`.
fn files(told: &Value, which: &str) -> Vec<String> {
    let list = told.get("files").unwrap().get(which).unwrap().as_array().unwrap();
    list.iter().map(|file| format!("{} {}", text(file, "change"), text(file, "path"))).collect()
}

fn sync(world: &World, device: &str, more: &[&str]) -> Value {
    world.run(&[&["-C", device, "sync", "--json"], more].concat()).ok().json()
}

/// A server whose space gets an owner by this token.
fn owned(world: &World) -> (Server, String) {
    let (server, mut printed) =
        Server::start_and_read(world, &["serve", "--space", "server", "--listen", "127.0.0.1:0"]);
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    (server, line.trim().strip_prefix("owner token ").unwrap().to_owned())
}

/// Alice has a file, and Bob a clone of it.
fn two(world: &World) -> Server {
    let server = world.serve("server");
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--name", "notes", "--device-name", "alice", "--remote", &server.url]).ok();
    sync(world, "alice", &[]);
    world.run(&["clone", &server.url, "bob", "--device-name", "bob"]).ok();
    server
}

#[test]
fn a_device_that_may_only_read_goes_on_after_a_refusal_and_says_to_send_nothing() {
    let world = World::new();
    let (server, token) = owned(&world);
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree\n");
    world.run(&["init", "alice", "--remote", &server.url, "--token", &token]).ok();
    sync(&world, "alice", &[]);
    let invite = world.run(&["-C", "alice", "invite", "--read"]).ok().stdout;
    world.run(&["clone", invite.lines().next().unwrap(), "rita"]).ok();
    world.write("rita/notes.txt", "one\n\ntwo\n\nthree\nrita\n");
    let refused = world.run(&["-C", "rita", "sync", "--push"]).expect(3).stdout;
    assert!(refused.contains("refused notes.txt: "), "{refused}");
    for address in ["file^", "shard^", "folder^"] {
        assert!(!refused.contains(address), "{refused}");
    }
    world.write("alice/notes.txt", "alice\none\n\ntwo\n\nthree\n");
    sync(&world, "alice", &[]);
    let foretold = world.run(&["-C", "rita", "sync", "--dry-run"]).ok().stdout;
    assert!(!foretold.contains("would send") && foretold.contains("would receive notes.txt"), "{foretold}");
    let told = sync(&world, "rita", &[]);
    assert_eq!((files(&told, "sent"), files(&told, "received")), (vec![], vec!["modified notes.txt".to_owned()]));
    assert_eq!(world.read("rita/notes.txt"), "alice\none\n\ntwo\n\nthree\nrita\n");
}

#[test]
fn what_was_made_and_deleted_elsewhere_does_not_wait() {
    let world = World::new();
    let _server = two(&world);
    fs::write(world.path("alice/bin"), b"\0q").unwrap();
    sync(&world, "alice", &[]);
    fs::remove_file(world.path("alice/bin")).unwrap();
    sync(&world, "alice", &[]);
    let told = sync(&world, "bob", &["--dry-run"]);
    assert_eq!(files(&told, "received"), Vec::<String>::new());
    let status = world.run(&["-C", "bob", "status", "--fetch", "--json"]).ok().json();
    assert_eq!(number(&status, &["waiting"]), 0);
    assert_eq!(files(&sync(&world, "bob", &[]), "received"), Vec::<String>::new());

    // What is here alone is nothing that the server has.
    world.write("bob/own.txt", "own\n");
    world.run(&["-C", "bob", "snapshot"]).ok();
    sync(&world, "bob", &["--pull"]);
    let status = world.run(&["-C", "bob", "status", "--json"]).ok().json();
    assert_eq!((number(&status, &["waiting"]), number(&status, &["unsent"])), (0, 1));

    // A path that comes again is new, also where its timeline is not.
    assert_eq!(files(&sync(&world, "bob", &[]), "sent"), ["added own.txt"]);
    fs::remove_file(world.path("bob/own.txt")).unwrap();
    assert_eq!(files(&sync(&world, "bob", &[]), "sent"), ["deleted own.txt"]);
    world.write("bob/own.txt", "again\n");
    assert_eq!(files(&sync(&world, "bob", &[]), "sent"), ["added own.txt"]);
}

#[test]
fn a_dry_run_tells_that_the_sync_would_stop() {
    let world = World::new();
    let _server = two(&world);
    for n in 0..30 {
        world.write(&format!("alice/{n}.txt"), &format!("file {n}\n"));
    }
    sync(&world, "alice", &[]);
    sync(&world, "bob", &[]);
    for n in 0..30 {
        fs::remove_file(world.path(&format!("alice/{n}.txt"))).unwrap();
    }
    let told = sync(&world, "alice", &["--dry-run"]);
    assert_eq!(text(&told, "wouldStop"), "mass_delete");
    let said = world.run(&["-C", "alice", "sync", "--dry-run"]).ok().stdout;
    assert!(said.contains("it would stop (mass_delete): 30 of 31 files"), "{said}");
    assert_eq!(sync(&world, "alice", &["--dry-run", "--allow-mass-delete"]).get("wouldStop"), Some(&Value::Null));
    world.run(&["-C", "alice", "sync", "--allow-mass-delete"]).ok();
    assert_eq!(text(&sync(&world, "bob", &["--dry-run"]), "wouldStop"), "mass_delete");
    world.run(&["-C", "bob", "sync"]).fails(1, "mass_delete");
}

#[test]
fn what_a_device_that_joins_makes_of_a_file_is_sent() {
    let world = World::new();
    let server = two(&world);
    world.write("carol/notes.txt", "one\nand carol's\n");
    world.run(&["init", "carol", "--join", "notes", "--remote", &server.url]).ok();
    let told = world.run(&["-C", "carol", "sync", "--json"]).json();
    assert!(files(&told, "sent").iter().any(|file| file.ends_with(" notes.txt")), "{told:?}");
    sync(&world, "bob", &[]);
    assert_eq!(world.read("bob/notes.txt"), "one\nand carol's\n");
}

#[test]
fn a_status_names_both_ends_of_a_rename_and_a_clone_that_is_not_complete() {
    let world = World::new();
    let server = two(&world);
    fs::rename(world.path("bob/notes.txt"), world.path("bob/renamed.txt")).unwrap();
    let status = world.run(&["-C", "bob", "status", "--json"]).ok().json();
    let change = &status.get("changes").unwrap().as_array().unwrap()[0];
    assert_eq!(["path", "change", "from"].map(|m| text(change, m)), ["renamed.txt", "renamed", "notes.txt"]);
    let said = world.run(&["-C", "bob", "status"]).ok().stdout;
    assert!(said.contains("renamed  notes.txt -> renamed.txt\n"), "{said}");
    fs::write(world.path("alice/.ibgib/cloning"), &server.url).unwrap();
    let said = world.run(&["-C", "alice", "status"]).ok().stdout;
    assert!(said.contains("the clone is not complete") && !said.contains("clean"), "{said}");
}

#[test]
fn a_device_says_that_it_has_another_folder() {
    let world = World::new();
    let _server = two(&world);
    world.run(&["-C", "alice", "sync", "--folder", "notes"]).ok();
    let error = world.run(&["-C", "alice", "sync", "--folder", "work"]).fails(2, "usage").error();
    assert!(text(&error, "message").contains("notes"), "{error:?}");
}

#[test]
fn an_untracked_file_stays_out_by_undo_and_redo_and_is_in_nobodys_way() {
    let world = World::new();
    let _server = two(&world);
    world.write("alice/secret.txt", "secret\n");
    sync(&world, "alice", &[]);
    sync(&world, "bob", &[]);
    let said = world.run(&["-C", "alice", "untrack", "secret.txt"]).ok().stdout;
    assert!(said.contains("stays here, and is removed on the other devices"), "{said}");
    for command in ["undo", "redo"] {
        let told = world.run(&["-C", "alice", command, "--json"]).ok().json();
        assert_eq!(text(told.get("undone").unwrap(), "what"), "untrack");
        assert_eq!(world.read("alice/secret.txt"), "secret\n");
        sync(&world, "alice", &[]);
        sync(&world, "bob", &[]);
        assert_eq!(world.path("bob/secret.txt").exists(), command == "undo", "{command}");
    }
    // Taken back, it is a file like others, also where it was edited meanwhile.
    world.write("alice/secret.txt", "secret\nmore\n");
    world.run(&["-C", "alice", "undo"]).ok();
    assert_eq!(world.read("alice/secret.txt"), "secret\nmore\n");
    sync(&world, "alice", &[]);
    sync(&world, "bob", &[]);
    assert_eq!(world.read("bob/secret.txt"), "secret\nmore\n");

    world.run(&["-C", "alice", "untrack", "secret.txt"]).ok();
    sync(&world, "alice", &[]);
    sync(&world, "bob", &[]);
    world.write("bob/secret.txt", "another\n");
    sync(&world, "bob", &[]);
    sync(&world, "alice", &[]);
    assert_eq!(world.read("alice/secret.txt"), "secret\nmore\n");
}

#[test]
fn conflicts_say_what_stands_where_files_are_of_two_kinds_and_who_made_them() {
    let world = World::new();
    let server = two(&world);
    world.run(&["clone", &server.url, "carol", "--device-name", "carol"]).ok();
    fs::write(world.path("alice/m"), b"BIN\0").unwrap();
    world.write("bob/m", "text of bob\n");
    sync(&world, "alice", &[]);
    world.run(&["-C", "bob", "sync"]).expect(3);
    let said = world.run(&["-C", "bob", "conflicts"]).ok().stdout;
    for part in
        ["m: the whole content", "yours, NOT in the file now\n    +text of bob\n", "as it stands now\n    +4 bytes: "]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    world.run(&["-C", "carol", "sync"]).expect(3);
    let said = world.run(&["-C", "carol", "conflicts"]).ok().stdout;
    assert!(said.contains(" --base") || said.contains(" --orphan"), "{said}");
    for part in ["  alice, ", "  bob, "] {
        assert!(said.contains(part), "{part}: {said}");
    }
    world.write("bob/m", "not yet in a snapshot\n");
    let hint = world.run(&["-C", "bob", "resolve", "m", "--yours"]).fails(1, "unsaved").error();
    assert!(!text(&hint, "hint").contains("--force"), "{hint:?}");
    world.run(&["-C", "bob", "checkout", "m", "--force"]).ok();
    world.run(&["-C", "bob", "resolve", "m", "--yours"]).ok();
    assert_eq!(world.read("bob/m"), "text of bob\n");
    for device in ["bob", "alice"] {
        sync(&world, device, &[]);
    }
    assert_eq!(world.read("alice/m"), "text of bob\n");
    assert_eq!(world.run(&["-C", "alice", "conflicts", "--json"]).ok().stdout, "");
    // One undo takes it back.
    world.run(&["-C", "bob", "undo"]).ok();
    assert_eq!(fs::read(world.path("bob/m")).unwrap(), b"BIN\0");
}

#[test]
fn bash_completes_the_files_of_commands_that_take_some() {
    let world = World::new();
    let script = world.run(&["completions", "bash"]).ok().stdout;
    let of = |command: &str| {
        let start = script.find(&format!("        {command})\n")).unwrap_or_else(|| panic!("{command}"));
        script[start..].lines().find(|line| line.contains("${cur} == -*")).unwrap().to_owned()
    };
    assert!(!of("ibgib__subcmd__log").contains("COMP_CWORD"), "{}", of("ibgib__subcmd__log"));
    assert!(of("ibgib__subcmd__identity").contains("COMP_CWORD"), "its commands come first");
}

#[test]
fn a_server_with_an_owner_is_asked_for_folders_by_name() {
    let world = World::new();
    let (server, token) = owned(&world);
    world.write("alice/notes.txt", "notes\n");
    world.run(&["init", "alice", "--name", "notes", "--remote", &server.url, "--token", &token]).ok();
    sync(&world, "alice", &[]);
    let invite = || {
        let told = world.run(&["-C", "alice", "invite", "--folder", "*"]).ok().stdout;
        told.lines().next().unwrap().to_owned()
    };
    // Whoever came with an invite to everything brings a folder of his own.
    world.write("work/work.txt", "work\n");
    world
        .run(&[
            "init",
            "work",
            "--name",
            "work",
            "--remote",
            &server.url,
            "--token",
            &invite().parse::<ibgib_peer::Invite>().unwrap().token,
        ])
        .ok();
    sync(&world, "work", &[]);
    let clone = |dir: &str, more: &[&str]| world.run(&[&["clone", &invite(), dir], more].concat());
    let several = clone("several", &[]).fails(2, "usage");
    for name in ["notes", "work"] {
        assert!(text(&several.error(), "message").contains(name), "{}", several.stderr);
    }
    world.run(&["-C", "several", "sync", "--folder", "work"]).ok();
    assert_eq!(world.read("several/work.txt"), "work\n");
    clone("named", &["--folder", "notes"]).ok();
    assert_eq!(world.read("named/notes.txt"), "notes\n");
    let unknown = clone("unknown", &["--folder", "nonsense"]).expect(5);
    assert!(text(&unknown.error(), "hint").contains("notes"), "{}", unknown.stderr);
    // Who may read one folder hears of no other.
    let one = world.run(&["-C", "alice", "invite"]).ok().stdout;
    world.run(&["clone", one.lines().next().unwrap(), "one"]).ok();
    assert_eq!(world.read("one/notes.txt"), "notes\n");
}

#[test]
fn files_of_other_folders_are_told_by_their_folders_and_paths() {
    let world = World::new();
    let server = two(&world);
    world.write("work/plan.txt", "plan\n");
    world.run(&["init", "work", "--name", "work", "--remote", &server.url]).ok();
    sync(&world, "work", &[]);
    let told = sync(&world, "alice", &["--all"]);
    assert_eq!(files(&told, "received"), ["added work: plan.txt"]);
}
