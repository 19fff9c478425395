//! A folder is its people's: what of a server reaches a device, and what a device tells in names and paths.

mod common;

use common::{World, text};
use ibgib::{Mode, Value};
use std::collections::BTreeSet;
use std::fs;

/// What a device's store holds of people's data: frames, lists of chunks, and chunks. Stones of transforms say nothing of
/// anybody, and are the same for many.
fn data(world: &World, device: &str) -> BTreeSet<String> {
    let bundle = world.run(&["-C", device, "export", "-"]).ok().stdout;
    let node = |line: &str| {
        let value = Value::parse(line, Mode::Strict).ok()?;
        let node = value.get("node").unwrap_or(&value);
        let (ib, gib) = (node.get("ib")?.as_str()?, node.get("gib")?.as_str()?);
        ["folder", "shard", "file", "blob", "chunk"].contains(&ib).then(|| format!("{ib}^{gib}"))
    };
    bundle.lines().filter_map(node).collect()
}

#[test]
fn of_two_folders_on_one_server_each_device_gets_its_own_only() {
    let world = World::new();
    let server = world.serve("server");
    for (device, line) in [("notes", "dear diary\n"), ("photos", "a caption\n")] {
        world.write(&format!("{device}/text.txt"), line);
        fs::write(world.path(device).join("big.bin"), device.repeat(20_000) + "\0").unwrap();
        world.run(&["init", device, "--remote", &server.url]).ok();
        world.run(&["-C", device, "sync"]).ok();
    }
    let notes = text(&world.run(&["-C", "notes", "status", "--json"]).ok().json(), "folder").to_owned();
    world.run(&["clone", &server.url, "laptop", "--folder", &notes]).ok();
    world.write("joined/text.txt", "dear diary\n");
    world.write("joined/own.txt", "mine\n");
    world.run(&["init", "joined", "--join", &notes, "--remote", &server.url]).ok();
    for round in 0..3 {
        for device in ["notes", "photos", "laptop", "joined"] {
            world.write(&format!("{device}/new-{device}-{round}.txt"), &format!("{device} {round}\n"));
            world.run(&["-C", device, "sync"]).ok();
        }
    }
    for device in ["notes", "laptop", "joined"] {
        world.run(&["-C", device, "sync"]).ok();
    }
    let photos = data(&world, "photos");
    assert!(photos.iter().any(|addr| addr.starts_with("chunk^")), "{photos:?}");
    let ours = data(&world, "notes");
    assert_eq!(ours.intersection(&photos).count(), 0);
    for device in ["laptop", "joined"] {
        assert_eq!(world.tips(device), world.tips("notes"), "{device}");
        assert_eq!(data(&world, device).intersection(&photos).count(), 0, "{device}");
        world.fsck(&["-C", device]);
    }
    assert!(world.path("laptop/own.txt").exists() && world.path("notes/new-joined-2.txt").exists());
    // What is equal already is nobody's edit, and makes no conflict.
    assert_eq!(world.read("notes/text.txt"), "dear diary\n");

    let quiet = world.run(&["-C", "laptop", "sync", "--json"]).ok().json();
    assert_eq!(quiet.get("saga"), Some(&Value::Null), "{quiet}");
    world.run(&["-C", "laptop", "sync", "--all"]).ok();
    assert!(data(&world, "laptop").is_superset(&photos));
    assert_eq!(server.stop(), Some(0));
    assert_eq!(world.tips("laptop"), world.run(&["--space", "server", "tips", "--json"]).ok().stdout);
}
