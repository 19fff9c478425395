//! The HTTP API.

use crate::error::{ApiError, json};
use crate::events;
use crate::guard;
use crate::metrics;
use crate::socket;
use crate::state::{State, secret};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State as Extract};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::stream;
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use ibgib_peer::saga::Code;
use ibgib_peer::space_error;
use ibgib_spaces::Kind;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Nodes of a graph that one request may read.
const GRAPH_MAX: usize = 10_000_000;
/// How long a request waits until it may read a graph.
const GRAPH_WAIT_MAX: Duration = Duration::from_secs(10);
/// What it is told then.
const GRAPHS_BUSY: &str = "as many graphs as allowed are being read: try again later";

/// The server's own routes and those of the doors that stand beside them.
pub(crate) fn router(state: &Arc<State>, doors: impl Iterator<Item = Router>) -> Router {
    let api = Router::new()
        .route("/api/v1/health", get(health))
        .route("/api/v1/succession", get(succession))
        .route("/api/v1/keystones", post(register))
        .route("/api/v1/keystones/{tjp}/frames", post(evolve))
        .route("/api/v1/grants", post(grants))
        .route("/api/v1/grants/accept", post(accept))
        .route("/api/v1/ibgibs/{addr}", get(ibgib))
        .route("/api/v1/tips/{addr}", get(tip))
        .route("/api/v1/tips", get(tips))
        .route("/api/v1/dropped", get(dropped))
        .route("/api/v1/events", get(events::events))
        .route(ibgib_peer::SYNC_PATH, get(socket::upgrade))
        .route("/api/v1/openapi.json", get(openapi))
        // A door may answer for other versions, never for this one.
        .route("/api/v1/{*path}", any(no_path))
        .route("/metrics", get(metrics::render))
        .layer(DefaultBodyLimit::max(state.body_bytes_max))
        .with_state(Arc::clone(state));
    // Doors tell their own names and pages.
    whole(doors.fold(guarded(api, state), Router::merge))
}

/// What is answered to plain text where TLS is spoken, whatever was asked.
pub(crate) fn plain_router() -> Router {
    let told = "this server speaks TLS: call it by a URL that begins with https";
    Router::new().fallback(move || async move { ApiError::new(Code::TlsRequired, told) })
}

/// A door's routes on a listener of its own.
pub(crate) fn door_router(state: &Arc<State>, door: Router) -> Router {
    let own = Router::new().route("/metrics", get(metrics::render)).route("/api/v1/succession", get(succession));
    whole(door.merge(guarded(own.with_state(Arc::clone(state)), state)))
}

fn guarded(routes: Router, state: &Arc<State>) -> Router {
    let routes = routes.layer(axum::middleware::map_response(as_api_error));
    routes.layer(axum::middleware::from_fn_with_state(Arc::clone(state), guard::check))
}

fn whole(routes: Router) -> Router {
    routes.fallback(no_path).method_not_allowed_fallback(other_method)
}

async fn no_path() -> ApiError {
    ApiError::not_found("this path")
}

async fn other_method() -> ApiError {
    ApiError::new(Code::MethodNotAllowed, "this path takes another method")
}

/// Makes what the framework refuses on its own (a body that is too large, a request that is no WebSocket handshake) look
/// like every other error of the API: a layer for routes of a door that speaks like it.
pub async fn as_api_error(response: Response) -> Response {
    let status = response.status();
    let is_text = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/plain"));
    if !is_text || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::UPGRADE_REQUIRED => Code::UpgradeRequired,
        _ => Code::BadRequest,
    };
    let body = axum::body::to_bytes(response.into_body(), 4 * 1024).await.unwrap_or_default();
    let error = ApiError::new(code, String::from_utf8_lossy(&body));
    (status, error).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

async fn health(Extract(state): Extract<Arc<State>>) -> Result<Response, ApiError> {
    let space = state.host.space();
    let revision = space.revision().await.map_err(space_error)?;
    let nodes = space.count().await.map_err(space_error)?;
    let body: Map = [
        ("status", Value::from("ok")),
        ("space", space.id().into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("protocol", ibgib_peer::saga::SUBPROTOCOL.into()),
        ("policy", state.host.policy_name().into()),
        ("nodes", Value::integer(nodes)),
        ("revision", Value::integer(revision)),
    ]
    .into_iter()
    .collect();
    Ok(json(StatusCode::OK, &Value::Object(body)))
}

/// Everybody may know it, and whoever has met the server under another key has to.
async fn succession(Extract(state): Extract<Arc<State>>) -> Result<Response, ApiError> {
    let told = state.host.succession().await?;
    let told = told.ok_or_else(|| ApiError::not_found("a key that follows another"))?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], told).into_response())
}

fn body_text(body: &Bytes) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|e| ApiError::new(Code::BadJson, format!("the body is not UTF-8: {e}")))
}

fn address(text: &str) -> Result<Addr, ApiError> {
    text.parse().map_err(|e: ibgib::AddrError| ApiError::new(Code::BadAddress, e.to_string()))
}

fn checked(value: Value) -> Result<Verified<IbGib>, ApiError> {
    Ok(IbGib::from_value(value, Mode::Strict).and_then(IbGib::verify)?)
}

fn parse(body: &Bytes) -> Result<Value, ApiError> {
    Value::parse(body_text(body)?, Mode::Strict).map_err(|e| ApiError::new(Code::BadJson, e.to_string()))
}

/// The frames in a body, each of them checked.
fn frames(body: &mut Map) -> Result<Vec<Verified<IbGib>>, ApiError> {
    let Some(Value::Array(frames)) = body.remove("frames") else {
        return Err(ApiError::new(Code::BadBody, "frames must be an array"));
    };
    frames.into_iter().map(checked).collect()
}

async fn register(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, ApiError> {
    if !state.registering.take(peer.ip(), body.len()) {
        let message = "your address has registered as much as the server takes from one in a time: try again later";
        return Err(ApiError::new(Code::TooManyRequests, message));
    }
    let genesis = state.host.check(move || checked(parse(&body)?)).await??;
    let tip = state.host.post_genesis_keystone(&genesis).await?;
    Ok(tip_answer(StatusCode::CREATED, genesis.addr(), &tip))
}

async fn evolve(
    Extract(state): Extract<Arc<State>>,
    Path(tjp): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let tjp = address(&tjp)?;
    let read = move || {
        let Value::Object(mut body) = parse(&body)? else {
            return Err(ApiError::new(Code::BadBody, "expected an object {frames, session}"));
        };
        let frames = frames(&mut body)?;
        let session = match body.remove("session") {
            None | Some(Value::Null) => None,
            Some(value) => Some(checked(value)?),
        };
        Ok((frames, session))
    };
    let (frames, session) = state.host.check(read).await??;
    let tip = state.host.post_evolution(&tjp, &frames, session.as_ref()).await?;
    Ok(tip_answer(StatusCode::OK, &tjp, &tip))
}

/// Of one address no more requests than it may make in a time: what they ask takes work before anybody has proved anything.
fn in_measure(state: &State, peer: SocketAddr, body: &Bytes) -> Result<(), ApiError> {
    if state.registering.take(peer.ip(), body.len()) {
        return Ok(());
    }
    let message = "your address has asked as much as the server takes from one in a time: try again later";
    Err(ApiError::new(Code::TooManyRequests, message))
}

async fn grants(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, ApiError> {
    in_measure(&state, peer, &body)?;
    let read = move || {
        let Value::Object(mut body) = parse(&body)? else {
            return Err(ApiError::new(Code::BadBody, "expected an object {identity, frames}"));
        };
        let identity = body.get("identity").and_then(Value::as_str);
        let identity = identity.ok_or_else(|| ApiError::new(Code::BadBody, "identity is missing or no text"))?;
        Ok((address(identity)?, frames(&mut body)?))
    };
    let (identity, frames) = state.host.check(read).await??;
    // What was stated is carried out to its end, whether or not somebody still waits for that.
    let stating = async move { state.host.post_grants(&identity, &frames).await };
    let lines = tokio::spawn(stating).await.map_err(|e| ApiError::new(Code::Internal, e.to_string()))??;
    let text: String = lines.iter().map(|line| line.to_json() + "\n").collect();
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}

async fn accept(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, ApiError> {
    in_measure(&state, peer, &body)?;
    let body = parse(&body)?;
    let member = |name: &str| {
        let member = body.get(name).and_then(Value::as_str);
        member.ok_or_else(|| ApiError::new(Code::BadBody, format!("{name} is missing or no text")))
    };
    let identity = address(member("identity")?)?;
    if Kind::of(&identity) != Kind::Keystone {
        return Err(ApiError::new(Code::BadBody, "identity is no address of a keystone"));
    }
    state.host.accept(&identity, member("token")?).await?;
    let body: Map = [("identity", Value::from(&identity))].into_iter().collect();
    Ok(json(StatusCode::OK, &Value::Object(body)))
}

fn tip_answer(status: StatusCode, tjp: &Addr, tip: &Addr) -> Response {
    let body: Map = [("tjp", Value::from(tjp)), ("tip", tip.into())].into_iter().collect();
    json(status, &Value::Object(body))
}

/// Identities are shown to everybody, since peers check them; data to whoever may read it, and to others as if it were not
/// there. What doors keep is nobody's to read.
async fn check_readable(state: &State, headers: &HeaderMap, addr: &Addr) -> Result<(), ApiError> {
    match Kind::of(addr) {
        Kind::Door => return Err(ApiError::not_found(addr.as_str())),
        Kind::Keystone => return Ok(()),
        Kind::Living | Kind::Saga => {}
    }
    let reader = state.reader(secret(headers)).await?;
    // Finding it out may cost as much as reading a graph.
    let shown = tokio::time::timeout(GRAPH_WAIT_MAX, state.host.is_shown(&reader, addr)).await;
    match shown.map_err(|_| ApiError::new(Code::TooManyConnections, GRAPHS_BUSY))?? {
        true => Ok(()),
        false => Err(ApiError::not_found(addr.as_str())),
    }
}

async fn ibgib(
    Extract(state): Extract<Arc<State>>,
    Path(addr): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let addr = address(&addr)?;
    check_readable(&state, &headers, &addr).await?;
    let space = Arc::clone(state.host.space());
    if query.get("getGraph").is_none_or(|v| v != "true") {
        let node = space.node(&addr).await.map_err(space_error)?;
        let node = node.ok_or_else(|| ApiError::not_found(addr.as_str()))?;
        return Ok(json(StatusCode::OK, &node.to_value()));
    }
    if space.has(std::slice::from_ref(&addr)).await.map_err(space_error)? != [true] {
        return Err(ApiError::not_found(addr.as_str()));
    }
    let wait = Arc::clone(&state.graphs).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout(GRAPH_WAIT_MAX, wait).await else {
        return Err(ApiError::new(Code::TooManyConnections, GRAPHS_BUSY));
    };
    let starts_at_identity = Kind::of(&addr) == Kind::Keystone;
    let mut addrs = state.host.graph(addr, GRAPH_MAX).await?;
    if !state.host.is_open() && starts_at_identity {
        // An identity may relate to whatever its owner likes, and shows to everybody nothing but identities.
        addrs.retain(|addr| Kind::of(addr) == Kind::Keystone);
    }
    // Node after node, so that a large graph never stands in memory. The place is free when the answer was sent, or
    // when its peer is gone.
    let lines = stream::unfold((space, addrs.into_iter(), place), |(space, mut addrs, place)| async move {
        let addr = addrs.next()?;
        let line = match space.node(&addr).await {
            Ok(Some(node)) => Ok(node.to_json() + "\n"),
            Ok(None) => Err(std::io::Error::other(format!("{addr} is gone"))),
            Err(error) => Err(std::io::Error::other(error.to_string())),
        };
        let rest = if line.is_ok() { addrs } else { Vec::new().into_iter() };
        Some((line, (space, rest, place)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

async fn tip(
    Extract(state): Extract<Arc<State>>,
    Path(addr): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let addr = address(&addr)?;
    check_readable(&state, &headers, &addr).await?;
    let tip = state.host.tip(&addr).await?.ok_or_else(|| ApiError::not_found(addr.as_str()))?;
    // Whoever comes to sync asks for all three: what it syncs with, how far its identity is known here, and whether anything
    // was dropped.
    let mut body: Map =
        [("tjp", Value::from(&addr)), ("tip", (&tip).into()), ("space", state.host.space().id().into())]
            .into_iter()
            .collect();
    if let Some(list) = state.host.dropping().await? {
        body.insert("dropped", Value::integer(list.number()));
    }
    Ok(json(StatusCode::OK, &Value::Object(body)))
}

async fn dropped(Extract(state): Extract<Arc<State>>) -> Result<Response, ApiError> {
    let list = state.host.dropping().await?.ok_or_else(|| ApiError::not_found("a dropped frame"))?;
    Ok(json(StatusCode::OK, &list.to_value()))
}

async fn tips(
    Extract(state): Extract<Arc<State>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(ib) = query.get("ib") else {
        return Err(ApiError::new(Code::BadQuery, "say which timelines: ?ib=folder"));
    };
    let reader = state.reader(secret(&headers)).await?;
    let mut text = String::new();
    for tip in state.host.shown_tips(&reader, ib).await? {
        let line: Map = [("tjp", Value::from(&tip.tjp)), ("tip", (&tip.addr).into())].into_iter().collect();
        text.push_str(&Value::Object(line).to_json());
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response())
}
