//! The index: what of the log is committed, and where. All of it follows from the log.
//!
//! | table | key → value |
//! |---|---|
//! | `nodes` | 32-byte hash → place in the log, the first bytes of the address's own hash |
//! | `tips` | SHA-256 of the timeline's address → (revision of its last move, n or −1, timeline, tip) |
//! | `moves` | (revision, SHA-256 of the timeline's address) |
//! | `records` | key → bytes |
//! | `meta` | `format`, `revision`, `nodes`; `gone`: nodes of the log that were forgotten; `rewritten`: bytes of the log when it was last written anew; `applied`: how far of the log it knows, `last`: the last
//! record before that, `staged`: where what is staged begins |

use super::block::Key;
use super::log::Pos;
use super::record::Change;
use super::staged::{Place, Staged};
use crate::error::SpaceError;
use crate::redb::fail;
use crate::store::{Batch, Condition, Head};
use crate::tip::{Kind, Tip};
use ibgib::Addr;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use sha2::{Digest, Sha256};

pub(super) type TipRow = (u64, i64, &'static str, &'static str);

pub(super) const NODES: TableDefinition<'_, Key, (u64, u64)> = TableDefinition::new("nodes");
pub(super) const TIPS: TableDefinition<'_, Key, TipRow> = TableDefinition::new("tips");
pub(super) const MOVES: TableDefinition<'_, (u64, Key), ()> = TableDefinition::new("moves");
pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// What this version writes.
const FORMAT: u64 = 1;

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) revision: u64,
    pub(super) applied: Pos,
    pub(super) last: Pos,
    pub(super) staged: Pos,
}

/// Under what a timeline is found: any text may be one's address.
pub(super) fn tjp_key(tjp: &Addr) -> Key {
    Sha256::digest(tjp.as_str()).into()
}

/// What tells one address from another that claims the same hash: nobody finds two that agree in this, too.
pub(super) fn name(addr: &Addr) -> u64 {
    let digest = Sha256::digest(addr.as_str());
    digest.first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

pub(super) fn addr_of(text: &str) -> Result<Addr, SpaceError> {
    text.parse().map_err(|e| SpaceError::Damaged(format!("a stored address: {e}")))
}

pub(super) fn tip_of((_, n, tjp, addr): (u64, i64, &str, &str)) -> Result<Tip, SpaceError> {
    let tjp = addr_of(tjp)?;
    let kind = Kind::of(&tjp);
    Ok(Tip { tjp, addr: addr_of(addr)?, n: u64::try_from(n).ok(), kind })
}

pub(super) fn number(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, SpaceError> {
    let value = meta.get(name).map_err(fail)?;
    value.map(|v| v.value()).ok_or_else(|| SpaceError::Damaged(format!("the index has no {name}")))
}

pub(super) fn head(meta: &impl ReadableTable<&'static str, u64>) -> Result<Head, SpaceError> {
    Ok(Head { revision: number(meta, "revision")?, nodes: number(meta, "nodes")? })
}

/// How many nodes stand in the log that were forgotten.
pub(super) fn forgotten(meta: &impl ReadableTable<&'static str, u64>) -> Result<u64, SpaceError> {
    // An index of before there was such a thing does not say.
    Ok(meta.get("gone").map_err(fail)?.map_or(0, |value| value.value()))
}

/// How many bytes the log had when it was last written anew; 0 where it never was, or where the index was made from it since.
pub(super) fn rewritten(meta: &impl ReadableTable<&'static str, u64>) -> Result<u64, SpaceError> {
    Ok(meta.get("rewritten").map_err(fail)?.map_or(0, |value| value.value()))
}

/// What an index knows, unless a later version made it.
pub(super) fn known(meta: &impl ReadableTable<&'static str, u64>) -> Result<Known, SpaceError> {
    match number(meta, "format")? {
        FORMAT => {}
        later => return Err(SpaceError::Io(format!("the store is of format {later}; this version knows {FORMAT}"))),
    }
    let pos = |name| number(meta, name).map(Pos::of);
    Ok(Known {
        revision: number(meta, "revision")?,
        applied: pos("applied")?,
        last: pos("last")?,
        staged: pos("staged")?,
    })
}

/// Makes the tables of an index that knows nothing yet.
pub(super) fn lay_out(txn: &WriteTransaction) -> Result<(), SpaceError> {
    txn.open_table(NODES).map_err(fail)?;
    txn.open_table(TIPS).map_err(fail)?;
    txn.open_table(MOVES).map_err(fail)?;
    txn.open_table(RECORDS).map_err(fail)?;
    let mut meta = txn.open_table(META).map_err(fail)?;
    let start = Pos::START.number();
    let numbers = [("format", FORMAT), ("revision", 0), ("nodes", 0)];
    for (name, value) in numbers.into_iter().chain(["applied", "last", "staged"].map(|name| (name, start))) {
        meta.insert(name, value).map_err(fail)?;
    }
    Ok(())
}

/// A node and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) place: Place,
    pub(super) name: u64,
}

/// The tables of a write.
pub(super) struct Open<'txn> {
    nodes: Table<'txn, Key, (u64, u64)>,
    tips: Table<'txn, Key, TipRow>,
    moves: Table<'txn, (u64, Key), ()>,
    records: Table<'txn, &'static str, &'static [u8]>,
    meta: Table<'txn, &'static str, u64>,
}

impl<'txn> Open<'txn> {
    pub(super) fn new(txn: &'txn WriteTransaction) -> Result<Self, SpaceError> {
        Ok(Self {
            nodes: txn.open_table(NODES).map_err(fail)?,
            tips: txn.open_table(TIPS).map_err(fail)?,
            moves: txn.open_table(MOVES).map_err(fail)?,
            records: txn.open_table(RECORDS).map_err(fail)?,
            meta: txn.open_table(META).map_err(fail)?,
        })
    }

    pub(super) fn revision(&self) -> Result<u64, SpaceError> {
        number(&self.meta, "revision")
    }

    /// Where a committed node stands.
    pub(super) fn place(&self, key: &Key) -> Result<Option<Place>, SpaceError> {
        Ok(self.nodes.get(key).map_err(fail)?.map(|stored| Place::of(stored.value().0)))
    }

    fn is_committed(&self, key: &Key, addr: &Addr) -> Result<bool, SpaceError> {
        let stored = self.nodes.get(key).map_err(fail)?;
        Ok(stored.is_some_and(|stored| stored.value().1 == name(addr)))
    }

    pub(super) fn all_hold(&self, conditions: &[Condition]) -> Result<bool, SpaceError> {
        for condition in conditions {
            let holds = match condition {
                Condition::Tip { tjp, addr } => {
                    let now = self.tips.get(tjp_key(tjp)).map_err(fail)?;
                    now.as_ref().map(|now| now.value().3) == addr.as_ref().map(Addr::as_str)
                }
                Condition::Record { key, value } => {
                    let now = self.records.get(key.as_str()).map_err(fail)?;
                    now.as_ref().map(|now| now.value()) == value.as_deref()
                }
                Condition::Committed(addr) => match addr.key() {
                    Some(key) => self.is_committed(&key, addr)?,
                    None => false,
                },
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a batch publishes and is not committed yet; `None` if a node is neither staged nor committed.
    pub(super) fn publishable(&self, batch: &Batch, staged: &Staged) -> Result<Option<Vec<Entry>>, SpaceError> {
        let mut out = Vec::new();
        let Some((owner, addrs)) = batch.publish() else { return Ok(Some(out)) };
        for (key, addr) in addrs.iter().filter_map(|addr| addr.key().map(|key| (key, addr))) {
            if self.is_committed(&key, addr)? {
                continue;
            }
            match staged.get(owner, &key).filter(|staged| staged.addr == *addr) {
                Some(staged) => out.push(Entry { key, place: staged.place, name: name(addr) }),
                None => return Ok(None),
            }
        }
        Ok(Some(out))
    }

    /// Says that a committed node stands elsewhere, or that it does not stand anywhere.
    pub(super) fn put(&mut self, key: &Key, place: Option<Place>) -> Result<(), SpaceError> {
        let Some((_, name)) = self.nodes.remove(key).map_err(fail)?.map(|stored| stored.value()) else { return Ok(()) };
        match place {
            Some(place) => drop(self.nodes.insert(key, (place.number(), name)).map_err(fail)?),
            None => drop(self.meta.insert("nodes", number(&self.meta, "nodes")?.saturating_sub(1)).map_err(fail)?),
        }
        Ok(())
    }

    /// Notes how far the index is: up to which place it knows the log, the last record before that, and where what is
    /// staged begins.
    pub(super) fn note(&mut self, applied: Pos, last: Pos, staged: Pos) -> Result<(), SpaceError> {
        for (name, pos) in [("applied", applied), ("last", last), ("staged", staged)] {
            self.meta.insert(name, pos.number()).map_err(fail)?;
        }
        Ok(())
    }

    /// Applies what the log says: the same when it is written and when it is read again.
    pub(super) fn apply(&mut self, change: &Change, mut entries: Vec<Entry>) -> Result<(), SpaceError> {
        // Neighbours lie on the same page.
        entries.sort_unstable_by_key(|entry| entry.key);
        let mut count = number(&self.meta, "nodes")?;
        for Entry { key, place, name } in entries {
            let before = self.nodes.insert(key, (place.number(), name)).map_err(fail)?;
            count += u64::from(before.is_none());
        }
        let mut gone = 0;
        for key in &change.forget_nodes {
            gone += u64::from(self.nodes.remove(key).map_err(fail)?.is_some());
        }
        if gone > 0 {
            let before = forgotten(&self.meta)?;
            self.meta.insert("gone", before + gone).map_err(fail)?;
        }
        self.meta.insert("nodes", count.saturating_sub(gone)).map_err(fail)?;
        let Some(revision) = change.revision else { return Ok(()) };
        self.meta.insert("revision", revision).map_err(fail)?;
        for tip in &change.tips {
            let key = tjp_key(&tip.tjp);
            let n = tip.n.map_or(-1, |n| n as i64);
            let row = (revision, n, tip.tjp.as_str(), tip.addr.as_str());
            let before = self.tips.insert(key, row).map_err(fail)?.map(|row| row.value().0);
            if let Some(before) = before {
                self.moves.remove((before, key)).map_err(fail)?;
            }
            self.moves.insert((revision, key), ()).map_err(fail)?;
        }
        for tjp in &change.forget {
            let key = tjp_key(tjp);
            let before = self.tips.remove(key).map_err(fail)?.map(|row| row.value().0);
            if let Some(before) = before {
                self.moves.remove((before, key)).map_err(fail)?;
            }
        }
        for (key, value) in &change.records {
            match value {
                Some(value) => self.records.insert(key.as_str(), value.as_slice()).map_err(fail)?,
                None => self.records.remove(key.as_str()).map_err(fail)?,
            };
        }
        Ok(())
    }
}
