//! Bringing a server the token that was given for it.

use crate::device::Layout;
use crate::error::CliError;
use ibgib::Addr;
use ibgib_peer::WebSocketRemote;
use ibgib_saga::{Code as Protocol, SagaError};
use std::fs;

/// Brings the token that a device keeps for its server, if it has one that was not brought yet. It is kept until the
/// server has answered, so that a device that was cut off or killed brings it with its next sync.
pub(super) async fn accept(device: &Layout, remote: &WebSocketRemote, identity: &Addr) -> Result<(), CliError> {
    let path = device.token();
    let token = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|e| CliError::io(&path, &e))?,
    };
    let taken = remote.accept(identity, &token).await;
    let refused = matches!(taken.as_ref().err().and_then(SagaError::row), Some(Protocol::NotGranted));
    if taken.is_ok() || refused {
        fs::remove_file(&path).map_err(|e| CliError::io(&path, &e))?;
    }
    taken.map_err(|error| match refused {
        true => CliError::from(error).about(identity.as_str()).hint(
            "the token is not the server's, or somebody came with it before; whoever runs the server names another \
             owner with 'ibgib serve --owner IDENTITY'",
        ),
        false => CliError::from(error),
    })
}
