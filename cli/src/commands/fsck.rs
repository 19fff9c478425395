//! `fsck`.

use crate::args::{self, Args};
use crate::codes::Code;
use crate::device::Store;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::remote;
use crate::spaces;
use ibgib_peer::entropy::random_hex;
use ibgib_peer::{SenderIdentity, SyncConnection};
use ibgib_saga::Limits;
use ibgib_spaces::{bundle, repair};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn fsck(args: &Args, out: &Output, options: &args::Fsck) -> Result<Exit, CliError> {
    let in_database = args.space.as_deref().is_some_and(|space| spaces::database(space).is_some());
    // What is only checked stays as it is; a directory's store mends its own index when it is opened.
    let mut store = match options.repair_from {
        None if in_database => Store::look(args).await?,
        _ => Store::open(args).await?,
    };
    let mut found = repair::check(&**store.space()).await?;
    if let Some(from) = options.repair_from.as_deref().filter(|_| !found.is_clean()) {
        let lost = (found.corrupt.len() + found.missing.len()) as u64;
        let mut repaired = 0;
        // Nodes that were damaged may relate to others that are missing.
        loop {
            let mended = mend(args, &mut store, from).await?;
            found = repair::check(&**store.space()).await?;
            repaired += mended;
            if mended == 0 || found.is_clean() {
                break;
            }
        }
        // What has no name any more is not counted one by one.
        let left = (found.corrupt.len() + found.missing.len()) as u64;
        found.repaired = repaired.max(lost.saturating_sub(left));
    }
    out.report(&found)?;
    if found.is_clean() {
        return Ok(Exit::Done);
    }
    let subject = found.corrupt.first().or(found.missing.first().map(|(addr, _)| addr)).cloned().unwrap_or_default();
    Err(CliError::new(Code::Damaged, format!("{} corrupt, {} missing", found.corrupt.len(), found.missing.len()))
        .about(subject)
        .hint("'ibgib fsck --repair-from' takes good copies from a server or a bundle; a sync asks its server for them, too"))
}

/// Puts what a server or a bundle has in the place of what is damaged; answers how many nodes are whole again.
async fn mend(args: &Args, store: &mut Store, from: &str) -> Result<u64, CliError> {
    if !from.contains("://") {
        let path = Path::new(from);
        let mut all = 0;
        loop {
            let file = File::open(path).map_err(|e| CliError::io(path, &e))?;
            bundle::mend(&**store.space(), BufReader::new(file), &format!("mend/{}", random_hex())).await?;
            // What is whole now may tell the names of more.
            let whole = repair::settle(&**store.space()).await?;
            all += whole;
            if whole == 0 {
                return Ok(all);
            }
        }
    }
    // Whoever has an identity may ask a server that others may not read.
    let identity = match store {
        Store::Bare(_) => None,
        Store::Device(device) => {
            Some(SenderIdentity { tjp: device.identity().await?, secret: device.secret_source(args)? })
        }
    };
    let limits = Limits::default();
    let remote = Arc::new(remote::remote(args, store.device(), from).await?);
    let mut connection = SyncConnection::new(Arc::clone(&remote) as _, limits);
    let mended = connection.mend(store.space(), identity).await;
    connection.close().await;
    if let (Store::Device(device), Some(_)) = (store, remote.met()) {
        remote::remember(args, &mut device.config, &remote)?;
    }
    mended.map_err(|error| CliError::from(error).about_if_none(from))
}
