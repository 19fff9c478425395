//! The history of a file, under every name that it had.

use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::folder::{Folder, Listing};
use crate::history::{LogEntry, log};
use crate::path::EntryPath;
use ibgib::Addr;
use std::collections::{HashMap, HashSet};

/// One frame of a file's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFrame {
    /// The path that the file had then.
    pub path: EntryPath,
    /// The frame.
    pub entry: LogEntry,
    /// The path that it had before, where this frame began it under this one.
    pub renamed_from: Option<EntryPath>,
}

impl Folder {
    /// The frames of the file at `path`, merged branches included, newest first; and before its first content, those of
    /// the file that was deleted with the same content: a rename is that and no more.
    ///
    /// # Errors
    /// [`FolderError::NoEntry`]; a failing space.
    pub async fn file_log(&self, path: &EntryPath) -> Result<Vec<LogFrame>, FolderError> {
        let mut out = Vec::new();
        let mut listing = None;
        let mut seen = HashSet::from([path.clone()]);
        let (mut path, mut tip) = (path.clone(), self.tip(path).await?);
        loop {
            let entries = log(&*self.space, &tip, usize::MAX).await?;
            let mut oldest = None;
            for (i, entry) in entries.iter().enumerate().rev() {
                if let Ok(content) = Content::of(&*self.space, &node_at(&*self.space, &entry.addr).await?).await
                    && !content.is_absent()
                {
                    oldest = Some((i, content));
                    break;
                }
            }
            let from = match &oldest {
                None => None,
                Some((_, content)) => {
                    if listing.is_none() {
                        listing = Some(self.listing().await?);
                    }
                    self.deleted_with(content, listing.as_ref(), &seen).await?
                }
            };
            // What a file was before it had a content says nothing where another name goes on.
            let kept = match (&from, &oldest) {
                (Some(_), Some((i, _))) => i + 1,
                _ => entries.len(),
            };
            let last = kept.checked_sub(1).filter(|_| from.is_some());
            out.extend(entries.into_iter().take(kept).enumerate().map(|(i, entry)| LogFrame {
                path: path.clone(),
                entry,
                renamed_from: from.as_ref().filter(|_| Some(i) == last).map(|(path, _)| path.clone()),
            }));
            let Some((older, before)) = from else { return Ok(out) };
            seen.insert(older.clone());
            (path, tip) = (older, before);
        }
    }

    /// The file that was deleted when it had this content, and its frame before that; of several the newest.
    async fn deleted_with(
        &self,
        content: &Content,
        listing: Option<&Listing>,
        seen: &HashSet<EntryPath>,
    ) -> Result<Option<(EntryPath, Addr)>, FolderError> {
        let Some(digest) = content.digest() else { return Ok(None) };
        let mut found: Option<(Option<i64>, EntryPath, Addr)> = None;
        for entry in listing.into_iter().flat_map(|l| l.entries.values()).filter(|entry| !seen.contains(&entry.path)) {
            let Some(tip) = self.space.tip(&entry.file).await? else { continue };
            let tip = node_at(&*self.space, &tip.addr).await?;
            let Some(past) = tip.past() else { continue };
            if !Content::of(&*self.space, &tip).await.is_ok_and(|now| now.is_absent()) {
                continue;
            }
            let before = Content::of(&*self.space, &node_at(&*self.space, &past).await?).await;
            if before.is_ok_and(|before| before.digest().as_ref() == Some(&digest)) {
                let when = tip.datum("timestamp").and_then(|t| ibgib::moment::Moment::parse_timestamp(t.as_str()?));
                if found.as_ref().is_none_or(|(newest, ..)| *newest < when) {
                    found = Some((when, entry.path.clone(), past));
                }
            }
        }
        Ok(found.map(|(_, path, past)| (path, past)))
    }

    /// The paths of the folder's files, by their timelines, those of deleted files included.
    ///
    /// # Errors
    /// A failing space.
    pub async fn paths(&self) -> Result<HashMap<Addr, EntryPath>, FolderError> {
        Ok(self.listing().await?.entries.into_values().map(|entry| (entry.file, entry.path)).collect())
    }
}
