//! `undo` and `redo`.

use super::telling::{count_new, keep_told};
use crate::args::{self, Args};
use crate::confirm::confirm;
use crate::device::{Device, moment};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{Undone, partly};

/// So many files are removed without asking.
const REMOVED_UNASKED_MAX: usize = 3;

pub(crate) async fn undo(args: &Args, out: &Output, undo: &args::Undo) -> Result<Exit, CliError> {
    back(args, out, undo, false).await
}

pub(crate) async fn redo(args: &Args, out: &Output, redo: &args::Undo) -> Result<Exit, CliError> {
    back(args, out, redo, true).await
}

async fn back(args: &Args, out: &Output, undo: &args::Undo, again: bool) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let plan = if again { folder.redo_plan().await? } else { folder.undo_plan().await? };
    let mut told = Undone { plan, device: device.name().await?, again, done: None };
    if undo.dry_run {
        out.report(&told)?;
        return Ok(Exit::Done);
    }
    if told.removed() > REMOVED_UNASKED_MAX || told.plan.first && !again {
        confirm(out, undo.yes, &told.question(), &format!("it {}", told.would()))?;
    }
    let mut report = match again {
        true => folder.redo(undo.force, &mut moment).await?,
        false => folder.undo(undo.force, &mut moment).await?,
    };
    let (conflicts, record) = count_new(&device, out, report.conflicts).await?;
    report.conflicts = conflicts;
    let partial = report.conflicts > 0 || !report.checkout.refused.is_empty();
    told.done = Some(report);
    out.report(&told)?;
    keep_told(&device, record).await?;
    Ok(partly(partial))
}
