//! What the owner of a tower is told.

use super::Report;
use ibgib::Value;

/// How a tower stands, one of its users, or one of its appointments.
pub(crate) struct TowerReport(pub(crate) Value);

impl Report for TowerReport {
    fn to_json(&self) -> Value {
        self.0.clone()
    }

    /// One `name value` after the other, of what there is; how it stands has a line for each.
    fn to_text(&self) -> String {
        let Some(members) = self.0.as_object() else { return self.0.to_json() };
        let separator = if members.contains_key("towerId") { "\n" } else { "  " };
        let words = members.iter().filter(|(_, value)| **value != Value::Null).map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_json(), str::to_owned);
            format!("{name} {value}")
        });
        words.collect::<Vec<_>>().join(separator)
    }
}
