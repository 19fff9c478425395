//! Appointments: sealed answers that wait for their trigger.

use crate::feed::Block;
use crate::gatekeeper::{Exhausted, Subscription, Terms, slots_of};
use crate::locator_cache::{BLOCKS, LocatorCache};
use crate::sealed::{self, BadAnswer, Dialect, Locator};
use crate::signature::{self, UserId};
use crate::transaction::{Transaction, Txid};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

/// One user's appointment for one trigger. Other users' for the same trigger are others: nobody can overwrite them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppointmentId {
    /// Whose.
    pub user: UserId,
    /// For what.
    pub locator: Locator,
}

impl AppointmentId {
    /// Everything of a user.
    pub(crate) fn all_of(user: &UserId) -> RangeInclusive<Self> {
        Self { user: *user, locator: Locator::FIRST }..=Self { user: *user, locator: Locator::LAST }
    }
}

/// A sealed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appointment {
    /// The answer, sealed under its trigger's id.
    pub sealed: Vec<u8>,
    /// What the user says of his channel; kept and given back.
    pub to_self_delay: u32,
    /// The user's signature over all of it.
    pub user_signature: String,
    /// The height from which it is watched.
    pub start_block: u32,
}

/// Why a request is not done. What each is over HTTP, each dialect says for itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The signature is none, or not that of a user.
    #[error("the signature is not that of a registered user")]
    NotAUser,
    /// The subscription is over.
    #[error("the subscription expired at {0}")]
    Expired(u32),
    /// Too few slots are left.
    #[error("the subscription has {left} slots left, and this takes {needed}")]
    NotEnoughSlots {
        /// What is left.
        left: u32,
        /// What it takes more than what is there.
        needed: u32,
    },
    /// There are as many users as the tower takes.
    #[error("the tower takes no more users than the {0} that it has")]
    NoMoreUsers(usize),
    /// The tower watches as many appointments as it takes.
    #[error("the tower takes no more appointments")]
    Full,
    /// It was triggered already, and cannot be changed.
    #[error("the appointment was triggered already")]
    AlreadyTriggered,
    /// The user's own for the same trigger waits already, and this tower exchanges none.
    #[error("another appointment for this trigger waits already")]
    Kept,
    /// Its trigger is in the chain already, and its answer is of no use.
    #[error(transparent)]
    BadAnswer(#[from] BadAnswer),
    /// Its trigger is in the chain already, and the network will never take its answer.
    #[error("the network does not take the answer")]
    AnswerRefused,
    /// The delay is shorter than the tower takes (Python dialect).
    #[error("to_self_delay is {got}, and has to be at least {least}")]
    DelayTooShort {
        /// What it is.
        got: u32,
        /// What it has to be.
        least: u32,
    },
    /// More slots than can be counted.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// No such appointment of this user.
    #[error("there is no such appointment")]
    NotFound,
}

/// What is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// For what.
    pub locator: Locator,
    /// The answer, sealed.
    pub sealed: Vec<u8>,
    /// What the user says of his channel.
    pub to_self_delay: u32,
    /// The user's signature.
    pub signature: String,
}

/// An appointment that is in order, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) id: AppointmentId,
    pub(crate) appointment: Appointment,
    pub(crate) slots_left: u32,
    /// Its trigger is in one of the newest blocks: the trigger's id, and the answer.
    pub(crate) triggered: Option<(Txid, Transaction)>,
}

/// All users and appointments, and the newest blocks.
#[derive(Clone, Debug)]
pub struct Watcher {
    pub(crate) terms: [Terms; 2],
    subscriptions: BTreeMap<UserId, Subscription>,
    appointments: BTreeMap<AppointmentId, Appointment>,
    by_locator: HashMap<Locator, BTreeSet<UserId>>,
    pub(crate) cache: LocatorCache,
    changed_users: BTreeSet<UserId>,
    changed_appointments: BTreeSet<AppointmentId>,
}

impl Watcher {
    /// A watcher without users, with terms for the Rust and the Python dialect.
    pub(crate) fn new(terms: [Terms; 2]) -> Self {
        Self {
            terms,
            subscriptions: BTreeMap::new(),
            appointments: BTreeMap::new(),
            by_locator: HashMap::new(),
            cache: LocatorCache::new(BLOCKS),
            changed_users: BTreeSet::new(),
            changed_appointments: BTreeSet::new(),
        }
    }

    pub(crate) fn terms(&self, dialect: Dialect) -> &Terms {
        match dialect {
            Dialect::Rust => &self.terms[0],
            Dialect::Python => &self.terms[1],
        }
    }

    /// A user's subscription.
    pub fn subscription(&self, user: &UserId) -> Option<&Subscription> {
        self.subscriptions.get(user)
    }

    /// All users.
    pub fn subscriptions(&self) -> impl ExactSizeIterator<Item = (&UserId, &Subscription)> {
        self.subscriptions.iter()
    }

    /// An appointment that waits.
    pub fn appointment(&self, id: &AppointmentId) -> Option<&Appointment> {
        self.appointments.get(id)
    }

    /// All appointments that wait.
    pub fn appointments(&self) -> impl ExactSizeIterator<Item = (&AppointmentId, &Appointment)> {
        self.appointments.iter()
    }

    /// A user's appointments that wait.
    pub fn appointments_of(&self, user: &UserId) -> impl Iterator<Item = (&AppointmentId, &Appointment)> {
        self.appointments.range(AppointmentId::all_of(user))
    }

    pub(crate) fn restore_user(&mut self, user: UserId, subscription: Subscription) {
        self.subscriptions.insert(user, subscription);
    }

    pub(crate) fn restore(&mut self, id: AppointmentId, appointment: Appointment) {
        self.by_locator.entry(id.locator).or_default().insert(id.user);
        self.appointments.insert(id, appointment);
    }

    /// Registers a user, or adds to his subscription.
    pub(crate) fn register(&mut self, user: UserId, dialect: Dialect, height: u32) -> Result<Subscription, Refusal> {
        let there = self.subscriptions.get(&user);
        let terms = self.terms(there.map_or(dialect, |s| s.dialect));
        if there.is_none() && self.subscriptions.len() >= terms.users_max {
            return Err(Refusal::NoMoreUsers(self.subscriptions.len()));
        }
        let subscription = Subscription::register(there, dialect, terms, height)?;
        self.set_subscription(user, subscription);
        Ok(subscription)
    }

    fn set_subscription(&mut self, user: UserId, subscription: Subscription) {
        self.subscriptions.insert(user, subscription);
        self.changed_users.insert(user);
    }

    /// Gives slots back to a user, if he is still one.
    pub(crate) fn give_back(&mut self, user: &UserId, slots: u32) {
        if let Some(subscription) = self.subscriptions.get_mut(user) {
            subscription.slots = subscription.slots.saturating_add(slots);
            self.changed_users.insert(*user);
        }
    }

    /// Who signed a message, if he is a user whose subscription goes on.
    pub(crate) fn authenticate(
        &self,
        message: &[u8],
        signature: &str,
        height: u32,
    ) -> Result<(UserId, &Subscription), Refusal> {
        let user = signature::signer(message, signature).ok_or(Refusal::NotAUser)?;
        let subscription = self.subscriptions.get(&user).ok_or(Refusal::NotAUser)?;
        if subscription.is_expired(height) {
            return Err(Refusal::Expired(subscription.expiry));
        }
        Ok((user, subscription))
    }

    /// Checks what a user hands over; nothing changes.
    pub(crate) fn check(
        &self,
        request: &Request,
        is_triggered: impl Fn(&AppointmentId) -> bool,
        count: usize,
        height: u32,
    ) -> Result<Checked, Refusal> {
        let message = signature::appointment_message(&request.locator, &request.sealed, request.to_self_delay);
        let (user, subscription) = self.authenticate(&message, &request.signature, height)?;
        let terms = self.terms(subscription.dialect);
        if subscription.dialect == Dialect::Python && request.to_self_delay < terms.min_delay {
            return Err(Refusal::DelayTooShort { got: request.to_self_delay, least: terms.min_delay });
        }
        let id = AppointmentId { user, locator: request.locator };
        if is_triggered(&id) {
            return Err(Refusal::AlreadyTriggered);
        }
        let there = self.appointments.get(&id);
        if there.is_some_and(|there| !terms.replaces && there.sealed != request.sealed) {
            return Err(Refusal::Kept);
        }
        if there.is_none() && count >= terms.appointments_max {
            return Err(Refusal::Full);
        }
        // What is there pays for what takes its place.
        let available = subscription.slots.saturating_add(there.map_or(0, |a| slots_of(&a.sealed)));
        let slots_left = available.checked_sub(slots_of(&request.sealed)).ok_or_else(|| Refusal::NotEnoughSlots {
            left: subscription.slots,
            needed: slots_of(&request.sealed) - (available - subscription.slots),
        })?;
        let trigger = self.cache.get_txid(&request.locator);
        let triggered = match trigger {
            Some(txid) => Some((txid, sealed::open(&request.sealed, &txid, subscription.dialect)?)),
            None => None,
        };
        let appointment = Appointment {
            sealed: request.sealed.clone(),
            to_self_delay: request.to_self_delay,
            user_signature: request.signature.clone(),
            start_block: height,
        };
        Ok(Checked { id, appointment, slots_left, triggered })
    }

    /// Slots and appointment change together, and are written together.
    pub(crate) fn accept(&mut self, checked: &Checked, keeps: bool) {
        if let Some(subscription) = self.subscriptions.get_mut(&checked.id.user) {
            subscription.slots = checked.slots_left;
            self.changed_users.insert(checked.id.user);
        }
        if keeps {
            self.restore(checked.id, checked.appointment.clone());
            self.changed_appointments.insert(checked.id);
        } else {
            self.remove(&checked.id);
        }
    }

    pub(crate) fn remove(&mut self, id: &AppointmentId) -> Option<Appointment> {
        let appointment = self.appointments.remove(id)?;
        if let Some(users) = self.by_locator.get_mut(&id.locator) {
            users.remove(&id.user);
            if users.is_empty() {
                self.by_locator.remove(&id.locator);
            }
        }
        self.changed_appointments.insert(*id);
        Some(appointment)
    }

    /// Users whose data has to go at this height; their appointments go, and they themselves.
    pub(crate) fn remove_outdated(&mut self, height: u32) -> BTreeSet<UserId> {
        let outdated: BTreeSet<UserId> = self
            .subscriptions
            .iter()
            .filter(|(_, s)| s.is_outdated(height, self.terms(s.dialect)))
            .map(|(user, _)| *user)
            .collect();
        for user in &outdated {
            let theirs: Vec<AppointmentId> = self.appointments_of(user).map(|(id, _)| *id).collect();
            for id in theirs {
                self.remove(&id);
            }
            self.subscriptions.remove(user);
            self.changed_users.insert(*user);
        }
        outdated
    }

    /// Appointments whose trigger the block holds, with it.
    pub(crate) fn get_breaches(&self, block: &Block) -> Vec<(AppointmentId, Txid)> {
        let mut out = Vec::new();
        for txid in &block.txids {
            for dialect in [Dialect::Rust, Dialect::Python] {
                let locator = Locator::of(txid, dialect);
                for user in self.by_locator.get(&locator).into_iter().flatten() {
                    // The locator of another dialect says nothing: its bytes are chosen by the user.
                    if self.subscriptions.get(user).is_some_and(|s| s.dialect == dialect) {
                        out.push((AppointmentId { user: *user, locator }, *txid));
                    }
                }
            }
        }
        out
    }

    /// Opens the answers of breaches, each equal one once; an answer that is of no use is told as such.
    pub(crate) fn filter_breaches(
        &self,
        breaches: &[(AppointmentId, Txid)],
    ) -> Vec<(AppointmentId, Txid, Result<Transaction, BadAnswer>)> {
        let mut opened: HashMap<(&[u8], Txid, Dialect), Result<Transaction, BadAnswer>> = HashMap::new();
        breaches
            .iter()
            .filter_map(|(id, txid)| {
                let appointment = self.appointments.get(id)?;
                let dialect = self.subscriptions.get(&id.user)?.dialect;
                let answer = opened
                    .entry((appointment.sealed.as_slice(), *txid, dialect))
                    .or_insert_with(|| sealed::open(&appointment.sealed, txid, dialect));
                Some((*id, *txid, answer.clone()))
            })
            .collect()
    }

    pub(crate) fn take_changed(&mut self) -> (BTreeSet<UserId>, BTreeSet<AppointmentId>) {
        (std::mem::take(&mut self.changed_users), std::mem::take(&mut self.changed_appointments))
    }
}
