//! The HTTP relay of 2015, the first form of the mailbox server: `/wormhole-relay/`.
//!
//! | call | answer |
//! |---|---|
//! | `GET list` | `{"welcome", "channel-ids"}` |
//! | `POST allocate/SIDE` | `{"welcome", "channel-id"}` |
//! | `POST N/SIDE/post/MSGNUM` with `{"message": hex}` | `{"welcome", "messages"}`: those of the other side |
//! | `POST N/SIDE/poll/MSGNUM` | the same, and nothing is put there |
//! | `GET N/SIDE/poll/MSGNUM` with `Accept: text/event-stream` | the same as events, as they come |
//! | `POST N/SIDE/deallocate` | `waiting`, or `deleted` when no side is left |
//!
//! It knows no application ids. A channel is for two sides, as a mailbox is.

use super::shared::{Shared, now};
use crate::code::Nameplate;
use crate::mailbox::free_number;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use ibgib_peer::entropy::OsEntropy;
use ibgib_server::rows::{Edits, Row, RowError, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

const CHANNELS: Table = Table::passing("channel");

/// A version that the clients of that time know.
const CURRENT_VERSION: &str = "0.3.0";
/// Bytes of a message, in hex digits: this form carries one small one each way.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Messages in a channel: a key agreement and one message each way, each perhaps sent again.
const MESSAGES_MAX: usize = 64;
/// Bytes of the name of a side or a message.
const NAME_BYTES_MAX: usize = 64;
/// How often a stream says something although there is no news, so that nobody on the way ends it.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Channel {
    /// Those that came and have not left.
    sides: BTreeSet<String>,
    messages: Vec<Posted>,
    updated: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Posted {
    side: String,
    #[serde(rename = "msgnum")]
    number: String,
    body: String,
}

/// The relay.
#[derive(Clone, Debug)]
pub(super) struct FirstForm {
    shared: Arc<Shared>,
    allocating: Arc<Mutex<()>>,
}

/// Why a call is refused.
enum Refused {
    Bad(&'static str),
    Crowded,
    Full,
    Rows(RowError),
}

impl From<RowError> for Refused {
    fn from(error: RowError) -> Self {
        Self::Rows(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Bad(why) => (StatusCode::BAD_REQUEST, why).into_response(),
            Self::Crowded => (StatusCode::FORBIDDEN, "two sides are there already").into_response(),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "there is no room").into_response(),
            Self::Rows(error) => {
                tracing::error!(%error, "a channel cannot be read or written");
                (StatusCode::INTERNAL_SERVER_ERROR, "the server's store fails").into_response()
            }
        }
    }
}

fn welcome(shared: &Shared) -> Value {
    let mut welcome = json!({"current_version": CURRENT_VERSION});
    if let Some(motd) = &shared.options.motd {
        welcome["motd"] = motd.as_str().into();
    }
    welcome
}

fn number(text: &str) -> Result<Nameplate, Refused> {
    Nameplate::parse(text).map_err(|_| Refused::Bad("the channel is no number"))
}

fn name(text: &str) -> Result<&str, Refused> {
    if text.len() <= NAME_BYTES_MAX { Ok(text) } else { Err(Refused::Bad("a name is too long")) }
}

fn topic(channel: &str) -> String {
    format!("channel/{channel}")
}

impl FirstForm {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, allocating: Arc::default() }
    }

    async fn row(&self, number: &str) -> Result<Row<Channel>, RowError> {
        self.shared.store.rows().one(CHANNELS, number).await
    }

    async fn numbers(&self) -> Result<BTreeSet<String>, RowError> {
        let all = self.shared.store.rows().all::<Channel>(CHANNELS, "").await?;
        Ok(all.into_iter().map(|row| row.key).collect())
    }

    /// Changes a channel, beginning again when somebody else was faster. Nothing is written when it stays as it is.
    async fn change(
        &self,
        number: &str,
        mut how: impl FnMut(&mut Channel) -> Result<(), Refused>,
    ) -> Result<Channel, Refused> {
        loop {
            let row = self.row(number).await?;
            let before = row.value.clone().unwrap_or_default();
            let mut after = before.clone();
            how(&mut after)?;
            if after == before {
                return Ok(after);
            }
            let mut edits = Edits::default();
            if after.sides.is_empty() {
                edits.drop(&row);
            } else {
                after.updated = now();
                edits.set(&row, &after)?;
            }
            if self.shared.store.rows().write(edits).await? {
                self.shared.hub.tell(&topic(number), after.messages.len());
                return Ok(after);
            }
        }
    }

    async fn allocate(&self, side: &str) -> Result<Value, Refused> {
        let _one = self.allocating.lock().await;
        loop {
            let used = self.numbers().await?;
            let number = free_number(&used, &self.shared.options.limits, &mut OsEntropy).map_err(|_| Refused::Full)?;
            let row = self.row(&number).await?;
            let channel = Channel { sides: [side.to_owned()].into(), updated: now(), ..Channel::default() };
            let mut edits = Edits::default();
            edits.set(&row, &channel)?;
            if row.value.is_none() && self.shared.store.rows().write(edits).await? {
                let id: u32 = number.parse().map_err(|_| Refused::Full)?;
                return Ok(json!({"welcome": welcome(&self.shared), "channel-id": id}));
            }
        }
    }

    async fn post(&self, number: &str, posted: Posted) -> Result<(), Refused> {
        if posted.body.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::Bad("the message is too long"));
        }
        if !posted.body.len().is_multiple_of(2) || !posted.body.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Refused::Bad("the message is no hex"));
        }
        self.change(number, |channel| {
            let is_there = channel.sides.contains(&posted.side);
            if !is_there && channel.sides.len() >= 2 {
                return Err(Refused::Crowded);
            }
            if channel.messages.len() >= MESSAGES_MAX {
                return Err(Refused::Full);
            }
            channel.sides.insert(posted.side.clone());
            // A client that lost the answer says the same again.
            if !channel.messages.contains(&posted) {
                channel.messages.push(posted.clone());
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// What the other side said under this name, from the message with this place on; and where to go on.
    async fn others(
        &self,
        channel: &str,
        side: &str,
        name: &str,
        from: usize,
    ) -> Result<(Vec<Posted>, usize), Refused> {
        let channel = self.row(channel).await?.value.unwrap_or_default();
        let to = channel.messages.len();
        let others = channel.messages.into_iter().skip(from).filter(|m| m.side != side && m.number == name);
        Ok((others.collect(), to))
    }

    async fn polled(&self, channel: &str, side: &str, name: &str) -> Result<Value, Refused> {
        let (all, _) = self.others(channel, side, name, 0).await?;
        let all: Vec<String> = all.into_iter().map(|posted| posted.body).collect();
        Ok(json!({"welcome": welcome(&self.shared), "messages": all}))
    }

    async fn deallocate(&self, number: &str, side: &str) -> Result<&'static str, Refused> {
        let after = self.change(number, |channel| {
            channel.sides.remove(side);
            Ok(())
        });
        Ok(if after.await?.sides.is_empty() { "deleted" } else { "waiting" })
    }

    /// Takes channels away at which nothing happened for as long as a saved state is kept: this form saves.
    pub(super) async fn prune(&self, now: f64) -> Result<(), RowError> {
        for row in self.shared.store.rows().all::<Channel>(CHANNELS, "").await? {
            let Some(channel) = &row.value else { continue };
            if now - channel.updated > self.shared.options.limits.held_s {
                let mut edits = Edits::default();
                edits.drop(&row);
                // Whoever was faster keeps it.
                self.shared.store.rows().write(edits).await?;
            }
        }
        Ok(())
    }
}

pub(super) fn routes(relay: FirstForm) -> Router {
    Router::new()
        .route("/wormhole-relay/list", get(list))
        .route("/wormhole-relay/allocate/{side}", post(allocate))
        .route("/wormhole-relay/{channel}/{side}/post/{name}", post(put))
        .route("/wormhole-relay/{channel}/{side}/poll/{name}", post(poll).get(events))
        .route("/wormhole-relay/{channel}/{side}/deallocate", post(deallocate))
        .route("/wormhole-relay/{channel}/{side}/{verb}/{name}", post(no_verb).get(no_verb))
        .layer(DefaultBodyLimit::max(MESSAGE_BYTES_MAX + 1024))
        .with_state(relay)
}

async fn no_verb() -> Refused {
    Refused::Bad("bad verb")
}

async fn list(State(relay): State<FirstForm>) -> Result<Json<Value>, Refused> {
    let mut ids = Vec::new();
    if relay.shared.options.limits.allow_list {
        ids.extend(relay.numbers().await?.iter().filter_map(|number| number.parse::<u64>().ok()));
        ids.sort_unstable();
    }
    Ok(Json(json!({"welcome": welcome(&relay.shared), "channel-ids": ids})))
}

async fn allocate(State(relay): State<FirstForm>, Path(side): Path<String>) -> Result<Json<Value>, Refused> {
    Ok(Json(relay.allocate(name(&side)?).await?))
}

type Named = Path<(String, String, String)>;

async fn put(
    State(relay): State<FirstForm>,
    Path((channel, side, message)): Named,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let number = number(&channel)?;
    let body: Value = serde_json::from_slice(&body).map_err(|_| Refused::Bad("the body is no JSON"))?;
    let body = body.get("message").and_then(Value::as_str).ok_or(Refused::Bad("the body has no message"))?;
    let posted = Posted { side: name(&side)?.into(), number: name(&message)?.into(), body: body.into() };
    relay.post(number.as_str(), posted).await?;
    Ok(Json(relay.polled(number.as_str(), &side, &message).await?))
}

async fn poll(State(relay): State<FirstForm>, Path((channel, side, message)): Named) -> Result<Json<Value>, Refused> {
    Ok(Json(relay.polled(number(&channel)?.as_str(), &side, &message).await?))
}

async fn deallocate(
    State(relay): State<FirstForm>,
    Path((channel, side)): Path<(String, String)>,
) -> Result<&'static str, Refused> {
    relay.deallocate(number(&channel)?.as_str(), &side).await
}

async fn events(
    State(relay): State<FirstForm>,
    Path((channel, side, message)): Named,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let channel = number(&channel)?;
    let wanted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !wanted.contains("text/event-stream") {
        return Err(Refused::Bad("this is a stream of events; ask for text/event-stream"));
    }
    // A stream holds a place as a WebSocket does. The listening begins before the first look.
    let listener = relay.shared.hub.listen(topic(channel.as_str()));
    // After the name of an event stands an empty line: the clients of 2015 read it so, and no other way.
    let first = format!("event: welcome\n\ndata: {}\n\n", welcome(&relay.shared));
    let state = (relay, listener, VecDeque::from([first]), 0_usize);
    let stream = stream::unfold(state, move |(relay, mut listener, mut ready, mut from)| {
        let (channel, side, message) = (channel.clone(), side.clone(), message.clone());
        async move {
            let stop = relay.shared.stop.clone();
            while ready.is_empty() {
                let (others, to) = relay.others(channel.as_str(), &side, &message, from).await.ok()?;
                from = to;
                ready.extend(
                    others.into_iter().map(|m| format!("data: {}\n\n", json!({"side": m.side, "message": m.body}))),
                );
                if !ready.is_empty() {
                    break;
                }
                tokio::select! {
                    () = listener.changed() => {}
                    () = tokio::time::sleep(KEEP_ALIVE) => ready.push_back(": keep-alive\n\n".into()),
                    () = stop.cancelled() => return None,
                }
            }
            let next = Ok::<_, std::convert::Infallible>(ready.pop_front()?);
            Some((next, (relay, listener, ready, from)))
        }
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response())
}
