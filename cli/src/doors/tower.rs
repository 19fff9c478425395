//! `--door tower`.

use crate::codes::Code;
use crate::error::CliError;
use crate::kept::Kept;
use crate::private::write_private;
use ibgib_peer::Host;
use ibgib_peer::entropy::random;
use ibgib_spaces::{Commit, CommitError, Space};
use ibgib_tower::gatekeeper::Terms;
use ibgib_tower::rpc::NodeAddress;
use ibgib_tower::sealed::Dialect;
use ibgib_tower::signature::SecretKey;
use ibgib_tower::{TowerDoor, TowerFeed, TowerOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

#[derive(Debug, clap::Args)]
pub(crate) struct TowerArgs {
    /// What the tower follows: a Bitcoin node [default], or the identities of this server, which it guards for their owners
    #[arg(long, value_enum)]
    tower_feed: Option<FeedKind>,
    /// The Bitcoin node that the tower follows: `http://USER:PASS@HOST:PORT`, or without USER:PASS and with
    /// `--tower-cookie`
    #[arg(long, value_name = "URL")]
    tower_bitcoind: Option<String>,
    /// The cookie file of the Bitcoin node, which it writes at each start
    #[arg(long, value_name = "FILE", requires = "tower_bitcoind")]
    tower_cookie: Option<PathBuf>,
    /// What the tower speaks to whoever is no user yet: as rust-teos [default], or as python-teos
    #[arg(long, value_enum)]
    tower_dialect: Option<DialectKind>,
    /// Seconds between two looks for a new block [default: 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    tower_poll: Option<u32>,
    /// Slots of a registration [default: 10,000, in the python dialect 100]
    #[arg(long, value_name = "N")]
    tower_slots: Option<u32>,
    /// Blocks that a registration lasts [default: 4,320]
    #[arg(long, value_name = "BLOCKS")]
    tower_duration: Option<u32>,
    /// Blocks after a subscription's end for which a user's data is kept [default: 6]
    #[arg(long, value_name = "BLOCKS")]
    tower_grace: Option<u32>,
    /// The least `to_self_delay` of the python dialect [default: 20]
    #[arg(long, value_name = "BLOCKS")]
    tower_min_delay: Option<u32>,
    /// Users: registering costs nothing; then 503 [default: 100,000]
    #[arg(long, value_name = "N")]
    tower_max_users: Option<usize>,
    /// Appointments of all users together; then 503 [default: 1,000,000]
    #[arg(long, value_name = "N")]
    tower_max_appointments: Option<usize>,
    /// Bytes of an appointment's request [default: 2,048, in the python dialect 65,536]
    #[arg(long, value_name = "BYTES")]
    tower_body_max: Option<usize>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FeedKind {
    Bitcoind,
    Timelines,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DialectKind {
    Rust,
    Python,
}

impl TowerArgs {
    /// Whether anything is said about the tower.
    pub(crate) fn is_any(&self) -> bool {
        let Self {
            tower_feed,
            tower_bitcoind,
            tower_cookie,
            tower_dialect,
            tower_poll,
            tower_slots,
            tower_duration,
            tower_grace,
            tower_min_delay,
            tower_max_users,
            tower_max_appointments,
            tower_body_max,
        } = self;
        tower_feed.is_some()
            || tower_bitcoind.is_some()
            || tower_cookie.is_some()
            || tower_dialect.is_some()
            || tower_poll.is_some()
            || tower_slots.is_some()
            || tower_duration.is_some()
            || tower_grace.is_some()
            || tower_min_delay.is_some()
            || tower_max_users.is_some()
            || tower_max_appointments.is_some()
            || tower_body_max.is_some()
    }

    fn terms(&self, dialect: Dialect) -> Terms {
        let usual = Terms::of(dialect);
        Terms {
            slots: self.tower_slots.unwrap_or(usual.slots),
            duration: self.tower_duration.unwrap_or(usual.duration),
            grace: self.tower_grace.unwrap_or(usual.grace),
            min_delay: self.tower_min_delay.unwrap_or(usual.min_delay),
            users_max: self.tower_max_users.unwrap_or(usual.users_max),
            appointments_max: self.tower_max_appointments.unwrap_or(usual.appointments_max),
            ..usual
        }
    }
}

/// Where the key is kept in a database.
const KEY: &str = "server/tower.key";

/// Where a running tower tells its owner how it stands.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("tower.sock")
}

/// The tower of a space.
pub(crate) async fn open(args: &TowerArgs, host: &Arc<Host>, kept: &Kept<'_>) -> Result<TowerDoor, CliError> {
    let feed = feed(args, host)?;
    let dialect = match args.tower_dialect {
        None | Some(DialectKind::Rust) => Dialect::Rust,
        Some(DialectKind::Python) => Dialect::Python,
    };
    let (key, owner_socket) = match kept {
        Kept::Beside(dir) => (key(dir)?, Some(socket(dir))),
        // Its owner reads there how it stands.
        Kept::In(space) => (key_record(&**space).await?, None),
    };
    let usual = TowerOptions::new(feed, key, dialect);
    let options = TowerOptions {
        poll: Duration::from_secs(args.tower_poll.unwrap_or(10).into()),
        terms: [args.terms(Dialect::Rust), args.terms(Dialect::Python)],
        body_bytes_max: args.tower_body_max.unwrap_or(usual.body_bytes_max),
        owner_socket,
        ..usual
    };
    Ok(TowerDoor::new(Arc::clone(host.space()), options))
}

/// What the tower follows.
fn feed(args: &TowerArgs, host: &Arc<Host>) -> Result<TowerFeed, CliError> {
    match (args.tower_feed, &args.tower_bitcoind) {
        (Some(FeedKind::Timelines), Some(_)) => {
            Err(CliError::usage("--tower-feed timelines follows this server, and --tower-bitcoind a Bitcoin node")
                .hint("leave one of the two out; a tower for each needs a space of its own"))
        }
        (Some(FeedKind::Timelines), None) => Ok(TowerFeed::Timelines(Arc::clone(host))),
        (None | Some(FeedKind::Bitcoind), None) => Err(CliError::usage("--door tower needs a Bitcoin node to follow")
            .hint("add --tower-bitcoind http://USER:PASS@HOST:PORT, or --tower-cookie FILE instead of USER:PASS; or guard                    identities of this server with --tower-feed timelines")),
        (None | Some(FeedKind::Bitcoind), Some(url)) => {
            let node = NodeAddress::new(url, args.tower_cookie.clone()).map_err(|why| {
                CliError::usage(format!("--tower-bitcoind: {why}"))
                    .hint("write http://USER:PASS@HOST:PORT, as of bitcoin.conf")
            })?;
            Ok(TowerFeed::Bitcoind(node))
        }
    }
}

/// The key that the tower signs receipts with: made once, and kept with the space. Receipts that users have are proofs
/// against this key, so that another one is never put in its place.
fn key(dir: &Path) -> Result<SecretKey, CliError> {
    let path = dir.join("tower.key");
    let damaged = || {
        CliError::new(Code::Damaged, format!("{} holds no key of a tower", path.display()))
            .about(path.display().to_string())
            .hint("put back the file from a backup; without it a new tower would begin, whose users are others")
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return make_key(dir, &path),
        Err(error) => return Err(CliError::io(&path, &error)),
    };
    parse(&text).ok_or_else(damaged)
}

fn parse(text: &str) -> Option<SecretKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_end(), &mut *bytes).ok()?;
    SecretKey::from_bytes(&bytes)
}

/// The same in a database, where all servers of the space find it: of those that start at once one makes it.
async fn key_record(space: &dyn Space) -> Result<SecretKey, CliError> {
    loop {
        if let Some(found) = space.record(KEY).await?.map(Zeroizing::new) {
            return std::str::from_utf8(&found).ok().and_then(parse).ok_or_else(|| {
                CliError::new(Code::Damaged, format!("the record {KEY} holds no key of a tower")).about(KEY).hint(
                    "put back the database from a backup; without it a new tower would begin, whose users are others",
                )
            });
        }
        let key = new_key();
        let records = vec![(KEY.to_owned(), Some(hex::encode(*key.to_bytes()).into_bytes()))];
        match space.commit(Commit { records, expect: vec![(KEY.to_owned(), None)], ..Commit::default() }).await {
            Ok(_) => return Ok(key),
            Err(CommitError::RecordsChanged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn new_key() -> SecretKey {
    loop {
        if let Some(key) = SecretKey::from_bytes(&Zeroizing::new(random())) {
            return key;
        }
    }
}

/// It gets its name only once all of it is on disk.
fn make_key(dir: &Path, path: &Path) -> Result<SecretKey, CliError> {
    let key = new_key();
    let fresh = dir.join("tower.key.new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(CliError::io(&fresh, &error)),
        _ => {}
    }
    write_private(&fresh, Zeroizing::new(hex::encode(*key.to_bytes())).as_bytes())?;
    std::fs::rename(&fresh, path).map_err(|e| CliError::io(path, &e))?;
    let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|e| CliError::io(dir, &e))?;
    Ok(key)
}
