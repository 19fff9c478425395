//! What the newest blocks hold, by locator: for appointments that come after their trigger.

use crate::feed::{Block, BlockId};
use crate::sealed::{Dialect, Locator};
use crate::transaction::Txid;
use std::collections::{HashMap, VecDeque};

/// Blocks that a cache keeps unless somebody wants more.
pub const BLOCKS: usize = 6;

/// The transactions of the newest blocks, found by the locators of both dialects.
#[derive(Clone, Debug)]
pub struct LocatorCache {
    size: usize,
    blocks: VecDeque<(BlockId, Vec<Txid>)>,
    /// How many of the blocks hold it; after a reorganisation or by chance of the feed that can be more than one.
    by_locator: HashMap<Locator, (Txid, usize)>,
}

impl LocatorCache {
    /// A cache of so many blocks, none of them seen yet.
    pub fn new(size: usize) -> Self {
        Self { size, blocks: VecDeque::new(), by_locator: HashMap::new() }
    }

    /// The transaction behind a locator, if one of the newest blocks holds it.
    pub fn get_txid(&self, locator: &Locator) -> Option<Txid> {
        self.by_locator.get(locator).map(|(txid, _)| *txid)
    }

    /// The newest block that was seen.
    pub fn newest(&self) -> Option<BlockId> {
        self.blocks.back().map(|(id, _)| *id)
    }

    /// The height of the newest block here that holds a transaction.
    pub fn height_of(&self, txid: &Txid) -> Option<u32> {
        self.blocks.iter().rev().find(|(_, txids)| txids.contains(txid)).map(|(id, _)| id.height)
    }

    /// Takes a block in, and the oldest out when there are too many.
    pub fn update(&mut self, block: &Block) {
        for locator in block.txids.iter().flat_map(locators) {
            self.by_locator.entry(locator.0).or_insert((locator.1, 0)).1 += 1;
        }
        self.blocks.push_back((block.id, block.txids.clone()));
        if self.is_full() {
            self.remove_oldest_block();
        }
    }

    /// Holds these blocks instead, oldest first.
    pub fn fix(&mut self, newest: &[Block]) {
        self.blocks.clear();
        self.by_locator.clear();
        newest.iter().for_each(|block| self.update(block));
    }

    /// Whether it holds more blocks than it keeps.
    fn is_full(&self) -> bool {
        self.blocks.len() > self.size
    }

    fn remove_oldest_block(&mut self) {
        if let Some((_, txids)) = self.blocks.pop_front() {
            self.forget(&txids);
        }
    }

    /// Takes the newest block out, which is no longer part of the chain. Its place is taken by the blocks that come.
    pub fn disconnect(&mut self, id: &BlockId) {
        if self.newest() == Some(*id)
            && let Some((_, txids)) = self.blocks.pop_back()
        {
            self.forget(&txids);
        }
    }

    /// A locator goes with the last block that holds it.
    fn forget(&mut self, txids: &[Txid]) {
        for (locator, _) in txids.iter().flat_map(locators) {
            if let Some((_, count)) = self.by_locator.get_mut(&locator) {
                *count -= 1;
                if *count == 0 {
                    self.by_locator.remove(&locator);
                }
            }
        }
    }
}

fn locators(txid: &Txid) -> [(Locator, Txid); 2] {
    [Dialect::Rust, Dialect::Python].map(|dialect| (Locator::of(txid, dialect), *txid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::tests::{block, txid};

    #[test]
    fn only_the_newest_blocks_are_known() {
        let mut cache = LocatorCache::new(2);
        for n in 1..=3_u8 {
            cache.update(&block(u32::from(n), &[txid(n)]));
        }
        let known = |cache: &LocatorCache, n| {
            let [rust, python] = [Dialect::Rust, Dialect::Python].map(|d| cache.get_txid(&Locator::of(&txid(n), d)));
            assert_eq!(rust, python);
            rust.is_some()
        };
        assert_eq!([1, 2, 3].map(|n| known(&cache, n)), [false, true, true]);
        assert_eq!(cache.height_of(&txid(3)), Some(3));
        cache.disconnect(&block(3, &[]).id);
        assert_eq!([1, 2, 3].map(|n| known(&cache, n)), [false, true, false]);
        cache.disconnect(&block(9, &[]).id);
        assert_eq!(cache.newest().map(|id| id.height), Some(2), "a block that is not the newest stays");
    }

    /// In the first generation the removal of an old block also took what a newer one holds, and failed the second
    /// time.
    #[test]
    fn a_locator_stays_while_any_block_holds_it() {
        let mut cache = LocatorCache::new(2);
        for height in 1..=3 {
            cache.update(&block(height, &[txid(7)]));
        }
        assert_eq!(cache.get_txid(&Locator::of(&txid(7), Dialect::Rust)), Some(txid(7)));
        cache.update(&block(4, &[]));
        cache.update(&block(5, &[]));
        assert_eq!(cache.get_txid(&Locator::of(&txid(7), Dialect::Rust)), None);
    }
}
