//! A receiver in the same process.

use crate::host::Host;
use crate::identity;
use crate::link::Link;
use crate::remote::Remote;
use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_keystone::Dropping;
use ibgib_saga::SagaError;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Reaches a [`Host`] without a socket; packets are the same encoded bytes as on a WebSocket.
#[derive(Clone, Debug)]
pub struct Innerspace {
    host: Arc<Host>,
}

impl Innerspace {
    /// Reaches `host`.
    pub fn new(host: Arc<Host>) -> Self {
        Self { host }
    }
}

#[async_trait]
impl Remote for Innerspace {
    async fn audience(&self) -> Result<String, SagaError> {
        Ok(self.host.space().id().to_owned())
    }

    fn check_keystone(&self, _: &Addr) -> Result<(), SagaError> {
        // Whoever shares a process with a host trusts it.
        Ok(())
    }

    fn shown(&self) -> &str {
        "this process"
    }

    async fn identity_tip(&self, tjp: &Addr) -> Result<Option<Addr>, SagaError> {
        self.host.tip(tjp).await
    }

    async fn dropped(&self, _: u64) -> Result<Option<Dropping>, SagaError> {
        self.host.dropping().await
    }

    async fn keystone_frames(&self, tip: &Addr) -> Result<Vec<Verified<IbGib>>, SagaError> {
        let space = self.host.space();
        let tjp = match space.node(tip).await.map_err(crate::view::space_error)? {
            Some(node) => node.tjp().unwrap_or_else(|| tip.clone()),
            None => return Ok(Vec::new()),
        };
        Ok(identity::frames(&**space, &tjp).await?.unwrap_or_default())
    }

    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        self.host.space().node(addr).await.map_err(crate::view::space_error)
    }

    async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<(), SagaError> {
        self.host.post_genesis_keystone(genesis).await.map(drop)
    }

    async fn post_evolution(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<(), SagaError> {
        self.host.post_evolution(tjp, frames, session).await.map(|_| ())
    }

    async fn open(&self) -> Result<Link, SagaError> {
        let (ours, theirs) = Link::pair();
        let host = Arc::clone(&self.host);
        tokio::spawn(async move {
            // In process nobody shuts a host down: the connection ends with its sender.
            host.serve(theirs, CancellationToken::new()).await;
        });
        Ok(ours)
    }
}
