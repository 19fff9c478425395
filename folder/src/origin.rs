//! Where the two sides of a conflict come from: which device made them, and when.

use crate::ancestry::{before, is_merge, merge_of};
use crate::conflict::Conflict;
use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::Folder;
use crate::frames::Node;
use crate::undo;
use ibgib::conflict::Resolution;
use ibgib::ibgib::IDENTITY;
use ibgib::{Addr, Value};
use ibgib_spaces::{Follow, Space};
use std::collections::{HashMap, HashSet};

/// Frames of one history that are looked at.
const FRAMES_MAX: usize = 100_000;

/// Who made an edit, as its frame says. Nothing proves it: whoever handed the frame on could have written it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditOrigin {
    /// The identity of the device that made it, where the frame names one.
    pub identity: Option<Addr>,
    /// What the folder calls that device.
    pub device: Option<String>,
    /// When it was made.
    pub timestamp: Option<String>,
    /// It was made by this device.
    pub here: bool,
}

/// Where the sides of a conflict come from: the newest edit of either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConflictOrigin {
    /// Of the merge's base.
    pub base: EditOrigin,
    /// Of the other side.
    pub orphan: EditOrigin,
}

impl ConflictOrigin {
    /// Which side is this device's own; `None` where neither is, or both are.
    pub fn yours(&self) -> Option<Resolution> {
        match (self.base.here, self.orphan.here) {
            (true, false) => Some(Resolution::Base),
            (false, true) => Some(Resolution::Orphan),
            _ => None,
        }
    }

    /// Which side is another device's, opposite to [`ConflictOrigin::yours`].
    pub fn theirs(&self) -> Option<Resolution> {
        self.yours().map(|yours| if yours == Resolution::Base { Resolution::Orphan } else { Resolution::Base })
    }

    /// The edit that a device is to be told of: the other device's; of two others the orphan's, which joined last.
    pub fn told(&self) -> &EditOrigin {
        if self.yours() == Some(Resolution::Orphan) { &self.base } else { &self.orphan }
    }
}

/// Where the sides of conflicts come from, one for one. `me` is this device's identity, which its own frames name.
///
/// # Errors
/// A failing space.
pub async fn conflict_origins(
    space: &dyn Space,
    conflicts: &[Conflict],
    me: Option<&Addr>,
) -> Result<Vec<ConflictOrigin>, FolderError> {
    origins(space, conflicts, me, &HashSet::new()).await
}

impl Folder {
    /// As [`conflict_origins`]; frames that this device remembers to have made are its own, whatever they name.
    ///
    /// # Errors
    /// A failing space.
    pub async fn conflict_origins(
        &self,
        conflicts: &[Conflict],
        me: Option<&Addr>,
    ) -> Result<Vec<ConflictOrigin>, FolderError> {
        if conflicts.is_empty() {
            return Ok(Vec::new());
        }
        let mut out = origins(&*self.space, conflicts, me, &undo::made_here(&*self.space).await?).await?;
        let names = self.names().await?;
        for side in out.iter_mut().flat_map(|origin| [&mut origin.base, &mut origin.orphan]) {
            side.device = side.identity.as_ref().and_then(|identity| names.device(identity)).map(str::to_owned);
        }
        Ok(out)
    }
}

async fn origins(
    space: &dyn Space,
    conflicts: &[Conflict],
    me: Option<&Addr>,
    made: &HashSet<Addr>,
) -> Result<Vec<ConflictOrigin>, FolderError> {
    let mut out = Vec::with_capacity(conflicts.len());
    let mut history: Option<(&Addr, History)> = None;
    for conflict in conflicts {
        // The conflicts of one timeline stand together.
        if history.as_ref().is_none_or(|(frame, _)| **frame != conflict.frame) {
            history = Some((&conflict.frame, History::of(space, &conflict.frame).await?));
        }
        let tip = node_at(space, &conflict.frame).await?;
        let merge = merge_of(space, &tip, &conflict.stone).await?;
        let found = history.as_ref().zip(merge).and_then(|((_, history), merge)| history.origin(&merge, me, made));
        out.push(found.unwrap_or_default());
    }
    Ok(out)
}

/// The frames of a timeline up to one of them.
struct History(HashMap<Addr, Node>);

impl History {
    async fn of(space: &dyn Space, frame: &Addr) -> Result<Self, FolderError> {
        let mut frames = HashMap::from([(frame.clone(), node_at(space, frame).await?)]);
        let reached = space.reach(std::slice::from_ref(frame), Follow::History, &HashSet::new(), FRAMES_MAX).await?;
        let nodes = space.get(&reached).await?;
        frames.extend(reached.into_iter().zip(nodes).filter_map(|(addr, node)| Some((addr, node?))));
        Ok(Self(frames))
    }

    /// Where the sides of a merge come from.
    fn origin(&self, merge: &Node, me: Option<&Addr>, made: &HashSet<Addr>) -> Option<ConflictOrigin> {
        let side = |name: &str| merge.rel8n_addrs(name).pop();
        let (base, orphan) = (side("graftbase")?, side("graftorphan")?);
        let (of_base, of_orphan) = (self.reach(&base), self.reach(&orphan));
        let newest = |mine: &HashSet<&Addr>, others: &HashSet<&Addr>| {
            let only = mine.difference(others).filter_map(|addr| self.0.get(*addr));
            let newest = only.filter(|frame| !is_merge(frame)).max_by_key(|f| (f.n(), f.addr().clone()));
            newest.map_or_else(EditOrigin::default, |frame| {
                let identity = frame.rel8n_addrs(IDENTITY).pop();
                EditOrigin {
                    here: made.contains(frame.addr()) || identity.is_some() && identity.as_ref() == me,
                    timestamp: frame.datum("timestamp").and_then(Value::as_str).map(str::to_owned),
                    identity,
                    device: None,
                }
            })
        };
        Some(ConflictOrigin { base: newest(&of_base, &of_orphan), orphan: newest(&of_orphan, &of_base) })
    }

    /// A frame and all before it.
    fn reach<'h>(&'h self, start: &Addr) -> HashSet<&'h Addr> {
        let mut seen = HashSet::new();
        let mut todo: Vec<Addr> = vec![start.clone()];
        while let Some(addr) = todo.pop() {
            let Some((addr, frame)) = self.0.get_key_value(&addr) else { continue };
            if seen.insert(addr) {
                todo.extend(before(frame));
            }
        }
        seen
    }
}
