//! The ibgib: unchecked as it arrives, [`Verified`] once its address is proven.

use crate::addr::{Addr, AddrError, GIB};
use crate::canonical;
use crate::compat::js;
use crate::value::{BYTES_MAX, DEPTH_MAX, JsonError, Map, Mode, Value};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An ibgib as it was read: nothing about it has been checked. [`IbGib::verify`] makes it usable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IbGib {
    /// The name-like part of the address.
    pub ib: String,
    /// The hash-like part of the address; `None` when the text had none.
    pub gib: Option<String>,
    /// The node's own content.
    pub data: Option<Value>,
    /// Relation name → array of addresses.
    pub rel8ns: Option<Value>,
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

/// Why an ibgib is refused; each variant is one rule, and [`VerifyError::rule`] its name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The text is not JSON that we take.
    #[error("not acceptable JSON: {0}")]
    Json(#[from] JsonError),
    /// The text is longer than the limit, both in bytes.
    #[error("the ibgib has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the text.
        size: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The JSON is not an object with a string `ib`, or a part has the wrong type.
    #[error("not an ibgib: {0}")]
    Shape(String),
    /// A top-level member besides ib, gib, data and rel8ns.
    #[error("field {0:?} is outside the hash: only ib, gib, data and rel8ns may stand there")]
    UnknownField(String),
    /// ib or gib do not make an address.
    #[error(transparent)]
    Address(#[from] AddrError),
    /// A primitive with `data` or `rel8ns`, which nothing would protect.
    #[error("a primitive (gib \"gib\") may not carry data or rel8ns")]
    PrimitiveContent,
    /// `data` or `rel8ns` that the hash does not cover although it is there.
    #[error("{0} is there but hashes as absent; leave it out")]
    HashesAsAbsent(&'static str),
    /// A relation that is not an array of addresses.
    #[error("relation {name:?} must be an array of addresses: {why}")]
    Relation {
        /// The relation's name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// `data` alone that would hash the same as `rel8ns`.
    #[error("data without rel8ns would hash the same as rel8ns; add a relation or a member that is no address list")]
    DataLooksLikeRel8ns,
    /// More than one tjp, a tjp on the tjp frame itself, or an empty tjp list.
    #[error("timeline: {0}")]
    Tjp(String),
    /// `n` of a timeline's frame is not an integer from 0 to 2^53 − 1.
    #[error("n of a timeline's frame must be an integer from 0 to 2^53 - 1, not {0}")]
    FrameNumber(String),
    /// A value that could not have come from strict JSON text.
    #[error("value at {path}: {why}")]
    Value {
        /// Where, as member names and indices joined by `/`.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The gib is not the one that the content gives.
    #[error("gib is {stated} but the content hashes to {computed}")]
    WrongGib {
        /// What the ibgib says.
        stated: String,
        /// What its content gives.
        computed: String,
    },
}

impl VerifyError {
    /// The rule's stable name.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::TooLarge { .. } => "too_large",
            Self::Shape(_) => "shape",
            Self::UnknownField(_) => "unknown_field",
            Self::Address(_) => "address",
            Self::PrimitiveContent => "primitive_content",
            Self::HashesAsAbsent(_) => "hashes_as_absent",
            Self::Relation { .. } => "relation",
            Self::DataLooksLikeRel8ns => "data_looks_like_rel8ns",
            Self::Tjp(_) => "tjp",
            Self::FrameNumber(_) => "frame_number",
            Self::Value { .. } => "value",
            Self::WrongGib { .. } => "wrong_gib",
        }
    }
}

impl IbGib {
    /// The primitive `ib^gib`: nothing but a name, to fork from.
    ///
    /// # Errors
    /// [`VerifyError::Address`] when `ib` is empty or contains `^`.
    pub fn primitive(ib: &str) -> Result<Verified<Self>, VerifyError> {
        Self { ib: ib.to_owned(), gib: Some(GIB.to_owned()), ..Self::default() }.verify()
    }

    /// Reads an ibgib from JSON text; its address is not checked yet. In [`Mode::Compat`] unknown fields are
    /// dropped, as the original does.
    ///
    /// # Errors
    /// [`VerifyError::Json`], [`VerifyError::TooLarge`], [`VerifyError::Shape`], [`VerifyError::UnknownField`].
    pub fn parse(text: &str, mode: Mode) -> Result<Self, VerifyError> {
        if mode == Mode::Strict && text.len() > BYTES_MAX {
            return Err(VerifyError::TooLarge { size: text.len(), limit: BYTES_MAX });
        }
        Self::from_value(Value::parse(text, mode)?, mode)
    }

    /// As [`IbGib::parse`], from a value. [`Mode::Compat`] takes an ib or gib that is no string as the text that
    /// ECMAScript makes of it, and a missing ib as an empty one.
    ///
    /// # Errors
    /// [`VerifyError::Shape`], [`VerifyError::UnknownField`].
    pub fn from_value(value: Value, mode: Mode) -> Result<Self, VerifyError> {
        let Value::Object(map) = value else {
            return Err(VerifyError::Shape("expected an object".into()));
        };
        let mut out = Self::default();
        let mut with_ib = false;
        for (key, value) in map {
            match (key.as_str(), value) {
                ("ib", Value::String(s)) => {
                    out.ib = s;
                    with_ib = true;
                }
                ("gib", Value::String(s)) => out.gib = Some(s),
                ("ib", v) if mode == Mode::Compat && v.is_truthy() => out.ib = js::text(Some(&v)),
                ("gib", v) if mode == Mode::Compat && v.is_truthy() => out.gib = Some(js::text(Some(&v))),
                ("ib" | "gib", _) if mode == Mode::Compat => {}
                ("data", v) => out.data = Some(v),
                ("rel8ns", v) => out.rel8ns = Some(v),
                (k @ ("ib" | "gib"), _) => return Err(VerifyError::Shape(format!("{k} must be a string"))),
                (_, _) if mode == Mode::Compat => {}
                (_, _) => return Err(VerifyError::UnknownField(key)),
            }
        }
        if with_ib || mode == Mode::Compat { Ok(out) } else { Err(VerifyError::Shape("ib is missing".into())) }
    }

    /// The ibgib as a JSON value: ib, gib, data, rel8ns, in this order, absent parts left out.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("ib", self.ib.as_str());
        if let Some(gib) = &self.gib {
            map.insert("gib", gib.as_str());
        }
        if let Some(data) = &self.data {
            map.insert("data", data.clone());
        }
        if let Some(rel8ns) = &self.rel8ns {
            map.insert("rel8ns", rel8ns.clone());
        }
        Value::Object(map)
    }

    /// The ibgib as JSON text.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\"ib\":");
        canonical::write_string(&self.ib, &mut out);
        if let Some(gib) = &self.gib {
            out.push_str(",\"gib\":");
            canonical::write_string(gib, &mut out);
        }
        for (name, part) in [("data", &self.data), ("rel8ns", &self.rel8ns)] {
            if let Some(value) = part {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
                canonical::write_json(value, &mut out);
            }
        }
        out.push('}');
        out
    }

    /// The member `key` of `data`, when data is an object.
    pub fn datum(&self, key: &str) -> Option<&Value> {
        self.data.as_ref()?.get(key)
    }

    /// Whether this frame says it is the first of its timeline.
    pub fn is_tjp(&self) -> bool {
        self.datum("isTjp").is_some_and(Value::is_truthy)
    }

    /// The texts of relation `name`; empty when there is none.
    pub fn rel8n(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        let items = self.rel8ns.as_ref().and_then(|r| r.get(name)).and_then(Value::as_array).unwrap_or(&[]);
        items.iter().filter_map(Value::as_str)
    }

    /// The frame's number in its timeline, when it has one.
    pub fn n(&self) -> Option<u64> {
        self.datum("n").and_then(Value::as_u53)
    }

    /// The gib that the content gives: the hash, and after a dot the gib of the last `tjp` unless this is the tjp.
    ///
    /// # Errors
    /// When the last `tjp` is not an address.
    pub fn computed_gib(&self) -> Result<String, AddrError> {
        let hash = canonical::gib_hash(&self.ib, self.data.as_ref(), self.rel8ns.as_ref());
        if self.is_tjp() {
            return Ok(hash);
        }
        match self.rel8n("tjp").next_back() {
            None => Ok(hash),
            Some(tjp) => Ok(format!("{hash}.{}", tjp.parse::<Addr>()?.gib())),
        }
    }

    /// Sets the gib that the content gives and checks everything else: how nodes are made.
    ///
    /// # Errors
    /// As [`IbGib::verify`], but never [`VerifyError::WrongGib`].
    pub fn seal(mut self) -> Result<Verified<Self>, VerifyError> {
        self.gib = Some(self.computed_gib()?);
        self.verify()
    }

    /// Checks every strict rule and the address.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn verify(mut self) -> Result<Verified<Self>, VerifyError> {
        let gib = self.gib.clone().unwrap_or_default();
        let addr = Addr::new(&self.ib, &gib)?;
        if gib == GIB {
            if self.data.is_some() || self.rel8ns.is_some() {
                return Err(VerifyError::PrimitiveContent);
            }
            return Ok(Verified::new(self, addr));
        }
        let empty = |v: &Option<Value>| matches!(v, Some(Value::Object(m)) if m.is_empty());
        if empty(&self.data) {
            self.data = None;
        }
        if empty(&self.rel8ns) {
            self.rel8ns = None;
        }
        if self.data.is_some() && !canonical::has_data(self.data.as_ref()) {
            return Err(VerifyError::HashesAsAbsent("data"));
        }
        if let Some(data) = &self.data {
            check_value(data, 1, true).map_err(|at| at.error())?;
        }
        if let Some(rel8ns) = &self.rel8ns {
            check_rel8ns(rel8ns)?;
            if !canonical::has_rel8ns(Some(rel8ns)) {
                return Err(VerifyError::HashesAsAbsent("rel8ns"));
            }
        } else if self.data.as_ref().is_some_and(|d| check_rel8ns(d).is_ok() && canonical::has_rel8ns(Some(d))) {
            return Err(VerifyError::DataLooksLikeRel8ns);
        }
        self.check_timeline()?;
        self.check_size(BYTES_MAX)?;
        let computed = self.computed_gib()?;
        if computed != gib {
            return Err(VerifyError::WrongGib { stated: gib, computed });
        }
        Ok(Verified::new(self, addr))
    }

    /// What is made must be readable again.
    fn check_size(&self, limit: usize) -> Result<(), VerifyError> {
        let parts = [&self.data, &self.rel8ns].into_iter().flatten().map(bytes_at_most);
        if parts.fold(self.ib.len().saturating_mul(6), usize::saturating_add) < limit / 2 {
            return Ok(());
        }
        match self.to_json().len() {
            size if size > limit => Err(VerifyError::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }

    fn check_timeline(&self) -> Result<(), VerifyError> {
        let with_rel8n = self.rel8ns.as_ref().is_some_and(|r| r.get("tjp").is_some());
        let tjps = self.rel8n("tjp").count();
        if self.is_tjp() && with_rel8n {
            return Err(VerifyError::Tjp("the tjp frame itself may carry no tjp relation".into()));
        }
        if with_rel8n && tjps != 1 {
            return Err(VerifyError::Tjp(format!("a frame has one tjp, not {tjps}")));
        }
        if (self.is_tjp() || with_rel8n) && self.datum("n").is_some() && self.n().is_none() {
            let n = self.datum("n").map(Value::to_json).unwrap_or_default();
            return Err(VerifyError::FrameNumber(n));
        }
        Ok(())
    }
}

fn check_rel8ns(rel8ns: &Value) -> Result<(), VerifyError> {
    let bad = |name: &str, why: String| Err(VerifyError::Relation { name: name.to_owned(), why });
    let Some(map) = rel8ns.as_object() else {
        return Err(VerifyError::Shape("rel8ns must be an object".into()));
    };
    for (name, value) in map.iter() {
        if name == "__proto__" {
            return bad(name, "the hash does not cover this name".into());
        }
        let Some(items) = value.as_array() else { return bad(name, "not an array".into()) };
        for item in items {
            let Some(text) = item.as_str() else { return bad(name, format!("{item} is not a string")) };
            if let Err(error) = text.parse::<Addr>() {
                return bad(name, error.to_string());
            }
        }
    }
    Ok(())
}

/// A value that may not stand where it stands.
struct BadValue {
    /// Member names and indices that lead to it, the innermost first: written down only on the way back from it.
    path: Vec<String>,
    why: &'static str,
}

impl BadValue {
    fn within(mut self, name: impl ToString) -> Self {
        self.path.push(name.to_string());
        self
    }

    fn error(mut self) -> VerifyError {
        self.path.push("data".into());
        self.path.reverse();
        VerifyError::Value { path: self.path.join("/"), why: self.why }
    }
}

/// Values built in memory must be such as strict text could have given: nothing in it that prints as something else,
/// and no deeper than text may be.
fn check_value(value: &Value, depth: usize, outside_arrays: bool) -> Result<(), BadValue> {
    let bad = |why| Err(BadValue { path: Vec::new(), why });
    // The ibgib itself is one level.
    if depth >= DEPTH_MAX && matches!(value, Value::Array(_) | Value::Object(_)) {
        return bad("nested too deep");
    }
    match value {
        Value::Number(n) if !n.is_finite() => bad("the number is not finite"),
        Value::Number(n) if *n == 0.0 && n.is_sign_negative() => bad("the number is -0"),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate().filter(|(_, item)| !is_plain(item)) {
                check_value(item, depth + 1, false).map_err(|at| at.within(i))?;
            }
            Ok(())
        }
        Value::Object(map) => {
            for (key, value) in map.iter() {
                if key == "__proto__" && outside_arrays {
                    return bad("the hash does not cover a member \"__proto__\"");
                }
                if !is_plain(value) {
                    check_value(value, depth + 1, outside_arrays).map_err(|at| at.within(key))?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether there is nothing to check in a value.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(n) => n.is_finite() && (*n != 0.0 || n.is_sign_positive()),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// No more bytes than this print a value; cheap to know, and far from the limit for almost every node.
fn bytes_at_most(value: &Value) -> usize {
    // A byte prints as six at most, and a number as 25.
    let text = |s: &str| s.len().saturating_mul(6).saturating_add(4);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 26,
        Value::String(s) => text(s),
        Value::Array(items) => items.iter().map(bytes_at_most).fold(3, usize::saturating_add),
        Value::Object(map) => {
            map.iter().map(|(k, v)| text(k).saturating_add(bytes_at_most(v))).fold(3, usize::saturating_add)
        }
    }
}

impl<T> Verified<T> {
    fn new(value: T, addr: Addr) -> Self {
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
        // Strict relations hold addresses only, so nothing is dropped here.
        self.rel8n(name).filter_map(|text| text.parse().ok()).collect()
    }

    /// Every address that this node relates to, primitives left out, in rel8ns order, without repeats.
    pub fn targets(&self) -> Vec<Addr> {
        let mut seen = HashMap::new();
        let mut out = Vec::new();
        for value in self.rel8ns.as_ref().and_then(Value::as_object).into_iter().flat_map(Map::values) {
            for text in value.as_array().unwrap_or(&[]).iter().filter_map(Value::as_str) {
                if let Ok(addr) = text.parse::<Addr>()
                    && !addr.is_primitive()
                    && seen.insert(addr.clone(), ()).is_none()
                {
                    out.push(addr);
                }
            }
        }
        out
    }

    /// The address of this frame's timeline: its own when it is the tjp, else its tjp relation; `None` for a
    /// constant.
    pub fn tjp(&self) -> Option<Addr> {
        if self.is_tjp() { Some(self.addr().clone()) } else { self.rel8n_addrs("tjp").pop() }
    }

    /// The frame before this one: the newest entry of `past`.
    pub fn past(&self) -> Option<Addr> {
        self.rel8n_addrs("past").pop()
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
