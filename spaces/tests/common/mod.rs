//! Timelines made without clock and entropy, and how a careful caller edits them.
#![allow(dead_code, reason = "each test binary uses a part")]

use ibgib::transform::{self, ForkOpts, Moment, Mut8Opts, Transformed, linked};
use ibgib::{Addr, IbGib, Map, Value, Verified};
use ibgib_spaces::history::{Overlay, advance};
use ibgib_spaces::{Advance, Commit, Space};

fn moment(seed: u64) -> Moment {
    let mut random = [3; 16];
    random[..8].copy_from_slice(&seed.to_le_bytes());
    Moment { now_ms: 1_767_225_600_000 + seed as i64, random }
}

/// The first frame of a timeline.
pub(crate) fn born(ib: &str) -> Transformed {
    let opts = ForkOpts::timeline(ib);
    transform::fork(&IbGib::primitive("root").unwrap(), &opts, &moment(0)).unwrap()
}

/// The next frame, with `name` set to `value`.
pub(crate) fn set(frame: &Verified<IbGib>, name: &str, value: impl Into<Value>) -> Transformed {
    let patch = Map::from_iter([(name, value.into())]);
    let opts = Mut8Opts { patch: Some(patch), dna: true, linked_rel8ns: linked(), ..Mut8Opts::default() };
    transform::mut8(frame, &opts, &moment(frame.n().unwrap() + 1)).unwrap()
}

/// The frame's number under this name; 0 when it has none.
pub(crate) fn number(frame: &IbGib, name: &str) -> u32 {
    frame.datum(name).and_then(Value::as_u53).unwrap_or(0) as u32
}

/// The commit that stores `made` and moves the tip to it.
pub(crate) async fn step(space: &dyn Space, from: Option<&Addr>, made: &Transformed) -> Commit {
    let overlay: Overlay = made.nodes().into_iter().map(|n| (n.addr().clone(), n)).collect();
    let advance = advance(space, &overlay, from, made.frame.addr()).await.unwrap();
    Commit { nodes: made.nodes(), tips: vec![Advance::Timeline(advance)], ..Commit::default() }
}

/// The newest frame of a timeline.
pub(crate) async fn newest(space: &dyn Space, tjp: &Addr) -> Verified<IbGib> {
    let tip = space.tip(tjp).await.unwrap().expect("the timeline has a tip").addr;
    space.get(&[tip]).await.unwrap().remove(0).expect("the tip's frame is there")
}

/// A small generator (SplitMix64): a seed means the same for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
