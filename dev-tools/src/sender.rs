//! How a row's sender reaches the rows' server: a real WebSocket, with faults when they are set. Nobody else is let in
//! there.

use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, Remote, WebSocketRemote};
use ibgib_scenarios::faults::{Faults, Simulated};
use std::sync::Arc;

/// The server at `url`. Its host allows each identity that is about to register: only the page's own senders come
/// through here.
pub(crate) fn remote(host: &Arc<Host>, url: &str, faults: Faults) -> Result<Arc<dyn Remote>, SagaError> {
    let remote = WebSocketRemote::new(url, host.limits().message_bytes_max)?;
    let host = Arc::clone(host);
    let remote = Simulated::new(Arc::new(remote), faults);
    Ok(Arc::new(remote.before_registering(move |identity| host.allow_also(identity.clone()))))
}
