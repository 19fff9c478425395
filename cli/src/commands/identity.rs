//! The device's identity.

use crate::args::Args;
use crate::codes::Code;
use crate::confirm::confirm;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::remote;
use crate::report::IdentityReport;
use ibgib_keystone::Chain;
use ibgib_peer::{WebSocketRemote, deliver_identity, identity, refresh_identity};

pub(crate) async fn new(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let secret = device.secret(args)?;
    let chain = identity::create(&*device.space, &secret).await?;
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
        chain = identity::rotate(&*device.space, chain.tjp(), &secret).await?;
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

fn server(args: &Args, device: &Device) -> Result<Option<WebSocketRemote>, CliError> {
    device.remote().map(|setting| remote::remote(args, Some(&device.config), &setting.value)).transpose()
}

/// The identity with what its server knows of it, if that can be had: delivering what is signed then tells what is wrong.
async fn newest(args: &Args, device: &Device) -> Result<Chain, CliError> {
    let chain = load(device).await?;
    let Some(remote) = server(args, device)? else { return Ok(chain) };
    match refresh_identity(&device.space, &remote, chain.tjp()).await {
        Ok(newest) => Ok(newest),
        Err(error) => {
            tracing::debug!(%error, "what the server has of the identity was not taken over");
            Ok(chain)
        }
    }
}

async fn deliver(args: &Args, device: &Device, chain: &Chain, otherwise: &str) -> Result<(), CliError> {
    let Some(remote) = server(args, device)? else { return Ok(()) };
    deliver_identity(&device.space, &remote, chain.tjp()).await.map_err(|error| {
        let error = CliError::from(error);
        let hint = error.hint.as_ref().map_or_else(|| otherwise.to_owned(), |hint| format!("{otherwise}; {hint}"));
        error.hint(hint)
    })
}

async fn load(device: &Device) -> Result<Chain, CliError> {
    let tjp = device.identity().await?;
    let chain = identity::load_chain(&*device.space, &tjp).await?;
    chain.ok_or_else(|| CliError::new(Code::IdentityUnknown, format!("identity {tjp} is not in the store")))
}

async fn tell(device: &Device, out: &Output, chain: Chain) -> Result<Exit, CliError> {
    let evidence = identity::evidence(&*device.space, chain.tjp()).await?;
    out.report(&IdentityReport { chain, evidence })?;
    Ok(Exit::Done)
}
