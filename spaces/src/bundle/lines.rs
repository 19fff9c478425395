//! The lines of a bundle, hashed as they are written and as they are read.

use super::{BundleError, NAME};
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Write};

/// Bytes of one line: a node, escaped, and some room.
const LINE_BYTES_MAX: u64 = 2 * ibgib::json::BYTES_MAX as u64;

/// Where lines are written.
pub(super) struct Hashing<W> {
    pub(super) sink: W,
    pub(super) hash: Sha256,
}

impl<W: Write> Hashing<W> {
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        for bytes in [text.as_bytes(), b"\n"] {
            self.hash.update(bytes);
            self.sink.write_all(bytes)?;
        }
        Ok(())
    }
}

/// One line of a bundle.
pub(super) enum Line {
    Node(Verified<IbGib>),
    Tip(Addr, Addr),
    End(Map),
}

/// Where lines are read.
pub(super) struct Reader<R> {
    source: R,
    hash: Sha256,
    line: u64,
    text: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    pub(super) fn begin(source: R) -> Result<Self, BundleError> {
        let mut reader = Self { source, hash: Sha256::new(), line: 0, text: Vec::new() };
        let header = reader.value()?;
        if header.get("bundle").and_then(Value::as_str) != Some(NAME) {
            return Err(reader.bad(format!("not a bundle: the first line is not {{\"bundle\":{NAME:?}}}")));
        }
        reader.hash.update(&reader.text);
        Ok(reader)
    }

    /// Bytes of the line just read.
    pub(super) fn line_bytes(&self) -> usize {
        self.text.len()
    }

    /// Checks what the last line says about those before it, and that it is the last.
    pub(super) fn check_end(&mut self, end: &Map, nodes: u64, timelines: u64) -> Result<(), BundleError> {
        let number = |name: &str| end.get(name).and_then(Value::as_u53);
        if number("nodes") != Some(nodes) || number("timelines") != Some(timelines) {
            return Err(self.bad("the counts at the end do not agree with the lines"));
        }
        let sum = hex::encode(self.hash.clone().finalize());
        if end.get("sha256").and_then(Value::as_str) != Some(&sum) {
            return Err(self.bad("the hash at the end does not agree with the lines"));
        }
        if !self.source.fill_buf()?.is_empty() {
            return Err(self.bad("there is more after the end"));
        }
        Ok(())
    }

    fn bad(&self, why: impl ToString) -> BundleError {
        BundleError::Damaged { line: self.line, why: why.to_string() }
    }

    /// The next line's value; it counts for the hash once it turns out not to be the last.
    fn value(&mut self) -> Result<Value, BundleError> {
        self.line += 1;
        self.text.clear();
        let read = io::Read::take(&mut self.source, LINE_BYTES_MAX).read_until(b'\n', &mut self.text)?;
        if read == 0 {
            return Err(self.bad("the bundle ends before its end line: it was cut"));
        }
        if self.text.last() != Some(&b'\n') {
            return Err(self.bad("the line is cut or too long"));
        }
        let text = std::str::from_utf8(&self.text).map_err(|e| self.bad(e))?;
        Value::parse(text.trim_end_matches('\n'), Mode::Strict).map_err(|e| self.bad(e))
    }

    pub(super) fn next(&mut self) -> Result<Line, BundleError> {
        let value = self.value()?;
        if value.get("ib").is_some() {
            let node = IbGib::from_value(value, Mode::Strict).and_then(IbGib::verify).map_err(|e| self.bad(e))?;
            self.hash.update(&self.text);
            return Ok(Line::Node(node));
        }
        if let Some(tip) = value.get("tip") {
            let addr = |name: &str| tip.get(name).and_then(Value::as_str).and_then(|t| t.parse::<Addr>().ok());
            let (Some(tjp), Some(addr)) = (addr("tjp"), addr("addr")) else {
                return Err(self.bad("a tip without tjp or addr"));
            };
            self.hash.update(&self.text);
            return Ok(Line::Tip(tjp, addr));
        }
        match value.get("end").and_then(Value::as_object) {
            Some(end) => Ok(Line::End(end.clone())),
            None => Err(self.bad("neither an ibgib nor a tip nor the end")),
        }
    }
}
