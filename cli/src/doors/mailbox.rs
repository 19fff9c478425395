//! `--door mailbox`.

use ibgib_pairing::mailbox::Limits;
use ibgib_pairing::server::{MailboxDoor, MailboxOptions};
use ibgib_peer::Host;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub(crate) struct MailboxArgs {
    /// Tell nobody which numbers of codes are in use; then they cannot be completed while a code is typed
    #[arg(long)]
    mailbox_no_list: bool,
    /// A notice for the people at the clients of the mailbox server
    #[arg(long, value_name = "TEXT")]
    mailbox_notice: Option<String>,
}

impl MailboxArgs {
    /// Whether anything is said about the mailbox server.
    pub(crate) fn is_any(&self) -> bool {
        self.mailbox_no_list || self.mailbox_notice.is_some()
    }
}

/// The door; on a listener of its own it says at `/` what it is.
pub(crate) fn open(args: &MailboxArgs, host: &Arc<Host>, apart: bool) -> MailboxDoor {
    let limits = Limits { allow_list: !args.mailbox_no_list, ..Limits::default() };
    let options = MailboxOptions { limits, motd: args.mailbox_notice.clone(), ..MailboxOptions::default() };
    MailboxDoor::new(Arc::clone(host.space()), options, apart)
}
