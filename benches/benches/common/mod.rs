//! What the parts are made of, for both benches: documents with a history, an identity that signs, and spaces with documents.
//! Each has what it is measured on ready, so that only the part itself is measured.

use ibgib::timeline::{History, Joined};
use ibgib::transform::{self, ForkOpts, Moment, Transformed};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_keystone::strategy::lms::{Reserved, Tree, TreeName, first_tree};
use ibgib_keystone::{
    Chain, Claim, Entropy, Expect, Secret, SignOpts, Signed, Step, config, genesis_with_trees, need, sign,
};
use ibgib_spaces::{Commit, Follow, MemorySpace, Space, settle};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Frames of the timeline that is walked.
const FRAMES: usize = 1_000;
const NOW_MS: i64 = 1_767_225_600_000;

struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        out.iter_mut().for_each(|byte| {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        });
    }
}

fn moment(document: u64, nth: u64) -> Moment {
    let mut random = [100; 16];
    for (byte, digit) in random.iter_mut().zip(format!("{document:016}").bytes()) {
        *byte += digit - b'0';
    }
    Moment { now_ms: NOW_MS + nth as i64 * 1_000, random }
}

fn content(revision: u64, title: &str, first: &str, last: &str) -> Map {
    let text =
        format!("{first} alpha bravo charlie delta echo foxtrot golf hotel\n\nindia juliet kilo lima mike {last}");
    [
        ("title", Value::from(title)),
        ("revision", Value::integer(revision)),
        ("text", text.into()),
        ("by", "somebody".into()),
    ]
    .into_iter()
    .collect()
}

/// A document with so many revisions: all of its nodes, its frames' addresses among them, and its tip.
pub(crate) struct Document {
    pub(crate) nodes: Vec<Verified<IbGib>>,
    pub(crate) tip: Verified<IbGib>,
}

impl Document {
    pub(crate) fn new(document: u64, revisions: u64) -> Self {
        let source = IbGib::primitive("document").unwrap();
        let made = transform::fork(&source, &ForkOpts::timeline("document"), &moment(document, 0)).unwrap();
        let mut out = Self { nodes: made.nodes(), tip: made.frame };
        for revision in 0..revisions {
            let made = revised(&out.tip, document, revision);
            out.tip = made.frame.clone();
            out.nodes.extend(made.nodes());
        }
        out
    }
}

/// Its next frame.
pub(crate) fn revised(tip: &Verified<IbGib>, document: u64, revision: u64) -> Transformed {
    let new = content(revision, "A title", "first", &format!("revision {revision}"));
    transform::revise(tip, &new, &moment(document, revision + 1)).unwrap().unwrap()
}

/// A document that two have changed, each at another place.
pub(crate) struct Diverged {
    nodes: Vec<Verified<IbGib>>,
    here: Addr,
    there: Addr,
}

impl Diverged {
    pub(crate) fn new() -> Self {
        let document = Document::new(0, 10);
        let change = |nth: u64, title: &str, first: &str, last: &str| {
            let new = content(9, title, first, last);
            transform::revise(&document.tip, &new, &moment(nth, 20)).unwrap().unwrap()
        };
        let (here, there) =
            (change(1, "A title here", "here", "revision 9"), change(2, "A title", "first", "revision 9 there"));
        let (at, other) = (here.frame.addr().clone(), there.frame.addr().clone());
        Self { nodes: [document.nodes, here.nodes(), there.nodes()].concat(), here: at, there: other }
    }

    /// Of which nothing was found out yet: what was is kept in it.
    pub(crate) fn history(&self) -> History {
        let mut history = History::new();
        self.nodes.iter().for_each(|node| history.insert(node.clone()));
        history
    }

    pub(crate) fn merge(&self, history: &mut History) -> Joined {
        let joined = history.join(&self.here, &self.there).unwrap();
        assert_eq!(joined.conflicts, 0);
        joined
    }
}

/// An identity that has signed nothing yet.
pub(crate) struct Identity {
    secret: Secret,
    chain: Chain,
    trees: Vec<Arc<Tree>>,
    salt: String,
    claim: Claim,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let secret = Secret::new(b"thirty-two random bytes, say....".to_vec());
        let salts = config::random_salts(&mut Counter(0));
        let pools = config::binding_identity_pools(&salts);
        let trees: Vec<_> = pools.iter().map(|pool| Arc::new(first_tree(pool, &secret).unwrap().finish())).collect();
        let born = genesis_with_trees(&secret, &pools, &trees, None, None, NOW_MS, &mut Counter(0)).unwrap();
        let claim = Claim { verb: "sync".into(), target: born.frame.addr().to_string(), ..Claim::default() };
        Self { secret, chain: born.chain, trees, salt: salts[0].clone(), claim }
    }

    /// What a signature takes with it.
    pub(crate) fn opts(&self) -> SignOpts {
        let from = need(&self.chain, "sync", &[]).unwrap().unwrap().from;
        let mut reserved = Reserved::open(TreeName { salt: self.salt.clone(), number: 0 }, 0);
        reserved.stored(32);
        SignOpts { leaf: Some(reserved.take(from).unwrap()), trees: self.trees.clone(), ..SignOpts::default() }
    }

    pub(crate) fn sign(&self, opts: SignOpts) -> Signed {
        sign(&self.chain, &self.secret, &self.claim, opts, NOW_MS, &mut Counter(0)).unwrap()
    }

    /// The chain as somebody else knows it before he sees what was signed.
    pub(crate) fn chain(&self) -> Chain {
        self.chain.clone()
    }
}

pub(crate) fn verify(chain: &mut Chain, signed: &Signed) -> Step {
    chain.advance(&signed.frame, &Expect::default()).unwrap()
}

/// A space in which one document has a long timeline, which goes on, and others come.
pub(crate) struct Stored {
    space: Arc<dyn Space>,
    runtime: Runtime,
    addrs: Vec<Addr>,
    first: Addr,
    turn: usize,
    documents: u64,
    tip: Verified<IbGib>,
    revision: u64,
}

pub(crate) fn memory(_: &Path) -> Arc<dyn Space> {
    Arc::new(MemorySpace::new("bench"))
}

impl Stored {
    pub(crate) fn new(space: Arc<dyn Space>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let long = Document::new(0, FRAMES as u64 - 1);
        runtime.block_on(settle::admit(&*space, &long.nodes)).unwrap();
        let addrs = long.nodes.iter().map(|node| node.addr().clone()).collect();
        let (first, revision) = (long.tip.addr().clone(), FRAMES as u64);
        Self { space, runtime, addrs, first, turn: 0, documents: 0, tip: long.tip, revision }
    }

    /// From the frame that was its tip at the beginning.
    pub(crate) fn walk(&self) {
        let nothing = HashSet::new();
        let walk = self.space.reach(std::slice::from_ref(&self.first), Follow::History, &nothing, FRAMES * 2);
        assert_eq!(self.runtime.block_on(walk).unwrap().len(), FRAMES);
    }

    /// One node after the other, in no order.
    pub(crate) fn get(&mut self) -> Verified<IbGib> {
        self.turn = (self.turn + 7_919) % self.addrs.len();
        self.runtime.block_on(self.space.node(&self.addrs[self.turn])).unwrap().unwrap()
    }

    pub(crate) fn another_document(&mut self) -> Commit {
        self.documents += 1;
        Commit { nodes: Document::new(self.documents, 1).nodes, ..Commit::default() }
    }

    pub(crate) fn next_revision(&mut self) -> Commit {
        let made = revised(&self.tip, 0, self.revision);
        let mut history = History::new();
        made.nodes().into_iter().chain([self.tip.clone()]).for_each(|node| history.insert(node));
        let advance = history.advance(Some(self.tip.addr()), made.frame.addr()).unwrap();
        (self.tip, self.revision) = (made.frame.clone(), self.revision + 1);
        Commit { nodes: made.nodes(), tips: vec![advance.into()], ..Commit::default() }
    }

    pub(crate) fn commit(&self, commit: Commit) -> u64 {
        self.runtime.block_on(self.space.commit(commit)).unwrap()
    }
}
