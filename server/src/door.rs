//! Doors: other protocols over the same host, mounted on the server's listener or on an address of their own.

use axum::Router;
use futures_util::future::BoxFuture;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A thin adapter between a foreign protocol and the records of a host. It keeps nothing of its own that has to last:
/// what it acknowledges is committed first, so that the process may be killed at any moment.
///
/// ```
/// use ibgib_server::Door;
///
/// #[derive(Debug)]
/// struct Hello;
///
/// impl Door for Hello {
///     fn name(&self) -> &'static str {
///         "hello"
///     }
///     fn routes(&self) -> axum::Router {
///         axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" }))
///     }
/// }
/// assert_eq!(Hello.url("http", ([127, 0, 0, 1], 80).into()), "http://127.0.0.1:80");
/// ```
pub trait Door: fmt::Debug + Send + Sync {
    /// Its name on the command line and in what the server tells about itself.
    fn name(&self) -> &'static str;

    /// What it answers. No path may be the server's own or another door's on the same listener.
    fn routes(&self) -> Router;

    /// Makes ready what its routes need, once all addresses are bound and before anything is answered. An error says
    /// what is not to be had: the server does not start then, and tells it with the door's name
    /// ([`ServeError::Door`](crate::ServeError::Door)).
    fn start(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Works beside the routes, from the server's start until `stop`; the server waits for it when it shuts down, for
    /// as long as it waits for connections.
    fn background(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        drop(stop);
        Box::pin(async {})
    }

    /// Sets its counters, with the macros of the crate `metrics`; called for each `GET /metrics`.
    fn metrics(&self) {}

    /// Where it is reached when its listener has this address and speaks `http` or `https`.
    fn url(&self, scheme: &str, at: SocketAddr) -> String {
        format!("{scheme}://{at}")
    }
}

/// A door and where it stands.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The door.
    pub door: Arc<dyn Door>,
    /// An address of its own, where `/metrics` is, too; `None`: on the server's listener.
    pub listen: Option<SocketAddr>,
}

impl Mount {
    /// On the server's own listener.
    pub fn here(door: Arc<dyn Door>) -> Self {
        Self { door, listen: None }
    }
}
