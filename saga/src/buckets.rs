//! One side's tips as the other side asks for them: by bucket and, where too many timelines share one, by cell.

use crate::fingerprint::{BUCKETS, Cells, EMPTY, Fingerprint, Short, bucket, whole};
use crate::wire::peek::{AskedCell, Peeked};
use ibgib::Addr;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// So many tips are told at once: to ask once more takes longer than they do.
const TOLD_MAX: usize = 64;

/// Tips by bucket, with their fingerprints.
#[derive(Clone, Debug)]
pub struct Buckets {
    tips: Vec<BTreeMap<Addr, Addr>>,
    len: usize,
    fingerprint: Fingerprint,
}

impl Default for Buckets {
    fn default() -> Self {
        let fingerprint = Fingerprint::of_buckets(vec![String::new(); BUCKETS]);
        Self { tips: vec![BTreeMap::new(); BUCKETS], len: 0, fingerprint }
    }
}

impl Buckets {
    /// Of these tips, each with its timeline.
    pub fn of(tips: impl IntoIterator<Item = (Addr, Addr)>) -> Self {
        let mut all = Self::default();
        all.follow(tips);
        all
    }

    /// Takes tips that moved, or are new: only their buckets' fingerprints are made anew.
    pub fn follow(&mut self, moved: impl IntoIterator<Item = (Addr, Addr)>) {
        let mut stale = BTreeSet::new();
        for (tjp, tip) in moved {
            let bucket = bucket(&tjp);
            stale.insert(bucket);
            self.len += usize::from(self.tips[bucket].insert(tjp, tip).is_none());
        }
        for bucket in &stale {
            self.fingerprint.set(*bucket, &self.tips[*bucket]);
        }
        if !stale.is_empty() {
            self.fingerprint.renew();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Their fingerprints.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The tip of a timeline.
    pub fn tip(&self, tjp: &Addr) -> Option<&Addr> {
        self.tips[bucket(tjp)].get(tjp)
    }

    /// Whether there is a tip of the timeline that a frame belongs to.
    pub fn knows(&self, frame: &Addr) -> bool {
        let name = frame.tjp_gib().unwrap_or(frame.gib());
        let first = name.get(..2).and_then(|digits| usize::from_str_radix(digits, 16).ok());
        first.is_some_and(|bucket| self.tips[bucket].keys().any(|tjp| tjp.gib() == name))
    }

    /// What of these buckets differs from the other side's fingerprints, and the tips there; or, to who can go on from that,
    /// the short fingerprints of their cells.
    pub fn differing(&self, theirs: &[String], split: bool) -> Peeked {
        let has: Vec<bool> = std::iter::zip(&self.fingerprint.buckets, theirs).map(|(a, b)| a != b).collect();
        let differ = std::iter::zip(&self.tips, &has).enumerate().filter(|(_, (_, differs))| **differs);
        let differ: Vec<(usize, &BTreeMap<Addr, Addr>)> = differ.map(|(i, (tips, _))| (i, tips)).collect();
        let mut out = Peeked::default();
        if split && differ.iter().map(|(_, tips)| tips.len()).sum::<usize>() > TOLD_MAX {
            let cells = Cells::for_buckets_of(self.len.div_ceil(BUCKETS), whole(theirs));
            out.cells = differ.iter().map(|(bucket, tips)| (*bucket, shorts(&cells, *bucket, *tips))).collect();
        } else {
            out.tips = differ.into_iter().flat_map(|(_, tips)| tips).map(told).collect();
        }
        Peeked { has, ..out }
    }

    /// Which of what the other side has in these cells is here, and the tips of what else is here. Each bucket is sorted once.
    pub fn beside(&self, cells: &Cells, asked: &[AskedCell]) -> Peeked {
        let mut out = Peeked::default();
        for asked in asked.chunk_by(|a, b| a.cell >> cells.bits == b.cell >> cells.bits) {
            let bucket = asked.first().and_then(|first| self.tips.get(first.cell >> cells.bits));
            let mut sorted = cells.sort(bucket.into_iter().flatten());
            for AskedCell { cell, theirs } in asked {
                let here = sorted.remove(cell).unwrap_or_default();
                let shorts: HashMap<Short, usize> =
                    here.iter().enumerate().map(|(i, tip)| (cells.short([*tip]), i)).collect();
                let mut same = vec![false; here.len()];
                for short in theirs {
                    let known = shorts.get(short);
                    known.into_iter().for_each(|i| same[*i] = true);
                    out.has.push(known.is_some());
                }
                let others = std::iter::zip(here, same).filter(|(_, same)| !same);
                out.tips.extend(others.map(|(tip, _)| told(tip)));
            }
        }
        out
    }
}

/// The short fingerprints of a bucket's cells.
pub(crate) fn shorts<'a>(
    cells: &Cells,
    bucket: usize,
    tips: impl IntoIterator<Item = (&'a Addr, &'a Addr)>,
) -> Vec<Short> {
    let mut shorts = vec![EMPTY; cells.per_bucket()];
    for (cell, tips) in cells.sort(tips) {
        shorts[cell - (bucket << cells.bits)] = cells.short(tips);
    }
    shorts
}

fn told((tjp, tip): (&Addr, &Addr)) -> (Addr, Option<Addr>) {
    (tjp.clone(), Some(tip.clone()))
}
