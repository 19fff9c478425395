//! The WebSocket endpoint.

use crate::error::ApiError;
use crate::state::State;
use async_trait::async_trait;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts as _, Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ibgib_peer::saga::{Code, Encoding, Envelope, MsgType, Packet};
use ibgib_peer::{Carried, WebSocketWrapper};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// A connection that gives only so many bytes until it is open: what a peer may send before it has proven who it is
/// must not be buffered first and measured afterwards.
struct Gate {
    inner: TokioIo<Upgraded>,
    left: usize,
    open: Arc<AtomicBool>,
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.open.load(Ordering::Relaxed) {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        if self.left == 0 {
            let why = "more than a peer may send before it is authenticated";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.left = self.left.saturating_sub(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

struct Socket {
    stream: WebSocketStream<Gate>,
    open: Arc<AtomicBool>,
}

#[async_trait]
impl WebSocketWrapper for Socket {
    async fn send(&mut self, carried: Carried) -> Result<(), String> {
        let message = match carried {
            Carried::Packet(Packet::Text(text)) => {
                let proven = || Envelope::parse(&text).is_ok_and(|message| message.kind() == MsgType::ConnectOk);
                if !self.open.load(Ordering::Relaxed) && proven() {
                    self.open.store(true, Ordering::Relaxed);
                }
                Message::text(text)
            }
            Carried::Packet(Packet::Binary(bytes)) => Message::binary(bytes),
            Carried::Alive => Message::Ping(Bytes::new()),
        };
        self.stream.send(message).await.map_err(|e| e.to_string())
    }

    async fn next(&mut self) -> Option<Result<Carried, String>> {
        loop {
            return match self.stream.next().await? {
                Ok(Message::Text(text)) => Some(Ok(Carried::Packet(Packet::Text(text.as_str().to_owned())))),
                Ok(Message::Binary(bytes)) => Some(Ok(Carried::Packet(Packet::Binary(bytes.to_vec())))),
                Ok(Message::Ping(_)) => Some(Ok(Carried::Alive)),
                Ok(Message::Close(_)) => None,
                Ok(_) => continue,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => None,
                Err(error) => Some(Err(error.to_string())),
            };
        }
    }

    async fn close(&mut self) {
        // Already closed is fine.
        let _ = self.stream.close(None).await;
    }
}

/// What answers a handshake whose key is this.
fn switched(headers: &HeaderMap, key: &HeaderValue) -> Result<Response, ApiError> {
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|e| ApiError::new(Code::Internal, e.to_string()))?;
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let asked = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if let Some(best) = Encoding::best(asked.flat_map(|value| value.split(',')).map(str::trim)) {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(best.subprotocol()));
    }
    Ok(response)
}

pub(crate) async fn upgrade(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let upgrade = parts.extensions.get::<OnUpgrade>().cloned();
    // The framework knows what a handshake needs.
    if let Err(refusal) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        return Ok(refusal.into_response());
    }
    let (Some(upgrade), Some(key)) = (upgrade, parts.headers.get(header::SEC_WEBSOCKET_KEY)) else {
        return Err(ApiError::new(Code::BadRequest, "the connection cannot become a WebSocket"));
    };
    let place = state.place(peer.ip())?;
    let response = switched(&parts.headers, key)?;
    let limits = state.host.limits();
    let message_max = limits.message_bytes_max + 1024;
    // A greeting and a proof.
    let left = 2 * limits.message_bytes_max_unauthenticated + READ_BYTES;
    let config = WebSocketConfig::default()
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max))
        .read_buffer_size(READ_BYTES);
    let host = Arc::clone(&state.host);
    let (stop, under_way) = (state.stop.clone(), state.tasks.token());
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let open = Arc::new(AtomicBool::new(false));
                let gate = Gate { inner: TokioIo::new(upgraded), left, open: Arc::clone(&open) };
                let stream = WebSocketStream::from_raw_socket(gate, Role::Server, Some(config)).await;
                host.serve(ibgib_peer::link(Socket { stream, open }), stop).await;
            }
            Err(error) => tracing::debug!(%error, "a connection did not become a WebSocket"),
        }
        drop((place, under_way));
    });
    Ok(response)
}
