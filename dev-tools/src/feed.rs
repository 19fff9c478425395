//! What happens at the operator's host and at the rows', kept for the page: the last events, and the last sagas with
//! their messages.

use crate::Shared;
use crate::answer::{answer, maybe, ms, number};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ibgib::{Value, object};
use ibgib_peer::entropy::now_ms;
use ibgib_peer::{Host, HostEvent};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// Events that are kept.
const EVENTS_MAX: usize = 5_000;
/// Connections that are kept.
const SAGAS_MAX: usize = 200;
/// Messages of one connection that are kept.
const MESSAGES_MAX: usize = 400;
/// Events in one piece of the stream.
const PIECE_MAX: usize = 200;

/// The newest events and sagas of both hosts.
pub(crate) struct Feed {
    kept: Mutex<Kept>,
    /// The newest event's number; the sender goes when the feed is closed.
    newest: Mutex<Option<watch::Sender<u64>>>,
    seen: watch::Receiver<u64>,
}

#[derive(Default)]
struct Kept {
    last: u64,
    events: VecDeque<(u64, String)>,
    sagas: VecDeque<Saga>,
    /// Connections counted so far.
    connections: u64,
    /// The page's number of an open connection: each host counts its own from one.
    open: HashMap<(&'static str, u64), u64>,
}

/// One connection.
struct Saga {
    connection: u64,
    /// The space that it leads to, by name.
    space: &'static str,
    identity: Option<String>,
    state: &'static str,
    phases: Vec<(&'static str, i64)>,
    opened_ms: i64,
    ended_ms: Option<i64>,
    messages: Vec<Value>,
    messages_left_out: usize,
    done: Value,
    error: Value,
}

impl Saga {
    fn to_value(&self) -> Value {
        let phases = self.phases.iter().map(|(phase, at)| object([("phase", (*phase).into()), ("at_ms", ms(*at))]));
        object([
            ("connection", Value::integer(self.connection)),
            ("space", self.space.into()),
            ("identity", maybe(self.identity.as_deref())),
            ("state", self.state.into()),
            ("phase", maybe(self.phases.last().map(|p| p.0))),
            ("phases", phases.collect::<Vec<_>>().into()),
            ("opened_ms", ms(self.opened_ms)),
            ("ended_ms", self.ended_ms.map_or(Value::Null, ms)),
            ("messages", self.messages.clone().into()),
            ("messages_left_out", number(self.messages_left_out)),
            ("done", self.done.clone()),
            ("error", self.error.clone()),
        ])
    }
}

impl Feed {
    pub(crate) fn new() -> Arc<Self> {
        let (newest, seen) = watch::channel(0);
        Arc::new(Self { kept: Mutex::default(), newest: Mutex::new(Some(newest)), seen })
    }

    /// Follows the host of the space called `space` until it is gone.
    pub(crate) fn follow(self: &Arc<Self>, space: &'static str, host: &Host) {
        let mut events = host.events();
        let follower = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let event = events.recv().await;
                let Some(feed) = follower.upgrade() else { return };
                match event {
                    Ok(event) => feed.note(space, &event),
                    Err(RecvError::Lagged(missed)) => {
                        feed.tell(None, "missed", &format!("{missed} events came too fast to be shown"), object([]));
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Ends all event streams.
    pub(crate) fn close(&self) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event.
    pub(crate) fn tell(&self, connection: Option<u64>, kind: &str, text: &str, detail: Value) {
        let id = {
            let mut kept = self.kept();
            kept.last += 1;
            let id = kept.last;
            let event = object([
                ("id", Value::integer(id)),
                ("at_ms", ms(now_ms())),
                ("connection", connection.map_or(Value::Null, Value::integer)),
                ("kind", kind.into()),
                ("text", text.into()),
                ("detail", detail),
            ]);
            kept.events.push_back((id, format!("id: {id}\ndata: {}\n\n", event.to_json())));
            if kept.events.len() > EVENTS_MAX {
                kept.events.pop_front();
            }
            id
        };
        if let Some(newest) = &*self.newest.lock().unwrap_or_else(PoisonError::into_inner) {
            newest.send_replace(id);
        }
    }

    fn on_saga(&self, connection: u64, change: impl FnOnce(&mut Saga)) {
        if let Some(saga) = self.kept().sagas.iter_mut().rev().find(|s| s.connection == connection) {
            change(saga);
        }
    }

    fn note(&self, space: &'static str, event: &HostEvent) {
        let now = now_ms();
        // What was opened before it was followed has no number, and stands in no list.
        let number_of = |id: u64| self.kept().open.get(&(space, id)).copied().unwrap_or_default();
        match event {
            HostEvent::Registered(tjp) => {
                self.tell(None, "registered", "identity registered", object([("identity", tjp.into())]));
            }
            HostEvent::Evolved(tjp) => {
                self.tell(None, "evolved", "identity evolved", object([("identity", tjp.into())]));
            }
            HostEvent::Opened(id) => {
                let mut kept = self.kept();
                kept.connections += 1;
                let connection = kept.connections;
                kept.open.insert((space, *id), connection);
                kept.sagas.push_back(Saga {
                    connection,
                    space,
                    identity: None,
                    state: "open",
                    phases: vec![("hello", now)],
                    opened_ms: now,
                    ended_ms: None,
                    messages: Vec::new(),
                    messages_left_out: 0,
                    done: Value::Null,
                    error: Value::Null,
                });
                if kept.sagas.len() > SAGAS_MAX {
                    kept.sagas.pop_front();
                }
                drop(kept);
                self.tell(Some(connection), "opened", "connection opened", object([]));
            }
            HostEvent::Connected(id, identity) => {
                let id = number_of(*id);
                let identity = identity.as_ref().map(ToString::to_string);
                self.on_saga(id, |s| s.identity.clone_from(&identity));
                let detail = object([("identity", maybe(identity.as_deref()))]);
                self.tell(Some(id), "connected", "identity proved", detail);
            }
            HostEvent::Phase(id, phase) => {
                let id = number_of(*id);
                self.on_saga(id, |s| s.phases.push((phase, now)));
                self.tell(Some(id), "phase", &format!("phase {phase}"), object([("phase", (*phase).into())]));
            }
            HostEvent::Message(message) => {
                let id = number_of(message.connection);
                let way = if message.incoming { "in" } else { "out" };
                let detail = object([
                    ("way", way.into()),
                    ("type", message.kind.into()),
                    ("bytes", number(message.bytes)),
                    ("signer", maybe(message.signer.as_deref())),
                ]);
                self.on_saga(id, |s| {
                    if s.messages.len() == MESSAGES_MAX {
                        s.messages_left_out += 1;
                        return;
                    }
                    let mut shown = detail.clone();
                    if let Some(shown) = shown.as_object_mut() {
                        shown.insert("at_ms", ms(now));
                    }
                    s.messages.push(shown);
                });
                let text = format!("{way} {} ({} bytes)", message.kind, message.bytes);
                self.tell(Some(id), "message", &text, detail);
            }
            HostEvent::Done(id, done) => {
                let id = number_of(*id);
                let detail = object([
                    ("saga", done.saga_id.as_str().into()),
                    ("turns", number(done.turns)),
                    ("nodes_received", number(done.nodes_received)),
                    ("nodes_sent", number(done.nodes_sent)),
                ]);
                self.on_saga(id, |s| {
                    s.state = "done";
                    s.done = detail.clone();
                });
                let text = format!("saga committed: {} nodes received, {} sent", done.nodes_received, done.nodes_sent);
                self.tell(Some(id), "done", &text, detail);
            }
            HostEvent::Closed(id, error) => {
                let id = self.kept().open.remove(&(space, *id)).unwrap_or_default();
                let detail = error
                    .as_ref()
                    .map_or(Value::Null, |e| object([("code", e.code().into()), ("message", e.to_string().into())]));
                self.on_saga(id, |s| {
                    s.ended_ms = Some(now);
                    s.error = detail.clone();
                    s.state = match (s.state, error) {
                        ("open", Some(_)) => "failed",
                        ("open", None) => "closed",
                        (state, _) => state,
                    };
                });
                let text = error.as_ref().map_or("connection closed".to_owned(), |e| format!("connection failed: {e}"));
                self.tell(Some(id), "closed", &text, detail);
            }
            HostEvent::Forked(tjp) => {
                let text = "identity signed two frames on one past; both are kept as evidence";
                self.tell(None, "forked", text, object([("identity", tjp.into())]));
            }
            HostEvent::Ended(tjp) => {
                let text = "identity ended by a revocation that waited for two frames on one past";
                self.tell(None, "ended", text, object([("identity", tjp.into())]));
            }
            HostEvent::Refused(tjp, error) => {
                let detail = object([
                    ("identity", tjp.into()),
                    ("code", error.code().into()),
                    ("message", error.to_string().into()),
                ]);
                self.tell(None, "refused", &format!("identity refused: {error}"), detail);
            }
            _ => {}
        }
    }

    /// Events after `after` as stream text, and the number of the last of them.
    fn since(&self, after: u64) -> Option<(String, u64)> {
        let kept = self.kept();
        let events = kept.events.iter().filter(|(id, _)| *id > after).take(PIECE_MAX);
        let (text, last) = events.fold((String::new(), None), |(text, _), (id, event)| (text + event, Some(*id)));
        last.map(|last| (text, last))
    }
}

/// `GET sagas`: newest first.
pub(crate) async fn sagas(State(shared): State<Arc<Shared>>) -> Response {
    let kept = shared.feed.kept();
    answer(&kept.sagas.iter().rev().map(Saga::to_value).collect::<Vec<_>>().into())
}

/// `GET events`: server-sent events, from the oldest kept or after `?after=`.
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let after = query.get("after").and_then(|v| v.parse().ok()).unwrap_or(0);
    let seen = shared.feed.seen.clone();
    // A number from before a restart lies ahead of ours: begin anew.
    let after = if after > *seen.borrow() { 0 } else { after };
    let feed = Arc::clone(&shared.feed);
    let hello = stream::once(async { Ok::<_, std::io::Error>(": events follow\n\n".to_owned()) });
    let rest = stream::unfold((feed, seen, after), |(feed, mut seen, after)| async move {
        loop {
            seen.borrow_and_update();
            if let Some((text, last)) = feed.since(after) {
                return Some((Ok(text), (feed, seen, last)));
            }
            if seen.changed().await.is_err() {
                return None;
            }
        }
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(hello, rest));
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
