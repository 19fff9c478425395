//! How a sender meets a server: with as few questions as it takes, and never taking one server for another.

use ibgib::{Value, object};
use ibgib_peer::prelude::Document;
use ibgib_peer::prelude::Secret;
use ibgib_peer::saga::SagaError;
use ibgib_peer::{Host, HostOptions, Policy, Remote, WebSocketRemote, deliver_identity, identity};
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

/// Whoever is let in can make an identity that relates to what he may not read, and identities are shown to everybody.
#[tokio::test]
async fn an_identity_shows_nothing_that_it_relates_to() {
    let space: Arc<dyn Space> = Arc::new(MemorySpace::new("7".repeat(64)));
    let private =
        Document::create(&space, "note", object([("text", "nobody else's".into())]).as_object().unwrap().clone());
    let private = private.await.unwrap();
    let host = Host::new(space, HostOptions { policy: Policy::Owner, ..HostOptions::default() });
    let here = MemorySpace::new("here");
    let made = identity::create(&here, &Secret::new(b"a secret of a test".to_vec())).await.unwrap();
    let mut genesis = (**made.tip()).clone();
    genesis.rel8ns = Some(object([("peeks", Value::Array(vec![private.address().into()]))]));
    let genesis = genesis.seal().unwrap();
    host.set_owner(genesis.addr()).await.unwrap();
    host.post_genesis_keystone(&genesis).await.unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(host, ServeOptions { listen, ..ServeOptions::default() }).await.unwrap();
    let remote = WebSocketRemote::new(&server.url(), 1024 * 1024).unwrap();
    let shown = remote.keystone_frames(genesis.addr()).await.unwrap();
    assert_eq!(shown, [genesis], "and not what it relates to");
    assert!(remote.node(private.address()).await.is_err());
    server.shutdown().await;
}
