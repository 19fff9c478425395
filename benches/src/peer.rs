//! What is measured of whom.

use crate::Res;
use crate::workload::Shape;
use std::path::Path;

/// One way to keep documents in step with a server.
pub(crate) trait Peer {
    /// As the table calls it.
    fn name(&self) -> &'static str;

    /// Makes the documents below `dir`, which is empty, syncs them to an empty server, and answers what that cost; what
    /// else the workload measures follows.
    fn run(&self, shape: &Shape, dir: &Path) -> Res<Vec<(&'static str, Cost)>>;
}

/// What one sync cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds from the start of the client to its end.
    pub(crate) wall: f64,
    /// Seconds of both cores, user and system: the client's and the server's processes.
    pub(crate) cpu: [f64; 2],
    /// Most bytes of memory that each had at once.
    pub(crate) memory: [u64; 2],
    /// Bytes from client to server, and back, without the network's own headers.
    pub(crate) wire: [u64; 2],
    /// Bytes that each has on disk afterwards.
    pub(crate) disk: [u64; 2],
    /// Of the bytes between them those that tell who is who; 0 where nobody tells how many these are.
    pub(crate) identity: u64,
    /// Round trips: how often it waits for the other side; 0 where that was not measured.
    pub(crate) trips: f64,
    /// Bytes of the packs that a server of git has afterwards; told of W10.
    pub(crate) packs: u64,
}
