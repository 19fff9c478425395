//! The device's identity.

use crate::args::Args;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::output::Output;
use ibgib::{Map, Mode, Value, object, strings};
use ibgib_keystone::Chain;
use ibgib_peer::{WebSocketRemote, deliver_identity, identity};
use ibgib_saga::Limits;

pub(crate) async fn new(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let secret = device.secret(args)?;
    let chain = identity::create(&*device.space, &secret).await?;
    Device::set_identity(&*device.space, chain.tjp()).await?;
    tell(&device, out, &chain).await
}

pub(crate) async fn show(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let chain = load(&device).await?;
    tell(&device, out, &chain).await
}

pub(crate) async fn revoke(args: &Args, out: &Output, reason: &str) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    let mut chain = load(&device).await?;
    // Revoking again delivers what the server may not know yet.
    if !chain.is_revoked() {
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
    tell(&device, out, &chain).await
}

async fn load(device: &Device) -> Result<Chain, CliError> {
    let tjp = device.identity().await?;
    let chain = identity::load_chain(&*device.space, &tjp).await?;
    chain
        .ok_or_else(|| CliError::new(Exit::Identity, "identity_unknown", format!("identity {tjp} is not in the store")))
}

async fn tell(device: &Device, out: &Output, chain: &Chain) -> Result<Exit, CliError> {
    let pools = chain.pools();
    let evidence = identity::evidence(&*device.space, chain.tjp()).await?;
    let rows = pools.iter().map(|p| {
        object([
            ("id", p.id.as_str().into()),
            ("verbs", strings(p.verbs.iter().map(String::as_str))),
            ("left", Value::integer(p.left)),
            ("used", Value::integer(p.used)),
        ])
    });
    let mut value: Map = [
        ("identity", Value::from(chain.tjp())),
        ("tip", chain.tip().addr().into()),
        ("n", Value::integer(chain.n())),
        ("revoked", chain.is_revoked().into()),
        ("pools", Value::Array(rows.collect())),
    ]
    .into_iter()
    .collect();
    if !evidence.is_empty() {
        let rows = evidence.iter().map(|e| {
            let ibgib = Value::parse(&e.ibgib, Mode::Strict).unwrap_or(Value::Null);
            object([("past", (&e.past).into()), ("frame", (&e.frame).into()), ("ibgib", ibgib)])
        });
        value.insert("evidence", Value::Array(rows.collect()));
    }
    out.result(Value::Object(value), || {
        let state = if chain.is_revoked() { ", revoked" } else { "" };
        let mut text = format!("identity {}\nnewest   {} (n {}{state})\n", chain.tjp(), chain.tip().addr(), chain.n());
        for p in &pools {
            let verbs = if p.verbs.is_empty() { "any verb".to_owned() } else { p.verbs.join(", ") };
            text.push_str(&format!("pool     {verbs}: {} left, {} used\n", p.left, p.used));
        }
        for e in &evidence {
            text.push_str(&format!("FORKED   after {}: signed {}\n", e.past, e.frame));
        }
        text
    })?;
    Ok(Exit::Done)
}
