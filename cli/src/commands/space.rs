//! `space drop`, `allow` and `dropped`: frames that the owner of the server's space takes out of it.

use super::grants::Stating;
use crate::args::{Args, SpaceAction};
use crate::confirm::confirm;
use crate::device::{Device, Store, parse_addr};
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{DroppedFrame, plural};
use ibgib::Addr;
use ibgib_peer::{FRAMES_MAX, Statement};
use std::path::Path;

pub(crate) async fn space(args: &Args, out: &Output, action: &SpaceAction) -> Result<Exit, CliError> {
    let mut stating = Stating::open(args).await?;
    let statement = match action {
        SpaceAction::Dropped => Statement::Drop { frames: Vec::new() },
        SpaceAction::Allow { frames } => Statement::Allow { frames: named(stating.device(), frames).await? },
        SpaceAction::Drop(drop) => {
            let frames = match &drop.by {
                Some(who) => made_by(args, out, stating.device(), who, &drop.what).await?,
                None => named(stating.device(), &drop.what).await?,
            };
            let count = plural(frames.len() as u64, "frame");
            let question = format!("Drop {count} at the server and on every device that syncs with it?");
            confirm(out, drop.yes, &question, &format!("{count} would be dropped"))?;
            Statement::Drop { frames }
        }
    };
    for line in stating.state(args, &statement).await?? {
        out.item(&DroppedFrame { line })?;
    }
    Ok(Exit::Done)
}

/// Frames by address, or by the first digits of one that is here.
async fn named(device: &Device, texts: &[String]) -> Result<Vec<Addr>, CliError> {
    let mut frames = Vec::with_capacity(texts.len());
    for text in texts {
        frames.push(match text.contains('^') {
            true => parse_addr(text)?,
            false => Store::by_prefix(&*device.space, text).await?,
        });
    }
    Ok(frames)
}

/// The frames of files that say that `who` made them.
async fn made_by(
    args: &Args,
    out: &Output,
    device: &Device,
    who: &str,
    files: &[String],
) -> Result<Vec<Addr>, CliError> {
    let folder = device.folder(out).await?;
    let names = folder.names().await?;
    let is_meant = |identity: &Addr| {
        identity.as_str() == who
            || names.device(identity) == Some(who)
            || who.len() >= 8 && identity.gib().starts_with(&who.trim_start_matches("keystone^").to_ascii_uppercase())
    };
    let mut frames = Vec::new();
    for file in files {
        let path = device.entry(args, Path::new(file))?;
        for frame in folder.file_log(&path).await? {
            let entry = frame.entry;
            if !entry.merge && entry.past.is_some() && entry.identity.as_ref().is_some_and(is_meant) {
                frames.push(entry.addr);
            }
        }
    }
    if frames.len() > FRAMES_MAX {
        return Err(CliError::usage(format!(
            "{who} made {} frames there; {FRAMES_MAX} are dropped at once",
            frames.len()
        ))
        .hint("name the frames: 'ibgib log FILE' tells them, the newest first"));
    }
    if frames.is_empty() {
        return Err(CliError::not_found("frame that was made by", who)
            .hint("'ibgib log FILE' tells which device made which frame"));
    }
    Ok(frames)
}
