//! Good copies in the place of what is damaged.
//!
//! A store never answers bytes that do not have their address, but it says that it [has](crate::Space::has) the node, so
//! nobody would send it again. What a check found damaged or missing is therefore remembered in local records, for
//! whoever can ask another space or read a bundle; and a good copy that is stored takes the place of a damaged one,
//! whoever brings it.

use crate::error::{CommitError, SpaceError};
use crate::fsck::{Fsck, fsck};
use crate::rules::Commit;
use crate::space::Space;
use ibgib::{Addr, IbGib, Verified};
use std::collections::HashSet;

/// Records that name what is damaged.
const DAMAGED: &str = "damaged/";

/// The record by which a node is remembered as damaged.
pub(crate) fn damaged(addr: &str) -> String {
    format!("{DAMAGED}{addr}")
}

/// Checks the whole space and remembers what is damaged or missing, and nothing else.
///
/// # Errors
/// When the space cannot be read at all, or not written.
pub async fn check(space: &dyn Space) -> Result<Fsck, CommitError> {
    let found = fsck(space).await?;
    let missing = found.missing.iter().map(|(addr, _)| addr);
    // Where nobody tells the name any more it is the digits of the hash: who has the node can still be told by them.
    let now: HashSet<String> = found.corrupt.iter().chain(missing).map(|a| damaged(a)).collect();
    let before: HashSet<String> = space.records(DAMAGED).await?.into_iter().map(|(key, _)| key).collect();
    let mut records: Vec<(String, Option<Vec<u8>>)> = before.difference(&now).map(|k| (k.clone(), None)).collect();
    records.extend(now.difference(&before).map(|k| (k.clone(), Some(Vec::new()))));
    if !records.is_empty() {
        records.sort_unstable();
        space.commit(Commit { records, ..Commit::default() }).await?;
    }
    Ok(found)
}

/// What is remembered as damaged or missing, but for what has no name any more.
///
/// # Errors
/// When the store fails.
pub async fn known(space: &dyn Space) -> Result<Vec<Addr>, SpaceError> {
    let records = space.records(DAMAGED).await?;
    Ok(records.into_iter().filter_map(|(key, _)| key.strip_prefix(DAMAGED)?.parse().ok()).collect())
}

/// The hashes of all that is remembered as damaged or missing.
///
/// # Errors
/// When the store fails.
pub(crate) async fn known_keys(space: &dyn Space) -> Result<HashSet<[u8; 32]>, SpaceError> {
    let key = |record: &str| {
        let name = record.strip_prefix(DAMAGED)?;
        match name.parse::<Addr>() {
            Ok(addr) => addr.key(),
            Err(_) => hex::decode(name).ok()?.try_into().ok(),
        }
    };
    Ok(space.records(DAMAGED).await?.into_iter().filter_map(|(record, _)| key(&record)).collect())
}

/// Puts good copies in the place of damaged nodes. A missing node is taken, too, where everything that it relates to is
/// here or among `nodes`. `owner` must have nothing staged.
///
/// # Errors
/// When the store fails.
pub async fn mend(space: &dyn Space, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), CommitError> {
    // A damaged node is replaced as soon as a good copy is staged; what was missing is staged by that.
    space.stage(owner, nodes).await?;
    let mut whole: HashSet<Addr> = space.staged_addrs(owner).await?.into_iter().collect();
    loop {
        let inside = nodes.iter().filter(|node| whole.contains(node.addr()));
        let outside = inside.flat_map(|node| {
            let targets = node.targets().into_iter().filter(|target| !whole.contains(target));
            targets.map(|target| (target, node.addr().clone())).collect::<Vec<_>>()
        });
        let lacking: HashSet<Addr> =
            space.lacking(outside.collect()).await?.into_iter().map(|(target, _)| target).collect();
        if lacking.is_empty() {
            break;
        }
        let lacks = |node: &&Verified<IbGib>| node.targets().iter().any(|target| lacking.contains(target));
        for node in nodes.iter().filter(lacks) {
            whole.remove(node.addr());
        }
    }
    // Also what was only staged is durable with this.
    let publish = Some((owner.to_owned(), whole.into_iter().collect()));
    space.commit(Commit { publish, ..Commit::default() }).await?;
    space.unstage(owner).await?;
    Ok(())
}

/// Forgets what is whole again, and answers how many nodes that are. What they relate to and is missing or damaged, whose
/// names nobody could tell while they were damaged, is remembered instead.
///
/// # Errors
/// When the store fails.
pub async fn settle(space: &dyn Space) -> Result<u64, CommitError> {
    let (mut records, mut relations) = (Vec::new(), Vec::new());
    for addr in known(space).await? {
        match space.node(&addr).await {
            Ok(Some(node)) => {
                records.push((format!("{DAMAGED}{addr}"), None));
                relations.extend(node.targets().into_iter().map(|target| (target, addr.clone())));
            }
            Ok(None) | Err(SpaceError::Corrupt { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let whole = records.len() as u64;
    let targets: HashSet<Addr> = relations.iter().map(|(target, _)| target.clone()).collect();
    for target in targets {
        if let Err(SpaceError::Corrupt { .. }) = space.node(&target).await {
            records.push((damaged(target.as_str()), Some(Vec::new())));
        }
    }
    let missing = space.lacking(relations).await?;
    records.extend(missing.into_iter().map(|(target, _)| (format!("{DAMAGED}{target}"), Some(Vec::new()))));
    if whole > 0 {
        space.commit(Commit { records, ..Commit::default() }).await?;
    }
    Ok(whole)
}
