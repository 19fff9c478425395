//! Which timelines are under another one ([`Scope::Under`](ibgib_saga::Scope::Under)). Both sides of a sync find that out
//! by themselves, so that they can tell whether they are equal there without naming every timeline.

use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::{Fingerprint, SagaError};
use ibgib_spaces::{Kind, Space, SpaceError, Tip};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Tips read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;

/// Where tips lead, remembered: a frame never leads elsewhere, so only tips that moved are read again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leads {
    known: Arc<Mutex<HashMap<Addr, Arc<[Addr]>>>>,
    /// A damaged tip is passed by.
    lenient: bool,
}

impl Leads {
    /// For a host: a damaged tip leads nowhere there, so that it keeps nobody from syncing the others.
    pub(crate) fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// Of all tips of a space's living timelines those under `root`; all of them without one. A root that is not there
    /// has nothing under it.
    pub(crate) async fn select(
        &self,
        space: &dyn Space,
        mut tips: Vec<Tip>,
        root: Option<&Addr>,
    ) -> Result<Vec<Tip>, SpaceError> {
        let Some(root) = root else { return Ok(tips) };
        // Any frame of a timeline stands for the timeline, whose name the frame's address ends with.
        let by_gib: HashMap<&str, usize> = tips.iter().enumerate().map(|(i, tip)| (tip.tjp.gib(), i)).collect();
        let of = |addr: &Addr| by_gib.get(addr.tjp_gib().unwrap_or(addr.gib())).copied();
        let mut found: BTreeSet<usize> = of(root).into_iter().collect();
        let mut level: Vec<usize> = found.iter().copied().collect();
        while !level.is_empty() {
            let addrs: Vec<&Addr> = level.iter().map(|i| &tips[*i].addr).collect();
            let mut next = Vec::new();
            for targets in self.of(space, &addrs).await? {
                next.extend(targets.iter().filter_map(of).filter(|i| found.insert(*i)));
            }
            level = next;
        }
        self.forget(&tips);
        let mut place = 0..;
        tips.retain(|_| place.next().is_some_and(|i| found.contains(&i)));
        Ok(tips)
    }

    /// The fingerprint of a space's living tips, or of those under `root`.
    pub(crate) async fn fingerprint(&self, space: &dyn Space, root: Option<&Addr>) -> Result<String, SagaError> {
        let tips = self.tips(space, root).await?;
        Ok(Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr))).whole)
    }

    /// A space's living tips, or those under `root`.
    pub(crate) async fn tips(&self, space: &dyn Space, root: Option<&Addr>) -> Result<Vec<Tip>, SagaError> {
        let tips = space.tips(Some(Kind::Living)).await.map_err(space_error)?;
        self.select(space, tips, root).await.map_err(space_error)
    }

    /// What these frames relate to.
    async fn of(&self, space: &dyn Space, frames: &[&Addr]) -> Result<Vec<Arc<[Addr]>>, SpaceError> {
        let mut out: Vec<Arc<[Addr]>> = Vec::with_capacity(frames.len());
        let mut fresh = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for frame in frames {
                match known.get(*frame) {
                    Some(targets) => out.push(Arc::clone(targets)),
                    None => fresh.push((*frame).clone()),
                }
            }
        }
        for batch in fresh.chunks(BATCH) {
            let nodes = match space.get(batch).await {
                Err(SpaceError::Corrupt { .. }) if self.lenient => one_by_one(space, batch).await?,
                read => read?,
            };
            let found = batch.iter().zip(nodes).map(|(addr, node)| {
                // Other frames of the same timeline lead nowhere else.
                let own = addr.tjp_gib().unwrap_or(addr.gib());
                let targets = node.map(|node| node.targets()).unwrap_or_default();
                let others = targets.into_iter().filter(|target| target.tjp_gib().unwrap_or(target.gib()) != own);
                (addr.clone(), others.collect::<Arc<[Addr]>>())
            });
            let found: Vec<(Addr, Arc<[Addr]>)> = found.collect();
            out.extend(found.iter().map(|(_, targets)| Arc::clone(targets)));
            self.known.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
        Ok(out)
    }

    /// Forgets frames that are no tips any more, once most are not.
    fn forget(&self, tips: &[Tip]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > 2 * tips.len() + 1024 {
            let now: HashSet<&Addr> = tips.iter().map(|tip| &tip.addr).collect();
            known.retain(|frame, _| now.contains(frame));
        }
    }
}

/// The tips of a space's timelines that are [under](ibgib_saga::Scope::Under) `root`.
///
/// # Errors
/// When the space fails.
pub async fn tips_under(space: &dyn Space, root: &Addr) -> Result<Vec<Tip>, SagaError> {
    Leads::default().tips(space, Some(root)).await
}

/// Frames, of which a damaged one is none.
async fn one_by_one(space: &dyn Space, batch: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
    let mut out = Vec::with_capacity(batch.len());
    for addr in batch {
        out.push(match space.node(addr).await {
            Err(SpaceError::Corrupt { .. }) => None,
            read => read?,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, entropy};
    use ibgib::transform::{self, Moment, Rel8Opts, linked};
    use ibgib::{Map, object};
    use ibgib_spaces::MemorySpace;
    use ibgib_spaces::settle::admit;

    async fn relate(space: &Arc<dyn Space>, from: &Document, to: &Document) {
        let tip = space.tip(from.address()).await.unwrap().unwrap();
        let tip = space.node(&tip.addr).await.unwrap().unwrap();
        let add = vec![("next".to_owned(), vec![to.address().clone()])];
        let opts = Rel8Opts { add, dna: true, n_counter: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
        let moment = Moment { now_ms: entropy::now_ms(), random: entropy::random() };
        admit(&**space, &transform::rel8(&tip, &opts, &moment).unwrap().nodes()).await.unwrap();
    }

    async fn under(leads: &Leads, space: &Arc<dyn Space>, root: &Document) -> Vec<Addr> {
        let tips = space.tips(Some(Kind::Living)).await.unwrap();
        let found = leads.select(&**space, tips, Some(root.address())).await.unwrap();
        found.into_iter().map(|tip| tip.tjp).collect()
    }

    #[tokio::test]
    async fn what_leads_on_is_found_and_nothing_else() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
        let (leads, mut docs) = (Leads::default(), Vec::new());
        for _ in 0..5 {
            docs.push(Document::create(&space, "note", Map::new()).await.unwrap());
        }
        let named = |of: &[usize]| {
            let mut all: Vec<Addr> = of.iter().map(|i| docs[*i].address().clone()).collect();
            all.sort();
            all
        };
        assert_eq!(under(&leads, &space, &docs[0]).await, named(&[0]));
        // A chain, a cycle, and one that leads in from outside.
        for (from, to) in [(0, 1), (1, 2), (2, 0), (3, 0)] {
            relate(&space, &docs[from], &docs[to]).await;
        }
        assert_eq!(under(&leads, &space, &docs[0]).await, named(&[0, 1, 2]));
        assert_eq!(under(&leads, &space, &docs[3]).await, named(&[0, 1, 2, 3]));
        // A frame that is no tip of it any more has led somewhere else.
        docs[1].edit(|data| *data = object([("x", 1.into())]).as_object().unwrap().clone()).await.unwrap();
        relate(&space, &docs[1], &docs[4]).await;
        assert_eq!(under(&leads, &space, &docs[0]).await, named(&[0, 1, 2, 4]));
        let elsewhere: Arc<dyn Space> = Arc::new(MemorySpace::new("there"));
        assert!(under(&leads, &elsewhere, &docs[0]).await.is_empty());
    }
}
