//! The bare space that `--space` names: a directory, or the URL of a database.

use crate::device::{look_into, open_or_create_store, open_store};
use crate::error::CliError;
use ibgib_postgres::PostgresSpace;
use ibgib_spaces::Space;
use std::path::Path;
use std::sync::Arc;

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
    match database(space) {
        Some(url) => Ok(Arc::new(PostgresSpace::open_or_create(url).await?)),
        None => open_or_create_store(space),
    }
}

/// Opens the space only to read it, beside whoever writes. Of a database everybody is beside everybody.
pub(crate) async fn look(space: &Path) -> Result<Arc<dyn Space>, CliError> {
    match database(space) {
        Some(_) => open(space).await,
        None => look_into(space),
    }
}

/// What may be shown of it: a URL has a password in it.
pub(crate) fn shown(space: &Path) -> String {
    database(space).map_or_else(|| space.display().to_string(), ibgib_postgres::shown)
}
