//! What a door keeps: rows in the host's space, read and written by key.
//!
//! A door is killed at any moment and may run on several servers over one space. So it holds nothing in memory that has
//! to last: for each request it reads the rows that the request concerns, decides, and writes what comes of it in one
//! commit, on the condition that those rows are still as it read them. Only then it answers.
//!
//! A row of a [`Table::history`] is a timeline of kind [`Kind::Door`]: its first frame is
//! empty, and each value it ever had is one frame more, so that [`Row::n`] counts its values. Such timelines never
//! travel: no peer can read, bring or move one. A row of a [`Table::passing`] leaves no history, for what has to be
//! forgotten again. Which rows there are is told by a local record for each, `door/DOOR/TABLE/KEY`, in the same commit.
//!
//! ```
//! use ibgib_server::rows::{Edits, Rows, Table};
//! use ibgib_spaces::MemorySpace;
//! use std::sync::Arc;
//!
//! const COUNTERS: Table = Table::history("counter");
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let rows = Rows::new(Arc::new(MemorySpace::new("doc")), "hello");
//! let (mine, theirs) = (rows.one::<u32>(COUNTERS, "a").await?, rows.one::<u32>(COUNTERS, "a").await?);
//! let mut edits = Edits::default();
//! edits.set(&mine, &1)?;
//! assert!(rows.write(edits).await?);
//! // Who read the row before that comes too late, and begins again.
//! let mut late = Edits::default();
//! late.set(&theirs, &2)?;
//! assert!(!rows.write(late).await?);
//! let now = rows.one::<u32>(COUNTERS, "a").await?;
//! assert_eq!((now.n, now.value), (1, Some(1)));
//! # Ok::<(), ibgib_server::rows::RowError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use ibgib::json::Mode;
use ibgib::transform::{ForkOpts, Moment, Mut8Opts, TjpOpts, TransformError, fork, linked, mut8};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_peer::entropy::{now_ms, random};
use ibgib_spaces::history::Loader;
use ibgib_spaces::store::{Nodes, Records, Tips, View};
use ibgib_spaces::{Commit, CommitError, Kind, Space, SpaceError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The member of a frame's data that holds the row's value.
const VALUE: &str = "value";
/// The member of a frame's data that holds the row's key.
const KEY: &str = "key";

/// Why rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The space fails, or refuses what was to be written.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What is stored under a key is not what a door of this version writes.
    #[error("the row {key} does not hold: {why}")]
    Damaged {
        /// The key of its record.
        key: String,
        /// In which way.
        why: String,
    },
    /// The value is none that a node can hold: too large, too deep, or a number that is not exact.
    #[error("a value for the row {key} cannot be kept: {why}")]
    Value {
        /// The key of its record.
        key: String,
        /// In which way.
        why: String,
    },
}

impl From<SpaceError> for RowError {
    fn from(error: SpaceError) -> Self {
        Self::Commit(error.into())
    }
}

/// A sort of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    name: &'static str,
    keeps_history: bool,
}

impl Table {
    /// Rows that are timelines: whatever a row was stays.
    pub const fn history(name: &'static str) -> Self {
        Self { name, keeps_history: true }
    }

    /// Rows of which nothing stays once they are changed or dropped.
    pub const fn passing(name: &'static str) -> Self {
        Self { name, keeps_history: false }
    }
}

/// A row as it was read, there or not.
#[derive(Clone, Debug)]
pub struct Row<T> {
    /// Its key.
    pub key: String,
    /// What it says; `None` when it is not there.
    pub value: Option<T>,
    /// In a table with history: how many values it has had, this one included. 0 when it is not there.
    pub n: u64,
    table: Table,
    /// The record's key and what it held.
    record: String,
    held: Option<Vec<u8>>,
    frame: Option<Verified<IbGib>>,
}

/// What is to be written at once.
#[derive(Debug, Default)]
pub struct Edits {
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    table: Table,
    key: String,
    record: String,
    held: Option<Vec<u8>>,
    frame: Option<Verified<IbGib>>,
    what: What,
}

#[derive(Debug)]
enum What {
    Set(Value),
    Drop,
    Keep,
}

impl Edits {
    /// Gives a row a value, if it is still as it was read.
    ///
    /// # Errors
    /// [`RowError::Value`].
    pub fn set<T, U: Serialize + ?Sized>(&mut self, row: &Row<T>, value: &U) -> Result<(), RowError> {
        let refused = |why: String| RowError::Value { key: row.record.clone(), why };
        let text = serde_json::to_string(value).map_err(|e| refused(e.to_string()))?;
        let value = Value::parse(&text, Mode::Strict).map_err(|e| refused(e.to_string()))?;
        self.push(row, What::Set(value));
        Ok(())
    }

    /// Lets go of a row, if it is still as it was read. What its timeline says stays; it is listed no more.
    pub fn drop<T>(&mut self, row: &Row<T>) {
        self.push(row, What::Drop);
    }

    /// Demands that a row is still as it was read.
    pub fn keep<T>(&mut self, row: &Row<T>) {
        self.push(row, What::Keep);
    }

    fn push<T>(&mut self, row: &Row<T>, what: What) {
        let Row { table, key, record, held, frame, .. } = row;
        self.edits.push(Edit {
            table: *table,
            key: key.clone(),
            record: record.clone(),
            held: held.clone(),
            frame: frame.clone(),
            what,
        });
    }
}

/// The rows of one door.
#[derive(Clone, Debug)]
pub struct Rows {
    space: Arc<dyn Space>,
    door: &'static str,
}

impl Rows {
    /// Those of the door with this name. Two doors of one space have different names.
    pub fn new(space: Arc<dyn Space>, door: &'static str) -> Self {
        Self { space, door }
    }

    fn record(&self, table: Table, key: &str) -> String {
        format!("door/{}/{}/{key}", self.door, table.name)
    }

    /// The rows under these keys, in order, all as they were at one moment.
    ///
    /// # Errors
    /// The space fails; [`RowError::Damaged`].
    pub async fn get<T: DeserializeOwned>(&self, table: Table, keys: &[String]) -> Result<Vec<Row<T>>, RowError> {
        let records: Vec<String> = keys.iter().map(|key| self.record(table, key)).collect();
        let view = self.space.view().await?;
        let found = view.records(Records::Keys(&records)).await?;
        let mut held: std::collections::HashMap<String, Vec<u8>> = found.into_iter().collect();
        let records = records.into_iter().zip(keys.iter().cloned()).map(|(record, key)| {
            let held = held.get_mut(&record).map(std::mem::take);
            (key, record, held)
        });
        let records = records.collect();
        read(&*view, table, records).await
    }

    /// The row under a key.
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub async fn one<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Row<T>, RowError> {
        let mut rows = self.get(table, &[key.to_owned()]).await?;
        Ok(rows.swap_remove(0))
    }

    /// The rows that are there and whose key starts with `prefix`, by key.
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub async fn all<T: DeserializeOwned>(&self, table: Table, prefix: &str) -> Result<Vec<Row<T>>, RowError> {
        let view = self.space.view().await?;
        let start = self.record(table, "");
        let mut found = view.records(Records::Prefix(&format!("{start}{prefix}"))).await?;
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let records = found.into_iter().map(|(record, held)| (record[start.len()..].to_owned(), record, Some(held)));
        read(&*view, table, records.collect()).await
    }

    /// The first rows by key, `max` at most, and how many there are.
    ///
    /// # Errors
    /// As [`Rows::get`].
    pub async fn first<T: DeserializeOwned>(&self, table: Table, max: usize) -> Result<(Vec<Row<T>>, usize), RowError> {
        let view = self.space.view().await?;
        let start = self.record(table, "");
        let mut found = view.records(Records::Prefix(&start)).await?;
        let count = found.len();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found.truncate(max);
        let records = found.into_iter().map(|(record, held)| (record[start.len()..].to_owned(), record, Some(held)));
        Ok((read(&*view, table, records.collect()).await?, count))
    }

    /// Writes all of it in one commit, durable when this returns. `false`: a row that is named in it is no longer as it
    /// was read, and nothing was written; whoever asked reads again and decides anew.
    ///
    /// # Errors
    /// [`RowError`]; nothing was written then, except that this is unknown when the space fails.
    pub async fn write(&self, edits: Edits) -> Result<bool, RowError> {
        let mut commit = Commit::default();
        let mut history = Loader::new(&*self.space, None);
        for edit in edits.edits {
            let Edit { table, key, record, held, frame, what } = edit;
            let now = match what {
                What::Keep => None,
                What::Drop => Some(None),
                What::Set(value) if !table.keeps_history => Some(Some(value.to_json().into_bytes())),
                What::Set(value) => {
                    let refused = |e: TransformError| RowError::Value { key: record.clone(), why: e.to_string() };
                    let before = frame.as_ref().map(|frame| frame.addr().clone());
                    let made = self.next(table, &key, frame.as_ref(), value).map_err(refused)?;
                    let to = made.last().map(|frame| frame.addr().clone());
                    let to = to.expect("a value makes one frame at least");
                    history.add(frame.into_iter().chain(made.iter().cloned()));
                    let advance = history.advance(before.as_ref(), &to).await;
                    let advance = advance.map_err(|e| RowError::Damaged { key: record.clone(), why: e.to_string() })?;
                    commit.nodes.extend(made);
                    commit.tips.push(advance.into());
                    Some(Some(to.as_str().as_bytes().to_vec()))
                }
            };
            commit.records.extend(now.map(|now| (record.clone(), now)));
            commit.expect.push((record, held));
        }
        drop(history);
        match self.space.commit(commit).await {
            Ok(_) => Ok(true),
            Err(CommitError::RecordsChanged(_) | CommitError::TipsMoved(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The frames that give a row its next value.
    fn next(
        &self,
        table: Table,
        key: &str,
        frame: Option<&Verified<IbGib>>,
        value: Value,
    ) -> Result<Vec<Verified<IbGib>>, TransformError> {
        let moment = Moment { now_ms: now_ms(), random: random() };
        let mut made = Vec::new();
        if frame.is_none() {
            let opts = ForkOpts {
                dest_ib: Some(format!("door_row {} {}", self.door, table.name)),
                n_counter: true,
                tjp: Some(TjpOpts { uuid: true, timestamp: true }),
                linked_rel8ns: linked(),
                ..ForkOpts::default()
            };
            made.push(fork(&IbGib::primitive("door_row")?, &opts, &moment)?.frame);
        }
        let last = made.last().or(frame).expect("there is a frame, or one was made");
        let old = last.data.as_ref().and_then(|data| data.get(VALUE));
        // Over an object, a patch would be laid member by member.
        let remove = old.and_then(Value::as_object).map(|_| Map::from_iter([(VALUE, "")]));
        let opts = Mut8Opts {
            remove,
            patch: Some(Map::from_iter([(KEY, key.into()), (VALUE, value)])),
            n_counter: true,
            linked_rel8ns: linked(),
            ..Mut8Opts::default()
        };
        let next = mut8(last, &opts, &moment)?.frame;
        made.push(next);
        Ok(made)
    }

    /// The space's newest revision: whatever any door, on any server, has written is in it.
    ///
    /// # Errors
    /// The space fails.
    pub async fn revision(&self) -> Result<u64, RowError> {
        Ok(self.space.revision().await?)
    }

    /// The newest revision, and the keys of those rows of a table with history that got a value after revision `since`,
    /// at whichever server; more of them where the space no longer knows.
    ///
    /// # Errors
    /// The space fails.
    pub async fn moved(&self, table: Table, since: u64) -> Result<(u64, Vec<String>), RowError> {
        let view = self.space.view().await?;
        let revision = view.head().await?.revision;
        let ib = format!("door_row {} {}", self.door, table.name);
        let mut tips = view.tips(Tips::MovedSince(since)).await?;
        tips.retain(|tip| tip.kind == Kind::Door && tip.tjp.ib() == ib);
        let addrs: Vec<Addr> = tips.into_iter().map(|tip| tip.addr).collect();
        let frames = view.nodes(Nodes::Committed(&addrs)).await?;
        let key = |frame: &Verified<IbGib>| Some(frame.data.as_ref()?.get(KEY)?.as_str()?.to_owned());
        Ok((revision, frames.iter().flatten().filter_map(key).collect()))
    }

    /// Waits until something was written after revision `since`; answers the newest revision.
    ///
    /// # Errors
    /// The space fails or is closed.
    pub async fn changed(&self, since: u64) -> Result<u64, RowError> {
        Ok(self.space.changed(since).await?)
    }
}

/// Reads the values of rows, from their records or the frames that these name.
async fn read<T: DeserializeOwned>(
    view: &dyn View,
    table: Table,
    records: Vec<(String, String, Option<Vec<u8>>)>,
) -> Result<Vec<Row<T>>, RowError> {
    let damaged = |key: &str, why: String| RowError::Damaged { key: key.to_owned(), why };
    let text = |record: &str, held: &[u8]| {
        std::str::from_utf8(held).map(str::to_owned).map_err(|_| damaged(record, "its record is no text".into()))
    };
    let mut addrs = Vec::new();
    if table.keeps_history {
        for (_, record, held) in &records {
            if let Some(held) = held {
                let addr: Addr = text(record, held)?.parse().map_err(|e| damaged(record, format!("{e}")))?;
                addrs.push(addr);
            }
        }
    }
    let nodes = if addrs.is_empty() { Vec::new() } else { view.nodes(Nodes::Committed(&addrs)).await? };
    let mut nodes = nodes.into_iter();
    let mut rows = Vec::with_capacity(records.len());
    for (key, record, held) in records {
        let mut row = Row { key, value: None, n: 0, table, record, held, frame: None };
        if let Some(held) = &row.held {
            let json = if table.keeps_history {
                let lacking = || damaged(&row.record, "its frame is not there".into());
                let frame = nodes.next().flatten().ok_or_else(lacking)?;
                let value = frame.data.as_ref().and_then(|data| data.get(VALUE));
                let json = value.ok_or_else(|| damaged(&row.record, "its frame holds no value".into()))?.to_json();
                row.n = frame.n().unwrap_or_default();
                row.frame = Some(frame);
                json
            } else {
                text(&row.record, held)?
            };
            let value = serde_json::from_str(&json).map_err(|e| damaged(&row.record, e.to_string()))?;
            row.value = Some(value);
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibgib_spaces::MemorySpace;
    use std::collections::BTreeMap;

    const ACCOUNTS: Table = Table::history("account");
    const BOXES: Table = Table::passing("box");

    fn rows() -> (Arc<MemorySpace>, Rows) {
        let space = Arc::new(MemorySpace::new("rows"));
        (Arc::clone(&space), Rows::new(space, "test"))
    }

    async fn set<T: Serialize + DeserializeOwned>(rows: &Rows, table: Table, key: &str, value: &T) -> bool {
        let row = rows.one::<T>(table, key).await.unwrap();
        let mut edits = Edits::default();
        edits.set(&row, value).unwrap();
        rows.write(edits).await.unwrap()
    }

    #[tokio::test]
    async fn a_row_says_what_it_was_last_given_and_counts_its_values() {
        let (space, rows) = rows();
        for table in [ACCOUNTS, BOXES] {
            let absent = rows.one::<u32>(table, "a").await.unwrap();
            assert_eq!((absent.value, absent.n), (None, 0));
            let values = [r#"{"x":1,"y":{"timestamp":1,"z":2}}"#, r#"{"y":{"z":3}}"#, "{}", "[1]", "null", r#""t""#];
            for (i, value) in values.into_iter().enumerate() {
                let value: serde_json::Value = serde_json::from_str(value).unwrap();
                assert!(set(&rows, table, "a", &value).await);
                let row = rows.one::<serde_json::Value>(table, "a").await.unwrap();
                assert_eq!(row.n, if table == ACCOUNTS { i as u64 + 1 } else { 0 });
                assert_eq!(row.value, Some(value));
            }
        }
        let tips = space.tips(None).await.unwrap();
        assert_eq!(tips.iter().map(|tip| (tip.kind, tip.n)).collect::<Vec<_>>(), [(Kind::Door, Some(6))]);
    }

    #[tokio::test]
    async fn edits_are_written_together_or_not_at_all() {
        let (_, rows) = rows();
        assert!(set(&rows, ACCOUNTS, "a", &1).await && set(&rows, BOXES, "b", &1).await);
        let a = rows.one::<u32>(ACCOUNTS, "a").await.unwrap();
        let b = rows.one::<u32>(BOXES, "b").await.unwrap();
        let absent = rows.one::<u32>(BOXES, "c").await.unwrap();
        assert!(set(&rows, ACCOUNTS, "a", &2).await);
        // Each edit that rests on a row that moved holds all the others back: a value, a drop, a mere demand.
        for rest in 0..3 {
            let mut edits = Edits::default();
            edits.set(&b, &2).unwrap();
            edits.set(&absent, &2).unwrap();
            match rest {
                0 => edits.set(&a, &3).unwrap(),
                1 => edits.drop(&a),
                _ => edits.keep(&a),
            }
            assert!(!rows.write(edits).await.unwrap());
        }
        let all: Vec<_> = rows.all::<u32>(BOXES, "").await.unwrap().into_iter().map(|r| (r.key, r.value)).collect();
        assert_eq!(all, [("b".into(), Some(1))]);
        // What was not there has to be not there still.
        let mut edits = Edits::default();
        edits.keep(&b);
        edits.set(&absent, &1).unwrap();
        assert!(rows.write(edits).await.unwrap());
        let mut late = Edits::default();
        late.keep(&absent);
        assert!(!rows.write(late).await.unwrap());
    }

    #[tokio::test]
    async fn a_dropped_row_is_listed_no_more_and_begins_anew() {
        let (_, rows) = rows();
        for table in [ACCOUNTS, BOXES] {
            for key in ["x/1", "x/2", "y/1"] {
                assert!(set(&rows, table, key, &key.to_owned()).await);
            }
            let row = rows.one::<String>(table, "x/1").await.unwrap();
            let mut edits = Edits::default();
            edits.drop(&row);
            assert!(rows.write(edits).await.unwrap());
            let all = rows.all::<String>(table, "x/").await.unwrap();
            assert_eq!(all.into_iter().map(|r| r.key).collect::<Vec<_>>(), ["x/2"]);
            assert!(set(&rows, table, "x/1", &"again".to_owned()).await);
            let row = rows.one::<String>(table, "x/1").await.unwrap();
            assert_eq!((row.value, row.n), (Some("again".into()), u64::from(table == ACCOUNTS)));
        }
    }

    #[tokio::test]
    async fn of_racing_writers_each_comes_through_once() {
        let (_, rows) = rows();
        let writers = (0..8).map(|_| {
            let rows = rows.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    loop {
                        let row = rows.one::<u32>(ACCOUNTS, "a").await.unwrap();
                        let mut edits = Edits::default();
                        edits.set(&row, &(row.value.unwrap_or_default() + 1)).unwrap();
                        if rows.write(edits).await.unwrap() {
                            break;
                        }
                    }
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let row = rows.one::<u32>(ACCOUNTS, "a").await.unwrap();
        assert_eq!((row.value, row.n), (Some(80), 80));
    }

    #[tokio::test]
    async fn what_a_node_cannot_hold_is_refused_by_name() {
        let (_, rows) = rows();
        let row = rows.one::<f64>(ACCOUNTS, "a").await.unwrap();
        let mut edits = Edits::default();
        let error = edits.set(&row, &BTreeMap::from([("a", u64::MAX)])).unwrap_err();
        assert!(error.to_string().contains("door/test/account/a"), "{error}");
        let row = rows.one::<String>(ACCOUNTS, "a").await.unwrap();
        let mut edits = Edits::default();
        let error = match edits.set(&row, &"x".repeat(64 << 20)) {
            Ok(()) => rows.write(edits).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, RowError::Value { .. }), "{error}");
    }
}
