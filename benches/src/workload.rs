//! Documents with a history, the same in every run: a title, a text of two paragraphs, of which each revision has another
//! second one, and who wrote it; about 200 bytes.

/// How many documents there are, and how often each was revised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) documents: usize,
    pub(crate) revisions: usize,
}

/// The workloads.
pub(crate) fn shapes(quick: bool) -> Vec<Shape> {
    let shape = |name, documents, revisions| Shape { name, documents, revisions };
    match quick {
        true => vec![shape("W1", 50, 10), shape("W4", 1, 200), shape("W6", 500, 1)],
        false => vec![shape("W1", 1_000, 10), shape("W4", 1, 5_000), shape("W6", 10_000, 1)],
    }
}

/// One revision of a document.
pub(crate) struct Revision {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) revision: usize,
    pub(crate) text: String,
    pub(crate) by: &'static str,
}

impl Revision {
    /// Revision `revision` of document `document`.
    pub(crate) fn of(document: usize, revision: usize) -> Self {
        let text = format!("{}\n\n{}", words(document, 0, 12), words(document, revision + 1, 6));
        Self { id: format!("doc{document:06}"), title: format!("Document {document}"), revision, text, by: "a" }
    }
}

const WORDS: [&str; 26] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima",
    "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray",
    "yankee", "zulu",
];

/// Words that a number chooses.
fn words(document: usize, nth: usize, count: usize) -> String {
    let mut state = (document * 100_003 + nth) as u64;
    let mut word = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        WORDS[((z ^ (z >> 31)) % WORDS.len() as u64) as usize]
    };
    (0..count).map(|_| word()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_differ_and_are_the_same_each_time() {
        let text = |document, revision| Revision::of(document, revision).text;
        assert_eq!(text(3, 4), text(3, 4));
        assert_ne!(text(3, 4), text(3, 5));
        assert_ne!(text(3, 4), text(4, 4));
        // The first paragraph stays.
        assert_eq!(
            text(3, 4).split_once('\n').map(|t| t.0.to_owned()),
            text(3, 5).split_once('\n').map(|t| t.0.to_owned())
        );
    }
}
