//! `export` and `import`.

use crate::args::{self, Args};
use crate::device::Store;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::report::{Exported, Imported, partly};
use ibgib_peer::entropy::random_hex;
use ibgib_spaces::{bundle, repair};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

pub(crate) async fn export(args: &Args, out: &Output, export: &args::Export) -> Result<Exit, CliError> {
    let store = Store::open(args)?;
    let mut starts = Vec::new();
    for text in &export.addrs {
        let addr = store.resolve(args, text).await?.addr().clone();
        if store.space().has(std::slice::from_ref(&addr)).await? != [true] {
            return Err(CliError::not_found("node", addr.as_str()));
        }
        starts.push(addr);
    }
    if export.file == Path::new("-") {
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
    fresh.persist(path).map_err(|e| failed(&e.error))?;
    out.report(&Exported { bundled: told, file: path.clone() })?;
    Ok(Exit::Done)
}

pub(crate) async fn import(args: &Args, out: &Output, import: &args::Import) -> Result<Exit, CliError> {
    let store = Store::open(args)?;
    let owner = format!("import/{}", random_hex());
    let space = &**store.space();
    let bundled = match import.file == Path::new("-") {
        true => bundle::import(space, BufReader::new(std::io::stdin()), &owner, import.dry_run).await?,
        false => {
            let file = File::open(&import.file).map_err(|e| CliError::io(&import.file, &e))?;
            bundle::import(space, BufReader::new(file), &owner, import.dry_run).await?
        }
    };
    if !import.dry_run {
        // What the bundle has of what was damaged here is whole now.
        repair::settle(space).await?;
    }
    let exit = partly(bundled.conflicts > 0 || !bundled.refused.is_empty());
    out.report(&Imported { bundled, dry_run: import.dry_run })?;
    Ok(exit)
}
