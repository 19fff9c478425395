//! The ancestor of a merge: what the nearest common ancestors say, several of them folded into one by the same merge.

use super::again::Known;
use super::build;
use super::content::{self, Content, TEXT};
use super::lcs::Work;
use crate::ibgib::{IbGib, Verified};

/// Frames that are folded into one content, largest (n, gib) first.
pub(crate) struct Set<'f> {
    pub(crate) frames: Vec<&'f Verified<IbGib>>,
    /// For each frame but the first: the number of the set of the nearest common ancestors of it and those before it.
    pub(crate) below: Vec<usize>,
}

/// Folds the first of the sets; what a fold does not agree on is no conflict of the merge. But for those of texts it is
/// found: where neither of the two that follow has it, both settled it. `below` leads to frames that are older, so this
/// comes to an end.
pub(super) fn fold<'f>(sets: &[Set<'f>], stones: &mut Known<'_>, work: &mut Work) -> Content<'f> {
    let mut known: Vec<Option<Content<'f>>> = vec![None; sets.len()];
    // A stack of our own, since criss-cross histories nest deeply; what is on it waits for what is above it.
    let mut stack = vec![0];
    while let Some(at) = stack.last().copied() {
        let Some(set) = sets.get(at) else { break };
        let missing = set.below.iter().find(|below| known.get(**below).is_some_and(Option::is_none));
        if let (Some(below), None) = (missing, &known[at]) {
            stack.push(*below);
            continue;
        }
        stack.pop();
        if known[at].is_none() {
            let mut frames = set.frames.iter().map(|frame| Content::of(frame));
            let mut folded = frames.next().unwrap_or_default();
            for (frame, below) in frames.zip(&set.below) {
                let none = Content::default();
                let ancestor = known.get(*below).and_then(Option::as_ref).unwrap_or(&none);
                let (mut merged, conflicts) = content::merge([ancestor, &folded, &frame], true, stones, work);
                merged.found = std::mem::take(&mut folded.found);
                // Of a text others' merges left other lines than this one: its conflicts are not found again.
                let values = conflicts.into_iter().filter(|conflict| conflict.path != TEXT).collect();
                for stone in build::stones(values).unwrap_or_default() {
                    let addr = stone.addr().to_string();
                    if stones.add(stone) {
                        merged.found.push(addr);
                    }
                }
                folded = merged;
            }
            known[at] = Some(folded);
        }
    }
    known.into_iter().next().flatten().unwrap_or_default()
}
