//! Which key the TLS of the space's servers has, and had before: signed by the space's keystone whenever another one takes the
//! place of one, so that clients who know one of those before can go on to it.
//!
//! The local record tells the key alone as long as there was no other one, and the newest succession from then on.

use super::Host;
use super::words::signed;
use crate::identity;
use crate::tls::ServerKey;
use crate::view::{commit_error, space_error};
use ibgib::{Mode, Value, object};
use ibgib_keystone::{Succession, succeed};
use ibgib_saga::{SagaError, SpaceFailure};
use ibgib_spaces::{Commit, CommitError};

/// The local record with the key of the space's servers.
const KEY: &str = "server/tls-key";

/// What a key is to those who know the servers of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStanding {
    /// The first one.
    First,
    /// The one that they know.
    Same,
    /// Another one, which follows that.
    Succeeds,
    /// One that another one has followed: whoever was led to that takes it no more.
    GivenUp,
}

enum Noted {
    First(String),
    Later(Box<Succession>),
}

impl Noted {
    fn read(bytes: &[u8]) -> Result<Self, SagaError> {
        let value = std::str::from_utf8(bytes).ok().and_then(|text| Value::parse(text, Mode::Strict).ok());
        let read = value.and_then(|value| match Succession::parse(&value) {
            Some(succession) => Some(Self::Later(Box::new(succession))),
            None => Some(Self::First(value.get("key")?.as_str()?.parse::<ServerKey>().ok()?.to_string())),
        });
        read.ok_or_else(|| SagaError::OwnSpace {
            failure: SpaceFailure::Damaged,
            message: format!("the record {KEY}, which keeps the key of the space's servers, cannot be read"),
        })
    }

    /// The key, those that it follows, and its number.
    fn parts(&self) -> (&str, &[String], u64) {
        match self {
            Self::First(key) => (key, &[], 0),
            Self::Later(succession) => (succession.key(), succession.before(), succession.number()),
        }
    }
}

impl Host {
    /// The servers of the space have this key from now on: unless it is the one that they have, the space's keystone signs that it
    /// follows that. To be called before anybody is shown it.
    ///
    /// # Errors
    /// When the space fails, or what it keeps of its keystone or of the key cannot be read.
    pub async fn serves_with(&self, key: ServerKey) -> Result<KeyStanding, SagaError> {
        let shown = key.to_string();
        loop {
            let kept = self.space.record(KEY).await.map_err(space_error)?;
            let noted = kept.as_deref().map(Noted::read).transpose()?;
            let (value, standing) = match noted.as_ref().map(Noted::parts) {
                None => (object([("key", shown.as_str().into())]), KeyStanding::First),
                Some((now, ..)) if now == shown => return Ok(KeyStanding::Same),
                Some((_, before, _)) if before.contains(&shown) => return Ok(KeyStanding::GivenUp),
                Some((now, before, number)) => {
                    let (key, before) = (shown.clone(), [before, &[now.to_owned()]].concat());
                    let succession = signed(&*self.space, move |chain, secret, opts| {
                        succeed(chain, secret, &key, &before, number + 1, opts)
                    });
                    (succession.await?.to_value(), KeyStanding::Succeeds)
                }
            };
            let records = vec![(KEY.to_owned(), Some(value.to_json().into_bytes()))];
            let expect = vec![(KEY.to_owned(), kept)];
            match self.space.commit(Commit { records, expect, ..Commit::default() }).await {
                Ok(_) => return Ok(standing),
                // Another server of the space was faster: it is looked at anew.
                Err(CommitError::RecordsChanged(_)) => {}
                Err(error) => return Err(commit_error(error)),
            }
        }
    }

    /// The newest succession and the frames of the keystone that prove it, one a line; `None` as long as the servers have their
    /// first key.
    ///
    /// # Errors
    /// When the space fails, or what it keeps of the key cannot be read.
    pub async fn succession(&self) -> Result<Option<String>, SagaError> {
        let Some(kept) = self.space.record(KEY).await.map_err(space_error)? else { return Ok(None) };
        let Noted::Later(succession) = Noted::read(&kept)? else { return Ok(None) };
        let mut text = succession.to_value().to_json() + "\n";
        for frame in identity::frames(&*self.space, &succession.keystone()).await?.unwrap_or_default() {
            text += &(frame.to_json() + "\n");
            if frame.addr() == succession.frame() {
                break;
            }
        }
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostOptions;
    use ibgib_spaces::{MemorySpace, Space};
    use std::sync::Arc;

    fn key(n: u8) -> ServerKey {
        format!("sha256:{}", format!("{n:02x}").repeat(32)).parse().unwrap()
    }

    fn host(space: &Arc<dyn Space>) -> Arc<Host> {
        Host::new(Arc::clone(space), HostOptions::default())
    }

    async fn told(host: &Host) -> Option<Succession> {
        let text = host.succession().await.unwrap()?;
        Succession::parse(&Value::parse(text.lines().next().unwrap(), Mode::Strict).unwrap())
    }

    #[tokio::test]
    async fn a_key_that_takes_the_place_of_another_is_signed_for_once_and_none_comes_back() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
        let [one, other] = [host(&space), host(&space)];
        assert_eq!(one.serves_with(key(1)).await.unwrap(), KeyStanding::First);
        assert_eq!(host(&space).serves_with(key(1)).await.unwrap(), KeyStanding::Same);
        assert_eq!(told(&one).await, None);
        assert_eq!(space.records("leaves/").await.unwrap(), [], "nothing was signed");
        // Two servers of the space that are given the next one at once.
        let (a, b) = tokio::join!(one.serves_with(key(2)), other.serves_with(key(2)));
        assert!([a.unwrap(), b.unwrap()].contains(&KeyStanding::Succeeds));
        assert_eq!(one.serves_with(key(2)).await.unwrap(), KeyStanding::Same);
        let second = told(&other).await.unwrap();
        assert_eq!((second.number(), second.before()), (1, &[key(1).to_string()][..]));
        assert_eq!(host(&space).serves_with(key(3)).await.unwrap(), KeyStanding::Succeeds);
        let third = told(&one).await.unwrap();
        assert_eq!((third.number(), third.before().len(), third.key()), (2, 2, &*key(3).to_string()));
        for given_up in [key(1), key(2)] {
            assert_eq!(one.serves_with(given_up).await.unwrap(), KeyStanding::GivenUp);
        }
        assert_eq!(told(&one).await, Some(third), "it stays as it was");
    }

    #[tokio::test]
    async fn what_is_kept_of_the_key_and_cannot_be_read_is_told_and_not_begun_anew() {
        let space: Arc<dyn Space> = Arc::new(MemorySpace::new("shared"));
        let records = vec![(KEY.to_owned(), Some(b"{".to_vec()))];
        space.commit(Commit { records, ..Commit::default() }).await.unwrap();
        let error = host(&space).serves_with(key(1)).await.unwrap_err();
        assert_eq!(error.code(), "damaged");
        assert!(error.to_string().contains(KEY), "{error}");
    }
}
