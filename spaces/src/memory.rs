//! A space in memory: for tests, and for peers that keep nothing.

use crate::rules::{self, Moment};
use crate::space::{Changes, Commit, CommitError, Follow, Kind, Scanned, Space, SpaceError, Tip};
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

type Key = [u8; 32];

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<Key, Verified<IbGib>>,
    staged: HashMap<String, BTreeMap<Key, Verified<IbGib>>>,
    tips: BTreeMap<Addr, (Tip, u64)>,
    records: BTreeMap<String, Vec<u8>>,
    revision: u64,
}

/// Keeps everything in memory; "durable" here means visible to every later call. One lock guards all of it, so that
/// readers see commits whole: a concurrent map (dashmap) would show them node by node.
#[derive(Debug)]
pub struct MemorySpace {
    id: String,
    state: RwLock<State>,
    revision: watch::Sender<u64>,
}

fn find(nodes: &BTreeMap<Key, Verified<IbGib>>, addr: &Addr) -> Option<Verified<IbGib>> {
    nodes.get(&addr.key()?).filter(|n| n.addr() == addr).cloned()
}

impl Moment for State {
    fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        Ok(find(&self.nodes, addr))
    }
    fn has(&self, addr: &Addr) -> Result<bool, SpaceError> {
        Ok(find(&self.nodes, addr).is_some())
    }
    fn staged(&self, owner: &str, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        Ok(self.staged.get(owner).and_then(|nodes| find(nodes, addr)))
    }
    fn tip(&self, tjp: &Addr) -> Result<Option<Tip>, SpaceError> {
        Ok(self.tips.get(tjp).map(|(tip, _)| tip.clone()))
    }
}

impl MemorySpace {
    /// An empty space with this id; servers tell it to their peers as audience.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), state: RwLock::default(), revision: watch::Sender::new(0) }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Space for MemorySpace {
    fn id(&self) -> &str {
        &self.id
    }

    async fn get(&self, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let state = self.read();
        Ok(addrs.iter().map(|a| find(&state.nodes, a)).collect())
    }

    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        let state = self.read();
        Ok(addrs.iter().map(|a| find(&state.nodes, a).is_some()).collect())
    }

    async fn count(&self) -> Result<u64, SpaceError> {
        Ok(self.read().nodes.len() as u64)
    }

    async fn tip(&self, tjp: &Addr) -> Result<Option<Tip>, SpaceError> {
        Moment::tip(&*self.read(), tjp)
    }

    async fn tips(&self, kind: Option<Kind>) -> Result<Vec<Tip>, SpaceError> {
        let state = self.read();
        Ok(state.tips.values().map(|(t, _)| t).filter(|t| kind.is_none_or(|k| t.kind == k)).cloned().collect())
    }

    async fn commit(&self, commit: Commit) -> Result<u64, CommitError> {
        let mut state = self.write();
        let checked = rules::check(&*state, &commit)?;
        let revision = state.revision + 1;
        let mut publish = Vec::new();
        if let Some((owner, _)) = &commit.publish {
            for addr in &checked.publish {
                publish.extend(state.staged(owner, addr)?);
            }
        }
        for node in checked.nodes.into_iter().chain(publish) {
            if let Some(key) = node.addr().key() {
                state.staged.values_mut().for_each(|staged| drop(staged.remove(&key)));
                state.nodes.insert(key, node);
            }
        }
        state.staged.retain(|_, staged| !staged.is_empty());
        for tip in checked.tips {
            state.tips.insert(tip.tjp.clone(), (tip, revision));
        }
        for (key, value) in commit.records {
            match value {
                Some(value) => state.records.insert(key, value),
                None => state.records.remove(&key),
            };
        }
        state.revision = revision;
        drop(state);
        // Whoever committed later may have told it earlier.
        self.revision.send_if_modified(|r| {
            let newer = revision > *r;
            *r = (*r).max(revision);
            newer
        });
        Ok(revision)
    }

    async fn revision(&self) -> Result<u64, SpaceError> {
        Ok(self.read().revision)
    }

    async fn changes(&self, since: u64) -> Result<Changes, SpaceError> {
        let state = self.read();
        let tips = state.tips.values().filter(|(_, at)| *at > since).map(|(t, _)| t.clone()).collect();
        Ok(Changes { revision: state.revision, tips, lagged: since > state.revision })
    }

    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        let mut revision = self.revision.subscribe();
        let now = revision.wait_for(|r| *r > since).await.map_err(|_| SpaceError::Closed)?;
        Ok(*now)
    }

    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        let mut state = self.write();
        for node in nodes {
            let Some(key) = node.addr().key() else { continue };
            // What is committed is staged no more.
            if !state.nodes.contains_key(&key) {
                state.staged.entry(owner.to_owned()).or_default().insert(key, node.clone());
            }
        }
        Ok(())
    }

    async fn staged(&self, owner: &str, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let state = self.read();
        addrs.iter().map(|a| Moment::staged(&*state, owner, a)).collect()
    }

    async fn staged_addrs(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        let state = self.read();
        Ok(state.staged.get(owner).into_iter().flat_map(|s| s.values().map(|n| n.addr().clone())).collect())
    }

    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.write().staged.remove(owner);
        Ok(())
    }

    async fn record(&self, key: &str) -> Result<Option<Vec<u8>>, SpaceError> {
        Ok(self.read().records.get(key).cloned())
    }

    async fn records(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        let state = self.read();
        let from = state.records.range(prefix.to_owned()..);
        Ok(from.take_while(|(k, _)| k.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        let state = self.read();
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = state.nodes.range((from, std::ops::Bound::Unbounded));
        Ok(range.take(limit).map(|(k, n)| Scanned { key: *k, node: Ok(n.clone()) }).collect())
    }

    async fn reach(
        &self,
        starts: &[Addr],
        follow: Follow,
        stop: &HashSet<Addr>,
        limit: usize,
    ) -> Result<Vec<Addr>, SpaceError> {
        rules::reach(&*self.read(), starts, follow, stop, limit)
    }
}
