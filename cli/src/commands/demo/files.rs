//! The files that the demo works on.

use crate::error::CliError;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the demo works on unless a folder is given.
const DOCUMENTS: [(&str, &str); 5] = [
    ("README.md", include_str!("../../../../README.md")),
    ("CHANGELOG.md", include_str!("../../../../CHANGELOG.md")),
    ("docs/protocol.md", include_str!("../../../../docs/protocol.md")),
    ("docs/glossary.md", include_str!("../../../../docs/glossary.md")),
    ("docs/compatibility.md", include_str!("../../../../docs/compatibility.md")),
];
/// Files above this size are no good to show a merge with.
const EDIT_BYTES_MAX: u64 = 256 * 1024;

/// Writes a file, and makes its directory.
pub(super) fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let written = match path.parent() {
        Some(dir) => fs::create_dir_all(dir),
        None => Ok(()),
    };
    let written = written.and_then(|()| fs::File::create(path)).and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|e| CliError::io(path, &e))
}

/// Writes this project's documents; answers how many.
pub(super) fn documents(to: &Path) -> Result<usize, CliError> {
    for (name, text) in DOCUMENTS {
        write(&to.join(name), text)?;
    }
    Ok(DOCUMENTS.len())
}

/// Regular files below `dir`, relative, without what belongs to version control or to a device.
fn files(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut out = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(at) = todo.pop() {
        let here = dir.join(&at);
        let entries = fs::read_dir(&here).map_err(|e| CliError::io(&here, &e))?;
        for entry in entries {
            let entry = entry.map_err(|e| CliError::io(&here, &e))?;
            let kind = entry.file_type().map_err(|e| CliError::io(&entry.path(), &e))?;
            let name = entry.file_name();
            if name == ".git" || name == ".ibgib" || name == ".ibgibignore" {
                continue;
            }
            if kind.is_dir() {
                todo.push(at.join(name));
            } else if kind.is_file() {
                out.push(at.join(name));
            }
        }
    }
    out.sort();
    Ok(out)
}

/// Copies the files of a folder; answers how many.
pub(super) fn copy(from: &Path, to: &Path) -> Result<usize, CliError> {
    let all = files(from)?;
    if all.is_empty() {
        return Err(CliError::not_found("a file in", from.display().to_string()));
    }
    for path in &all {
        let target = to.join(path);
        let made = target.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::copy(from.join(path), &target)).map_err(|e| CliError::io(&from.join(path), &e))?;
        // What is read-only there must be editable here.
        let meta = fs::metadata(&target).map_err(|e| CliError::io(&target, &e))?;
        let mut rights = meta.permissions();
        if rights.readonly() {
            std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o644);
            fs::set_permissions(&target, rights).map_err(|e| CliError::io(&target, &e))?;
        }
    }
    Ok(all.len())
}

/// The text file that both will edit: the longest of moderate size.
pub(super) fn shared_text(dir: &Path) -> Result<PathBuf, CliError> {
    let mut best: Option<(u64, PathBuf)> = None;
    for path in files(dir)? {
        let size = fs::metadata(dir.join(&path)).map_or(0, |m| m.len());
        let larger = best.as_ref().is_none_or(|(most, _)| size > *most);
        // Lines put into a document make it none.
        let has_lines = path.extension().is_none_or(|e| e != "json");
        if size > EDIT_BYTES_MAX || !larger || !has_lines {
            continue;
        }
        if fs::read_to_string(dir.join(&path))
            .is_ok_and(|text| !text.contains(['\0', '\r']) && text.lines().count() > 4)
        {
            best = Some((size, path));
        }
    }
    if let Some((_, path)) = best {
        return Ok(path);
    }
    let own = PathBuf::from("ibgib-demo.md");
    write(&dir.join(&own), "# Demo\n\nA first paragraph.\n\nA second one.\n\nA third one.\n")?;
    Ok(own)
}

/// Every file with the bytes it has.
pub(super) fn contents(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>, CliError> {
    let read = |path: PathBuf| {
        let bytes = fs::read(dir.join(&path)).map_err(|e| CliError::io(&path, &e))?;
        Ok((path, bytes))
    };
    files(dir)?.into_iter().map(read).collect()
}
