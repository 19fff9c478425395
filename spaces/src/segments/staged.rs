//! What is staged, and where it stands in the log: in memory, since it is looked for all the time while a saga runs and
//! gone afterwards.

use super::block::Key;
use super::log::Pos;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// About how many bytes of staged nodes are kept as they are, read and checked. What came is looked at again right away, by
/// whoever asks what it belongs to and by the rules of the commit.
const KEPT_BYTES_MAX: usize = 24 * 1024 * 1024;

/// A node in the log: its block, and which of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) block: Pos,
    pub(super) nth: u8,
}

impl Place {
    /// In one number: a segment has fewer than 2^27 bytes, a block no more than 32 nodes.
    pub(super) fn number(self) -> u64 {
        u64::from(self.block.segment) << 32 | u64::from(self.block.offset) << 5 | u64::from(self.nth)
    }

    pub(super) fn of(number: u64) -> Self {
        let block = Pos { segment: (number >> 32) as u32, offset: number as u32 >> 5 };
        Self { block, nth: (number & 31) as u8 }
    }
}

#[derive(Clone, Debug)]
pub(super) struct StagedNode {
    pub(super) addr: Addr,
    pub(super) place: Place,
    /// The node, while it is kept, and about how many bytes it takes.
    pub(super) node: Option<(Verified<IbGib>, usize)>,
}

type Part = HashMap<Key, StagedNode>;

/// All that is staged. A clone is a view of its moment: parts never change.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    /// Per owner parts, each at least twice as large as the next. Only whoever changes it has a map of his own: owners are as
    /// many as sagas run, and each question of them takes a clone.
    owners: Arc<BTreeMap<String, Vec<Arc<Part>>>>,
    kept_bytes: usize,
}

impl Staged {
    pub(super) fn get(&self, owner: &str, key: &Key) -> Option<&StagedNode> {
        self.owners.get(owner)?.iter().rev().find_map(|part| part.get(key))
    }

    pub(super) fn of(&self, owner: &str) -> impl Iterator<Item = (&Key, &StagedNode)> {
        self.owners.get(owner).into_iter().flatten().flat_map(|part| part.iter())
    }

    /// Adds what is not staged for the owner yet.
    pub(super) fn add(&mut self, owner: &str, nodes: impl IntoIterator<Item = (Key, StagedNode)>) {
        let mut part = Part::new();
        for (key, mut staged) in nodes {
            if self.get(owner, &key).is_some() || part.contains_key(&key) {
                continue;
            }
            let bytes = staged.node.as_ref().map_or(0, |(_, bytes)| *bytes);
            if self.kept_bytes + bytes > KEPT_BYTES_MAX {
                staged.node = None;
            } else {
                self.kept_bytes += bytes;
            }
            part.insert(key, staged);
        }
        if part.is_empty() {
            return;
        }
        let parts = Arc::make_mut(&mut self.owners).entry(owner.to_owned()).or_default();
        while parts.last().is_some_and(|before| before.len() < 2 * part.len()) {
            let before = parts.pop().unwrap_or_default();
            part.extend(before.iter().map(|(key, staged)| (*key, staged.clone())));
        }
        parts.push(Arc::new(part));
    }

    pub(super) fn forget(&mut self, owner: &str) {
        if !self.owners.contains_key(owner) {
            return;
        }
        let parts = Arc::make_mut(&mut self.owners).remove(owner).unwrap_or_default();
        self.kept_bytes -= parts.iter().flat_map(|part| part.values()).map(kept).sum::<usize>();
    }

    /// Keeps of an owner's nodes only these.
    pub(super) fn retain(&mut self, owner: &str, keep: impl Fn(&Key) -> bool) {
        let left: Vec<(Key, StagedNode)> =
            self.of(owner).filter(|(key, _)| keep(key)).map(|(key, staged)| (*key, staged.clone())).collect();
        self.forget(owner);
        self.add(owner, left);
    }

    /// The first block that is still needed to know what is staged.
    pub(super) fn first(&self) -> Option<Pos> {
        self.owners.values().flatten().flat_map(|part| part.values()).map(|staged| staged.place.block).min()
    }
}

fn kept(staged: &StagedNode) -> usize {
    staged.node.as_ref().map_or(0, |(_, bytes)| *bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u32) -> (Key, StagedNode) {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        let addr = format!("x^{}", hex::encode_upper(key)).parse().unwrap();
        let place = Place { block: Pos { segment: 1, offset: 64 + n }, nth: (n % 32) as u8 };
        (key, StagedNode { addr, place, node: None })
    }

    #[test]
    fn places_come_back() {
        for place in
            [Place { block: Pos::START, nth: 0 }, Place { block: Pos { segment: 9, offset: (1 << 27) - 1 }, nth: 31 }]
        {
            assert_eq!(Place::of(place.number()), place);
        }
    }

    #[test]
    fn parts_are_few_and_a_clone_stays_as_it_was() {
        let mut staged = Staged::default();
        for n in 0..1_000 {
            staged.add("a", [node(n), node(n / 2)]);
        }
        staged.add("b", [node(5)]);
        assert!(staged.owners["a"].len() <= 10, "{}", staged.owners["a"].len());
        let before = staged.clone();
        staged.retain("a", |key| *key == node(7).0);
        assert_eq!((staged.of("a").count(), before.of("a").count()), (1, 1_000));
        assert_eq!(staged.first(), Some(node(5).1.place.block));
        staged.forget("b");
        assert!(staged.get("b", &node(5).0).is_none() && before.get("b", &node(5).0).is_some());
        assert_eq!(staged.first(), Some(node(7).1.place.block));
    }
}
