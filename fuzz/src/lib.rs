//! Every decoder as a function of any bytes, and merges: whatever comes in, they answer, and what they take they give back
//! the same. `cargo fuzz` and a short test with every run call the same functions; [`TARGETS`] lists them.
#![forbid(unsafe_code)]

use ibgib::merge::text;
use ibgib::{Addr, IbGib, Mode, Value, Verified};
use ibgib_keystone::Chain;
use ibgib_saga::{Envelope, Limits, Packet, Receiver, ReceiverInput};
use ibgib_spaces::{MemorySpace, Space, bundle};

/// Bytes that part one input into several.
const PART: u8 = 0xFF;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Each target with its name, as `fuzz/fuzz_targets` spells it.
pub const TARGETS: [(&str, Target); 8] = [
    ("address", address),
    ("bundle", bundle_file),
    ("conversation", conversation),
    ("keystone", keystone),
    ("message", message),
    ("text_merge", text_merge),
    ("value", value),
    ("verify", verify),
];

fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// JSON: what strict takes, compat takes, too, and both print it so that it reads back the same.
pub fn value(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    let compat = Value::parse(text, Mode::Compat);
    let Ok(strict) = Value::parse(text, Mode::Strict) else { return };
    assert_eq!(compat.as_ref(), Ok(&strict));
    let printed = strict.to_json();
    let again = Value::parse(&printed, Mode::Strict).expect("what is printed can be read");
    assert_eq!(again.to_json(), printed);
}

/// Addresses: what is taken prints as it came.
pub fn address(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    if let Ok(addr) = text.parse::<Addr>() {
        assert_eq!(addr.as_str(), text);
        assert_eq!(format!("{}^{}", addr.ib(), addr.gib()), text);
        let _ = (addr.tjp_gib(), addr.key(), addr.is_primitive());
    }
}

/// Nodes: what is verified is found under its address, and prints so that it verifies again.
pub fn verify(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    if let Ok(node) = IbGib::parse(text, Mode::Compat) {
        let _ = (node.computed_gib(), node.n(), node.is_tjp());
        if let Ok(sealed) = node.seal() {
            assert_eq!(Verified::parse(&sealed.to_json()), Ok(sealed));
        }
    }
    // Its text is not made values of before somebody asks for them.
    let made =
        IbGib::parse(text, Mode::Strict).and_then(|node| if node.gib.is_none() { node.seal() } else { node.verify() });
    for read in [Verified::parse(text), Verified::parse_without_gib(text)].into_iter().flatten() {
        let made = made.as_ref().expect("what is taken is taken either way");
        assert_eq!((&read, read.targets(), read.tjp(), read.past()), (made, made.targets(), made.tjp(), made.past()));
        assert_eq!((read.n(), read.to_json(), &*read), (made.n(), made.to_json(), &**made));
    }
}

/// Control messages: what can be read is sent the same and read the same.
pub fn message(bytes: &[u8]) {
    let Some(text) = utf8(bytes) else { return };
    let Ok(envelope) = Envelope::parse(text) else { return };
    let _ = envelope.signer();
    let Ok(message) = envelope.open() else { return };
    let Packet::Text(sent) = message.packet() else { panic!("control messages are text") };
    let read = Envelope::parse(&sent).and_then(|envelope| envelope.open()).expect("what is sent can be read");
    assert_eq!(read.packet(), Packet::Text(sent));
}

/// Messages and pieces of a stream, one after the other, to the receiver of a peer without identity.
pub fn conversation(bytes: &[u8]) {
    let mut receiver = Receiver::new(Limits::default(), true);
    for part in bytes.split(|b| *b == PART) {
        let packet = match utf8(part) {
            Some(text) if part.first().is_some_and(|b| *b > 1) => Packet::Text(text.to_owned()),
            _ => Packet::Binary(part.to_vec()),
        };
        receiver.handle(ReceiverInput::Packet(packet));
        while receiver.poll().is_some() {}
    }
    receiver.handle(ReceiverInput::Closed);
    while receiver.poll().is_some() {}
}

/// Frames of an identity, genesis first.
pub fn keystone(bytes: &[u8]) {
    let texts = bytes.split(|b| *b == PART).filter_map(utf8);
    // Seen as if their addresses held, so that the rules are reached.
    let seal = |text: &str| IbGib::parse(text, Mode::Strict).ok()?.seal().ok();
    let frames: Vec<Verified<IbGib>> = texts.filter_map(seal).collect();
    if let Ok((chain, _)) = Chain::replay(frames) {
        let _ = (chain.is_revoked(), chain.pools(), chain.checkpoint());
    }
}

/// Bundles: nothing of a damaged one is imported.
pub fn bundle_file(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers starts");
    runtime.block_on(async {
        let space = MemorySpace::new("fuzz");
        if bundle::import(&space, bytes, "fuzz", false).await.is_err() {
            assert_eq!(space.count().await, Ok(0));
            assert_eq!(space.staged_addrs("fuzz").await, Ok(Vec::new()));
        }
    });
}

/// Three texts: a side that did nothing leaves the other's, and what both did stands.
pub fn text_merge(bytes: &[u8]) {
    let texts: Vec<&str> = bytes.splitn(3, |b| *b == PART).map_while(utf8).collect();
    let [ancestor, base, orphan] = texts[..] else { return };
    let merged = text::merge(Some(ancestor), base, orphan, false);
    assert_eq!(merged, text::merge(Some(ancestor), base, orphan, false));
    for same in [text::merge(Some(ancestor), base, base, false), text::merge(Some(ancestor), base, ancestor, false)] {
        assert_eq!((same.text.as_str(), same.conflicts.len()), (base, 0));
    }
    let alone = text::merge(None, base, orphan, false);
    let mut lines = base.split('\n').chain(orphan.split('\n')).filter(|line| !line.is_empty());
    assert!(lines.all(|line| alone.text.split('\n').any(|kept| kept == line)), "a line was lost");
}
