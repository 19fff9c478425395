//! The text that is hashed, and the hash: **this page is the encoding specification.**
//!
//! * `H(text)` is the uppercase hex SHA-256 (FIPS 180-4) of the UTF-8 of `text`, except `H("") = ""`.
//! * A value prints as `JSON.stringify` prints it: no white space; numbers as ECMAScript's Number::toString; in
//!   strings only `"`, `\` and U+0000–U+001F are escaped (`\b \t \n \f \r`, else `\u00xx` in lowercase).
//! * Before printing, members of an object are sorted by UTF-16 code unit, then enumerated (array indices first,
//!   ascending). This goes down through objects, **not into arrays**: an object inside an array, and all below
//!   it, keeps the order it was written in.
//! * A member `__proto__` outside arrays vanishes (only compat text can hold one).
//! * `data` is absent when missing, `null`, `""`, `0`, `false`, `[]` or `{}`. `rel8ns` is absent unless one of its
//!   values has a length greater than 0. A present part is printed whole, empty relations included.
//! * hash = `H(H(ib) ‖ H(rel8ns) ‖ H(data))`, an absent part being `""`; so with both absent it is `H(H(ib))`.
//!
//! Frozen by the vectors in `respec/vectors/gib.json`.

use crate::json::{Map, Value, array_index, js, write_json, write_members};
use sha2::{Digest, Sha256};

/// `H(text)`: uppercase hex SHA-256, and `""` for `""`.
pub fn hash_text(text: &str) -> String {
    if text.is_empty() { String::new() } else { const_hex::encode_upper(Sha256::digest(text.as_bytes())) }
}

/// Whether `data` counts in the hash.
pub fn has_data(data: Option<&Value>) -> bool {
    match data {
        None => false,
        Some(Value::Array(a)) => !a.is_empty(),
        Some(Value::Object(m)) => !m.is_empty(),
        Some(v) => v.is_truthy(),
    }
}

/// Whether `rel8ns` counts in the hash.
pub fn has_rel8ns(rel8ns: Option<&Value>) -> bool {
    // ECMAScript's `value.length > 0`.
    let has_length = |v: &Value| v.is_truthy() && js::length(v) > 0.0;
    match rel8ns {
        Some(Value::Object(m)) => m.values().any(has_length),
        Some(Value::Array(a)) => a.iter().any(has_length),
        // The units of a text have a length, too.
        Some(Value::String(s)) => !s.is_empty(),
        _ => false,
    }
}

/// The text of `data` or `rel8ns` that is hashed.
pub fn canonical_text(value: &Value) -> String {
    let mut out = String::new();
    write_sorted(value, &mut out);
    out
}

/// The hash that an ibgib's gib begins with; `""` when `ib` is empty and nothing else is there.
pub fn gib_hash(ib: &str, data: Option<&Value>, rel8ns: Option<&Value>) -> String {
    let part = |v: Option<&Value>, present: bool| match v {
        Some(v) if present => hash_text(&canonical_text(v)),
        _ => String::new(),
    };
    let ib_hash = hash_text(ib);
    let (with_data, with_rel8ns) = (has_data(data), has_rel8ns(rel8ns));
    hash_text(&format!("{ib_hash}{}{}", part(rel8ns, with_rel8ns), part(data, with_data)))
}

fn write_sorted(value: &Value, out: &mut String) {
    let Value::Object(map) = value else { return write_json(value, out) };
    write_members(sorted(map).into_iter(), write_sorted, out);
}

/// Members as the hash orders them.
fn sorted(map: &Map) -> Vec<(&str, &Value)> {
    let mut members: Vec<_> = map.iter().filter(|(k, _)| *k != "__proto__").collect();
    // Array indices stand first already; sorting must not move them among the rest.
    let indices = members.iter().take_while(|(k, _)| array_index(k).is_some()).count();
    members[indices..].sort_by(|a, b| js::compare_utf16(a.0, b.0));
    members
}
