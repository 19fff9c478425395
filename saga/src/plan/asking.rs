//! Questions to the receiver that may need several messages, and have answers of several pages.

use crate::error::{Breach, SagaError};
use crate::fingerprint::BUCKETS;
use crate::wire::packet::printed;
use crate::wire::peek::{Peek, Peeked};
use ibgib::Addr;
use std::collections::VecDeque;

/// Bytes of addresses in one question: well under [`crate::Limits::message_bytes_max`].
const QUESTION_BYTES: usize = 200_000;
/// Bytes that JSON adds at most to an address in a question, or to a pair of them.
pub(super) const PUNCTUATION: usize = 16;

/// A question under way, in as many messages as it takes; the answers count as one.
#[derive(Debug)]
pub(super) struct Asking {
    rest: VecDeque<Peek>,
    pub(super) whole: Peeked,
    /// How many bits the answers to what was asked so far must have.
    bits: usize,
}

/// What the answer still lacks.
#[derive(Debug)]
pub(super) enum More {
    /// Another page.
    Page,
    /// The answer to this.
    Peek(Peek),
}

impl Asking {
    /// Begins with the first of the messages; `None` when there is none.
    pub(super) fn begin(peeks: impl IntoIterator<Item = Peek>) -> Option<(Self, Peek)> {
        let mut asking = Self { rest: peeks.into_iter().collect(), whole: Peeked::default(), bits: 0 };
        asking.next().map(|first| (asking, first))
    }

    fn next(&mut self) -> Option<Peek> {
        let next = self.rest.pop_front()?;
        self.bits += match &next {
            Peek::Has(addrs) => addrs.len(),
            Peek::Buckets(..) => BUCKETS,
            Peek::Cells(_, asked, _) => asked.iter().map(|cell| cell.theirs.len()).sum(),
            Peek::Equal(..) | Peek::Tips(_) | Peek::List { .. } => 0,
        };
        Some(next)
    }

    /// Takes a page; answers what is needed to go on, `None` once all is answered.
    pub(super) fn page(&mut self, page: Peeked, list_max: u64) -> Result<Option<More>, SagaError> {
        self.whole.absorb(page);
        // As many bits as were asked for are no surprise.
        if self.whole.entries() > list_max.max(self.bits as u64) {
            return Err(SagaError::Limit { name: "list_max", limit: list_max });
        }
        if self.whole.more {
            return Ok(Some(More::Page));
        }
        if self.whole.has.len() != self.bits {
            return Err(SagaError::misbehaved(Breach::BadPeek, "another number of answers than questions"));
        }
        Ok(self.next().map(More::Peek))
    }
}

pub(super) fn address_bytes(addr: &Addr) -> usize {
    printed(addr.as_str()) + PUNCTUATION
}

/// Items in batches that fit a question each; none when there are none.
pub(super) fn batches<T>(items: Vec<T>, bytes_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut out: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        bytes += bytes_of(&item);
        match out.last_mut() {
            Some(batch) if bytes <= QUESTION_BYTES => batch.push(item),
            _ => {
                bytes = bytes_of(&item);
                out.push(vec![item]);
            }
        }
    }
    out
}
