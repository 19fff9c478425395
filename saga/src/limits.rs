//! Every queue, size and count has a named limit; crossing it is [`crate::SagaError::Limit`].

use crate::error::SagaError;

/// Limits of one connection. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One message once the peer is authenticated.
    pub message_bytes_max: usize,
    /// One message before that.
    pub message_bytes_max_unauthenticated: usize,
    /// Payload bytes in one chunk that we send.
    pub chunk_bytes: usize,
    /// One node, and one line of a list.
    pub node_bytes_max: usize,
    /// Nodes that one saga may carry in one direction.
    pub nodes_max: u64,
    /// Bytes of nodes that one saga may stage.
    pub staged_bytes_max: u64,
    /// Lines of a turn's list, and entries of a peek's answer.
    pub list_max: u64,
    /// Bytes of a turn's list, and of a peek's answer.
    pub list_bytes_max: u64,
    /// Payload up to this size travels with `init`.
    pub inline_bytes_max: usize,
    /// Turns of one saga.
    pub turns_max: u32,
    /// Rounds of timelines discovered late.
    pub late_rounds_max: u32,
    /// Tries to commit while tips move.
    pub commit_tries_max: u32,
    /// Waiting for the handshake.
    pub handshake_ms_max: u64,
    /// Waiting for the next message, or for a sign that the peer is at work, which it gives each quarter of this time.
    pub idle_ms_max: u64,
    /// The whole saga, however often a peer says that it is at work.
    pub saga_ms_max: u64,
    /// Challenges that the receiver demands on connect.
    pub connect_demands: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 1024 * 1024,
            message_bytes_max_unauthenticated: 64 * 1024,
            chunk_bytes: 256 * 1024,
            node_bytes_max: ibgib::json::BYTES_MAX,
            nodes_max: 10_000_000,
            staged_bytes_max: 16 * 1024 * 1024 * 1024,
            list_max: 4_000_000,
            list_bytes_max: 512 * 1024 * 1024,
            inline_bytes_max: 256 * 1024,
            turns_max: 64,
            late_rounds_max: 8,
            commit_tries_max: 16,
            handshake_ms_max: 10_000,
            idle_ms_max: 120_000,
            saga_ms_max: 3_600_000,
            connect_demands: 1,
        }
    }
}

impl Limits {
    /// Whether a node, or a line of a list, may have so many bytes.
    pub(crate) fn check_node(&self, bytes: usize) -> Result<(), SagaError> {
        if bytes > self.node_bytes_max {
            return Err(SagaError::Limit { name: "node_bytes_max", limit: self.node_bytes_max as u64 });
        }
        Ok(())
    }
}
