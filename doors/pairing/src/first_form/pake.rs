//! The key agreement of 2015 (release 0.2 of Python's `spake2`), which no library speaks any more: SPAKE2 on edwards25519,
//! with other constants, another password scalar and another transcript than today's.
//!
//! Two sides, A and B, send 33 bytes each. The form without roles runs both at once and joins the two keys, so that it
//! sends 66.

use crate::error::PairingError;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use ibgib_keystone::Entropy;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

/// The points that blind A's and B's message: nobody knows how they relate to the base point.
const M: &str = "a40e2fdf6e5230cdb7584b304e0ac275955a6d32574effba8ce0a4e6775830d6";
const N: &str = "0254020223f23473c9c01044044072ac5221b9ee4c77671879dc4293b593435b";
/// What a saved state names the constants by.
const PARAMS: &str = "aa410876a03606e38247cc4ff8bec44c651b1492f86ecf4880ea1bf43521919a";

/// Bytes of one side's message: the side, and a point.
const MESSAGE_BYTES: usize = 33;

/// Which side of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    fn blinding(self) -> EdwardsPoint {
        point(match self {
            Self::A => M,
            Self::B => N,
        })
    }
}

fn point(text: &str) -> EdwardsPoint {
    let bytes = hex::decode(text).expect("a constant is hex");
    CompressedEdwardsY::from_slice(&bytes).ok().and_then(|y| y.decompress()).expect("a constant is a point")
}

/// 64 bytes as a number, the first one the highest, modulo the group's order.
fn wide(mut bytes: Zeroizing<[u8; 64]>) -> Zeroizing<Scalar> {
    bytes.reverse();
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(&bytes))
}

/// Both names of an agreement: who they are decides whether two sides can agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) a: String,
    pub(super) b: String,
}

/// One side of one run.
pub(super) struct Run {
    side: Side,
    password: Zeroizing<Vec<u8>>,
    names: Names,
    scalar: Zeroizing<Scalar>,
    message: [u8; 32],
}

impl Run {
    fn at(side: Side, password: &[u8], names: &Names, scalar: Zeroizing<Scalar>) -> Self {
        let message = EdwardsPoint::mul_base(&scalar) + side.blinding() * *password_scalar(password);
        let message = message.compress().to_bytes();
        Self { side, password: Zeroizing::new(password.to_vec()), names: names.clone(), scalar, message }
    }

    fn start(side: Side, password: &[u8], names: &Names, entropy: &mut dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        entropy.fill(&mut *bytes);
        Self::at(side, password, names, wide(bytes))
    }

    fn message(&self) -> Vec<u8> {
        [self.side.letter().as_bytes(), &self.message].concat()
    }

    fn finish(&self, theirs: &[u8]) -> Result<Zeroizing<[u8; 32]>, PairingError> {
        let bad = || PairingError::BadPeer("no message of a key agreement");
        let theirs = theirs.strip_prefix(self.side.other().letter().as_bytes()).ok_or_else(bad)?;
        if theirs == self.message {
            return Err(PairingError::Reflected);
        }
        let blinded = CompressedEdwardsY::from_slice(theirs).ok().and_then(|y| y.decompress()).ok_or_else(bad)?;
        // A point of a small group would tell something of the scalar.
        if blinded.is_identity() || !blinded.is_torsion_free() {
            return Err(bad());
        }
        let unblinded = blinded - self.side.other().blinding() * *password_scalar(&self.password);
        let shared = Zeroizing::new((unblinded * *self.scalar).compress().to_bytes());
        let (x, y) = match self.side {
            Side::A => (self.message.as_slice(), theirs),
            Side::B => (theirs, self.message.as_slice()),
        };
        let mut hash = Sha256::new();
        for part in [self.names.a.as_bytes(), self.names.b.as_bytes(), x, y, shared.as_slice()] {
            hash.update(part);
            hash.update(b":");
        }
        hash.update(self.password.as_slice());
        Ok(Zeroizing::new(hash.finalize().into()))
    }

    fn save(&self) -> Value {
        json!({
            "hashed_params": PARAMS,
            "side": self.side.letter(),
            "idA": hex::encode(&self.names.a),
            "idB": hex::encode(&self.names.b),
            "password": hex::encode(self.password.as_slice()),
            "xy_scalar": hex::encode(self.scalar.as_bytes()),
        })
    }

    fn restore(side: Side, password: &[u8], names: &Names, saved: &Value) -> Option<Self> {
        let text = |member: &str| saved.get(member).and_then(Value::as_str);
        let scalar: [u8; 32] = hex::decode(text("xy_scalar")?).ok()?.try_into().ok()?;
        let scalar = Zeroizing::new(Option::from(Scalar::from_canonical_bytes(scalar))?);
        let run = Self::at(side, password, names, scalar);
        (run.save() == *saved).then_some(run)
    }
}

fn password_scalar(password: &[u8]) -> Zeroizing<Scalar> {
    wide(Zeroizing::new(Sha512::digest(password).into()))
}

/// An agreement of either form.
pub(super) enum Pake {
    One(Box<Run>),
    Both(Box<[Run; 2]>),
}

impl std::fmt::Debug for Pake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pake(…)")
    }
}

impl Pake {
    /// As one of two sides with roles.
    pub(super) fn one(side: Side, password: &[u8], names: &Names, entropy: &mut dyn Entropy) -> Self {
        Self::One(Box::new(Run::start(side, password, names, entropy)))
    }

    /// Without roles.
    pub(super) fn both(password: &[u8], names: &Names, entropy: &mut dyn Entropy) -> Self {
        Self::Both(Box::new([Side::A, Side::B].map(|side| Run::start(side, password, names, entropy))))
    }

    /// What the other side needs.
    pub(super) fn message(&self) -> Vec<u8> {
        match self {
            Self::One(run) => run.message(),
            Self::Both(runs) => runs.iter().flat_map(|run| run.message()).collect(),
        }
    }

    /// The key, from the other side's message.
    pub(super) fn finish(&self, theirs: &[u8]) -> Result<Zeroizing<Vec<u8>>, PairingError> {
        if theirs == self.message() {
            return Err(PairingError::Reflected);
        }
        match self {
            Self::One(run) => Ok(Zeroizing::new(run.finish(theirs)?.to_vec())),
            Self::Both(runs) => {
                let bad = PairingError::BadPeer("no message of a key agreement");
                let (from_a, from_b) = theirs.split_at_checked(MESSAGE_BYTES).ok_or(bad)?;
                let [a, b] = &**runs;
                let (a, b) = (a.finish(from_b)?, b.finish(from_a)?);
                if a == b {
                    return Err(PairingError::Reflected);
                }
                Ok(Zeroizing::new(a.iter().zip(b.iter()).map(|(a, b)| a ^ b).collect()))
            }
        }
    }

    /// What the original keeps of the form without roles.
    pub(super) fn save(&self) -> Option<Value> {
        let Self::Both(runs) = self else { return None };
        let [a, b] = &**runs;
        let password = hex::encode(a.password.as_slice());
        Some(json!({"password": password, "sA": a.save(), "sB": b.save()}))
    }

    /// Takes what [`Pake::save`] gave, if it is of this password and these names.
    pub(super) fn restore(password: &[u8], names: &Names, saved: &Value) -> Option<Self> {
        let run = |side, member| Run::restore(side, password, names, saved.get(member)?);
        Some(Self::Both(Box::new([run(Side::A, "sA")?, run(Side::B, "sB")?])))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Gives successive bytes, as the entropy of the vectors did.
    pub(crate) struct Counting(pub(crate) u8);

    impl Entropy for Counting {
        fn fill(&mut self, out: &mut [u8]) {
            for byte in out {
                *byte = self.0;
                self.0 = self.0.wrapping_add(1);
            }
        }
    }

    const PASSWORD: &[u8] = b"7-crossover-clockwork";
    const FROM_A: &str = "41995a35de839d3004d5f8a53ce21abb10a1b7da33e783ee545b35b5856990deb0";
    const FROM_B: &str = "4291fbf32cce5ead95a490c64e6d779661ecd62dd1941a8644e5d0e365c9d1f55d";
    const OTHER_FROM_BOTH: &str = "413b4bebbe446526b1148c8ac34716adf7897b52c26fd96e332f38f8d9684f267a\
         42d4bbd958cea9981112dc0fc310b3846c287c5daf03b0c5c73c9b8c03f964618f";

    fn names(a: &str, b: &str) -> Names {
        let name = |side| format!("lothar.com/wormhole/text-xfer:{side}");
        Names { a: name(a), b: name(b) }
    }

    /// Vectors of spake2 0.2, run with Python 2.7.
    #[test]
    fn keys_are_those_of_the_original() {
        let names = names("Initiator", "Receiver");
        let a = Pake::one(Side::A, PASSWORD, &names, &mut Counting(0));
        let b = Pake::one(Side::B, PASSWORD, &names, &mut Counting(64));
        assert_eq!((hex::encode(a.message()), hex::encode(b.message())), (FROM_A.into(), FROM_B.into()));
        let key = a.finish(&b.message()).unwrap();
        assert_eq!(hex::encode(&*key), "2471968a4247c0a241a33d8c3a858208e13d6fb3cd9f89784c8efcca8bec0c2a");
        assert_eq!(key, b.finish(&a.message()).unwrap());
    }

    #[test]
    fn so_are_those_without_roles() {
        let names = names("SymmetricA", "SymmetricB");
        let x = Pake::both(PASSWORD, &names, &mut Counting(0));
        let y = Pake::both(PASSWORD, &names, &mut Counting(128));
        assert_eq!(hex::encode(x.message()), [FROM_A, FROM_B].concat());
        assert_eq!(hex::encode(y.message()), OTHER_FROM_BOTH);
        let key = x.finish(&y.message()).unwrap();
        assert_eq!(hex::encode(&*key), "05c73ceeffba555513240abd315d6ebcdd2dc68a985021bdfd6432e3266f08f3");
        assert_eq!(key, y.finish(&x.message()).unwrap());
    }

    #[test]
    fn bad_messages_are_typed_errors() {
        let names = names("Initiator", "Receiver");
        let a = Pake::one(Side::A, PASSWORD, &names, &mut Counting(0));
        assert_eq!(a.finish(&a.message()).unwrap_err(), PairingError::Reflected);
        let from_b = |point: &[u8]| [b"B", point].concat();
        let (mut off_curve, mut small, mut zero) = ([0; 32], [0; 32], [0; 32]);
        off_curve[0] = 2;
        // The points of order 1 and 2.
        zero[0] = 1;
        small.fill(0xff);
        (small[0], small[31]) = (0xec, 0x7f);
        let other_a = Pake::one(Side::A, PASSWORD, &names, &mut Counting(9)).message();
        for bad in [&[][..], b"B", &from_b(&off_curve), &from_b(&small), &from_b(&zero), &other_a] {
            assert!(matches!(a.finish(bad), Err(PairingError::BadPeer(_))), "{bad:?}");
        }
        let both = Pake::both(PASSWORD, &names, &mut Counting(0));
        assert_eq!(both.finish(&both.message()).unwrap_err(), PairingError::Reflected);
        for bad in [&[][..], b"AB", &other_a, &[0; 66]] {
            assert!(matches!(both.finish(bad), Err(PairingError::BadPeer(_))), "{bad:?}");
        }
    }
}
