//! Frames that were dropped: the owner of a space has said that it is to hold them no more.
//!
//! A frame **stands on** a dropped one when it is that one, or when the dropped one is in its history. A tip that stands on a
//! dropped frame goes back to what of its history does not, with the edits on top made again. That is the one move of
//! a tip to what does not cover it, so it has a proof of its own ([`Dropped`]). What is dropped is kept in local records,
//! which are looked at before anything is taken in: `dropped/<space>/<frame>`, by the word of whoever owns that space, and
//! `dropped/<space>`, his newest statement about it.

use crate::error::SpaceError;
use crate::history::Loader;
use crate::settle::Draft;
use crate::space::Space;
use crate::store::{Records, View};
use crate::tip::{Advance, Dropped, Kind};
use ibgib::merge;
use ibgib::timeline::HistoryError;
use ibgib::{Addr, IbGib, Verified};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What the records' keys begin with.
const PREFIX: &str = "dropped/";

/// The key of the record that a frame is dropped, by the word of the owner of `space`.
pub fn dropped_key(space: &str, frame: &Addr) -> String {
    format!("{}{frame}", dropped_prefix(space))
}

/// What the keys of all frames begin with that are dropped by the word of the owner of `space`.
pub fn dropped_prefix(space: &str) -> String {
    format!("{PREFIX}{space}/")
}

/// The key of the record with the address of the newest statement by the owner of `space` of what is dropped.
pub fn stated_key(space: &str) -> String {
    format!("{PREFIX}{space}")
}

/// All frames that a space keeps as dropped.
#[derive(Clone, Debug, Default)]
pub struct DroppedFrames {
    /// By the gib of their timeline's first frame.
    by_timeline: HashMap<String, BTreeSet<Addr>>,
    /// By space, the address of its owner's newest statement.
    stated: HashMap<String, Vec<u8>>,
}

impl DroppedFrames {
    /// Reads them; mostly there are none.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn load(view: &dyn View) -> Result<Self, SpaceError> {
        let mut loaded = Self::default();
        for (key, value) in view.records(Records::Prefix(PREFIX)).await? {
            let what = &key[PREFIX.len()..];
            match what.split_once('/').map(|(_, frame)| frame.parse::<Addr>()) {
                Some(Ok(frame)) => {
                    let timeline = frame.tjp_gib().unwrap_or(frame.gib()).to_owned();
                    loaded.by_timeline.entry(timeline).or_default().insert(frame);
                }
                Some(Err(_)) => {}
                None => drop(loaded.stated.insert(what.to_owned(), value)),
            }
        }
        Ok(loaded)
    }

    /// The record with the newest statement by the owner of `space`, as it was read.
    pub fn stated(&self, space: &str) -> Option<&Vec<u8>> {
        self.stated.get(space)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_timeline.is_empty()
    }

    /// Whether this frame is.
    pub fn contains(&self, frame: &Addr) -> bool {
        self.of(frame).is_some_and(|frames| frames.contains(frame))
    }

    /// Those of a timeline, which one of its frames names.
    pub fn of(&self, frame: &Addr) -> Option<&BTreeSet<Addr>> {
        self.by_timeline.get(frame.tjp_gib().unwrap_or(frame.gib()))
    }

    /// One of each timeline of which there are some.
    pub fn timelines(&self) -> impl Iterator<Item = &Addr> {
        self.by_timeline.values().filter_map(BTreeSet::first)
    }
}

/// The frames of a tip's history that stand on dropped ones, oldest first, each with those that it follows; none when the tip
/// itself does not. `clean` is known not to. Only frames are read that are as new as the oldest dropped one.
async fn standing(
    history: &mut Loader<'_>,
    tip: &Addr,
    clean: Option<&Addr>,
    dropped: &BTreeSet<Addr>,
) -> Result<Vec<(Addr, Vec<Addr>)>, HistoryError> {
    let failed = |error: SpaceError| HistoryError::Broken { addr: tip.clone(), why: error.to_string() };
    let mut oldest = None;
    for frame in dropped {
        // What is not here is in no history here.
        let n = history.get(frame).await.map_err(failed)?.map(|frame| frame.n());
        oldest = n.into_iter().chain(oldest).min();
    }
    let Some(oldest) = oldest else { return Ok(Vec::new()) };
    let (mut found, mut seen, mut todo) = (Vec::new(), HashSet::new(), vec![tip.clone()]);
    while let Some(addr) = todo.pop() {
        if Some(&addr) == clean || !seen.insert(addr.clone()) {
            continue;
        }
        let frame = whole(history, &addr).await?;
        if frame.n() >= oldest {
            let follows = follows(&frame);
            todo.extend(follows.iter().cloned());
            found.push((frame.n(), addr, follows));
        }
    }
    // A frame's number is greater than those of what it follows.
    found.sort();
    let mut stands: HashSet<Addr> = HashSet::new();
    let mut out = Vec::new();
    for (_, addr, follows) in found {
        if dropped.contains(&addr) || follows.iter().any(|frame| stands.contains(frame)) {
            stands.insert(addr.clone());
            out.push((addr, follows));
        }
    }
    Ok(if stands.contains(tip) { out } else { Vec::new() })
}

/// Whether a tip stands on a dropped frame; `clean` is known not to.
///
/// # Errors
/// A frame of the history is missing; a failing space.
pub async fn stands(
    history: &mut Loader<'_>,
    tip: &Addr,
    clean: Option<&Addr>,
    dropped: &BTreeSet<Addr>,
) -> Result<bool, HistoryError> {
    Ok(!standing(history, tip, clean, dropped).await?.is_empty())
}

async fn whole(history: &mut Loader<'_>, addr: &Addr) -> Result<Verified<IbGib>, HistoryError> {
    let broken = |why: String| HistoryError::Broken { addr: addr.clone(), why };
    let frame = history.get(addr).await.map_err(|error| broken(error.to_string()))?;
    frame.ok_or_else(|| broken("it is missing".to_owned()))
}

/// The frames that a frame follows. An edit on a merge frame has its graft relations, too, and follows that one alone.
fn follows(frame: &Verified<IbGib>) -> Vec<Addr> {
    let past = frame.past();
    let is_merge = past.is_some() && frame.last_rel8n("graftbase") == past;
    let orphans = if is_merge { frame.rel8n_addrs("graftorphan") } else { Vec::new() };
    past.into_iter().chain(orphans).collect()
}

/// Whether a frame is what its sides merge to. Whatever it says of itself, every other frame is an edit.
pub async fn is_merge(history: &mut Loader<'_>, frame: &Verified<IbGib>) -> bool {
    match follows(frame).as_slice() {
        [base, orphan] => history.join(base, orphan).await.is_ok_and(|joined| joined.tip == *frame.addr()),
        _ => false,
    }
}

impl Draft {
    /// Leads a tip of a living timeline that stands on dropped frames to one that does not: what it says without them. Each
    /// edit that stands on one is made [again](merge::reapply) on what is left before it, each merge is made of what its sides
    /// have become. That is the same wherever it is done. Answers the new tip; `None` when it stands on none.
    ///
    /// # Errors
    /// Nothing would be left; a history that does not hold. The draft is as it was then.
    pub async fn leave(
        &mut self,
        history: &mut Loader<'_>,
        (tjp, tip): (&Addr, &Addr),
        dropped: &BTreeSet<Addr>,
    ) -> Result<Option<Addr>, HistoryError> {
        let broken = |addr: &Addr, why: String| HistoryError::Broken { addr: addr.clone(), why };
        let (mut to, mut made) = (tip.clone(), Remade::default());
        // What is made again may have been dropped before: of what one more device had, say.
        for _ in 0..=dropped.len() {
            if !made.pass(history, &mut to, dropped).await? {
                break;
            }
        }
        if to == *tip {
            return Ok(None);
        }
        // Every edit that did not stand on what was dropped is still there, and what was made follows the rules.
        for head in &made.left {
            if history.advance(Some(head), &to).await?.tjp() != tjp {
                return Err(broken(&to, format!("it is no frame of {tjp}")));
            }
        }
        if stands(history, &to, None, dropped).await? {
            return Err(broken(&to, "it stands on what was dropped".to_owned()));
        }
        self.commit.tips.push(Advance::Dropped(Dropped::new(tjp.clone(), tip.clone(), to.clone())));
        self.commit.nodes.extend(made.nodes);
        self.merges += made.merges;
        self.conflicts += made.conflicts;
        Ok(Some(to))
    }
}

/// What is made in place of frames that stand on dropped ones.
#[derive(Default)]
struct Remade {
    nodes: Vec<Verified<IbGib>>,
    /// What of the tip's history stands on none.
    left: Vec<Addr>,
    merges: u64,
    conflicts: u64,
}

impl Remade {
    /// Leads `tip` to what comes of it when each frame that stands on a dropped one is made again; `false` when none does.
    async fn pass(
        &mut self,
        history: &mut Loader<'_>,
        tip: &mut Addr,
        dropped: &BTreeSet<Addr>,
    ) -> Result<bool, HistoryError> {
        let broken = |addr: &Addr, why: String| HistoryError::Broken { addr: addr.clone(), why };
        let mut became: HashMap<Addr, Addr> = HashMap::new();
        for (addr, follows) in standing(history, tip, None, dropped).await? {
            let frame = whole(history, &addr).await?;
            let sides = match follows.as_slice() {
                [base, orphan] if is_merge(history, &frame).await => Some([base.clone(), orphan.clone()]),
                _ => None,
            };
            let now = |frame: &Addr| became.get(frame).unwrap_or(frame).clone();
            let Some(past) = follows.first() else {
                return Err(broken(&addr, "nothing of its timeline is left without it".to_owned()));
            };
            let before = if sides.is_some() { &follows[..] } else { &follows[..1] };
            self.left.extend(before.iter().filter(|frame| !became.contains_key(*frame)).cloned());
            let to = match sides {
                Some([base, orphan]) => {
                    let joined = history.join(&now(&base), &now(&orphan)).await?;
                    self.merges += u64::from(!joined.nodes.is_empty());
                    self.conflicts += joined.conflicts as u64;
                    history.add(joined.nodes.iter().cloned());
                    self.nodes.extend(joined.nodes);
                    joined.tip
                }
                None if dropped.contains(&addr) => now(past),
                None => {
                    let (past, onto) = (whole(history, past).await?, whole(history, &now(past)).await?);
                    let made = merge::reapply(&onto, &frame, &past);
                    let made = made.map_err(|error| broken(&addr, error.to_string()))?;
                    history.add(made.iter().cloned());
                    let to = made.last().map_or_else(|| onto.addr().clone(), |frame| frame.addr().clone());
                    self.nodes.extend(made);
                    to
                }
            };
            became.insert(addr, to);
        }
        match became.remove(tip) {
            Some(to) => {
                *tip = to;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The proof that leads an identity's tip back below the dropped frames that it stands on; `None` when it stands on none, or
/// there is nothing below them.
///
/// # Errors
/// When the space fails.
pub async fn leave_keystone(
    space: &dyn Space,
    tip: &Addr,
    dropped: &BTreeSet<Addr>,
) -> Result<Option<Dropped>, SpaceError> {
    let mut oldest = None;
    for frame in dropped {
        let n = space.node(frame).await?.map(|frame| frame.n());
        oldest = n.into_iter().chain(oldest).min();
    }
    let Some(oldest) = oldest else { return Ok(None) };
    let (mut next, mut to) = (Some(tip.clone()), None);
    while let Some(addr) = next {
        let frame = space.node(&addr).await?.filter(|frame| frame.n() >= oldest);
        let Some(frame) = frame else { break };
        next = frame.past();
        if dropped.contains(&addr) {
            to = next.clone().zip(frame.tjp());
        }
        tokio::task::coop::consume_budget().await;
    }
    let proof = to.filter(|(_, tjp)| Kind::of(tjp) == Kind::Keystone);
    Ok(proof.map(|(to, tjp)| Dropped::new(tjp, tip.clone(), to)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemorySpace;
    use crate::rules::Commit;
    use crate::settle::admit;
    use ibgib::transform::{ForkOpts, Moment, content, fork, revise};

    const MOMENT: Moment = Moment { now_ms: 1_767_225_600_000, random: [7; 16] };

    fn edited(frame: &Verified<IbGib>, name: &str) -> Vec<Verified<IbGib>> {
        let mut said = content(frame);
        said.insert(name, true);
        revise(frame, &said, &MOMENT).unwrap().unwrap().nodes()
    }

    /// A timeline with a branch: a, b, c and, on b, d; both merged, and e on that.
    struct Scene {
        space: MemorySpace,
        tjp: Addr,
        frames: HashMap<&'static str, Verified<IbGib>>,
    }

    impl Scene {
        async fn new() -> Self {
            let space = MemorySpace::new("dropped");
            let first = fork(&IbGib::primitive("note").unwrap(), &ForkOpts::timeline("note"), &MOMENT).unwrap();
            let frames = HashMap::from([("first", first.frame.clone())]);
            admit(&space, &first.nodes()).await.unwrap();
            let mut scene = Self { space, tjp: first.frame.addr().clone(), frames };
            for (name, on) in [("a", "first"), ("b", "a"), ("c", "b"), ("d", "b")] {
                let on = scene.frames[on].clone();
                scene.edit(&on, name).await;
            }
            let merged = scene.tip().await;
            scene.edit(&merged, "e").await;
            scene
        }

        async fn tip(&self) -> Verified<IbGib> {
            let tip = self.space.tip(&self.tjp).await.unwrap().unwrap();
            self.space.node(&tip.addr).await.unwrap().unwrap()
        }

        async fn edit(&mut self, on: &Verified<IbGib>, name: &'static str) {
            let nodes = edited(on, name);
            admit(&self.space, &nodes).await.unwrap();
            self.frames.insert(name, nodes.last().unwrap().clone());
        }

        fn named(&self, names: &[&str]) -> BTreeSet<Addr> {
            names.iter().map(|name| self.frames[name].addr().clone()).collect()
        }

        /// The draft by which the tip leaves these.
        async fn draft(&self, names: &[&str]) -> Result<Draft, HistoryError> {
            let (mut history, mut draft) = (Loader::new(&self.space, None), Draft::default());
            let tip = self.tip().await;
            draft.leave(&mut history, (&self.tjp, tip.addr()), &self.named(names)).await?;
            Ok(draft)
        }

        /// What the tip says after it left these.
        async fn left(names: &[&str]) -> Vec<String> {
            let scene = Self::new().await;
            let draft = scene.draft(names).await.unwrap();
            scene.space.commit(draft.commit).await.unwrap();
            let tip = scene.tip().await;
            let mut history = Loader::new(&scene.space, None);
            assert_eq!(stands(&mut history, tip.addr(), None, &scene.named(names)).await, Ok(false));
            let mut names: Vec<String> = content(&tip).keys().map(str::to_owned).collect();
            names.sort_unstable();
            names
        }
    }

    #[tokio::test]
    async fn what_was_dropped_goes_and_what_others_edited_stays() {
        assert_eq!(Scene::left(&["c"]).await, ["a", "b", "d", "e"]);
        assert_eq!(Scene::left(&["a"]).await, ["b", "c", "d", "e"]);
        assert_eq!(Scene::left(&["a", "d"]).await, ["b", "c", "e"]);
        assert_eq!(Scene::left(&["e"]).await, ["a", "b", "c", "d"]);
        assert_eq!(Scene::left(&["c", "d"]).await, ["a", "b", "e"]);
        assert_eq!(Scene::left(&["a", "b", "c", "d", "e"]).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn whoever_has_less_comes_to_what_the_others_came_to() {
        let mut scene = Scene::new().await;
        let all = scene.draft(&["a"]).await.unwrap();
        let tip = scene.tip().await;
        scene.edit(&tip, "f").await;
        // One more edit: a frame after those that the other one makes.
        let more = scene.draft(&["a"]).await.unwrap();
        let made = |draft: &Draft| draft.commit.nodes.iter().map(|node| node.addr().clone()).collect::<Vec<_>>();
        assert_eq!(made(&more)[..made(&all).len()], made(&all)[..]);
        assert!(made(&more).len() > made(&all).len());
    }

    #[tokio::test]
    async fn who_stands_on_it() {
        let scene = Scene::new().await;
        let mut history = Loader::new(&scene.space, None);
        let of = |name: &str| scene.frames[name].addr().clone();
        for (tip, on, expected) in
            [("c", "a", true), ("c", "d", false), ("e", "d", true), ("a", "a", true), ("a", "b", false)]
        {
            assert_eq!(stands(&mut history, &of(tip), None, &scene.named(&[on])).await, Ok(expected), "{tip} {on}");
        }
        let elsewhere = edited(&scene.frames["a"], "elsewhere").pop().unwrap();
        let unknown = BTreeSet::from([elsewhere.addr().clone()]);
        assert_eq!(stands(&mut history, &of("e"), None, &unknown).await, Ok(false));
        // What is known to be clean is not looked below.
        assert_eq!(stands(&mut history, &of("e"), Some(&of("e")), &scene.named(&["a"])).await, Ok(false));
    }

    #[tokio::test]
    async fn nothing_goes_back_without_a_reason_and_a_tip_that_moved_is_not_moved() {
        let mut scene = Scene::new().await;
        assert!(scene.draft(&[]).await.unwrap().commit.tips.is_empty());
        let error = scene.draft(&["first"]).await.unwrap_err();
        assert!(error.to_string().contains("nothing of its timeline is left"), "{error}");
        let stale: Commit = scene.draft(&["c"]).await.unwrap().commit;
        let tip = scene.tip().await;
        scene.edit(&tip, "f").await;
        assert!(matches!(scene.space.commit(stale).await, Err(crate::CommitError::TipsMoved(_))));
    }

    #[test]
    fn records_name_frames() {
        let frame = Addr::new("note", &format!("{}.{}", "A".repeat(64), "B".repeat(64))).unwrap();
        let space = MemorySpace::new("dropped");
        let key = dropped_key("of it", &frame);
        assert!(key.starts_with(&dropped_prefix("of it")));
        let loaded = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let stated = (stated_key("x"), Some(b"statement".to_vec()));
            let records = vec![(key, Some(Vec::new())), (dropped_key("x", &frame), Some(Vec::new())), stated];
            space.commit(Commit { records, ..Commit::default() }).await.unwrap();
            let space: &dyn Space = &space;
            let view = space.view().await.unwrap();
            DroppedFrames::load(&*view).await.unwrap()
        });
        assert!(loaded.contains(&frame) && loaded.of(&frame).is_some_and(|frames| frames.len() == 1));
        assert_eq!(loaded.stated("x"), Some(&b"statement".to_vec()));
        assert_eq!(loaded.stated("of it"), None);
        let first = Addr::new("note", &"B".repeat(64)).unwrap();
        assert!(loaded.of(&first).is_some() && !loaded.contains(&first));
    }
}
