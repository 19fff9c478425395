//! Stopping a saga before it moves more than its user may have meant.

use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_saga::TimelineSummary;
use std::fmt;

/// Looks at what a saga would do, and at what it brought, before any of that is published here. A saga of which it lets nothing
/// be published ends with [`ibgib_saga::SagaError::Cancelled`], as if its caller had stopped it, which he did: the receiver
/// keeps what it was sent, and here everything stays as it was.
#[async_trait]
pub trait Guard: fmt::Debug + Send + Sync {
    /// Whether a saga that would do this goes on, before anything moves; asked where more timelines differ than
    /// [`ibgib_saga::SyncRequest::moves_max`]. One that does not ends with a summary of what it would have done.
    async fn goes_on(&self, foreseen: &[TimelineSummary]) -> bool;

    /// What a frame holds of that which the guard watches over, in a word that is equal for equal contents; `None` if
    /// it holds nothing.
    fn holds(&self, frame: &Verified<IbGib>) -> Option<String>;

    /// Whether these timelines may move.
    fn allows(&self, moves: &[Moved]) -> bool;
}

/// A timeline that a saga is about to move, with what the guard made of its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The timeline.
    pub tjp: Addr,
    /// What its tip holds now.
    pub before: Option<String>,
    /// What the one to come holds.
    pub after: Option<String>,
}
