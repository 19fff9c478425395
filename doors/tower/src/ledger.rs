//! Users, appointments, trackers and the newest blocks as rows of the host's space.
//!
//! A row of each table has the value that its type here says. Whatever changes them changes the row [`TURN`], too, so
//! that of two servers over one space only one comes through at a time, and the other reads again.

use crate::feed::BlockId;
use crate::gatekeeper::{Subscription, Terms};
use crate::responder::{Penalty, TransactionTracker};
use crate::sealed::{Dialect, Locator};
use crate::signature::UserId;
use crate::tower::{Changes, Tower};
use crate::transaction::Transaction;
use crate::watcher::{Appointment, AppointmentId};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ibgib_server::rows::{Edits, Row, RowError, Rows, Table};
use serde::{Deserialize, Serialize};

/// By user id.
const USERS: Table = Table::history("user");
/// By user id and locator, as the other way round for trackers.
const APPOINTMENTS: Table = Table::history("appointment");
const TRACKERS: Table = Table::history("tracker");
/// One row: the last block that was looked at. Its history is the chain as this tower saw it.
const BLOCKS: Table = Table::history("block");
const LAST: &str = "last";
/// One row: the newest blocks, for the way back when the chain is reorganised.
const TRAILS: Table = Table::passing("trail");
/// One row: how often anything was written.
const TURNS: Table = Table::passing("turn");
const TURN: &str = "turn";

/// One row: who the tower is, for its owner while it does not run.
const ABOUT: Table = Table::passing("about");

/// Blocks whose ids are kept. No reorganisation is as deep.
pub(crate) const TRAIL_MAX: usize = 144;

/// The ids of the newest blocks, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trail(pub(crate) Vec<BlockId>);

impl Trail {
    pub(crate) fn push(&mut self, id: BlockId) {
        self.0.push(id);
        let over = self.0.len().saturating_sub(TRAIL_MAX);
        self.0.drain(..over);
    }
}

/// A tower as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) tower: Tower,
    pub(crate) trail: Trail,
    /// It was read, and nobody asked since what it has to send: penalties that were last sent at this height or later
    /// may not have gone out.
    pub(crate) unsent_since: Option<u32>,
}

impl Kept {
    /// Takes over what is nowhere written from the tower as this process held it before it was read again: because a
    /// store failed, when nobody knows what was written, or because another server over the same space wrote. What was
    /// to be sent up to the height that both know is with whoever sends, or was sent.
    pub(crate) fn follow(&mut self, before: Self) {
        let both = self.tower.last_block().height.min(before.tower.last_block().height);
        self.unsent_since = Some(before.unsent_since.map_or(both, |since| since.min(both)));
        self.tower.follow(before.tower);
    }
}

/// Which dialect, as it is written.
pub(crate) fn word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Rust => "rust",
        Dialect::Python => "python",
    }
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
enum DialectWord {
    #[serde(rename = "rust")]
    Rust,
    #[serde(rename = "python")]
    Python,
}

impl From<Dialect> for DialectWord {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Rust => Self::Rust,
            Dialect::Python => Self::Python,
        }
    }
}

impl From<DialectWord> for Dialect {
    fn from(word: DialectWord) -> Self {
        match word {
            DialectWord::Rust => Self::Rust,
            DialectWord::Python => Self::Python,
        }
    }
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct AboutRow {
    id: String,
    dialect: DialectWord,
}

#[derive(Serialize, Deserialize)]
struct UserRow {
    dialect: DialectWord,
    slots: u32,
    start: u32,
    expiry: u32,
}

#[derive(Serialize, Deserialize)]
struct AppointmentRow {
    sealed: String,
    to_self_delay: u32,
    user_signature: String,
    start_block: u32,
}

#[derive(Serialize, Deserialize)]
struct TrackerRow {
    /// Whether the user is still there.
    is_owned: bool,
    dispute_txid: String,
    dispute_height: Option<u32>,
    penalty: String,
    state: StateWord,
    /// Rows of the first version lack it: what they follow is rather followed than dropped.
    #[serde(default = "yes")]
    is_taken: bool,
    slots: u32,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateWord {
    WaitingSince(u32),
    ConfirmedAt(u32),
}

#[derive(Serialize, Deserialize)]
struct BlockRow {
    hash: String,
    height: u32,
}

#[derive(Serialize, Deserialize)]
struct TrailRow {
    height: u32,
    hashes: Vec<String>,
}

impl From<&Subscription> for UserRow {
    fn from(it: &Subscription) -> Self {
        Self { dialect: it.dialect.into(), slots: it.slots, start: it.start, expiry: it.expiry }
    }
}

impl From<UserRow> for Subscription {
    fn from(row: UserRow) -> Self {
        Self { dialect: row.dialect.into(), slots: row.slots, start: row.start, expiry: row.expiry }
    }
}

impl From<&Appointment> for AppointmentRow {
    fn from(it: &Appointment) -> Self {
        Self {
            sealed: BASE64_STANDARD.encode(&it.sealed),
            to_self_delay: it.to_self_delay,
            user_signature: it.user_signature.clone(),
            start_block: it.start_block,
        }
    }
}

impl From<&TransactionTracker> for TrackerRow {
    fn from(it: &TransactionTracker) -> Self {
        Self {
            is_owned: it.owner.is_some(),
            dispute_txid: it.dispute_txid.to_string(),
            dispute_height: it.dispute_height,
            penalty: hex::encode(it.penalty.raw()),
            state: match it.state {
                Penalty::Waiting { since } => StateWord::WaitingSince(since),
                Penalty::Confirmed { height } => StateWord::ConfirmedAt(height),
            },
            is_taken: it.is_taken,
            slots: it.slots,
        }
    }
}

fn key(id: &AppointmentId) -> String {
    format!("{}/{}", id.user, id.locator)
}

fn damaged(table: &str, key: &str, why: &str) -> RowError {
    RowError::Damaged { key: format!("{table}/{key}"), why: why.into() }
}

fn id(table: &str, key: &str) -> Result<AppointmentId, RowError> {
    let parsed = key.split_once('/').and_then(|(user, locator)| {
        let (user, locator) = (user.parse::<UserId>().ok()?, locator.parse::<Locator>().ok()?);
        Some(AppointmentId { user, locator })
    });
    parsed.ok_or_else(|| damaged(table, key, "its key is no user and locator"))
}

fn block_hash(text: &str) -> Result<[u8; 32], RowError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| damaged("block", LAST, "it is no hash of a block"))?;
    Ok(hash)
}

/// The rows of a tower.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    rows: Rows,
    terms: [Terms; 2],
}

impl Ledger {
    pub(crate) fn new(rows: Rows, terms: [Terms; 2]) -> Self {
        Self { rows, terms }
    }

    pub(crate) fn terms(&self) -> [Terms; 2] {
        self.terms
    }

    /// Who the tower is, and what it speaks to whoever is no user yet.
    pub(crate) async fn about(&self) -> Result<Option<(UserId, Dialect)>, RowError> {
        let Some(AboutRow { id, dialect }) = self.rows.one(ABOUT, LAST).await?.value else { return Ok(None) };
        let id = id.parse().map_err(|_| damaged("about", LAST, "it names no tower"))?;
        Ok(Some((id, dialect.into())))
    }

    /// Notes who the tower is.
    pub(crate) async fn set_about(&self, id: &UserId, dialect: Dialect) -> Result<(), RowError> {
        loop {
            let row = self.rows.one(ABOUT, LAST).await?;
            let about = AboutRow { id: id.to_string(), dialect: dialect.into() };
            if row.value.as_ref() == Some(&about) {
                return Ok(());
            }
            let mut edits = Edits::default();
            edits.set(&row, &about)?;
            if self.rows.write(edits).await? {
                return Ok(());
            }
        }
    }

    /// All users.
    pub(crate) async fn users(&self) -> Result<Vec<UserId>, RowError> {
        let rows = self.rows.all::<serde_json::Value>(USERS, "").await?;
        let user = |row: &Row<_>| row.key.parse().map_err(|_| damaged("user", &row.key, "its key is no user"));
        rows.iter().map(user).collect()
    }

    /// The row that every change changes.
    pub(crate) async fn turn(&self) -> Result<Row<u64>, RowError> {
        self.rows.one(TURNS, TURN).await
    }

    /// Reads all of it; `None` before the first block.
    pub(crate) async fn load(&self) -> Result<Option<Kept>, RowError> {
        let Some(last) = self.rows.one::<BlockRow>(BLOCKS, LAST).await?.value else { return Ok(None) };
        let last = BlockId { hash: block_hash(&last.hash)?, height: last.height };
        let trail = self.rows.one::<TrailRow>(TRAILS, LAST).await?.value;
        let mut blocks = Vec::new();
        if let Some(TrailRow { height, hashes }) = trail {
            for (back, hash) in (0_u32..).zip(hashes.iter().rev()) {
                blocks.push(BlockId { hash: block_hash(hash)?, height: height.saturating_sub(back) });
            }
        }
        blocks.reverse();
        if blocks.last() != Some(&last) {
            blocks = vec![last];
        }
        let mut users = Vec::new();
        for row in self.rows.all::<UserRow>(USERS, "").await? {
            let user = row.key.parse().map_err(|_| damaged("user", &row.key, "its key is no user"))?;
            users.extend(row.value.map(|value| (user, value.into())));
        }
        let mut appointments = Vec::new();
        for row in self.rows.all::<AppointmentRow>(APPOINTMENTS, "").await? {
            let id = id("appointment", &row.key)?;
            let Some(value) = row.value else { continue };
            let sealed = BASE64_STANDARD.decode(&value.sealed);
            let sealed = sealed.map_err(|_| damaged("appointment", &row.key, "its answer is no base64"))?;
            let AppointmentRow { to_self_delay, user_signature, start_block, .. } = value;
            appointments.push((id, Appointment { sealed, to_self_delay, user_signature, start_block }));
        }
        let mut trackers = Vec::new();
        for row in self.rows.all::<TrackerRow>(TRACKERS, "").await? {
            let id = id("tracker", &row.key)?;
            let Some(value) = row.value else { continue };
            let raw = hex::decode(&value.penalty).ok().and_then(|raw| Transaction::parse(raw).ok());
            let tracker = TransactionTracker {
                owner: value.is_owned.then_some(id.user),
                dispute_txid: value
                    .dispute_txid
                    .parse()
                    .map_err(|_| damaged("tracker", &row.key, "its dispute is no transaction id"))?,
                dispute_height: value.dispute_height,
                penalty: raw.ok_or_else(|| damaged("tracker", &row.key, "its penalty is no transaction"))?,
                state: match value.state {
                    StateWord::WaitingSince(since) => Penalty::Waiting { since },
                    StateWord::ConfirmedAt(height) => Penalty::Confirmed { height },
                },
                is_taken: value.is_taken,
                slots: value.slots,
            };
            trackers.push((id, tracker));
        }
        let tower = Tower::restore(last, self.terms, users, appointments, trackers);
        Ok(Some(Kept { tower, trail: Trail(blocks), unsent_since: Some(0) }))
    }

    /// Writes what changed and the next turn, in one commit; answers the turn. `None`: somebody else wrote meanwhile,
    /// and nothing was written.
    pub(crate) async fn write(&self, kept: &Kept, changes: &Changes, turn: &Row<u64>) -> Result<Option<u64>, RowError> {
        let mut edits = Edits::default();
        let (watcher, responder) = (kept.tower.watcher(), kept.tower.responder());
        let keys: Vec<String> = changes.users.iter().map(UserId::to_string).collect();
        let rows = self.rows.get::<serde_json::Value>(USERS, &keys).await?;
        for (user, row) in changes.users.iter().zip(rows) {
            set(&mut edits, &row, watcher.subscription(user).map(UserRow::from))?;
        }
        let keys: Vec<String> = changes.appointments.iter().map(key).collect();
        let rows = self.rows.get::<serde_json::Value>(APPOINTMENTS, &keys).await?;
        for (id, row) in changes.appointments.iter().zip(rows) {
            set(&mut edits, &row, watcher.appointment(id).map(AppointmentRow::from))?;
        }
        let keys: Vec<String> = changes.trackers.iter().map(key).collect();
        let rows = self.rows.get::<serde_json::Value>(TRACKERS, &keys).await?;
        for (id, row) in changes.trackers.iter().zip(rows) {
            set(&mut edits, &row, responder.tracker(id).map(TrackerRow::from))?;
        }
        if let Some(last) = changes.last_block {
            let row = self.rows.one::<serde_json::Value>(BLOCKS, LAST).await?;
            edits.set(&row, &BlockRow { hash: hex::encode(last.hash), height: last.height })?;
            let hashes = kept.trail.0.iter().map(|id| hex::encode(id.hash)).collect();
            let row = self.rows.one::<serde_json::Value>(TRAILS, LAST).await?;
            edits.set(&row, &TrailRow { height: last.height, hashes })?;
        }
        let next = turn.value.unwrap_or_default() + 1;
        edits.set(turn, &next)?;
        Ok(self.rows.write(edits).await?.then_some(next))
    }
}

/// What is there no more is dropped.
fn set<T: Serialize>(edits: &mut Edits, row: &Row<serde_json::Value>, value: Option<T>) -> Result<(), RowError> {
    match value {
        Some(value) => edits.set(row, &value)?,
        None if row.value.is_some() => edits.drop(row),
        None => {}
    }
    Ok(())
}
