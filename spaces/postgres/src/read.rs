//! The questions, each one statement whatever it is about, and the view that asks them at one moment.

use crate::error::fail;
use crate::kept::{Kept, Moment};
use crate::row::{self, Key, Stored, Unpacker, kind_code};
use async_trait::async_trait;
use deadpool_postgres::{GenericClient, Object};
use ibgib::{Addr, IbGib, Verified};
use ibgib_spaces::store::{Head, Nodes, Records, Scanned, Tips};
use ibgib_spaces::{SpaceError, Tip, View};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, SimpleQueryMessage};

/// A schema of before, which is opened only to be read, has no `swept`. Whoever asks for some hundred nodes names them all,
/// and a database that has not counted its rows yet would rather read the whole table.
const MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = off;
    SELECT revision, nodes, to_jsonb(space) ->> 'swept' FROM ibgib.space";

/// So many bytes of a key stand in its index.
const INDEXED: usize = 512;

/// SHA-256 of an owner or a key of any length.
pub(crate) fn digest(text: &str) -> Key {
    Sha256::digest(text.as_bytes()).into()
}

/// Hashes as the parameter of a statement.
pub(crate) fn refs(keys: &[Key]) -> Vec<&[u8]> {
    keys.iter().map(|key| &key[..]).collect()
}

fn keys(addrs: &[Addr]) -> Vec<Key> {
    addrs.iter().filter_map(Addr::key).collect()
}

async fn rows<C: GenericClient>(client: &C, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, SpaceError> {
    let statement = client.prepare_cached(sql).await.map_err(fail)?;
    client.query(&statement, params).await.map_err(fail)
}

/// Which of these are committed.
pub(crate) async fn committed<C: GenericClient>(client: &C, addrs: &[Addr]) -> Result<HashSet<Addr>, SpaceError> {
    let keys = keys(addrs);
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let found = rows(client, "SELECT addr FROM ibgib.nodes WHERE hash = ANY($1)", &[&refs(&keys)]).await?;
    found.iter().map(|row| row::addr(row.try_get(0).map_err(fail)?)).collect()
}

/// Which of these are staged for an owner, committed or not.
pub(crate) async fn staged<C: GenericClient>(
    client: &C,
    owner: &str,
    addrs: &[Addr],
) -> Result<HashSet<Addr>, SpaceError> {
    let sql = "SELECT addr FROM ibgib.staged WHERE owner = $1 AND hash = ANY($2)";
    let found = rows(client, sql, &[&&digest(owner)[..], &refs(&keys(addrs))]).await?;
    found.iter().map(|row| row::addr(row.try_get(0).map_err(fail)?)).collect()
}

/// Tips of these timelines.
pub(crate) async fn tips_of<C: GenericClient>(client: &C, tjps: &[Addr]) -> Result<HashMap<Addr, Tip>, SpaceError> {
    let keys = keys(tjps);
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT tjp, addr, n, kind FROM ibgib.tips WHERE hash = ANY($1)";
    let found = rows(client, sql, &[&refs(&keys)]).await?;
    found.iter().map(|row| row::tip(row).map(|tip| (tip.tjp.clone(), tip))).collect()
}

/// Local records under these keys.
pub(crate) async fn records<C: GenericClient>(
    client: &C,
    keys: &[&str],
) -> Result<HashMap<String, Vec<u8>>, SpaceError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let digests: Vec<Key> = keys.iter().map(|key| digest(key)).collect();
    let sql = "SELECT key, value FROM ibgib.records WHERE digest = ANY($1)";
    rows(client, sql, &[&refs(&digests)]).await?.iter().map(row::record).collect()
}

/// The store at one moment: a transaction that reads only, and ends with the view.
pub(crate) struct PostgresView {
    /// There until it is dropped.
    client: Option<Object>,
    head: Head,
    kept: Arc<Kept>,
    /// What of what is kept is there; none of it where the store does not say so.
    moment: Option<Moment>,
}

impl PostgresView {
    /// Begins a view on a connection.
    pub(crate) async fn begin(client: Object, kept: Arc<Kept>) -> Result<Self, SpaceError> {
        // Whoever stops waiting for this leaves a connection that is in a transaction: from here on it is ended.
        let mut view = Self { client: Some(client), head: Head::default(), kept, moment: None };
        for message in view.client()?.simple_query(MOMENT).await.map_err(fail)? {
            if let SimpleQueryMessage::Row(row) = message {
                let text = |at| row.try_get(at).ok().flatten();
                let number = |at| text(at).and_then(|text: &str| text.parse().ok());
                let (Some(revision), Some(nodes)) = (number(0), number(1)) else { break };
                view.head = Head { revision, nodes };
                let swept = text(2).and_then(|text: &str| text.parse().ok());
                view.moment = swept.map(|swept| Moment { revision, swept });
                return Ok(view);
            }
        }
        Err(SpaceError::Damaged("the database's space has no revision".into()))
    }

    fn client(&self) -> Result<&Object, SpaceError> {
        self.client.as_ref().ok_or(SpaceError::Closed)
    }

    async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, SpaceError> {
        rows(self.client()?, sql, params).await
    }

    /// The nodes of these hashes, whatever their names.
    async fn committed(&self, addrs: &[Addr]) -> Result<HashMap<Key, Verified<IbGib>>, SpaceError> {
        let mut found = HashMap::with_capacity(addrs.len());
        let mut lacking = Vec::new();
        for key in keys(addrs) {
            match self.moment.and_then(|moment| self.kept.get(&key, moment)) {
                Some(node) => drop(found.insert(key, node)),
                None => lacking.push(key),
            }
        }
        if lacking.is_empty() {
            return Ok(found);
        }
        let sql = "SELECT hash, addr, size, text FROM ibgib.nodes WHERE hash = ANY($1)";
        for (key, node, size) in row::nodes(&self.rows(sql, &[&refs(&lacking)]).await?, addrs)? {
            if let Some(moment) = self.moment {
                self.kept.keep(key, node.clone(), size, moment);
            }
            found.insert(key, node);
        }
        Ok(found)
    }
}

impl Drop for PostgresView {
    /// Ends the transaction and gives the connection back; where nothing can be waited for it is closed instead.
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if client.batch_execute("ROLLBACK").await.is_err() {
                    drop(Object::take(client));
                }
            })),
            Err(_) => drop(Object::take(client)),
        }
    }
}

#[async_trait]
impl View for PostgresView {
    async fn head(&self) -> Result<Head, SpaceError> {
        Ok(self.head)
    }

    async fn nodes(&self, which: Nodes<'_>) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let (addrs, found) = match which {
            Nodes::Committed(addrs) => (addrs, self.committed(addrs).await?),
            Nodes::Staged(owner, addrs) => {
                let keys = keys(addrs);
                let sql = "SELECT hash, addr, size, text FROM ibgib.staged s WHERE owner = $1 AND hash = ANY($2)
                    AND NOT EXISTS (SELECT FROM ibgib.nodes n WHERE n.hash = s.hash)";
                let rows = self.rows(sql, &[&&digest(owner)[..], &refs(&keys)]).await?;
                let found = row::nodes(&rows, addrs)?;
                (addrs, found.into_iter().map(|(key, node, _)| (key, node)).collect())
            }
        };
        // A hash under another name is another address, which is not here.
        let named = |addr: &Addr| found.get(&addr.key()?).filter(|node| node.addr() == addr).cloned();
        Ok(addrs.iter().map(named).collect())
    }

    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        let found = committed(self.client()?, addrs).await?;
        Ok(addrs.iter().map(|addr| found.contains(addr)).collect())
    }

    async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        let sql = "SELECT addr FROM ibgib.staged s WHERE owner = $1
            AND NOT EXISTS (SELECT FROM ibgib.nodes n WHERE n.hash = s.hash)";
        let found = self.rows(sql, &[&&digest(owner)[..]]).await?;
        found.iter().map(|row| row::addr(row.try_get(0).map_err(fail)?)).collect()
    }

    async fn tips(&self, which: Tips<'_>) -> Result<Vec<Tip>, SpaceError> {
        let found = match which {
            Tips::Of(tjps) => {
                let found = tips_of(self.client()?, tjps).await?;
                return Ok(tjps.iter().filter_map(|tjp| found.get(tjp).cloned()).collect());
            }
            Tips::Kind(None) => self.rows("SELECT tjp, addr, n, kind FROM ibgib.tips", &[]).await?,
            Tips::Kind(Some(kind)) => {
                self.rows("SELECT tjp, addr, n, kind FROM ibgib.tips WHERE kind = $1", &[&kind_code(kind)]).await?
            }
            Tips::MovedSince(since) => {
                let since = i64::try_from(since).unwrap_or(i64::MAX);
                self.rows("SELECT tjp, addr, n, kind FROM ibgib.tips WHERE moved_at > $1", &[&since]).await?
            }
        };
        found.iter().map(row::tip).collect()
    }

    async fn records(&self, which: Records<'_>) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        let prefix = match which {
            Records::Keys(keys) => {
                let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
                let mut found = records(self.client()?, &asked).await?;
                return Ok(keys.iter().filter_map(|key| found.remove_entry(key)).collect());
            }
            Records::Prefix(prefix) => prefix.as_bytes(),
        };
        // No text has this byte, so it comes after every key that begins like the prefix.
        let from = &prefix[..prefix.len().min(INDEXED)];
        let to = [from, &[0xff]].concat();
        let sql = "SELECT key, value FROM ibgib.records WHERE substr(key, 1, 512) >= $1 AND substr(key, 1, 512) < $2
            AND substr(key, 1, length($3::bytea)) = $3";
        self.rows(sql, &[&from, &to, &prefix]).await?.iter().map(row::record).collect()
    }

    async fn scan(&self, after: Option<Key>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        let after = after.as_ref().map(|key| &key[..]).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT hash, addr, size, text FROM ibgib.nodes WHERE hash > $1 ORDER BY hash LIMIT $2";
        let mut zstd = Unpacker::new()?;
        let mut out = Vec::new();
        for row in self.rows(sql, &[&after, &limit]).await? {
            let stored = Stored::of(&row)?;
            out.push(Scanned { key: stored.key, node: stored.node(&mut zstd) });
        }
        Ok(out)
    }
}
