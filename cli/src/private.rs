//! Files that are nobody else's to read.

use crate::error::CliError;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a new file that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all())).map_err(|e| CliError::io(path, &e))
}
