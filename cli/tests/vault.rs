//! `serve --door vault` as operators and clients of the protocol meet it.

mod common;

use common::{Random, Server, World, http_body, text, times};
use ibgib::{Mode, Value};
use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

const OPEN: [&str; 7] = ["serve", "--space", "server", "--policy", "open", "--listen", "127.0.0.1:0"];
const JOE: &str = "joe@example.com";

fn post(server: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, answer) = http_body(server, "POST", &format!("/api/3{path}"), &[], body);
    (status, json(&answer))
}

fn get(server: &str, path: &str) -> (u16, Value) {
    let (status, answer) = http_body(server, "GET", &format!("/api/3{path}"), &[], "");
    (status, json(&answer))
}

fn json(answer: &str) -> Value {
    Value::parse(answer.split_once("\r\n\r\n").unwrap().1.trim_end(), Mode::Strict).unwrap()
}

fn sign_up(server: &str, email: &str) -> u16 {
    let seed = "ab".repeat(32);
    post(server, "/signup", &format!(r#"{{"email":"{email}","password":"password0","clientSaltSeed":"{seed}"}}"#)).0
}

/// Logs in; the token, if the password is the account's.
fn log_in(server: &str, password: &str) -> Option<String> {
    let body = format!(r#"{{"email":"{JOE}","password":"{password}","deviceId":"laptop"}}"#);
    let (status, token) = post(server, "/auth/full", &body);
    assert!([200, 401].contains(&status), "{token}");
    (status == 200).then(|| text(&token, "token").to_owned())
}

#[test]
fn the_first_lines_tell_where_the_door_is() {
    let world = World::new();
    let serve = |more: &[&str]| {
        let mut child = world.command(&[&OPEN[..], more].concat());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        let second = more.contains(&"--json").then(String::new).or_else(|| lines.next());
        child.kill().unwrap();
        child.wait().unwrap();
        (first, second.unwrap())
    };
    let (first, _) = serve(&["--door", "vault@127.0.0.1:0", "--json"]);
    let first = Value::parse(&first, Mode::Strict).unwrap();
    let door = text(first.get("doors").unwrap(), "vault");
    assert!(door.starts_with("http://127.0.0.1:") && door != text(&first, "listening"), "{first}");
    let (first, second) = serve(&["--door", "vault"]);
    assert_eq!(second, first.replace("listening", "door vault"));
}

#[test]
fn doors_that_cannot_be_are_told_before_anything_is_served() {
    let world = World::new();
    world.write("list", "not an address\n");
    for more in [
        &["--door", "cellar"][..],
        &["--door", "vault@nowhere"],
        &["--door", "vault", "--door", "vault@127.0.0.1:0"],
        &["--vault-admit", "all"],
        &["--door", "vault", "--vault-admit", "all", "--vault-mail-command", "cat"],
        &["--door", "vault", "--vault-admit", "list"],
        // Nobody reaches a server by these.
        &["--door", "vault@0.0.0.0:0", "--vault-admit", "email"],
        &["--door", "vault@[::]:0", "--vault-admit", "email"],
    ] {
        world.run(&[&OPEN[..], more].concat()).fails(2, "usage");
    }
    world.run(&[&OPEN[..], &["--door", "vault", "--vault-admit", "missing"]].concat()).fails(5, "not_found");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let door = format!("vault@{}", taken.local_addr().unwrap());
    world.run(&[&OPEN[..], &["--door", &door]].concat()).fails(1, "port_in_use");
}

#[test]
fn the_list_of_who_may_sign_up_is_read_again_at_a_hangup() {
    let world = World::new();
    world.write("list", "# friends\njoe@example.com # Joe\n");
    let server = Server::start(&world, &[&OPEN[..], &["--door", "vault", "--vault-admit", "list"]].concat());
    let log_says = |what: &str| {
        let started = Instant::now();
        while !world.read("server.log").contains(what) {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}");
            sleep(Duration::from_millis(10));
        }
    };
    assert_eq!((sign_up(&server.url, JOE), sign_up(&server.url, "ann#1@example.com")), (201, 403));
    world.write("list", "nonsense\n");
    server.signal("-HUP");
    log_says("could not be read again");
    assert_eq!(sign_up(&server.url, "ann#1@example.com"), 403);
    world.write("list", "ann#1@example.com\n");
    server.signal("-HUP");
    log_says("who may sign up to the vault was read again");
    assert_eq!(sign_up(&server.url, "ann#1@example.com"), 201);
    assert_eq!(server.stop(), Some(0));
    world.fsck(&["--space", "server"]);
}

#[test]
fn links_call_the_server_by_its_name() {
    let world = World::new();
    let command = format!("cat > {}", world.path("mail").display());
    let more =
        ["--door", "vault", "--vault-admit", "email", "--vault-mail-command", &command, "--name", "vault.example:8090"];
    let server = Server::start(&world, &[&OPEN[..], &more].concat());
    assert_eq!(sign_up(&server.url, JOE), 201);
    let mail = Value::parse(&world.read("mail"), Mode::Strict).unwrap();
    assert_eq!(text(&mail, "to"), JOE);
    let (name, token) = text(&mail, "link").split_once("/api/3/verify?verifyToken=").unwrap();
    assert_eq!(name, "http://vault.example:8090");
    assert_eq!(log_in(&server.url, "password0"), None);
    let (status, _) = http_body(&server.url, "GET", &format!("/api/3/verify?verifyToken={token}"), &[], "");
    assert_eq!(status, 200);
    assert!(log_in(&server.url, "password0").is_some());
    // What opens an account stands in no log.
    assert!(!world.read("server.log").contains(token));
}

/// Sends a request whose server may be killed meanwhile; its status, if it was answered.
fn send(server: &str, path: &str, body: &str) -> std::thread::JoinHandle<Option<u16>> {
    let address = server.strip_prefix("http://").unwrap().to_owned();
    let request = format!("POST /api/3{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let request = format!("{request}Content-Length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(&address).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        // What was read before the end counts.
        let _ = stream.read_to_string(&mut answer);
        answer.split(' ').nth(1)?.parse().ok()
    })
}

#[test]
fn a_server_killed_around_a_change_of_the_password_has_the_old_one_or_the_new_one() {
    let mut random = Random::new();
    let world = World::new();
    let mut server = Server::start(&world, &[&OPEN[..], &["--door", "vault", "--vault-admit", "all"]].concat());
    let listen = format!("127.0.0.1:{}", server.port());
    assert_eq!(sign_up(&server.url, JOE), 201);
    let token = log_in(&server.url, "password0").unwrap();
    let first = format!(r#"{{"token":"{token}","encryptedWallet":"w1","sequence":1,"hmac":"h1"}}"#);
    assert_eq!(post(&server.url, "/wallet", &first).0, 200);
    // Which password holds, by the wallet's sequence.
    let (mut sequence, mut seed, mut changes) = (1, "ab".repeat(32), 0);
    for round in 1..=times("IBGIB_KILLS", 50) / 5 {
        let old = format!("password{}", sequence - 1);
        let token = log_in(&server.url, &old).unwrap();
        let next = sequence + 1;
        let new_seed = format!("{round:064x}");
        let body = format!(
            r#"{{"email":"{JOE}","oldPassword":"{old}","newPassword":"password{sequence}","clientSaltSeed":"{new_seed}","encryptedWallet":"w{next}","sequence":{next},"hmac":"h{next}"}}"#
        );
        let sent = send(&server.url, "/password", &body);
        sleep(Duration::from_millis(random.below(500) as u64));
        server.kill();
        let told = sent.join().unwrap();
        let args = ["serve", "--space", "server", "--policy", "open", "--listen", &listen, "--door", "vault"];
        server = Server::start(&world, &args);
        let url = &server.url;
        let is_new = log_in(url, &format!("password{sequence}")).is_some();
        assert_eq!(log_in(url, &old).is_some(), !is_new, "one of both, round {round}");
        // What was acknowledged is there, and all of it belongs together.
        assert!(is_new || told.is_none(), "round {round}: {told:?}");
        if is_new {
            (sequence, seed) = (next, new_seed);
            changes += 1;
            assert_eq!(get(url, &format!("/wallet?token={token}")).0, 401);
        }
        let token = log_in(url, &format!("password{}", sequence - 1)).unwrap();
        let (_, wallet) = get(url, &format!("/wallet?token={token}"));
        assert_eq!(text(&wallet, "encryptedWallet"), format!("w{sequence}"));
        assert_eq!(wallet.get("sequence").and_then(Value::as_u53), Some(sequence));
        let (_, told) = get(url, "/client-salt-seed?email=am9lQGV4YW1wbGUuY29t");
        assert_eq!(text(&told, "clientSaltSeed"), seed);
    }
    println!("{changes} of the changes came through");
    assert_eq!(server.stop(), Some(0));
    world.fsck(&["--space", "server"]);
}
