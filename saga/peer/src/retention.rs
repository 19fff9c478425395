//! What becomes of sessions and transcripts that are over (§5 of `docs/protocol.md`): a session's keystone S and the
//! transcripts of its sagas go after some days, or when there are many newer ones. An identity's frames stay, and so do
//! receipts and evidence.
//!
//! What is open is never touched: the newest session of an identity at a receiver stays, however old it is, and so does the
//! one with which it is connected. Whoever takes a turn while its session is forgotten finds that the tip is no longer where
//! it was, as with every other race for a tip.

use crate::host::connected_key;
use crate::identity;
use crate::session::{Details, SESSION, session_key, session_owners};
use crate::view::space_error;
use ibgib::moment::Moment;
use ibgib::{Addr, IbGib, Value, Verified};
use ibgib_saga::{SagaError, contexts_of};
use ibgib_spaces::store::Records;
use ibgib_spaces::{Commit, CommitError, Forget, Kind, Space, SpaceError, Tip, forget};
use std::collections::{HashMap, HashSet};

/// How much is kept of what is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Sessions of one identity at one receiver, the newest ones.
    pub sessions_max: usize,
    /// So long after its last turn a session is kept, in milliseconds.
    pub session_ms_max: u64,
}

impl Default for Retention {
    /// 20 sessions, 7 days.
    fn default() -> Self {
        Self { sessions_max: 20, session_ms_max: 7 * 24 * 3_600_000 }
    }
}

/// What was forgotten, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Sessions.
    pub sessions: u64,
    /// Nodes, those of the sessions and of their transcripts.
    pub nodes: u64,
    /// Bytes of these nodes' texts.
    pub bytes: u64,
}

/// Nodes read at once.
const BATCH: usize = 64;
/// Timelines forgotten in one commit: others wait for it no longer than for any other one.
const AT_ONCE: usize = 64;

/// Forgets the sessions of a space that are over, and their transcripts; with `dry_run` only tells what that would be.
/// `told` hears how many timelines were looked at, and of how many.
///
/// # Errors
/// When the space fails; what was forgotten until then stays forgotten.
pub async fn collect(
    space: &dyn Space,
    keep: Retention,
    now_ms: i64,
    dry_run: bool,
    mut told: impl FnMut(u64, u64),
) -> Result<Collected, SagaError> {
    if !dry_run {
        forget::prepare(space, |_| ()).await.map_err(identity::commit_error)?;
    }
    let sessions = over(space, keep, now_ms).await?;
    let transcripts = transcripts(space, &sessions).await?;
    let (mut out, mut done) = (Collected::default(), 0);
    let of = (sessions.len() + transcripts.len()) as u64;
    // A session goes after its transcripts: whoever stops between finds them by it.
    let all: Vec<Over> = transcripts.into_iter().chain(sessions).collect();
    for batch in all.chunks(AT_ONCE) {
        let weighed = weigh(space, batch).await?;
        let gone = if dry_run { vec![true; weighed.len()] } else { forget_all(space, &weighed).await? };
        for ((over, nodes, bytes), _) in weighed.iter().zip(gone).filter(|(_, gone)| *gone) {
            out.sessions += u64::from(Kind::of(&over.timeline.tjp) == Kind::Keystone);
            out.nodes += nodes;
            out.bytes += bytes;
        }
        done += batch.len() as u64;
        told(done, of);
    }
    Ok(out)
}

/// The record that tells when [`collect_when_due`] was here last, and how many sessions it left.
const COLLECTED: &str = "collected";
/// It comes sooner when there are so many more sessions than it left, or a quarter more.
const SESSIONS_MORE: usize = 128;
/// How long after that it comes again, in milliseconds.
const EVERY_MS: i64 = 24 * 3_600_000;
/// The least that may be.
const EVERY_MS_MIN: i64 = 60_000;

/// [`collect`] once a day (more often where sessions are kept for less), or once there are many more sessions than before, and
/// then gives back the room where that is worth it. Answers what was forgotten, `None` on every other call.
///
/// # Errors
/// As [`collect`].
pub async fn collect_when_due(space: &dyn Space, keep: Retention, now_ms: i64) -> Result<Option<Collected>, SagaError> {
    let last = space.record(COLLECTED).await.map_err(space_error)?;
    let last = last.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    let mut last = last.split(' ');
    let at = last.next().and_then(|ms| ms.parse::<i64>().ok());
    let left = last.next().and_then(|left| left.parse::<usize>().ok()).unwrap_or_default();
    let count = async || Ok::<_, SagaError>(space.records(SESSION).await.map_err(space_error)?.len());
    let every = i64::try_from(keep.session_ms_max).unwrap_or(i64::MAX).clamp(EVERY_MS_MIN, EVERY_MS);
    if at.is_some_and(|at| (0..every).contains(&now_ms.saturating_sub(at)))
        && count().await? < left + SESSIONS_MORE.max(left / 4)
    {
        return Ok(None);
    }
    let note = async |left: usize| {
        let records = vec![(COLLECTED.to_owned(), Some(format!("{now_ms} {left}").into_bytes()))];
        space.commit(Commit { records, ..Commit::default() }).await.map(drop).map_err(identity::commit_error)
    };
    if at.is_none() && count().await? < SESSIONS_MORE {
        // A day begins with the first look.
        note(0).await?;
        return Ok(None);
    }
    // Before it is done, too: what fails today is tried again tomorrow.
    note(count().await?).await?;
    let collected = collect(space, keep, now_ms, false, |_, _| ()).await?;
    note(count().await?).await?;
    let bytes = match space.give_back(false).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(%error, "the room of what was forgotten could not be given back");
            0
        }
    };
    if collected != Collected::default() || bytes > 0 {
        let Collected { sessions, nodes, .. } = collected;
        tracing::info!(sessions, nodes, bytes, "sessions that are over were forgotten");
    }
    Ok(Some(collected))
}

/// A timeline that is over, and the records that go with it.
#[derive(Clone, Debug)]
struct Over {
    timeline: Forget,
    records: Vec<String>,
}

/// A session as it is here.
struct Session {
    tip: Tip,
    /// The number of the identity's frame before it.
    n: u64,
    /// When its last turn was.
    at_ms: i64,
}

/// The sessions that are over and not kept. Only what this space has taken in or made as a session is one: what a keystone
/// says of itself is anybody's word. How many leaves its trees have used stays known: a salt may be anybody's, too.
async fn over(space: &dyn Space, keep: Retention, now_ms: i64) -> Result<Vec<Over>, SagaError> {
    // By identity and receiver. Which of them is newer the identity's own frames tell, whatever clocks said.
    let mut of: HashMap<(Addr, String), Vec<Session>> = HashMap::new();
    let owners: HashMap<Addr, Addr> = session_owners(space).await?;
    let mut tips = space.tips(Some(Kind::Keystone)).await.map_err(space_error)?;
    tips.retain(|tip| owners.contains_key(&tip.tjp));
    for batch in tips.chunks(BATCH) {
        let read = async |addrs: Vec<Addr>| whole(space, &addrs).await;
        let firsts = read(batch.iter().map(|tip| tip.tjp.clone()).collect()).await?;
        let named = batch.iter().zip(firsts).filter_map(|(tip, first)| Some((tip, Details::read(&first?)?)));
        let named: Vec<(&Tip, Details)> = named.collect();
        let lasts = read(named.iter().map(|(tip, _)| tip.addr.clone()).collect()).await?;
        let before = read(named.iter().map(|(_, details)| details.identity_before.clone()).collect()).await?;
        for (((tip, details), last), before) in named.into_iter().zip(lasts).zip(before) {
            let (Some(last), Some(owner)) = (last, owners.get(&tip.tjp)) else { continue };
            let at = last.datum("timestamp").and_then(Value::as_str).and_then(Moment::parse_timestamp);
            let n = before
                .filter(|frame| frame.tjp().as_ref().unwrap_or(frame.addr()) == owner)
                .and_then(|frame| frame.n());
            let session = Session { tip: tip.clone(), n: n.unwrap_or(0), at_ms: at.unwrap_or(0) };
            of.entry((owner.clone(), details.audience)).or_default().push(session);
        }
    }
    let mut out = Vec::new();
    let age = i64::try_from(keep.session_ms_max).unwrap_or(i64::MAX);
    let identities: HashSet<String> = of.keys().map(|(identity, _)| connected_key(identity)).collect();
    let identities: Vec<String> = identities.into_iter().collect();
    let connected = space.view().await.map_err(space_error)?.records(Records::Keys(&identities)).await;
    let connected: HashMap<String, Vec<u8>> = connected.map_err(space_error)?.into_iter().collect();
    for ((identity, _), mut sessions) in of {
        let connected = connected.get(&connected_key(&identity));
        sessions.sort_unstable_by(|a, b| (b.n, &b.tip.tjp).cmp(&(a.n, &a.tip.tjp)));
        for (nth, session) in sessions.into_iter().enumerate() {
            let is_open = nth == 0 || connected.is_some_and(|tjp| tjp == session.tip.tjp.as_str().as_bytes());
            let is_old = now_ms.saturating_sub(session.at_ms) > age || nth >= keep.sessions_max;
            if is_old && !is_open {
                let records = vec![session_key(&session.tip.tjp)];
                let timeline = Forget { tjp: session.tip.tjp, tip: session.tip.addr, beside: Vec::new() };
                out.push(Over { timeline, records });
            }
        }
    }
    Ok(out)
}

/// Nodes, without those that are damaged: what they belong to stays as it is.
async fn whole(space: &dyn Space, addrs: &[Addr]) -> Result<Vec<Option<Verified<IbGib>>>, SagaError> {
    match space.get(addrs).await {
        Err(SpaceError::Corrupt { .. }) => {}
        read => return read.map_err(space_error),
    }
    let mut out = Vec::new();
    for addr in addrs {
        out.push(match space.node(addr).await {
            Err(SpaceError::Corrupt { .. }) => None,
            read => read.map_err(space_error)?,
        });
    }
    Ok(out)
}

/// The transcripts of these sessions, and those whose session is not here any more.
async fn transcripts(space: &dyn Space, sessions: &[Over]) -> Result<Vec<Over>, SagaError> {
    let kept = space.tips(Some(Kind::Keystone)).await.map_err(space_error)?;
    let over: HashSet<&Addr> = sessions.iter().map(|session| &session.timeline.tjp).collect();
    let kept: HashSet<&str> =
        kept.iter().map(|tip| &tip.tjp).filter(|tjp| !over.contains(tjp)).map(Addr::as_str).collect();
    let tips = space.tips(Some(Kind::Saga)).await.map_err(space_error)?;
    let mut sagas: HashMap<String, u64> = HashMap::new();
    let mut found: Vec<(String, Over)> = Vec::new();
    for batch in tips.chunks(BATCH) {
        let addrs: Vec<Addr> = batch.iter().map(|tip| tip.addr.clone()).collect();
        let frames = whole(space, &addrs).await?;
        let mut contexts: Vec<(Addr, usize)> = Vec::new();
        for (tip, frame) in batch.iter().zip(frames) {
            let Some(frame) = frame else { continue };
            let text = |name| frame.datum(name).and_then(Value::as_str);
            let Some(saga_id) = text("sagaId") else { continue };
            *sagas.entry(saga_id.to_owned()).or_default() += 1;
            if text("sessionIdentityTjpAddr").is_some_and(|session| !kept.contains(session)) {
                let beside = contexts_of(&frame).unwrap_or_default();
                contexts.extend(beside.into_iter().map(|addr| (addr, found.len())));
                let timeline = Forget { tjp: tip.tjp.clone(), tip: tip.addr.clone(), beside: Vec::new() };
                found.push((saga_id.to_owned(), Over { timeline, records: Vec::new() }));
            }
        }
        let addrs: Vec<Addr> = contexts.iter().map(|(addr, _)| addr.clone()).collect();
        let has = space.has(&addrs).await.map_err(space_error)?;
        for ((addr, at), _) in contexts.into_iter().zip(has).filter(|(_, has)| *has) {
            found[at].1.timeline.beside.push(addr);
        }
    }
    // One whose last context is not found would leave it behind, leading to what is gone.
    found.retain(|(_, over)| !over.timeline.beside.is_empty());
    // Two of one name may share messages.
    Ok(found.into_iter().filter(|(saga_id, _)| sagas.get(saga_id) == Some(&1)).map(|(_, over)| over).collect())
}

/// A timeline that is over, the number of its nodes, and the bytes of their texts.
type Weighed<'a> = (&'a Over, u64, u64);

/// What timelines are made of; one that is damaged is left out.
async fn weigh<'a>(space: &dyn Space, batch: &'a [Over]) -> Result<Vec<Weighed<'a>>, SagaError> {
    let timelines: Vec<Forget> = batch.iter().map(|over| over.timeline.clone()).collect();
    match forget::weigh(space, &timelines).await {
        Ok(all) => return Ok(batch.iter().zip(all).map(|(over, (nodes, bytes))| (over, nodes, bytes)).collect()),
        Err(SpaceError::Corrupt { .. } | SpaceError::Missing { .. }) => {}
        Err(error) => return Err(space_error(error)),
    }
    let mut out = Vec::new();
    for over in batch {
        match forget::weigh(space, std::slice::from_ref(&over.timeline)).await {
            Ok(one) => out.extend(one.into_iter().map(|(nodes, bytes)| (over, nodes, bytes))),
            Err(SpaceError::Corrupt { .. } | SpaceError::Missing { .. }) => {}
            Err(error) => return Err(space_error(error)),
        }
    }
    Ok(out)
}

/// Forgets timelines, all that can be: answers which. One that moved meanwhile, or to which something else relates, stays.
async fn forget_all(space: &dyn Space, batch: &[Weighed<'_>]) -> Result<Vec<bool>, SagaError> {
    let commit = |batch: &[Weighed<'_>]| Commit {
        forget: batch.iter().map(|(over, ..)| over.timeline.clone()).collect(),
        records: batch.iter().flat_map(|(over, ..)| over.records.iter().map(|key| (key.clone(), None))).collect(),
        ..Commit::default()
    };
    let forgot = |done: Result<u64, CommitError>| match done {
        Ok(_) => Ok(true),
        Err(CommitError::TipsMoved(_) | CommitError::Refused { .. } | CommitError::Missing { .. }) => Ok(false),
        Err(CommitError::Space(SpaceError::Corrupt { .. } | SpaceError::Missing { .. })) => Ok(false),
        Err(error) => Err(identity::commit_error(error)),
    };
    if forgot(space.commit(commit(batch)).await)? {
        return Ok(vec![true; batch.len()]);
    }
    let mut out = Vec::new();
    for over in batch {
        out.push(forgot(space.commit(commit(std::slice::from_ref(over))).await)?);
    }
    Ok(out)
}
