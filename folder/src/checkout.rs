//! Checking out: what the timelines say becomes files.

use crate::content::{Content, KeepNothing, node_at, read_file};
use crate::error::FolderError;
use crate::folder::{Entry, Folder, Listing, Progress, Refused};
use crate::path::{EntryPath, PathProblem};
use crate::record::{Base, Record};
use crate::tree::{Found, Stat, stat_of, sync_one};
use crate::writer::Writer;
use ibgib::Addr;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

/// Files that are written before their records are committed and they are renamed in.
const BATCH_FILES_MAX: usize = 512;
/// Bytes, likewise.
const BATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

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
struct Step {
    entry: Entry,
    frame: Addr,
    /// What stands there now; anything else at the time of the change means that somebody else was faster.
    found: Found,
    /// What was there before, for the record.
    before: Base,
    remove: bool,
}

/// A step whose temporary file is ready.
struct Ready {
    step: Step,
    /// The temporary file's name, and what it looked like when it was written; none for a removal.
    tmp: Option<(String, Stat)>,
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
        let steps = self.plan(opts, &listing, &mut records, &mut report, &mut writer).await?;
        let steps = without_twins(steps, &records, opts.unportable, &mut report);
        writer.flush().await?;
        self.carry_out(steps, &mut report, &mut writer).await?;
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
    ) -> Result<Vec<Step>, FolderError> {
        let mut steps = Vec::new();
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
                Some(problem) if !problem.is_unportable() => Found::Nothing,
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
                if !asked && exec && found != Found::Nothing {
                    continue;
                }
            }
            let content = match Content::claimed(&*self.space, &node_at(&*self.space, &frame).await?).await? {
                Ok(content) => content,
                Err(why) => {
                    refuse(why);
                    continue;
                }
            };
            let before = record.map_or_else(|| Base { addr: entry.file.clone(), stat: None }, |r| r.base.clone());
            let target = Base { addr: frame.clone(), stat: None };
            if content.is_absent() {
                match (found, record) {
                    (Found::File(_), Some(_)) => {
                        if !opts.force && !self.is_saved(&entry.path, found, &before, None).await? {
                            unsaved.push(entry.path.to_string());
                            continue;
                        }
                        steps.push(Step { entry, frame, found, before, remove: true });
                    }
                    // A file of the user's that no snapshot has seen, where others deleted theirs: nothing to do.
                    (Found::File(_), None) => {}
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
                Found::Nothing | Found::Directory | Found::Blocked(_) => {
                    steps.push(Step { entry, frame, found: Found::Nothing, before, remove: false });
                }
                Found::File(stat) => {
                    let now = self.tree.now()?;
                    if stat.exec == entry.exec && self.holds(&entry.path, &content).await? {
                        note(&entry.path, Base { addr: frame, stat: Some(stat.settled(now)) }, records, writer);
                    } else if opts.force || self.is_saved(&entry.path, found, &before, Some(&content)).await? {
                        steps.push(Step { entry, frame, found, before, remove: false });
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
        Ok(steps)
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
        found: Found,
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
        let fresh = read_file(&self.tree, path, &mut KeepNothing).await?;
        Ok(matches!(fresh, Ok(Some(fresh)) if fresh.is(content)))
    }

    /// Fails if one of `paths` holds work that is in no snapshot.
    pub(crate) async fn ensure_saved(&self, paths: &BTreeSet<EntryPath>) -> Result<(), FolderError> {
        let scan = self.scan(None).await?;
        let unsaved: Vec<String> = scan.taken.keys().filter(|p| paths.contains(p)).map(ToString::to_string).collect();
        if unsaved.is_empty() { Ok(()) } else { Err(FolderError::Unsaved(unsaved)) }
    }

    async fn carry_out(
        &self,
        mut steps: Vec<Step>,
        report: &mut CheckoutReport,
        writer: &mut Writer<'_>,
    ) -> Result<(), FolderError> {
        // A file may stand where a directory comes and the other way round: removals go first.
        steps.sort_by(|a, b| (!a.remove, &a.entry.path).cmp(&(!b.remove, &b.entry.path)));
        let of = steps.len();
        let (mut done, mut name) = (0, 0);
        let mut steps = steps.into_iter().peekable();
        while let Some(first) = steps.peek() {
            let remove = first.remove;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_FILES_MAX
                && bytes < BATCH_BYTES_MAX
                && let Some(step) = steps.next_if(|s| s.remove == remove)
            {
                name += 1;
                match self.prepare(step, name).await? {
                    Ok((ready, record, size)) => {
                        bytes += size;
                        writer.record(Record::key(&ready.step.entry.path), Some(record.to_bytes()));
                        batch.push(ready);
                    }
                    Err(refused) => report.refused.push(refused),
                }
                done += 1;
                self.tell(Progress::Written { done, of });
            }
            // Before the first rename: whatever happens then, the record tells which frame each file is at. The
            // final records of the batch before go along, so its renames must have come to disk, and the contents
            // now, or after a power cut lost files would look like the user's edits.
            self.tree.sync()?;
            writer.flush().await?;
            // A change of a file after its rename shows in its time.
            if let Some(newest) = batch.iter().filter_map(|ready| Some(ready.tmp.as_ref()?.1.mtime)).max() {
                self.tree.now_after(newest)?;
            }
            let mut arrived = Vec::new();
            for ready in batch {
                match self.finish(&ready) {
                    Ok(stat) => arrived.push((ready.step, stat)),
                    Err(reason) => {
                        let path = ready.step.entry.path;
                        writer.record(Record::key(&path), Some(Record::from(ready.step.before).to_bytes()));
                        report.refused.push(Refused { path: path.to_string(), reason });
                    }
                }
            }
            let newest = arrived.iter().filter_map(|(_, stat)| stat.map(|s| s.ctime.max(s.mtime))).max();
            let now = self.tree.now_after(newest.unwrap_or(0))?;
            for (step, stat) in arrived {
                let base = Base { addr: step.frame, stat: stat.map(|s| s.settled(now)) };
                writer.record(Record::key(&step.entry.path), Some(Record::from(base).to_bytes()));
                if remove { &mut report.removed } else { &mut report.written }.push(step.entry.path);
            }
        }
        if of > 0 {
            self.tree.sync()?;
        }
        writer.flush().await
    }

    /// Writes a step's temporary file, and the record that names both the frame there and the frame to come.
    async fn prepare(&self, step: Step, name: u64) -> Result<Result<(Ready, Record, u64), Refused>, FolderError> {
        if step.remove {
            let next = Base { addr: step.frame.clone(), stat: None };
            let record = Record { base: step.before.clone(), next: Some(next) };
            return Ok(Ok((Ready { step, tmp: None }, record, 0)));
        }
        let tmp = format!("{}-{name}", std::process::id());
        let like = matches!(step.found, Found::File(_)).then(|| self.tree.mode(&step.entry.path)).flatten();
        let refused = |reason: String| Ok(Err(Refused { path: step.entry.path.to_string(), reason }));
        let mut file = match self.tree.tmp_file(&tmp, like, step.entry.exec) {
            Ok(file) => file,
            Err(error) => return Err(FolderError::io(self.tree.path())(error)),
        };
        let content = Content::of(&*self.space, &node_at(&*self.space, &step.frame).await?).await?;
        let written = content.read(&*self.space, &mut |bytes| file.write_all(bytes)).await;
        let meta = match written {
            Ok(Ok(())) => sync_one(&file).and_then(|()| file.metadata()),
            Ok(Err(error)) => Err(error),
            Err(error @ (FolderError::BadContent { .. } | FolderError::NotFound(_))) => {
                self.tree.drop_tmp(&tmp);
                return refused(error.to_string());
            }
            Err(error) => return Err(error),
        };
        // A full disk fails every file alike.
        let stat = stat_of(&meta.map_err(FolderError::io(self.tree.path()))?);
        let next = Base { addr: step.frame.clone(), stat: Some(stat) };
        let record = Record { base: step.before.clone(), next: Some(next) };
        Ok(Ok((Ready { step, tmp: Some((tmp, stat)) }, record, stat.size)))
    }

    fn finish(&self, ready: &Ready) -> Result<Option<Stat>, String> {
        let (path, found) = (&ready.step.entry.path, ready.step.found);
        match &ready.tmp {
            None => self.tree.remove(path, found).map(|()| None),
            Some((tmp, written)) => {
                let renamed = self.tree.rename_in(tmp, *written, path, found);
                if renamed.is_err() {
                    self.tree.drop_tmp(tmp);
                }
                renamed.map(Some)
            }
        }
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
    steps: Vec<Step>,
    records: &BTreeMap<EntryPath, Record>,
    allowed: bool,
    report: &mut CheckoutReport,
) -> Vec<Step> {
    if allowed {
        return steps;
    }
    let going: BTreeSet<&EntryPath> = steps.iter().filter(|s| s.remove).map(|s| &s.entry.path).collect();
    let mut names: HashMap<String, String> = HashMap::new();
    let here = |path: &EntryPath| records.get(path).is_some_and(|r| r.base.stat.is_some());
    for path in records.keys().filter(|p| here(p) && !going.contains(p)) {
        for (folded, name) in path.folded_prefixes() {
            names.entry(folded).or_insert_with(|| name.to_owned());
        }
    }
    let mut kept = Vec::new();
    for step in steps {
        let path = &step.entry.path;
        let twin = path.folded_prefixes().find_map(|(folded, name)| names.get(&folded).filter(|n| *n != name).cloned());
        match twin {
            Some(twin) if !step.remove && !here(path) => {
                let reason = PathProblem::Twin(twin).to_string();
                report.refused.push(Refused { path: path.to_string(), reason });
            }
            _ => {
                if !step.remove {
                    for (folded, name) in path.folded_prefixes() {
                        names.entry(folded).or_insert_with(|| name.to_owned());
                    }
                }
                kept.push(step);
            }
        }
    }
    kept
}
