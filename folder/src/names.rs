//! Where entries stand on disk: under their own names, but for twins.
//!
//! Two entries may have names that some file systems take for one: they differ only in case or Unicode form, or one is
//! a file where the other needs a directory. The same of them has the name on every device, whatever its disk could
//! hold: a directory before a file, then the entry that sorts first by bytes. The other stands beside it under a name
//! that says so. That follows from the set of entries alone, so devices that have the same entries have the same
//! files; nothing is written into any timeline for it. Directories whose names are twins are one directory, spelled as
//! the first.

use crate::path::{COMPONENT_BYTES_MAX, EntryPath, fold};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// An entry that has a twin, and for that stands on disk under another name than its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Twin {
    /// The entry.
    pub path: EntryPath,
    /// Where it stands on disk.
    pub at: EntryPath,
    /// What has its name: a file, or the directory that it is to lie in or whose name it has.
    pub of: EntryPath,
}

/// One directory on disk.
#[derive(Default)]
struct Dir<'p> {
    /// By folded name: the name, and what is inside.
    dirs: BTreeMap<String, (&'p str, Self)>,
    /// By folded name, sorted.
    files: BTreeMap<String, Vec<&'p EntryPath>>,
}

/// Those of the paths, all of files that are there, that do not stand under their own names.
pub(crate) fn twins<'p>(files: impl IntoIterator<Item = &'p EntryPath>) -> BTreeMap<EntryPath, Twin> {
    let sorted: BTreeSet<&EntryPath> = files.into_iter().collect();
    let mut root = Dir::default();
    for path in sorted {
        let mut dir = &mut root;
        let (above, last) = split(path);
        for name in above.into_iter().flat_map(|above| above.split('/')) {
            let (kept, inner) = dir.dirs.entry(fold(name)).or_insert_with(|| (name, Dir::default()));
            *kept = (*kept).min(name);
            dir = inner;
        }
        dir.files.entry(fold(last)).or_default().push(path);
    }
    let mut out = BTreeMap::new();
    root.name(None, &mut out);
    out
}

impl Dir<'_> {
    /// Names everything in this directory, which is `here` on disk.
    fn name(&self, here: Option<&str>, out: &mut BTreeMap<EntryPath, Twin>) {
        let inside = |name: &str| here.map_or_else(|| name.to_owned(), |here| format!("{here}/{name}"));
        let mut used = BTreeSet::new();
        for (folded, files) in &self.files {
            let dir = self.dirs.get(folded).map(|(name, _)| *name);
            for (nth, path) in files.iter().enumerate() {
                let own = split(path).1;
                let keeps = nth == 0 && dir.is_none();
                let name = if keeps { own.to_owned() } else { self.beside(path, &mut used) };
                let at = EntryPath::spelled(inside(&name));
                if at == **path {
                    continue;
                }
                let of = match (keeps, dir) {
                    // Only the directory is spelled in another way.
                    (true, _) => EntryPath::spelled(here.unwrap_or_default().to_owned()),
                    (false, Some(dir)) => EntryPath::spelled(inside(dir)),
                    (false, None) => EntryPath::spelled(inside(split(files[0]).1)),
                };
                out.insert((*path).clone(), Twin { path: (*path).clone(), at, of });
            }
        }
        for (name, inner) in self.dirs.values() {
            inner.name(Some(&inside(name)), out);
        }
    }

    /// A name for a file whose own is taken: it says so, and a hash of the path keeps it the same whoever else comes.
    fn beside(&self, path: &EntryPath, used: &mut BTreeSet<String>) -> String {
        let hash: String = Sha256::digest(path.key().as_bytes())[..4].iter().map(|b| format!("{b:02x}")).collect();
        let own = split(path).1;
        let dot = own.rfind('.').filter(|at| *at > 0 && own.len() - at <= EXTENSION_BYTES_MAX).unwrap_or(own.len());
        let (stem, extension) = own.split_at(dot);
        let mut tries = 0u32;
        loop {
            let again = if tries == 0 { String::new() } else { format!("-{tries}") };
            let end = format!(" (twin {hash}{again}){extension}");
            let name = format!("{}{end}", shortened(stem, COMPONENT_BYTES_MAX - end.len()));
            let folded = fold(&name);
            // Somebody may have made a file of just this name.
            if !self.files.contains_key(&folded) && !self.dirs.contains_key(&folded) && used.insert(folded) {
                return name;
            }
            tries += 1;
        }
    }
}

/// The longest end of a name that is taken for an extension.
const EXTENSION_BYTES_MAX: usize = 32;

/// The directory, if it lies in one, and the name.
fn split(path: &EntryPath) -> (Option<&str>, &str) {
    let text = path.as_str();
    text.rsplit_once('/').map_or((None, text), |(above, last)| (Some(above), last))
}

/// At most `max` bytes of a name, cut neither inside a character nor inside an escaped byte.
fn shortened(stem: &str, max: usize) -> &str {
    let mut end = max.min(stem.len());
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    if end < stem.len()
        && let Some(at) = stem[..end].rfind('%').filter(|at| end - at < 3)
    {
        end = at;
    }
    &stem[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::from_key(&format!("/{text}")).unwrap()
    }

    fn stand(paths: &[&str]) -> Vec<(String, String, String)> {
        let paths: Vec<EntryPath> = paths.iter().map(|p| path(p)).collect();
        let row = |t: Twin| (t.path.to_string(), t.at.to_string(), t.of.to_string());
        twins(&paths).into_values().map(row).collect()
    }

    fn row(path: &str, at: &str, of: &str) -> (String, String, String) {
        (path.to_owned(), at.to_owned(), of.to_owned())
    }

    #[test]
    fn only_twins_stand_under_other_names() {
        assert_eq!(stand(&["a", "b/a", "b/c", "c.md", "%FF", "\u{e9}"]), []);
        assert_eq!(stand(&["readme.md", "README.md"]), [row("readme.md", "readme (twin dc4a31b6).md", "README.md")]);
        // Unicode forms; a name that is all extension.
        assert_eq!(stand(&["\u{e9}", "e\u{301}"]).len(), 1);
        assert_eq!(stand(&[".Env", ".env"])[0].1, ".env (twin aef81e77)");
    }

    #[test]
    fn directories_that_are_twins_are_one_and_go_before_files() {
        assert_eq!(
            stand(&["Docs/a", "docs/b", "docs/A/c"]),
            [
                row("Docs/a", "Docs/a (twin 8a7e9045)", "Docs/A"),
                row("docs/A/c", "Docs/A/c", "Docs/A"),
                row("docs/b", "Docs/b", "Docs"),
            ]
        );
        assert_eq!(stand(&["x", "x/y"]), [row("x", "x (twin b3d1db31)", "x")]);
        assert_eq!(stand(&["X", "x/y"]), [row("X", "X (twin e0c9bfcb)", "x")]);
    }

    #[test]
    fn names_that_are_taken_and_long_ones_find_another() {
        let first = stand(&["A", "a"])[0].1.clone();
        let second = stand(&["A", "a", &first]);
        assert_eq!(second.len(), 1);
        assert_eq!(second[0].1, first.replace(')', "-1)"));
        let long = format!("{}ü", "x".repeat(253));
        let stands = stand(&[&long, &long.to_uppercase()]);
        assert!(stands[0].1.len() <= 255, "{stands:?}");
    }

    proptest! {
        #[test]
        fn whatever_there_is_stands_alone(paths in proptest::collection::btree_set("[aA\u{e4}\u{c4}%]{1,2}(/[bB]{1,2}){0,2}", 1..12)) {
            let paths: BTreeSet<EntryPath> = paths.iter().map(|p| path(&p.replace('%', "%25"))).collect();
            let moved = twins(&paths);
            let at = |p: &EntryPath| moved.get(p).map_or_else(|| p.clone(), |t| t.at.clone());
            let mut names: BTreeMap<String, String> = BTreeMap::new();
            for path in &paths {
                let at = at(path);
                let prefixes: Vec<(String, &str)> = at.folded_prefixes().collect();
                for (i, (folded, name)) in prefixes.iter().enumerate() {
                    // One spelling of each directory, and a file is no other file and no directory.
                    let what = if i + 1 == prefixes.len() { format!("file {path}") } else { format!("dir {name}") };
                    let before = names.entry(folded.clone()).or_insert_with(|| what.clone());
                    prop_assert_eq!(&*before, &what);
                }
            }
        }
    }
}
