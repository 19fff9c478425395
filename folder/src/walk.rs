//! Which files of the folder there are: the walk and the ignore rules.

use crate::Skipped;
use crate::error::FolderError;
use crate::path::{EntryPath, is_control};
use crate::tree::{Stat, stat_of};
use ignore::WalkBuilder;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) files: BTreeMap<EntryPath, Stat>,
    pub(crate) skipped: Vec<Skipped>,
    /// Where files may change: the directories that it went through, all but ignored ones, the root among them.
    pub(crate) dirs: BTreeSet<PathBuf>,
}

/// Lists the regular files below `root` that no `.ibgibignore` excludes.
pub(crate) fn walk(root: &Path) -> Result<Walk, FolderError> {
    let mut builder = WalkBuilder::new(root);
    builder
        .standard_filters(false)
        .parents(false)
        .follow_links(false)
        .add_custom_ignore_filename(".ibgibignore")
        .filter_entry(|entry| entry.depth() == 0 || !is_control(entry.file_name()));
    let mut out = Walk::default();
    for entry in builder.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let (path, reason) = blame(&error, root);
                if path.is_empty() {
                    // The root itself cannot be read: an empty answer would look like a folder of deleted files.
                    return Err(FolderError::Io { path: root.to_owned(), source: std::io::Error::other(reason) });
                }
                out.skipped.push(Skipped { path, reason });
                continue;
            }
        };
        let kind = entry.file_type();
        if kind.is_some_and(|k| k.is_dir()) {
            out.dirs.insert(entry.path().to_owned());
            continue;
        }
        let Some(path) = relative(entry.path(), root) else { continue };
        let mut skip = |reason: String| out.skipped.push(Skipped { path: path.to_string(), reason });
        match (kind, path.check()) {
            // Names that are a danger elsewhere only are kept: what this disk holds must not be lost.
            (_, Err(problem)) if !problem.is_unportable() => skip(problem.to_string()),
            (Some(kind), _) if kind.is_symlink() => skip("a symbolic link".into()),
            (Some(kind), _) if kind.is_file() => match entry.metadata() {
                Ok(meta) => {
                    out.files.insert(path, stat_of(&meta));
                }
                // Gone since the directory was read.
                Err(error) if is_not_found(&error) => {}
                Err(error) => skip(error.to_string()),
            },
            _ => skip("a special file".into()),
        }
    }
    Ok(out)
}

fn relative(path: &Path, root: &Path) -> Option<EntryPath> {
    let path = path.strip_prefix(root).ok()?;
    (!path.as_os_str().is_empty()).then(|| EntryPath::from_relative(path))
}

fn is_not_found(error: &ignore::Error) -> bool {
    error.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

fn blame(error: &ignore::Error, root: &Path) -> (String, String) {
    match error {
        ignore::Error::WithPath { path, err } => {
            (relative(path, root).map(|p| p.to_string()).unwrap_or_default(), err.to_string())
        }
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => blame(err, root),
        other => (String::new(), other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn ignore_rules() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(".ibgibignore", "target/\n*.log\n!keep.log\n/top\n");
        put(".gitignore", "*\n");
        put(".ignore", "*\n");
        put("sub/.ibgibignore", "secret\n");
        for path in [
            "target/x",
            "a.log",
            "keep.log",
            "top",
            "sub/top",
            "sub/secret",
            "sub/open",
            ".hidden",
            ".ibgib/space/db",
            ".git/config",
            "sub/.git/config",
            "sub/.ibgib/secret",
            "sub/.ibgib.new/secret",
            ".GIT/hooks/evil",
        ] {
            put(path, "x");
        }
        std::os::unix::fs::symlink("keep.log", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("sub", dir.path().join("linkdir")).unwrap();
        let walk = walk(dir.path()).unwrap();
        let files: Vec<&str> = walk.files.keys().map(EntryPath::as_str).collect();
        assert_eq!(
            files,
            [".gitignore", ".hidden", ".ibgibignore", ".ignore", "keep.log", "sub/.ibgibignore", "sub/open", "sub/top"]
        );
        let mut skipped: Vec<&str> = walk.skipped.iter().map(|s| s.path.as_str()).collect();
        skipped.sort_unstable();
        assert_eq!(skipped, [".GIT/hooks/evil", "link", "linkdir"]);
        let dirs: Vec<&Path> = walk.dirs.iter().map(|d| d.strip_prefix(dir.path()).unwrap()).collect();
        assert_eq!(dirs, [Path::new(""), Path::new(".GIT"), Path::new(".GIT/hooks"), Path::new("sub")]);
    }
}
