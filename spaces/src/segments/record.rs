//! What the log says besides blocks: batches, and that staged nodes are forgotten.

use super::log::Pos;
use crate::store::Batch;
use crate::tip::{Kind, Tip};
use ibgib_blocks::{In, Out, pack, unpack};

/// A [`Change`].
pub(super) const CHANGE: u8 = 2;
/// An owner whose staged nodes are forgotten.
pub(super) const UNSTAGE: u8 = 3;

/// Larger changes are compressed.
const PLAIN_BYTES: usize = 256;
const CHANGE_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What one write changed: the nodes that are committed with it, tips, and records.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// The revision that it made; `None` when good copies took the place of damaged ones and nothing else happened.
    pub(crate) revision: Option<u64>,
    /// Blocks, and which of their nodes.
    pub(crate) nodes: Vec<(Pos, u32)>,
    pub(crate) tips: Vec<Tip>,
    pub(crate) records: Vec<(String, Option<Vec<u8>>)>,
}

impl Change {
    /// What a batch changes, but for its nodes.
    pub(super) fn of(batch: &Batch, revision: u64) -> Self {
        Self {
            revision: Some(revision),
            tips: batch.tips().to_vec(),
            records: batch.records().to_vec(),
            ..Self::default()
        }
    }

    /// The payload of its record; `None` if it cannot be compressed, which is a defect.
    pub(super) fn write(&self) -> Option<Vec<u8>> {
        let mut out = Out::default();
        out.number(self.revision.map_or(0, |revision| revision + 1));
        out.number(self.nodes.len() as u64);
        let mut before = 0;
        for (pos, bits) in &self.nodes {
            // Neighbours are near.
            out.number(pos.number().wrapping_sub(before));
            out.number(u64::from(*bits));
            before = pos.number();
        }
        out.number(self.tips.len() as u64);
        for tip in &self.tips {
            out.bytes(tip.tjp.as_str().as_bytes());
            out.bytes(tip.addr.as_str().as_bytes());
            out.number(tip.n.map_or(0, |n| n + 1));
        }
        out.number(self.records.len() as u64);
        for (key, value) in &self.records {
            out.bytes(key.as_bytes());
            out.number(u64::from(value.is_some()));
            if let Some(value) = value {
                out.bytes(value);
            }
        }
        let plain = out.0;
        let mut payload = Out::default();
        match plain.len() {
            ..=PLAIN_BYTES => {
                payload.number(0);
                payload.0.extend_from_slice(&plain);
            }
            len => {
                payload.number(len as u64);
                payload.0.extend_from_slice(&pack(&plain, &[])?);
            }
        }
        Some(payload.0)
    }

    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut payload = In(payload);
        let inflated;
        let mut read = match payload.count()? {
            0 => payload,
            len if len > CHANGE_BYTES_MAX => return None,
            len => {
                inflated = unpack(payload.0, len, &[]).ok()?;
                In(&inflated)
            }
        };
        let mut out = Self { revision: read.number()?.checked_sub(1), ..Self::default() };
        let mut before = 0_u64;
        for _ in 0..read.count()? {
            before = before.wrapping_add(read.number()?);
            out.nodes.push((Pos::of(before), u32::try_from(read.number()?).ok()?));
        }
        for _ in 0..read.count()? {
            let (tjp, addr): (ibgib::Addr, _) = (read.text()?.parse().ok()?, read.text()?.parse().ok()?);
            let kind = Kind::of(&tjp);
            out.tips.push(Tip { tjp, addr, n: read.number()?.checked_sub(1), kind });
        }
        for _ in 0..read.count()? {
            let key = read.text()?.to_owned();
            let value = if read.number()? == 0 { None } else { Some(read.bytes()?.to_vec()) };
            out.records.push((key, value));
        }
        read.0.is_empty().then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back() {
        let tjp: ibgib::Addr = format!("note^{}", "A".repeat(64)).parse().unwrap();
        let tip = Tip { addr: tjp.clone(), kind: Kind::of(&tjp), tjp, n: Some(0) };
        let pos = |offset| Pos { segment: 3, offset };
        for (nodes, value) in [(1, 10), (500, 10_000)] {
            let change = Change {
                revision: Some(7),
                nodes: (0..nodes).map(|n| (pos(64 + n * 100), u32::MAX >> (n % 31))).collect(),
                tips: vec![tip.clone(), Tip { n: None, ..tip.clone() }],
                records: vec![("a".into(), Some(vec![1; value])), ("b".into(), None), ("c".into(), Some(vec![]))],
            };
            let payload = change.write().unwrap();
            assert_eq!(Change::read(&payload), Some(change));
            for i in 0..payload.len() {
                let mut damaged = payload.clone();
                damaged[i] ^= 0x41;
                let _ = (Change::read(&damaged), Change::read(&payload[..i]));
            }
        }
        assert_eq!(Change::read(&Change::default().write().unwrap()), Some(Change::default()));
    }
}
