//! A space in a database, named by a URL: two servers in front of it, and the commands that read and write it.

mod common;

use common::events::Events;
use common::postgres::{Own, database, sql};
use common::{Random, Server, World, files, http, text, times, token};
use std::io::BufRead;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use std::{fs, io};

#[test]
fn two_servers_and_every_command_share_a_space_in_a_database() {
    let (world, space) = (World::new(), database("shared"));
    let space = space.as_str();
    world.run(&["tips", "--space", space, "--json"]).fails(5, "no_store");
    let (a, b) = (world.serve(space), world.serve(space));
    world.write("alice/notes.txt", "one\n\ntwo\n\nthree\n");
    world.run(&["init", "alice", "--remote", &a.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &b.url, "bob"]).ok();
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));
    // Both edit, each through his server, and are joined.
    world.write("alice/notes.txt", "ONE\n\ntwo\n\nthree\n");
    world.write("bob/notes.txt", "one\n\ntwo\n\nTHREE\n");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    assert_eq!(world.read("alice/notes.txt"), "ONE\n\ntwo\n\nTHREE\n");
    assert_eq!(files(&world.path("alice")), files(&world.path("bob")));

    // Beside the servers.
    world.fsck(&["--space", space]);
    let tips = world.run(&["tips", "--space", space, "--json"]).ok().stdout;
    world.run(&["export", "--space", space, "all.bundle"]).ok();
    let other = database("imported");
    world.run(&["import", "--space", &other, "all.bundle", "--dry-run"]).ok();
    world.run(&["tips", "--space", &other, "--json"]).fails(5, "no_store");
    world.run(&["import", "--space", &other, "all.bundle"]).ok();
    world.run(&["import", "--space", "directory", "all.bundle"]).ok();
    for copy in [other.as_str(), "directory"] {
        assert_eq!(world.run(&["tips", "--space", copy, "--json"]).ok().stdout, tips);
    }
    let (status, health) = http(&b.url, "GET", "/api/v1/health", &[]);
    assert_eq!(status, 200, "{health}");
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));

    // As an older program left it: what only reads leaves it so, and a server brings it up to date.
    let older = "DROP TABLE ibgib.leases; DROP FUNCTION ibgib.note_swept CASCADE;
        ALTER TABLE ibgib.space DROP COLUMN swept; DELETE FROM ibgib.migrations WHERE version > 1";
    sql(space, older);
    assert_eq!(world.run(&["tips", "--space", space, "--json"]).ok().stdout, tips);
    world.fsck(&["--space", space]);
    world.run(&["export", "--space", space, "old.bundle"]).ok();
    world.run(&["conflicts", "--space", space]).ok();
    assert_eq!(sql(space, "SELECT max(version) FROM ibgib.migrations"), "1");
    assert_eq!(world.serve(space).stop(), Some(0));
    assert_eq!(sql(space, "SELECT max(version) FROM ibgib.migrations"), "5");
}

#[test]
fn what_is_wrong_with_a_url_is_told_without_its_password() {
    let world = World::new();
    for (url, exit, code) in [
        ("postgres://me:secret@127.0.0.1:1/notes", 8, "unavailable"),
        ("postgres://me:secret@127.0.0.1:1", 2, "usage"),
        ("postgres://me:secret@127.0.0.1:1/notes?sslmode=prefer", 2, "usage"),
        (&format!("{}_not_there", database("beside")), 5, "no_store"),
    ] {
        let done = world.run(&["fsck", "--space", url, "--json"]).fails(exit, code);
        let error = done.error();
        assert!(!done.stderr.contains("secret"), "{}", done.stderr);
        assert!(!text(&error, "message").is_empty());
    }
    // What is kept in a space's directory alone has no place in a database.
    let own = database("own");
    world.run(&["serve", "--space", &own, "--listen", "127.0.0.1:0", "--tls", "self", "--json"]).fails(2, "usage");
    let tower = world.run(&["tower", "info", "--space", "postgres://me:secret@127.0.0.1:1/notes", "--json"]);
    assert!(!tower.fails(8, "unavailable").stderr.contains("secret"));
}

#[test]
fn all_servers_of_a_space_know_its_owner_and_his_token() {
    let (world, space) = (World::new(), database("owned"));
    let start = || {
        let (server, mut printed) =
            Server::start_and_read(&world, &["serve", "--space", &space, "--listen", "127.0.0.1:0", "--dev-tools"]);
        let lines = [(); 2].map(|()| {
            let mut line = String::new();
            printed.read_line(&mut line).unwrap();
            line.trim().to_owned()
        });
        (server, lines)
    };
    let find = |lines: &[String; 2], word: &str| {
        let found = lines.iter().find_map(|line| line.strip_prefix(word));
        found.unwrap_or_else(|| panic!("{word}: {lines:?}")).to_owned()
    };
    let ((a, at_a), (b, at_b)) = (start(), start());
    let owner_token = find(&at_a, "owner token ");
    assert_eq!(find(&at_b, "owner token "), owner_token);
    assert_eq!(token(&find(&at_a, "dev-tools ")), token(&find(&at_b, "dev-tools ")));
    let (status, refused) = http(&a.url, "GET", "/api/v1/events", &[]);
    assert!(status == 403 && refused.contains("reading_needs_identity"), "{refused}");
    world.write("alice/notes.txt", "hers\n");
    world.run(&["init", "alice", "--remote", &a.url, "--token", &owner_token]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    // Both let her in, and nobody else with what made her the owner.
    world.run(&["-C", "alice", "sync", &b.url]).ok();
    world.write("bob/notes.txt", "his\n");
    let bob = world.run(&["init", "bob", "--remote", &b.url, "--token", &owner_token, "--json"]);
    bob.fails(7, "not_granted");
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[test]
fn an_edit_reaches_a_device_that_watches_at_another_server() {
    let (world, space) = (World::new(), database("watched"));
    let servers = [world.serve(&space), world.serve(&space)];
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &servers[0].url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &servers[1].url, "bob"]).ok();
    let mut watchers = ["alice", "bob"].map(|device| {
        let log = fs::File::create(world.path(&format!("{device}.log"))).unwrap();
        world.command(&["-C", device, "sync", "--watch"]).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    });
    let mut events = Events::of(&servers[1].url, "");
    assert!(events.next().0 == "ready");
    let mut took = Vec::new();
    for i in 0..8 {
        let (from, to) = if i % 2 == 0 { ("alice", "bob") } else { ("bob", "alice") };
        let text = format!("edit {i} of {from}\n");
        let started = Instant::now();
        world.write(&format!("{from}/notes.txt"), &text);
        while world.read(&format!("{to}/notes.txt")) != text {
            for (watcher, device) in watchers.iter_mut().zip(["alice", "bob"]) {
                assert!(watcher.try_wait().unwrap().is_none(), "{}", world.read(&format!("{device}.log")));
            }
            assert!(started.elapsed() < Duration::from_secs(180), "edit {i} never came");
            sleep(Duration::from_millis(5));
        }
        took.push(started.elapsed());
    }
    // A web program is told of the same, also when it comes back later or from elsewhere.
    let (_, told) = events.next();
    for from in [0, u32::MAX] {
        let mut again = Events::of(&servers[0].url, &format!("Last-Event-ID: {from}\r\n"));
        assert!(again.next().0 == "ready");
        let (word, all) = again.next();
        match from {
            0 => assert!(word == "tips" && all.len() >= told.len()),
            _ => assert!(word == "lagged" && all.is_empty()),
        }
    }
    assert!(told.iter().all(|tip| text(tip, "tip").contains('^')) && !told.is_empty());
    took.sort_unstable();
    println!("from an edit to the other folder: median {:?}, of {took:?}", took[took.len() / 2]);
    for watcher in &mut watchers {
        watcher.kill().unwrap();
        watcher.wait().unwrap();
    }
    assert_eq!(servers.map(|server| server.stop()), [Some(0), Some(0)]);
    world.fsck(&["--space", &space]);
}

#[test]
fn whatever_is_killed_in_a_saga_nothing_acknowledged_is_lost() {
    let (world, own) = (World::new(), Own::start());
    let start =
        |listen: &str| Server::start(&world, &["serve", "--space", &own.url, "--policy", "open", "--listen", listen]);
    let mut hers = start("127.0.0.1:0");
    let listen = format!("127.0.0.1:{}", hers.port());
    let his = start("127.0.0.1:0");
    world.write("alice/first.txt", "first\n");
    world.run(&["init", "alice", "--remote", &hers.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &his.url, "bob"]).ok();
    let mut random = Random::new();
    for i in 0..times("IBGIB_KILLS", 3) {
        let text: String =
            (0..random.below(3_000)).map(|line| format!("{i} {line} {}\n", random.below(1_000_000))).collect();
        world.write(&format!("alice/{i}.txt"), &text);
        let mut syncing =
            world.command(&["-C", "alice", "sync"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(random.below(150) as u64));
        let (server, database) = [(true, false), (false, true), (true, true)][i % 3];
        if database {
            own.kill();
        }
        if server {
            hers.kill();
            own.is_back();
            hers = start(&listen);
        }
        own.is_back();
        if syncing.wait().unwrap().success() {
            world.run(&["-C", "bob", "sync"]).ok();
            assert!(world.read(&format!("bob/{i}.txt")) == text, "what was acknowledged is lost");
        }
    }
    // One more sync of each.
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert!(files(&world.path("alice")) == files(&world.path("bob")));
    assert_eq!([hers, his].map(|server| server.stop()), [Some(0), Some(0)]);
    world.fsck(&["--space", &own.url]);
}

/// The way to a database, which can be cut and mended.
struct Way {
    url: String,
    /// What goes over it; `None` while it is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Way {
    fn to(url: &str) -> Self {
        let (user, place) = url.rsplit_once('@').unwrap();
        let (server, name) = place.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{user}@{}/{name}", listener.local_addr().unwrap());
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let (server, ways) = (server.to_owned(), Arc::clone(&open));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                if let Some(open) = &mut *ways.lock().unwrap() {
                    let server = TcpStream::connect(&server).unwrap();
                    let ends = [&client, &server].map(|end| end.try_clone().unwrap());
                    open.extend(ends.iter().map(|end| end.try_clone().unwrap()));
                    for (mut from, mut to) in
                        [(client, server), (ends[1].try_clone().unwrap(), ends[0].try_clone().unwrap())]
                    {
                        thread::spawn(move || {
                            // One that ends, ends the other; whatever ended it.
                            let _ = io::copy(&mut from, &mut to);
                            let _ = to.shutdown(Shutdown::Both);
                        });
                    }
                }
            }
        });
        Self { url, open }
    }

    fn cut(&self) {
        for end in self.open.lock().unwrap().take().unwrap() {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        *self.open.lock().unwrap() = Some(Vec::new());
    }
}

#[test]
fn while_the_database_is_away_clients_are_told_to_come_again_and_nothing_is_lost() {
    let (world, space) = (World::new(), database("away"));
    let way = Way::to(&space);
    let server = world.serve(&way.url);
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    world.run(&["-C", "alice", "sync"]).ok();
    for i in 0..2 {
        let text = format!("written while it was away, {i}\n");
        world.write("alice/notes.txt", &text);
        way.cut();
        let (status, health) = http(&server.url, "GET", "/api/v1/health", &[]);
        assert_eq!(status, 503, "{health}");
        assert!(health.contains("retry-after: 2\r\n") && health.contains("\"busy\""), "{health}");
        assert!(!health.contains("127.0.0.1:"), "where the database is is told: {health}");
        world.run(&["-C", "alice", "sync", "--json"]).fails(1, "busy");
        way.mend();
        assert_eq!(http(&server.url, "GET", "/api/v1/health", &[]).0, 200);
        world.run(&["-C", "alice", "sync"]).ok();
        world.run(&["clone", &server.url, &format!("copy{i}")]).ok();
        assert_eq!(world.read(&format!("copy{i}/notes.txt")), text);
    }
    world.fsck(&["--space", &space]);
    assert_eq!(server.stop(), Some(0));
}
