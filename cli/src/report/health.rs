//! What a server tells of itself.

use super::Report;
use crate::escape::shown;
use ibgib::Value;

/// A server that works, in its own words.
pub(crate) struct Health {
    pub(crate) told: Value,
}

impl Report for Health {
    fn to_json(&self) -> Value {
        self.told.clone()
    }

    fn to_text(&self) -> String {
        let members = self.told.as_object().into_iter().flat_map(|told| told.iter());
        let lines = members.map(|(name, value)| match value.as_str() {
            Some(text) => format!("{}: {}", shown(name), shown(text)),
            None => format!("{}: {}", shown(name), shown(value.to_json())),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
