//! Which leaves may be used: each once, ever, whatever crashes, is restored or copied.
//!
//! A second signature with one leaf gives the identity away. So leaves are set aside in ranges: the caller stores the
//! end of a range durably before any leaf of it is used, and after a restart goes on at the stored end, which skips what
//! may have been used. Per tree there is one number to store, and it only ever grows.

use super::TreeName;

/// The leaves of one tree that this process has set aside.
#[derive(Debug)]
pub struct Reserved {
    tree: TreeName,
    next: u32,
    end: u32,
}

/// A leaf that was set aside. It cannot be copied, and signing consumes it, so that no leaf signs twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaf {
    tree: TreeName,
    index: u32,
}

/// A range is to be stored before a leaf can be had: see [`Reserved::store`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leaves from {from} on have to be set aside first")]
pub struct ReserveFirst {
    /// The first leaf that is needed.
    pub from: u32,
}

impl Reserved {
    /// After a start. `stored` is what the store has for this tree, 0 when it has nothing: all leaves before it may have
    /// been used. Nothing is set aside yet.
    pub fn open(tree: TreeName, stored: u32) -> Self {
        Self { tree, next: stored, end: stored }
    }

    /// The tree.
    pub fn tree(&self) -> &TreeName {
        &self.tree
    }

    /// The number to store in order to set aside `count` leaves from `from` on, or from what was used before. After it
    /// is durable, [`Reserved::stored`] makes the leaves available.
    pub fn store(&self, from: u32, count: u32) -> u32 {
        self.next.max(from).saturating_add(count).max(self.end)
    }

    /// The number was stored durably.
    pub fn stored(&mut self, end: u32) {
        self.end = self.end.max(end);
    }

    /// The next leaf that is `from` or later. It is given once, also when nothing is signed with it then.
    ///
    /// # Errors
    /// [`ReserveFirst`], when no such leaf is set aside.
    pub fn take(&mut self, from: u32) -> Result<Leaf, ReserveFirst> {
        let index = self.next.max(from);
        if index >= self.end {
            return Err(ReserveFirst { from: index });
        }
        self.next = index + 1;
        Ok(Leaf { tree: self.tree.clone(), index })
    }

    /// As [`Reserved::take`], this very leaf, because a verifier demands it.
    ///
    /// # Errors
    /// [`ReserveFirst`], when it is not set aside; `None` when it may have been used.
    pub fn take_this(&mut self, index: u32) -> Option<Result<Leaf, ReserveFirst>> {
        (index >= self.next).then(|| self.take(index))
    }
}

impl Leaf {
    /// The tree.
    pub fn tree(&self) -> &TreeName {
        &self.tree
    }

    /// Its place in the tree.
    pub fn index(&self) -> u32 {
        self.index
    }
}
