//! Checking out: what the timelines say becomes files. Here it is planned, in `carry_out` it is done.

mod carry_out;

use crate::content::{Content, KeepNothing, ReadError, node_at, read_file};
use crate::error::FolderError;
use crate::folder::{Entry, Folder, Listing, Refused};
use crate::path::{EntryPath, PathProblem};
use crate::record::{Base, Record};
use crate::tree::OnDisk;
use crate::writer::Writer;
use ibgib::Addr;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What to check out, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckoutOpts {
    /// Files and directories; all of the folder when empty.
    pub paths: Vec<EntryPath>,
    /// A frame of a file's timeline instead of its tip; `paths` then is empty or names that file.
    pub at: Option<Addr>,
    /// Overwrite work that is in no snapshot.
    pub force: bool,
    /// Refuse files with work that is in no snapshot one by one, instead of checking out nothing.
    pub keep_unsaved: bool,
    /// Write names that are a danger on some systems, though not on this one: device names, backslashes, names that
    /// differ only in case or Unicode form. Only for file systems that tell such names apart.
    pub unportable: bool,
}

/// What a checkout did. Lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckoutReport {
    /// Files written.
    pub written: Vec<EntryPath>,
    /// Files removed, because they were deleted elsewhere.
    pub removed: Vec<EntryPath>,
    /// Entries that are not on disk, and why.
    pub refused: Vec<Refused>,
}

/// One file to write or remove.
struct FileChange {
    entry: Entry,
    frame: Addr,
    /// What stands there now; anything else at the time of the change means that somebody else was faster.
    found: OnDisk,
    /// What was there before, for the record.
    before: Base,
    remove: bool,
}

impl Folder {
    /// Makes files equal to their tips (or to `opts.at`): writes what is new or changed, removes what was deleted,
    /// and prunes directories that this empties. Each file is written aside and renamed in.
    ///
    /// Entries that cannot be written safely are refused one by one, the rest is checked out.
    ///
    /// # Errors
    /// [`FolderError::Unsaved`] before anything is done, when work that no snapshot holds would be overwritten
    /// (with `opts.keep_unsaved` that is refused like the rest);
    /// [`FolderError::NoEntry`], [`FolderError::OtherTimeline`]; a failing space or directory.
    pub async fn checkout(&self, opts: &CheckoutOpts) -> Result<CheckoutReport, FolderError> {
        self.tree.clean_tmp()?;
        let listing = self.listing().await?;
        let mut records = self.file_records().await?;
        let mut report = CheckoutReport::default();
        if opts.paths.is_empty() && opts.at.is_none() {
            report.refused.clone_from(&listing.refused);
        }
        let mut writer = Writer::new(&*self.space);
        let changes = self.plan(opts, &listing, &mut records, &mut report, &mut writer).await?;
        let changes = without_twins(changes, &records, opts.unportable, &mut report);
        writer.flush().await?;
        self.carry_out(changes, &mut report, &mut writer).await?;
        report.written.sort_unstable();
        report.removed.sort_unstable();
        report.refused.sort_unstable();
        Ok(report)
    }

    async fn plan(
        &self,
        opts: &CheckoutOpts,
        listing: &Listing,
        records: &mut BTreeMap<EntryPath, Record>,
        report: &mut CheckoutReport,
        writer: &mut Writer<'_>,
    ) -> Result<Vec<FileChange>, FolderError> {
        let mut changes = Vec::new();
        let mut unsaved = Vec::new();
        for entry in self.wanted(opts, listing).await? {
            let mut refuse = |reason: String| report.refused.push(Refused { path: entry.path.to_string(), reason });
            let tip = self.space.tip(&entry.file).await?.map(|t| t.addr);
            let Some(frame) = opts.at.clone().or(tip) else {
                refuse("its timeline is not here".into());
                continue;
            };
            let record = records.get(&entry.path);
            let forbidden = entry.path.check().err();
            let found = match &forbidden {
                Some(problem) if !problem.is_unportable() => OnDisk::Nothing,
                _ => match self.tree.look(&entry.path) {
                    Ok(found) => found,
                    Err(error) => {
                        refuse(error.to_string());
                        continue;
                    }
                },
            };
            if let Some(record) = record
                && record.base.addr == frame
            {
                let exec = record.base.stat.is_none_or(|stat| stat.exec == entry.exec);
                if record.base.is_clean(found) && exec {
                    continue;
                }
                // The file is at its tip; what the user made of it since is the next snapshot's.
                let asked = opts.force || !opts.paths.is_empty() || opts.at.is_some();
                if !asked && exec && found != OnDisk::Nothing {
                    continue;
                }
            }
            let content = match Content::of(&*self.space, &node_at(&*self.space, &frame).await?).await {
                Ok(content) => content,
                Err(error) => match error.bad_frame() {
                    Some(why) => {
                        refuse(why);
                        continue;
                    }
                    None => return Err(error),
                },
            };
            let before = record.map_or_else(|| Base { addr: entry.file.clone(), stat: None }, |r| r.base.clone());
            let target = Base { addr: frame.clone(), stat: None };
            if content.is_absent() {
                match (found, record) {
                    (OnDisk::File(_), Some(_)) => {
                        if !opts.force && !self.is_saved(&entry.path, found, &before, None).await? {
                            unsaved.push(entry.path.to_string());
                            continue;
                        }
                        changes.push(FileChange { entry, frame, found, before, remove: true });
                    }
                    // A file of the user's that no snapshot has seen, where others deleted theirs: nothing to do.
                    (OnDisk::File(_), None) => {}
                    _ if before == target => {}
                    _ => note(&entry.path, target, records, writer),
                }
                continue;
            }
            if let Some(problem) = forbidden
                && !(problem.is_unportable() && (opts.unportable || before.stat.is_some()))
            {
                refuse(problem.to_string());
                continue;
            }
            match found {
                // What is in the way may be removed first; if not, renaming in refuses.
                OnDisk::Nothing | OnDisk::Directory | OnDisk::Blocked(_) => {
                    changes.push(FileChange { entry, frame, found: OnDisk::Nothing, before, remove: false });
                }
                OnDisk::File(stat) => {
                    let now = self.tree.now()?;
                    if stat.exec == entry.exec && self.holds(&entry.path, &content).await? {
                        note(&entry.path, Base { addr: frame, stat: Some(stat.settled(now)) }, records, writer);
                    } else if opts.force || self.is_saved(&entry.path, found, &before, Some(&content)).await? {
                        changes.push(FileChange { entry, frame, found, before, remove: false });
                    } else {
                        unsaved.push(entry.path.to_string());
                    }
                }
            }
        }
        if !opts.keep_unsaved && !unsaved.is_empty() {
            return Err(FolderError::Unsaved(unsaved));
        }
        let reason = "holds work that is in no snapshot yet";
        report.refused.extend(unsaved.into_iter().map(|path| Refused { path, reason: reason.into() }));
        Ok(changes)
    }

    /// The entries that `opts` asks for.
    async fn wanted(&self, opts: &CheckoutOpts, listing: &Listing) -> Result<Vec<Entry>, FolderError> {
        for path in &opts.paths {
            if !listing.entries.keys().any(|p| p.is_within(path)) {
                return Err(FolderError::NoEntry(path.to_string()));
            }
        }
        let inside = |p: &EntryPath| opts.paths.is_empty() || opts.paths.iter().any(|dir| p.is_within(dir));
        let mut wanted: Vec<Entry> = listing.entries.values().filter(|e| inside(&e.path)).cloned().collect();
        if let Some(at) = &opts.at {
            let file = node_at(&*self.space, at).await?.tjp();
            let other = |path: &EntryPath| FolderError::OtherTimeline { path: path.to_string(), addr: at.clone() };
            if let [path] = &opts.paths[..]
                && wanted.iter().all(|e| Some(&e.file) != file.as_ref())
            {
                return Err(other(path));
            }
            wanted.retain(|e| Some(&e.file) == file.as_ref());
            if wanted.is_empty() {
                return Err(FolderError::NoEntry(at.to_string()));
            }
        }
        Ok(wanted)
    }

    /// Whether a snapshot holds what the file is now: as it was recorded, or with the content of that frame, or with
    /// the content that is about to be written.
    async fn is_saved(
        &self,
        path: &EntryPath,
        found: OnDisk,
        before: &Base,
        target: Option<&Content>,
    ) -> Result<bool, FolderError> {
        if before.is_clean(found) {
            return Ok(true);
        }
        if let Some(target) = target
            && self.holds(path, target).await?
        {
            return Ok(true);
        }
        if before.stat.is_none() {
            return Ok(false);
        }
        let content = Content::of(&*self.space, &node_at(&*self.space, &before.addr).await?).await?;
        self.holds(path, &content).await
    }

    async fn holds(&self, path: &EntryPath, content: &Content) -> Result<bool, FolderError> {
        match read_file(&self.tree, path, &mut KeepNothing).await {
            Ok(fresh) => Ok(fresh.is_some_and(|fresh| fresh.is(content))),
            Err(ReadError::File(_)) => Ok(false),
            Err(ReadError::Folder(error)) => Err(error),
        }
    }

    /// Fails if one of `paths` holds work that is in no snapshot.
    pub(crate) async fn ensure_saved(&self, paths: &BTreeSet<EntryPath>) -> Result<(), FolderError> {
        let scan = self.scan(None).await?;
        let unsaved: Vec<String> = scan.taken.keys().filter(|p| paths.contains(p)).map(ToString::to_string).collect();
        if unsaved.is_empty() { Ok(()) } else { Err(FolderError::Unsaved(unsaved)) }
    }
}

fn note(path: &EntryPath, base: Base, records: &mut BTreeMap<EntryPath, Record>, writer: &mut Writer<'_>) {
    let record = Record::from(base);
    writer.record(Record::key(path), Some(record.to_bytes()));
    records.insert(path.clone(), record);
}

/// Refuses every file that would be, or would lie in, the twin of another path. What is on disk already goes first,
/// then the order of paths decides, the same on every device.
fn without_twins(
    changes: Vec<FileChange>,
    records: &BTreeMap<EntryPath, Record>,
    allowed: bool,
    report: &mut CheckoutReport,
) -> Vec<FileChange> {
    if allowed {
        return changes;
    }
    let going: BTreeSet<&EntryPath> = changes.iter().filter(|s| s.remove).map(|s| &s.entry.path).collect();
    let mut names: HashMap<String, String> = HashMap::new();
    let here = |path: &EntryPath| records.get(path).is_some_and(|r| r.base.stat.is_some());
    for path in records.keys().filter(|p| here(p) && !going.contains(p)) {
        for (folded, name) in path.folded_prefixes() {
            names.entry(folded).or_insert_with(|| name.to_owned());
        }
    }
    let mut kept = Vec::new();
    for change in changes {
        let path = &change.entry.path;
        let twin = path.folded_prefixes().find_map(|(folded, name)| names.get(&folded).filter(|n| *n != name).cloned());
        match twin {
            Some(twin) if !change.remove && !here(path) => {
                let reason = PathProblem::Twin(twin).to_string();
                report.refused.push(Refused { path: path.to_string(), reason });
            }
            _ => {
                if !change.remove {
                    for (folded, name) in path.folded_prefixes() {
                        names.entry(folded).or_insert_with(|| name.to_owned());
                    }
                }
                kept.push(change);
            }
        }
    }
    kept
}
