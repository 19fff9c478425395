//! Questions about timelines of a space, loading the frames that [`History`] needs.

use crate::space::{Commit, CommitError, Follow, Kind, Space, SpaceError};
use ibgib::timeline::{Advance, History, HistoryError, Joined, Relation};
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Frames fetched ahead at first for a question; twice as many each time it needs more, up to the maximum.
const PREFETCH: usize = 128;
const PREFETCH_MAX: usize = 16_384;

/// Nodes that are not in the space yet, found before those that are.
pub type Overlay = HashMap<Addr, Verified<IbGib>>;

/// A [`History`] that loads from a space, from nodes staged for an owner, and from an overlay.
#[derive(Debug)]
pub struct Loader<'a> {
    space: &'a dyn Space,
    owner: Option<&'a str>,
    overlay: Overlay,
    history: History,
    fetched: HashSet<Addr>,
    ahead: usize,
}

impl<'a> Loader<'a> {
    /// Loads from `space`, and what is not committed from what is staged for `owner`.
    pub fn new(space: &'a dyn Space, owner: Option<&'a str>) -> Self {
        Self {
            space,
            owner,
            overlay: Overlay::new(),
            history: History::new(),
            fetched: HashSet::new(),
            ahead: PREFETCH,
        }
    }

    /// Adds nodes that are in no store yet.
    pub fn add(&mut self, nodes: impl IntoIterator<Item = Verified<IbGib>>) {
        for node in nodes {
            self.history.insert(node.clone());
            self.overlay.insert(node.addr().clone(), node);
        }
    }

    /// A node that was added.
    pub fn added(&self, addr: &Addr) -> Option<&Verified<IbGib>> {
        self.overlay.get(addr)
    }

    /// A node: added, committed or staged.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn get(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        if let Some(node) = self.overlay.get(addr) {
            return Ok(Some(node.clone()));
        }
        let one = std::slice::from_ref(addr);
        if let Some(node) = self.space.get(one).await?.pop().flatten() {
            return Ok(Some(node));
        }
        match self.owner {
            Some(owner) => Ok(self.space.staged(owner, one).await?.pop().flatten()),
            None => Ok(None),
        }
    }

    /// As [`History::relate`].
    ///
    /// # Errors
    /// As [`History::relate`], but never `Need`; a frame that cannot be had is `Broken`.
    pub async fn relate(&mut self, x: &Addr, y: &Addr) -> Result<Relation, HistoryError> {
        self.ahead = PREFETCH;
        loop {
            match self.history.relate(x, y) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                other => return other,
            }
        }
    }

    /// As [`History::join`]; what it makes is added.
    ///
    /// # Errors
    /// As [`History::join`], but never `Need`; a frame that cannot be had is `Broken`.
    pub async fn join(&mut self, x: &Addr, y: &Addr) -> Result<Joined, HistoryError> {
        self.ahead = PREFETCH;
        loop {
            match self.history.join(x, y) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                Ok(joined) => {
                    self.add(joined.nodes.iter().cloned());
                    return Ok(joined);
                }
                other => return other,
            }
        }
    }

    /// As [`History::advance`].
    ///
    /// # Errors
    /// As [`History::advance`], but never `Need`; a frame that cannot be had is `Broken`.
    pub async fn advance(&mut self, from: Option<&Addr>, to: &Addr) -> Result<Advance, HistoryError> {
        self.ahead = PREFETCH;
        loop {
            match self.history.advance(from, to) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                other => return other,
            }
        }
    }

    async fn load(&mut self, addrs: Vec<Addr>) -> Result<(), HistoryError> {
        for addr in addrs {
            let lost = |why: String| HistoryError::Broken { addr: addr.clone(), why };
            let broken = |e: SpaceError| lost(e.to_string());
            let node = self.get(&addr).await.map_err(broken)?;
            let node = node.ok_or_else(|| lost("the frame is not here".into()))?;
            self.history.insert(node.clone());
            if !self.fetched.insert(addr.clone()) {
                continue;
            }
            let ahead = self.ahead;
            self.ahead = (ahead * 2).min(PREFETCH_MAX);
            // What is staged comes frame by frame; what is committed, at once.
            let mut last = node;
            if let Some(owner) = self.owner {
                for _ in 0..ahead {
                    let Some(past) = last.past().filter(|a| !self.fetched.contains(a)) else { break };
                    let staged = self.space.staged(owner, std::slice::from_ref(&past)).await.map_err(broken)?;
                    let Some(node) = staged.into_iter().next().flatten() else { break };
                    self.fetched.insert(past);
                    self.history.insert(node.clone());
                    last = node;
                }
            }
            let from = std::slice::from_ref(last.addr());
            if let Ok(ahead) = self.space.reach(from, Follow::History, &HashSet::new(), ahead).await {
                let nodes = self.space.get(&ahead).await.map_err(broken)?;
                for node in nodes.into_iter().flatten() {
                    self.fetched.insert(node.addr().clone());
                    self.history.insert(node);
                }
            }
        }
        Ok(())
    }
}

fn loader<'a>(space: &'a dyn Space, overlay: &Overlay) -> Loader<'a> {
    let mut loader = Loader::new(space, None);
    loader.add(overlay.values().cloned());
    loader
}

/// How tip `x` stands to tip `y`.
///
/// # Errors
/// As [`Loader::relate`].
pub async fn relate(space: &dyn Space, overlay: &Overlay, x: &Addr, y: &Addr) -> Result<Relation, HistoryError> {
    loader(space, overlay).relate(x, y).await
}

/// The tip that two tips lead to.
///
/// # Errors
/// As [`Loader::join`].
pub async fn join(space: &dyn Space, overlay: &Overlay, x: &Addr, y: &Addr) -> Result<Joined, HistoryError> {
    loader(space, overlay).join(x, y).await
}

/// Proves that a tip may move.
///
/// # Errors
/// As [`Loader::advance`].
pub async fn advance(
    space: &dyn Space,
    overlay: &Overlay,
    from: Option<&Addr>,
    to: &Addr,
) -> Result<Advance, HistoryError> {
    loader(space, overlay).advance(from, to).await
}

/// Why nodes could not be taken in; nothing of them was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// The commit was refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A history does not hold, or has diverged and cannot be merged.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Others kept moving the same tips.
    #[error("the tips kept moving; gave up after {0} tries")]
    Busy(usize),
}

impl From<SpaceError> for AdmitError {
    fn from(error: SpaceError) -> Self {
        Self::Commit(error.into())
    }
}

/// What taking nodes in did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// Tips that moved.
    pub tips: usize,
    /// Merge frames made.
    pub merges: usize,
    /// Conflicts that they recorded.
    pub conflicts: usize,
}

/// Tries before [`AdmitError::Busy`].
const ADMIT_TRIES: usize = 16;

/// Stores nodes, and moves the tips of their living timelines to what the tips and the new frames lead to: merged
/// where they diverge. All or nothing.
///
/// # Errors
/// [`CommitError::Missing`] when a node relates to what is neither here nor among the nodes; a history that does not
/// hold; a failing space.
pub async fn admit(space: &dyn Space, nodes: &[Verified<IbGib>]) -> Result<Admitted, AdmitError> {
    check_closed(space, nodes).await?;
    let heads = heads(nodes);
    for _ in 0..ADMIT_TRIES {
        let mut loader = Loader::new(space, None);
        loader.add(nodes.iter().cloned());
        let mut commit = Commit { nodes: nodes.to_vec(), ..Commit::default() };
        let mut out = Admitted::default();
        for (tjp, heads) in &heads {
            let before = space.tip(tjp).await?.map(|t| t.addr);
            let mut tip = before.clone();
            for head in heads {
                let Some(now) = &tip else {
                    tip = Some(head.clone());
                    continue;
                };
                let joined = loader.join(now, head).await?;
                out.merges += usize::from(!joined.nodes.is_empty());
                out.conflicts += joined.conflicts;
                commit.nodes.extend(joined.nodes);
                tip = Some(joined.tip);
            }
            if let Some(tip) = tip.filter(|tip| Some(tip) != before.as_ref()) {
                let advance = loader.advance(before.as_ref(), &tip).await?;
                commit.tips.push(crate::space::Advance::Timeline(advance).into());
            }
        }
        out.tips = commit.tips.len();
        match space.commit(commit).await {
            Ok(_) => return Ok(out),
            Err(CommitError::TipsMoved(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AdmitError::Busy(ADMIT_TRIES))
}

async fn check_closed(space: &dyn Space, nodes: &[Verified<IbGib>]) -> Result<(), AdmitError> {
    let here: HashSet<&Addr> = nodes.iter().map(|n| n.addr()).collect();
    let (mut targets, mut from) = (Vec::new(), Vec::new());
    for node in nodes {
        for target in node.targets().into_iter().filter(|t| !here.contains(t)) {
            targets.push(target);
            from.push(node.addr());
        }
    }
    let has = space.has(&targets).await?;
    match targets.into_iter().zip(from).zip(has).find(|(_, has)| !has) {
        Some(((addr, from), _)) => Err(CommitError::Missing { addr, from: from.clone() }.into()),
        None => Ok(()),
    }
}

/// Per living timeline the frames that no other of `nodes` follows.
fn heads(nodes: &[Verified<IbGib>]) -> BTreeMap<Addr, Vec<Addr>> {
    let mut followed = HashSet::new();
    for node in nodes {
        followed.extend(node.rel8n_addrs("past"));
        followed.extend(node.rel8n_addrs("graftorphan"));
    }
    let mut out: BTreeMap<Addr, Vec<Addr>> = BTreeMap::new();
    for node in nodes {
        let Some(tjp) = node.tjp() else { continue };
        if Kind::of(&tjp) == Kind::Living && !followed.contains(node.addr()) {
            out.entry(tjp).or_default().push(node.addr().clone());
        }
    }
    out
}
