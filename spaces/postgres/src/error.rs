//! What the database answers, told by what a caller can do about it.

use deadpool_postgres::PoolError;
use ibgib_spaces::SpaceError;
use std::error::Error as _;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// An error with the causes that it names no more than "db error" or "error connecting to server".
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(because) = cause {
        text = format!("{text}: {because}");
        cause = because.source();
    }
    text
}

/// Any failure of the database.
pub(crate) fn fail(error: Error) -> SpaceError {
    let text = text(&error);
    // What the server did not answer went wrong on the way to it.
    let Some(code) = error.code() else { return SpaceError::Unavailable(text) };
    match code.code() {
        "53100" => SpaceError::Full(text),
        // Ended so that others go on, which it stood in the way of and they in its.
        "40P01" | "40001" => SpaceError::Unavailable(text),
        // Starting, shutting down, crashed, too many connections; a standby that takes no writes (yet).
        "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "25006" | "25P03" => SpaceError::Unavailable(text),
        c if c.starts_with("08") => SpaceError::Unavailable(text),
        c if c.starts_with("28") => SpaceError::Permission(text),
        _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => SpaceError::Permission(text),
        _ if *code == SqlState::INVALID_CATALOG_NAME => SpaceError::NotFound(text),
        _ if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => SpaceError::Damaged(text),
        _ => SpaceError::Io(text),
    }
}

/// No connection could be had.
pub(crate) fn no_connection(error: PoolError) -> SpaceError {
    match error {
        PoolError::Backend(error) => fail(error),
        PoolError::Timeout(_) => SpaceError::Unavailable("the database does not answer in time".into()),
        PoolError::Closed => SpaceError::Closed,
        PoolError::PostCreateHook(deadpool_postgres::HookError::Backend(error)) => fail(error),
        error => SpaceError::Unavailable(error.to_string()),
    }
}
