//! Timelines that end in a space: sessions and transcripts that nobody needs any more.
//!
//! Living timelines are kept for ever. A session's keystone and a saga's transcript are not: once they are over they say
//! only what happened. [`Commit::forget`](crate::Commit::forget) takes the tip of such a timeline away, and the nodes of
//! which it is made, in one atomic write. A space stays closed by that: having a node still means having its graph.
//!
//! What makes sure of it is small. A node of a keystone or a saga to which any other node relates is *held*: the commit
//! that brings such a relation keeps a record of it (`held/<address>`), and a commit that would forget a held node is
//! refused; both are conditions of the write, so that neither can pass the other. A space that was written before there
//! were such records is looked through once ([`prepare`]).

use crate::error::{CommitError, SpaceError};
use crate::rules::Commit;
use crate::space::Space;
use crate::store::{Nodes, View};
use ibgib::{Addr, IbGib, Verified};
use std::collections::HashSet;

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
const PREPARED: &str = "held";
/// Nodes read at once.
const BATCH: usize = 64;

/// The record of a node that is held.
pub(crate) fn held_key(addr: &Addr) -> String {
    format!("{HELD}{addr}")
}

/// Whether nodes of this name are forgotten with the timeline that they belong to.
fn is_apart(addr: &Addr) -> bool {
    let word = addr.ib().split(' ').next().unwrap_or_default();
    word == "keystone" || is_of_a_saga(addr)
}

fn is_of_a_saga(addr: &Addr) -> bool {
    matches!(addr.ib().split(' ').next(), Some("saga" | "saga_msg" | "saga_context"))
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

/// Frame, message and context that a frame or a context of a saga relates to.
fn own_parts(node: &Verified<IbGib>) -> impl Iterator<Item = Addr> {
    let names: &[&str] = if is_of_a_saga(node.addr()) { &["frame", "msg", "context"] } else { &[] };
    names.iter().flat_map(|name| node.rel8n_addrs(name)).filter(is_of_a_saga)
}

/// Those of a node's targets that are held because it relates to them. `brought`: whether a node comes in the same commit;
/// the turns of a saga come in one.
pub(crate) fn held_by<'t>(
    node: &Verified<IbGib>,
    targets: &'t [Addr],
    brought: impl Fn(&Addr) -> bool,
) -> impl Iterator<Item = &'t Addr> {
    let mut apart = targets.iter().filter(|target| is_apart(target)).peekable();
    let own: HashSet<Addr> = match apart.peek() {
        Some(_) => own_frames(node).chain(own_parts(node).filter(|part| brought(part))).collect(),
        None => HashSet::new(),
    };
    apart.filter(move |target| !own.contains(*target))
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
                let is_of_this = |addr: &Addr| {
                    let is_frame = !matches!(addr.ib().split(' ').next(), Some("saga_msg" | "saga_context"));
                    !is_frame || timeline(addr) == timelines[*nth].tjp.gib()
                };
                let own = own_frames(&node).chain(own_parts(&node));
                let fresh = own.filter(is_of_this).filter(|addr| found[*nth].insert(addr.clone()));
                next.extend(fresh.map(|addr| (*nth, addr)).collect::<Vec<_>>());
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
/// When the store fails; a damaged node holds nothing that can be known.
pub async fn prepare(space: &dyn Space, mut told: impl FnMut(u64)) -> Result<(), CommitError> {
    if space.record(PREPARED).await?.is_some() {
        return Ok(());
    }
    let (mut after, mut read, mut held) = (None, 0, HashSet::new());
    loop {
        let batch = space.scan(after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after = Some(last.key);
        read += batch.len() as u64;
        for node in batch.into_iter().filter_map(|entry| entry.node.ok()) {
            // Which nodes came together nobody knows any more; those of a saga did.
            held.extend(held_by(&node, &node.targets(), |_| true).cloned());
        }
        told(read);
    }
    let mut records: Vec<_> = held.iter().map(|addr| (held_key(addr), Some(Vec::new()))).collect();
    records.push((PREPARED.to_owned(), Some(b"1".to_vec())));
    space.commit(Commit { records, ..Commit::default() }).await?;
    Ok(())
}
