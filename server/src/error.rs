//! Errors of the server, and how they look over HTTP.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ibgib::{Addr, Map, Value, VerifyError};
use ibgib_peer::AGAIN_S;
use ibgib_peer::saga::{Code, IdentityRefusal, SagaError};
use std::net::SocketAddr;
use std::path::PathBuf;

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
        "{0} is not a loopback address, and connections are not encrypted: use TLS, listen on loopback behind a tunnel, or allow plain text explicitly"
    )]
    PlainText(SocketAddr),
    /// The certificate or its key cannot be used.
    #[error("{}: {why}", .path.display())]
    Tls {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be noted which key the server has.
    #[error("the key of the server cannot be noted: {0}")]
    Key(SagaError),
    /// A door could not start.
    #[error("the door {name} cannot start: {why}")]
    Door {
        /// Its name.
        name: &'static str,
        /// What its address has, or [`ServeError::Start`].
        why: Box<Self>,
    },
    /// What a door needs is not to be had.
    #[error("{0}")]
    Start(String),
    /// Listening failed otherwise.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// An error answer: a code of the table with its status, and words.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: u16,
    code: String,
    message: String,
    tip: Option<Addr>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), code: code.as_str().to_owned(), message: message.into(), tip: None }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("{what} is not here"))
    }
}

impl From<SagaError> for ApiError {
    fn from(error: SagaError) -> Self {
        let (status, code) = (error.status(), error.code().to_owned());
        if status == Code::Internal.status() {
            tracing::error!(%error, "request failed");
        }
        match error {
            SagaError::PeerIdentity(refusal) => {
                let message = refusal.to_string();
                let tip = if let IdentityRefusal::Stale { tip } = refusal { Some(tip) } else { None };
                Self { status, code, message, tip }
            }
            error => Self { status, code, message: error.to_string(), tip: None },
        }
    }
}

/// An ibgib that does not hold is told by the rule that it breaks.
impl From<VerifyError> for ApiError {
    fn from(error: VerifyError) -> Self {
        let code = error.rule().to_owned();
        Self { status: Code::IdentityInvalid.status(), code, message: error.to_string(), tip: None }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error: Map = [("code", Value::from(self.code)), ("message", self.message.into())].into_iter().collect();
        if let Some(tip) = &self.tip {
            error.insert("tip", tip);
        }
        let body: Map = [("error", Value::Object(error))].into_iter().collect();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = json(status, &Value::Object(body));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, AGAIN_S.into());
        }
        answer
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    let mut text = value.to_json();
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
