//! A code that people carry from one device to the other: the library as an application uses it.
//!
//! One device shows the code, the other one takes it, and each hands over what it has for the other:
//!
//! ```no_run
//! use ibgib_pairing::connect::Session;
//! use ibgib_pairing::transcribe::{Initiator, Options, Receiver};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = || Session::remote("ws://127.0.0.1:4000/v1");
//! let mut initiator = Initiator::start("example.com/app", server()?, Options::default());
//! let code = initiator.get_code().await?;
//! println!("invitation code: {}", code.as_str());
//! // On the other device, where somebody types it.
//! let mut receiver = Receiver::start("example.com/app", server()?, Options::default());
//! receiver.set_code("7-crossover-clockwork")?;
//! let (theirs, ours) =
//!     tokio::join!(initiator.get_data(b"initiator's data".to_vec()), receiver.get_data(b"receiver's data".to_vec()));
//! # let _ = (theirs?, ours?);
//! # Ok(()) }
//! ```
//!
//! [`SymmetricWormhole`] is either of the two, and more than one message each way. `get_verifier` before `get_data` gives
//! bytes that two people may compare before anything travels.

use crate::client::{Event, Input, Wormhole};
use crate::code::{Code, Nameplate, WORDS, complete_words};
use crate::connect::{Schedule, Session};
use crate::error::{Misuse, PairingError};
use ibgib_peer::WebSocketRemote;
use ibgib_peer::entropy::OsEntropy;
use ibgib_peer::saga::SagaError;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

/// As in the first release: people who sit next to each other.
const TIMEOUT: Duration = Duration::from_secs(180);
/// How long the server may take to hear that nobody came.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Why a wormhole gives nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WormholeError {
    /// The server could not be reached the first time.
    #[error(transparent)]
    Server(#[from] SagaError),
    /// It was misused, refused or broken.
    #[error(transparent)]
    Pairing(#[from] PairingError),
}

impl From<Misuse> for WormholeError {
    fn from(misuse: Misuse) -> Self {
        Self::Pairing(misuse.into())
    }
}

/// How a wormhole waits.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it connects again after a connection is lost; without one, later and later up to a minute.
    pub schedule: Option<Schedule>,
    /// After this it is given up, however far it is, counted from its start, and anew once a code is set or typed: while
    /// somebody types, no time counts. The mailbox of one that was saved stays if the other side was not heard: its state
    /// is good for another time.
    pub timeout: Option<Duration>,
    /// It will be serialized: the server keeps the mailbox for days.
    pub held: bool,
    /// What the other device is told of this application beside the key: a JSON object.
    pub app_versions: Value,
}

impl Default for Options {
    /// Three minutes, for people who sit next to each other.
    fn default() -> Self {
        Self { schedule: None, timeout: Some(TIMEOUT), held: false, app_versions: serde_json::json!({}) }
    }
}

/// One side of a wormhole, whichever.
#[derive(Debug)]
pub struct SymmetricWormhole {
    session: Session,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    notice: Option<String>,
    numbers: Option<Vec<String>>,
    code: Option<Code>,
    verifier: Option<[u8; 32]>,
    versions: Option<Value>,
    received: VecDeque<Vec<u8>>,
    /// The one message of [`SymmetricWormhole::get_data`] was given.
    gave_data: bool,
    /// Somebody may go on with its saved state.
    saved: bool,
    ended: Option<PairingError>,
}

impl SymmetricWormhole {
    /// Begins to connect; needs a runtime. Both sides have to name the application alike: text like `example.com/app`.
    pub fn start(app_id: &str, server: WebSocketRemote, options: Options) -> Self {
        let mut wormhole = Wormhole::new(app_id, &mut OsEntropy);
        wormhole.set_app_versions(options.app_versions.clone());
        if options.held {
            wormhole.hold();
        }
        Self::begin(wormhole, server, &options)
    }

    /// Goes on with what [`SymmetricWormhole::serialize`] gave. The code's number is not claimed again. If the mailbox
    /// is gone, or somebody went on with a copy, the first call that waits ends with [`PairingError::BadState`].
    ///
    /// # Errors
    /// [`PairingError::BadState`] for what is no such state.
    pub fn from_serialized(saved: &str, server: WebSocketRemote, options: &Options) -> Result<Self, PairingError> {
        let wormhole = Wormhole::restore(saved)?;
        let code = wormhole.code().cloned();
        Ok(Self { code, saved: true, ..Self::begin(wormhole, server, options) })
    }

    fn begin(wormhole: Wormhole, server: WebSocketRemote, options: &Options) -> Self {
        Self {
            session: Session::start_on(wormhole, server, options.schedule.clone()),
            timeout: options.timeout,
            deadline: options.timeout.map(|time| Instant::now() + time),
            notice: None,
            numbers: None,
            code: None,
            verifier: None,
            versions: None,
            received: VecDeque::new(),
            gave_data: false,
            saved: false,
            ended: None,
        }
    }

    /// Counts the timeout anew, from now; `None` lifts it, as when a person has to decide.
    pub fn set_timeout(&mut self, time: Option<Duration>) {
        self.timeout = time;
        self.deadline = time.map(|time| Instant::now() + time);
    }

    /// What the server tells everybody, once something was heard of it.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Lets the server choose a number and makes a code of it and random words: two, which is one chance in 65,536 for
    /// whoever guesses, or as many as are wanted.
    ///
    /// # Errors
    /// [`Misuse::OnlyOneCode`] when it has one; what ends a wormhole.
    pub async fn get_code(&mut self) -> Result<Code, WormholeError> {
        self.get_code_of(WORDS).await
    }

    /// As [`SymmetricWormhole::get_code`], of so many words.
    ///
    /// # Errors
    /// As there.
    pub async fn get_code_of(&mut self, words: usize) -> Result<Code, WormholeError> {
        self.session.give(Input::Allocate { words })?;
        self.until(|w| w.code.clone()).await
    }

    /// Takes the code that the other device shows, or one that was agreed upon before.
    ///
    /// # Errors
    /// [`PairingError::BadCode`]; [`Misuse::OnlyOneCode`] when it has one.
    pub fn set_code(&mut self, code: &str) -> Result<(), PairingError> {
        let code = Code::parse(code)?;
        self.session.give(Input::SetCode(code.clone()))?;
        self.code = Some(code);
        self.set_timeout(self.timeout);
        Ok(())
    }

    /// Lets somebody type the code, with help. The timeout does not count until the code is typed.
    ///
    /// # Errors
    /// [`Misuse::OnlyOneCode`] when it has a code.
    pub fn input_code(&mut self) -> Result<CodeInput<'_>, PairingError> {
        if self.code.is_some() {
            return Err(Misuse::OnlyOneCode.into());
        }
        self.session.give(Input::List)?;
        self.deadline = None;
        Ok(CodeInput { wormhole: self, number: None })
    }

    /// Bytes that are equal on both devices only if nobody stands between. That the other side has the same key is not
    /// said by that: [`SymmetricWormhole::versions`] or the first message does.
    ///
    /// # Errors
    /// [`Misuse::NoCode`]; what ends a wormhole.
    pub async fn get_verifier(&mut self) -> Result<[u8; 32], WormholeError> {
        self.need_code()?;
        self.until(|w| w.verifier).await
    }

    /// Waits until the other side has proven that it has the same key, and tells what it says of its application.
    ///
    /// # Errors
    /// [`Misuse::NoCode`]; [`PairingError::WrongCode`]; what else ends a wormhole.
    pub async fn versions(&mut self) -> Result<Value, WormholeError> {
        self.need_code()?;
        self.until(|w| w.versions.clone()).await
    }

    /// Gives the other side one message and waits for its one; then it is over.
    ///
    /// # Errors
    /// [`Misuse::NoCode`]; [`Misuse::AlreadySent`] the second time; [`PairingError::WrongCode`]; what else ends a wormhole.
    pub async fn get_data(&mut self, outbound: Vec<u8>) -> Result<Vec<u8>, WormholeError> {
        self.need_code()?;
        if std::mem::replace(&mut self.gave_data, true) {
            return Err(Misuse::AlreadySent.into());
        }
        self.session.give(Input::Send(outbound))?;
        let inbound = self.receive().await?;
        self.close().await?;
        Ok(inbound)
    }

    /// Sends a message, after those that were sent before, once there is a key.
    ///
    /// # Errors
    /// [`Misuse::Closed`].
    pub fn send(&mut self, message: Vec<u8>) -> Result<(), PairingError> {
        self.session.give(Input::Send(message))
    }

    /// The next message of the other side.
    ///
    /// # Errors
    /// [`Misuse::NoCode`]; [`PairingError::WrongCode`]; what else ends a wormhole.
    pub async fn receive(&mut self) -> Result<Vec<u8>, WormholeError> {
        self.need_code()?;
        self.until(|w| w.received.pop_front()).await
    }

    /// Ends once the server has everything that was sent, and tells it how it went.
    ///
    /// # Errors
    /// What ended it otherwise.
    pub async fn close(&mut self) -> Result<(), WormholeError> {
        self.session.give(Input::Close)?;
        match self.until(|_| None).await {
            Ok(()) | Err(WormholeError::Pairing(PairingError::Misuse(Misuse::Closed))) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The state, for going on later, also in another process: after the code is known and before the other side came.
    /// It waits until the server has our message of the key agreement, which is part of the state. Whoever has the state
    /// can go on, once. This side should then [`suspend`](SymmetricWormhole::suspend).
    ///
    /// # Errors
    /// [`Misuse::NoCode`] before; [`Misuse::NotNow`] after; what ends a wormhole.
    pub async fn serialize(&mut self) -> Result<Zeroizing<String>, WormholeError> {
        self.need_code()?;
        let state = self
            .until(|w| match w.session.wormhole().save() {
                Ok(state) => Some(Ok(state)),
                // Nothing brings that point back.
                Err(error) => w.verifier.is_some().then_some(Err(error)),
            })
            .await??;
        self.saved = true;
        Ok(state)
    }

    /// Goes without a word: the mailbox stays for whoever goes on with the saved state.
    pub async fn suspend(self) {
        self.session.leave().await;
    }

    /// A key for a purpose of the application, equal on both sides.
    ///
    /// # Errors
    /// [`Misuse::NoKey`] before there is a verifier.
    pub fn derive_key(&self, purpose: &str, bytes: usize) -> Result<Zeroizing<Vec<u8>>, PairingError> {
        self.session.wormhole().derive_key(purpose, bytes)
    }

    /// The application.
    pub fn app_id(&self) -> &str {
        self.session.wormhole().app_id()
    }

    fn need_code(&self) -> Result<(), Misuse> {
        if self.code.is_some() { Ok(()) } else { Err(Misuse::NoCode) }
    }

    /// Goes on until `got` has something.
    async fn until<T>(&mut self, mut got: impl FnMut(&mut Self) -> Option<T>) -> Result<T, WormholeError> {
        loop {
            if let Some(got) = got(self) {
                return Ok(got);
            }
            if let Some(error) = &self.ended {
                return Err(error.clone().into());
            }
            let step = match self.deadline {
                Some(at) => match timeout_at(at, self.session.step()).await {
                    Ok(step) => step?,
                    Err(_) => {
                        self.give_up().await;
                        Some(Event::Ended(Err(PairingError::TimedOut)))
                    }
                },
                None => self.session.step().await?,
            };
            let Some(event) = step else { continue };
            match event {
                Event::Welcome(welcome) => self.notice = welcome.motd,
                Event::Numbers(numbers) => self.numbers = Some(numbers),
                Event::Code(code) => self.code = Some(code),
                Event::Verifier(verifier) => self.verifier = Some(verifier),
                Event::Confirmed(versions) => self.versions = Some(versions),
                Event::Received(message) => self.received.push_back(message),
                Event::Ended(how) => self.ended = Some(how.err().unwrap_or(Misuse::Closed.into())),
                // The session does them.
                Event::Transmit(_) | Event::Work(_) => {}
            }
        }
    }

    /// Whoever comes later must not find an open door. A saved wormhole whose other side was not heard is left as it
    /// stands: closing its mailbox would make the state useless, with which somebody may still go on.
    async fn give_up(&mut self) {
        if self.saved && !self.session.wormhole().has_key() {
            return;
        }
        // One that is over has nothing to say any more.
        let _ = self.session.give(Input::Close);
        let closing = async { while !matches!(self.session.next().await, Ok(Event::Ended(_)) | Err(_)) {} };
        // A server that does not answer is left all the same.
        let _ = timeout(LAST_WORDS_MAX, closing).await;
    }
}

/// Somebody types a code: the number first, then the words.
#[derive(Debug)]
pub struct CodeInput<'a> {
    wormhole: &'a mut SymmetricWormhole,
    number: Option<Nameplate>,
}

impl CodeInput<'_> {
    /// The numbers in use that begin with what was typed. The server may tell none of them. Whoever waits for no help any
    /// more gives up this call.
    ///
    /// # Errors
    /// [`Misuse::AlreadyChoseNumber`]; what ends a wormhole.
    pub async fn complete_number(&mut self, typed: &str) -> Result<Vec<String>, WormholeError> {
        if self.number.is_some() {
            return Err(Misuse::AlreadyChoseNumber.into());
        }
        let numbers = self.wormhole.until(|w| w.numbers.clone()).await?;
        Ok(numbers.into_iter().filter(|number| number.starts_with(typed)).collect())
    }

    /// The number is typed.
    ///
    /// # Errors
    /// [`PairingError::BadCode`]; [`Misuse::AlreadyChoseNumber`].
    pub fn choose_number(&mut self, number: &str) -> Result<(), PairingError> {
        let number = Nameplate::parse(number)?;
        self.wormhole.session.give(Input::ChooseNumber(number.clone()))?;
        self.number = Some(number);
        Ok(())
    }

    /// What the typed words may become, with a hyphen at the end while more words are due.
    ///
    /// # Errors
    /// [`Misuse::ChooseNumberFirst`]; [`Misuse::AlreadyChoseWords`].
    pub fn complete_words(&self, typed: &str) -> Result<Vec<String>, Misuse> {
        match (&self.number, &self.wormhole.code) {
            (None, _) => Err(Misuse::ChooseNumberFirst),
            (_, Some(_)) => Err(Misuse::AlreadyChoseWords),
            _ => Ok(complete_words(typed, WORDS)),
        }
    }

    /// The words are typed: the code is known.
    ///
    /// # Errors
    /// [`PairingError::BadCode`]; [`Misuse::ChooseNumberFirst`]; [`Misuse::AlreadyChoseWords`].
    pub fn choose_words(&mut self, words: &str) -> Result<(), PairingError> {
        self.wormhole.session.give(Input::ChooseWords(words.to_owned()))?;
        self.wormhole.code = self.wormhole.session.wormhole().code().cloned();
        self.wormhole.set_timeout(self.wormhole.timeout);
        Ok(())
    }
}

/// The side that shows the code.
#[derive(Debug)]
pub struct Initiator(SymmetricWormhole);

impl Initiator {
    /// As [`SymmetricWormhole::start`].
    pub fn start(app_id: &str, server: WebSocketRemote, options: Options) -> Self {
        Self(SymmetricWormhole::start(app_id, server, options))
    }

    /// As [`SymmetricWormhole::get_code`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_code(&mut self) -> Result<Code, WormholeError> {
        self.0.get_code().await
    }

    /// As [`SymmetricWormhole::get_verifier`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_verifier(&mut self) -> Result<[u8; 32], WormholeError> {
        self.0.get_verifier().await
    }

    /// As [`SymmetricWormhole::get_data`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_data(&mut self, outbound: Vec<u8>) -> Result<Vec<u8>, WormholeError> {
        self.0.get_data(outbound).await
    }
}

/// The side at which the code is typed.
#[derive(Debug)]
pub struct Receiver(SymmetricWormhole);

impl Receiver {
    /// As [`SymmetricWormhole::start`].
    pub fn start(app_id: &str, server: WebSocketRemote, options: Options) -> Self {
        Self(SymmetricWormhole::start(app_id, server, options))
    }

    /// As [`SymmetricWormhole::set_code`].
    ///
    /// # Errors
    /// As there.
    pub fn set_code(&mut self, code: &str) -> Result<(), PairingError> {
        self.0.set_code(code)
    }

    /// As [`SymmetricWormhole::input_code`].
    ///
    /// # Errors
    /// As there.
    pub fn input_code(&mut self) -> Result<CodeInput<'_>, PairingError> {
        self.0.input_code()
    }

    /// As [`SymmetricWormhole::get_verifier`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_verifier(&mut self) -> Result<[u8; 32], WormholeError> {
        self.0.get_verifier().await
    }

    /// As [`SymmetricWormhole::get_data`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_data(&mut self, outbound: Vec<u8>) -> Result<Vec<u8>, WormholeError> {
        self.0.get_data(outbound).await
    }
}
