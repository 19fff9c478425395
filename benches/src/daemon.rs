//! Servers of others that are told on which port to listen.

use crate::Res;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running one, and its port; it ends with this.
pub(crate) struct Daemon(pub(crate) Child, pub(crate) u16);

impl Daemon {
    /// Starts it, and waits until it listens. `at` tells it its port.
    pub(crate) fn start(mut daemon: Command, at: impl FnOnce(&mut Command, u16) -> &mut Command) -> Res<Self> {
        // A free port, as far as one can know: it cannot choose one itself.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut child = Self(at(&mut daemon, port).stderr(Stdio::null()).spawn()?, port);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if child.0.try_wait()?.is_some() {
                return Err(format!("{} ended", daemon.get_program().display()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
