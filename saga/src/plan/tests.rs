use super::*;
use proptest::prelude::*;

/// Addresses that are told apart by a letter; a timeline's tips by the letter of their ib and a number.
fn tjp(name: &str) -> Addr {
    Addr::new(name, &"A".repeat(64)).unwrap()
}

fn tip(name: &str, n: usize) -> Addr {
    Addr::new(name, &format!("{n:064}.{}", "A".repeat(64))).unwrap()
}

fn node(n: usize) -> Addr {
    Addr::new("node", &format!("{n:064}")).unwrap()
}

fn own(tips: &[(&str, Option<usize>)], constants: &[(usize, bool)]) -> SenderAnswer {
    SenderAnswer::Tips(OwnTips {
        tips: tips.iter().map(|(name, n)| (tjp(name), n.map(|n| tip(name, n)))).collect(),
        constants: constants.iter().map(|(n, have)| (node(*n), *have)).collect(),
    })
}

fn told(tips: &[(&str, Option<usize>)]) -> Peeked {
    Peeked { tips: tips.iter().map(|(name, n)| (tjp(name), n.map(|n| tip(name, n)))).collect(), ..Peeked::default() }
}

fn bits(bits: &[bool]) -> Peeked {
    Peeked { has: bits.to_vec(), ..Peeked::default() }
}

fn listed(nodes: &[usize], tips: &[(&str, Option<usize>)]) -> Peeked {
    Peeked { nodes: nodes.iter().map(|n| node(*n)).collect(), ..told(tips) }
}

fn nodes(numbers: &[usize]) -> Vec<Addr> {
    numbers.iter().map(|n| node(*n)).collect()
}

/// What differs in every bucket, and these tips.
fn buckets(tips: &[(&str, Option<usize>)]) -> Peeked {
    Peeked { has: vec![true; 256], ..told(tips) }
}

fn only(names: &[&str]) -> Scope {
    Scope::Only(names.iter().map(|n| tjp(n)).collect())
}

/// A planner at work, and what it needs. Our tips are told when they are asked for, after the fingerprint.
struct Play {
    planner: Planner,
    need: Need,
    own: OwnTips,
}

impl Play {
    fn new(scope: Scope, direction: Direction) -> Self {
        Self::limited(scope, direction, &Limits::default())
    }

    fn limited(scope: Scope, direction: Direction, limits: &Limits) -> Self {
        let (planner, need) = Planner::new(scope, direction, limits);
        Self { planner, need, own: OwnTips::default() }
    }

    fn answer(mut self, answer: SenderAnswer) -> Self {
        let Need::Ask(_) = &self.need else { panic!("{:?} is not for our side", self.need) };
        assert!(!self.planner.awaits_peek());
        if matches!(self.need, Need::Ask(SenderQuery::Fingerprint(_))) {
            let SenderAnswer::Tips(own) = answer else { panic!("{answer:?} is not what we have") };
            self.own = own;
            self.need = self.planner.answer(SenderAnswer::Fingerprint("00".repeat(16))).unwrap();
            return self;
        }
        self.need = self.planner.answer(answer).unwrap();
        self
    }

    fn peeked(mut self, page: Peeked) -> Self {
        assert!(self.planner.awaits_peek(), "{:?}", self.need);
        self.need = self.planner.peeked(page).unwrap();
        let mut mine: BTreeMap<Addr, Addr> =
            self.own.tips.iter().cloned().filter_map(|(t, tip)| Some((t, tip?))).collect();
        match &self.need {
            Need::Ask(SenderQuery::Buckets(_)) => {
                let empty = mine.is_empty() && self.own.constants.is_empty();
                let own = OwnBuckets { fingerprints: Fingerprint::of(&mine).buckets, timelines: mine.len(), empty };
                self.answer(SenderAnswer::Buckets(own))
            }
            Need::Ask(SenderQuery::InBuckets(_, buckets)) => {
                mine.retain(|tjp, _| buckets.contains(&crate::fingerprint::bucket(tjp)));
                self.answer(SenderAnswer::InBuckets(mine.into_iter().collect()))
            }
            _ => self,
        }
    }

    fn compared(self, ancestries: &[Option<Ancestry>]) -> Self {
        self.answer(SenderAnswer::Compare(ancestries.to_vec()))
    }

    fn candidates(self, numbers: &[usize]) -> Self {
        self.answer(SenderAnswer::Candidates(nodes(numbers)))
    }

    fn lacking(self, numbers: &[usize]) -> Self {
        self.answer(SenderAnswer::Lacking(nodes(numbers)))
    }

    fn plan(self) -> Plan {
        match self.need {
            Need::Done(plan) => plan,
            need => panic!("{need:?}"),
        }
    }
}

const AHEAD: Option<Ancestry> = Some(Ancestry::Ahead);
const BEHIND: Option<Ancestry> = Some(Ancestry::Behind);
const DIVERGED: Option<Ancestry> = Some(Ancestry::Diverged);

#[test]
fn equal_fingerprints_end_it() {
    let play = Play::new(Scope::All, Direction::Both).answer(own(&[("a", Some(1))], &[]));
    let plan = play.peeked(Peeked { equal: true, ..Peeked::default() }).plan();
    assert!(plan.is_idle() && plan.items.is_empty());
}

#[test]
fn what_is_under_a_timeline_is_asked_for_by_its_name_alone() {
    let play = Play::new(Scope::Under(tjp("a")), Direction::Both).answer(own(&[("a", Some(1))], &[]));
    assert!(matches!(&play.need, Need::Peek(Peek::Equal(_, Some(root), 0)) if *root == tjp("a")), "{:?}", play.need);
    let play = play.peeked(Peeked::default());
    assert!(
        matches!(&play.need, Need::Peek(Peek::Buckets(_, Some(root), false)) if *root == tjp("a")),
        "{:?}",
        play.need
    );
    let play = play.peeked(buckets(&[("a", Some(1)), ("b", Some(1))])).compared(&[BEHIND]).candidates(&[]);
    assert!(matches!(&play.need, Need::Peek(Peek::List { items, live: false }) if *items == [(tip("b", 1), None)]));
}

#[test]
fn what_differs_is_pushed_pulled_or_merged() {
    let mine = [("a", Some(1)), ("b", Some(2)), ("c", Some(3)), ("d", Some(4)), ("e", Some(5))];
    let play = Play::new(Scope::All, Direction::Both).answer(own(&mine, &[])).peeked(Peeked::default());
    // a is the same, b behind there, c ahead there, d diverged, e only here, f only there.
    let theirs = [("a", Some(1)), ("b", Some(1)), ("c", Some(9)), ("d", Some(9)), ("f", Some(1))];
    let play = play.peeked(buckets(&theirs));
    let Need::Ask(SenderQuery::Compare(pairs)) = &play.need else { panic!("{:?}", play.need) };
    let names: Vec<&str> = pairs.iter().map(|p| p.tjp.ib()).collect();
    assert_eq!(names, ["b", "c", "d", "e", "f"]);
    let play = play.compared(&[AHEAD, BEHIND, DIVERGED, AHEAD, BEHIND]);
    let Need::Ask(SenderQuery::Candidates { starts, stops }) = &play.need else { panic!("{:?}", play.need) };
    assert_eq!(*starts, [tip("b", 2), tip("d", 4), tip("e", 5)]);
    assert_eq!(*stops, [tip("b", 1), tip("d", 9)]);
    let play = play.candidates(&[1, 2, 3]);
    let Need::Peek(Peek::Has(asked)) = &play.need else { panic!("{:?}", play.need) };
    assert_eq!(*asked, nodes(&[1, 2, 3]));
    let play = play.peeked(bits(&[false, true, false]));
    let Need::Peek(Peek::List { items, live: false }) = &play.need else { panic!("{:?}", play.need) };
    // Down to our tip where theirs builds on it; what our side could compare is here.
    assert_eq!(*items, [(tip("c", 9), Some(tip("c", 3))), (tip("f", 1), None)]);
    let plan = play.peeked(listed(&[7, 8, 7], &[])).lacking(&[7, 8]).plan();
    assert_eq!((plan.push.clone(), plan.want.clone()), (nodes(&[1, 3]), nodes(&[7, 8])));
    let ancestries: Vec<Ancestry> = plan.items.values().map(|i| i.ancestry).collect();
    assert_eq!(ancestries, [AHEAD, BEHIND, DIVERGED, AHEAD, BEHIND].map(Option::unwrap));
    assert!(plan.has_diverged() && !plan.is_idle());
    let after: Vec<_> = plan.foreseen().into_iter().map(|s| (s.action.as_str(), s.after)).collect();
    assert_eq!(after[0], ("pushed", Some(tip("b", 2))));
    assert_eq!(after[1], ("pulled", Some(tip("c", 9))));
    assert_eq!(after[2], ("merged", None));
}

#[test]
fn where_we_cannot_tell_the_receiver_tells_whether_it_has_our_tip() {
    let play = Play::new(Scope::All, Direction::Both).answer(own(&[("a", Some(1)), ("b", Some(1))], &[]));
    let play = play.peeked(Peeked::default()).peeked(buckets(&[("a", Some(9)), ("b", Some(9))]));
    let play = play.compared(&[None, None]);
    let Need::Peek(Peek::Has(asked)) = &play.need else { panic!("{:?}", play.need) };
    assert_eq!(*asked, [tip("a", 1), tip("b", 1)]);
    let play = play.peeked(bits(&[true, false])).answer(SenderAnswer::Before(vec![None]));
    let plan = play.candidates(&[]).peeked(Peeked::default()).lacking(&[]).plan();
    let ancestries: Vec<Ancestry> = plan.items.values().map(|i| i.ancestry).collect();
    assert_eq!(ancestries, [Ancestry::Behind, Ancestry::Diverged]);
}

#[test]
fn of_what_diverged_a_frame_that_both_sides_have_is_looked_for_further_and_further_back() {
    let mine = [("a", Some(100)), ("b", Some(100)), ("c", Some(3))];
    let play = Play::new(Scope::All, Direction::Both).answer(own(&mine, &[])).peeked(Peeked::default());
    let play = play.peeked(buckets(&[("a", Some(901)), ("b", Some(902)), ("c", Some(903))]));
    let mut play = play.compared(&[None, None, None]).peeked(bits(&[false, false, false]));
    // What is asked for, what lies there, and whether the receiver has it.
    let rounds: [(&[_], &[_], &[_]); 3] = [
        (&[("a", 100, 1), ("b", 100, 1), ("c", 3, 1)], &[Some(99), Some(99), Some(2)], &[true, false, false]),
        (&[("b", 99, 4), ("c", 2, 4)], &[Some(95), Some(0)], &[false, false]),
        (&[("b", 95, 16), ("c", 0, 16)], &[Some(79), None], &[true]),
    ];
    for (asked, found, has) in rounds {
        let frames: Vec<(Addr, u64)> = asked.iter().map(|(name, n, steps)| (tip(name, *n), *steps)).collect();
        let Need::Ask(SenderQuery::Before(before)) = &play.need else { panic!("{:?}", play.need) };
        assert_eq!(*before, frames);
        let found: Vec<_> = asked.iter().zip(found).map(|((name, ..), n)| n.map(|n| tip(name, n))).collect();
        play = play.answer(SenderAnswer::Before(found.clone()));
        let Need::Peek(Peek::Has(asked)) = &play.need else { panic!("{:?}", play.need) };
        assert_eq!(*asked, found.into_iter().flatten().collect::<Vec<_>>());
        play = play.peeked(bits(has));
    }
    let Need::Ask(SenderQuery::Candidates { starts, stops }) = &play.need else { panic!("{:?}", play.need) };
    assert_eq!(*starts, [tip("a", 100), tip("b", 100), tip("c", 3)]);
    assert_eq!(*stops, [tip("a", 901), tip("a", 99), tip("b", 902), tip("b", 79), tip("c", 903)]);
    let play = play.candidates(&[]);
    let Need::Peek(Peek::List { items, .. }) = &play.need else { panic!("{:?}", play.need) };
    let under = [("a", 901, Some(99)), ("b", 902, Some(79)), ("c", 903, None)];
    assert_eq!(*items, under.map(|(name, n, under)| (tip(name, n), under.map(|n| tip(name, n)))));
}

#[test]
fn one_direction_asks_only_for_what_travels_that_way() {
    let start = |direction| {
        let play = Play::new(Scope::All, direction).answer(own(&[("a", Some(2)), ("b", Some(1))], &[]));
        play.peeked(Peeked::default()).peeked(buckets(&[("a", Some(1)), ("b", Some(2))])).compared(&[AHEAD, BEHIND])
    };
    let pushing = start(Direction::Push);
    let plan = pushing.candidates(&[1]).peeked(bits(&[false])).plan();
    assert_eq!((plan.push, plan.want), (nodes(&[1]), vec![]));
    let pulling = start(Direction::Pull);
    assert!(matches!(&pulling.need, Need::Ask(SenderQuery::Candidates { starts, .. }) if starts.is_empty()));
    let plan = pulling.candidates(&[]).peeked(listed(&[5], &[])).lacking(&[5]).plan();
    assert_eq!((plan.push, plan.want), (vec![], nodes(&[5])));
}

#[test]
fn an_empty_side_takes_all_without_having_it_listed() {
    let play = Play::new(Scope::All, Direction::Both).answer(own(&[], &[]));
    let plan =
        play.peeked(Peeked::default()).peeked(buckets(&[("a", Some(1))])).compared(&[BEHIND]).candidates(&[]).plan();
    assert!(plan.takes_all && plan.want.is_empty());
    assert_eq!(plan.items.len(), 1);
}

#[test]
fn an_empty_receiver_is_not_asked_what_it_has() {
    let play = Play::new(Scope::All, Direction::Both).answer(own(&[("a", Some(1))], &[]));
    let play = play.peeked(Peeked { empty: true, ..Peeked::default() }).peeked(buckets(&[])).compared(&[AHEAD]);
    assert_eq!(play.candidates(&[1, 2]).plan().push, nodes(&[1, 2]));
}

#[test]
fn constants_travel_once() {
    let scope = Scope::Only(nodes(&[1, 2, 3]));
    let play = Play::new(scope, Direction::Both).answer(own(&[], &[(1, true), (2, true), (3, false)]));
    // Nobody's tips are asked for, but whether the receiver is empty.
    assert!(matches!(&play.need, Need::Peek(Peek::Tips(tips)) if tips.is_empty()));
    let play = play.peeked(Peeked { empty: true, ..Peeked::default() }).compared(&[]).candidates(&[1, 2]);
    let plan = play.peeked(bits(&[true, false])).plan();
    assert_eq!((plan.constants.clone(), plan.want.clone()), (nodes(&[1, 2]), nodes(&[3])));
    assert_eq!(plan.push, nodes(&[2]));
    assert!(!plan.constants_known && !plan.is_idle());
}

#[test]
fn timelines_that_are_heard_of_late_make_another_round() {
    let start = |limits: &Limits| {
        let play = Play::limited(only(&["a"]), Direction::Both, limits).answer(own(&[("a", Some(1))], &[]));
        let play = play.peeked(told(&[("a", Some(2))])).compared(&[BEHIND]).candidates(&[]);
        assert!(matches!(&play.need, Need::Peek(Peek::List { live: true, .. })));
        // a itself is in the plan; b is not.
        play.peeked(listed(&[1], &[("a", Some(2)), ("b", Some(2)), ("c", None)]))
    };
    let play = start(&Limits::default()).lacking(&[1]);
    assert!(matches!(&play.need, Need::Ask(SenderQuery::Tips(Scope::Only(addrs))) if *addrs == [tjp("b")]));
    // Our side reaches a from b: it stays as it is planned.
    let play = play.answer(own(&[("a", Some(1)), ("b", Some(1))], &[]));
    let Need::Ask(SenderQuery::Compare(pairs)) = &play.need else { panic!("{:?}", play.need) };
    assert_eq!(*pairs, [TipPair { tjp: tjp("b"), mine: Some(tip("b", 1)), theirs: Some(tip("b", 2)) }]);
    let play = play.compared(&[BEHIND]).candidates(&[]).peeked(listed(&[1, 2], &[])).lacking(&[1, 2]);
    let plan = play.plan();
    assert_eq!(plan.want, nodes(&[1, 2]));
    assert_eq!(plan.items[&tjp("a")].theirs, Some(tip("a", 2)));
    assert_eq!(plan.items[&tjp("b")].ancestry, Ancestry::Behind);

    let mut play = start(&Limits { late_rounds_max: 0, ..Limits::default() });
    let error = play.planner.answer(SenderAnswer::Lacking(nodes(&[1]))).unwrap_err();
    assert_eq!(error, SagaError::Limit { name: "late_rounds_max", limit: 0 });
}

#[test]
fn answers_come_in_pages_and_questions_in_parts() {
    let many: Vec<usize> = (0..4_000).collect();
    let play = Play::new(Scope::All, Direction::Push).answer(own(&[("a", Some(1))], &[]));
    let play = play.peeked(Peeked::default());
    // The tips of one answer on two pages.
    let play = play.peeked(Peeked { more: true, ..buckets(&[]) });
    assert!(matches!(play.need, Need::Page));
    let mut play = play.peeked(told(&[("a", Some(9))])).compared(&[DIVERGED]).candidates(&many);
    let mut asked = Vec::new();
    while let Need::Peek(Peek::Has(addrs)) = &play.need {
        assert!(addrs.iter().map(address_bytes).sum::<usize>() <= 200_000);
        asked.extend(addrs.clone());
        let answer = bits(&vec![false; addrs.len()]);
        play = play.peeked(answer);
    }
    assert_eq!(asked, nodes(&many));
    assert_eq!(play.plan().push, nodes(&many));
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let asked = || {
        let play = Play::new(Scope::All, Direction::Both).answer(own(&[("a", Some(1))], &[]));
        play.peeked(Peeked::default()).peeked(buckets(&[("a", Some(9))])).compared(&[None])
    };
    for has in [vec![], vec![true, true]] {
        assert_eq!(asked().planner.peeked(bits(&has)).unwrap_err().code(), "bad_peek");
    }
    let limits = Limits { list_max: 2, ..Limits::default() };
    let mut play = Play::limited(only(&["a"]), Direction::Both, &limits).answer(own(&[("a", Some(1))], &[]));
    let three = told(&[("a", Some(1)), ("b", Some(1)), ("c", Some(1))]);
    assert_eq!(play.planner.peeked(three).unwrap_err(), SagaError::Limit { name: "list_max", limit: 2 });
}

#[test]
fn an_answer_to_another_question_is_loud() {
    let wrong = || [SenderAnswer::Stage, SenderAnswer::Candidates(vec![]), SenderAnswer::Compare(vec![BEHIND; 9])];
    let plays: [fn() -> Play; 4] = [
        || Play::new(Scope::All, Direction::Both),
        || Play::new(Scope::All, Direction::Both).answer(own(&[], &[])),
        || Play::new(only(&["a"]), Direction::Both).answer(own(&[], &[])).peeked(Peeked::default()),
        || {
            let play = Play::new(only(&["a"]), Direction::Both).answer(own(&[], &[]));
            play.peeked(told(&[("a", Some(1))])).compared(&[BEHIND]).candidates(&[]).peeked(listed(&[1], &[]))
        },
    ];
    for play in plays {
        for answer in wrong() {
            assert_eq!(play().planner.answer(answer).unwrap_err().code(), "internal");
        }
        let mut play = play();
        if !play.planner.awaits_peek() {
            assert_eq!(play.planner.peeked(Peeked::default()).unwrap_err().code(), "internal");
            // And a planner that has failed stays so.
            assert_eq!(play.planner.answer(own(&[], &[])).unwrap_err().code(), "internal");
        }
    }
}

proptest! {
    #[test]
    fn batches_hold_everything_in_order_and_fit(sizes in prop::collection::vec(1usize..90_000, 0..40)) {
        let batches = batches(sizes.clone(), |size| *size);
        prop_assert!(batches.iter().all(|b| !b.is_empty() && b.iter().sum::<usize>() <= 200_000));
        // No batch could have taken the first of the next one.
        prop_assert!(batches.windows(2).all(|w| w[0].iter().sum::<usize>() + w[1][0] > 200_000));
        prop_assert_eq!(batches.concat(), sizes);
    }
}
