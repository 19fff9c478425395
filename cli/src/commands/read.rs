//! Looking into a store, and whether a server works.

use crate::args::{self, Args, ConfigAction, TipKind};
use crate::config::{self, ConfigFile, Setting};
use crate::device::{DIR, Layout, Store, root, start};
use crate::error::{CliError, Exit};
use crate::escape::{lines, shown};
use crate::folders::{at_home, choose};
use crate::output::Output;
use crate::remote;
use crate::report::{Health, Settings};
use ibgib::Value;
use ibgib::json::Spacing;
use ibgib_folder::Folder;
use ibgib_peer::tips_under;
use ibgib_spaces::{Follow, Kind, SpaceError};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Nodes loaded at once while a graph is printed.
const BATCH: usize = 256;

pub(crate) async fn tips(args: &Args, out: &Output, tips: &args::Tips) -> Result<Exit, CliError> {
    let store = Store::look(args).await?;
    let space = store.space();
    if let Some(folder) = &tips.folder {
        let folder = choose(&at_home(&**space).await?, folder, "the store")?;
        for tip in tips_under(&**space, &folder).await? {
            out.item(&tip)?;
        }
        return Ok(Exit::Done);
    }
    let kind = match tips.kind {
        TipKind::Living => Some(Kind::Living),
        TipKind::Keystone => Some(Kind::Keystone),
        TipKind::Saga => Some(Kind::Saga),
        TipKind::Door => Some(Kind::Door),
        TipKind::All => None,
    };
    for tip in space.tips(kind).await? {
        out.item(&tip)?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn health(args: &Args, out: &Output, url: &str) -> Result<Exit, CliError> {
    let told = remote::remote(args, None, url).await?.health().await?;
    out.result(&Health { told })?;
    Ok(Exit::Done)
}

pub(crate) async fn show(args: &Args, out: &Output, show: &args::Show) -> Result<Exit, CliError> {
    let store = Store::look(args).await?;
    let named = store.resolve(args, &show.target).await?;
    if show.raw {
        let Some(device) = store.device() else {
            return Err(CliError::usage("--raw needs a device (-C), not a bare space"));
        };
        let folder = Folder::open(Arc::clone(&device.space), &device.root).await?;
        let mut failed = None;
        let mut print = |bytes: &[u8]| {
            out.bytes(bytes).map_err(|error| std::io::Error::other(failed.insert(error).message.clone()))
        };
        let there = folder.read(named.addr(), &mut print).await;
        if let Some(error) = failed {
            return Err(error);
        }
        return match there? {
            true => Ok(Exit::Done),
            false => Err(CliError::not_found("the file is deleted at this frame:", show.target.as_str())),
        };
    }
    let addr = named.addr();
    let node = store.space().node(addr).await?;
    let node = node.ok_or_else(|| CliError::not_found("node", addr.as_str()))?;
    if out.json {
        out.line(&node.to_json())?;
    } else {
        let body = node.to_value().to_json_as(Spacing::Indented("  "));
        out.line(&format!("{}\n{}", shown(addr), lines(&body)))?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn graph(args: &Args, out: &Output, graph: &args::Graph) -> Result<Exit, CliError> {
    let store = Store::look(args).await?;
    let named = store.resolve(args, &graph.target).await?;
    let start = named.addr();
    if store.space().has(std::slice::from_ref(start)).await? != [true] {
        return Err(CliError::not_found("node", start.as_str()));
    }
    let follow = if graph.live { Follow::Live } else { Follow::All };
    let addrs = store.space().reach(std::slice::from_ref(start), follow, &HashSet::new(), usize::MAX).await?;
    for batch in addrs.chunks(BATCH) {
        for (node, addr) in store.space().get(batch).await?.into_iter().zip(batch) {
            let node = node.ok_or_else(|| SpaceError::Missing { path: vec![addr.to_string()] })?;
            if out.json {
                // The node as hashed, without building a second copy of it.
                out.line(&format!("{{\"addr\":{},\"ibgib\":{}}}", Value::from(addr).to_json(), node.to_json()))?;
            } else {
                out.line(&shown(addr).to_string())?;
            }
        }
    }
    Ok(Exit::Done)
}

/// What is to be logged, and who says so. A file that cannot be read is told by the command that needs it.
pub(super) fn log_setting(args: &Args) -> Option<Setting> {
    let read = |path: PathBuf| ConfigFile::read(&path).ok();
    let device = root(args).ok().flatten().and_then(|root| read(Layout(root.join(DIR)).config()));
    config::setting("log", "IBGIB_LOG", device.as_ref(), config::user_path().and_then(read).as_ref())
}

pub(crate) fn config(args: &Args, out: &Output, config: &args::Config) -> Result<Exit, CliError> {
    let ConfigAction::Show { origin } = config.action;
    let device = root(args)?.map(|root| ConfigFile::read(&Layout(root.join(DIR)).config())).transpose()?;
    let user = config::user_path().map(|p| ConfigFile::read(&p)).transpose()?;
    let dir = match &args.dir {
        Some(_) => "flag -C".to_owned(),
        None if config::env("IBGIB_DIR").is_some() => "environment IBGIB_DIR".to_owned(),
        None => "default".to_owned(),
    };
    let mut settings = vec![("dir", Some(Setting { value: start(args).display().to_string(), origin: dir }))];
    settings.push(("remote", config::setting("remote", "IBGIB_REMOTE", device.as_ref(), user.as_ref())));
    settings.push(("log", config::setting("log", "IBGIB_LOG", device.as_ref(), user.as_ref())));
    out.report(&Settings { all: settings, origin })?;
    Ok(Exit::Done)
}
