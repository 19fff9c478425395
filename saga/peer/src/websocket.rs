//! Receivers behind a URL: HTTP for registration and evolution, a WebSocket for the connection.

use crate::http::{HttpClient, HttpError, is_url};
use crate::link::{Link, QUEUE_MAX, Signs};
use crate::remote::Remote;
use crate::succession::{self, Followed, Leading, Question, Refused};
use crate::tls::{self, Trust};
use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified};
use ibgib_keystone::Dropping;
use ibgib_saga::{Blame, Breach, Code, Encoding, Misuse, Packet, Refusal, SagaError};
use ibgib_spaces::Kind;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use rustls::{ClientConfig, Error as TlsError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

/// Path of the WebSocket endpoint.
pub const SYNC_PATH: &str = "/api/v1/sync";
/// Seconds that a message (or all that is left when a link ends) may take to leave, and a socket to close. A peer in the
/// middle of a message first has to send the rest of it.
const SEND_SECONDS_MAX: u64 = 60;
const CLOSE_SECONDS_MAX: u64 = 30;
/// Bytes of an HTTP answer that are read at most: one node, escaped, or a list of tips.
const ANSWER_BYTES_MAX: usize = 2 * ibgib::json::BYTES_MAX;
/// Bytes of all frames of a keystone, and of one of them.
const KEYSTONE_BYTES_MAX: usize = 64 * 1024 * 1024;
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// What a WebSocket carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A message.
    Packet(Packet),
    /// That who sends it is at work: a Ping frame without content (RFC 6455 §5.5.2).
    Alive,
}

/// A WebSocket of any library, as the pump uses it (`IWebSocketWrapper` of the original: `next` stands for its
/// onMessage and onClose).
#[async_trait]
pub trait WebSocketWrapper: Send {
    /// Sends one message, or a Ping, and flushes it.
    async fn send(&mut self, carried: Carried) -> Result<(), String>;
    /// The next message or Ping, which the library answers; `None` once the socket is closed.
    async fn next(&mut self) -> Option<Result<Carried, String>>;
    /// Closes; calling it again does nothing.
    async fn close(&mut self);
}

/// Turns a WebSocket into a [`Link`]. A task carries the messages; it ends, and the socket is closed, when either
/// side ends.
pub fn link(mut socket: impl WebSocketWrapper + 'static) -> Link {
    let (tx, mut out) = mpsc::channel::<Packet>(QUEUE_MAX);
    let (incoming, rx) = mpsc::channel::<Packet>(QUEUE_MAX);
    let (signs, carried) = Signs::pair();
    tokio::spawn(async move {
        carry(&mut socket, &mut out, &incoming, &carried).await;
        let close = async {
            socket.close().await;
            // Letting go of a socket with unread messages resets it, and the last words said on it (why we refuse,
            // while the peer still sends) would be lost on their way.
            while let Some(Ok(_)) = socket.next().await {}
        };
        // A peer that does not answer the close must not keep the task.
        let _ = tokio::time::timeout(Duration::from_secs(CLOSE_SECONDS_MAX), close).await;
    });
    Link { tx, rx, signs }
}

/// Carries messages both ways. Never waits for one side alone: a link that does not read now may be waiting for its
/// own messages to leave. Of what the peer sends, at most one message is held back meanwhile.
async fn carry(
    socket: &mut impl WebSocketWrapper,
    out: &mut mpsc::Receiver<Packet>,
    incoming: &mpsc::Sender<Packet>,
    signs: &Signs,
) {
    let send_max = Duration::from_secs(SEND_SECONDS_MAX);
    let mut held = None;
    loop {
        tokio::select! {
            carried = leaving(out, signs) => {
                let Some(carried) = carried else { return };
                if !matches!(tokio::time::timeout(send_max, socket.send(carried)).await, Ok(Ok(()))) {
                    return;
                }
            }
            place = incoming.reserve(), if held.is_some() => {
                let (Ok(place), Some(packet)) = (place, held.take()) else { break };
                place.send(packet);
            }
            packet = socket.next(), if held.is_none() => match packet {
                Some(Ok(Carried::Packet(packet))) => held = Some(packet),
                Some(Ok(Carried::Alive)) => signs.give(),
                Some(Err(error)) => {
                    tracing::debug!(%error, "websocket failed");
                    return;
                }
                None => return,
            },
            () = incoming.closed() => break,
        }
    }
    // The link is gone: flush what it had sent.
    let flush = async {
        while let Some(packet) = out.recv().await {
            if socket.send(Carried::Packet(packet)).await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(send_max, flush).await.is_err() {
        tracing::debug!("the peer did not take what was left to send");
    }
}

/// What the link sends next; `None` when it is gone.
async fn leaving(out: &mut mpsc::Receiver<Packet>, signs: &Signs) -> Option<Carried> {
    tokio::select! {
        packet = out.recv() => packet.map(Carried::Packet),
        () = signs.come() => Some(Carried::Alive),
    }
}

#[async_trait]
impl WebSocketWrapper for WebSocketStream<MaybeTlsStream<TcpStream>> {
    async fn send(&mut self, carried: Carried) -> Result<(), String> {
        let message = match carried {
            Carried::Packet(Packet::Text(text)) => Message::text(text),
            Carried::Packet(Packet::Binary(bytes)) => Message::binary(bytes),
            Carried::Alive => Message::Ping(Bytes::new()),
        };
        SinkExt::send(self, message).await.map_err(|e| e.to_string())
    }

    async fn next(&mut self) -> Option<Result<Carried, String>> {
        loop {
            return match StreamExt::next(self).await? {
                Ok(Message::Text(text)) => Some(Ok(Carried::Packet(Packet::Text(text.as_str().to_owned())))),
                Ok(Message::Binary(bytes)) => Some(Ok(Carried::Packet(Packet::Binary(bytes.to_vec())))),
                Ok(Message::Ping(_)) => Some(Ok(Carried::Alive)),
                Ok(Message::Close(_)) => None,
                Ok(_) => continue,
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => None,
                Err(error) => Some(Err(error.to_string())),
            };
        }
    }

    async fn close(&mut self) {
        // Already closed is fine.
        let _ = Self::close(self, None).await;
    }
}

/// Who is told.
#[derive(Clone)]
struct Tell(Arc<dyn Fn(&Followed) + Send + Sync>);

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tell")
    }
}

/// A receiver behind a URL.
#[derive(Clone, Debug)]
pub struct WebSocketRemote {
    base: String,
    http: HttpClient,
    /// For `https://` and `wss://`.
    tls: Option<Arc<ClientConfig>>,
    trust: Trust,
    /// The space that is expected there; another one is refused.
    space: Option<String>,
    /// The keystone that the space there is expected to have; another one is refused.
    keystone: Option<Addr>,
    /// The space that answered.
    met: Arc<OnceLock<String>>,
    /// The number of the newest list of what its owner has dropped, as it told it last.
    dropped: Arc<AtomicU64>,
    /// Where the server stands, if the URL is that of one of its doors.
    at: String,
    leading: Arc<Leading>,
    tell: Option<Tell>,
    message_bytes_max: usize,
}

impl WebSocketRemote {
    /// Reaches the server at `url`: `http://` or `ws://`, or with TLS 1.3 `https://` or `wss://`. Of its certificate the
    /// authorities of this machine decide, or else it is taken the first time ([`Trust::default`]).
    ///
    /// # Errors
    /// `url` when the text is no such URL.
    pub fn new(url: &str, message_bytes_max: usize) -> Result<Self, SagaError> {
        Self::trusting(url, Trust::default(), message_bytes_max)
    }

    /// As [`WebSocketRemote::new`], but `trust` decides about the server's certificate.
    ///
    /// # Errors
    /// `url` when the text is no such URL.
    pub fn trusting(url: &str, trust: Trust, message_bytes_max: usize) -> Result<Self, SagaError> {
        let base = Self::base(url)?;
        let tls = match base.starts_with("https") {
            true => Some(trust.client().map_err(|e| SagaError::defect(format!("TLS: {e}")))?),
            false => None,
        };
        let http = HttpClient::new(tls.clone());
        let (tls, space, keystone, at) = (tls.map(Arc::new), None, None, base.clone());
        let (met, dropped, leading, tell) = (Arc::default(), Arc::default(), Arc::default(), None);
        Ok(Self { base, http, tls, trust, space, keystone, met, dropped, at, leading, tell, message_bytes_max })
    }

    /// The base URL of a server that is called so: what [`WebSocketRemote::url`] answers.
    ///
    /// # Errors
    /// `url` when the text is no such URL.
    pub fn base(url: &str) -> Result<String, SagaError> {
        let bad = || SagaError::from(Misuse::Url(url.to_owned()));
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => "http",
            "https" | "wss" => "https",
            _ => return Err(bad()),
        };
        let rest = rest.trim_end_matches('/');
        if rest.is_empty() || rest.starts_with('/') || rest.contains(char::is_whitespace) {
            return Err(bad());
        }
        let base = format!("{scheme}://{rest}");
        if is_url(&base) { Ok(base) } else { Err(bad()) }
    }

    /// Expects this space behind the URL, as an earlier connection or an invite told it; [`Remote::audience`] refuses
    /// another one.
    #[must_use]
    pub fn expecting(mut self, space: Option<String>) -> Self {
        self.space = space;
        self
    }

    /// Expects the space there to have this keystone, as an invite told it; what another one signs is refused.
    #[must_use]
    pub fn expecting_keystone(mut self, keystone: Option<Addr>) -> Self {
        self.keystone = keystone;
        self
    }

    /// Knows what the server is followed by when its TLS shows another key than the known one: the keystone of its space, as it
    /// was met before ([`known_keystone`](crate::known_keystone)), and the number of the newest succession that was followed
    /// ([`Followed::number`]), 0 when there was none. A key that this keystone has signed for is taken in the place of the known
    /// one.
    #[must_use]
    pub fn knowing(self, keystone: Option<Addr>, seen: u64) -> Self {
        keystone.iter().for_each(|keystone| self.met_keystone(keystone));
        self.leading.has_seen(seen);
        self
    }

    /// The server stands at this URL, of which this remote's is the one of a door.
    ///
    /// # Errors
    /// `url` when the text is no such URL.
    pub fn standing_at(mut self, url: &str) -> Result<Self, SagaError> {
        self.at = Self::base(url)?;
        Ok(self)
    }

    /// Tells whenever the server was followed to another key, before anything is said to it.
    #[must_use]
    pub fn on_followed(mut self, tell: impl Fn(&Followed) + Send + Sync + 'static) -> Self {
        self.tell = Some(Tell(Arc::new(tell)));
        self
    }

    /// To which key the server was followed last, if its TLS has shown another one than the known one; whoever keeps it gives it
    /// to [`Trust::key`] and [`WebSocketRemote::knowing`] next time.
    pub fn followed(&self) -> Option<Followed> {
        self.leading.last()
    }

    /// As [`WebSocketRemote::followed`], but only once: for whoever tells somebody.
    pub fn news_of_key(&self) -> Option<Followed> {
        self.leading.news()
    }

    /// Follows the server to the key that it shows in the place of the known one, if its space's keystone has signed that it may
    /// be. Then whoever has failed may ask again; until then nothing is said that not everybody may hear.
    async fn follow(&self, error: &TlsError) -> Result<(), SagaError> {
        let refused = || tls::failure(&self.base, error);
        let Some(shown) = tls::other_key(error).map(|other| other.shown) else { return Err(refused()) };
        let _one = self.leading.one.lock().await;
        // Others of this remote may have followed meanwhile.
        let Some(known) = self.trust.known().filter(|known| *known != shown) else { return Ok(()) };
        let space = self.space.as_deref().or_else(|| self.met());
        let keystone = self.keystone.as_ref().or_else(|| self.leading.keystone.get());
        let (Some(space), Some(keystone)) = (space, keystone) else {
            tracing::warn!(
                url = self.base,
                "the keystone that could say which key follows the known one is not known here"
            );
            return Err(refused());
        };
        let question = Question { at: &self.at, space, keystone, known, seen: self.leading.seen(), shown };
        let unproven = |why: &str| {
            tracing::warn!(url = self.base, why, "nothing proves that the key that is shown follows the known one");
            refused()
        };
        let number = match question.ask().await {
            Ok(number) => number,
            Err(Refused::Unproven(why)) => return Err(unproven(&why)),
            Err(failed) => {
                let error = match failed {
                    Refused::Answer(status, text) => self.refusal(succession::PATH, status, &text),
                    Refused::Http(error) => self.failed(error, "succession_bytes_max", succession::ANSWER_BYTES_MAX),
                    Refused::Unproven(why) => bad_answer(why),
                };
                // It may be proven in a moment.
                let passes = error.row().is_some_and(|code| code.blame() == Blame::Moment);
                return Err(if passes { error } else { unproven(&error.to_string()) });
            }
        };
        self.trust.go_on_to(shown);
        let followed = Followed { before: known, key: shown, number };
        self.leading.followed(followed);
        tracing::warn!(
            url = self.base,
            before = %known,
            key = %shown,
            "the server has another key; the keystone of its space has signed that it follows the known one"
        );
        self.tell.iter().for_each(|Tell(tell)| tell(&followed));
        Ok(())
    }

    /// The space that answered [`Remote::audience`].
    pub fn met(&self) -> Option<&str> {
        self.met.get().map(String::as_str)
    }

    /// What decides about the server's certificate, and what it saw.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The server's base URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The space that answers, unless another one is known here.
    fn expected(&self, id: &str) -> Result<String, SagaError> {
        let known = self.space.as_deref().unwrap_or_else(|| self.met.get_or_init(|| id.to_owned()));
        if known != id {
            let (known, shown) = (known.to_owned(), id.to_owned());
            return Err(SagaError::PeerChanged { url: self.base.clone(), what: "space", known, shown });
        }
        Ok(self.met.get_or_init(|| id.to_owned()).clone())
    }

    fn unreachable(&self, why: String) -> SagaError {
        SagaError::PeerUnreachable { url: self.base.clone(), why }
    }

    /// What an answer other than the expected one says.
    fn refusal(&self, path: &str, status: u16, text: &str) -> SagaError {
        let value = Value::parse(text, Mode::Strict).unwrap_or(Value::Null);
        let member = |key: &str| value.get("error")?.get(key)?.as_str();
        let Some(code) = member("code") else {
            // Not a space server's words: a proxy's whose server is away, or somebody else's.
            let gateway = matches!(status, 502..=504);
            return match gateway {
                true => self.unreachable(format!("status {status}")),
                false => SagaError::PeerNoServer(format!("status {status} of {}{path}", self.base)),
            };
        };
        let why = Refusal::read(code);
        let about_identity = matches!(why, Refusal::Known(code) if code.blame() == Blame::Identity);
        let message = member("message").unwrap_or_default().to_owned();
        SagaError::PeerRefused { why, message, auth: about_identity || matches!(status, 401 | 403) }
    }

    fn failed(&self, error: HttpError, name: &'static str, limit: usize) -> SagaError {
        match error {
            HttpError::Unreachable(why) => self.unreachable(why),
            HttpError::Tls(error) => tls::failure(&self.base, &error),
            HttpError::TooLarge => SagaError::Limit { name, limit: limit as u64 },
            HttpError::Unwanted(why) => bad_answer(why),
        }
    }

    /// Gets what is at `path`, or posts `body` there; answers the status and the text. What a refusal means is the
    /// caller's to know, who may speak another protocol to the server.
    ///
    /// # Errors
    /// The server is not reachable or not the one that is known, or its answer is too long.
    pub async fn call(&self, path: &str, body: Option<String>) -> Result<(u16, String), SagaError> {
        let url = format!("{}{path}", self.base);
        let answer = loop {
            match self.http.call(&url, body.clone(), ANSWER_BYTES_MAX).await {
                Err(HttpError::Tls(error)) => self.follow(&error).await?,
                answer => break answer,
            }
        };
        let (status, body) = answer.map_err(|error| self.failed(error, "answer_bytes_max", ANSWER_BYTES_MAX))?;
        let text = String::from_utf8(body).map_err(|_| SagaError::PeerMisbehaved {
            breach: Breach::BadAnswer,
            detail: "an answer is not UTF-8".into(),
        })?;
        Ok((status, text))
    }

    async fn get(&self, path: &str) -> Result<Option<String>, SagaError> {
        let (status, text) = self.call(path, None).await?;
        match status {
            200 => Ok(Some(text)),
            _ => match self.refusal(path, status, &text) {
                SagaError::PeerRefused { why: Refusal::Known(Code::NotFound), .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn post(&self, path: &str, body: String) -> Result<(), SagaError> {
        let (status, text) = self.call(path, Some(body)).await?;
        if matches!(status, 200 | 201) { Ok(()) } else { Err(self.refusal(path, status, &text)) }
    }

    /// Opens a WebSocket at a path of this server, offering the subprotocols that are named; messages may have so many bytes.
    /// Doors speak protocols of their own there.
    ///
    /// # Errors
    /// The server is not reachable, is not the one that is trusted, or refuses.
    pub async fn socket(
        &self,
        path: &str,
        protocol: Option<&str>,
        message_bytes_max: usize,
    ) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, SagaError> {
        let url = format!("ws{}{path}", self.base.trim_start_matches("http"));
        let mut request = url.into_client_request().map_err(|e| self.unreachable(e.to_string()))?;
        if let Some(protocol) = protocol {
            let protocol = HeaderValue::from_str(protocol).map_err(|e| SagaError::defect(e.to_string()))?;
            request.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let connected = loop {
            let connector = Some(self.tls.clone().map_or(Connector::Plain, Connector::Rustls));
            let connecting =
                tokio_tungstenite::connect_async_tls_with_config(request.clone(), Some(config), true, connector);
            let connected = tokio::time::timeout(Duration::from_secs(10), connecting).await;
            let failed = if let Ok(Err(error)) = &connected { tls::cause(error).cloned() } else { None };
            match failed {
                Some(error) => self.follow(&error).await?,
                None => break connected,
            }
        };
        match connected {
            Err(_) => Err(SagaError::TimedOut),
            Ok(Err(tungstenite::Error::Http(response))) => {
                let text =
                    response.body().as_ref().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
                Err(self.refusal(path, response.status().as_u16(), &text))
            }
            Ok(Err(error)) => Err(self.unreachable(error.to_string())),
            Ok(Ok((socket, _))) => Ok(socket),
        }
    }

    /// The node at `addr`, if the server has it.
    ///
    /// # Errors
    /// The server is not reachable or refuses.
    pub async fn ibgib(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        let text = self.get(&format!("/api/v1/ibgibs/{}", encode(addr.as_str()))).await?;
        let node = text.map(|text| Verified::parse(&text).map_err(bad_answer)).transpose()?;
        match node {
            Some(node) if node.addr() != addr => Err(bad_answer(format!("{} instead of {addr}", node.addr()))),
            node => Ok(node),
        }
    }

    /// Brings a token that was given for this server: what it grants is the identity's then. The server is asked first
    /// whether it is the one that is expected.
    ///
    /// # Errors
    /// `not_granted`; the server is not reachable, or another one.
    pub async fn accept(&self, identity: &Addr, token: &str) -> Result<(), SagaError> {
        self.audience().await?;
        let body: Map = [("identity", identity.as_str()), ("token", token)].into_iter().collect();
        self.post("/api/v1/grants/accept", Value::Object(body).to_json()).await
    }

    /// Brings frames of an identity of which the last states something about who may do what at the server; answers the
    /// grants that it tells.
    ///
    /// # Errors
    /// `not_granted`; the server is not reachable or refuses.
    pub(crate) async fn post_grants(&self, tjp: &Addr, frames: &[Verified<IbGib>]) -> Result<Vec<Value>, SagaError> {
        let frames: Vec<Value> = frames.iter().map(|f| f.to_value()).collect();
        let body: Map = [("identity", Value::from(tjp)), ("frames", Value::Array(frames))].into_iter().collect();
        let (status, text) = self.call("/api/v1/grants", Some(Value::Object(body).to_json())).await?;
        if status != 200 {
            return Err(self.refusal("/api/v1/grants", status, &text));
        }
        text.lines().map(|line| Value::parse(line, Mode::Strict).map_err(bad_answer)).collect()
    }

    /// Whether the space there has an owner, so that whoever comes needs a grant; else its policy lets in whom it likes, and
    /// a statement about grants says nothing there.
    ///
    /// # Errors
    /// The server is not reachable.
    pub async fn has_owner(&self) -> Result<bool, SagaError> {
        Ok(self.health().await?.get("policy").and_then(Value::as_str) == Some("owner"))
    }

    /// What the server tells of itself, if it works.
    ///
    /// # Errors
    /// The server is not reachable, or cannot serve now.
    pub async fn health(&self) -> Result<Value, SagaError> {
        let text = self.get("/api/v1/health").await?.unwrap_or_default();
        Value::parse(&text, Mode::Strict).map_err(bad_answer)
    }

    /// Tips of timelines whose first frame's ib is `ib`: (timeline, tip).
    ///
    /// # Errors
    /// The server is not reachable or refuses.
    pub async fn tips_of(&self, ib: &str) -> Result<Vec<(Addr, Addr)>, SagaError> {
        let text = self.get(&format!("/api/v1/tips?ib={}", encode(ib))).await?.unwrap_or_default();
        let mut out = Vec::new();
        for line in text.lines() {
            let value = Value::parse(line, Mode::Strict).map_err(bad_answer)?;
            let addr = |key: &str| value.get(key).and_then(Value::as_str).and_then(|t| t.parse::<Addr>().ok());
            match (addr("tjp"), addr("tip")) {
                (Some(tjp), Some(tip)) => out.push((tjp, tip)),
                _ => return Err(bad_answer("a line without tjp or tip")),
            }
        }
        Ok(out)
    }
}

/// What is escaped in a path segment or a query value: all but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}

/// The space that an answer says it comes from.
fn told_space(answer: &Value) -> Option<&str> {
    answer.get("space").and_then(Value::as_str).filter(|id| id.len() == 64)
}

fn told_tip(answer: &Value) -> Result<Addr, SagaError> {
    let tip = answer.get("tip").and_then(Value::as_str).ok_or_else(|| bad_answer("tip is missing"))?;
    tip.parse().map_err(bad_answer)
}

fn bad_answer(why: impl ToString) -> SagaError {
    SagaError::PeerMisbehaved { breach: Breach::BadAnswer, detail: why.to_string() }
}

/// A keystone's frames, one a line, checked as they come: nothing else is taken, however much is sent.
#[derive(Default)]
struct Keystone {
    line: Vec<u8>,
    frames: Vec<Verified<IbGib>>,
}

impl Keystone {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            self.end_line()?;
            bytes = &bytes[end + 1..];
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > FRAME_BYTES_MAX {
            return Err(format!("a keystone's frame has more than {FRAME_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), String> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line).map_err(|e| e.to_string())?;
        let frame = Verified::parse(text).map_err(|e| e.to_string())?;
        if Kind::of(frame.addr()) != Kind::Keystone {
            return Err(format!("{} came among the frames of a keystone", frame.addr()));
        }
        self.frames.push(frame);
        Ok(())
    }
}

#[async_trait]
impl Remote for WebSocketRemote {
    async fn audience(&self) -> Result<String, SagaError> {
        let text = self.get("/api/v1/health").await?.unwrap_or_default();
        let value = Value::parse(&text, Mode::Strict).unwrap_or(Value::Null);
        let id = told_space(&value).ok_or_else(|| SagaError::PeerNoServer(format!("{}/api/v1/health", self.base)))?;
        self.expected(id)
    }

    fn check_keystone(&self, shown: &Addr) -> Result<(), SagaError> {
        match &self.keystone {
            Some(known) if known != shown => Err(SagaError::PeerChanged {
                url: self.base.clone(),
                what: "keystone",
                known: known.to_string(),
                shown: shown.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn met_keystone(&self, keystone: &Addr) {
        // One space has one.
        let _ = self.leading.keystone.set(keystone.clone());
    }

    fn shown(&self) -> &str {
        &self.base
    }

    async fn meet(&self, tjp: &Addr) -> Result<(String, Option<Addr>), SagaError> {
        // A server that knows the identity tells with its tip which space it is.
        let path = format!("/api/v1/tips/{}", encode(tjp.as_str()));
        let (status, text) = self.call(&path, None).await?;
        if status == 200
            && let Ok(value) = Value::parse(&text, Mode::Strict)
            && let Some(id) = told_space(&value)
        {
            let dropped = value.get("dropped").and_then(Value::as_u53).unwrap_or_default();
            self.dropped.store(dropped, Ordering::Relaxed);
            return Ok((self.expected(id)?, Some(told_tip(&value)?)));
        }
        // Whatever it said instead: what is wrong there, the longer way tells.
        Ok((self.audience().await?, self.identity_tip(tjp).await?))
    }

    async fn identity_tip(&self, tjp: &Addr) -> Result<Option<Addr>, SagaError> {
        let Some(text) = self.get(&format!("/api/v1/tips/{}", encode(tjp.as_str()))).await? else { return Ok(None) };
        told_tip(&Value::parse(&text, Mode::Strict).map_err(bad_answer)?).map(Some)
    }

    async fn dropped(&self, seen: u64) -> Result<Option<Dropping>, SagaError> {
        if self.dropped.load(Ordering::Relaxed) <= seen {
            return Ok(None);
        }
        let Some(text) = self.get("/api/v1/dropped").await? else { return Ok(None) };
        let list = Dropping::parse(&Value::parse(text.trim_end(), Mode::Strict).map_err(bad_answer)?);
        list.map(Some).ok_or_else(|| bad_answer("it is no list of what is dropped"))
    }

    async fn keystone_frames(&self, tip: &Addr) -> Result<Vec<Verified<IbGib>>, SagaError> {
        let path = format!("/api/v1/ibgibs/{}?getGraph=true", encode(tip.as_str()));
        let (mut keystone, mut other) = (Keystone::default(), Vec::new());
        let mut take = |status, piece: &[u8]| match status {
            200 => keystone.take(piece),
            // An error's words are few.
            _ if other.len() + piece.len() > FRAME_BYTES_MAX => Err("the answer is too long for an error".into()),
            _ => {
                other.extend_from_slice(piece);
                Ok(())
            }
        };
        let url = format!("{}{path}", self.base);
        let status = loop {
            match self.http.read(&url, None, KEYSTONE_BYTES_MAX, &mut take).await {
                Err(HttpError::Tls(error)) => self.follow(&error).await?,
                status => break status,
            }
        };
        let status = status.map_err(|error| self.failed(error, "keystone_bytes_max", KEYSTONE_BYTES_MAX))?;
        if status == 200 {
            if !keystone.line.is_empty() {
                keystone.end_line().map_err(bad_answer)?;
            }
            return Ok(keystone.frames);
        }
        match self.refusal(&path, status, &String::from_utf8_lossy(&other)) {
            SagaError::PeerRefused { why: Refusal::Known(Code::NotFound), .. } => Ok(Vec::new()),
            error => Err(error),
        }
    }

    async fn node(&self, addr: &Addr) -> Result<Option<Verified<IbGib>>, SagaError> {
        let text = self.get(&format!("/api/v1/ibgibs/{}", encode(addr.as_str()))).await?;
        let node = text.map(|text| Verified::parse(text.trim_end()).map_err(bad_answer)).transpose()?;
        Ok(node.filter(|node| node.addr() == addr))
    }

    async fn post_genesis_keystone(&self, genesis: &Verified<IbGib>) -> Result<(), SagaError> {
        self.post("/api/v1/keystones", genesis.to_json()).await
    }

    async fn post_evolution(
        &self,
        tjp: &Addr,
        frames: &[Verified<IbGib>],
        session: Option<&Verified<IbGib>>,
    ) -> Result<(), SagaError> {
        let frames: Vec<Value> = frames.iter().map(|f| f.to_value()).collect();
        let session = session.map_or(Value::Null, |s| s.to_value());
        let body: Map = [("frames", Value::Array(frames)), ("session", session)].into_iter().collect();
        let path = format!("/api/v1/keystones/{}/frames", encode(tjp.as_str()));
        self.post(&path, Value::Object(body).to_json()).await
    }

    async fn open(&self) -> Result<Link, SagaError> {
        let offered = Encoding::ALL.map(Encoding::subprotocol).join(", ");
        Ok(link(self.socket(SYNC_PATH, Some(&offered), self.message_bytes_max + 1024).await?))
    }
}
