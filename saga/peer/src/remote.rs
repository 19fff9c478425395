//! The receiver as the sender sees it before a connection is open: registration, evolution, connecting.

use crate::link::Link;
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::Dropping;
use ibgib_saga::SagaError;
use std::fmt;

/// A receiver: in the same process ([`crate::Innerspace`]) or behind a URL ([`crate::WebSocketRemote`]).
#[async_trait]
pub trait Remote: fmt::Debug + Send + Sync {
    /// The receiver's space id, which sessions name as their audience.
    async fn audience(&self) -> Result<String, SagaError>;

    /// Whether this may be the keystone of the receiver's space, as whoever told where the receiver is knows it.
    ///
    /// # Errors
    /// `server_changed` when it is not.
    fn check_keystone(&self, shown: &Addr) -> Result<(), SagaError>;

    /// This is the keystone of the receiver's space, as it was found to be.
    fn met_keystone(&self, _: &Addr) {}

    /// The receiver's URL, for displays; none in the same process.
    fn shown(&self) -> &str;

    /// The newest frame of an identity at the receiver.
    async fn identity_tip(&self, tjp: &Addr) -> Result<Option<Addr>, SagaError>;

    /// [`Remote::audience`] and [`Remote::identity_tip`], in as few round trips as it takes.
    async fn meet(&self, tjp: &Addr) -> Result<(String, Option<Addr>), SagaError> {
        Ok((self.audience().await?, self.identity_tip(tjp).await?))
    }

    /// The newest list of what the owner of the receiver's space has dropped, if [`Remote::meet`] heard of a later one than
    /// number `seen`. Nothing of it is checked.
    async fn dropped(&self, seen: u64) -> Result<Option<Dropping>, SagaError> {
        let _ = seen;
        Ok(None)
    }

    /// All frames of a keystone up to `tip`, genesis first.
    async fn keystone_frames(&self, tip: &Addr) -> Result<Vec<Verified<IbGib>>, SagaError>;

    /// One node, where the receiver lets it be read without a connection.
    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError>;

    /// Registers an identity.
    async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<(), SagaError>;

    /// The evolution endpoint: new frames of an identity, and the session that the last of them introduces.
    async fn post_evolution(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<(), SagaError>;

    /// Opens a connection.
    async fn open(&self) -> Result<Link, SagaError>;
}
