//! Working on the folder's files.

use crate::args::{self, Args};
use crate::codes::Code;
use crate::device::{Device, Named, Store, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{ConflictReport, DiffReport, FileDiff, FolderStatus, Resolved, TrackedStatus, partly};
use ibgib::{Addr, Value};
use ibgib_folder::{ChangeKind, CheckoutOpts, Conflict, Folder, FolderError, Resolution};
use ibgib_spaces::Space;
use std::collections::HashMap;
use std::path::Path;

pub(crate) async fn snapshot(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let report = folder.snapshot(&mut moment).await?;
    out.report(&report)?;
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
    let device = Device::open(args)?;
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

pub(crate) async fn status(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::look(args)?;
    let folder = match device.folder_tjp().await? {
        None => None,
        Some(tjp) => {
            let folder = device.folder(out).await?;
            let status = folder.status().await?;
            let conflicts = folder.conflicts().await?.len();
            let tip = device.space.tip(&tjp).await?.map(|t| t.addr);
            Some(TrackedStatus { tjp, tip, status, conflicts })
        }
    };
    out.report(&FolderStatus { remote: device.remote().map(|s| s.value), folder })?;
    Ok(Exit::Done)
}

pub(crate) async fn conflicts(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let store = Store::open(args)?;
    let bound = match store.device() {
        Some(device) if device.folder_tjp().await?.is_some() => Some(device.folder(out).await?),
        _ => None,
    };
    let all = match &bound {
        Some(folder) => folder.conflicts().await?,
        None => ibgib_folder::conflicts(&**store.space()).await?,
    };
    if all.is_empty() {
        out.say("no open conflicts");
    }
    for conflict in all {
        let sizes = if out.json { HashMap::new() } else { sizes(&**store.space(), &conflict).await? };
        out.item(&ConflictReport { conflict, sizes })?;
    }
    Ok(Exit::Done)
}

/// How large the binary contents are that a conflict is about.
async fn sizes(space: &dyn Space, conflict: &Conflict) -> Result<HashMap<String, u64>, CliError> {
    let mut sizes = HashMap::new();
    if conflict.path != "/data/blob" {
        return Ok(sizes);
    }
    let sides = [&conflict.ancestor, &conflict.base, &conflict.orphan];
    for blob in sides.into_iter().flatten().filter_map(Value::as_str) {
        let Ok(addr) = blob.parse::<Addr>() else { continue };
        let node = space.node(&addr).await?;
        sizes.extend(node.and_then(|n| Some((blob.to_owned(), n.datum("size")?.as_u53()?))));
    }
    Ok(sizes)
}

pub(crate) async fn resolve(args: &Args, out: &Output, resolve: &args::Resolve) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let how = match (resolve.keep, resolve.base, resolve.orphan) {
        (true, _, _) => Resolution::Keep,
        (_, true, _) => Resolution::Base,
        (_, _, true) => Resolution::Orphan,
        _ => Resolution::Ancestor,
    };
    let open = folder.conflicts().await?;
    let chosen: Vec<Conflict> = match &resolve.target {
        None => open,
        Some(target) => {
            let named = name(args, &device, &folder, &open, target).await?;
            open.into_iter()
                .filter(|c| match &named {
                    Named::Addr(addr) => c.stone == *addr || c.timeline == *addr,
                    Named::File(path, _) => c.file.as_ref() == Some(path),
                })
                .collect()
        }
    };
    if let (true, Some(target)) = (chosen.is_empty(), &resolve.target) {
        return Err(CliError::new(Code::NoConflict, format!("{target} has no open conflict"))
            .about(target.as_str())
            .hint("'ibgib conflicts' lists the open ones"));
    }
    let mut report = Resolved::default();
    let several = chosen.len() > 1;
    for conflict in chosen {
        let checkout = match folder.resolve(&conflict, how, &mut moment).await {
            // One of several: the others can still be settled.
            Err(FolderError::NoConflict(_)) if several => {
                report.left.push(conflict.stone);
                continue;
            }
            other => other?,
        };
        report.settled.push(conflict.stone);
        report.checkout.written.extend(checkout.written);
        report.checkout.removed.extend(checkout.removed);
        report.checkout.refused.extend(checkout.refused);
    }
    out.report(&report)?;
    Ok(partly(!report.left.is_empty() || !report.checkout.refused.is_empty()))
}

/// What to resolve: a file with a conflict, a stone, or a timeline.
async fn name(
    args: &Args,
    device: &Device,
    folder: &Folder,
    open: &[Conflict],
    target: &str,
) -> Result<Named, CliError> {
    if target.contains('^') && !target.starts_with("./") {
        return Ok(Named::Addr(parse_addr(target)?));
    }
    let path = device.entry(args, Path::new(target))?;
    if open.iter().any(|c| c.file.as_ref() == Some(&path)) {
        let tip = folder.file_tjp(&path)?;
        return Ok(Named::File(path, tip));
    }
    let digits = target.to_ascii_uppercase();
    let by_digits = open.iter().find(|c| digits.len() >= 8 && c.stone.gib().starts_with(&digits));
    match by_digits {
        Some(conflict) => Ok(Named::Addr(conflict.stone.clone())),
        None => Ok(Named::File(path.clone(), folder.tip(&path).await?)),
    }
}
