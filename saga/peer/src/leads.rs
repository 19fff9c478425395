//! Which timelines are under another one ([`Scope::Under`](ibgib_saga::Scope::Under)). Both sides of a sync find that out
//! by themselves, so that they can tell whether they are equal there without naming every timeline.

use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::{Buckets, Fingerprint, SagaError};
use ibgib_spaces::{Changes, Commit, Kind, Space, SpaceError, Tip, leads};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tips read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;

/// Where tips lead, remembered: a frame never leads elsewhere, so only tips that moved are read again. And fingerprints,
/// which are true until a living tip moves, so that a sync with nothing to do costs the same however much there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leads {
    known: Arc<Mutex<HashMap<Addr, Arc<[Addr]>>>>,
    wholes: Arc<Mutex<Wholes>>,
    kept: Arc<Mutex<ByRoot>>,
    /// Whoever brings what is kept up to date: many may ask at once.
    keeping: Arc<tokio::sync::Mutex<()>>,
    /// Whoever looks through a space that nobody has looked through yet.
    preparing: Arc<tokio::sync::Mutex<()>>,
    /// A damaged tip is passed by, and fingerprints are not kept in the space, since a host goes on for long.
    for_host: bool,
}

/// Fingerprints by the space's id and the root.
type Wholes = HashMap<(String, Option<Addr>), Known>;

/// A fingerprint, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    revision: u64,
    whole: String,
    /// There is no living tip at all.
    empty: bool,
}

/// What is kept, by the space's id and the root.
type ByRoot = HashMap<(String, Option<Addr>), Kept>;

/// Tips of a space, or those under a root, by bucket, as of a revision.
#[derive(Clone, Debug)]
struct Kept {
    revision: u64,
    tips: Arc<Buckets>,
    /// There is no living tip at all.
    empty: bool,
}

/// Tips that a host keeps by bucket, of all roots together: about 300 bytes each. More are forgotten all at once, and what has
/// more by itself is read for each question.
const TIPS_KEPT_MAX: usize = 400_000;
/// Fingerprints that are remembered; more are forgotten all at once.
const WHOLES_MAX: usize = 256;
/// Tips of identities and transcripts that moved since a fingerprint was kept, after which it is kept anew: to look at them
/// must not cost more with every sync.
const STALE_MAX: usize = 256;

/// What [`Leads::whole`] found.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The fingerprint.
    pub(crate) whole: String,
    /// There is no living tip at all.
    pub(crate) empty: bool,
    /// The tips, where they had to be read for it.
    pub(crate) tips: Option<Vec<Tip>>,
}

impl Known {
    /// The local record that keeps it.
    fn key(root: Option<&Addr>) -> String {
        format!("fingerprint/{}", root.map_or("", Addr::as_str))
    }

    fn to_record(&self) -> Vec<u8> {
        format!("{} {} {}", self.revision, u8::from(self.empty), self.whole).into_bytes()
    }

    fn read(record: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(record).ok()?.split(' ');
        let revision = words.next()?.parse().ok()?;
        let empty = words.next()? == "1";
        let whole = words.next().filter(|whole| whole.len() == 32)?.to_owned();
        Some(Self { revision, whole, empty })
    }
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

    /// The fingerprint of a space's living tips, or of those under `root`.
    pub(crate) async fn fingerprint(&self, space: &dyn Space, root: Option<&Addr>) -> Result<String, SagaError> {
        self.whole(space, root).await.map(|found| found.whole).map_err(space_error)
    }

    /// The same, and what else is known then.
    pub(crate) async fn whole(&self, space: &dyn Space, root: Option<&Addr>) -> Result<Whole, SpaceError> {
        let id = (space.id().to_owned(), root.cloned());
        let mut known = self.wholes().get(&id).cloned();
        if known.is_none() && !self.for_host {
            known = space.record(&Known::key(root)).await?.and_then(|record| Known::read(&record));
        }
        if let Some(mut known) = known {
            let Changes { revision, tips, lagged } = space.changes(known.revision).await?;
            if !lagged && tips.iter().all(|tip| tip.kind != Kind::Living) {
                known.revision = revision;
                if tips.len() > STALE_MAX {
                    self.keep(space, root, &known).await;
                }
                let (whole, empty) = (known.whole.clone(), known.empty);
                self.remember(id, known);
                return Ok(Whole { whole, empty, tips: None });
            }
        }
        if self.for_host {
            let Kept { revision, tips, empty } = self.by_bucket(space, root).await?;
            let whole = tips.fingerprint().whole.clone();
            self.remember(id, Known { revision, whole: whole.clone(), empty });
            return Ok(Whole { whole, empty, tips: None });
        }
        // Before the tips, so that what moves meanwhile is seen the next time.
        let revision = space.revision().await?;
        let all = space.tips(Some(Kind::Living)).await?;
        let empty = all.is_empty();
        let tips = self.select(space, all, root).await?;
        let whole = Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr))).whole;
        let known = Known { revision, whole: whole.clone(), empty };
        self.keep(space, root, &known).await;
        self.remember(id, known);
        Ok(Whole { whole, empty, tips: Some(tips) })
    }

    /// A space's living tips by bucket, or those under `root`; and whether there is no living tip at all.
    pub(crate) async fn buckets(
        &self,
        space: &dyn Space,
        root: Option<&Addr>,
    ) -> Result<(Arc<Buckets>, bool), SpaceError> {
        self.by_bucket(space, root).await.map(|kept| (kept.tips, kept.empty))
    }

    /// The same as they are kept: while no living tip moves nothing is read, and then no more than what moved, unless other
    /// timelines may be under `root` now.
    async fn by_bucket(&self, space: &dyn Space, root: Option<&Addr>) -> Result<Kept, SpaceError> {
        let id = (space.id().to_owned(), root.cloned());
        let known = self.kept().get(&id).cloned();
        if let Some(mut kept) = known {
            let Changes { revision, tips, lagged } = space.changes(kept.revision).await?;
            if !lagged && tips.iter().all(|tip| tip.kind != Kind::Living) {
                kept.revision = revision;
                if let Some(known) = self.kept().get_mut(&id).filter(|known| known.revision < revision)
                    && Arc::ptr_eq(&known.tips, &kept.tips)
                {
                    known.revision = revision;
                }
                return Ok(kept);
            }
        }
        let _one = self.keeping.lock().await;
        // What others have brought up to date meanwhile; in nobody else's hands, if nobody asks just now.
        let known = self.kept().remove(&id);
        let mut followed = None;
        if let Some(mut kept) = known {
            let Changes { revision, mut tips, lagged } = space.changes(kept.revision).await?;
            tips.retain(|tip| tip.kind == Kind::Living);
            if !lagged && (root.is_none() || self.stay(space, &kept.tips, &tips).await?) {
                kept.revision = revision;
                kept.empty &= tips.is_empty();
                if !tips.is_empty() {
                    Arc::make_mut(&mut kept.tips).follow(tips.into_iter().map(|tip| (tip.tjp, tip.addr)));
                }
                followed = Some(kept);
            }
        }
        let kept = match followed {
            Some(kept) => kept,
            None => {
                // Before the tips, so that what moves meanwhile is seen the next time.
                let revision = space.revision().await?;
                let all = space.tips(Some(Kind::Living)).await?;
                let empty = all.is_empty();
                let tips = self.select(space, all, root).await?;
                let tips = Arc::new(Buckets::of(tips.into_iter().map(|tip| (tip.tjp, tip.addr))));
                Kept { revision, tips, empty }
            }
        };
        let mut all = self.kept();
        if all.len() >= WHOLES_MAX
            || all.values().map(|kept| kept.tips.len()).sum::<usize>() + kept.tips.len() > TIPS_KEPT_MAX
        {
            all.clear();
        }
        if kept.tips.len() <= TIPS_KEPT_MAX {
            all.insert(id, kept.clone());
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

    fn kept(&self) -> MutexGuard<'_, ByRoot> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wholes(&self) -> MutexGuard<'_, Wholes> {
        self.wholes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, id: (String, Option<Addr>), known: Known) {
        let mut wholes = self.wholes();
        if wholes.len() >= WHOLES_MAX {
            wholes.clear();
        }
        wholes.insert(id, known);
    }

    /// Keeps a fingerprint for the next process. Without it nothing is wrong, only slower.
    async fn keep(&self, space: &dyn Space, root: Option<&Addr>, known: &Known) {
        if self.for_host {
            return;
        }
        let records = vec![(Known::key(root), Some(known.to_record()))];
        if let Err(error) = space.commit(Commit { records, ..Commit::default() }).await {
            tracing::debug!(%error, "a fingerprint could not be kept");
        }
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
fn name(frame: &Addr) -> &str {
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
    async fn a_fingerprint_is_true_until_a_living_tip_moves() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
        let (first, second) = (
            Document::create(&space, "note", Map::new()).await.unwrap(),
            Document::create(&space, "note", Map::new()).await.unwrap(),
        );
        relate(&space, &first, &second).await;
        // What the next process finds, and what it should.
        let found = async |root: Option<&Document>| {
            let root = root.map(Document::address);
            let found = Leads::default().whole(&*space, root).await.unwrap();
            let tips = Leads::default().tips(&*space, root).await.unwrap();
            let whole = Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr))).whole;
            assert_eq!((&found.whole, found.empty), (&whole, false));
            (whole, found.tips.is_some())
        };
        let (all, read) = found(None).await;
        assert!(read, "the first time they are read");
        assert_eq!(found(None).await, (all.clone(), false));
        let (under, read) = found(Some(&first)).await;
        assert!(read && under == all);
        assert_ne!(found(Some(&second)).await.0, under);
        // An identity is no data, however often it signs.
        let secret = ibgib_keystone::Secret::new(b"a secret of a test".to_vec());
        crate::identity::create(&*space, &secret).await.unwrap();
        assert_eq!((found(None).await, found(Some(&first)).await), ((all, false), (under.clone(), false)));
        // What lies under it, moved.
        relate(&space, &second, &first).await;
        let (moved, read) = found(Some(&first)).await;
        assert!(read && moved != under);
        // Neither what cannot be read is believed, nor what tells of a revision that never was.
        for told in ["", "x 0 00", "1 0 short", "999999 0 00000000000000000000000000000000"] {
            let records = vec![(Known::key(Some(first.address())), Some(told.as_bytes().to_vec()))];
            space.commit(Commit { records, ..Commit::default() }).await.unwrap();
            assert_eq!(found(Some(&first)).await, (moved.clone(), true), "{told:?}");
        }
        // A host remembers, and writes nothing.
        let (all, _) = found(None).await;
        let (host, revision) = (Leads::for_host(), space.revision().await.unwrap());
        for _ in 0..2 {
            assert_eq!(host.whole(&*space, None).await.unwrap().whole, all);
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
