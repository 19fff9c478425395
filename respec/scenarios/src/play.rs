//! What a scenario is told with: people who make, edit and relate documents on two sides, sync, and look.

use ibgib::transform::{self, ForkOpts, Moment, Mut8Opts, Rel8Opts, linked};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_keystone::{PoolConfig, Secret};
use ibgib_peer::{
    Remote, SecretSource, SenderIdentity, SessionSigner, SyncOptions, SyncPeer, SyncSagaCoordinator, Synced, identity,
};
use ibgib_saga::{Direction, Limits, Scope, Summary};
use ibgib_spaces::settle::admit;
use ibgib_spaces::{Follow, Kind, Space};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Why a step could not be played. A check that does not hold is no error: it is a [`Check`] that failed.
pub type PlayError = Box<dyn std::error::Error + Send + Sync>;

/// What a step answers.
pub type Played<T> = Result<T, PlayError>;

/// Where a scenario is played.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The sender's space.
    pub source: Arc<dyn Space>,
    /// The receiver's space, looked into directly.
    pub dest: Arc<dyn Space>,
    /// How the sender reaches the receiver.
    pub remote: Arc<dyn Remote>,
    /// Whether the sender has an identity; without one only in process.
    pub with_identity: bool,
    /// What makes this play's documents its own: the same seed gives the same addresses.
    pub seed: String,
    /// Limits of the sender's connections.
    pub limits: Limits,
}

/// Which side somebody works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sender's.
    Source,
    /// The receiver's.
    Dest,
}

/// One thing that must be true, and whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The sentence.
    pub sentence: String,
    /// Whether it held.
    pub passed: bool,
    /// What was seen: addresses, counts.
    pub evidence: String,
}

/// One sync, with what was missing before it.
#[derive(Clone, Debug)]
pub struct SyncRun {
    /// What it answered.
    pub synced: Synced,
    /// Nodes of the scope that the receiver lacked.
    pub missing_at_dest: usize,
    /// Nodes of the scope that the sender lacked.
    pub missing_at_source: usize,
    /// Nodes that nobody had before: merge frames and their stones.
    pub made: usize,
}

impl SyncRun {
    /// What the saga did.
    pub fn summary(&self) -> &Summary {
        &self.synced.summary
    }
}

/// A scenario being played.
pub struct Play {
    /// Where.
    pub scene: Scene,
    /// The sender's identity, once made.
    pub identity: Option<SenderIdentity>,
    /// The connection of the phases that go step by step.
    pub peer: Option<SyncPeer>,
    /// Documents by name: their timelines, or their own addresses when they have none.
    pub docs: BTreeMap<&'static str, Addr>,
    /// Syncs so far.
    pub runs: Vec<SyncRun>,
    /// Checks so far.
    pub checks: Vec<Check>,
    ticks: u64,
}

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Play").field("docs", &self.docs).field("checks", &self.checks).finish_non_exhaustive()
    }
}

fn no(what: &str) -> PlayError {
    what.to_owned().into()
}

impl Play {
    /// An empty play.
    pub fn new(scene: Scene) -> Self {
        Self {
            scene,
            identity: None,
            peer: None,
            docs: BTreeMap::new(),
            runs: Vec::new(),
            checks: Vec::new(),
            ticks: 0,
        }
    }

    /// A side's space.
    pub fn space(&self, side: Side) -> &Arc<dyn Space> {
        match side {
            Side::Source => &self.scene.source,
            Side::Dest => &self.scene.dest,
        }
    }

    /// Time and entropy that the seed repeats, one second on at each look.
    pub fn moment(&mut self) -> Moment {
        self.ticks += 1;
        let hash = Sha256::digest(format!("{}/{}", self.scene.seed, self.ticks));
        let mut random = [0; 16];
        random.copy_from_slice(&hash[..16]);
        Moment { now_ms: 1_767_225_600_000 + 1_000 * i64::try_from(self.ticks).unwrap_or(0), random }
    }

    /// Makes the sender's identity with these pools, unless the play goes without.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn make_identity(&mut self, secret: &str, pools: Option<&[PoolConfig]>) -> Played<()> {
        if !self.scene.with_identity {
            return Ok(());
        }
        let secret = Secret::new(secret.as_bytes().to_vec());
        let chain = match pools {
            Some(pools) => identity::create_with_pools(&*self.scene.source, &secret, pools).await?,
            None => identity::create(&*self.scene.source, &secret).await?,
        };
        let secret = SecretSource::new(move || Ok(secret.clone()));
        self.identity = Some(SenderIdentity { tjp: chain.tjp().clone(), secret });
        Ok(())
    }

    /// Makes a document: a timeline's first frame, then one with `data`.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn make(&mut self, side: Side, name: &'static str, data: Map) -> Played<Addr> {
        let opts = ForkOpts::timeline(name);
        let first = transform::fork(&IbGib::primitive(name)?, &opts, &self.moment())?;
        admit(&**self.space(side), &first.nodes()).await?;
        let tjp = first.frame.addr().clone();
        self.docs.insert(name, tjp.clone());
        self.edit(side, name, data).await?;
        Ok(tjp)
    }

    /// Makes a constant: a node that is in no timeline.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn make_constant(
        &mut self,
        side: Side,
        name: &'static str,
        data: Map,
        related: &[(&str, &Addr)],
    ) -> Played<Addr> {
        let list = |addr: &Addr| Value::Array(vec![addr.into()]);
        let rel8ns: Map = related.iter().map(|(relation, addr)| (*relation, list(addr))).collect();
        let rel8ns = (!rel8ns.is_empty()).then(|| Value::Object(rel8ns));
        let node = IbGib { ib: name.to_owned(), gib: None, data: Some(Value::Object(data)), rel8ns }.seal()?;
        admit(&**self.space(side), std::slice::from_ref(&node)).await?;
        self.docs.insert(name, node.addr().clone());
        Ok(node.addr().clone())
    }

    /// The timeline or constant of a document.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn doc(&self, name: &str) -> Played<Addr> {
        self.docs.get(name).cloned().ok_or_else(|| no("no such document"))
    }

    /// A document's newest frame on a side.
    ///
    /// # Errors
    /// When that side does not have it.
    pub async fn tip(&self, side: Side, name: &str) -> Played<Verified<IbGib>> {
        let doc = self.doc(name)?;
        let addr = self.space(side).tip(&doc).await?.map_or(doc, |t| t.addr);
        let node = self.space(side).node(&addr).await?;
        node.ok_or_else(|| format!("{name} is not on the side {side:?}").into())
    }

    /// Adds or replaces members of a document's data.
    ///
    /// # Errors
    /// When that side does not have it.
    pub async fn edit(&mut self, side: Side, name: &str, patch: Map) -> Played<Addr> {
        let tip = self.tip(side, name).await?;
        let opts = Mut8Opts { patch: Some(patch), dna: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
        let made = transform::mut8(&tip, &opts, &self.moment())?;
        admit(&**self.space(side), &made.nodes()).await?;
        Ok(made.frame.addr().clone())
    }

    /// Relates a document to an address.
    ///
    /// # Errors
    /// When that side does not have both.
    pub async fn relate(&mut self, side: Side, name: &str, relation: &str, to: &Addr) -> Played<Addr> {
        let tip = self.tip(side, name).await?;
        let add = vec![(relation.to_owned(), vec![to.clone()])];
        let opts = Rel8Opts { add, dna: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
        let made = transform::rel8(&tip, &opts, &self.moment())?;
        admit(&**self.space(side), &made.nodes()).await?;
        Ok(made.frame.addr().clone())
    }

    /// A connection to go step by step with.
    pub fn new_peer(&self) -> SyncPeer {
        let (source, remote) = (Arc::clone(&self.scene.source), Arc::clone(&self.scene.remote));
        SyncPeer::new(source, remote, self.identity.clone(), self.scene.limits.clone())
    }

    /// Syncs all documents of the play, counting what was missing.
    ///
    /// # Errors
    /// What ended the saga.
    pub async fn sync(&mut self) -> Played<()> {
        let docs: Vec<Addr> = self.docs.values().cloned().collect();
        let (source, dest) = (self.live(Side::Source, &docs).await?, self.live(Side::Dest, &docs).await?);
        let missing_at_dest = self.missing(Side::Dest, &source).await?.len();
        let missing_at_source = self.missing(Side::Source, &dest).await?.len();
        let options = SyncOptions {
            identity: self.identity.clone(),
            scope: Scope::Only(docs.clone()),
            direction: Direction::Both,
            limits: self.scene.limits.clone(),
            ..SyncOptions::default()
        };
        let coordinator = SyncSagaCoordinator::new(Arc::clone(&self.scene.source));
        let synced = coordinator.sync(Arc::clone(&self.scene.remote), options).done().await?;
        let after = self.live(Side::Source, &docs).await?;
        let made = after.iter().filter(|a| !source.contains(*a) && !dest.contains(*a)).count();
        self.runs.push(SyncRun { synced, missing_at_dest, missing_at_source, made });
        Ok(())
    }

    /// Which of these nodes a side lacks.
    async fn missing(&self, side: Side, nodes: &HashSet<Addr>) -> Played<Vec<Addr>> {
        let nodes: Vec<Addr> = nodes.iter().cloned().collect();
        let has = self.space(side).has(&nodes).await?;
        Ok(nodes.into_iter().zip(has).filter(|(_, has)| !has).map(|(addr, _)| addr).collect())
    }

    /// The live graph of the documents that a side has.
    async fn live(&self, side: Side, docs: &[Addr]) -> Played<HashSet<Addr>> {
        let space = self.space(side);
        let has = space.has(docs).await?;
        let here: Vec<Addr> = docs.iter().zip(has).filter(|(_, has)| *has).map(|(a, _)| a.clone()).collect();
        Ok(space.reach(&here, Follow::Live, &HashSet::new(), 1_000_000).await?.into_iter().collect())
    }

    /// The graph of an address on a side, as what is hashed.
    ///
    /// # Errors
    /// When a node of it is missing there.
    pub async fn graph(&self, side: Side, start: &Addr) -> Played<BTreeMap<String, String>> {
        let space = self.space(side);
        let addrs = space.reach(std::slice::from_ref(start), Follow::All, &HashSet::new(), 1_000_000).await?;
        let mut out = BTreeMap::new();
        for (node, addr) in space.get(&addrs).await?.into_iter().zip(&addrs) {
            let node = node.ok_or_else(|| format!("{addr} is missing"))?;
            out.insert(addr.to_string(), node.to_json());
        }
        Ok(out)
    }

    /// Notes a check.
    pub fn check(&mut self, sentence: impl Into<String>, passed: bool, evidence: impl Into<String>) {
        self.checks.push(Check { sentence: sentence.into(), passed, evidence: evidence.into() });
    }

    /// Notes whether the graph of `start` is the same on both sides.
    pub async fn check_graph(&mut self, sentence: impl Into<String>, start: &Addr) {
        let both = (self.graph(Side::Source, start).await, self.graph(Side::Dest, start).await);
        match both {
            (Ok(a), Ok(b)) => {
                self.check(sentence, a == b && !a.is_empty(), format!("{start}: {} and {} nodes", a.len(), b.len()))
            }
            (a, b) => {
                let why = [a.err(), b.err()].into_iter().flatten().map(|e| e.to_string()).collect::<Vec<_>>();
                self.check(sentence, false, why.join("; "));
            }
        }
    }

    /// What holds after every scenario: equal tips and graphs of every document, only missing nodes travelled, S and
    /// I1 and the transcript on both sides, and a second sync moves nothing.
    ///
    /// # Errors
    /// When something could not be looked at.
    pub async fn check_end(&mut self) -> Played<()> {
        for name in self.docs.keys().copied().collect::<Vec<_>>() {
            let (a, b) = (self.tip(Side::Source, name).await?, self.tip(Side::Dest, name).await?);
            self.check(format!("{name} has the same tip on both sides"), a.addr() == b.addr(), a.addr().to_string());
            self.check_graph(format!("{name} dep graph matches on source and dest"), a.addr()).await;
        }
        for (i, run) in self.runs.clone().iter().enumerate() {
            let s = run.summary();
            let sent = s.nodes_sent as usize == run.missing_at_dest;
            let received = s.nodes_received as usize == run.missing_at_source + run.made;
            let evidence = format!(
                "sent {} of {} missing, received {} of {} missing and {} made",
                s.nodes_sent, run.missing_at_dest, s.nodes_received, run.missing_at_source, run.made
            );
            self.check(format!("sync {} moved only what was missing", i + 1), sent && received, evidence);
        }
        let session = self.runs.last().and_then(|r| r.synced.session.clone());
        self.check_identities(session).await?;
        let sagas = (self.transcripts(Side::Source).await?, self.transcripts(Side::Dest).await?);
        let ours = self.runs.iter().filter_map(|r| r.summary().saga.clone());
        let kept = ours.clone().all(|id| [&sagas.0, &sagas.1].iter().all(|s| s.iter().any(|ib| ib.contains(&id))));
        self.check("both sides have the transcript of every saga", kept, ours.collect::<Vec<_>>().join(" "));

        let before = self.tips_of_docs().await?;
        self.sync().await?;
        let run = self.runs.pop().ok_or("no sync")?;
        let s = run.summary();
        let still = (s.turns, s.nodes_sent, s.nodes_received) == (0, 0, 0) && before == self.tips_of_docs().await?;
        self.check("a second sync moves nothing and changes nothing", still, format!("{} turns", s.turns));
        Ok(())
    }

    async fn check_identities(&mut self, session: Option<Addr>) -> Played<()> {
        let (Some(identity), Some(session)) = (self.identity.clone(), session) else { return Ok(()) };
        let i1 = self.scene.source.tip(&identity.tjp).await?.ok_or("the identity is gone")?.addr;
        for (sentence, space) in [
            ("sender durable space has I (evolved frame)", &self.scene.source.clone()),
            ("receiver durable space has I (evolved frame)", &self.scene.dest.clone()),
        ] {
            let has = space.has(std::slice::from_ref(&i1)).await? == [true];
            self.check(sentence, has, i1.to_string());
        }
        for (sentence, side) in [
            ("sender durable space has full S dep graph", Side::Source),
            ("receiver durable space has full S dep graph", Side::Dest),
        ] {
            let graph = self.graph(side, &session).await;
            let nodes = graph.as_ref().map_or(0, BTreeMap::len);
            self.check(sentence, nodes > 0, format!("{session}: {nodes} nodes"));
        }
        self.check_graph("S dep graph matches on source and dest", &session).await;
        Ok(())
    }

    async fn transcripts(&self, side: Side) -> Played<Vec<String>> {
        let space = self.space(side);
        let mut out = Vec::new();
        for tip in space.tips(Some(Kind::Saga)).await? {
            if let Some(frame) = space.node(&tip.addr).await? {
                out.push(frame.to_json());
            }
        }
        Ok(out)
    }

    async fn tips_of_docs(&self) -> Played<Vec<(Option<Addr>, Option<Addr>)>> {
        let mut out = Vec::new();
        for doc in self.docs.values() {
            let tip = |t: Option<ibgib_spaces::Tip>| t.map(|t| t.addr);
            out.push((tip(self.scene.source.tip(doc).await?), tip(self.scene.dest.tip(doc).await?)));
        }
        Ok(out)
    }

    /// The ending, to be equal on every rig: each document's tip, and what each sync moved.
    ///
    /// # Errors
    /// When a document is missing.
    pub async fn ending(&self) -> Played<Vec<String>> {
        let mut out = Vec::new();
        for name in self.docs.keys() {
            out.push(format!("{name} {}", self.tip(Side::Dest, name).await?.addr()));
        }
        for run in &self.runs {
            let s = run.summary();
            let actions: Vec<&str> = s.timelines.iter().map(|t| t.action.as_str()).collect();
            out.push(format!(
                "turns {} sent {} received {} merges {} conflicts {} {actions:?}",
                s.turns, s.nodes_sent, s.nodes_received, s.merges, s.conflicts
            ));
        }
        Ok(out)
    }

    /// The session identity of the play's connection.
    ///
    /// # Errors
    /// When none was established.
    pub fn session(&self) -> Played<&SessionSigner> {
        self.peer.as_ref().and_then(SyncPeer::session).ok_or_else(|| no("no session identity was established"))
    }
}

/// Members of data, as scenarios write them.
pub fn data<const N: usize>(members: [(&str, Value); N]) -> Map {
    members.into_iter().collect()
}
