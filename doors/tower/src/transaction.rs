//! As much of a Bitcoin transaction as a tower has to know: whether some bytes are one, and its id.

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// The id of a transaction: 32 bytes. People and RPC write them in hex, last byte first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Txid([u8; 32]);

impl Txid {
    /// From the bytes as they are hashed (not as they are written).
    pub fn from_internal(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes as they are hashed.
    pub fn internal(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes as they are written.
    pub fn display(&self) -> [u8; 32] {
        let mut bytes = self.0;
        bytes.reverse();
        bytes
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.display()))
    }
}

impl fmt::Debug for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Txid({self})")
    }
}

/// A text that is no transaction id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a transaction id is 64 hex digits")]
pub struct NoTxid;

impl FromStr for Txid {
    type Err = NoTxid;

    fn from_str(text: &str) -> Result<Self, NoTxid> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NoTxid)?;
        bytes.reverse();
        Ok(Self(bytes))
    }
}

/// Bytes that are no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no transaction")]
pub struct NotATransaction;

/// A transaction as it travels, with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    raw: Vec<u8>,
    txid: Txid,
}

/// Reads a transaction's bytes from the front.
struct Reader<'a> {
    rest: &'a [u8],
    /// What the id is the hash of: everything but marker, flag and witnesses.
    hashed: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], NotATransaction> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(NotATransaction)?;
        self.rest = rest;
        Ok(taken)
    }

    fn hash(&mut self, n: usize) -> Result<&'a [u8], NotATransaction> {
        let taken = self.take(n)?;
        self.hashed.extend_from_slice(taken);
        Ok(taken)
    }

    /// A number in Bitcoin's variable length; the longer forms only where the shorter do not reach.
    fn number(&mut self, is_hashed: bool) -> Result<usize, NotATransaction> {
        let start = self.rest;
        let first = self.take(1)?[0];
        let (length, least) = match first {
            0xfd => (2, 0xfd),
            0xfe => (4, 0x1_0000),
            0xff => (8, 0x1_0000_0000),
            _ => (0, 0),
        };
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(self.take(length)?);
        let number = if length == 0 { u64::from(first) } else { u64::from_le_bytes(bytes) };
        if number < least {
            return Err(NotATransaction);
        }
        if is_hashed {
            self.hashed.extend_from_slice(&start[..=length]);
        }
        // What is longer than what is there fails where it is read.
        usize::try_from(number).map_err(|_| NotATransaction)
    }

    fn script(&mut self) -> Result<(), NotATransaction> {
        let length = self.number(true)?;
        self.hash(length).map(drop)
    }
}

impl Transaction {
    /// Reads a whole transaction, with or without witnesses; nothing may follow it.
    ///
    /// # Errors
    /// [`NotATransaction`].
    pub fn parse(raw: Vec<u8>) -> Result<Self, NotATransaction> {
        let mut reader = Reader { rest: &raw, hashed: Vec::with_capacity(raw.len()) };
        reader.hash(4)?;
        // Marker 0 and flag 1 stand where the number of inputs would; a transaction without inputs is none.
        let has_witness = reader.rest.first() == Some(&0);
        if has_witness && reader.take(2)? != [0, 1] {
            return Err(NotATransaction);
        }
        let inputs = reader.number(true)?;
        if inputs == 0 {
            return Err(NotATransaction);
        }
        for _ in 0..inputs {
            reader.hash(36)?;
            reader.script()?;
            reader.hash(4)?;
        }
        let outputs = reader.number(true)?;
        for _ in 0..outputs {
            reader.hash(8)?;
            reader.script()?;
        }
        if has_witness {
            let mut items = 0;
            for _ in 0..inputs {
                let count = reader.number(false)?;
                items += count;
                for _ in 0..count {
                    let length = reader.number(false)?;
                    reader.take(length)?;
                }
            }
            // A flag with nothing behind it is refused by the network, too.
            if items == 0 {
                return Err(NotATransaction);
            }
        }
        reader.hash(4)?;
        if !reader.rest.is_empty() {
            return Err(NotATransaction);
        }
        let txid = Txid(Sha256::digest(Sha256::digest(&reader.hashed)).into());
        Ok(Self { raw, txid })
    }

    /// Its id.
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// Its bytes, as they go to the network.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A coinbase with witness, whose id is known.
    const RAW: &str = include_str!("../tests/transaction.hex");
    const ID: &str = "3e9d344993b210915c41e693df0bbf48af7a88f2f7011ad4e0264a3c69da8b33";

    #[test]
    fn ids_are_those_of_the_network() {
        let transaction = Transaction::parse(hex::decode(RAW.trim()).unwrap()).unwrap();
        assert_eq!(transaction.txid().to_string(), ID);
        assert_eq!(ID.parse(), Ok(transaction.txid()));
        // The first transaction that anybody paid with: no witness.
        let first = "0100000001c997a5e56e104102fa209c6a852dd90660a20b2d9c352423edce25857fcd3704000000004847304402204e45e16932b8af514961a1d3a1a25fdf3f4f7732e9d624c6c61548ab5fb8cd410220181522ec8eca07de4860a4acdd12909d831cc56cbbac4622082221a8768d1d0901ffffffff0200ca9a3b00000000434104ae1a62fe09c5f51b13905f07f06b99a2f7159b2225f374cd378d71302fa28414e7aab37397f554a7df5f142c21c1b7303b8a0626f1baded5c72a704f7e6cd84cac00286bee0000000043410411db93e1dcdb8a016b49840f8c53bc1eb68a382e97b1482ecad7b148a6909a5cb2e0eaddfb84ccf9744464f82e160bfa9b8b64f9d4c03f999b8643f656b412a3ac00000000";
        let first = Transaction::parse(hex::decode(first).unwrap()).unwrap();
        assert_eq!(first.txid().to_string(), "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16");
    }

    #[test]
    fn anything_else_is_none() {
        let raw = hex::decode(RAW.trim()).unwrap();
        for end in 0..raw.len() {
            assert_eq!(Transaction::parse(raw[..end].to_vec()), Err(NotATransaction), "{end}");
        }
        assert_eq!(Transaction::parse([raw.as_slice(), &[0]].concat()), Err(NotATransaction));
        // A script that claims to be longer than memory.
        let mut long = raw[..43].to_vec();
        long.extend([0xff; 9]);
        assert_eq!(Transaction::parse(long), Err(NotATransaction));
        for bad in ["", "d6", &"g".repeat(64)] {
            assert_eq!(bad.parse::<Txid>(), Err(NoTxid));
        }
    }
}
