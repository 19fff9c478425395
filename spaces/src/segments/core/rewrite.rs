//! Writing the log anew without what was forgotten, while others read and write.
//!
//! First everything that is kept goes into a log beside this one. What is written meanwhile is taken over afterwards, when
//! nobody may write; that is little, so that it takes a moment. Then the new log takes the old one's place, in one step of
//! the file system. Whoever stops anywhere leaves the old log or the new one, each of them whole; the index is made anew
//! where it is missing.

use super::{Core, Writer, lock, private_dir};
use crate::error::SpaceError;
use crate::redb::fail;
use crate::segments::SegmentSpace;
use crate::segments::block::{self, Block, Key};
use crate::segments::index::{self, Entry, META, MOVES, NODES, RECORDS, TIPS};
use crate::segments::log::{BLOCK, Log, Pos, Record, io_error};
use crate::segments::record::{CHANGE, Change, UNSTAGE};
use crate::segments::staged::{Place, Staged, StagedNode};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Where the new log is written until it is whole.
pub(in crate::segments) const FRESH: &str = ".log.new";
/// Nodes that the new index learns at once.
const ENTRIES: usize = 4096;
/// Changes that it learns at once.
const CHANGES: usize = 1024;
/// How often what came meanwhile is taken over while others write, and the bytes of the log that may be left.
const ROUNDS_MAX: usize = 8;
const LEFT_BYTES: u64 = 1024 * 1024;

/// The old store at one moment: what is committed and staged then, and how far the log goes.
struct Moment {
    txn: ReadTransaction,
    staged: Staged,
    end: Pos,
}

/// A log that is being written in the place of another.
pub(in crate::segments) struct Rewrite<'a> {
    old: &'a Core,
    /// Whether the old store still is what is open: after a failure others wait until nobody uses it.
    is_open: &'a dyn Fn() -> bool,
    new: Core,
    /// How far the old log has been read.
    read: Pos,
    /// Where each block of the old log stands in the new one, and which of its nodes. For one without any that are kept, where
    /// the block stands that is its dictionary.
    blocks: HashMap<Pos, (Pos, u32)>,
    staged: Staged,
    entries: Vec<Entry>,
}

impl Core {
    /// How many nodes are forgotten and still in the log, how many are kept, and how many bytes the log had when it was last
    /// written anew.
    pub(in crate::segments) fn forgotten(&self) -> Result<(u64, u64, u64), SpaceError> {
        let meta = self.begin_read()?.open_table(META).map_err(fail)?;
        Ok((index::forgotten(&meta)?, index::head(&meta)?.nodes, index::rewritten(&meta)?))
    }

    /// Notes how many bytes the log has, which was just written anew.
    fn note_rewritten(&self) -> Result<(), SpaceError> {
        let bytes = self.log_bytes()?;
        let (index, _writer) = self.to_write()?;
        let txn = index.begin_write().map_err(fail)?;
        txn.open_table(META).map_err(fail)?.insert("rewritten", bytes).map_err(fail)?;
        txn.commit().map_err(fail)
    }

    fn moment(&self) -> Result<Moment, SpaceError> {
        // Nobody writes meanwhile.
        let (index, writer) = self.to_write()?;
        Ok(Moment { txn: index.begin_read().map_err(fail)?, staged: self.staged(), end: writer.tail.end })
    }
}

impl<'a> Rewrite<'a> {
    /// Writes all that `old` keeps at this moment into a new log in `dir`'s [`FRESH`].
    pub(in crate::segments) fn begin(
        old: &'a Core,
        is_open: &'a dyn Fn() -> bool,
        dir: &Path,
    ) -> Result<Self, SpaceError> {
        let fresh = dir.join(FRESH);
        remove(&fresh)?;
        try_exchange(&fresh)?;
        let log = fresh.join(SegmentSpace::LOG);
        private_dir(&log).map_err(|e| io_error(&fresh, &e))?;
        drop(Log::create(&log, *old.id())?);
        let new = Core::open_on_disk(&fresh, Log::open(&log, true)?)?;
        let moment = old.moment()?;
        let blocks = HashMap::new();
        let mut rewrite =
            Self { old, is_open, new, read: moment.end, blocks, staged: Staged::default(), entries: Vec::new() };
        rewrite.kept_nodes(&moment)?;
        rewrite.state(&moment.txn)?;
        rewrite.check(&moment.txn)?;
        drop(moment);
        // What came meanwhile, until little is left for when nobody may write.
        for _ in 0..ROUNDS_MAX {
            if rewrite.catch_up()? < LEFT_BYTES {
                break;
            }
        }
        Ok(rewrite)
    }

    fn check_open(&self) -> Result<(), SpaceError> {
        match self.old.has_failed() || !(self.is_open)() {
            true => Err(SpaceError::Io("the store failed meanwhile".into())),
            false => Ok(()),
        }
    }

    /// Copies the nodes that are committed or staged.
    fn kept_nodes(&mut self, moment: &Moment) -> Result<(), SpaceError> {
        let nodes = moment.txn.open_table(NODES).map_err(fail)?;
        let old = self.old;
        old.log.look_back(Pos::START, moment.end, |at, record| {
            self.check_open()?;
            if record.kind != BLOCK {
                return Ok(());
            }
            self.block(at, record, |key, owner, place| {
                if let Some(stored) = nodes.get(key).map_err(fail)? {
                    let (number, name) = stored.value();
                    return Ok((number == place.number()).then_some(Kept::Committed(name)));
                }
                let staged = moment.staged.get(owner, key).filter(|staged| staged.place == place);
                Ok(staged.map(|staged| Kept::Staged(Box::new(staged.clone()))))
            })
        })?;
        self.flush(Vec::new())
    }

    /// Copies what a block has of nodes that `keep` keeps.
    fn block(
        &mut self,
        at: Pos,
        record: &Record,
        keep: impl Fn(&Key, &str, Place) -> Result<Option<Kept>, SpaceError>,
    ) -> Result<(), SpaceError> {
        let Some((head, _)) = block::Head::read(&record.payload) else { return Ok(()) };
        let base = head.base.and_then(|base| self.blocks.get(&base).copied()).map(|(base, _)| base);
        // What cannot be read is missed at the end.
        let Ok(read) = self.old.block(at) else { return Ok(()) };
        let (mut bits, mut texts, mut kept) = (0, Vec::new(), Vec::new());
        for (nth, key) in (0..).zip(read.keys()) {
            let Some(this) = keep(key, head.owner, Place { block: at, nth })? else { continue };
            let Some(text) = read.text(usize::from(nth)) else { continue };
            bits |= 1 << nth;
            texts.push((*key, text));
            kept.push(this);
        }
        if texts.is_empty() {
            self.blocks.extend(base.map(|base| (at, (base, 0))));
            return Ok(());
        }
        let owner = if kept.iter().any(|kept| matches!(kept, Kept::Staged(_))) { head.owner } else { "" };
        let base = base.and_then(|at| Some((at, self.new.block(at).ok()?)));
        let keyed: Vec<(Key, &str)> = texts.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let mut writer = self.writer()?;
        let made = Block::write(&mut writer.packer, owner, &keyed, base.as_ref().map(|(at, block)| (*at, &**block)));
        let (payload, made) = made.ok_or_else(|| SpaceError::Io("a block cannot be compressed".into()))?;
        let new = self.new.append(&mut writer, BLOCK, &payload)?;
        drop(writer);
        lock(&self.new.blocks).put(new, made.into());
        self.blocks.insert(at, (new, bits));
        for (nth, ((key, _), kept)) in (0..).zip(texts.into_iter().zip(kept)) {
            let place = Place { block: new, nth };
            match kept {
                Kept::Committed(name) => self.entries.push(Entry { key, place, name }),
                Kept::Waiting => {}
                Kept::Staged(staged) => self.staged.add(owner, [(key, StagedNode { place, ..*staged })]),
            }
        }
        if self.entries.len() >= ENTRIES { self.flush(Vec::new()) } else { Ok(()) }
    }

    fn writer(&self) -> Result<std::sync::MutexGuard<'_, Writer>, SpaceError> {
        self.new.to_write().map(|(_, writer)| writer)
    }

    /// Lets log and index know of the nodes that were copied, and then of changes.
    fn flush(&mut self, changes: Vec<Change>) -> Result<(), SpaceError> {
        let entries = std::mem::take(&mut self.entries);
        let (index, mut writer) = self.new.to_write()?;
        self.new.indexed(index, &mut writer, &mut self.staged, |open, writer, _| {
            if !entries.is_empty() {
                self.new.apply(open, writer, Change::default(), entries)?;
            }
            changes.into_iter().try_for_each(|change| self.new.apply(open, writer, change, Vec::new()))
        })
    }

    /// Writes tips, each with the revision of its last move, and records.
    fn state(&mut self, txn: &ReadTransaction) -> Result<(), SpaceError> {
        let revision = index::head(&txn.open_table(META).map_err(fail)?)?.revision;
        let tips = txn.open_table(TIPS).map_err(fail)?;
        let of = |revision| Change { revision: Some(revision), ..Change::default() };
        let (mut changes, mut change) = (Vec::new(), of(0));
        for entry in txn.open_table(MOVES).map_err(fail)?.iter().map_err(fail)? {
            let (moved_at, key) = entry.map_err(fail)?.0.value();
            if change.revision != Some(moved_at) {
                changes.extend(std::mem::replace(&mut change, of(moved_at)).parts());
            }
            if changes.len() >= CHANGES {
                self.check_open()?;
                self.flush(std::mem::take(&mut changes))?;
            }
            let row = tips.get(key).map_err(fail)?;
            change.tips.extend(row.map(|row| index::tip_of(row.value())).transpose()?);
        }
        changes.extend(std::mem::replace(&mut change, of(revision)).parts());
        for entry in txn.open_table(RECORDS).map_err(fail)?.iter().map_err(fail)? {
            let (key, value) = entry.map_err(fail)?;
            change.records.push((key.value().to_owned(), Some(value.value().to_vec())));
        }
        changes.extend(change.parts());
        self.flush(changes)
    }

    /// Whether all is there that the old store has: what of it is damaged was not copied.
    fn check(&self, old: &ReadTransaction) -> Result<(), SpaceError> {
        let old = index::head(&old.open_table(META).map_err(fail)?)?;
        let new = index::head(&self.new.begin_read()?.open_table(META).map_err(fail)?)?;
        match old == new {
            true => Ok(()),
            false => Err(SpaceError::Damaged(format!(
                "of {} nodes at revision {} only {} can be read (revision {}); check the space and repair it first",
                old.nodes, old.revision, new.nodes, new.revision
            ))),
        }
    }

    /// Takes over what was written since; answers how many bytes of the log that was.
    fn catch_up(&mut self) -> Result<u64, SpaceError> {
        self.check_open()?;
        let moment = self.old.moment()?;
        let old = self.old;
        let from = std::mem::replace(&mut self.read, moment.end);
        old.log.look_back(from, moment.end, |at, record| match record.kind {
            BLOCK => {
                // Whatever becomes of it is told behind it.
                let addrs = old.addresses_of(at, u32::MAX)?;
                self.block(at, record, |_, owner, place| {
                    let found = addrs.iter().find(|(_, found, _)| *found == place);
                    Ok(found.map(|(_, place, addr)| match owner {
                        "" => Kept::Waiting,
                        _ => Kept::Staged(Box::new(StagedNode { addr: addr.clone(), place: *place, node: None })),
                    }))
                })
            }
            UNSTAGE => {
                let owner = std::str::from_utf8(&record.payload).unwrap_or_default();
                let mut writer = self.new.to_write()?.1;
                self.new.forget(&mut writer, &mut self.staged, owner)
            }
            CHANGE => {
                let damaged = || SpaceError::Damaged(format!("a change in the log cannot be read: {at:?}"));
                let change = Change::read(&record.payload).ok_or_else(damaged)?;
                for (key, place, addr) in old.entries_of(&change)? {
                    let (block, bits) = self.blocks.get(&place.block).copied().ok_or_else(damaged)?;
                    if bits & 1 << place.nth == 0 {
                        return Err(damaged());
                    }
                    let nth = (bits & ((1 << place.nth) - 1)).count_ones() as u8;
                    self.entries.push(Entry { key, place: Place { block, nth }, name: index::name(&addr) });
                }
                let entries = std::mem::take(&mut self.entries);
                let (index, mut writer) = self.new.to_write()?;
                self.new.indexed(index, &mut writer, &mut self.staged, |open, writer, _| {
                    self.new.apply(open, writer, change, entries)
                })
            }
            _ => Ok(()),
        })?;
        self.check(&moment.txn)?;
        Ok(moment.end.number().saturating_sub(from.number()))
    }

    /// Takes over what was written since, and lets the new log take the old one's place in `dir`. Nobody writes the old store
    /// from now on. Answers the new one.
    pub(in crate::segments) fn finish(mut self, dir: &Path) -> Result<Core, SpaceError> {
        self.catch_up()?;
        let mut new = self.new;
        *new.staged.write().unwrap_or_else(PoisonError::into_inner) = self.staged;
        new.close()?;
        new.note_rewritten()?;
        let (fresh, failed) = (dir.join(FRESH), |e: io::Error| io_error(dir, &e));
        let sync = |dir: &Path| fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed);
        sync(&fresh)?;
        let (log, index) = (dir.join(SegmentSpace::LOG), dir.join(SegmentSpace::INDEX));
        // An index follows from its own log only; without one it is made anew.
        match fs::remove_file(&index) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => sync(dir)?,
        }
        renameat_with(CWD, fresh.join(SegmentSpace::LOG), CWD, &log, RenameFlags::EXCHANGE)
            .map_err(|e| failed(e.into()))?;
        new.log.moved_to(log);
        // From here on the new one is the store, whatever else goes wrong. If the exchange does not get to the disk, nothing
        // may be told as durable that is written behind it.
        if let Err(error) = sync(dir) {
            tracing::error!(%error, "the log was written anew, and that may not be durable; it is opened again");
            new.failed.store(true, Ordering::Relaxed);
        }
        let named = fs::rename(fresh.join(SegmentSpace::INDEX), &index).map_err(failed).and_then(|()| sync(dir));
        if let Err(error) = named.and_then(|()| remove(&fresh)) {
            tracing::warn!(%error, "the log was written anew; what is left of the old one could not be taken away");
        }
        Ok(new)
    }
}

/// Why a node is copied.
enum Kept {
    /// It is committed; the first bytes of its address's own hash.
    Committed(u64),
    /// It is staged for the block's owner.
    Staged(Box<StagedNode>),
    /// A change behind it says.
    Waiting,
}

/// Whether the file system can let one folder take another's place.
fn try_exchange(fresh: &Path) -> Result<(), SpaceError> {
    let tried = ["one", "other"].map(|name| fresh.join(name));
    for dir in &tried {
        private_dir(dir).map_err(|e| io_error(dir, &e))?;
    }
    renameat_with(CWD, &tried[0], CWD, &tried[1], RenameFlags::EXCHANGE).map_err(|e| io_error(fresh, &e.into()))?;
    for dir in &tried {
        fs::remove_dir(dir).map_err(|e| io_error(dir, &e))?;
    }
    Ok(())
}

/// Takes away what is left of an earlier try.
pub(in crate::segments) fn remove(fresh: &Path) -> Result<(), SpaceError> {
    match fs::remove_dir_all(fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(fresh, &e)),
        _ => Ok(()),
    }
}
