//! The frames of the mailbox protocol, version 1: JSON objects over a WebSocket at `/v1`.
//!
//! Clients send [`Command`]s, each with a random `id`; the server acknowledges a command at once, whatever comes of it,
//! and answers with [`Answer`]s. Members that a side does not know are ignored by it. Both Python programs send text
//! frames although their document says binary; both kinds are taken.

use crate::error::PairingError;
use serde_json::{Map, Value, json};

/// Longest frame that is looked at, in bytes. A message body is hex, so a message of 4 MiB needs 8 MiB.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024 + 4096;

/// What a client asks of the server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Shows that the work was done which the welcome demands.
    SubmitPermission {
        /// `hashcash`, or what else the server named.
        method: String,
        /// The stamp.
        stamp: String,
    },
    /// Says which application this connection is for, and which of the two sides this is.
    Bind {
        /// Application id.
        app_id: String,
        /// The side: random, kept over reconnecting.
        side: String,
        /// Name and version of the client.
        client_version: Option<(String, String)>,
    },
    /// Asks for the numbers in use.
    List,
    /// Asks for a free number, which is claimed thereby.
    Allocate,
    /// Takes part in a number and asks for its mailbox.
    Claim {
        /// The number.
        nameplate: String,
    },
    /// Gives the number back.
    Release {
        /// The number, unless it is that of this connection.
        nameplate: Option<String>,
    },
    /// Listens to a mailbox, from its first message on.
    Open {
        /// The mailbox.
        mailbox: String,
    },
    /// Puts a message into the open mailbox.
    Add {
        /// Which message of this side.
        phase: String,
        /// Its bytes in hex.
        body: String,
        /// The sender saves its state and comes back within days: a member of this implementation, which other
        /// servers ignore.
        hold: bool,
    },
    /// Is done with a mailbox.
    Close {
        /// The mailbox, unless it is that of this connection.
        mailbox: Option<String>,
        /// How it went: `happy`, `lonely`, `scary`, `errory`, `unwelcome`.
        mood: Option<String>,
    },
    /// Asks for a `pong` with the same number.
    Ping {
        /// Any number.
        ping: Value,
    },
}

/// A frame that a server received.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The whole frame, for telling it back in an error.
    pub whole: Value,
    /// The client's id for it, for the acknowledgement.
    pub id: Option<Value>,
    /// What it asks, or the words of the error that answers it.
    pub command: Result<Command, &'static str>,
    /// It has no type: then it is not acknowledged.
    pub untyped: bool,
}

fn text(frame: &Map<String, Value>, name: &str) -> Option<String> {
    frame.get(name).and_then(Value::as_str).map(str::to_owned)
}

impl Command {
    /// Reads a client's frame. `None` for what is no JSON object: then the connection has no meaning and is dropped.
    pub fn receive(frame: &str) -> Option<Received> {
        let Ok(Value::Object(object)) = serde_json::from_str(frame) else { return None };
        let id = object.get("id").cloned();
        let kind = object.get("type").and_then(Value::as_str);
        let command = match kind {
            None => Err("missing 'type'"),
            Some(kind) => Self::read(kind, &object),
        };
        Some(Received { id, command, untyped: kind.is_none(), whole: Value::Object(object) })
    }

    fn read(kind: &str, frame: &Map<String, Value>) -> Result<Self, &'static str> {
        let need = |name, why| text(frame, name).ok_or(why);
        Ok(match kind {
            // The document writes both.
            "submit-permission" | "submit-permissions" => Self::SubmitPermission {
                method: need("method", "submit-permission requires 'method'")?,
                stamp: text(frame, "stamp").unwrap_or_default(),
            },
            "bind" => Self::Bind {
                app_id: need("appid", "bind requires 'appid'")?,
                side: need("side", "bind requires 'side'")?,
                client_version: frame.get("client_version").and_then(Value::as_array).and_then(|list| {
                    let at = |n: usize| list.get(n).and_then(Value::as_str).map(str::to_owned);
                    Some((at(0)?, at(1)?))
                }),
            },
            "list" => Self::List,
            "allocate" => Self::Allocate,
            "claim" => Self::Claim { nameplate: need("nameplate", "claim requires 'nameplate'")? },
            "release" => Self::Release { nameplate: text(frame, "nameplate") },
            "open" => Self::Open { mailbox: need("mailbox", "open requires 'mailbox'")? },
            "add" => Self::Add {
                phase: need("phase", "missing 'phase'")?,
                body: need("body", "missing 'body'")?,
                hold: frame.get("hold") == Some(&Value::Bool(true)),
            },
            "close" => Self::Close { mailbox: text(frame, "mailbox"), mood: text(frame, "mood") },
            "ping" => Self::Ping { ping: frame.get("ping").cloned().ok_or("ping requires 'ping'")? },
            _ => return Err("unknown type"),
        })
    }

    /// The frame, under an id of the client's own.
    pub fn frame(&self, id: &str) -> String {
        let mut frame = match self {
            Self::SubmitPermission { method, stamp } => {
                json!({"type": "submit-permission", "method": method, "stamp": stamp})
            }
            Self::Bind { app_id, side, client_version } => {
                let version = client_version.as_ref().map(|(name, version)| json!([name, version]));
                with(json!({"type": "bind", "appid": app_id, "side": side}), "client_version", version)
            }
            Self::List => json!({"type": "list"}),
            Self::Allocate => json!({"type": "allocate"}),
            Self::Claim { nameplate } => json!({"type": "claim", "nameplate": nameplate}),
            Self::Release { nameplate } => {
                with(json!({"type": "release"}), "nameplate", nameplate.clone().map(Value::from))
            }
            Self::Open { mailbox } => json!({"type": "open", "mailbox": mailbox}),
            Self::Add { phase, body, hold } => {
                with(json!({"type": "add", "phase": phase, "body": body}), "hold", hold.then_some(true.into()))
            }
            Self::Close { mailbox, mood } => {
                let frame = with(json!({"type": "close"}), "mailbox", mailbox.clone().map(Value::from));
                with(frame, "mood", mood.clone().map(Value::from))
            }
            Self::Ping { ping } => json!({"type": "ping", "ping": ping}),
        };
        frame["id"] = id.into();
        frame.to_string()
    }
}

/// Sets a member that may be missing.
fn with(mut frame: Value, name: &str, member: Option<Value>) -> Value {
    if let Some(member) = member {
        frame[name] = member;
    }
    frame
}

/// What the server says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// The first frame of every connection.
    Welcome(Welcome),
    /// A command came in; what it asked may still fail.
    Ack {
        /// The client's id for it.
        id: Value,
    },
    /// The numbers in use; empty where the server does not tell.
    Nameplates(Vec<String>),
    /// The number that was free.
    Allocated {
        /// The number.
        nameplate: String,
    },
    /// The mailbox behind a number.
    Claimed {
        /// The mailbox.
        mailbox: String,
    },
    /// The number is given back.
    Released,
    /// A message in the open mailbox: one's own, too, which is the receipt for it.
    Message(Message),
    /// The mailbox is left.
    Closed,
    /// Answers a ping.
    Pong {
        /// The ping's number.
        pong: Value,
    },
    /// A command could not be done; the connection stays open.
    Error {
        /// What is wrong, in words that clients know.
        error: String,
        /// The client's frame.
        orig: Value,
    },
}

/// What a server tells everybody who comes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Welcome {
    /// A notice for people.
    pub motd: Option<String>,
    /// The newest version of the Python command.
    pub current_cli_version: Option<String>,
    /// Nobody is served: the reason. A client that reads it closes as `unwelcome`.
    pub error: Option<String>,
    /// What has to be shown before `bind`: method → its parameters; `None` where nothing is asked.
    pub permission_required: Option<Map<String, Value>>,
    /// Where the server sees the client.
    pub your_address: Option<std::net::SocketAddr>,
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who put it there.
    pub side: String,
    /// Which of that side's messages.
    pub phase: String,
    /// Its bytes in hex.
    pub body: String,
    /// The client's id of the command that brought it.
    pub id: Option<Value>,
    /// When it came in, in seconds since 1970.
    pub server_rx: f64,
}

impl Welcome {
    fn to_json(&self) -> Value {
        let mut out = Value::Object(Map::new());
        for (name, member) in [
            ("motd", self.motd.as_deref()),
            ("current_cli_version", self.current_cli_version.as_deref()),
            ("error", self.error.as_deref()),
        ] {
            out = with(out, name, member.map(Value::from));
        }
        out = with(out, "permission-required", self.permission_required.clone().map(Value::Object));
        let address = self.your_address.map(|address| match address.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => json!({"ipv4": ip.to_string(), "port": address.port()}),
            std::net::IpAddr::V6(ip) => json!({"ipv6": ip.to_string(), "port": address.port()}),
        });
        with(out, "your-address", address)
    }

    fn read(welcome: &Map<String, Value>) -> Self {
        let address = welcome.get("your-address").and_then(Value::as_object).and_then(|you| {
            let ip = text(you, "ipv4").or_else(|| text(you, "ipv6"))?.parse().ok()?;
            let port = you.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok())?;
            Some(std::net::SocketAddr::new(ip, port))
        });
        Self {
            motd: text(welcome, "motd"),
            current_cli_version: text(welcome, "current_cli_version"),
            error: text(welcome, "error"),
            permission_required: welcome.get("permission-required").and_then(Value::as_object).cloned(),
            your_address: address,
        }
    }
}

impl Answer {
    /// The frame, sent at `server_tx` seconds since 1970.
    pub fn frame(&self, server_tx: f64) -> String {
        let mut frame = match self {
            Self::Welcome(welcome) => json!({"type": "welcome", "welcome": welcome.to_json()}),
            Self::Ack { id } => json!({"type": "ack", "id": id}),
            Self::Nameplates(all) => {
                let all: Vec<Value> = all.iter().map(|id| json!({"id": id})).collect();
                json!({"type": "nameplates", "nameplates": all})
            }
            Self::Allocated { nameplate } => json!({"type": "allocated", "nameplate": nameplate}),
            Self::Claimed { mailbox } => json!({"type": "claimed", "mailbox": mailbox}),
            Self::Released => json!({"type": "released"}),
            Self::Message(Message { side, phase, body, id, server_rx }) => json!({
                "type": "message", "side": side, "phase": phase, "body": body, "id": id, "server_rx": server_rx,
            }),
            Self::Closed => json!({"type": "closed"}),
            Self::Pong { pong } => json!({"type": "pong", "pong": pong}),
            Self::Error { error, orig } => json!({"type": "error", "error": error, "orig": orig}),
        };
        frame["server_tx"] = server_tx.into();
        frame.to_string()
    }

    /// Reads a server's frame; `None` for a type that is not known here, which is ignored.
    ///
    /// # Errors
    /// [`PairingError::BadServer`] for what is no frame, or lacks a member.
    pub fn read(frame: &str) -> Result<Option<Self>, PairingError> {
        let bad = |why: &str| PairingError::BadServer(why.to_owned());
        let Ok(Value::Object(object)) = serde_json::from_str(frame) else { return Err(bad("a frame is no object")) };
        let need = |name: &str| text(&object, name).ok_or_else(|| bad(&format!("a frame lacks {name:?}")));
        let member = |name: &str| object.get(name).cloned().unwrap_or_default();
        Ok(Some(match need("type")?.as_str() {
            "welcome" => {
                let welcome = object.get("welcome").and_then(Value::as_object);
                Self::Welcome(Welcome::read(welcome.ok_or_else(|| bad("a welcome without its member"))?))
            }
            "ack" => Self::Ack { id: member("id") },
            "nameplates" => {
                let all = object.get("nameplates").and_then(Value::as_array);
                let all = all.ok_or_else(|| bad("nameplates without a list"))?;
                let id = |n: &Value| n.get("id").and_then(Value::as_str).map(str::to_owned);
                Self::Nameplates(all.iter().filter_map(id).collect())
            }
            "allocated" => Self::Allocated { nameplate: need("nameplate")? },
            "claimed" => Self::Claimed { mailbox: need("mailbox")? },
            "released" => Self::Released,
            "message" => Self::Message(Message {
                side: need("side")?,
                phase: need("phase")?,
                body: need("body")?,
                id: object.get("id").cloned(),
                server_rx: object.get("server_rx").and_then(Value::as_f64).unwrap_or(0.0),
            }),
            "closed" => Self::Closed,
            "pong" => Self::Pong { pong: member("pong") },
            "error" => Self::Error { error: need("error")?, orig: member("orig") },
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_survive_the_wire() {
        let some = |text: &str| Some(text.to_owned());
        let all = [
            Command::SubmitPermission { method: "hashcash".into(), stamp: "1:20:…".into() },
            Command::Bind { app_id: "a".into(), side: "s".into(), client_version: None },
            Command::Bind { app_id: "a".into(), side: "s".into(), client_version: Some(("rust".into(), "1".into())) },
            Command::List,
            Command::Allocate,
            Command::Claim { nameplate: "7".into() },
            Command::Release { nameplate: None },
            Command::Release { nameplate: some("7") },
            Command::Open { mailbox: "m".into() },
            Command::Add { phase: "0".into(), body: "00ff".into(), hold: false },
            Command::Add { phase: "pake".into(), body: "00".into(), hold: true },
            Command::Close { mailbox: some("m"), mood: some("happy") },
            Command::Close { mailbox: None, mood: None },
            Command::Ping { ping: 7.into() },
        ];
        for command in all {
            let got = Command::receive(&command.frame("c0de")).unwrap();
            assert_eq!(got.id, Some("c0de".into()));
            assert_eq!(got.command, Ok(command));
        }
    }

    #[test]
    fn answers_survive_the_wire() {
        let all = [
            Answer::Welcome(Welcome::default()),
            Answer::Welcome(Welcome {
                motd: Some("hello".into()),
                current_cli_version: Some("0.24.0".into()),
                error: Some("closed".into()),
                permission_required: json!({"none": {}}).as_object().cloned(),
                your_address: Some("127.0.0.1:9".parse().unwrap()),
            }),
            Answer::Ack { id: "c0de".into() },
            Answer::Nameplates(vec!["1".into(), "22".into()]),
            Answer::Allocated { nameplate: "7".into() },
            Answer::Claimed { mailbox: "m".into() },
            Answer::Released,
            Answer::Message(Message {
                side: "s".into(),
                phase: "pake".into(),
                body: "00".into(),
                id: Some("1".into()),
                server_rx: 1.5,
            }),
            Answer::Closed,
            Answer::Pong { pong: 7.into() },
            Answer::Error { error: "crowded".into(), orig: json!({"type": "claim"}) },
        ];
        for answer in all {
            assert_eq!(Answer::read(&answer.frame(2.0)), Ok(Some(answer)));
        }
    }

    #[test]
    fn what_lacks_a_member_is_told_in_the_original_words() {
        let told = |frame: &str| Command::receive(frame).unwrap().command.unwrap_err();
        assert_eq!(told("{}"), "missing 'type'");
        assert_eq!(told(r#"{"type":"dance"}"#), "unknown type");
        assert_eq!(told(r#"{"type":"bind"}"#), "bind requires 'appid'");
        assert_eq!(told(r#"{"type":"bind","appid":7,"side":"s"}"#), "bind requires 'appid'");
        assert_eq!(told(r#"{"type":"bind","appid":"a"}"#), "bind requires 'side'");
        assert_eq!(told(r#"{"type":"claim"}"#), "claim requires 'nameplate'");
        assert_eq!(told(r#"{"type":"open"}"#), "open requires 'mailbox'");
        assert_eq!(told(r#"{"type":"add"}"#), "missing 'phase'");
        assert_eq!(told(r#"{"type":"add","phase":"0"}"#), "missing 'body'");
        assert_eq!(told(r#"{"type":"ping"}"#), "ping requires 'ping'");
        assert!(Command::receive("{}").unwrap().untyped);
        for noise in ["", "[]", "7", "{", "\"x\""] {
            assert!(Command::receive(noise).is_none());
            assert!(Answer::read(noise).is_err());
        }
    }

    #[test]
    fn answers_that_are_not_known_are_passed_over() {
        assert_eq!(Answer::read(r#"{"type":"news"}"#), Ok(None));
        assert!(Answer::read(r#"{"type":"claimed"}"#).is_err());
        assert!(Answer::read(r#"{"type":"welcome"}"#).is_err());
    }
}
