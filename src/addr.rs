//! Addresses: `ib^gib`, and the grammar of a gib.
//!
//! A gib is `gib` (a *primitive*, no integrity claimed), `HASH`, or `HASH.TJPGIB` where `TJPGIB` is the gib of the
//! timeline's first frame. HASH is 32 or 64 uppercase hex digits.

use crate::json::Value;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// The gib of a primitive.
pub const GIB: &str = "gib";

/// Bytes that an address may have: lists, messages and keys hold many of them.
pub const ADDR_BYTES_MAX: usize = 4 * 1024;

/// A strict address: parsed at the door, cheap to clone, ordered by its text.
#[derive(Clone)]
pub struct Addr {
    text: Arc<str>,
    /// Of the text, under a key of this process: sets and maps of addresses are what a sync does most of its looking up in.
    digest: u32,
    /// Where the `^` stands.
    at: u16,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddrError {
    /// It is longer than [`ADDR_BYTES_MAX`].
    #[error("an address of {0} bytes; {max} is the limit", max = ADDR_BYTES_MAX)]
    TooLong(usize),
    /// There is no `^`, or more than one.
    #[error("address {0:?} must have exactly one '^'")]
    Delimiter(String),
    /// The part before `^` is empty.
    #[error("address {0:?} has an empty ib")]
    EmptyIb(String),
    /// The part after `^` is not a gib.
    #[error(
        "{0:?} is not a gib: expected \"gib\" or 32 or 64 uppercase hex digits, perhaps '.' and the timeline's gib"
    )]
    Gib(String),
}

impl Addr {
    /// Joins two parts.
    ///
    /// # Errors
    /// As [`Addr::from_str`].
    pub fn new(ib: &str, gib: &str) -> Result<Self, AddrError> {
        format!("{ib}^{gib}").parse()
    }

    /// The address that a text is, which was found to be one before: relations of a node are checked along with it.
    pub(crate) fn checked_before(text: &str) -> Self {
        debug_assert!(Self::check(text).is_ok(), "{text:?} was not checked");
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let digest = KEY.get_or_init(RandomState::new).hash_one(text) as u32;
        // A strict address is no longer than a number of this size tells, and has one.
        let at = text.bytes().position(|b| b == b'^').unwrap_or_default() as u16;
        Self { text: text.into(), digest, at }
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before `^`.
    pub fn ib(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The part after `^`.
    pub fn gib(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }

    /// The hash a gib begins with: what binds ib, data and rel8ns of this one node. `gib` for a primitive.
    pub fn hash(&self) -> &str {
        let gib = self.gib();
        gib.split_once('.').map_or(gib, |p| p.0)
    }

    /// The gib of the timeline's first frame, when the address carries it.
    pub fn tjp_gib(&self) -> Option<&str> {
        self.gib().split_once('.').map(|p| p.1)
    }

    /// Whether this is a primitive: never stored, never followed.
    pub fn is_primitive(&self) -> bool {
        self.gib() == GIB
    }

    /// The 32 bytes of a 64-digit hash: the key under which a space keeps the node. `None` for primitives and
    /// 32-digit hashes, which no node of ours has.
    pub fn key(&self) -> Option<[u8; 32]> {
        let mut key = [0; 32];
        const_hex::decode_to_slice(self.hash(), &mut key).ok().map(|()| key)
    }
}

/// Whether `gib` follows the strict grammar.
pub fn is_gib(gib: &str) -> bool {
    // `HASH.gib` is in the grammar, `gib.HASH` is not.
    let (first, rest) = gib.split_once('.').map_or((gib, None), |(a, b)| (a, Some(b)));
    match rest {
        None => first == GIB || is_hash(first),
        Some(rest) => is_hash(first) && is_gib(rest),
    }
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 32 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
}

impl Addr {
    /// Whether a text is an address, and why not.
    ///
    /// # Errors
    /// As [`Addr::from_str`].
    pub(crate) fn check(text: &str) -> Result<(), AddrError> {
        if text.len() > ADDR_BYTES_MAX {
            return Err(AddrError::TooLong(text.len()));
        }
        let mut parts = text.split('^');
        let (Some(ib), Some(gib), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(AddrError::Delimiter(text.to_owned()));
        };
        if ib.is_empty() {
            return Err(AddrError::EmptyIb(text.to_owned()));
        }
        // Dots nest as deep as a text is long; a chain of more than 8 timelines' timelines is nobody's data.
        if gib.split('.').count() > 8 || !is_gib(gib) {
            return Err(AddrError::Gib(gib.to_owned()));
        }
        Ok(())
    }
}

impl FromStr for Addr {
    type Err = AddrError;
    fn from_str(text: &str) -> Result<Self, AddrError> {
        Self::check(text).map(|()| Self::checked_before(text))
    }
}

impl PartialEq for Addr {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.text == other.text
    }
}

impl Eq for Addr {}

impl PartialOrd for Addr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Addr {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Addr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.digest);
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addr({:?})", &*self.text)
    }
}

impl From<&Addr> for Value {
    fn from(addr: &Addr) -> Self {
        Self::String(addr.text.to_string())
    }
}

impl From<Addr> for Value {
    fn from(addr: Addr) -> Self {
        Self::from(&addr)
    }
}
