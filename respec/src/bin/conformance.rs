//! `conformance FILE|FOLDER…`: runs conformance vectors; exit 1 when a case fails, 2 when a file cannot be read.

use ibgib_respec::vectors::{Tally, run_file};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if args.is_empty() || args.iter().any(|a| a.as_os_str() == "--help" || a.as_os_str() == "-h") {
        eprintln!("usage: conformance FILE|FOLDER...\nRuns every case of the JSON vector files given.");
        return if args.is_empty() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    let mut files = Vec::new();
    for arg in &args {
        if let Err(error) = collect(arg, &mut files) {
            eprintln!("{}: {error}", arg.display());
            return ExitCode::from(2);
        }
    }
    let mut tally = Tally::default();
    for file in &files {
        let read = std::fs::read_to_string(file).map_err(|e| e.to_string());
        if let Err(error) = read.and_then(|text| run_file(&text, &mut tally)) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::from(2);
        }
    }
    for (name, why) in &tally.skipped {
        println!("skipped {name}: {why}");
    }
    for (name, why) in &tally.failed {
        println!("FAILED {name}: {why}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed.len(), tally.skipped.len());
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// A file itself, or the `.json` files below a folder, sorted.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        // Reading tells whether it is there.
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|e| e == "json") {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
