//! Reading the store as it was at one moment: one read transaction.

use super::blocking;
use super::file::{Engine, Opened};
use super::tables::{
    self, Key, LOOSE, META, MOVES, NODES, RECORDS, STAGED, TIPS, addr_of, fail, read_node, read_tip, tip_of, unpack,
};
use crate::error::SpaceError;
use crate::store::{Head, Nodes, Records, Scanned, Tips, View};
use crate::tip::{Kind, Tip};
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition};
use std::sync::{Arc, OnceLock};

/// Up to so many nodes, tips or records are read in place. A thread for blocking work costs about as much as reading
/// this many small nodes from memory.
const IN_PLACE: usize = 32;

/// A view of the durable space.
pub(super) struct DurableView(Arc<Moment>);

impl DurableView {
    pub(super) fn new(opened: Arc<Opened>, engine: Arc<Engine>) -> Result<Self, SpaceError> {
        let txn = opened.work(&engine, || engine.begin_read())?;
        let moment = Moment {
            nodes: Table::new(NODES),
            loose: Table::new(LOOSE),
            staged: Table::new(STAGED),
            tips: Table::new(TIPS),
            moves: Table::new(MOVES),
            records: Table::new(RECORDS),
            meta: Table::new(META),
            txn,
            engine,
            opened,
        };
        Ok(Self(Arc::new(moment)))
    }

    async fn read<T: Send + 'static>(
        &self,
        count: usize,
        work: impl FnOnce(&Moment) -> Result<T, SpaceError> + Send + 'static,
    ) -> Result<T, SpaceError> {
        let moment = Arc::clone(&self.0);
        let work = move || moment.opened.work(&moment.engine, || work(&moment));
        if count <= IN_PLACE { work() } else { blocking(work).await }
    }
}

#[async_trait]
impl View for DurableView {
    async fn head(&self) -> Result<Head, SpaceError> {
        self.read(1, |moment| {
            let meta = moment.meta.open(&moment.txn)?;
            Ok(Head { revision: tables::number(meta, "revision")?, nodes: tables::number(meta, "nodes")? })
        })
        .await
    }

    async fn nodes(&self, which: Nodes<'_>) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        match which {
            Nodes::Committed(addrs) => {
                let addrs = addrs.to_vec();
                self.read(addrs.len(), move |moment| addrs.iter().map(|a| moment.committed(a)).collect()).await
            }
            Nodes::Staged(owner, addrs) => {
                let (owner, addrs) = (owner.to_owned(), addrs.to_vec());
                self.read(addrs.len(), move |moment| addrs.iter().map(|a| moment.staged(&owner, a)).collect()).await
            }
        }
    }

    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        let addrs = addrs.to_vec();
        self.read(addrs.len(), move |moment| addrs.iter().map(|a| moment.has(a)).collect()).await
    }

    async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        let owner = owner.to_owned();
        self.read(usize::MAX, move |moment| {
            let (staged, loose) = (moment.staged.open(&moment.txn)?, moment.loose.open(&moment.txn)?);
            let mut out = Vec::new();
            for entry in staged.range((owner.as_str(), [0; 32])..=(owner.as_str(), [255; 32])).map_err(fail)? {
                let (key, addr) = entry.map_err(fail)?;
                // What was committed otherwise in the meantime is no longer staged.
                if loose.get(key.value().1).map_err(fail)?.is_some() {
                    out.push(addr_of(addr.value())?);
                }
            }
            Ok(out)
        })
        .await
    }

    async fn tips(&self, which: Tips<'_>) -> Result<Vec<Tip>, SpaceError> {
        match which {
            Tips::Of(tjps) => {
                let tjps = tjps.to_vec();
                self.read(tjps.len(), move |moment| {
                    let tips = moment.tips.open(&moment.txn)?;
                    tjps.iter().filter_map(|tjp| read_tip(tips, tjp).transpose()).collect()
                })
                .await
            }
            Tips::Kind(kind) => self.read(usize::MAX, move |moment| moment.tips_of(kind)).await,
            Tips::MovedSince(since) => self.read(usize::MAX, move |moment| moment.moved(since)).await,
        }
    }

    async fn records(&self, which: Records<'_>) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        match which {
            Records::Keys(keys) => {
                let keys = keys.to_vec();
                self.read(keys.len(), move |moment| {
                    let records = moment.records.open(&moment.txn)?;
                    let mut out = Vec::new();
                    for key in keys {
                        let value = records.get(key.as_str()).map_err(fail)?.map(|v| v.value().to_vec());
                        out.extend(value.map(|value| (key, value)));
                    }
                    Ok(out)
                })
                .await
            }
            Records::Prefix(prefix) => {
                let prefix = prefix.to_owned();
                self.read(usize::MAX, move |moment| moment.records_below(&prefix)).await
            }
        }
    }

    async fn scan(&self, after: Option<Key>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        self.read(limit, move |moment| moment.scan(after, limit)).await
    }
}

/// A table that is opened when it is first needed: most views need one or two.
pub(crate) struct Table<K: redb::Key + 'static, V: redb::Value + 'static> {
    definition: TableDefinition<'static, K, V>,
    opened: OnceLock<ReadOnlyTable<K, V>>,
}

impl<K: redb::Key + 'static, V: redb::Value + 'static> Table<K, V> {
    pub(crate) fn new(definition: TableDefinition<'static, K, V>) -> Self {
        Self { definition, opened: OnceLock::new() }
    }

    pub(crate) fn open(&self, txn: &ReadTransaction) -> Result<&ReadOnlyTable<K, V>, SpaceError> {
        if let Some(table) = self.opened.get() {
            return Ok(table);
        }
        let table = txn.open_table(self.definition).map_err(fail)?;
        Ok(self.opened.get_or_init(|| table))
    }
}

/// The store at one moment. What is read from comes before what it belongs to, so that it is let go of first.
struct Moment {
    nodes: Table<Key, &'static [u8]>,
    loose: Table<Key, u32>,
    staged: Table<(&'static str, Key), &'static str>,
    tips: Table<&'static str, (&'static str, i64, u8)>,
    moves: Table<(u64, &'static str), ()>,
    records: Table<&'static str, &'static [u8]>,
    meta: Table<&'static str, &'static [u8]>,
    txn: ReadTransaction,
    engine: Arc<Engine>,
    opened: Arc<Opened>,
}

impl Moment {
    fn is_loose(&self, key: Key) -> Result<bool, SpaceError> {
        Ok(self.loose.open(&self.txn)?.get(key).map_err(fail)?.is_some())
    }

    fn load(&self, key: Key, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        let Some(text) = self.nodes.open(&self.txn)?.get(key).map_err(fail)? else { return Ok(None) };
        let node = read_node(&key, text.value()).map_err(|e| match e {
            SpaceError::Corrupt { why, .. } => SpaceError::Corrupt { addr: addr.to_string(), why },
            e => e,
        })?;
        // The hash is right, but it was asked for under another name.
        Ok((node.addr() == addr).then_some(node))
    }

    fn committed(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        match addr.key() {
            Some(key) if !self.is_loose(key)? => self.load(key, addr),
            _ => Ok(None),
        }
    }

    fn has(&self, addr: &Addr) -> Result<bool, SpaceError> {
        match addr.key() {
            Some(key) if !self.is_loose(key)? => {
                let stored = self.nodes.open(&self.txn)?.get(key).map_err(fail)?;
                // A hash under another name is another address, which is not here.
                Ok(stored.is_some_and(|v| unpack(v.value()).is_some_and(|(a, _)| a == addr.as_str().as_bytes())))
            }
            _ => Ok(false),
        }
    }

    fn staged(&self, owner: &str, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        let Some(key) = addr.key() else { return Ok(None) };
        let staged = self.staged.open(&self.txn)?.get((owner, key)).map_err(fail)?.is_some();
        if staged && self.is_loose(key)? { self.load(key, addr) } else { Ok(None) }
    }

    fn tips_of(&self, kind: Option<Kind>) -> Result<Vec<Tip>, SpaceError> {
        let mut out = Vec::new();
        for entry in self.tips.open(&self.txn)?.iter().map_err(fail)? {
            let (tjp, value) = entry.map_err(fail)?;
            let tip = tip_of(tjp.value(), value.value())?;
            if kind.is_none_or(|kind| kind == tip.kind) {
                out.push(tip);
            }
        }
        Ok(out)
    }

    fn moved(&self, since: u64) -> Result<Vec<Tip>, SpaceError> {
        let tips = self.tips.open(&self.txn)?;
        let mut out = Vec::new();
        for entry in self.moves.open(&self.txn)?.range((since.saturating_add(1), "")..).map_err(fail)? {
            let (key, _) = entry.map_err(fail)?;
            let (_, tjp) = key.value();
            if let Some(value) = tips.get(tjp).map_err(fail)? {
                out.push(tip_of(tjp, value.value())?);
            }
        }
        Ok(out)
    }

    fn records_below(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        let mut out = Vec::new();
        for entry in self.records.open(&self.txn)?.range(prefix..).map_err(fail)? {
            let (key, value) = entry.map_err(fail)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            out.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(out)
    }

    fn scan(&self, after: Option<Key>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        let mut out = Vec::new();
        let from = after.unwrap_or([0; 32]);
        for entry in self.nodes.open(&self.txn)?.range(from..).map_err(fail)? {
            let (key, text) = entry.map_err(fail)?;
            let key = key.value();
            if out.len() >= limit {
                break;
            }
            if after != Some(key) && !self.is_loose(key)? {
                out.push(Scanned { key, node: read_node(&key, text.value()) });
            }
        }
        Ok(out)
    }
}
