//! Peeks: what a sender may ask before it opens a saga. Reading only, unsigned, allowed once connected; nothing
//! moves. With them a saga starts knowing what the other side has, so that only missing nodes travel.

use super::members::{DecodeError, Members, Problem};
use super::packet::printed;
use crate::fingerprint::BUCKETS;
use ibgib::{Addr, Value, strings};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Are all living timelines' tips the same as mine? With the whole fingerprint; with a timeline, of those only that
    /// are [under](crate::Scope::Under) it. A receiver that knows how to waits for so many milliseconds with saying yes: it
    /// answers as soon as they differ, or anything else is asked.
    Equal(String, Option<Addr>, u64),
    /// The tips in the buckets where mine differ, of the same timelines.
    Buckets(Vec<String>, Option<Addr>),
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

impl Peek {
    pub(crate) fn members(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Equal(fingerprint, root, wait_ms) => {
                let mut members = under(("fingerprint", fingerprint.as_str().into()), root.as_ref());
                members.extend((*wait_ms > 0).then(|| ("waitMs", Value::integer(*wait_ms))));
                members
            }
            Self::Buckets(buckets, root) => {
                under(("buckets", strings(buckets.iter().map(String::as_str))), root.as_ref())
            }
            Self::Tips(addrs) => vec![("tips", list(addrs))],
            Self::Has(addrs) => vec![("has", list(addrs))],
            Self::List { items, live } => vec![("list", pairs(items)), ("live", (*live).into())],
        }
    }

    /// The first member that is a question tells which one it is.
    pub(crate) fn read(members: Members<'_>) -> Result<Self, DecodeError> {
        for name in members.map.keys() {
            return Ok(match name {
                "fingerprint" => {
                    let wait_ms = if members.has("waitMs") { members.count("waitMs")? } else { 0 };
                    Self::Equal(members.text("fingerprint")?.to_owned(), members.addr_if_any("under")?, wait_ms)
                }
                "buckets" => Self::Buckets(members.texts("buckets", BUCKETS..=BUCKETS)?, members.addr_if_any("under")?),
                "tips" => Self::Tips(members.addrs("tips")?),
                "has" => Self::Has(members.addrs("has")?),
                "list" => {
                    let live = members.has("live") && members.flag("live")?;
                    Self::List { items: members.pairs("list")?, live }
                }
                _ => continue,
            });
        }
        Err(members.error("fingerprint, buckets, tips, has or list", Problem::Missing))
    }
}

impl Peeked {
    /// Cuts an answer into pages that fit a message each.
    pub(crate) fn pages(self, message_bytes_max: usize) -> Vec<Self> {
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
        pages.into_iter().enumerate().map(|(i, page)| Self { more: i < last, ..page }).collect()
    }

    pub(crate) fn members(&self) -> [(&'static str, Value); 6] {
        let bits: String = self.has.iter().map(|b| if *b { '1' } else { '0' }).collect();
        [
            ("equal", self.equal.into()),
            ("empty", self.empty.into()),
            ("tips", pairs(&self.tips)),
            ("has", bits.into()),
            ("nodes", list(&self.nodes)),
            ("more", self.more.into()),
        ]
    }

    pub(crate) fn read(members: Members<'_>) -> Result<Self, DecodeError> {
        let bits = members.text("has")?.bytes().map(|b| match b {
            b'0' => Ok(false),
            b'1' => Ok(true),
            _ => Err(members.error("has", Problem::NotA("a text of 0 and 1"))),
        });
        Ok(Self {
            equal: members.flag("equal")?,
            empty: members.flag("empty")?,
            tips: members.pairs("tips")?,
            has: bits.collect::<Result<_, _>>()?,
            nodes: members.addrs("nodes")?,
            more: members.flag("more")?,
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

    /// Entries of all kinds.
    pub(crate) fn entries(&self) -> u64 {
        (self.nodes.len() + self.tips.len() + self.has.len()) as u64
    }
}

/// A question about everything, or about what is under a timeline.
fn under(question: (&'static str, Value), root: Option<&Addr>) -> Vec<(&'static str, Value)> {
    [question].into_iter().chain(root.map(|root| ("under", root.into()))).collect()
}

fn pairs(items: &[(Addr, Option<Addr>)]) -> Value {
    let optional = |a: &Option<Addr>| a.as_ref().map_or(Value::Null, Value::from);
    Value::Array(items.iter().map(|(a, b)| Value::Array(vec![a.into(), optional(b)])).collect())
}

fn list(items: &[Addr]) -> Value {
    Value::Array(items.iter().map(Value::from).collect())
}
