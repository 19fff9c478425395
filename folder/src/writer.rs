//! Commits in bounded pieces: new frames are joined with whatever the tips have become meanwhile.

use crate::content::Keep;
use crate::error::FolderError;
use crate::frames::Node;
use ibgib::{Addr, Value};
use ibgib_spaces::history::Loader;
use ibgib_spaces::{Advance, Commit, CommitError, Space};
use std::collections::HashSet;

/// Content that one commit gathers before it is made.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Frames that one commit gathers before it is made.
const EDITS_MAX: usize = 1_000;
/// How often a commit whose tips moved is made again.
const TRIES: usize = 16;

/// Gathers nodes, edits and records, and commits them.
pub(crate) struct Writer<'a> {
    space: &'a dyn Space,
    nodes: Vec<Node>,
    edits: Vec<Edit>,
    records: Vec<(String, Option<Vec<u8>>)>,
    bytes: usize,
    /// Merge frames made so far.
    pub(crate) merges: usize,
    /// Conflicts recorded by them.
    pub(crate) conflicts: usize,
}

/// A timeline's new frames.
struct Edit {
    tjp: Addr,
    /// What the first of them was built on; none for a new timeline.
    base: Option<Node>,
    /// Dependencies first; the last is the new frame.
    nodes: Vec<Node>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(space: &'a dyn Space) -> Self {
        Self { space, nodes: vec![], edits: vec![], records: vec![], bytes: 0, merges: 0, conflicts: 0 }
    }

    /// New frames of a timeline, built on `base` (none if it begins here); the last is the newest.
    pub(crate) fn edit(&mut self, tjp: Addr, base: Option<&Node>, nodes: Vec<Node>) {
        self.bytes += nodes.iter().map(weight_of).sum::<usize>();
        self.edits.push(Edit { tjp, base: base.cloned(), nodes });
    }

    /// A node that the edits need.
    pub(crate) fn add(&mut self, node: Node) {
        self.bytes += weight_of(&node);
        self.nodes.push(node);
    }

    /// Sets or drops a local record together with the edits.
    pub(crate) fn record(&mut self, key: String, bytes: Option<Vec<u8>>) {
        self.bytes += key.len() + bytes.as_ref().map_or(0, Vec::len);
        self.records.push((key, bytes));
    }

    /// Commits if enough has gathered.
    pub(crate) async fn flush_if_full(&mut self) -> Result<(), FolderError> {
        if self.bytes >= BYTES_MAX || self.edits.len() >= EDITS_MAX { self.flush().await } else { Ok(()) }
    }

    /// Commits what has gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), FolderError> {
        self.bytes = 0;
        let (constants, edits) = (std::mem::take(&mut self.nodes), std::mem::take(&mut self.edits));
        let records = std::mem::take(&mut self.records);
        if constants.is_empty() && edits.is_empty() && records.is_empty() {
            return Ok(());
        }
        for _ in 0..TRIES {
            let mut commit = Commit { nodes: constants.clone(), records: records.clone(), ..Commit::default() };
            let (mut merges, mut conflicts) = (0, 0);
            for edit in &edits {
                let Some(new) = edit.nodes.last() else { continue };
                // One history per timeline: its frames are let go before the next one's come.
                let mut history = Loader::new(self.space, None);
                history.add(edit.base.iter().chain(&edit.nodes).cloned());
                commit.nodes.extend(edit.nodes.iter().cloned());
                let tip = self.space.tip(&edit.tjp).await?.map(|t| t.addr);
                let mut to = new.addr().clone();
                if let Some(tip) = &tip
                    && edit.base.as_ref().map(Node::addr) != Some(tip)
                {
                    let joined = history.join(tip, new.addr()).await.map_err(FolderError::history)?;
                    merges += usize::from(!joined.nodes.is_empty());
                    conflicts += joined.conflicts;
                    to = joined.tip;
                    commit.nodes.extend(joined.nodes);
                }
                if tip.as_ref() != Some(&to) {
                    let advance = history.advance(tip.as_ref(), &to).await.map_err(FolderError::history)?;
                    commit.tips.push(Advance::Timeline(advance));
                }
            }
            let addrs: Vec<Addr> = commit.nodes.iter().map(|n| n.addr().clone()).collect();
            let mut there = self.space.has(&addrs).await?.into_iter();
            let mut seen = HashSet::new();
            commit.nodes.retain(|n| there.next() == Some(false) && seen.insert(n.addr().clone()));
            match self.space.commit(commit).await {
                Ok(_) => {
                    self.merges += merges;
                    self.conflicts += conflicts;
                    return Ok(());
                }
                Err(CommitError::TipsMoved(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(FolderError::Busy { tries: TRIES })
    }
}

#[async_trait::async_trait]
impl Keep for Writer<'_> {
    async fn keep(&mut self, node: Node) -> Result<(), FolderError> {
        self.add(node);
        // Constants may be stored ahead of the frame that needs them: only so a large file fits into memory.
        self.flush_if_full().await
    }
}

fn weight_of(node: &Node) -> usize {
    node.data.as_ref().map_or(0, weight) + node.rel8ns.as_ref().map_or(0, weight)
}

/// About how many bytes a value takes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(s) => s.len() + 8,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 8,
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + weight(v)).sum::<usize>() + 8,
        _ => 8,
    }
}
