//! What a server has confirmed, and what a device does when the server does not show it any more.

mod common;

use common::{Server, World, number, text};
use ibgib::Value;
use std::fs;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn receipts(world: &World) -> Vec<Value> {
    world.run(&["-C", "alice", "receipts", "--json"]).ok().lines()
}

#[test]
fn a_server_that_was_put_back_to_an_earlier_state_is_found_out_and_a_person_decides() {
    let world = World::new();
    let server = world.with_alice();
    let (url, listen) = (server.url.clone(), format!("127.0.0.1:{}", server.port()));
    let serve = || Server::start(&world, &["serve", "--space", "server", "--policy", "open", "--listen", &listen]);
    assert_eq!(server.stop(), Some(0));
    copy(&world.path("server"), &world.path("backup"));

    let server = serve();
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree, and confirmed\n");
    let synced = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    // Over a connection of its own, with a warrant that was new to the device.
    assert!(number(&synced, &["bytes", "identity"]) <= 20 * 1024, "{synced}");
    let kept = receipts(&world);
    assert!(kept.len() > 1, "{kept:?}");
    assert!(kept.iter().all(|receipt| receipt.get("holds") == Some(&Value::Bool(true))), "{kept:?}");
    let shown = world.run(&["-C", "alice", "receipts"]).ok().stdout;
    assert!(shown.lines().all(|line| line.ends_with("holds")), "{shown}");
    assert_eq!(server.stop(), Some(0));

    fs::remove_dir_all(world.path("server")).unwrap();
    fs::rename(world.path("backup"), world.path("server")).unwrap();
    let server = serve();
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree, and more\n");
    for _ in 0..2 {
        let error = world.run(&["-C", "alice", "sync", "--json"]).fails(7, "rolled_back").error();
        assert!(text(&error, "hint").contains("receipts --forget"), "{error}");
    }
    assert_eq!(world.read("alice/notes.txt"), "one\n\ntwo\n\nthree, and more\n", "nothing is lost here");
    assert_eq!(receipts(&world), kept);
    world.run(&["-C", "alice", "receipts", "--forget", "http://127.0.0.1:1"]).fails(5, "not_found");
    let forgotten = world.run(&["-C", "alice", "receipts", "--forget", &url, "--json"]).ok().json();
    assert_eq!(number(&forgotten, &["receipts"]), kept.len() as u64);
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &url, "bob"]).ok();
    assert_eq!(world.read("bob/notes.txt"), "one\n\ntwo\n\nthree, and more\n");
    assert_eq!(server.stop(), Some(0));
}
