//! What can be said of a vault on the command line.

use clap::{Subcommand, ValueHint};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct VaultCommand {
    #[command(flatten)]
    pub(crate) account: Account,
    #[command(subcommand)]
    pub(crate) action: VaultAction,
}

/// Which account, and who opens it.
#[derive(Debug, clap::Args)]
pub(crate) struct Account {
    /// The vault's server, without /api/3; remembered
    #[arg(long, value_name = "URL", global = true, help_heading = "Vault")]
    pub(crate) vault_url: Option<String>,
    /// The account's e-mail address, as typed when it was registered; remembered
    #[arg(long, value_name = "ADDRESS", global = true, help_heading = "Vault")]
    pub(crate) email: Option<String>,
    /// File that holds the root password, `-` for stdin; else it is asked for
    #[arg(long, value_name = "FILE", global = true, help_heading = "Vault", value_hint = ValueHint::FilePath)]
    pub(crate) password_file: Option<PathBuf>,
    /// What the server knows this device by [default: a random one]; remembered
    #[arg(long, value_name = "ID", global = true, help_heading = "Vault")]
    pub(crate) device: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VaultAction {
    /// Make the account, and log this device in
    Register,
    /// Log this device in; again after the password was changed elsewhere
    Login,
    /// Take what the server has, and merge it with what was changed here
    Pull,
    /// Give the server what was changed here
    Push,
    /// Where the vault is, how far this device is, and what waits to be pushed or settled
    Status,
    /// Print a key's value, as JSON
    Get {
        /// Which key; `/NAME` for another member of the document
        key: String,
    },
    /// Give a key a value, here; settles a conflict about it
    Set {
        /// Which key
        key: String,
        /// The value, as JSON: text has quotes
        value: String,
    },
    /// Take a key out, here; settles a conflict about it
    Unset {
        /// Which key
        key: String,
    },
    /// Change the root password; every device has to log in again
    Passwd {
        /// File that holds the new root password, `-` for stdin; else it is asked for
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        new_password_file: Option<PathBuf>,
    },
    /// Stay, and tell of everything that other devices push
    Watch {
        /// Pull it, too
        #[arg(long)]
        pull: bool,
    },
    /// The encrypted document: print it, take one, or open one
    Blob {
        /// Take this document (`-` for stdin) in the place of this device's; `push` gives it to the server
        #[arg(long, value_name = "FILE", conflicts_with = "open", value_hint = ValueHint::FilePath)]
        import: Option<PathBuf>,
        /// Print what is inside, as JSON: of a file, of stdin for `-`, else of this device's; needs no account
        #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "", value_hint = ValueHint::FilePath)]
        open: Option<String>,
    },
}

/// What of an identity goes into a vault or comes out of it.
#[derive(Debug, clap::Args)]
pub(crate) struct InVault {
    /// The vault that this device is logged in to: see 'ibgib vault'
    #[arg(long, required = true)]
    pub(crate) vault: bool,
    /// File that holds the vault's root password, `-` for stdin; else it is asked for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) password_file: Option<PathBuf>,
    /// The recovery secret, too, under a password of its own
    #[arg(long)]
    pub(crate) with_recovery: bool,
    /// File that holds the recovery secret's password, `-` for stdin; else it is asked for
    #[arg(long, value_name = "FILE", requires = "with_recovery", value_hint = ValueHint::FilePath)]
    pub(crate) recovery_password_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) what: InVault,
    /// The recovery secret, which was made with the identity ('-' for stdin) [default: .ibgib/recovery]
    #[arg(long, value_name = "FILE", requires = "with_recovery", value_hint = ValueHint::FilePath)]
    pub(crate) recovery_secret_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreIdentity {
    #[command(flatten)]
    pub(crate) what: InVault,
    /// Which identity, when the vault has several
    #[arg(value_name = "IDENTITY")]
    pub(crate) identity: Option<String>,
    /// Do not ask: needed where nobody can be asked
    #[arg(long)]
    pub(crate) yes: bool,
}
