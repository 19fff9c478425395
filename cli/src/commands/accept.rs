//! Bringing a server the token that was given for it.

use crate::device::Layout;
use crate::error::CliError;
use crate::private::write_private;
use ibgib::Addr;
use ibgib_peer::WebSocketRemote;
use ibgib_saga::{Code as Protocol, SagaError};
use std::fs;

/// Keeps a token, with the server that it is for: another one must not see it.
pub(super) fn keep(device: &Layout, remote: &WebSocketRemote, token: &str) -> Result<(), CliError> {
    write_private(&device.token(), format!("{token} {}", remote.url()).as_bytes())
}

/// Brings the token that a device keeps for this server, if it has one that was not brought yet. It is kept until the
/// server has answered, so that a device that was cut off or killed brings it with its next sync.
pub(super) async fn accept(device: &Layout, remote: &WebSocketRemote, identity: &Addr) -> Result<(), CliError> {
    let path = device.token();
    let kept = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|e| CliError::io(&path, &e))?,
    };
    let token = match kept.split_once(' ') {
        Some((token, url)) if url == remote.url() => token,
        _ => return Ok(()),
    };
    let taken = remote.accept(identity, token).await;
    let refused = matches!(taken.as_ref().err().and_then(SagaError::row), Some(Protocol::NotGranted));
    if taken.is_ok() || refused {
        fs::remove_file(&path).map_err(|e| CliError::io(&path, &e))?;
    }
    taken.map_err(|error| match refused {
        true => CliError::from(error).about(identity.as_str()).hint(
            "the invite is not the server's, is no longer good, or somebody came with it before: ask for another \
             ('ibgib invite'); whoever runs the server names its owner with 'ibgib serve --owner IDENTITY'",
        ),
        false => CliError::from(error),
    })
}
