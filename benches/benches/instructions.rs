//! The same parts as `parts`, in instructions, which are the same whatever else the machine does:
//! `cargo bench -p ibgib-bench --bench instructions`. It says by how much each has changed since it ran before. It needs
//! Valgrind and, of the same version as `gungraun` in `Cargo.toml`, its runner:
//! `cargo install gungraun-runner --version 0.20.0`. One part: `-- '**hash**'` after it.
//!
//! Each part runs once before it is counted, so that nothing is counted that only the first one does. Valgrind has no
//! instructions for SHA-256: hashing takes several times as many as outside of it.

#![allow(missing_docs, unused_qualifications, reason = "gungraun makes functions with the one and without the other")]

mod common;

use common::{Diverged, Document, Identity, Stored, memory, revised, verify};
use gungraun::prelude::*;
use ibgib::timeline::{History, Joined};
use ibgib::transform::Transformed;
use ibgib::{IbGib, Mode, Verified};
use ibgib_keystone::{Chain, SignOpts, Signed, Step};
use ibgib_spaces::Commit;
use std::hint::black_box;
use std::path::Path;

fn node() -> Verified<IbGib> {
    let node = Document::new(0, 10).tip;
    black_box(node.hash());
    black_box(revised(&node, 0, 10));
    node
}

#[library_benchmark]
#[bench::node(setup = node)]
fn hash(node: Verified<IbGib>) -> (String, Verified<IbGib>) {
    (black_box(&node).hash(), node)
}

fn text() -> String {
    let text = node().to_json();
    black_box(parsed(&text));
    text
}

fn parsed(text: &str) -> Verified<IbGib> {
    IbGib::parse(text, Mode::Strict).unwrap().verify().unwrap()
}

#[library_benchmark]
#[bench::node(setup = text)]
fn parse_and_verify(text: String) -> (Verified<IbGib>, String) {
    (parsed(black_box(&text)), text)
}

#[library_benchmark]
#[bench::node(setup = node)]
fn edit(node: Verified<IbGib>) -> (Transformed, Verified<IbGib>) {
    (revised(black_box(&node), 0, 10), node)
}

fn diverged() -> (Diverged, History) {
    let diverged = Diverged::new();
    black_box(diverged.merge(&mut diverged.history()));
    let history = diverged.history();
    (diverged, history)
}

#[library_benchmark]
#[bench::documents(setup = diverged)]
fn merge((diverged, mut history): (Diverged, History)) -> (Joined, Diverged, History) {
    (diverged.merge(&mut history), diverged, history)
}

fn signs() -> (Identity, SignOpts) {
    let identity = Identity::new();
    black_box(identity.sign(identity.opts()));
    let opts = identity.opts();
    (identity, opts)
}

#[library_benchmark]
#[bench::lms_v1(setup = signs)]
fn sign((identity, opts): (Identity, SignOpts)) -> (Signed, Identity) {
    (identity.sign(opts), identity)
}

fn signed() -> (Chain, Signed) {
    let (identity, opts) = signs();
    let signed = identity.sign(opts);
    black_box(verify(&mut identity.chain(), &signed));
    (identity.chain(), signed)
}

#[library_benchmark]
#[bench::lms_v1(setup = signed)]
fn verify_signature((mut chain, signed): (Chain, Signed)) -> (Step, Chain, Signed) {
    (verify(&mut chain, &signed), chain, signed)
}

/// In memory: one on a disk mostly waits for it, which no instructions tell.
fn stored() -> Stored {
    let mut stored = Stored::new(memory(Path::new("")));
    stored.walk();
    stored.get();
    for make in [Stored::another_document as fn(&mut Stored) -> _, Stored::next_revision] {
        let commit = make(&mut stored);
        stored.commit(commit);
    }
    stored
}

#[library_benchmark]
#[bench::frames(setup = stored)]
fn walk(stored: Stored) -> Stored {
    stored.walk();
    stored
}

#[library_benchmark]
#[bench::node(setup = stored)]
fn get(mut stored: Stored) -> (Verified<IbGib>, Stored) {
    (stored.get(), stored)
}

fn another() -> (Stored, Commit) {
    let mut stored = stored();
    let commit = stored.another_document();
    (stored, commit)
}

fn next() -> (Stored, Commit) {
    let mut stored = stored();
    let commit = stored.next_revision();
    (stored, commit)
}

#[library_benchmark]
#[bench::put_a_document(setup = another)]
#[bench::a_revision(setup = next)]
fn commit((stored, commit): (Stored, Commit)) -> (u64, Stored) {
    (stored.commit(commit), stored)
}

library_benchmark_group!(
    name = parts,
    benchmarks = [hash, parse_and_verify, edit, merge, sign, verify_signature, walk, get, commit]
);

main!(library_benchmark_groups = parts);
