//! [`Verified`]: an ibgib whose address is proven.

use super::IbGib;
use super::rules::VerifyError;
use crate::addr::Addr;
use crate::json::{Map, Mode, Value};
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Addresses among which a repeated one is looked for one after the other.
const FEW: usize = 16;

/// The relation that names who made a frame: the first frame of a keystone. It says so and proves nothing.
pub const IDENTITY: &str = "identity";

/// Whether a node depends on what this relation names. Every other one it does: walks go on there, and the node may not
/// be where that is not. An identity moves by its own rules, and is not needed to read what it made, so no walk, check or
/// sync follows [`IDENTITY`].
pub fn is_followed(relation: &str) -> bool {
    relation != IDENTITY
}

/// A value that was checked: its address is recomputed and every strict rule holds. Only [`IbGib::verify`] makes
/// one, so what was not checked cannot be stored, sent, transformed or merged. Immutable; a clone is a pointer.
pub struct Verified<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    value: T,
    addr: Addr,
}

impl<T> Verified<T> {
    pub(super) fn new(value: T, addr: Addr) -> Self {
        Self { inner: Arc::new(Inner { value, addr }) }
    }

    /// The proven address.
    pub fn addr(&self) -> &Addr {
        &self.inner.addr
    }
}

impl Verified<IbGib> {
    /// Reads and checks an ibgib.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn parse(text: &str) -> Result<Self, VerifyError> {
        IbGib::parse(text, Mode::Strict)?.verify()
    }

    /// Parsed addresses of relation `name`.
    pub fn rel8n_addrs(&self, name: &str) -> Vec<Addr> {
        self.rel8n(name).map(Addr::checked_before).collect()
    }

    /// The last address of relation `name`.
    pub fn last_rel8n(&self, name: &str) -> Option<Addr> {
        self.rel8n(name).next_back().map(Addr::checked_before)
    }

    /// Every address that this node depends on ([`is_followed`]), primitives left out, in rel8ns order, without repeats.
    pub fn targets(&self) -> Vec<Addr> {
        let relations = self.rel8ns.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::iter);
        let followed = relations.filter(|(name, _)| is_followed(name));
        let items = followed.flat_map(|(_, value)| value.as_array().unwrap_or(&[])).filter_map(Value::as_str);
        let mut texts: Vec<&str> = items.collect();
        match texts.len() {
            // Most nodes relate to a few others.
            ..=FEW => {
                for i in (1..texts.len()).rev() {
                    if texts[..i].contains(&texts[i]) {
                        texts.remove(i);
                    }
                }
            }
            _ => {
                let mut seen = HashSet::new();
                texts.retain(|text| seen.insert(*text));
            }
        }
        texts.into_iter().map(Addr::checked_before).filter(|addr| !addr.is_primitive()).collect()
    }

    /// The address of this frame's timeline: its own when it is the tjp, else its tjp relation; `None` for a
    /// constant.
    pub fn tjp(&self) -> Option<Addr> {
        if self.is_tjp() { Some(self.addr().clone()) } else { self.last_rel8n("tjp") }
    }

    /// Whether this is a frame of a timeline.
    pub fn is_frame(&self) -> bool {
        self.is_tjp() || self.rel8n("tjp").next().is_some()
    }

    /// The frame before this one: the newest entry of `past`.
    pub fn past(&self) -> Option<Addr> {
        self.last_rel8n("past")
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner.value
    }
}

impl<T> Clone for Verified<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> PartialEq for Verified<T> {
    /// Equal addresses are equal content: that is what an address is.
    fn eq(&self, other: &Self) -> bool {
        self.addr() == other.addr()
    }
}

impl<T> Eq for Verified<T> {}

impl<T> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({})", self.addr())
    }
}
