//! The bytes on the wire, pinned: whatever the machines say in these conversations is written down in
//! `golden/wire.txt`, long messages as their beginning and hash, streams as JSON Lines. A change here is a change of the
//! protocol. `golden/blocks.txt` has the same of streams in blocks, unpacked: how well they are packed may change.

use crate::toy::{Connection, Ended, World, constant, frame};
use ibgib_blocks::{COMMON, In, unpack};
use ibgib_keystone::Chain;
use ibgib_saga::{Direction, Limits, PACKED, Packet, Scope, SenderInput, SyncRequest};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Bytes of a message that are written down.
const SHOWN: usize = 400;

fn shown(text: &str) -> String {
    // What an error says in words is for people, and may change.
    if let Some((told, _)) = text.split_once(",\"message\":") {
        return format!("{told},…");
    }
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let end = (0..=SHOWN / 2).rev().find(|i| text.is_char_boundary(*i)).unwrap();
    format!("{}… {} bytes, SHA-256 {}", &text[..end], text.len(), hex::encode(Sha256::digest(text)))
}

/// Writes down what was told, and how it ended.
fn write_down(out: &mut String, name: &str, connection: &Connection, ended: &Ended) {
    writeln!(out, "# {name}").unwrap();
    for (way, packet) in &connection.told {
        match packet {
            Packet::Text(text) => writeln!(out, "{way} {}", shown(text)).unwrap(),
            Packet::Binary(bytes) => {
                let text = std::str::from_utf8(&bytes[1..]).unwrap();
                writeln!(out, "{way} chunk {} {:?}", bytes[0], shown(text)).unwrap();
            }
        }
    }
    match ended {
        Ended::Failed(error) => writeln!(out, "= {}\n", error.code()).unwrap(),
        Ended::Connected => writeln!(out, "= Connected\n").unwrap(),
        Ended::Done(summary) => writeln!(out, "= Done({summary:?})\n").unwrap(),
        Ended::Glanced(equal) => writeln!(out, "= Glanced({equal})\n").unwrap(),
    }
}

fn request(scope: Scope, direction: Direction) -> SenderInput {
    let request = SyncRequest {
        saga_id: "0123456789abcdef".into(),
        scope,
        direction,
        skip_when_equal: false,
        dry_run: false,
        moves_max: None,
    };
    SenderInput::Sync(Box::new(request))
}

/// A sender that speaks the older version, to a receiver that speaks both.
fn older(limits: &Limits, session: Option<Chain>) -> Connection {
    Connection { is_older: true, ..Connection::new(limits, session) }
}

#[test]
fn every_byte_on_the_wire_is_as_written_down() {
    let mut out = String::new();
    let limits = Limits::default();
    let tjp = frame("note", "first", None, &[]);
    let next = frame("note", "second", Some(&tjp), &[]);
    let leaf = constant("leaf", "with \"quotes\" and ünïcode");
    let other = frame("other", "relates", None, &[("leaf", leaf.addr()), ("note", tjp.addr())]);

    // Inline push with identity, then nothing to do, then a glance.
    let (mut from, mut to) = (World::default(), World::default());
    from.put_all(&[&tjp, &next, &leaf, &other]);
    let session = from.make_session();
    let mut connection = older(&limits, Some(session));
    let ended = connection.connect(&mut from, &mut to);
    write_down(&mut out, "connecting with a session identity", &connection, &ended);
    connection.told.clear();
    let ended = connection.drive(request(Scope::All, Direction::Both), &mut from, &mut to);
    write_down(&mut out, "a small push travels with init", &connection, &ended);
    assert_eq!(from.tips, to.tips);
    connection.told.clear();
    let ended = connection.drive(request(Scope::All, Direction::Both), &mut from, &mut to);
    write_down(&mut out, "nothing differs", &connection, &ended);
    connection.told.clear();
    let ended = connection.drive(SenderInput::Glance("00".repeat(16), None, 0), &mut from, &mut to);
    write_down(&mut out, "a glance", &connection, &ended);

    // A push in a turn of its own and in small pieces, without identity.
    let small = Limits { inline_bytes_max: 10, chunk_bytes: 200, message_bytes_max: 2_000, ..Limits::default() };
    let (mut from, mut to) = (World::default(), World::default());
    from.put_all(&[&tjp, &next, &leaf, &other]);
    to.put(&tjp);
    let mut connection = older(&Limits { message_bytes_max: 20_000, ..small.clone() }, None);
    connection.connect(&mut from, &mut to);
    let ended = connection.drive(request(Scope::All, Direction::Both), &mut from, &mut to);
    write_down(&mut out, "a larger push has a turn of its own", &connection, &ended);
    assert_eq!(from.tips, to.tips);

    // A pull of one timeline, and of what it relates to; answers in pages.
    let (mut from, mut to) = (World::default(), World::default());
    to.put_all(&[&tjp, &next, &leaf, &other]);
    from.put(&tjp);
    let mut connection = older(&small, None);
    connection.connect(&mut from, &mut to);
    let scope = Scope::Only(vec![other.addr().clone(), tjp.addr().clone()]);
    let ended = connection.drive(request(scope, Direction::Pull), &mut from, &mut to);
    write_down(&mut out, "pulling named timelines", &connection, &ended);
    assert_eq!(from.tips, to.tips);

    // A constant, and timelines that diverged: refused by a world that does not merge.
    let (mut from, mut to) = (World::default(), World::default());
    let theirs = frame("note", "another second", Some(&tjp), &[]);
    from.put_all(&[&tjp, &next, &leaf]);
    to.put_all(&[&tjp, &theirs]);
    let mut connection = older(&limits, None);
    connection.connect(&mut from, &mut to);
    let scope = Scope::Only(vec![leaf.addr().clone(), tjp.addr().clone()]);
    let ended = connection.drive(request(scope, Direction::Both), &mut from, &mut to);
    write_down(&mut out, "a constant and a diverged timeline", &connection, &ended);

    // Refusals: of one who has no identity, of a question out of turn, of a wait that was too long.
    let (mut from, mut to) = (World::default(), World::default());
    let session = from.make_session();
    let mut connection = older(&limits, Some(session.clone()));
    connection.session = None;
    let ended = connection.connect(&mut from, &mut to);
    write_down(&mut out, "no identity", &connection, &ended);
    let mut connection = older(&limits, None);
    connection.connect(&mut from, &mut to);
    connection.told.clear();
    let ended = connection.drive(SenderInput::TimedOut, &mut from, &mut to);
    write_down(&mut out, "timed out", &connection, &ended);
    let mut connection = older(&limits, None);
    connection.connect(&mut from, &mut to);
    connection.told.clear();
    let ended = connection.drive(SenderInput::Packet(Packet::Text("{}".into())), &mut from, &mut to);
    write_down(&mut out, "not a message", &connection, &ended);

    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/wire.txt");
    std::fs::write(path, &out).unwrap();
    assert!(
        out == include_str!("../golden/wire.txt"),
        "the wire changed: compare saga/tests/golden/wire.txt with {path}"
    );
}

/// Blocks, unpacked; `before` is what the block before held.
fn unpacked(blocks: &[u8], before: &mut Vec<u8>) -> String {
    let (mut rest, mut out) = (In(blocks), String::new());
    while let Some(method) = rest.byte() {
        let [hashes, content, packed] = [(); 3].map(|()| rest.count().unwrap());
        for hash in rest.take(32 * hashes).unwrap().chunks(32) {
            writeln!(out, "  hash {}", hex::encode(hash)).unwrap();
        }
        let packed = rest.take(packed).unwrap();
        *before = if method == 1 { unpack(packed, content, before).unwrap() } else { packed.to_vec() };
        let mut texts = In(before);
        while let Some(text) = texts.text() {
            writeln!(out, "  text {text:?}").unwrap();
        }
        assert!(texts.0.is_empty());
    }
    out
}

#[test]
fn blocks_are_as_written_down_and_say_what_lines_say() {
    let mut out = String::new();
    let tjp = frame("note", "first", None, &[]);
    let next = frame("note", "second", Some(&tjp), &[]);
    let leaf = constant("leaf", "with \"quotes\" and ünïcode");
    let other = frame("other", "relates", None, &[("leaf", leaf.addr()), ("note", tjp.addr())]);
    for (name, inline_bytes_max) in [("a small push travels with init", 100_000), ("a larger push has its turn", 10)] {
        let limits = Limits { inline_bytes_max, chunk_bytes: 200, ..Limits::default() };
        let (mut from, mut to) = (World::default(), World::default());
        from.put_all(&[&tjp, &next, &leaf, &other]);
        to.put(&tjp);
        let mut ends = Vec::new();
        for is_older in [false, true] {
            let mut world = to.clone();
            let mut connection = Connection { is_older, ..Connection::new(&limits, None) };
            connection.connect(&mut from.clone(), &mut world);
            let Ended::Done(summary) =
                connection.drive(request(Scope::All, Direction::Both), &mut from.clone(), &mut world)
            else {
                panic!("{name}")
            };
            if !is_older {
                writeln!(out, "# {name}").unwrap();
                let mut stream = Vec::new();
                // What came before of each side's questions or answers.
                let mut before = HashMap::new();
                for (way, packet) in &connection.told {
                    match packet {
                        Packet::Text(text) => writeln!(out, "{way} {}", shown(text)).unwrap(),
                        Packet::Binary(bytes) if bytes[0] == PACKED => {
                            let before = before.entry(way).or_insert_with(|| COMMON.to_vec());
                            write!(out, "{way} packed\n{}", unpacked(&bytes[1..], before)).unwrap();
                        }
                        Packet::Binary(bytes) => {
                            stream.extend_from_slice(&bytes[1..]);
                            if bytes[0] == 1 {
                                write!(
                                    out,
                                    "{way} stream\n{}",
                                    unpacked(&std::mem::take(&mut stream), &mut COMMON.to_vec())
                                )
                                .unwrap();
                            }
                        }
                    }
                }
            }
            let nodes: Vec<String> = world.nodes.values().map(|node| node.to_json()).collect();
            // Turns are signed: they are the same, however their streams travel.
            let says = |(way, packet): &(&'static str, Packet)| match packet {
                Packet::Text(text) if text.contains("\"sagaFrame\"") => Some(format!("{way} {text}")),
                _ => None,
            };
            let turns: Vec<String> = connection.told.iter().filter_map(says).collect();
            ends.push((nodes, world.tips, turns, summary.turns));
        }
        assert_eq!(ends[0], ends[1], "{name}");
        assert_eq!(ends[0].1, from.tips);
    }
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/blocks.txt");
    std::fs::write(path, &out).unwrap();
    assert!(
        out == include_str!("../golden/blocks.txt"),
        "the wire changed: compare saga/tests/golden/blocks.txt with {path}"
    );
}
