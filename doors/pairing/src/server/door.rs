//! The mailbox server as a door.

use super::connection::converse;
use super::first_form::{self, FirstForm};
use super::shared::{MailboxOptions, Shared, now};
use crate::wire::FRAME_BYTES_MAX;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use ibgib_server::rows::{RowError, Rows};
use ibgib_server::{Door, DoorTable, Lease};
use ibgib_spaces::Space;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether another server over the same space put something into a mailbox that is listened to.
const LOOK: Duration = Duration::from_millis(250);

/// A mailbox server: protocol 1 at `/v1`, and the HTTP relay of 2015 under `/wormhole-relay/`.
#[derive(Clone, Debug)]
pub struct MailboxDoor {
    shared: Arc<Shared>,
    first_form: FirstForm,
    /// Of servers over one space, one takes idle mailboxes away.
    pruning: Arc<Lease>,
    /// It says what it is at `/`.
    banner: bool,
}

impl MailboxDoor {
    /// Keeps its rows in `space`. With `banner`, `GET /` says what stands there: on a listener of its own only.
    pub fn new(space: Arc<dyn Space>, options: MailboxOptions, banner: bool) -> Self {
        let pruning = Arc::new(Lease::new(Arc::clone(&space), "mailbox"));
        let rows = Rows::new(space, "mailbox");
        let shared = Arc::new(Shared::new(rows, options));
        Self { first_form: FirstForm::new(Arc::clone(&shared)), shared, pruning, banner }
    }

    /// Takes idle mailboxes away; done by itself every few minutes.
    ///
    /// # Errors
    /// The rows cannot be read or written.
    pub async fn prune(&self) -> Result<(), RowError> {
        for (key, usage) in self.shared.store.prune(now()).await? {
            self.shared.note(&usage);
            self.shared.guesses.ended(&key, false);
        }
        self.forget().await?;
        self.first_form.prune(now()).await
    }

    /// Forgets who came to mailboxes that are gone, whichever server took them away.
    async fn forget(&self) -> Result<(), RowError> {
        let gone = self.shared.store.gone(&self.shared.guesses.mailboxes()).await?;
        self.shared.guesses.forget(&gone, now() - self.shared.options.limits.held_s);
        Ok(())
    }

    async fn prune_often(&self) {
        let mut often = self.often().await;
        loop {
            often.tick().await;
            if let Err(error) = self.prune().await {
                tracing::warn!(%error, "idle mailboxes could not be looked through");
            }
        }
    }

    async fn forget_often(&self) {
        let mut often = self.often().await;
        loop {
            often.tick().await;
            if let Err(error) = self.forget().await {
                tracing::warn!(%error, "mailboxes that are gone could not be looked for");
            }
        }
    }

    /// The first tick is over: clients of a server that was away have to come back first.
    async fn often(&self) -> Interval {
        let mut often = tokio::time::interval(Duration::from_secs(self.shared.options.prune_s.max(1)));
        often.tick().await;
        often
    }

    /// Wakes whoever listens where another server put something.
    async fn look(&self) -> Result<(), RowError> {
        self.shared.store.look().await?;
        self.first_form.look().await
    }

    async fn look_often(&self) {
        let mut since = 0;
        loop {
            match self.shared.store.changed(since).await {
                Ok(newest) => since = newest,
                // The space is closed.
                Err(_) => return,
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "mailboxes could not be looked at");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Door for MailboxDoor {
    fn name(&self) -> &'static str {
        "mailbox"
    }

    fn url(&self, scheme: &str, at: SocketAddr) -> String {
        format!("{}://{at}/v1", if scheme == "https" { "wss" } else { "ws" })
    }

    fn routes(&self) -> Router {
        let socket = Router::new().route("/v1", get(upgrade)).with_state(Arc::clone(&self.shared));
        let banner = Router::new().route("/", get(|| async { "wormhole mailbox server: WebSockets at /v1\n" }));
        let relay = match self.shared.options.hashcash_bits {
            0 => first_form::routes(self.first_form.clone()),
            // It could not demand the work.
            _ => Router::new(),
        };
        let routes = socket.merge(relay);
        if self.banner { routes.merge(banner) } else { routes }
    }

    fn background(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let beside = async {
                tokio::select! {
                    () = self.forget_often() => {}
                    () = self.look_often() => stop.cancelled().await,
                    () = stop.cancelled() => {}
                }
            };
            tokio::join!(self.pruning.work(&stop, || self.prune_often()), beside);
            self.shared.stop.cancel();
            self.shared.tasks.close();
            self.shared.tasks.wait().await;
        })
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<DoorTable>, String>> {
        Box::pin(async {
            let shared = &self.shared;
            let found = shared.store.in_use(DoorTable::ROWS_MAX).await;
            let (mailboxes, count) = found.map_err(|error| error.to_string())?;
            let rows = mailboxes.into_iter().map(|(app_id, nameplate, row)| {
                let sides = row.sides.iter().map(|side| match (&side.mood, side.opened) {
                    (Some(mood), _) => mood.clone(),
                    (None, true) => "there".to_owned(),
                    (None, false) => "gone".to_owned(),
                });
                [
                    nameplate.unwrap_or_else(|| "given back".to_owned()),
                    app_id,
                    sides.collect::<Vec<_>>().join(", "),
                    row.count.to_string(),
                    format!("{:.0} s", (now() - row.updated).max(0.0)),
                    if row.held { "for days" } else { "" }.to_owned(),
                ]
            });
            let columns = &["nameplate", "application", "sides", "messages", "last used", "kept"];
            let open = DoorTable { count, ..DoorTable::new("Mailboxes", columns, rows) };
            let ended = shared.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let ended = ended.into_iter().map(|((of, result), times)| [of.to_owned(), result, times.to_string()]);
            Ok(vec![open, DoorTable::new("Ended since the server started", &["what", "mood", "times"], ended)])
        })
    }

    fn metrics(&self) {
        let shared = &self.shared;
        metrics::gauge!("ibgib_mailbox_connections").set(shared.seats.count() as f64);
        metrics::gauge!("ibgib_mailboxes_listened_to").set(shared.hub.keys().len() as f64);
        metrics::counter!("ibgib_mailbox_messages_total").absolute(shared.messages.load(Ordering::Relaxed));
        metrics::counter!("ibgib_mailbox_guesses_refused_total").absolute(shared.guesses.refused());
        for ((of, result), count) in shared.ended.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let counter = metrics::counter!("ibgib_mailbox_ended_total", "of" => *of, "result" => result.clone());
            counter.absolute(*count);
        }
    }
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(seat) = shared.seats.take(peer.ip()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "as many clients as are served; try again later\n").into_response();
    };
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    let tasks = shared.tasks.clone();
    upgrade.on_upgrade(move |socket| tasks.track_future(converse(shared, socket, peer, seat)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Ask, Who};
    use ibgib_spaces::MemorySpace;
    use std::net::IpAddr;

    #[tokio::test]
    async fn who_came_to_a_mailbox_that_another_server_ended_is_forgotten() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("mailbox"));
        let [here, there] = [(); 2].map(|()| MailboxDoor::new(Arc::clone(&space), MailboxOptions::default(), false));
        let who = Who { app_id: "app".into(), side: "a".into() };
        let far = IpAddr::from([192, 0, 2, 1]);
        for nameplate in ["1", "2"] {
            let claim = Ask::Claim { nameplate: nameplate.into() };
            let claimed = here.shared.store.perform(&who, &claim, now()).await.unwrap();
            here.shared.guesses.came(far, &claimed.mailbox.unwrap(), now());
        }
        here.prune().await.unwrap();
        assert_eq!(here.shared.guesses.mailboxes().len(), 2);
        let claimed = there.shared.store.perform(&who, &Ask::Claim { nameplate: "1".into() }, now()).await.unwrap();
        let Some(crate::wire::Answer::Claimed { mailbox }) = claimed.outcome.unwrap().answer else { panic!() };
        let close = Ask::Close { mailbox, mood: None };
        there.shared.store.perform(&who, &close, now()).await.unwrap().outcome.unwrap();
        here.prune().await.unwrap();
        assert_eq!(here.shared.guesses.mailboxes().len(), 1);
    }
}
