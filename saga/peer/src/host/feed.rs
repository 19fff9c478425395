//! What is committed to the space, by this host or by another one over the same space: what follows from it for the
//! connections that are open here.

use super::Host;
use super::sessions::connected_key;
use crate::session::{owner_of, session_key};
use crate::view::space_error;
use ibgib::Addr;
use ibgib_saga::SagaError;
use ibgib_spaces::store::Records;
use ibgib_spaces::{Kind, Tip};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Before the next look at a space that fails.
const AGAIN: Duration = Duration::from_millis(500);

/// When living timelines moved last, as far as somebody looked.
#[derive(Debug, Default)]
pub(super) struct Living {
    /// Up to this revision.
    heard: u64,
    moved: u64,
}

impl Host {
    /// Hears of what is committed to the space, for as long as it is polled: a server runs it beside its connections.
    /// Ends when the space is closed.
    pub async fn hear(&self) {
        let mut heard = None;
        loop {
            match self.hear_next(heard).await {
                Ok(revision) => heard = Some(revision),
                Err(_) if self.is_closed().await => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot hear of what is committed; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn is_closed(&self) -> bool {
        matches!(self.space.revision().await, Err(ibgib_spaces::SpaceError::Closed))
    }

    /// Waits for something newer than `heard` and acts on it; answers up to where it has heard.
    async fn hear_next(&self, heard: Option<u64>) -> Result<u64, SagaError> {
        let Some(heard) = heard else { return self.space.revision().await.map_err(space_error) };
        self.space.changed(heard).await.map_err(space_error)?;
        // Whoever is behind hears of all that moved meanwhile at once.
        let changes = self.space.changes(heard).await.map_err(space_error)?;
        self.end_older(&changes.tips).await?;
        Ok(changes.revision)
    }

    /// Waits until a living timeline has moved after `since`; answers the revision as of which that is known.
    pub(super) async fn moved(&self, mut since: u64) -> Result<u64, SagaError> {
        loop {
            let now = self.space.changed(since).await.map_err(space_error)?;
            // Of many that wait one looks, and the others take its word.
            let mut living = self.living.lock().await;
            if living.heard == 0 {
                // Nobody looked yet. What was before is nobody's business who waits.
                *living = Living { heard: since, moved: since };
            }
            if living.heard < now {
                let changes = self.space.changes(living.heard).await.map_err(space_error)?;
                living.heard = changes.revision;
                if changes.lagged || changes.tips.iter().any(|tip| tip.kind == Kind::Living) {
                    living.moved = changes.revision;
                }
            }
            if living.moved > since {
                return Ok(living.heard);
            }
            since = since.max(now);
        }
    }

    /// Ends connections whose identity has connected elsewhere since.
    async fn end_older(&self, moved: &[Tip]) -> Result<(), SagaError> {
        let sessions: Vec<String> = {
            let live = self.live();
            let here: HashSet<&Addr> = live.values().map(|live| &live.session).collect();
            let moved = moved.iter().filter(|tip| Kind::of(&tip.tjp) == Kind::Keystone && !here.contains(&tip.tjp));
            if here.is_empty() { Vec::new() } else { moved.map(|tip| session_key(&tip.tjp)).collect() }
        };
        if sessions.is_empty() {
            return Ok(());
        }
        let view = self.space.view().await.map_err(space_error)?;
        let owners = view.records(Records::Keys(&sessions)).await.map_err(space_error)?;
        let open: HashMap<String, (Addr, u64, Addr)> = {
            let live = self.live();
            let of = owners.into_iter().filter_map(|(_, owner)| owner_of(owner));
            let here = of.filter_map(|identity| {
                let live = live.get(&identity)?;
                Some((connected_key(&identity), (identity, live.connection, live.session.clone())))
            });
            here.collect()
        };
        if open.is_empty() {
            return Ok(());
        }
        drop(view);
        // Read after the list was made: a connection that is not in it is newer, and looks for itself.
        let keys: Vec<String> = open.keys().cloned().collect();
        let view = self.space.view().await.map_err(space_error)?;
        for (key, session) in view.records(Records::Keys(&keys)).await.map_err(space_error)? {
            let Some((identity, connection, ours)) = open.get(&key) else { continue };
            if ours.as_str().as_bytes() != session
                && let Some(live) = self.live().get(identity).filter(|live| live.connection == *connection)
            {
                live.cut.cancel();
            }
        }
        Ok(())
    }
}
