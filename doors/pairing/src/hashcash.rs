//! A proof of work (hashcash, version 1): what a server may demand of everybody who connects, so that whoever wants many
//! connections pays for each.
//!
//! A stamp is text, `1:BITS:DATE:RESOURCE::RANDOM:COUNTER`, whose SHA-1 begins with so many zero bits. The server makes a
//! new resource for each connection, so that no stamp is good twice.

use sha1::{Digest, Sha1};

/// Bits that are worked for at most: each doubles the work, and these take seconds.
pub const BITS_MAX: u32 = 24;
/// Bytes of the longest stamp that is looked at, and of the longest resource that is worked for.
const STAMP_BYTES_MAX: usize = 256;
const RESOURCE_BYTES_MAX: usize = 128;

/// What a server demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Zero bits.
    pub bits: u32,
    /// What the stamp is for.
    pub resource: String,
}

impl Demand {
    /// Reads what a welcome demands; `None` for what is not worked for here.
    pub(crate) fn read(hashcash: &serde_json::Value) -> Option<Self> {
        let bits = u32::try_from(hashcash.get("bits")?.as_u64()?).ok().filter(|bits| *bits <= BITS_MAX)?;
        let resource = hashcash.get("resource")?.as_str()?;
        let is_fit = resource.len() <= RESOURCE_BYTES_MAX && !resource.contains(':');
        is_fit.then(|| Self { bits, resource: resource.to_owned() })
    }

    /// The work: a stamp, for a date like `261128` and some random text without colons.
    pub fn work(&self, date: &str, random: &str) -> String {
        let start = format!("1:{}:{date}:{}::{random}:", self.bits, self.resource);
        (0_u64..)
            .map(|counter| format!("{start}{counter:x}"))
            .find(|stamp| zero_bits(stamp) >= self.bits)
            .unwrap_or(start)
    }

    /// Whether a stamp was worked for.
    pub fn is_met(&self, stamp: &str) -> bool {
        let parts: Vec<&str> = stamp.split(':').collect();
        let [version, bits, _date, resource, _extension, _random, _counter] = parts[..] else { return false };
        stamp.len() <= STAMP_BYTES_MAX
            && version == "1"
            && resource == self.resource
            && bits.parse().is_ok_and(|bits: u32| bits >= self.bits)
            && zero_bits(stamp) >= self.bits
    }
}

/// How many zero bits the hash of a stamp begins with.
fn zero_bits(stamp: &str) -> u32 {
    let hash = Sha1::digest(stamp.as_bytes());
    let zeros = hash.iter().take_while(|byte| **byte == 0).count();
    8 * zeros as u32 + hash.get(zeros).map_or(0, |byte| byte.leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_worked_for_and_good_for_one_resource() {
        let demand = Demand { bits: 10, resource: "r".into() };
        let stamp = demand.work("261128", "abc");
        assert!(stamp.starts_with("1:10:261128:r::abc:") && demand.is_met(&stamp), "{stamp}");
        assert!(!Demand { resource: "s".into(), ..demand.clone() }.is_met(&stamp));
        assert!(!Demand { bits: 60, ..demand.clone() }.is_met(&stamp));
        for bad in ["", "1:10:261128:r::abc", &format!("{stamp}:x"), &stamp.replacen('1', "0", 1)] {
            assert!(!demand.is_met(bad), "{bad}");
        }
        // As another program mints one.
        let minted = "1:20:040806:foo::65f460d0726f420d:13a6b8";
        assert!(Demand { bits: 20, resource: "foo".into() }.is_met(minted));
    }

    #[test]
    fn only_what_takes_seconds_is_worked_for() {
        let read = |text: &str| Demand::read(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"bits":6,"resource":"r"}"#), Some(Demand { bits: 6, resource: "r".into() }));
        for bad in [
            r#"{"bits":25,"resource":"r"}"#,
            r#"{"bits":6}"#,
            r#"{"bits":-1,"resource":"r"}"#,
            r#"{"bits":6,"resource":"a:b"}"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
