//! The sender's side of a connection: connects, plans, takes turns.

use crate::ask::{Finish, Finished, Load, SenderAnswer, SenderQuery};
use crate::auth::Prove;
use crate::error::{Breach, Misuse, SagaError};
use crate::flow::{Incoming, LOAD_NODES, Next, Outgoing, Received};
use crate::limits::Limits;
use crate::plan::{Need, Plan, Planner};
use crate::summary::{Summary, TimelineSummary};
use crate::turn::{Asked, Stage, Transcript, Turn};
use crate::wire::message::{ConnectChallenge, Envelope, Failure, Message, MsgType, TurnRequest};
use crate::wire::packet::Packet;
use crate::wire::peek::Peek;
use crate::wire::stream::{Measure, ReceiverLine, SenderLine};
use ibgib::timeline::Relation;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::KeystoneError;
use std::collections::{HashSet, VecDeque};

/// Which way edits may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// Only from sender to receiver.
    Push,
    /// Only from receiver to sender.
    Pull,
}

impl Direction {
    /// Whether the receiver is to adopt the sender's tips.
    pub fn offers(self) -> bool {
        self != Self::Pull
    }

    /// Whether the sender adopts the receiver's tips.
    pub fn adopts(self) -> bool {
        self != Self::Push
    }
}

/// What to sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every living timeline of both spaces.
    #[default]
    All,
    /// These timelines and constants, and everything they relate to.
    Only(Vec<Addr>),
}

/// One saga to run.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// A fresh id: 32 or more random hex digits.
    pub saga_id: String,
    /// What to sync.
    pub scope: Scope,
    /// Which way.
    pub direction: Direction,
    /// No saga at all when a peek shows that nothing differs.
    pub skip_when_equal: bool,
    /// Only plan: the summary tells what a saga would do.
    pub dry_run: bool,
}

/// World → machine. After every [`Sender::handle`], drain [`Sender::poll`] before the next.
#[derive(Clone, Debug)]
pub enum SenderInput {
    /// Open the handshake; with the session identity's timeline and newest frame, or without identity.
    Connect(Option<(Addr, Addr)>),
    /// Run a saga; the connection must be open and idle.
    Sync(Box<SyncRequest>),
    /// Ask whether the receiver's living tips have this fingerprint; the connection must be open and idle.
    Glance(String),
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
}

/// Bytes of messages since the saga was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    sent: u64,
    received: u64,
}

#[derive(Debug)]
enum State {
    /// Not connected yet.
    Closed,
    Connecting(Prove),
    Idle,
    /// A glance waits for its answer.
    Glancing,
    Planning(Box<Planning>),
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

/// A saga that opens or is open.
#[derive(Debug)]
struct Saga {
    direction: Direction,
    plan: Plan,
    /// What is to be sent travels with `init`, which asks for the commit.
    inline: bool,
    transcript: Transcript,
    received: Received,
    summary: Summary,
}

/// Where a saga is in its turns.
#[derive(Debug)]
enum Turning {
    /// The payload is loaded to see whether it is small enough to travel with `init`.
    Measuring,
    /// The session identity signs our turn.
    Signing(Box<Draft>),
    /// Our turn is sent; its stream waits for nodes.
    Sending(Outgoing),
    /// It is the receiver's turn.
    Waiting,
    /// The receiver's stream comes in.
    Receiving(Box<Incoming<ReceiverLine>>),
    /// Nodes of it are being staged.
    Staging(Box<Incoming<ReceiverLine>>),
}

/// A turn of ours before it is sent.
#[derive(Debug)]
struct Draft {
    turn: Turn,
    lines: Vec<SenderLine>,
    payload: Vec<Addr>,
    /// The payload, if it was loaded already.
    loaded: Vec<Verified<IbGib>>,
    /// Targets that could not be bound.
    attempts: u32,
}

/// Times that a turn is made anew because the session's pool cannot bind its context's address.
const ATTEMPTS_MAX: u32 = 8;

impl Sender {
    /// A sender that has not connected.
    pub fn new(limits: Limits) -> Self {
        let traffic = Traffic::default();
        Self { limits, state: State::Closed, out: VecDeque::new(), session: None, traffic }
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
                self.traffic = Traffic::default();
                let (planner, need) = Planner::new(request.scope.clone(), request.direction, &self.limits);
                self.plan(Box::new(Planning { request: *request, planner, peek_bytes: 0 }), need)
            }
            (State::Idle, SenderInput::Glance(fingerprint)) => {
                self.send(&Message::Peek(Peek::Equal(fingerprint)));
                Ok(State::Glancing)
            }
            (_, SenderInput::Connect(_)) => Err(Misuse::AlreadyConnected.into()),
            (_, SenderInput::Sync(_) | SenderInput::Glance(_)) => Err(Misuse::NotIdle.into()),
            (state, SenderInput::Packet(packet)) => self.packet(state, packet),
            (_, SenderInput::Answer(SenderAnswer::Failed(error))) => Err(error),
            (state, SenderInput::Answer(answer)) => self.answer(state, answer),
            (_, SenderInput::Closed) => Err(SagaError::Cut),
            (_, SenderInput::TimedOut) => Err(SagaError::TimedOut),
        }
    }

    fn packet(&mut self, state: State, packet: Packet) -> Result<State, SagaError> {
        let bytes = packet.len() as u64;
        self.traffic.received += bytes;
        if packet.len() > self.limits.message_bytes_max {
            let limit = self.limits.message_bytes_max as u64;
            return Err(SagaError::Limit { name: "message_bytes_max", limit });
        }
        let (text, state) = match (packet, state) {
            (Packet::Binary(chunk), State::Saga(saga, Turning::Receiving(incoming))) => {
                return self.chunk(saga, incoming, &chunk);
            }
            (Packet::Binary(_), state) => return Err(out_of_turn("a chunk", &state)),
            (Packet::Text(text), state) => (text, state),
        };
        let envelope = Envelope::parse(&text)?;
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
            (State::Connecting(_), Message::ConnectOk) => {
                self.out.push_back(SenderOutput::Connected);
                Ok(State::Idle)
            }
            (State::Glancing, Message::PeekOk(page)) => {
                self.out.push_back(SenderOutput::Glanced(page.equal));
                Ok(State::Idle)
            }
            (State::Planning(mut planning), Message::PeekOk(page)) => {
                planning.peek_bytes += bytes;
                let limit = self.limits.list_bytes_max;
                if planning.peek_bytes > limit {
                    return Err(SagaError::Limit { name: "list_bytes_max", limit });
                }
                let need = planning.planner.peeked(page)?;
                self.plan(planning, need)
            }
            (State::Saga(mut saga, Turning::Waiting), Message::SyncFrameResponse(turn)) => {
                saga.transcript.follows(&turn)?;
                let incoming = Incoming::expect(&turn, &self.limits, saga.received)?;
                saga.transcript.add(*turn);
                Ok(State::Saga(saga, Turning::Receiving(Box::new(incoming))))
            }
            (state, message) => Err(out_of_turn(message.kind().as_str(), &state)),
        }
    }

    fn answer(&mut self, state: State, answer: SenderAnswer) -> Result<State, SagaError> {
        match (state, answer) {
            (State::Connecting(Prove::Signing), SenderAnswer::SignConnect(frame)) => {
                let (prove, proof) = Prove::signed(frame);
                self.send(&proof);
                Ok(State::Connecting(prove))
            }
            (State::Planning(mut planning), answer) => {
                let need = planning.planner.answer(answer)?;
                self.plan(planning, need)
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
                Ok(self.go_on_sending(saga, outgoing))
            }
            (State::Saga(saga, Turning::Staging(incoming)), SenderAnswer::Stage) => self.received(saga, incoming),
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
        self.push(message.packet());
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
        let mut summary = Summary::default();
        if request.dry_run {
            summary.nodes_sent = plan.push.len() as u64;
            summary.nodes_received = plan.want.len() as u64;
            summary.timelines = plan.items.iter().map(|(tjp, item)| TimelineSummary::foreseen(tjp, item)).collect();
            return Ok(self.done(summary));
        }
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
        });
        if diverged || push.is_empty() || push.len() > LOAD_NODES {
            return self.begin(saga, true, Vec::new());
        }
        self.ask(SenderQuery::Load(Load { addrs: push, bytes_max: self.limits.inline_bytes_max }));
        Ok(State::Saga(saga, Turning::Measuring))
    }

    // -- turns ---------------------------------------------------------------------------------------------------

    /// Makes our next turn; `loaded`: its payload, if that is in memory already.
    fn begin(&mut self, mut saga: Box<Saga>, init: bool, loaded: Vec<Verified<IbGib>>) -> Result<State, SagaError> {
        let turns_max = self.limits.turns_max;
        if saga.transcript.sender_turns() >= turns_max {
            return Err(SagaError::Limit { name: "turns_max", limit: u64::from(turns_max) });
        }
        let lines = saga.lines(init);
        let asked = Asked { commit: !init || saga.inline, adopt: saga.direction.adopts() };
        let stage = if init { Stage::Init(asked) } else { Stage::Delta(asked) };
        // What is to be sent goes with the first turn that asks for the commit, and only with that.
        let payload = if asked.commit { std::mem::take(&mut saga.plan.push) } else { Vec::new() };
        let turn = saga.transcript.next(stage, Measure::of_lines(&lines), Measure::of_nodes(&payload), 0);
        self.sign(saga, Draft { turn, lines, payload, loaded, attempts: 0 })
    }

    fn sign(&mut self, saga: Box<Saga>, draft: Draft) -> Result<State, SagaError> {
        if self.session.is_none() {
            return self.send_turn(saga, draft, None);
        }
        self.ask(SenderQuery::SignTurn(draft.turn.context().addr().clone()));
        Ok(State::Saga(saga, Turning::Signing(Box::new(draft))))
    }

    /// The same turn under another context address.
    fn redraft(&mut self, saga: Box<Saga>, mut draft: Draft) -> Result<State, SagaError> {
        draft.attempts += 1;
        if draft.attempts > ATTEMPTS_MAX {
            return Err(KeystoneError::BindingExhausted.into());
        }
        let old = &draft.turn;
        draft.turn = saga.transcript.next(old.stage(), old.list().clone(), old.payload().clone(), draft.attempts);
        self.sign(saga, draft)
    }

    fn send_turn(
        &mut self,
        mut saga: Box<Saga>,
        draft: Draft,
        signed: Option<Verified<IbGib>>,
    ) -> Result<State, SagaError> {
        let mut outgoing = Outgoing::new(&draft.lines, draft.payload, &self.limits);
        if !draft.loaded.is_empty() {
            outgoing.loaded(&draft.loaded)?;
        }
        let request = TurnRequest { turn: draft.turn, signed };
        saga.transcript.add(request.turn.clone());
        // The session identity's number: one for connecting, one for each turn.
        saga.summary.turns = 1 + saga.transcript.sender_turns();
        self.send(&Message::SyncFrameRequest(Box::new(request)));
        Ok(self.go_on_sending(saga, outgoing))
    }

    fn go_on_sending(&mut self, mut saga: Box<Saga>, mut outgoing: Outgoing) -> State {
        let (packets, next) = outgoing.send();
        for packet in packets {
            self.push(packet);
        }
        match next {
            Next::Load(load) => {
                self.ask(SenderQuery::Load(load));
                State::Saga(saga, Turning::Sending(outgoing))
            }
            Next::Sent { nodes } => {
                saga.summary.nodes_sent += nodes;
                State::Saga(saga, Turning::Waiting)
            }
        }
    }

    fn chunk(
        &mut self,
        mut saga: Box<Saga>,
        mut incoming: Box<Incoming<ReceiverLine>>,
        chunk: &[u8],
    ) -> Result<State, SagaError> {
        let nodes = incoming.chunk(chunk, &self.limits)?;
        if nodes.is_empty() {
            return self.received(saga, incoming);
        }
        saga.summary.nodes_received += nodes.len() as u64;
        self.ask(SenderQuery::Stage(nodes));
        Ok(State::Saga(saga, Turning::Staging(incoming)))
    }

    fn received(&mut self, mut saga: Box<Saga>, incoming: Box<Incoming<ReceiverLine>>) -> Result<State, SagaError> {
        saga.received = incoming.received;
        if !incoming.is_complete() {
            return Ok(State::Saga(saga, Turning::Receiving(incoming)));
        }
        saga.check_statuses(&incoming.lines)?;
        let stage = saga.transcript.last().map(Turn::stage);
        if let Some(Stage::Ack(told) | Stage::Commit(told)) = stage {
            saga.summary.merges += told.merges;
            saga.summary.conflicts += told.conflicts;
        }
        match stage {
            Some(Stage::Commit(_)) => {
                let Saga { direction, plan, transcript, summary, .. } = *saga;
                let timelines = plan.items.into_iter().map(|(tjp, item)| (tjp, item.mine));
                let constants = plan.constants.into_iter().map(|c| (c.clone(), Some(c)));
                self.ask(SenderQuery::Finish(Box::new(Finish {
                    statuses: incoming.lines,
                    offered: timelines.chain(constants).collect(),
                    direction,
                    transcript: transcript.into_turns(),
                })));
                Ok(State::Finishing(Box::new(summary)))
            }
            Some(Stage::Ack(_)) if saga.transcript.sender_turns() == 1 => self.begin(saga, false, Vec::new()),
            _ => Err(SagaError::misbehaved(Breach::NotCommitted, "the receiver answered a delta without committing")),
        }
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
            Self::Closed | Self::Idle | Self::Saga(..) | Self::Finishing(_) | Self::Failed => None,
        }
    }

    fn phase(&self) -> &'static str {
        match self {
            Self::Closed | Self::Connecting(_) => "connect",
            Self::Idle => "idle",
            Self::Glancing | Self::Planning(_) | Self::Saga(_, Turning::Measuring) => "plan",
            Self::Saga(_, Turning::Signing(_) | Turning::Sending(_) | Turning::Waiting) => "send",
            Self::Saga(_, Turning::Receiving(_) | Turning::Staging(_)) => "receive",
            Self::Finishing(_) => "commit",
            Self::Failed => "failed",
        }
    }
}

impl Saga {
    fn lines(&self, init: bool) -> Vec<SenderLine> {
        let timelines = self.plan.items.iter().map(|(tjp, item)| {
            // Without offering, our tip still says how far we are where the receiver is ahead.
            let tells = self.direction.offers() || item.relation == Relation::Behind;
            SenderLine::Timeline {
                tjp: tjp.clone(),
                tip: item.mine.clone().filter(|_| tells),
                // An empty space asks for everything under the receiver's tip, so it names nothing as asked for.
                theirs: item.theirs.clone().filter(|_| !self.plan.takes_all),
            }
        });
        let constants = self.offered_constants().cloned().map(SenderLine::Constant);
        let wants = self.plan.want.iter().filter(|_| init).cloned().map(SenderLine::Want);
        timelines.chain(constants).chain(wants).collect()
    }

    fn offered_constants(&self) -> impl Iterator<Item = &Addr> {
        self.plan.constants.iter().filter(|_| self.direction.offers())
    }

    /// The receiver answers once for each timeline and constant that was offered, and for nothing else.
    fn check_statuses(&self, lines: &[ReceiverLine]) -> Result<(), SagaError> {
        let mut open: HashSet<&Addr> = self.plan.items.keys().chain(self.offered_constants()).collect();
        for ReceiverLine { tjp, .. } in lines {
            if !open.remove(tjp) {
                let why = format!("the receiver answers for {tjp}, which is not open");
                return Err(SagaError::misbehaved(Breach::Unasked, why));
            }
        }
        match open.into_iter().min() {
            None => Ok(()),
            Some(tjp) => {
                Err(SagaError::misbehaved(Breach::Unanswered, format!("the receiver does not answer for {tjp}")))
            }
        }
    }
}

fn out_of_turn(what: &str, state: &State) -> SagaError {
    SagaError::misbehaved(Breach::OutOfTurn, format!("{what} came in phase {}", state.phase()))
}
