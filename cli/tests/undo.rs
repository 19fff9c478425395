//! Undo and redo as people meet them: what is named, what is asked, what comes back.

mod common;

use common::{World, files, text};
use ibgib::Value;
use std::fs;

fn changes(told: &Value) -> Vec<(String, String)> {
    let files = told.get("files").unwrap().as_array().unwrap();
    files.iter().map(|f| (text(f, "path").to_owned(), text(f, "change").to_owned())).collect()
}

fn change(path: &str, change: &str) -> (String, String) {
    (path.to_owned(), change.to_owned())
}

#[test]
fn it_names_what_it_takes_back_and_a_dry_run_does_nothing() {
    let world = World::new();
    world.run(&["init", "a", "--device-name", "desk"]).ok();
    world.write("a/kept.txt", "kept\n");
    world.write("a/gone.txt", "gone\n");
    world.run(&["-C", "a", "snapshot"]).ok();
    world.write("a/kept.txt", "changed\n");
    world.write("a/new.txt", "new\n");
    fs::remove_file(world.path("a/gone.txt")).unwrap();
    world.run(&["-C", "a", "snapshot"]).ok();
    let before = (files(&world.path("a")), world.tips("a"));

    let dry = world.run(&["-C", "a", "undo", "--dry-run", "--json"]).ok().json();
    let undone = dry.get("undone").unwrap();
    assert_eq!(text(undone, "what"), "snapshot");
    assert!(text(undone, "when").ends_with(" GMT"), "{dry}");
    assert_eq!(text(undone, "device"), "desk");
    let all = [change("gone.txt", "added"), change("kept.txt", "modified"), change("new.txt", "deleted")];
    assert_eq!(changes(&dry), all);
    let told = world.run(&["-C", "a", "undo", "--dry-run"]).ok().stdout;
    for part in ["would undo the snapshot of ", "would bring back gone.txt", "would change     kept.txt", "new.txt"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!((files(&world.path("a")), world.tips("a")), before, "nothing was done");

    let done = world.run(&["-C", "a", "undo", "--json"]).ok().json();
    assert_eq!((done.get("undone"), changes(&done)), (dry.get("undone"), all.to_vec()));
    assert_eq!(files(&world.path("a")).into_keys().collect::<Vec<_>>(), ["gone.txt", "kept.txt"]);
    assert_eq!(world.read("a/kept.txt"), "kept\n");
    let again = world.run(&["-C", "a", "redo", "--dry-run", "--json"]).ok().json();
    assert_eq!(changes(&again), [change("gone.txt", "deleted"), all[1].clone(), change("new.txt", "added")]);
    let told = world.run(&["-C", "a", "redo"]).ok().stdout;
    assert!(told.contains("did again the snapshot of "), "{told}");
    assert_eq!(files(&world.path("a")), before.0);
    world.run(&["-C", "a", "redo"]).fails(1, "nothing_to_redo");
    world.run(&["-C", "a", "undo"]).ok();
    world.write("a/other.txt", "x\n");
    world.run(&["-C", "a", "snapshot"]).ok();
    world.run(&["-C", "a", "redo"]).fails(1, "nothing_to_redo");
    world.fsck(&["-C", "a"]);
}

#[test]
fn many_removals_and_the_first_snapshot_are_asked_for() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    world.write("a/only.txt", "one file\n");
    world.run(&["-C", "a", "snapshot"]).ok();
    let before = world.tips("a");
    for args in [&["undo"][..], &["undo", "--force"], &["undo", "--json"]] {
        let failed = world.run(&[&["-C", "a"], args].concat()).fails(1, "confirmation_needed");
        assert!(text(&failed.error(), "message").contains("the first snapshot of the folder"), "{}", failed.stderr);
        assert!(text(&failed.error(), "hint").contains("--yes"), "{}", failed.stderr);
    }
    assert_eq!((world.tips("a"), world.read("a/only.txt").as_str()), (before, "one file\n"));
    for n in 0..4 {
        world.write(&format!("a/more-{n}.txt"), "more\n");
    }
    world.run(&["-C", "a", "snapshot"]).ok();
    let failed = world.run(&["-C", "a", "undo"]).fails(1, "confirmation_needed");
    assert!(text(&failed.error(), "message").contains("remove 4 file(s)"), "{}", failed.stderr);
    assert_eq!(files(&world.path("a")).len(), 5);
    world.run(&["-C", "a", "undo", "--yes"]).ok();
    assert_eq!(files(&world.path("a")).into_keys().collect::<Vec<_>>(), ["only.txt"]);
    // Three are few.
    for n in 0..3 {
        world.write(&format!("a/more-{n}.txt"), "more\n");
    }
    world.run(&["-C", "a", "snapshot"]).ok();
    world.run(&["-C", "a", "undo"]).ok();
    world.run(&["-C", "a", "undo", "--yes"]).ok();
    assert!(files(&world.path("a")).is_empty());
    world.run(&["-C", "a", "undo", "--yes"]).fails(1, "nothing_to_undo");
    world.run(&["-C", "a", "redo"]).ok();
    assert_eq!(world.read("a/only.txt"), "one file\n");
}

/// What is only called otherwise again is not removed: nobody is asked.
#[test]
fn the_renaming_of_a_directory_is_taken_back_without_asking() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    for n in 0..6 {
        world.write(&format!("a/plans/{n}.txt"), &format!("plan {n}\n"));
    }
    world.run(&["-C", "a", "snapshot"]).ok();
    let before = files(&world.path("a"));
    fs::rename(world.path("a/plans"), world.path("a/done")).unwrap();
    world.run(&["-C", "a", "snapshot"]).ok();
    let foreseen = world.run(&["-C", "a", "undo", "--dry-run"]).ok();
    assert!(foreseen.stdout.contains("done/3.txt -> plans/3.txt"), "{}", foreseen.stdout);
    let told = world.run(&["-C", "a", "undo", "--json"]).ok().json();
    assert_eq!(changes(&told)[0], change("plans/0.txt", "renamed"));
    let first = &told.get("files").unwrap().as_array().unwrap()[0];
    assert_eq!(text(first, "from"), "done/0.txt");
    assert_eq!(files(&world.path("a")), before);
    world.run(&["-C", "a", "redo"]).ok();
    assert_eq!(world.read("a/done/5.txt"), "plan 5\n");
}

#[test]
fn a_restore_is_taken_back() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    for round in ["one\n", "two\n"] {
        world.write("a/notes.txt", round);
        world.run(&["-C", "a", "snapshot"]).ok();
    }
    let log = world.run(&["-C", "a", "log", "notes.txt", "--json"]).ok().lines();
    world.run(&["-C", "a", "restore", "notes.txt", "--at", text(&log[1], "addr")]).ok();
    assert_eq!(world.read("a/notes.txt"), "one\n");
    let undone = world.run(&["-C", "a", "undo", "--json"]).ok().json();
    assert_eq!(text(undone.get("undone").unwrap(), "what"), "restore");
    assert_eq!(world.read("a/notes.txt"), "two\n");
    world.run(&["-C", "a", "undo"]).ok();
    assert_eq!(world.read("a/notes.txt"), "one\n");
    world.run(&["-C", "a", "redo"]).ok();
    world.run(&["-C", "a", "redo"]).ok();
    assert_eq!(world.read("a/notes.txt"), "one\n", "the restore, done again");
}
