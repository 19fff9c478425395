//! Conflicts as people meet them: what they are shown, how they settle them, and that nothing is lost on the way.

mod common;

use common::{Server, World, files, text};
use std::fs;

/// Alice and Bob change the same places of the same files; both have synced since.
fn quarrel(world: &World) -> Server {
    let server = world.serve("server");
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree\n");
    world.write("alice/settings.json", "{\"title\":\"x\",\"size\":1,\"deep\":{\"colour\":\"green\"}}");
    world.write("alice/draft.txt", "a first line\na second one\n");
    fs::write(world.path("alice/picture.bin"), b"\0\x01before").unwrap();
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    world.write("alice/notes.txt", "one\n\nALICE\n\nthree\n");
    world.write("bob/notes.txt", "one\n\nBOB\nBOB AGAIN\n\nthree\n");
    world.write("alice/settings.json", "{\"title\":\"alice\",\"size\":1,\"deep\":{\"colour\":\"blue\"}}");
    world.write("bob/settings.json", "{\"title\":\"bob\",\"size\":2,\"deep\":{\"colour\":\"red\"}}");
    fs::remove_file(world.path("alice/draft.txt")).unwrap();
    world.write("bob/draft.txt", "a first line\na second one, edited\n");
    fs::write(world.path("alice/picture.bin"), b"\0\x01alice's").unwrap();
    fs::write(world.path("bob/picture.bin"), b"\0\x01bob's picture").unwrap();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).expect(3);
    world.run(&["-C", "alice", "sync"]).expect(3);
    server
}

fn open(world: &World, device: &str) -> usize {
    world.run(&["-C", device, "conflicts", "--json"]).ok().lines().len()
}

#[test]
fn the_listing_says_what_happened_and_how_to_get_back_what_lost() {
    let world = World::new();
    let _server = quarrel(&world);
    assert_eq!(open(&world, "alice"), 5, "lines, two members, a delete, a binary");
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
    let told = world.run(&["-C", "alice", "conflicts"]).ok().stdout;
    for part in [
        "notes.txt: the same lines",
        "+ALICE",
        "+BOB AGAIN",
        "-two",
        "settings.json: /title",
        "settings.json: /deep/colour",
    ] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    for part in ["draft.txt: the whole text", "removed it", "picture.bin: the whole content", "bytes: ibgib show"] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }

    // Every command that it prints to bring back what lost does bring it back.
    let commands: Vec<Vec<&str>> = told
        .lines()
        .filter_map(|l| l.split_once("bring back what lost:"))
        .map(|(_, command)| command.split_whitespace().skip(1).collect())
        .collect();
    assert_eq!(commands.len(), 4, "{told}");
    let before = (world.read("alice/settings.json"), fs::read(world.path("alice/picture.bin")).unwrap());
    for command in &commands {
        world.run(&[&["-C", "alice"], &command[..]].concat()).ok();
    }
    let after = (world.read("alice/settings.json"), fs::read(world.path("alice/picture.bin")).unwrap());
    let was_alice = before.0.contains("\"title\":\"alice\"");
    assert_eq!(after.0.contains("\"title\":\"bob\""), was_alice, "{} -> {}", before.0, after.0);
    let [alice, bob] = [&b"\0\x01alice's"[..], &b"\0\x01bob's picture"[..]];
    assert_eq!(after.1, if before.1 == alice { bob } else { alice });
    assert!(!world.path("alice/draft.txt").exists(), "the edit had won over the delete");

    // The lines of both sides stood in the file; either can be chosen.
    assert_eq!(open(&world, "alice"), 1);
    let merged = world.read("alice/notes.txt");
    assert!(merged.contains("ALICE\n") && merged.contains("BOB\nBOB AGAIN\n"), "{merged}");
    world.run(&["-C", "alice", "resolve", "notes.txt", "--base"]).ok();
    let one = world.read("alice/notes.txt");
    assert!(one.contains("ALICE") != one.contains("BOB"), "{one}");
    // What was settled away stays in the history: one command brings it back, too.
    let log = world.run(&["-C", "alice", "log", "notes.txt", "--json"]).ok().lines();
    let merge = log.iter().find(|e| world.run(&["-C", "alice", "show", text(e, "addr"), "--raw"]).stdout == merged);
    world.run(&["-C", "alice", "restore", "notes.txt", "--at", text(merge.unwrap(), "addr")]).ok();
    assert_eq!(world.read("alice/notes.txt"), merged);
}

#[test]
fn a_long_text_is_told_in_a_few_lines() {
    let world = World::new();
    let server = world.with_alice();
    let lines: Vec<String> = (0..2000).map(|n| format!("line {n}\n")).collect();
    world.write("alice/long.txt", &lines.concat());
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    fs::remove_file(world.path("alice/long.txt")).unwrap();
    world.write("bob/long.txt", &lines.concat().replace("line 7\n", "line seven\n").replace("line 1900\n", ""));
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).expect(3);
    let told = world.run(&["-C", "bob", "conflicts"]).ok().stdout;
    assert!(told.lines().count() < 30, "{told}");
    for part in ["-line 7\n", "+line seven\n", "-line 1900\n", "removed it"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_losing_binary_can_be_read_by_its_address() {
    let world = World::new();
    let _server = quarrel(&world);
    let all = world.run(&["-C", "alice", "conflicts", "--json"]).ok().lines();
    let picture = all.iter().find(|c| text(c, "path") == "/data/blob").unwrap();
    let mut sides = Vec::new();
    for side in ["ancestor", "base", "orphan"] {
        sides.push(world.run(&["-C", "alice", "show", text(picture, side), "--raw"]).ok().stdout);
    }
    sides.sort_unstable();
    assert_eq!(sides, ["\0\u{1}alice's", "\0\u{1}before", "\0\u{1}bob's picture"]);
}

#[test]
fn every_conflict_of_a_file_or_of_all_is_settled_at_once_as_new_frames() {
    let world = World::new();
    let server = quarrel(&world);
    let frames = |path: &str| world.run(&["-C", "alice", "log", path, "--json"]).ok().lines().len();
    let before = frames("settings.json");
    let told = world.run(&["-C", "alice", "resolve", "settings.json", "--ancestor", "--json"]).ok().json();
    assert_eq!(told.get("settled").unwrap().as_array().unwrap().len(), 2);
    assert!(frames("settings.json") > before, "history grows, it is not rewritten");
    let settings = world.read("alice/settings.json");
    assert_eq!(settings, "{\"title\":\"x\",\"size\":2,\"deep\":{\"colour\":\"green\"}}", "what was no conflict stays");
    // A conflict's own address, or the digits that it begins with.
    let all = world.run(&["-C", "alice", "conflicts", "--json"]).ok().lines();
    let stone = |c: &ibgib::Value| text(c, "stone").to_owned();
    world.run(&["-C", "alice", "resolve", &stone(&all[0]), "--keep"]).ok();
    let digits = stone(&all[1]).split('^').nth(1).unwrap()[..8].to_lowercase();
    world.run(&["-C", "alice", "resolve", &digits, "--keep"]).ok();
    world.run(&["-C", "alice", "resolve", "--all", "--keep"]).ok();
    assert_eq!(open(&world, "alice"), 0);
    world.run(&["-C", "alice", "resolve", &stone(&all[0]), "--keep"]).fails(5, "no_conflict");
    world.run(&["-C", "alice", "resolve", "--all", "--keep"]).ok();
    world.run(&["-C", "alice", "resolve", "--all", "notes.txt", "--keep"]).fails(2, "usage");
    world.run(&["-C", "alice", "resolve", "notes.txt", "--keep", "--base"]).fails(2, "usage");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(open(&world, "bob"), 0);
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
    assert_eq!(world.tips("alice"), world.tips("bob"));
    drop(server);
}

#[test]
fn both_settle_at_the_same_time_and_still_end_equal() {
    for (alice, bob) in [("--base", "--orphan"), ("--keep", "--ancestor"), ("--orphan", "--orphan")] {
        let world = World::new();
        let _server = quarrel(&world);
        world.run(&["-C", "alice", "resolve", "--all", alice]).ok();
        world.run(&["-C", "bob", "resolve", "--all", bob]).ok();
        for device in ["alice", "bob", "alice", "bob"] {
            let done = world.run(&["-C", device, "sync"]);
            assert!(matches!(done.code, Some(0 | 3)), "{}", done.stderr);
        }
        assert_eq!(files(&world.path("alice")), files(&world.path("bob")), "{alice} {bob}");
        assert_eq!(world.tips("alice"), world.tips("bob"), "{alice} {bob}");
        // What the two choices disagree about is a conflict again, the same on both.
        assert_eq!(open(&world, "alice"), open(&world, "bob"));
        world.run(&["-C", "alice", "resolve", "--all", "--keep"]).ok();
        world.run(&["-C", "alice", "sync"]).ok();
        world.run(&["-C", "bob", "sync"]).ok();
        assert_eq!((open(&world, "alice"), open(&world, "bob")), (0, 0), "{alice} {bob}");
        world.fsck(&["-C", "bob"]);
    }
}

#[test]
fn unsaved_work_and_lines_edited_since_are_respected() {
    let world = World::new();
    let _server = quarrel(&world);
    let merged = world.read("alice/notes.txt");
    world.write("alice/notes.txt", &format!("{merged}unsaved\n"));
    world.run(&["-C", "alice", "resolve", "notes.txt", "--base"]).fails(1, "unsaved");
    assert_eq!(open(&world, "alice"), 5);
    world.write("alice/notes.txt", &merged.replace("BOB\n", "BOB, by hand\n"));
    world.run(&["-C", "alice", "snapshot"]).ok();
    world.run(&["-C", "alice", "resolve", "notes.txt", "--base"]).fails(5, "no_conflict");
    world.run(&["-C", "alice", "resolve", "notes.txt", "--keep"]).ok();
    assert_eq!(world.read("alice/notes.txt"), merged.replace("BOB\n", "BOB, by hand\n"));
}

#[test]
fn two_that_settle_one_conflict_differently_are_told_and_lose_neither_choice() {
    let world = World::new();
    let _server = quarrel(&world);
    let alices = |device: &str| world.read(&format!("{device}/notes.txt")).contains("ALICE\n");
    // Each keeps his own lines of notes.txt, and takes out the other's.
    for (device, own) in [("alice", "ALICE\n"), ("bob", "BOB\n")] {
        world.run(&["-C", device, "resolve", "notes.txt", "--yours"]).ok();
        world.run(&["-C", device, "resolve", "--all", "--keep"]).ok();
        assert!(world.read(&format!("{device}/notes.txt")).contains(own));
        assert_eq!(alices(device), device == "alice");
    }
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).expect(3);
    world.run(&["-C", "alice", "sync"]).expect(3);
    assert_eq!((open(&world, "alice"), open(&world, "bob")), (1, 1), "what both settled alike stays settled");
    let both = world.read("bob/notes.txt");
    assert!(both.contains("ALICE\n") && both.contains("BOB\nBOB AGAIN\n"), "{both}");
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
    // One of them settles it for both.
    world.run(&["-C", "bob", "resolve", "notes.txt", "--yours"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!((open(&world, "alice"), open(&world, "bob")), (0, 0));
    assert!(!alices("alice") && !alices("bob") && world.read("alice/notes.txt").contains("BOB AGAIN\n"));
    world.fsck(&["-C", "alice"]);
}
