//! A device: a folder with `.ibgib/` in it.

use crate::args::Args;
use crate::codes::Code;
use crate::config::{self, ConfigFile, Setting};
use crate::error::{CliError, Exit};
use crate::output::{Output, show};
use crate::secret;
use crate::spaces::{self, look_into, open_store, patiently};
use ibgib::Addr;
use ibgib::transform::Moment;
use ibgib_folder::{EntryPath, Folder, FolderError, FolderOpts, Remembered};
use ibgib_keystone::Secret;
use ibgib_peer::SecretSource;
use ibgib_peer::entropy::{now_ms, random};
use ibgib_spaces::{Commit, Space, durable};
use rustix::fs::Access;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory that makes a folder a device.
pub(crate) const DIR: &str = ".ibgib";
/// The setting that makes `.gitignore` files count.
pub(crate) const GITIGNORE: &str = "gitignore";
/// The local record that names the device's identity.
const IDENTITY: &str = "device/identity";
/// The local record with what the device calls itself.
const NAME: &str = "device/name";

/// The parts of a device's directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout(pub(crate) PathBuf);

impl Layout {
    pub(crate) fn space(&self) -> PathBuf {
        self.0.join("space")
    }
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }
    pub(crate) fn secret(&self) -> PathBuf {
        self.0.join("secret")
    }
    /// The secret by which the identity is taken back, until its owner has put it elsewhere.
    pub(crate) fn recovery(&self) -> PathBuf {
        self.0.join("recovery")
    }
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }
    /// There from the beginning of a clone to its end: where it leads, so that it can be repeated.
    pub(crate) fn cloning(&self) -> PathBuf {
        self.0.join("cloning")
    }
    /// What the device keeps of a vault.
    pub(crate) fn vault(&self) -> PathBuf {
        self.0.join("vault")
    }
    /// What the device keeps of towers that guard its identity.
    pub(crate) fn towers(&self) -> PathBuf {
        self.0.join("towers")
    }
    /// A token that the server was not brought yet.
    pub(crate) fn token(&self) -> PathBuf {
        self.0.join("token")
    }
    /// Locked for as long as a `sync --watch` runs.
    pub(crate) fn watch(&self) -> PathBuf {
        self.0.join("watch")
    }
}

/// An open device; nobody else has it open.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) root: PathBuf,
    pub(crate) layout: Layout,
    pub(crate) space: Arc<dyn Space>,
    pub(crate) config: ConfigFile,
    user: Option<ConfigFile>,
    /// Of the folder, which each step opens for itself.
    remembered: Remembered,
    /// Freed when the process ends, however it ends. None when it was opened only to look, beside somebody who has it.
    _lock: Option<File>,
}

/// Time and entropy for one edit.
pub(crate) fn moment() -> Moment {
    Moment { now_ms: now_ms(), random: random() }
}

/// The directory that the command line names.
pub(crate) fn start(args: &Args) -> PathBuf {
    let dir = args.dir.clone().or_else(|| config::env("IBGIB_DIR").map(PathBuf::from));
    dir.unwrap_or_else(|| PathBuf::from("."))
}

/// The device's folder, if there is one: the directory given or the nearest above it that has `.ibgib/`.
pub(crate) fn root(args: &Args) -> Result<Option<PathBuf>, CliError> {
    let whole = whole_start(args)?;
    Ok(whole.ancestors().find(|dir| dir.join(DIR).is_dir()).map(Path::to_owned))
}

fn whole_start(args: &Args) -> Result<PathBuf, CliError> {
    let start = start(args);
    fs::canonicalize(&start).map_err(|e| CliError::io(&start, &e))
}

/// As [`root`], where there must be one.
fn find_root(args: &Args) -> Result<PathBuf, CliError> {
    let whole = whole_start(args)?;
    root(args)?.ok_or_else(|| {
        CliError::new(Code::NoDevice, format!("no {DIR} in {} or above it", whole.display()))
            .about(whole.display().to_string())
            .hint("make it a device with 'ibgib init', or clone one with 'ibgib clone URL DIR'")
    })
}

/// Bytes of the longest name of a folder or a device.
const NAME_BYTES_MAX: usize = 255;

fn try_lock(path: &Path) -> Result<Option<File>, CliError> {
    let opened = File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = opened.map_err(|e| CliError::io(path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(CliError::io(path, &e)),
    }
}

fn locked(layout: &Layout, who: &str) -> CliError {
    CliError::new(Code::Locked, format!("{who} {}", layout.0.display()))
        .about(layout.0.display().to_string())
        .hint("wait until it is done, or stop it")
}

/// Takes the lock of a device's directory.
pub(crate) fn lock(layout: &Layout) -> Result<File, CliError> {
    patiently(|| try_lock(&layout.lock())?.ok_or_else(|| locked(layout, "another ibgib works on")))
}

/// Takes the lock that one watcher of a device has.
pub(crate) fn lock_watch(layout: &Layout) -> Result<File, CliError> {
    try_lock(&layout.watch())?.ok_or_else(|| locked(layout, "another 'ibgib sync --watch' runs on"))
}

impl Device {
    /// Opens the device that the command line names.
    pub(crate) fn open(args: &Args) -> Result<Self, CliError> {
        Self::at(find_root(args)?)
    }

    /// Opens the device that the command line names only to read it: beside a command that works on it, and where nothing
    /// can be written.
    pub(crate) fn look(args: &Args) -> Result<Self, CliError> {
        let root = find_root(args)?;
        let layout = Layout(root.join(DIR));
        match File::open(layout.lock()) {
            // Nobody can work on it from here: there is nothing to be locked out of.
            Ok(_) if rustix::fs::access(layout.lock(), Access::WRITE_OK).is_err() => {
                let space = durable::open_read_only(&layout.space())?;
                Self::of(root, None, space)
            }
            _ => {
                let lock = try_lock(&layout.lock())?;
                let space = match lock {
                    Some(_) => look_into(&layout.space())?,
                    None => patiently(|| Ok(durable::open_read_only(&layout.space())?))?,
                };
                Self::of(root, lock, space)
            }
        }
    }

    pub(crate) fn at(root: PathBuf) -> Result<Self, CliError> {
        let lock = lock(&Layout(root.join(DIR)))?;
        Self::with(root, lock)
    }

    /// As [`Device::at`], for a watcher: `None` while somebody else has the device.
    pub(crate) fn at_once(root: &Path) -> Result<Option<Self>, CliError> {
        let lock = try_lock(&Layout(root.join(DIR)).lock())?;
        lock.map(|lock| Self::with(root.to_owned(), lock)).transpose()
    }

    fn with(root: PathBuf, lock: File) -> Result<Self, CliError> {
        let space = open_store(&Layout(root.join(DIR)).space())?;
        Self::of(root, Some(lock), space)
    }

    fn of(root: PathBuf, lock: Option<File>, space: Arc<dyn Space>) -> Result<Self, CliError> {
        let layout = Layout(root.join(DIR));
        let config = ConfigFile::read(&layout.config())?;
        let user = config::user_path().map(|p| ConfigFile::read(&p)).transpose()?;
        tracing::debug!(root = %root.display(), "opened the device");
        Ok(Self { root, layout, space, config, user, remembered: Remembered::default(), _lock: lock })
    }

    /// The server that the device syncs with.
    pub(crate) fn remote(&self) -> Option<Setting> {
        config::setting("remote", "IBGIB_REMOTE", Some(&self.config), self.user.as_ref())
    }

    /// Remembers the server.
    pub(crate) fn remember(&mut self, url: &str) -> Result<(), CliError> {
        if self.config.get("remote").as_deref() == Some(url) {
            return Ok(());
        }
        self.config.set("remote", url);
        self.config.write()
    }

    pub(crate) async fn identity(&self) -> Result<Addr, CliError> {
        let record = self.space.record(IDENTITY).await?;
        let addr = record.and_then(|b| String::from_utf8(b).ok()).and_then(|t| t.parse().ok());
        addr.ok_or_else(|| {
            CliError::new(Code::IdentityUnknown, "this device has no identity")
                .hint("make one with 'ibgib identity new'")
        })
    }

    pub(crate) async fn set_identity(space: &dyn Space, identity: &Addr) -> Result<(), CliError> {
        let records = vec![(IDENTITY.to_owned(), Some(identity.as_str().as_bytes().to_vec()))];
        space.commit(Commit { records, ..Commit::default() }).await?;
        Ok(())
    }

    /// What the device calls itself; the machine's name if nobody named it.
    pub(crate) async fn name(&self) -> Result<String, CliError> {
        let record = self.space.record(NAME).await?;
        Ok(record.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(host_name))
    }

    pub(crate) async fn set_name(space: &dyn Space, name: &str) -> Result<(), CliError> {
        let records = vec![(NAME.to_owned(), Some(name.as_bytes().to_vec()))];
        space.commit(Commit { records, ..Commit::default() }).await?;
        Ok(())
    }

    /// The identity's secret.
    pub(crate) fn secret(&mut self, args: &Args) -> Result<Secret, CliError> {
        secret::find(args, &self.layout.secret(), &mut self.config)
    }

    /// The secret by which a new identity of this device can be taken back.
    pub(crate) fn recovery_secret(&self) -> Result<Secret, CliError> {
        secret::recovery(&self.layout.recovery())
    }

    /// As the engine asks for it.
    pub(crate) fn secret_source(&mut self, args: &Args) -> Result<SecretSource, CliError> {
        secret::source(args, self.layout.secret(), &mut self.config)
    }

    /// How the folder is worked on here.
    pub(crate) fn folder_opts(&self) -> FolderOpts {
        FolderOpts { gitignore: self.config.is_on(GITIGNORE) }
    }

    /// The folder, with its progress shown.
    pub(crate) async fn folder(&self, out: &Output) -> Result<Folder, CliError> {
        let screen = out.screen().clone();
        let folder = Folder::open(Arc::clone(&self.space), &self.root).await?;
        let folder = folder.with_opts(self.folder_opts()).remembering(&self.remembered);
        let folder = folder.on_progress(move |p| show(&screen, &p));
        match self.identity().await {
            Ok(identity) => Ok(folder.by(ibgib_folder::Device { identity, name: self.name().await? })),
            Err(error) if error.exit == Exit::Identity => Ok(folder),
            Err(error) => Err(error),
        }
    }

    /// The folder's timeline, if the device has one.
    pub(crate) async fn folder_tjp(&self) -> Result<Option<Addr>, CliError> {
        match Folder::open(Arc::clone(&self.space), &self.root).await {
            Ok(folder) => Ok(Some(folder.tjp().clone())),
            Err(FolderError::Unbound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A path as given, as the folder's entries spell it.
    pub(crate) fn entry(&self, args: &Args, path: &Path) -> Result<EntryPath, CliError> {
        self.entry_or_root(args, path)?.ok_or_else(|| {
            CliError::usage("the folder itself is no entry; name a file").about(path.display().to_string())
        })
    }

    /// As [`Device::entry`]; `None` for the folder itself.
    pub(crate) fn entry_or_root(&self, args: &Args, path: &Path) -> Result<Option<EntryPath>, CliError> {
        let whole = clean(&whole_start(args)?.join(path));
        let inside = whole.strip_prefix(&self.root).map_err(|_| {
            CliError::usage(format!("{} is outside the folder {}", path.display(), self.root.display()))
                .about(path.display().to_string())
        })?;
        Ok((!inside.as_os_str().is_empty()).then(|| EntryPath::from_relative(inside)))
    }
}

/// What the machine is called.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().trim().to_owned();
    if name.is_empty() { "device".to_owned() } else { name }
}

/// A name as it was given.
pub(crate) fn check_name(name: &str) -> Result<&str, CliError> {
    let fits = !name.trim().is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if fits { Ok(name) } else { Err(CliError::usage(format!("{name:?} is no name")).about(name)) }
}

/// Resolves `.` and `..` by name, since what is named need not exist.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// A store to read: the bare space of `--space`, or the device's.
pub(crate) enum Store {
    Bare(Arc<dyn Space>),
    Device(Box<Device>),
}

impl Store {
    pub(crate) async fn open(args: &Args) -> Result<Self, CliError> {
        match &args.space {
            Some(space) => Ok(Self::Bare(spaces::open(space).await?)),
            None => Ok(Self::Device(Box::new(Device::open(args)?))),
        }
    }

    /// As [`Store::open`], only to read it.
    pub(crate) async fn look(args: &Args) -> Result<Self, CliError> {
        match &args.space {
            Some(space) => Ok(Self::Bare(spaces::look(space).await?)),
            None => Ok(Self::Device(Box::new(Device::look(args)?))),
        }
    }

    pub(crate) fn space(&self) -> &Arc<dyn Space> {
        match self {
            Self::Bare(space) => space,
            Self::Device(device) => &device.space,
        }
    }

    pub(crate) fn device(&self) -> Option<&Device> {
        match self {
            Self::Bare(_) => None,
            Self::Device(device) => Some(device),
        }
    }

    /// What an argument names: an address, a file of the folder, or the node whose gib starts with these digits.
    pub(crate) async fn resolve(&self, args: &Args, text: &str) -> Result<Named, CliError> {
        if text.contains('^') && !text.starts_with("./") {
            let addr = parse_addr(text)?;
            return Ok(Named::Addr(addr));
        }
        let mut missing = CliError::not_found("file", text);
        if let Some(device) = self.device() {
            let path = device.entry(args, Path::new(text));
            match (&path, Folder::open(Arc::clone(&device.space), &device.root).await) {
                (Ok(path), Ok(folder)) => match folder.tip(path).await {
                    Ok(tip) => return Ok(Named::File(path.clone(), tip)),
                    Err(FolderError::NoEntry(_)) => {}
                    Err(error) => return Err(error.into()),
                },
                (Err(error), _) => missing = error.clone(),
                (_, Err(error)) => missing = error.into(),
            }
        }
        if text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Self::by_prefix(&**self.space(), text).await.map(Named::Addr);
        }
        Err(missing)
    }

    /// The node whose gib starts with `digits`.
    pub(crate) async fn by_prefix(space: &dyn Space, digits: &str) -> Result<Addr, CliError> {
        let digits = digits.to_ascii_uppercase();
        if digits.len() < 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(CliError::usage(format!("{digits:?} is neither an address nor 8 or more digits of a gib")));
        }
        let mut found: Vec<Addr> = Vec::new();
        let mut after = None;
        loop {
            let batch = space.scan(after, 1024).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.key);
            let nodes = batch.into_iter().filter_map(|e| e.node.ok());
            found.extend(nodes.map(|n| n.addr().clone()).filter(|a| a.gib().starts_with(&digits)));
        }
        if found.len() > 1 {
            let all: Vec<&str> = found.iter().map(Addr::as_str).collect();
            return Err(
                CliError::usage(format!("{digits} is the start of several gibs: {}", all.join(", "))).about(digits)
            );
        }
        found.pop().ok_or_else(|| CliError::not_found("gib", digits))
    }
}

/// What an argument names.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    /// An address, which need not be here.
    Addr(Addr),
    /// A file and its newest frame.
    File(EntryPath, Addr),
}

impl Named {
    pub(crate) fn addr(&self) -> &Addr {
        match self {
            Self::Addr(addr) | Self::File(_, addr) => addr,
        }
    }
}

pub(crate) fn parse_addr(text: &str) -> Result<Addr, CliError> {
    text.parse().map_err(|e: ibgib::AddrError| CliError::usage(format!("{text:?} is no address: {e}")).about(text))
}
