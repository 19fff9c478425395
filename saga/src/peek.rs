//! Peeks: what a sender may ask before it opens a saga. Reading only, unsigned, allowed once connected; nothing
//! moves. With them a saga starts knowing what the other side has, so that only missing nodes travel.

use crate::error::{Breach, SagaError};
use crate::packet::{Message, MsgType, printed};
use ibgib::{Addr, Map, Value};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Are all living timelines' tips the same as mine? (whole fingerprint)
    Equal(String),
    /// The tips in the buckets where mine differ.
    Buckets(Vec<String>),
    /// The tips of these timelines.
    Tips(Vec<Addr>),
    /// Which of these nodes are there already (committed, or staged by me)?
    Has(Vec<Addr>),
    /// The addresses under these tips, down to the node that I have (if any).
    List {
        /// (tip, what I have under it).
        items: Vec<(Addr, Option<Addr>)>,
        /// Go on from every living timeline met to its tip, and tell those tips.
        live: bool,
    },
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peeked {
    /// [`Peek::Equal`]'s answer.
    pub equal: bool,
    /// Timelines and tips; `None` for one that is not there.
    pub tips: Vec<(Addr, Option<Addr>)>,
    /// [`Peek::Has`]: one per address asked, in order.
    pub has: Vec<bool>,
    /// [`Peek::List`]: dependencies first.
    pub nodes: Vec<Addr>,
    /// The side that answers holds no living timelines.
    pub empty: bool,
    /// Another page follows.
    pub more: bool,
}

fn bad(detail: impl Into<String>) -> SagaError {
    SagaError::misbehaved(Breach::BadPeek, detail)
}

fn texts(value: Option<&Value>) -> Result<Vec<String>, SagaError> {
    let items = value.and_then(Value::as_array).ok_or_else(|| bad("expected an array"))?;
    items.iter().map(|v| v.as_str().map(str::to_owned).ok_or_else(|| bad("expected texts"))).collect()
}

fn addr(text: &str) -> Result<Addr, SagaError> {
    text.parse().map_err(|e: ibgib::AddrError| bad(e.to_string()))
}

fn addrs(value: Option<&Value>) -> Result<Vec<Addr>, SagaError> {
    texts(value)?.iter().map(|t| addr(t)).collect()
}

fn pairs(items: &[(Addr, Option<Addr>)]) -> Value {
    let optional = |a: &Option<Addr>| a.as_ref().map_or(Value::Null, Value::from);
    Value::Array(items.iter().map(|(a, b)| Value::Array(vec![a.into(), optional(b)])).collect())
}

fn read_pairs(value: Option<&Value>) -> Result<Vec<(Addr, Option<Addr>)>, SagaError> {
    let items = value.and_then(Value::as_array).ok_or_else(|| bad("expected an array"))?;
    items
        .iter()
        .map(|pair| match pair.as_array() {
            Some([Value::String(a), Value::String(b)]) => Ok((addr(a)?, Some(addr(b)?))),
            Some([Value::String(a), Value::Null]) => Ok((addr(a)?, None)),
            _ => Err(bad("expected pairs of addresses")),
        })
        .collect()
}

fn list(items: &[Addr]) -> Value {
    Value::Array(items.iter().map(Value::from).collect())
}

impl Peek {
    pub(crate) fn message(&self) -> Message {
        if let Self::List { items, live } = self {
            return Message::new(MsgType::Peek, [("list", pairs(items)), ("live", (*live).into())]);
        }
        let (name, value) = match self {
            Self::Equal(f) => ("fingerprint", f.as_str().into()),
            Self::Buckets(b) => ("buckets", ibgib::strings(b.iter().map(String::as_str))),
            Self::Tips(t) => ("tips", list(t)),
            Self::Has(a) => ("has", list(a)),
            Self::List { items, .. } => ("list", pairs(items)),
        };
        Message::new(MsgType::Peek, [(name, value)])
    }

    pub(crate) fn read(body: &Map) -> Result<Self, SagaError> {
        let text = |v: &Value| v.as_str().map(str::to_owned).ok_or_else(|| bad("expected a text"));
        for (key, value) in body.iter() {
            match key {
                "fingerprint" => return Ok(Self::Equal(text(value)?)),
                "buckets" => {
                    let buckets = texts(Some(value))?;
                    return if buckets.len() == crate::fingerprint::BUCKETS {
                        Ok(Self::Buckets(buckets))
                    } else {
                        Err(bad("expected 256 buckets"))
                    };
                }
                "tips" => return Ok(Self::Tips(addrs(Some(value))?)),
                "has" => return Ok(Self::Has(addrs(Some(value))?)),
                "list" => {
                    let live = body.get("live").and_then(Value::as_bool).unwrap_or(false);
                    return Ok(Self::List { items: read_pairs(Some(value))?, live });
                }
                _ => {}
            }
        }
        Err(bad("nothing asked"))
    }
}

impl Peeked {
    /// Cuts an answer into messages that fit.
    pub(crate) fn pages(self, message_bytes_max: usize) -> Vec<Message> {
        let budget = message_bytes_max / 2;
        let mut pages = vec![Self { equal: self.equal, has: self.has, empty: self.empty, ..Self::default() }];
        let mut size = pages[0].has.len();
        let mut fit = |pages: &mut Vec<Self>, bytes: usize| {
            if size + bytes > budget {
                pages.push(Self::default());
                size = 0;
            }
            size += bytes;
        };
        for (tjp, tip) in self.tips {
            fit(&mut pages, 16 + printed(tjp.as_str()) + tip.as_ref().map_or(0, |t| printed(t.as_str())));
            if let Some(page) = pages.last_mut() {
                page.tips.push((tjp, tip));
            }
        }
        for node in self.nodes {
            fit(&mut pages, 8 + printed(node.as_str()));
            if let Some(page) = pages.last_mut() {
                page.nodes.push(node);
            }
        }
        let last = pages.len() - 1;
        pages.into_iter().enumerate().map(|(i, p)| p.message(i < last)).collect()
    }

    fn message(&self, more: bool) -> Message {
        let bits: String = self.has.iter().map(|b| if *b { '1' } else { '0' }).collect();
        Message::new(
            MsgType::PeekOk,
            [
                ("equal", self.equal.into()),
                ("empty", self.empty.into()),
                ("tips", pairs(&self.tips)),
                ("has", bits.into()),
                ("nodes", list(&self.nodes)),
                ("more", more.into()),
            ],
        )
    }

    pub(crate) fn read(body: &Map) -> Result<Self, SagaError> {
        let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(false);
        let bits = body.get("has").and_then(Value::as_str).unwrap_or("");
        Ok(Self {
            equal: flag("equal"),
            empty: flag("empty"),
            more: flag("more"),
            tips: read_pairs(body.get("tips"))?,
            nodes: addrs(body.get("nodes"))?,
            has: bits.bytes().map(|b| b == b'1').collect(),
        })
    }

    /// Adds the next page.
    pub(crate) fn absorb(&mut self, next: Self) {
        self.tips.extend(next.tips);
        self.nodes.extend(next.nodes);
        self.has.extend(next.has);
        self.equal |= next.equal;
        self.empty |= next.empty;
        self.more = next.more;
    }
}
