//! What is left of texts is compressed with what stood before it as dictionary.

use crate::error::BlockError;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

const LEVEL: i32 = 3;
/// Longer contents need a window that reaches back to the block before.
const WINDOW_BYTES: usize = 512 * 1024;

/// What the dictionary of a block without another one is: what frames and dna usually say. Stores and peers that speak to
/// each other have the same, so it never changes.
pub const COMMON: &[u8] = b"{\"ib\":\"fork\",\"gib\":\"\x01\x00\",\"data\":{\"destIb\":\"\",\"dna\":true,\"nCounter\":true,\"tjp\":{\"uuid\":true,\
\"timestamp\":true},\"linkedRel8ns\":[\"past\",\"dna\"],\"type\":\"fork\"},\"rel8ns\":{\"ancestor\":[\"fork^gib\"]}}\
{\"ib\":\"file\",\"gib\":\"\x01\x00\",\"data\":{\"n\":0,\"uuid\":\"\",\"isTjp\":true,\"timestamp\":\"Thu, 01 Jan 2026 00:00:00 GMT\",\
\"timestampMs\":0},\"rel8ns\":{\"ancestor\":[\"file^gib\"],\"dna\":[\"fork^\x01\x01\"]}}\
{\"ib\":\"mut8\",\"gib\":\"\x01\x00\",\"data\":{\"dataToAddOrPatch\":{\"text\":\"\"},\"dna\":true,\"nCounter\":true,\
\"linkedRel8ns\":[\"past\",\"dna\"],\"type\":\"mut8\"},\"rel8ns\":{\"ancestor\":[\"mut8^gib\"]}}\
{\"ib\":\"file\",\"gib\":\"\x01\x00.\x02\x00\",\"data\":{\"n\":1,\"uuid\":\"\",\"text\":\"\",\"timestamp\":\"Sat, 28 Feb 2026 01:21:53 GMT\",\
\"timestampMs\":},\"rel8ns\":{\"ancestor\":[\"file^gib\"],\"dna\":[\"mut8^\x01\x01\"],\"past\":[\"file^\x01\x02.\x02\x00\"],\
\"tjp\":[\"file^\x02\x00\"],\"identity\":[\"keystone^\x02\x01\"]}}";

/// Compresses. `None` where the library fails, which it does without memory only.
pub fn pack(content: &[u8], dictionary: &[u8]) -> Option<Vec<u8>> {
    let mut compressor = Compressor::with_dictionary(LEVEL, dictionary).ok()?;
    let reach = content.len() + dictionary.len();
    if reach > WINDOW_BYTES {
        compressor.set_parameter(CParameter::WindowLog(reach.next_power_of_two().trailing_zeros().min(27))).ok()?;
    }
    compressor.compress(content).ok()
}

/// What was packed, which has exactly `len` bytes: so many are made room for, and no more are written.
///
/// # Errors
/// [`BlockError::Packed`].
pub fn unpack(packed: &[u8], len: usize, dictionary: &[u8]) -> Result<Vec<u8>, BlockError> {
    let mut unpacking = Decompressor::with_dictionary(dictionary).map_err(|_| BlockError::Packed)?;
    let content = unpacking.decompress(packed, len).map_err(|_| BlockError::Packed)?;
    if content.len() == len { Ok(content) } else { Err(BlockError::Packed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_common_dictionary_stays_what_it_is() {
        let digest = "41cdeaeff3bcddd79824648670c13525f2ee5ce5a81c0152bc7afa26dbadc5db";
        assert_eq!(hex::encode(Sha256::digest(COMMON)), digest);
    }

    #[test]
    fn only_the_told_length_is_unpacked() {
        for len in [0, 1, 100, 700_000] {
            let content = vec![b'x'; len];
            let packed = pack(&content, COMMON).unwrap();
            assert_eq!(unpack(&packed, len, COMMON).as_ref(), Ok(&content));
            assert_eq!(unpack(&packed, len + 1, COMMON), Err(BlockError::Packed));
            if len > 0 {
                assert_eq!(unpack(&packed, len - 1, COMMON), Err(BlockError::Packed));
            }
            assert_eq!(unpack(&packed[..packed.len() - 1], len, COMMON), Err(BlockError::Packed));
        }
        let text = COMMON.repeat(3);
        let packed = pack(&text, COMMON).unwrap();
        assert_ne!(unpack(&packed, text.len(), b"another dictionary").as_ref(), Ok(&text));
    }
}
