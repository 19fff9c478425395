//! [`Verified`]: an ibgib whose address is proven.

use super::IbGib;
use super::outline::{self, Outline};
use super::rules::VerifyError;
use crate::addr::Addr;
use crate::json::{Map, Mode, Value};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Addresses among which a repeated one is looked for one after the other.
const FEW: usize = 16;
/// Bytes of memory that a node takes besides what it says, about, and a value besides its text.
const NODE: usize = 384;
const EACH: usize = 32;

/// The relation that names who made a frame: the first frame of a keystone. It says so and proves nothing.
pub const IDENTITY: &str = "identity";

/// Whether a node depends on what this relation names. Every other one it does: walks go on there, and the node may not
/// be where that is not. An identity moves by its own rules, and is not needed to read what it made, so no walk, check or
/// sync follows [`IDENTITY`].
pub fn is_followed(relation: &str) -> bool {
    relation != IDENTITY
}

/// An ibgib that was checked: its address is recomputed and every strict rule holds. Only [`IbGib::verify`] and reading
/// make one, so what was not checked cannot be stored, sent, transformed or merged. Immutable; a clone is a pointer.
///
/// Of one that was read the text is kept, and values are made of it when somebody asks for its content: most nodes are
/// only passed on, or walked over by what they relate to.
pub struct Verified<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    addr: Addr,
    /// What [`IbGib::to_json`] would print, if that was seen when it was checked.
    text: Option<(Box<str>, Outline)>,
    /// Made of the text when it is first asked for; there from the beginning where there is no text.
    value: OnceLock<T>,
}

impl<T> Verified<T> {
    pub(super) fn new(value: T, addr: Addr) -> Self {
        Self { inner: Arc::new(Inner { addr, text: None, value: OnceLock::from(value) }) }
    }

    fn read(addr: Addr, outline: Outline, text: String) -> Self {
        let text = Some((text.into_boxed_str(), outline));
        Self { inner: Arc::new(Inner { addr, text, value: OnceLock::new() }) }
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
        Self::parse_string(text.to_owned())
    }

    /// As [`Verified::parse`], of a text that it keeps.
    ///
    /// # Errors
    /// As [`Verified::parse`].
    pub fn parse_string(text: String) -> Result<Self, VerifyError> {
        match Outline::of(&text) {
            Some((addr, outline)) => Ok(Self::read(addr, outline, text)),
            None => IbGib::parse(&text, Mode::Strict)?.verify(),
        }
    }

    /// Reads and checks an ibgib without its gib, which follows from the rest.
    ///
    /// # Errors
    /// The first rule that does not hold; [`VerifyError::UnknownField`] when there is a gib.
    pub fn parse_without_gib(text: &str) -> Result<Self, VerifyError> {
        if let Some((addr, outline, text)) = Outline::without_gib(text) {
            return Ok(Self::read(addr, outline, text));
        }
        let node = IbGib::parse(text, Mode::Strict)?;
        if node.gib.is_some() {
            return Err(VerifyError::UnknownField("gib".into()));
        }
        node.seal()
    }

    /// The ibgib as JSON text: as [`IbGib::to_json`].
    pub fn to_json(&self) -> String {
        self.json().into_owned()
    }

    /// The same, borrowed where it is at hand.
    pub fn json(&self) -> Cow<'_, str> {
        match &self.inner.text {
            Some((text, _)) => Cow::Borrowed(text),
            None => Cow::Owned((**self).to_json()),
        }
    }

    /// The ibgib as JSON text without its gib: [`Verified::parse_without_gib`] finds it again.
    pub fn to_json_without_gib(&self) -> String {
        match &self.inner.text {
            Some((text, _)) => outline::cut_gib(text, self.addr()),
            None => self.print(None),
        }
    }

    /// About how many bytes of memory it takes, with the values that are made of its text once its content is asked for.
    pub fn weight(&self) -> usize {
        match &self.inner.text {
            Some((text, outline)) => NODE + 2 * text.len() + EACH * outline.values,
            None => NODE + [&self.data, &self.rel8ns].into_iter().flatten().map(weight).sum::<usize>(),
        }
    }

    /// About how many bytes of memory it takes as long as nobody asks for its content.
    pub fn weight_unread(&self) -> usize {
        match &self.inner.text {
            Some((text, _)) => NODE + text.len(),
            None => self.weight(),
        }
    }

    /// What this node relates to: names of relations and addresses, in rel8ns order.
    fn relations(&self) -> Box<dyn Iterator<Item = (&str, &str)> + '_> {
        if let Some((text, outline)) = &self.inner.text {
            return Box::new(outline.relations(text));
        }
        let relations = self.rel8ns.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::iter);
        Box::new(relations.flat_map(|(name, value)| {
            let items = value.as_array().unwrap_or(&[]).iter();
            items.filter_map(Value::as_str).map(move |item| (name, item))
        }))
    }

    /// The texts of relation `name`; empty when there is none.
    pub fn rel8n(&self, name: &str) -> std::vec::IntoIter<&str> {
        let items = self.relations().filter(|(of, _)| *of == name).map(|(_, item)| item);
        items.collect::<Vec<_>>().into_iter()
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
        let mut texts: Vec<&str> =
            self.relations().filter(|(name, _)| is_followed(name)).map(|(_, item)| item).collect();
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

    /// Whether this frame says it is the first of its timeline.
    pub fn is_tjp(&self) -> bool {
        match &self.inner.text {
            Some((_, outline)) => outline.is_tjp,
            None => (**self).is_tjp(),
        }
    }

    /// The frame's number in its timeline, when it has one.
    pub fn n(&self) -> Option<u64> {
        match &self.inner.text {
            Some((_, outline)) => outline.n,
            None => (**self).n(),
        }
    }

    /// The address of this frame's timeline: its own when it is the tjp, else its tjp relation; `None` for a
    /// constant.
    pub fn tjp(&self) -> Option<Addr> {
        if self.is_tjp() {
            return Some(self.addr().clone());
        }
        match &self.inner.text {
            Some((text, outline)) => outline.tjp(text).map(Addr::checked_before),
            None => self.last_rel8n("tjp"),
        }
    }

    /// Whether this is a frame of a timeline.
    pub fn is_frame(&self) -> bool {
        self.is_tjp()
            || match &self.inner.text {
                Some((text, outline)) => outline.tjp(text).is_some(),
                None => self.rel8n("tjp").next().is_some(),
            }
    }

    /// The frame before this one: the newest entry of `past`.
    pub fn past(&self) -> Option<Addr> {
        match &self.inner.text {
            Some((text, outline)) => outline.past(text).map(Addr::checked_before),
            None => self.last_rel8n("past"),
        }
    }
}

impl Deref for Verified<IbGib> {
    type Target = IbGib;
    fn deref(&self) -> &IbGib {
        let Inner { value, text, .. } = &*self.inner;
        value.get_or_init(|| {
            let read = text.as_ref().map(|(text, _)| IbGib::parse(text, Mode::Strict));
            // An outline is found of no text that cannot be read.
            read.and_then(Result::ok).unwrap_or_else(|| unreachable!("{} cannot be read any more", self.addr()))
        })
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

fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => EACH,
        Value::String(text) => EACH + text.len(),
        Value::Array(items) => EACH + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => EACH + map.iter().map(|(name, v)| EACH + name.len() + weight(v)).sum::<usize>(),
    }
}
