//! Whose word a device takes for a space: the keystone that it has met there first, or that an invite told.

use crate::identity;
use crate::remote::Remote;
use crate::signing::aside;
use crate::view::{commit_error, space_error};
use ibgib::Addr;
use ibgib_keystone::{Chain, Expect, Warrant};
use ibgib_saga::{Breach, SagaError};
use ibgib_spaces::{Advance, Commit, Space};
use std::sync::Arc;

/// The local record with the keystone that is known of a space.
pub(crate) fn known_key(space: &str) -> String {
    format!("keystone/{space}")
}

/// The keystone that is known of a space.
pub(crate) async fn known(device: &dyn Space, space: &str) -> Result<Option<Addr>, SagaError> {
    let record = device.record(&known_key(space)).await.map_err(space_error)?;
    Ok(record.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.parse().ok()))
}

/// Checks that a warrant is one of the space with this id, by the keystone that is known of it. The first one that is met is
/// remembered. Its frames come from the receiver, and rest in the device's space.
pub(crate) async fn check(
    device: &Arc<dyn Space>,
    remote: &dyn Remote,
    warrant: &Warrant,
    space: &str,
) -> Result<(), SagaError> {
    let shown = warrant.keystone();
    remote.check_keystone(&shown)?;
    let known = known(&**device, space).await?;
    if let Some(known) = known.as_ref().filter(|known| **known != shown) {
        return Err(SagaError::PeerChanged {
            url: remote.shown().to_owned(),
            what: "keystone",
            known: known.to_string(),
            shown: shown.to_string(),
        });
    }
    let chain = frames(device, remote, &shown, warrant.frame()).await?;
    let (checked, id) = (warrant.clone(), space.to_owned());
    if !aside(move || checked.holds(&chain, &id)).await? {
        let detail = format!("{shown} has not warranted the tree that signs for the space {space}");
        return Err(SagaError::misbehaved(Breach::BadSignature, detail));
    }
    if known.is_none() {
        let records = vec![(known_key(space), Some(shown.as_str().as_bytes().to_vec()))];
        device.commit(Commit { records, ..Commit::default() }).await.map_err(commit_error)?;
    }
    remote.met_keystone(&shown);
    Ok(())
}

/// Remembers by which keystone a space is known: one that was told with the space, before it was met.
///
/// # Errors
/// When the device's space fails.
pub async fn know_keystone(device: &dyn Space, space: &str, keystone: &Addr) -> Result<(), SagaError> {
    let records = vec![(known_key(space), Some(keystone.as_str().as_bytes().to_vec()))];
    device.commit(Commit { records, ..Commit::default() }).await.map(drop).map_err(commit_error)
}

/// A keystone as validated, at one of its frames. What is not here comes from the remote, and rests in the device's space.
pub(crate) async fn frames(
    device: &Arc<dyn Space>,
    remote: &dyn Remote,
    tjp: &Addr,
    frame: &Addr,
) -> Result<Chain, SagaError> {
    if device.has(std::slice::from_ref(frame)).await.map_err(space_error)? == [true] {
        return identity::chain_at(&**device, tjp, frame.clone()).await;
    }
    let bad = |why: String| {
        let detail = format!("the frames of the keystone {tjp}, as the server gives them, do not hold: {why}");
        SagaError::misbehaved(Breach::IdentityFrames, detail)
    };
    let mut nodes = remote.keystone_frames(frame).await?;
    let end = nodes.iter().position(|node| node.addr() == frame).ok_or_else(|| bad(format!("{frame} is missing")))?;
    nodes.truncate(end + 1);
    let begun = identity::load_chain(&**device, tjp).await?;
    if let Some(begun) = &begun {
        let at = nodes.iter().position(|node| node.addr() == begun.tip().addr());
        let at = at.ok_or_else(|| bad(format!("they do not lead from {}", begun.tip().addr())))?;
        nodes.drain(..=at);
    }
    let rest = nodes.clone();
    let went = aside(move || match begun {
        None => Chain::replay(rest).map(|(chain, step)| (chain, Some(step))),
        Some(mut chain) => chain.advance_all(&rest, &Expect::default()).map(|step| (chain, step)),
    });
    let (chain, step) =
        went.await?.map_err(|errors| bad(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    if chain.tjp() != tjp {
        return Err(bad(format!("they are those of {}", chain.tjp())));
    }
    let tips = step.map(Advance::Keystone).into_iter().collect();
    device.commit(Commit { nodes, tips, ..Commit::default() }).await.map_err(commit_error)?;
    Ok(chain)
}
