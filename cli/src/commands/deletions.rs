//! Stopping a sync that would delete more than half of a folder's files.

use super::line::{Line, after, direction};
use crate::args;
use crate::codes::Code;
use crate::device::Device;
use crate::error::CliError;
use crate::output::Output;
use crate::report::Moved as MovedFiles;
use ibgib::{Addr, IbGib, Verified};
use ibgib_folder::{DELETIONS_MIN, Folder, content_word, count_deleted, is_mass_delete};
use ibgib_peer::{Guard, Moved, Synced};
use ibgib_saga::{Action, Direction, Scope, Summary};
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

/// One saga, unless it would carry too many deletions. Only where so many timelines differ that it could, what it would
/// do is looked at first; and what comes is taken then, and looked at, before anything goes.
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
    let looked = line.ask(device, scope.clone(), way, false, Some(DELETIONS_MIN - 1)).await?;
    if looked.summary.saga.is_some() || looked.summary.timelines.is_empty() {
        return Ok(looked);
    }
    // What it took to look is told with what the sagas take; nothing has moved yet.
    let asked = Summary { timelines: Vec::new(), nodes_sent: 0, nodes_received: 0, ..looked.summary.clone() };
    let asked = Synced { summary: asked, ..looked.clone() };
    let folder = device.folder(out).await?;
    let files: HashSet<Addr> = folder.entries().await?.into_iter().map(|entry| entry.file).collect();
    let here = folder.count().await?;
    if way.offers() {
        let too_many = sends_too_many(&folder, &files, here, &looked.summary).await?;
        too_many.map_or(Ok(()), Err)?;
    }
    if !way.adopts() {
        return line.run(device, scope, way, false).await.map(|then| after(Some(asked), then));
    }
    let guard = Arc::new(Taken { files, here, stopped: OnceLock::new() });
    line.connection.set_guard(Some(Arc::clone(&guard) as _));
    let comes = looked.summary.timelines.iter().any(|line| matches!(line.action, Action::Pulled | Action::Merged));
    // What has come since, although nothing did when it was looked for, is looked at, too.
    let mut done = match way {
        Direction::Both if !comes => line.run(device, scope.clone(), way, false).await,
        _ => line.run(device, scope.clone(), Direction::Pull, false).await,
    };
    if let (Ok(first), Direction::Both, true) = (&done, way, comes) {
        let first = first.clone();
        done = line.run(device, scope, way, false).await.map(|then| after(Some(first), then));
    }
    line.connection.set_guard(None);
    match (done, guard.stopped.get()) {
        (Err(_), Some(deleted)) => Err(mass_delete(Way::Here { sent: !comes }, *deleted, here)),
        (done, _) => done.map(|then| after(Some(asked), then)),
    }
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
        let files: HashSet<Addr> = folder.entries().await?.into_iter().map(|entry| entry.file).collect();
        if let Some(too_many) = sends_too_many(&folder, &files, here, summary).await? {
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
    files: &HashSet<Addr>,
    here: usize,
    summary: &Summary,
) -> Result<Option<CliError>, CliError> {
    let (mut moves, mut gone, mut new) = (Vec::new(), 0, 0);
    for line in summary.timelines.iter().filter(|line| line.action == Action::Pushed && files.contains(&line.tjp)) {
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

/// Counts what a saga would delete here, and stops it when that is too much.
#[derive(Debug)]
struct Taken {
    /// The timelines of the folder's files.
    files: HashSet<Addr>,
    /// Files that there are here.
    here: usize,
    /// How many it would have deleted.
    stopped: OnceLock<usize>,
}

impl Guard for Taken {
    fn holds(&self, frame: &Verified<IbGib>) -> Option<String> {
        content_word(frame)
    }

    fn allows(&self, moves: &[Moved]) -> bool {
        // What is no file of the folder yet is none that it loses, but may be one that has another name.
        let counted = moves.iter().filter(|moved| moved.before.is_none() || self.files.contains(&moved.tjp));
        let deleted = count_deleted(counted.map(|moved| (moved.before.as_deref(), moved.after.as_deref())));
        if !is_mass_delete(deleted, self.here) {
            return true;
        }
        // Told once: what follows is the same saga.
        let _ = self.stopped.set(deleted);
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
