//! What a folder keeps of its files beside their content: modification times and permissions, where it says so.
//!
//! The folder's own timeline says it for all devices, in `keep`. Times stand in the files' frames ([`crate::times`]); a
//! file whose time alone is another has no new frame. Permissions stand in the file's entry; two devices that change them
//! differently are in conflict.

use crate::content::node_at;
use crate::error::FolderError;
use crate::folder::{Entry, Folder, Moments};
use crate::frames::mutate;
use crate::times::MS_MAX;
use crate::tree::{Stat, with_exec};
use crate::writer::Writer;
use ibgib::{IbGib, Map, Value, object};

/// What a folder keeps of its files beside their content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// When they were last changed, to the millisecond.
    pub times: bool,
    /// Who may read, write and execute them; never that group and others may write.
    pub modes: bool,
}

impl Keeping {
    /// What a frame of a folder's timeline says.
    pub fn of(frame: &IbGib) -> Self {
        let is_set = |name| frame.datum("keep").and_then(|keep| keep.get(name)).and_then(Value::as_bool) == Some(true);
        Self { times: is_set("times"), modes: is_set("modes") }
    }

    /// The time to write into a frame of a file that looks like this.
    pub(crate) fn time(self, stat: &Stat) -> Option<i64> {
        let ms = i64::try_from(stat.mtime.div_euclid(1_000_000)).ok()?;
        (self.times && ms.unsigned_abs() <= MS_MAX).then_some(ms)
    }

    /// The permissions that a file is to have on disk; `None` where the system's usual ones do.
    pub(crate) fn mode(self, entry: &Entry) -> Option<u16> {
        let mode = entry.mode.filter(|_| self.modes)?;
        Some(with_exec(mode.into(), entry.exec) as u16)
    }

    /// Whether what a file on disk may be used for is what its entry says.
    pub(crate) fn fits(self, stat: &Stat, entry: &Entry) -> bool {
        stat.link || (stat.exec == entry.exec && self.mode(entry).is_none_or(|mode| mode == stat.mode))
    }

    /// Whether a file may be used in another way than before, as far as the folder keeps that.
    pub(crate) fn differ(self, then: &Stat, now: &Stat) -> bool {
        then.exec != now.exec || (self.modes && then.mode != now.mode)
    }
}

impl Folder {
    /// What the folder keeps of its files beside their content; nothing while its own timeline is not here.
    ///
    /// # Errors
    /// A failing space.
    pub async fn keeping(&self) -> Result<Keeping, FolderError> {
        let Some(tip) = self.space.tip(self.tjp()).await? else { return Ok(Keeping::default()) };
        Ok(Keeping::of(&*node_at(&*self.space, &tip.addr).await?))
    }

    /// Lets the folder keep this of its files from now on, on all devices. Its first frame must be here.
    ///
    /// # Errors
    /// [`FolderError::NotFound`]; a failing space.
    pub async fn set_keeping(&self, keeping: Keeping, moments: &mut Moments<'_>) -> Result<(), FolderError> {
        let not_here = || FolderError::NotFound(self.tjp().clone());
        let tip = self.space.tip(self.tjp()).await?.ok_or_else(not_here)?;
        let tip = node_at(&*self.space, &tip.addr).await?;
        let keep = object([("times", keeping.times.into()), ("modes", keeping.modes.into())]);
        let mut nodes = Vec::new();
        mutate(&tip, None, Map::from_iter([("keep", keep)]), &moments(), &mut nodes)?;
        let mut writer = Writer::new(&*self.space);
        writer.edit(self.tjp().clone(), Some(&tip), self.attributed(nodes)?);
        writer.flush().await
    }
}
