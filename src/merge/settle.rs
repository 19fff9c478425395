//! Settling a conflict in a text: finding what the merge left there, and putting one side's in its place.
//!
//! Where both sides' lines or elements stand, they stand as a merge without ancestor leaves them: common ones once,
//! differences base's first. Where that is not found, or more than once, somebody edited it since, and nothing is
//! changed.

use super::again::find;
use super::document::{self, Ids, Kid, Kind, Node};
use super::lcs::Work;
use super::text::lines;
use super::tree::{Merged, MergedKid, element_id, kept};

/// The sides of a conflict as its stone tells them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides<'s> {
    /// What base has.
    pub(crate) base: Option<&'s str>,
    /// What orphan has.
    pub(crate) orphan: Option<&'s str>,
    /// What is to stand there.
    pub(crate) chosen: Option<&'s str>,
}

/// The text `now` with the chosen lines in the place of both sides'; `None` when they do not stand there.
fn settle_lines(now: &str, sides: Sides<'_>) -> Option<String> {
    let (base, orphan) = (lines(sides.base?), lines(sides.orphan?));
    let all = lines(now);
    let at = find(&all, &base, &orphan, &mut Work::new())?;
    let chosen = lines(sides.chosen.unwrap_or_default());
    let out: Vec<&str> = all[..at.start].iter().chain(&chosen).chain(&all[at.end..]).copied().collect();
    let end = if now.ends_with('\n') && !out.is_empty() { "\n" } else { "" };
    Some(out.join("\n") + end)
}

/// The document `now` with what was chosen at a JSON pointer, elements with ids being named by these. The sides are
/// JSON text. `None` when what the merge left does not stand there.
pub(crate) fn settle_document(now: &str, pointer: &str, sides: Sides<'_>) -> Option<String> {
    let mut ids = Ids::default();
    let document = document::parse(now, &mut ids).ok()??;
    let Sides { base, orphan, chosen } = sides;
    let parsed = [base, orphan, chosen].map(|text| text.map(|text| document::parse_value(text, &mut ids)));
    let [base, orphan, chosen] = parsed.map(|value| value?.ok()?.map(|value| value.root));
    let id_names = document::ID_NAMES.map(|name| ids.of_name(name));
    let settle = Settle { base: base.as_ref(), orphan: orphan.as_ref(), chosen: chosen.as_ref(), id_names };
    let merged = settle.at(&document.root, &steps(pointer)?)?;
    let mut out = document.lead.to_owned();
    merged.print(&mut out);
    Some(out + document.tail)
}

/// What stands at a JSON pointer of the document `now`, as it is written.
pub(crate) fn find_in_document<'t>(now: &'t str, pointer: &str) -> Option<&'t str> {
    let mut ids = Ids::default();
    let document = document::parse(now, &mut ids).ok()??;
    let id_names = document::ID_NAMES.map(|name| ids.of_name(name));
    let mut node = &document.root;
    for step in steps(pointer)? {
        node = &node.kids[*children(node, &step, &id_names).first()?].node;
    }
    Some(node.source)
}

/// The steps of a JSON pointer.
fn steps(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    crate::json::pointer::names(pointer)
}

/// The children that a step leads to: the member of that name, or the elements with that id.
fn children(node: &Node<'_>, step: &str, id_names: &[Option<u32>; 3]) -> Vec<usize> {
    let named = |kid: &Kid<'_>, name: Option<u32>| {
        let id = element_id(&kid.node, name?)?;
        Some(id.string().unwrap_or_else(|| id.source.to_owned()) == step)
    };
    let at =
        |is: &dyn Fn(&Kid<'_>) -> bool| (0..node.kids.len()).filter(|i| is(&node.kids[*i])).collect::<Vec<usize>>();
    match node.kind {
        Kind::Scalar => Vec::new(),
        Kind::Object => at(&|kid| kid.key_text() == step),
        Kind::List => {
            let found = id_names.iter().map(|name| at(&|kid| named(kid, *name) == Some(true)));
            found.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
        }
    }
}

struct Settle<'n, 't> {
    base: Option<&'n Node<'t>>,
    orphan: Option<&'n Node<'t>>,
    chosen: Option<&'n Node<'t>>,
    id_names: [Option<u32>; 3],
}

impl<'n, 't> Settle<'n, 't> {
    fn at(&self, node: &'n Node<'t>, steps: &[String]) -> Option<Merged<'n, 't>> {
        let Some((step, rest)) = steps.split_first() else { return self.here(node) };
        let found = children(node, step, &self.id_names);
        let first = *found.first()?;
        if rest.is_empty() {
            let is = |i: usize, side: Option<&Node<'t>>| side.is_some_and(|side| side.id == node.kids[i].node.id);
            // One id put in by both: both stand.
            let both = matches!(found[..], [i, k] if is(i, self.base) && is(k, self.orphan));
            if both || self.chosen.is_none() && (is(first, self.base) || is(first, self.orphan)) {
                let all = if both { &found[..] } else { &found[..1] };
                let keep = |i: &usize| !all.contains(i) || self.chosen.is_some_and(|chosen| is(*i, Some(chosen)));
                return Some(without(node, |i| keep(&i)));
            }
        }
        let inner = self.at(&node.kids[first].node, rest)?;
        let mut inner = Some(inner);
        let kids = node.kids.iter().enumerate().map(|(i, kid)| match inner.take_if(|_| i == first) {
            Some(value) => MergedKid { lead: kid.lead, key: kid.key, value, trail: kid.trail },
            None => kept(kid),
        });
        Some(Merged::Container(node.kind, kids.collect(), node.close))
    }

    /// The value in conflict itself.
    fn here(&self, node: &'n Node<'t>) -> Option<Merged<'n, 't>> {
        if [self.base, self.orphan].into_iter().flatten().any(|side| side.id == node.id) {
            return self.chosen.map(Merged::Source);
        }
        if let (Some(now), Some(base), Some(orphan)) = (node.string(), self.base?.string(), self.orphan?.string()) {
            let chosen = self.chosen.map(|chosen| chosen.string().unwrap_or_default());
            let sides = Sides { base: Some(&base), orphan: Some(&orphan), chosen: chosen.as_deref() };
            return settle_lines(&now, sides).map(Merged::String);
        }
        let ids = |node: &Node<'t>| node.kids.iter().map(|kid| kid.node.id).collect::<Vec<u32>>();
        let at = find(&ids(node), &ids(self.base?), &ids(self.orphan?), &mut Work::new())?;
        let new = self.chosen.map_or(&[][..], |chosen| &chosen.kids);
        let lead = |i: usize| node.kids.get(i.min(node.kids.len() - 1)).map_or("", |kid| kid.lead);
        let put = new.iter().enumerate().map(|(n, kid)| MergedKid { lead: lead(at.start + n), ..kept(kid) });
        let kids: Vec<MergedKid<'n, 't>> =
            node.kids[..at.start].iter().map(kept).chain(put).chain(node.kids[at.end..].iter().map(kept)).collect();
        Some(Merged::Container(node.kind, kids, node.close))
    }
}

/// The container without some of its children; the first that stays takes the layout of a first one.
fn without<'n, 't>(node: &'n Node<'t>, keep: impl Fn(usize) -> bool) -> Merged<'n, 't> {
    let stay = node.kids.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, kid)| kept(kid));
    let mut kids: Vec<MergedKid<'n, 't>> = stay.collect();
    if let (Some(first), Some(was)) = (kids.first_mut(), node.kids.first())
        && first.lead.trim().is_empty()
        && was.lead.trim().is_empty()
    {
        first.lead = was.lead;
    }
    let close = if kids.is_empty() { "" } else { node.close };
    Merged::Container(node.kind, kids, close)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(now: &str, pointer: &str, [base, orphan, chosen]: [&str; 3]) -> Option<String> {
        let side = |text| Some(text).filter(|text: &&str| !text.is_empty());
        settle_document(now, pointer, Sides { base: side(base), orphan: side(orphan), chosen: side(chosen) })
    }

    #[test]
    fn lines_of_both_sides_give_way_to_one() {
        let settle = |now: &str, base: &str, orphan: &str, chosen: &str| {
            settle_lines(now, Sides { base: Some(base), orphan: Some(orphan), chosen: Some(chosen) })
        };
        assert_eq!(settle("k\nl\nr\nz\n", "l", "r", "r").as_deref(), Some("k\nr\nz\n"));
        assert_eq!(settle("k\nT\na\nb\nE\n", "T\na\nE", "T\nb\nE", "old").as_deref(), Some("k\nold\n"));
        assert_eq!(settle("k\nr\nz\n", "", "r", "").as_deref(), Some("k\nz\n"));
        assert_eq!(settle("k\nl\nx\nr\nz\n", "l", "r", "r"), None);
        assert_eq!(settle("r\nr\n", "", "r", ""), None);
    }

    #[test]
    fn values_of_documents_give_way_to_others() {
        let now = "{\n  \"v\": 2, // c\n  \"l\": [ 1, \"b\", \"o\" ]\n}\n";
        let is = |got: Option<String>, from: &str, to: &str| assert_eq!(got, Some(now.replace(from, to)));
        is(document(now, "/v", ["2", "3", "3"]), "2", "3");
        is(document(now, "/v", ["2", "3", "2"]), "2", "2");
        is(document(now, "/l", [r#"["b"]"#, r#"["o"]"#, r#"["o"]"#]), "\"b\", ", "");
        is(document(now, "/l", [r#"["b"]"#, r#"["o"]"#, "[]"]), ", \"b\", \"o\"", "");
        assert_eq!(document(now, "/v", ["", "2", ""]).as_deref(), Some("{ // c\n  \"l\": [ 1, \"b\", \"o\" ]\n}\n"));
        assert_eq!(document(now, "/v", ["4", "3", "3"]), None);
        assert_eq!(document(now, "/w", ["2", "3", "3"]), None);
        let now = r#"[{"id":1,"t":"a\nb\nc"},{"id":2,"t":"l"},{"id":2,"t":"r"}]"#;
        let [l, r] = [r#"{"id":2,"t":"l"}"#, r#"{"id":2,"t":"r"}"#];
        assert_eq!(document(now, "/2", [l, r, r]), Some(now.replace(&format!("{l},"), "")));
        assert_eq!(document(now, "/1/t", [r#""a""#, r#""b""#, r#""b""#]), Some(now.replace("a\\n", "")));
        assert_eq!(find_in_document(now, "/2/t"), Some("\"l\""));
    }
}
