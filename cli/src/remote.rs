//! Reaching servers: whose certificates are trusted, and what is remembered of a server once it was met.

use crate::args::Args;
use crate::codes::Code;
use crate::config::{ConfigFile, SERVERS};
use crate::error::CliError;
use ibgib_peer::{Invite, Trust, WebSocketRemote};
use ibgib_saga::Limits;
use std::fs;
use std::path::{Path, PathBuf};

/// What is known of a server: what was granted to this device, where that is not everything.
const RIGHTS: &str = "rights";
const READ: &str = "read";
const WRITE: &str = "write";

/// The server at `url`, expected to be the one that `known` (a device's settings) remembers there.
///
/// # Errors
/// No URL; authorities or a key that cannot be read.
pub(crate) fn remote(args: &Args, known: Option<&ConfigFile>, url: &str) -> Result<WebSocketRemote, CliError> {
    // Ways of writing one URL are one server.
    let base = WebSocketRemote::base(url)?;
    let trust = trust(args, known, &base)?;
    let remote = WebSocketRemote::trusting(url, trust, Limits::default().message_bytes_max)?;
    Ok(remote.expecting(known.and_then(|config| config.in_tables(SERVERS, &base, "space"))))
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

/// Remembers the space that was met at the remote, the key that was taken because it was the first one seen, and the file
/// of the authorities that are asked about it.
///
/// # Errors
/// The settings cannot be written.
pub(crate) fn remember(args: &Args, config: &mut ConfigFile, remote: &WebSocketRemote) -> Result<(), CliError> {
    let url = remote.url();
    let mut members = Vec::new();
    members.extend(remote.met().map(|space| ("space", space.to_owned())));
    members.extend(remote.trust().first_seen().map(|key| ("key", key.to_string())));
    if let Some(file) = args.ca.as_ref().filter(|_| url.starts_with("https")) {
        let whole = fs::canonicalize(file).map_err(|e| CliError::io(file, &e))?;
        members.push(("ca", whole.display().to_string()));
    }
    members.retain(|(key, value)| config.in_tables(SERVERS, url, key).as_ref() != Some(value));
    if members.is_empty() {
        return Ok(());
    }
    for (key, value) in members {
        if key == "key" {
            tracing::warn!(url, key = value, "no authority vouches for this server; its key is remembered");
        }
        config.set_in_tables(SERVERS, url, key, &value);
    }
    config.write()
}
