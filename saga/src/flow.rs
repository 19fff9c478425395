//! A turn's stream under way, the same for both sides: [`Outgoing`] asks for nodes in portions and cuts what goes out
//! into chunks; [`Incoming`] checks each chunk as it arrives against what the turn announced and against the limits.
//! A chunk is one flag byte (1 = the last one) and bytes of the stream.

use crate::error::{Breach, SagaError};
use crate::limits::Limits;
use crate::wire::packet::Packet;
use crate::wire::stream::Line;
use crate::wire::turn::Turn;
use ibgib::{Addr, IbGib, Verified};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// Bytes of nodes that are asked for at once: what one side holds of its payload in memory.
const LOAD_BYTES: usize = 4 * 1024 * 1024;
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

/// A turn's stream on its way out: first the list, then nodes as they are loaded.
#[derive(Debug)]
pub(crate) struct Outgoing {
    buffer: Vec<u8>,
    ready: Vec<Packet>,
    chunk_bytes: usize,
    /// Nodes still to load and send.
    rest: VecDeque<Addr>,
    nodes: u64,
}

/// What a stream on its way out needs next.
#[derive(Debug)]
pub(crate) enum Next {
    /// These nodes, given to [`Outgoing::loaded`].
    Load(Load),
    /// Nothing: all of it is in the packets that were handed out. So many nodes were sent.
    Sent {
        /// Nodes of the payload.
        nodes: u64,
    },
}

impl Outgoing {
    pub(crate) fn new<L: Line>(lines: &[L], payload: Vec<Addr>, limits: &Limits) -> Self {
        let mut out = Self {
            buffer: Vec::new(),
            ready: Vec::new(),
            // One byte of a message is the flag.
            chunk_bytes: limits.chunk_bytes.min(limits.message_bytes_max - 1).max(1),
            rest: payload.into(),
            nodes: 0,
        };
        for line in lines {
            out.push_line(&line.to_json());
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
            self.push_line(&node.to_json());
        }
        Ok(())
    }

    /// Packets that can go out now, and what is needed then.
    pub(crate) fn send(&mut self) -> (Vec<Packet>, Next) {
        if self.rest.is_empty() {
            self.cut(1);
        }
        let next = if self.rest.is_empty() {
            Next::Sent { nodes: self.nodes }
        } else {
            let addrs = self.rest.iter().take(LOAD_NODES).cloned().collect();
            Next::Load(Load { addrs, bytes_max: LOAD_BYTES })
        };
        (std::mem::take(&mut self.ready), next)
    }

    /// Nodes that were sent, and of how many.
    pub(crate) fn headway(&self) -> (u64, u64) {
        (self.nodes, self.nodes + self.rest.len() as u64)
    }

    fn push_line(&mut self, line: &str) {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        while self.buffer.len() >= self.chunk_bytes {
            let rest = self.buffer.split_off(self.chunk_bytes);
            self.cut(0);
            self.buffer = rest;
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
    buffer: Vec<u8>,
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
    ended: bool,
}

impl<L: Line> Incoming<L> {
    /// Expects what the turn announces; `before`: what the saga's earlier turns brought, which counts too.
    pub(crate) fn expect(turn: &Turn, limits: &Limits, before: Received) -> Result<Self, SagaError> {
        let (lines, nodes) = (turn.list().count, turn.payload().count);
        if lines > limits.list_max {
            return Err(SagaError::Limit { name: "list_max", limit: limits.list_max });
        }
        if nodes > limits.nodes_max.saturating_sub(before.nodes) {
            return Err(SagaError::Limit { name: "nodes_max", limit: limits.nodes_max });
        }
        Ok(Self {
            buffer: Vec::new(),
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
            ended: false,
        })
    }

    /// Takes a chunk; answers the nodes that it completes.
    pub(crate) fn chunk(&mut self, bytes: &[u8], limits: &Limits) -> Result<Vec<Verified<IbGib>>, SagaError> {
        let [flag @ (0 | 1), rest @ ..] = bytes else {
            return Err(SagaError::misbehaved(Breach::BadChunk, "a chunk starts with 0 or 1"));
        };
        if self.ended {
            return Err(SagaError::misbehaved(Breach::BadChunk, "a chunk after the last one"));
        }
        let mut nodes = Vec::new();
        let mut from = 0;
        for (i, b) in rest.iter().enumerate() {
            if *b == b'\n' {
                let end = &rest[from..i];
                if self.buffer.is_empty() {
                    self.line(end, &mut nodes, limits)?;
                } else {
                    let mut whole = std::mem::take(&mut self.buffer);
                    whole.extend_from_slice(end);
                    self.line(&whole, &mut nodes, limits)?;
                }
                from = i + 1;
            }
        }
        self.buffer.extend_from_slice(&rest[from..]);
        if self.buffer.len() > limits.node_bytes_max {
            return Err(SagaError::Limit { name: "node_bytes_max", limit: limits.node_bytes_max as u64 });
        }
        if *flag == 1 {
            self.ended = true;
            let left = self.lines_left + self.nodes_left;
            if left > 0 || !self.buffer.is_empty() {
                return Err(SagaError::misbehaved(Breach::BadChunk, format!("the stream ended {left} lines early")));
            }
            let list = hex::encode(std::mem::take(&mut self.list_hash).finalize());
            let payload = hex::encode(std::mem::take(&mut self.node_hash).finalize());
            if list != self.list_digest || payload != self.node_digest {
                return Err(SagaError::misbehaved(Breach::BadDigest, "the stream is not what the message announced"));
            }
        }
        Ok(nodes)
    }

    /// Nodes that have arrived, those of earlier turns included, and of how many.
    pub(crate) fn headway(&self) -> (u64, u64) {
        (self.received.nodes, self.received.nodes + self.nodes_left)
    }

    /// Bytes of lines and of names of nodes that are in memory.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.list_bytes + self.name_bytes
    }

    /// Whether everything has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.ended
    }

    fn line(&mut self, bytes: &[u8], nodes: &mut Vec<Verified<IbGib>>, limits: &Limits) -> Result<(), SagaError> {
        let text = std::str::from_utf8(bytes).map_err(|e| SagaError::misbehaved(Breach::BadChunk, e.to_string()))?;
        if bytes.len() > limits.node_bytes_max {
            return Err(SagaError::Limit { name: "node_bytes_max", limit: limits.node_bytes_max as u64 });
        }
        if self.lines_left > 0 {
            self.lines_left -= 1;
            self.list_bytes += bytes.len() as u64;
            if self.list_bytes > limits.list_bytes_max {
                return Err(SagaError::Limit { name: "list_bytes_max", limit: limits.list_bytes_max });
            }
            self.list_hash.update(bytes);
            self.list_hash.update(b"\n");
            self.lines.push(L::parse(text)?);
            return Ok(());
        }
        if self.nodes_left == 0 {
            return Err(SagaError::misbehaved(Breach::BadChunk, "more lines than announced"));
        }
        self.nodes_left -= 1;
        let node = Verified::parse(text).map_err(|e| SagaError::misbehaved(Breach::BadNode, e.to_string()))?;
        if !is_payload(node.addr()) || node.addr().is_primitive() {
            return Err(SagaError::misbehaved(
                Breach::PayloadKind,
                format!("{} may not travel as payload: keystones and transcripts move by their own rules", node.addr()),
            ));
        }
        self.received.nodes += 1;
        self.received.bytes += bytes.len() as u64;
        if self.received.bytes > limits.staged_bytes_max {
            return Err(SagaError::Limit { name: "staged_bytes_max", limit: limits.staged_bytes_max });
        }
        self.node_hash.update(node.addr().as_str().as_bytes());
        self.node_hash.update(b"\n");
        self.name_bytes += node.addr().as_str().len() as u64;
        self.payload.push(node.addr().clone());
        nodes.push(node);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
