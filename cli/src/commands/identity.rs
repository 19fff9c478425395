//! The device's identity.

use crate::args::Args;
use crate::codes::Code;
use crate::confirm::confirm;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::remote;
use crate::report::IdentityReport;
use crate::secret;
use ibgib_keystone::Chain;
use ibgib_peer::{Remote, WebSocketRemote, deliver_identity, identity, refresh_identity};
use std::fs;
use std::path::Path;

pub(crate) async fn new(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let secret = device.secret(args)?;
    let chain = identity::create_with_recovery(&*device.space, &secret, &device.recovery_secret()?).await?;
    Device::set_identity(&*device.space, chain.tjp()).await?;
    tell(&device, out, chain).await
}

pub(crate) async fn show(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let chain = load(&device).await?;
    tell(&device, out, chain).await
}

pub(crate) async fn rotate(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let mut chain = newest(args, &device).await?;
    // Rotating again delivers what the server may not know yet.
    if !chain.binds() {
        let secret = device.secret(args)?;
        let recovery = device.recovery_secret()?;
        chain = identity::rotate(&*device.space, chain.tjp(), &secret, &recovery).await?;
    }
    deliver(
        args,
        &device,
        &chain,
        "the identity is brought over here, but the server does not know yet; the next sync tells it",
    )
    .await?;
    tell(&device, out, chain).await
}

pub(crate) async fn recover(args: &Args, out: &Output, file: Option<&Path>) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let own = device.layout.recovery();
    let recovery = secret::read_recovery(file.unwrap_or(&own)).map_err(|error| {
        error.hint("give the recovery secret, which was made with the identity, with --recovery-secret-file")
    })?;
    // Two recoveries on one frame end the identity: its server is asked first whether there is one that is not known here.
    if let Some(remote) = server(args, &device).await? {
        remote.audience().await.map_err(|error| {
            CliError::from(error)
                .hint("the server has to be asked first, since two recoveries that do not know of each other end the identity")
        })?;
    }
    let chain = newest(args, &device).await?;
    // Kept beside the old one until the identity is taken back with it. A kill in between leaves a secret that does not
    // fit: taking the identity back once more mends that, since it does not need the old one.
    let (fresh, secret) = secret::make_beside(args, &device.layout.secret())?;
    let taken_back = ibgib_peer::recover(&*device.space, chain.tjp(), &recovery, &secret).await;
    let chain = taken_back.map_err(|error| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&fresh);
        CliError::from(error)
    })?;
    let place = device.layout.secret();
    let placed = fs::rename(&fresh, &place).and_then(|()| fs::File::open(&device.layout.0)?.sync_all());
    placed.map_err(|e| CliError::io(&place, &e))?;
    deliver(
        args,
        &device,
        &chain,
        "the identity is taken back here, but the server does not know yet; the next sync tells it",
    )
    .await?;
    tell(&device, out, chain).await
}

pub(crate) async fn revoke(args: &Args, out: &Output, reason: &str, yes: bool) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let mut chain = newest(args, &device).await?;
    // Revoking again delivers what the server may not know yet.
    if !chain.is_revoked() {
        let what = format!("identity {} would be ended for ever", chain.tjp());
        let question = format!("End identity {} for ever? No server will take it again.", chain.tjp());
        confirm(out, yes, &question, &what)?;
        let secret = device.secret(args)?;
        chain = identity::revoke(&*device.space, chain.tjp(), &secret, reason).await?;
    }
    deliver(
        args,
        &device,
        &chain,
        "the identity is revoked here, but the server does not know yet; run 'ibgib identity revoke' again",
    )
    .await?;
    tell(&device, out, chain).await
}

pub(super) async fn server(args: &Args, device: &Device) -> Result<Option<WebSocketRemote>, CliError> {
    match device.remote() {
        Some(setting) => Ok(Some(remote::remote(args, Some(device), &setting.value).await?)),
        None => Ok(None),
    }
}

/// The identity with what its server knows of it, if that can be had: delivering what is signed then tells what is wrong.
pub(super) async fn newest(args: &Args, device: &Device) -> Result<Chain, CliError> {
    let chain = load(device).await?;
    let Some(remote) = server(args, device).await? else { return Ok(chain) };
    match refresh_identity(&device.space, &remote, chain.tjp()).await {
        Ok(newest) => Ok(newest),
        Err(error) => {
            tracing::debug!(%error, "what the server has of the identity was not taken over");
            Ok(chain)
        }
    }
}

pub(super) async fn deliver(args: &Args, device: &Device, chain: &Chain, otherwise: &str) -> Result<(), CliError> {
    let Some(remote) = server(args, device).await? else { return Ok(()) };
    let delivered = async {
        // Whether it is the server that is known here.
        remote.audience().await?;
        deliver_identity(&device.space, &remote, chain.tjp()).await
    };
    delivered.await.map_err(|error| {
        let error = CliError::from(error);
        let hint = error.hint.as_ref().map_or_else(|| otherwise.to_owned(), |hint| format!("{otherwise}; {hint}"));
        error.hint(hint)
    })
}

pub(super) async fn load(device: &Device) -> Result<Chain, CliError> {
    let tjp = device.identity().await?;
    let chain = identity::load_chain(&*device.space, &tjp).await?;
    chain.ok_or_else(|| CliError::new(Code::IdentityUnknown, format!("identity {tjp} is not in the store")))
}

pub(super) async fn tell(device: &Device, out: &Output, chain: Chain) -> Result<Exit, CliError> {
    let evidence = identity::evidence(&*device.space, chain.tjp()).await?;
    let recovery_here = chain.has_recovery() && device.layout.recovery().exists();
    out.report(&IdentityReport { chain, evidence, recovery_here })?;
    Ok(Exit::Done)
}
