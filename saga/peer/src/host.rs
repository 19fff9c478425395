//! The receiving side of a space: who may come in, what an identity may deliver, and the connections it serves.

use crate::desk::{ReceiverDesk, resolve};
use crate::identity::{self, forked_key};
use crate::link::Link;
use crate::session::introduced_by;
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, Expect, VERB_SYNC};
use ibgib_saga::{
    IdentityRefusal, Limits, Receiver, ReceiverAnswer, ReceiverDone, ReceiverInput, ReceiverOutput, SagaError,
};
use ibgib_spaces::{Advance, Commit, CommitError, Kind, Space};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who may register and sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Anybody may register an identity.
    Open,
    /// Only these identities.
    Allow(HashSet<Addr>),
}

impl Policy {
    fn allows(&self, tjp: &Addr) -> bool {
        match self {
            Self::Open => true,
            Self::Allow(list) => list.contains(tjp),
        }
    }
}

/// How a host receives.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Limits of each connection.
    pub limits: Limits,
    /// Who may come.
    pub policy: Policy,
    /// Sagas without identity: in one process only, never on a server.
    pub allow_anonymous: bool,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), policy: Policy::Open, allow_anonymous: false }
    }
}

/// Something that happened at a host, for logs, metrics and displays.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// An identity was registered.
    Registered(Addr),
    /// An identity's frames were taken.
    Evolved(Addr),
    /// A connection opened.
    Opened(u64),
    /// A connection proved its identity (`None`: without identity).
    Connected(u64, Option<Addr>),
    /// A connection entered a phase.
    Phase(u64, &'static str),
    /// A message came in or went out.
    Message(MessageEvent),
    /// A saga ended with a commit.
    Done(u64, ReceiverDone),
    /// A connection ended.
    Closed(u64, Option<SagaError>),
    /// An identity was seen signing two different frames on one past.
    Forked(Addr),
    /// An identity's genesis or frames were not taken.
    Refused(Addr, SagaError),
}

/// A message at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEvent {
    /// Its connection.
    pub connection: u64,
    /// Whether it came in.
    pub incoming: bool,
    /// Its type, or `chunk`.
    pub kind: &'static str,
    /// Its bytes.
    pub bytes: usize,
    /// The session identity's frame that it says signs it.
    pub signer: Option<String>,
}

struct Live {
    connection: u64,
    cut: CancellationToken,
}

/// A space that receives. Cheap to share; every connection is a call of [`Host::serve`].
pub struct Host {
    space: Arc<dyn Space>,
    limits: Limits,
    policy: RwLock<Policy>,
    also_allowed: RwLock<HashSet<Addr>>,
    allow_anonymous: bool,
    live: Mutex<HashMap<Addr, Live>>,
    chains: Mutex<HashMap<Addr, Chain>>,
    connections: AtomicU64,
    events: broadcast::Sender<HostEvent>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("space", &self.space.id()).finish_non_exhaustive()
    }
}

impl Host {
    /// A host over a space.
    pub fn new(space: Arc<dyn Space>, options: HostOptions) -> Arc<Self> {
        let (events, _) = broadcast::channel(4_096);
        Arc::new(Self {
            space,
            limits: options.limits,
            policy: RwLock::new(options.policy),
            also_allowed: RwLock::default(),
            allow_anonymous: options.allow_anonymous,
            live: Mutex::new(HashMap::new()),
            chains: Mutex::new(HashMap::new()),
            connections: AtomicU64::new(0),
            events,
        })
    }

    /// The space behind.
    pub fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }

    /// Limits of each connection.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Replaces the policy; open connections of identities no longer allowed are refused at their next turn.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Allows one identity whatever the policy says, until the host is gone: for the program's own.
    pub fn allow_also(&self, identity: Addr) {
        self.also_allowed.write().unwrap_or_else(PoisonError::into_inner).insert(identity);
    }

    /// Whether reading is open to everybody.
    pub fn is_open(&self) -> bool {
        *self.policy.read().unwrap_or_else(PoisonError::into_inner) == Policy::Open
    }

    /// What happens from now on. A slow listener misses events rather than slowing the host.
    pub fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.events.subscribe()
    }

    fn tell(&self, event: HostEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }

    fn live(&self) -> MutexGuard<'_, HashMap<Addr, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_allowed(&self, tjp: &Addr) -> Result<(), SagaError> {
        if self.policy.read().unwrap_or_else(PoisonError::into_inner).allows(tjp)
            || self.also_allowed.read().unwrap_or_else(PoisonError::into_inner).contains(tjp)
        {
            return Ok(());
        }
        Err(IdentityRefusal::NotAllowed(tjp.clone()).into())
    }

    /// Whether an identity may go on: known, allowed, not revoked, not forked.
    pub(crate) async fn check_standing(&self, tjp: &Addr) -> Result<(), SagaError> {
        self.check_allowed(tjp)?;
        self.check_unforked(tjp).await?;
        let tip = self.space.tip(tjp).await.map_err(space_error)?;
        let Some(tip) = tip else { return Err(IdentityRefusal::Unknown(tjp.clone()).into()) };
        let frame = self.space.node(&tip.addr).await.map_err(space_error)?;
        if frame.is_some_and(|f| f.datum("revocationInfo").is_some()) {
            return Err(IdentityRefusal::Revoked(tjp.clone()).into());
        }
        Ok(())
    }

    /// The identity that a session belongs to.
    pub(crate) async fn session_owner(&self, session: &Addr) -> Result<Option<Addr>, SagaError> {
        let record = self.space.record(&session_key(session)).await.map_err(space_error)?;
        Ok(record.and_then(|b| String::from_utf8(b).ok()).and_then(|t| t.parse().ok()))
    }

    /// The tip of whatever timeline `addr` belongs to; a constant answers itself.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn tip(&self, addr: &Addr) -> Result<Option<Addr>, SagaError> {
        Ok(resolve(&*self.space, addr).await.map_err(space_error)?.map(|(_, tip)| tip))
    }

    /// Registers an identity's genesis frame and answers the identity's tip; doing it again changes nothing.
    ///
    /// # Errors
    /// `identity_not_allowed`, `identity_invalid`; or the space fails.
    pub async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<Addr, SagaError> {
        let taken = self.register(genesis).await;
        self.tell_refusal(genesis.addr(), taken.as_ref().err());
        taken
    }

    async fn register(&self, genesis: &Verified<IbGib>) -> Result<Addr, SagaError> {
        let (chain, step) = Chain::from_genesis(genesis.clone()).map_err(|e| IdentityRefusal::invalid(&e))?;
        self.check_allowed(chain.tjp())?;
        if let Some(tip) = self.space.tip(chain.tjp()).await.map_err(space_error)? {
            return Ok(tip.addr);
        }
        let commit = Commit { nodes: vec![genesis.clone()], tips: vec![Advance::Keystone(step)], ..Commit::default() };
        match self.space.commit(commit).await {
            Ok(_) => {
                self.tell(HostEvent::Registered(chain.tjp().clone()));
                Ok(genesis.addr().clone())
            }
            Err(error) => self.tip_or(chain.tjp(), error, |_| true).await,
        }
    }

    /// The tip after a commit that came too late, if it is one to answer with: somebody posted the same at the same
    /// time.
    async fn tip_or(&self, tjp: &Addr, error: CommitError, is_ours: impl Fn(&Addr) -> bool) -> Result<Addr, SagaError> {
        match error {
            CommitError::TipsMoved(_) => match self.space.tip(tjp).await.map_err(space_error)? {
                Some(tip) if is_ours(&tip.addr) => Ok(tip.addr),
                Some(tip) => Err(IdentityRefusal::Stale { tip: tip.addr }.into()),
                None => Err(identity::commit_error(error)),
            },
            CommitError::Missing { .. } => {
                Err(IdentityRefusal::Invalid { rule: None, detail: error.to_string() }.into())
            }
            error => Err(identity::commit_error(error)),
        }
    }

    /// The evolution endpoint: takes new frames of an identity, each checked strictly; the last of them introduces
    /// the session, if one comes along. The same body twice changes nothing.
    ///
    /// # Errors
    /// `identity_unknown`, `identity_not_allowed`, `identity_revoked`, `identity_stale` (the message is the tip),
    /// `identity_forked`, `identity_invalid`, `session_…`; or the space fails.
    pub async fn post_evolution(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<Addr, SagaError> {
        let taken = self.evolve(tjp, frames, session).await;
        self.tell_refusal(tjp, taken.as_ref().err());
        taken
    }

    fn tell_refusal(&self, identity: &Addr, error: Option<&SagaError>) {
        if let Some(error) = error {
            self.tell(HostEvent::Refused(identity.clone(), error.clone()));
        }
    }

    async fn evolve(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<Addr, SagaError> {
        self.check_allowed(tjp)?;
        self.check_unforked(tjp).await?;
        let known = self.chain(tjp).await?;
        let mut chain = known.ok_or_else(|| IdentityRefusal::Unknown(tjp.clone()))?;
        let addrs: Vec<Addr> = frames.iter().map(|f| f.addr().clone()).collect();
        let has = self.space.has(&addrs).await.map_err(space_error)?;
        // A frame that is here but lies above the tip came without one, in a bundle; it still has to be taken.
        let seen = |frame: &IbGib, has: bool| has && frame.n() <= chain.tip().n();
        let fresh: Vec<&Verified<IbGib>> =
            frames.iter().zip(&has).filter(|(f, h)| !seen(f, **h)).map(|(f, _)| f).collect();
        let mut commit = Commit::default();
        if let Some(first) = fresh.first().filter(|first| first.past().as_ref() != Some(chain.tip().addr())) {
            return Err(self.not_next(&chain, first).await?.into());
        }
        let mut of_the_last = Expect::default();
        if let Some(session) = session {
            of_the_last.verb = Some(VERB_SYNC.to_owned());
            of_the_last.target = Some(session.addr().to_string());
        }
        let step = chain.advance_all(fresh.iter().copied(), &of_the_last).map_err(|e| IdentityRefusal::invalid(&e))?;
        commit.nodes.extend(fresh.into_iter().cloned());
        commit.tips.extend(step.map(Advance::Keystone));
        if let Some(session) = session {
            self.introduce(&chain, frames.last(), session, &mut commit).await?;
        }
        if commit.nodes.is_empty() {
            return Ok(chain.tip().addr().clone());
        }
        match self.space.commit(commit).await {
            Ok(_) => {
                self.tell(HostEvent::Evolved(tjp.clone()));
                let tip = chain.tip().addr().clone();
                self.keep(chain);
                Ok(tip)
            }
            Err(error) => self.tip_or(tjp, error, |tip| tip == chain.tip().addr()).await,
        }
    }

    /// An identity's validated state. Replaying it costs work for every frame, and asking for it nothing: what was
    /// replayed is kept.
    async fn chain(&self, tjp: &Addr) -> Result<Option<Chain>, SagaError> {
        let Some(tip) = self.space.tip(tjp).await.map_err(space_error)? else { return Ok(None) };
        let kept = self.chains().get(tjp).filter(|c| *c.tip().addr() == tip.addr).cloned();
        if kept.is_some() {
            return Ok(kept);
        }
        let chain = identity::load_chain(&*self.space, tjp).await?;
        if let Some(chain) = &chain {
            self.keep(chain.clone());
        }
        Ok(chain)
    }

    fn keep(&self, chain: Chain) {
        let mut chains = self.chains();
        if chains.len() >= CHAINS_MAX {
            chains.clear();
        }
        chains.insert(chain.tjp().clone(), chain);
    }

    fn chains(&self) -> MutexGuard<'_, HashMap<Addr, Chain>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the session that an identity's newest frame introduces, unless it is here already.
    async fn introduce(
        &self,
        chain: &Chain,
        last: Option<&Verified<IbGib>>,
        session: &Verified<IbGib>,
        commit: &mut Commit,
    ) -> Result<(), SagaError> {
        if chain.is_revoked() {
            return Err(IdentityRefusal::Revoked(chain.tjp().clone()).into());
        }
        let (s, step) = Chain::from_genesis(session.clone()).map_err(|e| IdentityRefusal::invalid(&e))?;
        let Some((identity, before, audience)) = introduced_by(session) else {
            return Err(IdentityRefusal::SessionDetails.into());
        };
        if audience != self.space.id() {
            return Err(IdentityRefusal::SessionAudience.into());
        }
        if identity != *chain.tjp() {
            return Err(IdentityRefusal::SessionOther.into());
        }
        if let Some(owner) = self.session_owner(s.tjp()).await? {
            return if owner == identity { Ok(()) } else { Err(IdentityRefusal::SessionOther.into()) };
        }
        let names = last.is_some_and(|f| {
            let claim =
                f.datum("proofs").and_then(|p| p.as_array()).and_then(|p| p.first()).and_then(|p| p.get("claim"));
            let text = |key: &str| claim.and_then(|c| c.get(key)).and_then(ibgib::Value::as_str);
            f.addr() == chain.tip().addr()
                && f.past().as_ref() == Some(&before)
                && text("verb") == Some(VERB_SYNC)
                && text("target") == Some(session.addr().as_str())
        });
        if !names {
            return Err(IdentityRefusal::SessionNotNamed.into());
        }
        commit.nodes.push(session.clone());
        commit.tips.push(Advance::Keystone(step));
        commit.records.push((session_key(s.tjp()), Some(chain.tjp().as_str().as_bytes().to_vec())));
        Ok(())
    }

    /// Why a frame that does not continue the tip is refused: stale, or proof that the identity was forked.
    async fn not_next(&self, chain: &Chain, frame: &Verified<IbGib>) -> Result<IdentityRefusal, SagaError> {
        let stale = IdentityRefusal::Stale { tip: chain.tip().addr().clone() };
        let frames = identity::frames(&*self.space, chain.tjp()).await?.unwrap_or_default();
        let Some(at) = frames.iter().position(|f| frame.past().as_ref() == Some(f.addr())) else { return Ok(stale) };
        let Ok((mut before, _)) = Chain::replay(frames[..=at].to_vec()) else { return Ok(stale) };
        if before.advance(frame, &Expect::default()).is_err() {
            let detail = "the frame does not hold, and its past has another successor".into();
            return Ok(IdentityRefusal::Invalid { rule: None, detail });
        }
        let Some(first) = frames.get(at + 1).filter(|_| chain.reveals_new(frame)) else { return Ok(stale) };
        let past = frames[at].addr();
        let records = identity::fork_records(chain.tjp(), past, &[first, frame]);
        self.space.commit(Commit { records, ..Commit::default() }).await.map_err(identity::commit_error)?;
        tracing::warn!(
            identity = %chain.tjp(),
            %past,
            first = %first.addr(),
            second = %frame.addr(),
            "identity signed two frames on one past; both are kept as evidence"
        );
        self.tell(HostEvent::Forked(chain.tjp().clone()));
        Ok(self.forked(chain.tjp()).await?.unwrap_or(stale))
    }

    /// The refusal of an identity that was seen in two places, if it was.
    async fn forked(&self, tjp: &Addr) -> Result<Option<IdentityRefusal>, SagaError> {
        if self.space.record(&forked_key(tjp)).await.map_err(space_error)?.is_none() {
            return Ok(None);
        }
        let evidence = identity::evidence(&*self.space, tjp).await?;
        let past = evidence.first().map(|e| e.past.to_string()).unwrap_or_default();
        let frames = evidence.into_iter().map(|e| e.frame).collect();
        Ok(Some(IdentityRefusal::Forked { identity: tjp.clone(), past, frames }))
    }

    async fn check_unforked(&self, tjp: &Addr) -> Result<(), SagaError> {
        self.forked(tjp).await?.map_or(Ok(()), |forked| Err(forked.into()))
    }

    /// Drops what identities staged for a saga that they never finished, once it is `age_ms` old (§5 of
    /// `docs/protocol.md`: a day). Whoever is connected keeps it. Answers how many identities lost something.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn expire_staging(&self, now_ms: i64, age_ms: i64) -> Result<usize, SagaError> {
        let mut dropped = 0;
        for (key, since) in self.space.records(STAGING).await.map_err(space_error)? {
            let time = std::str::from_utf8(&since).ok().and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
            let owner = key.trim_start_matches(STAGING);
            let is_connected = self.live().keys().any(|identity| push_owner(identity) == owner);
            if is_connected || now_ms.saturating_sub(time) < age_ms {
                continue;
            }
            let staged = self.space.staged_addrs(owner).await.map_err(space_error)?;
            if self.space.record(&key).await.map_err(space_error)?.is_some_and(|now| now != since) {
                // It came back just now.
                continue;
            }
            self.space.unstage(owner).await.map_err(space_error)?;
            let commit = Commit { records: vec![(key.clone(), None)], ..Commit::default() };
            self.space.commit(commit).await.map_err(identity::commit_error)?;
            if !staged.is_empty() {
                tracing::info!(owner, nodes = staged.len(), "dropped what was staged for a saga that never ended");
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Serves one connection to its end. `shutdown` ends it once no commit is under way.
    pub async fn serve(self: Arc<Self>, mut link: Link, shutdown: CancellationToken) {
        let id = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell(HostEvent::Opened(id));
        let cut = CancellationToken::new();
        let mut desk = ReceiverDesk::new(Arc::clone(&self));
        let mut machine = Receiver::new(self.limits.clone(), self.allow_anonymous);
        let mut phase = "";
        let mut input: Option<ReceiverInput> = None;
        let mut saga_ends: Option<Instant> = None;
        let after = |ms| Instant::now() + Duration::from_millis(ms);
        let ended = 'connection: loop {
            if let Some(input) = input.take() {
                machine.handle(input);
            }
            let mut answer: Option<ReceiverAnswer> = None;
            // Why nothing more can be sent.
            let mut stuck: Option<SagaError> = None;
            while let Some(output) = machine.poll() {
                match output {
                    ReceiverOutput::Send(_) | ReceiverOutput::Ask(_) if stuck.is_some() => {}
                    ReceiverOutput::Send(packet) => {
                        self.tell_message(id, false, &packet);
                        let wait = after(self.limits.idle_ms_max);
                        let wait = saga_ends.map_or(wait, |end| wait.min(end));
                        // Nothing is being committed while the machine sends.
                        tokio::select! {
                            biased;
                            // A peer that is gone is noticed when we wait for it.
                            _ = link.tx.send(packet) => {}
                            () = cut.cancelled() => stuck = Some(SagaError::Superseded),
                            () = shutdown.cancelled() => stuck = Some(SagaError::ShuttingDown),
                            () = tokio::time::sleep_until(wait) => stuck = Some(SagaError::TimedOut),
                        }
                    }
                    ReceiverOutput::Ask(query) => {
                        if machine.phase() != phase {
                            phase = machine.phase();
                            self.tell(HostEvent::Phase(id, phase));
                        }
                        answer = Some(desk.answer(query).await);
                    }
                    ReceiverOutput::Connected => {
                        if let Some(identity) = desk.identity() {
                            let live = Live { connection: id, cut: cut.clone() };
                            if let Some(older) = self.live().insert(identity.clone(), live) {
                                older.cut.cancel();
                            }
                        }
                        self.tell(HostEvent::Connected(id, desk.identity().cloned()));
                    }
                    ReceiverOutput::Done(done) => self.tell(HostEvent::Done(id, done)),
                    ReceiverOutput::Closed(error) => break 'connection error,
                }
            }
            if stuck.is_some() {
                break stuck;
            }
            if let Some(answer) = answer {
                input = Some(ReceiverInput::Answer(Box::new(answer)));
                continue;
            }
            saga_ends = machine.in_saga().then(|| saga_ends.unwrap_or_else(|| after(self.limits.saga_ms_max)));
            let wait = after(machine.deadline_ms().unwrap_or(self.limits.idle_ms_max));
            // A peer that always says just enough does not hold its place for ever.
            let wait = saga_ends.map_or(wait, |end| wait.min(end));
            tokio::select! {
                packet = link.rx.recv() => input = Some(match packet {
                    Some(packet) => {
                        self.tell_message(id, true, &packet);
                        ReceiverInput::Packet(packet)
                    }
                    None => ReceiverInput::Closed,
                }),
                () = tokio::time::sleep_until(wait) => input = Some(ReceiverInput::TimedOut),
                // Here nothing is being committed: the machine waits for its peer.
                () = cut.cancelled() => input = Some(ReceiverInput::Answer(Box::new(ReceiverAnswer::Failed(SagaError::Superseded)))),
                () = shutdown.cancelled() => input = Some(ReceiverInput::Answer(Box::new(ReceiverAnswer::Failed(SagaError::ShuttingDown)))),
            }
        };
        if let Some(identity) = desk.identity() {
            let mut live = self.live();
            if live.get(identity).is_some_and(|l| l.connection == id) {
                live.remove(identity);
            }
        }
        desk.close().await;
        self.tell(HostEvent::Closed(id, ended));
    }

    fn tell_message(&self, id: u64, incoming: bool, packet: &ibgib_saga::Packet) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let (kind, signer) = match packet {
            ibgib_saga::Packet::Binary(_) => ("chunk", None),
            ibgib_saga::Packet::Text(text) => ibgib_saga::Envelope::parse(text)
                .map_or(("?", None), |message| (message.kind().as_str(), message.signer())),
        };
        self.tell(HostEvent::Message(MessageEvent { connection: id, incoming, kind, bytes: packet.len(), signer }));
    }

    /// Tips of living timelines whose first frame's ib is `ib`.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn tips_of(&self, ib: &str) -> Result<Vec<ibgib_spaces::Tip>, SagaError> {
        let tips = self.space.tips(Some(Kind::Living)).await.map_err(space_error)?;
        Ok(tips.into_iter().filter(|t| t.tjp.ib() == ib).collect())
    }
}

/// Identities whose validated state is kept in memory.
const CHAINS_MAX: usize = 1_024;

/// Records that tell since when nodes may be staged for an owner.
const STAGING: &str = "staging/";

/// Under what an identity's pushed nodes are staged.
pub(crate) fn push_owner(identity: &Addr) -> String {
    format!("push/{identity}")
}

pub(crate) fn staging_key(owner: &str) -> String {
    format!("{STAGING}{owner}")
}

fn session_key(session: &Addr) -> String {
    format!("session/{session}")
}
