//! Secrets and randomness, as the caller passes them.

use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Randomness from the caller: the operating system's in programs, a seeded one in tests.
pub trait Entropy {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// `count` of `items` at random, or all when there are fewer; the rest stays.
pub(crate) fn choose(items: &mut Vec<String>, count: usize, entropy: &mut dyn Entropy) -> Vec<String> {
    let mut out = Vec::new();
    while out.len() < count && !items.is_empty() {
        // Values above the largest multiple would make some items likelier than others.
        let n = items.len() as u64;
        let limit = u64::MAX - u64::MAX % n;
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let value = u64::from_le_bytes(bytes);
        if value < limit {
            out.push(items.remove((value % n) as usize));
        }
    }
    out
}

/// A master secret. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for deriving from them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The master secret of a session identity: lowercase hex of 32 bytes of HKDF-SHA256 (RFC 5869) with the sender's
/// secret as input, the salt from the session's genesis, and info `ibgib session v1` ‖ session id.
pub fn session_secret(sender: &Secret, salt: &[u8; 32], session_id: &str) -> Secret {
    let hkdf = Hkdf::<Sha256>::new(Some(salt), sender.as_bytes());
    let mut out = Zeroizing::new([0u8; 32]);
    let info = [b"ibgib session v1".as_slice(), session_id.as_bytes()].concat();
    hkdf.expand(&info, &mut *out).expect("32 bytes are less than the 255 hashes that HKDF can give");
    Secret::new(hex::encode(*out).into_bytes())
}
