//! Who may come in.

use super::Host;
use crate::identity::forked_key;
use crate::recovery::ended_key;
use crate::view::space_error;
use ibgib::Addr;
use ibgib_keystone::Chain;
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::store::{Nodes, Records, Tips};
use std::collections::HashSet;
use std::sync::PoisonError;

/// Who may register and sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Anybody may register an identity.
    Open,
    /// Only these identities.
    Allow(HashSet<Addr>),
    /// Only the identity that owns the space ([`Host::owner`]), and those who were granted something in it.
    Owner,
}

impl Policy {
    /// A word for tables.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allow(_) => "allow",
            Self::Owner => "owner",
        }
    }
}

impl Host {
    /// Replaces the policy; open connections of identities no longer allowed are refused at their next turn.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Allows one identity whatever the policy and the allowed strategies say, until the host is gone: for the program's own.
    pub fn allow_also(&self, identity: Addr) {
        self.also_allowed.write().unwrap_or_else(PoisonError::into_inner).insert(identity);
    }

    /// Whether reading is open to everybody.
    pub fn is_open(&self) -> bool {
        *self.policy.read().unwrap_or_else(PoisonError::into_inner) == Policy::Open
    }

    /// A word for the policy: `open`, `allow` or `owner`.
    pub fn policy_name(&self) -> &'static str {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).as_str()
    }

    pub(super) async fn check_allowed(&self, tjp: &Addr) -> Result<(), SagaError> {
        if self.also_allowed.read().unwrap_or_else(PoisonError::into_inner).contains(tjp) {
            return Ok(());
        }
        let refused = match &*self.policy.read().unwrap_or_else(PoisonError::into_inner) {
            Policy::Open => return Ok(()),
            Policy::Allow(list) if list.contains(tjp) => return Ok(()),
            Policy::Allow(_) => IdentityRefusal::NotAllowed(tjp.clone()),
            Policy::Owner => IdentityRefusal::NotGranted(tjp.clone()),
        };
        if matches!(refused, IdentityRefusal::NotGranted(_)) && self.is_granted(tjp).await? {
            return Ok(());
        }
        Err(refused.into())
    }

    /// Whether an identity may come that was never here: its signatures bind what they sign, or its strategy is allowed
    /// all the same.
    pub(super) fn check_strategy(&self, chain: &Chain) -> Result<(), SagaError> {
        let name = chain.strategy().map_or("", |strategy| strategy.name());
        let is_our_own = self.also_allowed.read().unwrap_or_else(PoisonError::into_inner).contains(chain.tjp());
        if chain.binds() || is_our_own || self.allow_strategies.iter().any(|allowed| allowed == name) {
            return Ok(());
        }
        Err(IdentityRefusal::Strategy { identity: chain.tjp().clone(), strategy: name.to_owned() }.into())
    }

    /// Whether an identity may go on: known, allowed, not revoked, not forked.
    pub(crate) async fn check_standing(&self, tjp: &Addr) -> Result<(), SagaError> {
        self.check_allowed(tjp).await?;
        // Asked before everything that an identity does: at one moment.
        let moment = self.moment().await?;
        let marks = [ended_key(tjp), forked_key(tjp)];
        let is_marked = !moment.records(Records::Keys(&marks)).await.map_err(space_error)?.is_empty();
        let tip = moment.tips(Tips::Of(std::slice::from_ref(tjp))).await.map_err(space_error)?.pop();
        let tip = tip.ok_or_else(|| IdentityRefusal::Unknown(tjp.clone()));
        // A frame says the same for ever, so of one whose identity is kept nothing is read.
        let is_revoked = match tip.as_ref().map(|tip| (tip, self.chains().is_revoked(tip))) {
            Ok((_, Some(is_revoked))) => is_revoked,
            Ok((tip, None)) => {
                let frames = moment.nodes(Nodes::Committed(std::slice::from_ref(&tip.addr))).await;
                let frame = frames.map_err(space_error)?.pop().flatten();
                frame.is_some_and(|frame| frame.datum("revocationInfo").is_some())
            }
            Err(_) => false,
        };
        drop(moment);
        if is_marked {
            self.check_not_ended(tjp).await?;
            self.check_unforked(tjp).await?;
        }
        tip?;
        match is_revoked {
            true => Err(IdentityRefusal::Revoked(tjp.clone()).into()),
            false => Ok(()),
        }
    }
}
