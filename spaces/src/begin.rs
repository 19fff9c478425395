//! A space in which nothing was committed yet.

use crate::error::CommitError;
use crate::marks::{HELD_KNOWN, LEADS_KNOWN};
use crate::rules::Commit;
use crate::space::Space;

/// Notes of a space that nothing was ever committed to that it need not be looked through later, for what is held
/// ([`forget`](crate::forget::prepare)) or for what leads on ([`leads`](crate::leads::prepare)): whatever comes from now on
/// is noted as it comes. Of another space changes nothing. Whoever makes a space does well to call this once.
///
/// # Errors
/// When the store fails.
pub async fn begin(space: &dyn Space) -> Result<(), CommitError> {
    if space.revision().await? == 0 {
        let records = [HELD_KNOWN, LEADS_KNOWN].map(|key| (key.to_owned(), Some(b"1".to_vec())));
        space.commit(Commit { records: records.into(), ..Commit::default() }).await?;
    }
    Ok(())
}
