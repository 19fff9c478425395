//! The devices that this one was paired with.

use crate::error::CliError;
use ibgib::Addr;
use ibgib_spaces::{Commit, Space};

/// Records of them: the identity stands in the key, the name is what they hold.
const PAIRED: &str = "paired/";

/// Each with its identity and the name that it gave itself.
pub(crate) async fn list(space: &dyn Space) -> Result<Vec<(String, String)>, CliError> {
    let all = space.records(PAIRED).await?;
    Ok(all
        .into_iter()
        .filter_map(|(key, name)| {
            Some((key.strip_prefix(PAIRED)?.to_owned(), String::from_utf8_lossy(&name).into_owned()))
        })
        .collect())
}

/// Remembers a device under the name that it gave itself.
pub(crate) async fn remember(space: &dyn Space, identity: &Addr, name: &str) -> Result<(), CliError> {
    let records = vec![(format!("{PAIRED}{identity}"), Some(name.as_bytes().to_vec()))];
    space.commit(Commit { records, ..Commit::default() }).await?;
    Ok(())
}
