//! Which frames lie under one of two tips and which under both.

use super::run::{Blocked, Known};
use super::{Ancestry, History};
use crate::addr::Addr;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// What [`History::paint`] found.
#[derive(Debug, Default)]
pub(super) struct Paint {
    /// Frames reachable from x only, highest n first.
    pub(super) only_x: Vec<Addr>,
    /// Frames reachable from y only.
    pub(super) only_y: Vec<Addr>,
    /// Common frames that no other common frame descends from.
    pub(super) nearest: Vec<Addr>,
}

impl History {
    /// Colours the frames under two sets of tips, from the highest n down, until the rest is common to both.
    /// Without `y` that is everything before `x`.
    pub(super) fn paint(&self, x: &[Addr], y: &[Addr]) -> Known<Paint> {
        let mut front = Front::default();
        let mut depths = HashMap::new();
        let mut out = Paint::default();
        for (tips, colour) in [(x, X), (y, Y)] {
            for tip in tips {
                front.add((self.rank(tip, &mut depths)?, tip.clone()), colour);
            }
        }
        let one_sided = y.is_empty();
        loop {
            if front.open == 0 && !one_sided {
                // The highest of the rest cannot be an ancestor of the others.
                let one_left = front.fresh == 1 && front.highest().is_some_and(Front::is_fresh);
                if front.fresh == 0 || one_left {
                    out.nearest.extend(front.rest.into_iter().filter(|(_, f)| Front::is_fresh(*f)).map(|(k, _)| k.0.1));
                    return Ok(out);
                }
            }
            let Some(((rank, addr), flags)) = front.pop() else { return Ok(out) };
            match flags & BOTH {
                X => out.only_x.push(addr.clone()),
                Y => out.only_y.push(addr.clone()),
                _ => {
                    if Front::is_fresh(flags) {
                        out.nearest.push(addr.clone());
                    }
                }
            }
            let inherited = if flags & BOTH == BOTH { flags | STALE } else { flags };
            for parent in self.parents(&addr)? {
                let before = self.rank(&parent, &mut depths)?;
                if before >= rank {
                    return Err(Blocked::Broken(addr, format!("its n is not greater than that of {parent}")));
                }
                front.add((before, parent), inherited);
            }
        }
    }

    /// A number that is larger than those of all frames before: n, or, for frames without n, how many are before them
    /// (which only `past` can tell, since a merge frame has an n), below all n.
    fn rank(&self, addr: &Addr, depths: &mut HashMap<Addr, i64>) -> Known<i64> {
        let mut chain = Vec::new();
        let mut next = Some(addr.clone());
        let mut rank = i64::MIN;
        while let Some(addr) = next {
            let place = self.place(&addr)?;
            if let Some(known) = place.n.map(|n| n as i64).or_else(|| depths.get(&addr).copied()) {
                rank = known;
                break;
            }
            next = place.past.clone();
            chain.push(addr);
        }
        for addr in chain.into_iter().rev() {
            // One without n after one with n is not greater: that breaks a rule.
            rank = if rank >= 0 { i64::MIN } else { rank + 1 };
            depths.insert(addr, rank);
        }
        Ok(rank)
    }

    /// How x stands to y, by what painting them found.
    pub(super) fn ancestry_by(&self, x: &Addr, y: &Addr, paint: &Paint) -> Known<Ancestry> {
        let has_edit = |frames: &[Addr]| -> Known<bool> {
            for addr in frames {
                if !self.is_merge(addr)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Ok(match (has_edit(&paint.only_x)?, has_edit(&paint.only_y)?) {
            (true, true) => Ancestry::Diverged,
            (true, false) => Ancestry::Ahead,
            (false, true) => Ancestry::Behind,
            (false, false) if self.key(x)? > self.key(y)? => Ancestry::Ahead,
            (false, false) => Ancestry::Behind,
        })
    }
}

/// Reached from x.
const X: u8 = 1;
/// Reached from y.
const Y: u8 = 2;
const BOTH: u8 = X | Y;
/// Reached from a frame that both reach.
const STALE: u8 = 4;

/// Frames that [`History::paint`] has reached and not visited, highest first.
#[derive(Default)]
struct Front {
    rest: BTreeMap<Reverse<(i64, Addr)>, u8>,
    /// How many of them only one side reaches.
    open: usize,
    /// How many of them may be nearest common ancestors.
    fresh: usize,
}

impl Front {
    fn is_fresh(flags: u8) -> bool {
        flags & (BOTH | STALE) == BOTH
    }

    fn add(&mut self, key: (i64, Addr), colour: u8) {
        let flags = self.rest.entry(Reverse(key)).or_default();
        let before = *flags;
        *flags |= colour;
        let after = *flags;
        self.count(before, false);
        self.count(after, true);
    }

    fn pop(&mut self) -> Option<((i64, Addr), u8)> {
        let (Reverse(key), flags) = self.rest.pop_first()?;
        self.count(flags, false);
        Some((key, flags))
    }

    fn highest(&self) -> Option<u8> {
        self.rest.first_key_value().map(|(_, flags)| *flags)
    }

    fn count(&mut self, flags: u8, more: bool) {
        let one = |is: bool, n: &mut usize| {
            if is {
                *n = if more { *n + 1 } else { *n - 1 };
            }
        };
        one(matches!(flags & BOTH, X | Y), &mut self.open);
        one(Self::is_fresh(flags), &mut self.fresh);
    }
}
