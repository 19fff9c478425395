//! What servers keep for themselves with a space: in files beside a store, or as local records in a database, where all
//! servers of the space find them.

use crate::error::CliError;
use crate::private::write_private;
use ibgib_spaces::{Commit, CommitError, Space};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Where it is kept.
pub(crate) enum Kept<'a> {
    Beside(&'a Path),
    In(Arc<dyn Space>),
}

impl Kept<'_> {
    /// A token that stays the same after a restart of the server, and is the same for all servers of one database.
    pub(crate) async fn token(&self, name: &str) -> Result<String, CliError> {
        match self {
            Self::Beside(dir) => token_file(&dir.join(name)),
            Self::In(space) => token_record(&**space, key(name)).await,
        }
    }

    /// Removes a token that nobody can use any more.
    pub(crate) async fn forget(&self, name: &str) -> Result<(), CliError> {
        match self {
            Self::Beside(dir) => {
                let path = dir.join(name);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(CliError::io(&path, &error)),
                    _ => Ok(()),
                }
            }
            Self::In(space) => {
                if space.record(&key(name)).await?.is_some() {
                    space.commit(Commit { records: vec![(key(name), None)], ..Commit::default() }).await?;
                }
                Ok(())
            }
        }
    }
}

fn key(name: &str) -> String {
    format!("server/{name}")
}

fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn token_file(path: &Path) -> Result<String, CliError> {
    match std::fs::read_to_string(path) {
        Ok(text) if is_token(&text) => return Ok(text),
        // Cut short while it was written.
        Ok(_) => std::fs::remove_file(path).map_err(|e| CliError::io(path, &e))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(CliError::io(path, &error)),
    }
    let token = ibgib_dev_tools::new_token();
    write_private(path, token.as_bytes())?;
    Ok(token)
}

/// Of servers that start at once one makes it, and the others take that one.
async fn token_record(space: &dyn Space, key: String) -> Result<String, CliError> {
    loop {
        let found = space.record(&key).await?;
        if let Some(text) = found.clone().and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| is_token(text))
        {
            return Ok(text);
        }
        let token = ibgib_dev_tools::new_token();
        let records = vec![(key.clone(), Some(token.clone().into_bytes()))];
        match space.commit(Commit { records, expect: vec![(key.clone(), found)], ..Commit::default() }).await {
            Ok(_) => return Ok(token),
            Err(CommitError::RecordsChanged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
