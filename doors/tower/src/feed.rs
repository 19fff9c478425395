//! What a tower watches: blocks that are connected to a chain, and disconnected from it again.
//!
//! A feed tells blocks in order: each connected block's parent is the newest one, and a reorganisation disconnects the
//! newest blocks one by one before others are connected. Whoever makes one (from a Bitcoin node, from the frames posted to
//! a server) brings this order about.

use crate::transaction::Txid;

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockId {
    /// Its hash.
    pub hash: [u8; 32],
    /// Its place in the chain.
    pub height: u32,
}

/// A block's id and the hash of the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) id: BlockId,
    /// `None` for the first block of all.
    pub(crate) parent: Option<[u8; 32]>,
}

/// A block, as far as a tower looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which.
    pub id: BlockId,
    /// The hash of the block before.
    pub parent: [u8; 32],
    /// The ids of all its transactions.
    pub txids: Vec<Txid>,
}

/// What the network said of a transaction that was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, or there already: it waits for a block.
    Waiting,
    /// It is in a block already.
    InChain,
    /// It spends what is not there (now): in a reorganisation that may change.
    Missing,
    /// It is none, or against the rules of the node as they are now: as a first answer that decides, while what was taken
    /// once may be so again, since some of those rules (the least fee of a full pool) change with the hour.
    Bad,
    /// The network could not be asked.
    Unknown,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn txid(n: u8) -> Txid {
        Txid::from_internal(std::array::from_fn(|at| if at < 16 { n } else { n ^ 0x80 }))
    }

    pub(crate) fn block(height: u32, txids: &[Txid]) -> Block {
        let hash = |height: u32| std::array::from_fn(|at| height.to_be_bytes()[at % 4]);
        Block { id: BlockId { hash: hash(height), height }, parent: hash(height - 1), txids: txids.to_vec() }
    }
}
