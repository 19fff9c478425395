//! The three-way merge of values: objects by members, lists by elements, strings with lines by lines.
//!
//! An edit inside a value against its deletion or replacement: the value stands whole as its editor has it, and that is
//! a conflict. Elements of a list are merged as members are when every element of every side is an object with an `id`
//! (else `uuid`, else `key`) of its own; other elements are the items of a sequence. Layout is merged piece by piece:
//! what one side changed, base's where both did.

use super::again::{self, Again, Place};
use super::document::{ID_NAMES, Ids, Kid, Kind, Name, Node};
use super::lcs::{TooBig, Work};
use super::sequence;
use super::text;
use crate::json::{pointer, write_string};
use std::collections::{HashMap, HashSet};

/// Bytes of a conflict's path. A longer one is told as the nearest place around it.
const PATH_BYTES_MAX: usize = 4 * 1024;

/// Conflicts that one merge records. Where there are more, one is recorded for all of them.
pub(super) const CONFLICTS_MAX: usize = 1_000;

/// A place where the sides disagree: its path, and what ancestor, base and orphan have there, as JSON text.
#[derive(Debug)]
pub(super) struct Conflict {
    pub(super) path: String,
    pub(super) values: [Option<String>; 3],
}

/// A merged value: pieces of the three texts, and strings that were merged.
pub(super) enum Merged<'n, 't> {
    Source(&'n Node<'t>),
    String(String),
    Container(Kind, Vec<MergedKid<'n, 't>>, &'t str),
}

pub(super) struct MergedKid<'n, 't> {
    pub(super) lead: &'t str,
    pub(super) key: &'t str,
    pub(super) value: Merged<'n, 't>,
    pub(super) trail: &'t str,
}

/// A child as it is.
pub(super) fn kept<'n, 't>(kid: &'n Kid<'t>) -> MergedKid<'n, 't> {
    MergedKid { lead: kid.lead, key: kid.key, value: Merged::Source(&kid.node), trail: kid.trail }
}

impl Merged<'_, '_> {
    pub(super) fn print(&self, out: &mut String) {
        match self {
            Self::Source(node) => out.push_str(node.source),
            Self::String(text) => write_string(text, out),
            Self::Container(kind, kids, close) => {
                let (open, end) = if *kind == Kind::Object { ('{', '}') } else { ('[', ']') };
                out.push(open);
                for (i, kid) in kids.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(kid.lead);
                    out.push_str(kid.key);
                    kid.value.print(out);
                    out.push_str(kid.trail);
                }
                out.push_str(close);
                out.push(end);
            }
        }
    }
}

/// Where a value stands: written out only where there is a conflict.
pub(super) struct Path<'p> {
    above: Option<&'p Self>,
    step: Step<'p>,
    bytes: usize,
}

enum Step<'p> {
    Root(&'p str),
    Member(&'p Kid<'p>),
    /// An element with an id.
    Element(&'p Node<'p>),
}

impl<'p> Path<'p> {
    pub(super) fn root(path: &'p str) -> Self {
        Self { above: None, step: Step::Root(path), bytes: path.len() }
    }

    fn below(&'p self, step: Step<'p>) -> Self {
        let own = match &step {
            Step::Root(path) => path.len(),
            Step::Member(kid) => kid.key.len(),
            Step::Element(id) => id.source.len(),
        };
        Path { above: Some(self), step, bytes: self.bytes + own + 1 }
    }

    fn text(&self) -> String {
        let mut steps: Vec<&Path<'_>> = std::iter::successors(Some(self), |path| path.above).collect();
        steps.retain(|path| path.bytes <= PATH_BYTES_MAX || path.above.is_none());
        let mut out = String::new();
        for path in steps.into_iter().rev() {
            let name = match path.step {
                Step::Root(root) => {
                    out.push_str(root);
                    continue;
                }
                Step::Member(kid) => kid.key_text(),
                Step::Element(id) => id.string().unwrap_or_else(|| id.source.to_owned()),
            };
            pointer::push(&mut out, &name);
        }
        out
    }
}

/// One merge of values.
pub(super) struct Values<'w> {
    /// The ancestor is folded from several.
    pub(super) several: bool,
    pub(super) work: &'w mut Work,
    pub(super) conflicts: Vec<Conflict>,
    /// Conflicts that both sides settled.
    pub(super) settled: &'w [Place<'w>],
    /// Numbers of the names in [`ID_NAMES`].
    id_names: [Option<u32>; 3],
}

/// What stands at one place in ancestor, base and orphan.
type Three<'n, 't> = [Option<&'n Node<'t>>; 3];

impl<'n, 't: 'n> Values<'_> {
    /// `ids` must have read the three values, and those of `settled`.
    pub(super) fn new<'w>(several: bool, work: &'w mut Work, ids: &Ids, settled: &'w [Place<'w>]) -> Values<'w> {
        Values { several, work, conflicts: Vec::new(), settled, id_names: ID_NAMES.map(|name| ids.of_name(name)) }
    }

    /// Records a conflict.
    fn tell(&mut self, path: &Path<'_>, values: impl FnOnce() -> [Option<String>; 3]) {
        // One too many says that there are too many.
        if self.conflicts.len() <= CONFLICTS_MAX {
            self.conflicts.push(Conflict { path: path.text(), values: values() });
        }
    }

    fn choose(&mut self, path: &Path<'_>, three: Three<'n, 't>, chosen: &'n Node<'t>) -> Merged<'n, 't> {
        self.tell(path, || three.map(|node| node.map(|node| node.source.to_owned())));
        Merged::Source(chosen)
    }

    /// Merges three values, each of which may be missing.
    pub(super) fn merge(&mut self, [a, b, o]: Three<'n, 't>, path: &Path<'_>) -> Option<Merged<'n, 't>> {
        let again = again::at(|| path.text(), [a, b, o], self.settled, self.work);
        if let (true, Some(stands)) = (again.whole, stands(b, o)) {
            return Some(self.choose(path, [a, b, o], stands));
        }
        if again.took {
            self.tell(path, || [a, b, o].map(|node| node.map(|node| node.source.to_owned())));
        }
        let (b, o) = match (b, o) {
            (Some(b), Some(o)) => (b, o),
            (live, other) => {
                let live = live.or(other)?;
                return match a {
                    None => Some(Merged::Source(live)),
                    Some(a) if a.id == live.id => None,
                    Some(_) => Some(self.choose(path, [a, b, o], live)),
                };
            }
        };
        if let Some(a) = a.filter(|a| !again.below && (a.source == b.source || a.source == o.source)) {
            return Some(Merged::Source(if a.source == b.source { o } else { b }));
        }
        let three = [a, Some(b), Some(o)];
        if b.kind == o.kind && !b.is_scalar() {
            let like = a.filter(|a| a.kind == b.kind);
            if let Some(like) = like
                && b.kind == Kind::Object
                && let Some(edited) = edited_against_emptied(like, b, o)
            {
                return Some(self.choose(path, three, edited));
            }
            return Some(
                self.container(like, b, o, path, &again)
                    .unwrap_or_else(|TooBig| self.choose(path, [like, Some(b), Some(o)], b)),
            );
        }
        if b.id == o.id {
            let written = pick(a.filter(|a| a.is_scalar()).map(|a| a.source), Some(b.source), Some(o.source));
            return Some(Merged::Source(if written == Some(b.source) { b } else { o }));
        }
        if let Some(a) = a {
            if again.lines.is_empty() && (a.id == b.id || a.id == o.id) {
                return Some(Merged::Source(if a.id == b.id { o } else { b }));
            }
            if let [Some(a), Some(b), Some(o)] = [a.string(), b.string(), o.string()]
                && a.contains('\n')
            {
                return Some(self.text([&a, &b, &o], path, &again));
            }
        }
        // What was edited inside beats what it was replaced by.
        let inside = a.is_some_and(|a| a.kind == o.kind && !o.is_scalar());
        Some(self.choose(path, three, if inside { o } else { b }))
    }

    fn text(&mut self, [a, b, o]: [&str; 3], path: &Path<'_>, again: &Again) -> Merged<'n, 't> {
        let made = text::merge_within(Some(a), b, o, self.several, &again.lines, self.work);
        for conflict in made.conflicts {
            let values = [conflict.ancestor, Some(conflict.base), Some(conflict.orphan)];
            self.tell(path, || values.map(|text| text.map(|text| quoted(&text))));
        }
        Merged::String(made.text)
    }

    fn container(
        &mut self,
        a: Option<&'n Node<'t>>,
        b: &'n Node<'t>,
        o: &'n Node<'t>,
        path: &Path<'_>,
        again: &Again,
    ) -> Result<Merged<'n, 't>, TooBig> {
        let named = match b.kind {
            Kind::Object => Some(None),
            _ if again.items.is_empty() => self.id_name(a, b, o).map(Some),
            _ => None,
        };
        let children = match named {
            Some(id) => self.by_name([a, Some(b), Some(o)], id, path),
            None => self.by_item([a, Some(b), Some(o)], path, again)?,
        };
        let sides = [a, Some(b), Some(o)];
        let mut kids = Vec::with_capacity(children.len());
        for (value, at) in children {
            let near = [0, 1, 2].map(|side| Some((sides[side]?, at[side]?)));
            let kid = near.map(|near| near.map(|(node, i)| &node.kids[i]));
            let lead = near.map(|near| near.map(|(node, i)| lead(node, i, kids.is_empty())));
            let part = |of: fn(&Kid<'t>) -> &'t str| pick3(kid.map(|kid| kid.map(of)));
            kids.push(MergedKid { lead: pick3(lead), key: part(|k| k.key), value, trail: part(|k| k.trail) });
        }
        let closes = sides.map(|node| node.filter(|n| n.kids.is_empty() == kids.is_empty()).map(|n| n.close));
        Ok(Merged::Container(b.kind, kids, pick3(closes)))
    }

    /// The number of the member's name that names the elements: each of each side has it, without repeats.
    fn id_name(&self, a: Option<&Node<'t>>, b: &Node<'t>, o: &Node<'t>) -> Option<u32> {
        let lists: Vec<&Node<'t>> = a.into_iter().chain([b, o]).collect();
        let named = |name: u32| {
            lists.iter().any(|list| !list.kids.is_empty())
                && lists.iter().all(|list| {
                    let mut seen = HashSet::new();
                    list.kids.iter().all(|kid| element_id(&kid.node, name).is_some_and(|id| seen.insert(id.id)))
                })
        };
        self.id_names.into_iter().flatten().find(|name| named(*name))
    }

    /// Members of an object, or elements with ids: each name by itself. The order merges, too, but is no conflict.
    fn by_name(&mut self, sides: Three<'n, 't>, id: Option<u32>, path: &Path<'_>) -> Vec<Child<'n, 't>> {
        let name = |kid: &Kid<'t>| match id {
            None => kid.name,
            Some(id) => (element_id(&kid.node, id).map_or(0, |id| id.id), 0),
        };
        let [names_a, names_b, mut names_o] =
            sides.map(|node| node.map_or_else(Vec::new, |node| node.kids.iter().map(name).collect::<Vec<Name>>()));
        let index = |names: &[Name]| names.iter().enumerate().map(|(i, x)| (*x, i)).collect::<HashMap<Name, usize>>();
        let [in_a, in_b, in_o] = [&names_a, &names_b, &names_o].map(|names| index(names));
        let mut out: HashMap<Name, Child<'n, 't>> = HashMap::new();
        let only_o: Vec<Name> = names_o.iter().filter(|x| !in_b.contains_key(*x)).copied().collect();
        for x in names_b.iter().copied().chain(only_o) {
            let at = [&in_a, &in_b, &in_o].map(|index| index.get(&x).copied());
            let three = [0, 1, 2].map(|side| Some(&sides[side]?.kids[at[side]?].node));
            let Some(kid) = [1, 2].into_iter().find_map(|side| Some(&sides[side]?.kids[at[side]?])) else { continue };
            let step = match id.and_then(|id| element_id(&kid.node, id)) {
                Some(id) => Step::Element(id),
                None => Step::Member(kid),
            };
            let path = path.below(step);
            if let (Some(_), Some(_), [None, Some(b), Some(o)]) = (id, sides[0], three)
                && b.id != o.id
            {
                // One id, two new elements: both stay.
                self.choose(&path, three, b);
                out.insert(x, (Merged::Source(b), [None, at[1], None]));
                let twin = (x.0, 1);
                out.insert(twin, (Merged::Source(o), [None, None, at[2]]));
                if let Some(k) = at[2] {
                    names_o[k] = twin;
                }
                continue;
            }
            if let Some(value) = self.merge(three, &path) {
                out.insert(x, (value, at));
            }
        }
        let ancestor = sides[0].is_some().then_some(&*names_a);
        let never = |_: &mut Work, _, _, _| None::<()>;
        let order = match sequence::merge(ancestor, &names_b, &names_o, true, &[], self.work, never) {
            Ok(merged) => {
                let places = merged.places.into_iter();
                places.filter_map(|p| p.base.map(|j| names_b[j]).or(p.orphan.map(|k| names_o[k]))).collect()
            }
            Err(TooBig) => names_b.clone(),
        };
        ordered(order, [&names_b, &names_o], out)
    }

    /// Elements without ids are items as lines are.
    fn by_item(&mut self, three: Three<'n, 't>, path: &Path<'_>, again: &Again) -> Result<Vec<Child<'n, 't>>, TooBig> {
        let [a, Some(b), Some(o)] = three else { return Ok(Vec::new()) };
        let ids = |node: &Node<'t>| node.kids.iter().map(|kid| kid.node.id).collect::<Vec<u32>>();
        let ids_a = a.map(ids);
        let (several, id_names) = (self.several, self.id_names);
        let join = |work: &mut Work, i: usize, j: usize, k: usize| {
            let (a, b, o) = (&a?.kids[i].node, &b.kids[j].node, &o.kids[k].node);
            if a.kind != b.kind || b.kind != o.kind || a.is_scalar() {
                return None;
            }
            // What stands inside an element without a name has no place of its own.
            let mut inner = Values { several, work, conflicts: Vec::new(), settled: &[], id_names };
            inner.merge([Some(a), Some(b), Some(o)], path).filter(|_| inner.conflicts.is_empty())
        };
        let merged = sequence::merge(ids_a.as_deref(), &ids(b), &ids(o), true, &again.items, self.work, join)?;
        for clash in merged.clashes {
            let show = |node: &Node<'t>, at: &mut dyn Iterator<Item = usize>| {
                let elements: Vec<&str> = at.map(|i| node.kids[i].node.source).collect();
                format!("[{}]", elements.join(","))
            };
            self.tell(path, || {
                let ancestor = a.zip(clash.ancestor).map(|(a, mut at)| show(a, &mut at));
                [ancestor, Some(show(b, &mut clash.base.into_iter())), Some(show(o, &mut clash.orphan.into_iter()))]
            });
        }
        let mut out = Vec::with_capacity(merged.places.len());
        for place in merged.places {
            let at = [place.ancestor, place.base, place.orphan];
            let three = [a, Some(b), Some(o)];
            let three = [0, 1, 2].map(|side| Some(&three[side]?.kids[at[side]?].node));
            let value = match (place.joined, three) {
                (Some(joined), _) => Some(joined),
                // Equal but for the layout.
                (None, [_, Some(_), Some(_)]) => self.merge(three, path),
                (None, [_, b, o]) => b.or(o).map(Merged::Source),
            };
            out.extend(value.map(|value| (value, at)));
        }
        Ok(out)
    }
}

/// A merged child, and where it stands in ancestor, base and orphan.
type Child<'n, 't> = (Merged<'n, 't>, [Option<usize>; 3]);

/// Of two values that both sides settled differently the one that stands: base's, unless that is missing or empty.
fn stands<'n, 't>(b: Option<&'n Node<'t>>, o: Option<&'n Node<'t>>) -> Option<&'n Node<'t>> {
    let full = |node: &&'n Node<'t>| !node.kids.is_empty();
    b.filter(full).or(o.filter(full)).or(b).or(o)
}

/// Of an object that one side emptied, the other side's when that changed a member that was there.
fn edited_against_emptied<'n, 't>(a: &Node<'t>, b: &'n Node<'t>, o: &'n Node<'t>) -> Option<&'n Node<'t>> {
    if b.kids.is_empty() == o.kids.is_empty() {
        return None;
    }
    let live = if b.kids.is_empty() { o } else { b };
    let before: HashMap<Name, u32> = a.kids.iter().map(|kid| (kid.name, kid.node.id)).collect();
    let changed = |kid: &Kid<'t>| before.get(&kid.name).is_some_and(|id| *id != kid.node.id);
    live.kids.iter().any(changed).then_some(live)
}

/// The scalar that names an element of a list.
pub(super) fn element_id<'n, 't>(element: &'n Node<'t>, name: u32) -> Option<&'n Node<'t>> {
    element.kids.iter().find(|kid| kid.name == (name, 0)).map(|kid| &kid.node).filter(|id| id.is_scalar())
}

/// Children in the merged order of their names. A name that it lacks (its child was kept because it was edited) comes
/// after the one that stands before it on its side.
fn ordered<'n, 't>(
    order: Vec<Name>,
    sides: [&[Name]; 2],
    mut children: HashMap<Name, Child<'n, 't>>,
) -> Vec<Child<'n, 't>> {
    // What comes after a name; after `None` comes the first.
    let mut next: HashMap<Option<Name>, Name> = HashMap::new();
    let mut placed: HashSet<Name> = HashSet::new();
    let mut last = None;
    for x in order {
        if children.contains_key(&x) && placed.insert(x) {
            next.insert(last, x);
            last = Some(x);
        }
    }
    for side in sides {
        let mut before = None;
        for x in side.iter().copied().filter(|x| children.contains_key(x)) {
            if placed.insert(x)
                && let Some(then) = next.insert(before, x)
            {
                next.insert(Some(x), then);
            }
            before = Some(x);
        }
    }
    let names = std::iter::successors(next.get(&None).copied(), |x| next.get(&Some(*x)).copied());
    let names: Vec<Name> = names.collect();
    names.into_iter().filter_map(|x| children.remove(&x)).collect()
}

/// Layout: what one side changed, base's where both did.
pub(super) fn pick<'t>(a: Option<&'t str>, b: Option<&'t str>, o: Option<&'t str>) -> Option<&'t str> {
    if b.is_none() || b == a && o.is_some() { o } else { b }
}

fn pick3([a, b, o]: [Option<&str>; 3]) -> &str {
    pick(a, b, o).unwrap_or_default()
}

/// Layout before the child `i`, for a place that is the first or not: a child that becomes the first, or stops being
/// it, takes the white space of such a place on its own side.
fn lead<'t>(node: &Node<'t>, i: usize, first: bool) -> &'t str {
    let own = node.kids[i].lead;
    let other = node.kids[if first { 0 } else { 1.min(node.kids.len() - 1) }].lead;
    let blank = |layout: &str| layout.bytes().all(|b| b.is_ascii_whitespace());
    if (i == 0) == first || !blank(own) || !blank(other) { own } else { other }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}
