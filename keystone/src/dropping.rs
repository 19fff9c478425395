//! Which frames a space does not hold any more, by its owner's word: its keystone signs the list for those who sync with it.

use crate::chain::Chain;
use crate::error::KeystoneError;
use crate::secret::Secret;
use crate::sign::SignOpts;
use crate::warrant::{keystone_of, sign_for_space, signed_for_space};
use ibgib::canonical::canonical_text;
use ibgib::{Addr, Value, object, strings};

/// What the signature of a list is over begins so.
const DROPPED: &str = "ibgib space dropped v1\n";

/// The frames that a space's owner has dropped, as its keystone ([`crate::Warrant`]) has signed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropping {
    frame: Addr,
    number: u64,
    dropped: Vec<Addr>,
    allowed: Vec<Addr>,
    signature: String,
}

impl Dropping {
    /// The keystone: the timeline of the frame whose pool has signed.
    pub fn keystone(&self) -> Addr {
        keystone_of(&self.frame)
    }

    /// The keystone's frame whose pool has signed.
    pub fn frame(&self) -> &Addr {
        &self.frame
    }

    /// How many lists there were before it, and itself: a later one takes the place of it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The frames that are dropped.
    pub fn dropped(&self) -> &[Addr] {
        &self.dropped
    }

    /// Frames that were dropped and may come in again.
    pub fn allowed(&self) -> &[Addr] {
        &self.allowed
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        object([
            ("allowed", strings(self.allowed.iter().map(Addr::as_str))),
            ("dropped", strings(self.dropped.iter().map(Addr::as_str))),
            ("frame", (&self.frame).into()),
            ("number", Value::integer(self.number)),
            ("signature", self.signature.as_str().into()),
        ])
    }

    /// Reads a list; nothing of it is checked but its form.
    pub fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let list = |name: &str| {
            let list = value.get(name)?.as_array()?.iter();
            list.map(|frame| frame.as_str()?.parse::<Addr>().ok()).collect::<Option<Vec<_>>>()
        };
        let frame: Addr = text("frame")?.parse().ok()?;
        let list = Self {
            frame: Some(frame).filter(|frame| frame.ib() == crate::IB)?,
            number: value.get("number").and_then(Value::as_u53)?,
            dropped: list("dropped")?,
            allowed: list("allowed")?,
            signature: text("signature")?.to_owned(),
        };
        (list.to_value() == *value).then_some(list)
    }

    /// Whether the keystone has signed it, and is the one of this space. `chain` is the keystone as validated, with the frame
    /// that the list names as its tip.
    pub fn holds(&self, chain: &Chain, space: &str) -> bool {
        signed_for_space(chain, space, &self.frame, &self.message(space), &self.signature)
    }

    fn message(&self, space: &str) -> Vec<u8> {
        let whole = object([
            ("allowed", strings(self.allowed.iter().map(Addr::as_str))),
            ("dropped", strings(self.dropped.iter().map(Addr::as_str))),
            ("frame", (&self.frame).into()),
            ("number", Value::integer(self.number)),
            ("space", space.into()),
        ]);
        [DROPPED, &canonical_text(&whole)].concat().into_bytes()
    }
}

/// States what is dropped of a space, and what was and is allowed again, with the leaf that was set aside for it
/// ([`SignOpts::leaf`]).
///
/// # Errors
/// [`KeystoneError`]; nothing is signed then. [`KeystoneError::NoPool`] when it is no keystone of a space.
pub fn list_dropped(
    chain: &Chain,
    secret: &Secret,
    number: u64,
    [dropped, allowed]: [Vec<Addr>; 2],
    opts: &SignOpts,
) -> Result<Dropping, KeystoneError> {
    let frame = chain.tip().addr().clone();
    let mut made = Dropping { frame, number, dropped, allowed, signature: String::new() };
    made.signature = sign_for_space(chain, secret, opts, |space| made.message(space))?;
    Ok(made)
}
