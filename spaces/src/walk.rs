//! Walks over the graph of a view. They read level by level, so that a store behind a network is not asked node by
//! node, and put what they found in order afterwards, in memory.

use crate::error::SpaceError;
use crate::store::{Nodes, Tips, View, nodes_within};
use crate::tip::Kind;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;

/// Nodes read at once: few, since each may be as large as its limit.
const BATCH: usize = 16;
/// Nodes, and about how many bytes of them, that are asked for at once where only bytes limit them.
const BATCH_MAX: usize = 1_024;
const BYTES: usize = 4 * 1024 * 1024;
/// Starts from which is walked at the same time, at least and at most. What lies under them stands near them, and is read
/// before the store has forgotten what it read there: more of them where nodes are so small that [`NEAR`] of each of them
/// take no more than is read at once.
const TOGETHER: usize = 64;
const TOGETHER_MAX: usize = 256;
const NEAR: usize = 32;

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

/// Nodes that a walk has read, for whoever needs them next: those that were met first, as many as have room.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    nodes: HashMap<Addr, Verified<IbGib>>,
    room: usize,
}

impl Walked {
    /// Room for nodes of about so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Self { nodes: HashMap::new(), room: bytes }
    }

    /// Takes a node out.
    pub fn take(&mut self, addr: &Addr) -> Option<Verified<IbGib>> {
        self.nodes.remove(addr)
    }

    /// Whether a node is among them.
    pub fn has(&self, addr: &Addr) -> bool {
        self.nodes.contains_key(addr)
    }

    /// Puts a node there that was read otherwise, whether there is room or not.
    pub fn put(&mut self, node: Verified<IbGib>) {
        self.nodes.insert(node.addr().clone(), node);
    }

    fn keep(&mut self, node: Verified<IbGib>) {
        match self.room.checked_sub(node.weight_unread()) {
            Some(room) => {
                self.room = room;
                self.nodes.insert(node.addr().clone(), node);
            }
            // What is met later has no room either.
            None => self.room = 0,
        }
    }
}

/// [`Space::reach`](crate::Space::reach) over one moment; in `walked` it leaves nodes that it answers, but of a history.
pub(crate) async fn reach(
    view: &dyn View,
    starts: &[Addr],
    follow: Follow,
    stop: &HashSet<Addr>,
    limit: usize,
    walked: &mut Walked,
) -> Result<Vec<Addr>, SpaceError> {
    if starts.is_empty() {
        return Ok(Vec::new());
    }
    let mut below = Below::of(view, stop).await?;
    if follow == Follow::History {
        return history(view, starts, &mut below, limit).await;
    }
    let starts: Vec<Addr> = starts.iter().filter(|a| !a.is_primitive()).cloned().collect();
    let places = view.places(&starts).await?;
    let mut placed: Vec<(u64, &Addr)> = places.into_iter().zip(&starts).collect();
    placed.sort_by_key(|(place, _)| *place);
    let starts: Vec<&Addr> = placed.into_iter().map(|(_, addr)| addr).collect();
    let mut graph = Graph::default();
    let fresh = graph.add(starts.iter().copied().cloned());
    graph.load(&mut below, fresh, follow, limit, walked).await?;
    Ok(graph.in_order(&starts))
}

/// The nearest `limit` frames, newest first.
async fn history(
    view: &dyn View,
    starts: &[Addr],
    below: &mut Below<'_>,
    limit: usize,
) -> Result<Vec<Addr>, SpaceError> {
    let (mut out, mut seen) = (Vec::new(), HashSet::new());
    let mut level: Vec<(Addr, Option<Addr>)> = starts.iter().map(|a| (a.clone(), None)).collect();
    while !level.is_empty() && out.len() < limit {
        tokio::task::coop::consume_budget().await;
        level.retain(|(addr, _)| !addr.is_primitive() && !below.knows(addr) && seen.insert(addr.clone()));
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
                if below.covers(&node).await? {
                    continue;
                }
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

/// What is at or below the stops, found out as far as a walk comes near it: what lies further down is not read, however
/// long the history is.
///
/// Frames are found in the order of their numbers, the greatest first: a frame before another has a smaller one. So
/// whether a frame is below a stop is known once those stops' histories are known down to its own number. What frames
/// relate to that is no frame is known one step deep, and further where a walk comes to something of the same name: the parts
/// of a file's old content when it comes to the new content.
struct Below<'a> {
    view: &'a dyn View,
    known: HashSet<Addr>,
    /// Which of these were read.
    read: HashSet<Addr>,
    /// By timeline: the numbers of frames, and what comes before each, which was not read yet.
    fronts: HashMap<Addr, BinaryHeap<(u64, Vec<Addr>)>>,
    /// By ib: what frames relate to that is of no timeline, or first in one, and was not read yet.
    shallow: HashMap<String, Vec<Addr>>,
}

impl<'a> Below<'a> {
    async fn of(view: &'a dyn View, stop: &HashSet<Addr>) -> Result<Self, SpaceError> {
        let (known, read, fronts, shallow) = Default::default();
        let mut below = Self { view, known, read, fronts, shallow };
        let stops: Vec<Addr> = stop.iter().cloned().collect();
        let has = view.has(&stops).await?;
        let mut level: Vec<Addr> = stops.into_iter().zip(has).filter(|(_, has)| *has).map(|(addr, _)| addr).collect();
        // What is under a constant is read as a whole: no number leads through it.
        while !level.is_empty() {
            level = below.read(level, true).await?;
        }
        Ok(below)
    }

    /// Whether an address was found to be at or below a stop.
    fn knows(&self, addr: &Addr) -> bool {
        self.known.contains(addr)
    }

    /// Whether a node is at or below a stop.
    async fn covers(&mut self, node: &Verified<IbGib>) -> Result<bool, SpaceError> {
        if self.known.contains(node.addr()) {
            return Ok(true);
        }
        match node.tjp().filter(|tjp| self.fronts.contains_key(tjp)) {
            Some(tjp) => self.go_down(&tjp, node.n()).await?,
            None => return Ok(false),
        }
        Ok(self.known.contains(node.addr()))
    }

    /// Finds the frames of a timeline that are below stops, down to a number; all of them without one.
    async fn go_down(&mut self, tjp: &Addr, n: Option<u64>) -> Result<(), SpaceError> {
        loop {
            let mut before = Vec::new();
            if let Some(front) = self.fronts.get_mut(tjp) {
                while before.len() < BATCH && front.peek().is_some_and(|(of, _)| n.is_none_or(|n| *of > n)) {
                    before.extend(front.pop().into_iter().flat_map(|(_, before)| before));
                }
            }
            if before.is_empty() {
                return Ok(());
            }
            self.read(before, false).await?;
        }
    }

    /// Finds what lies under what stops' frames relate to under this name.
    async fn deepen(&mut self, ib: &str) -> Result<(), SpaceError> {
        if let Some(addrs) = self.shallow.remove(ib) {
            self.read(addrs, false).await?;
        }
        Ok(())
    }

    /// Reads nodes at or below stops; answers, if `whole`, what the constants among them relate to, and else leaves that
    /// for whoever comes near it.
    async fn read(&mut self, mut addrs: Vec<Addr>, whole: bool) -> Result<Vec<Addr>, SpaceError> {
        let mut next = Vec::new();
        addrs.retain(|addr| self.read.insert(addr.clone()));
        self.known.extend(addrs.iter().cloned());
        for batch in addrs.chunks(BATCH) {
            tokio::task::coop::consume_budget().await;
            for (addr, node) in batch.iter().zip(self.view.nodes(Nodes::Committed(batch)).await?) {
                let node = node.ok_or_else(|| SpaceError::Missing { path: vec![addr.to_string()] })?;
                let tjp = node.tjp();
                let mut before = Vec::new();
                if let Some(tjp) = &tjp {
                    // What else a frame lists as its past lies before the newest of it.
                    before.extend(node.past().into_iter().chain(node.rel8n_addrs("graftorphan")));
                    before.retain(|addr| !addr.is_primitive());
                    // The first frame is below each of its timeline.
                    self.known.insert(tjp.clone());
                }
                for target in node.targets() {
                    if before.contains(&target) || !self.known.insert(target.clone()) {
                        continue;
                    }
                    if whole && tjp.is_none() {
                        next.push(target);
                    } else if target.tjp_gib().is_none() {
                        self.shallow.entry(target.ib().to_owned()).or_default().push(target);
                    }
                }
                if let Some(tjp) = tjp {
                    // What comes before a frame without a number may have any: it is read before anything is said of others.
                    let n = node.n().unwrap_or(u64::MAX);
                    self.fronts.entry(tjp).or_default().extend((!before.is_empty()).then_some((n, before)));
                }
            }
        }
        Ok(next)
    }
}

/// What was found of a graph. A node is known by its place in the order in which it was met; of so many that a place has
/// more than 32 bits nobody has the memory.
#[derive(Default)]
struct Graph {
    places: HashMap<Addr, u32>,
    met: Vec<Met>,
    /// What nodes relate to, each node's one after the other in its own order.
    targets: Vec<u32>,
    /// The tip of the living timeline that a node belongs to, where the live graph goes on.
    goes_on: HashMap<u32, u32>,
}

/// A node that was met.
struct Met {
    addr: Addr,
    /// It is at or below a stop.
    left_out: bool,
    /// Who led to it first; nobody to where the walk began.
    from: Option<NonZeroU32>,
    /// Which of the graph's `targets` are its own.
    targets: (u32, u32),
}

impl Graph {
    /// The place of an address, and whether it was met for the first time.
    fn place(&mut self, addr: Addr, from: Option<u32>) -> (u32, bool) {
        if let Some(place) = self.places.get(&addr) {
            return (*place, false);
        }
        let place = self.met.len() as u32;
        self.places.insert(addr.clone(), place);
        // Kept as one more, so that nobody takes no room.
        let from = from.and_then(|from| NonZeroU32::new(from + 1));
        self.met.push(Met { addr, left_out: false, from, targets: (0, 0) });
        (place, true)
    }

    fn addr(&self, place: u32) -> &Addr {
        &self.met[place as usize].addr
    }

    /// What a node relates to.
    fn targets(&self, place: u32) -> &[u32] {
        let (from, to) = self.met[place as usize].targets;
        &self.targets[from as usize..to as usize]
    }

    /// Where a walk begins: the places that were not met before.
    fn add(&mut self, starts: impl Iterator<Item = Addr>) -> Vec<u32> {
        starts.map(|addr| self.place(addr, None)).filter(|(_, fresh)| *fresh).map(|(place, _)| place).collect()
    }

    /// Reads everything below these places, some of them at a time and level by level. More than `limit` nodes are an
    /// error.
    async fn load(
        &mut self,
        below: &mut Below<'_>,
        starts: Vec<u32>,
        follow: Follow,
        limit: usize,
        walked: &mut Walked,
    ) -> Result<(), SpaceError> {
        let view = below.view;
        let (mut starts, mut level) = (starts.into_iter(), Vec::new());
        let (mut read, mut bytes) = (0, 0);
        let mut tips: HashMap<Addr, Option<Addr>> = HashMap::new();
        loop {
            if level.is_empty() {
                let many = BYTES / NEAR * read / bytes.max(1);
                level = starts.by_ref().take(many.clamp(TOGETHER, TOGETHER_MAX)).collect();
            }
            if level.is_empty() {
                return Ok(());
            }
            let mut next = Vec::new();
            let mut rest = &level[..];
            while !rest.is_empty() {
                // A store may answer without ever waiting: others have to get their turn all the same.
                tokio::task::coop::consume_budget().await;
                let addrs: Vec<Addr> = rest.iter().take(BATCH_MAX).map(|place| self.addr(*place).clone()).collect();
                let nodes = nodes_within(view, &addrs, BYTES).await?;
                let (batch, later) = rest.split_at(nodes.len());
                rest = later;
                let mut timelines = Vec::new();
                for (place, node) in batch.iter().zip(nodes) {
                    let Some(node) = node else { return Err(SpaceError::Missing { path: self.path_to(*place) }) };
                    if below.covers(&node).await? {
                        self.met[*place as usize].left_out = true;
                        continue;
                    }
                    read += 1;
                    bytes += node.weight_unread();
                    if read > limit {
                        return Err(SpaceError::TooMany(limit));
                    }
                    if follow == Follow::Live
                        && let Some(tjp) = living(&node)
                    {
                        timelines.push((*place, tjp));
                    }
                    let mut targets = node.targets();
                    if !node.is_frame() && targets.iter().any(|target| !below.knows(target)) {
                        below.deepen(node.addr().ib()).await?;
                    }
                    targets.retain(|target| !below.knows(target));
                    // What makes a frame comes right before it, and says nearly the same.
                    targets.sort_by_key(|target| !is_of_timeline(node.addr(), target));
                    let first = self.targets.len() as u32;
                    for target in targets {
                        let (target, fresh) = self.place(target, Some(*place));
                        self.targets.push(target);
                        next.extend(fresh.then_some(target));
                    }
                    self.met[*place as usize].targets = (first, self.targets.len() as u32);
                    walked.keep(node);
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
                    self.goes_on.insert(place, tip);
                    next.extend(fresh.then_some(tip));
                }
            }
            level = next;
        }
    }

    fn path_to(&self, place: u32) -> Vec<String> {
        let mut path = Vec::new();
        let mut at = Some(place);
        while let Some(place) = at {
            let met = &self.met[place as usize];
            path.push(met.addr.to_string());
            at = met.from.map(|from| from.get() - 1);
        }
        path.reverse();
        path
    }

    /// What was read and is not left out, an address after everything that it relates to: depth first, without recursion.
    fn in_order(&self, starts: &[&Addr]) -> Vec<Addr> {
        let mut seen: Vec<bool> = self.met.iter().map(|met| met.left_out).collect();
        let mut out = Vec::with_capacity(self.met.len());
        let starts = starts.iter().filter_map(|start| self.places.get(*start));
        for start in starts {
            // A node on the way down, and how many of its targets were visited.
            let mut path: Vec<(u32, usize)> = Vec::new();
            // Tips are not below the node that leads on to them, so they are visited on their own.
            let mut later = VecDeque::from([*start]);
            loop {
                let next = match path.last_mut() {
                    Some((place, visited)) => {
                        *visited += 1;
                        self.targets(*place).get(*visited - 1).copied()
                    }
                    None => match later.pop_front() {
                        Some(next) => Some(next),
                        None => break,
                    },
                };
                match next {
                    None => out.extend(path.pop().map(|(place, _)| self.addr(place).clone())),
                    Some(place) if seen[place as usize] => {}
                    Some(place) => {
                        seen[place as usize] = true;
                        path.push((place, 0));
                        later.extend(self.goes_on.get(&place).filter(|tip| !seen[**tip as usize]));
                    }
                }
            }
        }
        out
    }
}

/// Whether two addresses are of one timeline.
fn is_of_timeline(frame: &Addr, other: &Addr) -> bool {
    frame.tjp_gib().is_some_and(|tjp| other.tjp_gib() == Some(tjp) || other.gib() == tjp)
}

/// The living timeline that a node belongs to.
fn living(node: &Verified<IbGib>) -> Option<Addr> {
    node.tjp().filter(|tjp| Kind::of(tjp) == Kind::Living)
}
