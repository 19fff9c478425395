//! Trees of one-time keys: named by pool and number, built in steps, kept by the caller.

use super::ots::{self, ID_BYTES, Node, Parameters};
use crate::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Which tree: the pool's salt, and how many trees the pool had before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TreeName {
    /// The pool's salt.
    pub salt: String,
    /// 0 for the tree of the genesis, then one more for each that follows.
    pub number: u32,
}

/// What of a tree is secret, and what sets it apart.
pub(super) struct TreeSecret {
    id: [u8; ID_BYTES],
    seed: Zeroizing<Vec<u8>>,
}

impl TreeSecret {
    /// HKDF-SHA256 (RFC 5869) of the master secret with the pool's salt, and info `ibgib lms v1` ‖ what for ‖ number.
    pub(super) fn derive(set: Parameters, secret: &Secret, name: &TreeName) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(name.salt.as_bytes()), secret.as_bytes());
        let expand = |what: &[u8], out: &mut [u8]| {
            let info = [b"ibgib lms v1".as_slice(), what, &name.number.to_be_bytes()].concat();
            hkdf.expand(&info, out).expect("a few bytes are less than the 255 hashes that HKDF can give");
        };
        let (mut id, mut seed) = ([0; ID_BYTES], Zeroizing::new(vec![0; set.n]));
        expand(b" id ", &mut id);
        expand(b" seed ", &mut seed);
        Self { id, seed }
    }

    /// Signs with a leaf of the tree.
    pub(super) fn sign(&self, tree: &Tree, leaf: u32, message: &[u8]) -> Vec<u8> {
        let set = tree.set;
        let randomizer = ots::randomizer(set, &self.id, &self.seed, leaf);
        ots::sign(set, &self.id, &self.seed, leaf, &randomizer, &tree.path(leaf), message)
    }
}

/// A whole tree. Nothing in it is secret: it may be kept beside the frames, so that it is built once.
#[derive(Clone, PartialEq, Eq)]
pub struct Tree {
    name: TreeName,
    set: Parameters,
    id: [u8; ID_BYTES],
    /// Node `r` of RFC 8554 at `r`: the root at 1, the children of `r` at `2r` and `2r + 1`, leaves last.
    nodes: Vec<Node>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("name", &self.name).field("leaves", &self.set.leaves()).finish_non_exhaustive()
    }
}

impl Tree {
    /// Which tree it is.
    pub fn name(&self) -> &TreeName {
        &self.name
    }

    /// The leaves, for keeping them; [`TreeBuilder::resume`] makes the tree of them again in no time.
    pub fn to_bytes(&self) -> Vec<u8> {
        let leaves = &self.nodes[self.set.leaves() as usize..];
        leaves.iter().flat_map(|leaf| &leaf[..self.set.n]).copied().collect()
    }

    /// The public key that the pool shows, in base64.
    pub(super) fn public_key(&self) -> String {
        STANDARD.encode(ots::public_key(self.set, &self.id, &self.nodes[1]))
    }

    fn path(&self, leaf: u32) -> Vec<Node> {
        let first = self.set.leaves() + leaf;
        (0..self.set.h).map(|height| self.nodes[((first >> height) ^ 1) as usize]).collect()
    }
}

/// A tree in the making. Building takes long (the crate's `lms` example measures it), so it is done in steps: in the
/// background, over restarts, beside other work.
pub struct TreeBuilder {
    name: TreeName,
    set: Parameters,
    secret: TreeSecret,
    leaves: Vec<Node>,
}

impl fmt::Debug for TreeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeBuilder")
            .field("name", &self.name)
            .field("leaves", &self.leaves.len())
            .finish_non_exhaustive()
    }
}

impl TreeBuilder {
    pub(super) fn new(set: Parameters, secret: &Secret, name: TreeName) -> Self {
        let secret = TreeSecret::derive(set, secret, &name);
        Self { name, set, secret, leaves: Vec::with_capacity(set.leaves() as usize) }
    }

    /// Takes over what [`TreeBuilder::to_bytes`] or [`Tree::to_bytes`] kept. Bytes that do not fit are left out. Bytes
    /// that were tampered with give another tree, which no pool has: signing then builds its own.
    #[must_use]
    pub fn resume(mut self, kept: &[u8]) -> Self {
        let node = |bytes: &[u8]| {
            let mut node = [0; 32];
            node[..bytes.len()].copy_from_slice(bytes);
            node
        };
        self.leaves = kept.chunks_exact(self.set.n).map(node).take(self.set.leaves() as usize).collect();
        self
    }

    /// The leaves so far, for going on later.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.leaves.iter().flat_map(|leaf| &leaf[..self.set.n]).copied().collect()
    }

    /// Leaves still to be made.
    pub fn left(&self) -> u32 {
        self.set.leaves() - self.leaves.len() as u32
    }

    /// Makes at most this many leaves.
    pub fn step(&mut self, count: u32) {
        let TreeSecret { id, seed } = &self.secret;
        for _ in 0..count.min(self.left()) {
            self.leaves.push(ots::leaf(self.set, id, seed, self.leaves.len() as u32));
        }
    }

    /// The tree, after the leaves that are left.
    pub fn finish(mut self) -> Tree {
        self.step(self.left());
        let first = self.leaves.len();
        let mut nodes = vec![[0; 32]; first];
        nodes.append(&mut self.leaves);
        for r in (1..first).rev() {
            nodes[r] = ots::inner(self.set, &self.secret.id, r as u32, &nodes[2 * r], &nodes[2 * r + 1]);
        }
        Tree { name: self.name, set: self.set, id: self.secret.id, nodes }
    }
}
