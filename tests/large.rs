//! Histories that are long, wide, or made to hurt: what would take exponential or quadratic time would not come to an end
//! here, and nothing may take the process down.

use ibgib::canonical::canonical_text;
use ibgib::json::strings;
use ibgib::timeline::{History, HistoryError};
use ibgib::{Addr, IbGib, Map, Value, Verified};

fn frame(on: Option<&Verified<IbGib>>, mut data: Map, n: f64) -> Verified<IbGib> {
    let mut rel8ns: Map = [("dna", strings(["mut8^gib"]))].into_iter().collect();
    match on {
        None => drop(data.insert("isTjp", true)),
        Some(on) => {
            rel8ns.insert("past", strings([on.addr().as_str()]));
            rel8ns.insert("tjp", strings([on.tjp().unwrap().as_str()]));
        }
    }
    data.insert("n", Value::Number(n));
    IbGib { ib: "doc".into(), gib: None, data: Some(data.into()), rel8ns: Some(rel8ns.into()) }.seal().unwrap()
}

#[derive(Default)]
struct World {
    history: History,
    all: Vec<Addr>,
}

impl World {
    fn add(&mut self, frame: Verified<IbGib>) -> Addr {
        let addr = frame.addr().clone();
        self.history.insert(frame);
        self.all.push(addr.clone());
        addr
    }

    fn start() -> (Self, Addr) {
        let mut world = Self::default();
        let first = world.add(frame(None, Map::new(), 0.0));
        (world, first)
    }

    fn edit(&mut self, on: &Addr, key: &str, value: impl Into<Value>) -> Addr {
        let on = self.history.get(on).unwrap().clone();
        let mut data = on.data.as_ref().and_then(Value::as_object).unwrap().clone();
        data.remove("isTjp");
        data.insert(key, value);
        self.add(frame(Some(&on), data, (on.n().unwrap() + 1) as f64))
    }

    fn join(&mut self, x: &Addr, y: &Addr) -> Addr {
        let made = self.history.join(x, y).unwrap();
        made.nodes.into_iter().for_each(|node| drop(self.add(node)));
        made.tip
    }

    /// The same frames, with nothing known about them yet.
    fn cold(&self) -> History {
        let mut out = History::new();
        self.all.iter().for_each(|a| out.insert(self.history.get(a).unwrap().clone()));
        out
    }
}

#[test]
fn a_long_history_that_diverged_by_one_edit_each() {
    let (mut world, first) = World::start();
    let mut tip = first.clone();
    for i in 0..20_000u32 {
        tip = world.edit(&tip, "x", i);
    }
    let (a, b) = (world.edit(&tip, "a", 1), world.edit(&tip, "b", 2));
    let old = world.edit(&first, "c", 3);
    let mut cold = world.cold();
    let merged = cold.join(&a, &b).unwrap().tip;
    let merged = cold.join(&merged, &old).unwrap().tip;
    let frame = cold.get(&merged).unwrap().clone();
    assert!(["a", "b", "c"].iter().all(|k| frame.datum(k).is_some()));
    assert_eq!(cold.advance(None, &merged).unwrap().to(), &merged);
    assert_eq!(cold.advance(Some(&old), &merged).unwrap().from(), Some(&old));
}

#[test]
fn a_history_of_many_merges_read_from_nothing() {
    let (mut world, first) = World::start();
    let mut tip = first.clone();
    for i in 0..1_000u32 {
        let (a, b) = (world.edit(&tip, "x", i), world.edit(&tip, "y", i));
        tip = world.join(&a, &b);
    }
    assert_eq!(world.cold().advance(None, &tip).unwrap().to(), &tip);
    let old = world.edit(&first, "z", 0);
    assert_eq!(world.cold().join(&old, &tip).unwrap().nodes.len(), 2);
}

#[test]
fn three_peers_that_never_come_to_rest() {
    let (mut world, first) = World::start();
    let start = world.edit(&first, "text", "O0\nO1\nO2\n");
    let mut lanes = vec![start.clone(); 3];
    for round in 0..30 {
        for (lane, tip) in lanes.iter_mut().enumerate() {
            let text = world.history.get(tip).unwrap().datum("text").unwrap().as_str().unwrap().to_owned();
            *tip = world.edit(&tip.clone(), "text", format!("{text}{lane} in {round}\n"));
        }
        let before = lanes.clone();
        for lane in 0..3 {
            lanes[lane] = world.join(&before[lane], &before[(lane + 1) % 3]);
        }
    }
    let mut cold = world.cold();
    let merged = cold.join(&lanes[0], &lanes[1]).unwrap().tip;
    let text = cold.get(&merged).unwrap().datum("text").unwrap().as_str().unwrap().to_owned();
    for (lane, round) in (0..3).flat_map(|lane| (0..30).map(move |round| (lane, round))) {
        assert_eq!(text.lines().filter(|l| *l == format!("{lane} in {round}")).count(), 1, "{lane} in {round}");
    }
}

#[test]
fn a_number_without_a_successor_is_an_error() {
    let (mut world, first) = World::start();
    let on = world.history.get(&first).unwrap().clone();
    let high = 9_007_199_254_740_991.0;
    let [a, b] = ["a", "b"].map(|k| world.add(frame(Some(&on), [(k, 1)].into_iter().collect::<Map>(), high)));
    assert!(matches!(world.history.join(&a, &b), Err(HistoryError::Broken { .. })));
}

#[test]
fn values_as_deep_as_they_may_be_and_very_long_ones_are_left_out_of_stones() {
    let (mut world, first) = World::start();
    let deep = |end: u32| (0..ibgib::json::DEPTH_MAX - 4).fold(Value::from(end), |v, _| Value::Array(vec![v]));
    let long = |end: &str| Value::from("x".repeat(2 << 20) + end);
    for (one, two) in [(deep(1), deep(2)), (long("a"), long("b"))] {
        let start = world.edit(&first, "v", 0);
        let (a, b) = (world.edit(&start, "v", one), world.edit(&start, "v", two));
        let made = world.history.join(&a, &b).unwrap();
        assert_eq!(made.conflicts, 1);
        assert!(made.nodes.iter().all(|n| Verified::parse(&n.to_json()).is_ok_and(|n| n.to_json().len() < 5 << 20)));
    }
}

#[test]
fn what_is_deeper_than_merging_looks_is_one_value() {
    let (mut world, first) = World::start();
    let nested = |changed: Option<u32>| {
        let members = (0..5_000u32).map(|i| (format!("k{i}"), Value::from(if changed == Some(i) { 1 } else { 0 })));
        let members = Value::Object(members.collect());
        (0..1_000).fold(members, |v, _| Value::Object([("t", v)].into_iter().collect()))
    };
    let start = world.edit(&first, "t", nested(None));
    let (a, b) = (world.edit(&start, "t", nested(Some(1))), world.edit(&start, "t", nested(Some(2))));
    let made = world.history.join(&a, &b).unwrap();
    let tip = world.history.get(&made.tip).unwrap();
    let text = |frame: &IbGib| canonical_text(frame.datum("t").unwrap());
    assert_eq!(made.conflicts, 1);
    assert!(text(tip) == text(world.history.get(&tip.past().unwrap()).unwrap()), "base's stands whole");
}

#[test]
fn very_many_conflicts_are_told_as_one() {
    let (mut world, first) = World::start();
    // Names that look like array indices, and others; each written by both.
    let all = |value: u32| Value::Object((0..20_000u32).map(|i| (format!("{i}"), Value::from(value))).collect());
    for nested in [false, true] {
        let of = |value| if nested { Value::Array(vec![all(value); 3]) } else { all(value) };
        let start = world.edit(&first, "t", of(0));
        let (a, b) = (world.edit(&start, "t", of(1)), world.edit(&start, "t", of(2)));
        assert_eq!(world.history.join(&a, &b).unwrap().conflicts, 1);
    }
    // Members of data itself.
    let [a, b] = [1, 2].map(|value| {
        let on = world.history.get(&first).unwrap().clone();
        let data: Map = (0..20_000u32).map(|i| (format!("k{i}"), Value::from(value))).collect();
        world.add(frame(Some(&on), data, 1.0))
    });
    assert_eq!(world.history.join(&a, &b).unwrap().conflicts, 1);
}

#[test]
fn texts_and_documents_as_large_as_they_may_be() {
    let (mut world, first) = World::start();
    let lines = |end: &str| (0..150_000).map(|i| format!("line {i}\n")).collect::<String>() + end;
    let list = |end: &str| (0..200_000).map(|i| format!("{i}, ")).collect::<String>() + end;
    let long = |end: &str| "x\n".repeat(4 << 20) + end;
    let mixed = |by: usize| (0..200_000).map(|i| format!("{}\n", i * by % 3)).collect::<String>();
    let (one, other) = ("1\n2\n".repeat(20_000), "2\n1\n3\n".repeat(30_000));
    let list_of = |items: &str| format!("[{}]", items.trim_end().replace('\n', ","));
    let deep = |end: &str| format!("{}{end}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for (what, ancestor, base, orphan, conflicts) in [
        ("lines", lines(""), lines("a\n"), format!("b\n{}", lines("")), 0),
        ("a list", format!("[{}]", list("0")), format!("[{}]", list("0, 1")), format!("[-1, {}]", list("0")), 0),
        ("longer than is merged", long(""), long("a\n"), long("b\n"), 1),
        ("lines that repeat", mixed(1), mixed(2), mixed(4), 0),
        ("lines too many to compare", String::new(), one.clone(), other.clone(), 1),
        ("elements too many to compare", String::new(), list_of(&one), list_of(&other), 1),
        ("deep", deep("1"), deep("2"), deep("3"), 1),
    ] {
        let start = world.edit(&first, "text", ancestor);
        let (a, b) = (world.edit(&start, "text", base), world.edit(&start, "text", orphan));
        assert_eq!(world.history.join(&a, &b).unwrap().conflicts, conflicts, "{what}");
    }
}

#[test]
fn what_a_frame_cannot_hold_is_taken_whole() {
    let (mut world, first) = World::start();
    let members =
        |key: &str| Value::Object((0..9u32).map(|i| (format!("{key}{i}"), Value::from("x".repeat(1 << 20)))).collect());
    let (a, b) = (world.edit(&first, "v", members("a")), world.edit(&first, "v", members("b")));
    let made = world.history.join(&a, &b).unwrap();
    let tip = world.history.get(&made.tip).unwrap();
    assert_eq!(made.conflicts, 1);
    assert!(tip.datum("v") == world.history.get(&tip.past().unwrap()).unwrap().datum("v"), "base's stands whole");
}

#[test]
fn criss_crosses_over_and_over_come_to_an_end() {
    let (mut world, first) = World::start();
    let (mut a, mut b) = (world.edit(&first, "text", "0\na\n"), world.edit(&first, "text", "0\nb\n"));
    for i in 0..150u32 {
        let merged = world.join(&a, &b);
        let (text_a, text_b) = (format!("a {i}"), format!("b {i}"));
        let more = |world: &mut World, tip: &Addr, text: &str| {
            let old = world.history.get(tip).unwrap().datum("text").unwrap().as_str().unwrap().to_owned();
            world.edit(tip, "text", format!("{old}{text}\n"))
        };
        // One goes on from the merge, the other from its own tip and from the merge with another edit.
        let on_own = more(&mut world, &b, &text_b);
        a = more(&mut world, &merged, &text_a);
        b = world.join(&on_own, &merged);
    }
    let mut cold = world.cold();
    let made = cold.join(&a, &b).unwrap();
    let text = cold.get(&made.tip).unwrap().datum("text").unwrap().as_str().unwrap().to_owned();
    for line in (0..150).flat_map(|i| [format!("a {i}"), format!("b {i}")]) {
        assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}");
    }
}
