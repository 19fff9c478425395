//! Walking back through the frames of one timeline.

use crate::error::FolderError;
use crate::frames::Node;
use ibgib::Addr;
use ibgib_spaces::Space;
use std::collections::{BTreeMap, HashMap, HashSet};

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
    if found.is_none() {
        // An edit put the stone back after it was settled: the merge is the oldest one that has it.
        let mut walk = Walk::from(space, [frame.clone()]);
        while let Some((node, _)) = walk.next().await? {
            found = if is_merge(&node) && has(&node) { Some(node) } else { found };
        }
    }
    Ok(found)
}

/// The frames behind some frames, the largest (n, gib) first, so that each comes after all that follow it. Each is told
/// with the starts that lead to it, as bits in their order.
pub(crate) struct Walk<'s> {
    space: &'s dyn Space,
    todo: BTreeMap<(Option<u64>, Addr), (Node, u8)>,
    /// The starts that were told of each. Frames that only look like merges can have any number, so one may come before
    /// another that leads to it: it is told again for a start that is new, and never more often.
    told: HashMap<Addr, u8>,
}

impl<'s> Walk<'s> {
    pub(crate) fn from(space: &'s dyn Space, starts: impl IntoIterator<Item = Node>) -> Self {
        let mut walk = Self { space, todo: BTreeMap::new(), told: HashMap::new() };
        starts.into_iter().enumerate().for_each(|(i, start)| walk.add(start, 1 << i));
        walk
    }

    fn add(&mut self, node: Node, from: u8) {
        let told = self.told.entry(node.addr().clone()).or_default();
        if *told | from == *told {
            return;
        }
        *told |= from;
        let from = *told;
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

#[cfg(test)]
mod tests {
    use super::*;
    use ibgib::{IbGib, Value, object, strings};
    use ibgib_spaces::{Commit, MemorySpace};

    /// Frames that anybody can make: each of `levels` leads to the next one by two ways, and says that it is older.
    #[tokio::test]
    async fn frames_that_only_look_like_merges_are_walked_once() {
        let frame = |name: &str, n: u64, past: Option<&Node>, orphan: Option<&Node>| {
            let mut rel8ns = object([]);
            let all = rel8ns.as_object_mut().unwrap();
            if let Some(past) = past {
                all.insert("past", strings([past.addr().as_str()]));
            }
            if let (Some(past), Some(orphan)) = (past, orphan) {
                all.insert("graftbase", strings([past.addr().as_str()]));
                all.insert("graftorphan", strings([orphan.addr().as_str()]));
            }
            let data = object([("n", Value::integer(n)), ("name", name.into())]);
            IbGib { ib: "file".into(), data: Some(data), rel8ns: Some(rel8ns), ..IbGib::default() }.seal().unwrap()
        };
        let levels = 40;
        let bottom = frame("bottom", 0, None, None);
        let mut nodes = vec![bottom.clone()];
        let mut next = frame("x", 1_000, Some(&bottom), None);
        nodes.push(next.clone());
        for level in 0..levels {
            let past = frame(&format!("p{level}"), 1, Some(&bottom), Some(&next));
            let top = frame(&format!("x{level}"), 999 - level, Some(&past), Some(&next));
            nodes.extend([past, top.clone()]);
            next = top;
        }
        let space = MemorySpace::new("evil");
        let count = nodes.len();
        space.commit(Commit { nodes, ..Commit::default() }).await.unwrap();
        let mut walk = Walk::from(&space, [next]);
        let mut told = 0;
        while walk.next().await.unwrap().is_some() {
            told += 1;
            assert!(told <= count, "a frame is told twice");
        }
        assert_eq!(told, count);
    }
}
