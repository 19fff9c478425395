//! Signed messages as Lightning nodes make them, and what users and towers sign.
//!
//! A signature is secp256k1 ECDSA over the double SHA-256 of `Lightning Signed Message:` and the message, written as 104
//! letters of zbase32: one byte that tells which of the possible keys signed, then r and s. Who signed is found from the
//! signature, so requests carry no user id.

use crate::sealed::{Dialect, Locator};
use data_encoding::{Encoding, Specification};
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// What stands before every message.
const PREFIX: &[u8] = b"Lightning Signed Message:";
/// Added to the recovery id: 27 for a compact signature, 4 for a compressed key.
const HEADER: u8 = 31;

static ZBASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("ybndrfg8ejkmcpqxot1uwisza345h769");
    // Capitals are read, as Lightning nodes read them.
    specification.translate.from.push_str("ABCDEFGHIJKMNOPQRSTUWXYZ");
    specification.translate.to.push_str("abcdefghijkmnopqrstuwxyz");
    specification.encoding().expect("32 letters, all different")
});

/// A user or a tower: a public key in compressed form, 66 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId([u8; 33]);

impl UserId {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    fn of(key: &VerifyingKey) -> Self {
        let point = key.to_sec1_point(true);
        let bytes = point.as_bytes();
        Self(std::array::from_fn(|at| bytes[at]))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({self})")
    }
}

/// A text that is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user id is a compressed public key in 66 hex digits")]
pub struct NoUserId;

impl FromStr for UserId {
    type Err = NoUserId;

    fn from_str(text: &str) -> Result<Self, NoUserId> {
        let mut bytes = [0; 33];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NoUserId)?;
        // Two signs of a compressed point; the library knows more forms of 33 bytes.
        if !matches!(bytes[0], 2 | 3) || VerifyingKey::from_sec1_bytes(&bytes).is_err() {
            return Err(NoUserId);
        }
        Ok(Self(bytes))
    }
}

/// The secret key of a tower or a user.
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl SecretKey {
    /// Takes 32 random bytes; `None` for the few that are no key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(Self)
    }

    /// The bytes, to be kept where only their owner can read.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// Who signs with it.
    pub fn id(&self) -> UserId {
        UserId::of(self.0.verifying_key())
    }

    /// Signs a message: 104 letters. The same message gives the same signature (RFC 6979).
    pub fn sign(&self, message: &[u8]) -> String {
        let (signature, recovery) = self.0.sign_prehash_recoverable(&digest(message));
        let mut bytes = vec![HEADER + recovery.to_byte()];
        bytes.extend_from_slice(&signature.to_bytes());
        ZBASE32.encode(&bytes)
    }
}

fn digest(message: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::new().chain_update(PREFIX).chain_update(message).finalize()).into()
}

/// Who signed a message; `None` for what is no signature.
pub fn signer(message: &[u8], signature: &str) -> Option<UserId> {
    let bytes = ZBASE32.decode(signature.as_bytes()).ok()?;
    let (header, rest) = bytes.split_first()?;
    let recovery = RecoveryId::from_byte(header.checked_sub(HEADER)?)?;
    let signature = Signature::from_slice(rest).ok()?;
    VerifyingKey::recover_from_prehash(&digest(message), &signature, recovery).ok().as_ref().map(UserId::of)
}

/// What a user signs when he hands over an appointment.
pub fn appointment_message(locator: &Locator, sealed: &[u8], to_self_delay: u32) -> Vec<u8> {
    [locator.as_bytes().as_slice(), sealed, &to_self_delay.to_be_bytes()].concat()
}

/// What a user signs to see an appointment of his.
pub fn get_appointment_message(locator: &Locator) -> Vec<u8> {
    format!("get appointment {locator}").into_bytes()
}

/// What a user signs to see his subscription.
pub const GET_SUBSCRIPTION_INFO_MESSAGE: &[u8] = b"get subscription info";

/// What a tower signs when somebody registers: slots and expiry; between them, in the Rust dialect, the start.
pub fn registration_receipt(user: &UserId, slots: u32, start: u32, expiry: u32, dialect: Dialect) -> Vec<u8> {
    let start = start.to_be_bytes();
    let start = if dialect == Dialect::Rust { start.as_slice() } else { &[] };
    [user.as_bytes().as_slice(), &slots.to_be_bytes(), start, &expiry.to_be_bytes()].concat()
}

/// What a tower signs when it accepts an appointment: the user's signature (its letters in the Rust dialect, its bytes
/// in the Python one) and the block from which it watches. `None` for what is no signature.
pub fn appointment_receipt(user_signature: &str, start_block: u32, dialect: Dialect) -> Option<Vec<u8>> {
    let signature = match dialect {
        Dialect::Rust => user_signature.as_bytes().to_vec(),
        Dialect::Python => ZBASE32.decode(user_signature.as_bytes()).ok()?,
    };
    Some([signature.as_slice(), &start_block.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> SecretKey {
        let mut bytes = [0; 32];
        bytes[31] = byte;
        SecretKey::from_bytes(&bytes).unwrap()
    }

    /// Signatures that Lightning implementations publish as examples of the format.
    #[test]
    fn signatures_are_those_of_lightning_nodes() {
        assert_eq!(
            key(1).sign(b"test message"),
            "d9tibmnic9t5y41hg7hkakdcra94akas9ku3rmmj4ag9mritc8ok4p5qzefs78c9pqfhpuftqqzhydbdwfg7u6w6wdxcqpqn4sj4e73e"
        );
        let by_others = [
            (
                "@bitconner",
                "is this compatible?",
                "rbgfioj114mh48d8egqx8o9qxqw4fmhe8jbeeabdioxnjk8z3t1ma1hu1fiswpakgucwwzwo6ofycffbsqusqdimugbh41n1g698hr9t",
                "02b80cabdf82638aac86948e4c06e82064f547768dcef977677b9ea931ea75bab5",
            ),
            (
                "@duck1123",
                "hi",
                "rnrphcjswusbacjnmmmrynh9pqip7sy5cx695h6mfu64iac6qmcmsd8xnsyczwmpqp9shqkth3h4jmkgyqu5z47jfn1q7gpxtaqpx4xg",
                "02de60d194e1ca5947b59fe8e2efd6aadeabfb67f2e89e13ae1a799c1e08e4a43b",
            ),
        ];
        for (who, message, signature, id) in by_others {
            for signature in [signature, &signature.to_uppercase()] {
                assert_eq!(
                    signer(message.as_bytes(), signature).map(|id| id.to_string()).as_deref(),
                    Some(id),
                    "{who}"
                );
            }
        }
    }

    #[test]
    fn receipts_have_the_bytes_of_their_dialect() {
        let (user, signature) = (key(2).id(), key(2).sign(b"x"));
        assert_eq!(registration_receipt(&user, 1, 2, 3, Dialect::Rust).len(), 33 + 12);
        assert_eq!(registration_receipt(&user, 1, 2, 3, Dialect::Python).len(), 33 + 8);
        assert_eq!(appointment_receipt(&signature, 7, Dialect::Rust).unwrap().len(), 104 + 4);
        assert_eq!(appointment_receipt(&signature, 7, Dialect::Python).unwrap().len(), 65 + 4);
        assert_eq!(appointment_receipt("no!", 7, Dialect::Python), None);
    }

    #[test]
    fn user_ids_are_points_of_the_curve() {
        let id = key(3).id();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "02", &"0".repeat(66), &format!("05{}", &id.to_string()[2..])] {
            assert_eq!(bad.parse::<UserId>(), Err(NoUserId));
        }
    }

    proptest! {
        #[test]
        fn the_signer_is_found_and_nobody_else(secret: [u8; 32], message: Vec<u8>, other: Vec<u8>) {
            let Some(secret) = SecretKey::from_bytes(&secret) else { return Ok(()) };
            let signature = secret.sign(&message);
            prop_assert_eq!(signature.len(), 104);
            prop_assert_eq!(signer(&message, &signature), Some(secret.id()));
            if other != message {
                prop_assert_ne!(signer(&other, &signature), Some(secret.id()));
            }
        }

        #[test]
        fn noise_is_no_signature(noise in ".*") {
            let _ = signer(b"message", &noise);
        }
    }
}
