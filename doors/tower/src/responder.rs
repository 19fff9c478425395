//! What became of a breach: penalties that were published, until they are deep in the chain.

use crate::feed::{Block, BlockId, Verdict};
use crate::signature::UserId;
use crate::transaction::{Transaction, Txid};
use crate::watcher::AppointmentId;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Blocks without the penalty after which it is sent again.
pub const CONFIRMATIONS_BEFORE_RETRY: u32 = 6;
/// Confirmations from which nothing can undo a penalty any more.
pub const IRREVOCABLY_RESOLVED: u32 = 100;

/// Something to be sent. Each transaction is sent at most once for a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Send {
    /// The transaction that a user sealed.
    Penalty(Transaction),
    /// The breach itself, which a reorganisation took out of the chain: the network still has it, the tower never had.
    Dispute(Txid),
}

impl Send {
    /// What is sent.
    pub fn txid(&self) -> Txid {
        match self {
            Self::Penalty(transaction) => transaction.txid(),
            Self::Dispute(txid) => *txid,
        }
    }
}

/// Gives the network each transaction once for a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carrier {
    /// What was sent since the newest block, and what the network said of it.
    issued: HashMap<Txid, Option<Verdict>>,
    queue: Vec<Send>,
}

impl Carrier {
    fn send(&mut self, send: Send) {
        if let Entry::Vacant(entry) = self.issued.entry(send.txid()) {
            entry.insert(None);
            self.queue.push(send);
        }
    }

    /// A block came: what was sent may be sent again.
    fn clear(&mut self) {
        self.issued.clear();
    }
}

/// Where a penalty stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// It waits for a block, and was last sent at this height.
    Waiting {
        /// The height.
        since: u32,
    },
    /// It is in the block of this height.
    Confirmed {
        /// The height.
        height: u32,
    },
}

/// A breach that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionTracker {
    /// Whose appointment it was; nobody's once his data had to go while the penalty was in the chain already.
    pub owner: Option<UserId>,
    /// The breach.
    pub dispute_txid: Txid,
    /// The height of the block that holds the breach; `None` while a reorganisation has it out of the chain.
    pub dispute_height: Option<u32>,
    /// The answer.
    pub penalty: Transaction,
    /// Where it stands.
    pub state: Penalty,
    /// The network took it once. When it refuses it later that is no verdict on the penalty any more: what it asks for
    /// then, a higher fee in a crowded hour, it may not ask for at the next block.
    pub is_taken: bool,
    /// Slots that come back to the owner at the end.
    pub slots: u32,
}

impl TransactionTracker {
    /// Blocks on top of the penalty, its own included.
    pub fn confirmations(&self, height: u32) -> u32 {
        match self.state {
            Penalty::Waiting { .. } => 0,
            Penalty::Confirmed { height: at } => (height + 1).saturating_sub(at),
        }
    }
}

/// All trackers. Two of them may have one penalty, or one dispute.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    trackers: BTreeMap<AppointmentId, TransactionTracker>,
    /// Trackers by the transactions that they look for.
    by_txid: HashMap<Txid, BTreeSet<AppointmentId>>,
    carrier: Carrier,
    /// Trackers that changed since they were last written.
    changed: BTreeSet<AppointmentId>,
}

impl Responder {
    /// The tracker of an appointment.
    pub fn tracker(&self, id: &AppointmentId) -> Option<&TransactionTracker> {
        self.trackers.get(id)
    }

    /// All trackers.
    pub fn trackers(&self) -> impl ExactSizeIterator<Item = (&AppointmentId, &TransactionTracker)> {
        self.trackers.iter()
    }

    /// A user's trackers.
    pub fn trackers_of(&self, user: &UserId) -> impl Iterator<Item = (&AppointmentId, &TransactionTracker)> {
        self.trackers.range(AppointmentId::all_of(user))
    }

    /// Takes a tracker that was kept; nothing is sent for it.
    pub(crate) fn restore(&mut self, id: AppointmentId, tracker: TransactionTracker) {
        for txid in [tracker.dispute_txid, tracker.penalty.txid()] {
            self.by_txid.entry(txid).or_default().insert(id);
        }
        self.trackers.insert(id, tracker);
    }

    /// Answers a breach: the entry point of the responder. The penalty is sent at the end of the block, unless the
    /// block holds it already.
    pub(crate) fn handle_breach(&mut self, id: AppointmentId, tracker: TransactionTracker) {
        self.changed.insert(id);
        self.restore(id, tracker);
    }

    pub(crate) fn remove(&mut self, id: &AppointmentId) -> Option<TransactionTracker> {
        let tracker = self.trackers.remove(id)?;
        for txid in [tracker.dispute_txid, tracker.penalty.txid()] {
            if let Some(of) = self.by_txid.get_mut(&txid) {
                of.remove(id);
                if of.is_empty() {
                    self.by_txid.remove(&txid);
                }
            }
        }
        self.changed.insert(*id);
        Some(tracker)
    }

    /// A user's data has to go. A penalty in the chain is followed to the end, as nobody's; one that waits is not.
    pub(crate) fn disown(&mut self, user: &UserId) {
        let theirs: Vec<AppointmentId> = self.trackers_of(user).map(|(id, _)| *id).collect();
        for id in theirs {
            match self.trackers.get_mut(&id) {
                Some(tracker) if matches!(tracker.state, Penalty::Confirmed { .. }) => tracker.owner = None,
                _ => drop(self.remove(&id)),
            }
            self.changed.insert(id);
        }
    }

    /// A block came, after its breaches were handed over. Answers the trackers that are at their end.
    pub(crate) fn block_connected(&mut self, block: &Block) -> Vec<(AppointmentId, TransactionTracker)> {
        let height = block.id.height;
        self.carrier.clear();
        self.check_confirmations(block);
        let completed = self.get_completed_trackers(height);
        let completed = completed.into_iter().filter_map(|id| Some((id, self.remove(&id)?))).collect();
        self.rebroadcast(height);
        completed
    }

    /// Notes which disputes and penalties the block holds.
    fn check_confirmations(&mut self, block: &Block) {
        let height = block.id.height;
        for txid in &block.txids {
            for id in self.by_txid.get(txid).into_iter().flatten() {
                let Some(tracker) = self.trackers.get_mut(id) else { continue };
                if tracker.dispute_txid == *txid {
                    let is_back = tracker.dispute_height.replace(height).is_none();
                    // While the breach was out of the chain the network may have refused or forgotten its penalty.
                    if is_back && matches!(tracker.state, Penalty::Waiting { .. }) {
                        tracker.state = Penalty::Waiting { since: height };
                    }
                }
                if tracker.penalty.txid() == *txid {
                    (tracker.state, tracker.is_taken) = (Penalty::Confirmed { height }, true);
                }
                self.changed.insert(*id);
            }
        }
    }

    fn get_completed_trackers(&self, height: u32) -> Vec<AppointmentId> {
        let done = |t: &TransactionTracker| t.confirmations(height) >= IRREVOCABLY_RESOLVED;
        self.trackers.iter().filter(|(_, t)| done(t)).map(|(id, _)| *id).collect()
    }

    /// Sends what is new, and again what has waited for too long; before it the breach, where a reorganisation took
    /// that out.
    fn rebroadcast(&mut self, height: u32) {
        for (id, tracker) in &mut self.trackers {
            let Penalty::Waiting { since } = tracker.state else { continue };
            let is_new = since == height;
            if !is_new && height.saturating_sub(since) < CONFIRMATIONS_BEFORE_RETRY {
                continue;
            }
            if tracker.dispute_height.is_none() {
                self.carrier.send(Send::Dispute(tracker.dispute_txid));
            }
            tracker.state = Penalty::Waiting { since: height };
            self.carrier.send(Send::Penalty(tracker.penalty.clone()));
            self.changed.insert(*id);
        }
    }

    /// The newest block is no longer part of the chain: what it confirmed waits again, and is sent again at once.
    pub(crate) fn block_disconnected(&mut self, block: &BlockId) {
        self.carrier.clear();
        let height = block.height;
        for (id, tracker) in &mut self.trackers {
            let lost_dispute = tracker.dispute_height == Some(height);
            let lost_penalty = tracker.state == Penalty::Confirmed { height };
            if lost_dispute {
                tracker.dispute_height = None;
                self.carrier.send(Send::Dispute(tracker.dispute_txid));
            }
            if lost_penalty || (lost_dispute && matches!(tracker.state, Penalty::Waiting { .. })) {
                tracker.state = Penalty::Waiting { since: height - 1 };
                self.carrier.send(Send::Penalty(tracker.penalty.clone()));
            }
            if lost_dispute || lost_penalty {
                self.changed.insert(*id);
            }
        }
    }

    /// The network's verdict on a penalty. Answers the trackers that go because of it.
    pub(crate) fn sent(
        &mut self,
        txid: &Txid,
        verdict: Verdict,
        in_block: Option<u32>,
        height: u32,
    ) -> Vec<(AppointmentId, TransactionTracker)> {
        self.issued(*txid, verdict);
        let of: Vec<AppointmentId> = self.by_txid.get(txid).into_iter().flatten().copied().collect();
        let mut gone = Vec::new();
        for id in of {
            let Some(tracker) = self.trackers.get_mut(&id).filter(|t| t.penalty.txid() == *txid) else { continue };
            let is_waiting = matches!(tracker.state, Penalty::Waiting { .. });
            match verdict {
                // In a block that is older than what is known here: counted from now, so that it is never forgotten
                // too early.
                Verdict::InChain if is_waiting => {
                    let height = in_block.unwrap_or(height);
                    (tracker.state, tracker.is_taken) = (Penalty::Confirmed { height }, true);
                    self.changed.insert(id);
                }
                Verdict::Waiting if !tracker.is_taken => {
                    tracker.is_taken = true;
                    self.changed.insert(id);
                }
                Verdict::Bad if is_waiting && !tracker.is_taken => {
                    gone.extend(self.remove(&id).map(|tracker| (id, tracker)))
                }
                Verdict::Waiting | Verdict::Missing | Verdict::Unknown | Verdict::InChain | Verdict::Bad => {}
            }
        }
        gone
    }

    /// What has to be sent, in this order.
    pub(crate) fn take_queue(&mut self) -> Vec<Send> {
        std::mem::take(&mut self.carrier.queue)
    }

    /// What the network said of a penalty, in this block. A verdict that is none is no receipt: it is asked again.
    pub(crate) fn issued(&mut self, txid: Txid, verdict: Verdict) {
        self.carrier.issued.insert(txid, Some(verdict).filter(|verdict| *verdict != Verdict::Unknown));
    }

    /// What the network said of a transaction since the newest block.
    pub(crate) fn receipt(&self, txid: &Txid) -> Option<Verdict> {
        self.carrier.issued.get(txid).copied().flatten()
    }

    /// Whether a transaction still has to be sent: nothing that the network answered to since the newest block.
    pub(crate) fn needs(&self, send: &Send) -> bool {
        let txid = send.txid();
        if self.receipt(&txid).is_some() {
            return false;
        }
        let mut of = self.by_txid.get(&txid).into_iter().flatten().filter_map(|id| self.trackers.get(id));
        of.any(|tracker| match send {
            Send::Penalty(_) => tracker.penalty.txid() == txid && matches!(tracker.state, Penalty::Waiting { .. }),
            Send::Dispute(_) => tracker.dispute_txid == txid && tracker.dispute_height.is_none(),
        })
    }

    pub(crate) fn take_changed(&mut self) -> BTreeSet<AppointmentId> {
        std::mem::take(&mut self.changed)
    }

    /// Takes over what was sent since the newest block, as far as the network answered.
    pub(crate) fn follow(&mut self, before: Self) {
        self.carrier.issued = before.carrier.issued;
        self.carrier.issued.retain(|_, verdict| verdict.is_some());
    }

    /// Sends penalties that wait and were last sent at this height or later: they may not have been.
    pub(crate) fn resume(&mut self, from: u32) {
        for tracker in self.trackers.values() {
            if matches!(tracker.state, Penalty::Waiting { since } if since >= from) {
                if tracker.dispute_height.is_none() {
                    self.carrier.send(Send::Dispute(tracker.dispute_txid));
                }
                self.carrier.send(Send::Penalty(tracker.penalty.clone()));
            }
        }
    }
}
