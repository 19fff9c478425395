//! Whoever is on the line changes one thing of one message: a member, a byte of a stream, or the whole message for another
//! one that he saw. Nothing that is signed can be changed so that it counts. What is not signed (peeks, and how a
//! connection begins) can make a saga do less, never anything that an honest one would not have done. Both sides end with a
//! code of the table, and the next saga finds everything in order.
//!
//! Where the changed part is a node he can hash, too, so that half of the changes are sealed again, with the addresses that
//! name the node. `IBGIB_MUTATIONS=1000000` plays that many, `IBGIB_SEED=7 IBGIB_MUTATIONS=1` plays one again.

use crate::toy::{Connection, Ended, World, all_both_ways, constant, frame};
use ibgib::canonical::canonical_text;
use ibgib::{Addr, IbGib, Mode, Value};
use ibgib_keystone::{Chain, Warrant};
use ibgib_saga::codes::{Blame, Code};
use ibgib_saga::{Envelope, Limits, PACKED, Packet, SenderInput};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is changed and how, drawn from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

type Told = Vec<(&'static str, Packet)>;

/// A kind of message as this test speaks of it.
fn kind(packet: &Packet) -> String {
    match packet {
        Packet::Binary(bytes) if bytes.first() == Some(&PACKED) => "packed".into(),
        Packet::Binary(_) => "stream".into(),
        Packet::Text(text) => {
            Envelope::parse(text).map_or("garbage".into(), |envelope| envelope.kind().as_str().into())
        }
    }
}

/// Both sides have something of their own, and one timeline diverged.
struct Start {
    from: World,
    to: World,
    session: Chain,
    /// What the sender knows the receiver by.
    warrant: Warrant,
    /// Questions and answers travel packed.
    packs: bool,
}

impl Start {
    fn new(packs: bool) -> Self {
        let first = frame("note", "first", None, &[]);
        let (second, theirs) = (frame("note", "ours", Some(&first), &[]), frame("note", "theirs", Some(&first), &[]));
        let leaf = constant("leaf", "a leaf");
        let own = frame("own", "begins", None, &[("leaf", leaf.addr())]);
        let next = frame("own", "goes on", Some(&own), &[("leaf", leaf.addr())]);
        let other = frame("other", "is theirs", None, &[]);
        let (mut from, mut to) = (World::default(), World::default());
        from.put_all(&[&first, &second, &leaf, &own, &next]);
        to.put_all(&[&first, &theirs, &leaf, &own, &other]);
        let session = from.make_binding_session();
        let warrant = to.warrant();
        Self { from, to, session, warrant, packs }
    }

    /// A connection and a saga, where a middleman makes of the packets what he likes.
    fn play(&self, middleman: impl FnMut(&'static str, Packet) -> Packet + 'static) -> Played {
        let (from, to) = (self.from.clone(), self.to.clone());
        let mut connection = Connection::new(&Limits::default(), Some(self.session.clone()));
        connection.middleman = Some(Box::new(middleman));
        connection.packs = self.packs;
        connection.known = Some(self.warrant.clone());
        let mut played = Played { from, to, ended: None, told: Vec::new() };
        let hello = (self.session.tjp().clone(), self.session.tip().addr().clone());
        for input in [SenderInput::Connect(Some(hello)), all_both_ways()] {
            played.ended = connection.drive_to_rest(input, &mut played.from, &mut played.to);
            if !matches!(played.ended, Some(Ended::Connected)) {
                break;
            }
        }
        played.told = std::mem::take(&mut connection.told);
        played
    }
}

/// A saga that was played, and the worlds after it.
struct Played {
    from: World,
    to: World,
    /// `None`: both wait for each other.
    ended: Option<Ended>,
    told: Told,
}

impl Played {
    fn end(&self) -> String {
        match &self.ended {
            None => "silence".into(),
            Some(Ended::Failed(error)) => error.code().to_owned(),
            Some(Ended::Done(_)) => "done".into(),
            Some(other) => panic!("{other:?}"),
        }
    }

    /// What both have committed.
    fn kept(&self) -> [(&BTreeMap<Addr, Addr>, BTreeSet<&Addr>); 2] {
        [&self.from, &self.to].map(|world| (&world.tips, world.nodes.keys().collect()))
    }
}

/// Places in a value where something can be changed.
fn places(value: &Value, at: &[String], out: &mut Vec<Vec<String>>) {
    let mut below = |name: String, value: &Value| {
        let path = [at, &[name]].concat();
        out.push(path.clone());
        places(value, &path, out);
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| below(i.to_string(), item)),
        Value::Object(map) => map.iter().for_each(|(name, value)| below(name.to_owned(), value)),
        _ => {}
    }
}

fn down<'v>(value: &'v mut Value, path: &[String]) -> &'v mut Value {
    path.iter().fold(value, |value, name| match value {
        Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
        Value::Object(map) => map.get_mut(name).unwrap(),
        _ => unreachable!("the path was made for this value"),
    })
}

/// Some value of some message of the conversation.
fn splinter(told: &Told, dice: &mut Dice) -> Value {
    let texts = told.iter().filter_map(|(_, packet)| match packet {
        Packet::Text(text) => Some(&**text),
        Packet::Binary(_) => None,
    });
    let texts: Vec<&str> = texts.collect();
    let mut value = Value::parse(texts[dice.below(texts.len())], Mode::Strict).unwrap();
    let mut all = Vec::new();
    places(&value, &[], &mut all);
    let path = &all[dice.below(all.len())];
    std::mem::replace(down(&mut value, path), Value::Null)
}

/// Another value in the place of one.
fn changed(value: &Value, told: &Told, dice: &mut Dice) -> Value {
    match (value, dice.below(4)) {
        (_, 0) => splinter(told, dice),
        (Value::String(text), 1) if !text.is_empty() => {
            let mut chars: Vec<char> = text.chars().collect();
            let at = dice.below(chars.len());
            chars[at] = if chars[at] == 'A' { 'B' } else { 'A' };
            chars.into_iter().collect::<String>().into()
        }
        (Value::String(text), 2) => format!("{text}A").into(),
        (Value::Number(n), 1) => Value::Number(*n + 1.0),
        (Value::Number(_), 2) => Value::Number(-1.5),
        (Value::Bool(b), _) => (!*b).into(),
        (Value::Null, _) => true.into(),
        _ => [Value::Null, "".into(), 0u32.into(), Value::Array(Vec::new())][dice.below(4)].clone(),
    }
}

/// Changes one place of a message.
fn mutate_value(value: &mut Value, told: &Told, dice: &mut Dice) {
    let mut all = Vec::new();
    places(value, &[], &mut all);
    let path = &all[dice.below(all.len())];
    let (name, parent) = path.split_last().unwrap();
    let how = dice.below(6);
    match down(value, parent) {
        Value::Object(map) => match how {
            0 => drop(map.remove(name)),
            1 => {
                let twin = map.get(name).unwrap().clone();
                map.insert(format!("{name}2"), twin);
            }
            2 => *map = map.iter().rev().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
            _ => {
                let other = changed(map.get(name).unwrap(), told, dice);
                map.insert(name.as_str(), other);
            }
        },
        Value::Array(items) => {
            let at = name.parse::<usize>().unwrap();
            match how {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.reverse(),
                _ => items[at] = changed(&items[at], told, dice),
            }
        }
        _ => unreachable!("only these have places in them"),
    }
}

/// Another text in the place of one, wherever it stands.
fn replace(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text) if text == old => *text = new.into(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, old, new)),
        Value::Object(map) => {
            let names: Vec<String> = map.keys().map(str::to_owned).collect();
            names.iter().for_each(|name| replace(map.get_mut(name).unwrap(), old, new));
        }
        _ => {}
    }
}

/// Gives the nodes of a message the hashes that they have, and names them by these; `everywhere`: in what is signed, too.
fn seal_again(value: &mut Value, everywhere: bool) {
    for name in ["sagaFrameMsg", "sagaFrame", "context", "signedSessionIdentity", "proof"] {
        let Some(Ok(node)) = value.get(name).map(|node| IbGib::from_value(node.clone(), Mode::Strict)) else {
            continue;
        };
        let old = node.gib.as_ref().map(|gib| format!("{}^{gib}", node.ib));
        let Ok(sealed) = (IbGib { gib: None, ..node }).seal() else { continue };
        let Value::Object(map) = &mut *value else { continue };
        map.insert(name, sealed.to_value());
        let Some(old) = old else { continue };
        for place in ["sagaFrame", "context", "signedSessionIdentity"] {
            let signed = place == "signedSessionIdentity";
            if let Some(node) = map.get_mut(place).filter(|_| everywhere || !signed) {
                replace(node, &old, sealed.addr().as_str());
            }
        }
    }
}

fn mutate_text(text: &str, told: &Told, dice: &mut Dice) -> String {
    let mut value = Value::parse(text, Mode::Strict).unwrap();
    mutate_value(&mut value, told, dice);
    if dice.one_in(2) {
        seal_again(&mut value, dice.one_in(4));
    }
    value.to_json()
}

fn mutate_bytes(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = dice.below(bytes.len());
    match dice.below(4) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, dice.below(256) as u8),
        2 => drop(bytes.remove(at)),
        _ => bytes[at] ^= 1 << dice.below(8),
    }
    bytes
}

/// What the middleman makes of a packet.
fn mutate(packet: &Packet, told: &Told, dice: &mut Dice) -> Packet {
    if dice.one_in(20) {
        return told[dice.below(told.len())].1.clone();
    }
    match packet {
        Packet::Text(text) => Packet::Text(mutate_text(text, told, dice)),
        Packet::Binary(bytes) => Packet::Binary(mutate_bytes(bytes, dice)),
    }
}

#[allow(clippy::disallowed_methods, reason = "how long a test runs is told from outside")]
fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Mutations that are played when nothing else is said.
const RUNS: u64 = 8_000;

/// The messages of the conversation.
const KINDS: [&str; 12] = [
    "< connect_challenge",
    "< connect_ok",
    "< packed",
    "< peek_ok",
    "< stream",
    "< sync_frame_response",
    "> connect_proof",
    "> hello",
    "> packed",
    "> peek",
    "> stream",
    "> sync_frame_request",
];

/// What is not signed: a change of it may lead to a saga that ends, having done less.
const UNSIGNED: [&str; 6] = ["hello", "connect_challenge", "peek", "peek_ok", "packed", "bye"];

/// The rules by which a keystone's frame is refused, as the receiver tells them.
const RULES: &str = "ib n tjp past proofs revoked revocation recovery guard pools pool_repeated claim_incomplete no_solutions \
    demand claim_unexpected pools_mixed pool_unknown verb solution_repeated solution_type other_pool selection spent \
    proof_form solution_wrong next_pool";

/// Whether two messages may say the same: members that nobody reads, and the order in which members stand, say nothing. Of
/// streams what they hold is signed, not how it is packed, so that there only the result tells.
fn may_say_the_same(old: &Packet, new: &Packet) -> bool {
    let read = |packet: &Packet| {
        let Packet::Text(text) = packet else { return None };
        let message = Envelope::parse(text).and_then(|envelope| envelope.open()).ok()?;
        let Packet::Text(text) = message.packet() else { return None };
        let mut value = Value::parse(&text, Mode::Strict).ok()?;
        // What somebody can is not signed: it only tells how questions may travel.
        if let Value::Object(map) = &mut value {
            map.remove("features");
        }
        Some(canonical_text(&value))
    };
    match old {
        Packet::Text(_) => read(new) == read(old),
        Packet::Binary(_) => matches!(new, Packet::Binary(_)),
    }
}

/// A mutation, told when it counts.
struct Shown<'a> {
    seed: u64,
    of: &'a str,
    packet: &'a Packet,
    new: &'a Packet,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, of, packet, new } = self;
        write!(f, "IBGIB_SEED={seed}: {of}: {packet:?} became {new:?}")
    }
}

/// How often a message of a kind ended a saga in a way.
type Ends = BTreeMap<(String, String), u64>;

/// Plays these seeds.
fn play_all(seeds: impl Iterator<Item = u64>) -> Ends {
    let plays = [true, false].map(|packs| {
        let start = Start::new(packs);
        let honest = start.play(|_, packet| packet);
        assert_eq!(honest.end(), "done", "{:?}", honest.ended);
        (start, honest)
    });
    let mut ends = Ends::new();
    for seed in seeds {
        let (start, honest) = &plays[(seed % 2) as usize];
        play_one(seed, start, honest, &mut ends);
    }
    ends
}

/// Plays a seed beside what happens without a middleman.
fn play_one(seed: u64, start: &Start, honest: &Played, ends: &mut Ends) {
    let before = [&start.from, &start.to].map(|world| (&world.tips, world.nodes.keys().collect::<BTreeSet<_>>()));
    let after = honest.kept();
    assert!(before[0].0 != after[0].0 && before[1].0 != after[1].0, "something moves either way");

    let mut dice = Dice(seed);
    let nth = dice.below(honest.told.len());
    let (way, packet) = &honest.told[nth];
    let new = mutate(packet, &honest.told, &mut dice);
    if new == *packet {
        return;
    }
    let of = format!("{way} {}", kind(packet));
    let shown = Shown { seed, of: &of, packet, new: &new };
    let is_same = may_say_the_same(packet, &new);
    let mut told = 0;
    let change = new.clone();
    let played = start.play(move |_, packet| {
        told += 1;
        if told == nth + 1 { change.clone() } else { packet }
    });
    assert!(played.told.len() > nth, "{shown}");
    let (end, kept) = (played.end(), played.kept());
    for (i, (tips, nodes)) in kept.iter().enumerate() {
        for (tjp, tip) in *tips {
            let expected = [before[i].0.get(tjp), after[i].0.get(tjp)];
            assert!(expected.contains(&Some(tip)), "{shown}: {end}, the tip of {tjp} is {tip}");
        }
        assert!(nodes.is_subset(&after[i].1), "{shown}: {end}, nodes from nowhere");
    }
    if end == "done" {
        let counts = is_same && kept == after || UNSIGNED.contains(&&*kind(packet));
        assert!(counts, "it counted: {shown}");
    } else if end != "silence" {
        // A row of the table, or the name of the keystones' rule that was broken.
        let theirs = Code::ALL.iter().find(|code| code.as_str() == end).map_or_else(
            || RULES.split_whitespace().any(|rule| rule == end),
            |code| matches!(code.blame(), Blame::Peer | Blame::Identity | Blame::Limit),
        );
        assert!(theirs, "{end} is no word for it: {shown}");
    }
    // Whatever was left behind does not stand in the way of the next saga. Where only one side has committed it is
    // played always, else now and then.
    if kept != after && kept != before || dice.one_in(20) {
        let mut next = Start {
            from: played.from,
            to: played.to,
            session: start.session.clone(),
            warrant: start.warrant.clone(),
            packs: start.packs,
        };
        next.from.signer = start.from.signer.clone();
        let next = next.play(|_, packet| packet);
        assert_eq!(next.end(), "done", "{shown}: {:?}", next.ended);
        assert!(next.kept() == after, "{shown}: the next saga ends elsewhere");
    }
    *ends.entry((of, end)).or_default() += 1;
}

#[test]
fn nothing_that_is_signed_can_be_changed_and_nothing_at_all_does_harm() {
    let (first, runs) = (number("IBGIB_SEED", 1), number("IBGIB_MUTATIONS", RUNS));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut ends = Ends::new();
    std::thread::scope(|scope| {
        let seeds = |thread| (first + thread..first + runs).step_by(threads as usize);
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || play_all(seeds(thread)))).collect();
        for one in all.into_iter().flat_map(|thread| thread.join().unwrap()) {
            *ends.entry(one.0).or_default() += one.1;
        }
    });
    for ((of, end), count) in &ends {
        println!("{count:8} {of}: {end}");
    }
    // Every message of the conversation was changed, and changes of each of them were found out.
    if runs >= RUNS {
        let refused = ends.keys().filter(|(_, end)| end != "done" && end != "silence").map(|(of, _)| of.as_str());
        let refused: BTreeSet<&str> = refused.collect();
        assert_eq!(refused, BTreeSet::from(KINDS));
    }
}
