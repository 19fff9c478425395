//! `--door mailbox`.

use ibgib_pairing::hashcash::BITS_MAX;
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
    /// Demand a proof of work of each connection to the mailbox server, each bit twice as much as the one before: 20 take
    /// about a second. The original command knows none and is shut out, and the relay of 2015 is not served
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=i64::from(BITS_MAX)))]
    mailbox_hashcash: Option<u32>,
}

impl MailboxArgs {
    /// Whether anything is said about the mailbox server.
    pub(crate) fn is_any(&self) -> bool {
        self.mailbox_no_list || self.mailbox_notice.is_some() || self.mailbox_hashcash.is_some()
    }
}

/// The door; on a listener of its own it says at `/` what it is.
pub(crate) fn open(args: &MailboxArgs, host: &Arc<Host>, apart: bool) -> MailboxDoor {
    let limits = Limits { allow_list: !args.mailbox_no_list, ..Limits::default() };
    let options = MailboxOptions {
        limits,
        motd: args.mailbox_notice.clone(),
        hashcash_bits: args.mailbox_hashcash.unwrap_or_default(),
        ..MailboxOptions::default()
    };
    MailboxDoor::new(Arc::clone(host.space()), options, apart)
}
