//! Looking back: the log of a timeline, and what differs between two states of a file.

use crate::content::{Content, KeepNothing, ReadError, link_text, node_at, read_file};
use crate::error::FolderError;
use crate::folder::Folder;
use crate::path::EntryPath;
use crate::record::Record;
use ibgib::ibgib::IDENTITY;
use ibgib::{Addr, Value};
use ibgib_spaces::{Follow, Space};
use similar::TextDiff;
use std::collections::HashSet;

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// One frame of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The frame.
    pub addr: Addr,
    /// Its number.
    pub n: Option<u64>,
    /// When it was made, as it says.
    pub timestamp: Option<String>,
    /// The frame before.
    pub past: Option<Addr>,
    /// On a merge frame and the edits that follow it: the branch that the merge took as base.
    pub graftbase: Option<Addr>,
    /// The other branch.
    pub graftorphan: Option<Addr>,
    /// Whether it is a merge, which nobody made.
    pub merge: bool,
    /// Who made it, as it says; nothing checks that.
    pub identity: Option<Addr>,
}

/// Up to `limit` frames of the history of `start`, merged branches included, newest first.
///
/// # Errors
/// [`FolderError::NotFound`]; a failing space.
pub async fn log(space: &dyn Space, start: &Addr, limit: usize) -> Result<Vec<LogEntry>, FolderError> {
    node_at(space, start).await?;
    let addrs = space.reach(std::slice::from_ref(start), Follow::History, &HashSet::new(), limit).await?;
    let mut out = Vec::with_capacity(addrs.len());
    for (node, addr) in space.get(&addrs).await?.into_iter().zip(&addrs) {
        let node = node.ok_or_else(|| FolderError::NotFound(addr.clone()))?;
        let last = |name| node.rel8n_addrs(name).pop();
        out.push(LogEntry {
            addr: addr.clone(),
            n: node.n(),
            timestamp: node.datum("timestamp").and_then(Value::as_str).map(str::to_owned),
            past: last("past"),
            graftbase: last("graftbase"),
            graftorphan: last("graftorphan"),
            merge: last("graftbase").is_some() && last("graftbase") == last("past"),
            identity: last(IDENTITY),
        });
    }
    out.sort_by(|a, b| (b.n, &b.addr).cmp(&(a.n, &a.addr)));
    Ok(out)
}

/// What differs between two states of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diff {
    /// Nothing.
    Same,
    /// A unified diff.
    Text(String),
    /// At least one side is binary, or too large to be compared line by line.
    Binary,
}

impl Folder {
    /// Compares the file at `path` at frame `a` with frame `b`. Without `b`: with the file on disk; without `a`: from
    /// the frame that the file on disk was checked out at.
    ///
    /// # Errors
    /// [`FolderError::NotFound`], [`FolderError::OtherTimeline`]; a failing space or directory.
    pub async fn diff(&self, path: &EntryPath, a: Option<&Addr>, b: Option<&Addr>) -> Result<Diff, FolderError> {
        let record = self.space.record(&Record::key(path)).await?.and_then(|bytes| Record::from_bytes(&bytes));
        let old = self.side(path, a.or(record.as_ref().map(|record| &record.base.addr))).await?;
        let at = record.as_ref().map_or(path, |record| record.on_disk(path));
        let (new, label) = match b {
            Some(_) => (self.side(path, b).await?, one_line(path)),
            None => (self.disk(at).await?, format!("{} (on disk)", one_line(path))),
        };
        if old == new {
            return Ok(Diff::Same);
        }
        let text = |side: Side| match side {
            Side::Absent => Some(String::new()),
            Side::Text(text) => Some(text),
            Side::Other(_) => None,
        };
        let absent = (old == Side::Absent, new == Side::Absent);
        let (Some(old), Some(new)) = (text(old), text(new)) else { return Ok(Diff::Binary) };
        let name = one_line(path);
        let from = if absent.0 { "/dev/null".to_owned() } else { name.clone() };
        let to = if absent.1 { "/dev/null".to_owned() } else { label };
        let diff = TextDiff::from_lines(&old, &new);
        Ok(Diff::Text(diff.unified_diff().context_radius(CONTEXT).header(&from, &to).to_string()))
    }

    async fn side(&self, path: &EntryPath, addr: Option<&Addr>) -> Result<Side, FolderError> {
        let Some(addr) = addr else { return Ok(Side::Absent) };
        let node = node_at(&*self.space, addr).await?;
        if node.tjp() != Some(self.file_tjp(path)?) {
            return Err(FolderError::OtherTimeline { path: path.to_string(), addr: addr.clone() });
        }
        Ok(match Content::of(&*self.space, &node).await? {
            Content::Absent => Side::Absent,
            Content::Text(text) => Side::Text(text),
            Content::Blob(blob) => Side::Other(blob.addr.to_string()),
            Content::Link(target) => Side::Text(link_text(&target)),
        })
    }

    async fn disk(&self, path: &EntryPath) -> Result<Side, FolderError> {
        match read_file(&self.tree, path, &mut KeepNothing).await {
            Ok(None) => Ok(Side::Absent),
            Ok(Some(fresh)) => Ok(fresh.into_text().map_or_else(Side::Other, Side::Text)),
            Err(ReadError::Folder(error)) => Err(error),
            Err(ReadError::File(reason)) => {
                Err(FolderError::io(self.tree.path())(std::io::Error::other(format!("{path}: {reason}"))))
            }
        }
    }
}

/// A path as the header of a diff names it: an end of a line in it would end the header.
fn one_line(path: &EntryPath) -> String {
    path.as_str().chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[derive(PartialEq)]
enum Side {
    Absent,
    Text(String),
    /// Known by its address only.
    Other(String),
}
