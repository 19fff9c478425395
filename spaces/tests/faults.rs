//! What a caller relies on who gets an error from a space and tries again.

mod common;

use common::{born, newest, number, set, step};
use ibgib::{Addr, IbGib, Verified};
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op, When};
use ibgib_spaces::history::advance;
use ibgib_spaces::settle::admit;
use ibgib_spaces::{Advance, Commit, CommitError, Follow, MemorySpace, Space, SpaceError, contract, fsck};
use std::collections::HashSet;
use std::sync::Arc;

fn faulty(plan: FaultPlan) -> FaultSpace {
    FaultSpace::new(Arc::new(MemorySpace::new("inside")), plan)
}

async fn counter(space: &FaultSpace) -> Verified<IbGib> {
    let first = born("counter");
    let commit = step(&**space.inner(), None, &first).await;
    space.inner().commit(commit).await.unwrap();
    first.frame
}

async fn frames(space: &dyn Space, tip: &Addr) -> usize {
    space.reach(std::slice::from_ref(tip), Follow::History, &HashSet::new(), usize::MAX).await.unwrap().len()
}

/// Adds one, as often as it takes: after an error nobody knows whether the commit happened, so the tip is asked.
async fn add_one(space: &dyn Space, tjp: &Addr) {
    let tip = loop {
        if let Ok(tip) = space.tip(tjp).await {
            break tip.unwrap().addr;
        }
    };
    let now = loop {
        if let Ok(mut nodes) = space.get(std::slice::from_ref(&tip)).await {
            break nodes.remove(0).unwrap();
        }
    };
    let next = set(&now, "count", number(&now, "count") + 1);
    let here = MemorySpace::new("proofs need no space when all frames are at hand");
    let at_hand = [now.clone(), next.frame.clone()].map(|n| (n.addr().clone(), n)).into();
    let proof = advance(&here, &at_hand, Some(now.addr()), next.frame.addr()).await.unwrap();
    let tips = vec![Advance::Timeline(proof)];
    let commit = Commit { nodes: next.nodes(), tips, ..Commit::default() };
    loop {
        match space.commit(commit.clone()).await {
            Ok(_) => return,
            Err(CommitError::Space(SpaceError::Io(_))) => {}
            // It did happen, the first time.
            Err(CommitError::TipsMoved(moved)) if moved == [(tjp.clone(), Some(next.frame.addr().clone()))] => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_commit_that_failed_before_it_happened_left_nothing() {
    let space = faulty(FaultPlan::default().nth(Op::Commit, 1, When::Before));
    let first = born("note");
    let commit = step(&space, None, &first).await;
    let failed = space.commit(commit.clone()).await;
    assert!(matches!(failed, Err(CommitError::Space(SpaceError::Io(_)))), "{failed:?}");
    assert_eq!((space.count().await, space.tip(first.frame.addr()).await), (Ok(0), Ok(None)));
    space.commit(commit).await.unwrap();
    assert_eq!(newest(&space, first.frame.addr()).await, first.frame);
    assert_eq!(space.faults(), 1);
}

#[tokio::test]
async fn a_commit_that_failed_after_it_happened_is_recognised_by_its_tip() {
    let space = faulty(FaultPlan::default().nth(Op::Commit, 1, When::After));
    let first = born("note");
    let commit = step(&space, None, &first).await;
    assert!(matches!(space.commit(commit.clone()).await, Err(CommitError::Space(_))));
    let now = vec![(first.frame.addr().clone(), Some(first.frame.addr().clone()))];
    assert_eq!(space.commit(commit).await, Err(CommitError::TipsMoved(now)));
    assert_eq!(space.revision().await, Ok(1));
}

#[tokio::test]
async fn who_retries_counts_right_whatever_fails() {
    for seed in 0..20 {
        let space = faulty(FaultPlan::seeded(seed).one_in(Op::Commit, 2).one_in(Op::Read, 5));
        let first = counter(&space).await;
        for _ in 0..25 {
            add_one(&space, first.addr()).await;
        }
        let last = newest(&**space.inner(), first.addr()).await;
        assert_eq!((number(&last, "count"), last.n()), (25, Some(25)), "seed {seed}");
        assert_eq!(frames(&**space.inner(), last.addr()).await, 26, "seed {seed}");
        assert!(fsck(&**space.inner()).await.unwrap().is_clean());
        assert!(space.faults() > 10, "seed {seed} hardly failed");
    }
}

#[tokio::test]
async fn admitting_again_after_an_unknown_result_adds_nothing_twice() {
    for when in [When::Before, When::After] {
        let space = faulty(FaultPlan::default().nth(Op::Commit, 2, when));
        let first = born("note");
        admit(&space, &first.nodes()).await.unwrap();
        // Edits of one frame by two devices: admitting them makes a merge frame.
        let mut both = set(&first.frame, "mine", true).nodes();
        both.extend(set(&first.frame, "yours", true).nodes());
        assert!(admit(&space, &both).await.is_err());
        admit(&space, &both).await.unwrap();
        let tip = newest(&space, first.frame.addr()).await;
        assert!(tip.datum("mine").is_some() && tip.datum("yours").is_some());
        assert_eq!(frames(&space, tip.addr()).await, 4, "{when:?}: the first, two edits, one merge");
        let count = space.count().await.unwrap();
        assert_eq!(admit(&space, &both).await.unwrap().tips, 0);
        assert_eq!(space.count().await.unwrap(), count);
    }
}

#[tokio::test]
async fn the_same_seed_fails_the_same_calls() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let space = faulty(FaultPlan::seeded(7).one_in(Op::Commit, 3));
        let mut failed = Vec::new();
        for _ in 0..60 {
            failed.push(space.commit(Commit::default()).await.is_err());
        }
        assert_eq!(failed.iter().filter(|f| **f).count() as u64, space.faults());
        // Some of the failed ones happened nevertheless, and some did not.
        let happened = space.revision().await.unwrap();
        assert!(happened > 60 - space.faults() && happened < 60, "{happened} of 60, {} failed", space.faults());
        seen.push(failed);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plan_without_faults_keeps_the_contract() {
    contract::all(async || Arc::new(faulty(FaultPlan::default())) as _).await.unwrap();
}
