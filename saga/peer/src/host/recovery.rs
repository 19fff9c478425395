//! Identities that were taken back: which branch stands at this host.

use super::{Host, HostEvent};
use crate::identity;
use crate::recovery::{ended_records, is_ended};
use crate::session::Details;
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, Expect, Recovery, Standing, danger, is_bound, is_recovery};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::{Commit, Tip};
use std::sync::Arc;

/// Whether frames may take their identity back: one of them says so in a way that only the owner could.
pub(super) fn may_take_back(frames: &[Verified<IbGib>]) -> bool {
    frames.iter().any(|frame| is_recovery(frame) && is_bound(frame))
}

impl Host {
    pub(super) async fn check_not_ended(&self, tjp: &Addr) -> Result<(), SagaError> {
        match is_ended(&*self.space, tjp).await? {
            true => Err(IdentityRefusal::Revoked(tjp.clone()).into()),
            false => Ok(()),
        }
    }

    /// Judges frames that do not continue the tip but take the identity back: the branch that they make, and the proof
    /// that it stands. `None` when it does not.
    pub(super) async fn taken_back(
        &self,
        tip: &Tip,
        frames: &[Verified<IbGib>],
        of_the_last: &Expect,
    ) -> Result<Option<(Chain, Recovery)>, SagaError> {
        let Some(first) = frames.first().filter(|first| is_bound(first)) else { return Ok(None) };
        let Some(past) = first.past() else { return Ok(None) };
        let Some(before) = self.space.node(&past).await.map_err(space_error)? else { return Ok(None) };
        if before.tjp().as_ref() != Some(&tip.tjp) {
            return Ok(None);
        }
        // One validation before any replay: only who has one of the secrets gets further.
        let alone = first.clone();
        let held = self.checks.run(move || danger::validate_alone(&before, &alone, &Expect::default())).await?;
        held.map_err(|e| IdentityRefusal::invalid(&e))?;
        let (space, tjp, at) = (Arc::clone(&self.space), tip.tjp.clone(), past.clone());
        let branch = self.jobs.run(async move { identity::chain_at(&*space, &tjp, at).await }).await?;
        let (branch, _) = self.advanced(branch, frames, of_the_last).await?;
        let (space, next, at) = (Arc::clone(&self.space), tip.addr.clone(), past.clone());
        let ours = self.jobs.run(async move { identity::successor(&*space, next, &at).await }).await?;
        let Some(ours) = ours else { return Ok(None) };
        let now = self.chain(tip).await?;
        match now.judge(&ours, &branch, first) {
            Some(Standing::Other(recovery)) => {
                tracing::warn!(identity = %tip.tjp, from = %recovery.from(), to = %recovery.to(), "identity was taken back");
                Ok(Some((branch, recovery)))
            }
            Some(Standing::Neither) => {
                let records = ended_records(&tip.tjp, &past, &[&ours, first]);
                self.space.commit(Commit { records, ..Commit::default() }).await.map_err(identity::commit_error)?;
                tracing::warn!(identity = %tip.tjp, %past, "identity was taken back twice on one frame: it is at its end");
                self.cut(&tip.tjp);
                self.tell(HostEvent::Forked(tip.tjp.clone()));
                Err(IdentityRefusal::Revoked(tip.tjp.clone()).into())
            }
            _ => Ok(None),
        }
    }

    /// Whether the tip's branch was taken back after a frame: whatever else follows that one lost its place, and is
    /// evidence of nothing.
    pub(super) async fn was_taken_back_after(&self, tip: &Tip, frame: &IbGib) -> Result<bool, SagaError> {
        let recoveries = self.chain(tip).await?.recoveries();
        Ok(recoveries.count > 0 && Some(recoveries.n) > frame.n())
    }

    /// Whether a session was introduced by a frame that is still its identity's: a thief may have made one before the
    /// identity was taken back.
    pub(crate) async fn check_introduced(&self, session: &Verified<IbGib>, identity: &Addr) -> Result<(), SagaError> {
        let tip = self.space.tip(identity).await.map_err(space_error)?;
        let Some(tip) = tip else { return Err(IdentityRefusal::Unknown(identity.clone()).into()) };
        let recoveries = self.chain(&tip).await?.recoveries();
        if recoveries.count == 0 {
            return Ok(());
        }
        let details = Details::read(session).ok_or(IdentityRefusal::SessionDetails)?;
        let mut next = Some(tip.addr);
        while let Some(addr) = next {
            if addr == details.identity_before {
                return Ok(());
            }
            let Some(frame) = self.space.node(&addr).await.map_err(space_error)? else { break };
            next = frame.past().filter(|_| frame.n() > Some(recoveries.n));
        }
        Err(IdentityRefusal::SessionUsed.into())
    }

    /// Ends the connection that an identity has now.
    pub(super) fn cut(&self, identity: &Addr) {
        if let Some(live) = self.live().get(identity) {
            live.cut.cancel();
        }
    }
}
