//! Opening stores, and the bare space that `--space` names: a directory, or the URL of a database.

use crate::error::{CliError, Exit};
use ibgib_postgres::PostgresSpace;
use ibgib_spaces::{Space, SpaceError, durable};
use std::fs::File;
use std::io::{IsTerminal, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are read of a file that names a space.
const NAME_BYTES_MAX: u64 = 16 * 1024;
/// How long a command waits for a device or a store that another one has.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);
/// After so long somebody who looks at a terminal is told.
const LOCK_TELL: Duration = Duration::from_millis(500);

/// The space that is meant: `@FILE` is the one that stands in the file, since a URL may have a password in it, which other
/// users of the machine see among the arguments.
pub(crate) fn named(space: PathBuf) -> Result<PathBuf, String> {
    let Some(file) = space.to_str().and_then(|text| text.strip_prefix('@')) else { return Ok(space) };
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(NAME_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("{file}: {error}"))?;
    match text.trim() {
        "" => Err(format!("{file} names no space: a directory, or the URL of a database")),
        one if one.contains('\n') => Err(format!("{file} has more than one line")),
        named => Ok(named.into()),
    }
}

/// The URL, when a database is named.
pub(crate) fn database(space: &Path) -> Option<&str> {
    space.to_str().filter(|text| ibgib_postgres::is_url(text))
}

/// Opens the space to write.
pub(crate) async fn open(space: &Path) -> Result<Arc<dyn Space>, CliError> {
    match database(space) {
        Some(url) => Ok(Arc::new(PostgresSpace::open(url).await?)),
        None => open_store(space),
    }
}

/// Opens the space to write, making it if there is none.
pub(crate) async fn open_or_create(space: &Path) -> Result<Arc<dyn Space>, CliError> {
    let space: Arc<dyn Space> = match database(space) {
        Some(url) => Arc::new(PostgresSpace::open_or_create(url).await?),
        None => open_or_create_store(space)?,
    };
    ibgib_spaces::begin(&*space).await?;
    Ok(space)
}

/// Opens the space only to read it, beside whoever writes. Of a database everybody is beside everybody, and one of an
/// older version stays as it is.
pub(crate) async fn look(space: &Path) -> Result<Arc<dyn Space>, CliError> {
    match database(space) {
        Some(url) => Ok(Arc::new(PostgresSpace::open_read_only(url).await?)),
        None => look_into(space),
    }
}

/// What may be shown of it: a URL has a password in it.
pub(crate) fn shown(space: &Path) -> String {
    database(space).map_or_else(|| space.display().to_string(), ibgib_postgres::shown)
}

/// Tries again while somebody else has what is asked for, who may be done soon.
pub(crate) fn patiently<T>(attempt: impl Fn() -> Result<T, CliError>) -> Result<T, CliError> {
    let started = Instant::now();
    let mut told = !std::io::stderr().is_terminal();
    loop {
        match attempt() {
            Err(error) if error.exit == Exit::Locked && started.elapsed() < LOCK_WAIT_MAX => {
                if !told && started.elapsed() > LOCK_TELL {
                    tracing::warn!("{}; waiting up to {} s", error.message, LOCK_WAIT_MAX.as_secs());
                    told = true;
                }
                std::thread::sleep(LOCK_POLL);
            }
            done => return done,
        }
    }
}

/// Opens a store to write.
pub(crate) fn open_store(dir: &Path) -> Result<Arc<dyn Space>, CliError> {
    patiently(|| Ok(durable::open(dir)?))
}

/// Opens the bare store of a server, making it if there is none.
fn open_or_create_store(dir: &Path) -> Result<Arc<dyn Space>, CliError> {
    patiently(|| Ok(durable::open_or_create(dir)?))
}

/// Opens a store to read it, which nobody is in the way of; nor is a full disk, on which one of an earlier version cannot
/// be brought over.
pub(crate) fn look_into(dir: &Path) -> Result<Arc<dyn Space>, CliError> {
    match durable::open(dir) {
        Err(SpaceError::Locked(_) | SpaceError::Permission(_) | SpaceError::Full(_)) => {
            patiently(|| Ok(durable::open_read_only(dir)?))
        }
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_may_be_named_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let named = || named(format!("@{}", file.path().display()).into());
        assert!(named().unwrap_err().contains("names no space"));
        std::fs::write(file.path(), "postgres://me:secret@db.example/notes\n").unwrap();
        assert_eq!(named().unwrap(), Path::new("postgres://me:secret@db.example/notes"));
        std::fs::write(file.path(), "a\nb\n").unwrap();
        assert!(named().unwrap_err().contains("more than one line"));
        assert!(super::named("@/nowhere/at/all".into()).unwrap_err().starts_with("/nowhere/at/all: "));
        assert_eq!(super::named("a@b".into()).unwrap(), Path::new("a@b"));
    }
}
