//! Invites: one text that carries all that somebody needs to come to a server.

use crate::tls::ServerKey;
use crate::websocket::WebSocketRemote;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ibgib::{Addr, Map, Mode, Value};
use std::fmt;
use std::str::FromStr;

/// What an invite begins with; the number is the version of what follows.
const PREFIX: &str = "ibgib-invite-1.";
/// Bytes of the longest invite that is read.
const BYTES_MAX: usize = 4 * 1024;

/// What somebody who comes to a server needs to know: where it is, what it is known by, and a secret that lets him in.
///
/// Its text is `ibgib-invite-1.` and JSON as base64 (RFC 4648, section 5, without padding). Whoever has the text has what
/// it grants, so it does not show in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// The server's URL, as [`WebSocketRemote::base`] writes it.
    pub url: String,
    /// The id of its space: 64 hex digits.
    pub space: String,
    /// The keystone by which that space signs, where whoever invites has met it.
    pub keystone: Option<Addr>,
    /// Its key, where it speaks TLS and no authority vouches for it.
    pub key: Option<ServerKey>,
    /// The folder that is meant; everything without one.
    pub folder: Option<Addr>,
    /// The grant is for reading alone.
    pub read_only: bool,
    /// The secret, which the server takes as often as the invite says: 64 hex digits.
    pub token: String,
}

/// A text that is no invite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no invite: {0}")]
pub struct InviteError(&'static str);

impl Invite {
    /// Whether a text is meant as an invite; one that is may still be damaged.
    pub fn is_meant(text: &str) -> bool {
        text.trim().starts_with(PREFIX)
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map: Map = [("url", self.url.as_str()), ("space", self.space.as_str())].into_iter().collect();
        if let Some(keystone) = &self.keystone {
            map.insert("keystone", keystone.as_str());
        }
        if let Some(key) = &self.key {
            map.insert("key", key.to_string());
        }
        if let Some(folder) = &self.folder {
            map.insert("folder", folder.as_str());
        }
        if self.read_only {
            map.insert("readOnly", true);
        }
        map.insert("token", self.token.as_str());
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(Value::Object(map).to_json()))
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite").field("url", &self.url).field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Whether a text is 64 hex digits in lower case, as ids of spaces and tokens are.
pub(crate) fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let no = InviteError;
        if text.len() > BYTES_MAX {
            return Err(no("it is too long"));
        }
        let body = text.trim().strip_prefix(PREFIX).ok_or(no("it does not begin with ibgib-invite-1."))?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| no("a part of it is missing or was changed"))?;
        let json = String::from_utf8(bytes).map_err(|_| no("a part of it is missing or was changed"))?;
        let value = Value::parse(&json, Mode::Strict).map_err(|_| no("a part of it is missing or was changed"))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let hex = |name: &'static str| text(name).filter(|text| is_hex64(text)).map(str::to_owned);
        let url = text("url").and_then(|url| WebSocketRemote::base(url).ok());
        let key =
            text("key").map(|key| key.parse().map_err(|_| no("it does not tell the server's key"))).transpose()?;
        let keystone = text("keystone").map(|addr| addr.parse().map_err(|_| no("its keystone has no address")));
        let folder = text("folder").map(|folder| folder.parse().map_err(|_| no("its folder has no address")));
        Ok(Self {
            url: url.ok_or(no("it does not tell the server's URL"))?,
            space: hex("space").ok_or(no("it does not tell the server's space"))?,
            keystone: keystone.transpose()?,
            key,
            folder: folder.transpose()?,
            read_only: value.get("readOnly") == Some(&Value::Bool(true)),
            token: hex("token").ok_or(no("it has no token"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Invite {
        Invite {
            url: "https://host:7070".into(),
            space: "0a".repeat(32),
            keystone: Some(Addr::new("keystone", &"CD".repeat(32)).unwrap()),
            key: Some(format!("sha256:{}", "0f".repeat(32)).parse().unwrap()),
            folder: Some(Addr::new("folder", &"AB".repeat(32)).unwrap()),
            read_only: true,
            token: "1b".repeat(32),
        }
    }

    #[test]
    fn an_invite_is_printed_as_it_is_read() {
        for invite in [invite(), Invite { keystone: None, key: None, folder: None, read_only: false, ..invite() }] {
            let text = invite.to_string();
            assert!(Invite::is_meant(&text) && text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
            assert_eq!(format!(" {text}\n").parse(), Ok(invite.clone()));
            assert!(!format!("{invite:?}").contains(&invite.token));
        }
    }

    #[test]
    fn what_was_cut_or_changed_is_no_invite() {
        let whole = invite().to_string();
        for end in 0..whole.len() {
            assert!(whole[..end].parse::<Invite>().is_err(), "{end}");
        }
        let bad = |json: &str| format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json)).parse::<Invite>();
        let (space, token) = ("0a".repeat(32), "1b".repeat(32));
        assert!(bad(&format!(r#"{{"url":"http://a","space":"{space}","token":"{token}"}}"#)).is_ok());
        for json in [
            String::new(),
            "[]".into(),
            format!(r#"{{"space":"{space}","token":"{token}"}}"#),
            format!(r#"{{"url":"ftp://a","space":"{space}","token":"{token}"}}"#),
            format!(r#"{{"url":"http://a","space":"{space}","token":"x"}}"#),
            format!(r#"{{"url":"http://a","space":"0A","token":"{token}"}}"#),
            format!(r#"{{"url":"http://a","space":"{space}","token":"{token}","key":"x"}}"#),
            format!(r#"{{"url":"http://a","space":"{space}","token":"{token}","folder":"x"}}"#),
            format!(r#"{{"url":"http://a","space":"{space}","token":"{token}","keystone":"x"}}"#),
        ] {
            assert!(bad(&json).is_err(), "{json}");
        }
    }
}
