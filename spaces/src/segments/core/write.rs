//! Writing: batches into the log and then into the index, staged nodes into the log only.

use super::{Core, Writer, lock};
use crate::error::SpaceError;
use crate::redb::fail;
use crate::segments::block::{self, Block, Key};
use crate::segments::index::{self, Entry, Open};
use crate::segments::log::{BLOCK, Pos};
use crate::segments::record::{CHANGE, Change, UNSTAGE};
use crate::segments::staged::{Place, Staged, StagedNode};
use crate::store::{Batch, Written};
use ibgib::{IbGib, Verified};
use redb::{Database, Durability};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

/// After so many bytes of log, or so many writes, the index is brought to the disk: what it lacks is read again when the
/// store is opened after a crash.
const BEHIND_BYTES: u64 = 8 * 1024 * 1024;
const BEHIND_WRITES: u32 = 512;
/// So many nodes after a dna its frame is looked for.
const AHEAD: usize = 2;

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

impl Core {
    /// Writes batches, all of them with one wait for the disk.
    pub(in crate::segments) fn write(&self, batches: &[Batch]) -> Result<Vec<Written>, SpaceError> {
        let (index, mut writer) = self.to_write()?;
        let unsure = Unsure(&self.failed);
        let mut staged = self.staged();
        let out = self.indexed(index, &mut writer, &mut staged, |open, writer, staged| {
            let mut out = Vec::new();
            for batch in batches {
                out.push(self.write_one(open, writer, staged, batch)?);
            }
            self.log.sync(&mut writer.tail)?;
            Ok(out)
        })?;
        self.restage(staged);
        unsure.settle();
        Ok(out)
    }

    fn write_one(
        &self,
        open: &mut Open<'_>,
        writer: &mut Writer,
        staged: &mut Staged,
        batch: &Batch,
    ) -> Result<Written, SpaceError> {
        let publish = match open.all_hold(batch.conditions())? {
            true => open.publishable(batch, staged)?,
            false => None,
        };
        let Some(mut entries) = publish else { return Ok(Written::Unmet) };
        let mut fresh = Vec::new();
        for node in batch.nodes() {
            let Some(key) = node.addr().key() else { continue };
            match open.place(&key)? {
                Some(place) if self.is_whole(node, &key, place)? => {}
                _ => fresh.push((key, node)),
            }
        }
        entries.extend(self.add_blocks(writer, staged, "", &fresh)?);
        if let Some((owner, _)) = batch.publish() {
            let gone: HashSet<Key> = entries.iter().map(|entry| entry.key).collect();
            staged.retain(owner, |key| !gone.contains(key));
        }
        if let Some(owner) = batch.unstage() {
            // Before the change: a log that was cut between the two has lost what was staged, which it may, and keeps the
            // record of it.
            self.forget(writer, staged, owner)?;
        }
        let revision = open.revision()? + 1;
        self.apply(open, writer, Change::of(batch, revision), entries)?;
        Ok(Written::Done(revision))
    }

    /// Does work on the index's tables and commits it. Where the index on the disk is far behind the log, this brings both
    /// there.
    pub(super) fn indexed<T>(
        &self,
        index: &Database,
        writer: &mut Writer,
        staged: &mut Staged,
        work: impl FnOnce(&mut Open<'_>, &mut Writer, &mut Staged) -> Result<T, SpaceError>,
    ) -> Result<T, SpaceError> {
        let mut txn = index.begin_write().map_err(fail)?;
        let mut open = Open::new(&txn)?;
        let done = work(&mut open, writer, staged)?;
        let behind = writer.tail.end.number().wrapping_sub(writer.noted.number());
        let durability = match behind > BEHIND_BYTES || writer.writes > BEHIND_WRITES {
            true => self.note(&mut open, writer, staged)?,
            false => Durability::None,
        };
        drop(open);
        txn.set_durability(durability).map_err(fail)?;
        txn.commit().map_err(fail)?;
        Ok(done)
    }

    /// Notes in the index that it has all of the log, which comes onto the disk before it.
    fn note(&self, open: &mut Open<'_>, writer: &mut Writer, staged: &Staged) -> Result<Durability, SpaceError> {
        self.log.sync(&mut writer.tail)?;
        let end = writer.tail.end;
        open.note(end, writer.last, staged.first().unwrap_or(end))?;
        (writer.noted, writer.writes) = (end, 0);
        Ok(Durability::Immediate)
    }

    /// Adds a change that commits these nodes to the log and applies it to the index.
    pub(super) fn apply(
        &self,
        open: &mut Open<'_>,
        writer: &mut Writer,
        change: Change,
        entries: Vec<Entry>,
    ) -> Result<(), SpaceError> {
        let change = Change { nodes: bits(&entries), ..change };
        self.append(writer, CHANGE, &change.write().ok_or(SpaceError::Closed)?)?;
        open.apply(&change, entries)?;
        writer.writes += 1;
        Ok(())
    }

    fn restage(&self, staged: Staged) {
        *self.staged.write().unwrap_or_else(PoisonError::into_inner) = staged;
    }

    /// Takes nodes and what else changes over from another store as they are: nobody has this one yet.
    pub(in crate::segments) fn take(&self, nodes: &[Verified<IbGib>], change: Change) -> Result<(), SpaceError> {
        let (index, mut writer) = self.to_write()?;
        let keyed: Vec<_> = nodes.iter().filter_map(|node| Some((node.addr().key()?, node))).collect();
        self.indexed(index, &mut writer, &mut self.staged(), |open, writer, staged| {
            let entries = self.add_blocks(writer, staged, "", &keyed)?;
            self.apply(open, writer, change, entries)
        })
    }

    pub(super) fn append(&self, writer: &mut Writer, kind: u8, payload: &[u8]) -> Result<Pos, SpaceError> {
        let at = self.log.append(&mut writer.tail, kind, payload)?;
        writer.last = at;
        Ok(at)
    }

    /// Writes nodes into the log; answers where each stands.
    fn add_blocks(
        &self,
        writer: &mut Writer,
        staged: &Staged,
        owner: &str,
        nodes: &[(Key, &Verified<IbGib>)],
    ) -> Result<Vec<Entry>, SpaceError> {
        let mut out = Vec::with_capacity(nodes.len());
        let mut rest = nodes;
        let mut placed: HashMap<Key, Place> = HashMap::new();
        let mut texts: Vec<Cow<'_, str>> = Vec::new();
        while !rest.is_empty() {
            let more = rest[texts.len()..].iter().map(|(_, node)| node.json());
            let count = block::fill(&mut texts, more);
            let (now, later) = rest.split_at(count);
            let keyed: Vec<(Key, &str)> =
                now.iter().map(|(key, _)| *key).zip(texts.iter().map(|text| &**text)).collect();
            let base = match count < block::NODES_MAX {
                true => self.base_of(now, later, &placed, staged, (owner, writer.latest))?,
                false => None,
            };
            let base = base.as_ref().map(|(at, block)| (*at, &**block));
            let made = Block::write(&mut writer.packer, owner, &keyed, base);
            let (payload, made) = made.ok_or_else(|| SpaceError::Io("a block cannot be compressed".into()))?;
            let at = self.append(writer, BLOCK, &payload)?;
            writer.latest = Some(at);
            for (nth, (key, node)) in (0..).zip(now) {
                let place = Place { block: at, nth };
                placed.insert(*key, place);
                out.push(Entry { key: *key, place, name: index::name(node.addr()) });
            }
            lock(&self.blocks).put(at, Arc::new(made));
            texts.drain(..count);
            rest = later;
        }
        Ok(out)
    }

    /// What nodes are compressed beside: the block of the frame before the first of these that has one. A long text says
    /// nearly the same as the one before it, and so does the dna that makes a frame of it, which has nothing before it: that
    /// is compressed beside what the frame after it follows, or else beside what was written last. Where no more nodes can be
    /// read with that block, the one that it is built on in the end takes its place.
    fn base_of(
        &self,
        nodes: &[(Key, &Verified<IbGib>)],
        later: &[(Key, &Verified<IbGib>)],
        placed: &HashMap<Key, Place>,
        staged: &Staged,
        (owner, latest): (&str, Option<Pos>),
    ) -> Result<Option<(Pos, Arc<Block>)>, SpaceError> {
        let is_long = nodes.iter().map(|(_, node)| node.json().len()).sum::<usize>() >= block::LONG_BYTES;
        let inside: HashSet<&Key> = nodes.iter().map(|(key, _)| key).collect();
        let ahead = if is_long { later } else { &[] };
        let mut pasts = nodes.iter().chain(ahead.iter().take(AHEAD)).filter_map(|(_, node)| node.past()?.key());
        let mut before = None;
        if let Some(past) = pasts.find(|key| !inside.contains(key)) {
            before = match (placed.get(&past), staged.get(owner, &past)) {
                (Some(place), _) => Some(*place),
                (None, Some(staged)) => Some(staged.place),
                (None, None) => {
                    let nodes = self.begin_read()?.open_table(index::NODES).map_err(fail)?;
                    nodes.get(past).map_err(fail)?.map(|stored| Place::of(stored.value().0))
                }
            };
        }
        // What cannot be read cannot be built on.
        let read = |at: Pos| Some((at, self.block(at).ok()?));
        let before = before.and_then(|place| read(place.block));
        if !is_long {
            return Ok(before);
        }
        let mut full = None;
        for (at, block) in before.iter().cloned().chain(latest.and_then(read)).filter(|(_, block)| block.is_long()) {
            if block.has_room(nodes.len()) {
                return Ok(Some((at, block)));
            }
            full = full.or(Some((at, block)));
        }
        while let Some((at, block)) = full {
            match block.base.and_then(read).filter(|(_, base)| base.is_long()) {
                Some(base) => full = Some(base),
                None => return Ok(Some((at, block))),
            }
        }
        Ok(before)
    }

    /// Keeps nodes apart for an owner.
    pub(in crate::segments) fn stage(&self, owner: &str, nodes: &[Verified<IbGib>]) -> Result<(), SpaceError> {
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
        let kept = placed.into_iter().zip(&fresh).map(|(entry, (key, node))| {
            let (addr, node) = (node.addr().clone(), Some(((*node).clone(), node.weight_unread())));
            (*key, StagedNode { addr, place: entry.place, node })
        });
        staged.add(owner, kept);
        if !replace.is_empty() {
            self.indexed(index, &mut writer, &mut staged, |open, writer, staged| {
                let entries = self.add_blocks(writer, staged, "", &replace)?;
                self.apply(open, writer, Change::default(), entries)
            })?;
        }
        self.restage(staged);
        Ok(())
    }

    /// Forgets what is staged for an owner.
    pub(in crate::segments) fn unstage(&self, owner: &str) -> Result<(), SpaceError> {
        let (_, mut writer) = self.to_write()?;
        let mut staged = self.staged();
        self.forget(&mut writer, &mut staged, owner)?;
        self.restage(staged);
        Ok(())
    }

    pub(super) fn forget(&self, writer: &mut Writer, staged: &mut Staged, owner: &str) -> Result<(), SpaceError> {
        if staged.of(owner).next().is_some() {
            self.append(writer, UNSTAGE, owner.as_bytes())?;
            staged.forget(owner);
        }
        Ok(())
    }

    /// Brings the index to the disk, so that nothing is left to do when the store is opened.
    pub(in crate::segments) fn close(&self) -> Result<(), SpaceError> {
        let (index, mut writer) = self.to_write()?;
        self.log.sync(&mut writer.tail)?;
        if writer.noted != writer.tail.end || writer.writes > 0 {
            let mut txn = index.begin_write().map_err(fail)?;
            let mut open = Open::new(&txn)?;
            let durability = self.note(&mut open, &mut writer, &self.staged())?;
            drop(open);
            txn.set_durability(durability).map_err(fail)?;
            txn.commit().map_err(fail)?;
        }
        self.log.trim(&mut writer.tail)
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
