//! What every space checks before it commits, in two steps, so that a store behind a network can take part: first
//! [`Facts::fetch`] asks a view for everything that the commit names, batch by batch; then [`Facts::check`], which
//! reads nothing, gives the batch to write or says why not. What could change between the two is in the batch as
//! [conditions](Condition), which the store checks again inside its write.

use crate::error::{CommitError, SpaceError};
use crate::marks::{
    Forget, HELD_KNOWN, IN_CONFLICT, Own, SETTLED, has_conflicts, held_key, is_apart, leads_key, made_of, others,
};
use crate::store::{Batch, Condition, Nodes, Records, Tips, View};
use crate::tip::{Advance, Kind, Tip};
use ibgib::{Addr, IbGib, Verified};
use std::collections::{HashMap, HashSet};

/// Staged nodes read at once: only what they relate to is kept of them.
const STAGED_BATCH: usize = 256;

/// What one commit publishes, all or none.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Nodes to add; those already there are no error.
    pub nodes: Vec<Verified<IbGib>>,
    /// Nodes to publish that were staged before: the owner they were staged for, and which.
    pub publish: Option<(String, Vec<Addr>)>,
    /// An owner for whom nothing stays staged: what this does not publish of it is forgotten, in the same atomic write.
    pub unstage: Option<String>,
    /// Tips to move.
    pub tips: Vec<Advance>,
    /// Local records to set (`Some`) or drop (`None`), in the same atomic write. Never synced.
    pub records: Vec<(String, Option<Vec<u8>>)>,
    /// Local records that must have these values (`None`: must not be there) for the commit to happen: a
    /// compare-and-swap together with `records`.
    pub expect: Vec<(String, Option<Vec<u8>>)>,
    /// Timelines that end here ([`forget`](crate::forget)): their tips are taken away, and what they are made of. Such a
    /// commit brings no nodes and moves no tips.
    pub forget: Vec<Forget>,
}

/// What the rules need to know of a node.
#[derive(Clone, Copy, Debug)]
struct Brought {
    n: Option<u64>,
    /// It belongs to a timeline; what does not is a constant.
    is_frame: bool,
}

impl Brought {
    fn of(node: &Verified<IbGib>) -> Self {
        Self { n: node.n(), is_frame: node.is_frame() }
    }
}

/// A commit, beside what a store says about everything that it names.
#[derive(Debug)]
pub struct Facts<'a> {
    commit: &'a Commit,
    /// Each node that the commit brings itself.
    direct: HashMap<&'a Addr, Brought>,
    /// What it publishes of what is staged.
    published: HashSet<&'a Addr>,
    /// What the commit's nodes relate to outside the commit, with who relates to it, in the commit's order.
    outside: Vec<(Addr, Addr)>,
    /// What is committed of `outside`, of the tips to come, and of what is to be published but staged no more.
    committed: HashSet<Addr>,
    /// Each node that is to be published and is staged.
    staged: HashMap<Addr, Brought>,
    /// Tips to come that are committed already.
    numbers: HashMap<Addr, Brought>,
    /// What tips to come relate to beside frames of their own timelines; none where that does not matter, since they have
    /// open conflicts.
    leads: HashMap<Addr, Option<Vec<Addr>>>,
    tips: HashMap<Addr, Addr>,
    records: HashMap<String, Vec<u8>>,
    /// Nodes of the commit that are of a keystone or a saga, or relate to one.
    apart: Vec<Verified<IbGib>>,
    /// What each timeline to forget is made of that is where the commit says.
    made_of: HashMap<Addr, Vec<Addr>>,
}

impl<'a> Facts<'a> {
    /// Fetches what the rules need to know. A commit that names nothing asks for nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn fetch(view: &dyn View, commit: &'a Commit) -> Result<Self, SpaceError> {
        let mut facts = Self {
            commit,
            direct: commit.nodes.iter().map(|n| (n.addr(), Brought::of(n))).collect(),
            published: commit.publish.iter().flat_map(|(_, addrs)| addrs).collect(),
            outside: Vec::new(),
            committed: HashSet::new(),
            staged: HashMap::new(),
            numbers: HashMap::new(),
            leads: HashMap::new(),
            tips: HashMap::new(),
            records: HashMap::new(),
            apart: Vec::new(),
            made_of: HashMap::new(),
        };
        let living = commit.tips.iter().filter(|advance| Kind::of(advance.tjp()) == Kind::Living);
        let living: HashSet<&Addr> = living.map(Advance::to).collect();
        for node in &commit.nodes {
            facts.relate(node);
            facts.lead(&living, node);
        }
        let mut ask: Vec<Addr> = Vec::new();
        if let Some((owner, addrs)) = &commit.publish {
            for batch in addrs.chunks(STAGED_BATCH) {
                let nodes = view.nodes(Nodes::Staged(owner, batch)).await?;
                for (addr, node) in batch.iter().zip(nodes) {
                    match node {
                        _ if facts.direct.contains_key(addr) => {}
                        Some(node) => {
                            if facts.staged.insert(addr.clone(), Brought::of(&node)).is_none() {
                                facts.relate(&node);
                                facts.lead(&living, &node);
                            }
                        }
                        None => ask.push(addr.clone()),
                    }
                }
            }
        }
        // Of a tip to come that the commit does not bring itself the number has to be read.
        let mut tos: Vec<Addr> = commit.tips.iter().map(|t| t.to().clone()).collect();
        tos.retain(|to| !facts.direct.contains_key(to) && !facts.staged.contains_key(to));
        if !tos.is_empty() {
            let nodes = view.nodes(Nodes::Committed(&tos)).await?;
            for node in nodes.into_iter().flatten() {
                facts.numbers.insert(node.addr().clone(), Brought::of(&node));
                facts.lead(&living, &node);
                facts.committed.insert(node.addr().clone());
            }
        }
        ask.extend(facts.outside.iter().map(|(target, _)| target.clone()));
        ask.sort_unstable();
        ask.dedup();
        if !ask.is_empty() {
            let has = view.has(&ask).await?;
            facts.committed.extend(ask.into_iter().zip(has).filter(|(_, has)| *has).map(|(addr, _)| addr));
        }
        let forgotten = commit.forget.iter().map(|timeline| &timeline.tjp);
        let tjps: Vec<Addr> = commit.tips.iter().map(Advance::tjp).chain(forgotten).cloned().collect();
        if !tjps.is_empty() {
            facts.tips = view.tips(Tips::Of(&tjps)).await?.into_iter().map(|t| (t.tjp, t.addr)).collect();
        }
        // One that is elsewhere is refused; what it was made of may be gone.
        let is_there = |timeline: &&Forget| facts.tips.get(&timeline.tjp) == Some(&timeline.tip);
        let there: Vec<Forget> = commit.forget.iter().filter(is_there).cloned().collect();
        let made_of = made_of(view, &there).await?;
        facts.made_of = there.into_iter().map(|timeline| timeline.tjp).zip(made_of).collect();
        let held = facts.made_of.values().flatten().map(held_key);
        let held = held.chain((!commit.forget.is_empty()).then(|| HELD_KNOWN.to_owned()));
        let keys: Vec<String> = commit.expect.iter().map(|(key, _)| key.clone()).chain(held).collect();
        if !keys.is_empty() {
            facts.records = view.records(Records::Keys(&keys)).await?.into_iter().collect();
        }
        Ok(facts)
    }

    /// Checks the commit:
    /// * every relation of its nodes leads to a node that it brings or that is committed;
    /// * what it publishes is staged for the owner it names, or committed;
    /// * each tip moves once, by a proof of its kind, from where it is, to a node that is there;
    /// * the records it expects are as it expects them;
    /// * what it forgets is a session or a transcript that is where it says, and nothing else relates to any of its nodes.
    ///
    /// # Errors
    /// The first of these that does not hold; of tips and records all that are elsewhere.
    pub fn check(&self) -> Result<Batch, CommitError> {
        let mut conditions = Vec::new();
        for (addr, from) in &self.outside {
            if !self.committed.contains(addr) {
                return Err(CommitError::Missing { addr: addr.clone(), from: from.clone() });
            }
        }
        let publish = self.publishable()?;
        let tips = self.tips(&mut conditions)?;
        self.forgettable(&mut conditions)?;
        self.records(&mut conditions)?;
        conditions.extend(self.committed.iter().cloned().map(Condition::Committed));
        let mut seen = HashSet::new();
        let nodes = self.commit.nodes.iter().filter(|n| !n.addr().is_primitive() && seen.insert(n.addr()));
        let (nodes, unstage) = (nodes.cloned().collect(), self.commit.unstage.clone());
        let mut records = self.commit.records.clone();
        records.extend(self.held().iter().map(|addr| (held_key(addr), Some(Vec::new()))));
        records.extend(
            tips.iter().filter_map(|tip| Some((leads_key(&tip.tjp), Some(self.lead_mark(&tip.addr)?.to_vec())))),
        );
        let forget = self.commit.forget.iter().map(|timeline| timeline.tjp.clone()).collect();
        let mut forget_nodes: Vec<Addr> = self.made_of.values().flatten().cloned().collect();
        forget_nodes.sort_unstable();
        forget_nodes.dedup();
        Ok(Batch { conditions, nodes, publish, unstage, tips, records, forget, forget_nodes })
    }

    /// Notes what a node relates to outside the commit.
    fn relate(&mut self, node: &Verified<IbGib>) {
        if node.addr().is_primitive() {
            return;
        }
        let here = |target: &Addr| self.direct.contains_key(target) || self.published.contains(target);
        let mut targets = node.targets();
        if targets.iter().any(is_apart) || is_apart(node.addr()) {
            self.apart.push(node.clone());
        }
        targets.retain(|target| !here(target));
        self.outside.extend(targets.into_iter().map(|target| (target, node.addr().clone())));
    }

    /// Notes what a tip to come of a living timeline relates to.
    fn lead(&mut self, living: &HashSet<&Addr>, node: &Verified<IbGib>) {
        if living.contains(node.addr()) {
            self.leads.insert(node.addr().clone(), (!has_conflicts(node)).then(|| others(node)));
        }
    }

    /// What is kept of a tip to come that has open conflicts or may lead to another timeline: that relates to something of
    /// which the commit does not show that it is a constant.
    fn lead_mark(&self, tip: &Addr) -> Option<&'static [u8]> {
        let is_constant = |addr: &Addr| self.brought(addr).is_some_and(|node| !node.is_frame);
        match self.leads.get(tip)? {
            None => Some(IN_CONFLICT),
            Some(targets) => (!targets.iter().all(is_constant)).then_some(SETTLED),
        }
    }

    /// What is held because a node of the commit relates to it.
    fn held(&self) -> HashSet<Addr> {
        let nodes: HashMap<&Addr, &Verified<IbGib>> = self.apart.iter().map(|node| (node.addr(), node)).collect();
        let mut own = Own::default();
        for advance in &self.commit.tips {
            own.add(advance.to(), |addr| nodes.get(addr).copied());
        }
        own.add_last_contexts(self.apart.iter());
        let mut held = HashSet::new();
        for node in &self.apart {
            held.extend(own.held_by(node, &node.targets()).into_iter().cloned());
        }
        held
    }

    /// What is to be published and is staged; the rest is committed.
    fn publishable(&self) -> Result<Option<(String, Vec<Addr>)>, CommitError> {
        let Some((owner, addrs)) = &self.commit.publish else { return Ok(None) };
        let (mut seen, mut out) = (HashSet::new(), Vec::new());
        for addr in addrs.iter().filter(|addr| !self.direct.contains_key(addr) && seen.insert(*addr)) {
            if self.staged.contains_key(addr) {
                out.push(addr.clone());
            } else if !self.committed.contains(addr) {
                return Err(CommitError::Missing { addr: addr.clone(), from: addr.clone() });
            }
        }
        Ok(Some((owner.clone(), out)))
    }

    fn tips(&self, conditions: &mut Vec<Condition>) -> Result<Vec<Tip>, CommitError> {
        let refused = |tjp: &Addr, why| Err(CommitError::Refused { tjp: tjp.clone(), why });
        let (mut moved, mut tips) = (Vec::new(), Vec::new());
        let mut seen: HashSet<&Addr> = HashSet::new();
        for advance in &self.commit.tips {
            let (tjp, to) = (advance.tjp(), advance.to());
            let kind = Kind::of(tjp);
            if !seen.insert(tjp) {
                return refused(tjp, "it is moved twice in one commit");
            }
            match (kind, advance) {
                (Kind::Keystone, Advance::Timeline(_)) => {
                    return refused(tjp, "a keystone moves by validated steps only");
                }
                (Kind::Living | Kind::Saga | Kind::Door, Advance::Keystone(_) | Advance::Recovery(_)) => {
                    return refused(tjp, "it is not a keystone");
                }
                (Kind::Saga | Kind::Door, Advance::Dropped(_)) => return refused(tjp, "nothing of it is dropped"),
                _ => {}
            }
            let Some(Brought { n, .. }) = self.brought(to) else { return refused(tjp, "the new tip is not here") };
            let now = self.tips.get(tjp);
            if now != advance.from() {
                moved.push((tjp.clone(), now.cloned()));
                continue;
            }
            conditions.push(Condition::Tip { tjp: tjp.clone(), addr: now.cloned() });
            tips.push(Tip { tjp: tjp.clone(), addr: to.clone(), n, kind });
        }
        if moved.is_empty() { Ok(tips) } else { Err(CommitError::TipsMoved(moved)) }
    }

    /// Adds what must hold so that timelines can be forgotten.
    fn forgettable(&self, conditions: &mut Vec<Condition>) -> Result<(), CommitError> {
        let refused = |tjp: &Addr, why| Err(CommitError::Refused { tjp: tjp.clone(), why });
        let (mut moved, mut seen) = (Vec::new(), HashSet::new());
        if let Some(first) = self.commit.forget.first().filter(|_| !self.records.contains_key(HELD_KNOWN)) {
            return refused(&first.tjp, "nobody has looked yet what is held (forget::prepare)");
        }
        for Forget { tjp, tip, .. } in &self.commit.forget {
            if !seen.insert(tjp) {
                return refused(tjp, "it is forgotten twice in one commit");
            }
            if !self.direct.is_empty() || !self.published.is_empty() || !self.commit.tips.is_empty() {
                return refused(tjp, "what forgets it brings or moves something, too");
            }
            match Kind::of(tjp) {
                Kind::Keystone | Kind::Saga => {}
                Kind::Living | Kind::Door => return refused(tjp, "only sessions and transcripts are forgotten"),
            }
            let now = self.tips.get(tjp);
            if now != Some(tip) {
                moved.push((tjp.clone(), now.cloned()));
                continue;
            }
            let made_of = self.made_of.get(tjp).map(Vec::as_slice).unwrap_or_default();
            if made_of.iter().any(|addr| self.records.contains_key(&held_key(addr))) {
                return refused(tjp, "something else relates to it");
            }
            conditions.push(Condition::Tip { tjp: tjp.clone(), addr: Some(tip.clone()) });
            conditions.extend(made_of.iter().map(|addr| Condition::Record { key: held_key(addr), value: None }));
        }
        if moved.is_empty() { Ok(()) } else { Err(CommitError::TipsMoved(moved)) }
    }

    fn records(&self, conditions: &mut Vec<Condition>) -> Result<(), CommitError> {
        let mut changed = Vec::new();
        for (key, value) in &self.commit.expect {
            let now = self.records.get(key);
            if now != value.as_ref() {
                changed.push((key.clone(), now.cloned()));
            }
            conditions.push(Condition::Record { key: key.clone(), value: value.clone() });
        }
        if changed.is_empty() { Ok(()) } else { Err(CommitError::RecordsChanged(changed)) }
    }

    /// A node that will be there, if it is known; `None` if not.
    fn brought(&self, addr: &Addr) -> Option<Brought> {
        self.direct.get(addr).or_else(|| self.staged.get(addr)).or_else(|| self.numbers.get(addr)).copied()
    }
}
