//! Bulk data beside the mailbox: handshakes and records of a transit connection, and the relay that joins two.
//!
//! Both devices derive a transit key from the wormhole's, try to reach each other directly and through a relay, and prove
//! on each connection that they have the key; the sender picks the first that works. What then travels are records, each
//! sealed under a counter: one that is lost, repeated, reordered or changed ends the connection.

use crate::error::PairingError;
use crate::key::SealKey;
use hkdf::Hkdf;
use sha2::Sha256;
use std::collections::VecDeque;
use zeroize::Zeroizing;

/// Bytes of a record's contents that are taken at most: the original sends pieces of 16 KiB to 64 KiB.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What stands before a sealed record: its length.
const LENGTH_BYTES: usize = 4;
/// Nonce and tag of a sealed record.
const SEAL_BYTES: usize = 24 + 16;

/// Which end of a transit connection this is. The sender of the file is the sender, whoever opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has the data, and picks the connection.
    Sender,
    /// Wants the data.
    Receiver,
}

impl Role {
    fn other(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

/// The key of one transfer: `Wormhole::derive_key("APPID/transit-key", 32)`.
#[derive(Clone)]
pub struct TransitKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for TransitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransitKey(…)")
    }
}

impl TransitKey {
    /// Takes the 32 bytes over.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    fn derive(&self, purpose: &str) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![0; 32]);
        let hkdf = Hkdf::<Sha256>::new(None, &self.0);
        hkdf.expand(purpose.as_bytes(), &mut out).expect("HKDF-SHA256 gives 32 bytes");
        out
    }

    /// What `role` says first on every connection.
    fn greeting(&self, role: Role) -> Vec<u8> {
        let (name, purpose) = match role {
            Role::Sender => ("sender", "transit_sender"),
            Role::Receiver => ("receiver", "transit_receiver"),
        };
        format!("transit {name} {} ready\n\n", hex::encode(&*self.derive(purpose))).into_bytes()
    }

    /// What is said to a relay before anything else; `side` is 16 hex digits, another for each device.
    pub fn relay_request(&self, side: &str) -> Vec<u8> {
        format!("please relay {} for side {side}\n", hex::encode(&*self.derive("transit_relay_token"))).into_bytes()
    }

    fn record_key(&self, from: Role) -> SealKey {
        SealKey::new(self.derive(match from {
            Role::Sender => "transit_record_sender_key",
            Role::Receiver => "transit_record_receiver_key",
        }))
    }
}

/// What a new connection still has to say and hear before records travel.
#[derive(Debug)]
pub struct Handshake {
    role: Role,
    /// What the other side has to send, exactly.
    expected: VecDeque<u8>,
    key: TransitKey,
    /// `go` follows the greeting of a sender.
    greeted: bool,
}

/// Where a handshake stands.
#[derive(Debug)]
pub enum Progress {
    /// More bytes are needed.
    More(Handshake),
    /// The receiver has the key. The sender answers with [`Handshake::GO`] on the one connection that it picks and
    /// [`Handshake::NEVER_MIND`] on all others.
    Pick(Records),
    /// The sender has the key and picked this connection.
    Picked(Records),
    /// The sender has the key and picked another connection.
    NotPicked,
}

impl Handshake {
    /// What a sender says on the connection that it picks.
    pub const GO: &'static [u8] = b"go\n";
    /// What a sender says on the connections that it does not pick.
    pub const NEVER_MIND: &'static [u8] = b"nevermind\n";

    /// The handshake of a connection, and what has to be sent on it first. Through a relay: what goes to the relay,
    /// whose `ok` is waited for, comes before.
    pub fn start(key: TransitKey, role: Role, relay_side: Option<&str>) -> (Self, Vec<u8>) {
        let mut first = relay_side.map_or_else(Vec::new, |side| key.relay_request(side));
        first.extend(key.greeting(role));
        let mut expected: VecDeque<u8> = relay_side.map_or_else(VecDeque::new, |_| b"ok\n".iter().copied().collect());
        expected.extend(key.greeting(role.other()));
        (Self { role, expected, key, greeted: false }, first)
    }

    /// Takes what came in; what follows the handshake already belongs to the records.
    ///
    /// # Errors
    /// [`PairingError::BadPeer`] at the first byte that is not the expected one.
    pub fn receive(mut self, bytes: &[u8]) -> Result<Progress, PairingError> {
        let bad = PairingError::BadPeer("the transit handshake is not that of the other device");
        let mut rest = bytes;
        while let (Some(expected), Some((byte, left))) = (self.expected.front().copied(), rest.split_first()) {
            if self.greeted && self.expected.len() == Self::GO.len() && *byte == b'n' {
                // Of the two words that may stand here, the first letter tells which.
                return Ok(Progress::NotPicked);
            }
            if *byte != expected {
                return Err(bad);
            }
            self.expected.pop_front();
            rest = left;
            if self.expected.is_empty() && self.role == Role::Receiver && !self.greeted {
                self.greeted = true;
                self.expected.extend(Self::GO);
            }
        }
        if !self.expected.is_empty() {
            return Ok(Progress::More(self));
        }
        let mut records = Records::new(&self.key, self.role);
        records.buffer.extend_from_slice(rest);
        Ok(match self.role {
            Role::Sender => Progress::Pick(records),
            Role::Receiver => Progress::Picked(records),
        })
    }
}

/// Records in both directions of one connection.
#[derive(Debug)]
pub struct Records {
    seal: SealKey,
    open: SealKey,
    sent: u64,
    received: u64,
    buffer: Vec<u8>,
}

impl Records {
    fn new(key: &TransitKey, role: Role) -> Self {
        Self {
            seal: key.record_key(role),
            open: key.record_key(role.other()),
            sent: 0,
            received: 0,
            buffer: Vec::new(),
        }
    }

    /// A record, as it goes over the connection. It has to be sent before the next one is sealed.
    pub fn seal(&mut self, contents: &[u8]) -> Vec<u8> {
        let sealed = self.seal.seal_at(&nonce(self.sent), contents);
        self.sent += 1;
        let length = u32::try_from(sealed.len()).expect("a record is far below 4 GiB");
        [length.to_be_bytes().as_slice(), &sealed].concat()
    }

    /// Takes bytes that came in.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole record; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`PairingError::BadPeer`] for a record that is too long, out of order, or not sealed with our key. The
    /// connection is of no more use then.
    pub fn next_record(&mut self) -> Result<Option<Vec<u8>>, PairingError> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > RECORD_BYTES_MAX + SEAL_BYTES {
            return Err(PairingError::BadPeer("a record is too long"));
        }
        let Some(sealed) = rest.get(..length) else { return Ok(None) };
        if sealed.get(..24) != Some(nonce(self.received).as_slice()) {
            return Err(PairingError::BadPeer("a record is out of order"));
        }
        let contents = self.open.open(sealed).ok_or(PairingError::BadPeer("a record does not open"))?;
        self.received += 1;
        self.buffer.drain(..LENGTH_BYTES + length);
        Ok(Some(contents))
    }
}

/// The nonce of the record with this number: 24 bytes, big-endian.
fn nonce(number: u64) -> [u8; 24] {
    let mut out = [0; 24];
    out[16..].copy_from_slice(&number.to_be_bytes());
    out
}

/// What a relay is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayRequest {
    /// Both ends of a transfer name the same 64 characters.
    pub token: String,
    /// Two connections of one side are not joined; without a side (the first form) any two are.
    pub side: Option<String>,
}

/// What comes of the first bytes of a connection to a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayAnswer {
    /// The line is not complete.
    More,
    /// Wait for, or join with, the other end.
    Request(RelayRequest),
    /// Something follows the line before the other end is there: say `impatient\n` and hang up.
    Impatient,
    /// No such line: say `bad handshake\n` and hang up.
    Bad,
}

impl RelayRequest {
    /// Bytes of a line that may be looked at before it is refused.
    pub const LINE_BYTES_MAX: usize = 1_024;

    /// Reads what a connection has sent so far.
    pub fn read(bytes: &[u8]) -> RelayAnswer {
        let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
            return if bytes.len() > Self::LINE_BYTES_MAX { RelayAnswer::Bad } else { RelayAnswer::More };
        };
        let word = |text: &str, length: usize| {
            (text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
                .then(|| text.to_owned())
        };
        let request = std::str::from_utf8(&bytes[..end]).ok().and_then(|line| {
            let rest = line.strip_prefix("please relay ")?;
            let (token, side) = match rest.split_once(" for side ") {
                Some((token, side)) => (token, Some(word(side, 16)?)),
                None => (rest, None),
            };
            Some(Self { token: word(token, 64)?, side })
        });
        match request {
            None => RelayAnswer::Bad,
            Some(_) if bytes.len() > end + 1 => RelayAnswer::Impatient,
            Some(request) => RelayAnswer::Request(request),
        }
    }

    /// Whether two connections are the ends of one transfer.
    pub fn joins(&self, other: &Self) -> bool {
        self.token == other.token
            && match (&self.side, &other.side) {
                (Some(ours), Some(theirs)) => ours != theirs,
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TransitKey {
        TransitKey::new(Zeroizing::new(vec![1; 32]))
    }

    fn pair() -> (Records, Records) {
        let (sender, from_sender) = Handshake::start(key(), Role::Sender, None);
        let (receiver, from_receiver) = Handshake::start(key(), Role::Receiver, None);
        let Ok(Progress::Pick(sender)) = sender.receive(&from_receiver) else { panic!("the sender picks") };
        let Ok(Progress::More(receiver)) = receiver.receive(&from_sender) else { panic!("go is missing") };
        let Ok(Progress::Picked(receiver)) = receiver.receive(Handshake::GO) else { panic!("it is picked") };
        (sender, receiver)
    }

    #[test]
    fn handshakes_take_bytes_as_they_come() {
        let (_, from_sender) = Handshake::start(key(), Role::Sender, None);
        let (mut receiver, _) = Handshake::start(key(), Role::Receiver, Some("0123456789abcdef"));
        let all = [b"ok\n".as_slice(), &from_sender, Handshake::GO, b"tail"].concat();
        let (bytes, tail) = all.split_at(all.len() - 5);
        for byte in bytes {
            receiver = match receiver.receive(&[*byte]).unwrap() {
                Progress::More(handshake) => handshake,
                other => panic!("{other:?}"),
            };
        }
        match receiver.receive(tail).unwrap() {
            Progress::Picked(records) => assert_eq!(records.buffer, b"tail"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connection_that_is_not_picked_ends() {
        let (_, from_sender) = Handshake::start(key(), Role::Sender, None);
        let (receiver, _) = Handshake::start(key(), Role::Receiver, None);
        let all = [from_sender.as_slice(), Handshake::NEVER_MIND].concat();
        assert!(matches!(receiver.receive(&all), Ok(Progress::NotPicked)));
    }

    #[test]
    fn another_key_is_noticed_at_once() {
        let other = TransitKey::new(Zeroizing::new(vec![2; 32]));
        let (_, from_sender) = Handshake::start(other, Role::Sender, None);
        let (receiver, _) = Handshake::start(key(), Role::Receiver, None);
        assert!(receiver.receive(&from_sender).is_err());
        let (sender, _) = Handshake::start(key(), Role::Sender, None);
        assert!(sender.receive(b"GET / HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn records_are_in_order_whole_and_ours() {
        let (mut sender, mut receiver) = pair();
        let (one, two) = (sender.seal(b"one"), sender.seal(b""));
        for byte in one.iter().chain(&two) {
            assert_eq!(receiver.next_record(), Ok(None));
            receiver.receive(&[*byte]);
            if let Ok(Some(got)) = receiver.next_record() {
                assert!(got == b"one" || got.is_empty());
            }
        }
        assert_eq!(receiver.received, 2);
        // The first again; one that was changed; one that is too long.
        for bad in [one.clone(), [&two[..two.len() - 1], &[two[two.len() - 1] ^ 1]].concat(), vec![0xff; 4]] {
            let (_, mut receiver) = pair();
            receiver.receive(&sealed_first());
            receiver.next_record().unwrap();
            receiver.receive(&bad);
            assert!(matches!(receiver.next_record(), Err(PairingError::BadPeer(_))));
        }
        let (mut backward, _) = pair();
        backward.receive(&one);
        assert!(backward.next_record().is_err(), "the two directions have keys of their own");
    }

    fn sealed_first() -> Vec<u8> {
        pair().0.seal(b"first")
    }

    #[test]
    fn a_relay_joins_two_sides_of_one_token() {
        let token = "a".repeat(64);
        let request = |text: String| match RelayRequest::read(text.as_bytes()) {
            RelayAnswer::Request(request) => request,
            other => panic!("{other:?}"),
        };
        let sided = |side: &str| request(format!("please relay {token} for side {side}\n"));
        let (one, two) = (sided("0123456789abcdef"), sided("fedcba9876543210"));
        assert!(one.joins(&two) && !one.joins(&one));
        let first_form = request(format!("please relay {token}\n"));
        assert!(first_form.joins(&first_form) && first_form.joins(&one));
        assert!(!one.joins(&request(format!("please relay {} for side fedcba9876543210\n", "b".repeat(64)))));
        assert_eq!(RelayRequest::read(b"please rel"), RelayAnswer::More);
        assert_eq!(RelayRequest::read(format!("please relay {token}\nx").as_bytes()), RelayAnswer::Impatient);
        for bad in ["\n", "please relay abc\n", "GET / HTTP/1.1\n", &"x".repeat(1_025)] {
            assert_eq!(RelayRequest::read(bad.as_bytes()), RelayAnswer::Bad, "{bad:?}");
        }
        let ours = key().relay_request("0123456789abcdef");
        assert!(matches!(RelayRequest::read(&ours), RelayAnswer::Request(_)));
    }
}
