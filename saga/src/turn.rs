//! A turn of a saga: context, saga frame and message, each an ibgib; the frames are a timeline.
//!
//! ```text
//! context  ib `saga_context`  data {sagaId, turn, attempt?}            rel8ns {frame: [frame], msg: [message]}
//! frame    ib `saga`          data {sagaId, stage, n, isTjp?, sessionIdentityTjpAddr?}
//!                             rel8ns {msg: [message], context?: [context before], past?, tjp?}
//! message  ib `saga_msg`      data {sagaId, stage, n, …}
//! ```
//! The signed session frame travels beside the context: its claim's target is the context's address, which so binds
//! frame and message. Messages hold counts and digests; the lists and nodes themselves travel as a stream.

use ibgib::{Addr, IbGib, Map, Mode, Value, Verified, object};

/// ib of a saga frame; also what makes its timeline a transcript.
pub const IB_FRAME: &str = "saga";
/// ib of a message.
pub const IB_MESSAGE: &str = "saga_msg";
/// ib of a context.
pub const IB_CONTEXT: &str = "saga_context";

/// What a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The sender's first turn.
    Init,
    /// A later turn of the sender.
    Delta,
    /// The receiver answers, nothing is committed yet.
    Ack,
    /// The receiver answers and has committed.
    Commit,
}

impl Stage {
    /// The text in frames and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Delta => "delta",
            Self::Ack => "ack",
            Self::Commit => "commit",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Init, Self::Delta, Self::Ack, Self::Commit].into_iter().find(|s| s.as_str() == text)
    }

    /// Whether the sender speaks in this stage.
    pub fn is_senders(self) -> bool {
        matches!(self, Self::Init | Self::Delta)
    }
}

/// A whole turn, every part checked on its own and against the others.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Names frame and message; its address is what the session identity signs.
    pub context: Verified<IbGib>,
    /// The transcript's frame.
    pub frame: Verified<IbGib>,
    /// What the turn says.
    pub message: Verified<IbGib>,
    /// What the turn is for.
    pub stage: Stage,
}

/// What a new turn continues.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// The saga's id.
    pub saga_id: &'a str,
    /// The session identity's timeline, when there is one.
    pub session: Option<&'a Addr>,
    /// The turn before, of whichever side.
    pub before: Option<&'a Turn>,
}

impl Turn {
    /// Builds a turn. `attempt` makes another context address for the same turn.
    pub fn build(link: Link<'_>, stage: Stage, members: Map, attempt: u32) -> Self {
        let n = link.before.map_or(0, |t| t.n() + 1);
        let mut data: Map =
            [("sagaId", link.saga_id.into()), ("stage", stage.as_str().into()), ("n", number(n))].into_iter().collect();
        for (k, v) in members {
            data.insert(k, v);
        }
        let message = seal(IB_MESSAGE, data, Map::new());

        let mut data: Map = [("sagaId", link.saga_id.into()), ("stage", stage.as_str().into()), ("n", number(n))]
            .into_iter()
            .collect::<Map>();
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

        let mut data: Map = [("sagaId", link.saga_id.into()), ("turn", number(n))].into_iter().collect();
        if attempt > 0 {
            data.insert("attempt", attempt);
        }
        let rel8ns: Map = [("frame", addrs([frame.addr()])), ("msg", addrs([message.addr()]))].into_iter().collect();
        let context = seal(IB_CONTEXT, data, rel8ns);
        Self { context, frame, message, stage }
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

    /// Reads a turn from a wire message's members and checks it, as [`validate_context_and_saga_frame`].
    ///
    /// # Errors
    /// Everything that is wrong, one text each.
    pub fn read(body: &Map) -> Result<Self, Vec<String>> {
        let part = |name: &str| -> Result<Verified<IbGib>, String> {
            let value = body.get(name).ok_or_else(|| format!("{name} is missing"))?;
            IbGib::from_value(value.clone(), Mode::Strict).and_then(IbGib::verify).map_err(|e| format!("{name}: {e}"))
        };
        let (context, frame, message) = (part("context"), part("sagaFrame"), part("sagaFrameMsg"));
        let (context, frame, message) = match (context, frame, message) {
            (Ok(c), Ok(f), Ok(m)) => (c, f, m),
            (c, f, m) => return Err([c, f, m].into_iter().filter_map(Result::err).collect()),
        };
        let errors = validate_context_and_saga_frame(&context, &frame, &message);
        let stage = frame.datum("stage").and_then(Value::as_str).and_then(Stage::parse);
        match stage {
            Some(stage) if errors.is_empty() => Ok(Self { context, frame, message, stage }),
            _ => Err(errors),
        }
    }
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
    check(stage.as_deref().and_then(Stage::parse).is_some(), format!("unknown stage {stage:?}"));
    check(text(message, "stage") == stage, "stage of message and saga frame differ".into());
    check(frame.n().is_some(), "n is missing".into());
    check(message.n() == frame.n(), "n of message and saga frame differ".into());
    let turn = context.datum("turn").and_then(Value::as_u53);
    check(turn == frame.n(), "turn of context and n of saga frame differ".into());
    let first = frame.n() == Some(0);
    check(frame.is_tjp() == first, "isTjp must stand on the first saga frame and only there".into());
    check(frame.rel8n("past").count() == usize::from(!first), "a saga frame after the first has one past".into());
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
    let session = |t: &Turn| t.frame.datum("sessionIdentityTjpAddr").and_then(Value::as_str).map(str::to_owned);
    check(session(theirs) == session(ours), "another session identity");
    errors
}

fn number(n: u64) -> Value {
    Value::Number(n as f64)
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

/// `{count, digest}` of a list or payload.
pub(crate) fn measure(count: u64, digest: &str) -> Value {
    object([("count", number(count)), ("digest", digest.into())])
}
