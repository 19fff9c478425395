//! Hashes are taken out of texts, and put back.

use crate::bytes::{In, Out};
use crate::error::BlockError;
use std::ops::RangeInclusive;

/// A hash, as addresses spell it in 64 hex digits.
pub type Key = [u8; 32];

/// The bytes that stand where a hash was. JSON text has none of them.
const MARKS: RangeInclusive<u8> = 1..=5;
const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Digits of a hash.
const DIGITS: usize = 64;

/// What a byte is, in bits: a digit of a number, an uppercase one of a hash, a lowercase one.
const NUMBER: u8 = 1;
const UPPERCASE: u8 = 2;
const LOWERCASE: u8 = 4;
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut i = 0;
    while i < 16 {
        kinds[UPPER[i] as usize] |= if i < 10 { NUMBER } else { UPPERCASE };
        kinds[LOWER[i] as usize] |= if i < 10 { NUMBER } else { LOWERCASE };
        i += 1;
    }
    kinds
};

/// Writes `text`, but for each hash what `mark` writes: it is given the hash, and whether its digits are lowercase. The
/// first byte of that is one of 1 to 5.
pub fn squeeze(text: &[u8], out: &mut Out, mut mark: impl FnMut(Key, bool, &mut Out)) {
    // Up to where it is written; where a hash may begin at the earliest.
    let (mut from, mut at) = (0, 0);
    while let Some(digits) = text.get(at..at + DIGITS) {
        // From behind: most often the last byte is no digit, and none of those before it belongs to a hash.
        let mut kinds = 0;
        let apart = digits.iter().rposition(|byte| {
            let kind = KINDS[usize::from(*byte)];
            // A hash is written in one case.
            let is_apart = kind == 0 || (kinds | kind) & (UPPERCASE | LOWERCASE) == UPPERCASE | LOWERCASE;
            kinds |= kind;
            is_apart
        });
        if let Some(apart) = apart {
            at += apart + 1;
            continue;
        }
        let mut hash = [0; 32];
        if const_hex::decode_to_slice(digits, &mut hash).is_ok() {
            out.0.extend_from_slice(&text[from..at]);
            mark(hash, kinds & LOWERCASE != 0, out);
            from = at + DIGITS;
        }
        at += DIGITS;
    }
    out.0.extend_from_slice(&text[from..]);
}

/// The text that was squeezed to this, of at most `room` bytes. `hash` is given a mark and what follows it, of which it
/// takes what belongs to the mark; it answers the hash, and whether its digits are lowercase.
///
/// # Errors
/// The text is longer than `room`, or not UTF-8; what `hash` answers.
pub fn expand(
    squeezed: &[u8],
    room: usize,
    mut hash: impl FnMut(u8, &mut In<'_>) -> Result<(Key, bool), BlockError>,
) -> Result<String, BlockError> {
    let mut rest = In(squeezed);
    let mut out: Vec<u8> = Vec::with_capacity(room.min(2 * squeezed.len()));
    while !rest.0.is_empty() {
        let plain = rest.0.iter().position(|b| MARKS.contains(b)).unwrap_or(rest.0.len());
        out.extend_from_slice(rest.take(plain).ok_or(BlockError::Short)?);
        if let Some(mark) = rest.byte() {
            let (hash, lower) = hash(mark, &mut rest)?;
            let digits = if lower { LOWER } else { UPPER };
            out.extend(hash.iter().flat_map(|b| [digits[usize::from(b >> 4)], digits[usize::from(b & 15)]]));
        }
        if out.len() > room {
            return Err(BlockError::Long);
        }
    }
    String::from_utf8(out).map_err(|_| BlockError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Squeezes with every hash beside the text, and puts them back.
    fn there_and_back(text: &str, room: usize) -> Result<String, BlockError> {
        let (mut out, mut hashes) = (Out::default(), Vec::new());
        squeeze(text.as_bytes(), &mut out, |hash, lower, out| {
            hashes.push(hash);
            out.0.push(if lower { 3 } else { 2 });
            out.number(hashes.len() as u64 - 1);
        });
        expand(&out.0, room, |mark, rest| {
            let place = rest.count().ok_or(BlockError::Short)?;
            Ok((*hashes.get(place).ok_or(BlockError::Hash)?, mark == 3))
        })
    }

    proptest! {
        #[test]
        fn any_text_comes_back(parts in prop::collection::vec("[0-9A-F]{60,140}|[0-9a-f]{60,140}|[^\u{1}-\u{5}]{0,20}", 0..8)) {
            let text = parts.concat();
            prop_assert_eq!(there_and_back(&text, text.len()), Ok(text.clone()));
            if !text.is_empty() {
                prop_assert_eq!(there_and_back(&text, text.len() - 1), Err(BlockError::Long));
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let hash = |mark: u8, rest: &mut In<'_>| match rest.count() {
                Some(0..100) => Ok(([mark; 32], mark == 3)),
                _ => Err(BlockError::Hash),
            };
            if let Ok(text) = expand(&bytes, 1_000, hash) {
                prop_assert!(text.len() <= 1_000);
            }
        }
    }
}
