//! What is new, for web programs, as server-sent events: `GET /api/v1/events`.
//!
//! The event `ready` says from which revision on is told. Then each event `tips` is a JSON array of `{tjp, tip}`: living
//! timelines that moved, each at its newest tip, however often it moved meanwhile; whoever reads slowly gets fewer events and
//! not older ones. An event's id is a revision. A browser that connects again sends the last one (`Last-Event-ID`) and misses
//! nothing; `lagged` says that the space was never at that revision, so that all tips are to be asked for anew.

use crate::error::ApiError;
use crate::places::Place;
use crate::state::State;
use axum::extract::{ConnectInfo, State as Extract};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use ibgib::{Map, Value};
use ibgib_peer::space_error;
use ibgib_spaces::{Kind, SpaceError};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Tips in one event.
const TIPS_MAX: usize = 1_000;
/// Between two signs of life.
const ALIVE: Duration = Duration::from_secs(15);

/// One reader.
struct Reader {
    state: Arc<State>,
    /// He takes the place of a connection.
    _place: Place,
    since: u64,
    /// What he is told first.
    first: Option<Event>,
}

pub(crate) async fn events(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    state.check_open()?;
    let place = state.place(peer.ip())?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let since = match last {
        Some(revision) => revision,
        None => state.host.space().revision().await.map_err(space_error)?,
    };
    let first = Some(Event::default().id(since.to_string()).event("ready").data("[]"));
    let reader = Reader { state, _place: place, since, first };
    let told = stream::unfold(reader, |mut reader| async move {
        let events = match reader.first.take() {
            Some(first) => vec![first],
            None => reader.next().await?,
        };
        Some((stream::iter(events.into_iter().map(Ok::<_, Infallible>)), reader))
    });
    Ok(Sse::new(told.flatten()).keep_alive(KeepAlive::new().interval(ALIVE)).into_response())
}

impl Reader {
    /// The next events; `None` ends the stream: the server stops, the space fails, or reading needs an identity now.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let (state, since) = (Arc::clone(&self.state), self.since);
            let events = tokio::select! {
                () = state.stop.cancelled() => return None,
                events = self.moved(since) => events,
            };
            match events {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return state.check_open().is_ok().then_some(events),
                Err(error) => {
                    tracing::warn!(%error, "a reader of events is sent away");
                    return None;
                }
            }
        }
    }

    async fn moved(&mut self, since: u64) -> Result<Vec<Event>, SpaceError> {
        let space = self.state.host.space();
        // The space may never have been at a revision that a reader names.
        if since <= space.revision().await? {
            space.changed(since).await?;
        }
        let changes = space.changes(since).await?;
        self.since = changes.revision;
        let id = changes.revision.to_string();
        if changes.lagged {
            return Ok(vec![Event::default().id(id).event("lagged").data("[]")]);
        }
        let living: Vec<_> = changes.tips.iter().filter(|tip| tip.kind == Kind::Living).collect();
        let events = living.chunks(TIPS_MAX).map(|tips| {
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
        Ok(events)
    }
}
