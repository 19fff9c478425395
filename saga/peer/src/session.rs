//! The session identity S: made fresh for a connection, introduced by the domain identity I, signing every turn.

use crate::dropped;
use crate::entropy::{OsEntropy, now_ms, random, random_hex};
use crate::identity::{self, commit_error, forked_key};
use crate::recovery::{ended_records, is_ended, newest_common};
use crate::remote::Remote;
use crate::signing::{self, Act, Signing, aside, first_trees, is_untouched};
use crate::view::space_error;
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_keystone::{
    Chain, Claim, Expect, Secret, Standing, VERB_CONNECT, VERB_SYNC, config, proves_fork, session_secret,
};
use ibgib_saga::{Breach, IdentityRefusal, OwnIdentity, SagaError};
use ibgib_spaces::{Advance, Commit, Space};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Gives the long-term secret when it is needed, so that nobody has to keep it (`fnSenderSecret` of the original).
#[derive(Clone)]
pub struct SecretSource(Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>);

impl SecretSource {
    /// From a function that reads the secret where it is kept.
    pub fn new(read: impl Fn() -> Result<Secret, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the secret.
    ///
    /// # Errors
    /// `identity_secret` when it cannot be had.
    pub fn read(&self) -> Result<Secret, SagaError> {
        (self.0)().map_err(|why| OwnIdentity::Secret(why).into())
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSource")
    }
}

/// Who syncs.
#[derive(Clone, Debug)]
pub struct SenderIdentity {
    /// The domain identity's timeline in the sender's space.
    pub tjp: Addr,
    /// Where its secret comes from.
    pub secret: SecretSource,
}

/// Signs for one session identity. Every frame is durable in the sender's space, the one in which the session was made,
/// before it is handed out.
#[derive(Debug)]
pub struct SessionSigner {
    /// S's own, derived once: the long-term secret is not needed any more.
    secret: Secret,
    signing: Signing,
    details: Details,
    chain: Chain,
    pending_key: String,
    identity_bytes: u64,
    /// Timelines that went back here, since frames of them were dropped.
    left: Vec<Addr>,
}

/// What names a session in S's genesis (`SessionGenesisFrameDetails` of the original).
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) session_id: String,
    salt: [u8; 32],
    /// The timeline of the identity that introduces the session.
    pub(crate) identity: Addr,
    /// Its frame before it did.
    pub(crate) identity_before: Addr,
    /// The id of the receiver's space.
    pub(crate) audience: String,
}

impl Details {
    fn to_value(&self) -> Value {
        let members: Map = [
            ("sessionId", Value::from(self.session_id.as_str())),
            ("salt", hex::encode(self.salt).into()),
            ("identityTjpAddr", (&self.identity).into()),
            ("identityAddr", (&self.identity_before).into()),
            ("audience", self.audience.as_str().into()),
        ]
        .into_iter()
        .collect();
        Value::Object(members)
    }

    pub(crate) fn read(genesis: &Verified<IbGib>) -> Option<Self> {
        let details = genesis.datum("frameDetails")?;
        let text = |key: &str| details.get(key).and_then(Value::as_str);
        let mut salt = [0; 32];
        hex::decode_to_slice(text("salt")?, &mut salt).ok()?;
        Some(Self {
            session_id: text("sessionId")?.to_owned(),
            salt,
            identity: text("identityTjpAddr")?.parse().ok()?,
            identity_before: text("identityAddr")?.parse().ok()?,
            audience: text("audience")?.to_owned(),
        })
    }

    /// A claim that is good for this session at this receiver alone.
    fn claim(&self, verb: &str, target: &str) -> Act {
        Act::Claim(Claim {
            verb: verb.to_owned(),
            target: target.to_owned(),
            scope: None,
            audience: Some(self.audience.clone()),
            nonce: Some(self.session_id.clone()),
        })
    }
}

impl SessionSigner {
    /// The session identity's state.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The id of the receiver's space.
    pub fn audience(&self) -> &str {
        &self.details.audience
    }

    /// Bytes of the frames that were delivered for this session: I's new ones and S's genesis.
    pub fn identity_bytes(&self) -> u64 {
        self.identity_bytes
    }

    /// Timelines whose tips went back here before the session began: the owner of the receiver's space has dropped frames that
    /// they stood on.
    pub fn left(&self) -> &[Addr] {
        &self.left
    }

    /// Evolves S with the claim {verb `sync`, target `context`}.
    ///
    /// # Errors
    /// `binding_exhausted` when the pool cannot bind this target; `identity_…`; or the space fails.
    pub async fn sign_context(&mut self, space: &dyn Space, context: &Addr) -> Result<Verified<IbGib>, SagaError> {
        self.evolve(space, VERB_SYNC, context.as_str(), Vec::new(), false).await
    }

    /// Evolves S with the claim {verb `connect`, target `challenge_uuid`}, solving the demanded challenges.
    ///
    /// # Errors
    /// `identity_…`; or the space fails.
    pub async fn sign_context_connect(
        &mut self,
        space: &dyn Space,
        challenge_uuid: &str,
        demanded: Vec<String>,
    ) -> Result<Verified<IbGib>, SagaError> {
        self.evolve(space, VERB_CONNECT, challenge_uuid, demanded, true).await
    }

    async fn evolve(
        &mut self,
        space: &dyn Space,
        verb: &str,
        target: &str,
        demanded: Vec<String>,
        connecting: bool,
    ) -> Result<Verified<IbGib>, SagaError> {
        let claim = self.details.claim(verb, target);
        let signed = self.signing.sign(space, &self.chain, &self.secret, claim, demanded).await?;
        let frame = signed.frame.clone();
        let commit = Commit {
            nodes: vec![signed.frame],
            tips: vec![Advance::Keystone(signed.step)],
            // Once a proof is signed this session is spent: the next connection makes another.
            records: if connecting { vec![(self.pending_key.clone(), None)] } else { Vec::new() },
            ..Commit::default()
        };
        space.commit(commit).await.map_err(commit_error)?;
        self.chain = signed.chain;
        Ok(frame)
    }
}

/// Makes S, evolves I → I1 for it (durable first), and delivers both to the receiver: the seed's Phase 1.
///
/// # Errors
/// `identity_unknown`, `identity_revoked`, `identity_forked`, `identity_wrong_secret`…; what the receiver refuses;
/// the peer is not reachable; the space fails.
pub async fn establish_session_identity(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    sender: &SenderIdentity,
) -> Result<SessionSigner, SagaError> {
    introduce(space, remote, sender, async {}).await.map(|(signer, ())| signer)
}

/// As [`establish_session_identity`]; while the receiver looks at what is delivered, `meanwhile` goes on.
pub(crate) async fn introduce<T>(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    sender: &SenderIdentity,
    meanwhile: impl Future<Output = T> + Send,
) -> Result<(SessionSigner, T), SagaError> {
    let (audience, known) = remote.meet(&sender.tjp).await?;
    // Before anything is held against the identity here: a fork may have been lifted.
    let left = dropped::follow(space, remote, &audience).await?;
    let mut chain =
        identity::load_chain(&**space, &sender.tjp).await?.ok_or_else(|| OwnIdentity::Unknown(sender.tjp.clone()))?;
    if is_ended(&**space, &sender.tjp).await? {
        return Err(OwnIdentity::Revoked(sender.tjp.clone()).into());
    }
    if space.record(&forked_key(&sender.tjp)).await.map_err(space_error)?.is_some() {
        return Err(forked(&sender.tjp));
    }
    let mut signing = Signing::lasting();
    let before = chain.tip().addr().clone();
    let known = catch_up(space, remote, &mut chain, known).await?;
    if *chain.tip().addr() != before {
        signing.skip_some();
    }
    if chain.is_revoked() {
        if let Some(known) = &known {
            let _ = deliver(space, remote, &chain, known, None).await?;
        }
        return Err(OwnIdentity::Revoked(sender.tjp.clone()).into());
    }
    let pending_key = format!("pending/{audience}");
    if let Some(mut signer) = reuse(space, sender, &chain, &pending_key).await? {
        let session = signer.chain.tip().clone();
        let known = register(space, remote, &chain, known).await?;
        let (bytes, other) = tokio::join!(deliver(space, remote, &chain, &known, Some(&session)), meanwhile);
        (signer.identity_bytes, signer.left) = (bytes?, left);
        return Ok((signer, other));
    }

    let details = Details {
        session_id: random_hex(),
        salt: random(),
        identity: sender.tjp.clone(),
        identity_before: chain.tip().addr().clone(),
        audience,
    };
    let secret = sender.secret.read()?;
    let s_secret = session_secret(&secret, &details.salt, &details.session_id);
    // As strong as the identity, or whoever sees the session's frames could take over what the identity's do not give.
    let salts = config::random_salts(&mut OsEntropy);
    let pools = if chain.binds() { config::binding_session_pools(&salts) } else { config::session_pools(&salts) };
    let trees = first_trees(&s_secret, &pools).await?;
    let named = Some(details.to_value());
    let s = ibgib_keystone::genesis_with_trees(&s_secret, &pools, &trees, None, named, now_ms(), &mut OsEntropy)?;
    let claim = details.claim(VERB_SYNC, s.frame.addr().as_str());
    let i1 = signing.sign(&**space, &chain, &secret, claim, Vec::new()).await?;
    drop(secret);
    let session = s.frame.clone();
    let commit = Commit {
        nodes: vec![i1.frame.clone(), s.frame],
        tips: vec![Advance::Keystone(i1.step), Advance::Keystone(s.step)],
        records: vec![
            (pending_key.clone(), Some(session.addr().as_str().as_bytes().to_vec())),
            // Whose it is: by this it is known as a session when it is over.
            (session_key(session.addr()), Some(sender.tjp.as_str().as_bytes().to_vec())),
        ],
        ..Commit::default()
    };
    space.commit(commit).await.map_err(commit_error)?;
    let known = register(space, remote, &chain, known).await?;
    let (identity_bytes, other) = tokio::join!(deliver(space, remote, &i1.chain, &known, Some(&session)), meanwhile);
    let signer = SessionSigner {
        secret: s_secret,
        signing: Signing::passing(trees),
        details,
        chain: s.chain,
        pending_key,
        identity_bytes: identity_bytes?,
        left,
    };
    Ok((signer, other))
}

/// Takes over what a receiver has of an identity that this space does not know, since it was used elsewhere. To be asked
/// before the identity signs.
///
/// # Errors
/// As [`establish_session_identity`].
pub async fn refresh_identity(space: &Arc<dyn Space>, remote: &dyn Remote, tjp: &Addr) -> Result<Chain, SagaError> {
    let mut chain = identity::load_chain(&**space, tjp).await?.ok_or_else(|| OwnIdentity::Unknown(tjp.clone()))?;
    let known = remote.identity_tip(tjp).await?;
    catch_up(space, remote, &mut chain, known).await?;
    Ok(chain)
}

/// Takes an identity over into a space that has not signed for it: after a machine was lost, say. Its frames come from the
/// receiver, or from the space when they are there. Leaves that the lost machine may have used without telling anybody are
/// skipped.
///
/// # Errors
/// `identity_unknown` when neither has it, `identity_revoked`, `identity_wrong_secret` when `secret` is another's or the
/// identity's signatures do not bind, `identity_exhausted` when too few leaves are left; and as
/// [`establish_session_identity`]. Nothing is set aside then.
pub async fn take_over_identity(
    space: &Arc<dyn Space>,
    remote: Option<&dyn Remote>,
    tjp: &Addr,
    secret: &Secret,
) -> Result<Chain, SagaError> {
    let known = match remote {
        Some(remote) => remote.identity_tip(tjp).await?,
        None => None,
    };
    let chain = match (identity::load_chain(&**space, tjp).await?, remote, known) {
        (Some(mut chain), Some(remote), known) => {
            catch_up(space, remote, &mut chain, known).await?;
            chain
        }
        (Some(chain), None, _) => chain,
        (None, Some(remote), Some(theirs)) => take_frames(space, remote, tjp, &theirs).await?,
        (None, ..) => return Err(OwnIdentity::Unknown(tjp.clone()).into()),
    };
    if chain.is_revoked() || is_ended(&**space, tjp).await? {
        return Err(OwnIdentity::Revoked(tjp.clone()).into());
    }
    signing::take_over(&**space, &chain, secret).await?;
    Ok(chain)
}

/// The frames of an identity that this space does not know.
async fn take_frames(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    tjp: &Addr,
    theirs: &Addr,
) -> Result<Chain, SagaError> {
    let nodes = remote.keystone_frames(theirs).await?;
    let frames = nodes.clone();
    let (chain, step) = aside(move || Chain::replay(frames)).await?.map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        IdentityRefusal::Invalid { rule: None, detail: all.join("; ") }
    })?;
    if chain.tjp() != tjp {
        let detail = format!("asked for identity {tjp}, the receiver gave {}", chain.tjp());
        return Err(SagaError::PeerMisbehaved { breach: Breach::IdentityFrames, detail });
    }
    let commit = Commit { nodes, tips: vec![Advance::Keystone(step)], ..Commit::default() };
    space.commit(commit).await.map_err(commit_error)?;
    Ok(chain)
}

/// Delivers an identity's frames that a receiver lacks, without opening a session: to register it, or to tell that it
/// is revoked.
///
/// # Errors
/// As [`establish_session_identity`].
pub async fn deliver_identity(space: &Arc<dyn Space>, remote: &dyn Remote, tjp: &Addr) -> Result<(), SagaError> {
    let mut chain = identity::load_chain(&**space, tjp).await?.ok_or_else(|| OwnIdentity::Unknown(tjp.clone()))?;
    let known = remote.identity_tip(tjp).await?;
    let known = catch_up(space, remote, &mut chain, known).await?;
    let known = register(space, remote, &chain, known).await?;
    deliver(space, remote, &chain, &known, None).await.map(|_| ())
}

/// A session that was made for this audience but has signed nothing yet, while its identity has not moved on.
async fn reuse(
    space: &Arc<dyn Space>,
    sender: &SenderIdentity,
    chain: &Chain,
    pending_key: &str,
) -> Result<Option<SessionSigner>, SagaError> {
    let Some(bytes) = space.record(pending_key).await.map_err(space_error)? else { return Ok(None) };
    let Some(addr) = std::str::from_utf8(&bytes).ok().and_then(|t| t.parse::<Addr>().ok()) else { return Ok(None) };
    let Some(session) = identity::load_chain(&**space, &addr).await? else { return Ok(None) };
    let Some(details) = Details::read(session.tip()) else { return Ok(None) };
    let introduced = chain.tip().past().as_ref() == Some(&details.identity_before);
    if session.n() != 0 || !introduced || details.identity != sender.tjp {
        return Ok(None);
    }
    // It may have signed after all, before it could be told.
    if !is_untouched(&**space, &session, VERB_CONNECT).await? {
        return Ok(None);
    }
    Ok(Some(SessionSigner {
        secret: session_secret(&sender.secret.read()?, &details.salt, &details.session_id),
        signing: Signing::passing(Vec::new()),
        details,
        chain: session,
        pending_key: pending_key.to_owned(),
        identity_bytes: 0,
        left: Vec::new(),
    }))
}

/// Compares our tip of I with the receiver's: adopts theirs when it descends from ours; refuses a fork. Answers the
/// frame of ours that the receiver knows.
async fn catch_up(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    chain: &mut Chain,
    known: Option<Addr>,
) -> Result<Option<Addr>, SagaError> {
    let Some(theirs) = known else { return Ok(None) };
    if space.has(std::slice::from_ref(&theirs)).await.map_err(space_error)? == [true] {
        return newest_common(&**space, chain, theirs).await.map(Some);
    }
    // A restored backup: the identity has signed elsewhere what this space does not know.
    let frames = remote.keystone_frames(&theirs).await?;
    let ours = chain.tip().addr().clone();
    let Some(at) = frames.iter().position(|f| *f.addr() == ours) else {
        return match judge_branches(space, remote, chain, frames).await? {
            Some(known) => Ok(Some(known)),
            None => Err(forked(chain.tjp())),
        };
    };
    let nodes = frames[at + 1..].to_vec();
    let (mut ahead, frames) = (chain.clone(), nodes.clone());
    let step = aside(move || ahead.advance_all(&frames, &Expect::default()).map(|step| (ahead, step))).await?;
    let (ahead, step) = step.map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        IdentityRefusal::Invalid { rule: None, detail: all.join("; ") }
    })?;
    let commit = Commit { nodes, tips: step.map(Advance::Keystone).into_iter().collect(), ..Commit::default() };
    space.commit(commit).await.map_err(commit_error)?;
    *chain = ahead;
    Ok(Some(theirs))
}

/// The receiver has frames of the identity that neither follow ours nor lead to them. If one of the branches was taken
/// back it stands: ours goes to the receiver, from the frame on that is answered, or theirs is taken over here. If none was
/// and theirs holds, the identity was used in two places: both branches are kept here as evidence, and the receiver
/// gets ours, to keep both, too; the answer is `None`.
async fn judge_branches(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    chain: &mut Chain,
    theirs: Vec<Verified<IbGib>>,
) -> Result<Option<Addr>, SagaError> {
    let tjp = chain.tjp().clone();
    let foreign = |why: String| SagaError::PeerMisbehaved {
        breach: Breach::IdentityFrames,
        detail: format!("the receiver's frames of identity {tjp} do not hold: {why}"),
    };
    let ours = identity::frames(&**space, &tjp).await?.unwrap_or_default();
    let common = ours.iter().zip(&theirs).take_while(|(a, b)| a.addr() == b.addr()).count();
    let (Some(past), Some(our), Some(their)) = (common.checked_sub(1), ours.get(common), theirs.get(common)) else {
        return Err(foreign("they are not this identity's".into()));
    };
    let (past, their, nodes) = (ours[past].addr().clone(), their.clone(), theirs[common..].to_vec());
    let (branch, _) = aside(move || Chain::replay(theirs)).await?.map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        foreign(all.join("; "))
    })?;
    let records = match chain.judge(our, &branch, &their) {
        Some(Standing::This) => return Ok(Some(past)),
        Some(Standing::Other(recovery)) => {
            let records = vec![(forked_key(&tjp), None)];
            let commit = Commit { nodes, tips: vec![Advance::Recovery(recovery)], records, ..Commit::default() };
            space.commit(commit).await.map_err(commit_error)?;
            *chain = branch;
            return Ok(Some(chain.tip().addr().clone()));
        }
        Some(Standing::Neither) => ended_records(&tjp, &past, &[our, &their]),
        Some(Standing::Unknown) if proves_fork(our, &their) => identity::fork_records(&tjp, &past, &[our, &their]),
        // Nothing is held against the identity: whoever has seen its frames could have made this one.
        Some(Standing::Unknown) | None => return Ok(None),
    };
    space.commit(Commit { records, ..Commit::default() }).await.map_err(commit_error)?;
    if let Err(error) = remote.post_evolution(&tjp, std::slice::from_ref(our), None).await {
        // Refusing it is what the receiver has to do.
        tracing::debug!(%error, "evidence delivered");
    }
    if is_ended(&**space, &tjp).await? { Err(OwnIdentity::Revoked(tjp).into()) } else { Ok(None) }
}

/// Registers the identity's genesis when the receiver does not know it.
async fn register(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    chain: &Chain,
    known: Option<Addr>,
) -> Result<Addr, SagaError> {
    if let Some(known) = known {
        return Ok(known);
    }
    let genesis = space.node(chain.tjp()).await.map_err(space_error)?;
    let genesis = genesis.ok_or_else(|| OwnIdentity::Unknown(chain.tjp().clone()))?;
    remote.post_genesis_keystone(&genesis).await?;
    Ok(chain.tjp().clone())
}

/// Delivers the frames after `known`, and the session with the last of them. Answers their bytes.
async fn deliver(
    space: &Arc<dyn Space>,
    remote: &dyn Remote,
    chain: &Chain,
    known: &Addr,
    session: Option<&Verified<IbGib>>,
) -> Result<u64, SagaError> {
    let frames = identity::frames_after(&**space, chain.tip(), known).await?;
    let mut rest = &frames[..];
    let sent: usize = rest.iter().chain(session).map(|f| f.to_json().len()).sum();
    loop {
        // A post holds what fits its limit; only the last one introduces the session.
        let mut bytes = 0;
        let fits = rest.iter().take_while(|f| {
            bytes += f.to_json().len() + 1;
            bytes <= BODY_BYTES
        });
        let (now, later) = rest.split_at(fits.count().max(1).min(rest.len()));
        rest = later;
        remote.post_evolution(chain.tjp(), now, session.filter(|_| later.is_empty())).await?;
        if later.is_empty() {
            return Ok(sent as u64);
        }
    }
}

/// Frames that one post to the evolution endpoint carries, in bytes; below the endpoint's limit with S added.
const BODY_BYTES: usize = 900 * 1024;

fn forked(tjp: &Addr) -> SagaError {
    OwnIdentity::Forked(tjp.clone()).into()
}
/// Records that tell whose a session is.
pub(crate) const SESSION: &str = "session/";

/// The record that tells whose a session is.
pub(crate) fn session_key(session: &Addr) -> String {
    format!("{SESSION}{session}")
}

/// Whose the sessions are that a space has taken in or made.
pub(crate) async fn session_owners(space: &dyn Space) -> Result<HashMap<Addr, Addr>, SagaError> {
    let records = space.records(SESSION).await.map_err(space_error)?;
    let owner = |(key, owner): (String, Vec<u8>)| Some((key.strip_prefix(SESSION)?.parse().ok()?, owner_of(owner)?));
    Ok(records.into_iter().filter_map(owner).collect())
}

/// The identity in a session's record.
pub(crate) fn owner_of(record: Vec<u8>) -> Option<Addr> {
    String::from_utf8(record).ok()?.parse().ok()
}
