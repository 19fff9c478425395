//! What trusts its caller: both functions take a frame for valid that nobody here has checked. Everything else in this
//! crate proves what it takes from the genesis on.

use crate::IB;
use crate::chain::{Chain, Recoveries};
use crate::error::ValidateError;
use crate::rules::Expect;
use ibgib::{IbGib, Verified};
use std::collections::HashSet;

/// Goes on from a frame that was validated before: replay may start at the newest frame that a space has validated and
/// stored. All three must come from the same store, which took the frame, [`Chain::checkpoint`] and
/// [`Chain::recoveries`] from one
/// [`Chain`]. With a forged frame somebody else's pools sign for the identity; with an incomplete `spent`, spent
/// challenges are taken again; with other `recoveries`, a branch stands that should not. `None` when the frame names no
/// timeline.
pub fn resume(
    validated_tip: Verified<IbGib>,
    spent: impl IntoIterator<Item = String>,
    recoveries: Recoveries,
) -> Option<Chain> {
    Chain::unchecked(validated_tip, spent.into_iter().collect(), recoveries)
}

/// Judges one step without the frames before it: `next` follows `prev` by the rules, *if* `prev` is valid. What was
/// spent earlier is not known here, so a challenge that comes back is only noticed where the pools show it. It gives no
/// [`crate::Step`], since it proves nothing that a tip may move by; [`Chain::replay`] does.
///
/// # Errors
/// Every rule that does not hold.
pub fn validate_alone(
    prev: &Verified<IbGib>,
    next: &Verified<IbGib>,
    expect: &Expect,
) -> Result<(), Vec<ValidateError>> {
    let unproven = || Chain::unchecked(prev.clone(), HashSet::new(), Recoveries::default());
    let mut chain = match unproven().filter(|_| !prev.is_tjp() && prev.ib == IB) {
        Some(chain) => chain,
        None => Chain::from_genesis(prev.clone())?.0,
    };
    chain.advance(next, expect).map(drop)
}
