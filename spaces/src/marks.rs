//! What commits note for later, and what it rests on: which nodes hold timelines that could end otherwise
//! ([`forget`](crate::forget)), and which timelines' tips may lead to others or
//! have open conflicts ([`leads`](crate::leads)).

use crate::error::SpaceError;
use crate::store::{Nodes, View};
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
/// The record which says that the whole space was looked through for what is held.
pub(crate) const HELD_KNOWN: &str = "held";
/// Records that name timelines whose tips may lead to others or have open conflicts.
pub(crate) const LEADS: &str = "leads/";
/// What such a record says of a tip that has open conflicts, and of one that only leads to others. One that was not written
/// by the commit that moved the tip is empty, so that it has to be looked at.
pub(crate) const IN_CONFLICT: &[u8] = b"c";
pub(crate) const SETTLED: &[u8] = b"s";
/// The record which says that the tips of before there were such records are among them.
pub(crate) const LEADS_KNOWN: &str = "leads";
/// Nodes read at once.
pub(crate) const BATCH: usize = 64;

/// The record of a node that is held.
pub(crate) fn held_key(addr: &Addr) -> String {
    format!("{HELD}{addr}")
}

/// Whether the first word of a node's name is one of these.
pub(crate) fn is_word(addr: &Addr, words: &[&str]) -> bool {
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

/// The timeline of such a record.
pub(crate) fn led_by(key: &str) -> Option<Addr> {
    key.strip_prefix(LEADS)?.parse().ok()
}

/// The record of a timeline that may lead to others or have open conflicts.
pub(crate) fn leads_key(tjp: &Addr) -> String {
    format!("{LEADS}{tjp}")
}

/// What a frame relates to beside frames of its own timeline: other timelines, and constants, which lead nowhere.
pub fn others(frame: &Verified<IbGib>) -> Vec<Addr> {
    let own = timeline(frame.addr()).to_owned();
    let mut targets = frame.targets();
    targets.retain(|target| timeline(target) != own);
    targets
}

/// Whether a frame has open conflicts.
pub(crate) fn has_conflicts(frame: &Verified<IbGib>) -> bool {
    frame.rel8n("conflict").next().is_some()
}
