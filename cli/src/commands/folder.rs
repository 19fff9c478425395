//! Working on the folder's files.

use crate::args::{self, Args};
use crate::device::{Device, Named, Store, moment, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use ibgib::{Addr, Value, object, strings};
use ibgib_folder::{
    ChangeKind, CheckoutOpts, CheckoutReport, Conflict, Diff, EntryPath, Folder, FolderError, Refused, Resolution,
    Skipped, SnapshotReport, UndoReport,
};
use similar::TextDiff;
use std::collections::HashMap;
use std::path::Path;

fn paths(all: &[EntryPath]) -> Value {
    strings(all.iter().map(EntryPath::as_str))
}

fn skipped(all: &[Skipped]) -> Value {
    let row = |s: &Skipped| object([("path", s.path.as_str().into()), ("reason", s.reason.as_str().into())]);
    Value::Array(all.iter().map(row).collect())
}

pub(super) fn refused(all: &[Refused]) -> Value {
    let row = |r: &Refused| object([("path", r.path.as_str().into()), ("reason", r.reason.as_str().into())]);
    Value::Array(all.iter().map(row).collect())
}

fn count(n: usize) -> Value {
    Value::integer(n)
}

pub(super) fn partly(unsettled: bool) -> Exit {
    if unsettled { Exit::Partly } else { Exit::Done }
}

fn told(report: &SnapshotReport) -> String {
    let mut text = String::new();
    let mut all = |sign: &str, paths: &[EntryPath]| {
        for path in paths {
            text.push_str(&format!("{sign} {path}\n"));
        }
    };
    all("+", &report.added);
    all("~", &report.modified);
    all("-", &report.deleted);
    for (from, to) in &report.renamed {
        text.push_str(&format!("> {from} -> {to}\n"));
    }
    for s in &report.skipped {
        text.push_str(&format!("! {}: {}\n", s.path, s.reason));
    }
    if report.is_clean() {
        text.push_str("nothing has changed\n");
    }
    if report.conflicts > 0 {
        text.push_str(&format!("{} new conflict(s): 'ibgib conflicts' shows them\n", report.conflicts));
    }
    text
}

pub(crate) async fn snapshot(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let report = folder.snapshot(&mut moment).await?;
    let renamed = report.renamed.iter().map(|(from, to)| strings([from.as_str(), to.as_str()]));
    let value = object([
        ("added", paths(&report.added)),
        ("modified", paths(&report.modified)),
        ("deleted", paths(&report.deleted)),
        ("renamed", Value::Array(renamed.collect())),
        ("skipped", skipped(&report.skipped)),
        ("merges", count(report.merges)),
        ("conflicts", count(report.conflicts)),
    ]);
    out.result(value, || told(&report))?;
    Ok(partly(report.conflicts > 0))
}

pub(super) fn checked_out(report: &CheckoutReport) -> String {
    let mut text = String::new();
    for path in &report.written {
        text.push_str(&format!("wrote   {path}\n"));
    }
    for path in &report.removed {
        text.push_str(&format!("removed {path}\n"));
    }
    for r in &report.refused {
        text.push_str(&format!("refused {}: {}\n", r.path, r.reason));
    }
    text
}

pub(crate) async fn checkout(args: &Args, out: &Output, checkout: &args::Checkout) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let mut paths = Vec::new();
    for path in &checkout.paths {
        // The folder itself stands for everything in it.
        match device.entry(args, path) {
            Err(error) if error.message.starts_with("the folder itself") => {}
            entry => paths.push(entry?),
        }
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
    out.result(checkout_value(&report), || {
        let text = checked_out(&report);
        if text.is_empty() { "everything is as the store has it".to_owned() } else { text }
    })?;
    Ok(partly(!report.refused.is_empty()))
}

fn checkout_value(report: &CheckoutReport) -> Value {
    object([
        ("written", paths(&report.written)),
        ("removed", paths(&report.removed)),
        ("refused", refused(&report.refused)),
    ])
}

/// An address given as such or by its gib's first digits.
async fn frame(device: &Device, text: &str) -> Result<Addr, CliError> {
    if text.contains('^') {
        return parse_addr(text);
    }
    Store::by_prefix(&*device.space, text).await
}

fn undo_value(report: &UndoReport) -> Value {
    object([
        ("changed", paths(&report.changed)),
        ("written", paths(&report.checkout.written)),
        ("removed", paths(&report.checkout.removed)),
        ("refused", refused(&report.checkout.refused)),
        ("conflicts", count(report.conflicts)),
    ])
}

fn tell_undo(out: &Output, report: &UndoReport) -> Result<Exit, CliError> {
    out.result(undo_value(report), || {
        let text = checked_out(&report.checkout);
        if report.changed.is_empty() { "nothing differs".to_owned() } else { text }
    })?;
    Ok(partly(report.conflicts > 0 || !report.checkout.refused.is_empty()))
}

pub(crate) async fn restore(args: &Args, out: &Output, restore: &args::Restore) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let path = device.entry(args, &restore.path)?;
    let at = frame(&device, &restore.at).await?;
    let report = folder.restore(&path, &at, restore.force, &mut moment).await?;
    tell_undo(out, &report)
}

pub(crate) async fn undo(args: &Args, out: &Output, undo: &args::Undo) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let folder = device.folder(out).await?;
    let report = folder.undo(undo.force, &mut moment).await?;
    tell_undo(out, &report)
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
    let mut rows = Vec::new();
    let mut text = String::new();
    for path in all {
        let (kind, body) = match folder.diff(&path, a.as_ref(), b.as_ref()).await? {
            Diff::Same => ("same", None),
            Diff::Text(body) => ("text", Some(body)),
            _ => ("binary", None),
        };
        match (&body, kind) {
            (Some(body), _) => text.push_str(body),
            (None, "binary") => text.push_str(&format!("{path}: binary files differ\n")),
            _ => {}
        }
        let body = body.map_or(Value::Null, Value::from);
        rows.push(object([("path", path.as_str().into()), ("kind", kind.into()), ("diff", body)]));
    }
    if out.json {
        out.line(&object([("files", Value::Array(rows))]).to_json())?;
    } else {
        out.bytes(text.as_bytes())?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn status(args: &Args, out: &Output) -> Result<Exit, CliError> {
    let device = Device::open(args)?;
    let remote = device.remote();
    let remote_value = remote.as_ref().map_or(Value::Null, |s| s.value.as_str().into());
    let Some(tjp) = device.folder_tjp().await? else {
        let value = object([
            ("clean", true.into()),
            ("changes", Value::Array(Vec::new())),
            ("conflicts", count(0)),
            ("folder", Value::Null),
            ("tip", Value::Null),
            ("remote", remote_value),
        ]);
        out.result(value, || "no folder yet: 'ibgib sync' fetches it".to_owned())?;
        return Ok(Exit::Done);
    };
    let folder = device.folder(out).await?;
    let status = folder.status().await?;
    let conflicts = folder.conflicts().await?.len();
    let tip = device.space.tip(&tjp).await?.map(|t| t.addr);
    let changes =
        status.changes.iter().map(|c| object([("path", c.path.as_str().into()), ("change", c.change.as_str().into())]));
    let value = object([
        ("clean", status.changes.is_empty().into()),
        ("changes", Value::Array(changes.collect())),
        ("conflicts", count(conflicts)),
        ("folder", (&tjp).into()),
        ("tip", tip.as_ref().map_or(Value::Null, Value::from)),
        ("remote", remote_value),
        ("skipped", skipped(&status.skipped)),
    ]);
    out.result(value, || {
        let mut text = format!("folder {tjp}\n");
        text.push_str(&format!("remote {}\n", remote.as_ref().map_or("none", |s| s.value.as_str())));
        for c in &status.changes {
            text.push_str(&format!("{:8} {}\n", c.change.as_str(), c.path));
        }
        for s in &status.skipped {
            text.push_str(&format!("skipped  {}: {}\n", s.path, s.reason));
        }
        if status.changes.is_empty() {
            text.push_str("clean\n");
        }
        if conflicts > 0 {
            text.push_str(&format!("{conflicts} open conflict(s): 'ibgib conflicts' shows them\n"));
        }
        text
    })?;
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
    for c in &all {
        let part = |v: &Option<Value>| v.clone().unwrap_or(Value::Null);
        let value = object([
            ("timeline", (&c.timeline).into()),
            ("frame", (&c.frame).into()),
            ("path", c.path.as_str().into()),
            ("ancestor", part(&c.ancestor)),
            ("base", part(&c.base)),
            ("orphan", part(&c.orphan)),
            ("stone", (&c.stone).into()),
            ("file", c.file.as_ref().map_or(Value::Null, |f| f.as_str().into())),
        ]);
        let mut sizes = HashMap::new();
        if c.path == "/data/blob" && !out.json {
            for blob in [&c.ancestor, &c.base, &c.orphan].into_iter().flatten().filter_map(Value::as_str) {
                let Ok(addr) = blob.parse::<Addr>() else { continue };
                let node = store.space().node(&addr).await?;
                sizes.extend(node.and_then(|n| Some((blob.to_owned(), n.datum("size")?.as_u53()?))));
            }
        }
        out.item(&value, || readable(c, &|blob| sizes.get(blob).copied()))?;
    }
    if all.is_empty() {
        out.say("no open conflicts");
    }
    Ok(Exit::Done)
}

/// A conflict for people: what either side made of what both had, what of it stands now, and what to do.
fn readable(c: &Conflict, bytes: &dyn Fn(&str) -> Option<u64>) -> String {
    let place = c.file.as_ref().map_or_else(|| c.timeline.to_string(), ToString::to_string);
    let whole = |v: &Option<Value>| v.is_none() || *v == c.now;
    let what = match c.path.as_str() {
        "/data/text" if whole(&c.base) || whole(&c.orphan) => "the whole text".to_owned(),
        "/data/text" => "the same lines".to_owned(),
        "/data/blob" => "the whole content".to_owned(),
        "/data/text#" => "the document".to_owned(),
        path if c.file.is_some() => path.strip_prefix("/data/text#").unwrap_or(path).to_owned(),
        path => path.to_owned(),
    };
    let id: String = c.stone.gib().chars().take(DIGITS).collect();
    let show = |v: &Option<Value>| match v {
        None => String::new(),
        Some(Value::String(blob)) if c.path == "/data/blob" => match bytes(blob) {
            Some(n) => format!("{n} bytes: ibgib show {blob:?} --raw\n"),
            None => format!("{blob}\n"),
        },
        Some(Value::String(text)) => format!("{}\n", text.trim_end_matches('\n')),
        Some(value) => format!("{}\n", value.to_json()),
    };
    let stands = |v: &Option<Value>| match (v, &c.now) {
        (Some(Value::String(lines)), Some(Value::String(now))) if c.path == "/data/text" => {
            format!("\n{now}\n").contains(&format!("\n{lines}\n")) || now == lines
        }
        (v, now) => v == now,
    };
    let mut text = format!("{place}: {what}  (conflict {id})\n");
    let before = show(&c.ancestor);
    for (name, side) in [("base", &c.base), ("orphan", &c.orphan)] {
        let after = show(side);
        let gone = if side.is_none() { ", removed it" } else { "" };
        let here = if stands(side) { ", as it stands now" } else { ", NOT in the file now" };
        text.push_str(&format!("  {name}{gone}{here}\n"));
        if side.is_none() {
            continue;
        }
        let diff = TextDiff::from_lines(before.as_str(), after.as_str());
        for (i, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
            if i > 0 {
                text.push_str("    ...\n");
            }
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                text.push_str(&format!("    {}{change}", change.tag()));
            }
        }
    }
    text.push_str(&format!("  leave it as it stands:  ibgib resolve {id} --keep"));
    for (name, side, other) in [("base", &c.base, &c.orphan), ("orphan", &c.orphan, &c.base)] {
        match (stands(side), stands(other)) {
            (false, _) => text.push_str(&format!("\n  bring back what lost:   ibgib resolve {id} --{name}")),
            (true, true) => {
                text.push_str(&format!("\n  only {:19}ibgib resolve {id} --{name}", format!("the {name}'s:")))
            }
            _ => {}
        }
    }
    text
}

/// Lines around a difference.
const CONTEXT: usize = 2;
/// Digits of a gib that name a conflict.
const DIGITS: usize = 10;

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
        return Err(CliError::new(Exit::NotFound, "no_conflict", format!("{target} has no open conflict"))
            .about(target.as_str())
            .hint("'ibgib conflicts' lists the open ones"));
    }
    let mut settled = Vec::new();
    let mut left = Vec::new();
    let mut report = CheckoutReport::default();
    for conflict in &chosen {
        let one = match folder.resolve(conflict, how, &mut moment).await {
            // One of several: the others can still be settled.
            Err(FolderError::NoConflict(_)) if chosen.len() > 1 => {
                left.push(conflict.stone.as_str());
                continue;
            }
            other => other?,
        };
        settled.push(conflict.stone.as_str());
        report.written.extend(one.written);
        report.removed.extend(one.removed);
        report.refused.extend(one.refused);
    }
    let value = object([
        ("settled", strings(settled.iter().copied())),
        ("left", strings(left.iter().copied())),
        ("written", paths(&report.written)),
        ("refused", refused(&report.refused)),
    ]);
    out.result(value, || {
        let mut text = format!("settled {} conflict(s)\n{}", settled.len(), checked_out(&report));
        for stone in &left {
            text.push_str(&format!("left    {stone}: its lines were edited since; it can only be kept (--keep)\n"));
        }
        text
    })?;
    Ok(partly(!left.is_empty() || !report.refused.is_empty()))
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
