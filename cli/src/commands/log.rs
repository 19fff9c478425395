//! `log`.

use crate::args::{self, Args};
use crate::device::{Named, Store};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::LogLine;
use ibgib::Addr;
use ibgib_folder::{Diff, Folder, LogFrame, Names};

pub(crate) async fn log(args: &Args, out: &Output, log: &args::Log) -> Result<Exit, CliError> {
    let store = Store::look(args).await?;
    let named = store.resolve(args, &log.target).await?;
    let folder = match store.device() {
        Some(device) if device.folder_tjp().await?.is_some() => Some(device.folder(out).await?),
        _ => None,
    };
    let names = match &folder {
        Some(folder) => folder.names().await?,
        None => Names::default(),
    };
    if let (Some(folder), Named::File(path, _)) = (&folder, &named) {
        for frame in folder.file_log(path).await? {
            let diff = if log.patch { patch(folder, &frame).await? } else { None };
            line(out, &names, LogLine { path: Some(frame.path), diff, ..LogLine::of(frame.entry) })?;
        }
        unattested(out, &names);
        return Ok(Exit::Done);
    }
    let from = newest(&store, &named).await?;
    let path = match &folder {
        Some(folder) => match store.space().node(&from).await?.and_then(|node| node.tjp()) {
            Some(tjp) => folder.paths().await?.remove(&tjp),
            None => None,
        },
        None => None,
    };
    for entry in ibgib_folder::log(&**store.space(), &from, usize::MAX).await? {
        let diff = match (&folder, &path) {
            (Some(folder), Some(path)) if log.patch => {
                let frame = LogFrame { path: path.clone(), entry: entry.clone(), renamed_from: None };
                patch(folder, &frame).await?
            }
            _ => None,
        };
        line(out, &names, LogLine { path: path.clone(), diff, ..LogLine::of(entry) })?;
    }
    unattested(out, &names);
    Ok(Exit::Done)
}

/// Says once what is true of every name in a log.
fn unattested(out: &Output, names: &Names) {
    if !names.devices.is_empty() {
        out.say("devices are told as the frames name them (unattested: nothing checks that)");
    }
}

/// A timeline's first frame stands for its newest.
async fn newest(store: &Store, named: &Named) -> Result<Addr, CliError> {
    let tip = store.space().tip(named.addr()).await?;
    Ok(tip.map_or_else(|| named.addr().clone(), |t| t.addr))
}

fn line(out: &Output, names: &Names, mut line: LogLine) -> Result<(), CliError> {
    line.device = line.entry.identity.as_ref().and_then(|identity| names.device(identity)).map(str::to_owned);
    out.item(&line)
}

/// What a frame changed in the file.
async fn patch(folder: &Folder, frame: &LogFrame) -> Result<Option<String>, CliError> {
    if let Some(from) = &frame.renamed_from {
        return Ok(Some(format!("renamed from {from}\n")));
    }
    let Some(past) = &frame.entry.past else { return Ok(None) };
    Ok(match folder.diff(&frame.path, Some(past), Some(&frame.entry.addr)).await? {
        Diff::Same => None,
        Diff::Text(text) => Some(text),
        _ => Some("binary files differ\n".to_owned()),
    })
}
