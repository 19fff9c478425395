use super::*;
use crate::ask::{OwnBuckets, SenderAnswer, SenderQuery, TipPair};
use crate::buckets::Buckets;
use crate::limits::Limits;
use crate::plan::{Need, Planner};
use crate::request::{Direction, Scope};
use crate::wire::message::Message;
use crate::wire::packed::Packing;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

type Tips = BTreeMap<Addr, Addr>;

fn hash(of: &str) -> String {
    hex::encode(Sha256::digest(of)).to_uppercase()
}

fn tjp(n: usize) -> Addr {
    Addr::new("note", &hash(&n.to_string())).unwrap()
}

fn tip(n: usize, version: u32) -> Addr {
    Addr::new("note", &format!("{}.{}", hash(&format!("{n} {version}")), hash(&n.to_string()))).unwrap()
}

fn tips(of: impl IntoIterator<Item = usize>) -> Tips {
    of.into_iter().map(|n| (tjp(n), tip(n, 0))).collect()
}

/// What planning asked and heard until it knew what differs.
#[derive(Debug, Default)]
struct Asked {
    round: Vec<TipPair>,
    peeks: usize,
    bytes: usize,
}

impl Asked {
    /// Of a receiver with these tips; `knows`: it knows cells. `edit` may change its answers.
    fn plan(mine: &Tips, theirs: &Tips, knows: bool, edit: impl Fn(&mut Peeked)) -> Result<Self, SagaError> {
        let (mut planner, mut need) = Planner::new(Scope::All, Direction::Both, &Limits::default());
        let (mut out, theirs) = (Self::default(), Buckets::of(theirs.clone()));
        let (mut here, mut there) = (Packing::default(), Packing::default());
        let mut pages = Vec::new().into_iter();
        loop {
            need = match need {
                Need::Ask(SenderQuery::Fingerprint(_)) => {
                    planner.answer(SenderAnswer::Fingerprint(Buckets::of(mine.clone()).fingerprint().whole.clone()))?
                }
                Need::Ask(SenderQuery::Buckets(_)) => {
                    let fingerprints = Buckets::of(mine.clone()).fingerprint().buckets.clone();
                    let own = OwnBuckets { fingerprints, timelines: mine.len(), empty: mine.is_empty() };
                    planner.answer(SenderAnswer::Buckets(own))?
                }
                Need::Ask(SenderQuery::InBuckets(_, buckets)) => {
                    let is_in = |(tjp, _): &(&Addr, &Addr)| buckets.contains(&bucket(tjp));
                    let tips = mine.iter().filter(is_in).map(|(tjp, tip)| (tjp.clone(), tip.clone()));
                    planner.answer(SenderAnswer::InBuckets(tips.collect()))?
                }
                Need::Ask(SenderQuery::Compare(round)) => return Ok(Self { round, ..out }),
                Need::Peek(peek) => {
                    out.peeks += 1;
                    out.bytes += here.pack(&Message::Peek(peek.clone())).len();
                    let mut answer = match peek {
                        Peek::Equal(whole, ..) => {
                            Peeked { equal: whole == theirs.fingerprint().whole, ..Peeked::default() }
                        }
                        Peek::Buckets(buckets, _, split) => theirs.differing(&buckets, split && knows),
                        Peek::Cells(cells, asked, _) => theirs.beside(&cells, &asked),
                        peek => panic!("{peek:?}"),
                    };
                    edit(&mut answer);
                    pages = answer.pages(20_000).into_iter();
                    let page = pages.next().unwrap();
                    out.bytes += there.pack(&Message::PeekOk(page.clone())).len();
                    planner.peeked(page)?
                }
                Need::Page => {
                    let page = pages.next().unwrap();
                    out.bytes += there.pack(&Message::PeekOk(page.clone())).len();
                    planner.peeked(page)?
                }
                Need::Done(_) => return Ok(out),
                need => panic!("{need:?}"),
            }
        }
    }

    fn honest(mine: &Tips, theirs: &Tips) -> Self {
        Self::plan(mine, theirs, true, |_| {}).unwrap()
    }
}

/// The timelines that differ.
fn differ(mine: &Tips, theirs: &Tips) -> Vec<TipPair> {
    let all: std::collections::BTreeSet<&Addr> = mine.keys().chain(theirs.keys()).collect();
    let pair =
        |tjp: &Addr| TipPair { tjp: tjp.clone(), mine: mine.get(tjp).cloned(), theirs: theirs.get(tjp).cloned() };
    all.into_iter().map(pair).filter(|pair| pair.mine != pair.theirs).collect()
}

/// Two sides that had the same so many timelines, of which every so many-th changed.
fn apart(timelines: usize, differences: usize) -> (Tips, Tips) {
    let mine = tips(0..timelines);
    let mut theirs = mine.clone();
    for n in (0..timelines).step_by(timelines / differences).take(differences) {
        theirs.insert(tjp(n), tip(n, 1));
    }
    (mine, theirs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn exactly_what_differs_is_found(
        both in prop_oneof![0usize..100, 2_000usize..2_100, 4_000usize..6_000],
        changes in prop::collection::vec((0usize..6_000, 0u32..3, 0u32..3), 0..40),
        (only_mine, only_theirs) in (0usize..400, 0usize..400),
        (mine_first, theirs_first) in (0usize..400, 0usize..400),
        knows in any::<bool>(),
    ) {
        let all = 10_000;
        let mut mine = tips((0..both).chain(all + mine_first..all + mine_first + only_mine));
        let mut theirs = tips((0..both).chain(all + theirs_first..all + theirs_first + only_theirs));
        for (n, here, there) in changes.into_iter().filter(|(n, ..)| *n < both) {
            mine.insert(tjp(n), tip(n, here));
            theirs.insert(tjp(n), tip(n, there));
        }
        let mut asked = Asked::plan(&mine, &theirs, knows, |_| {}).unwrap();
        asked.round.sort_by(|a, b| a.tjp.cmp(&b.tjp));
        prop_assert_eq!(asked.round, differ(&mine, &theirs));
        let peeks_max = if knows && mine.len() > FEW { 3 } else { 2 };
        prop_assert!(asked.peeks <= peeks_max);
    }
}

#[test]
fn what_is_asked_and_told_grows_with_what_differs_and_hardly_with_what_is_there() {
    let (few, many) = (apart(4_000, 10), apart(100_000, 10));
    let [few, many] = [&few, &many].map(|(mine, theirs)| Asked::honest(mine, theirs));
    assert_eq!((few.round.len(), many.round.len()), (10, 10));
    assert!(few.peeks <= 3 && many.peeks <= 3);
    // Each bucket's cells, and what is in one of them, grow with the square root.
    assert!(many.bytes < 16_000 && many.bytes < 2 * few.bytes, "{} and {} bytes", few.bytes, many.bytes);
    let (mine, theirs) = apart(100_000, 40);
    assert!(Asked::honest(&mine, &theirs).bytes < 4 * many.bytes);
}

/// Of as many as `IBGIB_TIMELINES` says: a million take their time.
#[test]
#[allow(clippy::disallowed_methods, reason = "the environment chooses how many there are")]
fn ten_of_very_many_are_found_in_forty_kilobytes() {
    let many =
        std::env::var("IBGIB_TIMELINES").map_or(50_000, |text| text.parse().expect("IBGIB_TIMELINES is a number"));
    let (mine, theirs) = apart(many, 10);
    let asked = Asked::honest(&mine, &theirs);
    assert_eq!((asked.round.len(), asked.peeks), (10, 3));
    assert!(asked.bytes < 40_000, "{}", asked.bytes);
}

#[test]
fn a_few_timelines_are_asked_for_as_ever() {
    let (mine, theirs) = apart(FEW, 256);
    let (new, old) = (Asked::honest(&mine, &theirs), Asked::plan(&mine, &theirs, false, |_| {}).unwrap());
    assert_eq!((new.peeks, new.bytes), (old.peeks, old.bytes));
    // Nor are cells asked for where the receiver tells little.
    let (mine, theirs) = apart(FEW + 1, 3);
    assert_eq!(Asked::honest(&mine, &theirs).peeks, 2);
}

#[test]
fn a_receiver_that_does_not_know_cells_tells_tips() {
    let (mine, theirs) = apart(6_000, 20);
    let (new, old) = (Asked::honest(&mine, &theirs), Asked::plan(&mine, &theirs, false, |_| {}).unwrap());
    assert_eq!((old.round.len(), old.peeks, new.round.len(), new.peeks), (20, 2, 20, 3));
    assert!(new.bytes * 3 < old.bytes, "{} and {} bytes", new.bytes, old.bytes);
}

#[test]
fn a_sender_that_does_not_know_cells_is_told_tips() {
    let (mine, theirs) = apart(6_000, 20);
    let buckets = Buckets::of(mine).fingerprint().buckets.clone();
    let told = Buckets::of(theirs).differing(&buckets, false);
    assert!(told.cells.is_empty() && told.tips.len() > 200);
}

#[test]
fn cells_that_were_not_asked_for_or_do_not_fit_are_refused() {
    let (mine, theirs) = apart(6_000, 20);
    type Edit = (&'static str, fn(&mut Peeked));
    let edits: [Edit; 7] = [
        ("another number of cells", |answer| answer.cells[0].1.truncate(3)),
        ("another number of cells", |answer| answer.cells[0].1 = vec![EMPTY; 2 << CELL_BITS_MAX]),
        ("another number of cells", |answer| answer.cells[0].1 = vec![EMPTY]),
        ("different numbers of cells", |answer| answer.cells[1].1 = vec![EMPTY; 16]),
        ("or twice", |answer| answer.cells.push(answer.cells[0].clone())),
        ("does not differ", |answer| answer.cells[0].0 = answer.has.iter().position(|differs| !differs).unwrap()),
        ("another number of answers", |answer| answer.has.truncate(1)),
    ];
    for (why, edit) in edits {
        let edit = |answer: &mut Peeked| {
            if !answer.cells.is_empty() {
                edit(answer);
            }
        };
        let error = Asked::plan(&mine, &theirs, true, edit).unwrap_err();
        assert_eq!(error.code(), "bad_peek", "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let (mine, theirs) = apart(FEW, 20);
    let unasked = |answer: &mut Peeked| {
        if !answer.has.is_empty() {
            answer.cells = (0..BUCKETS).filter(|b| answer.has[*b]).map(|b| (b, vec![EMPTY; 2])).collect();
        }
    };
    assert_eq!(Asked::plan(&mine, &theirs, true, unasked).unwrap_err().code(), "bad_peek");
}

#[test]
fn tips_of_cells_that_were_not_asked_about_are_passed_over() {
    let (mine, theirs) = apart(6_000, 20);
    let more = |answer: &mut Peeked| {
        if !answer.tips.is_empty() {
            answer.tips.extend((10_000..10_100).map(|n| (tjp(n), Some(tip(n, 0)))));
        }
    };
    let (honest, edited) = (Asked::honest(&mine, &theirs), Asked::plan(&mine, &theirs, true, more).unwrap());
    // As in buckets, some lie in a cell that was asked about.
    assert!(edited.round.len() < honest.round.len() + 20, "{}", edited.round.len());
}

#[test]
fn a_cell_with_very_many_timelines_is_asked_for_whole() {
    // One cell of one bucket, made by hand.
    let hash = |n: usize| format!("0000{n:060X}");
    let tjp = |n: usize| Addr::new("note", &hash(n)).unwrap();
    let tip = |n: usize| Addr::new("note", &format!("{:064X}.{}", n, hash(n))).unwrap();
    let mine: Tips = (0..SHORTS_MAX + 1).map(|n| (tjp(n), tip(n))).collect();
    let mut theirs = mine.clone();
    theirs.remove(&tjp(7));
    theirs.insert(tjp(8), tip(0x8000_0000));
    let asked = Asked::honest(&mine, &theirs);
    assert_eq!(asked.round, differ(&mine, &theirs));
    assert_eq!(asked.peeks, 3);
}

#[test]
fn no_cell_or_timeline_looks_the_same_to_another_comparison() {
    let (mine, _) = apart(100, 1);
    let [one, other] = ["one", "other"].map(|salt| Cells { bits: 1, salt: salt.into() });
    assert_ne!(one.short(&mine), other.short(&mine));
    assert_eq!(Cells::for_buckets_of(0, String::new()).bits, 1);
    assert_eq!(Cells::for_buckets_of(usize::MAX, String::new()).bits, CELL_BITS_MAX);
}
