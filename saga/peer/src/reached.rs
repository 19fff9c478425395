//! What a device keeps of a timeline that it syncs by its name: which timelines are in its live graph, each with the frame up to
//! which that is known. So the next sync walks over what came since, however long the histories are.
//!
//! Local records: `reached/<tjp>`, a line for each timeline. They are kept where it took a long walk to find that out.

use ibgib::Addr;
use ibgib_spaces::{Commit, Space, SpaceError, Tip};

/// Nodes walked over from which on what was found is kept.
const WALKED_MIN: usize = 1_000;
/// Timelines of which it is kept.
const TIMELINES_MAX: usize = 1_000;

/// The tips of the living timelines in the live graph of one, which is among them.
pub(crate) async fn from(space: &dyn Space, timeline: &Addr, nodes_max: usize) -> Result<Vec<Tip>, SpaceError> {
    let key = format!("reached/{timeline}");
    let record = space.record(&key).await?;
    let known = record.as_deref().and_then(parse).unwrap_or_default();
    let (tips, walked) = space.reach_tips(std::slice::from_ref(timeline), &known, nodes_max).await?;
    if walked >= WALKED_MIN && tips.len() <= TIMELINES_MAX {
        let lines: String = tips.iter().map(|tip| format!("{}\t{}\n", tip.tjp, tip.addr)).collect();
        let records = vec![(key, Some(lines.into_bytes()))];
        // Without it nothing is wrong, only slower.
        if let Err(error) = space.commit(Commit { records, ..Commit::default() }).await {
            tracing::debug!(%error, "what a timeline leads to could not be kept");
        }
    }
    Ok(tips)
}

fn parse(record: &[u8]) -> Option<Vec<(Addr, Addr)>> {
    let line = |line: &str| {
        let (timeline, tip) = line.split_once('\t')?;
        Some((timeline.parse().ok()?, tip.parse().ok()?))
    };
    std::str::from_utf8(record).ok()?.lines().map(line).collect()
}
