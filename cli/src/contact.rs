//! What the last contact with the server told: which tips it has, and how much waits there.
//!
//! Two local records: `contact/state`, a line of JSON, and `contact/tips`, of each timeline of the folder the first bytes
//! of its hash and of the tip's that both sides had.

use crate::error::CliError;
use ibgib::{Addr, Mode, Value, object};
use ibgib_saga::{Action, Direction, Summary, TimelineSummary};
use ibgib_spaces::{Space, Tip};
use std::collections::{HashMap, HashSet};

const STATE: &str = "contact/state";
const TIPS: &str = "contact/tips";
/// Bytes of a hash that are kept: enough that no two of a folder's are taken for each other by chance.
const BYTES: usize = 8;

type Half = [u8; BYTES];

/// The last contact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// When; none before the first one.
    pub(crate) as_of: Option<String>,
    /// Files that the server had something new of, and that did not come.
    pub(crate) waiting: u64,
    tips: HashMap<Half, Half>,
}

fn half(addr: &Addr) -> Half {
    let mut half = Half::default();
    if let Some(key) = addr.key() {
        half.copy_from_slice(&key[..BYTES]);
    }
    half
}

impl Contact {
    pub(crate) async fn read(space: &dyn Space) -> Result<Self, CliError> {
        let state = space.record(STATE).await?.and_then(|bytes| String::from_utf8(bytes).ok());
        let state = state.and_then(|text| Value::parse(&text, Mode::Strict).ok()).unwrap_or(Value::Null);
        let bytes = space.record(TIPS).await?.unwrap_or_default();
        let pairs = bytes.chunks_exact(2 * BYTES).filter_map(|pair| {
            let (tjp, tip) = pair.split_at(BYTES);
            Some((tjp.try_into().ok()?, tip.try_into().ok()?))
        });
        Ok(Self {
            as_of: state.get("asOf").and_then(Value::as_str).map(str::to_owned),
            waiting: state.get("waiting").and_then(Value::as_u53).unwrap_or(0),
            tips: pairs.collect(),
        })
    }

    /// Whether the server has this tip, as far as is known.
    pub(crate) fn has(&self, tjp: &Addr, tip: &Addr) -> bool {
        self.tips.get(&half(tjp)) == Some(&half(tip))
    }

    /// What a sync of the folder told, or would have done: `tips` are the folder's here afterwards.
    /// `gone`: files that were made and deleted elsewhere. Answers the records to keep.
    pub(crate) fn learn(
        mut self,
        tips: &[Tip],
        (summary, gone): (&Summary, &HashSet<Addr>),
        direction: Direction,
        dry_run: bool,
        now: String,
    ) -> Vec<(String, Option<Vec<u8>>)> {
        let lines: HashMap<&Addr, Action> = summary.timelines.iter().map(|line| (&line.tjp, line.action)).collect();
        let settled = |action: Action| match (action, direction) {
            _ if dry_run => false,
            (Action::Pushed, _) => direction.offers(),
            (Action::Pulled, _) => direction.adopts(),
            (Action::Merged, Direction::Both) => true,
            _ => false,
        };
        let before = std::mem::take(&mut self.tips);
        for tip in tips {
            let key = half(&tip.tjp);
            let there = match lines.get(&tip.tjp) {
                // What is not told did not differ.
                None => Some(half(&tip.addr)),
                Some(action) if settled(*action) => Some(half(&tip.addr)),
                Some(_) => before.get(&key).copied(),
            };
            self.tips.extend(there.map(|there| (key, there)));
        }
        let waits = |action: Action| matches!(action, Action::Pulled | Action::Merged | Action::Same);
        let files = summary.timelines.iter().filter(|line| line.tjp.ib() == "file" && !settled(line.action));
        // Of a timeline that is not there, nothing waits.
        let waits = |line: &&TimelineSummary| waits(line.action) && !line.new_there && !gone.contains(&line.tjp);
        self.waiting = files.filter(waits).count() as u64;
        let state = object([("asOf", now.into()), ("waiting", Value::integer(self.waiting))]);
        let mut sorted: Vec<(Half, Half)> = self.tips.iter().map(|(tjp, tip)| (*tjp, *tip)).collect();
        sorted.sort_unstable();
        let mut records = vec![(STATE.to_owned(), Some(state.to_json().into_bytes()))];
        if self.tips != before {
            records.push((TIPS.to_owned(), Some(sorted.iter().flat_map(|(tjp, tip)| [*tjp, *tip].concat()).collect())));
        }
        records
    }
}
