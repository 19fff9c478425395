//! A served tower over a node made up here, and users of it.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod node;
pub(crate) mod user;

use ibgib_peer::{Host, HostOptions};
use ibgib_server::{Mount, ServeError, ServeOptions, Server};
use ibgib_spaces::Space;
use ibgib_tower::rpc::NodeAddress;
use ibgib_tower::sealed::Dialect;
use ibgib_tower::signature::SecretKey;
use ibgib_tower::{TowerDoor, TowerFeed, TowerOptions};
use node::Node;
use std::sync::Arc;
use std::time::Duration;
use user::User;

pub(crate) const POLL: Duration = Duration::from_millis(10);

pub(crate) fn options(node: &Node, dialect: Dialect) -> TowerOptions {
    let key = SecretKey::from_bytes(&[9; 32]).unwrap();
    let node = NodeAddress::new(&node.url(), None).unwrap();
    TowerOptions { poll: POLL, ..TowerOptions::new(TowerFeed::Bitcoind(node), key, dialect) }
}

/// Options with which a tower looks at the chain once, when it starts.
pub(crate) fn without_looking(node: &Node, dialect: Dialect) -> TowerOptions {
    TowerOptions { poll: Duration::from_secs(3_600), ..options(node, dialect) }
}

/// A server with a tower on an address of its own.
pub(crate) struct Served {
    server: Server,
    pub(crate) id: String,
}

impl Served {
    pub(crate) async fn start(space: &Arc<dyn Space>, options: TowerOptions) -> Result<Self, ServeError> {
        let id = options.key.id().to_string();
        let door = Arc::new(TowerDoor::new(Arc::clone(space), options));
        let listen = ([127, 0, 0, 1], 0).into();
        let doors = vec![Mount { door, listen: Some(listen) }];
        let host = Host::new(Arc::clone(space), HostOptions::default());
        let server = Server::start(host, ServeOptions { listen, doors, ..ServeOptions::default() }).await?;
        Ok(Self { server, id })
    }

    pub(crate) fn url(&self) -> String {
        self.server.doors()[0].1.clone()
    }

    pub(crate) fn user(&self, n: u8, dialect: Dialect) -> User {
        User::new(&self.url(), n, dialect)
    }

    pub(crate) async fn stop(self) {
        self.server.shutdown().await;
    }
}

/// Waits until something is so; a minute at most.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be: {what}");
}
