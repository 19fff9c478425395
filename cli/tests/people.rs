//! A folder is its people's: what of a server reaches a device, and what a device tells in names and paths.

mod common;

use common::{World, files, number, text};
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

#[test]
fn folders_and_devices_have_names_and_a_mistyped_one_makes_nothing() {
    let world = World::new();
    let server = world.serve("server");
    let url = server.url.as_str();
    for (device, name) in [("notes", None), ("pictures", Some("Holiday photos"))] {
        world.write(&format!("{device}/{device}.txt"), "x\n");
        let name: Vec<&str> = name.into_iter().flat_map(|name| ["--name", name]).collect();
        let made = world.run(&[&["init", device, "--remote", url, "--device-name", "desk"], &name[..]].concat()).ok();
        assert!(made.stdout.contains("device:   desk"), "{}", made.stdout);
        world.run(&["-C", device, "sync"]).ok();
    }
    let which = world.run(&["clone", url, "c"]).fails(2, "usage");
    assert!(which.stderr.contains("notes (folder^") && which.stderr.contains("Holiday photos ("), "{}", which.stderr);
    for wrong in ["notse", "", "folder^0123456789"] {
        world.run(&["init", "d", "--join", wrong, "--remote", url]).fails(5, "not_found");
        world.run(&["clone", url, "d", "--folder", wrong]).fails(5, "not_found");
        assert!(!world.path("d").exists());
    }
    let unknown = format!("folder^{}", "A".repeat(64));
    world.run(&["init", "d", "--join", &unknown, "--remote", url]).fails(5, "not_found");
    assert!(!world.path("d").exists());
    world.run(&["init", "d", "--join", "notes"]).fails(2, "usage");
    world.run(&["init", "d", "--join", "notes", "--name", "other", "--remote", url]).fails(2, "usage");

    world.run(&["clone", url, "album", "--folder", "Holiday", "--device-name", "wall"]).ok();
    assert_eq!(files(&world.path("album")).into_keys().collect::<Vec<_>>(), ["pictures.txt"]);
    let status = world.run(&["-C", "notes", "status", "--json"]).ok().json();
    let digits = &text(&status, "folder")[..17];
    world.run(&["init", "joined", "--join", digits, "--remote", url, "--device-name", "phone"]).ok();
    world.run(&["-C", "joined", "sync"]).ok();
    assert_eq!(files(&world.path("joined")).into_keys().collect::<Vec<_>>(), ["notes.txt"]);
    assert!(world.run(&["-C", "joined", "status"]).ok().stdout.starts_with("folder notes (folder^"));

    // A device writes itself in with its first edit, and not before: what only came moves nothing.
    let quiet = world.run(&["-C", "joined", "sync", "--json"]).ok().json();
    assert_eq!(quiet.get("saga"), Some(&Value::Null), "{quiet}");
    world.write("joined/notes.txt", "x\ny\n");
    world.run(&["-C", "joined", "sync"]).ok();
    world.run(&["-C", "notes", "sync"]).ok();
    let log = world.run(&["-C", "notes", "log", "notes.txt"]).ok();
    assert!(log.stdout.lines().next().unwrap().contains("GMT  phone  notes.txt"), "{}", log.stdout);
    assert!(log.stdout.lines().last().unwrap().starts_with("n    0  begins here  notes.txt"), "{}", log.stdout);
    // That nothing has checked the names is said once.
    assert_eq!(log.stderr.matches("unattested").count(), 1, "{}", log.stderr);
    assert_eq!(server.stop(), Some(0));
    let of = |store: &[&str]| world.run(&[store, &["tips", "--folder", "notes", "--json"]].concat()).ok().stdout;
    assert_eq!(of(&["-C", "notes"]), of(&["-C", "joined"]));
    assert_eq!(of(&["-C", "notes"]), of(&["--space", "server"]));
    assert_eq!(of(&["-C", "notes"]), world.tips("notes"));
}

#[test]
fn a_log_names_devices_and_goes_on_under_earlier_names() {
    let world = World::new();
    let server = world.serve("server");
    world.write("desk/draft.txt", "one, long enough to be known again\n");
    world.run(&["init", "desk", "--name", "notes", "--remote", &server.url, "--device-name", "desk"]).ok();
    world.run(&["-C", "desk", "sync"]).ok();
    world.run(&["clone", &server.url, "phone", "--device-name", "phone"]).ok();
    world.write("phone/draft.txt", "one, long enough to be known again\ntwo\n");
    world.run(&["-C", "phone", "sync"]).ok();
    world.run(&["-C", "desk", "sync"]).ok();
    fs::create_dir(world.path("desk/done")).unwrap();
    fs::rename(world.path("desk/draft.txt"), world.path("desk/done/final.txt")).unwrap();
    world.run(&["-C", "desk", "sync"]).ok();
    world.write("desk/done/final.txt", "one, long enough to be known again\ntwo\nthree\n");
    world.run(&["-C", "desk", "sync"]).ok();
    world.run(&["-C", "phone", "sync"]).ok();
    for device in ["desk", "phone"] {
        let lines = world.run(&["-C", device, "log", "done/final.txt", "-p", "--json"]).ok().lines();
        let told = |line: &Value| format!("{} {}", text(line, "path"), line.get("device").unwrap());
        let told: Vec<String> = lines.iter().map(told).collect();
        let (new, old) = ("done/final.txt", "draft.txt");
        let expected = [
            format!("{new} \"desk\""),
            format!("{new} \"desk\""),
            format!("{old} \"phone\""),
            format!("{old} \"desk\""),
            format!("{old} null"),
        ];
        assert_eq!(told, expected, "{lines:?}");
        assert!(text(&lines[0], "diff").contains("+three"));
        assert_eq!(text(&lines[1], "diff"), "renamed from draft.txt\n");
        assert!(text(&lines[2], "diff").contains("+two") && !text(&lines[2], "diff").contains("+one"));
        assert!(text(&lines[0], "identity").starts_with("keystone^"));
        assert_eq!(lines[0].get("attested"), Some(&Value::Bool(false)));
    }
    // What merges is nobody's; what each side did is theirs.
    world.write("desk/done/final.txt", "ONE, long enough to be known again\ntwo\nthree\n");
    world.write("phone/done/final.txt", "one, long enough to be known again\ntwo\nTHREE\n");
    for device in ["desk", "phone", "desk"] {
        world.run(&["-C", device, "sync"]).ok();
    }
    let lines = world.run(&["-C", "desk", "log", "done/final.txt", "--json"]).ok().lines();
    assert_eq!((lines[0].get("identity"), lines[0].get("device")), (Some(&Value::Null), Some(&Value::Null)));
    let mut both = [text(&lines[1], "device"), text(&lines[2], "device")];
    both.sort_unstable();
    assert_eq!(both, ["desk", "phone"]);
    let shown = world.run(&["-C", "desk", "log", "done/final.txt"]).ok().stdout;
    let digits = shown.lines().nth(1).unwrap().split_whitespace().last().unwrap().to_owned();
    world.run(&["-C", "desk", "restore", "done/final.txt", "--at", &digits]).ok();
    // The identity of the other device came with nothing, and is missed by nothing.
    for device in ["desk", "phone"] {
        world.fsck(&["-C", device]);
    }
}

#[test]
fn status_tells_what_is_not_at_the_server_and_what_waits_there() {
    let world = World::new();
    let server = world.with_alice();
    world.run(&["clone", &server.url, "bob"]).ok();
    let status = |args: &[&str]| world.run(&[&["-C", "alice", "status", "--json"], args].concat()).ok().json();
    let counts = |status: &Value| (number(status, &["unsent"]), number(status, &["waiting"]));
    assert_eq!(counts(&status(&[])), (0, 0));
    world.write("alice/notes.txt", "changed\n");
    world.write("alice/new.txt", "new\n");
    world.run(&["-C", "alice", "snapshot"]).ok();
    assert_eq!(counts(&status(&[])), (2, 0));
    let shown = world.run(&["-C", "alice", "status"]).ok().stdout;
    assert!(shown.contains("unsent   new.txt\nunsent   notes.txt\n"), "{shown}");
    world.write("bob/bob.txt", "bob\n");
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(counts(&status(&[])), (2, 0), "nobody asked");
    assert_eq!(counts(&status(&["--fetch"])), (2, 1));
    assert_eq!(counts(&status(&[])), (2, 1));
    let tips = world.tips("alice");
    let dry = world.run(&["-C", "alice", "sync", "--dry-run"]).ok().stdout;
    for line in ["would send new.txt (added)", "would send notes.txt (modified)", "would receive bob.txt (added)"] {
        assert!(dry.contains(line), "{dry}");
    }
    assert_eq!(world.tips("alice"), tips);
    world.run(&["-C", "alice", "sync", "--push"]).ok();
    assert_eq!(counts(&status(&[])), (0, 1));
    let done = world.run(&["-C", "alice", "sync", "--json"]).ok().json();
    let moved = done.get("files").unwrap().to_json();
    assert_eq!(moved, r#"{"sent":[],"received":[{"path":"bob.txt","change":"added"}],"skipped":[]}"#);
    assert_eq!(counts(&status(&[])), (0, 0));
    assert!(status(&[]).get("asOf").unwrap().as_str().is_some());
    let done = world.run(&["-C", "bob", "sync"]).ok().stdout;
    assert!(done.contains("received new.txt (added)\nreceived notes.txt (modified)\n"), "{done}");
    fs::rename(world.path("bob/notes.txt"), world.path("bob/renamed.txt")).unwrap();
    for (flags, sent) in [(&["--dry-run"][..], "would send"), (&[], "sent")] {
        let done = world.run(&[&["-C", "bob", "sync"], flags].concat()).ok().stdout;
        assert!(done.contains(&format!("{sent} notes.txt (deleted)\n{sent} renamed.txt (added)\n")), "{done}");
    }
    for (flags, received) in [(&["--dry-run"][..], "would receive"), (&[], "received")] {
        let done = world.run(&[&["-C", "alice", "sync"], flags].concat()).ok().stdout;
        assert!(done.contains(&format!("{received} notes.txt (deleted)\n{received} renamed.txt (added)\n")), "{done}");
    }
    let fresh = world.run(&["init", "fresh", "--json"]).ok();
    assert!(fresh.stdout.contains("folder^"));
    assert_eq!(world.run(&["-C", "fresh", "status", "--json"]).ok().json().get("waiting"), Some(&Value::Null));
}
