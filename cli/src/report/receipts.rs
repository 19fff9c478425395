//! Results of `receipts`.

use super::Report;
use crate::escape::shown;
use ibgib::{Value, object};
use ibgib_saga::Receipt;

/// What a server has confirmed.
pub(crate) struct ReceiptReport {
    pub(crate) space: String,
    /// None, when what is kept cannot be read.
    pub(crate) receipt: Option<Receipt>,
    pub(crate) holds: bool,
}

impl Report for ReceiptReport {
    fn to_json(&self) -> Value {
        let part = |of: fn(&Receipt) -> Value| self.receipt.as_ref().map_or(Value::Null, of);
        object([
            ("space", self.space.as_str().into()),
            ("keystone", part(|receipt| (&receipt.warrant.keystone()).into())),
            ("revision", part(|receipt| Value::integer(receipt.revision))),
            ("session", part(|receipt| (&receipt.word.session).into())),
            ("tips", part(|receipt| Value::Array(receipt.tips().map(|(_, tip)| tip.into()).collect()))),
            ("holds", self.holds.into()),
        ])
    }

    fn to_text(&self) -> String {
        let space = shown(self.space.get(..12).unwrap_or(&self.space));
        let holds = if self.holds { "holds" } else { "proves nothing" };
        match &self.receipt {
            Some(receipt) => {
                let tips = receipt.tips().count();
                let s = if tips == 1 { "" } else { "s" };
                format!("space {space}…  revision {}  {tips} timeline{s}  {holds}", receipt.revision)
            }
            None => format!("space {space}…  {holds}"),
        }
    }
}

/// A server that a device knows nothing of any more.
pub(crate) struct ForgottenServer {
    pub(crate) space: String,
    pub(crate) count: usize,
}

impl Report for ForgottenServer {
    fn to_json(&self) -> Value {
        object([("forgotten", self.space.as_str().into()), ("receipts", Value::integer(self.count as u64))])
    }

    fn to_text(&self) -> String {
        format!(
            "forgot space {}…: its keystone, and {} of its receipts",
            shown(self.space.get(..12).unwrap_or(&self.space)),
            self.count
        )
    }
}
