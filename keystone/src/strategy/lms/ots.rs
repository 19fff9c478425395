//! LM-OTS and LMS with SHA-256, as in RFC 8554 and RFC 9858 (SP 800-208): bytes in, bytes out.
//!
//! The crates there are do not fit: one release candidate knows 32-byte hashes only and draws its keys itself, the other
//! brings a second generation of hash crates; neither lets a caller build a tree in steps and keep it. The tests
//! compare this page with the published vectors.
//!
//! A one-time key is `p` chains of hashes, each 2^w − 1 long. A signature shows one point of every chain, which the
//! message's digits and their checksum select; who verifies walks on to the ends. A leaf of the tree is the hash of
//! the ends, so the tree's root stands for 2^h one-time keys.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a tree's identifier.
pub(super) const ID_BYTES: usize = 16;
/// The longest hash.
const N_MAX: usize = 32;

const D_PBLC: u16 = 0x8080;
const D_MESG: u16 = 0x8181;
const D_LEAF: u16 = 0x8282;
const D_INTR: u16 = 0x8383;

/// A hash of at most 32 bytes; the rest is 0.
pub(super) type Node = [u8; N_MAX];

/// A parameter set: hashes of `n` bytes, digits of `w` bits, 2^`h` leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) n: usize,
    pub(super) w: u32,
    pub(super) h: u32,
}

impl Parameters {
    /// How many leaves.
    pub(super) fn leaves(self) -> u32 {
        1 << self.h
    }

    /// Chains of a one-time key: digits of the message and of the checksum.
    fn chains(self) -> usize {
        self.digits() + self.checksum_digits()
    }

    fn digits(self) -> usize {
        self.n * 8 / self.w as usize
    }

    fn checksum_digits(self) -> usize {
        let max = ((1u32 << self.w) - 1) * self.digits() as u32;
        (max.ilog2() as usize + 1).div_ceil(self.w as usize)
    }

    /// The last point of a chain.
    fn end(self) -> u8 {
        ((1u16 << self.w) - 1) as u8
    }

    /// The number of the LM-OTS set in the registry of RFC 8554 and RFC 9858.
    fn ots_code(self) -> u32 {
        self.w.ilog2() + if self.n == 32 { 1 } else { 5 }
    }

    /// The number of the LMS set in the same registry.
    fn lms_code(self) -> u32 {
        self.h / 5 + if self.n == 32 { 4 } else { 9 }
    }

    /// Bytes of a signature.
    pub(super) fn signature_bytes(self) -> usize {
        4 + 4 + self.n * (1 + self.chains()) + 4 + self.n * self.h as usize
    }
}

/// What sets the one-time key of leaf `q` apart from all others.
#[derive(Clone, Copy)]
struct Key<'a> {
    set: Parameters,
    id: &'a [u8; ID_BYTES],
    q: u32,
}

impl Key<'_> {
    /// A block that holds all of a chain's hash input but the number of the step and the value, padded as SHA-256 pads:
    /// the input is one block, so that each step is one compression.
    fn block(&self, chain: usize) -> [u8; 64] {
        let mut block = [0; 64];
        let bytes = ID_BYTES + 7 + self.set.n;
        block[..ID_BYTES].copy_from_slice(self.id);
        block[16..20].copy_from_slice(&self.q.to_be_bytes());
        block[20..22].copy_from_slice(&(chain as u16).to_be_bytes());
        block[bytes] = 0x80;
        block[56..].copy_from_slice(&(bytes as u64 * 8).to_be_bytes());
        block
    }

    /// The point `to` of a chain from its point `from`.
    fn walk(&self, chain: usize, from: u8, to: u8, value: &mut Node) {
        let n = self.set.n;
        let mut block = Zeroizing::new(self.block(chain));
        for step in from..to {
            block[22] = step;
            block[23..23 + n].copy_from_slice(&value[..n]);
            hash_block(&block, value);
        }
    }

    /// The secret start of a chain (appendix A of RFC 8554).
    fn start(&self, chain: usize, seed: &[u8]) -> Zeroizing<Node> {
        let mut block = Zeroizing::new(self.block(chain));
        block[22] = 0xff;
        block[23..23 + self.set.n].copy_from_slice(seed);
        let mut value = Zeroizing::new([0; N_MAX]);
        hash_block(&block, &mut value);
        value
    }

    fn prefix(&self, kind: u16) -> Sha256 {
        let mut hash = Sha256::new();
        hash.update(self.id);
        hash.update(self.q.to_be_bytes());
        hash.update(kind.to_be_bytes());
        hash
    }

    /// The digits of message and checksum, each the point of a chain.
    fn points(&self, randomizer: &[u8], message: &[u8]) -> Vec<u8> {
        let (set, w) = (self.set, self.set.w);
        let mut hash = self.prefix(D_MESG);
        hash.update(randomizer);
        hash.update(message);
        let hash = hash.finalize();
        let digits = |bytes: &[u8], count: usize| -> Vec<u8> {
            let digit = |i: usize| {
                let bit = i * w as usize;
                (bytes[bit / 8] >> (8 - w as usize - bit % 8)) & set.end()
            };
            (0..count).map(digit).collect()
        };
        let mut points = digits(&hash[..set.n], set.digits());
        let sum: u16 = points.iter().map(|point| u16::from(set.end() - point)).sum();
        let shift = 16 - set.checksum_digits() as u32 * w;
        points.extend(digits(&(sum << shift).to_be_bytes(), set.checksum_digits()));
        points
    }

    /// The hash of the chains' ends.
    fn public(&self, ends: &[Node]) -> Node {
        let mut hash = self.prefix(D_PBLC);
        ends.iter().for_each(|end| hash.update(&end[..self.set.n]));
        cut(hash, self.set.n)
    }
}

/// The 32 bytes of SHA-256 over one block that is padded already.
fn hash_block(block: &[u8; 64], out: &mut Node) {
    // The initial state of FIPS 180-4.
    let mut state =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    compress256(&mut state, std::slice::from_ref(block));
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

fn cut(hash: Sha256, n: usize) -> Node {
    let mut node: Node = hash.finalize().into();
    node[n..].fill(0);
    node
}

/// Leaf `q` of the tree.
pub(super) fn leaf(set: Parameters, id: &[u8; ID_BYTES], seed: &[u8], q: u32) -> Node {
    let key = Key { set, id, q };
    let ends: Vec<Node> = (0..set.chains())
        .map(|chain| {
            let mut value = key.start(chain, seed);
            key.walk(chain, 0, set.end(), &mut value);
            *value
        })
        .collect();
    leaf_of(&key, &key.public(&ends))
}

fn leaf_of(key: &Key<'_>, public: &Node) -> Node {
    let mut hash = Sha256::new();
    hash.update(key.id);
    hash.update((key.set.leaves() + key.q).to_be_bytes());
    hash.update(D_LEAF.to_be_bytes());
    hash.update(&public[..key.set.n]);
    cut(hash, key.set.n)
}

/// Inner node `r` from its children.
pub(super) fn inner(set: Parameters, id: &[u8; ID_BYTES], r: u32, left: &Node, right: &Node) -> Node {
    let mut hash = Sha256::new();
    hash.update(id);
    hash.update(r.to_be_bytes());
    hash.update(D_INTR.to_be_bytes());
    hash.update(&left[..set.n]);
    hash.update(&right[..set.n]);
    cut(hash, set.n)
}

/// The public key: both registry numbers, the identifier, the root.
pub(super) fn public_key(set: Parameters, id: &[u8; ID_BYTES], root: &Node) -> Vec<u8> {
    let codes = [set.lms_code().to_be_bytes(), set.ots_code().to_be_bytes()].concat();
    [codes.as_slice(), id, &root[..set.n]].concat()
}

/// Whether bytes have the form of a public key of this set.
pub(super) fn is_public_key(set: Parameters, bytes: &[u8]) -> bool {
    let codes = [set.lms_code().to_be_bytes(), set.ots_code().to_be_bytes()].concat();
    bytes.len() == 8 + ID_BYTES + set.n && bytes.starts_with(&codes)
}

/// The identifier in a public key; empty in anything shorter.
pub(super) fn id_of(public: &[u8]) -> &[u8] {
    public.get(8..8 + ID_BYTES).unwrap_or_default()
}

/// The randomizer of a signature, from the seed and the leaf: no two messages share one, since no two share a leaf,
/// and the same message signed again on its leaf gives the same signature.
pub(super) fn randomizer(set: Parameters, id: &[u8; ID_BYTES], seed: &[u8], q: u32) -> Node {
    // A number that no chain has, as the reference implementation takes it.
    let mut node = *Key { set, id, q }.start(0xfffd, seed);
    node[set.n..].fill(0);
    node
}

/// Signs with leaf `q`; `path` are the siblings from the leaf up to the root.
pub(super) fn sign(
    set: Parameters,
    id: &[u8; ID_BYTES],
    seed: &[u8],
    q: u32,
    randomizer: &Node,
    path: &[Node],
    message: &[u8],
) -> Vec<u8> {
    let (key, n) = (Key { set, id, q }, set.n);
    let mut out = Vec::with_capacity(set.signature_bytes());
    out.extend(q.to_be_bytes());
    out.extend(set.ots_code().to_be_bytes());
    out.extend(&randomizer[..n]);
    for (chain, point) in key.points(&randomizer[..n], message).into_iter().enumerate() {
        let mut value = key.start(chain, seed);
        key.walk(chain, 0, point, &mut value);
        out.extend(&value[..n]);
    }
    out.extend(set.lms_code().to_be_bytes());
    path.iter().for_each(|node| out.extend(&node[..n]));
    out
}

/// The leaf that a signature is by; `None` for what is no signature of this set or not by a leaf of the tree.
pub(super) fn signed_by(set: Parameters, signature: &[u8]) -> Option<u32> {
    (signature.len() == set.signature_bytes()).then_some(())?;
    let number = |at: usize| Some(u32::from_be_bytes(signature.get(at..at + 4)?.try_into().ok()?));
    let q = number(0).filter(|q| *q < set.leaves())?;
    let codes = (number(4)?, number(8 + set.n * (1 + set.chains()))?);
    (codes == (set.ots_code(), set.lms_code())).then_some(q)
}

/// Whether a signature of the message leads to this public key.
pub(super) fn verify(set: Parameters, public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some(q) = signed_by(set, signature) else { return false };
    let Ok(id) = <&[u8; ID_BYTES]>::try_from(id_of(public)) else { return false };
    let (key, n) = (Key { set, id, q }, set.n);
    let node = |bytes: &[u8]| {
        let mut node = [0; N_MAX];
        node[..n].copy_from_slice(bytes);
        node
    };
    let (randomizer, rest) = signature[8..].split_at(n);
    let (chains, path) = rest.split_at(n * set.chains());
    let points = key.points(randomizer, message);
    let ends: Vec<Node> = (points.into_iter().zip(chains.chunks_exact(n)).enumerate())
        .map(|(chain, (point, value))| {
            let mut value = node(value);
            key.walk(chain, point, set.end(), &mut value);
            value
        })
        .collect();
    let mut at = leaf_of(&key, &key.public(&ends));
    let mut r = set.leaves() + q;
    for sibling in path[4..].chunks_exact(n).map(node) {
        at = if r.is_multiple_of(2) {
            inner(set, id, r / 2, &at, &sibling)
        } else {
            inner(set, id, r / 2, &sibling, &at)
        };
        r /= 2;
    }
    // Nothing here is secret: signature, message and key are all published.
    public_key(set, id, &at) == public
}
