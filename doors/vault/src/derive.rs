//! What a root password turns into: scrypt (RFC 7914) on both sides, HMAC-SHA256 over a wallet.
//!
//! The root password never leaves the device. From it and the account's *salt seed* the client derives 64 bytes: one half
//! is the password that the server gets, the other the key with which clients prove to each other that a wallet and its
//! sequence belong together. The server derives once more before it stores anything, so that a stolen store opens
//! nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use scrypt::{Params, scrypt};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// log2 of scrypt's cost on the client: N = 2^20, about 1 GiB of memory and some seconds.
const CLIENT_LOG_N: u8 = 20;
/// log2 of scrypt's cost on the server: N = 2^15, 32 MiB.
const SERVER_LOG_N: u8 = 15;
/// Bytes of memory that one derivation of the server takes: 128 · r · N.
pub const SERVER_DERIVATION_BYTES: usize = (128 * 8) << SERVER_LOG_N;

/// 32 random bytes in lowercase hex that an account's keys start from; anyone may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaltSeed(String);

impl SaltSeed {
    /// Takes 64 hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }

    /// A seed from 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// scrypt's salt for an account: the first 32 digits of the SHA-256 of e-mail, colon, seed, used as text.
    fn salt(&self, email: &str) -> String {
        let mut digits = hex::encode(Sha256::digest(format!("{email}:{}", self.0)));
        digits.truncate(32);
        digits
    }
}

/// What a client derives from its root password.
pub struct ClientKeys {
    /// The password that the server gets: base64 of 32 bytes.
    pub server_password: Zeroizing<String>,
    hmac_key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKeys(…)")
    }
}

impl ClientKeys {
    /// Derives with the protocol's cost: seconds of work and about 1 GiB of memory. The e-mail address is taken as
    /// typed.
    pub fn derive(root_password: &str, email: &str, seed: &SaltSeed) -> Self {
        Self::with_cost(root_password, email, seed, CLIENT_LOG_N)
    }

    fn with_cost(root_password: &str, email: &str, seed: &SaltSeed, log_n: u8) -> Self {
        let params = Params::new(log_n, 8, 1).expect("scrypt takes this cost");
        let mut out = Zeroizing::new([0; 64]);
        scrypt(root_password.as_bytes(), seed.salt(email).as_bytes(), &params, &mut *out)
            .expect("scrypt gives 64 bytes");
        let (password, key) = out.split_at(32);
        let mut hmac_key = Zeroizing::new([0; 32]);
        hmac_key.copy_from_slice(key);
        Self { server_password: Zeroizing::new(BASE64_STANDARD.encode(password)), hmac_key }
    }

    /// The HMAC that goes with a wallet, in lowercase hex.
    pub fn hmac(&self, sequence: u64, encrypted_wallet: &str) -> String {
        hex::encode(self.mac(sequence, encrypted_wallet))
    }

    /// Whether a wallet and its sequence are what another device with the same root password put there.
    pub fn verify(&self, sequence: u64, encrypted_wallet: &str, hmac: &str) -> bool {
        self.hmac(sequence, encrypted_wallet).as_bytes().ct_eq(hmac.as_bytes()).into()
    }

    fn mac(&self, sequence: u64, encrypted_wallet: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.hmac_key).expect("HMAC takes keys of any length");
        mac.update(format!("{sequence}:{encrypted_wallet}").as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The HMAC's key, to be kept by the device (encrypted).
    pub fn hmac_key(&self) -> &[u8; 32] {
        &self.hmac_key
    }

    /// The keys as a device kept them.
    pub fn from_parts(server_password: Zeroizing<String>, hmac_key: Zeroizing<[u8; 32]>) -> Self {
        Self { server_password, hmac_key }
    }
}

/// A password as the server keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredPassword {
    key: String,
    salt: String,
}

impl StoredPassword {
    /// Derives what is stored, under 16 random bytes of salt. Takes some 0.1 s and [`SERVER_DERIVATION_BYTES`] of
    /// memory: for a bounded pool of workers.
    pub fn derive(password: &str, salt: [u8; 16]) -> Self {
        Self { key: hex::encode(*server_key(password, &salt)), salt: hex::encode(salt) }
    }

    /// Whether the password is the stored one; costs as much as [`StoredPassword::derive`].
    pub fn is(&self, password: &str) -> bool {
        let salt = hex::decode(&self.salt).unwrap_or_default();
        hex::encode(*server_key(password, &salt)).as_bytes().ct_eq(self.key.as_bytes()).into()
    }

    /// One that no password is equal to, for accounts that do not exist: asking for them takes as long.
    pub fn of_nobody() -> Self {
        Self { key: String::new(), salt: hex::encode([0; 16]) }
    }
}

fn server_key(password: &str, salt: &[u8]) -> Zeroizing<[u8; 32]> {
    let params = Params::new(SERVER_LOG_N, 8, 1).expect("scrypt takes this cost");
    let mut out = Zeroizing::new([0; 32]);
    scrypt(password.as_bytes(), salt, &params, &mut *out).expect("scrypt gives 32 bytes");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> SaltSeed {
        SaltSeed::parse("8a77dcb8b2854c2fecabbde74a721fde5e326164f2cf1a7f6810d0e1f340d043").unwrap()
    }

    /// Vectors made with the original client.
    #[test]
    fn keys_are_those_of_the_original() {
        assert_eq!(seed().salt("joe@example.com"), "a7f84158a197427388994f21b6537a99");
        let keys = ClientKeys::derive("123abc2", "joe@example.com", &seed());
        assert_eq!(*keys.server_password, "7cbfEvVpdrN21NI+QVkNIAghxwmVeIt8mBv9pq11MVI=");
        assert_eq!(hex::encode(keys.hmac_key()), "0292dcc1bd70fa8603d0690e1b5dd04b5e28ab762366273b6f9b884d7735669e");
        let hmac = "2921a7057583ef816a5b941f5cabfd869780306fb809b04f7e164e6630370362";
        assert_eq!(keys.hmac(1, "abc"), hmac);
        assert!(keys.verify(1, "abc", hmac));
        assert!(!keys.verify(2, "abc", hmac) && !keys.verify(1, "abd", hmac) && !keys.verify(1, "abc", ""));
    }

    #[test]
    fn a_stored_password_is_found_again() {
        let stored = StoredPassword::derive("derived", [7; 16]);
        assert!(stored.is("derived"));
        assert!(!stored.is("Derived"));
        assert!(!StoredPassword::of_nobody().is(""));
        assert_ne!(stored, StoredPassword::derive("derived", [8; 16]));
    }

    #[test]
    fn seeds_are_64_hex_digits() {
        assert_eq!(SaltSeed::parse(seed().as_str()), Some(seed()));
        for bad in ["", "8a", &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(SaltSeed::parse(bad), None);
        }
    }
}
