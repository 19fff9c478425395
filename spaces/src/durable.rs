//! The durable space of a directory, whichever way it is kept there.
//!
//! What is made today is a [`SegmentSpace`] (`log/` and its index). Earlier versions made a [`DurableSpace`] (one file,
//! [`FILE`]). Whoever opens such a directory to write brings it over: everything is written into a log beside it, which
//! takes the old file's place once it is whole. Who stops anywhere between leaves the old store or the new one, never half
//! of one; opening it again goes on.
//!
//! ```
//! use ibgib_spaces::durable;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! let space = durable::open_or_create(dir.path()).unwrap();
//! # assert!(durable::exists(dir.path()) && durable::open(dir.path()).is_err());
//! ```

mod bring_over;

use crate::error::SpaceError;
use crate::redb::{DurableSpace, FILE};
use crate::segments::SegmentSpace;
use crate::space::Space;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Whether there is a durable space in `dir`.
pub fn exists(dir: &Path) -> bool {
    SegmentSpace::is_in(dir) || dir.join(FILE).exists()
}

/// Makes a space in `dir`, which is made if it is not there.
///
/// # Errors
/// [`SpaceError::Io`] when there is one already; or the file system refuses.
pub fn create(dir: &Path) -> Result<Arc<dyn Space>, SpaceError> {
    match exists(dir) {
        true => Err(SpaceError::Io(format!("there is a store in {} already", dir.display()))),
        false => Ok(Arc::new(SegmentSpace::create(dir)?)),
    }
}

/// Opens the space in `dir`. Blocks while one of an earlier version is brought over.
///
/// # Errors
/// [`SpaceError::NotFound`], [`SpaceError::Locked`] while another process has it open to write, [`SpaceError::Damaged`],
/// [`SpaceError::Permission`], [`SpaceError::Full`].
pub fn open(dir: &Path) -> Result<Arc<dyn Space>, SpaceError> {
    if dir.join(FILE).exists() {
        bring_over::bring_over(dir, &|| ())?;
    }
    found(dir, SegmentSpace::open(dir))
}

/// Opens the space in `dir`, making it if there is none.
///
/// # Errors
/// As [`open`] and [`create`].
pub fn open_or_create(dir: &Path) -> Result<Arc<dyn Space>, SpaceError> {
    match exists(dir) {
        true => open(dir),
        false => Ok(Arc::new(SegmentSpace::open_or_create(dir)?)),
    }
}

/// Opens the space in `dir` only to read it as it is now: where it cannot be written to, and while another process
/// writes it.
///
/// # Errors
/// As [`SegmentSpace::open_read_only`] and [`DurableSpace::open_read_only`](crate::DurableSpace::open_read_only).
pub fn open_read_only(dir: &Path) -> Result<Arc<dyn Space>, SpaceError> {
    if !SegmentSpace::is_in(dir) && dir.join(FILE).exists() {
        match DurableSpace::open_read_only(dir) {
            // It was brought over in this moment.
            Err(SpaceError::NotFound(_)) => {}
            opened => return Ok(Arc::new(opened?)),
        }
    }
    found(dir, SegmentSpace::open_read_only(dir))
}

/// Copies the space in `from` as it is now into the directory `to`, which must not be there, or be empty: nodes, records,
/// and the files that a server keeps beside them. Another process may have it open to write. `told` hears the bytes that are
/// copied, and of how many. Answers the bytes; where it fails nothing is left of the copy. Blocks.
///
/// The copy is a space with the same id, whose owner signs with the leaves that this one signs with.
///
/// # Errors
/// [`SpaceError::NotFound`], [`SpaceError::Damaged`], [`SpaceError::Permission`], [`SpaceError::Full`],
/// [`SpaceError::Io`] when something is in `to`.
pub fn back_up(from: &Path, to: &Path, mut told: impl FnMut(u64, u64)) -> Result<u64, SpaceError> {
    if from.join(FILE).exists() {
        bring_over::bring_over(from, &|| ())?;
    }
    match SegmentSpace::back_up(from, to, &mut told) {
        Err(SpaceError::NotFound(_)) if !SegmentSpace::is_in(from) => {
            Err(SpaceError::NotFound(from.display().to_string()))
        }
        done => done,
    }
}

fn found(dir: &Path, opened: Result<SegmentSpace, SpaceError>) -> Result<Arc<dyn Space>, SpaceError> {
    match opened {
        // Not one of its files is what was looked for.
        Err(SpaceError::NotFound(_)) => Err(SpaceError::NotFound(dir.display().to_string())),
        opened => Ok(Arc::new(opened?)),
    }
}

/// When the space in `dir` was written last: another time than before means that somebody changed it.
pub fn written(dir: &Path) -> Option<SystemTime> {
    let file = SegmentSpace::newest_file(dir).unwrap_or_else(|| dir.join(FILE));
    fs::metadata(file).and_then(|about| about.modified()).ok()
}
