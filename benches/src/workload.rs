//! Documents with a history, the same in every run: a title, a text of two paragraphs, of which each revision has another
//! second one, and who wrote it; about 200 bytes. And files, for a folder of them.

use ibgib::{Value, object};
use std::fs;
use std::io;
use std::path::Path;

/// How much there is of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// Documents, and how often each was revised.
    Documents(usize, usize),
    /// One document, and how often it was revised, on which one side goes on, and then both.
    Goes(usize),
    /// One document with a text of about so many bytes, and how often it was revised, each time in one line of that.
    Text(usize, usize),
    /// Files, and about how many bytes each has.
    Files(usize, usize),
}

/// What each workload is.
pub(crate) const WORKLOADS: [(&str, &str); 18] = [
    ("W1", "the first sync of 1,000 documents with 10 revisions each, to an empty server"),
    ("W2", "the same again: nothing has changed"),
    ("W3", "10 of the 1,000 documents have changed"),
    ("W2-open", "as W2, over a connection that is open already"),
    ("W3-open", "as W3, over a connection that is open already"),
    ("W4", "the first sync of one document with 5,000 revisions"),
    ("W5", "200 of the 1,000 documents have changed on both sides, and are merged"),
    ("W6", "the first sync of 10,000 documents with one revision each"),
    ("W6-100k", "the same of 100,000"),
    ("W7", "the first sync of a folder with 6,000 files, 66 MB, from looking for what is new in it"),
    ("W7-20", "20 of these files have changed"),
    ("W8-1k", "one more revision of one document after 1,000"),
    ("W8-10k", "after 10,000"),
    ("W8-50k", "after 50,000"),
    ("W9-1k", "both sides have made one after these 1,000, and they are merged"),
    ("W9-10k", "after 10,000"),
    ("W9-50k", "after 50,000"),
    ("W10", "the first sync of one document with a text of 1 MB and 200 revisions, each of which changes one line"),
];

/// The workload in which both sides go on, after the one in which one does.
pub(crate) fn merged(name: &str) -> &'static str {
    let after = name.trim_start_matches("W8");
    WORKLOADS.iter().map(|(name, _)| *name).find(|name| name.strip_prefix("W9") == Some(after)).unwrap_or("W9")
}

/// The workload that others follow: the same again, ten documents changed, and others changed on both sides.
pub(crate) const FIRST: &str = "W1";
/// Files of a folder that are changed after it was synced.
pub(crate) const FILES_CHANGED: usize = 20;

/// The workloads.
pub(crate) fn shapes(quick: bool) -> Vec<Shape> {
    let documents = |name, documents, revisions| Shape { name, what: What::Documents(documents, revisions) };
    let files = |files, bytes| Shape { name: "W7", what: What::Files(files, bytes) };
    let goes = |name, revisions| Shape { name, what: What::Goes(revisions) };
    let text = |bytes, revisions| Shape { name: "W10", what: What::Text(bytes, revisions) };
    match quick {
        true => vec![
            documents(FIRST, 50, 10),
            documents("W4", 1, 200),
            documents("W6", 500, 1),
            documents("W6-100k", 1_000, 1),
            files(60, 2_000),
            goes("W8-1k", 20),
            goes("W8-10k", 40),
            goes("W8-50k", 80),
            text(20_000, 10),
        ],
        false => vec![
            documents(FIRST, 1_000, 10),
            documents("W4", 1, 5_000),
            documents("W6", 10_000, 1),
            documents("W6-100k", 100_000, 1),
            files(6_000, 11_000),
            goes("W8-1k", 1_000),
            goes("W8-10k", 10_000),
            goes("W8-50k", 50_000),
            text(1_000_000, 200),
        ],
    }
}

/// Of so many documents those that one side changes (W3).
pub(crate) fn changed(documents: usize) -> impl Iterator<Item = usize> {
    (0..documents).step_by((documents / 10).max(1))
}

/// Of so many documents those that both sides change (W5).
pub(crate) fn diverged(documents: usize) -> impl Iterator<Item = usize> {
    (1..documents).step_by(5)
}

/// One revision of a document.
#[derive(Clone)]
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

    /// The same with a text of about so many bytes, of which each revision changes a line.
    pub(crate) fn long(document: usize, revision: usize, bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes + 100);
        for line in 0.. {
            if text.len() >= bytes {
                break;
            }
            text += &words(document, if line <= revision { line } else { usize::MAX / 2 + line }, 12);
            text.push('\n');
        }
        Self { text, ..Self::of(document, revision) }
    }

    /// As JSON, for peers whose documents are that; they name the id so.
    pub(crate) fn into_value(self, id: &'static str) -> Value {
        object([
            (id, self.id.into()),
            ("title", self.title.into()),
            ("revision", Value::integer(self.revision as u64)),
            ("text", self.text.into()),
            ("by", self.by.into()),
        ])
    }

    /// As one side changes it: its title and its first paragraph.
    pub(crate) fn here(self) -> Self {
        Self { title: format!("{} here", self.title), text: format!("here {}", self.text), ..self }
    }

    /// As another changes it: who wrote it, and its last paragraph.
    pub(crate) fn there(self) -> Self {
        Self { by: "b", text: format!("{} there", self.text), ..self }
    }
}

/// The revisions of a document with a text of about so many bytes: each has another line than the one before.
pub(crate) fn long(bytes: usize, revisions: usize) -> impl Iterator<Item = Revision> {
    let (mut lines, mut len) = (Vec::new(), 0);
    while len < bytes {
        let line = words(0, lines.len(), 12);
        len += line.len() + 1;
        lines.push(line);
    }
    (0..revisions).map(move |revision| {
        if revision > 0 {
            let at = revision * 7_919 % lines.len();
            lines[at] = words(1, revision, 12);
        }
        Revision { text: lines.join("\n"), ..Revision::of(0, revision) }
    })
}

/// Writes the files of a folder.
pub(crate) fn write_files(dir: &Path, files: usize, bytes: usize) -> io::Result<()> {
    for file in 0..files {
        let folder = dir.join(format!("part{:02}", file % 60));
        fs::create_dir_all(&folder)?;
        // From half to one and a half of what they have on average.
        let len = bytes / 2 + (file * 7_919) % bytes.max(1);
        let mut text = String::with_capacity(len + 100);
        for line in 0.. {
            if text.len() >= len {
                break;
            }
            text += &words(file, line, 12);
            text.push('\n');
        }
        fs::write(folder.join(format!("file{file:05}.txt")), text)?;
    }
    Ok(())
}

/// Changes a line of some of the files.
pub(crate) fn change_files(dir: &Path, files: usize) -> io::Result<()> {
    for file in (0..files).step_by((files / FILES_CHANGED).max(1)).take(FILES_CHANGED) {
        let path = dir.join(format!("part{:02}/file{file:05}.txt", file % 60));
        let text = fs::read_to_string(&path)?;
        fs::write(&path, format!("{}\n{text}", words(file, usize::MAX / 2, 12)))?;
    }
    Ok(())
}

const WORDS: [&str; 26] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima",
    "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray",
    "yankee", "zulu",
];

/// Words that a number chooses.
fn words(document: usize, nth: usize, count: usize) -> String {
    let mut state = (document as u64).wrapping_mul(100_003).wrapping_add(nth as u64);
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
    fn each_revision_of_a_long_document_changes_a_line() {
        let lines =
            |revision| -> Vec<String> { Revision::long(3, revision, 5_000).text.lines().map(str::to_owned).collect() };
        let (before, after) = (lines(7), lines(8));
        assert_eq!(before.len(), after.len());
        let changed = std::iter::zip(&before, &after).filter(|(before, after)| before != after);
        assert_eq!(changed.count(), 1);
    }

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

    #[test]
    fn a_long_text_changes_in_one_line_each_time() {
        let texts: Vec<String> = long(20_000, 10).map(|revision| revision.text).collect();
        assert!(texts.len() == 10 && (20_000..20_200).contains(&texts[0].len()));
        for pair in texts.windows(2) {
            let (before, after): (Vec<&str>, Vec<&str>) = (pair[0].lines().collect(), pair[1].lines().collect());
            assert_eq!(before.len(), after.len());
            assert_eq!(before.iter().zip(&after).filter(|(one, other)| one != other).count(), 1);
        }
    }
}
