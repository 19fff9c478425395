//! What reading a timeline's history costs.

mod common;

use common::{born, set, step};
use ibgib::Verified;
use ibgib::timeline::History;
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
use ibgib_spaces::history::Loader;
use ibgib_spaces::{MemorySpace, Space, Store};
use std::sync::Arc;

const FRAMES: usize = 1_000;

/// A first frame, committed, and frames after it that are only staged.
async fn staged() -> (FaultSpace, Vec<Verified<ibgib::IbGib>>) {
    let space = FaultSpace::new(Arc::new(MemorySpace::new("m")), FaultPlan::default());
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

/// A history starts anew whenever it lacks a frame, so lacking them one by one costs the square of their number. And all of it
/// is read at one moment.
#[tokio::test]
async fn a_staged_history_is_fetched_ahead() {
    let (space, frames) = staged().await;
    let before = space.calls(Op::Read);
    let mut loader = Loader::new(&space, Some("owner"));
    let (from, to) = (frames[0].addr(), frames[FRAMES - 1].addr());
    let advance = loader.advance(Some(from), to).await.unwrap();
    assert_eq!((advance.from(), advance.to()), (Some(from), to));
    let reads = space.calls(Op::Read) - before;
    assert_eq!(reads, 1, "views of the space for {FRAMES} frames");

    // What was let go is found again.
    loader.forget();
    assert_eq!(loader.advance(Some(from), to).await.unwrap(), advance);
}

/// Frames beyond what is kept whole are known by their place alone, until a merge asks for what they say.
#[tokio::test]
async fn branches_of_large_frames_merge_as_small_ones_do() {
    let space = MemorySpace::new("m");
    let first = born("note");
    space.commit(step(&space, None, &first).await).await.unwrap();
    let mut whole = History::new();
    whole.insert(first.frame.clone());
    let mut tips = Vec::new();
    for side in ["a", "b"] {
        let mut last = first.frame.clone();
        for i in 0..24 {
            let made = set(&last, side, format!("{i}{}", "x".repeat(1_000_000)).as_str());
            space.stage("owner", &made.nodes()).await.unwrap();
            whole.insert(made.frame.clone());
            last = made.frame;
        }
        tips.push(last);
    }
    let [x, y] = [tips[0].addr(), tips[1].addr()];
    let mut loader = Loader::new(&space, Some("owner"));
    let joined = loader.join(x, y).await.unwrap();
    assert_eq!(joined, whole.join(x, y).unwrap());
    let merged = joined.nodes.last().unwrap();
    for (tip, side) in tips.iter().zip(["a", "b"]) {
        assert_eq!(merged.datum(side), tip.datum(side));
        assert!(loader.advance(Some(tip.addr()), &joined.tip).await.is_ok());
    }
}
