//! Which files of the folder there are: the walk and the ignore rules.

use crate::error::FolderError;
use crate::folder::{Folder, FolderOpts, Skipped};
use crate::path::{EntryPath, is_control};
use crate::record::Record;
use crate::rules::{self, Rules, Texts, unreadable};
use crate::tree::{Stat, stat_of};
use ibgib_spaces::SpaceError;
use rustix::fs::OFlags;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use tokio::task::spawn_blocking;

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) files: BTreeMap<EntryPath, Stat>,
    pub(crate) skipped: Vec<Skipped>,
    /// Where files may change: the directories that it went through, all but ignored ones, the root among them.
    pub(crate) dirs: BTreeSet<PathBuf>,
    /// The ignore files that it went by.
    pub(crate) rules: Texts,
}

impl Folder {
    /// All file records, and what there is on disk: the space and the disk are asked side by side.
    pub(crate) async fn records_and_files(&self) -> Result<(BTreeMap<EntryPath, Record>, Walk), FolderError> {
        let (root, opts) = (self.tree.path().to_owned(), self.opts());
        let walking = spawn_blocking(move || walk(&root, opts));
        let records = self.file_records().await?;
        let walked = walking.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The program ends.
            Err(_) => Err(SpaceError::Closed.into()),
        });
        Ok((records, walked?))
    }
}

/// Lists the regular files and the links below `root` that no ignore file leaves out.
pub(crate) fn walk(root: &Path, opts: FolderOpts) -> Result<Walk, FolderError> {
    let mut out = Walk::default();
    let mut rules = Rules::default();
    let mut todo: Vec<Option<EntryPath>> = vec![None];
    while let Some(dir) = todo.pop() {
        let at = dir.as_ref().map_or_else(|| root.to_owned(), |dir| on_disk(root, dir));
        let listed = read_rules(&at, root, opts, &mut out, &mut rules).and_then(|()| std::fs::read_dir(&at));
        let entries = match (listed, &dir) {
            (Ok(entries), _) => entries,
            // The root itself cannot be read: an empty answer would look like a folder of deleted files.
            (Err(error), None) => return Err(FolderError::io(root)(error)),
            // Gone since the directory above was read.
            (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => continue,
            (Err(error), Some(dir)) => {
                out.skip(dir, error.to_string());
                continue;
            }
        };
        out.dirs.insert(at);
        for entry in entries {
            match entry {
                Ok(entry) => out.entry(&entry, root, &rules, &mut todo),
                Err(error) => {
                    let path = dir.as_ref().map(ToString::to_string).unwrap_or_default();
                    out.skipped.push(Skipped { path, reason: error.to_string() });
                }
            }
        }
    }
    Ok(out)
}

impl Walk {
    fn skip(&mut self, path: &EntryPath, reason: String) {
        self.skipped.push(Skipped { path: path.to_string(), reason });
    }

    fn entry(&mut self, entry: &DirEntry, root: &Path, rules: &Rules, todo: &mut Vec<Option<EntryPath>>) {
        if is_control(&entry.file_name()) {
            return;
        }
        let Some(path) = relative(&entry.path(), root) else { return };
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return self.skip(&path, error.to_string()),
        };
        if rules.leaves_out(&path, kind.is_dir()) {
            return;
        }
        if kind.is_dir() {
            todo.push(Some(path));
            return;
        }
        // Names that are a danger elsewhere only are kept: what this disk holds must not be lost.
        if let Err(problem) = path.check()
            && !problem.is_unportable()
        {
            return self.skip(&path, problem.to_string());
        }
        if !kind.is_file() && !kind.is_symlink() {
            return self.skip(&path, "a special file".into());
        }
        match entry.metadata() {
            Ok(meta) => drop(self.files.insert(path, stat_of(&meta))),
            // Gone since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.skip(&path, error.to_string()),
        }
    }
}

/// Adds the rules of the ignore files in the directory `at`. One that cannot be read leaves nothing out, so nothing of
/// its directory can be taken.
fn read_rules(at: &Path, root: &Path, opts: FolderOpts, out: &mut Walk, rules: &mut Rules) -> io::Result<()> {
    for name in rules::names(opts.gitignore) {
        let file = at.join(name);
        // A link would lead to rules outside; a pipe would be waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = match File::options().read(true).custom_flags(flags.cast_signed()).open(&file) {
            Ok(file) if file.metadata()?.is_file() => file,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_link(&file) => continue,
            Err(error) => return Err(error),
        };
        let Some(path) = relative(&at.join(name), root) else { continue };
        let mut text = Vec::new();
        { file }.read_to_end(&mut text)?;
        if let Some(why) = unreadable(&text) {
            out.skip(&path, why);
        }
        rules.add(&path, &text);
        out.rules.insert(path, text);
    }
    Ok(())
}

fn is_link(file: &Path) -> bool {
    file.symlink_metadata().is_ok_and(|meta| meta.is_symlink())
}

fn on_disk(root: &Path, dir: &EntryPath) -> PathBuf {
    let mut at = root.to_owned();
    at.extend(dir.components());
    at
}

fn relative(path: &Path, root: &Path) -> Option<EntryPath> {
    let path = path.strip_prefix(root).ok()?;
    (!path.as_os_str().is_empty()).then(|| EntryPath::from_relative(path))
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
        let walk = walk(dir.path(), FolderOpts::default()).unwrap();
        let files: Vec<&str> = walk.files.keys().map(EntryPath::as_str).collect();
        assert_eq!(
            files,
            [
                ".gitignore",
                ".hidden",
                ".ibgibignore",
                ".ignore",
                "keep.log",
                "link",
                "linkdir",
                "sub/.ibgibignore",
                "sub/open",
                "sub/top"
            ]
        );
        let mut skipped: Vec<&str> = walk.skipped.iter().map(|s| s.path.as_str()).collect();
        skipped.sort_unstable();
        assert_eq!(skipped, [".GIT/hooks/evil"]);
        let dirs: Vec<&Path> = walk.dirs.iter().map(|d| d.strip_prefix(dir.path()).unwrap()).collect();
        assert_eq!(dirs, [Path::new(""), Path::new(".GIT"), Path::new(".GIT/hooks"), Path::new("sub")]);
    }
}
