//! The writes: each one write transaction, of which there is one at a time.

use super::tables::{
    Key, LOOSE, META, MOVED_AT, MOVES, NODES, RECORDS, STAGED, TIPS, fail, kind_code, number, pack, read_node,
    read_tip, unpack,
};
use crate::error::SpaceError;
use crate::store::{Batch, Condition, Written};
use ibgib::{Addr, IbGib, Verified};
use redb::{Database, Durability, ReadableTable, Table, WriteTransaction};

type Nodes<'txn> = Table<'txn, Key, &'static [u8]>;
type Loose<'txn> = Table<'txn, Key, u32>;

/// Writes a batch and makes it durable, unless one of its conditions does not hold.
pub(super) fn write(db: &Database, batch: &Batch) -> Result<Written, SpaceError> {
    let mut txn = db.begin_write().map_err(fail)?;
    txn.set_durability(Durability::Immediate).map_err(fail)?;
    let holds = conditions_hold(&txn, batch)?;
    let Some(published) = holds.then(|| publish(&txn, batch)).transpose()?.flatten() else {
        txn.abort().map_err(fail)?;
        return Ok(Written::Unmet);
    };
    let added = add(&txn, batch.nodes())?;
    if let Some(owner) = batch.unstage() {
        forget(&txn, owner)?;
    }
    let revision;
    {
        let mut meta = txn.open_table(META).map_err(fail)?;
        revision = number(&meta, "revision")? + 1;
        let count = number(&meta, "nodes")? + published + added - forget_nodes(&txn, batch.forget_nodes())?;
        meta.insert("revision", &revision.to_le_bytes()[..]).map_err(fail)?;
        meta.insert("nodes", &count.to_le_bytes()[..]).map_err(fail)?;
    }
    move_tips(&txn, batch, revision)?;
    forget_tips(&txn, batch.forget())?;
    let mut records = txn.open_table(RECORDS).map_err(fail)?;
    for (key, value) in batch.records() {
        match value {
            Some(value) => records.insert(key.as_str(), value.as_slice()).map_err(fail)?,
            None => records.remove(key.as_str()).map_err(fail)?,
        };
    }
    drop(records);
    txn.commit().map_err(fail)?;
    Ok(Written::Done(revision))
}

fn conditions_hold(txn: &WriteTransaction, batch: &Batch) -> Result<bool, SpaceError> {
    let tips = txn.open_table(TIPS).map_err(fail)?;
    let records = txn.open_table(RECORDS).map_err(fail)?;
    let nodes = txn.open_table(NODES).map_err(fail)?;
    let loose = txn.open_table(LOOSE).map_err(fail)?;
    for condition in batch.conditions() {
        let holds = match condition {
            Condition::Tip { tjp, addr } => read_tip(&tips, tjp)?.map(|tip| tip.addr) == *addr,
            Condition::Record { key, value } => {
                let now = records.get(key.as_str()).map_err(fail)?;
                now.as_ref().map(|now| now.value()) == value.as_deref()
            }
            Condition::Committed(addr) => is_committed(&nodes, &loose, addr)?,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_committed(nodes: &Nodes<'_>, loose: &Loose<'_>, addr: &Addr) -> Result<bool, SpaceError> {
    let Some(key) = addr.key() else { return Ok(false) };
    if loose.get(key).map_err(fail)?.is_some() {
        return Ok(false);
    }
    let stored = nodes.get(key).map_err(fail)?;
    Ok(stored.is_some_and(|v| unpack(v.value()).is_some_and(|(name, _)| name == addr.as_str().as_bytes())))
}

/// Publishes what is staged; answers how many nodes that are, or `None` if one is neither staged nor committed.
fn publish(txn: &WriteTransaction, batch: &Batch) -> Result<Option<u64>, SpaceError> {
    let Some((owner, addrs)) = batch.publish() else { return Ok(Some(0)) };
    let nodes = txn.open_table(NODES).map_err(fail)?;
    let mut loose = txn.open_table(LOOSE).map_err(fail)?;
    let mut staged = txn.open_table(STAGED).map_err(fail)?;
    let mut count = 0;
    // Neighbours lie on the same page.
    let mut keyed: Vec<(Key, &Addr)> = addrs.iter().filter_map(|a| a.key().map(|key| (key, a))).collect();
    keyed.sort_unstable_by_key(|(key, _)| *key);
    for (key, addr) in keyed {
        let was_staged = staged.remove((owner, key)).map_err(fail)?.is_some();
        if was_staged && loose.remove(key).map_err(fail)?.is_some() {
            count += 1;
        } else if !is_committed(&nodes, &loose, addr)? {
            return Ok(None);
        }
    }
    Ok(Some(count))
}

/// Adds nodes; answers how many of them were not committed before.
fn add(txn: &WriteTransaction, fresh: &[Verified<IbGib>]) -> Result<u64, SpaceError> {
    let mut nodes = txn.open_table(NODES).map_err(fail)?;
    let mut loose = txn.open_table(LOOSE).map_err(fail)?;
    let mut keyed: Vec<(Key, &Verified<IbGib>)> = fresh.iter().filter_map(|n| n.addr().key().map(|k| (k, n))).collect();
    keyed.sort_unstable_by_key(|(key, _)| *key);
    let mut count = 0;
    for (key, node) in keyed {
        let was_loose = loose.remove(key).map_err(fail)?.is_some();
        let stored = stored(&nodes, node, key)?;
        if stored != Stored::Whole {
            nodes.insert(key, pack(node).as_slice()).map_err(fail)?;
        }
        count += u64::from(was_loose || stored == Stored::Nothing);
    }
    Ok(count)
}

/// What is stored where a node belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    Nothing,
    /// The node, maybe in another spelling.
    Whole,
    /// Bytes that are not the node: a good copy takes their place.
    Damaged,
}

fn stored(nodes: &Nodes<'_>, node: &Verified<IbGib>, key: Key) -> Result<Stored, SpaceError> {
    let Some(bytes) = nodes.get(key).map_err(fail)? else { return Ok(Stored::Nothing) };
    let bytes = bytes.value();
    let is_named = || unpack(bytes).is_some_and(|(name, _)| name == node.addr().as_str().as_bytes());
    let is_whole = bytes == pack(node).as_slice() || (is_named() && read_node(&key, bytes).is_ok());
    Ok(if is_whole { Stored::Whole } else { Stored::Damaged })
}

fn move_tips(txn: &WriteTransaction, batch: &Batch, revision: u64) -> Result<(), SpaceError> {
    let mut tips = txn.open_table(TIPS).map_err(fail)?;
    let mut moves = txn.open_table(MOVES).map_err(fail)?;
    let mut moved_at = txn.open_table(MOVED_AT).map_err(fail)?;
    for tip in batch.tips() {
        let tjp = tip.tjp.as_str();
        let n = tip.n.map_or(-1, |n| n as i64);
        tips.insert(tjp, (tip.addr.as_str(), n, kind_code(tip.kind))).map_err(fail)?;
        let before = moved_at.insert(tjp, revision).map_err(fail)?.map(|v| v.value());
        if let Some(before) = before {
            moves.remove((before, tjp)).map_err(fail)?;
        }
        moves.insert((revision, tjp), ()).map_err(fail)?;
    }
    Ok(())
}

/// Takes tips away.
fn forget_tips(txn: &WriteTransaction, tjps: &[Addr]) -> Result<(), SpaceError> {
    let mut tips = txn.open_table(TIPS).map_err(fail)?;
    let mut moves = txn.open_table(MOVES).map_err(fail)?;
    let mut moved_at = txn.open_table(MOVED_AT).map_err(fail)?;
    for tjp in tjps.iter().map(Addr::as_str) {
        tips.remove(tjp).map_err(fail)?;
        let before = moved_at.remove(tjp).map_err(fail)?.map(|v| v.value());
        if let Some(before) = before {
            moves.remove((before, tjp)).map_err(fail)?;
        }
    }
    Ok(())
}

/// Takes committed nodes away; answers how many there were.
fn forget_nodes(txn: &WriteTransaction, addrs: &[Addr]) -> Result<u64, SpaceError> {
    let mut nodes = txn.open_table(NODES).map_err(fail)?;
    let loose = txn.open_table(LOOSE).map_err(fail)?;
    let mut count = 0;
    for addr in addrs {
        if is_committed(&nodes, &loose, addr)?
            && let Some(key) = addr.key()
        {
            nodes.remove(key).map_err(fail)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Keeps nodes apart for an owner.
pub(super) fn stage(db: &Database, owner: &str, staging: &[Verified<IbGib>]) -> Result<(), SpaceError> {
    let mut txn = db.begin_write().map_err(fail)?;
    // Losing what is only staged costs sending it again; the next commit makes it durable along with itself.
    txn.set_durability(Durability::None).map_err(fail)?;
    {
        let mut nodes = txn.open_table(NODES).map_err(fail)?;
        let mut loose = txn.open_table(LOOSE).map_err(fail)?;
        let mut staged = txn.open_table(STAGED).map_err(fail)?;
        for node in staging {
            let Some(key) = node.addr().key() else { continue };
            let owners = loose.get(key).map_err(fail)?.map(|v| v.value());
            let stored = stored(&nodes, node, key)?;
            if stored != Stored::Whole {
                nodes.insert(key, pack(node).as_slice()).map_err(fail)?;
            }
            if stored != Stored::Nothing && owners.is_none() {
                // Committed already.
                continue;
            }
            let before = staged.insert((owner, key), node.addr().as_str()).map_err(fail)?;
            if before.is_none() {
                loose.insert(key, owners.unwrap_or(0) + 1).map_err(fail)?;
            }
        }
    }
    txn.commit().map_err(fail)
}

/// Forgets what is staged for an owner.
pub(super) fn unstage(db: &Database, owner: &str) -> Result<(), SpaceError> {
    let mut txn = db.begin_write().map_err(fail)?;
    txn.set_durability(Durability::None).map_err(fail)?;
    forget(&txn, owner)?;
    txn.commit().map_err(fail)
}

fn forget(txn: &WriteTransaction, owner: &str) -> Result<(), SpaceError> {
    let mut nodes = txn.open_table(NODES).map_err(fail)?;
    let mut loose = txn.open_table(LOOSE).map_err(fail)?;
    let mut staged = txn.open_table(STAGED).map_err(fail)?;
    let mut keys = Vec::new();
    for entry in staged.range((owner, [0; 32])..=(owner, [255; 32])).map_err(fail)? {
        keys.push(entry.map_err(fail)?.0.value().1);
    }
    for key in keys {
        staged.remove((owner, key)).map_err(fail)?;
        let owners = loose.get(key).map_err(fail)?.map(|v| v.value());
        match owners {
            // It was committed meanwhile.
            None => {}
            Some(owners @ 2..) => drop(loose.insert(key, owners - 1).map_err(fail)?),
            Some(_) => {
                loose.remove(key).map_err(fail)?;
                nodes.remove(key).map_err(fail)?;
            }
        }
    }
    Ok(())
}
