//! Results of `invite`, `grants`, `space` and `devices`.

use super::Report;
use crate::escape::shown;
use ibgib::{Value, object};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// An invite.
pub(crate) struct Invited {
    pub(crate) invite: String,
    pub(crate) expires: String,
    /// People see it as a QR code, too.
    pub(crate) qr: bool,
}

impl Report for Invited {
    fn to_json(&self) -> Value {
        object([("invite", self.invite.as_str().into()), ("expires", self.expires.as_str().into())])
    }

    fn to_text(&self) -> String {
        let code = match (self.qr, QrCode::with_error_correction_level(&self.invite, EcLevel::L)) {
            (true, Ok(code)) => format!("\n{}", code.render::<Dense1x2>().quiet_zone(true).build()),
            _ => String::new(),
        };
        format!("{}\ngood until {}; whoever has it can use it{code}", self.invite, self.expires)
    }
}

/// An invite for a program.
pub(crate) struct InvitedProgram {
    pub(crate) secret: String,
    pub(crate) expires: String,
    /// By which it is revoked.
    pub(crate) id: String,
}

impl Report for InvitedProgram {
    fn to_json(&self) -> Value {
        let part = |text: &str| Value::from(text);
        object([("secret", part(&self.secret)), ("expires", part(&self.expires)), ("invite", part(&self.id))])
    }

    fn to_text(&self) -> String {
        let (secret, expires, id) = (&self.secret, &self.expires, &self.id[..8]);
        format!(
            "{secret}\ngood until {expires}; whoever shows it reads (Authorization: Bearer …); 'ibgib grants revoke {id}' ends it"
        )
    }
}

/// A grant, or an invite that is open, as the server tells it.
pub(crate) struct Granted {
    pub(crate) line: Value,
}

fn part(line: &Value, name: &str) -> String {
    shown(line.get(name).and_then(Value::as_str).unwrap_or("-")).to_string()
}

impl Report for Granted {
    fn to_json(&self) -> Value {
        self.line.clone()
    }

    fn to_text(&self) -> String {
        let line = &self.line;
        let rights = line.get("rights").and_then(Value::as_array).unwrap_or_default();
        let rights: Vec<&str> = rights.iter().filter_map(Value::as_str).collect();
        let who = match line.get("invite").and_then(Value::as_str) {
            Some(invite) => format!("invite {} until {}", shown(invite), part(line, "expires")),
            None => format!("{} {}", part(line, "name"), part(line, "identity")),
        };
        format!("{who}  {}  {}  since {}", rights.join(","), part(line, "folder"), part(line, "since"))
    }
}

/// A frame that is dropped, as the server tells it.
pub(crate) struct DroppedFrame {
    pub(crate) line: Value,
}

impl Report for DroppedFrame {
    fn to_json(&self) -> Value {
        self.line.clone()
    }

    fn to_text(&self) -> String {
        let line = &self.line;
        format!("{}  by {}  since {}", part(line, "frame"), part(line, "by"), part(line, "since"))
    }
}

/// A device that was granted something, and when it connected last.
pub(crate) struct Seen {
    pub(crate) line: Value,
}

impl Report for Seen {
    fn to_json(&self) -> Value {
        let part = |name: &str| self.line.get(name).cloned().unwrap_or(Value::Null);
        object([("identity", part("identity")), ("name", part("name")), ("last", part("last"))])
    }

    fn to_text(&self) -> String {
        format!("{} {}  last {}", part(&self.line, "name"), part(&self.line, "identity"), part(&self.line, "last"))
    }
}
