//! The receiving side of a space: who may come in, what an identity may deliver, and the connections it serves.
//!
//! Each file is one job of [`Host`]: `policy` says who may come, `owner` whose the space is, `grants` what
//! he lets others do, `readers` who reads without a connection, `roots` to which folder a timeline belongs and `lot` what
//! that is for one turn, `dropped` what the owner takes out again, `identities` takes what identities deliver, `guarded` ends one that was copied by a revocation that
//! waited, `sessions` knows whose a session is and which connection is its, `staging` drops what was left behind, `serve`
//! drives one connection, `desk` does on the space what its machine asks for, `feed` hears of what is committed, `events`
//! tells what happens; `queues` lets turns on the same timelines commit one after the other; `limits` says what all peers
//! together may cost, `quota` counts what identities bring, `words` signs what is answered, `keys` which key the servers of the
//! space have, `checks` does what takes a moment, and `jobs` what costs much.

mod checks;
mod derived;
mod desk;
mod dropped;
mod events;
mod feed;
mod grants;
mod guarded;
mod identities;
mod jobs;
mod keys;
mod limits;
mod lists;
mod lot;
mod owner;
mod policy;
mod queues;
mod quota;
mod readers;
mod recovery;
mod roots;
mod serve;
mod sessions;
mod staging;
mod words;

pub use events::{HostEvent, MessageEvent};
pub use keys::KeyStanding;
pub use limits::HostLimits;
pub use policy::Policy;
pub use readers::Reader;
pub(crate) use sessions::connected_key;
use staging::{push_owner, staging_record};

use crate::desk::resolve;
use crate::leads::Leads;
use crate::view::space_error;
use checks::Checks;
use feed::Living;
use ibgib::Addr;
use ibgib::timeline::Merges;
use ibgib_saga::{Limits, SagaError};
use ibgib_spaces::{Follow, Kind, Space, Tip, View};
use identities::KeptChains;
use jobs::Jobs;
use sessions::Live;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How a host receives.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Limits of each connection.
    pub limits: Limits,
    /// Limits over all connections.
    pub host_limits: HostLimits,
    /// Who may come.
    pub policy: Policy,
    /// Strategies of new identities that are taken although their signatures bind nothing, by name.
    pub allow_strategies: Vec<String>,
    /// Sagas without identity: in one process only, never on a server.
    pub allow_anonymous: bool,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            host_limits: HostLimits::default(),
            policy: Policy::Open,
            allow_strategies: Vec::new(),
            allow_anonymous: false,
        }
    }
}

/// A space that receives. Cheap to share; every connection is a call of [`Host::serve`].
pub struct Host {
    space: Arc<dyn Space>,
    limits: Limits,
    host_limits: HostLimits,
    lists: AtomicU64,
    sagas: quota::Sagas,
    checks: Checks,
    jobs: Jobs,
    /// Apart from what sagas wait for.
    readers: Jobs,
    queues: queues::Queues,
    /// What turns found out about merge frames.
    merges: Merges,
    policy: RwLock<Policy>,
    also_allowed: RwLock<HashSet<Addr>>,
    owner_token: RwLock<Option<String>>,
    allow_strategies: Vec<String>,
    allow_anonymous: bool,
    live: Mutex<HashMap<Addr, Live>>,
    living: tokio::sync::Mutex<Living>,
    chains: Mutex<KeptChains>,
    roots_indexed: tokio::sync::OnceCell<()>,
    words: words::Words,
    pub(crate) leads: Leads,
    /// Living timelines were seen in the space.
    has_lived: AtomicBool,
    connections: AtomicU64,
    /// When it was made: peers that wait for news are answered at whole seconds from then on.
    began: Instant,
    events: broadcast::Sender<HostEvent>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("space", &self.space.id()).finish_non_exhaustive()
    }
}

impl Host {
    /// A host over a space.
    pub fn new(space: Arc<dyn Space>, options: HostOptions) -> Arc<Self> {
        let (events, _) = broadcast::channel(4_096);
        Arc::new(Self {
            space,
            limits: options.limits,
            lists: AtomicU64::new(0),
            sagas: quota::Sagas::default(),
            checks: Checks::new(options.host_limits.checks_max, options.host_limits.job_ms_max),
            jobs: Jobs::new(options.host_limits.jobs_max, options.host_limits.job_ms_max),
            readers: Jobs::new(options.host_limits.readers_max, options.host_limits.job_ms_max),
            queues: queues::Queues::default(),
            merges: Merges::default(),
            host_limits: options.host_limits,
            policy: RwLock::new(options.policy),
            also_allowed: RwLock::default(),
            owner_token: RwLock::default(),
            allow_strategies: options.allow_strategies,
            allow_anonymous: options.allow_anonymous,
            live: Mutex::new(HashMap::new()),
            living: tokio::sync::Mutex::default(),
            chains: Mutex::default(),
            roots_indexed: tokio::sync::OnceCell::new(),
            words: words::Words::default(),
            leads: Leads::for_host(),
            has_lived: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            began: Instant::now(),
            events,
        })
    }

    /// The space behind.
    pub fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }

    /// Limits of each connection.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Limits over all connections.
    pub fn host_limits(&self) -> &HostLimits {
        &self.host_limits
    }

    /// Memory that validated states of identities take now, about.
    pub fn kept_identities_bytes(&self) -> usize {
        self.chains().bytes()
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Jobs that cost much, of peers, which were begun since the host is there.
    pub fn jobs_begun(&self) -> u64 {
        self.jobs.count()
    }

    /// Signatures checked or made and messages read, for peers, which were begun since the host is there.
    pub fn checks_begun(&self) -> u64 {
        self.checks.count()
    }

    /// The tip of whatever timeline `addr` belongs to; a constant answers itself.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn tip(&self, addr: &Addr) -> Result<Option<Addr>, SagaError> {
        Ok(resolve(&*self.moment().await?, addr).await.map_err(space_error)?.map(|(_, tip)| tip))
    }

    /// The space as it is now.
    async fn moment(&self) -> Result<Box<dyn View + '_>, SagaError> {
        self.space.view().await.map_err(space_error)
    }

    /// The addresses of a graph, dependencies first, found by a job that ends with whoever waits for it.
    ///
    /// # Errors
    /// The graph is not whole, or has more nodes than `max`; the space fails.
    pub async fn graph(&self, start: Addr, max: usize) -> Result<Vec<Addr>, SagaError> {
        let space = Arc::clone(&self.space);
        let job = async move {
            let reached = space.reach(&[start], Follow::All, &HashSet::new(), max).await;
            reached.map_err(space_error)
        };
        self.readers.run(job).await
    }

    /// Tips of living timelines whose first frame's ib is `ib`.
    ///
    /// # Errors
    /// When the space fails.
    async fn tips_of(&self, ib: &str) -> Result<Vec<Tip>, SagaError> {
        let tips = self.space.tips(Some(Kind::Living)).await.map_err(space_error)?;
        Ok(tips.into_iter().filter(|t| t.tjp.ib() == ib).collect())
    }
}
