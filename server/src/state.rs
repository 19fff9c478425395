//! What all requests share.

use crate::door::Door;
use crate::error::ApiError;
use crate::places::{Place, Places};
use crate::rates::Rate;
use crate::waiting::Waiting;
use axum::http::{HeaderMap, header};
use ibgib_peer::saga::Code;
use ibgib_peer::{Host, Reader};
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
    /// Who reads with this secret, or without any; refused when he may read nothing.
    pub(crate) async fn reader(&self, secret: Option<&str>) -> Result<Reader, ApiError> {
        match (self.host.reader(secret).await?, secret) {
            (Some(reader), _) => Ok(reader),
            (None, Some(_)) => {
                let message =
                    "what the request shows in Authorization lets nobody read here, or not any more: ask for another";
                Err(ApiError::new(Code::NotGranted, message))
            }
            (None, None) => {
                let message = "this server serves data only to its identities, over /api/v1/sync, and to programs that show \
                               the secret of an invite for programs: Authorization: Bearer SECRET";
                Err(ApiError::new(Code::ReadingNeedsIdentity, message))
            }
        }
    }

    /// A place for a connection that stays.
    pub(crate) fn place(&self, address: IpAddr) -> Result<Place, ApiError> {
        let refused = |what| ApiError::new(Code::TooManyConnections, format!("{what}: try again later"));
        self.places.take(address).map_err(refused)
    }
}

/// The secret that a request shows: `Authorization: Bearer SECRET`, and nowhere else, since URLs are kept in logs and histories.
pub(crate) fn secret(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}
