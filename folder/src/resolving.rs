//! Settling conflicts, one or several at once: by a choice, or by a text that somebody made of both sides.

use crate::checkout::{CheckoutOpts, CheckoutReport};
use crate::conflict::Conflict;
use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::folder::{Folder, Moments};
use crate::frames::{NewContent, Node, drop_conflicts, edit_file};
use crate::path::EntryPath;
use crate::undo::{Deed, Noted, UndoKind, note};
use crate::whole::{FileContent, kinds};
use crate::writer::Writer;
use ibgib::Addr;
use ibgib::conflict::Resolution;
use ibgib::transform::Moment;
use std::collections::{BTreeMap, BTreeSet};

/// What settling conflicts did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolutionReport {
    /// Conflicts that are settled, by their stones.
    pub settled: Vec<Addr>,
    /// Those that are not: they were settled already, or what the merge left of them was edited since.
    pub left: Vec<Addr>,
    /// What that did to the files on disk.
    pub checkout: CheckoutReport,
}

impl Folder {
    /// Settles conflicts as [`Folder::resolve`] does, each in its way. One undo takes all of it back.
    ///
    /// # Errors
    /// [`FolderError::Unsaved`] before anything is done; a failing space or directory.
    pub async fn resolve_all(
        &self,
        chosen: &[(&Conflict, Resolution)],
        moments: &mut Moments<'_>,
    ) -> Result<ResolutionReport, FolderError> {
        let files: BTreeSet<EntryPath> = chosen.iter().filter_map(|(conflict, _)| conflict.file.clone()).collect();
        if !files.is_empty() {
            self.ensure_saved(&files).await?;
        }
        let mut report = ResolutionReport::default();
        let mut noted: BTreeMap<EntryPath, Noted> = BTreeMap::new();
        // What is about a part of a file goes first: afterwards the part may not be there.
        let (whole, parts): (Vec<_>, Vec<_>) = chosen.iter().partition(|(conflict, _)| conflict.whole.is_some());
        for (conflict, resolution) in parts.into_iter().chain(whole) {
            let Some(edit) = self.settle_one(conflict, resolution, moments).await? else {
                report.left.push(conflict.stone.clone());
                continue;
            };
            report.settled.push(conflict.stone.clone());
            if let Some(file) = edit {
                let after = file.after.clone();
                noted.entry(file.path.clone()).or_insert(file).after = after;
            }
        }
        self.settled(report, noted.into_values().collect(), files, moments).await
    }

    /// Settles all of `conflicts`, which are of one file and of one frame of it, with a text that takes the place of
    /// what the file held at that frame. What others did to the file since is merged with it.
    ///
    /// # Errors
    /// [`FolderError::NoConflict`] when they are of no file; [`FolderError::Unsaved`] before anything is done; a
    /// failing space or directory.
    pub async fn resolve_as(
        &self,
        conflicts: &[Conflict],
        text: String,
        moments: &mut Moments<'_>,
    ) -> Result<ResolutionReport, FolderError> {
        let Some((first, file)) = conflicts.first().and_then(|first| Some((first, first.file.clone()?))) else {
            return Ok(ResolutionReport::default());
        };
        let on = node_at(&*self.space, &first.frame).await?;
        if on.ib != "file" || conflicts.iter().any(|conflict| conflict.frame != first.frame) {
            return Err(FolderError::NoConflict(first.stone.clone()));
        }
        let files = BTreeSet::from([file.clone()]);
        self.ensure_saved(&files).await?;
        let mut nodes = Vec::new();
        if !matches!(Content::of(&*self.space, &on).await?, Content::Text(now) if now == text) {
            nodes = edit_file(&on, NewContent::Text(text), None, &moments())?;
        }
        let stones: Vec<Addr> = conflicts.iter().map(|conflict| conflict.stone.clone()).collect();
        let last = nodes.last().unwrap_or(&on).clone();
        nodes.extend(drop_conflicts(&last, &stones, &moments())?);
        let nodes = self.attributed(nodes)?;
        let after = nodes.last().unwrap_or(&on).addr().clone();
        let mut writer = Writer::new(&*self.space);
        writer.edit(first.timeline.clone(), Some(&on), nodes);
        writer.flush().await?;
        let noted = Noted { path: file, before: on.addr().clone(), after, exec: None };
        let report = ResolutionReport { settled: stones, ..ResolutionReport::default() };
        self.settled(report, vec![noted], files, moments).await
    }

    /// The text that a file would have with conflicts of it settled, each in its way; those that cannot be settled so
    /// any more are left as they stand. `None` where that is no text. Nothing is stored.
    ///
    /// # Errors
    /// A failing space.
    pub async fn settled_text(&self, chosen: &[(&Conflict, Resolution)]) -> Result<Option<String>, FolderError> {
        let Some((first, _)) = chosen.first() else { return Ok(None) };
        let mut frame = node_at(&*self.space, &first.frame).await?;
        let moment = Moment { now_ms: 0, random: [0; 16] };
        for (conflict, resolution) in chosen {
            if let Some(settled) = conflict.settled(&frame, *resolution, &moment)?.and_then(|mut nodes| nodes.pop()) {
                frame = settled;
            }
        }
        Ok(match Content::of(&*self.space, &frame).await? {
            Content::Text(text) => Some(text),
            Content::Absent => Some(String::new()),
            Content::Blob(_) | Content::Link(_) => None,
        })
    }

    /// Settles one conflict; answers what that did to a file, or `None` if it cannot be settled so.
    async fn settle_one(
        &self,
        conflict: &Conflict,
        resolution: Resolution,
        moments: &mut Moments<'_>,
    ) -> Result<Option<Option<Noted>>, FolderError> {
        let Some(tip) = self.space.tip(&conflict.timeline).await? else { return Ok(None) };
        let tip: Node = node_at(&*self.space, &tip.addr).await?;
        if !tip.rel8n("conflict").any(|stone| stone == conflict.stone.as_str()) {
            return Ok(None);
        }
        let mut writer = Writer::new(&*self.space);
        let mut noted = None;
        if let (Some(path), Some(whole)) = (conflict.file_of_kind(), &conflict.whole) {
            let Some(chosen) = whole.chosen(resolution) else { return Ok(None) };
            noted = self.write_whole(path, chosen, &mut writer, moments).await?;
        }
        let Some(nodes) = conflict.settled(&tip, resolution, &moments())? else { return Ok(None) };
        let nodes = self.attributed(nodes)?;
        if let Some(path) = conflict.file.clone().filter(|_| tip.ib == "file") {
            let after = nodes.last().unwrap_or(&tip).addr().clone();
            noted = Some(Noted { path, before: tip.addr().clone(), after, exec: None });
        }
        writer.edit(conflict.timeline.clone(), Some(&tip), nodes);
        writer.flush().await?;
        Ok(Some(noted))
    }

    /// Gives a file this content and no other beside it.
    async fn write_whole(
        &self,
        path: &EntryPath,
        content: &FileContent,
        writer: &mut Writer<'_>,
        moments: &mut Moments<'_>,
    ) -> Result<Option<Noted>, FolderError> {
        let tip = node_at(&*self.space, &self.tip(path).await?).await?;
        if kinds(&tip).len() == 1 && *content == Content::of(&*self.space, &tip).await?.into() {
            return Ok(None);
        }
        let nodes = self.attributed(edit_file(&tip, content.renew(), None, &moments())?)?;
        let after = nodes.last().unwrap_or(&tip).addr().clone();
        writer.edit(self.file_tjp(path)?, Some(&tip), nodes);
        Ok(Some(Noted { path: path.clone(), before: tip.addr().clone(), after, exec: None }))
    }

    /// Remembers what was done, and checks out the files.
    async fn settled(
        &self,
        mut report: ResolutionReport,
        noted: Vec<Noted>,
        files: BTreeSet<EntryPath>,
        moments: &mut Moments<'_>,
    ) -> Result<ResolutionReport, FolderError> {
        let mut writer = Writer::new(&*self.space);
        let deed = Deed { kind: UndoKind::Resolve, when_ms: moments().now_ms, first: false, files: noted };
        note(&mut writer, &*self.space, &deed).await?;
        writer.flush().await?;
        if !files.is_empty() && !report.settled.is_empty() {
            let opts = CheckoutOpts { paths: files.into_iter().collect(), ..CheckoutOpts::default() };
            report.checkout = self.checkout(&opts).await?;
        }
        Ok(report)
    }
}
