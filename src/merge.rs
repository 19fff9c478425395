//! The deterministic merge of two branches (rule `m2`): same two tips, same merged frame, on any machine.
//!
//! Base is the tip with the larger (n, gib), orphan the other. What a merge frame says is a function of three contents:
//! the ancestor's, base's and orphan's; no edit in between is read. Where there are several nearest common ancestors,
//! they are folded into one by the same merge. Members of data, elements of lists, lines of texts and addresses of
//! relations merge each by itself; a text that is a JSON document on both sides merges as the document that it is.
//! What the sides disagree on is recorded in conflict stones; the orphan's history stays reachable by `graftorphan`. No
//! clock and no uuid go in.
//!
//! Whatever would cost too much, or give more than a frame may hold, is taken whole from base, with a conflict: two tips
//! of one timeline always have a merge. The rules are told in `docs/merging.md`; each file below is one of them:
//! `sequence` (lists of anything), `lcs` (what two lists have in common), `text`, `document` (reading), `tree` (values),
//! `again` (conflicts that both settled), `content` (frames), `fold` (ancestors), `build` (the frame and its stones), `settle` (conflicts), `reapply` (an edit made again elsewhere).

mod again;
mod build;
mod content;
mod document;
mod fold;
mod lcs;
mod reapply;
mod sequence;
mod settle;
pub mod text;
mod tree;

use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified};
use crate::json::Map;
use again::Known;
pub(crate) use again::Stones;
use build::Sides;
use content::Content;
pub(crate) use fold::Set;
use lcs::Work;
pub use reapply::reapply;
pub(crate) use settle::{Sides as ConflictSides, find_in_document, settle_document};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The rule's name, as the graft stone holds it.
pub const RULE: &str = "m2";

/// ib of the stone that is a merge frame's dna.
pub const IB_GRAFT: &str = "graft";

/// ib of a conflict stone.
pub const IB_CONFLICT: &str = "conflict";

/// Folds of several nearest common ancestors in one merge. Sets of ancestors beyond count as their first frame alone,
/// those furthest from the tips first.
pub(crate) const FOLDS_MAX: usize = 64;

/// A merge frame.
pub(crate) struct Made {
    pub(crate) tip: Addr,
    /// Dependencies first: stones, then the frame.
    pub(crate) nodes: Vec<Verified<IbGib>>,
    /// How many conflicts were found.
    pub(crate) conflicts: usize,
}

/// No frame can follow the two tips; says why.
pub(crate) struct Unmergeable(pub(crate) String);

/// A frame's number; a missing one counts −1.
pub(crate) fn number(frame: &IbGib) -> i64 {
    frame.n().map_or(-1, |n| n as i64)
}

/// The stones that a merge has to look at: of conflicts that both sides settled.
pub(crate) fn settled<'f>(tips: [&'f Verified<IbGib>; 2], ancestors: &'f [Set<'f>]) -> Vec<Addr> {
    let frames = |set: &usize| ancestors.get(*set).map_or(&[][..], |set| &set.frames);
    let folds = ancestors.iter().flat_map(|set| set.below.iter().map(|below| (frames(below), set.frames.clone())));
    again::settled([(frames(&0), tips.to_vec())].into_iter().chain(folds))
}

/// Merges two tips of a timeline. `ancestors`: first the set of their nearest common ancestors, then those that it is
/// folded with. `several`: there is more than one nearest common ancestor. `stones`: what [`settled`] names.
pub(crate) fn merge(
    base: &Verified<IbGib>,
    orphan: &Verified<IbGib>,
    ancestors: &[Set<'_>],
    several: bool,
    stones: &Stones<'_>,
) -> Result<Made, Unmergeable> {
    let mut work = Work::new();
    let mut stones = Known::new(stones);
    let ancestor = fold::fold(ancestors, &mut stones, &mut work);
    let contents = [ancestor, Content::of(base), Content::of(orphan)];
    let [a, b, o] = &contents;
    let (merged, conflicts) = content::merge([a, b, o], several, &stones, &mut work);
    build::build(&Sides { base, orphan, contents: &contents }, merged, conflicts)
}

/// What a frame says, without what its place in the timeline says.
struct Said {
    ib: String,
    data: Map,
    rel8ns: BTreeMap<String, Vec<Addr>>,
}

/// What ancestor, base and orphan say merged, of which no merge frame is made: what they disagree on is base's.
fn said([ancestor, base, orphan]: [&Verified<IbGib>; 3]) -> Said {
    let stones = Stones::new();
    let contents = [ancestor, base, orphan].map(|frame| Content::of(frame));
    let [a, b, o] = &contents;
    let said = content::merge([a, b, o], false, &Known::new(&stones), &mut Work::new()).0;
    let addrs = |list: Vec<Cow<'_, str>>| list.iter().map(|addr| Addr::checked_before(addr)).collect();
    Said {
        ib: said.ib.into_owned(),
        data: said.data.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        rel8ns: said.rel8ns.into_iter().map(|(name, list)| (name.into_owned(), addrs(list))).collect(),
    }
}

/// The conflict stones' addresses that a frame carries.
pub fn conflicts(frame: &IbGib) -> impl Iterator<Item = &str> {
    frame.rel8n("conflict")
}
