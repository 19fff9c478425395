//! What goes wrong ends in a typed error with the contract's exit code, and nothing is half applied.

mod common;

use common::{Random, Server, World, files, number, text};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn copy(from: &std::path::Path, to: &std::path::Path) {
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
    let revoked = world.run(&["-C", "alice", "identity", "revoke", "--json"]).ok().json();
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
    world.run(&["-C", "bob", "sync"]).ok();
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
    world.run(&["--space", "server", "tips"]).fails(6, "locked");
    let lock = fs::File::open(world.path("alice/.ibgib/lock")).unwrap();
    lock.lock().unwrap();
    for command in ["status", "snapshot", "sync", "fsck"] {
        world.run(&["-C", "alice", command]).fails(6, "locked");
    }
    drop(lock);
    world.run(&["-C", "alice", "status"]).ok();
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
    let store = world.path("alice/.ibgib/space/space.redb");
    let whole = fs::read(&store).unwrap();
    for cut in [0, 100, whole.len() / 2] {
        fs::write(&store, &whole[..cut]).unwrap();
        world.run(&["-C", "alice", "fsck"]).expect(4).error();
    }
    let mut random = Random::new();
    for _ in 0..20 {
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
    fs::write(&store, &whole).unwrap();
    world.fsck(&["-C", "alice"]);
    world.run(&["--space", "nothing", "tips"]).fails(5, "no_store");
}

/// Whether this user may write where permissions forbid it (root).
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

#[test]
fn missing_permission_is_a_failure_of_its_own() {
    let world = World::new();
    fs::create_dir(world.path("closed")).unwrap();
    fs::set_permissions(world.path("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere but below /proc.
    let dir = if is_root() { "/proc/self/closed" } else { "closed" };
    let done = world.run(&["init", dir]);
    assert!(matches!(done.code, Some(1 | 5)), "{}", done.stderr);
    let code = text(&done.error(), "code").to_owned();
    assert!(code == "permission" || is_root(), "{code}");
    fs::set_permissions(world.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
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
    let noise: String = (0..3_000_000).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
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
