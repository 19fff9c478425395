//! The tables, and what stands in them.

use crate::error::SpaceError;
use crate::tip::{Kind, Tip};
use ibgib::{Addr, IbGib, Verified};
use redb::{ReadableTable, TableDefinition};
use std::io;

pub(super) type Key = [u8; 32];

pub(super) const NODES: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("nodes");
pub(super) const LOOSE: TableDefinition<'_, Key, u32> = TableDefinition::new("loose");
pub(super) const STAGED: TableDefinition<'_, (&str, Key), &str> = TableDefinition::new("staged");
pub(super) const TIPS: TableDefinition<'_, &str, (&str, i64, u8)> = TableDefinition::new("tips");
pub(super) const MOVES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("moves");
pub(super) const MOVED_AT: TableDefinition<'_, &str, u64> = TableDefinition::new("moved_at");
pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Any failure of the engine.
pub(crate) fn fail(error: impl Into<redb::Error>) -> SpaceError {
    match error.into() {
        redb::Error::Io(e) => match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                SpaceError::Full(e.to_string())
            }
            io::ErrorKind::PermissionDenied => SpaceError::Permission(e.to_string()),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => SpaceError::Damaged(e.to_string()),
            _ => SpaceError::Io(e.to_string()),
        },
        redb::Error::Corrupted(why) => SpaceError::Damaged(why),
        error @ (redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_)
        // A store of ours has had one version only.
        | redb::Error::UpgradeRequired(_)) => SpaceError::Damaged(error.to_string()),
        redb::Error::DatabaseAlreadyOpen => SpaceError::Locked("the store".into()),
        redb::Error::PreviousIo => {
            SpaceError::Io("an earlier write failed; try again".into())
        }
        error => SpaceError::Io(error.to_string()),
    }
}

pub(super) fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Living => 0,
        Kind::Keystone => 1,
        Kind::Saga => 2,
        Kind::Door => 3,
    }
}

fn kind_of(code: u8) -> Result<Kind, SpaceError> {
    match code {
        0 => Ok(Kind::Living),
        1 => Ok(Kind::Keystone),
        2 => Ok(Kind::Saga),
        3 => Ok(Kind::Door),
        _ => Err(SpaceError::Damaged(format!("unknown kind {code} of a timeline"))),
    }
}

pub(super) fn addr_of(text: &str) -> Result<Addr, SpaceError> {
    text.parse().map_err(|e| SpaceError::Damaged(format!("a stored address: {e}")))
}

pub(super) fn tip_of(tjp: &str, (addr, n, kind): (&str, i64, u8)) -> Result<Tip, SpaceError> {
    Ok(Tip { tjp: addr_of(tjp)?, addr: addr_of(addr)?, n: u64::try_from(n).ok(), kind: kind_of(kind)? })
}

pub(super) fn read_tip(
    tips: &impl ReadableTable<&'static str, (&'static str, i64, u8)>,
    tjp: &Addr,
) -> Result<Option<Tip>, SpaceError> {
    let value = tips.get(tjp.as_str()).map_err(fail)?;
    value.map(|v| tip_of(tjp.as_str(), v.value())).transpose()
}

pub(super) fn number(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &'static str,
) -> Result<u64, SpaceError> {
    let value = meta.get(name).map_err(fail)?;
    let bytes = value.as_ref().and_then(|v| v.value().try_into().ok());
    bytes.map(u64::from_le_bytes).ok_or_else(|| SpaceError::Damaged(format!("{name} is not a number")))
}

/// What is stored for a node: the length of its address (four bytes, little end first), the address, the JSON text.
pub(super) fn pack(node: &Verified<IbGib>) -> Vec<u8> {
    let (addr, text) = (node.addr().as_str(), node.to_json());
    let mut out = Vec::with_capacity(4 + addr.len() + text.len());
    out.extend_from_slice(&(addr.len() as u32).to_le_bytes());
    out.extend_from_slice(addr.as_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

/// Address and text of what is stored.
pub(super) fn unpack(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// Parses and re-hashes what is stored.
pub(super) fn read_node(key: &Key, bytes: &[u8]) -> Result<Verified<IbGib>, SpaceError> {
    let corrupt = |why: String| {
        // Its name may have been spared.
        let name = unpack(bytes).and_then(|(name, _)| std::str::from_utf8(name).ok()?.parse::<Addr>().ok());
        let name = name.filter(|addr| addr.key() == Some(*key));
        SpaceError::Corrupt { addr: name.map_or_else(|| hex::encode_upper(key), |addr| addr.to_string()), why }
    };
    let (_, text) = unpack(bytes).ok_or_else(|| corrupt("it is cut off".into()))?;
    let text = std::str::from_utf8(text).map_err(|e| corrupt(e.to_string()))?;
    let node = Verified::parse(text).map_err(|e| corrupt(e.to_string()))?;
    if node.addr().key() != Some(*key) {
        return Err(corrupt(format!("what is stored there is {}", node.addr())));
    }
    Ok(node)
}
