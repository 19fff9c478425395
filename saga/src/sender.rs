//! The sender's side of a connection: connects, plans, takes turns.

mod hearing;
mod turns;

use crate::ask::{Finished, Load, SenderAnswer, SenderQuery};
use crate::auth::Prove;
use crate::error::{Breach, Misuse, SagaError};
use crate::flow::{LOAD_NODES, Received};
use crate::limits::Limits;
use crate::plan::{Need, Plan, Planner};
use crate::request::SyncRequest;
use crate::summary::Summary;
use crate::transcript::Transcript;
use crate::wire::message::{ConnectChallenge, ConnectOk, Envelope, Failure, Message, MsgType, TurnAnswer};
use crate::wire::named::Named;
use crate::wire::packed::{PACKED, Packing};
use crate::wire::packet::{Encoding, Packet};
use crate::wire::peek::Peek;
use crate::wire::word::Said;
use hearing::{Heard, Hearing, Receiver};
use ibgib::Addr;
use std::collections::VecDeque;
use turns::{Saga, Turning};

/// World → machine. After every [`Sender::handle`], drain [`Sender::poll`] before the next.
#[derive(Clone, Debug)]
pub enum SenderInput {
    /// Open the handshake; with the session identity's timeline and newest frame, or without identity.
    Connect(Option<(Addr, Addr)>),
    /// Run a saga; the connection must be open and idle.
    Sync(Box<SyncRequest>),
    /// Ask whether the receiver's living tips, or those under a timeline, have this fingerprint, which it may wait for so
    /// many milliseconds to say; the connection must be open and idle.
    Glance(String, Option<Addr>, u64),
    /// The peer sent a message.
    Packet(Packet),
    /// What [`SenderOutput::Ask`] asked for.
    Answer(SenderAnswer),
    /// The peer is gone.
    Closed,
    /// A wait took longer than its limit.
    TimedOut,
}

/// Machine → world.
#[derive(Clone, Debug)]
pub enum SenderOutput {
    /// Send this.
    Send(Packet),
    /// Do this on the sender's space and answer with [`SenderInput::Answer`]; never more than one at a time.
    Ask(SenderQuery),
    /// The handshake is done.
    Connected,
    /// The saga is done; the connection is idle again.
    Done(Box<Summary>),
    /// Whether the fingerprints are equal; the connection is idle again.
    Glanced(bool),
    /// The connection is over: flush what was sent, then close.
    Failed(SagaError),
}

/// The sender's machine. **After every `handle`, drain `poll` to `None` before the next `handle`.**
#[derive(Debug)]
pub struct Sender {
    limits: Limits,
    state: State,
    out: VecDeque<SenderOutput>,
    /// The session identity's timeline, if the connection has one.
    session: Option<Addr>,
    traffic: Traffic,
    /// What the receiver chose.
    encoding: Encoding,
    packing: Packing,
    /// The receiver reads packed questions.
    packs: bool,
    /// What the receiver has signed with, and the last that it told.
    receiver: Receiver,
    /// Answers of glances that nobody waits for any more, which come before all others.
    unheard: u32,
}

/// How far a sender has come, for whoever waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SagaStatus {
    /// `connect`, `plan`, `send`, `wait` (for the receiver, which commits), `receive`, `commit`, `idle` or `failed`.
    pub phase: &'static str,
    /// Nodes sent, received or committed in this phase.
    pub nodes: u64,
    /// Of how many; 0 where that is not known.
    pub of: u64,
    /// Bytes of all messages sent, or received, since the saga was asked for.
    pub bytes: u64,
}

/// Bytes of messages since the saga was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    sent: u64,
    received: u64,
    /// Of both, what proves who somebody is.
    identity: u64,
}

#[derive(Debug)]
enum State {
    /// Not connected yet.
    Closed,
    Connecting(Prove),
    /// What the receiver said is not believed yet.
    Hearing(Box<Hearing>),
    Idle,
    /// A glance waits for its answer.
    Glancing,
    Planning(Box<Planning>),
    /// Much would move: our side says whether to go on.
    Deciding(Box<(SyncRequest, Plan)>),
    Saga(Box<Saga>, Turning),
    /// Our side commits.
    Finishing(Box<Summary>),
    /// The connection is over.
    Failed,
}

/// Before the saga opens.
#[derive(Debug)]
struct Planning {
    request: SyncRequest,
    planner: Planner,
    /// Bytes of all peeks' answers.
    peek_bytes: u64,
}

impl Sender {
    /// A sender that has not connected.
    pub fn new(limits: Limits) -> Self {
        let (traffic, encoding) = (Traffic::default(), Encoding::Lines);
        let receiver = Receiver::default();
        Self {
            limits,
            state: State::Closed,
            out: VecDeque::new(),
            session: None,
            traffic,
            encoding,
            packing: Packing::default(),
            packs: false,
            receiver,
            unheard: 0,
        }
    }

    /// The newest revision of the receiver's space that it has signed on this connection.
    pub fn revision(&self) -> u64 {
        self.receiver.revision
    }

    /// What the machine wants next; `None` when it waits.
    pub fn poll(&mut self) -> Option<SenderOutput> {
        self.out.pop_front()
    }

    /// How long the shell may wait for the peer now, in milliseconds; `None` when it does not wait for the peer.
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::Connecting(prove) => prove.expects().map(|_| self.limits.handshake_ms_max),
            State::Saga(_, Turning::Receiving(_)) => Some(self.limits.idle_ms_max),
            state => state.expects().map(|_| self.limits.idle_ms_max),
        }
    }

    /// A phase in a word, for progress displays.
    pub fn phase(&self) -> &'static str {
        self.state.phase()
    }

    /// How far it has come.
    pub fn status(&self) -> SagaStatus {
        let (nodes, of) = match &self.state {
            State::Saga(_, Turning::Sending(outgoing)) => outgoing.headway(),
            State::Saga(saga, Turning::Waiting) => (saga.summary.nodes_sent, saga.summary.nodes_sent),
            State::Saga(_, Turning::Receiving(incoming) | Turning::Staging(incoming)) => incoming.headway(),
            State::Finishing(summary) => (summary.nodes_received, summary.nodes_received),
            _ => (0, 0),
        };
        let phase = self.phase();
        let bytes = match phase {
            "send" | "wait" => self.traffic.sent,
            "receive" | "commit" => self.traffic.received,
            _ => 0,
        };
        SagaStatus { phase, nodes, of, bytes }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: SenderInput) {
        debug_assert!(self.out.is_empty(), "poll must be drained before the next input");
        let state = std::mem::replace(&mut self.state, State::Failed);
        if matches!(state, State::Failed) {
            return;
        }
        match self.step(state, input) {
            Ok(state) => self.state = state,
            Err(error) => {
                // Told to the peer as far as that is possible; a refusal or a cut needs no answer.
                if !matches!(error, SagaError::PeerRefused { .. } | SagaError::Cut) {
                    self.send(&Message::SyncError(Failure::of(&error)));
                }
                self.out.push_back(SenderOutput::Failed(error));
            }
        }
    }

    fn step(&mut self, state: State, input: SenderInput) -> Result<State, SagaError> {
        match (state, input) {
            (State::Closed, SenderInput::Connect(session)) => {
                let (tjp, tip) = session.unzip();
                self.session = tjp;
                let (prove, hello) = Prove::begin(tip);
                self.send(&hello);
                Ok(State::Connecting(prove))
            }
            (State::Idle, SenderInput::Sync(request)) => {
                // What was proven to connect is told with the first saga.
                self.traffic = Traffic { identity: self.traffic.identity, ..Traffic::default() };
                let (planner, need) = Planner::new(request.scope.clone(), request.direction, &self.limits);
                self.plan(Box::new(Planning { request: *request, planner, peek_bytes: 0 }), need)
            }
            (State::Idle, SenderInput::Glance(fingerprint, root, wait_ms)) => {
                self.send(&Message::Peek(Peek::Equal(fingerprint, root, wait_ms)));
                Ok(State::Glancing)
            }
            // The receiver answers the glance when it hears what comes now.
            (State::Glancing, input @ (SenderInput::Sync(_) | SenderInput::Glance(..))) => {
                self.unheard += 1;
                self.step(State::Idle, input)
            }
            (_, SenderInput::Connect(_)) => Err(Misuse::AlreadyConnected.into()),
            (_, SenderInput::Sync(_) | SenderInput::Glance(..)) => Err(Misuse::NotIdle.into()),
            (state, SenderInput::Packet(packet)) => self.packet(state, packet),
            (_, SenderInput::Answer(SenderAnswer::Failed(error))) => Err(error),
            (state, SenderInput::Answer(answer)) => self.answer(state, answer),
            (_, SenderInput::Closed) => Err(SagaError::Cut),
            (_, SenderInput::TimedOut) => Err(SagaError::TimedOut),
        }
    }

    fn packet(&mut self, state: State, packet: Packet) -> Result<State, SagaError> {
        self.traffic.received += packet.len() as u64;
        if packet.len() > self.limits.message_bytes_max {
            let limit = self.limits.message_bytes_max as u64;
            return Err(SagaError::Limit { name: "message_bytes_max", limit });
        }
        let (text, packed, state) = match (packet, state) {
            (Packet::Binary(chunk), State::Saga(saga, Turning::Receiving(incoming))) => {
                return self.chunk(saga, incoming, &chunk);
            }
            (Packet::Binary(packed), state) if packed.first() == Some(&PACKED) => {
                (self.packing.unpack(&packed, &self.limits)?, true, state)
            }
            (Packet::Binary(_), state) => return Err(out_of_turn("a chunk", &state)),
            (Packet::Text(text), state) => (text, false, state),
        };
        let envelope = Envelope::parse(&text)?;
        if packed && envelope.kind() != MsgType::PeekOk {
            return Err(out_of_turn(&format!("a packed {}", envelope.kind().as_str()), &state));
        }
        if self.unheard > 0 && envelope.kind() == MsgType::PeekOk {
            envelope.open()?;
            self.unheard -= 1;
            return Ok(state);
        }
        let ends = matches!(envelope.kind(), MsgType::AuthFail | MsgType::SyncError | MsgType::Bye);
        if !ends && state.expects() != Some(envelope.kind()) {
            return Err(out_of_turn(envelope.kind().as_str(), &state));
        }
        match (state, envelope.open()?) {
            (_, Message::AuthFail(failure)) => Err(failure.into_error(true)),
            (_, Message::SyncError(failure)) => Err(failure.into_error(false)),
            (_, Message::Bye) => Err(SagaError::Cut),
            (State::Connecting(_), Message::ConnectChallenge(ConnectChallenge { challenge_uuid, demanded, .. })) => {
                self.ask(SenderQuery::SignConnect { challenge_uuid, demanded });
                Ok(State::Connecting(Prove::Signing))
            }
            (State::Connecting(_), Message::ConnectOk(ConnectOk { encoding, reads_packed, signature })) => {
                self.packs = reads_packed;
                self.hear(Said::Connected(encoding), signature, Heard::Connected(encoding))
            }
            (State::Glancing, Message::PeekOk(page)) => {
                self.out.push_back(SenderOutput::Glanced(page.equal));
                Ok(State::Idle)
            }
            (State::Planning(mut planning), Message::PeekOk(page)) => {
                planning.peek_bytes += text.len() as u64;
                let limit = self.limits.list_bytes_max;
                if planning.peek_bytes > limit {
                    return Err(SagaError::Limit { name: "list_bytes_max", limit });
                }
                let need = planning.planner.peeked(page)?;
                self.plan(planning, need)
            }
            (State::Saga(saga, Turning::Waiting), Message::SyncFrameResponse(answer)) => {
                let TurnAnswer { turn, signature } = *answer;
                saga.transcript.follows(&turn)?;
                self.hear(Said::of(&turn), signature, Heard::Answer(saga, Box::new(turn)))
            }
            (state, message) => Err(out_of_turn(message.kind().as_str(), &state)),
        }
    }

    fn answer(&mut self, state: State, answer: SenderAnswer) -> Result<State, SagaError> {
        match (state, answer) {
            (State::Connecting(Prove::Signing), SenderAnswer::SignConnect(frame)) => {
                self.signed(&frame);
                let (prove, proof) = Prove::signed(frame);
                self.send(&proof);
                Ok(State::Connecting(prove))
            }
            (State::Hearing(hearing), SenderAnswer::Warrant) => self.warranted(*hearing),
            (State::Planning(mut planning), answer) => {
                let need = planning.planner.answer(answer)?;
                self.plan(planning, need)
            }
            (State::Deciding(planned), SenderAnswer::GoOn(goes_on)) => {
                let (request, plan) = *planned;
                if goes_on { self.open(request, plan) } else { Ok(self.foreseen(&plan)) }
            }
            (State::Saga(mut saga, Turning::Measuring), SenderAnswer::Load(nodes)) => {
                let bytes: usize = nodes.iter().map(|n| n.to_json().len()).sum();
                saga.inline = nodes.len() == saga.plan.push.len() && bytes <= self.limits.inline_bytes_max;
                let loaded = if saga.inline { nodes } else { Vec::new() };
                self.begin(saga, true, loaded)
            }
            (State::Saga(saga, Turning::Signing(draft)), SenderAnswer::SignTurn(Some(frame))) => {
                self.send_turn(saga, *draft, Some(frame))
            }
            (State::Saga(saga, Turning::Signing(draft)), SenderAnswer::SignTurn(None)) => self.redraft(saga, *draft),
            (State::Saga(saga, Turning::Sending(mut outgoing)), SenderAnswer::Load(nodes)) => {
                outgoing.loaded(&nodes)?;
                self.go_on_sending(saga, outgoing)
            }
            (State::Saga(saga, Turning::Staging(incoming)), SenderAnswer::Stage) => self.go_on_staging(saga, incoming),
            (State::Finishing(mut summary), SenderAnswer::Finish(Finished { timelines, merges, conflicts })) => {
                summary.timelines = timelines;
                summary.merges = summary.merges.max(merges);
                summary.conflicts = summary.conflicts.max(conflicts);
                Ok(self.done(*summary))
            }
            (state, answer) => {
                let question = answer.question();
                Err(SagaError::defect(format!("an answer to {question} in phase {}", state.phase())))
            }
        }
    }

    fn send(&mut self, message: &Message) {
        let packet = match message {
            // With the question whether all is equal both begin anew, whether others are packed or not.
            Message::Peek(peek) if self.packs || matches!(peek, Peek::Equal(..)) => self.packing.pack(message),
            message => message.packet(),
        };
        self.push(packet);
    }

    fn push(&mut self, packet: Packet) {
        self.traffic.sent += packet.len() as u64;
        self.out.push_back(SenderOutput::Send(packet));
    }

    fn ask(&mut self, query: SenderQuery) {
        self.out.push_back(SenderOutput::Ask(query));
    }

    fn done(&mut self, mut summary: Summary) -> State {
        summary.bytes_sent = self.traffic.sent;
        summary.bytes_received = self.traffic.received;
        summary.identity_bytes = std::mem::take(&mut self.traffic.identity);
        self.out.push_back(SenderOutput::Done(Box::new(summary)));
        State::Idle
    }

    // -- planning ------------------------------------------------------------------------------------------------

    fn plan(&mut self, planning: Box<Planning>, need: Need) -> Result<State, SagaError> {
        match need {
            Need::Ask(query) => self.ask(query),
            Need::Peek(peek) => self.send(&Message::Peek(peek)),
            Need::Page => {}
            Need::Done(plan) => return self.planned(planning.request, plan),
        }
        Ok(State::Planning(planning))
    }

    fn planned(&mut self, request: SyncRequest, plan: Plan) -> Result<State, SagaError> {
        if request.dry_run {
            return Ok(self.foreseen(&plan));
        }
        if request.moves_max.is_some_and(|max| plan.moves() > max) {
            self.ask(SenderQuery::GoOn(plan.foreseen()));
            return Ok(State::Deciding(Box::new((request, plan))));
        }
        self.open(request, plan)
    }

    /// Tells what a saga would do, and moves nothing.
    fn foreseen(&mut self, plan: &Plan) -> State {
        self.done(Summary {
            nodes_sent: plan.push.len() as u64,
            nodes_received: plan.want.len() as u64,
            timelines: plan.foreseen(),
            ..Summary::default()
        })
    }

    fn open(&mut self, request: SyncRequest, plan: Plan) -> Result<State, SagaError> {
        let mut summary = Summary::default();
        if request.skip_when_equal && plan.is_idle() {
            return Ok(self.done(summary));
        }
        summary.saga = Some(request.saga_id.clone());
        let (push, diverged) = (plan.push.clone(), plan.has_diverged());
        let saga = Box::new(Saga {
            direction: request.direction,
            plan,
            inline: push.is_empty() && !diverged,
            transcript: Transcript::new(request.saga_id, self.session.clone()),
            received: Received::default(),
            summary,
            receipt: None,
            named: Named::before(&self.packing),
        });
        if diverged || push.is_empty() || push.len() > LOAD_NODES {
            return self.begin(saga, true, Vec::new());
        }
        self.ask(SenderQuery::Load(Load { addrs: push, bytes_max: self.limits.inline_bytes_max }));
        Ok(State::Saga(saga, Turning::Measuring))
    }
}

impl State {
    /// The message that may come now, besides those that end the connection.
    fn expects(&self) -> Option<MsgType> {
        match self {
            Self::Connecting(prove) => prove.expects(),
            Self::Glancing => Some(MsgType::PeekOk),
            Self::Planning(planning) => planning.planner.awaits_peek().then_some(MsgType::PeekOk),
            Self::Saga(_, Turning::Waiting) => Some(MsgType::SyncFrameResponse),
            Self::Closed
            | Self::Hearing(_)
            | Self::Idle
            | Self::Deciding(_)
            | Self::Saga(..)
            | Self::Finishing(_)
            | Self::Failed => None,
        }
    }

    fn phase(&self) -> &'static str {
        match self {
            Self::Closed | Self::Connecting(_) => "connect",
            Self::Hearing(hearing) => hearing.phase(),
            Self::Idle => "idle",
            Self::Glancing | Self::Planning(_) | Self::Deciding(_) | Self::Saga(_, Turning::Measuring) => "plan",
            Self::Saga(_, Turning::Signing(_) | Turning::Sending(_)) => "send",
            Self::Saga(_, Turning::Waiting) => "wait",
            Self::Saga(_, Turning::Receiving(_) | Turning::Staging(_)) => "receive",
            Self::Finishing(_) => "commit",
            Self::Failed => "failed",
        }
    }
}

fn out_of_turn(what: &str, state: &State) -> SagaError {
    SagaError::misbehaved(Breach::OutOfTurn, format!("{what} came in phase {}", state.phase()))
}
