//! Questions and their answers as [blocks](super::blocks): most of what they say is addresses, and the other side has heard
//! most of those before. Each side has one writer and one reader. The question whether everything is equal, with which
//! planning begins and which whoever waits for news asks again and again, is never packed: with it both begin anew.

use super::blocks::{BlockReader, BlockWriter, Learned};
use super::message::Message;
use super::packet::Packet;
use super::peek::Peek;
use crate::error::{Breach, SagaError};
use crate::limits::Limits;

/// The first byte of a binary message that is a packed question or answer, and no piece of a stream.
pub const PACKED: u8 = 2;
/// Bytes of a message that is worth it.
const FROM_BYTES: usize = 256;
/// Hashes that are remembered: of many connections at once, so fewer than of a turn's stream.
const HASHES_MAX: usize = 4_096;
/// A longer message is no dictionary for the next one, for the same reason.
const DICTIONARY_BYTES_MAX: usize = 16 * 1024;

/// What one side of a connection packs with, and unpacks with.
#[derive(Debug)]
pub(crate) struct Packing {
    writer: BlockWriter,
    reader: BlockReader,
    /// Each side also knows what the other has named: a question and its answer are about the same.
    shared: bool,
}

impl Default for Packing {
    fn default() -> Self {
        let learned = || Learned::remembering(HASHES_MAX);
        Self { writer: BlockWriter::knowing(learned()), reader: BlockReader::knowing(learned()), shared: false }
    }
}

impl Packing {
    /// From now on each side knows what the other has named, or not, as peers of before do.
    pub(crate) fn share(&mut self, shared: bool) {
        *self = Self { shared, ..Self::default() };
    }

    /// What was named last.
    pub(crate) fn learned(&self) -> &Learned {
        &self.writer.learned
    }

    /// Encodes a message.
    pub(crate) fn pack(&mut self, message: &Message) -> Packet {
        match message.packet() {
            packet if matches!(message, Message::Peek(Peek::Equal(..))) => {
                self.begin_anew();
                packet
            }
            Packet::Text(text) if text.len() >= FROM_BYTES => {
                let mut bytes = vec![PACKED];
                bytes.extend(self.writer.line(&text, &[]).into_iter().flatten());
                bytes.extend(self.writer.end().into_iter().flatten());
                self.writer.rest(DICTIONARY_BYTES_MAX);
                Packet::Binary(bytes)
            }
            packet => packet,
        }
    }

    /// The text of a message that came packed: one text in one block.
    pub(crate) fn unpack(&mut self, packet: &[u8], limits: &Limits) -> Result<String, SagaError> {
        let broken = || SagaError::misbehaved(Breach::BadMessage, "a packed message is not one text in one block");
        self.swap();
        self.reader.push(packet.strip_prefix(&[PACKED]).ok_or_else(broken)?);
        // A message has a limit of its own.
        let limit = limits.message_bytes_max as u64;
        let limits = Limits { node_bytes_max: limits.message_bytes_max, ..limits.clone() };
        let mut text = || {
            self.reader.text(&[], &limits).map_err(|error| match error {
                SagaError::Limit { name: "node_bytes_max", .. } => {
                    SagaError::Limit { name: "message_bytes_max", limit }
                }
                error => error,
            })
        };
        let first = text()?.ok_or_else(broken)?;
        if text()?.is_some() || !self.reader.is_empty() {
            return Err(broken());
        }
        self.reader.rest(DICTIONARY_BYTES_MAX);
        self.swap();
        Ok(first)
    }

    /// The question was asked whether everything is equal.
    pub(crate) fn begin_anew(&mut self) {
        self.share(self.shared);
    }

    /// What is shared is with the writer, but while something is read.
    fn swap(&mut self) {
        if self.shared {
            std::mem::swap(&mut self.writer.learned, &mut self.reader.learned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Envelope;
    use crate::wire::peek::Peeked;
    use ibgib::Addr;

    fn addrs(count: usize) -> Vec<Addr> {
        (0..count).map(|n| format!("note^{:064X}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).parse().unwrap()).collect()
    }

    fn bytes(packet: Packet) -> Vec<u8> {
        match packet {
            Packet::Binary(bytes) => bytes,
            Packet::Text(text) => panic!("{text}"),
        }
    }

    #[test]
    fn what_was_packed_is_read_and_what_was_heard_before_takes_little() {
        let (mut here, mut there) = (Packing::default(), Packing::default());
        let asked = Message::Peek(Peek::Has(addrs(100)));
        let told = Message::PeekOk(Peeked { nodes: addrs(100), ..Peeked::default() });
        let mut lens = Vec::new();
        for message in [&asked, &told, &asked, &told] {
            let packed = bytes(here.pack(message));
            lens.push(packed.len());
            let text = there.unpack(&packed, &Limits::default()).unwrap();
            assert_eq!(Packet::Text(text.clone()), message.packet());
            assert_eq!(Envelope::parse(&text).unwrap().open().unwrap().packet(), message.packet());
        }
        // 32 bytes for each hash that was not heard, and about three for one that was.
        assert!(lens[0] < 100 * 45 && lens[1..].iter().all(|len| *len < 100 * 8), "{lens:?}");
    }

    #[test]
    fn what_either_side_has_named_takes_little_where_it_is_shared() {
        let (mut here, mut there) = (Packing::default(), Packing::default());
        here.share(true);
        there.share(true);
        for round in 0..4 {
            // More than is remembered, after a while.
            let addrs = addrs(3_000 * (round + 1)).split_off(3_000 * round);
            let asked = Message::Peek(Peek::Has(addrs[..1_500].to_vec()));
            let told = Message::PeekOk(Peeked { nodes: addrs, ..Peeked::default() });
            let question = bytes(here.pack(&asked));
            assert_eq!(Packet::Text(there.unpack(&question, &Limits::default()).unwrap()), asked.packet());
            let answer = bytes(there.pack(&told));
            assert_eq!(Packet::Text(here.unpack(&answer, &Limits::default()).unwrap()), told.packet());
            // Half of it was in the question.
            assert!(answer.len() < 1_500 * 40 + 1_500 * 8, "{round}: {}", answer.len());
            assert!(here.learned().in_order().eq(there.learned().in_order()));
        }
        here.begin_anew();
        there.begin_anew();
        assert_eq!(here.learned().in_order().count(), 0);
    }

    #[test]
    fn more_is_packed_than_is_remembered() {
        let (mut here, mut there) = (Packing::default(), Packing::default());
        for _ in 0..3 {
            let message = Message::Peek(Peek::Has(addrs(HASHES_MAX + 100)));
            let text = there.unpack(&bytes(here.pack(&message)), &Limits::default()).unwrap();
            assert_eq!(Packet::Text(text), message.packet());
        }
    }

    #[test]
    fn with_the_question_whether_all_is_equal_both_begin_anew() {
        let (mut here, mut there) = (Packing::default(), Packing::default());
        let root = format!("{}^{}", "n".repeat(200), "A".repeat(64)).parse().unwrap();
        let equal = Message::Peek(Peek::Equal("0".repeat(32), Some(root), 0));
        let asked = Message::Peek(Peek::Has(addrs(100)));
        let mut packed = Vec::new();
        for _ in 0..2 {
            assert_eq!(here.pack(&equal), equal.packet());
            there.begin_anew();
            packed.push(bytes(here.pack(&asked)));
            there.unpack(packed.last().unwrap(), &Limits::default()).unwrap();
        }
        assert_eq!(packed[0], packed[1]);
    }

    #[test]
    fn what_is_short_stays_a_text() {
        let message = Message::Peek(Peek::Has(addrs(1)));
        assert_eq!(Packing::default().pack(&message), message.packet());
    }

    #[test]
    fn what_is_no_packed_message_is_refused() {
        let limits = Limits { message_bytes_max: 20_000, ..Limits::default() };
        let packed = bytes(Packing::default().pack(&Message::Peek(Peek::Has(addrs(100)))));
        let mut twice = Packing::default();
        let both = [packed.clone(), bytes(twice.pack(&Message::Peek(Peek::Has(addrs(50)))))[1..].to_vec()].concat();
        let large = bytes(Packing::default().pack(&Message::Peek(Peek::Has(addrs(400)))));
        let refused = |bytes: &[u8]| Packing::default().unpack(bytes, &limits).unwrap_err();
        assert!(Packing::default().unpack(&packed, &limits).is_ok());
        let breach = |bytes: &[u8]| match refused(bytes) {
            SagaError::PeerMisbehaved { breach, .. } => breach,
            error => panic!("{error:?}"),
        };
        assert_eq!(breach(&[]), Breach::BadMessage);
        assert_eq!(breach(&packed[1..]), Breach::BadMessage);
        assert_eq!(breach(&packed[..packed.len() - 1]), Breach::BadMessage);
        assert_eq!(breach(&[&packed[..], &[0]].concat()), Breach::BadMessage);
        assert_eq!(breach(&both), Breach::BadMessage);
        assert!(matches!(breach(&[&[PACKED, 9], &packed[2..]].concat()), Breach::BadBlock(_)));
        assert!(matches!(refused(&large), SagaError::Limit { name: "message_bytes_max", .. }));
    }
}
