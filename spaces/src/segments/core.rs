//! The open files, and what is done with them: opening, reading a node, writing.

use super::block::{self, Block, Key};
use super::index::{self, Entry, Open};
use super::log::{Log, Pos, Tail, io_error};
use super::record::{BLOCK, CHANGE, Change, UNSTAGE};
use super::staged::{Place, Staged, StagedNode};
use crate::error::SpaceError;
use crate::redb::fail;
use crate::store::{Batch, Written};
use ibgib::{Addr, IbGib, Mode, Verified};
use redb::{Database, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use tokio::sync::oneshot;

/// The log's folder, and the index's file.
pub(super) const LOG: &str = "log";
pub(super) const INDEX: &str = "index.redb";

/// Bytes of pages of the index kept in memory, and of blocks that were read.
const INDEX_BYTES: usize = 24 * 1024 * 1024;
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// After so many bytes of log, or so many writes, the index is brought to the disk: what it lacks is read again when the
/// store is opened after a crash.
const BEHIND_BYTES: u64 = 8 * 1024 * 1024;
const BEHIND_WRITES: u32 = 512;

/// A batch that waits for its turn, and who waits for it.
pub(super) struct Job {
    pub(super) batch: Batch,
    pub(super) done: oneshot::Sender<Result<Written, SpaceError>>,
}

/// A write that has not come well to its end: if it never does, by an error or a panic, only the log on the disk tells
/// what happened.
struct Unsure<'a>(&'a AtomicBool);

impl Unsure<'_> {
    fn settle(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The index, open for writing, or only for reading.
enum Base {
    Whole(Database),
    ReadOnly(ReadOnlyDatabase),
}

/// Whoever has it writes.
struct Writer {
    tail: Tail,
    /// The last record.
    last: Pos,
    /// How far the index on the disk is, and how many writes it is behind.
    noted: Pos,
    writes: u32,
}

/// An open store.
pub(super) struct Core {
    index: Option<Base>,
    log: Log,
    staged: RwLock<Staged>,
    /// None where the store is only read.
    writer: Option<Mutex<Writer>>,
    queue: Mutex<Vec<Job>>,
    blocks: Mutex<Blocks>,
    failed: AtomicBool,
    /// Outlives the closing of the files, so that the last of their owners tells that they are free again.
    in_use: Arc<()>,
}

/// Why a node cannot be read.
pub(super) enum Unread {
    /// What is stored is not the node.
    Damaged(String),
    /// Reading failed.
    Failed(SpaceError),
}

impl From<SpaceError> for Unread {
    fn from(error: SpaceError) -> Self {
        Self::Failed(error)
    }
}

impl Unread {
    pub(super) fn of(self, addr: &str) -> SpaceError {
        match self {
            Self::Damaged(why) => SpaceError::Corrupt { addr: addr.to_owned(), why },
            Self::Failed(error) => error,
        }
    }
}

/// Blocks that were read lately: those since the last change of guard, and those before.
#[derive(Default)]
struct Blocks {
    now: HashMap<Pos, Arc<Block>>,
    before: HashMap<Pos, Arc<Block>>,
    bytes: usize,
}

impl Blocks {
    fn get(&mut self, at: Pos) -> Option<Arc<Block>> {
        if let Some(block) = self.now.get(&at) {
            return Some(Arc::clone(block));
        }
        let block = self.before.remove(&at)?;
        self.put(at, Arc::clone(&block));
        Some(block)
    }

    fn put(&mut self, at: Pos, block: Arc<Block>) {
        if self.bytes + block.bytes() > CACHE_BYTES / 2 {
            self.before = std::mem::take(&mut self.now);
            self.bytes = 0;
        }
        self.bytes += block.bytes();
        self.now.insert(at, block);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a directory, if there is none, that only its owner looks into.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

impl Core {
    /// Opens the store in `dir`; answers its revision, too.
    pub(super) fn open(dir: &Path, to_write: bool) -> Result<(Self, u64), SpaceError> {
        let log = Log::open(&dir.join(LOG), to_write)?;
        if !to_write {
            return Self::open_to_read(dir, log);
        }
        let path = dir.join(INDEX);
        // What is wrong with an index is no harm: all of it follows from the log.
        let opened = match catch_unwind(|| open_index(&path)) {
            Ok(Ok(opened)) => opened,
            Ok(Err(error @ (SpaceError::Locked(_) | SpaceError::Permission(_) | SpaceError::Full(_)))) => {
                return Err(error);
            }
            Ok(Err(SpaceError::Io(error))) => return Err(SpaceError::Io(error)),
            other => {
                if !matches!(other, Ok(Err(SpaceError::NotFound(_)))) {
                    tracing::warn!(path = %path.display(), "the index is damaged; it is made anew from the log");
                }
                make_index(&path)?
            }
        };
        let (index, known) = opened;
        let mut core = Self::new(Base::Whole(index), log);
        if known.last != Pos::START && core.log.read(known.last)?.is_none_or(|record| record.end != known.applied) {
            return Err(SpaceError::Damaged(format!(
                "{}: the log ends before what the index knows of it; take {INDEX} away to go on with what is there",
                dir.display()
            )));
        }
        let (end, last) = core.replay(known)?;
        let tail = core.log.tail(end)?;
        core.writer = Some(Mutex::new(Writer { tail, last, noted: end, writes: 0 }));
        let revision = index::head(&core.begin_read()?.open_table(index::META).map_err(fail)?)?.revision;
        Ok((core, revision))
    }

    fn open_to_read(dir: &Path, log: Log) -> Result<(Self, u64), SpaceError> {
        let path = dir.join(INDEX);
        let index = builder().open_read_only(&path).map_err(|e| open_error(&path, e))?;
        let known = index::known(&index.begin_read().map_err(fail)?.open_table(index::META).map_err(fail)?)?;
        let core = Self::new(Base::ReadOnly(index), log);
        let mut staged = Staged::default();
        core.log.replay(known.staged.min(known.applied), |at, record| match record.kind {
            CHANGE if at >= known.applied => {
                Err(SpaceError::Damaged(format!("{}: it was not closed; open it for writing once", dir.display())))
            }
            _ => core.replay_staged(&mut staged, at, record.kind, &record.payload),
        })?;
        *core.staged.write().unwrap_or_else(PoisonError::into_inner) = staged;
        Ok((core, known.revision))
    }

    fn new(index: Base, log: Log) -> Self {
        Self {
            index: Some(index),
            log,
            staged: RwLock::default(),
            writer: None,
            queue: Mutex::default(),
            blocks: Mutex::default(),
            failed: AtomicBool::new(false),
            in_use: Arc::new(()),
        }
    }

    pub(super) fn id(&self) -> &[u8; 32] {
        self.log.id()
    }

    pub(super) fn in_use(&self) -> Weak<()> {
        Arc::downgrade(&self.in_use)
    }

    /// Whether a write failed, so that only the log on the disk tells what happened.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// What is staged now.
    pub(super) fn staged(&self) -> Staged {
        self.staged.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is committed now.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, SpaceError> {
        match &self.index {
            Some(Base::Whole(index)) => index.begin_read(),
            Some(Base::ReadOnly(index)) => index.begin_read(),
            None => return Err(SpaceError::Closed),
        }
        .map_err(fail)
    }

    fn to_write(&self) -> Result<(&Database, MutexGuard<'_, Writer>), SpaceError> {
        match (&self.index, &self.writer) {
            (Some(Base::Whole(index)), Some(writer)) => {
                let writer = lock(writer);
                if self.has_failed() {
                    return Err(SpaceError::Io("an earlier write failed; try again".into()));
                }
                Ok((index, writer))
            }
            (Some(_), _) => Err(SpaceError::Permission("the store was opened for reading only".into())),
            (None, _) => Err(SpaceError::Closed),
        }
    }

    // -- reading -------------------------------------------------------------------------------------------------

    fn block(&self, at: Pos) -> Result<Arc<Block>, Unread> {
        if let Some(block) = lock(&self.blocks).get(at) {
            return Ok(block);
        }
        // The blocks that it has to be read with, the last first.
        let mut records = Vec::new();
        let (mut next, mut base) = (Some(at), None);
        while let Some(at) = next {
            if base.is_none() && !records.is_empty() {
                base = lock(&self.blocks).get(at);
                if base.is_some() {
                    break;
                }
            }
            let damaged = || Unread::Damaged("its part of the log is damaged".into());
            let record = self.log.read(at)?.filter(|record| record.kind == BLOCK).ok_or_else(damaged)?;
            next = block::Head::read(&record.payload).ok_or_else(damaged)?.0.base;
            records.push((at, record.payload));
            if next.is_some_and(|next| next >= at) || records.len() > block::NODES_MAX {
                return Err(damaged());
            }
        }
        while let Some((at, payload)) = records.pop() {
            let read =
                block::Head::read(&payload).and_then(|(head, spans)| Block::read(&head, &spans, base.as_deref()));
            let read = Arc::new(read.ok_or_else(|| Unread::Damaged("its block cannot be read".into()))?);
            lock(&self.blocks).put(at, Arc::clone(&read));
            base = Some(read);
        }
        base.ok_or_else(|| Unread::Damaged("its block cannot be read".into()))
    }

    fn text(&self, place: Place) -> Result<String, Unread> {
        let text = self.block(place.block)?.text(usize::from(place.nth));
        text.ok_or_else(|| Unread::Damaged("its text cannot be read".into()))
    }

    /// A node, re-hashed.
    pub(super) fn node(&self, key: &Key, place: Place) -> Result<Verified<IbGib>, Unread> {
        let node = Verified::parse(&self.text(place)?).map_err(|e| Unread::Damaged(e.to_string()))?;
        match node.addr().key() == Some(*key) {
            true => Ok(node),
            false => Err(Unread::Damaged(format!("what is stored there is {}", node.addr()))),
        }
    }

    /// The address of a node that is damaged, if that was spared, else the digits of its hash.
    pub(super) fn name_of(&self, key: &Key, place: Place) -> String {
        let text = self.text(place).ok();
        let node = text.and_then(|text| IbGib::parse(&text, Mode::Compat).ok());
        let addr = node.and_then(|node| Addr::new(&node.ib, &node.gib?).ok()).filter(|addr| addr.key() == Some(*key));
        addr.map_or_else(|| hex::encode_upper(key), |addr| addr.to_string())
    }

    /// Whether what is stored is the node.
    fn is_whole(&self, node: &Verified<IbGib>, key: &Key, place: Place) -> Result<bool, SpaceError> {
        match self.text(place) {
            Ok(text) if text == node.to_json() => Ok(true),
            // Maybe it is spelled otherwise.
            Ok(_) => Ok(self.node(key, place).is_ok()),
            Err(Unread::Damaged(_)) => Ok(false),
            Err(Unread::Failed(error)) => Err(error),
        }
    }

    // -- opening -------------------------------------------------------------------------------------------------

    /// Brings index and staged nodes to where the log is; answers where that ends, and its last record.
    fn replay(&self, known: index::Known) -> Result<(Pos, Pos), SpaceError> {
        let Some(Base::Whole(index)) = &self.index else { return Err(SpaceError::Closed) };
        let mut txn = index.begin_write().map_err(fail)?;
        txn.set_durability(Durability::Immediate).map_err(fail)?;
        let (mut staged, mut last) = (Staged::default(), known.last);
        let mut open = Open::new(&txn)?;
        let end = self.log.replay(known.staged.min(known.applied), |at, record| {
            last = last.max(at);
            match record.kind {
                CHANGE if at >= known.applied => {
                    let damaged = || SpaceError::Damaged(format!("a change in the log cannot be read: {at:?}"));
                    let change = Change::read(&record.payload).ok_or_else(damaged)?;
                    let entries = self.entries(&change)?;
                    open.apply(&change, entries)
                }
                _ => self.replay_staged(&mut staged, at, record.kind, &record.payload),
            }
        })?;
        if end != known.applied {
            open.note(end, last, staged.first().unwrap_or(end))?;
        }
        drop(open);
        match end == known.applied {
            true => txn.abort().map_err(fail)?,
            false => txn.commit().map_err(fail)?,
        }
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = staged;
        Ok((end, last))
    }

    fn replay_staged(&self, staged: &mut Staged, at: Pos, kind: u8, payload: &[u8]) -> Result<(), SpaceError> {
        match kind {
            BLOCK => {
                let owner = block::Head::read(payload).map(|(head, _)| head.owner).filter(|owner| !owner.is_empty());
                let Some(owner) = owner else { return Ok(()) };
                let nodes = self.nodes_of(at, u32::MAX)?;
                staged.add(
                    owner,
                    nodes
                        .into_iter()
                        .map(|(key, place, node)| (key, StagedNode { addr: node.addr().clone(), place, node: None })),
                );
            }
            UNSTAGE => staged.forget(std::str::from_utf8(payload).unwrap_or_default()),
            _ => {}
        }
        Ok(())
    }

    /// Those nodes of a block that can be read.
    fn nodes_of(&self, at: Pos, bits: u32) -> Result<Vec<(Key, Place, Verified<IbGib>)>, SpaceError> {
        let block = match self.block(at) {
            Ok(block) => block,
            Err(Unread::Damaged(why)) => {
                tracing::error!(?at, why, "nodes in the log are lost");
                return Ok(Vec::new());
            }
            Err(Unread::Failed(error)) => return Err(error),
        };
        let mut out = Vec::new();
        for (nth, key) in (0..).zip(block.keys()).filter(|(nth, _)| bits & 1 << nth != 0) {
            let place = Place { block: at, nth };
            match self.node(key, place) {
                Ok(node) => out.push((*key, place, node)),
                Err(Unread::Damaged(why)) => {
                    tracing::error!(key = hex::encode_upper(key), why, "a node in the log is damaged")
                }
                Err(Unread::Failed(error)) => return Err(error),
            }
        }
        Ok(out)
    }

    fn entries(&self, change: &Change) -> Result<Vec<Entry>, SpaceError> {
        let mut entries = Vec::new();
        for (at, bits) in &change.nodes {
            let nodes = self.nodes_of(*at, *bits)?;
            entries.extend(nodes.into_iter().map(|(key, place, node)| Entry {
                key,
                place,
                name: index::name(node.addr()),
            }));
        }
        Ok(entries)
    }

    // -- writing -------------------------------------------------------------------------------------------------

    pub(super) fn queue(&self, job: Job) {
        lock(&self.queue).push(job);
    }

    /// Writes every batch that waits, all of them with one wait for the disk.
    pub(super) fn write_queued(&self) -> Result<(), SpaceError> {
        let (index, mut writer) = self.to_write()?;
        let jobs = std::mem::take(&mut *lock(&self.queue));
        if jobs.is_empty() {
            return Ok(());
        }
        let (batches, waiting): (Vec<Batch>, Vec<_>) = jobs.into_iter().map(|job| (job.batch, job.done)).unzip();
        let unsure = Unsure(&self.failed);
        let written = self.write_all(index, &mut writer, &batches);
        if written.is_ok() {
            unsure.settle();
        }
        drop(writer);
        match written {
            Ok(written) => {
                // Whoever does not wait any more does not want to know.
                waiting.into_iter().zip(written).for_each(|(done, written)| drop(done.send(Ok(written))));
                Ok(())
            }
            Err(error) => {
                waiting.into_iter().for_each(|done| drop(done.send(Err(error.clone()))));
                Err(error)
            }
        }
    }

    fn write_all(&self, index: &Database, writer: &mut Writer, batches: &[Batch]) -> Result<Vec<Written>, SpaceError> {
        let mut txn = index.begin_write().map_err(fail)?;
        let mut open = Open::new(&txn)?;
        let (mut staged, mut out) = (self.staged(), Vec::new());
        for batch in batches {
            let publish = match open.all_hold(batch.conditions())? {
                true => open.publishable(batch, &staged)?,
                false => None,
            };
            let Some(mut entries) = publish else {
                out.push(Written::Unmet);
                continue;
            };
            let mut fresh = Vec::new();
            for node in batch.nodes() {
                let Some(key) = node.addr().key() else { continue };
                match open.place(&key)? {
                    Some(place) if self.is_whole(node, &key, place)? => {}
                    _ => fresh.push((key, node)),
                }
            }
            entries.extend(self.add_blocks(writer, &staged, "", &fresh)?.into_iter().map(|(entry, _)| entry));
            let revision = open.revision()? + 1;
            let change = Change::of(batch, revision, bits(&entries));
            self.append(writer, CHANGE, &change.write().ok_or(SpaceError::Closed)?)?;
            if let Some((owner, _)) = batch.publish() {
                let gone: HashSet<Key> = entries.iter().map(|entry| entry.key).collect();
                staged.retain(owner, |key| !gone.contains(key));
            }
            open.apply(&change, entries)?;
            writer.writes += 1;
            out.push(Written::Done(revision));
        }
        self.log.sync(&mut writer.tail)?;
        let behind = writer.tail.end.number().wrapping_sub(writer.noted.number());
        let noted = behind > BEHIND_BYTES || writer.writes > BEHIND_WRITES;
        if noted {
            open.note(writer.tail.end, writer.last, staged.first().unwrap_or(writer.tail.end))?;
        }
        drop(open);
        txn.set_durability(if noted { Durability::Immediate } else { Durability::None }).map_err(fail)?;
        txn.commit().map_err(fail)?;
        if noted {
            (writer.noted, writer.writes) = (writer.tail.end, 0);
        }
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = staged;
        Ok(out)
    }

    fn append(&self, writer: &mut Writer, kind: u8, payload: &[u8]) -> Result<Pos, SpaceError> {
        let at = self.log.append(&mut writer.tail, kind, payload)?;
        writer.last = at;
        Ok(at)
    }

    /// Writes nodes into the log; answers where each stands, with the length of its text.
    fn add_blocks(
        &self,
        writer: &mut Writer,
        staged: &Staged,
        owner: &str,
        nodes: &[(Key, &Verified<IbGib>)],
    ) -> Result<Vec<(Entry, usize)>, SpaceError> {
        let mut out: Vec<(Entry, usize)> = Vec::with_capacity(nodes.len());
        let mut rest = nodes;
        let mut placed: HashMap<Key, Place> = HashMap::new();
        let mut texts: Vec<String> = Vec::new();
        while !rest.is_empty() {
            let ahead = rest.len().min(block::NODES_MAX);
            texts.extend(rest[texts.len()..ahead].iter().map(|(_, node)| node.to_json()));
            let count = block::fitting(texts.iter().map(String::len));
            let (now, later) = rest.split_at(count);
            let keyed: Vec<(Key, &str)> =
                now.iter().map(|(key, _)| *key).zip(texts.iter().map(String::as_str)).collect();
            let base = match count < block::NODES_MAX {
                true => self.base_of(now, &placed, staged, owner)?,
                false => None,
            };
            let base = base.as_ref().map(|(at, block)| (*at, &**block));
            let made = Block::write(owner, &keyed, base);
            let (payload, made) = made.ok_or_else(|| SpaceError::Io("a block cannot be compressed".into()))?;
            let at = self.append(writer, BLOCK, &payload)?;
            for (nth, ((key, node), text)) in (0..).zip(now.iter().zip(&texts)) {
                let place = Place { block: at, nth };
                placed.insert(*key, place);
                out.push((Entry { key: *key, place, name: index::name(node.addr()) }, text.len()));
            }
            lock(&self.blocks).put(at, Arc::new(made));
            texts.drain(..count);
            rest = later;
        }
        Ok(out)
    }

    /// The block of the frame before the first of these that has one.
    fn base_of(
        &self,
        nodes: &[(Key, &Verified<IbGib>)],
        placed: &HashMap<Key, Place>,
        staged: &Staged,
        owner: &str,
    ) -> Result<Option<(Pos, Arc<Block>)>, SpaceError> {
        let inside: HashSet<&Key> = nodes.iter().map(|(key, _)| key).collect();
        let mut pasts = nodes.iter().filter_map(|(_, node)| node.past()?.key()).filter(|key| !inside.contains(key));
        let Some(past) = pasts.next() else { return Ok(None) };
        let place = match (placed.get(&past), staged.get(owner, &past)) {
            (Some(place), _) => Some(*place),
            (None, Some(staged)) => Some(staged.place),
            (None, None) => {
                let nodes = self.begin_read()?.open_table(index::NODES).map_err(fail)?;
                nodes.get(past).map_err(fail)?.map(|stored| Place::of(stored.value().0))
            }
        };
        // What cannot be read cannot be built on.
        Ok(place.and_then(|place| Some((place.block, self.block(place.block).ok()?))))
    }

    /// Keeps nodes apart for an owner.
    pub(super) fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
        let (index, mut writer) = self.to_write()?;
        let mut staged = self.staged();
        let (mut fresh, mut replace) = (Vec::new(), Vec::new());
        {
            let committed = self.begin_read()?.open_table(index::NODES).map_err(fail)?;
            let mut seen = HashSet::new();
            for node in nodes {
                let Some(key) = node.addr().key().filter(|key| seen.insert(*key)) else { continue };
                let place = committed.get(key).map_err(fail)?.map(|stored| Place::of(stored.value().0));
                match (place, staged.get(owner, &key)) {
                    (Some(place), _) if self.is_whole(node, &key, place)? => {}
                    (Some(_), _) => replace.push((key, node)),
                    (None, Some(staged)) if self.is_whole(node, &key, staged.place)? => {}
                    (None, Some(_)) => {
                        staged.retain(owner, |other| *other != key);
                        fresh.push((key, node));
                    }
                    (None, None) => fresh.push((key, node)),
                }
            }
        }
        let placed = self.add_blocks(&mut writer, &staged, owner, &fresh)?;
        let kept = placed.into_iter().zip(&fresh).map(|((entry, len), (key, node))| {
            let (addr, node) = (node.addr().clone(), Some(((*node).clone(), len)));
            (*key, StagedNode { addr, place: entry.place, node })
        });
        staged.add(owner, kept);
        if !replace.is_empty() {
            let entries: Vec<Entry> =
                self.add_blocks(&mut writer, &staged, "", &replace)?.into_iter().map(|(entry, _)| entry).collect();
            let change = Change { nodes: bits(&entries), ..Change::default() };
            self.append(&mut writer, CHANGE, &change.write().ok_or(SpaceError::Closed)?)?;
            let mut txn = index.begin_write().map_err(fail)?;
            Open::new(&txn)?.apply(&change, entries)?;
            txn.set_durability(Durability::None).map_err(fail)?;
            txn.commit().map_err(fail)?;
            writer.writes += 1;
        }
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = staged;
        Ok(())
    }

    /// Forgets what is staged for an owner.
    pub(super) fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        let (_, mut writer) = self.to_write()?;
        let mut staged = self.staged();
        if staged.of(owner).next().is_none() {
            return Ok(());
        }
        self.append(&mut writer, UNSTAGE, owner.as_bytes())?;
        staged.forget(owner);
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = staged;
        Ok(())
    }

    /// Brings the index to the disk, so that nothing is left to do when the store is opened.
    fn close(&self) -> Result<(), SpaceError> {
        let Ok((index, mut writer)) = self.to_write() else { return Ok(()) };
        self.log.sync(&mut writer.tail)?;
        if writer.noted != writer.tail.end || writer.writes > 0 {
            let mut txn = index.begin_write().map_err(fail)?;
            let end = writer.tail.end;
            Open::new(&txn)?.note(end, writer.last, self.staged().first().unwrap_or(end))?;
            txn.set_durability(Durability::Immediate).map_err(fail)?;
            txn.commit().map_err(fail)?;
        }
        self.log.trim(&mut writer.tail)
    }
}

impl Drop for Core {
    /// On a damaged index the engine may panic here: that must not take the process with it.
    fn drop(&mut self) {
        let closed = catch_unwind(AssertUnwindSafe(|| {
            let closed = self.close();
            drop(self.index.take());
            closed
        }));
        if !matches!(closed, Ok(Ok(()))) {
            tracing::error!("the store's index could not be closed; it is read from the log again");
        }
    }
}

/// Blocks, and which of their nodes.
fn bits(entries: &[Entry]) -> Vec<(Pos, u32)> {
    let mut blocks: BTreeMap<Pos, u32> = BTreeMap::new();
    for Entry { place, .. } in entries {
        *blocks.entry(place.block).or_default() |= 1 << place.nth;
    }
    blocks.into_iter().collect()
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(INDEX_BYTES);
    builder
}

fn open_index(path: &Path) -> Result<(Database, index::Known), SpaceError> {
    let index = builder().open(path).map_err(|e| open_error(path, e))?;
    let txn = index.begin_read().map_err(fail)?;
    let known = index::known(&txn.open_table(index::META).map_err(fail)?)?;
    drop(txn);
    Ok((index, known))
}

/// An index that knows nothing, in the place of whatever is there.
fn make_index(path: &Path) -> Result<(Database, index::Known), SpaceError> {
    let failed = |e: io::Error| io_error(path, &e);
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let mut options = fs::File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.write(true).create_new(true).open(path).map_err(failed)?);
    let index = builder().create(path).map_err(|e| open_error(path, e))?;
    let txn = index.begin_write().map_err(fail)?;
    index::lay_out(&txn)?;
    txn.commit().map_err(fail)?;
    let known = index::Known { revision: 0, applied: Pos::START, last: Pos::START, staged: Pos::START };
    Ok((index, known))
}

fn open_error(path: &Path, error: redb::DatabaseError) -> SpaceError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => SpaceError::Locked(path.display().to_string()),
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) => match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                SpaceError::Damaged(format!("{}: {e}", path.display()))
            }
            _ => io_error(path, &e),
        },
        error => SpaceError::Damaged(format!("{}: {error}", path.display())),
    }
}
