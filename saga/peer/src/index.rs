//! What a device keeps of the tips under a timeline, or of all of them, so that a sync reads nothing of those that have not
//! moved: the fingerprint of each bucket, which timelines are in it, and which of them lead to others. It follows tips that
//! moved; where that could leave a timeline out or keep one that is under the root no more, it is made anew.
//!
//! Local records: `fingerprint/<root>`, lines of what is kept of all buckets, and `under/<bucket>/<root>`, the timelines in one,
//! a line each. Both are written in one commit. A device writes its space alone.

use crate::leads::{Leads, Led, name};
use ibgib::Addr;
use ibgib_saga::{BUCKETS, Fingerprint, bucket};
use ibgib_spaces::store::{Records, Tips};
use ibgib_spaces::{Changes, Commit, Kind, Space, SpaceError, Tip};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Timelines that lead to others, and what they lead to that is none here: of more nothing is kept, and all tips are read.
const LEADING_MAX: usize = 4_096;
/// Where so many buckets have moved, to make all anew costs no more.
const MOVED_MAX: usize = BUCKETS / 2;
/// Tips of identities and transcripts that moved since an index was kept, after which it is kept anew: to look at them
/// must not cost more with every sync.
const STALE_MAX: usize = 256;
/// Indexes that are remembered; more are forgotten all at once.
const INDEXES_MAX: usize = 256;

/// By the space's id and the root.
type ByRoot = HashMap<(String, Option<Addr>), Arc<Index>>;

/// What a device keeps of its spaces, while it goes on: clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Indexes {
    leads: Leads,
    all: Arc<Mutex<ByRoot>>,
}

impl Indexes {
    /// The one of a space's living tips, or of those under `root`, as they are now.
    pub(crate) async fn of(&self, space: &dyn Space, root: Option<&Addr>) -> Result<Arc<Index>, SpaceError> {
        let id = (space.id().to_owned(), root.cloned());
        let remembered = self.all().get(&id).cloned();
        let known = match remembered {
            Some(known) => Some(known),
            None => Index::read(space, root).await?.map(Arc::new),
        };
        let followed = match known {
            Some(known) => self.followed(space, root, known).await?,
            None => None,
        };
        let index = match followed {
            Some(followed) => followed,
            None => {
                let (mut index, members) = Index::make(&self.leads, space, root).await?;
                index.keep(space, root, &members).await;
                Arc::new(index)
            }
        };
        let mut all = self.all();
        if all.len() >= INDEXES_MAX {
            all.clear();
        }
        all.insert(id, Arc::clone(&index));
        Ok(index)
    }

    /// One that is known as it is now; none where it has to be made anew.
    async fn followed(
        &self,
        space: &dyn Space,
        root: Option<&Addr>,
        mut known: Arc<Index>,
    ) -> Result<Option<Arc<Index>>, SpaceError> {
        let Changes { revision, mut tips, lagged } = space.changes(known.revision).await?;
        let all = tips.len();
        tips.retain(|tip| tip.kind == Kind::Living);
        if lagged {
            return Ok(None);
        }
        let index = Arc::make_mut(&mut known);
        if tips.is_empty() {
            index.revision = revision;
            if all > STALE_MAX {
                index.keep(space, root, &Members::new()).await;
            }
            return Ok(Some(known));
        }
        let Some(members) = index.follow(&self.leads, space, root, (revision, &tips)).await? else { return Ok(None) };
        index.keep(space, root, &members).await;
        Ok(Some(known))
    }

    /// The living tips in some buckets, all of them or those under `root`, sorted by timeline.
    pub(crate) async fn tips(
        &self,
        space: &dyn Space,
        root: Option<&Addr>,
        buckets: &[usize],
    ) -> Result<Vec<Tip>, SpaceError> {
        self.of(space, root).await?.tips(&self.leads, space, root, buckets).await
    }

    fn all(&self) -> MutexGuard<'_, ByRoot> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    revision: u64,
    /// There is no living tip at all.
    pub(crate) empty: bool,
    pub(crate) fingerprint: Fingerprint,
    /// How many timelines are in each bucket.
    lens: Vec<usize>,
    /// Of the timelines that may lead to others, the frames of which it is known where they lead. Empty without a root.
    leading: BTreeMap<Addr, Addr>,
    /// What those lead to that is no living timeline here: it is under the root once it is.
    open: BTreeSet<String>,
    /// It is not in the space, since it would be too large or could not be written: whatever is there is of another time.
    unkept: bool,
    /// The record as it is in the space.
    record: Option<Vec<u8>>,
}

/// The timelines in some buckets.
type Members = BTreeMap<usize, BTreeSet<Addr>>;

impl Index {
    /// The record of what is kept of all buckets.
    fn key(root: Option<&Addr>) -> String {
        format!("fingerprint/{}", root.map_or("", Addr::as_str))
    }

    fn members_key(bucket: usize, root: Option<&Addr>) -> String {
        format!("under/{bucket:02x}/{}", root.map_or("", Addr::as_str))
    }

    /// How many timelines there are.
    pub(crate) fn len(&self) -> usize {
        self.lens.iter().sum()
    }

    /// As it is kept; none where there is nothing, or nothing that can be read.
    async fn read(space: &dyn Space, root: Option<&Addr>) -> Result<Option<Self>, SpaceError> {
        let Some(record) = space.record(&Self::key(root)).await? else { return Ok(None) };
        let index = std::str::from_utf8(&record).ok().and_then(Self::parse);
        Ok(index.map(|index| Self { record: Some(record), ..index }))
    }

    /// The line of the revision, that of the buckets, then one for each timeline that leads and for each name that is open.
    fn to_text(&self) -> String {
        let buckets =
            std::iter::zip(&self.lens, &self.fingerprint.buckets).map(|(len, print)| format!("{len}:{print}"));
        let mut out =
            format!("{} {}\n{}\n", self.revision, u8::from(self.empty), buckets.collect::<Vec<_>>().join(" "));
        out.extend(self.leading.iter().map(|(tjp, tip)| format!("leads\t{tjp}\t{tip}\n")));
        out.extend(self.open.iter().map(|name| format!("open\t{name}\n")));
        out
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (revision, empty) = lines.next()?.split_once(' ')?;
        let (mut lens, mut prints) = (Vec::with_capacity(BUCKETS), Vec::with_capacity(BUCKETS));
        for one in lines.next()?.split(' ') {
            let (len, print) = one.split_once(':')?;
            let len: usize = len.parse().ok()?;
            let fits = if len == 0 { print.is_empty() } else { print.len() == 32 };
            lens.push(Some(len).filter(|_| fits)?);
            prints.push(print.to_owned());
        }
        let mut out = Self {
            revision: revision.parse().ok()?,
            empty: empty == "1",
            fingerprint: Fingerprint::of_buckets(Some(prints).filter(|prints| prints.len() == BUCKETS)?),
            lens,
            leading: BTreeMap::new(),
            open: BTreeSet::new(),
            unkept: false,
            record: None,
        };
        for line in lines {
            let mut words = line.split('\t');
            match (words.next()?, words.next()?, words.next()) {
                ("leads", tjp, Some(tip)) => drop(out.leading.insert(tjp.parse().ok()?, tip.parse().ok()?)),
                ("open", name, None) => drop(out.open.insert(name.to_owned())),
                _ => return None,
            }
        }
        Some(out)
    }

    /// Keeps it, with the timelines of these buckets. Without that nothing is wrong, only slower.
    async fn keep(&mut self, space: &dyn Space, root: Option<&Addr>, members: &Members) {
        if self.unkept {
            return;
        }
        let text = self.to_text().into_bytes();
        let mut records = vec![(Self::key(root), Some(text.clone()))];
        for (n, tjps) in members {
            let lines: String = tjps.iter().map(|tjp| format!("{tjp}\n")).collect();
            records.push((Self::members_key(*n, root), (!tjps.is_empty()).then(|| lines.into_bytes())));
        }
        // Whoever else keeps it has kept timelines of another time beside it.
        let expect = vec![(Self::key(root), self.record.replace(text))];
        if let Err(error) = space.commit(Commit { records, expect, ..Commit::default() }).await {
            tracing::debug!(%error, "what is under a timeline could not be kept");
            self.unkept = true;
        }
    }

    /// Reads all tips and finds those under the root. Answers the timelines of every bucket, too.
    async fn make(leads: &Leads, space: &dyn Space, root: Option<&Addr>) -> Result<(Self, Members), SpaceError> {
        // Before the tips, so that what moves meanwhile is seen the next time.
        let revision = space.revision().await?;
        let all = space.tips(Some(Kind::Living)).await?;
        let empty = all.is_empty();
        let tips = leads.select(space, all, root).await?;
        let fingerprint = Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr)));
        let mut out = Self {
            revision,
            empty,
            fingerprint,
            lens: vec![0; BUCKETS],
            leading: BTreeMap::new(),
            open: BTreeSet::new(),
            unkept: false,
            record: space.record(&Self::key(root)).await?,
        };
        if root.is_some() {
            let here: HashSet<&str> = tips.iter().map(|tip| tip.tjp.gib()).collect();
            for (tjp, Led { from, to }) in leads.targets(space, &tips).await? {
                out.open.extend(to.iter().map(name).filter(|name| !here.contains(name)).map(str::to_owned));
                out.leading.insert(tjp, from);
            }
        }
        let mut members: Members = (0..BUCKETS).map(|n| (n, BTreeSet::new())).collect();
        for tip in tips {
            out.lens[bucket(&tip.tjp)] += 1;
            members.entry(bucket(&tip.tjp)).or_default().insert(tip.tjp);
        }
        out.unkept = out.leading.len() + out.open.len() > LEADING_MAX;
        Ok((out, members))
    }

    /// Follows living tips that moved. Answers the timelines of the buckets that other ones are in now; none where all has to
    /// be made anew, and nothing was changed then.
    async fn follow(
        &mut self,
        leads: &Leads,
        space: &dyn Space,
        root: Option<&Addr>,
        (revision, moved): (u64, &[Tip]),
    ) -> Result<Option<Members>, SpaceError> {
        let mut stale: BTreeSet<usize> = moved.iter().map(|tip| bucket(&tip.tjp)).collect();
        if self.unkept || stale.len() > MOVED_MAX {
            return Ok(None);
        }
        let mut next = self.clone();
        let Some(mut members) = self.members(space, root, &stale).await? else { return Ok(None) };
        let mut changed = BTreeSet::new();
        let (mut looked, mut came) = (Vec::new(), Vec::new());
        for tip in moved {
            let is_member = members[&bucket(&tip.tjp)].contains(&tip.tjp);
            let belongs = root.is_none_or(|root| name(root) == tip.tjp.gib()) || next.open.contains(tip.tjp.gib());
            match (is_member, belongs) {
                (true, _) => looked.push(tip.clone()),
                (false, true) => came.push(tip.clone()),
                (false, false) => {}
            }
        }
        while !came.is_empty() || !looked.is_empty() {
            let unread = came.iter().map(|tip| bucket(&tip.tjp)).filter(|n| !members.contains_key(n)).collect();
            let Some(read) = self.members(space, root, &unread).await? else { return Ok(None) };
            members.extend(read);
            for tip in came.drain(..) {
                let n = bucket(&tip.tjp);
                next.open.remove(tip.tjp.gib());
                if members.entry(n).or_default().insert(tip.tjp.clone()) {
                    changed.insert(n);
                    stale.insert(n);
                    looked.push(tip);
                }
            }
            if root.is_none() {
                break;
            }
            let Some(targets) = next.lead(leads, space, &std::mem::take(&mut looked)).await? else { return Ok(None) };
            came = timelines_of(space, &targets).await?;
            let here: HashSet<&str> = came.iter().map(|tip| tip.tjp.gib()).collect();
            next.open.extend(targets.iter().map(name).filter(|name| !here.contains(name)).map(str::to_owned));
        }
        if next.leading.len() + next.open.len() > LEADING_MAX || stale.len() > MOVED_MAX {
            return Ok(None);
        }
        let tips = tips_of(space, stale.iter().flat_map(|n| &members[n])).await?;
        let fresh = Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr)));
        let mut prints = next.fingerprint.buckets;
        for n in stale {
            prints[n].clone_from(&fresh.buckets[n]);
            next.lens[n] = members[&n].len();
        }
        next.fingerprint = Fingerprint::of_buckets(prints);
        (next.revision, next.empty) = (revision, next.empty && moved.is_empty());
        *self = next;
        members.retain(|n, _| changed.contains(n));
        Ok(Some(members))
    }

    /// Takes where these timelines, which are under the root, lead now. Answers to what they did not lead before; none where
    /// one leads no more to something that it led to.
    async fn lead(&mut self, leads: &Leads, space: &dyn Space, moved: &[Tip]) -> Result<Option<Vec<Addr>>, SpaceError> {
        let now = leads.targets(space, moved).await?;
        let old = moved.iter().filter_map(|tip| Some(Tip { addr: self.leading.get(&tip.tjp)?.clone(), ..tip.clone() }));
        let before = leads.targets(space, &old.collect::<Vec<_>>()).await?;
        let mut out = Vec::new();
        for tip in moved {
            let [had, has] = [&before, &now].map(|of| of.get(&tip.tjp).map_or(&[][..], |led| &led.to));
            let had: HashSet<&str> = had.iter().map(name).collect();
            if !had.is_subset(&has.iter().map(name).collect()) {
                return Ok(None);
            }
            out.extend(has.iter().filter(|target| !had.contains(name(target))).cloned());
            match now.contains_key(&tip.tjp) {
                true => drop(self.leading.insert(tip.tjp.clone(), tip.addr.clone())),
                false => drop(self.leading.remove(&tip.tjp)),
            }
        }
        Ok(Some(out))
    }

    /// The tips in some buckets, sorted by timeline.
    async fn tips(
        &self,
        leads: &Leads,
        space: &dyn Space,
        root: Option<&Addr>,
        buckets: &[usize],
    ) -> Result<Vec<Tip>, SpaceError> {
        let members = match self.unkept || buckets.len() > MOVED_MAX {
            true => None,
            false => self.members(space, root, &buckets.iter().copied().collect()).await?,
        };
        if let Some(members) = members {
            return tips_of(space, members.values().flatten()).await;
        }
        let all = space.tips(Some(Kind::Living)).await?;
        let mut tips = leads.select(space, all, root).await?;
        tips.retain(|tip| buckets.contains(&bucket(&tip.tjp)));
        Ok(tips)
    }

    /// The timelines in some buckets, as they are kept; none where these are not as many as they should be.
    async fn members(
        &self,
        space: &dyn Space,
        root: Option<&Addr>,
        buckets: &BTreeSet<usize>,
    ) -> Result<Option<Members>, SpaceError> {
        let keys: BTreeMap<String, usize> = buckets.iter().map(|n| (Self::members_key(*n, root), *n)).collect();
        let mut out: Members = buckets.iter().map(|n| (*n, BTreeSet::new())).collect();
        let names: Vec<String> = keys.keys().cloned().collect();
        for (key, lines) in space.view().await?.records(Records::Keys(&names)).await? {
            let lines = String::from_utf8(lines).unwrap_or_default();
            out.insert(keys[&key], lines.lines().filter_map(|line| line.parse().ok()).collect());
        }
        Ok(Some(out).filter(|out| out.iter().all(|(n, members)| members.len() == self.lens[*n])))
    }
}

/// The living tips of timelines, sorted by timeline.
async fn tips_of(space: &dyn Space, tjps: impl Iterator<Item = &Addr>) -> Result<Vec<Tip>, SpaceError> {
    let tjps: Vec<Addr> = tjps.cloned().collect();
    let mut tips = space.view().await?.tips(Tips::Of(&tjps)).await?;
    tips.retain(|tip| tip.kind == Kind::Living);
    tips.sort_unstable_by(|a, b| a.tjp.cmp(&b.tjp));
    Ok(tips)
}

/// The tips of the living timelines that these nodes are of.
async fn timelines_of(space: &dyn Space, nodes: &[Addr]) -> Result<Vec<Tip>, SpaceError> {
    // A first frame is its timeline's name; a later one has to be looked at for it.
    let (first, later): (Vec<Addr>, Vec<Addr>) = nodes.iter().cloned().partition(|addr| addr.tjp_gib().is_none());
    let mut tjps: BTreeSet<Addr> = first.into_iter().collect();
    for addr in later {
        tjps.extend(space.node(&addr).await?.and_then(|node| node.tjp()));
    }
    tips_of(space, tjps.iter()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Document, entropy};
    use ibgib::transform::{self, Moment, Rel8Opts, linked};
    use ibgib::{IbGib, Map, Verified};
    use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
    use ibgib_spaces::settle::admit;
    use ibgib_spaces::{MemorySpace, Tip};
    use proptest::prelude::*;

    type Relations = Vec<(String, Vec<Addr>)>;

    async fn tip(space: &Arc<dyn Space>, of: &Document) -> Verified<IbGib> {
        let tip = space.tip(of.address()).await.unwrap().unwrap();
        space.node(&tip.addr).await.unwrap().unwrap()
    }

    async fn rel8(space: &Arc<dyn Space>, from: &Document, add: Relations, remove: Relations) {
        let opts = Rel8Opts { add, remove, dna: true, n_counter: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
        let moment = Moment { now_ms: entropy::now_ms(), random: entropy::random() };
        let made = transform::rel8(&tip(space, from).await, &opts, &moment).unwrap();
        admit(&**space, &made.nodes()).await.unwrap();
    }

    fn next(to: Addr) -> Relations {
        vec![("next".to_owned(), vec![to])]
    }

    async fn relate(space: &Arc<dyn Space>, from: &Document, to: &Document) {
        rel8(space, from, next(to.address().clone()), Vec::new()).await;
    }

    async fn document(space: &Arc<dyn Space>) -> Document {
        Document::create(space, "note", Map::new()).await.unwrap()
    }

    /// What is kept of the tips under a root is what looking at all tips says.
    async fn is_right(indexes: &Indexes, space: &dyn Space, root: Option<&Addr>) {
        let tips: Vec<Tip> = Leads::default().tips(space, root).await.unwrap();
        let index = indexes.of(space, root).await.unwrap();
        let fingerprint = Fingerprint::of(tips.iter().map(|tip| (&tip.tjp, &tip.addr)));
        let empty = space.tips(Some(Kind::Living)).await.unwrap().is_empty();
        assert_eq!((&index.fingerprint, index.len(), index.empty), (&fingerprint, tips.len(), empty));
        for buckets in [(0..BUCKETS).collect::<Vec<_>>(), (0..BUCKETS / 2).collect(), vec![7, 9]] {
            let found = indexes.tips(space, root, &buckets).await.unwrap();
            let there = tips.iter().filter(|tip| buckets.contains(&bucket(&tip.tjp)));
            assert_eq!(found, there.cloned().collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn only_buckets_of_what_moved_are_read() {
        let mut asked = Vec::new();
        for documents in [300, 900] {
            let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
            let root = document(&space).await;
            let mut all = Vec::new();
            for _ in 0..documents {
                all.push(document(&space).await);
            }
            rel8(&space, &root, vec![("next".to_owned(), all.iter().map(|d| d.address().clone()).collect())], vec![])
                .await;
            is_right(&Indexes::default(), &*space, Some(root.address())).await;
            all[0].set("/x", 1).await.unwrap();
            let counted = FaultSpace::new(Arc::clone(&space), FaultPlan::default());
            Indexes::default().of(&counted, Some(root.address())).await.unwrap();
            asked.push(counted.calls(Op::Read));
            is_right(&Indexes::default(), &*space, Some(root.address())).await;
        }
        assert_eq!(asked[0], asked[1]);
    }

    #[tokio::test]
    async fn what_is_kept_and_cannot_be_read_is_made_anew() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
        let (first, second) = (document(&space).await, document(&space).await);
        relate(&space, &first, &second).await;
        let key = Index::key(Some(first.address()));
        // What an earlier version kept, what tells of a revision that never was, and what says nothing.
        let good = "999999 0\n".to_owned() + &vec!["0:"; BUCKETS].join(" ") + "\n";
        for told in ["", "x 0 00", "1 0 00000000000000000000000000000000", "1 0\n0:\n", &good] {
            let records = vec![(key.clone(), Some(told.as_bytes().to_vec()))];
            space.commit(Commit { records, ..Commit::default() }).await.unwrap();
            is_right(&Indexes::default(), &*space, Some(first.address())).await;
            assert_ne!(space.record(&key).await.unwrap().unwrap(), told.as_bytes(), "{told:?}");
        }
        // Timelines that are missing in their bucket, when one of it moves and when it is asked for.
        for moves in [true, false] {
            let members =
                (Index::members_key(bucket(second.address()), Some(first.address())), Some(b"nothing".to_vec()));
            space.commit(Commit { records: vec![members], ..Commit::default() }).await.unwrap();
            if moves {
                second.set("/x", 1).await.unwrap();
            }
            is_right(&Indexes::default(), &*space, Some(first.address())).await;
        }
        let kept = space.record(&key).await.unwrap();
        // An identity is no data, however often it signs.
        let secret = ibgib_keystone::Secret::new(b"a secret of a test".to_vec());
        crate::identity::create(&*space, &secret).await.unwrap();
        is_right(&Indexes::default(), &*space, Some(first.address())).await;
        assert_eq!(space.record(&key).await.unwrap(), kept, "nothing living moved");
    }

    #[tokio::test]
    async fn two_that_keep_it_at_once_do_not_mix() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
        let root = document(&space).await;
        let (one, other) = (Indexes::default(), Indexes::default());
        for _ in 0..4 {
            for indexes in [&one, &other] {
                let new = document(&space).await;
                relate(&space, &root, &new).await;
                is_right(indexes, &*space, Some(root.address())).await;
            }
            is_right(&Indexes::default(), &*space, Some(root.address())).await;
        }
    }

    #[tokio::test]
    async fn what_comes_after_what_leads_to_it_is_found() {
        let (space, elsewhere): (Arc<dyn Space>, Arc<dyn Space>) =
            (Arc::new(MemorySpace::new("here")), Arc::new(MemorySpace::new("there")));
        let root = document(&space).await;
        let (early, late) = (document(&elsewhere).await, document(&elsewhere).await);
        relate(&elsewhere, &early, &late).await;
        // Its nodes are here, and no tip.
        let frames = [tip(&elsewhere, &early).await, tip(&elsewhere, &late).await];
        let heads = [frames[0].addr().clone(), frames[1].addr().clone()];
        let under = elsewhere.reach(&heads, ibgib_spaces::Follow::All, &HashSet::new(), 99).await.unwrap();
        let all: Vec<Verified<IbGib>> = elsewhere.get(&under).await.unwrap().into_iter().flatten().collect();
        space.commit(Commit { nodes: all.clone(), ..Commit::default() }).await.unwrap();
        rel8(&space, &root, next(frames[0].addr().clone()), Vec::new()).await;
        let indexes = Indexes::default();
        is_right(&indexes, &*space, Some(root.address())).await;
        assert_eq!(indexes.of(&*space, Some(root.address())).await.unwrap().len(), 1);
        let of =
            |of: &Document| all.iter().filter(|n| n.tjp().as_ref() == Some(of.address())).cloned().collect::<Vec<_>>();
        for (which, len) in [(&late, 1), (&early, 3)] {
            admit(&*space, &of(which)).await.unwrap();
            is_right(&indexes, &*space, Some(root.address())).await;
            is_right(&Indexes::default(), &*space, Some(root.address())).await;
            assert_eq!(indexes.of(&*space, Some(root.address())).await.unwrap().len(), len);
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        New,
        Edit(usize),
        Relate(usize, usize),
        Part(usize, usize),
        Look,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let n = 0..6_usize;
        let step = prop_oneof![
            1 => Just(Step::New),
            2 => n.clone().prop_map(Step::Edit),
            4 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Relate(a, b)),
            1 => (n.clone(), n).prop_map(|(a, b)| Step::Part(a, b)),
            3 => Just(Step::Look),
        ];
        proptest::collection::vec(step, 1..24)
    }

    proptest! {
        #[test]
        fn it_follows_whatever_moves(steps in steps()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let space: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
                let lasting = Indexes::default();
                let mut all = vec![document(&space).await, document(&space).await];
                for step in steps.into_iter().chain([Step::Look]) {
                    let of = |n: usize| &all[n % all.len()];
                    match step {
                        Step::New => all.push(document(&space).await),
                        Step::Edit(n) => drop(of(n).clone().set("/x", entropy::random_hex()).await.unwrap()),
                        Step::Relate(from, to) => relate(&space, of(from), of(to)).await,
                        Step::Part(from, to) => {
                            let to = of(to).address().clone();
                            let has = tip(&space, of(from)).await.rel8n("next").any(|addr| addr == to.as_str());
                            if has {
                                rel8(&space, of(from), Vec::new(), next(to)).await;
                            }
                        }
                        Step::Look => {
                            for root in [None, Some(0), Some(1)].map(|root: Option<usize>| root.map(|n| all[n].address())) {
                                is_right(&lasting, &*space, root).await;
                                is_right(&Indexes::default(), &*space, root).await;
                            }
                        }
                    }
                }
            });
        }
    }
}
