//! The owner of a space, and the token by which he becomes it.

use super::{Host, HostEvent};
use crate::invite::is_hex64;
use crate::view::{commit_error, space_error};
use ibgib::Addr;
use ibgib_saga::{IdentityRefusal, SagaError};
use ibgib_spaces::{Commit, CommitError};
use sha2::{Digest, Sha256};
use std::sync::PoisonError;

/// The local record with the owner's identity.
const OWNER: &str = "owner";

impl Host {
    /// The identity that owns the space; nobody until one is named or comes with the token.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn owner(&self) -> Result<Option<Addr>, SagaError> {
        let record = self.space.record(OWNER).await.map_err(space_error)?;
        Ok(record.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| text.parse().ok()))
    }

    /// Names the owner, whoever it was before. That is for whoever has the space's directory.
    ///
    /// # Errors
    /// When the space fails.
    pub async fn set_owner(&self, identity: &Addr) -> Result<(), SagaError> {
        let records = vec![owned_by(identity)];
        self.space.commit(Commit { records, ..Commit::default() }).await.map(drop).map_err(commit_error)
    }

    /// Lets whoever brings this token (64 hex digits) become the owner, as long as there is none.
    pub fn set_owner_token(&self, token: Option<String>) {
        *self.owner_token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Takes a token that somebody brings for his identity: of an invite, which grants him what the invite says, or the
    /// owner's, which makes him the owner if nobody is yet. Of whoever is the owner already nothing is asked: he may not have
    /// heard that he was taken, and the token is gone since then.
    ///
    /// # Errors
    /// `not_granted` when it is no token that is good, or others came first; or the space fails.
    pub async fn accept(&self, identity: &Addr, token: &str) -> Result<(), SagaError> {
        let taken = self.take_token(identity, token).await;
        if let Err(error) = &taken {
            self.tell(HostEvent::Refused(identity.clone(), error.clone()));
        }
        taken
    }

    async fn take_token(&self, identity: &Addr, token: &str) -> Result<(), SagaError> {
        let refused = || IdentityRefusal::NotGranted(identity.clone()).into();
        // Hashes are compared, so that the time it takes tells nothing of the token.
        let fits = {
            let known = self.owner_token.read().unwrap_or_else(PoisonError::into_inner);
            known.as_ref().is_some_and(|known| Sha256::digest(known) == Sha256::digest(token))
        };
        if self.owner().await?.as_ref() == Some(identity) {
            return Ok(());
        }
        if !is_hex64(token) {
            return Err(refused());
        }
        if !fits {
            return if self.take_invite(identity, token).await? { Ok(()) } else { Err(refused()) };
        }
        let (records, expect) = (vec![owned_by(identity)], vec![(OWNER.to_owned(), None)]);
        match self.space.commit(Commit { records, expect, ..Commit::default() }).await {
            Ok(_) => {
                tracing::info!(%identity, "the space has an owner now");
                Ok(())
            }
            // Somebody was faster; the same identity by its first try, perhaps.
            Err(CommitError::RecordsChanged(_)) if self.owner().await?.as_ref() == Some(identity) => Ok(()),
            Err(CommitError::RecordsChanged(_)) => Err(refused()),
            Err(error) => Err(commit_error(error)),
        }
    }
}

fn owned_by(identity: &Addr) -> (String, Option<Vec<u8>>) {
    (OWNER.to_owned(), Some(identity.as_str().as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostOptions, Policy};
    use ibgib_spaces::MemorySpace;
    use std::sync::Arc;

    #[tokio::test]
    async fn the_first_with_the_token_is_the_owner_and_nobody_else() {
        let options = HostOptions { policy: Policy::Owner, ..HostOptions::default() };
        let host = Host::new(Arc::new(MemorySpace::new("owned")), options);
        let [alice, bob] = ["A", "B"].map(|digit| Addr::new("keystone", &digit.repeat(64)).unwrap());
        let token = "0a".repeat(32);
        let refused = |who: &Addr| Err(IdentityRefusal::NotGranted(who.clone()).into());
        assert_eq!(host.accept(&alice, &token).await, refused(&alice), "none was set");
        host.set_owner_token(Some(token.clone()));
        for bad in ["", "0a", &token.to_uppercase(), &"0b".repeat(32)] {
            assert_eq!(host.accept(&alice, bad).await, refused(&alice), "{bad}");
        }
        assert_eq!(host.check_allowed(&alice).await, refused(&alice));
        for _ in 0..2 {
            assert_eq!(host.accept(&alice, &token).await, Ok(()));
        }
        assert_eq!(host.accept(&bob, &token).await, refused(&bob));
        assert_eq!((host.check_allowed(&alice).await, host.check_allowed(&bob).await), (Ok(()), refused(&bob)));
        // A server that was started again knows no token any more, and its owner may not have heard the answer.
        host.set_owner_token(None);
        assert_eq!(host.accept(&alice, &token).await, Ok(()));
        assert_eq!(host.accept(&bob, &token).await, refused(&bob));
        host.set_owner(&bob).await.unwrap();
        assert_eq!((host.check_allowed(&alice).await, host.check_allowed(&bob).await), (refused(&alice), Ok(())));
    }
}
