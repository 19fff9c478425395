//! The HTTP client for what a remote asks outside a connection. It speaks HTTP/1.1, plain or over TLS, keeps idle
//! connections for the next question, follows no redirects and uses no proxy.

use crate::tls;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, Error as TlsError};
use std::error::Error;
use std::time::Duration;

/// How long connecting may take, and a whole question with its answer.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const CALL_MAX: Duration = Duration::from_secs(120);
/// How long an idle connection is kept: less than after what a server closes it (`header_ms_max`), or a question would be sent
/// on one that is being closed, and nobody would know whether it was heard.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Asks servers; clones share their connections.
#[derive(Clone, Debug)]
pub(crate) enum HttpClient {
    /// To a URL with `http://`.
    Plain(Client<HttpConnector, Full<Bytes>>),
    /// To a URL with `https://`.
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why there is no answer.
pub(crate) enum HttpError {
    /// The server cannot be reached or went away; the innermost cause.
    Unreachable(String),
    /// TLS did not come to be, or broke.
    Tls(TlsError),
    /// The answer is longer than the limit.
    TooLarge,
    /// The answer was given up in the middle, for this reason.
    Unwanted(String),
}

impl HttpClient {
    /// A client for `http://`, or with the settings of TLS for `https://`.
    pub(crate) fn new(tls: Option<ClientConfig>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        connector.enforce_http(tls.is_none());
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new());
        builder.pool_idle_timeout(IDLE_MAX);
        match tls {
            None => Self::Plain(builder.build(connector)),
            Some(tls) => {
                let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
                Self::Tls(builder.build(https.wrap_connector(connector)))
            }
        }
    }

    /// Gets, or with a body posts JSON; answers status and body, of which at most `bytes_max` are read.
    pub(crate) async fn call(
        &self,
        url: &str,
        body: Option<String>,
        bytes_max: usize,
    ) -> Result<(u16, Vec<u8>), HttpError> {
        let mut bytes = Vec::new();
        let take = |_, piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        let status = self.read(url, body, bytes_max, take).await?;
        Ok((status, bytes))
    }

    /// As [`HttpClient::call`], but the status and each piece of the body are given to `take` as they come; what `take`
    /// does not want ends the answer.
    pub(crate) async fn read(
        &self,
        url: &str,
        body: Option<String>,
        bytes_max: usize,
        mut take: impl FnMut(u16, &[u8]) -> Result<(), String> + Send,
    ) -> Result<u16, HttpError> {
        let mut request = Request::builder().uri(url).header(header::ACCEPT, "*/*");
        if body.is_some() {
            request = request.method(Method::POST).header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::from(body.unwrap_or_default())).map_err(|e| failed(&e))?;
        let answer = async {
            let response = match self {
                Self::Plain(client) => client.request(request).await,
                Self::Tls(client) => client.request(request).await,
            };
            let response = response.map_err(|e| failed(&e))?;
            let status = response.status().as_u16();
            let (mut body, mut read) = (response.into_body(), 0);
            while let Some(frame) = body.frame().await {
                // Trailers say nothing that is asked here.
                let Ok(data) = frame.map_err(|e| failed(&e))?.into_data() else { continue };
                read += data.len();
                if read > bytes_max {
                    return Err(HttpError::TooLarge);
                }
                take(status, &data).map_err(HttpError::Unwanted)?;
            }
            Ok(status)
        };
        let late = |_| HttpError::Unreachable(format!("no answer within {} seconds", CALL_MAX.as_secs()));
        tokio::time::timeout(CALL_MAX, answer).await.map_err(late)?
    }
}

/// Whether the text is the URL of a server: scheme, host, and a port if any that can be one.
pub(crate) fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(_), Some(authority)) = (uri.scheme(), uri.authority()) else { return false };
    let after_host = authority.as_str().rsplit(['@', ']']).next().unwrap_or_default();
    !authority.host().is_empty() && (!after_host.contains(':') || authority.port_u16().is_some())
}

fn failed(error: &(dyn Error + 'static)) -> HttpError {
    match tls::cause(error) {
        Some(tls) => HttpError::Tls(tls.clone()),
        None => HttpError::Unreachable(innermost(error)),
    }
}

/// The innermost cause, which says what happened rather than that something did.
fn innermost(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers() {
        let good =
            ["http://a", "http://127.0.0.1:7070", "http://[::1]:80", "http://[::1]", "http://a.b/c", "http://a@b:1"];
        good.into_iter().for_each(|url| assert!(is_url(url), "{url}"));
        let bad = ["http://", "http://:80", "http://a:b", "http://a:70000", "http://a b", "a", "/a", ""];
        bad.into_iter().for_each(|url| assert!(!is_url(url), "{url}"));
    }
}
