//! What a transport carries: text for control messages, bytes for the lists and nodes of a turn.

/// The WebSocket subprotocol and protocol version that we speak.
pub const SUBPROTOCOL: &str = "ibgib.saga.v1";

/// One encoded message; every transport carries exactly these, the in-process one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A control message: JSON.
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

/// Bytes of a text as JSON prints it, quotes included.
pub(crate) fn printed(text: &str) -> usize {
    let escaped = |b: u8| match b {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}
