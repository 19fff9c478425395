//! What reading a timeline's history costs.

mod common;

use common::{born, set, step};
use ibgib::Verified;
use ibgib_spaces::fault::{FaultSpace, Op, Plan};
use ibgib_spaces::history::Loader;
use ibgib_spaces::{MemorySpace, Space};
use std::sync::Arc;

const FRAMES: usize = 1_000;

/// A first frame, committed, and frames after it that are only staged.
async fn staged() -> (FaultSpace, Vec<Verified<ibgib::IbGib>>) {
    let space = FaultSpace::new(Arc::new(MemorySpace::new("m")), Plan::default());
    let first = born("note");
    space.commit(step(&space, None, &first).await).await.unwrap();
    let mut frames = vec![first.frame];
    for i in 1..FRAMES {
        let made = set(&frames[i - 1], "i", i as u32);
        space.stage("owner", &made.nodes()).await.unwrap();
        frames.push(made.frame);
    }
    (space, frames)
}

/// A history starts anew whenever it lacks a frame, so lacking them one by one costs the square of their number.
#[tokio::test]
async fn a_staged_history_is_fetched_ahead() {
    let (space, frames) = staged().await;
    let before = space.calls(Op::Read);
    let mut loader = Loader::new(&space, Some("owner"));
    let (from, to) = (frames[0].addr(), frames[FRAMES - 1].addr());
    let advance = loader.advance(Some(from), to).await.unwrap();
    assert_eq!((advance.from(), advance.to()), (Some(from), to));
    let reads = space.calls(Op::Read) - before;
    assert!(reads < FRAMES as u64 * 3 / 2, "{reads} reads for {FRAMES} frames");

    // What was let go is found again.
    loader.forget();
    assert_eq!(loader.advance(Some(from), to).await.unwrap(), advance);
}
