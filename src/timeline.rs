//! Timelines: frames linked by `past`, named by their first frame (tjp). Ancestry, cover, and the proof that a tip
//! may move.
//!
//! **Ancestry** follows `past` and, on a merge frame, `graftorphan`. A *merge frame* is one whose `graftbase` is its
//! newest `past` and whose recomputation gives its own address; every other frame is an *edit*, also one made on a
//! merge frame, which inherits its graft relations. y **covers** x when every edit reachable from x is reachable from
//! y. Tips move only to what covers them; so nobody's edit is lost, and nobody makes a merge that says nothing new.
//!
//! A [`History`] holds frames in memory. What it lacks it asks for with [`HistoryError::Need`]: load, insert, call
//! again; what was found out stays known. Frames are visited from the highest n down, so only the part where two tips
//! differ is needed, and of most frames only their place in the history ([`History::insert_place`]): what they say
//! matters where branches merge.

use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified};
use crate::merge::{self, Region, Seen, Writer};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Proof that a timeline's tip may move from one frame to another: the new tip covers the old one, and every frame
/// between follows the rules of timelines. Only [`History::advance`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    tjp: Addr,
    from: Option<Addr>,
    to: Addr,
}

impl Advance {
    /// The timeline.
    pub fn tjp(&self) -> &Addr {
        &self.tjp
    }

    /// The tip that the proof starts from; `None` for a timeline seen for the first time.
    pub fn from(&self) -> Option<&Addr> {
        self.from.as_ref()
    }

    /// The tip that the proof leads to.
    pub fn to(&self) -> &Addr {
        &self.to
    }
}

/// How a tip x stands to a tip y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are one frame.
    Same,
    /// y covers x: x moves to y.
    Behind,
    /// x covers y: y moves to x.
    Ahead,
    /// Each has edits that the other lacks.
    Diverged,
}

/// The tip that two tips lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The common tip.
    pub tip: Addr,
    /// Nodes made for it, dependencies first: stones, then the merge frame. Empty when one tip covers the other.
    pub nodes: Vec<Verified<IbGib>>,
    /// Conflicts that this merge found.
    pub conflicts: usize,
}

/// Why a history cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Frames are needed, whole: load and insert them, then call again.
    #[error("{} frame(s) are needed", .0.len())]
    Need(Vec<Addr>),
    /// A frame breaks a rule of timelines.
    #[error("frame {addr} breaks a rule of timelines: {why}")]
    Broken {
        /// The frame.
        addr: Addr,
        /// Which rule and how.
        why: String,
    },
    /// The new tip does not cover the old one.
    #[error("{to} does not cover {from}: edits would be lost")]
    NotCovered {
        /// The old tip.
        from: Addr,
        /// The new tip.
        to: Addr,
    },
    /// Only living timelines (those with dna) merge.
    #[error("timeline of {0} has no dna: it cannot merge")]
    NotLiving(Addr),
}

/// Frames in memory, and what was found out about them.
#[derive(Debug, Default)]
pub struct History {
    places: HashMap<Addr, Place>,
    frames: HashMap<Addr, Verified<IbGib>>,
    merges: HashMap<Addr, bool>,
}

/// Where a frame stands in its timeline: all of it but what it says.
#[derive(Debug)]
struct Place {
    n: Option<u64>,
    is_tjp: bool,
    tjp: Option<Addr>,
    past: Option<Addr>,
    /// Base and orphan, when the frame's relations are such as a merge frame has.
    merge_of: Option<(Addr, Addr)>,
    has_dna: bool,
}

impl Place {
    fn of(frame: &Verified<IbGib>) -> Self {
        let past = frame.past();
        let merge_of = match (&*frame.rel8n_addrs("graftbase"), &*frame.rel8n_addrs("graftorphan")) {
            ([base], [orphan]) if past.as_ref() == Some(base) => Some((base.clone(), orphan.clone())),
            _ => None,
        };
        let has_dna = frame.rel8n("dna").next().is_some();
        Self { n: frame.n(), is_tjp: frame.is_tjp(), tjp: frame.tjp(), past, merge_of, has_dna }
    }

    fn number(&self) -> i64 {
        self.n.map_or(-1, |n| n as i64)
    }
}

/// Stops a computation until something is known.
#[derive(Debug)]
pub(crate) enum Stop {
    Need(Vec<Addr>),
    /// Whether this frame is a merge has to be found out first.
    Classify(Addr),
    Broken(Addr, String),
}

type Known<T> = Result<T, Stop>;

/// A frame's number; a missing one counts −1.
pub(crate) fn number(frame: &IbGib) -> i64 {
    frame.n().map_or(-1, |n| n as i64)
}

/// Orders frames: n, then the text of the gib.
pub(crate) fn key(frame: &Verified<IbGib>) -> (i64, &str) {
    (number(frame), frame.addr().gib())
}

impl History {
    /// No frames.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a frame.
    pub fn insert(&mut self, frame: Verified<IbGib>) {
        self.insert_place(&frame);
        self.frames.entry(frame.addr().clone()).or_insert(frame);
    }

    /// Adds a frame's place without what the frame says, which may be much. Should a merge turn out to need that, it
    /// is asked for.
    pub fn insert_place(&mut self, frame: &Verified<IbGib>) {
        self.places.entry(frame.addr().clone()).or_insert_with(|| Place::of(frame));
    }

    /// A frame that was inserted whole.
    pub fn get(&self, addr: &Addr) -> Option<&Verified<IbGib>> {
        self.frames.get(addr)
    }

    /// How tip `x` stands to tip `y`.
    ///
    /// # Errors
    /// [`HistoryError::Need`]; [`HistoryError::Broken`] for frames that break the rules, or tips of two timelines.
    pub fn relate(&mut self, x: &Addr, y: &Addr) -> Result<Relation, HistoryError> {
        if x == y {
            return Ok(Relation::Same);
        }
        self.run(|h| {
            h.same_timeline(x, y)?;
            let paint = h.paint(std::slice::from_ref(x), std::slice::from_ref(y), false)?;
            h.relation(x, y, &paint)
        })
    }

    /// The tip that a sync of `x` and `y` leaves on both sides, in whichever order they are given.
    ///
    /// # Errors
    /// As [`History::relate`]; [`HistoryError::NotLiving`] when they diverged and have no dna.
    pub fn join(&mut self, x: &Addr, y: &Addr) -> Result<Joined, HistoryError> {
        let one = |tip: &Addr| Joined { tip: tip.clone(), nodes: Vec::new(), conflicts: 0 };
        match self.relate(x, y)? {
            Relation::Same | Relation::Behind => return Ok(one(y)),
            Relation::Ahead => return Ok(one(x)),
            Relation::Diverged => {}
        }
        for tip in [x, y] {
            if self.places.get(tip).is_some_and(|place| !place.has_dna) {
                return Err(HistoryError::NotLiving(tip.clone()));
            }
        }
        let made = self.run(|h| h.merge(x, y))?;
        let frame = made.nodes.last().cloned();
        for node in &made.nodes {
            self.insert(node.clone());
        }
        if let Some(frame) = frame {
            self.merges.insert(frame.addr().clone(), true);
        }
        Ok(made)
    }

    /// Proves that a tip may move from `from` (`None`: the timeline is new) to `to`.
    ///
    /// # Errors
    /// As [`History::relate`]; [`HistoryError::NotCovered`].
    pub fn advance(&mut self, from: Option<&Addr>, to: &Addr) -> Result<Advance, HistoryError> {
        let tjp = self.run(|h| {
            let tjp = h.place(to)?.tjp.clone();
            let tjp = tjp.ok_or_else(|| Stop::Broken(to.clone(), "it belongs to no timeline".into()))?;
            let paint = match from {
                None => h.paint(std::slice::from_ref(to), &[], true)?,
                Some(from) => {
                    h.same_timeline(from, to)?;
                    let paint = h.paint(std::slice::from_ref(to), std::slice::from_ref(from), false)?;
                    let covered = from == to || h.relation(to, from, &paint)? == Relation::Ahead;
                    if !covered {
                        return Ok(Err(HistoryError::NotCovered { from: from.clone(), to: to.clone() }));
                    }
                    paint
                }
            };
            for addr in &paint.only_x {
                h.check_step(addr, &tjp)?;
            }
            Ok(Ok(tjp))
        })??;
        Ok(Advance { tjp, from: from.cloned(), to: to.clone() })
    }

    /// Runs a computation, finding out first whatever it stops for.
    fn run<T>(&mut self, mut work: impl FnMut(&Self) -> Known<T>) -> Result<T, HistoryError> {
        // Frames to classify, later ones first: a stack of our own, since histories nest deeply. Some are looked at
        // early (`true`), so that `work` need not begin again for each; what those lack nobody needs yet.
        let mut pending: Vec<(Addr, bool)> = Vec::new();
        // What was looked at early and lacks frames, itself or through what it builds on: not to be asked again before
        // `work` itself does, or the two would ask each other for ever.
        let mut lacking: HashSet<Addr> = HashSet::new();
        let mut ahead = 1;
        loop {
            let top = pending.last().cloned();
            let stop = match &top {
                None => match work(self) {
                    Ok(done) => return Ok(done),
                    Err(stop) => stop,
                },
                Some((addr, _)) if self.merges.contains_key(addr) => {
                    pending.pop();
                    continue;
                }
                Some((addr, _)) => match self.recompute(addr) {
                    Ok(is_merge) => {
                        self.merges.insert(addr.clone(), is_merge);
                        continue;
                    }
                    Err(stop) => stop,
                },
            };
            match (stop, top) {
                (Stop::Need(_), Some((addr, true))) => {
                    pending.pop();
                    lacking.insert(addr);
                }
                (Stop::Classify(below), Some((addr, true))) if lacking.contains(&below) => {
                    pending.pop();
                    lacking.insert(addr);
                }
                (Stop::Need(addrs), _) => return Err(HistoryError::Need(addrs)),
                // What recomputing a frame finds broken says that the frame is no merge of ours.
                (Stop::Broken(_, _), Some((addr, _))) => drop(self.merges.insert(addr, false)),
                (Stop::Broken(addr, why), None) => return Err(HistoryError::Broken { addr, why }),
                (Stop::Classify(addr), Some((_, early))) => pending.push((addr, early)),
                (Stop::Classify(addr), None) => {
                    pending.push((addr.clone(), false));
                    pending.extend(self.candidates_below(&addr, ahead).into_iter().map(|addr| (addr, true)));
                    ahead *= 2;
                }
            }
        }
    }

    /// What may be a merge frame among the next `visits` frames in memory before this one, highest n first.
    fn candidates_below(&self, addr: &Addr, visits: usize) -> Vec<Addr> {
        let mut seen = HashSet::from([addr.clone()]);
        let mut next = VecDeque::from([addr.clone()]);
        let mut out = Vec::new();
        for _ in 0..visits {
            let Some(here) = next.pop_front() else { break };
            let Some(place) = self.places.get(&here) else { break };
            let before = place.past.iter().chain(place.merge_of.as_ref().map(|(_, orphan)| orphan));
            next.extend(before.filter(|a| self.places.contains_key(a) && seen.insert((*a).clone())).cloned());
            if place.merge_of.is_some() && here != *addr && !self.merges.contains_key(&here) {
                out.push((place.number(), here));
            }
        }
        out.sort_by(|a, b| b.cmp(a));
        out.into_iter().map(|(_, addr)| addr).collect()
    }

    pub(crate) fn frame(&self, addr: &Addr) -> Known<&Verified<IbGib>> {
        self.frames.get(addr).ok_or_else(|| Stop::Need(vec![addr.clone()]))
    }

    fn place(&self, addr: &Addr) -> Known<&Place> {
        self.places.get(addr).ok_or_else(|| Stop::Need(vec![addr.clone()]))
    }

    /// What orders frames: n, then the text of the gib.
    fn key<'a>(&self, addr: &'a Addr) -> Known<(i64, &'a str)> {
        Ok((self.place(addr)?.number(), addr.gib()))
    }

    fn same_timeline(&self, x: &Addr, y: &Addr) -> Known<()> {
        match (&self.place(x)?.tjp, &self.place(y)?.tjp) {
            (Some(a), Some(b)) if a == b => Ok(()),
            _ => Err(Stop::Broken(x.clone(), format!("it is not of the timeline of {y}"))),
        }
    }

    pub(crate) fn is_merge(&self, addr: &Addr) -> Known<bool> {
        if let Some(known) = self.merges.get(addr) {
            return Ok(*known);
        }
        if self.place(addr)?.merge_of.is_none() {
            return Ok(false);
        }
        Err(Stop::Classify(addr.clone()))
    }

    /// Whether merging what the frame says it merged gives the frame.
    fn recompute(&self, addr: &Addr) -> Known<bool> {
        let place = self.place(addr)?;
        let Some((base, orphan)) = &place.merge_of else { return Ok(false) };
        for parent in [base, orphan] {
            if self.place(parent)?.number() >= place.number() {
                return Ok(false);
            }
        }
        // A frame that merges what covers each other is not one that we make.
        self.same_timeline(base, orphan)?;
        let paint = self.paint(std::slice::from_ref(base), std::slice::from_ref(orphan), false)?;
        if self.relation(base, orphan, &paint)? != Relation::Diverged {
            return Ok(false);
        }
        let made = self.merge(base, orphan)?;
        Ok(made.tip == *addr)
    }

    /// Frames before this one.
    pub(crate) fn parents(&self, addr: &Addr) -> Known<Vec<Addr>> {
        let place = self.place(addr)?;
        let mut out: Vec<Addr> = place.past.iter().cloned().collect();
        if let Some((_, orphan)) = &place.merge_of
            && self.is_merge(addr)?
        {
            out.push(orphan.clone());
        }
        Ok(out)
    }

    fn relation(&self, x: &Addr, y: &Addr, paint: &Paint) -> Known<Relation> {
        let has_edit = |frames: &[Addr]| -> Known<bool> {
            for addr in frames {
                if !self.is_merge(addr)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Ok(match (has_edit(&paint.only_x)?, has_edit(&paint.only_y)?) {
            (true, true) => Relation::Diverged,
            (true, false) => Relation::Ahead,
            (false, true) => Relation::Behind,
            (false, false) if self.key(x)? > self.key(y)? => Relation::Ahead,
            (false, false) => Relation::Behind,
        })
    }

    /// The rules that a frame keeps towards its past.
    fn check_step(&self, addr: &Addr, tjp: &Addr) -> Known<()> {
        let broken = |why: String| Err(Stop::Broken(addr.clone(), why));
        let place = self.place(addr)?;
        if place.tjp.as_ref() != Some(tjp) {
            return broken(format!("its tjp is not {tjp}"));
        }
        let Some(past) = &place.past else {
            return if place.is_tjp { Ok(()) } else { broken("it has no past and is not the first frame".into()) };
        };
        if place.is_tjp {
            return broken("the first frame has a past".into());
        }
        let past = self.place(past)?;
        if past.tjp.as_ref() != Some(tjp) {
            return broken("its past belongs to another timeline".into());
        }
        if self.is_merge(addr)? {
            // Recomputed: its n is right.
            return Ok(());
        }
        match (past.n, place.n) {
            (None, None | Some(0)) => Ok(()),
            (Some(before), Some(n)) if n == before + 1 => Ok(()),
            (before, n) => broken(format!("n is {n:?} after {before:?}")),
        }
    }

    /// Colours the frames under two sets of tips, from the highest n down, until the rest is common to both.
    ///
    /// `deep`: go on until a single frame is left that everything visited descends from (or nothing is left), as
    /// merging and checking a whole timeline need it.
    fn paint(&self, x: &[Addr], y: &[Addr], deep: bool) -> Known<Paint> {
        let mut front = Front::default();
        let mut depths = HashMap::new();
        let mut out = Paint::default();
        for (tips, colour) in [(x, X), (y, Y)] {
            for tip in tips {
                front.add((self.rank(tip, &mut depths)?, tip.clone()), colour);
            }
        }
        let one_sided = y.is_empty();
        loop {
            if front.open == 0 && !one_sided {
                // The highest of the rest cannot be an ancestor of the others.
                let one_left = front.fresh == 1 && front.highest().is_some_and(Front::is_fresh);
                if deep && front.rest.len() <= 1 || !deep && (front.fresh == 0 || one_left) {
                    out.nearest.extend(front.rest.into_iter().filter(|(_, f)| Front::is_fresh(*f)).map(|(k, _)| k.0.1));
                    return Ok(out);
                }
            }
            let Some(((rank, addr), flags)) = front.pop() else { return Ok(out) };
            match flags & BOTH {
                X => out.only_x.push(addr.clone()),
                Y => out.only_y.push(addr.clone()),
                _ => {
                    if Front::is_fresh(flags) {
                        out.nearest.push(addr.clone());
                    }
                    out.common.push(addr.clone());
                }
            }
            let inherited = if flags & BOTH == BOTH { flags | STALE } else { flags };
            for parent in self.parents(&addr)? {
                let before = self.rank(&parent, &mut depths)?;
                if before >= rank {
                    return Err(Stop::Broken(addr, format!("its n is not greater than that of {parent}")));
                }
                front.add((before, parent), inherited);
            }
        }
    }

    /// A number that is larger than those of all frames before: n, or, for frames without n, how many are before them
    /// (which only `past` can tell, since a merge frame has an n), below all n.
    fn rank(&self, addr: &Addr, depths: &mut HashMap<Addr, i64>) -> Known<i64> {
        let mut chain = Vec::new();
        let mut next = Some(addr.clone());
        let mut rank = i64::MIN;
        while let Some(addr) = next {
            let place = self.place(&addr)?;
            if let Some(known) = place.n.map(|n| n as i64).or_else(|| depths.get(&addr).copied()) {
                rank = known;
                break;
            }
            next = place.past.clone();
            chain.push(addr);
        }
        for addr in chain.into_iter().rev() {
            // One without n after one with n is not greater: that breaks a rule.
            rank = if rank >= 0 { i64::MIN } else { rank + 1 };
            depths.insert(addr, rank);
        }
        Ok(rank)
    }

    /// The merge frame of two tips that diverged, with its stones.
    fn merge(&self, x: &Addr, y: &Addr) -> Known<Joined> {
        let (base, orphan) = if self.key(x)? > self.key(y)? { (x, y) } else { (y, x) };
        let near = self.paint(std::slice::from_ref(base), std::slice::from_ref(orphan), false)?;
        let deep = self.paint(std::slice::from_ref(base), std::slice::from_ref(orphan), true)?;
        self.need_whole(&deep, [base, orphan])?;
        let mut region = Region::default();
        for (frames, seen) in [(&deep.only_x, Seen::Base), (&deep.only_y, Seen::Orphan), (&deep.common, Seen::Both)] {
            for addr in frames {
                if !self.is_merge(addr)? {
                    let past = match &self.place(addr)?.past {
                        Some(past) => Some(self.frame(past)?.clone()),
                        None => None,
                    };
                    region.writers.push(Writer { frame: self.frame(addr)?.clone(), past, seen });
                }
                let parents = self.parents(addr)?.into_iter().map(|a| Ok((self.place(&a)?.number(), a)));
                region.parents.insert(addr.clone(), parents.collect::<Known<_>>()?);
            }
        }
        let nearest = self.sorted(near.nearest)?;
        merge::merge(self, self.frame(base)?, self.frame(orphan)?, &nearest, &region)
    }

    /// Asks at once for every frame of a region whose place alone is known, but merges, which wrote nothing.
    fn need_whole(&self, region: &Paint, tips: [&Addr; 2]) -> Known<()> {
        let mut wanted: Vec<&Addr> = tips.to_vec();
        for addr in [&region.only_x, &region.only_y, &region.common].into_iter().flatten() {
            if !self.is_merge(addr)? {
                wanted.push(addr);
                wanted.extend(&self.place(addr)?.past);
            }
        }
        let mut seen = HashSet::new();
        let lacking = wanted.into_iter().filter(|addr| !self.frames.contains_key(*addr) && seen.insert(*addr));
        let lacking: Vec<Addr> = lacking.cloned().collect();
        if lacking.is_empty() { Ok(()) } else { Err(Stop::Need(lacking)) }
    }

    /// Largest (n, gib) first.
    fn sorted(&self, mut frames: Vec<Addr>) -> Known<Vec<Addr>> {
        frames.iter().try_for_each(|addr| self.place(addr).map(drop))?;
        frames.sort_by_cached_key(|addr| Reverse((self.places[addr].number(), addr.gib().to_owned())));
        Ok(frames)
    }

    /// The nearest common ancestors of `c` and any of `seen`, largest (n, gib) first.
    pub(crate) fn nearest(&self, seen: &[Addr], c: &Addr) -> Known<Vec<Addr>> {
        let paint = self.paint(seen, std::slice::from_ref(c), false)?;
        self.sorted(paint.nearest)
    }
}

/// Reached from x.
const X: u8 = 1;
/// Reached from y.
const Y: u8 = 2;
const BOTH: u8 = X | Y;
/// Reached from a frame that both reach.
const STALE: u8 = 4;

/// Frames that [`History::paint`] has reached and not visited, highest first.
#[derive(Default)]
struct Front {
    rest: BTreeMap<Reverse<(i64, Addr)>, u8>,
    /// How many of them only one side reaches.
    open: usize,
    /// How many of them may be nearest common ancestors.
    fresh: usize,
}

impl Front {
    fn is_fresh(flags: u8) -> bool {
        flags & (BOTH | STALE) == BOTH
    }

    fn add(&mut self, key: (i64, Addr), colour: u8) {
        let flags = self.rest.entry(Reverse(key)).or_default();
        let before = *flags;
        *flags |= colour;
        let after = *flags;
        self.count(before, false);
        self.count(after, true);
    }

    fn pop(&mut self) -> Option<((i64, Addr), u8)> {
        let (Reverse(key), flags) = self.rest.pop_first()?;
        self.count(flags, false);
        Some((key, flags))
    }

    fn highest(&self) -> Option<u8> {
        self.rest.first_key_value().map(|(_, flags)| *flags)
    }

    fn count(&mut self, flags: u8, more: bool) {
        let one = |is: bool, n: &mut usize| {
            if is {
                *n = if more { *n + 1 } else { *n - 1 };
            }
        };
        one(matches!(flags & BOTH, X | Y), &mut self.open);
        one(Self::is_fresh(flags), &mut self.fresh);
    }
}

/// What [`History::paint`] found.
#[derive(Debug, Default)]
struct Paint {
    /// Frames reachable from x only, highest n first.
    only_x: Vec<Addr>,
    /// Frames reachable from y only.
    only_y: Vec<Addr>,
    /// Common frames that were visited.
    common: Vec<Addr>,
    /// Common frames that no other common frame descends from.
    nearest: Vec<Addr>,
}
