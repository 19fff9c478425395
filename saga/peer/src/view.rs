//! What one saga can see of a space: what is committed, what is staged for it, and nodes just made.

use ibgib::timeline::HistoryError;
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::{SagaError, SpaceFailure, is_payload};
use ibgib_spaces::dropped::{DroppedFrames, stands, stated_key};
use ibgib_spaces::history::Loader;
use ibgib_spaces::store::{Nodes, Tips};
use ibgib_spaces::{CommitError, Space, SpaceError};
use std::collections::{HashMap, HashSet, VecDeque};

/// Staged nodes loaded at once while a graph is walked.
const WALK_BATCH: usize = 256;

/// Nodes that are read with one that came beside them: whoever walks what was sent asks for those next.
const BLOCK: usize = 32;
/// Such blocks that are kept.
const BLOCKS_MAX: usize = 8;
/// About how many bytes they may take. Where one alone takes more, nodes are large, and read as they are asked for.
const BLOCKS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// So many times as many nodes may be read as are asked for, before blocks are given up.
const WASTE_MAX: usize = 4;

/// Nodes of which the relations are read at once.
const TARGETS_BATCH: usize = 64;

/// After so many seconds whoever was refused because the time was bad may try again.
pub const AGAIN_S: u32 = 2;

/// Turns a space's failure into a saga's; its kind stays.
pub fn space_error(error: SpaceError) -> SagaError {
    let failure = match &error {
        SpaceError::Corrupt { .. } => SpaceFailure::Corrupt,
        SpaceError::Missing { .. } => SpaceFailure::Missing,
        SpaceError::TooMany(_) => SpaceFailure::TooMany,
        SpaceError::Damaged(_) => SpaceFailure::Damaged,
        SpaceError::Full(_) => SpaceFailure::Full,
        SpaceError::Locked(_) => SpaceFailure::Locked,
        SpaceError::Permission(_) => SpaceFailure::Permission,
        SpaceError::NotFound(_) => SpaceFailure::NoStore,
        SpaceError::Closed => SpaceFailure::Closed,
        SpaceError::Unavailable(_) => {
            // Where the database is is nobody else's business.
            tracing::warn!(%error, "the store cannot be reached");
            let message = format!("the store cannot be reached now: try again in {AGAIN_S} s");
            return SagaError::OwnSpace { failure: SpaceFailure::Unavailable, message };
        }
        _ => SpaceFailure::Io,
    };
    SagaError::OwnSpace { failure, message: error.to_string() }
}

/// Turns what a space says to a commit into a saga's error.
pub(crate) fn commit_error(error: CommitError) -> SagaError {
    match error {
        CommitError::Space(error) => space_error(error),
        error => SagaError::OwnSpace { failure: SpaceFailure::Commit, message: error.to_string() },
    }
}

/// What publishing a node and everything under it takes.
#[derive(Debug)]
pub(crate) enum Publishable {
    /// These staged nodes; all the rest is committed or made.
    All(Vec<Addr>),
    /// It cannot be: something under it is neither committed, staged nor made.
    Lacks {
        /// What is not there.
        addr: Addr,
        /// The node that relates to it.
        from: Addr,
    },
    /// It could be, but not travel on from here: a node under it relates to an identity or a transcript, which move by
    /// their own rules. Whoever took it could give it to nobody.
    Stuck {
        /// The identity's frame, or the transcript's.
        addr: Addr,
        /// The node that relates to it.
        from: Addr,
    },
    /// A frame that was dropped is under it.
    Dropped(Addr),
}

/// A space as one saga sees it, at one moment.
#[derive(Debug)]
pub(crate) struct View<'a> {
    owner: &'a str,
    pub(crate) history: Loader<'a>,
    came: Came,
    dropped: DroppedFrames,
}

/// What came, in the order in which it came, and the blocks of it that were read.
#[derive(Debug, Default)]
struct Came {
    order: Vec<Addr>,
    places: HashMap<Addr, usize>,
    /// The blocks' numbers, with about how many bytes each takes.
    blocks: VecDeque<(usize, usize)>,
    read: HashMap<Addr, Verified<IbGib>>,
    /// How many nodes were asked for, and how many were read for it. Whoever asks in another order than they came has
    /// nothing of blocks.
    asked: usize,
    fetched: usize,
}

impl Came {
    /// What to read in order to know these: those that are not, each with its block.
    fn lacking(&mut self, addrs: &[Addr]) -> (Vec<Addr>, Vec<usize>) {
        let (mut out, mut blocks) = (Vec::new(), Vec::new());
        self.asked += addrs.len();
        let in_blocks = self.fetched < WASTE_MAX * (self.asked + BLOCK * BLOCKS_MAX);
        for addr in addrs.iter().filter(|addr| !self.read.contains_key(*addr)) {
            match self.places.get(addr).map(|place| place / BLOCK) {
                Some(block) if blocks.contains(&block) => {}
                // It was not there when the block was read.
                Some(block) if self.blocks.iter().any(|(read, _)| *read == block) => {}
                Some(block) if in_blocks && blocks.len() < BLOCKS_MAX => {
                    out.extend(self.block(block).iter().filter(|addr| !self.read.contains_key(*addr)).cloned());
                    blocks.push(block);
                }
                _ => out.push(addr.clone()),
            }
        }
        self.fetched += out.len();
        (out, blocks)
    }

    fn block(&self, block: usize) -> &[Addr] {
        let from = (block * BLOCK).min(self.order.len());
        &self.order[from..(from + BLOCK).min(self.order.len())]
    }

    /// Keeps blocks that were read, in place of older ones.
    fn keep(&mut self, blocks: Vec<usize>, nodes: &HashMap<Addr, Verified<IbGib>>) {
        for block in blocks {
            let addrs = self.block(block).to_vec();
            let mut bytes = 0;
            for node in addrs.iter().filter_map(|addr| nodes.get(addr)) {
                bytes += node.weight();
                self.read.insert(node.addr().clone(), node.clone());
            }
            self.blocks.push_back((block, bytes));
            if bytes > BLOCKS_BYTES_MAX {
                // From here on one by one.
                *self = Self::default();
                return;
            }
        }
        let mut bytes: usize = self.blocks.iter().map(|(_, bytes)| bytes).sum();
        while self.blocks.len() > BLOCKS_MAX || bytes > BLOCKS_BYTES_MAX {
            let Some((block, taken)) = self.blocks.pop_front() else { return };
            bytes -= taken;
            for addr in self.block(block).to_vec() {
                self.read.remove(&addr);
            }
        }
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(space: &'a dyn Space, owner: &'a str) -> Self {
        Self {
            owner,
            history: Loader::new(space, Some(owner)),
            came: Came::default(),
            dropped: DroppedFrames::default(),
        }
    }

    /// From now on it knows which frames were dropped. Answers the record of the newest statement by the owner of `space`:
    /// as long as that stays no more are.
    pub(crate) async fn know_dropped(&mut self, space: &str) -> Result<(String, Option<Vec<u8>>), SagaError> {
        self.dropped = DroppedFrames::load(self.moment().await?).await.map_err(space_error)?;
        Ok((stated_key(space), self.dropped.stated(space).cloned()))
    }

    /// The dropped frame because of which a tip is not taken in: it stands on one, which `clean` does not.
    pub(crate) async fn stands_on(&mut self, tip: &Addr, clean: Option<&Addr>) -> Result<Option<Addr>, HistoryError> {
        let Some(frames) = self.dropped.of(tip) else { return Ok(None) };
        let stands = stands(&mut self.history, tip, clean, frames).await?;
        Ok(frames.first().filter(|_| stands).cloned())
    }

    /// Nodes that are staged, in the order in which they came, and in about which they will be asked for.
    pub(crate) fn reads_along(&mut self, order: &[Addr]) {
        // What was sent again stands where it came first.
        let mut seen = HashSet::new();
        let order: Vec<Addr> = order.iter().filter(|addr| seen.insert(*addr)).cloned().collect();
        let places = order.iter().enumerate().map(|(place, addr)| (addr.clone(), place)).collect();
        self.came = Came { order, places, ..Came::default() };
    }

    /// The moment at which it reads.
    pub(crate) async fn moment(&mut self) -> Result<&dyn ibgib_spaces::View, SagaError> {
        self.history.view().await.map_err(space_error)
    }

    /// Lets go of the moment, before somebody else reads the space for the same saga: a store may have few places for
    /// readers, and whoever waits for a second one while holding the first keeps others waiting, and they him.
    pub(crate) fn let_go(&mut self) {
        self.history.let_go();
    }

    pub(crate) async fn get(&mut self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        self.history.get(addr).await.map_err(space_error)
    }

    /// The tips of timelines, by timeline.
    pub(crate) async fn tips(&mut self, tjps: &[Addr]) -> Result<HashMap<Addr, Addr>, SagaError> {
        let tips = self.moment().await?.tips(Tips::Of(tjps)).await.map_err(space_error)?;
        Ok(tips.into_iter().map(|tip| (tip.tjp, tip.addr)).collect())
    }

    /// Whether each is committed.
    pub(crate) async fn has(&mut self, addrs: &[Addr]) -> Result<Vec<bool>, SagaError> {
        if addrs.is_empty() {
            return Ok(Vec::new());
        }
        self.moment().await?.has(addrs).await.map_err(space_error)
    }

    /// Nodes of which most are staged, others committed.
    pub(crate) async fn get_all(&mut self, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SagaError> {
        let owner = self.owner;
        let mut out = Vec::with_capacity(addrs.len());
        for batch in addrs.chunks(TARGETS_BATCH) {
            let mut found = self.moment().await?.nodes(Nodes::Staged(owner, batch)).await.map_err(space_error)?;
            let missing: Vec<usize> = (0..batch.len()).filter(|i| found[*i].is_none()).collect();
            let here: Vec<Addr> = missing.iter().map(|i| batch[*i].clone()).collect();
            if !here.is_empty() {
                let nodes = self.moment().await?.nodes(Nodes::Committed(&here)).await.map_err(space_error)?;
                missing.into_iter().zip(nodes).for_each(|(i, node)| found[i] = node);
            }
            out.extend(found);
        }
        Ok(out)
    }

    /// A node that came, or is here.
    pub(crate) async fn get_along(&mut self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        if self.history.added(addr).is_none() && self.came.places.contains_key(addr) {
            let found = self.staged(std::slice::from_ref(addr)).await?.pop().flatten();
            if found.is_some() {
                return Ok(found);
            }
        }
        self.get(addr).await
    }

    async fn staged(&mut self, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SagaError> {
        let owner = self.owner;
        let (lacking, blocks) = self.came.lacking(addrs);
        let mut nodes: HashMap<Addr, Verified<IbGib>> = HashMap::new();
        if !lacking.is_empty() {
            let read = self.moment().await?.nodes(Nodes::Staged(owner, &lacking)).await.map_err(space_error)?;
            nodes.extend(read.into_iter().flatten().map(|node| (node.addr().clone(), node)));
        }
        let known = |addr: &Addr| nodes.get(addr).or_else(|| self.came.read.get(addr)).cloned();
        let out = addrs.iter().map(known).collect();
        self.came.keep(blocks, &nodes);
        Ok(out)
    }

    /// What nodes relate to that were sent: they are staged, or were here already.
    pub(crate) async fn targets(&mut self, addrs: &[Addr]) -> Result<Vec<Addr>, SagaError> {
        let mut targets = Vec::new();
        for batch in addrs.chunks(TARGETS_BATCH) {
            let nodes = self.get_all(batch).await?;
            targets.extend(nodes.into_iter().flatten().flat_map(|node| node.targets()));
        }
        Ok(targets)
    }

    /// The staged nodes under `start` that are not committed, `published` left out. What is a frame of them is kept for
    /// whoever asks what the timeline's history is.
    pub(crate) async fn publishable(
        &mut self,
        start: &Addr,
        staged: &HashSet<Addr>,
        published: &HashSet<Addr>,
    ) -> Result<Publishable, SagaError> {
        let mut seen: HashSet<Addr> = HashSet::from([start.clone()]);
        let mut out = Vec::new();
        let mut frontier = vec![(start.clone(), start.clone())];
        if self.dropped.contains(start) {
            return Ok(Publishable::Dropped(start.clone()));
        }
        while !frontier.is_empty() {
            let batch: Vec<(Addr, Addr)> = frontier.split_off(frontier.len().saturating_sub(WALK_BATCH));
            let (mut nodes, mut load, mut ask) = (Vec::new(), Vec::new(), Vec::new());
            for (addr, from) in batch {
                if let Some(node) = self.history.added(&addr) {
                    nodes.push(node.clone());
                } else if published.contains(&addr) {
                } else if staged.contains(&addr) {
                    load.push(addr);
                } else {
                    ask.push((addr, from));
                }
            }
            let asked: Vec<Addr> = ask.iter().map(|(a, _)| a.clone()).collect();
            let has = self.has(&asked).await?;
            if let Some(((addr, from), _)) = ask.into_iter().zip(has).find(|(_, has)| !has) {
                return Ok(Publishable::Lacks { addr, from });
            }
            let loaded = self.staged(&load).await?;
            let mut gone = Vec::new();
            for (addr, node) in load.into_iter().zip(loaded) {
                match node {
                    Some(node) => {
                        out.push(addr);
                        if node.is_frame() {
                            self.history.keep(node.clone());
                        }
                        nodes.push(node);
                    }
                    None => gone.push(addr),
                }
            }
            // Somebody else has committed the same nodes meanwhile: what is committed is staged no more, for nobody.
            let has = self.has(&gone).await?;
            if let Some((addr, _)) = gone.iter().zip(has).find(|(_, has)| !has) {
                let message = format!("staged node {addr} is gone");
                return Err(SagaError::OwnSpace { failure: SpaceFailure::Staging, message });
            }
            for node in nodes {
                for target in node.targets() {
                    if self.dropped.contains(&target) {
                        return Ok(Publishable::Dropped(target));
                    }
                    if !is_payload(&target) {
                        return Ok(Publishable::Stuck { addr: target, from: node.addr().clone() });
                    }
                    if seen.insert(target.clone()) {
                        frontier.push((target, node.addr().clone()));
                    }
                }
            }
        }
        Ok(Publishable::All(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_beside_is_bounded() {
        let addr = |n: usize| format!("note^{n:064X}").parse::<Addr>().unwrap();
        let order: Vec<Addr> = (0..BLOCK * 300).map(addr).collect();
        let places = order.iter().enumerate().map(|(place, addr)| (addr.clone(), place)).collect();
        let mut came = Came { order: order.clone(), places, ..Came::default() };
        // One of each block, as something relates to that leads to many histories.
        let spread: Vec<Addr> = order.iter().step_by(BLOCK).cloned().collect();
        let (lacking, blocks) = came.lacking(&spread);
        assert_eq!((lacking.len(), blocks.len()), (BLOCKS_MAX * BLOCK + spread.len() - BLOCKS_MAX, BLOCKS_MAX));
        // Asked in another order than it came, most are read alone.
        let mut reads = 0;
        for round in 0..BLOCK {
            for addr in order.iter().skip(round).step_by(BLOCK) {
                reads += came.lacking(std::slice::from_ref(addr)).0.len();
            }
        }
        assert!(reads < (WASTE_MAX + 1) * (order.len() + BLOCK * BLOCKS_MAX), "{reads}");
    }
}
