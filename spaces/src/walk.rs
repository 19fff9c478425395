//! Walks over the graph of a view. They read level by level, so that a store behind a network is not asked node by
//! node, and put what they found in order afterwards, in memory.

use crate::error::SpaceError;
use crate::store::{Nodes, Tips, View};
use crate::tip::Kind;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{HashMap, HashSet, VecDeque};

/// Nodes read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;
/// Starts from which is walked at the same time. What lies under them stands near them, and is read before the store has
/// forgotten what it read there.
const TOGETHER: usize = 64;

/// Which relations [`Space::reach`](crate::Space::reach) follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// All of them: the dependency graph.
    All,
    /// All of them, and from every living timeline met on to its tip: the live graph. Keystone and saga timelines
    /// are not followed.
    Live,
    /// Only `past` and `graftorphan`: a timeline's history.
    History,
}

/// [`Space::reach`](crate::Space::reach) over one moment.
pub(crate) async fn reach(
    view: &dyn View,
    starts: &[Addr],
    follow: Follow,
    stop: &HashSet<Addr>,
    limit: usize,
) -> Result<Vec<Addr>, SpaceError> {
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    // Everything at or below a stop is left out: it is loaded first, so that it has the lowest places.
    let mut graph = Graph::default();
    let stops: Vec<Addr> = stop.iter().cloned().collect();
    let has = view.has(&stops).await?;
    let stops = stops.into_iter().zip(has).filter(|(_, has)| *has).map(|(addr, _)| addr);
    let stops = graph.add(stops);
    graph.load(view, stops, Follow::All, usize::MAX).await?;
    let left_out = graph.addrs.len();
    if follow == Follow::History {
        let stopped = graph.addrs.into_iter().collect();
        return history(view, starts, stopped, limit).await;
    }
    let starts: Vec<Addr> = starts.iter().filter(|a| !a.is_primitive()).cloned().collect();
    let places = view.places(&starts).await?;
    let mut placed: Vec<(u64, &Addr)> = places.into_iter().zip(&starts).collect();
    placed.sort_by_key(|(place, _)| *place);
    let starts: Vec<&Addr> = placed.into_iter().map(|(_, addr)| addr).collect();
    let fresh = graph.add(starts.iter().copied().cloned());
    graph.load(view, fresh, follow, limit).await?;
    Ok(graph.in_order(&starts, left_out))
}

/// The nearest `limit` frames, newest first.
async fn history(
    view: &dyn View,
    starts: &[Addr],
    mut seen: HashSet<Addr>,
    limit: usize,
) -> Result<Vec<Addr>, SpaceError> {
    let mut out = Vec::new();
    let mut level: Vec<(Addr, Option<Addr>)> = starts.iter().map(|a| (a.clone(), None)).collect();
    while !level.is_empty() && out.len() < limit {
        tokio::task::coop::consume_budget().await;
        level.retain(|(addr, _)| !addr.is_primitive() && seen.insert(addr.clone()));
        level.truncate(limit - out.len());
        let mut next = Vec::new();
        for batch in level.chunks(BATCH) {
            let addrs: Vec<Addr> = batch.iter().map(|(addr, _)| addr.clone()).collect();
            for ((addr, from), node) in batch.iter().zip(view.nodes(Nodes::Committed(&addrs)).await?) {
                let Some(node) = node else {
                    return Err(SpaceError::Missing {
                        path: from.iter().chain([addr]).map(ToString::to_string).collect(),
                    });
                };
                // Frames may list their whole past, the newest last.
                let before = node.past().into_iter().chain(node.rel8n_addrs("graftorphan"));
                next.extend(before.map(|b| (b, Some(addr.clone()))));
                out.push(addr.clone());
            }
        }
        level = next;
    }
    Ok(out)
}

/// What was found of a graph. A node is known by its place in the order in which it was met.
#[derive(Default)]
struct Graph {
    places: HashMap<Addr, usize>,
    addrs: Vec<Addr>,
    /// Who led to each node first; nobody to where the walk began.
    from: Vec<Option<usize>>,
    /// What each relates to, in its own order.
    targets: Vec<Vec<usize>>,
    /// The tip of the living timeline that each belongs to, where the live graph goes on.
    goes_on: Vec<Option<usize>>,
}

impl Graph {
    /// The place of an address, and whether it was met for the first time.
    fn place(&mut self, addr: Addr, from: Option<usize>) -> (usize, bool) {
        if let Some(place) = self.places.get(&addr) {
            return (*place, false);
        }
        let place = self.addrs.len();
        self.places.insert(addr.clone(), place);
        self.addrs.push(addr);
        self.from.push(from);
        self.targets.push(Vec::new());
        self.goes_on.push(None);
        (place, true)
    }

    /// Where a walk begins: the places that were not met before.
    fn add(&mut self, starts: impl Iterator<Item = Addr>) -> Vec<usize> {
        starts.map(|addr| self.place(addr, None)).filter(|(_, fresh)| *fresh).map(|(place, _)| place).collect()
    }

    /// Reads everything below these places, some of them at a time and level by level. More than `limit` nodes are an
    /// error.
    async fn load(
        &mut self,
        view: &dyn View,
        starts: Vec<usize>,
        follow: Follow,
        limit: usize,
    ) -> Result<(), SpaceError> {
        let (mut starts, mut level) = (starts.into_iter(), Vec::new());
        let mut read = 0;
        let mut tips: HashMap<Addr, Option<Addr>> = HashMap::new();
        loop {
            if level.is_empty() {
                level = starts.by_ref().take(TOGETHER).collect();
            }
            if level.is_empty() {
                return Ok(());
            }
            let mut next = Vec::new();
            for batch in level.chunks(BATCH) {
                // A store may answer without ever waiting: others have to get their turn all the same.
                tokio::task::coop::consume_budget().await;
                let addrs: Vec<Addr> = batch.iter().map(|place| self.addrs[*place].clone()).collect();
                let nodes = view.nodes(Nodes::Committed(&addrs)).await?;
                let mut timelines = Vec::new();
                for (place, node) in batch.iter().zip(nodes) {
                    let Some(node) = node else { return Err(SpaceError::Missing { path: self.path_to(*place) }) };
                    read += 1;
                    if read > limit {
                        return Err(SpaceError::TooMany(limit));
                    }
                    if follow == Follow::Live
                        && let Some(tjp) = living(&node)
                    {
                        timelines.push((*place, tjp));
                    }
                    for target in node.targets() {
                        let (target, fresh) = self.place(target, Some(*place));
                        self.targets[*place].push(target);
                        next.extend(fresh.then_some(target));
                    }
                }
                let mut ask: Vec<Addr> = timelines.iter().map(|(_, tjp)| tjp.clone()).collect();
                ask.retain(|tjp| !tips.contains_key(tjp));
                if !ask.is_empty() {
                    let found = view.tips(Tips::Of(&ask)).await?;
                    tips.extend(ask.into_iter().map(|tjp| (tjp, None)));
                    tips.extend(found.into_iter().map(|tip| (tip.tjp, Some(tip.addr))));
                }
                for (place, tjp) in timelines {
                    let Some(tip) = tips.get(&tjp).cloned().flatten() else { continue };
                    let (tip, fresh) = self.place(tip, None);
                    self.goes_on[place] = Some(tip);
                    next.extend(fresh.then_some(tip));
                }
            }
            level = next;
        }
    }

    fn path_to(&self, place: usize) -> Vec<String> {
        let mut path = vec![self.addrs[place].to_string()];
        let mut at = self.from[place];
        while let Some(place) = at {
            path.push(self.addrs[place].to_string());
            at = self.from[place];
        }
        path.reverse();
        path
    }

    /// What was read after the first `left_out`, an address after everything that it relates to: depth first, without
    /// recursion.
    fn in_order(&self, starts: &[&Addr], left_out: usize) -> Vec<Addr> {
        let mut seen = vec![false; self.addrs.len()];
        seen[..left_out].fill(true);
        let mut out = Vec::with_capacity(self.addrs.len() - left_out);
        let starts = starts.iter().filter_map(|start| self.places.get(*start));
        for start in starts {
            // A node on the way down, and how many of its targets were visited.
            let mut path: Vec<(usize, usize)> = Vec::new();
            // Tips are not below the node that leads on to them, so they are visited on their own.
            let mut later = VecDeque::from([*start]);
            loop {
                let next = match path.last_mut() {
                    Some((place, visited)) => {
                        *visited += 1;
                        self.targets[*place].get(*visited - 1).copied()
                    }
                    None => match later.pop_front() {
                        Some(next) => Some(next),
                        None => break,
                    },
                };
                match next {
                    None => out.extend(path.pop().map(|(place, _)| self.addrs[place].clone())),
                    Some(place) if seen[place] => {}
                    Some(place) => {
                        seen[place] = true;
                        path.push((place, 0));
                        later.extend(self.goes_on[place].filter(|tip| !seen[*tip]));
                    }
                }
            }
        }
        out
    }
}

/// The living timeline that a node belongs to.
fn living(node: &Verified<IbGib>) -> Option<Addr> {
    node.tjp().filter(|tjp| Kind::of(tjp) == Kind::Living)
}
