//! Blocks: up to [`NODES_MAX`] nodes that stand together in the log and are compressed together, best a frame after the
//! one before it.
//!
//! Most of a node's text is addresses, and hashes cannot be compressed. So each hash of a block is written once, 32 bytes,
//! beside the text, which says only which one it is; what is left of a text repeats that of the frame before. A small
//! block is compressed with an earlier one as dictionary, which it has to be read with: at most [`NODES_MAX`] nodes are
//! read for one.

use super::log::Pos;
pub(super) use ibgib_blocks::Key;
use ibgib_blocks::{BlockError, COMMON, In, Out, Packer, expand, pack_alike, squeeze, unpack};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

/// Nodes that have to be read for one, at most.
pub(super) const NODES_MAX: usize = 32;
/// Bytes of texts after which a block ends, however few nodes it has.
const TEXT_BYTES: usize = 256 * 1024;
/// Texts that have so many bytes are compressed beside another of the kind wherever there is one: without one they take most
/// of a log's room.
pub(super) const LONG_BYTES: usize = 64 * 1024;
/// Bytes of texts that a block may have when it is read: one node of the largest size, and marks.
const CONTENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// In a text: a hash of this block, counted back from the node's own; one by its place; the same in lowercase digits; and
/// those of the block that is the dictionary. JSON text has none of these bytes.
const BACK: u8 = 1;
const UPPER: u8 = 2;
const LOWER: u8 = 3;
const BASE_UPPER: u8 = 4;
const BASE_LOWER: u8 = 5;
/// So far back nodes are named by their distance.
const BACK_MAX: usize = 3;

/// Nodes as they were written together, their keys first among the hashes.
#[derive(Debug)]
pub(super) struct Block {
    count: usize,
    hashes: Arc<[Key]>,
    base_hashes: Arc<[Key]>,
    content: Vec<u8>,
    /// Where each text begins and ends in the content.
    spans: Vec<(usize, usize)>,
    /// The block that is its dictionary.
    pub(super) base: Option<Pos>,
    /// Nodes that are read for one of this, this block's included.
    pub(super) chain: usize,
}

/// What the payload of a block's record begins with.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// For whom its nodes are staged; empty when the batch that follows commits them.
    pub(super) owner: &'a str,
    /// The block that is its dictionary.
    pub(super) base: Option<Pos>,
    chain: usize,
    count: usize,
    hashes: &'a [u8],
    content_len: usize,
    packed: &'a [u8],
}

/// Hashes of a block that is being written, each with its place.
struct Hashes<'a> {
    own: Vec<Key>,
    places: HashMap<Key, usize>,
    base: HashMap<&'a Key, usize>,
}

/// Takes texts to those that wait for a block, until the next one is full, and answers how many of them it takes: at least
/// one. What it does not take waits for the one after it; that is one text at most, since texts may be long.
pub(super) fn fill<T: Deref<Target = str>>(texts: &mut Vec<T>, mut more: impl Iterator<Item = T>) -> usize {
    let mut bytes: usize = texts.iter().map(|text| text.len()).sum();
    while bytes <= TEXT_BYTES && texts.len() < NODES_MAX {
        let Some(text) = more.next() else { return texts.len() };
        bytes += text.len();
        texts.push(text);
    }
    if bytes > TEXT_BYTES { (texts.len() - 1).max(1) } else { texts.len() }
}

impl Block {
    /// The payload of a record that holds these nodes, and the block as it will be read.
    pub(super) fn write(
        packer: &mut Packer,
        owner: &str,
        nodes: &[(Key, &str)],
        base: Option<(Pos, &Self)>,
    ) -> Option<(Vec<u8>, Self)> {
        let base = base.filter(|(_, block)| block.has_room(nodes.len()));
        let keys: Vec<Key> = nodes.iter().map(|(key, _)| *key).collect();
        let places = keys.iter().enumerate().map(|(i, key)| (*key, i)).collect();
        let from_base = base.iter().flat_map(|(_, block)| block.hashes.iter().enumerate().map(|(i, key)| (key, i)));
        let mut hashes = Hashes { own: keys, places, base: from_base.collect() };
        let (mut content, mut spans) = (Out::default(), Vec::new());
        for (nth, (_, text)) in nodes.iter().enumerate() {
            let start = content.0.len();
            hashes.squeeze(nth, text.as_bytes(), &mut content);
            spans.push((start, content.0.len()));
        }
        let content = content.0;
        let dictionary = base.map_or(COMMON, |(_, block)| block.content.as_slice());
        let packed = match base {
            Some((_, block)) if block.is_long() && content.len() >= LONG_BYTES => pack_alike(&content, dictionary)?,
            _ => packer.pack(&content, dictionary)?,
        };
        let chain = nodes.len() + base.map_or(0, |(_, block)| block.chain);
        let mut out = Out::default();
        out.bytes(owner.as_bytes());
        out.number(base.map_or(0, |(pos, _)| pos.number()));
        out.number(chain as u64);
        out.number(nodes.len() as u64);
        for (start, end) in &spans {
            out.number((end - start) as u64);
        }
        out.bytes(hashes.own.as_flattened());
        out.number(content.len() as u64);
        out.0.extend_from_slice(&packed);
        let block = Self {
            count: nodes.len(),
            hashes: hashes.own.into(),
            base_hashes: base.map_or_else(|| Arc::from([]), |(_, block)| Arc::clone(&block.hashes)),
            content,
            spans,
            base: base.map(|(pos, _)| pos),
            chain,
        };
        Some((out.0, block))
    }

    /// Whether so many nodes may be compressed beside it.
    pub(super) fn has_room(&self, nodes: usize) -> bool {
        self.chain + nodes <= NODES_MAX
    }

    /// Whether its texts are long.
    pub(super) fn is_long(&self) -> bool {
        self.content.len() >= LONG_BYTES
    }

    /// Reads a block whose dictionary is there.
    pub(super) fn read(head: &Head<'_>, spans: &[usize], base: Option<&Self>) -> Option<Self> {
        let dictionary = base.map_or(COMMON, |block| block.content.as_slice());
        let content = unpack(head.packed, head.content_len, dictionary).ok()?;
        if head.chain != head.count + base.map_or(0, |block| block.chain) {
            return None;
        }
        let mut at = 0;
        let spans: Vec<(usize, usize)> = spans
            .iter()
            .map(|len| {
                let start = at;
                at += len;
                (start, at)
            })
            .collect();
        if at != content.len() {
            return None;
        }
        let hashes: Arc<[Key]> = head.hashes.as_chunks::<32>().0.into();
        let base_hashes = base.map_or_else(|| Arc::from([]), |block| Arc::clone(&block.hashes));
        Some(Self { count: head.count, hashes, base_hashes, content, spans, base: head.base, chain: head.chain })
    }

    /// The keys of its nodes.
    pub(super) fn keys(&self) -> &[Key] {
        &self.hashes[..self.count]
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.content.len() + self.hashes.len() * 32 + 256
    }

    /// The text of its nth node.
    pub(super) fn text(&self, nth: usize) -> Option<String> {
        let (start, end) = *self.spans.get(nth)?;
        let hash = |mark: u8, rest: &mut In<'_>| {
            let place = rest.count()?;
            let hash = match mark {
                BACK => self.hashes.get(nth.checked_sub(place)?)?,
                UPPER | LOWER => self.hashes.get(place)?,
                _ => self.base_hashes.get(place)?,
            };
            Some((*hash, matches!(mark, LOWER | BASE_LOWER)))
        };
        let squeezed = self.content.get(start..end)?;
        expand(squeezed, usize::MAX, |mark, rest| hash(mark, rest).ok_or(BlockError::Hash)).ok()
    }
}

impl<'a> Head<'a> {
    /// Reads a block's head, and the lengths of its texts.
    pub(super) fn read(payload: &'a [u8]) -> Option<(Self, Vec<usize>)> {
        let mut read = In(payload);
        let owner = read.text()?;
        let base = read.number()?;
        let (chain, count) = (read.count()?, read.count()?);
        if count == 0 || count > NODES_MAX || chain > NODES_MAX {
            return None;
        }
        let spans: Vec<usize> = (0..count).map(|_| read.count()).collect::<Option<_>>()?;
        let hashes = read.bytes()?;
        let content_len = read.count()?;
        let is_right = hashes.len() % 32 == 0 && hashes.len() / 32 >= count && content_len <= CONTENT_BYTES_MAX;
        let base = (base != 0).then(|| Pos::of(base));
        is_right.then_some((Self { owner, base, chain, count, hashes, content_len, packed: read.0 }, spans))
    }
}

impl Hashes<'_> {
    /// Writes a text with marks in the place of hashes.
    fn squeeze(&mut self, nth: usize, text: &[u8], out: &mut Out) {
        squeeze(text, out, |hash, lower, out| self.mark(nth, hash, lower, out));
    }

    fn mark(&mut self, nth: usize, hash: Key, lower: bool, out: &mut Out) {
        let (mark, place) = match (self.places.get(&hash), self.base.get(&hash)) {
            (Some(place), _) if !lower && *place <= nth && nth - place <= BACK_MAX => (BACK, nth - place),
            (Some(place), _) => (if lower { LOWER } else { UPPER }, *place),
            (None, Some(place)) => (if lower { BASE_LOWER } else { BASE_UPPER }, *place),
            (None, None) => {
                let place = self.own.len();
                self.own.push(hash);
                self.places.insert(hash, place);
                (if lower { LOWER } else { UPPER }, place)
            }
        };
        out.0.push(mark);
        out.number(place as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Key {
        [n; 32]
    }

    fn back(payload: &[u8], base: Option<&Block>) -> Option<Block> {
        let (head, spans) = Head::read(payload)?;
        Block::read(&head, &spans, base)
    }

    #[test]
    fn texts_come_back_whatever_digits_they_have() {
        let hash = |n: u8| hex::encode_upper(key(n));
        let texts = [
            format!("{{\"ib\":\"a\",\"gib\":\"{}\"}}", hash(1)),
            format!("{}.{}{}", hash(2), hash(1), hash(9)),
            format!("{}{}", hash(3).to_lowercase(), &hash(3)[..63]),
            format!("a{}A{}9", hash(0xab).to_lowercase(), hash(0xab)),
            format!("{}{}", "ABab".repeat(40), "0".repeat(200)),
            "no digits at all, ünicode".to_owned(),
            String::new(),
        ];
        let nodes: Vec<(Key, &str)> = (1..).zip(&texts).map(|(n, text)| (key(n), text.as_str())).collect();
        let (payload, written) = Block::write(&mut Packer::default(), "owner", &nodes, None).unwrap();
        let read = back(&payload, None).unwrap();
        let (head, _) = Head::read(&payload).unwrap();
        assert_eq!((head.owner, head.base, read.keys().len()), ("owner", None, texts.len()));
        for (nth, text) in texts.iter().enumerate() {
            assert_eq!(read.text(nth).as_ref(), Some(text));
            assert_eq!(written.text(nth).as_ref(), Some(text));
        }
        assert_eq!(read.text(texts.len()), None);
    }

    #[test]
    fn a_frame_after_another_takes_few_bytes() {
        let text =
            |n: u8| format!("{{\"gib\":\"{}\",\"text\":\"{}\"}}", hex::encode_upper(key(n)), "many words ".repeat(900));
        let (first, block) = Block::write(&mut Packer::default(), "", &[(key(1), &text(1))], None).unwrap();
        let at = Pos { segment: 0, offset: 64 };
        let (second, next) =
            Block::write(&mut Packer::default(), "", &[(key(2), &text(2))], Some((at, &block))).unwrap();
        assert!(second.len() < 90, "{} after {}", second.len(), first.len());
        assert_eq!((Head::read(&second).unwrap().0.base, next.chain), (Some(at), 2));
        assert_eq!(back(&second, Some(&block)).unwrap().text(0), Some(text(2)));
        assert!(back(&second, None).is_none(), "it needs its dictionary");
        // The chain ends after so many nodes.
        let full = Block { chain: NODES_MAX, ..block };
        let (third, _) = Block::write(&mut Packer::default(), "", &[(key(2), &text(2))], Some((at, &full))).unwrap();
        assert_eq!(Head::read(&third).unwrap().0.base, None);
    }

    #[test]
    fn no_more_texts_are_made_than_a_block_takes() {
        let takes = |lens: &[usize]| {
            let (mut texts, mut made, mut most, mut counts) = (Vec::new(), 0, 0, Vec::new());
            while made < lens.len() || !texts.is_empty() {
                let count = fill(&mut texts, lens[made..].iter().map(|len| "x".repeat(*len)));
                made = counts.iter().sum::<usize>() + texts.len();
                most = most.max(texts.len());
                texts.drain(..count);
                counts.push(count);
            }
            (counts, most)
        };
        assert_eq!(takes(&[]), (vec![], 0));
        assert_eq!(takes(&[10; 70]), (vec![32, 32, 6], 32));
        assert_eq!(takes(&[TEXT_BYTES / 2; 5]), (vec![2, 2, 1], 3));
        assert_eq!(takes(&[8 * TEXT_BYTES; 40]), (vec![1; 40], 1));
        let mixed = [10, TEXT_BYTES, 10, TEXT_BYTES - 20, 10, 1];
        assert_eq!(takes(&mixed), (vec![1, 1, 3, 1], 4));
    }

    #[test]
    fn damaged_bytes_are_told() {
        let text = format!("{{\"gib\":\"{}\"}}", hex::encode_upper(key(1)));
        let (payload, _) = Block::write(&mut Packer::default(), "me", &[(key(1), &text), (key(2), "x")], None).unwrap();
        for i in 0..payload.len() {
            // Whatever is read, nothing panics; the address of a node tells what is right.
            let mut damaged = payload.clone();
            damaged[i] ^= 0x55;
            if let Some(block) = back(&damaged, None) {
                (0..3).for_each(|nth| drop(block.text(nth)));
            }
            let _ = back(&payload[..i], None);
        }
    }
}
