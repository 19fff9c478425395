//! A turn's stream as JSON Lines.

use crate::error::{Breach, SagaError};
use crate::limits::Limits;

/// Reads lines of which bytes come as they come.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    buffer: Vec<u8>,
    /// Where the next line begins, and where its end is to be looked for.
    at: usize,
    looked: usize,
}

impl LineReader {
    /// Takes bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes of memory that it holds, about.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Whether no line is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next line, once its end is there.
    pub(crate) fn text(&mut self, limits: &Limits) -> Result<Option<String>, SagaError> {
        let end = self.buffer[self.looked..].iter().position(|b| *b == b'\n').map(|n| self.looked + n);
        self.looked = end.unwrap_or(self.buffer.len());
        let line = &self.buffer[self.at..self.looked];
        limits.check_node(line.len())?;
        if end.is_none() {
            // Not after each line, of which there may be very many.
            self.buffer.drain(..self.at);
            self.looked -= std::mem::take(&mut self.at);
            return Ok(None);
        }
        let text = std::str::from_utf8(line);
        let text = text.map_err(|e| SagaError::misbehaved(Breach::BadChunk, e.to_string()))?.to_owned();
        self.looked += 1;
        self.at = self.looked;
        Ok(Some(text))
    }
}
