//! JSON values with what addresses depend on: the order of members and exact numbers.

use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::fmt;
use std::iter::Chain;

/// 2^53: below it every integer has a double of its own.
const INTEGERS_END: f64 = 9_007_199_254_740_992.0;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An IEEE-754 double; infinite only when compat text overflowed (`1e400`), never NaN.
    Number(f64),
    /// A string; lone surrogates cannot be represented and are refused on parsing.
    String(String),
    /// An array.
    Array(Vec<Self>),
    /// An object, its members in ECMAScript enumeration order.
    Object(Map),
}

impl Value {
    /// The number of a count or another integer: exact up to ±(2^53 − 1). What is beyond is the nearest double, which is
    /// beyond, too, so that [`Value::as_u53`], and with it every check of a number, refuses it instead of taking it for
    /// another one.
    pub fn integer(n: impl TryInto<i64>) -> Self {
        // Only what is above can be out of an i64's reach: counts are unsigned and have 64 bits at most.
        Self::Number(n.try_into().unwrap_or(i64::MAX) as f64)
    }

    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object().and_then(|m| m.get(key))
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Map> {
        if let Self::Object(m) = self { Some(m) } else { None }
    }

    /// The object, if it is one.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Self::Object(m) = self { Some(m) } else { None }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(a) = self { Some(a) } else { None }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(s) = self { Some(s) } else { None }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(n) = self { Some(*n) } else { None }
    }

    /// The number, if it is an integer from 0 to 2^53 − 1.
    pub fn as_u53(&self) -> Option<u64> {
        let n = self.as_f64()?;
        ((0.0..INTEGERS_END).contains(&n) && n.fract() == 0.0).then_some(n as u64)
    }

    /// Whether ECMAScript treats the value as true in a condition.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(b) => *b,
            Self::Number(n) => *n != 0.0 && !n.is_nan(),
            Self::String(s) => !s.is_empty(),
            Self::Array(_) | Self::Object(_) => true,
        }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::String(s.to_owned())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::String(s)
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}
impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Self::Number(f64::from(n))
    }
}
impl From<Vec<Self>> for Value {
    fn from(a: Vec<Self>) -> Self {
        Self::Array(a)
    }
}
impl From<Map> for Value {
    fn from(m: Map) -> Self {
        Self::Object(m)
    }
}

/// Members of an object, unique by name, always in ECMAScript enumeration order: names that are canonical array
/// indices (`"0"`, or no leading zero, at most 4294967294) first and ascending, then the rest as inserted.
#[derive(Clone, Default)]
pub struct Map {
    /// Members whose names are array indices, each with its name.
    indices: BTreeMap<u32, (String, Value)>,
    names: IndexMap<String, Value>,
}

/// The number, if `key` is a canonical array index.
pub fn array_index(key: &str) -> Option<u32> {
    let bytes = key.as_bytes();
    if bytes.is_empty() || bytes.len() > 10 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if bytes[0] == b'0' && bytes.len() > 1 {
        return None;
    }
    key.parse::<u32>().ok().filter(|n| *n != u32::MAX)
}

impl Map {
    /// No members.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.indices.len() + self.names.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match array_index(key) {
            Some(n) => self.indices.get(&n).map(|(_, value)| value),
            None => self.names.get(key),
        }
    }

    /// The value of `key`.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        match array_index(key) {
            Some(n) => self.indices.get_mut(&n).map(|(_, value)| value),
            None => self.names.get_mut(key),
        }
    }

    /// Whether there is a member `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Sets `key`; an existing member keeps its place. Returns the old value.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match array_index(&key) {
            Some(n) => self.indices.insert(n, (key, value)).map(|(_, old)| old),
            None => self.names.insert(key, value),
        }
    }

    /// Removes `key`, the other members keeping their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        match array_index(key) {
            Some(n) => self.indices.remove(&n).map(|(_, old)| old),
            None => self.names.shift_remove(key),
        }
    }

    /// Members in enumeration order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
        let indices = self.indices.values().map(|(k, v)| (k.as_str(), v));
        indices.chain(self.names.iter().map(|(k, v)| (k.as_str(), v)))
    }

    /// Names in enumeration order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Values in enumeration order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.iter().map(|(_, value)| value)
    }
}

impl PartialEq for Map {
    /// Member order is part of a value.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let mut map = Self::new();
        for (k, v) in members {
            map.insert(k, v);
        }
        map
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter =
        Chain<std::collections::btree_map::IntoValues<u32, (String, Value)>, indexmap::map::IntoIter<String, Value>>;
    fn into_iter(self) -> Self::IntoIter {
        self.indices.into_values().chain(self.names)
    }
}

/// Builds an object value: `object([("a", 1u32.into()), ("b", "x".into())])`.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().collect())
}

/// Builds an array of strings.
pub fn strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Value {
    Value::Array(items.into_iter().map(|s| Value::String(s.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_exact_or_taken_for_no_other() {
        assert_eq!(Value::integer(3usize), Value::from(3u32));
        assert_eq!(Value::integer(-3), Value::Number(-3.0));
        assert_eq!(Value::integer((1u64 << 53) - 1).as_u53(), Some((1 << 53) - 1));
        for beyond in [1 << 53, (1 << 53) + 1, u64::MAX] {
            assert_eq!(Value::integer(beyond).as_u53(), None);
        }
    }
}
