//! What a sync is made of: for the command that runs one, for a watcher, and for a clone.

use super::accept::accept;
use super::deletions::{carry, check_disk, would_stop};
use super::guard;
use super::line::{Line, Target, after, direction};
use super::moved::{Foreseen, gone_there, moved};
use super::telling::{Record, Told, keep_told};
use crate::args::{self, Args};
use crate::brief::Known;
use crate::codes::Code;
use crate::contact::Contact;
use crate::device::{Device, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::folders::choose;
use crate::output::Output;
use crate::report::SyncReport;
use crate::screen::Headway;
use ibgib::Addr;
use ibgib_folder::{CheckoutOpts, CheckoutReport, Folder, SnapshotReport};
use ibgib_peer::entropy::now_ms;
use ibgib_peer::{Progress, Retention, SenderIdentity, SyncConnection, Synced, WebSocketRemote, collect_when_due};
use ibgib_saga::{Direction, Limits, SagaStatus, Scope};
use ibgib_spaces::repair;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a sync did, and what is kept of it once that is told.
pub(super) struct Done {
    pub(super) report: SyncReport,
    /// Conflicts that were told, and what the server has.
    pub(super) records: Vec<Record>,
}

impl Done {
    /// Tells it. Whoever is killed before the end of this tells the conflicts after the next sync.
    pub(super) async fn tell(self, device: &Device, out: &Output) -> Result<Exit, CliError> {
        out.report(&self.report)?;
        self.keep(device).await
    }

    /// For what is not worth telling.
    pub(super) async fn keep(self, device: &Device) -> Result<Exit, CliError> {
        keep_told(device, self.records).await?;
        Ok(self.report.exit())
    }
}

/// One sync with a connection of its own.
pub(super) async fn once(args: &Args, out: &Output, device: &mut Device, sync: &args::Sync) -> Result<Done, CliError> {
    let started = Instant::now();
    let target = Target::of(args, device, sync).await?;
    let identity = SenderIdentity { tjp: device.identity().await?, secret: device.secret_source(args)? };
    if !sync.dry_run && !repair::known(&*device.space).await?.is_empty() {
        mend(device, out, &target.remote, &identity).await?;
    }
    let done = round(args, out, device, sync, (&target, &identity), started).await;
    match done {
        // What is damaged here the server may have whole.
        Err(error) if error.exit == Exit::Integrity && !sync.dry_run => {
            repair::check(&*device.space).await?;
            if mend(device, out, &target.remote, &identity).await? == 0 {
                return Err(error);
            }
            round(args, out, device, sync, (&target, &identity), started).await
        }
        done => done,
    }
}

/// Asks the server for what is known to be damaged here; answers how many nodes are whole again.
async fn mend(
    device: &Device,
    out: &Output,
    remote: &Arc<WebSocketRemote>,
    identity: &SenderIdentity,
) -> Result<u64, CliError> {
    let remote = Arc::clone(remote);
    let mut connection = SyncConnection::new(remote, Limits::default());
    let mended = connection.mend(&device.space, Some(identity.clone())).await;
    connection.close().await;
    let mended = mended?;
    if mended > 0 {
        out.say(&format!("{mended} damaged nodes were replaced by the server's"));
    }
    Ok(mended)
}

/// Snapshot, saga, checkout.
async fn round(
    args: &Args,
    out: &Output,
    device: &mut Device,
    sync: &args::Sync,
    (target, identity): (&Target, &SenderIdentity),
    started: Instant,
) -> Result<Done, CliError> {
    let screen = out.screen().clone();
    let progress: Progress = Arc::new(move |status| headway(status).iter().for_each(|headway| screen.show(headway)));
    let remote = &target.remote;
    let mut connection = SyncConnection::new(Arc::clone(remote) as _, Limits::default()).on_progress(Some(progress));
    let done = exchange(args, out, device, sync, &mut connection, identity.clone(), target).await;
    connection.close().await;
    out.screen().clear();
    let Exchanged { synced, taken, contact: mut records, gone } = done?;
    let files = bring(device, out, sync).await?;
    let mut conflicts = Vec::new();
    if !sync.dry_run {
        let mut told = Told::read(&*device.space).await?;
        conflicts = told.news(device, out).await?;
        records.push(told.record());
    }
    let foreseen = sync.dry_run.then_some(Foreseen { server: remote, gone: &gone });
    let moved = moved(device, out, &synced, &taken, (direction(device, sync), foreseen)).await?;
    let stop = would_stop(device, out, sync, &synced.summary, &moved).await?;
    if !sync.dry_run {
        guard::renew(args, device).await;
        // What came and went is settled, whatever becomes of this.
        if let Err(error) = collect_when_due(&*device.space, Retention::default(), now_ms()).await {
            tracing::warn!(%error, "sessions that are over could not be forgotten");
        }
    }
    let took = started.elapsed();
    let report = SyncReport {
        synced,
        taken,
        files,
        moved,
        conflicts,
        took,
        dry_run: sync.dry_run,
        stop,
        key: remote.news_of_key(),
    };
    Ok(Done { report, records })
}

/// Asks the server what differs, and moves nothing.
pub(super) async fn look(args: &Args, out: &Output, device: &mut Device) -> Result<(), CliError> {
    let sync = args::Sync { dry_run: true, ..args::Sync::plain() };
    let target = Target::of(args, device, &sync).await?;
    let identity = SenderIdentity { tjp: device.identity().await?, secret: device.secret_source(args)? };
    let mut connection = SyncConnection::new(Arc::clone(&target.remote) as _, Limits::default());
    let done = exchange(args, out, device, &sync, &mut connection, identity, &target).await;
    connection.close().await;
    keep_told(device, done?.contact).await
}

/// What a snapshot took and what went over the line.
pub(super) struct Exchanged {
    pub(super) synced: Synced,
    pub(super) taken: SnapshotReport,
    /// What the server told that it has; to be kept.
    pub(super) contact: Vec<Record>,
    /// Files that were made and deleted elsewhere, and of which nothing came.
    gone: HashSet<Addr>,
}

/// The snapshot, and what either side lacks.
///
/// A device that joined a folder and never fetched it does that first. Only then its files are taken: what the folder
/// has already is nobody's edit, and a snapshot can relate to the folder what it has not.
pub(super) async fn exchange(
    args: &Args,
    out: &Output,
    device: &mut Device,
    sync: &args::Sync,
    connection: &mut SyncConnection,
    identity: SenderIdentity,
    target: &Target,
) -> Result<Exchanged, CliError> {
    check_disk(device, out, sync).await?;
    if !sync.dry_run
        && let Err(error) = accept(&device.layout, &target.remote, &identity.tjp).await
    {
        // Without the server, edits are taken all the same.
        take(device, out, sync).await?;
        return Err(error);
    }
    let until = sync.timeout.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
    let mut line = Line { args, sync, target, connection, identity, until };
    let known = device.folder_tjp().await?;
    if let (Some(known), Some(meant)) = (&known, &sync.folder) {
        check_folder(device, out, known, meant).await?;
    }
    let folder = match known {
        None if !sync.all => Some(line.find_folder(device).await?),
        known => known,
    };
    let fetched = match &folder {
        Some(folder) => device.space.tip(folder).await?.is_some(),
        None => true,
    };
    let mut first = None;
    if let (Some(folder), false) = (&folder, fetched) {
        if sync.push {
            return Err(CliError::new(Code::NoFolder, "this device has joined the folder and never fetched it")
                .about(folder.as_str())
                .hint("run 'ibgib sync' once without --push"));
        }
        if !sync.no_snapshot && !sync.dry_run {
            match line.run(device, Scope::Under(folder.clone()), Direction::Pull, false).await {
                Ok(synced) => first = Some(synced),
                Err(error) => {
                    // Without the server, edits are taken all the same.
                    take(device, out, sync).await?;
                    return Err(error);
                }
            }
        }
    }
    let taken = take(device, out, sync).await?;
    let scope = scope(args, device, sync, folder.clone()).await?;
    let whole = !matches!(scope, Scope::Only(_));
    let synced = carry(device, out, &mut line, scope).await?;
    let mut contact = Vec::new();
    let way = direction(device, sync);
    let gone = match sync.dry_run || !way.adopts() {
        true => gone_there(&target.remote, &synced.summary).await,
        false => HashSet::new(),
    };
    if folder.is_some() && whole {
        let before = Contact::read(&*device.space).await?;
        let (told, now) = ((&synced.summary, &gone), moment().timestamp());
        contact = before.learn(&*device.space, told, way, sync.dry_run, now).await?;
    }
    Ok(Exchanged { synced: after(first, synced), taken, contact, gone })
}

/// Fails when another folder is named than the device has: it syncs no other.
async fn check_folder(device: &Device, out: &Output, known: &Addr, meant: &str) -> Result<(), CliError> {
    let name = device.folder(out).await?.names().await?.folder;
    if name.is_none() && !meant.contains('^') {
        // Not fetched yet: what it is called is not known.
        return Ok(());
    }
    let own = Known { tjp: known.clone(), name };
    choose(std::slice::from_ref(&own), meant, "this device").map(drop).map_err(|_| {
        CliError::usage(format!("this device has the folder {own}, and not {meant:?}"))
            .about(meant)
            .hint("clone the other folder into a directory of its own: 'ibgib clone URL DIR --folder NAME'")
    })
}

/// What a saga is doing, for people; nothing between two sagas.
fn headway(status: SagaStatus) -> Option<Headway> {
    let doing = match status.phase {
        "connect" => "connecting",
        "plan" => "comparing",
        "send" => "sending",
        "wait" => "waiting for the server",
        "receive" => "receiving",
        "commit" => "committing",
        _ => return None,
    };
    Some(Headway { doing, things: "nodes", done: status.nodes, of: status.of, bytes: status.bytes, bytes_of: 0 })
}

/// The snapshot that comes first.
async fn take(device: &Device, out: &Output, sync: &args::Sync) -> Result<SnapshotReport, CliError> {
    if sync.no_snapshot || sync.dry_run || device.folder_tjp().await?.is_none() {
        return Ok(SnapshotReport::default());
    }
    Ok(device.folder(out).await?.snapshot(&mut moment).await?)
}

/// What came from the server becomes files.
pub(super) async fn bring(device: &Device, out: &Output, sync: &args::Sync) -> Result<CheckoutReport, CliError> {
    if sync.no_checkout || sync.dry_run {
        return Ok(CheckoutReport::default());
    }
    check_out(device, out).await
}

/// What to sync: this device's folder and what it relates to, unless more or less was asked for.
pub(super) async fn scope(
    args: &Args,
    device: &Device,
    sync: &args::Sync,
    folder: Option<Addr>,
) -> Result<Scope, CliError> {
    if sync.only.is_empty() {
        return Ok(folder.filter(|_| !sync.all).map_or(Scope::All, Scope::Under));
    }
    let mut out = Vec::new();
    for text in &sync.only {
        if text.contains('^') && !text.starts_with("./") {
            out.push(parse_addr(text)?);
            continue;
        }
        let folder = Folder::open(Arc::clone(&device.space), &device.root).await?;
        let path = device.entry(args, Path::new(text))?;
        // Also a mistyped path has a timeline that it would get: only one that is there counts.
        folder.tip(&path).await?;
        out.push(folder.file_tjp(&path)?);
    }
    Ok(Scope::Only(out))
}

/// Checks everything out but files with work that no snapshot holds.
async fn check_out(device: &Device, out: &Output) -> Result<CheckoutReport, CliError> {
    if device.folder_tjp().await?.is_none() {
        return Ok(CheckoutReport::default());
    }
    let folder = device.folder(out).await?;
    Ok(folder.checkout(&CheckoutOpts { keep_unsaved: true, ..CheckoutOpts::default() }).await?)
}
