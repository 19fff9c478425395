//! The receiver's side of a connection: checks who speaks, answers peeks, checks and answers turns.

use crate::error::{Breach, IdentityRefusal, SagaError};
use crate::limits::Limits;
use crate::packet::{Message, MsgType, Packet, SUBPROTOCOL, features};
use crate::peek::{Peek, Peeked};
use crate::stream::{Incoming, Line, Outgoing, Received, announce};
use crate::turn::{Link, Stage, Turn, validate_return_context};
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use ibgib_keystone::{Chain, Expect, Step, VERB_CONNECT, VERB_SYNC};
use std::collections::VecDeque;

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

/// What the receiver needs from its own side.
#[derive(Clone, Debug)]
pub enum ReceiverQuery {
    /// The session that this frame belongs to, and a fresh challenge for it → `Session`.
    Session(Addr),
    /// Store the connect proof durably and register the connection → `Ok`.
    Connected {
        /// The session's evolved frame.
        frame: Verified<IbGib>,
        /// Its validated step.
        step: Step,
    },
    /// Answer a peek → `Peeked`.
    Peek(Peek),
    /// Keep received nodes apart → `Ok`.
    Stage(Vec<Verified<IbGib>>),
    /// Relate what the sender named to our tips, and plan the commit → `Evaluated`. Nothing moves yet.
    Evaluate(Evaluate),
    /// Carry out the plan of the last `Evaluate`, with these nodes and the session's step, all in one commit
    /// → `Ok` or `Moved`.
    Commit {
        /// Turns of both sides, in order, the answer included.
        transcript: Vec<Turn>,
        /// Session frames of this saga.
        session_frames: Vec<Verified<IbGib>>,
        /// Their joined step.
        step: Option<Step>,
    },
    /// Nodes, in order, at least one and as many as fit the bytes → `Nodes`.
    Load {
        /// Which.
        addrs: Vec<Addr>,
        /// About how many bytes at most.
        bytes_max: usize,
    },
}

/// A turn to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluate {
    /// The turn's list.
    pub lines: Vec<Line>,
    /// Nodes that arrived with this saga.
    pub payload: Vec<Addr>,
    /// The sender asks for the commit.
    pub commit: bool,
    /// The sender's first turn: it commits only what is same or behind here.
    pub is_init: bool,
    /// The sender adopts our tips, so send what it lacks.
    pub adopt: bool,
}

/// Answers to [`ReceiverQuery`].
#[derive(Clone, Debug)]
pub enum ReceiverAnswer {
    /// Done.
    Ok,
    /// The session is known, its identity in good standing.
    Session {
        /// The session identity's validated state.
        chain: Box<Chain>,
        /// A fresh challenge.
        challenge_uuid: String,
        /// Ids that must be solved.
        demanded: Vec<String>,
    },
    /// The answer to a peek.
    Peeked(Peeked),
    /// What the turn leads to.
    Evaluated {
        /// One status per timeline and constant.
        statuses: Vec<Line>,
        /// Nodes to send with the answer.
        send: Vec<Addr>,
        /// The plan is complete and shall be committed.
        commit: bool,
        /// Merge frames the plan makes.
        merges: u64,
        /// New conflicts it records.
        conflicts: u64,
    },
    /// Tips moved under the commit: evaluate again.
    Moved,
    /// Nodes.
    Nodes(Vec<Verified<IbGib>>),
    /// It could not be done.
    Failed(SagaError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AwaitHello,
    LookUp,
    AwaitProof,
    StoreProof,
    Idle,
    Peeking,
    Receive,
    Staging,
    Evaluating,
    Committing,
    LoadOut,
    Closed,
}

/// A saga in progress.
#[derive(Debug, Default)]
struct Job {
    turns: Vec<Turn>,
    session_frames: Vec<Verified<IbGib>>,
    step: Option<Step>,
    incoming: Option<Incoming>,
    evaluate: Option<Evaluate>,
    payload: Vec<Addr>,
    answer: Option<(Turn, Vec<Line>, Vec<Addr>)>,
    out: Option<Outgoing>,
    tries: u32,
    done: bool,
    told: ReceiverDone,
    received: Received,
}

/// The receiver's machine. **After every `handle`, drain `poll` to `None` before the next `handle`.**
#[derive(Debug)]
pub struct Receiver {
    limits: Limits,
    allow_anonymous: bool,
    state: State,
    out: VecDeque<ReceiverOutput>,
    session: Option<Box<Chain>>,
    challenge: Option<(String, Vec<String>)>,
    authenticated: bool,
    job: Job,
}

const LOAD_BYTES: usize = 4 * 1024 * 1024;
const LOAD_NODES: usize = 1_024;

impl Receiver {
    /// A receiver for one connection. Without identity only in process: a server never allows it.
    pub fn new(limits: Limits, allow_anonymous: bool) -> Self {
        Self {
            limits,
            allow_anonymous,
            state: State::AwaitHello,
            out: VecDeque::new(),
            session: None,
            challenge: None,
            authenticated: false,
            job: Job::default(),
        }
    }

    /// What the machine wants next; `None` when it waits.
    pub fn poll(&mut self) -> Option<ReceiverOutput> {
        self.out.pop_front()
    }

    /// Whether a saga is open: the shell ends the connection when one takes longer than [`Limits::saga_ms_max`].
    pub fn in_saga(&self) -> bool {
        !self.job.turns.is_empty()
    }

    /// How long the shell may wait for the peer now, in milliseconds; `None` when it does not wait for the peer.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::AwaitHello | State::AwaitProof => Some(self.limits.handshake_ms_max),
            State::Idle | State::Receive => Some(self.limits.idle_ms_max),
            _ => None,
        }
    }

    /// Bytes of the largest message acceptable now.
    pub fn message_bytes_max(&self) -> usize {
        if self.authenticated { self.limits.message_bytes_max } else { self.limits.message_bytes_max_unauthenticated }
    }

    /// Whether a commit is under way, which a shutdown should wait for.
    pub fn is_committing(&self) -> bool {
        self.state == State::Committing
    }

    /// The session identity's timeline, once connected.
    pub fn session_tjp(&self) -> Option<&Addr> {
        self.session.as_ref().filter(|_| self.authenticated).map(|c| c.tjp())
    }

    /// A phase in a word, for displays.
    pub fn phase(&self) -> &'static str {
        match self.state {
            State::AwaitHello | State::LookUp | State::AwaitProof | State::StoreProof => "connect",
            State::Idle => "idle",
            State::Peeking => "plan",
            State::Receive | State::Staging => "receive",
            State::Evaluating => "merge",
            State::Committing => "commit",
            State::LoadOut => "send",
            State::Closed => "closed",
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: ReceiverInput) {
        debug_assert!(self.out.is_empty(), "poll must be drained before the next input");
        if self.state == State::Closed {
            return;
        }
        let result = match input {
            ReceiverInput::Packet(packet) => self.packet(packet),
            ReceiverInput::Answer(answer) => match *answer {
                ReceiverAnswer::Failed(error) => Err(error),
                answer => self.answer(answer),
            },
            ReceiverInput::Closed => Err(SagaError::Cut),
            ReceiverInput::TimedOut => Err(SagaError::TimedOut),
        };
        if let Err(error) = result {
            if error != SagaError::Cut {
                let kind = if self.authenticated { MsgType::SyncError } else { MsgType::AuthFail };
                self.send(Message::error(kind, &error));
            }
            self.close(Some(error));
        }
    }

    fn close(&mut self, error: Option<SagaError>) {
        self.state = State::Closed;
        self.out.push_back(ReceiverOutput::Closed(error));
    }

    fn send(&mut self, message: Message) {
        self.out.push_back(ReceiverOutput::Send(message.packet()));
    }

    fn ask(&mut self, state: State, query: ReceiverQuery) {
        self.state = state;
        self.out.push_back(ReceiverOutput::Ask(query));
    }

    fn packet(&mut self, packet: Packet) -> Result<(), SagaError> {
        if packet.len() > self.message_bytes_max() {
            let name = if self.authenticated { "message_bytes_max" } else { "message_bytes_max_unauthenticated" };
            return Err(SagaError::Limit { name, limit: self.message_bytes_max() as u64 });
        }
        match packet {
            Packet::Binary(bytes) if self.state == State::Receive => self.chunk(&bytes),
            Packet::Binary(_) => Err(SagaError::misbehaved(Breach::OutOfTurn, "a chunk outside a turn")),
            Packet::Text(text) => {
                let message = Message::decode(&text)?;
                match (self.state, message.kind) {
                    (_, MsgType::Bye) => {
                        self.close(None);
                        Ok(())
                    }
                    (_, MsgType::SyncError | MsgType::AuthFail) => {
                        let error = message.as_refusal();
                        // The peer knows: no answer.
                        self.close(Some(error));
                        Ok(())
                    }
                    (State::AwaitHello, MsgType::Hello) => self.hello(&message),
                    (State::AwaitProof, MsgType::ConnectProof) => self.proof(&message),
                    (State::Idle, MsgType::Peek) => {
                        self.ask(State::Peeking, ReceiverQuery::Peek(Peek::read(&message.body)?));
                        Ok(())
                    }
                    (State::Idle, MsgType::SyncFrameRequest) => self.turn(&message),
                    (state, kind) => {
                        Err(SagaError::misbehaved(Breach::OutOfTurn, format!("{} while {state:?}", kind.as_str())))
                    }
                }
            }
        }
    }

    // -- connecting ----------------------------------------------------------------------------------------------

    fn hello(&mut self, message: &Message) -> Result<(), SagaError> {
        let versions = message.body.get("versions").and_then(Value::as_array).unwrap_or(&[]);
        if !versions.iter().any(|v| v.as_str() == Some(SUBPROTOCOL)) {
            return Err(SagaError::PeerIncompatible(format!("we speak {SUBPROTOCOL} only")));
        }
        match message.body.get("session") {
            None | Some(Value::Null) if self.allow_anonymous => {
                self.connected();
                Ok(())
            }
            None | Some(Value::Null) => Err(IdentityRefusal::Required.into()),
            Some(value) => {
                let addr = value.as_str().and_then(|t| t.parse().ok());
                let addr = addr.ok_or_else(|| SagaError::misbehaved(Breach::BadMessage, "hello: session"))?;
                self.ask(State::LookUp, ReceiverQuery::Session(addr));
                Ok(())
            }
        }
    }

    fn connected(&mut self) {
        self.authenticated = true;
        self.state = State::Idle;
        self.send(Message::new(MsgType::ConnectOk, [("version", SUBPROTOCOL.into()), ("features", features())]));
        self.out.push_back(ReceiverOutput::Connected);
    }

    fn proof(&mut self, message: &Message) -> Result<(), SagaError> {
        let frame = read_frame(message, "proof")?;
        let (uuid, demanded) =
            self.challenge.take().ok_or_else(|| SagaError::misbehaved(Breach::OutOfTurn, "no challenge is open"))?;
        let step = self.evolve(&frame, VERB_CONNECT, uuid, demanded)?;
        self.ask(State::StoreProof, ReceiverQuery::Connected { frame, step });
        Ok(())
    }

    /// One strict step of the session identity, from this connection's newest frame.
    fn evolve(
        &mut self,
        frame: &Verified<IbGib>,
        verb: &str,
        target: String,
        demanded: Vec<String>,
    ) -> Result<Step, SagaError> {
        let chain = self.session.as_mut().ok_or_else(|| SagaError::misbehaved(Breach::OutOfTurn, "no session"))?;
        let expect = Expect { verb: Some(verb.to_owned()), target: Some(target), demanded: Some(demanded) };
        chain.advance(frame, &expect).map_err(|errors| IdentityRefusal::invalid(&errors).into())
    }

    // -- turns ---------------------------------------------------------------------------------------------------

    fn turn(&mut self, message: &Message) -> Result<(), SagaError> {
        let turn = Turn::read(&message.body).map_err(|e| SagaError::misbehaved(Breach::BadTurn, e.join("; ")))?;
        if !turn.stage.is_senders() {
            return Err(SagaError::misbehaved(Breach::BadTurn, "a stage that only the receiver speaks in"));
        }
        match self.job.turns.last() {
            Some(ours) => {
                let errors = validate_return_context(ours, &turn);
                if !errors.is_empty() {
                    return Err(SagaError::misbehaved(Breach::BadTurn, errors.join("; ")));
                }
                if turn.stage != Stage::Delta {
                    return Err(SagaError::misbehaved(Breach::BadTurn, "init after the first turn"));
                }
            }
            None if turn.n() != 0 || turn.stage != Stage::Init => {
                return Err(SagaError::misbehaved(Breach::BadTurn, "a saga starts with init, n 0"));
            }
            None => {}
        }
        if self.job.told.turns >= self.limits.turns_max {
            return Err(SagaError::Limit { name: "turns_max", limit: u64::from(self.limits.turns_max) });
        }
        let named = turn.frame.datum("sessionIdentityTjpAddr").and_then(Value::as_str);
        if named != self.session.as_ref().map(|c| c.tjp().as_str()) {
            return Err(SagaError::misbehaved(Breach::OtherSession, "the saga frame names another session identity"));
        }
        if self.session.is_some() {
            let frame = read_frame(message, "signedSessionIdentity")?;
            // The target is the address recomputed from the context that arrived, not one that was told.
            let step = self.evolve(&frame, VERB_SYNC, turn.context.addr().to_string(), Vec::new())?;
            self.job.step = step.after(self.job.step.take());
            self.job.session_frames.push(frame);
        }
        let incoming = Incoming::expect(&turn.message, &self.limits, self.job.received)?;
        self.job.told.turns += 1;
        self.job.told.saga_id = turn.saga_id().to_owned();
        self.job.turns.push(turn);
        self.job.incoming = Some(incoming);
        self.state = State::Receive;
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), SagaError> {
        let Some(incoming) = &mut self.job.incoming else {
            return Err(SagaError::misbehaved(Breach::OutOfTurn, "a chunk outside a turn"));
        };
        let nodes = incoming.chunk(bytes, &self.limits)?;
        self.job.received = incoming.received;
        if nodes.is_empty() {
            return self.received();
        }
        self.job.told.nodes_received += nodes.len() as u64;
        self.ask(State::Staging, ReceiverQuery::Stage(nodes));
        Ok(())
    }

    fn received(&mut self) -> Result<(), SagaError> {
        let complete = self.job.incoming.as_ref().is_some_and(Incoming::is_complete);
        if !complete {
            self.state = State::Receive;
            return Ok(());
        }
        let Some(incoming) = self.job.incoming.take() else { return Ok(()) };
        let Some(turn) = self.job.turns.last() else { return Ok(()) };
        let flag = |name: &str| turn.message.datum(name).and_then(Value::as_bool).unwrap_or(false);
        self.job.payload.extend(incoming.payload);
        self.job.tries = 0;
        self.job.evaluate = Some(Evaluate {
            lines: incoming.lines,
            payload: self.job.payload.clone(),
            commit: flag("commit"),
            is_init: turn.stage == Stage::Init,
            adopt: flag("adopt"),
        });
        self.evaluate()
    }

    fn evaluate(&mut self) -> Result<(), SagaError> {
        let Some(evaluate) = self.job.evaluate.clone() else { return Ok(()) };
        self.job.tries += 1;
        if self.job.tries > self.limits.commit_tries_max {
            return Err(SagaError::Busy(self.limits.commit_tries_max));
        }
        self.ask(State::Evaluating, ReceiverQuery::Evaluate(evaluate));
        Ok(())
    }

    fn respond(&mut self) -> Result<(), SagaError> {
        let Some((turn, lines, payload)) = self.job.answer.take() else { return Ok(()) };
        self.send(Message::new(MsgType::SyncFrameResponse, turn.members()));
        self.job.done = turn.stage == Stage::Commit;
        self.job.turns.push(turn);
        self.job.out = Some(Outgoing::new(&lines, payload, &self.limits));
        self.go_on_sending()
    }

    fn go_on_sending(&mut self) -> Result<(), SagaError> {
        let Some(out) = &mut self.job.out else { return Ok(()) };
        let packets = out.drain();
        let next: Vec<Addr> = out.rest.iter().take(LOAD_NODES).cloned().collect();
        self.out.extend(packets.into_iter().map(ReceiverOutput::Send));
        if !next.is_empty() {
            self.ask(State::LoadOut, ReceiverQuery::Load { addrs: next, bytes_max: LOAD_BYTES });
            return Ok(());
        }
        self.job.told.nodes_sent += out.nodes;
        self.job.out = None;
        self.state = State::Idle;
        if self.job.done {
            let job = std::mem::take(&mut self.job);
            self.out.push_back(ReceiverOutput::Done(job.told));
        }
        Ok(())
    }

    fn answer(&mut self, answer: ReceiverAnswer) -> Result<(), SagaError> {
        match (self.state, answer) {
            (State::LookUp, ReceiverAnswer::Session { chain, challenge_uuid, demanded }) => {
                self.send(Message::new(
                    MsgType::ConnectChallenge,
                    [
                        ("challengeUuid", challenge_uuid.as_str().into()),
                        ("demandedIds", ibgib::strings(demanded.iter().map(String::as_str))),
                        ("expiresMs", Value::Number(self.limits.handshake_ms_max as f64)),
                    ],
                ));
                self.session = Some(chain);
                self.challenge = Some((challenge_uuid, demanded));
                self.state = State::AwaitProof;
                Ok(())
            }
            (State::StoreProof, ReceiverAnswer::Ok) => {
                self.connected();
                Ok(())
            }
            (State::Peeking, ReceiverAnswer::Peeked(peeked)) => {
                for page in peeked.pages(self.limits.message_bytes_max) {
                    self.send(page);
                }
                self.state = State::Idle;
                Ok(())
            }
            (State::Staging, ReceiverAnswer::Ok) => self.received(),
            (State::Evaluating, ReceiverAnswer::Evaluated { statuses, send, commit, merges, conflicts }) => {
                let stage = if commit { Stage::Commit } else { Stage::Ack };
                let mut members: Map = [
                    ("committed", Value::Bool(commit)),
                    ("merges", Value::Number(merges as f64)),
                    ("conflicts", Value::Number(conflicts as f64)),
                ]
                .into_iter()
                .collect();
                for (k, v) in announce(&statuses, &send) {
                    members.insert(k, v);
                }
                let before = self.job.turns.last();
                let session = self.session.as_ref().map(|c| c.tjp().clone());
                let saga_id = self.job.told.saga_id.clone();
                let link = Link { saga_id: &saga_id, session: session.as_ref(), before };
                let turn = Turn::build(link, stage, members, 0);
                let mut transcript = self.job.turns.clone();
                transcript.push(turn.clone());
                self.job.answer = Some((turn, statuses, send));
                if !commit {
                    return self.respond();
                }
                let query = ReceiverQuery::Commit {
                    transcript,
                    session_frames: self.job.session_frames.clone(),
                    step: self.job.step.clone(),
                };
                self.ask(State::Committing, query);
                Ok(())
            }
            (State::Committing, ReceiverAnswer::Ok) => self.respond(),
            (State::Committing, ReceiverAnswer::Moved) => {
                self.job.answer = None;
                self.evaluate()
            }
            (State::LoadOut, ReceiverAnswer::Nodes(nodes)) => {
                if nodes.is_empty() {
                    return Err(SagaError::defect("a node to send is gone"));
                }
                if let Some(out) = &mut self.job.out {
                    for node in nodes {
                        if out.rest.pop_front().as_ref() != Some(node.addr()) {
                            return Err(SagaError::defect("nodes came in another order than asked"));
                        }
                        out.push_node(&node);
                    }
                }
                self.go_on_sending()
            }
            (state, answer) => Err(SagaError::defect(format!("{answer:?} while {state:?}"))),
        }
    }
}

fn read_frame(message: &Message, name: &'static str) -> Result<Verified<IbGib>, SagaError> {
    let bad = |detail: String| SagaError::from(IdentityRefusal::BadFrame(detail));
    let value = message.body.get(name).ok_or_else(|| bad(format!("{name} is missing")))?;
    IbGib::from_value(value.clone(), Mode::Strict).and_then(IbGib::verify).map_err(|e| bad(format!("{name}: {e}")))
}
