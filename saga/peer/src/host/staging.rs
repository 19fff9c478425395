//! What was staged for sagas that were cut.

use super::Host;
use crate::entropy::now_ms;
use crate::identity;
use crate::view::space_error;
use ibgib::Addr;
use ibgib_saga::SagaError;
use ibgib_spaces::{Commit, CommitError};

impl Host {
    /// Drops what identities staged for a saga that they never finished, once it is `age_ms` old (§5 of
    /// `docs/protocol.md`: a day). Whoever is connected keeps it. Answers how many identities lost something.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn expire_staging(&self, now_ms: i64, age_ms: i64) -> Result<usize, SagaError> {
        let mut dropped = 0;
        for (key, since) in self.space.records(STAGING).await.map_err(space_error)? {
            let time = time(&since);
            let owner = key.trim_start_matches(STAGING);
            let is_connected = self.live().keys().any(|identity| push_owner(identity) == owner);
            if is_connected || now_ms.saturating_sub(time) < age_ms {
                continue;
            }
            let staged = self.space.staged_addrs(owner).await.map_err(space_error)?;
            // In one write: whoever comes back meanwhile, here or at another server, renews the record before he stages.
            let commit = Commit {
                unstage: Some(owner.to_owned()),
                records: vec![(key.clone(), None)],
                expect: vec![(key.clone(), Some(since))],
                ..Commit::default()
            };
            match self.space.commit(commit).await {
                Ok(_) => {}
                // It came back just now.
                Err(CommitError::RecordsChanged(_)) => continue,
                Err(error) => return Err(identity::commit_error(error)),
            }
            if !staged.is_empty() {
                tracing::info!(owner, nodes = staged.len(), "dropped what was staged for a saga that never ended");
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// For a saga that begins to stage. A connection may be older than what expires, and only its own server knows that it
    /// is there: another one over the same space goes by the record.
    pub(super) async fn renew_staging(&self, owner: &str) -> Result<(), SagaError> {
        let record = staging_record(owner);
        let since = self.space.record(&record.0).await.map_err(space_error)?;
        if since.is_some_and(|since| now_ms().saturating_sub(time(&since)) < RENEW_MS) {
            return Ok(());
        }
        let commit = Commit { records: vec![record], ..Commit::default() };
        self.space.commit(commit).await.map(drop).map_err(identity::commit_error)
    }
}

/// Records that tell since when nodes may be staged for an owner.
const STAGING: &str = "staging/";
/// A record that is not older is good for as long as a saga may take, with much to spare before it expires.
const RENEW_MS: i64 = 3_600_000;

/// Under what an identity's pushed nodes are staged.
pub(super) fn push_owner(identity: &Addr) -> String {
    format!("push/{identity}")
}

/// Tells that nodes may be staged for an owner, as of now.
pub(super) fn staging_record(owner: &str) -> (String, Option<Vec<u8>>) {
    (format!("{STAGING}{owner}"), Some(now_ms().to_string().into_bytes()))
}

fn time(record: &[u8]) -> i64 {
    std::str::from_utf8(record).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
