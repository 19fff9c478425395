//! The shell around sagas: it owns sockets, clocks and spaces, and drives the machines of `ibgib-saga`.
//!
//! * [`SyncSagaCoordinator::sync`] runs a whole sync and answers a handle to wait on.
//! * [`SyncPeer`] is the sender's connection, phase by phase: `establish_session_identity`, `connect`, `sync`,
//!   `disconnect`.
//! * [`SyncConnection`] keeps one connection for many syncs.
//! * [`Host`] is the receiving side of a space. [`Innerspace`] reaches one in the same process, [`WebSocketRemote`]
//!   one behind a URL (`ibgib-server` puts a host behind HTTP).
//! * [`identity`] makes, loads and revokes domain identities.
//!
//! ```
//! use ibgib_peer::{Host, HostOptions, Innerspace, SecretSource, SenderIdentity, SyncOptions, SyncSagaCoordinator};
//! use ibgib_spaces::{MemorySpace, Space};
//! use std::sync::Arc;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let alice: Arc<dyn Space> = Arc::new(MemorySpace::new("alice"));
//! let bob: Arc<dyn Space> = Arc::new(MemorySpace::new("bob"));
//! let secret = || Ok(ibgib_keystone::Secret::new(b"a secret of 32 bytes or more .....".to_vec()));
//! let identity = ibgib_peer::identity::create(&*alice, &secret().unwrap()).await.unwrap();
//! let options = SyncOptions {
//!     identity: Some(SenderIdentity { tjp: identity.tjp().clone(), secret: SecretSource::new(move || secret()) }),
//!     ..SyncOptions::default()
//! };
//! let remote = Arc::new(Innerspace::new(Host::new(bob, HostOptions::default())));
//! let synced = SyncSagaCoordinator::new(alice).sync(remote, options).done().await.unwrap();
//! assert_eq!(synced.summary.nodes_sent, 0);
//! # });
//! ```
#![forbid(unsafe_code)]

mod connection;
mod coordinator;
mod desk;
mod document;
mod dropped;
pub mod entropy;
mod follow;
mod grant;
mod granting;
mod guard;
mod host;
mod http;
pub mod identity;
mod index;
mod innerspace;
mod invite;
mod leads;
mod link;
mod peer;
mod reached;
mod receipts;
mod recovery;
mod remote;
mod retention;
mod session;
mod signing;
mod succession;
mod tls;
mod trusted;
mod view;
mod websocket;

pub use ibgib_saga as saga;

pub use connection::{SyncConnection, Synced};
pub use coordinator::{SyncOptions, SyncSaga, SyncSagaCoordinator};
pub use document::{Document, DocumentError, Frame, Frames};
pub use follow::{Following, GLANCE_WAIT, GLANCE_WAITED, follow, sync};
pub use grant::{FRAMES_MAX, Rights, Statement};
pub use granting::state_grant;
pub use guard::{Guard, Moved};
pub use host::{Host, HostEvent, HostLimits, HostOptions, KeyStanding, MessageEvent, Policy, Reader};
pub use innerspace::Innerspace;
pub use invite::{Invite, InviteError};
pub use leads::tips_under;
pub use link::{Link, Signs};
pub use peer::{Progress, SyncPeer};
pub use receipts::{Kept, forget_server, known_keystone, receipts, verify_receipt};
pub use recovery::{is_ended, recover};
pub use remote::Remote;
pub use retention::{Collected, Retention, collect, collect_when_due};
pub use session::{
    SecretSource, SenderIdentity, SessionSigner, deliver_identity, establish_session_identity, refresh_identity,
    take_over_identity,
};
pub use succession::Followed;
pub use tls::{AuthorityError, ServerKey, ServerKeyError, Trust};
pub use trusted::know_keystone;
pub use view::{AGAIN_S, space_error};
pub use websocket::{Carried, SYNC_PATH, WebSocketRemote, WebSocketWrapper, link};

/// What a program that syncs needs, in one line.
pub mod prelude {
    pub use crate::entropy::{now_ms, random};
    pub use crate::identity::create as create_identity;
    pub use crate::{
        Document, DocumentError, Frame, Host, HostOptions, Innerspace, SecretSource, SenderIdentity, SyncOptions,
        SyncSagaCoordinator, WebSocketRemote, follow, sync,
    };
    pub use futures_util::{StreamExt, TryStreamExt};
    pub use ibgib::conflict::{Conflict, Resolution};
    pub use ibgib::transform::{self, FirstGenOpts, ForkOpts, Moment, Mut8Opts, Rel8Opts, TjpOpts, linked};
    pub use ibgib::{Addr, IbGib, Map, Value, Verified, object};
    pub use ibgib_keystone::Secret;
    pub use ibgib_saga::{Direction, Limits, Scope, Summary};
    pub use ibgib_spaces::settle::admit;
    pub use ibgib_spaces::{MemorySpace, Space, durable};
    pub use std::sync::Arc;
}
