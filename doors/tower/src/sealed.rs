//! Locators and sealed answers, in the bytes of both generations of the protocol.
//!
//! A user seals the transaction that answers a breach under the id of the very transaction that would be the breach, and
//! gives the tower half of that id as *locator*. The tower recognises the breach when it appears, and can open the answer
//! only then.

use crate::transaction::{NotATransaction, Transaction, Txid};
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Which generation of the protocol a user speaks. They differ in the order of an id's bytes, in receipts and in
/// answers; a user stays with the one that he registered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dialect {
    /// rust-teos: an id's bytes as they are hashed.
    #[default]
    Rust,
    /// python-teos: an id's bytes as they are written.
    Python,
}

impl Dialect {
    fn bytes(self, txid: &Txid) -> [u8; 32] {
        match self {
            Self::Rust => *txid.internal(),
            Self::Python => txid.display(),
        }
    }
}

/// Half of a transaction's id: 16 bytes, in hex as the dialect has them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator([u8; 16]);

impl Locator {
    pub(crate) const FIRST: Self = Self([0; 16]);
    pub(crate) const LAST: Self = Self([0xff; 16]);

    /// The locator of a transaction.
    pub fn of(txid: &Txid, dialect: Dialect) -> Self {
        let bytes = dialect.bytes(txid);
        Self(std::array::from_fn(|at| bytes[at]))
    }

    /// From its bytes, in the order in which its hex says them.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locator({self})")
    }
}

/// A text that is no locator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a locator is 32 hex digits")]
pub struct NoLocator;

impl FromStr for Locator {
    type Err = NoLocator;

    fn from_str(text: &str) -> Result<Self, NoLocator> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NoLocator)?;
        Ok(Self(bytes))
    }
}

/// Why a sealed answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAnswer {
    /// It was sealed under another id, or changed.
    #[error("the answer does not open under this transaction's id")]
    DoesNotOpen,
    /// What is inside is no transaction.
    #[error("the answer is no transaction")]
    NotATransaction,
}

impl From<NotATransaction> for BadAnswer {
    fn from(_: NotATransaction) -> Self {
        Self::NotATransaction
    }
}

fn cipher(trigger: &Txid, dialect: Dialect) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&Sha256::digest(dialect.bytes(trigger)))
}

/// Seals an answer under the id of its trigger: ChaCha20-Poly1305 (RFC 8439) with a nonce of zeros, which the protocol
/// fixes. Two different answers sealed under one id tell their difference to whoever has both and the id.
pub fn seal(answer: &[u8], trigger: &Txid, dialect: Dialect) -> Vec<u8> {
    cipher(trigger, dialect).encrypt(&Nonce::default(), answer).expect("memory is all that sealing needs")
}

/// Opens a sealed answer once its trigger is known.
///
/// # Errors
/// [`BadAnswer`].
pub fn open(sealed: &[u8], trigger: &Txid, dialect: Dialect) -> Result<Transaction, BadAnswer> {
    let raw = cipher(trigger, dialect).decrypt(&Nonce::default(), sealed).map_err(|_| BadAnswer::DoesNotOpen)?;
    Ok(Transaction::parse(raw)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = include_str!("../tests/transaction.hex");
    const ID: &str = "d6ac4a5e61657c4c604dcde855a1db74ec6b3e54f32695d72c5e11c7761ea1b4";
    /// The transaction, sealed under that id by rust-teos.
    const SEALED: &str = include_str!("../tests/sealed.hex");

    #[test]
    fn a_sealed_answer_is_that_of_the_original() {
        let (raw, sealed, id) =
            (hex::decode(RAW.trim()).unwrap(), hex::decode(SEALED.trim()).unwrap(), ID.parse().unwrap());
        assert_eq!(seal(&raw, &id, Dialect::Rust), sealed);
        let opened = open(&sealed, &id, Dialect::Rust).unwrap();
        assert_eq!(opened.raw(), raw.as_slice());
        assert_eq!(open(&sealed, &id, Dialect::Python), Err(BadAnswer::DoesNotOpen));
        let noise = seal(b"no transaction", &id, Dialect::Python);
        assert_eq!(open(&noise, &id, Dialect::Python), Err(BadAnswer::NotATransaction));
    }

    #[test]
    fn locators_are_halves_of_ids() {
        let id = ID.parse().unwrap();
        assert_eq!(Locator::of(&id, Dialect::Python).to_string(), &ID[..32]);
        assert_eq!(Locator::of(&id, Dialect::Rust).to_string(), "b4a11e76c7115e2cd79526f3543e6bec");
        assert_eq!("b4a11e76c7115e2cd79526f3543e6bec".parse(), Ok(Locator::of(&id, Dialect::Rust)));
        assert_eq!("b4".parse::<Locator>(), Err(NoLocator));
    }
}
