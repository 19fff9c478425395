//! What changed on disk since the last snapshot or checkout: one pass, shared by `status` and `snapshot`.

use crate::agreement;
use crate::content::{Content, Keep, KeepNothing, ReadError, node_at, read_file};
use crate::error::FolderError;
use crate::folder::{Folder, Moments, Progress, Skipped};
use crate::frames::{NewContent, Node, edit_file};
use crate::keeping::Keeping;
use crate::path::{EntryPath, fold};
use crate::record::{Base, Record};
use crate::tree::{MODE, OnDisk, Stat};
use crate::untrack::{self, UNTRACKED};
use crate::writer::Writer;
use ibgib::Addr;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content is another, or what it may be used for.
    Modified,
    /// It is gone.
    Deleted,
    /// It is new and has the content of a file that is gone.
    Renamed {
        /// The path of the file that is gone.
        from: EntryPath,
    },
}

impl ChangeKind {
    /// `added`, `modified`, `deleted` or `renamed`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Deleted => "deleted",
            Self::Renamed { .. } => "renamed",
        }
    }
}

/// A change on disk that is in no snapshot yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: EntryPath,
    /// What happened to it.
    pub change: ChangeKind,
}

/// What [`Folder::status`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReport {
    /// Sorted by path; a renamed file stands under its new path.
    pub changes: Vec<Change>,
    /// Paths that snapshots leave out.
    pub skipped: Vec<Skipped>,
}

/// A change, with what a snapshot needs besides.
pub(crate) struct Taken {
    pub(crate) change: ChangeKind,
    /// The frame that the file was at, and its executable bit then.
    pub(crate) before: Base,
    /// The new frame; the one before when only the executable bit changed, or when nothing is written.
    pub(crate) after: Addr,
    /// Equal for equal contents.
    digest: Option<String>,
}

/// What a scan found.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) taken: BTreeMap<EntryPath, Taken>,
    pub(crate) skipped: Vec<Skipped>,
    /// The records as they are after the scan.
    pub(crate) records: BTreeMap<EntryPath, Record>,
    /// Files whose record must wait for their entry, which tells others the new executable bit (and permissions): until
    /// then it has others, so that the file still looks changed if the snapshot is killed in between.
    pub(crate) waiting: Vec<EntryPath>,
    /// Kinds of the contents that changed.
    pub(crate) kinds: BTreeMap<EntryPath, &'static str>,
}

impl Scan {
    /// The changes, renames told as such.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let taken = self.taken.iter().map(|(path, taken)| (path, &taken.change, taken.digest.as_deref()));
        with_renames(taken.collect())
    }
}

/// Changes, sorted by path, each with what tells its content; a deleted and an added file of the same content become one that
/// was renamed.
pub(crate) fn with_renames(changes: Vec<(&EntryPath, &ChangeKind, Option<&str>)>) -> Vec<Change> {
    let mut gone: HashMap<&str, Vec<&EntryPath>> = HashMap::new();
    for (path, change, digest) in changes.iter().rev() {
        if let (ChangeKind::Deleted, Some(digest)) = (change, digest) {
            gone.entry(digest).or_default().push(path);
        }
    }
    let mut renamed: HashMap<&EntryPath, &EntryPath> = HashMap::new();
    for (path, change, digest) in &changes {
        if let (ChangeKind::Added, Some(digest)) = (change, digest)
            && let Some(from) = gone.get_mut(digest).and_then(Vec::pop)
        {
            renamed.insert(path, from);
        }
    }
    let sources: HashSet<&EntryPath> = renamed.values().copied().collect();
    let kept = changes.into_iter().filter(|(path, ..)| !sources.contains(path));
    kept.map(|(path, change, _)| {
        let from = renamed.get(path).map(|from| ChangeKind::Renamed { from: (*from).clone() });
        Change { path: path.clone(), change: from.unwrap_or_else(|| change.clone()) }
    })
    .collect()
}

/// What makes a scan a snapshot: where frames go, and where their time comes from.
pub(crate) struct Taking<'a, 's> {
    pub(crate) writer: &'a mut Writer<'s>,
    pub(crate) moments: &'a mut Moments<'a>,
}

impl Folder {
    /// What a snapshot would take now.
    ///
    /// # Errors
    /// A failing space or directory.
    pub async fn status(&self) -> Result<StatusReport, FolderError> {
        let scan = self.scan(None).await?;
        Ok(StatusReport { changes: scan.changes(), skipped: scan.skipped })
    }

    /// Compares every file with its record. Changed files become frames on the way if they are taken.
    pub(crate) async fn scan(&self, mut taking: Option<Taking<'_, '_>>) -> Result<Scan, FolderError> {
        let (records, mut walked) = self.records_and_files().await?;
        let (agreed, news) = self.agree(&walked, &records).await?;
        let untracked = self.untracked().await?;
        let tracked = records.iter().filter(|(_, record)| record.base.stat.is_some());
        let tracked: BTreeSet<EntryPath> = tracked.map(|(path, record)| record.on_disk(path).clone()).collect();
        let kept_back = agreement::keep_back(&mut walked, &agreed, |path| tracked.contains(path));
        let mut skipped = std::mem::take(&mut walked.skipped);
        skipped.extend(agreement::skipped(kept_back));
        let here: BTreeSet<EntryPath> =
            untracked.iter().filter(|path| walked.files.contains_key(path)).cloned().collect();
        for path in here.difference(&tracked) {
            walked.files.remove(path);
            skipped.push(Skipped { path: path.to_string(), reason: UNTRACKED.to_owned() });
        }
        if let Some(taking) = &mut taking {
            if news {
                agreement::remember(taking.writer, &agreed);
            }
            if here != untracked {
                untrack::remember(taking.writer, &here);
            }
        }
        let keeping = self.keeping().await?;
        let mut scan = Scan { skipped, records, ..Scan::default() };
        let mut work: BTreeMap<EntryPath, OnDisk> = BTreeMap::new();
        // Where files stand that have a twin.
        let standing: BTreeSet<&EntryPath> = scan.records.values().filter_map(|record| record.at.as_ref()).collect();
        for (path, record) in &scan.records {
            // A file that is gone may have left its name to a twin.
            if record.base.stat.is_none() && standing.contains(path) {
                continue;
            }
            // What is not in the walk may be gone, or ignored since: tracked files stay tracked.
            let at = record.on_disk(path);
            let found = match walked.files.get(at) {
                Some(stat) => OnDisk::File(*stat),
                None => match self.tree.look(at) {
                    Ok(OnDisk::File(now)) if is_respelled(at, now, &walked.files) => OnDisk::Nothing,
                    Ok(found) => found,
                    Err(error) => {
                        scan.skipped.push(Skipped { path: at.to_string(), reason: error.to_string() });
                        continue;
                    }
                },
            };
            if !record.base.is_clean(found) {
                work.insert(path.clone(), found);
            }
        }
        let is_fine = |path: &EntryPath| match self.tree.read_link(path) {
            Ok(Some(target)) => self.tree.link_problem(path, &target).is_none(),
            _ => false,
        };
        let links = walked.files.iter().filter(|(path, stat)| stat.link && is_fine(path));
        let links: Vec<EntryPath> = links.map(|(path, _)| path.clone()).collect();
        for (path, stat) in walked.files {
            match scan.records.get(&path) {
                _ if standing.contains(&path) => {}
                None => {
                    work.insert(path, OnDisk::File(stat));
                }
                Some(Record { at: Some(at), .. }) => {
                    let reason = format!("{at} has this name in the folder; give one of the two another");
                    scan.skipped.push(Skipped { path: path.to_string(), reason });
                }
                Some(_) => {}
            }
        }
        // Read after this moment: whoever changes a file later leaves a later time on it.
        // Only a snapshot remembers it; whoever only looks writes nothing.
        let now = if taking.is_some() { self.tree.now()? } else { 0 };
        let size = |found: &OnDisk| if let OnDisk::File(stat) = found { stat.size } else { 0 };
        let (of, bytes_of) = (work.len(), work.values().map(size).sum());
        let mut scanner =
            Scanner { folder: self, taking, scan, keeping, now, headway: Headway { done: 0, of, bytes: 0, bytes_of } };
        for (path, found) in work {
            let bytes = scanner.headway.bytes + size(&found);
            // A control directory of another program, tracked by an earlier version: left as it is.
            if path.check().is_err_and(|problem| !problem.is_unportable()) && found != OnDisk::Nothing {
                continue;
            }
            match found {
                OnDisk::File(_) => scanner.file(&path).await?,
                OnDisk::Nothing | OnDisk::Directory => scanner.gone(&path).await?,
                // A link to somewhere in the folder that is where its directory was is taken instead of it.
                OnDisk::Blocked(_) if links.iter().any(|link| path.is_within(link)) => scanner.gone(&path).await?,
                // What else is in its place is not taken, and no reason to delete the file everywhere.
                OnDisk::Blocked(why) => scanner.skip(&path, why.into()),
            }
            // Of a file that was skipped, or that has grown meanwhile, other bytes were read than it had.
            scanner.headway = Headway { done: scanner.headway.done + 1, bytes, ..scanner.headway };
            self.tell(scanner.headway.told());
            if let Some(taking) = &mut scanner.taking {
                taking.writer.flush_if_full().await?;
            }
        }
        let mut scan = scanner.scan;
        scan.skipped.sort_unstable();
        scan.skipped.dedup_by(|a, b| a.path == b.path);
        Ok(scan)
    }
}

/// Whether the file that is found at `at` is one that the walk found under another spelling of that name: where names
/// that differ in case are one, it was renamed.
fn is_respelled(at: &EntryPath, now: Stat, files: &BTreeMap<EntryPath, Stat>) -> bool {
    let folded = fold(at.as_str());
    files.iter().any(|(path, stat)| stat.inode == now.inode && fold(path.as_str()) == folded)
}

/// What a file is compared with, and what its next frame is built on.
struct Known {
    /// The frame that the file is compared with: of a file that no snapshot has taken, its timeline's tip or first
    /// frame.
    at: Base,
    content: Content,
    /// The frame to build on.
    on: Node,
    /// The timeline's first frame and its dna, when nobody has made it yet: to be stored with the next frame.
    first: Vec<Node>,
}

struct Scanner<'f, 'a, 's> {
    folder: &'f Folder,
    taking: Option<Taking<'a, 's>>,
    scan: Scan,
    keeping: Keeping,
    now: i128,
    headway: Headway,
}

/// How far a scan has come.
#[derive(Clone, Copy)]
struct Headway {
    done: usize,
    of: usize,
    bytes: u64,
    bytes_of: u64,
}

impl Headway {
    fn told(self) -> Progress {
        let Self { done, of, bytes, bytes_of } = self;
        Progress::Read { done, of, bytes: bytes.min(bytes_of), bytes_of }
    }
}

/// Tells how much of a large file was read while it is taken.
struct Telling<'k> {
    keep: &'k mut dyn Keep,
    folder: &'k Folder,
    headway: Headway,
}

#[async_trait::async_trait]
impl Keep for Telling<'_> {
    async fn keep(&mut self, node: Node) -> Result<(), FolderError> {
        self.keep.keep(node).await
    }

    fn has_read(&mut self, bytes: u64) {
        self.headway.bytes += bytes;
        self.folder.tell(self.headway.told());
    }
}

impl Scanner<'_, '_, '_> {
    async fn file(&mut self, path: &EntryPath) -> Result<(), FolderError> {
        let mut nothing = KeepNothing;
        let keep: &mut dyn Keep = match &mut self.taking {
            Some(taking) => taking.writer,
            None => &mut nothing,
        };
        let at = self.scan.records.get(path).map_or(path, |record| record.on_disk(path));
        let mut telling = Telling { keep, folder: self.folder, headway: self.headway };
        let fresh = match read_file(&self.folder.tree, at, &mut telling).await {
            Ok(Some(fresh)) => fresh,
            // Gone meanwhile: the next scan sees that.
            Ok(None) => return Ok(()),
            Err(ReadError::File(reason)) => {
                self.skip(path, reason);
                return Ok(());
            }
            Err(ReadError::Folder(error)) => return Err(error),
        };
        let known = self.known(path).await?;
        let stat = Some(fresh.stat.settled(self.now));
        if fresh.is(&known.content) {
            if known.at.stat.is_some_and(|then| self.keeping.differ(&then, &fresh.stat)) {
                self.take(path, ChangeKind::Modified, &known, known.at.addr.clone(), None);
            }
            self.remember(path, known.at.addr.clone(), stat, &known);
            return Ok(());
        }
        let change = if known.content.is_absent() { ChangeKind::Added } else { ChangeKind::Modified };
        self.scan.kinds.insert(path.clone(), fresh.content.kind());
        let digest = fresh.digest();
        let time = self.keeping.time(&fresh.stat).filter(|_| !fresh.stat.link);
        let after = self.write(&known, fresh.content, time)?;
        self.take(path, change, &known, after.clone(), digest);
        self.remember(path, after, stat, &known);
        Ok(())
    }

    async fn gone(&mut self, path: &EntryPath) -> Result<(), FolderError> {
        let known = self.known(path).await?;
        if known.at.stat.is_none() {
            return Ok(());
        }
        let after = self.write(&known, NewContent::Absent, None)?;
        self.take(path, ChangeKind::Deleted, &known, after.clone(), known.content.digest());
        self.remember(path, after, None, &known);
        Ok(())
    }

    async fn known(&mut self, path: &EntryPath) -> Result<Known, FolderError> {
        let space = &*self.folder.space;
        if let Some(record) = self.scan.records.get(path) {
            let on = node_at(space, &record.base.addr).await?;
            let content = Content::of(space, &on).await?;
            return Ok(Known { at: record.base.clone(), content, on, first: vec![] });
        }
        // A path that this device never had. Others may have it: then equal content is theirs, and different
        // content is an edit that knows nothing of theirs, to be merged like any other.
        let first = self.folder.first_frames.file(path)?;
        let on = first.frame.clone();
        match space.tip(on.addr()).await? {
            None => {
                let at = Base { addr: on.addr().clone(), stat: None };
                Ok(Known { at, content: Content::Absent, on, first: first.nodes() })
            }
            Some(tip) => {
                // A tip that holds nothing readable differs from any file.
                let content = match Content::of(space, &node_at(space, &tip.addr).await?).await {
                    Err(error) if error.bad_frame().is_some() => Content::Absent,
                    content => content?,
                };
                Ok(Known { at: Base { addr: tip.addr, stat: None }, content, on, first: vec![] })
            }
        }
    }

    /// Makes the frame; without a writer, answers the frame before.
    fn write(&mut self, known: &Known, content: NewContent, time: Option<i64>) -> Result<Addr, FolderError> {
        let Some(taking) = &mut self.taking else { return Ok(known.at.addr.clone()) };
        let edit = self.folder.attributed(edit_file(&known.on, content, time, &(taking.moments)())?)?;
        let after = edit.last().map_or_else(|| known.at.addr.clone(), |n| n.addr().clone());
        let tjp = known.on.tjp().unwrap_or_else(|| known.on.addr().clone());
        let nodes = known.first.iter().cloned().chain(edit).collect();
        taking.writer.edit(tjp, known.first.is_empty().then_some(&known.on), nodes);
        Ok(after)
    }

    fn take(&mut self, path: &EntryPath, change: ChangeKind, known: &Known, after: Addr, digest: Option<String>) {
        self.scan.taken.insert(path.clone(), Taken { change, before: known.at.clone(), after, digest });
    }

    fn skip(&mut self, path: &EntryPath, reason: String) {
        self.scan.skipped.push(Skipped { path: path.to_string(), reason });
    }

    /// Sets the record, in the commit that makes the frame it names.
    fn remember(&mut self, path: &EntryPath, addr: Addr, stat: Option<Stat>, known: &Known) {
        let Some(taking) = &mut self.taking else { return };
        let mut record = Record::from(Base { addr, stat });
        if stat.is_some() {
            record.at = self.scan.records.get(path).and_then(|before| before.at.clone());
        }
        let mut now = record.clone();
        // A timeline that begins here has no entry yet; the snapshot after a kill makes it from the disk.
        if let Some(stat) = &mut now.base.stat
            && known.first.is_empty()
            && self.scan.taken.contains_key(path)
            && known.at.stat.is_none_or(|then| self.keeping.differ(&then, stat))
        {
            stat.exec = !stat.exec;
            stat.mode ^= MODE;
            self.scan.waiting.push(path.clone());
        }
        taking.writer.record(Record::key(path), Some(now.to_bytes()));
        self.scan.records.insert(path.clone(), record);
    }
}
