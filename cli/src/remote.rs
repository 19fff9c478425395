//! Reaching servers: whose certificates are trusted, and what is remembered of a server once it was met.

use crate::args::Args;
use crate::codes::Code;
use crate::config::{ConfigFile, SERVERS};
use crate::device::{Device, Layout};
use crate::error::CliError;
use ibgib_peer::{Followed, Invite, Trust, WebSocketRemote, known_keystone};
use ibgib_saga::Limits;
use ibgib_spaces::durable;
use std::fs;
use std::path::{Path, PathBuf};

/// What is known of a server: what was granted to this device, where that is not everything.
const RIGHTS: &str = "rights";
const READ: &str = "read";
const WRITE: &str = "write";

/// The key that a server is known by.
const KEY: &str = "key";
/// The number of the succession by which it was followed to that key.
const KEY_NUMBER: &str = "key_number";

/// The server at `url`, expected to be the one that the device knows there. It is followed to another key when the keystone that the
/// device knows of its space has signed for that, and the key is remembered then, at once.
///
/// # Errors
/// No URL; authorities or a key that cannot be read; the device's store fails.
pub(crate) async fn remote(args: &Args, device: Option<&Device>, url: &str) -> Result<WebSocketRemote, CliError> {
    let remote = told(args, device.map(|device| &device.config), url)?;
    let Some(device) = device else { return Ok(remote) };
    let keystone = match space(&device.config, remote.url()) {
        Some(space) => known_keystone(&*device.space, &space).await?,
        None => None,
    };
    let (path, base) = (device.config.path().to_owned(), remote.url().to_owned());
    let note = move |followed: &Followed| {
        let noted = ConfigFile::read(&path).and_then(|mut config| {
            go_on(&mut config, &base, followed);
            config.write()
        });
        if let Err(error) = noted {
            tracing::warn!(error = error.message, "the server's new key could not be remembered");
        }
    };
    Ok(remote.knowing(keystone, 0).on_followed(note))
}

/// The server at `url`, expected to be the one that `known` (settings) remembers there.
///
/// # Errors
/// No URL; authorities or a key that cannot be read.
pub(crate) fn told(args: &Args, known: Option<&ConfigFile>, url: &str) -> Result<WebSocketRemote, CliError> {
    // Ways of writing one URL are one server.
    let base = WebSocketRemote::base(url)?;
    let trust = trust(args, known, &base)?;
    let remote = WebSocketRemote::trusting(url, trust, Limits::default().message_bytes_max)?;
    let Some(known) = known else { return Ok(remote) };
    Ok(remote.expecting(space(known, &base)).knowing(None, number(known, &base)))
}

/// A door of the server with this base URL, as a device knows that.
///
/// # Errors
/// The device's store fails.
pub(crate) async fn door(
    remote: WebSocketRemote,
    server: &str,
    device: &Layout,
    known: &ConfigFile,
) -> Result<WebSocketRemote, CliError> {
    let Some(space) = space(known, server).filter(|_| known.in_tables(SERVERS, server, KEY).is_some()) else {
        return Ok(remote);
    };
    // It is not kept open: other commands work on the device meanwhile.
    let keystone = match durable::open_read_only(&device.space()) {
        Ok(here) => known_keystone(&*here, &space).await?,
        Err(error) => {
            tracing::debug!(%error, "the device's store cannot be looked into");
            None
        }
    };
    let remote = remote.expecting(Some(space)).knowing(keystone, number(known, server));
    Ok(remote.standing_at(server)?)
}

/// The space that is known at a server. What stands at another URL under the same key is the same server's: a door.
fn space(known: &ConfigFile, base: &str) -> Option<String> {
    let told = |url: &str, member| known.in_tables(SERVERS, url, member);
    told(base, "space").or_else(|| {
        let key = told(base, KEY)?;
        let mut others = known.tables(SERVERS).into_iter().filter(|url| told(url, KEY).as_ref() == Some(&key));
        others.find_map(|url| told(&url, "space"))
    })
}

fn number(known: &ConfigFile, base: &str) -> u64 {
    known.in_tables(SERVERS, base, KEY_NUMBER).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Remembers to which key the server with this base URL was followed, and its doors with it.
fn go_on(config: &mut ConfigFile, base: &str, followed: &Followed) {
    let before = followed.before.to_string();
    let is_meant = |url: &String| url == base || config.in_tables(SERVERS, url, KEY).as_ref() == Some(&before);
    let mut all: Vec<String> = config.tables(SERVERS).into_iter().filter(is_meant).collect();
    if !all.iter().any(|url| url == base) {
        all.push(base.to_owned());
    }
    for url in all {
        config.set_in_tables(SERVERS, &url, KEY, &followed.key.to_string());
        config.set_in_tables(SERVERS, &url, KEY_NUMBER, &followed.number.to_string());
    }
}

/// Whose word is taken for the key of the server with this base URL, as `known` remembers it.
///
/// # Errors
/// Authorities or a key that cannot be read.
pub(crate) fn trust(args: &Args, known: Option<&ConfigFile>, base: &str) -> Result<Trust, CliError> {
    let told = |key: &str| known.and_then(|config| config.in_tables(SERVERS, base, key));
    let authorities = args.ca.clone().or_else(|| told("ca").map(PathBuf::from));
    match (authorities, told("key")) {
        (Some(file), _) => authorities_of(&file),
        (None, Some(key)) => Ok(Trust::key(key.parse().map_err(|error| {
            CliError::new(Code::BadConfig, format!("key of {base} in config.toml: {error}")).about(base)
        })?)),
        (None, None) => Ok(Trust::default()),
    }
}

/// The server that an invite leads to, expected to be the one that the invite knows.
///
/// # Errors
/// As [`remote`].
pub(crate) fn invited(args: &Args, invite: &Invite) -> Result<WebSocketRemote, CliError> {
    let trust = match (&args.ca, invite.key) {
        (Some(file), _) => authorities_of(file)?,
        (None, Some(key)) => Trust::key(key),
        (None, None) => Trust::default(),
    };
    let remote = WebSocketRemote::trusting(&invite.url, trust, Limits::default().message_bytes_max)?;
    Ok(remote.expecting(Some(invite.space.clone())).expecting_keystone(invite.keystone.clone()))
}

/// What an invite knows of its server, as members of the server's table in the settings.
pub(crate) fn pins(invite: &Invite) -> Vec<(&'static str, String)> {
    let mut pins = vec![("space", invite.space.clone())];
    pins.extend(invite.key.map(|key| ("key", key.to_string())));
    pins.extend(invite.read_only.then(|| (RIGHTS, READ.to_owned())));
    pins
}

/// Remembers what another invite to the server at `url` lets a device do.
///
/// # Errors
/// The settings cannot be written.
pub(crate) fn remember_rights(config: &mut ConfigFile, url: &str, read_only: bool) -> Result<(), CliError> {
    if only_reads(config, url) == read_only {
        return Ok(());
    }
    let rights = if read_only { READ } else { WRITE };
    config.set_in_tables(SERVERS, &WebSocketRemote::base(url)?, RIGHTS, rights);
    config.write()
}

/// Whether a device may only read at the server at `url`, as far as its invite told.
pub(crate) fn only_reads(config: &ConfigFile, url: &str) -> bool {
    let rights = WebSocketRemote::base(url).ok().and_then(|base| config.in_tables(SERVERS, &base, RIGHTS));
    rights.as_deref() == Some(READ)
}

fn authorities_of(file: &Path) -> Result<Trust, CliError> {
    let pem = fs::read(file).map_err(|e| CliError::io(file, &e))?;
    Trust::authorities(&pem).map_err(|error| {
        CliError::usage(format!("{}: {error}", file.display()))
            .about(file.display().to_string())
            .hint("give a file with certificates in PEM")
    })
}

/// Remembers the space that was met at the remote, the key that was taken because it was the first one seen or to which it was
/// followed, and the file of the authorities that are asked about it.
///
/// # Errors
/// The settings cannot be written.
pub(crate) fn remember(args: &Args, config: &mut ConfigFile, remote: &WebSocketRemote) -> Result<(), CliError> {
    let url = remote.url();
    let mut members = Vec::new();
    let followed = remote.followed();
    members.extend(remote.met().map(|space| ("space", space.to_owned())));
    let first = remote.trust().first_seen().filter(|_| followed.is_none());
    members.extend(first.map(|key| (KEY, key.to_string())));
    if let Some(file) = args.ca.as_ref().filter(|_| url.starts_with("https")) {
        let whole = fs::canonicalize(file).map_err(|e| CliError::io(file, &e))?;
        members.push(("ca", whole.display().to_string()));
    }
    members.retain(|(key, value)| config.in_tables(SERVERS, url, key).as_ref() != Some(value));
    let followed = followed.filter(|followed| config.in_tables(SERVERS, url, KEY) != Some(followed.key.to_string()));
    if members.is_empty() && followed.is_none() {
        return Ok(());
    }
    if let Some(followed) = &followed {
        go_on(config, url, followed);
    }
    for (key, value) in members {
        if key == KEY {
            tracing::warn!(url, key = value, "no authority vouches for this server; its key is remembered");
        }
        config.set_in_tables(SERVERS, url, key, &value);
    }
    config.write()
}
