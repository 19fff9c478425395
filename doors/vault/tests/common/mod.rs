//! A served vault, and a client that says what it is told to.
#![allow(dead_code, reason = "each test binary uses a part")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt as _;
use ibgib_peer::{Host, HostOptions};
use ibgib_server::{Mount, ServeOptions, Server};
use ibgib_spaces::{MemorySpace, Space};
use ibgib_vault::account::Admission;
use ibgib_vault::{Vault, VaultOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A server with a vault on an address of its own.
pub(crate) struct Served {
    pub(crate) vault: Vault,
    server: Server,
}

impl Served {
    pub(crate) async fn start(space: Arc<dyn Space>, admission: Admission, mail_command: Option<String>) -> Self {
        let vault = Vault::new(Arc::clone(&space), VaultOptions { admission, mail_command, name: None });
        let listen = ([127, 0, 0, 1], 0).into();
        let doors = vec![Mount { door: Arc::new(vault.clone()), listen: Some(listen) }];
        let host = Host::new(space, HostOptions::default());
        let server = Server::start(host, ServeOptions { listen, doors, ..ServeOptions::default() }).await.unwrap();
        Self { vault, server }
    }

    pub(crate) fn url(&self) -> String {
        self.server.doors()[0].1.clone()
    }

    pub(crate) fn main_url(&self) -> String {
        self.server.url()
    }

    pub(crate) async fn stop(self) {
        self.server.shutdown().await;
    }
}

/// A vault in memory, and a client for it.
pub(crate) async fn served(admission: Admission) -> (Served, Client) {
    let served = Served::start(Arc::new(MemorySpace::new("vault")), admission, None).await;
    let client = Client::of(&served.url());
    (served, client)
}

/// Asks one question per connection.
#[derive(Clone)]
pub(crate) struct Client {
    at: String,
}

impl Client {
    pub(crate) fn of(url: &str) -> Self {
        Self { at: url.strip_prefix("http://").unwrap().to_owned() }
    }

    /// Head and body of an answer.
    async fn call(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.at).await.unwrap();
        let (at, length) = (&self.at, body.len());
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: {at}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all((head + body).as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    async fn answer(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (head, body) = self.call(method, path, body).await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Status and text.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.answer(method, &format!("/api/3{path}"), body).await
    }

    pub(crate) async fn head(&self, method: &str, path: &str) -> String {
        self.call(method, path, "").await.0
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.answer("GET", path, "").await.1
    }

    /// Of a whole path.
    pub(crate) async fn ask_whole(&self, method: &str, path: &str) -> (u16, Value) {
        json_of(self.answer(method, path, "").await)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        json_of(self.ask("GET", path, "").await)
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> (u16, Value) {
        json_of(self.ask("POST", path, body).await)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn seed(&self, email: &str) -> (u16, Value) {
        self.get(&format!("/client-salt-seed?email={}", BASE64_STANDARD.encode(email))).await
    }

    /// Logs a device in.
    pub(crate) async fn token(&self, email: &str, password: &str, device: &str) -> String {
        let (status, token) = self.post("/auth/full", &log_in(email, password, device)).await;
        assert_eq!(status, 200, "{token}");
        token["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn wallet(&self, token: &str) -> (u16, Value) {
        self.get(&format!("/wallet?token={token}")).await
    }

    /// A socket, or the status with which it is refused.
    pub(crate) async fn socket(&self, query: &str) -> Result<Socket, u16> {
        match connect_async(format!("ws://{}/api/3/websocket{query}", self.at)).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Client {
    /// A socket for a token that may be ended meanwhile.
    pub(crate) async fn socket_or_not(&self, token: &str) -> Option<Socket> {
        match self.socket(&format!("?token={token}")).await {
            Ok(socket) => Some(socket),
            Err(status) => {
                assert_eq!(status, 401);
                None
            }
        }
    }
}

fn json_of((status, body): (u16, String)) -> (u16, Value) {
    // An error ends with a line break, a success does not.
    assert_eq!(body.ends_with('\n'), status >= 400, "{status}: {body}");
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// The next notice; `None` when the socket is closed, as the original closes it: without a status.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => {
                    assert_eq!(frame, None);
                    return None;
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) fn seed() -> String {
    "ab".repeat(32)
}

pub(crate) fn sign_up(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password, "clientSaltSeed": seed()})
}

pub(crate) fn log_in(email: &str, password: &str, device: &str) -> Value {
    json!({"email": email, "password": password, "deviceId": device})
}

pub(crate) fn put(token: &str, sequence: u64, wallet: &str) -> Value {
    json!({"token": token, "encryptedWallet": wallet, "sequence": sequence, "hmac": format!("h{sequence}")})
}

pub(crate) fn change(email: &str, old: &str, new: &str, sequence: Option<u64>) -> Value {
    let mut body = json!({"email": email, "oldPassword": old, "newPassword": new, "clientSaltSeed": "cd".repeat(32)});
    if let Some(sequence) = sequence {
        body["encryptedWallet"] = format!("w{sequence}").into();
        body["sequence"] = sequence.into();
        body["hmac"] = format!("h{sequence}").into();
    }
    body
}
