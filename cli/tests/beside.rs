//! Commands beside a sync that is slow.

mod common;

use common::{Done, Server, World, number, text};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// A proxy that passes so many bytes on to the server, then none until it is told to.
#[derive(Clone)]
struct Gate(Arc<(Mutex<Passing>, Condvar)>);

struct Passing {
    left: usize,
    /// Bytes have come that may not pass.
    stuck: bool,
}

impl Gate {
    fn before(server: &str, bytes: usize) -> (Self, String) {
        let gate = Self(Arc::new((Mutex::new(Passing { left: bytes, stuck: false }), Condvar::new())));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (server, passing) = (server.strip_prefix("http://").unwrap().to_owned(), gate.clone());
        thread::spawn(move || {
            for from in listener.incoming() {
                let (from, to) = (from.unwrap(), TcpStream::connect(&server).unwrap());
                let (back_from, back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
                let passing = passing.clone();
                thread::spawn(move || pass(from, to, |bytes| passing.pass(bytes)));
                thread::spawn(move || pass(back_from, back_to, |_| ()));
            }
        });
        (gate, url)
    }

    fn pass(&self, bytes: usize) {
        let (passing, changed) = &*self.0;
        let mut passing = passing.lock().unwrap();
        while passing.left < bytes {
            passing.stuck = true;
            changed.notify_all();
            passing = changed.wait(passing).unwrap();
        }
        passing.left -= bytes;
    }

    fn wait_until_stuck(&self) {
        let (passing, changed) = &*self.0;
        drop(changed.wait_while(passing.lock().unwrap(), |passing| !passing.stuck).unwrap());
    }

    fn open(&self) {
        let (passing, changed) = &*self.0;
        passing.lock().unwrap().left = usize::MAX;
        changed.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, may: impl Fn(usize)) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                may(bytes);
                if to.write_all(&buffer[..bytes]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn who_only_reads_works_in_the_middle_of_a_sync() {
    let world = World::new();
    let server = world.with_alice();
    let mut state = 7u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(3_000_000)
    .collect();
    fs::write(world.path("alice/large.bin"), large).unwrap();
    let (gate, url) = Gate::before(&server.url, 1_000_000);
    let mut command = world.command(&["-C", "alice", "sync", &url, "--json"]);
    let sync = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    gate.wait_until_stuck();
    for _ in 0..3 {
        let status = world.run(&["-C", "alice", "status", "--json"]).ok().json();
        assert_eq!(number(&status, &["unsent"]), 1, "{status}");
        assert_eq!(text(&status, "remote"), server.url, "the other one has not answered yet");
    }
    world.run(&["-C", "alice", "log", "large.bin"]).ok();
    world.run(&["-C", "alice", "conflicts"]).ok();
    world.run(&["-C", "alice", "diff"]).ok();
    // The server's store, too.
    let before = world.run(&["--space", "server", "tips", "--json"]).ok().lines().len();
    world.run(&["--space", "server", "export", "backup.bundle"]).ok();
    world.run(&["--space", "server", "backup", "backup"]).ok();
    // What writes waits, and begins when the sync is done.
    let mut snapshot = world.command(&["-C", "alice", "snapshot"]);
    let snapshot = snapshot.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    gate.open();
    let synced = Done::from(sync.wait_with_output().unwrap()).ok().json();
    assert!(number(&synced, &["nodes", "sent"]) > 0, "{synced}");
    Done::from(snapshot.wait_with_output().unwrap()).ok();
    assert_eq!(number(&world.run(&["-C", "alice", "status", "--json"]).ok().json(), &["unsent"]), 0);
    assert!(world.run(&["--space", "server", "tips", "--json"]).ok().lines().len() > before);
    world.run(&["--space", "copy", "import", "backup.bundle"]).ok();
    assert_eq!(world.run(&["--space", "copy", "tips", "--json"]).ok().lines().len(), before);
    assert_eq!(world.run(&["--space", "backup", "tips", "--json"]).ok().lines().len(), before);
    world.fsck(&["--space", "backup"]);
    world.fsck(&["-C", "alice"]);
}

#[test]
fn a_servers_space_is_copied_while_it_runs_and_the_copy_is_served_in_its_place() {
    let world = World::new();
    let server = Server::start(&world, &["serve", "--space", "server", "--listen", "127.0.0.1:0"]);
    let token = fs::read_to_string(world.path("server/owner.token")).unwrap();
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &server.url, "--token", token.trim()]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    let done = world.run(&["--space", "server", "backup", "copy", "--json"]).ok().json();
    assert!(number(&done, &["bytes"]) > 1_000, "{done}");
    world.run(&["--space", "server", "backup", "copy"]).fails(1, "file_exists");
    world.run(&["--space", "server", "backup", "alice/notes.txt"]).fails(1, "file_exists");
    world.run(&["--space", "server", "backup", "no/where"]).fails(5, "not_found");
    world.run(&["--space", "nothing", "backup", "other"]).fails(5, "no_store");
    world.run(&["-C", "alice", "backup", "other"]).fails(2, "usage");
    world.run(&["--space", "postgres://me@db.example/notes", "backup", "other"]).fails(2, "usage");
    assert!(!world.path("other").exists() && world.path("copy/log").is_dir());
    // What comes later is not in it, and the device brings it again.
    world.write("alice/notes.txt", "one\ntwo\n");
    world.run(&["-C", "alice", "sync"]).ok();
    let listen = server.url.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(server.stop(), Some(0));
    let _copy = Server::start(&world, &["serve", "--space", "copy", "--listen", &listen]);
    assert!(!world.path("copy/owner.token").exists(), "it has its owner");
    // The device has a later receipt than what the copy shows.
    world.run(&["-C", "alice", "sync"]).fails(7, "rolled_back");
    world.run(&["-C", "alice", "receipts", "--forget", &format!("http://{listen}")]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert!(world.run(&["-C", "alice", "status"]).ok().stdout.contains("nothing"), "all of it is there");
}
