//! The space's words: what is said to sessions is signed, so that they know who said it and can show it later.
//!
//! The space has a keystone, made when it first signs, whose secret is a local record of the space beside the keystone's
//! trees: all servers of one space sign under one keystone. Each of them makes trees for itself, whose secrets never leave
//! its memory, and has each warranted with one leaf of the keystone's pool, set aside durably before. So a process that is
//! killed, and one that runs beside it, use no leaf twice.

use super::Host;
use crate::entropy::{OsEntropy, now_ms, random};
use crate::identity;
use crate::signing::{Act, Signing, first_trees, leaves_left, tree_records};
use crate::view::{commit_error, space_error};
use ibgib::{Addr, Mode, Value, object};
use ibgib_keystone::strategy::lms::{Height, Tree, TreeSigner};
use ibgib_keystone::{
    Chain, Claim, KeystoneError, Secret, SignOpts, Signed, VERB_MANAGE, VERB_WARRANT, Warrant, config,
    genesis_with_trees, space_of,
};
use ibgib_saga::{OwnIdentity, SagaError, Signature, Word};
use ibgib_spaces::{Advance, Commit, CommitError, Space};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

/// The local record with the space's keystone and its secret.
const KEYSTONE: &str = "server/keystone";
/// Leaves of a pool's tree that are left when the next tree is put there: by then a frame may do that, and many more
/// warrants can be signed before it has.
const SPARE: u32 = 128;
/// Trees of 32 leaves that a process makes before it makes trees of 1,024, which take so long that one that serves a few
/// sessions should not begin with them.
const SMALL_TREES: u32 = 4;

/// What a host signs with.
#[derive(Default)]
pub(super) struct Words {
    trees: Mutex<Trees>,
    /// The keystone of a space that has none, being made for when it is needed.
    newborn: Mutex<Option<JoinHandle<Result<Newborn, SagaError>>>>,
}

/// A keystone that no space has yet.
struct Newborn {
    born: Signed,
    trees: Vec<Arc<Tree>>,
    secret: String,
}

#[derive(Default)]
struct Trees {
    now: Option<(Arc<TreeSigner>, Arc<Warrant>)>,
    /// The tree that follows, being made.
    next: Option<JoinHandle<TreeSigner>>,
    /// How many were made.
    made: u32,
}

impl Trees {
    /// Has a tree made, in the background.
    fn make(&mut self) -> JoinHandle<TreeSigner> {
        let height = if self.made < SMALL_TREES { Height::H5 } else { Height::H10 };
        self.made += 1;
        spawn_blocking(move || TreeSigner::make(height, &mut OsEntropy))
    }
}

impl Host {
    /// Signs a word for the space.
    pub(super) async fn sign_word(&self, word: &Word) -> Result<Signature, SagaError> {
        let revision = self.space.revision().await.map_err(space_error)?;
        let text = word.text(revision);
        loop {
            let (tree, warrant) = self.tree().await?;
            let message = ibgib_keystone::word_message(text.as_bytes());
            // Others may have used its last leaves meanwhile.
            if let Some(value) = self.checks.run(move || tree.sign(&message)).await? {
                return Ok(Signature { warrant: Some((*warrant).clone()), revision, value });
            }
        }
    }

    /// The keystone of the space, which is made if there is none yet.
    ///
    /// # Errors
    /// When the space fails, or what it keeps of the keystone cannot be read.
    pub async fn keystone(&self) -> Result<Addr, SagaError> {
        Ok(keystone(&*self.space).await?.0)
    }

    /// Makes a keystone for when one is first needed, if the space has none. Nothing is written.
    pub async fn prepare_keystone(&self) {
        if matches!(self.space.record(KEYSTONE).await, Ok(None)) {
            let space = self.space.id().to_owned();
            *self.words.newborn.lock().await = Some(tokio::spawn(async move { newborn(&space).await }));
        }
    }

    /// Makes what will be signed with, if it is not there: somebody is about to prove who he is, and that takes a while, too.
    pub(super) fn prepare_to_sign(self: &Arc<Self>) {
        let host = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = host.tree().await {
                // Whoever is to be told something signed is told that, then.
                tracing::debug!(%error, "nothing to sign with yet");
            }
        });
    }

    /// A tree that has leaves, and what lets it sign.
    async fn tree(&self) -> Result<(Arc<TreeSigner>, Arc<Warrant>), SagaError> {
        let mut trees = self.words.trees.lock().await;
        if let Some((tree, warrant)) = trees.now.clone().filter(|(tree, _)| tree.left() > 0) {
            if tree.left() <= tree.leaves() / 2 && trees.next.is_none() {
                trees.next = Some(trees.make());
            }
            return Ok((tree, warrant));
        }
        let making = trees.next.take().unwrap_or_else(|| trees.make());
        let tree = making.await.map_err(|error| SagaError::defect(error.to_string()))?;
        if let Some(newborn) = self.words.newborn.lock().await.take()
            && self.space.record(KEYSTONE).await.map_err(space_error)?.is_none()
        {
            let newborn = newborn.await.map_err(|error| SagaError::defect(error.to_string()))?;
            publish(&*self.space, newborn?).await?;
        }
        let public_key = tree.public_key();
        let warrant =
            signed(&*self.space, move |chain, secret, opts| ibgib_keystone::warrant(chain, secret, &public_key, opts));
        let warrant = warrant.await?;
        let now = (Arc::new(tree), Arc::new(warrant));
        trees.now = Some(now.clone());
        Ok(now)
    }
}

/// Has the space's keystone sign what `make` makes. When the pool comes near its end, its next tree is put there first.
pub(super) async fn signed<T: Send + 'static>(
    space: &dyn Space,
    make: impl FnOnce(&Chain, &Secret, &SignOpts) -> Result<T, KeystoneError> + Send + 'static,
) -> Result<T, SagaError> {
    let (tjp, secret) = keystone(space).await?;
    loop {
        let chain = identity::load_chain(space, &tjp).await?.ok_or_else(|| OwnIdentity::Unknown(tjp.clone()))?;
        if leaves_left(space, &chain, VERB_WARRANT).await? > SPARE {
            return Signing::lasting().for_space(space, &chain, &secret, make).await;
        }
        let claim = Claim { verb: VERB_MANAGE.into(), target: chain.tip().addr().to_string(), ..Claim::default() };
        let details = object([("space", space_of(&chain).unwrap_or_default().into())]);
        let signed = Signing::lasting().sign(space, &chain, &secret, Act::State(claim, details), Vec::new()).await?;
        let tips = vec![Advance::Keystone(signed.step)];
        match space.commit(Commit { nodes: vec![signed.frame], tips, ..Commit::default() }).await {
            // Another server of the space was faster: it is looked at anew.
            Ok(_) | Err(CommitError::TipsMoved(_)) => {}
            Err(error) => return Err(commit_error(error)),
        }
    }
}

/// The space's keystone and its secret, made if there is none. Of several servers that begin at once one makes it.
async fn keystone(space: &dyn Space) -> Result<(Addr, Secret), SagaError> {
    loop {
        if let Some(kept) = space.record(KEYSTONE).await.map_err(space_error)? {
            return read(&kept).ok_or_else(|| SagaError::OwnSpace {
                failure: ibgib_saga::SpaceFailure::Damaged,
                message: format!(
                    "the record {KEYSTONE}, which keeps the secret of the space's keystone, cannot be read"
                ),
            });
        }
        publish(space, newborn(space.id()).await?).await?;
    }
}

/// Makes a keystone for a space.
async fn newborn(space: &str) -> Result<Newborn, SagaError> {
    let bytes: [u8; 32] = random();
    let secret = Secret::new(bytes.to_vec());
    let pools = [config::space_pool(&mut OsEntropy)];
    let trees = first_trees(&secret, &pools).await?;
    let details = Some(object([("space", space.into())]));
    let born = genesis_with_trees(&secret, &pools, &trees, None, details, now_ms(), &mut OsEntropy)?;
    Ok(Newborn { born, trees, secret: hex::encode(bytes) })
}

/// Gives it to the space, unless another server was faster.
async fn publish(space: &dyn Space, newborn: Newborn) -> Result<(), SagaError> {
    let Newborn { born, trees, secret } = newborn;
    let kept = object([("keystone", born.frame.addr().into()), ("secret", secret.into())]);
    let mut records = tree_records(&trees);
    records.push((KEYSTONE.to_owned(), Some(kept.to_json().into_bytes())));
    let (nodes, tips) = (vec![born.frame], vec![Advance::Keystone(born.step)]);
    let expect = vec![(KEYSTONE.to_owned(), None)];
    match space.commit(Commit { nodes, tips, records, expect, ..Commit::default() }).await {
        Ok(_) | Err(CommitError::RecordsChanged(_)) => Ok(()),
        Err(error) => Err(commit_error(error)),
    }
}

fn read(kept: &[u8]) -> Option<(Addr, Secret)> {
    let value = Value::parse(std::str::from_utf8(kept).ok()?, Mode::Strict).ok()?;
    let part = |name: &str| value.get(name).and_then(Value::as_str);
    let secret = hex::decode(part("secret")?).ok().filter(|bytes| bytes.len() == 32)?;
    Some((part("keystone")?.parse().ok()?, Secret::new(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostOptions;
    use crate::trusted;
    use crate::{Innerspace, Remote};
    use ibgib_saga::{Encoding, Said};
    use ibgib_spaces::MemorySpace;
    use std::collections::HashSet;

    fn word(n: u32) -> Word {
        let addr = |n: u32| Addr::new("keystone", &format!("{n:064X}")).unwrap();
        Word { session: addr(1), last: addr(n), said: Said::Connected(Encoding::Blocks) }
    }

    fn host(space: &Arc<dyn Space>) -> Arc<Host> {
        Host::new(Arc::clone(space), HostOptions::default())
    }

    fn id(signature: &Signature) -> String {
        signature.warrant.as_ref().unwrap().id()
    }

    async fn sign(host: &Host, n: u32) -> Signature {
        let signature = host.sign_word(&word(n)).await.unwrap();
        let text = word(n).text(signature.revision);
        assert!(signature.warrant.as_ref().unwrap().has_signed(text.as_bytes(), &signature.value));
        signature
    }

    /// How many leaves of the first tree of the space's pool were set aside.
    async fn leaves(space: &dyn Space) -> String {
        let records = space.records("leaves/").await.unwrap();
        String::from_utf8(records.into_iter().next().unwrap().1).unwrap()
    }

    #[tokio::test]
    async fn servers_over_one_space_sign_side_by_side_and_one_that_starts_again_uses_no_leaf_twice() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
        let [one, other] = [host(&space), host(&space)];
        // They begin at once, and one of them makes the keystone.
        let (a, b) = tokio::join!(sign(&one, 1), sign(&other, 1));
        assert_ne!(id(&a), id(&b));
        assert_eq!(id(&sign(&one, 2).await), id(&a), "the same tree goes on");
        assert_eq!(leaves(&*space).await, "2");
        // As after a kill: nothing that was in memory is there any more.
        let again = host(&space);
        let c = sign(&again, 1).await;
        assert!(![id(&a), id(&b)].contains(&id(&c)));
        assert_eq!(leaves(&*space).await, "3");
        let keystone = one.keystone().await.unwrap();
        assert_eq!(again.keystone().await.unwrap(), keystone);
        let chain = identity::load_chain(&*space, &keystone).await.unwrap().unwrap();
        assert_eq!(chain.n(), 0, "signing does not move it");
        for signature in [a, b, c] {
            assert!(signature.warrant.unwrap().holds(&chain, "shared"));
        }
    }

    #[tokio::test]
    async fn a_tree_that_is_used_up_is_followed_by_another_while_many_sign_at_once() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
        let host = host(&space);
        let signing = (0..80).map(|n| {
            let host = Arc::clone(&host);
            tokio::spawn(async move { sign(&host, n).await })
        });
        let mut trees = HashSet::new();
        for signing in signing.collect::<Vec<_>>() {
            trees.insert(id(&signing.await.unwrap()));
        }
        assert_eq!(trees.len(), 3, "of 32 leaves each");
        assert_eq!(leaves(&*space).await, "3");
    }

    #[tokio::test]
    async fn the_pool_goes_on_long_before_it_is_used_up_and_devices_follow() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
        let device: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
        let first = host(&space);
        let before = sign(&first, 1).await.warrant.unwrap();
        let remote = Innerspace::new(Arc::clone(&first));
        trusted::check(&device, &remote, &before, "shared").await.unwrap();
        // Nine hundred starts later.
        let key = space.records("leaves/").await.unwrap().into_iter().next().unwrap().0;
        let records = vec![(key, Some(b"900".to_vec()))];
        space.commit(Commit { records, ..Commit::default() }).await.unwrap();
        let later = sign(&host(&space), 1).await.warrant.unwrap();
        let keystone = first.keystone().await.unwrap();
        let chain = identity::load_chain(&*space, &keystone).await.unwrap().unwrap();
        assert_eq!((chain.n(), chain.pools()[0].left), (2, 1_024));
        assert_eq!((later.frame(), later.keystone()), (chain.tip().addr(), keystone));
        // A device that has met it before follows its frames, and one that has not, too; older warrants still hold.
        trusted::check(&device, &remote, &later, "shared").await.unwrap();
        trusted::check(&device, &remote, &before, "shared").await.unwrap();
        let newcomer: Arc<dyn Space> = Arc::new(MemorySpace::new("newcomer"));
        trusted::check(&newcomer, &remote, &later, "shared").await.unwrap();
        let error = trusted::check(&newcomer, &remote, &later, "another").await.unwrap_err();
        assert_eq!(error.code(), "bad_signature");
        assert!(remote.check_keystone(&later.keystone()).is_ok());
    }

    #[tokio::test]
    async fn what_is_kept_of_the_keystone_and_cannot_be_read_is_told_and_not_made_anew() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
        let records = vec![(KEYSTONE.to_owned(), Some(b"{".to_vec()))];
        space.commit(Commit { records, ..Commit::default() }).await.unwrap();
        let error = host(&space).keystone().await.unwrap_err();
        assert_eq!(error.code(), "damaged");
        assert!(error.to_string().contains(KEYSTONE), "{error}");
    }
}
