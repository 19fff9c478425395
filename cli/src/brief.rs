//! Addresses as people are told them: enough of each to name it again.

use ibgib::Addr;

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
