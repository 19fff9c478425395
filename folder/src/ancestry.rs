//! Walking back through the frames of one timeline.

use crate::error::FolderError;
use crate::frames::Node;
use ibgib::Addr;
use ibgib_spaces::Space;
use std::collections::{BTreeMap, HashSet};

/// Whether a frame joins two branches; the edits that follow it inherit its relations, but have another past.
pub(crate) fn is_merge(frame: &Node) -> bool {
    let last = |name| frame.rel8n_addrs(name).pop();
    last("graftbase").is_some_and(|base| last("past") == Some(base))
}

/// The frames before a frame: one, or both sides of a merge.
pub(crate) fn before(frame: &Node) -> Vec<Addr> {
    let mut before = frame.rel8n_addrs("past");
    if is_merge(frame) {
        before.extend(frame.rel8n_addrs("graftorphan").pop());
    }
    before
}

/// The merge that recorded a conflict which is open at `frame`: the first frame with the stone, which edits inherit.
pub(crate) async fn merge_of(space: &dyn Space, frame: &Node, stone: &Addr) -> Result<Option<Node>, FolderError> {
    let has = |frame: &Node| frame.rel8n("conflict").any(|open| open == stone.as_str());
    let mut found: Option<Node> = None;
    let (mut todo, mut seen) = (vec![frame.clone()], HashSet::new());
    while let Some(at) = todo.pop() {
        let mut inherited = false;
        for node in space.get(&before(&at)).await?.into_iter().flatten().filter(has) {
            inherited = true;
            if seen.insert(node.addr().clone()) {
                todo.push(node);
            }
        }
        let first = |than: &Node| (at.n(), at.addr()) < (than.n(), than.addr());
        if !inherited && is_merge(&at) && found.as_ref().is_none_or(first) {
            found = Some(at);
        }
    }
    Ok(found)
}

/// The frames behind some frames, the largest (n, gib) first, so that each comes after all that follow it. Each is told
/// with the starts that lead to it, as bits in their order.
pub(crate) struct Walk<'s> {
    space: &'s dyn Space,
    todo: BTreeMap<(Option<u64>, Addr), (Node, u8)>,
}

impl<'s> Walk<'s> {
    pub(crate) fn from(space: &'s dyn Space, starts: impl IntoIterator<Item = Node>) -> Self {
        let mut walk = Self { space, todo: BTreeMap::new() };
        starts.into_iter().enumerate().for_each(|(i, start)| walk.add(start, 1 << i));
        walk
    }

    fn add(&mut self, node: Node, from: u8) {
        let known = self.todo.entry((node.n(), node.addr().clone())).or_insert((node, 0));
        known.1 |= from;
    }

    /// The next one; frames that are not here end the walk on their branch.
    pub(crate) async fn next(&mut self) -> Result<Option<(Node, u8)>, FolderError> {
        let Some((_, (node, from))) = self.todo.pop_last() else { return Ok(None) };
        for older in self.space.get(&before(&node)).await?.into_iter().flatten() {
            self.add(older, from);
        }
        Ok(Some((node, from)))
    }
}

/// The nearest frame that both come from; of several the one that a merge takes first.
pub(crate) async fn common(space: &dyn Space, one: Node, other: Node) -> Result<Option<Node>, FolderError> {
    let mut walk = Walk::from(space, [one, other]);
    while let Some((node, from)) = walk.next().await? {
        if from == 0b11 {
            return Ok(Some(node));
        }
    }
    Ok(None)
}
