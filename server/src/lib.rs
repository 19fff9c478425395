//! The space server: a [`Host`](ibgib_peer::Host) behind HTTP and WebSockets.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /api/v1/health` | space id, version, policy, counts |
//! | `GET /api/v1/succession` | which key the servers have after which: the succession, and the frames of the keystone that signed it, as JSON Lines |
//! | `POST /api/v1/keystones` | registers an identity's genesis (`postGenesisKeystone`) |
//! | `POST /api/v1/keystones/{tjp}/frames` | evolution endpoint: `{"frames": [...], "session": {...} or null}` |
//! | `POST /api/v1/grants` | `{"identity", "frames"}`: frames of which the last states who may do what; answers the grants as JSON Lines |
//! | `POST /api/v1/grants/accept` | `{"identity", "token"}`: takes what the token grants, for this identity |
//! | `GET /api/v1/ibgibs/{addr}` | one ibgib; with `?getGraph=true` its graph as JSON Lines, dependencies first |
//! | `GET /api/v1/tips/{addr}` | the tip of the timeline that any address belongs to |
//! | `GET /api/v1/tips?ib=folder` | tips of living timelines by their first frame's ib, as JSON Lines |
//! | `GET /api/v1/events` | what is new, as server-sent events: `ready`, then `tips` (an array of `{tjp, tip}`) |
//! | `GET /api/v1/sync` | WebSocket, subprotocol `ibgib.saga.v3` (or `ibgib.saga.v1`) |
//! | `GET /api/v1/openapi.json` | this API as an OpenAPI 3.1 document |
//! | `GET /metrics` | Prometheus text |
//!
//! Errors are `{"error": {"code", "message", …}}` with a fitting status. Reads of data are open while the policy is
//! [`Policy::Open`](ibgib_peer::Policy::Open); else only identities (keystones) can be read without a connection, and what a
//! program may read that shows the secret of an invite for programs (`Authorization: Bearer SECRET`).
//!
//! [`Server::start`] listens, [`ServeOptions`] says where and with which limits. Other protocols come in as a [`Door`]:
//! routes of their own, on the same listener or on another. With a [`Certificate`] everything is TLS 1.3. What is not in
//! here: what an identity may do (that is the host's policy), and anything durable (that is the space's).
//!
//! ```
//! use ibgib_peer::{Host, HostOptions};
//! use ibgib_server::{ServeOptions, Server};
//! use ibgib_spaces::MemorySpace;
//! use std::sync::Arc;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let host = Host::new(Arc::new(MemorySpace::new("doc")), HostOptions::default());
//! let listen = ([127, 0, 0, 1], 0).into();
//! let server = Server::start(host, ServeOptions { listen, ..ServeOptions::default() }).await.unwrap();
//! assert!(server.url().starts_with("http://127.0.0.1:"));
//! server.shutdown().await;
//! # });
//! ```
#![forbid(unsafe_code)]

pub mod address;
mod api;
mod door;
mod error;
mod events;
pub mod guard;
mod lease;
mod metrics;
mod places;
mod rates;
pub mod rows;
mod serve;
mod slow;
mod socket;
mod state;
mod tls;
mod waiting;

pub use api::as_api_error;
pub use door::{Door, DoorTable, Mount};
pub use error::ServeError;
pub use lease::Lease;
pub use rates::Rate;
pub use serve::{ServeOptions, Server};
pub use tls::{Certificate, renew_key};
