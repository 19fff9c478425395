//! Checking out: what the timelines say becomes files. Here it is planned, in `carry_out` it is done.

mod carry_out;

use crate::content::{Content, KeepNothing, ReadError, node_at, read_file};
use crate::error::FolderError;
use crate::folder::{Entry, Folder, Listing, Refused, tips_of};
use crate::links::leads_to;
use crate::names::{Twin, twins};
use crate::path::{EntryPath, decode, fold};
use crate::record::{Base, Record};
use crate::tree::{LINK, OnDisk, Stat};
use crate::walk::Walk;
use crate::writer::Writer;
use ibgib::Addr;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
}

impl CheckoutOpts {
    /// Whether some files are asked for, and the rest is not only brought up to date.
    fn is_asked(&self) -> bool {
        self.force || !self.paths.is_empty() || self.at.is_some()
    }
}

/// What a checkout did. Lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckoutReport {
    /// Files written.
    pub written: Vec<EntryPath>,
    /// Files removed, because they were deleted elsewhere.
    pub removed: Vec<EntryPath>,
    /// Of the files written, those that stand beside a twin under another name.
    pub twins: Vec<Twin>,
    /// Entries that are not on disk, and why.
    pub refused: Vec<Refused>,
}

/// One file to write or remove.
struct FileChange {
    entry: Entry,
    /// Where on disk.
    at: EntryPath,
    frame: Addr,
    /// What stands there now; anything else at the time of the change means that somebody else was faster.
    found: OnDisk,
    /// What was there before, for the record.
    before: Base,
    remove: bool,
    /// Removed only to be written under another name: nothing that its record tells.
    moves: bool,
}

/// Where files are to stand.
#[derive(Default)]
struct Places {
    /// Those that do not stand under their own names.
    twins: BTreeMap<EntryPath, Twin>,
    /// Those that are deleted, looked for only where any names could meet.
    gone: BTreeSet<EntryPath>,
    /// Files that there are, looked for only where nothing is asked for.
    here: BTreeMap<EntryPath, Stat>,
}

impl Places {
    fn of<'p>(&'p self, path: &'p EntryPath) -> &'p EntryPath {
        self.twins.get(path).map_or(path, |twin| &twin.at)
    }
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
        let (mut records, walked) = match opts.is_asked() {
            true => (self.file_records().await?, Walk::default()),
            false => self.records_and_files().await?,
        };
        let mut report = CheckoutReport::default();
        if opts.paths.is_empty() && opts.at.is_none() {
            report.refused.clone_from(&listing.refused);
        }
        let mut writer = Writer::new(&*self.space);
        let places = Places { here: walked.files, ..self.places(&listing, &records).await? };
        let changes = self.plan(opts, &listing, &places, &mut records, &mut report, &mut writer).await?;
        writer.flush().await?;
        self.carry_out(changes, &mut report, &mut writer).await?;
        report.written.sort_unstable();
        report.removed.sort_unstable();
        report.refused.sort_unstable();
        let changed: Vec<&EntryPath> = report.written.iter().chain(&report.removed).collect();
        self.agree_to_checkout(&changed).await?;
        report.twins = report.written.iter().filter_map(|path| places.twins.get(path).cloned()).collect();
        Ok(report)
    }

    async fn plan(
        &self,
        opts: &CheckoutOpts,
        listing: &Listing,
        places: &Places,
        records: &mut BTreeMap<EntryPath, Record>,
        report: &mut CheckoutReport,
        writer: &mut Writer<'_>,
    ) -> Result<Vec<FileChange>, FolderError> {
        let mut changes = Vec::new();
        let mut unsaved = Vec::new();
        let keeping = self.keeping().await?;
        let untracked = self.untracked().await?;
        let asked = opts.is_asked();
        // A file that goes may be found under the name of one that comes.
        let goes =
            |path: &EntryPath, record: &Record| places.gone.contains(path) || places.of(path) != record.on_disk(path);
        let going = records.iter().filter(|(path, record)| record.base.stat.is_some() && goes(path, record));
        let going: HashMap<u64, String> =
            going.filter_map(|(p, r)| Some((r.base.stat?.inode, fold(r.on_disk(p).as_str())))).collect();
        let known: HashSet<u64> = records.values().filter_map(|record| Some(record.base.stat?.inode)).collect();
        let wanted = self.wanted(opts, listing).await?;
        let files: Vec<Addr> = wanted.iter().map(|entry| entry.file.clone()).collect();
        let tips = tips_of(&*self.space, &files).await?;
        for entry in wanted {
            let mut refuse = |reason: String| report.refused.push(Refused { path: entry.path.to_string(), reason });
            let Some(frame) = opts.at.as_ref().or_else(|| tips.get(&entry.file)).cloned() else {
                refuse("its timeline is not here".into());
                continue;
            };
            let record = records.get(&entry.path);
            let mut to = places.of(&entry.path).clone();
            let from = record.filter(|r| r.base.stat.is_some()).map_or(&to, |r| r.on_disk(&entry.path)).clone();
            // Its name is free for it again, but the user has made another file there, which no snapshot takes as long
            // as this one has the name: this one stays where it stands until the user has given the other a name.
            if from != to
                && let Ok(OnDisk::File(stat)) = self.tree.look(&to)
                && !known.contains(&stat.inode)
                && matches!(self.tree.look(&from), Ok(OnDisk::File(_)))
            {
                to.clone_from(&from);
            }
            // The file is at its tip, as most are, and there: what the user made of it since is the next snapshot's.
            if !asked
                && from == to
                && let Some(record) = record
                && record.base.addr == frame
                && record.base.stat.is_some_and(|stat| keeping.fits(&stat, &entry))
                && places.here.contains_key(&from)
            {
                continue;
            }
            // Of an untracked file snapshots tell that it stays as it is.
            let stays = !asked && record.is_none() && untracked.contains(&to);
            let forbidden = entry.path.check().err().filter(|problem| !problem.is_unportable());
            let mut found = match &forbidden {
                Some(_) => OnDisk::Nothing,
                None => match self.tree.look(&from) {
                    Ok(found) => found,
                    // Where nothing is to come, a snapshot tells that it cannot be looked at, and that is all.
                    Err(_) if !asked && from == to && record.is_some_and(|r| r.base.addr == frame) => continue,
                    Err(error) => {
                        refuse(error.to_string());
                        continue;
                    }
                },
            };
            // A link that no checkout and no snapshot put there is in the way of whatever comes.
            if let OnDisk::File(Stat { link: true, .. }) = found
                && !record.is_some_and(|r| r.base.stat.is_some_and(|stat| stat.link))
            {
                found = OnDisk::Blocked(LINK);
            }
            if from == to
                && let Some(record) = record
                && record.base.addr == frame
            {
                let fits = record.base.stat.is_none_or(|stat| keeping.fits(&stat, &entry));
                if record.base.is_clean(found) && fits {
                    continue;
                }
                // The file is at its tip; what the user made of it since is the next snapshot's.
                if !asked && fits && found != OnDisk::Nothing {
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
            let never = Base { addr: entry.file.clone(), stat: None };
            let mut before = record.map_or_else(|| never.clone(), |r| r.base.clone());
            let target = Base { addr: frame.clone(), stat: None };
            if content.is_absent() {
                match (found, record) {
                    (OnDisk::File(_), Some(_)) => {
                        if !opts.force && !self.is_saved(&from, found, &before, None).await? {
                            unsaved.push(entry.path.to_string());
                            continue;
                        }
                        changes.push(FileChange { entry, at: from, frame, found, before, remove: true, moves: false });
                    }
                    // A file of the user's that no snapshot has seen, where others deleted theirs: nothing to do.
                    (OnDisk::File(_), None) => {}
                    _ if before == target => {}
                    _ => note(&entry.path, &entry.path, target, records, writer),
                }
                continue;
            }
            let leads = match &content {
                Content::Link(target) => leads_to(&to, &decode(target).unwrap_or_default()).err(),
                _ => None,
            };
            if let Some(problem) = forbidden.map(|p| p.to_string()).or_else(|| leads.map(str::to_owned)) {
                refuse(problem);
                continue;
            }
            if from != to {
                if matches!(found, OnDisk::File(_)) {
                    if !opts.force && !self.is_saved(&from, found, &before, Some(&content)).await? {
                        unsaved.push(entry.path.to_string());
                        continue;
                    }
                    let (entry, frame) = (entry.clone(), frame.clone());
                    changes.push(FileChange { entry, at: from, frame, found, before, remove: true, moves: true });
                } else {
                    writer.record(Record::key(&entry.path), None);
                    records.remove(&entry.path);
                }
                before = never;
                found = self.tree.look(&to).unwrap_or(OnDisk::Nothing);
            }
            if let OnDisk::File(stat) = found
                && before.stat.is_none()
                && going.get(&stat.inode).is_some_and(|folded| *folded == fold(to.as_str()))
            {
                found = OnDisk::Nothing;
            }
            match found {
                // What is in the way may be removed first; if not, renaming in refuses.
                OnDisk::Nothing | OnDisk::Directory | OnDisk::Blocked(_) => {
                    let found = OnDisk::Nothing;
                    changes.push(FileChange { entry, at: to, frame, found, before, remove: false, moves: false });
                }
                OnDisk::File(stat) => {
                    let now = self.tree.now()?;
                    if keeping.fits(&stat, &entry) && self.holds(&to, &content).await? {
                        let base = Base { addr: frame, stat: Some(stat.settled(now)) };
                        note(&entry.path, &to, base, records, writer);
                    } else if opts.force || self.is_saved(&to, found, &before, Some(&content)).await? {
                        changes.push(FileChange { entry, at: to, frame, found, before, remove: false, moves: false });
                    } else if !stays {
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

    /// Which files stand under other names than their own. Only files that are there count, so their frames are
    /// looked at where any names could meet.
    async fn places(&self, listing: &Listing, records: &BTreeMap<EntryPath, Record>) -> Result<Places, FolderError> {
        if twins(listing.entries.keys()).is_empty() {
            return Ok(Places::default());
        }
        let (mut there, mut gone) = (Vec::new(), BTreeSet::new());
        for entry in listing.entries.values() {
            if entry.path.check().is_err_and(|problem| !problem.is_unportable()) {
                continue;
            }
            let Some(tip) = self.space.tip(&entry.file).await? else { continue };
            let is_there = match records.get(&entry.path) {
                Some(record) if record.base.addr == tip.addr => record.base.stat.is_some(),
                _ => match Content::of(&*self.space, &node_at(&*self.space, &tip.addr).await?).await {
                    Ok(content) => !content.is_absent(),
                    Err(error) if error.bad_frame().is_some() => false,
                    Err(error) => return Err(error),
                },
            };
            if is_there {
                there.push(&entry.path);
            } else {
                gone.insert(entry.path.clone());
            }
        }
        Ok(Places { twins: twins(there), gone, ..Places::default() })
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

fn note(
    path: &EntryPath,
    at: &EntryPath,
    base: Base,
    records: &mut BTreeMap<EntryPath, Record>,
    writer: &mut Writer<'_>,
) {
    let record = Record::from(base).standing(path, at);
    writer.record(Record::key(path), Some(record.to_bytes()));
    records.insert(path.clone(), record);
}
