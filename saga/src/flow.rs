//! A turn's stream under way, the same for both sides: [`Outgoing`] asks for nodes in portions and cuts what goes out
//! into chunks; [`Incoming`] checks each chunk as it arrives against what the turn announced and against the limits, and
//! hands its nodes out in portions.
//! A chunk is one flag byte (1 = the last one) and bytes of the stream: [blocks](crate::wire::blocks), or
//! [lines](crate::wire::lines), the list's before the nodes.

use crate::error::{Breach, SagaError};
use crate::limits::Limits;
use crate::wire::blocks::{BlockReader, BlockWriter};
use crate::wire::lines::LineReader;
use crate::wire::named::{Named, NamedLines};
use crate::wire::packet::{Encoding, Packet};
use crate::wire::stream::Line;
use crate::wire::turn::Turn;
use ibgib::{Addr, IbGib, Verified};
use ibgib_blocks::Key;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// Bytes of nodes that are asked for at once: what one side holds of its payload in memory.
const LOAD_BYTES: usize = 1024 * 1024;
/// What a node that comes in takes of those beside its text.
const BESIDE_BYTES: usize = 256;
/// Nodes that are asked for at once, so that a question stays small however small the nodes are.
pub(crate) const LOAD_NODES: usize = 1_024;

/// Whether nodes at this address may travel as payload: keystones and transcripts move by their own rules, and
/// what a server's doors keep is its own.
pub fn is_payload(addr: &Addr) -> bool {
    !matches!(addr.ib().split(' ').next(), Some("keystone" | "saga" | "saga_msg" | "saga_context" | "door_row"))
}

/// Asks for nodes of the own space, in order: at least one, and as many as fit the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which.
    pub addrs: Vec<Addr>,
    /// About how many bytes at most.
    pub bytes_max: usize,
}

/// A turn's stream on its way out: nodes as they are loaded, and the list.
#[derive(Debug)]
pub(crate) struct Outgoing<L> {
    buffer: Vec<u8>,
    ready: Vec<Packet>,
    chunk_bytes: usize,
    writing: Writing<L>,
    /// The lines that were named before.
    named: NamedLines,
    /// Nodes still to load and send.
    rest: VecDeque<Addr>,
    nodes: u64,
}

/// How a stream is written.
#[derive(Debug)]
enum Writing<L> {
    /// As blocks, and the lines that come after the nodes.
    Blocks(Box<BlockWriter>, Vec<L>),
    /// As lines, those of the list first.
    Lines,
}

/// What a stream on its way out needs next.
#[derive(Debug)]
pub(crate) enum Next {
    /// These nodes, given to [`Outgoing::loaded`].
    Load(Load),
    /// Nothing: all of it is in the packets that were handed out.
    Sent {
        /// Nodes of the payload.
        nodes: u64,
        /// What both sides have named by now.
        named: Named,
    },
}

impl<L: Line> Outgoing<L> {
    pub(crate) fn new(lines: Vec<L>, payload: Vec<Addr>, limits: &Limits, encoding: Encoding, named: Named) -> Self {
        let mut out = Self {
            buffer: Vec::new(),
            ready: Vec::new(),
            // One byte of a message is the flag.
            chunk_bytes: limits.chunk_bytes.min(limits.message_bytes_max - 1).max(1),
            writing: Writing::Lines,
            named: named.lines,
            rest: payload.into(),
            nodes: 0,
        };
        match encoding {
            Encoding::Blocks => out.writing = Writing::Blocks(Box::new(BlockWriter::knowing(named.learned)), lines),
            Encoding::Lines => lines.iter().for_each(|line| out.push(&[line.to_json().as_bytes(), b"\n"])),
        }
        out
    }

    /// Takes the next nodes of the payload, in order.
    pub(crate) fn loaded(&mut self, nodes: &[Verified<IbGib>]) -> Result<(), SagaError> {
        if nodes.is_empty() {
            return Err(SagaError::defect("a node to send is gone"));
        }
        for node in nodes {
            if self.rest.pop_front().as_ref() != Some(node.addr()) {
                return Err(SagaError::defect("nodes came in another order than asked"));
            }
            self.nodes += 1;
            match &mut self.writing {
                Writing::Blocks(blocks, _) => {
                    let ended = blocks.node(node);
                    self.push_block(ended);
                }
                Writing::Lines => self.push(&[node.json().as_bytes(), b"\n"]),
            }
        }
        Ok(())
    }

    /// Packets that can go out now, and what is needed then.
    pub(crate) fn send(&mut self) -> Result<(Vec<Packet>, Next), SagaError> {
        if !self.rest.is_empty() {
            let addrs = self.rest.iter().take(LOAD_NODES).cloned().collect();
            return Ok((std::mem::take(&mut self.ready), Next::Load(Load { addrs, bytes_max: LOAD_BYTES })));
        }
        let mut named = Named { lines: std::mem::take(&mut self.named), ..Named::default() };
        if let Writing::Blocks(mut blocks, lines) = std::mem::replace(&mut self.writing, Writing::Lines) {
            let mut own = NamedLines::default();
            for (nth, line) in lines.iter().enumerate() {
                let ended = blocks.line(&line.to_json(), named.lines.of(nth));
                self.push_block(ended);
                if L::IS_ASKED {
                    own.add(line);
                }
            }
            self.push(&[&blocks.end().unwrap_or_default()]);
            named.learned = blocks.learned;
            if L::IS_ASKED {
                named.lines = own;
            }
        }
        self.cut(1);
        Ok((std::mem::take(&mut self.ready), Next::Sent { nodes: self.nodes, named }))
    }

    /// Nodes that were sent, and of how many.
    pub(crate) fn headway(&self) -> (u64, u64) {
        (self.nodes, self.nodes + self.rest.len() as u64)
    }

    fn push(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        while self.buffer.len() >= self.chunk_bytes {
            let rest = self.buffer.split_off(self.chunk_bytes);
            self.cut(0);
            self.buffer = rest;
        }
    }

    /// A block goes out at once: who receives it unpacks it while the next one is made.
    fn push_block(&mut self, block: Option<Vec<u8>>) {
        let Some(block) = block else { return };
        self.push(&[&block]);
        if !self.buffer.is_empty() {
            self.cut(0);
        }
    }

    fn cut(&mut self, flag: u8) {
        let mut bytes = Vec::with_capacity(self.buffer.len() + 1);
        bytes.push(flag);
        bytes.append(&mut self.buffer);
        self.ready.push(Packet::Binary(bytes));
    }
}

/// What a saga has received so far, over all of its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) nodes: u64,
    /// Bytes of those nodes.
    pub(crate) bytes: u64,
}

/// A turn's stream on its way in, checked as it arrives.
#[derive(Debug)]
pub(crate) struct Incoming<L> {
    reading: Reading,
    lines_left: u64,
    nodes_left: u64,
    list_hash: Sha256,
    node_hash: Sha256,
    list_digest: String,
    node_digest: String,
    pub(crate) lines: Vec<L>,
    pub(crate) payload: Vec<Addr>,
    pub(crate) received: Received,
    list_bytes: u64,
    name_bytes: u64,
    /// What the lines of the sender's list before named, and what those that come name.
    named: NamedLines,
    own: NamedLines,
    /// The last chunk has come.
    ended: bool,
    /// All of it is read, and is what was announced.
    complete: bool,
}

/// How a stream is read.
#[derive(Debug)]
enum Reading {
    Blocks(Box<BlockReader>),
    Lines(LineReader),
}

impl Reading {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Blocks(blocks) => blocks.push(bytes),
            Self::Lines(lines) => lines.push(bytes),
        }
    }

    fn text(&mut self, beside: &[Key], limits: &Limits) -> Result<Option<String>, SagaError> {
        match self {
            Self::Blocks(blocks) => blocks.text(beside, limits),
            Self::Lines(lines) => lines.text(limits),
        }
    }

    fn held_bytes(&self) -> u64 {
        match self {
            Self::Blocks(blocks) => blocks.held_bytes(),
            Self::Lines(lines) => lines.held_bytes(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Blocks(blocks) => blocks.is_empty(),
            Self::Lines(lines) => lines.is_empty(),
        }
    }
}

impl<L: Line> Incoming<L> {
    /// Expects what the turn announces; `before`: what the saga's earlier turns brought, which counts too.
    pub(crate) fn expect(
        turn: &Turn,
        limits: &Limits,
        before: Received,
        encoding: Encoding,
        named: Named,
    ) -> Result<Self, SagaError> {
        let (lines, nodes) = (turn.list().count, turn.payload().count);
        if lines > limits.list_max {
            return Err(SagaError::Limit { name: "list_max", limit: limits.list_max });
        }
        if nodes > limits.nodes_max.saturating_sub(before.nodes) {
            return Err(SagaError::Limit { name: "nodes_max", limit: limits.nodes_max });
        }
        let reading = match encoding {
            Encoding::Blocks => Reading::Blocks(Box::new(BlockReader::knowing(named.learned))),
            Encoding::Lines => Reading::Lines(LineReader::default()),
        };
        Ok(Self {
            reading,
            lines_left: lines,
            nodes_left: nodes,
            list_hash: Sha256::new(),
            node_hash: Sha256::new(),
            list_digest: turn.list().digest.clone(),
            node_digest: turn.payload().digest.clone(),
            lines: Vec::new(),
            payload: Vec::new(),
            received: before,
            list_bytes: 0,
            name_bytes: 0,
            named: named.lines,
            own: NamedLines::default(),
            ended: false,
            complete: false,
        })
    }

    /// Takes a chunk, once [`Incoming::load`] has answered `None`.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> Result<(), SagaError> {
        let [flag @ (0 | 1), rest @ ..] = bytes else {
            return Err(SagaError::misbehaved(Breach::BadChunk, "a chunk starts with 0 or 1"));
        };
        if self.ended {
            return Err(SagaError::misbehaved(Breach::BadChunk, "a chunk after the last one"));
        }
        self.ended = *flag == 1;
        self.reading.push(rest);
        Ok(())
    }

    /// Nodes out of the chunks that came: few bytes of a chunk may be very many of nodes, so these come in portions, of
    /// which each is to be staged before the next is asked for. `None` when there is nothing more. A portion may hold no
    /// node, where the list is long.
    pub(crate) fn load(&mut self, limits: &Limits) -> Result<Option<Vec<Verified<IbGib>>>, SagaError> {
        let (mut nodes, mut bytes) = (Vec::new(), 0);
        while bytes < LOAD_BYTES {
            let is_line = match self.reading {
                Reading::Blocks(_) => self.nodes_left == 0 && self.lines_left > 0,
                Reading::Lines(_) => self.lines_left > 0,
            };
            let beside = if is_line { self.named.of(self.lines.len()) } else { &[] };
            let Some(text) = self.reading.text(beside, limits)? else {
                if self.ended && !self.complete {
                    self.check_end()?;
                    self.complete = true;
                }
                return Ok(Some(nodes).filter(|nodes| !nodes.is_empty()));
            };
            bytes += text.len() + BESIDE_BYTES;
            if is_line {
                self.line(&text, limits)?;
                continue;
            }
            let node = self.node(&text, limits)?;
            if let Reading::Blocks(blocks) = &mut self.reading {
                blocks.learn(&node);
            }
            nodes.push(node);
        }
        Ok(Some(nodes))
    }

    /// Whether all that the turn announced has come, and nothing else.
    fn check_end(&mut self) -> Result<(), SagaError> {
        let left = self.lines_left + self.nodes_left;
        if left > 0 || !self.reading.is_empty() {
            return Err(SagaError::misbehaved(Breach::BadChunk, format!("the stream ended {left} lines early")));
        }
        let list = hex::encode(std::mem::take(&mut self.list_hash).finalize());
        let payload = hex::encode(std::mem::take(&mut self.node_hash).finalize());
        if list != self.list_digest || payload != self.node_digest {
            return Err(SagaError::misbehaved(Breach::BadDigest, "the stream is not what the message announced"));
        }
        Ok(())
    }

    /// Nodes that have arrived, those of earlier turns included, and of how many.
    pub(crate) fn headway(&self) -> (u64, u64) {
        (self.received.nodes, self.received.nodes + self.nodes_left)
    }

    /// Bytes of lines, of names of nodes and of what the stream is read with that are in memory: all but the portion that
    /// was handed out last.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.list_bytes + self.name_bytes + self.reading.held_bytes() + self.named.bytes() + self.own.bytes()
    }

    /// What both sides have named by now.
    pub(crate) fn named(&mut self) -> Named {
        let lines = std::mem::take(if L::IS_ASKED { &mut self.own } else { &mut self.named });
        match std::mem::replace(&mut self.reading, Reading::Lines(LineReader::default())) {
            Reading::Blocks(blocks) => Named { learned: blocks.learned, lines },
            Reading::Lines(_) => Named::default(),
        }
    }

    /// Whether everything has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    fn line(&mut self, text: &str, limits: &Limits) -> Result<(), SagaError> {
        self.lines_left -= 1;
        self.list_bytes += text.len() as u64;
        if self.list_bytes > limits.list_bytes_max {
            return Err(SagaError::Limit { name: "list_bytes_max", limit: limits.list_bytes_max });
        }
        self.list_hash.update(text.as_bytes());
        self.list_hash.update(b"\n");
        let line = L::parse(text)?;
        if L::IS_ASKED && matches!(self.reading, Reading::Blocks(_)) {
            self.own.add(&line);
        }
        self.lines.push(line);
        Ok(())
    }

    fn node(&mut self, text: &str, limits: &Limits) -> Result<Verified<IbGib>, SagaError> {
        if self.nodes_left == 0 {
            return Err(SagaError::misbehaved(Breach::BadChunk, "more than announced"));
        }
        self.nodes_left -= 1;
        let (node, bytes) = match self.reading {
            // The address that it is announced by proves it.
            Reading::Blocks(_) => Verified::parse_without_gib(text).map(|node| {
                // What it is kept with.
                let gib = ",\"gib\":\"\"".len() + node.addr().gib().len();
                (node, text.len() + gib)
            }),
            Reading::Lines(_) => Verified::parse(text).map(|node| (node, text.len())),
        }
        .map_err(|e| SagaError::misbehaved(Breach::BadNode, e.to_string()))?;
        limits.check_node(bytes)?;
        if !is_payload(node.addr()) || node.addr().is_primitive() {
            return Err(SagaError::misbehaved(
                Breach::PayloadKind,
                format!("{} may not travel as payload: keystones and transcripts move by their own rules", node.addr()),
            ));
        }
        self.received.nodes += 1;
        self.received.bytes += bytes as u64;
        if self.received.bytes > limits.staged_bytes_max {
            return Err(SagaError::Limit { name: "staged_bytes_max", limit: limits.staged_bytes_max });
        }
        self.node_hash.update(node.addr().as_str().as_bytes());
        self.node_hash.update(b"\n");
        self.name_bytes += node.addr().as_str().len() as u64;
        self.payload.push(node.addr().clone());
        Ok(node)
    }
}

#[cfg(test)]
mod tests;
