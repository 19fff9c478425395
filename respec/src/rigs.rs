//! Where scenarios are played: in one process, over a link that is slow and scrambled in virtual time, and over a
//! real WebSocket to a real server with stores on disk.

use ibgib_keystone::strategy::hash_reveal::NAME;
use ibgib_peer::{Host, HostOptions, Innerspace, WebSocketRemote};
use ibgib_saga::Limits;
use ibgib_scenarios::faults::{Faults, Simulated};
use ibgib_scenarios::play::{Played, Scene};
use ibgib_server::{ServeOptions, Server};
use ibgib_spaces::{MemorySpace, Space, durable};
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;

/// A scene and what has to live as long.
#[derive(Debug)]
pub struct Rig {
    /// Where to play.
    pub scene: Scene,
    server: Option<Server>,
    _dir: Option<TempDir>,
}

impl Rig {
    /// Two memory spaces in this process.
    pub fn innerspace(seed: &str, with_identity: bool) -> Self {
        let (scene, _) = in_process(seed, with_identity);
        Self { scene, server: None, _dir: None }
    }

    /// As [`Rig::innerspace`], over a link that delays every message by a time that the seed chooses. Meant for a
    /// runtime with one thread and a paused clock: then nothing but the seed decides what happens when.
    pub fn simulation(seed: &str, with_identity: bool, faults: Faults) -> Self {
        let (mut scene, host) = in_process(seed, with_identity);
        scene.remote = Arc::new(Simulated::new(Arc::new(Innerspace::new(host)), faults));
        Self { scene, server: None, _dir: None }
    }

    /// A server on a free loopback port, with stores on disk on both sides.
    ///
    /// # Errors
    /// When the disk or the port is not to be had.
    pub async fn websocket(seed: &str) -> Played<Self> {
        let dir = tempfile::tempdir()?;
        let source = durable::create(&dir.path().join("source"))?;
        let dest = durable::create(&dir.path().join("dest"))?;
        let host = Host::new(Arc::clone(&dest), options(false));
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(host, ServeOptions { listen, ..ServeOptions::default() }).await?;
        let remote = WebSocketRemote::new(&server.url(), Limits::default().message_bytes_max)?;
        let scene = Scene {
            source,
            dest,
            remote: Arc::new(remote),
            with_identity: true,
            seed: seed.to_owned(),
            limits: Limits::default(),
        };
        Ok(Self { scene, server: Some(server), _dir: Some(dir) })
    }

    /// The server's base URL, where there is one.
    pub fn url(&self) -> Option<String> {
        self.server.as_ref().map(Server::url)
    }

    /// Ends what the rig started.
    pub async fn close(self) {
        if let Some(server) = self.server {
            server.shutdown().await;
        }
    }
}

fn in_process(seed: &str, with_identity: bool) -> (Scene, Arc<Host>) {
    let source: Arc<dyn Space> = Arc::new(MemorySpace::new("source"));
    let dest: Arc<dyn Space> = Arc::new(MemorySpace::new("dest"));
    let host = Host::new(Arc::clone(&dest), options(!with_identity));
    let remote = Arc::new(Innerspace::new(Arc::clone(&host)));
    (Scene { source, dest, remote, with_identity, seed: seed.to_owned(), limits: Limits::default() }, host)
}

/// The seed's rows make identities of the original's strategy.
fn options(allow_anonymous: bool) -> HostOptions {
    HostOptions { allow_strategies: vec![NAME.to_owned()], allow_anonymous, ..HostOptions::default() }
}
