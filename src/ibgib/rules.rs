//! The strict rules: what an ibgib has to keep besides having the right gib.

use super::IbGib;
use crate::addr::{Addr, AddrError};
use crate::canonical;
use crate::json::{BYTES_MAX, DEPTH_MAX, JsonError, Value};

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

/// Checks every rule but that the gib is right. Empty objects in the place of data and rel8ns were left out before.
pub(super) fn check(node: &IbGib) -> Result<(), VerifyError> {
    if node.data.is_some() && !canonical::has_data(node.data.as_ref()) {
        return Err(VerifyError::HashesAsAbsent("data"));
    }
    if let Some(data) = &node.data {
        check_value(data, 1, true).map_err(|at| at.error())?;
    }
    if let Some(rel8ns) = &node.rel8ns {
        check_rel8ns(rel8ns)?;
        if !canonical::has_rel8ns(Some(rel8ns)) {
            return Err(VerifyError::HashesAsAbsent("rel8ns"));
        }
    } else if node.data.as_ref().is_some_and(|d| check_rel8ns(d).is_ok() && canonical::has_rel8ns(Some(d))) {
        return Err(VerifyError::DataLooksLikeRel8ns);
    }
    check_timeline(node)?;
    check_size(node, BYTES_MAX)
}

/// A node made in memory must be readable again, so its text keeps the limit that reading has.
fn check_size(node: &IbGib, limit: usize) -> Result<(), VerifyError> {
    let parts = [&node.data, &node.rel8ns].into_iter().flatten().map(bytes_at_most);
    if parts.fold(node.ib.len().saturating_mul(6), usize::saturating_add) < limit / 2 {
        return Ok(());
    }
    match node.to_json().len() {
        size if size > limit => Err(VerifyError::TooLarge { size, limit }),
        _ => Ok(()),
    }
}

fn check_timeline(node: &IbGib) -> Result<(), VerifyError> {
    let with_rel8n = node.rel8ns.as_ref().is_some_and(|r| r.get("tjp").is_some());
    let tjps = node.rel8n("tjp").count();
    if node.is_tjp() && with_rel8n {
        return Err(VerifyError::Tjp("the tjp frame itself may carry no tjp relation".into()));
    }
    if with_rel8n && tjps != 1 {
        return Err(VerifyError::Tjp(format!("a frame has one tjp, not {tjps}")));
    }
    if (node.is_tjp() || with_rel8n) && node.datum("n").is_some() && node.n().is_none() {
        let n = node.datum("n").map(Value::to_json).unwrap_or_default();
        return Err(VerifyError::FrameNumber(n));
    }
    Ok(())
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
            if let Err(error) = Addr::check(text) {
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
