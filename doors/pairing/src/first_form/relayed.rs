//! The clock and the questions around an exchange.

use super::{Due, Exchange, Form, Question};
use crate::code::{Code, WORDS};
use crate::connect::Schedule;
use crate::error::{Misuse, PairingError};
use crate::transcribe::WormholeError;
use ibgib_peer::WebSocketRemote;
use ibgib_peer::entropy::OsEntropy;
use ibgib_peer::saga::SagaError;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zeroize::Zeroizing;

/// As in the first release: people who sit next to each other.
const POLL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(180);
/// How long the relay may take to hear that this side goes.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// A wormhole of 2015 behind a URL like `http://HOST:PORT/wormhole-relay/`.
///
/// Any call that waits may be given up and made again. A relay that is away after it was reached once is asked again as
/// often as the schedule says, until the time is over.
#[derive(Debug)]
pub struct Wormhole {
    exchange: Exchange,
    relay: WebSocketRemote,
    schedule: Schedule,
    started: Instant,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    /// The relay has answered before.
    reached: bool,
    ended: Option<PairingError>,
}

impl Wormhole {
    /// Both sides have to name the application alike: text like `example.com/app`. It asks each half second, for three
    /// minutes, unless told otherwise.
    pub fn start(form: Form, app_id: &str, relay: WebSocketRemote) -> Self {
        Self::on(Exchange::new(form, app_id, &mut OsEntropy), relay)
    }

    fn on(exchange: Exchange, relay: WebSocketRemote) -> Self {
        let (started, timeout) = (Instant::now(), Some(TIMEOUT));
        let (schedule, deadline) = (Schedule::every(POLL), Some(started + TIMEOUT));
        Self { exchange, relay, schedule, started, timeout, deadline, reached: false, ended: None }
    }

    /// How often the relay is asked.
    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.schedule = schedule;
    }

    /// After this it is given up, however far it is, counted from now; `None` lifts it, as when a person has to decide.
    /// [`Wormhole::set_code`] counts it anew, so that a person may take his time to type one.
    pub fn set_timeout(&mut self, time: Option<Duration>) {
        self.timeout = time;
        self.deadline = time.map(|time| Instant::now() + time);
    }

    /// What the relay tells everybody, once something was heard of it.
    pub fn notice(&self) -> Option<&str> {
        self.exchange.notice()
    }

    /// The numbers in use, to help somebody who types a code; the relay may tell none of them. The timeout does not count
    /// meanwhile: whoever waits for no help any more gives up this call.
    ///
    /// # Errors
    /// Why the relay tells none. The wormhole goes on all the same, unless the relay wants no client like this one.
    pub async fn numbers(&mut self) -> Result<Vec<String>, WormholeError> {
        self.exchange.list();
        self.until_by(None, |e| e.numbers().map(<[_]>::to_vec)).await
    }

    /// Lets the relay choose a number and makes a code of it and two random words.
    ///
    /// # Errors
    /// [`Misuse::NotThisForm`] of a receiver; [`Misuse::OnlyOneCode`]; what ends a wormhole.
    pub async fn get_code(&mut self) -> Result<Code, WormholeError> {
        self.get_code_of(WORDS).await
    }

    /// As [`Wormhole::get_code`], of so many words. The other side can begin from then on.
    ///
    /// # Errors
    /// As there.
    pub async fn get_code_of(&mut self, words: usize) -> Result<Code, WormholeError> {
        self.exchange.allocate(words)?;
        self.until(|e| e.code().cloned()).await
    }

    /// Takes the code that the other device shows, or one that was agreed upon before.
    ///
    /// # Errors
    /// [`PairingError::BadCode`]; [`Misuse::OnlyOneCode`].
    pub fn set_code(&mut self, code: &str) -> Result<(), PairingError> {
        self.exchange.set_code(Code::parse(code)?, &mut OsEntropy)?;
        self.set_timeout(self.timeout);
        Ok(())
    }

    /// Bytes that are equal on both devices only if nobody stands between. That the other side has the same key is not
    /// said by that: its message does.
    ///
    /// # Errors
    /// [`Misuse::NoCode`]; what ends a wormhole.
    pub async fn get_verifier(&mut self) -> Result<[u8; 32], WormholeError> {
        self.until(Exchange::verifier).await
    }

    /// Gives the other side one message and waits for its one; then it is over.
    ///
    /// # Errors
    /// [`Misuse::NoCode`]; [`Misuse::AlreadySent`] the second time; [`PairingError::WrongCode`]; what else ends a wormhole.
    pub async fn get_data(&mut self, outbound: Vec<u8>) -> Result<Vec<u8>, WormholeError> {
        self.get_verifier().await?;
        self.exchange.give(&outbound, &mut OsEntropy)?;
        let inbound = self.until(|e| e.inbound().map(<[_]>::to_vec)).await?;
        self.end(Misuse::Closed.into()).await;
        Ok(inbound)
    }

    /// A key for a purpose of the application, equal on both sides.
    ///
    /// # Errors
    /// [`Misuse::NoKey`] before there is a verifier.
    pub fn derive_key(&self, purpose: &str, bytes: usize) -> Result<Zeroizing<Vec<u8>>, PairingError> {
        Ok(self.exchange.derive_key(purpose, bytes)?)
    }

    /// The state of a symmetric wormhole, for going on later, also in another process and in the original: after the code
    /// is known and before there is a verifier. Whoever has it can go on.
    ///
    /// # Errors
    /// [`Misuse::NotThisForm`]; [`Misuse::NoCode`] before; [`Misuse::NotNow`] after.
    pub fn serialize(&self) -> Result<Zeroizing<String>, Misuse> {
        self.exchange.save(&format!("{}/", self.relay.url()))
    }

    /// Goes on with what [`Wormhole::serialize`] or the original gave.
    ///
    /// # Errors
    /// [`PairingError::BadState`] for what is no such state.
    pub fn from_serialized(saved: &str, relay: WebSocketRemote) -> Result<Self, PairingError> {
        Ok(Self::on(Exchange::restore(saved)?, relay))
    }

    /// Ends before the exchange does: the relay is told that this side goes.
    pub async fn leave(&mut self) {
        if self.ended.is_none() {
            self.end(Misuse::Closed.into()).await;
        }
    }

    /// Asks until `got` has something.
    async fn until<T>(&mut self, got: impl Fn(&Exchange) -> Option<T>) -> Result<T, WormholeError> {
        self.until_by(self.deadline, got).await
    }

    async fn until_by<T>(
        &mut self,
        deadline: Option<Instant>,
        got: impl Fn(&Exchange) -> Option<T>,
    ) -> Result<T, WormholeError> {
        loop {
            if let Some(error) = &self.ended {
                return Err(error.clone().into());
            }
            if let Some(got) = got(&self.exchange) {
                return Ok(got);
            }
            let (question, again) = match self.exchange.due() {
                Due::Ask(question) => (question, false),
                Due::Poll(question) => (question, true),
                // Everything else is asked for once there is a code.
                Due::Nothing => return Err(Misuse::NoCode.into()),
            };
            let asked = self.ask(question, again);
            let asked = match deadline {
                Some(at) => match timeout_at(at, asked).await {
                    Ok(asked) => asked?,
                    Err(_) => {
                        self.end(PairingError::TimedOut).await;
                        continue;
                    }
                },
                None => asked.await?,
            };
            self.reached = true;
            let Some((status, body)) = asked else { continue };
            let is_help = self.exchange.is_listing();
            match self.exchange.answered(status, &body, &mut OsEntropy) {
                Ok(()) => {}
                Err(error) if is_help && !matches!(error, PairingError::Unwelcome(_)) => return Err(error.into()),
                Err(error) => self.end(error).await,
            }
        }
    }

    /// Asks once; `again` waits before. `None` if a relay that was reached before is away now.
    async fn ask(&self, question: Question, again: bool) -> Result<Option<(u16, String)>, SagaError> {
        let pause = self.schedule.pause(self.started.elapsed());
        if again {
            sleep(pause).await;
        }
        match self.relay.call(&question.path, question.body).await {
            // A proxy whose relay is away, or a relay whose store is.
            Ok((500 | 502 | 504, _))
            | Err(SagaError::PeerUnreachable { .. } | SagaError::TimedOut | SagaError::Cut)
                if self.reached =>
            {
                sleep(pause).await;
                Ok(None)
            }
            answered => answered.map(Some),
        }
    }

    /// It is over. The relay is told once.
    async fn end(&mut self, why: PairingError) {
        self.ended = Some(why);
        if let Some(Question { path, body }) = self.exchange.leaving() {
            // One that is away forgets the number after a while.
            let _ = timeout(LEAVE_MAX, self.relay.call(&path, body)).await;
        }
    }
}
