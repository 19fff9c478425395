//! Starting, limiting and stopping the server.

use crate::api;
use crate::door::Mount;
use crate::error::ServeError;
use crate::lease::Lease;
use crate::metrics as counters;
use crate::places::Places;
use crate::rates::Rate;
use crate::slow::{self, Patient};
use crate::state::State;
use crate::tls::{Certificate, Tls};
use crate::waiting::{Entered, Waiting};
use axum::Router;
use axum::extract::ConnectInfo;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use ibgib_peer::entropy::now_ms;
use ibgib_peer::{Host, Retention, ServerKey, collect_when_due};
use ibgib_spaces::Space;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often a server looks whether it is time to forget what is over.
const RETAIN_EVERY: Duration = Duration::from_secs(10);

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Speak TLS 1.3 with this certificate, on every listener; `None`: plain text.
    pub tls: Option<Certificate>,
    /// Plain text off loopback, which anybody on the way can read and change.
    pub allow_plain_text: bool,
    /// TCP connections that speak HTTP at once; one more is closed at once. A WebSocket no longer counts here.
    pub http_connections_max: usize,
    /// HTTP connections open at once from one address. Where there is no room, the one that has been open longest
    /// without a request under way is closed.
    pub http_connections_per_address_max: usize,
    /// Bytes of identities that one address may register at once.
    pub registered_bytes_max: u64,
    /// Bytes of identities that one address may register each second on the average.
    pub registered_bytes_per_second: u64,
    /// Graphs that are being answered at once.
    pub graphs_max: usize,
    /// Milliseconds that a peer may take nothing of what is sent to it.
    pub write_ms_max: u64,
    /// Names by which the server may be called, beside this machine's own, as a proxy before it may do. Without any, a
    /// server on loopback answers to this machine's own names only, and another one to every name.
    pub names: Vec<String>,
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
    /// What is kept of sessions that are over, and of their transcripts.
    pub retention: Retention,
    /// Other protocols over the same host, and pages.
    pub doors: Vec<Mount>,
}

impl ServeOptions {
    /// Sets the limit of a name, as [`HostLimits::set`](ibgib_peer::HostLimits::set) does.
    pub fn set(&mut self, name: &str, to: u64) -> bool {
        let size = usize::try_from(to).unwrap_or(usize::MAX);
        match name {
            "http_connections_max" => self.http_connections_max = size,
            "http_connections_per_address_max" => self.http_connections_per_address_max = size,
            "registered_bytes_max" => self.registered_bytes_max = to,
            "registered_bytes_per_second" => self.registered_bytes_per_second = to,
            "graphs_max" => self.graphs_max = size,
            "write_ms_max" => self.write_ms_max = to,
            "connections_max" => self.connections_max = size,
            "connections_per_address_max" => self.connections_per_address_max = size,
            "body_bytes_max" => self.body_bytes_max = size,
            "header_ms_max" => self.header_ms_max = to,
            "body_ms_max" => self.body_ms_max = to,
            "staging_ms_max" => self.staging_ms_max = to,
            "kept_sessions_max" => self.retention.sessions_max = size,
            "kept_session_ms_max" => self.retention.session_ms_max = to,
            _ => return false,
        }
        true
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            tls: None,
            allow_plain_text: false,
            http_connections_max: 8_192,
            http_connections_per_address_max: 1_024,
            registered_bytes_max: 32 * 1024 * 1024,
            registered_bytes_per_second: 64 * 1024,
            graphs_max: 8,
            write_ms_max: 30_000,
            names: Vec::new(),
            connections_max: 8_000,
            connections_per_address_max: 1_024,
            body_bytes_max: 1024 * 1024,
            header_ms_max: 10_000,
            body_ms_max: 30_000,
            shutdown_ms_max: 5_000,
            staging_ms_max: 24 * 3_600_000,
            retention: Retention::default(),
            doors: Vec::new(),
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    host: Arc<Host>,
    tls: Option<Arc<Tls>>,
    doors: Vec<(&'static str, String)>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens and serves `host` and the doors in the background.
    ///
    /// # Errors
    /// An address is taken, forbidden, or not loopback without TLS or [`ServeOptions::allow_plain_text`]; the
    /// certificate cannot be used. Nothing is served then, also when only a door cannot start ([`ServeError::Door`]).
    pub async fn start(host: Arc<Host>, options: ServeOptions) -> Result<Self, ServeError> {
        let tls = match options.tls.clone() {
            Some(certificate) => Some(Arc::new(Tls::new(certificate, &host).await?)),
            None => None,
        };
        let may_leave = options.allow_plain_text || tls.is_some();
        let (listener, address) = bind(options.listen, may_leave).await?;
        let mut apart = Vec::new();
        let mut urls = Vec::new();
        for Mount { door, listen } in &options.doors {
            let name = door.name();
            let at = match listen {
                None => address,
                Some(listen) => {
                    let bound = bind(*listen, may_leave).await;
                    let (listener, at) = bound.map_err(|why| ServeError::Door { name, why: Box::new(why) })?;
                    apart.push((listener, Arc::clone(door)));
                    at
                }
            };
            urls.push((name, door.url(scheme(tls.as_ref()), at)));
        }
        for Mount { door, .. } in &options.doors {
            let refused = |why| ServeError::Door { name: door.name(), why: Box::new(ServeError::Start(why)) };
            door.start().await.map_err(refused)?;
        }
        let stop = CancellationToken::new();
        let (recorder, metrics) = counters::recorder();
        let state = Arc::new(State {
            host: Arc::clone(&host),
            places: Places::new(options.connections_max, options.connections_per_address_max),
            waiting: Waiting::new(options.http_connections_max, options.http_connections_per_address_max),
            registering: Rate::new(options.registered_bytes_max, options.registered_bytes_per_second as f64),
            graphs: Arc::new(Semaphore::new(options.graphs_max.clamp(1, Semaphore::MAX_PERMITS))),
            names: options.names.clone(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
            metrics,
            recorder: Arc::clone(&recorder),
            doors: options.doors.iter().map(|mount| Arc::clone(&mount.door)).collect(),
            body_bytes_max: options.body_bytes_max,
            on_loopback: address.ip().is_loopback(),
        });
        let here = options.doors.iter().filter(|mount| mount.listen.is_none()).map(|mount| mount.door.routes());
        let mut listeners = vec![(listener, api::router(&state, here))];
        listeners.extend(apart.into_iter().map(|(listener, door)| (listener, api::door_router(&state, door.routes()))));
        let (certificate, serving) = (tls.clone(), Arc::clone(&host));
        let task = tokio::spawn(async move {
            let hearing = Arc::clone(&serving);
            let hearing = tokio::spawn(async move { hearing.hear().await });
            let counting = tokio::spawn(async move { counters::watch(&serving, recorder).await });
            serve(&state, listeners, certificate.as_ref(), &options).await;
            counting.abort();
            hearing.abort();
        });
        Ok(Self { address, host, tls, doors: urls, stop, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://HOST:PORT`, or with TLS `https://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("{}://{}", scheme(self.tls.as_ref()), self.address)
    }

    /// The key of the server's certificate, which clients may know it by; `None` without TLS.
    ///
    /// # Errors
    /// The certificate cannot be read, which starting would have told.
    pub fn key(&self) -> Result<Option<ServerKey>, ServeError> {
        self.tls.as_ref().map(|tls| tls.key()).transpose()
    }

    /// Reads the certificate again, for the connections that are made from now on; answers whether there is one. If it has another
    /// key, the space's keystone signs first that this follows the one of before.
    ///
    /// # Errors
    /// It cannot be used, or nothing can be signed about its key; the old one stays in use.
    pub async fn reload_certificate(&self) -> Result<bool, ServeError> {
        let Some(tls) = &self.tls else { return Ok(false) };
        tls.reload(&self.host).await?;
        Ok(true)
    }

    /// The doors and their URLs, in the order in which they were mounted.
    pub fn doors(&self) -> &[(&'static str, String)] {
        &self.doors
    }

    /// Stops taking connections, lets commits under way finish, closes, and waits for the end.
    pub async fn shutdown(self) {
        self.stop.cancel();
        // The task only fails by panicking; then there is nothing left to wait for.
        let _ = self.task.await;
    }
}

fn scheme(tls: Option<&Arc<Tls>>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

async fn bind(listen: SocketAddr, may_leave: bool) -> Result<(TcpListener, SocketAddr), ServeError> {
    if !listen.ip().is_loopback() && !may_leave {
        return Err(ServeError::PlainText(listen));
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse(listen),
        io::ErrorKind::PermissionDenied => ServeError::Permission(listen),
        _ => ServeError::Listen(listen, error),
    })?;
    let address = listener.local_addr().map_err(|e| ServeError::Listen(listen, e))?;
    Ok((listener, address))
}

/// Looks now and then for staged nodes that nobody came back for; of servers over one space one does.
async fn sweep(host: Arc<Host>, staging_ms_max: u64, stop: CancellationToken) {
    let age = i64::try_from(staging_ms_max).unwrap_or(i64::MAX);
    let lease = Lease::new(Arc::clone(host.space()), "staging");
    let sweeping = || async {
        let mut often = tokio::time::interval(Duration::from_millis((staging_ms_max / 24).max(1)));
        loop {
            often.tick().await;
            if let Err(error) = host.expire_staging(now_ms(), age).await {
                tracing::warn!(%error, "staged nodes could not be looked through");
            }
        }
    };
    lease.work(&stop, sweeping).await;
}

/// Looks now and then whether the day's sessions that are over are still to be forgotten; of servers over one space one does.
async fn retain(space: Arc<dyn Space>, retention: Retention, stop: CancellationToken) {
    let lease = Lease::new(Arc::clone(&space), "retention");
    let retaining = || async {
        let mut seen = 0;
        loop {
            // Not right away: whoever starts has other things to do.
            tokio::time::sleep(RETAIN_EVERY).await;
            // Where nothing was committed nothing has become more; what is due by the clock alone is after the next commit.
            let revision = space.revision().await.unwrap_or_default();
            if std::mem::replace(&mut seen, revision) == revision {
                continue;
            }
            if let Err(error) = collect_when_due(&*space, retention, now_ms()).await {
                tracing::warn!(%error, "sessions that are over could not be forgotten");
            }
        }
    };
    lease.work(&stop, retaining).await;
}

/// What was dropped just before a server was killed may still be stood on.
async fn leave_dropped(host: Arc<Host>) {
    match host.leave_dropped().await {
        Ok(0) => {}
        Ok(left) => tracing::info!(left, "timelines went back to before what was dropped"),
        Err(error) => tracing::warn!(%error, "timelines could not go back to before what was dropped"),
    }
}

/// Serves until a stop is asked for, then waits for what is under way.
async fn serve(state: &State, listeners: Vec<(TcpListener, Router)>, tls: Option<&Arc<Tls>>, options: &ServeOptions) {
    state.tasks.spawn(sweep(Arc::clone(&state.host), options.staging_ms_max, state.stop.clone()));
    state.tasks.spawn(retain(Arc::clone(state.host.space()), options.retention, state.stop.clone()));
    state.tasks.spawn(leave_dropped(Arc::clone(&state.host)));
    // A space without a keystone needs one when somebody first comes, who should not wait for what that takes.
    state.host.prepare_keystone().await;
    for door in &state.doors {
        state.tasks.spawn(Arc::clone(door).background(state.stop.clone()));
    }
    join_all(listeners.into_iter().map(|(listener, router)| accept(state, listener, router, tls, options))).await;
    state.tasks.close();
    let most = Duration::from_millis(options.shutdown_ms_max);
    if tokio::time::timeout(most, state.tasks.wait()).await.is_err() {
        tracing::warn!("connections were still open when the time to shut down was over");
    }
}

async fn accept(state: &State, listener: TcpListener, router: Router, tls: Option<&Arc<Tls>>, options: &ServeOptions) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = state.stop.cancelled() => return,
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
        let Some(entered) = state.waiting.enter(peer.ip()) else {
            tracing::debug!(%peer, "as many connections as allowed are open");
            continue;
        };
        let ms = Duration::from_millis;
        let limits =
            Times { head: ms(options.header_ms_max), body: ms(options.body_ms_max), write: ms(options.write_ms_max) };
        // Small messages must not wait for more to come.
        let _ = stream.set_nodelay(true);
        let (router, stop) = (router.clone(), state.stop.clone());
        match tls.cloned() {
            None => {
                let stream = Either::Left(Patient::new(stream, limits.write));
                state.tasks.spawn(speak(stream, peer, router, limits, stop, entered));
            }
            Some(tls) => {
                state.tasks.spawn(shake_hands(stream, peer, router, tls, limits, stop, entered));
            }
        }
    }
}

/// A connection in plain text or over TLS.
type Line = Either<Patient, Box<TlsStream<Patient>>>;

/// Speaks TLS on a connection. One that brings plain text is told so, in plain text.
async fn shake_hands(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Arc<Tls>,
    times: Times,
    stop: CancellationToken,
    entered: Entered,
) {
    let shaking = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        let stream = Patient::new(stream, times.write);
        // The first letter of a method of HTTP; TLS begins with 22.
        if first[0].is_ascii_uppercase() {
            return Ok((Either::Left(stream), api::plain_router()));
        }
        let stream = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream).await?;
        Ok::<(Line, Router), io::Error>((Either::Right(Box::new(stream)), router))
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(times.head, shaking) => shaken,
        // It makes room.
        () = entered.cut.cancelled() => return,
        () = stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok((line, router))) => speak(line, peer, router, times, stop, entered).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS came to be"),
        Err(_) => tracing::debug!(%peer, "TLS took too long"),
    }
}

/// How long parts of a conversation may take.
#[derive(Clone, Copy)]
struct Times {
    head: Duration,
    body: Duration,
    write: Duration,
}

/// Speaks HTTP on one connection until it ends or becomes a WebSocket.
async fn speak(line: Line, peer: SocketAddr, router: Router, times: Times, stop: CancellationToken, entered: Entered) {
    let (cut, entered) = (entered.cut.clone(), Arc::new(entered));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (router, entered) = (router.clone(), Arc::clone(&entered));
        async move {
            entered.set_busy(true);
            let response = slow::in_time(router, request, times.body).await;
            entered.set_busy(false);
            response
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(times.head);
    builder.max_buf_size(64 * 1024);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(line), service).with_upgrades());
    // `GracefulShutdown` of hyper-util takes no HTTP/1 connection that can be upgraded.
    let served = tokio::select! {
        served = connection.as_mut() => served,
        // It makes room.
        () = cut.cancelled() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended badly");
    }
}
