//! The command's own codes, in one table: the code, the exit code that goes with it, what it means.
//!
//! A code is printed at the end, for scripts ([`crate::error::CliError`]); nothing in the command decides by its text.
//! What comes from syncing and from servers is told by the protocol's codes instead ([`ibgib_saga::codes`]).
//! `docs/command.md` holds the same table; a test compares them.

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    /// Done, with new conflicts or refused paths.
    Partly = 3,
    Integrity = 4,
    NotFound = 5,
    Locked = 6,
    Identity = 7,
    Peer = 8,
    Interrupted = 130,
}

macro_rules! codes {
    ($($name:ident = $text:literal, $exit:ident, $meaning:literal;)*) => {
        /// A row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code, in the table's order.
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is printed.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How the command ends.
            pub(crate) fn exit(self) -> Exit {
                match self { $(Self::$name => Exit::$exit,)* }
            }

            /// What it means, in a line.
            #[cfg(test)]
            fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

/// What ends a failure when the same command is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    /// Nothing.
    Never,
    /// Some time: somebody else was faster, or the disk or a directory is at fault.
    InTime,
    /// What people do about it in the folder.
    ByHand,
}

codes! {
    Usage = "usage", Usage, "the command line asks for what cannot be";
    Interrupted = "interrupted", Interrupted, "SIGINT or SIGTERM; everything stored so far is safe";

    NotFound = "not_found", NotFound, "a file, a directory or a node is not here";
    NoDevice = "no_device", NotFound, "no device in the directory or above it";
    NoFolder = "no_folder", NotFound, "the device, or the server, has no folder yet";
    NoEntry = "no_entry", NotFound, "the folder tracks no such path";
    NoConflict = "no_conflict", NotFound, "no such open conflict, or it cannot be settled so any more";
    NoStore = "no_store", NotFound, "the directory holds no store";

    Unsaved = "unsaved", Failed, "files hold work that is in no snapshot; nothing was done";
    NothingToUndo = "nothing_to_undo", Failed, "nothing that was done here is left to undo";
    NotEdited = "not_edited", Failed, "the editor or the merge tool failed, or left marks; nothing was settled";
    ConfirmationNeeded = "confirmation_needed", Failed, "it asks first, and nobody said yes; nothing was done";
    FileExists = "file_exists", Failed, "the file is there already; nothing was written";
    NothingToRedo = "nothing_to_redo", Failed, "nothing was undone, or something was done since";
    MassDelete = "mass_delete", Failed, "a sync would delete more than half of the folder's files; nothing was sent or taken";
    Exists = "exists", Failed, "the directory is a device already";
    NotEmpty = "not_empty", Failed, "a clone needs a new or empty directory";
    Bound = "bound", Failed, "the device has another folder already";
    BadConfig = "bad_config", Failed, "a `config.toml` that cannot be used";

    Busy = "busy", Failed, "others kept changing the same timelines; run it again";
    Locked = "locked", Locked, "another process has the device or the store";
    Unavailable = "unavailable", Peer, "the database that holds the space cannot be reached";
    NewerStore = "newer_store", Failed, "a newer version of the program wrote the store";
    Io = "io", Failed, "reading or writing failed";
    Permission = "permission", Failed, "the file system refuses";
    DiskFull = "disk_full", Failed, "no room on the disk; nothing was lost";
    Closed = "closed", Failed, "the store was closed";
    TooMany = "too_many", Failed, "a graph has more nodes than the limit";
    Commit = "commit", Failed, "the store does not take a commit";
    Folder = "folder", Failed, "a frame of the folder cannot be made or read";

    Corrupt = "corrupt", Integrity, "a stored node does not have its address";
    Missing = "missing", Integrity, "a node that another needs is not there";
    Damaged = "damaged", Integrity, "the store is damaged";
    DamagedBundle = "damaged_bundle", Integrity, "the bundle is damaged; nothing was imported";
    BadContent = "bad_content", Integrity, "a frame does not hold what it should";
    History = "history", Integrity, "a timeline's history does not hold";
    BadLines = "bad_lines", Integrity, "lines of stdin were bad; each is answered in its place";

    IdentityUnknown = "identity_unknown", Identity, "the device has no identity, or it is not here";
    IdentitySecret = "identity_secret", Identity, "the identity's secret cannot be had";

    Guessed = "wrong_code", Identity, "the code was mistyped or somebody guessed; nothing travelled, a new code is needed";
    VerifierRefused = "verifier_refused", Identity, "the person here said that the verifiers differ; nothing travelled";
    UsedUp = "code_used", Peer, "two devices have used this code already; a new one is needed";
    NobodyCame = "nobody_came", Peer, "the other device did not come in time, or went away";
    TransferRefused = "transfer_refused", Peer, "the other device does not take it";
    MailboxRefused = "mailbox_refused", Peer, "the mailbox server does not serve this device";
    BadMailbox = "bad_mailbox", Integrity, "the mailbox server broke its protocol";
    BadPeer = "bad_peer", Integrity, "the other device broke the protocol, or bytes changed on the way";
    BadState = "bad_state", Failed, "a saved wormhole cannot be gone on with";

    PortInUse = "port_in_use", Failed, "something listens on the port already";
    Certificate = "certificate", Failed, "the certificate of `serve`, or its key, cannot be used";
    PlainText = "plain_text", Usage, "listening beyond this machine without encryption was not asked for";
    Listen = "listen", Failed, "the address cannot be listened on";
    Signals = "signals", Failed, "the system gives no signals";
    Runtime = "runtime", Failed, "the system gives no threads";
    Registered = "registered", Failed, "the vault's server has the account already";
    NoVault = "no_vault", NotFound, "the device has no vault yet, or none answers there";
    NoKey = "no_key", NotFound, "the vault has no such key";
    UnknownAccount = "unknown_account", NotFound, "the vault's server has no account for the address";
    WrongPassword = "wrong_password", Identity, "the root password is another";
    NotVerified = "not_verified", Identity, "the link that was sent to the account's address was not opened yet";
    TokenInvalid = "token_invalid", Identity, "the vault's server takes the device's token no more; log in again";
    VaultRefused = "vault_refused", Failed, "the vault's server refuses";
    OutOfDate = "out_of_date", Failed, "the vault's server has something newer: pull first; nothing was done";
    UnpushedChanges = "unpushed_changes", Failed, "what was changed in the vault here is not at the server; nothing was done";
    ConflictsOpen = "conflicts_open", Failed, "keys of the vault are in conflict: set or unset them; nothing was done";
    BadHmac = "bad_hmac", Integrity, "the vault's document was not written by a device with this password";
    Rollback = "rollback", Integrity, "the vault's server shows an older document than this device has seen";
    DamagedVault = "damaged_vault", Integrity, "the vault's document, or what the device keeps of it, is damaged";
    NoTower = "no_tower", NotFound, "what answers there is no tower that guards identities";
    TowerRefused = "tower_refused", Failed, "the tower does not do what was asked, or cannot now";
    TowerMisbehaves = "tower_misbehaves", Integrity, "the tower signed something else than it said, or with another key";
    NotGuarded = "not_guarded", Identity, "the identity is past being guarded: revoked, or used in two places";
    Demo = "demo", Failed, "a step of the demo failed";
}

impl Code {
    /// What ends it.
    pub(crate) fn passes(self) -> Passes {
        match self {
            Self::Busy
            | Self::Locked
            | Self::Unavailable
            | Self::Unsaved
            | Self::Io
            | Self::Permission
            | Self::DiskFull => Passes::InTime,
            Self::MassDelete => Passes::ByHand,
            _ => Passes::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_documents_table_is_this_one() {
        let document = include_str!("../../docs/command.md");
        let (_, table) = document.split_once("| code | exit | meaning |\n|---|---|---|\n").unwrap();
        let told: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
        let row = |code: &Code| format!("| `{}` | {} | {} |", code.as_str(), code.exit() as u8, code.meaning());
        let rows: Vec<String> = Code::ALL.iter().map(row).collect();
        assert_eq!(told, rows, "docs/command.md should have\n{}", rows.join("\n"));
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len(), "each stands once");
    }
}
