//! The receiver's signatures: a sender believes nothing that was changed, exchanged, repeated, held back or said by somebody
//! else.

use crate::toy::{Connection, Counter, Ended, World, all_both_ways, frame, warrant_of};
use ibgib::{Addr, IbGib, Value, Verified};
use ibgib_keystone::strategy::lms::{Height, TreeSigner};
use ibgib_keystone::word_message;
use ibgib_saga::{
    ConnectOk, Encoding, Envelope, Limits, Message, Packet, Receipt, ReceiverLine, SagaError, Said, Signature, Status,
    Turn, TurnAnswer, Word,
};
use std::cell::RefCell;
use std::rc::Rc;

/// How a connection with one saga ended, where a middleman makes `of` the signed messages of the receiver: `connect_ok` is
/// the first, each turn one more.
fn ended(of: impl FnMut(usize, Message) -> Message + 'static) -> Ended {
    ended_at(Ok(()), of)
}

fn ended_at(warrants: Result<(), SagaError>, mut of: impl FnMut(usize, Message) -> Message + 'static) -> Ended {
    let first = frame("note", "first", None, &[]);
    let second = frame("note", "second", Some(&first), &[]);
    let theirs = frame("note", "theirs", Some(&first), &[]);
    let (mut from, mut to) = (World::default(), World::default());
    from.put_all(&[&first, &second]);
    to.put_all(&[&first, &theirs]);
    let session = from.make_session();
    let mut connection = Connection::new(&Limits::default(), Some(session));
    connection.warrants = warrants;
    let mut signed = 0;
    connection.middleman = Some(Box::new(move |_, packet| {
        let Packet::Text(text) = &packet else { return packet };
        match Envelope::parse(text).unwrap().open().unwrap() {
            message @ (Message::ConnectOk(_) | Message::SyncFrameResponse(_)) => {
                signed += 1;
                of(signed - 1, message).packet()
            }
            _ => packet,
        }
    }));
    match connection.connect(&mut from, &mut to) {
        Ended::Connected => {}
        other => return other,
    }
    connection.drive(all_both_ways(), &mut from, &mut to)
}

fn code(ended: Ended) -> String {
    match ended {
        Ended::Failed(error) => error.code().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn signature_of(message: &mut Message) -> &mut Option<Signature> {
    match message {
        Message::ConnectOk(ok) => &mut ok.signature,
        Message::SyncFrameResponse(answer) => &mut answer.signature,
        other => panic!("{other:?}"),
    }
}

/// The signed messages of a saga in which two sides had diverged: two answers after `connect_ok`.
const SIGNED: usize = 3;

#[test]
fn an_honest_receiver_is_believed_and_its_warrant_travels_once() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&seen);
    let ended = ended(move |_, mut message| {
        told.borrow_mut().push(signature_of(&mut message).as_ref().unwrap().warrant.is_some());
        message
    });
    let Ended::Done(summary) = ended else { panic!("{ended:?}") };
    assert_eq!(*seen.borrow(), [true, false, false]);
    assert!(summary.identity_bytes > 3_000, "{}", summary.identity_bytes);
}

#[test]
fn what_is_not_signed_is_not_believed() {
    for nth in 0..SIGNED {
        let strip = move |at: usize, mut message: Message| {
            if at == nth {
                *signature_of(&mut message) = None;
            }
            message
        };
        assert_eq!(code(ended(strip)), "incompatible", "{nth}");
    }
}

#[test]
fn a_signature_that_was_changed_or_told_beside_another_revision_does_not_hold() {
    for nth in 0..SIGNED {
        let changed = |change: fn(&mut Signature)| {
            code(ended(move |at, mut message| {
                if at == nth {
                    change(signature_of(&mut message).as_mut().unwrap());
                }
                message
            }))
        };
        assert_eq!(changed(|signature| signature.revision += 1), "bad_signature", "{nth}");
        assert_eq!(changed(|signature| signature.value.clear()), "bad_signature", "{nth}");
        let flip = |signature: &mut Signature| {
            let other = if &signature.value[100..101] == "A" { "B" } else { "A" };
            signature.value.replace_range(100..101, other);
        };
        assert_eq!(changed(flip), "bad_signature", "{nth}");
    }
}

#[test]
fn a_signature_is_good_for_one_answer_only() {
    // What was signed before on this connection is repeated: of connecting, or of the turn before.
    for (from, to) in [(0, 1), (0, 2), (1, 2)] {
        let mut before = None;
        let repeat = move |at: usize, mut message: Message| {
            if at == from {
                before = signature_of(&mut message).clone();
            }
            if at == to {
                let value = before.clone().unwrap().value;
                signature_of(&mut message).as_mut().unwrap().value = value;
            }
            message
        };
        assert_eq!(code(ended(repeat)), "bad_signature", "{from} as {to}");
    }
    let tree = TreeSigner::make(Height::H5, &mut Counter(5));
    let addr = |digit: &str| Addr::new("keystone", &digit.repeat(64)).unwrap();
    let word = |session: &str, last: &str, said: Said| Word { session: addr(session), last: addr(last), said };
    let said = || Said::Connected(Encoding::Blocks);
    let answer = |context: &str, list: &str, committed| Said::Answer {
        context: addr(context),
        list: list.to_owned(),
        committed,
    };
    let sign = |word: &Word| tree.sign(&word_message(word.text(1).as_bytes())).unwrap();
    let warrant = warrant_of(&tree);
    let honest = word("A", "B", answer("C", "d", true));
    let signature = sign(&honest);
    assert!(warrant.has_signed(honest.text(1).as_bytes(), &signature));
    for other in [
        word("E", "B", answer("C", "d", true)),
        word("A", "E", answer("C", "d", true)),
        word("A", "B", answer("E", "d", true)),
        word("A", "B", answer("C", "e", true)),
        word("A", "B", answer("C", "d", false)),
        word("A", "B", said()),
    ] {
        assert!(!warrant.has_signed(other.text(1).as_bytes(), &signature), "{other:?}");
    }
    assert!(!warrant.has_signed(honest.text(2).as_bytes(), &signature));
    let connected = sign(&word("A", "B", said()));
    let older = word("A", "B", Said::Connected(Encoding::Lines));
    assert!(!warrant.has_signed(older.text(1).as_bytes(), &connected), "a version that neither side chose");
}

#[test]
fn what_another_tree_signs_counts_only_if_the_space_has_warranted_it() {
    let tree = || TreeSigner::make(Height::H5, &mut Counter(5));
    // Without a warrant of its own it is taken for the tree that was told, and does not hold.
    let signer = tree();
    let silent = move |at: usize, mut message: Message| {
        if at == 1 {
            let signature = signature_of(&mut message).as_mut().unwrap();
            signature.value = signer.sign(&word_message(b"whatever")).unwrap();
        }
        message
    };
    assert_eq!(code(ended(silent)), "bad_signature");
    let bare = |_: usize, mut message: Message| {
        signature_of(&mut message).as_mut().unwrap().warrant = None;
        message
    };
    assert_eq!(code(ended(bare)), "bad_signature", "none was ever told");
    // With one, the sender's side is asked, and nothing more is said to whoever it does not know.
    let changed = || SagaError::PeerChanged {
        url: "http://host".into(),
        what: "keystone",
        known: "keystone^A".into(),
        shown: "keystone^B".into(),
    };
    let said = Rc::new(RefCell::new(0));
    let count = Rc::clone(&said);
    let told = ended_at(Err(changed()), move |_, message| {
        *count.borrow_mut() += 1;
        message
    });
    assert_eq!((code(told), *said.borrow()), ("server_changed".to_owned(), 1));
    // A warrant that comes later is asked about, too, even if it holds; what it signed is not believed for that.
    let signer = tree();
    let later = move |at: usize, mut message: Message| {
        if at == 1 {
            signature_of(&mut message).as_mut().unwrap().warrant = Some(warrant_of(&signer));
        }
        message
    };
    assert_eq!(code(ended(later)), "bad_signature");
}

/// The same turn, but that its message says something else.
fn rewritten(turn: &Turn, member: &str, to: &Value) -> Turn {
    let with = |node: &Verified<IbGib>, change: &dyn Fn(&mut IbGib)| {
        let mut changed = IbGib { gib: None, ..IbGib::clone(node) };
        change(&mut changed);
        changed.seal().unwrap()
    };
    let related = |node: &mut IbGib, name: &str, addr: &Addr| {
        let rel8ns = node.rel8ns.as_mut().and_then(Value::as_object_mut).unwrap();
        rel8ns.insert(name, Value::Array(vec![addr.into()]));
    };
    let message = with(turn.message(), &|node| {
        node.data.as_mut().and_then(Value::as_object_mut).unwrap().insert(member, to.clone());
    });
    let frame = with(turn.frame(), &|node| related(node, "msg", message.addr()));
    let context = with(turn.context(), &|node| {
        related(node, "msg", message.addr());
        related(node, "frame", frame.addr());
    });
    Turn::of(context, frame, message).unwrap()
}

#[test]
fn a_middleman_who_rewrites_an_answer_is_not_believed() {
    for nth in 1..SIGNED {
        let rewrite = move |at: usize, message: Message| match message {
            Message::SyncFrameResponse(answer) if at == nth => {
                let TurnAnswer { turn, signature } = *answer;
                let turn = rewritten(&turn, "conflicts", &Value::integer(5));
                Message::SyncFrameResponse(Box::new(TurnAnswer { turn, signature }))
            }
            other => other,
        };
        assert_eq!(code(ended(rewrite)), "bad_signature", "{nth}");
    }
    let older = |_: usize, message: Message| match message {
        Message::ConnectOk(ok) => Message::ConnectOk(ConnectOk { encoding: Encoding::Lines, ..ok }),
        other => other,
    };
    assert_eq!(code(ended(older)), "bad_signature", "the version is signed, too");
}

#[test]
fn a_receipt_shows_later_what_was_confirmed_and_nothing_else() {
    let tree = TreeSigner::make(Height::H5, &mut Counter(5));
    let addr = |ib: &str, digit: &str| Addr::new(ib, &digit.repeat(64)).unwrap();
    let line = |tip: &str, status| ReceiverLine { tjp: addr("note", "1"), status, tip: Some(addr("note", tip)) };
    let lines = vec![
        line("2", Status::Unknown),
        ReceiverLine {
            tjp: addr("note", "3"),
            status: Status::Refused("no\nroom".into()),
            tip: Some(addr("note", "4")),
        },
    ];
    let receipt = |lines: &[ReceiverLine], committed| {
        // The digest as the protocol has it: each line and a line feed.
        let mut blank = Receipt {
            word: Word {
                session: addr("keystone", "A"),
                last: addr("keystone", "B"),
                said: Said::Answer { context: addr("saga_context", "C"), list: String::new(), committed },
            },
            revision: 9,
            value: String::new(),
            warrant: warrant_of(&tree),
            lines: lines.to_vec(),
        };
        let text = blank.to_text();
        let list = text.split_once('\n').unwrap().1;
        let list = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(list));
        blank.word.said = Said::Answer { context: addr("saga_context", "C"), list, committed };
        blank.value = tree.sign(&word_message(blank.word.text(9).as_bytes())).unwrap();
        blank
    };
    let honest = receipt(&lines, true);
    assert!(honest.holds());
    assert_eq!(honest.tips().collect::<Vec<_>>(), [(&addr("note", "1"), &addr("note", "2"))]);
    assert_eq!(Receipt::parse(&honest.to_text()), Some(honest.clone()));
    assert!(!receipt(&lines, false).holds(), "nothing was committed");
    for changed in [
        Receipt { revision: 10, ..honest.clone() },
        Receipt { lines: vec![line("5", Status::Unknown), lines[1].clone()], ..honest.clone() },
        Receipt { lines: lines[..1].to_vec(), ..honest.clone() },
        Receipt { word: Word { session: addr("keystone", "D"), ..honest.word.clone() }, ..honest.clone() },
        Receipt { warrant: warrant_of(&TreeSigner::make(Height::H5, &mut Counter(6))), ..honest.clone() },
    ] {
        assert!(!changed.holds(), "{changed:?}");
        assert_eq!(Receipt::parse(&changed.to_text()), Some(changed.clone()));
        assert_eq!(Receipt::from_bytes(changed.to_text().as_bytes()), Some(changed.clone()));
        assert_eq!(Receipt::from_bytes(&changed.to_bytes()), Some(changed));
    }
    for junk in ["", "{}", "{}\n{}", "junk", "\0", "\0\u{5}"] {
        assert_eq!(Receipt::parse(junk), None, "{junk}");
        assert_eq!(Receipt::from_bytes(junk.as_bytes()), None, "{junk}");
    }
    let bytes = honest.to_bytes();
    assert!(bytes.len() < honest.to_text().len());
    for at in 0..bytes.len() {
        // Whatever is read of a damaged one, nothing panics.
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let _ = (Receipt::from_bytes(&damaged), Receipt::from_bytes(&bytes[..at]));
    }
}
