//! `export`, `import` and `backup`.

use super::telling::{count_new, keep_told};
use crate::args::{self, Args};
use crate::codes::Code;
use crate::device::Store;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{BackedUp, Exported, Imported, partly};
use crate::screen::Headway;
use crate::spaces;
use ibgib_peer::entropy::random_hex;
use ibgib_spaces::{MemorySpace, bundle, durable, repair};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) async fn export(args: &Args, out: &Output, export: &args::Export) -> Result<Exit, CliError> {
    let to_stdout = export.file == Path::new("-");
    if !to_stdout && !export.force && export.file.symlink_metadata().is_ok() {
        return Err(taken(&export.file));
    }
    let store = Store::look(args).await?;
    let mut starts = Vec::new();
    for text in &export.addrs {
        let addr = store.resolve(args, text).await?.addr().clone();
        if store.space().has(std::slice::from_ref(&addr)).await? != [true] {
            return Err(CliError::not_found("node", addr.as_str()));
        }
        starts.push(addr);
    }
    if to_stdout {
        // The bundle is the result; the counts go to stderr.
        let told = bundle::export(&**store.space(), &starts, BufWriter::new(std::io::stdout())).await?;
        out.say(&format!("{} nodes, {} timelines", told.nodes, told.timelines));
        return Ok(Exit::Done);
    }
    let path = &export.file;
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |e: &std::io::Error| CliError::io(path, e);
    let mut fresh = tempfile::NamedTempFile::new_in(dir).map_err(|e| failed(&e))?;
    let told = bundle::export(&**store.space(), &starts, BufWriter::new(fresh.as_file_mut())).await;
    let told = told.map_err(|error| match error {
        ibgib_spaces::BundleError::Io(e) => failed(&e),
        error => error.into(),
    })?;
    fresh.as_file_mut().flush().and_then(|()| fresh.as_file().sync_all()).map_err(|e| failed(&e))?;
    let named = if export.force { fresh.persist(path) } else { fresh.persist_noclobber(path) };
    named.map_err(|e| match e.error.kind() {
        // Somebody else made it meanwhile.
        ErrorKind::AlreadyExists => taken(path),
        _ => failed(&e.error),
    })?;
    out.report(&Exported { bundled: told, file: path.clone() })?;
    Ok(Exit::Done)
}

fn taken(path: &Path) -> CliError {
    CliError::new(Code::FileExists, format!("{} is there already; nothing was written", path.display()))
        .about(path.display().to_string())
        .hint("choose another name, or write over it with --force")
}

pub(crate) async fn backup(args: &Args, out: &Output, to: &Path) -> Result<Exit, CliError> {
    let Some(space) = &args.space else {
        return Err(CliError::usage(
            "--space DIR says of which space; a device is made again by a clone of its folder",
        ));
    };
    if spaces::database(space).is_some() {
        let text = "a space in a database is copied by what copies the database: pg_dump";
        return Err(CliError::usage(text));
    }
    let is_free = match std::fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() != ErrorKind::NotADirectory,
    };
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if is_free && !parent.is_dir() {
        return Err(CliError::not_found("directory", parent.display().to_string()));
    }
    if !is_free {
        let text = format!("{} is there already, and no empty directory; nothing was copied", to.display());
        return Err(CliError::new(Code::FileExists, text).about(to.display().to_string()).hint("choose another name"));
    }
    let (from, to, screen) = (space.clone(), to.to_owned(), out.screen().clone());
    let name = to.clone();
    let done = tokio::task::spawn_blocking(move || {
        durable::back_up(&from, &to, |bytes, bytes_of| {
            screen.show(&Headway { doing: "copying", bytes, bytes_of, ..Headway::default() });
        })
    });
    let bytes = done.await.map_err(|e| CliError::new(Code::Io, e.to_string()))??;
    out.report(&BackedUp { bytes, dir: name })?;
    Ok(Exit::Done)
}

pub(crate) async fn import(args: &Args, out: &Output, import: &args::Import) -> Result<Exit, CliError> {
    // Before a space is made for what cannot be read.
    let from: Box<dyn BufRead + Send> = match import.file == Path::new("-") {
        true => Box::new(BufReader::new(std::io::stdin())),
        false => {
            let file = File::open(&import.file).map_err(|e| CliError::io(&import.file, &e))?;
            Box::new(BufReader::new(file))
        }
    };
    let (store, made) = into(args, import.dry_run).await?;
    let owner = format!("import/{}", random_hex());
    let bundled = bundle::import(&**store.space(), from, &owner, import.dry_run).await;
    let bundled = match (bundled, made) {
        (Ok(bundled), _) => bundled,
        (Err(error), made) => {
            drop(store);
            if let Some(made) = made {
                // Best effort: an empty space is in nobody's way.
                let _ = std::fs::remove_dir_all(made);
            }
            return Err(error.into());
        }
    };
    if !import.dry_run {
        // What the bundle has of what was damaged here is whole now.
        repair::settle(&**store.space()).await?;
    }
    let mut bundled = bundled;
    let mut record = None;
    if let (Some(device), false) = (store.device(), import.dry_run) {
        let (conflicts, told) = count_new(device, out, bundled.conflicts as usize).await?;
        bundled.conflicts = conflicts as u64;
        record = told;
    }
    let exit = partly(bundled.conflicts > 0 || !bundled.refused.is_empty());
    out.report(&Imported { bundled, dry_run: import.dry_run })?;
    if let Some(device) = store.device() {
        keep_told(device, record).await?;
    }
    Ok(exit)
}

/// Where a bundle goes: a bare space is made if it is not there. Answers the directory that was made.
async fn into(args: &Args, dry_run: bool) -> Result<(Store, Option<PathBuf>), CliError> {
    match &args.space {
        Some(url) if spaces::database(url).is_some() => {
            let space = match spaces::open(url).await {
                Err(error) if error.exit == Exit::NotFound && dry_run => Arc::new(MemorySpace::new("checked")) as _,
                Err(error) if error.exit == Exit::NotFound => spaces::open_or_create(url).await?,
                opened => opened?,
            };
            Ok((Store::Bare(space), None))
        }
        Some(dir) if !durable::exists(dir) => {
            if dry_run {
                return Ok((Store::Bare(Arc::new(MemorySpace::new("checked"))), None));
            }
            let made = (!dir.exists()).then(|| dir.clone());
            Ok((Store::Bare(spaces::open_or_create(dir).await?), made))
        }
        _ => Ok((Store::open(args).await?, None)),
    }
}
