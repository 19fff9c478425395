//! What goes wrong ends in a typed error with the contract's exit code, and nothing is half applied.

mod common;

use common::{Done, LOG, Random, Server, World, damage, files, number, text, times};
use ibgib_spaces::durable;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn garbage_wrong_hashes_missing_nodes_and_too_deep_values_store_nothing() {
    let world = World::new();
    world.run(&["init", "a"]).ok();
    let before = world.fsck(&["-C", "a"]);
    let deep = format!("{{\"ib\":\"x\",\"data\":{{\"a\":{}{}}}}}\n", "[".repeat(5000), "]".repeat(5000));
    let wrong = format!("{{\"ib\":\"x\",\"gib\":\"{}\",\"data\":{{\"a\":1}}}}\n", "A".repeat(64));
    let gone = "B".repeat(64);
    let dangling = format!("{{\"ib\":\"x\",\"data\":{{\"a\":1}},\"rel8ns\":{{\"to\":[\"y^{gone}\"]}}}}\n");
    let addr = world.feed(&["addr"], dangling.as_bytes()).ok().stdout;
    let gib = addr.trim().split('^').nth(1).unwrap().to_owned();
    let dangling = dangling.replace("\"ib\":\"x\",", &format!("\"ib\":\"x\",\"gib\":\"{gib}\","));
    for (input, code) in [
        ("{\"ib\":\"x\",", "json"),
        ("not json at all\n", "json"),
        ("[1,2,3]\n", "shape"),
        (&deep, "json"),
        (&wrong, "wrong_gib"),
        (&dangling, "missing"),
        ("{\"ib\":\"x\",\"gib\":\"gib\",\"data\":{\"a\":1}}\n", "primitive_content"),
        ("{\"ib\":\"x\",\"ib\":\"y\"}\n", "json"),
    ] {
        let done = world.feed(&["-C", "a", "put"], input.as_bytes()).expect(4);
        assert_eq!(text(&done.error(), "code"), code, "{}", &input[..input.len().min(80)]);
    }
    assert_eq!(world.fsck(&["-C", "a"]), before);
}

#[test]
fn an_allow_list_decides_and_a_refused_clone_can_be_finished_later() {
    let world = World::new();
    let first = world.with_alice();
    assert_eq!(first.stop(), Some(0));
    let alice = world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json();
    world.write("allow", &format!("# who may sync\n{} # alice\n", text(&alice, "identity")));
    let args = ["serve", "--space", "server", "--policy", "allow", "--allow", "allow", "--listen", "127.0.0.1:0"];
    let server = Server::start(&world, &args);
    world.run(&["-C", "alice", "sync", &server.url]).ok();

    let refused = world.run(&["clone", &server.url, "bob"]).fails(7, "identity_not_allowed");
    let bob = world.run(&["-C", "bob", "identity", "show", "--json"]).ok().json();
    assert!(refused.stderr.contains(text(&bob, "identity")), "{}", refused.stderr);
    assert_eq!(files(&world.path("bob")).len(), 0);
    let allowed = world.read("allow") + text(&bob, "identity") + "\n";
    world.write("allow", &allowed);
    server.signal("-HUP");
    // The list is read by another process, so it may take a moment.
    let mut tries = 0;
    while world.run(&["-C", "bob", "sync"]).code != Some(0) {
        tries += 1;
        assert!(tries < 100, "the allow-list was never read again");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(files(&world.path("bob")), files(&world.path("alice")));
    world.write("allow", "nonsense\n");
    world.run(&["serve", "--space", "s", "--policy", "allow", "--allow", "allow"]).fails(2, "usage");
    world.run(&["serve", "--space", "s", "--policy", "allow", "--allow", "nothing"]).fails(5, "not_found");
}

#[test]
fn a_revoked_identity_is_refused_and_a_new_one_goes_on() {
    let world = World::new();
    let server = world.with_alice();
    copy(&world.path("alice"), &world.path("copy"));
    let revoked = world.run(&["-C", "alice", "identity", "revoke", "--yes", "--json"]).ok().json();
    assert_eq!(revoked.get("revoked"), Some(&true.into()));
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_revoked");
    // A thief's copy learns it from the server.
    world.write("copy/notes.txt", "stolen\n");
    world.run(&["-C", "copy", "sync"]).fails(7, "identity_revoked");
    world.run(&["-C", "alice", "identity", "new"]).ok();
    world.write("alice/notes.txt", "on we go\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    assert_eq!(world.read("bob/notes.txt"), "on we go\n");
}

#[test]
fn a_copied_device_that_signs_on_the_same_frame_is_found_out_and_both_branches_are_evidence() {
    let world = World::new();
    let server = world.with_alice();
    let other = world.serve("other");
    copy(&world.path("alice"), &world.path("copy"));
    world.write("alice/notes.txt", "alice\n");
    world.write("copy/notes.txt", "copy\n");
    // Both sign on one frame, each for a server that the other has not asked.
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "copy", "sync", &other.url]).ok();
    let tips = ["alice", "copy"].map(|device| {
        let shown = world.run(&["-C", device, "identity", "show", "--json"]).ok().json();
        assert_eq!(shown.get("evidence"), None, "nothing is known yet");
        text(&shown, "tip").to_owned()
    });
    // The later is refused, each time it comes.
    for _ in 0..2 {
        world.run(&["-C", "copy", "sync", &server.url]).fails(7, "identity_forked");
    }
    let shown = world.run(&["-C", "copy", "identity", "show", "--json"]).ok().json();
    let evidence = shown.get("evidence").unwrap().as_array().unwrap();
    let mut frames: Vec<&str> = evidence.iter().map(|e| text(e, "frame")).collect();
    frames.sort_unstable();
    let mut both: Vec<&str> = tips.iter().map(String::as_str).collect();
    both.sort_unstable();
    assert_eq!(frames, both, "both branches");
    assert_eq!(text(&evidence[0], "past"), text(&evidence[1], "past"));
    // Whoever has the evidence can check it: each follows the same frame by the rules.
    world.write("past.json", &world.run(&["-C", "copy", "show", text(&evidence[0], "past"), "--json"]).ok().stdout);
    for (i, one) in evidence.iter().enumerate() {
        world.write(&format!("{i}.json"), &one.get("ibgib").unwrap().to_json());
        world.run(&["keystone", "validate", "past.json", &format!("{i}.json"), "--verb", "sync"]).ok();
    }
    assert!(world.run(&["-C", "copy", "identity", "show"]).ok().stdout.contains("FORKED"));
    // The server has both, too, says so in its log, and lets neither in again.
    let log = world.read("server.log");
    assert!(log.contains("signed two frames on one past") && both.iter().all(|f| log.contains(f)), "{log}");
    let refused = world.run(&["-C", "alice", "sync"]).fails(7, "identity_forked");
    assert!(both.iter().all(|f| refused.stderr.contains(f)), "{}", refused.stderr);

    // Nothing of the refused edit came through, and new identities go on.
    world.run(&["clone", &server.url, "bob"]).ok();
    assert_eq!(world.read("bob/notes.txt"), "alice\n");
    for device in ["alice", "copy"] {
        world.run(&["-C", device, "identity", "new"]).ok();
    }
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "copy", "sync"]).expect(3);
    // The conflict is new on this device, too.
    world.run(&["-C", "bob", "sync"]).expect(3);
    let merged = world.read("bob/notes.txt");
    assert!(merged.contains("copy") && merged.contains("alice"), "{merged}");
    for store in [["-C", "alice"], ["-C", "copy"]] {
        world.fsck(&store);
    }
}

#[test]
fn a_restored_backup_catches_up_with_what_its_identity_signed_since() {
    let world = World::new();
    let _server = world.with_alice();
    copy(&world.path("alice"), &world.path("backup"));
    for round in ["two\n", "three\n"] {
        world.write("alice/notes.txt", round);
        world.run(&["-C", "alice", "sync"]).ok();
    }
    fs::remove_dir_all(world.path("alice")).unwrap();
    fs::rename(world.path("backup"), world.path("alice")).unwrap();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(world.read("alice/notes.txt"), "three\n");
    world.fsck(&["-C", "alice"]);
}

#[test]
fn a_device_syncs_with_a_second_server_after_several_times_with_the_first() {
    let world = World::new();
    let a = world.with_alice();
    for round in 0..3 {
        world.write("alice/notes.txt", &format!("round {round}\n"));
        world.run(&["-C", "alice", "sync", &a.url]).ok();
    }
    let b = world.serve("second");
    let pushed = world.run(&["-C", "alice", "sync", &b.url, "--json"]).ok().json();
    assert!(number(&pushed, &["nodes", "sent"]) > 0);
    world.run(&["clone", &b.url, "bob"]).ok();
    world.write("bob/notes.txt", "by bob, over the second server\n");
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync", &b.url]).ok();
    world.run(&["-C", "alice", "sync", &a.url]).ok();
    assert_eq!(world.read("alice/notes.txt"), "by bob, over the second server\n");
    let tips = world.tips("alice");
    for (server, space) in [(a, "server"), (b, "second")] {
        assert_eq!(server.stop(), Some(0));
        assert_eq!(world.run(&["--space", space, "tips", "--json"]).ok().stdout, tips);
        world.fsck(&["--space", space]);
    }
}

#[test]
fn the_same_store_is_not_opened_twice() {
    let world = World::new();
    let _server = world.with_alice();
    let lock = fs::File::open(world.path("alice/.ibgib/lock")).unwrap();
    lock.lock().unwrap();
    // Who only reads needs nobody's leave; the others wait a little before they give up.
    assert_eq!(world.run(&["--space", "server", "tips"]).ok().stdout, world.run(&["-C", "alice", "tips"]).ok().stdout);
    for args in [&["status"][..], &["conflicts"], &["diff"], &["log", "notes.txt"], &["show", "notes.txt", "--raw"]] {
        world.run(&[&["-C", "alice"], args].concat()).ok();
    }
    let start = |args: &[&str]| {
        let mut command = world.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let waiting = [
        start(&["-C", "alice", "snapshot"]),
        start(&["-C", "alice", "sync"]),
        start(&["-C", "alice", "fsck"]),
        start(&["--space", "server", "fsck"]),
    ];
    for command in waiting {
        Done::from(command.wait_with_output().unwrap()).fails(6, "locked");
    }
    let waiting = start(&["-C", "alice", "snapshot"]);
    drop(lock);
    Done::from(waiting.wait_with_output().unwrap()).ok();
}

#[test]
fn a_taken_port_and_a_far_address_are_told_apart() {
    let world = World::new();
    let server = world.serve("server");
    let listen = format!("127.0.0.1:{}", server.port());
    let args = ["serve", "--space", "second", "--policy", "open", "--listen"];
    world.run(&[&args[..], &[&listen]].concat()).fails(1, "port_in_use");
    world.run(&[&args[..], &["0.0.0.0:0"]].concat()).fails(2, "plain_text");
    let open = Server::start(&world, &[&args[..], &["0.0.0.0:0", "--allow-plain-text"]].concat());
    assert_eq!(open.stop(), Some(0));
}

#[test]
fn a_damaged_store_is_told_and_never_believed() {
    let world = World::new();
    let server = world.with_alice();
    assert_eq!(server.stop(), Some(0));
    let store = world.path("alice/.ibgib/space").join(LOG);
    let whole = fs::read(&store).unwrap();
    copy(&world.path("alice"), &world.path("kept"));
    for cut in [0, 100, whole.len() / 2] {
        fs::write(&store, &whole[..cut]).unwrap();
        world.run(&["-C", "alice", "fsck"]).expect(4).error();
    }
    let mut random = Random::new();
    for _ in 0..times("IBGIB_DAMAGES", 20) {
        let mut damaged = whole.clone();
        for _ in 0..200 {
            let at = random.below(damaged.len());
            damaged[at] ^= 0x55;
        }
        fs::write(&store, &damaged).unwrap();
        let done = world.run(&["-C", "alice", "fsck", "--json"]);
        assert!(matches!(done.code, Some(0 | 4)), "{:?} {}", done.code, done.stderr);
        let done = world.run(&["-C", "alice", "log", "notes.txt"]);
        assert!(matches!(done.code, Some(0 | 4 | 5)), "{:?} {}", done.code, done.stderr);
    }
    fs::write(&store, "this is no store").unwrap();
    world.run(&["-C", "alice", "tips"]).expect(4).error();
    // What damage let open was written to: its index knows more than the log of before.
    fs::remove_dir_all(world.path("alice")).unwrap();
    copy(&world.path("kept"), &world.path("alice"));
    world.fsck(&["-C", "alice"]);
    world.run(&["--space", "nothing", "tips"]).fails(5, "no_store");
}

#[test]
fn a_lost_node_and_a_changed_one_are_named() {
    let world = World::new();
    let server = world.with_alice();
    for round in ["two\n", "three\n"] {
        world.write("alice/notes.txt", round);
        world.run(&["-C", "alice", "sync"]).ok();
    }
    let log = world.run(&["-C", "alice", "log", "notes.txt", "--json"]).ok().lines();
    let [tip, middle] = [0, 1].map(|i| text(&log[i], "addr").to_owned());
    copy(&world.path("alice"), &world.path("lost"));
    copy(&world.path("alice"), &world.path("changed"));
    damage(&world.path("lost/.ibgib/space"), &middle, |_| None);
    damage(&world.path("changed/.ibgib/space"), &middle, other_word);

    let graph = world.run(&["-C", "lost", "graph", &tip]).fails(4, "missing");
    let why = text(&graph.error(), "message").to_owned();
    assert!(why.contains(&format!("{tip} -> {middle}")), "the path to it: {why}");
    assert_eq!(text(&graph.error(), "subject"), middle);
    world.run(&["-C", "lost", "show", &middle]).fails(5, "not_found");
    let fsck = world.run(&["-C", "lost", "fsck", "--json"]).fails(4, "damaged").json();
    let missing = fsck.get("missing").unwrap().as_array().unwrap();
    assert!(missing.iter().any(|m| text(m, "addr") == middle && text(m, "from") == tip), "{fsck}");
    world.run(&["-C", "lost", "export", "lost.bundle"]).expect(4).error();
    assert!(!world.path("lost.bundle").exists());

    for command in [&["show", &middle][..], &["graph", &tip], &["log", "notes.txt"], &["export", "c.bundle"]] {
        world.run(&[&["-C", "changed"], command].concat()).fails(4, "corrupt");
    }
    let fsck = world.run(&["-C", "changed", "fsck", "--json"]).fails(4, "damaged").json();
    assert_eq!(fsck.get("corrupt").unwrap().to_json(), format!("[\"{middle}\"]"));
    // The files are still here: a clone and they are whole again.
    world.run(&["clone", &server.url, "again"]).ok();
    assert_eq!(files(&world.path("again")), files(&world.path("changed")));
    world.fsck(&["-C", "again"]);
    // A server whose store is damaged tells so.
    assert_eq!(server.stop(), Some(0));
    for (space, code) in [("server-lost", "missing"), ("server-changed", "corrupt")] {
        copy(&world.path("server"), &world.path(space));
        damage(&world.path(space), &middle, |text| other_word(text).filter(|_| code == "corrupt"));
        let server = world.serve(space);
        world.run(&["clone", &server.url, &format!("from {space}")]).fails(4, code);
        assert_eq!(server.stop(), Some(0));
    }
}

/// Another word in the place of one.
fn other_word(text: String) -> Option<String> {
    assert!(text.contains("two"));
    Some(text.replacen("two", "Two", 1))
}

/// Turns one character of a node's text into another one.
fn flip(mut text: String) -> Option<String> {
    let rest = text.split_off(text.len() - 3);
    Some(text + &String::from(char::from(rest.as_bytes()[0] ^ 0x01)) + &rest[1..])
}

#[test]
fn damaged_nodes_are_replaced_by_good_ones() {
    let world = World::new();
    let server = world.with_alice();
    for round in ["two\n", "three\n"] {
        world.write("alice/notes.txt", round);
        world.run(&["-C", "alice", "sync"]).ok();
    }
    world.run(&["-C", "alice", "export", "good.bundle"]).ok();
    let store = world.path("alice/.ibgib/space");
    copy(&store, &world.path("whole"));
    let spoil = || {
        fs::remove_dir_all(&store).unwrap();
        copy(&world.path("whole"), &store);
        let space = durable::open(&store).unwrap();
        let scanned = tokio::runtime::Runtime::new().unwrap().block_on(space.scan(None, usize::MAX)).unwrap();
        drop(space);
        // Every node: files, their history, the identity's own frames, transcripts.
        for entry in &scanned {
            damage(&store, entry.node.as_ref().unwrap().addr().as_str(), flip);
        }
        scanned.len() as f64
    };
    let repaired = |done: &ibgib::Value| done.get("repaired").unwrap().as_f64().unwrap();

    let damaged = spoil();
    let told = world.run(&["-C", "alice", "fsck", "--json"]).fails(4, "damaged").json();
    assert_eq!(told.get("corrupt").unwrap().as_array().unwrap().len() as f64, damaged);
    let from_bundle = world.run(&["-C", "alice", "fsck", "--repair-from", "good.bundle", "--json"]).ok().json();
    assert_eq!(repaired(&from_bundle), damaged);
    world.fsck(&["-C", "alice"]);

    let damaged = spoil();
    let from_server = world.run(&["-C", "alice", "fsck", "--repair-from", &server.url, "--json"]).ok().json();
    assert_eq!(repaired(&from_server), damaged);
    assert_eq!(repaired(&world.fsck(&["-C", "alice"])), 0.0);

    spoil();
    world.run(&["-C", "alice", "import", "good.bundle"]).ok();
    world.fsck(&["-C", "alice"]);

    // Without a word of what is damaged: the sync stumbles over it, and asks for all of it.
    spoil();
    world.write("alice/notes.txt", "four\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.fsck(&["-C", "alice"]);

    // A disk damages bytes, not nodes: with a block, all its nodes lose their names, too.
    world.write("alice/more/a.txt", &"many words\n".repeat(300));
    fs::write(
        world.path("alice/image"),
        (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
    )
    .unwrap();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "alice", "export", "good.bundle", "--force"]).ok();
    let log = store.join(LOG);
    copy(&world.path("alice"), &world.path("intact"));
    let mut found = 0;
    for (nth, percent) in (5..95).step_by(5).enumerate() {
        fs::remove_dir_all(world.path("alice")).unwrap();
        copy(&world.path("intact"), &world.path("alice"));
        let mut bytes = fs::read(&log).unwrap();
        let at = bytes.len() * percent / 100;
        bytes[at] ^= 0x20;
        fs::write(&log, bytes).unwrap();
        found += i32::from(world.run(&["-C", "alice", "fsck"]).code == Some(4));
        match nth % 3 {
            0 => world.run(&["-C", "alice", "fsck", "--repair-from", "good.bundle"]).ok(),
            1 => world.run(&["-C", "alice", "fsck", "--repair-from", &server.url]),
            _ => world.run(&["-C", "alice", "sync"]),
        };
        // What nobody relates to has no name by which a server could be asked; a bundle is searched for its hash.
        let left = world.run(&["-C", "alice", "fsck", "--json"]).json();
        let left = left.get("corrupt").unwrap().as_array().unwrap().to_vec();
        assert!(left.iter().all(|name| !name.as_str().unwrap().contains('^')), "{percent}: {left:?}");
        assert!(left.is_empty() || nth % 3 != 0, "{percent}: {left:?}");
        world.run(&["-C", "alice", "fsck", "--repair-from", "good.bundle"]).ok();
        world.fsck(&["-C", "alice"]);
    }
    assert!(found > 3, "{found} of 18 places hold nodes");

    // Of what nothing reads in a sync that has nothing to do, fsck tells the next one.
    let log = world.run(&["-C", "alice", "log", "notes.txt", "--json"]).ok().lines();
    damage(&store, text(&log[2], "addr"), flip);
    damage(&store, text(&log[3], "addr"), |_| None);
    world.run(&["-C", "alice", "fsck"]).fails(4, "damaged");
    world.run(&["-C", "alice", "sync"]).ok();
    world.fsck(&["-C", "alice"]);
    assert_eq!(server.stop(), Some(0));
}

/// Whether this user may write where permissions forbid it (root).
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// The command as a user whom permissions bind.
fn as_nobody(world: &World, args: &[&str]) -> Done {
    let command = world.command(args);
    if !is_root() {
        return world.run(args);
    }
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(command.get_program());
    other.args(args).current_dir(world.dir.path()).stdin(Stdio::null());
    other.env("XDG_CONFIG_HOME", world.path("xdg"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("IBGIB_")) {
        other.env_remove(name);
    }
    Done::from(other.output().unwrap())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn missing_permission_is_a_failure_of_its_own_and_nothing_is_half_made() {
    let world = World::new();
    mode(world.dir.path(), 0o755);
    fs::create_dir(world.path("closed")).unwrap();
    mode(&world.path("closed"), 0o555);
    as_nobody(&world, &["init", "closed"]).fails(1, "permission");
    as_nobody(&world, &["init", "closed/new"]).fails(1, "permission");
    as_nobody(&world, &["serve", "--space", "closed/s", "--policy", "open"]).fails(1, "permission");
    assert_eq!(fs::read_dir(world.path("closed")).unwrap().count(), 0);
    mode(&world.path("closed"), 0o755);

    world.write("a/notes.txt", "one\n");
    world.run(&["init", "a"]).ok();
    world.run(&["-C", "a", "snapshot"]).ok();
    // Somebody else's device: its secret is nobody's to read, its store nobody's to write.
    mode(&world.path("a/.ibgib/space"), 0o555);
    mode(&world.path("a/.ibgib/space/log"), 0o555);
    mode(&world.path("a/.ibgib/space").join(LOG), 0o444);
    mode(&world.path("a/.ibgib/lock"), 0o444);
    for args in [&["-C", "a", "status"][..], &["-C", "a", "snapshot"], &["--space", "a/.ibgib/space", "tips"]] {
        as_nobody(&world, args).fails(1, "permission");
    }
    as_nobody(&world, &["-C", "a", "export", "x.bundle"]).fails(1, "permission");
    assert!(!world.path("x.bundle").exists());
    mode(&world.path("a/.ibgib/space"), 0o755);
    mode(&world.path("a/.ibgib/space/log"), 0o755);
    mode(&world.path("a/.ibgib/space").join(LOG), 0o644);
    mode(&world.path("a/.ibgib/lock"), 0o644);
    world.fsck(&["-C", "a"]);
    let secret = fs::metadata(world.path("a/.ibgib/secret")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o077, 0);

    // A file that cannot be read is told and left out; the others are taken.
    world.write("b/open.txt", "open\n");
    world.write("b/closed.txt", "closed\n");
    world.run(&["init", "b"]).ok();
    mode(&world.path("b/closed.txt"), 0);
    if is_root() {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(world.path("b")).status().unwrap().success());
    }
    let taken = as_nobody(&world, &["-C", "b", "snapshot", "--json"]).ok().json();
    assert_eq!(taken.get("added").unwrap().to_json(), r#"["open.txt"]"#);
    let skipped = taken.get("skipped").unwrap().as_array().unwrap();
    assert_eq!(text(&skipped[0], "path"), "closed.txt");
    let told = as_nobody(&world, &["-C", "b", "status"]).ok().stdout;
    assert!(told.contains("\nskipped  closed.txt: Permission denied"), "{told}");
    assert!(told.ends_with("\nclean, but for what is skipped\n"), "{told}");
    mode(&world.path("b/closed.txt"), 0o644);
}

#[test]
fn a_file_system_without_writing_changes_nothing() {
    let world = World::new();
    let Some(disk) = Tmpfs::new(&world, "16m") else {
        println!("not run: only root can mount a small file system");
        return;
    };
    world.run(&["init", "small/a"]).ok();
    world.write("small/a/notes.txt", "one\n");
    world.run(&["-C", "small/a", "snapshot"]).ok();
    world.write("small/a/notes.txt", "two\n");
    disk.remount("ro");
    for command in [&["snapshot"][..], &["fsck"], &["export", "small/x.bundle"]] {
        world.run(&[&["-C", "small/a"], command].concat()).fails(1, "permission");
    }
    assert!(world.run(&["-C", "small/a", "status"]).ok().stdout.contains("\nmodified notes.txt\n"));
    world.run(&["-C", "small/a", "tips"]).ok();
    world.run(&["--space", "small/a/.ibgib/space", "tips"]).ok();
    world.run(&["init", "small/b"]).fails(1, "permission");
    disk.remount("rw");
    world.fsck(&["-C", "small/a"]);
    let status = world.run(&["-C", "small/a", "status", "--json"]).ok().json();
    assert_eq!(status.get("clean"), Some(&false.into()));
}

#[test]
fn paths_that_lead_astray_are_refused_one_by_one() {
    let world = World::new();
    let server = world.with_alice();
    world.run(&["clone", &server.url, "bob"]).ok();
    world.write("outside", "untouched\n");
    // Alice's device is in the wrong hands: her folder names what no folder should.
    let tips = world.run(&["-C", "alice", "tips", "--json"]).ok().lines();
    let shard = tips.iter().find(|t| text(t, "tjp").starts_with("shard^")).unwrap();
    let shard = world.run(&["-C", "alice", "show", text(shard, "tip"), "--json"]).ok().stdout;
    let file = text(tips.iter().find(|t| text(t, "tjp").starts_with("file^")).unwrap(), "tjp").to_owned();
    let entry = format!(r#"{{"file":"{file}","kind":"text","exec":true}}"#);
    let hostile = [
        "/../outside",
        "//etc/passwd",
        "/.ibgib/secret",
        "/.git/hooks/post-checkout",
        "/a/../../b",
        "/sub/.ibgib/lock",
    ];
    let entries: Vec<String> = hostile.iter().map(|key| format!("\"{key}\":{entry}")).collect();
    let line = format!(
        r#"{{"op":"mut8","opts":{{"src":{},"dataToAddOrPatch":{{"entries":{{{}}}}},"dna":true,"nCounter":true,"linkedRel8ns":["past","dna"]}}}}"#,
        shard.trim_end(),
        entries.join(",")
    );
    world.feed(&["-C", "alice", "transform"], line.as_bytes()).ok();
    world.run(&["-C", "alice", "sync", "--no-snapshot", "--no-checkout"]).ok();
    let secret = world.read("bob/.ibgib/secret");
    world.write("alice/good.txt", "good\n");
    world.run(&["-C", "alice", "sync"]).expect(3);
    let told = world.run(&["-C", "bob", "sync", "--json"]).expect(3).json();
    let refused = told.get("refused").unwrap().as_array().unwrap();
    assert_eq!(refused.len(), hostile.len(), "{told}");
    assert_eq!(world.read("bob/good.txt"), "good\n", "the rest is checked out");
    assert_eq!(world.read("outside"), "untouched\n");
    assert_eq!(world.read("bob/.ibgib/secret"), secret);
    assert!(!world.path("bob/.git").exists() && !world.path("bob/sub").exists() && !world.path("b").exists());
    world.fsck(&["-C", "bob"]);
}

/// A small file system, where this user may mount one.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn new(world: &World, size: &str) -> Option<Self> {
        let path = world.path("small");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path);
        let mounted = mount.output().is_ok_and(|o| o.status.success());
        mounted.then(|| Self(path))
    }
}

impl Tmpfs {
    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &how]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // The directory is temporary anyway.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let world = World::new();
    let Some(disk) = Tmpfs::new(&world, "6m") else {
        println!("not run: only root can mount a small file system");
        return;
    };
    world.run(&["init", "small/a"]).ok();
    world.write("small/a/notes.txt", "one\n");
    world.run(&["-C", "small/a", "snapshot"]).ok();
    let mut random = Random::new();
    let noise: String = (0..5_000_000).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    world.write("small/a/big.txt", &noise);
    world.run(&["-C", "small/a", "snapshot"]).fails(1, "disk_full");
    world.fsck(&["-C", "small/a"]);
    assert_eq!(world.run(&["-C", "small/a", "show", "notes.txt", "--raw"]).ok().stdout, "one\n");
    fs::remove_file(world.path("small/a/big.txt")).unwrap();
    world.write("small/a/notes.txt", "two\n");
    world.run(&["-C", "small/a", "snapshot"]).ok();
    world.fsck(&["-C", "small/a"]);
    drop(disk);
}

#[test]
fn a_store_of_an_earlier_version_can_be_read_on_a_full_disk() {
    let world = World::new();
    let Some(_disk) = Tmpfs::new(&world, "6m") else {
        println!("not run: only root can mount a small file system");
        return;
    };
    fs::create_dir(world.path("small/old")).unwrap();
    let earlier = concat!(env!("CARGO_MANIFEST_DIR"), "/../spaces/tests/fixtures/space/space.redb");
    fs::copy(earlier, world.path("small/old/space.redb")).unwrap();
    // A part of it may be written before the disk is full.
    fs::write(world.path("small/filler"), vec![0; 10_000_000]).unwrap_err();
    let read = world.run(&["--space", "small/old", "tips"]).ok().stdout;
    assert_eq!(fs::read_dir(world.path("small/old")).unwrap().count(), 1);
    fs::remove_file(world.path("small/filler")).unwrap();
    assert_eq!(world.run(&["--space", "small/old", "tips"]).ok().stdout, read);
    assert!(!world.path("small/old/space.redb").exists());
}

#[test]
fn a_disk_that_fills_while_syncing_stops_one_side_and_harms_none() {
    let world = World::new();
    let Some(disk) = Tmpfs::new(&world, "6m") else {
        println!("not run: only root can mount a small file system");
        return;
    };
    let mut random = Random::new();
    let noise: String = (0..12_000_000).map(|_| char::from(b'a' + random.below(26) as u8)).collect();

    // The device's disk.
    let server = world.with_alice();
    world.run(&["clone", &server.url, "small/bob"]).ok();
    world.write("alice/big.txt", &noise);
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "small/bob", "sync"]).fails(1, "disk_full");
    world.fsck(&["-C", "small/bob"]);
    assert!(!world.path("small/bob/big.txt").exists());
    fs::remove_file(world.path("alice/big.txt")).unwrap();
    assert_eq!(world.read("small/bob/notes.txt"), world.read("alice/notes.txt"));
    drop(disk);
    fs::remove_dir(world.path("small")).unwrap();

    // The server's.
    let Some(disk) = Tmpfs::new(&world, "6m") else { return };
    let full = world.serve("small/server");
    world.write("carol/notes.txt", "one\n");
    world.run(&["init", "carol", "--remote", &full.url]).ok();
    world.run(&["-C", "carol", "sync"]).ok();
    world.write("carol/big.txt", &noise);
    world.run(&["-C", "carol", "sync"]).fails(1, "disk_full");
    world.fsck(&["-C", "carol"]);
    // Once there is room the same server goes on.
    disk.remount("size=200m");
    world.run(&["-C", "carol", "sync"]).ok();
    world.run(&["clone", &full.url, "dave"]).ok();
    assert_eq!(world.read("dave/big.txt"), noise);
    let other = world.serve("roomy");
    world.run(&["-C", "carol", "sync", &other.url]).ok();
    assert!(matches!(full.stop(), Some(0)));
    world.fsck(&["--space", "small/server"]);
    drop(disk);
}
