//! What a device keeps of a vault, and the password that opens it.
//!
//! `.ibgib/vault` is one file, written as a whole. What it tells without a password is where the vault is and how far this
//! device is with it. The document is encrypted under the root password, as the server's copy is. The keys derived from
//! the password, the token, and what of the document was not pushed yet are encrypted under the device's own secret: after
//! another device changed the password, the new one does not open the old document, and what was changed here has to be
//! merged all the same.

mod password;
mod state;

pub(crate) use password::{Prompt, read as read_password, show_again};
pub(crate) use state::{Keys, State, lock_key, wrong_password};
