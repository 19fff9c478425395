//! Timelines' tips, and the proofs that move them.

use ibgib::Addr;
use std::fmt;

/// What a timeline is, told by its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A timeline of people's or programs' data; merged when it diverges (if its frames have dna).
    Living,
    /// An identity: only validated steps move it, and it never merges.
    Keystone,
    /// The transcript of a saga.
    Saga,
    /// A row of a server's door: this space's own, never synced.
    Door,
}

impl Kind {
    /// The kind of the timeline that `tjp` starts: the first word of its ib is `keystone`, `saga`, `door_row`, or
    /// anything else.
    pub fn of(tjp: &Addr) -> Self {
        match tjp.ib().split(' ').next() {
            Some("keystone") => Self::Keystone,
            Some("saga") => Self::Saga,
            Some("door_row") => Self::Door,
            _ => Self::Living,
        }
    }

    /// `living`, `keystone`, `saga` or `door`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Living => "living",
            Self::Keystone => "keystone",
            Self::Saga => "saga",
            Self::Door => "door",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The newest frame of a timeline in one space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The timeline: the address of its first frame.
    pub tjp: Addr,
    /// The newest frame.
    pub addr: Addr,
    /// The newest frame's number, when it has one.
    pub n: Option<u64>,
    /// What kind of timeline.
    pub kind: Kind,
}

/// Proof that a tip may go back to what does not stand on [dropped](crate::dropped) frames. Made only there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    tjp: Addr,
    from: Addr,
    to: Addr,
}

impl Dropped {
    pub(crate) fn new(tjp: Addr, from: Addr, to: Addr) -> Self {
        Self { tjp, from, to }
    }

    /// The timeline.
    pub fn tjp(&self) -> &Addr {
        &self.tjp
    }

    /// The tip that stands on a dropped frame.
    pub fn from(&self) -> &Addr {
        &self.from
    }

    /// What it goes back to.
    pub fn to(&self) -> &Addr {
        &self.to
    }
}

/// Proof that a tip may move, from the tip it starts at to the tip it leads to: compare-and-swap. Made only by the
/// ancestry check, by validated keystone steps, by judging two validated branches of a keystone, or by leaving frames that
/// were dropped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Advance {
    /// From the ancestry check: living timelines and transcripts.
    Timeline(ibgib::timeline::Advance),
    /// From validated keystone steps.
    Keystone(ibgib_keystone::Step),
    /// From a recovery: an identity moves to another branch, which was taken back.
    Recovery(ibgib_keystone::Recovery),
    /// From frames that were dropped: a living timeline or an identity goes back to what does not stand on them.
    Dropped(Dropped),
}

impl Advance {
    /// The timeline.
    pub fn tjp(&self) -> &Addr {
        match self {
            Self::Timeline(a) => a.tjp(),
            Self::Keystone(s) => s.tjp(),
            Self::Recovery(r) => r.tjp(),
            Self::Dropped(d) => d.tjp(),
        }
    }

    /// The tip that the proof starts from; `None` for a timeline new to the space.
    pub fn from(&self) -> Option<&Addr> {
        match self {
            Self::Timeline(a) => a.from(),
            Self::Keystone(s) => s.from(),
            Self::Recovery(r) => Some(r.from()),
            Self::Dropped(d) => Some(d.from()),
        }
    }

    /// The tip that the proof leads to.
    pub fn to(&self) -> &Addr {
        match self {
            Self::Timeline(a) => a.to(),
            Self::Keystone(s) => s.to(),
            Self::Recovery(r) => r.to(),
            Self::Dropped(d) => d.to(),
        }
    }
}

impl From<ibgib::timeline::Advance> for Advance {
    fn from(advance: ibgib::timeline::Advance) -> Self {
        Self::Timeline(advance)
    }
}

impl From<ibgib_keystone::Step> for Advance {
    fn from(step: ibgib_keystone::Step) -> Self {
        Self::Keystone(step)
    }
}
