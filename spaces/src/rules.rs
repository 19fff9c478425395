//! What every space checks and walks in the same way, over a view of one moment of its store.

use crate::space::{Advance, Commit, CommitError, Follow, Kind, SpaceError, Tip};
use ibgib::{Addr, IbGib, Verified};
use std::collections::{HashSet, VecDeque};

/// A store at one moment, inside one transaction.
pub(crate) trait Moment {
    /// A committed node.
    fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError>;
    /// Whether a node is committed.
    fn has(&self, addr: &Addr) -> Result<bool, SpaceError>;
    /// A node staged for `owner`.
    fn staged(&self, owner: &str, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError>;
    /// The tip of a timeline.
    fn tip(&self, tjp: &Addr) -> Result<Option<Tip>, SpaceError>;
}

/// What a commit will do, all of it checked.
pub(crate) struct Checked {
    /// Nodes to write.
    pub(crate) nodes: Vec<Verified<IbGib>>,
    /// Staged nodes to publish.
    pub(crate) publish: Vec<Addr>,
    /// Tips as they will be.
    pub(crate) tips: Vec<Tip>,
}

/// Checks a commit against the store it is to change.
pub(crate) fn check(store: &impl Moment, commit: &Commit) -> Result<Checked, CommitError> {
    let all = batch_of(commit);
    let mut seen: HashSet<&Addr> = HashSet::new();
    let mut nodes = Vec::new();
    for node in commit.nodes.iter().filter(|n| !n.addr().is_primitive()) {
        if seen.insert(node.addr()) && !store.has(node.addr())? {
            check_targets(store, &all, node)?;
            nodes.push(node.clone());
        }
    }
    let mut publish = Vec::new();
    for (owner, addr) in commit.publish.iter().flat_map(|(o, addrs)| addrs.iter().map(move |a| (o, a))) {
        if !seen.insert(addr) || store.has(addr)? {
            continue;
        }
        let node = store.staged(owner, addr)?;
        let node = node.ok_or_else(|| CommitError::Missing { addr: addr.clone(), from: addr.clone() })?;
        check_targets(store, &all, &node)?;
        publish.push(addr.clone());
    }
    let tips = check_tips(store, commit, &all)?;
    Ok(Checked { nodes, publish, tips })
}

/// Every address that the commit brings.
fn batch_of(commit: &Commit) -> HashSet<&Addr> {
    let published = commit.publish.iter().flat_map(|(_, addrs)| addrs);
    commit.nodes.iter().map(|n| n.addr()).chain(published).collect()
}

fn check_targets(store: &impl Moment, batch: &HashSet<&Addr>, node: &Verified<IbGib>) -> Result<(), CommitError> {
    for target in node.targets() {
        if !batch.contains(&target) && !store.has(&target)? {
            return Err(CommitError::Missing { addr: target, from: node.addr().clone() });
        }
    }
    Ok(())
}

fn check_tips(store: &impl Moment, commit: &Commit, batch: &HashSet<&Addr>) -> Result<Vec<Tip>, CommitError> {
    let refused = |tjp: &Addr, why| Err(CommitError::Refused { tjp: tjp.clone(), why });
    let mut moved = Vec::new();
    let mut tips = Vec::new();
    let mut seen: HashSet<&Addr> = HashSet::new();
    for tip in &commit.tips {
        let advance = &tip.advance;
        let (tjp, to) = (advance.tjp(), advance.to());
        let kind = Kind::of(tjp);
        if !seen.insert(tjp) {
            return refused(tjp, "it is moved twice in one commit");
        }
        match (kind, advance) {
            (Kind::Keystone, Advance::Timeline(_)) => return refused(tjp, "a keystone moves by validated steps only"),
            (Kind::Living | Kind::Saga, Advance::Keystone(_)) => return refused(tjp, "it is not a keystone"),
            _ => {}
        }
        if !batch.contains(to) && !store.has(to)? {
            return refused(tjp, "the new tip is not here");
        }
        let now = store.tip(tjp)?.map(|t| t.addr);
        if now.as_ref() != advance.from() {
            moved.push((tjp.clone(), now));
            continue;
        }
        let n = match commit.nodes.iter().find(|n| n.addr() == to) {
            Some(node) => node.n(),
            None => match store.node(to)? {
                Some(node) => node.n(),
                None => match &commit.publish {
                    Some((owner, _)) => store.staged(owner, to)?.and_then(|n| n.n()),
                    None => None,
                },
            },
        };
        tips.push(Tip { tjp: tjp.clone(), addr: to.clone(), n, kind });
    }
    if moved.is_empty() { Ok(tips) } else { Err(CommitError::TipsMoved(moved)) }
}

/// [`crate::Space::reach`] over one moment.
pub(crate) fn reach(
    store: &impl Moment,
    starts: &[Addr],
    follow: Follow,
    stop: &HashSet<Addr>,
    limit: usize,
) -> Result<Vec<Addr>, SpaceError> {
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    // Everything at or below a stop is left out.
    let mut seen: HashSet<Addr> = HashSet::new();
    for addr in stop {
        if store.has(addr)? {
            walk(store, addr, Follow::All, &mut seen, None, usize::MAX)?;
        }
    }
    if follow == Follow::History {
        return history(store, starts, seen, limit);
    }
    let mut out = Vec::new();
    for start in starts.iter().filter(|a| !a.is_primitive()) {
        walk(store, start, follow, &mut seen, Some(&mut out), limit)?;
    }
    Ok(out)
}

/// Depth first without recursion; an address is answered after everything it relates to.
fn walk(
    store: &impl Moment,
    start: &Addr,
    follow: Follow,
    seen: &mut HashSet<Addr>,
    mut out: Option<&mut Vec<Addr>>,
    limit: usize,
) -> Result<(), SpaceError> {
    // A node on the way down: its address and what it relates to that is still to be visited.
    let mut path: Vec<(Addr, VecDeque<Addr>)> = Vec::new();
    let mut later: VecDeque<Addr> = VecDeque::from([start.clone()]);
    loop {
        let next = match path.last_mut() {
            Some((_, rest)) => rest.pop_front(),
            None => match later.pop_front() {
                Some(next) => Some(next),
                None => return Ok(()),
            },
        };
        let Some(addr) = next else {
            if let (Some((addr, _)), Some(out)) = (path.pop(), out.as_deref_mut()) {
                out.push(addr);
                if out.len() > limit {
                    return Err(SpaceError::TooMany(limit));
                }
            }
            continue;
        };
        if !seen.insert(addr.clone()) {
            continue;
        }
        let Some(node) = store.node(&addr)? else {
            let path = path.iter().map(|(a, _)| a.to_string()).chain([addr.to_string()]).collect();
            return Err(SpaceError::Missing { path });
        };
        if follow == Follow::Live
            && let Some(tjp) = node.tjp()
            && Kind::of(&tjp) == Kind::Living
            && let Some(tip) = store.tip(&tjp)?
            && !seen.contains(&tip.addr)
        {
            // Not below this node, so visited on its own.
            later.push_back(tip.addr);
        }
        path.push((addr, node.targets().into()));
    }
}

fn history(
    store: &impl Moment,
    starts: &[Addr],
    mut seen: HashSet<Addr>,
    limit: usize,
) -> Result<Vec<Addr>, SpaceError> {
    let mut out = Vec::new();
    let mut queue: VecDeque<(Addr, Option<Addr>)> = starts.iter().map(|a| (a.clone(), None)).collect();
    while let Some((addr, from)) = queue.pop_front() {
        if out.len() >= limit {
            break;
        }
        if addr.is_primitive() || !seen.insert(addr.clone()) {
            continue;
        }
        let Some(node) = store.node(&addr)? else {
            let path = from.iter().chain([&addr]).map(ToString::to_string).collect();
            return Err(SpaceError::Missing { path });
        };
        // Frames may list their whole past, the newest last.
        let parents = node.past().into_iter().chain(node.rel8n_addrs("graftorphan"));
        queue.extend(parents.map(|p| (p, Some(addr.clone()))));
        out.push(addr);
    }
    Ok(out)
}
