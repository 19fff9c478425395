//! Answers and errors of the page's API.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ibgib::{Addr, AddrError, Mode, Value, object};
use ibgib_peer::saga::{Code, SagaError};
use ibgib_peer::space_error;
use ibgib_spaces::SpaceError;

/// A JSON answer.
pub(crate) fn answer(value: &Value) -> Response {
    with_status(StatusCode::OK, value)
}

fn with_status(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, value.to_json() + "\n").into_response()
}

/// `{"error": {"code", "message"}}` with a status.
#[derive(Debug)]
pub(crate) struct ToolError {
    code: Code,
    message: String,
}

impl ToolError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("{what} is not here"))
    }
}

impl IntoResponse for ToolError {
    fn into_response(self) -> Response {
        let error = object([("code", self.code.as_str().into()), ("message", self.message.into())]);
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        with_status(status, &object([("error", error)]))
    }
}

impl From<SpaceError> for ToolError {
    fn from(error: SpaceError) -> Self {
        space_error(error).into()
    }
}

impl From<SagaError> for ToolError {
    fn from(error: SagaError) -> Self {
        Self::new(error.row().unwrap_or(Code::Internal), error.to_string())
    }
}

pub(crate) fn number(n: impl TryInto<u64>) -> Value {
    // What does not fit is no count that anybody reads.
    Value::integer(n.try_into().unwrap_or(u64::MAX))
}

/// Milliseconds since 1970.
pub(crate) fn ms(ms: i64) -> Value {
    Value::integer(ms)
}

pub(crate) fn maybe<T>(value: Option<T>) -> Value
where
    Value: From<T>,
{
    value.map_or(Value::Null, Value::from)
}

pub(crate) fn address(text: Option<&String>) -> Result<Addr, ToolError> {
    let text = text.ok_or_else(|| ToolError::new(Code::BadQuery, "an address is missing"))?;
    text.parse().map_err(|e: AddrError| ToolError::new(Code::BadAddress, e.to_string()))
}

pub(crate) fn parse(body: &Bytes) -> Result<Value, ToolError> {
    let text = std::str::from_utf8(body).map_err(|e| ToolError::new(Code::BadJson, e.to_string()))?;
    Value::parse(text, Mode::Strict).map_err(|e| ToolError::new(Code::BadJson, e.to_string()))
}
