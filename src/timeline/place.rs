//! Where a frame stands in its timeline.

use crate::addr::Addr;
use crate::ibgib::{IbGib, Verified};

/// Where a frame stands in its timeline: all of it but what it says.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) n: Option<u64>,
    pub(super) is_tjp: bool,
    pub(super) tjp: Option<Addr>,
    pub(super) past: Option<Addr>,
    /// Base and orphan, when the frame's relations are such as a merge frame has.
    pub(super) merge_of: Option<(Addr, Addr)>,
    pub(super) has_dna: bool,
}

impl Place {
    pub(super) fn of(frame: &Verified<IbGib>) -> Self {
        let past = frame.past();
        let merge_of = match (&*frame.rel8n_addrs("graftbase"), &*frame.rel8n_addrs("graftorphan")) {
            ([base], [orphan]) if past.as_ref() == Some(base) => Some((base.clone(), orphan.clone())),
            _ => None,
        };
        let has_dna = frame.rel8n("dna").next().is_some();
        Self { n: frame.n(), is_tjp: frame.is_tjp(), tjp: frame.tjp(), past, merge_of, has_dna }
    }

    /// n; a missing one counts −1.
    pub(super) fn number(&self) -> i64 {
        self.n.map_or(-1, |n| n as i64)
    }
}
