//! A revocation that waits: how an identity's owner has somebody else answer for him while he is away.
//!
//! Whoever copied a device, or stole its secret, signs on a state that the owner may have left already; then two frames
//! follow one. For that case the owner makes a *waiting revocation* of each state beforehand and gives it to a tower. It is
//! signed by a *guard pool*, which can do nothing but revoke (the verbs `revoke` and `guard`) and which takes the place of the
//! pool for `revoke` by a claim under `manage`, so that frames grow by nothing. A waiting revocation
//! holds only beside the two frames ([`Chain::ended_by`]): by itself it moves nothing ([`Chain::advance`] refuses it), is
//! evidence of nothing, and shows no secret. So whoever keeps it can neither use it before its time nor put it on another
//! state, and cannot make one.
//!
//! It is no frame of the timeline, and nothing follows it. What it ends is the identity at whoever has the two frames, for as
//! long as they are held against it: a recovery lifts both.

use crate::chain::{Chain, proves_fork};
use crate::error::ValidateError;
use crate::rules::{self, Expect, check_place, check_proof, one};
use crate::{Rule, VERB_GUARD};
use ibgib::{IbGib, Verified};

impl Chain {
    /// Whether the identity has a pool for revocations that wait.
    pub fn is_guarded(&self) -> bool {
        rules::pools(self.tip()).iter().any(rules::is_guard_pool)
    }

    /// Whether a revocation that waited for this state ends the identity: it holds, and so do two frames that both follow
    /// the state and that only who has the secret can have made.
    ///
    /// # Errors
    /// Every rule that the first frame that does not hold breaks; `guard` when the two do not show it.
    pub fn ended_by(
        &self,
        revocation: &Verified<IbGib>,
        followers: [&Verified<IbGib>; 2],
    ) -> Result<(), Vec<ValidateError>> {
        check_place(self.tjp(), self.tip(), revocation)?;
        let waits = Expect { verb: Some(VERB_GUARD.to_owned()), ..Expect::default() };
        check_proof(self.tip(), revocation, &waits, &|pool, id| self.is_spent(pool, id))?;
        for follower in followers {
            self.clone().advance(follower, &Expect::default())?;
        }
        let [first, second] = followers;
        match proves_fork(first, second) {
            true => Ok(()),
            false => Err(one(Rule::Guard, "two frames that only the owner can have made", "others")),
        }
    }
}
