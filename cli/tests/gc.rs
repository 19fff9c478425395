//! Room for what is over is given back.

mod common;

use common::{World, number};
use std::fs;
use std::path::Path;

/// More sessions than are kept.
const SESSIONS: usize = 26;

fn bytes(dir: &Path) -> u64 {
    let entry = |entry: fs::DirEntry| {
        if entry.path().is_dir() { bytes(&entry.path()) } else { entry.metadata().unwrap().len() }
    };
    fs::read_dir(dir).unwrap().map(|found| entry(found.unwrap())).sum()
}

#[test]
fn sessions_that_are_over_are_forgotten_and_the_store_becomes_smaller() {
    let world = World::new();
    let server = world.with_alice();
    for nth in 0..SESSIONS {
        world.write("alice/notes.txt", &format!("edit {nth}\n"));
        world.run(&["-C", "alice", "sync"]).ok();
    }
    // A server does it by itself; beside it nobody can.
    world.run(&["--space", "server", "gc"]).fails(6, "locked");
    let foreseen = world.run(&["--space", "server", "gc", "--dry-run", "--json"]).ok().json();
    assert!(number(&foreseen, &["nodes"]) > 0, "{foreseen}");
    server.stop();
    for (place, log) in [(["--space", "server"], "server/log"), (["-C", "alice"], "alice/.ibgib/space/log")] {
        let gc = |more: &[&str]| world.run(&[&place[..], &["gc"], more].concat()).ok();
        let (foreseen, before) = (gc(&["--dry-run", "--json"]).json(), bytes(&world.path(log)));
        let freed = gc(&["--json"]).json();
        assert_eq!(freed, foreseen);
        assert!(number(&freed, &["nodes"]) > 40 && number(&freed, &["bytes"]) > 10_000, "{freed}");
        assert!(bytes(&world.path(log)) < before);
        assert_eq!(number(&gc(&["--json"]).json(), &["nodes"]), 0);
        world.fsck(&place);
    }
    let server = world.serve("server");
    world.write("alice/notes.txt", "after\n");
    world.run(&["-C", "alice", "sync", &server.url]).ok();
    world.run(&["-C", "alice", "receipts"]).ok();
    server.stop();
    world.fsck(&["--space", "server"]);
}
