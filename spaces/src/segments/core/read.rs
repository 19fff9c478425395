//! Reading nodes from the log.

use super::{Core, lock};
use crate::error::SpaceError;
use crate::segments::block::{self, Block, Key};
use crate::segments::log::{BLOCK, Pos};
use crate::segments::staged::Place;
use ibgib::{Addr, IbGib, Mode, Verified};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of blocks that were read kept in memory.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Why a node cannot be read.
pub(in crate::segments) enum Unread {
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
    pub(in crate::segments) fn of(self, addr: &str) -> SpaceError {
        match self {
            Self::Damaged(why) => SpaceError::Corrupt { addr: addr.to_owned(), why },
            Self::Failed(error) => error,
        }
    }
}

/// Blocks that were read lately: those since the last change of guard, and those before.
#[derive(Default)]
pub(super) struct Blocks {
    now: HashMap<Pos, Arc<Block>>,
    before: HashMap<Pos, Arc<Block>>,
    bytes: usize,
}

impl Blocks {
    pub(super) fn get(&mut self, at: Pos) -> Option<Arc<Block>> {
        if let Some(block) = self.now.get(&at) {
            return Some(Arc::clone(block));
        }
        let block = self.before.remove(&at)?;
        self.put(at, Arc::clone(&block));
        Some(block)
    }

    pub(super) fn put(&mut self, at: Pos, block: Arc<Block>) {
        if self.bytes + block.bytes() > CACHE_BYTES / 2 {
            self.before = std::mem::take(&mut self.now);
            self.bytes = 0;
        }
        self.bytes += block.bytes();
        self.now.insert(at, block);
    }
}

impl Core {
    pub(super) fn block(&self, at: Pos) -> Result<Arc<Block>, Unread> {
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

    pub(super) fn text(&self, place: Place) -> Result<String, Unread> {
        let text = self.block(place.block)?.text(usize::from(place.nth));
        text.ok_or_else(|| Unread::Damaged("its text cannot be read".into()))
    }

    /// A node, re-hashed.
    pub(in crate::segments) fn node(&self, key: &Key, place: Place) -> Result<Verified<IbGib>, Unread> {
        let node = Verified::parse_string(self.text(place)?).map_err(|e| Unread::Damaged(e.to_string()))?;
        match node.addr().key() == Some(*key) {
            true => Ok(node),
            false => Err(Unread::Damaged(format!("what is stored there is {}", node.addr()))),
        }
    }

    /// The address of a node that is damaged, if that was spared, else the digits of its hash.
    pub(in crate::segments) fn name_of(&self, key: &Key, place: Place) -> String {
        let text = self.text(place).ok();
        let addr = text.and_then(|text| address(&text)).filter(|addr| addr.key() == Some(*key));
        addr.map_or_else(|| hex::encode_upper(key), |addr| addr.to_string())
    }

    /// Whether what is stored is the node.
    pub(super) fn is_whole(&self, node: &Verified<IbGib>, key: &Key, place: Place) -> Result<bool, SpaceError> {
        match self.text(place) {
            Ok(text) if text == *node.json() => Ok(true),
            // Maybe it is spelled otherwise.
            Ok(_) => Ok(self.node(key, place).is_ok()),
            Err(Unread::Damaged(_)) => Ok(false),
            Err(Unread::Failed(error)) => Err(error),
        }
    }

    /// Those nodes of a block that can be read, by their addresses. Nothing is hashed: the log tells what is damaged of it,
    /// and every node is hashed when it is read.
    pub(super) fn addresses_of(&self, at: Pos, bits: u32) -> Result<Vec<(Key, Place, Addr)>, SpaceError> {
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
            let text = block.text(usize::from(nth));
            match text.and_then(|text| address(&text)).filter(|addr| addr.key() == Some(*key)) {
                Some(addr) => out.push((*key, Place { block: at, nth }, addr)),
                None => tracing::error!(key = hex::encode_upper(key), "a node in the log is damaged"),
            }
        }
        Ok(out)
    }
}

/// The address that a node's text tells.
fn address(text: &str) -> Option<Addr> {
    // As texts are written: name and hash come first, and hardly ever has one of them a character that is escaped.
    let plain = text.strip_prefix("{\"ib\":\"").and_then(|rest| {
        let (ib, rest) = rest.split_once("\",\"gib\":\"")?;
        let (gib, _) = rest.split_once('"')?;
        (!ib.contains(['"', '\\']) && !gib.contains('\\')).then_some((ib, gib))
    });
    if let Some((ib, gib)) = plain {
        return Addr::new(ib, gib).ok();
    }
    let node = IbGib::parse(text, Mode::Compat).ok()?;
    Addr::new(&node.ib, &node.gib?).ok()
}
