//! Doors for pairing, and what goes through them.

mod common;

use common::{Done, Server, World, number, text, times};
use ibgib::{Mode, Value};
use ibgib_pairing::client::{Event, Input, Wormhole};
use ibgib_pairing::connect::Session;
use ibgib_pairing::transcribe::{Options, SymmetricWormhole};
use ibgib_pairing::transfer::Note;
use ibgib_peer::entropy::OsEntropy;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Stdio};

#[test]
fn serve_tells_where_its_doors_stand() {
    let world = World::new();
    let serve = ["serve", "--space", "s", "--policy", "open", "--listen", "127.0.0.1:0"];
    let with = |more: &[&'static str]| [&serve[..], more].concat();
    let (server, mut printed) =
        Server::start_and_read(&world, &with(&["--door", "mailbox", "--door", "transit@127.0.0.1:0"]));
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, format!("door mailbox ws://127.0.0.1:{}/v1\n", server.port()));
    line.clear();
    printed.read_line(&mut line).unwrap();
    let at = line.trim_end().strip_prefix("door transit tcp:").unwrap_or_else(|| panic!("{line:?}"));
    let taken = format!("transit@{at}");
    world
        .run(&["serve", "--space", "t", "--policy", "open", "--listen", "127.0.0.1:0", "--door", &taken])
        .fails(1, "port_in_use");
    assert_eq!(server.stop(), Some(0));
    for wrong in [
        &["--door", "dance"][..],
        &["--door", "mailbox", "--door", "mailbox@127.0.0.1:0"],
        &["--door", "mailbox@nowhere"],
        &["--mailbox-no-list"],
    ] {
        world.run(&with(wrong)).fails(2, "usage");
    }
}

/// A server with a mailbox, and the mailbox's URL.
fn mailbox(world: &World) -> (Server, String) {
    let args = ["serve", "--space", "s", "--policy", "open", "--listen", "127.0.0.1:0", "--door", "mailbox"];
    let server = Server::start(world, &args);
    let url = server.url.replace("http", "ws") + "/v1";
    (server, url)
}

/// A command that goes on, and the first line that it prints.
struct Running {
    child: Child,
    printed: BufReader<ChildStdout>,
    first: String,
}

impl Running {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut child = world.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        printed.read_line(&mut first).unwrap();
        Self { child, printed, first: first.trim_end().to_owned() }
    }

    fn end(mut self) -> Done {
        let mut rest = String::new();
        self.printed.read_to_string(&mut rest).unwrap();
        let output = self.child.wait_with_output().unwrap();
        Done { stdout: format!("{}\n{rest}", self.first), ..Done::from(output) }
    }
}

#[test]
fn a_text_goes_to_whoever_has_the_code() {
    let world = World::new();
    let (server, url) = mailbox(&world);
    let sending = Running::start(&world, &["wormhole", "send", "hello\nthere", "--server", &url]);
    let code = sending.first.clone();
    assert!(code.split('-').count() == 3, "{code:?}");
    let got = world.run(&["wormhole", "receive", &code, "--server", &url]).ok();
    assert_eq!(got.stdout, "hello\nthere\n");
    sending.end().ok();
    // With a verifier, which both show; and as JSON.
    let mut sending = world
        .command(&["wormhole", "send", "x", "--server", &url, "--code", "5-a-b", "--verify", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sending.stdin.take().unwrap().write_all(b"yes\n").unwrap();
    let got = world.feed(&["wormhole", "receive", "5-a-b", "--server", &url, "--verify", "--json"], b"yes\n").ok();
    let sent = Done::from(sending.wait_with_output().unwrap()).ok();
    let (got, sent) = (got.lines(), sent.lines());
    assert_eq!((text(&sent[0], "code"), text(&got[1], "text")), ("5-a-b", "x"));
    assert_eq!(text(&sent[1], "verifier"), text(&got[0], "verifier"));
    drop(server);
}

#[test]
fn a_wrong_code_or_verifier_ends_both_and_nothing_travels() {
    let world = World::new();
    let (server, url) = mailbox(&world);
    let sending = Running::start(&world, &["wormhole", "send", "secret", "--server", &url, "--code", "7-a-b"]);
    let got = world.run(&["wormhole", "receive", "7-a-c", "--server", &url]).fails(7, "wrong_code");
    assert_eq!(got.stdout, "");
    sending.end().fails(7, "wrong_code");
    let sending = Running::start(&world, &["wormhole", "send", "secret", "--server", &url, "--code", "8-a-b"]);
    let refused = ["wormhole", "receive", "8-a-b", "--server", &url, "--verify"];
    world.feed(&refused, b"no\n").fails(7, "verifier_refused");
    sending.end().fails(8, "transfer_refused");
    world.run(&["wormhole", "receive", "8-a-b", "--server", &url, "--timeout", "1"]).fails(8, "nobody_came");
    world.run(&["wormhole", "receive", "nonsense", "--server", &url]).fails(2, "usage");
    world.run(&["wormhole", "receive", "8-a-b"]).fails(2, "usage");
    let nowhere = ["wormhole", "receive", "8-a-b", "--server", "ws://127.0.0.1:1/v1"];
    let nowhere = world.run(&nowhere).fails(8, "unreachable");
    assert!(!text(&nowhere.error(), "hint").contains("sync"), "{}", nowhere.stderr);
    drop(server);
}

#[test]
fn a_text_goes_in_the_form_of_2015() {
    let world = World::new();
    let (server, _) = mailbox(&world);
    let url = format!("{}/wormhole-relay/", server.url);
    for (first, second) in [("initiator", "receiver"), ("symmetric", "symmetric")] {
        let send = ["wormhole", "send", "hello", "--seed", first, "--server", &url];
        let receive = |code: &str| world.run(&["wormhole", "receive", code, "--seed", second, "--server", &url]);
        let sending = Running::start(&world, &send);
        assert_eq!(receive(&sending.first).ok().stdout, "hello\n");
        sending.end().ok();
        let sending = Running::start(&world, &[&send[..], &["--code", "7-a-b"]].concat());
        assert_eq!(receive("7-a-c").fails(7, "wrong_code").stdout, "");
        sending.end().fails(7, "wrong_code");
    }
    let sending = Running::start(&world, &["wormhole", "send", "x", "--seed", "initiator", "--server", &url]);
    let refused = ["wormhole", "receive", &sending.first, "--seed", "receiver", "--server", &url, "--verify"];
    world.feed(&refused, b"no\n").fails(7, "verifier_refused");
    sending.end().fails(8, "transfer_refused");
    let alone = ["wormhole", "receive", "9-a-b", "--seed", "receiver", "--timeout", "1", "--server"];
    world.run(&[&alone[..], &[&url]].concat()).fails(8, "nobody_came");
    let nowhere = world.run(&[&alone[..], &["http://127.0.0.1:1/wormhole-relay/"]].concat()).fails(8, "unreachable");
    assert!(!text(&nowhere.error(), "hint").contains("sync"), "{}", nowhere.stderr);
    for wrong in [&["send", "x", "--seed", "receiver"][..], &["send", "--file", "x", "--seed", "initiator"]] {
        world.run(&[&["wormhole"], wrong, &["--server", &url]].concat()).fails(2, "usage");
    }
    drop(server);
}

#[test]
fn a_file_goes_through_a_relay_and_is_never_written_over() {
    let world = World::new();
    let with = ["serve", "--space", "s", "--policy", "open", "--listen", "127.0.0.1:0"];
    let doors = ["--door", "mailbox", "--door", "transit@127.0.0.1:0"];
    let (server, mut printed) = Server::start_and_read(&world, &[&with[..], &doors].concat());
    let url = server.url.replace("http", "ws") + "/v1";
    let mut relay = String::new();
    while !relay.starts_with("door transit ") {
        relay.clear();
        printed.read_line(&mut relay).unwrap();
    }
    let relay = relay.trim_end().strip_prefix("door transit ").unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    fs::write(world.path("big.bin"), &bytes).unwrap();
    fs::create_dir(world.path("out")).unwrap();
    let send = ["wormhole", "send", "--file", "big.bin", "--server", &url, "--no-listen", "--transit-relay", relay];
    let sending = Running::start(&world, &send);
    let code = sending.first.clone();
    let receive = ["wormhole", "receive", &code, "-o", "out", "--server", &url, "--no-listen", "--accept", "--json"];
    let got = world.run(&receive).ok().json();
    sending.end().ok();
    assert_eq!(number(&got, &["bytes"]), bytes.len() as u64);
    assert!(fs::read(world.path("out/big.bin")).unwrap() == bytes);
    let sending = Running::start(&world, &send);
    let shown = sending.first.clone();
    world.run(&["wormhole", "receive", &shown, "-o", "out", "--server", &url, "--accept"]).fails(1, "file_exists");
    sending.end().fails(8, "transfer_refused");
    let sending = Running::start(&world, &send);
    let shown = sending.first.clone();
    fs::create_dir(world.path("other")).unwrap();
    // Nobody can be asked, and nobody said that it is to be taken.
    world.run(&["wormhole", "receive", &shown, "-o", "other", "--server", &url]).fails(1, "confirmation_needed");
    sending.end().fails(8, "transfer_refused");
    assert_eq!(fs::read_dir(world.path("other")).unwrap().count(), 0);
    drop(server);
}

#[test]
fn a_directory_goes_whole_and_is_never_written_over() {
    let world = World::new();
    let (server, url) = mailbox(&world);
    world.write("notes/one.txt", "one\n");
    world.write("notes/more/two.txt", "two\n");
    fs::create_dir(world.path("out")).unwrap();
    let send = ["wormhole", "send", "--file", "notes/", "--server", &url, "--json"];
    let receive = |shown: &str| {
        let shown = Value::parse(shown, Mode::Strict).unwrap();
        world.run(&["wormhole", "receive", text(&shown, "code"), "-o", "out", "--server", &url, "--accept", "--json"])
    };
    let sending = Running::start(&world, &send);
    let got = receive(&sending.first).ok().json();
    let sent = sending.end().ok().lines().pop().unwrap();
    assert_eq!((text(&sent, "sent"), text(&got, "received")), ("notes", "out/notes"));
    assert_eq!(text(&sent, "sha256"), text(&got, "sha256"));
    assert_eq!(
        (world.read("out/notes/one.txt"), world.read("out/notes/more/two.txt")),
        ("one\n".into(), "two\n".into())
    );
    let sending = Running::start(&world, &send);
    receive(&sending.first).fails(1, "file_exists");
    sending.end().fails(8, "transfer_refused");
    assert_eq!(fs::read_dir(world.path("out")).unwrap().count(), 1);
    drop(server);
}

#[test]
fn what_was_saved_goes_on_after_the_server_was_killed() {
    let world = World::new();
    let (server, url) = mailbox(&world);
    let port = format!("127.0.0.1:{}", server.port());
    let send = ["wormhole", "send", "later", "--server", &url, "--save", "state"];
    let code = world.run(&send).ok().stdout.trim_end().to_owned();
    assert_eq!(fs::metadata(world.path("state")).unwrap().permissions().mode() & 0o777, 0o600);
    world.run(&send).fails(1, "file_exists");
    fs::copy(world.path("state"), world.path("copy")).unwrap();
    server.kill();
    let again = ["serve", "--space", "s", "--policy", "open", "--listen", &port, "--door", "mailbox"];
    let server = Server::start(&world, &again);
    // Somebody who comes too early in vain loses nothing.
    world.run(&["wormhole", "resume", "state", "--server", &url, "--timeout", "1"]).fails(8, "nobody_came");
    assert!(world.path("state").exists());
    let going_on = world
        .command(&["wormhole", "resume", "state", "--server", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(world.run(&["wormhole", "receive", &code, "--server", &url]).ok().stdout, "later\n");
    Done::from(going_on.wait_with_output().unwrap()).ok();
    assert!(!world.path("state").exists());
    world.run(&["wormhole", "resume", "copy", "--server", &url]).fails(1, "bad_state");
    drop(server);
}

#[test]
fn a_second_device_ends_as_a_clone_and_both_know_each_other() {
    let world = World::new();
    let (server, url) = mailbox(&world);
    world.run(&["init", "a", "--remote", &server.url]).ok();
    world.write("a/one.txt", "one\n");
    world.run(&["-C", "a", "sync"]).ok();
    let wrong = Running::start(&world, &["-C", "a", "pair", "--json", "--code", "9-right-words"]);
    world.run(&["pair", "9-wrong-words", "b", "--server", &url]).fails(7, "wrong_code");
    wrong.end().fails(7, "wrong_code");
    assert!(!world.path("b").exists());
    let first = Running::start(&world, &["-C", "a", "pair", "--json"]);
    let code = text(&Value::parse(&first.first, Mode::Strict).unwrap(), "code").to_owned();
    let second = world.run(&["pair", &code, "b", "--server", &url, "--json"]).ok();
    let first = first.end().ok();
    assert_eq!(world.read("b/one.txt"), "one\n");
    let (told, there) = (first.lines().pop().unwrap(), second.lines().pop().unwrap());
    assert_eq!(text(&told, "folder"), text(&there, "folder"));
    let me =
        |device| text(&world.run(&["-C", device, "identity", "show", "--json"]).ok().json(), "identity").to_owned();
    assert_eq!((text(&told, "paired"), text(&there, "paired")), (&*me("b"), &*me("a")));
    for (device, other) in [("a", "b"), ("b", "a")] {
        let devices = world.run(&["-C", device, "devices", "--json"]).ok().lines();
        assert_eq!(devices.iter().map(|line| text(line, "identity")).collect::<Vec<_>>(), [&*me(other)]);
        assert_ne!(text(&devices[0], "name"), "");
    }
    // No code is needed again.
    world.write("b/two.txt", "two\n");
    world.run(&["-C", "b", "sync"]).ok();
    world.run(&["-C", "a", "sync"]).ok();
    assert_eq!(world.read("a/two.txt"), "two\n");
    drop(server);
}

/// Without `--policy` the server lets in whom its owner invites: the invite travels with the rest.
#[test]
fn the_invite_of_an_owner_travels_inside() {
    let world = World::new();
    let serve = ["serve", "--space", "s", "--listen", "127.0.0.1:0", "--door", "mailbox"];
    let (server, mut printed) = Server::start_and_read(&world, &serve);
    let mut line = String::new();
    while !line.starts_with("owner token ") {
        line.clear();
        assert_ne!(printed.read_line(&mut line).unwrap(), 0, "no owner token");
    }
    let token = line.trim().strip_prefix("owner token ").unwrap();
    world.write("a/one.txt", "one\n");
    world.run(&["init", "a", "--remote", &server.url, "--token", token]).ok();
    world.run(&["-C", "a", "sync"]).ok();
    let open = |world: &World| world.run(&["-C", "a", "grants", "--json"]).ok().lines().len();
    let before = open(&world);
    let url = server.url.replace("http", "ws") + "/v1";
    let wrong = Running::start(&world, &["-C", "a", "pair", "--code", "9-right-words"]);
    world.run(&["pair", "9-wrong-words", "b", "--server", &url]).fails(7, "wrong_code");
    wrong.end().fails(7, "wrong_code");
    assert_eq!(open(&world), before, "nobody was invited");
    let first = Running::start(&world, &["-C", "a", "pair"]);
    world.run(&["pair", &first.first, "b", "--server", &url]).ok();
    first.end().ok();
    world.write("b/one.txt", "two\n");
    world.run(&["-C", "b", "sync"]).ok();
    world.run(&["-C", "a", "sync"]).ok();
    assert_eq!(world.read("a/one.txt"), "two\n");
    let devices = world.run(&["-C", "a", "devices", "--json"]).ok().lines();
    assert_eq!(devices.len(), 2, "{devices:?}");
    assert_eq!(world.run(&["-C", "b", "devices", "--json"]).ok().lines().len(), 1, "it lists whom it was paired with");
    // A device of somebody who may not invite pairs, and the new one is not let in: both are told.
    let other = Running::start(&world, &["-C", "b", "pair"]);
    world.run(&["pair", &other.first, "c", "--server", &url]).fails(7, "not_granted");
    other.end().fails(8, "transfer_refused");
}

/// A program in the place of one device says what cannot be read; the other one tells it before it ends.
#[test]
fn a_device_that_fails_after_both_met_says_so() {
    let world = World::new();
    let (server, url) = mailbox(&world);
    let pair = ["pair", "9-a-b", "b", "--server", &url];
    let second = world.command(&pair).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let told = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut first = SymmetricWormhole::start("ibgib/pair", Session::remote(&url).unwrap(), Options::default());
        first.set_code("9-a-b").unwrap();
        first.send(b"nonsense".to_vec()).unwrap();
        let told = first.receive().await.unwrap();
        first.close().await.unwrap();
        told
    });
    assert!(matches!(&Note::read(&told).unwrap()[..], [Note::Refused(_)]), "{}", String::from_utf8_lossy(&told));
    Done::from(second.wait_with_output().unwrap()).fails(4, "bad_peer");
    drop(server);
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_no_message() {
    let kills = times("IBGIB_KILLS", 9);
    let messages = 5 * (kills - 1);
    let world = World::new();
    let (server, url) = mailbox(&world);
    let port = format!("127.0.0.1:{}", server.port());
    let restart = |server: Server| {
        server.kill();
        Server::start(&world, &["serve", "--space", "s", "--policy", "open", "--listen", &port, "--door", "mailbox"])
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let session = || {
            let wormhole = Wormhole::new("example.com/killed", &mut OsEntropy);
            Session::start(wormhole, Session::remote(&url).unwrap())
        };
        let mut sides = [session(), session()];
        sides[0].give(Input::default()).unwrap();
        let code = loop {
            if let Event::Code(code) = sides[0].next().await.unwrap() {
                break code;
            }
        };
        // Once with a number that one side has claimed and nothing else, then in the middle of all that is said.
        let mut server = restart(server);
        sides[1].give(Input::SetCode(code)).unwrap();
        for n in 0..messages {
            for side in &mut sides {
                side.give(Input::Send(n.to_string().into_bytes())).unwrap();
            }
        }
        let (mut got, mut killed) = ([0; 2], 1);
        while got != [messages; 2] {
            let [a, b] = &mut sides;
            let (at, event) = tokio::select! {
                event = a.next() => (0, event.unwrap()),
                event = b.next() => (1, event.unwrap()),
            };
            match event {
                Event::Received(message) => {
                    assert_eq!(message, got[at].to_string().into_bytes());
                    got[at] += 1;
                }
                Event::Ended(how) => panic!("{how:?}"),
                _ => {}
            }
            if (got[0] + got[1]) / 10 >= killed {
                server = restart(server);
                killed += 1;
            }
        }
        assert_eq!(killed, kills);
        let [a, b] = sides;
        tokio::join!(a.end(), b.end());
        drop(server);
    });
}
