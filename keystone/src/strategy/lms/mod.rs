//! `lms-v1`: one-time hash-based signatures that bind claim and frame.
//!
//! A pool is the root of a Merkle tree of one-time keys: LMS over LM-OTS, SHA-256 cut to 24 bytes (RFC 8554, RFC 9858,
//! SP 800-208). To sign is to use up one leaf for a signature over
//!
//! > `ibgib keystone lms-v1` ‖ line feed ‖ canonical text of {`claim`, `demanded`, `frame`}
//!
//! where `frame` is the whole next frame, its pools included, without gib, with `proofs` empty and without
//! `revocationInfo.proof`; `claim` is the proof's claim with all its members, and `demanded` the list
//! of the leaves that the verifier demanded. Whoever sees a frame can put what it shows
//! on no other claim, frame, pool or audience.
//!
//! * A challenge's id is `tree.leaf`. Leaves are used in ascending order; `next` in the pool is the first that is left, so
//!   a leaf that was skipped is gone. A verifier may demand one of the next leaves.
//! * A signature with one of the last eighth of a tree's leaves may put the next tree into the pool, if the pool's
//!   `replenish` is `next-tree`; with `consume` the pool ends.
//! * The secret's owner sets leaves aside durably before using them ([`Reserved`]): a leaf that signs twice gives the
//!   identity away. [`crate::need`] tells which leaf and which trees the next signature wants.
//! * Trees are built in steps ([`TreeBuilder`]) and kept; nothing in a [`Tree`] is secret.

mod apart;
mod config;
mod ots;
mod reserve;
mod state;
mod tree;
#[cfg(test)]
mod vectors;

pub use apart::{TreeSigner, is_signed_with};
pub(crate) use apart::{sign_apart, signed_apart};
pub use config::{Height, LmsConfig, NextTree, Width};
pub use reserve::{Leaf, ReserveFirst, Reserved};
pub use tree::{Tree, TreeBuilder, TreeName};

use super::{Context, Keys, Request, Spending, Spent, Strategy};
use crate::claim::{self, Solution};
use crate::error::{KeystoneError, Rule, ValidateError};
use crate::secret::{Entropy, Secret};
use crate::strategy::{Pool, PoolConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ibgib::canonical::canonical_text;
use ibgib::{IbGib, Map, Value, Verified, object, strings};
use state::State;
use std::borrow::Cow;
use std::sync::Arc;

/// The strategy's name.
pub const NAME: &str = "lms-v1";

/// What every signed message begins with, so that a signature is good for nothing else.
const DOMAIN: &str = "ibgib keystone lms-v1\n";

/// The strategy.
#[derive(Clone, Copy, Debug)]
pub struct Lms;

/// What the next signature of a verb wants.
#[derive(Clone, Debug)]
pub struct Need {
    config: LmsConfig,
    /// The tree that signs.
    pub tree: TreeName,
    /// How many leaves it has.
    pub leaves: u32,
    /// The first leaf that is left.
    pub from: u32,
    /// The leaf that the verifier demands.
    pub demanded: Option<u32>,
    /// The tree that follows, once a signature may put it into the pool; worth building before the last leaf.
    pub next_tree: Option<TreeName>,
    /// The public key of the tree that signs.
    public_key: String,
}

impl Need {
    /// What the next signature of this pool wants; `None` when another strategy signs it.
    pub(crate) fn of(pool: &Pool, verb: &str, demanded: &[String]) -> Result<Option<Self>, KeystoneError> {
        if pool.strategy().name() != NAME {
            return Ok(None);
        }
        let state = State::of(pool).map_err(|why| KeystoneError::Config(why.got))?;
        if state.left() == 0 {
            return Err(KeystoneError::Exhausted(verb.to_owned()));
        }
        Ok(Some(Self {
            tree: state.tree_name(state.tree),
            leaves: state.leaves(),
            from: state.next,
            demanded: state.demanded(demanded)?,
            next_tree: state.replaces(state.next).then(|| state.tree_name(state.tree + 1)),
            public_key: state.public_key,
            config: state.config,
        }))
    }

    /// For building the tree that signs, or the one that follows.
    pub fn builder(&self, secret: &Secret, name: &TreeName) -> TreeBuilder {
        TreeBuilder::new(self.config.parameters(), secret, name.clone())
    }

    /// Whether this is the tree that signs: one that another secret makes is not.
    pub fn is_signed_by(&self, tree: &Tree) -> bool {
        *tree.name() == self.tree && tree.public_key() == self.public_key
    }
}

/// For building the first tree of a pool before there is an identity.
///
/// # Errors
/// [`KeystoneError::Config`], when the configuration is not of this strategy.
pub fn first_tree(config: &PoolConfig, secret: &Secret) -> Result<TreeBuilder, KeystoneError> {
    let config = LmsConfig::read(config).map_err(KeystoneError::Config)?;
    let name = TreeName { salt: config.salt.clone(), number: 0 };
    Ok(TreeBuilder::new(config.parameters(), secret, name))
}

/// Whether two valid frames show that one leaf signed twice: proof that somebody else has the secret, or that it is used
/// in two places. It holds whatever the order of the frames, and whether or not they follow the same one.
pub fn leaf_used_twice(a: &Verified<IbGib>, b: &Verified<IbGib>) -> bool {
    let used = |frame: &IbGib| -> Vec<Solution> {
        let proofs = claim::proofs(frame).iter();
        let written = proofs.flat_map(|p| p.get("solutions").and_then(Value::as_array).unwrap_or_default());
        written.map(Solution::parse).filter(|solution| solution.kind == NAME).collect()
    };
    let b_used = used(b);
    let same = |a: &Solution| b_used.iter().any(|b| (&a.pool_id, &a.challenge_id) == (&b.pool_id, &b.challenge_id));
    a.addr() != b.addr() && a.tjp().is_some() && a.tjp() == b.tjp() && used(a).iter().any(same)
}

type Checked = Result<(), ValidateError>;

/// The tree of this name and public key among those that the caller has, else built now.
fn find_tree<'a>(keys: &'a Keys<'_>, config: &LmsConfig, name: &TreeName, public_key: Option<&str>) -> Cow<'a, Tree> {
    let fits = |tree: &&Arc<Tree>| tree.name() == name && public_key.is_none_or(|key| tree.public_key() == key);
    match keys.trees.iter().find(fits) {
        Some(tree) => Cow::Borrowed(&**tree),
        None => Cow::Owned(TreeBuilder::new(config.parameters(), keys.secret, name.clone()).finish()),
    }
}

/// What is signed.
fn message(context: Context<'_>) -> Vec<u8> {
    let mut data = context.next.data.clone();
    if let Some(data) = data.as_mut().and_then(Value::as_object_mut) {
        data.insert("proofs", Vec::new());
        if let Some(info) = data.get_mut("revocationInfo").and_then(Value::as_object_mut) {
            info.remove("proof");
        }
    }
    let mut frame: Map = [("ib", Value::from(context.next.ib.as_str()))].into_iter().collect();
    for (name, part) in [("data", &data), ("rel8ns", &context.next.rel8ns)] {
        if let Some(part) = part {
            frame.insert(name, part.clone());
        }
    }
    let demanded = strings(context.demanded.iter().map(String::as_str));
    let whole = object([("claim", context.claim.clone()), ("demanded", demanded), ("frame", frame.into())]);
    [DOMAIN, &canonical_text(&whole)].concat().into_bytes()
}

impl Strategy for Lms {
    fn name(&self) -> &'static str {
        NAME
    }

    fn binds(&self) -> bool {
        true
    }

    fn check_config(&self, config: &PoolConfig) -> Result<(), String> {
        LmsConfig::read(config).map(drop)
    }

    fn fill(&self, config: &PoolConfig, keys: &Keys<'_>, _: &mut dyn Entropy) -> Result<Pool, KeystoneError> {
        let read = LmsConfig::read(config).map_err(KeystoneError::Config)?;
        let name = TreeName { salt: read.salt.clone(), number: 0 };
        let tree = find_tree(keys, &read, &name, None);
        let state = [("tree", Value::from(0u32)), ("next", Value::from(0u32)), ("publicKey", tree.public_key().into())];
        Ok(Pool::new(config, state))
    }

    fn check_full(&self, pool: &Pool) -> Checked {
        let state = State::of(pool)?;
        let wanted = Pool::new(
            pool.config(),
            [("tree", Value::from(0u32)), ("next", Value::from(0u32)), ("publicKey", state.public_key.as_str().into())],
        );
        match wanted.to_value().to_json() == pool.to_value().to_json() {
            true => Ok(()),
            false => Err(ValidateError::new(Rule::Pools, "a pool as lms-v1 begins it", pool.to_value().to_json())),
        }
    }

    fn left(&self, pool: &Pool) -> usize {
        State::of(pool).map_or(0, |state| state.left() as usize)
    }

    fn used(&self, pool: &Pool, _: usize) -> usize {
        State::of(pool).map_or(0, |s| s.tree as usize * s.leaves() as usize + s.next as usize)
    }

    fn demandable(&self, pool: &Pool) -> Vec<String> {
        let Ok(state) = State::of(pool) else { return Vec::new() };
        state.demandable().map(|leaf| state.id(leaf)).collect()
    }

    fn spend(&self, request: &Request<'_>, keys: &Keys<'_>, _: &mut dyn Entropy) -> Result<Spending, KeystoneError> {
        let state = State::of(request.pool).map_err(|why| KeystoneError::Config(why.got))?;
        if state.left() == 0 {
            return Err(KeystoneError::Exhausted(request.verb.to_owned()));
        }
        let demanded = state.demanded(request.demanded)?;
        let from = demanded.unwrap_or(state.next);
        let name = state.tree_name(state.tree);
        let leaf = keys.leaf.filter(|leaf| *leaf.tree() == name).map(Leaf::index);
        let leaf = leaf.ok_or(KeystoneError::LeafNotReserved(from))?;
        if leaf >= state.leaves() {
            return Err(KeystoneError::Exhausted(request.verb.to_owned()));
        }
        if leaf < from || demanded.is_some_and(|demanded| demanded != leaf) {
            return Err(KeystoneError::LeafNotReserved(from));
        }
        let next_name = state.tree_name(state.tree + 1);
        let is_there = keys.trees.iter().any(|tree| *tree.name() == next_name);
        let next = if state.replaces(leaf) && (is_there || leaf + 1 == state.leaves()) {
            let tree = find_tree(keys, &state.config, &next_name, None);
            state.replaced(request.pool, &tree.public_key())
        } else {
            state.after(request.pool, leaf)
        };
        Ok(Spending { ids: vec![state.id(leaf)], next })
    }

    fn solve(
        &self,
        pool: &Pool,
        ids: &[String],
        keys: &Keys<'_>,
        context: Context<'_>,
    ) -> Result<Vec<Solution>, KeystoneError> {
        let state = State::of(pool).map_err(|why| KeystoneError::Config(why.got))?;
        let name = state.tree_name(state.tree);
        let tree = find_tree(keys, &state.config, &name, Some(&state.public_key));
        if tree.public_key() != state.public_key {
            return Err(KeystoneError::WrongSecret);
        }
        let secret = tree::TreeSecret::derive(state.config.parameters(), keys.secret, &name);
        let message = message(context);
        let solve = |id: &String| {
            let leaf = state.leaf(id).ok_or_else(|| KeystoneError::UnknownDemand(id.clone()))?;
            Ok(Solution {
                kind: NAME.to_owned(),
                pool_id: pool.id().to_owned(),
                challenge_id: id.clone(),
                value: STANDARD.encode(secret.sign(&tree, leaf, &message)),
            })
        };
        ids.iter().map(solve).collect()
    }

    fn verify(&self, spent: &Spent<'_>) -> Checked {
        let state = State::of(spent.pool)?;
        // The proof is the only part that is not signed: nothing may hang on it.
        if spent.proof.to_value().to_json() != spent.written.to_json() {
            return Err(ValidateError::new(
                Rule::ProofForm,
                "no other members, in this order",
                spent.written.to_json(),
            ));
        }
        let [solution] = spent.proof.solutions.as_slice() else {
            let count = spent.proof.solutions.len().to_string();
            return Err(ValidateError::new(Rule::Selection, "one leaf", count));
        };
        let id = &solution.challenge_id;
        let Some(leaf) = state.leaf(id) else {
            return Err(ValidateError::new(Rule::Selection, format!("a leaf of tree {}", state.tree), id));
        };
        if leaf < state.next {
            return Err(ValidateError::new(Rule::Spent, format!("leaf {} or a later one", state.next), id));
        }
        if !spent.proof.demanded.is_empty() && spent.proof.demanded != [id.clone()] {
            return Err(ValidateError::new(Rule::Demand, spent.proof.demanded.join(", "), id));
        }
        if let Some(next) = spent.next {
            check_next(&state, spent.pool, next, leaf)?;
        }
        let signature = STANDARD.decode(&solution.value).ok();
        let set = state.config.parameters();
        let holds = signature.is_some_and(|signature| {
            ots::signed_by(set, &signature) == Some(leaf)
                && ots::verify(set, &state.public, &message(spent.context), &signature)
        });
        match holds {
            true => Ok(()),
            false => {
                Err(ValidateError::new(Rule::SolutionWrong, format!("a signature with leaf {id}"), "another value"))
            }
        }
    }
}

/// The next pool: one leaf further, or with the next tree where that may come.
fn check_next(state: &State, pool: &Pool, next: &Value, leaf: u32) -> Checked {
    let got = next.to_json();
    if state.after(pool, leaf).to_value().to_json() == got {
        return Ok(());
    }
    let wrong = |expected: &str| Err(ValidateError::new(Rule::NextPool, expected, got.as_str()));
    if !state.replaces(leaf) {
        return wrong("the leaves up to this one spent");
    }
    let Some(public_key) = next.get("publicKey").and_then(Value::as_str) else { return wrong("a publicKey") };
    let replaced = state.replaced(pool, public_key);
    if replaced.to_value().to_json() != got {
        return wrong("the leaves up to this one spent, or the next tree");
    }
    let next = State::of(&replaced)
        .map_err(|_| ValidateError::new(Rule::NextPool, "a public key as the configuration says", public_key))?;
    // One identifier is one tree: another root under it would let one leaf sign twice.
    if ots::id_of(&next.public) == ots::id_of(&state.public) { wrong("another tree") } else { Ok(()) }
}
