//! Numbers, texts and bytes one after the other, as blocks and records hold them.

/// Writes them.
#[derive(Debug, Default)]
pub struct Out(
    /// What was written.
    pub Vec<u8>,
);

impl Out {
    /// A number, small ones in few bytes (LEB128).
    pub fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    /// Bytes, after how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

/// Reads them; every answer is `None` where the bytes are too few or no number.
#[derive(Clone, Copy, Debug)]
pub struct In<'a>(
    /// What is left.
    pub &'a [u8],
);

impl<'a> In<'a> {
    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    /// A number that counts something in memory.
    pub fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// So many bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes, after how many they are.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.count()?;
        self.take(len)
    }

    /// A text, after how many bytes it has.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_come_back() {
        let mut out = Out::default();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        numbers.iter().for_each(|n| out.number(*n));
        out.bytes("grün".as_bytes());
        let mut read = In(&out.0);
        assert_eq!(numbers.map(|_| read.number().unwrap()), numbers);
        assert_eq!((read.text(), read.byte()), (Some("grün"), None));
        assert_eq!(In(&[0x80]).number(), None);
        assert_eq!(In(&[5, 1]).bytes(), None);
        assert_eq!(In(&[0xff; 11]).number(), None);
    }
}
