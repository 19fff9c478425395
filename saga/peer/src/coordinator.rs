//! The coordinator: one call that syncs, with a handle to wait on.

use crate::connection::{SyncConnection, Synced};
use crate::entropy::random_hex;
use crate::peer::Progress;
use crate::remote::Remote;
use crate::session::SenderIdentity;
use ibgib_saga::{Direction, Limits, SagaError, Scope, SyncRequest};
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
    /// Called as the saga goes on.
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

impl SyncOptions {
    /// What to ask of one saga, under an id of its own.
    pub(crate) fn request(&self) -> SyncRequest {
        SyncRequest {
            saga_id: random_hex(),
            scope: self.scope.clone(),
            direction: self.direction,
            skip_when_equal: self.skip_when_equal,
            dry_run: self.dry_run,
            moves_max: None,
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
        let request = options.request();
        let saga_id = request.saga_id.clone();
        let mut connection = SyncConnection::new(remote, options.limits).on_progress(options.progress);
        let space = Arc::clone(&self.space);
        let task = tokio::spawn(async move {
            let result = connection.sync(&space, options.identity, request).await;
            connection.close().await;
            result
        });
        SyncSaga { saga_id, task }
    }
}
