//! Timelines that end in a space: sessions and transcripts that nobody needs any more.
//!
//! Living timelines are kept for ever. A session's keystone and a saga's transcript are not: once they are over they say
//! only what happened. [`Commit::forget`](crate::Commit::forget) takes the tip of such a timeline away, and the nodes of
//! which it is made, in one atomic write. A space stays closed by that: having a node still means having its graph.
//!
//! What makes sure of it is small. A node of a keystone or a saga to which any other node relates is *held*: the commit
//! that brings such a relation keeps a record of it (`held/<address>`), and a commit that would forget a held node is
//! refused; both are conditions of the write, so that neither can pass the other. Only what is forgotten together holds
//! nothing: the frames by which a commit moves the timeline's own tip, with their messages and contexts (`Own`); a fork that
//! comes without the tip holds what it forks. A space that was written before there were such records is looked through once
//! ([`prepare`]), without which nothing is forgotten.

use crate::error::{CommitError, SpaceError};
pub use crate::marks::Forget;
use crate::marks::{BATCH, HELD_KNOWN, Own, held_key, is_word, made_of};
use crate::rules::Commit;
use crate::space::Space;
use crate::store::Nodes;
use crate::tip::Kind;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{HashMap, HashSet};

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
    if space.record(HELD_KNOWN).await?.is_some() {
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
    records.push((HELD_KNOWN.to_owned(), Some(b"1".to_vec())));
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
