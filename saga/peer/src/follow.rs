//! Syncing in one call, and staying in step.

use crate::connection::{SyncConnection, Synced};
use crate::coordinator::{SyncOptions, SyncSagaCoordinator};
use crate::entropy::random;
use crate::remote::Remote;
use crate::session::SenderIdentity;
use crate::view::space_error;
use ibgib::Addr;
use ibgib_saga::{Blame, Code, SagaError, Scope};
use ibgib_spaces::Space;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// So long a receiver may wait before it says that nothing changed there: less than the minute after which many proxies
/// cut a connection on which nothing moves.
pub const GLANCE_WAIT: Duration = Duration::from_secs(55);
/// An answer that took so long came from a receiver that waited, for as long as its own limits let it.
pub const GLANCE_WAITED: Duration = Duration::from_secs(10);
/// How often a receiver is asked that does not wait.
const PEEK_EVERY: Duration = Duration::from_secs(3);
/// The longest pause while it says that something differs and syncing does not change that (one direction, say).
const PEEK_EVERY_MAX: Duration = Duration::from_secs(60);
/// Pauses while the receiver is away, doubling.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted so long was a good one.
const LASTS: Duration = Duration::from_secs(30);
/// An edit is sent once this long has passed, with those that follow it.
const QUIET: Duration = Duration::from_millis(100);
/// Events that wait for [`Following::next`]; older ones are dropped.
const EVENTS_MAX: usize = 64;

impl From<&SenderIdentity> for SyncOptions {
    /// Everything, both ways, as this identity.
    fn from(identity: &SenderIdentity) -> Self {
        Self { identity: Some(identity.clone()), ..Self::default() }
    }
}

/// Syncs a space with a receiver: connects, exchanges what either side lacks, merges what diverged, and disconnects.
/// The options are a [`SyncOptions`], or the identity alone.
///
/// # Errors
/// What ended it early; what was committed stays, and the next sync settles the rest.
pub async fn sync(
    space: &Arc<dyn Space>,
    remote: Arc<dyn Remote>,
    options: impl Into<SyncOptions>,
) -> Result<Synced, SagaError> {
    SyncSagaCoordinator::new(Arc::clone(space)).sync(remote, options.into()).done().await
}

/// Keeps a space in step with a receiver until the handle is dropped: over one connection, a sync whenever either side
/// changed. A receiver that is away is tried again; an identity that is refused or a mistake of ours ends it.
pub fn follow(space: &Arc<dyn Space>, remote: Arc<dyn Remote>, options: impl Into<SyncOptions>) -> Following {
    let (tell, events) = broadcast::channel(EVENTS_MAX);
    let task = tokio::spawn(run(Arc::clone(space), remote, options.into(), tell));
    Following { events, task }
}

/// A space that is kept in step; dropping it ends that.
#[derive(Debug)]
pub struct Following {
    events: broadcast::Receiver<Result<Synced, SagaError>>,
    task: JoinHandle<()>,
}

impl Following {
    /// The next sync that was done (the first one, and every one that moved something), or what keeps it from syncing
    /// for now; `None` once it has ended, after the error that ended it. Nothing waits for this to be called.
    pub async fn next(&mut self) -> Option<Result<Synced, SagaError>> {
        loop {
            match self.events.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Tell = broadcast::Sender<Result<Synced, SagaError>>;

async fn run(space: Arc<dyn Space>, remote: Arc<dyn Remote>, options: SyncOptions, tell: Tell) {
    let (mut pause, mut began) = (PAUSE_FIRST, Instant::now());
    while let Err(error) = stay(&space, &remote, &options, &tell).await {
        // Connections that do not last (somebody else connects as this identity, say) are made ever more seldom: each costs
        // signatures.
        if began.elapsed() > LASTS {
            pause = PAUSE_FIRST;
        }
        let blame = error.row().map(Code::blame);
        let ends = matches!(blame, Some(Blame::Identity | Blame::User)) || matches!(error, SagaError::OwnDefect(_));
        // Nobody may be listening.
        let _ = tell.send(Err(error));
        if ends {
            return;
        }
        // Many devices must not come back in one moment.
        let [jitter] = random::<1>();
        sleep(pause.mul_f64(0.75 + f64::from(jitter) / 512.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
        began = Instant::now();
    }
}

/// Over one connection, until the receiver fails.
async fn stay(
    space: &Arc<dyn Space>,
    remote: &Arc<dyn Remote>,
    options: &SyncOptions,
    tell: &Tell,
) -> Result<(), SagaError> {
    let mut connection =
        SyncConnection::new(Arc::clone(remote), options.limits.clone()).on_progress(options.progress.clone());
    let (mut every, mut first, mut differs) = (PEEK_EVERY, true, false);
    loop {
        let synced = connection.sync(space, options.identity.clone(), options.request()).await?;
        let moved = !synced.summary.timelines.is_empty();
        let in_vain = differs && !moved;
        every = if in_vain { (every * 2).min(PEEK_EVERY_MAX) } else { PEEK_EVERY };
        if moved || first {
            let _ = tell.send(Ok(synced));
        }
        first = false;
        let wait = if in_vain { every } else { Duration::ZERO };
        differs = until_changed(space, &mut connection, &options.scope, wait).await?;
    }
}

/// Waits until the space or the receiver has changed; answers whether it was the receiver, which is asked after `wait`.
/// What was edited here while a saga ran is found by asking it at once.
async fn until_changed(
    space: &Arc<dyn Space>,
    connection: &mut SyncConnection,
    scope: &Scope,
    mut wait: Duration,
) -> Result<bool, SagaError> {
    let mut revision = space.revision().await.map_err(space_error)?;
    let ours = connection.fingerprint(&**space, scope.root()).await?;
    loop {
        tokio::select! {
            changed = space.changed(revision) => {
                revision = changed.map_err(space_error)?;
                // Signing moves the tips of identities, which are no reason to sync.
                if connection.fingerprint(&**space, scope.root()).await? != ours {
                    sleep(QUIET).await;
                    return Ok(false);
                }
            }
            told = glance(connection, &ours, scope.root(), wait) => match told? {
                Told::Differs => return Ok(true),
                Told::Waited => wait = Duration::ZERO,
                Told::AtOnce => wait = PEEK_EVERY,
            }
        }
    }
}

/// What a receiver says when it is asked for something new.
enum Told {
    Differs,
    /// Nothing came while it waited.
    Waited,
    /// There is nothing, and it does not wait.
    AtOnce,
}

/// Asks it after `pause`.
async fn glance(
    connection: &mut SyncConnection,
    ours: &str,
    root: Option<&Addr>,
    pause: Duration,
) -> Result<Told, SagaError> {
    sleep(pause).await;
    let asked = Instant::now();
    let equal = connection.is_equal(ours, root, GLANCE_WAIT).await?;
    Ok(match (equal, asked.elapsed() >= GLANCE_WAITED) {
        (false, _) => Told::Differs,
        (true, true) => Told::Waited,
        (true, false) => Told::AtOnce,
    })
}
