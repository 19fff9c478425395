//! Bringing index and staged nodes to where the log is.

use super::Core;
use crate::error::SpaceError;
use crate::redb::fail;
use crate::segments::block::{self, Key};
use crate::segments::index::{self, Entry, Open};
use crate::segments::log::{BLOCK, Pos};
use crate::segments::record::{CHANGE, Change, UNSTAGE};
use crate::segments::staged::{Place, Staged, StagedNode};
use ibgib::Addr;
use redb::Durability;
use std::sync::PoisonError;

impl Core {
    /// Brings index and staged nodes to where the log is; answers where that ends, and its last record.
    pub(super) fn replay(&self, known: index::Known) -> Result<(Pos, Pos), SpaceError> {
        let Some(index) = &self.index else { return Err(SpaceError::Closed) };
        let mut txn = index.begin_write().map_err(fail)?;
        txn.set_durability(Durability::Immediate).map_err(fail)?;
        let (mut staged, mut last) = (Staged::default(), known.last);
        let mut open = Open::new(&txn)?;
        // What the index has applied is only looked at for what is staged: damage there costs no more than that.
        self.log.look_back(known.staged.min(known.applied), known.applied, |at, record| {
            self.replay_staged(&mut staged, at, record.kind, &record.payload)
        })?;
        let end = self.log.replay(known.applied, |at, record| {
            last = last.max(at);
            match record.kind {
                CHANGE => {
                    let damaged = || SpaceError::Damaged(format!("a change in the log cannot be read: {at:?}"));
                    let change = Change::read(&record.payload).ok_or_else(damaged)?;
                    let entries = self.entries(&change)?;
                    open.apply(&change, entries)
                }
                _ => self.replay_staged(&mut staged, at, record.kind, &record.payload),
            }
        })?;
        if end != known.applied {
            open.note(end, last, staged.first().unwrap_or(end))?;
        }
        drop(open);
        match end == known.applied {
            true => txn.abort().map_err(fail)?,
            false => txn.commit().map_err(fail)?,
        }
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = staged;
        Ok((end, last))
    }

    fn replay_staged(&self, staged: &mut Staged, at: Pos, kind: u8, payload: &[u8]) -> Result<(), SpaceError> {
        match kind {
            BLOCK => {
                let owner = block::Head::read(payload).map(|(head, _)| head.owner).filter(|owner| !owner.is_empty());
                let Some(owner) = owner else { return Ok(()) };
                let nodes = self.addresses_of(at, u32::MAX)?;
                staged.add(
                    owner,
                    nodes.into_iter().map(|(key, place, addr)| (key, StagedNode { addr, place, node: None })),
                );
            }
            UNSTAGE => staged.forget(std::str::from_utf8(payload).unwrap_or_default()),
            _ => {}
        }
        Ok(())
    }

    fn entries(&self, change: &Change) -> Result<Vec<Entry>, SpaceError> {
        let nodes = self.entries_of(change)?.into_iter();
        Ok(nodes.map(|(key, place, addr)| Entry { key, place, name: index::name(&addr) }).collect())
    }

    /// The nodes that a change commits, as far as they can be read.
    pub(super) fn entries_of(&self, change: &Change) -> Result<Vec<(Key, Place, Addr)>, SpaceError> {
        let mut out = Vec::new();
        for (at, bits) in &change.nodes {
            out.extend(self.addresses_of(*at, *bits)?);
        }
        Ok(out)
    }
}
