//! A connection that is kept from one sync to the next.

use crate::desk::MENDER;
use crate::dropped;
use crate::entropy::random_hex;
use crate::guard::Guard;
use crate::index::Indexes;
use crate::peer::{Progress, SyncPeer};
use crate::remote::Remote;
use crate::session::SenderIdentity;
use crate::view::{commit_error, space_error};
use ibgib::Addr;
use ibgib_saga::{Direction, Limits, SagaError, Scope, SpaceFailure, Summary, SyncRequest, is_payload};
use ibgib_spaces::{MemorySpace, Space, repair};
use std::sync::Arc;
use std::time::Duration;

/// What a finished sync leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What the saga did.
    pub summary: Summary,
    /// The session identity's newest frame, when there was one.
    pub session: Option<Addr>,
    /// Bytes that it took to tell who is who: of the identity frames that were delivered before the connection, the frames that
    /// signed on it, and the receiver's signatures.
    pub identity_bytes: u64,
    /// Timelines whose tips went back here before the saga: the owner of the remote's space has dropped frames that they
    /// stood on.
    pub left: Vec<Addr>,
}

/// A connection to one remote: made when the first sync needs it, kept for the next ones, made again when it is cut.
/// Between two syncs the space may be closed and opened again.
pub struct SyncConnection {
    remote: Arc<dyn Remote>,
    limits: Limits,
    progress: Option<Progress>,
    guard: Option<Arc<dyn Guard>>,
    indexes: Indexes,
    open: Option<Open>,
}

struct Open {
    peer: SyncPeer,
    identity: Option<Addr>,
}

impl std::fmt::Debug for SyncConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncConnection").field("open", &self.open.is_some()).finish_non_exhaustive()
    }
}

impl SyncConnection {
    /// A connection that is not open yet.
    pub fn new(remote: Arc<dyn Remote>, limits: Limits) -> Self {
        Self { remote, limits, progress: None, guard: None, indexes: Indexes::default(), open: None }
    }

    /// Calls `progress` as sagas go on, on the connections that are made from now on.
    #[must_use]
    pub fn on_progress(mut self, progress: Option<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Asks `guard` before much moves and before anything that came is published, in the syncs from now on. One that does not
    /// go on ends as if it had only planned; one of which nothing may be published ends with [`SagaError::Cancelled`].
    pub fn set_guard(&mut self, guard: Option<Arc<dyn Guard>>) {
        self.guard = guard;
    }

    /// One sync: over the open connection if `identity` made it, else, and when that one fails, over a new one,
    /// where the saga gets another id. On success the connection stays open. If a node that it reads turns out to be
    /// damaged here, what is damaged is asked for anew ([`SyncConnection::mend`]), and the sync begins again.
    ///
    /// # Errors
    /// What ended it early; the connection is closed then.
    pub async fn sync(
        &mut self,
        space: &Arc<dyn Space>,
        identity: Option<SenderIdentity>,
        mut request: SyncRequest,
    ) -> Result<Synced, SagaError> {
        let mut first = self.once(space, identity.clone(), request.clone()).await;
        if let (Err(SagaError::PeerRolledBack(_)), Some(identity)) = (&first, &identity)
            && dropped::is_news(&**space, &*self.remote, &self.remote.meet(&identity.tjp).await?.0).await?
        {
            request.saga_id = random_hex();
            first = self.once(space, Some(identity.clone()), request.clone()).await;
        }
        if !matches!(first, Err(SagaError::OwnSpace { failure: SpaceFailure::Corrupt, .. })) {
            return first;
        }
        // What is damaged here the remote may have. Where one node is, others are.
        repair::check(&**space).await.map_err(commit_error)?;
        self.mend(space, identity.clone()).await?;
        request.saga_id = random_hex();
        self.once(space, identity, request).await
    }

    /// Asks the remote for what is [known](repair::known) to be damaged or missing in the space, and puts what it has in
    /// its place. Answers how many nodes are whole again. Without identity only what the remote lets anybody read comes.
    ///
    /// # Errors
    /// As [`SyncConnection::sync`]; what was mended until then is whole.
    pub async fn mend(&mut self, space: &Arc<dyn Space>, identity: Option<SenderIdentity>) -> Result<u64, SagaError> {
        let mut whole = 0;
        // Nodes that were damaged may relate to others that are missing.
        loop {
            let mended = self.mend_known(space, identity.as_ref()).await?;
            whole += mended;
            if mended == 0 {
                return Ok(whole);
            }
        }
    }

    async fn mend_known(
        &mut self,
        space: &Arc<dyn Space>,
        identity: Option<&SenderIdentity>,
    ) -> Result<u64, SagaError> {
        let mut known = repair::known(&**space).await.map_err(space_error)?;
        // Keystones and transcripts do not travel as payload; without our keystone there is no connection either.
        if identity.is_some() {
            known.retain(|addr| !is_payload(addr));
        }
        for addr in known {
            match self.remote.node(&addr).await {
                Ok(node) => {
                    let nodes: Vec<_> = node.into_iter().collect();
                    repair::mend(&**space, MENDER, &nodes).await.map_err(commit_error)?;
                }
                // Not everybody may read without a connection.
                Err(SagaError::PeerRefused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let whole = repair::settle(&**space).await.map_err(commit_error)?;
        let left = repair::known(&**space).await.map_err(space_error)?;
        let Some(identity) = identity.filter(|_| left.iter().any(is_payload)) else { return Ok(whole) };
        let request = SyncRequest {
            saga_id: random_hex(),
            scope: Scope::Damaged,
            direction: Direction::Pull,
            skip_when_equal: true,
            dry_run: false,
            moves_max: None,
        };
        self.once(space, Some(identity.clone()), request).await?;
        Ok(whole + repair::settle(&**space).await.map_err(commit_error)?)
    }

    async fn once(
        &mut self,
        space: &Arc<dyn Space>,
        identity: Option<SenderIdentity>,
        mut request: SyncRequest,
    ) -> Result<Synced, SagaError> {
        let who = identity.as_ref().map(|i| i.tjp.clone());
        if let Some(mut open) = self.open.take_if(|open| open.identity == who) {
            open.peer.set_space(Arc::clone(space));
            open.peer.set_guard(self.guard.clone());
            match open.peer.sync(request.clone()).await {
                Ok(summary) => return Ok(self.keep(open, summary, 0)),
                Err(SagaError::Cancelled) => return Err(SagaError::Cancelled),
                Err(_) => {}
            }
            // It was cut meanwhile, or the server has an objection, which it will repeat.
            request.saga_id = random_hex();
        }
        self.close().await;
        let mut peer = SyncPeer::new(Arc::clone(space), Arc::clone(&self.remote), identity, self.limits.clone());
        peer.share(&self.indexes);
        if let Some(progress) = self.progress.clone() {
            peer.on_progress(progress);
        }
        peer.set_guard(self.guard.clone());
        peer.begin().await?;
        let summary = peer.sync(request).await?;
        let (identity_bytes, left) =
            peer.session().map_or((0, Vec::new()), |session| (session.identity_bytes(), session.left().to_vec()));
        Ok(Synced { left, ..self.keep(Open { peer, identity: who }, summary, identity_bytes) })
    }

    /// Asks whether the remote's living tips, or those [under](Scope::Under) `root`, have this fingerprint: one small
    /// message each way, for which nothing is signed or stored. As long as they have, the remote takes `wait` to say so, if
    /// it can; an earlier one comes from a remote that cannot. Whoever stops waiting for this may sync over the connection.
    /// `false` without an open connection.
    ///
    /// # Errors
    /// The connection is gone, or the remote refuses; the connection is closed then.
    pub async fn is_equal(
        &mut self,
        fingerprint: &str,
        root: Option<&Addr>,
        wait: Duration,
    ) -> Result<bool, SagaError> {
        match &mut self.open {
            Some(open) => open.peer.glance(fingerprint, root, wait).await,
            None => Ok(false),
        }
    }

    /// The fingerprint of the living tips that a space has, or of those [under](Scope::Under) `root`, for
    /// [`SyncConnection::is_equal`].
    ///
    /// # Errors
    /// When the space fails.
    pub async fn fingerprint(&self, space: &dyn Space, root: Option<&Addr>) -> Result<String, SagaError> {
        self.indexes.of(space, root).await.map(|index| index.fingerprint.whole.clone()).map_err(space_error)
    }

    /// Says goodbye and closes the connection, if it is open.
    pub async fn close(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.peer.disconnect().await;
        }
    }

    /// Keeps the connection without the space: whoever owns that may close it.
    fn keep(&mut self, mut open: Open, summary: Summary, identity_bytes: u64) -> Synced {
        open.peer.rest(Arc::new(MemorySpace::new("away")));
        let session = open.peer.session().map(|s| s.chain().tip().addr().clone());
        self.open = Some(open);
        let identity_bytes = identity_bytes + summary.identity_bytes;
        Synced { summary, session, identity_bytes, left: Vec::new() }
    }
}
