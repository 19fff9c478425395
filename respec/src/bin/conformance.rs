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
    // What cannot be read is told, and the rest still runs.
    let mut unreadable = false;
    let mut complain = |path: &Path, error: &str| {
        eprintln!("{}: {error}", path.display());
        unreadable = true;
    };
    let mut tally = Tally::default();
    for arg in &args {
        let mut files = Vec::new();
        match collect(arg, &mut files) {
            Err(error) => complain(arg, &error.to_string()),
            Ok(()) if files.is_empty() => complain(arg, "no .json file below this folder"),
            Ok(()) => {}
        }
        for file in &files {
            let read = std::fs::read_to_string(file).map_err(|e| e.to_string());
            if let Err(error) = read.and_then(|text| run_file(&text, &mut tally)) {
                complain(file, &error);
            }
        }
    }
    for (name, why) in &tally.skipped {
        println!("skipped {name}: {why}");
    }
    for (name, why) in &tally.failed {
        println!("FAILED {name}: {why}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed.len(), tally.skipped.len());
    match (unreadable, tally.failed.is_empty()) {
        (true, _) => ExitCode::from(2),
        (false, false) => ExitCode::from(1),
        (false, true) => ExitCode::SUCCESS,
    }
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
        if entry.is_dir() || entry.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
