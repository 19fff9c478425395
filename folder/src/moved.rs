//! What became of a file between two frames of its timeline.

use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::folder::Folder;
use crate::json;
use crate::path::EntryPath;
use crate::scan::ChangeKind;
use ibgib::{Addr, IbGib, Map, Value};
use std::collections::HashMap;

impl Folder {
    /// What a file became between two frames, either of which may not be: new, another or deleted; `None` when there was
    /// no file and is none, or it has the same content. A frame that cannot be read holds a file that differs from any.
    ///
    /// # Errors
    /// [`FolderError::NotFound`]; a failing space.
    pub async fn change_between(
        &self,
        before: Option<&Addr>,
        after: Option<&Addr>,
    ) -> Result<Option<ChangeKind>, FolderError> {
        let (before, after) = (self.content_at(before).await?, self.content_at(after).await?);
        let absent = |content: &Option<Content>| content.as_ref().is_some_and(Content::is_absent);
        Ok(match (absent(&before), absent(&after)) {
            (true, true) => None,
            (true, false) => Some(ChangeKind::Added),
            (false, true) => Some(ChangeKind::Deleted),
            (false, false) => (before.is_none() || before != after).then_some(ChangeKind::Modified),
        })
    }

    /// Whether a file is new at this frame: there was none at the one before. Without a frame there is none.
    ///
    /// # Errors
    /// [`FolderError::NotFound`]; a failing space.
    pub async fn is_new_at(&self, frame: Option<&Addr>) -> Result<bool, FolderError> {
        let Some(frame) = frame else { return Ok(false) };
        let past = node_at(&*self.space, frame).await?.past();
        Ok(self.content_at(past.as_ref()).await?.is_some_and(|content| content.is_absent()))
    }

    async fn content_at(&self, frame: Option<&Addr>) -> Result<Option<Content>, FolderError> {
        let Some(frame) = frame else { return Ok(Some(Content::Absent)) };
        match Content::of(&*self.space, &node_at(&*self.space, frame).await?).await {
            Err(error) if error.bad_frame().is_some() => Ok(None),
            content => content.map(Some),
        }
    }

    /// Whether a frame of a file's timeline holds a file; the frame need not be here. One without a content tells that
    /// the file was deleted.
    pub fn holds_file(frame: &IbGib) -> bool {
        ["blob", "text", "link"].iter().any(|member| frame.datum(member).is_some())
            || frame.data.as_ref().and_then(json::text_of).is_some()
    }

    /// The paths that a frame of one of the folder's shards names, by their timelines: of a frame that is not here, say.
    pub fn paths_in(&self, shard: &IbGib) -> HashMap<Addr, EntryPath> {
        let entries = shard.datum("entries").and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let paths = entries.filter_map(|key| EntryPath::from_key(key).ok());
        paths.filter_map(|path| Some((self.file_tjp(&path).ok()?, path))).collect()
    }
}
