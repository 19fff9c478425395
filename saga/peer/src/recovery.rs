//! Taking an identity back, and which of two of its branches stands here.

use crate::entropy::{OsEntropy, random};
use crate::identity::{self, commit_error, forked_key, forked_ms_key};
use crate::signing::{Act, Signing};
use crate::view::space_error;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::{Chain, KeystoneError, Secret, Signed, Standing, VERB_RECOVER, config};
use ibgib_saga::{OwnIdentity, SagaError};
use ibgib_spaces::{Advance, Commit, Space};
use std::collections::HashSet;

/// Leaves of a recovery pool that may be skipped. It signs once; a device that does not know that another one used it
/// would sign with the same leaf, which gives that leaf away, so each begins at one by chance.
const SKIPPED_MAX: u32 = 24;

/// Takes an identity back from whoever has its secret: all its pools are replaced by new ones, made from `secret`; the
/// recovery secret stays good for the next time. When the identity's newest frame ends it, that frame loses its place. It
/// has to be delivered to the servers that know the identity.
///
/// # Errors
/// `identity_no_pool` when the identity was made without a way back, `identity_wrong_secret` when `recovery` is not the
/// secret for it, `identity_revoked` when it is at its end ([`is_ended`]); or the space fails.
pub async fn recover(space: &dyn Space, tjp: &Addr, recovery: &Secret, secret: &Secret) -> Result<Chain, SagaError> {
    let chain = identity::load_chain(space, tjp).await?.ok_or_else(|| OwnIdentity::Unknown(tjp.clone()))?;
    if is_ended(space, tjp).await? {
        return Err(OwnIdentity::Revoked(tjp.clone()).into());
    }
    let base = match chain.tip().past().filter(|_| chain.is_revoked()) {
        Some(past) => identity::chain_at(space, tjp, past).await?,
        None => chain.clone(),
    };
    if !base.has_recovery() {
        return Err(KeystoneError::NoPool(VERB_RECOVER.to_owned()).into());
    }
    let next = identity::new_recovery_pool(recovery).await?;
    let pools = config::binding_identity_pools(&config::random_salts(&mut OsEntropy));
    let act = Act::Recover { secret: secret.clone(), pools, next };
    let mut signing = Signing::lasting();
    signing.skip(u32::from(random::<1>()[0]) % SKIPPED_MAX);
    let signed = signing.sign(space, &base, recovery, act, Vec::new()).await?;
    let Signed { chain: taken_back, frame, step } = signed;
    let tip = if base.tip() == chain.tip() {
        Advance::Keystone(step)
    } else {
        match chain.judge(chain.tip(), &taken_back, &frame) {
            Some(Standing::Other(recovery)) => Advance::Recovery(recovery),
            _ => return Err(SagaError::defect("a recovery that goes before nothing")),
        }
    };
    // Whatever was held against the identity is of before.
    let records = vec![(forked_key(tjp), None), (forked_ms_key(tjp), None)];
    let commit = Commit { nodes: vec![frame], tips: vec![tip], records, ..Commit::default() };
    space.commit(commit).await.map_err(commit_error)?;
    Ok(taken_back)
}

/// Whether an identity is at its end for ever here: its recovery secret was used by two.
///
/// # Errors
/// When the space fails.
pub async fn is_ended(space: &dyn Space, tjp: &Addr) -> Result<bool, SagaError> {
    Ok(space.record(&ended_key(tjp)).await.map_err(space_error)?.is_some())
}

pub(crate) fn ended_key(tjp: &Addr) -> String {
    format!("ended/{tjp}")
}

/// The records that keep two recoveries on one frame, and that the identity is at its end.
pub(crate) fn ended_records(tjp: &Addr, past: &Addr, frames: &[&Verified<IbGib>; 2]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut records = identity::fork_records(tjp, past, frames);
    records.push((ended_key(tjp), Some(past.as_str().as_bytes().to_vec())));
    records
}

/// The newest frame of ours that is also in the history of `theirs`, a frame that is here. That is `theirs` itself unless
/// our identity was taken back on another branch.
pub(crate) async fn newest_common(space: &dyn Space, ours: &Chain, theirs: Addr) -> Result<Addr, SagaError> {
    if ours.recoveries().count == 0 {
        return Ok(theirs);
    }
    let frames = identity::frames(space, ours.tjp()).await?.unwrap_or_default();
    let history: HashSet<&Addr> = frames.iter().map(Verified::addr).collect();
    let mut at = theirs;
    while !history.contains(&at) {
        let frame = space.node(&at).await.map_err(space_error)?;
        at = frame.and_then(|frame| frame.past()).unwrap_or_else(|| ours.tjp().clone());
    }
    Ok(at)
}
