//! A sync that would delete more than half of a folder stops before it does, in either direction.

mod common;

use common::{Server, World, files, number, text};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Alice has 30 files, Bob a clone of them.
fn thirty(world: &World) -> Server {
    let server = world.with_alice();
    for n in 0..29 {
        world.write(&format!("alice/f{n}.txt"), &format!("file {n}\n"));
    }
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    server
}

fn delete(world: &World, device: &str, n: usize) {
    for n in 0..n {
        fs::remove_file(world.path(&format!("{device}/f{n}.txt"))).unwrap();
    }
}

/// Where many files changed what a sync would do is looked at first.
#[test]
fn many_changes_that_go_one_way_are_one_saga_and_what_looking_took_is_told_with_it() {
    let world = World::new();
    let _server = thirty(&world);
    let sync = |changed: usize| {
        for n in 0..changed {
            world.write(&format!("alice/f{n}.txt"), &format!("file {n} of {changed}\n"));
        }
        world.run(&["-C", "alice", "sync", "--json"]).ok().json()
    };
    let (few, many) = (sync(1), sync(25));
    assert_eq!(number(&many, &["turns"]), number(&few, &["turns"]), "{many}");
    assert_eq!(number(&many, &["nodes", "sent"]), 25 * number(&few, &["nodes", "sent"]), "{many}");
    // The numbers of leaves have a digit more or less; what connecting takes, without which the rest was told, is half of it.
    let [few, many] = [&few, &many].map(|told| number(told, &["bytes", "identity"]));
    assert!(10 * many > 9 * few, "{few} {many}");
}

#[test]
fn deletions_are_not_sent_and_nothing_is_snapshot() {
    let world = World::new();
    let _server = thirty(&world);
    delete(&world, "alice", 20);
    let before = world.tips("alice");
    let failed = world.run(&["-C", "alice", "sync"]).fails(1, "mass_delete");
    let error = failed.error();
    assert!(text(&error, "message").contains("20 of 30 files"), "{error}");
    assert!(
        text(&error, "hint").contains("--allow-mass-delete") && text(&error, "hint").contains("checkout"),
        "{error}"
    );
    assert_eq!(world.tips("alice"), before, "nothing was done");
    // The way out that it names.
    world.run(&["-C", "alice", "checkout"]).ok();
    assert_eq!(files(&world.path("alice")).len(), 30);
    world.run(&["-C", "alice", "sync"]).ok();

    // What a snapshot has taken is not sent either.
    delete(&world, "alice", 20);
    world.run(&["-C", "alice", "snapshot"]).ok();
    let failed = world.run(&["-C", "alice", "sync"]).fails(1, "mass_delete");
    assert!(text(&failed.error(), "message").contains("20 of 30 files"), "{}", failed.stderr);
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(files(&world.path("bob")).len(), 30);
    world.run(&["-C", "alice", "undo", "--dry-run"]).ok();
    world.run(&["-C", "alice", "undo"]).ok();
    assert_eq!(files(&world.path("alice")).len(), 30);
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
}

#[test]
fn deletions_are_not_taken_from_the_server() {
    let world = World::new();
    let server = thirty(&world);
    delete(&world, "bob", 20);
    world.run(&["-C", "bob", "sync", "--allow-mass-delete"]).ok();
    world.write("alice/own.txt", "by alice\n");
    world.run(&["-C", "alice", "snapshot"]).ok();
    let before = (world.tips("alice"), files(&world.path("alice")));
    let failed = world.run(&["-C", "alice", "sync"]).fails(1, "mass_delete");
    assert!(
        text(&failed.error(), "message").contains("the server has deletions of 20 of 31 files"),
        "{}",
        failed.stderr
    );
    assert_eq!((world.tips("alice"), files(&world.path("alice"))), before, "nothing was taken");
    world.run(&["clone", &server.url, "carol"]).ok();
    assert!(!world.path("carol/own.txt").exists(), "nothing was sent");
    world.run(&["-C", "alice", "sync", "--push"]).ok();
    world.run(&["-C", "alice", "sync", "--allow-mass-delete"]).ok();
    assert_eq!(files(&world.path("alice")).len(), 11);
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
    world.fsck(&["-C", "alice"]);
}

#[test]
fn few_deletions_and_renames_go_through() {
    let world = World::new();
    let _server = thirty(&world);
    delete(&world, "alice", 10);
    fs::create_dir(world.path("alice/moved")).unwrap();
    for n in 10..29 {
        fs::rename(world.path(&format!("alice/f{n}.txt")), world.path(&format!("alice/moved/f{n}.txt"))).unwrap();
    }
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
    // Nineteen of twenty are fewer than twenty.
    fs::remove_dir_all(world.path("bob/moved")).unwrap();
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(files(&world.path("alice")).len(), 1);
}

#[test]
fn a_watcher_says_so_and_goes_on() {
    let world = World::new();
    let _server = thirty(&world);
    delete(&world, "alice", 25);
    let mut command = world.command(&["-C", "alice", "sync", "--watch"]);
    let mut watcher = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(watcher.stderr.take().unwrap()).lines();
    let warned = told.find(|line| line.as_ref().unwrap().contains("25 of 30 files")).unwrap().unwrap();
    assert!(warned.contains("--allow-mass-delete"), "{warned}");
    world.run(&["-C", "alice", "checkout"]).ok();
    world.write("alice/later.txt", "later\n");
    told.find(|line| line.as_ref().unwrap().contains("it works again")).unwrap().unwrap();
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(files(&world.path("bob")).len(), 31);
}
