//! Watching a folder: telling when there is something that a snapshot would take.

use crate::checkout::CheckoutReport;
use crate::error::FolderError;
use crate::folder::{Folder, FolderOpts};
use crate::scan::Change;
use crate::walk::{Walk, walk};
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Files are taken in once nothing has changed for this long…
const QUIET: Duration = Duration::from_millis(30);
/// …or for this long while a program still has open what it writes, or where the system does not tell that it was closed…
const QUIET_WRITING: Duration = Duration::from_millis(250);
/// …or after this at the latest, for a file that keeps changing (a log, say).
const QUIET_MAX: Duration = Duration::from_secs(3);

/// Watches a folder's files. It needs the directory only, so a space may be closed meanwhile.
///
/// The order of use is: [`Watch::look`], then a snapshot and a checkout, then [`Watch::after_checkout`], then
/// [`Watch::woken`] and [`Watch::has_changed`] until the latter says so. What changes after the look and before the
/// snapshot is seen twice, never missed.
#[derive(Debug)]
pub struct Watch {
    root: PathBuf,
    /// None where the system cannot watch, and then why.
    watcher: Result<RecommendedWatcher, notify::Error>,
    events: mpsc::Receiver<()>,
    /// Directories came, went or were renamed: what is watched may be another directory of the same name.
    moved: Arc<AtomicBool>,
    /// Files that somebody began to write since the last look, and has not closed.
    writing: Arc<Mutex<BTreeSet<PathBuf>>>,
    watched: BTreeSet<PathBuf>,
    /// The files at the last look. Only what is on disk is compared, no store is needed and no content is read.
    seen: Walk,
    /// An event came and is not answered yet.
    woken: bool,
    /// What the last checkout left for a snapshot.
    left: Vec<Change>,
    opts: FolderOpts,
}

impl Watch {
    /// Watches the folder in `root`, from the first [`Watch::look`] on.
    pub fn new(root: &Path) -> Self {
        let moved = Arc::new(AtomicBool::new(true));
        // One event waiting is as good as many.
        let (tell, events) = mpsc::channel(1);
        let seen_moving = Arc::clone(&moved);
        let writing = Arc::new(Mutex::new(BTreeSet::new()));
        let seen_writing = Arc::clone(&writing);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let (kind, paths) = match event {
                Ok(event) if !event.need_rescan() => (event.kind, event.paths),
                _ => (EventKind::Any, Vec::new()),
            };
            // A set of paths is whole whatever happened while it was held.
            let mut writing = seen_writing.lock().unwrap_or_else(PoisonError::into_inner);
            match kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => paths.iter().for_each(|path| {
                    writing.remove(path);
                }),
                EventKind::Access(_) => return,
                // Windows does not say what was modified.
                EventKind::Modify(ModifyKind::Any | ModifyKind::Data(_)) => writing.extend(paths),
                EventKind::Any
                | EventKind::Remove(_)
                | EventKind::Create(CreateKind::Folder)
                | EventKind::Modify(ModifyKind::Name(_)) => seen_moving.store(true, Ordering::Relaxed),
                _ => {}
            }
            drop(writing);
            // Full is fine, and at the end nobody listens.
            let _ = tell.try_send(());
        });
        let (seen, watched, left) = (Walk::default(), BTreeSet::new(), Vec::new());
        let opts = FolderOpts::default();
        Self { root: root.to_owned(), watcher, events, moved, writing, watched, seen, woken: false, left, opts }
    }

    /// As the folder is worked on.
    #[must_use]
    pub fn with_opts(self, opts: FolderOpts) -> Self {
        Self { opts, ..self }
    }

    /// Why the system cannot watch the files, if it cannot ([`Watch::woken`] then never comes): whoever wants to know
    /// asks [`Watch::has_changed`] now and then.
    pub fn blind(&self) -> Option<String> {
        self.watcher.as_ref().err().map(ToString::to_string)
    }

    /// Remembers the files as they are, and watches every directory that there is now but ignored ones.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn look(&mut self) -> Result<(), FolderError> {
        self.writing().clear();
        loop {
            self.seen = walk(&self.root, self.opts)?;
            let Ok(watcher) = &mut self.watcher else { return Ok(()) };
            let moved = self.moved.swap(false, Ordering::Relaxed);
            for gone in self.watched.difference(&self.seen.dirs) {
                // It may be gone from the watcher, too.
                let _ = watcher.unwatch(gone);
            }
            let old = std::mem::take(&mut self.watched);
            let mut new = false;
            for dir in &self.seen.dirs {
                if moved || !old.contains(dir) {
                    new |= !old.contains(dir);
                    match watcher.watch(dir, RecursiveMode::NonRecursive) {
                        Ok(()) => {}
                        Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => continue,
                        Err(error) => {
                            self.watcher = Err(error);
                            return Ok(());
                        }
                    }
                }
                self.watched.insert(dir.clone());
            }
            if !new {
                return Ok(());
            }
            // Once more: files may have come into a new directory before it was watched.
        }
    }

    /// To be called after the checkout that `report` is of: what it wrote is no change. Answers whether somebody else
    /// changed files meanwhile, so that there is something to take already.
    ///
    /// # Errors
    /// As [`Folder::status`].
    pub async fn after_checkout(&mut self, folder: &Folder, report: &CheckoutReport) -> Result<bool, FolderError> {
        if report.written.is_empty() && report.removed.is_empty() {
            // What is found after the next checkout is new, also if it is another edit of the same file.
            self.left.clear();
            return Ok(false);
        }
        self.look()?;
        let changes = folder.status().await?.changes;
        // The same changes as after the last checkout are what no snapshot can take: going on with them would never
        // end.
        let new = !changes.is_empty() && changes != self.left;
        self.left = changes;
        Ok(new)
    }

    fn writing(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any file that snapshots take came, went or changed since the last look.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn has_changed(&self) -> Result<bool, FolderError> {
        Ok(walk(&self.root, self.opts)?.files != self.seen.files)
    }

    /// Waits for an event, and then until the whole folder is quiet: a program may save many files one after the
    /// other. (Debouncing crates hold back each event for a time of its own, and would let the first file through
    /// while the last is being written.) May be dropped at any time.
    pub async fn woken(&mut self) {
        if !self.woken {
            if self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.woken = true;
        }
        let started = Instant::now();
        while started.elapsed() < QUIET_MAX {
            let quiet = if self.writing().is_empty() { QUIET } else { QUIET_WRITING };
            if !matches!(timeout(quiet, self.events.recv()).await, Ok(Some(()))) {
                break;
            }
        }
        self.woken = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn changes_wake_it_and_what_is_ignored_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        put("sub/open");
        fs::write(dir.path().join(".ibgibignore"), "target/\n").unwrap();
        let mut watch = Watch::new(dir.path());
        assert_eq!(watch.blind(), None);
        watch.look().unwrap();
        assert!(!watch.has_changed().unwrap());
        for path in ["target/x", "sub/.git/config", ".ibgib/space/db"] {
            put(path);
        }
        watch.woken().await;
        assert!(!watch.has_changed().unwrap(), "ignored, git's, our own");
        put("new/deep/file");
        watch.woken().await;
        assert!(watch.has_changed().unwrap());
        watch.look().unwrap();
        put("new/deep/other");
        watch.woken().await;
        assert!(watch.has_changed().unwrap(), "a directory that came later is watched, too");
    }
}
