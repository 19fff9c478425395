//! A connection as two queues of encoded messages; every transport is turned into one.

use ibgib_saga::Packet;
use tokio::sync::mpsc;

/// Messages that may wait in a link before the side that sends has to wait.
pub(crate) const QUEUE_MAX: usize = 16;

/// One side of a connection. Dropping it ends the connection: what was sent before is flushed, then the socket (if
/// there is one) is closed and its task ends.
#[derive(Debug)]
pub struct Link {
    /// Messages to the peer; an error means that the peer is gone.
    pub tx: mpsc::Sender<Packet>,
    /// Messages from the peer; `None` means that the peer is gone.
    pub rx: mpsc::Receiver<Packet>,
}

impl Link {
    /// Two sides of an in-process connection.
    pub fn pair() -> (Self, Self) {
        let (a, b) = (mpsc::channel(QUEUE_MAX), mpsc::channel(QUEUE_MAX));
        (Self { tx: a.0, rx: b.1 }, Self { tx: b.0, rx: a.1 })
    }
}
