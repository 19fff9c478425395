//! Working on the folder's files.

use super::syncing::look;
use super::telling::{count_new, keep_told};
use crate::args::{self, Args};
use crate::brief::Known;
use crate::contact::Contact;
use crate::device::{Device, Store, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{DiffReport, FileDiff, FolderStatus, TrackedStatus, partly};
use ibgib::Addr;
use ibgib_folder::{ChangeKind, CheckoutOpts, FolderError};

pub(crate) async fn snapshot(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let mut report = folder.snapshot(&mut moment).await?;
    let (conflicts, record) = count_new(&device, out, report.conflicts).await?;
    report.conflicts = conflicts;
    out.report(&report)?;
    keep_told(&device, record).await?;
    Ok(partly(report.conflicts > 0))
}

pub(crate) async fn checkout(args: &Args, out: &Output, checkout: &args::Checkout) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let mut paths = Vec::new();
    for path in &checkout.paths {
        // The folder itself stands for everything in it.
        paths.extend(device.entry_or_root(args, path)?);
    }
    let at = match &checkout.at {
        Some(at) => Some(frame(&device, at).await?),
        None => None,
    };
    if paths.is_empty() && at.is_none() && !checkout.force {
        // Asked to make everything equal, a file that differs and may not be overwritten is a failure even where its
        // timeline did not move.
        let changes = folder.status().await?.changes;
        let unsaved = changes.into_iter().filter(|c| c.change == ChangeKind::Modified).map(|c| c.path.to_string());
        let unsaved: Vec<String> = unsaved.collect();
        if !unsaved.is_empty() {
            return Err(FolderError::Unsaved(unsaved).into());
        }
    }
    let opts = CheckoutOpts { paths, at, force: checkout.force, ..CheckoutOpts::default() };
    let report = folder.checkout(&opts).await?;
    out.report(&report)?;
    Ok(partly(!report.refused.is_empty()))
}

/// An address given as such or by its gib's first digits.
async fn frame(device: &Device, text: &str) -> Result<Addr, CliError> {
    if text.contains('^') {
        return parse_addr(text);
    }
    Store::by_prefix(&*device.space, text).await
}

pub(crate) async fn restore(args: &Args, out: &Output, restore: &args::Restore) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let path = device.entry(args, &restore.path)?;
    let at = frame(&device, &restore.at).await?;
    let report = folder.restore(&path, &at, restore.force, &mut moment).await?;
    out.report(&report)?;
    Ok(partly(report.conflicts > 0 || !report.checkout.refused.is_empty()))
}

pub(crate) async fn diff(args: &Args, out: &Output, diff: &args::Diff) -> Result<Exit, CliError> {
    let device = Device::look(args)?;
    let folder = device.folder(out).await?;
    let (mut a, mut b) = (None, None);
    for (text, to) in [(&diff.a, &mut a), (&diff.b, &mut b)] {
        if let Some(text) = text {
            *to = Some(frame(&device, text).await?);
        }
    }
    let all = match &diff.path {
        Some(path) => {
            let path = device.entry(args, path)?;
            // A file that is neither tracked nor there is a mistake, not an empty difference.
            match folder.tip(&path).await {
                Err(FolderError::NoEntry(_)) if device.root.join(path.as_str()).symlink_metadata().is_ok() => {}
                known => drop(known?),
            }
            vec![path]
        }
        None => {
            let changes = folder.status().await?.changes;
            let mut all = Vec::new();
            for change in changes {
                if let ChangeKind::Renamed { from } = change.change {
                    all.push(from);
                }
                all.push(change.path);
            }
            all
        }
    };
    let mut files = Vec::new();
    for path in all {
        let diff = folder.diff(&path, a.as_ref(), b.as_ref()).await?;
        files.push(FileDiff { path, diff });
    }
    // Not hidden by quiet, and without another end than its own, for `patch`.
    out.verbatim(&DiffReport(files))?;
    Ok(Exit::Done)
}

pub(crate) async fn status(args: &Args, out: &Output, status: &args::Status) -> Result<Exit, CliError> {
    let device = if status.fetch {
        let mut device = Device::open(args)?;
        look(args, out, &mut device).await?;
        device
    } else {
        Device::look(args)?
    };
    let contact = Contact::read(&*device.space).await?;
    let folder = match device.folder_tjp().await? {
        None => None,
        Some(tjp) => {
            let folder = device.folder(out).await?;
            let status = folder.status().await?;
            let conflicts = folder.conflicts().await?.len();
            let tip = device.space.tip(&tjp).await?.map(|t| t.addr);
            let known = Known { tjp, name: folder.names().await?.folder };
            let lacks = contact.lacks(&*device.space).await?;
            let mut unsent = Vec::new();
            if !lacks.is_empty() {
                let mut paths = folder.paths().await?;
                unsent.extend(lacks.iter().filter_map(|tjp| paths.remove(tjp)));
                unsent.sort();
            }
            let incomplete = device.layout.cloning().exists();
            Some(TrackedStatus { known, tip, status, conflicts, unsent, contact, incomplete })
        }
    };
    out.report(&FolderStatus { remote: device.remote().map(|s| s.value), folder })?;
    Ok(Exit::Done)
}
