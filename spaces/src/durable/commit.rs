//! The one write that publishes.

use super::tables::{
    LOOSE, META, MOVED_AT, MOVES, NODES, RECORDS, STAGED, TIPS, View, fail, kind_code, number, pack, read_tip,
    write_error,
};
use crate::rules;
use crate::space::{Commit, CommitError, SpaceError};
use ibgib::{Addr, IbGib, Verified};
use redb::{Database, Durability, ReadableTable};

/// Checks a commit and makes it durable; answers its revision.
pub(super) fn commit(db: &Database, commit: Commit) -> Result<u64, CommitError> {
    let checked = rules::check(&View::read(db)?, &commit)?;
    // The check above costs reading only. Tips and nodes are looked at again under the write lock, where nobody can
    // get between check and write.
    let mut txn = db.begin_write().map_err(fail)?;
    txn.set_durability(Durability::Immediate).map_err(fail)?;
    let revision;
    {
        let mut tips = txn.open_table(TIPS).map_err(fail)?;
        let mut moved = Vec::new();
        for tip in &commit.tips {
            let tjp = tip.advance.tjp();
            let now = read_tip(&tips, tjp)?.map(|t| t.addr);
            if now.as_ref() != tip.advance.from() {
                moved.push((tjp.clone(), now));
            }
        }
        if !moved.is_empty() {
            return Err(CommitError::TipsMoved(moved));
        }
        let mut meta = txn.open_table(META).map_err(fail)?;
        revision = number(&meta, "revision")? + 1;
        let mut count = number(&meta, "nodes")?;
        let mut nodes = txn.open_table(NODES).map_err(fail)?;
        let mut loose = txn.open_table(LOOSE).map_err(fail)?;
        let mut staged = txn.open_table(STAGED).map_err(fail)?;

        let mut fresh: Vec<([u8; 32], &Verified<IbGib>)> =
            checked.nodes.iter().filter_map(|n| n.addr().key().map(|k| (k, n))).collect();
        // Neighbours land on the same page.
        fresh.sort_unstable_by_key(|a| a.0);
        for (key, node) in fresh {
            let was_loose = loose.remove(key).map_err(fail)?.is_some();
            if was_loose || nodes.get(key).map_err(fail)?.is_none() {
                nodes.insert(key, pack(node).as_slice()).map_err(fail)?;
                count += 1;
            }
        }
        if let Some((owner, _)) = &commit.publish {
            let mut keys: Vec<[u8; 32]> = checked.publish.iter().filter_map(Addr::key).collect();
            keys.sort_unstable();
            for key in keys {
                if loose.remove(key).map_err(fail)?.is_some() {
                    count += 1;
                }
                if nodes.get(key).map_err(fail)?.is_none() {
                    let why = format!("staged node {} was dropped meanwhile", hex::encode_upper(key));
                    return Err(SpaceError::Io(why).into());
                }
                staged.remove((owner.as_str(), key)).map_err(fail)?;
            }
        }
        let mut moves = txn.open_table(MOVES).map_err(fail)?;
        let mut moved_at = txn.open_table(MOVED_AT).map_err(fail)?;
        for tip in &checked.tips {
            let tjp = tip.tjp.as_str();
            let n = tip.n.map_or(-1, |n| n as i64);
            tips.insert(tjp, (tip.addr.as_str(), n, kind_code(tip.kind))).map_err(fail)?;
            let before = moved_at.insert(tjp, revision).map_err(fail)?.map(|v| v.value());
            if let Some(before) = before {
                moves.remove((before, tjp)).map_err(fail)?;
            }
            moves.insert((revision, tjp), ()).map_err(fail)?;
        }
        let mut records = txn.open_table(RECORDS).map_err(fail)?;
        for (key, value) in &commit.records {
            match value {
                Some(value) => records.insert(key.as_str(), value.as_slice()).map_err(fail)?,
                None => records.remove(key.as_str()).map_err(fail)?,
            };
        }
        meta.insert("revision", &revision.to_le_bytes()[..]).map_err(fail)?;
        meta.insert("nodes", &count.to_le_bytes()[..]).map_err(fail)?;
    }
    txn.commit().map_err(write_error)?;
    Ok(revision)
}
