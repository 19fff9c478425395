//! Signatures that stand in no frame: a leaf of a pool over bytes, and trees that live as long as the process that made
//! them.
//!
//! What such a signature is over begins with a domain of its own, so that it is good for no frame, and a frame's for nothing
//! else.

use super::config::Width;
use super::ots::{self, Parameters};
use super::state::State;
use super::tree::{Tree, TreeBuilder, TreeName, TreeSecret};
use super::{Height, Leaf, LmsConfig, NextTree, find_tree};
use crate::error::KeystoneError;
use crate::secret::{Entropy, Secret};
use crate::strategy::{Keys, Pool};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A tree of one-time keys that nobody can make again: its secret is drawn here, is never stored, and goes with the
/// process. So none of its leaves signs twice, whatever is killed, copied or restored. Each signature takes the next leaf;
/// several threads may sign at once.
pub struct TreeSigner {
    set: Parameters,
    secret: TreeSecret,
    tree: Tree,
    next: AtomicU32,
}

impl fmt::Debug for TreeSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeSigner").field("left", &self.left()).finish_non_exhaustive()
    }
}

impl TreeSigner {
    /// Makes a tree of this height, with digits of 8 bits: short signatures, which many peers are sent.
    pub fn make(height: Height, entropy: &mut dyn Entropy) -> Self {
        let (mut secret, mut salt) = (vec![0; 32], [0; 16]);
        entropy.fill(&mut secret);
        entropy.fill(&mut salt);
        let (secret, salt) = (Secret::new(secret), hex::encode(salt));
        let config = LmsConfig {
            salt: salt.clone(),
            allowed_verbs: Vec::new(),
            width: Width::W8,
            height,
            replenish: NextTree::Never,
        };
        let (set, name) = (config.parameters(), TreeName { salt, number: 0 });
        let tree = TreeBuilder::new(set, &secret, name.clone()).finish();
        Self { set, secret: TreeSecret::derive(set, &secret, &name), tree, next: AtomicU32::new(0) }
    }

    /// The public key, in base64.
    pub fn public_key(&self) -> String {
        self.tree.public_key()
    }

    /// How many signatures the whole tree is good for.
    pub fn leaves(&self) -> u32 {
        self.set.leaves()
    }

    /// Leaves that are left.
    pub fn left(&self) -> u32 {
        self.set.leaves().saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Signs with the next leaf, in base64; `None` when none is left.
    pub fn sign(&self, message: &[u8]) -> Option<String> {
        let take = |next: u32| (next < self.set.leaves()).then_some(next + 1);
        let leaf = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(STANDARD.encode(self.secret.sign(&self.tree, leaf, message)))
    }
}

/// Whether a signature is one of the tree with this public key, both in base64. Any of the sets that a
/// [`TreeSigner`] has will do, and no other.
pub fn is_signed_with(public_key: &str, message: &[u8], signature: &str) -> bool {
    let (Ok(public), Ok(signature)) = (STANDARD.decode(public_key), STANDARD.decode(signature)) else { return false };
    let sets = [5, 10].map(|h| Parameters { n: 24, w: 8, h });
    let set = sets.into_iter().find(|set| ots::is_public_key(*set, &public));
    set.is_some_and(|set| ots::verify(set, &public, message, &signature))
}

/// Signs bytes with the leaf of a pool that was set aside. The pool stays as it is: whoever keeps count of the leaves
/// knows that this one is used.
pub(crate) fn sign_apart(pool: &Pool, keys: &Keys<'_>, message: &[u8]) -> Result<String, KeystoneError> {
    let state = State::of(pool).map_err(|why| KeystoneError::Config(why.got))?;
    let name = state.tree_name(state.tree);
    let leaf = keys.leaf.filter(|leaf| *leaf.tree() == name).map(Leaf::index);
    let leaf = leaf.filter(|leaf| *leaf >= state.next && *leaf < state.leaves());
    let leaf = leaf.ok_or(KeystoneError::LeafNotReserved(state.next))?;
    let tree = find_tree(keys, &state.config, &name, Some(&state.public_key));
    if tree.public_key() != state.public_key {
        return Err(KeystoneError::WrongSecret);
    }
    let secret = TreeSecret::derive(state.config.parameters(), keys.secret, &name);
    Ok(STANDARD.encode(secret.sign(&tree, leaf, message)))
}

/// Whether a signature is one of the pool's present tree over these bytes.
pub(crate) fn signed_apart(pool: &Pool, message: &[u8], signature: &str) -> bool {
    let (Ok(state), Ok(signature)) = (State::of(pool), STANDARD.decode(signature)) else { return false };
    ots::verify(state.config.parameters(), &state.public, message, &signature)
}
