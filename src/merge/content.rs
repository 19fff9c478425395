//! What merging looks at: a frame's ib, the members of its data, its relations.
//!
//! Members of data merge one by one: data itself is never "emptied". `data.text` is a text or a document; every other
//! member is a value, its members read in the order in which the hash reads them. Relations are lists of addresses and
//! never in conflict. What merging sets by rules of its own is left out here.

use super::again::{self, Known, Settled};
use super::document::{self, Document, Ids};
use super::lcs::{TooBig, Work};
use super::sequence;
use super::text::{self, TEXT_BYTES_MAX};
use super::tree::{self, CONFLICTS_MAX, Path, Values};
use crate::canonical::canonical_text;
use crate::ibgib::{IDENTITY, IbGib};
use crate::json::{Map, Mode, Value, pointer};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Members of data that merging sets by rules of their own.
pub(super) const OWN_DATA: [&str; 5] = ["n", "timestamp", "timestampMs", "uuid", "isTjp"];
/// Relations that merging sets by rules of their own.
pub(super) const OWN_REL8NS: [&str; 6] = ["past", "dna", "tjp", "graftbase", "graftorphan", IDENTITY];

/// The path of ib.
const IB: &str = "/ib";
/// The path of the text.
pub(super) const TEXT: &str = "/data/text";
/// The path of data itself.
pub(super) const DATA: &str = "/data";

/// What ancestor, base and orphan have at one path.
pub(super) struct Conflict {
    pub(super) path: String,
    pub(super) values: [Option<Value>; 3],
    /// The stone of a conflict there that both sides had settled. It makes this one another each time, so that a
    /// choice that was made of an earlier one settles no later one.
    pub(super) again: Option<String>,
}

impl Conflict {
    pub(super) fn new(path: String, values: [Option<Value>; 3]) -> Self {
        Self { path, values, again: None }
    }
}

/// What a frame says, or a merge of several.
#[derive(Clone, Debug, Default)]
pub(super) struct Content<'f> {
    pub(super) ib: Cow<'f, str>,
    pub(super) data: BTreeMap<Cow<'f, str>, Cow<'f, Value>>,
    /// Data that is no object. A merge frame has a number, which such data has no room for, so it is no content, and
    /// merging it is always a conflict.
    pub(super) bare: Option<&'f Value>,
    pub(super) rel8ns: BTreeMap<Cow<'f, str>, Vec<Cow<'f, str>>>,
    /// The stones of what was found to be in conflict when several were folded into this.
    pub(super) found: Vec<String>,
}

impl<'f> Content<'f> {
    pub(super) fn of(frame: &'f IbGib) -> Self {
        let members = frame.data.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::iter);
        let data = members.filter(|(name, _)| !OWN_DATA.contains(name));
        let lists = frame.rel8ns.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let list = |name| (Cow::Borrowed(name), frame.rel8n(name).map(Cow::Borrowed).collect());
        Self {
            ib: Cow::Borrowed(&frame.ib),
            data: data.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))).collect(),
            bare: frame.data.as_ref().filter(|data| data.as_object().is_none()),
            rel8ns: lists.filter(|name| !OWN_REL8NS.contains(name)).map(list).collect(),
            found: Vec::new(),
        }
    }

    /// All members of data, for a conflict of data as a whole.
    pub(super) fn data_value(&self) -> Value {
        let members = self.data.iter().map(|(name, value)| (name.to_string(), value.clone().into_owned()));
        self.bare.cloned().unwrap_or_else(|| Value::Object(members.collect()))
    }
}

/// Merges two contents that come from `a`. `several`: that one is folded from several.
pub(super) fn merge<'f>(
    [a, b, o]: [&Content<'f>; 3],
    several: bool,
    stones: &Known<'_>,
    work: &mut Work,
) -> (Content<'f>, Vec<Conflict>) {
    let mut conflicts = Vec::new();
    let settled = Settled::of([a, b, o].map(|content| content.rel8ns.get(again::STONES)), &a.found, stones);
    let ibs = [a, b, o].map(|content| Some(&*content.ib));
    let of_ib = settled.iter().filter(|one| one.path == IB).filter_map(Settled::texts);
    let again = of_ib.into_iter().any(|sides| again::differ(ibs, &sides, |_| false));
    let ib = if b.ib == o.ib || a.ib == o.ib && !again {
        &b.ib
    } else if a.ib == b.ib && !again {
        &o.ib
    } else {
        conflicts.push(Conflict::new(IB.to_owned(), ibs.map(|ib| ib.map(Value::from))));
        &b.ib
    };
    let whole = || Conflict::new(DATA.to_owned(), [a, b, o].map(|c| Some(c.data_value())));
    let mut told = Vec::new();
    let mut data = BTreeMap::new();
    if b.bare.is_some() || o.bare.is_some() {
        conflicts.push(whole());
        data = if b.bare.is_some() { o.data.clone() } else { b.data.clone() };
    } else {
        let names: BTreeSet<&Cow<'f, str>> = b.data.keys().chain(o.data.keys()).collect();
        for name in names {
            let three = [a, b, o].map(|content| content.data.get(name));
            let path = member_path(name);
            let settled = settled.iter().copied().filter(|one| one.is_below(&path)).collect();
            let mut member = Member { several, work, conflicts: Vec::new(), settled };
            if let Some(value) = member.merge(name, three) {
                data.insert(name.clone(), value);
            }
            told.extend(if member.conflicts.len() > CONFLICTS_MAX {
                vec![member_conflict(name, three)]
            } else {
                member.conflicts
            });
        }
        if told.len() > CONFLICTS_MAX {
            told = vec![whole()];
        }
    }
    conflicts.extend(told);
    for conflict in &mut conflicts {
        let there = settled.iter().filter(|one| one.path.starts_with(&conflict.path));
        conflict.again = there.map(|one| one.stone).min().map(str::to_owned);
    }
    let names: BTreeSet<&Cow<'f, str>> = b.rel8ns.keys().chain(o.rel8ns.keys()).collect();
    let rel8ns = names.into_iter().map(|name| {
        let lists = [a, b, o].map(|content| content.rel8ns.get(name).map(Vec::as_slice));
        (name.clone(), relation(lists, work))
    });
    let rel8ns = rel8ns.filter(|(_, list)| !list.is_empty()).collect();
    (Content { ib: ib.clone(), data, bare: None, rel8ns, found: Vec::new() }, conflicts)
}

/// Merges the addresses of one relation, which are never in conflict.
fn relation<'f>(lists: [Option<&[Cow<'f, str>]>; 3], work: &mut Work) -> Vec<Cow<'f, str>> {
    let [a, b, o] = lists.map(|list| list.unwrap_or_default().iter().map(|x| &**x).collect::<Vec<&str>>());
    let (base, orphan) = (lists[1].unwrap_or_default(), lists[2].unwrap_or_default());
    if b == o || lists[0].is_some() && a == o {
        return base.to_vec();
    }
    match sequence::merge(lists[0].is_some().then_some(&*a), &b, &o, true, &[], work, |_, _, _, _| None::<()>) {
        Ok(merged) => {
            let item = |place: sequence::Place<()>| match (place.base, place.orphan) {
                (Some(j), _) => base.get(j).cloned(),
                (None, k) => orphan.get(k?).cloned(),
            };
            merged.places.into_iter().filter_map(item).collect()
        }
        // Base's order, then what only the other has.
        Err(TooBig) => {
            let [of_a, of_b, of_o] = [&a, &b, &o].map(|list| list.iter().copied().collect::<BTreeSet<&str>>());
            let stays = base.iter().filter(|x| !of_a.contains(&***x) || of_o.contains(&***x));
            let added = orphan.iter().filter(|x| !of_a.contains(&***x) && !of_b.contains(&***x));
            stays.chain(added).cloned().collect()
        }
    }
}

fn member_path(name: &str) -> String {
    pointer::join(DATA, name)
}

fn member_conflict(name: &str, three: [Option<&Cow<'_, Value>>; 3]) -> Conflict {
    Conflict::new(member_path(name), three.map(|value| value.map(|value| value.clone().into_owned())))
}

/// A text that is a document.
fn read<'t>(text: Option<&'t str>, ids: &mut Ids) -> Option<Document<'t>> {
    document::parse(text.filter(|text| text.len() <= TEXT_BYTES_MAX)?, ids).ok()?
}

/// The merge of one member of data.
struct Member<'w> {
    several: bool,
    work: &'w mut Work,
    conflicts: Vec<Conflict>,
    /// Conflicts in it that both sides settled.
    settled: Vec<Settled<'w>>,
}

impl Member<'_> {
    fn merge<'f>(&mut self, name: &str, three: [Option<&Cow<'f, Value>>; 3]) -> Option<Cow<'f, Value>> {
        let [a, b, o] = three;
        let same = |x: Option<&Cow<'f, Value>>, y: Option<&Cow<'f, Value>>| match (x, y) {
            (Some(x), Some(y)) => x == y || canonical_text(x) == canonical_text(y),
            (x, y) => x.is_none() && y.is_none(),
        };
        if same(b, o) {
            return b.cloned();
        }
        let is_text = name == "text" && [b, o].into_iter().flatten().all(|value| value.as_str().is_some());
        let texts = three.map(|value| value.and_then(|value| value.as_str()));
        let again = if is_text { self.differ(texts) } else { !self.settled.is_empty() };
        if is_text && !again && self.took(texts) {
            self.conflicts.push(member_conflict(name, three));
        }
        if !again && (self.settled.is_empty() || b.is_none() || o.is_none()) {
            if same(a, o) {
                return b.cloned();
            }
            if same(a, b) {
                return o.cloned();
            }
        }
        if is_text && again || !again && (b.is_none() || o.is_none()) {
            // Settled to one here, to the other there; deleted here, edited there; or new.
            if a.is_some() {
                self.conflicts.push(member_conflict(name, three));
            }
            let is_empty = b.is_none_or(|b| b.as_str() == Some(""));
            return if is_empty { o.or(b) } else { b }.cloned();
        }
        if let (true, [a, Some(b), Some(o)]) = (is_text, texts) {
            return Some(Cow::Owned(self.text(a, b, o).into()));
        }
        self.value(name, three).unwrap_or_else(|TooBig| {
            self.conflicts.push(member_conflict(name, three));
            b.or(o).cloned()
        })
    }

    /// Whether both settled a conflict of the whole text differently.
    fn differ(&self, texts: [Option<&str>; 3]) -> bool {
        let mut whole = self.settled.iter().filter(|one| one.path == TEXT).filter_map(Settled::texts);
        whole.any(|sides| again::differ(texts, &sides, |text| !text.is_empty()))
    }

    /// Whether both settled a conflict of the whole text, and went on editing the document that it is, and one took from it
    /// what the other kept.
    fn took(&mut self, [a, b, o]: [Option<&str>; 3]) -> bool {
        let whole = self.settled.iter().filter(|one| one.path == TEXT).filter_map(Settled::texts);
        let whole: Vec<[Option<&str>; 2]> = whole.collect();
        if a.is_none() || whole.is_empty() {
            return false;
        }
        let mut ids = Ids::default();
        let (Some(b), Some(o)) = (read(b, &mut ids), read(o, &mut ids)) else { return false };
        let sides = whole.into_iter().flatten().filter_map(|side| read(side, &mut ids));
        let sides: Vec<Document<'_>> = sides.collect();
        again::took(&b.root, &o.root, sides.iter().map(|side| &side.root), self.work)
    }

    /// Merges a value as the hash reads it.
    fn value<'f>(&mut self, name: &str, three: [Option<&Cow<'f, Value>>; 3]) -> Result<Option<Cow<'f, Value>>, TooBig> {
        let texts = three.map(|value| value.map(|value| canonical_text(value)));
        let mut ids = Ids::default();
        let mut parsed: [Option<Document<'_>>; 3] = [None, None, None];
        for (text, out) in texts.iter().zip(&mut parsed) {
            if let Some(text) = text {
                if text.len() > TEXT_BYTES_MAX {
                    return Err(TooBig);
                }
                *out = document::parse_value(text, &mut ids)?;
            }
        }
        let path = member_path(name);
        let settled = again::as_json(&self.settled, false);
        let settled = again::places(&settled, &mut ids)?;
        let mut values = Values::new(self.several, self.work, &ids, &settled);
        let merged = values.merge(parsed.each_ref().map(|d| d.as_ref().map(|d| &d.root)), &Path::root(&path));
        let Some(merged) = merged else { return Ok(None) };
        let value = |text: &str| Value::parse(text, Mode::Strict).ok();
        let conflicts = std::mem::take(&mut values.conflicts);
        let told = |tree::Conflict { path, values }: tree::Conflict| Conflict {
            path,
            values: values.map(|text| text.as_deref().and_then(value)),
            again: None,
        };
        self.conflicts.extend(conflicts.into_iter().map(told));
        let mut text = String::new();
        merged.print(&mut text);
        // What is put together of three strict values is one.
        value(&text).map(|value| Some(Cow::Owned(value))).ok_or(TooBig)
    }

    /// Merges two texts: as documents if both are, else by lines. Values of conflicts in documents are JSON text.
    fn text(&mut self, a: Option<&str>, b: &str, o: &str) -> String {
        if let Some(merged) = self.document(a, b, o, TEXT) {
            return merged;
        }
        let here = self.settled.iter().filter(|one| one.path == TEXT).filter_map(Settled::texts);
        let again = again::in_lines(a.unwrap_or_default(), [b, o], here, self.work);
        let made = text::merge_within(a, b, o, self.several, &again, self.work);
        for conflict in made.conflicts {
            let values = [conflict.ancestor, Some(conflict.base), Some(conflict.orphan)];
            if self.conflicts.len() <= CONFLICTS_MAX {
                self.conflicts.push(Conflict::new(TEXT.to_owned(), values.map(|text| text.map(Value::from))));
            }
        }
        made.text
    }

    fn document(&mut self, a: Option<&str>, b: &str, o: &str, path: &str) -> Option<String> {
        if [a.unwrap_or_default(), b, o].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return None;
        }
        let mut ids = Ids::default();
        let parsed = document::parse(b, &mut ids).and_then(|b| Ok((b, document::parse(o, &mut ids)?)));
        let parsed = parsed.and_then(|(b, o)| Ok((document::parse(a.unwrap_or_default(), &mut ids)?, b, o)));
        let (a, b, o) = match parsed {
            Ok((a, Some(b), Some(o))) => (a, b, o),
            Ok(_) => return None,
            // Lines of such a document would come apart.
            Err(TooBig) => {
                let values = [a, Some(b), Some(o)].map(|text| text.map(Value::from));
                self.conflicts.push(Conflict::new(path.to_owned(), values));
                return Some(b.to_owned());
            }
        };
        let root = format!("{path}#");
        let inside: Vec<Settled<'_>> = self.settled.iter().copied().filter(|one| one.is_below(&root)).collect();
        let settled = again::as_json(&inside, true);
        let settled = again::places(&settled, &mut ids).unwrap_or_default();
        let mut values = Values::new(self.several, self.work, &ids, &settled);
        let merged = values.merge([a.as_ref().map(|a| &a.root), Some(&b.root), Some(&o.root)], &Path::root(&root))?;
        let layout = |of: fn(&Document<'_>) -> String| [a.as_ref().map(of), Some(of(&b)), Some(of(&o))];
        let put = |[a, b, o]: [Option<String>; 3], out: &mut String| {
            out.push_str(tree::pick(a.as_deref(), b.as_deref(), o.as_deref()).unwrap_or_default());
        };
        let mut text = String::with_capacity(b.root.source.len().max(o.root.source.len()));
        put(layout(|d| d.lead.to_owned()), &mut text);
        merged.print(&mut text);
        put(layout(|d| d.tail.to_owned()), &mut text);
        let told = |tree::Conflict { path, values }: tree::Conflict| Conflict {
            path,
            values: values.map(|text| text.map(Value::from)),
            again: None,
        };
        self.conflicts.extend(values.conflicts.into_iter().map(told));
        Some(text)
    }
}
