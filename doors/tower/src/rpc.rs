//! The JSON-RPC of a Bitcoin node, over HTTP: one question at a time, over a connection that is kept.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long connecting may take, and a whole question with its answer.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const CALL_MAX: Duration = Duration::from_secs(30);
/// The ids of a full block's transactions take less than 1 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a node is, and how it knows us.
#[derive(Clone)]
pub struct NodeAddress {
    url: Uri,
    login: Login,
}

#[derive(Clone)]
enum Login {
    None,
    /// `USER:PASS`.
    Fixed(Zeroizing<String>),
    /// A file that the node writes anew at each start.
    Cookie(PathBuf),
}

impl fmt::Debug for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeAddress").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A text that says no address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no address of a Bitcoin node: {0}")]
pub struct NoNodeAddress(&'static str);

impl NodeAddress {
    /// Reads `http://USER:PASS@HOST:PORT`, or without login when there is a cookie file.
    ///
    /// # Errors
    /// [`NoNodeAddress`]; the text is not repeated, since it holds a password.
    pub fn new(url: &str, cookie: Option<PathBuf>) -> Result<Self, NoNodeAddress> {
        let rest = url.strip_prefix("http://").ok_or(NoNodeAddress("it has to begin with http://"))?;
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let login = match (login, cookie) {
            (Some(_), Some(_)) => return Err(NoNodeAddress("it has a password, and there is a cookie file, too")),
            (Some(login), None) if login.contains(':') => Login::Fixed(Zeroizing::new(unescaped(login)?)),
            (Some(_), None) => return Err(NoNodeAddress("what stands before the @ is no USER:PASS")),
            (None, Some(file)) => Login::Cookie(file),
            (None, None) => Login::None,
        };
        let url: Uri = format!("http://{rest}").parse().map_err(|_| NoNodeAddress("it is no URL"))?;
        if url.host().is_none_or(str::is_empty) || url.port_u16().is_none() {
            return Err(NoNodeAddress("it needs HOST:PORT"));
        }
        Ok(Self { url, login })
    }
}

/// Takes `%40` and the like back to the letters that they stand for.
fn unescaped(text: &str) -> Result<String, NoNodeAddress> {
    let bad = || NoNodeAddress("its USER:PASS has a % without two hex digits behind it");
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            bytes.extend(hex::decode(digits).map_err(|_| bad())?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// Why a node did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RpcError {
    /// It is away, starts, or is too busy: later it may answer.
    #[error("the Bitcoin node cannot be reached: {0}")]
    Unreachable(String),
    /// It does not know us.
    #[error("the Bitcoin node refuses the user or the password")]
    Login,
    /// What answers there is no node that this tower understands.
    #[error("no Bitcoin node answers there: {0}")]
    NoNode(String),
    /// The server's own space, where timelines are the feed.
    #[error("the server's space fails: {0}")]
    Space(String),
    /// It refuses what was asked.
    #[error("the Bitcoin node refuses: {message} ({code})")]
    Refused {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
}

/// The node starts, and will answer later.
const IN_WARMUP: i64 = -28;

/// A client.
pub(crate) struct Rpc {
    address: NodeAddress,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Rpc {
    pub(crate) fn new(address: NodeAddress) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        // A node closes what is idle for 30 seconds.
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(15));
        Self { address, client: builder.build(connector) }
    }

    fn login(&self) -> Result<Option<Zeroizing<String>>, RpcError> {
        match &self.address.login {
            Login::None => Ok(None),
            Login::Fixed(login) => Ok(Some(login.clone())),
            // It is there once the node has started.
            Login::Cookie(file) => match std::fs::read_to_string(file) {
                Ok(text) => Ok(Some(Zeroizing::new(text.trim_end().to_owned()))),
                Err(error) => Err(RpcError::Unreachable(format!("its cookie file {}: {error}", file.display()))),
            },
        }
    }

    pub(crate) async fn call(&self, method: &str, parameters: Value) -> Result<Value, RpcError> {
        let asked = tokio::time::timeout(CALL_MAX, self.ask(method, parameters)).await;
        asked.unwrap_or_else(|_| Err(RpcError::Unreachable("it does not answer in time".into())))
    }

    async fn ask(&self, method: &str, parameters: Value) -> Result<Value, RpcError> {
        let unreachable = |e: &dyn std::error::Error| RpcError::Unreachable(innermost(e));
        let body = json!({"jsonrpc": "1.0", "id": "tower", "method": method, "params": parameters}).to_string();
        let mut request = Request::post(self.address.url.clone()).header(header::CONTENT_TYPE, "application/json");
        if let Some(login) = self.login()? {
            request = request.header(header::AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(&*login)));
        }
        let request = request.body(Full::from(body)).map_err(|e| unreachable(&e))?;
        let response = self.client.request(request).await.map_err(|e| unreachable(&e))?;
        let status = response.status();
        let read = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = read.map_err(|e| RpcError::Unreachable(e.to_string()))?.to_bytes();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(RpcError::Login),
            // Its queue is full.
            StatusCode::SERVICE_UNAVAILABLE => return Err(RpcError::Unreachable("it is too busy".into())),
            _ => {}
        }
        let mut answer: Value =
            serde_json::from_slice(&bytes).map_err(|_| RpcError::NoNode(format!("{status}, and no JSON")))?;
        match answer.get("error") {
            None | Some(Value::Null) => {}
            Some(error) => {
                let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
                let message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
                return Err(match code {
                    IN_WARMUP => RpcError::Unreachable(message),
                    _ => RpcError::Refused { code, message },
                });
            }
        }
        let result = answer.get_mut("result").map(Value::take);
        result.ok_or_else(|| RpcError::NoNode("its answer has no result".into()))
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_who() {
        let login = |url: &str| match NodeAddress::new(url, None).unwrap().login {
            Login::Fixed(login) => login.to_string(),
            _ => String::new(),
        };
        assert_eq!(login("http://bob:se%40cret%3a@127.0.0.1:8332"), "bob:se@cret:");
        assert_eq!(login("http://bob:a@b@127.0.0.1:8332/"), "bob:a@b");
        assert_eq!(login("http://127.0.0.1:8332"), "");
        for bad in ["", "https://a:b@c:1", "http://", "http://host", "http://bob@host:1", "http://a:%4@host:1"] {
            let error = NodeAddress::new(bad, None).unwrap_err();
            assert!(!error.to_string().contains("bob"), "{error}");
        }
        assert!(NodeAddress::new("http://a:b@host:1", Some("cookie".into())).is_err());
        let shown = format!("{:?}", NodeAddress::new("http://bob:secret@host:1", None).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
