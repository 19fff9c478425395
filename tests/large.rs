//! Histories that are long, wide, or made to hurt: what would take exponential or quadratic time would not come to an end
//! here, and nothing may take the process down.

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
        let tip = self.history.join(x, y).unwrap().tip;
        self.all.push(tip.clone());
        tip
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
fn what_cannot_be_merged_is_an_error() {
    // A number that has no successor.
    let (mut world, first) = World::start();
    let on = world.history.get(&first).unwrap().clone();
    let high = 9_007_199_254_740_991.0;
    let [a, b] = ["a", "b"].map(|k| world.add(frame(Some(&on), [(k, 1)].into_iter().collect::<Map>(), high)));
    assert!(matches!(world.history.join(&a, &b), Err(HistoryError::Broken { .. })));

    // Data without members.
    let [a, b] = ["x", "y"].map(|text| {
        let rel8ns: Map = [("dna", "mut8^gib"), ("past", first.as_str()), ("tjp", first.as_str())]
            .map(|(k, v)| (k, strings([v])))
            .into_iter()
            .collect();
        let data = Value::Array(vec![text.into()]);
        IbGib { ib: "doc".into(), gib: None, data: Some(data), rel8ns: Some(rel8ns.into()) }.seal().unwrap()
    });
    let [a, b] = [a, b].map(|f| world.add(f));
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
fn many_members_very_deep_that_diverged_in_one() {
    let (mut world, first) = World::start();
    let nested = |changed: Option<u32>| {
        let members = (0..5_000u32).map(|i| (format!("k{i}"), Value::from(if changed == Some(i) { 1 } else { 0 })));
        let members = Value::Object(members.collect());
        (0..1_000).fold(members, |v, _| Value::Object([("t", v)].into_iter().collect()))
    };
    let start = world.edit(&first, "t", nested(None));
    // Not of the same member: no conflict.
    let (a, b) = (world.edit(&start, "t", nested(Some(1))), world.edit(&start, "t", nested(Some(2))));
    let made = world.history.join(&a, &b).unwrap();
    assert_eq!(made.conflicts, 0);
    let mut inner = world.history.get(&made.tip).unwrap().datum("t").unwrap();
    while let Some(next) = inner.get("t") {
        inner = next;
    }
    let inner = inner.as_object().unwrap();
    assert_eq!(inner.len(), 5_000);
    assert_eq!(inner.iter().filter(|(_, v)| **v == Value::from(1)).map(|(k, _)| k).collect::<Vec<_>>(), ["k1", "k2"]);

    // All of them, by both: more than is merged, and an error.
    let all = |value: u32| {
        let members = Value::Object((0..20_000u32).map(|i| (format!("k{i}"), Value::from(value))).collect());
        (0..1_000).fold(members, |v, _| Value::Object([("t", v)].into_iter().collect()))
    };
    let (a, b) = (world.edit(&start, "t", all(1)), world.edit(&start, "t", all(2)));
    assert!(matches!(world.history.join(&a, &b), Err(HistoryError::Broken { .. })));
}
