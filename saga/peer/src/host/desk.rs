//! The receiver's desk.

use super::lot::Lot;
use super::queues::Held;
use super::sessions::{Live, connected_key};
use super::{Host, Policy, push_owner, staging_record};
use crate::desk::{Staging, add_transcript, dropped, load, resolve, stuck};
use crate::entropy::{OsEntropy, random_hex};
use crate::identity;
use crate::session::Details;
use crate::view::{Publishable, View, commit_error, space_error};
use ibgib::timeline::Ancestry;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Step, VERB_CONNECT};
use ibgib_saga::{
    Audience, Breach, Buckets, Committed, Evaluate, Evaluated, Fingerprint, IdentityRefusal, Load, Peek, Peeked,
    ReceiverAnswer, ReceiverLine, ReceiverQuery, SagaError, SenderLine, Status, Turn, is_payload,
};
use ibgib_spaces::settle::Draft;
use ibgib_spaces::store::Tips;
use ibgib_spaces::{Advance, Commit, CommitError, Follow, Kind, Tip, Walked};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

/// Nodes whose order is remembered. Of more it is forgotten, and they are read one by one.
const CAME_MAX: usize = 400_000;

/// What a turn will publish, kept between `Evaluate` and `Commit`.
#[derive(Debug, Default)]
struct Plan {
    publish: HashSet<Addr>,
    /// Tips to move, and the merges that this takes.
    draft: Draft,
    /// What the saga has sent, as its machine tells it.
    payload: Arc<Vec<Addr>>,
    /// What came over this connection since the last commit, in the order in which it came.
    came: Arc<Vec<Addr>>,
    /// Where timelines belong that are new.
    roots: Vec<(String, Option<Vec<u8>>)>,
    /// What was granted and what was dropped, by which it was judged.
    granted: Vec<(String, Option<Vec<u8>>)>,
    /// Something that the sender named is not taken.
    refused: bool,
}

impl Plan {
    /// The lines of a turn, each with its number, in the order in which their nodes came, which is how they stand in the
    /// store: what is read one after the other is read faster.
    fn as_it_came(&self, lines: Vec<SenderLine>) -> Vec<(usize, SenderLine)> {
        let places: HashMap<&Addr, usize> = self.came.iter().enumerate().map(|(i, addr)| (addr, i)).collect();
        let mut lines: Vec<(usize, SenderLine)> = lines.into_iter().enumerate().collect();
        lines.sort_by_cached_key(|(_, line)| match line {
            SenderLine::Timeline { tip: Some(addr), .. } | SenderLine::Constant(addr) => places.get(addr).copied(),
            _ => None,
        });
        lines
    }

    /// What is published, what came in this saga in the order in which it came. From then on the plan no longer knows.
    fn published(&mut self) -> Vec<Addr> {
        let mut publish = std::mem::take(&mut self.publish);
        let mut out = Vec::with_capacity(publish.len());
        out.extend(self.came.iter().filter_map(|addr| publish.take(addr)));
        out.extend(publish);
        out
    }
}

#[derive(Debug)]
pub(crate) struct ReceiverDesk {
    host: Arc<Host>,
    connection: u64,
    /// Ends the connection.
    cut: CancellationToken,
    /// The identity behind the connection.
    identity: Option<Addr>,
    /// Its session on this connection.
    session: Option<Addr>,
    /// Whose staged nodes are ours.
    owner: String,
    plan: Plan,
    /// The saga that goes on has staged nodes.
    stages: bool,
    staging: Staging,
    /// What was staged since the last commit, in the order in which it came.
    came: Arc<Vec<Addr>>,
    /// That it is our turn on the timelines of a plan: while it is committed and, if it was too late, judged anew.
    held: Held,
}

impl ReceiverDesk {
    pub(crate) fn new(host: Arc<Host>, connection: u64, cut: CancellationToken) -> Self {
        // Without identity nobody can come back for what was staged, so every connection has its own.
        let owner = format!("push/anonymous/{}", random_hex());
        Self {
            host,
            connection,
            cut,
            identity: None,
            session: None,
            owner,
            plan: Plan::default(),
            stages: false,
            staging: Staging::default(),
            came: Arc::default(),
            held: Held::default(),
        }
    }

    pub(crate) fn identity(&self) -> Option<&Addr> {
        self.identity.as_ref()
    }

    /// The same desk without a plan, for a job of its own.
    fn twin(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            connection: self.connection,
            cut: self.cut.clone(),
            identity: self.identity.clone(),
            session: self.session.clone(),
            owner: self.owner.clone(),
            plan: Plan::default(),
            stages: false,
            staging: Staging::default(),
            came: Arc::clone(&self.came),
            held: Held::default(),
        }
    }

    /// Others may have their turn on the timelines of a plan.
    pub(crate) fn lets_others(&mut self) {
        self.held = Held::default();
    }

    /// Forgets what only this connection could have used.
    pub(crate) async fn close(&mut self) {
        // Whether it comes in or not: what was staged then is seen below.
        let _ = self.staging.done().await;
        if self.identity.is_none()
            && let Err(error) = self.host.space().unstage(&self.owner).await
        {
            tracing::warn!(%error, "staged nodes of a closed connection could not be dropped");
        }
    }

    pub(crate) async fn answer(&mut self, query: ReceiverQuery) -> ReceiverAnswer {
        self.try_answer(query).await.unwrap_or_else(ReceiverAnswer::Failed)
    }

    async fn try_answer(&mut self, query: ReceiverQuery) -> Result<ReceiverAnswer, SagaError> {
        let space = self.host.space().clone();
        if !matches!(query, ReceiverQuery::Stage(_)) {
            self.staging.done().await?;
        }
        match query {
            ReceiverQuery::Session(addr) => self.session(&addr).await,
            ReceiverQuery::Connected { frame, step } => {
                let whose = self.identity.clone().zip(self.session.clone());
                // From now on nodes may be staged.
                let mut records = vec![staging_record(&self.owner)];
                if let Some((identity, session)) = &whose {
                    records.extend(self.host.seen_record(identity));
                    records.push((connected_key(identity), Some(session.as_str().as_bytes().to_vec())));
                }
                let commit =
                    Commit { nodes: vec![frame], tips: vec![Advance::Keystone(step)], records, ..Commit::default() };
                match space.commit(commit).await {
                    Ok(revision) => {
                        if let Some((identity, session)) = whose {
                            let live = Live { connection: self.connection, session, revision, cut: self.cut.clone() };
                            self.host.enter(&identity, live).await?;
                        }
                        Ok(ReceiverAnswer::Connected)
                    }
                    Err(CommitError::TipsMoved(_)) => Err(IdentityRefusal::SessionUsed.into()),
                    Err(error) => Err(commit_error(error)),
                }
            }
            // Whoever may not read everything is answered by walking what he may.
            ReceiverQuery::Peek(peek) if matches!(peek, Peek::List { .. }) || self.is_looked_up(&peek) => {
                let desk = self.twin();
                let job = async move { desk.peek(peek).await };
                self.host.jobs().run(job).await.map(ReceiverAnswer::Peek)
            }
            ReceiverQuery::Peek(peek) => self.peek(peek).await.map(ReceiverAnswer::Peek),
            ReceiverQuery::Stage(nodes) => {
                if let Some(identity) = &self.identity {
                    self.host.count_brought(identity, &nodes).await?;
                    if !self.stages {
                        self.host.renew_staging(&self.owner).await?;
                    }
                }
                self.stages = true;
                // An order is all it is: sagas that end without a commit leave theirs, up to a limit.
                if self.came.len() > CAME_MAX {
                    self.came = Arc::default();
                }
                Arc::make_mut(&mut self.came).extend(nodes.iter().map(|node| node.addr().clone()));
                self.staging.begin(space, &self.owner, nodes).await?;
                Ok(ReceiverAnswer::Stage)
            }
            ReceiverQuery::Evaluate(evaluate) => {
                if let (Some(identity), true) = (&self.identity, evaluate.is_init) {
                    self.host.begin_saga(identity)?;
                }
                let mut desk = self.twin();
                let job = async move { Ok((desk.evaluate(evaluate).await?, desk.plan)) };
                let (evaluated, plan) = self.host.jobs().run(job).await?;
                self.plan = plan;
                Ok(ReceiverAnswer::Evaluate(evaluated))
            }
            ReceiverQuery::Commit { transcript, session_frames, step } => {
                if self.held.is_empty() {
                    let moves = self.plan.draft.commit.tips.iter().map(Advance::tjp);
                    self.held = self.host.queues.enter(moves).await;
                }
                let committed = self.commit(&transcript, session_frames, step).await;
                if committed != Ok(Committed::Moved) {
                    self.lets_others();
                }
                committed.map(ReceiverAnswer::Commit)
            }
            ReceiverQuery::Sign(word) => self.host.sign_word(&word).await.map(|s| ReceiverAnswer::Sign(Box::new(s))),
            ReceiverQuery::Load(Load { addrs, bytes_max }) => {
                load(&*space, &addrs, bytes_max, &mut Walked::default()).await.map(ReceiverAnswer::Load)
            }
        }
    }

    async fn session(&mut self, addr: &Addr) -> Result<ReceiverAnswer, SagaError> {
        let space = self.host.space();
        let node = space.node(addr).await.map_err(space_error)?;
        let node = node.ok_or_else(|| IdentityRefusal::SessionUnknown(addr.clone()))?;
        let tjp = node.tjp().unwrap_or_else(|| addr.clone());
        let Some(identity) = self.host.session_owner(&tjp).await? else {
            return Err(IdentityRefusal::SessionUnknown(addr.clone()).into());
        };
        // Nothing is replayed of one that was used.
        let tip = space.tip(&tjp).await.map_err(space_error)?;
        let chain = match tip.filter(|tip| tip.addr == *addr && tip.n == Some(0)) {
            Some(_) => identity::load_chain(&**space, &tjp).await?,
            None => None,
        };
        let Some(chain) = chain.filter(|c| c.tip().addr() == addr) else {
            return Err(IdentityRefusal::SessionUsed.into());
        };
        self.host.check_standing(&identity).await?;
        self.host.check_introduced(chain.tip(), &identity).await?;
        let demanded = ibgib_keystone::demand(&chain, VERB_CONNECT, self.host.limits().connect_demands, &mut OsEntropy);
        self.host.prepare_to_sign();
        self.owner = push_owner(&identity);
        self.identity = Some(identity);
        self.session = Some(tjp);
        let mut audience = Audience::default();
        // What is not signed says nothing.
        if chain.binds() {
            audience.space = Some(space.id().to_owned());
            audience.nonce = Details::read(chain.tip()).map(|details| details.session_id);
        }
        Ok(ReceiverAnswer::Session { chain: Box::new(chain), challenge_uuid: random_hex(), demanded, audience })
    }

    // -- peeks ---------------------------------------------------------------------------------------------------

    async fn peek(&self, peek: Peek) -> Result<Peeked, SagaError> {
        let space = self.host.space();
        if let Some(identity) = &self.identity {
            self.host.check_standing(identity).await?;
        }
        let mut lot = Lot::to_look(&self.host, self.identity.as_ref()).await?;
        let mut out = Peeked::default();
        match peek {
            Peek::Equal(theirs, root, _) if lot.reads_all() => {
                let ours = self.host.leads.whole(&**space, root.as_ref()).await.map_err(space_error)?;
                (out.equal, out.empty) = (ours.whole == theirs, ours.empty);
            }
            // What is remembered is of all tips, whoever asks.
            Peek::Equal(theirs, root, _) => {
                let (tips, empty) = self.tips_for(&lot, root.as_ref()).await?;
                let ours = Fingerprint::of(tips.iter().map(|t| (&t.tjp, &t.addr)));
                (out.equal, out.empty) = (ours.whole == theirs, empty);
            }
            Peek::Buckets(theirs, root, split) => {
                let (ours, empty) = self.buckets_for(&lot, root.as_ref()).await?;
                out = Peeked { empty, ..ours.differing(&theirs, split) };
            }
            Peek::Cells(cells, asked, root) => {
                let (ours, empty) = self.buckets_for(&lot, root.as_ref()).await?;
                out = Peeked { empty, ..ours.beside(&cells, &asked) };
            }
            Peek::Tips(addrs) => {
                let moment = self.host.moment().await?;
                let mut found = Vec::with_capacity(addrs.len());
                for addr in &addrs {
                    found.push(Found::of(&*moment, addr).await?);
                }
                lot.look_up(&*moment, found.iter().flatten().map(|found| &found.tjp)).await?;
                drop(moment);
                // Once for all of them: it walks whatever may be read.
                let alone: Vec<Addr> = found.iter().flatten().filter(|f| f.is_alone()).map(|f| f.tjp.clone()).collect();
                let readable = lot.readable(&self.host, &alone).await?;
                out.tips = std::iter::zip(addrs, found)
                    .map(|(addr, found)| match found.filter(|found| found.may_be_read(&lot, &readable)) {
                        Some(Found { tjp, tip }) => (tjp, Some(tip)),
                        None => (addr, None),
                    })
                    .collect();
                out.empty = out.tips.iter().all(|(_, tip)| tip.is_none()) && self.is_empty_for(&lot).await?;
            }
            Peek::Has(addrs) => {
                let has = space.has(&addrs).await.map_err(space_error)?;
                let staged: HashSet<Addr> =
                    space.staged_addrs(&self.owner).await.map_err(space_error)?.into_iter().collect();
                // What may not be read is not here: whoever has it sends it.
                let may = match lot.reads_all() {
                    true => None,
                    false => Some(lot.readable(&self.host, &addrs).await?),
                };
                let shown = |a: &Addr| may.as_ref().is_none_or(|may| may.contains(a));
                out.has = addrs.iter().zip(has).map(|(a, has)| (has && shown(a)) || staged.contains(a)).collect();
            }
            Peek::List { items, live } => {
                let (starts, stops): (Vec<Addr>, Vec<Option<Addr>>) = items.into_iter().unzip();
                for start in &starts {
                    if !is_payload(start) {
                        return Err(SagaError::PeerMisbehaved {
                            breach: Breach::PayloadKind,
                            detail: format!("{start} does not travel as payload"),
                        });
                    }
                }
                let has = space.has(&starts).await.map_err(space_error)?;
                let starts: Vec<Addr> = starts.into_iter().zip(has).filter(|(_, h)| *h).map(|(a, _)| a).collect();
                let stops: HashSet<Addr> = stops.into_iter().flatten().collect();
                let (starts, follow) = match lot.reads_all() {
                    true => (starts, if live { Follow::Live } else { Follow::All }),
                    // Only to tips that may be read.
                    false => (self.readable_starts(starts, live, &lot).await?, Follow::All),
                };
                let max = usize::try_from(self.host.limits().nodes_max).unwrap_or(usize::MAX);
                out.nodes = space.reach(&starts, follow, &stops, max).await.map_err(space_error)?;
                // An identity that data relates to comes by its own way, or is missed there.
                out.nodes.retain(is_payload);
                if live {
                    let firsts: Vec<Addr> = out.nodes.iter().filter(|a| a.tjp_gib().is_none()).cloned().collect();
                    let moment = self.host.moment().await?;
                    let mut tips = moment.tips(Tips::Of(&firsts)).await.map_err(space_error)?;
                    tips.retain(|tip| tip.kind == Kind::Living);
                    lot.look_up(&*moment, tips.iter().map(|tip| &tip.tjp)).await?;
                    tips.retain(|tip| lot.may_read(&tip.tjp));
                    out.tips = tips.into_iter().map(|tip| (tip.tjp, Some(tip.addr))).collect();
                }
            }
        }
        Ok(out)
    }

    /// The living tips, or those under a timeline, that may be read; and whether none at all may be. What is under a timeline
    /// only by way of another that may not be read is not: a peer could not find it either.
    async fn tips_for(&self, lot: &Lot, root: Option<&Addr>) -> Result<(Vec<Tip>, bool), SagaError> {
        let space = self.host.space();
        let tips = lot.tips(&self.host).await?;
        let empty = tips.is_empty();
        let tips = self.host.leads.select(&**space, tips, root).await.map_err(space_error)?;
        Ok((tips, empty))
    }

    /// Whether there is no living timeline that may be read, as far as it can be told without reading all tips each time: a
    /// space that had one is not said to be empty, and is asked which nodes it has.
    async fn is_empty_for(&self, lot: &Lot) -> Result<bool, SagaError> {
        if !lot.reads_all() {
            return Ok(lot.tips(&self.host).await?.is_empty());
        }
        if self.host.has_lived.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let tips = self.host.space().tips(Some(Kind::Living)).await.map_err(space_error)?;
        self.host.has_lived.fetch_or(!tips.is_empty(), Ordering::Relaxed);
        Ok(tips.is_empty())
    }

    /// The living tips by bucket, or those under a timeline; what is kept of all tips is for whoever may read them all.
    async fn buckets_for(&self, lot: &Lot, root: Option<&Addr>) -> Result<(Arc<Buckets>, bool), SagaError> {
        if lot.reads_all() {
            return self.host.leads.buckets(&**self.host.space(), root).await.map_err(space_error);
        }
        let (tips, empty) = self.tips_for(lot, root).await?;
        Ok((Arc::new(Buckets::of(tips.into_iter().map(|tip| (tip.tjp, tip.addr)))), empty))
    }

    /// Whether what may be read has to be looked up for an answer, and nobody waits for it to change.
    fn is_looked_up(&self, peek: &Peek) -> bool {
        self.host.policy_name() == Policy::Owner.as_str() && !matches!(peek, Peek::Equal { .. })
    }

    /// Of these nodes those that may be read; with `live` also the tips under them that may be.
    async fn readable_starts(&self, mut starts: Vec<Addr>, live: bool, lot: &Lot) -> Result<Vec<Addr>, SagaError> {
        let may = lot.readable(&self.host, &starts).await?;
        starts.retain(|start| may.contains(start));
        let mut tips = Vec::new();
        for start in starts.iter().filter(|_| live) {
            let (under, _) = self.tips_for(lot, Some(start)).await?;
            tips.extend(under.into_iter().map(|tip| tip.addr));
        }
        starts.extend(tips);
        Ok(starts)
    }

    /// Timeline and tip that `addr` belongs to; a constant answers itself. Nothing for what may not be read.
    async fn tip_of(&self, view: &mut View<'_>, addr: &Addr, lot: &mut Lot) -> Result<Option<(Addr, Addr)>, SagaError> {
        let moment = view.moment().await?;
        let Some(found) = Found::of(moment, addr).await? else { return Ok(None) };
        lot.look_up(moment, [&found.tjp]).await?;
        let alone = found.is_alone() && !lot.may_read(&found.tjp);
        let readable = match alone {
            true => {
                view.let_go();
                lot.readable(&self.host, std::slice::from_ref(&found.tjp)).await?
            }
            false => HashSet::new(),
        };
        Ok(found.may_be_read(lot, &readable).then_some((found.tjp, found.tip)))
    }

    // -- turns ---------------------------------------------------------------------------------------------------

    async fn evaluate(&mut self, evaluate: Evaluate) -> Result<Evaluated, SagaError> {
        if let Some(identity) = &self.identity {
            self.host.check_standing(identity).await?;
        }
        let space = self.host.space().clone();
        // Before the moment of the view: what is committed in between is found committed, and not nowhere.
        let staged: HashSet<Addr> = space.staged_addrs(&self.owner).await.map_err(space_error)?.into_iter().collect();
        let mut view = View::new(&*space, &self.owner);
        view.history.share(&self.host.merges);
        let stated = view.know_dropped(space.id()).await?;
        let mut plan = Plan { payload: evaluate.payload, came: Arc::clone(&self.came), ..Plan::default() };
        let sent = staged.iter().chain(&*plan.payload);
        let mut lot = Lot::of(&self.host, self.identity.as_ref(), evaluate.commit, sent).await?;
        lot.look_around(&self.host, &mut view, &evaluate.lines).await?;
        lot.sort(&mut view, &evaluate.lines).await?;
        let named = evaluate.lines.iter().filter_map(|line| match line {
            SenderLine::Timeline { tjp, .. } => Some(tjp.clone()),
            _ => None,
        });
        let tips = view.tips(&named.collect::<Vec<_>>()).await?;
        // Of what was not sent yet that is not read which is not here: asked at once, and not of each.
        let unsent = evaluate.lines.iter().filter_map(|line| match line {
            SenderLine::Timeline { tip, .. } => tip.clone().filter(|tip| !staged.contains(tip)),
            _ => None,
        });
        let unsent: Vec<Addr> = unsent.collect();
        let has = view.has(&unsent).await?;
        let absent: HashSet<Addr> = unsent.into_iter().zip(has).filter(|(_, has)| !has).map(|(tip, _)| tip).collect();
        let lines = plan.as_it_came(evaluate.lines);
        view.reads_along(&plan.came);
        let mut statuses = Vec::new();
        let (mut wants, mut finals, mut stops) = (Vec::new(), Vec::new(), HashSet::new());
        let (mut complete, mut diverged, mut refused) = (true, false, false);
        for (nth, line) in lines {
            match line {
                SenderLine::Want(addr) => wants.push(addr),
                SenderLine::Constant(addr) => {
                    let status = match self.constant((&mut view, &lot), &addr, &staged, &mut plan).await? {
                        Constant::Here => Status::Known(Ancestry::Same),
                        Constant::Planned => Status::Unknown,
                        Constant::Refused(_) if !evaluate.commit || evaluate.is_init => {
                            complete = false;
                            Status::Unknown
                        }
                        Constant::Refused(why) => Status::Refused(why),
                    };
                    refused |= matches!(status, Status::Refused(_));
                    statuses.push((nth, ReceiverLine { tip: Some(addr.clone()), tjp: addr, status }));
                }
                SenderLine::Timeline { tjp, tip, theirs } => {
                    // What may not be read is as if it were not here, whatever is said of it.
                    let mine = match &tip {
                        None => self.tip_of(&mut view, &tjp, &mut lot).await?.map(|(_, tip)| tip),
                        Some(_) => tips.get(&tjp).filter(|_| lot.may_read(&tjp)).cloned(),
                    };
                    let found = match &tip {
                        Some(tip) if absent.contains(tip) && Kind::of(&tjp) == Kind::Living => {
                            Verdict::Lacking(format!("{tip} was not sent"))
                        }
                        tip => {
                            let sides = (tip.as_ref(), mine.as_ref());
                            self.timeline((&mut view, &lot), &tjp, sides, &staged, &mut plan).await?
                        }
                    };
                    let mut answer = mine.clone();
                    let status = match found {
                        Verdict::Status(status) => status,
                        Verdict::Forward(status, advance) => {
                            answer = Some(advance.to().clone());
                            plan.draft.commit.tips.push(advance.into());
                            status
                        }
                        Verdict::Diverged(addrs) => {
                            diverged = true;
                            if evaluate.commit && !evaluate.is_init {
                                let heads = tip.as_slice();
                                match plan.draft.lead(&mut view.history, &tjp, mine.as_ref(), heads).await {
                                    Ok(led) => {
                                        plan.publish.extend(addrs);
                                        answer = led.tip;
                                        Status::Known(Ancestry::Diverged)
                                    }
                                    Err(error) => Status::Refused(error.to_string()),
                                }
                            } else {
                                Status::Known(Ancestry::Diverged)
                            }
                        }
                        // On `init` the nodes may simply not have been sent yet.
                        Verdict::Lacking(_) if evaluate.is_init || !evaluate.commit => {
                            complete = false;
                            if mine.is_some() { Status::Known(Ancestry::Behind) } else { Status::Unknown }
                        }
                        Verdict::Lacking(why) | Verdict::Refused(why) => Status::Refused(why),
                    };
                    let is_refused = matches!(status, Status::Refused(_));
                    refused |= is_refused;
                    if !is_refused && mine != tip {
                        finals.extend(mine.clone());
                        stops.extend(tip);
                        stops.extend(theirs);
                    }
                    statuses.push((nth, ReceiverLine { tjp, status, tip: answer }));
                    view.history.forget();
                }
            }
        }
        drop(view);
        // They are answered as they were asked.
        statuses.sort_unstable_by_key(|(nth, _)| *nth);
        let statuses = statuses.into_iter().map(|(_, line)| line).collect();
        let commit = evaluate.commit && !(evaluate.is_init && (diverged || !complete));
        if commit && !refused {
            self.check_payload(&plan).await?;
        }
        let taken: HashSet<Addr> = plan.draft.commit.tips.iter().map(|advance| advance.tjp().clone()).collect();
        plan.roots = lot.records(&taken);
        plan.granted = lot.permit.records().to_vec();
        plan.granted.push(stated);
        plan.refused = refused;
        if !lot.reads_all() {
            let may = lot.readable(&self.host, &wants).await?;
            wants.retain(|want| may.contains(want));
        }
        let mut send = Vec::new();
        let mut known = HashSet::new();
        if evaluate.adopt {
            let has = space.has(&wants).await.map_err(space_error)?;
            for (addr, has) in wants.into_iter().zip(has) {
                if has && is_payload(&addr) && known.insert(addr.clone()) {
                    send.push(addr);
                }
            }
            if commit {
                let max = usize::try_from(self.host.limits().nodes_max).unwrap_or(usize::MAX);
                // What is staged is the sender's own: only committed stops can be walked.
                let list: Vec<Addr> = stops.into_iter().collect();
                let has = space.has(&list).await.map_err(space_error)?;
                let stops: HashSet<Addr> = list.into_iter().zip(has).filter(|(_, h)| *h).map(|(a, _)| a).collect();
                let finals: Vec<Addr> = finals.into_iter().filter(|f| !stops.contains(f)).collect();
                let more = space.reach(&finals, Follow::All, &stops, max).await.map_err(space_error)?;
                // What the sender itself has sent it has.
                let more = more.into_iter().filter(|a| is_payload(a) && !staged.contains(a));
                send.extend(more.filter(|a| known.insert(a.clone())));
                send.extend(
                    plan.draft.commit.nodes.iter().map(|n| n.addr().clone()).filter(|a| known.insert(a.clone())),
                );
            }
        }
        let Draft { merges, conflicts, .. } = plan.draft;
        self.plan = plan;
        Ok(Evaluated { statuses, send, commit, merges, conflicts })
    }

    async fn constant(
        &self,
        (view, lot): (&mut View<'_>, &Lot),
        addr: &Addr,
        staged: &HashSet<Addr>,
        plan: &mut Plan,
    ) -> Result<Constant, SagaError> {
        if !is_payload(addr) {
            return Ok(Constant::Refused("keystones and transcripts move by their own rules".into()));
        }
        if view.has(std::slice::from_ref(addr)).await? == [true] && lot.sees(addr) {
            return Ok(Constant::Here);
        }
        if !lot.writes_all() {
            return Ok(Constant::Refused(format!("{addr} belongs to no folder in which writing was granted")));
        }
        match view.publishable(addr, staged, &plan.publish).await? {
            Publishable::All(addrs) => {
                plan.publish.extend(addrs);
                Ok(Constant::Planned)
            }
            Publishable::Lacks { addr, from } => {
                Ok(Constant::Refused(format!("{addr} is missing, {from} relates to it")))
            }
            Publishable::Stuck { addr, from } => Ok(Constant::Refused(stuck(&addr, &from))),
            Publishable::Dropped(addr) => Ok(Constant::Refused(dropped(&addr))),
        }
    }

    async fn timeline(
        &self,
        (view, lot): (&mut View<'_>, &Lot),
        tjp: &Addr,
        (tip, mine): (Option<&Addr>, Option<&Addr>),
        staged: &HashSet<Addr>,
        plan: &mut Plan,
    ) -> Result<Verdict, SagaError> {
        if Kind::of(tjp) != Kind::Living {
            return Ok(Verdict::Refused("keystones and transcripts move by their own rules".into()));
        }
        let Some(tip) = tip else {
            // A constant may be asked for under its own address.
            return Ok(Verdict::Status(if mine.is_some() { Status::Known(Ancestry::Ahead) } else { Status::Unknown }));
        };
        if mine == Some(tip) {
            return Ok(Verdict::Status(Status::Known(Ancestry::Same)));
        }
        let Some(node) = view.get_along(tip).await? else {
            return Ok(Verdict::Lacking(format!("{tip} was not sent")));
        };
        if node.tjp().as_ref() != Some(tjp) {
            return Ok(Verdict::Refused(format!("{tip} is not a frame of {tjp}")));
        }
        let addrs = match view.publishable(tip, staged, &plan.publish).await? {
            Publishable::All(addrs) => addrs,
            Publishable::Lacks { addr, from } => {
                return Ok(Verdict::Lacking(format!("{addr} is missing, {from} relates to it")));
            }
            Publishable::Stuck { addr, from } => return Ok(Verdict::Refused(stuck(&addr, &from))),
            Publishable::Dropped(addr) => return Ok(Verdict::Refused(dropped(&addr))),
        };
        let ancestry = match mine {
            None => Ok(Ancestry::Behind),
            Some(mine) => view.history.ancestry(mine, tip).await,
        };
        if matches!(ancestry, Ok(Ancestry::Behind | Ancestry::Diverged))
            && let Some(why) = lot.refuses(view, tjp, tip).await?
        {
            return Ok(Verdict::Refused(why));
        }
        if matches!(ancestry, Ok(Ancestry::Behind | Ancestry::Diverged)) {
            match view.stands_on(tip, mine).await {
                Ok(None) => {}
                Ok(Some(frame)) => return Ok(Verdict::Refused(dropped(&frame))),
                Err(error) => return Ok(Verdict::Refused(error.to_string())),
            }
        }
        match ancestry {
            Err(error) => Ok(Verdict::Refused(error.to_string())),
            Ok(Ancestry::Same) => Ok(Verdict::Status(Status::Known(Ancestry::Same))),
            Ok(Ancestry::Ahead) => {
                plan.publish.extend(addrs);
                Ok(Verdict::Status(Status::Known(Ancestry::Ahead)))
            }
            Ok(Ancestry::Diverged) => Ok(Verdict::Diverged(addrs)),
            Ok(Ancestry::Behind) => match view.history.advance(mine, tip).await {
                Err(error) => Ok(Verdict::Refused(error.to_string())),
                Ok(advance) => {
                    plan.publish.extend(addrs);
                    let status = if mine.is_some() { Status::Known(Ancestry::Behind) } else { Status::Unknown };
                    Ok(Verdict::Forward(status, advance))
                }
            },
        }
    }

    /// What was sent must belong to what was named.
    async fn check_payload(&self, plan: &Plan) -> Result<(), SagaError> {
        let outside: Vec<Addr> = plan.payload.iter().filter(|a| !plan.publish.contains(a)).cloned().collect();
        let has = self.host.space().has(&outside).await.map_err(space_error)?;
        match outside.into_iter().zip(has).find(|(_, has)| !has) {
            None => Ok(()),
            Some((addr, _)) => Err(SagaError::PeerMisbehaved {
                breach: Breach::PayloadOutside,
                detail: format!("{addr} is not in the graph of anything that the message names"),
            }),
        }
    }

    async fn commit(
        &mut self,
        transcript: &[Turn],
        session_frames: Vec<Verified<IbGib>>,
        step: Option<Step>,
    ) -> Result<Committed, SagaError> {
        if let Some(identity) = &self.identity {
            self.host.check_standing(identity).await?;
        }
        let space = self.host.space().clone();
        let mut view = View::new(&*space, &self.owner);
        // If it is not committed it is judged anew, or the saga ends: the plan is not needed again.
        let mut commit = std::mem::take(&mut self.plan.draft.commit);
        commit.publish = Some((self.owner.clone(), self.plan.published()));
        commit.records.extend(self.plan.roots.iter().cloned());
        // If any of it ended meanwhile, the turn is judged anew.
        commit.expect.extend(self.plan.granted.iter().cloned());
        commit.nodes.extend(session_frames);
        commit.tips.extend(step.map(Advance::Keystone));
        add_transcript(&mut view, &mut commit, transcript).await?;
        drop(view);
        match space.commit(commit).await {
            Ok(_) => {
                // What stayed staged is what was refused. Kept, it would look to the sender's next saga as if it were here:
                // one that only takes would say that it has no more than this, and be refused again.
                // What was committed stays so if that fails; what is left goes with its time.
                if self.plan.refused
                    && let Err(error) = space.unstage(&self.owner).await
                {
                    tracing::warn!(%error, owner = self.owner, "what was refused is still staged");
                }
                (self.plan, self.stages, self.came) = (Plan::default(), false, Arc::default());
                Ok(Committed::Durable)
            }
            Err(CommitError::TipsMoved(moved)) if moved.iter().all(|(t, _)| Kind::of(t) == Kind::Living) => {
                Ok(Committed::Moved)
            }
            Err(CommitError::TipsMoved(_)) => Err(IdentityRefusal::SessionUsed.into()),
            Err(CommitError::RecordsChanged(_)) => Ok(Committed::Moved),
            Err(error) => Err(commit_error(error)),
        }
    }
}

/// What an address led to.
struct Found {
    tjp: Addr,
    tip: Addr,
}

impl Found {
    /// Whoever asks.
    async fn of(moment: &dyn ibgib_spaces::View, addr: &Addr) -> Result<Option<Self>, SagaError> {
        if !is_payload(addr) {
            return Ok(None);
        }
        let found = resolve(moment, addr).await.map_err(space_error)?;
        Ok(found.filter(|(tjp, _)| is_payload(tjp)).map(|(tjp, tip)| Self { tjp, tip }))
    }

    /// A constant, or a timeline's first and only frame.
    fn is_alone(&self) -> bool {
        self.tjp == self.tip && self.tjp.tjp_gib().is_none()
    }

    /// `readable`: what of those that are alone stands in the graph of something that may be read.
    fn may_be_read(&self, lot: &Lot, readable: &HashSet<Addr>) -> bool {
        lot.may_read(&self.tjp) || (self.is_alone() && readable.contains(&self.tjp))
    }
}

/// How a constant that the sender names stands here.
enum Constant {
    Here,
    /// The plan publishes it.
    Planned,
    /// It or something under it is missing, or does not travel.
    Refused(String),
}

/// How a timeline that the sender names stands here.
enum Verdict {
    Status(Status),
    Forward(Status, ibgib::timeline::Advance),
    /// With the nodes that its merge needs published.
    Diverged(Vec<Addr>),
    Lacking(String),
    Refused(String),
}

#[cfg(test)]
mod tests;
