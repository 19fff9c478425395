//! Moving tips that others move, too. Whoever does that joins his frames with what a tip has become, proves that the tip
//! may move to what comes out, commits, and begins again when somebody was faster: here once for everybody.
//!
//! What is to be committed is a [`Proposal`], drafted anew for each try on the tips of that moment; [`settle()`] tries
//! until the commit happens or the tries are used up. A saga's receiver is told to try again by the other side: it
//! keeps a [`Draft`] between its turns and uses no loop of its own.
//!
//! ```
//! use ibgib_spaces::{MemorySpace, Space, settle};
//! use ibgib::transform::{ForkOpts, Moment, fork};
//! use ibgib::IbGib;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let space = MemorySpace::new("doc");
//! let moment = Moment { now_ms: 0, random: [1; 16] };
//! let note = fork(&IbGib::primitive("root").unwrap(), &ForkOpts::timeline("note"), &moment).unwrap();
//! let admitted = settle::admit(&space, &note.nodes()).await.unwrap();
//! assert_eq!((admitted.tips, admitted.merges), (1, 0));
//! assert_eq!(space.tips(None).await.unwrap()[0].addr, *note.frame.addr());
//! # });
//! ```

use crate::error::{CommitError, SpaceError};
use crate::history::Loader;
use crate::rules::Commit;
use crate::space::Space;
use crate::store::Tips;
use crate::tip::Kind;
use async_trait::async_trait;
use ibgib::timeline::HistoryError;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How often whoever has no limit of his own tries.
pub const TRIES: u32 = 16;

/// A commit in the making, and the merges in it.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What will be committed.
    pub commit: Commit,
    /// Merge frames among its nodes.
    pub merges: u64,
    /// Conflicts that they record.
    pub conflicts: u64,
}

/// Where a timeline is led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// The tip that it will have; `None` if it has none and was led nowhere.
    pub tip: Option<Addr>,
    /// Merge frames that this took.
    pub merges: u64,
}

impl Draft {
    /// Leads the tip of timeline `tjp` from where it is, `before`, to what it and `heads` lead to, merged where they
    /// diverge. `history` finds the frames of `heads`; they themselves are not added to the commit.
    ///
    /// # Errors
    /// A history that does not hold, or has diverged and cannot be merged. The draft is as it was then.
    pub async fn lead(
        &mut self,
        history: &mut Loader<'_>,
        tjp: &Addr,
        before: Option<&Addr>,
        heads: &[Addr],
    ) -> Result<Led, HistoryError> {
        let mut tip = before.cloned();
        let (mut nodes, mut merges, mut conflicts) = (Vec::new(), 0, 0);
        for head in heads {
            let Some(now) = &tip else {
                tip = Some(head.clone());
                continue;
            };
            let joined = history.join(now, head).await?;
            merges += u64::from(!joined.nodes.is_empty());
            conflicts += joined.conflicts as u64;
            nodes.extend(joined.nodes);
            tip = Some(joined.tip);
        }
        if let Some(to) = tip.as_ref().filter(|to| Some(*to) != before) {
            let advance = history.advance(before, to).await?;
            if advance.tjp() != tjp {
                return Err(HistoryError::Broken { addr: to.clone(), why: format!("it is no frame of {tjp}") });
            }
            self.commit.tips.push(advance.into());
        }
        self.commit.nodes.extend(nodes);
        self.merges += merges;
        self.conflicts += conflicts;
        Ok(Led { tip, merges })
    }
}

/// What somebody wants to commit, whatever the tips are by then.
#[async_trait]
pub trait Proposal: Sync {
    /// What is known beside the commit once it happened.
    type Told: Send;
    /// Why nothing can be drafted.
    type Error: Send;

    /// Fills an empty draft from the tips as they are now.
    ///
    /// # Errors
    /// Whatever ends the tries.
    async fn draft(&self, draft: &mut Draft) -> Result<Self::Told, Self::Error>;
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled<T> {
    /// The revision that it made.
    pub revision: u64,
    /// Merge frames made.
    pub merges: u64,
    /// Conflicts that they record.
    pub conflicts: u64,
    /// What the draft of this commit told.
    pub told: T,
}

/// Why a proposal was not committed; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled<E> {
    /// Nothing could be drafted.
    Draft(E),
    /// The commit was refused, for another reason than moved tips.
    Commit(CommitError),
    /// Others kept moving the same tips; how often it was tried.
    Busy(u32),
}

/// Drafts and commits until no tip moved in between, `tries` times at most.
///
/// # Errors
/// [`Unsettled`].
pub async fn settle<P: Proposal>(
    space: &dyn Space,
    tries: u32,
    proposal: &P,
) -> Result<Settled<P::Told>, Unsettled<P::Error>> {
    for _ in 0..tries {
        let mut draft = Draft::default();
        let told = proposal.draft(&mut draft).await.map_err(Unsettled::Draft)?;
        let Draft { commit, merges, conflicts } = draft;
        match space.commit(commit).await {
            Ok(revision) => return Ok(Settled { revision, merges, conflicts, told }),
            Err(CommitError::TipsMoved(_)) => {}
            Err(error) => return Err(Unsettled::Commit(error)),
        }
    }
    Err(Unsettled::Busy(tries))
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
    Busy(u32),
}

impl From<SpaceError> for AdmitError {
    fn from(error: SpaceError) -> Self {
        Self::Commit(error.into())
    }
}

impl From<Unsettled<Self>> for AdmitError {
    fn from(error: Unsettled<Self>) -> Self {
        match error {
            Unsettled::Draft(error) => error,
            Unsettled::Commit(error) => error.into(),
            Unsettled::Busy(tries) => Self::Busy(tries),
        }
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

/// Stores nodes, and moves the tips of their living timelines to what the tips and the new frames lead to: merged
/// where they diverge. All or nothing.
///
/// # Errors
/// [`CommitError::Missing`] when a node relates to what is neither here nor among the nodes; a history that does not
/// hold; a failing space.
pub async fn admit(space: &dyn Space, nodes: &[Verified<IbGib>]) -> Result<Admitted, AdmitError> {
    check_closed(space, nodes).await?;
    let settled = settle(space, TRIES, &Admission { space, nodes, heads: heads(nodes) }).await?;
    let (merges, conflicts) = (settled.merges as usize, settled.conflicts as usize);
    Ok(Admitted { tips: settled.told, merges, conflicts })
}

struct Admission<'a> {
    space: &'a dyn Space,
    nodes: &'a [Verified<IbGib>],
    heads: BTreeMap<Addr, Vec<Addr>>,
}

#[async_trait]
impl Proposal for Admission<'_> {
    type Told = usize;
    type Error = AdmitError;

    async fn draft(&self, draft: &mut Draft) -> Result<usize, AdmitError> {
        let mut history = Loader::new(self.space, None);
        history.add(self.nodes.iter().cloned());
        draft.commit.nodes = self.nodes.to_vec();
        let tjps: Vec<Addr> = self.heads.keys().cloned().collect();
        let tips = history.view().await?.tips(Tips::Of(&tjps)).await?;
        let tips: HashMap<Addr, Addr> = tips.into_iter().map(|tip| (tip.tjp, tip.addr)).collect();
        for (tjp, heads) in &self.heads {
            draft.lead(&mut history, tjp, tips.get(tjp), heads).await?;
        }
        Ok(draft.commit.tips.len())
    }
}

/// A gap is told before a history that stumbles over it.
async fn check_closed(space: &dyn Space, nodes: &[Verified<IbGib>]) -> Result<(), AdmitError> {
    let here: HashSet<&Addr> = nodes.iter().map(|n| n.addr()).collect();
    let outside = |node: &Verified<IbGib>| {
        let from = node.addr().clone();
        let targets = node.targets().into_iter().filter(|t| !here.contains(t));
        targets.map(move |target| (target, from.clone())).collect::<Vec<_>>()
    };
    match space.lacking(nodes.iter().flat_map(outside).collect()).await?.into_iter().next() {
        Some((addr, from)) => Err(CommitError::Missing { addr, from }.into()),
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
