//! What identities deliver: their genesis, their frames, and proof that one was forked.

use super::{Host, HostEvent};
use crate::identity::{self, forked_key};
use crate::signing::aside;
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, Expect, VERB_SYNC, danger, is_bound, proves_fork};
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::{Advance, Commit, CommitError};
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

impl Host {
    /// Registers an identity's genesis frame and answers the identity's tip; doing it again changes nothing.
    ///
    /// # Errors
    /// `identity_not_allowed`, `identity_strategy`, `identity_invalid`; or the space fails.
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
        if let Some(session) = session {
            self.is_for_us(session)?;
        }
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
        let fresh: Vec<Verified<IbGib>> = fresh.into_iter().cloned().collect();
        let taken = aside(move || {
            let step = chain.advance_all(&fresh, &of_the_last);
            step.map(|step| (chain, fresh, step))
        });
        let (chain, fresh, step) = taken.await?.map_err(|e| IdentityRefusal::invalid(&e))?;
        commit.nodes.extend(fresh);
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

    /// Why a frame that does not continue the tip is refused: stale, or proof that the identity was forked. What costs
    /// little is looked at first: only who has the secret gets as far as this identity's history.
    async fn not_next(&self, chain: &Chain, frame: &Verified<IbGib>) -> Result<IdentityRefusal, SagaError> {
        let stale = IdentityRefusal::Stale { tip: chain.tip().addr().clone() };
        let Some(past) = frame.past().filter(|_| is_bound(frame)) else { return Ok(stale) };
        let Some(before) = self.space.node(&past).await.map_err(space_error)? else { return Ok(stale) };
        if before.tjp().as_ref() != Some(chain.tjp()) {
            return Ok(stale);
        }
        let second = frame.clone();
        if aside(move || danger::validate_alone(&before, &second, &Expect::default())).await?.is_err() {
            let detail = "the frame does not hold, and its past has another successor".into();
            return Ok(IdentityRefusal::Invalid { rule: None, detail });
        }
        let after = identity::frames_after(&*self.space, chain.tip(), &past).await?;
        let first = after.first().filter(|first| first.past().as_ref() == Some(&past) && proves_fork(first, frame));
        let Some(first) = first else { return Ok(stale) };
        let records = identity::fork_records(chain.tjp(), &past, &[first, frame]);
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

    pub(super) async fn check_unforked(&self, tjp: &Addr) -> Result<(), SagaError> {
        self.forked(tjp).await?.map_or(Ok(()), |forked| Err(forked.into()))
    }
}

/// Identities whose validated state is kept in memory.
const CHAINS_MAX: usize = 1_024;
