//! Two wormholes and a server in one thread: connections break and servers are killed as a seed says.

use ibgib_keystone::Entropy;
use ibgib_pairing::PairingError;
use ibgib_pairing::client::{Event, Input, Wormhole};
use ibgib_pairing::code::Code;
use ibgib_pairing::error::Misuse;
use ibgib_pairing::mailbox::{
    Ask, Conversation, Kept, Limits, MailboxRow, NameplateRow, Rows, Said, Usage, Wants, Who,
};
use ibgib_pairing::wire::{Answer, Command, Welcome};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// SplitMix64: the same numbers for the same seed.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            *byte = self.next() as u8;
        }
    }
}

/// A connection at the server.
struct Connection {
    conversation: Conversation,
    seen: usize,
    /// Server → client.
    down: VecDeque<String>,
}

/// What a server keeps, and who is connected.
#[derive(Default)]
struct Server {
    nameplates: BTreeMap<(String, String), NameplateRow>,
    mailboxes: BTreeMap<(String, String), MailboxRow>,
    messages: BTreeMap<(String, String), Vec<Kept>>,
    connections: BTreeMap<usize, Connection>,
    usage: Vec<Usage>,
    now: f64,
}

impl Server {
    fn connect(&mut self, id: usize) {
        let welcome = Answer::Welcome(Welcome::default()).frame(self.now);
        let connection =
            Connection { conversation: Conversation::new(false), seen: 0, down: VecDeque::from([welcome]) };
        self.connections.insert(id, connection);
    }

    fn load(&self, who: &Who, ask: &Ask) -> Rows {
        let key = |name: &str| (who.app_id.clone(), name.to_owned());
        let nameplate = |name: &str| self.nameplates.get(&key(name)).map(|row| (name.to_owned(), row.clone()));
        let mailbox = |id: &str| self.mailboxes.get(&key(id)).map(|row| (id.to_owned(), row.clone()));
        match ask.wants() {
            Wants::Numbers => {
                let numbers = self.nameplates.keys().filter(|(app, _)| *app == who.app_id);
                Rows { numbers: numbers.map(|(_, name)| name.clone()).collect(), ..Rows::default() }
            }
            Wants::Nameplate(name) => {
                let nameplate = nameplate(name);
                let mailbox = nameplate.as_ref().and_then(|(_, row)| mailbox(&row.mailbox));
                Rows { nameplate, mailbox, ..Rows::default() }
            }
            Wants::Mailbox(id) => {
                let mailbox = mailbox(id);
                let nameplate = mailbox.as_ref().and_then(|(_, row)| row.nameplate.as_deref()).and_then(nameplate);
                Rows { nameplate, mailbox, ..Rows::default() }
            }
        }
    }

    fn store(&mut self, who: &Who, before: Rows, after: Rows) {
        let key = |name: String| (who.app_id.clone(), name);
        if let Some((name, _)) = before.nameplate {
            self.nameplates.remove(&key(name));
        }
        if let Some((id, _)) = before.mailbox {
            self.mailboxes.remove(&key(id.clone()));
            if after.mailbox.is_none() {
                self.messages.remove(&key(id));
            }
        }
        if let (Some((id, _)), Some(kept)) = (&after.mailbox, after.added) {
            self.messages.entry(key(id.clone())).or_default().push(kept);
        }
        self.nameplates.extend(after.nameplate.map(|(name, row)| (key(name), row)));
        self.mailboxes.extend(after.mailbox.map(|(id, row)| (key(id), row)));
    }

    fn frame(&mut self, id: usize, frame: &str, entropy: &mut dyn Entropy) {
        self.now += 1.0;
        let now = self.now;
        let Some(received) = Command::receive(frame) else {
            self.connections.remove(&id);
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !received.untyped {
            let ack = Answer::Ack { id: received.id.clone().unwrap_or_default() };
            connection.down.push_back(ack.frame(now));
        }
        let answer = match connection.conversation.receive(&received) {
            Said::Answer(answer) => Some(answer),
            Said::Bound { .. } | Said::Permission { .. } => None,
            Said::Ask(ask) => {
                let who = connection.conversation.who().cloned().expect("who asks has bound");
                let before = self.load(&who, &ask);
                let mut after = before.clone();
                let outcome = after.apply(&ask, &who, &Limits::default(), now, entropy);
                self.store(&who, before, after);
                let connection = self.connections.get_mut(&id).expect("it was there");
                match outcome {
                    Ok(outcome) => {
                        self.usage.extend(outcome.usage);
                        connection.conversation.done(&ask);
                        outcome.answer
                    }
                    Err(refusal) => Some(Answer::Error { error: refusal.to_string(), orig: received.whole.clone() }),
                }
            }
        };
        if let (Some(answer), Some(connection)) = (answer, self.connections.get_mut(&id)) {
            connection.down.push_back(answer.frame(now));
        }
        self.tell();
    }

    /// Tells every listener what it has not seen.
    fn tell(&mut self) {
        for connection in self.connections.values_mut() {
            let (Some(who), Some(id)) = (connection.conversation.who(), connection.conversation.listens_to()) else {
                continue;
            };
            let Some(messages) = self.messages.get(&(who.app_id.clone(), id.to_owned())) else { continue };
            for kept in &messages[connection.seen..] {
                connection.seen += 1;
                connection.down.push_back(Answer::from(kept.clone()).frame(self.now));
            }
        }
    }
}

/// A device: its wormhole, and what it has said.
struct Device {
    wormhole: Wormhole,
    connected: bool,
    /// Client → server.
    up: VecDeque<String>,
    code: Option<Code>,
    verifier: Option<[u8; 32]>,
    received: Vec<Vec<u8>>,
    confirmed: bool,
    ended: Option<Result<(), PairingError>>,
}

impl Device {
    fn new(wormhole: Wormhole) -> Self {
        Self {
            wormhole,
            connected: false,
            up: VecDeque::new(),
            code: None,
            verifier: None,
            received: Vec::new(),
            confirmed: false,
            ended: None,
        }
    }

    fn give(&mut self, input: Input, entropy: &mut Seeded) -> Result<(), PairingError> {
        let result = self.wormhole.handle(input, entropy);
        while let Some(event) = self.wormhole.poll() {
            assert!(self.ended.is_none(), "nothing follows the end: {event:?}");
            match event {
                Event::Transmit(frame) => self.up.push_back(frame),
                Event::Code(code) => self.code = Some(code),
                Event::Verifier(verifier) => self.verifier = Some(verifier),
                Event::Confirmed(_) => self.confirmed = true,
                Event::Received(message) => self.received.push(message),
                Event::Ended(how) => self.ended = Some(how),
                _ => {}
            }
        }
        result
    }
}

struct World {
    server: Server,
    devices: Vec<Device>,
    entropy: Seeded,
    /// One in so many steps breaks a connection; one in ten times as many kills the server's connections.
    breaks: Option<u64>,
}

impl World {
    fn new(seed: u64, breaks: Option<u64>) -> Self {
        Self { server: Server::default(), devices: Vec::new(), entropy: Seeded(seed), breaks }
    }

    fn add(&mut self) -> usize {
        let wormhole = Wormhole::new("example.com/app", &mut self.entropy);
        self.devices.push(Device::new(wormhole));
        self.devices.len() - 1
    }

    fn give(&mut self, at: usize, input: Input) {
        self.devices[at].give(input, &mut self.entropy).unwrap();
    }

    fn lose(&mut self, at: usize) {
        self.server.connections.remove(&at);
        let device = &mut self.devices[at];
        (device.connected, device.up) = (false, VecDeque::new());
        device.give(Input::Lost, &mut self.entropy).unwrap();
    }

    /// Runs until nothing moves any more.
    fn run(&mut self) {
        let steps = if self.breaks.is_some() { 1_000 } else { 20_000 };
        for _ in 0..steps {
            let mut moved = false;
            for at in 0..self.devices.len() {
                if self.devices[at].ended.is_some() {
                    self.server.connections.remove(&at);
                    continue;
                }
                if !self.devices[at].connected {
                    self.server.connect(at);
                    self.devices[at].connected = true;
                    self.give(at, Input::Connected);
                    moved = true;
                }
                if let Some(breaks) = self.breaks
                    && self.entropy.one_in(breaks)
                {
                    self.lose(at);
                    if self.entropy.one_in(10) {
                        (0..self.devices.len()).for_each(|at| self.lose(at));
                    }
                    moved = true;
                    continue;
                }
                if let Some(frame) = self.devices[at].up.pop_front() {
                    self.server.frame(at, &frame, &mut self.entropy);
                    moved = true;
                }
                if let Some(frame) = self.server.connections.get_mut(&at).and_then(|c| c.down.pop_front()) {
                    self.give(at, Input::Frame(frame));
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        assert!(self.breaks.is_some(), "it never comes to rest");
    }

    fn code_of(&mut self, at: usize) -> Code {
        self.give(at, Input::default());
        self.run();
        self.devices[at].code.clone().expect("a number was free")
    }
}

fn messages(of: &str) -> Vec<Vec<u8>> {
    (0..5).map(|n| format!("{of} says {n}").into_bytes()).collect()
}

#[test]
fn two_devices_share_a_key_and_their_messages() {
    let mut world = World::new(1, None);
    let (a, b) = (world.add(), world.add());
    let code = world.code_of(a);
    world.give(b, Input::SetCode(code));
    messages("a").into_iter().for_each(|m| world.give(a, Input::Send(m)));
    messages("b").into_iter().for_each(|m| world.give(b, Input::Send(m)));
    world.run();
    assert_eq!(world.devices[a].received, messages("b"));
    assert_eq!(world.devices[b].received, messages("a"));
    assert_eq!(world.devices[a].verifier, world.devices[b].verifier);
    assert_eq!(
        world.devices[a].wormhole.derive_key("x", 32).unwrap(),
        world.devices[b].wormhole.derive_key("x", 32).unwrap()
    );
    assert!(world.server.nameplates.is_empty(), "the number is free as soon as both are there");
    world.give(a, Input::Close);
    world.give(b, Input::Close);
    world.run();
    assert_eq!((&world.devices[a].ended, &world.devices[b].ended), (&Some(Ok(())), &Some(Ok(()))));
    assert!(world.server.mailboxes.is_empty());
    let results: Vec<&str> = world.server.usage.iter().map(|u| u.result.as_str()).collect();
    assert_eq!(results, ["happy", "happy"]);
}

#[test]
fn whoever_closes_has_said_everything() {
    let mut world = World::new(7, None);
    let (a, b) = (world.add(), world.add());
    let code = world.code_of(a);
    world.give(b, Input::SetCode(code));
    world.run();
    world.give(a, Input::Send(b"last words".to_vec()));
    world.give(a, Input::Close);
    let late = world.devices[a].give(Input::Send(Vec::new()), &mut Seeded(1));
    assert_eq!(late, Err(Misuse::Closed.into()));
    // The server has heard nothing of it.
    world.lose(a);
    world.run();
    assert_eq!(world.devices[b].received, [b"last words".to_vec()]);
    assert_eq!(world.devices[a].ended, Some(Ok(())));
}

#[test]
fn a_wrong_code_ends_both_as_scary() {
    let mut world = World::new(2, None);
    let (a, b) = (world.add(), world.add());
    let code = world.code_of(a);
    let wrong = Code::parse(&format!("{}-wrong-words", code.nameplate())).unwrap();
    world.give(b, Input::SetCode(wrong));
    world.give(a, Input::Send(b"secret".to_vec()));
    world.run();
    for device in &world.devices {
        assert_eq!(device.ended, Some(Err(PairingError::WrongCode)));
        assert!(device.received.is_empty() && !device.confirmed);
    }
    assert_eq!(world.server.usage.last().unwrap().result, "scary");
}

#[test]
fn a_third_device_is_sent_away_and_harms_nobody() {
    let mut world = World::new(3, None);
    let (a, b) = (world.add(), world.add());
    let code = world.code_of(a);
    // Both have to come to the number before the third does, but have not heard each other yet.
    let (first, second) = (Ask::Claim { nameplate: code.nameplate().to_string() }, "b".to_owned());
    let who = Who { app_id: "example.com/app".into(), side: second };
    let before = world.server.load(&who, &first);
    let mut after = before.clone();
    after.apply(&first, &who, &Limits::default(), 1.0, &mut Seeded(9)).unwrap();
    world.server.store(&who, before, after);
    world.give(b, Input::SetCode(code));
    world.run();
    assert_eq!(world.devices[b].ended, Some(Err(PairingError::Crowded)));
    world.lose(a);
    world.run();
    assert_eq!(world.devices[a].ended, None, "the first comes back as if nothing had been");
}

#[test]
fn a_saved_wormhole_goes_on_in_another_process() {
    let mut world = World::new(4, None);
    let (a, b) = (world.add(), world.add());
    world.devices[a].wormhole.hold();
    let code = world.code_of(a);
    let saved = world.devices[a].wormhole.save().unwrap();
    world.lose(a);
    world.give(b, Input::SetCode(code));
    world.give(b, Input::Send(b"for later".to_vec()));
    world.run_without(a);
    world.devices[a] = Device::new(Wormhole::restore(&saved).unwrap());
    world.give(a, Input::Send(b"later".to_vec()));
    world.run();
    assert_eq!(world.devices[a].received, [b"for later".to_vec()]);
    assert_eq!(world.devices[b].received, [b"later".to_vec()]);
    assert_eq!(world.devices[a].wormhole.save().unwrap_err(), Misuse::NotNow.into());
    // A copy of the state that comes later is refused.
    let copy = world.add();
    world.devices[copy] = Device::new(Wormhole::restore(&saved).unwrap());
    world.run();
    assert!(matches!(world.devices[copy].ended, Some(Err(PairingError::BadState(_)))));
    // So is one whose mailbox is gone.
    world.server.mailboxes.clear();
    let late = world.add();
    world.devices[late] = Device::new(Wormhole::restore(&saved).unwrap());
    world.run();
    assert!(matches!(world.devices[late].ended, Some(Err(PairingError::BadState(_)))));
}

impl World {
    /// Runs with one device away.
    fn run_without(&mut self, at: usize) {
        let away = std::mem::replace(&mut self.devices[at], Device::new(Wormhole::new("away", &mut Seeded(0))));
        self.devices[at].ended = Some(Ok(()));
        self.run();
        self.devices[at] = away;
    }
}

#[test]
fn misuse_is_told_by_type() {
    let mut entropy = Seeded(5);
    let code = || Code::parse("7-crossover-clockwork").unwrap();
    let new = || Wormhole::new("app", &mut Seeded(6));
    let give = |wormhole: &mut Wormhole, input| wormhole.handle(input, &mut Seeded(7)).unwrap_err();
    let mut one = new();
    one.handle(Input::SetCode(code()), &mut entropy).unwrap();
    assert_eq!(give(&mut one, Input::SetCode(code())), Misuse::OnlyOneCode.into());
    assert_eq!(give(&mut one, Input::default()), Misuse::OnlyOneCode.into());
    assert_eq!(give(&mut one, Input::ChooseWords("a-b".into())), Misuse::AlreadyChoseWords.into());
    assert_eq!(one.derive_key("x", 32).unwrap_err(), Misuse::NoKey.into());
    assert_eq!(one.save().unwrap_err(), Misuse::NotNow.into());
    let mut typing = new();
    assert_eq!(give(&mut typing, Input::ChooseWords("a-b".into())), Misuse::ChooseNumberFirst.into());
    typing.handle(Input::List, &mut entropy).unwrap();
    typing.handle(Input::ChooseNumber(code().nameplate().clone()), &mut entropy).unwrap();
    assert_eq!(give(&mut typing, Input::ChooseNumber(code().nameplate().clone())), Misuse::AlreadyChoseNumber.into());
    assert!(matches!(give(&mut typing, Input::ChooseWords("a b".into())), PairingError::BadCode { .. }));
    typing.handle(Input::ChooseWords("crossover-clockwork".into()), &mut entropy).unwrap();
    typing.handle(Input::Close, &mut entropy).unwrap();
    assert_eq!(give(&mut typing, Input::Send(Vec::new())), Misuse::Closed.into());
    for bad in ["", "{}", r#"{"version":1}"#, r#"{"version":2}"#] {
        assert!(matches!(Wormhole::restore(bad), Err(PairingError::BadState(_))));
    }
}

#[test]
fn a_server_that_refuses_is_left() {
    for (welcome, expected) in [
        (Welcome { error: Some("closed".into()), ..Welcome::default() }, PairingError::Unwelcome("closed".into())),
        (
            Welcome {
                permission_required: serde_json::json!({"hashcash": {}}).as_object().cloned(),
                ..Welcome::default()
            },
            PairingError::NoPermission,
        ),
    ] {
        let mut world = World::new(8, None);
        let a = world.add();
        world.give(a, Input::Connected);
        world.give(a, Input::Frame(Answer::Welcome(welcome).frame(0.0)));
        assert_eq!(world.devices[a].ended, Some(Err(expected)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Connections break, servers forget who was connected: each message arrives once, in order.
    #[test]
    fn what_breaks_is_taken_up_again(seed: u64, breaks in 5_u64..60) {
        let mut world = World::new(seed, None);
        let (a, b) = (world.add(), world.add());
        let code = world.code_of(a);
        world.breaks = Some(breaks);
        world.give(b, Input::SetCode(code));
        messages("a").into_iter().for_each(|m| world.give(a, Input::Send(m)));
        messages("b").into_iter().for_each(|m| world.give(b, Input::Send(m)));
        world.run();
        world.breaks = None;
        world.run();
        prop_assert_eq!(&world.devices[a].received, &messages("b"));
        prop_assert_eq!(&world.devices[b].received, &messages("a"));
        world.give(a, Input::Close);
        world.give(b, Input::Close);
        world.run();
        prop_assert_eq!(&world.devices[a].ended, &Some(Ok(())));
        prop_assert!(world.server.mailboxes.is_empty() && world.server.nameplates.is_empty());
    }

    /// Whatever a server or a client says: no panic, and nothing after the end.
    #[test]
    fn noise_is_answered_by_errors(
        frames in prop::collection::vec(
            prop_oneof![
                ".*",
                r#"\{"type":"(welcome|claimed|message|closed|error|allocated|pong)"(,"[a-z]{1,5}":"[0-9a-f]{0,8}"){0,3}\}"#,
                r#"\{"type":"(bind|claim|open|add|close|release|list|allocate)"(,"(appid|side|nameplate|mailbox|phase|body)":"[0-9a-f]{0,8}"){0,3}\}"#,
            ],
            0..40,
        ),
        seed: u64,
    ) {
        let mut world = World::new(seed, None);
        let a = world.add();
        world.server.connect(77);
        world.give(a, Input::SetCode(Code::parse("7-a-b").unwrap()));
        for frame in frames {
            world.devices[a].give(Input::Frame(frame.clone()), &mut world.entropy).unwrap();
            world.server.frame(77, &frame, &mut world.entropy);
        }
    }
}
