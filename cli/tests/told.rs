//! Every device is told of conflicts that are new on it, whoever merged; sides are yours and theirs; an editor or a
//! merge tool settles them.

mod common;

use common::{Done, Server, World, number, text};
use ibgib::Value;
use std::fs;

/// Alice and Bob change the same line; Bob merges. Carol has the folder, too, and knows nothing of it yet.
fn quarrel(world: &World) -> Server {
    let server = world.with_alice();
    world.run(&["clone", &server.url, "bob"]).ok();
    world.run(&["clone", &server.url, "carol"]).ok();
    world.write("alice/notes.txt", "one\n\nALICE\n\nthree\n");
    world.write("bob/notes.txt", "one\n\nBOB\n\nthree\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).expect(3);
    server
}

fn open(world: &World, device: &str) -> Vec<Value> {
    world.run(&["-C", device, "conflicts", "--json"]).ok().lines()
}

#[test]
fn whoever_merged_every_device_is_told_once() {
    let world = World::new();
    let server = quarrel(&world);
    let told = world.run(&["-C", "alice", "sync"]).expect(3).stdout;
    for part in ["conflict notes.txt: the same lines (", "GMT)", "1 new conflict(s)"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let again = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    assert_eq!(number(&again, &["conflicts"]), 0, "it is not new any more");
    let carol = world.run(&["-C", "carol", "sync", "--json"]).expect(3).json();
    assert_eq!((number(&carol, &["conflicts"]), number(&carol, &["merges"])), (1, 0), "she merged nothing");
    // What a new device finds open is new on it.
    let dave = world.run(&["clone", &server.url, "dave", "--json"]).expect(3).json();
    assert_eq!(number(&dave, &["conflicts"]), 1);
    // Settled by one, it is over for all.
    world.run(&["-C", "alice", "resolve", "notes.txt", "--keep"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    for device in ["bob", "carol", "dave"] {
        world.run(&["-C", device, "sync"]).ok();
        assert_eq!(open(&world, device), []);
    }
}

/// A sync whose report nobody got has told nothing: the next one tells.
#[test]
fn what_a_sync_could_not_tell_the_next_one_does() {
    let world = World::new();
    let server = quarrel(&world);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let untold = world.command(&["-C", "alice", "sync", "--json"]).stdout(full).output().unwrap();
    assert!(!untold.status.success());
    assert_eq!(open(&world, "alice").len(), 1, "it is done all the same");
    let told = world.run(&["-C", "alice", "sync", "--json"]).expect(3).json();
    assert_eq!((number(&told, &["conflicts"]), number(&told, &["turns"])), (1, 0));
    assert_eq!(number(&world.run(&["-C", "alice", "sync", "--json"]).ok().json(), &["conflicts"]), 0);
    // What came with a bundle that merged nothing is told by the sync after it.
    world.run(&["-C", "alice", "export", "all.ibgibs"]).ok();
    world.run(&["-C", "carol", "import", "all.ibgibs"]).ok();
    let told = world.run(&["-C", "carol", "sync", "--json"]).expect(3).json();
    assert_eq!((number(&told, &["conflicts"]), number(&told, &["turns"])), (1, 0));
    // What a bundle's merge left is told by the import.
    world.run(&["clone", &server.url, "dave"]).expect(3);
    world.write("alice/notes.txt", "ONE\n\nALICE\n\nthree\n");
    world.write("dave/notes.txt", "EINS\n\nALICE\n\nthree\n");
    world.run(&["-C", "alice", "snapshot"]).ok();
    world.run(&["-C", "dave", "snapshot"]).ok();
    world.run(&["-C", "alice", "export", "more.ibgibs"]).ok();
    let imported = world.run(&["-C", "dave", "import", "more.ibgibs", "--json"]).expect(3).json();
    assert_eq!(number(&imported, &["conflicts"]), 1);
    assert_eq!(number(&world.run(&["-C", "dave", "sync", "--json"]).ok().json(), &["conflicts"]), 0);
}

#[test]
fn sides_are_yours_and_theirs_on_the_devices_that_made_them() {
    let world = World::new();
    let _server = quarrel(&world);
    world.run(&["-C", "alice", "sync"]).expect(3);
    world.run(&["-C", "carol", "sync"]).expect(3);
    for (device, mine, other) in [("alice", "ALICE", "BOB"), ("bob", "BOB", "ALICE")] {
        let [conflict] = &open(&world, device)[..] else { panic!("one conflict") };
        let yours = text(conflict, "yours");
        assert_eq!(text(conflict, yours), mine);
        assert!(text(conflict, "timestamp").ends_with(" GMT") && conflict.get("device").is_some(), "{conflict}");
        assert!(conflict.get("identity").is_some());
        let told = world.run(&["-C", device, "conflicts"]).ok().stdout;
        let side = |from: &str| told.split_once(from).unwrap().1.lines().nth(2).unwrap().trim().to_owned();
        assert_eq!((side("  yours,"), side("  theirs: ")), (format!("+{mine}"), format!("+{other}")), "{told}");
        assert!(told.contains("--theirs") && told.contains("--yours"), "{told}");
    }
    let [conflict] = &open(&world, "carol")[..] else { panic!("one conflict") };
    assert_eq!(conflict.get("yours"), Some(&Value::Null));
    world.run(&["-C", "carol", "resolve", "notes.txt", "--theirs"]).fails(5, "no_conflict");
    world.run(&["-C", "carol", "resolve", "notes.txt", "--theirs", "--yours"]).fails(2, "usage");
    world.run(&["-C", "alice", "resolve", "notes.txt", "--theirs"]).ok();
    assert_eq!(world.read("alice/notes.txt"), "one\n\nBOB\n\nthree\n");
    // One undo brings back what was there before; that it is settled stays.
    let undone = world.run(&["-C", "alice", "undo", "--json"]).ok().json();
    assert_eq!(text(undone.get("undone").unwrap(), "what"), "resolve");
    assert_eq!(open(&world, "alice"), []);
    let back = world.read("alice/notes.txt");
    assert!(back.contains("ALICE\n") && back.contains("BOB\n"), "{back}");
    world.run(&["-C", "bob", "resolve", "notes.txt", "--yours"]).ok();
    assert_eq!(world.read("bob/notes.txt"), "one\n\nBOB\n\nthree\n");
    world.fsck(&["-C", "alice"]);
}

fn edit(world: &World, editor: &str) -> Done {
    let mut command = world.command(&["-C", "alice", "resolve", "notes.txt", "--edit"]);
    Done::from(command.env("EDITOR", editor).env_remove("VISUAL").output().unwrap())
}

#[test]
fn an_editor_settles_what_it_leaves_without_marks() {
    let world = World::new();
    let _server = quarrel(&world);
    world.run(&["-C", "alice", "sync"]).expect(3);
    let merged = world.read("alice/notes.txt");
    edit(&world, "false").fails(1, "not_edited");
    edit(&world, "true").fails(1, "not_edited");
    edit(&world, "").fails(2, "usage");
    assert_eq!((world.read("alice/notes.txt"), open(&world, "alice").len()), (merged, 1), "nothing is settled");
    // It is given both sides between marks, and any command line will do.
    let seen = world.path("seen");
    let script =
        format!("sh -c 'cp \"$1\" {} && sed -i -e \"/^[<=>]/d\" -e s/ALICE/BOTH/ -e /BOB/d \"$1\"' sh", seen.display());
    edit(&world, &script).ok();
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("<<<<<<< yours\nALICE\n=======\nBOB\n>>>>>>> "), "{seen}");
    assert_eq!(world.read("alice/notes.txt"), "one\n\nBOTH\n\nthree\n");
    assert_eq!(open(&world, "alice"), []);
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!((world.read("bob/notes.txt"), open(&world, "bob").len()), ("one\n\nBOTH\n\nthree\n".to_owned(), 0));
}

#[test]
fn a_merge_tool_gets_both_sides_and_what_they_had_before() {
    let world = World::new();
    let _server = quarrel(&world);
    world.run(&["-C", "alice", "sync"]).expect(3);
    let tool = |tool: &str| world.run(&["-C", "alice", "resolve", "notes.txt", "--tool", tool]);
    tool("exit 1").fails(1, "not_edited");
    tool("true").fails(1, "not_edited");
    let out = world.path("out");
    let script = format!(
        "for f in BASE LOCAL REMOTE; do eval cp \\\"\\$$f\\\" {}-$f; done; cat \"$LOCAL\" > \"$MERGED\"",
        out.display()
    );
    tool(&script).ok();
    let got = ["BASE", "LOCAL", "REMOTE"].map(|name| world.read(&format!("out-{name}")));
    assert_eq!(got, ["two", "ALICE", "BOB"].map(|middle| format!("one\n\n{middle}\n\nthree\n")));
    assert_eq!((world.read("alice/notes.txt"), open(&world, "alice").len()), (got[1].clone(), 0));
}

#[test]
fn what_is_no_text_is_settled_by_choosing_a_side() {
    let world = World::new();
    let server = world.with_alice();
    fs::write(world.path("alice/picture"), b"\0before").unwrap();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    fs::write(world.path("alice/picture"), b"\0alice").unwrap();
    fs::write(world.path("bob/picture"), b"\0bob").unwrap();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).expect(3);
    world.run(&["-C", "bob", "resolve", "picture", "--tool", "true"]).fails(2, "usage");
    world.run(&["-C", "bob", "resolve", "picture", "--theirs"]).ok();
    assert_eq!(fs::read(world.path("bob/picture")).unwrap(), b"\0alice");
    assert_eq!(open(&world, "bob"), []);
    // Alice takes hers from the server's merge, too.
    world.run(&["-C", "alice", "sync"]).expect(3);
    world.run(&["-C", "alice", "resolve", "picture", "--yours"]).ok();
    assert_eq!(fs::read(world.path("alice/picture")).unwrap(), b"\0alice");
}
