//! Commits in bounded pieces: new frames are joined with whatever the tips have become meanwhile.

use crate::content::Keep;
use crate::error::FolderError;
use crate::frames::Node;
use async_trait::async_trait;
use ibgib::Addr;
use ibgib_spaces::Space;
use ibgib_spaces::history::Loader;
use ibgib_spaces::settle::{Draft, Proposal, TRIES, Unsettled, settle};
use std::collections::HashSet;

/// Content that one commit gathers before it is made.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Frames that one commit gathers before it is made.
const EDITS_MAX: usize = 1_000;

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
        self.bytes += nodes.iter().map(Node::weight).sum::<usize>();
        self.edits.push(Edit { tjp, base: base.cloned(), nodes });
    }

    /// A node that the edits need.
    pub(crate) fn add(&mut self, node: Node) {
        self.bytes += node.weight();
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
        let flush = Flush { space: self.space, constants, edits, records };
        match settle(self.space, TRIES, &flush).await {
            Ok(done) => {
                self.merges += done.merges as usize;
                self.conflicts += done.conflicts as usize;
                Ok(())
            }
            Err(Unsettled::Draft(error)) => Err(error),
            Err(Unsettled::Commit(error)) => Err(error.into()),
            Err(Unsettled::Busy(tries)) => Err(FolderError::Busy { tries }),
        }
    }
}

/// What one flush commits.
struct Flush<'a> {
    space: &'a dyn Space,
    constants: Vec<Node>,
    edits: Vec<Edit>,
    records: Vec<(String, Option<Vec<u8>>)>,
}

#[async_trait]
impl Proposal for Flush<'_> {
    type Told = ();
    type Error = FolderError;

    async fn draft(&self, draft: &mut Draft) -> Result<(), FolderError> {
        draft.commit.nodes = self.constants.clone();
        draft.commit.records = self.records.clone();
        for edit in &self.edits {
            let Some(new) = edit.nodes.last() else { continue };
            // One history per timeline: its frames are let go before the next one's come.
            let mut history = Loader::new(self.space, None);
            history.add(edit.base.iter().chain(&edit.nodes).cloned());
            draft.commit.nodes.extend(edit.nodes.iter().cloned());
            let tip = self.space.tip(&edit.tjp).await?.map(|t| t.addr);
            let led = draft.lead(&mut history, &edit.tjp, tip.as_ref(), std::slice::from_ref(new.addr())).await;
            led?;
        }
        let nodes = &mut draft.commit.nodes;
        let addrs: Vec<Addr> = nodes.iter().map(|n| n.addr().clone()).collect();
        let mut there = self.space.has(&addrs).await?.into_iter();
        let mut seen = HashSet::new();
        nodes.retain(|n| there.next() == Some(false) && seen.insert(n.addr().clone()));
        Ok(())
    }
}

#[async_trait]
impl Keep for Writer<'_> {
    async fn keep(&mut self, node: Node) -> Result<(), FolderError> {
        self.add(node);
        // Constants may be stored ahead of the frame that needs them: only so a large file fits into memory.
        self.flush_if_full().await
    }
}
