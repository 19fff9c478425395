//! What a receiver signs: that a connection is open, and what each turn came to.
//!
//! A word names the session that it is for and the frame that the session signed last, so that it is good for one turn of
//! one connection; the context of the answer, which names all that the answer says; and the digest of the answer's list, so that
//! the tips in it can be shown later without the rest. Beside it the receiver tells its space's revision,
//! a number that only grows. The word itself is not sent: each side makes it of what it has.

use super::members::{DecodeError, Members, Problem};
use super::packet::Encoding;
use super::stream::{Line, Measure, ReceiverLine, Status};
use super::turn::{Stage, Turn};
use ibgib::canonical::canonical_text;
use ibgib::{Addr, Map, Mode, Value};
use ibgib_blocks::{BlockError, COMMON, In, Key, Out, expand, pack, squeeze, unpack};
use ibgib_keystone::Warrant;

/// What a receiver says to one session, at one place of its conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The session identity that it is said to.
    pub session: Addr,
    /// The frame that the session signed last.
    pub last: Addr,
    /// What is said.
    pub said: Said,
}

/// What a receiver signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The connection is open, and streams travel so.
    Connected(Encoding),
    /// The answer to a turn.
    Answer {
        /// The answer's context, which names the rest of it.
        context: Addr,
        /// The digest of its list.
        list: String,
        /// All that the saga moves is durable.
        committed: bool,
    },
}

impl Said {
    /// That a turn of the receiver's is what it answers.
    pub fn of(turn: &Turn) -> Self {
        Self::Answer {
            context: turn.context().addr().clone(),
            list: turn.list().digest.clone(),
            committed: matches!(turn.stage(), Stage::Commit(_)),
        }
    }
}

impl Word {
    /// What is signed, with the revision that is told beside it.
    pub fn text(&self, revision: u64) -> String {
        canonical_text(&Value::Object(self.members(revision)))
    }

    fn members(&self, revision: u64) -> Map {
        let mut map: Map = [("session", &self.session), ("last", &self.last)].into_iter().collect();
        map.insert("revision", Value::integer(revision));
        match &self.said {
            Said::Connected(encoding) => drop(map.insert("version", encoding.subprotocol())),
            Said::Answer { context, list, committed } => {
                map.insert("context", context);
                map.insert("list", list.as_str());
                map.insert("committed", *committed);
            }
        }
        map
    }
}

/// A receiver's signature of a word, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The receiver's space lets the tree sign that has signed; told once, and again with each new tree.
    pub warrant: Option<Warrant>,
    /// The revision of the receiver's space.
    pub revision: u64,
    /// The tree's signature, in base64.
    pub value: String,
}

impl Signature {
    /// As JSON.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("revision", Value::integer(self.revision));
        map.insert("value", self.value.as_str());
        if let Some(warrant) = &self.warrant {
            map.insert("warrant", warrant.to_value());
        }
        Value::Object(map)
    }

    /// The signature among the members of a message, if there is one.
    pub(crate) fn read(members: Members<'_>, name: &'static str) -> Result<Option<Self>, DecodeError> {
        if !members.has(name) {
            return Ok(None);
        }
        let inner = members.object(name)?;
        let bad = || members.error(name, Problem::Invalid("its warrant cannot be read".into()));
        let warrant = match inner.has("warrant") {
            true => Some(inner.map.get("warrant").and_then(Warrant::parse).ok_or_else(bad)?),
            false => None,
        };
        Ok(Some(Self { warrant, revision: inner.count("revision")?, value: inner.text("value")?.to_owned() }))
    }
}

/// What a receiver signed when it had committed a saga, with all that is needed to show it to others later: which tips it
/// said that it has then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What was said.
    pub word: Word,
    /// The revision of the receiver's space.
    pub revision: u64,
    /// The tree's signature, in base64.
    pub value: String,
    /// What lets the tree sign.
    pub warrant: Warrant,
    /// The answer's list.
    pub lines: Vec<ReceiverLine>,
}

impl Receipt {
    /// The timelines and constants that the receiver said it has, and their tips.
    pub fn tips(&self) -> impl Iterator<Item = (&Addr, &Addr)> {
        let taken = |line: &&ReceiverLine| !matches!(line.status, Status::Refused(_));
        self.lines.iter().filter(taken).filter_map(|line| Some((&line.tjp, line.tip.as_ref()?)))
    }

    /// Whether the tree of its warrant has signed it, lines included. That the warrant holds is for the caller to check.
    pub fn holds(&self) -> bool {
        let Said::Answer { list, committed: true, .. } = &self.word.said else { return false };
        Measure::of_lines(&self.lines).digest == *list
            && self.warrant.has_signed(self.word.text(self.revision).as_bytes(), &self.value)
    }

    /// As text: what was signed, then the lines.
    pub fn to_text(&self) -> String {
        let lines = self.lines.iter().map(|line| line.to_json() + "\n");
        [self.head() + "\n"].into_iter().chain(lines).collect()
    }

    /// As bytes, a quarter of the text's: 0, the length of what is packed (LEB128), then that, compressed. Packed are the lines of
    /// the text, each after its length. Where 64 hex digits stood there is a mark: 1 and how far back in the line they stood
    /// (from 1), or 2 or 3 and the hash (uppercase, lowercase digits).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut content = Out::default();
        let mut line = |text: &str| {
            let (mut squeezed, mut hashes) = (Out::default(), Vec::new());
            squeeze(text.as_bytes(), &mut squeezed, |hash, lower, out| {
                match hashes.iter().rev().position(|before| *before == (hash, lower)) {
                    Some(back) => {
                        out.0.push(BACK);
                        out.number(back as u64 + 1);
                    }
                    None => {
                        out.0.push(if lower { LOWER } else { UPPER });
                        out.0.extend_from_slice(&hash);
                    }
                }
                hashes.push((hash, lower));
            });
            content.bytes(&squeezed.0);
        };
        line(&self.head());
        self.lines.iter().for_each(|told| line(&told.to_json()));
        let Some(packed) = pack(&content.0, COMMON) else { return self.to_text().into_bytes() };
        let mut out = Out(vec![PACKED]);
        out.number(content.0.len() as u64);
        out.0.extend_from_slice(&packed);
        out.0
    }

    /// Reads what [`Receipt::to_bytes`] or [`Receipt::to_text`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = In(bytes);
        if rest.byte()? != PACKED {
            return Self::parse(std::str::from_utf8(bytes).ok()?);
        }
        let len = rest.count().filter(|len| *len <= PACKED_BYTES_MAX)?;
        let content = unpack(rest.0, len, COMMON).ok()?;
        let mut rest = In(&content);
        let mut receipt = Self::parse(&unpacked_line(&mut rest)?)?;
        while !rest.0.is_empty() {
            receipt.lines.push(ReceiverLine::parse(&unpacked_line(&mut rest)?).ok()?);
        }
        Some(receipt)
    }

    /// What was signed.
    fn head(&self) -> String {
        let mut head = self.word.members(self.revision);
        head.insert("signature", self.value.as_str());
        head.insert("warrant", self.warrant.to_value());
        Value::Object(head).to_json()
    }

    /// Reads what [`Receipt::to_text`] wrote; `None` for anything else. Whether it holds is another question.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let head = Value::parse(lines.next()?, Mode::Strict).ok()?;
        let part = |name: &str| head.get(name).and_then(Value::as_str);
        Some(Self {
            word: Word {
                session: part("session")?.parse().ok()?,
                last: part("last")?.parse().ok()?,
                said: Said::Answer {
                    context: part("context")?.parse().ok()?,
                    list: part("list")?.to_owned(),
                    committed: head.get("committed")?.as_bool()?,
                },
            },
            revision: head.get("revision")?.as_u53()?,
            value: part("signature")?.to_owned(),
            warrant: Warrant::parse(head.get("warrant")?)?,
            lines: lines.map(|line| ReceiverLine::parse(line).ok()).collect::<Option<_>>()?,
        })
    }
}

/// The first byte of a receipt that is packed.
const PACKED: u8 = 0;
/// What is unpacked of a receipt has no more bytes: it is shorter than its lines, which have no more.
const PACKED_BYTES_MAX: usize = 512 * 1024 * 1024;
const BACK: u8 = 1;
const UPPER: u8 = 2;
const LOWER: u8 = 3;

/// The next line of a packed receipt.
fn unpacked_line(rest: &mut In<'_>) -> Option<String> {
    let mut hashes: Vec<(Key, bool)> = Vec::new();
    let text = expand(rest.bytes()?, PACKED_BYTES_MAX, |mark, rest| {
        let hash = match mark {
            BACK => {
                let at = rest.count().and_then(|back| hashes.len().checked_sub(back));
                at.and_then(|at| hashes.get(at).copied())
            }
            UPPER | LOWER => rest.take(32).and_then(|hash| Some((hash.try_into().ok()?, mark == LOWER))),
            _ => None,
        };
        hashes.extend(hash);
        hash.ok_or(BlockError::Hash)
    });
    text.ok()
}
