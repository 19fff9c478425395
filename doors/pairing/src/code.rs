//! Codes that people say to each other: a number, then words.
//!
//! `7-crossover-clockwork`: the number (*nameplate*) names the place at the server where the two meet, and is no
//! secret; all of the code, the number included, is the password of the key agreement. With two words an attacker has
//! one guess in 65,536, and a wrong guess ends the attempt for both honest sides.

use crate::error::PairingError;
use crate::words::{THREE_SYLLABLES, TWO_SYLLABLES};
use ibgib_keystone::Entropy;
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// Words of a code unless somebody wants more.
pub const WORDS: usize = 2;

/// Digits that a number may have: the mailbox server of magic-wormhole takes no more.
pub const NAMEPLATE_DIGITS_MAX: usize = 40;

/// The number of a code: one to forty decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nameplate(String);

impl Nameplate {
    /// Takes a number from text.
    ///
    /// # Errors
    /// [`PairingError::BadCode`] for anything but one to forty ASCII digits.
    pub fn parse(text: &str) -> Result<Self, PairingError> {
        let bad = |why| Err(PairingError::BadCode { code: text.to_owned(), why });
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return bad("its number has to be digits");
        }
        if text.len() > NAMEPLATE_DIGITS_MAX {
            return bad("its number has more than 40 digits");
        }
        Ok(Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nameplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole code. It is a secret until both sides have used it: neither shown by `Debug` nor kept longer than needed.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    nameplate: Nameplate,
    text: Zeroizing<String>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("nameplate", &self.nameplate).finish_non_exhaustive()
    }
}

impl Code {
    /// Takes a code as somebody typed it. What follows the number may be any text without white space, so that a
    /// code fixed beforehand need not be made of words.
    ///
    /// # Errors
    /// [`PairingError::BadCode`]: white space in it, no number, or nothing after the number.
    pub fn parse(text: &str) -> Result<Self, PairingError> {
        let bad = |why| PairingError::BadCode { code: text.to_owned(), why };
        if text.chars().any(char::is_whitespace) {
            return Err(bad("it has to be written without spaces"));
        }
        let (number, words) = text.split_once('-').ok_or_else(|| bad("it needs a number, a hyphen, and words"))?;
        let nameplate =
            Nameplate::parse(number).map_err(|_| bad("it starts with a number of at most 40 digits and a hyphen"))?;
        if words.is_empty() {
            return Err(bad("words have to follow the number"));
        }
        Ok(Self { nameplate, text: Zeroizing::new(text.to_owned()) })
    }

    /// A code of a number and words chosen at random: a byte of entropy each.
    pub fn random(nameplate: Nameplate, words: usize, entropy: &mut dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(vec![0; words.max(1)]);
        entropy.fill(&mut bytes);
        let mut text = Zeroizing::new(nameplate.0.clone());
        for (at, byte) in bytes.iter().enumerate() {
            text.push('-');
            text.push_str(list(at)[usize::from(*byte)]);
        }
        Self { nameplate, text }
    }

    /// The number.
    pub fn nameplate(&self) -> &Nameplate {
        &self.nameplate
    }

    /// The whole code, to be shown to the person who made it, and to nobody else.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the key agreement takes as password: the whole code in Unicode form NFC, as UTF-8.
    pub(crate) fn password(&self) -> Zeroizing<String> {
        Zeroizing::new(self.text.nfc().collect())
    }
}

/// The words that may stand at a place of a code, counted from 0.
fn list(at: usize) -> &'static [&'static str; 256] {
    if at.is_multiple_of(2) { &THREE_SYLLABLES } else { &TWO_SYLLABLES }
}

/// What typed words may become: `typed` is what stands after the number's hyphen; each answer is the whole of it, with
/// a hyphen at the end while a code of `words` words is not complete. Sorted.
pub fn complete_words(typed: &str, words: usize) -> Vec<String> {
    let at = typed.matches('-').count();
    let (before, begun) = typed.rfind('-').map_or(("", typed), |hyphen| typed.split_at(hyphen + 1));
    let end = if at + 1 < words { "-" } else { "" };
    let mut out: Vec<String> =
        list(at).iter().filter(|word| word.starts_with(begun)).map(|word| format!("{before}{word}{end}")).collect();
    out.sort_unstable();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<u8>);
    impl Entropy for Fixed {
        fn fill(&mut self, out: &mut [u8]) {
            let rest = self.0.split_off(out.len());
            out.copy_from_slice(&self.0);
            self.0 = rest;
        }
    }

    #[test]
    fn a_code_is_a_number_and_words() {
        let code = Code::parse("7-crossover-clockwork").unwrap();
        assert_eq!(code.nameplate().as_str(), "7");
        assert_eq!(code.as_str(), "7-crossover-clockwork");
        assert!(Code::parse("123-anything").is_ok(), "a code fixed beforehand need not be of words");
        for bad in ["", "7", "-a-b", "7-", "seven-crossover", "7 crossover", "7-a b", "７-a", &"1".repeat(41)] {
            assert!(matches!(Code::parse(bad), Err(PairingError::BadCode { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_code_is_not_shown_by_debug() {
        let code = Code::parse("7-crossover-clockwork").unwrap();
        assert!(!format!("{code:?}").contains("crossover"));
    }

    #[test]
    fn random_words_alternate_between_the_lists() {
        let number = Nameplate::parse("4").unwrap();
        let code = Code::random(number, 3, &mut Fixed(vec![0, 0, 255]));
        assert_eq!(code.as_str(), "4-adroitness-aardvark-yucatan");
    }

    #[test]
    fn completion_follows_the_place() {
        assert_eq!(complete_words("crosso", 2), ["crossover-"]);
        assert_eq!(complete_words("crossover-cloc", 2), ["crossover-clockwork"]);
        assert_eq!(complete_words("", 2).len(), 256);
        assert!(complete_words("xyzzy", 2).is_empty());
        assert_eq!(complete_words("a-b-adroi", 4), ["a-b-adroitness-"]);
    }

    #[test]
    fn the_lists_hold_different_words() {
        for words in [&THREE_SYLLABLES, &TWO_SYLLABLES] {
            let unlike: std::collections::HashSet<_> = words.iter().collect();
            assert_eq!(unlike.len(), 256);
        }
    }
}
