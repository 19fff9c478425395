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
    /// Signatures checked or made, and messages read, at once.
    pub checks_max: usize,
    /// Jobs for peers that cost much (replaying an identity, evaluating a turn) at once.
    pub jobs_max: usize,
    /// Graphs that are being found for who only reads, at once.
    pub readers_max: usize,
    /// One such job, finding one such graph, or waiting for a check.
    pub job_ms_max: u64,
    /// Nodes that one identity may ever bring; sagas that did not end count, too.
    pub brought_nodes_per_identity_max: u64,
    /// Bytes of the texts of nodes that one identity may ever bring.
    pub brought_bytes_per_identity_max: u64,
    /// The same of all identities together.
    pub brought_bytes_max: u64,
    /// Sagas that one identity may begin within an hour, at one server.
    pub sagas_per_identity_and_hour_max: u64,
}

impl HostLimits {
    /// Sets the limit of a name; `false` if there is none. What this machine's memory could not hold anyway is as much as
    /// it can.
    pub fn set(&mut self, name: &str, to: u64) -> bool {
        let size = usize::try_from(to).unwrap_or(usize::MAX);
        match name {
            "kept_identities_bytes_max" => self.kept_identities_bytes_max = size,
            "identity_frame_bytes_max" => self.identity_frame_bytes_max = size,
            "lists_bytes_max" => self.lists_bytes_max = to,
            "checks_max" => self.checks_max = size,
            "jobs_max" => self.jobs_max = size,
            "readers_max" => self.readers_max = size,
            "job_ms_max" => self.job_ms_max = to,
            "brought_nodes_per_identity_max" => self.brought_nodes_per_identity_max = to,
            "brought_bytes_per_identity_max" => self.brought_bytes_per_identity_max = to,
            "brought_bytes_max" => self.brought_bytes_max = to,
            "sagas_per_identity_and_hour_max" => self.sagas_per_identity_and_hour_max = to,
            _ => return false,
        }
        true
    }
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            kept_identities_bytes_max: 32 * 1024 * 1024,
            identity_frame_bytes_max: 256 * 1024,
            lists_bytes_max: 128 * 1024 * 1024,
            checks_max: std::thread::available_parallelism().map_or(1, usize::from),
            // More than there are cores: they share them, so that a long one keeps nobody waiting.
            jobs_max: 16,
            readers_max: 2,
            job_ms_max: 120_000,
            brought_nodes_per_identity_max: u64::MAX,
            brought_bytes_per_identity_max: u64::MAX,
            brought_bytes_max: u64::MAX,
            sagas_per_identity_and_hour_max: 10_000,
        }
    }
}
