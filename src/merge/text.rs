//! Three-way merge of texts by lines, then words. No edit is lost and no line doubled.
//!
//! Per ancestor line: it stays iff both keep it. What was inserted in a gap is base's, then orphan's; once, if both
//! inserted the same. A line unique in the ancestor that one side deleted and put in elsewhere is a move: a delete by
//! the other side wins over it, and of two moves the base's stands. A line replaced on both sides merges by words
//! when every word of the ancestor's line survives on both sides; otherwise both new lines stay and the place is a
//! conflict. The executable model of these rules was run on many thousands of histories; tests compare with it.

use super::lcs::lcs;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Bytes of one text that are merged by lines; longer ones are one value.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A merged text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextMerge {
    /// The text.
    pub text: String,
    /// Places where both sides replaced the same lines.
    pub conflicts: Vec<TextConflict>,
}

/// A place where both sides replaced the same lines, as each of the three has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextConflict {
    /// The lines as they were.
    pub ancestor: String,
    /// Base's lines instead.
    pub base: String,
    /// Orphan's lines instead.
    pub orphan: String,
}

/// Merges two texts that come from one. `several`: the ancestor is folded from several, so the same line put in by
/// both sides is one insertion.
pub fn merge(ancestor: &str, base: &str, orphan: &str, several: bool) -> TextMerge {
    let whole = |text: &str| TextMerge { text: text.to_owned(), conflicts: Vec::new() };
    if base == orphan || orphan == ancestor {
        return whole(base);
    }
    if base == ancestor {
        return whole(orphan);
    }
    let (a, a_end) = lines(ancestor);
    let (b, b_end) = lines(base);
    let (o, o_end) = lines(orphan);
    let (merged, conflicts) = merge_items(&a, &b, &o, several, true);
    // A text without lines says nothing about how the last one ends.
    let end = match (b_end, o_end) {
        (None, end) | (end, None) => end.unwrap_or(false),
        (Some(b), Some(o)) if b == o => b,
        // They differ, so exactly one of them is the ancestor's; the other was changed.
        (Some(b), Some(_)) => a_end.map_or(b, |a| !a),
    };
    let mut text = merged.join("\n");
    if end && !merged.is_empty() {
        text.push('\n');
    }
    TextMerge { text, conflicts }
}

/// Lines without their ends, and whether the last one has an end; `None` for no lines.
fn lines(text: &str) -> (Vec<&str>, Option<bool>) {
    if text.is_empty() {
        return (Vec::new(), None);
    }
    let body = text.strip_suffix('\n');
    (body.unwrap_or(text).split('\n').collect(), Some(body.is_some()))
}

/// One side read against the ancestor.
struct Side {
    /// Ancestor index → own index, for what was kept.
    kept: HashMap<usize, usize>,
    /// Own indices put in after the ancestor index that was kept last; −1 before the first.
    gaps: HashMap<isize, Vec<usize>>,
    /// Ancestor index → own index, where lines were replaced one by one.
    replaced: HashMap<usize, usize>,
    /// For each ancestor index not kept: the run of own indices that stand in its place.
    hunks: Vec<Hunk>,
}

struct Hunk {
    ancestor: Range<usize>,
    own: Range<usize>,
}

fn read(a: &[u32], side: &[u32]) -> Side {
    let pairs = lcs(a, side);
    let mut out = Side {
        kept: pairs.iter().copied().collect(),
        gaps: HashMap::new(),
        replaced: HashMap::new(),
        hunks: Vec::new(),
    };
    let (mut i, mut j) = (0, 0);
    for (x, y) in pairs.into_iter().chain([(a.len(), side.len())]) {
        if j < y {
            out.gaps.entry(i as isize - 1).or_default().extend(j..y);
        }
        if i < x {
            if x - i == y - j {
                out.replaced.extend((i..x).zip(j..y));
            }
            out.hunks.push(Hunk { ancestor: i..x, own: j..y });
        }
        (i, j) = (x + 1, y + 1);
    }
    out
}

fn merge_items<'a>(
    ancestor: &[&'a str],
    base: &[&'a str],
    orphan: &[&'a str],
    several: bool,
    by_words: bool,
) -> (Vec<String>, Vec<TextConflict>) {
    let mut ids: HashMap<&str, u32> = HashMap::new();
    let mut intern = |items: &[&'a str]| -> Vec<u32> {
        items
            .iter()
            .map(|s| {
                let next = ids.len() as u32;
                *ids.entry(s).or_insert(next)
            })
            .collect()
    };
    let (a, b, o) = (intern(ancestor), intern(base), intern(orphan));
    let count = |items: &[u32]| {
        let mut out: HashMap<u32, usize> = HashMap::new();
        for i in items {
            *out.entry(*i).or_default() += 1;
        }
        out
    };
    let (in_a, in_b, in_o) = (count(&a), count(&b), count(&o));
    let times = |c: &HashMap<u32, usize>, l: u32| c.get(&l).copied().unwrap_or(0);
    let (side_b, side_o) = (read(&a, &b), read(&a, &o));

    let (mut moved_b, mut moved_o) = (HashSet::new(), HashSet::new());
    for (i, l) in a.iter().enumerate().filter(|(_, l)| times(&in_a, **l) == 1) {
        if !side_b.kept.contains_key(&i) && times(&in_b, *l) == 1 {
            moved_b.insert(*l);
        }
        if !side_o.kept.contains_key(&i) && times(&in_o, *l) == 1 {
            moved_o.insert(*l);
        }
    }
    let drop_b: HashSet<u32> = moved_b.iter().copied().filter(|l| times(&in_o, *l) == 0).collect();
    let mut drop_o: HashSet<u32> =
        moved_o.iter().copied().filter(|l| times(&in_b, *l) == 0 || moved_b.contains(l)).collect();
    if several {
        let inserted = |side: &Side, own: &[u32]| -> HashSet<u32> {
            side.gaps.values().flatten().map(|i| own[*i]).filter(|l| times(&in_a, *l) == 0).collect()
        };
        drop_o.extend(inserted(&side_b, &b).intersection(&inserted(&side_o, &o)));
    }

    // Lines replaced on both sides: by words where that loses nothing.
    let mut worded: HashMap<usize, String> = HashMap::new();
    let (mut used_b, mut used_o) = (HashSet::new(), HashSet::new());
    let mut conflicts = Vec::new();
    if by_words {
        for (i, l) in ancestor.iter().enumerate() {
            if let (Some(x), Some(y)) = (side_b.replaced.get(&i), side_o.replaced.get(&i))
                && !moved_b.contains(&a[i])
                && !moved_o.contains(&a[i])
                && let Some(line) = merge_words(l, base[*x], orphan[*y])
            {
                worded.insert(i, line);
                used_b.insert(*x);
                used_o.insert(*y);
            }
        }
        conflicts = find_conflicts(ancestor, base, orphan, &side_b, &side_o, &worded);
    }

    let mut out: Vec<String> = Vec::new();
    for k in -1..a.len() as isize {
        if let Ok(i) = usize::try_from(k) {
            if side_b.kept.contains_key(&i) && side_o.kept.contains_key(&i) {
                out.push(ancestor[i].to_owned());
            } else if let Some(line) = worded.get(&i) {
                out.push(line.clone());
            }
        }
        let gap = |side: &Side, own: &[u32], drop: &HashSet<u32>, used: &HashSet<usize>| -> Vec<usize> {
            let all = side.gaps.get(&k).map_or(&[][..], Vec::as_slice);
            all.iter().copied().filter(|i| !used.contains(i) && !drop.contains(&own[*i])).collect()
        };
        let gap_b = gap(&side_b, &b, &drop_b, &used_b);
        let gap_o = gap(&side_o, &o, &drop_o, &used_o);
        let same = gap_b.len() == gap_o.len() && gap_b.iter().zip(&gap_o).all(|(x, y)| b[*x] == o[*y]);
        out.extend(gap_b.iter().map(|i| base[*i].to_owned()));
        if !same {
            out.extend(gap_o.iter().map(|i| orphan[*i].to_owned()));
        }
    }
    (out, conflicts)
}

/// Overlapping runs that both sides replaced by something else, differently and not by words. Runs that hang together
/// by this are one conflict, with everything in between.
fn find_conflicts(
    ancestor: &[&str],
    base: &[&str],
    orphan: &[&str],
    side_b: &Side,
    side_o: &Side,
    worded: &HashMap<usize, String>,
) -> Vec<TextConflict> {
    let mut found: Vec<[Range<usize>; 3]> = Vec::new();
    let mut rest = side_o.hunks.iter().peekable();
    for hb in side_b.hunks.iter().filter(|h| !h.own.is_empty()) {
        while rest.next_if(|ho| ho.ancestor.end <= hb.ancestor.start).is_some() {}
        let mut look = rest.clone();
        while let Some(ho) = look.next_if(|ho| ho.ancestor.start < hb.ancestor.end) {
            let mut both = hb.ancestor.start.max(ho.ancestor.start)..hb.ancestor.end.min(ho.ancestor.end);
            let same = base[hb.own.clone()] == orphan[ho.own.clone()];
            if ho.own.is_empty() || same || both.all(|i| worded.contains_key(&i)) {
                continue;
            }
            let place = [span(&hb.ancestor, &ho.ancestor), hb.own.clone(), ho.own.clone()];
            match found.last_mut() {
                Some(last) if last[0].end > place[0].start => {
                    last.iter_mut().zip(&place).for_each(|(a, b)| *a = span(a, b));
                }
                _ => found.push(place),
            }
        }
    }
    // Where one side's run reaches further, the other kept the lines there.
    let own = |side: &Side, at: &Range<usize>, own: &Range<usize>| {
        let start = side.kept.get(&at.start).map_or(own.start, |j| own.start.min(*j));
        let end = side.kept.get(&(at.end - 1)).map_or(own.end, |j| own.end.max(j + 1));
        start..end
    };
    let text = |of: &[&str], at: Range<usize>| of[at].join("\n");
    found
        .into_iter()
        .map(|[at, b, o]| TextConflict {
            base: text(base, own(side_b, &at, &b)),
            orphan: text(orphan, own(side_o, &at, &o)),
            ancestor: text(ancestor, at),
        })
        .collect()
}

fn span(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.min(b.start)..a.end.max(b.end)
}

/// Merges one line by words, when every word of the ancestor's line survives on both sides.
fn merge_words(ancestor: &str, base: &str, orphan: &str) -> Option<String> {
    let (a, b, o) = (words(ancestor), words(base), words(orphan));
    if a.is_empty() || !survives(&a, &b) || !survives(&a, &o) {
        return None;
    }
    Some(merge_items(&a, &b, &o, false, false).0.concat())
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
        let merged = merge(a, b, o, false);
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
    }

    #[test]
    fn the_end_of_the_last_line_is_its_own_change() {
        assert_eq!(m("a\nb", "a\nb\n", "a\nb\nc"), ("a\nb\nc\n".into(), 0));
        assert_eq!(m("a\n", "", "a\nb\n"), ("b\n".into(), 0));
        assert_eq!(m("", "x\n", "y\n"), ("x\ny\n".into(), 0));
        assert_eq!(m("a\r\nb\r\n", "a\r\nB\r\n", "x\r\na\r\nb\r\n"), ("x\r\na\r\nB\r\n".into(), 0));
    }

    #[test]
    fn moves_do_not_double_a_line() {
        assert_eq!(m("a\nb\nc\nd\n", "b\nc\nd\na\n", "b\nc\nd\n").0, "b\nc\nd\n");
        assert_eq!(m("a\nb\nc\nd\n", "b\na\nc\nd\n", "b\nc\nd\na\n").0.matches('a').count(), 1);
    }

    #[test]
    fn with_several_ancestors_a_line_that_both_have_is_one_insertion() {
        let (a, b, o) = ("a\nb\n", "a\nx\ny\nb\n", "a\nx\nz\nb\n");
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
}
