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

    /// What whoever runs the server may look at of it, as it is now: what its users keep from the server is not in it, nor
    /// any secret. An error says what cannot be read.
    fn tables(&self) -> BoxFuture<'_, Result<Vec<DoorTable>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Where it is reached when its listener has this address and speaks `http` or `https`.
    fn url(&self, scheme: &str, at: SocketAddr) -> String {
        format!("{scheme}://{at}")
    }
}

/// A table about a door, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorTable {
    /// What it is about.
    pub title: &'static str,
    /// What its columns are called.
    pub columns: &'static [&'static str],
    /// Its first rows, with a text for each column.
    pub rows: Vec<Vec<String>>,
    /// How many rows there are.
    pub count: usize,
}

impl DoorTable {
    /// Rows that a table shows.
    pub const ROWS_MAX: usize = 100;

    /// A table with as many of these rows as it shows.
    pub fn new<const N: usize>(
        title: &'static str,
        columns: &'static [&'static str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        let mut rows = rows.into_iter();
        let shown: Vec<Vec<String>> = rows.by_ref().take(Self::ROWS_MAX).map(Vec::from).collect();
        let count = shown.len() + rows.count();
        Self { title, columns, rows: shown, count }
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
