//! What the owner of a server's space has dropped, as a device follows it: its own tips leave those frames, too, as
//! the server's did.

use crate::grant::Statement;
use crate::identity;
use crate::receipts;
use crate::remote::Remote;
use crate::trusted;
use crate::view::{commit_error, space_error};
use async_trait::async_trait;
use ibgib::Addr;
use ibgib_saga::SagaError;
use ibgib_spaces::dropped::{DroppedFrames, dropped_key, dropped_prefix, stated_key};
use ibgib_spaces::history::Loader;
use ibgib_spaces::settle::{Draft, Proposal, TRIES, Unsettled, settle};
use ibgib_spaces::{Commit, Kind, Space};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Follows what the owner of the remote's space has dropped. Answers the timelines whose tips went back here.
///
/// # Errors
/// The statements do not hold, or are by somebody else than those before (`server_changed`); the space fails.
pub(crate) async fn follow(device: &Arc<dyn Space>, remote: &dyn Remote, space: &str) -> Result<Vec<Addr>, SagaError> {
    if let Some(newest) = remote.dropped().await? {
        let known = device.record(&stated_key(space)).await.map_err(space_error)?;
        if known.is_none_or(|known| known != newest.as_str().as_bytes()) {
            learn(device, remote, space, &newest).await?;
        }
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
        if Kind::of(&tjp) == Kind::Living && leave(&**device, &tjp, frames).await? {
            out.push(tjp);
        }
    }
    Ok(out)
}

/// Reads the statements of whoever made `newest`, and keeps what is dropped by them.
async fn learn(device: &Arc<dyn Space>, remote: &dyn Remote, space: &str, newest: &Addr) -> Result<(), SagaError> {
    let tjp = match newest.tjp_gib() {
        Some(gib) => Addr::new("keystone", gib).map_err(|error| SagaError::defect(error.to_string()))?,
        None => newest.clone(),
    };
    let key = trusted::dropper_key(space);
    let known = device.record(&key).await.map_err(space_error)?;
    if let Some(known) = known.and_then(|known| String::from_utf8(known).ok()).filter(|known| known != tjp.as_str()) {
        let (url, shown) = (remote.shown().to_owned(), tjp.to_string());
        return Err(SagaError::PeerChanged { url, what: "owner", known, shown });
    }
    let chain = trusted::frames(device, remote, &tjp, newest).await?;
    let known = device.record(&stated_key(space)).await.map_err(space_error)?;
    let (mut dropped, mut lately) = (BTreeSet::new(), BTreeSet::new());
    for frame in identity::frames_after(&**device, chain.tip(), &tjp).await? {
        match Statement::of(&frame, space) {
            Some(Statement::Drop { frames }) => {
                lately.extend(frames.iter().cloned());
                dropped.extend(frames);
            }
            Some(Statement::Allow { frames }) => dropped.retain(|frame| !frames.contains(frame)),
            _ => {}
        }
        if known.as_deref() == Some(frame.addr().as_str().as_bytes()) {
            lately.clear();
        }
    }
    let before = device.records(&dropped_prefix(space)).await.map_err(space_error)?;
    let mut records: Vec<_> = before.into_iter().map(|(key, _)| (key, None)).collect();
    records.extend(dropped.iter().map(|frame| (dropped_key(space, frame), Some(newest.as_str().as_bytes().to_vec()))));
    for evidence in dropped.iter().filter(|frame| Kind::of(frame) == Kind::Keystone) {
        records.extend(identity::unforked(&**device, evidence).await?);
    }
    // Allowed again or not: the space shows less of them than it has confirmed, and says why.
    let timelines = lately.iter().map(|frame| frame.tjp_gib().unwrap_or(frame.gib())).collect();
    records.extend(receipts::release(&**device, space, &timelines).await?);
    records.push((stated_key(space), Some(newest.as_str().as_bytes().to_vec())));
    records.push((key, Some(tjp.as_str().as_bytes().to_vec())));
    tracing::info!(owner = %tjp, frames = dropped.len(), "the owner of the server's space has dropped frames");
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
