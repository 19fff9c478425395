//! A turn's stream as blocks: its nodes in the order in which each follows from those before it, then the lines of its
//! list, compressed, and nothing that the receiver can find out by itself.
//!
//! ```text
//! block    method (0: as it is, 1: Zstandard), then as LEB128 numbers: hashes, bytes of content, bytes of what is packed;
//!          the hashes, 32 bytes each; what is packed
//! content  texts, each after its length; a node is its JSON without `gib`, a line is the line without line feed
//! text     with marks where 64 hex digits stood: 1 and how far back a hash was learned (from 1), 2 or 3 and its number
//!          (uppercase, lowercase digits), 4 or 5: the next hash of this block
//! ```
//! Both sides learn the same hashes in the same order: each new one of a block, after each node that node's, and before a
//! line those that it is [known](super::named) to be about. Of the last [`HASHES_MAX`] each has the number of its turn modulo
//! that. The dictionary is the content of the block before, for the first block [`COMMON`]. What all texts so far have in
//! bytes, and [`LENGTH_BYTES`] more for each, is at most [`FREE_BYTES`] and [`RATIO_MAX`] times what all blocks so far have; a
//! writer that would cross that packs the block less well, or sends it as it is.

use crate::error::{Breach, SagaError};
use crate::limits::Limits;
use ibgib::{IbGib, Verified};
use ibgib_blocks::{BlockError, COMMON, In, Key, Out, Packer, expand, pack, pack_alike, squeeze, unpack};
use std::collections::HashMap;

/// Bytes of content, new hashes included, after which a block ends; a longer text has a block of its own.
const BLOCK_BYTES: usize = 256 * 1024;
/// The same for blocks that are read, whoever wrote them.
const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Hashes that are remembered.
pub(crate) const HASHES_MAX: usize = 32 * 1024;
/// Bytes of texts for each byte of blocks, at most, and how many more there may be.
pub(crate) const RATIO_MAX: u64 = 1_024;
pub(crate) const FREE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of the length of a text, at most.
const LENGTH_BYTES: usize = 10;
/// Bytes of memory that a hash takes which is remembered, and its number.
const LEARNED_BYTES: u64 = 32 + 80;

const AS_IT_IS: u8 = 0;
const PACKED: u8 = 1;

const BACK: u8 = 1;
const UPPER: u8 = 2;
const LOWER: u8 = 3;
const NEW_UPPER: u8 = 4;
const NEW_LOWER: u8 = 5;
/// So far back hashes are named by their distance.
const BACK_MAX: usize = 3;

/// The hashes that both sides have seen last.
#[derive(Clone, Debug)]
pub(crate) struct Learned {
    hashes: Vec<Key>,
    numbers: HashMap<Key, usize>,
    /// Where the next one goes.
    next: usize,
    /// How many are remembered.
    max: usize,
}

impl Default for Learned {
    fn default() -> Self {
        Self::remembering(HASHES_MAX)
    }
}

impl Learned {
    /// Those of so many.
    pub(crate) fn remembering(max: usize) -> Self {
        Self { hashes: Vec::new(), numbers: HashMap::new(), next: 0, max }
    }

    /// The hashes, the oldest first.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = Key> {
        let (newer, older) = self.hashes.split_at(self.next.min(self.hashes.len()));
        older.iter().chain(newer).copied()
    }

    /// Learns a hash, and forgets the oldest if there is no room for it.
    pub(crate) fn push(&mut self, hash: Key) {
        let number = self.next;
        self.next = (number + 1) % self.max;
        match self.hashes.get_mut(number) {
            Some(old) => {
                let old = std::mem::replace(old, hash);
                if self.numbers.get(&old) == Some(&number) {
                    self.numbers.remove(&old);
                }
            }
            None => self.hashes.push(hash),
        }
        self.numbers.insert(hash, number);
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.hashes.len() as u64 * LEARNED_BYTES
    }

    /// Under which number a hash is known.
    fn number(&self, hash: &Key) -> Option<usize> {
        self.numbers.get(hash).copied()
    }

    fn at(&self, number: usize) -> Option<Key> {
        self.hashes.get(number).copied()
    }

    /// How far back a number is.
    fn back_to(&self, number: usize) -> usize {
        (self.next + self.max - number - 1) % self.max + 1
    }

    fn back(&self, distance: usize) -> Option<Key> {
        let is_there = (1..=self.hashes.len()).contains(&distance);
        is_there.then(|| (self.next + self.max - distance) % self.max).and_then(|number| self.at(number))
    }
}

/// What came out, and of what.
#[derive(Debug, Default)]
struct Ratio {
    texts: u64,
    blocks: u64,
}

impl Ratio {
    /// Bytes of texts that there may still be.
    fn room(&self) -> u64 {
        (FREE_BYTES + RATIO_MAX.saturating_mul(self.blocks)).saturating_sub(self.texts)
    }
}

/// Writes blocks.
#[derive(Debug, Default)]
pub(crate) struct BlockWriter {
    pub(crate) learned: Learned,
    ratio: Ratio,
    packer: Packer,
    /// What the block before held.
    before: Option<Vec<u8>>,
    content: Out,
    new: Vec<Key>,
    /// Bytes of the texts in the content, lengths included.
    texts: u64,
}

impl BlockWriter {
    /// One that knows these hashes.
    pub(crate) fn knowing(learned: Learned) -> Self {
        Self { learned, ..Self::default() }
    }

    /// Lets go of whatever is large, between blocks. A content of more than so many bytes is no dictionary.
    pub(crate) fn rest(&mut self, dictionary_max: usize) {
        self.packer = Packer::default();
        self.before.take_if(|before| before.len() > dictionary_max);
    }

    /// Adds a node; answers the block that ends before it, if one does.
    pub(crate) fn node(&mut self, node: &Verified<IbGib>) -> Option<Vec<u8>> {
        let ended = self.text(&node.to_json_without_gib());
        if let Some(key) = node.addr().key() {
            self.learned.push(key);
        }
        ended
    }

    /// Adds a line of a list, likewise. It may name these hashes, which the other side knows.
    pub(crate) fn line(&mut self, line: &str, beside: &[Key]) -> Option<Vec<u8>> {
        beside.iter().for_each(|hash| self.learned.push(*hash));
        self.text(line)
    }

    /// Ends the block; `None` when nothing is in it.
    pub(crate) fn end(&mut self) -> Option<Vec<u8>> {
        if self.content.0.is_empty() {
            return None;
        }
        let content = std::mem::take(&mut self.content.0);
        let new = std::mem::take(&mut self.new);
        self.ratio.texts += std::mem::take(&mut self.texts);
        let write = |method: u8, bytes: &[u8]| {
            let mut out = Out::default();
            out.0.push(method);
            for n in [new.len(), content.len(), bytes.len()] {
                out.number(n as u64);
            }
            out.0.extend_from_slice(new.as_flattened());
            out.0.extend_from_slice(bytes);
            out.0
        };
        let room = |blocks: usize| FREE_BYTES + RATIO_MAX.saturating_mul(self.ratio.blocks + blocks as u64);
        let dictionary = self.before.as_deref().unwrap_or(COMMON);
        let is_long = content.len().min(dictionary.len()) > BLOCK_BYTES;
        // The shortest way first. One that is too short for the texts so far gives way to one that takes more.
        let block = (usize::from(!is_long)..3).find_map(|way| {
            let packed = match way {
                0 => pack_alike(&content, dictionary),
                1 => self.packer.pack(&content, dictionary),
                _ => pack(&content, &[]),
            };
            let packed = packed.filter(|packed| packed.len() < content.len()).map(|packed| write(PACKED, &packed));
            packed.filter(|packed| room(packed.len()) >= self.ratio.texts)
        });
        let block = block.unwrap_or_else(|| write(AS_IT_IS, &content));
        self.ratio.blocks += block.len() as u64;
        self.before = Some(content);
        Some(block)
    }

    fn text(&mut self, text: &str) -> Option<Vec<u8>> {
        let full = self.content.0.len() + 32 * self.new.len() + text.len() + LENGTH_BYTES > BLOCK_BYTES;
        let ended = if full { self.end() } else { None };
        let mut squeezed = Out::default();
        squeeze(text.as_bytes(), &mut squeezed, |hash, lower, out| self.mark(hash, lower, out));
        self.content.bytes(&squeezed.0);
        self.texts += (text.len() + LENGTH_BYTES) as u64;
        ended
    }

    fn mark(&mut self, hash: Key, lower: bool, out: &mut Out) {
        let Some(number) = self.learned.number(&hash) else {
            out.0.push(if lower { NEW_LOWER } else { NEW_UPPER });
            self.new.push(hash);
            return self.learned.push(hash);
        };
        let back = self.learned.back_to(number);
        if !lower && back <= BACK_MAX {
            out.0.push(BACK);
            out.number(back as u64);
        } else {
            out.0.push(if lower { LOWER } else { UPPER });
            out.number(number as u64);
        }
    }
}

/// Reads blocks of which bytes come as they come, one at a time.
#[derive(Debug, Default)]
pub(crate) struct BlockReader {
    buffer: Vec<u8>,
    /// So much of the buffer is read. It is let go of once no block in it is whole: not after each, of which there may be
    /// very many.
    at: usize,
    pub(crate) learned: Learned,
    ratio: Ratio,
    before: Option<Vec<u8>>,
    open: Option<Block>,
}

/// A block whose texts are being read.
#[derive(Debug)]
struct Block {
    content: Vec<u8>,
    at: usize,
    new: std::vec::IntoIter<Key>,
}

/// What a block says of itself.
struct Head {
    method: u8,
    new: usize,
    content: usize,
    packed: usize,
    /// Bytes of the head.
    len: usize,
}

impl Head {
    /// `None` while not all of it is there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, BlockError> {
        let mut read = In(bytes);
        let Some(method) = read.byte() else { return Ok(None) };
        if method > PACKED {
            return Err(BlockError::Method(method));
        }
        match (read.count(), read.count(), read.count()) {
            (Some(new), Some(content), Some(packed)) => {
                Ok(Some(Self { method, new, content, packed, len: bytes.len() - read.0.len() }))
            }
            // Three numbers have no more bytes than this.
            _ if bytes.len() > 3 * LENGTH_BYTES => Err(BlockError::Short),
            _ => Ok(None),
        }
    }
}

impl BlockReader {
    /// One that knows these hashes.
    pub(crate) fn knowing(learned: Learned) -> Self {
        Self { learned, ..Self::default() }
    }

    /// As [`BlockWriter::rest`], on the other side.
    pub(crate) fn rest(&mut self, dictionary_max: usize) {
        self.buffer = Vec::new();
        self.before.take_if(|before| before.len() > dictionary_max);
    }

    /// Takes bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes of memory that it holds, about.
    pub(crate) fn held_bytes(&self) -> u64 {
        let before = self.before.as_ref().map_or(0, Vec::len);
        let open = self.open.as_ref().map_or(0, |block| block.content.len() + 32 * block.new.len());
        (self.buffer.len() + before + open) as u64 + self.learned.bytes()
    }

    /// Whether no block is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.open.is_none()
    }

    /// The next text, once all of its block is there; `beside`: the hashes that it may name if it is a line.
    pub(crate) fn text(&mut self, beside: &[Key], limits: &Limits) -> Result<Option<String>, SagaError> {
        loop {
            let mut block = match self.open.take() {
                Some(block) => block,
                None => match self.block(limits)? {
                    Some(block) => block,
                    None => {
                        self.buffer.drain(..std::mem::take(&mut self.at));
                        return Ok(None);
                    }
                },
            };
            if let Some(text) = self.text_of(&mut block, beside, limits)? {
                self.open = Some(block);
                return Ok(Some(text));
            }
            self.before = Some(block.content);
        }
    }

    /// The next block, once all of it is there. What it tells of itself is believed only as far as limits go, before
    /// anything is waited for or made room for.
    fn block(&mut self, limits: &Limits) -> Result<Option<Block>, SagaError> {
        let buffer = &self.buffer[self.at..];
        let Some(head) = Head::read(buffer).map_err(bad)? else { return Ok(None) };
        let Head { method, new, content, packed, len } = head;
        // It would count against no limit of a stream.
        if content == 0 {
            return Err(bad(BlockError::Empty));
        }
        let limit = limits.node_bytes_max;
        if new.saturating_mul(32).saturating_add(content) > BLOCK_BYTES_MAX.max(limit.saturating_add(LENGTH_BYTES)) {
            return Err(SagaError::Limit { name: "node_bytes_max", limit: limit as u64 });
        }
        let fits = if method == PACKED { packed < content } else { packed == content };
        if !fits {
            return Err(bad(BlockError::Packed));
        }
        let whole = len + 32 * new + packed;
        let ratio = Ratio { blocks: self.ratio.blocks + whole as u64, ..self.ratio };
        if ratio.room() < content as u64 {
            return Err(too_much());
        }
        if buffer.len() < whole {
            return Ok(None);
        }
        let (hashes, body) = buffer[len..whole].split_at(32 * new);
        let dictionary = self.before.as_deref().unwrap_or(COMMON);
        let content = match method {
            PACKED => unpack(body, content, dictionary).map_err(bad)?,
            _ => body.to_vec(),
        };
        let new = hashes.as_chunks::<32>().0.to_vec().into_iter();
        self.at += whole;
        self.ratio = ratio;
        Ok(Some(Block { content, at: 0, new }))
    }

    /// The block's next text; `None` when that was all.
    fn text_of(&mut self, block: &mut Block, beside: &[Key], limits: &Limits) -> Result<Option<String>, SagaError> {
        let mut rest = In(&block.content[block.at..]);
        if rest.0.is_empty() {
            return if block.new.len() == 0 { Ok(None) } else { Err(bad(BlockError::Idle)) };
        }
        let squeezed = rest.bytes().ok_or_else(|| bad(BlockError::Short))?;
        beside.iter().for_each(|hash| self.learned.push(*hash));
        let room = usize::try_from(self.ratio.room()).unwrap_or(usize::MAX).saturating_sub(LENGTH_BYTES);
        let read = expand(squeezed, room.min(limits.node_bytes_max), |mark, rest| {
            let mut number = || rest.count().ok_or(BlockError::Short);
            let hash = match mark {
                NEW_UPPER | NEW_LOWER => {
                    let new = block.new.next();
                    if let Some(hash) = new {
                        self.learned.push(hash);
                    }
                    new
                }
                BACK => self.learned.back(number()?),
                _ => self.learned.at(number()?),
            };
            Ok((hash.ok_or(BlockError::Hash)?, matches!(mark, LOWER | NEW_LOWER)))
        });
        let text = read.map_err(|error| match error {
            BlockError::Long if room < limits.node_bytes_max => too_much(),
            BlockError::Long => SagaError::Limit { name: "node_bytes_max", limit: limits.node_bytes_max as u64 },
            error => bad(error),
        })?;
        block.at = block.content.len() - rest.0.len();
        self.ratio.texts += (text.len() + LENGTH_BYTES) as u64;
        Ok(Some(text))
    }

    /// Learns the hash of the node that the last text was.
    pub(crate) fn learn(&mut self, node: &Verified<IbGib>) {
        if let Some(key) = node.addr().key() {
            self.learned.push(key);
        }
    }
}

fn bad(error: BlockError) -> SagaError {
    SagaError::misbehaved(Breach::BadBlock(error), error.to_string())
}

fn too_much() -> SagaError {
    SagaError::Limit { name: "block_ratio_max", limit: RATIO_MAX }
}

#[cfg(test)]
mod tests;
