//! How often somebody may be wrong: attempts at a password are limited for each address, for each account, and for each
//! account from one address, so that guessing at an account from one place does not keep its owner out elsewhere.

use crate::account::Refusal;
use ibgib_server::Rate;
use std::net::IpAddr;

/// What each may do at once, and each second on the average. A right password costs nothing.
#[derive(Debug)]
pub(crate) struct Attempts {
    addresses: Rate<IpAddr>,
    accounts: Rate<String>,
    pairs: Rate<(IpAddr, String)>,
    /// Accounts that an address makes.
    accounts_made: Rate<IpAddr>,
    /// Accounts that an address asks for and that do not exist.
    unknown: Rate<IpAddr>,
    /// Links that are sent to an account's address.
    links: Rate<String>,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self::at_speed(1.0)
    }

    /// What fills up again so many times as fast; at 0 nothing does, and a test needs no clock.
    pub(crate) fn at_speed(speed: f64) -> Self {
        Self {
            addresses: Rate::new(300, speed),
            accounts: Rate::new(1_000, speed),
            pairs: Rate::new(100, 0.1 * speed),
            accounts_made: Rate::new(1_000, speed),
            unknown: Rate::new(1_000, 10.0 * speed),
            links: Rate::new(5, speed / 600.0),
        }
    }

    /// Begins an attempt at a password. It counts until [`Attempts::was_not_wrong`] takes it back, so that attempts at once
    /// count, too.
    pub(crate) fn begin(&self, from: IpAddr, account: &str) -> Result<(), Refusal> {
        let pair = (from, account.to_owned());
        if !self.pairs.take(pair.clone(), 1) {
            return Err(Refusal::TooManyAttempts);
        }
        if !self.addresses.take(from, 1) {
            self.pairs.give_back(pair, 1);
            return Err(Refusal::TooManyAttempts);
        }
        if !self.accounts.take(account.to_owned(), 1) {
            self.pairs.give_back(pair, 1);
            self.addresses.give_back(from, 1);
            return Err(Refusal::TooManyAttempts);
        }
        Ok(())
    }

    /// The password was not wrong.
    pub(crate) fn was_not_wrong(&self, from: IpAddr, account: &str) {
        self.pairs.give_back((from, account.to_owned()), 1);
        self.addresses.give_back(from, 1);
        self.accounts.give_back(account.to_owned(), 1);
    }

    /// An address makes an account.
    pub(crate) fn make_account(&self, from: IpAddr) -> Result<(), Refusal> {
        self.accounts_made.take(from, 1).then_some(()).ok_or(Refusal::TooManyAttempts)
    }

    /// An address asked for an account that does not exist.
    pub(crate) fn ask_unknown(&self, from: IpAddr) -> Result<(), Refusal> {
        self.unknown.take(from, 1).then_some(()).ok_or(Refusal::TooManyAttempts)
    }

    /// A link is sent to an account's address.
    pub(crate) fn send_link(&self, account: &str) -> Result<(), Refusal> {
        self.links.take(account.to_owned(), 1).then_some(()).ok_or(Refusal::TooManyAttempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_keeps_nobody_else_out() {
        let attempts = Attempts::at_speed(0.0);
        let (thief, owner) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..100 {
            assert_eq!(attempts.begin(thief, "joe@example.com"), Ok(()));
        }
        assert_eq!(attempts.begin(thief, "joe@example.com"), Err(Refusal::TooManyAttempts));
        for _ in 0..500 {
            assert_eq!(attempts.begin(owner, "joe@example.com"), Ok(()));
            attempts.was_not_wrong(owner, "joe@example.com");
        }
        // The next account from the same place counts on.
        for _ in 0..2 {
            (0..100).for_each(|n| assert_eq!(attempts.begin(thief, &format!("{n}@example.com")), Ok(())));
        }
        assert_eq!(attempts.begin(thief, "ann@example.com"), Err(Refusal::TooManyAttempts));
    }
}
