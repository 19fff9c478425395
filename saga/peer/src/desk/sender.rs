//! The sender's desk.

use super::{Staging, dropped, load, stuck};
use crate::guard::{Guard, Moved};
use crate::index::Indexes;
use crate::reached;
use crate::receipts::{self, Shown};
use crate::session::SessionSigner;
use crate::view::{Publishable, View, commit_error, space_error};
use async_trait::async_trait;
use ibgib::timeline::Ancestry;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::KeystoneError;
use ibgib_saga::{
    Action, Direction, Finish, Finished, Limits, Load, Misuse, OwnBuckets, OwnIdentity, OwnTips, Receipt, ReceiverLine,
    SagaError, Scope, SenderAnswer, SenderQuery, Status, TimelineSummary, TipPair, Turn, is_payload,
};
use ibgib_spaces::settle::{Draft, Led, Proposal, Settled, Unsettled, settle};
use ibgib_spaces::{Advance, Commit, Follow, Kind, Space, Walked, repair};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is staged by pulls of this device.
const OWNER: &str = "pull";
/// Bytes of nodes that are kept between finding out what to send and sending it.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;
/// For whom good copies of damaged nodes are staged.
pub(crate) const MENDER: &str = "mend";

#[derive(Debug)]
pub(crate) struct SenderDesk {
    pub(crate) space: Arc<dyn Space>,
    pub(crate) signer: Option<SessionSigner>,
    pub(crate) limits: Limits,
    /// The saga under way is for damaged nodes only.
    pub(crate) mends: bool,
    /// Asked before anything that came is published.
    pub(crate) guard: Option<Arc<dyn Guard>>,
    pub(crate) indexes: Indexes,
    /// The timeline under which the saga under way looks alone.
    pub(crate) under: Option<Addr>,
    /// What was read while it was found out what to send, and is sent next.
    pub(crate) walked: Walked,
    pub(crate) staging: Staging,
}

impl SenderDesk {
    pub(crate) async fn answer(&mut self, query: SenderQuery) -> SenderAnswer {
        self.try_answer(query).await.unwrap_or_else(SenderAnswer::Failed)
    }

    async fn try_answer(&mut self, query: SenderQuery) -> Result<SenderAnswer, SagaError> {
        if !matches!(query, SenderQuery::Stage(_)) {
            self.staging.done().await?;
        }
        match query {
            SenderQuery::SignConnect { challenge_uuid, demanded } => {
                let (signer, space) = self.signer()?;
                let frame = signer.sign_context_connect(space, &challenge_uuid, demanded).await?;
                Ok(SenderAnswer::SignConnect(frame))
            }
            SenderQuery::SignTurn(target) => {
                let (signer, space) = self.signer()?;
                match signer.sign_context(space, &target).await {
                    Ok(frame) => Ok(SenderAnswer::SignTurn(Some(frame))),
                    Err(SagaError::OwnIdentity(OwnIdentity::Key(KeystoneError::BindingExhausted))) => {
                        Ok(SenderAnswer::SignTurn(None))
                    }
                    Err(error) => Err(error),
                }
            }
            // It takes asking the receiver, which is not this desk's to do.
            SenderQuery::Warrant(_) => Err(SagaError::defect("a warrant came to the desk")),
            SenderQuery::Fingerprint(root) => {
                self.mends = false;
                let index = self.indexes.of(&*self.space, root.as_ref()).await.map_err(space_error)?;
                self.under = root;
                Ok(SenderAnswer::Fingerprint(index.fingerprint.whole.clone()))
            }
            SenderQuery::Buckets(root) => {
                let index = self.indexes.of(&*self.space, root.as_ref()).await.map_err(space_error)?;
                let empty = index.empty && self.space.staged_addrs(OWNER).await.map_err(space_error)?.is_empty();
                let fingerprints = index.fingerprint.buckets.clone();
                Ok(SenderAnswer::Buckets(OwnBuckets { fingerprints, timelines: index.len(), empty }))
            }
            SenderQuery::InBuckets(root, buckets) => {
                let tips = self.indexes.tips(&*self.space, root.as_ref(), &buckets).await.map_err(space_error)?;
                Ok(SenderAnswer::InBuckets(tips.into_iter().map(|tip| (tip.tjp, tip.addr)).collect()))
            }
            SenderQuery::Tips(scope) => self.tips(scope).await.map(SenderAnswer::Tips),
            SenderQuery::Compare(pairs) => self.compare(pairs).await.map(SenderAnswer::Compare),
            SenderQuery::Before(frames) => {
                let (none, mut before) = (HashSet::new(), Vec::with_capacity(frames.len()));
                for (frame, steps) in frames {
                    let (start, max) = (std::slice::from_ref(&frame), usize::try_from(steps).unwrap_or(usize::MAX));
                    let reached = self.space.reach(start, Follow::History, &none, max.saturating_add(1)).await;
                    before.push(reached.map_err(space_error)?.pop().filter(|found| *found != frame));
                }
                Ok(SenderAnswer::Before(before))
            }
            SenderQuery::Candidates { starts, stops } => {
                let stops = stops.into_iter().collect();
                let max = usize::try_from(self.limits.nodes_max).unwrap_or(usize::MAX);
                self.walked = Walked::with_room(READ_BYTES_MAX);
                let reached = self.space.reach_and_read(&starts, Follow::All, &stops, max, &mut self.walked).await;
                let mut addrs = reached.map_err(space_error)?;
                // An identity that data relates to comes by its own way, or is missed there.
                addrs.retain(is_payload);
                Ok(SenderAnswer::Candidates(addrs))
            }
            SenderQuery::Lacking(addrs) => {
                let has = self.space.has(&addrs).await.map_err(space_error)?;
                let staged: HashSet<Addr> =
                    self.space.staged_addrs(OWNER).await.map_err(space_error)?.into_iter().collect();
                let lacking = addrs.into_iter().zip(has).filter(|(a, has)| !has && !staged.contains(a)).map(|(a, _)| a);
                Ok(SenderAnswer::Lacking(lacking.collect()))
            }
            SenderQuery::GoOn(foreseen) => Ok(SenderAnswer::GoOn(match &self.guard {
                Some(guard) => guard.goes_on(&foreseen).await,
                None => false,
            })),
            SenderQuery::Load(Load { addrs, bytes_max }) => {
                load(&*self.space, &addrs, bytes_max, &mut self.walked).await.map(SenderAnswer::Load)
            }
            SenderQuery::Stage(nodes) => {
                if self.mends {
                    repair::mend(&*self.space, MENDER, &nodes).await.map_err(commit_error)?;
                } else {
                    self.staging.begin(Arc::clone(&self.space), OWNER, nodes).await?;
                }
                Ok(SenderAnswer::Stage)
            }
            SenderQuery::Finish(finish) => self.finish(&finish).await.map(SenderAnswer::Finish),
        }
    }

    /// Who signs, and where its frames rest.
    fn signer(&mut self) -> Result<(&mut SessionSigner, &dyn Space), SagaError> {
        let signer = self.signer.as_mut().ok_or(OwnIdentity::NoSession)?;
        Ok((signer, &*self.space))
    }

    async fn tips(&mut self, scope: Scope) -> Result<OwnTips, SagaError> {
        self.mends = scope == Scope::Damaged;
        self.under = scope.root().cloned();
        let addrs = match scope {
            Scope::Only(addrs) => addrs,
            Scope::Damaged => {
                let known = repair::known(&*self.space).await.map_err(space_error)?;
                let constants = known.into_iter().filter(is_payload).map(|addr| (addr, false)).collect();
                return Ok(OwnTips { tips: Vec::new(), constants });
            }
            Scope::All | Scope::Under(_) => {
                return Err(SagaError::defect("tips were asked for that both sides know by themselves"));
            }
        };
        let (mut timelines, mut tips, mut constants, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let nodes = self.space.get(&addrs).await.map_err(space_error)?;
        for (addr, node) in addrs.into_iter().zip(nodes) {
            match node.as_ref().map(|n| n.tjp()) {
                // Not here: the receiver knows whether it is a timeline or a constant.
                None => tips.push((addr, None)),
                Some(None) => {
                    starts.push(addr.clone());
                    constants.push((addr, true));
                }
                Some(Some(tjp)) => match Kind::of(&tjp) {
                    Kind::Living => timelines.push(tjp),
                    kind => {
                        return Err(Misuse::NotLiving { addr, kind: kind.to_string() }.into());
                    }
                },
            }
        }
        let max = usize::try_from(self.limits.nodes_max).unwrap_or(usize::MAX);
        let reached = match (timelines.as_slice(), starts.as_slice()) {
            ([one], []) => reached::from(&*self.space, one, max).await,
            _ => {
                starts.extend(timelines);
                self.space.reach_tips(&starts, &[], max).await.map(|(tips, _)| tips)
            }
        };
        tips.extend(reached.map_err(space_error)?.into_iter().map(|tip| (tip.tjp, Some(tip.addr))));
        Ok(OwnTips { tips, constants })
    }

    async fn compare(&self, pairs: Vec<TipPair>) -> Result<Vec<Option<Ancestry>>, SagaError> {
        let mut view = View::new(&*self.space, OWNER);
        let mut out = Vec::with_capacity(pairs.len());
        let theirs: Vec<Addr> = pairs.iter().filter_map(|pair| pair.theirs.clone()).collect();
        let known = self.space.has(&theirs).await.map_err(space_error)?;
        let known: HashSet<Addr> = theirs.into_iter().zip(known).filter(|(_, k)| *k).map(|(a, _)| a).collect();
        let mut shown = match &self.signer {
            Some(signer) => Shown::open(&*self.space, signer.audience()).await?,
            None => Shown::default(),
        };
        for TipPair { tjp, mine, theirs } in pairs {
            // What leads there may have gone; then the timeline is not under the other one any more, though it is there.
            if theirs.is_some() || self.under.as_ref().is_none_or(|root| *root == tjp) {
                let is_known = theirs.as_ref().is_none_or(|theirs| known.contains(theirs));
                shown.compare(&mut view, &tjp, theirs.as_ref().filter(|_| is_known), is_known).await?;
            }
            out.push(match (mine, theirs) {
                (a, b) if a == b => Some(Ancestry::Same),
                (Some(_), None) => Some(Ancestry::Ahead),
                (None, _) => Some(Ancestry::Behind),
                (Some(mine), Some(theirs)) if known.contains(&theirs) => {
                    view.history.ancestry(&mine, &theirs).await.ok()
                }
                (Some(_), Some(_)) => None,
            });
            view.history.forget();
        }
        shown.done()?;
        Ok(out)
    }

    async fn finish(&mut self, finish: &Finish) -> Result<Finished, SagaError> {
        self.walked = Walked::default();
        let offered = finish.offered.iter().map(|(tjp, mine)| (tjp, mine)).collect();
        let audience = self.signer.as_ref().map(SessionSigner::audience);
        let ending = Ending { space: &*self.space, finish, offered, guard: self.guard.as_deref(), audience };
        match settle(&*self.space, self.limits.commit_tries_max, &ending).await {
            Ok(Settled { told: timelines, merges, conflicts, .. }) => {
                self.space.unstage(OWNER).await.map_err(space_error)?;
                Ok(Finished { timelines, merges, conflicts })
            }
            Err(Unsettled::Draft(error)) => Err(error),
            Err(Unsettled::Commit(error)) => Err(commit_error(error)),
            Err(Unsettled::Busy(tries)) => Err(SagaError::Busy(tries)),
        }
    }
}

/// The end of a saga here: what it brought is published, and our tips follow the receiver's.
struct Ending<'a> {
    space: &'a dyn Space,
    finish: &'a Finish,
    /// Our tips as the saga was told them.
    offered: HashMap<&'a Addr, &'a Option<Addr>>,
    guard: Option<&'a dyn Guard>,
    /// The id of the receiver's space.
    audience: Option<&'a str>,
}

/// How one timeline's tip followed the receiver's.
enum Followed {
    Led(Led),
    /// This timeline alone fails, and nothing of it is in the draft.
    Refused(String),
}

/// What a saga brought, and what of it will be published.
struct Brought {
    staged: HashSet<Addr>,
    published: HashSet<Addr>,
    /// The same in the order in which it was found, so that neighbours stay neighbours.
    in_order: Vec<Addr>,
    /// Our tips as they are now.
    tips: HashMap<Addr, Addr>,
}

#[async_trait]
impl Proposal for Ending<'_> {
    type Told = Vec<TimelineSummary>;
    type Error = SagaError;

    async fn draft(&self, draft: &mut Draft) -> Result<Self::Told, SagaError> {
        let Finish { statuses, direction, transcript, receipt, .. } = self.finish;
        let staged = self.space.staged_addrs(OWNER).await.map_err(space_error)?.into_iter().collect();
        let mut view = View::new(self.space, OWNER);
        // What was dropped at one server another one may still have.
        view.know_dropped(self.space.id()).await?;
        let tips = view.tips(&statuses.iter().map(|line| line.tjp.clone()).collect::<Vec<_>>()).await?;
        let mut brought = Brought { staged, published: HashSet::new(), in_order: Vec::new(), tips };
        let (mut timelines, mut moves) = (Vec::new(), Vec::new());
        for ReceiverLine { tjp, status, tip } in statuses {
            let Some(before) = self.offered.get(tjp) else {
                return Err(SagaError::defect(format!("{tjp} was not in the saga")));
            };
            let mut summary = TimelineSummary {
                tjp: tjp.clone(),
                before: (*before).clone(),
                after: (*before).clone(),
                action: Action::Same,
                new_there: matches!(status, Status::Unknown),
                why: None,
            };
            let adopts = direction.adopts() && !matches!(status, Status::Refused(_));
            match self.follow(&mut view, draft, &mut brought, tjp, tip.as_ref().filter(|_| adopts)).await? {
                Followed::Led(led) => {
                    if let (Some(guard), Some(to)) = (self.guard, &led.tip) {
                        let now = brought.tips.get(tjp);
                        moves.extend(self.moved(guard, &mut view, draft, (tjp, now, to)).await?);
                    }
                    (summary.action, summary.why) =
                        happened(status, *direction, before.as_ref(), led.tip.as_ref(), led.merges > 0);
                    summary.after = led.tip.or_else(|| (*before).clone());
                }
                Followed::Refused(why) => {
                    summary.action = Action::Refused;
                    summary.why = Some(why);
                }
            }
            timelines.push(summary);
            view.history.forget();
        }
        if self.guard.is_some_and(|guard| !guard.allows(&moves)) {
            return Err(SagaError::Cancelled);
        }
        timelines.sort_by(|a, b| a.tjp.cmp(&b.tjp));
        draft.commit.publish = Some((OWNER.to_owned(), brought.in_order));
        add_transcript(&mut view, &mut draft.commit, transcript).await?;
        if let Some((receipt, audience)) = receipt.as_deref().zip(self.audience) {
            let receipt = Receipt { lines: statuses.clone(), ..receipt.clone() };
            draft.commit.records.extend(receipts::keep(self.space, audience, &receipt).await?);
        }
        Ok(timelines)
    }
}

impl Ending<'_> {
    /// What the guard makes of our tip of a timeline, as it is now, and of the one that it is led to; none where it stays.
    async fn moved(
        &self,
        guard: &dyn Guard,
        view: &mut View<'_>,
        draft: &Draft,
        (tjp, now, to): (&Addr, Option<&Addr>, &Addr),
    ) -> Result<Option<Moved>, SagaError> {
        if now == Some(to) {
            return Ok(None);
        }
        let before = match now {
            Some(now) => view.get(now).await?.and_then(|frame| guard.holds(&frame)),
            None => None,
        };
        let after = match view.get(to).await? {
            Some(frame) => guard.holds(&frame),
            // A merge that the draft has just made.
            None => draft.commit.nodes.iter().rev().find(|node| node.addr() == to).and_then(|node| guard.holds(node)),
        };
        Ok(Some(Moved { tjp: tjp.clone(), before, after }))
    }

    /// Leads our tip of one timeline to the receiver's, merging if ours moved meanwhile.
    async fn follow(
        &self,
        view: &mut View<'_>,
        draft: &mut Draft,
        brought: &mut Brought,
        tjp: &Addr,
        theirs: Option<&Addr>,
    ) -> Result<Followed, SagaError> {
        let mine = brought.tips.get(tjp).cloned();
        let Some(theirs) = theirs.filter(|theirs| mine.as_ref() != Some(*theirs)) else {
            return Ok(Followed::Led(Led { tip: mine, merges: 0 }));
        };
        let Some(node) = view.get(theirs).await? else {
            return Ok(Followed::Refused(format!("the receiver did not send {theirs}")));
        };
        let node_tjp = node.tjp();
        if node_tjp.as_ref().is_some_and(|t| t != tjp || Kind::of(t) != Kind::Living) {
            let why = format!("the receiver answers {theirs}, which belongs to another timeline");
            return Ok(Followed::Refused(why));
        }
        let addrs = match view.publishable(theirs, &brought.staged, &brought.published).await? {
            Publishable::All(addrs) => addrs,
            Publishable::Lacks { addr, from } => {
                return Ok(Followed::Refused(format!("{addr}, to which {from} relates, did not come")));
            }
            Publishable::Stuck { addr, from } => return Ok(Followed::Refused(stuck(&addr, &from))),
            Publishable::Dropped(addr) => return Ok(Followed::Refused(dropped(&addr))),
        };
        match view.stands_on(theirs, mine.as_ref()).await {
            Ok(None) => {}
            Ok(Some(frame)) => return Ok(Followed::Refused(dropped(&frame))),
            Err(error) => return Ok(Followed::Refused(error.to_string())),
        }
        let led = if node_tjp.is_some() {
            let heads = std::slice::from_ref(theirs);
            match draft.lead(&mut view.history, tjp, mine.as_ref(), heads).await {
                Ok(led) => led,
                Err(error) => return Ok(Followed::Refused(error.to_string())),
            }
        } else {
            // A constant has no tip to move.
            Led { tip: Some(theirs.clone()), merges: 0 }
        };
        brought.published.extend(addrs.iter().cloned());
        brought.in_order.extend(addrs);
        Ok(Followed::Led(led))
    }
}

/// What a saga did to a timeline: how it stood at the receiver, our tip before and after, and whether we made a merge.
fn happened(
    status: &Status,
    direction: Direction,
    before: Option<&Addr>,
    after: Option<&Addr>,
    merged_here: bool,
) -> (Action, Option<String>) {
    let took_ours = match status {
        Status::Refused(why) => return (Action::Refused, Some(why.clone())),
        Status::Known(Ancestry::Diverged) if direction.adopts() => return (Action::Merged, None),
        // The receiver merged, and we do not take what it made.
        Status::Known(ancestry) => matches!(ancestry, Ancestry::Behind | Ancestry::Diverged),
        Status::Unknown => before.is_some(),
    };
    let action = if merged_here {
        Action::Merged
    } else if direction.offers() && took_ours {
        Action::Pushed
    } else if after != before {
        Action::Pulled
    } else {
        Action::Same
    };
    (action, None)
}

/// Adds a saga's turns and its transcript's tip to a commit.
pub(crate) async fn add_transcript(
    view: &mut View<'_>,
    commit: &mut Commit,
    transcript: &[Turn],
) -> Result<(), SagaError> {
    let nodes: Vec<Verified<IbGib>> = transcript.iter().flat_map(Turn::nodes).collect();
    view.history.add(nodes.iter().cloned());
    if let Some(last) = transcript.last() {
        let advance = view
            .history
            .advance(None, last.frame().addr())
            .await
            .map_err(|e| SagaError::defect(format!("a transcript that does not hold: {e}")))?;
        commit.tips.push(Advance::Timeline(advance));
    }
    commit.nodes.extend(nodes);
    Ok(())
}
