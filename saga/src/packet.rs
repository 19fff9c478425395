//! Messages on the wire: JSON text for control, binary for the lists and nodes of a turn.

use crate::codes::Refusal;
use crate::error::{Breach, SagaError};
use ibgib::{Map, Mode, Value, object};

/// The WebSocket subprotocol and protocol version that we speak.
pub const SUBPROTOCOL: &str = "ibgib.saga.v1";

/// One encoded message; every transport carries exactly these, the in-process one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Control.
    Text(String),
    /// A piece of the turn's stream: one flag byte (1 = the last piece), then bytes.
    Binary(Vec<u8>),
}

impl Packet {
    /// Bytes of the encoded message.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(t) => t.len(),
            Self::Binary(b) => b.len(),
        }
    }

    /// Whether the message is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The `type` of a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MsgType {
    /// Sender: opens the handshake.
    Hello,
    /// Receiver: what the sender has to sign.
    ConnectChallenge,
    /// Sender: the signed session identity.
    ConnectProof,
    /// Receiver: the connection is an active sync session.
    ConnectOk,
    /// Sender: asks for knowledge; moves nothing.
    Peek,
    /// Receiver: answers a peek.
    PeekOk,
    /// Sender: a turn.
    SyncFrameRequest,
    /// Receiver: the answering turn.
    SyncFrameResponse,
    /// Either: the saga failed.
    SyncError,
    /// Receiver: identity refused.
    AuthFail,
    /// Either: the conversation is over.
    Bye,
}

const NAMES: [(MsgType, &str); 11] = [
    (MsgType::Hello, "hello"),
    (MsgType::ConnectChallenge, "connect_challenge"),
    (MsgType::ConnectProof, "connect_proof"),
    (MsgType::ConnectOk, "connect_ok"),
    (MsgType::Peek, "peek"),
    (MsgType::PeekOk, "peek_ok"),
    (MsgType::SyncFrameRequest, "sync_frame_request"),
    (MsgType::SyncFrameResponse, "sync_frame_response"),
    (MsgType::SyncError, "sync_error"),
    (MsgType::AuthFail, "auth_fail"),
    (MsgType::Bye, "bye"),
];

impl MsgType {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(t, _)| *t == self).map_or("", |(_, n)| n)
    }
}

/// A decoded control message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its type.
    pub kind: MsgType,
    /// All its members.
    pub body: Map,
}

impl Message {
    /// A message with these members besides `type`.
    pub fn new<const N: usize>(kind: MsgType, members: [(&str, Value); N]) -> Self {
        let mut body = Map::new();
        body.insert("type", kind.as_str());
        for (k, v) in members {
            body.insert(k, v);
        }
        Self { kind, body }
    }

    /// An error message, `auth_fail` or `sync_error`.
    pub fn error(kind: MsgType, error: &SagaError) -> Self {
        Self::new(kind, [("code", error.code().into()), ("message", error.to_string().into())])
    }

    /// Encodes.
    pub fn packet(self) -> Packet {
        Packet::Text(Value::Object(self.body).to_json())
    }

    /// Decodes control text.
    ///
    /// # Errors
    /// [`SagaError::PeerMisbehaved`] when it is not JSON or of unknown type.
    pub fn decode(text: &str) -> Result<Self, SagaError> {
        let value =
            Value::parse(text, Mode::Strict).map_err(|e| SagaError::misbehaved(Breach::BadMessage, e.to_string()))?;
        let Value::Object(body) = value else {
            return Err(SagaError::misbehaved(Breach::BadMessage, "not an object"));
        };
        let name = body.get("type").and_then(Value::as_str).unwrap_or("");
        let Some((kind, _)) = NAMES.iter().find(|(_, n)| *n == name) else {
            return Err(SagaError::misbehaved(Breach::BadMessage, format!("unknown type {name:?}")));
        };
        Ok(Self { kind: *kind, body })
    }

    /// A text member that must be there.
    ///
    /// # Errors
    /// [`SagaError::PeerMisbehaved`].
    pub fn text(&self, name: &str) -> Result<&str, SagaError> {
        self.body
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| SagaError::misbehaved(Breach::BadMessage, format!("{}: {name} missing", self.kind.as_str())))
    }

    /// The address of the session frame that the message brings as its signature; unchecked, for displays.
    pub fn signer(&self) -> Option<String> {
        let frame = self.body.get("signedSessionIdentity").or_else(|| self.body.get("proof"))?;
        let text = |name: &str| frame.get(name).and_then(Value::as_str);
        Some(format!("{}^{}", text("ib")?, text("gib")?))
    }

    /// What an `auth_fail` or `sync_error` says.
    pub fn as_refusal(&self) -> SagaError {
        let text = |name: &str| self.body.get(name).and_then(Value::as_str).unwrap_or("");
        SagaError::PeerRefused {
            why: Refusal::read(text("code")),
            message: text("message").to_owned(),
            auth: self.kind == MsgType::AuthFail,
        }
    }
}

/// Bytes of a text as JSON prints it, quotes included.
pub(crate) fn printed(text: &str) -> usize {
    let escaped = |b: u8| match b {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

/// `{...}` of features told in `hello`; unknown ones are ignored.
pub fn features() -> Value {
    object([("peek", true.into())])
}
