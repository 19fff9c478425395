//! The writes: each one transaction, of which there is one at a time over all servers, and few statements, whatever they
//! are about.

use crate::error::fail;
use crate::read::{committed, digest, records, refs, staged, tips_of};
use crate::row::{Key, Packed, Stored, Unpacker, kind_code, pack};
use deadpool_postgres::{Object, Transaction};
use futures_util::future::try_join4;
use ibgib::{Addr, IbGib, Verified};
use ibgib_spaces::SpaceError;
use ibgib_spaces::store::{Batch, Condition, Written};
use std::collections::{HashMap, HashSet};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

/// A random id of a write, by which it is known whether it happened.
pub(crate) type WriteId = [u8; 16];

/// So many of the last writes are remembered: those whose writers may still be asking.
const REMEMBERED: i64 = 100_000;
/// Every so many writes the others are forgotten.
const FORGETTING: i64 = 1_000;

/// From so many nodes on they are copied, which takes two more round trips and less time for each node.
const COPIED: usize = 16;

/// A table of a connection's own, empty when a transaction begins: what it brings.
pub(crate) const INCOMING: &str = "CREATE TEMP TABLE IF NOT EXISTS incoming
    (hash bytea NOT NULL, addr bytea NOT NULL, size integer NOT NULL, text bytea NOT NULL) ON COMMIT DELETE ROWS";

const UNSTAGE: &str = "DELETE FROM ibgib.staged WHERE owner = $1";

/// Why a write did not come to its end.
pub(crate) enum Unwritten {
    /// Nothing was written.
    Nothing(SpaceError),
    /// It may have been written, or still be being written.
    Unknown(SpaceError),
}

impl From<SpaceError> for Unwritten {
    fn from(error: SpaceError) -> Self {
        Self::Nothing(error)
    }
}

/// A batch, ready to be written as often as it takes.
pub(crate) struct Prepared<'b> {
    id: WriteId,
    batch: &'b Batch,
    nodes: Vec<Packed>,
}

impl<'b> Prepared<'b> {
    pub(crate) fn new(batch: &'b Batch) -> Result<Self, SpaceError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| SpaceError::Io(e.to_string()))?;
        Ok(Self { id, batch, nodes: pack(batch.nodes())? })
    }

    /// Writes the batch, unless it has been written or one of its conditions does not hold.
    pub(crate) async fn write(&self, client: &mut Object) -> Result<Written, Unwritten> {
        // The server's default may be another one, in which what others wrote meanwhile would not be seen.
        let txn = client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::ReadCommitted);
        let txn = txn.start().await.map_err(fail)?;
        bring(&txn, &self.nodes).await?;
        // Whoever has this lock writes. Every statement from here on sees what everybody wrote who had it before.
        let row = one(&txn, "SELECT revision FROM ibgib.space FOR UPDATE", &[]).await?;
        let revision = 1 + row.try_get::<_, i64>(0).map_err(fail)?;
        let ours = query(&txn, "SELECT revision FROM ibgib.writes WHERE id = $1", &[&&self.id[..]]).await?;
        if let Some(row) = ours.first() {
            // An earlier try, whose connection broke before it was told.
            return Ok(Written::Done(row.try_get::<_, i64>(0).map_err(fail)? as u64));
        }
        if !self.holds(&txn).await? {
            return Ok(Written::Unmet);
        }
        self.add(&txn).await?;
        self.publish(&txn).await?;
        if let Some(owner) = self.batch.unstage() {
            execute(&txn, UNSTAGE, &[&&digest(owner)[..]]).await?;
        }
        self.move_tips(&txn, revision).await?;
        self.forget(&txn).await?;
        self.set_records(&txn).await?;
        let counted = "WITH space AS (UPDATE ibgib.space SET revision = $1),
            written AS (INSERT INTO ibgib.writes (revision, id) VALUES ($1, $2))
            SELECT pg_notify('ibgib', '')";
        query(&txn, counted, &[&revision, &&self.id[..]]).await?;
        if revision % FORGETTING == 0 {
            execute(&txn, "DELETE FROM ibgib.writes WHERE revision < $1", &[&(revision - REMEMBERED)]).await?;
        }
        txn.commit().await.map_err(|error| Unwritten::Unknown(fail(error)))?;
        Ok(Written::Done(revision as u64))
    }

    /// Whether all conditions hold, and everything is there that the batch publishes.
    async fn holds(&self, txn: &Transaction<'_>) -> Result<bool, SpaceError> {
        let (mut tjps, mut keys, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
        for condition in self.batch.conditions() {
            match condition {
                Condition::Tip { tjp, .. } => tjps.push(tjp.clone()),
                Condition::Record { key, .. } => keys.push(key.as_str()),
                Condition::Committed(addr) => nodes.push(addr.clone()),
                // What is not known here cannot be said to hold.
                other => return Err(SpaceError::Io(format!("a condition unknown to this store: {other:?}"))),
            }
        }
        let published = async {
            match self.batch.publish() {
                Some((owner, addrs)) if !addrs.is_empty() => staged(txn, owner, addrs).await,
                _ => Ok(HashSet::new()),
            }
        };
        let (tips, records, published, mut committed_nodes) =
            try_join4(tips_of(txn, &tjps), records(txn, &keys), published, committed(txn, &nodes)).await?;
        let (_, to_publish) = self.batch.publish().unwrap_or_default();
        let rest: Vec<Addr> = to_publish.iter().filter(|addr| !published.contains(*addr)).cloned().collect();
        committed_nodes.extend(committed(txn, &rest).await?);
        let holds = self.batch.conditions().iter().all(|condition| match condition {
            Condition::Tip { tjp, addr } => tips.get(tjp).map(|tip| &tip.addr) == addr.as_ref(),
            Condition::Record { key, value } => records.get(key) == value.as_ref(),
            Condition::Committed(addr) => committed_nodes.contains(addr),
            _ => false,
        });
        Ok(holds && rest.iter().all(|addr| committed_nodes.contains(addr)))
    }

    async fn add(&self, txn: &Transaction<'_>) -> Result<(), SpaceError> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        mend(txn).await?;
        let sql = "WITH added AS (INSERT INTO ibgib.nodes SELECT * FROM incoming ON CONFLICT DO NOTHING RETURNING 1)
            UPDATE ibgib.space SET nodes = nodes + (SELECT count(*) FROM added)";
        execute(txn, sql, &[]).await
    }

    async fn publish(&self, txn: &Transaction<'_>) -> Result<(), SpaceError> {
        let Some((owner, addrs)) = self.batch.publish().filter(|(_, addrs)| !addrs.is_empty()) else { return Ok(()) };
        let keys: Vec<Key> = addrs.iter().filter_map(Addr::key).collect();
        let sql = "WITH taken AS (
                DELETE FROM ibgib.staged WHERE owner = $1 AND hash = ANY($2) RETURNING hash, addr, size, text),
            added AS (INSERT INTO ibgib.nodes SELECT * FROM taken ON CONFLICT DO NOTHING RETURNING 1)
            UPDATE ibgib.space SET nodes = nodes + (SELECT count(*) FROM added)";
        execute(txn, sql, &[&&digest(owner)[..], &refs(&keys)]).await
    }

    async fn move_tips(&self, txn: &Transaction<'_>, revision: i64) -> Result<(), SpaceError> {
        let tips: Vec<_> = self.batch.tips().iter().filter_map(|tip| tip.tjp.key().map(|key| (key, tip))).collect();
        if tips.is_empty() {
            return Ok(());
        }
        let hashes: Vec<&[u8]> = tips.iter().map(|(key, _)| &key[..]).collect();
        let tjps: Vec<&[u8]> = tips.iter().map(|(_, tip)| tip.tjp.as_str().as_bytes()).collect();
        let addrs: Vec<&[u8]> = tips.iter().map(|(_, tip)| tip.addr.as_str().as_bytes()).collect();
        let numbers: Vec<Option<i64>> = tips.iter().map(|(_, tip)| tip.n.map(|n| n as i64)).collect();
        let kinds: Vec<i16> = tips.iter().map(|(_, tip)| kind_code(tip.kind)).collect();
        let sql = "INSERT INTO ibgib.tips (hash, tjp, addr, n, kind, moved_at)
            SELECT *, $6::bigint FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::smallint[])
            ON CONFLICT (hash) DO UPDATE SET
                tjp = excluded.tjp, addr = excluded.addr, n = excluded.n, kind = excluded.kind, moved_at = excluded.moved_at";
        execute(txn, sql, &[&hashes, &tjps, &addrs, &numbers, &kinds, &revision]).await
    }

    async fn forget(&self, txn: &Transaction<'_>) -> Result<(), SpaceError> {
        let tjps: Vec<Key> = self.batch.forget().iter().filter_map(Addr::key).collect();
        if !tjps.is_empty() {
            execute(txn, "DELETE FROM ibgib.tips WHERE hash = ANY($1)", &[&refs(&tjps)]).await?;
        }
        let nodes: Vec<Key> = self.batch.forget_nodes().iter().filter_map(Addr::key).collect();
        if !nodes.is_empty() {
            let sql = "WITH gone AS (DELETE FROM ibgib.nodes WHERE hash = ANY($1) RETURNING 1)
                UPDATE ibgib.space SET nodes = nodes - (SELECT count(*) FROM gone)";
            execute(txn, sql, &[&refs(&nodes)]).await?;
        }
        Ok(())
    }

    async fn set_records(&self, txn: &Transaction<'_>) -> Result<(), SpaceError> {
        // Of one key the last counts.
        let last: HashMap<&str, Option<&[u8]>> =
            self.batch.records().iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let mut set: Vec<(Key, &[u8], &[u8])> = Vec::new();
        let mut dropped: Vec<Key> = Vec::new();
        for (key, value) in last {
            match value {
                Some(value) => set.push((digest(key), key.as_bytes(), value)),
                None => dropped.push(digest(key)),
            }
        }
        if !dropped.is_empty() {
            execute(txn, "DELETE FROM ibgib.records WHERE digest = ANY($1)", &[&refs(&dropped)]).await?;
        }
        if set.is_empty() {
            return Ok(());
        }
        let digests: Vec<&[u8]> = set.iter().map(|(digest, ..)| &digest[..]).collect();
        let keys: Vec<&[u8]> = set.iter().map(|(_, key, _)| *key).collect();
        let values: Vec<&[u8]> = set.iter().map(|(.., value)| *value).collect();
        let sql = "INSERT INTO ibgib.records (digest, key, value)
            SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[])
            ON CONFLICT (digest) DO UPDATE SET value = excluded.value";
        execute(txn, sql, &[&digests, &keys, &values]).await
    }
}

/// Keeps nodes apart for an owner.
pub(crate) async fn stage(client: &mut Object, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
    let packed = pack(nodes)?;
    if packed.is_empty() {
        return Ok(());
    }
    let txn = client.transaction().await.map_err(fail)?;
    // Losing what is only staged costs sending it again; it is not in the database's log at all.
    txn.batch_execute("SET LOCAL synchronous_commit = off").await.map_err(fail)?;
    bring(&txn, &packed).await?;
    mend(&txn).await?;
    let sql = "INSERT INTO ibgib.staged (owner, hash, addr, size, text)
        SELECT $1, hash, addr, size, text FROM incoming i
            WHERE NOT EXISTS (SELECT FROM ibgib.nodes n WHERE n.hash = i.hash) ORDER BY hash
        ON CONFLICT (owner, hash) DO UPDATE SET addr = excluded.addr, size = excluded.size, text = excluded.text
            WHERE (staged.addr, staged.size, staged.text) <> (excluded.addr, excluded.size, excluded.text)";
    execute(&txn, sql, &[&&digest(owner)[..]]).await?;
    txn.commit().await.map_err(fail)
}

/// Forgets what is staged for an owner.
pub(crate) async fn unstage(client: &Object, owner: &str) -> Result<(), SpaceError> {
    let statement = client.prepare_cached(UNSTAGE).await.map_err(fail)?;
    client.execute(&statement, &[&&digest(owner)[..]]).await.map_err(fail)?;
    Ok(())
}

/// Puts nodes into this transaction's `incoming`.
async fn bring(txn: &Transaction<'_>, nodes: &[Packed]) -> Result<(), SpaceError> {
    if nodes.is_empty() {
        return Ok(());
    }
    if nodes.len() < COPIED {
        let hashes: Vec<&[u8]> = nodes.iter().map(|node| &node.key[..]).collect();
        let addrs: Vec<&[u8]> = nodes.iter().map(|node| node.addr.as_str().as_bytes()).collect();
        let sizes: Vec<i32> = nodes.iter().map(|node| node.size).collect();
        let texts: Vec<&[u8]> = nodes.iter().map(|node| &node.text[..]).collect();
        let sql = "INSERT INTO incoming SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::integer[], $4::bytea[])";
        return execute(txn, sql, &[&hashes, &addrs, &sizes, &texts]).await;
    }
    let copy = txn.prepare_cached("COPY incoming FROM STDIN BINARY").await.map_err(fail)?;
    let sink = txn.copy_in(&copy).await.map_err(fail)?;
    let writer = BinaryCopyInWriter::new(sink, &[Type::BYTEA, Type::BYTEA, Type::INT4, Type::BYTEA]);
    let mut writer = std::pin::pin!(writer);
    for node in nodes {
        let addr = node.addr.as_str().as_bytes();
        writer.as_mut().write(&[&&node.key[..], &addr, &node.size, &node.text]).await.map_err(fail)?;
    }
    writer.finish().await.map_err(fail)?;
    Ok(())
}

/// Where what is committed of `incoming` does not have its address, a good copy takes its place.
async fn mend(txn: &Transaction<'_>) -> Result<(), SpaceError> {
    // Another spelling of the same node, or another way of compressing it, is no damage.
    let sql = "SELECT n.hash, n.addr, n.size, n.text FROM incoming i JOIN ibgib.nodes n USING (hash)
        WHERE (n.addr, n.size, n.text) <> (i.addr, i.size, i.text)";
    let differing = query(txn, sql, &[]).await?;
    let mut zstd = Unpacker::new()?;
    let mut damaged: Vec<Key> = Vec::new();
    for row in &differing {
        let stored = Stored::of(row)?;
        if stored.node(&mut zstd).is_err() {
            damaged.push(stored.key);
        }
    }
    if damaged.is_empty() {
        return Ok(());
    }
    // Nobody else mends at the same time.
    query(txn, "SELECT FROM ibgib.space FOR UPDATE", &[]).await?;
    let sql = "UPDATE ibgib.nodes n SET addr = i.addr, size = i.size, text = i.text FROM incoming i
        WHERE n.hash = i.hash AND n.hash = ANY($1)";
    execute(txn, sql, &[&refs(&damaged)]).await
}

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

async fn query(txn: &Transaction<'_>, sql: &str, params: Params<'_>) -> Result<Vec<tokio_postgres::Row>, SpaceError> {
    let statement = txn.prepare_cached(sql).await.map_err(fail)?;
    txn.query(&statement, params).await.map_err(fail)
}

async fn one(txn: &Transaction<'_>, sql: &str, params: Params<'_>) -> Result<tokio_postgres::Row, SpaceError> {
    let found = query(txn, sql, params).await?.into_iter().next();
    found.ok_or_else(|| SpaceError::Damaged("the database's space has no row".into()))
}

async fn execute(txn: &Transaction<'_>, sql: &str, params: Params<'_>) -> Result<(), SpaceError> {
    let statement = txn.prepare_cached(sql).await.map_err(fail)?;
    txn.execute(&statement, params).await.map_err(fail).map(drop)
}
