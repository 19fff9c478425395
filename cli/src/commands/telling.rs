//! Which open conflicts somebody was told of on this device.
//!
//! One local record, `conflicts/told`: the revision up to which timelines were looked at, and the conflicts that were open
//! then, a line each. It is written after the report is out, so a command that ends before tells them the next time.

use crate::device::Device;
use crate::error::CliError;
use crate::output::Output;
use ibgib::Addr;
use ibgib_folder::{Conflict, ConflictOrigin, conflicts_of};
use ibgib_spaces::{Commit, Kind, Space, Tip};
use std::collections::BTreeSet;

const TOLD: &str = "conflicts/told";

/// Something to keep in the local store; see [`Commit::records`].
pub(super) type Record = (String, Option<Vec<u8>>);

/// What was told.
#[derive(Default)]
pub(super) struct Told {
    revision: u64,
    /// The timeline, and the constant that records the conflict.
    open: BTreeSet<(Addr, Addr)>,
}

impl Told {
    /// What was told before; nothing where there is no record, or one that cannot be read.
    pub(super) async fn read(space: &dyn Space) -> Result<Self, CliError> {
        let text = space.record(TOLD).await?.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        Ok(Self::parse(&text).unwrap_or_default())
    }

    fn parse(text: &str) -> Option<Self> {
        let (revision, lines) = text.split_once('\n')?;
        let line = |line: &str| {
            let (timeline, stone) = line.split_once(' ')?;
            Some((timeline.parse().ok()?, stone.parse().ok()?))
        };
        Some(Self { revision: revision.parse().ok()?, open: lines.lines().map(line).collect::<Option<_>>()? })
    }

    /// The conflicts that are open and were not told; from now on they are. Only timelines that moved are looked at.
    pub(super) async fn news(
        &mut self,
        device: &Device,
        out: &Output,
    ) -> Result<Vec<(Conflict, ConflictOrigin)>, CliError> {
        let me = device.identity().await.ok();
        let mut changes = device.space.changes(self.revision).await?;
        if changes.lagged {
            // The store was replaced by an older one.
            changes = device.space.changes(0).await?;
        }
        let moved: Vec<Tip> = changes.tips.into_iter().filter(|tip| tip.kind == Kind::Living).collect();
        let folder = match device.folder_tjp().await? {
            Some(_) => Some(device.folder(out).await?),
            None => None,
        };
        let mut open = match &folder {
            Some(folder) => folder.conflicts_of(&moved).await?,
            None => conflicts_of(&*device.space, &moved).await?,
        };
        let all = open.iter().map(|conflict| (conflict.timeline.clone(), conflict.stone.clone())).collect();
        let before = self.learn(changes.revision, &moved, all);
        open.retain(|conflict| !before.contains(&(conflict.timeline.clone(), conflict.stone.clone())));
        let origins = match &folder {
            Some(folder) => folder.conflict_origins(&open, me.as_ref()).await?,
            None => ibgib_folder::conflict_origins(&*device.space, &open, me.as_ref()).await?,
        };
        Ok(open.into_iter().zip(origins).collect())
    }

    /// At `revision` the timelines that `moved` have these conflicts `open`, the others those that they had. Answers what
    /// was open before.
    fn learn(&mut self, revision: u64, moved: &[Tip], open: BTreeSet<(Addr, Addr)>) -> BTreeSet<(Addr, Addr)> {
        let moved: BTreeSet<&Addr> = moved.iter().map(|tip| &tip.tjp).collect();
        let still = self.open.iter().filter(|(timeline, _)| !moved.contains(timeline)).cloned();
        self.revision = revision;
        let now = still.chain(open).collect();
        std::mem::replace(&mut self.open, now)
    }

    /// What to keep once the report is out.
    pub(super) fn record(&self) -> Record {
        let lines = self.open.iter().map(|(timeline, stone)| format!("{timeline} {stone}\n"));
        let text = format!("{}\n{}", self.revision, lines.collect::<String>());
        (TOLD.to_owned(), Some(text.into_bytes()))
    }
}

/// For a command other than a sync that left `made` conflicts: how many are new on this device, and what to [`keep_told`] once
/// they are told. The next sync does not tell them again.
pub(super) async fn count_new(device: &Device, out: &Output, made: usize) -> Result<(usize, Option<Record>), CliError> {
    if made == 0 {
        return Ok((0, None));
    }
    let mut told = Told::read(&*device.space).await?;
    let news = told.news(device, out).await?;
    Ok((news.len(), Some(told.record())))
}

/// Keeps what was told.
pub(super) async fn keep_told(device: &Device, records: impl IntoIterator<Item = Record>) -> Result<(), CliError> {
    let records: Vec<Record> = records.into_iter().collect();
    if !records.is_empty() {
        device.space.commit(Commit { records, ..Commit::default() }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(ib: &str) -> Addr {
        format!("{ib}^{}", "A".repeat(64)).parse().unwrap()
    }

    #[test]
    fn what_was_told_is_read_as_it_was_written_and_what_is_settled_is_forgotten() {
        let tip = |tjp: &str| Tip { tjp: addr(tjp), addr: addr("frame"), n: Some(1), kind: Kind::Living };
        let pair = |timeline: &str, stone: &str| (addr(timeline), addr(stone));
        let mut told = Told::default();
        assert_eq!(told.learn(3, &[tip("a"), tip("b")], [pair("a", "x"), pair("b", "y")].into()), [].into());
        let (_, bytes) = told.record();
        let mut again = Told::parse(std::str::from_utf8(&bytes.unwrap()).unwrap()).unwrap();
        assert_eq!(again.revision, 3);
        assert_eq!(again.learn(5, &[tip("a")], [].into()), [pair("a", "x"), pair("b", "y")].into());
        assert_eq!(again.open, [pair("b", "y")].into());
        for bad in ["", "3", "x\n", "3\nno line", "3\na^b\n"] {
            assert!(Told::parse(bad).is_none(), "{bad:?}");
        }
    }
}
