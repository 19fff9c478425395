//! Conflicts about all of a file: it is text on one side and binary on the other, it is gone on one side, or what a side
//! has is too large for the constant that records the conflict. What the sides have is read from the frames that the
//! merge joined, and what stands is what a checkout writes, whatever else the merge left in the frame.

use crate::ancestry::{Walk, common, merge_of};
use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::frames::{NewContent, Node};
use ibgib::conflict::{Conflict as Recorded, Resolution};
use ibgib::{Addr, Value};
use ibgib_spaces::Space;

/// The places of a file's content.
pub(crate) const TEXT: &str = "/data/text";
const BLOB: &str = "/data/blob";
const LINK: &str = "/data/link";

/// All that a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// There is no file.
    Nothing,
    /// Text.
    Text(String),
    /// Anything else.
    Binary {
        /// The constant that lists its chunks.
        blob: Addr,
        /// Its bytes.
        bytes: u64,
    },
    /// A symbolic link, and what it says, spelled as paths are.
    Link(String),
}

impl From<Content> for FileContent {
    fn from(content: Content) -> Self {
        match content {
            Content::Absent => Self::Nothing,
            Content::Text(text) => Self::Text(text),
            Content::Blob(blob) => Self::Binary { blob: blob.addr, bytes: blob.size },
            Content::Link(target) => Self::Link(target),
        }
    }
}

impl FileContent {
    /// `none`, `text`, `binary` or `link`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Text(_) => "text",
            Self::Binary { .. } => "binary",
            Self::Link(_) => "link",
        }
    }

    async fn at(space: &dyn Space, frame: &Node) -> Result<Self, FolderError> {
        Ok(Content::of(space, frame).await?.into())
    }

    pub(crate) fn renew(&self) -> NewContent {
        match self {
            Self::Nothing => NewContent::Absent,
            Self::Text(text) => NewContent::Text(text.clone()),
            Self::Binary { blob, .. } => NewContent::Blob(blob.clone()),
            Self::Link(target) => NewContent::Link(target.clone()),
        }
    }
}

/// What a conflict about all of a file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeFile {
    /// What both sides had; `None` where that cannot be told.
    pub ancestor: Option<FileContent>,
    /// What the merge's base has.
    pub base: FileContent,
    /// What the other side has.
    pub orphan: FileContent,
    /// What stands now.
    pub now: FileContent,
    /// What stands is neither a side's nor what the merge left: somebody edited the text, or removed or renamed the file.
    pub edited: bool,
}

impl WholeFile {
    /// The content that a resolution leaves; `None` where it is not possible.
    pub fn chosen(&self, resolution: Resolution) -> Option<&FileContent> {
        let chosen = match resolution {
            Resolution::Keep => Some(&self.now),
            Resolution::Base => Some(&self.base),
            Resolution::Orphan => Some(&self.orphan),
            Resolution::Ancestor => self.ancestor.as_ref(),
        };
        chosen.filter(|chosen| !self.edited || **chosen == self.now)
    }

    /// `merged`: what the merge left.
    fn of(ancestor: Option<FileContent>, sides: [FileContent; 2], merged: &FileContent, now: FileContent) -> Self {
        let [base, orphan] = sides;
        // A binary has no lines that could be lost: whoever replaced it and chooses a side now means that. But a file
        // that is gone although the merge left it may have another name, and would stand twice.
        let edited = match &now {
            FileContent::Nothing => *merged != now,
            FileContent::Text(_) => ![&base, &orphan, merged].contains(&&now),
            FileContent::Binary { .. } | FileContent::Link(_) => false,
        };
        Self { ancestor, base, orphan, now, edited }
    }

    /// Of a conflict in the timeline of a file, whose tip is `tip`; `None` where it is about a part of the text, or where a
    /// frame has no content that a file could have: any peer may have made it.
    pub(crate) async fn of_file(space: &dyn Space, tip: &Node, told: &Recorded) -> Result<Option<Self>, FolderError> {
        readable(Self::read_of_file(space, tip, told).await)
    }

    async fn read_of_file(space: &dyn Space, tip: &Node, told: &Recorded) -> Result<Option<Self>, FolderError> {
        if tip.ib != "file" || ![TEXT, BLOB, LINK].contains(&&*told.path) {
            return Ok(None);
        }
        let Some(merge) = merge_of(space, tip, &told.stone).await? else { return Ok(None) };
        let (Some(base), Some(orphan)) = (merge.rel8n_addrs("graftbase").pop(), merge.rel8n_addrs("graftorphan").pop())
        else {
            return Ok(None);
        };
        let (base, orphan) = (node_at(space, &base).await?, node_at(space, &orphan).await?);
        let sides = [FileContent::at(space, &base).await?, FileContent::at(space, &orphan).await?];
        let merged = FileContent::at(space, &merge).await?;
        if told.path == TEXT && kinds(&merge).len() < 2 {
            let all_told = told.base.is_some() && told.orphan.is_some();
            if all_told || !sides.contains(&merged) {
                return Ok(None);
            }
        }
        let ancestor = match common(space, base, orphan).await? {
            Some(frame) => FileContent::at(space, &frame).await?,
            None => FileContent::Nothing,
        };
        let now = FileContent::at(space, tip).await?;
        Ok(Some(Self::of(Some(ancestor), sides, &merged, now)))
    }

    /// Of a conflict about the kind of a file, which stands in its entry: the sides made files of two kinds under one path,
    /// and the merge has both. `tip` is the file's. `None` as of [`WholeFile::of_file`].
    pub(crate) async fn of_kinds(space: &dyn Space, tip: &Node, told: &Recorded) -> Result<Option<Self>, FolderError> {
        readable(Self::read_of_kinds(space, tip, told).await)
    }

    async fn read_of_kinds(space: &dyn Space, tip: &Node, told: &Recorded) -> Result<Option<Self>, FolderError> {
        let [ancestor, base, orphan] = [&told.ancestor, &told.base, &told.orphan].map(|value| {
            let kind = value.as_ref().and_then(Value::as_str);
            kind.map(|kind| if kind == "json" { "text" } else { kind })
        });
        let (Some(base), Some(orphan)) = (base, orphan) else { return Ok(None) };
        let (Some(base), Some(orphan)) = (of_kind(space, tip, base).await?, of_kind(space, tip, orphan).await?) else {
            return Ok(None);
        };
        let ancestor = match ancestor {
            Some(kind) => of_kind(space, tip, kind).await?,
            None => Some(FileContent::Nothing),
        };
        let now = FileContent::at(space, tip).await?;
        let merged = if now == FileContent::Nothing { base.clone() } else { now.clone() };
        Ok(Some(Self::of(ancestor, [base, orphan], &merged, now)))
    }
}

/// What a frame that is no file's tells is nothing.
fn readable(read: Result<Option<WholeFile>, FolderError>) -> Result<Option<WholeFile>, FolderError> {
    match read {
        Err(error) if error.bad_frame().is_some() => Ok(None),
        read => read,
    }
}

/// The kinds of content that a frame has, the one that stands first.
pub(crate) fn kinds(frame: &Node) -> Vec<&'static str> {
    let all = [("binary", "blob"), ("text", "text"), ("link", "link")];
    all.into_iter().filter(|(_, member)| frame.datum(member).is_some()).map(|(kind, _)| kind).collect()
}

/// The content of this kind that a frame has, or the newest frame before it that has no other.
async fn of_kind(space: &dyn Space, tip: &Node, kind: &str) -> Result<Option<FileContent>, FolderError> {
    let text = |member| tip.datum(member).and_then(Value::as_str).map(str::to_owned);
    let here = match kind {
        "text" => text("text").map(FileContent::Text),
        "link" => text("link").map(FileContent::Link),
        // What stands is a binary, if there is one.
        _ if kinds(tip).contains(&"binary") => Some(FileContent::at(space, tip).await?),
        _ => None,
    };
    if here.is_some() {
        return Ok(here);
    }
    let mut walk = Walk::from(space, [tip.clone()]);
    while let Some((frame, _)) = walk.next().await? {
        if kinds(&frame) == [kind] {
            return FileContent::at(space, &frame).await.map(Some);
        }
    }
    Ok(None)
}
