//! What a space can do for its users, and what it promises them.

use crate::error::{CommitError, SpaceError};
use crate::rules::{Commit, Facts};
use crate::store::{Nodes, Records, Scanned, Store, Tips, Written};
use crate::tip::{Kind, Tip};
use crate::walk::{self, Follow, Walked};
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use std::collections::HashSet;

/// How often a commit is checked anew because something that it rests on changed between check and write.
const COMMIT_TRIES: usize = 64;

/// What changed since a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The newest revision this answer covers.
    pub revision: u64,
    /// Tips that moved, each at its present value.
    pub tips: Vec<Tip>,
    /// The space was never at that revision (it was replaced, say): list the tips again.
    pub lagged: bool,
}

/// Where ibgibs rest. Every [`Store`] is a space: what is here is made of the store's answers, in one way for all of
/// them. Absence is `None`, never an error; an error is a failure. Primitives are never stored and always absent.
///
/// Promises, each checked by the contract suite:
/// 1. **Atomic and durable**: a commit happens whole or not at all, and is durable when it returns.
/// 2. **Closed**: having a committed node means having its whole graph; a tip's graph is there whenever the tip is
///    seen. Staged nodes do not count and are not seen by `get`, `has`, `reach` or `scan`.
/// 3. **Compare-and-swap**: a tip moves only from the value the proof starts at; of racing writers one wins, the
///    others learn the present value.
/// 4. **Checked**: what is read is re-hashed; damage is an error that names the address.
/// 5. **Idempotent**: adding a node again changes nothing.
///
/// Each call but `commit` answers from one moment of the store.
#[async_trait]
pub trait Space: Store {
    /// Checks a commit by the [`rules`](crate::rules) and writes it; answers its revision.
    ///
    /// # Errors
    /// [`CommitError`]; nothing of it happened, except that after [`CommitError::Space`] this is unknown.
    async fn commit(&self, commit: Commit) -> Result<u64, CommitError> {
        for _ in 0..COMMIT_TRIES {
            let batch = {
                let view = self.view().await?;
                Facts::fetch(&*view, &commit).await?.check()?
            };
            if let Written::Done(revision) = self.write(batch).await? {
                return Ok(revision);
            }
        }
        Err(SpaceError::Io(format!("what a commit rests on changed {COMMIT_TRIES} times")).into())
    }

    /// The committed nodes at `addrs`, in order.
    ///
    /// # Errors
    /// [`SpaceError::Corrupt`]; when the store fails.
    async fn get(&self, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        self.view().await?.nodes(Nodes::Committed(addrs)).await
    }

    /// The committed node at `addr`.
    ///
    /// # Errors
    /// As [`Space::get`].
    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SpaceError> {
        Ok(self.get(std::slice::from_ref(addr)).await?.pop().flatten())
    }

    /// Whether each of `addrs` is committed.
    ///
    /// # Errors
    /// When the store fails.
    async fn has(&self, addrs: &[Addr]) -> Result<Vec<bool>, SpaceError> {
        if addrs.is_empty() { Ok(Vec::new()) } else { self.view().await?.has(addrs).await }
    }

    /// Of relations, each told as the address it leads to and the one it comes from, those that lead to what is not
    /// committed, each such address once.
    ///
    /// # Errors
    /// When the store fails.
    async fn lacking(&self, mut relations: Vec<(Addr, Addr)>) -> Result<Vec<(Addr, Addr)>, SpaceError> {
        let mut seen = HashSet::new();
        relations.retain(|(target, _)| seen.insert(target.clone()));
        let targets: Vec<Addr> = relations.iter().map(|(target, _)| target.clone()).collect();
        let has = self.has(&targets).await?;
        Ok(relations.into_iter().zip(has).filter(|(_, has)| !has).map(|(relation, _)| relation).collect())
    }

    /// How many nodes are committed.
    ///
    /// # Errors
    /// When the store fails.
    async fn count(&self) -> Result<u64, SpaceError> {
        Ok(self.view().await?.head().await?.nodes)
    }

    /// The tip of a timeline.
    ///
    /// # Errors
    /// When the store fails.
    async fn tip(&self, tjp: &Addr) -> Result<Option<Tip>, SpaceError> {
        Ok(self.view().await?.tips(Tips::Of(std::slice::from_ref(tjp))).await?.pop())
    }

    /// Tips of one kind, or all, sorted by the text of their tjp address.
    ///
    /// # Errors
    /// When the store fails.
    async fn tips(&self, kind: Option<Kind>) -> Result<Vec<Tip>, SpaceError> {
        Ok(sorted(self.view().await?.tips(Tips::Kind(kind)).await?))
    }

    /// The newest revision.
    ///
    /// # Errors
    /// When the store fails.
    async fn revision(&self) -> Result<u64, SpaceError> {
        Ok(self.view().await?.head().await?.revision)
    }

    /// Tips that moved after revision `since`, sorted by the text of their tjp address.
    ///
    /// # Errors
    /// When the store fails.
    async fn changes(&self, since: u64) -> Result<Changes, SpaceError> {
        let view = self.view().await?;
        let revision = view.head().await?.revision;
        let tips = sorted(view.tips(Tips::MovedSince(since)).await?);
        Ok(Changes { revision, tips, lagged: since > revision })
    }

    /// Nodes staged for `owner` at `addrs`, in order.
    ///
    /// # Errors
    /// [`SpaceError::Corrupt`]; when the store fails.
    async fn staged(&self, owner: &str, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SpaceError> {
        if addrs.is_empty() {
            return Ok(Vec::new());
        }
        self.view().await?.nodes(Nodes::Staged(owner, addrs)).await
    }

    /// Addresses staged for `owner`.
    ///
    /// # Errors
    /// When the store fails.
    async fn staged_addrs(&self, owner: &str) -> Result<Vec<Addr>, SpaceError> {
        self.view().await?.staged(owner).await
    }

    /// A local record.
    ///
    /// # Errors
    /// When the store fails.
    async fn record(&self, key: &str) -> Result<Option<Vec<u8>>, SpaceError> {
        let found = self.view().await?.records(Records::Keys(&[key.to_owned()])).await?;
        Ok(found.into_iter().next().map(|(_, value)| value))
    }

    /// Local records whose key starts with `prefix`, sorted by key.
    ///
    /// # Errors
    /// When the store fails.
    async fn records(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, SpaceError> {
        let mut found = self.view().await?.records(Records::Prefix(prefix)).await?;
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Up to `limit` committed nodes after `after`, in key order, re-hashed.
    ///
    /// # Errors
    /// When the store fails; a damaged node is an entry that says so.
    async fn scan(&self, after: Option<[u8; 32]>, limit: usize) -> Result<Vec<Scanned>, SpaceError> {
        self.view().await?.scan(after, limit).await
    }

    /// Addresses reachable from `starts`, dependencies before dependents; primitives and what is at or below `stop` are
    /// left out. Below a frame to stop at lie its timeline's frames before it, and what they relate to; how long that
    /// history is costs nothing. Of constants that only older of them relate to some may be answered all the same. With
    /// [`Follow::History`] the nearest `limit` frames are answered, newest first; with the others more than `limit` nodes is
    /// an error.
    ///
    /// # Errors
    /// [`SpaceError::Missing`] naming the path to a node that is not there; [`SpaceError::TooMany`].
    async fn reach(
        &self,
        starts: &[Addr],
        follow: Follow,
        stop: &HashSet<Addr>,
        limit: usize,
    ) -> Result<Vec<Addr>, SpaceError> {
        self.reach_and_read(starts, follow, stop, limit, &mut Walked::default()).await
    }

    /// As [`Space::reach`], for whoever reads what was reached right afterwards: the nodes that it answers it leaves in
    /// `walked`, as many as have room there. Of a history it leaves none.
    ///
    /// # Errors
    /// As [`Space::reach`].
    async fn reach_and_read(
        &self,
        starts: &[Addr],
        follow: Follow,
        stop: &HashSet<Addr>,
        limit: usize,
        walked: &mut Walked,
    ) -> Result<Vec<Addr>, SpaceError> {
        let view = self.view().await?;
        walk::reach(&*view, starts, follow, stop, limit, walked).await
    }

    /// The tips of the living timelines in the live graph of `starts` ([`Follow::Live`]), in any order, as they were at the
    /// moment of the walk: whatever one of them relates to is among them. And how many nodes were walked over: how long the
    /// histories of timelines are that are `known`, each up to a frame of it, costs nothing. Those have to be what an earlier
    /// answer to the same question said, or none.
    ///
    /// # Errors
    /// As [`Space::reach`].
    async fn reach_tips(
        &self,
        starts: &[Addr],
        known: &[(Addr, Addr)],
        limit: usize,
    ) -> Result<(Vec<Tip>, usize), SpaceError> {
        let view = self.view().await?;
        let (timelines, stop): (HashSet<Addr>, HashSet<Addr>) = known.iter().cloned().unzip();
        let mut tips = view.tips(Tips::Of(&timelines.iter().cloned().collect::<Vec<_>>())).await?;
        let starts: Vec<Addr> = starts.iter().chain(tips.iter().map(|tip| &tip.addr)).cloned().collect();
        let reached = walk::reach(&*view, &starts, Follow::Live, &stop, limit, &mut Walked::default()).await?;
        let walked = reached.len();
        let is_new = |addr: &Addr| addr.tjp_gib().is_none() && !timelines.contains(addr);
        let firsts: Vec<Addr> = reached.into_iter().filter(is_new).collect();
        tips.extend(view.tips(Tips::Of(&firsts)).await?);
        tips.retain(|tip| tip.kind == Kind::Living);
        Ok((tips, walked))
    }
}

impl<S: Store + ?Sized> Space for S {}

fn sorted(mut tips: Vec<Tip>) -> Vec<Tip> {
    tips.sort_unstable_by(|a, b| a.tjp.cmp(&b.tjp));
    tips
}
