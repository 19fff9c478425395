//! The mailbox server and the transit relay as doors of a space server: sockets, clock and rows around the cores.

mod connection;
mod door;
mod first_form;
mod hub;
mod shared;
mod store;
mod transit;

pub use door::MailboxDoor;
pub use shared::MailboxOptions;
pub use transit::{TransitDoor, TransitOptions};
