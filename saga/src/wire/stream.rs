//! The lines of a turn's list, and what a turn's signed message announces of its stream.
//!
//! The stream of a turn is JSON Lines: first its list, one kind of line for each side, then its nodes. The message
//! holds count and digest of both: the list's digest covers its lines, the payload's digest the nodes' addresses in
//! order (an address covers its content).

use super::members::{DecodeError, Members, Problem};
use crate::error::{Breach, SagaError};
use ibgib::timeline::Ancestry;
use ibgib::{Addr, Map, Mode, Value, object};
use sha2::{Digest, Sha256};

/// A line of a list, as text and back.
pub(crate) trait Line: Sized {
    /// Lines of the same number in later lists are about what these of this list name.
    const IS_ASKED: bool;

    /// What it names.
    fn names(&self) -> [Option<&Addr>; 3];
    fn members(&self) -> Map;
    fn read(members: Members<'_>) -> Result<Self, DecodeError>;

    fn to_json(&self) -> String {
        Value::Object(self.members()).to_json()
    }

    fn parse(text: &str) -> Result<Self, SagaError> {
        let bad = |why: String| SagaError::misbehaved(Breach::BadList, why);
        let Value::Object(map) = Value::parse(text, Mode::Strict).map_err(|e| bad(e.to_string()))? else {
            return Err(bad("a line is not an object".into()));
        };
        Self::read(Members { of: "list", map: &map }).map_err(|e| bad(e.to_string()))
    }
}

/// A line of the sender's list: what the saga is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderLine {
    /// A timeline in the saga: what the sender has, what it believes the receiver has.
    Timeline {
        /// The timeline.
        tjp: Addr,
        /// The sender's tip; `None` when it has none or only wants to pull.
        tip: Option<Addr>,
        /// The receiver's tip that the sender knows of and has asked for what lies under it.
        theirs: Option<Addr>,
    },
    /// A constant (an ibgib without a timeline) that the receiver shall have.
    Constant(Addr),
    /// A node that the sender asks for.
    Want(Addr),
}

impl Line for SenderLine {
    const IS_ASKED: bool = true;

    fn names(&self) -> [Option<&Addr>; 3] {
        match self {
            Self::Timeline { tjp, tip, theirs } => [Some(tjp), theirs.as_ref(), tip.as_ref()],
            Self::Constant(addr) | Self::Want(addr) => [Some(addr), None, None],
        }
    }

    fn members(&self) -> Map {
        match self {
            Self::Timeline { tjp, tip, theirs } => {
                let members = [("tjp", Some(tjp)), ("tip", tip.as_ref()), ("theirs", theirs.as_ref())];
                members.into_iter().filter_map(|(name, addr)| Some((name, addr?))).collect()
            }
            Self::Constant(addr) => [("constant", addr)].into_iter().collect(),
            Self::Want(addr) => [("want", addr)].into_iter().collect(),
        }
    }

    fn read(members: Members<'_>) -> Result<Self, DecodeError> {
        if members.has("constant") {
            return members.addr("constant").map(Self::Constant);
        }
        if members.has("want") {
            return members.addr("want").map(Self::Want);
        }
        if members.has("status") {
            return Err(members.error("status", Problem::Invalid("only a receiver tells one".into())));
        }
        Ok(Self::Timeline {
            tjp: members.addr("tjp")?,
            tip: members.addr_if_any("tip")?,
            theirs: members.addr_if_any("theirs")?,
        })
    }
}

/// A line of the receiver's list: what became of one timeline or constant that the sender named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverLine {
    /// The timeline, or the constant.
    pub tjp: Addr,
    /// How it stands at the receiver.
    pub status: Status,
    /// The receiver's tip now.
    pub tip: Option<Addr>,
}

/// How a timeline stands at the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The receiver has it: how its tip, before the saga, stood to the one that the sender named.
    Known(Ancestry),
    /// The receiver did not know the timeline, or lacked the constant.
    Unknown,
    /// This one fails, and why; the others go on.
    Refused(String),
}

impl Status {
    /// The text on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Known(Ancestry::Same) => "same",
            Self::Known(Ancestry::Behind) => "behind",
            Self::Known(Ancestry::Ahead) => "ahead",
            Self::Known(Ancestry::Diverged) => "diverged",
            Self::Unknown => "unknown",
            Self::Refused(_) => "refused",
        }
    }
}

impl Line for ReceiverLine {
    const IS_ASKED: bool = false;

    fn names(&self) -> [Option<&Addr>; 3] {
        [Some(&self.tjp), self.tip.as_ref(), None]
    }

    fn members(&self) -> Map {
        let mut map: Map = [("tjp", &self.tjp)].into_iter().collect();
        if let Some(tip) = &self.tip {
            map.insert("tip", tip);
        }
        map.insert("status", self.status.as_str());
        if let Status::Refused(why) = &self.status {
            map.insert("why", why.as_str());
        }
        map
    }

    fn read(members: Members<'_>) -> Result<Self, DecodeError> {
        let status = match members.text("status")? {
            "same" => Status::Known(Ancestry::Same),
            "behind" => Status::Known(Ancestry::Behind),
            "ahead" => Status::Known(Ancestry::Ahead),
            "diverged" => Status::Known(Ancestry::Diverged),
            "unknown" => Status::Unknown,
            "refused" => Status::Refused(members.text("why")?.to_owned()),
            other => return Err(members.error("status", Problem::Invalid(format!("unknown status {other:?}")))),
        };
        Ok(Self { tjp: members.addr("tjp")?, status, tip: members.addr_if_any("tip")? })
    }
}

/// What a turn announces of one part of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Lines.
    pub count: u64,
    /// SHA-256 of what the part is told by, each followed by a line feed: the lines of a list, the addresses of
    /// nodes. 64 lowercase hex digits.
    pub digest: String,
}

impl Measure {
    /// Of texts that are followed by a line feed each.
    fn of(texts: impl ExactSizeIterator<Item: AsRef<[u8]>>) -> Self {
        let count = texts.len() as u64;
        let mut hash = Sha256::new();
        for text in texts {
            hash.update(text);
            hash.update(b"\n");
        }
        Self { count, digest: hex::encode(hash.finalize()) }
    }

    /// Of a payload.
    pub fn of_nodes(addrs: &[Addr]) -> Self {
        Self::of(addrs.iter().map(Addr::as_str))
    }

    /// Of a list.
    pub(crate) fn of_lines<L: Line>(lines: &[L]) -> Self {
        Self::of(lines.iter().map(Line::to_json))
    }

    /// Of a sender's list.
    pub fn of_list(lines: &[SenderLine]) -> Self {
        Self::of_lines(lines)
    }

    pub(crate) fn to_value(&self) -> Value {
        object([("count", Value::integer(self.count)), ("digest", self.digest.as_str().into())])
    }

    pub(crate) fn read(members: Members<'_>, name: &'static str) -> Result<Self, DecodeError> {
        let inner = members.object(name)?;
        let (count, digest) = (inner.count("count")?, inner.text("digest")?);
        let is_digest = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_digest {
            return Err(members.error(name, Problem::NotA("a count and 64 lowercase hex digits")));
        }
        Ok(Self { count, digest: digest.to_owned() })
    }
}

#[cfg(test)]
mod tests;
