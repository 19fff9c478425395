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

mod merges;
mod paint;
mod place;
mod run;

pub use merges::Merges;

use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified};
use crate::merge::{self, Set};
use place::Place;
use run::{Blocked, Known};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

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

/// How a tip x stands to a tip y: which of them has the other's edits behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ancestry {
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
    /// Frames are needed, whole, or stones of conflicts: load and insert them, then call again.
    #[error("{} frame(s) are needed", .0.len())]
    Need(Vec<Addr>),
    /// [`History::pause_after`] so many merges it gives others their turn: call again.
    #[error("call again: the history goes on where it is")]
    Paused,
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

/// For each set of ancestors the numbers of other sets.
type Below = Vec<Vec<usize>>;

/// Frames in memory, and what was found out about them.
#[derive(Debug, Default)]
pub struct History {
    places: HashMap<Addr, Place>,
    frames: HashMap<Addr, Verified<IbGib>>,
    merges: HashMap<Addr, bool>,
    /// What other histories found out.
    shared: Option<Merges>,
    pause_after: Option<usize>,
}

impl History {
    /// No frames.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on a call ends with [`HistoryError::Paused`] after recomputing this many merges. What was found out stays,
    /// so calling again goes on: a caller who shares a thread, or no longer wants to know, is not held by long histories.
    pub fn pause_after(&mut self, merges: usize) {
        self.pause_after = Some(merges.max(1));
    }

    /// From now on what is found out about merge frames is shared.
    pub fn share(&mut self, merges: Merges) {
        self.shared = Some(merges);
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
    pub fn ancestry(&mut self, x: &Addr, y: &Addr) -> Result<Ancestry, HistoryError> {
        if x == y {
            return Ok(Ancestry::Same);
        }
        self.run(|h| {
            h.same_timeline(x, y)?;
            let paint = h.paint(std::slice::from_ref(x), std::slice::from_ref(y))?;
            h.ancestry_by(x, y, &paint)
        })
    }

    /// The tip that a sync of `x` and `y` leaves on both sides, in whichever order they are given.
    ///
    /// # Errors
    /// As [`History::ancestry`]; [`HistoryError::NotLiving`] when they diverged and have no dna.
    pub fn join(&mut self, x: &Addr, y: &Addr) -> Result<Joined, HistoryError> {
        let one = |tip: &Addr| Joined { tip: tip.clone(), nodes: Vec::new(), conflicts: 0 };
        match self.ancestry(x, y)? {
            Ancestry::Same | Ancestry::Behind => return Ok(one(y)),
            Ancestry::Ahead => return Ok(one(x)),
            Ancestry::Diverged => {}
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
            self.found(frame.addr().clone(), true);
        }
        Ok(made)
    }

    /// Proves that a tip may move from `from` (`None`: the timeline is new) to `to`.
    ///
    /// # Errors
    /// As [`History::ancestry`]; [`HistoryError::NotCovered`].
    pub fn advance(&mut self, from: Option<&Addr>, to: &Addr) -> Result<Advance, HistoryError> {
        let tjp = self.run(|h| {
            let tjp = h.place(to)?.tjp.clone();
            let tjp = tjp.ok_or_else(|| Blocked::Broken(to.clone(), "it belongs to no timeline".into()))?;
            let paint = match from {
                None => h.paint(std::slice::from_ref(to), &[])?,
                Some(from) => {
                    h.same_timeline(from, to)?;
                    let paint = h.paint(std::slice::from_ref(to), std::slice::from_ref(from))?;
                    let covered = from == to || h.ancestry_by(to, from, &paint)? == Ancestry::Ahead;
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

    fn frame(&self, addr: &Addr) -> Known<&Verified<IbGib>> {
        self.frames.get(addr).ok_or_else(|| Blocked::Need(vec![addr.clone()]))
    }

    fn place(&self, addr: &Addr) -> Known<&Place> {
        self.places.get(addr).ok_or_else(|| Blocked::Need(vec![addr.clone()]))
    }

    /// What orders frames: n, then the text of the gib.
    fn key<'a>(&self, addr: &'a Addr) -> Known<(i64, &'a str)> {
        Ok((self.place(addr)?.number(), addr.gib()))
    }

    fn same_timeline(&self, x: &Addr, y: &Addr) -> Known<()> {
        match (&self.place(x)?.tjp, &self.place(y)?.tjp) {
            (Some(a), Some(b)) if a == b => Ok(()),
            _ => Err(Blocked::Broken(x.clone(), format!("it is not of the timeline of {y}"))),
        }
    }

    /// Whether a frame is a merge, if that was found out.
    fn known_merge(&self, addr: &Addr) -> Option<bool> {
        self.merges.get(addr).copied().or_else(|| self.shared.as_ref()?.get(addr))
    }

    fn found(&mut self, addr: Addr, is_merge: bool) {
        if let Some(shared) = &self.shared {
            shared.insert(addr.clone(), is_merge);
        }
        self.merges.insert(addr, is_merge);
    }

    fn is_merge(&self, addr: &Addr) -> Known<bool> {
        // Most frames say of themselves that they are none.
        if self.place(addr)?.merge_of.is_none() {
            return Ok(false);
        }
        self.known_merge(addr).ok_or_else(|| Blocked::Classify(addr.clone()))
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
        let paint = self.paint(std::slice::from_ref(base), std::slice::from_ref(orphan))?;
        if self.ancestry_by(base, orphan, &paint)? != Ancestry::Diverged {
            return Ok(false);
        }
        let made = self.merge(base, orphan)?;
        Ok(made.tip == *addr)
    }

    /// Frames before this one.
    fn parents(&self, addr: &Addr) -> Known<Vec<Addr>> {
        let place = self.place(addr)?;
        let mut out: Vec<Addr> = place.past.iter().cloned().collect();
        if let Some((_, orphan)) = &place.merge_of
            && self.is_merge(addr)?
        {
            out.push(orphan.clone());
        }
        Ok(out)
    }

    /// The rules that a frame keeps towards its past.
    fn check_step(&self, addr: &Addr, tjp: &Addr) -> Known<()> {
        let broken = |why: String| Err(Blocked::Broken(addr.clone(), why));
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

    /// The merge frame of two tips that diverged, with its stones.
    fn merge(&self, x: &Addr, y: &Addr) -> Known<Joined> {
        let (base, orphan) = if self.key(x)? > self.key(y)? { (x, y) } else { (y, x) };
        let nearest = self.nearest(std::slice::from_ref(base), orphan)?;
        let several = nearest.len() > 1;
        let (sets, below) = self.folds(nearest)?;
        let mut lacking: Vec<Addr> = [base, orphan].into_iter().chain(sets.iter().flatten()).cloned().collect();
        let mut seen = HashSet::new();
        lacking.retain(|addr| !self.frames.contains_key(addr) && seen.insert(addr.clone()));
        if !lacking.is_empty() {
            return Err(Blocked::Need(lacking));
        }
        let sets = sets.iter().zip(below).map(|(frames, below)| {
            let frames = frames.iter().map(|addr| self.frame(addr)).collect::<Known<_>>()?;
            Ok(Set { frames, below })
        });
        let sets = sets.collect::<Known<Vec<_>>>()?;
        let tips = [self.frame(base)?, self.frame(orphan)?];
        let stones = merge::settled(tips, &sets);
        let lacking: Vec<Addr> = stones.iter().filter(|stone| !self.frames.contains_key(*stone)).cloned().collect();
        if !lacking.is_empty() {
            return Err(Blocked::Need(lacking));
        }
        let stones =
            stones.iter().filter_map(|stone| self.frames.get(stone)).map(|stone| (stone.addr().as_str(), stone));
        let made = merge::merge(tips[0], tips[1], &sets, several, &stones.collect());
        let made = made.map_err(|merge::Unmergeable(why)| Blocked::Broken(base.clone(), why))?;
        Ok(Joined { tip: made.tip, nodes: made.nodes, conflicts: made.conflicts })
    }

    /// All sets of ancestors that these nearest ones are folded with, these first, and for each set the numbers of the
    /// sets that its folds come from. Sets beyond [`merge::FOLDS_MAX`] folds, the furthest, are cut to their first frame.
    fn folds(&self, nearest: Vec<Addr>) -> Known<(Vec<Vec<Addr>>, Below)> {
        let mut sets = vec![nearest];
        let mut numbers: HashMap<Vec<Addr>, usize> = HashMap::new();
        let (mut below, mut folds): (Below, usize) = (Vec::new(), 0);
        while let Some(set) = sets.get_mut(below.len()) {
            let more = set.len().saturating_sub(1);
            if folds + more > merge::FOLDS_MAX {
                set.truncate(1);
                below.push(Vec::new());
                continue;
            }
            folds += more;
            let set = set.clone();
            let mut own = Vec::with_capacity(more);
            for i in 1..set.len() {
                let nearest = self.nearest(&set[..i], &set[i])?;
                let number = *numbers.entry(nearest).or_insert_with_key(|nearest| {
                    sets.push(nearest.clone());
                    sets.len() - 1
                });
                own.push(number);
            }
            below.push(own);
        }
        Ok((sets, below))
    }

    /// Largest (n, gib) first.
    fn sorted(&self, mut frames: Vec<Addr>) -> Known<Vec<Addr>> {
        frames.iter().try_for_each(|addr| self.place(addr).map(drop))?;
        frames.sort_by_cached_key(|addr| Reverse((self.places[addr].number(), addr.gib().to_owned())));
        Ok(frames)
    }

    /// The nearest common ancestors of `c` and any of `seen`, largest (n, gib) first.
    fn nearest(&self, seen: &[Addr], c: &Addr) -> Known<Vec<Addr>> {
        let paint = self.paint(seen, std::slice::from_ref(c))?;
        self.sorted(paint.nearest)
    }
}
