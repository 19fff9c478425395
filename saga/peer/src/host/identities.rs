//! What identities deliver: their genesis, their frames, and proof that one was forked.

use super::guarded::guarded_key;
use super::recovery::may_take_back;
use super::{Host, HostEvent};
use crate::identity::{self, forked_key, forked_ms_key};
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, Expect, VERB_SYNC, danger, is_bound, proves_fork};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::dropped::stated_key;
use ibgib_spaces::{Advance, Commit, CommitError, Tip};
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

impl Host {
    /// Registers an identity's genesis frame and answers the identity's tip; doing it again changes nothing.
    ///
    /// # Errors
    /// `identity_not_allowed`, `not_granted`, `identity_strategy`, `identity_invalid`; or the space fails.
    pub async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<Addr, SagaError> {
        let taken = self.register(genesis).await;
        self.tell_refusal(genesis.addr(), taken.as_ref().err());
        taken
    }

    async fn register(&self, genesis: &Verified<IbGib>) -> Result<Addr, SagaError> {
        self.check_size(genesis)?;
        let (chain, step) = Chain::from_genesis(genesis.clone()).map_err(|e| IdentityRefusal::invalid(&e))?;
        self.check_allowed(chain.tjp()).await?;
        if let Some(tip) = self.space.tip(chain.tjp()).await.map_err(space_error)? {
            return Ok(tip.addr);
        }
        self.check_strategy(&chain)?;
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
    /// `identity_unknown`, `identity_not_allowed`, `not_granted`, `identity_revoked`, `identity_stale` (the message is the tip),
    /// `identity_forked`, `identity_dropped`, `identity_invalid`, `session_…`; or the space fails.
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
        // What costs little comes first: whoever posts what does not fit costs no replay.
        self.check_allowed(tjp).await?;
        frames.iter().chain(session).try_for_each(|frame| self.check_size(frame))?;
        let tip = self.space.tip(tjp).await.map_err(space_error)?;
        let tip = tip.ok_or_else(|| IdentityRefusal::Unknown(tjp.clone()))?;
        self.check_not_ended(tjp).await?;
        self.check_not_dropped(frames.iter()).await?;
        if let Some(session) = session {
            self.is_for_us(session)?;
        }
        let addrs: Vec<Addr> = frames.iter().map(|f| f.addr().clone()).collect();
        let has = self.space.has(&addrs).await.map_err(space_error)?;
        // A frame that is here but lies above the tip came without one, in a bundle; it still has to be taken.
        let seen = |frame: &IbGib, has: bool| has && frame.n() <= tip.n;
        let fresh: Vec<Verified<IbGib>> =
            frames.iter().zip(&has).filter(|(f, h)| !seen(f, **h)).map(|(f, _)| f.clone()).collect();
        // A recovery that is here already lifts nothing that came to light after it.
        let takes_back = may_take_back(&fresh);
        if !takes_back {
            self.check_unforked(tjp).await?;
        }
        let mut of_the_last = Expect::default();
        if let Some(session) = session {
            of_the_last.verb = Some(VERB_SYNC.to_owned());
            of_the_last.target = Some(session.addr().to_string());
        }
        let mut commit = Commit::default();
        let follows = fresh.first().is_none_or(|first| first.past().as_ref() == Some(&tip.addr));
        let branch = match follows {
            true => None,
            false if takes_back => self.taken_back(&tip, &fresh, &of_the_last).await?,
            false => None,
        };
        let chain = match (branch, fresh.first()) {
            (Some((chain, recovery)), _) => {
                commit.tips.push(Advance::Recovery(recovery));
                chain
            }
            (None, Some(first)) if !follows => return Err(self.not_next(&tip, first).await?.into()),
            (None, first) => {
                if let Some(first) = first.filter(|_| self.kept(&tip).is_none()) {
                    self.check_alone(&tip.addr, first).await?;
                }
                let (chain, step) = self.advanced(self.chain(&tip).await?, &fresh, &of_the_last).await?;
                commit.tips.extend(step.map(Advance::Keystone));
                chain
            }
        };
        let (mut ended, stated) = (Vec::new(), stated_key(self.space.id()));
        for frame in &fresh {
            ended.extend(self.state(tjp, frame, &mut commit).await?);
        }
        let drops = commit.records.iter().any(|(key, _)| *key == stated);
        commit.nodes.extend(fresh);
        if takes_back {
            // Whatever was held against the identity is of before.
            commit.records.extend([forked_key(tjp), forked_ms_key(tjp), guarded_key(tjp)].map(|key| (key, None)));
        }
        if let Some(session) = session {
            self.introduce(&chain, frames.last(), session, &mut commit).await?;
        }
        if commit.nodes.is_empty() {
            return Ok(chain.tip().addr().clone());
        }
        match self.space.commit(commit).await {
            Ok(_) => {
                ended.iter().for_each(|identity| self.cut(identity));
                // Also of a statement that came by another way than it was stated.
                if drops && let Err(error) = self.leave_dropped().await {
                    tracing::warn!(%error, "what was dropped is still stood on");
                }
                if takes_back {
                    // Whoever has a connection may have had the old secret.
                    self.cut(tjp);
                }
                self.tell(HostEvent::Evolved(tjp.clone()));
                let tip = chain.tip().addr().clone();
                self.chains().keep(chain, self.host_limits.kept_identities_bytes_max);
                Ok(tip)
            }
            Err(error) => self.tip_or(tjp, error, |tip| tip == chain.tip().addr()).await,
        }
    }

    pub(super) fn check_size(&self, frame: &Verified<IbGib>) -> Result<(), SagaError> {
        let limit = self.host_limits.identity_frame_bytes_max;
        match frame.to_json().len() > limit {
            true => Err(SagaError::Limit { name: "identity_frame_bytes_max", limit: limit as u64 }),
            false => Ok(()),
        }
    }

    /// Whether a frame holds beside the one that it follows, which is known: one validation instead of a replay.
    async fn check_alone(&self, past: &Addr, frame: &Verified<IbGib>) -> Result<(), SagaError> {
        let Some(past) = self.space.node(past).await.map_err(space_error)? else { return Ok(()) };
        let frame = frame.clone();
        let held = self.checks.run(move || danger::validate_alone(&past, &frame, &Expect::default())).await?;
        held.map_err(|e| IdentityRefusal::invalid(&e).into())
    }

    fn kept(&self, tip: &Tip) -> Option<Chain> {
        self.chains().get(tip)
    }

    /// An identity's validated state. Replaying it costs work for every frame, and asking for it nothing: what was
    /// replayed is kept.
    pub(super) async fn chain(&self, tip: &Tip) -> Result<Chain, SagaError> {
        if let Some(chain) = self.kept(tip) {
            return Ok(chain);
        }
        let (space, tjp) = (Arc::clone(&self.space), tip.tjp.clone());
        let chain = self.jobs.run(async move { identity::load_chain(&*space, &tjp).await }).await?;
        let chain = chain.ok_or_else(|| IdentityRefusal::Unknown(tip.tjp.clone()))?;
        self.chains().keep(chain.clone(), self.host_limits.kept_identities_bytes_max);
        Ok(chain)
    }

    pub(super) fn chains(&self) -> MutexGuard<'_, KeptChains> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a frame that does not continue the tip is refused: stale, or proof that the identity was forked. What costs
    /// little is looked at first: only who has the secret gets as far as this identity's history.
    async fn not_next(&self, tip: &Tip, frame: &Verified<IbGib>) -> Result<IdentityRefusal, SagaError> {
        let stale = IdentityRefusal::Stale { tip: tip.addr.clone() };
        let tjp = &tip.tjp;
        let Some(past) = frame.past().filter(|_| is_bound(frame)) else { return Ok(stale) };
        let Some(before) = self.space.node(&past).await.map_err(space_error)? else { return Ok(stale) };
        if before.tjp().as_ref() != Some(tjp) {
            return Ok(stale);
        }
        let (second, first) = (frame.clone(), before.clone());
        if self.checks.run(move || danger::validate_alone(&first, &second, &Expect::default())).await?.is_err() {
            let detail = "the frame does not hold, and its past has another successor".into();
            return Ok(IdentityRefusal::Invalid { rule: None, detail });
        }
        if self.was_taken_back_after(tip, &before).await? {
            return Ok(stale);
        }
        let (space, next, at) = (Arc::clone(&self.space), tip.addr.clone(), past.clone());
        let first = self.jobs.run(async move { identity::successor(&*space, next, &at).await }).await?;
        let Some(first) = first.filter(|first| proves_fork(first, frame)) else { return Ok(stale) };
        let records = identity::fork_records(tjp, &past, &[&first, frame]);
        self.space.commit(Commit { records, ..Commit::default() }).await.map_err(identity::commit_error)?;
        tracing::warn!(
            identity = %tjp,
            %past,
            first = %first.addr(),
            second = %frame.addr(),
            "identity signed two frames on one past; both are kept as evidence"
        );
        self.tell(HostEvent::Forked(tjp.clone()));
        Ok(self.forked(tjp).await?.unwrap_or(stale))
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

    pub(super) async fn check_unforked(&self, tjp: &Addr) -> Result<(), SagaError> {
        let Some(forked) = self.forked(tjp).await? else { return Ok(()) };
        match self.was_guarded(tjp).await? {
            true => Err(IdentityRefusal::Revoked(tjp.clone()).into()),
            false => Err(forked.into()),
        }
    }
}

/// Validated states of identities, for as many bytes as they may take.
#[derive(Debug, Default)]
pub(super) struct KeptChains {
    chains: HashMap<Addr, (Chain, usize)>,
    bytes: usize,
}

/// Bytes of memory for a byte of a frame's text.
const VALUE_BYTES: usize = 12;
/// Bytes of memory for a spent challenge, beside its name.
const SPENT_BYTES: usize = 48;

impl KeptChains {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn get(&self, tip: &Tip) -> Option<Chain> {
        self.chains.get(&tip.tjp).map(|(chain, _)| chain).filter(|chain| *chain.tip().addr() == tip.addr).cloned()
    }

    /// Whether an identity is revoked, if its state at this tip is kept.
    pub(super) fn is_revoked(&self, tip: &Tip) -> Option<bool> {
        let (chain, _) = self.chains.get(&tip.tjp)?;
        (*chain.tip().addr() == tip.addr).then(|| chain.is_revoked())
    }

    /// One that would take much of the room alone is not kept; when the room is used up all go.
    fn keep(&mut self, chain: Chain, bytes_max: usize) {
        let spent: usize = chain.checkpoint().into_iter().map(|id| id.len() + SPENT_BYTES).sum();
        let bytes = spent + VALUE_BYTES * chain.tip().to_json().len();
        if let Some((_, before)) = self.chains.remove(chain.tjp()) {
            self.bytes -= before;
        }
        if bytes > bytes_max / 8 {
            return;
        }
        if self.bytes + bytes > bytes_max {
            self.chains.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.chains.insert(chain.tjp().clone(), (chain, bytes));
    }
}
