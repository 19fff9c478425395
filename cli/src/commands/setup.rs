//! `init` and `clone`: new devices.

use super::syncing::{no_folder, once, which_folder};
use crate::args::{self, Args};
use crate::codes::Code;
use crate::config::ConfigFile;
use crate::device::{DIR, Device, GITIGNORE, Layout, lock, moment, parse_addr, start};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::Made;
use crate::secret;
use ibgib::Addr;
use ibgib_folder::Folder;
use ibgib_peer::{Remote, WebSocketRemote, identity};
use ibgib_saga::{Code as Protocol, Limits, Refusal, SagaError};
use ibgib_spaces::{DurableSpace, Space};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder timeline of a new device.
enum Start {
    New,
    Join(Addr),
    /// The server tells once it lets us in.
    Unknown,
}

/// What a new device's `config.toml` says.
#[derive(Clone, Copy)]
struct Settings<'a> {
    remote: Option<&'a str>,
    gitignore: bool,
}

pub(crate) async fn init(args: &Args, out: &Output, init: &args::Init) -> Result<Exit, CliError> {
    let root = init.dir.clone().unwrap_or_else(|| start(args));
    let begin = match &init.join {
        Some(folder) => Start::Join(parse_addr(folder)?),
        None => Start::New,
    };
    if let Some(url) = &init.remote {
        WebSocketRemote::new(url, Limits::default().message_bytes_max)?;
    }
    let settings = Settings { remote: init.remote.as_deref(), gitignore: init.gitignore };
    let made = make(args, &root, begin, settings, false).await?;
    out.report(&Made { root, ..made })?;
    Ok(Exit::Done)
}

/// Makes `.ibgib/` beside its place and renames it in, so that a half-made one never stands there.
async fn make(
    args: &Args,
    given: &Path,
    begin: Start,
    settings: Settings<'_>,
    cloning: bool,
) -> Result<Made, CliError> {
    let new = !given.exists();
    fs::create_dir_all(given).map_err(|e| CliError::io(given, &e))?;
    let root = fs::canonicalize(given).map_err(|e| CliError::io(given, &e))?;
    let place = root.join(DIR);
    if place.exists() {
        return Err(CliError::new(Code::Exists, format!("{} is a device already", root.display()))
            .about(place.display().to_string())
            .hint("'ibgib status' tells about it"));
    }
    let fresh = Layout(root.join(format!("{DIR}.new")));
    // Whoever else has an account here reads neither the secret nor the store, whatever the umask says.
    let private = fs::DirBuilder::new().recursive(true).mode(0o700).create(&fresh.0);
    private.map_err(|e| CliError::io(&fresh.0, &e))?;
    let result = fill(args, &root, &fresh, begin, settings).await;
    let result = result.and_then(|(made, lock)| {
        if let (true, Some(remote)) = (cloning, settings.remote) {
            fs::write(fresh.cloning(), remote).map_err(|e| CliError::io(&fresh.cloning(), &e))?;
        }
        fs::rename(&fresh.0, &place)
            .and_then(|()| fs::File::open(&root)?.sync_all())
            .map_err(|e| CliError::io(&place, &e))?;
        drop(lock);
        Ok(made)
    });
    if !matches!(&result, Err(error) if error.exit == Exit::Locked) && result.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(&fresh.0);
        if new {
            let _ = fs::remove_dir(&root);
        }
    }
    result
}

async fn fill(
    args: &Args,
    root: &Path,
    fresh: &Layout,
    begin: Start,
    settings: Settings<'_>,
) -> Result<(Made, fs::File), CliError> {
    let held = lock(fresh)?;
    // What an init that was killed left behind.
    for path in [fresh.config(), fresh.secret()] {
        if path.exists() {
            fs::remove_file(&path).map_err(|e| CliError::io(&path, &e))?;
        }
    }
    if fresh.space().exists() {
        fs::remove_dir_all(fresh.space()).map_err(|e| CliError::io(&fresh.space(), &e))?;
    }
    let mut config = ConfigFile::read(&fresh.config())?;
    if let Some(remote) = settings.remote {
        config.set("remote", remote);
    }
    if settings.gitignore {
        config.turn_on(GITIGNORE);
    }
    config.write()?;
    let secret = secret::find_or_make(args, &fresh.secret(), &mut config)?;
    let space: Arc<dyn Space> = Arc::new(DurableSpace::create(&fresh.space())?);
    let chain = identity::create(&*space, &secret).await?;
    Device::set_identity(&*space, chain.tjp()).await?;
    let folder = match begin {
        Start::New => Some(Folder::create(Arc::clone(&space), root, &mut moment).await?),
        Start::Join(tjp) => Some(Folder::join(Arc::clone(&space), root, tjp).await?),
        Start::Unknown => None,
    };
    let made = Made {
        root: root.to_owned(),
        folder: folder.map(|f| f.tjp().clone()),
        identity: chain.tjp().clone(),
        remote: settings.remote.map(str::to_owned),
    };
    Ok((made, held))
}

pub(crate) async fn clone(args: &Args, out: &Output, clone: &args::Clone) -> Result<Exit, CliError> {
    let remote = WebSocketRemote::new(&clone.url, Limits::default().message_bytes_max)?;
    let dir = &clone.dir;
    // Whether it is a space server at all, before its answers are taken for one's.
    remote.audience().await?;
    if let Some(dir) = begun(clone)? {
        let device = Device::at(dir.clone())?;
        let identity = device.identity().await?;
        return finish(args, out, clone, &dir, device, &identity).await;
    }
    let begin = match &clone.folder {
        Some(folder) => Start::Join(parse_addr(folder)?),
        None => match remote.tips_of("folder").await {
            Ok(folders) => match &folders[..] {
                [(folder, _)] => Start::Join(folder.clone()),
                [] => {
                    return Err(no_folder(&clone.url));
                }
                several => return Err(which_folder(several.iter().map(|(folder, _)| folder))),
            },
            Err(SagaError::PeerRefused { why: Refusal::Known(Protocol::ReadingNeedsIdentity), .. }) => Start::Unknown,
            Err(error) => return Err(error.into()),
        },
    };
    // What a clone that was killed had begun to make is no content.
    let begun = OsString::from(format!("{DIR}.new"));
    let occupied = fs::read_dir(dir).is_ok_and(|all| all.flatten().any(|entry| entry.file_name() != begun));
    if occupied && !dir.join(DIR).exists() {
        return Err(CliError::new(Code::NotEmpty, format!("{} is not empty", dir.display()))
            .about(dir.display().to_string())
            .hint(
                "clone into a new directory; to track what is there as part of the folder, use 'ibgib init --join'",
            ));
    }
    let settings = Settings { remote: Some(&clone.url), gitignore: false };
    let made = make(args, dir, begin, settings, true).await?;
    let dir = fs::canonicalize(dir).map_err(|e| CliError::io(dir, &e))?;
    out.say(&format!("identity: {}", made.identity));
    finish(args, out, clone, &dir, Device::at(dir.clone())?, &made.identity).await
}

/// The clone that was begun in this directory, and was killed or refused before its end.
fn begun(clone: &args::Clone) -> Result<Option<PathBuf>, CliError> {
    let layout = Layout(clone.dir.join(DIR));
    let Ok(url) = fs::read_to_string(layout.cloning()) else { return Ok(None) };
    if url != clone.url {
        return Err(CliError::new(Code::Exists, format!("{} is a clone of {url}", clone.dir.display()))
            .about(layout.0.display().to_string())
            .hint("repeat it with that URL, or clone into another directory"));
    }
    fs::canonicalize(&clone.dir).map(Some).map_err(|e| CliError::io(&clone.dir, &e))
}

/// A clone is complete, also if another command completed it.
pub(super) fn cloned(device: &Layout) -> Result<(), CliError> {
    match fs::remove_file(device.cloning()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(CliError::io(&device.cloning(), &error)),
        _ => Ok(()),
    }
}

/// Fetches the folder into a new device.
async fn finish(
    args: &Args,
    out: &Output,
    clone: &args::Clone,
    dir: &Path,
    device: Device,
    identity: &Addr,
) -> Result<Exit, CliError> {
    out.say(&format!("if this is interrupted, 'ibgib -C {} sync' goes on", dir.display()));
    let layout = device.layout.clone();
    let plain = args::Sync {
        all: false,
        folder: clone.folder.clone(),
        url: None,
        push: false,
        pull: false,
        only: Vec::new(),
        no_snapshot: true,
        no_checkout: false,
        dry_run: false,
        watch: false,
        timeout: None,
    };
    match once(args, out, device, &plain).await {
        Ok(report) => {
            cloned(&layout)?;
            out.report(&report)?;
            Ok(report.exit())
        }
        Err(error) => {
            let next = format!("the new device is {}; 'ibgib -C {} sync' goes on", dir.display(), dir.display());
            let hint = match &error.hint {
                Some(hint) => format!("{hint}; {next}"),
                None => next,
            };
            let message = format!("{} (identity {identity})", error.message);
            Err(CliError { message, subject: Some(identity.to_string()), hint: Some(hint), ..error })
        }
    }
}
