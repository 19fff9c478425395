//! Writing a bundle.

use super::lines::Hashing;
use super::{BundleError, Bundled, NAME};
use crate::error::SpaceError;
use crate::space::Space;
use crate::walk::Follow;
use ibgib::{Addr, Value, object};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::Write;

/// Nodes read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;

/// Writes a bundle: everything of the space, or the live graphs of `starts` with the tips of the living timelines in
/// them.
///
/// # Errors
/// A failing space or sink; what was written then is no bundle.
pub async fn export(space: &dyn Space, starts: &[Addr], sink: impl Write + Send) -> Result<Bundled, BundleError> {
    let mut out = Hashing { sink, hash: Sha256::new() };
    let mut told = Bundled::default();
    out.line(&object([("bundle", NAME.into())]).to_json())?;
    // Tips first: what is committed while the nodes are read only adds nodes.
    let mut tips = space.tips(None).await?;
    if starts.is_empty() {
        let mut after = None;
        loop {
            let batch = space.scan(after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.key);
            let mut relations: Vec<(Addr, Addr)> = Vec::new();
            for entry in batch {
                let node = entry.node?;
                relations.extend(node.targets().into_iter().map(|target| (target, node.addr().clone())));
                out.line(&node.to_json())?;
                told.nodes += 1;
            }
            // With a gap it would be a bundle that nobody can import.
            if let Some((target, from)) = space.lacking(relations).await?.into_iter().next() {
                return Err(SpaceError::Missing { path: vec![from.to_string(), target.to_string()] }.into());
            }
        }
    } else {
        let addrs = space.reach(starts, Follow::Live, &HashSet::new(), usize::MAX).await?;
        for batch in addrs.chunks(BATCH) {
            for (node, addr) in space.get(batch).await?.into_iter().zip(batch) {
                let node = node.ok_or_else(|| SpaceError::Missing { path: vec![addr.to_string()] })?;
                out.line(&node.to_json())?;
                told.nodes += 1;
            }
        }
        let inside: HashSet<Addr> = addrs.into_iter().collect();
        tips.retain(|tip| inside.contains(&tip.addr));
    }
    for tip in &tips {
        let line = object([("tjp", (&tip.tjp).into()), ("addr", (&tip.addr).into())]);
        out.line(&object([("tip", line)]).to_json())?;
        told.timelines += 1;
    }
    let end = object([
        ("nodes", Value::integer(told.nodes)),
        ("timelines", Value::integer(told.timelines)),
        ("sha256", hex::encode(out.hash.clone().finalize()).into()),
    ]);
    out.line(&object([("end", end)]).to_json())?;
    out.sink.flush()?;
    Ok(told)
}
