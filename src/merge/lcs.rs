//! Longest common subsequence, with ties broken the same way everywhere and with an end to what it may cost.

use std::collections::HashMap;

/// Cells of one exact table. A larger problem is split first at items that stand once on each side.
const CELLS_MAX: usize = 4_000_000;

/// Cells of all tables of one merge, its folds included. Splitting counts, too.
const WORK_MAX: usize = 1 << 28;

/// What splitting costs for each item, in cells.
const SPLIT_COST: usize = 16;

/// How often a problem is split before it counts as too big.
const SPLITS_MAX: usize = 100;

/// A comparison would cost more than a merge may: whoever asked takes the value whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooBig;

/// What is left of [`WORK_MAX`].
#[derive(Debug)]
pub(super) struct Work(usize);

impl Work {
    pub(super) fn new() -> Self {
        Self(WORK_MAX)
    }

    pub(super) fn take(&mut self, cells: usize) -> Result<(), TooBig> {
        self.0 = self.0.checked_sub(cells).ok_or(TooBig)?;
        Ok(())
    }
}

/// Matched pairs of indices, ascending. Common ends are matched first; inside, of two equally long ways the one that
/// skips an item of `a` is taken.
pub(super) fn lcs(a: &[u32], b: &[u32], work: &mut Work) -> Result<Vec<(usize, usize)>, TooBig> {
    let mut out = Vec::new();
    Search { work, out: &mut out }.matches(a, b, (0, 0), 0)?;
    Ok(out)
}

struct Search<'w> {
    work: &'w mut Work,
    out: &'w mut Vec<(usize, usize)>,
}

impl Search<'_> {
    /// Matches `a`, which begins at index `at.0` of the whole, with `b`, which begins at `at.1`.
    fn matches(&mut self, a: &[u32], b: &[u32], at: (usize, usize), splits: usize) -> Result<(), TooBig> {
        let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
        self.out.extend((0..prefix).map(|i| (at.0 + i, at.1 + i)));
        let (a, b, at) = (&a[prefix..], &b[prefix..], (at.0 + prefix, at.1 + prefix));
        let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
        let (s, t) = (&a[..a.len() - suffix], &b[..b.len() - suffix]);
        let cells = s.len().saturating_mul(t.len());
        if cells > CELLS_MAX {
            self.split(s, t, at, splits)?;
        } else if cells > 0 {
            self.work.take(cells)?;
            self.table(s, t, at);
        }
        self.out.extend((0..suffix).map(|i| (at.0 + s.len() + i, at.1 + t.len() + i)));
        Ok(())
    }

    fn table(&mut self, s: &[u32], t: &[u32], at: (usize, usize)) {
        let width = t.len() + 1;
        let mut d = vec![0u32; (s.len() + 1) * width];
        for i in (0..s.len()).rev() {
            for j in (0..t.len()).rev() {
                d[i * width + j] = if s[i] == t[j] {
                    d[(i + 1) * width + j + 1] + 1
                } else {
                    d[(i + 1) * width + j].max(d[i * width + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < s.len() && j < t.len() {
            if s[i] == t[j] {
                self.out.push((at.0 + i, at.1 + j));
                i += 1;
                j += 1;
            } else if d[(i + 1) * width + j] >= d[i * width + j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }

    /// Anchors at items that stand once on each side, else at items that stand as often on one side as on the other, in
    /// the longest increasing order; between them the same again. Without anchors the problem is too big.
    fn split(&mut self, s: &[u32], t: &[u32], at: (usize, usize), splits: usize) -> Result<(), TooBig> {
        self.work.take((s.len() + t.len()).saturating_mul(SPLIT_COST))?;
        let mut places: HashMap<u32, [Vec<usize>; 2]> = HashMap::new();
        for (side, items) in [s, t].into_iter().enumerate() {
            for (i, x) in items.iter().enumerate() {
                places.entry(*x).or_default()[side].push(i);
            }
        }
        places.retain(|_, [i, j]| i.len() == j.len());
        if places.values().any(|[i, _]| i.len() == 1) {
            places.retain(|_, [i, _]| i.len() == 1);
        }
        let mut anchors: Vec<(usize, usize)> = places.into_values().flat_map(|[i, j]| i.into_iter().zip(j)).collect();
        if anchors.is_empty() || splits == SPLITS_MAX {
            return Err(TooBig);
        }
        anchors.sort_unstable();
        let (mut i, mut j) = (0, 0);
        for (x, y) in increasing(&anchors).into_iter().chain([(s.len(), t.len())]) {
            self.matches(&s[i..x], &t[j..y], (at.0 + i, at.1 + j), splits + 1)?;
            if x < s.len() {
                self.out.push((at.0 + x, at.1 + y));
            }
            (i, j) = (x + 1, y + 1);
        }
        Ok(())
    }
}

/// The longest run of pairs in which the second index grows, too.
fn increasing(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (k, pair) in pairs.iter().enumerate() {
        let at = ends.partition_point(|e| pairs[*e].1 < pair.1);
        before.push(at.checked_sub(1).map(|p| ends[p]));
        if at == ends.len() {
            ends.push(k);
        } else {
            ends[at] = k;
        }
    }
    let mut out = Vec::new();
    let mut next = ends.last().copied();
    while let Some(k) = next {
        out.push(pairs[k]);
        next = before[k];
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(a: &[u32], b: &[u32]) -> Result<Vec<(usize, usize)>, TooBig> {
        lcs(a, b, &mut Work::new())
    }

    #[test]
    fn large_problems_find_the_common_items() {
        let a: Vec<u32> = (0..6_000).collect();
        let b: Vec<u32> = (0..6_000).map(|i| if i % 7 == 0 { i + 100_000 } else { i }).collect();
        let pairs = found(&a, &b).unwrap();
        assert_eq!(pairs.len(), b.iter().filter(|i| **i < 100_000).count());
        assert!(pairs.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
    }

    #[test]
    fn what_cannot_be_split_is_too_big() {
        // No item stands as often here as there.
        let (a, b) = ([1u32, 2].repeat(20_000), [2u32, 1, 3].repeat(30_000));
        assert_eq!(found(&[&a[..], &[4]].concat(), &[&b[..], &[5]].concat()), Err(TooBig));
        // Each item twice, in an order that shares little with the other's: it comes to an end, whichever.
        let n = 200_000u32;
        let a: Vec<u32> = (0..n).map(|i| i % (n / 2)).collect();
        let b: Vec<u32> = (0..u64::from(n)).map(|i| (i * 77_773 % u64::from(n / 2)) as u32).collect();
        if let Ok(pairs) = found(&a, &b) {
            assert!(pairs.iter().all(|(i, j)| a[*i] == b[*j]));
        }
    }
}
