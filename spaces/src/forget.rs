//! Timelines that end in a space: sessions and transcripts that nobody needs any more.
//!
//! Living timelines are kept for ever. A session's keystone and a saga's transcript are not: once they are over they say
//! only what happened. [`Commit::forget`](crate::Commit::forget) takes the tip of such a timeline away, and the nodes of
//! which it is made, in one atomic write. A space stays closed by that: having a node still means having its graph.
//!
//! What makes sure of it is small. A node of a keystone or a saga to which any other node relates is *held*: the commit
//! that brings such a relation keeps a record of it (`held/<address>`), and a commit that would forget a held node is
//! refused; both are conditions of the write, so that neither can pass the other. Only what is forgotten together holds
//! nothing: the frames by which a commit moves the timeline's own tip, with their messages and contexts ([`Own`]); a fork that
//! comes without the tip holds what it forks. A space that was written before there were such records is looked through once
//! ([`prepare`]), without which nothing is forgotten.

use crate::error::{CommitError, SpaceError};
use crate::rules::Commit;
use crate::space::Space;
use crate::store::{Nodes, View};
use crate::tip::Kind;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{HashMap, HashSet};

/// A timeline that a commit takes away, with all that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forget {
    /// The timeline: one of a keystone or a saga.
    pub tjp: Addr,
    /// Its tip, where it is now.
    pub tip: Addr,
    /// Nodes that belong to it though nothing relates to them: the last context of a transcript.
    pub beside: Vec<Addr>,
}

/// Records that name what is held.
const HELD: &str = "held/";
/// The record which says that the whole space was looked through.
pub(crate) const PREPARED: &str = "held";
/// Nodes read at once.
const BATCH: usize = 64;

/// The record of a node that is held.
pub(crate) fn held_key(addr: &Addr) -> String {
    format!("{HELD}{addr}")
}

/// Whether the first word of a node's name is one of these.
fn is_word(addr: &Addr, words: &[&str]) -> bool {
    addr.ib().split(' ').next().is_some_and(|word| words.contains(&word))
}

/// Whether nodes of this name are forgotten with the timeline that they belong to.
pub(crate) fn is_apart(addr: &Addr) -> bool {
    is_word(addr, &["keystone", "saga", "saga_msg", "saga_context"])
}

/// The timeline that a frame belongs to, by the hash of its first frame.
fn timeline(addr: &Addr) -> &str {
    addr.tjp_gib().unwrap_or(addr.gib())
}

/// The frames of its own timeline that a frame relates to.
fn own_frames(node: &Verified<IbGib>) -> impl Iterator<Item = Addr> {
    let own = timeline(node.addr()).to_owned();
    let frames = ["past", "tjp"].into_iter().flat_map(|name| node.rel8n_addrs(name));
    frames.filter(move |target| is_apart(target) && timeline(target) == own)
}

/// Message and context that a frame of a saga relates to.
fn own_parts(frame: &Verified<IbGib>) -> impl Iterator<Item = Addr> {
    let names: &[&str] = if is_word(frame.addr(), &["saga"]) { &["msg", "context"] } else { &[] };
    names.iter().flat_map(|name| frame.rel8n_addrs(name)).filter(|part| is_word(part, &["saga_msg", "saga_context"]))
}

/// What of a commit will be forgotten along with the timeline that it belongs to: the frames by which tips move, each from
/// the frame before it, and the messages and contexts of those. Only their relations among themselves hold nothing.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Each frame with itself, each message and context with the frame that relates to it, or that it names if none does.
    of: HashMap<Addr, Addr>,
}

impl Own {
    /// Of the frames at and before `tip`, as far as `frames` has them.
    pub(crate) fn add<'n>(&mut self, tip: &Addr, node: impl Fn(&Addr) -> Option<&'n Verified<IbGib>>) {
        let mut next = Some(tip.clone()).filter(is_apart);
        while let Some(frame) = next.take().and_then(|addr| node(&addr)) {
            if self.of.insert(frame.addr().clone(), frame.addr().clone()).is_some() {
                break;
            }
            for part in own_parts(frame) {
                // A part that two frames have is a part of none: it stays with the one that is kept.
                if node(&part).is_some() {
                    self.of.insert(part, frame.addr().clone());
                }
            }
            next = frame.past().filter(|past| is_apart(past) && timeline(past) == timeline(frame.addr()));
        }
    }

    /// A context to which nothing relates belongs to the frame that it names, if it is the only such one.
    pub(crate) fn add_last_contexts<'n>(&mut self, nodes: impl Iterator<Item = &'n Verified<IbGib>>) {
        let mut last: HashMap<Addr, Vec<Addr>> = HashMap::new();
        for node in nodes.filter(|node| is_word(node.addr(), &["saga_context"]) && !self.of.contains_key(node.addr())) {
            let frames = node.rel8n_addrs("frame");
            if let [frame] = frames.as_slice()
                && self.of.get(frame) == Some(frame)
            {
                last.entry(frame.clone()).or_default().push(node.addr().clone());
            }
        }
        for (frame, contexts) in last {
            if let [context] = contexts.as_slice() {
                self.of.insert(context.clone(), frame);
            }
        }
    }

    /// Those of a node's targets that are held because it relates to them.
    pub(crate) fn held_by<'t>(&self, node: &Verified<IbGib>, targets: &'t [Addr]) -> Vec<&'t Addr> {
        let mut apart: Vec<&Addr> = targets.iter().filter(|target| is_apart(target)).collect();
        if apart.is_empty() {
            return apart;
        }
        let own: HashSet<Addr> = match self.of.get(node.addr()) {
            Some(frame) if frame == node.addr() => {
                let parts = own_parts(node).filter(|part| self.of.get(part) == Some(frame));
                own_frames(node).chain(parts).collect()
            }
            // A context, which the frame behind the one that it names relates to: that one, and its message.
            Some(_) => {
                let frames = node.rel8n_addrs("frame").into_iter().filter(|frame| self.of.get(frame) == Some(frame));
                let frames: HashSet<Addr> = frames.collect();
                let is_message = |addr: &Addr| is_word(addr, &["saga_msg"]);
                let messages = node.rel8n_addrs("msg").into_iter().filter(is_message);
                let messages: Vec<Addr> =
                    messages.filter(|addr| self.of.get(addr).is_some_and(|of| frames.contains(of))).collect();
                frames.into_iter().chain(messages).collect()
            }
            None => HashSet::new(),
        };
        apart.retain(|target| !own.contains(*target));
        apart
    }
}

/// The nodes of which each of these timelines is made, what is beside it included.
pub(crate) async fn made_of(view: &dyn View, timelines: &[Forget]) -> Result<Vec<Vec<Addr>>, SpaceError> {
    let mut found: Vec<HashSet<Addr>> = vec![HashSet::new(); timelines.len()];
    // Level by level, all of them together: the store is never asked node by node.
    let mut level: Vec<(usize, Addr)> = Vec::new();
    for (nth, timeline) in timelines.iter().enumerate() {
        let starts = std::iter::once(&timeline.tip).chain(&timeline.beside);
        level.extend(starts.filter(|addr| found[nth].insert((*addr).clone())).map(|addr| (nth, addr.clone())));
    }
    while !level.is_empty() {
        let mut next = Vec::new();
        for batch in level.chunks(BATCH) {
            let addrs: Vec<Addr> = batch.iter().map(|(_, addr)| addr.clone()).collect();
            let nodes = view.nodes(Nodes::Committed(&addrs)).await?;
            for ((nth, addr), node) in batch.iter().zip(nodes) {
                let Some(node) = node else { return Err(SpaceError::Missing { path: vec![addr.to_string()] }) };
                let forget = &timelines[*nth];
                let is_its_context =
                    || is_word(addr, &["saga_context"]) && node.rel8n_addrs("frame") == [forget.tip.clone()];
                if forget.beside.contains(addr) && !is_its_context() {
                    // It belongs to another one.
                    found[*nth].remove(addr);
                    continue;
                }
                let own = own_frames(&node).filter(|frame| timeline(frame) == forget.tjp.gib()).chain(own_parts(&node));
                let fresh: Vec<Addr> = own.filter(|addr| found[*nth].insert(addr.clone())).collect();
                next.extend(fresh.into_iter().map(|addr| (*nth, addr)));
            }
        }
        level = next;
    }
    Ok(found.into_iter().map(|nodes| nodes.into_iter().collect()).collect())
}

/// How many nodes each of these timelines is made of, and how many bytes their texts have.
///
/// # Errors
/// When the store fails, or has not got one of the nodes.
pub async fn weigh(space: &dyn Space, timelines: &[Forget]) -> Result<Vec<(u64, u64)>, SpaceError> {
    let view = space.view().await?;
    let made_of = made_of(&*view, timelines).await?;
    let all: Vec<(usize, &Addr)> =
        made_of.iter().enumerate().flat_map(|(nth, nodes)| nodes.iter().map(move |addr| (nth, addr))).collect();
    let mut out = vec![(0, 0); timelines.len()];
    for batch in all.chunks(BATCH) {
        let addrs: Vec<Addr> = batch.iter().map(|(_, addr)| (*addr).clone()).collect();
        let nodes = view.nodes(Nodes::Committed(&addrs)).await?;
        for ((nth, _), node) in batch.iter().zip(nodes) {
            out[*nth].0 += 1;
            out[*nth].1 += node.map_or(0, |node| node.to_json().len() as u64);
        }
    }
    Ok(out)
}

/// Looks through a space once for what is held, if nobody has. Of what is committed meanwhile the commits themselves tell.
/// `told` hears how many nodes were read.
///
/// # Errors
/// When the store fails; [`SpaceError::Corrupt`] when a node is damaged, since nobody knows what that one holds.
pub async fn prepare(space: &dyn Space, mut told: impl FnMut(u64)) -> Result<(), CommitError> {
    if space.record(PREPARED).await?.is_some() {
        return Ok(());
    }
    let own = own_of_all(space).await?;
    let (mut after, mut read, mut held) = (None, 0, HashSet::new());
    loop {
        let batch = space.scan(after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = Some(last.key);
        read += batch.len() as u64;
        for entry in batch {
            let node = entry.node?;
            held.extend(own.held_by(&node, &node.targets()).into_iter().cloned());
        }
        told(read);
    }
    let mut records: Vec<_> = held.iter().map(|addr| (held_key(addr), Some(Vec::new()))).collect();
    records.push((PREPARED.to_owned(), Some(b"1".to_vec())));
    space.commit(Commit { records, ..Commit::default() }).await?;
    Ok(())
}

/// What all sessions and transcripts of a space are made of.
async fn own_of_all(space: &dyn Space) -> Result<Own, SpaceError> {
    let mut tips = space.tips(Some(Kind::Keystone)).await?;
    tips.extend(space.tips(Some(Kind::Saga)).await?);
    let mut own = Own::default();
    for batch in tips.chunks(BATCH) {
        let all: Vec<Forget> = batch
            .iter()
            .map(|tip| Forget { tjp: tip.tjp.clone(), tip: tip.addr.clone(), beside: Vec::new() })
            .collect();
        let view = space.view().await?;
        let addrs: Vec<Addr> = made_of(&*view, &all).await?.into_iter().flatten().collect();
        let mut nodes: HashMap<Addr, Verified<IbGib>> = HashMap::new();
        for batch in addrs.chunks(BATCH) {
            let read = view.nodes(Nodes::Committed(batch)).await?;
            nodes.extend(read.into_iter().flatten().map(|node| (node.addr().clone(), node)));
        }
        for tip in batch {
            own.add(&tip.addr, |addr| nodes.get(addr));
        }
    }
    // Contexts to which nothing relates are found by looking at everything.
    let (mut after, mut contexts) = (None, Vec::new());
    loop {
        let batch = space.scan(after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = Some(last.key);
        let nodes = batch.into_iter().filter_map(|entry| entry.node.ok());
        contexts.extend(nodes.filter(|node| is_word(node.addr(), &["saga_context"])));
    }
    own.add_last_contexts(contexts.iter());
    Ok(own)
}
