//! The three-way merge of sequences: lines of a text, words of a line, elements of a list, names of members.
//!
//! An item of the ancestor stays iff both sides keep it. What was put in between two items that were kept is base's,
//! then orphan's; once, if both put in the same. An item unique in the ancestor that one side took out and put in once
//! is *moved*: a delete by the other side wins, and of two moves base's stands. Runs that both sides replaced or took
//! out are one *region*: what both have in common stands once, differences base's first, and the region is a conflict.
//! Without an ancestor, what both have in common is the ancestor.

use super::lcs::{TooBig, Work, lcs};
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// An item of the merged sequence: where it stands in each of the three, and what it was joined to.
pub(super) struct Place<J> {
    pub(super) ancestor: Option<usize>,
    pub(super) base: Option<usize>,
    pub(super) orphan: Option<usize>,
    /// Both replaced the ancestor's item, and this stands for both.
    pub(super) joined: Option<J>,
}

/// Items of each that are in conflict; the ancestor's are `None` where there is no ancestor.
pub(super) struct Clash {
    pub(super) ancestor: Option<Range<usize>>,
    pub(super) base: Vec<usize>,
    pub(super) orphan: Vec<usize>,
}

pub(super) struct Merged<J> {
    pub(super) places: Vec<Place<J>>,
    pub(super) clashes: Vec<Clash>,
}

/// Merges `base` and `orphan`. `collapse`: the same new item put in by both anywhere is one. `again`: places in the
/// ancestor of conflicts that both sides settled; what they disagree about there is in conflict again. `join` is asked
/// about each item that was replaced one for one on both sides (indices in ancestor, base and orphan).
pub(super) fn merge<T: Copy + Eq + Hash, J>(
    ancestor: Option<&[T]>,
    base: &[T],
    orphan: &[T],
    collapse: bool,
    again: &[Range<usize>],
    work: &mut Work,
    mut join: impl FnMut(&mut Work, usize, usize, usize) -> Option<J>,
) -> Result<Merged<J>, TooBig> {
    let mut numbers = Numbers(HashMap::new());
    let (b, o) = (numbers.of(base), numbers.of(orphan));
    let two_way = ancestor.is_none();
    let (a, pairs_b, pairs_o) = if let Some(ancestor) = ancestor {
        let a = numbers.of(ancestor);
        let (pairs_b, pairs_o) = (lcs(&a, &b, work)?, lcs(&a, &o, work)?);
        (a, pairs_b, pairs_o)
    } else {
        let pairs = lcs(&b, &o, work)?;
        let a = pairs.iter().map(|(i, _)| b[*i]).collect::<Vec<_>>();
        let to = |side: fn(&(usize, usize)) -> usize| pairs.iter().map(side).enumerate().collect::<Vec<_>>();
        (a, to(|pair| pair.0), to(|pair| pair.1))
    };
    let count = numbers.0.len();
    let mut three = Three {
        in_a: times(&a, count),
        in_b: times(&b, count),
        in_o: times(&o, count),
        base: Side::new(a.len(), b.len(), &pairs_b),
        orphan: Side::new(a.len(), o.len(), &pairs_o),
        a,
        b,
        o,
        two_way,
    };
    let mut moves = three.moves(count);
    let mut twice = three.put_in_by_both(count, collapse);
    let mut joined: HashMap<usize, J> = HashMap::new();
    let mut is_settled = vec![false; three.a.len()];
    for at in again {
        work.take(at.len())?;
        is_settled[at.clone()].fill(true);
    }
    for i in three.joinable(&moves, &is_settled) {
        let (Some(x), Some(y)) = (three.base.instead[i], three.orphan.instead[i]) else { continue };
        if let Some(item) = join(work, i, x, y) {
            joined.insert(i, item);
            three.base.keep(i, x);
            three.orphan.keep(i, y);
        }
    }
    let mut clashes = three.regions(&mut moves, again, |i| joined.contains_key(&i));
    let gaps = three.gaps(&moves, &mut twice, work)?;
    let places = three.out(gaps, &mut twice, &mut joined, &mut clashes);
    Ok(Merged { places, clashes })
}

/// Numbers for items, so that they can be counted.
struct Numbers<T>(HashMap<T, u32>);

impl<T: Copy + Eq + Hash> Numbers<T> {
    fn of(&mut self, items: &[T]) -> Vec<u32> {
        let number = |item: &T| {
            let next = self.0.len() as u32;
            *self.0.entry(*item).or_insert(next)
        };
        items.iter().map(number).collect()
    }
}

/// How often each item stands in a sequence.
fn times(items: &[u32], count: usize) -> Vec<u32> {
    let mut out = vec![0; count];
    items.iter().for_each(|x| out[*x as usize] += 1);
    out
}

/// A place for new items: 0 is before everything, `instead(k)` where the ancestor's item k was, `after(k)` behind it.
type Slot = usize;

fn instead(k: usize) -> Slot {
    2 * k + 1
}

fn after(k: usize) -> Slot {
    2 * k + 2
}

/// One side read against the ancestor.
struct Side {
    /// For each item of the ancestor its own index, where it was kept.
    kept: Vec<Option<usize>>,
    /// For each item of the ancestor the own index of what replaced it, one for one.
    instead: Vec<Option<usize>>,
    /// New items by slot.
    gaps: HashMap<Slot, Vec<usize>>,
    /// Runs of the ancestor that were replaced or taken out, with the items that stand there instead.
    hunks: Vec<Hunk>,
}

#[derive(Clone)]
struct Hunk {
    ancestor: Range<usize>,
    own: Range<usize>,
}

impl Side {
    fn new(ancestor: usize, own: usize, pairs: &[(usize, usize)]) -> Self {
        let mut out =
            Self { kept: vec![None; ancestor], instead: vec![None; ancestor], gaps: HashMap::new(), hunks: Vec::new() };
        let (mut i, mut j) = (0, 0);
        for (x, y) in pairs.iter().copied().chain([(ancestor, own)]) {
            if i == x {
                if j < y {
                    out.gaps.insert(i.checked_sub(1).map_or(0, after), (j..y).collect());
                }
            } else {
                out.hunks.push(Hunk { ancestor: i..x, own: j..y });
                if x - i == y - j {
                    for (k, own) in (i..x).zip(j..y) {
                        out.instead[k] = Some(own);
                        out.gaps.insert(instead(k), vec![own]);
                    }
                } else if j < y {
                    out.gaps.insert(instead(x - 1), (j..y).collect());
                }
            }
            if x < ancestor {
                out.kept[x] = Some(y);
            }
            (i, j) = (x + 1, y + 1);
        }
        out
    }

    /// Counts the item k of the ancestor as kept, its new form being the own item `own`.
    fn keep(&mut self, k: usize, own: usize) {
        self.kept[k] = Some(own);
        self.gaps.remove(&instead(k));
    }

    /// Hunks without the items that were joined.
    fn cut(&self, joined: &impl Fn(usize) -> bool) -> Vec<Hunk> {
        let mut out = Vec::new();
        for Hunk { ancestor, own } in &self.hunks {
            let mut from = ancestor.start;
            for k in ancestor.clone().filter(|k| joined(*k)).chain([ancestor.end]) {
                if from < k {
                    let own = own.start + (from - ancestor.start)..own.end + k - ancestor.end;
                    out.push(Hunk { ancestor: from..k, own });
                }
                from = k + 1;
            }
        }
        out
    }
}

/// Places of settled conflicts with all that overlaps them, where a side changed anything.
fn grown(again: &[Range<usize>], base: &[Hunk], orphan: &[Hunk]) -> Vec<Range<usize>> {
    if again.is_empty() {
        return Vec::new();
    }
    let hunks = base.iter().chain(orphan).map(|hunk| (hunk.ancestor.clone(), false));
    let mut all: Vec<(Range<usize>, bool)> = again.iter().map(|at| (at.clone(), true)).chain(hunks).collect();
    all.sort_unstable_by_key(|(at, _)| at.start);
    // Each with whether there is a place in it, and whether there is a change.
    let mut groups: Vec<(Range<usize>, bool, bool)> = Vec::new();
    for (at, is_place) in all {
        match groups.last_mut() {
            Some((last, place, change)) if at.start < last.end => {
                last.end = last.end.max(at.end);
                *place |= is_place;
                *change |= !is_place;
            }
            _ => groups.push((at, is_place, !is_place)),
        }
    }
    groups.into_iter().filter(|(_, place, change)| *place && *change).map(|(at, ..)| at).collect()
}

/// Items that a side moved, by number.
struct Moves {
    /// Moved by either.
    any: Vec<bool>,
    /// Moved by base, and orphan took them out.
    drop_base: Vec<bool>,
    /// Moved by orphan, and base took them out or moved them, too.
    drop_orphan: Vec<bool>,
}

/// What both put into one slot, with the pairs (positions within the two lists) that are the same.
struct Gap {
    base: Vec<usize>,
    orphan: Vec<usize>,
    same: Vec<(usize, usize)>,
}

struct Three {
    a: Vec<u32>,
    b: Vec<u32>,
    o: Vec<u32>,
    in_a: Vec<u32>,
    in_b: Vec<u32>,
    in_o: Vec<u32>,
    base: Side,
    orphan: Side,
    two_way: bool,
}

impl Three {
    fn moves(&self, count: usize) -> Moves {
        let moved = |side: &Side, own: &[u32]| {
            let mut out = vec![false; count];
            for (i, x) in self.a.iter().map(|x| *x as usize).enumerate() {
                out[x] |= self.in_a[x] == 1 && side.kept[i].is_none() && own[x] == 1;
            }
            out
        };
        let (b, o) = (moved(&self.base, &self.in_b), moved(&self.orphan, &self.in_o));
        Moves {
            any: (0..count).map(|x| b[x] || o[x]).collect(),
            drop_base: (0..count).map(|x| b[x] && self.in_o[x] == 0).collect(),
            drop_orphan: (0..count).map(|x| o[x] && (self.in_b[x] == 0 || b[x])).collect(),
        }
    }

    /// How often an item that both put in stands once for both, by number.
    fn put_in_by_both(&self, count: usize, collapse: bool) -> Vec<i64> {
        let mut out = vec![0; count];
        if collapse {
            let put_in = |side: &Side, own: &[u32]| {
                let items: Vec<u32> = side.gaps.values().flatten().map(|j| own[*j]).collect();
                times(&items, count)
            };
            let (b, o) = (put_in(&self.base, &self.b), put_in(&self.orphan, &self.o));
            for x in (0..count).filter(|x| self.two_way || self.in_a[*x] == 0) {
                out[x] = i64::from(b[x].min(o[x]));
            }
        }
        out
    }

    /// Items that both replaced one for one, by items that only that side has.
    fn joinable(&self, moves: &Moves, is_settled: &[bool]) -> Vec<usize> {
        let is_new = |x: u32, y: u32| {
            let (x, y) = (x as usize, y as usize);
            self.in_a[x] + self.in_o[x] + self.in_a[y] + self.in_b[y] == 0
        };
        let both = |i: &usize| match (self.base.instead[*i], self.orphan.instead[*i]) {
            (Some(x), Some(y)) => !moves.any[self.a[*i] as usize] && is_new(self.b[x], self.o[y]),
            _ => false,
        };
        (0..self.a.len()).filter(|i| !is_settled[*i]).filter(both).collect()
    }

    /// What both replaced or took out: overlapping runs, and what lies between them. Their new items move to where the
    /// last item of the region was. Where both settled a conflict, what a side kept of it counts as put in: the other may
    /// have taken it out, and neither has seen the other's choice. Nor does a delete win over a move there.
    fn regions(&mut self, moves: &mut Moves, again: &[Range<usize>], joined: impl Fn(usize) -> bool) -> Vec<Clash> {
        let (hunks_b, hunks_o) = (self.base.cut(&joined), self.orphan.cut(&joined));
        let mut regions: Vec<Range<usize>> = Vec::new();
        let mut rest = &hunks_o[..];
        for hb in hunks_b.iter().map(|h| &h.ancestor) {
            while rest.first().is_some_and(|ho| ho.ancestor.end <= hb.start) {
                rest = &rest[1..];
            }
            for ho in rest.iter().map(|h| &h.ancestor).take_while(|ho| ho.start < hb.end) {
                let mut both = hb.start.max(ho.start)..hb.end.min(ho.end);
                if !both.any(|i| !moves.any[self.a[i] as usize]) {
                    continue;
                }
                let new = hb.start.min(ho.start)..hb.end.max(ho.end);
                match regions.last_mut() {
                    Some(last) if last.end > new.start => *last = last.start.min(new.start)..last.end.max(new.end),
                    _ => regions.push(new),
                }
            }
        }
        let settled = grown(again, &hunks_b, &hunks_o);
        // They are in order, and none overlaps another.
        let meets = |region: &Range<usize>| {
            let next = settled.partition_point(|at| at.end <= region.start);
            settled.get(next).is_some_and(|at| at.start < region.end)
        };
        regions.retain(|region| !meets(region));
        let regions = regions.into_iter().map(|at| (at, false));
        let mut regions: Vec<(Range<usize>, bool)> = regions.chain(settled.into_iter().map(|at| (at, true))).collect();
        regions.sort_unstable_by_key(|(at, _)| at.start);
        let mut clashes = Vec::new();
        for (at, settled) in regions {
            let is_taken = |x: usize| moves.drop_base[x] || moves.drop_orphan[x] && self.in_b[x] == 0;
            let taken: Vec<usize> =
                at.clone().filter(|_| settled).map(|i| self.a[i] as usize).filter(|x| is_taken(*x)).collect();
            for x in &taken {
                moves.drop_base[*x] = false;
                moves.drop_orphan[*x] = false;
            }
            let stays = |i: usize| settled && !moves.any[self.a[i] as usize];
            let [base, orphan] = [&mut self.base, &mut self.orphan].map(|side| {
                let mut put: Vec<usize> = Vec::new();
                for slot in instead(at.start)..=instead(at.end - 1) {
                    put.extend(side.kept[slot / 2].filter(|_| slot % 2 == 1 && stays(slot / 2)));
                    put.extend(side.gaps.remove(&slot).into_iter().flatten());
                }
                let own = put.iter().copied().chain(at.clone().filter_map(|i| side.kept[i]));
                let (first, last) = (own.clone().min(), own.max());
                let run: Vec<usize> = first.zip(last).map_or_else(Vec::new, |(first, last)| (first..=last).collect());
                if !put.is_empty() {
                    side.gaps.insert(instead(at.end - 1), put.clone());
                }
                if settled {
                    side.kept[at.clone()].fill(None);
                }
                (put, run)
            });
            let same = base.0.iter().map(|j| self.b[*j]).eq(orphan.0.iter().map(|j| self.o[*j]));
            if !same || !taken.is_empty() {
                clashes.push(Clash { ancestor: Some(at), base: base.1, orphan: orphan.1 });
            }
        }
        clashes
    }

    /// What goes into each slot.
    fn gaps(&mut self, moves: &Moves, twice: &mut [i64], work: &mut Work) -> Result<HashMap<Slot, Gap>, TooBig> {
        let mut slots: Vec<Slot> = self.base.gaps.keys().chain(self.orphan.gaps.keys()).copied().collect();
        slots.sort_unstable();
        slots.dedup();
        let mut out = HashMap::with_capacity(slots.len());
        for slot in slots {
            let mut base = self.base.gaps.remove(&slot).unwrap_or_default();
            let mut orphan = self.orphan.gaps.remove(&slot).unwrap_or_default();
            let numbers = |of: &[usize], side: &[u32]| of.iter().map(|j| side[*j]).collect::<Vec<u32>>();
            if numbers(&base, &self.b) != numbers(&orphan, &self.o) {
                base.retain(|j| !moves.drop_base[self.b[*j] as usize]);
                orphan.retain(|j| !moves.drop_orphan[self.o[*j] as usize]);
            }
            let (new_b, new_o) = (numbers(&base, &self.b), numbers(&orphan, &self.o));
            // Replaced on both sides: what both have stands once.
            let replaced = slot % 2 == 1;
            let same = if replaced || new_b == new_o { lcs(&new_b, &new_o, work)? } else { Vec::new() };
            same.iter().for_each(|(u, _)| twice[new_b[*u] as usize] -= 1);
            out.insert(slot, Gap { base, orphan, same });
        }
        Ok(out)
    }

    fn out<J>(
        &self,
        mut gaps: HashMap<Slot, Gap>,
        twice: &mut [i64],
        joined: &mut HashMap<usize, J>,
        clashes: &mut Vec<Clash>,
    ) -> Vec<Place<J>> {
        let mut places = Vec::with_capacity(self.b.len().max(self.o.len()));
        let new = |base, orphan| Place { ancestor: None, base, orphan, joined: None };
        for slot in 0..=2 * self.a.len() {
            if slot % 2 == 1 {
                let k = slot / 2;
                if let (Some(x), Some(y)) = (self.base.kept[k], self.orphan.kept[k]) {
                    let ancestor = (!self.two_way).then_some(k);
                    places.push(Place { ancestor, base: Some(x), orphan: Some(y), joined: joined.remove(&k) });
                }
            }
            let Some(gap) = gaps.remove(&slot) else { continue };
            let (mut p, mut q) = (0, 0);
            for (u, v) in gap.same.iter().copied().chain([(gap.base.len(), gap.orphan.len())]) {
                let mut own = Vec::new();
                for j in &gap.orphan[q..v] {
                    let left = &mut twice[self.o[*j] as usize];
                    if *left <= 0 {
                        own.push(*j);
                    }
                    *left -= 1;
                }
                let before = &gap.base[p..u];
                places.extend(before.iter().map(|j| new(Some(*j), None)));
                places.extend(own.iter().map(|j| new(None, Some(*j))));
                if let (Some(x), Some(y)) = (gap.base.get(u), gap.orphan.get(v)) {
                    places.push(new(Some(*x), Some(*y)));
                }
                if self.two_way && !before.is_empty() && !own.is_empty() {
                    clashes.push(Clash { ancestor: None, base: before.to_vec(), orphan: own });
                }
                (p, q) = (u + 1, v + 1);
            }
        }
        places
    }
}
