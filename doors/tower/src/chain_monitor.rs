//! Follows a chain of blocks, a Bitcoin node's or that of this server's timelines: tells the tower of each block that came or went, in order, and sends what it
//! wants sent. While the node is away nothing is lost: it goes on from the last block that was looked at.

use crate::engine::{Engine, Failure};
use crate::feed::{Block, BlockId, Header, Verdict};
use crate::gatekeeper::Terms;
use crate::ledger::{Kept, TRAIL_MAX, Trail};
use crate::locator_cache::BLOCKS;
use crate::responder::Send;
use crate::rpc::RpcError;
use crate::source::Source;
use crate::tower::{Accepted, Added, Tower};
use crate::transaction::{Transaction, Txid};
use crate::watcher::{Refusal, Request};
use ibgib_server::Lease;
use std::collections::HashMap;
use std::marker;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard as SyncMutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};

/// Blocks that are looked at before what they want sent is sent, when there are many to catch up with.
const BLOCKS_AT_ONCE: usize = 144;
/// Times of looking at a block that are kept until somebody asks for them.
const TIMES_MAX: usize = 1_024;

/// Why the chain cannot be followed now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("the tower's records cannot be read or written")]
    Store,
    #[error("the node follows another chain: it knows none of the last {TRAIL_MAX} blocks that the tower has seen")]
    OtherChain,
    /// The node changed its mind, or another server over the same space was faster: the next look will tell.
    #[error("the chain moved meanwhile")]
    Moved,
    #[error("the server stops")]
    Stopped,
}

impl From<Failure> for FeedError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store => Self::Store,
            Failure::NotBegun => Self::Moved,
            Failure::Stopped => Self::Stopped,
        }
    }
}

/// Why a late appointment was not decided on.
pub(crate) enum NotDecided {
    Refused(Refusal),
    /// Nobody can say yet.
    Unavailable,
}

/// What is to be sent, in order, and where breaches that fell out of the chain can still be had.
#[derive(Default)]
struct Outbox {
    sends: Vec<Send>,
    once_in: HashMap<Txid, [u8; 32]>,
}

impl Outbox {
    /// A breach goes before the penalty that spends it; nothing goes twice.
    fn push(&mut self, send: Send) {
        if self.sends.iter().any(|waiting| waiting.txid() == send.txid()) {
            return;
        }
        match send {
            Send::Dispute(_) => {
                let at = self.sends.iter().position(|s| matches!(s, Send::Penalty(_))).unwrap_or(self.sends.len());
                self.sends.insert(at, send);
            }
            Send::Penalty(_) => self.sends.push(send),
        }
    }
}

pub(crate) struct ChainMonitor {
    source: Source,
    engine: Engine,
    terms: [Terms; 2],
    lease: Arc<Lease>,
    /// The term of the lease in which the tower came into step with its node; 0: in none. Another server may have gone
    /// on since an earlier term.
    in_step: AtomicU64,
    /// Another server follows the chain, and the node answers this one, too.
    stands_by: AtomicBool,
    outbox: SyncMutex<Outbox>,
    /// Whoever sends holds the one of the transaction, so that none is sent twice between two blocks. To judge an answer may
    /// take a while, and nobody who has another one to send waits for that.
    sending: [Mutex<()>; 64],
    /// Seconds that looking at each of the newest blocks took.
    times: SyncMutex<Vec<f64>>,
}

impl ChainMonitor {
    pub(crate) fn new(source: Source, engine: Engine, terms: [Terms; 2], lease: Arc<Lease>) -> Self {
        Self {
            source,
            engine,
            terms,
            lease,
            in_step: AtomicU64::new(0),
            stands_by: AtomicBool::new(false),
            outbox: SyncMutex::default(),
            sending: std::array::from_fn(|_| Mutex::default()),
            times: SyncMutex::default(),
        }
    }

    /// Whether the tower is in step with its node. A server that begins to follow the chain looks at what came since the
    /// last block in the records before it says so.
    pub(crate) fn is_reachable(&self) -> bool {
        match self.lease.term() {
            Some(term) => self.in_step.load(Ordering::Acquire) == term,
            None => self.stands_by.load(Ordering::Acquire),
        }
    }

    /// The times of looking at blocks since this was last asked.
    pub(crate) fn take_times(&self) -> Vec<f64> {
        std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn outbox(&self) -> SyncMutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held by whoever sends a transaction.
    async fn sending(&self, txid: &Txid) -> MutexGuard<'_, ()> {
        self.sending[usize::from(txid.internal()[0]) % self.sending.len()].lock().await
    }

    fn note(&self, time: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() < TIMES_MAX {
            times.push(time.as_secs_f64());
        }
    }

    /// Follows the chain for ever.
    pub(crate) async fn follow(&self, poll: Duration) {
        loop {
            let _ = self.look().await;
            tokio::time::sleep(poll).await;
        }
    }

    /// While another server follows the chain, looks for ever whether the node is there: what users ask is answered here,
    /// too.
    pub(crate) async fn stand_by(&self, poll: Duration) {
        loop {
            if self.lease.term().is_none() {
                let _ = self.check().await;
            }
            tokio::time::sleep(poll).await;
        }
    }

    /// Looks once whether the node is there.
    pub(crate) async fn check(&self) -> Result<(), FeedError> {
        let checked = match &self.source {
            Source::Bitcoind(node) => node.get_best_block_hash().await.map(drop),
            // Following them makes blocks.
            Source::Timelines(_) => Ok(()),
        };
        self.stands_by.store(checked.is_ok(), Ordering::Release);
        Ok(checked?)
    }

    /// Looks once, and says how it stands.
    pub(crate) async fn look(&self) -> Result<(), FeedError> {
        let term = self.lease.term().unwrap_or_default();
        let looked = match self.poll().await {
            // The next look will tell; until then what is known holds.
            Err(FeedError::Moved) if self.is_reachable() => return Ok(()),
            looked => looked,
        };
        let now = if looked.is_ok() { term } else { 0 };
        let was = self.in_step.swap(now, Ordering::AcqRel);
        match (&looked, was != 0) {
            (Err(error), true) => tracing::error!(%error, "the tower cannot follow the chain"),
            (Err(error), false) => tracing::debug!(%error, "the tower still cannot follow the chain"),
            (Ok(()), false) => tracing::info!("the tower follows the chain"),
            (Ok(()), true) => {}
        }
        looked
    }

    async fn poll(&self) -> Result<(), FeedError> {
        let best = self.source.get_best_block_hash().await?;
        let seen = self.engine.ask_any(|kept| {
            let kept = kept.as_ref()?;
            Some((kept.tower.last_block(), kept.trail.clone()))
        });
        let Some((last, trail)) = seen.await? else { return self.begin(&best).await };
        self.resume().await?;
        if last.hash != best {
            self.walk(last, &trail, &best).await?;
        }
        self.flush().await
    }

    /// The first look of all: what is the tip now is written before any block is looked at.
    async fn begin(&self, best: &[u8; 32]) -> Result<(), FeedError> {
        let tip = self.source.get_header(best).await?;
        let newest = self.newest(tip.id).await?;
        let mut trail = vec![tip.id];
        let mut parent = tip.parent;
        while let Some(hash) = parent
            && trail.len() < TRAIL_MAX
        {
            let header = self.source.get_header(&hash).await?;
            trail.push(header.id);
            parent = header.parent;
        }
        trail.reverse();
        let (trail, terms) = (Trail(trail), self.terms);
        let began = self.engine.ask_any(move |kept| {
            if kept.is_none() {
                let mut tower = Tower::new(tip.id, terms[0], terms[1]);
                tower.fix(&newest);
                *kept = Some(Kept { tower, trail: trail.clone(), unsent_since: None });
            }
        });
        Ok(began.await?)
    }

    /// The newest blocks up to this one, oldest first, as far as the node has them.
    async fn newest(&self, last: BlockId) -> Result<Vec<Block>, FeedError> {
        let mut blocks = Vec::new();
        let mut next = Some(last.hash);
        while let Some(hash) = next
            && blocks.len() < BLOCKS
        {
            let block = match self.source.get_block(&hash).await {
                Ok(block) => block,
                // Pruned, or of a chain that the node never had.
                Err(RpcError::Refused { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            next = (block.id.height > 0).then_some(block.parent);
            blocks.push(block);
        }
        blocks.reverse();
        Ok(blocks)
    }

    /// After the tower was read: the newest blocks are told to it, unless it knows them, and what it may not have sent
    /// is to be sent.
    async fn resume(&self) -> Result<(), FeedError> {
        let stands = self.engine.ask(|kept| {
            let knows_newest = kept.tower.knows_newest();
            (!knows_newest || kept.unsent_since.is_some()).then(|| (kept.tower.last_block(), knows_newest))
        });
        let Some((last, knows_newest)) = stands.await? else { return Ok(()) };
        let newest = if knows_newest { None } else { Some(self.newest(last).await?) };
        let resumed = self.engine.ask(move |kept| {
            if kept.tower.last_block() != last {
                return None;
            }
            newest.iter().for_each(|newest| kept.tower.fix(newest));
            Some(kept.unsent_since.take().map_or_else(Vec::new, |since| kept.tower.resume(since)))
        });
        let sends = resumed.await?.ok_or(FeedError::Moved)?;
        let mut outbox = self.outbox();
        sends.into_iter().for_each(|send| outbox.push(send));
        Ok(())
    }

    /// From the last block that was looked at to the node's best: back to where both chains part, and on from there.
    async fn walk(&self, last: BlockId, trail: &Trail, best: &[u8; 32]) -> Result<(), FeedError> {
        let known: HashMap<[u8; 32], usize> = trail.0.iter().enumerate().map(|(at, id)| (id.hash, at)).collect();
        let lowest = trail.0.first().map_or(last.height, |id| id.height);
        let mut ahead = Vec::new();
        let mut cursor: Header = self.source.get_header(best).await?;
        let common = loop {
            if let Some(at) = known.get(&cursor.id.hash) {
                break *at;
            }
            if cursor.id.height <= lowest {
                return Err(FeedError::OtherChain);
            }
            ahead.push(cursor.id);
            let parent = cursor.parent.ok_or(FeedError::OtherChain)?;
            cursor = self.source.get_header(&parent).await?;
        };
        let gone = trail.0[common + 1..].to_vec();
        if !gone.is_empty() {
            tracing::warn!(blocks = gone.len(), height = last.height, "the chain is reorganised");
            // Asked for before anything changes: the tower never looks at a block, nor takes an appointment, without
            // knowing the newest ones.
            let (newest, common) = (self.newest(cursor.id).await?, cursor.id);
            let sends = self.engine.ask(move |kept| disconnected(kept, &gone, common, &newest));
            let sends = sends.await?.ok_or(FeedError::Moved)?;
            let mut outbox = self.outbox();
            for (id, send) in sends {
                if let Send::Dispute(txid) = &send {
                    outbox.once_in.insert(*txid, id.hash);
                }
                outbox.push(send);
            }
        }
        for (looked, id) in ahead.iter().rev().enumerate() {
            let block = self.source.get_block(&id.hash).await?;
            let (sends, time) = self.engine.ask(move |kept| connected(kept, &block)).await?.ok_or(FeedError::Moved)?;
            self.note(time);
            sends.into_iter().for_each(|send| self.outbox().push(send));
            if (looked + 1) % BLOCKS_AT_ONCE == 0 {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Sends what is to be sent and still wanted, and tells the tower what the network said.
    async fn flush(&self) -> Result<(), FeedError> {
        loop {
            let Some(send) = self.outbox().sends.first().cloned() else { return Ok(()) };
            let (txid, asked) = (send.txid(), send.clone());
            let _sending = self.sending(&txid).await;
            let is_needed = self.engine.ask(move |kept| kept.tower.needs(&asked)).await?;
            if is_needed {
                match &send {
                    Send::Penalty(transaction) => {
                        let verdict = self.source.send_transaction(transaction.raw()).await?;
                        tracing::info!(%txid, ?verdict, "an answer was sent");
                        self.engine.ask(move |kept| kept.tower.sent(&txid, verdict)).await?;
                    }
                    Send::Dispute(txid) => {
                        let once_in = self.outbox().once_in.get(txid).copied();
                        match self.source.get_transaction(txid, once_in).await? {
                            Some(raw) => drop(self.source.send_transaction(&raw).await?),
                            None => tracing::debug!(%txid, "the node has this breach no more"),
                        }
                    }
                }
            }
            self.outbox().sends.retain(|sent| sent.txid() != txid);
        }
    }

    /// Takes an appointment. One that comes after its trigger is answered now, and taken only if the network takes the
    /// answer.
    pub(crate) async fn add_appointment(&self, request: Request) -> Result<Accepted, NotDecided> {
        let add = move |kept: &mut Kept| kept.tower.add_appointment(request.clone());
        let added = self.ask_informed(add.clone()).await?.transpose().map_err(NotDecided::Refused)?;
        let triggered = match added {
            Some(Added::Triggered(triggered)) => triggered,
            Some(Added::Watching(accepted) | Added::Responded(accepted)) => return Ok(accepted),
            None => match self.inform_and_ask(add.clone()).await?.map_err(NotDecided::Refused)? {
                Added::Watching(accepted) | Added::Responded(accepted) => return Ok(accepted),
                Added::Triggered(triggered) => triggered,
            },
        };
        let txid = triggered.penalty.txid();
        let _sending = self.sending(&txid).await;
        // Meanwhile the same answer may have been sent.
        let triggered = match self.inform_and_ask(add).await?.map_err(NotDecided::Refused)? {
            Added::Watching(accepted) | Added::Responded(accepted) => return Ok(accepted),
            // The trigger is in another place, and so is its answer another.
            Added::Triggered(triggered) if triggered.penalty.txid() != txid => return Err(NotDecided::Unavailable),
            Added::Triggered(triggered) => triggered,
        };
        let verdict = self.send(&triggered.penalty).await?;
        let decide = move |kept: &mut Kept| kept.tower.decide((*triggered).clone(), verdict);
        self.inform_and_ask(decide).await?.map_err(NotDecided::Refused)
    }

    /// Asks the tower, if it knows the newest blocks.
    async fn ask_informed<T: marker::Send + 'static>(
        &self,
        mut ask: impl FnMut(&mut Kept) -> T + marker::Send + 'static,
    ) -> Result<Option<T>, NotDecided> {
        let asked = self.engine.ask(move |kept| kept.tower.knows_newest().then(|| ask(kept)));
        asked.await.map_err(|_| NotDecided::Unavailable)
    }

    /// Asks a tower that knows the newest blocks. One that was read meanwhile, since the store failed or another server
    /// wrote, is told them first; what it has to send goes out with the next look.
    async fn inform_and_ask<T: marker::Send + 'static>(
        &self,
        ask: impl FnMut(&mut Kept) -> T + Clone + marker::Send + 'static,
    ) -> Result<T, NotDecided> {
        if let Some(answer) = self.ask_informed(ask.clone()).await? {
            return Ok(answer);
        }
        self.resume().await.map_err(|_| NotDecided::Unavailable)?;
        self.ask_informed(ask).await?.ok_or(NotDecided::Unavailable)
    }

    async fn send(&self, penalty: &Transaction) -> Result<Verdict, NotDecided> {
        match self.source.send_transaction(penalty.raw()).await {
            Ok(Verdict::Unknown) => Err(NotDecided::Unavailable),
            Ok(verdict) => Ok(verdict),
            Err(error) => {
                self.in_step.store(0, Ordering::Release);
                self.stands_by.store(false, Ordering::Release);
                tracing::error!(%error, "an answer could not be sent");
                Err(NotDecided::Unavailable)
            }
        }
    }
}

/// These blocks, oldest first, are gone from upon the common one. What has to be sent, with the block whose going is why;
/// `None`: the tower is elsewhere already.
fn disconnected(kept: &mut Kept, gone: &[BlockId], common: BlockId, newest: &[Block]) -> Option<Vec<(BlockId, Send)>> {
    if gone.last() != Some(&kept.tower.last_block()) {
        return None;
    }
    let mut sends = Vec::new();
    for (at, id) in gone.iter().enumerate().rev() {
        let parent = if at == 0 { common } else { gone[at - 1] };
        sends.extend(kept.tower.disconnected(parent).into_iter().map(|send| (*id, send)));
    }
    // A node that no longer has them leaves those that are known.
    if !newest.is_empty() {
        kept.tower.fix(newest);
    }
    kept.trail.0.retain(|known| !gone.contains(known));
    Some(sends)
}

/// `None`: the tower is elsewhere already, or was read meanwhile and not told the newest blocks.
fn connected(kept: &mut Kept, block: &Block) -> Option<(Vec<Send>, Duration)> {
    let is_told = kept.unsent_since.is_none() || kept.tower.knows_newest();
    if !is_told || kept.tower.last_block().hash != block.parent {
        return None;
    }
    let start = Instant::now();
    let sends = kept.tower.connected(block);
    let time = start.elapsed();
    kept.trail.push(block.id);
    Some((sends, time))
}
