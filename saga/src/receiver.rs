//! The receiver's side of a connection: checks who speaks, answers peeks, checks and answers turns.

mod turns;

use crate::ask::{Committed, ReceiverAnswer, ReceiverQuery};
use crate::auth::{Check, Greeted, Proven};
use crate::error::{Breach, SagaError};
use crate::limits::Limits;
use crate::wire::message::{ConnectOk, Envelope, Failure, Message, MsgType};
use crate::wire::packed::{PACKED, Packing};
use crate::wire::packet::{Encoding, Packet};
use crate::wire::peek::Peek;
use crate::wire::word::{Said, Signature};
use ibgib_keystone::Warrant;
use std::collections::VecDeque;
use turns::{Saga, Turning};

/// World → machine. After every [`Receiver::handle`], drain [`Receiver::poll`] before the next.
#[derive(Clone, Debug)]
pub enum ReceiverInput {
    /// The peer sent a message.
    Packet(Packet),
    /// What [`ReceiverOutput::Ask`] asked for.
    Answer(Box<ReceiverAnswer>),
    /// The peer is gone.
    Closed,
    /// A wait took longer than its limit.
    TimedOut,
}

/// Machine → world.
#[derive(Clone, Debug)]
pub enum ReceiverOutput {
    /// Send this.
    Send(Packet),
    /// Do this on the receiver's space and answer; never more than one at a time.
    Ask(ReceiverQuery),
    /// The connection is an active sync session.
    Connected,
    /// A saga ended with a commit.
    Done(ReceiverDone),
    /// The connection is over: flush what was sent, then close. `None` when the peer said goodbye.
    Closed(Option<SagaError>),
}

/// What a receiver tells about a saga that ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverDone {
    /// The saga's id.
    pub saga_id: String,
    /// Turns of the sender.
    pub turns: u32,
    /// Nodes received.
    pub nodes_received: u64,
    /// Nodes sent.
    pub nodes_sent: u64,
}

/// Bytes of a text that is read where it comes in. None with a signature is so short.
const SHORT_BYTES: usize = 1_024;

/// The receiver's machine. **After every `handle`, drain `poll` to `None` before the next `handle`.**
#[derive(Debug)]
pub struct Receiver {
    limits: Limits,
    allow_anonymous: bool,
    state: State,
    out: VecDeque<ReceiverOutput>,
    /// The best that the peer speaks.
    encoding: Encoding,
    packing: Packing,
    /// The peer reads packed answers.
    packs: bool,
    /// The id of the warrant that the peer was told last.
    warranted: Option<String>,
}

#[derive(Debug)]
enum State {
    /// The peer has not proven who it is.
    Connecting(Check),
    /// The peer may speak. With the saga whose next turn is awaited, if one is open.
    Idle(Peer, Option<Box<Saga>>),
    /// A peek is being answered.
    Peeking(Peer, Option<Box<Saga>>),
    Saga(Peer, Box<Saga>, Turning),
    /// The connection is over.
    Closed,
}

/// Who speaks: a proven session identity, or nobody where that is allowed.
type Peer = Option<Proven>;

impl Receiver {
    /// A receiver for one connection. Without identity only in process: a server never allows it.
    pub fn new(limits: Limits, allow_anonymous: bool) -> Self {
        let state = State::Connecting(Check::AwaitHello);
        Self {
            limits,
            allow_anonymous,
            state,
            out: VecDeque::new(),
            encoding: Encoding::Lines,
            packing: Packing::default(),
            packs: false,
            warranted: None,
        }
    }

    /// What the machine wants next; `None` when it waits.
    pub fn poll(&mut self) -> Option<ReceiverOutput> {
        self.out.pop_front()
    }

    /// Whether a saga is open: the shell ends the connection when one takes longer than [`Limits::saga_ms_max`].
    pub fn in_saga(&self) -> bool {
        matches!(&self.state, State::Idle(_, Some(_)) | State::Peeking(_, Some(_)) | State::Saga(..))
    }

    /// Bytes of the list and of the payload's names that came in of the turn under way, and of what a saga has named between
    /// its turns: what many peers together may make a host hold is the shell's to bound.
    pub fn list_bytes(&self) -> u64 {
        match &self.state {
            State::Saga(_, _, Turning::Receiving(incoming) | Turning::Staging(incoming)) => incoming.held_bytes(),
            State::Saga(_, saga, _) | State::Idle(_, Some(saga)) | State::Peeking(_, Some(saga)) => saga.named.bytes(),
            State::Connecting(_) | State::Idle(_, None) | State::Peeking(_, None) | State::Closed => 0,
        }
    }

    /// How long the shell may wait for the peer now, in milliseconds; `None` when it does not wait for the peer.
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::Connecting(check) => check.expects().map(|_| self.limits.handshake_ms_max),
            State::Idle(..) | State::Saga(_, _, Turning::Receiving(_)) => Some(self.limits.idle_ms_max),
            State::Peeking(..) | State::Saga(..) | State::Closed => None,
        }
    }

    /// Bytes of the largest message acceptable now.
    pub fn message_bytes_max(&self) -> usize {
        self.message_limit().1
    }

    fn message_limit(&self) -> (&'static str, usize) {
        match self.state {
            State::Connecting(_) => {
                ("message_bytes_max_unauthenticated", self.limits.message_bytes_max_unauthenticated)
            }
            _ => ("message_bytes_max", self.limits.message_bytes_max),
        }
    }

    /// Whether taking this input takes the processor for a moment: to check a signature, or to read or write more than a
    /// short text. The shell does that where nobody else waits for it.
    pub fn is_work(&self, input: &ReceiverInput) -> bool {
        match input {
            ReceiverInput::Packet(Packet::Text(text)) => {
                text.len() > SHORT_BYTES || matches!(self.state, State::Connecting(Check::AwaitProof(_)))
            }
            // Few bytes may be very many once they are unpacked.
            ReceiverInput::Packet(Packet::Binary(_)) => true,
            ReceiverInput::Answer(answer) => match &**answer {
                ReceiverAnswer::Peek(peeked) => !peeked.equal,
                ReceiverAnswer::Stage | ReceiverAnswer::Evaluate(_) | ReceiverAnswer::Load(_) => true,
                ReceiverAnswer::Session { .. }
                | ReceiverAnswer::Connected
                | ReceiverAnswer::Commit(_)
                | ReceiverAnswer::Sign(_)
                | ReceiverAnswer::Failed(_) => false,
            },
            ReceiverInput::Closed | ReceiverInput::TimedOut => false,
        }
    }

    /// A phase in a word, for displays.
    pub fn phase(&self) -> &'static str {
        self.state.phase()
    }

    /// Takes an input.
    pub fn handle(&mut self, input: ReceiverInput) {
        debug_assert!(self.out.is_empty(), "poll must be drained before the next input");
        let limit = self.message_limit();
        let state = std::mem::replace(&mut self.state, State::Closed);
        let connecting = match state {
            State::Closed => return,
            State::Connecting(_) => true,
            _ => false,
        };
        match self.step(state, input, limit) {
            Ok(state) => self.state = state,
            Err(error) => {
                // A cut needs no answer, nor does what the peer itself told.
                if !matches!(error, SagaError::Cut | SagaError::PeerRefused { .. }) {
                    let failure = Failure::of(&error);
                    let told = if connecting { Message::AuthFail(failure) } else { Message::SyncError(failure) };
                    self.send(&told);
                }
                self.out.push_back(ReceiverOutput::Closed(Some(error)));
            }
        }
    }

    fn step(&mut self, state: State, input: ReceiverInput, limit: (&'static str, usize)) -> Result<State, SagaError> {
        match input {
            ReceiverInput::Packet(packet) if packet.len() > limit.1 => {
                Err(SagaError::Limit { name: limit.0, limit: limit.1 as u64 })
            }
            ReceiverInput::Packet(packet) => self.packet(state, packet),
            ReceiverInput::Answer(answer) => match *answer {
                ReceiverAnswer::Failed(error) => Err(error),
                answer => self.answer(state, answer),
            },
            ReceiverInput::Closed => Err(SagaError::Cut),
            ReceiverInput::TimedOut => Err(SagaError::TimedOut),
        }
    }

    fn packet(&mut self, state: State, packet: Packet) -> Result<State, SagaError> {
        let (text, packed, state) = match (packet, state) {
            (Packet::Binary(chunk), State::Saga(peer, saga, Turning::Receiving(incoming))) => {
                return self.chunk(peer, saga, incoming, &chunk);
            }
            (Packet::Binary(packed), state @ State::Idle(..)) if packed.first() == Some(&PACKED) => {
                (self.packing.unpack(&packed, &self.limits)?, true, state)
            }
            (Packet::Binary(_), state) => return Err(out_of_turn("a chunk", &state)),
            (Packet::Text(text), state) => (text, false, state),
        };
        let envelope = Envelope::parse(&text)?;
        if packed && envelope.kind() != MsgType::Peek {
            return Err(out_of_turn(&format!("a packed {}", envelope.kind().as_str()), &state));
        }
        let ends = matches!(envelope.kind(), MsgType::AuthFail | MsgType::SyncError | MsgType::Bye);
        if !ends && !state.expects(envelope.kind()) {
            return Err(out_of_turn(envelope.kind().as_str(), &state));
        }
        match (state, envelope.open()?) {
            (_, Message::AuthFail(failure)) => Err(failure.into_error(true)),
            (_, Message::SyncError(failure)) => Err(failure.into_error(false)),
            (_, Message::Bye) => {
                self.out.push_back(ReceiverOutput::Closed(None));
                Ok(State::Closed)
            }
            (State::Connecting(Check::AwaitHello), Message::Hello(hello)) => {
                let (greeted, encoding) = Check::greeted(&hello, self.allow_anonymous)?;
                (self.encoding, self.packs) = (encoding, hello.reads_packed);
                self.packing.share(encoding == Encoding::Blocks);
                match greeted {
                    Greeted::Nobody => Ok(self.connected(None, None)),
                    Greeted::Session(addr) => {
                        self.ask(ReceiverQuery::Session(addr));
                        Ok(State::Connecting(Check::LookUp))
                    }
                }
            }
            (State::Connecting(Check::AwaitProof(challenge)), Message::ConnectProof(frame)) => {
                let (proven, step) = challenge.check(&frame)?;
                self.ask(ReceiverQuery::Connected { frame, step });
                Ok(State::Connecting(Check::Storing(proven)))
            }
            (State::Idle(peer, saga), Message::Peek(peek)) => {
                if matches!(peek, Peek::Equal(..)) {
                    self.packing.begin_anew();
                }
                self.ask(ReceiverQuery::Peek(peek));
                Ok(State::Peeking(peer, saga))
            }
            (State::Idle(peer, saga), Message::SyncFrameRequest(request)) => self.turn(peer, saga, *request),
            (state, message) => Err(out_of_turn(message.kind().as_str(), &state)),
        }
    }

    fn answer(&mut self, state: State, answer: ReceiverAnswer) -> Result<State, SagaError> {
        match (state, answer) {
            (
                State::Connecting(Check::LookUp),
                ReceiverAnswer::Session { chain, challenge_uuid, demanded, audience },
            ) => {
                let expires_ms = self.limits.handshake_ms_max;
                let (check, challenge) = Check::challenge(chain, challenge_uuid, demanded, audience, expires_ms);
                self.send(&challenge);
                Ok(State::Connecting(check))
            }
            (State::Connecting(Check::Storing(proven)), ReceiverAnswer::Connected) => {
                self.ask(ReceiverQuery::Sign(proven.word(Said::Connected(self.encoding))));
                Ok(State::Connecting(Check::Signing(proven)))
            }
            (State::Connecting(Check::Signing(proven)), ReceiverAnswer::Sign(signature)) => {
                let signature = self.told_once(*signature);
                Ok(self.connected(Some(proven), Some(signature)))
            }
            (State::Peeking(peer, saga), ReceiverAnswer::Peek(peeked)) => {
                for page in peeked.pages(self.limits.message_bytes_max) {
                    let page = Message::PeekOk(page);
                    let packet = if self.packs { self.packing.pack(&page) } else { page.packet() };
                    self.out.push_back(ReceiverOutput::Send(packet));
                }
                Ok(State::Idle(peer, saga))
            }
            (State::Saga(peer, saga, Turning::Staging(incoming)), ReceiverAnswer::Stage) => {
                self.go_on_staging(peer, saga, incoming)
            }
            (State::Saga(peer, saga, Turning::Evaluating(trial)), ReceiverAnswer::Evaluate(evaluated)) => {
                self.evaluated(peer, saga, trial, evaluated)
            }
            (State::Saga(peer, saga, Turning::Committing(_, answer)), ReceiverAnswer::Commit(Committed::Durable)) => {
                self.sign(peer, saga, answer)
            }
            (State::Saga(peer, saga, Turning::Signing(answer)), ReceiverAnswer::Sign(signature)) => {
                let signature = self.told_once(*signature);
                self.respond(peer, saga, *answer, Some(signature))
            }
            (State::Saga(peer, saga, Turning::Committing(trial, _)), ReceiverAnswer::Commit(Committed::Moved)) => {
                self.evaluate(peer, saga, trial)
            }
            (State::Saga(peer, saga, Turning::Sending(mut outgoing)), ReceiverAnswer::Load(nodes)) => {
                outgoing.loaded(&nodes)?;
                self.go_on_sending(peer, saga, outgoing)
            }
            (state, answer) => {
                let question = answer.question();
                Err(SagaError::defect(format!("an answer to {question} in phase {}", state.phase())))
            }
        }
    }

    fn send(&mut self, message: &Message) {
        self.out.push_back(ReceiverOutput::Send(message.packet()));
    }

    fn ask(&mut self, query: ReceiverQuery) {
        self.out.push_back(ReceiverOutput::Ask(query));
    }

    /// A signature with its warrant only if the peer does not have that from us already.
    fn told_once(&mut self, mut signature: Signature) -> Signature {
        let id = signature.warrant.as_ref().map(Warrant::id);
        if id == self.warranted {
            signature.warrant = None;
        } else {
            self.warranted = id;
        }
        signature
    }

    fn connected(&mut self, peer: Peer, signature: Option<Signature>) -> State {
        self.send(&Message::ConnectOk(ConnectOk { encoding: self.encoding, reads_packed: true, signature }));
        self.out.push_back(ReceiverOutput::Connected);
        State::Idle(peer, None)
    }
}

impl State {
    /// Whether this message may come now, besides those that end the connection.
    fn expects(&self, kind: MsgType) -> bool {
        match self {
            Self::Connecting(check) => check.expects() == Some(kind),
            Self::Idle(..) => matches!(kind, MsgType::Peek | MsgType::SyncFrameRequest),
            Self::Peeking(..) | Self::Saga(..) | Self::Closed => false,
        }
    }

    fn phase(&self) -> &'static str {
        match self {
            Self::Connecting(_) => "connect",
            Self::Idle(..) => "idle",
            Self::Peeking(..) => "plan",
            Self::Saga(_, _, Turning::Receiving(_) | Turning::Staging(_)) => "receive",
            Self::Saga(_, _, Turning::Evaluating(_)) => "merge",
            Self::Saga(_, _, Turning::Committing(..) | Turning::Signing(_)) => "commit",
            Self::Saga(_, _, Turning::Sending(_)) => "send",
            Self::Closed => "closed",
        }
    }
}

fn out_of_turn(what: &str, state: &State) -> SagaError {
    SagaError::misbehaved(Breach::OutOfTurn, format!("{what} came in phase {}", state.phase()))
}
