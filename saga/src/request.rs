//! What a saga is asked for.

use ibgib::Addr;

/// Which way edits may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    Both,
    /// Only from sender to receiver.
    Push,
    /// Only from receiver to sender.
    Pull,
}

impl Direction {
    /// Whether the receiver is to adopt the sender's tips.
    pub fn offers(self) -> bool {
        self != Self::Pull
    }

    /// Whether the sender adopts the receiver's tips.
    pub fn adopts(self) -> bool {
        self != Self::Push
    }
}

/// What to sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every living timeline of both spaces.
    #[default]
    All,
    /// This living timeline, and every one that leads from tip to tip from it on: a folder with its files, say. What a
    /// timeline led to earlier and no longer does travels as far as histories need it.
    Under(Addr),
    /// These timelines and constants, and everything they relate to.
    Only(Vec<Addr>),
    /// No timeline: only the nodes that the sender's side knows to be damaged or missing, to have them anew.
    Damaged,
}

impl Scope {
    /// The timeline that everything in scope is under, where there is one.
    pub fn root(&self) -> Option<&Addr> {
        match self {
            Self::Under(root) => Some(root),
            Self::All | Self::Only(_) | Self::Damaged => None,
        }
    }
}

/// One saga to run.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// A fresh id: 32 or more random hex digits.
    pub saga_id: String,
    /// What to sync.
    pub scope: Scope,
    /// Which way.
    pub direction: Direction,
    /// No saga at all when a peek shows that nothing differs.
    pub skip_when_equal: bool,
    /// Only plan: the summary tells what a saga would do.
    pub dry_run: bool,
    /// Where more timelines than these differ of those that both sides have, the sender's side is asked whether to go on
    /// ([`SenderQuery::GoOn`](crate::SenderQuery::GoOn)); if not, this only plans, too.
    pub moves_max: Option<usize>,
}
