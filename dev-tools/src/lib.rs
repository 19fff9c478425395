//! The developer tools page: press each phase's buttons against the very server that you run, and look inside it.
//!
//! [`DevTools`] is a [`Door`] on the server's own listener; the page is then at `/dev-tools/`. Everything is embedded.
//! Meant for loopback only: whoever has the token sees all data of the space and may write into it, so that every API
//! call needs the token, a `Host` of this machine, and no foreign `Origin`.
//!
//! The scenarios are those of `ibgib-scenarios`, which the tests play too: page and tests cannot disagree. Each row has a
//! sender with a space of its own, which reaches a second server, in the same process, over a real WebSocket: the rows
//! leave nothing in the operator's space.
//!
//! ```
//! use ibgib_dev_tools::{DevTools, new_token};
//! use ibgib_peer::{Host, HostOptions};
//! use ibgib_server::Mount;
//! use ibgib_spaces::MemorySpace;
//! use std::sync::Arc;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let host = Host::new(Arc::new(MemorySpace::new("doc")), HostOptions::default());
//! let tools = DevTools::new(host, new_token());
//! let doors = vec![Mount::here(Arc::new(tools.clone()))];
//! // Server::start(host, ServeOptions { doors, ..}), then:
//! tools.listening("http://127.0.0.1:7070");
//! assert!(tools.page().unwrap().starts_with("http://127.0.0.1:7070/dev-tools/#token="));
//! # });
//! ```
#![forbid(unsafe_code)]

mod answer;
mod feed;
mod guard;
mod names;
mod rows;
mod rows_server;
mod sender;
mod settle;
mod views;

use answer::ToolError;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use feed::Feed;
use futures_util::future::BoxFuture;
use ibgib_peer::Host;
use ibgib_peer::entropy::random_hex;
use ibgib_server::Door;
use rows::Rows;
use rows_server::RowsServer;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// A fresh token: 64 hex digits.
pub fn new_token() -> String {
    random_hex()
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) host: Arc<Host>,
    pub(crate) token: String,
    pub(crate) url: OnceLock<String>,
    pub(crate) store: OnceLock<PathBuf>,
    pub(crate) doors: OnceLock<Vec<Arc<dyn Door>>>,
    pub(crate) rows: Rows,
    pub(crate) rows_server: RowsServer,
    pub(crate) feed: Arc<Feed>,
    pub(crate) started_ms: i64,
}

/// The page, its rows and what it has seen of the server.
#[derive(Clone)]
pub struct DevTools {
    shared: Arc<Shared>,
}

impl fmt::Debug for DevTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevTools").field("url", &self.shared.url.get()).finish_non_exhaustive()
    }
}

impl DevTools {
    /// Tools for `host`, opened by whoever knows `token`. Follows the host's events from now on; needs a runtime.
    pub fn new(host: Arc<Host>, token: String) -> Self {
        let feed = Feed::new();
        feed.follow(views::SERVER, &host);
        let rows_server = RowsServer::new(host.limits().clone());
        feed.follow(rows_server::NAME, rows_server.host());
        let started_ms = ibgib_peer::entropy::now_ms();
        let rows = Rows::new();
        let (url, store, doors) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { shared: Arc::new(Shared { host, token, url, store, doors, rows, rows_server, feed, started_ms }) }
    }

    /// Tells where the server listens. The first call counts.
    pub fn listening(&self, url: &str) {
        let _ = self.shared.url.set(url.to_owned());
    }

    /// Tells in which directory the server's space is stored, whose size the page shows. The first call counts.
    pub fn stored_in(&self, dir: &Path) {
        let _ = self.shared.store.set(dir.to_owned());
    }

    /// Tells the server's other doors, whose tables the page shows. The first call counts.
    pub fn beside(&self, doors: Vec<Arc<dyn Door>>) {
        let _ = self.shared.doors.set(doors);
    }

    /// The address to open in a browser, once the server listens. It holds the token: for the one who runs the
    /// server only.
    pub fn page(&self) -> Option<String> {
        self.shared.url.get().map(|url| format!("{url}/dev-tools/#token={}", self.shared.token))
    }
}

impl Door for DevTools {
    fn name(&self) -> &'static str {
        "dev-tools"
    }

    fn url(&self, scheme: &str, at: SocketAddr) -> String {
        format!("{scheme}://{at}/dev-tools/")
    }

    /// All under `/dev-tools`.
    fn routes(&self) -> Router {
        let api = Router::new()
            .route("/overview", get(views::overview))
            .route("/rows", get(rows::list))
            .route("/rows/{id}/{step}", post(rows::press))
            .route("/fullsync", post(rows::fullsync))
            .route("/state", get(rows::state))
            .route("/faults", get(rows::faults).put(rows::set_faults))
            .route("/spaces", get(views::spaces))
            .route("/spaces/{space}/fsck", post(views::fsck))
            .route("/spaces/{space}/timelines", get(views::timelines))
            .route("/spaces/{space}/timeline", get(views::timeline))
            .route("/spaces/{space}/node", get(views::node))
            .route("/spaces/{space}/graph", get(views::graph))
            .route("/spaces/{space}/keystones", get(views::keystones))
            .route("/spaces/{space}/conflicts", get(views::conflicts).post(settle::settle))
            .route("/spaces/{space}/names", get(views::names))
            .route("/doors", get(views::doors))
            .route("/sagas", get(feed::sagas))
            .route("/events", get(feed::events))
            .fallback(|| async { ToolError::not_found("this path") })
            .layer(axum::middleware::map_response(ibgib_server::as_api_error))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&self.shared), guard::token))
            .with_state(Arc::clone(&self.shared));
        let mut page = Router::new()
            .route("/dev-tools", get(|| async { Redirect::permanent("/dev-tools/") }))
            .nest("/dev-tools/api", api);
        for (path, kind, body) in FILES {
            page = page.route(path, get(move || async move { file(kind, body) }));
        }
        page.layer(axum::middleware::from_fn(guard::place))
    }

    /// Ends the event streams, which would keep the server from shutting down, and the rows' server.
    fn background(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            stop.cancelled().await;
            self.shared.feed.close();
            self.shared.rows_server.close().await;
        })
    }
}

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page's files: path, type, content.
const FILES: [(&str, &str, &str); 22] = [
    ("/dev-tools/", "text/html; charset=utf-8", include_str!("../static/index.html")),
    ("/dev-tools/api.js", JS, include_str!("../static/api.js")),
    ("/dev-tools/app.js", JS, include_str!("../static/app.js")),
    ("/dev-tools/conflicts.js", JS, include_str!("../static/conflicts.js")),
    ("/dev-tools/dag.js", JS, include_str!("../static/dag.js")),
    ("/dev-tools/diff.js", JS, include_str!("../static/diff.js")),
    ("/dev-tools/dom.js", JS, include_str!("../static/dom.js")),
    ("/dev-tools/doors.js", JS, include_str!("../static/doors.js")),
    ("/dev-tools/events.js", JS, include_str!("../static/events.js")),
    ("/dev-tools/faults.js", JS, include_str!("../static/faults.js")),
    ("/dev-tools/graphs.js", JS, include_str!("../static/graphs.js")),
    ("/dev-tools/hash.js", JS, include_str!("../static/hash.js")),
    ("/dev-tools/icon.svg", SVG, include_str!("../static/icon.svg")),
    ("/dev-tools/keystones.js", JS, include_str!("../static/keystones.js")),
    ("/dev-tools/names.js", JS, include_str!("../static/names.js")),
    ("/dev-tools/rows.js", JS, include_str!("../static/rows.js")),
    ("/dev-tools/sagas.js", JS, include_str!("../static/sagas.js")),
    ("/dev-tools/spaces.js", JS, include_str!("../static/spaces.js")),
    ("/dev-tools/style.css", CSS, include_str!("../static/style.css")),
    ("/dev-tools/timelines.js", JS, include_str!("../static/timelines.js")),
    ("/dev-tools/trouble.js", JS, include_str!("../static/trouble.js")),
    ("/dev-tools/waterfall.js", JS, include_str!("../static/waterfall.js")),
];

fn file(kind: &'static str, body: &'static str) -> Response {
    // Another version of the server must not run on yesterday's page.
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")];
    (StatusCode::OK, headers, body).into_response()
}

/// What the page may load and do: only what comes from this server.
pub(crate) const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);
