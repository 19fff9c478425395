//! What ECMAScript makes of a value: what counts as a member, how values turn into text and numbers, how strings sort.
//!
//! The original runs on these rules, so they show through in what addresses and transforms are. Missing (`undefined`)
//! is `None`. Source: ECMA-262.

use super::print::write_number;
use super::value::{Map, Value, array_index};
use std::borrow::Cow;
use std::cmp::Ordering;

/// ECMAScript raises an exception; the message is ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Throws(pub String);

/// Names that every object inherits: reading them gives something true although no member is there.
pub const INHERITED: [&str; 12] = [
    "constructor",
    "toString",
    "toLocaleString",
    "valueOf",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "__proto__",
    "__defineGetter__",
    "__defineSetter__",
    "__lookupGetter__",
    "__lookupSetter__",
];

/// Whether a value is there and true in a condition.
pub fn truthy(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_truthy)
}

/// Compares as ECMAScript sorts strings: by UTF-16 code unit.
pub fn compare_utf16(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// The single UTF-16 units of a text, as texts.
///
/// # Errors
/// Throws when a unit is half of a pair, which no text here can hold.
fn units(text: &str) -> Result<Vec<Value>, Throws> {
    text.chars()
        .map(|c| if c.len_utf16() == 1 { Ok(c.to_string().into()) } else { Err(Throws("half of a pair".into())) })
        .collect()
}

/// `Object.keys` with the values: members of an object, items of an array, units of a text; nothing of the rest.
///
/// # Errors
/// Throws for `undefined` and `null`.
pub fn entries(value: Option<&Value>) -> Result<Vec<(String, Value)>, Throws> {
    let list = |items: &[Value]| items.iter().enumerate().map(|(i, v)| (i.to_string(), v.clone())).collect();
    Ok(match value {
        None | Some(Value::Null) => return Err(Throws("null has no members".into())),
        Some(Value::Object(m)) => m.iter().map(|(k, v)| (k.to_owned(), v.clone())).collect(),
        Some(Value::Array(items)) => list(items),
        Some(Value::String(s)) => list(&units(s)?),
        Some(Value::Bool(_) | Value::Number(_)) => Vec::new(),
    })
}

/// `value.key`, own members only; `length` of arrays and texts included.
///
/// # Errors
/// Throws for members of `undefined` and `null`.
pub fn get<'a>(value: Option<&'a Value>, key: &str) -> Result<Option<Cow<'a, Value>>, Throws> {
    let number = |n: usize| Some(Cow::Owned(Value::integer(n)));
    Ok(match value {
        None | Some(Value::Null) => return Err(Throws(format!("null has no member {key:?}"))),
        Some(Value::Object(m)) => m.get(key).map(Cow::Borrowed),
        Some(Value::Array(items)) if key == "length" => number(items.len()),
        Some(Value::Array(items)) => array_index(key).and_then(|i| items.get(i as usize)).map(Cow::Borrowed),
        Some(Value::String(s)) if key == "length" => number(s.encode_utf16().count()),
        Some(Value::String(s)) => match array_index(key) {
            Some(i) => units(s)?.into_iter().nth(i as usize).map(Cow::Owned),
            None => None,
        },
        Some(Value::Bool(_) | Value::Number(_)) => None,
    })
}

/// `value.length`, when that is a number or turns into one.
pub fn length(value: &Value) -> f64 {
    match get(Some(value), "length") {
        Ok(length) => number(length.as_deref()),
        Err(_) => f64::NAN,
    }
}

/// `String(value)`.
pub fn text(value: Option<&Value>) -> String {
    match value {
        None => "undefined".into(),
        Some(Value::Null) => "null".into(),
        Some(Value::Bool(b)) => b.to_string(),
        Some(Value::Number(n)) if n.is_infinite() => if *n > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Some(Value::Number(n)) => {
            let mut out = String::new();
            write_number(*n, &mut out);
            out
        }
        Some(Value::String(s)) => s.clone(),
        Some(Value::Array(items)) => joined(items),
        Some(Value::Object(_)) => "[object Object]".into(),
    }
}

/// `items.join(",")`.
pub fn joined(items: &[Value]) -> String {
    let item = |v: &Value| if *v == Value::Null { String::new() } else { text(Some(v)) };
    items.iter().map(item).collect::<Vec<_>>().join(",")
}

/// `Number(value)`.
pub fn number(value: Option<&Value>) -> f64 {
    match value {
        None | Some(Value::Object(_)) => f64::NAN,
        Some(Value::Null) => 0.0,
        Some(Value::Bool(b)) => f64::from(u8::from(*b)),
        Some(Value::Number(n)) => *n,
        Some(Value::String(s)) => number_of_text(s),
        Some(Value::Array(items)) => number_of_text(&joined(items)),
    }
}

fn number_of_text(text: &str) -> f64 {
    let text = text.trim_matches(|c: char| c.is_whitespace() && c != '\u{85}' || c == '\u{feff}');
    let radix = |base, digits: &str| {
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
            return f64::NAN;
        }
        u64::from_str_radix(digits, base).map_or(f64::NAN, |n| n as f64)
    };
    match text {
        "" => 0.0,
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => match text.get(..2) {
            Some("0x" | "0X") => radix(16, &text[2..]),
            Some("0o" | "0O") => radix(8, &text[2..]),
            Some("0b" | "0B") => radix(2, &text[2..]),
            // Rust also reads "inf" and "nan", ECMAScript does not.
            _ if text.bytes().any(|b| b.is_ascii_alphabetic() && !matches!(b, b'e' | b'E')) => f64::NAN,
            _ => text.parse().unwrap_or(f64::NAN),
        },
    }
}

/// `JSON.parse(JSON.stringify(value))`: infinities become `null`, −0 becomes 0.
pub fn clone(value: &Value) -> Value {
    match value {
        Value::Number(n) if !n.is_finite() => Value::Null,
        Value::Number(n) if *n == 0.0 => Value::Number(0.0),
        Value::Array(items) => Value::Array(items.iter().map(clone).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k, clone(v))).collect()),
        other => other.clone(),
    }
}

/// `map[key] = value`: setting `__proto__` where no such member is makes none.
pub fn set(map: &mut Map, key: &str, value: Value) {
    if key != "__proto__" || map.contains_key(key) {
        map.insert(key, value);
    }
}
