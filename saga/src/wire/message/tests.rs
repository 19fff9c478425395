use super::*;
use crate::fingerprint::{CELL_BITS_MAX, Cells};
use crate::wire::peek::AskedCell;
use crate::wire::stream::Measure;
use crate::wire::turn::{Asked, IB_MESSAGE, Stage, Told, TurnLink};
use ibgib::object;
use proptest::prelude::*;

fn addr() -> Addr {
    Addr::new("note", &"A".repeat(64)).unwrap()
}

fn node(ib: &str) -> Verified<IbGib> {
    IbGib { ib: ib.into(), data: Some(object([("n", 1u32.into())])), ..IbGib::default() }.seal().unwrap()
}

fn turn(stage: Stage) -> Turn {
    let measure = Measure::of_nodes(&[addr()]);
    Turn::build(TurnLink { saga_id: "saga", session: None, before: None }, stage, measure.clone(), measure, 0)
}

fn asked() -> Stage {
    Stage::Init(Asked { commit: true, adopt: false })
}

fn told() -> Stage {
    Stage::Commit(Told { merges: 1, conflicts: 2 })
}

fn signature() -> Signature {
    Signature { warrant: None, revision: 7, value: "c2lnbmF0dXJl".into() }
}

fn cells() -> Cells {
    Cells { bits: CELL_BITS_MAX, salt: "00".repeat(16) }
}

fn asked_cells() -> Vec<AskedCell> {
    let last = (256 << CELL_BITS_MAX) - 1;
    vec![AskedCell { cell: 0, theirs: vec![[7; 8]] }, AskedCell { cell: last, theirs: vec![] }]
}

/// One of each kind, and every question of a peek.
fn samples() -> Vec<Message> {
    let failure = Failure { code: "busy".into(), message: "later".into() };
    vec![
        Message::Hello(Hello {
            session: Some(addr()),
            versions: vec![Encoding::Blocks.subprotocol().into()],
            reads_packed: true,
        }),
        Message::ConnectChallenge(ConnectChallenge {
            challenge_uuid: "uuid".into(),
            demanded: vec!["id".into()],
            expires_ms: 10,
        }),
        Message::ConnectProof(node("keystone")),
        Message::ConnectOk(ConnectOk { encoding: Encoding::Blocks, reads_packed: true, signature: None }),
        Message::ConnectOk(ConnectOk { encoding: Encoding::Lines, reads_packed: false, signature: Some(signature()) }),
        Message::Peek(Peek::Equal("00".into(), None, 0)),
        Message::Peek(Peek::Equal("00".into(), Some(addr()), 15_000)),
        Message::Peek(Peek::Buckets(vec![String::new(); 256], None, false)),
        Message::Peek(Peek::Buckets(vec![String::new(); 256], Some(addr()), true)),
        Message::Peek(Peek::Cells(cells(), asked_cells(), None)),
        Message::Peek(Peek::Cells(cells(), Vec::new(), Some(addr()))),
        Message::Peek(Peek::Tips(vec![addr()])),
        Message::Peek(Peek::Has(vec![addr(), addr()])),
        Message::Peek(Peek::List { items: vec![(addr(), None), (addr(), Some(addr()))], live: true }),
        Message::PeekOk(Peeked {
            equal: true,
            tips: vec![(addr(), Some(addr()))],
            has: vec![true, false],
            cells: vec![(3, vec![[1; 8], [0xab; 8]]), (255, vec![])],
            nodes: vec![addr()],
            empty: false,
            more: true,
        }),
        Message::PeekOk(Peeked::default()),
        Message::SyncFrameRequest(Box::new(TurnRequest { turn: turn(asked()), signed: Some(node("keystone")) })),
        Message::SyncFrameResponse(Box::new(TurnAnswer { turn: turn(told()), signature: None })),
        Message::SyncFrameResponse(Box::new(TurnAnswer { turn: turn(told()), signature: Some(signature()) })),
        Message::SyncError(failure.clone()),
        Message::AuthFail(failure),
        Message::Bye,
    ]
}

fn envelope(message: &Message) -> Envelope {
    let Packet::Text(text) = message.packet() else { panic!("{message:?}") };
    Envelope::parse(&text).unwrap()
}

#[test]
fn every_message_is_read_as_it_was_written() {
    let samples = samples();
    for kind in MsgType::ALL {
        assert!(samples.iter().any(|m| m.kind() == kind), "no sample of {kind:?}");
    }
    for message in samples {
        let read = envelope(&message).open().unwrap();
        assert_eq!(read.kind(), message.kind());
        assert_eq!(read.packet(), message.packet());
        // What a kind does not have is ignored.
        let mut more = envelope(&message);
        more.body.insert("of a later version", true);
        assert_eq!(more.open().unwrap().packet(), message.packet());
    }
}

#[test]
fn a_member_that_is_missing_or_of_another_type_is_named() {
    // Without them a message says less, and is whole.
    let optional = ["session", "features", "live", "under", "waitMs", "split", "signedSessionIdentity", SIGNATURE];
    for message in samples() {
        let whole = envelope(&message);
        // An answer may tell cells, which are all that the other question is about.
        let is_optional = |name| optional.contains(&name) || (name == "cells" && message.kind() == MsgType::PeekOk);
        for name in whole.body.keys() {
            let mut without = whole.clone();
            without.body.remove(name);
            match without.open() {
                Ok(_) => assert!(is_optional(name), "{message:?} without {name}"),
                Err(error) => assert!(error.to_string().contains(name), "{error} does not name {name}"),
            }
            if name == "features" {
                continue;
            }
            let others = [Value::Bool(true), Value::Number(-1.5), Value::Null, "€".into(), object([]), vec![].into()];
            for other in others {
                let of_same_type = match (&whole.body.get(name), &other) {
                    (Some(Value::String(_)), Value::String(_)) | (Some(Value::Bool(_)), Value::Bool(_)) => true,
                    (Some(Value::Array(_)), Value::Array(_)) | (Some(Value::Object(_)), Value::Object(_)) => true,
                    (_, Value::Null) => is_optional(name),
                    _ => false,
                };
                if of_same_type {
                    continue;
                }
                let mut wrong = whole.clone();
                wrong.body.insert(name, other.clone());
                let error = wrong.open().expect_err(&format!("{message:?} with {name} = {other:?}"));
                assert!(error.to_string().contains(name), "{error} does not name {name}");
            }
        }
    }
}

#[test]
fn a_text_that_must_be_an_address_or_a_list_of_some_length_is_checked() {
    let set = |kind, members: &[(&str, Value)]| Envelope { kind, body: members.iter().cloned().collect() };
    let many = |n: usize| strings(vec!["x"; n]);
    let challenge = |demanded| {
        let members = [("challengeUuid", "u".into()), ("demandedIds", demanded), ("expiresMs", 1u32.into())];
        set(MsgType::ConnectChallenge, &members)
    };
    assert!(challenge(many(DEMANDS_MAX)).open().is_ok());
    let connect_ok = |signature| {
        let mut envelope = envelope(&Message::ConnectOk(ConnectOk {
            encoding: Encoding::Blocks,
            reads_packed: true,
            signature: None,
        }));
        envelope.body.insert(SIGNATURE, signature);
        envelope
    };
    let cell = |number: Value, text: &str| Value::Array(vec![number, text.into()]);
    let cells = |bits: u32, salt: &str, cells: Vec<Value>| {
        set(MsgType::Peek, &[("cells", cells.into()), ("bits", bits.into()), ("salt", salt.into())])
    };
    let short = "0123456789abcdef";
    assert!(cells(10, &"s".repeat(64), vec![cell(0u32.into(), ""), cell(262_143u32.into(), short)]).open().is_ok());
    let cases = [
        (cells(10, &"s".repeat(65), vec![]), "salt"),
        (cells(0, "", vec![]), "bits"),
        (cells(11, "", vec![]), "bits"),
        (cells(1, "", vec![cell(512u32.into(), short)]), "cells"),
        (cells(1, "", vec![cell(7u32.into(), short), cell(7u32.into(), short)]), "cells"),
        (cells(1, "", vec![cell(7u32.into(), &short[1..])]), "cells"),
        (cells(1, "", vec![cell(7u32.into(), &short[2..])]), "cells"),
        (cells(1, "", vec![cell(7u32.into(), "no hex digits ….")]), "cells"),
        (cells(1, "", vec![cell("7".into(), short)]), "cells"),
        (challenge(many(0)), "demandedIds"),
        (challenge(many(DEMANDS_MAX + 1)), "demandedIds"),
        (challenge(vec![Value::Null].into()), "demandedIds"),
        (set(MsgType::Hello, &[("versions", many(VERSIONS_MAX + 1))]), "versions"),
        (set(MsgType::Hello, &[("session", "no address".into()), ("versions", many(1))]), "session"),
        (set(MsgType::Peek, &[("buckets", many(255))]), "buckets"),
        (set(MsgType::Peek, &[("buckets", many(257))]), "buckets"),
        (set(MsgType::Peek, &[("has", many(1))]), "has"),
        (set(MsgType::Peek, &[("list", vec![many(1)].into())]), "list"),
        (set(MsgType::Peek, &[("list", vec![strings([addr().as_str(); 3])].into())]), "list"),
        (connect_ok(object([])), "revision is missing"),
        (connect_ok(object([("revision", 1u32.into())])), "value is missing"),
        (connect_ok(object([("revision", 1u32.into()), ("value", "v".into()), ("warrant", object([]))])), "warrant"),
        (set(MsgType::Peek, &[]), "fingerprint, buckets, cells, tips, has or list"),
    ];
    for (envelope, member) in cases {
        let error = envelope.open().expect_err(&format!("{envelope:?}")).to_string();
        assert!(error.contains(member), "{error} does not name {member}");
    }
    let mut page = envelope(&Message::PeekOk(Peeked::default()));
    page.body.insert("cells", Value::Array(vec![cell(256u32.into(), short)]));
    assert!(page.open().unwrap_err().to_string().contains("cells is invalid"));
    page.body.insert("has", "012");
    assert!(page.open().unwrap_err().to_string().contains("has is not a text of 0 and 1"));
}

#[test]
fn what_is_no_message_is_refused() {
    for text in ["", "garbage", "[]", "null", "{}", "{\"type\":1}", "{\"type\":\"nonsense\"}", "{\"type\":\"bye\"} "] {
        let read = Envelope::parse(text);
        assert_eq!(read.is_ok(), text.contains("bye"), "{text}");
        if let Err(error) = read {
            assert_eq!(error.code(), "bad_message");
        }
    }
}

/// The turn with another `saga_msg`, everything else naming it.
fn with_message(turn: &Turn, change: impl FnOnce(&mut Map)) -> Result<Turn, Vec<String>> {
    let edited = |node: &IbGib, edit: &mut dyn FnMut(&mut IbGib)| {
        let mut node = IbGib { gib: None, ..node.clone() };
        edit(&mut node);
        node.seal().unwrap()
    };
    let relate = |node: &mut IbGib, name: &str, to: &Addr| {
        let rel8ns = node.rel8ns.as_mut().and_then(Value::as_object_mut).unwrap();
        rel8ns.insert(name, strings([to.as_str()]));
    };
    let mut change = Some(change);
    let message = edited(turn.message(), &mut |node| {
        change.take().unwrap()(node.data.as_mut().and_then(Value::as_object_mut).unwrap());
    });
    let frame = edited(turn.frame(), &mut |node| relate(node, "msg", message.addr()));
    let context = edited(turn.context(), &mut |node| {
        relate(node, "msg", message.addr());
        relate(node, "frame", frame.addr());
    });
    Turn::of(context, frame, message)
}

#[test]
fn what_a_turn_says_is_read_strictly() {
    assert!(with_message(&turn(asked()), |_| {}).is_ok());
    for stage in [asked(), told()] {
        let turn = turn(stage);
        let names: Vec<String> =
            turn.message().data.as_ref().unwrap().as_object().unwrap().keys().map(str::to_owned).collect();
        assert_eq!(turn.message().ib, IB_MESSAGE);
        for name in &names {
            let errors = with_message(&turn, |data| drop(data.remove(name))).expect_err(name).join("; ");
            assert!(errors.contains(name.as_str()), "{errors} does not name {name}");
            let errors = with_message(&turn, |data| drop(data.insert(name.as_str(), "€"))).expect_err(name).join("; ");
            assert!(errors.contains(name.as_str()), "{errors} does not name {name}");
        }
    }
    let bad_digests = ["", "00", &"AA".repeat(32), &"00".repeat(33), &"gg".repeat(32)].map(str::to_owned);
    for digest in bad_digests {
        let list = object([("count", 1u32.into()), ("digest", digest.into())]);
        assert!(with_message(&turn(asked()), |data| drop(data.insert("list", list))).is_err());
    }
    let not_committed = with_message(&turn(told()), |data| drop(data.insert("committed", false)));
    assert!(not_committed.unwrap_err().join("; ").contains("committed"), "a commit that says that it is none");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Whatever arrives is read or refused; nothing panics.
    #[test]
    fn damaged_messages_are_refused_or_read(which in 0usize..15, at in any::<prop::sample::Index>(), by in any::<char>()) {
        let samples = samples();
        let Packet::Text(text) = samples[which % samples.len()].packet() else { panic!("no text") };
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let cut: String = chars[..at].iter().collect();
        let replaced: String = chars.iter().enumerate().map(|(i, c)| if i == at { by } else { *c }).collect();
        let without: String = chars.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, c)| *c).collect();
        prop_assert!(Envelope::parse(&cut).is_err());
        for damaged in [replaced, without] {
            let read = Envelope::parse(&damaged).and_then(|envelope| envelope.open());
            if let Ok(read) = read {
                // What was read is whole: it can be written and read again.
                prop_assert_eq!(envelope(&read).open().unwrap().packet(), read.packet());
            }
        }
    }
}
