//! `init` and `clone`: new devices.

use super::accept::{accept, keep};
use super::line::no_folder;
use super::syncing::once;
use crate::args::{self, Args};
use crate::brief::Known;
use crate::codes::Code;
use crate::config::{ConfigFile, SERVERS};
use crate::device::{DIR, Device, GITIGNORE, Layout, check_name, host_name, lock, moment, start};
use crate::error::{CliError, Exit};
use crate::folders::{at_server, choose, unasked, which};
use crate::output::Output;
use crate::remote;
use crate::report::Made;
use crate::secret;
use ibgib::Addr;
use ibgib_folder::{Folder, Keeping};
use ibgib_peer::{Invite, Remote, WebSocketRemote, identity, know_keystone};
use ibgib_spaces::durable;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder timeline of a new device.
enum Start {
    /// With this name, else the directory's; what it keeps of files.
    New(Option<String>, Keeping),
    Join(Addr),
    /// The server tells once it lets us in.
    Unknown,
}

/// What is known of a server: members of its table in the settings.
type Pins = [(&'static str, String)];

/// A folder that another device told of.
pub(super) struct Told<'a> {
    pub(super) url: &'a str,
    pub(super) pins: &'a Pins,
    /// By which keystone its space signs.
    pub(super) keystone: Option<(&'a str, &'a Addr)>,
    /// What the server is to be brought.
    pub(super) token: Option<&'a str>,
    pub(super) folder: &'a Addr,
}

/// How a new device is set up.
#[derive(Clone, Copy)]
struct Settings<'a> {
    /// The URL as it was given, and the server there.
    remote: Option<(&'a str, &'a WebSocketRemote)>,
    /// What an invite or another device told of that server.
    pins: &'a Pins,
    /// And by which keystone its space, with this id, signs.
    keystone: Option<(&'a str, &'a Addr)>,
    gitignore: bool,
    /// What the server is to be brought.
    token: Option<&'a str>,
    /// What it calls itself.
    device: &'a str,
}

pub(crate) async fn init(args: &Args, out: &Output, init: &args::Init) -> Result<Exit, CliError> {
    let root = init.dir.clone().unwrap_or_else(|| start(args));
    let name = init.name.as_deref().map(check_name).transpose()?.map(str::to_owned);
    let device = device_name(init.device_name.as_deref())?;
    let remote = match &init.remote {
        Some(url) => Some(remote::remote(args, None, url).await?),
        None => None,
    };
    let begin = match (&init.join, &remote) {
        (None, _) => {
            let keep = |what| init.keep.contains(&what);
            Start::New(name, Keeping { times: keep(args::Kept::Times), modes: keep(args::Kept::Modes) })
        }
        (Some(folder), None) => Start::Join(unasked(folder)?),
        (Some(folder), Some(remote)) => Start::Join(ask(remote, folder).await?),
    };
    let settings = Settings {
        remote: init.remote.as_deref().zip(remote.as_ref()),
        pins: &[],
        keystone: None,
        gitignore: init.gitignore,
        token: init.token.as_deref(),
        device: &device,
    };
    let made = make(args, &root, begin, settings, false).await?;
    if let Some(remote) = &remote {
        let accepted = accept(&Layout(made.root.join(DIR)), remote, &made.identity).await;
        accepted.map_err(|error| {
            let next = format!("{} is a device all the same", root.display());
            let hint = error.hint.as_ref().map_or_else(|| next.clone(), |hint| format!("{next}; {hint}"));
            error.hint(hint)
        })?;
    }
    out.report(&Made { root, ..made })?;
    Ok(Exit::Done)
}

fn device_name(given: Option<&str>) -> Result<String, CliError> {
    given.map_or_else(|| Ok(host_name()), |name| check_name(name).map(str::to_owned))
}

/// The folder that is meant at a server, which must have it if it tells what it has.
async fn ask(remote: &WebSocketRemote, folder: &str) -> Result<Addr, CliError> {
    remote.audience().await?;
    match at_server(remote).await? {
        Some(all) => choose(&all, folder, remote.url()),
        None => unasked(folder),
    }
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
        if let (true, Some((url, _))) = (cloning, settings.remote) {
            fs::write(fresh.cloning(), url).map_err(|e| CliError::io(&fresh.cloning(), &e))?;
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
    for path in [fresh.config(), fresh.secret(), fresh.recovery(), fresh.token()] {
        if path.exists() {
            fs::remove_file(&path).map_err(|e| CliError::io(&path, &e))?;
        }
    }
    if fresh.space().exists() {
        fs::remove_dir_all(fresh.space()).map_err(|e| CliError::io(&fresh.space(), &e))?;
    }
    let mut config = ConfigFile::read(&fresh.config())?;
    if let Some((url, remote)) = settings.remote {
        config.set("remote", url);
        for (member, text) in settings.pins {
            config.set_in_tables(SERVERS, remote.url(), member, text);
        }
        remote::remember(args, &mut config, remote)?;
        if let Some(token) = settings.token {
            keep(fresh, remote, token)?;
        }
    }
    if settings.gitignore {
        config.turn_on(GITIGNORE);
    }
    config.write()?;
    let secret = secret::find_or_make(args, &fresh.secret(), &mut config)?;
    let space = durable::create(&fresh.space())?;
    ibgib_spaces::begin(&*space).await?;
    if let Some((server, keystone)) = settings.keystone {
        know_keystone(&*space, server, keystone).await?;
    }
    let recovery = secret::recovery(&fresh.recovery())?;
    let chain = identity::create_with_recovery(&*space, &secret, &recovery).await?;
    Device::set_identity(&*space, chain.tjp()).await?;
    Device::set_name(&*space, settings.device).await?;
    let folder = match begin {
        Start::New(name, keeping) => {
            let me = ibgib_folder::Device { identity: chain.tjp().clone(), name: settings.device.to_owned() };
            let folder = Folder::create(Arc::clone(&space), root, &mut moment).await?.by(me);
            let directory = || root.file_name().map_or("folder".into(), |name| name.to_string_lossy().into_owned());
            folder.set_name(&name.unwrap_or_else(directory), &mut moment).await?;
            if keeping != Keeping::default() {
                folder.set_keeping(keeping, &mut moment).await?;
            }
            Some(folder)
        }
        Start::Join(tjp) => Some(Folder::join(Arc::clone(&space), root, tjp).await?),
        Start::Unknown => None,
    };
    let name = match &folder {
        Some(folder) => folder.names().await?.folder,
        None => None,
    };
    let made = Made {
        root: root.to_owned(),
        folder: folder.map(|f| Known { tjp: f.tjp().clone(), name }),
        device: settings.device.to_owned(),
        identity: chain.tjp().clone(),
        remote: settings.remote.map(|(url, _)| url.to_owned()),
    };
    Ok((made, held))
}

pub(crate) async fn clone(args: &Args, out: &Output, clone: &args::Clone) -> Result<Exit, CliError> {
    let dir = &clone.dir;
    let invite = invite(&clone.url)?;
    let clone = &match &invite {
        None => args::Clone {
            url: clone.url.clone(),
            dir: dir.clone(),
            folder: clone.folder.clone(),
            device_name: clone.device_name.clone(),
        },
        Some(invite) => args::Clone {
            url: invite.url.clone(),
            dir: dir.clone(),
            folder: clone.folder.clone().or_else(|| invite.folder.as_ref().map(Addr::to_string)),
            device_name: clone.device_name.clone(),
        },
    };
    let token = invite.as_ref().map(|invite| invite.token.clone());
    let begun = begun(clone)?;
    let device = begun.clone().map(Device::at).transpose()?;
    let remote = match (&invite, &device) {
        (Some(invite), None) => remote::invited(args, invite)?,
        (_, device) => remote::remote(args, device.as_ref(), &clone.url).await?,
    };
    // Whether it is a space server at all, before its answers are taken for one's.
    remote.audience().await?;
    if let (Some(dir), Some(mut device)) = (begun, device) {
        // One that was not let in with the invite before.
        if let (Some(invite), Some(token)) = (&invite, &token) {
            keep(&device.layout, &remote, token)?;
            remote::remember_rights(&mut device.config, &clone.url, invite.read_only)?;
        }
        let identity = device.identity().await?;
        return finish(args, out, clone, &dir, device, &identity).await;
    }
    let begin = match &clone.folder {
        Some(folder) => match at_server(&remote).await? {
            Some(all) => Start::Join(choose(&all, folder, remote.url())?),
            // Who may read there is told what folders are called, once he is let in.
            None => folder.parse().map_or(Start::Unknown, Start::Join),
        },
        None => match at_server(&remote).await?.as_deref() {
            Some([only]) => Start::Join(only.tjp.clone()),
            Some([]) => return Err(no_folder(&clone.url)),
            Some(several) => return Err(which(several)),
            None => Start::Unknown,
        },
    };
    vacant(dir)?;
    let device = device_name(clone.device_name.as_deref())?;
    let pins = invite.as_ref().map(remote::pins).unwrap_or_default();
    let settings = Settings {
        remote: Some((&clone.url, &remote)),
        pins: &pins,
        keystone: invite.as_ref().and_then(keystone_of),
        gitignore: false,
        token: token.as_deref(),
        device: &device,
    };
    let made = make(args, dir, begin, settings, true).await?;
    let dir = fs::canonicalize(dir).map_err(|e| CliError::io(dir, &e))?;
    out.say(&format!("identity: {}", made.identity));
    finish(args, out, clone, &dir, Device::at(dir.clone())?, &made.identity).await
}

/// By which keystone an invite knows the space that it leads to.
pub(super) fn keystone_of(invite: &Invite) -> Option<(&str, &Addr)> {
    Some((&invite.space, invite.keystone.as_ref()?))
}

/// A clone needs a place where nothing is.
fn vacant(dir: &Path) -> Result<(), CliError> {
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
    Ok(())
}

/// Clones a folder that another device told of, at a server that is known from it; answers the new device's identity.
pub(super) async fn clone_told(args: &Args, out: &Output, told: &Told<'_>, dir: &Path) -> Result<Addr, CliError> {
    // What is known stands in settings that are never written.
    let mut known = ConfigFile::read(&dir.join(format!("{DIR}.told")))?;
    let base = WebSocketRemote::base(told.url)?;
    for (member, text) in told.pins {
        known.set_in_tables(SERVERS, &base, member, text);
    }
    let remote = remote::told(args, Some(&known), told.url)?;
    remote.audience().await?;
    vacant(dir)?;
    let settings = Settings {
        remote: Some((told.url, &remote)),
        pins: told.pins,
        keystone: told.keystone,
        gitignore: false,
        token: told.token,
        device: &host_name(),
    };
    let made = make(args, dir, Start::Join(told.folder.clone()), settings, true).await?;
    let dir = fs::canonicalize(dir).map_err(|e| CliError::io(dir, &e))?;
    let folder = Some(told.folder.to_string());
    let clone = args::Clone { url: told.url.to_owned(), dir: dir.clone(), folder, device_name: None };
    finish(args, out, &clone, &dir, Device::at(dir.clone())?, &made.identity).await?;
    Ok(made.identity)
}

/// The invite that a text is, or that stdin says.
fn invite(text: &str) -> Result<Option<Invite>, CliError> {
    let read = match text {
        "-" => {
            let mut read = String::new();
            std::io::stdin().take(64 * 1024).read_to_string(&mut read).map_err(|e| CliError::io(Path::new("-"), &e))?;
            // What 'ibgib invite' prints goes on for people.
            read.lines().next().unwrap_or_default().to_owned()
        }
        text if Invite::is_meant(text) => text.to_owned(),
        _ => return Ok(None),
    };
    read.parse().map(Some).map_err(|error: ibgib_peer::InviteError| {
        CliError::usage(error.to_string()).hint("take the whole line that 'ibgib invite' printed")
    })
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
    mut device: Device,
    identity: &Addr,
) -> Result<Exit, CliError> {
    out.say(&format!("if this is interrupted, 'ibgib -C {} sync' goes on", dir.display()));
    // A device that has its folder already needs no choice.
    let folder = if device.folder_tjp().await?.is_some() { None } else { clone.folder.clone() };
    let plain = args::Sync { no_snapshot: true, folder, ..args::Sync::plain() };
    match once(args, out, &mut device, &plain).await {
        Ok(done) => {
            cloned(&device.layout)?;
            done.tell(&device, out).await
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
