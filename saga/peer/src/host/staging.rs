//! What was staged for sagas that were cut.

use super::Host;
use crate::identity;
use crate::view::space_error;
use ibgib::Addr;
use ibgib_saga::SagaError;
use ibgib_spaces::Commit;

impl Host {
    /// Drops what identities staged for a saga that they never finished, once it is `age_ms` old (§5 of
    /// `docs/protocol.md`: a day). Whoever is connected keeps it. Answers how many identities lost something.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn expire_staging(&self, now_ms: i64, age_ms: i64) -> Result<usize, SagaError> {
        let mut dropped = 0;
        for (key, since) in self.space.records(STAGING).await.map_err(space_error)? {
            let time = std::str::from_utf8(&since).ok().and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
            let owner = key.trim_start_matches(STAGING);
            let is_connected = self.live().keys().any(|identity| push_owner(identity) == owner);
            if is_connected || now_ms.saturating_sub(time) < age_ms {
                continue;
            }
            let staged = self.space.staged_addrs(owner).await.map_err(space_error)?;
            if self.space.record(&key).await.map_err(space_error)?.is_some_and(|now| now != since) {
                // It came back just now.
                continue;
            }
            self.space.unstage(owner).await.map_err(space_error)?;
            let commit = Commit { records: vec![(key.clone(), None)], ..Commit::default() };
            self.space.commit(commit).await.map_err(identity::commit_error)?;
            if !staged.is_empty() {
                tracing::info!(owner, nodes = staged.len(), "dropped what was staged for a saga that never ended");
                dropped += 1;
            }
        }
        Ok(dropped)
    }
}

/// Records that tell since when nodes may be staged for an owner.
const STAGING: &str = "staging/";

/// Under what an identity's pushed nodes are staged.
pub(super) fn push_owner(identity: &Addr) -> String {
    format!("push/{identity}")
}

pub(super) fn staging_key(owner: &str) -> String {
    format!("{STAGING}{owner}")
}
