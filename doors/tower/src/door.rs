//! The door: a tower that follows a Bitcoin node, and what its users and its owner ask it.

use crate::api::{self, Api};
use crate::block_processor::BlockProcessor;
use crate::chain_monitor::{ChainMonitor, FeedError};
use crate::engine::Engine;
use crate::gatekeeper::Terms;
use crate::ledger::Ledger;
use crate::owner::{self, Owner};
use crate::rpc::{NodeAddress, RpcError};
use crate::sealed::Dialect;
use crate::signature::SecretKey;
use crate::source::Source;
use crate::timelines::Timelines;
use axum::Router;
use futures_util::future::BoxFuture;
use ibgib_peer::Host;
use ibgib_server::rows::Rows;
use ibgib_server::{Door, DoorTable, Lease, Rate};
use ibgib_spaces::Space;
use metrics::{counter, gauge, histogram};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Registrations of one address at once, and each hour from then on. A user registers for the first time, for more slots and
/// for a longer time; each is written.
const REGISTRATIONS_AT_ONCE: u64 = 100;
const REGISTRATIONS_AN_HOUR: f64 = 60.0;

/// Bytes of an appointment's body, unless something else is said.
pub fn body_bytes_max(dialect: Dialect) -> usize {
    match dialect {
        Dialect::Rust => 2_048,
        Dialect::Python => 65_536,
    }
}

/// What a tower follows.
#[derive(Clone, Debug)]
pub enum TowerFeed {
    /// A Bitcoin node.
    Bitcoind(NodeAddress),
    /// Frames of identities that are posted to this host, over the space of the tower.
    Timelines(Arc<Host>),
}

/// How a tower is served.
#[derive(Debug)]
pub struct TowerOptions {
    /// What it follows.
    pub feed: TowerFeed,
    /// What it signs receipts with.
    pub key: SecretKey,
    /// What it speaks to whoever is no user yet.
    pub dialect: Dialect,
    /// How often it looks for a new block.
    pub poll: Duration,
    /// What it gives to users of the Rust dialect, and of the Python dialect.
    pub terms: [Terms; 2],
    /// Bytes of an appointment's body.
    pub body_bytes_max: usize,
    /// A socket at which whoever may open it is told what the owner may know ([`owner::ask`]).
    pub owner_socket: Option<PathBuf>,
}

impl TowerOptions {
    /// As the original of a dialect does it.
    pub fn new(feed: TowerFeed, key: SecretKey, dialect: Dialect) -> Self {
        let body_bytes_max = match feed {
            TowerFeed::Bitcoind(_) => body_bytes_max(dialect),
            // A revocation is longer than the answers of the second generation.
            TowerFeed::Timelines(_) => body_bytes_max(Dialect::Python),
        };
        Self {
            feed,
            key,
            dialect,
            poll: Duration::from_secs(10),
            terms: [Terms::of(Dialect::Rust), Terms::of(Dialect::Python)],
            body_bytes_max,
            owner_socket: None,
        }
    }
}

/// The server of The Eye of Satoshi's protocol, as a door.
///
/// ```
/// use ibgib_server::{Door, Mount};
/// use ibgib_spaces::MemorySpace;
/// use ibgib_tower::rpc::NodeAddress;
/// use ibgib_tower::sealed::Dialect;
/// use ibgib_tower::signature::SecretKey;
/// use ibgib_tower::{TowerDoor, TowerFeed, TowerOptions};
/// use std::sync::Arc;
///
/// let node = NodeAddress::new("http://user:password@127.0.0.1:8332", None)?;
/// let key = SecretKey::from_bytes(&[7; 32]).ok_or("no key")?;
/// let options = TowerOptions::new(TowerFeed::Bitcoind(node), key, Dialect::Rust);
/// let tower = TowerDoor::new(Arc::new(MemorySpace::new("doc")), options);
/// let mount = Mount { door: Arc::new(tower), listen: Some(([127, 0, 0, 1], 9814).into()) };
/// // Server::start(host, ServeOptions { doors: vec![mount], ..});
/// # assert_eq!(mount.door.name(), "tower");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TowerDoor {
    ledger: Ledger,
    rows: Rows,
    feed: TowerFeed,
    key: Arc<SecretKey>,
    dialect: Dialect,
    poll: Duration,
    body_bytes_max: usize,
    owner_socket: Option<PathBuf>,
    /// Of servers over one space, one follows the chain.
    lease: Arc<Lease>,
    registrations: Arc<Rate<IpAddr>>,
    running: OnceLock<Running>,
}

/// What there is once the door has started.
struct Running {
    engine: Engine,
    monitor: Arc<ChainMonitor>,
}

impl fmt::Debug for TowerDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerDoor").field("feed", &self.feed).field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl TowerDoor {
    /// A tower whose users and appointments are kept in this space.
    pub fn new(space: Arc<dyn Space>, options: TowerOptions) -> Self {
        let TowerOptions { feed, key, dialect, poll, mut terms, body_bytes_max, owner_socket } = options;
        if matches!(feed, TowerFeed::Timelines(_)) {
            // Who copied a device has what its user signs with.
            terms.iter_mut().for_each(|terms| terms.replaces = false);
        }
        let lease = Arc::new(Lease::new(Arc::clone(&space), owner::DOOR));
        let rows = Rows::new(space, owner::DOOR);
        let ledger = Ledger::new(rows.clone(), terms);
        let (key, running) = (Arc::new(key), OnceLock::new());
        let registrations = Arc::new(Rate::new(REGISTRATIONS_AT_ONCE, REGISTRATIONS_AN_HOUR / 3_600.0));
        Self { ledger, rows, feed, key, dialect, poll, body_bytes_max, owner_socket, lease, registrations, running }
    }

    fn running(&self) -> &Running {
        self.running.get_or_init(|| {
            let engine = Engine::start(self.ledger.clone());
            let source = match &self.feed {
                TowerFeed::Bitcoind(node) => Source::Bitcoind(BlockProcessor::new(node.clone())),
                TowerFeed::Timelines(host) => {
                    Source::Timelines(Timelines::new(Arc::clone(host), self.rows.clone(), self.ledger.clone()))
                }
            };
            let monitor = ChainMonitor::new(source, engine.clone(), self.ledger.terms(), Arc::clone(&self.lease));
            Running { engine, monitor: Arc::new(monitor) }
        })
    }
}

impl Door for TowerDoor {
    fn name(&self) -> &'static str {
        owner::DOOR
    }

    fn routes(&self) -> Router {
        let running = self.running();
        api::routes(Arc::new(Api {
            monitor: Arc::clone(&running.monitor),
            engine: running.engine.clone(),
            dialect: self.dialect,
            delay_min: self.ledger.terms()[1].min_delay,
            key: Arc::clone(&self.key),
            body_bytes_max: self.body_bytes_max,
            registrations: Arc::clone(&self.registrations),
        }))
    }

    /// Looks at the chain once, or only at its node while another server follows the chain. A node that is away is
    /// waited for; one that will never do is told now.
    fn start(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let monitor = &self.running().monitor;
            let looked = match self.lease.take().await.map_err(|error| error.to_string())? {
                true => monitor.look().await,
                false => monitor.check().await,
            };
            match looked {
                Ok(()) => {}
                Err(error @ (FeedError::Rpc(RpcError::Unreachable(_)) | FeedError::Moved)) => {
                    tracing::warn!(%error, "the tower answers 503 until it follows the chain");
                }
                Err(error) => {
                    self.lease.give_up().await;
                    return Err(error.to_string());
                }
            }
            // Only a tower that serves is one.
            let noted = self.ledger.set_about(&self.key.id(), self.dialect).await;
            noted.map_err(|error| error.to_string())
        })
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<DoorTable>, String>> {
        Box::pin(async {
            let Running { engine, monitor } = self.running();
            let is_reachable = monitor.is_reachable();
            let tables = engine.ask_any(move |kept| owner::tables(kept.as_ref(), is_reachable));
            tables.await.map_err(|failure| format!("{failure:?}"))
        })
    }

    fn background(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Running { engine, monitor } = self.running();
            let owner = Owner {
                engine: engine.clone(),
                monitor: Arc::clone(monitor),
                id: self.key.id(),
                dialect: self.dialect,
            };
            let telling = async {
                match &self.owner_socket {
                    Some(path) => owner.listen(path).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.lease.work(&stop, || monitor.follow(self.poll)) => {}
                () = telling => {}
                () = monitor.stand_by(self.poll) => {}
            }
        })
    }

    fn metrics(&self) {
        let Some(Running { engine, monitor }) = self.running.get() else { return };
        let counts = engine.counts();
        let told = [
            ("ibgib_tower_users", &counts.users),
            ("ibgib_tower_appointments", &counts.appointments),
            ("ibgib_tower_trackers", &counts.trackers),
            ("ibgib_tower_height", &counts.height),
        ];
        for (name, count) in told {
            gauge!(name).set(count.load(Ordering::Relaxed) as f64);
        }
        counter!("ibgib_tower_registrations_refused_total").absolute(self.registrations.refused());
        gauge!("ibgib_tower_reachable").set(if monitor.is_reachable() { 1.0 } else { 0.0 });
        let times = histogram!("ibgib_tower_block_seconds");
        monitor.take_times().into_iter().for_each(|time| times.record(time));
    }
}
