//! What of the folder stays on this device: `ignore` and `untrack`.

use crate::args::{self, Args};
use crate::confirm::confirm;
use crate::device::{Device, moment};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{Ignored, Untracked};

pub(crate) async fn list(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let widened = device.folder(out).await?.widened().await?;
    out.report(&Ignored { widened, accepted: false })?;
    Ok(Exit::Done)
}

pub(crate) async fn accept(args: &Args, out: &Output, yes: bool) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let widened = folder.widened().await?;
    if !widened.rules.is_empty() {
        let files = match widened.files.len() {
            0 => "no file here at present".to_owned(),
            n => format!("{n} path(s) that stay on this device now"),
        };
        let question = format!("Let rules from elsewhere decide, which concerns {files}?");
        confirm(out, yes, &question, &format!("rules from elsewhere would be agreed to: {files}"))?;
    }
    let widened = folder.accept_rules().await?;
    out.report(&Ignored { widened, accepted: true })?;
    Ok(Exit::Done)
}

pub(crate) async fn untrack(args: &Args, out: &Output, untrack: &args::Untrack) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let mut paths = Vec::new();
    for path in &untrack.paths {
        paths.push(device.entry(args, path)?);
    }
    out.report(&Untracked(folder.untrack(&paths, &mut moment).await?))?;
    Ok(Exit::Done)
}
