//! `serve` as supervisors and scripts drive it.

mod common;

use common::{Done, Server, World, text};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const OPEN: [&str; 5] = ["serve", "--space", "server", "--policy", "open"];

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn the_first_line_tells_where_and_a_signal_ends_it_in_time() {
    let world = World::new();
    for (name, doors) in [("-TERM", &[][..]), ("-INT", &["--dev-tools"])] {
        let mut child = world
            .command(&[&OPEN[..], &["--listen", "127.0.0.1:0", "--json"], doors].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let first = ibgib::Value::parse(line.trim(), ibgib::Mode::Strict).unwrap();
        let url = text(&first, "listening").to_owned();
        let page = (!doors.is_empty()).then(|| ("dev-tools", format!("{url}/dev-tools/")));
        assert_eq!(first.get("doors"), Some(&ibgib::Value::Object(page.into_iter().collect())), "{first:?}");
        let address = url.strip_prefix("http://").unwrap();
        assert!(!address.ends_with(":0"), "{address}");
        // A client that never finishes its request does not keep the server.
        let mut slow = TcpStream::connect(address).unwrap();
        slow.write_all(b"GET /api/v1/health HTTP/1.1\r\n").unwrap();
        let started = Instant::now();
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let world = World::new();
    let mut child = world
        .command(&[&OPEN[..], &["--listen", "127.0.0.1:0"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
    let mut logs = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut slow = TcpStream::connect(line.trim().strip_prefix("listening http://").unwrap()).unwrap();
    let head = b"POST /api/v1/keystones HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
        Content-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head).unwrap();
    // The request is under way once the server asks for its body: a connection that it has not taken yet keeps it from
    // nothing.
    let mut go_on = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(slow.try_clone().unwrap()), &mut go_on).unwrap();
    assert!(go_on.contains("100"), "{go_on}");
    signal(&child, "-TERM");
    // It says that it has begun to end, and waits for the slow client then.
    let mut said = String::new();
    while !said.contains("shutting down") {
        said.clear();
        assert_ne!(std::io::BufRead::read_line(&mut logs, &mut said).unwrap(), 0);
    }
    let started = Instant::now();
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut logs, &mut rest).unwrap();
    Done { code: Some(130), stdout: String::new(), stderr: rest }.fails(130, "interrupted");
}

#[test]
fn what_cannot_be_served_is_told_apart() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let done = world.run(&[&OPEN[..], &["--listen", &listen]].concat()).fails(1, "port_in_use");
    assert_eq!(text(&done.error(), "subject"), listen);
    for args in [
        &["serve", "--policy", "open"][..],
        &["serve", "--space", "server", "--allow", "list"],
        &["serve", "--space", "server", "--owner", "note^ABC"],
        &["serve", "--space", "server", "--owner", "x", "--policy", "open"],
        &["serve", "--space", "server", "--policy", "allow"],
        &["serve", "--space", "server", "--policy", "open", "--allow", "list"],
        &["serve", "--space", "server", "--policy", "open", "--listen", "nonsense"],
    ] {
        world.run(args).fails(2, "usage");
    }
    let server = Server::start(&world, &[&OPEN[..], &["--listen", "127.0.0.1:0"]].concat());
    world.run(&[&OPEN[..], &["--listen", "127.0.0.1:0"]].concat()).fails(6, "locked");
    assert_eq!(server.stop(), Some(0));
    fs::write(world.path("file"), "no directory").unwrap();
    let done = world.run(&["serve", "--space", "file", "--policy", "open", "--listen", "127.0.0.1:0"]).expect(1);
    done.error();
}

/// Whoever starts a server may read its first line and go, and before the server has printed the second.
#[test]
fn a_server_serves_on_when_nobody_reads_what_it_prints() {
    let world = World::new();
    let server = Server::start(&world, &[&OPEN[..], &["--listen", "127.0.0.1:0"]].concat());
    let (url, listen) = (server.url.clone(), format!("127.0.0.1:{}", server.port()));
    assert_eq!(server.stop(), Some(0));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut again = world.command(&[&OPEN[..], &["--listen", &listen, "--dev-tools"]].concat());
    let mut again = Server::running(again.stdout(writer).stderr(Stdio::null()).spawn().unwrap(), url);
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice", "--remote", &again.url]).ok();
    // It listens some time after it was started.
    while world.run(&["-C", "alice", "sync"]).code != Some(0) {
        assert!(again.runs(), "the server has ended");
    }
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn a_bad_allow_list_at_a_hangup_leaves_the_old_one_in_force() {
    let world = World::new();
    world.write("alice/notes.txt", "one\n");
    world.run(&["init", "alice"]).ok();
    let alice = world.run(&["-C", "alice", "identity", "show", "--json"]).ok().json();
    world.write("allow", &format!("# friends\n\n  {}   # alice\n", text(&alice, "identity")));
    let args = ["serve", "--space", "server", "--policy", "allow", "--allow", "allow", "--listen", "127.0.0.1:0"];
    let server = Server::start(&world, &args);
    world.run(&["-C", "alice", "sync", &server.url]).ok();
    let log_says = |what: &str| {
        let started = Instant::now();
        while !world.read("server.log").contains(what) {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    world.write("allow", "nonsense\n");
    server.signal("-HUP");
    log_says("could not be read again");
    world.run(&["-C", "alice", "sync"]).ok();
    world.write("allow", "# nobody\n");
    server.signal("-HUP");
    log_says("allow-list read again");
    world.run(&["-C", "alice", "sync"]).fails(7, "identity_not_allowed");
}

#[test]
fn what_is_no_space_server_is_not_taken_for_one() {
    let world = World::new();
    let server = world.with_alice();
    let kept = || text(&world.run(&["-C", "alice", "config", "show", "--json"]).ok().json(), "remote").to_owned();
    // Somebody else's server, a proxy whose server is away, and one that never answers.
    for (answer, exit, code) in [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 1, "no_server"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n<ok>", 1, "no_server"),
        ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 8, "unreachable"),
        ("", 8, "timeout"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // As often as it is asked: a client opens its connections side by side. It ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    if answer.is_empty() {
                        // Until the client has had enough.
                        let _ = std::io::copy(&mut stream, &mut std::io::sink());
                    } else {
                        // A client that has heard enough on another connection may be gone.
                        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        let patience = if answer.is_empty() { "2" } else { "100" };
        world.run(&["-C", "alice", "sync", &url, "--timeout", patience]).fails(exit, code);
        assert_eq!(kept(), server.url, "the good server stays remembered");
    }
    world.run(&["-C", "alice", "sync"]).ok();
}

/// Quotas: told by their names, counted over restarts and for each identity, and nothing is lost when one is crossed.
#[test]
fn an_identity_brings_as_much_as_it_may() {
    let world = World::new();
    let limited =
        |limit: &str| Server::start(&world, &[&OPEN[..], &["--listen", "127.0.0.1:0", "--limit", limit]].concat());
    let mut random = common::Random::new();
    let mut noise = || -> Vec<u8> { (0..60_000).map(|_| random.below(256) as u8).collect() };
    let [one, two, three] = [noise(), noise(), noise()];
    let server = limited("brought_bytes_per_identity_max=150000");
    world.run(&["init", "alice", "--remote", &server.url]).ok();
    fs::write(world.path("alice/one.bin"), one).unwrap();
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["clone", &server.url, "bob"]).ok();
    let port = server.port().to_owned();
    assert_eq!(server.stop(), Some(0));
    let again = |limit: &str| {
        let listen = format!("127.0.0.1:{port}");
        Server::start(&world, &[&OPEN[..], &["--listen", &listen, "--limit", limit]].concat())
    };
    let server = again("brought_bytes_per_identity_max=150000");
    fs::write(world.path("alice/two.bin"), &two).unwrap();
    let refused = world.run(&["-C", "alice", "sync"]).fails(1, "limit");
    assert!(refused.stderr.contains("brought_bytes_per_identity_max"), "{}", refused.stderr);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port().parse().unwrap())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    let metrics = std::io::read_to_string(stream).unwrap();
    assert!(metrics.contains("ibgib_limits_crossed_total{limit=\"brought_bytes_per_identity_max\"} 1"), "{metrics}");
    // Another identity has its own.
    fs::write(world.path("bob/three.bin"), three).unwrap();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(server.stop(), Some(0));
    let server = again("brought_bytes_max=10000000");
    world.run(&["-C", "alice", "sync"]).ok();
    world.run(&["-C", "bob", "sync"]).ok();
    assert_eq!(fs::read(world.path("bob/two.bin")).unwrap(), two);
    assert_eq!(server.stop(), Some(0));
    for bad in ["brought_bytes_max", "brought_bytes_max=x", "brought_bytes_max=0", "nothing_max=3"] {
        let said = world.run(&[&OPEN[..], &["--limit", bad]].concat()).fails(2, "usage");
        assert!(said.stderr.contains(bad), "{}", said.stderr);
    }
}

#[test]
fn health_is_asked_by_the_command_itself() {
    let world = World::new();
    let server = world.serve("server");
    let told = world.run(&["health", &server.url, "--json"]).ok().json();
    assert_eq!((text(&told, "status"), text(&told, "policy")), ("ok", "open"));
    assert!(world.run(&["health", &server.url]).ok().stdout.starts_with("status: ok\n"));
    let url = server.url.clone();
    assert_eq!(server.stop(), Some(0));
    world.run(&["health", &url]).fails(8, "unreachable");
}
