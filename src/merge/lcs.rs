//! Longest common subsequence with ties broken the same way everywhere.

use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::HashMap;

/// Cells of the exact table; above, the problem is split at lines that stand once on each side.
const CELLS_MAX: usize = 4_000_000;

/// Items of both sides that Myers' algorithm, whose time grows with the square of the difference, is given.
const MYERS_MAX: usize = 20_000;

/// How often a problem is split before what is left of it counts as replaced.
const SPLITS_MAX: usize = 100;

/// Matched pairs of indices, ascending. Common ends are matched first; inside, of two equally long ways the one that
/// skips an item of `a` is taken.
pub(crate) fn lcs(a: &[u32], b: &[u32]) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    matches(a, b, 0, 0, 0, &mut out);
    out
}

fn matches(a: &[u32], b: &[u32], a_at: usize, b_at: usize, splits: usize, out: &mut Vec<(usize, usize)>) {
    let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    out.extend((0..prefix).map(|i| (a_at + i, b_at + i)));
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let (a_at, b_at) = (a_at + prefix, b_at + prefix);
    let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (s, t) = (&a[..a.len() - suffix], &b[..b.len() - suffix]);
    if !s.is_empty() && !t.is_empty() {
        if s.len().saturating_mul(t.len()) <= CELLS_MAX {
            table(s, t, a_at, b_at, out);
        } else {
            split(s, t, a_at, b_at, splits, out);
        }
    }
    out.extend((0..suffix).map(|i| (a_at + s.len() + i, b_at + t.len() + i)));
}

fn table(s: &[u32], t: &[u32], a_at: usize, b_at: usize, out: &mut Vec<(usize, usize)>) {
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
            out.push((a_at + i, b_at + j));
            i += 1;
            j += 1;
        } else if d[(i + 1) * width + j] >= d[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
}

/// Large problems: anchors at items that stand once on each side, else at items that stand as often on one side as on
/// the other, in the longest increasing order; between them the same again. Without anchors, Myers' algorithm up to a
/// size, and nothing in common above: no text of a peer may take hours.
fn split(s: &[u32], t: &[u32], a_at: usize, b_at: usize, splits: usize, out: &mut Vec<(usize, usize)>) {
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
        if s.len() + t.len() <= MYERS_MAX {
            for op in capture_diff_slices(Algorithm::Myers, s, t) {
                if let DiffOp::Equal { old_index, new_index, len } = op {
                    out.extend((0..len).map(|k| (a_at + old_index + k, b_at + new_index + k)));
                }
            }
        }
        return;
    }
    anchors.sort_unstable();
    let (mut i, mut j) = (0, 0);
    for (x, y) in increasing(&anchors).into_iter().chain([(s.len(), t.len())]) {
        matches(&s[i..x], &t[j..y], a_at + i, b_at + j, splits + 1, out);
        if x < s.len() {
            out.push((a_at + x, b_at + y));
        }
        (i, j) = (x + 1, y + 1);
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

    #[test]
    fn large_problems_find_the_common_lines() {
        let a: Vec<u32> = (0..6_000).collect();
        let b: Vec<u32> = (0..6_000).map(|i| if i % 7 == 0 { i + 100_000 } else { i }).collect();
        let found = lcs(&a, &b);
        assert_eq!(found.len(), b.iter().filter(|i| **i < 100_000).count());
        assert!(found.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
        let same = vec![1u32; 3_000];
        assert_eq!(lcs(&same, &[&same[..], &[2], &same[..]].concat()).len(), 3_000);
    }

    #[test]
    fn problems_without_unique_items_come_to_an_end() {
        // Each item twice, in an order that shares little with the other's: Myers alone would take hours.
        let n = 200_000u32;
        let a: Vec<u32> = (0..n).map(|i| i % (n / 2)).collect();
        let b: Vec<u32> = (0..u64::from(n)).map(|i| (i * 77_773 % u64::from(n / 2)) as u32).collect();
        let found = lcs(&a, &b);
        assert!(!found.is_empty() && found.iter().all(|(i, j)| a[*i] == b[*j]));
        assert!(found.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
        // No item stands as often here as there, and there are too many for Myers.
        let (a, b) = ([1u32, 2].repeat(20_000), [2u32, 1, 3].repeat(30_000));
        assert!(lcs(&[&a[..], &[4]].concat(), &[&b[..], &[5]].concat()).is_empty());
    }
}
