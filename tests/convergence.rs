//! Random peers edit fields and lines of one timeline and sync in random order, over a hub or a mesh, losing one
//! side's commit now and then. However they do it: equal after at most two rounds of everyone with everyone, no edit
//! unreachable, each field from a causally newest writer unless a conflict tells of it, each line that nobody deleted
//! there exactly once.
//!
//! `IBGIB_RUNS=1000 cargo test --test convergence` runs that many seeds per setting, `IBGIB_SEED=7` replays one seed.
//! What each merge holds is compared with the model in `tests/model.rs`.
#![allow(clippy::disallowed_methods, reason = "the environment chooses how long and with which seed it runs")]

use ibgib::timeline::{Ancestry, History, HistoryError, Merges};
use ibgib::transform::{ForkOpts, Moment, Mut8Opts, TjpOpts, fork, linked, mut8};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

/// A small generator of our own (SplitMix64), so that a seed means the same for ever.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// What one edit did: fields written (`None`: deleted), lines put in, lines deleted.
#[derive(Default, Clone)]
struct Ops {
    writes: BTreeMap<String, Option<String>>,
    inserted: Vec<String>,
    deleted: Vec<String>,
}

struct World {
    history: History,
    frames: Vec<Verified<IbGib>>,
    ops: HashMap<Addr, Ops>,
    merged: HashMap<Addr, (Addr, Addr)>,
    /// Merge frames with the paths of the conflicts that they found.
    told: HashSet<(Addr, String)>,
    counter: u64,
}

fn fields(frame: &IbGib) -> BTreeMap<String, String> {
    let data = frame.data.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    data.into_iter()
        .filter(|(k, _)| k.starts_with("own") || k.starts_with("shared"))
        .map(|(k, v)| (k, v.as_str().unwrap_or("").to_owned()))
        .collect()
}

fn lines(frame: &IbGib) -> Vec<String> {
    let text = frame.datum("text").and_then(Value::as_str).unwrap_or("");
    text.lines().map(str::to_owned).collect()
}

impl World {
    fn new() -> (Self, Addr) {
        let mut world = Self {
            history: History::new(),
            frames: Vec::new(),
            ops: HashMap::new(),
            merged: HashMap::new(),
            told: HashSet::new(),
            counter: 0,
        };
        let root = IbGib::primitive("doc").unwrap();
        let opts = ForkOpts {
            dna: true,
            n_counter: true,
            no_timestamp: true,
            tjp: Some(TjpOpts { uuid: true, timestamp: false }),
            dest_ib: Some("doc".into()),
            ..ForkOpts::default()
        };
        let first = fork(&root, &opts, &Moment { now_ms: 0, random: [3; 16] }).unwrap().frame;
        world.insert(first.clone());
        let text: String = (0..6).fold(String::new(), |mut out, i| {
            let _ = writeln!(out, "O{i}");
            out
        });
        let patch: Map = [("shared0", "g"), ("text", text.as_str())].into_iter().collect();
        let start = world.edit_frame(&first, Some(patch), None, Ops::default());
        (world, start)
    }

    fn insert(&mut self, frame: Verified<IbGib>) {
        self.history.insert(frame.clone());
        self.frames.push(frame);
    }

    fn edit_frame(&mut self, on: &Verified<IbGib>, patch: Option<Map>, remove: Option<Map>, ops: Ops) -> Addr {
        let opts = Mut8Opts {
            patch: patch.or_else(|| Some(Map::new())),
            remove,
            dna: true,
            n_counter: true,
            no_timestamp: true,
            linked_rel8ns: linked(),
            ..Mut8Opts::default()
        };
        let frame = mut8(on, &opts, &Moment { now_ms: 0, random: [0; 16] }).unwrap().frame;
        let addr = frame.addr().clone();
        self.insert(frame);
        self.ops.insert(addr.clone(), ops);
        addr
    }

    fn edit(&mut self, tip: &Addr, peer: usize, rng: &mut Rng) -> Addr {
        let frame = self.history.get(tip).unwrap().clone();
        let (mut now, mut text, mut ops) = (fields(&frame), lines(&frame), Ops::default());
        for _ in 0..1 + rng.below(3) / 2 {
            let fresh = self.counter;
            self.counter += 1;
            let c = rng.below(100);
            if c < 50 {
                let key = if rng.chance(70) { format!("own{peer}") } else { format!("shared{}", rng.below(3)) };
                if rng.chance(20) && now.contains_key(&key) {
                    now.remove(&key);
                    ops.writes.insert(key, None);
                } else {
                    now.insert(key.clone(), format!("v{fresh}"));
                    ops.writes.insert(key, Some(format!("v{fresh}")));
                }
            } else if c < 75 || text.is_empty() {
                let line = format!("L{fresh}");
                text.insert(rng.below(text.len() + 1), line.clone());
                ops.inserted.push(line);
            } else if c < 90 {
                let (i, line) = (rng.below(text.len()), format!("L{fresh}"));
                ops.deleted.push(std::mem::replace(&mut text[i], line.clone()));
                ops.inserted.push(line);
            } else {
                ops.deleted.push(text.remove(rng.below(text.len())));
            }
        }
        // Set and deleted again in one edit is no write: a frame cannot show it.
        let before = fields(&frame);
        ops.writes.retain(|key, value| value.as_ref() != before.get(key));
        // A member counts what nothing else does, so that every edit is a frame of its own.
        let mut patch: Map = [("edit", Value::Number(self.counter as f64))].into_iter().collect();
        self.counter += 1;
        let mut remove = Map::new();
        for (key, value) in &ops.writes {
            match value {
                Some(value) => drop(patch.insert(key.as_str(), value.as_str())),
                None => drop(remove.insert(key.as_str(), "")),
            }
        }
        patch.insert("text", text.iter().fold(String::new(), |out, l| out + l + "\n"));
        self.edit_frame(&frame, Some(patch), Some(remove), ops)
    }

    fn join(&mut self, x: &Addr, y: &Addr) -> Addr {
        let joined = self.history.join(x, y).unwrap();
        let again = self.history.join(y, x).unwrap();
        assert_eq!(joined.tip, again.tip, "the same two tips give the same merge on any side");
        if let Some(frame) = joined.nodes.last() {
            if !self.merged.contains_key(frame.addr()) {
                self.frames.push(frame.clone());
            }
            self.merged.insert(frame.addr().clone(), (x.clone(), y.clone()));
            let paths = joined.nodes.iter().filter_map(|stone| stone.datum("path").and_then(Value::as_str));
            self.told.extend(paths.map(|path| (frame.addr().clone(), path.to_owned())));
        }
        for tip in [x, y] {
            if *tip != joined.tip {
                assert_eq!(self.history.ancestry(tip, &joined.tip), Ok(Ancestry::Behind));
                self.history.advance(Some(tip), &joined.tip).unwrap();
            }
        }
        joined.tip
    }

    fn parents(&self, addr: &Addr) -> Vec<Addr> {
        let frame = self.history.get(addr).unwrap();
        let mut out: Vec<Addr> = frame.past().into_iter().collect();
        if self.merged.contains_key(addr) {
            out.extend(frame.rel8n_addrs("graftorphan"));
        }
        out
    }

    fn ancestors(&self, tip: &Addr) -> HashSet<Addr> {
        let mut seen = HashSet::from([tip.clone()]);
        let mut stack = vec![tip.clone()];
        while let Some(addr) = stack.pop() {
            for parent in self.parents(&addr) {
                if seen.insert(parent.clone()) {
                    stack.push(parent);
                }
            }
        }
        seen
    }

    fn violations(&self, tip: &Addr, edits: &HashSet<Addr>) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        let reachable = self.ancestors(tip);
        if !edits.is_subset(&reachable) {
            found.insert("edit unreachable");
        }
        let frame = self.history.get(tip).unwrap();
        let now = fields(frame);
        let mut by_field: BTreeMap<&str, Vec<&Addr>> = BTreeMap::new();
        for (addr, ops) in self.ops.iter().filter(|(a, _)| reachable.contains(a)) {
            for field in ops.writes.keys() {
                by_field.entry(field).or_default().push(addr);
            }
        }
        for (field, writers) in by_field {
            let older: HashSet<Addr> =
                writers.iter().flat_map(|w| self.ancestors(w).into_iter().filter(|a| a != *w)).collect();
            let newest = writers.iter().filter(|w| !older.contains(**w));
            let got = now.get(field).cloned();
            let told = || reachable.iter().any(|a| self.told.contains(&(a.clone(), format!("/data/{field}"))));
            if !newest.map(|w| self.ops[*w].writes[field].clone()).any(|v| v == got) && !told() {
                found.insert("field not from a newest writer");
            }
        }
        let text = lines(frame);
        let all = || self.ops.iter().filter(|(a, _)| reachable.contains(a)).map(|(_, o)| o);
        let deleted: HashSet<&String> = all().flat_map(|o| &o.deleted).collect();
        let original: Vec<String> = (0..6).map(|i| format!("O{i}")).collect();
        for line in all().flat_map(|o| &o.inserted).chain(&original) {
            let count = text.iter().filter(|l| *l == line).count();
            let want = usize::from(!deleted.contains(line));
            if count != want {
                found.insert(if count < want {
                    "line lost"
                } else if want == 1 {
                    "line doubled"
                } else {
                    "line resurrected"
                });
            }
        }
        found
    }
}

/// Peers edit and sync in random order; the world and everyone's tip then.
fn wander(rng: &mut Rng, hub: bool, peers: usize, steps: usize) -> (World, Vec<Addr>) {
    let (mut world, start) = World::new();
    let all = peers + usize::from(hub);
    let mut tips = vec![start; all];
    for _ in 0..steps {
        let p = rng.below(peers);
        if rng.chance(60) {
            tips[p] = world.edit(&tips[p].clone(), p, rng);
        } else {
            let q = if hub { peers } else { (p + 1 + rng.below(peers - 1)) % peers };
            let tip = world.join(&tips[p].clone(), &tips[q].clone());
            if rng.chance(30) {
                let kept = if rng.chance(50) { p } else { q };
                tips[kept] = tip;
            } else {
                tips[p] = tip.clone();
                tips[q] = tip;
            }
        }
    }
    (world, tips)
}

/// Rounds that everyone needed to be equal, and what was wrong then.
fn run(seed: u64, hub: bool, peers: usize, steps: usize) -> (usize, BTreeSet<&'static str>) {
    let mut rng = Rng(seed.wrapping_mul(1_000_003).wrapping_add(peers as u64 * 2 + u64::from(hub)));
    let (mut world, mut tips) = wander(&mut rng, hub, peers, steps);
    let mut edits = HashSet::new();
    for tip in &tips {
        edits.extend(world.ancestors(tip).into_iter().filter(|a| !world.merged.contains_key(a)));
    }
    let mut rounds = 0;
    while tips.iter().any(|t| *t != tips[0]) {
        rounds += 1;
        if rounds > 2 {
            return (rounds, BTreeSet::from(["not converged in two rounds"]));
        }
        let mut pairs: Vec<(usize, usize)> = if hub {
            (0..peers).map(|i| (i, peers)).collect()
        } else {
            (0..peers).flat_map(|i| (i + 1..peers).map(move |j| (i, j))).collect()
        };
        rng.shuffle(&mut pairs);
        for (i, j) in pairs {
            let tip = world.join(&tips[i].clone(), &tips[j].clone());
            tips[i] = tip.clone();
            tips[j] = tip;
        }
    }
    let tip = tips[0].clone();
    (rounds, world.violations(&tip, &edits))
}

#[test]
fn peers_converge_and_lose_nothing_in_any_order() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let runs = number("IBGIB_RUNS").unwrap_or(40);
    let seeds = match number("IBGIB_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..runs,
    };
    let mut failures = Vec::new();
    for (peers, steps) in [(2, 40), (3, 60), (4, 60), (6, 80)] {
        for hub in [true, false] {
            for seed in seeds.clone() {
                let (rounds, violations) = run(seed, hub, peers, steps);
                if !violations.is_empty() {
                    failures
                        .push(format!("IBGIB_SEED={seed}: {peers} peers, hub {hub}, round {rounds}: {violations:?}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn three_peers_each_pulling_from_the_next_make_no_merge_storm() {
    let (mut world, start) = World::new();
    let mut rng = Rng(5);
    let mut tips: Vec<Addr> = (0..3).map(|p| world.edit(&start, p, &mut rng)).collect();
    for round in 0..8 {
        let before = tips.clone();
        for p in 0..3 {
            tips[p] = world.join(&before[p], &before[(p + 1) % 3]);
        }
        if round >= 4 {
            assert!(tips.iter().all(|t| *t == tips[0]), "still different in round {round}");
        }
    }
    assert!(world.merged.len() <= 7, "{} merges for three edits", world.merged.len());
}

#[test]
fn a_history_that_is_loaded_in_portions_answers_as_one_that_is_whole() {
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let (mut world, tips) = wander(&mut rng, seed % 2 == 0, 4, 60);
        let (x, y) = (&tips[0], &tips[1]);
        let whole = world.history.join(x, y).unwrap().tip;
        let mut history = History::new();
        let portion = 10 + rng.next() % 90;
        for frame in &world.frames {
            match (rng.chance(portion), rng.chance(50)) {
                (true, true) => history.insert(frame.clone()),
                (true, false) => history.insert_place(frame),
                (false, _) => {}
            }
        }
        for _ in 0..=2 * world.frames.len() {
            let done = history.advance(None, x).and_then(|_| history.join(x, y));
            match done {
                Err(HistoryError::Need(addrs)) => {
                    for addr in addrs {
                        assert!(history.get(&addr).is_none(), "{addr} was there whole");
                        history.insert(world.history.get(&addr).unwrap().clone());
                    }
                }
                other => {
                    assert_eq!(other.unwrap().tip, whole, "seed {seed}");
                    break;
                }
            }
        }
    }
}

/// What follows from frames alone holds in every history: one that shares it says the same with the frames' places only.
#[test]
fn what_one_history_found_out_others_need_not_find_out_again() {
    let mut asked = 0;
    for seed in 0..50 {
        let (mut world, tips) = wander(&mut Rng(seed), seed % 2 == 0, 4, 60);
        let (x, y) = (&tips[0], &tips[1]);
        let told = world.history.ancestry(x, y).unwrap();
        let merges = Merges::default();
        let places = |share: bool| {
            let mut history = History::new();
            if share {
                history.share(merges.clone());
            }
            world.frames.iter().for_each(|frame| history.insert_place(frame));
            history
        };
        let mut first = places(true);
        asked += u32::from(matches!(first.ancestry(x, y), Err(HistoryError::Need(_))));
        world.frames.iter().for_each(|frame| first.insert(frame.clone()));
        assert_eq!(first.ancestry(x, y), Ok(told));
        assert_eq!(places(true).ancestry(x, y), Ok(told), "seed {seed}");
    }
    assert!(asked > 25, "{asked}");
}

#[test]
fn a_history_that_pauses_goes_on_where_it_was() {
    let mut pauses = 0;
    for seed in 0..50 {
        let (mut world, tips) = wander(&mut Rng(seed), seed % 2 == 0, 4, 60);
        let (x, y) = (&tips[0], &tips[1]);
        let whole = world.history.join(x, y).unwrap().tip;
        let mut history = History::new();
        history.pause_after(1);
        world.frames.iter().for_each(|frame| history.insert(frame.clone()));
        let mut calls = 0;
        let tip = loop {
            calls += 1;
            match history.advance(None, x).and_then(|_| history.join(x, y)) {
                Err(HistoryError::Paused) => assert!(calls <= world.frames.len(), "seed {seed}: it does not get on"),
                other => break other.unwrap().tip,
            }
        };
        assert_eq!(tip, whole, "seed {seed}");
        pauses += calls - 1;
    }
    assert!(pauses > 50, "{pauses} pauses");
}

/// Whoever makes up a merge frame would say of an edit that it is in it.
#[test]
fn a_frame_that_only_says_it_is_a_merge_is_an_edit() {
    let moment = |seed: u8| Moment { now_ms: 1_000 + i64::from(seed), random: [seed; 16] };
    let first = fork(&IbGib::primitive("note").unwrap(), &ForkOpts::timeline("note"), &moment(0)).unwrap().frame;
    let edit = |frame: &Verified<IbGib>, name: &str, seed: u8| {
        let patch = Some(Map::from_iter([(name, Value::from(u32::from(seed)))]));
        let opts = Mut8Opts { patch, dna: true, n_counter: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
        mut8(frame, &opts, &moment(seed)).unwrap()
    };
    let (one, other) = (edit(&first, "one", 1), edit(&first, "other", 2));
    let mut history = History::new();
    history.insert(first);
    one.nodes().into_iter().chain(other.nodes()).for_each(|node| history.insert(node));
    let joined = history.join(one.frame.addr(), other.frame.addr()).unwrap();
    joined.nodes.iter().for_each(|node| history.insert(node.clone()));
    let merge = history.get(&joined.tip).unwrap().clone();
    let orphan =
        [&one, &other].map(|made| made.frame.addr()).into_iter().find(|tip| merge.past().as_ref() != Some(tip));
    let orphan = orphan.unwrap();
    assert_eq!(history.ancestry(&joined.tip, orphan), Ok(Ancestry::Ahead));
    // With what the other one wrote taken out, or something that nobody wrote put in.
    for (name, value) in [("one", None), ("other", None), ("third", Some(Value::from(3u32)))] {
        let mut forged = IbGib { gib: None, ..(*merge).clone() };
        let data = forged.data.as_mut().and_then(Value::as_object_mut).unwrap();
        match value {
            Some(value) => {
                data.insert(name, value);
            }
            None => {
                data.remove(name);
            }
        }
        let forged = forged.seal().unwrap();
        history.insert(forged.clone());
        assert_eq!(history.ancestry(forged.addr(), orphan), Ok(Ancestry::Diverged), "{name}");
        // So that both are merged, and nothing is lost.
        let joined = history.join(forged.addr(), orphan).unwrap();
        let again = joined.nodes.last().unwrap();
        assert_eq!(*again.addr(), joined.tip);
        let kept = history.get(orphan).unwrap().data.clone().unwrap();
        let written = ["one", "other"].into_iter().find(|name| kept.get(name).is_some()).unwrap();
        assert!(again.datum(written).is_some(), "{}", again.to_json());
    }
}
