//! The control messages. A packet's text is first an [`Envelope`], of which only the type is known; a machine that
//! does not expect that type refuses it there, before any work is spent on what it holds. [`Envelope::open`] then
//! reads it into a [`Message`], whose members are all there and of their types.

use super::members::{DecodeError, Members};
use super::packet::{Encoding, Packet};
use super::peek::{Peek, Peeked};
use super::turn::Turn;
use super::word::Signature;
use crate::codes::Refusal;
use crate::error::{Breach, IdentityRefusal, SagaError};
use ibgib::{Addr, IbGib, Map, Mode, Value, Verified, strings};

/// Challenges that a receiver may demand on connecting.
pub const DEMANDS_MAX: usize = 64;
/// The member with a receiver's signature.
const SIGNATURE: &str = "signature";
/// Versions that a `hello` may name.
pub const VERSIONS_MAX: usize = 64;

/// The `type` of a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

impl MsgType {
    /// Every type.
    pub const ALL: [Self; 11] = [
        Self::Hello,
        Self::ConnectChallenge,
        Self::ConnectProof,
        Self::ConnectOk,
        Self::Peek,
        Self::PeekOk,
        Self::SyncFrameRequest,
        Self::SyncFrameResponse,
        Self::SyncError,
        Self::AuthFail,
        Self::Bye,
    ];

    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::ConnectChallenge => "connect_challenge",
            Self::ConnectProof => "connect_proof",
            Self::ConnectOk => "connect_ok",
            Self::Peek => "peek",
            Self::PeekOk => "peek_ok",
            Self::SyncFrameRequest => "sync_frame_request",
            Self::SyncFrameResponse => "sync_frame_response",
            Self::SyncError => "sync_error",
            Self::AuthFail => "auth_fail",
            Self::Bye => "bye",
        }
    }
}

/// A control message.
#[derive(Clone, Debug)]
pub enum Message {
    /// Sender: opens the handshake.
    Hello(Hello),
    /// Receiver: what the sender has to sign.
    ConnectChallenge(ConnectChallenge),
    /// Sender: the session identity's frame that solves the challenge.
    ConnectProof(Verified<IbGib>),
    /// Receiver: the connection is an active sync session.
    ConnectOk(ConnectOk),
    /// Sender: asks for knowledge; moves nothing.
    Peek(Peek),
    /// Receiver: a page of the answer to a peek.
    PeekOk(Peeked),
    /// Sender: a turn; its stream follows.
    SyncFrameRequest(Box<TurnRequest>),
    /// Receiver: the answering turn; its stream follows.
    SyncFrameResponse(Box<TurnAnswer>),
    /// Either: the saga failed. The sender of it closes the connection.
    SyncError(Failure),
    /// Receiver: refused before or while identity was proven. The sender of it closes the connection.
    AuthFail(Failure),
    /// Either: the conversation is over.
    Bye,
}

/// Opens the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The newest frame of the session identity that will be proven; `None` to sync without identity.
    pub session: Option<Addr>,
    /// The protocol versions that the sender speaks.
    pub versions: Vec<String>,
    /// The sender reads packed answers ([`crate::PACKED`]).
    pub reads_packed: bool,
}

/// What the sender has to sign, once, on this connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectChallenge {
    /// The target of the claim to sign.
    pub challenge_uuid: String,
    /// Ids of the challenges that must be solved: 1 to [`DEMANDS_MAX`].
    pub demanded: Vec<String>,
    /// Milliseconds that the receiver waits for the proof.
    pub expires_ms: u64,
}

/// A turn of the sender.
#[derive(Clone, Debug)]
pub struct TurnRequest {
    /// The turn.
    pub turn: Turn,
    /// The session identity's frame whose claim targets the turn's context; there whenever the connection has an
    /// identity.
    pub signed: Option<Verified<IbGib>>,
}

/// The connection is an active sync session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOk {
    /// How lists and nodes travel in it.
    pub encoding: Encoding,
    /// The receiver reads packed questions ([`crate::PACKED`]).
    pub reads_packed: bool,
    /// The receiver's signature; there whenever the connection has an identity.
    pub signature: Option<Signature>,
}

/// A turn of the receiver.
#[derive(Clone, Debug)]
pub struct TurnAnswer {
    /// The turn.
    pub turn: Turn,
    /// The receiver's signature; there whenever the connection has an identity.
    pub signature: Option<Signature>,
}

/// Why the peer ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its stable code.
    pub code: String,
    /// The same in words.
    pub message: String,
}

impl Failure {
    /// What an error looks like on the wire.
    pub fn of(error: &SagaError) -> Self {
        Self { code: error.code().to_owned(), message: error.to_string() }
    }

    fn members(&self) -> [(&'static str, Value); 2] {
        [("code", self.code.as_str().into()), ("message", self.message.as_str().into())]
    }

    fn read(members: Members<'_>) -> Result<Self, DecodeError> {
        Ok(Self { code: members.text("code")?.to_owned(), message: members.text("message")?.to_owned() })
    }

    /// The error that it means for who gets it. `auth`: it came as `auth_fail`.
    pub fn into_error(self, auth: bool) -> SagaError {
        SagaError::PeerRefused { why: Refusal::read(&self.code), message: self.message, auth }
    }
}

impl Message {
    /// Its type.
    pub fn kind(&self) -> MsgType {
        match self {
            Self::Hello(_) => MsgType::Hello,
            Self::ConnectChallenge(_) => MsgType::ConnectChallenge,
            Self::ConnectProof(_) => MsgType::ConnectProof,
            Self::ConnectOk(_) => MsgType::ConnectOk,
            Self::Peek(_) => MsgType::Peek,
            Self::PeekOk(_) => MsgType::PeekOk,
            Self::SyncFrameRequest(_) => MsgType::SyncFrameRequest,
            Self::SyncFrameResponse(_) => MsgType::SyncFrameResponse,
            Self::SyncError(_) => MsgType::SyncError,
            Self::AuthFail(_) => MsgType::AuthFail,
            Self::Bye => MsgType::Bye,
        }
    }

    /// Encodes.
    pub fn packet(&self) -> Packet {
        self.envelope().packet()
    }

    fn envelope(&self) -> Envelope {
        let kind = self.kind();
        match self {
            Self::Hello(hello) => Envelope::new(
                kind,
                [
                    ("session", hello.session.as_ref().map_or(Value::Null, Value::from)),
                    ("versions", strings(hello.versions.iter().map(String::as_str))),
                    ("features", features(hello.reads_packed)),
                ],
            ),
            Self::ConnectChallenge(challenge) => Envelope::new(
                kind,
                [
                    ("challengeUuid", challenge.challenge_uuid.as_str().into()),
                    ("demandedIds", strings(challenge.demanded.iter().map(String::as_str))),
                    ("expiresMs", Value::integer(challenge.expires_ms)),
                ],
            ),
            Self::ConnectProof(proof) => Envelope::new(kind, [("proof", proof.to_value())]),
            Self::ConnectOk(ConnectOk { encoding, reads_packed, signature }) => {
                let members = [("version", encoding.subprotocol().into()), ("features", features(*reads_packed))];
                Envelope::new(kind, members).signed(signature.as_ref())
            }
            Self::Peek(peek) => Envelope { kind, body: peek.members().into_iter().collect() },
            Self::PeekOk(page) => Envelope { kind, body: page.members().into_iter().collect() },
            Self::SyncFrameRequest(request) => {
                let mut envelope = Envelope::new(kind, request.turn.members());
                if let Some(signed) = &request.signed {
                    envelope.body.insert("signedSessionIdentity", signed.to_value());
                }
                envelope
            }
            Self::SyncFrameResponse(answer) => {
                Envelope::new(kind, answer.turn.members()).signed(answer.signature.as_ref())
            }
            Self::SyncError(failure) | Self::AuthFail(failure) => Envelope::new(kind, failure.members()),
            Self::Bye => Envelope::new(kind, []),
        }
    }
}

/// A control message of which only the type was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    kind: MsgType,
    /// All members but `type`, as they came.
    body: Map,
}

impl Envelope {
    /// One with these members, whatever they are: for those who test or watch a wire. Machines send [`Message`]s.
    pub fn new<const N: usize>(kind: MsgType, members: [(&str, Value); N]) -> Self {
        Self { kind, body: members.into_iter().collect() }
    }

    /// With the receiver's signature, if it has one.
    fn signed(mut self, signature: Option<&Signature>) -> Self {
        if let Some(signature) = signature {
            self.body.insert(SIGNATURE, signature.to_value());
        }
        self
    }

    /// Its type.
    pub fn kind(&self) -> MsgType {
        self.kind
    }

    /// Reads a packet's text as far as its type.
    ///
    /// # Errors
    /// [`SagaError::PeerMisbehaved`] when it is not a JSON object, or of no known type.
    pub fn parse(text: &str) -> Result<Self, SagaError> {
        let bad = |why: String| SagaError::misbehaved(Breach::BadMessage, why);
        let Value::Object(mut body) = Value::parse(text, Mode::Strict).map_err(|e| bad(e.to_string()))? else {
            return Err(bad("not an object".into()));
        };
        let name = body.remove("type");
        let name = name.as_ref().and_then(Value::as_str).unwrap_or("");
        match MsgType::ALL.into_iter().find(|t| t.as_str() == name) {
            Some(kind) => Ok(Self { kind, body }),
            None => Err(bad(format!("unknown type {name:?}"))),
        }
    }

    /// Encodes.
    pub fn packet(&self) -> Packet {
        let mut all: Map = [("type", self.kind.as_str())].into_iter().collect();
        for (name, value) in self.body.iter() {
            all.insert(name, value.clone());
        }
        Packet::Text(Value::Object(all).to_json())
    }

    /// The address of the session frame that the message brings as its signature; unchecked, for displays.
    pub fn signer(&self) -> Option<String> {
        let frame = self.body.get("signedSessionIdentity").or_else(|| self.body.get("proof"))?;
        let text = |name: &str| frame.get(name).and_then(Value::as_str);
        Some(format!("{}^{}", text("ib")?, text("gib")?))
    }

    /// Reads all members.
    ///
    /// # Errors
    /// [`SagaError::PeerMisbehaved`] or, of the frames that prove identity, [`SagaError::PeerIdentity`]; each names the
    /// member.
    pub fn open(&self) -> Result<Message, SagaError> {
        let members = Members { of: self.kind.as_str(), map: &self.body };
        let frame = |member| members.node(member).map_err(|e| IdentityRefusal::BadFrame(e.to_string()).into());
        let turn = || Turn::read(members).map_err(|e| SagaError::misbehaved(Breach::BadTurn, e.join("; ")));
        let message = |e: DecodeError| SagaError::misbehaved(Breach::BadMessage, e.to_string());
        let peek = |e: DecodeError| SagaError::misbehaved(Breach::BadPeek, e.to_string());
        match self.kind {
            MsgType::Hello => Hello::read(members).map(Message::Hello).map_err(message),
            MsgType::ConnectChallenge => {
                ConnectChallenge::read(members).map(Message::ConnectChallenge).map_err(message)
            }
            MsgType::ConnectProof => frame("proof").map(Message::ConnectProof),
            MsgType::ConnectOk => {
                let version = members.text("version").map_err(message)?;
                let unknown = || SagaError::PeerIncompatible(format!("it speaks {version}, which was not offered"));
                let encoding = Encoding::best([version]).ok_or_else(unknown)?;
                let signature = Signature::read(members, SIGNATURE).map_err(message)?;
                Ok(Message::ConnectOk(ConnectOk { encoding, reads_packed: reads_packed(members), signature }))
            }
            MsgType::Peek => Peek::read(members).map(Message::Peek).map_err(peek),
            MsgType::PeekOk => Peeked::read(members).map(Message::PeekOk).map_err(peek),
            MsgType::SyncFrameRequest => {
                let turn = turn()?;
                let signed =
                    members.has("signedSessionIdentity").then(|| frame("signedSessionIdentity")).transpose()?;
                Ok(Message::SyncFrameRequest(Box::new(TurnRequest { turn, signed })))
            }
            MsgType::SyncFrameResponse => {
                let (turn, signature) = (turn()?, Signature::read(members, SIGNATURE).map_err(message)?);
                Ok(Message::SyncFrameResponse(Box::new(TurnAnswer { turn, signature })))
            }
            MsgType::SyncError => Failure::read(members).map(Message::SyncError).map_err(message),
            MsgType::AuthFail => Failure::read(members).map(Message::AuthFail).map_err(message),
            MsgType::Bye => Ok(Message::Bye),
        }
    }
}

impl Hello {
    fn read(members: Members<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            session: members.addr_if_any("session")?,
            versions: members.texts("versions", 0..=VERSIONS_MAX)?,
            reads_packed: reads_packed(members),
        })
    }
}

impl ConnectChallenge {
    fn read(members: Members<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            challenge_uuid: members.text("challengeUuid")?.to_owned(),
            demanded: members.texts("demandedIds", 1..=DEMANDS_MAX)?,
            expires_ms: members.count("expiresMs")?,
        })
    }
}

/// What `hello` and `connect_ok` tell of what somebody can.
fn features(reads_packed: bool) -> Value {
    let packed = reads_packed.then_some(PACKED_FEATURE);
    Value::Object(["peek"].into_iter().chain(packed).map(|name| (name, true)).collect())
}

/// Nobody has to know a feature: whatever else stands there is none.
fn reads_packed(members: Members<'_>) -> bool {
    let features = members.map.get("features").and_then(Value::as_object);
    features.and_then(|features| features.get(PACKED_FEATURE)).and_then(Value::as_bool) == Some(true)
}

const PACKED_FEATURE: &str = "packed";

#[cfg(test)]
mod tests;
