//! The parts that a sync is made of, one by one: `cargo bench -p ibgib-bench --bench parts`. One part: `… -- sign` after it.
//! What they cost in instructions is counted by `instructions`.
//!
//! A node is a document's frame: a title, a text of two paragraphs, and who wrote it.

#![allow(missing_docs, reason = "criterion makes functions without")]

mod common;

use common::{Diverged, Document, Identity, Stored, memory, revised, verify};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ibgib::{IbGib, Mode};
use ibgib_spaces::{Space, durable};
use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    let diverged = Diverged::new();
    c.bench_function("merge two diverged documents", |b| {
        b.iter_batched(|| diverged.history(), |mut history| diverged.merge(&mut history), BatchSize::SmallInput);
    });
}

fn signatures(c: &mut Criterion) {
    let identity = Identity::new();
    let mut group = c.benchmark_group("lms-v1");
    group.bench_function("sign", |b| {
        b.iter_batched(|| identity.opts(), |opts| identity.sign(opts), BatchSize::SmallInput);
    });
    let signed = identity.sign(identity.opts());
    group.bench_function("verify", |b| {
        b.iter_batched(|| identity.chain(), |mut chain| verify(&mut chain, &signed), BatchSize::SmallInput);
    });
    group.finish();
}

fn segment_log(dir: &Path) -> Arc<dyn Space> {
    durable::create(dir).unwrap()
}

fn spaces(c: &mut Criterion) {
    type Make = fn(&Path) -> Arc<dyn Space>;
    for (name, make) in [("memory", memory as Make), ("segment log", segment_log)] {
        let dir = tempfile::tempdir().unwrap();
        let stored = RefCell::new(Stored::new(make(dir.path())));
        let mut group = c.benchmark_group(name);
        group.bench_function("walk a timeline of 1,000 frames", |b| b.iter(|| stored.borrow().walk()));
        group.bench_function("get a node", |b| b.iter(|| stored.borrow_mut().get()));
        for (name, make) in [
            ("put a document", Stored::another_document as fn(&mut Stored) -> _),
            ("commit a revision", Stored::next_revision),
        ] {
            group.bench_function(name, |b| {
                b.iter_batched(
                    || make(&mut stored.borrow_mut()),
                    |commit| stored.borrow().commit(commit),
                    BatchSize::SmallInput,
                );
            });
        }
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
