//! Three-way merge of texts by lines, and of lines by words. No edit is lost and no line doubled.
//!
//! The rules are those of `sequence`, with lines as items. A line replaced on both sides merges by
//! words when every word of the ancestor's line survives on both; otherwise both new lines stay and the place is a
//! conflict. An empty ancestor says as much as none: the two texts are then compared with each other, and what both
//! have stands once. If one side emptied the text and the other edited lines of it, the edited text stands whole.

use super::lcs::Work;
use super::sequence::{self, Clash};
use std::ops::Range;

/// Bytes of one text that are merged by lines or as a document; longer ones are one value.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A merged text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextMerge {
    /// The text.
    pub text: String,
    /// Places where the sides disagree.
    pub conflicts: Vec<TextConflict>,
}

/// A place where the sides disagree, as each of the three has it: lines without the last one's end, or whole texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextConflict {
    /// The lines as they were; `None` without an ancestor.
    pub ancestor: Option<String>,
    /// Base's lines instead.
    pub base: String,
    /// Orphan's lines instead.
    pub orphan: String,
}

/// Merges two texts that come from one; `None`: from none. `several`: the ancestor is folded from several, so the same
/// line put in by both sides is one insertion.
pub fn merge(ancestor: Option<&str>, base: &str, orphan: &str, several: bool) -> TextMerge {
    merge_within(ancestor, base, orphan, several, &[], &mut Work::new())
}

/// As [`merge`]. `again`: lines of the ancestor in which conflicts stand that both sides settled.
pub(super) fn merge_within(
    ancestor: Option<&str>,
    base: &str,
    orphan: &str,
    several: bool,
    again: &[Range<usize>],
    work: &mut Work,
) -> TextMerge {
    let clean = |text: &str| TextMerge { text: text.to_owned(), conflicts: Vec::new() };
    if base == orphan || ancestor == Some(orphan) && again.is_empty() {
        return clean(base);
    }
    if ancestor == Some(base) && again.is_empty() {
        return clean(orphan);
    }
    // One conflict for the whole text.
    let whole = |text: &str| TextMerge {
        text: text.to_owned(),
        conflicts: vec![TextConflict {
            ancestor: ancestor.map(str::to_owned),
            base: base.to_owned(),
            orphan: orphan.to_owned(),
        }],
    };
    let from = ancestor.unwrap_or_default();
    if [from, base, orphan].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return whole(base);
    }
    let [a, b, o] = [from, base, orphan].map(lines);
    let join = |work: &mut Work, i: usize, j: usize, k: usize| merge_words(a[i], b[j], o[k], work);
    let some = !from.is_empty();
    let merged = sequence::merge(some.then_some(&*a), &b, &o, several || !some, again, work, join);
    let Ok(merged) = merged else { return whole(base) };
    if some && !merged.clashes.is_empty() && (base.is_empty() || orphan.is_empty()) {
        return whole(if base.is_empty() { orphan } else { base });
    }
    let pick = |side: &[&str], at: &[usize]| at.iter().map(|i| side[*i]).collect::<Vec<_>>().join("\n");
    let told = |Clash { ancestor, base, orphan }: Clash| TextConflict {
        ancestor: ancestor.map(|at| a[at].join("\n")),
        base: pick(&b, &base),
        orphan: pick(&o, &orphan),
    };
    let conflicts = merged.clashes.into_iter().map(told).collect();
    let mut text = String::with_capacity(base.len().max(orphan.len()));
    let count = merged.places.len();
    for (at, place) in merged.places.into_iter().enumerate() {
        match (place.joined, place.base, place.orphan) {
            (Some(line), ..) => text.push_str(&line),
            (None, Some(j), _) => text.push_str(b[j]),
            (None, None, Some(k)) => text.push_str(o[k]),
            (None, None, None) => {}
        }
        if at + 1 < count || last_line_ends(from, base, orphan) {
            text.push('\n');
        }
    }
    TextMerge { text, conflicts }
}

/// Lines without their ends.
pub(super) fn lines(text: &str) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.strip_suffix('\n').unwrap_or(text).split('\n').collect() }
}

/// Whether the merged text's last line has an end, which is a change of its own. A text without lines says nothing.
fn last_line_ends(ancestor: &str, base: &str, orphan: &str) -> bool {
    match [base, orphan].map(|text| (!text.is_empty()).then(|| text.ends_with('\n'))) {
        [Some(base), Some(orphan)] if base == orphan || ancestor.is_empty() => base,
        // They differ, so exactly one of them is the ancestor's; the other was changed.
        [Some(_), Some(_)] => !ancestor.ends_with('\n'),
        [one, other] => one.or(other).unwrap_or(false),
    }
}

/// Merges one line by words, when every word of the ancestor's line survives on both sides.
fn merge_words(ancestor: &str, base: &str, orphan: &str, work: &mut Work) -> Option<String> {
    let [a, b, o] = [ancestor, base, orphan].map(words);
    if a.is_empty() || !survives(&a, &b) || !survives(&a, &o) {
        return None;
    }
    let merged = sequence::merge(Some(&a), &b, &o, false, &[], work, |_, _, _, _| None::<()>).ok()?;
    Some(merged.places.into_iter().filter_map(|p| p.base.map(|j| b[j]).or(p.orphan.map(|k| o[k]))).collect())
}

/// Runs of ASCII letters, digits, `_` and all bytes above 127; every other byte alone. A fixed class of bytes, so that
/// no table of a library decides what a word is.
fn words(line: &str) -> Vec<&str> {
    let in_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 128;
    let bytes = line.as_bytes();
    let mut out = Vec::new();
    let mut from = 0;
    for at in 1..=bytes.len() {
        if at == bytes.len() || !(in_word(bytes[at - 1]) && in_word(bytes[at])) {
            out.push(&line[from..at]);
            from = at;
        }
    }
    out
}

/// Whether `a` is a subsequence of `b`.
fn survives(a: &[&str], b: &[&str]) -> bool {
    let mut rest = b.iter();
    a.iter().all(|x| rest.any(|y| x == y))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn m(a: &str, b: &str, o: &str) -> (String, usize) {
        let merged = merge(Some(a), b, o, false);
        (merged.text, merged.conflicts.len())
    }

    #[test]
    fn appends_at_start_and_end_both_stay() {
        assert_eq!(m("hello", "start hello", "hello end"), ("start hello end".into(), 0));
        assert_eq!(m("a\nb\n", "x\na\nb\n", "a\nb\ny\n"), ("x\na\nb\ny\n".into(), 0));
        assert_eq!(m("one", "one two", "one three"), ("one two three".into(), 0));
    }

    #[test]
    fn paragraphs_edited_apart_merge_cleanly() {
        let a = "p1\n\np2\n\np3\n";
        assert_eq!(m(a, "p1 new\n\np2\n\np3\n", "p1\n\np2\n\nP3\n"), ("p1 new\n\np2\n\nP3\n".into(), 0));
    }

    #[test]
    fn replaced_on_both_sides_keeps_both_and_says_so() {
        assert_eq!(m("k\nold\nz\n", "k\nleft\nz\n", "k\nright\nz\n"), ("k\nleft\nright\nz\n".into(), 1));
        assert_eq!(m("k\nold\nz\n", "k\nsame\nz\n", "k\nsame\nz\n"), ("k\nsame\nz\n".into(), 0));
        assert_eq!(m("k\nold\nz\n", "k\nz\n", "k\nright\nz\n"), ("k\nright\nz\n".into(), 1));
    }

    #[test]
    fn the_end_of_the_last_line_is_its_own_change() {
        assert_eq!(m("a\nb", "a\nb\n", "a\nb\nc"), ("a\nb\nc\n".into(), 0));
        assert_eq!(m("a\n", "", "a\nb\n"), ("b\n".into(), 0));
        assert_eq!(m("a\r\nb\r\n", "a\r\nB\r\n", "x\r\na\r\nb\r\n"), ("x\r\na\r\nB\r\n".into(), 0));
    }

    #[test]
    fn texts_without_a_common_text_are_compared_with_each_other() {
        let conflict = |base: &str, orphan: &str| TextConflict {
            ancestor: None,
            base: base.to_owned(),
            orphan: orphan.to_owned(),
        };
        for ancestor in [None, Some("")] {
            let made = merge(ancestor, "T\na\nE\nx\n", "T\nb\nE\ny\n", false);
            assert_eq!(made.text, "T\na\nb\nE\nx\ny\n");
            assert_eq!(made.conflicts, [conflict("a", "b"), conflict("x", "y")]);
            assert_eq!(merge(ancestor, "x\n", "x\nz\n", false).conflicts, []);
        }
    }

    #[test]
    fn moves_do_not_double_a_line() {
        assert_eq!(m("a\nb\nc\nd\n", "b\nc\nd\na\n", "b\nc\nd\n").0, "b\nc\nd\n");
        assert_eq!(m("a\nb\nc\nd\n", "b\na\nc\nd\n", "b\nc\nd\na\n").0.matches('a').count(), 1);
    }

    #[test]
    fn with_several_ancestors_a_line_that_both_have_is_one_insertion() {
        let (a, b, o) = (Some("a\nb\n"), "a\nx\ny\nb\n", "a\nx\nz\nb\n");
        // Each side wrote its own x.
        assert_eq!(merge(a, b, o, false).text, "a\nx\ny\nx\nz\nb\n");
        // Both may have it from a merge that neither of the nearest ancestors holds alone.
        assert_eq!(merge(a, b, o, true).text, "a\nx\ny\nz\nb\n");
    }

    #[test]
    fn words_follow_bytes_not_tables() {
        assert_eq!(words("aé b-c_1"), ["aé", " ", "b", "-", "c_1"]);
        assert_eq!(m("e\u{301}a", "x e\u{301}a", "e\u{301}a y").0, "x e\u{301}a y");
    }

    #[test]
    fn what_cannot_be_compared_is_taken_whole() {
        let (a, b) = ("1\n2\n".repeat(20_000), "2\n1\n3\n".repeat(30_000));
        let made = merge(None, &a, &b, false);
        assert_eq!((made.text, made.conflicts.len()), (a, 1));
    }
}
