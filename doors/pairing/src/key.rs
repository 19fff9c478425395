//! From a code to keys: SPAKE2 (RFC 9382's predecessor, as magic-wormhole uses it), HKDF-SHA256, NaCl secretbox.
//!
//! Both sides send one message of 33 bytes and derive the same key if, and only if, they used the same code and the
//! same application id. Whoever carries the messages learns nothing that lets him try codes on his own.

use crate::code::Code;
use crate::error::PairingError;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Key as BoxKey, Nonce, XSalsa20Poly1305};
use hkdf::Hkdf;
use ibgib_keystone::Entropy;
use sha2::{Digest as _, Sha256};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// Bytes of randomness that a key agreement starts from; with the code they are all of its state, so that it can be
/// saved and taken up again.
pub const START_BYTES: usize = 64;

/// Bytes in front of a sealed message.
const NONCE_BYTES: usize = 24;

/// A key agreement that has not heard the other side.
pub struct Pake {
    state: Spake2<Ed25519Group>,
    message: Vec<u8>,
}

impl fmt::Debug for Pake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pake(…)")
    }
}

impl Pake {
    /// Starts the agreement for a code within an application (`app_id` is text like `example.com/app`). The same
    /// three arguments give the same state; `start` is never used with another code.
    pub fn start(code: &Code, app_id: &str, start: &[u8; START_BYTES]) -> Self {
        let app_id: String = app_id.nfc().collect();
        let password = Password::new(code.password().as_bytes());
        let identity = Identity::new(app_id.as_bytes());
        let (state, message) = Spake2::start_symmetric_with_rng(&password, &identity, Once(start));
        Self { state, message }
    }

    /// What the other side needs: 33 bytes.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The key, from the other side's message. That both have the same key is known only when something sealed with
    /// it opens.
    ///
    /// # Errors
    /// [`PairingError::Reflected`] for our own message; [`PairingError::BadPeer`] for what is no such message.
    pub fn finish(self, theirs: &[u8]) -> Result<Key, PairingError> {
        if theirs == self.message {
            return Err(PairingError::Reflected);
        }
        let key = self.state.finish(theirs).map_err(|_| PairingError::BadPeer("no message of a key agreement"))?;
        Ok(Key::new(Zeroizing::new(key)))
    }
}

/// Gives the bytes that an agreement starts from to the one place that draws a random scalar.
struct Once<'a>(&'a [u8; START_BYTES]);

impl rand_core::RngCore for Once<'_> {
    fn next_u32(&mut self) -> u32 {
        unreachable!("the scalar is drawn as 64 bytes")
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("the scalar is drawn as 64 bytes")
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        out.copy_from_slice(self.0);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl rand_core::CryptoRng for Once<'_> {}

/// The key that both sides share.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// A key for one purpose; equal on both sides, and telling nothing of the others.
    ///
    /// # Panics
    /// For more than 8,160 bytes, which HKDF-SHA256 cannot give.
    pub fn derive(&self, purpose: &[u8], bytes: usize) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![0; bytes]);
        Hkdf::<Sha256>::new(None, &self.0).expand(purpose, &mut out).expect("HKDF-SHA256 gives up to 8,160 bytes");
        out
    }

    /// What two people may compare before anything secret travels: 32 bytes, equal only if nobody stands between.
    pub fn verifier(&self) -> [u8; 32] {
        let bytes = self.derive(b"wormhole:verifier", 32);
        std::array::from_fn(|at| bytes[at])
    }

    /// The key that `side` seals its message `phase` with.
    pub fn of_phase(&self, side: &str, phase: &str) -> SealKey {
        let mut purpose = b"wormhole:phase:".to_vec();
        purpose.extend(Sha256::digest(side.as_bytes()));
        purpose.extend(Sha256::digest(phase.as_bytes()));
        SealKey(self.derive(&purpose, 32))
    }
}

/// A key of NaCl's secretbox (XSalsa20-Poly1305).
pub struct SealKey(Zeroizing<Vec<u8>>);

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(…)")
    }
}

impl SealKey {
    /// Takes 32 bytes.
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        debug_assert_eq!(bytes.len(), 32, "a key of secretbox has 32 bytes");
        Self(bytes)
    }

    fn cipher(&self) -> XSalsa20Poly1305 {
        XSalsa20Poly1305::new(BoxKey::from_slice(&self.0))
    }

    /// Seals under a random nonce, which stands in front.
    pub fn seal(&self, plain: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        self.seal_at(&nonce, plain)
    }

    /// Seals under a nonce that was never used with this key; it stands in front.
    pub(crate) fn seal_at(&self, nonce: &[u8; NONCE_BYTES], plain: &[u8]) -> Vec<u8> {
        let sealed = self.cipher().encrypt(Nonce::from_slice(nonce), plain).expect("memory is all that sealing needs");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`SealKey::seal`] gave; `None` when it was made with another key, or changed on the way.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
        self.cipher().decrypt(Nonce::from_slice(nonce), sealed).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "lothar.com/wormhole/text-or-file-xfer";
    const A: &str = "9ee347fe6465c8674f6114ebf4302f82b10cbb23307fcb0df3b47a3b6815e80a";
    const B: &str = "4ff3999faf677e77c82531330b687fef6219764760fe961be669f576d02ad005";

    /// A scalar below the group's order, as the 64 bytes that are drawn for it.
    fn start(scalar: &str) -> [u8; START_BYTES] {
        let mut out = [0; START_BYTES];
        out[..32].copy_from_slice(&hex::decode(scalar).unwrap());
        out
    }

    /// Vectors made with the Python programs (spake2 0.9, magic-wormhole 0.24.0).
    #[test]
    fn keys_are_those_of_the_original() {
        let code = Code::parse("7-crossover-clockwork").unwrap();
        let (a, b) = (Pake::start(&code, APP, &start(A)), Pake::start(&code, APP, &start(B)));
        let (from_a, from_b) = (a.message().to_vec(), b.message().to_vec());
        assert_eq!(hex::encode(&from_a), "537b6484e7fbc8743be7ef494097e949cdf43a770deac9445aefa21d70e34a0b13");
        assert_eq!(hex::encode(&from_b), "531ad7ed418c4a0c1c07aa7e28d019ab76e274cc8b0355d5319e7535cfe6e70b98");
        let (a, b) = (a.finish(&from_b).unwrap(), b.finish(&from_a).unwrap());
        assert_eq!(hex::encode(a.0.as_slice()), "dd3c1e8ded1941ebbcd63ffc547f9ed78ea8fced2d065a9a689da8ee56b2bea8");
        assert_eq!(a.0.as_slice(), b.0.as_slice());
        assert_eq!(hex::encode(a.verifier()), "e8c400f907601208e0ac3efcd3437ada2f86799ed7722ce5218ee091b1a0f650");
        let phase = |phase| hex::encode(&*a.of_phase("abcde12345", phase).0);
        assert_eq!(phase("version"), "85f9bfebcf5e5223972562aa33222a9ee8f3480b8a1968f527a53707aa33cf6e");
        assert_eq!(phase("0"), "4156695fdcd9f81d02e5a08e6afa89221d5fd6906abc404eefffb9e3793dd7bb");
        assert_eq!(
            hex::encode(&*a.derive(format!("{APP}/transit-key").as_bytes(), 32)),
            "ab29f9c4b3ae968b71800326caa1367c25f2db0b3bdcf370b22b7bcdba6e6f9e"
        );
        let nonce = std::array::from_fn(|at| at as u8);
        let sealed = a.of_phase("abcde12345", "version").seal_at(&nonce, br#"{"app_versions": {}}"#);
        assert_eq!(
            hex::encode(&sealed[24..]),
            "499d37c428ab292c8ede55790158b162d1d2345d258706e81b7bda5413e8836100d886cd"
        );
        assert_eq!(b.of_phase("abcde12345", "version").open(&sealed).unwrap(), br#"{"app_versions": {}}"#);
    }

    #[test]
    fn another_code_or_application_gives_another_key() {
        let finish = |code: &str, app: &str| {
            let ours = Pake::start(&Code::parse("7-crossover-clockwork").unwrap(), APP, &start(A));
            let theirs = Pake::start(&Code::parse(code).unwrap(), app, &start(B));
            let message = ours.message().to_vec();
            let sealed = ours.finish(theirs.message()).unwrap().of_phase("a", "0").seal_at(&[0; 24], b"x");
            theirs.finish(&message).unwrap().of_phase("a", "0").open(&sealed)
        };
        assert_eq!(finish("7-crossover-clockwork", APP).as_deref(), Some(b"x".as_slice()));
        assert_eq!(finish("7-crossover-clockworks", APP), None);
        assert_eq!(finish("8-crossover-clockwork", APP), None);
        assert_eq!(finish("7-crossover-clockwork", "example.com/other"), None);
    }

    #[test]
    fn bad_messages_are_typed_errors() {
        let pake = || Pake::start(&Code::parse("7-a").unwrap(), APP, &start(A));
        let own = pake().message().to_vec();
        assert_eq!(pake().finish(&own).unwrap_err(), PairingError::Reflected);
        // No point of the curve has this y.
        let mut off_curve = [0; 33];
        (off_curve[0], off_curve[1]) = (b'S', 2);
        for bad in [&[][..], b"S", &[0xff; 33], &off_curve] {
            assert!(matches!(pake().finish(bad), Err(PairingError::BadPeer(_))), "{bad:?}");
        }
        assert_eq!(SealKey::new(Zeroizing::new(vec![0; 32])).open(b"short"), None);
    }
}
