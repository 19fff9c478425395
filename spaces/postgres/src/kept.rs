//! Nodes that were read lately. They never change, so whoever reads one again is spared the question, the unpacking and
//! the check: many peers are sent the same frames, and look at the same history.

use crate::row::Key;
use ibgib::{IbGib, Verified};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Bytes of the texts of nodes that are kept. In memory a node takes some times as much.
const TEXTS_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// About how large a text is, which only decides how much room is reserved.
const TEXT_BYTES: u64 = 1024;

/// A moment of the store, as far as it says what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) revision: u64,
    /// How often nodes were removed or changed.
    pub(crate) swept: i64,
}

#[derive(Clone)]
struct Read {
    node: Verified<IbGib>,
    size: u64,
    at: Moment,
}

#[derive(Clone)]
struct TextBytes;

impl Weighter<Key, Read> for TextBytes {
    fn weight(&self, _: &Key, read: &Read) -> u64 {
        // Nothing is kept for nothing.
        read.size.max(1)
    }
}

pub(crate) struct Kept(Cache<Key, Read, TextBytes>);

impl Default for Kept {
    fn default() -> Self {
        let count = usize::try_from(TEXTS_BYTES_MAX / TEXT_BYTES).unwrap_or(0);
        let whole = OptionsBuilder::new()
            .estimated_items_capacity(count)
            .weight_capacity(TEXTS_BYTES_MAX)
            // Of several parts, one for each processor or more, none would have room for a large node.
            .shards(1)
            .build();
        Self(match whole {
            Ok(options) => {
                Cache::with_options(options, TextBytes, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // It fails only where one of the two sizes is not told.
            Err(_) => Cache::with_weighter(count, TEXTS_BYTES_MAX, TextBytes),
        })
    }
}

impl Kept {
    /// A node that is there at this moment: it was read at this moment or before, and nothing was removed since.
    pub(crate) fn get(&self, key: &Key, now: Moment) -> Option<Verified<IbGib>> {
        let read = self.0.get(key)?;
        (read.at.revision <= now.revision && read.at.swept == now.swept).then_some(read.node)
    }

    /// Keeps nothing any more.
    pub(crate) fn forget(&self) {
        self.0.clear();
    }

    /// Keeps a node that was read at a moment, with the size of its text.
    pub(crate) fn keep(&self, key: Key, node: Verified<IbGib>, size: u64, at: Moment) {
        self.0.insert(key, Read { node, size, at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_counts_from_then_on_until_something_is_removed() {
        let kept = Kept::default();
        let node = Verified::parse(r#"{"ib":"root","gib":"gib"}"#).unwrap();
        let at = |revision, swept| Moment { revision, swept };
        kept.keep([7; 32], node.clone(), 25, at(5, 2));
        assert_eq!(kept.get(&[7; 32], at(5, 2)).as_ref(), Some(&node));
        assert_eq!(kept.get(&[7; 32], at(9, 2)).as_ref(), Some(&node));
        assert_eq!(kept.get(&[7; 32], at(4, 2)), None, "a view of before must not see it");
        assert_eq!(kept.get(&[7; 32], at(9, 3)), None, "it may be gone");
        assert_eq!(kept.get(&[8; 32], at(5, 2)), None);
        kept.forget();
        assert_eq!(kept.get(&[7; 32], at(5, 2)), None);
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let kept = Kept::default();
        let node = Verified::parse(r#"{"ib":"root","gib":"gib"}"#).unwrap();
        let at = Moment { revision: 1, swept: 0 };
        for n in 0..100u8 {
            kept.keep([n; 32], node.clone(), TEXTS_BYTES_MAX / 10, at);
        }
        let there = (0..100u8).filter(|n| kept.get(&[*n; 32], at).is_some()).count();
        assert!((1..=10).contains(&there), "{there}");
    }
}
