//! Deletions of so many files at once that nobody may have meant them: a disk that was not mounted, a wrong command.

use crate::content::{node_at, text_digest};
use crate::error::FolderError;
use crate::folder::{Folder, tips_of};
use crate::frames::Node;
use crate::scan::ChangeKind;
use crate::tree::OnDisk;
use ibgib::{Addr, Value};
use std::collections::HashMap;

/// Frames read at once: few, since each may be as large as its limit.
const READ_AT_ONCE: usize = 16;

/// Fewer deletions are never many.
pub const DELETIONS_MIN: usize = 20;

/// Whether so many deleted files, of so many that there were, are more than somebody may have meant: more than half of
/// them, and [`DELETIONS_MIN`] at least.
pub fn is_mass_delete(deleted: usize, of: usize) -> bool {
    deleted >= DELETIONS_MIN && deleted * 2 > of
}

/// A word for the content that a file has at this frame, equal for equal contents; `None` where there is no file, and
/// for frames of anything else.
pub fn content_word(frame: &Node) -> Option<String> {
    if frame.ib != "file" || !Folder::holds_file(frame) {
        return None;
    }
    let text = |name| frame.datum(name).and_then(Value::as_str);
    Some(match (text("blob"), text("text"), text("link")) {
        (Some(blob), ..) => blob.to_owned(),
        (None, Some(text), _) => text_digest(text),
        (None, None, Some(target)) => format!("link {target}"),
        // Frames of earlier versions.
        (None, None, None) => frame.addr().to_string(),
    })
}

/// How many files these moves delete, each with the [word](content_word) of what it was and of what it will be. A file
/// whose content another one gets is not deleted but has another name.
pub fn count_deleted<'w>(moves: impl IntoIterator<Item = (Option<&'w str>, Option<&'w str>)>) -> usize {
    let (mut gone, mut came): (Vec<&str>, HashMap<&str, usize>) = (Vec::new(), HashMap::new());
    for (before, after) in moves {
        match (before, after) {
            (Some(before), None) => gone.push(before),
            (None, Some(after)) => *came.entry(after).or_default() += 1,
            _ => {}
        }
    }
    let mut deleted = 0;
    for content in gone {
        match came.get_mut(content) {
            Some(left) if *left > 0 => *left -= 1,
            _ => deleted += 1,
        }
    }
    deleted
}

impl Folder {
    /// How many files are gone from the disk without a snapshot that says so, renamed ones left out, and of how many.
    /// Told only where they are [many](is_mass_delete); else it is `None`, which costs no look into files.
    ///
    /// # Errors
    /// A failing space or directory.
    pub async fn mass_deleted(&self) -> Result<Option<(usize, usize)>, FolderError> {
        let (records, walked) = self.records_and_files().await?;
        let there = records.iter().filter(|(_, record)| record.base.stat.is_some());
        let there: Vec<_> = there.map(|(path, record)| record.on_disk(path)).collect();
        // What is ignored since is not in the walk, and not gone.
        let gone = |path| {
            !walked.files.contains_key(path) && matches!(self.tree.look(path), Ok(OnDisk::Nothing | OnDisk::Directory))
        };
        let of = there.len();
        if !is_mass_delete(there.iter().filter(|path| gone(path)).count(), of) {
            return Ok(None);
        }
        let changes = self.status().await?.changes;
        let deleted = changes.iter().filter(|change| change.change == ChangeKind::Deleted).count();
        Ok(is_mass_delete(deleted, of).then_some((deleted, of)))
    }

    /// How many files there are, by their newest frames.
    ///
    /// # Errors
    /// A failing space.
    pub async fn count(&self) -> Result<usize, FolderError> {
        let entries = self.listing().await?.entries;
        let files: Vec<Addr> = entries.values().map(|entry| entry.file.clone()).collect();
        let (tips, records) = (tips_of(&*self.space, &files).await?, self.file_records().await?);
        let (mut out, mut others) = (0, Vec::new());
        for entry in entries.into_values() {
            let Some(tip) = tips.get(&entry.file) else { continue };
            match records.get(&entry.path).map(|record| &record.base).filter(|base| base.addr == *tip) {
                // This device has the file as its newest frame says.
                Some(base) => out += usize::from(base.stat.is_some()),
                None => others.push(tip.clone()),
            }
        }
        for some in others.chunks(READ_AT_ONCE) {
            for (frame, addr) in self.space.get(some).await?.into_iter().zip(some) {
                let frame = frame.ok_or_else(|| FolderError::NotFound(addr.clone()))?;
                out += usize::from(Self::holds_file(&frame));
            }
        }
        Ok(out)
    }

    /// What a file's timeline holds at this frame, and what it held at the one before where it holds nothing, in
    /// [words](content_word).
    ///
    /// # Errors
    /// [`FolderError::NotFound`]; a failing space.
    pub async fn words_at(&self, tip: &Addr) -> Result<(Option<String>, Option<String>), FolderError> {
        let tip = node_at(&*self.space, tip).await?;
        let now = content_word(&tip);
        let before = match tip.past().filter(|_| now.is_none()) {
            Some(past) => content_word(&node_at(&*self.space, &past).await?),
            None => None,
        };
        Ok((before, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_more_than_half_and_twenty() {
        for (deleted, of, many) in [(20, 39, true), (20, 40, false), (19, 19, false), (20, 20, true), (0, 0, false)] {
            assert_eq!(is_mass_delete(deleted, of), many, "{deleted} of {of}");
        }
    }

    #[test]
    fn what_has_another_name_is_not_deleted() {
        let moves = [(Some("a"), None), (Some("a"), None), (None, Some("a")), (Some("b"), Some("c")), (None, None)];
        assert_eq!(count_deleted(moves), 1);
    }
}
