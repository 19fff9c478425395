//! What one turn's sender may do with the timelines that it names, and which folder those belong to that are new.

use super::Host;
use super::derived::{derives, is_derived};
use super::grants::Permit;
use super::roots::{Record, Roots, root_records};
use crate::grant::Rights;
use crate::view::View;
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::{SagaError, SenderLine};
use ibgib_spaces::Tip;
use std::collections::{HashMap, HashSet};

/// Tips read at once.
const READ_AT_ONCE: usize = 64;

/// Rights of one turn.
#[derive(Debug)]
pub(super) struct Lot {
    identity: Option<Addr>,
    pub(super) permit: Permit,
    /// Of the timelines that were [looked up](Lot::look_up). None where nobody is told apart: the policy asks for no grants.
    roots: Option<Roots>,
    /// The turn asks for a commit; else nothing is changed by it.
    commits: bool,
    /// All nodes that the sender has sent, also those that were here already.
    sent: HashSet<Addr>,
    /// What that relates to beside itself, and may be read.
    readable: HashSet<Addr>,
    /// Timelines that are new here: the folder that each belongs to, and the timeline that led to it.
    fresh: HashMap<Addr, (Addr, Addr)>,
}

impl Lot {
    /// What is for looking only.
    pub(super) async fn to_look(host: &Host, identity: Option<&Addr>) -> Result<Self, SagaError> {
        let permit = match identity {
            Some(identity) => host.permit(identity).await?,
            None => Permit::all(),
        };
        // Whoever reads everything needs not know where it belongs.
        let roots = (!permit.covers_all(Rights::Read)).then(Roots::default);
        Ok(Self {
            identity: identity.cloned(),
            permit,
            roots,
            commits: false,
            sent: HashSet::new(),
            readable: HashSet::new(),
            fresh: HashMap::new(),
        })
    }

    /// What is for a turn, which may ask for a commit of what it sends.
    pub(super) async fn of(
        host: &Host,
        identity: Option<&Addr>,
        commits: bool,
        sent: impl Iterator<Item = &Addr>,
    ) -> Result<Self, SagaError> {
        let mut lot = Self::to_look(host, identity).await?;
        lot.commits = commits;
        if commits && !lot.writes_all() {
            lot.sent = sent.cloned().collect();
        }
        if lot.roots.is_none() && commits && host.policy_name() == super::Policy::Owner.as_str() {
            lot.roots = Some(Roots::default());
        }
        Ok(lot)
    }

    /// Looks up where timelines belong. Whoever may read some and not others may read none that was not looked up.
    pub(super) async fn look_up(
        &mut self,
        moment: &dyn ibgib_spaces::View,
        timelines: impl IntoIterator<Item = &Addr>,
    ) -> Result<(), SagaError> {
        match &mut self.roots {
            Some(roots) => roots.look_up(moment, timelines).await,
            None => Ok(()),
        }
    }

    /// Looks up the timelines that the sender names, and finds out what of the space he may read among that to which he
    /// relates, once for the whole turn.
    pub(super) async fn look_around(
        &mut self,
        host: &Host,
        view: &mut View<'_>,
        lines: &[SenderLine],
    ) -> Result<(), SagaError> {
        let named = lines.iter().filter_map(|line| match line {
            SenderLine::Timeline { tjp, .. } => Some(tjp),
            _ => None,
        });
        self.look_up(view.moment().await?, named).await?;
        if self.reads_all() && (!self.commits || self.writes_all()) {
            return Ok(());
        }
        let sent: Vec<Addr> = self.sent.iter().cloned().collect();
        let mut outside: HashSet<Addr> = view.targets(&sent).await?.into_iter().collect();
        outside.extend(lines.iter().filter_map(|line| match line {
            SenderLine::Timeline { tip, .. } => tip.clone(),
            _ => None,
        }));
        outside.retain(|addr| !self.sent.contains(addr));
        outside.extend(lines.iter().filter_map(|line| match line {
            SenderLine::Constant(addr) => Some(addr.clone()),
            _ => None,
        }));
        let outside: Vec<Addr> = outside.into_iter().collect();
        view.let_go();
        self.readable = host.readable(&self.permit, &outside).await?;
        Ok(())
    }

    /// Whether a constant that the sender names, and that is here, may be read; [`Lot::look_around`] found it out.
    pub(super) fn sees(&self, constant: &Addr) -> bool {
        self.reads_all() || self.readable.contains(constant)
    }

    /// Of these nodes those that may be read.
    pub(super) async fn readable(&self, host: &Host, addrs: &[Addr]) -> Result<HashSet<Addr>, SagaError> {
        host.readable(&self.permit, addrs).await
    }

    /// The living tips that may be read, sorted by timeline.
    pub(super) async fn tips(&self, host: &Host) -> Result<Vec<Tip>, SagaError> {
        host.readable_tips(&self.permit).await
    }

    /// Finds out which folder the timelines belong to that are new here. One that a tip leads to belongs to the folder of
    /// that tip's timeline, one that nothing leads to is a folder of its own. A timeline that is here stays where it is,
    /// whatever leads to it.
    pub(super) async fn sort(&mut self, view: &mut View<'_>, lines: &[SenderLine]) -> Result<(), SagaError> {
        if self.roots.is_none() || !self.commits {
            return Ok(());
        }
        let (mut leads, mut tips): (HashMap<&Addr, Vec<Addr>>, HashMap<&Addr, &Addr>) = Default::default();
        let named = lines.iter().filter_map(|line| match line {
            SenderLine::Timeline { tjp, tip: Some(tip), .. } => Some((tjp, tip)),
            _ => None,
        });
        let named: Vec<(&Addr, &Addr)> = named.collect();
        for batch in named.chunks(READ_AT_ONCE) {
            let addrs: Vec<Addr> = batch.iter().map(|(_, tip)| (*tip).clone()).collect();
            for ((tjp, tip), node) in batch.iter().zip(view.get_all(&addrs).await?) {
                if let Some(node) = node {
                    leads.insert(tjp, node.targets());
                    tips.insert(tjp, tip);
                }
            }
        }
        let by_gib: HashMap<&str, &Addr> = leads.keys().map(|tjp| (tjp.gib(), *tjp)).collect();
        let timeline = |addr: &Addr| by_gib.get(addr.tjp_gib().unwrap_or(addr.gib())).copied();
        let led: HashSet<&Addr> = leads
            .iter()
            .flat_map(|(from, targets)| targets.iter().filter_map(timeline).filter(move |to| to != from))
            .collect();
        let names: Vec<Addr> = leads.keys().map(|tjp| (*tjp).clone()).collect();
        let others = leads.values().flatten().filter(|to| to.tjp_gib().is_none() && timeline(to).is_none());
        self.look_up(view.moment().await?, others).await?;
        let Some(roots) = &self.roots else { return Ok(()) };
        let mut here: HashSet<Addr> = view.tips(&names).await?.into_keys().collect();
        here.extend(names.iter().filter(|tjp| roots.folder(tjp).is_some()).cloned());
        // What a timeline leads to that belongs to no folder yet belongs to none either: they will together.
        let (mut stay, mut open): (HashSet<Addr>, Vec<&Addr>) = Default::default();
        open.extend(here.iter().filter(|tjp| roots.folder(tjp).is_none()));
        while let Some(from) = open.pop() {
            for to in leads.get(from).into_iter().flatten().filter_map(timeline) {
                if !here.contains(to) && stay.insert(to.clone()) {
                    open.push(to);
                }
            }
        }
        let mut todo: Vec<(Addr, Addr)> = Vec::new();
        let mut sorted: Vec<&Addr> = names.iter().collect();
        sorted.sort_unstable();
        // What is here leads first, then what nothing leads to, then circles.
        for stage in 0..3 {
            for tjp in &sorted {
                let folder = match (stage, here.contains(*tjp)) {
                    (0, true) => roots.folder(tjp).cloned(),
                    (1, false) if !led.contains(*tjp) => Some((*tjp).clone()),
                    (2, false) if !stay.contains(*tjp) => Some((*tjp).clone()),
                    _ => None,
                };
                let Some(folder) = folder else { continue };
                if stage > 0 {
                    if self.fresh.contains_key(*tjp) {
                        continue;
                    }
                    self.fresh.insert((*tjp).clone(), (folder.clone(), (*tjp).clone()));
                }
                todo.push(((*tjp).clone(), folder));
            }
            while !todo.is_empty() {
                let wave = std::mem::take(&mut todo);
                let mut pairs: Vec<(usize, Addr)> = Vec::new();
                for (nth, (from, _)) in wave.iter().enumerate() {
                    let targets = leads.get(from).into_iter().flatten();
                    pairs.extend(targets.filter_map(|target| match timeline(target) {
                        Some(to) => Some((nth, to.clone())),
                        // Not in this turn; the first frame of one that comes in a later one.
                        None => target.tjp_gib().is_none().then(|| (nth, target.clone())),
                    }));
                }
                let mut leader: Option<(usize, Verified<IbGib>)> = None;
                for batch in pairs.chunks(READ_AT_ONCE) {
                    let is_known = |fresh: &HashMap<Addr, (Addr, Addr)>, (nth, to): &(usize, Addr)| {
                        *to == wave[*nth].0 || here.contains(to) || fresh.contains_key(to) || roots.folder(to).is_some()
                    };
                    let asked: HashSet<&Addr> =
                        batch.iter().filter(|pair| !is_known(&self.fresh, pair)).map(|(_, to)| to).collect();
                    let asked: Vec<Addr> = asked.into_iter().cloned().collect();
                    let read = view.get_all(&asked).await?.into_iter().flatten().filter(|node| node.is_tjp());
                    let firsts: HashMap<Addr, Verified<IbGib>> = read.map(|node| (node.addr().clone(), node)).collect();
                    for pair in batch {
                        // It may be since it was asked for.
                        if is_known(&self.fresh, pair) {
                            continue;
                        }
                        let (nth, to) = pair;
                        let ((from, folder), first) = (&wave[*nth], firsts.get(to));
                        let one = std::slice::from_ref(to);
                        if !leads.contains_key(to) && (first.is_none() || !view.tips(one).await?.is_empty()) {
                            continue;
                        }
                        if let Some(tip) = tips.get(from).filter(|_| leader.as_ref().is_none_or(|(of, _)| of != nth)) {
                            leader = view.get(tip).await?.map(|node| (*nth, node));
                        }
                        let of_this = leader.as_ref().filter(|(of, _)| of == nth);
                        let belongs = first
                            .zip(of_this)
                            .is_some_and(|(first, (_, leader))| !is_derived(first) || derives(folder, leader, first));
                        if !belongs {
                            continue;
                        }
                        self.fresh.insert(to.clone(), (folder.clone(), from.clone()));
                        todo.push((to.clone(), folder.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a timeline that is here may be read.
    pub(super) fn may_read(&self, timeline: &Addr) -> bool {
        self.roots.as_ref().is_none_or(|roots| self.permit.may(roots, timeline, Rights::Read))
    }

    /// Whether everything may be read.
    pub(super) fn reads_all(&self) -> bool {
        self.permit.covers_all(Rights::Read)
    }

    /// Whether everything may be changed.
    pub(super) fn writes_all(&self) -> bool {
        self.permit.covers_all(Rights::Write)
    }

    /// Why a timeline may not be moved to a tip; nothing if it may. Whatever is under the tip must have been sent by whoever
    /// moves it, or be something that he may read: else he could read it from then on.
    pub(super) async fn refuses(
        &self,
        view: &mut View<'_>,
        timeline: &Addr,
        tip: &Addr,
    ) -> Result<Option<String>, SagaError> {
        let told_apart = self.commits && !self.writes_all();
        let Some(roots) = self.roots.as_ref().filter(|_| told_apart) else { return Ok(None) };
        let fresh = self.fresh.get(timeline).map(|(folder, _)| folder);
        let may = match roots.folder(timeline) {
            Some(_) => self.permit.may(roots, timeline, Rights::Write),
            None => fresh.is_some_and(|folder| {
                // Who brought the folder may bring more of it.
                self.permit.covers(folder, Rights::Write) || self.permit.may(roots, folder, Rights::Write)
            }),
        };
        if !may {
            return Ok(Some(format!("changing {timeline} was not granted")));
        }
        let (mut seen, mut level) = (HashSet::from([tip.clone()]), vec![tip.clone()]);
        while !level.is_empty() {
            let (own, others): (Vec<Addr>, Vec<Addr>) = level.into_iter().partition(|addr| self.sent.contains(addr));
            if let Some(foreign) = others.iter().find(|addr| !self.readable.contains(*addr)) {
                return Ok(Some(format!("{foreign} is under {timeline}, was not sent, and may not be read")));
            }
            let targets = view.targets(&own).await?;
            level = targets.into_iter().filter(|target| seen.insert(target.clone())).collect();
        }
        Ok(None)
    }

    /// The records that tell where the timelines belong that came in with the ones that were taken.
    pub(super) fn records(&self, taken: &HashSet<Addr>) -> Vec<Record> {
        let Some(by) = &self.identity else { return Vec::new() };
        let came = self.fresh.iter().filter(|(timeline, (_, from))| taken.contains(*timeline) || taken.contains(from));
        root_records(came.map(|(timeline, (folder, _))| (timeline, folder, by)))
    }
}
