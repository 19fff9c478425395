//! A turn of a saga: context, saga frame and message, each an ibgib; the frames are a timeline.
//!
//! ```text
//! context  ib `saga_context`  data {sagaId, turn, attempt?}            rel8ns {frame: [frame], msg: [message]}
//! frame    ib `saga`          data {sagaId, stage, n, isTjp?, sessionIdentityTjpAddr?}
//!                             rel8ns {msg: [message], context?: [context before], past?, tjp?}
//! message  ib `saga_msg`      data {sagaId, stage, n, …}
//! ```
//! The signed session frame travels beside the context: its claim's target is the context's address, which so binds
//! frame and message. What a message says besides is the turn's [`Stage`], and count and digest of its list and its
//! nodes, which travel as a stream ([`super::stream`]).

use super::members::{DecodeError, Members, Problem};
use super::stream::Measure;
use ibgib::{Addr, IbGib, Map, Value, Verified};

/// ib of a saga frame; also what makes its timeline a transcript.
pub const IB_FRAME: &str = "saga";
/// ib of a message.
pub const IB_MESSAGE: &str = "saga_msg";
/// ib of a context.
pub const IB_CONTEXT: &str = "saga_context";

/// Times that a turn is made anew because the session's pool cannot bind its context's address.
pub(crate) const ATTEMPTS_MAX: u32 = 8;

/// What a turn is for, and what it says about that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The sender's first turn.
    Init(Asked),
    /// A later turn of the sender.
    Delta(Asked),
    /// The receiver answers, nothing is committed yet.
    Ack(Told),
    /// The receiver answers and has committed.
    Commit(Told),
}

/// What the sender asks for in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Commit if that can be done.
    pub commit: bool,
    /// The sender adopts the receiver's tips, so send what it lacks.
    pub adopt: bool,
}

/// What the receiver tells in its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Merge frames that its commit made.
    pub merges: u64,
    /// Conflicts that they record and that were not recorded before.
    pub conflicts: u64,
}

impl Stage {
    /// The text in frames and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init(_) => "init",
            Self::Delta(_) => "delta",
            Self::Ack(_) => "ack",
            Self::Commit(_) => "commit",
        }
    }

    /// Whether the sender speaks in this stage.
    pub fn is_senders(self) -> bool {
        matches!(self, Self::Init(_) | Self::Delta(_))
    }

    fn members(self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Init(asked) | Self::Delta(asked) => {
                vec![("commit", asked.commit.into()), ("adopt", asked.adopt.into())]
            }
            Self::Ack(told) | Self::Commit(told) => vec![
                ("committed", matches!(self, Self::Commit(_)).into()),
                ("merges", number(told.merges)),
                ("conflicts", number(told.conflicts)),
            ],
        }
    }

    fn read(message: Members<'_>) -> Result<Self, DecodeError> {
        let asked = || Ok(Asked { commit: message.flag("commit")?, adopt: message.flag("adopt")? });
        let told = |committed: bool| {
            if message.flag("committed")? != committed {
                return Err(message.error("committed", Problem::Invalid("it contradicts the stage".into())));
            }
            Ok(Told { merges: message.count("merges")?, conflicts: message.count("conflicts")? })
        };
        match message.text("stage")? {
            "init" => asked().map(Self::Init),
            "delta" => asked().map(Self::Delta),
            "ack" => told(false).map(Self::Ack),
            "commit" => told(true).map(Self::Commit),
            other => Err(message.error("stage", Problem::Invalid(format!("unknown stage {other:?}")))),
        }
    }
}

/// A whole turn, every part checked on its own and against the others.
#[derive(Clone, Debug)]
pub struct Turn {
    context: Verified<IbGib>,
    frame: Verified<IbGib>,
    message: Verified<IbGib>,
    stage: Stage,
    list: Measure,
    payload: Measure,
}

/// What a new turn continues.
#[derive(Clone, Copy, Debug)]
pub struct TurnLink<'a> {
    /// The saga's id.
    pub saga_id: &'a str,
    /// The session identity's timeline, when there is one.
    pub session: Option<&'a Addr>,
    /// The turn before, of whichever side.
    pub before: Option<&'a Turn>,
}

impl Turn {
    /// Builds a turn that announces this list and payload. `attempt` makes another context address for the same turn.
    pub fn build(link: TurnLink<'_>, stage: Stage, list: Measure, payload: Measure, attempt: u32) -> Self {
        let n = link.before.map_or(0, |t| t.n() + 1);
        let start: Map =
            [("sagaId", link.saga_id.into()), ("stage", stage.as_str().into()), ("n", number(n))].into_iter().collect();
        let mut data = start.clone();
        for (name, value) in stage.members() {
            data.insert(name, value);
        }
        data.insert("list", list.to_value());
        data.insert("payload", payload.to_value());
        let message = seal(IB_MESSAGE, data, Map::new());

        let mut data = start;
        let mut rel8ns: Map = [("msg", addrs([message.addr()]))].into_iter().collect();
        match link.before {
            None => {
                data.insert("isTjp", true);
            }
            Some(before) => {
                rel8ns.insert("context", addrs([before.context.addr()]));
                rel8ns.insert("past", addrs([before.frame.addr()]));
                rel8ns.insert("tjp", addrs([&before.tjp()]));
            }
        }
        if let Some(session) = link.session {
            data.insert("sessionIdentityTjpAddr", session);
        }
        let frame = seal(IB_FRAME, data, rel8ns);

        let context = context(link.saga_id, n, frame.addr(), message.addr(), attempt);
        Self { context, frame, message, stage, list, payload }
    }

    /// A turn of these parts, checked as [`validate_context_and_saga_frame`] and read.
    ///
    /// # Errors
    /// Everything that is wrong, one text each.
    pub fn of(context: Verified<IbGib>, frame: Verified<IbGib>, message: Verified<IbGib>) -> Result<Self, Vec<String>> {
        let errors = validate_context_and_saga_frame(&context, &frame, &message);
        if !errors.is_empty() {
            return Err(errors);
        }
        let data = message.data.as_ref().and_then(Value::as_object).ok_or_else(|| vec!["no data".to_owned()])?;
        let data = Members { of: IB_MESSAGE, map: data };
        let read = || Ok((Stage::read(data)?, Measure::read(data, "list")?, Measure::read(data, "payload")?));
        let (stage, list, payload) = read().map_err(|e: DecodeError| vec![e.to_string()])?;
        Ok(Self { context, frame, message, stage, list, payload })
    }

    /// Reads a turn from a wire message's members.
    pub(crate) fn read(body: Members<'_>) -> Result<Self, Vec<String>> {
        match (body.node("context"), body.node("sagaFrame"), body.node("sagaFrameMsg")) {
            (Ok(context), Ok(frame), Ok(message)) => Self::of(context, frame, message),
            (c, f, m) => Err([c, f, m].into_iter().filter_map(Result::err).map(|e| e.to_string()).collect()),
        }
    }

    /// Names frame and message; its address is what the session identity signs.
    pub fn context(&self) -> &Verified<IbGib> {
        &self.context
    }

    /// The transcript's frame.
    pub fn frame(&self) -> &Verified<IbGib> {
        &self.frame
    }

    /// What the turn says, as a node.
    pub fn message(&self) -> &Verified<IbGib> {
        &self.message
    }

    /// What the turn is for.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What it announces of its list.
    pub fn list(&self) -> &Measure {
        &self.list
    }

    /// What it announces of its nodes.
    pub fn payload(&self) -> &Measure {
        &self.payload
    }

    /// The session identity's timeline, as the frame names it.
    pub fn session(&self) -> Option<&str> {
        self.frame.datum("sessionIdentityTjpAddr").and_then(Value::as_str)
    }

    /// The turn's number in the transcript, from 0.
    pub fn n(&self) -> u64 {
        self.frame.n().unwrap_or(0)
    }

    /// The saga's id.
    pub fn saga_id(&self) -> &str {
        self.frame.datum("sagaId").and_then(Value::as_str).unwrap_or("")
    }

    /// The transcript's timeline.
    pub fn tjp(&self) -> Addr {
        self.frame.tjp().unwrap_or_else(|| self.frame.addr().clone())
    }

    /// The parts in storing order: dependencies first.
    pub fn nodes(&self) -> [Verified<IbGib>; 3] {
        [self.message.clone(), self.frame.clone(), self.context.clone()]
    }

    /// The three parts as members of a wire message.
    pub fn members(&self) -> [(&'static str, Value); 3] {
        [
            ("context", self.context.to_value()),
            ("sagaFrame", self.frame.to_value()),
            ("sagaFrameMsg", self.message.to_value()),
        ]
    }
}

fn context(saga_id: &str, n: u64, frame: &Addr, message: &Addr, attempt: u32) -> Verified<IbGib> {
    let mut data: Map = [("sagaId", saga_id.into()), ("turn", number(n))].into_iter().collect();
    if attempt > 0 {
        data.insert("attempt", attempt);
    }
    let rel8ns: Map = [("frame", addrs([frame])), ("msg", addrs([message]))].into_iter().collect();
    seal(IB_CONTEXT, data, rel8ns)
}

/// Where the context of a saga frame may stand: one of these addresses, by the attempt that succeeded. Nothing relates to
/// the last context of a transcript. `None` for what is no saga frame.
pub fn contexts_of(frame: &Verified<IbGib>) -> Option<Vec<Addr>> {
    let saga_id = frame.datum("sagaId").and_then(Value::as_str).filter(|_| frame.ib == IB_FRAME)?;
    let (n, message) = (frame.n()?, frame.rel8n_addrs("msg").pop()?);
    let at = |attempt| context(saga_id, n, frame.addr(), &message, attempt).addr().clone();
    Some((0..=ATTEMPTS_MAX).map(at).collect())
}

/// Checks that context, saga frame and message are what they should be and name each other. Answers what is
/// wrong, one text each; empty when all is right. (Hashes are proven by the argument types.)
pub fn validate_context_and_saga_frame(
    context: &Verified<IbGib>,
    frame: &Verified<IbGib>,
    message: &Verified<IbGib>,
) -> Vec<String> {
    let mut errors = Vec::new();
    let mut check = |ok: bool, what: String| {
        if !ok {
            errors.push(what);
        }
    };
    for (node, ib) in [(context, IB_CONTEXT), (frame, IB_FRAME), (message, IB_MESSAGE)] {
        check(node.ib == ib, format!("ib must be {ib:?}, not {:?}", node.ib));
    }
    let text = |node: &Verified<IbGib>, key: &str| node.datum(key).and_then(Value::as_str).map(str::to_owned);
    check(context.rel8n_addrs("frame") == [frame.addr().clone()], "the context does not name the saga frame".into());
    check(context.rel8n_addrs("msg") == [message.addr().clone()], "the context does not name the message".into());
    check(frame.rel8n_addrs("msg") == [message.addr().clone()], "the saga frame does not name the message".into());
    let saga_id = text(frame, "sagaId");
    check(saga_id.is_some(), "sagaId is missing".into());
    check(text(context, "sagaId") == saga_id, "sagaId of context and saga frame differ".into());
    check(text(message, "sagaId") == saga_id, "sagaId of message and saga frame differ".into());
    let stage = text(frame, "stage");
    check(stage.is_some(), "stage is missing".into());
    check(text(message, "stage") == stage, "stage of message and saga frame differ".into());
    check(frame.n().is_some(), "n is missing".into());
    check(message.n() == frame.n(), "n of message and saga frame differ".into());
    let turn = context.datum("turn").and_then(Value::as_u53);
    check(turn == frame.n(), "turn of context and n of saga frame differ".into());
    let first = frame.n() == Some(0);
    check(frame.is_tjp() == first, "isTjp must stand on the first saga frame and only there".into());
    check(frame.rel8n("past").count() == usize::from(!first), "a saga frame after the first has one past".into());
    // What says more than that could not be found again beside its transcript.
    let is_plain = errors.is_empty() && contexts_of(frame).is_some_and(|all| all.contains(context.addr()));
    if errors.is_empty() && !is_plain {
        errors.push("the context says more than which turn it is of".into());
    }
    errors
}

/// Checks an answer against the turn it answers: same saga, same transcript, past = our own last frame, the next
/// number, a stage that the receiver may speak in, the same session. Answers what is wrong, one text each.
pub fn validate_return_context(ours: &Turn, theirs: &Turn) -> Vec<String> {
    let mut errors = Vec::new();
    let mut check = |ok: bool, what: &str| {
        if !ok {
            errors.push(what.to_owned());
        }
    };
    check(theirs.saga_id() == ours.saga_id(), "another saga's id");
    check(theirs.tjp() == ours.tjp(), "another transcript");
    check(theirs.frame.past().as_ref() == Some(ours.frame.addr()), "past is not our last saga frame");
    check(
        theirs.frame.rel8n_addrs("context") == [ours.context.addr().clone()],
        "context before is not our last context",
    );
    check(theirs.n() == ours.n() + 1, "n is not the next");
    check(theirs.stage.is_senders() != ours.stage.is_senders(), "a stage out of turn");
    check(!matches!(theirs.stage, Stage::Init(_)), "init after the first turn");
    check(theirs.session() == ours.session(), "another session identity");
    errors
}

fn number(n: u64) -> Value {
    Value::integer(n)
}

fn addrs<'a>(items: impl IntoIterator<Item = &'a Addr>) -> Value {
    Value::Array(items.into_iter().map(Value::from).collect())
}

fn seal(ib: &str, data: Map, rel8ns: Map) -> Verified<IbGib> {
    let rel8ns = (!rel8ns.is_empty()).then_some(Value::Object(rel8ns));
    IbGib { ib: ib.into(), gib: None, data: Some(Value::Object(data)), rel8ns }
        .seal()
        .expect("saga nodes are made of texts, counts and checked addresses, which every strict rule allows")
}
