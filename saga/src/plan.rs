//! What a saga would do, found out before it opens: a value that asks (its own side and, by peeks, the receiver) until
//! every timeline in scope is known to be a push, a pull or diverged, and every node that has to travel is named.
//!
//! One round: how do our tips stand to the receiver's, and where we cannot tell, does it have ours? Where both sides have
//! edits that the other lacks, which of the frames before ours has it, the nearest first? What lies under
//! our tips that it may lack, and which of that has it? What lies under its tips, and which of that do we lack? What is
//! listed may belong to timelines that we only now hear of: they make another round.

mod asking;
mod differing;

use crate::ask::{OwnBuckets, OwnTips, SenderAnswer, SenderQuery, TipPair};
use crate::error::SagaError;
use crate::fingerprint::{BUCKETS, Fingerprint};
use crate::limits::Limits;
use crate::request::{Direction, Scope};
use crate::summary::TimelineSummary;
use crate::wire::peek::{Peek, Peeked};
use asking::{Asking, More, address_bytes, batches};
use differing::{Differing, splits};
use ibgib::Addr;
use ibgib::timeline::Ancestry;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a saga would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The timelines that differ.
    pub items: BTreeMap<Addr, Item>,
    /// Constants that we have and that are in scope.
    pub constants: Vec<Addr>,
    /// Nodes to ask for.
    pub want: Vec<Addr>,
    /// Nodes to send, dependencies first.
    pub push: Vec<Addr>,
    /// We hold nothing: all that lies under the receiver's tips has to come, and is not listed in `want`.
    pub takes_all: bool,
    /// The receiver has each of the constants.
    pub constants_known: bool,
}

/// A timeline in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Our tip.
    pub mine: Option<Addr>,
    /// The receiver's tip.
    pub theirs: Option<Addr>,
    /// How ours stands to the receiver's.
    pub ancestry: Ancestry,
}

impl Plan {
    /// Whether a saga would move nothing.
    pub fn is_idle(&self) -> bool {
        let same = self.items.values().all(|i| i.ancestry == Ancestry::Same);
        same && self.constants_known && self.want.is_empty() && self.push.is_empty()
    }

    /// Whether there is a timeline in which both sides have edits that the other lacks.
    pub fn has_diverged(&self) -> bool {
        self.items.values().any(|i| i.ancestry == Ancestry::Diverged)
    }

    /// How many timelines differ of those that both sides have.
    pub fn moves(&self) -> usize {
        self.items.values().filter(|item| item.mine.is_some() && item.theirs.is_some()).count()
    }

    /// What a saga would do to each timeline. Where it would merge, nobody knows yet what our tip will be.
    pub fn foreseen(&self) -> Vec<TimelineSummary> {
        let foresee = |(tjp, item): (&Addr, &Item)| TimelineSummary {
            tjp: tjp.clone(),
            before: item.mine.clone(),
            after: match item.ancestry {
                Ancestry::Same | Ancestry::Ahead => item.mine.clone(),
                Ancestry::Behind => item.theirs.clone(),
                Ancestry::Diverged => None,
            },
            action: item.ancestry.into(),
            new_there: item.theirs.is_none(),
            why: None,
        };
        self.items.iter().map(foresee).collect()
    }
}

/// What a planner needs next.
#[derive(Clone, Debug)]
pub enum Need {
    /// An answer of our own side, given to [`Planner::answer`].
    Ask(SenderQuery),
    /// The receiver's answer to this, given to [`Planner::peeked`].
    Peek(Peek),
    /// Another page of that answer.
    Page,
    /// Nothing: this is the plan.
    Done(Plan),
}

#[derive(Debug)]
enum Phase {
    /// Our own side is asked.
    Ours(Ours),
    /// The receiver is asked.
    Theirs(Box<Asking>, Theirs),
    /// The plan was handed out, or planning failed.
    Over,
}

#[derive(Debug)]
enum Ours {
    /// Is there anything to do? The fingerprint tells, without our tips being read.
    Fingerprint,
    /// How do our tips look by bucket?
    Buckets,
    /// What are our tips in the buckets that differ? With the receiver's answer, and what ours looked like.
    InBuckets(Box<(Peeked, Fingerprint, usize)>),
    /// What is in scope?
    Tips,
    /// What do we have of timelines that we only now heard of? With the receiver's tips.
    LateTips(HashMap<Addr, Addr>),
    /// How do these stand to each other, as far as our side can tell?
    Compare(Vec<TipPair>),
    /// What comes before our frames of timelines that have diverged?
    Before(Round, Vec<Seek>),
    /// What lies under our tips, down to what the receiver has?
    Candidates(Wanted),
    /// Which of what the receiver listed do we lack? With the timelines it told that are not in the plan yet.
    Lacking(HashMap<Addr, Addr>),
}

#[derive(Debug)]
enum Theirs {
    /// Is everything equal?
    Equal,
    /// In which buckets do tips differ? With our fingerprint, and how many timelines we have.
    Buckets(Fingerprint, usize),
    /// Which tips of cells differ?
    Cells(Differing),
    /// What are the tips of these?
    Tips { mine: BTreeMap<Addr, Option<Addr>> },
    /// Does the receiver have our tip, where we do not have its? `None` is what we cannot tell.
    Unsure { round: Round, asked: Vec<Addr> },
    /// Which of the frames before ours does it have?
    Before { round: Round, seeks: Vec<Seek>, asked: Vec<Addr> },
    /// Which of the candidates does it have already?
    Has { wanted: Wanted, candidates: Vec<Addr> },
    /// What lies under its tips?
    List,
}

/// The timelines of a round, and how they stand as far as our side can tell.
type Round = Vec<(TipPair, Option<Ancestry>)>;
/// What a round has the receiver list: its tips, each with what we have under it.
type Wanted = Vec<(Addr, Option<Addr>)>;

/// A timeline that has diverged, of which a frame is looked for that both sides have.
#[derive(Debug)]
struct Seek {
    tjp: Addr,
    /// The receiver does not have this frame of ours.
    above: Addr,
    /// The next that it is asked about is so many frames before.
    step: u64,
}

/// How much further the next step goes back, if the receiver does not have a frame either: of a history that diverged n
/// frames ago little more than log n frames are asked about, and what is looked at is at most so many times n.
const STEPS_GROW: u64 = 4;

/// Finds out what a saga would do. What it [needs](Need) it is given, one after the other.
#[derive(Debug)]
pub struct Planner {
    direction: Direction,
    /// The receiver knows the scope by itself (everything, or what is under `root`): all that differs is found at once,
    /// and no timeline late.
    known: bool,
    root: Option<Addr>,
    list_max: u64,
    late_rounds_max: u32,
    plan: Plan,
    they_are_empty: bool,
    /// What the receiver has of what it was asked for, in all rounds.
    their_has: HashSet<Addr>,
    /// Of timelines that have diverged a frame that both sides have.
    common: HashMap<Addr, Addr>,
    /// Rounds of timelines that we heard of late.
    late_rounds: u32,
    phase: Phase,
}

impl Planner {
    /// A planner, and its first need.
    pub fn new(scope: Scope, direction: Direction, limits: &Limits) -> (Self, Need) {
        let (known, root) = (matches!(scope, Scope::All | Scope::Under(_)), scope.root().cloned());
        let (ours, query) = match known {
            true => (Ours::Fingerprint, SenderQuery::Fingerprint(root.clone())),
            false => (Ours::Tips, SenderQuery::Tips(scope)),
        };
        let planner = Self {
            direction,
            known,
            root,
            list_max: limits.list_max,
            late_rounds_max: limits.late_rounds_max,
            plan: Plan::default(),
            they_are_empty: false,
            their_has: HashSet::new(),
            common: HashMap::new(),
            late_rounds: 0,
            phase: Phase::Ours(ours),
        };
        (planner, Need::Ask(query))
    }

    /// Whether it needs an answer of the receiver.
    pub fn awaits_peek(&self) -> bool {
        matches!(self.phase, Phase::Theirs(..))
    }

    /// Takes an answer of our own side.
    ///
    /// # Errors
    /// It answers another question, or [`Limits::late_rounds_max`] is crossed.
    pub fn answer(&mut self, answer: SenderAnswer) -> Result<Need, SagaError> {
        let phase = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ours(ours) => ours,
            phase => return Err(unasked(&phase, answer.question())),
        };
        match (phase, answer) {
            (Ours::Fingerprint, SenderAnswer::Fingerprint(whole)) => {
                Ok(self.peek_or([Peek::Equal(whole, self.root.clone(), 0)], Theirs::Equal, Self::done))
            }
            (Ours::Buckets, SenderAnswer::Buckets(own)) if own.fingerprints.len() == BUCKETS => Ok(self.buckets(own)),
            (Ours::InBuckets(asked), SenderAnswer::InBuckets(mine)) => {
                let (answer, Fingerprint { whole, .. }, timelines) = *asked;
                let differing = Differing::of(mine.into_iter().collect(), timelines, answer, whole)?;
                Ok(match Asking::begin(differing.peeks(self.root.as_ref())) {
                    Some((asking, first)) => self.peek(asking, first, Theirs::Cells(differing)),
                    None => self.differing(differing),
                })
            }
            (Ours::Tips, SenderAnswer::Tips(tips)) => Ok(self.tips(tips)),
            (Ours::LateTips(theirs), SenderAnswer::Tips(tips)) => Ok(self.late_tips(&theirs, tips.tips)),
            (Ours::Compare(pairs), SenderAnswer::Compare(found)) if pairs.len() == found.len() => {
                Ok(self.compared(pairs.into_iter().zip(found).collect()))
            }
            (Ours::Before(round, seeks), SenderAnswer::Before(found)) if seeks.len() == found.len() => {
                Ok(self.before(round, seeks, found))
            }
            (Ours::Candidates(wanted), SenderAnswer::Candidates(candidates)) => Ok(self.candidates(wanted, candidates)),
            (Ours::Lacking(late), SenderAnswer::Lacking(lacking)) => self.lacking(late, lacking),
            (phase, answer) => Err(unasked(&phase, answer.question())),
        }
    }

    /// Takes a page of the receiver's answer.
    ///
    /// # Errors
    /// It does not fit the question, or crosses [`Limits::list_max`].
    pub fn peeked(&mut self, page: Peeked) -> Result<Need, SagaError> {
        let (mut asking, theirs) = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Theirs(asking, theirs) => (asking, theirs),
            phase => return Err(unasked(&phase, "a peek")),
        };
        if let Some(more) = asking.page(page, self.list_max)? {
            self.phase = Phase::Theirs(asking, theirs);
            return Ok(match more {
                More::Page => Need::Page,
                More::Peek(peek) => Need::Peek(peek),
            });
        }
        let answer = asking.whole;
        Ok(match theirs {
            Theirs::Equal => {
                self.they_are_empty = answer.empty;
                if answer.equal {
                    return Ok(self.done());
                }
                self.ask(SenderQuery::Buckets(self.root.clone()), Ours::Buckets)
            }
            Theirs::Buckets(mine, timelines) => {
                // Of a bucket that is empty here there is nothing to ask.
                let differ = std::iter::zip(&answer.has, &mine.buckets).enumerate();
                let differ = differ.filter(|(_, (differs, mine))| **differs && !mine.is_empty()).map(|(n, _)| n);
                let query = SenderQuery::InBuckets(self.root.clone(), differ.collect());
                self.ask(query, Ours::InBuckets(Box::new((answer, mine, timelines))))
            }
            Theirs::Cells(mut differing) => {
                differing.answered(answer);
                self.differing(differing)
            }
            Theirs::Tips { mine } => {
                self.they_are_empty = answer.empty;
                self.compare(mine, answer.tips)
            }
            Theirs::Unsure { round, asked } => {
                self.their_has.extend(having(asked, answer.has));
                let seeks = self.diverged(&round);
                self.seek(round, seeks)
            }
            Theirs::Before { round, mut seeks, asked } => {
                self.their_has.extend(having(asked, answer.has));
                seeks.retain_mut(|seek| {
                    let lacks = !self.their_has.contains(&seek.above);
                    if !lacks {
                        self.common.insert(seek.tjp.clone(), seek.above.clone());
                    }
                    seek.step = seek.step.saturating_mul(STEPS_GROW);
                    lacks
                });
                self.seek(round, seeks)
            }
            Theirs::Has { wanted, candidates } => {
                self.their_has.extend(having(candidates.clone(), answer.has));
                self.list(wanted, candidates)
            }
            Theirs::List => self.listed(answer),
        })
    }

    // -- what differs --------------------------------------------------------------------------------------------

    fn buckets(&mut self, own: OwnBuckets) -> Need {
        self.plan.takes_all = own.empty;
        let peek = Peek::Buckets(own.fingerprints.clone(), self.root.clone(), splits(own.timelines));
        let mine = Fingerprint::of_buckets(own.fingerprints);
        self.peek_or([peek], Theirs::Buckets(mine, own.timelines), Self::done)
    }

    fn tips(&mut self, own: OwnTips) -> Need {
        for (constant, have) in own.constants {
            if have {
                self.plan.constants.push(constant);
            } else {
                self.plan.want.push(constant);
            }
        }
        let mut asked = batches(own.tips.iter().map(|(tjp, _)| tjp.clone()).collect(), address_bytes);
        if asked.is_empty() {
            // Asked all the same: the answer also tells whether the receiver is empty.
            asked.push(Vec::new());
        }
        let mine = own.tips.into_iter().collect();
        self.peek_or(asked.into_iter().map(Peek::Tips), Theirs::Tips { mine }, Self::done)
    }

    fn differing(&mut self, Differing { mine, theirs, .. }: Differing) -> Need {
        self.compare(mine.into_iter().map(|(tjp, tip)| (tjp, Some(tip))).collect(), theirs)
    }

    /// What differs of our tips and the receiver's. Any address of a timeline may have been asked for; the receiver
    /// names the timeline.
    fn compare(&mut self, mine: BTreeMap<Addr, Option<Addr>>, theirs: Vec<(Addr, Option<Addr>)>) -> Need {
        let theirs: BTreeMap<Addr, Addr> = theirs.into_iter().filter_map(|(tjp, tip)| Some((tjp, tip?))).collect();
        let ours = mine.iter().filter_map(|(tjp, tip)| Some((tjp, tip.as_ref()?)));
        let mut round: Vec<TipPair> = ours
            .filter(|(tjp, tip)| theirs.get(*tjp) != Some(*tip))
            .map(|(tjp, tip)| TipPair { tjp: tjp.clone(), mine: Some(tip.clone()), theirs: theirs.get(tjp).cloned() })
            .collect();
        let known = |tjp: &Addr| mine.get(tjp).is_some_and(Option::is_some);
        let unknown = theirs.into_iter().filter(|(tjp, _)| !known(tjp));
        round.extend(unknown.map(|(tjp, theirs)| TipPair { tjp, mine: None, theirs: Some(theirs) }));
        self.ask(SenderQuery::Compare(round.clone()), Ours::Compare(round))
    }

    fn late_tips(&mut self, theirs: &HashMap<Addr, Addr>, tips: Vec<(Addr, Option<Addr>)>) -> Need {
        self.late_rounds += 1;
        // What our side reaches from these may be in the plan already.
        let round: Vec<TipPair> = tips
            .into_iter()
            .filter(|(tjp, _)| !self.plan.items.contains_key(tjp))
            .map(|(tjp, mine)| TipPair { theirs: theirs.get(&tjp).cloned(), tjp, mine })
            .filter(|pair| pair.mine != pair.theirs)
            .collect();
        self.ask(SenderQuery::Compare(round.clone()), Ours::Compare(round))
    }

    fn compared(&mut self, round: Round) -> Need {
        let unsure = round.iter().filter(|(_, ancestry)| ancestry.is_none());
        let asked: Vec<Addr> = unsure.filter_map(|(pair, _)| pair.mine.clone()).collect();
        let peeks = batches(asked.clone(), address_bytes).into_iter().map(Peek::Has);
        match Asking::begin(peeks) {
            Some((asking, first)) => self.peek(asking, first, Theirs::Unsure { round, asked }),
            None => self.sure(round),
        }
    }

    /// The timelines in which neither side has the other's tip.
    fn diverged(&self, round: &Round) -> Vec<Seek> {
        let both = round.iter().filter_map(|(pair, ancestry)| match (ancestry, &pair.mine, &pair.theirs) {
            (None, Some(mine), Some(_)) if !self.their_has.contains(mine) => Some((&pair.tjp, mine)),
            _ => None,
        });
        both.map(|(tjp, mine)| Seek { tjp: tjp.clone(), above: mine.clone(), step: 1 }).collect()
    }

    /// Looks further back for frames that both sides have. Where none is found all of the history is looked at.
    fn seek(&mut self, round: Round, seeks: Vec<Seek>) -> Need {
        if seeks.is_empty() {
            return self.sure(round);
        }
        let frames = seeks.iter().map(|seek| (seek.above.clone(), seek.step)).collect();
        self.ask(SenderQuery::Before(frames), Ours::Before(round, seeks))
    }

    fn before(&mut self, round: Round, seeks: Vec<Seek>, found: Vec<Option<Addr>>) -> Need {
        let further = |(seek, found): (Seek, Option<Addr>)| Some(Seek { above: found?, ..seek });
        let seeks: Vec<Seek> = seeks.into_iter().zip(found).filter_map(further).collect();
        let asked: Vec<Addr> = seeks.iter().map(|seek| seek.above.clone()).collect();
        match Asking::begin(batches(asked.clone(), address_bytes).into_iter().map(Peek::Has)) {
            Some((asking, first)) => self.peek(asking, first, Theirs::Before { round, seeks, asked }),
            None => self.sure(round),
        }
    }

    /// Every timeline of this round is known to be a push, a pull or diverged: ask for what may have to travel.
    fn sure(&mut self, round: Round) -> Need {
        let (pushes, pulls) = (self.direction.offers(), self.direction.adopts() && !self.plan.takes_all);
        let (mut starts, mut stops, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for (TipPair { tjp, mine, theirs }, known) in round {
            let ancestry = known.unwrap_or_else(|| {
                let has = mine.as_ref().is_some_and(|mine| self.their_has.contains(mine));
                if has { Ancestry::Behind } else { Ancestry::Diverged }
            });
            let common = self.common.remove(&tjp);
            if pushes && matches!(ancestry, Ancestry::Ahead | Ancestry::Diverged) {
                starts.extend(mine.clone());
                stops.extend(theirs.iter().chain(&common).cloned());
            }
            // What diverged as far as our side can tell is here, and what is under it; what goes on from there is not known.
            let is_here = self.known && known == Some(Ancestry::Diverged);
            if pulls
                && !is_here
                && matches!(ancestry, Ancestry::Behind | Ancestry::Diverged)
                && let Some(theirs) = &theirs
            {
                let under = if ancestry == Ancestry::Behind { mine.clone() } else { common };
                wanted.push((theirs.clone(), under));
            }
            self.plan.items.insert(tjp, Item { mine, theirs, ancestry });
        }
        if self.late_rounds == 0 && pushes {
            starts.extend(self.plan.constants.iter().cloned());
        }
        self.ask(SenderQuery::Candidates { starts, stops }, Ours::Candidates(wanted))
    }

    // -- what travels --------------------------------------------------------------------------------------------

    fn candidates(&mut self, wanted: Wanted, candidates: Vec<Addr>) -> Need {
        // A side without timelines may still have constants.
        let nothing_there = self.they_are_empty && self.plan.constants.is_empty();
        let asked = if nothing_there { Vec::new() } else { candidates.clone() };
        match Asking::begin(batches(asked, address_bytes).into_iter().map(Peek::Has)) {
            Some((asking, first)) => self.peek(asking, first, Theirs::Has { wanted, candidates }),
            None => self.list(wanted, candidates),
        }
    }

    /// Ask what lies under the receiver's tips that we do not know.
    fn list(&mut self, wanted: Wanted, candidates: Vec<Addr>) -> Need {
        let mut known: HashSet<Addr> = self.plan.push.iter().cloned().collect();
        let lacks = candidates.into_iter().filter(|a| !self.their_has.contains(a) && known.insert(a.clone()));
        self.plan.push.extend(lacks);
        let live = !self.known;
        let bytes = |(tip, stop): &(Addr, Option<Addr>)| address_bytes(tip) + stop.as_ref().map_or(0, address_bytes);
        let peeks = batches(wanted, bytes).into_iter().map(|items| Peek::List { items, live });
        self.peek_or(peeks, Theirs::List, Self::done)
    }

    fn listed(&mut self, answer: Peeked) -> Need {
        // Several questions may have the same answers.
        let mut seen = HashSet::new();
        let listed: Vec<Addr> = answer.nodes.into_iter().filter(|addr| seen.insert(addr.clone())).collect();
        let tips = answer.tips.into_iter().filter_map(|(tjp, tip)| Some((tjp, tip?)));
        // Where the receiver knows the scope, whatever differs is in the plan already.
        let late = tips.filter(|(tjp, _)| !self.known && !self.plan.items.contains_key(tjp)).collect();
        self.ask(SenderQuery::Lacking(listed), Ours::Lacking(late))
    }

    fn lacking(&mut self, late: HashMap<Addr, Addr>, lacking: Vec<Addr>) -> Result<Need, SagaError> {
        let mut known: HashSet<Addr> = self.plan.want.iter().cloned().collect();
        self.plan.want.extend(lacking.into_iter().filter(|a| known.insert(a.clone())));
        if late.is_empty() {
            return Ok(self.done());
        }
        if self.late_rounds >= self.late_rounds_max {
            return Err(SagaError::Limit { name: "late_rounds_max", limit: u64::from(self.late_rounds_max) });
        }
        let mut heard: Vec<Addr> = late.keys().cloned().collect();
        heard.sort();
        Ok(self.ask(SenderQuery::Tips(Scope::Only(heard)), Ours::LateTips(late)))
    }

    fn done(&mut self) -> Need {
        let mut plan = std::mem::take(&mut self.plan);
        plan.constants_known = plan.constants.iter().all(|c| self.their_has.contains(c));
        Need::Done(plan)
    }

    fn ask(&mut self, query: SenderQuery, ours: Ours) -> Need {
        self.phase = Phase::Ours(ours);
        Need::Ask(query)
    }

    fn peek(&mut self, asking: Asking, first: Peek, theirs: Theirs) -> Need {
        self.phase = Phase::Theirs(Box::new(asking), theirs);
        Need::Peek(first)
    }

    /// Asks the receiver, or goes on when there is nothing to ask.
    fn peek_or(&mut self, peeks: impl IntoIterator<Item = Peek>, theirs: Theirs, or: fn(&mut Self) -> Need) -> Need {
        match Asking::begin(peeks) {
            Some((asking, first)) => self.peek(asking, first, theirs),
            None => or(self),
        }
    }
}

fn unasked(phase: &impl std::fmt::Debug, answer: &str) -> SagaError {
    SagaError::defect(format!("an answer to {answer} came while planning needs {phase:?}"))
}

fn having(asked: Vec<Addr>, has: Vec<bool>) -> impl Iterator<Item = Addr> {
    asked.into_iter().zip(has).filter(|(_, has)| *has).map(|(addr, _)| addr)
}

#[cfg(test)]
mod tests;
