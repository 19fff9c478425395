//! How a row's sender reaches the rows' server: a real WebSocket, with faults when they are set. Nobody else is let in
//! there.

use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, Remote, WebSocketRemote};
use ibgib_scenarios::faults::{Faults, Simulated};
use std::sync::Arc;

/// The server at `url`.
pub(crate) fn remote(host: &Arc<Host>, url: &str, faults: Faults) -> Result<Arc<dyn Remote>, SagaError> {
    let inner = WebSocketRemote::new(url, host.limits().message_bytes_max)?;
    if (Faults { seed: faults.seed, ..Faults::default() }) == faults {
        return Ok(Arc::new(inner));
    }
    Ok(Arc::new(Simulated::new(Arc::new(inner), faults)))
}
