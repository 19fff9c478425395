//! Nodes and tips as they stand in rows.

use crate::error::fail;
use ibgib::json::BYTES_MAX;
use ibgib::{Addr, IbGib, Verified};
use ibgib_spaces::{Kind, SpaceError, Tip};
use tokio_postgres::Row;
use zstd::bulk::{Compressor, Decompressor};

/// The hash under which a node is kept.
pub(crate) type Key = [u8; 32];

/// Nodes are small, and whoever waits for a write waits for their compression.
const LEVEL: i32 = 3;

/// A node, packed for a row.
pub(crate) struct Packed {
    pub(crate) key: Key,
    pub(crate) addr: Addr,
    pub(crate) size: i32,
    pub(crate) text: Vec<u8>,
}

fn zstd_failed(error: impl std::fmt::Display) -> SpaceError {
    SpaceError::Io(format!("zstd: {error}"))
}

/// Packs nodes, each hash once and in the order of hashes; primitives are left out.
pub(crate) fn pack(nodes: &[Verified<IbGib>]) -> Result<Vec<Packed>, SpaceError> {
    let mut zstd = Compressor::new(LEVEL).map_err(zstd_failed)?;
    let mut out = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(key) = node.addr().key() else { continue };
        let json = node.to_json();
        let text = zstd.compress(json.as_bytes()).map_err(zstd_failed)?;
        out.push(Packed { key, addr: node.addr().clone(), size: json.len() as i32, text });
    }
    out.sort_unstable_by_key(|packed| packed.key);
    out.dedup_by_key(|packed| packed.key);
    Ok(out)
}

/// The columns `hash, addr, size, text` of a row.
pub(crate) struct Stored<'r> {
    pub(crate) key: Key,
    pub(crate) addr: &'r [u8],
    size: i32,
    text: &'r [u8],
}

impl<'r> Stored<'r> {
    pub(crate) fn of(row: &'r Row) -> Result<Self, SpaceError> {
        Ok(Self {
            key: key(row)?,
            addr: row.try_get(1).map_err(fail)?,
            size: row.try_get(2).map_err(fail)?,
            text: row.try_get(3).map_err(fail)?,
        })
    }

    /// Unpacks, parses and re-hashes.
    pub(crate) fn node(&self, zstd: &mut Unpacker) -> Result<Verified<IbGib>, SpaceError> {
        let corrupt = |why: String| {
            // Its name may have been spared.
            let name = addr(self.addr).ok().filter(|addr| addr.key() == Some(self.key));
            SpaceError::Corrupt { addr: name.map_or_else(|| hex::encode_upper(self.key), |addr| addr.to_string()), why }
        };
        let size = usize::try_from(self.size).ok().filter(|size| *size <= BYTES_MAX);
        let size = size.ok_or_else(|| corrupt(format!("a size of {}", self.size)))?;
        let text = zstd.0.decompress(self.text, size).map_err(|e| corrupt(e.to_string()))?;
        let text = std::str::from_utf8(&text).map_err(|e| corrupt(e.to_string()))?;
        let node = Verified::parse(text).map_err(|e| corrupt(e.to_string()))?;
        if node.addr().key() != Some(self.key) || node.addr().as_str().as_bytes() != self.addr {
            return Err(corrupt(format!("what is stored there is {}", node.addr())));
        }
        Ok(node)
    }
}

/// What unpacks many texts.
pub(crate) struct Unpacker(Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new() -> Result<Self, SpaceError> {
        Decompressor::new().map(Self).map_err(zstd_failed)
    }
}

/// The nodes of rows, each with its hash and the size of its text. `addrs` are those that were asked for.
pub(crate) fn nodes(rows: &[Row], addrs: &[Addr]) -> Result<Vec<(Key, Verified<IbGib>, u64)>, SpaceError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut zstd = Unpacker::new()?;
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let stored = Stored::of(row)?;
        let node = stored.node(&mut zstd).map_err(|error| match error {
            SpaceError::Corrupt { why, addr } => {
                let asked = addrs.iter().find(|addr| addr.key() == Some(stored.key));
                SpaceError::Corrupt { addr: asked.map_or(addr, ToString::to_string), why }
            }
            error => error,
        })?;
        out.push((stored.key, node, stored.size.unsigned_abs().into()));
    }
    Ok(out)
}

/// The first column, a hash.
pub(crate) fn key(row: &Row) -> Result<Key, SpaceError> {
    let bytes: &[u8] = row.try_get(0).map_err(fail)?;
    bytes.try_into().map_err(|_| SpaceError::Damaged(format!("a hash of {} bytes", bytes.len())))
}

pub(crate) fn addr(bytes: &[u8]) -> Result<Addr, SpaceError> {
    let text = std::str::from_utf8(bytes).map_err(|e| SpaceError::Damaged(format!("a stored address: {e}")))?;
    text.parse().map_err(|e| SpaceError::Damaged(format!("a stored address: {e}")))
}

/// The columns `tjp, addr, n, kind` of a row.
pub(crate) fn tip(row: &Row) -> Result<Tip, SpaceError> {
    let n: Option<i64> = row.try_get(2).map_err(fail)?;
    Ok(Tip {
        tjp: addr(row.try_get(0).map_err(fail)?)?,
        addr: addr(row.try_get(1).map_err(fail)?)?,
        n: n.and_then(|n| u64::try_from(n).ok()),
        kind: kind(row.try_get(3).map_err(fail)?)?,
    })
}

const KINDS: [Kind; 4] = [Kind::Living, Kind::Keystone, Kind::Saga, Kind::Door];

pub(crate) fn kind_code(kind: Kind) -> i16 {
    match kind {
        Kind::Living => 0,
        Kind::Keystone => 1,
        Kind::Saga => 2,
        Kind::Door => 3,
    }
}

fn kind(code: i16) -> Result<Kind, SpaceError> {
    let kind = usize::try_from(code).ok().and_then(|code| KINDS.get(code).copied());
    kind.ok_or_else(|| SpaceError::Damaged(format!("unknown kind {code} of a timeline")))
}

/// A local record's columns `key, value`.
pub(crate) fn record(row: &Row) -> Result<(String, Vec<u8>), SpaceError> {
    let key: Vec<u8> = row.try_get(0).map_err(fail)?;
    let key = String::from_utf8(key).map_err(|e| SpaceError::Damaged(format!("a stored key: {e}")))?;
    Ok((key, row.try_get(1).map_err(fail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_keep_their_codes() {
        for known in KINDS {
            assert_eq!(kind(kind_code(known)), Ok(known));
        }
        assert!(matches!(kind(4), Err(SpaceError::Damaged(_))));
        assert!(matches!(kind(-1), Err(SpaceError::Damaged(_))));
    }
}
