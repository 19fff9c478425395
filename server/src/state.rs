//! What all requests share.

use crate::door::Door;
use crate::error::ApiError;
use crate::places::{Place, Places};
use crate::rates::Rate;
use crate::waiting::Waiting;
use ibgib_peer::Host;
use ibgib_peer::saga::Code;
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct State {
    pub(crate) host: Arc<Host>,
    pub(crate) places: Places,
    pub(crate) waiting: Waiting,
    /// Bytes of identities that each address may register.
    pub(crate) registering: Rate<IpAddr>,
    /// Graphs being answered.
    pub(crate) graphs: Arc<Semaphore>,
    /// Names by which the server may be called, beside this machine's own.
    pub(crate) names: Vec<String>,
    /// Asks everything to end.
    pub(crate) stop: CancellationToken,
    /// Connections and doors that a shutdown waits for.
    pub(crate) tasks: TaskTracker,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) recorder: Arc<PrometheusRecorder>,
    pub(crate) doors: Vec<Arc<dyn Door>>,
    pub(crate) body_bytes_max: usize,
    pub(crate) on_loopback: bool,
}

impl State {
    /// What there is is told to strangers only while everybody may sync.
    pub(crate) fn check_open(&self) -> Result<(), ApiError> {
        match self.host.is_open() {
            true => Ok(()),
            false => Err(ApiError::new(Code::ReadingNeedsIdentity, "this server lists data only to its identities")),
        }
    }

    /// A place for a connection that stays.
    pub(crate) fn place(&self, address: IpAddr) -> Result<Place, ApiError> {
        let refused = |what| ApiError::new(Code::TooManyConnections, format!("{what}: try again later"));
        self.places.take(address).map_err(refused)
    }
}
