//! Nodes, records, and what a commit does or leaves.

use super::data::{Node, born, has, misnamed, nodes, one, proof, refusal, stone, timeline};
use super::{Held, hold, same};
use crate::error::CommitError;
use crate::rules::Commit;
use crate::space::Space;
use crate::store::nodes_within;
use ibgib::{Addr, IbGib};
use std::sync::Arc;

pub(super) async fn absence_is_no_error(space: Arc<dyn Space>) -> Held {
    let absent = stone("absent", &[])?;
    let absent = absent.addr();
    hold!(!space.id().is_empty(), "the space has no id");
    same!(space.get(std::slice::from_ref(absent)).await?, [None], "get of a node that is not there");
    same!(space.get(&[]).await?, [], "get of nothing");
    same!(has(&*space, absent).await?, false, "has of a node that is not there");
    same!(space.has(&[]).await?, Vec::<bool>::new(), "has of nothing");
    same!(space.staged("nobody", std::slice::from_ref(absent)).await?, [None], "staged for nobody");
    same!(space.staged_addrs("nobody").await?, [], "addresses staged for nobody");
    space.unstage("nobody").await?;
    same!(space.tip(absent).await?, None, "the tip of an unknown timeline");
    same!(space.tips(None).await?, [], "tips of an empty space");
    same!(space.record("nothing").await?, None, "a record that is not there");
    same!(space.records("").await?, [], "records of an empty space");
    same!(space.count().await?, 0, "the count of an empty space");
    hold!(space.scan(None, 10).await?.is_empty(), "scan of an empty space answers nodes");
    let changes = space.changes(0).await?;
    same!(changes.tips, [], "changes of an empty space");
    same!(changes.revision, space.revision().await?, "the revision that changes answer");
    Ok(())
}

pub(super) async fn nodes_come_back_as_they_were_committed(space: Arc<dyn Space>) -> Held {
    let (a, b) = (stone("a \u{1F980} \"quoted\"\n", &[])?, stone("b", &[])?);
    let before = space.revision().await?;
    let revision = space.commit(nodes(&[&a, &b])).await?;
    hold!(revision > before, "the commit answered revision {revision} after {before}");
    same!(space.revision().await?, revision, "the revision after the commit");
    let absent = stone("absent", &[])?;
    let other = misnamed(a.addr())?;
    let asked = [b.addr().clone(), absent.addr().clone(), a.addr().clone(), other, b.addr().clone()];
    let expected = [Some(b.clone()), None, Some(a), None, Some(b)];
    same!(space.get(&asked).await?, expected, "what was asked for, in order");
    let there: Vec<bool> = expected.iter().map(Option::is_some).collect();
    same!(space.has(&asked).await?, there, "whether it is there, in order");
    same!(space.count().await?, 2, "how many nodes there are");
    Ok(())
}

pub(super) async fn the_first_nodes_fit_the_bytes(space: Arc<dyn Space>) -> Held {
    let stones: Vec<Node> = (0..500).map(|n| stone(&n.to_string().repeat(200), &[])).collect::<Result<_, _>>()?;
    space.commit(Commit { nodes: stones.clone(), ..Commit::default() }).await?;
    let addrs: Vec<Addr> = stones.iter().map(|node| node.addr().clone()).collect();
    let view = space.view().await?;
    for bytes_max in [0, 10_000, usize::MAX] {
        let found = nodes_within(&*view, &addrs, bytes_max).await?;
        let expected: Vec<_> = stones.iter().take(found.len()).cloned().map(Some).collect();
        hold!(found == expected, "within {bytes_max} bytes others came than the first {}", found.len());
        same!(found.len() == stones.len(), bytes_max == usize::MAX, "whether all fit {bytes_max} bytes");
    }
    let asked = [stone("absent", &[])?.addr().clone(), addrs[0].clone()];
    let found = nodes_within(&*view, &asked, usize::MAX).await?;
    same!(found, [None, Some(stones[0].clone())], "the first nodes, one of which is not there");
    same!(nodes_within(&*view, &[], usize::MAX).await?, [], "the first of no nodes");
    Ok(())
}

pub(super) async fn primitives_are_never_stored(space: Arc<dyn Space>) -> Held {
    let primitive = IbGib::primitive("root")?;
    let above = stone("related to a primitive", &[primitive.addr()])?;
    space.commit(nodes(&[&primitive, &above])).await?;
    space.stage("owner", std::slice::from_ref(&primitive)).await?;
    same!(has(&*space, primitive.addr()).await?, false, "has of a primitive");
    same!(space.get(std::slice::from_ref(primitive.addr())).await?, [None], "get of a primitive");
    same!(space.staged_addrs("owner").await?, [], "what is staged of a primitive");
    same!(space.count().await?, 1, "the count, a primitive left out");
    same!(space.scan(None, 10).await?.len(), 1, "how many nodes a scan finds");
    Ok(())
}

pub(super) async fn a_refused_commit_leaves_nothing(space: Arc<dyn Space>) -> Held {
    let frames = timeline(&*space, "note", 1).await?;
    let (tjp, tip) = (frames[0].addr(), frames[1].addr());
    let kept = [("kept".to_owned(), Some(b"old".to_vec()))];
    space.commit(Commit { records: kept.to_vec(), ..Commit::default() }).await?;
    let (good, staged, lost) = (stone("good", &[])?, stone("staged", &[])?, stone("lost", &[])?);
    space.stage("owner", std::slice::from_ref(&staged)).await?;
    let (revision, count) = (space.revision().await?, space.count().await?);

    let fresh = born("fresh")?;
    let mut commit = nodes(&[&good, &stone("broken", &[lost.addr()])?]);
    commit.nodes.extend(fresh.nodes());
    commit.publish = Some(("owner".into(), vec![staged.addr().clone()]));
    commit.tips = vec![proof(&*space, None, &fresh).await?];
    commit.records = vec![("kept".into(), None), ("new".into(), Some(vec![1]))];
    let missing = commit.clone();
    // The same without the broken node, but with a tip that is no longer where the proof starts.
    let mut stale = commit;
    stale.nodes.remove(1);
    let again = super::data::set(&frames[0], "stale", true)?;
    stale.nodes.extend(again.nodes());
    stale.tips.push(proof(&*space, Some(tjp), &again).await?);

    for (commit, moved) in [(missing, false), (stale, true)] {
        let error = refusal(&*space, commit).await?;
        hold!(matches!(error, CommitError::TipsMoved(_)) == moved, "refused for another reason: {error:?}");
        for node in [&good, &staged, &fresh.frame] {
            hold!(!has(&*space, node.addr()).await?, "{} is there after a refused commit", node.addr());
        }
        same!(space.tip(fresh.frame.addr()).await?, None, "the tip of a refused timeline");
        same!(space.tip(tjp).await?.map(|t| t.addr), Some(tip.clone()), "the tip after a refused commit");
        same!(space.records("").await?, [("kept".to_owned(), b"old".to_vec())], "the records after a refused commit");
        same!(space.staged_addrs("owner").await?, [staged.addr().clone()], "what is staged after a refused commit");
        same!(space.count().await?, count, "the count after a refused commit");
        same!(space.revision().await?, revision, "the revision after a refused commit");
        same!(space.changes(revision).await?.tips, [], "changes after a refused commit");
    }
    Ok(())
}

pub(super) async fn records_are_part_of_the_commit(space: Arc<dyn Space>) -> Held {
    let set = |key: &str, value: &[u8]| (key.to_owned(), Some(value.to_vec()));
    let node = stone("beside records", &[])?;
    let records = vec![set("b/2", b"two"), set("b/1", b""), set("a", &[0, 255]), set("b", b"plain"), set("c", b"c")];
    space.commit(Commit { records, ..nodes(&[&node]) }).await?;
    hold!(has(&*space, node.addr()).await?, "the node beside the records is not there");
    same!(space.record("a").await?, Some(vec![0, 255]), "a record");
    same!(space.record("b/1").await?, Some(Vec::new()), "an empty record");
    same!(space.record("b/").await?, None, "a record whose key is only a prefix of others");
    let entry = |key: &str, value: &[u8]| (key.to_owned(), value.to_vec());
    same!(space.records("b/").await?, [entry("b/1", b""), entry("b/2", b"two")], "the records below a prefix");
    let records = vec![("b/1".to_owned(), None), ("never".to_owned(), None), set("c", b"changed"), set("d", b"1")];
    space.commit(Commit { records, ..Commit::default() }).await?;
    let all = [entry("a", &[0, 255]), entry("b", b"plain"), entry("b/2", b"two"), entry("c", b"changed")];
    same!(space.records("").await?, [&all[..], &[entry("d", b"1")]].concat(), "all records");
    Ok(())
}

fn lease(holder: Option<&str>) -> Vec<(String, Option<Vec<u8>>)> {
    vec![("lease".to_owned(), holder.map(|v| v.as_bytes().to_vec()))]
}

/// The commit that hands the lease on.
fn hand_on(from: Option<&str>, to: &str) -> Commit {
    Commit { expect: lease(from), records: lease(Some(to)), ..Commit::default() }
}

pub(super) async fn records_are_taken_by_compare_and_swap(space: Arc<dyn Space>) -> Held {
    let mut takers = Vec::new();
    for i in 0..8 {
        let (space, commit) = (Arc::clone(&space), hand_on(None, &format!("taker {i}")));
        takers.push(tokio::spawn(async move { space.commit(commit).await }));
    }
    let mut taken = 0;
    let mut told = Vec::new();
    for taker in takers {
        match taker.await? {
            Ok(_) => taken += 1,
            Err(CommitError::RecordsChanged(now)) => told.push(now),
            Err(error) => return Err(error.into()),
        }
    }
    same!((taken, told.len()), (1, 7), "how many took the lease, and how many were told that they did not");
    let holder = space.record("lease").await?;
    for now in told {
        same!(now, [("lease".to_owned(), holder.clone())], "who is told to hold the lease");
    }
    let revision = space.revision().await?;
    let node = stone("beside a lease", &[])?;
    let late = Commit { nodes: vec![node.clone()], ..hand_on(Some("nobody"), "late") };
    let error = refusal(&*space, late.clone()).await?;
    same!(
        error,
        CommitError::RecordsChanged(vec![("lease".to_owned(), holder.clone())]),
        "why a lease is not handed on"
    );
    same!(space.revision().await?, revision, "the revision after a refusal");
    hold!(!has(&*space, node.addr()).await?, "a node came by a refused commit");
    let holder = holder.map(|holder| String::from_utf8_lossy(&holder).into_owned());
    space.commit(Commit { expect: lease(holder.as_deref()), ..late }).await?;
    same!(space.record("lease").await?, Some(b"late".to_vec()), "the lease after it was handed on");
    // To expect is not to set.
    space.commit(Commit { expect: lease(Some("late")), ..Commit::default() }).await?;
    same!(space.record("lease").await?, Some(b"late".to_vec()), "a record that was only expected");
    Ok(())
}

pub(super) async fn a_node_needs_its_graph(space: Arc<dyn Space>) -> Held {
    let a = stone("a", &[])?;
    let b = stone("b", &[a.addr()])?;
    let c = stone("c", &[b.addr(), a.addr()])?;
    let missing =
        |addr: &Node, from: &Node| CommitError::Missing { addr: addr.addr().clone(), from: from.addr().clone() };
    same!(refusal(&*space, nodes(&[&b])).await?, missing(&a, &b), "why a node without its graph is refused");
    same!(refusal(&*space, nodes(&[&c, &a])).await?, missing(&b, &c), "why a batch with a gap is refused");
    let named = misnamed(a.addr())?;
    let wrong = stone("relates to another name", &[&named])?;
    let error = refusal(&*space, nodes(&[&wrong, &a])).await?;
    same!(error, CommitError::Missing { addr: named, from: wrong.addr().clone() }, "why another name is refused");
    same!(space.count().await?, 0, "the count after refusals");
    // In a batch any order will do.
    space.commit(nodes(&[&c, &b, &a])).await?;
    same!(one(&*space, c.addr()).await?, c, "the node");
    let above = stone("above", &[c.addr()])?;
    space.commit(nodes(&[&above])).await?;
    Ok(())
}

pub(super) async fn adding_again_changes_nothing(space: Arc<dyn Space>) -> Held {
    let a = stone("a", &[])?;
    let b = stone("b", &[a.addr()])?;
    let frames = timeline(&*space, "note", 2).await?;
    let tips = space.tips(None).await?;
    space.commit(nodes(&[&a, &a, &b])).await?;
    let (count, scanned) = (space.count().await?, space.scan(None, 1000).await?.len() as u64);
    same!(scanned, count, "what a scan finds beside the count");
    let revision = space.commit(nodes(&[&b, &a, &b, &frames[0], &frames[2]])).await?;
    same!(space.count().await?, count, "the count after the same again");
    same!(space.scan(None, 1000).await?.len() as u64, count, "what a scan finds after the same again");
    same!(space.tips(None).await?, tips, "the tips after the same again");
    same!(space.changes(revision - 1).await?.tips, [], "changes by the same again");
    space.commit(Commit::default()).await?;
    same!(space.count().await?, count, "the count after nothing");
    Ok(())
}

pub(super) async fn scan_pages_in_key_order(space: Arc<dyn Space>) -> Held {
    let mut keys = Vec::new();
    let mut all = Vec::new();
    for i in 0..50 {
        let node = stone(&format!("page {i}"), &[])?;
        keys.extend(node.addr().key());
        all.push(node);
    }
    keys.sort_unstable();
    let refs: Vec<_> = all.iter().collect();
    space.commit(nodes(&refs)).await?;
    for limit in [1, 7, 50, 51, usize::MAX] {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = space.scan(after, limit).await?;
            hold!(page.len() <= limit, "a page of {limit} has {} entries", page.len());
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            for entry in page {
                let node = entry.node?;
                same!(node.addr().key(), Some(entry.key), "the key of a scanned node");
                found.push(entry.key);
            }
        }
        same!(found, keys, "the keys that pages answer");
    }
    hold!(space.scan(None, 0).await?.is_empty(), "a page of 0 has entries");
    hold!(space.scan(Some([255; 32]), 5).await?.is_empty(), "there is something after the last key");
    let first = space.scan(Some([0; 32]), 1).await?;
    same!(first.first().map(|e| e.key), keys.first().copied(), "the key after a key that is not there");
    Ok(())
}
