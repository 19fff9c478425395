//! Where the rows sync to: a second server in the same process, on a port of its own, over a space in memory. What the
//! rows do never reaches the operator's space, and is gone with the process.

use crate::answer::ToolError;
use ibgib_peer::entropy::random_hex;
use ibgib_peer::saga::{Code, Limits};
use ibgib_peer::{Host, HostOptions, Policy};
use ibgib_server::{ServeOptions, Server};
use ibgib_spaces::MemorySpace;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The name of its space.
pub(crate) const NAME: &str = "rows";

/// The rows' server. It listens from the first press on.
pub(crate) struct RowsServer {
    host: Arc<Host>,
    server: Mutex<Serving>,
}

enum Serving {
    NotYet,
    Since(Server),
    Closed,
}

impl RowsServer {
    pub(crate) fn new(limits: Limits) -> Self {
        // Only the rows' own identities are let in, each as it registers.
        let policy = Policy::Allow(HashSet::new());
        let options = HostOptions { limits, policy, ..HostOptions::default() };
        // Sessions are made for the id of a space: another run's must not fit.
        let space = Arc::new(MemorySpace::new(random_hex()));
        Self { host: Host::new(space, options), server: Mutex::new(Serving::NotYet) }
    }

    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Where it listens: on loopback, as the page's own server does.
    pub(crate) async fn url(&self) -> Result<String, ToolError> {
        let mut serving = self.server.lock().await;
        if matches!(*serving, Serving::NotYet) {
            let listen = ([127, 0, 0, 1], 0).into();
            let started = Server::start(Arc::clone(&self.host), ServeOptions { listen, ..ServeOptions::default() });
            let started =
                started.await.map_err(|e| ToolError::new(Code::Internal, format!("the rows' server: {e}")))?;
            *serving = Serving::Since(started);
        }
        match &*serving {
            Serving::Since(server) => Ok(server.url()),
            _ => Err(ToolError::new(Code::Shutdown, "the server is shutting down")),
        }
    }

    /// Ends it, waiting for commits under way.
    pub(crate) async fn close(&self) {
        let serving = std::mem::replace(&mut *self.server.lock().await, Serving::Closed);
        if let Serving::Since(server) = serving {
            server.shutdown().await;
        }
    }
}
