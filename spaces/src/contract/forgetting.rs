//! Timelines that end, and what keeps them.

use super::data::{born, has, identity, nodes, refusal, revoked, set, step, stone, timeline, tip_of};
use super::{Held, hold, same};
use crate::error::CommitError;
use crate::forget::{Forget, prepare};
use crate::rules::Commit;
use crate::space::Space;
use crate::tip::Advance;
use ibgib::{Addr, IbGib};
use std::sync::Arc;

/// Timelines that end while somebody wants to relate to them.
const RACES: usize = 12;

fn forget(timelines: &[(&Addr, &Addr)]) -> Commit {
    let forget =
        timelines.iter().map(|(tjp, tip)| Forget { tjp: (*tjp).clone(), tip: (*tip).clone(), beside: Vec::new() });
    Commit { forget: forget.collect(), ..Commit::default() }
}

pub(super) async fn what_is_forgotten_is_gone(space: Arc<dyn Space>) -> Held {
    prepare(&*space, |_| ()).await?;
    let (saga, note) = (timeline(&*space, "saga 1", 2).await?, timeline(&*space, "note", 1).await?);
    let (genesis, other) = (identity()?, timeline(&*space, "saga 2", 0).await?);
    let last = revoked(&genesis)?;
    for (frame, step) in [(&genesis.frame, genesis.step), (&last.frame, last.step)] {
        space.commit(Commit { tips: vec![Advance::Keystone(step)], ..nodes(&[frame]) }).await?;
    }
    let (count, revision) = (space.count().await?, space.revision().await?);
    let (tjp, tip) = (saga[0].addr(), saga[2].addr());
    let (keystone, newest) = (genesis.frame.addr(), last.frame.addr());

    // Whoever forgets has to know where it is, and only what is over is forgotten.
    let error = refusal(&*space, forget(&[(keystone, newest), (tjp, saga[1].addr())])).await?;
    same!(error, CommitError::TipsMoved(vec![(tjp.clone(), Some(tip.clone()))]), "why an older tip is not forgotten");
    for (tjp, tip) in [(note[0].addr(), note[1].addr()), (tjp, note[1].addr())] {
        let error = space.commit(forget(&[(tjp, tip)])).await.err();
        hold!(error.is_some(), "a living timeline was forgotten, or a saga by its tip");
    }
    let along = Commit { nodes: vec![stone("along", &[])?], ..forget(&[(tjp, tip)]) };
    let error = refusal(&*space, along).await?;
    hold!(matches!(error, CommitError::Refused { .. }), "nodes came along with what is forgotten: {error:?}");
    same!(space.revision().await?, revision, "the revision after refusals");

    let mut commit = forget(&[(tjp, tip), (keystone, newest)]);
    commit.records = vec![("over".into(), Some(b"1".to_vec()))];
    same!(space.commit(commit).await?, revision + 1, "the revision of a commit that forgets");
    for frame in saga.iter().chain([&genesis.frame, &last.frame]) {
        hold!(!has(&*space, frame.addr()).await?, "{} is still there", frame.addr());
        same!(space.node(frame.addr()).await?, None, "a node that was forgotten");
    }
    same!(space.count().await?, count - 5, "the nodes that are left");
    same!(space.record("over").await?, Some(b"1".to_vec()), "the record that came along");
    for gone in [tjp, keystone] {
        same!(space.tip(gone).await?, None, "the tip of a timeline that was forgotten");
    }
    let mut left = vec![note[0].addr().clone(), other[0].addr().clone()];
    left.sort_unstable();
    for tips in [space.tips(None).await?, space.changes(0).await?.tips] {
        same!(tips.into_iter().map(|tip| tip.tjp).collect::<Vec<_>>(), left, "the timelines that are left");
    }
    same!(space.changes(revision).await?.tips, [], "what moved when something was forgotten");
    hold!(has(&*space, note[1].addr()).await?, "what was not forgotten is gone");
    hold!(crate::fsck(&*space).await?.is_clean(), "something is missing");
    let error = refusal(&*space, forget(&[(tjp, tip)])).await?;
    same!(error, CommitError::TipsMoved(vec![(tjp.clone(), None)]), "why nothing is forgotten twice");

    // What is gone may come again, and what relates to it does not come without it.
    let above = stone("above", &[keystone])?;
    let error = refusal(&*space, nodes(&[&above])).await?;
    hold!(matches!(error, CommitError::Missing { .. }), "what relates to what is gone came: {error:?}");
    space.commit(nodes(&[&genesis.frame, &above])).await?;
    hold!(has(&*space, above.addr()).await?, "what came again is not there");
    Ok(())
}

pub(super) async fn what_is_held_is_not_forgotten(space: Arc<dyn Space>) -> Held {
    prepare(&*space, |_| ()).await?;
    let saga = timeline(&*space, "saga 1", 2).await?;
    let (tjp, tip) = (saga[0].addr(), saga[2].addr());
    space.commit(nodes(&[&stone("about it", &[saga[1].addr()])?])).await?;
    let error = refusal(&*space, forget(&[(tjp, tip)])).await?;
    hold!(
        matches!(&error, CommitError::Refused { tjp: held, .. } if held == tjp),
        "a held one is forgotten: {error:?}"
    );
    same!(&tip_of(&*space, tjp).await?.addr, tip, "the tip of a held one");
    // Also what came together with it holds it.
    let first = born("saga 2")?;
    let (about, mut both) = (stone("about both", &[first.frame.addr()])?, step(&*space, None, &first).await?);
    both.nodes.push(about);
    space.commit(both).await?;
    let error = refusal(&*space, forget(&[(first.frame.addr(), first.frame.addr())])).await?;
    hold!(matches!(error, CommitError::Refused { .. }), "what came along does not hold: {error:?}");

    // A fork that comes without the tip holds what it forks, whatever it is called.
    for (nth, ib) in ["saga 3", "saga 4"].into_iter().enumerate() {
        let frames = timeline(&*space, ib, 2).await?;
        let fork = set(&frames[0], "fork", true)?.frame;
        let fork = match nth {
            0 => fork,
            _ => IbGib { ib: "note".into(), gib: None, ..IbGib::clone(&fork) }.seal()?,
        };
        let mut made = set(&frames[0], "fork", true)?.nodes();
        made.retain(|node| node.ib == "mut8" || node.addr() == fork.addr());
        made.extend(Some(fork.clone()).filter(|fork| !made.contains(fork)));
        space.commit(Commit { nodes: made, ..Commit::default() }).await?;
        let error = refusal(&*space, forget(&[(frames[0].addr(), frames[2].addr())])).await?;
        hold!(matches!(error, CommitError::Refused { .. }), "{ib} is forgotten under a fork: {error:?}");
        hold!(has(&*space, fork.addr()).await?, "the fork is gone");
    }

    // Of somebody who forgets and somebody who relates to it one wins.
    for nth in 0..RACES {
        let frames = timeline(&*space, &format!("saga of race {nth}"), 1).await?;
        let above = stone(&format!("race {nth}"), &[frames[nth % 2].addr()])?;
        let (forgets, relates) = (Arc::clone(&space), Arc::clone(&space));
        let (commit, above_it) = (forget(&[(frames[0].addr(), frames[1].addr())]), nodes(&[&above]));
        let (forgot, related) = (
            tokio::spawn(async move { forgets.commit(commit).await.is_ok() }),
            tokio::spawn(async move { relates.commit(above_it).await.is_ok() }),
        );
        let (forgot, related) = (forgot.await?, related.await?);
        hold!(forgot != related, "forgotten: {forgot}, related to: {related}");
        same!(has(&*space, frames[0].addr()).await?, related, "the first frame is there");
        same!(has(&*space, above.addr()).await?, related, "what relates to it is there");
    }
    hold!(crate::fsck(&*space).await?.is_clean(), "something is missing");
    Ok(())
}
