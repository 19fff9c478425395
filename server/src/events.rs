//! What is new, for web programs, as server-sent events: `GET /api/v1/events`.
//!
//! At a server that is not open a reader shows the secret of an invite for programs, is told of timelines that it lets him
//! read, and of nothing any more once it ends.
//!
//! The event `ready` says from which revision on is told. Then each event `tips` is a JSON array of `{tjp, tip}`: living
//! timelines that moved, each at its newest tip, however often it moved meanwhile; whoever reads slowly gets fewer events and
//! not older ones. An event's id is a revision. A browser that connects again sends the last one (`Last-Event-ID`) and misses
//! nothing; `lagged` says that the space was never at that revision, so that all tips are to be asked for anew.

use crate::error::ApiError;
use crate::places::Place;
use crate::state::{State, secret};
use axum::extract::{ConnectInfo, State as Extract};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use ibgib::{Map, Value};
use ibgib_peer::saga::SagaError;
use ibgib_peer::space_error;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Tips in one event.
const TIPS_MAX: usize = 1_000;
/// Between two signs of life.
const ALIVE: Duration = Duration::from_secs(15);

/// One stream.
struct Stream {
    state: Arc<State>,
    /// It takes the place of a connection.
    _place: Place,
    /// What its reader shows.
    secret: Option<String>,
    lasts: Option<Duration>,
    since: u64,
    /// What is told first.
    first: Option<Event>,
}

pub(crate) async fn events(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let secret = secret(&headers).map(str::to_owned);
    let lasts = state.reader(secret.as_deref()).await?.lasts();
    let place = state.place(peer.ip())?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let since = match last {
        Some(revision) => revision,
        None => state.host.space().revision().await.map_err(space_error)?,
    };
    let first = Some(Event::default().id(since.to_string()).event("ready").data("[]"));
    let stream = Stream { state, _place: place, secret, lasts, since, first };
    let told = stream::unfold(stream, |mut stream| async move {
        let events = match stream.first.take() {
            Some(first) => vec![first],
            None => stream.next().await?,
        };
        Some((stream::iter(events.into_iter().map(Ok::<_, Infallible>)), stream))
    });
    Ok(Sse::new(told.flatten()).keep_alive(KeepAlive::new().interval(ALIVE)).into_response())
}

impl Stream {
    /// The next events; `None` ends the stream: the server stops, the space fails, or its reader may read nothing any more.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let ends = async |lasts: Option<Duration>| match lasts {
            Some(lasts) => tokio::time::sleep(lasts).await,
            None => std::future::pending().await,
        };
        loop {
            let (state, since, lasts) = (Arc::clone(&self.state), self.since, self.lasts);
            let events = tokio::select! {
                () = state.stop.cancelled() => return None,
                () = ends(lasts) => return None,
                events = self.moved(since) => events,
            };
            match events {
                Ok(Some(events)) if events.is_empty() => {}
                Ok(events) => return events,
                Err(error) => {
                    tracing::warn!(%error, "a reader of events is sent away");
                    return None;
                }
            }
        }
    }

    /// What moved after `since`, once anything is committed after it; `None` when the reader may read nothing any more, which
    /// is a commit, too.
    async fn moved(&mut self, since: u64) -> Result<Option<Vec<Event>>, SagaError> {
        let host = &self.state.host;
        let space = host.space();
        // The space may never have been at a revision that a reader names.
        if since <= space.revision().await.map_err(space_error)? {
            space.changed(since).await.map_err(space_error)?;
        }
        let changes = space.changes(since).await.map_err(space_error)?;
        // Asked for after what is to be told, so that nothing is told that came after what he was granted ended.
        let Some(reader) = host.reader(self.secret.as_deref()).await? else { return Ok(None) };
        self.lasts = reader.lasts();
        self.since = changes.revision;
        let id = changes.revision.to_string();
        if changes.lagged {
            return Ok(Some(vec![Event::default().id(id).event("lagged").data("[]")]));
        }
        let tips = host.shown(&reader, changes.tips).await?;
        let events = tips.chunks(TIPS_MAX).map(|tips| {
            let tips = tips.iter().map(|tip| {
                let line: Map = [("tjp", Value::from(&tip.tjp)), ("tip", (&tip.addr).into())].into_iter().collect();
                Value::Object(line)
            });
            Event::default().event("tips").data(Value::Array(tips.collect()).to_json())
        });
        let mut events: Vec<Event> = events.collect();
        // Only who has all of them goes on after them.
        if let Some(last) = events.pop() {
            events.push(last.id(id));
        }
        Ok(Some(events))
    }
}
