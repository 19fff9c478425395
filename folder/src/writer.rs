//! Commits in bounded pieces: new frames are joined with whatever the tips have become meanwhile.

use crate::content::Keep;
use crate::error::FolderError;
use crate::frames::Node;
use ibgib::{Addr, Value};
use ibgib_spaces::{Advance, Commit, CommitError, Space, history};
use std::collections::HashMap;

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

/// A timeline's new frame, and the frame it was built on.
struct Edit {
    tjp: Addr,
    base: Option<Addr>,
    new: Addr,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(space: &'a dyn Space) -> Self {
        Self { space, nodes: vec![], edits: vec![], records: vec![], bytes: 0, merges: 0, conflicts: 0 }
    }

    /// A timeline that begins: `nodes` ends with its newest frame.
    pub(crate) fn start(&mut self, tjp: Addr, nodes: Vec<Node>) {
        self.push(tjp, None, nodes);
    }

    /// An edit built on frame `base`: `nodes` ends with the new frame.
    pub(crate) fn edit(&mut self, tjp: Addr, base: &Addr, nodes: Vec<Node>) {
        self.push(tjp, Some(base.clone()), nodes);
    }

    fn push(&mut self, tjp: Addr, base: Option<Addr>, nodes: Vec<Node>) {
        if let Some(last) = nodes.last() {
            self.edits.push(Edit { tjp, base, new: last.addr().clone() });
        }
        for node in nodes {
            self.add(node);
        }
    }

    /// A node that the edits need.
    pub(crate) fn add(&mut self, node: Node) {
        self.bytes += node.data.as_ref().map_or(0, weight) + node.rel8ns.as_ref().map_or(0, weight);
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
        let (nodes, edits) = (std::mem::take(&mut self.nodes), std::mem::take(&mut self.edits));
        let records = std::mem::take(&mut self.records);
        if nodes.is_empty() && records.is_empty() {
            return Ok(());
        }
        let mut overlay: HashMap<Addr, Node> = nodes.into_iter().map(|n| (n.addr().clone(), n)).collect();
        for _ in 0..TRIES {
            let mut commit = Commit { records: records.clone(), ..Commit::default() };
            let (mut merges, mut conflicts) = (0, 0);
            for edit in &edits {
                let tip = self.space.tip(&edit.tjp).await?.map(|t| t.addr);
                let mut to = edit.new.clone();
                if let Some(tip) = &tip
                    && edit.base.as_ref() != Some(tip)
                {
                    let joined = history::join(self.space, &overlay, tip, &edit.new).await.map_err(FolderError::history)?;
                    merges += usize::from(!joined.nodes.is_empty());
                    conflicts += joined.conflicts;
                    to = joined.tip;
                    overlay.extend(joined.nodes.into_iter().map(|n| (n.addr().clone(), n)));
                }
                if tip.as_ref() != Some(&to) {
                    let advance = history::advance(self.space, &overlay, tip.as_ref(), &to).await;
                    commit.tips.push(Advance::Timeline(advance.map_err(FolderError::history)?).into());
                }
            }
            let addrs: Vec<Addr> = overlay.keys().cloned().collect();
            let there = self.space.has(&addrs).await?;
            let new = addrs.iter().zip(there).filter(|(_, there)| !there);
            commit.nodes = new.filter_map(|(addr, _)| overlay.get(addr).cloned()).collect();
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

/// About how many bytes a value takes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(s) => s.len() + 8,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 8,
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + weight(v)).sum::<usize>() + 8,
        _ => 8,
    }
}
