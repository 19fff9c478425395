//! What is left of texts is compressed with what stood before it as dictionary.

use crate::error::BlockError;
use std::cell::RefCell;
use std::fmt;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound};

const LEVEL: i32 = 3;
/// Longer contents need a window that reaches back to the block before.
const WINDOW_BYTES: usize = 512 * 1024;
/// The smallest window that the library knows, as a power of two.
const WINDOW_LOG_MIN: u32 = 10;

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
    Packer::default().pack(content, dictionary)
}

/// Compresses a long content that says nearly the same as the dictionary, as another revision of a long text does. What is long
/// and the same is looked for as such: words that come again and again lead [`pack`] away from it, which then takes some forty
/// times as many bytes. Both are unpacked in the same way.
pub fn pack_alike(content: &[u8], dictionary: &[u8]) -> Option<Vec<u8>> {
    let mut packing = CCtx::try_create()?;
    let window = (content.len() + dictionary.len()).next_power_of_two().trailing_zeros().clamp(WINDOW_LOG_MIN, 27);
    packing.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
    packing.set_parameter(CParameter::WindowLog(window)).ok()?;
    packing.set_parameter(CParameter::EnableLongDistanceMatching(true)).ok()?;
    packing.ref_prefix(dictionary).ok()?;
    let mut packed = Vec::with_capacity(compress_bound(content.len()));
    packing.compress2(&mut packed, content).ok()?;
    Some(packed)
}

/// Compresses one after the other. What that takes is made once: for something small it costs several times as much as to
/// compress it.
#[derive(Default)]
pub struct Packer {
    /// With [`COMMON`], which is read once.
    common: Option<Compressor<'static>>,
    other: Option<Compressor<'static>>,
}

impl Packer {
    /// As [`pack`].
    pub fn pack(&mut self, content: &[u8], dictionary: &[u8]) -> Option<Vec<u8>> {
        let is_common = dictionary == COMMON;
        let place = if is_common { &mut self.common } else { &mut self.other };
        let packing = match place {
            Some(packing) => packing,
            none if is_common => none.insert(Compressor::with_dictionary(LEVEL, COMMON).ok()?),
            none => none.insert(Compressor::new(LEVEL).ok()?),
        };
        if !is_common {
            packing.set_dictionary(LEVEL, dictionary).ok()?;
        }
        let reach = content.len() + dictionary.len();
        // 0: as the level has it.
        let window = if reach > WINDOW_BYTES { reach.next_power_of_two().trailing_zeros().min(27) } else { 0 };
        packing.set_parameter(CParameter::WindowLog(window)).ok()?;
        let packed = packing.compress(content).ok();
        if !is_common {
            // It has a copy of the dictionary, which may be long.
            packing.set_dictionary(LEVEL, &[]).ok()?;
        }
        packed
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packer")
    }
}

thread_local! {
    /// What unpacking takes, made once for each thread: for something small it costs a hundred times as much as to unpack it,
    /// and who waits for more to come, as each connection does, should not hold it meanwhile: it has 96 kB.
    static UNPACKING: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// What was packed, which has exactly `len` bytes: so many are made room for, and no more are written.
///
/// # Errors
/// [`BlockError::Packed`].
pub fn unpack(packed: &[u8], len: usize, dictionary: &[u8]) -> Result<Vec<u8>, BlockError> {
    let mut content = Vec::with_capacity(len);
    UNPACKING.with_borrow_mut(|unpacking| {
        let unpacking = match unpacking {
            Some(unpacking) => unpacking,
            none => none.insert(DCtx::try_create().ok_or(BlockError::Packed)?),
        };
        unpacking.decompress_using_dict(&mut content, packed, dictionary).map_err(|_| BlockError::Packed)
    })?;
    if content.len() == len { Ok(content) } else { Err(BlockError::Packed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_common_dictionary_stays_what_it_is() {
        let digest = "41cdeaeff3bcddd79824648670c13525f2ee5ce5a81c0152bc7afa26dbadc5db";
        assert_eq!(const_hex::encode(Sha256::digest(COMMON)), digest);
    }

    #[test]
    fn one_thread_unpacks_what_was_packed_with_any_dictionary_and_what_is_none() {
        let texts = [COMMON.repeat(2), vec![b'x'; 300_000], b"short".repeat(3), Vec::new()];
        let mut before = COMMON.to_vec();
        for text in texts.iter().cycle().take(12) {
            let packed = pack(text, &before).unwrap();
            assert_eq!(unpack(&packed, text.len() + 1, &before), Err(BlockError::Packed));
            assert_eq!(unpack(b"nothing that was packed", 100, &before), Err(BlockError::Packed));
            assert_eq!(unpack(&packed, text.len(), &before).as_ref(), Ok(text));
            before.clone_from(text);
        }
    }

    #[test]
    fn one_packer_packs_with_any_dictionary_as_a_fresh_one_does() {
        let mut packer = Packer::default();
        let texts = [COMMON.repeat(2), vec![b'x'; 700_000], b"short".repeat(3), Vec::new()];
        let dictionaries = [COMMON.to_vec(), b"another dictionary".repeat(20), vec![b'x'; 300_000], Vec::new()];
        for (text, dictionary) in
            texts.iter().flat_map(|text| dictionaries.iter().map(move |d| (text, d))).cycle().take(48)
        {
            let packed = packer.pack(text, dictionary).unwrap();
            assert_eq!(packed, pack(text, dictionary).unwrap());
            assert_eq!(unpack(&packed, text.len(), dictionary).as_ref(), Ok(text));
        }
    }

    /// A text of so many lines of a few words, of which no two are likely to be the same.
    fn long(lines: u64) -> String {
        let mut state = 1_u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"][(state >> 61) as usize]
        };
        (0..lines * 12).map(|n| format!("{}{}", word(), if n % 12 == 11 { "\n" } else { " " })).collect()
    }

    #[test]
    fn a_long_text_that_differs_in_a_line_costs_about_that_line() {
        for lines in [0, 1, 1_000, 5_000, 15_000] {
            let before = long(lines);
            let (head, tail) = before.split_at(before.len() / 2);
            let after = format!("{head}another line in the middle\n{tail}");
            let packed = pack_alike(after.as_bytes(), before.as_bytes()).unwrap();
            assert!(packed.len() < 400, "{lines} lines, {} bytes: {}", after.len(), packed.len());
            assert_eq!(unpack(&packed, after.len(), before.as_bytes()).unwrap(), after.as_bytes());
            let unlike = pack_alike(after.as_bytes(), b"short").unwrap();
            assert_eq!(unpack(&unlike, after.len(), b"short").unwrap(), after.as_bytes());
        }
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
