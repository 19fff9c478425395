//! A wormhole, without sockets and clock: code → key → verifier → messages in order.
//!
//! The caller owns the connection. He gives the machine what happens ([`Wormhole::handle`]) and does what it wants
//! ([`Wormhole::poll`], until it gives `None`). A connection that is lost harms nothing: when the next one opens, the
//! machine binds and opens again and repeats what the server has not echoed.
//!
//! ```
//! use ibgib_keystone::Entropy;
//! use ibgib_pairing::client::{Event, Input, Wormhole};
//! use ibgib_pairing::code::Code;
//!
//! # struct Zeros;
//! # impl Entropy for Zeros { fn fill(&mut self, out: &mut [u8]) { out.fill(7) } }
//! # let mut entropy = Zeros;
//! let mut wormhole = Wormhole::new("example.com/app", &mut entropy);
//! wormhole.handle(Input::SetCode(Code::parse("7-crossover-clockwork")?), &mut entropy)?;
//! wormhole.handle(Input::Connected, &mut entropy)?;
//! wormhole.handle(Input::Frame(r#"{"type":"welcome","welcome":{}}"#.into()), &mut entropy)?;
//! let mut frames = 0;
//! while let Some(event) = wormhole.poll() {
//!     match event {
//!         Event::Transmit(_frame) => frames += 1, // bind, then claim
//!         Event::Welcome(_) | Event::Code(_) => {}
//!         other => unreachable!("{other:?}"),
//!     }
//! }
//! assert_eq!(frames, 2);
//! # Ok::<(), ibgib_pairing::error::PairingError>(())
//! ```

use crate::code::{Code, Nameplate, WORDS};
use crate::error::{Misuse, PairingError};
use crate::hashcash::Demand;
use crate::key::{Key, Pake, START_BYTES};
use crate::wire::{Answer, Command, Message, Welcome};
use ibgib_keystone::Entropy;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use zeroize::Zeroizing;

/// How a wormhole ended, as the server's statistics know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Both sides had the same key.
    Happy,
    /// Nobody came.
    Lonely,
    /// The other side had another key.
    Scary,
    /// Something failed.
    Errory,
    /// The server did not want us.
    Unwelcome,
}

impl Mood {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Happy => "happy",
            Self::Lonely => "lonely",
            Self::Scary => "scary",
            Self::Errory => "errory",
            Self::Unwelcome => "unwelcome",
        }
    }
}

/// World → wormhole.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection to the server is open.
    Connected,
    /// The connection is gone; the caller opens another when he likes.
    Lost,
    /// A frame of the server.
    Frame(String),
    /// The stamp that [`Event::Work`] asked for.
    Permission {
        /// For this.
        resource: String,
        /// What [`Demand::work`] gave.
        stamp: String,
    },
    /// Let the server choose a number, and make a code with so many words.
    Allocate {
        /// Words after the number.
        words: usize,
    },
    /// The code, from the other person or fixed beforehand.
    SetCode(Code),
    /// Ask which numbers are in use, for completion while typing.
    List,
    /// The number was typed; the words follow.
    ChooseNumber(Nameplate),
    /// The words were typed.
    ChooseWords(String),
    /// Send this, in order.
    Send(Vec<u8>),
    /// End, telling the server how it went: `happy` when the peer was heard, else `lonely`. What was sent to a peer that
    /// was heard gets to the server before.
    Close,
}

/// Wormhole → world.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Send this frame over the connection.
    Transmit(String),
    /// What the server tells everybody.
    Welcome(Welcome),
    /// The server demands a proof of work before anything else: do it, and give [`Input::Permission`].
    Work(Demand),
    /// The numbers in use.
    Numbers(Vec<String>),
    /// The code is known: show it to the person beside this device.
    Code(Code),
    /// The key is there, but whether the other side has the same is not known yet. The bytes are what two people may
    /// compare.
    Verifier([u8; 32]),
    /// The other side has the same key. Its `app_versions`.
    Confirmed(Value),
    /// The next message of the other side.
    Received(Vec<u8>),
    /// It is over: the connection can be closed. Nothing follows.
    Ended(Result<(), PairingError>),
}

/// Where a code comes from.
#[derive(Debug)]
enum CodeFrom {
    Nowhere,
    Server { words: usize },
    Typing { nameplate: Option<Nameplate> },
    Known(Code),
}

/// How far we are with the server's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberState {
    /// Not claimed on this or any connection.
    Free,
    Claimed,
    /// Given back; or never to be claimed, in a wormhole taken up again.
    Released,
}

/// Whose turn it is in taking up a saved wormhole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replay {
    /// Not a saved one, or it was found to be in order.
    Done,
    /// The mailbox's messages are coming in; whether our key-agreement message is among them.
    Reading { ours: bool },
}

/// One side of a wormhole.
#[derive(Debug)]
pub struct Wormhole {
    app_id: String,
    side: String,
    start: Zeroizing<[u8; START_BYTES]>,
    app_versions: Value,
    code: CodeFrom,
    number: NumberState,
    mailbox: Option<String>,
    /// Bound, on the connection that is open.
    is_bound: bool,
    is_open: bool,
    /// The number was claimed on the connection that is open, which takes that once.
    is_claimed: bool,
    /// What the connection that is open waits for.
    demanded: Option<Demand>,
    replay: Replay,
    pake: Option<Pake>,
    key: Option<Key>,
    peer: Option<String>,
    confirmed: bool,
    /// What has to be in the mailbox, in order, until the server echoes it: phase and body in hex.
    unechoed: Vec<(String, String)>,
    /// Put into the mailbox so that it is kept for days.
    hold: bool,
    /// Messages to send once there is a key.
    waiting: VecDeque<Vec<u8>>,
    next_out: u64,
    /// The peer's messages that cannot be delivered yet, by phase.
    early: BTreeMap<String, String>,
    next_in: u64,
    /// Nothing more is to be said: it ends as soon as the server has all that was.
    closing: bool,
    ending: Option<(Mood, Result<(), PairingError>)>,
    over: bool,
    out: VecDeque<Event>,
}

/// Messages of the peer that wait for an earlier one.
const EARLY_MAX: usize = 1_024;

impl Wormhole {
    /// A wormhole of an application (text like `example.com/app`), which both sides have to name alike.
    pub fn new(app_id: &str, entropy: &mut dyn Entropy) -> Self {
        let (mut side, mut start) = ([0; 5], Zeroizing::new([0; START_BYTES]));
        entropy.fill(&mut side);
        entropy.fill(&mut *start);
        Self::with(app_id.to_owned(), hex::encode(side), start)
    }

    fn with(app_id: String, side: String, start: Zeroizing<[u8; START_BYTES]>) -> Self {
        Self {
            app_id,
            side,
            start,
            app_versions: json!({}),
            code: CodeFrom::Nowhere,
            number: NumberState::Free,
            mailbox: None,
            is_bound: false,
            is_open: false,
            is_claimed: false,
            demanded: None,
            replay: Replay::Done,
            pake: None,
            key: None,
            peer: None,
            confirmed: false,
            unechoed: Vec::new(),
            hold: false,
            waiting: VecDeque::new(),
            next_out: 0,
            early: BTreeMap::new(),
            next_in: 0,
            closing: false,
            ending: None,
            over: false,
            out: VecDeque::new(),
        }
    }

    /// What the other side is told of this application beside the key: any JSON object.
    pub fn set_app_versions(&mut self, versions: Value) {
        self.app_versions = versions;
    }

    /// What happens next; `None` when it waits.
    pub fn poll(&mut self) -> Option<Event> {
        self.out.pop_front()
    }

    /// Our side's name at the server.
    pub fn side(&self) -> &str {
        &self.side
    }

    /// The application.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// The code, once it is known.
    pub fn code(&self) -> Option<&Code> {
        match &self.code {
            CodeFrom::Known(code) => Some(code),
            _ => None,
        }
    }

    /// A key for a purpose of the application, equal on both sides.
    ///
    /// # Errors
    /// [`Misuse::NoKey`] before [`Event::Verifier`].
    pub fn derive_key(&self, purpose: &str, bytes: usize) -> Result<Zeroizing<Vec<u8>>, PairingError> {
        Ok(self.key.as_ref().ok_or(Misuse::NoKey)?.derive(purpose.as_bytes(), bytes))
    }

    /// Whether the other side was heard and has been answered: from then on a saved state is of no use.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Takes an input. What goes wrong with the server or the peer ends the wormhole and is told by
    /// [`Event::Ended`].
    ///
    /// # Errors
    /// [`PairingError::Misuse`] or [`PairingError::BadCode`] for a call at the wrong moment; then nothing happened.
    pub fn handle(&mut self, input: Input, entropy: &mut dyn Entropy) -> Result<(), PairingError> {
        if self.over {
            return match input {
                // The connection may say some last words.
                Input::Lost | Input::Frame(_) | Input::Close => Ok(()),
                _ => Err(Misuse::Closed.into()),
            };
        }
        match input {
            Input::Connected => self.forget_connection(),
            Input::Lost => {
                self.forget_connection();
                // Who leaves need not come back to say so.
                if let Some((_, how)) = self.ending.take() {
                    self.end(how);
                }
            }
            Input::Frame(frame) => {
                let taken = Answer::read(&frame).and_then(|answer| match answer {
                    Some(answer) => self.answer(answer, entropy),
                    None => Ok(()),
                });
                if let Err(error) = taken {
                    self.fail(error, entropy);
                }
            }
            // What was worked for a connection that is gone is good for nothing.
            Input::Permission { resource, stamp } => {
                if self.demanded.take_if(|demand| demand.resource == resource).is_some() {
                    self.transmit(&Command::SubmitPermission { method: "hashcash".into(), stamp }, entropy);
                    self.bind(entropy);
                }
            }
            Input::Allocate { words } => {
                self.no_code_yet()?;
                self.code = CodeFrom::Server { words };
                if self.is_bound {
                    self.transmit(&Command::Allocate, entropy);
                }
            }
            Input::SetCode(code) => {
                self.no_code_yet()?;
                self.know(code, entropy);
            }
            Input::List => {
                if self.is_bound {
                    self.transmit(&Command::List, entropy);
                }
                if matches!(self.code, CodeFrom::Nowhere) {
                    self.code = CodeFrom::Typing { nameplate: None };
                }
            }
            Input::ChooseNumber(number) => match &mut self.code {
                CodeFrom::Nowhere | CodeFrom::Typing { nameplate: None } => {
                    self.code = CodeFrom::Typing { nameplate: Some(number) };
                    self.go_on(entropy);
                }
                CodeFrom::Typing { .. } => return Err(Misuse::AlreadyChoseNumber.into()),
                CodeFrom::Server { .. } | CodeFrom::Known(_) => return Err(Misuse::OnlyOneCode.into()),
            },
            Input::ChooseWords(words) => match &self.code {
                CodeFrom::Typing { nameplate: Some(number) } => {
                    let code = Code::parse(&format!("{number}-{words}"))?;
                    self.know(code, entropy);
                }
                CodeFrom::Nowhere | CodeFrom::Typing { nameplate: None } => {
                    return Err(Misuse::ChooseNumberFirst.into());
                }
                CodeFrom::Known(_) => return Err(Misuse::AlreadyChoseWords.into()),
                CodeFrom::Server { .. } => return Err(Misuse::OnlyOneCode.into()),
            },
            Input::Send(_) if self.closing => return Err(Misuse::Closed.into()),
            Input::Send(message) => {
                self.waiting.push_back(message);
                self.flush(entropy);
            }
            Input::Close => {
                self.closing = true;
                self.close(entropy);
            }
        }
        Ok(())
    }

    /// What was done on a connection has to be done again on the next one.
    fn forget_connection(&mut self) {
        (self.is_bound, self.is_open, self.is_claimed) = (false, false, false);
        self.demanded = None;
    }

    fn no_code_yet(&self) -> Result<(), Misuse> {
        if matches!(self.code, CodeFrom::Nowhere) { Ok(()) } else { Err(Misuse::OnlyOneCode) }
    }

    fn transmit(&mut self, command: &Command, entropy: &mut dyn Entropy) {
        let mut id = [0; 2];
        entropy.fill(&mut id);
        self.out.push_back(Event::Transmit(command.frame(&hex::encode(id))));
    }

    fn end(&mut self, how: Result<(), PairingError>) {
        self.over = true;
        self.out.push_back(Event::Ended(how));
    }

    /// Ends with an error, telling the server how it went.
    fn fail(&mut self, error: PairingError, entropy: &mut dyn Entropy) {
        // Whoever went on with the state has the same side, and would be closed with it.
        if matches!(error, PairingError::BadState(_)) {
            return self.end(Err(error));
        }
        let mood = match error {
            PairingError::WrongCode | PairingError::Reflected | PairingError::BadPeer(_) => Mood::Scary,
            PairingError::Unwelcome(_) | PairingError::NoPermission => Mood::Unwelcome,
            _ => Mood::Errory,
        };
        self.leave(mood, Err(error), entropy);
    }

    fn leave(&mut self, mood: Mood, how: Result<(), PairingError>, entropy: &mut dyn Entropy) {
        if self.ending.is_some() {
            return;
        }
        if !self.is_bound {
            return self.end(how);
        }
        self.release(entropy);
        match self.mailbox.clone() {
            Some(mailbox) => {
                let close = Command::Close { mailbox: Some(mailbox), mood: Some(mood.as_str().into()) };
                self.transmit(&close, entropy);
                self.ending = Some((mood, how));
            }
            None => self.end(how),
        }
    }

    /// Leaves, if nothing is left to say to a peer that was heard.
    fn close(&mut self, entropy: &mut dyn Entropy) {
        if !self.closing {
            return;
        }
        if !self.confirmed {
            self.leave(Mood::Lonely, Ok(()), entropy);
        } else if self.unechoed.is_empty() {
            self.leave(Mood::Happy, Ok(()), entropy);
        }
    }

    fn release(&mut self, entropy: &mut dyn Entropy) {
        if self.number == NumberState::Claimed
            && let Some(number) = self.nameplate()
        {
            self.number = NumberState::Released;
            self.transmit(&Command::Release { nameplate: Some(number.as_str().into()) }, entropy);
        }
    }

    fn nameplate(&self) -> Option<Nameplate> {
        match &self.code {
            CodeFrom::Known(code) => Some(code.nameplate().clone()),
            CodeFrom::Typing { nameplate } => nameplate.clone(),
            CodeFrom::Nowhere | CodeFrom::Server { .. } => None,
        }
    }

    /// The code is there: the key agreement starts.
    fn know(&mut self, code: Code, entropy: &mut dyn Entropy) {
        let pake = Pake::start(&code, &self.app_id, &self.start);
        let body = hex::encode(json!({"pake_v1": hex::encode(pake.message())}).to_string());
        self.pake = Some(pake);
        self.out.push_back(Event::Code(code.clone()));
        self.code = CodeFrom::Known(code);
        self.add("pake".into(), body, entropy);
        self.go_on(entropy);
    }

    /// Does with the server what can be done now.
    fn go_on(&mut self, entropy: &mut dyn Entropy) {
        if !self.is_bound || self.is_open {
            return;
        }
        match (&self.mailbox, self.nameplate(), self.number) {
            (Some(mailbox), ..) => {
                let open = Command::Open { mailbox: mailbox.clone() };
                self.is_open = true;
                self.transmit(&open, entropy);
                for (phase, body) in self.unechoed.clone() {
                    self.transmit(&Command::Add { phase, body, hold: self.hold }, entropy);
                }
                if self.replay != Replay::Done {
                    // What the mailbox holds comes before the answer to this.
                    self.transmit(&Command::Ping { ping: 1.into() }, entropy);
                }
            }
            (None, Some(number), NumberState::Free | NumberState::Claimed) if !self.is_claimed => {
                self.is_claimed = true;
                self.transmit(&Command::Claim { nameplate: number.as_str().into() }, entropy);
            }
            _ => {}
        }
    }

    fn add(&mut self, phase: String, body: String, entropy: &mut dyn Entropy) {
        if self.is_open {
            let add = Command::Add { phase: phase.clone(), body: body.clone(), hold: self.hold };
            self.transmit(&add, entropy);
        }
        self.unechoed.push((phase, body));
    }

    fn answer(&mut self, answer: Answer, entropy: &mut dyn Entropy) -> Result<(), PairingError> {
        match answer {
            Answer::Welcome(welcome) => {
                let (error, permission) = (welcome.error.clone(), welcome.permission_required.clone());
                self.out.push_back(Event::Welcome(welcome));
                if let Some(error) = error {
                    return Err(PairingError::Unwelcome(error));
                }
                match permission {
                    Some(methods) if !methods.contains_key("none") => {
                        let demand = methods.get("hashcash").and_then(Demand::read);
                        let demand = demand.ok_or(PairingError::NoPermission)?;
                        self.demanded = Some(demand.clone());
                        self.out.push_back(Event::Work(demand));
                    }
                    _ => self.bind(entropy),
                }
            }
            Answer::Nameplates(numbers) => self.out.push_back(Event::Numbers(numbers)),
            Answer::Allocated { nameplate } => {
                if let CodeFrom::Server { words } = self.code {
                    let bad = |_| PairingError::BadServer("it allocated what is no number".into());
                    let number = Nameplate::parse(&nameplate).map_err(bad)?;
                    let code = Code::random(number, words.max(1), entropy);
                    self.know(code, entropy);
                }
            }
            Answer::Claimed { mailbox } => {
                if self.number == NumberState::Free {
                    self.number = NumberState::Claimed;
                }
                if self.mailbox.as_ref().is_some_and(|known| *known != mailbox) {
                    return Err(PairingError::BadServer("the number leads to another mailbox than before".into()));
                }
                self.mailbox = Some(mailbox);
                self.go_on(entropy);
            }
            Answer::Message(message) => self.message(message, entropy)?,
            Answer::Pong { .. } => {
                if let Replay::Reading { ours } = std::mem::replace(&mut self.replay, Replay::Done)
                    && !ours
                {
                    return Err(PairingError::BadState("its mailbox is gone"));
                }
                self.read(entropy)?;
            }
            Answer::Closed => {
                if let Some((_, how)) = self.ending.take() {
                    self.end(how);
                }
            }
            Answer::Ack { .. } | Answer::Released => {}
            Answer::Error { error, .. } => {
                return Err(match error.as_str() {
                    "crowded" => PairingError::Crowded,
                    "reclaimed" => PairingError::Reclaimed,
                    _ => PairingError::Refused(error),
                });
            }
        }
        Ok(())
    }

    fn bind(&mut self, entropy: &mut dyn Entropy) {
        let client_version = Some(("ibgib".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        let bind = Command::Bind { app_id: self.app_id.clone(), side: self.side.clone(), client_version };
        self.transmit(&bind, entropy);
        self.is_bound = true;
        match self.code {
            CodeFrom::Server { .. } => self.transmit(&Command::Allocate, entropy),
            CodeFrom::Typing { nameplate: None } => self.transmit(&Command::List, entropy),
            _ => self.go_on(entropy),
        }
    }

    fn message(&mut self, message: Message, entropy: &mut dyn Entropy) -> Result<(), PairingError> {
        if message.side == self.side {
            if let Replay::Reading { ours } = &mut self.replay {
                if message.phase != "pake" {
                    return Err(PairingError::BadState("a copy of it was used already"));
                }
                *ours = true;
            }
            self.unechoed.retain(|(phase, _)| *phase != message.phase);
            self.close(entropy);
            return Ok(());
        }
        if self.peer.get_or_insert_with(|| message.side.clone()) != &message.side || self.ending.is_some() {
            return Ok(());
        }
        // Somebody is there, so the number is free for others.
        self.release(entropy);
        if self.early.len() >= EARLY_MAX {
            return Err(PairingError::BadPeer("too many messages wait for an earlier one"));
        }
        // A server may repeat messages: of each phase the first counts.
        self.early.entry(message.phase).or_insert(message.body);
        self.read(entropy)
    }

    /// Reads of the peer's messages what can be read now.
    fn read(&mut self, entropy: &mut dyn Entropy) -> Result<(), PairingError> {
        // A copy of a saved state that somebody went on with must say nothing, nor know whom it would speak to.
        if self.replay != Replay::Done {
            return Ok(());
        }
        if let Some(body) = self.early.get("pake").cloned()
            && self.key.is_none()
            && let Some(pake) = self.pake.take()
        {
            let key = pake.finish(&pake_message(&body)?)?;
            self.out.push_back(Event::Verifier(key.verifier()));
            let version = json!({"app_versions": self.app_versions}).to_string();
            self.key = Some(key);
            self.seal("version".into(), version.as_bytes(), entropy);
        }
        let Some(key) = self.key.clone() else { return Ok(()) };
        let side = self.peer.clone().unwrap_or_default();
        let open = |phase: &str, body: &str| {
            let sealed = hex::decode(body).map_err(|_| PairingError::BadPeer("a body is not hex"))?;
            key.of_phase(&side, phase).open(&sealed).ok_or(PairingError::WrongCode)
        };
        if !self.confirmed {
            // Whatever opens first proves the key; the versions are only told.
            let Some(body) = self.early.get("version") else { return Ok(()) };
            let versions = open("version", body)?;
            let versions: Value = serde_json::from_slice(&versions).unwrap_or_default();
            self.confirmed = true;
            self.out.push_back(Event::Confirmed(versions.get("app_versions").cloned().unwrap_or_else(|| json!({}))));
            self.flush(entropy);
        }
        while let Some(body) = self.early.remove(&self.next_in.to_string()) {
            let plain = open(&self.next_in.to_string(), &body)?;
            self.next_in += 1;
            self.out.push_back(Event::Received(plain));
        }
        // Phases that were delivered do not come again, and those that nobody knows are passed over.
        let next = self.next_in;
        self.early.retain(|phase, _| {
            phase == "pake" || phase == "version" || phase.parse::<u64>().is_ok_and(|phase| phase >= next)
        });
        Ok(())
    }

    fn seal(&mut self, phase: String, plain: &[u8], entropy: &mut dyn Entropy) {
        if let Some(key) = &self.key {
            let sealed = key.of_phase(&self.side, &phase).seal(plain, entropy);
            self.add(phase, hex::encode(sealed), entropy);
        }
    }

    /// Sends what waits, once there is a key.
    fn flush(&mut self, entropy: &mut dyn Entropy) {
        while self.key.is_some()
            && let Some(message) = self.waiting.pop_front()
        {
            let phase = self.next_out.to_string();
            self.next_out += 1;
            self.seal(phase, &message, entropy);
        }
    }

    /// The state, for going on later in another process: 0600 and one copy, since whoever has it can go on. It can be
    /// taken at one point only, after the code is known and the server has echoed the key-agreement message, and
    /// before the peer was heard.
    ///
    /// # Errors
    /// [`Misuse::NotNow`] at any other point.
    pub fn save(&self) -> Result<Zeroizing<String>, PairingError> {
        let (CodeFrom::Known(code), Some(mailbox), None, true) =
            (&self.code, &self.mailbox, &self.peer, self.unechoed.is_empty())
        else {
            return Err(Misuse::NotNow.into());
        };
        let state = json!({
            "version": 1,
            "app_id": self.app_id,
            "side": self.side,
            "start": hex::encode(*self.start),
            "code": code.as_str(),
            "mailbox": mailbox,
            "app_versions": self.app_versions,
        });
        Ok(Zeroizing::new(state.to_string()))
    }

    /// Asks the server to keep the mailbox for days: before the code is known.
    pub fn hold(&mut self) {
        self.hold = true;
    }

    /// Takes up what [`Wormhole::save`] gave. The number is not claimed again; if the mailbox lost our message, or
    /// somebody went on with a copy, the wormhole ends with [`PairingError::BadState`].
    ///
    /// # Errors
    /// [`PairingError::BadState`] for what is no such state.
    pub fn restore(saved: &str) -> Result<Self, PairingError> {
        let state: Value = serde_json::from_str(saved).map_err(|_| PairingError::BadState("it is not JSON"))?;
        if state.get("version") != Some(&1.into()) {
            return Err(PairingError::BadState("it is of another version"));
        }
        let text = |name: &str, why| state.get(name).and_then(Value::as_str).ok_or(PairingError::BadState(why));
        let mut start = Zeroizing::new([0; START_BYTES]);
        hex::decode_to_slice(text("start", "its start is missing")?, &mut *start)
            .map_err(|_| PairingError::BadState("its start is not 64 bytes in hex"))?;
        let code = Code::parse(text("code", "its code is missing")?);
        let code = code.map_err(|_| PairingError::BadState("its code is none"))?;
        let app_id = text("app_id", "its application is missing")?.to_owned();
        let side = text("side", "its side is missing")?.to_owned();
        let mut out = Self::with(app_id, side, start);
        out.mailbox = Some(text("mailbox", "its mailbox is missing")?.to_owned());
        out.pake = Some(Pake::start(&code, &out.app_id, &out.start));
        out.app_versions = state.get("app_versions").cloned().unwrap_or_else(|| json!({}));
        out.code = CodeFrom::Known(code);
        // The number was left to the peer: claiming it again could open another mailbox.
        out.number = NumberState::Released;
        out.replay = Replay::Reading { ours: false };
        Ok(out)
    }
}

/// What a body of phase `pake` holds: hex of JSON `{"pake_v1": hex}`.
fn pake_message(body: &str) -> Result<Vec<u8>, PairingError> {
    let bad = PairingError::BadPeer("the first message is no key agreement");
    let json = hex::decode(body).map_err(|_| bad.clone())?;
    let json: Value = serde_json::from_slice(&json).map_err(|_| bad.clone())?;
    let message = json.get("pake_v1").and_then(Value::as_str).ok_or_else(|| bad.clone())?;
    hex::decode(message).map_err(|_| bad)
}

impl Default for Input {
    /// Allocates a code of the usual length.
    fn default() -> Self {
        Self::Allocate { words: WORDS }
    }
}
