//! Who may come in: requests to this machine by its own name, from the page itself, with the token.

use crate::answer::ToolError;
use crate::{CSP, Shared};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ibgib_peer::saga::Code;
use ibgib_server::guard::{self, Origin};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Refuses foreign hosts and origins, and tells browsers what the page may do.
pub(crate) async fn place(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.headers()) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, CSP);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

fn refusal(headers: &HeaderMap) -> Option<ToolError> {
    let host = guard::host(headers);
    if !guard::is_loopback_name(host) {
        let message = format!("the developer tools answer only on this machine's own names, not on {host:?}");
        return Some(ToolError::new(Code::Host, message));
    }
    let origin = match guard::origin(headers) {
        Origin::None | Origin::Same("http") => return None,
        Origin::Same(scheme) => scheme,
        Origin::Foreign(origin) => origin,
    };
    Some(ToolError::new(Code::Origin, format!("a page from {origin:?} may not use the developer tools")))
}

/// Refuses calls without the token.
pub(crate) async fn token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    let right = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(shared.token.as_bytes())));
    if !right {
        let message = "wrong token: open the address that 'ibgib serve --dev-tools' printed";
        return ToolError::new(Code::Token, message).into_response();
    }
    next.run(request).await
}
