//! `sync --watch`: stays, and syncs whenever the folder or the server changes.
//!
//! One connection is kept as long as it lasts; between syncs the server is asked over it whether its tips are still
//! ours, which signs and stores nothing. The device's store and lock are held during a sync only, so other commands
//! work beside a watcher.

use super::sync::{Did, bring, direction, in_time, reached, scope, server, take};
use crate::args::{self, Args};
use crate::device::{Device, Layout, lock_watch};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::secret;
use ibgib::Addr;
use ibgib_folder::{Change, Glance};
use ibgib_peer::{SecretSource, SenderIdentity, SyncPeer, Synced, WebSocketRemote, entropy};
use ibgib_saga::{Fingerprint, Limits, SagaError, SyncRequest};
use ibgib_spaces::{Kind, MemorySpace};
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// How often the server is asked whether anything changed there.
const PEEK_EVERY: Duration = Duration::from_secs(3);
/// The longest pause while it says that something differs and syncing does not change that (`--push`, say).
const PEEK_EVERY_MAX: Duration = Duration::from_secs(60);
/// A server that does not answer within this time is gone.
const PEEK_WAIT_MAX: Duration = Duration::from_secs(20);
/// Pauses while the server is not reachable or something here fails, doubling.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Files are taken in once nothing has changed for this long, or after the other at the latest.
const QUIET: Duration = Duration::from_millis(250);
const QUIET_MAX: Duration = Duration::from_secs(3);
/// Pause while another command has the device.
const LOCKED: Duration = Duration::from_millis(50);

pub(super) async fn watch(args: &Args, out: &Output, mut device: Device, sync: &args::Sync) -> Result<Exit, CliError> {
    let _alone = lock_watch(&device.layout)?;
    let url = server(&device, sync)?;
    let remote = Arc::new(WebSocketRemote::new(&url, Limits::default().message_bytes_max)?);
    // What a secret's source gives only once (stdin) is needed at every connection.
    let secret = secret::source(device.secret(args)?);
    // Mistakes of the command line are told now.
    scope(args, &device, sync).await?;
    let root = device.root.clone();
    drop(device);
    let mut eyes = Eyes::new(&root, sync.no_snapshot);
    out.say(&format!("watching {}; ctrl-c ends", root.display()));
    let mut watcher = Watch {
        args,
        out,
        sync,
        url,
        remote,
        secret,
        root,
        line: None,
        fingerprint: String::new(),
        stored: None,
        every: PEEK_EVERY,
    };
    let mut trouble: Option<Trouble> = None;
    loop {
        let done = match watcher.round(&mut eyes).await {
            Ok(again) => {
                match trouble.take() {
                    Some(Trouble { away: true, .. }) => tracing::warn!(url = watcher.url, "the server is back"),
                    Some(_) => tracing::warn!("it works again"),
                    None => {}
                }
                if again { Ok(()) } else { watcher.wait(&mut eyes).await }
            }
            Err(error) => Err(error),
        };
        let Err(error) = done else { continue };
        let away = error.exit == Exit::Peer;
        if !away && !passes(&error) {
            return Err(error);
        }
        if away {
            watcher.hang_up().await;
        }
        let pause = trouble.as_ref().map_or(PAUSE_FIRST, |before| (before.pause * 2).min(PAUSE_MAX));
        let same = |before: &Trouble| before.away == away && (away || before.message == error.message);
        if !trouble.as_ref().is_some_and(same) {
            let until = if away { "it answers" } else { "it works" };
            tracing::warn!("{}; trying again until {until}", error.message);
        }
        trouble = Some(Trouble { away, message: error.message, pause });
        // Many devices must not come back in one moment.
        let [jitter] = entropy::random::<1>();
        sleep(pause.mul_f64(0.75 + f64::from(jitter) / 512.0)).await;
    }
}

/// What keeps it from syncing for now.
struct Trouble {
    /// The server is not reachable; otherwise it is something here.
    away: bool,
    message: String,
    /// Before the next try.
    pause: Duration,
}

/// Whether a failure here may be over after a while: somebody else was faster, or the disk or a directory is at fault.
fn passes(error: &CliError) -> bool {
    matches!(error.code.as_str(), "busy" | "locked" | "unsaved" | "io" | "permission" | "disk_full")
}

/// A connection that is kept.
struct Line {
    peer: SyncPeer,
    identity: Addr,
}

struct Watch<'a> {
    args: &'a Args,
    out: &'a Output,
    sync: &'a args::Sync,
    url: String,
    remote: Arc<WebSocketRemote>,
    secret: SecretSource,
    root: PathBuf,
    line: Option<Line>,
    /// Of our own tips after the last sync.
    fingerprint: String,
    /// When the store was written last; another time means that another command did something.
    stored: Option<SystemTime>,
    /// Until the next peek.
    every: Duration,
}

impl Watch<'_> {
    /// One sync. Answers whether there is something new to take in already.
    async fn round(&mut self, eyes: &mut Eyes) -> Result<bool, CliError> {
        let mut device = self.open().await?;
        let started = Instant::now();
        eyes.look()?;
        let taken = take(&device, self.out, self.sync).await?;
        let identity = device.identity().await?;
        let request = SyncRequest {
            saga_id: entropy::random_hex(),
            scope: scope(self.args, &device, self.sync).await?,
            direction: direction(self.sync),
            skip_when_equal: true,
            dry_run: false,
        };
        let done = in_time(self.sync, self.exchange(&device, identity, request)).await;
        let synced = reached(&mut device, self.sync, &self.url, done)?;
        let files = bring(&device, self.out, self.sync).await?;
        let tips = device.space.tips(Some(Kind::Living)).await?;
        self.fingerprint = Fingerprint::of(tips.iter().map(|t| (&t.tjp, &t.addr))).whole;
        let again = if files.written.is_empty() && files.removed.is_empty() {
            // What is found after the next checkout is new, also if it is another edit of the same file.
            eyes.left.clear();
            false
        } else {
            eyes.look_after_checkout(&device, self.out).await?
        };
        let did = Did { synced, taken, files, took: started.elapsed() };
        if did.something() {
            did.tell(self.out, self.sync)?;
            self.every = PEEK_EVERY;
        } else {
            self.every = (self.every * 2).min(PEEK_EVERY_MAX);
        }
        drop(device);
        self.stored = self.store_time();
        Ok(again)
    }

    /// Opens the device once nobody else has it.
    async fn open(&self) -> Result<Device, CliError> {
        loop {
            match Device::at_once(&self.root) {
                Ok(Some(device)) => return Ok(device),
                Err(error) if error.exit != Exit::Locked => return Err(error),
                _ => sleep(LOCKED).await,
            }
        }
    }

    async fn exchange(
        &mut self,
        device: &Device,
        identity: Addr,
        mut request: SyncRequest,
    ) -> Result<Synced, SagaError> {
        let away = || Arc::new(MemorySpace::new("away"));
        if let Some(mut line) = self.line.take_if(|line| line.identity == identity) {
            line.peer.set_space(Arc::clone(&device.space) as _);
            if let Ok(summary) = line.peer.sync(request.clone()).await {
                line.peer.set_space(away());
                let session = line.peer.session().map(|s| s.chain().tip().addr().clone());
                self.line = Some(line);
                return Ok(Synced { summary, session, identity_bytes: 0 });
            }
            // It was cut meanwhile, or the server has an objection, which it will repeat.
            request.saga_id = entropy::random_hex();
        }
        self.hang_up().await;
        let sender = SenderIdentity { tjp: identity.clone(), secret: self.secret.clone() };
        let mut peer =
            SyncPeer::new(Arc::clone(&device.space), Arc::clone(&self.remote) as _, Some(sender), Limits::default());
        peer.establish_session_identity().await?;
        peer.connect().await?;
        let summary = peer.sync(request).await?;
        peer.set_space(away());
        let session = peer.session().map(|s| s.chain().tip().addr().clone());
        let identity_bytes = peer.session().map_or(0, |s| s.identity_bytes());
        self.line = Some(Line { peer, identity });
        Ok(Synced { summary, session, identity_bytes })
    }

    async fn hang_up(&mut self) {
        if let Some(mut line) = self.line.take() {
            line.peer.disconnect().await;
        }
    }

    /// Waits until files, the server, or (by another command) the store changed.
    async fn wait(&mut self, eyes: &mut Eyes) -> Result<(), CliError> {
        let mut next = tokio::time::Instant::now() + self.every;
        loop {
            tokio::select! {
                () = eyes.woken() => if eyes.see_a_change()? {
                    return Ok(());
                },
                () = tokio::time::sleep_until(next) => {
                    if self.store_time() != self.stored || (eyes.are_blind() && eyes.see_a_change()?) {
                        return Ok(());
                    }
                    let Some(line) = &mut self.line else { return Ok(()) };
                    if !matches!(timeout(PEEK_WAIT_MAX, line.peer.glance(&self.fingerprint)).await, Ok(Ok(true))) {
                        // Something differs, or the connection is gone.
                        return Ok(());
                    }
                    self.every = PEEK_EVERY;
                    next = tokio::time::Instant::now() + self.every;
                }
            }
        }
    }

    fn store_time(&self) -> Option<SystemTime> {
        let file = Layout(self.root.join(crate::device::DIR)).space().join(ibgib_spaces::FILE);
        std::fs::metadata(file).and_then(|m| m.modified()).ok()
    }
}

/// Watches the folder's files.
struct Eyes {
    root: PathBuf,
    /// Nobody wants to know.
    closed: bool,
    /// `None` where the system cannot watch; then the files are looked at now and then.
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    /// Directories came, went or were renamed.
    moved: Arc<AtomicBool>,
    watched: BTreeSet<PathBuf>,
    seen: Glance,
    /// An event came and is not answered yet.
    woken: bool,
    /// What the last checkout left for a snapshot.
    left: Vec<Change>,
}

impl Eyes {
    fn new(root: &Path, closed: bool) -> Self {
        let moved = Arc::new(AtomicBool::new(true));
        // One event waiting is as good as many.
        let (tell, events) = mpsc::channel(1);
        let seen_moving = Arc::clone(&moved);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let kind = event.map_or(EventKind::Any, |e| if e.need_rescan() { EventKind::Any } else { e.kind });
            match kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
                EventKind::Access(_) => return,
                EventKind::Any
                | EventKind::Remove(_)
                | EventKind::Create(CreateKind::Folder)
                | EventKind::Modify(ModifyKind::Name(_)) => seen_moving.store(true, Ordering::Relaxed),
                _ => {}
            }
            // Full is fine, and at the end nobody listens.
            let _ = tell.try_send(());
        });
        let mut out = Self {
            root: root.to_owned(),
            closed,
            watcher: None,
            events,
            moved,
            watched: BTreeSet::new(),
            seen: Glance::default(),
            woken: false,
            left: Vec::new(),
        };
        match watcher {
            _ if closed => {}
            Ok(watcher) => out.watcher = Some(watcher),
            Err(error) => out.go_blind(&error),
        }
        out
    }

    fn go_blind(&mut self, error: &notify::Error) {
        tracing::warn!(%error, "files cannot be watched; looking at them every {} s instead", PEEK_EVERY.as_secs());
        self.watcher = None;
    }

    fn are_blind(&self) -> bool {
        self.watcher.is_none() && !self.closed
    }

    /// Looks at the files, and watches every directory that there is now.
    fn look(&mut self) -> Result<(), CliError> {
        if self.closed {
            return Ok(());
        }
        loop {
            self.seen = Glance::at(&self.root)?;
            let Some(watcher) = &mut self.watcher else { return Ok(()) };
            let moved = self.moved.swap(false, Ordering::Relaxed);
            for gone in self.watched.difference(self.seen.dirs()) {
                // It may be gone from the watcher, too.
                let _ = watcher.unwatch(gone);
            }
            let old = std::mem::take(&mut self.watched);
            let mut new = false;
            for dir in self.seen.dirs() {
                if moved || !old.contains(dir) {
                    new |= !old.contains(dir);
                    match watcher.watch(dir, RecursiveMode::NonRecursive) {
                        Ok(()) => {}
                        Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => continue,
                        Err(error) => {
                            self.go_blind(&error);
                            return Ok(());
                        }
                    }
                }
                self.watched.insert(dir.clone());
            }
            if !new {
                return Ok(());
            }
            // What came into a new directory before it was watched.
        }
    }

    /// As [`Eyes::look`], after files were written by us. Answers whether somebody else changed files meanwhile.
    async fn look_after_checkout(&mut self, device: &Device, out: &Output) -> Result<bool, CliError> {
        if self.closed {
            return Ok(false);
        }
        self.look()?;
        let changes = device.folder(out).await?.status().await?.changes;
        let new = !changes.is_empty() && changes != self.left;
        self.left = changes;
        Ok(new)
    }

    fn see_a_change(&self) -> Result<bool, CliError> {
        Ok(!self.closed && Glance::at(&self.root)? != self.seen)
    }

    /// Waits for an event, and then until it is quiet. May be dropped at any time.
    async fn woken(&mut self) {
        if !self.woken {
            if self.events.recv().await.is_none() {
                return std::future::pending().await;
            }
            self.woken = true;
        }
        let started = Instant::now();
        while started.elapsed() < QUIET_MAX && matches!(timeout(QUIET, self.events.recv()).await, Ok(Some(()))) {}
        self.woken = false;
    }
}
