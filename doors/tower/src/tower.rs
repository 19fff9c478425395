//! The tower: users, appointments and trackers, driven by the blocks of a feed.
//!
//! The caller keeps what the tower tells ([`Tower::take_changes`]) in one commit, and only then sends what is to be sent
//! and answers who asked. So a crash anywhere costs nothing: the last block that was looked at is written together with
//! all that it caused, and a restart sends again what may not have been sent ([`Tower::resume`]).

use crate::feed::{Block, BlockId, Verdict};
use crate::gatekeeper::{Subscription, Terms, slots_of};
use crate::responder::{Penalty, Responder, Send, TransactionTracker};
use crate::sealed::{Dialect, Locator};
use crate::signature::{self, GET_SUBSCRIPTION_INFO_MESSAGE, UserId};
use crate::transaction::{Transaction, Txid};
use crate::watcher::{Appointment, AppointmentId, Checked, Refusal, Request, Watcher};
use std::collections::BTreeSet;

/// What a user gets for an appointment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whose it is.
    pub user: UserId,
    /// The height from which it is watched: what the receipt is over.
    pub start_block: u32,
    /// Slots that are left.
    pub slots: u32,
    /// Until when the subscription goes.
    pub expiry: u32,
    /// In which bytes the receipt is made.
    pub dialect: Dialect,
}

/// What comes of handing over an appointment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is watched.
    Watching(Accepted),
    /// Its trigger is in the chain already, and so or on its way there is its answer, which another appointment had, too.
    Responded(Accepted),
    /// Its trigger is in the chain already: the caller sends the answer at once, and tells the verdict to
    /// [`Tower::decide`]. Nothing changed so far.
    Triggered(Box<Triggered>),
}

/// An appointment that came after its trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    request: Request,
    dispute_txid: Txid,
    /// What has to be sent.
    pub penalty: Transaction,
}

/// An appointment, as its user may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppointmentState<'a> {
    /// It waits.
    Watched(&'a Appointment),
    /// It was triggered.
    Responded(&'a TransactionTracker),
}

/// What changed since it was last asked: keys, whose present values are to be written (or taken out, where there is
/// none any more) in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Subscriptions.
    pub users: BTreeSet<UserId>,
    /// Appointments that wait.
    pub appointments: BTreeSet<AppointmentId>,
    /// Trackers.
    pub trackers: BTreeSet<AppointmentId>,
    /// The last block, if it is another.
    pub last_block: Option<BlockId>,
}

impl Changes {
    /// Whether there is nothing to be written.
    pub fn is_empty(&self) -> bool {
        let Self { users, appointments, trackers, last_block } = self;
        users.is_empty() && appointments.is_empty() && trackers.is_empty() && last_block.is_none()
    }
}

/// A tower.
#[derive(Clone, Debug)]
pub struct Tower {
    watcher: Watcher,
    responder: Responder,
    last_block: BlockId,
    block_changed: bool,
}

impl Tower {
    /// A tower that has seen nothing, at the tip of a chain. The tip is written before any block is looked at, so that
    /// nothing is missed when it is killed before the next one.
    pub fn new(tip: BlockId, rust: Terms, python: Terms) -> Self {
        let watcher = Watcher::new([rust, python]);
        Self { watcher, responder: Responder::default(), last_block: tip, block_changed: true }
    }

    /// Takes what was written: users, then appointments, then trackers. The newest blocks up to the last one are given
    /// to [`Tower::fix`] afterwards, and those that came since to [`Tower::connected`].
    pub fn restore(
        last_block: BlockId,
        terms: [Terms; 2],
        users: impl IntoIterator<Item = (UserId, Subscription)>,
        appointments: impl IntoIterator<Item = (AppointmentId, Appointment)>,
        trackers: impl IntoIterator<Item = (AppointmentId, TransactionTracker)>,
    ) -> Self {
        let mut out = Self::new(last_block, terms[0], terms[1]);
        out.block_changed = false;
        users.into_iter().for_each(|(user, subscription)| out.watcher.restore_user(user, subscription));
        appointments.into_iter().for_each(|(id, appointment)| out.watcher.restore(id, appointment));
        trackers.into_iter().for_each(|(id, tracker)| out.responder.restore(id, tracker));
        out
    }

    /// Forgets the newest blocks it remembers and takes these instead, oldest first, the last one that was looked at at
    /// the end: after a restart, and after a reorganisation, which leaves fewer of them than are to be known.
    pub fn fix(&mut self, newest: &[Block]) {
        self.watcher.cache.fix(newest);
    }

    /// Whether a transaction still has to be sent: a penalty while it waits, a breach while it is out of the chain.
    pub fn needs(&self, send: &Send) -> bool {
        self.responder.needs(send)
    }

    /// Whether it knows the newest blocks up to the last one. Without them it takes an appointment that comes after its
    /// trigger for one whose trigger is still to come: a tower that was read is told them ([`Tower::fix`]) before it is
    /// given any.
    pub fn knows_newest(&self) -> bool {
        self.watcher.cache.newest() == Some(self.last_block)
    }

    /// Takes over what is nowhere written from the same tower as it was before it was read again: the newest blocks, and
    /// what was sent since the last one. Of another block they are others.
    pub(crate) fn follow(&mut self, before: Self) {
        if before.last_block == self.last_block {
            self.watcher.cache = before.watcher.cache;
            self.responder.follow(before.responder);
        }
    }

    /// What has to be sent after it was read: penalties that were last sent at this height or later, and not since the
    /// newest block. After a restart that is every one that waits, from height 0 on.
    pub fn resume(&mut self, since: u32) -> Vec<Send> {
        self.responder.resume(since);
        self.responder.take_queue()
    }

    /// Users and appointments.
    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// Trackers.
    pub fn responder(&self) -> &Responder {
        &self.responder
    }

    /// The last block that was looked at.
    pub fn last_block(&self) -> BlockId {
        self.last_block
    }

    fn height(&self) -> u32 {
        self.last_block.height
    }

    /// Looks at the next block. Answers what has to be sent once the changes are written.
    pub fn connected(&mut self, block: &Block) -> Vec<Send> {
        let height = block.id.height;
        self.watcher.cache.update(block);
        let outdated = self.watcher.remove_outdated(height);
        outdated.iter().for_each(|user| self.responder.disown(user));

        let breaches = self.watcher.get_breaches(block);
        for (id, dispute_txid, answer) in self.watcher.filter_breaches(&breaches) {
            let slots = self.watcher.remove(&id).map_or(0, |a| slots_of(&a.sealed));
            match answer {
                Ok(penalty) => {
                    let state = Penalty::Waiting { since: height };
                    let (owner, dispute_height) = (Some(id.user), Some(height));
                    let is_taken = false;
                    let tracker =
                        TransactionTracker { owner, dispute_txid, dispute_height, penalty, state, is_taken, slots };
                    self.responder.handle_breach(id, tracker);
                }
                // The tower could not know before; the user paid for nothing.
                Err(_) => self.watcher.give_back(&id.user, slots),
            }
        }
        let completed = self.responder.block_connected(block);
        self.give_back(completed);
        (self.last_block, self.block_changed) = (block.id, true);
        self.responder.take_queue()
    }

    /// The last block is no longer part of the chain; `parent` is the last one now.
    pub fn disconnected(&mut self, parent: BlockId) -> Vec<Send> {
        self.watcher.cache.disconnect(&self.last_block);
        self.responder.block_disconnected(&self.last_block);
        (self.last_block, self.block_changed) = (parent, true);
        self.responder.take_queue()
    }

    /// What the network said of a penalty that was sent.
    pub fn sent(&mut self, txid: &Txid, verdict: Verdict) {
        let in_block = self.watcher.cache.height_of(txid);
        let gone = self.responder.sent(txid, verdict, in_block, self.height());
        self.give_back(gone);
    }

    /// Slots of trackers that are gone go back to their owners.
    fn give_back(&mut self, gone: Vec<(AppointmentId, TransactionTracker)>) {
        for (_, tracker) in gone {
            if let Some(owner) = tracker.owner {
                self.watcher.give_back(&owner, tracker.slots);
            }
        }
    }

    /// Registers a user, or adds to his subscription.
    ///
    /// # Errors
    /// [`Refusal::Exhausted`], [`Refusal::NoMoreUsers`].
    pub fn register(&mut self, user: UserId, dialect: Dialect) -> Result<Subscription, Refusal> {
        self.watcher.register(user, dialect, self.height())
    }

    fn check(&self, request: &Request) -> Result<Checked, Refusal> {
        let count = self.watcher.appointments().len() + self.responder.trackers().len();
        self.watcher.check(request, |id| self.responder.tracker(id).is_some(), count, self.height())
    }

    fn accepted(&self, checked: &Checked) -> Accepted {
        let subscription = self.watcher.subscription(&checked.id.user);
        Accepted {
            user: checked.id.user,
            start_block: checked.appointment.start_block,
            slots: checked.slots_left,
            expiry: subscription.map_or(0, |s| s.expiry),
            dialect: subscription.map_or(Dialect::default(), |s| s.dialect),
        }
    }

    /// Takes an appointment.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing changed, and no slot was spent.
    pub fn add_appointment(&mut self, request: Request) -> Result<Added, Refusal> {
        let checked = self.check(&request)?;
        if let Some((dispute_txid, penalty)) = checked.triggered.clone() {
            let told = self.responder.receipt(&penalty.txid());
            let triggered = Triggered { request, dispute_txid, penalty };
            return match told {
                // It was sent since the newest block, for another appointment.
                Some(verdict) => self.decide(triggered, verdict).map(Added::Responded),
                None => Ok(Added::Triggered(Box::new(triggered))),
            };
        }
        self.watcher.accept(&checked, true);
        Ok(Added::Watching(self.accepted(&checked)))
    }

    /// Decides on an appointment that came after its trigger, by what the network said of its answer.
    ///
    /// # Errors
    /// [`Refusal::AnswerRefused`], or what changed meanwhile; no slot was spent.
    pub fn decide(&mut self, triggered: Triggered, verdict: Verdict) -> Result<Accepted, Refusal> {
        // Others may have the same answer: what the network says of it holds for theirs, too.
        let txid = triggered.penalty.txid();
        self.sent(&txid, verdict);
        if verdict == Verdict::Bad {
            return Err(Refusal::AnswerRefused);
        }
        let checked = self.check(&triggered.request)?;
        let state = match self.watcher.cache.height_of(&txid) {
            Some(height) => Penalty::Confirmed { height },
            None if verdict == Verdict::InChain => Penalty::Confirmed { height: self.height() },
            None => Penalty::Waiting { since: self.height() },
        };
        self.watcher.accept(&checked, false);
        let tracker = TransactionTracker {
            owner: Some(checked.id.user),
            dispute_txid: triggered.dispute_txid,
            dispute_height: self.watcher.cache.height_of(&triggered.dispute_txid),
            penalty: triggered.penalty,
            state,
            is_taken: matches!(verdict, Verdict::Waiting | Verdict::InChain),
            slots: slots_of(&checked.appointment.sealed),
        };
        self.responder.handle_breach(checked.id, tracker);
        Ok(self.accepted(&checked))
    }

    /// A user's appointment.
    ///
    /// # Errors
    /// [`Refusal::NotAUser`], [`Refusal::Expired`], [`Refusal::NotFound`].
    pub fn get_appointment(&self, locator: Locator, signature: &str) -> Result<AppointmentState<'_>, Refusal> {
        let message = signature::get_appointment_message(&locator);
        let (user, _) = self.watcher.authenticate(&message, signature, self.height())?;
        let id = AppointmentId { user, locator };
        let tracker = self.responder.tracker(&id).filter(|t| t.owner == Some(user)).map(AppointmentState::Responded);
        self.watcher.appointment(&id).map(AppointmentState::Watched).or(tracker).ok_or(Refusal::NotFound)
    }

    /// A user's subscription, and the locators of his appointments, triggered ones included.
    ///
    /// # Errors
    /// [`Refusal::NotAUser`], [`Refusal::Expired`].
    pub fn get_subscription_info(&self, signature: &str) -> Result<(Subscription, Vec<Locator>), Refusal> {
        let (user, subscription) =
            self.watcher.authenticate(GET_SUBSCRIPTION_INFO_MESSAGE, signature, self.height())?;
        let watched = self.watcher.appointments_of(&user).map(|(id, _)| id);
        let triggered = self.responder.trackers_of(&user).filter(|(_, t)| t.owner.is_some()).map(|(id, _)| id);
        let theirs = watched.chain(triggered).map(|id| id.locator).collect();
        Ok((*subscription, theirs))
    }

    /// What has to be written now.
    pub fn take_changes(&mut self) -> Changes {
        let (users, appointments) = self.watcher.take_changed();
        let last_block = std::mem::take(&mut self.block_changed).then_some(self.last_block);
        Changes { users, appointments, trackers: self.responder.take_changed(), last_block }
    }
}
