//! Who may come in: requests to this machine by its own name, from the page itself, with the token.

use crate::answer::ToolError;
use crate::{CSP, Shared};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ibgib_peer::saga::Code;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

/// Whether a `Host` header names this machine. A page of another site that makes its own name resolve to this machine
/// (DNS rebinding) still sends its own name here.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

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
    let host = text(headers, header::HOST).unwrap_or_default();
    if !is_local(host) {
        let message = format!("the developer tools answer only on this machine's own names, not on {host:?}");
        return Some(ToolError::new(Code::Host, message));
    }
    let origin = headers.get(header::ORIGIN).map(|v| v.to_str().unwrap_or_default())?;
    if origin.strip_prefix("http://").is_some_and(|o| o.eq_ignore_ascii_case(host)) {
        return None;
    }
    let message = format!("a page from {origin:?} may not use the developer tools");
    Some(ToolError::new(Code::Origin, message))
}

/// Refuses calls without the token.
pub(crate) async fn token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let given = text(request.headers(), header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer "));
    let right = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(shared.token.as_bytes())));
    if !right {
        let message = "wrong token: open the address that 'ibgib serve --dev-tools' printed";
        return ToolError::new(Code::Token, message).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:7070", "LOCALHOST:1", "127.0.0.1:7070", "127.0.0.1", "[::1]:7070"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:7070", "192.168.1.2", "[fe80::1]", "0.0.0.0"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
