//! Questions about timelines of a space, loading the frames that [`History`] needs.

use crate::error::SpaceError;
use crate::space::Space;
use crate::store::{Nodes, View};
use ibgib::timeline::{Advance, Ancestry, History, HistoryError, Joined, Merges};
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fmt;

/// Frames fetched ahead when a history lacks one: at first, and at most.
const AHEAD_MIN: usize = 4;
const AHEAD_MAX: usize = 4_096;
/// Nodes read at once while fetching ahead: few, since each may be as large as its limit.
const BATCH: usize = 16;
/// About how many bytes of frames fetched ahead are kept whole. Of the rest the place in the history is kept; the few
/// that a merge needs whole are read again.
const WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Nodes that are not in the space yet, found before those that are.
pub type Overlay = HashMap<Addr, Verified<IbGib>>;

/// A [`History`] that loads from a space, from nodes staged for an owner, and from an overlay.
///
/// It reads the space as it was when it first read anything: to open a view costs more than to read a frame. So it is
/// let go of before anybody writes and waits for that.
pub struct Loader<'a> {
    space: &'a dyn Space,
    view: Option<Box<dyn View + 'a>>,
    owner: Option<&'a str>,
    overlay: Overlay,
    history: History,
    /// What other histories found out.
    merges: Option<Merges>,
    fetched: HashSet<Addr>,
    /// By timeline: frames before those that are here, each with a number that its own does not exceed.
    fronts: HashMap<Addr, BinaryHeap<(u64, Addr)>>,
    /// How many frames to fetch ahead the next time.
    ahead: usize,
    /// About how many bytes are kept whole of what was fetched ahead.
    whole_bytes: usize,
}

impl fmt::Debug for Loader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl<'a> Loader<'a> {
    /// Loads from `space`, and what is not committed from what is staged for `owner`.
    pub fn new(space: &'a dyn Space, owner: Option<&'a str>) -> Self {
        Self {
            space,
            view: None,
            owner,
            overlay: Overlay::new(),
            history: paused_history(None),
            merges: None,
            fetched: HashSet::new(),
            fronts: HashMap::new(),
            ahead: AHEAD_MIN,
            whole_bytes: 0,
        }
    }

    /// From now on it shares what is found out about merge frames.
    pub fn share(&mut self, merges: &Merges) {
        self.history.share(merges.clone());
        self.merges = Some(merges.clone());
    }

    /// Adds nodes that are in no store yet.
    pub fn add(&mut self, nodes: impl IntoIterator<Item = Verified<IbGib>>) {
        for node in nodes {
            self.history.insert(node.clone());
            self.overlay.insert(node.addr().clone(), node);
        }
    }

    /// Lets go of every frame and added node. Called between timelines, whose histories share no frame, it keeps the
    /// memory of a long walk to that of its largest timeline.
    pub fn forget(&mut self) {
        self.overlay.clear();
        self.history = paused_history(self.merges.as_ref());
        self.fetched.clear();
        self.fronts.clear();
        self.ahead = AHEAD_MIN;
        self.whole_bytes = 0;
    }

    /// The moment at which it reads.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn view(&mut self) -> Result<&dyn View, SpaceError> {
        let view = match self.view.take() {
            Some(view) => view,
            None => self.space.view().await?,
        };
        Ok(&**self.view.insert(view))
    }

    /// Lets go of the moment; the next read begins another one.
    pub fn let_go(&mut self) {
        self.view = None;
    }

    /// A node that was added.
    pub fn added(&self, addr: &Addr) -> Option<&Verified<IbGib>> {
        self.overlay.get(addr)
    }

    /// A node: added, committed or staged.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn get(&mut self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        if let Some(node) = self.overlay.get(addr) {
            return Ok(Some(node.clone()));
        }
        let owner = self.owner;
        let view = self.view().await?;
        let one = std::slice::from_ref(addr);
        let committed = view.nodes(Nodes::Committed(one)).await?.pop().flatten();
        match (committed, owner) {
            (None, Some(owner)) => Ok(view.nodes(Nodes::Staged(owner, one)).await?.pop().flatten()),
            (found, _) => Ok(found),
        }
    }

    /// As [`History::ancestry`].
    ///
    /// # Errors
    /// As [`History::ancestry`], but never `Need` or `Paused`; a frame that cannot be had is `Broken`.
    pub async fn ancestry(&mut self, x: &Addr, y: &Addr) -> Result<Ancestry, HistoryError> {
        loop {
            match self.history.ancestry(x, y) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                Err(HistoryError::Paused) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    /// As [`History::join`]; what it makes is added.
    ///
    /// # Errors
    /// As [`History::join`], but never `Need` or `Paused`; a frame that cannot be had is `Broken`.
    pub async fn join(&mut self, x: &Addr, y: &Addr) -> Result<Joined, HistoryError> {
        loop {
            match self.history.join(x, y) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                Err(HistoryError::Paused) => tokio::task::yield_now().await,
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
    /// As [`History::advance`], but never `Need` or `Paused`; a frame that cannot be had is `Broken`.
    pub async fn advance(&mut self, from: Option<&Addr>, to: &Addr) -> Result<Advance, HistoryError> {
        loop {
            match self.history.advance(from, to) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                Err(HistoryError::Paused) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    }

    async fn load(&mut self, addrs: Vec<Addr>) -> Result<(), HistoryError> {
        for addr in addrs {
            let lost = |why: String| HistoryError::Broken { addr: addr.clone(), why };
            let node = self.get(&addr).await.map_err(|e| lost(e.to_string()))?;
            let node = node.ok_or_else(|| lost("the frame is not here".into()))?;
            self.history.insert(node.clone());
            if self.fetched.insert(addr.clone())
                && let Some(tjp) = self.go_on_from(&node)
            {
                self.fetch_ahead(&tjp).await.map_err(|e| lost(e.to_string()))?;
            }
        }
        Ok(())
    }

    /// Fetches frames of a timeline in the order in which a history visits them, more each time: it asks for one frame after
    /// the other, and starts anew whenever it lacked one.
    async fn fetch_ahead(&mut self, tjp: &Addr) -> Result<(), SpaceError> {
        let until = self.fetched.len() + self.ahead;
        self.ahead = (self.ahead * 2).min(AHEAD_MAX);
        while self.fetched.len() < until {
            let next = self.next(tjp);
            if next.is_empty() {
                return Ok(());
            }
            // A store may answer without ever waiting: others have to get their turn all the same.
            tokio::task::coop::consume_budget().await;
            let owner = self.owner;
            let view = self.view().await?;
            let mut found = view.nodes(Nodes::Committed(&next)).await?;
            if let Some(owner) = owner {
                let found_not = |(addr, node): (&Addr, &Option<_>)| node.is_none().then(|| addr.clone());
                let lacking: Vec<Addr> = std::iter::zip(&next, &found).filter_map(found_not).collect();
                if !lacking.is_empty() {
                    found.extend(view.nodes(Nodes::Staged(owner, &lacking)).await?);
                }
            }
            for node in found.into_iter().flatten() {
                self.keep(node);
            }
        }
        Ok(())
    }

    /// What to read next of a timeline's frames that are not here.
    fn next(&mut self, tjp: &Addr) -> Vec<Addr> {
        let mut next = Vec::with_capacity(BATCH);
        let Some(front) = self.fronts.get_mut(tjp) else { return next };
        // What is much older than the first of them is visited much later, or never.
        let mut least = 0;
        while next.len() < BATCH
            && let Some((most, _)) = front.peek()
            && *most >= least
        {
            let Some((most, addr)) = front.pop() else { break };
            if self.fetched.contains(&addr) || next.contains(&addr) {
                continue;
            }
            if next.is_empty() {
                least = most.saturating_sub(BATCH as u64);
            }
            next.push(addr);
        }
        next
    }

    /// Keeps a frame that is likely to be asked for, whole while there is room.
    pub fn keep(&mut self, node: Verified<IbGib>) {
        if self.fetched.insert(node.addr().clone()) {
            let _timeline = self.go_on_from(&node);
        }
        let bytes = node.weight();
        if self.whole_bytes + bytes > WHOLE_BYTES_MAX {
            return self.history.insert_place(&node);
        }
        self.whole_bytes += bytes;
        self.history.insert(node);
    }

    /// What comes before a frame is fetched in its turn, when its timeline is asked about. Answers that timeline.
    fn go_on_from(&mut self, node: &Verified<IbGib>) -> Option<Addr> {
        let tjp = node.tjp()?;
        let most = node.n().map_or(u64::MAX, |n| n.saturating_sub(1));
        let before = node.past().into_iter().chain(node.rel8n_addrs("graftorphan"));
        let before = before.filter(|addr| !addr.is_primitive() && !self.fetched.contains(addr));
        let before: Vec<(u64, Addr)> = before.map(|addr| (most, addr)).collect();
        self.fronts.entry(tjp.clone()).or_default().extend(before);
        Some(tjp)
    }
}

/// Merges recomputed before others get their turn.
const MERGES_AT_ONCE: usize = 16;

fn paused_history(merges: Option<&Merges>) -> History {
    let mut history = History::new();
    if let Some(merges) = merges {
        history.share(merges.clone());
    }
    history.pause_after(MERGES_AT_ONCE);
    history
}

fn loader<'a>(space: &'a dyn Space, overlay: &Overlay) -> Loader<'a> {
    let mut loader = Loader::new(space, None);
    loader.add(overlay.values().cloned());
    loader
}

/// How tip `x` stands to tip `y`.
///
/// # Errors
/// As [`Loader::ancestry`].
pub async fn ancestry(space: &dyn Space, overlay: &Overlay, x: &Addr, y: &Addr) -> Result<Ancestry, HistoryError> {
    loader(space, overlay).ancestry(x, y).await
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
