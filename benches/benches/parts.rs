//! The parts that a sync is made of, one by one: `cargo bench -p ibgib-bench`. One part: `cargo bench -p ibgib-bench -- sign`.
//!
//! A node is a document's frame: a title, a text of two paragraphs, and who wrote it.

#![allow(missing_docs, reason = "criterion makes functions without")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ibgib::timeline::History;
use ibgib::transform::{self, ForkOpts, Moment};
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use ibgib_keystone::strategy::lms::{Reserved, TreeName, first_tree};
use ibgib_keystone::{Chain, Claim, Entropy, Expect, Secret, SignOpts, config, genesis_with_trees, need, sign};
use ibgib_spaces::{Commit, Follow, MemorySpace, Space, durable, settle};
use std::collections::HashSet;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

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
struct Document {
    nodes: Vec<Verified<IbGib>>,
    tip: Verified<IbGib>,
}

impl Document {
    fn new(document: u64, revisions: u64) -> Self {
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

fn revised(tip: &Verified<IbGib>, document: u64, revision: u64) -> transform::Transformed {
    let new = content(revision, "A title", "first", &format!("revision {revision}"));
    transform::revise(tip, &new, &moment(document, revision + 1)).unwrap().unwrap()
}

fn nodes(c: &mut Criterion) {
    let document = Document::new(0, 10);
    let (node, text) = (&document.tip, document.tip.to_json());
    let mut group = c.benchmark_group("node");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("hash", |b| b.iter(|| black_box(node).hash()));
    group.bench_function("parse and verify", |b| {
        b.iter(|| IbGib::parse(black_box(&text), Mode::Strict).unwrap().verify().unwrap());
    });
    group.finish();
    c.bench_function("an edit makes a frame", |b| b.iter(|| revised(black_box(node), 0, 10)));
}

fn merges(c: &mut Criterion) {
    let document = Document::new(0, 10);
    let change = |nth: u64, title: &str, first: &str, last: &str| {
        let new = content(9, title, first, last);
        transform::revise(&document.tip, &new, &moment(nth, 20)).unwrap().unwrap()
    };
    let (here, there) =
        (change(1, "A title here", "here", "revision 9"), change(2, "A title", "first", "revision 9 there"));
    let all: Vec<_> = [document.nodes.clone(), here.nodes(), there.nodes()].concat();
    // What was found out about a history is kept: each time a new one.
    let history = || {
        let mut history = History::new();
        all.iter().for_each(|node| history.insert(node.clone()));
        history
    };
    c.bench_function("merge two diverged documents", |b| {
        b.iter_batched(
            history,
            |mut history| {
                let joined = history.join(here.frame.addr(), there.frame.addr()).unwrap();
                assert_eq!(joined.conflicts, 0);
                joined
            },
            BatchSize::SmallInput,
        );
    });
}

fn signatures(c: &mut Criterion) {
    let secret = Secret::new(b"thirty-two random bytes, say....".to_vec());
    let salts = config::random_salts(&mut Counter(0));
    let pools = config::binding_identity_pools(&salts);
    let trees: Vec<_> = pools.iter().map(|pool| Arc::new(first_tree(pool, &secret).unwrap().finish())).collect();
    let born = genesis_with_trees(&secret, &pools, &trees, None, None, NOW_MS, &mut Counter(0)).unwrap();
    let claim = Claim { verb: "sync".into(), target: born.frame.addr().to_string(), ..Claim::default() };
    let opts = || {
        let from = need(&born.chain, "sync", &[]).unwrap().unwrap().from;
        let mut reserved = Reserved::open(TreeName { salt: salts[0].clone(), number: 0 }, 0);
        reserved.stored(32);
        SignOpts { leaf: Some(reserved.take(from).unwrap()), trees: trees.clone(), ..SignOpts::default() }
    };
    let signs = |opts| sign(&born.chain, &secret, &claim, opts, NOW_MS, &mut Counter(0)).unwrap();
    let mut group = c.benchmark_group("lms-v1");
    group.bench_function("sign", |b| b.iter_batched(opts, signs, BatchSize::SmallInput));
    let signed = signs(opts());
    let chain = Chain::from_genesis(born.frame.clone()).unwrap().0;
    group.bench_function("verify", |b| {
        b.iter_batched(
            || chain.clone(),
            |mut chain| chain.advance(&signed.frame, &Expect::default()).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn memory(_: &Path) -> Arc<dyn Space> {
    Arc::new(MemorySpace::new("bench"))
}

fn segment_log(dir: &Path) -> Arc<dyn Space> {
    durable::create(dir).unwrap()
}

fn spaces(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    type Make = fn(&Path) -> Arc<dyn Space>;
    for (name, make) in [("memory", memory as Make), ("segment log", segment_log)] {
        let dir = tempfile::tempdir().unwrap();
        let space = make(dir.path());
        let long = Document::new(0, FRAMES as u64 - 1);
        runtime.block_on(settle::admit(&*space, &long.nodes)).unwrap();
        let mut group = c.benchmark_group(name);

        let (tip, nothing) = ([long.tip.addr().clone()], HashSet::new());
        group.bench_function("walk a timeline of 1,000 frames", |b| {
            b.iter(|| {
                let walk = space.reach(&tip, Follow::History, &nothing, FRAMES * 2);
                assert_eq!(runtime.block_on(walk).unwrap().len(), FRAMES);
            });
        });

        let addrs: Vec<Addr> = long.nodes.iter().map(|node| node.addr().clone()).collect();
        let mut turn = 0;
        group.bench_function("get a node", |b| {
            b.iter(|| {
                turn = (turn + 7_919) % addrs.len();
                runtime.block_on(space.node(&addrs[turn])).unwrap().unwrap()
            });
        });

        let mut documents = 1..;
        group.bench_function("put a document", |b| {
            b.iter_batched(
                || Document::new(documents.next().unwrap(), 1).nodes,
                |nodes| {
                    let commit = Commit { nodes, ..Commit::default() };
                    runtime.block_on(space.commit(commit)).unwrap()
                },
                BatchSize::SmallInput,
            );
        });

        // One timeline that goes on.
        let mut tip = long.tip.clone();
        let mut revision = FRAMES as u64;
        group.bench_function("commit a revision", |b| {
            b.iter_batched(
                || {
                    let made = revised(&tip, 0, revision);
                    let mut history = History::new();
                    made.nodes().into_iter().chain([tip.clone()]).for_each(|node| history.insert(node));
                    let advance = history.advance(Some(tip.addr()), made.frame.addr()).unwrap();
                    (tip, revision) = (made.frame.clone(), revision + 1);
                    Commit { nodes: made.nodes(), tips: vec![advance.into()], ..Commit::default() }
                },
                |commit| runtime.block_on(space.commit(commit)).unwrap(),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

/// Many short samples: what else the machine does falls into a few of them and leaves their median as it is.
fn short() -> Criterion {
    Criterion::default()
        .sample_size(300)
        .nresamples(1_000)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = parts;
    config = short();
    targets = nodes, merges, signatures, spaces
}
criterion_main!(parts);
