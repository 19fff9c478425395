//! Identities in a space: making, loading, revoking.

use crate::entropy::{OsEntropy, now_ms, random_hex};
use crate::signing::{Act, Signing, aside, belongs, first_trees, leaves_left, tree_records};
use crate::view::{self, space_error};
use ibgib::{Addr, IbGib, Mode, Value, Verified};
use ibgib_keystone::{
    Chain, Expect, Pool, PoolConfig, Recoveries, Secret, Signed, VERB_GUARD, VERB_RECOVER, VERB_SYNC, ValidateError,
    config, danger,
};
use ibgib_saga::{OwnIdentity, SagaError};
use ibgib_spaces::{Advance, Commit, CommitError, Follow, Space};
use std::collections::HashSet;

/// Frames of one identity that are replayed at most.
const FRAMES_MAX: usize = 1_000_000;

/// All frames of a keystone, genesis first; `None` when the space does not know it.
///
/// # Errors
/// When the space fails.
pub async fn frames(space: &dyn Space, tjp: &Addr) -> Result<Option<Vec<Verified<IbGib>>>, SagaError> {
    let Some(tip) = space.tip(tjp).await.map_err(space_error)? else { return Ok(None) };
    let none = HashSet::new();
    let mut addrs =
        space.reach(std::slice::from_ref(&tip.addr), Follow::History, &none, FRAMES_MAX).await.map_err(space_error)?;
    addrs.reverse();
    let frames: Vec<_> = space.get(&addrs).await.map_err(space_error)?.into_iter().flatten().collect();
    Ok(Some(frames))
}

/// The frames of a keystone from the one after `known` up to `tip`, in order; all of them when `known` is not among
/// them.
///
/// # Errors
/// When the space fails.
pub(crate) async fn frames_after(
    space: &dyn Space,
    tip: &Verified<IbGib>,
    known: &Addr,
) -> Result<Vec<Verified<IbGib>>, SagaError> {
    let mut frames = Vec::new();
    let mut next = Some(tip.clone());
    while let Some(frame) = next.filter(|frame| frame.addr() != known) {
        next = match frame.past() {
            Some(past) => space.node(&past).await.map_err(space_error)?,
            None => None,
        };
        frames.push(frame);
    }
    frames.reverse();
    Ok(frames)
}

/// Frames that are validated anew before the state is kept again, so that using an identity does not cost more with
/// every use.
const CHECKPOINT_EVERY: usize = 64;
/// Frames read at once while replaying.
const BATCH: usize = 32;

/// The record that keeps a keystone's state at a validated frame: a JSON array of the frame's address, the two numbers of
/// its recoveries if there were any, and every challenge spent.
fn checkpoint_key(tjp: &Addr) -> String {
    format!("chain/{tjp}")
}

/// The validated state of a keystone, replayed from its genesis or from where this space validated it before; `None`
/// when the space does not know it.
///
/// # Errors
/// `identity_invalid` when a stored frame does not hold (a damaged or foreign store), or when the space fails.
pub async fn load_chain(space: &dyn Space, tjp: &Addr) -> Result<Option<Chain>, SagaError> {
    let Some(tip) = space.tip(tjp).await.map_err(space_error)? else { return Ok(None) };
    let (chain, replayed) = replay(space, tjp, tip.addr).await?;
    if replayed >= CHECKPOINT_EVERY
        && let Err(error) = keep(space, &chain).await
    {
        // It only saves time.
        tracing::debug!(%error, "the state of an identity was not kept");
    }
    Ok(Some(chain))
}

/// The frame between `tip` and the genesis that follows `past`.
pub(crate) async fn successor(space: &dyn Space, tip: Addr, past: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
    let mut next = Some(tip);
    while let Some(addr) = next {
        let Some(frame) = space.node(&addr).await.map_err(space_error)? else { return Ok(None) };
        next = frame.past();
        if next.as_ref() == Some(past) {
            return Ok(Some(frame));
        }
        tokio::task::yield_now().await;
    }
    Ok(None)
}

/// The validated state of a keystone at one of its frames.
///
/// # Errors
/// As [`load_chain`].
pub(crate) async fn chain_at(space: &dyn Space, tjp: &Addr, frame: Addr) -> Result<Chain, SagaError> {
    Ok(replay(space, tjp, frame).await?.0)
}

/// Replays from the genesis, or from where this space validated before, to `frame`; with how many frames that took.
async fn replay(space: &dyn Space, tjp: &Addr, frame: Addr) -> Result<(Chain, usize), SagaError> {
    let invalid = |why: String| SagaError::from(OwnIdentity::Damaged { identity: tjp.clone(), why });
    let kept = kept(space, tjp).await?;
    // Back to the genesis, or to what was validated before.
    let mut rest = Vec::new();
    let mut next = Some(frame);
    let mut chain = None;
    while let Some(addr) = next {
        if let Some(kept) = kept.as_ref().filter(|kept| *kept.tip().addr() == addr) {
            chain = Some(kept.clone());
            break;
        }
        let frame = space.node(&addr).await.map_err(space_error)?;
        let frame = frame.ok_or_else(|| invalid(format!("{addr} is gone")))?;
        rest.push(addr);
        next = frame.past();
        if rest.len() > FRAMES_MAX {
            return Err(invalid(format!("it has more than {FRAMES_MAX} frames")));
        }
        tokio::task::coop::consume_budget().await;
    }
    rest.reverse();
    for batch in rest.chunks(BATCH) {
        let frames: Vec<_> = space.get(batch).await.map_err(space_error)?.into_iter().flatten().collect();
        let went = aside(move || replayed(chain, &frames)).await?;
        chain = went.map_err(|e| invalid(e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        // Whoever waits for it may have gone.
        tokio::task::yield_now().await;
    }
    let chain = chain.ok_or_else(|| invalid("it has no frames".into()))?;
    Ok((chain, rest.len()))
}

fn replayed(mut chain: Option<Chain>, frames: &[Verified<IbGib>]) -> Result<Option<Chain>, Vec<ValidateError>> {
    for frame in frames {
        match &mut chain {
            Some(chain) => drop(chain.advance(frame, &Expect::default())?),
            None => chain = Some(Chain::from_genesis(frame.clone())?.0),
        }
    }
    Ok(chain)
}

async fn keep(space: &dyn Space, chain: &Chain) -> Result<(), SagaError> {
    let Recoveries { count, n } = chain.recoveries();
    let mut items: Vec<Value> = vec![chain.tip().addr().into()];
    if count > 0 {
        items.extend([Value::from(count), Value::integer(n)]);
    }
    items.extend(chain.checkpoint().into_iter().map(Value::from));
    let text = Value::Array(items).to_json();
    let records = vec![(checkpoint_key(chain.tjp()), Some(text.into_bytes()))];
    space.commit(Commit { records, ..Commit::default() }).await.map(drop).map_err(commit_error)
}

/// A state that was kept; `None` also for what cannot be read: the frames are all here.
async fn kept(space: &dyn Space, tjp: &Addr) -> Result<Option<Chain>, SagaError> {
    let Some(bytes) = space.record(&checkpoint_key(tjp)).await.map_err(space_error)? else { return Ok(None) };
    let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
    let Ok(Value::Array(items)) = Value::parse(&text, Mode::Strict) else { return Ok(None) };
    let mut numbers = items.iter().filter_map(Value::as_u53);
    let recoveries = match (numbers.next(), numbers.next()) {
        (Some(count), Some(n)) => Recoveries { count: u32::try_from(count).unwrap_or(u32::MAX), n },
        _ => Recoveries::default(),
    };
    let mut texts = items.iter().filter_map(|item| item.as_str().map(str::to_owned));
    let Some(addr) = texts.next().and_then(|addr| addr.parse::<Addr>().ok()) else { return Ok(None) };
    let tip = space.node(&addr).await.map_err(space_error)?;
    Ok(tip.and_then(|tip| danger::resume(tip, texts, recoveries)).filter(|chain| chain.tjp() == tjp))
}

/// Makes an identity with the pools sync, manage and revoke, whose signatures bind what they sign, and stores it.
///
/// # Errors
/// When the space fails.
pub async fn create(space: &dyn Space, secret: &Secret) -> Result<Chain, SagaError> {
    let pools = config::binding_identity_pools(&config::random_salts(&mut OsEntropy));
    create_with_pools(space, secret, &pools).await
}

/// As [`create`], for an identity that can be taken back ([`recover`](crate::recover)) with a second secret, which is kept
/// away from every device.
///
/// # Errors
/// When the space fails.
pub async fn create_with_recovery(space: &dyn Space, secret: &Secret, recovery: &Secret) -> Result<Chain, SagaError> {
    let pools = config::binding_identity_pools(&config::random_salts(&mut OsEntropy));
    made(space, secret, &pools, Some(new_recovery_pool(recovery).await?)).await
}

/// A pool by which an identity can be taken back with this secret.
pub(crate) async fn new_recovery_pool(recovery: &Secret) -> Result<Pool, SagaError> {
    let (secret, salt) = (recovery.clone(), format!("recovery-{}", &random_hex()[..32]));
    Ok(aside(move || ibgib_keystone::recovery_pool(&secret, &salt, &mut OsEntropy)).await??)
}

/// As [`create`], with pools of the caller's.
///
/// # Errors
/// When the pools are not acceptable or the space fails.
pub async fn create_with_pools(space: &dyn Space, secret: &Secret, pools: &[PoolConfig]) -> Result<Chain, SagaError> {
    made(space, secret, pools, None).await
}

async fn made(
    space: &dyn Space,
    secret: &Secret,
    pools: &[PoolConfig],
    recovery: Option<Pool>,
) -> Result<Chain, SagaError> {
    let trees = first_trees(secret, pools).await?;
    let (recovery, now) = (recovery.as_ref(), now_ms());
    let signed = ibgib_keystone::genesis_with_trees(secret, pools, &trees, recovery, None, now, &mut OsEntropy)?;
    let (nodes, tips) = (vec![signed.frame], vec![Advance::Keystone(signed.step)]);
    let commit = Commit { nodes, tips, records: tree_records(&trees), ..Commit::default() };
    space.commit(commit).await.map_err(commit_error)?;
    Ok(signed.chain)
}

/// Whether a secret is the one that an identity signs with.
///
/// # Errors
/// A defect only.
pub async fn is_secret_of(chain: &Chain, secret: &Secret) -> Result<bool, SagaError> {
    belongs(chain, secret, VERB_SYNC).await
}

/// Whether a secret is the one by which an identity is taken back.
///
/// # Errors
/// A defect only.
pub async fn is_recovery_secret_of(chain: &Chain, recovery: &Secret) -> Result<bool, SagaError> {
    belongs(chain, recovery, VERB_RECOVER).await
}

/// Ends an identity: a last frame after which nothing is accepted. It has to be delivered to the servers that know
/// the identity.
///
/// # Errors
/// `identity_wrong_secret` and others of `identity_…`; or the space fails.
pub async fn revoke(space: &dyn Space, tjp: &Addr, secret: &Secret, reason: &str) -> Result<Chain, SagaError> {
    evolve(space, tjp, secret, Act::Revoke(reason.to_owned())).await
}

/// Brings an identity over to signatures that bind what they sign: a frame that the pool for `manage` signs, with new
/// pools, of which one lets it be taken back with the secret `recovery`. It has to be delivered to the servers that know the
/// identity.
///
/// # Errors
/// `identity_invalid` when its signatures bind already, and others of `identity_…`; or the space fails.
pub async fn rotate(space: &dyn Space, tjp: &Addr, secret: &Secret, recovery: &Secret) -> Result<Chain, SagaError> {
    let pools = config::binding_identity_pools(&config::random_salts(&mut OsEntropy));
    let recovery = new_recovery_pool(recovery).await?;
    evolve(space, tjp, secret, Act::Rotate { pools, recovery }).await
}

/// Leaves of a guard pool that are not for waiting revocations, so that its owner can always end the identity.
const LEAVES_KEPT: u32 = 4;

/// Opens a guard pool, unless one is open that has leaves left: a frame that the pool for `manage` signs. It has to be
/// delivered to the servers that know the identity.
///
/// # Errors
/// `identity_wrong_secret` and others of `identity_…`; or the space fails.
pub async fn open_guard(space: &dyn Space, tjp: &Addr, secret: &Secret) -> Result<Chain, SagaError> {
    let chain = load_chain(space, tjp).await?.ok_or_else(|| OwnIdentity::Unknown(tjp.clone()))?;
    if chain.is_guarded() && leaves_left(space, &chain, VERB_GUARD).await? > LEAVES_KEPT {
        return Ok(chain);
    }
    evolve(space, tjp, secret, Act::Guard(config::guard_pool(&mut OsEntropy))).await
}

/// Makes a revocation of an identity's present state that waits until two frames follow it
/// ([`Host::end_guarded`](crate::Host::end_guarded)). The identity stays as it is.
///
/// # Errors
/// `identity_no_pool` when no guard pool is open ([`open_guard`]), and others of `identity_…`; or the space fails.
pub async fn waiting_revocation(
    space: &dyn Space,
    chain: &Chain,
    secret: &Secret,
    reason: &str,
) -> Result<Verified<IbGib>, SagaError> {
    Signing::lasting().wait(space, chain, secret, reason.to_owned()).await
}

async fn evolve(space: &dyn Space, tjp: &Addr, secret: &Secret, act: Act) -> Result<Chain, SagaError> {
    let chain = load_chain(space, tjp).await?.ok_or_else(|| OwnIdentity::Unknown(tjp.clone()))?;
    let signed = Signing::lasting().sign(space, &chain, secret, act, Vec::new()).await?;
    store(space, signed).await
}

/// Stores what was signed.
pub(crate) async fn store(space: &dyn Space, signed: Signed) -> Result<Chain, SagaError> {
    let commit = Commit { nodes: vec![signed.frame], tips: vec![Advance::Keystone(signed.step)], ..Commit::default() };
    match space.commit(commit).await {
        Ok(_) => Ok(signed.chain),
        Err(error) => Err(commit_error(error)),
    }
}

/// As [`view::commit_error`], for a commit that moves an identity's tip.
pub(crate) fn commit_error(error: CommitError) -> SagaError {
    match error {
        CommitError::TipsMoved(_) => OwnIdentity::Busy.into(),
        error => view::commit_error(error),
    }
}

/// Where a space remembers that an identity was seen signing two frames on one past.
pub(crate) fn forked_key(tjp: &Addr) -> String {
    format!("forked/{tjp}")
}

/// When that was, in milliseconds: what is to be done about it is done in the order in which it was seen, whoever chose which
/// address.
pub(crate) fn forked_ms_key(tjp: &Addr) -> String {
    format!("{FORKED_MS}{tjp}")
}

/// What the keys of those times begin with.
pub(crate) const FORKED_MS: &str = "forked-ms/";

/// The records that keep two frames on one past as evidence.
pub(crate) fn fork_records(tjp: &Addr, past: &Addr, frames: &[&Verified<IbGib>; 2]) -> Vec<(String, Option<Vec<u8>>)> {
    let evidence = |f: &&Verified<IbGib>| (format!("evidence/{past}/{}", f.addr()), Some(f.to_json().into_bytes()));
    let mark = (forked_key(tjp), Some(past.as_str().as_bytes().to_vec()));
    let when = (forked_ms_key(tjp), Some(now_ms().to_string().into_bytes()));
    [mark, when].into_iter().chain(frames.iter().map(evidence)).collect()
}

/// One of the frames that show an identity signing two on one past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The frame that both follow.
    pub past: Addr,
    /// One that follows it.
    pub frame: Addr,
    /// That frame, as hashed: whoever has both can check them.
    pub ibgib: String,
}

/// What a space keeps as evidence that an identity was used in two places; empty for a sound one. The frames
/// themselves are kept under the record `evidence/{past}/{frame}`.
///
/// # Errors
/// When the space fails.
pub async fn evidence(space: &dyn Space, tjp: &Addr) -> Result<Vec<Evidence>, SagaError> {
    let Some(past) = space.record(&forked_key(tjp)).await.map_err(space_error)? else {
        return Ok(Vec::new());
    };
    let past = String::from_utf8_lossy(&past).into_owned();
    let Ok(addr) = past.parse::<Addr>() else { return Ok(Vec::new()) };
    let prefix = format!("evidence/{past}/");
    let records = space.records(&prefix).await.map_err(space_error)?;
    let row = |(key, bytes): (String, Vec<u8>)| {
        let frame = key.strip_prefix(&prefix)?.parse().ok()?;
        Some(Evidence { past: addr.clone(), frame, ibgib: String::from_utf8(bytes).ok()? })
    };
    Ok(records.into_iter().filter_map(row).collect())
}

/// A frame that is kept as evidence of a fork.
pub(crate) async fn evident(space: &dyn Space, frame: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
    let records = space.records("evidence/").await.map_err(space_error)?;
    let kept =
        records.into_iter().find(|(key, _)| key.rsplit_once('/').is_some_and(|(_, kept)| kept == frame.as_str()));
    let node = kept.and_then(|(_, bytes)| Verified::parse(std::str::from_utf8(&bytes).ok()?).ok());
    Ok(node.filter(|node| node.addr() == frame))
}

/// Records by which a frame is evidence no more that its identity was used in two places, and the identity is not held to
/// have been, where the frame is one of the two; none else.
pub(crate) async fn unforked(space: &dyn Space, frame: &Addr) -> Result<Vec<(String, Option<Vec<u8>>)>, SagaError> {
    let Some(tjp) = evident(space, frame).await?.and_then(|frame| frame.tjp()) else { return Ok(Vec::new()) };
    let all = evidence(space, &tjp).await?;
    Ok(match all.iter().find(|evidence| evidence.frame == *frame) {
        None => Vec::new(),
        Some(Evidence { past, .. }) => {
            vec![(forked_key(&tjp), None), (forked_ms_key(&tjp), None), (format!("evidence/{past}/{frame}"), None)]
        }
    })
}
