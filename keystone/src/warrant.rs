//! How a space signs: its keystone warrants trees, and the trees sign the space's words.
//!
//! A space that serves has a keystone of its own, of one pool ([`crate::config::space_pool`]), whose genesis names the space.
//! Thousands of answers cannot all be frames of it, one after the other. So each process that serves makes a tree of
//! one-time keys for itself ([`TreeSigner`](crate::strategy::lms::TreeSigner)), and the keystone signs a
//! [`Warrant`] for it with one leaf of its pool, which moves the keystone by nothing. A process that starts, or whose tree is
//! used up, has another tree warranted. The pool goes on to its next tree by a frame, long before its leaves come to an
//! end; warrants of its trees before hold with the frame that they name.

use crate::chain::Chain;
use crate::error::KeystoneError;
use crate::secret::Secret;
use crate::sign::SignOpts;
use crate::strategy::Keys;
use crate::strategy::lms::{self, is_signed_with, sign_apart, signed_apart};
use crate::{IB, VERB_WARRANT};
use ibgib::canonical::canonical_text;
use ibgib::{Addr, Value, object};
use sha2::{Digest, Sha256};

/// What a warrant's signature is over begins so.
const WARRANT: &str = "ibgib space warrant v1\n";
/// What a word's signature is over begins so.
const WORD: &str = "ibgib space word v1\n";

/// A space's keystone lets a tree sign for the space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    frame: Addr,
    public_key: String,
    signature: String,
}

impl Warrant {
    /// The keystone: the timeline of the frame whose pool has signed.
    pub fn keystone(&self) -> Addr {
        keystone_of(&self.frame)
    }

    /// The keystone's frame whose pool has signed.
    pub fn frame(&self) -> &Addr {
        &self.frame
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        object([
            ("frame", (&self.frame).into()),
            ("publicKey", self.public_key.as_str().into()),
            ("signature", self.signature.as_str().into()),
        ])
    }

    /// Reads a warrant; nothing of it is checked but its form.
    pub fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let frame: Addr = text("frame")?.parse().ok()?;
        let warrant = Self {
            frame: Some(frame).filter(|frame| frame.ib() == IB)?,
            public_key: text("publicKey")?.to_owned(),
            signature: text("signature")?.to_owned(),
        };
        (warrant.to_value() == *value).then_some(warrant)
    }

    /// What names it: a hash of all of it, in hex.
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(canonical_text(&self.to_value())))
    }

    /// Whether the keystone has signed it, and is the one of this space. `chain` is the keystone as validated, with the frame
    /// that the warrant names as its tip.
    pub fn holds(&self, chain: &Chain, space: &str) -> bool {
        let message = message(space, &self.frame, &self.public_key);
        signed_for_space(chain, space, &self.frame, &message, &self.signature)
    }

    /// Whether the tree has signed a word. That the warrant itself holds is for the caller to have checked.
    pub fn has_signed(&self, word: &[u8], signature: &str) -> bool {
        is_signed_with(&self.public_key, &word_message(word), signature)
    }
}

/// The space that a keystone is of, as its genesis tells; its frames after that repeat it. `None` for any other keystone.
pub fn space_of(chain: &Chain) -> Option<&str> {
    chain.tip().datum("frameDetails")?.get("space")?.as_str()
}

/// Warrants a tree with the leaf that was set aside for it ([`SignOpts::leaf`]).
///
/// # Errors
/// [`KeystoneError`]; nothing is signed then. [`KeystoneError::NoPool`] when it is no keystone of a space.
pub fn warrant(chain: &Chain, secret: &Secret, public_key: &str, opts: &SignOpts) -> Result<Warrant, KeystoneError> {
    let frame = chain.tip().addr().clone();
    let signature = sign_for_space(chain, secret, opts, |space| message(space, &frame, public_key))?;
    Ok(Warrant { frame, public_key: public_key.to_owned(), signature })
}

/// The keystone of which this is a frame.
pub(crate) fn keystone_of(frame: &Addr) -> Addr {
    let first = frame.tjp_gib().and_then(|gib| Addr::new(IB, gib).ok());
    first.unwrap_or_else(|| frame.clone())
}

/// Signs what `message` makes of the space's id, with the leaf that was set aside for it. The keystone stays as it is.
pub(crate) fn sign_for_space(
    chain: &Chain,
    secret: &Secret,
    opts: &SignOpts,
    message: impl FnOnce(&str) -> Vec<u8>,
) -> Result<String, KeystoneError> {
    let none = || KeystoneError::NoPool(VERB_WARRANT.to_owned());
    let space = space_of(chain).ok_or_else(none)?;
    let pool = chain.pool_for(VERB_WARRANT).filter(|pool| pool.strategy().name() == lms::NAME).ok_or_else(none)?;
    let keys = Keys { secret, trees: &opts.trees, leaf: opts.leaf.as_ref() };
    sign_apart(&pool, &keys, &message(space))
}

/// Whether the keystone, with this frame as its tip, is the one of this space and has signed a message so.
pub(crate) fn signed_for_space(chain: &Chain, space: &str, frame: &Addr, message: &[u8], signature: &str) -> bool {
    let pool = chain.pool_for(VERB_WARRANT).filter(|pool| pool.strategy().name() == lms::NAME);
    chain.tip().addr() == frame
        && space_of(chain) == Some(space)
        && pool.is_some_and(|pool| signed_apart(&pool, message, signature))
}

/// What a tree signs of a word.
pub fn word_message(word: &[u8]) -> Vec<u8> {
    [WORD.as_bytes(), word].concat()
}

fn message(space: &str, frame: &Addr, public_key: &str) -> Vec<u8> {
    let whole = object([("frame", frame.into()), ("publicKey", public_key.into()), ("space", space.into())]);
    [WARRANT, &canonical_text(&whole)].concat().into_bytes()
}
