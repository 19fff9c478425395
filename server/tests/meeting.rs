//! How a sender meets a server: with as few questions as it takes, and never taking one server for another.

use ibgib_peer::prelude::Secret;
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, HostOptions, Remote, WebSocketRemote, deliver_identity, identity};
use ibgib_server::{ServeOptions, Server};
use ibgib_spaces::{MemorySpace, Space};
use std::sync::Arc;

#[tokio::test]
async fn one_answer_tells_the_space_and_the_identitys_newest_frame() {
    let id = "5".repeat(64);
    let host = Host::new(Arc::new(MemorySpace::new(&id)), HostOptions::default());
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(host, ServeOptions { listen, ..ServeOptions::default() }).await.unwrap();
    let url = server.url();
    let remote = || WebSocketRemote::new(&url, 1024 * 1024).unwrap();
    let here: Arc<dyn Space> = Arc::new(MemorySpace::new("here"));
    let chain = identity::create(&*here, &Secret::new(b"a secret of a test".to_vec())).await.unwrap();

    // An identity that the server does not know.
    assert_eq!(remote().meet(chain.tjp()).await.unwrap(), (id.clone(), None));
    deliver_identity(&here, &remote(), chain.tjp()).await.unwrap();
    let met = remote();
    assert_eq!(met.meet(chain.tjp()).await.unwrap(), (id.clone(), Some(chain.tip().addr().clone())));
    assert_eq!(met.met(), Some(id.as_str()));
    // Known or not, another server is refused.
    let other = Some("6".repeat(64));
    for tjp in [chain.tjp(), &chain.tjp().as_str().replace('A', "B").parse().unwrap()] {
        let refused = remote().expecting(other.clone()).meet(tjp).await.unwrap_err();
        assert!(matches!(refused, SagaError::PeerChanged { what: "space", .. }), "{refused}");
    }
    server.shutdown().await;
    let gone = remote().meet(chain.tjp()).await.unwrap_err();
    assert_eq!(gone.code(), "unreachable");
}
