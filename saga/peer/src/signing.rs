//! Signing with one-time keys: every leaf is set aside durably before it signs, and trees are built off the reactor and
//! kept in the identity's own space, where they never sync.
//!
//! Per tree a space remembers how many leaves may have been used (record `leaves/<salt>/<number>`); the number only grows,
//! by compare-and-swap, so that two programs over one space, or a program after a crash, never sign with one leaf twice.

use crate::entropy::{OsEntropy, now_ms};
use crate::view::{commit_error, space_error};
use ibgib::{IbGib, Value, Verified};
use ibgib_keystone::strategy::lms::{self, Leaf, Need, Reserved, Tree, TreeName};
use ibgib_keystone::{
    Chain, Claim, KeystoneError, Pool, PoolConfig, Secret, SignOpts, Signed, VERB_GUARD, VERB_MANAGE, VERB_RECOVER,
    VERB_REVOKE, VERB_SYNC, VERB_WARRANT,
};
use ibgib_saga::{OwnIdentity, SagaError};
use ibgib_spaces::{Commit, CommitError, Space};
use std::sync::Arc;

/// Leaves that are skipped after frames of the identity came back from a server: whoever made them may have signed more
/// that no server has told.
const SKIPPED: u32 = 16;

/// Does work that takes the processor for a while where nobody waits for it.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SagaError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| SagaError::defect(error.to_string()))
}

/// What is signed.
#[derive(Debug)]
pub(crate) enum Act {
    Claim(Claim),
    /// As a claim, with these details of the frame.
    State(Claim, Value),
    /// The end of the identity, for this reason.
    Revoke(String),
    /// A guard pool in the place of the pool that ends the identity.
    Guard(PoolConfig),
    /// Other pools, and one by which the identity can be taken back.
    Rotate {
        pools: Vec<PoolConfig>,
        recovery: Pool,
    },
    /// The identity is taken back: with pools of this secret, and the pool that can do it the next time.
    Recover {
        secret: Secret,
        pools: Vec<PoolConfig>,
        next: Pool,
    },
}

impl Act {
    fn verb(&self) -> &str {
        match self {
            Self::Claim(claim) | Self::State(claim, _) => &claim.verb,
            Self::Revoke(_) => VERB_REVOKE,
            Self::Guard(_) | Self::Rotate { .. } => VERB_MANAGE,
            Self::Recover { .. } => VERB_RECOVER,
        }
    }
}

/// Signs for one identity with what is kept in one space.
#[derive(Debug)]
pub(crate) struct Signing {
    /// Leaves set aside here, and the number that the space remembers for their tree.
    reserved: Option<(Reserved, u32)>,
    trees: Vec<Arc<Tree>>,
    /// Leaves to set aside at once: each time costs a commit, and what is left of them is lost when this ends.
    at_once: u32,
    /// Leaves to skip first.
    skip: u32,
    /// Whether the trees are worth keeping in the space.
    keeps: bool,
}

impl Signing {
    /// For an identity that lives on after this: one leaf at a time, trees are kept.
    pub(crate) fn lasting() -> Self {
        Self { reserved: None, trees: Vec::new(), at_once: 1, skip: 0, keeps: true }
    }

    /// For a session, which ends with its connection: all leaves at once, and its tree, if it is built already.
    pub(crate) fn passing(trees: Vec<Arc<Tree>>) -> Self {
        Self { reserved: None, trees, at_once: u32::MAX, skip: 0, keeps: false }
    }

    /// Some leaves may have been used by somebody who has told no server: skips a range of them.
    pub(crate) fn skip_some(&mut self) {
        self.skip(SKIPPED);
    }

    /// Skips so many leaves.
    pub(crate) fn skip(&mut self, leaves: u32) {
        self.skip = leaves;
    }

    /// Signs on an identity's tip. Nothing is stored but which leaf was taken: whoever calls it commits the frame before
    /// anybody can see it.
    pub(crate) async fn sign(
        &mut self,
        space: &dyn Space,
        chain: &Chain,
        secret: &Secret,
        act: Act,
        demanded: Vec<String>,
    ) -> Result<Signed, SagaError> {
        let (mut opts, mut built) = self.prepare(space, chain, secret, act.verb(), demanded).await?;
        let fresh = match &act {
            Act::Guard(pool) => Some((secret, std::slice::from_ref(pool))),
            Act::Rotate { pools, .. } => Some((secret, &pools[..])),
            Act::Recover { secret, pools, .. } => Some((secret, &pools[..])),
            Act::Claim(_) | Act::State(..) | Act::Revoke(_) => None,
        };
        if let Some((secret, pools)) = fresh {
            let trees = first_trees(secret, pools).await?;
            built.extend(trees.iter().cloned());
            opts.trees.extend(trees);
        }
        let (before, secret) = (chain.clone(), secret.clone());
        let signed = aside(move || match act {
            Act::Claim(claim) => ibgib_keystone::sign(&before, &secret, &claim, opts, now_ms(), &mut OsEntropy),
            Act::State(claim, details) => {
                opts.details = Some(details);
                ibgib_keystone::sign(&before, &secret, &claim, opts, now_ms(), &mut OsEntropy)
            }
            Act::Revoke(reason) => ibgib_keystone::revoke(&before, &secret, &reason, opts, now_ms(), &mut OsEntropy),
            Act::Guard(pool) => ibgib_keystone::open_guard(&before, &secret, &pool, opts, now_ms(), &mut OsEntropy),
            Act::Rotate { pools, recovery } => {
                let recovery = Some(&recovery);
                ibgib_keystone::rotate(&before, &secret, &pools, recovery, opts, now_ms(), &mut OsEntropy)
            }
            Act::Recover { secret: new, pools, next } => {
                let new = (&new, &pools[..]);
                ibgib_keystone::recover(&before, &secret, new, &next, opts, now_ms(), &mut OsEntropy)
            }
        });
        let signed = signed.await??;
        self.keep(space, &built).await?;
        Ok(signed)
    }

    /// Makes a revocation of an identity's present state that waits until two frames follow it. The identity stays as it is.
    pub(crate) async fn wait(
        &mut self,
        space: &dyn Space,
        chain: &Chain,
        secret: &Secret,
        reason: String,
    ) -> Result<Verified<IbGib>, SagaError> {
        let (opts, built) = self.prepare(space, chain, secret, VERB_GUARD, Vec::new()).await?;
        let (before, secret) = (chain.clone(), secret.clone());
        let made = aside(move || {
            ibgib_keystone::waiting_revocation(&before, &secret, &reason, opts, now_ms(), &mut OsEntropy)
        });
        let made = made.await??;
        self.keep(space, &built).await?;
        Ok(made)
    }

    /// Signs for the space whose keystone this is: what `make` makes. The keystone stays as it is.
    pub(crate) async fn for_space<T: Send + 'static>(
        &mut self,
        space: &dyn Space,
        chain: &Chain,
        secret: &Secret,
        make: impl FnOnce(&Chain, &Secret, &SignOpts) -> Result<T, KeystoneError> + Send + 'static,
    ) -> Result<T, SagaError> {
        let (opts, built) = self.prepare(space, chain, secret, VERB_WARRANT, Vec::new()).await?;
        let (chain, secret) = (chain.clone(), secret.clone());
        let made = aside(move || make(&chain, &secret, &opts)).await??;
        self.keep(space, &built).await?;
        Ok(made)
    }

    /// What a signature of a verb wants: its leaf, set aside, and the trees, with those that had to be built.
    async fn prepare(
        &mut self,
        space: &dyn Space,
        chain: &Chain,
        secret: &Secret,
        verb: &str,
        demanded: Vec<String>,
    ) -> Result<(SignOpts, Vec<Arc<Tree>>), SagaError> {
        let need = ibgib_keystone::need(chain, verb, &demanded)?;
        let mut opts = SignOpts { demanded, ..SignOpts::default() };
        let mut built = Vec::new();
        if let Some(need) = &need {
            built = self.build(space, need, secret).await?;
            opts.trees.clone_from(&self.trees);
            opts.leaf = Some(self.leaf(space, chain, need).await?);
        }
        Ok((opts, built))
    }

    /// Keeps trees that were built. Only once something was signed it is known that the secret is the right one, so that they
    /// are the identity's.
    async fn keep(&self, space: &dyn Space, built: &[Arc<Tree>]) -> Result<(), SagaError> {
        if self.keeps && !built.is_empty() {
            let records = tree_records(built);
            space.commit(Commit { records, ..Commit::default() }).await.map_err(commit_error)?;
        }
        Ok(())
    }

    /// Gets the trees that a signature wants: from here, from the space, or by building them. Answers those that were
    /// built.
    async fn build(&mut self, space: &dyn Space, need: &Need, secret: &Secret) -> Result<Vec<Arc<Tree>>, SagaError> {
        let wanted: Vec<&TreeName> = std::iter::once(&need.tree).chain(&need.next_tree).collect();
        self.trees.retain(|tree| wanted.contains(&tree.name()));
        let mut built = Vec::new();
        for name in wanted {
            if self.trees.iter().any(|tree| tree.name() == name) {
                continue;
            }
            let kept = space.record(&tree_key(name)).await.map_err(space_error)?;
            let (builder, is_new) = (need.builder(secret, name), kept.is_none());
            let tree = Arc::new(aside(move || builder.resume(&kept.unwrap_or_default()).finish()).await?);
            if is_new {
                built.push(Arc::clone(&tree));
            }
            self.trees.push(tree);
        }
        Ok(built)
    }

    /// The leaf that signs, set aside durably.
    async fn leaf(&mut self, space: &dyn Space, chain: &Chain, need: &Need) -> Result<Leaf, SagaError> {
        let key = leaves_key(&need.tree);
        loop {
            let record = space.record(&key).await.map_err(space_error)?;
            let stored = used_leaves(chain, &key, record.as_deref())?;
            // Set aside elsewhere meanwhile, or another tree: what is here is not to be used any more.
            if self.reserved.as_ref().is_none_or(|(own, end)| *own.tree() != need.tree || *end != stored) {
                self.reserved = Some((Reserved::open(need.tree.clone(), stored), stored));
            }
            let Some((reserved, end)) = &mut self.reserved else { continue };
            let from = match need.from + self.skip {
                from if from < need.leaves => from,
                _ => need.from,
            };
            let taken = match need.demanded {
                None => reserved.take(from),
                Some(leaf) => match reserved.take_this(leaf) {
                    Some(taken) => taken,
                    None => return Err(KeystoneError::UnknownDemand(leaf.to_string()).into()),
                },
            };
            let first = match taken {
                Ok(leaf) => {
                    self.skip = 0;
                    return Ok(leaf);
                }
                Err(first) => first.from,
            };
            if first >= need.leaves {
                return Err(KeystoneError::Exhausted(need.tree.salt.clone()).into());
            }
            let store = reserved.store(first, self.at_once.min(need.leaves - first));
            let records = vec![(key.clone(), Some(store.to_string().into_bytes()))];
            let expect = vec![(key.clone(), record)];
            match space.commit(Commit { records, expect, ..Commit::default() }).await {
                Ok(_) => {
                    reserved.stored(store);
                    *end = store;
                }
                Err(CommitError::RecordsChanged(_)) => {}
                Err(error) => return Err(commit_error(error)),
            }
        }
    }
}

/// Whether no leaf of the pool for this verb was ever set aside in this space.
pub(crate) async fn is_untouched(space: &dyn Space, chain: &Chain, verb: &str) -> Result<bool, SagaError> {
    let Some(need) = ibgib_keystone::need(chain, verb, &[])? else { return Ok(true) };
    Ok(space.record(&leaves_key(&need.tree)).await.map_err(space_error)?.is_none())
}

/// Leaves that are left of the pool for a verb, as far as this space knows; 0 when no pool may sign it.
pub(crate) async fn leaves_left(space: &dyn Space, chain: &Chain, verb: &str) -> Result<u32, SagaError> {
    let need = match ibgib_keystone::need(chain, verb, &[]) {
        Ok(Some(need)) => need,
        Ok(None) | Err(KeystoneError::NoPool(_) | KeystoneError::Exhausted(_)) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let key = leaves_key(&need.tree);
    let record = space.record(&key).await.map_err(space_error)?;
    let used = used_leaves(chain, &key, record.as_deref())?;
    Ok(need.leaves.saturating_sub(need.from.max(used)))
}

/// Whether a secret is the one that the identity's pool for this verb was made from. `false` also for a pool of another
/// strategy, which does not show it.
pub(crate) async fn belongs(chain: &Chain, secret: &Secret, verb: &str) -> Result<bool, SagaError> {
    match ibgib_keystone::need(chain, verb, &[]) {
        Ok(Some(need)) => {
            let builder = need.builder(secret, &need.tree);
            Ok(need.is_signed_by(&aside(move || builder.finish()).await?))
        }
        Ok(None) | Err(KeystoneError::NoPool(_) | KeystoneError::Exhausted(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Makes this space sign for an identity that another one may have signed for: sets aside of every pool a range of leaves
/// that the other one may have used without telling anybody. A pool that has no more than those is not used here.
pub(crate) async fn take_over(space: &dyn Space, chain: &Chain, secret: &Secret) -> Result<(), SagaError> {
    if !belongs(chain, secret, VERB_SYNC).await? {
        return Err(KeystoneError::WrongSecret.into());
    }
    let (mut records, mut expect) = (Vec::new(), Vec::new());
    for verb in [VERB_SYNC, VERB_MANAGE, VERB_REVOKE, VERB_GUARD] {
        let need = match ibgib_keystone::need(chain, verb, &[]) {
            Ok(Some(need)) => need,
            // Nothing of it is set aside: it has no leaves, or none left.
            Ok(None) | Err(KeystoneError::NoPool(_) | KeystoneError::Exhausted(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let key = leaves_key(&need.tree);
        // One pool may serve several verbs.
        if records.iter().any(|(known, _)| *known == key) {
            continue;
        }
        let skipped = need.from.saturating_add(SKIPPED).min(need.leaves);
        if verb == VERB_SYNC && skipped == need.leaves {
            return Err(KeystoneError::Exhausted(need.tree.salt.clone()).into());
        }
        let record = space.record(&key).await.map_err(space_error)?;
        let used = used_leaves(chain, &key, record.as_deref())?;
        records.push((key.clone(), Some(skipped.max(used).to_string().into_bytes())));
        expect.push((key, record));
    }
    space.commit(Commit { records, expect, ..Commit::default() }).await.map(drop).map_err(commit_error)
}

/// How many leaves of a tree may have been used.
fn used_leaves(chain: &Chain, key: &str, record: Option<&[u8]>) -> Result<u32, SagaError> {
    let damaged = || OwnIdentity::Damaged {
        identity: chain.tjp().clone(),
        why: format!("the record {key}, which tells the leaves that were used, cannot be read"),
    };
    record.map_or(Ok(0), |bytes| Ok(read_number(bytes).ok_or_else(damaged)?))
}

/// The trees that pools begin with.
pub(crate) async fn first_trees(secret: &Secret, pools: &[PoolConfig]) -> Result<Vec<Arc<Tree>>, SagaError> {
    let mut builders = Vec::new();
    for pool in pools.iter().filter(|pool| pool.strategy().name() == lms::NAME) {
        builders.push(lms::first_tree(pool, secret)?);
    }
    aside(move || builders.into_iter().map(|builder| Arc::new(builder.finish())).collect()).await
}

/// The records that keep trees.
pub(crate) fn tree_records(trees: &[Arc<Tree>]) -> Vec<(String, Option<Vec<u8>>)> {
    trees.iter().map(|tree| (tree_key(tree.name()), Some(tree.to_bytes()))).collect()
}

fn tree_key(name: &TreeName) -> String {
    format!("tree/{}/{}", name.salt, name.number)
}

fn leaves_key(name: &TreeName) -> String {
    format!("leaves/{}/{}", name.salt, name.number)
}

fn read_number(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
