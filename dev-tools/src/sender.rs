//! How a row's sender reaches the rows' server: a real WebSocket, with faults when they are set. Nobody else is let in
//! there.

use async_trait::async_trait;
use ibgib::{Addr, IbGib, Verified};
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, Link, Remote, WebSocketRemote};
use ibgib_scenarios::faults::{Faults, Simulated};
use std::sync::Arc;

/// The server at `url`.
pub(crate) fn remote(host: &Arc<Host>, url: &str, faults: Faults) -> Result<Arc<dyn Remote>, SagaError> {
    let inner = WebSocketRemote::new(url, host.limits().message_bytes_max)?;
    let inner = LetIn { host: Arc::clone(host), inner };
    if (Faults { seed: faults.seed, ..Faults::default() }) == faults {
        return Ok(Arc::new(inner));
    }
    Ok(Arc::new(Simulated::new(Arc::new(inner), faults)))
}

/// Allows each identity before it registers. Only the page's own senders come through here.
#[derive(Debug)]
struct LetIn {
    host: Arc<Host>,
    inner: WebSocketRemote,
}

#[async_trait]
impl Remote for LetIn {
    async fn audience(&self) -> Result<String, SagaError> {
        self.inner.audience().await
    }

    async fn identity_tip(&self, tjp: &Addr) -> Result<Option<Addr>, SagaError> {
        self.inner.identity_tip(tjp).await
    }

    async fn keystone_frames(&self, tip: &Addr) -> Result<Vec<Verified<IbGib>>, SagaError> {
        self.inner.keystone_frames(tip).await
    }

    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        self.inner.node(addr).await
    }

    async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<(), SagaError> {
        self.host.allow_also(genesis.addr().clone());
        self.inner.post_genesis_keystone(genesis).await
    }

    async fn post_evolution(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<(), SagaError> {
        self.inner.post_evolution(tjp, frames, session).await
    }

    async fn open(&self) -> Result<Link, SagaError> {
        self.inner.open().await
    }
}
