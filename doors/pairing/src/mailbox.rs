//! The mailbox server, without sockets, clock or store.
//!
//! A server carries sealed messages between two devices. What it keeps are *rows*: one for each number in use
//! ([`NameplateRow`]), one for each mailbox ([`MailboxRow`]) and one for each message ([`Kept`]). A frame from a client goes through three steps:
//!
//! 1. [`Conversation::receive`] checks it against what this connection did before, and gives an [`Ask`].
//! 2. The caller loads the rows that [`Ask::wants`] names and calls [`Rows::apply`], which changes them.
//! 3. The caller writes the changed rows in one commit, and only then sends the answer: an echo is a receipt. When
//!    somebody else changed the same rows meanwhile, it loads and applies again.
//!
//! Listeners are told what a mailbox holds beyond what they have seen, from the rows; so any number of servers can share
//! one store, and a server that is killed forgets nothing.
//!
//! It differs from the original server (`magic-wormhole-mailbox-server` 0.8) where that one harms its users: a third
//! party who comes to a number is refused without a trace in the rows, so the two honest sides can still reconnect; both
//! sides may close without releasing; one mailbox id can be used under two application ids; odd frames are answered by
//! an error instead of a dropped connection.

mod conversation;
mod rows;

pub use conversation::{Ask, Conversation, Said, Wants, Who};
pub use rows::{
    Kept, Limits, MailboxRow, MailboxSide, NameplateRow, NameplateSide, Outcome, Refusal, Rows, Usage, UsageOf,
    free_number,
};
