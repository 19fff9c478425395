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
