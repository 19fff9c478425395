//! What a transport carries: text for control messages, bytes for the lists and nodes of a turn.

/// The WebSocket subprotocol and protocol version that we speak best.
pub const SUBPROTOCOL: &str = Encoding::Blocks.subprotocol();

/// How the lists and nodes of turns travel. Each way is a version of the protocol, with a name of its own; everything
/// else, and all that is signed, is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As compressed blocks without what follows from the rest, or was named before.
    Blocks,
    /// As JSON Lines: the older way.
    Lines,
}

impl Encoding {
    /// Every way, the better ones first.
    pub const ALL: [Self; 2] = [Self::Blocks, Self::Lines];

    /// The WebSocket subprotocol, and what `hello` and `connect_ok` call the version.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Blocks => "ibgib.saga.v3",
            Self::Lines => "ibgib.saga.v1",
        }
    }

    /// The best way among those that a peer names.
    pub fn best<'a>(named: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let named: Vec<&str> = named.into_iter().collect();
        Self::ALL.into_iter().find(|way| named.contains(&way.subprotocol()))
    }
}

/// One encoded message; every transport carries exactly these, the in-process one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A control message: JSON.
    Text(String),
    /// A piece of the turn's stream: one flag byte (1 = the last piece), then bytes. Or, after the byte [`crate::PACKED`], a
    /// block with a question or an answer.
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
