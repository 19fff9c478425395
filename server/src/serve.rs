//! Starting, limiting and stopping the server.

use crate::api;
use crate::error::{ApiError, ServeError};
use crate::metrics as counters;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use ibgib_peer::Host;
use ibgib_peer::entropy::now_ms;
use ibgib_peer::saga::Code;
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Plain text off loopback, which anybody on the way can read and change.
    pub allow_plain_text: bool,
    /// TCP connections that speak HTTP at once; one more is closed at once. A WebSocket no longer counts here.
    pub http_connections_max: usize,
    /// WebSocket connections open at once.
    pub connections_max: usize,
    /// WebSocket connections open at once from one address.
    pub connections_per_address_max: usize,
    /// Bytes of an HTTP body.
    pub body_bytes_max: usize,
    /// Milliseconds that sending a request's head may take.
    pub header_ms_max: u64,
    /// Milliseconds that sending a request's body may take.
    pub body_ms_max: u64,
    /// Milliseconds that commits under way may take after a shutdown was asked for.
    pub shutdown_ms_max: u64,
    /// Milliseconds that nodes stay staged for a saga that was cut, so that it need not send them again.
    pub staging_ms_max: u64,
    /// More routes, for instance the dev-tools page.
    pub extra: Option<Router>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            allow_plain_text: false,
            http_connections_max: 8_192,
            connections_max: 8_000,
            connections_per_address_max: 1_024,
            body_bytes_max: 1024 * 1024,
            header_ms_max: 10_000,
            body_ms_max: 30_000,
            shutdown_ms_max: 5_000,
            staging_ms_max: 24 * 3_600_000,
            extra: None,
        }
    }
}

pub(crate) struct State {
    pub(crate) host: Arc<Host>,
    pub(crate) places: Places,
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) recorder: Arc<PrometheusRecorder>,
    pub(crate) body_bytes_max: usize,
    pub(crate) on_loopback: bool,
}

impl State {
    /// A browser's page may only sync when it came from this very server. On loopback its name must be a loopback
    /// one too: any other name that leads here is somebody else's, pointed at this machine.
    pub(crate) fn allow_origin(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
        match (text(header::ORIGIN), text(header::HOST)) {
            (Some(origin), Some(host)) => {
                origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host))
                    && (!self.on_loopback || is_loopback_name(host))
            }
            _ => false,
        }
    }
}

/// Whether a `Host` (its port is ignored) can only mean the machine that asks.
fn is_loopback_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let ip = rest.split_once(']').and_then(|(ip, _)| ip.parse::<IpAddr>().ok());
        return ip.is_some_and(|ip| ip.is_loopback());
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Counts open connections, in all and per address.
#[derive(Clone)]
pub(crate) struct Places {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    all_max: usize,
    each_max: usize,
}

/// One connection's place; dropping it frees it.
pub(crate) struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// Connections open now.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    pub(crate) fn take(&self, address: IpAddr) -> Result<Place, &'static str> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= self.all_max {
            return Err("the server has as many connections as it takes");
        }
        let here = open.entry(address).or_default();
        if *here >= self.each_max {
            return Err("your address has as many connections as the server takes from one");
        }
        *here += 1;
        Ok(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = open.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens and serves `host` in the background.
    ///
    /// # Errors
    /// The address is taken, forbidden, or not loopback without [`ServeOptions::allow_plain_text`].
    pub async fn start(host: Arc<Host>, options: ServeOptions) -> Result<Self, ServeError> {
        if !options.listen.ip().is_loopback() && !options.allow_plain_text {
            return Err(ServeError::PlainText(options.listen));
        }
        let listener = TcpListener::bind(options.listen).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => ServeError::PortInUse(options.listen),
            std::io::ErrorKind::PermissionDenied => ServeError::Permission(options.listen),
            _ => ServeError::Listen(options.listen, error),
        })?;
        let address = listener.local_addr().map_err(|e| ServeError::Listen(options.listen, e))?;
        let (stop, stopped) = watch::channel(false);
        let (recorder, metrics) = counters::recorder();
        let places = Places {
            open: Arc::default(),
            all_max: options.connections_max,
            each_max: options.connections_per_address_max,
        };
        let state = Arc::new(State {
            host: Arc::clone(&host),
            places: places.clone(),
            shutdown: stopped.clone(),
            metrics,
            recorder: Arc::clone(&recorder),
            body_bytes_max: options.body_bytes_max,
            on_loopback: address.ip().is_loopback(),
        });
        let router = api::router(state, options.extra.clone());
        let task = tokio::spawn(async move {
            let sweeping = tokio::spawn(sweep(Arc::clone(&host), options.staging_ms_max));
            let counting = tokio::spawn(async move { counters::watch(&host, recorder).await });
            accept(listener, router, options, places, stopped).await;
            counting.abort();
            sweeping.abort();
        });
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://HOST:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops taking connections, lets commits under way finish, closes, and waits for the end.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // The task only fails by panicking; then there is nothing left to wait for.
        let _ = self.task.await;
    }
}

/// Looks now and then for staged nodes that nobody came back for.
async fn sweep(host: Arc<Host>, staging_ms_max: u64) {
    let age = i64::try_from(staging_ms_max).unwrap_or(i64::MAX);
    let mut often = tokio::time::interval(Duration::from_millis((staging_ms_max / 24).max(1)));
    loop {
        often.tick().await;
        if let Err(error) = host.expire_staging(now_ms(), age).await {
            tracing::warn!(%error, "staged nodes could not be looked through");
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    places: Places,
    mut stop: watch::Receiver<bool>,
) {
    // Every connection holds a sender: when the last is gone, all have ended.
    let (held, mut all_gone) = tokio::sync::mpsc::channel::<()>(1);
    let http_places = Arc::new(Semaphore::new(options.http_connections_max.min(Semaphore::MAX_PERMITS)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: give connections time to end instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(http_place) = Arc::clone(&http_places).try_acquire_owned() else {
            tracing::debug!(%peer, "as many connections as allowed are open");
            continue;
        };
        let router = router.clone();
        let header_ms_max = options.header_ms_max;
        let body_max = Duration::from_millis(options.body_ms_max);
        let mut stop = stop.clone();
        let held = held.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                in_time(router.clone(), request, body_max)
            });
            // Small messages must not wait for more to come.
            let _ = stream.set_nodelay(true);
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_millis(header_ms_max));
            builder.max_buf_size(64 * 1024);
            let mut connection =
                std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
            let served = tokio::select! {
                served = connection.as_mut() => Some(served),
                () = stopped(&mut stop) => None,
            };
            let served = match served {
                Some(served) => served,
                None => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "connection ended badly");
            }
            drop((http_place, held));
        });
    }
    drop((listener, held));
    let ended = async {
        all_gone.recv().await;
        // WebSockets outlive the request that opened them.
        while places.count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_millis(options.shutdown_ms_max), ended).await.is_err() {
        tracing::warn!("connections were still open when the time to shut down was over");
    }
}

/// Ends when a shutdown is asked for, or nobody is left to ask.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|s| *s).await.is_ok();
}

/// A request's body that has to be there in time.
struct Timed {
    body: Incoming,
    end: Pin<Box<tokio::time::Sleep>>,
    late: Arc<AtomicBool>,
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        std::task::ready!(self.end.as_mut().poll(context));
        self.late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the body took too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// Answers a request; one whose body takes longer than `body_max` with status 408.
async fn in_time(
    router: Router,
    request: hyper::Request<Incoming>,
    body_max: Duration,
) -> Result<Response, std::convert::Infallible> {
    if request.body().is_end_stream() {
        return router.oneshot(request.map(axum::body::Body::new)).await;
    }
    let late = Arc::new(AtomicBool::new(false));
    let timed = |body| Timed { body, end: Box::pin(tokio::time::sleep(body_max)), late: Arc::clone(&late) };
    let response = router.oneshot(request.map(timed).map(axum::body::Body::new)).await?;
    if !late.load(Ordering::Relaxed) {
        return Ok(response);
    }
    let what = format!("the request's body was not there after {} ms", body_max.as_millis());
    let mut response = ApiError::new(Code::BodyTooSlow, what).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}
