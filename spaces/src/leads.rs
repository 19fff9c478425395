//! Which living timelines lead to other ones or have open conflicts: the few whose newest frames have to be read to find out
//! what is under a timeline (§5 of `docs/protocol.md`, "Under"), and what is to be settled. A folder leads to its files; most
//! files lead nowhere and are settled.
//!
//! A commit that moves a living tip to a frame which may lead to another timeline, or has a conflict, keeps a record of that
//! (`leads/<timeline>`), in the same write, which says whether it has conflicts. It is never dropped: such a timeline is read
//! again, whether it still leads somewhere or not. Where there is none there is nothing to find, once the space was looked
//! through for the tips of before there were such records ([`prepare`]).

use crate::error::{CommitError, SpaceError};
pub use crate::marks::others;
use crate::marks::{LEADS, LEADS_KNOWN, SETTLED, has_conflicts, leads_key, led_by};
use crate::rules::Commit;
use crate::space::Space;
use crate::store::{Records, Tips};
use crate::tip::{Kind, Tip};
use ibgib::{Addr, IbGib, Verified};
use std::collections::{HashMap, HashSet};

/// Frames read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;
/// Of more timelines all records are read.
const KEYS: usize = 16;

/// Of these tips of living timelines those that may lead to other timelines or have open conflicts, in their order; the newest
/// frames of the others relate to no other timeline and no conflict. `None` where nobody has [looked](prepare) yet.
///
/// # Errors
/// When the store fails.
pub async fn that_may_lead<'t>(space: &dyn Space, tips: &[&'t Tip]) -> Result<Option<Vec<&'t Tip>>, SpaceError> {
    let view = space.view().await?;
    if view.records(Records::Keys(&[LEADS_KNOWN.to_owned()])).await?.is_empty() {
        return Ok(None);
    }
    // Most timelines lead nowhere, so that to read the names of all that may is cheaper than to ask for many.
    let keys: Vec<String> = tips.iter().map(|tip| leads_key(&tip.tjp)).collect();
    let which = if keys.len() > KEYS { Records::Prefix(LEADS) } else { Records::Keys(&keys) };
    let found: HashSet<String> = view.records(which).await?.into_iter().map(|(key, _)| key).collect();
    let out = tips.iter().zip(&keys).filter(|(_, key)| found.contains(*key)).map(|(tip, _)| *tip).collect();
    Ok(Some(out))
}

/// The tips of living timelines that may have open conflicts, sorted by timeline; the newest frames of the others have none,
/// and none of them is looked at. `None` where nobody has [looked](prepare) yet.
///
/// # Errors
/// When the store fails.
pub async fn that_may_have_conflicts(space: &dyn Space) -> Result<Option<Vec<Tip>>, SpaceError> {
    let view = space.view().await?;
    // The record that says whether somebody has looked is among them.
    let records = view.records(Records::Prefix(LEADS_KNOWN)).await?;
    if !records.iter().any(|(key, _)| key == LEADS_KNOWN) {
        return Ok(None);
    }
    let may = records.iter().filter(|(_, mark)| mark != SETTLED).filter_map(|(key, _)| led_by(key));
    let mut tips = view.tips(Tips::Of(&may.collect::<Vec<_>>())).await?;
    tips.sort_unstable_by(|a, b| a.tjp.cmp(&b.tjp));
    Ok(Some(tips))
}

/// Looks at the newest frame of every living timeline once, if nobody has. Of those that are committed meanwhile the commits
/// themselves tell. One that is damaged may lead anywhere.
///
/// # Errors
/// When the store fails.
pub async fn prepare(space: &dyn Space) -> Result<(), CommitError> {
    if space.record(LEADS_KNOWN).await?.is_some() {
        return Ok(());
    }
    let tips = space.tips(Some(Kind::Living)).await?;
    let mut may_lead: HashSet<&Addr> = HashSet::new();
    for batch in tips.chunks(BATCH) {
        let frames = read(space, &batch.iter().map(|tip| tip.addr.clone()).collect::<Vec<_>>()).await?;
        // Who relates to what: constants lead nowhere, which only they themselves tell.
        let mut by_target: HashMap<Addr, Vec<&Addr>> = HashMap::new();
        for (tip, frame) in batch.iter().zip(frames) {
            let Some(frame) = frame else {
                may_lead.insert(&tip.tjp);
                continue;
            };
            if has_conflicts(&frame) {
                may_lead.insert(&tip.tjp);
            }
            for target in others(&frame) {
                match target.tjp_gib() {
                    Some(_) => drop(may_lead.insert(&tip.tjp)),
                    None => by_target.entry(target).or_default().push(&tip.tjp),
                }
            }
        }
        by_target.retain(|_, from| from.iter().any(|tjp| !may_lead.contains(tjp)));
        let (targets, from): (Vec<Addr>, Vec<Vec<&Addr>>) = by_target.into_iter().unzip();
        for (targets, from) in targets.chunks(BATCH).zip(from.chunks(BATCH)) {
            for (target, from) in read(space, targets).await?.into_iter().zip(from) {
                if target.is_none_or(|target| target.is_frame()) {
                    may_lead.extend(from);
                }
            }
        }
    }
    // Whether they have conflicts is left open: a tip may have moved meanwhile, and its commit have said so already.
    let mut records: Vec<_> = may_lead.iter().map(|tjp| (leads_key(tjp), Some(Vec::new()))).collect();
    records.push((LEADS_KNOWN.to_owned(), Some(b"1".to_vec())));
    space.commit(Commit { records, ..Commit::default() }).await?;
    Ok(())
}

/// Nodes; none for those that are damaged.
async fn read(space: &dyn Space, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
    match space.get(addrs).await {
        Err(SpaceError::Corrupt { .. }) => {}
        read => return read,
    }
    let mut out = Vec::with_capacity(addrs.len());
    for addr in addrs {
        out.push(match space.node(addr).await {
            Err(SpaceError::Corrupt { .. }) => None,
            read => read?,
        });
    }
    Ok(out)
}
