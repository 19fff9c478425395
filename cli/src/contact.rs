//! What the last contact with the server told: which tips it lacks, and how much waits there.
//!
//! Two local records: `contact/state`, a line of JSON, and `contact/lacks`, the timelines of which it lacked the tip, a line
//! each. What moved since the revision that the state names it lacks, too. So nothing is kept or read of what both sides have,
//! however much that is.

use crate::error::CliError;
use ibgib::{Addr, Mode, Value, object};
use ibgib_saga::{Action, Direction, Summary, TimelineSummary};
use ibgib_spaces::{Changes, Kind, Space, Tip};
use std::collections::{BTreeSet, HashMap, HashSet};

const STATE: &str = "contact/state";
const LACKS: &str = "contact/lacks";

/// The last contact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// When; none before the first one.
    pub(crate) as_of: Option<String>,
    /// Files that the server had something new of, and that did not come.
    pub(crate) waiting: u64,
    /// The newest revision of the device's space then.
    revision: u64,
    /// Timelines of which the server lacked the tip then, as far as is known.
    lacks: BTreeSet<Addr>,
}

impl Contact {
    pub(crate) async fn read(space: &dyn Space) -> Result<Self, CliError> {
        let state = space.record(STATE).await?.and_then(|bytes| String::from_utf8(bytes).ok());
        let state = state.and_then(|text| Value::parse(&text, Mode::Strict).ok()).unwrap_or(Value::Null);
        let mut out = Self {
            as_of: state.get("asOf").and_then(Value::as_str).map(str::to_owned),
            waiting: state.get("waiting").and_then(Value::as_u53).unwrap_or(0),
            ..Self::default()
        };
        match state.get("revision").and_then(Value::as_u53) {
            Some(revision) => {
                out.revision = revision;
                let lacks = space.record(LACKS).await?.and_then(|bytes| String::from_utf8(bytes).ok());
                out.lacks = lacks.iter().flat_map(|text| text.lines()).filter_map(|line| line.parse().ok()).collect();
            }
            None => (out.revision, out.lacks) = earlier::lacks(space).await?,
        }
        Ok(out)
    }

    /// What moved since: each tip that the server may lack is among it, or was lacking then.
    async fn moved(&self, space: &dyn Space) -> Result<(u64, Vec<Tip>), CliError> {
        let mut changes = space.changes(self.revision).await?;
        if changes.lagged {
            // Another store has taken the place of this one.
            changes = space.changes(0).await?;
        }
        let Changes { revision, mut tips, .. } = changes;
        tips.retain(|tip| tip.kind == Kind::Living);
        Ok((revision, tips))
    }

    /// The timelines of which the server lacks the tip, as far as is known.
    pub(crate) async fn lacks(&self, space: &dyn Space) -> Result<BTreeSet<Addr>, CliError> {
        let moved = self.moved(space).await?.1.into_iter().map(|tip| tip.tjp);
        Ok(moved.chain(self.lacks.iter().cloned()).collect())
    }

    /// What a sync of the folder told, or would have done. `gone`: files that were made and deleted elsewhere. Answers the
    /// records to keep.
    ///
    /// # Errors
    /// A failing space.
    pub(crate) async fn learn(
        mut self,
        space: &dyn Space,
        (summary, gone): (&Summary, &HashSet<Addr>),
        direction: Direction,
        dry_run: bool,
        now: String,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, CliError> {
        let (revision, moved) = self.moved(space).await?;
        let lines: HashMap<&Addr, Action> = summary.timelines.iter().map(|line| (&line.tjp, line.action)).collect();
        let settled = |action: Action| match (action, direction) {
            _ if dry_run => false,
            (Action::Pushed, _) => direction.offers(),
            (Action::Pulled, _) => direction.adopts(),
            (Action::Merged, Direction::Both) => true,
            _ => false,
        };
        let before = self.lacks.clone();
        self.lacks.extend(moved.into_iter().map(|tip| tip.tjp));
        // What is not told did not differ.
        self.lacks.retain(|tjp| lines.get(tjp).is_some_and(|action| !settled(*action)));
        let waits = |action: Action| matches!(action, Action::Pulled | Action::Merged | Action::Same);
        let files = summary.timelines.iter().filter(|line| line.tjp.ib() == "file" && !settled(line.action));
        // Of a timeline that is not there, nothing waits.
        let waits = |line: &&TimelineSummary| waits(line.action) && !line.new_there && !gone.contains(&line.tjp);
        self.waiting = files.filter(waits).count() as u64;
        let state = object([
            ("asOf", now.into()),
            ("waiting", Value::integer(self.waiting)),
            ("revision", Value::integer(revision)),
        ]);
        let mut records = vec![(STATE.to_owned(), Some(state.to_json().into_bytes()))];
        if self.lacks != before {
            let lines: String = self.lacks.iter().map(|tjp| format!("{tjp}\n")).collect();
            records.push((LACKS.to_owned(), Some(lines.into_bytes())));
        }
        records.extend(earlier::forgotten(space).await?);
        Ok(records)
    }
}

/// What an earlier version kept instead: `contact/tips`, of each timeline of the folder the first bytes of its hash and of
/// those of the tip that both sides had.
mod earlier {
    use super::*;

    const TIPS: &str = "contact/tips";
    const BYTES: usize = 8;

    /// Of which timelines the server lacked the tip, and as of which revision.
    pub(super) async fn lacks(space: &dyn Space) -> Result<(u64, BTreeSet<Addr>), CliError> {
        let Some(bytes) = space.record(TIPS).await? else { return Ok((0, BTreeSet::new())) };
        let known: HashMap<&[u8], &[u8]> = bytes.chunks_exact(2 * BYTES).map(|pair| pair.split_at(BYTES)).collect();
        let revision = space.revision().await?;
        let mut lacks = BTreeSet::new();
        for tip in space.tips(Some(Kind::Living)).await? {
            let [tjp, there] = [&tip.tjp, &tip.addr].map(|addr| addr.key().unwrap_or_default());
            if known.get(&tjp[..BYTES]) != Some(&&there[..BYTES]) {
                lacks.insert(tip.tjp);
            }
        }
        Ok((revision, lacks))
    }

    /// The record goes once there is another.
    pub(super) async fn forgotten(space: &dyn Space) -> Result<Option<(String, Option<Vec<u8>>)>, CliError> {
        Ok(space.record(TIPS).await?.map(|_| (TIPS.to_owned(), None)))
    }
}
