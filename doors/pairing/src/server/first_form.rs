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
//! It knows no application ids. A channel is for two sides, as a mailbox is. The limits for an address are those of the
//! mailboxes, and shared with them: connections, bytes, and numbers to which it comes as a new side. This form does not
//! tell how an exchange went, so none of those numbers comes back before its time.

use super::hub::{Listener, Seat};
use super::shared::{Shared, now};
use crate::code::Nameplate;
use crate::mailbox::free_number;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use ibgib_peer::entropy::OsEntropy;
use ibgib_server::rows::{Edits, Row, RowError, Table};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

const CHANNELS: Table = Table::passing("channel");
/// The bodies of messages, by channel and place in it.
const BODIES: Table = Table::passing("body");

/// A version that the clients of that time know.
const CURRENT_VERSION: &str = "0.3.0";
/// Bytes of a message, in hex digits: this form carries one small one each way.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Messages in a channel: a key agreement and one message each way, each perhaps sent again.
const MESSAGES_MAX: usize = 64;
/// Bytes of all bodies in a channel, in hex digits.
const CHANNEL_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;
/// Bytes of the name of a side or a message.
const NAME_BYTES_MAX: usize = 64;
/// How often a stream says something although there is no news, so that nobody on the way ends it.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How channels are called where somebody listens to one.
const TOPIC: &str = "channel/";

/// What is looked through for free and idle numbers, so that it holds no bodies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Channel {
    /// Those that came and have not left.
    sides: BTreeSet<String>,
    messages: Vec<Heading>,
    /// Bytes of their bodies, in hex digits.
    #[serde(default)]
    bytes: usize,
    updated: f64,
}

/// What a message is, besides its body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Heading {
    side: String,
    #[serde(rename = "msgnum")]
    number: String,
    /// Of its body, so that what is said again is known without reading it. The first version of this server kept none.
    #[serde(default)]
    hash: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
struct Posted {
    side: String,
    number: String,
    body: String,
}

impl Posted {
    fn heading(&self) -> Heading {
        let hash = hex::encode(Sha256::digest(self.body.as_bytes()));
        Heading { side: self.side.clone(), number: self.number.clone(), hash }
    }
}

fn body_key(channel: &str, at: usize) -> String {
    format!("{channel}/{at}")
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
    TooMuch(&'static str),
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
            Self::TooMuch(why) => (StatusCode::TOO_MANY_REQUESTS, why).into_response(),
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
    format!("{TOPIC}{channel}")
}

impl FirstForm {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, allocating: Arc::default() }
    }

    async fn row(&self, number: &str) -> Result<Row<Channel>, RowError> {
        self.shared.store.rows().one(CHANNELS, number).await
    }

    async fn numbers(&self) -> Result<BTreeSet<String>, RowError> {
        let all = self.shared.store.rows().all::<IgnoredAny>(CHANNELS, "").await?;
        Ok(all.into_iter().map(|row| row.key).collect())
    }

    /// Notes that a channel goes, with its messages.
    async fn take_away(&self, edits: &mut Edits, row: &Row<Channel>) -> Result<(), RowError> {
        let count = row.value.as_ref().map_or(0, |channel| channel.messages.len());
        let keys: Vec<String> = (0..count).map(|at| body_key(&row.key, at)).collect();
        for body in self.shared.store.rows().get::<IgnoredAny>(BODIES, &keys).await? {
            edits.drop(&body);
        }
        edits.drop(row);
        Ok(())
    }

    /// Whoever comes to a number as a new side may be guessing a code.
    fn comes(&self, from: IpAddr) -> Result<(), Refused> {
        if self.shared.guesses.take(from) {
            Ok(())
        } else {
            Err(Refused::TooMuch("too many numbers were tried from your address; try again later"))
        }
    }

    async fn allocate(&self, from: IpAddr, side: &str) -> Result<Value, Refused> {
        self.comes(from)?;
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

    async fn post(&self, from: IpAddr, number: &str, posted: Posted) -> Result<(), Refused> {
        if posted.body.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::Bad("the message is too long"));
        }
        if !posted.body.len().is_multiple_of(2) || !posted.body.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Refused::Bad("the message is no hex"));
        }
        if !self.shared.may_add(from, posted.body.len()) {
            return Err(Refused::TooMuch("too much came from your address; try again later"));
        }
        let heading = posted.heading();
        let mut came = false;
        // Again when somebody else was faster.
        loop {
            let row = self.row(number).await?;
            let mut channel = row.value.clone().unwrap_or_default();
            let is_new = !channel.sides.contains(&posted.side);
            if is_new && !std::mem::replace(&mut came, true) {
                self.comes(from)?;
            }
            // A client that lost the answer says the same again.
            let is_said = channel.messages.contains(&heading);
            if is_said && !is_new {
                return Ok(());
            }
            if is_new && channel.sides.len() >= 2 {
                return Err(Refused::Crowded);
            }
            if row.value.is_none() && self.numbers().await?.len() >= self.shared.options.limits.nameplates_max {
                return Err(Refused::Full);
            }
            channel.sides.insert(posted.side.clone());
            channel.updated = now();
            let mut edits = Edits::default();
            if !is_said {
                channel.bytes += posted.body.len();
                if channel.messages.len() >= MESSAGES_MAX || channel.bytes > CHANNEL_BYTES_MAX {
                    return Err(Refused::Full);
                }
                let key = body_key(number, channel.messages.len());
                let body = self.shared.store.rows().one::<IgnoredAny>(BODIES, &key).await?;
                edits.set(&body, &posted.body)?;
                channel.messages.push(heading.clone());
            }
            edits.set(&row, &channel)?;
            if self.shared.store.rows().write(edits).await? {
                self.shared.hub.tell(&topic(number), channel.messages.len());
                return Ok(());
            }
        }
    }

    /// What the other side said under this name, from the message with this place on; and where to go on.
    async fn others(
        &self,
        channel: &str,
        side: &str,
        name: &str,
        from: usize,
    ) -> Result<(Vec<Posted>, usize), Refused> {
        let messages = self.row(channel).await?.value.unwrap_or_default().messages;
        let to = messages.len();
        let others = messages.into_iter().enumerate().skip(from).filter(|(_, m)| m.side != side && m.number == name);
        let (keys, others): (Vec<String>, Vec<Heading>) = others.map(|(at, m)| (body_key(channel, at), m)).unzip();
        let bodies = self.shared.store.rows().get::<String>(BODIES, &keys).await?;
        let others = others.into_iter().zip(bodies).filter_map(|(Heading { side, number, .. }, body)| {
            // A channel that went meanwhile has none.
            Some(Posted { side, number, body: body.value? })
        });
        Ok((others.collect(), to))
    }

    async fn polled(&self, channel: &str, side: &str, name: &str) -> Result<Value, Refused> {
        let (all, _) = self.others(channel, side, name, 0).await?;
        let all: Vec<String> = all.into_iter().map(|posted| posted.body).collect();
        Ok(json!({"welcome": welcome(&self.shared), "messages": all}))
    }

    async fn deallocate(&self, number: &str, side: &str) -> Result<&'static str, Refused> {
        // Again when somebody else was faster.
        loop {
            let row = self.row(number).await?;
            let Some(mut channel) = row.value.clone() else { return Ok("deleted") };
            if !channel.sides.remove(side) {
                return Ok("waiting");
            }
            let mut edits = Edits::default();
            let told = if channel.sides.is_empty() {
                self.take_away(&mut edits, &row).await?;
                "deleted"
            } else {
                channel.updated = now();
                edits.set(&row, &channel)?;
                "waiting"
            };
            if self.shared.store.rows().write(edits).await? {
                return Ok(told);
            }
        }
    }

    /// Wakes whoever listens to a channel into which another server put something.
    pub(super) async fn look(&self) -> Result<(), RowError> {
        let topics = self.shared.hub.keys();
        let numbers: Vec<String> = topics.iter().filter_map(|key| key.strip_prefix(TOPIC)).map(str::to_owned).collect();
        for row in self.shared.store.rows().get::<Channel>(CHANNELS, &numbers).await? {
            if let Some(channel) = &row.value {
                self.shared.hub.tell(&topic(&row.key), channel.messages.len());
            }
        }
        Ok(())
    }

    /// Takes channels away at which nothing happened for as long as a saved state is kept: this form saves.
    pub(super) async fn prune(&self, now: f64) -> Result<(), RowError> {
        for row in self.shared.store.rows().all::<Channel>(CHANNELS, "").await? {
            let Some(channel) = &row.value else { continue };
            if now - channel.updated > self.shared.options.limits.held_s {
                let mut edits = Edits::default();
                self.take_away(&mut edits, &row).await?;
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

async fn allocate(
    State(relay): State<FirstForm>,
    ConnectInfo(peer): Peer,
    Path(side): Path<String>,
) -> Result<Json<Value>, Refused> {
    Ok(Json(relay.allocate(peer.ip(), name(&side)?).await?))
}

type Named = Path<(String, String, String)>;
type Peer = ConnectInfo<SocketAddr>;

async fn put(
    State(relay): State<FirstForm>,
    ConnectInfo(peer): Peer,
    Path((channel, side, message)): Named,
    body: Bytes,
) -> Result<Json<Value>, Refused> {
    let number = number(&channel)?;
    let body: Value = serde_json::from_slice(&body).map_err(|_| Refused::Bad("the body is no JSON"))?;
    let body = body.get("message").and_then(Value::as_str).ok_or(Refused::Bad("the body has no message"))?;
    let posted = Posted { side: name(&side)?.into(), number: name(&message)?.into(), body: body.into() };
    relay.post(peer.ip(), number.as_str(), posted).await?;
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

/// A stream of events: what it still has to say, and where it looks on.
struct Events {
    relay: FirstForm,
    listener: Listener,
    _seat: Seat,
    ready: VecDeque<String>,
    from: usize,
}

async fn events(
    State(relay): State<FirstForm>,
    ConnectInfo(peer): Peer,
    Path((channel, side, message)): Named,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let channel = number(&channel)?;
    let wanted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !wanted.contains("text/event-stream") {
        return Err(Refused::Bad("this is a stream of events; ask for text/event-stream"));
    }
    // A stream holds a seat as a WebSocket does. The listening begins before the first look.
    let seat = relay.shared.seats.take(peer.ip()).ok_or(Refused::Full)?;
    let listener = relay.shared.hub.listen(topic(channel.as_str()));
    // After the name of an event stands an empty line: the clients of 2015 read it so, and no other way.
    let first = format!("event: welcome\n\ndata: {}\n\n", welcome(&relay.shared));
    let events = Events { relay, listener, _seat: seat, ready: [first].into(), from: 0 };
    let stream = stream::unfold(events, move |mut events| {
        let (channel, side, message) = (channel.clone(), side.clone(), message.clone());
        async move {
            let stop = events.relay.shared.stop.clone();
            while events.ready.is_empty() {
                let others = events.relay.others(channel.as_str(), &side, &message, events.from);
                let (others, to) = others.await.ok()?;
                events.from = to;
                events.ready.extend(
                    others.into_iter().map(|m| format!("data: {}\n\n", json!({"side": m.side, "message": m.body}))),
                );
                if !events.ready.is_empty() {
                    break;
                }
                tokio::select! {
                    () = events.listener.changed() => {}
                    () = tokio::time::sleep(KEEP_ALIVE) => events.ready.push_back(": keep-alive\n\n".into()),
                    () = stop.cancelled() => return None,
                }
            }
            let next = Ok::<_, std::convert::Infallible>(events.ready.pop_front()?);
            Some((next, events))
        }
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Limits;
    use crate::server::MailboxOptions;
    use futures_util::{FutureExt as _, StreamExt as _};
    use ibgib_server::rows::Rows;
    use ibgib_spaces::MemorySpace;

    /// An address that is not this machine's, whose allowances are counted.
    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn relay(options: MailboxOptions) -> FirstForm {
        FirstForm::new(Arc::new(Shared::new(Rows::new(Arc::new(MemorySpace::new("relay")), "mailbox"), options)))
    }

    fn says(side: &str, body: &str) -> Posted {
        Posted { side: side.into(), number: "pake".into(), body: body.into() }
    }

    fn status(refused: Refused) -> u16 {
        refused.into_response().status().as_u16()
    }

    #[tokio::test]
    async fn an_address_may_leave_so_much_and_come_to_so_many_numbers() {
        let relay = relay(MailboxOptions {
            added_bytes_max: 10,
            added_bytes_per_second: 0,
            guesses_max: 2,
            guesses_per_hour: 0,
            ..MailboxOptions::default()
        });
        relay.post(FAR, "1", says("a", "00")).await.ok().unwrap();
        // Whoever is there already comes to no other number.
        relay.post(FAR, "1", says("a", "01")).await.ok().unwrap();
        relay.allocate(FAR, "c").await.ok().unwrap();
        for refused in [relay.post(FAR, "3", says("a", "00")).await, relay.post(FAR, "1", says("b", "00")).await] {
            assert_eq!(refused.map_err(status), Err(429));
        }
        assert_eq!(relay.allocate(FAR, "a").await.map_err(status), Err(429));
        let elsewhere = IpAddr::from([192, 0, 2, 2]);
        relay.post(elsewhere, "1", says("b", "00")).await.ok().unwrap();
        assert_eq!(relay.post(FAR, "1", says("a", "020304")).await.map_err(status), Err(429), "too many bytes");
        let here = IpAddr::from([127, 0, 0, 1]);
        for n in 5..20 {
            relay.post(here, &n.to_string(), says("a", "000102030405")).await.ok().unwrap();
        }
    }

    #[tokio::test]
    async fn there_are_only_so_many_channels() {
        let limits = Limits { nameplates_max: 2, ..Limits::default() };
        let relay = relay(MailboxOptions { limits, ..MailboxOptions::default() });
        for (number, told) in [("1", Ok(())), ("2", Ok(())), ("3", Err(503)), ("2", Ok(()))] {
            assert_eq!(relay.post(FAR, number, says("a", "00")).await.map_err(status), told, "{number}");
        }
        assert_eq!(relay.allocate(FAR, "a").await.map_err(status), Err(503));
    }

    #[tokio::test]
    async fn a_channel_holds_so_much_and_its_bodies_are_apart() {
        let relay = relay(MailboxOptions::default());
        let large = "00".repeat(MESSAGE_BYTES_MAX / 2);
        for n in 0..4 {
            let posted = Posted { number: n.to_string(), ..says("a", &large) };
            relay.post(FAR, "7", posted.clone()).await.ok().unwrap();
            relay.post(FAR, "7", posted).await.ok().unwrap();
        }
        assert_eq!(relay.post(FAR, "7", says("a", "00")).await.map_err(status), Err(503));
        let rows = relay.shared.store.rows();
        let channel = &rows.all::<Value>(CHANNELS, "").await.unwrap()[0];
        assert!(channel.value.as_ref().unwrap().to_string().len() < 1_000, "it is looked through for free numbers");
        let told = relay.polled("7", "b", "3").await.ok().unwrap();
        assert_eq!(told["messages"], json!([large]));
        assert_eq!(rows.all::<IgnoredAny>(BODIES, "").await.unwrap().len(), 4);
        assert_eq!(relay.deallocate("7", "a").await.ok(), Some("deleted"));
        assert!(rows.all::<IgnoredAny>(BODIES, "").await.unwrap().is_empty());
        relay.post(FAR, "8", says("a", "00")).await.ok().unwrap();
        relay.prune(now() + 2.0 * relay.shared.options.limits.held_s).await.unwrap();
        for table in [CHANNELS, BODIES] {
            assert!(rows.all::<IgnoredAny>(table, "").await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn whoever_listens_is_woken_for_what_another_server_put_in() {
        let space = Arc::new(MemorySpace::new("relay"));
        let [here, there] = [(); 2].map(|()| {
            FirstForm::new(Arc::new(Shared::new(Rows::new(space.clone(), "mailbox"), MailboxOptions::default())))
        });
        let mut listener = here.shared.hub.listen(topic("7"));
        there.post(FAR, "7", says("a", "00")).await.ok().unwrap();
        assert!(listener.changed().now_or_never().is_none());
        here.look().await.unwrap();
        assert!(listener.changed().now_or_never().is_some());
    }

    /// What the first version of this server left goes with time, and is in nobody's way until then.
    #[tokio::test]
    async fn channels_of_the_first_version_are_read() {
        let relay = relay(MailboxOptions::default());
        let rows = relay.shared.store.rows();
        let row = rows.one::<Value>(CHANNELS, "7").await.unwrap();
        let messages = json!([{"side": "a", "msgnum": "pake", "body": "00"}]);
        let mut edits = Edits::default();
        edits.set(&row, &json!({"sides": ["a"], "messages": messages, "updated": 1.0})).unwrap();
        assert!(rows.write(edits).await.unwrap());
        assert_eq!(relay.polled("7", "b", "pake").await.ok().unwrap()["messages"], json!([]));
        relay.post(FAR, "7", says("a", "00")).await.ok().unwrap();
        assert_eq!(relay.polled("7", "b", "pake").await.ok().unwrap()["messages"], json!(["00"]));
        assert_eq!(relay.deallocate("7", "a").await.ok(), Some("deleted"));
    }

    #[tokio::test]
    async fn a_stream_of_events_holds_a_seat() {
        let relay = relay(MailboxOptions { connections_per_address_max: 1, ..MailboxOptions::default() });
        let listen = async || {
            let headers = [(header::ACCEPT, "text/event-stream".parse().unwrap())].into_iter().collect();
            let path = Path(("7".to_owned(), "a".to_owned(), "pake".to_owned()));
            events(State(relay.clone()), ConnectInfo((FAR, 1).into()), path, headers).await
        };
        let first = listen().await.ok().unwrap();
        assert_eq!(listen().await.map(|_| ()).map_err(status), Err(503));
        let mut said = first.into_body().into_data_stream();
        assert!(said.next().await.unwrap().unwrap().starts_with(b"event: welcome"));
        assert_eq!(relay.shared.seats.count(), 1);
        drop(said);
        assert!(listen().await.is_ok());
    }
}
