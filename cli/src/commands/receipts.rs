//! `receipts`.

use crate::args::{self, Args};
use crate::codes::Code;
use crate::config::SERVERS;
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{ForgottenServer, ReceiptReport};
use ibgib_peer::{Kept, WebSocketRemote, forget_server, receipts as kept, verify_receipt};

pub(crate) async fn receipts(args: &Args, out: &Output, receipts: &args::Receipts) -> Result<Exit, CliError> {
    if let Some(server) = &receipts.forget {
        return forget(args, out, server).await;
    }
    let device = Device::look(args)?;
    let mut bad = 0;
    for Kept { space, receipt } in kept(&*device.space).await? {
        let holds = match &receipt {
            Some(receipt) => verify_receipt(&*device.space, &space, receipt).await?,
            None => false,
        };
        bad += u64::from(!holds);
        out.item(&ReceiptReport { space, receipt, holds })?;
    }
    if bad == 0 {
        return Ok(Exit::Done);
    }
    Err(CliError::new(Code::Damaged, format!("{bad} of the receipts on this device prove nothing")).hint(
        "they were damaged here, or the server's keystone was forgotten; those of the next syncs take their place",
    ))
}

async fn forget(args: &Args, out: &Output, server: &str) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let space = match WebSocketRemote::base(server) {
        Ok(base) => device.config.in_tables(SERVERS, &base, "space").ok_or_else(|| {
            CliError::not_found("server", server)
                .hint("a URL as it stands in .ibgib/config.toml, or the id of its space")
        })?,
        Err(_) => server.to_owned(),
    };
    let count = forget_server(&*device.space, &space).await?;
    out.result(&ForgottenServer { space, count })?;
    Ok(Exit::Done)
}
