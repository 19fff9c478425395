//! A space in a PostgreSQL database, in front of which any number of servers run at once.
//!
//! It keeps what every [`Store`] keeps, in the schema `ibgib` of one database: nodes by their hash, their exact text
//! compressed; tips; what is staged; local records; and the last revisions. PostgreSQL 13 or newer.
//!
//! * A write is one transaction, and writes happen one after the other, over all servers: the order of revisions is the
//!   order of commits. A connection lost while it commits leaves unknown whether it did: that is looked up by a random
//!   id that the transaction wrote, and the write is done again only if it is not there.
//! * A view is a transaction that only reads, and sees one moment.
//! * [`Store::changed`] costs one connection per server, however many wait.
//! * Leases run out by the database's clock, whatever the servers' clocks say.
//! * The schema has a version. An older one is brought to the present one on opening, unless it is opened only to be
//!   read, which changes nothing; a newer one is refused.
//!
//! While the database cannot be reached, calls fail with [`SpaceError::Unavailable`]; once it is back, they succeed.
//!
//! ```no_run
//! use ibgib_postgres::PostgresSpace;
//! use ibgib_spaces::Space;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let space = PostgresSpace::open_or_create("postgres://me@db.example/notes").await?;
//! println!("{} nodes", space.count().await?);
//! # Ok::<(), ibgib_spaces::SpaceError>(())
//! # });
//! ```
#![forbid(unsafe_code)]

mod address;
mod error;
mod kept;
mod lease;
mod listen;
mod read;
mod row;
mod schema;
mod write;

use crate::error::no_connection;
use address::Address;
pub use address::shown;
use async_trait::async_trait;
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use ibgib::{IbGib, Verified};
use ibgib_spaces::SpaceError;
use ibgib_spaces::store::{Batch, Store, View, Written};
use kept::Kept;
use read::PostgresView;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use write::{INCOMING, Prepared, Unwritten};

/// Connections of one server, besides the one that listens.
const CONNECTIONS: usize = 16;
/// So long a call waits for one of them.
const WAIT: Duration = Duration::from_secs(10);
/// So long a write whose outcome is unknown waits for the database to come back and tell.
const SETTLE: Duration = Duration::from_secs(10);
/// Between two looks at a database that is away.
const AGAIN: Duration = Duration::from_millis(100);

/// What each connection is set to. A transaction whose server died or lost its way must not hold the others up.
const SESSION: &str = "SET idle_in_transaction_session_timeout = '60s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;
    SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// What a connection is set to that only reads.
const READING: &str = "SET default_transaction_read_only = on";

/// A space in a database.
pub struct PostgresSpace {
    id: String,
    shown: String,
    pool: Pool,
    opening: Opening,
    revision: watch::Sender<u64>,
    kept: Arc<Kept>,
    listening: JoinHandle<()>,
}

impl fmt::Debug for PostgresSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSpace").field("url", &self.shown).finish_non_exhaustive()
    }
}

impl Drop for PostgresSpace {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What a space is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    Read,
    Write,
    Create,
}

/// Whether a path names a space in a database: it begins with `postgres://` or `postgresql://`.
pub fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

impl PostgresSpace {
    /// Opens the space in a database, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, whose schema is brought to the
    /// present version if it is older. Options: `sslmode` is `disable` or `require`, which checks the server's
    /// certificate and is what holds for other machines; `sslrootcert` names a file with the authorities to check it
    /// by, in place of the machine's; and what `tokio-postgres` knows. Needs a tokio runtime, which keeps listening.
    ///
    /// # Errors
    /// [`SpaceError::Address`] for a URL that is none, [`SpaceError::NotFound`] where there is no database or no space
    /// in it, [`SpaceError::Newer`], [`SpaceError::Permission`], [`SpaceError::Unavailable`].
    pub async fn open(url: &str) -> Result<Self, SpaceError> {
        Self::open_with(url, Opening::Write).await
    }

    /// Opens the space in a database, making it if there is none; the database itself has to be there.
    ///
    /// # Errors
    /// As [`PostgresSpace::open`].
    pub async fn open_or_create(url: &str) -> Result<Self, SpaceError> {
        Self::open_with(url, Opening::Create).await
    }

    /// Opens the space in a database only to read it: a schema of an older version stays as it is and is read as it is,
    /// since everything that is read was in the first one, and every write is refused with [`SpaceError::Permission`]. A
    /// standby, which takes no writes, is read, too.
    ///
    /// # Errors
    /// As [`PostgresSpace::open`].
    pub async fn open_read_only(url: &str) -> Result<Self, SpaceError> {
        Self::open_with(url, Opening::Read).await
    }

    async fn open_with(url: &str, opening: Opening) -> Result<Self, SpaceError> {
        let address = Address::parse(url)?;
        let pool = pool(&address, opening)?;
        let mut client = pool.get().await.map_err(no_connection)?;
        match (schema::version(&client).await?, opening) {
            (None, Opening::Read | Opening::Write) => return Err(SpaceError::NotFound(address.shown)),
            (Some(version), Opening::Read) => schema::is_present(version).map(drop)?,
            (Some(version), _) if schema::is_present(version)? => {}
            _ => schema::migrate(&mut client).await?,
        }
        let (id, revision) = schema::read_space(&client).await?;
        drop(client);
        let revision = watch::Sender::new(revision);
        let shown = address.shown.clone();
        let kept = Arc::<Kept>::default();
        let listening = tokio::spawn(listen::listen(address, revision.clone(), Arc::clone(&kept)));
        Ok(Self { id, shown, pool, opening, revision, kept, listening })
    }

    /// Where the space is: its URL without password and options.
    pub fn url(&self) -> &str {
        &self.shown
    }

    async fn client(&self) -> Result<Object, SpaceError> {
        self.pool.get().await.map_err(no_connection)
    }

    fn may_write(&self) -> Result<(), SpaceError> {
        match self.opening {
            Opening::Read => Err(SpaceError::Permission("the space was opened only to be read".into())),
            Opening::Write | Opening::Create => Ok(()),
        }
    }
}

/// How often something is tried, and for how long it is begun again.
const TRIES_MAX: u32 = 4;
const TRY_MAX: Duration = Duration::from_secs(5);

/// What changes nothing when it is done twice is done again, on another connection: that one has broken is often first
/// noticed by using it, and one of two that wait for each other is ended by the database, more than once on a busy one.
struct Tries {
    began: Instant,
    count: u32,
}

impl Tries {
    fn begin() -> Self {
        Self { began: Instant::now(), count: 0 }
    }

    /// How long to wait before the next try; none where there is none.
    fn next(&mut self, error: Option<&SpaceError>) -> Option<Duration> {
        self.count += 1;
        let again = matches!(error, Some(SpaceError::Unavailable(_)))
            && self.count < TRIES_MAX
            && self.began.elapsed() < TRY_MAX;
        again.then_some(if self.count == 1 { Duration::ZERO } else { AGAIN })
    }
}

fn pool(address: &Address, opening: Opening) -> Result<Pool, SpaceError> {
    let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(address.config.clone(), address.tls.clone(), config);
    let prepare = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        Box::pin(async move {
            client.batch_execute(SESSION).await.map_err(HookError::Backend)?;
            let further = if opening == Opening::Read { READING } else { INCOMING };
            client.batch_execute(further).await.map_err(HookError::Backend)
        })
    });
    let pool = Pool::builder(manager).max_size(CONNECTIONS).runtime(Runtime::Tokio1).post_create(prepare);
    let pool = pool.wait_timeout(Some(WAIT)).create_timeout(Some(WAIT)).build();
    pool.map_err(|e| SpaceError::Io(e.to_string()))
}

#[async_trait]
impl Store for PostgresSpace {
    fn id(&self) -> &str {
        &self.id
    }

    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        let mut tries = Tries::begin();
        loop {
            let view = PostgresView::begin(self.client().await?, Arc::clone(&self.kept)).await;
            match tries.next(view.as_ref().err()) {
                Some(pause) => sleep(pause).await,
                None => return Ok(Box::new(view?)),
            }
        }
    }

    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        self.may_write()?;
        let prepared = Prepared::new(&batch)?;
        let (mut unknown, mut tries) = (None, Tries::begin());
        loop {
            let tried = match self.client().await {
                Ok(mut client) => prepared.write(&mut client).await,
                Err(error) => Err(Unwritten::Nothing(error)),
            };
            match tried {
                Ok(written) => {
                    if let Written::Done(revision) = written {
                        listen::tell(&self.revision, revision);
                    }
                    return Ok(written);
                }
                Err(Unwritten::Unknown(error)) => {
                    tracing::warn!(%error, "a commit's connection broke; looking whether it was done");
                    if Instant::now() >= *unknown.get_or_insert(Instant::now() + SETTLE) {
                        return Err(error);
                    }
                }
                Err(Unwritten::Nothing(error)) => match unknown {
                    Some(until) if matches!(error, SpaceError::Unavailable(_)) && Instant::now() < until => {}
                    Some(_) => return Err(error),
                    None => {
                        match tries.next(Some(&error)) {
                            Some(pause) => sleep(pause).await,
                            None => return Err(error),
                        }
                        continue;
                    }
                },
            }
            sleep(AGAIN).await;
        }
    }

    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.may_write()?;
        let mut tries = Tries::begin();
        loop {
            let done = write::stage(&mut self.client().await?, owner, nodes).await;
            match tries.next(done.as_ref().err()) {
                Some(pause) => sleep(pause).await,
                None => return done,
            }
        }
    }

    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.may_write()?;
        let mut tries = Tries::begin();
        loop {
            let done = write::unstage(&self.client().await?, owner).await;
            match tries.next(done.as_ref().err()) {
                Some(pause) => sleep(pause).await,
                None => return done,
            }
        }
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        self.may_write()?;
        let mut tries = Tries::begin();
        loop {
            let done = lease::take(&self.client().await?, name, holder, time).await;
            match tries.next(done.as_ref().err()) {
                Some(pause) => sleep(pause).await,
                None => return done,
            }
        }
    }

    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.may_write()?;
        let mut tries = Tries::begin();
        loop {
            let done = lease::give_up(&self.client().await?, name, holder).await;
            match tries.next(done.as_ref().err()) {
                Some(pause) => sleep(pause).await,
                None => return done,
            }
        }
    }

    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        let mut revision = self.revision.subscribe();
        let now = revision.wait_for(|revision| *revision > since).await.map_err(|_| SpaceError::Closed)?;
        Ok(*now)
    }
}
