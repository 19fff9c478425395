//! Which timelines are under another one ([`Scope::Under`](ibgib_saga::Scope::Under)). Both sides of a sync find that out
//! by themselves, so that they can tell whether they are equal there without naming every timeline.

use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::{Buckets, SagaError};
use ibgib_spaces::{Changes, Kind, Space, SpaceError, Tip, leads};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tips read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;

/// Where tips lead, remembered: a frame never leads elsewhere, so only tips that moved are read again. And fingerprints,
/// which are true until a living tip moves, so that a host answers the same question again without looking.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leads {
    known: Arc<Mutex<HashMap<Addr, Arc<[Addr]>>>>,
    wholes: Arc<Mutex<ByRoot<Known>>>,
    kept: Arc<Mutex<ByRoot<Kept>>>,
    /// Looks at what has moved, begun so far.
    looks: Arc<AtomicU64>,
    /// Of those who ask for the same, one looks, and the others take its word: with many peers at once each would read all
    /// that the others have brought meanwhile.
    looking: Arc<Mutex<ByRoot<Arc<tokio::sync::Mutex<()>>>>>,
    /// Whoever reads all tips: as many as they are, no two do so at once.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// Whoever looks through a space that nobody has looked through yet.
    preparing: Arc<tokio::sync::Mutex<()>>,
    /// A damaged tip is passed by.
    for_host: bool,
}

/// By the space's id and the root.
type ByRoot<T> = HashMap<(String, Option<Addr>), T>;

/// A host's fingerprint, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    revision: u64,
    /// Which look has found that.
    look: u64,
    whole: String,
    /// There is no living tip at all.
    empty: bool,
}

/// Where a timeline leads.
#[derive(Clone, Debug)]
pub(crate) struct Led {
    /// The frame that does.
    pub(crate) from: Addr,
    pub(crate) to: Arc<[Addr]>,
}

/// Tips of a space, or those under a root, by bucket, as of a revision.
#[derive(Clone, Debug)]
struct Kept {
    revision: u64,
    /// Which look has found that.
    look: u64,
    tips: Arc<Buckets>,
    /// There is no living tip at all.
    empty: bool,
}

/// Tips that a host keeps by bucket, of all roots together: about 300 bytes each. More are forgotten all at once, and what has
/// more by itself is read for each question.
const TIPS_KEPT_MAX: usize = 400_000;
/// Of all tips of a space, which are kept once: to read a million of them takes ten seconds.
const ALL_KEPT_MAX: usize = 2_000_000;
/// Fingerprints that are remembered; more are forgotten all at once.
const WHOLES_MAX: usize = 256;

/// A fingerprint of all, and whether there is no living tip at all.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) whole: String,
    pub(crate) empty: bool,
}

impl Leads {
    /// For a host: a damaged tip leads nowhere there, so that it keeps nobody from syncing the others.
    pub(crate) fn for_host() -> Self {
        Self { for_host: true, ..Self::default() }
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
        let of = |addr: &Addr| by_gib.get(name(addr)).copied();
        let mut found: BTreeSet<usize> = of(root).into_iter().collect();
        let mut level: Vec<usize> = found.iter().copied().collect();
        while !level.is_empty() {
            let level_tips: Vec<&Tip> = level.iter().map(|i| &tips[*i]).collect();
            let mut next = Vec::new();
            for targets in self.of(space, &level_tips).await? {
                next.extend(targets.iter().filter_map(of).filter(|i| found.insert(*i)));
            }
            level = next;
        }
        self.forget(&tips);
        let mut place = 0..;
        tips.retain(|_| place.next().is_some_and(|i| found.contains(&i)));
        Ok(tips)
    }

    /// The fingerprint of a space's living tips, or of those under `root`, as a host remembers it.
    pub(crate) async fn whole(&self, space: &dyn Space, root: Option<&Addr>) -> Result<Whole, SpaceError> {
        let id = (space.id().to_owned(), root.cloned());
        let asked = self.looks.load(Ordering::Relaxed);
        let looking = self.looking(&id);
        let _one = looking.lock().await;
        let known = self.wholes().get(&id).cloned();
        if let Some(Known { whole, empty, .. }) = known.as_ref().filter(|known| known.look > asked) {
            return Ok(Whole { whole: whole.clone(), empty: *empty });
        }
        let look = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(known) = known {
            let Changes { revision, tips, lagged } = space.changes(known.revision).await?;
            if !lagged && tips.iter().all(|tip| tip.kind != Kind::Living) {
                let found = Whole { whole: known.whole.clone(), empty: known.empty };
                self.remember(id, Known { revision, look, ..known });
                return Ok(found);
            }
        }
        let Kept { revision, tips, empty, .. } = self.look(space, &id, look).await?;
        let whole = tips.fingerprint().whole.clone();
        self.remember(id, Known { revision, look, whole: whole.clone(), empty });
        Ok(Whole { whole, empty })
    }

    /// A space's living tips by bucket, or those under `root`; and whether there is no living tip at all.
    pub(crate) async fn buckets(
        &self,
        space: &dyn Space,
        root: Option<&Addr>,
    ) -> Result<(Arc<Buckets>, bool), SpaceError> {
        let id = (space.id().to_owned(), root.cloned());
        let asked = self.looks.load(Ordering::Relaxed);
        let looking = self.looking(&id);
        let _one = looking.lock().await;
        let known = self.kept().get(&id).filter(|known| known.look > asked).cloned();
        let kept = match known {
            Some(known) => known,
            None => {
                let look = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
                self.look(space, &id, look).await?
            }
        };
        Ok((kept.tips, kept.empty))
    }

    /// Where those wait who look at what moved under a root: a look that began after one has asked answers him, too.
    fn looking(&self, id: &(String, Option<Addr>)) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        // Where nobody waits.
        all.retain(|_, one| Arc::strong_count(one) > 1);
        Arc::clone(all.entry(id.clone()).or_default())
    }

    /// Living tips by bucket, by whose turn it is: while none moves nothing is read, and then no more than what moved, unless
    /// other timelines may be under the root now. Who goes away in the middle leaves what is kept as it was.
    async fn look(&self, space: &dyn Space, id: &(String, Option<Addr>), look: u64) -> Result<Kept, SpaceError> {
        let root = id.1.as_ref();
        let known = self.kept().get(id).cloned();
        let mut followed = None;
        if let Some(kept) = known {
            let Changes { revision, mut tips, lagged } = space.changes(kept.revision).await?;
            tips.retain(|tip| tip.kind == Kind::Living);
            if !lagged && (root.is_none() || tips.is_empty() || self.stay(space, &kept.tips, &tips).await?) {
                let empty = kept.empty && tips.is_empty();
                // In nobody else's hands, if nobody has just been answered.
                let own = self.kept().remove(id);
                let mut kept = match own {
                    Some(own) => {
                        drop(kept);
                        own
                    }
                    None => kept,
                };
                if !tips.is_empty() {
                    Arc::make_mut(&mut kept.tips).follow(tips.into_iter().map(|tip| (tip.tjp, tip.addr)));
                }
                followed = Some(Kept { revision, look, empty, ..kept });
            }
        }
        let kept = match followed {
            Some(kept) => kept,
            None => {
                let _one = self.reading.lock().await;
                // Not of use any more, and perhaps as large as what comes in its place.
                self.kept().remove(id);
                // Before the tips, so that what moves meanwhile is seen the next time.
                let revision = space.revision().await?;
                let all = space.tips(Some(Kind::Living)).await?;
                let empty = all.is_empty();
                let tips = self.select(space, all, root).await?;
                let tips = Arc::new(Buckets::of(tips.into_iter().map(|tip| (tip.tjp, tip.addr))));
                Kept { revision, look, tips, empty }
            }
        };
        let mut all = self.kept();
        let under = |all: &ByRoot<Kept>| {
            let under = all.iter().filter(|((_, root), _)| root.is_some());
            under.map(|(_, kept)| kept.tips.len()).sum::<usize>()
        };
        if all.len() >= WHOLES_MAX || root.is_some() && under(&all) + kept.tips.len() > TIPS_KEPT_MAX {
            all.retain(|(_, root), _| root.is_none());
        }
        if kept.tips.len() <= if root.is_some() { TIPS_KEPT_MAX } else { ALL_KEPT_MAX } {
            all.insert(id.clone(), kept.clone());
        }
        Ok(kept)
    }

    /// Whether the same timelines are under a root after these tips have moved: each is one of them, leads where it led, and
    /// beside that only to others of them.
    async fn stay(&self, space: &dyn Space, kept: &Buckets, moved: &[Tip]) -> Result<bool, SpaceError> {
        let before: Option<Vec<&Addr>> = moved.iter().map(|tip| kept.tip(&tip.tjp)).collect();
        let Some(before) = before else { return Ok(false) };
        self.of(space, &moved.iter().collect::<Vec<_>>()).await?;
        let mut known = self.known();
        for (before, tip) in std::iter::zip(before, moved) {
            let (Some(led), Some(leads)) = (known.get(before), known.get(&tip.addr)) else { return Ok(false) };
            let names = |of: &Arc<[Addr]>| -> HashSet<String> { of.iter().map(|to| name(to).to_owned()).collect() };
            let (had, has) = (names(led), names(leads));
            let stays = had.is_subset(&has) && leads.iter().all(|to| had.contains(name(to)) || kept.knows(to));
            if !stays {
                return Ok(false);
            }
            // It is no tip any more.
            if *before != tip.addr {
                known.remove(before);
            }
        }
        Ok(true)
    }

    fn kept(&self) -> MutexGuard<'_, ByRoot<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wholes(&self) -> MutexGuard<'_, ByRoot<Known>> {
        self.wholes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, id: (String, Option<Addr>), known: Known) {
        let mut wholes = self.wholes();
        if wholes.len() >= WHOLES_MAX {
            wholes.clear();
        }
        wholes.insert(id, known);
    }

    /// A space's living tips, or those under `root`.
    pub(crate) async fn tips(&self, space: &dyn Space, root: Option<&Addr>) -> Result<Vec<Tip>, SagaError> {
        let tips = space.tips(Some(Kind::Living)).await.map_err(space_error)?;
        self.select(space, tips, root).await.map_err(space_error)
    }

    /// What the frames of these tips relate to beside their own timelines, in any order.
    async fn of(&self, space: &dyn Space, tips: &[&Tip]) -> Result<Vec<Arc<[Addr]>>, SpaceError> {
        let mut out: Vec<Arc<[Addr]>> = Vec::with_capacity(tips.len());
        let mut fresh = Vec::new();
        {
            let known = self.known();
            for tip in tips {
                match known.get(&tip.addr) {
                    Some(targets) => out.push(Arc::clone(targets)),
                    None => fresh.push(*tip),
                }
            }
        }
        if fresh.is_empty() {
            return Ok(out);
        }
        let read = self.that_may_lead(space, &fresh).await?;
        let to_read: HashSet<&Addr> = read.iter().map(|tip| &tip.addr).collect();
        let nowhere: Arc<[Addr]> = Arc::default();
        fresh.retain(|tip| !to_read.contains(&tip.addr));
        self.known().extend(fresh.into_iter().map(|tip| (tip.addr.clone(), Arc::clone(&nowhere))));
        for batch in read.chunks(BATCH) {
            let addrs: Vec<Addr> = batch.iter().map(|tip| tip.addr.clone()).collect();
            let nodes = match space.get(&addrs).await {
                Err(SpaceError::Corrupt { .. }) if self.for_host => one_by_one(space, &addrs).await?,
                read => read?,
            };
            let others = nodes.iter().map(|node| node.as_ref().map(leads::others).unwrap_or_default().into());
            let found: Vec<(Addr, Arc<[Addr]>)> = addrs.into_iter().zip(others).collect();
            out.extend(found.iter().map(|(_, targets)| Arc::clone(targets)));
            self.known().extend(found);
        }
        Ok(out)
    }

    /// Of these timelines those that lead to others, by their names.
    pub(crate) async fn targets(&self, space: &dyn Space, tips: &[Tip]) -> Result<BTreeMap<Addr, Led>, SpaceError> {
        self.of(space, &tips.iter().collect::<Vec<_>>()).await?;
        let known = self.known();
        let led = |tip: &Tip| {
            let to = known.get(&tip.addr).filter(|to| !to.is_empty())?;
            Some((tip.tjp.clone(), Led { from: tip.addr.clone(), to: Arc::clone(to) }))
        };
        Ok(tips.iter().filter_map(led).collect())
    }

    /// Of these tips those that have to be read: all of them in a space that was never looked through and can only be read.
    async fn that_may_lead<'t>(&self, space: &dyn Space, tips: &[&'t Tip]) -> Result<Vec<&'t Tip>, SpaceError> {
        if let Some(may_lead) = leads::that_may_lead(space, tips).await? {
            return Ok(may_lead);
        }
        // Many may ask a host at once, of whom one looks.
        let one = self.preparing.lock().await;
        if let Err(error) = leads::prepare(space).await {
            tracing::debug!(%error, "what leads nowhere could not be kept");
        }
        drop(one);
        Ok(leads::that_may_lead(space, tips).await?.unwrap_or_else(|| tips.to_vec()))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Addr, Arc<[Addr]>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets frames that are no tips any more, once most are not.
    fn forget(&self, tips: &[Tip]) {
        let mut known = self.known();
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

/// What the timeline of a frame is called, whatever frame of it.
pub(crate) fn name(frame: &Addr) -> &str {
    frame.tjp_gib().unwrap_or(frame.gib())
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
    use ibgib_saga::Fingerprint;
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

    #[tokio::test]
    async fn a_host_remembers_a_fingerprint_and_writes_nothing() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
        Document::create(&space, "note", Map::new()).await.unwrap();
        let tips = Leads::default().tips(&*space, None).await.unwrap();
        let whole = Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr))).whole;
        let (host, revision) = (Leads::for_host(), space.revision().await.unwrap());
        for _ in 0..2 {
            assert_eq!(host.whole(&*space, None).await.unwrap().whole, whole);
        }
        assert_eq!(space.revision().await.unwrap(), revision);
    }

    #[tokio::test]
    async fn what_a_host_keeps_by_bucket_follows_what_moves() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
        let host = Leads::for_host();
        let roots = async |docs: &[Document]| {
            for root in [None, Some(0), Some(1)].map(|root| root.and_then(|n: usize| docs.get(n))) {
                let root = root.map(Document::address);
                let tips = Leads::default().tips(&*space, root).await.unwrap();
                let (kept, empty) = host.buckets(&*space, root).await.unwrap();
                let fresh = Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr)));
                assert_eq!((kept.fingerprint(), kept.len(), empty), (&fresh, tips.len(), docs.is_empty()));
                assert_eq!(host.whole(&*space, root).await.unwrap().whole, fresh.whole);
            }
        };
        let mut docs = Vec::new();
        roots(&docs).await;
        for n in 0..5 {
            docs.push(Document::create(&space, "note", Map::new()).await.unwrap());
            roots(&docs).await;
            relate(&space, &docs[0], &docs[n]).await;
            roots(&docs).await;
            // Nor does it matter how far a timeline is reached that leads on.
            relate(&space, &docs[n], &docs[n / 2]).await;
            docs[n].set("/x", 1).await.unwrap();
            // Held by somebody while it moves.
            let held = host.buckets(&*space, None).await.unwrap();
            docs[0].set("/y", n as u32).await.unwrap();
            roots(&docs).await;
            assert_ne!(held.0.fingerprint(), host.buckets(&*space, None).await.unwrap().0.fingerprint());
        }
    }
}
