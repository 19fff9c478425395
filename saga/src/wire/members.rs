//! Reading members of a JSON object strictly: what is missing or wrong is told by name.

use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use std::ops::RangeInclusive;

/// Why something that came over the wire was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{of}: {member} {problem}")]
pub struct DecodeError {
    /// What was read: a message's type, or `list` for a line of a list.
    pub of: &'static str,
    /// The member that is wrong.
    pub member: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It is of another JSON type, or has parts of another type.
    #[error("is not {0}")]
    NotA(&'static str),
    /// It has too few or too many items.
    #[error("has {found} items, not {min} to {max}")]
    Count {
        /// Items that it has.
        found: usize,
        /// Items that it must have at least.
        min: usize,
        /// Items that it may have at most.
        max: usize,
    },
    /// It is of the right type and still breaks a rule.
    #[error("is invalid: {0}")]
    Invalid(String),
}

/// The members of one object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Members<'a> {
    pub(crate) of: &'static str,
    pub(crate) map: &'a Map,
}

type Read<T> = Result<T, DecodeError>;

const ADDRESS: &str = "an address";
const ADDRESSES: &str = "an array of addresses";

impl<'a> Members<'a> {
    pub(crate) fn error(&self, member: &'static str, problem: Problem) -> DecodeError {
        DecodeError { of: self.of, member, problem }
    }

    fn value(&self, member: &'static str) -> Read<&'a Value> {
        self.map.get(member).ok_or_else(|| self.error(member, Problem::Missing))
    }

    fn typed<T>(&self, member: &'static str, what: &'static str, read: impl FnOnce(&'a Value) -> Option<T>) -> Read<T> {
        read(self.value(member)?).ok_or_else(|| self.error(member, Problem::NotA(what)))
    }

    /// Whether the member is there and not null.
    pub(crate) fn has(&self, member: &str) -> bool {
        !matches!(self.map.get(member), None | Some(Value::Null))
    }

    pub(crate) fn text(&self, member: &'static str) -> Read<&'a str> {
        self.typed(member, "a text", Value::as_str)
    }

    pub(crate) fn flag(&self, member: &'static str) -> Read<bool> {
        self.typed(member, "a boolean", Value::as_bool)
    }

    pub(crate) fn count(&self, member: &'static str) -> Read<u64> {
        self.typed(member, "a whole number from 0", Value::as_u53)
    }

    pub(crate) fn object(&self, member: &'static str) -> Read<Self> {
        let map = self.typed(member, "an object", Value::as_object)?;
        Ok(Self { of: self.of, map })
    }

    /// Texts, as many as `counts` allows.
    pub(crate) fn texts(&self, member: &'static str, counts: RangeInclusive<usize>) -> Read<Vec<String>> {
        let texts = self.typed(member, "an array of texts", |value| {
            value.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        })?;
        if counts.contains(&texts.len()) {
            return Ok(texts);
        }
        Err(self.error(member, Problem::Count { found: texts.len(), min: *counts.start(), max: *counts.end() }))
    }

    fn parse(&self, member: &'static str, text: &str) -> Read<Addr> {
        text.parse().map_err(|e: ibgib::AddrError| self.error(member, Problem::Invalid(e.to_string())))
    }

    pub(crate) fn addr(&self, member: &'static str) -> Read<Addr> {
        self.parse(member, self.typed(member, ADDRESS, Value::as_str)?)
    }

    /// An address, or `None` when the member is missing or null.
    pub(crate) fn addr_if_any(&self, member: &'static str) -> Read<Option<Addr>> {
        if self.has(member) { self.addr(member).map(Some) } else { Ok(None) }
    }

    pub(crate) fn addrs(&self, member: &'static str) -> Read<Vec<Addr>> {
        let items = self.typed(member, ADDRESSES, Value::as_array)?;
        let text = |v: &'a Value| v.as_str().ok_or_else(|| self.error(member, Problem::NotA(ADDRESSES)));
        items.iter().map(|v| self.parse(member, text(v)?)).collect()
    }

    /// Pairs of an address and an address or null.
    pub(crate) fn pairs(&self, member: &'static str) -> Read<Vec<(Addr, Option<Addr>)>> {
        const PAIRS: &str = "an array of pairs of addresses";
        let pair = |value: &'a Value| match value.as_array() {
            Some([Value::String(a), Value::String(b)]) => Ok((self.parse(member, a)?, Some(self.parse(member, b)?))),
            Some([Value::String(a), Value::Null]) => Ok((self.parse(member, a)?, None)),
            _ => Err(self.error(member, Problem::NotA(PAIRS))),
        };
        self.typed(member, PAIRS, Value::as_array)?.iter().map(pair).collect()
    }

    /// Pairs of a whole number and a text.
    pub(crate) fn numbered(&self, member: &'static str) -> Read<Vec<(u64, &'a str)>> {
        const NUMBERED: &str = "an array of pairs of a number and a text";
        let pair = |value: &'a Value| match value.as_array() {
            Some([number, Value::String(text)]) => Some((number.as_u53()?, text.as_str())),
            _ => None,
        };
        self.typed(member, NUMBERED, |value| value.as_array()?.iter().map(pair).collect())
    }

    /// A node whose address is computed here.
    pub(crate) fn node(&self, member: &'static str) -> Read<Verified<IbGib>> {
        let node = IbGib::from_value(self.value(member)?.clone(), Mode::Strict).and_then(IbGib::verify);
        node.map_err(|e| self.error(member, Problem::Invalid(e.to_string())))
    }
}
