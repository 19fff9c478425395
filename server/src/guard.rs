//! Who asks: by which name this machine was called, and which page a browser's request comes from.

use crate::error::ApiError;
use crate::state::State;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ibgib_peer::saga::Code;
use std::net::IpAddr;
use std::sync::Arc;

/// Whether a `Host` (its port is ignored) can only mean the machine that asks. A page of another site that makes its
/// own name resolve to this machine (DNS rebinding) still sends its own name here.
pub fn is_loopback_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let ip = rest.split_once(']').and_then(|(ip, _)| ip.parse::<IpAddr>().ok());
        return ip.is_some_and(|ip| ip.is_loopback());
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Refuses, on every route, what a page of another site has a browser send: requests from another origin, and under a
/// name that may be the page's own, pointed at this machine.
pub(crate) async fn check(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let (name, origin) = (host(request.headers()), origin(request.headers()));
    // Where the server is reached over a network, only its operator knows by which names.
    let all_names = !state.on_loopback && state.names.is_empty();
    let is_own = all_names || is_loopback_name(name) || state.names.iter().any(|own| is_named(name, own));
    let refusal = match origin {
        _ if !is_own => {
            Some((Code::Host, format!("this server was called by the name {name:?}, which is not its own")))
        }
        Origin::Foreign(from) => Some((Code::ForeignOrigin, format!("a page from {from:?} may not use this server"))),
        Origin::None | Origin::Same(_) => None,
    };
    match refusal {
        Some((code, message)) => ApiError::new(code, message).into_response(),
        None => next.run(request).await,
    }
}

/// Whether a `Host` is this name, with or without a port.
fn is_named(host: &str, name: &str) -> bool {
    let without_port = host.rsplit_once(':').map_or(host, |(host, _)| host);
    host.eq_ignore_ascii_case(name) || without_port.eq_ignore_ascii_case(name)
}

/// The request's `Host`; empty when there is none that can be read.
pub fn host(headers: &HeaderMap) -> &str {
    text(headers, header::HOST).unwrap_or_default()
}

/// Which page a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// No browser's page says so.
    None,
    /// A page of this very server, with its scheme.
    Same(&'a str),
    /// Another page, or one that cannot be told.
    Foreign(&'a str),
}

/// Compares `Origin` with `Host`.
pub fn origin(headers: &HeaderMap) -> Origin<'_> {
    if !headers.contains_key(header::ORIGIN) {
        return Origin::None;
    }
    let origin = text(headers, header::ORIGIN).unwrap_or_default();
    match (origin.split_once("://"), host(headers)) {
        (Some((scheme, rest)), host) if !host.is_empty() && rest.eq_ignore_ascii_case(host) => Origin::Same(scheme),
        _ => Origin::Foreign(origin),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:7070", "LOCALHOST:1", "127.0.0.1:7070", "127.0.0.1", "[::1]:7070"] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:7070", "192.168.1.2", "[fe80::1]", "0.0.0.0"] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_the_hosts_own_or_foreign() {
        let told = |host: Option<&'static str>, from: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            host.map(|h| headers.insert(header::HOST, HeaderValue::from_static(h)));
            from.map(|o| headers.insert(header::ORIGIN, HeaderValue::from_static(o)));
            match origin(&headers) {
                Origin::None => "none".to_owned(),
                Origin::Same(scheme) => scheme.to_owned(),
                Origin::Foreign(_) => "foreign".to_owned(),
            }
        };
        assert_eq!(told(Some("here:1"), None), "none");
        assert_eq!(told(Some("here:1"), Some("http://HERE:1")), "http");
        for (host, from) in [
            (Some("here:1"), "http://here:2"),
            (Some("here:1"), "null"),
            (Some("here:1"), ""),
            (None, "http://"),
            (None, "http://here:1"),
        ] {
            assert_eq!(told(host, Some(from)), "foreign", "{host:?} {from}");
        }
    }
}
