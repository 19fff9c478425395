//! What a frame says a file holds, and what a file on disk holds.

use crate::chunk::{self, Blob, CHUNKS_MAX};
use crate::error::FolderError;
use crate::frames::{NewContent, Node};
use crate::json;
use crate::path::{EntryPath, decode, encode};
use crate::tree::{OnDisk, Stat, Tree, stat_of};
use ibgib::Addr;
use ibgib_spaces::Space;
use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// Bytes of the largest file that is kept as text: 8 MiB. Larger ones are chunks.
pub const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that a text may have as JSON, so that a frame has room for it: a text of many control characters is chunks.
const TEXT_JSON_BYTES_MAX: usize = 12 * 1024 * 1024;

/// How often a file that changes while it is read is tried again.
const READ_TRIES: usize = 4;

/// The content of a file at one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is no file: it was deleted, or not yet made.
    Absent,
    Text(String),
    Blob(Blob),
    /// What a symbolic link says, spelled as paths are.
    Link(String),
}

impl Content {
    /// Of the frame `node`. A merge may leave more than one kind of content, when one side changed the kind: a blob
    /// goes before text, text before a value, and any of them before a link; the others stay in the history and in the recorded conflict.
    pub(crate) async fn of(space: &dyn Space, node: &Node) -> Result<Self, FolderError> {
        if let Some(blob) = node.datum("blob") {
            let addr = blob.as_str().and_then(|a| a.parse::<Addr>().ok());
            let addr = addr.ok_or_else(|| FolderError::bad_content(node.addr(), "its blob is no address"))?;
            return Ok(Self::Blob(Blob::from_node(&node_at(space, &addr).await?)?));
        }
        if let Some(text) = node.datum("text") {
            let text = text.as_str().ok_or_else(|| FolderError::bad_content(node.addr(), "its text is no text"))?;
            return Ok(Self::Text(text.to_owned()));
        }
        if let Some(text) = node.data.as_ref().and_then(json::text_of) {
            return Ok(Self::Text(text));
        }
        let Some(target) = node.datum("link") else { return Ok(Self::Absent) };
        let target = target.as_str().filter(|target| decode(target).is_some_and(|bytes| !bytes.contains(&0)));
        target
            .map(|t| Self::Link(t.to_owned()))
            .ok_or_else(|| FolderError::bad_content(node.addr(), "its link is none"))
    }

    pub(crate) fn is_absent(&self) -> bool {
        *self == Self::Absent
    }

    /// What tells equal contents: for finding renames.
    pub(crate) fn digest(&self) -> Option<String> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text_digest(text)),
            Self::Blob(blob) => Some(blob.addr.to_string()),
            Self::Link(target) => Some(format!("link {target}")),
            _ => None,
        }
    }

    /// Hands the bytes to `sink`, in order, at most 1 MiB at a time; a document may be more. What `sink` fails with
    /// comes back as [`FolderError::Sink`].
    pub(crate) async fn read(
        &self,
        space: &dyn Space,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<(), FolderError> {
        match self {
            Self::Absent => Ok(()),
            Self::Text(text) => sink(text.as_bytes()).map_err(FolderError::Sink),
            Self::Link(target) => sink(&decode(target).unwrap_or_default()).map_err(FolderError::Sink),
            Self::Blob(blob) => {
                for some in blob.chunks.chunks(4) {
                    for (node, addr) in space.get(some).await?.into_iter().zip(some) {
                        let node = node.ok_or_else(|| FolderError::NotFound(addr.clone()))?;
                        sink(&chunk::chunk_bytes(&node)?).map_err(FolderError::Sink)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// The content of a file on disk, ready to become a frame's.
pub(crate) struct Fresh {
    pub(crate) content: NewContent,
    /// What the file looked like while it was read.
    pub(crate) stat: Stat,
}

impl Fresh {
    pub(crate) fn is(&self, content: &Content) -> bool {
        match (&self.content, content) {
            (NewContent::Blob(addr), Content::Blob(blob)) => *addr == blob.addr,
            (NewContent::Text(text), Content::Text(other)) => text == other,
            (NewContent::Link(target), Content::Link(other)) => target == other,
            _ => false,
        }
    }

    /// The text, or the address of what is no text.
    pub(crate) fn into_text(self) -> Result<String, String> {
        match self.content {
            NewContent::Text(text) => Ok(text),
            NewContent::Link(target) => Ok(link_text(&target)),
            NewContent::Blob(addr) => Err(addr.to_string()),
            NewContent::Absent => Ok(String::new()),
        }
    }

    pub(crate) fn digest(&self) -> Option<String> {
        match &self.content {
            NewContent::Blob(addr) => Some(addr.to_string()),
            NewContent::Text(text) if !text.is_empty() => Some(text_digest(text)),
            NewContent::Link(target) => Some(format!("link {target}")),
            _ => None,
        }
    }
}

/// A link in a diff.
pub(crate) fn link_text(target: &str) -> String {
    format!("symbolic link to {target}\n")
}

/// Why a file on disk was not read.
pub(crate) enum ReadError {
    /// The file cannot be taken now, for this reason; others can.
    File(String),
    /// Nothing can be taken.
    Folder(FolderError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::File(error.to_string())
    }
}

impl From<FolderError> for ReadError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

/// Reads the file at `path` in bounded memory; the constants that its content needs go to `keep`, which may wait
/// until they are stored. `None` when there is no file.
pub(crate) async fn read_file(tree: &Tree, path: &EntryPath, keep: &mut dyn Keep) -> Result<Option<Fresh>, ReadError> {
    for _ in 0..READ_TRIES {
        let Some(file) = tree.read(path)? else { return read_link(tree, path) };
        let before = stat_of(&file.metadata()?);
        let content = read_content(&file, before.size, keep).await?;
        if stat_of(&file.metadata()?) == before {
            return Ok(Some(Fresh { content, stat: before }));
        }
    }
    Err(ReadError::File("it kept changing while it was read".into()))
}

/// As [`read_file`], of a link.
fn read_link(tree: &Tree, path: &EntryPath) -> Result<Option<Fresh>, ReadError> {
    let (Some(target), OnDisk::File(stat)) = (tree.read_link(path)?, tree.look(path)?) else { return Ok(None) };
    match tree.link_problem(path, &target) {
        Some(problem) => Err(ReadError::File(problem.into())),
        None => Ok(Some(Fresh { content: NewContent::Link(encode(&target)), stat })),
    }
}

async fn read_content(mut file: &std::fs::File, size: u64, keep: &mut dyn Keep) -> Result<NewContent, ReadError> {
    let mut head = Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(TEXT_BYTES_MAX) + 1);
    file.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut head)?;
    if head.len() <= TEXT_BYTES_MAX && !head.contains(&0) {
        match String::from_utf8(head) {
            Ok(text) if json_bytes(&text) <= TEXT_JSON_BYTES_MAX => return Ok(NewContent::Text(text)),
            Ok(text) => head = text.into_bytes(),
            Err(error) => head = error.into_bytes(),
        }
    }
    let (mut size, mut list) = (0, Vec::new());
    for chunk in chunk::chunks(head.as_slice().chain(&mut file)) {
        let (bytes, node) = chunk?;
        size += bytes as u64;
        keep.has_read(bytes as u64);
        list.push(node.addr().clone());
        if list.len() > CHUNKS_MAX {
            return Err(ReadError::File(format!("larger than {CHUNKS_MAX} chunks")));
        }
        keep.keep(node).await?;
    }
    let blob = chunk::blob_node(size, &list).map_err(FolderError::from)?;
    let addr = blob.addr().clone();
    keep.keep(blob).await?;
    Ok(NewContent::Blob(addr))
}

/// Bytes of a text as a JSON string.
fn json_bytes(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | 8 | b'\t' | b'\n' | 12 | b'\r' => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(of).sum::<usize>() + 2
}

/// Takes the constants of a content while it is read.
#[async_trait::async_trait]
pub(crate) trait Keep: Send {
    async fn keep(&mut self, node: Node) -> Result<(), FolderError>;

    /// So many more bytes of a large file were read.
    fn has_read(&mut self, _bytes: u64) {}
}

/// For reading only to compare.
pub(crate) struct KeepNothing;

#[async_trait::async_trait]
impl Keep for KeepNothing {
    async fn keep(&mut self, _: Node) -> Result<(), FolderError> {
        Ok(())
    }
}

/// The node at `addr`, which must be there.
pub(crate) async fn node_at(space: &dyn Space, addr: &Addr) -> Result<Node, FolderError> {
    let node = space.node(addr).await?;
    node.ok_or_else(|| FolderError::NotFound(addr.clone()))
}

pub(crate) fn text_digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}
