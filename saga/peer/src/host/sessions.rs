//! Sessions: which identity one belongs to, and which connection an identity has now.

use super::Host;
use crate::session::{Details, owner_of, session_key};
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, Claim, VERB_SYNC, is_bound};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::{Advance, Commit};
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// The connection that an identity has now.
pub(super) struct Live {
    pub(super) connection: u64,
    pub(super) session: Addr,
    /// Of the commit by which it connected.
    pub(super) revision: u64,
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
        Ok(record.and_then(owner_of))
    }

    /// Makes a connection the one that its identity has, after the commit that says so. The older one ends: here at once, at
    /// another host over the same space when it hears of that commit.
    pub(super) async fn enter(&self, identity: &Addr, new: Live) -> Result<(), SagaError> {
        let session = new.session.clone();
        {
            let mut live = self.live();
            match live.get(identity) {
                Some(other) if other.revision > new.revision => return Err(SagaError::Superseded),
                Some(older) => older.cut.cancel(),
                None => {}
            }
            live.insert(identity.clone(), new);
        }
        // Whoever connected elsewhere before we were entered here has told it before, too.
        let newest = self.space.record(&connected_key(identity)).await.map_err(space_error)?;
        if newest.is_some_and(|newest| newest != session.as_str().as_bytes()) {
            return Err(SagaError::Superseded);
        }
        Ok(())
    }

    /// What names a session, which is to be one for this space.
    pub(super) fn is_for_us(&self, session: &Verified<IbGib>) -> Result<Details, SagaError> {
        let details = Details::read(session).ok_or(IdentityRefusal::SessionDetails)?;
        if details.audience == self.space.id() { Ok(details) } else { Err(IdentityRefusal::SessionAudience.into()) }
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
        let details = self.is_for_us(session)?;
        if details.identity != *chain.tjp() {
            return Err(IdentityRefusal::SessionOther.into());
        }
        if chain.binds() && !s.binds() {
            return Err(IdentityRefusal::SessionStrategy.into());
        }
        if let Some(owner) = self.session_owner(s.tjp()).await? {
            return if owner == details.identity { Ok(()) } else { Err(IdentityRefusal::SessionOther.into()) };
        }
        let claim =
            last.and_then(|f| f.datum("proofs")?.as_array()?.first()).and_then(|p| Claim::parse(p.get("claim")?));
        let Some((last, claim)) = last.zip(claim) else { return Err(IdentityRefusal::SessionNotNamed.into()) };
        let names = last.addr() == chain.tip().addr()
            && last.past().as_ref() == Some(&details.identity_before)
            && claim.verb == VERB_SYNC
            && claim.target == session.addr().as_str();
        if !names {
            return Err(IdentityRefusal::SessionNotNamed.into());
        }
        // What is not signed says nothing.
        if is_bound(last) {
            if claim.audience.as_deref() != Some(self.space.id()) {
                return Err(IdentityRefusal::SessionAudience.into());
            }
            if claim.nonce.as_ref() != Some(&details.session_id) {
                return Err(IdentityRefusal::SessionNotNamed.into());
            }
        }
        commit.nodes.push(session.clone());
        commit.tips.push(Advance::Keystone(step));
        commit.records.push((session_key(s.tjp()), Some(chain.tjp().as_str().as_bytes().to_vec())));
        Ok(())
    }
}

/// Under which record stands the session with which an identity connected last, at whichever host.
pub(crate) fn connected_key(identity: &Addr) -> String {
    format!("connected/{identity}")
}
