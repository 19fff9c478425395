//! The folder: a space, a directory, and the timeline that binds them.

use crate::chunk::Blob;
use crate::content::{Content, node_at};
use crate::error::FolderError;
use crate::frames::{self, FirstFrames, Node, SHARDS, shard_of};
use crate::path::EntryPath;
use crate::record::{PREFIX, Record};
use crate::tree::{MODE, OnDisk, Tree};
use crate::writer::Writer;
use ibgib::transform::Moment;
use ibgib::{Addr, Value};
use ibgib_spaces::store::Tips;
use ibgib_spaces::{CommitError, Space, SpaceError};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The record that binds a space to its folder timeline.
const BINDING: &str = "folder";

/// Where an operation takes time and entropy from, once per edit.
pub type Moments<'a> = dyn FnMut() -> Moment + Send + 'a;

/// How far a long operation has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Files are read into the space.
    Read {
        /// Files done.
        done: usize,
        /// Files there are to do.
        of: usize,
        /// Bytes read, of the file being read, too.
        bytes: u64,
        /// Bytes there are to read.
        bytes_of: u64,
    },
    /// Files are written to disk or removed from it.
    Written {
        /// Files done.
        done: usize,
        /// Files there are to do.
        of: usize,
        /// Bytes written, of the file being written, too.
        bytes: u64,
    },
}

/// How a folder is worked on at this device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderOpts {
    /// What `.gitignore` files say is ignored, too.
    pub gitignore: bool,
}

/// A path that is not taken into snapshots, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Relative, `/`-separated, as entries spell it.
    pub path: String,
    /// For people.
    pub reason: String,
}

/// A path that was not checked out, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// As the entry spells it.
    pub path: String,
    /// For people.
    pub reason: String,
}

/// One file of the folder, as the space knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: EntryPath,
    /// Its timeline.
    pub file: Addr,
    /// `text`, `binary` or `link` (of earlier versions also `json`): a hint, the frames decide.
    pub kind: String,
    /// Whether it may be executed.
    pub exec: bool,
    /// Its permissions, where the folder keeps those.
    pub mode: Option<u16>,
}

/// Who edits a folder here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The first frame of its keystone.
    pub identity: Addr,
    /// What it is called.
    pub name: String,
}

/// A working folder and the space that holds its timelines. One task uses it at a time; file access blocks the
/// calling thread.
pub struct Folder {
    pub(crate) space: Arc<dyn Space>,
    pub(crate) tree: Tree,
    pub(crate) first_frames: FirstFrames,
    remembered: Remembered,
    shards: OnceLock<HashMap<Addr, u8>>,
    tjp: Addr,
    opts: FolderOpts,
    /// Who edits here; edits are nobody's without it.
    pub(crate) device: Option<Device>,
    progress: Option<Box<dyn Fn(Progress) + Send + Sync>>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("tjp", &self.tjp).field("root", &self.tree.path()).finish_non_exhaustive()
    }
}

/// All entries that hold what they promise, and the others.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: BTreeMap<EntryPath, Entry>,
    pub(crate) refused: Vec<Refused>,
    /// The newest frame of each shard that there is.
    pub(crate) shards: BTreeMap<u8, Node>,
}

/// What was read of folders, for whoever opens the same one again and again: pass it to [`Folder::remembering`] each time.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Remembered(Arc<Mutex<HashMap<u8, Arc<Shard>>>>);

impl Remembered {
    /// By number, as they were read last.
    fn shards(&self) -> MutexGuard<'_, HashMap<u8, Arc<Shard>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the newest frame of a shard says. Whose entries they are is found by hashing each path, so it is kept until another
/// frame comes.
#[derive(Debug)]
struct Shard {
    frame: Node,
    entries: Vec<Entry>,
    refused: Vec<Refused>,
}

impl Listing {
    fn add(&mut self, number: u8, shard: &Shard) {
        self.entries.extend(shard.entries.iter().map(|entry| (entry.path.clone(), entry.clone())));
        self.refused.extend(shard.refused.iter().cloned());
        self.shards.insert(number, shard.frame.clone());
    }
}

impl Folder {
    /// Starts a new folder timeline in `space` and binds the directory `root` to it.
    ///
    /// # Errors
    /// [`FolderError::Bound`] when the space has a folder already; a failing space or directory.
    pub async fn create(space: Arc<dyn Space>, root: &Path, moments: &mut Moments<'_>) -> Result<Self, FolderError> {
        let first = frames::first_folder_frame(&moments())?;
        let tjp = first.frame.addr().clone();
        bind(&*space, &tjp, first.nodes()).await?;
        Self::at(space, root, tjp)
    }

    /// Binds the directory `root` to a folder timeline that other devices have; its frames come by syncing.
    ///
    /// # Errors
    /// [`FolderError::NotAFolder`] when `tjp` cannot be a folder's first frame; [`FolderError::Bound`] when the space
    /// has another folder.
    pub async fn join(space: Arc<dyn Space>, root: &Path, tjp: Addr) -> Result<Self, FolderError> {
        if tjp.ib() != "folder" || tjp.tjp_gib().is_some() || tjp.is_primitive() {
            return Err(FolderError::NotAFolder(tjp));
        }
        bind(&*space, &tjp, Vec::new()).await?;
        Self::at(space, root, tjp)
    }

    /// Opens the folder that `space` is bound to.
    ///
    /// # Errors
    /// [`FolderError::Unbound`]; a failing space or directory.
    pub async fn open(space: Arc<dyn Space>, root: &Path) -> Result<Self, FolderError> {
        let tjp = bound(&*space).await?.ok_or(FolderError::Unbound)?;
        Self::at(space, root, tjp)
    }

    fn at(space: Arc<dyn Space>, root: &Path, tjp: Addr) -> Result<Self, FolderError> {
        let first_frames = FirstFrames::new(&tjp)?;
        Ok(Self {
            space,
            tree: Tree::open(root)?,
            first_frames,
            remembered: Remembered::default(),
            shards: OnceLock::new(),
            tjp,
            opts: FolderOpts::default(),
            device: None,
            progress: None,
        })
    }

    /// Calls `hook` as long operations go on.
    #[must_use]
    pub fn on_progress(mut self, hook: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Box::new(hook));
        self
    }

    /// Reads nothing again that is remembered there, and leaves there what it reads.
    #[must_use]
    pub fn remembering(self, remembered: &Remembered) -> Self {
        Self { remembered: remembered.clone(), ..self }
    }

    /// Works on the folder in another way than the usual.
    #[must_use]
    pub fn with_opts(self, opts: FolderOpts) -> Self {
        Self { opts, ..self }
    }

    pub(crate) fn opts(&self) -> FolderOpts {
        self.opts
    }

    /// The folder's timeline: what other devices join.
    pub fn tjp(&self) -> &Addr {
        &self.tjp
    }

    /// The space that holds the folder.
    pub fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }

    /// The timeline that the file at `path` has, or would have: it follows from the folder and the path.
    ///
    /// # Errors
    /// None on sound input; making the frame could fail.
    pub fn file_tjp(&self, path: &EntryPath) -> Result<Addr, FolderError> {
        self.first_frames.file_addr(path)
    }

    /// The entries, sorted by path, those of deleted files included.
    ///
    /// # Errors
    /// A failing space.
    pub async fn entries(&self) -> Result<Vec<Entry>, FolderError> {
        Ok(self.listing().await?.entries.into_values().collect())
    }

    /// The newest frame of the file at `path`.
    ///
    /// # Errors
    /// [`FolderError::NoEntry`]; a failing space.
    pub async fn tip(&self, path: &EntryPath) -> Result<Addr, FolderError> {
        let tip = self.space.tip(&self.file_tjp(path)?).await?;
        tip.map(|t| t.addr).ok_or_else(|| FolderError::NoEntry(path.to_string()))
    }

    /// Hands the bytes that a file had at frame `addr` to `sink`, piece by piece; `false` if the file does not exist
    /// at that frame. The constant that lists a binary file's chunks will do for a frame.
    ///
    /// # Errors
    /// [`FolderError::NotFound`], [`FolderError::BadContent`], [`FolderError::Sink`]; a failing space.
    pub async fn read(
        &self,
        addr: &Addr,
        sink: &mut (dyn FnMut(&[u8]) -> io::Result<()> + Send),
    ) -> Result<bool, FolderError> {
        let node = node_at(&*self.space, addr).await?;
        let content = match Blob::from_node(&node) {
            Ok(blob) if addr.ib() == "blob" => Content::Blob(blob),
            _ => Content::of(&*self.space, &node).await?,
        };
        content.read(&*self.space, sink).await?;
        Ok(!content.is_absent())
    }

    pub(crate) fn tell(&self, progress: Progress) {
        if let Some(hook) = &self.progress {
            hook(progress);
        }
    }

    /// Reads all shards. Entries are claims of whoever wrote them: one is good only if it stands in its path's shard
    /// and names its path's timeline.
    pub(crate) async fn listing(&self) -> Result<Listing, FolderError> {
        let mut out = Listing::default();
        let numbers = self.shard_numbers()?;
        let firsts: Vec<Addr> = numbers.keys().cloned().collect();
        let tips = tips_of(&*self.space, &firsts).await?;
        let mut fresh: Vec<(u8, &Addr)> = Vec::new();
        for (tjp, tip) in &tips {
            let number = numbers[tjp];
            match self.remembered.shards().get(&number).filter(|shard| shard.frame.addr() == tip) {
                Some(shard) => out.add(number, shard),
                None => fresh.push((number, tip)),
            }
        }
        let addrs: Vec<Addr> = fresh.iter().map(|(_, addr)| (*addr).clone()).collect();
        for ((number, addr), frame) in fresh.into_iter().zip(self.space.get(&addrs).await?) {
            let frame = frame.ok_or_else(|| FolderError::NotFound(addr.clone()))?;
            let shard = Arc::new(self.shard(number, frame));
            out.add(number, &shard);
            self.remembered.shards().insert(number, shard);
        }
        out.refused.sort_unstable();
        Ok(out)
    }

    /// The first frames of all shards, and which shard's each is.
    fn shard_numbers(&self) -> Result<&HashMap<Addr, u8>, FolderError> {
        if let Some(numbers) = self.shards.get() {
            return Ok(numbers);
        }
        // SHARDS is 256.
        let numbers = (0..SHARDS).map(|number| Ok((self.first_frames.shard_addr(number as u8)?, number as u8)));
        let numbers = numbers.collect::<Result<_, FolderError>>()?;
        Ok(self.shards.get_or_init(|| numbers))
    }

    /// What a frame of a shard says.
    fn shard(&self, number: u8, frame: Node) -> Shard {
        let (mut entries, mut refused) = (Vec::new(), Vec::new());
        for (key, value) in frame.datum("entries").and_then(Value::as_object).into_iter().flat_map(|m| m.iter()) {
            match self.entry(number, key, value) {
                Ok(entry) => entries.push(entry),
                Err(reason) => refused.push(Refused { path: key.to_owned(), reason }),
            }
        }
        Shard { frame, entries, refused }
    }

    fn entry(&self, shard: u8, key: &str, value: &Value) -> Result<Entry, String> {
        let path = EntryPath::from_key(key).map_err(|p| p.to_string())?;
        if shard_of(&path) != shard {
            return Err("stands in another shard than its own".into());
        }
        let file = self.file_tjp(&path).map_err(|e| e.to_string())?;
        if value.get("file").and_then(Value::as_str) != Some(file.as_str()) {
            return Err("names another timeline than its own".into());
        }
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or("text").to_owned();
        let exec = value.get("exec").and_then(Value::as_bool).unwrap_or(false);
        let mode = value.get("mode").and_then(Value::as_str).and_then(|mode| u16::from_str_radix(mode, 8).ok());
        Ok(Entry { path, file, kind, exec, mode: mode.map(|mode| mode & MODE) })
    }

    /// All file records, checkouts that were cut settled by what is on disk.
    pub(crate) async fn file_records(&self) -> Result<BTreeMap<EntryPath, Record>, FolderError> {
        let mut out = BTreeMap::new();
        let mut writer = Writer::new(&*self.space);
        for (key, bytes) in self.space.records(&format!("{PREFIX}/")).await? {
            if let (Some(path), Some(mut record)) = (Record::path(&key), Record::from_bytes(&bytes)) {
                if record.next.is_some()
                    && record.settle(self.tree.look(record.on_disk(&path)).unwrap_or(OnDisk::Nothing))
                {
                    writer.record(key, Some(record.to_bytes()));
                }
                out.insert(path, record);
            }
        }
        match writer.flush().await {
            // Where the store is only read, whoever writes next settles it.
            Err(FolderError::Commit(CommitError::Space(SpaceError::Permission(_)))) => {}
            done => done?,
        }
        Ok(out)
    }
}

/// The tips of timelines, asked for at once; those without one are left out.
pub(crate) async fn tips_of(space: &dyn Space, tjps: &[Addr]) -> Result<HashMap<Addr, Addr>, FolderError> {
    let tips = space.view().await?.tips(Tips::Of(tjps)).await?;
    Ok(tips.into_iter().map(|tip| (tip.tjp, tip.addr)).collect())
}

async fn bound(space: &dyn Space) -> Result<Option<Addr>, FolderError> {
    let record = space.record(BINDING).await?;
    Ok(record.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()))
}

async fn bind(space: &dyn Space, tjp: &Addr, first: Vec<Node>) -> Result<(), FolderError> {
    match bound(space).await? {
        Some(old) if old != *tjp => return Err(FolderError::Bound(old)),
        _ => {}
    }
    let mut writer = Writer::new(space);
    if !first.is_empty() {
        writer.edit(tjp.clone(), None, first);
    }
    writer.record(BINDING.to_owned(), Some(tjp.to_string().into_bytes()));
    writer.flush().await?;
    Ok(())
}
