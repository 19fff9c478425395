//! Conflicts that both sides settled: a stone that the ancestor has and neither side.
//!
//! Each side chose without seeing the other's choice. One takes out what the other kept, so what each changed would merge
//! without a word, and leave what neither chose. What they have at its place is therefore compared: the same is settled,
//! else it is a conflict again. The place is what settling would change (`settle`); where what the merge left does not
//! stand there any more as a whole, since somebody edited it while it was open, it is what still stands there of it.

use super::document::{self, Document, Ids, Kind, Node};
use super::lcs::{TooBig, Work};
use super::sequence;
use super::text::{TEXT_BYTES_MAX, lines};
use crate::addr::Addr;
use crate::canonical::canonical_text;
use crate::ibgib::{IbGib, Verified};
use crate::json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::Range;

/// Stones that one merge looks at, its folds included. Conflicts beyond, in the order of the frames and their relations,
/// merge by the ordinary rules. As many again may be those that its folds find.
const SETTLED_MAX: usize = 64;

/// Stones by address.
pub(crate) type Stones<'f> = HashMap<&'f str, &'f Verified<IbGib>>;

/// The stones that one merge knows: those of frames, and those of the conflicts that its folds found.
pub(super) struct Known<'f> {
    read: &'f Stones<'f>,
    found: HashMap<String, Verified<IbGib>>,
}

impl<'f> Known<'f> {
    pub(super) fn new(read: &'f Stones<'f>) -> Self {
        Self { read, found: HashMap::new() }
    }

    /// Takes up the stone of a conflict that a fold found. `false`: there are too many.
    pub(super) fn add(&mut self, stone: Verified<IbGib>) -> bool {
        let is_known = self.found.len() < SETTLED_MAX || self.found.contains_key(stone.addr().as_str());
        if is_known {
            self.found.insert(stone.addr().to_string(), stone);
        }
        is_known
    }

    fn get(&self, stone: &str) -> Option<&Verified<IbGib>> {
        self.read.get(stone).copied().or_else(|| self.found.get(stone))
    }
}

/// The relation that stones stand in.
pub(super) const STONES: &str = "conflict";

/// The stones that a merge has to look at. For the merge and for each of its folds: the frames that the ancestor is made
/// of, and those that come from it. A stone of the former that two of the latter lack was settled twice.
pub(super) fn settled<'f>(
    merges: impl Iterator<Item = (&'f [&'f Verified<IbGib>], Vec<&'f Verified<IbGib>>)>,
) -> Vec<Addr> {
    let mut out: Vec<Addr> = Vec::new();
    for (ancestors, sides) in merges {
        if ancestors.iter().all(|frame| frame.rel8n(STONES).next().is_none()) {
            continue;
        }
        let have: Vec<HashSet<&str>> = sides.iter().map(|side| side.rel8n(STONES).collect()).collect();
        for stone in ancestors.iter().flat_map(|frame| frame.rel8n(STONES)) {
            let settled = have.iter().filter(|have| !have.contains(stone)).count() > 1;
            let stone = stone.parse::<Addr>().ok().filter(|addr| settled && addr.key().is_some());
            if out.len() < SETTLED_MAX {
                out.extend(stone.filter(|stone| !out.contains(stone)));
            }
        }
    }
    out
}

/// A conflict that both sides settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled<'f> {
    pub(super) stone: &'f str,
    pub(super) path: &'f str,
    /// What base and orphan of that merge had.
    pub(super) sides: [Option<&'f Value>; 2],
}

impl<'f> Settled<'f> {
    /// Of the stones that ancestor, base and orphan have, and of those that were `found` in the ancestor, those that neither
    /// base nor orphan has.
    pub(super) fn of(have: [Option<&Vec<Cow<'_, str>>>; 3], found: &[String], stones: &'f Known<'_>) -> Vec<Self> {
        let [a, b, o] = have.map(|list| list.map_or(&[][..], Vec::as_slice));
        let open: HashSet<&str> = b.iter().chain(o).map(|stone| &**stone).collect();
        let known = a.iter().map(|stone| &**stone).chain(found.iter().map(String::as_str));
        let settled = known.filter(|stone| !open.contains(stone));
        let told = settled.filter_map(|stone| stones.get(stone)).map(|stone| Self {
            stone: stone.addr().as_str(),
            path: stone.datum("path").and_then(Value::as_str).unwrap_or_default(),
            sides: ["base", "orphan"].map(|name| stone.datum(name)),
        });
        told.collect()
    }

    /// Whether the place is the one named, or inside.
    pub(super) fn is_below(&self, path: &str) -> bool {
        is_below(self.path, path)
    }

    /// The sides, where each is a string or missing.
    pub(super) fn texts(&self) -> Option<[Option<&'f str>; 2]> {
        let text = |side: Option<&'f Value>| side.map_or(Some(None), |side| side.as_str().map(Some));
        Some([text(self.sides[0])?, text(self.sides[1])?])
    }
}

fn is_below(place: &str, path: &str) -> bool {
    place.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '#']))
}

/// Whether both settled a conflict of a whole value differently: now `b` and `o` differ, and the ancestor or one of them
/// has what one of the two sides had. Of what is `full` on both, each having something to merge, only if each has what one
/// side had: else somebody went on editing it.
pub(super) fn differ<T: PartialEq>(
    [a, b, o]: [Option<T>; 3],
    sides: &[Option<T>; 2],
    full: impl Fn(&T) -> bool,
) -> bool {
    if a.is_none() || b == o {
        false
    } else if b.as_ref().is_some_and(&full) && o.as_ref().is_some_and(&full) {
        sides.contains(&b) && sides.contains(&o)
    } else {
        [a, b, o].iter().any(|value| sides.contains(value))
    }
}

/// Whether one of two objects lacks a member that the other has as one of the sides had it, here or in objects inside.
pub(super) fn took<'n, 't: 'n>(
    b: &Node<'t>,
    o: &Node<'t>,
    sides: impl IntoIterator<Item = &'n Node<'t>>,
    work: &mut Work,
) -> bool {
    let are_objects = b.kind == Kind::Object && o.kind == Kind::Object && b.id != o.id;
    if !are_objects || work.take(b.kids.len() + o.kids.len()).is_err() {
        return false;
    }
    let [in_b, in_o] = [b, o].map(|node| node.kids.iter().map(|kid| (kid.name, &kid.node)).collect::<HashMap<_, _>>());
    let sides = sides.into_iter().filter(|side| side.kind == Kind::Object);
    sides.flat_map(|side| &side.kids).any(|kid| match (in_b.get(&kid.name), in_o.get(&kid.name)) {
        (Some(b), Some(o)) => took(b, o, [&kid.node], work),
        (Some(kept), None) | (None, Some(kept)) => kept.id == kid.node.id,
        (None, None) => false,
    })
}

/// Where in the lines of `text`, of which there is `now` something else, the conflicts stand.
pub(super) fn in_lines<'s>(
    text: &str,
    now: [&str; 2],
    settled: impl Iterator<Item = [Option<&'s str>; 2]>,
    work: &mut Work,
) -> Vec<Range<usize>> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Vec::new();
    }
    let (all, mut out, mut is_one_empty) = (lines(text), Vec::new(), false);
    for sides in settled {
        is_one_empty |= sides.iter().any(|side| side.unwrap_or_default().is_empty());
        // A whole text is a value…
        if !sides.contains(&Some(text)) {
            let [base, orphan] = sides.map(Option::unwrap_or_default).map(lines);
            add(&mut out, places_of(&all, &base, &orphan, work));
        }
    }
    // …but who settled that there is nothing, and went on writing, kept nothing of it; it is the place where the other did.
    if is_one_empty && now.iter().all(|now| !now.is_empty()) {
        let old: HashSet<&str> = all.iter().copied().filter(|line| !line.is_empty()).collect();
        let [b, o] = now.map(|now| lines(now).iter().any(|line| old.contains(line)));
        if b != o {
            out.push(0..all.len());
        }
    }
    out
}

/// Where in `all` the merge of two sides stands, once.
pub(super) fn find<T: Copy + Eq + Hash>(all: &[T], base: &[T], orphan: &[T], work: &mut Work) -> Option<Range<usize>> {
    stands(all, &merged(base, orphan, work)?, work)
}

/// As [`find`]; where it does not stand as a whole, each of its items that stands once.
fn places_of<T: Copy + Eq + Hash>(all: &[T], base: &[T], orphan: &[T], work: &mut Work) -> Vec<Range<usize>> {
    let Some(both) = merged(base, orphan, work).filter(|_| work.take(all.len()).is_ok()) else { return Vec::new() };
    if let Some(at) = stands(all, &both, work) {
        return vec![at];
    }
    let mut count: HashMap<T, usize> = both.into_iter().map(|item| (item, 0)).collect();
    for item in all {
        count.entry(*item).and_modify(|count| *count += 1);
    }
    (0..all.len()).filter(|i| count.get(&all[*i]) == Some(&1)).map(|i| i..i + 1).collect()
}

/// Adds places to others, each once: of many conflicts there are no more than items.
fn add(places: &mut Vec<Range<usize>>, more: Vec<Range<usize>>) {
    places.extend(more);
    places.sort_unstable_by_key(|at| (at.start, at.end));
    places.dedup();
}

/// What a merge of two sides leaves.
fn merged<T: Copy + Eq + Hash>(base: &[T], orphan: &[T], work: &mut Work) -> Option<Vec<T>> {
    let merged = sequence::merge(None, base, orphan, true, &[], work, |_, _, _, _| None::<()>).ok()?;
    let places = merged.places.iter();
    Some(places.filter_map(|p| p.base.map(|j| base[j]).or(p.orphan.map(|k| orphan[k]))).collect())
}

/// Where in `all` all of `both` stands in a row, once.
fn stands<T: Copy + Eq + Hash>(all: &[T], both: &[T], work: &mut Work) -> Option<Range<usize>> {
    if both.is_empty() {
        return None;
    }
    let mut found = None;
    for at in 0..(all.len() + 1).saturating_sub(both.len()) {
        let alike = all[at..].iter().zip(both).take_while(|(x, y)| x == y).count();
        work.take(alike + 1).ok()?;
        if alike == both.len() && found.replace(at..at + alike).is_some() {
            return None;
        }
    }
    found
}

/// A conflict inside a value, read.
pub(super) struct Place<'t> {
    path: &'t str,
    sides: [Option<Node<'t>>; 2],
}

/// What settled conflicts say about one place.
#[derive(Default)]
pub(super) struct Again {
    /// There is one here or inside.
    pub(super) below: bool,
    /// The value here is one, and they differ.
    pub(super) whole: bool,
    /// It is one that both went on editing, and one took from it what the other kept: a conflict, but they merge.
    pub(super) took: bool,
    /// Elements of the ancestor's list, or lines of its string, in which one stands.
    pub(super) items: Vec<Range<usize>>,
    pub(super) lines: Vec<Range<usize>>,
}

/// The conflicts' values as JSON text: those inside the document that a text is are, the others become it.
pub(super) fn as_json<'f>(settled: &[Settled<'f>], in_document: bool) -> Vec<(&'f str, [Option<Cow<'f, str>>; 2])> {
    let text = |side: &'f Value| match side.as_str().filter(|_| in_document) {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(canonical_text(side)),
    };
    settled.iter().map(|one| (one.path, one.sides.map(|side| side.map(text)))).collect()
}

/// Reads them, with the numbers of the merge. One that cannot be read is at no place.
pub(super) fn places<'t>(
    settled: &'t [(&'t str, [Option<Cow<'t, str>>; 2])],
    ids: &mut Ids,
) -> Result<Vec<Place<'t>>, TooBig> {
    let mut out = Vec::with_capacity(settled.len());
    for (path, sides) in settled {
        let mut read = |side: &'t Option<Cow<'t, str>>| match side {
            None => Ok(Some(None)),
            Some(text) => Ok(document::parse_value(text, ids)?.map(|Document { root, .. }| Some(root))),
        };
        if let (Some(base), Some(orphan)) = (read(&sides[0])?, read(&sides[1])?) {
            out.push(Place { path, sides: [base, orphan] });
        }
    }
    Ok(out)
}

/// What settled conflicts say about a place, and about what stands there.
pub(super) fn at(
    path: impl FnOnce() -> String,
    [a, b, o]: [Option<&Node<'_>>; 3],
    settled: &[Place<'_>],
    work: &mut Work,
) -> Again {
    let mut out = Again::default();
    let Some(a) = a.filter(|_| !settled.is_empty()) else { return out };
    let at = path();
    out.below = settled.iter().any(|place| is_below(place.path, &at));
    if !out.below {
        return out;
    }
    let here = || settled.iter().filter(|place| place.path == at);
    let same_kind = b.zip(o).is_some_and(|(b, o)| b.kind == o.kind);
    if a.kind == Kind::List && same_kind && b.is_some_and(|b| b.kind == Kind::List) {
        out.items = in_list(a, &at, settled, work);
    }
    let strings = [a.string(), b.and_then(Node::string), o.and_then(Node::string)];
    if let [Some(text), Some(b), Some(o)] = &strings
        && text.contains('\n')
    {
        let sides = here().filter_map(|place| {
            let side = |side: &Option<Node<'_>>| side.as_ref().map_or(Some(None), |side| side.string().map(Some));
            Some([side(&place.sides[0])?, side(&place.sides[1])?])
        });
        let sides: Vec<[Option<String>; 2]> = sides.collect();
        out.lines =
            in_lines(text, [b, o], sides.iter().map(|[base, orphan]| [base.as_deref(), orphan.as_deref()]), work);
    }
    if out.items.is_empty() && out.lines.is_empty() {
        let full: HashSet<u32> = [b, o].into_iter().flatten().filter(|n| !n.kids.is_empty()).map(|n| n.id).collect();
        let full = |id: &u32| same_kind && full.contains(id);
        let ids = [Some(a), b, o].map(|node| node.map(|node| node.id));
        out.whole = here().any(|place| {
            let sides = place.sides.each_ref().map(|side| side.as_ref().map(|side| side.id));
            differ(ids, &sides, full)
        });
        if let (false, Some(b), Some(o)) = (out.whole, b, o) {
            out.took = here().any(|place| took(b, o, place.sides.iter().flatten(), work));
        }
    }
    out
}

/// Where in the list conflicts of its elements stand.
fn in_list(list: &Node<'_>, at: &str, settled: &[Place<'_>], work: &mut Work) -> Vec<Range<usize>> {
    let ids = |node: &Node<'_>| node.kids.iter().map(|kid| kid.node.id).collect::<Vec<u32>>();
    let all = ids(list);
    let mut out = Vec::new();
    for place in settled {
        let sides = &place.sides;
        let is_list = |side: &Option<Node<'_>>| side.as_ref().is_none_or(|side| side.kind == Kind::List);
        let [base, orphan] = if place.path == at && sides.iter().all(is_list) {
            sides.each_ref().map(|side| side.as_ref().map(ids).unwrap_or_default())
        } else if place.path.rsplit_once('/').is_some_and(|(list, _)| list == at) {
            // One id, put in by both: both elements stand.
            sides.each_ref().map(|side| side.iter().map(|side| side.id).collect())
        } else {
            continue;
        };
        add(&mut out, places_of(&all, &base, &orphan, work));
    }
    out
}
