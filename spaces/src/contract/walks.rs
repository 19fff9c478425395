//! What is reached from where.

use super::data::{Node, nodes, one, related, set, step, stone, timeline};
use super::{Found, Held, hold, same};
use crate::error::SpaceError;
use crate::settle;
use crate::space::Space;
use crate::tip::Tip;
use crate::walk::Follow;
use ibgib::Addr;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

fn addrs(nodes: &[&Node]) -> Vec<Addr> {
    nodes.iter().map(|n| n.addr().clone()).collect()
}

fn set_of(nodes: &[&Node]) -> HashSet<Addr> {
    nodes.iter().map(|n| n.addr().clone()).collect()
}

async fn all(space: &dyn Space, starts: &[&Node], stop: &HashSet<Addr>) -> Result<Vec<Addr>, SpaceError> {
    space.reach(&addrs(starts), Follow::All, stop, usize::MAX).await
}

/// Checks that everything a node relates to comes before it, and nothing twice.
async fn ordered(space: &dyn Space, reached: &[Addr]) -> Held {
    let at: HashMap<&Addr, usize> = reached.iter().enumerate().map(|(i, a)| (a, i)).collect();
    same!(at.len(), reached.len(), "how many different nodes are reached");
    for (i, addr) in reached.iter().enumerate() {
        for target in one(space, addr).await?.targets() {
            hold!(at.get(&target).is_some_and(|t| *t < i), "{target} does not come before {addr}");
        }
    }
    Ok(())
}

/// a diamond with a tail: top → left, right → bottom → ground.
async fn diamond(space: &dyn Space) -> Result<[Node; 5], Found> {
    let ground = stone("ground", &[])?;
    let bottom = stone("bottom", &[ground.addr(), &"root^gib".parse()?])?;
    let left = stone("left", &[bottom.addr()])?;
    let right = stone("right", &[ground.addr(), bottom.addr()])?;
    let top = stone("top", &[left.addr(), right.addr(), ground.addr()])?;
    space.commit(nodes(&[&top, &left, &right, &bottom, &ground, &stone("apart", &[])?])).await?;
    Ok([top, left, right, bottom, ground])
}

pub(super) async fn reach_orders_dependencies_first(space: Arc<dyn Space>) -> Held {
    let [top, left, right, bottom, ground] = diamond(&*space).await?;
    let none = HashSet::new();
    for starts in [&[&top][..], &[&bottom, &top, &top], &[&ground, &right, &left, &top]] {
        let reached = all(&*space, starts, &none).await?;
        ordered(&*space, &reached).await?;
        let expected = set_of(&[&top, &left, &right, &bottom, &ground]);
        same!(reached.into_iter().collect::<HashSet<_>>(), expected, "what is reached from the top");
    }
    same!(all(&*space, &[&bottom], &none).await?, addrs(&[&ground, &bottom]), "what is reached from the bottom");
    same!(all(&*space, &[], &none).await?, [], "what is reached from nowhere");
    same!(space.reach(&["root^gib".parse()?], Follow::All, &none, 1).await?, [], "what is reached from a primitive");
    let frames = timeline(&*space, "deep", 300).await?;
    let newest = &frames[frames.len() - 1];
    let reached = all(&*space, &[newest], &none).await?;
    ordered(&*space, &reached).await?;
    hold!(frames.iter().all(|f| reached.contains(f.addr())), "not every frame is reached");
    Ok(())
}

pub(super) async fn reach_stops_where_told(space: Arc<dyn Space>) -> Held {
    let [top, left, right, bottom, ground] = diamond(&*space).await?;
    let reached = all(&*space, &[&top], &set_of(&[&bottom])).await?;
    let expected = set_of(&[&top, &left, &right]);
    same!(reached.into_iter().collect::<HashSet<_>>(), expected, "what is reached above a stop");
    // What is below a stop is left out on every other way to it, too.
    let reached = all(&*space, &[&top], &set_of(&[&left])).await?;
    same!(reached, addrs(&[&right, &top]), "what is reached beside a stop");
    same!(all(&*space, &[&bottom], &set_of(&[&top])).await?, [], "what is reached below a stop");
    let unknown = set_of(&[&stone("unknown", &[])?]);
    same!(all(&*space, &[&bottom], &unknown).await?, addrs(&[&ground, &bottom]), "what an unknown stop stops");
    Ok(())
}

pub(super) async fn reach_refuses_too_many(space: Arc<dyn Space>) -> Held {
    let [top, ..] = diamond(&*space).await?;
    let start = addrs(&[&top]);
    for follow in [Follow::All, Follow::Live] {
        for limit in [0, 1, 4] {
            let found = space.reach(&start, follow, &HashSet::new(), limit).await;
            same!(found, Err(SpaceError::TooMany(limit)), "five nodes with a lower limit");
        }
        same!(space.reach(&start, follow, &HashSet::new(), 5).await?.len(), 5, "five nodes with a limit of five");
    }
    let above_stop = space.reach(&start, Follow::All, &set_of(&[&top]), 0).await?;
    same!(above_stop, [], "what counts towards the limit below a stop");
    Ok(())
}

pub(super) async fn reach_tells_what_is_missing(space: Arc<dyn Space>) -> Held {
    let [top, ..] = diamond(&*space).await?;
    let absent = stone("absent", &[])?;
    for follow in [Follow::All, Follow::Live, Follow::History] {
        let found = space.reach(&addrs(&[&top, &absent]), follow, &HashSet::new(), 100).await;
        let Err(SpaceError::Missing { path }) = found else {
            return Err(Found(format!("{follow:?} from a node that is not there: {found:?}")));
        };
        same!(path, [absent.addr().to_string()], "the path to the missing node");
    }
    Ok(())
}

pub(super) async fn live_reach_goes_on_to_tips(space: Arc<dyn Space>) -> Held {
    let note = timeline(&*space, "note", 2).await?;
    let saga = timeline(&*space, "saga 1", 1).await?;
    let index = stone("index", &[note[0].addr(), saga[0].addr()])?;
    space.commit(nodes(&[&index])).await?;
    let start = addrs(&[&index]);
    let live = space.reach(&start, Follow::Live, &HashSet::new(), usize::MAX).await?;
    ordered(&*space, &live).await?;
    for frame in &note {
        hold!(live.contains(frame.addr()), "frame {:?} of a living timeline is not in the live graph", frame.n());
    }
    hold!(!live.contains(saga[1].addr()), "the live graph goes on to the end of a transcript");
    let graph = space.reach(&start, Follow::All, &HashSet::new(), usize::MAX).await?;
    hold!(!graph.contains(note[1].addr()), "the dependency graph goes on to a tip");
    Ok(())
}

pub(super) async fn tips_are_reached_from_what_is_known(space: Arc<dyn Space>) -> Held {
    let mut tips = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        tips.push(timeline(&*space, name, 30).await?);
    }
    let mut tips: Vec<Node> = tips.into_iter().filter_map(|frames| frames.last().cloned()).collect();
    let firsts: Vec<Addr> = tips.iter().filter_map(|tip| tip.tjp()).collect();
    let known =
        |found: &[Tip]| -> Vec<(Addr, Addr)> { found.iter().map(|tip| (tip.tjp.clone(), tip.addr.clone())).collect() };
    let start = &firsts[..1];
    let (mut found, walked) = space.reach_tips(start, &[], usize::MAX).await?;
    same!(known(&found), [(firsts[0].clone(), tips[0].addr().clone())], "what is reached by one that relates to none");
    hold!(walked > 30, "{walked} nodes are not all of a history");
    // One that is reached already, two in one step, an edit further down, and one that relates to a frame of long ago.
    for (from, to) in [(0, Some(1)), (1, None), (1, Some(0)), (2, Some(3)), (1, Some(2)), (3, None), (3, Some(4))] {
        let made = match to {
            Some(to) => related(&tips[from], &[if to == 4 { &firsts[4] } else { tips[to].addr() }])?,
            None => set(&tips[from], "further", true)?,
        };
        space.commit(step(&*space, Some(tips[from].addr()), &made).await?).await?;
        tips[from] = made.frame.clone();
        let (mut anew, _) = space.reach_tips(start, &[], usize::MAX).await?;
        let (mut again, walked) = space.reach_tips(start, &known(&found), usize::MAX).await?;
        anew.sort_by(|a, b| a.tjp.cmp(&b.tjp));
        again.sort_by(|a, b| a.tjp.cmp(&b.tjp));
        same!(known(&again), known(&anew), "what is reached from what was known");
        let came = anew.len() - found.len();
        hold!(walked <= 10 + 80 * came, "{walked} nodes for {came} more timelines");
        found = again;
    }
    same!(found.len(), 5, "how many timelines are reached in the end");
    // What is known of frames that are not there is as good as nothing.
    let lost = [(firsts[0].clone(), stone("lost", &[])?.addr().clone())];
    same!(
        space.reach_tips(start, &lost, usize::MAX).await?.0.len(),
        5,
        "how many are reached from a frame that is lost"
    );
    Ok(())
}

pub(super) async fn history_is_newest_first(space: Arc<dyn Space>) -> Held {
    let frames = timeline(&*space, "note", 9).await?;
    let none = HashSet::new();
    let mut newest_first: Vec<Addr> = frames.iter().map(|f| f.addr().clone()).collect();
    newest_first.reverse();
    let start = &newest_first[..1];
    for limit in [0, 1, 4, 10, usize::MAX] {
        let found = space.reach(start, Follow::History, &none, limit).await?;
        same!(found, newest_first[..limit.min(10)], "the nearest frames, newest first");
    }
    let found = space.reach(start, Follow::History, &set_of(&[&frames[6]]), 100).await?;
    same!(found, newest_first[..3], "the frames above a stop");

    let (mine, yours) = (set(&frames[9], "mine", true)?, set(&frames[9], "yours", true)?);
    let both: Vec<Node> = mine.nodes().into_iter().chain(yours.nodes()).collect();
    let admitted = settle::admit(&*space, &both).await?;
    same!(admitted.merges, 1, "merges of two edits of one frame");
    let tip = super::data::tip_of(&*space, frames[0].addr()).await?.addr;
    let found = space.reach(std::slice::from_ref(&tip), Follow::History, &none, 100).await?;
    same!((found.len(), found.first()), (13, Some(&tip)), "the frames after a merge, the merge frame first");
    let mut sides = found[1..3].to_vec();
    sides.sort_unstable();
    let mut expected = addrs(&[&mine.frame, &yours.frame]);
    expected.sort_unstable();
    same!(sides, expected, "both sides of the merge");
    same!(found[3..], newest_first[..], "the frames before both sides");

    // Below a stop lies what comes before it, also on the other side of a merge.
    let stop = set_of(&[&mine.frame]);
    let beside = space.reach(std::slice::from_ref(&tip), Follow::History, &stop, 100).await?;
    same!(beside, [tip.clone(), yours.frame.addr().clone()], "the history beside a stop");
    let beside = space.reach(std::slice::from_ref(&tip), Follow::All, &stop, usize::MAX).await?;
    hold!(beside.contains(yours.frame.addr()) && beside.contains(&tip), "not all beside a stop is reached");
    let before = frames.iter().chain([&mine.frame]).find(|frame| beside.contains(frame.addr()));
    hold!(before.is_none(), "{before:?} is below a stop and is reached");
    Ok(())
}

pub(super) async fn what_a_stop_relates_to_is_below_it(space: Arc<dyn Space>) -> Held {
    let note = timeline(&*space, "note", 2).await?;
    let (part, gone, fresh) = (stone("part", &[])?, stone("gone", &[])?, stone("fresh", &[])?);
    let (old, new) = (stone("old", &[part.addr(), gone.addr()])?, stone("new", &[part.addr(), fresh.addr()])?);
    space.commit(nodes(&[&part, &gone, &fresh, &old, &new])).await?;
    let before = related(&note[2], &[old.addr()])?;
    space.commit(step(&*space, Some(note[2].addr()), &before).await?).await?;
    let after = related(&before.frame, &[new.addr()])?;
    space.commit(step(&*space, Some(before.frame.addr()), &after).await?).await?;
    let above = all(&*space, &[&after.frame], &set_of(&[&before.frame])).await?;
    for node in [&fresh, &new, &after.frame] {
        hold!(above.contains(node.addr()), "{} is not reached", node.addr());
    }
    for node in [&part, &gone, &old, &before.frame, &note[0]] {
        hold!(!above.contains(node.addr()), "{} is below a stop and is reached", node.addr());
    }
    Ok(())
}
