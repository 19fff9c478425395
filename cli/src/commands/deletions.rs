//! Stopping a sync that would delete more than half of a folder's files.

use super::line::{Line, after, direction};
use crate::args;
use crate::codes::Code;
use crate::device::Device;
use crate::error::CliError;
use crate::output::Output;
use crate::report::Moved as MovedFiles;
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_folder::{DELETIONS_MIN, Folder, content_word, count_deleted, is_mass_delete};
use ibgib_peer::{Guard, Moved, Synced};
use ibgib_saga::{Action, Direction, Scope, Summary, TimelineSummary};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

/// Which way deletions go.
#[derive(Clone, Copy, Debug)]
enum Way {
    ToServer,
    /// What is new here may have been sent already.
    Here {
        sent: bool,
    },
}

/// Fails when so many files are gone from the disk that nobody may have meant it: then not even a snapshot is taken.
pub(super) async fn check_disk(device: &Device, out: &Output, sync: &args::Sync) -> Result<(), CliError> {
    let sends = direction(device, sync).offers() && !sync.no_snapshot && !sync.dry_run;
    if sync.allow_mass_delete || !sends || device.folder_tjp().await?.is_none() {
        return Ok(());
    }
    match device.folder(out).await?.mass_deleted().await? {
        Some((deleted, of)) => Err(mass_delete(Way::ToServer, deleted, of)),
        None => Ok(()),
    }
}

/// One saga, unless it would carry too many deletions. Where so much would come that it could, that is taken first, and
/// looked at, before anything goes.
pub(super) async fn carry(
    device: &mut Device,
    out: &Output,
    line: &mut Line<'_>,
    scope: Scope,
) -> Result<Synced, CliError> {
    let (sync, way) = (line.sync, direction(device, line.sync));
    if sync.allow_mass_delete || sync.dry_run || device.folder_tjp().await?.is_none() {
        return line.run(device, scope, way, sync.dry_run).await;
    }
    let guard = Arc::new(DeletionGuard {
        folder: device.folder(out).await?,
        way,
        files: OnceLock::new(),
        stopped: OnceLock::new(),
    });
    line.connection.set_guard(Some(Arc::clone(&guard) as _));
    let mut sent = way.offers();
    let done = carry_guarded(device, line, scope, &guard, &mut sent).await;
    line.connection.set_guard(None);
    match (done, guard.stopped.get()) {
        (Err(_), Some((deleted, of))) => Err(mass_delete(Way::Here { sent }, *deleted, *of)),
        (done, _) => done,
    }
}

async fn carry_guarded(
    device: &mut Device,
    line: &mut Line<'_>,
    scope: Scope,
    guard: &DeletionGuard,
    sent: &mut bool,
) -> Result<Synced, CliError> {
    let way = guard.way;
    let looked = line.ask(device, scope.clone(), way, false, Some(DELETIONS_MIN - 1)).await?;
    if looked.summary.saga.is_some() || looked.summary.timelines.is_empty() {
        return Ok(looked);
    }
    // Nothing has moved yet. The files are read here at the latest: without them nothing that comes would be looked at.
    let files = guard.files().await?;
    if way.offers()
        && let Some(too_many) = sends_too_many(&guard.folder, files, &looked.summary.timelines).await?
    {
        return Err(too_many);
    }
    // What it took to look is told with what the sagas take.
    let asked = Summary { timelines: Vec::new(), nodes_sent: 0, nodes_received: 0, ..looked.summary.clone() };
    let asked = Some(Synced { summary: asked, ..looked });
    if way != Direction::Both {
        return line.run(device, scope, way, false).await.map(|then| after(asked, then));
    }
    *sent = false;
    let first = line.run(device, scope.clone(), Direction::Pull, false).await?;
    // What has come since is looked at, too.
    *sent = true;
    let then = line.run(device, scope, way, false).await?;
    Ok(after(Some(after(asked, first)), then))
}

/// What would stop a sync that only tells what it would do.
pub(super) async fn would_stop(
    device: &Device,
    out: &Output,
    sync: &args::Sync,
    summary: &Summary,
    moved: &MovedFiles,
) -> Result<Option<CliError>, CliError> {
    if sync.allow_mass_delete || !sync.dry_run || device.folder_tjp().await?.is_none() {
        return Ok(None);
    }
    let (way, folder) = (direction(device, sync), device.folder(out).await?);
    let here = folder.count().await?;
    if way.offers() {
        if !sync.no_snapshot
            && let Some((deleted, of)) = folder.mass_deleted().await?
        {
            return Ok(Some(mass_delete(Way::ToServer, deleted, of)));
        }
        let files = folder.entries().await?.into_iter().map(|entry| entry.file).collect();
        if let Some(too_many) = sends_too_many(&folder, &Files { files, here }, &summary.timelines).await? {
            return Ok(Some(too_many));
        }
    }
    // What comes is not here: a deletion beside something new may be another name of it.
    let count = |what: &str| moved.received.iter().filter(|file| file.change == what).count();
    let deleted = count("deleted").saturating_sub(count("added"));
    Ok(is_mass_delete(deleted, here).then(|| mass_delete(Way::Here { sent: false }, deleted, here)))
}

/// Why nothing is sent, when that would delete too much at the server.
async fn sends_too_many(
    folder: &Folder,
    Files { files, here }: &Files,
    timelines: &[TimelineSummary],
) -> Result<Option<CliError>, CliError> {
    let (mut moves, mut gone, mut new) = (Vec::new(), 0, 0);
    for line in timelines.iter().filter(|line| line.action == Action::Pushed && files.contains(&line.tjp)) {
        let Some(tip) = &line.before else { continue };
        let (before, now) = folder.words_at(tip).await?;
        match (&now, line.new_there) {
            (None, true) => continue,
            (None, false) => gone += 1,
            (Some(_), true) => new += 1,
            (Some(_), false) => continue,
        }
        moves.push((before, now));
    }
    let deleted = count_deleted(moves.iter().map(|(before, now)| (before.as_deref(), now.as_deref())));
    // What the server has.
    let of = here.saturating_sub(new) + gone;
    Ok(is_mass_delete(deleted, of).then(|| mass_delete(Way::ToServer, deleted, of)))
}

/// The timelines of a folder's files, and how many files there are here.
#[derive(Debug)]
struct Files {
    files: HashSet<Addr>,
    here: usize,
}

/// Stops a saga that would delete too much, here or at the server.
#[derive(Debug)]
struct DeletionGuard {
    folder: Folder,
    way: Direction,
    files: OnceLock<Files>,
    /// How many it would have deleted here, of how many.
    stopped: OnceLock<(usize, usize)>,
}

impl DeletionGuard {
    /// Read when so much differs that it matters.
    async fn files(&self) -> Result<&Files, CliError> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = self.folder.entries().await?.into_iter().map(|entry| entry.file).collect();
        let here = self.folder.count().await?;
        Ok(self.files.get_or_init(|| Files { files, here }))
    }

    /// Whether a saga in both directions sends and takes at once: it sends no more deletions than may be, and brings less
    /// than could be too many.
    async fn is_harmless(&self, foreseen: &[TimelineSummary]) -> Result<bool, CliError> {
        let files = self.files().await?;
        if self.way.offers() && sends_too_many(&self.folder, files, foreseen).await?.is_some() {
            return Ok(false);
        }
        let comes = |line: &&TimelineSummary| matches!(line.action, Action::Pulled | Action::Merged);
        let coming = foreseen.iter().filter(comes).filter(|line| files.files.contains(&line.tjp)).count();
        Ok(self.way != Direction::Both || !is_mass_delete(coming, files.here))
    }
}

#[async_trait]
impl Guard for DeletionGuard {
    async fn goes_on(&self, foreseen: &[TimelineSummary]) -> bool {
        // What goes wrong here is looked at again, and told, before anything is done.
        self.is_harmless(foreseen).await.unwrap_or(false)
    }

    fn holds(&self, frame: &Verified<IbGib>) -> Option<String> {
        // Where so little differs that nobody has looked, nobody asks either.
        self.files.get().and_then(|_| content_word(frame))
    }

    fn allows(&self, moves: &[Moved]) -> bool {
        // So few that nobody has looked.
        let Some(Files { files, here }) = self.files.get() else { return true };
        // What is no file of the folder yet is none that it loses, but may be one that has another name.
        let counted = moves.iter().filter(|moved| moved.before.is_none() || files.contains(&moved.tjp));
        let deleted = count_deleted(counted.map(|moved| (moved.before.as_deref(), moved.after.as_deref())));
        if !is_mass_delete(deleted, *here) {
            return true;
        }
        // Told once: what follows is the same saga.
        let _ = self.stopped.set((deleted, *here));
        false
    }
}

/// The failure that names what would be deleted, where, and what to do.
fn mass_delete(way: Way, deleted: usize, of: usize) -> CliError {
    let (message, hint) = match way {
        Way::ToServer => (
            format!("{deleted} of {of} files were deleted here; nothing was sent to the server or taken from it"),
            "if that is meant: 'ibgib sync --allow-mass-delete'. If not: 'ibgib checkout' brings back the files, or \
             'ibgib undo' if a snapshot has taken the deletion",
        ),
        Way::Here { sent } => (
            format!(
                "the server has deletions of {deleted} of {of} files; nothing was taken from it{}",
                if sent { "" } else { " or sent to it" }
            ),
            "if that is meant: 'ibgib sync --allow-mass-delete'. If not: 'ibgib undo' on the device that deleted them, \
             and sync there",
        ),
    };
    CliError::new(Code::MassDelete, message).hint(hint)
}
