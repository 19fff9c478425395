//! Tips, and who is told that they moved.

use super::data::{
    born, identity, in_conflict, nodes, one, proof, refusal, related, revoked, set, step, stone, timeline, tip_of,
};
use super::{Found, Held, hold, same};
use crate::error::CommitError;
use crate::leads::{prepare, that_may_have_conflicts, that_may_lead};
use crate::rules::Commit;
use crate::space::Space;
use crate::tip::{Advance, Kind, Tip};
use crate::walk::Follow;
use ibgib::{Addr, IbGib, Value};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Only so that a wait that never ends is told instead of waited for.
const FOR_EVER: Duration = Duration::from_secs(60);

const WRITERS: u64 = 8;
const WINS: u64 = 12;

pub(super) async fn tips_move_by_compare_and_swap(space: Arc<dyn Space>) -> Held {
    let first = born("note")?;
    let (tjp, other) = (first.frame.addr(), born("other")?);
    space.commit(step(&*space, None, &first).await?).await?;
    let tip = tip_of(&*space, tjp).await?;
    same!((&tip.tjp, &tip.addr, tip.n), (tjp, tjp, Some(0)), "the tip of a new timeline");
    let error = refusal(&*space, step(&*space, None, &first).await?).await?;
    same!(error, CommitError::TipsMoved(vec![(tjp.clone(), Some(tjp.clone()))]), "why nothing is born twice");

    let (mine, yours) = (set(&first.frame, "by", "me")?, set(&first.frame, "by", "you")?);
    let (mine_step, mut yours_step) = (step(&*space, Some(tjp), &mine).await?, step(&*space, Some(tjp), &yours).await?);
    space.commit(mine_step).await?;
    // The refusal names every timeline whose tip is not where its proof starts, and none whose tip is.
    let never = set(&other.frame, "by", "you")?;
    yours_step.nodes.extend(other.nodes().into_iter().chain(never.nodes()));
    let overlay = yours_step.nodes.iter().map(|n| (n.addr().clone(), n.clone())).collect();
    let advance = crate::history::advance(&*space, &overlay, Some(other.frame.addr()), never.frame.addr()).await?;
    yours_step.tips.push(Advance::Timeline(advance));
    let third = born("third")?;
    yours_step.nodes.extend(third.nodes());
    yours_step.tips.push(proof(&*space, None, &third).await?);
    let error = refusal(&*space, yours_step).await?;
    let CommitError::TipsMoved(mut moved) = error else { return Err(Found(format!("not TipsMoved: {error:?}"))) };
    moved.sort();
    let mut expected = vec![(tjp.clone(), Some(mine.frame.addr().clone())), (other.frame.addr().clone(), None)];
    expected.sort();
    same!(moved, expected, "the timelines that moved, with their present tips");
    let tip = tip_of(&*space, tjp).await?;
    same!((&tip.addr, tip.n), (mine.frame.addr(), Some(1)), "the tip after the race");
    Ok(())
}

pub(super) async fn a_tip_moves_once_and_to_what_is_there(space: Arc<dyn Space>) -> Held {
    let first = born("note")?;
    let mut commit = step(&*space, None, &first).await?;
    commit.nodes.clear();
    let error = refusal(&*space, commit.clone()).await?;
    hold!(matches!(&error, CommitError::Refused { tjp, .. } if tjp == first.frame.addr()), "no node, but {error:?}");
    same!(space.tip(first.frame.addr()).await?, None, "a tip whose node is not there");
    commit.nodes = first.nodes();
    commit.tips.push(commit.tips[0].clone());
    let error = refusal(&*space, commit.clone()).await?;
    hold!(matches!(error, CommitError::Refused { .. }), "one timeline moved twice: {error:?}");
    // The node may have come before.
    commit.tips.clear();
    space.commit(commit).await?;
    same!(space.tip(first.frame.addr()).await?, None, "a tip that nobody moved");
    let tips = vec![proof(&*space, None, &first).await?];
    space.commit(Commit { tips, ..Commit::default() }).await?;
    same!(tip_of(&*space, first.frame.addr()).await?.n, Some(0), "the number of a tip whose node came before");
    Ok(())
}

/// What the counter shows; 0 before its first increment.
fn count_of(frame: &IbGib) -> f64 {
    frame.datum("count").and_then(Value::as_f64).unwrap_or(0.0)
}

/// Reads the counter's tip, adds one, tries to commit, and starts again when somebody was faster; `wins` times.
async fn increment(space: &dyn Space, tjp: &Addr, wins: u64) -> Result<u64, Found> {
    let mut won = 0;
    while won < wins {
        let now = one(space, &tip_of(space, tjp).await?.addr).await?;
        let next = set(&now, "count", Value::Number(count_of(&now) + 1.0))?;
        match space.commit(step(space, Some(now.addr()), &next).await?).await {
            Ok(_) => won += 1,
            Err(CommitError::TipsMoved(moved)) => {
                let others = matches!(moved.as_slice(), [(t, Some(addr))] if t == tjp && addr != now.addr());
                hold!(others, "a loser is told {moved:?}");
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(won)
}

/// Looks at the tip and its graph until the counter is full.
async fn watch(space: &dyn Space, tjp: &Addr) -> Held {
    let mut before = 0;
    while before < WRITERS * WINS {
        let tip = tip_of(space, tjp).await?;
        let n = tip.n.ok_or_else(|| Found("the tip has no number".into()))?;
        hold!(n >= before, "the tip went back from {before} to {n}");
        let graph = space.reach(std::slice::from_ref(&tip.addr), Follow::All, &HashSet::new(), usize::MAX).await?;
        hold!(graph.last() == Some(&tip.addr), "the graph of {} ends with {:?}", tip.addr, graph.last());
        before = n;
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(super) async fn racing_writers_lose_nothing(space: Arc<dyn Space>) -> Held {
    let counter = timeline(&*space, "counter", 0).await?.remove(0);
    let revision = space.revision().await?;
    let reader = tokio::spawn({
        let (space, tjp) = (Arc::clone(&space), counter.addr().clone());
        async move { watch(&*space, &tjp).await }
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (space, tjp) = (Arc::clone(&space), counter.addr().clone());
            tokio::spawn(async move { increment(&*space, &tjp, WINS).await })
        })
        .collect();
    let mut wins = 0;
    for writer in writers {
        wins += writer.await??;
    }
    let tip = tip_of(&*space, counter.addr()).await?;
    let newest = one(&*space, &tip.addr).await?;
    same!(count_of(&newest), wins as f64, "the counter beside the number of wins");
    same!(tip.n, Some(wins), "the tip's number beside the number of wins");
    let frames = space.reach(&[tip.addr], Follow::History, &HashSet::new(), usize::MAX).await?;
    same!(frames.len() as u64, wins + 1, "the frames of the counter");
    same!(space.revision().await?, revision + wins, "the revision, which lost races leave as it is");
    reader.await?
}

pub(super) async fn writers_of_different_timelines_all_win(space: Arc<dyn Space>) -> Held {
    const ROUNDS: usize = 25;
    for _ in 0..ROUNDS {
        let before = space.revision().await?;
        let mut writers = Vec::new();
        for i in 0..WRITERS {
            let first = born(&format!("writer {i}"))?;
            let commit = step(&*space, None, &first).await?;
            let space = Arc::clone(&space);
            writers.push(tokio::spawn(async move { space.commit(commit).await }));
        }
        let mut revisions = Vec::new();
        for writer in writers {
            revisions.push(writer.await??);
        }
        revisions.sort_unstable();
        let expected: Vec<u64> = (before + 1..=before + WRITERS).collect();
        same!(revisions, expected, "the revisions of commits side by side");
        // Who waits for the last of them must not wait for ever.
        let last = tokio::time::timeout(FOR_EVER, space.changed(before + WRITERS - 1)).await;
        same!(last.map_err(|_| Found("a commit was not told".into()))??, before + WRITERS, "the newest revision");
    }
    let tips = space.tips(None).await?.len() as u64;
    same!(tips, WRITERS * ROUNDS as u64, "how many timelines there are");
    Ok(())
}

pub(super) async fn tips_are_sorted_and_of_a_kind(space: Arc<dyn Space>) -> Held {
    let mut living = Vec::new();
    for ib in ["zebra", "Ant", "sagas", "mouse 2", "mouse 10", "keystones of mine", "é"] {
        living.push(timeline(&*space, ib, 1).await?.remove(0).addr().clone());
    }
    let saga = timeline(&*space, "saga 1", 0).await?.remove(0).addr().clone();
    let signed = identity()?;
    let tips = vec![Advance::Keystone(signed.step)];
    space.commit(Commit { nodes: vec![signed.frame.clone()], tips, ..Commit::default() }).await?;
    let keystone = signed.frame.addr().clone();
    living.sort_unstable();
    let mut all = living.clone();
    all.extend([saga.clone(), keystone.clone()]);
    all.sort_unstable();
    let kinds = [
        (None, all),
        (Some(Kind::Living), living),
        (Some(Kind::Saga), vec![saga]),
        (Some(Kind::Keystone), vec![keystone]),
    ];
    for (kind, expected) in kinds {
        let tips = space.tips(kind).await?;
        let tjps: Vec<Addr> = tips.iter().map(|t| t.tjp.clone()).collect();
        same!(tjps, expected, "timelines of a kind, sorted");
        for tip in tips {
            same!(tip.kind, Kind::of(&tip.tjp), "the kind of a timeline");
            same!(space.tip(&tip.tjp).await?, Some(tip), "a tip, beside the list of tips");
        }
    }
    Ok(())
}

pub(super) async fn keystones_move_by_validated_steps(space: Arc<dyn Space>) -> Held {
    let genesis = identity()?;
    let last = revoked(&genesis)?;
    let (tjp, frame) = (genesis.frame.addr().clone(), genesis.frame.clone());
    // The ancestry check alone proves too little: anybody can write a frame after somebody's frame.
    let overlay = [&genesis.frame, &last.frame].map(|f| (f.addr().clone(), f.clone())).into();
    let born = crate::history::advance(&*space, &overlay, None, &tjp).await?;
    let unsigned = Commit { tips: vec![Advance::Timeline(born)], ..nodes(&[&frame]) };
    let error = refusal(&*space, unsigned).await?;
    hold!(matches!(error, CommitError::Refused { .. }), "a keystone is born without a validated step: {error:?}");
    space.commit(Commit { tips: vec![Advance::Keystone(genesis.step)], ..nodes(&[&frame]) }).await?;
    let moved = crate::history::advance(&*space, &overlay, Some(&tjp), last.frame.addr()).await?;
    let unsigned = Commit { tips: vec![Advance::Timeline(moved)], ..nodes(&[&last.frame]) };
    let error = refusal(&*space, unsigned).await?;
    hold!(matches!(error, CommitError::Refused { .. }), "a keystone moved without a validated step: {error:?}");
    same!(tip_of(&*space, &tjp).await?.addr, tjp, "the tip after refusals");
    let signed = Commit { tips: vec![Advance::Keystone(last.step)], ..nodes(&[&last.frame]) };
    space.commit(signed.clone()).await?;
    let tip = tip_of(&*space, &tjp).await?;
    same!((tip.addr, tip.kind), (last.frame.addr().clone(), Kind::Keystone), "the tip after a validated step");
    let error = refusal(&*space, signed).await?;
    let now = vec![(tjp, Some(last.frame.addr().clone()))];
    same!(error, CommitError::TipsMoved(now), "why a step is taken once");
    Ok(())
}

pub(super) async fn changes_are_the_present_tips(space: Arc<dyn Space>) -> Held {
    let (zebra, ant) = (timeline(&*space, "zebra", 0).await?.remove(0), timeline(&*space, "ant", 0).await?.remove(0));
    let before = space.revision().await?;
    same!(space.changes(before).await?.tips, [], "changes since now");
    let mut frame = zebra;
    for i in 0..3 {
        let next = set(&frame, "i", i)?;
        space.commit(step(&*space, Some(frame.addr()), &next).await?).await?;
        frame = next.frame;
    }
    let between = space.revision().await?;
    let next = set(&ant, "i", 0)?;
    space.commit(step(&*space, Some(ant.addr()), &next).await?).await?;
    space.commit(nodes(&[&stone("no tip moved", &[])?])).await?;
    let now = space.revision().await?;
    let all = space.tips(None).await?;
    for since in [0, before] {
        let changes = space.changes(since).await?;
        same!(changes.tips, all, "changes: each tip once, at its present value, sorted");
        same!((changes.revision, changes.lagged), (now, false), "the revision of changes");
    }
    same!(space.changes(between).await?.tips, all[..1], "changes since the first timeline was left alone");
    same!(space.changes(now).await?.tips, [], "changes since now");
    let future = space.changes(now + 5).await?;
    hold!(future.lagged, "a revision that the space never had is not told as lagged");
    hold!(space.changes(u64::MAX).await?.lagged, "the highest revision is not told as lagged");
    Ok(())
}

pub(super) async fn waiting_for_a_change_ends_with_it(space: Arc<dyn Space>) -> Held {
    let late = |_| Found("changed did not answer".into());
    let before = space.revision().await?;
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let space = Arc::clone(&space);
            tokio::spawn(async move { tokio::time::timeout(FOR_EVER, space.changed(before)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let node = stone("news", &[])?;
    let revision = space.commit(nodes(&[&node])).await?;
    for waiter in waiters {
        same!(waiter.await?.map_err(late)??, revision, "the revision that a waiter is told");
    }
    let at_once = tokio::time::timeout(FOR_EVER, space.changed(before)).await;
    same!(at_once.map_err(late)??, revision, "the revision that somebody late is told");
    // Nothing newer yet: the wait does not end by itself.
    let pending = tokio::time::timeout(Duration::from_millis(20), space.changed(revision)).await;
    hold!(pending.is_err(), "changed answered without a change: {pending:?}");
    Ok(())
}

pub(super) async fn tips_that_lead_elsewhere_are_known(space: Arc<dyn Space>) -> Held {
    let before = timeline(&*space, "before", 1).await?;
    let tips = space.tips(Some(Kind::Living)).await?;
    let all: Vec<&Tip> = tips.iter().collect();
    same!(that_may_lead(&*space, &all).await?, None, "what is known of a space that nobody looked through");
    prepare(&*space).await?;
    same!(that_may_lead(&*space, &all).await?, Some(vec![]), "which of the tips of before lead elsewhere");

    // One leads to another timeline's first frame, one to a later frame, two to constants that come along.
    let (direct, staged) = (stone("direct", &[])?, stone("staged", &[])?);
    space.stage("area", std::slice::from_ref(&staged)).await?;
    let along = Commit { nodes: vec![direct.clone()], ..Commit::default() };
    let published = Commit { publish: Some(("area".to_owned(), vec![staged.addr().clone()])), ..Commit::default() };
    let mut lead = Vec::new();
    for (target, with, leads) in [
        (before[0].addr(), Commit::default(), true),
        (before[1].addr(), Commit::default(), true),
        (direct.addr(), along, false),
        (staged.addr(), published, false),
    ] {
        let first = born("note")?;
        let (tjp, second) = (first.frame.addr(), related(&first.frame, &[target])?);
        space.commit(step(&*space, None, &first).await?).await?;
        let tips = vec![proof(&*space, Some(tjp), &second).await?];
        space.commit(Commit { nodes: [with.nodes, second.nodes()].concat(), tips, ..with }).await?;
        if leads {
            lead.push(tjp.clone());
        }
    }
    lead.sort_unstable();
    let tips = space.tips(Some(Kind::Living)).await?;
    let all: Vec<&Tip> = tips.iter().collect();
    let found = async || -> Result<Option<Vec<Addr>>, Found> {
        let found = that_may_lead(&*space, &all).await?;
        Ok(found.map(|tips| tips.into_iter().map(|tip| tip.tjp.clone()).collect()))
    };
    same!(found().await?, Some(lead.clone()), "which tips lead elsewhere");
    // As if the space were one of before there were such records.
    let records = space.records("leads").await?.into_iter().map(|(key, _)| (key, None)).collect();
    space.commit(Commit { records, ..Commit::default() }).await?;
    same!(found().await?, None, "what is known without a record");
    prepare(&*space).await?;
    same!(found().await?, Some(lead), "which tips lead elsewhere, looked through");
    Ok(())
}

pub(super) async fn tips_with_open_conflicts_are_known(space: Arc<dyn Space>) -> Held {
    let found = async || -> Result<Option<Vec<Addr>>, Found> {
        let found = that_may_have_conflicts(&*space).await?;
        Ok(found.map(|tips| tips.into_iter().map(|tip| tip.addr).collect()))
    };
    let (conflict, other) = (stone("conflict", &[])?, timeline(&*space, "other", 1).await?);
    space.commit(nodes(&[&conflict])).await?;
    let first = born("note")?;
    let open = in_conflict(&first.frame, &[conflict.addr()])?;
    space.commit(step(&*space, None, &first).await?).await?;
    space.commit(step(&*space, Some(first.frame.addr()), &open).await?).await?;
    same!(found().await?, None, "which tips have conflicts in a space that nobody looked through");
    prepare(&*space).await?;
    same!(found().await?, Some(vec![open.frame.addr().clone()]), "which tips of before have conflicts");
    let leads = related(&open.frame, &[other[0].addr()])?;
    space.commit(step(&*space, Some(open.frame.addr()), &leads).await?).await?;
    same!(found().await?, Some(vec![leads.frame.addr().clone()]), "which tips have conflicts that lead elsewhere, too");
    let closed = in_conflict(&leads.frame, &[])?;
    space.commit(step(&*space, Some(leads.frame.addr()), &closed).await?).await?;
    same!(found().await?, Some(vec![]), "which tips have conflicts once the only one is settled");
    let again = in_conflict(&closed.frame, &[conflict.addr()])?;
    space.commit(step(&*space, Some(closed.frame.addr()), &again).await?).await?;
    same!(found().await?, Some(vec![again.frame.addr().clone()]), "which tips have conflicts again");
    // As an earlier version has kept it, which told nothing but that there may be something.
    let marks = space.records("leads/").await?.into_iter().map(|(key, _)| (key, Some(Vec::new()))).collect();
    space.commit(Commit { records: marks, ..Commit::default() }).await?;
    same!(found().await?, Some(vec![again.frame.addr().clone()]), "which tips may have conflicts by an earlier record");
    Ok(())
}
