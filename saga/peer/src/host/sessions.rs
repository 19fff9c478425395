//! Sessions: which identity one belongs to, and which connection an identity has now.

use super::Host;
use crate::session::introduced_by;
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, VERB_SYNC};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::{Advance, Commit};
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The connection that an identity has now.
pub(super) struct Live {
    pub(super) connection: u64,
    /// Ends it, once no commit is under way.
    pub(super) cut: CancellationToken,
}

impl Host {
    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<Addr, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity that a session belongs to.
    pub(crate) async fn session_owner(&self, session: &Addr) -> Result<Option<Addr>, SagaError> {
        let record = self.space.record(&session_key(session)).await.map_err(space_error)?;
        Ok(record.and_then(|b| String::from_utf8(b).ok()).and_then(|t| t.parse().ok()))
    }

    /// Adds the session that an identity's newest frame introduces, unless it is here already.
    pub(super) async fn introduce(
        &self,
        chain: &Chain,
        last: Option<&Verified<IbGib>>,
        session: &Verified<IbGib>,
        commit: &mut Commit,
    ) -> Result<(), SagaError> {
        if chain.is_revoked() {
            return Err(IdentityRefusal::Revoked(chain.tjp().clone()).into());
        }
        let (s, step) = Chain::from_genesis(session.clone()).map_err(|e| IdentityRefusal::invalid(&e))?;
        let Some((identity, before, audience)) = introduced_by(session) else {
            return Err(IdentityRefusal::SessionDetails.into());
        };
        if audience != self.space.id() {
            return Err(IdentityRefusal::SessionAudience.into());
        }
        if identity != *chain.tjp() {
            return Err(IdentityRefusal::SessionOther.into());
        }
        if let Some(owner) = self.session_owner(s.tjp()).await? {
            return if owner == identity { Ok(()) } else { Err(IdentityRefusal::SessionOther.into()) };
        }
        let names = last.is_some_and(|f| {
            let claim =
                f.datum("proofs").and_then(|p| p.as_array()).and_then(|p| p.first()).and_then(|p| p.get("claim"));
            let text = |key: &str| claim.and_then(|c| c.get(key)).and_then(ibgib::Value::as_str);
            f.addr() == chain.tip().addr()
                && f.past().as_ref() == Some(&before)
                && text("verb") == Some(VERB_SYNC)
                && text("target") == Some(session.addr().as_str())
        });
        if !names {
            return Err(IdentityRefusal::SessionNotNamed.into());
        }
        commit.nodes.push(session.clone());
        commit.tips.push(Advance::Keystone(step));
        commit.records.push((session_key(s.tjp()), Some(chain.tjp().as_str().as_bytes().to_vec())));
        Ok(())
    }
}

fn session_key(session: &Addr) -> String {
    format!("session/{session}")
}
