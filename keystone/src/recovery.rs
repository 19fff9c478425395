//! Taking an identity back from whoever has the secret of its device.
//!
//! A genesis may publish a *recovery pool*: one that signs the verb `recover` and nothing else, made from a secret that is
//! kept away from every device. A frame that it signs, about the frame before, replaces *all* pools by new ones, of
//! which one is the next recovery pool. Such a frame may follow any earlier frame of the identity, and there
//! it goes before every other: whatever somebody else signed on that frame since, a revocation included, loses its place.
//!
//! Of two branches of an identity ([`Chain::judge`]):
//!
//! * the one that was taken back more often stands; of as many, the one that was taken back at a later frame;
//! * two recoveries on one frame, or two that nothing tells apart, show that somebody else has the recovery secret, too:
//!   neither stands, the identity is at its end;
//! * without a recovery, nobody can tell which is the right one.
//!
//! A branch that lost was valid: what was accepted by it stays its identity's.

use crate::chain::{Chain, Recoveries, equivocation};
use crate::claim::{self, Proof};
use crate::rules;
use crate::secret::{Entropy, Secret};
use crate::strategy::lms::{Height, LmsConfig, NextTree, Width};
use crate::strategy::{Keys, Pool, PoolConfig};
use crate::{KeystoneError, VERB_RECOVER};
use ibgib::{Addr, IbGib, Verified};

/// Proof that an identity's tip may move to another branch, which was taken back: made by [`Chain::judge`], in no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    tjp: Addr,
    from: Addr,
    to: Addr,
}

impl Recovery {
    /// The identity.
    pub fn tjp(&self) -> &Addr {
        &self.tjp
    }

    /// The tip that loses its place.
    pub fn from(&self) -> &Addr {
        &self.from
    }

    /// The tip that stands.
    pub fn to(&self) -> &Addr {
        &self.to
    }
}

/// Which of two branches of one identity stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This one.
    This,
    /// The other.
    Other(Recovery),
    /// Neither, ever again: the recovery secret is not the owner's alone.
    Neither,
    /// Nobody can tell: no recovery tells them apart.
    Unknown,
}

/// The pool by which an identity can be taken back, made from the recovery secret. The salt must be new; it may be public.
///
/// # Errors
/// [`KeystoneError::Config`] for an empty salt.
pub fn recovery_pool(secret: &Secret, salt: &str, entropy: &mut dyn Entropy) -> Result<Pool, KeystoneError> {
    let config: PoolConfig = LmsConfig {
        salt: salt.to_owned(),
        allowed_verbs: vec![VERB_RECOVER.to_owned()],
        // Short signatures: it signs once.
        width: Width::W8,
        height: Height::H5,
        replenish: NextTree::Never,
    }
    .into();
    config.strategy().fill(&config, &Keys { secret, trees: &[], leaf: None }, entropy)
}

/// Whether a frame says that it takes its identity back; only validating it tells whether it does.
pub fn is_recovery(frame: &IbGib) -> bool {
    let [written] = claim::proofs(frame) else { return false };
    Proof::parse(written).is_ok_and(|proof: Proof| proof.claim.verb == VERB_RECOVER)
}

impl Chain {
    /// Which of two branches stands: this one or `other`. `first` and `other_first` are the frames with which they part,
    /// each the first of its branch after the last frame that both have. `None` when these are not what they should be.
    pub fn judge(&self, first: &Verified<IbGib>, other: &Self, other_first: &Verified<IbGib>) -> Option<Standing> {
        if self.tjp() != other.tjp() || !equivocation(first, other_first) || first.tjp().as_ref() != Some(self.tjp()) {
            return None;
        }
        let parted = first.n()?;
        let (ours, theirs) = (self.recoveries(), other.recoveries());
        let since = |recoveries: Recoveries| recoveries.count > 0 && recoveries.n >= parted;
        Some(match (since(ours), since(theirs)) {
            (false, false) => Standing::Unknown,
            _ if is_recovery(first) && is_recovery(other_first) => Standing::Neither,
            (true, true) if ours == theirs => Standing::Neither,
            _ if theirs > ours => Standing::Other(Recovery {
                tjp: self.tjp().clone(),
                from: self.tip().addr().clone(),
                to: other.tip().addr().clone(),
            }),
            _ => Standing::This,
        })
    }

    /// Whether the identity can be taken back.
    pub fn has_recovery(&self) -> bool {
        rules::pools(self.tip())
            .iter()
            .filter_map(|pool| Pool::parse(pool).ok())
            .any(|pool| rules::is_recovery_pool(&pool))
    }
}
