//! The doors of `serve`: which ones, where, and how each is set up.

mod mailbox;
mod tower;
mod vault;

pub(crate) use tower::socket as tower_socket;

use crate::error::CliError;
use crate::kept::Kept;
use ibgib_pairing::server::{TransitDoor, TransitOptions};
use ibgib_peer::Host;
use ibgib_server::{Door, Mount};
use ibgib_vault::Vault;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

/// Where a transit relay listens on the server's host, unless it is told: there the original does, too.
const TRANSIT_PORT: u16 = 4001;

/// What `serve` is told about doors.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Doors")]
pub(crate) struct DoorArgs {
    /// Speak another protocol, too: `vault` keeps an encrypted document of each account in step (wallet-sync),
    /// `mailbox` carries sealed messages between devices that share a code (magic-wormhole), `transit` joins two devices
    /// for a file, `tower` watches a Bitcoin chain for its users (The Eye of Satoshi). On the server's own address, or on
    /// one of the door's own, which transit has in any case [default port: 4001]; may be given several times
    #[arg(long = "door", value_name = "NAME[@HOST:PORT]")]
    pub(crate) doors: Vec<String>,
    #[command(flatten)]
    pub(crate) vault: vault::VaultArgs,
    #[command(flatten)]
    pub(crate) mailbox: mailbox::MailboxArgs,
    #[command(flatten)]
    pub(crate) tower: tower::TowerArgs,
}

/// The doors that were asked for.
pub(crate) struct Doors<'a> {
    pub(crate) mounts: Vec<Mount>,
    args: &'a DoorArgs,
    vault: Option<Vault>,
}

impl<'a> Doors<'a> {
    /// Makes the doors over `host`, beside or in whose space is `kept` what servers keep, and whose server listens at
    /// `server`; `name` is what it is called.
    pub(crate) async fn new(
        args: &'a DoorArgs,
        host: &Arc<Host>,
        kept: &Kept<'_>,
        server: SocketAddr,
        name: Option<&String>,
    ) -> Result<Self, CliError> {
        let mut doors = Self { mounts: Vec::new(), args, vault: None };
        for text in &args.doors {
            let (kind, mut listen) = match text.split_once('@') {
                Some((kind, at)) => (kind, Some(address(at)?)),
                None => (text.as_str(), None),
            };
            if doors.mounts.iter().any(|mount| mount.door.name() == kind) {
                return Err(CliError::usage(format!("--door {kind} is given twice")).about(text));
            }
            let door: Arc<dyn Door> = match kind {
                "vault" => Arc::new({
                    let vault = vault::open(&args.vault, host, name, listen.unwrap_or(server))?;
                    doors.vault.insert(vault).clone()
                }),
                "mailbox" => Arc::new(mailbox::open(&args.mailbox, host, listen.is_some())),
                // It speaks no HTTP, so the server cannot listen for it.
                "transit" => {
                    let at = listen.take().unwrap_or_else(|| SocketAddr::new(server.ip(), TRANSIT_PORT));
                    Arc::new(TransitDoor::bind(at, TransitOptions::default()).await?)
                }
                "tower" => Arc::new(tower::open(&args.tower, host, kept).await?),
                _ => {
                    let why = format!("there is no door {kind:?}");
                    let hint = "write NAME or NAME@HOST:PORT; NAME is vault, mailbox, transit or tower";
                    return Err(CliError::usage(why).about(text).hint(hint));
                }
            };
            doors.mounts.push(Mount { door, listen });
        }
        if doors.vault.is_none() && args.vault.is_any() {
            let why = "options of the vault are given, but no --door vault";
            return Err(CliError::usage(why).hint("add --door vault, or --door vault@HOST:PORT"));
        }
        if args.mailbox.is_any() && !doors.mounts.iter().any(|mount| mount.door.name() == "mailbox") {
            let why = "options of the mailbox server are given, but no --door mailbox";
            return Err(CliError::usage(why).hint("add --door mailbox, or --door mailbox@HOST:PORT"));
        }
        if !doors.mounts.iter().any(|mount| mount.door.name() == "tower") && args.tower.is_any() {
            let why = "options of the tower are given, but no --door tower";
            return Err(CliError::usage(why).hint("add --door tower, or --door tower@HOST:PORT"));
        }
        Ok(doors)
    }

    /// Reads again what can change while serving. What cannot be read stays as it was.
    pub(crate) fn read_again(&self) {
        if let Some(vault) = &self.vault {
            match self.args.vault.admission() {
                Ok(admission) => {
                    vault.admit(admission);
                    tracing::info!("who may sign up to the vault was read again");
                }
                Err(error) => tracing::error!(%error, "who may sign up to the vault could not be read again"),
            }
        }
    }
}

/// An address to listen on.
pub(crate) fn address(text: &str) -> Result<SocketAddr, CliError> {
    let bad = |why: String| {
        CliError::usage(format!("{text:?} is no address to listen on: {why}"))
            .about(text)
            .hint("write HOST:PORT, as in 127.0.0.1:7070; port 0 takes a free one")
    };
    let mut all = text.to_socket_addrs().map_err(|e| bad(e.to_string()))?;
    all.next().ok_or_else(|| bad("the name has no address".into()))
}
