//! Nodes kept apart for an owner.

use super::data::{born, has, nodes, one, proof, refusal, stone, tip_of};
use super::{Held, hold, same};
use crate::error::CommitError;
use crate::rules::Commit;
use crate::space::Space;
use crate::walk::Follow;
use ibgib::Addr;
use std::collections::HashSet;
use std::sync::Arc;

/// A commit that publishes these of `owner`'s.
fn publish(owner: &str, addrs: &[&Addr]) -> Commit {
    let addrs = addrs.iter().map(|a| (*a).clone()).collect();
    Commit { publish: Some((owner.to_owned(), addrs)), ..Commit::default() }
}

fn sorted(mut addrs: Vec<Addr>) -> Vec<Addr> {
    addrs.sort_unstable();
    addrs
}

pub(super) async fn staged_nodes_are_not_visible(space: Arc<dyn Space>) -> Held {
    let a = stone("a", &[])?;
    // Staging asks for nothing: the graph may come later.
    let b = stone("b", &[stone("later", &[])?.addr()])?;
    space.stage("owner", &[a.clone(), b.clone(), a.clone()]).await?;
    let (asked, none) = ([a.addr().clone(), b.addr().clone()], HashSet::new());
    let expected = [Some(a.clone()), Some(b.clone())];
    same!(space.staged("owner", &asked).await?, expected, "what the owner sees");
    same!(sorted(space.staged_addrs("owner").await?), sorted(asked.to_vec()), "addresses that the owner sees");
    same!(space.staged("other", &asked).await?, [None, None], "what somebody else sees");
    same!(space.staged_addrs("other").await?, [], "addresses that somebody else sees");
    // An owner's name that begins alike is somebody else's, too.
    same!(space.staged_addrs("owne").await?, [], "addresses that somebody with a shorter name sees");
    same!(space.get(&asked).await?, [None, None], "get of staged nodes");
    same!(space.has(&asked).await?, [false, false], "has of staged nodes");
    same!(space.count().await?, 0, "the count beside staged nodes");
    hold!(space.scan(None, 10).await?.is_empty(), "scan finds staged nodes");
    hold!(space.reach(&asked[..1], Follow::All, &none, 10).await.is_err(), "reach finds staged nodes");
    let error = refusal(&*space, nodes(&[&stone("above", &[a.addr()])?])).await?;
    hold!(matches!(&error, CommitError::Missing { addr, .. } if addr == a.addr()), "a staged node counts: {error:?}");
    Ok(())
}

pub(super) async fn staged_nodes_are_published_by_name(space: Arc<dyn Space>) -> Held {
    let a = stone("a", &[])?;
    let b = stone("b", &[a.addr()])?;
    let kept = stone("kept", &[])?;
    space.stage("owner", &[b.clone(), a.clone(), kept.clone()]).await?;
    let error = refusal(&*space, publish("other", &[a.addr()])).await?;
    hold!(matches!(error, CommitError::Missing { .. }), "somebody else's staged node is published: {error:?}");
    let error = refusal(&*space, publish("owner", &[b.addr()])).await?;
    let missing = CommitError::Missing { addr: a.addr().clone(), from: b.addr().clone() };
    same!(error, missing, "why a staged node without its graph is refused");
    // Together with the node it needs, and with one that was not staged and needs it.
    let above = stone("above", &[b.addr()])?;
    space.commit(Commit { nodes: vec![above.clone()], ..publish("owner", &[b.addr(), a.addr(), b.addr()]) }).await?;
    for node in [&a, &b, &above] {
        same!(one(&*space, node.addr()).await?, *node, "a published node");
    }
    same!(space.count().await?, 3, "the count after publishing");
    same!(space.staged_addrs("owner").await?, [kept.addr().clone()], "what stays staged");
    hold!(!has(&*space, kept.addr()).await?, "a staged node that was not named is published");

    let first = born("note")?;
    space.stage("owner", &first.nodes()).await?;
    let addrs: Vec<Addr> = first.nodes().iter().map(|n| n.addr().clone()).collect();
    let mut commit = publish("owner", &addrs.iter().collect::<Vec<_>>());
    commit.tips = vec![proof(&*space, None, &first).await?];
    space.commit(commit.clone()).await?;
    let tip = tip_of(&*space, first.frame.addr()).await?;
    same!((tip.addr.clone(), tip.n), (first.frame.addr().clone(), Some(0)), "the tip of a published timeline");
    commit.tips.clear();
    space.commit(commit).await?;
    same!(space.count().await?, 3 + addrs.len() as u64, "the count after publishing again");
    Ok(())
}

pub(super) async fn what_is_committed_is_not_staged(space: Arc<dyn Space>) -> Held {
    let (a, b, c) = (stone("a", &[])?, stone("b", &[])?, stone("c", &[])?);
    space.commit(nodes(&[&a])).await?;
    for owner in ["one", "two"] {
        space.stage(owner, &[a.clone(), b.clone(), c.clone()]).await?;
    }
    space.commit(nodes(&[&b])).await?;
    space.commit(publish("one", &[c.addr()])).await?;
    let asked = [a.addr().clone(), b.addr().clone(), c.addr().clone()];
    for owner in ["one", "two"] {
        same!(space.staged(owner, &asked).await?, [None, None, None], "what is staged of committed nodes");
        same!(space.staged_addrs(owner).await?, [], "addresses that are staged of committed nodes");
        space.unstage(owner).await?;
    }
    same!(space.has(&asked).await?, [true, true, true], "whether committed nodes outlive their staging");
    same!(space.count().await?, 3, "the count");
    Ok(())
}

pub(super) async fn unstaging_forgets_one_owner(space: Arc<dyn Space>) -> Held {
    let (a, b) = (stone("a", &[])?, stone("b", &[])?);
    space.stage("one", &[a.clone(), b.clone()]).await?;
    space.stage("one", std::slice::from_ref(&a)).await?;
    space.stage("two", std::slice::from_ref(&a)).await?;
    space.unstage("one").await?;
    let asked = [a.addr().clone(), b.addr().clone()];
    same!(space.staged("one", &asked).await?, [None, None], "what is staged after unstaging");
    same!(space.staged_addrs("one").await?, [], "addresses staged after unstaging");
    same!(space.staged("two", &asked).await?, [Some(a.clone()), None], "what somebody else has staged");
    let error = refusal(&*space, publish("one", &[a.addr()])).await?;
    hold!(matches!(error, CommitError::Missing { .. }), "what was unstaged is published: {error:?}");
    space.commit(publish("two", &[a.addr()])).await?;
    same!(one(&*space, a.addr()).await?, a, "what somebody else published");
    same!(space.count().await?, 1, "the count");
    Ok(())
}

pub(super) async fn a_commit_unstages_if_it_happens(space: Arc<dyn Space>) -> Held {
    let (a, b) = (stone("a", &[])?, stone("b", &[])?);
    let since = |value: Option<&[u8]>| vec![("since".to_owned(), value.map(<[u8]>::to_vec))];
    let unstaging = |seen: &[u8], commit| Commit {
        unstage: Some("one".into()),
        expect: since(Some(seen)),
        records: since(None),
        ..commit
    };
    space.commit(Commit { records: since(Some(b"today")), ..Commit::default() }).await?;
    for owner in ["one", "two"] {
        space.stage(owner, &[a.clone(), b.clone()]).await?;
    }
    let error = refusal(&*space, unstaging(b"yesterday", Commit::default())).await?;
    hold!(matches!(error, CommitError::RecordsChanged(_)), "a record is not as expected: {error:?}");
    same!(space.staged_addrs("one").await?.len(), 2, "what is staged after a commit that did not happen");
    space.commit(unstaging(b"today", publish("one", &[a.addr()]))).await?;
    let asked = [a.addr().clone(), b.addr().clone()];
    same!(space.has(&asked).await?, [true, false], "what a commit that unstages publishes");
    same!(space.staged_addrs("one").await?, [], "what is staged after a commit that unstages");
    same!(space.staged_addrs("two").await?, [b.addr().clone()], "what somebody else has staged");
    same!(space.record("since").await?, None, "the record of a commit that unstages");
    Ok(())
}
