//! `sync`.

use super::folder::{checked_out, partly, refused};
use super::setup::which_folder;
use crate::args::{self, Args};
use crate::device::{Device, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::secret;
use ibgib::{Addr, Value, object, strings};
use ibgib_folder::{CheckoutOpts, CheckoutReport, Folder, FolderError, Refused, SnapshotReport};
use ibgib_peer::{SenderIdentity, SyncOptions, SyncSagaCoordinator, Synced, WebSocketRemote};
use ibgib_saga::{Action, Direction, Limits, SagaError, Scope};
use ibgib_spaces::Kind;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) async fn sync(args: &Args, out: &Output, sync: &args::Sync) -> Result<Exit, CliError> {
    run(args, out, Device::open(args)?, sync).await
}

pub(super) async fn run(args: &Args, out: &Output, mut device: Device, sync: &args::Sync) -> Result<Exit, CliError> {
    let started = Instant::now();
    let url = match (&sync.url, device.remote()) {
        (Some(url), _) => url.clone(),
        (None, Some(setting)) => setting.value,
        (None, None) => {
            return Err(CliError::usage("no server to sync with")
                .hint("name it once: 'ibgib sync http://HOST:PORT'; it is remembered"));
        }
    };
    let limits = Limits::default();
    let remote = Arc::new(WebSocketRemote::new(&url, limits.message_bytes_max)?);
    let identity = SenderIdentity { tjp: device.identity().await?, secret: secret::source(device.secret(args)?) };

    let mut taken = SnapshotReport::default();
    if !sync.no_snapshot && !sync.dry_run && device.folder_tjp().await?.is_some() {
        taken = device.folder(out).await?.snapshot(&mut moment).await?;
    }
    let scope = match &sync.only[..] {
        [] => Scope::All,
        only => Scope::Only(scope(args, &device, only).await?),
    };
    let bar = out.bar();
    let shown = bar.clone();
    let options = SyncOptions {
        identity: Some(identity),
        scope,
        direction: match (sync.push, sync.pull) {
            (true, _) => Direction::Push,
            (_, true) => Direction::Pull,
            _ => Direction::Both,
        },
        dry_run: sync.dry_run,
        limits,
        progress: Some(Arc::new(move |phase| shown.set_message(phase))),
        ..SyncOptions::default()
    };
    let saga = SyncSagaCoordinator::new(Arc::clone(&device.space)).sync(remote, options);
    let done = match sync.timeout {
        None => saga.done().await,
        Some(seconds) => {
            tokio::time::timeout(Duration::from_secs(seconds), saga.done()).await.unwrap_or(Err(SagaError::TimedOut))
        }
    };
    bar.finish_and_clear();
    // A server that answered is the right one, whatever it answered.
    let reached = !matches!(&done, Err(e) if CliError::from(e.clone()).exit == Exit::Peer);
    if reached && let Some(url) = sync.url.as_ref().filter(|_| !sync.dry_run) {
        device.remember(url)?;
    }
    let synced = done.map_err(|error| CliError::from(error).about_if_none(&url))?;
    if !sync.dry_run && device.folder_tjp().await?.is_none() {
        bind(&device).await?;
    }
    let mut files = CheckoutReport::default();
    if !sync.no_checkout && !sync.dry_run {
        files = check_out(&device, out).await?;
    }
    let conflicts = taken.conflicts as u64 + synced.summary.conflicts;
    tell(out, sync, &synced, &taken, &files, conflicts, started.elapsed())?;
    let unsettled = synced.summary.timelines.iter().any(|t| t.action == Action::Refused);
    Ok(partly(conflicts > 0 || unsettled || !files.refused.is_empty()))
}

impl CliError {
    fn about_if_none(self, subject: &str) -> Self {
        if self.subject.is_some() { self } else { self.about(subject) }
    }
}

async fn scope(args: &Args, device: &Device, only: &[String]) -> Result<Vec<Addr>, CliError> {
    let mut out = Vec::new();
    for text in only {
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
    Ok(out)
}

/// A device that was cloned before the server let it in learns its folder now.
async fn bind(device: &Device) -> Result<(), CliError> {
    let tips = device.space.tips(Some(Kind::Living)).await?;
    let folders: Vec<Addr> = tips.into_iter().map(|t| t.tjp).filter(|tjp| tjp.ib() == "folder").collect();
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
    match folder.checkout(&CheckoutOpts::default()).await {
        Err(FolderError::Unsaved(busy)) => {
            let skip: HashSet<&str> = busy.iter().map(String::as_str).collect();
            let entries = folder.entries().await?.into_iter().map(|e| e.path);
            let rest: Vec<_> = entries.filter(|p| !skip.contains(p.as_str())).collect();
            let mut report = match rest.is_empty() {
                true => CheckoutReport::default(),
                false => folder.checkout(&CheckoutOpts { paths: rest, ..CheckoutOpts::default() }).await?,
            };
            let reason = "holds work that is in no snapshot; sync again to take it in".to_owned();
            report.refused.extend(busy.into_iter().map(|path| Refused { path, reason: reason.clone() }));
            report.refused.sort();
            Ok(report)
        }
        other => Ok(other?),
    }
}

fn tell(
    out: &Output,
    sync: &args::Sync,
    synced: &Synced,
    taken: &SnapshotReport,
    files: &CheckoutReport,
    conflicts: u64,
    took: Duration,
) -> Result<(), CliError> {
    let s = &synced.summary;
    let number = |n: u64| Value::Number(n as f64);
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
                ("identity", number(synced.identity_bytes)),
            ]),
        ),
        ("merges", number(s.merges + taken.merges as u64)),
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
