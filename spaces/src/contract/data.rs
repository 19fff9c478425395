//! What the checks commit: stones, timelines, keystones. No clock and no entropy: every run commits the same.

use super::{Found, hold};
use crate::error::CommitError;
use crate::history::{self, Overlay};
use crate::rules::Commit;
use crate::space::Space;
use crate::tip::{Advance, Tip};
use ibgib::transform::{self, ForkOpts, Moment, Mut8Opts, Rel8Opts, Transformed, linked};
use ibgib::{Addr, IbGib, Map, Value, Verified, strings};
use ibgib_keystone::{Entropy, Secret, Signed, config};
use std::sync::atomic::{AtomicI64, Ordering};

pub(super) type Node = Verified<IbGib>;

/// A constant with relation `to`.
pub(super) fn stone(text: &str, to: &[&Addr]) -> Result<Node, Found> {
    let data: Map = [("text", text)].into_iter().collect();
    let mut node = IbGib { ib: "stone".into(), data: Some(data.into()), ..IbGib::default() };
    if !to.is_empty() {
        let to = strings(to.iter().map(|a| a.as_str()));
        node.rel8ns = Some([("to", to)].into_iter().collect::<Map>().into());
    }
    Ok(node.seal()?)
}

/// Another address with the same hash.
pub(super) fn misnamed(addr: &Addr) -> Result<Addr, Found> {
    Ok(Addr::new("misnamed", addr.gib())?)
}

pub(super) fn nodes(nodes: &[&Node]) -> Commit {
    Commit { nodes: nodes.iter().map(|n| (*n).clone()).collect(), ..Commit::default() }
}

/// A moment that no other call gets: two timelines born alike would be one.
fn moment() -> Moment {
    static CALLS: AtomicI64 = AtomicI64::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut random = [7; 16];
    random[..8].copy_from_slice(&calls.to_le_bytes());
    Moment { now_ms: 1_767_225_600_000 + calls, random }
}

/// The first frame of a timeline.
pub(super) fn born(ib: &str) -> Result<Transformed, Found> {
    let opts = ForkOpts::timeline(ib);
    Ok(transform::fork(&IbGib::primitive("root")?, &opts, &moment())?)
}

/// The next frame, with `name` set to `value`.
pub(super) fn set(frame: &Node, name: &str, value: impl Into<Value>) -> Result<Transformed, Found> {
    let patch = Map::from_iter([(name, value.into())]);
    let opts = Mut8Opts { patch: Some(patch), dna: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
    Ok(transform::mut8(frame, &opts, &moment())?)
}

/// The next frame, which relates to `targets`.
pub(super) fn related(frame: &Node, targets: &[&Addr]) -> Result<Transformed, Found> {
    let add = vec![("next".to_owned(), targets.iter().map(|addr| (*addr).clone()).collect())];
    let opts = Rel8Opts { add, dna: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
    Ok(transform::rel8(frame, &opts, &moment())?)
}

/// The next frame, which has these conflicts open, as a merge leaves them.
pub(super) fn in_conflict(frame: &Node, conflicts: &[&Addr]) -> Result<Transformed, Found> {
    let made = set(frame, "seen", conflicts.len() as u32)?;
    let mut node = (*made.frame).clone();
    if let Some(rel8ns) = node.rel8ns.as_mut().and_then(Value::as_object_mut) {
        rel8ns.insert("conflict", strings(conflicts.iter().map(|addr| addr.as_str())));
    }
    Ok(Transformed { frame: node.seal()?, ..made })
}

/// Proves a move to `made`, whose nodes may not be in the space yet.
pub(super) async fn proof(space: &dyn Space, from: Option<&Addr>, made: &Transformed) -> Result<Advance, Found> {
    let overlay: Overlay = made.nodes().into_iter().map(|n| (n.addr().clone(), n)).collect();
    Ok(Advance::Timeline(history::advance(space, &overlay, from, made.frame.addr()).await?))
}

/// The commit that stores `made` and moves the tip to it.
pub(super) async fn step(space: &dyn Space, from: Option<&Addr>, made: &Transformed) -> Result<Commit, Found> {
    let tips = vec![proof(space, from, made).await?];
    Ok(Commit { nodes: made.nodes(), tips, ..Commit::default() })
}

/// A timeline in the space, with `edits` edits; its frames, oldest first.
pub(super) async fn timeline(space: &dyn Space, ib: &str, edits: usize) -> Result<Vec<Node>, Found> {
    let first = born(ib)?;
    space.commit(step(space, None, &first).await?).await?;
    let mut frames = vec![first.frame];
    for i in 0..edits {
        let before = &frames[i];
        let next = set(before, "edit", i as u32)?;
        space.commit(step(space, Some(before.addr()), &next).await?).await?;
        frames.push(next.frame);
    }
    Ok(frames)
}

pub(super) async fn tip_of(space: &dyn Space, tjp: &Addr) -> Result<Tip, Found> {
    space.tip(tjp).await?.ok_or_else(|| Found(format!("{tjp} has no tip")))
}

pub(super) async fn one(space: &dyn Space, addr: &Addr) -> Result<Node, Found> {
    let node = space.node(addr).await?;
    node.ok_or_else(|| Found(format!("{addr} is not there")))
}

pub(super) async fn has(space: &dyn Space, addr: &Addr) -> Result<bool, Found> {
    let answer = space.has(std::slice::from_ref(addr)).await?;
    hold!(answer.len() == 1, "has answered {} times to one question", answer.len());
    Ok(answer[0])
}

/// The error of a commit that has to be refused.
pub(super) async fn refusal(space: &dyn Space, commit: Commit) -> Result<CommitError, Found> {
    match space.commit(commit).await {
        Ok(revision) => Err(Found(format!("a commit that has to be refused became revision {revision}"))),
        Err(error) => Ok(error),
    }
}

/// Counts up; enough for challenges that nobody attacks.
struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

fn secret() -> Secret {
    Secret::new(vec![9; 32])
}

/// An identity's genesis.
pub(super) fn identity() -> Result<Signed, Found> {
    let mut entropy = Counting(1);
    let pools = config::identity_pools(&config::random_salts(&mut entropy));
    Ok(ibgib_keystone::genesis(&secret(), &pools, None, 1_767_225_600_000, &mut entropy)?)
}

/// The identity's last frame.
pub(super) fn revoked(signed: &Signed) -> Result<Signed, Found> {
    let mut entropy = Counting(2);
    Ok(ibgib_keystone::revoke(
        &signed.chain,
        &secret(),
        "lost",
        ibgib_keystone::SignOpts::default(),
        1_767_225_601_000,
        &mut entropy,
    )?)
}
