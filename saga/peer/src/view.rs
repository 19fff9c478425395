//! What one saga can see of a space: what is committed, what is staged for it, and nodes just made.

use ibgib::timeline::{Advance, History, HistoryError, Joined, Relation};
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::SagaError;
use ibgib_spaces::{Follow, Space, SpaceError};
use std::collections::{HashMap, HashSet};

/// Frames fetched ahead when a history is read.
const PREFETCH: usize = 256;
/// Staged nodes loaded at once while a graph is walked.
const WALK_BATCH: usize = 256;

/// Turns a space's failure into a saga's.
pub fn space_error(error: SpaceError) -> SagaError {
    let code = match &error {
        SpaceError::Corrupt { .. } => "corrupt",
        SpaceError::Missing { .. } => "missing",
        SpaceError::Damaged(_) => "damaged",
        SpaceError::Full(_) => "disk_full",
        SpaceError::Locked(_) => "locked",
        SpaceError::Permission(_) => "permission",
        _ => "space",
    };
    SagaError::local(code, error.to_string())
}

/// A space as one saga sees it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    space: &'a dyn Space,
    owner: &'a str,
    made: HashMap<Addr, Verified<IbGib>>,
    history: History,
    fetched: HashSet<Addr>,
}

impl<'a> View<'a> {
    pub(crate) fn new(space: &'a dyn Space, owner: &'a str) -> Self {
        Self { space, owner, made: HashMap::new(), history: History::new(), fetched: HashSet::new() }
    }

    /// Adds nodes that were just made.
    pub(crate) fn make(&mut self, nodes: impl IntoIterator<Item = Verified<IbGib>>) {
        for node in nodes {
            self.history.insert(node.clone());
            self.made.insert(node.addr().clone(), node);
        }
    }

    pub(crate) async fn get(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        if let Some(node) = self.made.get(addr) {
            return Ok(Some(node.clone()));
        }
        let one = std::slice::from_ref(addr);
        if let Some(node) = self.space.get(one).await.map_err(space_error)?.pop().flatten() {
            return Ok(Some(node));
        }
        Ok(self.space.staged(self.owner, one).await.map_err(space_error)?.pop().flatten())
    }

    async fn load(&mut self, addrs: Vec<Addr>) -> Result<(), HistoryError> {
        for addr in addrs {
            let lost = |why: String| HistoryError::Broken { addr: addr.clone(), why };
            let Some(node) = self.get(&addr).await.map_err(|e| lost(e.to_string()))? else {
                return Err(lost("the frame is not here".into()));
            };
            self.history.insert(node);
            if self.fetched.insert(addr.clone()) {
                let none = HashSet::new();
                let one = std::slice::from_ref(&addr);
                // Only committed frames can be fetched ahead; a staged one simply comes alone.
                if let Ok(ahead) = self.space.reach(one, Follow::History, &none, PREFETCH).await {
                    let nodes = self.space.get(&ahead).await.map_err(|e| lost(e.to_string()))?;
                    for node in nodes.into_iter().flatten() {
                        self.fetched.insert(node.addr().clone());
                        self.history.insert(node);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn relate(&mut self, x: &Addr, y: &Addr) -> Result<Relation, HistoryError> {
        loop {
            match self.history.relate(x, y) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                other => return other,
            }
        }
    }

    pub(crate) async fn join(&mut self, x: &Addr, y: &Addr) -> Result<Joined, HistoryError> {
        loop {
            match self.history.join(x, y) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                Ok(joined) => {
                    self.make(joined.nodes.iter().cloned());
                    return Ok(joined);
                }
                other => return other,
            }
        }
    }

    pub(crate) async fn advance(&mut self, from: Option<&Addr>, to: &Addr) -> Result<Advance, HistoryError> {
        loop {
            match self.history.advance(from, to) {
                Err(HistoryError::Need(addrs)) => self.load(addrs).await?,
                other => return other,
            }
        }
    }

    /// The staged nodes under `start` that are not committed, `published` left out. `Err` inside names the address
    /// that is neither committed, staged nor made, and who relates to it.
    pub(crate) async fn publishable(
        &self,
        start: &Addr,
        staged: &HashSet<Addr>,
        published: &HashSet<Addr>,
    ) -> Result<Result<Vec<Addr>, (Addr, Addr)>, SagaError> {
        let mut seen: HashSet<Addr> = HashSet::from([start.clone()]);
        let mut out = Vec::new();
        let mut frontier = vec![(start.clone(), start.clone())];
        while !frontier.is_empty() {
            let batch: Vec<(Addr, Addr)> = frontier.split_off(frontier.len().saturating_sub(WALK_BATCH));
            let (mut nodes, mut load, mut ask) = (Vec::new(), Vec::new(), Vec::new());
            for (addr, from) in batch {
                if let Some(node) = self.made.get(&addr) {
                    nodes.push(node.clone());
                } else if published.contains(&addr) {
                } else if staged.contains(&addr) {
                    load.push(addr);
                } else {
                    ask.push((addr, from));
                }
            }
            let asked: Vec<Addr> = ask.iter().map(|(a, _)| a.clone()).collect();
            let has = self.space.has(&asked).await.map_err(space_error)?;
            if let Some(((addr, from), _)) = ask.into_iter().zip(has).find(|(_, has)| !has) {
                return Ok(Err((addr, from)));
            }
            let loaded = self.space.staged(self.owner, &load).await.map_err(space_error)?;
            for (addr, node) in load.into_iter().zip(loaded) {
                let node = node.ok_or_else(|| SagaError::local("staging", format!("staged node {addr} is gone")))?;
                out.push(addr);
                nodes.push(node);
            }
            for node in nodes {
                for target in node.targets() {
                    if seen.insert(target.clone()) {
                        frontier.push((target, node.addr().clone()));
                    }
                }
            }
        }
        Ok(Ok(out))
    }
}
