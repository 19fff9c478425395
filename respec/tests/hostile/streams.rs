//! Forged streams of turns, in each way in which streams are written.

use super::forged::{Heard, Stream, block, chunk, content};
use super::{options, played, refusal, request, still_serves};
use async_trait::async_trait;
use ibgib::{IbGib, Value, Verified};
use ibgib_blocks::COMMON;
use ibgib_peer::{Host, HostLimits, HostOptions, Innerspace, Link, Remote, SyncOptions, SyncSagaCoordinator};
use ibgib_saga::{
    Asked, Encoding, Envelope, Limits, Measure, Message, MsgType, PACKED, Packet, Peek, Stage, Turn, TurnAnswer,
    TurnLink,
};
use ibgib_scenarios::faults::Simulated;
use ibgib_scenarios::play::{Side, data};
use ibgib_spaces::store::{Batch, Store, View, Written};
use ibgib_spaces::{Kind, MemorySpace, Space, SpaceError};
use sha2::Digest as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of the list of an answer.
type Change = fn(&mut Vec<String>);

/// Changes what the receiver tells about the timelines, as a lying receiver would: digest and addresses fit.
fn liar(inner: Arc<dyn Remote>, encoding: Encoding, change: Change) -> Simulated {
    let hands = move |Link { tx, mut rx, signs }: Link| {
        let (told, lies) = tokio::sync::mpsc::channel(16);
        let (heard, mut said) = tokio::sync::mpsc::channel(16);
        // What was named on the connection: the two sides speak in turn.
        let named = Arc::new(Mutex::new(Heard::default()));
        let names = Arc::clone(&named);
        tokio::spawn(async move {
            let (mut nodes, mut stream) = (0, Vec::new());
            while let Some(packet) = said.recv().await {
                match &packet {
                    Packet::Text(text) => match Envelope::parse(text).unwrap().open().unwrap() {
                        Message::Peek(Peek::Equal(..)) => *names.lock().unwrap() = Heard::default(),
                        Message::SyncFrameRequest(request) => nodes = request.turn.payload().count as usize,
                        _ => {}
                    },
                    Packet::Binary(bytes) if bytes[0] == PACKED => names.lock().unwrap().packed(false, bytes),
                    Packet::Binary(bytes) => {
                        stream.extend_from_slice(&bytes[1..]);
                        if bytes[0] == 1 && encoding == Encoding::Blocks {
                            names.lock().unwrap().asks(&std::mem::take(&mut stream), nodes);
                        }
                    }
                }
                if tx.send(speaking(encoding, packet)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let (mut answer, mut stream) = (None, Vec::new());
            while let Some(packet) = rx.recv().await {
                match &packet {
                    Packet::Text(text) => {
                        let envelope = Envelope::parse(text).unwrap();
                        if envelope.kind() == MsgType::SyncFrameResponse {
                            answer = Some(turn_of(&envelope));
                            continue;
                        }
                    }
                    Packet::Binary(bytes) if bytes[0] == PACKED => named.lock().unwrap().packed(true, bytes),
                    Packet::Binary(bytes) => {
                        stream.extend_from_slice(&bytes[1..]);
                        if bytes[0] == 0 {
                            continue;
                        }
                        let TurnAnswer { turn, signature } = answer.take().unwrap();
                        let (lines, nodes) = (turn.list().count as usize, turn.payload().count as usize);
                        let bytes = std::mem::take(&mut stream);
                        let mut said = Stream::read(encoding, &mut named.lock().unwrap(), &bytes, lines, nodes);
                        change(&mut said.list);
                        let turn = lie(&turn, &said.list);
                        let message = Message::SyncFrameResponse(Box::new(TurnAnswer { turn, signature }));
                        if told.send(message.packet()).await.is_err() || told.send(said.packet(encoding)).await.is_err()
                        {
                            return;
                        }
                        continue;
                    }
                }
                if told.send(packet).await.is_err() {
                    return;
                }
            }
        });
        Link { tx: heard, rx: lies, signs }
    };
    Simulated::between(inner, hands)
}

/// What a sender would have said that writes its streams so, and no better.
fn speaking(encoding: Encoding, packet: Packet) -> Packet {
    match (encoding, packet) {
        (Encoding::Lines, Packet::Text(text)) => Packet::Text(text.replace("\"ibgib.saga.v3\",", "")),
        (_, packet) => packet,
    }
}

fn turn_of(envelope: &Envelope) -> TurnAnswer {
    let Message::SyncFrameResponse(answer) = envelope.open().unwrap() else { panic!("{envelope:?}") };
    *answer
}

/// The same turn with another list.
fn lie(turn: &Turn, list: &[String]) -> Turn {
    let edited = |node: &IbGib, at: &str, member: &str, value: Value| {
        let mut node = node.clone();
        let part = if at == "data" { &mut node.data } else { &mut node.rel8ns };
        let Some(Value::Object(part)) = part else { panic!("{node:?}") };
        part.insert(member, value);
        IbGib { gib: None, ..node }.seal().unwrap()
    };
    let text: String = list.iter().map(|line| format!("{line}\n")).collect();
    let digest = hex::encode(sha2::Sha256::digest(text.as_bytes()));
    let counted = ibgib::object([("count", Value::integer(list.len())), ("digest", digest.into())]);
    let message = edited(turn.message(), "data", "list", counted);
    let frame = edited(turn.frame(), "rel8ns", "msg", ibgib::strings([message.addr().as_str()]));
    let context = edited(turn.context(), "rel8ns", "msg", ibgib::strings([message.addr().as_str()]));
    let context = edited(&context, "rel8ns", "frame", ibgib::strings([frame.addr().as_str()]));
    Turn::of(context, frame, message).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_for_too_few_or_too_many_timelines_is_refused() {
    const STRANGER: &str =
        "{\"tjp\":\"comment^0000000000000000000000000000000000000000000000000000000000000000\",\"status\":\"same\"}";
    let cases: [(&str, Change); 5] = [
        ("", |_| {}),
        ("unanswered", |list| drop(list.pop())),
        ("unasked", |list| list.push(list[0].clone())),
        ("unasked", |list| list[0] = STRANGER.into()),
        ("bad_list", |list| list[0] = list[0].replace("\"status\"", "\"state\"")),
    ];
    for (encoding, (rule, change)) in Encoding::ALL.into_iter().flat_map(|way| cases.map(|case| (way, case))) {
        let (rig, mut play) = played().await;
        let unsigned: Arc<dyn Remote> = Arc::new(Innerspace::new(anonymous(Arc::clone(&play.scene.dest))));
        // Whoever has no identity is not signed to, so that the lie itself is found; to others nobody can lie for the receiver.
        for (inner, options, rule) in [
            (unsigned, SyncOptions::default(), rule),
            (Arc::clone(&play.scene.remote), options(&play), if rule.is_empty() { rule } else { "bad_signature" }),
        ] {
            play.edit(Side::Source, "alpha", data([("title", format!("for {rule}").into())])).await.unwrap();
            let remote: Arc<dyn Remote> = Arc::new(liar(inner, encoding, change));
            let before = play.scene.source.tips(Some(Kind::Living)).await.unwrap();
            let done = SyncSagaCoordinator::new(Arc::clone(&play.scene.source)).sync(remote, options).done().await;
            match done {
                Ok(_) => assert_eq!(rule, "", "{encoding:?}"),
                Err(error) => {
                    assert_eq!(error.code(), rule, "{encoding:?}: {error}");
                    assert_eq!(play.scene.source.tips(Some(Kind::Living)).await.unwrap(), before);
                }
            }
        }
        still_serves(&mut play).await;
        rig.close().await;
    }
}

/// A connection of nobody to a host that takes anybody.
async fn connected(host: &Arc<Host>, encoding: Encoding) -> Link {
    let mut link = Innerspace::new(Arc::clone(host)).open().await.unwrap();
    let versions = ibgib::strings([encoding.subprotocol()]);
    link.tx.send(Envelope::new(MsgType::Hello, [("versions", versions)]).packet()).await.unwrap();
    let Some(Packet::Text(answer)) = link.rx.recv().await else { panic!("no answer") };
    assert_eq!(Envelope::parse(&answer).unwrap().kind(), MsgType::ConnectOk);
    link
}

/// A question that travels packed is read only once its peer is connected, and takes no more than it may.
#[tokio::test]
async fn packed_questions_that_are_none_end_in_a_typed_refusal() {
    let host = anonymous(Arc::new(MemorySpace::new("packed")));
    let early = Innerspace::new(Arc::clone(&host)).open().await.unwrap();
    early.tx.send(Packet::Binary(vec![PACKED, 0, 0, 2, 2, 1, b'x'])).await.unwrap();
    assert_eq!(refusal(early).await, (MsgType::AuthFail, "out_of_turn".to_owned()));
    let peek = br#"{"type":"peek","has":[]}"#;
    let bye = br#"{"type":"bye"}"#;
    // As it is: no new hashes, one text of so many bytes.
    let as_it_is = |text: &[u8]| {
        let len = text.len() as u8;
        [&[PACKED, 0, 0, len + 1, len + 1, len], text].concat()
    };
    for (bytes, code) in [
        (vec![PACKED], "bad_message"),
        (vec![PACKED, 9, 0, 1, 1], "bad_block"),
        (as_it_is(b"no question"), "bad_message"),
        (as_it_is(bye), "out_of_turn"),
        ([as_it_is(peek), as_it_is(peek)[1..].to_vec()].concat(), "bad_message"),
        // It says that 100 MiB come out of one byte.
        (vec![PACKED, 1, 0, 0x80, 0x80, 0x80, 0x32, 1, 0], "limit"),
    ] {
        let link = connected(&host, Encoding::Blocks).await;
        link.tx.send(Packet::Binary(bytes.clone())).await.unwrap();
        assert_eq!(refusal(link).await, (MsgType::SyncError, code.to_owned()), "{bytes:?}");
    }
    let mut link = connected(&host, Encoding::Blocks).await;
    link.tx.send(Packet::Binary(as_it_is(peek))).await.unwrap();
    let Some(Packet::Text(answer)) = link.rx.recv().await else { panic!("no answer") };
    assert_eq!(Envelope::parse(&answer).unwrap().kind(), MsgType::PeekOk);
}

fn anonymous(space: Arc<dyn Space>) -> Arc<Host> {
    Host::new(space, HostOptions { allow_anonymous: true, ..HostOptions::default() })
}

/// The first turn of a saga, which announces this.
fn first(list: Measure, payload: Measure) -> Packet {
    let asked = Asked { commit: false, adopt: false };
    let start = TurnLink { saga_id: "forged", session: None, before: None };
    request(Turn::build(start, Stage::Init(asked), list, payload, 0)).packet()
}

fn of_nodes(nodes: &[Verified<IbGib>]) -> Measure {
    Measure::of_nodes(&nodes.iter().map(|node| node.addr().clone()).collect::<Vec<_>>())
}

fn note(text: &str) -> Verified<IbGib> {
    let data = data([("text", text.into())]);
    IbGib { ib: "note".into(), gib: None, data: Some(data.into()), rel8ns: None }.seal().unwrap()
}

#[tokio::test]
async fn streams_that_are_not_what_was_announced_end_in_a_typed_refusal() {
    let (one, other) = (note("one"), note("other"));
    let keystone = IbGib { ib: "keystone".into(), ..(*one).clone() };
    let keystone = IbGib { gib: None, ..keystone }.seal().unwrap();
    for encoding in Encoding::ALL {
        let nodes = |nodes: &[&Verified<IbGib>]| {
            Stream::of(encoding, &nodes.iter().map(|node| (*node).clone()).collect::<Vec<_>>())
        };
        // In the way in which it does not travel.
        let way = if encoding == Encoding::Lines { Encoding::Blocks } else { Encoding::Lines };
        let spoiled = Stream { nodes: vec![one.to_json().replace("\"one\"", "\"two\"")], ..Stream::default() };
        let listed = Stream { list: vec!["{}".into()], ..nodes(&[&one]) };
        let cases = [
            ("bad_digest", nodes(&[&other])),
            ("bad_chunk", nodes(&[&one, &other])),
            ("bad_chunk", nodes(&[])),
            ("bad_node", Stream::of(way, std::slice::from_ref(&one))),
            ("bad_node", spoiled),
            ("bad_node", Stream { nodes: vec!["{\"ib\":".into()], ..Stream::default() }),
            ("payload_kind", nodes(&[&keystone])),
            // After all nodes, or before them.
            (if encoding == Encoding::Lines { "bad_node" } else { "bad_chunk" }, listed),
        ];
        for (code, stream) in cases {
            let space: Arc<dyn Space> = Arc::new(MemorySpace::new("forged"));
            let host = anonymous(Arc::clone(&space));
            let link = connected(&host, encoding).await;
            link.tx.send(first(Measure::of_list(&[]), of_nodes(std::slice::from_ref(&one)))).await.unwrap();
            link.tx.send(stream.packet(encoding)).await.unwrap();
            assert_eq!(refusal(link).await, (MsgType::SyncError, code.to_owned()), "{encoding:?}: {stream:?}");
            assert_eq!(space.count().await.unwrap(), 0);
        }
        let host = anonymous(Arc::new(MemorySpace::new("honest")));
        let mut link = connected(&host, encoding).await;
        link.tx.send(first(Measure::of_list(&[]), of_nodes(std::slice::from_ref(&one)))).await.unwrap();
        link.tx.send(nodes(&[&one]).packet(encoding)).await.unwrap();
        let Some(Packet::Text(answer)) = link.rx.recv().await else { panic!("no answer") };
        assert_eq!(Envelope::parse(&answer).unwrap().kind(), MsgType::SyncFrameResponse, "{encoding:?}");
    }
}

#[tokio::test]
async fn what_earlier_turns_of_a_saga_brought_counts_for_its_limits() {
    for encoding in Encoding::ALL {
        let limits = Limits { nodes_max: 3, ..Limits::default() };
        let options = HostOptions { limits, allow_anonymous: true, ..HostOptions::default() };
        let mut link = connected(&Host::new(Arc::new(MemorySpace::new("limited")), options), encoding).await;
        let mut before = None;
        let asked = Asked { commit: false, adopt: false };
        for (turn, stage) in [Stage::Init(asked), Stage::Delta(asked)].into_iter().enumerate() {
            let nodes = [0, 1].map(|i| note(&format!("{i} of turn {turn}")));
            let start = TurnLink { saga_id: "limited", session: None, before: before.as_ref() };
            let said = Turn::build(start, stage, Measure::of_list(&[]), of_nodes(&nodes), 0);
            link.tx.send(request(said).packet()).await.unwrap();
            if turn == 1 {
                break;
            }
            link.tx.send(Stream::of(encoding, &nodes).packet(encoding)).await.unwrap();
            let Some(Packet::Text(answer)) = link.rx.recv().await else { panic!("no answer") };
            before = Some(turn_of(&Envelope::parse(&answer).unwrap()).turn);
            assert!(matches!(link.rx.recv().await, Some(Packet::Binary(_))));
        }
        assert_eq!(refusal(link).await, (MsgType::SyncError, "limit".to_owned()), "{encoding:?}");
    }
}

#[tokio::test]
async fn lists_of_all_connections_share_one_budget() {
    // What a block is read with counts as well.
    for (encoding, lists_bytes_max) in [(Encoding::Lines, 3_000), (Encoding::Blocks, 6_000)] {
        let host_limits = HostLimits { lists_bytes_max, ..HostLimits::default() };
        let options = HostOptions { host_limits, allow_anonymous: true, ..HostOptions::default() };
        let host = Host::new(Arc::new(MemorySpace::new("lists")), options);
        let line = format!("{{\"constant\":\"x^{}\"}}", "A".repeat(64));
        let mut links = Vec::new();
        for _ in 0..2 {
            let link = connected(&host, encoding).await;
            let announced = Measure { count: 100, digest: "00".repeat(32) };
            link.tx.send(first(announced, Measure::of_nodes(&[]))).await.unwrap();
            let stream = Stream { list: vec![line.clone(); 20], nodes: Vec::new() };
            link.tx.send(chunk(0, &stream.bytes(encoding))).await.unwrap();
            while links.is_empty() && host.lists_bytes() == 0 {
                tokio::task::yield_now().await;
            }
            links.push(link);
        }
        assert_eq!(refusal(links.pop().unwrap()).await, (MsgType::SyncError, "limit".to_owned()), "{encoding:?}");
        drop(links);
        while host.lists_bytes() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// They would count against no limit, and a message holds very many.
#[tokio::test]
async fn blocks_that_hold_nothing_are_refused() {
    let hashes = [&[0, 1, 0, 0], &[7; 32][..]].concat();
    for empty in [block(&[], None), hashes] {
        let host = anonymous(Arc::new(MemorySpace::new("empty")));
        let link = connected(&host, Encoding::Blocks).await;
        link.tx.send(first(Measure::of_list(&[]), Measure::of_nodes(&[]))).await.unwrap();
        let much = Limits::default().message_bytes_max - 1;
        link.tx.send(chunk(1, &empty.repeat(much / empty.len()))).await.unwrap();
        assert_eq!(refusal(link).await, (MsgType::SyncError, "bad_block".to_owned()));
    }
}

/// Remembers how many bytes of nodes it was given to stage, and how many at once.
#[derive(Debug)]
struct Scales {
    inner: Arc<dyn Space>,
    all: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Store for Scales {
    fn id(&self) -> &str {
        self.inner.id()
    }
    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        self.inner.view().await
    }
    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.inner.write(batch).await
    }
    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        let bytes = nodes.iter().map(|node| node.to_json().len()).sum();
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.most.fetch_max(bytes, Ordering::Relaxed);
        self.inner.stage(owner, nodes).await
    }
    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.inner.unstage(owner).await
    }
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.inner.lease(name, holder, time).await
    }
    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.inner.give_up(name, holder).await
    }
    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        self.inner.changed(since).await
    }
}

#[tokio::test]
async fn what_a_message_unpacks_to_is_staged_in_portions() {
    const MIB: usize = 1024 * 1024;
    // What does not compress is as much as the ratio asks for.
    let noise = |i: u8| (0..40).map(move |n| hex::encode(sha2::Sha256::digest([i, n]))[..63].to_owned());
    let long = |i| note(&format!("{}{}", noise(i).collect::<Vec<_>>().join(" "), " ".repeat(MIB - 4_096)));
    let nodes: Vec<_> = (0..48).map(long).collect();
    let (mut stream, mut before) = (Vec::new(), COMMON.to_vec());
    for text in Stream::of(Encoding::Blocks, &nodes).nodes {
        let next = content([text]);
        stream.extend(block(&next, Some(&before)));
        before = next;
    }
    assert!(stream.len() < MIB / 4, "{} bytes", stream.len());
    let inner: Arc<dyn Space> = Arc::new(MemorySpace::new("portions"));
    let scales = Arc::new(Scales { inner, all: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    let mut link = connected(&anonymous(Arc::clone(&scales) as _), Encoding::Blocks).await;
    link.tx.send(first(Measure::of_list(&[]), of_nodes(&nodes))).await.unwrap();
    link.tx.send(chunk(1, &stream)).await.unwrap();
    let Some(Packet::Text(answer)) = link.rx.recv().await else { panic!("no answer") };
    assert_eq!(Envelope::parse(&answer).unwrap().kind(), MsgType::SyncFrameResponse, "{answer}");
    let (all, most) = (scales.all.load(Ordering::Relaxed), scales.most.load(Ordering::Relaxed));
    assert!(all > 46 * MIB && most < 6 * MIB, "{all} bytes staged, {most} at once");
}
