//! Over a WebSocket, too, who works for longer than anybody may be silent says so, and is waited for.

use ibgib_peer::prelude::*;
use ibgib_server::{ServeOptions, Server};
use ibgib_spaces::fault::{FaultPlan, FaultSpace, Op};
use std::time::Duration;

fn limits() -> Limits {
    Limits { idle_ms_max: 1_000, ..Limits::default() }
}

/// An operation takes longer than anybody may be silent, the first `n` times.
fn slow(op: Op, n: u64) -> FaultPlan {
    FaultPlan::default().slow(op, n, Duration::from_millis(2_500))
}

async fn synced(here: FaultPlan, there: FaultPlan) {
    let space = Arc::new(FaultSpace::new(Arc::new(MemorySpace::new("5".repeat(64))), there));
    let options = HostOptions { limits: limits(), allow_anonymous: true, ..HostOptions::default() };
    let host = Host::new(Arc::clone(&space) as _, options);
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(host, ServeOptions { listen, ..ServeOptions::default() }).await.unwrap();
    let remote = Arc::new(WebSocketRemote::new(&server.url(), limits().message_bytes_max).unwrap());
    let device: Arc<dyn Space> = Arc::new(MemorySpace::new("device"));
    let todo = Document::create(&device, "todo", Map::new()).await.unwrap();
    let options = SyncOptions { limits: limits(), ..SyncOptions::default() };
    let device = Arc::new(FaultSpace::new(device, here));
    SyncSagaCoordinator::new(device).sync(remote, options).done().await.unwrap();
    assert_eq!(space.has(&[todo.address().clone()]).await.unwrap(), [true]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_works_for_long_is_waited_for() {
    synced(slow(Op::Read, 3), FaultPlan::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_works_for_long_is_waited_for() {
    synced(FaultPlan::default(), slow(Op::Commit, 2)).await;
}
