//! Which paths ignore files leave out.

mod pattern;

use crate::path::{EntryPath, decode};
use pattern::Pattern;
use std::collections::BTreeMap;

/// Names of ignore files; of two in one directory the lines of the first come first.
const NAMES: [&str; 2] = [".gitignore", ".ibgibignore"];

/// Texts of ignore files by their paths.
pub(crate) type Texts = BTreeMap<EntryPath, Vec<u8>>;

/// The names of the files that are read for rules.
pub(crate) fn names(gitignore: bool) -> &'static [&'static str] {
    if gitignore { &NAMES } else { &NAMES[1..] }
}

/// Rules of some ignore files, each for what lies in its directory.
#[derive(Debug, Default)]
pub(crate) struct Rules(BTreeMap<String, Vec<Pattern>>);

impl Rules {
    pub(crate) fn new(texts: &Texts) -> Self {
        let mut out = Self::default();
        for (path, text) in texts {
            out.add(path, text);
        }
        out
    }

    /// Adds an ignore file. Of one directory's, the first in the order of [`names`] has to come first.
    pub(crate) fn add(&mut self, path: &EntryPath, text: &[u8]) {
        let dir = path.parent().map(|dir| dir.as_str().to_owned()).unwrap_or_default();
        self.0.entry(dir).or_default().extend(lines(text).filter_map(|(_, line)| Pattern::of(line)));
    }

    /// Whether a file or directory is left out, those that it lies in not being so.
    pub(crate) fn leaves_out(&self, path: &EntryPath, directory: bool) -> bool {
        let whole = decode(path.as_str()).unwrap_or_default();
        let mut above = path.parent();
        loop {
            let dir = above.as_ref().map_or("", EntryPath::as_str);
            if let Some(patterns) = self.0.get(dir) {
                let start = if dir.is_empty() { 0 } else { decode(dir).unwrap_or_default().len() + 1 };
                let inside = whole.get(start..).unwrap_or_default();
                // The last line that matches decides, and before those of the directories above.
                if let Some(found) = patterns.iter().rev().find(|p| p.matches(inside, directory)) {
                    return !found.negative;
                }
            }
            let Some(dir) = above else { return false };
            above = dir.parent();
        }
    }

    /// What leaves the file out: itself, or the first directory on its way.
    pub(crate) fn cause(&self, file: &EntryPath) -> Option<EntryPath> {
        let ends = file.as_str().match_indices('/').map(|(end, _)| end);
        let mut above = ends.map(|end| EntryPath::spelled(file.as_str()[..end].to_owned()));
        let dir = above.find(|dir| self.leaves_out(dir, true));
        dir.or_else(|| self.leaves_out(file, false).then(|| file.clone()))
    }
}

/// Lines that are no patterns, with their numbers, for people.
pub(crate) fn unreadable(text: &[u8]) -> Option<String> {
    let bad =
        lines(text).filter_map(|(n, line)| Some(format!("line {n} is no pattern: {}", Pattern::of(line)?.problem()?)));
    let all: Vec<String> = bad.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Lines without their ends, counted from 1.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.enumerate().map(|(n, line)| (n + 1, line))
}

/// Lines that say something.
pub(crate) fn saying(text: Option<&Vec<u8>>) -> Vec<&[u8]> {
    let text = text.map(Vec::as_slice).unwrap_or_default();
    lines(text).map(|(_, line)| line).filter(|line| Pattern::of(line).is_some()).collect()
}

/// Whether the new text of an ignore file leaves out all that the old one does, whatever files there are: the old lines
/// are there in their order, and none of the others takes back what another leaves out.
pub(crate) fn only_narrows(old: Option<&Vec<u8>>, new: Option<&Vec<u8>>) -> bool {
    let old = saying(old);
    let mut left = old.iter().peekable();
    let takes_back = |line: &[u8]| line.first() == Some(&b'!');
    let mut fine = true;
    for line in saying(new) {
        if left.next_if(|old| **old == line).is_none() {
            fine &= !takes_back(line);
        }
    }
    fine && left.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_out_more_is_agreed_to_by_itself() {
        let narrows = |old: &str, new: &str| only_narrows(Some(&old.into()), Some(&new.into()));
        assert!(narrows("a\nb\n", "# why\na\nc\nb\n\nd\n"));
        assert!(narrows("a\n!b\n", "c\na\n!b\n"));
        assert!(!narrows("a\nb\n", "a\n"));
        assert!(!narrows("a\nb\n", "b\na\n"));
        assert!(!narrows("a\n", "a\n!a\n"));
        assert!(only_narrows(None, Some(&b"x".to_vec())) && !only_narrows(Some(&b"x".to_vec()), None));
    }
}
