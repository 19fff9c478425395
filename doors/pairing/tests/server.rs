//! The mailbox server and the transit relay over real sockets.
#![allow(clippy::disallowed_methods, reason = "the environment chooses how long it runs")]

use futures_util::{SinkExt as _, StreamExt as _};
use ibgib_pairing::PairingError;
use ibgib_pairing::client::{Event, Input, Wormhole};
use ibgib_pairing::code::Code;
use ibgib_pairing::connect::Session;
use ibgib_pairing::error::Misuse;
use ibgib_pairing::mailbox::Limits;
use ibgib_pairing::server::{MailboxDoor, MailboxOptions, TransitDoor, TransitOptions};
use ibgib_pairing::transcribe::{Initiator, Options, Receiver, SymmetricWormhole, WormholeError};
use ibgib_peer::entropy::OsEntropy;
use ibgib_peer::{Host, HostOptions};
use ibgib_server::rows::{Rows, Table};
use ibgib_server::{Mount, ServeOptions, Server};
use ibgib_spaces::{MemorySpace, Space};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const APP: &str = "example.com/test";

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

async fn serve_at(space: Arc<dyn Space>, options: MailboxOptions, listen: SocketAddr) -> (Server, MailboxDoor) {
    let door = MailboxDoor::new(Arc::clone(&space), options, true);
    let doors = vec![Mount::here(Arc::new(door.clone()))];
    let host = Host::new(space, HostOptions::default());
    // All clients of a test have one address.
    let http_connections_per_address_max = ServeOptions::default().http_connections_max;
    let options = ServeOptions { listen, doors, http_connections_per_address_max, ..ServeOptions::default() };
    let server = Server::start(host, options).await.unwrap();
    (server, door)
}

async fn serve() -> (Server, MailboxDoor, Arc<dyn Space>) {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("mailbox"));
    let (server, door) = serve_at(Arc::clone(&space), MailboxOptions::default(), anywhere()).await;
    (server, door, space)
}

fn url(server: &Server) -> String {
    server.doors()[0].1.clone()
}

fn session(url: &str) -> Session {
    Session::start(Wormhole::new(APP, &mut OsEntropy), Session::remote(url).unwrap())
}

/// Goes on until the code is known.
async fn code_of(session: &mut Session) -> Code {
    loop {
        if let Event::Code(code) = session.next().await.unwrap() {
            return code;
        }
    }
}

/// Goes on until a message comes.
async fn received(session: &mut Session) -> Vec<u8> {
    loop {
        match session.next().await.unwrap() {
            Event::Received(message) => return message,
            Event::Ended(how) => panic!("{how:?}"),
            _ => {}
        }
    }
}

async fn ended(session: &mut Session) -> Result<(), PairingError> {
    loop {
        if let Event::Ended(how) = session.next().await.unwrap() {
            return how;
        }
    }
}

/// Rows that are left.
async fn rows_left(space: &Arc<dyn Space>) -> [usize; 3] {
    let rows = Rows::new(Arc::clone(space), "mailbox");
    let mut left = [0; 3];
    for (at, table) in ["nameplate", "mailbox", "message"].into_iter().enumerate() {
        left[at] = rows.all::<Value>(Table::passing(table), "").await.unwrap().len();
    }
    left
}

#[tokio::test]
async fn two_devices_exchange_messages_and_nothing_is_left() {
    let (server, _, space) = serve().await;
    let (mut a, mut b) = (session(&url(&server)), session(&url(&server)));
    a.give(Input::default()).unwrap();
    let code = code_of(&mut a).await;
    b.give(Input::SetCode(code)).unwrap();
    let large = vec![7; 1 << 18];
    for n in 0..20_u8 {
        a.give(Input::Send(vec![n])).unwrap();
        b.give(Input::Send([&[n], &*large].concat())).unwrap();
    }
    let (there, back) = tokio::join!(
        async {
            for n in 0..20_u8 {
                assert_eq!(received(&mut a).await[0], n);
            }
            a
        },
        async {
            for n in 0..20_u8 {
                assert_eq!(received(&mut b).await, [n]);
            }
            b
        }
    );
    assert_ne!(rows_left(&space).await, [0; 3]);
    tokio::join!(there.end(), back.end());
    assert_eq!(rows_left(&space).await, [0; 3]);
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_given_leaves_though_nobody_asks_what_happens_next() {
    let (server, _, _) = serve().await;
    let (mut a, mut b) = (session(&url(&server)), session(&url(&server)));
    a.give(Input::SetCode(Code::parse("7-one-two").unwrap())).unwrap();
    b.give(Input::SetCode(Code::parse("7-one-two").unwrap())).unwrap();
    b.give(Input::Send(b"ready".to_vec())).unwrap();
    let to_a = async { received(&mut a).await };
    let to_b = async { while !matches!(b.next().await.unwrap(), Event::Confirmed(_)) {} };
    tokio::join!(to_a, to_b);
    a.give(Input::Send(b"go".to_vec())).unwrap();
    assert_eq!(received(&mut b).await, b"go");
    tokio::join!(a.end(), b.end());
    server.shutdown().await;
}

#[tokio::test]
async fn a_chosen_number_counts_as_one_that_is_given() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("mailbox"));
    let limits = Limits { nameplates_max: 2, ..Limits::default() };
    let options = MailboxOptions { limits, ..MailboxOptions::default() };
    let (server, _) = serve_at(space, options, anywhere()).await;
    let fixed = |code: &str| {
        let mut wormhole = wormhole(&url(&server), Options::default());
        wormhole.set_code(code).unwrap();
        wormhole
    };
    let (mut one, mut two) = (fixed("1-a"), fixed("2-a"));
    one.serialize().await.unwrap();
    two.serialize().await.unwrap();
    let refused = fixed("3-a").serialize().await;
    assert_eq!(why(refused), PairingError::Refused("too many nameplates are in use".into()));
    // Whoever comes to a number that is in use needs no room.
    let mut other = fixed("2-a");
    let (here, there) = tokio::join!(two.get_verifier(), other.get_verifier());
    assert_eq!(here.unwrap(), there.unwrap());
    server.shutdown().await;
}

fn wormhole(url: &str, options: Options) -> SymmetricWormhole {
    SymmetricWormhole::start(APP, Session::remote(url).unwrap(), options)
}

fn why<T: std::fmt::Debug>(result: Result<T, WormholeError>) -> PairingError {
    match result {
        Err(WormholeError::Pairing(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_code_is_typed_with_help_and_data_goes_both_ways() {
    let (server, _, space) = serve().await;
    let remote = || Session::remote(&url(&server)).unwrap();
    let mut initiator = Initiator::start(APP, remote(), Options::default());
    let mut receiver = Receiver::start(APP, remote(), Options::default());
    let code = initiator.get_code().await.unwrap();
    let (number, words) = code.as_str().split_once('-').unwrap();
    let mut typing = receiver.input_code().unwrap();
    assert_eq!(typing.complete_words("a").unwrap_err(), Misuse::ChooseNumberFirst);
    assert_eq!(typing.choose_words("a-b"), Err(Misuse::ChooseNumberFirst.into()));
    assert_eq!(typing.complete_number("").await.unwrap(), [number]);
    typing.choose_number(number).unwrap();
    assert_eq!(typing.choose_number(number), Err(Misuse::AlreadyChoseNumber.into()));
    assert_eq!(typing.complete_words(words).unwrap(), [words]);
    typing.choose_words(words).unwrap();
    assert_eq!(typing.choose_words(words), Err(Misuse::AlreadyChoseWords.into()));
    let (here, there) = tokio::join!(initiator.get_verifier(), receiver.get_verifier());
    assert_eq!(here.unwrap(), there.unwrap());
    let (data, back) = (b"initiator's".to_vec(), b"receiver's".to_vec());
    let (theirs, ours) = tokio::join!(initiator.get_data(data), receiver.get_data(back));
    assert_eq!((theirs.unwrap(), ours.unwrap()), (b"receiver's".to_vec(), b"initiator's".to_vec()));
    assert_eq!(rows_left(&space).await, [0; 3]);
    assert_eq!(why(initiator.get_data(Vec::new()).await), Misuse::AlreadySent.into());
    server.shutdown().await;
}

/// Lets an hour pass in a moment.
async fn an_hour() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_600)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn whoever_types_a_code_has_as_long_as_he_wants() {
    let (server, ..) = serve().await;
    let url = url(&server);
    let mut first = wormhole(&url, Options { timeout: None, ..Options::default() });
    let code = first.get_code().await.unwrap();
    let (number, words) = code.as_str().split_once('-').unwrap();
    let mut second = wormhole(&url, Options::default());
    let mut typing = second.input_code().unwrap();
    an_hour().await;
    assert_eq!(typing.complete_number("").await.unwrap(), [number]);
    typing.choose_number(number).unwrap();
    an_hour().await;
    typing.choose_words(words).unwrap();
    let (theirs, ours) = tokio::join!(first.get_data(b"one".to_vec()), second.get_data(b"two".to_vec()));
    assert_eq!((theirs.unwrap(), ours.unwrap()), (b"two".to_vec(), b"one".to_vec()));
    // Nor does what was waited before a code is set count against the other device.
    let (mut first, mut second) = (wormhole(&url, Options::default()), wormhole(&url, Options::default()));
    an_hour().await;
    first.set_code("7-a-b").unwrap();
    second.set_code("7-a-b").unwrap();
    let (theirs, ours) = tokio::join!(first.get_verifier(), second.get_verifier());
    assert_eq!(theirs.unwrap(), ours.unwrap());
    server.shutdown().await;
}

/// As many at once as `IBGIB_PAIRS` says.
#[tokio::test(flavor = "multi_thread")]
async fn many_pairs_meet_at_once_each_its_own() {
    let pairs = std::env::var("IBGIB_PAIRS").map_or(50, |told| told.parse().expect("IBGIB_PAIRS is a number"));
    let (server, _, space) = serve().await;
    let url = url(&server);
    let patient = Options { timeout: Some(Duration::from_secs(3_600)), ..Options::default() };
    // A client gives up when it does not get a connection in ten seconds. This process is all of the clients, and their server:
    // so few at a time come, each pair stays, and they speak once all are there.
    let doorway = Arc::new(Semaphore::new(32));
    let all_are_there = Arc::new(Barrier::new(pairs));
    let all = (0..pairs).map(|n: usize| {
        let (url, patient) = (url.clone(), patient.clone());
        let (doorway, all_are_there) = (Arc::clone(&doorway), Arc::clone(&all_are_there));
        tokio::spawn(async move {
            let coming = doorway.acquire().await.unwrap();
            let (mut a, mut b) = (wormhole(&url, patient.clone()), wormhole(&url, patient));
            b.set_code(a.get_code().await.unwrap().as_str()).unwrap();
            let verifiers = tokio::try_join!(a.get_verifier(), b.get_verifier()).unwrap();
            assert_eq!(verifiers.0, verifiers.1);
            drop(coming);
            all_are_there.wait().await;
            let (to_b, to_a) = (format!("to {n}").into_bytes(), format!("from {n}").into_bytes());
            let met = tokio::try_join!(a.get_data(to_b.clone()), b.get_data(to_a.clone()));
            assert_eq!(met.unwrap(), (to_a, to_b));
        })
    });
    for met in futures_util::future::join_all(all).await {
        met.unwrap();
    }
    assert_eq!(rows_left(&space).await, [0; 3]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_wormhole_waits_for_days_in_a_file_and_each_misuse_is_told() {
    let (server, _, _) = serve().await;
    let url = url(&server);
    let held = Options { held: true, app_versions: json!({"v": 1}), ..Options::default() };
    let mut first = wormhole(&url, held.clone());
    assert_eq!(why(first.get_verifier().await), Misuse::NoCode.into());
    assert_eq!(why(first.get_data(Vec::new()).await), Misuse::NoCode.into());
    assert_eq!(why(first.serialize().await), Misuse::NoCode.into());
    assert_eq!(first.derive_key("x", 32).unwrap_err(), Misuse::NoKey.into());
    let code = first.get_code_of(3).await.unwrap();
    assert_eq!(why(first.get_code().await), Misuse::OnlyOneCode.into());
    assert_eq!(first.set_code("7-a-b"), Err(Misuse::OnlyOneCode.into()));
    assert!(first.input_code().is_err());
    let saved = first.serialize().await.unwrap();
    first.suspend().await;
    let mut second = wormhole(&url, Options::default());
    assert!(matches!(second.set_code("seven"), Err(PairingError::BadCode { .. })));
    second.set_code(code.as_str()).unwrap();
    let (remote, copy) = (Session::remote(&url).unwrap(), Session::remote(&url).unwrap());
    let mut first = SymmetricWormhole::from_serialized(&saved, remote, &held).unwrap();
    let (versions, _) = tokio::join!(second.versions(), first.versions());
    assert_eq!(versions.unwrap(), json!({"v": 1}));
    assert_eq!(why(first.serialize().await), Misuse::NotNow.into());
    assert_eq!(*first.derive_key("x", 32).unwrap(), *second.derive_key("x", 32).unwrap());
    let mut copy = SymmetricWormhole::from_serialized(&saved, copy, &held).unwrap();
    assert!(matches!(why(copy.get_verifier().await), PairingError::BadState(_)));
    let (a, b) = tokio::join!(first.get_data(b"a".to_vec()), second.get_data(b"b".to_vec()));
    assert_eq!((a.unwrap(), b.unwrap()), (b"b".to_vec(), b"a".to_vec()));
    assert_eq!(second.send(Vec::new()), Err(Misuse::Closed.into()));
    // Nobody comes.
    let mut lonely = wormhole(&url, Options { timeout: Some(Duration::from_millis(100)), ..Options::default() });
    lonely.set_code("7-a-b").unwrap();
    assert_eq!(why(lonely.get_data(Vec::new()).await), PairingError::TimedOut);
    server.shutdown().await;
}

#[tokio::test]
async fn a_server_may_demand_work() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("mailbox"));
    let options = MailboxOptions { hashcash_bits: 8, ..MailboxOptions::default() };
    let (server, _) = serve_at(space, options, anywhere()).await;
    let (mut a, mut b) = (wormhole(&url(&server), Options::default()), wormhole(&url(&server), Options::default()));
    b.set_code(a.get_code().await.unwrap().as_str()).unwrap();
    let (theirs, ours) = tokio::join!(a.get_data(b"a".to_vec()), b.get_data(b"b".to_vec()));
    assert_eq!((theirs.unwrap(), ours.unwrap()), (b"b".to_vec(), b"a".to_vec()));
    // Whoever shows none, or that of somebody else, comes no further.
    let mut lazy = Raw::connect(&server, "s").await;
    assert_eq!(lazy.answer().await["error"], "must submit-permission first");
    let stamp = json!({"type": "submit-permission", "method": "hashcash", "stamp": "1:8:261128:foo::x:0"});
    assert_eq!(lazy.ask(stamp).await["error"], "the stamp is not good for this connection");
    server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_code_ends_both_and_is_counted() {
    let (server, _, _) = serve().await;
    let (mut a, mut b) = (session(&url(&server)), session(&url(&server)));
    a.give(Input::SetCode(Code::parse("7-one-two").unwrap())).unwrap();
    b.give(Input::SetCode(Code::parse("7-one-three").unwrap())).unwrap();
    let how = tokio::join!(ended(&mut a), ended(&mut b));
    assert_eq!(how, (Err(PairingError::WrongCode), Err(PairingError::WrongCode)));
    let page = get(&server, "/metrics", "").await;
    assert!(page.contains(r#"ibgib_mailbox_ended_total{of="mailbox",result="scary"} 1"#), "{page}");
    server.shutdown().await;
}

#[tokio::test]
async fn an_exchange_goes_on_at_another_server_over_the_same_space() {
    let (server, _, space) = serve().await;
    let at = server.address();
    let (mut a, mut b) = (session(&url(&server)), session(&url(&server)));
    a.give(Input::default()).unwrap();
    a.give(Input::Send(b"from a".to_vec())).unwrap();
    let code = code_of(&mut a).await;
    server.shutdown().await;
    let (server, _) = serve_at(space, MailboxOptions::default(), at).await;
    b.give(Input::SetCode(code)).unwrap();
    b.give(Input::Send(b"from b".to_vec())).unwrap();
    let (to_a, to_b) = tokio::join!(received(&mut a), received(&mut b));
    assert_eq!((to_a, to_b), (b"from b".to_vec(), b"from a".to_vec()));
    server.shutdown().await;
}

#[tokio::test]
async fn two_servers_over_one_space_carry_one_exchange() {
    let (one, _, space) = serve().await;
    let (other, _) = serve_at(space, MailboxOptions::default(), anywhere()).await;
    let (mut a, mut b) = (session(&url(&one)), session(&url(&other)));
    a.give(Input::default()).unwrap();
    b.give(Input::SetCode(code_of(&mut a).await)).unwrap();
    a.give(Input::Send(b"from a".to_vec())).unwrap();
    b.give(Input::Send(b"from b".to_vec())).unwrap();
    let (to_a, to_b) = tokio::join!(received(&mut a), received(&mut b));
    assert_eq!((to_a, to_b), (b"from b".to_vec(), b"from a".to_vec()));
    one.shutdown().await;
    other.shutdown().await;
}

/// A client that says what it likes.
struct Raw(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    async fn connect(server: &Server, side: &str) -> Self {
        let mut raw = Self(tokio_tungstenite::connect_async(url(server)).await.unwrap().0);
        assert_eq!(raw.read().await["type"], "welcome");
        raw.say(json!({"type": "bind", "appid": APP, "side": side})).await;
        raw
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Message::binary(frame.to_string().into_bytes())).await.unwrap();
    }

    async fn read(&mut self) -> Value {
        loop {
            match self.0.next().await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame that is no acknowledgement.
    async fn answer(&mut self) -> Value {
        loop {
            let frame = self.read().await;
            if frame["type"] != "ack" {
                return frame;
            }
        }
    }

    async fn ask(&mut self, frame: Value) -> Value {
        self.say(frame).await;
        self.answer().await
    }
}

#[tokio::test]
async fn a_third_side_is_refused_and_the_two_come_back() {
    let (server, _, _) = serve().await;
    let claim = || json!({"type": "claim", "nameplate": "7"});
    let mailbox = Raw::connect(&server, "a").await.ask(claim()).await["mailbox"].clone();
    assert_eq!(Raw::connect(&server, "b").await.ask(claim()).await["mailbox"], mailbox);
    let third = Raw::connect(&server, "c").await.ask(claim()).await;
    assert_eq!((&third["error"], &third["orig"]["nameplate"]), (&json!("crowded"), &json!("7")));
    let mut again = Raw::connect(&server, "a").await;
    assert_eq!(again.ask(claim()).await["mailbox"], mailbox);
    again.say(json!({"type": "open", "mailbox": mailbox})).await;
    let told = again.ask(json!({"type": "add", "phase": "0", "body": "00ff", "id": "9"})).await;
    assert_eq!((&told["side"], &told["body"], &told["id"]), (&json!("a"), &json!("00ff"), &json!("9")));
    server.shutdown().await;
}

#[tokio::test]
async fn odd_frames_are_answered() {
    let (server, _, _) = serve().await;
    let mut raw = Raw::connect(&server, "a").await;
    for (frame, error) in [
        (json!({"type": "claim", "nameplate": "x"}), "nameplate must be 1 to 40 digits"),
        (json!({"type": "claim", "nameplate": "7"}), "only one claim per connection"),
        (json!({"type": "add", "phase": "0", "body": "00"}), "must open mailbox before adding"),
        (json!({"no": "type"}), "missing 'type'"),
        (json!({"type": "bind", "appid": "a", "side": "b"}), "already bound"),
    ] {
        assert_eq!(raw.ask(frame).await["error"], error);
    }
    raw.say(json!({"type": "open", "mailbox": "m/../\u{0}"})).await;
    let inexact = raw.ask(json!({"type": "add", "phase": "0", "body": "00", "id": u64::MAX})).await;
    assert!(inexact["error"].as_str().unwrap().starts_with("this cannot be kept"), "{inexact}");
    assert_eq!(raw.ask(json!({"type": "ping", "ping": 3})).await["pong"], 3);
    assert_eq!(raw.ask(json!({"type": "close", "mood": "happy"})).await["type"], "closed");
    assert_eq!(get(&server, "/", "").await, "wormhole mailbox server: WebSockets at /v1\n");
    server.shutdown().await;
}

#[tokio::test]
async fn idle_mailboxes_go_unless_somebody_listens() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("mailbox"));
    let limits = Limits { idle_s: -1.0, held_s: -1.0, ..Limits::default() };
    let options = MailboxOptions { limits, ..MailboxOptions::default() };
    let (server, door) = serve_at(Arc::clone(&space), options, anywhere()).await;
    let mut raw = Raw::connect(&server, "a").await;
    let mailbox = raw.ask(json!({"type": "claim", "nameplate": "7"})).await["mailbox"].clone();
    raw.say(json!({"type": "open", "mailbox": mailbox})).await;
    raw.ask(json!({"type": "add", "phase": "0", "body": "00"})).await;
    door.prune().await.unwrap();
    assert_eq!(rows_left(&space).await, [1, 1, 1]);
    raw.0.close(None).await.unwrap();
    while raw.0.next().await.is_some() {}
    // Until the server has noticed that its client is gone.
    while rows_left(&space).await != [0; 3] {
        door.prune().await.unwrap();
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
}

/// One HTTP request, after which the server closes; its body.
async fn call(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let at = server.address();
    let mut stream = TcpStream::connect(at).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn get(server: &Server, path: &str, headers: &str) -> String {
    call(server, "GET", path, headers, "").await.1
}

#[tokio::test]
async fn the_first_form_carries_one_message_each_way() {
    let (server, _, space) = serve().await;
    let post = async |path: &str, body: &str| {
        let (status, body) = call(&server, "POST", &format!("/wormhole-relay/{path}"), "", body).await;
        (status, serde_json::from_str::<Value>(&body).unwrap_or(body.into()))
    };
    let allocated = post("allocate/initiator", "").await.1;
    let id = allocated["channel-id"].as_u64().unwrap();
    assert_eq!(allocated["welcome"]["current_version"], "0.3.0");
    let list: Value = serde_json::from_str(&get(&server, "/wormhole-relay/list", "").await).unwrap();
    assert_eq!(list["channel-ids"], json!([id]));
    assert_eq!(post(&format!("{id}/initiator/post/pake"), r#"{"message":"00"}"#).await.1["messages"], json!([]));
    let told = post(&format!("{id}/receiver/post/pake"), r#"{"message":"01"}"#).await.1;
    assert_eq!(told["messages"], json!(["00"]));
    assert_eq!(post(&format!("{id}/initiator/poll/pake"), "").await.1["messages"], json!(["01"]));
    assert_eq!(post(&format!("{id}/initiator/poll/data"), "").await.1["messages"], json!([]));
    assert_eq!(post(&format!("{id}/third/post/pake"), r#"{"message":"02"}"#).await.0, 403);
    for (path, body) in [
        ("x/initiator/post/pake", r#"{"message":"00"}"#),
        (&*format!("{id}/initiator/post/pake"), r#"{"message":"0"}"#),
        (&*format!("{id}/initiator/post/pake"), "{}"),
        (&*format!("{id}/initiator/dance/pake"), "{}"),
    ] {
        assert_eq!(post(path, body).await.0, 400, "{path} {body}");
    }
    assert_eq!(call(&server, "GET", &format!("/wormhole-relay/{id}/a/poll/pake"), "", "").await.0, 400);
    assert_eq!(post(&format!("{id}/initiator/deallocate"), "").await.1, "waiting");
    assert_eq!(post(&format!("{id}/receiver/deallocate"), "").await.1, "deleted");
    let left = Rows::new(space, "mailbox").all::<Value>(Table::passing("channel"), "").await.unwrap();
    assert!(left.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn the_first_form_streams_what_comes() {
    let (server, _, _) = serve().await;
    streams(&server, &server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn the_first_form_streams_what_comes_to_another_server() {
    let (here, _, space) = serve().await;
    let (there, _) = serve_at(space, MailboxOptions::default(), anywhere()).await;
    streams(&here, &there).await;
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn a_stream_holds_one_of_the_servers_seats() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("mailbox"));
    let options = MailboxOptions { connections_max: 1, ..MailboxOptions::default() };
    let (server, _) = serve_at(space, options, anywhere()).await;
    let _connection = Raw::connect(&server, "a").await;
    let accept = "accept: text/event-stream\r\n";
    assert_eq!(call(&server, "GET", "/wormhole-relay/7/receiver/poll/pake", accept, "").await.0, 503);
    server.shutdown().await;
}

/// Whoever listens at one server is told what is said at the other.
async fn streams(server: &Server, other: &Server) {
    let at = server.address();
    let mut stream = TcpStream::connect(at).await.unwrap();
    let accept = "accept: text/event-stream\r\n";
    let request = format!("GET /wormhole-relay/7/receiver/poll/pake HTTP/1.1\r\nhost: {at}\r\n{accept}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut read_to = async |end: &str| {
        while !text.contains(end) {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            assert_ne!(read, 0, "{text}");
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    };
    read_to("event: welcome\n\ndata: {\"current_version\":\"0.3.0\"}\n\n").await;
    call(other, "POST", "/wormhole-relay/7/initiator/post/pake", "", r#"{"message":"00"}"#).await;
    // Members of an object have no order.
    for part in ["\n\ndata: {", "\"message\":\"00\"", "\"side\":\"initiator\"", "\"}\n\n"] {
        read_to(part).await;
    }
    assert!(!text.contains("keep-alive"), "it comes when it is there, not with the next sign of life: {text}");
}

async fn relay(options: TransitOptions) -> (Server, SocketAddr) {
    let transit = Arc::new(TransitDoor::bind(anywhere(), options).await.unwrap());
    let at = transit.address();
    let host = Host::new(Arc::new(MemorySpace::new("transit")), HostOptions::default());
    let doors = vec![Mount::here(transit)];
    let options = ServeOptions { listen: anywhere(), doors, ..ServeOptions::default() };
    (Server::start(host, options).await.unwrap(), at)
}

/// What a relay answers to what is no request; nothing when it hangs up at once.
async fn answered(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut text = String::new();
    // Whoever is sent away may not be heard any more.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
    let _ = stream.read_to_string(&mut text).await;
    text
}

/// Two connections that a relay joined.
async fn joined(at: SocketAddr) -> [TcpStream; 2] {
    let mut streams = Vec::new();
    for side in ["0123456789abcdef", "fedcba9876543210"] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = format!("please relay {} for side {side}\n", "a".repeat(64));
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut ok = [0; 3];
        stream.read_exact(&mut ok).await.unwrap();
        assert_eq!(&ok, b"ok\n");
    }
    streams.try_into().unwrap()
}

#[tokio::test]
async fn both_ends_of_a_transfer_hold_their_seats_until_it_ends() {
    let (server, at) = relay(TransitOptions { connections_max: 2, ..TransitOptions::default() }).await;
    let both = joined(at).await;
    for _ in 0..3 {
        assert_eq!(answered(at).await, "");
    }
    let page = get(&server, "/metrics", "").await;
    assert!(page.contains("ibgib_transit_connections 2"), "{page}");
    drop(both);
    // Until the relay has noticed that both are gone.
    while answered(at).await != "bad handshake\n" {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn joined_connections_that_are_silent_end() {
    let (server, at) = relay(TransitOptions { idle_s: 1, ..TransitOptions::default() }).await;
    for mut stream in joined(at).await {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or_default(), 0);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn the_transit_relay_joins_two_sides() {
    let (server, at) = relay(TransitOptions::default()).await;
    assert_eq!(server.doors()[0].1, format!("tcp:{at}"));
    let ask = async |line: &str| {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        stream
    };
    let read = async |stream: &mut TcpStream, bytes: usize| {
        let mut buffer = vec![0; bytes];
        stream.read_exact(&mut buffer).await.unwrap();
        String::from_utf8(buffer).unwrap()
    };
    let [mut one, mut other] = joined(at).await;
    one.write_all(b"bulk").await.unwrap();
    assert_eq!(read(&mut other, 4).await, "bulk");
    let mut impatient = ask(&format!("please relay {}\n", "b".repeat(64))).await;
    impatient.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut impatient, 10).await, "impatient\n");
    let mut bad = ask("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(read(&mut bad, 14).await, "bad handshake\n");
    server.shutdown().await;
}
