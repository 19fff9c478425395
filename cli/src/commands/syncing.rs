//! What a sync is made of: for the command that runs one, for a watcher, and for a clone.

use crate::args::{self, Args};
use crate::device::{Device, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::SyncReport;
use crate::secret;
use ibgib::Addr;
use ibgib_folder::{CheckoutOpts, CheckoutReport, Folder, FolderError, SnapshotReport};
use ibgib_peer::{SenderIdentity, SyncConnection, SyncOptions, SyncSagaCoordinator, WebSocketRemote};
use ibgib_saga::{Direction, Limits, Misuse, SagaError, Scope};
use ibgib_spaces::{Kind, repair};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One sync with a connection of its own.
pub(super) async fn once(
    args: &Args,
    out: &Output,
    mut device: Device,
    sync: &args::Sync,
) -> Result<SyncReport, CliError> {
    let started = Instant::now();
    let url = server(&device, sync)?;
    let remote = Arc::new(WebSocketRemote::new(&url, Limits::default().message_bytes_max)?);
    let identity = SenderIdentity { tjp: device.identity().await?, secret: secret::source(args, &mut device)? };
    if !sync.dry_run && !repair::known(&*device.space).await?.is_empty() {
        mend(&device, out, &remote, &identity).await?;
    }
    let done = round(args, out, &mut device, sync, (&url, &remote, &identity), started).await;
    match done {
        // What is damaged here the server may have whole.
        Err(error) if error.exit == Exit::Integrity && !sync.dry_run => {
            repair::check(&*device.space).await?;
            if mend(&device, out, &remote, &identity).await? == 0 {
                return Err(error);
            }
            round(args, out, &mut device, sync, (&url, &remote, &identity), started).await
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
    (url, remote, identity): (&str, &Arc<WebSocketRemote>, &SenderIdentity),
    started: Instant,
) -> Result<SyncReport, CliError> {
    let taken = take(device, out, sync).await?;
    let bar = out.bar();
    let shown = bar.clone();
    let options = SyncOptions {
        identity: Some(identity.clone()),
        scope: scope(args, device, sync).await?,
        direction: direction(sync),
        dry_run: sync.dry_run,
        progress: Some(Arc::new(move |phase| shown.set_message(phase))),
        ..SyncOptions::default()
    };
    let saga = SyncSagaCoordinator::new(Arc::clone(&device.space)).sync(Arc::clone(remote) as _, options);
    let done = in_time(sync, saga.done()).await;
    bar.finish_and_clear();
    let synced = reached(device, sync, url, done)?;
    let files = bring(device, out, sync).await?;
    Ok(SyncReport { synced, taken, files, took: started.elapsed(), dry_run: sync.dry_run })
}

/// The server to sync with.
pub(super) fn server(device: &Device, sync: &args::Sync) -> Result<String, CliError> {
    match (&sync.url, device.remote()) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(setting)) => Ok(setting.value),
        (None, None) => Err(CliError::usage("no server to sync with")
            .hint("name it once: 'ibgib sync http://HOST:PORT'; it is remembered")),
    }
}

/// The snapshot that comes first.
pub(super) async fn take(device: &Device, out: &Output, sync: &args::Sync) -> Result<SnapshotReport, CliError> {
    if sync.no_snapshot || sync.dry_run || device.folder_tjp().await?.is_none() {
        return Ok(SnapshotReport::default());
    }
    Ok(device.folder(out).await?.snapshot(&mut moment).await?)
}

pub(super) fn direction(sync: &args::Sync) -> Direction {
    match (sync.push, sync.pull) {
        (true, _) => Direction::Push,
        (_, true) => Direction::Pull,
        _ => Direction::Both,
    }
}

/// Waits no longer than the user wants.
pub(super) async fn in_time<T>(
    sync: &args::Sync,
    work: impl Future<Output = Result<T, SagaError>>,
) -> Result<T, SagaError> {
    match sync.timeout {
        None => work.await,
        Some(seconds) => {
            tokio::time::timeout(Duration::from_secs(seconds), work).await.unwrap_or(Err(SagaError::TimedOut))
        }
    }
}

/// Remembers the server that the command line names, for the next time. One that answered is a space server, also if
/// it refused. If nobody answered, its name may be mistyped, so it is remembered only where no other is; what
/// turned out to be no space server, or cannot be spoken to, never is.
pub(super) fn reached<T>(
    device: &mut Device,
    sync: &args::Sync,
    url: &str,
    done: Result<T, SagaError>,
) -> Result<T, CliError> {
    let no_server = matches!(done, Err(SagaError::PeerNoServer(_) | SagaError::User(Misuse::Url(_) | Misuse::Tls(_))));
    let done = done.map_err(CliError::from);
    let right = match &done {
        Err(_) if no_server => false,
        Err(error) if error.exit == Exit::Peer => device.remote().is_none(),
        _ => true,
    };
    if right && sync.url.is_some() && !sync.dry_run {
        device.remember(url)?;
    }
    done.map_err(|error| error.about_if_none(url))
}

/// What came from the server becomes files.
pub(super) async fn bring(device: &Device, out: &Output, sync: &args::Sync) -> Result<CheckoutReport, CliError> {
    if !sync.dry_run && device.folder_tjp().await?.is_none() {
        bind(device, sync).await?;
    }
    if sync.no_checkout || sync.dry_run {
        return Ok(CheckoutReport::default());
    }
    check_out(device, out).await
}

/// What to sync.
pub(super) async fn scope(args: &Args, device: &Device, sync: &args::Sync) -> Result<Scope, CliError> {
    if sync.only.is_empty() {
        return Ok(Scope::All);
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

/// A device that was cloned before the server let it in learns its folder now.
async fn bind(device: &Device, sync: &args::Sync) -> Result<(), CliError> {
    let tips = device.space.tips(Some(Kind::Living)).await?;
    let mut folders: Vec<Addr> = tips.into_iter().map(|t| t.tjp).filter(|tjp| tjp.ib() == "folder").collect();
    if let Some(chosen) = &sync.folder {
        let chosen = parse_addr(chosen)?;
        folders.retain(|folder| *folder == chosen);
        if folders.is_empty() {
            return Err(CliError::not_found("folder", chosen.as_str()));
        }
    }
    match &folders[..] {
        [] => Ok(()),
        [folder] => {
            Folder::join(Arc::clone(&device.space), &device.root, folder.clone()).await?;
            Ok(())
        }
        several => Err(which_folder(several.iter())),
    }
}

/// The server has several folders.
pub(super) fn which_folder<'a>(folders: impl Iterator<Item = &'a Addr>) -> CliError {
    let all: Vec<&str> = folders.map(Addr::as_str).collect();
    CliError::usage(format!("the server has several folders: {}", all.join(", ")))
        .about(all.join(", "))
        .hint("choose one with --folder")
}

/// Checks everything out but files with work that no snapshot holds.
async fn check_out(device: &Device, out: &Output) -> Result<CheckoutReport, CliError> {
    let folder = match device.folder(out).await {
        Ok(folder) => folder,
        Err(FolderError::Unbound) => return Ok(CheckoutReport::default()),
        Err(error) => return Err(error.into()),
    };
    Ok(folder.checkout(&CheckoutOpts { keep_unsaved: true, ..CheckoutOpts::default() }).await?)
}
