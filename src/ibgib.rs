//! The ibgib: unchecked as it arrives, [`Verified`] once its address is proven.

mod outline;
mod rules;
mod verified;

pub use rules::VerifyError;
pub use verified::{IDENTITY, Verified, is_followed};

use crate::addr::{Addr, AddrError, GIB};
use crate::canonical;
use crate::json::{BYTES_MAX, Map, Mode, Value, js, write_json, write_string};

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
        self.print(self.gib.as_deref())
    }

    /// The ibgib as JSON text, with this gib or none.
    fn print(&self, gib: Option<&str>) -> String {
        let mut out = String::from("{\"ib\":");
        write_string(&self.ib, &mut out);
        if let Some(gib) = gib {
            out.push_str(",\"gib\":");
            write_string(gib, &mut out);
        }
        for (name, part) in [("data", &self.data), ("rel8ns", &self.rel8ns)] {
            if let Some(value) = part {
                out.push_str(",\"");
                out.push_str(name);
                out.push_str("\":");
                write_json(value, &mut out);
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

    /// The hash that the gib begins with: it binds ib, data and rel8ns.
    pub fn hash(&self) -> String {
        canonical::gib_hash(&self.ib, self.data.as_ref(), self.rel8ns.as_ref())
    }

    /// The gib that the content gives: the hash, and after a dot the gib of the last `tjp` unless this is the tjp.
    ///
    /// # Errors
    /// When the last `tjp` is not an address.
    pub fn computed_gib(&self) -> Result<String, AddrError> {
        let hash = self.hash();
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
        let gib = self.computed_gib()?;
        let addr = Addr::new(&self.ib, &gib)?;
        self.gib = Some(gib);
        self.check_content()?;
        Ok(Verified::new(self, addr))
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
        self.check_content()?;
        let computed = self.computed_gib()?;
        if computed != gib {
            return Err(VerifyError::WrongGib { stated: gib, computed });
        }
        Ok(Verified::new(self, addr))
    }

    /// Every strict rule but the address; parts that say nothing are left out, which changes no hash.
    fn check_content(&mut self) -> Result<(), VerifyError> {
        let empty = |v: &Option<Value>| matches!(v, Some(Value::Object(m)) if m.is_empty());
        if empty(&self.data) {
            self.data = None;
        }
        if empty(&self.rel8ns) {
            self.rel8ns = None;
        }
        rules::check(self)
    }
}
