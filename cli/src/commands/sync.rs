//! `sync`.

use super::folder::{checked_out, partly, refused};
use super::setup::which_folder;
use super::watch::watch;
use crate::args::{self, Args};
use crate::device::{Device, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::secret;
use ibgib::{Addr, Value, object, strings};
use ibgib_folder::{CheckoutOpts, CheckoutReport, Folder, FolderError, SnapshotReport};
use ibgib_peer::{SenderIdentity, SyncOptions, SyncSagaCoordinator, Synced, WebSocketRemote};
use ibgib_saga::{Action, Direction, Limits, Misuse, SagaError, Scope};
use ibgib_spaces::Kind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) async fn sync(args: &Args, out: &Output, sync: &args::Sync) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    if sync.watch { watch(args, out, device, sync).await } else { run(args, out, device, sync).await }
}

pub(super) async fn run(args: &Args, out: &Output, mut device: Device, sync: &args::Sync) -> Result<Exit, CliError> {
    let started = Instant::now();
    let url = server(&device, sync)?;
    let limits = Limits::default();
    let remote = Arc::new(WebSocketRemote::new(&url, limits.message_bytes_max)?);
    let identity = SenderIdentity { tjp: device.identity().await?, secret: secret::source(device.secret(args)?) };

    let taken = take(&device, out, sync).await?;
    let bar = out.bar();
    let shown = bar.clone();
    let options = SyncOptions {
        identity: Some(identity),
        scope: scope(args, &device, sync).await?,
        direction: direction(sync),
        dry_run: sync.dry_run,
        limits,
        progress: Some(Arc::new(move |phase| shown.set_message(phase))),
        ..SyncOptions::default()
    };
    let saga = SyncSagaCoordinator::new(Arc::clone(&device.space)).sync(remote, options);
    let done = in_time(sync, saga.done()).await;
    bar.finish_and_clear();
    let synced = reached(&mut device, sync, &url, done)?;
    let files = bring(&device, out, sync).await?;
    let did = Did { synced, taken, files, took: started.elapsed() };
    did.tell(out, sync)?;
    Ok(did.exit())
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

/// Remembers a space server that answered: it is the right one, whatever it answered. One that is away is remembered
/// when no other is, one that cannot be spoken to never.
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

impl CliError {
    fn about_if_none(self, subject: &str) -> Self {
        if self.subject.is_some() { self } else { self.about(subject) }
    }
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

/// Checks everything out but files with work that no snapshot holds.
async fn check_out(device: &Device, out: &Output) -> Result<CheckoutReport, CliError> {
    let folder = match device.folder(out).await {
        Ok(folder) => folder,
        Err(FolderError::Unbound) => return Ok(CheckoutReport::default()),
        Err(error) => return Err(error.into()),
    };
    Ok(folder.checkout(&CheckoutOpts { keep_unsaved: true, ..CheckoutOpts::default() }).await?)
}

/// What one sync did.
pub(super) struct Did {
    pub(super) synced: Synced,
    pub(super) taken: SnapshotReport,
    pub(super) files: CheckoutReport,
    pub(super) took: Duration,
}

impl Did {
    /// Whether anything is different now.
    pub(super) fn something(&self) -> bool {
        self.synced.summary.saga.is_some()
            || !self.taken.is_clean()
            || !self.files.written.is_empty()
            || !self.files.removed.is_empty()
    }

    fn conflicts(&self) -> u64 {
        self.taken.conflicts as u64 + self.synced.summary.conflicts
    }

    fn exit(&self) -> Exit {
        let unsettled = self.synced.summary.timelines.iter().any(|t| t.action == Action::Refused);
        partly(self.conflicts() > 0 || unsettled || !self.files.refused.is_empty())
    }

    pub(super) fn tell(&self, out: &Output, sync: &args::Sync) -> Result<(), CliError> {
        let (s, files, took, conflicts) = (&self.synced.summary, &self.files, self.took, self.conflicts());
        let number = |n: u64| Value::integer(n);
        let addr = |a: &Option<Addr>| a.as_ref().map_or(Value::Null, Value::from);
        let timelines = s.timelines.iter().map(|t| {
            let mut row = object([
                ("tjp", (&t.tjp).into()),
                ("before", addr(&t.before)),
                ("after", addr(&t.after)),
                ("action", t.action.as_str().into()),
            ]);
            if let (Some(why), Some(members)) = (&t.why, row.as_object_mut()) {
                members.insert("why", why.as_str());
            }
            row
        });
        let value = object([
            ("saga", s.saga.as_deref().map_or(Value::Null, Value::from)),
            ("turns", number(u64::from(s.turns))),
            ("nodes", object([("sent", number(s.nodes_sent)), ("received", number(s.nodes_received))])),
            (
                "bytes",
                object([
                    ("sent", number(s.bytes_sent)),
                    ("received", number(s.bytes_received)),
                    ("identity", number(self.synced.identity_bytes)),
                ]),
            ),
            ("merges", number(s.merges + self.taken.merges as u64)),
            ("conflicts", number(conflicts)),
            ("timelines", Value::Array(timelines.collect())),
            ("ms", number(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))),
            ("dryRun", sync.dry_run.into()),
            ("written", strings(files.written.iter().map(|p| p.as_str()))),
            ("removed", strings(files.removed.iter().map(|p| p.as_str()))),
            ("refused", refused(&files.refused)),
        ]);
        out.result(value, || {
            let mut text = match (&s.saga, sync.dry_run) {
                (_, true) => format!("{} timeline(s) differ\n", s.timelines.len()),
                (None, _) => "already equal\n".to_owned(),
                (Some(_), _) => format!(
                    "{} turns, {} nodes sent, {} received, {} timeline(s), {} merge(s), {} ms\n",
                    s.turns,
                    s.nodes_sent,
                    s.nodes_received,
                    s.timelines.len(),
                    s.merges,
                    took.as_millis()
                ),
            };
            for t in s.timelines.iter().filter(|t| sync.dry_run || t.action == Action::Refused) {
                text.push_str(&format!(
                    "{:8} {}{}\n",
                    t.action.as_str(),
                    t.tjp,
                    t.why.as_ref().map_or(String::new(), |w| format!(": {w}"))
                ));
            }
            text.push_str(&checked_out(files));
            if conflicts > 0 {
                text.push_str(&format!("{conflicts} new conflict(s): 'ibgib conflicts' shows them\n"));
            }
            text
        })
    }
}
