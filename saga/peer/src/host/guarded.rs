//! Identities that somebody guards for their owners: a revocation that waited ends one that was seen signing two frames on
//! one past.

use super::{Host, HostEvent};
use crate::identity::{self, FORKED_MS, forked_key};
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Recoveries, danger, is_waiting};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::{Commit, CommitError};
use std::collections::HashMap;
use std::sync::Arc;

/// Where a host keeps the revocation that ended an identity; it goes with what it ended it for.
pub(super) fn guarded_key(tjp: &Addr) -> String {
    format!("guarded/{tjp}")
}

fn invalid(detail: impl Into<String>) -> SagaError {
    IdentityRefusal::Invalid { rule: None, detail: detail.into() }.into()
}

impl Host {
    /// Identities that were seen signing two frames on one past and were not taken back since, each with that past, in the
    /// order in which they were seen.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn forks(&self) -> Result<Vec<(Addr, Addr)>, SagaError> {
        let prefix = "forked/";
        let records = self.space.records(prefix).await.map_err(space_error)?;
        let mut seen: HashMap<String, i64> = HashMap::new();
        for (key, ms) in self.space.records(FORKED_MS).await.map_err(space_error)? {
            let ms = String::from_utf8(ms).ok().and_then(|ms| ms.parse().ok());
            seen.extend(key.strip_prefix(FORKED_MS).map(str::to_owned).zip(ms));
        }
        let read = |(key, past): (String, Vec<u8>)| {
            let past = String::from_utf8(past).ok()?.parse().ok()?;
            Some((key.strip_prefix(prefix)?.parse().ok()?, past))
        };
        let mut forks: Vec<(Addr, Addr)> = records.into_iter().filter_map(read).collect();
        // What was marked before times were kept was seen before all others.
        forks.sort_by_key(|(tjp, _)| seen.get(tjp.as_str()).copied().unwrap_or(i64::MIN));
        Ok(forks)
    }

    /// Ends an identity by a revocation that waited, for the two frames that are evidence here that it was used in two places:
    /// all three are validated beside the state that they follow. From then on the identity is refused as revoked and its
    /// connection is cut, until it is taken back. Doing it again changes nothing.
    ///
    /// # Errors
    /// `identity_unknown`, `identity_invalid` also when there are no two such frames here; or the space fails.
    pub async fn end_guarded(&self, revocation: &Verified<IbGib>) -> Result<(), SagaError> {
        self.check_size(revocation)?;
        if !is_waiting(revocation) {
            return Err(invalid("it is no revocation that waits"));
        }
        let (Some(tjp), Some(state)) = (revocation.tjp(), revocation.past()) else {
            return Err(invalid("it follows nothing"));
        };
        let tip = self.space.tip(&tjp).await.map_err(space_error)?;
        tip.ok_or_else(|| IdentityRefusal::Unknown(tjp.clone()))?;
        if self.was_guarded(&tjp).await? {
            return Ok(());
        }
        let mut followers = Vec::new();
        for kept in identity::evidence(&*self.space, &tjp).await?.into_iter().filter(|kept| kept.past == state) {
            followers.push(Verified::parse(&kept.ibgib).map_err(|e| invalid(e.to_string()))?);
        }
        // Who uses it in more than two places leaves more of them.
        let [first, second, ..] = &followers[..] else {
            return Err(invalid(format!("there are no two frames here that both follow {state}")));
        };
        let (first, second) = (first.clone(), second.clone());
        // Beside its state alone it is judged for what that costs, before the whole chain is read: whoever makes up
        // revocations of a long one costs no replay.
        let node = self.space.node(&state).await.map_err(space_error)?;
        let alone = node.and_then(|node| danger::resume(node, [], Recoveries::default()));
        let alone = alone.ok_or_else(|| invalid(format!("{state} is not here")))?;
        let (asked, both) = (revocation.clone(), [first.clone(), second.clone()]);
        let held = self.checks.run(move || alone.ended_by(&asked, [&both[0], &both[1]])).await?;
        held.map_err(|e| IdentityRefusal::invalid(&e))?;
        let (space, of, at) = (Arc::clone(&self.space), tjp.clone(), state.clone());
        let chain = self.jobs.run(async move { identity::chain_at(&*space, &of, at).await }).await?;
        let asked = revocation.clone();
        let held = self.checks.run(move || chain.ended_by(&asked, [&first, &second])).await?;
        held.map_err(|e| IdentityRefusal::invalid(&e))?;
        let records = vec![(guarded_key(&tjp), Some(revocation.to_json().into_bytes()))];
        let expect = vec![(forked_key(&tjp), Some(state.as_str().as_bytes().to_vec()))];
        match self.space.commit(Commit { records, expect, ..Commit::default() }).await {
            Ok(_) => {}
            Err(CommitError::RecordsChanged(_)) => return Err(invalid("the identity was taken back meanwhile")),
            Err(error) => return Err(identity::commit_error(error)),
        }
        tracing::warn!(identity = %tjp, past = %state, "identity that signed two frames on one past was ended by a revocation that waited");
        self.cut(&tjp);
        self.tell(HostEvent::Ended(tjp));
        Ok(())
    }

    pub(super) async fn was_guarded(&self, tjp: &Addr) -> Result<bool, SagaError> {
        Ok(self.space.record(&guarded_key(tjp)).await.map_err(space_error)?.is_some())
    }
}
