//! What a saga did, told at its end.

use ibgib::Addr;
use ibgib::timeline::Ancestry;

/// What a saga did to one timeline. Before it, that is the [`Ancestry`] of our tip and the receiver's; afterwards one of
/// these words, which the command and the page print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Both sides had it.
    Same,
    /// The receiver took ours.
    Pushed,
    /// We took the receiver's.
    Pulled,
    /// Both had edits; both now have the merge.
    Merged,
    /// It failed on its own; the others went on.
    Refused,
}

impl Action {
    /// `same`, `pushed`, `pulled`, `merged` or `refused`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Pushed => "pushed",
            Self::Pulled => "pulled",
            Self::Merged => "merged",
            Self::Refused => "refused",
        }
    }
}

impl From<Ancestry> for Action {
    /// What a saga will do about it, if it goes well.
    fn from(ours_to_theirs: Ancestry) -> Self {
        match ours_to_theirs {
            Ancestry::Same => Self::Same,
            Ancestry::Ahead => Self::Pushed,
            Ancestry::Behind => Self::Pulled,
            Ancestry::Diverged => Self::Merged,
        }
    }
}

/// One timeline (or constant) of a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineSummary {
    /// The timeline; a constant's own address.
    pub tjp: Addr,
    /// Our tip before.
    pub before: Option<Addr>,
    /// Our tip after.
    pub after: Option<Addr>,
    /// What happened.
    pub action: Action,
    /// The receiver had nothing of it.
    pub new_there: bool,
    /// Why it was refused.
    pub why: Option<String>,
}

/// What a saga did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The saga's id; `None` when there was nothing to do and so no saga.
    pub saga: Option<String>,
    /// The number that the session identity reached: 1 for connecting plus one per turn of the sender; 0 without a
    /// saga.
    pub turns: u32,
    /// Nodes of synced graphs that we sent.
    pub nodes_sent: u64,
    /// Nodes of synced graphs that we received.
    pub nodes_received: u64,
    /// Bytes of messages that we sent in this saga.
    pub bytes_sent: u64,
    /// Bytes of messages that we received in this saga.
    pub bytes_received: u64,
    /// Bytes of frames that proved who we are and of the receiver's signatures, of both directions, since the saga before.
    pub identity_bytes: u64,
    /// Merge frames made by either side.
    pub merges: u64,
    /// New conflicts recorded.
    pub conflicts: u64,
    /// Per timeline that differed, sorted by timeline.
    pub timelines: Vec<TimelineSummary>,
}
