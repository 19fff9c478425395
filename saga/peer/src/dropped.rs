//! What the owner of a server's space has dropped, as a device follows it: its own tips leave those frames, too, as
//! the server's did.

use crate::identity;
use crate::receipts;
use crate::remote::Remote;
use crate::signing::aside;
use crate::trusted;
use crate::view::{commit_error, space_error};
use async_trait::async_trait;
use ibgib::{Addr, Mode, Value};
use ibgib_keystone::Dropping;
use ibgib_saga::{Breach, SagaError};
use ibgib_spaces::dropped::{DroppedFrames, dropped_key, dropped_prefix, stated_key};
use ibgib_spaces::history::Loader;
use ibgib_spaces::settle::{Draft, Proposal, TRIES, Unsettled, settle};
use ibgib_spaces::{Commit, Kind, Space};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Follows what the owner of the remote's space has dropped, as the space's keystone has signed it. Answers the timelines
/// whose tips went back here. Whoever does not know that keystone yet follows after the first meeting.
///
/// # Errors
/// The list is not signed as it should be (`bad_signature`); the space fails.
pub(crate) async fn follow(device: &Arc<dyn Space>, remote: &dyn Remote, space: &str) -> Result<Vec<Addr>, SagaError> {
    let before = known(&**device, space).await?;
    let seen = before.as_ref().map_or(0, Dropping::number);
    if let Some(keystone) = trusted::known(&**device, space).await?
        && let Some(list) = remote.dropped(seen).await?.filter(|list| list.number() > seen)
    {
        learn(device, remote, space, &keystone, (before, &list)).await?;
    }
    let dropped = device.view().await.map_err(space_error)?;
    let dropped = DroppedFrames::load(&*dropped).await.map_err(space_error)?;
    let mut out = Vec::new();
    for frame in dropped.timelines() {
        let Some(frames) = dropped.of(frame) else { continue };
        let all: Vec<Addr> = frames.iter().cloned().collect();
        let here = device.get(&all).await.map_err(space_error)?;
        let Some(tjp) = here.into_iter().flatten().find_map(|node| node.tjp()) else { continue };
        // Its own identities a device judges by itself.
        if Kind::of(&tjp) != Kind::Living {
            continue;
        }
        match leave(&**device, &tjp, frames).await {
            Ok(true) => out.push(tjp),
            Ok(false) => {}
            // The server refuses that one, and everything else syncs.
            Err(error) => tracing::warn!(timeline = %tjp, %error, "it still stands on what was dropped"),
        }
    }
    Ok(out)
}

/// The newest list of a space that this device has followed.
async fn known(device: &dyn Space, space: &str) -> Result<Option<Dropping>, SagaError> {
    let kept = device.record(&stated_key(space)).await.map_err(space_error)?;
    let value = kept.and_then(|kept| Value::parse(std::str::from_utf8(&kept).ok()?, Mode::Strict).ok());
    Ok(value.as_ref().and_then(Dropping::parse))
}

/// Whether the owner of the remote's space has dropped frames since this device heard of it last: while it was connected.
pub(crate) async fn is_news(device: &dyn Space, remote: &dyn Remote, space: &str) -> Result<bool, SagaError> {
    let seen = known(device, space).await?.map_or(0, |list| list.number());
    Ok(remote.dropped(seen).await?.is_some_and(|list| list.number() > seen))
}

/// Checks a list, and keeps it.
async fn learn(
    device: &Arc<dyn Space>,
    remote: &dyn Remote,
    space: &str,
    keystone: &Addr,
    (before, list): (Option<Dropping>, &Dropping),
) -> Result<(), SagaError> {
    let bad = |why: String| SagaError::misbehaved(Breach::BadSignature, why);
    if list.keystone() != *keystone {
        return Err(bad(format!("{} has signed what is dropped, and not {keystone}", list.keystone())));
    }
    let chain = trusted::frames(device, remote, keystone, list.frame()).await?;
    let (checked, id) = (list.clone(), space.to_owned());
    if !aside(move || checked.holds(&chain, &id)).await? {
        return Err(bad(format!("{keystone} has not signed that this is what is dropped of the space {space}")));
    }
    let old = device.records(&dropped_prefix(space)).await.map_err(space_error)?;
    let mut records: Vec<_> = old.into_iter().map(|(key, _)| (key, None)).collect();
    records.extend(list.dropped().iter().map(|frame| (dropped_key(space, frame), Some(Vec::new()))));
    for evidence in list.dropped().iter().filter(|frame| Kind::of(frame) == Kind::Keystone) {
        records.extend(identity::unforked(&**device, evidence).await?);
    }
    // Allowed again or not: the space shows less of them than it has confirmed, and says why.
    let was = |frame: &Addr| before.as_ref().is_some_and(|before| before.dropped().contains(frame));
    let lately = list.dropped().iter().chain(list.allowed()).filter(|frame| !was(frame));
    let timelines = lately.map(|frame| frame.tjp_gib().unwrap_or(frame.gib())).collect();
    records.extend(receipts::release(&**device, space, &timelines).await?);
    records.push((stated_key(space), Some(list.to_value().to_json().into_bytes())));
    tracing::info!(frames = list.dropped().len(), "the owner of the server's space has dropped frames");
    device.commit(Commit { records, ..Commit::default() }).await.map(drop).map_err(commit_error)
}

/// Leads one tip back; `false` when it stands on nothing that was dropped.
async fn leave(device: &dyn Space, tjp: &Addr, frames: &BTreeSet<Addr>) -> Result<bool, SagaError> {
    let leaving = Leaving { device, tjp, frames };
    match settle(device, TRIES, &leaving).await {
        Ok(settled) => Ok(settled.told),
        Err(Unsettled::Draft(error)) => Err(error),
        Err(Unsettled::Commit(error)) => Err(commit_error(error)),
        Err(Unsettled::Busy(tries)) => Err(SagaError::Busy(tries)),
    }
}

struct Leaving<'a> {
    device: &'a dyn Space,
    tjp: &'a Addr,
    frames: &'a BTreeSet<Addr>,
}

#[async_trait]
impl Proposal for Leaving<'_> {
    type Told = bool;
    type Error = SagaError;

    async fn draft(&self, draft: &mut Draft) -> Result<bool, SagaError> {
        let Some(tip) = self.device.tip(self.tjp).await.map_err(space_error)? else { return Ok(false) };
        let mut history = Loader::new(self.device, None);
        match draft.leave(&mut history, (self.tjp, &tip.addr), self.frames).await {
            Ok(left) => Ok(left.is_some()),
            Err(error) => Err(SagaError::defect(format!("what was dropped cannot be left: {error}"))),
        }
    }
}
