//! A copy of a store as it is at one moment, also while somebody writes it: what a record says is never changed, so that the
//! log up to its last whole record is a store.

use super::log::{Log, Pos, io_error};
use super::{SegmentSpace, core};
use crate::error::SpaceError;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes between two times that somebody is told how far it is.
const TOLD_EVERY: usize = 1024 * 1024;

/// Copies the store in `from` into `to`, which is made and may be an empty directory; `told` hears bytes done, and of how
/// many. Answers the bytes. Where it fails `to` is as it was before.
pub(super) fn back_up(from: &Path, to: &Path, told: &mut dyn FnMut(u64, u64)) -> Result<u64, SpaceError> {
    loop {
        let log = Log::open(&from.join(SegmentSpace::LOG), false);
        let done = match &log {
            Ok(log) => copy_all(from, to, log, told),
            Err(error) => Err(error.clone()),
        };
        // A log that was written anew may have taken this one's place meanwhile, so that files were missed.
        match log {
            Ok(log) if !matches!(done, Ok(Some(_))) && !log.is_in_place()? => {}
            _ => return done.map(Option::unwrap_or_default),
        }
    }
}

/// `None`: the log was written anew meanwhile, and nothing is left of the copy.
fn copy_all(from: &Path, to: &Path, log: &Log, told: &mut dyn FnMut(u64, u64)) -> Result<Option<u64>, SpaceError> {
    let is_free = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => true,
        Err(e) => return Err(io_error(to, &e)),
    };
    if !is_free {
        return Err(SpaceError::Io(format!("{} is there already, and not empty", to.display())));
    }
    // Reads all of it: what is damaged so that nobody could open the copy is told now.
    let end = log.replay(Pos::START, |_, _| Ok(()))?;
    // What else a server keeps in its store's folder: its key, the token of a space that nobody owns yet.
    let mut beside = Vec::new();
    for entry in fs::read_dir(from).map_err(|e| io_error(from, &e))? {
        let entry = entry.map_err(|e| io_error(from, &e))?;
        let name = entry.file_name();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && name != SegmentSpace::INDEX && !name.as_encoded_bytes().starts_with(b".") {
            beside.push((entry.path(), PathBuf::from(name), u64::MAX));
        }
    }
    let segments = log.up_to(end)?.into_iter().map(|(path, len)| {
        let name = Path::new(SegmentSpace::LOG).join(path.file_name().unwrap_or_default());
        (path, name, len)
    });
    let files: Vec<(PathBuf, PathBuf, u64)> = segments.chain(beside).collect();
    let of = files.iter().map(|(path, _, len)| fs::metadata(path).map_or(0, |about| about.len()).min(*len)).sum();

    // Under another name until it is whole.
    let place = |e: io::Error| io_error(to, &e);
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = to.file_name().ok_or_else(|| SpaceError::Io(format!("{} names no directory", to.display())))?;
    fs::metadata(parent).map_err(|e| io_error(parent, &e))?;
    let fresh = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let _ = fs::remove_dir_all(&fresh);
    let made = (|| {
        core::private_dir(&fresh.join(SegmentSpace::LOG)).map_err(place)?;
        let mut done = 0;
        for (path, name, len) in &files {
            copy(path, &fresh.join(name), *len, &mut |bytes| {
                done += bytes;
                told(done, of);
            })?;
        }
        if !log.is_in_place()? {
            return Ok(None);
        }
        for dir in [&fresh.join(SegmentSpace::LOG), &fresh] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(place)?;
        }
        fs::rename(&fresh, to).map_err(place)?;
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(place)?;
        Ok(Some(done))
    })();
    if !matches!(made, Ok(Some(_))) {
        // Best effort; it is told why it failed.
        let _ = fs::remove_dir_all(&fresh);
    }
    made
}

/// Copies the first `len` bytes of a file, for its owner alone, and brings them to the disk.
fn copy(from: &Path, to: &Path, len: u64, told: &mut dyn FnMut(u64)) -> Result<(), SpaceError> {
    let mut source = File::open(from).map_err(|e| io_error(from, &e))?.take(len);
    let mut options = File::options();
    let failed = |e: io::Error| io_error(to, &e);
    let mut file = options.write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
    let mut buffer = vec![0; TOLD_EVERY];
    loop {
        let read = source.read(&mut buffer).map_err(|e| io_error(from, &e))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(failed)?;
        told(read as u64);
    }
    file.sync_all().map_err(failed)
}
