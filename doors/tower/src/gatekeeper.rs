//! Who is a user, how many slots he has, and until when.

use crate::sealed::Dialect;

/// Bytes of a sealed answer that a slot pays for.
pub const SLOT_BYTES: usize = 2_048;

/// What a tower gives to whoever registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Slots of a registration.
    pub slots: u32,
    /// Blocks that a registration lasts.
    pub duration: u32,
    /// Blocks after the end of a subscription for which a user's data is kept.
    pub grace: u32,
    /// The least `to_self_delay` (Python dialect).
    pub min_delay: u32,
    /// Users of either dialect: registering costs nothing, and a user is kept for as long as his registration lasts.
    pub users_max: usize,
    /// Appointments of all users.
    pub appointments_max: usize,
    /// Whether an appointment takes the place of the same user's for the same trigger. Where one guards against somebody who may
    /// have the user's key, it does not.
    pub replaces: bool,
}

impl Terms {
    /// What the dialect's own program gives.
    pub fn of(dialect: Dialect) -> Self {
        let slots = match dialect {
            Dialect::Rust => 10_000,
            Dialect::Python => 100,
        };
        Self {
            slots,
            duration: 4_320,
            grace: 6,
            min_delay: 20,
            users_max: 100_000,
            appointments_max: 1_000_000,
            replaces: true,
        }
    }
}

/// A user's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which protocol he registered with.
    pub dialect: Dialect,
    /// Slots that are free.
    pub slots: u32,
    /// The height at which it started.
    pub start: u32,
    /// The height from which it is over.
    pub expiry: u32,
}

/// A user cannot have more slots than are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this registration would give more slots than anybody can have")]
pub struct Exhausted;

impl Subscription {
    /// A first registration, or one more: slots add up; the end moves by a whole duration (Rust dialect), or is counted
    /// from now (Python dialect). A user stays with the dialect of the first.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn register(there: Option<&Self>, dialect: Dialect, terms: &Terms, height: u32) -> Result<Self, Exhausted> {
        let from_now = height.saturating_add(terms.duration);
        let Some(there) = there else {
            return Ok(Self { dialect, slots: terms.slots, start: height, expiry: from_now });
        };
        let expiry = match there.dialect {
            Dialect::Rust => there.expiry.checked_add(terms.duration).ok_or(Exhausted)?,
            Dialect::Python => from_now,
        };
        let slots = there.slots.checked_add(terms.slots).ok_or(Exhausted)?;
        Ok(Self { slots, expiry, ..*there })
    }

    /// Whether nothing new is taken for it.
    pub fn is_expired(&self, height: u32) -> bool {
        height >= self.expiry
    }

    /// Whether all of its data goes.
    pub fn is_outdated(&self, height: u32, terms: &Terms) -> bool {
        height >= self.expiry.saturating_add(terms.grace)
    }
}

/// Slots that a sealed answer takes: one at least, since an empty one is kept like others.
pub fn slots_of(sealed: &[u8]) -> u32 {
    u32::try_from(sealed.len().div_ceil(SLOT_BYTES).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_registration_follows_its_dialect() {
        for (dialect, expiry) in [(Dialect::Rust, 100 + 2 * 4_320), (Dialect::Python, 150 + 4_320)] {
            let terms = Terms::of(dialect);
            let first = Subscription::register(None, dialect, &terms, 100).unwrap();
            assert_eq!((first.start, first.expiry, first.slots), (100, 4_420, terms.slots));
            let second = Subscription::register(Some(&first), Dialect::Rust, &terms, 150).unwrap();
            assert_eq!((second.start, second.expiry, second.slots), (100, expiry, 2 * terms.slots));
            assert_eq!(second.dialect, dialect);
        }
        let terms = Terms::of(Dialect::Rust);
        let full = Subscription { dialect: Dialect::Rust, slots: u32::MAX, start: 0, expiry: 1 };
        assert_eq!(Subscription::register(Some(&full), Dialect::Rust, &terms, 0), Err(Exhausted));
    }

    #[test]
    fn a_subscription_ends_and_its_data_stays_for_a_while() {
        let terms = Terms::of(Dialect::Rust);
        let subscription = Subscription { dialect: Dialect::Rust, slots: 0, start: 0, expiry: 10 };
        assert_eq!([9, 10, 15, 16].map(|h| subscription.is_expired(h)), [false, true, true, true]);
        assert_eq!([9, 10, 15, 16].map(|h| subscription.is_outdated(h, &terms)), [false, false, false, true]);
    }

    #[test]
    fn a_slot_pays_for_two_kibibytes() {
        assert_eq!([0, 1, 2_048, 2_049, 4_096].map(|n| slots_of(&vec![0; n])), [1, 1, 1, 2, 2]);
    }
}
