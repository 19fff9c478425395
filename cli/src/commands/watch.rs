//! `sync --watch`: stays, and syncs whenever the folder or the server changes.
//!
//! One connection is kept as long as it lasts; between syncs the server is asked over it whether its tips are still
//! ours, which signs and stores nothing. It answers when they are not any more. The device's store and lock are held during a sync only, so other commands
//! work beside a watcher.

use super::guard;
use super::line::{Target, direction};
use super::moved::moved;
use super::syncing::{Done, Exchanged, bring, exchange, scope};
use super::telling::Told;
use crate::args::{self, Args};
use crate::device::{DIR, Device, Layout, lock_watch};
use crate::error::{CliError, Exit, Passes};
use crate::output::Output;
use crate::report::SyncReport;
use ibgib::Addr;
use ibgib_folder::Watch;
use ibgib_peer::{GLANCE_WAIT, GLANCE_WAITED, SecretSource, SenderIdentity, SyncConnection, entropy};
use ibgib_saga::Limits;
use ibgib_spaces::durable;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::{sleep, timeout};

/// How often a server is asked that answers at once.
const PEEK_EVERY: Duration = Duration::from_secs(3);
/// The longest pause while it says that something differs and syncing does not change that (`--push`, say).
const PEEK_EVERY_MAX: Duration = Duration::from_secs(60);
/// A server that does not answer within this time, after what it may wait, is gone.
const PEEK_WAIT_MAX: Duration = Duration::from_secs(20);
/// Pauses while the server is not reachable or something here fails, doubling.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Pause after a failure that people have to do something about, unless something changes here: each try costs
/// signatures.
const PAUSE_BY_HAND: Duration = Duration::from_secs(600);
/// A connection that lasted so long was a good one.
const LASTS: Duration = Duration::from_secs(30);
/// How often is looked whether another command wrote the store, and at files that cannot be watched.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Pause while another command has the device.
const LOCKED: Duration = Duration::from_millis(50);

pub(super) async fn watch(args: &Args, out: &Output, mut device: Device, sync: &args::Sync) -> Result<Exit, CliError> {
    let _alone = lock_watch(&device.layout)?;
    let target = Target::of(args, &device, sync).await?;
    let connection = SyncConnection::new(Arc::clone(&target.remote) as _, Limits::default());
    let secret = device.secret_source(args)?;
    // Mistakes of the command line are told now.
    let folder = device.folder_tjp().await?;
    scope(args, &device, sync, folder).await?;
    let (root, opts) = (device.root.clone(), device.folder_opts());
    drop(device);
    out.say(&format!("watching {}; ctrl-c ends", root.display()));
    let mut watcher = Watcher {
        args,
        out,
        sync,
        target,
        secret,
        files: (!sync.no_snapshot).then(|| Watch::new(&root).with_opts(opts)),
        root,
        told_blind: false,
        connection,
        fingerprint: String::new(),
        folder: None,
        stored: None,
        differs: false,
        pause: Duration::ZERO,
        cut: (Instant::now(), Duration::ZERO),
    };
    let mut trouble: Option<Trouble> = None;
    loop {
        let done = match watcher.round().await {
            Ok(again) => {
                match trouble.take() {
                    Some(Trouble { away: true, .. }) => tracing::warn!(url = watcher.target.url, "the server is back"),
                    Some(_) => tracing::warn!("it works again"),
                    None => {}
                }
                if again { Ok(()) } else { watcher.wait().await }
            }
            Err(error) => Err(error),
        };
        let Err(error) = done else { continue };
        let away = error.exit == Exit::Peer;
        if !away && error.passes == Passes::Never {
            return Err(error);
        }
        if away {
            watcher.connection.close().await;
        }
        let pause = trouble.as_ref().map_or(PAUSE_FIRST, |before| (before.pause * 2).min(PAUSE_MAX));
        let same = |before: &Trouble| before.away == away && (away || before.message == error.message);
        if !trouble.as_ref().is_some_and(same) {
            let until = if away { "it answers" } else { "it works" };
            let hint =
                error.hint.filter(|_| error.passes == Passes::ByHand).map_or(String::new(), |hint| format!("; {hint}"));
            tracing::warn!("{}{hint}; trying again until {until}", error.message);
        }
        let by_hand = error.passes == Passes::ByHand;
        trouble = Some(Trouble { away, message: error.message, pause });
        if by_hand {
            watcher.wait_here().await;
            continue;
        }
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

struct Watcher<'a> {
    args: &'a Args,
    out: &'a Output,
    sync: &'a args::Sync,
    target: Target,
    secret: SecretSource,
    /// None when no snapshots are taken: then nobody wants to know of the files.
    files: Option<Watch>,
    root: PathBuf,
    /// It was said that the system cannot watch the files.
    told_blind: bool,
    connection: SyncConnection,
    /// Of our own tips after the last sync.
    fingerprint: String,
    /// What the server is asked about; everything when none.
    folder: Option<Addr>,
    /// When the store was written last; another time means that another command did something.
    stored: Option<SystemTime>,
    /// The server said that it has something new.
    differs: bool,
    /// Before it is asked again.
    pause: Duration,
    /// When the connection was last cut, and how long to wait when the next one does not last either.
    cut: (Instant, Duration),
}

impl Watcher<'_> {
    /// One sync. Answers whether there is something new to take in already.
    async fn round(&mut self) -> Result<bool, CliError> {
        let mut device = self.open().await?;
        let started = Instant::now();
        if let Some(files) = &mut self.files {
            files.look()?;
        }
        self.tell_blind();
        let identity = SenderIdentity { tjp: device.identity().await?, secret: self.secret.clone() };
        let (args, out, connection) = (self.args, self.out, &mut self.connection);
        let done = exchange(args, out, &mut device, self.sync, connection, identity, &self.target).await;
        let Exchanged { synced, taken, contact: mut records, .. } = done?;
        let files = bring(&device, self.out, self.sync).await?;
        self.folder = device.folder_tjp().await?.filter(|_| !self.sync.all);
        self.fingerprint = self.connection.fingerprint(&*device.space, self.folder.as_ref()).await?;
        let again = match &mut self.files {
            Some(watch) if device.folder_tjp().await?.is_some() => {
                watch.after_checkout(&device.folder(self.out).await?, &files).await?
            }
            _ => false,
        };
        let mut told = Told::read(&*device.space).await?;
        let conflicts = told.news(&device, self.out).await?;
        records.push(told.record());
        let way = direction(&device, self.sync);
        let moved = moved(&device, self.out, &synced, &taken, (way, None)).await?;
        guard::renew(self.args, &mut device).await;
        let took = started.elapsed();
        let report = SyncReport {
            synced,
            taken,
            files,
            moved,
            conflicts,
            took,
            dry_run: false,
            stop: None,
            key: self.target.remote.news_of_key(),
        };
        let in_vain = std::mem::take(&mut self.differs) && !report.did_something();
        self.pause = if in_vain { (self.pause * 2).clamp(PEEK_EVERY, PEEK_EVERY_MAX) } else { Duration::ZERO };
        let worth_telling = report.did_something();
        let done = Done { report, records };
        match worth_telling {
            true => done.tell(&device, self.out).await?,
            false => done.keep(&device).await?,
        };
        drop(device);
        self.stored = store_time(&self.root);
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

    fn tell_blind(&mut self) {
        if let Some(error) = self.files.as_ref().and_then(Watch::blind)
            && !self.told_blind
        {
            tracing::warn!(%error, "files cannot be watched; looking at them every {} s instead", PEEK_EVERY.as_secs());
            self.told_blind = true;
        }
    }

    /// Waits until files, the server, or (by another command) the store changed.
    async fn wait(&mut self) -> Result<(), CliError> {
        loop {
            // Until the server answers; files and other commands do not wait for that.
            let (equal, waited) = {
                let (connection, ours, folder, pause) =
                    (&mut self.connection, self.fingerprint.as_str(), self.folder.as_ref(), self.pause);
                let mut asking = pin!(async move {
                    sleep(pause).await;
                    let asked = Instant::now();
                    let asking = connection.is_equal(ours, folder, GLANCE_WAIT);
                    (timeout(GLANCE_WAIT + PEEK_WAIT_MAX, asking).await, asked.elapsed() >= GLANCE_WAITED)
                });
                loop {
                    tokio::select! {
                        () = woken(&mut self.files) => if self.files.as_ref().map_or(Ok(false), Watch::has_changed)? {
                            return Ok(());
                        },
                        () = sleep(LOOK_EVERY) => {
                            let blind = self.files.as_ref().filter(|files| files.blind().is_some());
                            if store_time(&self.root) != self.stored || blind.map_or(Ok(false), Watch::has_changed)? {
                                return Ok(());
                            }
                        }
                        answer = &mut asking => break answer,
                    }
                }
            };
            match equal {
                Ok(Ok(true)) => self.pause = if waited { Duration::ZERO } else { PEEK_EVERY },
                Ok(Ok(false)) => {
                    self.differs = true;
                    return Ok(());
                }
                // The connection is gone: the next sync makes another.
                Ok(Err(_)) => {
                    sleep(self.pause_after_cut()).await;
                    // The pause is no time that a connection lasted.
                    self.cut.0 = Instant::now();
                    return Ok(());
                }
                Err(_) => {
                    self.connection.close().await;
                    return Ok(());
                }
            }
        }
    }

    /// Connections that do not last (a copy of this device connects, too, say) are made ever more seldom: each costs
    /// signatures.
    fn pause_after_cut(&mut self) -> Duration {
        let (before, pause) = std::mem::replace(&mut self.cut, (Instant::now(), Duration::ZERO));
        if before.elapsed() > LASTS {
            return Duration::ZERO;
        }
        self.cut.1 = (pause * 2).clamp(PEEK_EVERY, PAUSE_MAX);
        pause
    }

    /// Waits until files or (by another command) the store changed, and no longer than [`PAUSE_BY_HAND`].
    async fn wait_here(&mut self) {
        // What the sync stored before it failed is no reason to try again at once.
        let stored = store_time(&self.root);
        let end = tokio::time::Instant::now() + PAUSE_BY_HAND;
        while tokio::time::Instant::now() < end && store_time(&self.root) == stored {
            tokio::select! {
                () = woken(&mut self.files) => {
                    // What cannot be looked at is told by the next try.
                    if self.files.as_ref().is_some_and(|files| files.has_changed().unwrap_or(true)) {
                        return;
                    }
                }
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

fn store_time(root: &Path) -> Option<SystemTime> {
    durable::written(&Layout(root.join(DIR)).space())
}

/// Waits until files may have changed; for ever where nobody wants to know of them.
async fn woken(files: &mut Option<Watch>) {
    match files {
        Some(files) => files.woken().await,
        None => std::future::pending().await,
    }
}
