//! The stream of a turn: the lines of its list, then its nodes, as JSON Lines cut into chunks of bounded size.
//!
//! The turn's signed message holds count and digest of both: the list's digest covers its lines, the payload's
//! digest the nodes' addresses in order (an address covers its content).

use crate::error::{Breach, SagaError};
use crate::limits::Limits;
use crate::packet::Packet;
use crate::turn::measure;
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// One line of a turn's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Sender: a timeline in the saga; what it has, what it believes the receiver has.
    Timeline {
        /// The timeline.
        tjp: Addr,
        /// The sender's tip; `None` when it has none or only wants to pull.
        tip: Option<Addr>,
        /// The receiver's tip that the sender knows of and has asked for what lies under it.
        theirs: Option<Addr>,
    },
    /// Sender: a constant (an ibgib without a timeline) that the receiver shall have.
    Constant(Addr),
    /// Sender: a node it asks for.
    Want(Addr),
    /// Receiver: what became of a timeline.
    Status {
        /// The timeline, or the constant.
        tjp: Addr,
        /// What was found.
        status: Status,
        /// The receiver's tip now.
        tip: Option<Addr>,
        /// Why it was refused.
        why: Option<String>,
    },
}

/// How a timeline at the receiver relates to what the sender named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Same tip.
    Same,
    /// The receiver is behind: it took, or asks for, the sender's tip.
    Behind,
    /// The receiver is ahead.
    Ahead,
    /// Both have edits that the other lacks.
    Diverged,
    /// The receiver does not know the timeline, or lacks the constant.
    Unknown,
    /// This timeline fails; the others go on.
    Refused,
}

const STATUSES: [(Status, &str); 6] = [
    (Status::Same, "same"),
    (Status::Behind, "behind"),
    (Status::Ahead, "ahead"),
    (Status::Diverged, "diverged"),
    (Status::Unknown, "unknown"),
    (Status::Refused, "refused"),
];

impl Status {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        STATUSES.iter().find(|(s, _)| *s == self).map_or("", |(_, n)| n)
    }
}

impl Line {
    fn to_json(&self) -> String {
        let mut map = Map::new();
        let mut put = |key: &str, addr: &Option<Addr>| {
            if let Some(addr) = addr {
                map.insert(key, addr);
            }
        };
        match self {
            Self::Timeline { tjp, tip, theirs } => {
                put("tjp", &Some(tjp.clone()));
                put("tip", tip);
                put("theirs", theirs);
            }
            Self::Constant(addr) => put("constant", &Some(addr.clone())),
            Self::Want(addr) => put("want", &Some(addr.clone())),
            Self::Status { tjp, status, tip, why } => {
                put("tjp", &Some(tjp.clone()));
                put("tip", tip);
                map.insert("status", status.as_str());
                if let Some(why) = why {
                    map.insert("why", why.as_str());
                }
            }
        }
        Value::Object(map).to_json()
    }

    fn parse(text: &str) -> Result<Self, SagaError> {
        let bad = |why: String| SagaError::misbehaved(Breach::BadList, why);
        let value = Value::parse(text, Mode::Strict).map_err(|e| bad(e.to_string()))?;
        let addr = |key: &str| -> Result<Option<Addr>, SagaError> {
            match value.get(key) {
                None => Ok(None),
                Some(v) => {
                    let text = v.as_str().ok_or_else(|| bad(format!("{key} is not a text")))?;
                    text.parse().map(Some).map_err(|e| bad(format!("{key}: {e}")))
                }
            }
        };
        if let Some(addr) = addr("constant")? {
            return Ok(Self::Constant(addr));
        }
        if let Some(addr) = addr("want")? {
            return Ok(Self::Want(addr));
        }
        let tjp = addr("tjp")?.ok_or_else(|| bad("a line without tjp, constant or want".into()))?;
        match value.get("status").and_then(Value::as_str) {
            None => Ok(Self::Timeline { tjp, tip: addr("tip")?, theirs: addr("theirs")? }),
            Some(name) => {
                let (status, _) =
                    STATUSES.iter().find(|(_, n)| *n == name).ok_or_else(|| bad(format!("unknown status {name:?}")))?;
                let why = value.get("why").and_then(Value::as_str).map(str::to_owned);
                Ok(Self::Status { tjp, status: *status, tip: addr("tip")?, why })
            }
        }
    }
}

/// A turn's stream on its way out: first the list, then nodes as they are loaded.
#[derive(Debug)]
pub(crate) struct Outgoing {
    buffer: Vec<u8>,
    ready: VecDeque<Packet>,
    chunk_bytes: usize,
    /// Nodes still to load and send.
    pub(crate) rest: VecDeque<Addr>,
    pub(crate) nodes: u64,
    pub(crate) bytes: u64,
}

/// Count and digest of what a turn's stream will carry, as the signed message holds them.
pub(crate) fn announce(lines: &[Line], payload: &[Addr]) -> [(&'static str, Value); 2] {
    let mut list = Sha256::new();
    for line in lines {
        list.update(line.to_json().as_bytes());
        list.update(b"\n");
    }
    let mut nodes = Sha256::new();
    for addr in payload {
        nodes.update(addr.as_str().as_bytes());
        nodes.update(b"\n");
    }
    [
        ("list", measure(lines.len() as u64, &hex::encode(list.finalize()))),
        ("payload", measure(payload.len() as u64, &hex::encode(nodes.finalize()))),
    ]
}

impl Outgoing {
    pub(crate) fn new(lines: &[Line], payload: Vec<Addr>, limits: &Limits) -> Self {
        let mut out = Self {
            buffer: Vec::new(),
            ready: VecDeque::new(),
            chunk_bytes: limits.chunk_bytes.min(limits.message_bytes_max - 1).max(1),
            rest: payload.into(),
            nodes: 0,
            bytes: 0,
        };
        for line in lines {
            out.push_line(&line.to_json());
        }
        out
    }

    pub(crate) fn push_node(&mut self, node: &Verified<IbGib>) {
        let text = node.to_json();
        self.nodes += 1;
        self.bytes += text.len() as u64;
        self.push_line(&text);
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
        self.ready.push_back(Packet::Binary(bytes));
    }

    /// Whole chunks that can go out now; the last one too once everything was pushed.
    pub(crate) fn drain(&mut self) -> Vec<Packet> {
        if self.rest.is_empty() {
            self.cut(1);
        }
        self.ready.drain(..).collect()
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
pub(crate) struct Incoming {
    buffer: Vec<u8>,
    lines_left: u64,
    nodes_left: u64,
    list_hash: Sha256,
    node_hash: Sha256,
    list_digest: String,
    node_digest: String,
    pub(crate) lines: Vec<Line>,
    pub(crate) payload: Vec<Addr>,
    pub(crate) received: Received,
    list_bytes: u64,
    ended: bool,
}

impl Incoming {
    /// Expects what the turn's message announces; `before`: what the saga's earlier turns brought, which counts too.
    pub(crate) fn expect(message: &Verified<IbGib>, limits: &Limits, before: Received) -> Result<Self, SagaError> {
        let part = |name: &str| -> Result<(u64, String), SagaError> {
            let value = message.datum(name);
            let count = value.and_then(|v| v.get("count")).and_then(Value::as_u53);
            let digest = value.and_then(|v| v.get("digest")).and_then(Value::as_str);
            match (count, digest) {
                (Some(c), Some(d)) => Ok((c, d.to_owned())),
                _ => Err(SagaError::misbehaved(Breach::BadMessage, format!("{name} lacks count or digest"))),
            }
        };
        let (lines, list_digest) = part("list")?;
        let (nodes, node_digest) = part("payload")?;
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
            list_digest,
            node_digest,
            lines: Vec::new(),
            payload: Vec::new(),
            received: before,
            list_bytes: 0,
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
            self.lines.push(Line::parse(text)?);
            return Ok(());
        }
        if self.nodes_left == 0 {
            return Err(SagaError::misbehaved(Breach::BadChunk, "more lines than announced"));
        }
        self.nodes_left -= 1;
        let node = Verified::parse(text).map_err(|e| SagaError::misbehaved(Breach::BadNode, e.to_string()))?;
        let kind = node.ib.split(' ').next().unwrap_or("");
        if matches!(kind, "keystone" | "saga" | "saga_msg" | "saga_context") || node.addr().is_primitive() {
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
        self.payload.push(node.addr().clone());
        nodes.push(node);
        Ok(())
    }
}
