//! Addresses as people are told them: enough of each to name it again.

use crate::escape::shown;
use ibgib::Addr;
use std::fmt;

/// Digits of a gib that people are told.
const DIGITS: usize = 10;

/// Its ib, and the first digits of its gib.
pub(crate) fn short(addr: &Addr) -> String {
    format!("{}^{}", addr.ib(), digits(addr))
}

/// A device that is known by no name.
pub(crate) fn nameless(identity: &Addr) -> String {
    format!("device {}", digits(identity))
}

/// The digits that a frame is known by among all others here.
pub(crate) fn digits(addr: &Addr) -> &str {
    let gib = addr.gib();
    gib.get(..DIGITS).unwrap_or(gib)
}

/// A folder that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) tjp: Addr,
    /// None when its frames say none, or cannot be read.
    pub(crate) name: Option<String>,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} ({})", shown(name), short(&self.tjp)),
            None => f.write_str(&short(&self.tjp)),
        }
    }
}
