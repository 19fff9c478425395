//! Which tips differ, of all that both sides know: by bucket and, where the receiver tells cells, by cell.

use super::asking::{PUNCTUATION, batches};
use crate::buckets::shorts;
use crate::error::{Breach, SagaError};
use crate::fingerprint::{BUCKETS, CELL_BITS_MAX, Cells, EMPTY, SHORT_BYTES, bucket};
use crate::wire::peek::{AskedCell, Peek, Peeked};
use ibgib::Addr;
use std::collections::{BTreeMap, HashSet};

/// Whoever has no more timelines than these is told the tips of the buckets that differ: one question less.
const FEW: usize = 256;
/// Of a cell with more timelines the receiver is asked for all tips.
const SHORTS_MAX: usize = 16_384;

/// Whether whoever has so many timelines asks for cells.
pub(super) fn splits(timelines: usize) -> bool {
    timelines > FEW
}

/// What may differ, as far as it is known.
#[derive(Debug)]
pub(super) struct Differing {
    /// Our tips there.
    pub(super) mine: BTreeMap<Addr, Addr>,
    /// The receiver's.
    pub(super) theirs: Vec<(Addr, Option<Addr>)>,
    /// How buckets fall into cells, if some do.
    cells: Option<Cells>,
    /// Cells to ask about.
    asked: Vec<AskedCell>,
    /// Our timelines that were asked about, in order.
    timelines: Vec<Addr>,
}

impl Differing {
    /// After the answer for buckets; `mine`: our tips in those that differ, of so many `timelines` in all; `salt`: our
    /// fingerprint of everything.
    pub(super) fn of(
        mine: BTreeMap<Addr, Addr>,
        timelines: usize,
        answer: Peeked,
        salt: String,
    ) -> Result<Self, SagaError> {
        let Peeked { has: differs, tips, cells: told, .. } = answer;
        if !told.is_empty() && !splits(timelines) {
            return Err(SagaError::misbehaved(Breach::BadPeek, "cells, which were not asked for"));
        }
        let cells = bits(&differs, &told)?.map(|bits| Cells { bits, salt });
        let told: BTreeMap<usize, _> = told.into_iter().collect();
        // Of other buckets the receiver tells every tip, so what it leaves out there it lacks.
        let mut theirs = tips;
        theirs.retain(|(tjp, _)| differs[bucket(tjp)] && !told.contains_key(&bucket(tjp)));
        let mut out = Self { mine, theirs, cells, asked: Vec::new(), timelines: Vec::new() };
        out.mine.retain(|tjp, _| differs[bucket(tjp)]);
        if let Some(cells) = &out.cells {
            let mine = cells.sort(&out.mine);
            let mut same = HashSet::new();
            for (bucket, theirs) in told {
                let first = bucket << cells.bits;
                let in_bucket =
                    mine.range(first..first + cells.per_bucket()).flat_map(|(_, tips)| tips.iter().copied());
                for (n, (mine_there, theirs)) in std::iter::zip(shorts(cells, bucket, in_bucket), theirs).enumerate() {
                    let cell = first + n;
                    if mine_there == theirs {
                        same.insert(cell);
                    } else if theirs != EMPTY {
                        let tips = mine.get(&cell).filter(|tips| tips.len() <= SHORTS_MAX).into_iter().flatten();
                        let shorts = tips.clone().map(|tip| cells.short([*tip])).collect();
                        out.timelines.extend(tips.map(|(tjp, _)| (*tjp).clone()));
                        out.asked.push(AskedCell { cell, theirs: shorts });
                    }
                }
            }
            drop(mine);
            out.mine.retain(|tjp, _| !same.contains(&cells.cell(tjp)));
        }
        Ok(out)
    }

    /// What the receiver is to be asked about cells.
    pub(super) fn peeks(&self, root: Option<&Addr>) -> Vec<Peek> {
        let Some(cells) = &self.cells else { return Vec::new() };
        let bytes = |cell: &AskedCell| PUNCTUATION + 2 * SHORT_BYTES * cell.theirs.len();
        let batches = batches(self.asked.clone(), bytes).into_iter();
        batches.map(|asked| Peek::Cells(cells.clone(), asked, root.cloned())).collect()
    }

    /// After the answers about cells.
    pub(super) fn answered(&mut self, answer: Peeked) {
        let Some(cells) = &self.cells else { return };
        for (tjp, same) in std::iter::zip(&self.timelines, answer.has) {
            if same {
                self.mine.remove(tjp);
            }
        }
        let asked: HashSet<usize> = self.asked.iter().map(|asked| asked.cell).collect();
        self.theirs.extend(answer.tips.into_iter().filter(|(tjp, _)| asked.contains(&cells.cell(tjp))));
    }
}

/// How many bits more than a bucket's a cell has, if there are cells: all told buckets differ, are told once, and fall into
/// the same number of cells.
fn bits(differs: &[bool], told: &[(usize, Vec<[u8; SHORT_BYTES]>)]) -> Result<Option<u32>, SagaError> {
    let Some((_, first)) = told.first() else { return Ok(None) };
    let bad = |why: &str| Err(SagaError::misbehaved(Breach::BadPeek, why.to_owned()));
    let cells = first.len();
    if !cells.is_power_of_two() || !(1..=CELL_BITS_MAX).contains(&cells.ilog2()) {
        return bad("a bucket falls into another number of cells than may be");
    }
    let mut seen = HashSet::new();
    for (bucket, shorts) in told {
        if *bucket >= BUCKETS || !differs[*bucket] || !seen.insert(*bucket) {
            return bad("cells of a bucket that does not differ, or twice");
        }
        if shorts.len() != cells {
            return bad("buckets fall into different numbers of cells");
        }
    }
    Ok(Some(cells.ilog2()))
}

#[cfg(test)]
mod tests;
