//! What two `wormhole` commands say to each other about a text, a file or a directory: JSON objects, one a message.
//!
//! ```
//! use ibgib_pairing::transfer::{Note, Offer};
//!
//! let note = Note::read(br#"{"offer": {"file": {"filename": "a.txt", "filesize": 3}}}"#).unwrap();
//! assert_eq!(note, [Note::Offer(Offer::File { name: "a.txt".into(), size: 3 })]);
//! ```

use crate::error::PairingError;
use serde_json::{Value, json};

/// The application id of the original command.
pub const APP_ID: &str = "lothar.com/wormhole/text-or-file-xfer";

/// Addresses of the other device that are looked at.
const HINTS_MAX: usize = 32;

/// A message, or one of several that stand in one object.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// How the sender of this can be reached.
    Transit(Vec<Hint>),
    /// What is offered.
    Offer(Offer),
    /// The text was taken.
    MessageTaken,
    /// The file is wanted.
    FileWanted,
    /// It is not to be, for this reason.
    Refused(String),
}

/// What is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offer {
    /// A text, which is whole in the offer.
    Text(String),
    /// A file, whose bytes follow over transit.
    File {
        /// Its name, as the sender says it.
        name: String,
        /// Its bytes.
        size: u64,
    },
    /// A directory, whose archive (a zip file with its contents) follows over transit.
    Directory {
        /// Its name, as the sender says it.
        name: String,
        /// Bytes of the archive.
        size: u64,
        /// What is in it, as the sender says it.
        contents: Contents,
    },
    /// Something else, by its name on the wire.
    Other(String),
}

/// What is in a directory, and in those in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// The form of a directory's archive, as the original calls it.
const ARCHIVE: &str = "zipfile/deflated";

/// Where a device can be reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    /// At this address itself.
    Direct(Place),
    /// Through one of the relays at these.
    Relay(Vec<Place>),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Name or number of the host.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Place {
    /// Takes `tcp:HOST:PORT`; an IPv6 address may stand in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.strip_prefix("tcp:")?.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| Self { host: host.to_owned(), port })
    }

    fn to_json(&self) -> Value {
        json!({"type": "direct-tcp-v1", "priority": 0.0, "hostname": self.host, "port": self.port})
    }

    fn read(hint: &Value) -> Option<Self> {
        let port = hint.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let host = hint.get("hostname").and_then(Value::as_str)?.to_owned();
        (hint.get("type") == Some(&"direct-tcp-v1".into())).then_some(Self { host, port: port.filter(|p| *p != 0)? })
    }
}

impl Note {
    /// Reads a message; members that are not known are passed over.
    ///
    /// # Errors
    /// [`PairingError::BadPeer`] for what is no such message.
    pub fn read(message: &[u8]) -> Result<Vec<Self>, PairingError> {
        let bad = PairingError::BadPeer("a message is no note about a text or a file");
        let message: Value = serde_json::from_slice(message).map_err(|_| bad.clone())?;
        let members = message.as_object().ok_or_else(|| bad.clone())?;
        let mut notes = Vec::new();
        for (name, member) in members {
            match name.as_str() {
                "transit" => notes.push(Self::Transit(hints(member))),
                "offer" => notes.push(Self::Offer(offer(member).ok_or_else(|| bad.clone())?)),
                "answer" if member.get("message_ack").is_some() => notes.push(Self::MessageTaken),
                "answer" if member.get("file_ack").is_some() => notes.push(Self::FileWanted),
                "error" => notes.push(Self::Refused(member.as_str().ok_or_else(|| bad.clone())?.to_owned())),
                _ => {}
            }
        }
        Ok(notes)
    }

    /// The message.
    pub fn to_message(&self) -> Vec<u8> {
        let message = match self {
            Self::Transit(hints) => {
                let abilities = json!([{"type": "direct-tcp-v1"}, {"type": "relay-v1"}]);
                let hints: Vec<Value> = hints
                    .iter()
                    .map(|hint| match hint {
                        Hint::Direct(place) => place.to_json(),
                        Hint::Relay(places) => {
                            let places: Vec<Value> = places.iter().map(Place::to_json).collect();
                            json!({"type": "relay-v1", "hints": places})
                        }
                    })
                    .collect();
                json!({"transit": {"abilities-v1": abilities, "hints-v1": hints}})
            }
            Self::Offer(Offer::Text(text)) => json!({"offer": {"message": text}}),
            Self::Offer(Offer::File { name, size }) => {
                json!({"offer": {"file": {"filename": name, "filesize": size}}})
            }
            Self::Offer(Offer::Directory { name, size, contents: Contents { bytes, files } }) => {
                let directory =
                    json!({"mode": ARCHIVE, "dirname": name, "zipsize": size, "numbytes": bytes, "numfiles": files});
                json!({"offer": {"directory": directory}})
            }
            Self::Offer(Offer::Other(name)) => json!({"offer": {name: {}}}),
            Self::MessageTaken => json!({"answer": {"message_ack": "ok"}}),
            Self::FileWanted => json!({"answer": {"file_ack": "ok"}}),
            Self::Refused(why) => json!({"error": why}),
        };
        message.to_string().into_bytes()
    }
}

fn offer(offer: &Value) -> Option<Offer> {
    let (name, member) = offer.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "message" => Offer::Text(member.as_str()?.to_owned()),
        "file" => {
            Offer::File { name: member.get("filename")?.as_str()?.to_owned(), size: member.get("filesize")?.as_u64()? }
        }
        // Also an archive that is only called so is read as what it is.
        "directory" if member.get("mode")?.as_str()?.starts_with("zipfile") => {
            let number = |name: &str| member.get(name).and_then(Value::as_u64);
            Offer::Directory {
                name: member.get("dirname")?.as_str()?.to_owned(),
                size: number("zipsize")?,
                contents: Contents { bytes: number("numbytes")?, files: number("numfiles")? },
            }
        }
        other => Offer::Other(other.to_owned()),
    })
}

fn hints(transit: &Value) -> Vec<Hint> {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let all = list(transit, "hints-v1").into_iter().filter_map(|hint| match Place::read(&hint) {
        Some(place) => Some(Hint::Direct(place)),
        None if hint.get("type") == Some(&"relay-v1".into()) => {
            Some(Hint::Relay(list(&hint, "hints").iter().filter_map(Place::read).take(HINTS_MAX).collect()))
        }
        None => None,
    });
    all.take(HINTS_MAX).collect()
}

/// The name under which an offered file may be stored: the last part of what the sender calls it, without what moves out
/// of a directory or a terminal's cursor. `None` when nothing is left.
pub fn file_name(offered: &str) -> Option<String> {
    let last = offered.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control()).collect();
    let name = name.trim();
    (!name.is_empty() && name != "." && name != ".." && name.len() <= 255).then(|| name.to_owned())
}

/// The last record of a transfer: the file came, and this is its SHA-256 in hex.
pub fn receipt(sha256: &str) -> Vec<u8> {
    json!({"ack": "ok", "sha256": sha256}).to_string().into_bytes()
}

/// Reads the last record: the SHA-256, if the receiver tells one.
///
/// # Errors
/// [`PairingError::BadPeer`] when the file was not taken.
pub fn read_receipt(record: &[u8]) -> Result<Option<String>, PairingError> {
    let bad = PairingError::BadPeer("the file was not acknowledged");
    let receipt: Value = serde_json::from_slice(record).map_err(|_| bad.clone())?;
    if receipt.get("ack") != Some(&"ok".into()) {
        return Err(bad);
    }
    Ok(receipt.get("sha256").and_then(Value::as_str).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_the_wire() {
        let place = |port| Place { host: "192.0.2.1".into(), port };
        for note in [
            Note::Transit(vec![Hint::Direct(place(1)), Hint::Relay(vec![place(2), place(3)])]),
            Note::Offer(Offer::Text("hello".into())),
            Note::Offer(Offer::File { name: "a".into(), size: 1 << 40 }),
            Note::Offer(Offer::Directory {
                name: "a".into(),
                size: 1 << 40,
                contents: Contents { bytes: 1 << 41, files: 7 },
            }),
            Note::MessageTaken,
            Note::FileWanted,
            Note::Refused("no".into()),
        ] {
            assert_eq!(Note::read(&note.to_message()), Ok(vec![note]));
        }
        assert!(Note::read(b"[]").is_err() && Note::read(b"{").is_err());
        assert!(Note::read(br#"{"offer": {"file": {"filename": "a", "filesize": -1}}}"#).is_err());
        assert_eq!(Note::read(br#"{"news": 1}"#), Ok(Vec::new()));
    }

    #[test]
    fn the_originals_words_are_understood() {
        // As wormhole 0.24 writes them.
        let transit = br#"{"transit": {"abilities-v1": [{"type": "direct-tcp-v1"}, {"type": "relay-v1"}], "hints-v1":
            [{"type": "direct-tcp-v1", "priority": 0.0, "hostname": "192.0.2.7", "port": 38047}, {"type": "tor-tcp-v1"},
            {"type": "relay-v1", "hints": [{"type": "direct-tcp-v1", "priority": 0.0, "hostname": "r", "port": 4001}]}]}}"#;
        let direct = Hint::Direct(Place { host: "192.0.2.7".into(), port: 38047 });
        let relay = Hint::Relay(vec![Place { host: "r".into(), port: 4001 }]);
        assert_eq!(Note::read(transit), Ok(vec![Note::Transit(vec![direct, relay])]));
        let directory = br#"{"offer": {"directory": {"mode": "zipfile/deflated", "dirname": "d", "zipsize": 464,
            "numbytes": 34, "numfiles": 2}}}"#;
        let contents = Contents { bytes: 34, files: 2 };
        assert_eq!(
            Note::read(directory),
            Ok(vec![Note::Offer(Offer::Directory { name: "d".into(), size: 464, contents })])
        );
        let unknown = br#"{"offer": {"directory": {"mode": "tarball", "dirname": "d"}}}"#;
        assert_eq!(Note::read(unknown), Ok(vec![Note::Offer(Offer::Other("directory".into()))]));
        assert!(Note::read(br#"{"offer": {"directory": {"mode": "zipfile", "dirname": "d"}}}"#).is_err());
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for (offered, name) in [
            ("a.txt", Some("a.txt")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\x\\y.txt", Some("y.txt")),
            ("/", None),
            ("..", None),
            ("", None),
            ("a\u{1b}[2Jb", Some("a[2Jb")),
        ] {
            assert_eq!(file_name(offered).as_deref(), name, "{offered:?}");
        }
        assert_eq!(file_name(&"x".repeat(300)), None);
    }

    #[test]
    fn receipts_and_places() {
        assert_eq!(read_receipt(&receipt("00")), Ok(Some("00".into())));
        assert_eq!(read_receipt(br#"{"ack": "ok"}"#), Ok(None));
        assert!(read_receipt(br#"{"ack": "no"}"#).is_err());
        assert_eq!(Place::parse("tcp:[::1]:4001"), Some(Place { host: "::1".into(), port: 4001 }));
        for bad in ["127.0.0.1:4001", "tcp:4001", "tcp::1", "tcp:h:0", "tcp:h:x"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
