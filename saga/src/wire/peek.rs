//! Peeks: what a sender may ask before it opens a saga. Reading only, unsigned, allowed once connected; nothing
//! moves. With them a saga starts knowing what the other side has, so that only missing nodes travel.

use super::members::{DecodeError, Members, Problem};
use super::packet::printed;
use crate::fingerprint::{BUCKETS, CELL_BITS_MAX, Cells, SHORT_BYTES, Short};
use ibgib::{Addr, Value, strings};

/// Bytes that the salt of short fingerprints may have.
const SALT_BYTES_MAX: usize = 64;
/// What tells the short fingerprints of a bucket's cells, or of the timelines of a cell.
const CELLS: &str = "cells";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Are all living timelines' tips the same as mine? With the whole fingerprint; with a timeline, of those only that
    /// are [under](crate::Scope::Under) it. A receiver that knows how to waits for so many milliseconds with saying yes: it
    /// answers as soon as they differ, or anything else is asked.
    Equal(String, Option<Addr>, u64),
    /// The tips in the buckets where mine differ, of the same timelines; or, if I can go on from that and they are many, the
    /// short fingerprints of those buckets' [cells](Peeked::cells).
    Buckets(Vec<String>, Option<Addr>, bool),
    /// Which of my tips in these cells are the same there, and what else lies in them?
    Cells(Cells, Vec<AskedCell>, Option<Addr>),
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

/// A cell that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedCell {
    /// The [cell](Cells::cell).
    pub cell: usize,
    /// The short fingerprints of the asking side's timelines in it.
    pub theirs: Vec<Short>,
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peeked {
    /// [`Peek::Equal`]'s answer.
    pub equal: bool,
    /// Timelines and tips; `None` for one that is not there.
    pub tips: Vec<(Addr, Option<Addr>)>,
    /// [`Peek::Has`]: one per address asked, in order; [`Peek::Buckets`]: whether it differs; [`Peek::Cells`]: whether that is
    /// the same here.
    pub has: Vec<bool>,
    /// Buckets, each with the short fingerprints of all its cells: of these the tips are not told.
    pub cells: Vec<(usize, Vec<Short>)>,
    /// [`Peek::List`]: dependencies first.
    pub nodes: Vec<Addr>,
    /// The side that answers holds no living timelines. Where it is not told of one that holds none, it is asked which nodes
    /// it has, and that is all.
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
            Self::Buckets(buckets, root, split) => {
                let mut members = under(("buckets", strings(buckets.iter().map(String::as_str))), root.as_ref());
                members.extend(split.then(|| ("split", true.into())));
                members
            }
            Self::Cells(Cells { bits, salt }, asked, root) => {
                let asked = asked.iter().map(|AskedCell { cell, theirs }| numbered(*cell, theirs)).collect();
                let mut members = under((CELLS, Value::Array(asked)), root.as_ref());
                members.extend([("bits", Value::integer(u64::from(*bits))), ("salt", salt.as_str().into())]);
                members
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
                "buckets" => {
                    let split = members.has("split") && members.flag("split")?;
                    let buckets = members.texts("buckets", BUCKETS..=BUCKETS)?;
                    Self::Buckets(buckets, members.addr_if_any("under")?, split)
                }
                CELLS => Self::read_cells(members)?,
                "tips" => Self::Tips(members.addrs("tips")?),
                "has" => Self::Has(members.addrs("has")?),
                "list" => {
                    let live = members.has("live") && members.flag("live")?;
                    Self::List { items: members.pairs("list")?, live }
                }
                _ => continue,
            });
        }
        Err(members.error("fingerprint, buckets, cells, tips, has or list", Problem::Missing))
    }

    fn read_cells(members: Members<'_>) -> Result<Self, DecodeError> {
        let salt = members.text("salt")?.to_owned();
        if salt.len() > SALT_BYTES_MAX {
            let why = format!("it has more than {SALT_BYTES_MAX} bytes");
            return Err(members.error("salt", Problem::Invalid(why)));
        }
        let bits = members.count("bits")?;
        let bits = u32::try_from(bits).ok().filter(|bits| (1..=CELL_BITS_MAX).contains(bits));
        let bits =
            bits.ok_or_else(|| members.error("bits", Problem::Invalid(format!("it is none of 1 to {CELL_BITS_MAX}"))))?;
        let asked = ascending(members, BUCKETS << bits)?.into_iter();
        let asked = asked.map(|(cell, theirs)| AskedCell { cell, theirs }).collect();
        Ok(Self::Cells(Cells { bits, salt }, asked, members.addr_if_any("under")?))
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
        for (bucket, shorts) in self.cells {
            fit(&mut pages, 16 + 2 * SHORT_BYTES * shorts.len());
            if let Some(page) = pages.last_mut() {
                page.cells.push((bucket, shorts));
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

    pub(crate) fn members(&self) -> Vec<(&'static str, Value)> {
        let bits: String = self.has.iter().map(|b| if *b { '1' } else { '0' }).collect();
        let cells = || Value::Array(self.cells.iter().map(|(bucket, shorts)| numbered(*bucket, shorts)).collect());
        // Whoever has not asked for cells need not know the member.
        let cells = (!self.cells.is_empty()).then(|| (CELLS, cells()));
        let members = [
            ("equal", self.equal.into()),
            ("empty", self.empty.into()),
            ("tips", pairs(&self.tips)),
            ("has", bits.into()),
            ("nodes", list(&self.nodes)),
            ("more", self.more.into()),
        ];
        members.into_iter().chain(cells).collect()
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
            cells: if members.has(CELLS) { ascending(members, BUCKETS)? } else { Vec::new() },
            nodes: members.addrs("nodes")?,
            more: members.flag("more")?,
        })
    }

    /// Adds the next page.
    pub(crate) fn absorb(&mut self, next: Self) {
        self.tips.extend(next.tips);
        self.nodes.extend(next.nodes);
        self.has.extend(next.has);
        self.cells.extend(next.cells);
        self.equal |= next.equal;
        self.empty |= next.empty;
        self.more = next.more;
    }

    /// Entries of all kinds.
    pub(crate) fn entries(&self) -> u64 {
        let shorts: usize = self.cells.iter().map(|(_, shorts)| shorts.len()).sum();
        (self.nodes.len() + self.tips.len() + self.has.len() + shorts) as u64
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

/// A bucket or a cell, and short fingerprints.
fn numbered(number: usize, shorts: &[Short]) -> Value {
    Value::Array(vec![Value::integer(number as u64), hex::encode(shorts.concat()).into()])
}

/// The same read: each number is less than `end`, and none comes before a smaller one or twice.
fn ascending(members: Members<'_>, end: usize) -> Result<Vec<(usize, Vec<Short>)>, DecodeError> {
    let invalid = |why: String| members.error(CELLS, Problem::Invalid(why));
    let (mut next, mut out) = (0, Vec::new());
    for (number, text) in members.numbered(CELLS)? {
        let number = usize::try_from(number).ok().filter(|number| (next..end).contains(number));
        let number = number.ok_or_else(|| invalid(format!("a number is not from {next} to less than {end}")))?;
        let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() % SHORT_BYTES == 0);
        let bytes =
            bytes.ok_or_else(|| invalid(format!("a text is no fingerprints of {SHORT_BYTES} bytes in hex digits")))?;
        let short = |bytes: &[u8]| {
            let mut short = Short::default();
            short.copy_from_slice(bytes);
            short
        };
        out.push((number, bytes.chunks_exact(SHORT_BYTES).map(short).collect()));
        next = number + 1;
    }
    Ok(out)
}
