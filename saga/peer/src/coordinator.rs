//! The coordinator: one call that syncs, with a handle to wait on.

use crate::entropy::random_hex;
use crate::peer::{Progress, SyncPeer};
use crate::remote::Remote;
use crate::session::{SenderIdentity, SessionSigner};
use ibgib::Addr;
use ibgib_saga::{Direction, Limits, SagaError, Scope, Summary, SyncRequest};
use ibgib_spaces::Space;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What to sync and how.
#[derive(Clone)]
pub struct SyncOptions {
    /// Who syncs; `None` only with receivers in the same process that allow it.
    pub identity: Option<SenderIdentity>,
    /// What to sync.
    pub scope: Scope,
    /// Which way.
    pub direction: Direction,
    /// No saga at all when nothing differs.
    pub skip_when_equal: bool,
    /// Only tell what a saga would do.
    pub dry_run: bool,
    /// Limits of the connection.
    pub limits: Limits,
    /// Called at each new phase.
    pub progress: Option<Progress>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            identity: None,
            scope: Scope::All,
            direction: Direction::Both,
            skip_when_equal: true,
            dry_run: false,
            limits: Limits::default(),
            progress: None,
        }
    }
}

impl std::fmt::Debug for SyncOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncOptions")
            .field("scope", &self.scope)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

/// What a finished sync leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What the saga did.
    pub summary: Summary,
    /// The session identity's newest frame, when there was one.
    pub session: Option<Addr>,
    /// Bytes of identity frames that were delivered before the connection.
    pub identity_bytes: u64,
}

/// A saga under way.
#[derive(Debug)]
pub struct SyncSaga {
    /// Its id.
    pub saga_id: String,
    task: JoinHandle<Result<Synced, SagaError>>,
}

impl SyncSaga {
    /// Waits for the end.
    ///
    /// # Errors
    /// What ended it early. The connection is closed in any case.
    pub async fn done(self) -> Result<Synced, SagaError> {
        match self.task.await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(SagaError::Cancelled),
            Err(error) => Err(SagaError::defect(error.to_string())),
        }
    }

    /// Ends it now; what was committed stays.
    pub fn cancel(&self) {
        self.task.abort();
    }
}

/// Starts sagas for one space.
#[derive(Clone, Debug)]
pub struct SyncSagaCoordinator {
    space: Arc<dyn Space>,
}

impl SyncSagaCoordinator {
    /// A coordinator for `space`.
    pub fn new(space: Arc<dyn Space>) -> Self {
        Self { space }
    }

    /// Starts a sync with `remote`: establish, connect, one saga, disconnect.
    pub fn sync(&self, remote: Arc<dyn Remote>, options: SyncOptions) -> SyncSaga {
        let saga_id = random_hex();
        let request = SyncRequest {
            saga_id: saga_id.clone(),
            scope: options.scope,
            direction: options.direction,
            skip_when_equal: options.skip_when_equal,
            dry_run: options.dry_run,
        };
        let mut peer = SyncPeer::new(Arc::clone(&self.space), remote, options.identity, options.limits);
        if let Some(progress) = options.progress {
            peer.on_progress(move |phase| progress(phase));
        }
        let task = tokio::spawn(async move {
            peer.establish_session_identity().await?;
            peer.connect().await?;
            let result = peer.sync(request).await;
            peer.disconnect().await;
            let session = peer.session().map(|s| s.chain().tip().addr().clone());
            let identity_bytes = peer.session().map_or(0, SessionSigner::identity_bytes);
            result.map(|summary| Synced { summary, session, identity_bytes })
        });
        SyncSaga { saga_id, task }
    }
}
