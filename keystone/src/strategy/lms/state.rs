//! What a pool of `lms-v1` holds: which tree, its public key, and the first leaf that is left.

use super::config::{LmsConfig, NextTree};
use super::ots;
use super::tree::TreeName;
use crate::error::{KeystoneError, Rule, ValidateError};
use crate::strategy::{Pool, PoolConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ibgib::Value;

/// How many of the next leaves a verifier may choose from. What it skips is lost to the pool, so a demand of a later one
/// is not answered: it would use the pool up.
const DEMANDABLE: u32 = 8;

/// A pool's members, read.
pub(super) struct State {
    pub(super) config: LmsConfig,
    /// Number of the tree.
    pub(super) tree: u32,
    /// The first leaf that is left.
    pub(super) next: u32,
    /// The public key in base64, and as bytes.
    pub(super) public_key: String,
    pub(super) public: Vec<u8>,
}

impl State {
    pub(super) fn of(pool: &Pool) -> Result<Self, ValidateError> {
        Self::read(pool.config(), |name| pool.member(name))
    }

    fn read<'a>(config: &PoolConfig, member: impl Fn(&str) -> Option<&'a Value>) -> Result<Self, ValidateError> {
        let bad = |why: &str| ValidateError::new(Rule::Pools, "a pool of lms-v1", why);
        let config = LmsConfig::read(config).map_err(|why| bad(&why))?;
        let number = |name: &str| member(name).and_then(Value::as_u53).and_then(|n| u32::try_from(n).ok());
        let public_key = member("publicKey").and_then(Value::as_str).ok_or_else(|| bad("no publicKey"))?;
        let public = STANDARD.decode(public_key).map_err(|_| bad("a publicKey that is no base64"))?;
        if !ots::is_public_key(config.parameters(), &public) {
            return Err(bad("a publicKey of another form"));
        }
        let state = Self {
            tree: number("tree").ok_or_else(|| bad("no tree"))?,
            next: number("next").ok_or_else(|| bad("no next"))?,
            public_key: public_key.to_owned(),
            public,
            config,
        };
        if state.next > state.leaves() { Err(bad("more leaves used than there are")) } else { Ok(state) }
    }

    pub(super) fn leaves(&self) -> u32 {
        self.config.parameters().leaves()
    }

    pub(super) fn left(&self) -> u32 {
        self.leaves() - self.next
    }

    pub(super) fn tree_name(&self, number: u32) -> TreeName {
        TreeName { salt: self.config.salt.clone(), number }
    }

    pub(super) fn id(&self, leaf: u32) -> String {
        format!("{}.{leaf}", self.tree)
    }

    /// The leaf that a challenge's id names, if it is one of this tree.
    pub(super) fn leaf(&self, id: &str) -> Option<u32> {
        let leaf = id.rsplit_once('.')?.1.parse().ok()?;
        (leaf < self.leaves() && self.id(leaf) == id).then_some(leaf)
    }

    /// The leaves of which a verifier may demand one.
    pub(super) fn demandable(&self) -> std::ops::Range<u32> {
        self.next..self.leaves().min(self.next + DEMANDABLE)
    }

    /// The leaf that the ids demand, which is one at most.
    pub(super) fn demanded(&self, ids: &[String]) -> Result<Option<u32>, KeystoneError> {
        let Some(id) = ids.first() else { return Ok(None) };
        match self.leaf(id).filter(|leaf| ids.len() == 1 && self.demandable().contains(leaf)) {
            Some(leaf) => Ok(Some(leaf)),
            None => Err(KeystoneError::UnknownDemand(ids.last().unwrap_or(id).clone())),
        }
    }

    /// Whether a signature with this leaf may put the next tree into the pool.
    pub(super) fn replaces(&self, leaf: u32) -> bool {
        self.config.replenish == NextTree::Follows && leaf >= self.leaves() - self.leaves() / 8
    }

    /// The pool after a signature with this leaf.
    pub(super) fn after(&self, pool: &Pool, leaf: u32) -> Pool {
        pool.clone().with("next", leaf + 1)
    }

    /// The pool after a signature that puts the next tree into it.
    pub(super) fn replaced(&self, pool: &Pool, public_key: &str) -> Pool {
        pool.clone().with("tree", self.tree + 1).with("next", 0u32).with("publicKey", public_key)
    }
}
