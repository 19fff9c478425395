//! The rows: one per scenario, three presses each, every row with a sender and a space of its own. They all sync with
//! the rows' server ([`crate::rows_server`]).

use crate::answer::{ToolError, answer, maybe, number, parse};
use crate::{Shared, sender};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use ibgib::{Map, Value, object};
use ibgib_peer::Remote;
use ibgib_peer::entropy::random_hex;
use ibgib_peer::saga::{Code, Limits};
use ibgib_scenarios::Scenario;
use ibgib_scenarios::faults::Faults;
use ibgib_scenarios::play::{Check, Play, Played, Scene, Side};
use ibgib_spaces::{MemorySpace, Space};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Milliseconds that a row's sender waits for a message: somebody is looking on.
const IDLE_MS_MAX: u64 = 8_000;

/// What a press is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Setup,
    Sync,
    Check,
}

const STEPS: [Step; 3] = [Step::Setup, Step::Sync, Step::Check];

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Sync => "sync",
            Self::Check => "check",
        }
    }
}

/// One scenario on the page.
struct Row {
    /// As in the buttons' ids: `3b`, `4-10b`.
    id: String,
    scenario: Box<dyn Scenario>,
    /// Held while a step runs.
    play: tokio::sync::Mutex<Option<Play>>,
    shown: Mutex<Shown>,
}

/// What the page sees of a row while a step runs.
#[derive(Default)]
struct Shown {
    /// The last result of each step.
    results: [Option<Value>; 3],
    passed: [bool; 3],
    source: Option<Arc<dyn Space>>,
}

/// All rows.
pub(crate) struct Rows {
    rows: Vec<Row>,
    faults: Mutex<Faults>,
    debug_state: Mutex<Value>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rows {
    pub(crate) fn new() -> Self {
        let rows = ibgib_scenarios::all().into_iter().map(|scenario| Row {
            id: format!("{}b", scenario.phase().replace('.', "-")),
            scenario,
            play: tokio::sync::Mutex::default(),
            shown: Mutex::default(),
        });
        let faults = Mutex::new(Faults { seed: 1, ..Faults::default() });
        Self { rows: rows.collect(), faults, debug_state: Mutex::new(object([])) }
    }

    fn find(&self, id: &str) -> Result<&Row, ToolError> {
        self.rows.iter().find(|r| r.id == id).ok_or_else(|| ToolError::not_found(&format!("a row {id}")))
    }

    /// The senders' spaces, by name.
    pub(crate) fn spaces(&self) -> Vec<(String, Arc<dyn Space>)> {
        let space = |row: &Row| Some((space_name(&row.id), locked(&row.shown).source.clone()?));
        self.rows.iter().filter_map(space).collect()
    }

    pub(crate) fn faults(&self) -> Value {
        let f = *locked(&self.faults);
        object(FAULTS.map(|(name, of)| (name, Value::integer(of(&f)))))
    }
}

type Fault = (&'static str, fn(&Faults) -> u64);
const FAULTS: [Fault; 6] = [
    ("seed", |f| f.seed),
    ("delay_ms_max", |f| f.delay_ms_max),
    ("cut_one_in", |f| f.cut_one_in),
    ("corrupt_one_in", |f| f.corrupt_one_in),
    ("repeat_one_in", |f| f.repeat_one_in),
    ("drop_one_in", |f| f.drop_one_in),
];
/// Milliseconds of delay that may be asked for.
const DELAY_MS_MAX: u64 = 5_000;

fn space_name(id: &str) -> String {
    format!("row-{id}")
}

/// `GET rows`.
pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let rows = shared.rows.rows.iter().map(|row| {
        let shown = locked(&row.shown);
        let steps: Map =
            STEPS.iter().map(|s| (s.as_str(), shown.results[*s as usize].clone().unwrap_or(Value::Null))).collect();
        object([
            ("id", row.id.as_str().into()),
            ("phase", row.scenario.phase().into()),
            ("scenario", row.scenario.name().into()),
            ("title", row.scenario.title().into()),
            ("steps", Value::Object(steps)),
            ("space", maybe(shown.source.as_ref().map(|_| space_name(&row.id)))),
        ])
    });
    answer(&rows.collect::<Vec<_>>().into())
}

/// `GET state`: the row pressed last, its secret masked.
pub(crate) async fn state(State(shared): State<Arc<Shared>>) -> Response {
    answer(&locked(&shared.rows.debug_state))
}

/// `GET faults`.
pub(crate) async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    answer(&shared.rows.faults())
}

/// `PUT faults`.
pub(crate) async fn set_faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Response, ToolError> {
    let body = parse(&body)?;
    let read = |name: &str| match body.get(name) {
        None => Ok(0),
        Some(value) => {
            value.as_u53().ok_or_else(|| ToolError::new(Code::BadFaults, format!("{name} must be a whole number")))
        }
    };
    let faults = Faults {
        seed: read("seed")?,
        delay_ms_max: read("delay_ms_max")?,
        cut_one_in: read("cut_one_in")?,
        corrupt_one_in: read("corrupt_one_in")?,
        repeat_one_in: read("repeat_one_in")?,
        drop_one_in: read("drop_one_in")?,
    };
    if faults.delay_ms_max > DELAY_MS_MAX {
        return Err(ToolError::new(Code::BadFaults, format!("delay_ms_max may be {DELAY_MS_MAX} at most")));
    }
    *locked(&shared.rows.faults) = faults;
    let shown = shared.rows.faults();
    shared.feed.tell(None, "row", "faults set", shown.clone());
    Ok(answer(&shown))
}

/// `POST rows/{id}/{step}`.
pub(crate) async fn press(
    State(shared): State<Arc<Shared>>,
    Path((id, step)): Path<(String, String)>,
) -> Result<Response, ToolError> {
    let step = STEPS.into_iter().find(|s| s.as_str() == step);
    let step = step.ok_or_else(|| ToolError::not_found("such a step"))?;
    shared.rows.find(&id)?;
    to_its_end(async move { run(&shared, &id, &[step], step.as_str()).await }).await
}

/// `POST fullsync`: all three steps of row 3B.
pub(crate) async fn fullsync(State(shared): State<Arc<Shared>>) -> Result<Response, ToolError> {
    to_its_end(async move { run(&shared, "3b", &STEPS, "fullsync").await }).await
}

/// A page that is closed meanwhile must not leave a step half done.
async fn to_its_end(
    pressed: impl Future<Output = Result<Value, ToolError>> + Send + 'static,
) -> Result<Response, ToolError> {
    let ended = tokio::spawn(pressed).await.map_err(|e| ToolError::new(Code::Internal, e.to_string()))?;
    Ok(answer(&ended?))
}

/// What a row's sender reaches the rows' server with.
async fn remote(shared: &Shared) -> Result<Arc<dyn Remote>, ToolError> {
    let url = shared.rows_server.url().await?;
    let faults = *locked(&shared.rows.faults);
    Ok(sender::remote(shared.rows_server.host(), &url, faults)?)
}

/// Runs steps of one row, stopping at the first that fails.
async fn run(shared: &Shared, id: &str, steps: &[Step], name: &str) -> Result<Value, ToolError> {
    let row = shared.rows.find(id)?;
    let mut held = row
        .play
        .try_lock()
        .map_err(|_| ToolError::new(Code::UnderWay, format!("a step of row {} is under way", label(id))))?;
    let started = Instant::now();
    let (mut checks, mut error, mut done) = (Vec::new(), None, true);
    for step in steps {
        let at = *step as usize;
        if at > 0 && !locked(&row.shown).passed[at - 1] {
            let message = format!("press {} first: it has not passed", STEPS[at - 1].as_str());
            return Err(ToolError::new(Code::NotReady, message));
        }
        // A sync edits and counts: a second one needs documents of its own.
        let anew = *step == Step::Setup || (*step == Step::Sync && locked(&row.shown).results[at].is_some());
        if anew {
            let source: Arc<dyn Space> = Arc::new(MemorySpace::new(space_name(id)));
            let scene = Scene {
                source: Arc::clone(&source),
                dest: Arc::clone(shared.rows_server.host().space()),
                remote: remote(shared).await?,
                with_identity: true,
                seed: random_hex(),
                limits: Limits { idle_ms_max: IDLE_MS_MAX, ..shared.rows_server.host().limits().clone() },
            };
            *held = Some(Play::new(scene));
            *locked(&row.shown) = Shown { source: Some(source), ..Shown::default() };
        }
        let Some(play) = held.as_mut() else {
            return Err(ToolError::new(Code::NotReady, "press setup first"));
        };
        play.scene.remote = remote(shared).await?;
        let before = play.checks.len();
        let mut played = Ok(());
        if anew {
            played = set_up(row, play).await;
            locked(&row.shown).passed[0] = played.is_ok();
        }
        if played.is_ok() {
            played = match step {
                Step::Setup => Ok(()),
                Step::Sync => row.scenario.sync(play).await,
                Step::Check => row.scenario.check(play).await,
            };
        }
        let passed = played.is_ok() && play.checks[before..].iter().all(|c| c.passed);
        checks.extend(play.checks[before..].iter().map(check));
        error = played.err().map(|e| e.to_string());
        let mut shown = locked(&row.shown);
        shown.passed[at] = passed;
        shown.passed[at + 1..].fill(false);
        drop(shown);
        done = passed;
        if !passed {
            break;
        }
    }
    let duration_ms = started.elapsed().as_millis();
    let debug_state = debug_state(id, held.as_ref()).await;
    *locked(&shared.rows.debug_state) = debug_state.clone();
    let path = if name == "fullsync" { name.to_owned() } else { format!("rows/{id}/{name}") };
    let url = shared.url.get().map_or("", String::as_str);
    let command = format!("curl -sS -X POST -H 'Authorization: Bearer {}' {url}/dev-tools/api/{path}", shared.token);
    let result = object([
        ("row", id.into()),
        ("step", name.into()),
        ("passed", done.into()),
        ("duration_ms", number(duration_ms)),
        ("checks", checks.into()),
        ("error", error.map_or(Value::Null, |e| object([("code", "failed".into()), ("message", e.into())]))),
        ("command", command.into()),
        ("summary", held.as_ref().map_or(Value::Null, summary)),
        ("graphs", graphs(held.as_ref()).await),
        ("debug_state", debug_state),
    ]);
    if let [step] = steps {
        locked(&row.shown).results[*step as usize] = Some(result.clone());
    } else {
        // What the row's own buttons show after a full sync.
        let mut shown = locked(&row.shown);
        for step in steps {
            let mut part = result.clone();
            if let Some(part) = part.as_object_mut() {
                part.insert("step", step.as_str());
                part.insert("passed", shown.passed[*step as usize]);
            }
            shown.results[*step as usize] = Some(part);
        }
    }
    let verdict = if done { "passed" } else { "FAILED" };
    let detail = object([("row", id.into()), ("step", name.into()), ("passed", done.into())]);
    shared.feed.tell(None, "row", &format!("{} {name} {verdict} in {duration_ms} ms", label(id)), detail);
    if done && name == "check" {
        let text = format!("🎉 ALL PHASE {} CHECKS PASSED FLAWLESSLY! ✓", label(id));
        shared.feed.tell(None, "row", &text, object([]));
    }
    Ok(result)
}

/// `4-10b` → `4.10B`.
fn label(id: &str) -> String {
    id.replace('-', ".").to_uppercase()
}

/// Identity and documents; the identity is registered with the server, whatever its policy.
async fn set_up(row: &Row, play: &mut Play) -> Played<()> {
    row.scenario.setup(play).await?;
    let Some(identity) = play.identity.as_ref().map(|i| i.tjp.clone()) else { return Ok(()) };
    let genesis = play.scene.source.node(&identity).await?;
    let genesis = genesis.ok_or("the new identity is not in its space")?;
    play.scene.remote.post_genesis_keystone(&genesis).await?;
    let tip = play.scene.dest.tip(&identity).await?;
    play.check("the server has the identity's genesis", tip.is_some(), identity.to_string());
    for (name, doc) in play.docs.clone() {
        let here = play.scene.source.has(std::slice::from_ref(&doc)).await? == [true];
        let side = if here { "the sender" } else { "the server" };
        play.check(format!("{name} is made on {side}"), true, doc.to_string());
    }
    Ok(())
}

fn check(check: &Check) -> Value {
    object([
        ("sentence", check.sentence.as_str().into()),
        ("passed", check.passed.into()),
        ("evidence", check.evidence.as_str().into()),
    ])
}

fn summary(play: &Play) -> Value {
    let Some(run) = play.runs.last() else { return Value::Null };
    let s = run.summary();
    object([
        ("saga", maybe(s.saga.as_deref())),
        ("turns", number(s.turns)),
        ("nodes_sent", number(s.nodes_sent)),
        ("nodes_received", number(s.nodes_received)),
        ("bytes_sent", number(s.bytes_sent)),
        ("bytes_received", number(s.bytes_received)),
        ("merges", number(s.merges)),
        ("conflicts", number(s.conflicts)),
    ])
}

/// What the page reads from both sides and hashes itself: each document's newest frame, and the session.
async fn graphs(play: Option<&Play>) -> Value {
    let mut out = Vec::new();
    let Some(play) = play else { return out.into() };
    for name in play.docs.keys().copied() {
        if let Ok(tip) = play.tip(Side::Source, name).await {
            out.push(object([("name", name.into()), ("addr", tip.addr().into())]));
        }
    }
    if let Some(session) = session(play) {
        out.push(object([("name", "S".into()), ("addr", session.into())]));
    }
    out.into()
}

fn session(play: &Play) -> Option<String> {
    let of_runs = play.runs.iter().rev().find_map(|r| r.synced.session.as_ref()).map(ToString::to_string);
    of_runs.or_else(|| play.session().ok().map(|s| s.chain().tip().addr().to_string()))
}

/// The seed's `debugState`. The secret itself never leaves the server.
async fn debug_state(id: &str, play: Option<&Play>) -> Value {
    let identity = play.and_then(|p| p.identity.as_ref());
    let mut evolved = None;
    if let (Some(play), Some(identity)) = (play, identity) {
        evolved = play.scene.source.tip(&identity.tjp).await.ok().flatten().map(|t| t.addr.to_string());
    }
    let mut state = Map::new();
    state.insert("row", id);
    state.insert("domainI", maybe(identity.map(|i| i.tjp.to_string())));
    state.insert("domainI1", maybe(evolved));
    state.insert("domainIMasterSecret", maybe(identity.map(|_| "••••••••")));
    state.insert("targetX", maybe(play.and_then(|p| p.docs.values().next()).map(ToString::to_string)));
    state.insert("sagaId", maybe(play.and_then(|p| p.runs.last()?.summary().saga.clone())));
    state.insert("sessionS", maybe(play.and_then(session)));
    Value::Object(state)
}
