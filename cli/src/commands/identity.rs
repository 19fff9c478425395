//! The device's identity.

use crate::args::Args;
use crate::codes::Code;
use crate::confirm::confirm;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::IdentityReport;
use ibgib_keystone::Chain;
use ibgib_peer::{WebSocketRemote, deliver_identity, identity};
use ibgib_saga::Limits;

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

pub(crate) async fn revoke(args: &Args, out: &Output, reason: &str, yes: bool) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let mut chain = load(&device).await?;
    // Revoking again delivers what the server may not know yet.
    if !chain.is_revoked() {
        let what = format!("identity {} would be ended for ever", chain.tjp());
        let question = format!("End identity {} for ever? No server will take it again.", chain.tjp());
        confirm(out, yes, &question, &what)?;
        let secret = device.secret(args)?;
        chain = identity::revoke(&*device.space, chain.tjp(), &secret, reason).await?;
    }
    if let Some(remote) = device.remote() {
        let remote = WebSocketRemote::new(&remote.value, Limits::default().message_bytes_max)?;
        deliver_identity(&device.space, &remote, chain.tjp()).await.map_err(|error| {
            CliError::from(error).hint(
                "the identity is revoked here, but the server does not know yet; run 'ibgib identity revoke' again",
            )
        })?;
    }
    tell(&device, out, chain).await
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
