//! `sync`.

use super::syncing::once;
use super::watch::watch;
use crate::args::{self, Args};
use crate::device::Device;
use crate::error::{CliError, Exit};
use crate::output::Output;

pub(crate) async fn sync(args: &Args, out: &Output, sync: &args::Sync) -> Result<Exit, CliError> {
    let mut device = Device::open(args)?;
    if sync.watch {
        return watch(args, out, device, sync).await;
    }
    let done = once(args, out, &mut device, sync).await?;
    if !sync.dry_run && !sync.no_checkout {
        super::setup::cloned(&device.layout)?;
    }
    done.tell(&device, out).await
}
