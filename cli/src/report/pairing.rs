//! Results of `wormhole` and `pair`.

use super::{Report, number};
use ibgib::{Addr, Value, object};
use std::borrow::Cow;

/// A code, a verifier, a text that came: for people it stands alone.
pub(crate) struct Shown<'a> {
    /// The JSON member.
    pub(crate) member: &'static str,
    pub(crate) text: Cow<'a, str>,
}

impl Report for Shown<'_> {
    fn to_json(&self) -> Value {
        object([(self.member, self.text.as_ref().into())])
    }

    fn to_text(&self) -> String {
        self.text.clone().into_owned()
    }
}

/// A file that went or came.
pub(crate) struct Transferred {
    /// `sent` or `received`.
    pub(crate) member: &'static str,
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Report for Transferred {
    fn to_json(&self) -> Value {
        object([
            (self.member, self.name.as_str().into()),
            ("bytes", number(self.bytes)),
            ("sha256", self.sha256.as_str().into()),
        ])
    }

    fn to_text(&self) -> String {
        format!("{} {}", self.member, self.name)
    }
}

/// Two devices that know each other now.
pub(crate) struct Paired {
    /// The other one.
    pub(crate) identity: Addr,
    pub(crate) folder: Option<Addr>,
    pub(crate) remote: String,
}

impl Report for Paired {
    fn to_json(&self) -> Value {
        object([
            ("paired", Value::from(&self.identity)),
            ("folder", super::addr(self.folder.as_ref())),
            ("remote", self.remote.as_str().into()),
        ])
    }

    fn to_text(&self) -> String {
        format!("paired {}", self.identity)
    }
}
