//! A wormhole in the form of 2015: one message each way, over an HTTP relay (`/wormhole-relay/`) that is asked again and
//! again. It speaks with the first releases of magic-wormhole, 0.2 and 0.3.
//!
//! ```no_run
//! use ibgib_pairing::connect::Session;
//! use ibgib_pairing::first_form::{Form, Wormhole};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let relay = || Session::remote("http://127.0.0.1:7070/wormhole-relay/");
//! let mut initiator = Wormhole::start(Form::Initiator, "example.com/app", relay()?);
//! println!("invitation code: {}", initiator.get_code().await?.as_str());
//! // On the other device, where somebody types it.
//! let mut receiver = Wormhole::start(Form::Receiver, "example.com/app", relay()?);
//! receiver.set_code("7-crossover-clockwork")?;
//! let (theirs, ours) =
//!     tokio::join!(initiator.get_data(b"initiator's data".to_vec()), receiver.get_data(b"receiver's data".to_vec()));
//! # let _ = (theirs?, ours?);
//! # Ok(()) }
//! ```
//!
//! [`Exchange`] is a side without sockets and clock; [`Wormhole`] asks the relay for it. Who shows a code that he let the
//! relay number is the initiator, who types it the receiver; two symmetric sides need no roles, and one that is symmetric
//! can be saved and taken up again, also by the original.
//!
//! The relay keeps what both posted until both have gone, so that a side may ask as often as it likes, and say again
//! what it does not know to have arrived. It knows no application ids: those only decide whether two sides agree.

mod pake;
mod relayed;

pub use relayed::Wormhole;

use crate::code::{Code, Nameplate};
use crate::error::{Misuse, PairingError};
use crate::key::{Key, SealKey};
use ibgib_keystone::Entropy;
use pake::{Names, Pake, Side};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Bytes of a name that a side without a role gives itself.
const SIDE_BYTES: usize = 5;

/// Which of three sides this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Shows the code; the other side is a receiver.
    Initiator,
    /// Takes the code; the other side is an initiator.
    Receiver,
    /// Either; the other side is symmetric, too.
    Symmetric,
}

impl Form {
    fn names(self, app_id: &str) -> Names {
        let (a, b) = match self {
            Self::Initiator | Self::Receiver => ("Initiator", "Receiver"),
            Self::Symmetric => ("SymmetricA", "SymmetricB"),
        };
        Names { a: format!("{app_id}:{a}"), b: format!("{app_id}:{b}") }
    }

    /// What the keys are derived for that this side seals with, and the other one.
    fn purposes(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Initiator => (b"sender", b"receiver"),
            Self::Receiver => (b"receiver", b"sender"),
            Self::Symmetric => (b"data-key", b"data-key"),
        }
    }
}

/// What is asked of the relay: a path below its URL, to which the body is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Begins with a slash.
    pub path: String,
    /// None where nothing is posted.
    pub body: Option<String>,
}

/// What an exchange wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// An answer to this; it does no harm to ask twice, except that a second number is allocated.
    Ask(Question),
    /// An answer to this again, after some time.
    Poll(Question),
    /// Something from the program.
    Nothing,
}

/// What the next answer is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Allocate(usize),
    List,
    PostPake,
    PollPake,
    PostData,
    PollData,
    Idle,
}

/// One side, without sockets and clock: [`Exchange::due`] says what to ask, [`Exchange::answered`] takes the answer.
#[derive(Debug)]
pub struct Exchange {
    form: Form,
    app_id: String,
    side: String,
    code: Option<Code>,
    /// Words of the code that waits for a number.
    allocating: Option<usize>,
    listing: bool,
    numbers: Option<Vec<String>>,
    pake: Option<Pake>,
    has_posted_pake: bool,
    key: Option<Key>,
    sealed: Option<Vec<u8>>,
    has_posted_data: bool,
    inbound: Option<Vec<u8>>,
    notice: Option<String>,
}

impl Exchange {
    /// A side of an application: text like `example.com/app`.
    pub fn new(form: Form, app_id: &str, entropy: &mut dyn Entropy) -> Self {
        let side = match form {
            Form::Initiator => "initiator".to_owned(),
            Form::Receiver => "receiver".to_owned(),
            Form::Symmetric => {
                let mut side = [0; SIDE_BYTES];
                entropy.fill(&mut side);
                hex::encode(side)
            }
        };
        Self {
            form,
            app_id: app_id.to_owned(),
            side,
            code: None,
            allocating: None,
            listing: false,
            numbers: None,
            pake: None,
            has_posted_pake: false,
            key: None,
            sealed: None,
            has_posted_data: false,
            inbound: None,
            notice: None,
        }
    }

    /// Wants a number for a code of so many words.
    ///
    /// # Errors
    /// [`Misuse::NotThisForm`] of a receiver; [`Misuse::OnlyOneCode`].
    pub fn allocate(&mut self, words: usize) -> Result<(), Misuse> {
        if self.form == Form::Receiver {
            return Err(Misuse::NotThisForm);
        }
        if self.code.is_some() || self.allocating.is_some() {
            return Err(Misuse::OnlyOneCode);
        }
        self.allocating = Some(words);
        Ok(())
    }

    /// Wants to know which numbers are in use. That only helps typing: it is asked once, whatever comes of it, and no more
    /// once there is a code.
    pub fn list(&mut self) {
        (self.listing, self.numbers) = (true, None);
    }

    /// Whether the next answer is about which numbers are in use.
    pub fn is_listing(&self) -> bool {
        self.listing
    }

    /// Takes a code.
    ///
    /// # Errors
    /// [`Misuse::OnlyOneCode`].
    pub fn set_code(&mut self, code: Code, entropy: &mut dyn Entropy) -> Result<(), Misuse> {
        if self.code.is_some() || self.allocating.is_some() {
            return Err(Misuse::OnlyOneCode);
        }
        self.listing = false;
        self.take_code(code, entropy);
        Ok(())
    }

    fn take_code(&mut self, code: Code, entropy: &mut dyn Entropy) {
        let (password, names) = (code.password(), self.form.names(&self.app_id));
        self.pake = Some(match self.form {
            Form::Initiator => Pake::one(Side::A, password.as_bytes(), &names, entropy),
            Form::Receiver => Pake::one(Side::B, password.as_bytes(), &names, entropy),
            Form::Symmetric => Pake::both(password.as_bytes(), &names, entropy),
        });
        self.code = Some(code);
    }

    /// Takes the one message for the other side, once there is a key.
    ///
    /// # Errors
    /// [`Misuse::NoKey`]; [`Misuse::AlreadySent`].
    pub fn give(&mut self, outbound: &[u8], entropy: &mut dyn Entropy) -> Result<(), Misuse> {
        if self.sealed.is_some() {
            return Err(Misuse::AlreadySent);
        }
        let key = self.key.as_ref().ok_or(Misuse::NoKey)?;
        self.sealed = Some(SealKey::new(key.derive(self.form.purposes().0, 32)).seal(outbound, entropy));
        Ok(())
    }

    fn step(&self) -> Step {
        match self {
            Self { listing: true, .. } => Step::List,
            Self { allocating: Some(words), .. } => Step::Allocate(*words),
            Self { code: None, .. } => Step::Idle,
            Self { has_posted_pake: false, key: None, .. } => Step::PostPake,
            Self { key: None, .. } => Step::PollPake,
            Self { sealed: None, .. } => Step::Idle,
            Self { has_posted_data: false, .. } => Step::PostData,
            Self { inbound: None, .. } => Step::PollData,
            Self { .. } => Step::Idle,
        }
    }

    /// What is to be asked next.
    pub fn due(&self) -> Due {
        let message = |bytes: &[u8]| json!({"message": hex::encode(bytes)}).to_string();
        let pake = || self.pake.as_ref().map(Pake::message).unwrap_or_default();
        let sealed = self.sealed.as_deref().unwrap_or_default();
        match self.step() {
            Step::List => Due::Ask(Question { path: "/list".into(), body: None }),
            Step::Allocate(_) => {
                Due::Ask(Question { path: format!("/allocate/{}", self.side), body: Some(String::new()) })
            }
            Step::PostPake => Due::Ask(self.question("post/pake", message(&pake()))),
            Step::PollPake => Due::Poll(self.question("poll/pake", String::new())),
            Step::PostData => Due::Ask(self.question("post/data", message(sealed))),
            Step::PollData => Due::Poll(self.question("poll/data", String::new())),
            Step::Idle => Due::Nothing,
        }
    }

    /// What tells the relay that this side goes. Nothing depends on its answer.
    pub fn leaving(&self) -> Option<Question> {
        self.code.as_ref().map(|_| self.question("deallocate", String::new()))
    }

    fn question(&self, verb: &str, body: String) -> Question {
        let number = self.code.as_ref().map(|code| code.nameplate().as_str()).unwrap_or_default();
        // The original writes it as a number.
        let number = match number.trim_start_matches('0') {
            "" => "0",
            number => number,
        };
        Question { path: format!("/{number}/{}/{verb}", self.side), body: Some(body) }
    }

    /// Takes the answer to what was due.
    ///
    /// # Errors
    /// What ends the exchange: [`PairingError::WrongCode`], a refusal, or what the relay or the other side does wrongly. An
    /// error of the listing need not end it.
    pub fn answered(&mut self, status: u16, body: &str, entropy: &mut dyn Entropy) -> Result<(), PairingError> {
        let step = self.step();
        if step == Step::List {
            self.listing = false;
        }
        match status {
            200 => {}
            403 => return Err(PairingError::Crowded),
            429 | 500.. => return Err(PairingError::Refused(body.chars().take(200).collect())),
            _ => return Err(PairingError::BadServer(format!("status {status}"))),
        }
        let bad = |why: &str| PairingError::BadServer(why.to_owned());
        let answer: Value = serde_json::from_str(body).map_err(|_| bad("an answer is no JSON"))?;
        if let Some(welcome) = answer.get("welcome") {
            if let Some(error) = welcome.get("error").and_then(Value::as_str) {
                return Err(PairingError::Unwelcome(error.to_owned()));
            }
            let notice = welcome.get("motd").and_then(Value::as_str);
            self.notice = notice.map(str::to_owned).or(self.notice.take());
        }
        match step {
            Step::Allocate(words) => {
                let id = answer.get("channel-id").and_then(Value::as_u64).ok_or_else(|| bad("it gives no number"))?;
                let number = Nameplate::parse(&id.to_string())?;
                self.allocating = None;
                let code = Code::random(number, words, entropy);
                self.take_code(code, entropy);
            }
            Step::List => {
                let ids = answer.get("channel-ids").and_then(Value::as_array);
                let ids = ids.ok_or_else(|| bad("it lists no numbers"))?;
                self.numbers = Some(ids.iter().filter_map(Value::as_u64).map(|id| id.to_string()).collect());
            }
            Step::PostPake | Step::PollPake => {
                self.has_posted_pake = true;
                if let Some(theirs) = first_message(&answer)?
                    && let Some(pake) = &self.pake
                {
                    self.key = Some(Key::new(pake.finish(&theirs)?));
                }
            }
            Step::PostData | Step::PollData => {
                self.has_posted_data = true;
                if let (Some(theirs), Some(key)) = (first_message(&answer)?, &self.key) {
                    if Some(&theirs) == self.sealed.as_ref() {
                        return Err(PairingError::Reflected);
                    }
                    let key = SealKey::new(key.derive(self.form.purposes().1, 32));
                    self.inbound = Some(key.open(&theirs).ok_or(PairingError::WrongCode)?);
                }
            }
            Step::Idle => {}
        }
        Ok(())
    }

    /// The code, once it is known.
    pub fn code(&self) -> Option<&Code> {
        self.code.as_ref()
    }

    /// The numbers in use, once they were listed.
    pub fn numbers(&self) -> Option<&[String]> {
        self.numbers.as_deref()
    }

    /// Bytes that are equal on both sides only if nobody stands between, once there is a key.
    pub fn verifier(&self) -> Option<[u8; 32]> {
        let bytes = self.key.as_ref()?.derive(format!("{}:Verifier", self.app_id).as_bytes(), 32);
        Some(std::array::from_fn(|at| bytes[at]))
    }

    /// The other side's message, once it came.
    pub fn inbound(&self) -> Option<&[u8]> {
        self.inbound.as_deref()
    }

    /// What the relay tells everybody.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// A key for a purpose of the application, equal on both sides.
    ///
    /// # Errors
    /// [`Misuse::NoKey`].
    pub fn derive_key(&self, purpose: &str, bytes: usize) -> Result<Zeroizing<Vec<u8>>, Misuse> {
        Ok(self.key.as_ref().ok_or(Misuse::NoKey)?.derive(purpose.as_bytes(), bytes))
    }

    /// The state, for going on in another process, in the original's form; `relay` is its URL. Whoever has it can go on.
    ///
    /// # Errors
    /// [`Misuse::NotThisForm`] of a side with a role; [`Misuse::NoCode`] before the code, [`Misuse::NotNow`] after the key.
    pub fn save(&self, relay: &str) -> Result<Zeroizing<String>, Misuse> {
        if self.form != Form::Symmetric {
            return Err(Misuse::NotThisForm);
        }
        let (Some(code), Some(pake)) = (&self.code, &self.pake) else { return Err(Misuse::NoCode) };
        if self.key.is_some() {
            return Err(Misuse::NotNow);
        }
        let state = json!({
            "appid": self.app_id,
            "relay": relay,
            "code": code.as_str(),
            "side": self.side,
            "spake2": pake.save(),
            "msg1": hex::encode(pake.message()),
        });
        Ok(Zeroizing::new(state.to_string()))
    }

    /// Takes what [`Exchange::save`] or the original's `serialize` gave.
    ///
    /// # Errors
    /// [`PairingError::BadState`] for what is no such state.
    pub fn restore(saved: &str) -> Result<Self, PairingError> {
        let bad = || PairingError::BadState("it is no state of a symmetric wormhole of 2015");
        let saved: Value = serde_json::from_str(saved).map_err(|_| bad())?;
        let text = |member: &str| saved.get(member).and_then(Value::as_str).ok_or_else(bad);
        let (app_id, side) = (text("appid")?.to_owned(), text("side")?.to_owned());
        if side.is_empty() || !side.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(bad());
        }
        let code = Code::parse(text("code")?).map_err(|_| bad())?;
        let state = saved.get("spake2").ok_or_else(bad)?;
        let pake = Pake::restore(code.password().as_bytes(), &Form::Symmetric.names(&app_id), state);
        let pake = pake.filter(|pake| text("msg1").is_ok_and(|message| message == hex::encode(pake.message())));
        let fresh = Self::new(Form::Symmetric, &app_id, &mut NoEntropy);
        Ok(Self { side, code: Some(code), pake: Some(pake.ok_or_else(bad)?), ..fresh })
    }
}

/// For what is filled in afterwards.
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

/// The oldest message of the other side: it says one of each name.
fn first_message(answer: &Value) -> Result<Option<Vec<u8>>, PairingError> {
    let bad = || PairingError::BadServer("an answer has no messages".into());
    let messages = answer.get("messages").and_then(Value::as_array).ok_or_else(bad)?;
    let Some(first) = messages.first() else { return Ok(None) };
    let first = hex::decode(first.as_str().ok_or_else(bad)?);
    first.map(Some).map_err(|_| PairingError::BadPeer("a message is no hex"))
}

#[cfg(test)]
mod tests {
    use super::pake::tests::Counting;
    use super::*;
    use std::collections::BTreeMap;

    const APP: &str = "lothar.com/wormhole/text-xfer";

    /// What a relay does with one channel.
    #[derive(Default)]
    struct Relay(BTreeMap<(String, String), Vec<String>>);

    impl Relay {
        fn answer(&mut self, question: &Question) -> String {
            let parts: Vec<&str> = question.path.split('/').collect();
            if parts[1] == "allocate" {
                return r#"{"welcome": {"motd": "hello"}, "channel-id": 7}"#.into();
            }
            let [_, "7", side, verb, name] = parts[..] else { panic!("{question:?}") };
            if verb == "post" {
                let body: Value = serde_json::from_str(question.body.as_ref().unwrap()).unwrap();
                let said = body["message"].as_str().unwrap().to_owned();
                self.0.entry((side.into(), name.into())).or_default().push(said);
            }
            let others = self.0.iter().filter(|((s, n), _)| s != side && n == name);
            json!({"welcome": {}, "messages": others.flat_map(|(_, m)| m).collect::<Vec<_>>()}).to_string()
        }
    }

    fn turn(side: &mut Exchange, relay: &mut Relay) -> Result<(), PairingError> {
        let (Due::Ask(question) | Due::Poll(question)) = side.due() else { return Ok(()) };
        let answer = relay.answer(&question);
        side.answered(200, &answer, &mut Counting(100))
    }

    fn both(forms: [Form; 2], codes: [&str; 2], app: &str) -> [Result<Vec<u8>, PairingError>; 2] {
        let mut relay = Relay::default();
        let mut sides = [(forms[0], APP, codes[0], 0), (forms[1], app, codes[1], 64)].map(|(form, app, code, from)| {
            let mut side = Exchange::new(form, app, &mut Counting(from));
            side.set_code(Code::parse(code).unwrap(), &mut Counting(from)).unwrap();
            side
        });
        for _ in 0..3 {
            for side in &mut sides {
                turn(side, &mut relay).unwrap();
            }
        }
        let equal = sides[0].verifier() == sides[1].verifier();
        assert_eq!(equal, codes[0] == codes[1] && app == APP);
        let mut ends = [Ok(()), Ok(())];
        for (at, side) in sides.iter_mut().enumerate() {
            side.give(format!("from {at}").as_bytes(), &mut Counting(7 * at as u8)).unwrap();
        }
        for _ in 0..2 {
            for (side, end) in sides.iter_mut().zip(&mut ends) {
                if end.is_ok() {
                    *end = turn(side, &mut relay);
                }
            }
        }
        let mut ends = ends.into_iter();
        sides.map(|side| ends.next().unwrap().map(|()| side.inbound().unwrap().to_vec()))
    }

    #[test]
    fn each_side_has_the_others_message() {
        let code = ["7-a-b", "7-a-b"];
        for forms in [[Form::Initiator, Form::Receiver], [Form::Symmetric, Form::Symmetric]] {
            assert_eq!(both(forms, code, APP), [Ok(b"from 1".to_vec()), Ok(b"from 0".to_vec())]);
            for wrong in [both(forms, ["7-a-b", "7-a-c"], APP), both(forms, code, "example.com/other")] {
                assert_eq!(wrong, [Err(PairingError::WrongCode), Err(PairingError::WrongCode)]);
            }
        }
    }

    /// Vectors made with magic-wormhole 0.3.0 and spake2 0.2, run with Python 2.7.
    #[test]
    fn keys_and_bytes_are_those_of_the_original() {
        let mut relay = Relay::default();
        let mut sides = [(Form::Initiator, 0), (Form::Receiver, 64)].map(|(form, from)| {
            let mut side = Exchange::new(form, APP, &mut Counting(0));
            side.set_code(Code::parse("7-crossover-clockwork").unwrap(), &mut Counting(from)).unwrap();
            side
        });
        for _ in 0..2 {
            sides.iter_mut().for_each(|side| turn(side, &mut relay).unwrap());
        }
        let [mut initiator, receiver] = sides;
        let verifier = "ca2c3ca5316feac3293448a2c8c320a50e2e8ca183b3abe3269893c0d895f709";
        assert_eq!(hex::encode(initiator.verifier().unwrap()), verifier);
        assert_eq!(initiator.verifier(), receiver.verifier());
        assert_eq!(
            hex::encode(&*receiver.derive_key("receiver", 32).unwrap()),
            "91ea722f7fed4c92737815c7d4b287d6f81a1c09d0451d6093550737061fdf87"
        );
        initiator.give(b"hello", &mut Counting(0)).unwrap();
        let sealed = "000102030405060708090a0b0c0d0e0f10111213141516173c9aa5a91594411f430a1319a18ce200b315883316";
        let posted =
            Question { path: "/7/initiator/post/data".into(), body: Some(json!({"message": sealed}).to_string()) };
        assert_eq!(initiator.due(), Due::Ask(posted));
    }

    /// As magic-wormhole 0.3.0 writes it, but for the order of members.
    #[test]
    fn a_saved_state_is_the_originals() {
        let mut wormhole = Exchange::new(Form::Symmetric, APP, &mut Counting(1));
        assert_eq!(wormhole.save("r").unwrap_err(), Misuse::NoCode);
        wormhole.set_code(Code::parse("7-crossover-clockwork").unwrap(), &mut Counting(0)).unwrap();
        let sided = |side: &str, scalar: &str| {
            json!({
                "hashed_params": "aa410876a03606e38247cc4ff8bec44c651b1492f86ecf4880ea1bf43521919a",
                "idA": "6c6f746861722e636f6d2f776f726d686f6c652f746578742d786665723a53796d6d657472696341",
                "idB": "6c6f746861722e636f6d2f776f726d686f6c652f746578742d786665723a53796d6d657472696342",
                "password": "372d63726f73736f7665722d636c6f636b776f726b",
                "side": side,
                "xy_scalar": scalar,
            })
        };
        let whole = json!({
            "appid": APP,
            "relay": "http://127.0.0.1:3000/wormhole-relay/",
            "code": "7-crossover-clockwork",
            "side": "0102030405",
            "spake2": {
                "password": "372d63726f73736f7665722d636c6f636b776f726b",
                "sA": sided("A", "73e67adf40e50c8cb86d56f1b32cdbf6466477a29f106e9a04093eefbbc9700b"),
                "sB": sided("B", "d543130c1e19f2eb858f8133f470aa9e880cb0dd54d1118379eefca18f56ad01"),
            },
            "msg1": "41995a35de839d3004d5f8a53ce21abb10a1b7da33e783ee545b35b5856990deb0\
                4291fbf32cce5ead95a490c64e6d779661ecd62dd1941a8644e5d0e365c9d1f55d",
        });
        let saved = wormhole.save("http://127.0.0.1:3000/wormhole-relay/").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&saved).unwrap(), whole);
        assert_eq!(Exchange::restore(&saved).unwrap().due(), wormhole.due());
        let broken = |pointer: &str, with: &str| {
            let mut broken = whole.clone();
            *broken.pointer_mut(pointer).unwrap() = with.into();
            Exchange::restore(&broken.to_string()).map(|_| ())
        };
        for (pointer, with) in [
            ("/code", "7-other-code"),
            ("/appid", "example.com/other"),
            ("/side", "../list"),
            ("/msg1", "00"),
            ("/spake2/sA/hashed_params", "00"),
            ("/spake2/sB/xy_scalar", &"ff".repeat(32)),
            ("/spake2/sB/side", "A"),
        ] {
            assert!(matches!(broken(pointer, with), Err(PairingError::BadState(_))), "{pointer}");
        }
    }

    #[test]
    fn misuse_and_bad_answers_are_typed_errors() {
        let code = || Code::parse("07-a-b").unwrap();
        let start = |form| Exchange::new(form, APP, &mut Counting(0));
        let mut receiver = start(Form::Receiver);
        assert_eq!(receiver.allocate(2), Err(Misuse::NotThisForm));
        assert_eq!(receiver.give(b"x", &mut Counting(0)), Err(Misuse::NoKey));
        assert_eq!(receiver.derive_key("x", 1).unwrap_err(), Misuse::NoKey);
        assert!(receiver.leaving().is_none());
        receiver.set_code(code(), &mut Counting(0)).unwrap();
        assert_eq!(receiver.set_code(code(), &mut Counting(0)), Err(Misuse::OnlyOneCode));
        assert_eq!(receiver.save("r").unwrap_err(), Misuse::NotThisForm);
        // The original reads and writes the number as one.
        assert_eq!(receiver.leaving().unwrap().path, "/7/receiver/deallocate");
        let mut allocating = start(Form::Initiator);
        allocating.allocate(3).unwrap();
        assert_eq!(allocating.allocate(2), Err(Misuse::OnlyOneCode));
        turn(&mut allocating, &mut Relay::default()).unwrap();
        assert_eq!(allocating.notice(), Some("hello"));
        assert_eq!(allocating.code().unwrap().as_str().matches('-').count(), 3);
        let told = |status, body: &str| {
            let mut side = start(Form::Symmetric);
            side.set_code(code(), &mut Counting(0)).unwrap();
            side.answered(status, body, &mut Counting(0)).unwrap_err()
        };
        assert_eq!(told(403, "no"), PairingError::Crowded);
        assert_eq!(told(429, "slowly"), PairingError::Refused("slowly".into()));
        assert_eq!(told(200, r#"{"welcome": {"error": "gone"}}"#), PairingError::Unwelcome("gone".into()));
        for (status, body) in [(404, ""), (200, ""), (200, "{}"), (200, r#"{"messages": [7]}"#)] {
            assert!(matches!(told(status, body), PairingError::BadServer(_)), "{body}");
        }
        for body in [r#"{"messages": ["no hex"]}"#, r#"{"messages": ["00"]}"#] {
            assert!(matches!(told(200, body), PairingError::BadPeer(_)), "{body}");
        }
    }
}
