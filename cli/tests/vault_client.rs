//! `ibgib vault`: two devices with one vault, from its registration to a changed password.

mod common;

use common::{Done, Server, World, text};
use ibgib::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

struct Devices {
    world: World,
    url: String,
}

/// A server whose vault everybody may sign up to.
fn vault(world: &World, space: &str, listen: &str) -> Server {
    let serve = ["serve", "--space", space, "--policy", "open", "--listen", listen];
    Server::start(world, &[&serve[..], &["--door", "vault", "--vault-admit", "all"]].concat())
}

impl Devices {
    /// Two devices, alice and bob, three passwords in files, and a server.
    fn start() -> (Self, Server) {
        let world = World::new();
        let server = vault(&world, "server", "127.0.0.1:0");
        for (name, password) in [("one", "123abc2\n"), ("two", "eggsandwich\n"), ("wrong", "456\n")] {
            world.write(name, password);
        }
        for device in ["alice", "bob"] {
            world.write(&format!("{device}/notes.txt"), "one\n");
            world.run(&["init", device]).ok();
        }
        (Self { url: server.url.clone(), world }, server)
    }

    fn run(&self, device: &str, password: &str, args: &[&str]) -> Done {
        let all = [&["-C", device, "--json", "vault", "--password-file", password][..], args];
        self.world.run(&all.concat())
    }

    fn at(&self, device: &str, password: &str, action: &str) -> Done {
        self.run(device, password, &["--vault-url", &self.url, "--email", "joe@example.com", action])
    }

    fn set(&self, device: &str, key: &str, value: &str) {
        self.run(device, "one", &["set", key, value]).ok();
    }

    fn get(&self, device: &str, password: &str, key: &str) -> String {
        self.run(device, password, &["get", key]).ok().stdout.trim().to_owned()
    }

    fn pushed(&self, device: &str, password: &str) -> String {
        self.run(device, password, &["push"]).ok().stdout.trim().to_owned()
    }
}

#[test]
fn two_devices_keep_one_vault_in_step() {
    let (devices, server) = Devices::start();
    let world = &devices.world;
    devices.run("alice", "one", &["status"]).fails(5, "no_vault");
    devices.at("bob", "one", "login").fails(5, "unknown_account");

    // Register, and a second device.
    let told = devices.at("alice", "one", "register").ok().json();
    assert_eq!(told.get("verified"), Some(&Value::from(true)));
    devices.run("alice", "one", &["set", "animal", "cow"]).fails(2, "usage");
    devices.set("alice", "animal", "\"cow\"");
    assert_eq!(devices.pushed("alice", "one"), r#"{"sequence":1}"#);
    devices.at("bob", "one", "register").fails(1, "registered");
    devices.at("bob", "one", "login").ok();
    let pulled = |device: &str, password: &str| devices.run(device, password, &["pull"]).ok().stdout.trim().to_owned();
    assert_eq!(pulled("bob", "one"), r#"{"sequence":1,"merged":false,"conflicts":[]}"#);
    assert_eq!(devices.get("bob", "one", "animal"), "\"cow\"");
    devices.run("bob", "wrong", &["get", "animal"]).fails(7, "wrong_password");
    devices.run("bob", "wrong", &["pull"]).fails(7, "wrong_password");
    devices.run("bob", "one", &["get", "car"]).fails(5, "no_key");

    // Changes of different keys merge.
    devices.set("alice", "car", "\"Audi\"");
    assert_eq!(devices.pushed("alice", "one"), r#"{"sequence":2}"#);
    devices.set("bob", "animal", "\"horse\"");
    devices.run("bob", "one", &["push"]).fails(1, "out_of_date");
    assert_eq!(pulled("bob", "one"), r#"{"sequence":2,"merged":true,"conflicts":[]}"#);
    assert_eq!(devices.pushed("bob", "one"), r#"{"sequence":3}"#);
    assert_eq!(pulled("alice", "one"), r#"{"sequence":3,"merged":false,"conflicts":[]}"#);
    assert_eq!(
        (devices.get("alice", "one", "animal"), devices.get("bob", "one", "car")),
        ("\"horse\"".into(), "\"Audi\"".into())
    );

    // A key that both changed waits for a decision.
    devices.set("alice", "animal", "\"beaver\"");
    devices.pushed("alice", "one");
    devices.run("bob", "one", &["unset", "animal"]).ok();
    let conflict =
        r#"{"sequence":4,"merged":true,"conflicts":[{"key":"animal","base":"horse","mine":null,"theirs":"beaver"}]}"#;
    assert_eq!(devices.run("bob", "one", &["pull"]).expect(3).stdout.trim(), conflict);
    devices.run("bob", "one", &["get", "animal"]).fails(5, "no_key");
    devices.run("bob", "one", &["push"]).fails(1, "conflicts_open");
    devices.run("bob", "one", &["passwd", "--new-password-file", "two"]).fails(1, "conflicts_open");
    devices.set("bob", "animal", "\"leemur\"");
    devices.run("bob", "one", &["passwd", "--new-password-file", "two"]).fails(1, "unpushed_changes");
    assert_eq!(devices.pushed("bob", "one"), r#"{"sequence":5}"#);
    pulled("alice", "one");

    // What is kept tells nothing.
    for (device, value) in [("alice", "leemur"), ("bob", "Audi")] {
        let kept = world.read(&format!("{device}/.ibgib/vault"));
        assert!(!kept.contains(value) && !kept.contains("123abc2"));
    }

    // A changed password ends every device's access; what was not pushed elsewhere goes on after logging in again.
    devices.set("bob", "car", "\"Toyota\"");
    let changed = devices.run("alice", "one", &["passwd", "--new-password-file", "two"]).ok();
    assert_eq!(changed.stdout.trim(), r#"{"sequence":6}"#);
    devices.run("alice", "two", &["pull"]).fails(7, "token_invalid");
    devices.run("bob", "one", &["push"]).fails(7, "token_invalid");
    devices.run("bob", "one", &["login"]).fails(7, "wrong_password");
    devices.run("bob", "two", &["login"]).ok();
    devices.run("bob", "two", &["get", "car"]).fails(1, "out_of_date");
    assert_eq!(pulled("bob", "two"), r#"{"sequence":6,"merged":false,"conflicts":[]}"#);
    assert_eq!(
        (devices.get("bob", "two", "car"), devices.get("bob", "two", "animal")),
        ("\"Toyota\"".into(), "\"leemur\"".into())
    );

    // Notices: what comes while it listens, and what the document is as a whole.
    devices.run("alice", "two", &["login"]).ok();
    let mut watch = world.command(&["-C", "alice", "--json", "vault", "watch", "--pull", "--password-file", "two"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(devices.pushed("bob", "two"), r#"{"sequence":7}"#);
    assert_eq!(lines.next().unwrap(), r#"{"sequence":7}"#);
    assert_eq!(lines.next().unwrap(), r#"{"sequence":7,"merged":false,"conflicts":[]}"#);
    watch.kill().unwrap();
    watch.wait().unwrap();
    let blob = devices.run("alice", "two", &["blob"]).ok().stdout;
    world.write("blob", &blob);
    let document = devices.run("alice", "two", &["blob", "--open", "blob"]).ok().json();
    let preference = |key: &str| text(document.get("preferences").unwrap().get(key).unwrap(), "value").to_owned();
    assert_eq!((preference("car"), preference("animal")), ("Toyota".into(), "leemur".into()));
    assert_eq!(server.stop(), Some(0));
    devices.run("alice", "two", &["pull"]).fails(8, "unreachable");
}

#[test]
fn a_password_may_change_before_anything_was_pushed() {
    let (devices, _server) = Devices::start();
    let world = &devices.world;
    devices.at("alice", "one", "register").ok();
    devices.at("bob", "one", "login").ok();
    devices.set("bob", "/wifi/home", "\"hunter2\"");
    devices.set("bob", "/accounts", "[1]");
    // As if it had ended between what the server did and what it writes itself.
    let before = world.read("alice/.ibgib/vault");
    devices.run("alice", "one", &["passwd", "--new-password-file", "two"]).ok();
    world.write("alice/.ibgib/vault", &before);
    devices.run("bob", "two", &["login"]).ok();
    let nothing = r#"{"sequence":0,"merged":false,"conflicts":[]}"#;
    assert_eq!(devices.run("bob", "two", &["pull"]).ok().stdout.trim(), nothing);
    assert_eq!(devices.pushed("bob", "two"), r#"{"sequence":1}"#);
    devices.run("alice", "two", &["login"]).ok();
    devices.run("alice", "two", &["set", "car", "1"]).ok();
    devices.run("alice", "two", &["pull"]).ok();
    assert_eq!(devices.get("alice", "two", "/wifi/home"), "\"hunter2\"");
    assert_eq!(devices.get("alice", "two", "/accounts"), "[1]");
    // A document whose accounts both changed waits for a decision, by the name that it is told by.
    devices.run("bob", "two", &["set", "/accounts", "[2]"]).ok();
    devices.pushed("bob", "two");
    devices.run("alice", "two", &["set", "/accounts", "[3]"]).ok();
    let pulled = devices.run("alice", "two", &["pull"]).expect(3).json();
    let conflicts = pulled.get("conflicts").and_then(Value::as_array).unwrap();
    assert_eq!((conflicts.len(), text(&conflicts[0], "key")), (1, "/accounts"));
    devices.run("alice", "two", &["push"]).fails(1, "conflicts_open");
    devices.run("alice", "two", &["set", "/accounts", "[2,3]"]).ok();
    assert_eq!(devices.pushed("alice", "two"), r#"{"sequence":3}"#);
}

#[test]
fn a_vault_begins_again_with_all_that_a_device_has_of_it() {
    let (mut devices, server) = Devices::start();
    devices.at("alice", "one", "register").ok();
    devices.set("alice", "animal", "\"cow\"");
    devices.pushed("alice", "one");
    devices.set("alice", "car", "\"Audi\"");
    devices.at("alice", "one", "register").fails(1, "registered");
    let kept = devices.world.read("alice/.ibgib/vault");
    // Another account does not take its place, and without its password it does not go elsewhere.
    let ann = ["--email", "ann@example.com", "register"];
    devices.run("alice", "one", &ann).fails(1, "unpushed_changes");
    let port = server.port().to_owned();
    assert_eq!(server.stop(), Some(0));
    let other = vault(&devices.world, "other", "127.0.0.1:0");
    devices.url = other.url.clone();
    devices.at("alice", "two", "register").fails(7, "wrong_password");
    assert_eq!(devices.world.read("alice/.ibgib/vault"), kept);
    // The old server is gone: a new one takes its place, elsewhere,
    let all_is_there = |devices: &Devices| {
        assert_eq!(devices.get("alice", "one", "animal"), "\"cow\"");
        assert_eq!(devices.get("alice", "one", "car"), "\"Audi\"");
        assert_eq!(devices.pushed("alice", "one"), r#"{"sequence":1}"#);
    };
    devices.at("alice", "one", "register").ok();
    all_is_there(&devices);
    devices.run("alice", "one", &ann).fails(2, "usage");
    // or where it was.
    drop(other);
    let again = vault(&devices.world, "again", &format!("127.0.0.1:{port}"));
    devices.url = again.url.clone();
    devices.at("alice", "one", "register").ok();
    all_is_there(&devices);
    drop(again);
    let again = vault(&devices.world, "once more", &format!("127.0.0.1:{port}"));
    devices.at("alice", "one", "register").ok();
    all_is_there(&devices);
    // A device that comes after it merges what it has.
    devices.at("bob", "one", "login").ok();
    devices.run("bob", "one", &["pull"]).ok();
    drop(again);
}

/// What a proxy does with what comes in.
#[derive(Clone, Copy, PartialEq)]
enum Passing {
    On,
    /// Its server is away, which it says itself.
    Away,
    /// WebSockets are taken and ended at once.
    OnWithoutSockets,
}

/// Stands before a server.
struct Proxy {
    url: String,
    passing: Arc<Mutex<(Passing, Vec<TcpStream>)>>,
    /// When a WebSocket was asked for, whatever came of it.
    sockets: mpsc::Receiver<Instant>,
    refused: mpsc::Receiver<()>,
}

impl Proxy {
    fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let passing = Arc::new(Mutex::new((Passing::On, Vec::new())));
        let ((socket, sockets), (refuse, refused)) = (mpsc::channel(), mpsc::channel());
        let now = Arc::clone(&passing);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server, now) = (client.unwrap(), server.clone(), Arc::clone(&now));
                let (socket, refuse) = (socket.clone(), refuse.clone());
                // A client or a server that goes away ends its connection, as it should.
                std::thread::spawn(move || pass(client, &server, &now, &socket, &refuse).ok());
            }
        });
        Self { url, passing, sockets, refused }
    }

    /// What is open ends with it.
    fn set(&self, passing: Passing) {
        let mut now = self.passing.lock().unwrap();
        now.0 = passing;
        now.1.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

fn pass(
    mut client: TcpStream,
    server: &str,
    now: &Mutex<(Passing, Vec<TcpStream>)>,
    socket: &mpsc::Sender<Instant>,
    refuse: &mpsc::Sender<()>,
) -> std::io::Result<()> {
    let head = head(&mut client)?;
    let is_socket = head.starts_with(b"GET /api/3/websocket");
    if is_socket {
        let _ = socket.send(Instant::now());
    }
    let mut server = TcpStream::connect(server)?;
    let passing = {
        let mut now = now.lock().unwrap();
        now.1.extend([client.try_clone()?, server.try_clone()?]);
        now.0
    };
    if passing == Passing::Away {
        let _ = refuse.send(());
        let page = "<html><h1>502 Bad Gateway</h1></html>";
        let head = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: ";
        client.write_all(format!("{head}{}\r\n\r\n{page}", page.len()).as_bytes())?;
        return client.shutdown(Shutdown::Both);
    }
    server.write_all(&head)?;
    if is_socket && passing == Passing::OnWithoutSockets {
        let answer = self::head(&mut server)?;
        client.write_all(&answer)?;
        return client.shutdown(Shutdown::Both);
    }
    let (mut back, mut forth) = (server.try_clone()?, client.try_clone()?);
    let going_back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut forth);
        forth.shutdown(Shutdown::Both)
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Both)?;
    going_back.join().unwrap()
}

/// The next of what a proxy tells. A client that has ended asks for nothing more.
#[track_caller]
fn came<T>(told: &mpsc::Receiver<T>) -> T {
    told.recv_timeout(Duration::from_secs(120)).expect("it asks again")
}

/// Up to the empty line.
fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

#[test]
fn a_watch_outlives_a_server_that_is_away_and_does_not_ask_without_a_pause() {
    let (mut devices, server) = Devices::start();
    let proxy = Proxy::before(&server.url);
    devices.url.clone_from(&proxy.url);
    devices.at("alice", "one", "register").ok();
    let args = ["-C", "alice", "--json", "vault", "watch", "--pull", "--password-file", "one"];
    let watch = || devices.world.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let end = |mut watch: Child| {
        watch.kill().unwrap();
        watch.wait().unwrap();
    };
    let mut first = watch();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut pushed = |n: u64| {
        devices.set("alice", "n", &n.to_string());
        assert_eq!(devices.pushed("alice", "one"), format!(r#"{{"sequence":{n}}}"#));
        assert_eq!(lines.next().unwrap(), format!(r#"{{"sequence":{n}}}"#));
        assert_eq!(lines.next().unwrap(), format!(r#"{{"sequence":{n},"merged":false,"conflicts":[]}}"#));
    };
    // From here on it tells of all that is pushed.
    came(&proxy.sockets);
    pushed(1);
    proxy.set(Passing::Away);
    (0..2).for_each(|_| came(&proxy.refused));
    proxy.set(Passing::On);
    came(&proxy.sockets);
    pushed(2);
    end(first);
    proxy.set(Passing::OnWithoutSockets);
    let second = watch();
    let asked: Vec<Instant> = (0..3).map(|_| came(&proxy.sockets)).collect();
    // It waits this long at least, twice as long the second time; how much longer is the machine's.
    assert!(asked[2] - asked[0] >= Duration::from_millis(750 + 1_500));
    end(second);
}

#[test]
fn an_identity_comes_back_from_the_vault_on_a_new_machine() {
    let (devices, _server) = Devices::start();
    let world = &devices.world;
    let identity = |device: &str, args: &[&str]| {
        let all = ["-C", device, "--json", "identity", args[0], "--vault", "--password-file", "one"];
        world.run(&[&all[..], &args[1..]].concat())
    };
    let shown = |device: &str| {
        text(&world.run(&["-C", device, "--json", "identity", "show"]).ok().json(), "identity").to_owned()
    };
    world.write("alice2/notes.txt", "one\n");
    world.run(&["init", "alice2", "--remote", &devices.url]).ok();
    world.run(&["-C", "alice2", "sync"]).ok();
    let tjp = shown("alice2");
    let recovery = world.read("alice2/.ibgib/recovery");

    devices.at("alice2", "one", "register").ok();
    let with_recovery = |password| ["backup", "--with-recovery", "--recovery-password-file", password];
    identity("alice2", &with_recovery("one")).fails(2, "usage");
    let told = identity("alice2", &["backup"]).ok();
    assert_eq!(told.stdout.trim(), format!(r#"{{"identity":"{tjp}","recovery":false,"sequence":1}}"#));
    let told = identity("alice2", &with_recovery("two")).ok();
    assert_eq!(told.stdout.trim(), format!(r#"{{"identity":"{tjp}","recovery":true,"sequence":2}}"#));
    let told = identity("alice2", &["backup"]).ok();
    assert_eq!(told.stdout.trim(), format!(r#"{{"identity":"{tjp}","recovery":true,"sequence":3}}"#), "it stays");
    // A secret that is another's does not take the good one's place.
    world.write("other", &"ab".repeat(32));
    let other = ["backup", "--with-recovery", "--recovery-secret-file", "other", "--recovery-password-file", "two"];
    identity("alice2", &other).fails(7, "identity_wrong_secret");
    // Whoever has the root password has one of the two secrets.
    let opened = world.run(&["-C", "alice2", "vault", "blob", "--open", "--password-file", "one"]).ok().stdout;
    assert!(opened.contains(world.read("alice2/.ibgib/secret").trim()) && !opened.contains(recovery.trim()));
    // As after a restore that was killed: the identity is there, and the secret still the device's own.
    devices.at("bob", "one", "login").ok();
    devices.run("bob", "one", &["pull"]).ok();
    std::fs::remove_dir_all(world.path("bob/.ibgib/space")).unwrap();
    let spaces = ["alice2", "bob"].map(|device| world.path(&format!("{device}/.ibgib/space")));
    assert!(Command::new("cp").arg("-a").args(spaces).status().unwrap().success());
    assert_eq!(shown("bob"), tjp);
    identity("bob", &["backup"]).fails(7, "identity_wrong_secret");
    // The machine is lost.
    std::fs::remove_dir_all(world.path("alice2")).unwrap();

    world.run(&["init", "new", "--remote", &devices.url]).ok();
    let fresh = shown("new");
    identity("new", &["restore", "--yes"]).fails(5, "no_vault");
    devices.at("new", "one", "login").ok();
    identity("new", &["restore", "--yes"]).fails(5, "no_key");
    devices.run("new", "one", &["pull"]).ok();
    identity("new", &["restore"]).fails(1, "confirmation_needed");
    let wrong = ["restore", "--yes", "--with-recovery", "--recovery-password-file", "one"];
    identity("new", &wrong).fails(7, "wrong_password");
    assert_eq!(shown("new"), fresh);
    let restored = identity("new", &["restore", "--yes"]).ok().json();
    assert_eq!((text(&restored, "identity"), shown("new")), (&*tjp, tjp.clone()));
    assert!(!world.path("new/.ibgib/recovery").exists(), "the one of the identity that went");
    world.write("new/notes.txt", "two\n");
    world.run(&["-C", "new", "sync"]).ok();
    // The device's side of the vault goes on, and so does the restoring.
    devices.set("new", "n", "1");
    identity("new", &["restore", "--yes"]).fails(1, "unpushed_changes");
    devices.pushed("new", "one");
    let again = ["restore", &tjp, "--with-recovery", "--recovery-password-file", "two"];
    identity("new", &again).ok();
    assert_eq!(world.read("new/.ibgib/recovery").trim(), recovery.trim());
    world.run(&["-C", "new", "identity", "recover", "--json"]).ok();
    world.run(&["-C", "new", "sync"]).ok();

    // What was backed up before signs nothing any more.
    devices.run("new", "one", &["status"]).ok();
    world.run(&["init", "late", "--remote", &devices.url]).ok();
    devices.at("late", "one", "login").ok();
    devices.run("late", "one", &["pull"]).ok();
    identity("late", &["restore", "--yes"]).fails(7, "identity_wrong_secret");
    world.run(&["-C", "late", "sync"]).ok();
}

#[test]
fn a_document_opens_without_an_account() {
    let world = World::new();
    let blobs = include_str!("../../doors/vault/tests/blobs.json");
    let blobs = Value::parse(blobs, ibgib::Mode::Strict).unwrap();
    world.write("password", "123abc2");
    let open = |blob: &str| {
        world.write("blob", blob);
        world.run(&["vault", "blob", "--open", "blob", "--password-file", "password", "--json"])
    };
    let wallet = open(text(&blobs, "7")).ok().json();
    assert_eq!(text(wallet.get("preferences").unwrap().get("car").unwrap(), "value"), "Toyota");
    open(text(&blobs, "8")).fails(7, "wrong_password");
    open("AAAA").fails(4, "damaged_vault");
}
