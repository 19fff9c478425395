//! What scripts rely on: names of members, exit codes, what goes where.

mod common;

use common::{Server, World, files, number, text};
use ibgib::{Value, Verified};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().collect()
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value.get(key).and_then(Value::as_array).unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[test]
fn init_makes_a_device_once_with_a_secret_only_its_owner_can_read() {
    let world = World::new();
    let made = world.run(&["init", "a", "--json"]).ok().json();
    assert_eq!(keys(&made), ["folder", "identity", "remote", "name", "device"]);
    assert!(text(&made, "folder").starts_with("folder^"));
    assert!(text(&made, "identity").starts_with("keystone"));
    let secret = fs::metadata(world.path("a/.ibgib/secret")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    assert_eq!(world.read("a/.ibgib/secret").len(), 64);
    for part in ["space", "config.toml", "lock"] {
        assert!(world.path("a/.ibgib").join(part).exists(), "{part}");
    }
    assert_eq!(fs::read_dir(world.path("a")).unwrap().count(), 1);
    world.run(&["init", "a"]).fails(1, "exists");
    let joined = world.run(&["init", "b", "--join", text(&made, "folder"), "--json"]).ok().json();
    assert_eq!(text(&joined, "folder"), text(&made, "folder"));
    world.run(&["init", "c", "--join", "nonsense"]).fails(2, "usage");
    world.run(&["init", "c", "--remote", "ftp://x"]).fails(2, "url");
    assert!(!world.path("c").exists());
}

#[test]
fn a_snapshot_tells_what_it_took_and_status_what_it_would() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    world.write("a/one.txt", "one\n");
    world.write("a/sub/two.txt", "two, long enough to be known again\n");
    let status = world.run(&["-C", "a", "status", "--json"]).ok().json();
    assert_eq!(status.get("clean"), Some(&Value::Bool(false)));
    assert_eq!(status.get("changes").unwrap().as_array().unwrap().len(), 2);
    let taken = world.run(&["-C", "a/sub", "snapshot", "--json"]).ok().json();
    assert_eq!(keys(&taken)[..5], ["added", "modified", "deleted", "renamed", "skipped"]);
    assert_eq!(list(&taken, "added"), ["one.txt", "sub/two.txt"]);
    world.write("a/one.txt", "one more\n");
    fs::rename(world.path("a/sub/two.txt"), world.path("a/three.txt")).unwrap();
    let taken = world.run(&["-C", "a", "snapshot", "--json"]).ok().json();
    assert_eq!(list(&taken, "modified"), ["one.txt"]);
    assert_eq!(taken.get("renamed").unwrap().to_json(), r#"[["sub/two.txt","three.txt"]]"#);
    fs::remove_file(world.path("a/one.txt")).unwrap();
    assert_eq!(list(&world.run(&["-C", "a", "snapshot", "--json"]).ok().json(), "deleted"), ["one.txt"]);
    let status = world.run(&["-C", "a", "status", "--json"]).ok().json();
    assert_eq!(keys(&status)[..6], ["clean", "changes", "conflicts", "folder", "tip", "remote"]);
    assert_eq!(status.get("clean"), Some(&Value::Bool(true)));
}

#[test]
fn a_sync_tells_turns_nodes_bytes_and_timelines_and_nothing_to_do_is_zero() {
    let world = World::new();
    let server = world.serve("server");
    world.write("a/notes.txt", "one\n\ntwo\n\nthree\n");
    world.run(&["init", "a"]).ok();
    let pushed = world.run(&["-C", "a", "sync", &server.url, "--json"]).ok().json();
    let members = ["saga", "turns", "nodes", "bytes", "merges", "conflicts", "timelines", "ms"];
    assert_eq!(keys(&pushed)[..8], members);
    assert_eq!(number(&pushed, &["turns"]), 2);
    assert!(number(&pushed, &["nodes", "sent"]) > 0);
    assert_eq!(number(&pushed, &["nodes", "received"]), 0);
    for way in ["sent", "received", "identity"] {
        assert!(number(&pushed, &["bytes", way]) > 0, "{way}");
    }
    for line in pushed.get("timelines").unwrap().as_array().unwrap() {
        assert_eq!(keys(line), ["tjp", "before", "after", "action"]);
        assert_eq!(text(line, "action"), "pushed");
    }
    // The URL is remembered.
    let again = world.run(&["-C", "a", "sync", "--json"]).ok().json();
    assert_eq!((number(&again, &["nodes", "sent"]), number(&again, &["nodes", "received"])), (0, 0));

    let cloned = world.run(&["clone", &server.url, "b", "--json"]).ok().json();
    assert_eq!(number(&cloned, &["turns"]), 2);
    assert_eq!(number(&cloned, &["nodes", "received"]), number(&pushed, &["nodes", "sent"]));
    world.write("a/notes.txt", "one\n\ntwo\n\nthree by a\n");
    world.write("b/notes.txt", "one by b\n\ntwo\n\nthree\n");
    world.run(&["-C", "a", "sync"]).ok();
    let merged = world.run(&["-C", "b", "sync", "--json"]).ok().json();
    assert_eq!(number(&merged, &["turns"]), 3);
    assert_eq!(number(&merged, &["merges"]), 1);
    assert_eq!(text(&merged.get("timelines").unwrap().as_array().unwrap()[0], "action"), "merged");
    world.run(&["-C", "a", "sync"]).ok();
    assert_eq!(files(&world.path("a")), files(&world.path("b")));
    assert_eq!(world.read("a/notes.txt"), "one by b\n\ntwo\n\nthree by a\n");
    assert_eq!(world.tips("a"), world.tips("b"));
}

#[test]
fn directions_scopes_and_a_dry_run_do_what_they_say() {
    let world = World::new();
    let server = world.with_alice();
    world.run(&["clone", &server.url, "bob"]).ok();
    world.write("alice/a.txt", "a\n");
    world.write("alice/b.txt", "b\n");
    world.run(&["-C", "alice", "snapshot"]).ok();
    let before = world.tips("alice");
    let dry = world.run(&["-C", "alice", "sync", "--dry-run", "--json"]).ok().json();
    assert!(!dry.get("timelines").unwrap().as_array().unwrap().is_empty());
    assert!(number(&dry, &["nodes", "sent"]) > 0, "what would be sent");
    assert_eq!(world.tips("alice"), before);
    world.run(&["-C", "bob", "sync"]).ok();
    assert!(!world.path("bob/a.txt").exists());

    let pulled = world.run(&["-C", "alice", "sync", "--pull", "--json"]).ok().json();
    assert!(!pulled.to_json().contains("\"pushed\""), "{pulled}");
    world.run(&["-C", "bob", "sync"]).ok();
    assert!(!world.path("bob/a.txt").exists(), "a pull sends nothing");
    world.run(&["-C", "alice", "sync", "--push"]).ok();
    world.run(&["-C", "bob", "sync", "--no-checkout"]).ok();
    assert!(!world.path("bob/a.txt").exists());
    world.run(&["-C", "bob", "checkout"]).ok();
    assert_eq!(world.read("bob/a.txt"), "a\n");

    world.write("alice/a.txt", "a, changed\n");
    world.write("alice/b.txt", "b, changed\n");
    world.run(&["-C", "alice", "sync", "--only", "a.txt"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!((world.read("bob/a.txt"), world.read("bob/b.txt")), ("a, changed\n".into(), "b\n".into()));
    world.write("alice/b.txt", "b, changed again\n");
    world.run(&["-C", "alice", "sync", "--no-snapshot"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(world.read("bob/b.txt"), "b, changed\n");
    world.run(&["-C", "alice", "sync", "--push", "--pull"]).fails(2, "usage");
    world.run(&["-C", "alice", "sync", "--only", "nothing.txt"]).fails(5, "no_entry");
}

#[test]
fn a_sync_without_a_snapshot_brings_all_but_what_would_be_overwritten() {
    let world = World::new();
    let server = world.with_alice();
    for name in ["a", "b", "c"] {
        world.write(&format!("alice/{name}.txt"), "old\n");
    }
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    world.write("alice/a.txt", "by alice\n");
    world.write("alice/c.txt", "by alice\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.write("bob/a.txt", "by bob\n");
    world.write("bob/b.txt", "by bob\n");
    let done = world.run(&["-C", "bob", "sync", "--no-snapshot", "--json"]).expect(3).json();
    let refused = done.get("refused").unwrap().as_array().unwrap();
    assert_eq!(refused.iter().map(|r| text(r, "path")).collect::<Vec<_>>(), ["a.txt"]);
    assert_eq!(done.get("written").unwrap().to_json(), "[\"c.txt\"]");
    let now = ["a", "b", "c"].map(|name| world.read(&format!("bob/{name}.txt")));
    assert_eq!(now, ["by bob\n", "by bob\n", "by alice\n"]);
    world.run(&["-C", "bob", "checkout"]).fails(1, "unsaved");
    world.run(&["-C", "bob", "sync"]).expect(3);
    assert!(world.read("bob/a.txt").contains("by alice") && world.read("bob/a.txt").contains("by bob"));
}

#[test]
fn logs_nodes_and_graphs_can_be_read_back_and_verified() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    for round in ["one", "two", "three"] {
        world.write("a/notes.txt", &format!("{round}\n"));
        world.run(&["-C", "a", "snapshot"]).ok();
    }
    let log = world.run(&["-C", "a", "log", "notes.txt", "--json"]).ok().lines();
    assert_eq!(keys(&log[0])[..6], ["addr", "n", "timestamp", "past", "graftbase", "graftorphan"]);
    assert_eq!(log.iter().map(|e| number(e, &["n"])).collect::<Vec<_>>(), [3, 2, 1, 0]);
    let tip = text(&log[0], "addr");
    let shown = world.run(&["-C", "a", "show", tip, "--json"]).ok().stdout;
    assert_eq!(Verified::parse(shown.trim_end()).unwrap().addr().as_str(), tip);
    world.feed(&["verify"], shown.as_bytes()).ok();
    assert_eq!(world.feed(&["addr"], shown.as_bytes()).ok().stdout.trim_end(), tip);
    let digits = &tip.split('^').nth(1).unwrap()[..10].to_lowercase();
    assert_eq!(world.run(&["-C", "a", "show", digits, "--json"]).ok().stdout, shown);
    assert_eq!(world.run(&["-C", "a", "show", "notes.txt", "--raw"]).ok().stdout, "three\n");
    let first = text(&log[2], "addr");
    assert_eq!(world.run(&["-C", "a", "show", first, "--raw"]).ok().stdout, "one\n");

    let graph = world.run(&["-C", "a", "graph", tip, "--json"]).ok().lines();
    let mut seen = std::collections::HashSet::new();
    for line in &graph {
        assert_eq!(keys(line), ["addr", "ibgib"]);
        let node = Verified::parse(&line.get("ibgib").unwrap().to_json()).unwrap();
        assert_eq!(node.addr().as_str(), text(line, "addr"));
        assert!(node.targets().iter().all(|t| seen.contains(t)), "dependencies come first");
        seen.insert(node.addr().clone());
    }
    assert_eq!(text(graph.last().unwrap(), "addr"), tip);
    let live = world.run(&["-C", "a", "graph", text(&log[3], "addr"), "--live", "--json"]).ok().lines();
    assert!(live.iter().any(|l| text(l, "addr") == tip), "a live graph goes on to the newest frame");
    let tips = world.run(&["-C", "a", "tips", "--json"]).ok().lines();
    assert_eq!(keys(&tips[0]), ["tjp", "tip", "n", "kind"]);
    let all = world.run(&["-C", "a", "tips", "--kind", "all", "--json"]).ok().lines();
    assert!(all.iter().any(|t| text(t, "kind") == "keystone"));
    assert_eq!(world.run(&["--space", "a/.ibgib/space", "tips", "--json"]).ok().lines(), tips);
}

#[test]
fn global_flags_stand_before_or_after_and_the_error_object_ends_stderr_either_way() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    world.write("a/notes.txt", "one\n");
    world.run(&["init", "-C", "b"]).ok();
    world.run(&["init", "c", "-C", "a"]).ok();
    assert!(world.path("b/.ibgib").is_dir() && world.path("c/.ibgib").is_dir());
    world.run(&["clone", "http://127.0.0.1:1", "d", "-C", "a", "--json"]).fails(8, "unreachable");
    let one = world.run(&["--json", "-C", "a", "snapshot"]).ok().stdout;
    assert_eq!(list(&world.run(&["status", "--json", "-C", "a/.", "-q"]).ok().json(), "changes"), Vec::<&str>::new());
    assert!(one.ends_with("}\n") && one.lines().count() == 1, "{one}");
    let mut command = world.command(&["log", "notes.txt"]);
    common::Done::from(command.env("IBGIB_DIR", "a").output().unwrap()).ok();
    // A flag goes before the environment.
    let mut command = world.command(&["-C", "a", "log", "notes.txt"]);
    common::Done::from(command.env("IBGIB_DIR", "nowhere").output().unwrap()).ok();
    for args in [
        &["-C", "a", "log", "nothing"][..],
        &["-C", "a", "show", "ABCDEF0123"],
        &["-C", "a", "show", "nothing", "--raw"],
        &["-C", "a", "diff", "nothing"],
        &["-C", "a", "restore", "nothing", "--at", "ABCDEF0123"],
        &["-C", "a", "resolve", "nothing", "--keep"],
        &["-C", "a", "graph", "x^ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789"],
        &["-C", "a/nowhere", "status"],
        &["status"],
    ] {
        for json in [&[][..], &["--json"], &["-q"]] {
            let done = world.run(&[args, json].concat()).expect(5);
            done.error();
            assert_eq!(done.stdout, "", "stdout is for results");
        }
    }
    for args in [
        &["--space", "a/.ibgib/space", "status"][..],
        &["--space", "a/.ibgib/space", "sync"],
        &["-C", "a", "show", "a^b^c"],
        &["-C", "a", "tips", "--kind", "odd"],
        &["-C", "a", "sync"],
        &["-C", "a", "--frobnicate"],
        &["-C", "a", "log", "../outside"],
    ] {
        for json in [&[][..], &["--json"]] {
            world.run(&[args, json].concat()).fails(2, "usage");
        }
    }
}

#[test]
fn a_bare_space_is_read_and_written_offline() {
    let world = World::new();
    let server = world.with_alice();
    let tips = world.tips("alice");
    assert_eq!(server.stop(), Some(0));
    let space = |args: &[&str]| world.run(&[&["--space", "server", "--json"], args].concat()).ok();
    assert_eq!(space(&["tips"]).stdout, tips, "byte for byte");
    let sorted: Vec<String> = space(&["tips"]).lines().iter().map(|t| text(t, "tjp").to_owned()).collect();
    assert!(sorted.is_sorted());
    let all = space(&["tips", "--kind", "all"]).lines().len();
    let kinds = ["living", "keystone", "saga"].map(|k| space(&["tips", "--kind", k]).lines().len());
    assert_eq!(kinds.iter().sum::<usize>(), all);
    assert!(kinds.iter().all(|n| *n > 0), "{kinds:?}");
    let file = sorted.iter().find(|t| t.starts_with("file^")).unwrap();
    let log = space(&["log", file]).lines();
    assert!(log.len() >= 2);
    let tip = text(&log[0], "addr");
    assert_eq!(space(&["show", &tip.split('^').nth(1).unwrap()[..8]]).stdout, space(&["show", tip]).stdout);
    assert!(space(&["graph", tip]).lines().len() > log.len());
    assert_eq!(keys(&space(&["fsck"]).json()), ["nodes", "timelines", "corrupt", "missing", "unreachable", "repaired"]);
    assert_eq!(space(&["conflicts"]).stdout, "");
    assert_eq!(keys(&space(&["export", "s.bundle"]).json())[..2], ["nodes", "timelines"]);
    assert_eq!(keys(&space(&["import", "s.bundle"]).json())[..2], ["nodes", "timelines"]);
    world.run(&["--space", "nothing", "tips"]).fails(5, "no_store");
    assert!(!world.path("nothing").exists());
}

#[test]
fn every_node_of_a_space_is_shown_as_hashed_and_every_file_as_it_was() {
    let world = World::new();
    let server = world.serve("server");
    let contents: [(&str, &[u8]); 7] = [
        ("plain.txt", b"one\ntwo\n"),
        ("empty", b""),
        ("no newline", b"x"),
        ("crlf.txt", b"\xef\xbb\xbfone\r\ntwo\r\n"),
        ("doc.json", b"{\n  \"b\": 1e2,\n  \"a\": [1, 2, {\"z\": null}]\n}\n"),
        ("bin", b"\0\xff\xfe\x01"),
        ("quote \"'^\\%.txt", "caf\u{e9} \u{1f600}\n".as_bytes()),
    ];
    fs::create_dir(world.path("a")).unwrap();
    for (name, bytes) in contents {
        fs::write(world.path("a").join(name), bytes).unwrap();
    }
    fs::write(world.path("a/large"), vec![b'x'; 3 << 20]).unwrap();
    world.run(&["init", "a", "--remote", &server.url]).ok();
    world.run(&["-C", "a", "sync"]).ok();
    for (name, bytes) in contents {
        let mut command = world.command(&["-C", "a", "show", &format!("./{name}"), "--raw"]);
        assert_eq!(command.output().unwrap().stdout, bytes, "{name}");
    }
    let mut command = world.command(&["-C", "a", "show", "large", "--raw"]);
    assert_eq!(command.output().unwrap().stdout, vec![b'x'; 3 << 20]);
    let mut addrs = std::collections::BTreeSet::new();
    for tip in world.run(&["-C", "a", "tips", "--kind", "all", "--json"]).ok().lines() {
        for line in world.run(&["-C", "a", "graph", text(&tip, "tip"), "--json"]).ok().lines() {
            addrs.insert(text(&line, "addr").to_owned());
        }
    }
    assert!(addrs.len() as u64 <= number(&world.fsck(&["-C", "a"]), &["nodes"]));
    let mut shown = String::new();
    for addr in &addrs {
        shown.push_str(&world.run(&["-C", "a", "show", addr, "--json"]).ok().stdout);
    }
    let verified = world.feed(&["verify"], shown.as_bytes()).ok().stdout;
    assert_eq!(verified, "ok\n".repeat(addrs.len()));
    let told: Vec<String> = world.feed(&["addr"], shown.as_bytes()).ok().stdout.lines().map(str::to_owned).collect();
    assert_eq!(told, addrs.into_iter().collect::<Vec<_>>());
}

#[test]
fn a_server_with_several_folders_is_cloned_by_name() {
    let world = World::new();
    let server = world.serve("server");
    world.run(&["clone", &server.url, "none"]).fails(5, "no_folder");
    assert!(!world.path("none").exists());
    let mut folders = Vec::new();
    for device in ["a", "b"] {
        world.write(&format!("{device}/{device}.txt"), "x\n");
        let made = world.run(&["init", device, "--remote", &server.url, "--json"]).ok().json();
        world.run(&["-C", device, "sync"]).ok();
        folders.push(text(&made, "folder").to_owned());
    }
    let refused = world.run(&["clone", &server.url, "c"]).fails(2, "usage");
    assert!(folders.iter().all(|f| refused.stderr.contains(f)), "{}", refused.stderr);
    assert!(!world.path("c").exists());
    world.run(&["clone", &server.url, "c", "--folder", &folders[1]]).ok();
    assert_eq!(files(&world.path("c")).into_keys().collect::<Vec<_>>(), ["b.txt"]);
    // Joining tracks what is there as part of the folder.
    world.write("d/own.txt", "own\n");
    world.run(&["init", "d", "--join", &folders[1], "--remote", &server.url]).ok();
    world.run(&["-C", "d", "sync"]).ok();
    assert_eq!(files(&world.path("d")).into_keys().collect::<Vec<_>>(), ["b.txt", "own.txt"]);
    world.run(&["clone", &server.url, "c"]).fails(2, "usage");
    world.run(&["clone", &server.url, "c", "--folder", &folders[1]]).fails(1, "exists");
    world.run(&["clone", &server.url, "a", "--folder", &folders[1]]).fails(1, "exists");
    world.write("full/x", "x");
    world.run(&["clone", &server.url, "full", "--folder", &folders[1]]).fails(1, "not_empty");
    world.run(&["clone", "http://127.0.0.1:1", "e"]).fails(8, "unreachable");
    assert!(!world.path("e").exists());
    assert_eq!(server.stop(), Some(0));

    // A server that lets nobody in until he is on its list does not tell its folders either.
    world.write("allow", "# nobody yet\n");
    let allow = ["serve", "--space", "server", "--policy", "allow", "--allow", "allow", "--listen", "127.0.0.1:0"];
    let server = Server::start(&world, &allow);
    world.run(&["clone", &server.url, "late"]).fails(7, "identity_not_allowed");
    let late = world.run(&["-C", "late", "identity", "show", "--json"]).ok().json();
    world.write("allow", text(&late, "identity"));
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&world, &allow);
    let which = world.run(&["-C", "late", "sync", &server.url]).fails(2, "usage");
    assert!(folders.iter().all(|f| which.stderr.contains(f)), "{}", which.stderr);
    world.run(&["-C", "late", "sync", "--folder", text(&late, "identity")]).fails(5, "not_found");
    world.run(&["-C", "late", "sync", "--folder", &folders[0]]).ok();
    assert_eq!(files(&world.path("late")).into_keys().collect::<Vec<_>>(), ["a.txt"]);
}

#[test]
fn an_identity_is_shown_replaced_and_revoked() {
    let world = World::new();
    let server = world.with_alice();
    let run = |args: &[&str]| world.run(&[&["-C", "alice", "--json", "identity"], args].concat());
    let first = run(&["show"]).ok().json();
    let pools = first.get("pools").unwrap().as_array().unwrap();
    let verbs: Vec<&str> = pools.iter().flat_map(|p| list(p, "verbs")).collect();
    assert_eq!(verbs, ["sync", "manage", "revoke", "recover"]);
    assert!(number(&first, &["n"]) > 0 && number(&pools[0], &["used"]) > 0);
    let second = run(&["new"]).ok().json();
    assert_eq!(keys(&second), ["identity", "tip", "n", "revoked", "strategy", "recovery", "pools"]);
    assert_ne!(text(&first, "identity"), text(&second, "identity"));
    assert_eq!(number(&second, &["n"]), 0);
    world.run(&["-C", "alice", "sync"]).ok();
    let revoked = run(&["revoke", "--yes", "--reason", "lost"]).ok().json();
    assert_eq!(keys(&revoked), ["identity", "tip", "n", "revoked", "strategy", "recovery", "pools"]);
    assert_eq!(revoked.get("revoked"), Some(&Value::Bool(true)));
    assert_eq!(text(&revoked, "identity"), text(&second, "identity"));
    run(&["revoke"]).ok();
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_revoked");
    assert_eq!(server.stop(), Some(0));
    let shown = world.run(&["--space", "server", "show", text(&revoked, "tip")]).ok().stdout;
    assert!(shown.contains("revocationInfo"), "the server knows");
    // Not reachable: it is revoked here, and told later.
    run(&["new"]).ok();
    run(&["revoke"]).fails(1, "confirmation_needed");
    assert_eq!(run(&["show"]).ok().json().get("revoked"), Some(&Value::Bool(false)));
    run(&["revoke", "--yes"]).fails(8, "unreachable");
    assert_eq!(run(&["show"]).ok().json().get("revoked"), Some(&Value::Bool(true)));
}

#[test]
fn differences_between_frames_are_told_and_undo_goes_back_step_by_step() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    for round in ["one\n", "one\ntwo\n", "one\ntwo\nthree\n"] {
        world.write("a/notes.txt", round);
        world.run(&["-C", "a", "snapshot"]).ok();
    }
    let log = world.run(&["-C", "a", "log", "notes.txt", "--json"]).ok().lines();
    let (third, first) = (text(&log[0], "addr"), text(&log[2], "addr"));
    let told = world.run(&["-C", "a", "diff", "notes.txt", first, third]).ok().stdout;
    assert!(told.contains("+two\n+three\n") && !told.contains("-one"), "{told}");
    let back = world.run(&["-C", "a", "diff", "notes.txt", third, first, "--json"]).ok().json();
    let file = &back.get("files").unwrap().as_array().unwrap()[0];
    assert!(text(file, "diff").contains("-two\n-three\n"), "{back}");
    assert_eq!(world.run(&["-C", "a", "diff"]).ok().stdout, "");
    let undone = world.run(&["-C", "a", "undo", "--json"]).ok().json();
    assert_eq!(list(&undone, "changed"), ["notes.txt"]);
    assert_eq!(world.read("a/notes.txt"), "one\ntwo\n");
    world.run(&["-C", "a", "undo"]).ok();
    assert_eq!(world.read("a/notes.txt"), "one\n");
    assert_eq!(world.run(&["-C", "a", "log", "notes.txt", "--json"]).ok().lines().len(), log.len() + 2);
    world.run(&["-C", "a", "checkout", "notes.txt", "--at", third]).ok();
    assert_eq!(world.read("a/notes.txt"), "one\ntwo\nthree\n");
    world.run(&["-C", "a", "checkout", "--at", "ABCDEF0123", "notes.txt"]).fails(5, "not_found");
    world.write("a/other.txt", "x\n");
    world.run(&["-C", "a", "snapshot"]).ok();
    world.run(&["-C", "a", "restore", "other.txt", "--at", third]).fails(2, "usage");
}

#[test]
fn earlier_contents_come_back_as_new_frames_and_unsaved_work_is_never_overwritten() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    world.write("a/notes.txt", "one\n");
    world.run(&["-C", "a", "snapshot"]).ok();
    let first = text(&world.run(&["-C", "a", "log", "notes.txt", "--json"]).ok().lines()[0], "addr").to_owned();
    world.write("a/notes.txt", "two\n");
    world.run(&["-C", "a", "snapshot"]).ok();
    world.write("a/notes.txt", "unsaved\n");
    for command in [&["checkout"][..], &["restore", "notes.txt", "--at", &first], &["undo"]] {
        world.run(&[&["-C", "a"], command].concat()).fails(1, "unsaved");
        assert_eq!(world.read("a/notes.txt"), "unsaved\n");
    }
    let diff = world.run(&["-C", "a", "diff"]).ok().stdout;
    assert!(diff.contains("-two") && diff.contains("+unsaved"), "{diff}");
    world.run(&["-C", "a", "checkout", "--force"]).ok();
    assert_eq!(world.read("a/notes.txt"), "two\n");
    world.run(&["-C", "a", "restore", "notes.txt", "--at", &first]).ok();
    assert_eq!(world.read("a/notes.txt"), "one\n");
    assert_eq!(world.run(&["-C", "a", "log", "notes.txt", "--json"]).ok().lines().len(), 4);
    world.run(&["-C", "a", "undo"]).ok();
    world.run(&["-C", "a", "checkout", "notes.txt", "--at", &first]).ok();
    assert_eq!(world.read("a/notes.txt"), "one\n");
}

#[test]
fn conflicts_are_listed_shown_and_settled() {
    let world = World::new();
    let server = world.with_alice();
    world.run(&["clone", &server.url, "bob"]).ok();
    world.write("alice/notes.txt", "one\n\nALICE\n\nthree\n");
    world.write("bob/notes.txt", "one\n\nBOB\n\nthree\n");
    world.run(&["-C", "alice", "sync"]).ok();
    let done = world.run(&["-C", "bob", "sync", "--json"]).expect(3).json();
    assert_eq!(number(&done, &["conflicts"]), 1);
    world.run(&["-C", "alice", "sync"]).expect(3);
    let merged = world.read("alice/notes.txt");
    assert!(merged.contains("ALICE") && merged.contains("BOB"), "{merged}");
    let conflicts = world.run(&["-C", "alice", "conflicts", "--json"]).ok().lines();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(keys(&conflicts[0])[..6], ["timeline", "frame", "path", "ancestor", "base", "orphan"]);
    let sides = [text(&conflicts[0], "base"), text(&conflicts[0], "orphan")];
    let readable = world.run(&["-C", "alice", "conflicts"]).ok().stdout;
    assert!(readable.contains("notes.txt") && readable.contains("+ALICE") && readable.contains("+BOB"), "{readable}");
    world.run(&["-C", "alice", "resolve", "notes.txt"]).fails(2, "usage");
    world.run(&["-C", "alice", "resolve", "notes.txt", "--orphan"]).ok();
    let settled = world.read("alice/notes.txt");
    assert_eq!(settled, format!("one\n\n{}\n\nthree\n", sides[1]));
    assert_eq!(world.run(&["-C", "alice", "conflicts", "--json"]).ok().stdout, "");
    world.run(&["-C", "alice", "resolve", "notes.txt", "--keep"]).fails(5, "no_conflict");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(world.read("bob/notes.txt"), settled);
    assert_eq!(world.run(&["-C", "bob", "conflicts", "--json"]).ok().stdout, "");
}

#[test]
fn lines_on_stdin_are_answered_one_by_one_and_bad_ones_in_their_place() {
    let world = World::new();
    let input = b"{\"ib\":\"x\",\"data\":{\"a\":1}}\n{bad\n\n{\"ib\":\"y\",\"data\":{\"a\":2}}\n\xff\xfe\n";
    let done = world.feed(&["addr", "--json"], input).expect(4);
    let lines = done.lines();
    assert_eq!(lines.len(), 5, "one line out for each line in, also for a blank one");
    assert!(text(&lines[0], "addr").starts_with("x^") && text(&lines[3], "addr").starts_with("y^"));
    for bad in [&lines[1], &lines[2], &lines[4]] {
        assert_eq!(keys(bad.get("error").unwrap()), ["code", "message"]);
    }
    let done =
        world.feed(&["verify"], format!("{{\"ib\":\"x\",\"gib\":\"{}\"}}\n", "A".repeat(64)).as_bytes()).expect(4);
    assert!(done.stdout.starts_with("bad "), "{}", done.stdout);
    let done = world.feed(&["verify", "--json"], b"{\"ib\":\"x\",\"gib\":\"gib\"}\n").ok();
    assert_eq!(done.stdout, "{\"valid\":true,\"errors\":[]}\n");
    for mode in [&["addr"][..], &["addr", "--compat"]] {
        assert_eq!(world.feed(mode, b"{\"ib\":\"x\",\"gib\":\"gib\"}\n").ok().stdout, "x^gib\n", "a primitive");
    }
}

#[test]
fn put_is_all_or_nothing_and_transform_moves_the_tip_of_a_known_timeline() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let fork = r#"{"op":"fork","opts":{"src":{"ib":"note","gib":"gib"},"destIb":"note","tjp":{"uuid":true,"timestamp":true},"dna":true,"nCounter":true,"linkedRel8ns":["past","dna"]}}"#;
    let made = world.feed(&["-C", "a", "transform", "--json"], fork.as_bytes()).ok().json();
    let first = made.get("newIbGib").unwrap().to_json();
    let change = format!(
        r#"{{"op":"mut8","opts":{{"src":{first},"dataToAddOrPatch":{{"text":"hello"}},"dna":true,"linkedRel8ns":["past","dna"]}},"stub":{{"nowMs":1767225600123,"randomBytes":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}}}}"#
    );
    let unstored = world.feed(&["transform", "--no-store", "--json"], change.as_bytes()).ok().json();
    let made = world.feed(&["-C", "a", "transform", "--json"], change.as_bytes()).ok().json();
    assert_eq!(made, unstored, "clock and entropy come from the stub");
    let next = made.get("newIbGib").unwrap().to_json();
    let tip = Verified::parse(&next).unwrap().addr().to_string();
    assert!(world.tips("a").contains(&tip));
    world.feed(&["-C", "a", "transform"], b"{\"op\":\"mut8\"}\n").expect(4);

    world.run(&["init", "b"]).ok();
    let loose = "{\"ib\":\"c\",\"gib\":\"gib\"}\n";
    let bad = format!("{next}\n{loose}");
    world.feed(&["-C", "b", "put"], bad.as_bytes()).fails(4, "missing");
    world.run(&["-C", "b", "show", &tip]).fails(5, "not_found");
    let whole = world.run(&["-C", "a", "graph", &tip, "--json"]).ok().lines();
    let nodes: Vec<String> = whole.iter().map(|l| l.get("ibgib").unwrap().to_json()).collect();
    let done = world.feed(&["-C", "b", "put", "--json"], (nodes.join("\n") + "\n").as_bytes()).ok().lines();
    assert_eq!(done.len(), nodes.len());
    assert!(world.tips("b").contains(&tip));
    let damaged = next.replace("hello", "hallo");
    world.feed(&["-C", "b", "put"], damaged.as_bytes()).fails(4, "wrong_gib");
}

#[test]
fn bundles_carry_everything_and_damaged_ones_nothing() {
    let world = World::new();
    let server = world.with_alice();
    assert_eq!(server.stop(), Some(0));
    let out = world.run(&["-C", "alice", "export", "all.bundle", "--json"]).ok().json();
    assert!(number(&out, &["nodes"]) > 0 && number(&out, &["timelines"]) > 0);
    world.run(&["init", "b"]).ok();
    let tips = world.tips("b");
    let bundle = fs::read(world.path("all.bundle")).unwrap();
    fs::write(world.path("cut.bundle"), &bundle[..bundle.len() - 40]).unwrap();
    world.run(&["-C", "b", "import", "cut.bundle"]).fails(4, "damaged_bundle");
    let mut flipped = bundle.clone();
    flipped[bundle.len() / 2] ^= 1;
    fs::write(world.path("flipped.bundle"), &flipped).unwrap();
    world.run(&["-C", "b", "import", "flipped.bundle"]).fails(4, "damaged_bundle");
    world.run(&["-C", "b", "import", "all.bundle", "--dry-run"]).ok();
    assert_eq!(world.tips("b"), tips);
    let into = world.run(&["-C", "b", "import", "all.bundle", "--json"]).ok().json();
    assert_eq!(number(&into, &["nodes"]), number(&out, &["nodes"]));
    for line in world.tips("alice").lines() {
        assert!(world.tips("b").contains(line));
    }
    world.fsck(&["-C", "b"]);
    let piped = world.run(&["-C", "alice", "export", "-"]).ok().stdout;
    world.run(&["init", "c"]).ok();
    world.feed(&["-C", "c", "import", "-"], piped.as_bytes()).ok();
    world.run(&["-C", "c", "import", "nothing.bundle"]).fails(5, "not_found");
    let nowhere = format!("x^{}", "A".repeat(64));
    world.run(&["-C", "c", "export", "some.bundle", &nowhere]).fails(5, "not_found");
    assert!(!world.path("some.bundle").exists());
}

#[test]
fn keystone_frames_validate_in_order_and_for_what_they_claim() {
    let world = World::new();
    let _server = world.with_alice();
    let identity = world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json();
    assert_eq!(keys(&identity), ["identity", "tip", "n", "revoked", "strategy", "recovery", "pools"]);
    for pool in identity.get("pools").unwrap().as_array().unwrap() {
        assert_eq!(keys(pool), ["id", "verbs", "left", "used"]);
    }
    for (name, addr) in [("prev.json", text(&identity, "identity")), ("next.json", text(&identity, "tip"))] {
        world.write(name, &world.run(&["-C", "alice", "show", addr, "--json"]).ok().stdout);
    }
    let done = world.run(&["keystone", "validate", "prev.json", "next.json", "--verb", "sync", "--json"]).ok();
    assert_eq!(done.stdout, "{\"valid\":true,\"errors\":[]}\n");
    // The original knows no strategy that binds.
    world.run(&["keystone", "validate", "prev.json", "next.json", "--compat"]).expect(4);
    let done = world.run(&["keystone", "validate", "prev.json", "next.json", "--verb", "manage", "--json"]);
    let done = done.fails(4, "claim_unexpected").json();
    assert_eq!(done.get("valid"), Some(&Value::Bool(false)));
    world.run(&["keystone", "validate", "next.json", "prev.json"]).fails(4, "n");
    let piped = world.read("next.json");
    world.feed(&["keystone", "validate", "prev.json", "-"], piped.as_bytes()).ok();
    world.run(&["keystone", "validate", "prev.json", "nothing.json"]).fails(5, "not_found");
}

#[test]
fn secrets_come_from_where_they_are_told_and_are_never_copied() {
    let world = World::new();
    let server = world.serve("server");
    world.write("passphrase", "correct horse battery staple\n");
    world.write("a/notes.txt", "one\n");
    world.run(&["init", "a", "--secret-file", "passphrase", "--remote", &server.url]).ok();
    assert!(!world.path("a/.ibgib/secret").exists());
    assert!(!world.read("a/.ibgib/config.toml").contains("horse"));
    world.run(&["-C", "a", "sync"]).fails(7, "identity_secret");
    world.run(&["-C", "a", "sync", "--secret-file", "passphrase"]).ok();
    world.feed(&["-C", "a", "sync", "--secret-file", "-"], b"correct horse battery staple").ok();
    let mut command = world.command(&["-C", "a", "sync"]);
    common::Done::from(command.env("IBGIB_SECRET_COMMAND", "cat passphrase").output().unwrap()).ok();
    let mut command = world.command(&["-C", "a", "sync"]);
    common::Done::from(command.env("IBGIB_SECRET_FILE", "passphrase").output().unwrap()).ok();
    world.write("wrong", "another one\n");
    world.write("a/notes.txt", "two\n");
    // A flag goes before the environment, a file before a command.
    let mut command = world.command(&["-C", "a", "sync", "--secret-file", "passphrase"]);
    common::Done::from(command.env("IBGIB_SECRET_FILE", "wrong").output().unwrap()).ok();
    world.write("a/notes.txt", "three\n");
    let mut command = world.command(&["-C", "a", "sync"]);
    command.env("IBGIB_SECRET_COMMAND", "cat passphrase").env("IBGIB_SECRET_FILE", "wrong");
    common::Done::from(command.output().unwrap()).fails(7, "identity_wrong_secret");
    let mut command = world.command(&["-C", "a", "sync"]);
    command.env("IBGIB_SECRET_COMMAND", "cat wrong").env("IBGIB_SECRET_FILE", "passphrase");
    common::Done::from(command.output().unwrap()).ok();
    world.write("a/notes.txt", "four\n");
    // 64 hex digits are the bytes themselves, in whichever case; nothing is stored of them.
    let digits = "0123456789abcdef".repeat(4);
    for (device, text) in [("hex", format!("{digits}\n")), ("upper", digits.to_uppercase())] {
        world.feed(&["init", device, "--secret-file", "-", "--remote", &server.url], text.as_bytes()).ok();
        assert!(!world.path(device).join(".ibgib/secret").exists());
        assert!(!world.read(&format!("{device}/.ibgib/config.toml")).contains("salt"), "no passphrase to derive from");
        world.feed(&["-C", device, "sync", "--secret-file", "-"], digits.as_bytes()).ok();
    }
    // A secret that cannot be had leaves no device behind.
    world.run(&["init", "none", "--secret-file", "nothing"]).fails(7, "identity_secret");
    let mut command = world.command(&["init", "none"]);
    common::Done::from(command.env("IBGIB_SECRET_COMMAND", "exit 3").output().unwrap()).fails(7, "identity_secret");
    assert!(!world.path("none").exists());
    world.run(&["-C", "a", "sync", "--secret-file", "wrong"]).fails(7, "identity_wrong_secret");
    world.run(&["-C", "a", "sync", "--secret-file", "passphrase"]).ok();
}

#[test]
fn settings_come_from_the_nearest_layer() {
    let world = World::new();
    world.run(&["init", "a", "--remote", "http://127.0.0.1:1"]).ok();
    world.write("xdg/ibgib/config.toml", "remote = \"http://127.0.0.1:2\"\n");
    let origin = |args: &[&str]| world.run(&[args, &["config", "show", "--origin", "--json"]].concat()).ok().json();
    let remote = |told: &Value| {
        let remote = told.get("remote").unwrap();
        (text(remote, "value").to_owned(), text(remote, "origin").to_owned())
    };
    assert!(remote(&origin(&["-C", "a"])).1.ends_with(".ibgib/config.toml"));
    assert_eq!(remote(&origin(&[])).0, "http://127.0.0.1:2");
    let mut command = world.command(&["config", "show", "--origin", "--json"]);
    let done = common::Done::from(command.env("IBGIB_DIR", "a").env("IBGIB_REMOTE", "http://x:3").output().unwrap());
    assert_eq!(remote(&done.ok().json()).1, "environment IBGIB_REMOTE");
    world.run(&["-C", "a", "sync"]).fails(8, "unreachable");
    // What is said on the command line goes before the environment, here too.
    let logged = |args: &[&str], level: &str| {
        let mut command = world.command(&[&["-C", "a", "sync"], args].concat());
        let done = common::Done::from(command.env("IBGIB_LOG", level).output().unwrap());
        // All but the error.
        done.fails(8, "unreachable").stderr.lines().count() - 1
    };
    assert_eq!(logged(&["-q"], "trace"), 0);
    assert!(logged(&["-vv"], "error") > 0);

    world.write("a/.ibgib/config.toml", "remote = [\n");
    world.run(&["-C", "a", "status"]).fails(1, "bad_config");
}

#[test]
fn the_first_server_named_is_remembered_while_it_is_away_and_a_good_one_is_not_given_up_for_that() {
    let world = World::new();
    world.run(&["init", "fresh"]).ok();
    for (url, exit, code, kept) in [
        ("ftp://x.invalid", 2, "url", None),
        ("http://127.0.0.1:4", 8, "unreachable", Some("http://127.0.0.1:4")),
        ("ftp://x.invalid", 2, "url", Some("http://127.0.0.1:4")),
        ("http://127.0.0.1:5", 8, "unreachable", Some("http://127.0.0.1:4")),
    ] {
        world.run(&["-C", "fresh", "sync", url]).fails(exit, code);
        let told = world.run(&["-C", "fresh", "status", "--json"]).ok().json();
        assert_eq!(told.get("remote").and_then(Value::as_str), kept, "{url}");
    }
}

#[test]
fn every_command_explains_itself_and_shells_get_completions() {
    let world = World::new();
    let help = world.run(&["--help"]).ok().stdout;
    let commands = help.lines().skip_while(|l| !l.starts_with("Commands:")).skip(1);
    let commands: Vec<&str> =
        commands.take_while(|l| !l.is_empty()).filter_map(|l| l.split_whitespace().next()).collect();
    assert!(commands.len() >= 28, "{commands:?}");
    for command in ["init", "sync", "serve", "demo", "transform"] {
        assert!(commands.contains(&command));
        world.run(&[command, "--help"]).ok();
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.run(&["completions", shell]).ok().stdout.contains("snapshot"));
    }
    world.run(&[]).fails(2, "usage");
    world.run(&["frobnicate"]).fails(2, "usage");
}

#[test]
fn the_demo_ends_equal_and_leaves_nothing() {
    let world = World::new();
    fs::create_dir(world.path("tmp")).unwrap();
    let mut command = world.command(&["demo"]);
    let done = common::Done::from(command.env("TMPDIR", world.path("tmp")).output().unwrap()).ok();
    assert_eq!(done.stdout, "equal: yes\n");
    assert_eq!(fs::read_dir(world.path("tmp")).unwrap().count(), 0);
    world.write("mine/a.txt", "a\nb\nc\nd\ne\nf\n");
    world.write("mine/b.json", "{\"a\":1}");
    let before = files(&world.path("mine"));
    let done = world.run(&["demo", "--folder", "mine", "--json"]).ok().json();
    assert_eq!(done.get("equal"), Some(&Value::Bool(true)));
    assert_eq!(files(&world.path("mine")), before);
    world.run(&["demo", "--folder", "nothing"]).fails(5, "not_found");
}

#[test]
fn an_interrupted_demo_takes_its_processes_and_files_along() {
    for name in ["-INT", "-TERM"] {
        let world = World::new();
        let tmp = world.path("tmp");
        fs::create_dir(&tmp).unwrap();
        // Processes that work below the demo's directory.
        let working = || {
            let all = fs::read_dir("/proc").unwrap().filter_map(|e| fs::read_link(e.unwrap().path().join("cwd")).ok());
            all.filter(|cwd| cwd.starts_with(&tmp)).count()
        };
        let mut command = world.command(&["demo"]);
        command.env("TMPDIR", &tmp).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        while working() == 0 {
            assert!(child.try_wait().unwrap().is_none());
        }
        let kill = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        common::Done::from(child.wait_with_output().unwrap()).fails(130, "interrupted");
        assert_eq!(working(), 0);
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    }
}
