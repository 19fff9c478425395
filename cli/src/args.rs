//! What can be said on the command line.

mod pairing;
mod vault;

pub(crate) use pairing::{
    Meet, NewCode, Pair, Transit, Wormhole, WormholeAction, WormholeReceive, WormholeResume, WormholeSend,
};

use crate::doors::DoorArgs;
use crate::spaces;
use clap::builder::{PathBufValueParser, TypedValueParser as _};
use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
pub(crate) use vault::{Account, Backup, InVault, RestoreIdentity, VaultAction, VaultCommand};

/// Keeps folders and documents in step between machines, with full history and without losing an edit.
#[derive(Debug, Parser)]
#[command(name = "ibgib", version, propagate_version = true, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 done with new conflicts or refused paths, 4 integrity, \
    5 not found, 6 locked, 7 identity, 8 peer unreachable or cut, 130 interrupted.\n\
    Environment: IBGIB_DIR, IBGIB_REMOTE, IBGIB_SECRET_FILE, IBGIB_SECRET_COMMAND, IBGIB_LOG, IBGIB_PAGER, \
    PAGER, NO_COLOR."
)]
pub(crate) struct Args {
    /// The device's folder, or one inside it [default: .]
    #[arg(short = 'C', value_name = "DIR", global = true, help_heading = "Everywhere")]
    pub(crate) dir: Option<PathBuf>,
    /// A bare space instead of a device's, a directory or postgres://USER@HOST/DATABASE, or @FILE that names one: for
    /// reading, put, export and import (a directory while nobody else has it open), and for serve
    #[arg(long, value_name = "DIR", global = true, help_heading = "Everywhere")]
    #[arg(value_parser = PathBufValueParser::new().try_map(spaces::named))]
    pub(crate) space: Option<PathBuf>,
    /// Results as JSON, one object on one line (or one per line for lists)
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// No progress and no remarks
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,
    /// More logs on stderr; twice for all
    #[arg(short, long, global = true, help_heading = "Everywhere", action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// File that holds the identity's secret, `-` for stdin: 64 hex digits, or a passphrase
    #[arg(long, value_name = "FILE", global = true, help_heading = "Everywhere")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Colours: on a terminal, unless NO_COLOR is set; or whatever is said here
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", global = true, help_heading = "Everywhere")]
    pub(crate) color: When,
    /// File with the certificates (PEM) of the authorities that may vouch for https servers; remembered for the server
    #[arg(long, value_name = "FILE", global = true, help_heading = "Everywhere")]
    pub(crate) ca: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a folder a device: a store, an identity, and a new folder timeline (or one that others have)
    Init(Init),
    /// Make a new device from a folder that a server has
    Clone(Clone),
    /// The device's identity
    Identity(Identity),
    /// Take all changes on disk into the store
    Snapshot,
    /// Snapshot, exchange with a server what either side lacks, merge, and check out
    Sync(Sync),
    /// Make files equal to their newest frames
    Checkout(Checkout),
    /// Give a file the content of an earlier frame, as a new frame
    Restore(Restore),
    /// Take files out of the folder that stay on this disk
    Untrack(Untrack),
    /// Rules of ignoring that came from elsewhere and would let more leave this device
    Ignore(Ignore),
    /// Take back what was done here last: a snapshot, a restore, or the settling of conflicts
    Undo(Undo),
    /// Do again what the last undo took back
    Redo(Undo),
    /// Show what differs between the disk and the store, or between two frames of a file
    Diff(Diff),
    /// What a snapshot would take, what the server does not have yet, and what waits there
    Status(Status),
    /// Newest frames of timelines
    Tips(Tips),
    /// History of a file or a timeline, newest first
    Log(Log),
    /// One ibgib, or a file's bytes
    Show(Show),
    /// All ibgibs that one depends on, dependencies first
    Graph(Graph),
    /// What both sides changed at the same place, and how to settle it
    Conflicts,
    /// Settle conflicts, as a new frame
    Resolve(Resolve),
    /// Store ibgibs from stdin (JSON Lines), all or none
    Put,
    /// fork, mut8, rel8 or firstGen, as JSON Lines on stdin
    Transform(Transform),
    /// Addresses of ibgibs on stdin (JSON Lines)
    Addr(Mode),
    /// Check ibgibs on stdin (JSON Lines)
    Verify(Mode),
    /// Keystones
    Keystone(Keystone),
    /// Re-hash and walk everything in the store
    Fsck(Fsck),
    /// Write a bundle of everything, or of what some addresses need
    Export(Export),
    /// Copy a server's space as it is now, also while the server runs: with records and keys, which a bundle leaves out
    Backup {
        /// The copy: a directory that is made, and can be served
        dir: PathBuf,
    },
    /// Forget sessions that are over and their transcripts, and give back their room; servers and devices do it once a day
    Gc {
        /// Only tell what would be forgotten
        #[arg(long)]
        dry_run: bool,
    },
    /// Read a bundle: all of it or nothing
    Import(Import),
    /// Let somebody come to the server: prints one text that is all he needs
    Invite(Invite),
    /// Who may do what at the server
    Grants(Grants),
    /// Take frames out of the server's space, which its owner may: drop them, allow them again, see what is dropped
    Space(Space),
    /// Who was let in at the server or paired with this device, and when each connected last
    Devices,
    /// What servers have confirmed to this device, checked without asking anybody
    Receipts(Receipts),
    /// Two devices come to know each other by a code: the second one ends as a clone of the folder
    Pair(Pair),
    /// Send a text, a file or a directory to another device by a code; works with magic-wormhole's command
    Wormhole(Wormhole),
    /// Whether a server works: what it tells of itself
    Health {
        /// Its URL
        #[arg(default_value = "http://127.0.0.1:7070")]
        url: String,
    },
    /// Run a space server
    Serve(Box<Serve>),
    /// Make another key for a server's own certificate (serve --tls self): it is taken when the server starts the next time, or
    /// gets SIGHUP, and the space's keystone signs for it then, so that clients who know that go on to it by themselves
    NewTlsKey,
    /// An encrypted document (passwords, settings) that is in step on all of your devices
    Vault(VaultCommand),
    /// What the owner of a tower (serve --door tower) may know of it
    Tower(Tower),
    /// Show everything once: a server, two devices, edits on both, and the proof that all is equal
    Demo(Demo),
    /// Settings
    Config(Config),
    /// Help for a command, or the manual pages of all
    Help(Help),
    /// Completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Help {
    /// Which command; all of them when none is given
    pub(crate) command: Vec<String>,
    /// Write manual pages (roff) into this directory, one for each command
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "command")]
    pub(crate) man: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Where [default: the directory given with -C, or .]
    #[arg(id = "device", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Join a folder of other devices: its name or address, or the beginning of either. The server given with --remote
    /// is asked for it; without one its whole address is needed
    #[arg(long, value_name = "FOLDER")]
    pub(crate) join: Option<String>,
    /// The new folder's name [default: the directory's]
    #[arg(long, conflicts_with = "join")]
    pub(crate) name: Option<String>,
    /// What the new folder keeps of files beside their content, on all devices
    #[arg(long, value_name = "WHAT", value_delimiter = ',', conflicts_with = "join")]
    pub(crate) keep: Vec<Kept>,
    /// The device's name, which others see beside its edits [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) device_name: Option<String>,
    /// Server to sync with: http(s):// or ws(s)://
    #[arg(long, value_name = "URL")]
    pub(crate) remote: Option<String>,
    /// The token that makes this device the owner of the server's space: 'ibgib serve' prints it
    #[arg(long, value_name = "T", requires = "remote")]
    pub(crate) token: Option<String>,
    /// Ignore what .gitignore files say, too
    #[arg(long)]
    pub(crate) gitignore: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kept {
    /// When they were last changed
    Times,
    /// Who may read, write and execute them; never that group and others may write
    Modes,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Clone {
    /// The server's URL, or an invite; '-' reads the invite from stdin
    #[arg(value_name = "URL|INVITE")]
    pub(crate) url: String,
    /// The new device's directory
    #[arg(id = "device", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Which folder, by its name or address or the beginning of either; needed when the server has several
    #[arg(long)]
    pub(crate) folder: Option<String>,
    /// The device's name, which others see beside its edits [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub(crate) device_name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Identity {
    #[command(subcommand)]
    pub(crate) action: IdentityAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityAction {
    /// Make a new identity, which replaces the device's
    New,
    /// Show the identity, what is left of its pools, and evidence of misuse
    Show,
    /// Bring an identity that older versions made over to signatures that bind what they sign, here and at the server
    Rotate,
    /// Take the identity back from whoever has its secret, here and at the server: the device gets a new one. Lifts what
    /// was held against the identity, and a revocation
    Recover {
        /// The recovery secret, which was made with the identity ('-' for stdin) [default: .ibgib/recovery]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        recovery_secret_file: Option<PathBuf>,
    },
    /// Put the identity's secret into this device's vault, and push it: for the day on which this machine is lost
    Backup(Backup),
    /// Take an identity out of this device's vault, in the place of the device's own; the server is asked for its frames
    Restore(RestoreIdentity),
    /// End the identity for ever, here and at the server; asks first
    Revoke {
        /// Why, for whoever looks at it later
        #[arg(long, default_value = "revoked by its owner")]
        reason: String,
        /// Do not ask: needed where nobody can be asked
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Sync {
    /// The server; remembered for the next time
    pub(crate) url: Option<String>,
    /// Only send
    #[arg(long, conflicts_with = "pull")]
    pub(crate) push: bool,
    /// Only fetch
    #[arg(long)]
    pub(crate) pull: bool,
    /// Only this file or timeline, and what it relates to; may be repeated
    #[arg(long, value_name = "PATH|ADDR", value_hint = ValueHint::AnyPath)]
    pub(crate) only: Vec<String>,
    /// Every living timeline that the server lets this device read, not only the folder's
    #[arg(long, conflicts_with = "only")]
    pub(crate) all: bool,
    /// Which folder to check out, on a device that was cloned before the server let it in; needed when the server has
    /// several
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<String>,
    /// Do not take a snapshot first
    #[arg(long)]
    pub(crate) no_snapshot: bool,
    /// Leave the files as they are
    #[arg(long)]
    pub(crate) no_checkout: bool,
    /// Only tell what would be done (nothing is snapshot, sent, fetched or checked out)
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Send and take deletions also of more than half of the folder's files
    #[arg(long)]
    pub(crate) allow_mass_delete: bool,
    /// Stay, and sync whenever files or the server change, until interrupted (exit code 130)
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) watch: bool,
    /// Give up after this many seconds; with --watch, on one sync
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

impl Sync {
    /// As without a flag.
    pub(crate) fn plain() -> Self {
        Self {
            url: None,
            push: false,
            pull: false,
            only: Vec::new(),
            all: false,
            folder: None,
            no_snapshot: false,
            no_checkout: false,
            dry_run: false,
            allow_mass_delete: false,
            watch: false,
            timeout: None,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Ask the server what waits there
    #[arg(long)]
    pub(crate) fetch: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Checkout {
    /// Files and directories; everything when none is given
    pub(crate) paths: Vec<PathBuf>,
    /// A frame of the one file given, instead of its newest
    #[arg(long, value_name = "ADDR", requires = "paths")]
    pub(crate) at: Option<String>,
    /// Overwrite work that is in no snapshot
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// The file
    pub(crate) path: PathBuf,
    /// The frame whose content it gets
    #[arg(long, value_name = "ADDR")]
    pub(crate) at: String,
    /// Overwrite work that is in no snapshot
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Untrack {
    /// Files and directories; other devices delete them
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ignore {
    #[command(subcommand)]
    pub(crate) action: IgnoreAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IgnoreAction {
    /// Show the rules that wait for an answer, and what is kept back until then
    List,
    /// Agree to them: what was kept back is taken with the next snapshot
    Accept {
        /// Do not ask: needed where nobody can be asked
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Undo {
    /// Only tell what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask before many files, or all of the folder's first ones, are removed
    #[arg(long)]
    pub(crate) yes: bool,
    /// Overwrite work that is in no snapshot
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The file; all changed files when missing
    pub(crate) path: Option<PathBuf>,
    /// From this frame [default: the one that was checked out]
    pub(crate) a: Option<String>,
    /// To this frame [default: the file on disk]
    pub(crate) b: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TipKind {
    /// People's and programs' data
    Living,
    /// Identities
    Keystone,
    /// Transcripts of sagas
    Saga,
    /// What a server's doors keep
    Door,
    /// All of them
    All,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tips {
    /// Which timelines
    #[arg(long, value_enum, default_value = "living")]
    pub(crate) kind: TipKind,
    /// Only a folder and what it relates to; by its name or address or the beginning of either
    #[arg(long, conflicts_with = "kind")]
    pub(crate) folder: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// A path, an address (`ib^gib`), or at least 8 digits that a gib starts with. A timeline's first frame stands
    /// for its newest
    #[arg(value_name = "PATH|ADDR", value_hint = ValueHint::AnyPath)]
    pub(crate) target: String,
    /// What each frame changed in the file
    #[arg(short, long)]
    pub(crate) patch: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// A path, an address, or at least 8 digits that a gib starts with
    #[arg(value_name = "PATH|ADDR", value_hint = ValueHint::AnyPath)]
    pub(crate) target: String,
    /// The file's bytes at that frame
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Graph {
    /// A path, an address, or at least 8 digits that a gib starts with
    #[arg(value_name = "PATH|ADDR", value_hint = ValueHint::AnyPath)]
    pub(crate) target: String,
    /// From every timeline met, go on to its newest frame
    #[arg(long)]
    pub(crate) live: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("how").required(true))]
pub(crate) struct Resolve {
    /// A file, or a conflict: its address, or at least 8 digits that its gib starts with
    #[arg(value_name = "PATH|ADDR", value_hint = ValueHint::AnyPath, required_unless_present = "all")]
    pub(crate) target: Option<String>,
    /// Settle every open conflict the same way
    #[arg(long, conflicts_with = "target")]
    pub(crate) all: bool,
    /// What stands there now is right
    #[arg(long, group = "how")]
    pub(crate) keep: bool,
    /// Take what this device made of it
    #[arg(long, group = "how")]
    pub(crate) yours: bool,
    /// Take what the other device made of it
    #[arg(long, group = "how")]
    pub(crate) theirs: bool,
    /// Edit both sides in $VISUAL or $EDITOR, and take what that leaves
    #[arg(long, group = "how")]
    pub(crate) edit: bool,
    /// Run a merge tool on $BASE, $LOCAL, $REMOTE and $MERGED, and take what it leaves in the last
    #[arg(long, group = "how", value_name = "CMD")]
    pub(crate) tool: Option<String>,
    /// Take the merge's base, whoever made it
    #[arg(long, group = "how")]
    pub(crate) base: bool,
    /// Take the side that the merge joined with its base
    #[arg(long, group = "how")]
    pub(crate) orphan: bool,
    /// Take what both sides had before
    #[arg(long, group = "how")]
    pub(crate) ancestor: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Mode {
    /// Bit for bit as the original implementation does it
    #[arg(long)]
    pub(crate) compat: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Transform {
    /// Bit for bit as the original implementation does it; nothing is stored
    #[arg(long)]
    pub(crate) compat: bool,
    /// Only print
    #[arg(long)]
    pub(crate) no_store: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Keystone {
    #[command(subcommand)]
    pub(crate) action: KeystoneAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeystoneAction {
    /// Check that one frame of an identity follows another
    Validate(KeystoneValidate),
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeystoneValidate {
    /// File with the frame before, `-` for stdin
    pub(crate) prev: PathBuf,
    /// File with the next frame, `-` for stdin
    pub(crate) next: PathBuf,
    /// As the original implementation validates
    #[arg(long, conflicts_with_all = ["verb", "target", "demand"])]
    pub(crate) compat: bool,
    /// The verb that the claim must have
    #[arg(long)]
    pub(crate) verb: Option<String>,
    /// The target that the claim must have
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// A challenge that must have been demanded; may be repeated
    #[arg(long, value_name = "ID")]
    pub(crate) demand: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The bundle, `-` for stdout
    pub(crate) file: PathBuf,
    /// Only what these need; everything when none is given
    #[arg(value_name = "ADDR")]
    pub(crate) addrs: Vec<String>,
    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Receipts {
    /// Forget what a server has confirmed, and by which keystone it is known: its keeper has put a backup in its place
    #[arg(long, value_name = "URL|SPACE")]
    pub(crate) forget: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Fsck {
    /// Put good copies in the place of damaged nodes: from a server, or from a bundle
    #[arg(long, value_name = "URL|BUNDLE")]
    pub(crate) repair_from: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The bundle, `-` for stdin
    pub(crate) file: PathBuf,
    /// Only check it
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyKind {
    /// Anybody may register an identity and sync
    Open,
    /// Only identities in the file given with --allow
    Allow,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// Into which folder, by its name or address; '*' for everything at the server [default: this device's]
    #[arg(long)]
    pub(crate) folder: Option<String>,
    /// For reading alone
    #[arg(long)]
    pub(crate) read: bool,
    /// For a program that has no identity, as a web page: nobody comes in with it, but who shows the secret that is printed
    /// reads over HTTP as long as it is good
    #[arg(long, conflicts_with_all = ["uses", "qr"])]
    pub(crate) program: bool,
    /// How many identities may use it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) uses: u32,
    /// How long it can be used: 90m, 12h, 7d
    #[arg(long, value_name = "T", default_value = "7d")]
    pub(crate) expires: String,
    /// Show it as a QR code, too
    #[arg(long)]
    pub(crate) qr: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Grants {
    #[command(subcommand)]
    pub(crate) action: Option<GrantsAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GrantsAction {
    /// End all that somebody was granted, or an invite that is open
    Revoke {
        /// An identity, the name of its device, or an invite's id; of addresses and ids the beginning will do
        who: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Space {
    #[command(subcommand)]
    pub(crate) action: SpaceAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpaceAction {
    /// Take frames out: the server and the devices that sync with it go back to before them and take them in no more;
    /// what others edited later stays
    Drop(DropFrames),
    /// Let frames that were dropped come in again, from whoever still has them
    Allow {
        /// Their addresses, or the first digits of those that are here
        #[arg(required = true, num_args = 1..=64)]
        frames: Vec<String>,
    },
    /// The frames that are dropped, who dropped them and when
    Dropped,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DropFrames {
    /// Frames, by address or by the first digits of one that is here ('ibgib log' tells them); with --by, files
    #[arg(required = true, num_args = 1..=64)]
    pub(crate) what: Vec<String>,
    /// All frames of these files that say that this device made them: its name, or its identity
    #[arg(long, value_name = "DEVICE")]
    pub(crate) by: Option<String>,
    /// Without being asked
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
    pub(crate) listen: String,
    /// Who may sync [default: only the owner, who is named with --owner or comes with the token that is printed]
    #[arg(long, value_enum)]
    pub(crate) policy: Option<PolicyKind>,
    /// The identity that owns the space from now on
    #[arg(long, value_name = "IDENTITY", conflicts_with = "policy")]
    pub(crate) owner: Option<String>,
    /// Identities that may sync, one address a line, # for comments; read again on SIGHUP
    #[arg(long, value_name = "FILE", required_if_eq("policy", "allow"))]
    pub(crate) allow: Option<PathBuf>,
    /// Take new identities of this strategy although its signatures bind nothing
    #[arg(long, value_name = "STRATEGY", value_parser = ["hash-reveal-v1"])]
    pub(crate) allow_strategy: Vec<String>,
    /// A name by which the server is called, as a proxy before it passes on; may be given several times. Without one
    /// a server on loopback answers to this machine's own names only
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The server's certificate and those between it and its authority, in PEM; read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// `self`: a certificate of the server's own, around a key that is made once and kept with the space; clients
    /// remember the key, and are led from it to the one that 'ibgib new-tls-key' makes
    #[arg(long, value_enum, conflicts_with_all = ["tls_cert", "tls_key"])]
    pub(crate) tls: Option<TlsKind>,
    /// Listen beyond this machine although nothing is encrypted
    #[arg(long)]
    pub(crate) allow_plain_text: bool,
    /// Another value for one of the server's limits (docs/limits.md); may be given several times
    #[arg(long = "limit", value_name = "NAME=N")]
    pub(crate) limits: Vec<String>,
    /// Serve the developer tools page too; on loopback only, and only for whoever has the address that is printed
    #[arg(long, conflicts_with_all = ["tls", "tls_cert"])]
    pub(crate) dev_tools: bool,
    #[command(flatten)]
    pub(crate) doors: DoorArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tower {
    #[command(subcommand)]
    pub(crate) action: TowerAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TowerAction {
    /// Leave a revocation of this device's identity with a tower, which ends the identity when somebody uses a copy of it
    Guard {
        /// The tower, a door of the server: `http://HOST:PORT`
        #[arg(long, value_name = "URL")]
        tower: String,
        /// Up to which block of the tower at least; it makes one every ten minutes [default: as long as it gives]
        #[arg(long, value_name = "N")]
        until: Option<u32>,
        /// Do so after each sync, too, without being asked
        #[arg(long)]
        auto: bool,
    },
    /// Ask the towers that guard this device's identity whether they still do, and hand over what they lack
    Check,
    /// How it stands: its id, the last block that it looked at, and whether what it follows answers
    Info,
    /// Its users, with their slots and the ends of their subscriptions
    Users,
    /// Its appointments, those that wait and those that were answered
    Appointments {
        /// Only those for this locator: 32 hex digits
        #[arg(long, value_name = "L")]
        locator: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TlsKind {
    #[value(name = "self")]
    Own,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// The folder to show it with, which is only read [default: documents of this project]
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Keep what it made
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Show the settings in force
    Show {
        /// Tell where each comes from
        #[arg(long)]
        origin: bool,
    },
}
