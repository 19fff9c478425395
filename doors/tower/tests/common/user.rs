//! A user of a tower: what it signs, seals, asks and is answered.
#![allow(dead_code, reason = "each test binary uses a part")]

use ibgib_tower::sealed::{Dialect, Locator, seal};
use ibgib_tower::signature::{self, SecretKey, signer};
use ibgib_tower::transaction::{Transaction, Txid};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct User {
    at: String,
    pub(crate) key: SecretKey,
    pub(crate) dialect: Dialect,
}

/// One question on a connection of its own; `None` when nobody answers.
pub(crate) async fn ask(at: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

impl User {
    pub(crate) fn new(url: &str, n: u8, dialect: Dialect) -> Self {
        let at = url.strip_prefix("http://").unwrap().to_owned();
        Self { at, key: SecretKey::from_bytes(&[n; 32]).unwrap(), dialect }
    }

    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let (status, text) = ask(&self.at, "POST", path, &body.to_string()).await?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.try_post(path, &body).await.unwrap()
    }

    pub(crate) async fn register(&self) -> (u16, Value) {
        let id = self.key.id().to_string();
        let body = match self.dialect {
            Dialect::Rust => json!({"user_id": id}),
            Dialect::Python => json!({"public_key": id}),
        };
        self.post("/register", body).await
    }

    pub(crate) fn appointment(&self, dispute: &Txid, answer: &[u8]) -> Value {
        let (locator, sealed) = (Locator::of(dispute, self.dialect), seal(answer, dispute, self.dialect));
        let signature = self.key.sign(&signature::appointment_message(&locator, &sealed, 42));
        let appointment =
            json!({"locator": locator.to_string(), "encrypted_blob": hex::encode(&sealed), "to_self_delay": 42});
        json!({"appointment": appointment, "signature": signature})
    }

    pub(crate) async fn add(&self, (dispute, penalty): &(Transaction, Transaction)) -> (u16, Value) {
        self.post("/add_appointment", self.appointment(&dispute.txid(), penalty.raw())).await
    }

    pub(crate) async fn get(&self, dispute: &Txid) -> (u16, Value) {
        let locator = Locator::of(dispute, self.dialect);
        let signature = self.key.sign(&signature::get_appointment_message(&locator));
        self.post("/get_appointment", json!({"locator": locator.to_string(), "signature": signature})).await
    }

    /// How an appointment stands: `being_watched`, `dispute_responded`, or the status of the answer.
    pub(crate) async fn status(&self, dispute: &Txid) -> String {
        let (status, answer) = self.get(dispute).await;
        answer["status"].as_str().map_or_else(|| status.to_string(), str::to_owned)
    }

    pub(crate) async fn info(&self) -> (u16, Value) {
        let signature = self.key.sign(signature::GET_SUBSCRIPTION_INFO_MESSAGE);
        self.post("/get_subscription_info", json!({"signature": signature})).await
    }

    pub(crate) async fn slots(&self) -> u64 {
        self.info().await.1["available_slots"].as_u64().unwrap()
    }

    /// Who signed the receipt of an appointment.
    pub(crate) fn receipt_signer(&self, request: &Value, answer: &Value) -> Option<String> {
        let start = u32::try_from(answer["start_block"].as_u64()?).ok()?;
        let receipt = signature::appointment_receipt(request["signature"].as_str()?, start, self.dialect)?;
        Some(signer(&receipt, answer["signature"].as_str()?)?.to_string())
    }
}
