//! What the owner of a tower may know: how it stands, its users, its appointments. A running tower tells it on a socket
//! in the file system, which only whoever may write there can open; of one that does not run it is read from its space.

use crate::chain_monitor::ChainMonitor;
use crate::engine::{Engine, Failure};
use crate::gatekeeper::Terms;
use crate::ledger::{Kept, Ledger, word};
use crate::responder::Penalty;
use crate::sealed::{Dialect, Locator};
use crate::signature::UserId;
use ibgib_server::DoorTable;
use ibgib_server::rows::{RowError, Rows};
use ibgib_spaces::Space;
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The door's name, also of what it keeps.
pub(crate) const DOOR: &str = "tower";
/// A question is one short line.
const QUESTION_BYTES_MAX: u64 = 128;
/// How long telling may take.
const TELL_MAX: Duration = Duration::from_secs(60);

/// What an owner asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerQuestion {
    /// How it stands.
    Info,
    /// Its users.
    Users,
    /// Its appointments, waiting and triggered; only those for a locator, if there is one.
    Appointments(Option<Locator>),
}

impl OwnerQuestion {
    fn line(self) -> String {
        match self {
            Self::Info => "info\n".into(),
            Self::Users => "users\n".into(),
            Self::Appointments(None) => "appointments\n".into(),
            Self::Appointments(Some(locator)) => format!("appointments {locator}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        match line.trim_end().split_once(' ') {
            None if line.trim_end() == "info" => Some(Self::Info),
            None if line.trim_end() == "users" => Some(Self::Users),
            None if line.trim_end() == "appointments" => Some(Self::Appointments(None)),
            Some(("appointments", locator)) => locator.parse().ok().map(|l| Self::Appointments(Some(l))),
            _ => None,
        }
    }

    fn answer(self, kept: Option<&Kept>, about: About) -> Value {
        match self {
            Self::Info => info(kept, about),
            Self::Users => users(kept),
            Self::Appointments(locator) => appointments(kept, locator),
        }
    }
}

/// What is not in the records.
#[derive(Clone, Copy)]
struct About {
    id: UserId,
    dialect: Dialect,
    /// Only a tower that runs knows.
    is_reachable: Option<bool>,
}

fn info(kept: Option<&Kept>, about: About) -> Value {
    let tower = kept.map(|kept| &kept.tower);
    let last = tower.map(|tower| tower.last_block());
    json!({
        "towerId": about.id.to_string(),
        "dialect": word(about.dialect),
        "users": tower.map_or(0, |tower| tower.watcher().subscriptions().len()),
        "appointments": tower.map_or(0, |tower| tower.watcher().appointments().len()),
        "trackers": tower.map_or(0, |tower| tower.responder().trackers().len()),
        "lastBlock": last.map(|last| hex::encode(last.hash)),
        "height": last.map(|last| last.height),
        "reachable": about.is_reachable,
    })
}

fn users(kept: Option<&Kept>) -> Value {
    let Some(Kept { tower, .. }) = kept else { return json!([]) };
    let users = tower.watcher().subscriptions().map(|(user, it)| {
        json!({
            "userId": user.to_string(),
            "dialect": word(it.dialect),
            "slots": it.slots,
            "start": it.start,
            "expiry": it.expiry,
            "appointments": tower.watcher().appointments_of(user).count(),
            "trackers": tower.responder().trackers_of(user).filter(|(_, tracker)| tracker.owner.is_some()).count(),
        })
    });
    users.collect()
}

fn appointments(kept: Option<&Kept>, locator: Option<Locator>) -> Value {
    let Some(Kept { tower, .. }) = kept else { return json!([]) };
    let height = tower.last_block().height;
    let is_asked = |of: Locator| locator.is_none_or(|locator| locator == of);
    let watched = tower.watcher().appointments().filter(|(id, _)| is_asked(id.locator)).map(|(id, it)| {
        json!({
            "userId": id.user.to_string(),
            "locator": id.locator.to_string(),
            "status": "being_watched",
            "bytes": it.sealed.len(),
            "toSelfDelay": it.to_self_delay,
            "startBlock": it.start_block,
        })
    });
    let triggered = tower.responder().trackers().filter(|(id, _)| is_asked(id.locator)).map(|(id, it)| {
        json!({
            "userId": it.owner.map(|owner| owner.to_string()),
            "locator": id.locator.to_string(),
            "status": "dispute_responded",
            "disputeTxid": it.dispute_txid.to_string(),
            "penaltyTxid": it.penalty.txid().to_string(),
            "confirmations": it.confirmations(height),
            "sentAt": match it.state {
                Penalty::Waiting { since } => Some(since),
                Penalty::Confirmed { .. } => None,
            },
        })
    });
    watched.chain(triggered).collect()
}

/// How a tower stands, as tables.
pub(crate) fn tables(kept: Option<&Kept>, is_reachable: bool) -> Vec<DoorTable> {
    let Some(Kept { tower, .. }) = kept else { return Vec::new() };
    let last = tower.last_block();
    let chain = [last.height.to_string(), hex::encode(last.hash), if is_reachable { "yes" } else { "no" }.to_owned()];
    let trackers = tower.responder().trackers().map(|(id, it)| {
        let state = match it.state {
            Penalty::Waiting { since } => format!("sent at {since}"),
            Penalty::Confirmed { .. } => "confirmed".to_owned(),
        };
        [
            id.locator.to_string(),
            it.dispute_txid.to_string(),
            it.penalty.txid().to_string(),
            state,
            it.confirmations(last.height).to_string(),
        ]
    });
    let users = tower.watcher().subscriptions().map(|(user, it)| {
        [
            user.to_string(),
            word(it.dialect).to_owned(),
            it.slots.to_string(),
            it.expiry.to_string(),
            tower.watcher().appointments_of(user).count().to_string(),
        ]
    });
    vec![
        DoorTable::new("Chain", &["height", "last block", "node reachable"], [chain]),
        DoorTable::new(
            "Breaches that were answered",
            &["locator", "dispute", "penalty", "state", "confirmations"],
            trackers,
        ),
        DoorTable::new("Users", &["user", "dialect", "slots", "expiry", "appointments"], users),
    ]
}

/// A socket with this path. What a killed server left is taken away; where somebody answers it is his.
async fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another tower answers there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(error) => return Err(error),
    }
    UnixListener::bind(path)
}

/// The socket that is this tower's own.
struct Bound<'a>(&'a Path);

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        // It may be gone already, with its directory.
        let _ = std::fs::remove_file(self.0);
    }
}

/// Answers owners of a running tower.
pub(crate) struct Owner {
    pub(crate) engine: Engine,
    pub(crate) monitor: Arc<ChainMonitor>,
    pub(crate) id: UserId,
    pub(crate) dialect: Dialect,
}

impl Owner {
    /// Answers at a socket with this path, for ever; when this is dropped, the socket is taken away.
    pub(crate) async fn listen(&self, path: &Path) {
        let (listener, _bound) = match bind(path).await {
            Ok(listener) => (listener, Bound(path)),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "the tower cannot tell its owner how it stands while it runs");
                return std::future::pending().await;
            }
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Ok(Err(error)) = tokio::time::timeout(TELL_MAX, self.tell(stream)).await {
                        tracing::debug!(%error, "the owner went away");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the owner cannot be heard");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn tell(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
        let Some(question) = OwnerQuestion::parse(&line) else { return Ok(()) };
        let about = About { id: self.id, dialect: self.dialect, is_reachable: Some(self.monitor.is_reachable()) };
        let answer = self.engine.ask_any(move |kept| question.answer(kept.as_ref(), about));
        let answer = answer.await.map_err(|failure: Failure| io::Error::other(format!("{failure:?}")))?;
        write.write_all(answer.to_string().as_bytes()).await?;
        write.shutdown().await
    }
}

/// Asks a running tower, at the socket of [`TowerOptions`](crate::TowerOptions).
///
/// # Errors
/// Nobody answers there.
pub async fn ask(socket: &Path, question: OwnerQuestion) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(question.line().as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// Reads the answer from a space, without asking a running tower: whether its node is reachable is `null`. `None` when no
/// tower was ever served from it.
///
/// # Errors
/// [`RowError`].
pub async fn read(space: Arc<dyn Space>, question: OwnerQuestion) -> Result<Option<Value>, RowError> {
    let terms = [Terms::of(Dialect::Rust), Terms::of(Dialect::Python)];
    let ledger = Ledger::new(Rows::new(space, DOOR), terms);
    let Some((id, dialect)) = ledger.about().await? else { return Ok(None) };
    let kept = ledger.load().await?;
    Ok(Some(question.answer(kept.as_ref(), About { id, dialect, is_reachable: None })))
}
