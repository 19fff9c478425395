//! Three devices and a server, driven by nothing but the command: whatever they do in whatever order, they end equal
//! and nobody's edit is lost.

mod common;

use common::{Random, World, files, number, times};
use std::collections::BTreeSet;
use std::fs;

const DEVICES: [&str; 3] = ["alice", "bob", "carol"];

/// Paragraphs of a file: each a line of its own, with empty lines between them.
fn paragraphs(text: &str) -> Vec<String> {
    text.split("\n\n").map(|p| p.trim_end_matches('\n').to_owned()).filter(|p| !p.is_empty()).collect()
}

fn joined(paragraphs: &[String]) -> String {
    paragraphs.join("\n\n") + "\n"
}

#[test]
fn two_hundred_edits_on_three_devices_end_equal_and_complete() {
    let edits = times("IBGIB_EDITS", 200);
    let mut random = Random::new();
    let world = World::new();
    let server = world.serve("server");
    world.write("alice/start.txt", "the first paragraph\n\nthe second one\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    for device in &DEVICES[1..] {
        world.run(&["clone", &server.url, device]).ok();
    }

    let mut written = BTreeSet::new();
    let mut deleted = BTreeSet::new();
    for edit in 0..edits {
        let device = *random.pick(&DEVICES);
        let dir = world.path(device);
        let here: Vec<String> = files(&dir).into_keys().collect();
        let token = format!("edit {edit} by {device}.");
        let kind = random.below(100);
        if here.is_empty() || kind < 12 {
            written.insert(token.clone());
            world.write(&format!("{device}/dir-{}/new-{edit}.txt", random.below(3)), &format!("{token}\n"));
        } else if kind < 20 {
            // One path, made by whoever comes by; two of them may never have heard of each other.
            let path = format!("{device}/shared-{}.txt", random.below(8));
            let old = fs::read_to_string(world.path(&path)).unwrap_or_default();
            let mut all = paragraphs(&old);
            all.push(token.clone());
            written.insert(token);
            world.write(&path, &joined(&all));
        } else if kind < 25 && here.len() > 2 {
            let path = dir.join(random.pick(&here));
            deleted.extend(fs::read_to_string(&path).unwrap().lines().map(str::to_owned));
            fs::remove_file(path).unwrap();
        } else {
            let name = random.pick(&here).clone();
            let mut all = paragraphs(&fs::read_to_string(dir.join(&name)).unwrap());
            if kind < 40 && !all.is_empty() {
                deleted.extend(all.remove(random.below(all.len())).lines().map(str::to_owned));
            } else {
                let at = if kind < 70 { all.len() } else { random.below(all.len() + 1) };
                all.insert(at, token.clone());
                written.insert(token);
            }
            fs::write(dir.join(name), joined(&all)).unwrap();
        }
        if random.below(3) == 0 {
            let device = *random.pick(&DEVICES);
            let done = world.run(&["-C", device, "sync", "--json"]);
            assert!(matches!(done.code, Some(0 | 3)), "{}", done.stderr);
        }
    }
    for _ in 0..2 {
        for device in DEVICES {
            let done = world.run(&["-C", device, "sync"]);
            assert!(matches!(done.code, Some(0 | 3)), "{}", done.stderr);
        }
    }

    let tips = world.tips("alice");
    assert!(!tips.is_empty());
    for device in DEVICES {
        assert_eq!(number(&world.run(&["-C", device, "sync", "--json"]).ok().json(), &["turns"]), 0, "{device}");
        assert_eq!(world.tips(device), tips, "{device}");
        assert_eq!(files(&world.path(device)), files(&world.path("alice")), "{device}");
        world.fsck(&["-C", device]);
    }
    assert_eq!(server.stop(), Some(0));
    assert_eq!(world.run(&["--space", "server", "tips", "--json"]).ok().stdout, tips);
    world.fsck(&["--space", "server"]);

    let all: Vec<String> = files(&world.path("alice")).values().flat_map(|text| paragraphs(text)).collect();
    let lines: Vec<&str> = all.iter().flat_map(|p| p.lines()).collect();
    let wrong: Vec<(&String, usize)> = written
        .difference(&deleted)
        .map(|token| (token, lines.iter().filter(|line| **line == token.as_str()).count()))
        .filter(|(_, count)| *count != 1)
        .collect();
    assert_eq!(
        wrong,
        [],
        "edits that are there another number of times than once; kept: {}",
        world.dir.keep().display()
    );
}

#[test]
fn thousands_of_files_that_changed_at_once_come_over() {
    let world = World::new();
    let server = world.serve("server");
    let put = |text: &str| {
        for i in 0..4_200 {
            world.write(&format!("alice/d{}/f{i}", i % 50), &format!("{text} {i}\n"));
        }
    };
    put("first");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    // Bob has all the timelines, and each of them has moved: more than one message can ask for.
    put("second");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(world.tips("alice"), world.tips("bob"));
    assert_eq!(world.read("bob/d7/f4107"), "second 4107\n");
}
