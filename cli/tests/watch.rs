//! `sync --watch`: folders stay in step by themselves, whatever happens to the server meanwhile.

mod common;

use common::{Done, Server, World, files, number, text};
use ibgib::{Mode, Value};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what} did not happen");
        sleep(Duration::from_millis(20));
    }
}

/// A watcher on a device; killed when dropped.
struct Watcher<'w> {
    world: &'w World,
    device: &'w str,
    child: Child,
}

impl<'w> Watcher<'w> {
    /// Starts one, with more arguments.
    fn start(world: &'w World, device: &'w str, more: &[&str]) -> Self {
        let out = |name: &str| fs::File::create(world.path(&format!("{device}.{name}"))).unwrap();
        let args = [&["-C", device, "sync", "--watch", "--json"], more].concat();
        let child = world.command(&args).stdout(out("out")).stderr(out("err")).spawn().unwrap();
        Self { world, device, child }
    }

    /// What it said so far, complete lines only.
    fn said(&self) -> Vec<Value> {
        let text = self.world.read(&format!("{}.out", self.device));
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|l| Value::parse(l, Mode::Strict).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    fn logs(&self) -> String {
        self.world.read(&format!("{}.err", self.device))
    }

    #[track_caller]
    fn has(&self, file: &str, text: &str) {
        let path = format!("{}/{file}", self.device);
        wait_for(&format!("{text:?} in {path}"), || {
            // One that has ended will never have it.
            let status = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
            assert!(!status.contains(") Z "), "the watcher ended: {}", self.logs());
            fs::read_to_string(self.world.path(&path)).is_ok_and(|now| now.contains(text))
        });
    }

    /// Waits until it has nothing more to say. One that goes round in circles never comes to that.
    #[track_caller]
    fn comes_to_rest(&self) {
        let (mut said, mut since) = (self.said().len(), Instant::now());
        wait_for(&format!("rest on {}", self.device), || {
            let now = self.said().len();
            if now != said {
                (said, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_secs(3)
        });
    }

    /// Ends it with a signal; answers how it ended.
    fn stop(mut self, signal: &str) -> Done {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        let read = |name: &str| self.world.read(&format!("{}.{name}", self.device));
        Done { code, stdout: read("out"), stderr: read("err") }
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        // It may have been stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn two(world: &World) -> Server {
    let server = world.with_alice();
    world.run(&["clone", &server.url, "bob"]).ok();
    server
}

#[test]
fn edits_travel_both_ways_while_both_watch_and_nothing_goes_round_in_circles() {
    let world = World::new();
    let server = two(&world);
    world.write("alice/.ibgibignore", "*.log\ntarget/\n");
    let alice = Watcher::start(&world, "alice", &[]);
    let bob = Watcher::start(&world, "bob", &[]);
    bob.has(".ibgibignore", "target");
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree by alice\n");
    bob.has("notes.txt", "three by alice");
    // A directory that was not there when the watch began, and a file in it that is changed later.
    world.write("bob/new/deep/file.txt", "by bob\n");
    alice.has("new/deep/file.txt", "by bob");
    world.write("alice/new/deep/file.txt", "by bob and alice\n");
    bob.has("new/deep/file.txt", "by bob and alice");
    // A directory that goes and comes back is another one.
    fs::remove_dir_all(world.path("bob/new")).unwrap();
    wait_for("the delete on alice", || !world.path("alice/new").exists());
    world.write("bob/new/deep/file.txt", "back\n");
    alice.has("new/deep/file.txt", "back");
    world.write("alice/new/deep/file.txt", "back for good\n");
    bob.has("new/deep/file.txt", "back for good");

    // What is ignored, belongs to git, or is our own is no reason to sync.
    alice.comes_to_rest();
    let before = alice.said().len();
    for path in ["noise.log", "target/out", ".git/index", ".ibgib/tmp/x"] {
        world.write(&format!("alice/{path}"), "noise\n");
    }
    world.write("alice/notes.txt", "the end\n");
    bob.has("notes.txt", "the end");
    world.write("bob/notes.txt", "the end, and an answer\n");
    alice.has("notes.txt", "the end, and an answer");
    alice.comes_to_rest();
    bob.comes_to_rest();
    assert_eq!(alice.said().len(), before + 2, "one sync for the edit, one for the answer");
    assert!(!world.path("bob/noise.log").exists() && !world.path("bob/target").exists());

    for line in alice.said() {
        let members: Vec<&str> = line.as_object().unwrap().keys().collect();
        assert_eq!(members[..8], ["saga", "turns", "nodes", "bytes", "merges", "conflicts", "timelines", "ms"]);
        assert!(number(&line, &["turns"]) > 0, "only what did something is told: {line}");
    }
    for (watcher, signal) in [(alice, "-TERM"), (bob, "-INT")] {
        watcher.stop(signal).fails(130, "interrupted");
    }
    assert_eq!(files(&world.path("bob")).get("notes.txt"), files(&world.path("alice")).get("notes.txt"));
    assert_eq!(world.tips("alice"), world.tips("bob"));
    for device in ["alice", "bob"] {
        let again = world.run(&["-C", device, "sync", "--json"]).ok().json();
        assert_eq!(number(&again, &["turns"]), 0, "{again}");
        world.fsck(&["-C", device]);
    }
    assert_eq!(server.stop(), Some(0));
    world.fsck(&["--space", "server"]);
}

#[test]
fn other_commands_work_beside_a_watcher_and_what_they_do_is_synced() {
    let world = World::new();
    let server = two(&world);
    // What another command makes here belongs to no folder.
    let alice = Watcher::start(&world, "alice", &["--all"]);
    let bob = Watcher::start(&world, "bob", &["--all"]);
    world.write("alice/notes.txt", "first\n");
    bob.has("notes.txt", "first");
    for round in 0..20 {
        world.write("alice/busy.txt", &format!("round {round}\n"));
        world.run(&["-C", "alice", "status"]).ok();
        world.run(&["-C", "bob", "tips"]).ok();
    }
    bob.has("busy.txt", "round 19");
    world.run(&["-C", "alice", "sync", "--watch"]).fails(6, "locked");
    // Nothing on disk tells of this one.
    let made = r#"{"op":"fork","opts":{"src":{"ib":"note","gib":"gib"},"destIb":"note","tjp":{"uuid":true},"nCounter":true,"linkedRel8ns":["past"]}}"#;
    world.feed(&["-C", "alice", "transform"], made.as_bytes()).ok();
    wait_for("the note on bob", || world.run(&["-C", "bob", "tips"]).ok().stdout.contains("note^"));
    // A sync by hand takes the connection over; the watcher comes back.
    world.write("bob/notes.txt", "second\n");
    let by_hand = world.run(&["-C", "bob", "sync"]);
    assert!(matches!(by_hand.code, Some(0)), "{}", by_hand.stderr);
    alice.has("notes.txt", "second");
    world.write("alice/notes.txt", "third\n");
    bob.has("notes.txt", "third");
    drop(server);
}

#[test]
fn a_server_that_goes_and_comes_back_is_found_again() {
    let world = World::new();
    let server = two(&world);
    let listen = format!("127.0.0.1:{}", server.port());
    let args = ["serve", "--space", "server", "--policy", "open", "--listen", &listen];
    server.kill();
    // One begins while nobody is there, and both edit meanwhile.
    world.write("alice/notes.txt", "one by alice\n\ntwo\n\nthree\n");
    let alice = Watcher::start(&world, "alice", &[]);
    let bob = Watcher::start(&world, "bob", &[]);
    wait_for("a word about it", || alice.logs().contains("not reachable") && bob.logs().contains("not reachable"));
    world.write("bob/notes.txt", "one\n\ntwo\n\nthree by bob\n");
    let server = Server::start(&world, &args);
    for watcher in [&alice, &bob] {
        watcher.has("notes.txt", "one by alice\n\ntwo\n\nthree by bob\n");
    }
    server.kill();
    world.write("alice/more.txt", "written while it was away\n");
    let server = Server::start(&world, &args);
    bob.has("more.txt", "written while it was away");
    // A server that ends in an orderly way says so to those who are connected.
    assert_eq!(server.stop(), Some(0));
    world.write("bob/more.txt", "written while it was away again\n");
    let server = Server::start(&world, &args);
    alice.has("more.txt", "again");
    wait_for("good news", || alice.logs().contains("the server is back"));
    alice.stop("-TERM").fails(130, "interrupted");
    bob.stop("-TERM").fails(130, "interrupted");
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(world.tips("alice"), world.tips("bob"));
    drop(server);
}

#[test]
fn conflicts_are_told_and_a_refused_identity_ends_the_watch() {
    let world = World::new();
    let server = two(&world);
    world.write("alice/notes.txt", "one\n\nALICE\n\nthree\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.write("bob/notes.txt", "one\n\nBOB\n\nthree\n");
    let bob = Watcher::start(&world, "bob", &[]);
    bob.has("notes.txt", "ALICE");
    bob.has("notes.txt", "BOB");
    wait_for("a summary", || !bob.said().is_empty());
    assert_eq!(number(&bob.said()[0], &["conflicts"]), 1);
    let mut child = bob;
    world.run(&["-C", "bob", "identity", "revoke", "--yes"]).ok();
    wait_for("the end of the watch", || child.child.try_wait().unwrap().is_some());
    assert_eq!(child.child.wait().unwrap().code(), Some(7), "{}", child.logs());
    drop(server);
}

#[test]
fn a_watch_outlives_what_fails_here_for_a_while() {
    let world = World::new();
    let server = two(&world);
    world.write("bob/own.txt", "bob's, in no snapshot\n");
    world.write("bob/notes.txt", "bob's, in no snapshot\n");
    let bob = Watcher::start(&world, "bob", &["--no-snapshot"]);
    world.write("alice/notes.txt", "by alice\n");
    world.write("alice/more.txt", "more\n");
    world.run(&["-C", "alice", "sync"]).ok();
    bob.has("more.txt", "more");
    // Nothing can be checked out meanwhile.
    fs::create_dir_all(world.path("bob/.ibgib/tmp/in the way")).unwrap();
    world.write("alice/more.txt", "even more\n");
    world.run(&["-C", "alice", "sync"]).ok();
    wait_for("a word about it", || bob.logs().contains("trying again"));
    fs::remove_dir(world.path("bob/.ibgib/tmp/in the way")).unwrap();
    bob.has("more.txt", "even more");
    assert_eq!(world.read("bob/notes.txt"), "bob's, in no snapshot\n");
    bob.stop("-TERM").fails(130, "interrupted");
    drop(server);
}

#[test]
fn a_watch_that_only_sends_fetches_nothing_and_mistakes_are_told_at_once() {
    let world = World::new();
    let server = two(&world);
    let alice = Watcher::start(&world, "alice", &["--push"]);
    world.write("alice/notes.txt", "by alice\n");
    world.write("bob/other.txt", "by bob\n");
    world.run(&["-C", "bob", "sync"]).ok();
    wait_for("the push", || {
        world.run(&["-C", "bob", "sync"]).code == Some(0) && world.read("bob/notes.txt") == "by alice\n"
    });
    assert!(!world.path("alice/other.txt").exists());
    alice.stop("-TERM").expect(130);
    world.run(&["-C", "alice", "sync", "--watch", "--dry-run"]).fails(2, "usage");
    world.run(&["-C", "alice", "sync", "--watch", "--only", "nothing.txt"]).fails(5, "no_entry");
    drop(server);
    world.run(&["init", "lonely"]).ok();
    world.run(&["-C", "lonely", "sync", "--watch"]).fails(2, "usage");
}

#[test]
fn an_interrupt_ends_a_command_that_reads_a_silent_pipe() {
    let world = World::new();
    for signal in ["-INT", "-TERM"] {
        let mut command = world.command(&["addr"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It answers a line only once it is reading.
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"{\"ib\":\"x\",\"data\":{\"a\":1}}\n").unwrap();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        assert!(line.starts_with("x^"), "{line}");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        wait_for("its end", || child.try_wait().unwrap().is_some());
        let done = Done::from(child.wait_with_output().unwrap());
        assert_eq!(text(&done.fails(130, "interrupted").error(), "code"), "interrupted");
        drop(stdin);
    }
}
