//! Reading the store as it was at one moment: a read transaction of the index, and what was staged.

use super::core::Core;
use super::index::{self, META, MOVES, NODES, RECORDS, TIPS, TipRow, tip_of, tjp_key};
use super::staged::{Place, Staged};
use super::{Opened, block::Key};
use crate::error::SpaceError;
use crate::redb::{LazyTable, fail};
use crate::store::{Head, Nodes, Records, Scanned, Tips, View};
use crate::tip::{Kind, Tip};
use async_trait::async_trait;
use futures_util::future::join_all;
use ibgib::{Addr, IbGib, Verified};
use redb::{ReadTransaction, ReadableTable};
use std::sync::{Arc, OnceLock};

/// Up to so many nodes, tips or records are read in place: a thread for blocking work costs about as much as reading them.
const IN_PLACE: usize = 32;
/// Nodes that each thread reads before it is seen how many bytes they took, where several read for one who asks: to wake
/// a thread takes as long as to read ten of them.
const APART: usize = 128;
/// Threads that read at most for one who asks.
pub(super) const THREADS_MAX: usize = 4;

/// A view of the space.
pub(super) struct SegmentView(Arc<Moment>);

impl SegmentView {
    pub(super) fn new(opened: Arc<Opened>, core: Arc<Core>) -> Result<Self, SpaceError> {
        // First what is staged: what is committed in between is found committed, and not nowhere.
        let staged = core.staged();
        let txn = opened.work(&core, || core.begin_read())?;
        let moment = Moment {
            nodes: LazyTable::new(NODES),
            tips: LazyTable::new(TIPS),
            moves: LazyTable::new(MOVES),
            records: LazyTable::new(RECORDS),
            meta: LazyTable::new(META),
            txn,
            staged,
            core,
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
        let work = move || moment.opened.work(&moment.core, || work(&moment));
        if count <= IN_PLACE { work() } else { self.0.opened.readers.read(work).await }
    }
}

/// How many threads read for one who asks.
fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX)))
}

#[async_trait]
impl View for SegmentView {
    async fn head(&self) -> Result<Head, SpaceError> {
        self.read(1, |moment| index::head(moment.meta.open(&moment.txn)?)).await
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

    /// Nodes are unpacked and hashed, so of many each thread reads some.
    async fn nodes_within(&self, addrs: &[Addr], bytes_max: usize) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let threads = threads();
        let (mut out, mut bytes) = (Vec::with_capacity(addrs.len()), 0);
        for round in addrs.chunks(threads * APART) {
            let bytes_each = (bytes_max - bytes) / threads;
            let parts = round.chunks(round.len().div_ceil(threads)).map(|part| {
                let part = part.to_vec();
                self.read(round.len(), move |moment| moment.first(&part, bytes_each))
            });
            for (part, nodes) in round.chunks(round.len().div_ceil(threads)).zip(join_all(parts).await) {
                let nodes = nodes?;
                let is_whole = nodes.len() == part.len();
                bytes += nodes.iter().flatten().map(Verified::weight_unread).sum::<usize>();
                out.extend(nodes);
                if !is_whole || bytes >= bytes_max {
                    return Ok(out);
                }
            }
        }
        Ok(out)
    }

    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        let addrs = addrs.to_vec();
        self.read(addrs.len(), move |moment| addrs.iter().map(|a| Ok(moment.place(a)?.is_some())).collect()).await
    }

    async fn places(&self, addrs: &[Addr]) -> Result<Vec<u64>, SpaceError> {
        let addrs = addrs.to_vec();
        self.read(addrs.len(), move |moment| {
            let place = |addr| Ok(moment.place(addr)?.map_or(0, |(_, place)| place.number()));
            addrs.iter().map(place).collect()
        })
        .await
    }

    async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        let owner = owner.to_owned();
        self.read(usize::MAX, move |moment| {
            let nodes = moment.nodes.open(&moment.txn)?;
            let mut out = Vec::new();
            for (key, staged) in moment.staged.of(&owner) {
                // What was committed otherwise in the meantime is no longer staged.
                if nodes.get(key).map_err(fail)?.is_none() {
                    out.push(staged.addr.clone());
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
                    let mut out = Vec::new();
                    for tjp in tjps {
                        let row = tips.get(tjp_key(&tjp)).map_err(fail)?;
                        out.extend(row.map(|row| tip_of(row.value())).transpose()?);
                    }
                    Ok(out)
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

/// The store at one moment. What is read from comes before what it belongs to, so that it is let go of first.
struct Moment {
    nodes: LazyTable<Key, (u64, u64)>,
    tips: LazyTable<Key, TipRow>,
    moves: LazyTable<(u64, Key), ()>,
    records: LazyTable<&'static str, &'static [u8]>,
    meta: LazyTable<&'static str, u64>,
    txn: ReadTransaction,
    staged: Staged,
    core: Arc<Core>,
    opened: Arc<Opened>,
}

impl Moment {
    /// Where a node stands that is committed under this address.
    fn place(&self, addr: &Addr) -> Result<Option<(Key, Place)>, SpaceError> {
        let Some(key) = addr.key() else { return Ok(None) };
        let stored = self.nodes.open(&self.txn)?.get(key).map_err(fail)?.map(|stored| stored.value());
        Ok(stored.filter(|(_, name)| *name == index::name(addr)).map(|(place, _)| (key, Place::of(place))))
    }

    fn committed(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        let Some((key, place)) = self.place(addr)? else { return Ok(None) };
        self.core.node(&key, place).map(Some).map_err(|unread| unread.of(addr.as_str()))
    }

    /// The first of these nodes, one at least, until they take so many bytes.
    fn first(&self, addrs: &[Addr], bytes_max: usize) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let (mut out, mut bytes) = (Vec::with_capacity(addrs.len()), 0);
        for addr in addrs {
            let node = self.committed(addr)?;
            bytes += node.as_ref().map_or(0, Verified::weight_unread);
            out.push(node);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(out)
    }

    fn staged(&self, owner: &str, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        let Some(key) = addr.key() else { return Ok(None) };
        let Some(staged) = self.staged.get(owner, &key).filter(|staged| staged.addr == *addr) else { return Ok(None) };
        if self.nodes.open(&self.txn)?.get(key).map_err(fail)?.is_some() {
            return Ok(None);
        }
        match &staged.node {
            Some((node, _)) => Ok(Some(node.clone())),
            None => self.core.node(&key, staged.place).map(Some).map_err(|unread| unread.of(addr.as_str())),
        }
    }

    fn tips_of(&self, kind: Option<Kind>) -> Result<Vec<Tip>, SpaceError> {
        let mut out = Vec::new();
        for entry in self.tips.open(&self.txn)?.iter().map_err(fail)? {
            let (_, row) = entry.map_err(fail)?;
            let tip = tip_of(row.value())?;
            if kind.is_none_or(|kind| kind == tip.kind) {
                out.push(tip);
            }
        }
        Ok(out)
    }

    fn moved(&self, since: u64) -> Result<Vec<Tip>, SpaceError> {
        let tips = self.tips.open(&self.txn)?;
        let mut out = Vec::new();
        for entry in self.moves.open(&self.txn)?.range((since.saturating_add(1), [0; 32])..).map_err(fail)? {
            let (key, ()) = entry.map(|(key, value)| (key, value.value())).map_err(fail)?;
            let row = tips.get(key.value().1).map_err(fail)?;
            out.extend(row.map(|row| tip_of(row.value())).transpose()?);
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
        for entry in self.nodes.open(&self.txn)?.range(after.unwrap_or([0; 32])..).map_err(fail)? {
            let (key, stored) = entry.map_err(fail)?;
            let key = key.value();
            if out.len() >= limit {
                break;
            }
            if after == Some(key) {
                continue;
            }
            let place = Place::of(stored.value().0);
            let node = match self.core.node(&key, place) {
                Ok(node) => Ok(node),
                Err(unread) => Err(unread.of(&self.core.name_of(&key, place))),
            };
            match node {
                Err(error @ (SpaceError::Io(_) | SpaceError::Permission(_) | SpaceError::Closed)) => return Err(error),
                node => out.push(Scanned { key, node }),
            }
        }
        Ok(out)
    }
}
