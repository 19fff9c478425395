//! What all peers together may cost a host. What one connection may is in [`ibgib_saga::Limits`].

/// Limits over all connections. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Memory for validated states of identities, which spare replaying them.
    pub kept_identities_bytes_max: usize,
    /// One frame of an identity, or a session's genesis.
    pub identity_frame_bytes_max: usize,
    /// Lists of turns that are coming in or are evaluated, with the names of their nodes and what their blocks are read
    /// with, of all connections.
    pub lists_bytes_max: u64,
    /// Jobs for peers that cost much (replaying an identity, evaluating a turn) at once.
    pub jobs_max: usize,
    /// Graphs that are being found for who only reads, at once.
    pub readers_max: usize,
    /// One such job, or finding one such graph.
    pub job_ms_max: u64,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            kept_identities_bytes_max: 32 * 1024 * 1024,
            identity_frame_bytes_max: 256 * 1024,
            lists_bytes_max: 128 * 1024 * 1024,
            // More than there are cores: they share them, so that a long one keeps nobody waiting.
            jobs_max: 16,
            readers_max: 2,
            job_ms_max: 120_000,
        }
    }
}
