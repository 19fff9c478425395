//! The WebSocket endpoint.

use crate::error::ApiError;
use crate::guard::{self, Origin};
use crate::state::State;
use async_trait::async_trait;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State as Extract};
use axum::http::HeaderMap;
use axum::response::Response;
use ibgib_peer::WebSocketWrapper;
use ibgib_peer::saga::{Code, Packet, SUBPROTOCOL};
use std::net::SocketAddr;
use std::sync::Arc;

struct Socket(WebSocket);

#[async_trait]
impl WebSocketWrapper for Socket {
    async fn send(&mut self, packet: Packet) -> Result<(), String> {
        let message = match packet {
            Packet::Text(text) => Message::Text(text.into()),
            Packet::Binary(bytes) => Message::Binary(bytes.into()),
        };
        self.0.send(message).await.map_err(|e| e.to_string())
    }

    async fn next(&mut self) -> Option<Result<Packet, String>> {
        loop {
            return match self.0.recv().await? {
                Ok(Message::Text(text)) => Some(Ok(Packet::Text(text.as_str().to_owned()))),
                Ok(Message::Binary(bytes)) => Some(Ok(Packet::Binary(bytes.to_vec()))),
                Ok(Message::Close(_)) => None,
                Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                Err(error) => Some(Err(error.to_string())),
            };
        }
    }

    async fn close(&mut self) {
        // Already closed is fine.
        let _ = self.0.send(Message::Close(None)).await;
    }
}

pub(crate) async fn upgrade(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    // A browser's page may only sync when it came from this very server. On loopback its name must be a loopback one
    // too: any other name that leads here is somebody else's, pointed at this machine.
    let welcome = match guard::origin(&headers) {
        Origin::None => true,
        Origin::Same(_) => !state.on_loopback || guard::is_loopback_name(guard::host(&headers)),
        Origin::Foreign(_) => false,
    };
    if !welcome {
        return Err(ApiError::new(Code::ForeignOrigin, "a page of another origin may not sync with this server"));
    }
    let place = state
        .places
        .take(peer.ip())
        .map_err(|what| ApiError::new(Code::TooManyConnections, format!("{what}: try again later")))?;
    let message_max = state.host.limits().message_bytes_max + 1024;
    let host = Arc::clone(&state.host);
    let (stop, under_way) = (state.stop.clone(), state.tasks.token());
    Ok(upgrade.protocols([SUBPROTOCOL]).max_message_size(message_max).max_frame_size(message_max).on_upgrade(
        move |socket| async move {
            host.serve(ibgib_peer::link(Socket(socket)), stop).await;
            drop((place, under_way));
        },
    ))
}
