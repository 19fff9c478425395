//! A connection to the server, for one sync.

use crate::args::{self, Args};
use crate::brief::Known;
use crate::codes::Code;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::folders::{at_server, choose, which};
use crate::remote;
use ibgib::{Addr, Value};
use ibgib_folder::Folder;
use ibgib_peer::{SenderIdentity, Statement, SyncConnection, Synced, WebSocketRemote, entropy, state_grant};
use ibgib_saga::{Action, Code as Protocol, Direction, SagaError, Scope, Summary, SyncRequest, TimelineSummary};
use ibgib_spaces::Kind;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The server of a sync.
#[derive(Debug)]
pub(super) struct Target {
    /// As it was named.
    pub(super) url: String,
    pub(super) remote: Arc<WebSocketRemote>,
}

impl Target {
    pub(super) async fn of(args: &Args, device: &Device, sync: &args::Sync) -> Result<Self, CliError> {
        let url = server(device, sync)?;
        let remote = Arc::new(remote::remote(args, Some(device), &url).await?);
        Ok(Self { url, remote })
    }
}

/// The server to sync with.
fn server(device: &Device, sync: &args::Sync) -> Result<String, CliError> {
    match (&sync.url, device.remote()) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(setting)) => Ok(setting.value),
        (None, None) => Err(CliError::usage("no server to sync with")
            .hint("name it once: 'ibgib sync http://HOST:PORT'; it is remembered")),
    }
}

/// A connection to the server, for one sync.
pub(super) struct Line<'a> {
    pub(super) args: &'a Args,
    pub(super) sync: &'a args::Sync,
    pub(super) target: &'a Target,
    pub(super) connection: &'a mut SyncConnection,
    pub(super) identity: SenderIdentity,
    /// When the user gives up.
    pub(super) until: Option<tokio::time::Instant>,
}

impl Line<'_> {
    /// One saga.
    pub(super) async fn run(
        &mut self,
        device: &mut Device,
        scope: Scope,
        direction: Direction,
        dry_run: bool,
    ) -> Result<Synced, CliError> {
        self.ask(device, scope, direction, dry_run, None).await
    }

    /// As [`Line::run`]; where more than `moves_max` timelines differ of those that both sides have, the connection's guard
    /// says whether it goes on, and if not this only tells what it would do.
    pub(super) async fn ask(
        &mut self,
        device: &mut Device,
        scope: Scope,
        direction: Direction,
        dry_run: bool,
        moves_max: Option<usize>,
    ) -> Result<Synced, CliError> {
        let saga_id = entropy::random_hex();
        let request = SyncRequest { saga_id, scope, direction, skip_when_equal: true, dry_run, moves_max };
        let work = self.connection.sync(&device.space, Some(self.identity.clone()), request);
        let done = match self.until {
            None => work.await,
            Some(until) => tokio::time::timeout_at(until, work).await.unwrap_or(Err(SagaError::TimedOut)),
        };
        reached(self.args, device, self.sync, self.target, done)
    }

    /// The folder of a device that was cloned before the server let it in: learned now, and the device's from now on.
    pub(super) async fn find_folder(&mut self, device: &mut Device) -> Result<Addr, CliError> {
        let told = self.run(device, Scope::All, Direction::Both, true).await?.summary.timelines;
        let here = device.space.tips(Some(Kind::Living)).await?.into_iter().map(|tip| tip.tjp);
        let all: BTreeSet<Addr> = told.into_iter().map(|t| t.tjp).chain(here).filter(|t| t.ib() == "folder").collect();
        let mut names = match all.len() > 1 || self.sync.folder.is_some() {
            true => self.names(device).await?,
            false => HashMap::new(),
        };
        let all: Vec<Known> = all.into_iter().map(|tjp| Known { name: names.remove(&tjp), tjp }).collect();
        let folder = match &self.sync.folder {
            Some(chosen) => choose(&all, chosen, &self.target.url)?,
            None => match &all[..] {
                [] => return Err(no_folder(&self.target.url)),
                [folder] => folder.tjp.clone(),
                several => return Err(which(several)),
            },
        };
        if !self.sync.dry_run {
            Folder::join(Arc::clone(&device.space), &device.root, folder.clone()).await?;
        }
        Ok(folder)
    }

    /// What the folders are called that this device may read: a server with an owner tells it to whoever signs that he asks.
    async fn names(&self, device: &Device) -> Result<HashMap<Addr, String>, CliError> {
        if !self.target.remote.has_owner().await? {
            let all = at_server(&self.target.remote).await?.unwrap_or_default();
            return Ok(all.into_iter().filter_map(|known| Some((known.tjp, known.name?))).collect());
        }
        let lines = state_grant(&device.space, &self.target.remote, &self.identity, &Statement::Folders).await?;
        let text = |line: &Value, name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
        let name = |line: &Value| Some((text(line, "folder")?.parse().ok()?, text(line, "name")?));
        Ok(lines.iter().filter_map(name).collect())
    }
}

/// What two sagas of one sync did.
pub(super) fn after(first: Option<Synced>, then: Synced) -> Synced {
    let Some(first) = first else { return then };
    let (a, b) = (first.summary, then.summary);
    let mut timelines: BTreeMap<Addr, TimelineSummary> =
        a.timelines.into_iter().map(|line| (line.tjp.clone(), line)).collect();
    for mut line in b.timelines {
        if let Some(earlier) = timelines.get(&line.tjp) {
            line.before = earlier.before.clone();
            line.new_there = earlier.new_there;
            if matches!(earlier.action, Action::Merged | Action::Pulled) && line.action == Action::Pushed {
                // What was merged here and then sent came from both.
                line.action = Action::Merged;
            }
        }
        timelines.insert(line.tjp.clone(), line);
    }
    let summary = Summary {
        saga: b.saga.or(a.saga),
        turns: a.turns + b.turns,
        nodes_sent: a.nodes_sent + b.nodes_sent,
        nodes_received: a.nodes_received + b.nodes_received,
        bytes_sent: a.bytes_sent + b.bytes_sent,
        bytes_received: a.bytes_received + b.bytes_received,
        identity_bytes: a.identity_bytes + b.identity_bytes,
        merges: a.merges + b.merges,
        conflicts: a.conflicts + b.conflicts,
        timelines: timelines.into_values().collect(),
    };
    let identity_bytes = first.identity_bytes + then.identity_bytes;
    let left = [first.left, then.left].concat();
    Synced { summary, session: then.session.or(first.session), identity_bytes, left }
}

/// Which way a sync goes. A device that came with an invite for reading alone only takes.
pub(super) fn direction(device: &Device, sync: &args::Sync) -> Direction {
    match (sync.push, sync.pull) {
        (true, _) => Direction::Push,
        (_, true) => Direction::Pull,
        _ if server(device, sync).is_ok_and(|url| remote::only_reads(&device.config, &url)) => Direction::Pull,
        _ => Direction::Both,
    }
}

/// Remembers the server that the command line names, for the next time. One that answered is a space server, also if
/// it refused. If nobody answered, its name may be mistyped, so it is remembered only where no other is; what
/// turned out to be no space server, or cannot be spoken to, never is. Whoever answered is known by it from now on.
fn reached<T>(
    args: &Args,
    device: &mut Device,
    sync: &args::Sync,
    target: &Target,
    done: Result<T, SagaError>,
) -> Result<T, CliError> {
    let Target { url, remote } = target;
    let unspoken = matches!(
        done.as_ref().err().and_then(SagaError::row),
        Some(Protocol::NoServer | Protocol::NoTls | Protocol::TlsRequired | Protocol::ServerUntrusted)
    );
    let done = done.map_err(CliError::from);
    let right = match &done {
        Err(_) if unspoken => false,
        Err(error) if error.exit == Exit::Peer => device.remote().is_none(),
        _ => true,
    };
    if right && sync.url.is_some() && !sync.dry_run {
        device.remember(url)?;
    }
    if remote.met().is_some() {
        remote::remember(args, &mut device.config, remote)?;
    }
    done.map_err(|error| error.about_if_none(url))
}

/// The server has none.
pub(super) fn no_folder(url: &str) -> CliError {
    CliError::new(Code::NoFolder, format!("{url} has no folder yet"))
        .about(url)
        .hint("start one on another device with 'ibgib init' and sync it first")
}
