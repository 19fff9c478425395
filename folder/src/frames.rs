//! The frames of a folder: how each timeline starts, and how an edit is written.

use crate::error::FolderError;
use crate::path::EntryPath;
use crate::times::{retime, tells_time};
use ibgib::canonical::{canonical_text, hash_text};
use ibgib::transform::{self, ForkOpts, Moment, Mut8Opts, Rel8Opts, TjpOpts, Transformed, linked};
use ibgib::{Addr, IbGib, Map, Value, Verified, VerifyError, object};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub(crate) type Node = Verified<IbGib>;

/// How many shards a folder has: one per first byte of a hash.
pub(crate) const SHARDS: u16 = 256;

/// Members of a file frame's data that make up its content; the last three only in frames of earlier versions.
const CONTENT: [&str; 6] = ["text", "blob", "link", "json", "order", "format"];

/// The first frame of a new folder timeline.
pub(crate) fn first_folder_frame(moment: &Moment) -> Result<Transformed, FolderError> {
    first_frame("folder", true, moment)
}

/// A fork of the primitive `ib^gib` that begins a timeline.
fn first_frame(ib: &str, timestamp: bool, moment: &Moment) -> Result<Transformed, FolderError> {
    let opts = ForkOpts {
        dest_ib: Some(ib.to_owned()),
        dna: true,
        no_timestamp: !timestamp,
        n_counter: true,
        tjp: Some(TjpOpts { uuid: true, timestamp }),
        linked_rel8ns: linked(),
        ..ForkOpts::default()
    };
    Ok(transform::fork(&IbGib::primitive(ib)?, &opts, moment)?)
}

/// Makes the first frames of a folder's files and shards: forks of `file^gib` and `shard^gib` with tjp.uuid and
/// without a timestamp. The uuid comes from a hash of the folder and the path (or the shard's number) instead of
/// from chance, so every device gives the same file the same timeline without asking the others.
#[derive(Debug)]
pub(crate) struct FirstFrames {
    folder: Addr,
    file: FirstFrame,
    shard: FirstFrame,
}

impl FirstFrames {
    pub(crate) fn new(folder: &Addr) -> Result<Self, FolderError> {
        let (file, shard) = (FirstFrame::of("file")?, FirstFrame::of("shard")?);
        Ok(Self { folder: folder.clone(), file, shard })
    }

    /// Of the timeline of the file at `path`.
    pub(crate) fn file(&self, path: &EntryPath) -> Result<Transformed, FolderError> {
        self.file.with(self.entropy(&path.key()))
    }

    /// The address of [`FirstFrames::file`].
    pub(crate) fn file_addr(&self, path: &EntryPath) -> Result<Addr, FolderError> {
        self.file.addr_with(self.entropy(&path.key()))
    }

    /// Of a shard's timeline.
    pub(crate) fn shard(&self, number: u8) -> Result<Transformed, FolderError> {
        self.shard.with(self.entropy(&format!("#{number}")))
    }

    /// The address of [`FirstFrames::shard`].
    pub(crate) fn shard_addr(&self, number: u8) -> Result<Addr, FolderError> {
        self.shard.addr_with(self.entropy(&format!("#{number}")))
    }

    fn entropy(&self, of: &str) -> [u8; 16] {
        let hash: [u8; 32] = Sha256::digest(format!("{}{of}", self.folder).as_bytes()).into();
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        first
    }
}

/// First frames of one kind, which differ in the uuid only. Addresses are asked for again and again, of each file of a
/// folder, so what is hashed for them is kept ready.
#[derive(Debug)]
struct FirstFrame {
    /// One with any uuid.
    any: Transformed,
    /// What is hashed before the hash of the data.
    above: String,
    /// The data's text before and after the uuid.
    data: [String; 2],
}

impl FirstFrame {
    fn of(ib: &str) -> Result<Self, FolderError> {
        let moment = Moment { now_ms: 0, random: [0; 16] };
        let any = first_frame(ib, false, &moment)?;
        let text = |part: &Option<Value>| part.as_ref().map_or(String::new(), canonical_text);
        let above = hash_text(&any.frame.ib) + &hash_text(&text(&any.frame.rel8ns));
        let data = text(&any.frame.data);
        let (before, after) = data.split_once(&moment.uuid()).unwrap_or_default();
        Ok(Self { above, data: [before.to_owned(), after.to_owned()], any })
    }

    /// The one with the uuid that `random` gives; its dna does not name the uuid and stays.
    fn with(&self, random: [u8; 16]) -> Result<Transformed, FolderError> {
        let mut frame: IbGib = (*self.any.frame).clone();
        if let Some(data) = frame.data.as_mut().and_then(Value::as_object_mut) {
            data.insert("uuid", Moment { now_ms: 0, random }.uuid());
        }
        Ok(Transformed { frame: frame.seal()?, ..self.any.clone() })
    }

    fn addr_with(&self, random: [u8; 16]) -> Result<Addr, FolderError> {
        let [before, after] = &self.data;
        let uuid = Moment { now_ms: 0, random }.uuid();
        let data = hash_text(&[before.as_str(), &uuid, after].concat());
        let gib = hash_text(&[self.above.as_str(), &data].concat());
        Ok(Addr::new(&self.any.frame.ib, &gib).map_err(VerifyError::from)?)
    }
}

/// The shard that holds the entry of `path`.
pub(crate) fn shard_of(path: &EntryPath) -> u8 {
    Sha256::digest(path.key().as_bytes())[0]
}

/// What a file's next frame shall say.
#[derive(Clone, Debug)]
pub(crate) enum NewContent {
    Text(String),
    /// A blob constant.
    Blob(Addr),
    /// What a symbolic link says, spelled as paths are.
    Link(String),
    Absent,
}

impl NewContent {
    /// The hint that entries carry; the file's own frames decide.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Absent => "text",
            Self::Blob(_) => "binary",
            Self::Link(_) => "link",
        }
    }
}

/// Frames that give the file at frame `src` a content, dependencies first; the last is the new frame.
///
/// `time` is the file's modification time in milliseconds since 1970, where the folder keeps those; without it, a frame
/// that follows one which tells a time tells when it was made.
pub(crate) fn edit_file(
    src: &Node,
    content: NewContent,
    time: Option<i64>,
    moment: &Moment,
) -> Result<Vec<Node>, FolderError> {
    let mut nodes = Vec::new();
    let mut src = src.clone();
    let mut patch = Map::new();
    match content {
        NewContent::Text(text) => {
            patch.insert("text", text);
        }
        NewContent::Link(target) => {
            patch.insert("link", target);
        }
        NewContent::Blob(blob) => {
            // The relation first: no frame names a blob that it does not relate to.
            let old: Vec<Addr> = src.rel8n_addrs("blob").into_iter().filter(|a| *a != blob).collect();
            if !src.rel8n("blob").any(|a| a == blob.as_str()) || !old.is_empty() {
                let remove = if old.is_empty() { vec![] } else { vec![("blob".to_owned(), old)] };
                src = relate(&src, vec![("blob".to_owned(), vec![blob.clone()])], remove, moment, &mut nodes)?;
            }
            patch.insert("blob", &blob);
        }
        NewContent::Absent => {}
    }
    let goes = |key: &&str| !patch.contains_key(key) && src.datum(key).is_some();
    let mut remove: Map = CONTENT.iter().filter(|k| goes(k)).map(|k| (*k, "")).collect();
    // Of two sides one must not take away what the other changes, or their times were in conflict.
    let time = time.or_else(|| tells_time(&src).then_some(moment.now_ms));
    retime(&src, time, &mut remove, &mut patch);
    let remove = (!remove.is_empty()).then_some(remove);
    mutate(&src, remove, patch, moment, &mut nodes)?;
    Ok(nodes)
}

/// One entry's change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EntryEdit {
    /// The file's timeline, when the entry is new.
    pub(crate) file: Option<Addr>,
    pub(crate) kind: Option<&'static str>,
    pub(crate) exec: Option<bool>,
    /// Permissions, where the folder keeps them.
    pub(crate) mode: Option<u16>,
}

impl EntryEdit {
    /// Whether nothing is to be changed.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Frames that change entries of the shard at frame `src`, dependencies first; the last is the new frame.
pub(crate) fn edit_shard(
    src: &Node,
    edits: &BTreeMap<EntryPath, EntryEdit>,
    moment: &Moment,
) -> Result<Vec<Node>, FolderError> {
    let mut nodes = Vec::new();
    let mut src = src.clone();
    let files: Vec<Addr> = edits.values().filter_map(|e| e.file.clone()).collect();
    if !files.is_empty() {
        src = relate(&src, vec![("file".to_owned(), files)], vec![], moment, &mut nodes)?;
    }
    let mut entries = Map::new();
    for (path, edit) in edits {
        let mut entry = Map::new();
        if let Some(file) = &edit.file {
            entry.insert("file", file);
        }
        if let Some(kind) = edit.kind {
            entry.insert("kind", kind);
        }
        if let Some(exec) = edit.exec {
            entry.insert("exec", exec);
        }
        if let Some(mode) = edit.mode {
            entry.insert("mode", format!("{mode:03o}"));
        }
        entries.insert(path.key(), entry);
    }
    let patch = object([("entries", entries.into())]).as_object().cloned().unwrap_or_default();
    mutate(&src, None, patch, moment, &mut nodes)?;
    Ok(nodes)
}

/// Frames that relate the folder at frame `src` to more shards.
pub(crate) fn edit_folder(src: &Node, shards: Vec<Addr>, moment: &Moment) -> Result<Vec<Node>, FolderError> {
    let mut nodes = Vec::new();
    relate(src, vec![("shard".to_owned(), shards)], vec![], moment, &mut nodes)?;
    Ok(nodes)
}

fn relate(
    src: &Node,
    add: Vec<(String, Vec<Addr>)>,
    remove: Vec<(String, Vec<Addr>)>,
    moment: &Moment,
    nodes: &mut Vec<Node>,
) -> Result<Node, FolderError> {
    let opts = Rel8Opts { add, remove, dna: true, n_counter: true, linked_rel8ns: linked(), ..Rel8Opts::default() };
    let made = transform::rel8(src, &opts, moment)?;
    nodes.extend(made.nodes());
    Ok(made.frame)
}

pub(crate) fn mutate(
    src: &Node,
    remove: Option<Map>,
    patch: Map,
    moment: &Moment,
    nodes: &mut Vec<Node>,
) -> Result<Node, FolderError> {
    let opts = Mut8Opts {
        remove,
        patch: Some(patch),
        dna: true,
        n_counter: true,
        linked_rel8ns: linked(),
        ..Mut8Opts::default()
    };
    let made = transform::mut8(src, &opts, moment)?;
    nodes.extend(made.nodes());
    Ok(made.frame)
}

/// A frame without the conflict stones `stones`, which are settled.
pub(crate) fn drop_conflicts(src: &Node, stones: &[Addr], moment: &Moment) -> Result<Vec<Node>, FolderError> {
    Ok(transform::drop_conflicts(src, stones.to_vec(), moment)?.nodes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Moment = Moment { now_ms: 1_767_225_600_123, random: [7; 16] };

    fn first_frames() -> FirstFrames {
        let folder = first_folder_frame(&MOMENT).unwrap();
        FirstFrames::new(folder.frame.addr()).unwrap()
    }

    #[test]
    fn first_frames_are_the_forks_that_the_design_names() {
        let first_frames = first_frames();
        let path = EntryPath::from_key("/a/b.txt").unwrap();
        let hash = Sha256::digest(format!("{}/a/b.txt", first_frames.folder).as_bytes());
        let moment = Moment { now_ms: 99, random: hash[..16].try_into().unwrap() };
        let fork = first_frame("file", false, &moment).unwrap();
        let made = first_frames.file(&path).unwrap();
        assert_eq!(first_frames.file_addr(&path).unwrap(), *made.frame.addr());
        assert_eq!(first_frames.shard_addr(7).unwrap(), *first_frames.shard(7).unwrap().frame.addr());
        assert_eq!(made.nodes(), fork.nodes());
        assert_eq!(made.frame.addr().ib(), "file");
        assert!(made.frame.datum("timestamp").is_none());
        assert_ne!(first_frames.shard(1).unwrap().frame, first_frames.shard(2).unwrap().frame);
    }

    #[test]
    fn contents_replace_each_other() {
        let first = first_frames().file(&EntryPath::from_key("/x.json").unwrap()).unwrap().frame;
        let blob = Addr::new("blob", &"A".repeat(64)).unwrap();
        let next = |src: &Node, content| edit_file(src, content, None, &MOMENT).unwrap().pop().unwrap();
        let keys = |node: &Node| {
            let data = node.data.as_ref().and_then(Value::as_object).unwrap();
            CONTENT.into_iter().filter(|k| data.contains_key(k)).collect::<Vec<_>>()
        };
        let json =
            Map::from_iter([("json", object([("a", 1.into())])), ("order", Map::new().into()), ("format", "2".into())]);
        let earlier = mutate(&first, None, json, &MOMENT, &mut Vec::new()).unwrap();
        let text = next(&earlier, NewContent::Text("{}".into()));
        assert_eq!(keys(&text), ["text"]);
        let binary = next(&text, NewContent::Blob(blob.clone()));
        assert_eq!((keys(&binary), binary.rel8n_addrs("blob")), (vec!["blob"], vec![blob]));
        let link = next(&binary, NewContent::Link("../a".into()));
        assert_eq!(keys(&link), ["link"]);
        let text = next(&link, NewContent::Text(String::new()));
        assert_eq!(keys(&text), ["text"]);
        let gone = next(&text, NewContent::Absent);
        assert!(keys(&gone).is_empty());
        assert_eq!(gone.tjp().as_ref(), Some(first.addr()));
        assert_eq!(gone.rel8n("past").count(), 1);
    }
}
