//! Errors of the server, and how they look over HTTP.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ibgib::{Map, Value};
use ibgib_peer::saga::SagaError;
use std::net::SocketAddr;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken.
    #[error("port in use: {0}")]
    PortInUse(SocketAddr),
    /// The system refuses to listen there.
    #[error("no permission to listen on {0}")]
    Permission(SocketAddr),
    /// Plain text would leave this machine.
    #[error(
        "{0} is not a loopback address, and connections are not encrypted: listen on loopback behind a tunnel, or allow plain text explicitly"
    )]
    PlainText(SocketAddr),
    /// Listening failed otherwise.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

impl ServeError {
    /// The code for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PortInUse(_) => "port_in_use",
            Self::Permission(_) => "permission",
            Self::PlainText(_) => "plain_text",
            Self::Listen(..) => "listen",
        }
    }
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
    extra: Vec<(&'static str, Value)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), extra: Vec::new() }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} is not here"))
    }

    pub(crate) fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
}

impl From<SagaError> for ApiError {
    fn from(error: SagaError) -> Self {
        let code = error.code().to_owned();
        let status = match (&error, code.as_str()) {
            (_, "identity_stale" | "identity_busy") => StatusCode::CONFLICT,
            (_, "identity_forked" | "identity_revoked" | "identity_not_allowed") => StatusCode::FORBIDDEN,
            (_, "identity_unknown") => StatusCode::NOT_FOUND,
            (_, "disk_full") => StatusCode::INSUFFICIENT_STORAGE,
            (SagaError::Identity { .. }, _) => StatusCode::UNPROCESSABLE_ENTITY,
            (SagaError::PeerMisbehaved { .. }, _) => StatusCode::BAD_REQUEST,
            (SagaError::Limit { .. }, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (SagaError::Busy(_), _) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut extra = Vec::new();
        let message = match &error {
            SagaError::Identity { rule: "identity_stale", detail } => {
                extra.push(("tip", Value::from(detail.as_str())));
                format!("the identity's newest frame here is {detail}")
            }
            SagaError::Identity { detail, .. } => detail.clone(),
            error => error.to_string(),
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(%error, "request failed");
        }
        Self { status, code, message, extra }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error: Map = [("code", Value::from(self.code)), ("message", self.message.into())].into_iter().collect();
        for (k, v) in self.extra {
            error.insert(k, v);
        }
        let body: Map = [("error", Value::Object(error))].into_iter().collect();
        json(self.status, &Value::Object(body))
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let mut text = value.to_json();
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
