//! The sender's side of a connection: connects, plans, takes turns.

use crate::error::{Breach, Misuse, SagaError};
use crate::fingerprint::Fingerprint;
use crate::limits::Limits;
use crate::packet::{Message, MsgType, Packet, SUBPROTOCOL, features, printed};
use crate::peek::{Peek, Peeked};
use crate::stream::{Incoming, Line, Outgoing, Received, announce};
use crate::summary::{Summary, TimelineSummary};
use crate::turn::{Link, Stage, Turn, validate_return_context};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_keystone::KeystoneError;
use std::collections::{BTreeMap, HashSet, VecDeque};

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
    /// Open the handshake; with the session identity's newest frame address, or without identity.
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

/// What the sender needs from its own side.
#[derive(Clone, Debug)]
pub enum SenderQuery {
    /// Evolve the session identity, solving the demanded challenges; store it durably, then answer `Signed`.
    SignConnect {
        /// The claim's target.
        challenge_uuid: String,
        /// Challenges to solve.
        demanded: Vec<String>,
    },
    /// Evolve the session identity with claim {sync, target}; store it durably, then answer `Signed`.
    SignTurn(Addr),
    /// Tips and constants in scope → `Tips`.
    Tips(Scope),
    /// How each (timeline, mine, theirs) relates, as far as this side can tell → `Compared`.
    Compare(Vec<(Addr, Option<Addr>, Option<Addr>)>),
    /// Addresses under these tips, down to the stops, dependencies first → `Addrs`.
    Candidates {
        /// Where to start.
        starts: Vec<Addr>,
        /// Where to stop.
        stops: Vec<Addr>,
    },
    /// Which of these are neither committed nor staged here → `Addrs`.
    Lacking(Vec<Addr>),
    /// Nodes, in order, at least one and as many as fit the bytes → `Nodes`.
    Load {
        /// Which.
        addrs: Vec<Addr>,
        /// About how many bytes at most.
        bytes_max: usize,
    },
    /// Keep received nodes apart → `Ok`.
    Stage(Vec<Verified<IbGib>>),
    /// Commit: adopt the receiver's tips (merging if ours moved), publish staged nodes, store the transcript →
    /// `Finished`.
    Finish {
        /// The receiver's answer per timeline.
        statuses: Vec<Line>,
        /// What was in the saga: each timeline with our tip of before, each constant with itself. `statuses` answers
        /// each of them once.
        offered: Vec<(Addr, Option<Addr>)>,
        /// Adopt the receiver's tips.
        adopt: bool,
        /// We gave our tips.
        offers: bool,
        /// Turns of both sides, in order.
        transcript: Vec<Turn>,
    },
}

/// How a timeline relates, seen from the sender's space alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Same tip.
    Same,
    /// The receiver lacks what we have.
    Push,
    /// We lack what the receiver has.
    Pull,
    /// Both lack something.
    Diverged,
    /// We do not know the receiver's tip.
    Unsure,
}

/// Answers to [`SenderQuery`].
#[derive(Clone, Debug)]
pub enum SenderAnswer {
    /// Done.
    Ok,
    /// The session identity's new frame.
    Signed(Verified<IbGib>),
    /// The target cannot be bound by what is left in the pool: make another target.
    BindingExhausted,
    /// Tips, and constants with whether we have them.
    Tips {
        /// (timeline, our tip).
        tips: Vec<(Addr, Option<Addr>)>,
        /// (constant, have).
        constants: Vec<(Addr, bool)>,
        /// Nothing living and nothing staged is here.
        empty: bool,
    },
    /// In the order asked.
    Compared(Vec<Compared>),
    /// Addresses.
    Addrs(Vec<Addr>),
    /// Nodes.
    Nodes(Vec<Verified<IbGib>>),
    /// The commit is durable.
    Finished {
        /// Per timeline.
        timelines: Vec<TimelineSummary>,
        /// Merge frames made.
        merges: u64,
        /// New conflicts.
        conflicts: u64,
    },
    /// It could not be done.
    Failed(SagaError),
}

#[derive(Debug, Default)]
struct Item {
    mine: Option<Addr>,
    theirs: Option<Addr>,
    compared: Option<Compared>,
}

/// What a saga in progress knows.
#[derive(Debug)]
struct Job {
    request: SyncRequest,
    summary: Summary,
    items: BTreeMap<Addr, Item>,
    mine: BTreeMap<Addr, Option<Addr>>,
    constants: Vec<Addr>,
    we_are_empty: bool,
    they_are_empty: bool,
    fingerprint: Option<Fingerprint>,
    /// Timelines to look at in this planning round.
    fresh: Vec<Addr>,
    rounds: u32,
    to_ask: VecDeque<Vec<Addr>>,
    asked: Vec<Addr>,
    their_has: HashSet<Addr>,
    peeked: Option<Peeked>,
    /// Bytes of all peeks' answers.
    peek_bytes: u64,
    /// Rest of a question that is too long for one message.
    more_peeks: VecDeque<Peek>,
    candidates: Vec<Addr>,
    want: Vec<Addr>,
    push: Vec<Addr>,
    preloaded: Vec<Verified<IbGib>>,
    inline: bool,
    pushed: bool,
    turns: Vec<Turn>,
    attempt: u32,
    signing: Option<(Turn, Vec<Line>, Vec<Addr>)>,
    out: Option<Outgoing>,
    incoming: Option<Incoming>,
    received: Received,
    statuses: Vec<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    AwaitChallenge,
    SigningConnect,
    AwaitConnectOk,
    Idle,
    Glance,
    AskTips,
    PeekEqual,
    PeekBuckets,
    PeekTips,
    LateTips,
    Compare,
    PeekUnsure,
    Candidates,
    PeekHas,
    PeekList,
    Lacking,
    Preload,
    Sign,
    LoadOut,
    AwaitTurn,
    Receive,
    Staging,
    Finish,
    Failed,
}

/// The sender's machine. **After every `handle`, drain `poll` to `None` before the next `handle`.**
#[derive(Debug)]
pub struct Sender {
    limits: Limits,
    state: State,
    out: VecDeque<SenderOutput>,
    session: Option<Addr>,
    job: Option<Box<Job>>,
}

const HAS_BYTES: usize = 200_000;
/// Items in batches that fit a message each; one empty batch when there are none.
fn parts<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut out = vec![Vec::new()];
    let mut bytes = 0;
    for item in items {
        bytes += size(&item);
        if bytes > HAS_BYTES {
            out.push(Vec::new());
            bytes = size(&item);
        }
        if let Some(last) = out.last_mut() {
            last.push(item);
        }
    }
    out
}

const LOAD_BYTES: usize = 4 * 1024 * 1024;
const LOAD_NODES: usize = 1_024;

impl Sender {
    /// A sender that has not connected.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Closed, out: VecDeque::new(), session: None, job: None }
    }

    /// What the machine wants next; `None` when it waits.
    pub fn poll(&mut self) -> Option<SenderOutput> {
        self.out.pop_front()
    }

    /// How long the shell may wait for the peer now, in milliseconds; `None` when it does not wait for the peer.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::AwaitChallenge | State::AwaitConnectOk => Some(self.limits.handshake_ms_max),
            State::Glance
            | State::PeekEqual
            | State::PeekBuckets
            | State::PeekTips
            | State::PeekUnsure
            | State::PeekHas
            | State::PeekList
            | State::AwaitTurn
            | State::Receive => Some(self.limits.idle_ms_max),
            _ => None,
        }
    }

    /// A phase in a word, for progress displays.
    pub fn phase(&self) -> &'static str {
        match self.state {
            State::Closed | State::AwaitChallenge | State::SigningConnect | State::AwaitConnectOk => "connect",
            State::Idle => "idle",
            State::Sign | State::LoadOut | State::AwaitTurn => "send",
            State::Receive | State::Staging => "receive",
            State::Finish => "commit",
            State::Failed => "failed",
            _ => "plan",
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, input: SenderInput) {
        debug_assert!(self.out.is_empty(), "poll must be drained before the next input");
        if self.state == State::Failed {
            return;
        }
        let result = match input {
            SenderInput::Connect(session) => self.connect(session),
            SenderInput::Sync(request) => self.start(*request),
            SenderInput::Glance(fingerprint) => self.glance(fingerprint),
            SenderInput::Packet(packet) => self.packet(packet),
            SenderInput::Answer(SenderAnswer::Failed(error)) => Err(error),
            SenderInput::Answer(answer) => self.answer(answer),
            SenderInput::Closed => Err(SagaError::Cut),
            SenderInput::TimedOut => Err(SagaError::TimedOut),
        };
        if let Err(error) = result {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: SagaError) {
        // Told to the peer as far as that is possible; a refusal or a cut needs no answer.
        if !matches!(error, SagaError::PeerRefused { .. } | SagaError::Cut) {
            self.send(Message::error(MsgType::SyncError, &error));
        }
        self.state = State::Failed;
        self.out.push_back(SenderOutput::Failed(error));
    }

    fn send(&mut self, message: Message) {
        self.push(message.packet());
    }

    fn push(&mut self, packet: Packet) {
        if let Some(job) = &mut self.job {
            job.summary.bytes_sent += packet.len() as u64;
        }
        self.out.push_back(SenderOutput::Send(packet));
    }

    fn ask(&mut self, state: State, query: SenderQuery) {
        self.state = state;
        self.out.push_back(SenderOutput::Ask(query));
    }

    fn job(&mut self) -> &mut Job {
        self.job.as_mut().expect("planning and turns happen only inside a saga")
    }

    // -- connecting ----------------------------------------------------------------------------------------------

    fn connect(&mut self, session: Option<(Addr, Addr)>) -> Result<(), SagaError> {
        if self.state != State::Closed {
            return Err(Misuse::AlreadyConnected.into());
        }
        let tip = session.as_ref().map_or(Value::Null, |(_, tip)| Value::from(tip));
        self.session = session.map(|(tjp, _)| tjp);
        self.state = if self.session.is_some() { State::AwaitChallenge } else { State::AwaitConnectOk };
        self.send(Message::new(
            MsgType::Hello,
            [("session", tip), ("versions", ibgib::strings([SUBPROTOCOL])), ("features", features())],
        ));
        Ok(())
    }

    fn packet(&mut self, packet: Packet) -> Result<(), SagaError> {
        if let Some(job) = &mut self.job {
            job.summary.bytes_received += packet.len() as u64;
        }
        if packet.len() > self.limits.message_bytes_max {
            let limit = self.limits.message_bytes_max as u64;
            return Err(SagaError::Limit { name: "message_bytes_max", limit });
        }
        match packet {
            Packet::Binary(bytes) if self.state == State::Receive => self.chunk(&bytes),
            Packet::Binary(_) => Err(SagaError::misbehaved(Breach::OutOfTurn, "a chunk outside the peer's turn")),
            Packet::Text(text) => {
                let message = Message::decode(&text)?;
                if let (MsgType::PeekOk, Some(job)) = (message.kind, &mut self.job) {
                    job.peek_bytes += text.len() as u64;
                    let limit = self.limits.list_bytes_max;
                    if job.peek_bytes > limit {
                        return Err(SagaError::Limit { name: "list_bytes_max", limit });
                    }
                }
                match (self.state, message.kind) {
                    (_, MsgType::AuthFail | MsgType::SyncError) => Err(message.as_refusal()),
                    (_, MsgType::Bye) => Err(SagaError::Cut),
                    (State::AwaitChallenge, MsgType::ConnectChallenge) => self.challenged(&message),
                    (State::AwaitConnectOk, MsgType::ConnectOk) => {
                        self.state = State::Idle;
                        self.out.push_back(SenderOutput::Connected);
                        Ok(())
                    }
                    (State::Glance, MsgType::PeekOk) => {
                        let told = Peeked::read(&message.body)?;
                        self.state = State::Idle;
                        self.out.push_back(SenderOutput::Glanced(told.equal));
                        Ok(())
                    }
                    (
                        State::PeekEqual
                        | State::PeekBuckets
                        | State::PeekTips
                        | State::PeekUnsure
                        | State::PeekHas
                        | State::PeekList,
                        MsgType::PeekOk,
                    ) => self.peeked(Peeked::read(&message.body)?),
                    (State::AwaitTurn, MsgType::SyncFrameResponse) => self.turn(&message),
                    (state, kind) => {
                        Err(SagaError::misbehaved(Breach::OutOfTurn, format!("{} while {state:?}", kind.as_str())))
                    }
                }
            }
        }
    }

    fn challenged(&mut self, message: &Message) -> Result<(), SagaError> {
        let challenge_uuid = message.text("challengeUuid")?.to_owned();
        let demanded = message.body.get("demandedIds").and_then(Value::as_array).unwrap_or(&[]);
        let demanded: Vec<String> = demanded.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if demanded.is_empty() || demanded.len() > 64 {
            return Err(SagaError::misbehaved(Breach::BadMessage, "connect_challenge demands 1 to 64 challenges"));
        }
        self.ask(State::SigningConnect, SenderQuery::SignConnect { challenge_uuid, demanded });
        Ok(())
    }

    // -- planning ------------------------------------------------------------------------------------------------

    fn start(&mut self, request: SyncRequest) -> Result<(), SagaError> {
        if self.state != State::Idle {
            return Err(Misuse::NotIdle.into());
        }
        let scope = request.scope.clone();
        self.job = Some(Box::new(Job {
            request,
            summary: Summary::default(),
            items: BTreeMap::new(),
            mine: BTreeMap::new(),
            constants: Vec::new(),
            we_are_empty: false,
            they_are_empty: false,
            fingerprint: None,
            fresh: Vec::new(),
            rounds: 0,
            to_ask: VecDeque::new(),
            asked: Vec::new(),
            their_has: HashSet::new(),
            peeked: None,
            peek_bytes: 0,
            more_peeks: VecDeque::new(),
            candidates: Vec::new(),
            want: Vec::new(),
            push: Vec::new(),
            preloaded: Vec::new(),
            inline: false,
            pushed: false,
            turns: Vec::new(),
            attempt: 0,
            signing: None,
            out: None,
            incoming: None,
            received: Received::default(),
            statuses: Vec::new(),
        }));
        self.ask(State::AskTips, SenderQuery::Tips(scope));
        Ok(())
    }

    fn glance(&mut self, fingerprint: String) -> Result<(), SagaError> {
        if self.state != State::Idle {
            return Err(Misuse::NotIdle.into());
        }
        self.peek(State::Glance, &Peek::Equal(fingerprint));
        Ok(())
    }

    fn peek(&mut self, state: State, peek: &Peek) {
        self.state = state;
        self.send(peek.message());
    }

    /// Asks in as many messages as it takes; the answers count as one.
    fn peek_all(&mut self, state: State, peeks: impl Iterator<Item = Peek>) {
        let mut peeks: VecDeque<Peek> = peeks.collect();
        let first = peeks.pop_front();
        self.job().more_peeks = peeks;
        if let Some(first) = first {
            self.peek(state, &first);
        }
    }

    fn peeked(&mut self, page: Peeked) -> Result<(), SagaError> {
        let list_max = self.limits.list_max;
        let state = self.state;
        let job = self.job();
        let mut whole = job.peeked.take().unwrap_or_default();
        whole.absorb(page);
        if (whole.nodes.len() + whole.tips.len() + whole.has.len()) as u64 > list_max {
            return Err(SagaError::Limit { name: "list_max", limit: list_max });
        }
        if whole.more {
            job.peeked = Some(whole);
            return Ok(());
        }
        if let Some(next) = job.more_peeks.pop_front() {
            job.peeked = Some(whole);
            self.peek(state, &next);
            return Ok(());
        }
        match state {
            State::PeekEqual => {
                job.they_are_empty = whole.empty;
                if whole.equal && job.constants.is_empty() {
                    return self.nothing_differs();
                }
                let buckets = job.fingerprint.as_ref().map(|f| f.buckets.clone()).unwrap_or_default();
                self.peek(State::PeekBuckets, &Peek::Buckets(buckets));
                Ok(())
            }
            State::PeekBuckets => {
                let theirs: BTreeMap<Addr, Option<Addr>> = whole.tips.into_iter().collect();
                let differing_buckets: HashSet<usize> = match &job.fingerprint {
                    // The receiver answers every tip of the buckets that differ, so what it leaves out there it lacks.
                    Some(_) => whole.has.iter().enumerate().filter(|(_, d)| **d).map(|(i, _)| i).collect(),
                    None => HashSet::new(),
                };
                let mine = std::mem::take(&mut job.mine);
                for (tjp, tip) in &mine {
                    if differing_buckets.contains(&crate::fingerprint::bucket(tjp)) {
                        let their_tip = theirs.get(tjp).cloned().flatten();
                        if their_tip != *tip {
                            job.add(tjp.clone(), tip.clone(), their_tip);
                        }
                    }
                }
                for (tjp, tip) in theirs {
                    if !mine.contains_key(&tjp) && tip.is_some() {
                        job.add(tjp, None, tip);
                    }
                }
                self.compare()
            }
            State::PeekTips => {
                let theirs: BTreeMap<Addr, Option<Addr>> = whole.tips.into_iter().collect();
                job.they_are_empty = whole.empty;
                let mine = std::mem::take(&mut job.mine);
                for (tjp, tip) in &mine {
                    let their_tip = theirs.get(tjp).cloned().flatten();
                    if tip.is_some() && their_tip != *tip {
                        job.add(tjp.clone(), tip.clone(), their_tip);
                    }
                }
                // Any address of a timeline may be asked for; the answer names the timeline.
                for (tjp, tip) in theirs {
                    if tip.is_some() && mine.get(&tjp).is_none_or(Option::is_none) {
                        job.add(tjp, None, tip);
                    }
                }
                self.compare()
            }
            State::PeekUnsure | State::PeekHas => {
                if whole.has.len() != job.asked.len() {
                    return Err(SagaError::misbehaved(Breach::BadPeek, "another number of answers than questions"));
                }
                let asked = std::mem::take(&mut job.asked);
                job.their_has.extend(asked.into_iter().zip(whole.has).filter(|(_, has)| *has).map(|(a, _)| a));
                self.ask_has(state)
            }
            State::PeekList => {
                // Several questions may have the same answers.
                let mut seen = HashSet::new();
                job.candidates = whole.nodes.into_iter().filter(|addr| seen.insert(addr.clone())).collect();
                // With everything in scope, whatever differs is listed already.
                job.mine = match job.request.scope {
                    Scope::All => BTreeMap::new(),
                    Scope::Only(_) => whole
                        .tips
                        .into_iter()
                        .filter(|(tjp, tip)| tip.is_some() && !job.items.contains_key(tjp))
                        .collect(),
                };
                job.fresh = job.mine.keys().cloned().collect();
                let addrs = std::mem::take(&mut job.candidates);
                self.ask(State::Lacking, SenderQuery::Lacking(addrs));
                Ok(())
            }
            _ => Err(SagaError::misbehaved(Breach::OutOfTurn, "peek_ok")),
        }
    }

    fn nothing_differs(&mut self) -> Result<(), SagaError> {
        if self.job().request.skip_when_equal || self.job().request.dry_run {
            return self.done();
        }
        self.preload()
    }

    fn done(&mut self) -> Result<(), SagaError> {
        if let Some(job) = self.job.take() {
            self.out.push_back(SenderOutput::Done(Box::new(job.summary)));
        }
        self.state = State::Idle;
        Ok(())
    }

    fn compare(&mut self) -> Result<(), SagaError> {
        let job = self.job();
        let items: Vec<_> = job
            .fresh
            .iter()
            .filter_map(|t| job.items.get(t).map(|i| (t.clone(), i.mine.clone(), i.theirs.clone())))
            .collect();
        self.ask(State::Compare, SenderQuery::Compare(items));
        Ok(())
    }

    /// Sends the next batch of `Has`, or goes on when all are answered.
    fn ask_has(&mut self, state: State) -> Result<(), SagaError> {
        if let Some(batch) = self.job().to_ask.pop_front() {
            self.job().asked = batch.clone();
            self.peek(state, &Peek::Has(batch));
            return Ok(());
        }
        if state == State::PeekUnsure { self.sure() } else { self.list() }
    }

    /// Every item is known to be a push, a pull or diverged; ask for what may have to travel.
    fn sure(&mut self) -> Result<(), SagaError> {
        let direction = self.job().request.direction;
        let job = self.job();
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for tjp in &job.fresh {
            let Some(item) = job.items.get_mut(tjp) else { continue };
            if item.compared == Some(Compared::Unsure) {
                let has = item.mine.as_ref().is_some_and(|m| job.their_has.contains(m));
                item.compared = Some(if has { Compared::Pull } else { Compared::Diverged });
            }
            let sends = matches!(item.compared, Some(Compared::Push | Compared::Diverged));
            if sends && direction != Direction::Pull {
                starts.extend(item.mine.clone());
                stops.extend(item.theirs.clone());
            }
        }
        if job.rounds == 0 && direction != Direction::Pull {
            starts.extend(job.constants.iter().cloned());
        }
        self.ask(State::Candidates, SenderQuery::Candidates { starts, stops });
        Ok(())
    }

    /// Ask what lies under the receiver's tips that we do not know.
    fn list(&mut self) -> Result<(), SagaError> {
        let job = self.job();
        let candidates = std::mem::take(&mut job.candidates);
        let mut known: HashSet<Addr> = job.push.iter().cloned().collect();
        for addr in candidates {
            if !job.their_has.contains(&addr) && known.insert(addr.clone()) {
                job.push.push(addr);
            }
        }
        let mut wanted = Vec::new();
        if job.request.direction != Direction::Push && !job.we_are_empty {
            for tjp in &job.fresh {
                let Some(item) = job.items.get(tjp) else { continue };
                if let (Some(Compared::Pull | Compared::Diverged), Some(theirs)) = (item.compared, &item.theirs) {
                    let stop = item.mine.clone().filter(|_| item.compared == Some(Compared::Pull));
                    wanted.push((theirs.clone(), stop));
                }
            }
        }
        if wanted.is_empty() {
            return self.preload();
        }
        let live = job.request.scope != Scope::All;
        let size = |(tip, stop): &(Addr, Option<Addr>)| {
            printed(tip.as_str()) + stop.as_ref().map_or(0, |stop| printed(stop.as_str())) + 16
        };
        self.peek_all(State::PeekList, parts(wanted, size).into_iter().map(|items| Peek::List { items, live }));
        Ok(())
    }

    // -- turns ---------------------------------------------------------------------------------------------------

    fn preload(&mut self) -> Result<(), SagaError> {
        let inline_max = self.limits.inline_bytes_max;
        let job = self.job();
        let constants_all_there = job.constants.iter().all(|c| job.their_has.contains(c)) && job.want.is_empty();
        let nothing = job.items.values().all(|i| i.compared == Some(Compared::Same));
        let idle = nothing && constants_all_there && job.push.is_empty();
        if job.request.dry_run {
            job.summary.nodes_sent = job.push.len() as u64;
            job.summary.nodes_received = job.want.len() as u64;
            job.summary.timelines = job.items.iter().map(|(tjp, item)| item.summary(tjp)).collect();
            return self.done();
        }
        if idle && job.request.skip_when_equal {
            return self.done();
        }
        let diverged = job.items.values().any(|i| i.compared == Some(Compared::Diverged));
        if diverged || job.push.is_empty() || job.push.len() > LOAD_NODES {
            job.inline = job.push.is_empty() && !diverged;
            return self.begin(Stage::Init);
        }
        let addrs = job.push.clone();
        self.ask(State::Preload, SenderQuery::Load { addrs, bytes_max: inline_max });
        Ok(())
    }

    fn begin(&mut self, stage: Stage) -> Result<(), SagaError> {
        let session = self.session.clone();
        let turns_max = self.limits.turns_max;
        let job = self.job();
        if job.turns.len() as u64 / 2 >= u64::from(turns_max) {
            return Err(SagaError::Limit { name: "turns_max", limit: u64::from(turns_max) });
        }
        let direction = job.request.direction;
        let commit = stage == Stage::Delta || job.inline;
        let mut lines = Vec::new();
        for (tjp, item) in &job.items {
            let offers = direction != Direction::Pull || item.compared == Some(Compared::Pull);
            lines.push(Line::Timeline {
                tjp: tjp.clone(),
                tip: item.mine.clone().filter(|_| offers),
                // An empty space asks for everything under the receiver's tip, so it names nothing as asked for.
                theirs: item.theirs.clone().filter(|_| !job.we_are_empty),
            });
        }
        if direction != Direction::Pull {
            lines.extend(job.constants.iter().cloned().map(Line::Constant));
        }
        if stage == Stage::Init {
            lines.extend(job.want.iter().cloned().map(Line::Want));
        }
        let payload = if commit && !job.pushed { job.push.clone() } else { Vec::new() };
        let mut members: Map =
            [("commit", Value::Bool(commit)), ("adopt", (direction != Direction::Push).into())].into_iter().collect();
        for (k, v) in announce(&lines, &payload) {
            members.insert(k, v);
        }
        let link = Link { saga_id: &job.request.saga_id, session: session.as_ref(), before: job.turns.last() };
        let turn = Turn::build(link, stage, members, job.attempt);
        let target = turn.context.addr().clone();
        job.signing = Some((turn, lines, payload));
        if session.is_some() {
            self.ask(State::Sign, SenderQuery::SignTurn(target));
            Ok(())
        } else {
            self.send_turn(None)
        }
    }

    fn send_turn(&mut self, signed: Option<&Verified<IbGib>>) -> Result<(), SagaError> {
        let limits = self.limits.clone();
        let job = self.job();
        let (turn, lines, payload) = job.signing.take().ok_or_else(|| SagaError::defect("no turn to send"))?;
        job.attempt = 0;
        job.summary.saga = Some(job.request.saga_id.clone());
        job.summary.turns = if job.summary.turns == 0 { 2 } else { job.summary.turns + 1 };
        if !payload.is_empty() {
            job.pushed = true;
        }
        let mut message = Message::new(MsgType::SyncFrameRequest, turn.members());
        if let Some(signed) = signed {
            message.body.insert("signedSessionIdentity", signed.to_value());
        }
        job.turns.push(turn);
        let mut out = Outgoing::new(&lines, payload, &limits);
        for node in std::mem::take(&mut job.preloaded) {
            if out.rest.front() == Some(node.addr()) {
                out.rest.pop_front();
                out.push_node(&node);
            }
        }
        job.out = Some(out);
        self.send(message);
        self.go_on_sending()
    }

    fn go_on_sending(&mut self) -> Result<(), SagaError> {
        let job = self.job();
        let Some(out) = &mut job.out else { return Err(SagaError::defect("nothing is being sent")) };
        let packets = out.drain();
        let next: Vec<Addr> = out.rest.iter().take(LOAD_NODES).cloned().collect();
        if next.is_empty() {
            job.summary.nodes_sent += out.nodes;
            job.out = None;
        }
        for packet in packets {
            self.push(packet);
        }
        if next.is_empty() {
            self.state = State::AwaitTurn;
        } else {
            self.ask(State::LoadOut, SenderQuery::Load { addrs: next, bytes_max: LOAD_BYTES });
        }
        Ok(())
    }

    fn turn(&mut self, message: &Message) -> Result<(), SagaError> {
        let turn = Turn::read(&message.body).map_err(|e| SagaError::misbehaved(Breach::BadTurn, e.join("; ")))?;
        let limits = self.limits.clone();
        let job = self.job();
        let incoming = Incoming::expect(&turn.message, &limits, job.received)?;
        if let Some(ours) = job.turns.last() {
            let errors = validate_return_context(ours, &turn);
            if !errors.is_empty() {
                return Err(SagaError::misbehaved(Breach::BadTurn, errors.join("; ")));
            }
        }
        job.turns.push(turn);
        job.incoming = Some(incoming);
        self.state = State::Receive;
        Ok(())
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), SagaError> {
        let limits = self.limits.clone();
        let job = self.job();
        let Some(incoming) = &mut job.incoming else {
            return Err(SagaError::misbehaved(Breach::OutOfTurn, "a chunk outside a turn"));
        };
        let nodes = incoming.chunk(bytes, &limits)?;
        job.received = incoming.received;
        if nodes.is_empty() {
            return self.received();
        }
        job.summary.nodes_received += nodes.len() as u64;
        self.ask(State::Staging, SenderQuery::Stage(nodes));
        Ok(())
    }

    fn received(&mut self) -> Result<(), SagaError> {
        let job = self.job();
        if !job.incoming.as_ref().is_some_and(Incoming::is_complete) {
            self.state = State::Receive;
            return Ok(());
        }
        if let Some(incoming) = job.incoming.take() {
            job.check_statuses(&incoming.lines)?;
            job.statuses = incoming.lines;
        }
        let Some(answer) = job.turns.last() else { return Err(SagaError::defect("no turn")) };
        let count = |name: &str| answer.message.datum(name).and_then(Value::as_u53).unwrap_or(0);
        job.summary.merges += count("merges");
        job.summary.conflicts += count("conflicts");
        let was_delta = job.turns.len() > 2;
        match answer.stage {
            Stage::Commit => {
                let query = SenderQuery::Finish {
                    statuses: std::mem::take(&mut job.statuses),
                    offered: job
                        .items
                        .iter()
                        .map(|(t, i)| (t.clone(), i.mine.clone()))
                        .chain(job.constants.iter().map(|c| (c.clone(), Some(c.clone()))))
                        .collect(),
                    adopt: job.request.direction != Direction::Push,
                    offers: job.request.direction != Direction::Pull,
                    transcript: std::mem::take(&mut job.turns),
                };
                self.ask(State::Finish, query);
                Ok(())
            }
            Stage::Ack if !was_delta => self.begin(Stage::Delta),
            _ => Err(SagaError::misbehaved(Breach::NotCommitted, "the receiver answered a delta without committing")),
        }
    }

    fn answer(&mut self, answer: SenderAnswer) -> Result<(), SagaError> {
        match (self.state, answer) {
            (State::SigningConnect, SenderAnswer::Signed(frame)) => {
                self.state = State::AwaitConnectOk;
                self.send(Message::new(MsgType::ConnectProof, [("proof", frame.to_value())]));
                Ok(())
            }
            (State::AskTips, SenderAnswer::Tips { tips, constants, empty }) => self.tips(tips, constants, empty),
            (State::LateTips, SenderAnswer::Tips { tips, .. }) => {
                let job = self.job();
                job.rounds += 1;
                job.fresh.clear();
                for (tjp, tip) in tips {
                    let theirs = job.mine.remove(&tjp).flatten();
                    if theirs != tip {
                        job.add(tjp, tip, theirs);
                    }
                }
                self.compare()
            }
            (State::Compare, SenderAnswer::Compared(found)) => {
                let job = self.job();
                let mut unsure = Vec::new();
                for (tjp, compared) in job.fresh.clone().iter().zip(found) {
                    if let Some(item) = job.items.get_mut(tjp) {
                        item.compared = Some(compared);
                        if compared == Compared::Unsure {
                            unsure.extend(item.mine.clone());
                        }
                    }
                }
                job.to_ask = batches(unsure);
                self.ask_has(State::PeekUnsure)
            }
            (State::Candidates, SenderAnswer::Addrs(addrs)) => {
                let job = self.job();
                job.candidates.clone_from(&addrs);
                // A side without timelines may still have constants.
                let nothing_there = job.they_are_empty && job.constants.is_empty();
                job.to_ask = if nothing_there { VecDeque::new() } else { batches(addrs) };
                self.ask_has(State::PeekHas)
            }
            (State::Lacking, SenderAnswer::Addrs(lacking)) => {
                let limits = self.limits.clone();
                let job = self.job();
                let mut known: HashSet<Addr> = job.want.iter().cloned().collect();
                job.want.extend(lacking.into_iter().filter(|a| known.insert(a.clone())));
                if job.fresh.is_empty() {
                    return self.preload();
                }
                if job.rounds >= limits.late_rounds_max {
                    let limit = u64::from(limits.late_rounds_max);
                    return Err(SagaError::Limit { name: "late_rounds_max", limit });
                }
                let fresh = std::mem::take(&mut job.fresh);
                self.ask(State::LateTips, SenderQuery::Tips(Scope::Only(fresh)));
                Ok(())
            }
            (State::Preload, SenderAnswer::Nodes(nodes)) => {
                let inline_max = self.limits.inline_bytes_max;
                let job = self.job();
                let bytes: usize = nodes.iter().map(|n| n.to_json().len()).sum();
                job.inline = nodes.len() == job.push.len() && bytes <= inline_max;
                if job.inline {
                    job.preloaded = nodes;
                }
                self.begin(Stage::Init)
            }
            (State::Sign, SenderAnswer::Signed(frame)) => self.send_turn(Some(&frame)),
            (State::Sign, SenderAnswer::BindingExhausted) => {
                let job = self.job();
                job.attempt += 1;
                if job.attempt > 8 {
                    return Err(KeystoneError::BindingExhausted.into());
                }
                let Some((turn, ..)) = job.signing.take() else {
                    return Err(SagaError::defect("no turn to sign"));
                };
                self.begin(turn.stage)
            }
            (State::LoadOut, SenderAnswer::Nodes(nodes)) => {
                let job = self.job();
                if nodes.is_empty() {
                    return Err(SagaError::defect("a node to send is gone"));
                }
                if let Some(out) = &mut job.out {
                    for node in nodes {
                        if out.rest.pop_front().as_ref() != Some(node.addr()) {
                            return Err(SagaError::defect("nodes came in another order than asked"));
                        }
                        out.push_node(&node);
                    }
                }
                self.go_on_sending()
            }
            (State::Staging, SenderAnswer::Ok) => self.received(),
            (State::Finish, SenderAnswer::Finished { timelines, merges, conflicts }) => {
                let job = self.job();
                job.summary.timelines = timelines;
                job.summary.merges = job.summary.merges.max(merges);
                job.summary.conflicts = job.summary.conflicts.max(conflicts);
                self.done()
            }
            (state, answer) => Err(SagaError::defect(format!("{answer:?} while {state:?}"))),
        }
    }

    fn tips(
        &mut self,
        tips: Vec<(Addr, Option<Addr>)>,
        constants: Vec<(Addr, bool)>,
        empty: bool,
    ) -> Result<(), SagaError> {
        let job = self.job();
        job.we_are_empty = empty && job.request.scope == Scope::All;
        for (constant, have) in constants {
            if have {
                job.constants.push(constant);
            } else {
                job.want.push(constant);
            }
        }
        if job.request.scope == Scope::All {
            let living = tips.iter().filter_map(|(t, a)| a.as_ref().map(|a| (t, a)));
            let fingerprint = Fingerprint::of(living);
            let peek = Peek::Equal(fingerprint.whole.clone());
            job.fingerprint = Some(fingerprint);
            job.mine = tips.into_iter().collect();
            self.peek(State::PeekEqual, &peek);
        } else {
            let asked: Vec<Addr> = tips.iter().map(|(t, _)| t.clone()).collect();
            job.mine = tips.into_iter().collect();
            self.peek_all(State::PeekTips, parts(asked, |a| printed(a.as_str()) + 4).into_iter().map(Peek::Tips));
        }
        Ok(())
    }
}

impl Job {
    fn add(&mut self, tjp: Addr, mine: Option<Addr>, theirs: Option<Addr>) {
        self.fresh.push(tjp.clone());
        self.items.insert(tjp, Item { mine, theirs, compared: None });
    }

    /// The receiver answers once for each timeline and constant that was offered, and for nothing else.
    fn check_statuses(&self, lines: &[Line]) -> Result<(), SagaError> {
        let constants = self.constants.iter().filter(|_| self.request.direction != Direction::Pull);
        let mut open: HashSet<&Addr> = self.items.keys().chain(constants).collect();
        for line in lines {
            let Line::Status { tjp, .. } = line else {
                return Err(SagaError::misbehaved(Breach::BadList, "a receiver tells statuses only"));
            };
            if !open.remove(tjp) {
                return Err(SagaError::misbehaved(
                    Breach::Unasked,
                    format!("the receiver answers for {tjp}, which is not open"),
                ));
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

impl Item {
    fn summary(&self, tjp: &Addr) -> TimelineSummary {
        use crate::summary::Action;
        let (after, action) = match self.compared {
            Some(Compared::Push) => (self.mine.clone(), Action::Pushed),
            Some(Compared::Pull) => (self.theirs.clone(), Action::Pulled),
            Some(Compared::Diverged | Compared::Unsure) => (None, Action::Merged),
            Some(Compared::Same) | None => (self.mine.clone(), Action::Same),
        };
        TimelineSummary { tjp: tjp.clone(), before: self.mine.clone(), after, action, why: None }
    }
}

fn batches(addrs: Vec<Addr>) -> VecDeque<Vec<Addr>> {
    let mut out = VecDeque::new();
    let (mut batch, mut size) = (Vec::new(), 0);
    for addr in addrs {
        size += printed(addr.as_str()) + 3;
        batch.push(addr);
        if size > HAS_BYTES {
            out.push_back(std::mem::take(&mut batch));
            size = 0;
        }
    }
    if !batch.is_empty() {
        out.push_back(batch);
    }
    out
}
