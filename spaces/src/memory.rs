//! A store in memory: for tests, and for peers that keep nothing.

use crate::error::SpaceError;
use crate::leases::LocalLeases;
use crate::store::{Batch, Condition, Head, Nodes, Records, Scanned, Store, Tips, View, Written};
use crate::tip::Tip;
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

type Key = [u8; 32];

/// Keeps everything in memory; "durable" here means visible to every later call.
///
/// A view is a pointer to the state of its moment. A write changes that state in place, or copies the maps (not the
/// nodes) if a view of it is still open.
#[derive(Debug)]
pub struct MemorySpace {
    id: String,
    state: RwLock<Arc<State>>,
    revision: watch::Sender<u64>,
    leases: LocalLeases,
}

#[derive(Clone, Debug, Default)]
struct State {
    nodes: BTreeMap<Key, Verified<IbGib>>,
    staged: BTreeMap<String, BTreeMap<Key, Verified<IbGib>>>,
    /// Each with the revision of its last move.
    tips: BTreeMap<Addr, (Tip, u64)>,
    records: BTreeMap<String, Vec<u8>>,
    revision: u64,
}

impl MemorySpace {
    /// An empty space with this id; servers tell it to their peers as audience.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            state: RwLock::default(),
            revision: watch::Sender::new(0),
            leases: LocalLeases::default(),
        }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Arc<State>) -> T) -> T {
        work(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Store for MemorySpace {
    fn id(&self) -> &str {
        &self.id
    }

    async fn view(&self) -> Result<Box<dyn View + '_>, SpaceError> {
        Ok(Box::new(Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))))
    }

    async fn write(&self, batch: Batch) -> Result<Written, SpaceError> {
        let revision = self.change(|state| {
            let holds = batch.conditions().iter().all(|c| state.holds(c)) && state.publishes(&batch);
            holds.then(|| Arc::make_mut(state).apply(batch))
        });
        let Some(revision) = revision else { return Ok(Written::Unmet) };
        // Whoever committed later may have told it earlier.
        self.revision.send_if_modified(|r| {
            let newer = revision > *r;
            *r = (*r).max(revision);
            newer
        });
        Ok(Written::Done(revision))
    }

    async fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        self.change(|state| {
            let state = Arc::make_mut(state);
            for node in nodes {
                let Some(key) = node.addr().key() else { continue };
                if !state.nodes.contains_key(&key) {
                    state.staged.entry(owner.to_owned()).or_default().insert(key, node.clone());
                }
            }
        });
        Ok(())
    }

    async fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        self.change(|state| {
            if state.staged.contains_key(owner) {
                Arc::make_mut(state).staged.remove(owner);
            }
        });
        Ok(())
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, SpaceError> {
        Ok(self.leases.take(name, holder, time))
    }

    async fn give_up(&self, name: &str, holder: &str) -> Result<(), SpaceError> {
        self.leases.give_up(name, holder);
        Ok(())
    }

    async fn changed(&self, since: u64) -> Result<u64, SpaceError> {
        let mut revision = self.revision.subscribe();
        let now = revision.wait_for(|r| *r > since).await.map_err(|_| SpaceError::Closed)?;
        Ok(*now)
    }
}

fn find(nodes: &BTreeMap<Key, Verified<IbGib>>, addr: &Addr) -> Option<Verified<IbGib>> {
    nodes.get(&addr.key()?).filter(|n| n.addr() == addr).cloned()
}

impl State {
    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Tip { tjp, addr } => self.tips.get(tjp).map(|(tip, _)| &tip.addr) == addr.as_ref(),
            Condition::Record { key, value } => self.records.get(key) == value.as_ref(),
            Condition::Committed(addr) => find(&self.nodes, addr).is_some(),
        }
    }

    /// Whether everything is there that a batch publishes.
    fn publishes(&self, batch: &Batch) -> bool {
        let Some((owner, addrs)) = batch.publish() else { return true };
        let staged = self.staged.get(owner);
        let is_staged = |addr| staged.is_some_and(|staged| find(staged, addr).is_some());
        addrs.iter().all(|addr| is_staged(addr) || find(&self.nodes, addr).is_some())
    }

    /// Writes a batch whose conditions hold; answers its revision.
    fn apply(&mut self, batch: Batch) -> u64 {
        self.revision += 1;
        let published = batch.publish.iter().flat_map(|(owner, addrs)| {
            let staged = self.staged.get(owner);
            addrs.iter().filter_map(move |addr| find(staged?, addr))
        });
        let nodes: Vec<Verified<IbGib>> = batch.nodes.into_iter().chain(published).collect();
        for node in nodes {
            if let Some(key) = node.addr().key() {
                self.staged.values_mut().for_each(|staged| drop(staged.remove(&key)));
                self.nodes.entry(key).or_insert(node);
            }
        }
        if let Some(owner) = batch.unstage {
            self.staged.remove(&owner);
        }
        self.staged.retain(|_, staged| !staged.is_empty());
        for tip in batch.tips {
            self.tips.insert(tip.tjp.clone(), (tip, self.revision));
        }
        for tjp in batch.forget {
            self.tips.remove(&tjp);
        }
        for key in batch.forget_nodes.iter().filter_map(Addr::key) {
            self.nodes.remove(&key);
        }
        for (key, value) in batch.records {
            match value {
                Some(value) => self.records.insert(key, value),
                None => self.records.remove(&key),
            };
        }
        self.revision
    }
}

#[async_trait]
impl View for Arc<State> {
    async fn head(&self) -> Result<Head, SpaceError> {
        Ok(Head { revision: self.revision, nodes: self.nodes.len() as u64 })
    }

    async fn nodes(&self, which: Nodes<'_>) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        let (nodes, addrs) = match which {
            Nodes::Committed(addrs) => (Some(&self.nodes), addrs),
            Nodes::Staged(owner, addrs) => (self.staged.get(owner), addrs),
        };
        Ok(addrs.iter().map(|addr| find(nodes?, addr)).collect())
    }

    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        Ok(addrs.iter().map(|addr| find(&self.nodes, addr).is_some()).collect())
    }

    async fn staged(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        Ok(self.staged.get(owner).into_iter().flat_map(|s| s.values().map(|n| n.addr().clone())).collect())
    }

    async fn tips(&self, which: Tips<'_>) -> Result<Vec<Tip>, SpaceError> {
        let all = self.tips.values();
        Ok(match which {
            Tips::Of(tjps) => tjps.iter().filter_map(|tjp| self.tips.get(tjp)).map(|(tip, _)| tip.clone()).collect(),
            Tips::Kind(kind) => all.map(|(t, _)| t).filter(|t| kind.is_none_or(|k| t.kind == k)).cloned().collect(),
            Tips::MovedSince(since) => all.filter(|(_, at)| *at > since).map(|(t, _)| t.clone()).collect(),
        })
    }

    async fn records(&self, which: Records<'_>) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        Ok(match which {
            Records::Keys(keys) => keys.iter().filter_map(|k| self.records.get_key_value(k)).map(owned).collect(),
            Records::Prefix(prefix) => {
                let from = self.records.range(prefix.to_owned()..);
                from.take_while(|(key, _)| key.starts_with(prefix)).map(owned).collect()
            }
        })
    }

    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.nodes.range((from, Bound::Unbounded));
        Ok(range.take(limit).map(|(k, n)| Scanned { key: *k, node: Ok(n.clone()) }).collect())
    }
}

fn owned((key, value): (&String, &Vec<u8>)) -> (String, Vec<u8>) {
    (key.clone(), value.clone())
}
