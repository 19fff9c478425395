//! What towers that guard an identity have and do.

use super::Report;
use crate::escape::shown;
use crate::guarding::Guarded;
use ibgib::{Value, object};

/// The receipt of a tower.
pub(crate) struct GuardReport(pub(crate) Guarded);

impl Report for GuardReport {
    fn to_json(&self) -> Value {
        let Guarded { locator, receipt, start_block, expires, .. } = &self.0;
        object([
            ("locator", locator.as_str().into()),
            ("receipt", receipt.as_deref().unwrap_or_default().into()),
            ("startBlock", (*start_block).into()),
            ("expires", (*expires).into()),
        ])
    }

    fn to_text(&self) -> String {
        let Guarded { locator, start_block, expires, .. } = &self.0;
        format!("guarded from block {start_block} until block {expires}; locator {locator}")
    }
}

/// How a tower stands.
pub(crate) struct TowerStanding {
    pub(crate) url: String,
    pub(crate) state: &'static str,
    pub(crate) appointments: usize,
    pub(crate) neglect: Vec<Guarded>,
    /// What it does not take, with why.
    pub(crate) refused: Vec<Guarded>,
}

/// How all of them stand.
pub(crate) struct Checking(pub(crate) Vec<TowerStanding>);

impl Report for Checking {
    fn to_json(&self) -> Value {
        let tower = |it: &TowerStanding| {
            let neglected = |guarded: &Guarded| {
                let receipt = guarded.receipt.as_deref().unwrap_or_default();
                object([("locator", guarded.locator.as_str().into()), ("receipt", receipt.into())])
            };
            let refused = |guarded: &Guarded| {
                let why = guarded.refused.as_deref().unwrap_or_default();
                object([("state", guarded.state.as_str().into()), ("why", why.into())])
            };
            object([
                ("url", it.url.as_str().into()),
                ("state", it.state.into()),
                ("appointments", Value::integer(it.appointments as u64)),
                ("neglect", Value::Array(it.neglect.iter().map(neglected).collect())),
                ("refused", Value::Array(it.refused.iter().map(refused).collect())),
            ])
        };
        object([("towers", Value::Array(self.0.iter().map(tower).collect()))])
    }

    fn to_text(&self) -> String {
        if self.0.is_empty() {
            return "no tower guards this device's identity".into();
        }
        let mut lines = Vec::new();
        for it in &self.0 {
            lines.push(format!("{}  {}  appointments {}", it.url, it.state, it.appointments));
            let neglected = it.neglect.iter().map(|guarded| format!("  NEGLECTED {}", guarded.locator));
            lines.extend(neglected);
            lines.extend(it.refused.iter().map(|guarded| {
                let why = guarded.refused.as_deref().unwrap_or_default();
                format!("  refused {}: {}", guarded.state, shown(why))
            }));
        }
        lines.join("\n")
    }
}
