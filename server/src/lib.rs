//! The space server: a [`Host`](ibgib_peer::Host) behind HTTP and WebSockets.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /api/v1/health` | space id, version, policy, counts |
//! | `POST /api/v1/keystones` | registers an identity's genesis (`postGenesisKeystone`) |
//! | `POST /api/v1/keystones/{tjp}/frames` | evolution endpoint: `{"frames": [...], "session": {...} or null}` |
//! | `GET /api/v1/ibgibs/{addr}` | one ibgib; with `?getGraph=true` its graph as JSON Lines, dependencies first |
//! | `GET /api/v1/tips/{addr}` | the tip of the timeline that any address belongs to |
//! | `GET /api/v1/tips?ib=folder` | tips of living timelines by their first frame's ib, as JSON Lines |
//! | `GET /api/v1/sync` | WebSocket, subprotocol `ibgib.saga.v1` |
//! | `GET /api/v1/openapi.json` | this API as an OpenAPI 3.1 document |
//! | `GET /metrics` | Prometheus text |
//!
//! Errors are `{"error": {"code", "message", …}}` with a fitting status. Reads of data are open while the policy is
//! [`Policy::Open`](ibgib_peer::Policy::Open); with an allow-list only identities (keystones) can be read without a
//! connection.
#![forbid(unsafe_code)]

mod api;
mod error;
mod metrics;
mod serve;
mod socket;

pub use error::ServeError;
pub use serve::{ServeOptions, Server};
