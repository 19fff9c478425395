//! Two people settle one conflict, each without seeing the other's choice, and meet: what both chose is settled, what they
//! chose differently is a conflict again, on whichever side it is merged.

use ibgib::conflict::{Conflict, Resolution, settle};
use ibgib::timeline::History;
use ibgib::transform::{ForkOpts, Moment, content, fork, revise};
use ibgib::{Addr, IbGib, Map, Value, Verified};

type Node = Verified<IbGib>;

fn moment(now_ms: i64) -> Moment {
    Moment { now_ms, random: [7; 16] }
}

/// A merge frame of edits that both wrote one member, its conflict, and the history that it stands in.
fn history(member: &'static str, [before, left, right]: [Option<Value>; 3]) -> (History, Node, Conflict) {
    let first = fork(&IbGib::primitive("note").unwrap(), &ForkOpts::timeline("note"), &moment(0)).unwrap();
    let mut history = History::new();
    history.insert(first.frame.clone());
    let mut edit = |frame: &Node, value: Option<Value>| {
        let data = Map::from_iter(value.into_iter().map(|v| (member, v)).chain([("other", true.into())]));
        let made = revise(frame, &data, &moment(1_000)).unwrap().unwrap();
        made.nodes().into_iter().for_each(|node| history.insert(node));
        made.frame
    };
    let old = edit(&first.frame, before);
    let (left, right) = (edit(&old, left), edit(&old, right));
    let joined = history.join(left.addr(), right.addr()).unwrap();
    let find = |addr: &Addr| joined.nodes.iter().find(|node| node.addr() == addr).unwrap().clone();
    let frame = find(&joined.tip);
    let [stone] = &frame.rel8n_addrs("conflict")[..] else { panic!("{}", frame.to_json()) };
    let conflict = Conflict::of(&find(stone));
    (history, frame, conflict)
}

/// Two settle one conflict, each for himself, and meet: what stands then, and the conflicts that are open.
fn settled_twice(values: [Option<Value>; 3], [one, two]: [Resolution; 2]) -> (Option<Value>, Vec<Conflict>) {
    let (mut history, frame, conflict) = history("v", values);
    let mut tip = |resolution, at| {
        let nodes = settle(&frame, &conflict, resolution, &moment(at)).unwrap().unwrap();
        nodes.iter().for_each(|node| history.insert(node.clone()));
        nodes.last().unwrap().addr().clone()
    };
    let (one, two) = (tip(one, 2_000), tip(two, 3_000));
    let joined = history.join(&one, &two).unwrap();
    assert_eq!(joined, history.join(&two, &one).unwrap());
    let frame = history.get(&joined.tip).unwrap();
    let stones = frame.rel8n_addrs("conflict");
    let told = stones.iter().map(|stone| {
        let stone = history.get(stone).unwrap();
        assert_eq!(stone.datum("again").and_then(Value::as_str), Some(conflict.stone.as_str()));
        Conflict::of(stone)
    });
    (content(frame).get("v").cloned(), told.collect())
}

#[test]
fn what_two_settle_differently_is_a_conflict_again() {
    use Resolution::{Ancestor, Base, Keep, Orphan};
    let text = |middle: &str| Some(Value::from(format!("# Shopping\n{middle}the end of it\n")));
    let list = |middle: &[&str]| {
        Some(Value::from([&["a"], middle, &["z"]].concat().into_iter().map(Value::from).collect::<Vec<_>>()))
    };
    let cases = [
        [text("milk\n"), text("apples\n"), text("bread\n")],
        [text("milk\n"), text(""), text("bread\n")],
        [list(&["m"]), list(&["l"]), list(&["r"])],
        [list(&["m"]), list(&[]), list(&["r"])],
        [Some(1u32.into()), Some(2u32.into()), Some(3u32.into())],
        [Some(1u32.into()), None, Some(3u32.into())],
    ];
    for values in cases {
        let alone = |resolution| settled_twice(values.clone(), [resolution, resolution]);
        for one in [Keep, Base, Orphan, Ancestor] {
            let (chosen, open) = alone(one);
            assert_eq!(open, [], "the same twice is settled: {one:?} of {values:?}");
            for two in [Keep, Base, Orphan, Ancestor] {
                let other = alone(two).0;
                let (stands, open) = settled_twice(values.clone(), [one, two]);
                if chosen == other {
                    assert_eq!((&stands, &*open), (&chosen, &[][..]), "{one:?} {two:?} of {values:?}");
                    continue;
                }
                assert_eq!(open.len(), 1, "{one:?} {two:?} of {values:?}: {stands:?}");
                // Either choice can be made of what stands.
                let whole = [chosen.clone(), other.clone()].contains(&stands);
                let all = |value: &Option<Value>| value.as_ref().map(Value::to_json).unwrap_or_default();
                let has = |part: &str| {
                    !all(&chosen).contains(part) && !all(&other).contains(part) || all(&stands).contains(part)
                };
                assert!(
                    whole || ["milk", "apples", "bread", "\"m\"", "\"l\"", "\"r\""].iter().all(|part| has(part)),
                    "{stands:?}"
                );
            }
        }
    }
}

/// Who settled that there is nothing may go on writing before he meets whoever kept the text.
#[test]
fn a_text_that_one_emptied_and_wrote_anew_and_the_other_kept_is_a_conflict_again() {
    for member in ["text", "v"] {
        let text = |text: &str| Some(Value::from(text));
        let (mut history, frame, conflict) =
            history(member, [text("milk\n\nbread\n"), text("milk\n\napples\n"), text("")]);
        let mut settled = |resolution, at| {
            let nodes = settle(&frame, &conflict, resolution, &moment(at)).unwrap().unwrap();
            nodes.iter().for_each(|node| history.insert(node.clone()));
            nodes.last().unwrap().clone()
        };
        let kept = settled(Resolution::Keep, 2_000);
        let nothing = match content(&frame).get(member) == conflict.base.as_ref() {
            true => Resolution::Orphan,
            false => Resolution::Base,
        };
        let emptied = settled(nothing, 3_000);
        assert_eq!(content(&emptied).get(member), text("").as_ref());
        let anew = Map::from_iter([(member, Value::from("eggs\n\n")), ("other", true.into())]);
        let written = revise(&emptied, &anew, &moment(4_000)).unwrap().unwrap();
        written.nodes().into_iter().for_each(|node| history.insert(node));
        let joined = history.join(kept.addr(), written.frame.addr()).unwrap();
        let tip = history.get(&joined.tip).unwrap();
        let stands = content(tip).get(member).and_then(Value::as_str).unwrap().to_owned();
        for line in ["milk", "apples", "eggs"] {
            assert_eq!(stands.matches(line).count(), 1, "{stands}");
        }
        let [stone] = &tip.rel8n_addrs("conflict")[..] else { panic!("{}", tip.to_json()) };
        let again = history.get(stone).unwrap().datum("again").and_then(Value::as_str);
        assert_eq!(again, Some(conflict.stone.as_str()));
    }
}

/// A frame, and what stands there of `member` and is open.
struct Side<'h> {
    history: &'h mut History,
    frame: Node,
    at: i64,
}

impl Side<'_> {
    fn put(&mut self, nodes: Vec<Node>) {
        self.at += 1_000;
        nodes.iter().for_each(|node| self.history.insert(node.clone()));
        self.frame = nodes.last().unwrap().clone();
    }

    fn settle(mut self, conflict: &Conflict, resolution: Resolution) -> Self {
        self.put(settle(&self.frame, conflict, resolution, &moment(self.at)).unwrap().unwrap());
        self
    }

    fn edit(mut self, member: &str, value: Value) -> Self {
        let mut data = content(&self.frame);
        data.insert(member, value);
        let mut nodes = revise(&self.frame, &data, &moment(self.at)).unwrap().unwrap().nodes();
        let frame = nodes.iter().position(|node| node.rel8n("past").next().is_some()).unwrap();
        let frame = nodes.remove(frame);
        nodes.push(frame);
        self.put(nodes);
        self
    }
}

/// What a merge of the two leaves, and how often one of its stones names the conflict as one that is open again.
fn met(history: &mut History, [one, two]: [&Addr; 2], conflict: &Conflict) -> (Map, usize) {
    let joined = history.join(one, two).unwrap();
    joined.nodes.iter().for_each(|node| history.insert(node.clone()));
    let tip = history.get(&joined.tip).unwrap();
    let again = |stone: &Addr| {
        let again = history.get(stone).unwrap().datum("again").and_then(Value::as_str).map(str::to_owned);
        again.as_deref() == Some(conflict.stone.as_str())
    };
    let open = tip.rel8n_addrs("conflict").iter().filter(|stone| again(stone)).count();
    (content(tip), open)
}

fn read(text: &str) -> Value {
    Value::parse(text, ibgib::Mode::Strict).unwrap()
}

/// Somebody edits the place of a conflict while it is open; then two settle it, and one takes away what the other keeps.
#[test]
fn what_still_stands_at_an_edited_place_is_its_place() {
    let text = |middle: &str| Some(Value::from(format!("# Shopping\n{middle}the end of it\n")));
    let list = |text: &str| Some(read(text));
    let lines =
        ([text("milk\n"), text("apples\n"), text("bread\n")], text("apples\neggs\nbread\n"), text("apples\neggs\n"));
    let items = (
        [list(r#"["a","m","z"]"#), list(r#"["a","apples","z"]"#), list(r#"["a","bread","z"]"#)],
        list(r#"["a","apples","eggs","bread","z"]"#),
        list(r#"["a","apples","eggs","z"]"#),
    );
    for (member, (values, edited, without)) in [("text", lines.clone()), ("v", lines), ("v", items)] {
        let (mut history, frame, conflict) = history(member, values);
        let edited = Side { history: &mut history, frame, at: 2_000 }.edit(member, edited.unwrap()).frame;
        let keeps = Side { history: &mut history, frame: edited.clone(), at: 4_000 };
        let keeps = keeps.settle(&conflict, Resolution::Keep).frame;
        let takes = Side { history: &mut history, frame: edited, at: 5_000 };
        let takes = takes.settle(&conflict, Resolution::Keep).edit(member, without.unwrap()).frame;
        let (stands, open) = met(&mut history, [keeps.addr(), takes.addr()], &conflict);
        let stands = stands.get(member).unwrap().to_json();
        for line in ["apples", "eggs", "bread"] {
            assert_eq!(stands.matches(line).count(), 1, "{line}: {stands}");
        }
        assert_eq!(open, 1, "{stands}");
    }
}

/// Whoever settled that there is nothing makes it anew; what the other kept of the conflict does not go without a word.
#[test]
fn an_object_that_one_took_away_and_made_anew_and_the_other_kept_is_a_conflict_again() {
    let values = [Some(read(r#"{"a":1,"b":2}"#)), Some(read(r#"{"a":1,"b":3}"#)), None];
    let (mut history, frame, conflict) = history("v", values);
    let gone = if conflict.base.is_none() { Resolution::Base } else { Resolution::Orphan };
    let keeps = Side { history: &mut history, frame: frame.clone(), at: 2_000 };
    let keeps = keeps.settle(&conflict, Resolution::Keep).edit("other", false.into()).frame;
    let makes = Side { history: &mut history, frame, at: 5_000 };
    let makes = makes.settle(&conflict, gone).edit("v", read(r#"{"c":4}"#)).frame;
    let (stands, open) = met(&mut history, [keeps.addr(), makes.addr()], &conflict);
    assert_eq!(open, 1, "{stands:?}");
    // Both at other members: they go on where they are, and merge.
    let values = [Some(read(r#"{"a":1,"b":2}"#)), Some(read(r#"{"a":1,"b":3}"#)), None];
    let (mut history, frame, conflict) = self::history("v", values);
    let side = |history: &mut History, at: i64, value: &str| {
        let side = Side { history, frame: frame.clone(), at };
        side.settle(&conflict, Resolution::Keep).edit("v", read(value)).frame.addr().clone()
    };
    let one = side(&mut history, 2_000, r#"{"a":1,"b":3,"c":4}"#);
    let two = side(&mut history, 5_000, r#"{"a":5,"b":3}"#);
    let (stands, open) = met(&mut history, [&one, &two], &conflict);
    assert_eq!((stands.get("v"), open), (Some(&read(r#"{"a":5,"b":3,"c":4}"#)), 0));
}

/// What one moved the other may have settled to be gone.
#[test]
fn of_what_was_settled_a_delete_does_not_win_over_a_move() {
    let values = [r#"["a","m","z"]"#, r#"["a","l","z"]"#, r#"["a","r","z"]"#].map(|text| Some(read(text)));
    let (mut history, frame, conflict) = history("v", values);
    let moved = Side { history: &mut history, frame: frame.clone(), at: 2_000 };
    let moved = moved.settle(&conflict, Resolution::Keep).edit("v", read(r#"["a","r","z","l"]"#)).frame;
    let takes = Side { history: &mut history, frame, at: 5_000 };
    let takes = takes.settle(&conflict, Resolution::Keep).edit("v", read(r#"["a","r","z"]"#)).frame;
    let (stands, open) = met(&mut history, [moved.addr(), takes.addr()], &conflict);
    assert_eq!((stands.get("v"), open), (Some(&read(r#"["a","r","z","l"]"#)), 1));
}

/// Two merges find the same conflict, each for itself, so that no common ancestor has it.
#[test]
fn a_conflict_that_two_merges_found_apart_is_settled_by_both_as_any_other() {
    for (one, two) in [(Resolution::Base, Resolution::Orphan), (Resolution::Base, Resolution::Base)] {
        let first = fork(&IbGib::primitive("note").unwrap(), &ForkOpts::timeline("note"), &moment(0)).unwrap();
        let mut history = History::new();
        history.insert(first.frame.clone());
        let mut edit = |frame: &Node, member: &str, value: u32, at: i64| {
            Side { history: &mut history, frame: frame.clone(), at }.edit(member, value.into()).frame
        };
        let old = edit(&first.frame, "v", 1, 1_000);
        let (left, right) = (edit(&old, "v", 2, 2_000), edit(&old, "v", 3, 2_000));
        let (more_left, more_right) = (edit(&left, "l", 1, 3_000), edit(&right, "r", 1, 3_000));
        let mut merged = |one: &Node, two: &Node| {
            let joined = history.join(one.addr(), two.addr()).unwrap();
            joined.nodes.iter().for_each(|node| history.insert(node.clone()));
            let frame = history.get(&joined.tip).unwrap().clone();
            let [stone] = &frame.rel8n_addrs("conflict")[..] else { panic!("{}", frame.to_json()) };
            (frame, Conflict::of(history.get(stone).unwrap()))
        };
        let (here, of_here) = merged(&more_left, &right);
        let (there, of_there) = merged(&left, &more_right);
        // By value: which of the two is base depends on the frames.
        let chosen = |conflict: &Conflict, resolution| match (resolution, conflict.base == of_here.base) {
            (Resolution::Orphan, true) | (Resolution::Base, false) => Resolution::Orphan,
            _ => Resolution::Base,
        };
        let here = Side { history: &mut history, frame: here, at: 5_000 }.settle(&of_here, chosen(&of_here, one)).frame;
        let there = Side { history: &mut history, frame: there, at: 6_000 };
        let there = there.settle(&of_there, chosen(&of_there, two)).frame;
        let joined = history.join(here.addr(), there.addr()).unwrap();
        let tip = joined.nodes.iter().find(|node| *node.addr() == joined.tip).unwrap();
        let differ = content(&here).get("v") != content(&there).get("v");
        assert_eq!(tip.rel8n_addrs("conflict").len(), usize::from(differ), "{}", tip.to_json());
    }
}
