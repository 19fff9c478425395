//! What the log says besides blocks: batches, and that staged nodes are forgotten.

use super::block::Key;
use super::log::Pos;
use crate::store::Batch;
use crate::tip::{Kind, Tip};
use ibgib::Addr;
use ibgib_blocks::{In, Out, pack, unpack};

/// A [`Change`].
pub(super) const CHANGE: u8 = 2;
/// An owner whose staged nodes are forgotten.
pub(super) const UNSTAGE: u8 = 3;

/// Larger changes are compressed.
const PLAIN_BYTES: usize = 256;
const CHANGE_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of tips and records in one record, where nothing forces them to stand together.
const PART_BYTES: usize = 4 * 1024 * 1024;

/// What one write changed: the nodes that are committed with it, tips, and records; and what it forgot.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// The revision that it made; `None` when good copies took the place of damaged ones and nothing else happened.
    pub(crate) revision: Option<u64>,
    /// Blocks, and which of their nodes.
    pub(crate) nodes: Vec<(Pos, u32)>,
    pub(crate) tips: Vec<Tip>,
    pub(crate) records: Vec<(String, Option<Vec<u8>>)>,
    /// Timelines without a tip from now on.
    pub(crate) forget: Vec<Addr>,
    /// Nodes that are committed no more.
    pub(crate) forget_nodes: Vec<Key>,
}

impl Change {
    /// What a batch changes, but for its nodes.
    pub(super) fn of(batch: &Batch, revision: u64) -> Self {
        Self {
            revision: Some(revision),
            tips: batch.tips().to_vec(),
            records: batch.records().to_vec(),
            forget: batch.forget().to_vec(),
            forget_nodes: batch.forget_nodes().iter().filter_map(Addr::key).collect(),
            ..Self::default()
        }
    }

    /// What happened at one revision, in parts that a record of the log holds. Nobody reads the log before all of them are
    /// in it.
    pub(crate) fn parts(self) -> Vec<Self> {
        let mut parts = vec![Self::default()];
        let mut bytes = 0;
        // Answers the part that so many more bytes go into.
        let mut part = |more: usize, parts: &mut Vec<Self>| {
            if bytes > 0 && bytes + more > PART_BYTES {
                parts.push(Self::default());
                bytes = 0;
            }
            bytes += more;
            parts.len() - 1
        };
        for tip in self.tips {
            let at = part(tip.tjp.as_str().len() + tip.addr.as_str().len(), &mut parts);
            parts[at].tips.push(tip);
        }
        for (key, value) in self.records {
            let at = part(key.len() + value.as_ref().map_or(0, Vec::len), &mut parts);
            parts[at].records.push((key, value));
        }
        parts.into_iter().map(|part| Self { revision: self.revision, ..part }).collect()
    }

    /// About how many bytes it takes, and not fewer where it is large.
    fn bytes(&self) -> usize {
        let tip = |tip: &Tip| tip.tjp.as_str().len() + tip.addr.as_str().len() + 16;
        let record = |(key, value): &(String, Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len) + 16;
        let forgotten = self.forget.iter().map(|tjp| tjp.as_str().len() + 8).sum::<usize>();
        let forgotten = forgotten + self.forget_nodes.as_flattened().len();
        let parts = self.tips.iter().map(tip).sum::<usize>() + self.records.iter().map(record).sum::<usize>();
        64 + self.nodes.len() * 16 + parts + forgotten
    }

    /// The payload of its record; `None` if it cannot be compressed, which is a defect.
    pub(super) fn write(&self) -> Option<Vec<u8>> {
        let mut out = Out(Vec::with_capacity(self.bytes()));
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
        // Most changes forget nothing, and say nothing of it.
        if !self.forget.is_empty() || !self.forget_nodes.is_empty() {
            out.number(self.forget.len() as u64);
            for tjp in &self.forget {
                out.bytes(tjp.as_str().as_bytes());
            }
            out.bytes(self.forget_nodes.as_flattened());
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
            let (tjp, addr): (Addr, _) = (read.text()?.parse().ok()?, read.text()?.parse().ok()?);
            let kind = Kind::of(&tjp);
            out.tips.push(Tip { tjp, addr, n: read.number()?.checked_sub(1), kind });
        }
        for _ in 0..read.count()? {
            let key = read.text()?.to_owned();
            let value = if read.number()? == 0 { None } else { Some(read.bytes()?.to_vec()) };
            out.records.push((key, value));
        }
        if !read.0.is_empty() {
            for _ in 0..read.count()? {
                out.forget.push(read.text()?.parse().ok()?);
            }
            let (keys, rest) = read.bytes()?.as_chunks();
            if !rest.is_empty() {
                return None;
            }
            out.forget_nodes = keys.to_vec();
        }
        read.0.is_empty().then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back() {
        let tjp: Addr = format!("note^{}", "A".repeat(64)).parse().unwrap();
        let tip = Tip { addr: tjp.clone(), kind: Kind::of(&tjp), tjp, n: Some(0) };
        let pos = |offset| Pos { segment: 3, offset };
        for (nodes, value, forgotten) in [(1, 10, 0), (500, 10_000, 0), (0, 1, 1), (3, 1_000, 70)] {
            let change = Change {
                revision: Some(7),
                nodes: (0..nodes).map(|n| (pos(64 + n * 100), u32::MAX >> (n % 31))).collect(),
                tips: vec![tip.clone(), Tip { n: None, ..tip.clone() }],
                records: vec![("a".into(), Some(vec![1; value])), ("b".into(), None), ("c".into(), Some(vec![]))],
                forget: vec![tip.tjp.clone(); forgotten],
                forget_nodes: (0..forgotten as u8).map(|n| [n; 32]).collect(),
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
