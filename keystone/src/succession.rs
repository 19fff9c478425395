//! A server's keys, one after the other: its space's keystone signs which one its TLS has now.
//!
//! Whoever knows a server by the key of its TLS has to be led to the next one, by somebody whom he knows, too: the space's
//! keystone ([`crate::Warrant`]), which is no part of TLS and does not change with it. A [`Succession`] names the key, and those
//! that it follows. So whoever knows one of them, and has seen no later one, can go on to it, and whoever stole one of
//! them cannot make another, since the keystone's secret is not that key's.

use crate::chain::Chain;
use crate::error::KeystoneError;
use crate::secret::Secret;
use crate::sign::SignOpts;
use crate::warrant::{keystone_of, sign_for_space, signed_for_space};
use ibgib::canonical::canonical_text;
use ibgib::{Addr, Value, object, strings};

/// What a succession's signature is over begins so.
const SUCCESSION: &str = "ibgib space tls key v1\n";
/// Keys that a succession names as followed, at most: the newest ones.
pub const KEYS_BEFORE_MAX: usize = 64;

/// The key of the TLS of a space's servers, which follows others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    frame: Addr,
    key: String,
    before: Vec<String>,
    number: u64,
    signature: String,
}

impl Succession {
    /// The keystone: the timeline of the frame whose pool has signed.
    pub fn keystone(&self) -> Addr {
        keystone_of(&self.frame)
    }

    /// The keystone's frame whose pool has signed.
    pub fn frame(&self) -> &Addr {
        &self.frame
    }

    /// The key: `sha256:` and 64 hex digits, of its SubjectPublicKeyInfo.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The keys that it follows, the oldest first.
    pub fn before(&self) -> &[String] {
        &self.before
    }

    /// How many there were before it, and itself: it only grows.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        object([
            ("before", strings(self.before.iter().map(String::as_str))),
            ("frame", (&self.frame).into()),
            ("key", self.key.as_str().into()),
            ("number", Value::integer(self.number)),
            ("signature", self.signature.as_str().into()),
        ])
    }

    /// Reads a succession; nothing of it is checked but its form.
    pub fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let Some(Value::Array(before)) = value.get("before") else { return None };
        let before = before.iter().map(|key| Some(key.as_str()?.to_owned())).collect::<Option<Vec<_>>>()?;
        let frame: Addr = text("frame")?.parse().ok()?;
        let succession = Self {
            frame: Some(frame).filter(|frame| frame.ib() == crate::IB)?,
            key: text("key")?.to_owned(),
            before,
            number: value.get("number").and_then(Value::as_u53)?,
            signature: text("signature")?.to_owned(),
        };
        (succession.is_in_form() && succession.to_value() == *value).then_some(succession)
    }

    fn is_in_form(&self) -> bool {
        let many = 1..=KEYS_BEFORE_MAX;
        many.contains(&self.before.len())
            && self.before.iter().chain([&self.key]).all(|key| is_key(key))
            && !self.before.contains(&self.key)
    }

    /// Whether it leads on whoever knows the server by the key `known`, and has been led by the succession with the number
    /// `seen` before; 0 when by none.
    pub fn leads_from(&self, known: &str, seen: u64) -> bool {
        self.number > seen && self.before.iter().any(|key| key == known)
    }

    /// Whether the keystone has signed it, and is the one of this space. `chain` is the keystone as validated, with the frame
    /// that the succession names as its tip.
    pub fn holds(&self, chain: &Chain, space: &str) -> bool {
        let message = message(space, &self.frame, &self.key, &self.before, self.number);
        self.is_in_form() && signed_for_space(chain, space, &self.frame, &message, &self.signature)
    }
}

/// States that the space's servers have this key, which follows those `before` (the newest of which are named), with the leaf that
/// was set aside for it ([`SignOpts::leaf`]).
///
/// # Errors
/// [`KeystoneError`]; nothing is signed then. [`KeystoneError::NoPool`] when it is no keystone of a space,
/// [`KeystoneError::Config`] when what is to be signed is no succession.
pub fn succeed(
    chain: &Chain,
    secret: &Secret,
    key: &str,
    before: &[String],
    number: u64,
    opts: &SignOpts,
) -> Result<Succession, KeystoneError> {
    let before = before[before.len().saturating_sub(KEYS_BEFORE_MAX)..].to_vec();
    let frame = chain.tip().addr().clone();
    let mut made = Succession { frame, key: key.to_owned(), before, number, signature: String::new() };
    if !made.is_in_form() {
        return Err(KeystoneError::Config("no key that follows others".to_owned()));
    }
    made.signature =
        sign_for_space(chain, secret, opts, |space| message(space, &made.frame, key, &made.before, number))?;
    Ok(made)
}

fn is_key(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:");
    digits.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn message(space: &str, frame: &Addr, key: &str, before: &[String], number: u64) -> Vec<u8> {
    let whole = object([
        ("before", strings(before.iter().map(String::as_str))),
        ("frame", frame.into()),
        ("key", key.into()),
        ("number", Value::integer(number)),
        ("space", space.into()),
    ]);
    [SUCCESSION, &canonical_text(&whole)].concat().into_bytes()
}
