//! The encrypted wallet, as the original packs it: base64 of `s:8192:16:1:`, a random block, and AES-256-CBC over
//! zlib-compressed JSON, under scrypt of the root password.
//!
//! Nothing inside proves that a blob was not changed; the HMAC beside it does ([`crate::derive::ClientKeys::verify`]).

use aes::Aes256;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use scrypt::{Params, scrypt};
use std::io::Read as _;
use zeroize::Zeroizing;

/// Bytes of JSON that a blob may unpack to.
pub const UNPACKED_BYTES_MAX: u64 = 16 * 1024 * 1024;
const BLOCK: usize = 16;

/// Why a blob does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// It is no blob: not base64, another header, too short.
    #[error("this is no encrypted wallet")]
    NotABlob,
    /// scrypt's cost in the header is more than is taken.
    #[error("the encrypted wallet asks for more work than is done for it")]
    TooDear,
    /// The password is another, or the blob was changed.
    #[error("the password does not open the encrypted wallet")]
    WrongPassword,
    /// It opens, but to no wallet.
    #[error("the encrypted wallet is damaged")]
    Damaged,
}

/// scrypt's cost for a new blob.
const COST: (u64, u32, u32) = (8_192, 16, 1);
/// Bytes of memory that scrypt may take for a blob that somebody sent.
const MEMORY_MAX: u64 = 256 * 1024 * 1024;

fn key(password: &str, iv: &[u8], (n, r, p): (u64, u32, u32)) -> Result<Zeroizing<[u8; 32]>, BlobError> {
    if !n.is_power_of_two() || r == 0 || p != 1 || n.saturating_mul(u64::from(r)).saturating_mul(128) > MEMORY_MAX {
        return Err(BlobError::TooDear);
    }
    let params = Params::new(n.ilog2() as u8, r, p).map_err(|_| BlobError::TooDear)?;
    let mut out = Zeroizing::new([0; 32]);
    scrypt(password.as_bytes(), iv, &params, &mut *out).expect("scrypt gives 32 bytes");
    Ok(out)
}

/// Encrypts a wallet's JSON under the root password and a random block that was never used before.
pub fn seal(json: &str, password: &str, iv: [u8; BLOCK]) -> String {
    let mut packed = Zeroizing::new(Vec::new());
    ZlibEncoder::new(json.as_bytes(), Compression::default())
        .read_to_end(&mut packed)
        .expect("memory is all that packing needs");
    seal_packed(&packed, password, iv)
}

fn seal_packed(packed: &[u8], password: &str, iv: [u8; BLOCK]) -> String {
    let key = key(password, &iv, COST).expect("our own cost is within the limit");
    let sealed = cbc::Encryptor::<Aes256>::new(&(*key).into(), &iv.into()).encrypt_padded_vec::<Pkcs7>(packed);
    let (n, r, p) = COST;
    BASE64_STANDARD.encode([format!("s:{n}:{r}:{p}:").as_bytes(), &iv, &sealed].concat())
}

/// Opens a blob and gives the wallet's JSON.
///
/// # Errors
/// [`BlobError`]. Nothing in a blob tells a wrong password from damage for certain. One in some hundred wrong passwords
/// passes the padding; what it gives does not begin as zlib does, but for one in a hundred thousand again.
pub fn open(blob: &str, password: &str) -> Result<Zeroizing<String>, BlobError> {
    let packed = open_packed(blob, password)?;
    if !begins_as_zlib(&packed) {
        return Err(BlobError::WrongPassword);
    }
    let mut json = Zeroizing::new(String::new());
    let read = ZlibDecoder::new(packed.as_slice()).take(UNPACKED_BYTES_MAX + 1).read_to_string(&mut json);
    match read {
        Ok(_) if json.len() as u64 <= UNPACKED_BYTES_MAX => Ok(json),
        _ => Err(BlobError::Damaged),
    }
}

/// RFC 1950, section 2.2: deflate with a window of 32 KiB at most, no dictionary, and a check of both bytes.
fn begins_as_zlib(packed: &[u8]) -> bool {
    let [method, flags, ..] = *packed else { return false };
    method & 0x0f == 8
        && method >> 4 <= 7
        && flags & 0x20 == 0
        && u16::from_be_bytes([method, flags]).is_multiple_of(31)
}

fn open_packed(blob: &str, password: &str) -> Result<Zeroizing<Vec<u8>>, BlobError> {
    let bytes = BASE64_STANDARD.decode(blob.trim()).map_err(|_| BlobError::NotABlob)?;
    // Header, then bytes of any kind: the header ends at the fourth colon.
    let mut colons = bytes.iter().enumerate().filter(|(_, b)| **b == b':').map(|(at, _)| at);
    let end = colons.nth(3).filter(|end| *end <= 40).ok_or(BlobError::NotABlob)?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| BlobError::NotABlob)?;
    let parts: Vec<&str> = header.split(':').collect();
    let ["s", n, r, p] = parts.as_slice() else { return Err(BlobError::NotABlob) };
    let (Ok(n), Ok(r), Ok(p)) = (n.parse(), r.parse(), p.parse()) else { return Err(BlobError::NotABlob) };
    let (iv, sealed) = bytes[end + 1..].split_first_chunk::<BLOCK>().ok_or(BlobError::NotABlob)?;
    if sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK) {
        return Err(BlobError::NotABlob);
    }
    let key = key(password, iv, (n, r, p))?;
    let opened = cbc::Decryptor::<Aes256>::new(&(*key).into(), &(*iv).into()).decrypt_padded_vec::<Pkcs7>(sealed);
    opened.map(Zeroizing::new).map_err(|_| BlobError::WrongPassword)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_that_of_the_original() {
        let iv = std::array::from_fn(|at| at as u8);
        let blob = "czo4MTkyOjE2OjE6AAECAwQFBgcICQoLDA0OD9L1QNqQBuBDuV7mgPb12bA=";
        assert_eq!(seal_packed(b"hello wallet", "123abc2", iv), blob);
        assert_eq!(*open_packed(blob, "123abc2").unwrap(), b"hello wallet");
    }

    #[test]
    fn what_is_sealed_opens_with_its_password_only() {
        let blob = seal(r#"{"a":1}"#, "one", [3; 16]);
        assert_eq!(*open(&blob, "one").unwrap(), r#"{"a":1}"#);
        assert_eq!(open(&blob, "two").unwrap_err(), BlobError::WrongPassword);
        // What passes the padding by chance is no zlib; what is, and does not unpack, was damaged.
        for (packed, why) in [
            (b"".as_slice(), BlobError::WrongPassword),
            (b"x", BlobError::WrongPassword),
            (b"any bytes", BlobError::WrongPassword),
            (b"x\x9cany bytes", BlobError::Damaged),
            (b"x\x9c", BlobError::Damaged),
        ] {
            assert_eq!(open(&seal_packed(packed, "one", [3; 16]), "one").unwrap_err(), why, "{packed:?}");
        }
        let bytes = BASE64_STANDARD.decode(&blob).unwrap();
        for bad in ["", "AAAA", "not base64!", &BASE64_STANDARD.encode(&bytes[..20])] {
            assert_eq!(open(bad, "one").unwrap_err(), BlobError::NotABlob);
        }
        let dear = BASE64_STANDARD.encode([b"s:1073741824:16:1:".as_slice(), &[0; 32]].concat());
        assert_eq!(open(&dear, "one").unwrap_err(), BlobError::TooDear);
        let odd = BASE64_STANDARD.encode([b"s:8191:16:1:".as_slice(), &[0; 32]].concat());
        assert_eq!(open(&odd, "one").unwrap_err(), BlobError::TooDear);
    }
}
