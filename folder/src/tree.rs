//! The folder on disk: every access goes from the root's descriptor down one component at a time, and follows no
//! symbolic link, so nothing outside the folder can be read or written whatever happens to the tree meanwhile.

use crate::error::FolderError;
use crate::links;
use crate::path::EntryPath;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const CHANGED: &str = "changed while it was checked out";
/// Why a file does not come where a link is that nobody expected.
pub(crate) const LINK: &str = "a symbolic link";

/// The root of a folder.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    path: PathBuf,
    /// `.ibgib/tmp` inside the root.
    tmp: PathBuf,
}

/// What a file looked like: when none of it changed, neither did its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) mtime: i128,
    /// Nanoseconds since 1970 of the last change of content or attributes: a restored mtime does not hide an edit.
    pub(crate) ctime: i128,
    pub(crate) inode: u64,
    /// Whether the owner may execute it.
    pub(crate) exec: bool,
    /// Its permissions ([`MODE`]); 0 of a link.
    pub(crate) mode: u16,
    /// Whether it is a symbolic link, and not what it leads to.
    pub(crate) link: bool,
}

/// The permissions that folders keep: never that group and others may write, or a peer could open files to everybody.
pub(crate) const MODE: u16 = 0o755;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDisk {
    Nothing,
    /// A regular file or a symbolic link.
    File(Stat),
    /// A directory.
    Directory,
    /// A special file, or a symbolic link on the way.
    Blocked(&'static str),
}

impl Tree {
    pub(crate) fn open(root: &Path) -> Result<Self, FolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, root, flags, Mode::empty());
        let fd = fd.map_err(|e| FolderError::io(root)(e.into()))?;
        let tmp = root.join(".ibgib").join("tmp");
        Ok(Self { root: fd, path: root.to_owned(), tmp })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `.ibgib/tmp` and empties it of what an earlier, killed run left.
    pub(crate) fn clean_tmp(&self) -> Result<(), FolderError> {
        private_dir(&self.tmp)?;
        for entry in std::fs::read_dir(&self.tmp).map_err(FolderError::io(&self.tmp))? {
            let path = entry.map_err(FolderError::io(&self.tmp))?.path();
            std::fs::remove_file(&path).map_err(FolderError::io(&path))?;
        }
        Ok(())
    }

    /// The file system's own present time: files that changed before have smaller times.
    pub(crate) fn now(&self) -> Result<i128, FolderError> {
        private_dir(&self.tmp)?;
        let path = self.tmp.join("clock");
        let mut file = File::create(&path).map_err(FolderError::io(&path))?;
        file.write_all(b".").map_err(FolderError::io(&path))?;
        let meta = file.metadata().map_err(FolderError::io(&path))?;
        Ok(nanos(meta.mtime(), meta.mtime_nsec()))
    }

    /// As [`Tree::now`], waiting a little until it is after `time`, if that is the present tick of the file system.
    pub(crate) fn now_after(&self, time: i128) -> Result<i128, FolderError> {
        for _ in 0..10 {
            let now = self.now()?;
            if now > time {
                return Ok(now);
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.now()
    }

    pub(crate) fn look(&self, path: &EntryPath) -> io::Result<OnDisk> {
        let (dir, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(Unreachable::Missing | Unreachable::FileOnTheWay) => return Ok(OnDisk::Nothing),
            Err(Unreachable::Blocked(why)) => return Ok(OnDisk::Blocked(why)),
            Err(Unreachable::Io(e)) => return Err(e),
        };
        look_at(&dir, &name)
    }

    /// Opens a regular file for reading; `None` if there is none.
    pub(crate) fn read(&self, path: &EntryPath) -> io::Result<Option<File>> {
        let (dir, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(Unreachable::Io(e)) => return Err(e),
            Err(_) => return Ok(None),
        };
        // Not blocking: between looking and opening, a pipe may have taken the file's place.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&dir, &name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        Ok(file.metadata()?.is_file().then_some(file))
    }

    /// What the symbolic link at `path` says; `None` if there is none.
    pub(crate) fn read_link(&self, path: &EntryPath) -> io::Result<Option<Vec<u8>>> {
        let (dir, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(Unreachable::Io(e)) => return Err(e),
            Err(_) => return Ok(None),
        };
        match rustix::fs::readlinkat(&dir, &name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Why a link at `path` that says `target` is not synced, if it is not.
    pub(crate) fn link_problem(&self, path: &EntryPath, target: &[u8]) -> Option<links::Problem> {
        let mut above = match links::leads_to(path, target) {
            Ok(to) => to.and_then(|to| to.parent()),
            Err(problem) => return Some(problem),
        };
        while let Some(dir) = above {
            if matches!(self.look(&dir), Ok(OnDisk::File(Stat { link: true, .. }) | OnDisk::Blocked(_))) {
                return Some(links::THROUGH);
            }
            above = dir.parent();
        }
        None
    }

    /// A new temporary link on the folder's file system.
    pub(crate) fn tmp_link(&self, name: &str, target: &[u8]) -> io::Result<Stat> {
        let at = self.tmp.join(name);
        std::os::unix::fs::symlink(OsStr::from_bytes(target), &at)?;
        Ok(stat_of(&std::fs::symlink_metadata(&at)?))
    }

    /// A new temporary file on the folder's file system, with these permissions; without, with the usual ones.
    pub(crate) fn tmp_file(&self, name: &str, mode: Option<u32>, exec: bool) -> io::Result<File> {
        let mut options = File::options();
        // The process's umask narrows this.
        options.write(true).create_new(true).mode(if exec { 0o777 } else { 0o666 });
        let file = options.open(self.tmp.join(name))?;
        if let Some(mode) = mode {
            file.set_permissions(std::fs::Permissions::from_mode(with_exec(mode, exec)))?;
        }
        Ok(file)
    }

    pub(crate) fn drop_tmp(&self, name: &str) {
        // A file left behind is removed by the next `clean_tmp`.
        let _ = std::fs::remove_file(self.tmp.join(name));
    }

    /// The permission bits of the file at `path`, if there is one.
    pub(crate) fn mode(&self, path: &EntryPath) -> Option<u32> {
        let file = self.read(path).ok()??;
        Some(file.metadata().ok()?.mode() & 0o7777)
    }

    /// Moves a temporary file to `path`, making directories on the way, if what stands there is still `expected`.
    /// Answers what to remember of the file: `written` such that it never looks clean, if anybody changed it since.
    pub(crate) fn rename_in(
        &self,
        name: &str,
        written: Stat,
        path: &EntryPath,
        expected: OnDisk,
    ) -> Result<Stat, String> {
        let (dir, last) = self.parent(path, true).map_err(Unreachable::reason)?;
        match look_at(&dir, &last).map_err(|e| e.to_string())? {
            OnDisk::Directory => remove_empty(&dir, &last).map_err(|_| "a directory is in the way".to_owned())?,
            OnDisk::Blocked(why) => return Err(why.into()),
            found @ OnDisk::File(Stat { link: true, .. }) if found != expected => return Err(LINK.into()),
            found if found != expected => return Err(CHANGED.into()),
            _ => {}
        }
        replace(&self.tmp.join(name), &dir, &last, expected)?;
        sync_one(&dir).map_err(|e| e.to_string())?;
        Ok(match look_at(&dir, &last) {
            Ok(OnDisk::File(now)) if now.is_like(written) => now,
            _ => Stat { mtime: -1, ..written },
        })
    }

    /// Removes the file at `path` if it still is `expected`, and the directories that this leaves empty.
    pub(crate) fn remove(&self, path: &EntryPath, expected: OnDisk) -> Result<(), String> {
        let (dir, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(Unreachable::Missing | Unreachable::FileOnTheWay) => return Ok(()),
            Err(stop) => return Err(stop.reason()),
        };
        match look_at(&dir, &name).map_err(|e| e.to_string())? {
            OnDisk::Nothing => return Ok(()),
            OnDisk::Blocked(why) => return Err(why.into()),
            found @ OnDisk::File(Stat { link: true, .. }) if found != expected => return Err(LINK.into()),
            found if found != expected => return Err(CHANGED.into()),
            _ => {}
        }
        take_out(&dir, &name, &self.tmp.join("removed"), expected)?;
        sync_one(&dir).map_err(|e| e.to_string())?;
        let mut above = path.clone();
        while let Some(parent) = above.parent() {
            let Ok((dir, name)) = self.parent(&parent, false) else { break };
            if rustix::fs::unlinkat(&dir, &name, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            above = parent;
        }
        Ok(())
    }

    /// Brings to disk whatever was written, renamed and removed so far: no power cut takes it back then.
    pub(crate) fn sync(&self) -> Result<(), FolderError> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        rustix::fs::syncfs(&self.root).map_err(|e| FolderError::io(&self.path)(e.into()))?;
        Ok(())
    }

    /// The directory that holds `path`, reached without following a link, and the last component.
    fn parent(&self, path: &EntryPath, create: bool) -> Result<(OwnedFd, OsString), Unreachable> {
        let mut components = path.components();
        let Some(last) = components.pop() else { return Err(Unreachable::Blocked("not a path")) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut dir = rustix::io::fcntl_dupfd_cloexec(&self.root, 0).map_err(Unreachable::from)?;
        for component in components {
            let mut next = rustix::fs::openat(&dir, &component, flags, Mode::empty());
            if create && matches!(next, Err(Errno::NOENT)) {
                match rustix::fs::mkdirat(&dir, &component, Mode::from_raw_mode(0o777)) {
                    Ok(()) => sync_one(&dir).map_err(Unreachable::Io)?,
                    Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                next = rustix::fs::openat(&dir, &component, flags, Mode::empty());
            }
            dir = match next {
                Ok(fd) => fd,
                Err(Errno::NOENT) => return Err(Unreachable::Missing),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let file = matches!(look_at(&dir, &component), Ok(OnDisk::File(Stat { link: false, .. })));
                    return Err(if file {
                        Unreachable::FileOnTheWay
                    } else {
                        Unreachable::Blocked("a symbolic link is on the way")
                    });
                }
                Err(e) => return Err(e.into()),
            };
        }
        Ok((dir, last))
    }
}

/// Makes a directory that only its owner looks into: files wait there before they have their own permissions.
fn private_dir(dir: &Path) -> Result<(), FolderError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(FolderError::io(dir))
}

enum Unreachable {
    Missing,
    /// So nothing can be there, and nothing can come there.
    FileOnTheWay,
    Blocked(&'static str),
    Io(io::Error),
}

impl Unreachable {
    fn reason(self) -> String {
        match self {
            Self::Missing => "the directory vanished".into(),
            Self::FileOnTheWay => "a file is where a directory must be".into(),
            Self::Blocked(why) => why.into(),
            Self::Io(e) => e.to_string(),
        }
    }
}

impl From<Errno> for Unreachable {
    fn from(e: Errno) -> Self {
        Self::Io(e.into())
    }
}

/// Brings a file or directory to disk where [`Tree::sync`] cannot bring all of them at once.
pub(crate) fn sync_one(fd: &impl AsFd) -> io::Result<()> {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        return Ok(());
    }
    File::from(fd.as_fd().try_clone_to_owned()?).sync_all()
}

/// Removes a directory that holds nothing but such directories: they are nobody's work.
fn remove_empty(dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        done => return done,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&inner)? {
        let entry = entry?;
        let below = OsStr::from_bytes(entry.file_name().to_bytes());
        if below != "." && below != ".." {
            remove_empty(&inner, below)?;
        }
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Renames `from` to `name` in `dir`. Where the file system can, what stood there is looked at once more when nobody
/// can change it any more, and put back if it is not `expected`: somebody saved at the last moment.
fn replace(from: &Path, dir: &OwnedFd, name: &OsStr, expected: OnDisk) -> Result<(), String> {
    let OnDisk::File(then) = expected else {
        return match rename_with(from, dir, name, false) {
            Err(Errno::EXIST) => Err(CHANGED.into()),
            done => done.map(|_| ()).map_err(reason),
        };
    };
    match rename_with(from, dir, name, true) {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(Errno::NOENT) => return Err(CHANGED.into()),
        Err(e) => return Err(reason(e)),
    }
    if matches!(look_at(CWD, from.as_os_str()), Ok(OnDisk::File(out)) if out.is_like(then)) {
        // If it stays, the next `clean_tmp` removes it.
        let _ = std::fs::remove_file(from);
        return Ok(());
    }
    rename_with(from, dir, name, true).map_err(reason)?;
    Err(CHANGED.into())
}

/// Removes `name` in `dir` by way of `aside`, where it is looked at as in [`replace`].
fn take_out(dir: &OwnedFd, name: &OsStr, aside: &Path, expected: OnDisk) -> Result<(), String> {
    match rustix::fs::renameat(dir, name, CWD, aside) {
        Ok(()) => {}
        // Another file system is mounted there.
        Err(Errno::XDEV) => return rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(reason),
        Err(e) => return Err(reason(e)),
    }
    match (look_at(CWD, aside.as_os_str()), expected) {
        (Ok(OnDisk::File(out)), OnDisk::File(then)) if out.is_like(then) => {
            let _ = std::fs::remove_file(aside);
            Ok(())
        }
        _ => {
            rename_with(aside, dir, name, false).map_err(reason)?;
            Err(CHANGED.into())
        }
    }
}

/// Renames such that nothing is replaced: both files change places with `exchange`, else there must be none. Where
/// the system or the file system knows nothing of that it is an ordinary rename, and the answer `false`.
fn rename_with(from: &Path, dir: &OwnedFd, name: &OsStr, exchange: bool) -> Result<bool, Errno> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::RenameFlags;
        let flag = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(CWD, from, dir, name, flag) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            done => return done.map(|()| true),
        }
    }
    rustix::fs::renameat(CWD, from, dir, name).map(|()| false)
}

fn reason(e: Errno) -> String {
    io::Error::from(e).to_string()
}

fn look_at(dir: impl AsFd, name: &OsStr) -> io::Result<OnDisk> {
    let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(OnDisk::Nothing),
        Err(e) => return Err(e.into()),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        kind @ (FileType::RegularFile | FileType::Symlink) => OnDisk::File(Stat {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
            inode: stat.st_ino,
            exec: kind == FileType::RegularFile && stat.st_mode & 0o100 != 0,
            mode: if kind == FileType::RegularFile { kept(stat.st_mode) } else { 0 },
            link: kind == FileType::Symlink,
        }),
        FileType::Directory => OnDisk::Directory,
        _ => OnDisk::Blocked("a special file"),
    })
}

impl Stat {
    /// Whether it is the same file with the same content, though it may have been renamed: that changes its ctime.
    fn is_like(self, other: Self) -> bool {
        Self { ctime: other.ctime, ..self } == other
    }
}

/// The same facts of an open file or a walk's entry.
pub(crate) fn stat_of(meta: &std::fs::Metadata) -> Stat {
    Stat {
        size: meta.len(),
        mtime: nanos(meta.mtime(), meta.mtime_nsec()),
        ctime: nanos(meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
        exec: !meta.is_symlink() && meta.mode() & 0o100 != 0,
        mode: if meta.is_symlink() { 0 } else { kept(meta.mode()) },
        link: meta.is_symlink(),
    }
}

fn nanos(seconds: i64, nanos: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

fn kept(mode: u32) -> u16 {
    (mode & u32::from(MODE)) as u16
}

/// Whoever may read may execute, or nobody; as it is, if the owner may already or must not anyway.
pub(crate) fn with_exec(mode: u32, exec: bool) -> u32 {
    let mode = mode & 0o777;
    if (mode & 0o100 != 0) == exec {
        return mode;
    }
    if exec { mode | 0o100 | ((mode & 0o444) >> 2) } else { mode & !0o111 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> EntryPath {
        EntryPath::from_key(&format!("/{text}")).unwrap()
    }

    fn tree() -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::open(dir.path()).unwrap();
        tree.clean_tmp().unwrap();
        (dir, tree)
    }

    fn put(tree: &Tree, to: &str) -> Result<Stat, String> {
        put_over(tree, to, OnDisk::Nothing)
    }

    fn put_over(tree: &Tree, to: &str, expected: OnDisk) -> Result<Stat, String> {
        let written = written(tree);
        let result = tree.rename_in("t", written, &path(to), expected);
        tree.drop_tmp("t");
        result
    }

    fn written(tree: &Tree) -> Stat {
        let mut file = tree.tmp_file("t", None, false).unwrap();
        file.write_all(b"new").unwrap();
        stat_of(&file.metadata().unwrap())
    }

    #[test]
    fn links_are_never_followed() {
        let (dir, tree) = tree();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("victim"), "old").unwrap();
        symlink(outside.path(), dir.path().join("way")).unwrap();
        symlink(outside.path().join("victim"), dir.path().join("link")).unwrap();
        for target in ["way/new", "way/victim", "way/deep/er", "link"] {
            assert!(put(&tree, target).unwrap_err().contains("symbolic link"), "{target}");
            assert!(tree.remove(&path(target), OnDisk::Nothing).is_err(), "{target}");
            assert!(tree.read(&path(target)).unwrap().is_none(), "{target}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(outside.path().join("victim")).unwrap(), b"old");
    }

    #[test]
    fn directories_come_and_go() {
        let (dir, tree) = tree();
        let stat = put(&tree, "a/b/c").unwrap();
        assert_eq!(tree.look(&path("a/b/c")).unwrap(), OnDisk::File(stat));
        assert_eq!(tree.look(&path("a/b")).unwrap(), OnDisk::Directory);
        assert!(put(&tree, "a/b/c/d").unwrap_err().contains("a file is where"));
        assert!(put(&tree, "a/b").unwrap_err().contains("a directory is in the way"));
        assert!(tree.remove(&path("a/b/c"), OnDisk::Nothing).is_err(), "something else stands there");
        tree.remove(&path("a/b/c"), OnDisk::File(stat)).unwrap();
        assert!(!dir.path().join("a").exists());
        assert!(dir.path().join(".ibgib").exists());
    }

    #[test]
    fn an_edit_right_after_the_rename_never_looks_clean() {
        let (dir, tree) = tree();
        // In place, as some programs write.
        let edits: [fn(&File); 4] = [
            |mut file| file.write_all(b"newer").unwrap(),
            |mut file| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                file.write_all(b"NEW").unwrap();
            },
            |file| file.set_len(0).unwrap(),
            |file| file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap(),
        ];
        for (i, edit) in edits.into_iter().enumerate() {
            let (written, to) = (written(&tree), path(&format!("f{i}")));
            edit(&File::options().write(true).open(tree.tmp.join("t")).unwrap());
            let kept = tree.rename_in("t", written, &to, OnDisk::Nothing).unwrap();
            assert_eq!(kept, Stat { mtime: -1, ..written }, "{i}");
            assert_ne!(tree.look(&to).unwrap(), OnDisk::File(kept));
        }
        assert_eq!(std::fs::read(dir.path().join("f0")).unwrap(), b"newer");
    }

    #[test]
    fn empty_directories_make_room_for_a_file_and_others_do_not() {
        let (dir, tree) = tree();
        std::fs::create_dir_all(dir.path().join("x/y/z")).unwrap();
        std::fs::create_dir_all(dir.path().join("x/w")).unwrap();
        put(&tree, "x").unwrap();
        assert_eq!(std::fs::read(dir.path().join("x")).unwrap(), b"new");
        std::fs::create_dir_all(dir.path().join("k/l")).unwrap();
        std::fs::write(dir.path().join("k/l/work"), "mine").unwrap();
        assert!(put(&tree, "k").unwrap_err().contains("in the way"));
        assert_eq!(std::fs::read(dir.path().join("k/l/work")).unwrap(), b"mine");
    }

    #[test]
    fn a_file_saved_at_the_last_moment_stays() {
        let (dir, tree) = tree();
        let file = dir.path().join("f");
        let (root, name) = tree.parent(&path("f"), false).map_err(Unreachable::reason).unwrap();
        std::fs::write(&file, "old").unwrap();
        let old = tree.look(&path("f")).unwrap();
        // What was looked at is not what is there when it is replaced.
        std::fs::write(dir.path().join("new"), "saved").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        for expected in [old, OnDisk::Nothing] {
            written(&tree);
            assert_eq!(replace(&tree.tmp.join("t"), &root, &name, expected), Err(CHANGED.to_owned()));
            tree.drop_tmp("t");
            assert_eq!(take_out(&root, &name, &tree.tmp.join("removed"), expected), Err(CHANGED.to_owned()));
            assert_eq!(std::fs::read(&file).unwrap(), b"saved");
        }
        // Nothing but what was expected goes, and leaves nothing behind.
        let now = tree.look(&path("f")).unwrap();
        let stat = put_over(&tree, "f", now).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        tree.remove(&path("f"), OnDisk::File(stat)).unwrap();
        assert_eq!((file.exists(), std::fs::read_dir(&tree.tmp).unwrap().count()), (false, 0));
    }
}
