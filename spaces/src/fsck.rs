//! Checks a whole space.

use crate::error::SpaceError;
use crate::space::Space;
use crate::walk::Follow;
use ibgib::Addr;
use std::collections::{HashMap, HashSet};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fsck {
    /// Nodes that are whole.
    pub nodes: u64,
    /// Timelines with a tip.
    pub timelines: u64,
    /// Addresses, or keys where no address can be read, of what is stored damaged.
    pub corrupt: Vec<String>,
    /// Addresses that are not there, with who relates to them (`tip` for a tip).
    pub missing: Vec<(String, String)>,
    /// Nodes that no tip leads to; constants and contexts of sagas are such.
    pub unreachable: u64,
    /// Damaged or missing nodes that good copies have taken the place of; a check by itself repairs nothing.
    pub repaired: u64,
}

impl Fsck {
    /// Nothing is damaged and nothing is missing.
    pub fn is_clean(&self) -> bool {
        self.corrupt.is_empty() && self.missing.is_empty()
    }
}

/// Puts addresses in the place of bare hashes: where a node's own text is lost, a tip or whoever relates to it still tells its
/// name, and only by that can a good copy be asked for.
async fn name_corrupt(space: &dyn Space, corrupt: &mut [String]) -> Result<(), SpaceError> {
    let mut bare: HashMap<String, usize> = HashMap::new();
    for (nth, name) in corrupt.iter().enumerate().filter(|(_, name)| !name.contains('^')) {
        bare.insert(name.clone(), nth);
    }
    let mut tell = |addr: &Addr, bare: &mut HashMap<String, usize>| {
        let found = addr.key().and_then(|key| bare.remove(&hex::encode_upper(key)));
        if let Some(nth) = found {
            corrupt[nth] = addr.to_string();
        }
    };
    if !bare.is_empty() {
        for tip in space.tips(None).await? {
            tell(&tip.addr, &mut bare);
            tell(&tip.tjp, &mut bare);
        }
    }
    let mut after = None;
    while !bare.is_empty() {
        let batch = space.scan(after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = Some(last.key);
        for node in batch.into_iter().filter_map(|entry| entry.node.ok()) {
            node.targets().iter().for_each(|target| tell(target, &mut bare));
        }
    }
    Ok(())
}

/// Nodes read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;

/// Re-hashes every node, looks for everything it relates to, and walks every tip.
///
/// # Errors
/// When the space cannot be read at all; damage is part of the answer.
pub async fn fsck(space: &dyn Space) -> Result<Fsck, SpaceError> {
    let mut out = Fsck::default();
    let mut after = None;
    let mut seen_missing: HashSet<Addr> = HashSet::new();
    loop {
        let batch = space.scan(after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = Some(last.key);
        let mut relations = Vec::new();
        for entry in batch {
            match entry.node {
                Ok(node) => {
                    out.nodes += 1;
                    relations.extend(node.targets().into_iter().map(|target| (target, node.addr().clone())));
                }
                Err(SpaceError::Corrupt { addr, .. }) => out.corrupt.push(addr),
                Err(error) => return Err(error),
            }
        }
        for (target, from) in space.lacking(relations).await? {
            if seen_missing.insert(target.clone()) {
                out.missing.push((target.to_string(), from.to_string()));
            }
        }
    }
    name_corrupt(space, &mut out.corrupt).await?;
    let tips = space.tips(None).await?;
    out.timelines = tips.len() as u64;
    let addrs: Vec<Addr> = tips.into_iter().map(|t| t.addr).collect();
    let has = space.has(&addrs).await?;
    let mut starts = Vec::new();
    for (addr, has) in addrs.into_iter().zip(has) {
        if has {
            starts.push(addr);
        } else if seen_missing.insert(addr.clone()) {
            out.missing.push((addr.to_string(), "tip".into()));
        }
    }
    if out.is_clean() {
        let reached = space.reach(&starts, Follow::All, &HashSet::new(), usize::MAX).await?;
        out.unreachable = out.nodes.saturating_sub(reached.len() as u64);
    }
    Ok(out)
}
